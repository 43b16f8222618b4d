/* Where a path leads: the directory that holds its file, or would hold it, as
 * an open descriptor, and the file's name there.
 *
 * The path is used as it was given and walked once; no path is made absolute.
 * So a directory above the current one may be closed to the caller, the whole
 * path from the root may be longer than the system takes, and the current
 * directory may change afterwards.
 *
 * open: links at the path's end are followed, at most 40, and nothing that the
 * kernel would not follow itself (fs.protected_symlinks); a link to nothing
 * gives the place of what it names. Refused as open(path, O_WRONLY | O_CREAT)
 * refuses it: "" with ENOENT, what ends in a slash with EISDIR, PATH_MAX bytes
 * and more with ENAMETOOLONG; and ".", ".." and the root are directories that
 * exist. Links under /proc (/dev/stdout and others lead through one) are not
 * followed: they name an open file whatever their text says, and `info` is
 * that file's (`is_magic`).
 *
 * Called without the GIL. FP_IO: the errno is in *reason, nothing is open.
 * Ownership: the struct is the caller's; fp_place_close() must follow a
 * successful open, and does nothing after close or on a zeroed struct.
 */
#ifndef FP_CORE_PLACE_H
#define FP_CORE_PLACE_H

#include <sys/stat.h>

#include "status.h"

typedef struct {
    int directory; /* owned descriptor, of use for *at() calls only */
    int is_open;
    char *path;       /* owned: as text, with the links at its end followed */
    const char *name; /* in `path`, behind the last slash */
    int exists;
    int is_magic;
    struct stat info; /* where it exists */
} fp_place;

fp_status fp_place_open(fp_place *place, const char *path, int *reason);
void fp_place_close(fp_place *place);

/* What bears the name now; not through a link. As fstatat(). */
int fp_place_look(const fp_place *place, const char *name, struct stat *info);

/* The path of another name in the same directory, to be freed; NULL without
 * memory. */
char *fp_place_sibling(const fp_place *place, const char *name);

#endif

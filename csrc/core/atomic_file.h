/* A file that replaces its target whole, or not at all.
 *
 * open: the target's links are followed (at most 40); a regular or missing
 * target gets an exclusive temporary (O_EXCL | O_CLOEXEC, unguessable name,
 * mode 0666 less the umask) in the directory of what the link points to:
 * ".NAME.xxxxxxxx.tmp", of NAME as much as fits, each x in a-z or 2-7.
 * commit: mode and, where permitted, owner of an existing target are given to
 * the temporary, then [fsync], close (its error counts), rename, [fsync of the
 * directory]. abort: close and unlink; the target was never touched.
 *
 * A FIFO, device or socket is opened and written directly (`in_place` = 1).
 * Where the directory does not admit a new file but an existing regular target
 * can be written, it is opened for writing and truncated, `in_place` = 2 (the
 * caller warns); with `durable` that is an error instead. A target that exists
 * and may not be written (access(2) says no) is refused with EACCES before
 * anything is made. A directory gives EISDIR. A failed fsync is never retried.
 *
 * A regular target that could be written but not renamed over (a mount point,
 * another user's file in a sticky directory, /dev/stdout and other links of
 * /proc) is written in place too. `durable` refuses every `in_place`.
 *
 * O_TMPFILE, which would leave nothing when the process is killed, is not
 * used: linkat() does not replace a name, so a named temporary and the rename
 * would follow all the same, at the end, where failing costs most; it ignores
 * the umask on some file systems before Linux 6.0; NFS and others do not have
 * it; and codecs that open the file themselves need a name.
 *
 * Every function is to be called without the GIL. On FP_IO `saved_errno` holds
 * the reason; `failed_step` names the step ("open", "fstat", "lstat",
 * "fchmod", "fsync", "close", "rename", "fsync of the directory"; "write" is
 * the sink's) for the message. Where only the directory's fsync failed, the
 * rename has happened (`is_renamed`).
 * Opening a FIFO waits for its reader and reports a signal as EINTR: see to
 * signals, then call again.
 * Ownership: the struct is the caller's; fp_atomic_file_abort() must follow a
 * successful open unless commit returned FP_OK; abort after abort, after
 * commit, or on a zeroed struct does nothing.
 */
#ifndef FP_CORE_ATOMIC_FILE_H
#define FP_CORE_ATOMIC_FILE_H

#include <sys/types.h>

#include "status.h"

typedef struct {
    int fd; /* -1 when closed (0 in a zeroed, unopened struct) */
    int is_open;
    int in_place;
    int durable;
    int is_prepared;
    int is_renamed; /* also where commit failed: the directory's fsync did */
    int saved_errno;
    const char *failed_step; /* static text */
    char *target;            /* owned: the path after following links */
    char *temporary;         /* owned: NULL when in place */
    int had_target;          /* a regular target was there at open, */
    mode_t target_mode;      /* with these permission bits */
} fp_atomic_file;

fp_status fp_atomic_file_open(fp_atomic_file *file, const char *path,
                              int durable);
/* What commit does in front of the rename: of two files that belong together,
 * both can be prepared before the first is renamed. */
fp_status fp_atomic_file_prepare(fp_atomic_file *file);
fp_status fp_atomic_file_commit(fp_atomic_file *file);
void fp_atomic_file_abort(fp_atomic_file *file);

#endif

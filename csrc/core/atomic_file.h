/* A file that replaces its target whole, or not at all.
 *
 * open: the target's place is found (place.h: the directory stays open, the
 * path is not looked at again); a regular or missing target gets an exclusive
 * temporary (O_EXCL | O_CLOEXEC, unguessable name, mode 0666 less the umask)
 * beside what its links lead to: ".NAME.xxxxxxxx.tmp", of NAME as much as
 * fits, each x in a-z or 2-7.
 * commit: mode and, where permitted, owner of an existing target are given to
 * the temporary (setuid and setgid as far as the system leaves them to a file
 * that is written to), then [fsync], close (its error counts), rename, [fsync
 * of the directory]. abort: close and unlink; the target was never touched.
 *
 * An empty target. One that is regular and empty at open, without `durable`,
 * loses nothing when it is written to, and somebody may have it open who wants
 * to see the dump (tempfile.NamedTemporaryFile). It is opened as well, and
 * commit copies the temporary into it: under flock(LOCK_EX | LOCK_NB), after a
 * look that the name still leads to it and it is still empty. It keeps inode,
 * owner, mode, ACL and hard links. A copy that fails truncates it again. Where
 * it cannot be opened or locked (another dump copies; somebody else's lock; no
 * locks on this file system), is not empty any more or has lost its name, the
 * temporary is renamed as ever. What holds, for dumps by this code:
 * - into one empty file at most one dump is copied, and never two at once: a
 *   handle on it sees nothing, a prefix of that dump, or all of it;
 * - who opens the name sees the empty file or that prefix, and from the first
 *   whole dump on nothing but whole dumps, in the order of their commits (a
 *   copy that fails when it is closed apart);
 * - a process killed during the copy leaves the prefix, and the temporary,
 *   which is whole. Nothing else ever leaves a prefix, but a failing disk on
 *   which the truncation fails too.
 * Who writes to the empty file without that lock mixes with the copy, as with
 * any other writer.
 *
 * In place. A FIFO, device or socket is opened and written directly
 * (`in_place` = 1). A regular target that can be written but not renamed over
 * (its directory does not admit a new file or is append-only, a mount point,
 * another user's file in a sticky directory, /dev/stdout and other links of
 * /proc) is opened for writing, `in_place` = 2: nothing is lost before
 * fp_atomic_file_begin(), which truncates it (the caller warns in front of
 * that); abort after that truncates it again. A new file in an append-only
 * directory is made and written in the same way. `durable` refuses every
 * `in_place`.
 *
 * A target that exists and may not be written (access(2) says no) is refused
 * with EACCES before anything is made. A directory gives EISDIR. A failed
 * fsync is never retried.
 *
 * O_TMPFILE, which would leave nothing when the process is killed, is not
 * used: linkat() does not replace a name, so a named temporary and the rename
 * would follow all the same, at the end, where failing costs most; it ignores
 * the umask on some file systems before Linux 6.0; NFS and others do not have
 * it; and codecs that open the file themselves need a name.
 *
 * Every function is to be called without the GIL. On FP_IO `saved_errno` holds
 * the reason; `failed_step` names the step for the message ("open",
 * "ftruncate", "fstat", "fchmod", "fsync", "close", "copy into the empty
 * file", "rename", "fsync of the directory"; "write" is the sink's). Where
 * only the directory's fsync failed, the rename has happened (`is_renamed`).
 * FP_SINK_FAILED: `interrupt` ended the copy.
 * Opening a FIFO waits for its reader and reports a signal as EINTR: see to
 * signals, then call again.
 * Ownership: the struct is the caller's; fp_atomic_file_abort() must follow a
 * successful open unless commit returned FP_OK; abort after abort, after
 * commit, or on a zeroed struct does nothing.
 */
#ifndef FP_CORE_ATOMIC_FILE_H
#define FP_CORE_ATOMIC_FILE_H

#include <sys/types.h>

#include "interrupt.h"
#include "place.h"
#include "status.h"

typedef struct {
    int fd; /* -1 when closed (0 in a zeroed, unopened struct) */
    int is_open;
    int in_place;
    int is_begun; /* in place: what was there is gone */
    int durable;
    int is_prepared;
    int is_renamed; /* also where commit failed: the directory's fsync did */
    int saved_errno;
    const char *failed_step; /* static text */
    fp_place place;          /* owned: where the target is */
    char *temporary;         /* owned: its name there; NULL when in place */
    int empty;               /* owned: the empty target's descriptor */
    int has_empty;           /* where there is one */
    int had_target;          /* a regular target was there at open, */
    mode_t target_mode;      /* with these permission bits */
    fp_interrupt *interrupt; /* borrowed, set before commit; may be NULL */
} fp_atomic_file;

fp_status fp_atomic_file_open(fp_atomic_file *file, const char *path,
                              int durable);
/* To be called behind a successful open, before anything is written. */
fp_status fp_atomic_file_begin(fp_atomic_file *file);
/* What commit does in front of the rename: of two files that belong together,
 * both can be prepared before the first is renamed. (Nothing, where an empty
 * target waits: it may not come to a rename.) */
fp_status fp_atomic_file_prepare(fp_atomic_file *file);
fp_status fp_atomic_file_commit(fp_atomic_file *file);
void fp_atomic_file_abort(fp_atomic_file *file);

/* The path of what is written, by the directory as it was named; to be freed,
 * NULL without memory. */
char *fp_atomic_file_path(const fp_atomic_file *file);

#endif

/* Where a dump goes: a path, or an object with write().
 *
 * A path: an atomic_file; nothing of it is visible before the commit. Where it
 * leads is found out once, when it is opened.
 * An object: its write() is called front to back (object_sink.h).
 * Signals are seen to while it is written, in the thread that opened it.
 *
 * Ownership: a zeroed struct is empty; fp_target_release() follows every open
 * and leaves nothing of an uncommitted file behind. The sinks live in the
 * struct, which must not move while they are in use. GIL held on entry and
 * return; released around input and output. Errors: -1 with an exception set.
 */
#ifndef FP_TARGET_H
#define FP_TARGET_H

#include "atomic_file_type.h"
#include "base/signals.h"
#include "base/state.h"
#include "object_sink.h"

typedef struct {
    fp_sink *sink;  /* one of the two below, or an Lz4Writer's */
    PyObject *path; /* borrowed: for messages, or NULL */
    int is_path;
    fp_atomic_file file;
    fp_sink file_sink;
    fp_signals signals;
    fp_object_sink object;
    PyObject *writer; /* borrowed: that Lz4Writer */
    pid_t owner;      /* a forked child leaves the parent's file alone */
} fp_target;

/* `path` is str or bytes. */
int fp_target_open_path(fp_target *target, PyObject *path, int durable);
int fp_target_open_object(fp_target *target, fp_state *state,
                          PyObject *object);
/* `progress` (borrowed) is told what the ring in front of it has written. */
void fp_target_tell(fp_target *target, fp_progress *progress,
                    fp_progress_part part);
/* The temporary becomes the file; nothing to do for an object. Of two targets
 * that belong together both are prepared first: what then still can fail is
 * the rename, or the copy into an empty file. */
int fp_target_prepare(fp_target *target);
int fp_target_commit(fp_target *target);
/* Keeps the exception that is set, if any. */
void fp_target_release(fp_target *target);

#endif

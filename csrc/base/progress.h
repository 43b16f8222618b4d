/* Telling a callable of the user's how many bytes are done.
 *
 * It is called as report(done, total), by the thread of the call alone, where
 * that holds the GIL and looks for signals anyway, at most every
 * FP_PROGRESS_SECONDS. `total` is None where it is not known. What it raises
 * ends the call as a signal handler's exception does, and is no sign of
 * damage: `has_raised`.
 *
 * Ownership: `report` is borrowed; NULL, or a struct of zeros, is nobody to
 * tell and costs a comparison. GIL held. Errors: -1 with an exception set.
 */
#ifndef FP_PROGRESS_H
#define FP_PROGRESS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>

#define FP_PROGRESS_SECONDS 0.125

/* What is counted by itself: the two files of a dump in two. */
typedef enum {
    FP_PROGRESS_MAIN,
    FP_PROGRESS_SECOND,
} fp_progress_part;

typedef struct {
    PyObject *report;
    uint64_t done[2];  /* by part */
    uint64_t total[2]; /* 0: not known */
    double next;       /* by the monotonic clock */
    int has_raised;
} fp_progress;

/* `report` may be None. */
void fp_progress_init(fp_progress *progress, PyObject *report);
/* So much of a part is done; tells it where it is time to. */
int fp_progress_tell(fp_progress *progress, fp_progress_part part,
                     uint64_t n_done);
/* All is done: tells it in any case, as done == total. */
int fp_progress_end(fp_progress *progress);

static inline int
fp_progress_at(fp_progress *progress, fp_progress_part part, uint64_t n_done)
{
    return progress == NULL || progress->report == NULL
               ? 0
               : fp_progress_tell(progress, part, n_done);
}

#endif

/* Python's signal handlers while the GIL is released: core/interrupt.h asked
 * by the thread that made it runs them, in other threads it does nothing.
 *
 * Handlers run every FP_SIGNALS_SECONDS at most, since the GIL may have to be
 * waited for, and at once after a system call that a signal ended. An
 * exception of theirs stays set. After them progress is told. Ownership: the
 * struct is the caller's, at one place as long as it is in use. GIL: init with
 * or without it.
 */
#ifndef FP_SIGNALS_H
#define FP_SIGNALS_H

#include <pthread.h>

#include "core/interrupt.h"
#include "progress.h"

#define FP_SIGNALS_SECONDS 0.05

typedef struct {
    fp_interrupt interrupt; /* first: is_wanted() finds the rest from it */
    pthread_t owner;
    double next; /* when to look again, by the monotonic clock */
    /* Told of the interrupt's n_done, on top of what was done before; borrowed,
     * NULL where nobody is to be told. */
    fp_progress *progress;
    fp_progress_part part;
    uint64_t before;
} fp_signals;

void fp_signals_init(fp_signals *signals);

#endif

/* How the core asks its caller, now and then, whether to give up.
 *
 * What may take long or wait calls fp_interrupted() between its pieces, and
 * again after each system call that a signal ended (`at_once`: then the caller
 * must look now; otherwise it may find that too little time has passed). A
 * nonzero answer means that the caller holds a reason: FP_SINK_FAILED.
 * Asked without the GIL, from any thread; NULL is nobody to ask.
 */
#ifndef FP_CORE_INTERRUPT_H
#define FP_CORE_INTERRUPT_H

#include <stddef.h>
#include <stdint.h>

typedef struct fp_interrupt {
    int (*is_wanted)(struct fp_interrupt *interrupt, int at_once);
    /* How many bytes of the work are done; kept by who asks in pieces, in the
     * thread that called it. */
    uint64_t n_done;
} fp_interrupt;

static inline int
fp_interrupted(fp_interrupt *interrupt, int at_once)
{
    return interrupt != NULL && interrupt->is_wanted(interrupt, at_once);
}

#endif

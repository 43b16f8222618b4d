/* A sink that calls write() of a Python object.
 *
 * write() gets bytes objects, at most FP_OBJECT_SINK_BYTES at once, in order,
 * by the thread that writes to the sink (which must be the one that called
 * into the module). A raw file may take less than it is given: the rest is
 * offered again. Anything else has taken everything, whatever it answers
 * (write_answer.h). An exception stays set: FP_SINK_FAILED.
 * Signals are seen to between the pieces.
 * A process forked in the middle, by write() too, cannot go on: RuntimeError.
 *
 * The sink takes the GIL itself; init and free want it held. Ownership: the
 * struct is the caller's, at one place as long as the sink is used, and holds
 * a reference to the method until free.
 */
#ifndef FP_OBJECT_SINK_H
#define FP_OBJECT_SINK_H

#include "base/state.h"
#include "core/sink.h"

#include <sys/types.h>

#define FP_OBJECT_SINK_BYTES ((size_t)1 << 20)

typedef struct {
    fp_sink sink;
    PyObject *write; /* owned */
    int counts;      /* whether its answer does */
    pid_t owner;     /* the process that may call it */
} fp_object_sink;

/* 0, or -1 where the object has no write(); free follows either. */
int fp_object_sink_init(fp_object_sink *target, fp_state *state,
                        PyObject *file);
/* Does nothing to a zeroed struct. */
void fp_object_sink_free(fp_object_sink *target);

/* Sets the RuntimeError of a forked child; returns -1. */
int fp_refuse_child(void);

#endif

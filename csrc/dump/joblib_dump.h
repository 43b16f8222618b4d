/* joblib's own layout on its way out, as joblib >= 1.2 writes it: the standard
 * stream, with each array's bytes between the opcodes. joblib_layout.h reads
 * it back.
 *
 * An array of exact type ndarray, matrix or memmap becomes a NumpyArrayWrapper
 * (NEWOBJ, a state dict, BUILD; the frame ends there). Behind it: a byte n
 * from 1 to 16, n bytes 0xff, and the array's bytes in C or Fortran order, at a
 * multiple of 16 in the file; an array of objects is a pickle of its own, with
 * a memo of its own. Arrays are never in the memo (it would hold the wrapper):
 * one that appears twice is stored twice, as with joblib.
 *
 * A stream goes to a ring frame by frame. In silence nothing may be flushed,
 * so up to FP_HELD_BYTES of array bytes wait among the opcodes; more ends the
 * silence.
 *
 * Ownership: the stream is the caller's and outlives the walk, whose outlet it
 * is. GIL held on
 * entry and return. Errors: -1 with an exception set (or `restart`: walk.h).
 */
#ifndef FP_JOBLIB_DUMP_H
#define FP_JOBLIB_DUMP_H

#include "out/staging.h"
#include "walk/outlet.h"

#define FP_HELD_BYTES ((size_t)2 << 20)

typedef struct {
    fp_outlet outlet; /* the walk's; set by fp_joblib_walk() */
    fp_staging staging;
    uint64_t start; /* where the stream begins in its file */
    size_t n_held;  /* array bytes among the opcodes of a silent walk */
} fp_stream;

/* Sets up `walk` (zeroed; the caller frees it) and writes all of `value` into
 * the stream's ring. `names` is the walk's. */
int fp_joblib_walk(fp_walk *walk, fp_state *state, fp_stream *stream,
                   PyObject *value, int protocol, PyObject *names);

#endif

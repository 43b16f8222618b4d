/* The hash of a value: XXH3-128 over a walk of its own kind, no opcodes made.
 *
 * docs/hash.md says byte by byte what is hashed; FP_HASH_VERSION goes into every
 * hash, and changes with any of it.
 *
 * Ownership: the value is borrowed; what is met is kept alive until the end.
 * GIL held, and released while large payloads are hashed. Errors: NULL with an
 * exception set; a note says where in the value it happened.
 *
 *   hash.c          the stack machine, what was met, and the end of each object
 *   hash_leaves.c   records of numbers, text and bytes
 *   hash_objects.c  classes, functions, instances, reducers
 *   hash_arrays.c   NumPy's arrays, dtypes and numbers; columns of frames
 *   hash_cycles.c   objects that contain themselves
 */
#ifndef FP_HASH_H
#define FP_HASH_H

#include "base/state.h"

#define FP_HASH_VERSION 1

/* The hash as a str of 32 hexadecimal digits. */
PyObject *fp_hash_value(fp_state *state, PyObject *value, int n_threads);

#endif

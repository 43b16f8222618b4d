/* Files that joblib wrote (0.10 and later): arrays interleaved with opcodes.
 *
 * A NumpyArrayWrapper is an instance whose state says shape, dtype and order;
 * the array's bytes follow the BUILD that completes it: padding (where the
 * state has numpy_array_alignment_bytes), then raw bytes; an array of objects
 * is a complete pickle of its own. The array takes the wrapper's place on the
 * stack; the memo keeps the wrapper.
 *
 * Errors: -1 or NULL with an exception set. GIL held; released around reads.
 */
#ifndef FP_JOBLIB_LAYOUT_H
#define FP_JOBLIB_LAYOUT_H

#include "base/state.h"

/* How the arrays of one load are to be made: a machine's `array_rules`. Without
 * them: foreign byte order is swapped, one thread reads. */
typedef struct fp_joblib {
    int native_order; /* swap foreign byte order */
    /* Of a mapped file, else NULL; all borrowed (see blobs.h). The input's
     * first byte is the map's. */
    PyObject *map;
    const unsigned char *map_data;
    uint64_t map_bytes;
    PyObject *map_mode;
    PyObject *map_filename;
    PyObject *path; /* as given, for a warning; NULL: map_filename */
} fp_joblib;

#endif

/* Arrays made natively: over memory that they own, or over a map of the file.
 *
 * GIL held. Errors: -1 or NULL with an exception set.
 */
#ifndef FP_ARRAY_LOAD_H
#define FP_ARRAY_LOAD_H

#include "base/numpy_api.h"
#include "base/state.h"

/* The allocator of NumPy's arrays in this context, a capsule: new reference.
 * Memory comes from it, goes back to it, and grows in it; an array that takes
 * the memory keeps a reference to it. */
PyObject *fp_array_handler(void);
void *fp_array_memory_new(PyObject *handler, size_t n_bytes);
void *fp_array_memory_resize(PyObject *handler, void *data, size_t n_bytes);
void fp_array_memory_free(PyObject *handler, void *data, size_t n_bytes);

/* Shape and layout of an array to be made. */
typedef struct {
    int n_dims;
    npy_intp shape[NPY_MAXDIMS];
    npy_intp strides[NPY_MAXDIMS]; /* where has_strides */
    int has_strides;               /* else C order, or Fortran order */
    int is_fortran;
} fp_array_layout;

/* Most dimensions that the running NumPy knows. */
int fp_array_max_dims(void);

/* An array that owns `data` (memory of `handler`, exactly as long as the array
 * needs), writable. Takes `data` over only where it succeeds. `descr` is
 * borrowed. */
PyObject *fp_array_take(PyArray_Descr *descr, const fp_array_layout *layout,
                        void *data, PyObject *handler);
/* A numpy.memmap over a map of a file whose first byte is the file's: `map` is
 * its mmap.mmap and the array's base, `offset` the array's place in the file,
 * `mode` and `filename` what the array's attributes say (all borrowed). */
PyObject *fp_array_of_map(fp_state *state, PyArray_Descr *descr,
                          const fp_array_layout *layout, PyObject *map,
                          const unsigned char *map_data, uint64_t offset,
                          PyObject *mode, PyObject *filename);

/* A bytearray of the array's bytes as they lie in memory, in the other byte
 * order where is_swapped. */
PyObject *fp_array_raw_bytes(PyObject *array, int is_swapped);

/* What joblib swaps: a dtype of foreign byte order, or with fields that all
 * are. */
int fp_array_is_foreign(PyArray_Descr *descr);
/* Swaps an array (that nobody else has seen) in place and gives it the native
 * dtype, where its own is foreign. */
int fp_array_make_native(PyArrayObject *array);

#endif

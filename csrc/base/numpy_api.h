/* NumPy's C API for the files that use it: one table of pointers for all of
 * them, not visible outside of the extension, filled by fp_numpy_init(); and
 * the few facts about dtypes and arrays that several folders ask for.
 *
 * GIL held. Errors: -1 with an exception set. Nothing is owned.
 */
#ifndef FP_NUMPY_API_H
#define FP_NUMPY_API_H

#include "state.h"

#define PY_ARRAY_UNIQUE_SYMBOL fp_numpy_api
#ifndef FP_IMPORT_NUMPY
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

/* Imports NumPy and notes in the state what every dump and load compares
 * with. 0 or -1. */
int fp_numpy_init(fp_state *state);

/* Whether the elements are bytes that mean the same wherever they lie: no
 * objects, no pointers. */
int fp_has_plain_bytes(const PyArray_Descr *descr);

static inline int
fp_is_builtin_number(int type_num)
{
    return type_num >= NPY_BOOL && type_num <= NPY_HALF
           && type_num != NPY_OBJECT;
}

static inline int
fp_has_fields(PyArray_Descr *descr)
{
    PyObject *names = PyDataType_NAMES(descr);
    return names != NULL && names != Py_None;
}

/* The memory of an array; all zero for anything else (NULL allowed). */
typedef struct {
    const char *data;
    size_t n_bytes;
} fp_array_extent;

fp_array_extent fp_extent_of(PyObject *exporter);

#endif

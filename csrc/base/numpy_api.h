/* NumPy's C API for the files that use it: one table of pointers for all of
 * them, not visible outside of the extension. array.c fills it at import
 * (FP_IMPORT_NUMPY, fp_array_init()); every other file just includes this. */
#ifndef FP_NUMPY_API_H
#define FP_NUMPY_API_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define PY_ARRAY_UNIQUE_SYMBOL fp_numpy_api
#ifndef FP_IMPORT_NUMPY
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

/* Whether the elements are bytes that mean the same wherever they lie: no
 * objects, no pointers. (array.c) */
int fp_has_plain_bytes(const PyArray_Descr *descr);

#endif

/* The Unpickler type and loads(): the standard library's interface over the
 * machine of unpickle.h. GIL held. */
#ifndef FP_UNPICKLER_H
#define FP_UNPICKLER_H

#include "base/state.h"

int fp_unpickler_init(PyObject *module, fp_state *state); /* at import */
/* METH_FASTCALL | METH_KEYWORDS:
 * loads(data, /, *, fix_imports=True, encoding="ASCII", errors="strict",
 *       buffers=()) */
PyObject *fp_loads(PyObject *module, PyObject *const *arguments,
                   Py_ssize_t n_arguments, PyObject *keywords);

#endif

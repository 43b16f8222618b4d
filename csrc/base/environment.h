/* What the footer says about where a file was made: JSON with sorted keys and
 * no white space. Only looks at what is imported already, runs no code of it.
 * GIL held. */
#ifndef FP_ENVIRONMENT_H
#define FP_ENVIRONMENT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "core/buffer.h"

/* Appends the JSON to `out`. `packages` is a set of top-level module names
 * (borrowed); those without a version are left out. 0, or -1 with an
 * exception set. */
int fp_environment_write(PyObject *packages, fp_buffer *out);

#endif

/* What the footer says about where a file was made: JSON with sorted keys and
 * no white space. Only looks at what is imported already, runs no code of it.
 * GIL held. */
#ifndef FP_ENVIRONMENT_H
#define FP_ENVIRONMENT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "core/buffer.h"

/* Appends the JSON to `out`. `packages` is a set of top-level module names
 * (borrowed), to which what they depend on is added; those without a version
 * are left out. 0, or -1 with an exception set. */
int fp_environment_write(PyObject *packages, fp_buffer *out);

/* Whether all packages of such a text run in the versions that it names: 1; 0
 * where one does not, or where it is not written as above. With `only_imported`
 * those that are not imported yet are passed over. Never fails. A file's text:
 * NUL-terminated, otherwise any bytes. */
int fp_environment_is_same(const char *json, size_t n_bytes,
                           int only_imported);

#endif

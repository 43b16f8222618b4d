/* The one place where a status of the core becomes an exception, and where an
 * exception learns at which place of the object it happened. GIL held. */
#ifndef FP_ERRORS_H
#define FP_ERRORS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "core/status.h"

struct fp_walk;

/* Sets the exception for `status`. FP_SINK_FAILED: one is set already. `path`
 * (borrowed, may be NULL) and `saved_errno` are for FP_IO; `step` (static text
 * or NULL) says in the message which step failed, where that is not plain from
 * the exception itself. Returns -1. */
int fp_raise_status(fp_status status, int saved_errno, PyObject *path,
                    const char *step);

/* Adds to the exception that is set a note with the path from the root to the
 * object the walk was at, such as value.steps[1][1].kernel. Runs no code of
 * the objects on the path. */
void fp_note_path(struct fp_walk *walk);

#endif

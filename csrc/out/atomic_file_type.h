/* AtomicFile: core/atomic_file.h as a Python type, private to the package, for
 * dumps that write through Python.
 *
 *     AtomicFile(path, durable)    opens; `path` is str or bytes
 *     fileno()                     descriptor of what is written, its own
 *     name                         path of what is written (the temporary), as
 *                                  str, from the root where that leads to it;
 *                                  for writers that open files themselves
 *     commit()                     it replaces its target
 *     abort()                      it is gone; nothing after commit() or abort()
 *
 * A file that is dropped without commit() is aborted. What cannot be replaced
 * but written is, with a RuntimeWarning in front. commit() may copy into an
 * empty target: it sees to signals meanwhile. A forked child leaves the
 * parent's file alone.
 * GIL held; released around the calls of the system.
 */
#ifndef FP_ATOMIC_FILE_TYPE_H
#define FP_ATOMIC_FILE_TYPE_H

#include "base/state.h"
#include "core/atomic_file.h"

int fp_atomic_file_type_init(PyObject *module);

/* What the type and a dump to a path share. 0, or -1 with an exception and
 * nothing open; a file in place has been truncated. */
int fp_atomic_file_open_path(fp_atomic_file *file, PyObject *path,
                             int durable);
int fp_atomic_file_prepare_path(fp_atomic_file *file, PyObject *path);
int fp_atomic_file_commit_path(fp_atomic_file *file, PyObject *path);
/* Keeps the exception that is set. */
void fp_atomic_file_abort_path(fp_atomic_file *file);

#endif

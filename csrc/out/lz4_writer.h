/* Lz4Writer: core/lz4_frame.h's writer as a Python type, private to the
 * package.
 *
 *     Lz4Writer(file, level, n_threads, path=None)
 *
 * `file` is an object with write(), called by the thread that calls in, or a
 * descriptor, which stays the caller's and must stay open; then `path` is
 * named in errors. write(data) takes everything; close() ends the frame and
 * the threads, not the file. Without close() the frame has no end.
 * GIL released while it works; a second call meanwhile, from another thread or
 * from within the file's write(), is a RuntimeError.
 */
#ifndef FP_LZ4_WRITER_H
#define FP_LZ4_WRITER_H

#include "base/state.h"
#include "core/sink.h"

int fp_lz4_writer_type_init(PyObject *module, fp_state *state);

/* For a dump into an Lz4Writer without a way through Python: *sink is where
 * its bytes go and *path (borrowed, may be NULL) what errors name; *sink is NULL
 * where `file` is something else. Until it is given back
 * with fp_lz4_writer_type_release(), write() and close() are refused. 0, or -1 with
 * an exception. */
int fp_lz4_writer_type_acquire(fp_state *state, PyObject *file, fp_sink **sink,
                               PyObject **path);
void fp_lz4_writer_type_release(PyObject *file);

#endif

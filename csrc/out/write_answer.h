/* What write() of a file object answers, and whether that counts.
 *
 * pickle and joblib never look: whatever write() returns, it has taken
 * everything. Only io.RawIOBase says otherwise, which may take less, or
 * nothing without waiting. So the answer counts for
 * - instances of io.RawIOBase, registered ones too;
 * - what hands out the write() of one: a method bound to it, also through
 *   functools.wraps, as tempfile's wrappers of files without a buffer do;
 * - tempfile.SpooledTemporaryFile, whose write() returns what the file of the
 *   moment answered.
 *
 * GIL held. Errors: -1 with an exception set.
 */
#ifndef FP_WRITE_ANSWER_H
#define FP_WRITE_ANSWER_H

#include "base/state.h"

/* 1 or 0; `write` is that attribute of `file`. Both are borrowed. */
int fp_write_counts(const fp_state *state, PyObject *file, PyObject *write);

/* How many of n_bytes > 0 bytes were taken, by an answer that counts: at least
 * one. None is BlockingIOError, what no number of bytes can be OSError. */
Py_ssize_t fp_bytes_taken(PyObject *answer, Py_ssize_t n_bytes);

#endif

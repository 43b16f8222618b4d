/* Dumping to a path or a file object: the walk, the sidecar, the ring and the
 * file, brought together.
 *
 * To a path: an atomic_file; nothing of it is visible before the commit.
 * To a file object: its write() is called with bytes objects by the calling
 * thread alone, front to back.
 * A process forked in the middle of a dump (by user code) cannot go on with
 * it: the child gets RuntimeError and leaves the parent's file alone.
 * GIL held on entry and return; released around input and output.
 */
#ifndef FP_DUMP_H
#define FP_DUMP_H

#include "state.h"

/* 0, or -1 with an exception set. `path` is what the user gave (str or bytes);
 * n_threads >= 1. */
int fp_dump_to_path(fp_state *state, PyObject *value, PyObject *path,
                    int protocol, int durable, int n_threads);
int fp_dump_to_file(fp_state *state, PyObject *value, PyObject *file,
                    int protocol);

#endif

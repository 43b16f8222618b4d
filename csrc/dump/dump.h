/* Dumping to a path or a file object: the walk, its rings and the targets,
 * brought together.
 *
 * To a path nothing is visible before the end; to a file object everything is
 * written front to back (target.h). With a sidecar file there are two of
 * either kind, and of two paths the sidecar's is renamed first.
 * A process forked in the middle of a dump (by user code) cannot go on with
 * it: the child gets RuntimeError and leaves the parent's file alone.
 * GIL held on entry and return; released around input and output.
 */
#ifndef FP_DUMP_H
#define FP_DUMP_H

#include "base/state.h"

typedef enum {
    FP_LAYOUT_PICKLE, /* csrc/FORMAT.md; a plain pickle below protocol 5 */
    FP_LAYOUT_JOBLIB, /* joblib_dump.h */
    FP_LAYOUT_PLAIN,  /* a plain pickle of any protocol */
} fp_dump_layout;

typedef struct {
    fp_dump_layout layout;
    int protocol;
    int durable;        /* of paths */
    int n_threads;      /* at least 1 */
    uint64_t start;     /* joblib's layout: where the file object stands */
    PyObject *report;   /* borrowed: told of progress; NULL or None: nobody */
    PyObject *names;    /* borrowed: as of fp_walk */
    PyObject *reducers; /* borrowed: as of fp_walk; FP_LAYOUT_PICKLE with
                         * protocol 5 only */
    const char *environment; /* borrowed: for the footer; NULL: that of here */
    Py_ssize_t environment_bytes;
} fp_dump_options;

/* 0, or -1 with an exception set. `place` is what the user gave: str or bytes
 * is a path, anything else has a write(). So is `sidecar`; NULL: one file. A
 * sidecar needs FP_LAYOUT_PICKLE and protocol 5. */
int fp_dump_value(fp_state *state, PyObject *value, PyObject *place,
                  PyObject *sidecar, const fp_dump_options *options);

#endif

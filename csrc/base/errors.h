/* The one place where a status of the core becomes an exception, and where an
 * exception learns at which place of the object or of the file it happened.
 * GIL held. */
#ifndef FP_ERRORS_H
#define FP_ERRORS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "core/status.h"
#include "state.h"

/* Makes CorruptFileError and TruncatedFileError; at import. */
int fp_errors_init(PyObject *module, fp_state *state);

/* Sets the exception for `status`. FP_SINK_FAILED: one is set already. `path`
 * (borrowed, may be NULL) and `saved_errno` are for FP_IO; `step` (static text
 * or NULL) says in the message which step failed, where that is not plain from
 * the exception itself. Returns -1. */
int fp_raise_status(fp_status status, int saved_errno, PyObject *path,
                    const char *step);

/* The parts of a file, as `section` of an exception names them. */
typedef enum {
    FP_SECTION_HEADER,
    FP_SECTION_ARRAYS, /* and large leaves: the blobs */
    FP_SECTION_GRAPH,
    FP_SECTION_FOOTER,
    FP_SECTION_TRAILING,
    FP_SECTION_PICKLE,  /* of a file that is not ours */
    FP_SECTION_SIDECAR, /* the second file of a dump in two */
} fp_section;

/* CorruptFileError, or TruncatedFileError where status is FP_TRUNCATED, or
 * UnpicklingError where it is FP_TOO_NEW: what was expected (static text) at an
 * offset of the file. `path` (borrowed) is NULL for a file object. Returns
 * -1. */
int fp_raise_damage(fp_state *state, fp_status status, PyObject *path,
                    fp_section section, uint64_t offset, const char *expected);

/* CorruptFileError: the bytes from `offset` up to `end` do not have the hash
 * that they were written with. Returns -1. */
int fp_raise_bad_block(fp_state *state, PyObject *path, fp_section section,
                       uint64_t offset, uint64_t end);

/* CorruptFileError with a message of its own (stolen; NULL: its exception is
 * set): no single place is wrong. Returns -1. */
int fp_raise_corrupt(fp_state *state, PyObject *path, fp_section section,
                     PyObject *message);

/* UnpicklingError: there is more in the file than the caller wants to take.
 * Returns -1. */
int fp_raise_over_limit(fp_state *state, PyObject *path, uint64_t max_bytes);

/* The exception that is set was raised while opcodes ran. Where that is because
 * of the bytes it becomes a CorruptFileError (TruncatedFileError where the input
 * ended) that says where; other exceptions stay. The bytes are the reason of an
 * UnpicklingError or EOFError that has no traceback, so none of code in between;
 * with `no_foreign_code`, of nearly any exception. */
void fp_name_damage(fp_state *state, PyObject *path, fp_section section,
                    uint64_t offset, int is_truncated, int no_foreign_code);

/* A warning at the line that called into the package, however many functions of
 * its own lie between. 0, or -1: it is an exception here. */
int fp_warn(PyObject *category, const char *format, ...);

/* Adds a note to the exception that is set, if any, as pickle itself does: where
 * that fails, its failure is raised in place of the exception, which is its
 * context. A note of messages.h; before 3.14 there are none, and this does
 * nothing. */
void fp_add_note(const char *format, ...);

/* A path from the root of what is dumped to an object in it, part by part. */
typedef struct {
    size_t n_steps;
    /* Part i, such as ".steps" or "[1]": a new reference to a str, or NULL. Runs
     * no code of the objects on the path. */
    PyObject *(*step)(const void *context, size_t i);
    const void *context;
} fp_path;

/* Adds to the exception that is set a note with the path at which it happened,
 * such as value.steps[1][1].kernel; of a long one its ends. An older one goes. */
void fp_note_path(fp_state *state, const fp_path *path);
/* What an exception's reducer returned, without such notes in its state: the
 * exception may have been raised by a dump before. New reference, or NULL. */
PyObject *fp_without_notes(const fp_state *state, PyObject *reduced);
/* Adds a note to the exception that is set: where in the input the unpickler
 * was. `path` may be NULL. */
void fp_note_place(fp_state *state, PyObject *path, uint64_t offset);
/* Adds a note that lists the versions a file was saved with beside the running
 * ones. `json` is the environment of the file's footer. */
void fp_note_environment(fp_state *state, const char *json, size_t n_bytes);

#endif

/* The small types of the module: streams and proxies that Python code holds
 * for a while, each a struct with fp_small_head in front. What such types have
 * in common (the collector, the end of an instance, the way into the module) is
 * here; a type says the rest in one table.
 *
 * Ownership: an instance owns what its `visit` shows; `clear` drops that, and
 * `end` everything else; both may be called on an instance that was not made to
 * the end. Types are heap types, immutable, without subclasses. GIL held.
 * Errors: -1 or NULL with an exception set.
 */
#ifndef FP_SMALL_TYPE_H
#define FP_SMALL_TYPE_H

#include "state.h"

typedef struct {
    const char *name; /* "fastpersist._core.Name" */
    const char *doc;
    int n_bytes;  /* of an instance */
    newfunc make; /* NULL: only C code makes them */
    PyMethodDef *methods;
    PyGetSetDef *getset; /* or NULL */
    traverseproc visit;  /* without the type, which is seen to; or NULL */
    inquiry clear;       /* or NULL */
    void (*end)(
        PyObject *self); /* before `clear`, for the last time; or NULL */
} fp_small_type;

typedef struct {
    PyObject_HEAD
    const fp_small_type *kind; /* NULL until fp_small_new() is through */
} fp_small_head;

/* A new reference to the type; in the module under the last part of its name
 * where it can be made from Python. */
PyTypeObject *fp_small_type_add(PyObject *module, const fp_small_type *kind);
/* A zeroed instance, for `make`. */
void *fp_small_new(PyTypeObject *type, const fp_small_type *kind);

#endif

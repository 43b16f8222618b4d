/* Reducers that are known: what Python itself defines how to write, so that a
 * silent walk need not ask. Only where nothing overrides it.
 *
 * In silence only (walk.h): then no class can change, so what is known of one
 * holds until the walk ends or starts over, and no container can either, so
 * what it holds is borrowed. What goes wrong makes the walk start over
 * (fp_call_out()): the reducers are called then, and the exception and its notes
 * are those of the general way.
 *
 * Errors: as in walk.h. GIL held.
 */
#ifndef FP_KNOWN_H
#define FP_KNOWN_H

#include "walk.h"

typedef enum {
    FP_KNOWN_NOTHING, /* its reducer must be asked */
    /* By object's own reducer: class, arguments, NEWOBJ, items, state. */
    FP_KNOWN_OBJECT,
    FP_KNOWN_LIST, /* subclasses */
    FP_KNOWN_DICT,
    FP_KNOWN_TUPLE,
    FP_KNOWN_NAMEDTUPLE,
    FP_KNOWN_STR,
    FP_KNOWN_BYTES,
    FP_KNOWN_INT,
    FP_KNOWN_FLOAT,
    /* By one of their own: class, arguments, REDUCE, items, state. */
    FP_KNOWN_SET, /* the first of them; subclasses, of frozenset too */
    FP_KNOWN_ORDERED_DICT,
    FP_KNOWN_DEFAULT_DICT,
    FP_KNOWN_COUNTER,
    FP_KNOWN_DEQUE,
    FP_KNOWN_NAMESPACE,
    FP_KNOWN_ENUM,
} fp_known_kind;

typedef struct {
    PyObject *name; /* borrowed from the class */
    Py_ssize_t offset;
} fp_known_slot;

typedef struct fp_known_class {
    fp_known_kind kind;
    int has_dict;
    size_t n_slots; /* that are part of the state */
    fp_known_slot slots[];
} fp_known_class;

/* known_classes.c. What is known of a class; borrowed from the walk. NULL with
 * MemoryError set. */
const fp_known_class *fp_known_class_of(fp_walk *walk, PyTypeObject *type);

/* Whether the metaclass leaves alone how a class's attributes are looked up,
 * and has none itself of those that pickle looks for in the class. */
int fp_has_plain_metaclass(const fp_state *state, PyTypeObject *type);

/* The types and functions that are known; at import. 0 or -1. */
int fp_known_init(fp_state *state);

/* instances.c: whether the class is written by its name, without anybody's
 * reducer: the metaclass may have one. 1, 0 or -1. */
int fp_class_goes_by_name(const fp_walk *walk, PyTypeObject *type);
int fp_has_plain_names(PyTypeObject *type);
/* The size of an instance that has a dict and a list of weak references at
 * most: a type that is larger holds data that no dict shows. */
Py_ssize_t fp_bare_size(PyTypeObject *type);

static inline int
fp_has_dict(PyTypeObject *type)
{
    return (type->tp_flags & Py_TPFLAGS_MANAGED_DICT) != 0
           || type->tp_dictoffset != 0;
}

#endif

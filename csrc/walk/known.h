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
    FP_KNOWN_COMPLEX, /* subclasses */
    /* The first whose state is not the instance's dict alone. */
    FP_KNOWN_UUID,
    /* By one of their own: class, arguments, REDUCE, items, state. */
    FP_KNOWN_SET, /* the first of them; subclasses, of frozenset too */
    FP_KNOWN_ORDERED_DICT,
    FP_KNOWN_DEFAULT_DICT,
    FP_KNOWN_COUNTER,
    FP_KNOWN_DEQUE,
    FP_KNOWN_NAMESPACE,
    FP_KNOWN_ENUM,
    /* Values: class, arguments, REDUCE (known_values.c). */
    FP_KNOWN_DATE, /* the first of them */
    FP_KNOWN_TIME,
    FP_KNOWN_DATETIME,
    FP_KNOWN_TIMEDELTA,
    FP_KNOWN_DECIMAL,
    FP_KNOWN_BUILTIN_COMPLEX, /* registered with copyreg */
    FP_KNOWN_TIMEZONE,        /* the first whose arguments are objects */
    FP_KNOWN_RANGE,
    FP_KNOWN_SLICE,
    FP_KNOWN_FRACTION,
    FP_KNOWN_PATH,
} fp_known_kind;

typedef struct {
    PyObject *name; /* borrowed from the class */
    Py_ssize_t offset;
} fp_known_slot;

typedef struct fp_known_class {
    fp_known_kind kind;
    int has_dict;
    PyObject *unknown; /* UUID: borrowed, SafeUUID.unknown */
    size_t n_slots;    /* that are part of the state, or are arguments */
    fp_known_slot slots[];
} fp_known_class;

/* known_classes.c. What is known of a class; borrowed from the walk. NULL with
 * MemoryError set. */
const fp_known_class *fp_known_class_of(fp_walk *walk, PyTypeObject *type);

/* Whether the metaclass leaves alone how a class's attributes are looked up,
 * and has none itself of those that pickle looks for in the class. */
int fp_has_plain_metaclass(const fp_state *state, PyTypeObject *type);

/* Where an instance holds what is a plain member of it under that name, or -1.
 * `flags`: of a member that is none of __slots__. */
Py_ssize_t fp_member_offset(PyTypeObject *type, PyObject *name, int flags);

/* known_functions.c. The types and functions that are known; at import. 0 or
 * -1. */
int fp_known_init(fp_state *state);
typedef enum {
    FP_FUNCTION_ENUM,
    FP_FUNCTION_COUNTER,
    FP_FUNCTION_COMPLEX,
    FP_FUNCTION_FRACTION,
    FP_FUNCTION_PATH,
    FP_FUNCTION_UUID,
    FP_FUNCTION_NAMEDTUPLE,
    FP_N_FUNCTIONS
} fp_known_function;
/* 1 where the function (or what it is) does that, 0, or -1. */
int fp_does(const fp_state *state, PyObject *function, fp_known_function what);
/* SafeUUID.unknown as UUID's __getstate__ finds it: borrowed, or NULL with or
 * without an exception. */
PyObject *fp_unknown_safety(const fp_state *state, PyObject *function);

/* known_values.c. Which value an instance of the class is, by the reducers that
 * the class has. */
fp_known_kind fp_kind_of_value(fp_state *state, PyTypeObject *type,
                               PyObject *reduce_ex, PyObject *reduce);
/* Where the arguments are. 1, 0: not where they should be. */
int fp_find_arguments(const fp_state *state, PyTypeObject *type,
                      fp_known_kind kind, fp_known_class *known);
#define FP_MAX_ARGUMENTS 3
/* What follows the class. */
int fp_save_value(fp_walk *walk, PyObject *object, const fp_known_class *known,
                  int lonely);
/* Of a complex number, or of a subclass's instance. */
int fp_save_complex_parts(fp_walk *walk, PyObject *object);
int fp_step_value(fp_walk *walk, fp_frame *frame, const fp_known_class *known);

/* A tuple, list or dict that only pickle would make; nobody meets it again. */
static inline int
fp_begin_temporary(fp_walk *walk)
{
    return walk->late_puts ? 0 : fp_end_full_frame(walk);
}

static inline int
fp_put_temporary(fp_walk *walk)
{
    return walk->late_puts ? 0 : fp_put_in_stream(walk, NULL, 1);
}

/* The end of a tuple of one to three items, or of one with a MARK. */
static inline int
fp_end_tuple(fp_walk *walk, Py_ssize_t n_items)
{
    static const unsigned char opcodes[] = {0, OP_TUPLE1, OP_TUPLE2,
                                            OP_TUPLE3};

    return fp_emit_byte(walk, n_items > 3 ? OP_TUPLE : opcodes[n_items]) < 0
               ? -1
               : fp_put_temporary(walk);
}

/* A str that the walk has made itself is kept from here on: longer ones may
 * become blobs. */
#define FP_SHORT_STR 4000

/* In silence: only whom the walk follows holds it. */
static inline int
fp_is_lonely(PyObject *object)
{
    return Py_REFCNT(object) == 1;
}

static inline PyObject *
fp_slot_value(PyObject *object, const fp_known_slot *slot)
{
    return *(PyObject **)((char *)object + slot->offset);
}

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

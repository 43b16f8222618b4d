/* Which classes have a reducer that is known, and what of it need be known. */
#include "known.h"

#include "base/compat.h"

#include <stdlib.h>
#include <string.h>

/* --- slots --------------------------------------------------------------- */

typedef struct {
    PyObject **names; /* borrowed from the class */
    size_t n_names;
    size_t capacity;
} slot_names;

/* More would need a second batch. */
#define MAX_SLOTS ((size_t)FP_BATCH_ITEMS - 1)

/* 1, 0: not a name as others are, -1. */
static int
add_name(slot_names *found, PyObject *name)
{
    if (!PyUnicode_CheckExact(name) || found->n_names == MAX_SLOTS) {
        return 0;
    }
    if (found->n_names == found->capacity) {
        size_t wanted = found->capacity == 0 ? 16 : found->capacity * 2;
        PyObject **moved = realloc(found->names, wanted * sizeof(PyObject *));
        if (moved == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        found->names = moved;
        found->capacity = wanted;
    }
    found->names[found->n_names++] = name;
    return 1;
}

static int
is_private(PyObject *name)
{
    Py_ssize_t length = PyUnicode_GET_LENGTH(name);

    return length >= 2 && PyUnicode_READ_CHAR(name, 0) == '_'
           && PyUnicode_READ_CHAR(name, 1) == '_'
           && !(PyUnicode_READ_CHAR(name, length - 1) == '_'
                && PyUnicode_READ_CHAR(name, length - 2) == '_');
}

/* A name as it stands in __slots__. How a private one is called is a str that
 * copyreg makes and keeps on the class: such a class is known from then on. */
static int
add_own_slot(const fp_state *state, slot_names *found, PyObject *name)
{
    if (!PyUnicode_CheckExact(name)) {
        return 0;
    }
    if (PyUnicode_Compare(name, state->str_dict) == 0
        || PyUnicode_Compare(name, state->str_weakref) == 0)
    {
        return 1;
    }
    return is_private(name) ? 0 : add_name(found, name);
}

static int
add_slots_of(const fp_state *state, slot_names *found, PyObject *slots)
{
    Py_ssize_t n_slots;
    int status = 1;

    if (PyUnicode_CheckExact(slots)) {
        return add_own_slot(state, found, slots);
    }
    if (!PyTuple_CheckExact(slots) && !PyList_CheckExact(slots)) {
        return 0;
    }
    n_slots = PySequence_Fast_GET_SIZE(slots);
    for (Py_ssize_t i = 0; status == 1 && i < n_slots; i++) {
        status =
            add_own_slot(state, found, PySequence_Fast_GET_ITEM(slots, i));
    }
    return status;
}

/* What a class's own dict holds: borrowed, NULL without an exception. In
 * silence: nothing takes it out of there. */
static PyObject *
own_entry(PyTypeObject *type, PyObject *name)
{
    PyObject *dict = fp_type_dict(type);
    PyObject *entry = NULL;

    if (dict != NULL) {
        (void)fp_dict_get(dict, name, &entry);
        Py_XDECREF(entry);
        Py_DECREF(dict);
    }
    return entry;
}

/* What copyreg._slotnames() would say. 1, 0: asked itself, it may say something
 * else, -1. */
static int
find_slot_names(const fp_state *state, PyTypeObject *type, slot_names *found)
{
    PyObject *cached = own_entry(type, state->str_slotnames);
    PyObject *mro = type->tp_mro;
    int status = 1;

    if (cached != NULL) {
        if (!PyList_CheckExact(cached)) {
            return 0;
        }
        for (Py_ssize_t i = 0; status == 1 && i < PyList_GET_SIZE(cached); i++)
        {
            status = add_name(found, PyList_GET_ITEM(cached, i));
        }
        return status;
    }
    for (Py_ssize_t i = 0; status == 1 && i < PyTuple_GET_SIZE(mro); i++) {
        PyObject *slots = own_entry((PyTypeObject *)PyTuple_GET_ITEM(mro, i),
                                    state->str_slots);
        if (slots != NULL) {
            status = add_slots_of(state, found, slots);
        }
    }
    return status;
}

Py_ssize_t
fp_member_offset(PyTypeObject *type, PyObject *name, int flags)
{
    PyObject *descriptor = fp_type_lookup(type, name);
    const PyMemberDef *member;

    if (descriptor == NULL || !Py_IS_TYPE(descriptor, &PyMemberDescr_Type)
        || !PyType_IsSubtype(type, PyDescr_TYPE(descriptor)))
    {
        return -1;
    }
    member = ((PyMemberDescrObject *)descriptor)->d_member;
    return member->type == Py_T_OBJECT_EX && member->flags == flags
               ? member->offset
               : -1;
}

/* The slots of the state, each name once: pickle puts them in a dict. 1, 0 or
 * -1. */
static int
resolve_slots(PyTypeObject *type, const slot_names *names,
              fp_known_class *known)
{
    for (size_t i = 0; i < names->n_names; i++) {
        Py_ssize_t offset = fp_member_offset(type, names->names[i], 0);
        int is_new = 1;
        if (offset < 0) {
            return 0;
        }
        for (size_t j = 0; is_new && j < known->n_slots; j++) {
            is_new =
                PyUnicode_Compare(known->slots[j].name, names->names[i]) != 0;
        }
        if (is_new) {
            known->slots[known->n_slots++] =
                (fp_known_slot){names->names[i], offset};
        }
    }
    return 1;
}

/* --- classes ------------------------------------------------------------- */

int
fp_has_plain_metaclass(const fp_state *state, PyTypeObject *type)
{
    PyTypeObject *meta = Py_TYPE(type);
    PyTypeObject *plain = &PyType_Type;

    return meta == plain
           || (meta->tp_hash == plain->tp_hash && fp_has_plain_names(meta)
               && fp_type_lookup(meta, state->str_getattribute)
                      == fp_type_lookup(plain, state->str_getattribute)
               && fp_type_lookup(meta, state->str_name)
                      == fp_type_lookup(plain, state->str_name)
               && fp_type_lookup(meta, state->str_reduce)
                      == fp_type_lookup(plain, state->str_reduce));
}

static inline int
inherits(PyTypeObject *type, PyTypeObject *base, PyObject *name)
{
    return fp_type_lookup(type, name) == fp_type_lookup(base, name);
}

/* A reducer of its own, which must be that of a type that is known. */
static fp_known_kind
kind_by_reducer(const fp_state *state, PyTypeObject *type, PyObject *reducer)
{
    PyTypeObject *default_dict = (PyTypeObject *)state->default_dict_type;
    PyTypeObject *deque = (PyTypeObject *)state->deque_type;
    PyObject *name = state->str_reduce;

    if (PyType_IsSubtype(type, &PySet_Type)
        || PyType_IsSubtype(type, &PyFrozenSet_Type))
    {
        return type->tp_iter == PySet_Type.tp_iter
                       && (inherits(type, &PySet_Type, name)
                           || inherits(type, &PyFrozenSet_Type, name))
                   ? FP_KNOWN_SET
                   : FP_KNOWN_NOTHING;
    }
    if (PyType_IsSubtype(type, &PyODict_Type)) {
        return inherits(type, &PyODict_Type, name)
                       && inherits(type, &PyODict_Type, state->str_items)
                   ? FP_KNOWN_ORDERED_DICT
                   : FP_KNOWN_NOTHING;
    }
    if (PyType_IsSubtype(type, default_dict)) {
        return inherits(type, default_dict, name)
                       && inherits(type, default_dict, state->str_items)
                   ? FP_KNOWN_DEFAULT_DICT
                   : FP_KNOWN_NOTHING;
    }
    if (PyType_IsSubtype(type, &PyDict_Type)) {
        return type->tp_iter == PyDict_Type.tp_iter
                       && inherits(type, &PyDict_Type, state->str_keys)
                       && fp_does(state, reducer, FP_FUNCTION_COUNTER) == 1
                   ? FP_KNOWN_COUNTER
                   : FP_KNOWN_NOTHING;
    }
    if (PyType_IsSubtype(type, deque)) {
        return inherits(type, deque, name) && type->tp_iter == deque->tp_iter
                   ? FP_KNOWN_DEQUE
                   : FP_KNOWN_NOTHING;
    }
    if (PyType_IsSubtype(type, (PyTypeObject *)state->namespace_type)) {
        return inherits(type, (PyTypeObject *)state->namespace_type, name)
                   ? FP_KNOWN_NAMESPACE
                   : FP_KNOWN_NOTHING;
    }
    return FP_KNOWN_NOTHING;
}

/* object's reducer: what the class adds to a built-in type. */
static fp_known_kind
kind_by_base(const fp_state *state, PyTypeObject *type)
{
    PyObject *newargs = fp_type_lookup(type, state->str_getnewargs);
    PyObject *getstate;

    if (type->tp_new == NULL
        || fp_type_lookup(type, state->str_getnewargs_ex) != NULL)
    {
        return FP_KNOWN_NOTHING;
    }
    if (PyType_HasFeature(type, Py_TPFLAGS_LIST_SUBCLASS)) {
        return newargs == NULL && type->tp_iter == PyList_Type.tp_iter
                   ? FP_KNOWN_LIST
                   : FP_KNOWN_NOTHING;
    }
    if (PyType_HasFeature(type, Py_TPFLAGS_DICT_SUBCLASS)) {
        return newargs == NULL
                       && inherits(type, &PyDict_Type, state->str_items)
                   ? FP_KNOWN_DICT
                   : FP_KNOWN_NOTHING;
    }
    if (newargs == NULL) {
        getstate = fp_type_lookup(type, state->str_getstate);
        return fp_does(state, getstate, FP_FUNCTION_UUID) == 1
                   ? FP_KNOWN_UUID
                   : FP_KNOWN_OBJECT;
    }
    if (PyType_HasFeature(type, Py_TPFLAGS_TUPLE_SUBCLASS)) {
        if (inherits(type, &PyTuple_Type, state->str_getnewargs)) {
            return FP_KNOWN_TUPLE;
        }
        return type->tp_iter == PyTuple_Type.tp_iter
                       && fp_does(state, newargs, FP_FUNCTION_NAMEDTUPLE) == 1
                   ? FP_KNOWN_NAMEDTUPLE
                   : FP_KNOWN_NOTHING;
    }
    if (PyType_HasFeature(type, Py_TPFLAGS_UNICODE_SUBCLASS)) {
        return inherits(type, &PyUnicode_Type, state->str_getnewargs)
                   ? FP_KNOWN_STR
                   : FP_KNOWN_NOTHING;
    }
    if (PyType_HasFeature(type, Py_TPFLAGS_LONG_SUBCLASS)) {
        return inherits(type, &PyLong_Type, state->str_getnewargs)
                   ? FP_KNOWN_INT
                   : FP_KNOWN_NOTHING;
    }
    if (PyType_HasFeature(type, Py_TPFLAGS_BYTES_SUBCLASS)) {
        return inherits(type, &PyBytes_Type, state->str_getnewargs)
                   ? FP_KNOWN_BYTES
                   : FP_KNOWN_NOTHING;
    }
    if (PyType_IsSubtype(type, &PyComplex_Type)) {
        return inherits(type, &PyComplex_Type, state->str_getnewargs)
                   ? FP_KNOWN_COMPLEX
                   : FP_KNOWN_NOTHING;
    }
    return PyType_IsSubtype(type, &PyFloat_Type)
                   && inherits(type, &PyFloat_Type, state->str_getnewargs)
               ? FP_KNOWN_FLOAT
               : FP_KNOWN_NOTHING;
}

/* Which reducer an instance of the class has, whatever its state may be. */
static fp_known_kind
kind_of(const fp_walk *walk, PyTypeObject *type)
{
    fp_state *state = walk->state;
    PyObject *reduce_ex, *reduce;
    fp_known_kind kind;
    int found;

    if (PyType_IsSubtype(type, &PyType_Type)
        || !fp_has_plain_metaclass(state, type) || !fp_has_plain_names(type)
        || type->tp_getattro != PyObject_GenericGetAttr
        || fp_type_lookup(type, state->str_class_) != state->object_class)
    {
        return FP_KNOWN_NOTHING;
    }
    found = fp_dict_get(state->dispatch_table, (PyObject *)type, &reduce);
    Py_XDECREF(reduce); /* the table has it */
    if (found < 0 || fp_class_goes_by_name(walk, type) != 1) {
        return FP_KNOWN_NOTHING;
    }
    if (found > 0) {
        return type == &PyComplex_Type
                       && fp_does(state, reduce, FP_FUNCTION_COMPLEX) == 1
                   ? FP_KNOWN_BUILTIN_COMPLEX
                   : FP_KNOWN_NOTHING;
    }
    if (walk->reducers != NULL) {
        found = fp_dict_get(walk->reducers, (PyObject *)type, &reduce);
        Py_XDECREF(reduce);
        if (found != 0) {
            return FP_KNOWN_NOTHING;
        }
    }
    reduce_ex = fp_type_lookup(type, state->str_reduce_ex);
    reduce = fp_type_lookup(type, state->str_reduce);
    if (reduce_ex != state->object_reduce_ex) {
        return fp_type_lookup(type, state->str_value_) == NULL
                       && fp_has_dict(type)
                       && fp_does(state, reduce_ex, FP_FUNCTION_ENUM) == 1
                   ? FP_KNOWN_ENUM
                   : fp_kind_of_value(state, type, reduce_ex, reduce);
    }
    if (reduce == state->object_reduce) {
        return kind_by_base(state, type);
    }
    kind = kind_by_reducer(state, type, reduce);
    return kind != FP_KNOWN_NOTHING
               ? kind
               : fp_kind_of_value(state, type, reduce_ex, reduce);
}

/* pickle takes a class for the two functions of copyreg by its name alone. */
static int
is_named_like_newobj(const fp_state *state, PyTypeObject *type)
{
    PyObject *name = PyObject_GetAttr((PyObject *)type, state->str_name);
    int is_like = name == NULL || !PyUnicode_CheckExact(name)
                  || PyUnicode_Compare(name, state->str_newobj) == 0
                  || PyUnicode_Compare(name, state->str_newobj_ex) == 0;

    Py_XDECREF(name);
    return is_like;
}

/* Whether the reducer of that kind asks for the object's state. */
static inline int
has_state(fp_known_kind kind)
{
    return kind != FP_KNOWN_DEFAULT_DICT && kind != FP_KNOWN_COUNTER
           && kind != FP_KNOWN_NAMESPACE && kind < FP_KNOWN_ENUM
           && kind != FP_KNOWN_UUID;
}

/* Fills in what is known; `kind` stays FP_KNOWN_NOTHING where something is in
 * the way. 0 or -1. */
static int
look_at(const fp_state *state, PyTypeObject *type, fp_known_kind kind,
        const slot_names *names, fp_known_class *known)
{
    int status = 1;

    known->has_dict = fp_has_dict(type);
    if (kind >= FP_KNOWN_SET && is_named_like_newobj(state, type)) {
        PyErr_Clear();
        return 0;
    }
    if (!has_state(kind)) {
        status = fp_find_arguments(state, type, kind, known);
    }
    else {
        status =
            fp_type_lookup(type, state->str_getstate) == state->object_getstate
                ? resolve_slots(type, names, known)
                : 0;
    }
    if (kind == FP_KNOWN_OBJECT
        && (type->tp_itemsize != 0
            || type->tp_basicsize
                   > fp_bare_size(type)
                         + (Py_ssize_t)(names->n_names * sizeof(PyObject *))))
    {
        status = 0;
    }
    if (status == 1) {
        known->kind = kind;
    }
    return status < 0 ? -1 : 0;
}

static fp_known_class *
new_class(const fp_walk *walk, PyTypeObject *type)
{
    slot_names names = {0};
    fp_known_kind kind = kind_of(walk, type);
    fp_known_class *known = NULL;
    int status = 1;

    PyErr_Clear();
    if (kind != FP_KNOWN_NOTHING && has_state(kind)) {
        status = find_slot_names(walk->state, type, &names);
        if (status < 0) {
            goto done;
        }
        if (status == 0) {
            kind = FP_KNOWN_NOTHING;
        }
    }
    known = calloc(1, sizeof(*known)
                          + (names.n_names + FP_MAX_ARGUMENTS)
                                * sizeof(fp_known_slot));
    if (known == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    if (kind != FP_KNOWN_NOTHING
        && look_at(walk->state, type, kind, &names, known) < 0)
    {
        free(known);
        known = NULL;
    }
done:
    free(names.names);
    return known;
}

/* --- all of a walk's ----------------------------------------------------- */

static const fp_known_class *
add_class(fp_walk *walk, PyTypeObject *type)
{
    fp_known_class *known;

    if (walk->n_known == walk->known_capacity) {
        size_t wanted =
            walk->known_capacity == 0 ? 16 : walk->known_capacity * 2;
        fp_known_class **moved =
            realloc(walk->known, wanted * sizeof(fp_known_class *));
        if (moved == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        walk->known = moved;
        walk->known_capacity = wanted;
    }
    known = new_class(walk, type);
    if (known == NULL) {
        return NULL;
    }
    if (fp_memo_set(&walk->known_types, (PyObject *)type,
                    (int64_t)walk->n_known)
        < 0)
    {
        free(known);
        return NULL;
    }
    walk->known[walk->n_known++] = known;
    return known;
}

const fp_known_class *
fp_known_class_of(fp_walk *walk, PyTypeObject *type)
{
    const int64_t *at = fp_memo_find(&walk->known_types, (PyObject *)type);

    return at != NULL ? walk->known[*at] : add_class(walk, type);
}

void
fp_forget_known(fp_walk *walk)
{
    for (size_t i = 0; i < walk->n_known; i++) {
        free(walk->known[i]);
    }
    free(walk->known);
    walk->known = NULL;
    walk->n_known = 0;
    walk->known_capacity = 0;
    fp_memo_clear(&walk->known_types);
}

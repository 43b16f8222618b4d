/* Values of Python's own: dates and times, numbers, ranges, paths. Which they
 * are, and their opcodes behind the class. */
#include "known.h"

#include "base/compat.h"
#include "inline_leaves.h"

#include <datetime.h>
#include <string.h>

#if PY_VERSION_HEX < 0x030c0000
#define Py_READONLY READONLY
#endif

/* --- which they are ------------------------------------------------------ */

/* An entry of a module that is there already: borrowed, NULL without an
 * exception. Nothing is imported: where it is not, no value of it is met. */
static PyObject *
entry_of_module(PyObject *module_name, PyObject *name)
{
    PyObject *modules = PyImport_GetModuleDict();
    PyObject *module;
    PyObject *entry = NULL;

    if (PyDict_CheckExact(modules)
        && fp_dict_get(modules, module_name, &module) > 0)
    {
        if (PyModule_Check(module)) {
            (void)fp_dict_get(PyModule_GetDict(module), name, &entry);
            Py_XDECREF(entry);
        }
        Py_DECREF(module);
    }
    PyErr_Clear();
    return entry;
}

/* datetime's C API, where the module was imported and is the one in C. */
static const PyDateTime_CAPI *
datetime_api(fp_state *state)
{
    if (state->datetime_capsule == NULL) {
        PyObject *capsule =
            entry_of_module(state->str_datetime, state->str_datetime_capi);
        if (capsule == NULL
            || !PyCapsule_IsValid(capsule, PyDateTime_CAPSULE_NAME))
        {
            return NULL;
        }
        state->datetime_capsule = Py_NewRef(capsule);
    }
    return PyCapsule_GetPointer(state->datetime_capsule,
                                PyDateTime_CAPSULE_NAME);
}

static PyTypeObject *
decimal_type(fp_state *state)
{
    if (state->decimal_type == NULL) {
        PyObject *type =
            entry_of_module(state->str_decimal_module, state->str_decimal);
        if (type == NULL || !PyType_Check(type)) {
            return NULL;
        }
        state->decimal_type = Py_NewRef(type);
    }
    return (PyTypeObject *)state->decimal_type;
}

/* The type whose own reducer in C that is, and whose instances are the class's:
 * borrowed, or NULL. */
static PyTypeObject *
owner_of(PyTypeObject *type, PyObject *reducer, const char *name)
{
    PyTypeObject *owner;

    if (reducer == NULL || !Py_IS_TYPE(reducer, &PyMethodDescr_Type)) {
        return NULL;
    }
    owner = PyDescr_TYPE(reducer);
    return strcmp(((PyMethodDescrObject *)reducer)->d_method->ml_name, name)
                       == 0
                   && PyType_IsSubtype(type, owner)
               ? owner
               : NULL;
}

static fp_known_kind
kind_by_reduce(fp_state *state, PyTypeObject *type, PyTypeObject *owner)
{
    const PyDateTime_CAPI *api;

    if (owner == &PyRange_Type) {
        return FP_KNOWN_RANGE;
    }
    if (owner == &PySlice_Type) {
        return FP_KNOWN_SLICE;
    }
    api = datetime_api(state);
    if (api != NULL) {
        if (owner == api->DateType) {
            return FP_KNOWN_DATE;
        }
        if (owner == api->DeltaType) {
            return FP_KNOWN_TIMEDELTA;
        }
        if (owner == api->TZInfoType) {
            return Py_IS_TYPE(api->TimeZone_UTC, type) ? FP_KNOWN_TIMEZONE
                                                       : FP_KNOWN_NOTHING;
        }
    }
    return owner == decimal_type(state) ? FP_KNOWN_DECIMAL : FP_KNOWN_NOTHING;
}

fp_known_kind
fp_kind_of_value(fp_state *state, PyTypeObject *type, PyObject *reduce_ex,
                 PyObject *reduce)
{
    PyTypeObject *owner;

    if (reduce_ex != state->object_reduce_ex) {
        const PyDateTime_CAPI *api;
        owner = owner_of(type, reduce_ex, "__reduce_ex__");
        api = owner == NULL ? NULL : datetime_api(state);
        return api == NULL                  ? FP_KNOWN_NOTHING
               : owner == api->DateTimeType ? FP_KNOWN_DATETIME
               : owner == api->TimeType     ? FP_KNOWN_TIME
                                            : FP_KNOWN_NOTHING;
    }
    owner = owner_of(type, reduce, "__reduce__");
    if (owner != NULL) {
        return kind_by_reduce(state, type, owner);
    }
    if (fp_does(state, reduce, FP_FUNCTION_FRACTION) == 1) {
        return FP_KNOWN_FRACTION;
    }
    return fp_does(state, reduce, FP_FUNCTION_PATH) == 1 ? FP_KNOWN_PATH
                                                         : FP_KNOWN_NOTHING;
}

static int
find_members(PyTypeObject *type, PyObject *const *names, size_t n_names,
             int flags, fp_known_class *known)
{
    for (size_t i = 0; i < n_names; i++) {
        Py_ssize_t offset = fp_member_offset(type, names[i], flags);
        if (offset < 0) {
            return 0;
        }
        known->slots[i] = (fp_known_slot){names[i], offset};
    }
    known->n_slots = n_names;
    return 1;
}

int
fp_find_arguments(const fp_state *state, PyTypeObject *type,
                  fp_known_kind kind, fp_known_class *known)
{
    PyObject *const of_range[] = {state->str_start, state->str_stop,
                                  state->str_step};
    PyObject *const of_fraction[] = {state->str_numerator,
                                     state->str_denominator};
    PyObject *const of_uuid[] = {state->str_int, state->str_is_safe};

    switch (kind) {
    case FP_KNOWN_RANGE:
        return find_members(type, of_range, 3, Py_READONLY, known);
    case FP_KNOWN_FRACTION:
        return find_members(type, of_fraction, 2, 0, known);
    case FP_KNOWN_PATH:
        return find_members(type, &state->str_raw_paths, 1, 0, known);
    case FP_KNOWN_UUID:
        known->unknown = fp_unknown_safety(
            state, fp_type_lookup(type, state->str_getstate));
        PyErr_Clear();
        return known->unknown != NULL
               && find_members(type, of_uuid, 2, 0, known);
    default:
        return 1;
    }
}

/* --- arguments that are objects ------------------------------------------ */

/* Borrowed from the object. */
typedef struct {
    PyObject *const *items;
    Py_ssize_t n_items;
    int are_shared; /* by somebody who holds all of them */
    PyObject *few[FP_MAX_ARGUMENTS];
} argument_list;

static int
is_missing(const argument_list *list)
{
    for (Py_ssize_t i = 0; i < list->n_items; i++) {
        if (list->items[i] == NULL) {
            return 1;
        }
    }
    return 0;
}

/* A timezone shows what it is made of to its own method in C only. */
static int
arguments_of_timezone(const fp_walk *walk, PyObject *zone, argument_list *list)
{
    PyObject *made =
        PyObject_CallMethodNoArgs(zone, walk->state->str_getinitargs);

    if (made == NULL) {
        return -1;
    }
    list->n_items = PyTuple_GET_SIZE(made);
    assert(list->n_items <= FP_MAX_ARGUMENTS);
    for (Py_ssize_t i = 0; i < list->n_items; i++) {
        list->few[i] = PyTuple_GET_ITEM(made, i); /* the zone has it */
    }
    Py_DECREF(made);
    return 0;
}

/* 0, or -1 where an attribute is missing or another one than pickle knows. */
static int
find_arguments(fp_walk *walk, PyObject *object, const fp_known_class *known,
               argument_list *found)
{
    PySliceObject *slice;
    PyObject *parts;

    *found = (argument_list){.items = found->few};
    switch (known->kind) {
    case FP_KNOWN_TIMEZONE:
        return arguments_of_timezone(walk, object, found);
    case FP_KNOWN_TIME:
        found->few[0] = PyDateTime_TIME_GET_TZINFO(object);
        found->n_items = found->few[0] != Py_None;
        break;
    case FP_KNOWN_DATETIME:
        found->few[0] = PyDateTime_DATE_GET_TZINFO(object);
        found->n_items = found->few[0] != Py_None;
        break;
    case FP_KNOWN_SLICE:
        slice = (PySliceObject *)object;
        found->few[0] = slice->start;
        found->few[1] = slice->stop;
        found->few[2] = slice->step;
        found->n_items = 3;
        break;
    case FP_KNOWN_PATH:
        parts = fp_slot_value(object, &known->slots[0]);
        if (parts == NULL || !PyList_CheckExact(parts)) {
            return fp_call_out(walk);
        }
        found->items = ((PyListObject *)parts)->ob_item;
        found->n_items = PyList_GET_SIZE(parts);
        found->are_shared = !fp_is_lonely(parts);
        return 0;
    default:
        for (size_t i = 0; i < known->n_slots; i++) {
            found->few[i] = fp_slot_value(object, &known->slots[i]);
        }
        found->n_items = (Py_ssize_t)known->n_slots;
    }
    return is_missing(found) ? fp_call_out(walk) : 0;
}

/* Written at once, whatever the walk has met. */
static inline int
is_leaf(const fp_walk *walk, PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    return type == &PyLong_Type || type == &PyUnicode_Type || object == Py_None
           || type == &PyFloat_Type
           || fp_memo_find(walk->memo, object) != NULL;
}

static int
are_leaves(const fp_walk *walk, const argument_list *list)
{
    for (Py_ssize_t i = 0; i < list->n_items; i++) {
        if (!is_leaf(walk, list->items[i])) {
            return 0;
        }
    }
    return 1;
}

/* *position is how many are written. */
static int
save_items(fp_walk *walk, const argument_list *list, Py_ssize_t *position)
{
    while (*position < list->n_items) {
        PyObject *item = list->items[(*position)++];
        int status =
            fp_save(walk, item, !list->are_shared && fp_is_lonely(item));
        if (status != FP_SAVED) {
            return status;
        }
    }
    return FP_SAVED;
}

/* --- arguments that are bytes and numbers -------------------------------- */

/* The tuple, and bytes that pickle would make for it. */
static int
begin_with_bytes(fp_walk *walk, const unsigned char *data, size_t n_bytes,
                 size_t marked, int is_marked)
{
    unsigned char *out;

    if (fp_begin_temporary(walk) < 0 || fp_begin_temporary(walk) < 0) {
        return -1;
    }
    out = fp_room(walk, n_bytes + 2);
    if (out == NULL) {
        return -1;
    }
    out[0] = OP_SHORT_BINBYTES;
    out[1] = (unsigned char)n_bytes;
    memcpy(out + 2, data, n_bytes);
    if (is_marked) {
        out[2 + marked] |= 0x80;
    }
    walk->graph.cursor = out + 2 + n_bytes;
    return fp_put_temporary(walk);
}

static int
begin_arguments(fp_walk *walk, PyObject *object, fp_known_kind kind,
                Py_ssize_t n_items)
{
    int has_fold = walk->protocol > 3;

    switch (kind) {
    case FP_KNOWN_TIME: /* the fold is the hour's highest bit */
        return begin_with_bytes(walk, ((PyDateTime_Time *)object)->data,
                                _PyDateTime_TIME_DATASIZE, 0,
                                has_fold && PyDateTime_TIME_GET_FOLD(object));
    case FP_KNOWN_DATETIME: /* the month's */
        return begin_with_bytes(walk, ((PyDateTime_DateTime *)object)->data,
                                _PyDateTime_DATETIME_DATASIZE, 2,
                                has_fold && PyDateTime_DATE_GET_FOLD(object));
    default:
        return fp_begin_temporary(walk) < 0
                       || (n_items > 3 && fp_emit_byte(walk, OP_MARK) < 0)
                   ? -1
                   : 0;
    }
}

static int
end_arguments(fp_walk *walk, fp_known_kind kind, Py_ssize_t n_items)
{
    if (kind == FP_KNOWN_TIME || kind == FP_KNOWN_DATETIME) {
        n_items++;
    }
    return n_items == 0 ? fp_emit_byte(walk, OP_EMPTY_TUPLE)
                        : fp_end_tuple(walk, n_items);
}

static int
save_delta(fp_walk *walk, PyObject *delta)
{
    const int parts[] = {PyDateTime_DELTA_GET_DAYS(delta),
                         PyDateTime_DELTA_GET_SECONDS(delta),
                         PyDateTime_DELTA_GET_MICROSECONDS(delta)};

    if (fp_begin_temporary(walk) < 0) {
        return -1;
    }
    for (int i = 0; i < 3; i++) {
        unsigned char *out;
        if (fp_begin_temporary(walk) < 0) {
            return -1;
        }
        out = fp_room(walk, 5);
        if (out == NULL) {
            return -1;
        }
        walk->graph.cursor = fp_encode_int(out, parts[i]);
    }
    return fp_end_tuple(walk, 3);
}

int
fp_save_complex_parts(fp_walk *walk, PyObject *object)
{
    Py_complex value = PyComplex_AsCComplex(object);

    return fp_begin_temporary(walk) < 0 || fp_begin_temporary(walk) < 0
                   || fp_emit_double(walk, value.real) < 0
                   || fp_begin_temporary(walk) < 0
                   || fp_emit_double(walk, value.imag) < 0
               ? -1
               : fp_end_tuple(walk, 2);
}

/* str(), as Decimal's own reducer makes it, of a subclass too. */
static int
save_decimal(fp_walk *walk, PyObject *object)
{
    PyTypeObject *type = (PyTypeObject *)walk->state->decimal_type;
    PyObject *text = type->tp_str(object);
    int is_fresh, status;

    if (text == NULL) {
        return -1;
    }
    is_fresh = fp_is_lonely(text);
    status = fp_begin_temporary(walk);
    if (status == 0
        && (!is_fresh || PyUnicode_GET_LENGTH(text) >= FP_SHORT_STR))
    {
        status = fp_keep(walk, text);
    }
    if (status == 0) {
        status = fp_save(walk, text, is_fresh);
    }
    Py_DECREF(text);
    return status < 0 ? -1 : fp_end_tuple(walk, 1);
}

static int
save_scalars(fp_walk *walk, PyObject *object, fp_known_kind kind)
{
    if (kind == FP_KNOWN_DATE) {
        return begin_with_bytes(walk, ((PyDateTime_Date *)object)->data,
                                _PyDateTime_DATE_DATASIZE, 0, 0)
                       < 0
                   ? -1
                   : fp_end_tuple(walk, 1);
    }
    return kind == FP_KNOWN_TIMEDELTA ? save_delta(walk, object)
           : kind == FP_KNOWN_DECIMAL ? save_decimal(walk, object)
                                      : fp_save_complex_parts(walk, object);
}

/* --- one value ----------------------------------------------------------- */

static int
finish(fp_walk *walk, PyObject *object, int lonely)
{
    return fp_emit_byte(walk, OP_REDUCE) < 0
               ? -1
               : fp_memo_put(walk, object, lonely);
}

/* FP_LEFT: it needs a frame. */
int
fp_save_value(fp_walk *walk, PyObject *object, const fp_known_class *known,
              int lonely)
{
    fp_known_kind kind = known->kind;
    Py_ssize_t position = 0;
    argument_list found;

    if (kind < FP_KNOWN_TIMEZONE && kind != FP_KNOWN_TIME
        && kind != FP_KNOWN_DATETIME)
    {
        return save_scalars(walk, object, kind) < 0
                   ? -1
                   : finish(walk, object, lonely);
    }
    if (find_arguments(walk, object, known, &found) < 0) {
        return -1;
    }
    if (!are_leaves(walk, &found)) {
        return FP_LEFT;
    }
    return begin_arguments(walk, object, kind, found.n_items) < 0
                   || save_items(walk, &found, &position) < 0
                   || end_arguments(walk, kind, found.n_items) < 0
               ? -1
               : finish(walk, object, lonely);
}

int
fp_step_value(fp_walk *walk, fp_frame *frame, const fp_known_class *known)
{
    PyObject *object = frame->object;
    int lonely = (frame->flags & FP_FLAG_LONELY) != 0;
    argument_list found;
    int status;

    if (find_arguments(walk, object, known, &found) < 0) {
        return -1;
    }
    if (frame->stage == 0) {
        frame->stage = 1;
        if (begin_arguments(walk, object, known->kind, found.n_items) < 0) {
            return -1;
        }
    }
    status = save_items(walk, &found, &frame->position);
    if (status != FP_SAVED) {
        return status;
    }
    if (end_arguments(walk, known->kind, found.n_items) < 0
        || finish(walk, object, lonely) < 0)
    {
        return -1;
    }
    fp_pop(walk);
    return FP_SAVED;
}

/* Instances whose reducer is object's own, so that nothing need be asked. */
#include "base/compat.h"
#include "base/errors.h"
#include "base/messages.h"
#include "known.h"
#include "walk.h"

/* What the class's own dict holds: a new reference, or NULL with or without an
 * exception set. */
static PyObject *
own_dict_entry(PyTypeObject *type, PyObject *name)
{
    PyObject *dict = fp_type_dict(type);
    PyObject *entry = NULL;

    if (dict != NULL) {
        (void)fp_dict_get(dict, name, &entry);
        Py_DECREF(dict);
    }
    return entry;
}

/* Whether no class of the type adds a slot that would belong to the state.
 * Anything but an absent or empty __slots__ is left to the general way. */
static int
has_no_slots(const fp_state *state, PyTypeObject *type)
{
    PyObject *mro = type->tp_mro;
    PyObject *cached = own_dict_entry(type, state->str_slotnames);
    int result =
        mro != NULL && !PyErr_Occurred()
        && (cached == NULL
            || (PyList_CheckExact(cached) && PyList_GET_SIZE(cached) == 0));

    Py_XDECREF(cached);
    for (Py_ssize_t i = 0; result && i < PyTuple_GET_SIZE(mro); i++) {
        PyTypeObject *base = (PyTypeObject *)PyTuple_GET_ITEM(mro, i);
        PyObject *slots;
        if (base == &PyBaseObject_Type) {
            continue;
        }
        slots = own_dict_entry(base, state->str_slots);
        result = slots == NULL ? !PyErr_Occurred()
                               : PyTuple_CheckExact(slots)
                                     && PyTuple_GET_SIZE(slots) == 0;
        Py_XDECREF(slots);
    }
    PyErr_Clear();
    return result;
}

/* Whether looking names up in the type can only compare plain str. */
int
fp_has_plain_names(PyTypeObject *type)
{
    PyObject *mro = type->tp_mro;

    for (Py_ssize_t i = 0; mro != NULL && i < PyTuple_GET_SIZE(mro); i++) {
        PyTypeObject *base = (PyTypeObject *)PyTuple_GET_ITEM(mro, i);
        Py_ssize_t position = 0;
        PyObject *key, *value;
        PyObject *dict;
        int is_plain = 1;
        if (!(base->tp_flags & Py_TPFLAGS_HEAPTYPE)) {
            continue;
        }
        dict = fp_type_dict(base);
        while (is_plain && PyDict_Next(dict, &position, &key, &value)) {
            is_plain = PyUnicode_CheckExact(key);
        }
        Py_DECREF(dict);
        if (!is_plain) {
            return 0;
        }
    }
    return mro != NULL;
}

Py_ssize_t
fp_bare_size(PyTypeObject *type)
{
    Py_ssize_t n_bytes = PyBaseObject_Type.tp_basicsize;

    if (!(type->tp_flags & Py_TPFLAGS_MANAGED_DICT) && type->tp_dictoffset > 0)
    {
        n_bytes += (Py_ssize_t)sizeof(PyObject *);
    }
    if (type->tp_weaklistoffset > 0) {
        n_bytes += (Py_ssize_t)sizeof(PyObject *);
    }
    return n_bytes;
}

/* How instances of a class are saved. PLAIN: object.__reduce_ex__ would answer
 * and find nothing to call: class, NEWOBJ, __dict__, BUILD. WITH_GETSTATE: it
 * would call __getstate__ and nothing else. WITH_REDUCE: it would call
 * __reduce__, written in Python, and nothing else. */
enum {
    BY_REDUCER,
    PLAIN,
    WITH_GETSTATE,
    WITH_REDUCE
};

static int
kind_of_class(const fp_state *state, PyTypeObject *type)
{
    PyObject *getstate, *reduce;
    int is_ours;

    if (!fp_has_plain_names(type) || !fp_has_plain_metaclass(state, type)
        || fp_type_lookup(type, state->str_reduce_ex)
               != state->object_reduce_ex)
    {
        return BY_REDUCER;
    }
    reduce = fp_type_lookup(type, state->str_reduce);
    if (reduce != NULL && PyFunction_Check(reduce)
        && type->tp_getattro == PyObject_GenericGetAttr)
    {
        return WITH_REDUCE;
    }
    getstate = fp_type_lookup(type, state->str_getstate);
    is_ours = type->tp_getattro == PyObject_GenericGetAttr
              && type->tp_new != NULL && !PyType_IsSubtype(type, &PyList_Type)
              && !PyType_IsSubtype(type, &PyDict_Type)
              && reduce == state->object_reduce
              && fp_type_lookup(type, state->str_class_) == state->object_class
              && fp_type_lookup(type, state->str_getnewargs) == NULL
              && fp_type_lookup(type, state->str_getnewargs_ex) == NULL;

    if (!is_ours) {
        return BY_REDUCER;
    }
    if (getstate != state->object_getstate) {
        return getstate != NULL && fp_has_dict(type) ? WITH_GETSTATE
                                                     : BY_REDUCER;
    }
    return type->tp_itemsize == 0 && type->tp_basicsize == fp_bare_size(type)
                   && has_no_slots(state, type)
               ? PLAIN
               : BY_REDUCER;
}

static int
class_kind(fp_walk *walk, PyTypeObject *type)
{
    fp_class_facts *facts =
        &walk->classes[FP_CACHE_SLOT(type, FP_CLASS_CACHE)];

    if (facts->type != type || facts->version != type->tp_version_tag
        || facts->version == 0)
    {
        facts->type = type;
        facts->kind = kind_of_class(walk->state, type);
        facts->version = type->tp_version_tag; /* set by the look-ups */
    }
    return facts->kind;
}

int
fp_is_plain_class(fp_walk *walk, PyTypeObject *type)
{
    return class_kind(walk, type) == PLAIN;
}

int
fp_carries_reducer(const fp_state *state, PyObject *dict)
{
    PyObject *names[FP_N_REDUCER_NAMES];

    fp_reducer_names(state, names);
    for (size_t i = 0; i < FP_N_REDUCER_NAMES; i++) {
        int found = PyDict_Contains(dict, names[i]);
        if (found != 0) {
            return found;
        }
    }
    return 0;
}

int
fp_class_goes_by_name(const fp_walk *walk, PyTypeObject *type)
{
    PyTypeObject *meta = Py_TYPE(type);
    PyObject *reducer;
    int found;

    if (meta == &PyType_Type) {
        return 1;
    }
    if (Py_TYPE(meta)->tp_hash != PyType_Type.tp_hash) {
        return 0;
    }
    found =
        fp_dict_get(walk->state->dispatch_table, (PyObject *)meta, &reducer);
    Py_XDECREF(reducer);
    return found < 0 ? -1 : !found;
}

/* The class and NEWOBJ; the object is in the memo then. FP_LEFT: the class
 * cannot be written at once. */
static int
save_bare_instance(fp_walk *walk, PyObject *object, int lonely)
{
    PyObject *nothing;
    int status = fp_save(walk, (PyObject *)Py_TYPE(object), 0);

    if (status == FP_PUSHED) { /* odd names: nothing is written yet */
        assert(walk->frames[walk->n_frames - 1].kind == FP_FRAME_SCRIPT);
        fp_pop(walk);
        return FP_LEFT;
    }
    if (status < 0) {
        fp_add_note(FP_NOTE_CLASS, Py_TYPE(object));
        fp_add_note(FP_NOTE_OBJECT, Py_TYPE(object));
        return -1;
    }
    nothing = PyTuple_New(0);
    if (nothing == NULL) {
        return -1;
    }
    status = fp_save(walk, nothing, 0) < 0 || fp_emit_byte(walk, OP_NEWOBJ) < 0
                 ? -1
                 : fp_memo_put(walk, object, lonely);
    Py_DECREF(nothing);
    return status;
}

/* FP_LEFT: by its reducer after all. */
static int
save_instance(fp_walk *walk, PyObject *object, int kind, int lonely)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject *dict = NULL;
    PyObject *state = NULL;
    int status = fp_class_goes_by_name(walk, type);

    if (status != 1) {
        return status < 0 ? -1 : FP_LEFT;
    }
    status = -1;
    if (fp_has_dict(type)) {
        dict = PyObject_GenericGetDict(object, NULL);
        if (dict == NULL) {
            return -1;
        }
        if (!walk->silent || walk->careful) {
            int found = fp_carries_reducer(walk->state, dict);
            if (found != 0) {
                status = found < 0 ? -1 : FP_LEFT;
                goto done;
            }
        }
    }
    if (kind == PLAIN) {
        status = save_bare_instance(walk, object, lonely);
        if (status == 0 && dict != NULL && PyDict_GET_SIZE(dict) > 0) {
            /* Two references: the instance's and ours. */
            status = fp_save_state_dict(walk, type, dict,
                                        walk->silent && Py_REFCNT(dict) == 2);
        }
        goto done;
    }
    if (fp_call_out(walk) < 0) {
        goto done;
    }
    state = PyObject_CallMethodNoArgs(object, walk->state->str_getstate);
    if (state == NULL) {
        goto done;
    }
    status = save_bare_instance(walk, object, 0);
    if (status != FP_SAVED) {
        goto done;
    }
    if (state != Py_None) {
        status = fp_push_state(walk, object, state);
    }
done:
    Py_XDECREF(state);
    Py_XDECREF(dict);
    return status;
}

int
fp_save_instance(fp_walk *walk, PyObject *object, int lonely)
{
    int kind = class_kind(walk, Py_TYPE(object));

    return kind == BY_REDUCER || kind == WITH_REDUCE
               ? FP_LEFT
               : save_instance(walk, object, kind, lonely);
}

int
fp_has_own_reduce(fp_walk *walk, PyTypeObject *type)
{
    return class_kind(walk, type) == WITH_REDUCE;
}

int
fp_surely_calls(fp_walk *walk, PyTypeObject *type)
{
    const fp_known_class *known;
    int kind;

    if (!PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE)
        || PyType_IsSubtype(type, &PyType_Type))
    {
        return 0;
    }
    kind = class_kind(walk, type);
    if (kind != WITH_REDUCE && kind != WITH_GETSTATE) {
        return 0;
    }
    known = fp_known_class_of(walk, type);
    return known == NULL ? -1 : known->kind == FP_KNOWN_NOTHING;
}

/* object's own method, bound to the object: the instance has none itself. */
static int
is_reduce_ex_of_object(const fp_state *state, PyObject *method,
                       PyObject *object)
{
    return PyCFunction_CheckExact(method)
           && PyCFunction_GET_SELF(method) == object
           && ((PyCFunctionObject *)method)->m_ml
                  == ((PyMethodDescrObject *)state->object_reduce_ex)
                         ->d_method;
}

PyObject *
fp_call_own_reduce(fp_walk *walk, PyObject *object)
{
    PyObject *arguments[] = {NULL, object};
    PyObject *method = NULL, *argument;
    PyObject *reduced = NULL;
    int is_plain = !fp_has_dict(Py_TYPE(object));

    if (!is_plain) {
        method = PyObject_GetAttr(object, walk->state->str_reduce_ex);
        if (method == NULL) {
            return NULL;
        }
        is_plain = is_reduce_ex_of_object(walk->state, method, object);
    }
    if (is_plain) {
        reduced = PyObject_VectorcallMethod(
            walk->state->str_reduce, arguments + 1,
            1 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    else {
        argument = PyLong_FromLong(walk->protocol);
        if (argument != NULL) {
            reduced = PyObject_CallOneArg(method, argument);
            Py_DECREF(argument);
        }
    }
    Py_XDECREF(method);
    return reduced;
}

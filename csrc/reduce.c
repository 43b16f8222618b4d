#include "compat.h"
#include "errors.h"
#include "joblib_dump.h"
#include "messages.h"
#include "walk.h"

enum {
    BY_CALL,
    BY_NEWOBJ,
    BY_NEWOBJ_EX
};

/* The stages of a reduce frame: what is to be done next. */
enum {
    REDUCE_CALLABLE,
    REDUCE_ARGUMENTS,
    REDUCE_KEYWORDS,
    REDUCE_OPCODE,
    REDUCE_LIST,
    REDUCE_DICT,
    REDUCE_STATE,
    REDUCE_SETTER_OBJECT,
    REDUCE_SETTER_STATE,
    REDUCE_SETTER_CALL,
    REDUCE_BUILD,
    REDUCE_DONE,
    REDUCE_ONLY_STATE, /* `pending` is the state itself */
};

/* --- plain instances ---------------------------------------------------- */

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
static int
has_plain_names(PyTypeObject *type)
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

static inline int
has_dict(PyTypeObject *type)
{
    return (type->tp_flags & Py_TPFLAGS_MANAGED_DICT) != 0
           || type->tp_dictoffset != 0;
}

/* The size of an instance that has a dict and a list of weak references at
 * most: a type that is larger holds C data that no dict shows. */
static Py_ssize_t
bare_size(PyTypeObject *type)
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
 * would call __getstate__ and nothing else. */
enum {
    BY_REDUCER,
    PLAIN,
    WITH_GETSTATE
};

static int
kind_of_class(const fp_state *state, PyTypeObject *type)
{
    PyObject *getstate;
    int is_ours;

    if (!has_plain_names(type)) {
        return BY_REDUCER;
    }
    getstate = fp_type_lookup(type, state->str_getstate);
    is_ours =
        Py_TYPE(type)->tp_hash == PyType_Type.tp_hash
        && type->tp_getattro == PyObject_GenericGetAttr && type->tp_new != NULL
        && !PyType_IsSubtype(type, &PyList_Type)
        && !PyType_IsSubtype(type, &PyDict_Type)
        && fp_type_lookup(type, state->str_reduce_ex)
               == state->object_reduce_ex
        && fp_type_lookup(type, state->str_reduce) == state->object_reduce
        && fp_type_lookup(type, state->str_class_) == state->object_class
        && fp_type_lookup(type, state->str_getnewargs) == NULL
        && fp_type_lookup(type, state->str_getnewargs_ex) == NULL;

    if (!is_ours) {
        return BY_REDUCER;
    }
    if (getstate != state->object_getstate) {
        return getstate != NULL && has_dict(type) ? WITH_GETSTATE : BY_REDUCER;
    }
    return type->tp_itemsize == 0 && type->tp_basicsize == bare_size(type)
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

/* 1 where the instance's own dict shadows what is_plain_class() looked up. */
static int
carries_reducer(const fp_state *state, PyObject *dict)
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

/* Whether the class is written by its name, without anybody's reducer: the
 * metaclass may have one. 1, 0 or -1. */
static int
class_goes_by_name(const fp_walk *walk, PyTypeObject *type)
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

/* The class and NEWOBJ; the object is in the memo then. FP_SAVED + 2: the class
 * cannot be written at once. */
static int
save_bare_instance(fp_walk *walk, PyObject *object, int lonely)
{
    PyObject *nothing;
    int status = fp_save(walk, (PyObject *)Py_TYPE(object), 0);

    if (status == FP_PUSHED) { /* odd names: nothing is written yet */
        assert(walk->frames[walk->n_frames - 1].kind == FP_FRAME_SCRIPT);
        fp_pop(walk);
        return FP_SAVED + 2;
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

/* FP_SAVED + 2: by its reducer after all. */
static int
save_instance(fp_walk *walk, PyObject *object, int kind, int lonely)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject *dict = NULL;
    PyObject *state = NULL;
    fp_frame *frame;
    int status = class_goes_by_name(walk, type);

    if (status != 1) {
        return status < 0 ? -1 : FP_SAVED + 2;
    }
    status = -1;
    if (has_dict(type)) {
        dict = PyObject_GenericGetDict(object, NULL);
        if (dict == NULL) {
            return -1;
        }
        if (!walk->silent || walk->careful) {
            int found = carries_reducer(walk->state, dict);
            if (found != 0) {
                status = found < 0 ? -1 : FP_SAVED + 2;
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
    status = -1;
    if (state == Py_None) {
        status = FP_SAVED;
        goto done;
    }
    frame = fp_push(walk, FP_FRAME_REDUCE, object);
    if (frame == NULL) {
        goto done;
    }
    frame->pending = Py_NewRef(state);
    frame->flags |= FP_FLAG_OWNS_PENDING | FP_FLAG_OF_OBJECT;
    frame->stage = REDUCE_ONLY_STATE;
    walk->n_reduces++;
    status = FP_PUSHED;
done:
    Py_XDECREF(state);
    Py_XDECREF(dict);
    return status;
}

/* --- reducers ----------------------------------------------------------- */

/* From the Pickler's dispatch_table or copyreg's: a new reference, or NULL,
 * with an exception or (nothing registered) without. */
static PyObject *
registered_reducer(fp_walk *walk, PyTypeObject *type)
{
    PyObject *reducer;

    if (walk->dispatch_table == NULL) {
        (void)fp_dict_get(walk->state->dispatch_table, (PyObject *)type,
                          &reducer);
        return reducer;
    }
    reducer = PyObject_GetItem(walk->dispatch_table, (PyObject *)type);
    if (reducer == NULL && PyErr_ExceptionMatches(PyExc_KeyError)) {
        PyErr_Clear();
    }
    return reducer;
}

static PyObject *
call_own_reducer(fp_walk *walk, PyObject *object)
{
    PyObject *method, *argument;
    PyObject *reduced = NULL;

    method = fp_optional_attribute(object, walk->state->str_reduce_ex);
    if (method != NULL) {
        argument = PyLong_FromLong(walk->protocol);
        if (argument != NULL) {
            reduced = PyObject_CallOneArg(method, argument);
            Py_DECREF(argument);
        }
        Py_DECREF(method);
        return reduced;
    }
    if (PyErr_Occurred()) {
        return NULL;
    }
    method = fp_optional_attribute(object, walk->state->str_reduce);
    if (method != NULL) {
        reduced = PyObject_CallNoArgs(method);
        Py_DECREF(method);
    }
    else if (!PyErr_Occurred()) {
        PyErr_Format(walk->state->pickling_error, FP_NO_REDUCER,
                     FP_TYPE_OF(object), object);
    }
    return reduced;
}

static int
save_answer(fp_walk *walk, PyObject *reduced, PyObject *object)
{
    if (PyUnicode_Check(reduced)) {
        return fp_save_global(walk, object, reduced);
    }
    if (PyTuple_Check(reduced)) {
        int status = fp_save_reduced(walk, reduced, object);
        if (status == FP_PUSHED) {
            walk->frames[walk->n_frames - 1].flags |= FP_FLAG_OF_OBJECT;
            return status;
        }
    }
    else {
        PyErr_Format(walk->state->pickling_error, FP_NEITHER_STRING_NOR_TUPLE,
                     FP_TYPE_OF(reduced));
    }
    fp_add_note(FP_NOTE_OBJECT, Py_TYPE(object));
    return -1;
}

static int
save_singleton_type(fp_walk *walk, PyObject *type, PyObject *singleton)
{
    PyObject *reduced;
    int status;

    if (fp_call_out(walk) < 0) {
        return -1;
    }
    reduced = Py_BuildValue("(O(O))", (PyObject *)&PyType_Type, singleton);
    if (reduced == NULL) {
        return -1;
    }
    status = fp_save_reduced(walk, reduced, type);
    Py_DECREF(reduced);
    return status;
}

static int
save_type(fp_walk *walk, PyObject *type)
{
    if (type == (PyObject *)Py_TYPE(Py_None)) {
        return save_singleton_type(walk, type, Py_None);
    }
    if (type == (PyObject *)Py_TYPE(Py_Ellipsis)) {
        return save_singleton_type(walk, type, Py_Ellipsis);
    }
    if (type == (PyObject *)Py_TYPE(Py_NotImplemented)) {
        return save_singleton_type(walk, type, Py_NotImplemented);
    }
    return fp_save_global(walk, type, NULL);
}

static int
save_other(fp_walk *walk, PyObject *object, int lonely)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject *reducer;
    PyObject *reduced = NULL;
    int status;

    if (walk->reducer_override != NULL) {
        if (fp_call_out(walk) < 0) {
            return -1;
        }
        reduced = PyObject_CallOneArg(walk->reducer_override, object);
        if (reduced == NULL) {
            return -1;
        }
        if (reduced != Py_NotImplemented) {
            status = save_answer(walk, reduced, object);
            Py_DECREF(reduced);
            return status;
        }
        Py_CLEAR(reduced);
    }
    if (walk->wraps_arrays) {
        /* As joblib does it: whatever is registered for arrays. */
        int found = fp_save_wrapped_array(walk, object, &status);
        if (found != 0) {
            return found < 0 ? -1 : status;
        }
    }
    if (type == &PyType_Type) {
        return save_type(walk, object);
    }
    if (type == &PyFunction_Type) {
        return fp_save_global(walk, object, NULL);
    }
    if (Py_TYPE(type)->tp_hash != PyType_Type.tp_hash && fp_call_out(walk) < 0)
    {
        return -1;
    }
    reducer = registered_reducer(walk, type);
    if (reducer != NULL) {
        if (fp_call_out(walk) < 0) {
            Py_DECREF(reducer);
            return -1;
        }
        reduced = PyObject_CallOneArg(reducer, object);
        Py_DECREF(reducer);
    }
    else if (PyErr_Occurred()) {
        return -1;
    }
    else if (PyType_IsSubtype(type, &PyType_Type)) {
        return fp_save_global(walk, object, NULL);
    }
    else {
        if (walk->sidecar != NULL) {
            int found = fp_save_array(walk, object, lonely, &status);
            if (found != 0) {
                return found < 0 ? -1 : status;
            }
        }
        if (walk->protocol >= 4 && !walk->hooked
            && walk->reducer_override == NULL && walk->dispatch_table == NULL)
        {
            int kind = class_kind(walk, type);
            if (kind != BY_REDUCER) {
                status = save_instance(walk, object, kind, lonely);
                if (status <= FP_PUSHED) {
                    return status;
                }
            }
        }
        if (walk->sidecar != NULL) {
            int found = fp_save_scalar(walk, object);
            if (found != 0) {
                return found < 0 ? -1 : FP_SAVED;
            }
        }
        if (fp_call_out(walk) < 0) {
            return -1;
        }
        reduced = call_own_reducer(walk, object);
    }
    if (reduced == NULL) {
        return -1;
    }
    status = save_answer(walk, reduced, object);
    Py_DECREF(reduced);
    return status;
}

int
fp_save_other(fp_walk *walk, PyObject *object, int lonely)
{
    /* Even in silence a look-up may meet a key that is a subclass of str with
     * an __eq__ of its own. */
    PyTypeObject *type = Py_TYPE(object);
    int status;

    Py_INCREF(object);
    Py_INCREF(type); /* __class__ may be assigned to */
    status = save_other(walk, object, lonely);
    Py_DECREF(type);
    Py_DECREF(object);
    return status;
}

/* --- what a reducer returned -------------------------------------------- */

/* Item i of the reducer's tuple, None counting as absent. Borrowed. */
static PyObject *
part(PyObject *reduced, Py_ssize_t i)
{
    PyObject *item;

    if (i >= PyTuple_GET_SIZE(reduced)) {
        return NULL;
    }
    item = PyTuple_GET_ITEM(reduced, i);
    return item == Py_None ? NULL : item;
}

static int
check_reduced(const fp_state *state, PyObject *reduced)
{
    PyObject *error = state->pickling_error;
    Py_ssize_t size = PyTuple_GET_SIZE(reduced);
    PyObject *item;

    if (size < 2 || size > 6) {
        PyErr_SetString(error, "tuple returned by __reduce__ must contain "
                               "2 through 6 elements");
        return -1;
    }
    item = PyTuple_GET_ITEM(reduced, 0);
    if (!PyCallable_Check(item)) {
        PyErr_Format(error, FP_CALLABLE_NOT_CALLABLE, FP_TYPE_OF(item));
        return -1;
    }
    item = PyTuple_GET_ITEM(reduced, 1);
    if (!PyTuple_Check(item)) {
        PyErr_Format(error, FP_ARGUMENTS_NOT_TUPLE, FP_TYPE_OF(item));
        return -1;
    }
    item = part(reduced, 3);
    if (item != NULL && !PyIter_Check(item)) {
        PyErr_Format(error, FP_LIST_ITEMS_NOT_ITERATOR, FP_TYPE_OF(item));
        return -1;
    }
    item = part(reduced, 4);
    if (item != NULL && !PyIter_Check(item)) {
        PyErr_Format(error, FP_DICT_ITEMS_NOT_ITERATOR, FP_TYPE_OF(item));
        return -1;
    }
    item = part(reduced, 5);
    if (item != NULL && !PyCallable_Check(item)) {
        PyErr_Format(error, FP_SETTER_NOT_CALLABLE, FP_TYPE_OF(item));
        return -1;
    }
    return 0;
}

/* copyreg's two functions stand for opcodes; they are known by name. */
static int
find_form(const fp_state *state, PyObject *callable, int *form)
{
    PyObject *name = fp_optional_attribute(callable, state->str_name);

    *form = BY_CALL;
    if (name == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    if (PyUnicode_Check(name)) {
        if (PyUnicode_Compare(name, state->str_newobj_ex) == 0) {
            *form = BY_NEWOBJ_EX;
        }
        else if (PyUnicode_Compare(name, state->str_newobj) == 0) {
            *form = BY_NEWOBJ;
        }
    }
    Py_DECREF(name);
    return 0;
}

static int
check_newobj(const fp_state *state, PyObject *arguments, PyObject *object)
{
    PyObject *error = state->pickling_error;
    PyObject *cls, *object_class;
    int wrong;

    if (PyTuple_GET_SIZE(arguments) < 1) {
        PyErr_Format(error, FP_NEWOBJ_EMPTY, PyTuple_GET_SIZE(arguments));
        return -1;
    }
    cls = PyTuple_GET_ITEM(arguments, 0);
    if (!PyType_Check(cls)) {
        PyErr_Format(error, FP_NEWOBJ_NOT_CLASS, FP_TYPE_OF(cls));
        return -1;
    }
    if (object == NULL) {
        return 0;
    }
    object_class = fp_optional_attribute(object, state->str_class_);
    if (object_class == NULL) {
        if (PyErr_Occurred()) {
            return -1;
        }
        object_class = Py_NewRef(Py_TYPE(object));
    }
    wrong = object_class != cls;
    if (wrong) {
        PyErr_Format(error, FP_NEWOBJ_OTHER_CLASS, object_class, cls);
    }
    Py_DECREF(object_class);
    return wrong ? -1 : 0;
}

static int
check_newobj_ex(const fp_state *state, PyObject *arguments)
{
    PyObject *error = state->pickling_error;
    PyObject *item;

    if (PyTuple_GET_SIZE(arguments) != 3) {
        PyErr_Format(error, FP_NEWOBJ_EX_SIZE, PyTuple_GET_SIZE(arguments));
        return -1;
    }
    item = PyTuple_GET_ITEM(arguments, 0);
    if (!PyType_Check(item)) {
        PyErr_Format(error, FP_NEWOBJ_EX_NOT_CLASS, FP_TYPE_OF(item));
        return -1;
    }
    item = PyTuple_GET_ITEM(arguments, 1);
    if (!PyTuple_Check(item)) {
        PyErr_Format(error, FP_NEWOBJ_EX_NOT_TUPLE, FP_TYPE_OF(item));
        return -1;
    }
    item = PyTuple_GET_ITEM(arguments, 2);
    if (!PyDict_Check(item)) {
        PyErr_Format(error, FP_NEWOBJ_EX_NOT_DICT, FP_TYPE_OF(item));
        return -1;
    }
    return 0;
}

/* Before protocol 4 there is no NEWOBJ_EX: functools.partial(cls.__new__,
 * cls, *args, **kwargs) is called with nothing. Returns a new tuple that takes
 * the place of the reducer's. */
static PyObject *
with_partial(const fp_state *state, PyObject *reduced)
{
    PyObject *arguments = PyTuple_GET_ITEM(reduced, 1);
    PyObject *cls = PyTuple_GET_ITEM(arguments, 0);
    PyObject *positional = PyTuple_GET_ITEM(arguments, 1);
    PyObject *keywords = PyTuple_GET_ITEM(arguments, 2);
    Py_ssize_t n_positional = PyTuple_GET_SIZE(positional);
    PyObject *result = NULL;
    PyObject *call_arguments = NULL;
    PyObject *new_method, *callable = NULL;

    new_method = PyObject_GetAttr(cls, state->str_new_);
    if (new_method == NULL) {
        return NULL;
    }
    call_arguments = PyTuple_New(n_positional + 2);
    if (call_arguments == NULL) {
        Py_DECREF(new_method);
        return NULL;
    }
    PyTuple_SET_ITEM(call_arguments, 0, new_method);
    PyTuple_SET_ITEM(call_arguments, 1, Py_NewRef(cls));
    for (Py_ssize_t i = 0; i < n_positional; i++) {
        PyTuple_SET_ITEM(call_arguments, i + 2,
                         Py_NewRef(PyTuple_GET_ITEM(positional, i)));
    }
    callable = PyObject_Call(state->partial, call_arguments, keywords);
    Py_DECREF(call_arguments);
    if (callable == NULL) {
        return NULL;
    }
    result = PyTuple_New(PyTuple_GET_SIZE(reduced));
    if (result == NULL) {
        Py_DECREF(callable);
        return NULL;
    }
    PyTuple_SET_ITEM(result, 0, callable);
    for (Py_ssize_t i = 2; i < PyTuple_GET_SIZE(reduced); i++) {
        PyTuple_SET_ITEM(result, i, Py_NewRef(PyTuple_GET_ITEM(reduced, i)));
    }
    PyObject *nothing = PyTuple_New(0);
    if (nothing == NULL) {
        Py_DECREF(result);
        return NULL;
    }
    PyTuple_SET_ITEM(result, 1, nothing);
    return result;
}

int
fp_save_reduced(fp_walk *walk, PyObject *reduced, PyObject *object)
{
    const fp_state *state = walk->state;
    PyObject *arguments;
    fp_frame *frame;
    int form = BY_CALL;

    if (check_reduced(state, reduced) < 0) {
        return -1;
    }
    if (walk->protocol >= 2
        && find_form(state, PyTuple_GET_ITEM(reduced, 0), &form) < 0)
    {
        return -1;
    }
    arguments = PyTuple_GET_ITEM(reduced, 1);
    if (form == BY_NEWOBJ && check_newobj(state, arguments, object) < 0) {
        return -1;
    }
    if (form == BY_NEWOBJ_EX && check_newobj_ex(state, arguments) < 0) {
        return -1;
    }
    Py_INCREF(reduced);
    if (form == BY_NEWOBJ_EX && walk->protocol < 4) {
        form = BY_CALL;
        Py_SETREF(reduced, with_partial(state, reduced));
        if (reduced == NULL) {
            return -1;
        }
    }
    frame = fp_push(walk, FP_FRAME_REDUCE, object);
    if (frame == NULL) {
        Py_DECREF(reduced);
        return -1;
    }
    frame->pending = reduced;
    frame->flags |= FP_FLAG_OWNS_PENDING;
    frame->size = form;
    walk->n_reduces++;
    walk->n_unbuilt++;
    return FP_PUSHED;
}

static int
save_arguments(fp_walk *walk, const fp_frame *frame)
{
    PyObject *arguments = PyTuple_GET_ITEM(frame->pending, 1);
    PyObject *rest;
    int status;

    switch (frame->size) {
    case BY_NEWOBJ:
        rest = PyTuple_GetSlice(arguments, 1, PyTuple_GET_SIZE(arguments));
        if (rest == NULL) {
            return -1;
        }
        status = fp_save(walk, rest, 0);
        Py_DECREF(rest);
        return status;
    case BY_NEWOBJ_EX:
        return fp_save(walk, PyTuple_GET_ITEM(arguments, 1), 0);
    default:
        return fp_save(walk, arguments, 0);
    }
}

/* The object is built: into the memo with it, unless its own arguments led
 * back to it; then what was built now is thrown away. 1 in that case. */
static int
finish_building(fp_walk *walk, const fp_frame *frame)
{
    static const unsigned char opcodes[] = {OP_REDUCE, OP_NEWOBJ,
                                            OP_NEWOBJ_EX};
    int64_t *value;

    if (fp_emit_byte(walk, opcodes[frame->size]) < 0) {
        return -1;
    }
    walk->n_unbuilt--;
    if (frame->object == NULL) {
        return 0;
    }
    value = fp_memo_find(walk->memo, frame->object);
    if (value != NULL) {
        return fp_emit_byte(walk, OP_POP) < 0 || fp_memo_get(walk, value) < 0
                   ? -1
                   : 1;
    }
    return fp_memo_put(walk, frame->object, 0);
}

const char *
fp_reduce_note(const fp_frame *frame)
{
    int is_call = frame->size == BY_CALL;

    switch (frame->stage) { /* one ahead of what is being saved */
    case REDUCE_CALLABLE + 1:
        return is_call ? FP_NOTE_RECONSTRUCTOR : FP_NOTE_CLASS;
    case REDUCE_ARGUMENTS + 1:
        return is_call ? FP_NOTE_ARGUMENTS : FP_NOTE_NEW_ARGUMENTS;
    case REDUCE_KEYWORDS + 1:
        return is_call ? NULL : FP_NOTE_NEW_ARGUMENTS;
    case REDUCE_STATE + 1:
        return FP_NOTE_SETTER;
    case REDUCE_SETTER_STATE + 1:
    case REDUCE_BUILD:
        return FP_NOTE_STATE;
    default:
        return NULL;
    }
}

PyObject *
fp_reduce_owner(const fp_frame *frame)
{
    return frame->stage == REDUCE_LIST + 1 || frame->stage == REDUCE_DICT + 1
               ? frame->object
               : NULL;
}

static int
push_items(fp_walk *walk, fp_frame_kind kind, PyObject *iterator)
{
    return fp_push(walk, kind, iterator) == NULL ? -1 : FP_PUSHED;
}

int
fp_step_reduce(fp_walk *walk, fp_frame *frame)
{
    PyObject *reduced = frame->pending;
    int status = FP_SAVED;

    /* `stage` is advanced before each save: a save that pushes a frame comes
     * back here when that frame is done, and may move the frames. */
    while (status == FP_SAVED) {
        switch (frame->stage++) {
        case REDUCE_CALLABLE:
            status = fp_save(
                walk,
                frame->size == BY_CALL
                    ? PyTuple_GET_ITEM(reduced, 0)
                    : PyTuple_GET_ITEM(PyTuple_GET_ITEM(reduced, 1), 0),
                0);
            break;
        case REDUCE_ARGUMENTS:
            status = save_arguments(walk, frame);
            break;
        case REDUCE_KEYWORDS:
            if (frame->size == BY_NEWOBJ_EX) {
                status = fp_save(
                    walk, PyTuple_GET_ITEM(PyTuple_GET_ITEM(reduced, 1), 2),
                    0);
            }
            break;
        case REDUCE_OPCODE:
            status = finish_building(walk, frame);
            if (status == 1) {
                fp_pop(walk);
                return FP_SAVED;
            }
            break;
        case REDUCE_LIST:
            if (part(reduced, 3) != NULL) {
                status =
                    push_items(walk, FP_FRAME_LIST_ITER, part(reduced, 3));
            }
            break;
        case REDUCE_DICT:
            if (part(reduced, 4) != NULL) {
                status =
                    push_items(walk, FP_FRAME_DICT_ITER, part(reduced, 4));
            }
            break;
        case REDUCE_STATE:
            if (part(reduced, 2) == NULL) {
                frame->stage = REDUCE_DONE;
            }
            else if (part(reduced, 5) != NULL) {
                status = fp_save(walk, part(reduced, 5), 0);
            }
            else {
                frame->stage = REDUCE_BUILD;
                status = fp_save(walk, part(reduced, 2), 0);
            }
            break;
        case REDUCE_SETTER_OBJECT:
            if (frame->object == NULL) {
                PyErr_SetString(walk->state->pickling_error,
                                "a state setter needs an object");
                return fp_fail_itself(frame);
            }
            status = fp_save(walk, frame->object, 0);
            break;
        case REDUCE_SETTER_STATE:
            status = fp_save(walk, part(reduced, 2), 0);
            break;
        case REDUCE_SETTER_CALL: {
            static const unsigned char call[] = {OP_TUPLE2, OP_REDUCE, OP_POP};
            status = fp_emit(walk, call, sizeof(call));
            frame->stage = REDUCE_DONE;
            break;
        }
        case REDUCE_BUILD:
            status = fp_emit_byte(walk, OP_BUILD);
            break;
        case REDUCE_ONLY_STATE:
            frame->stage = REDUCE_BUILD;
            status = fp_save(walk, reduced, 0);
            break;
        default: /* REDUCE_DONE */
            fp_pop(walk);
            return FP_SAVED;
        }
    }
    return status;
}

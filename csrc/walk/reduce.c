/* What a reducer returned: a tuple, saved part by part. */
#include "base/messages.h"
#include "walk.h"

#include "base/errors.h"

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

int
fp_check_reduced(const fp_state *state, PyObject *reduced)
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

static int
may_be_newobj(PyObject *name)
{
#if PY_VERSION_HEX < 0x030c0000
    if (PyUnicode_READY(name) < 0) {
        PyErr_Clear();
        return 1;
    }
#endif
    return PyUnicode_GET_LENGTH(name) > 2
           && PyUnicode_READ_CHAR(name, 0) == '_';
}

/* copyreg's two functions stand for opcodes; they are known by name. */
static int
find_form(const fp_state *state, PyObject *callable, int *form)
{
    PyObject *name;

    *form = BY_CALL;
    if (Py_IS_TYPE(callable, &PyType_Type)
        && PyType_HasFeature((PyTypeObject *)callable, Py_TPFLAGS_HEAPTYPE))
    {
        name = Py_NewRef(((PyHeapTypeObject *)callable)->ht_name);
    }
    else {
        name = fp_optional_attribute(callable, state->str_name);
    }
    if (name == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    if (PyUnicode_Check(name) && may_be_newobj(name)) {
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

    if (fp_check_reduced(state, reduced) < 0) {
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
    reduced = object != NULL && PyExceptionInstance_Check(object)
                  ? fp_without_notes(state, reduced)
                  : Py_NewRef(reduced);
    if (reduced == NULL) {
        return -1;
    }
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

int
fp_push_state(fp_walk *walk, PyObject *object, PyObject *state)
{
    fp_frame *frame = fp_push(walk, FP_FRAME_REDUCE, object);

    if (frame == NULL) {
        return -1;
    }
    frame->pending = Py_NewRef(state);
    frame->flags |= FP_FLAG_OWNS_PENDING | FP_FLAG_OF_OBJECT;
    frame->stage = REDUCE_ONLY_STATE;
    walk->n_reduces++;
    return FP_PUSHED;
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

/* --- for notes ----------------------------------------------------------- */

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

fp_reduce_part
fp_reduce_part_of(const fp_frame *frame)
{
    switch (frame->stage) { /* one ahead of what is being saved */
    case REDUCE_CALLABLE + 1:
        return FP_PART_CALLABLE;
    case REDUCE_ARGUMENTS + 1:
    case REDUCE_KEYWORDS + 1:
        return FP_PART_ARGUMENTS;
    case REDUCE_LIST + 1:
    case REDUCE_DICT + 1:
        return FP_PART_ITEMS;
    default:
        return FP_PART_STATE;
    }
}

/* Where in the object the walk is, for a note. */
#include "base/errors.h"
#include "walk.h"

#define SHOWN_CHARS 60

/* The key at which a dict's iteration stands; borrowed, NULL where the dict
 * was changed meanwhile. */
static PyObject *
current_key(const fp_frame *frame)
{
    Py_ssize_t position = 0;
    PyObject *key, *value;

    while (PyDict_Next(frame->object, &position, &key, &value)) {
        if (position == frame->position) {
            return key;
        }
    }
    return NULL;
}

/* repr() where that runs only built-in code, else the type's name. */
static PyObject *
safe_repr(PyObject *object)
{
    PyObject *repr;

    if (object == NULL) {
        return PyUnicode_FromString("?");
    }
    if (!PyUnicode_CheckExact(object) && !PyLong_CheckExact(object)
        && !PyFloat_CheckExact(object) && !PyBytes_CheckExact(object)
        && !PyBool_Check(object) && object != Py_None)
    {
        return PyUnicode_FromFormat("<%.100s>", Py_TYPE(object)->tp_name);
    }
    repr = PyObject_Repr(object);
    if (repr != NULL && PyUnicode_GET_LENGTH(repr) > SHOWN_CHARS) {
        PyObject *head = PyUnicode_Substring(repr, 0, SHOWN_CHARS);
        Py_DECREF(repr);
        if (head == NULL) {
            return NULL;
        }
        repr = PyUnicode_FromFormat("%U...", head);
        Py_DECREF(head);
    }
    return repr;
}

static PyObject *
subscript(PyObject *key)
{
    PyObject *repr = safe_repr(key);
    PyObject *text = repr == NULL ? NULL : PyUnicode_FromFormat("[%U]", repr);

    Py_XDECREF(repr);
    return text;
}

static PyObject *
dict_step(const fp_frame *frame, int is_state)
{
    PyObject *key = current_key(frame);
    /* In the middle of a key the frame has not come to its value yet. */
    int in_key = frame->stage == FP_DICT_KEY;

    if (in_key) {
        PyObject *repr = safe_repr(key);
        PyObject *text =
            repr == NULL ? NULL : PyUnicode_FromFormat(".keys(%U)", repr);
        Py_XDECREF(repr);
        return text;
    }
    if (is_state && key != NULL && PyUnicode_CheckExact(key)
        && PyUnicode_IsIdentifier(key) == 1)
    {
        return PyUnicode_FromFormat(".%U", key);
    }
    return subscript(key);
}

/* A reducer's callable, arguments or state, unless the next step names the
 * state's attribute, or the item. */
static PyObject *
reduce_step(const fp_frame *frame, const fp_frame *next)
{
    switch (fp_reduce_part_of(frame)) {
    case FP_PART_CALLABLE:
        return PyUnicode_FromString(".__reduce_ex__()[0]");
    case FP_PART_ARGUMENTS:
        return PyUnicode_FromString(".__reduce_ex__()[1]");
    case FP_PART_ITEMS:
        return PyUnicode_FromString("");
    case FP_PART_STATE:
        break;
    }
    return PyUnicode_FromString(next == NULL || next->kind == FP_FRAME_DICT
                                    ? ""
                                    : ".__reduce_ex__()[2]");
}

static PyObject *
describe_step(const void *context, size_t i)
{
    const fp_walk *walk = context;
    const fp_frame *frame = &walk->frames[i];
    const fp_frame *next =
        i + 1 < walk->n_frames ? &walk->frames[i + 1] : NULL;
    int is_state;

    switch ((fp_frame_kind)frame->kind) {
    case FP_FRAME_LIST:
    case FP_FRAME_TUPLE:
        return PyUnicode_FromFormat(
            "[%zd]", frame->position > 0 ? frame->position - 1 : 0);
    case FP_FRAME_DICT:
        is_state = (frame->flags & FP_FLAG_ATTRIBUTES)
                   || (i > 0 && frame[-1].kind == FP_FRAME_REDUCE);
        return dict_step(frame, is_state);
    case FP_FRAME_LIST_ITER:
        return PyUnicode_FromFormat("[%zd]",
                                    frame->size > 0 ? frame->size - 1 : 0);
    case FP_FRAME_DICT_ITER:
        return subscript(frame->pending == NULL
                             ? NULL
                             : PyTuple_GET_ITEM(frame->pending, 0));
    case FP_FRAME_SET:
    case FP_FRAME_FROZENSET:
        return PyUnicode_FromString("{...}");
    case FP_FRAME_REDUCE:
        return reduce_step(frame, next);
    case FP_FRAME_ARRAY:
        return PyUnicode_FromString(".dtype");
    default:
        return PyUnicode_FromString("");
    }
}

void
fp_note_place_of_walk(const fp_walk *walk)
{
    fp_path path = {
        .n_steps = walk->n_frames,
        .step = describe_step,
        .context = walk,
    };

    fp_note_path(walk->state, &path);
}

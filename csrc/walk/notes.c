#include "base/errors.h"
#include "base/messages.h"
#include "walk.h"

#if FP_HAS_NOTES

/* About so many levels pickle's recursion gets down a stack of 8 MiB: where it
 * gets, its notes are complete. An object that is deeper it could not walk at
 * all; a note for each of a million levels would hide the exception, so there
 * only the innermost are made. Where they are in the object, the path says. */
#define MAX_FRAMES    50000
#define N_DEEP_FRAMES 40

/* The key whose value a dict's frame is saving (borrowed), or NULL: none, or the
 * dict was changed meanwhile. */
static PyObject *
saved_key(const fp_frame *frame)
{
    Py_ssize_t position = 0;
    PyObject *key, *value;

    while (PyDict_Next(frame->object, &position, &key, &value)) {
        if (position == frame->position) {
            return value == frame->pending ? key : NULL;
        }
    }
    return NULL;
}

/* The type of what a reducer's iterator belongs to. */
static PyTypeObject *
owner_type(const fp_frame *frame, const fp_frame *below)
{
    PyObject *owner = below != NULL && below->kind == FP_FRAME_REDUCE
                          ? fp_reduce_owner(below)
                          : NULL;

    if (owner != NULL) {
        return Py_TYPE(owner);
    }
    /* A list or dict in protocol 0. */
    return frame->kind == FP_FRAME_LIST_ITER ? &PyList_Type : &PyDict_Type;
}

static void
note_value(PyTypeObject *type, PyObject *key)
{
    Py_INCREF(key); /* repr() may run any code */
    fp_add_note(FP_NOTE_VALUE, type, key);
    Py_DECREF(key);
}

/* What the frame was saving when that failed. */
static void
note_held(const fp_frame *frame, const fp_frame *below)
{
    PyTypeObject *type = frame->object == NULL ? NULL : Py_TYPE(frame->object);
    PyObject *key;
    const char *note;

    switch ((fp_frame_kind)frame->kind) {
    case FP_FRAME_LIST:
    case FP_FRAME_TUPLE:
        if (frame->position > 0) {
            fp_add_note(FP_NOTE_ITEM, type, frame->position - 1);
        }
        break;
    case FP_FRAME_DICT:
        key = saved_key(frame);
        if (frame->stage == FP_DICT_VALUE && key != NULL) {
            note_value(type, key);
        }
        break;
    case FP_FRAME_SET:
    case FP_FRAME_FROZENSET:
        fp_add_note(FP_NOTE_ELEMENT, type);
        break;
    case FP_FRAME_LIST_ITER:
        if (frame->pending != NULL && frame->position == 1) {
            fp_add_note(FP_NOTE_ITEM, owner_type(frame, below),
                        frame->size - 1);
        }
        break;
    case FP_FRAME_DICT_ITER:
        if (frame->pending != NULL && frame->position == 2) {
            note_value(owner_type(frame, below),
                       PyTuple_GET_ITEM(frame->pending, 0));
        }
        break;
    case FP_FRAME_REDUCE:
        note = fp_reduce_note(frame);
        if (note != NULL && type != NULL) {
            fp_add_note(note, type);
        }
        break;
    case FP_FRAME_ARRAY: /* its dtype */
        fp_add_note(FP_NOTE_ARGUMENTS, type);
        break;
    case FP_FRAME_SCRIPT:
    case FP_FRAME_PERSISTENT:
    case FP_FRAME_KNOWN: /* only where memory is short */
        break;
    }
}

/* The object that a frame is the saving of: an instance by its state, or by its
 * reducer's answer. */
static void
note_object(const fp_frame *frame)
{
    if (frame->kind == FP_FRAME_DICT && (frame->flags & FP_FLAG_BUILD)
        && frame->ahead != NULL)
    {
        fp_add_note(FP_NOTE_STATE, frame->ahead);
        fp_add_note(FP_NOTE_OBJECT, frame->ahead);
    }
    else if (frame->kind == FP_FRAME_ARRAY
             || (frame->flags & FP_FLAG_OF_OBJECT))
    {
        fp_add_note(FP_NOTE_OBJECT, Py_TYPE(frame->object));
    }
}

void
fp_note_frames(const fp_walk *walk)
{
    size_t n_left =
        walk->n_frames > MAX_FRAMES ? N_DEEP_FRAMES : walk->n_frames;

    for (size_t i = walk->n_frames; n_left > 0; n_left--) {
        const fp_frame *frame = &walk->frames[--i];
        if (!(frame->flags & FP_FLAG_ITSELF)) {
            note_held(frame, i > 0 ? frame - 1 : NULL);
        }
        note_object(frame);
    }
}

#else

void
fp_note_frames(const fp_walk *Py_UNUSED(walk))
{
}

#endif

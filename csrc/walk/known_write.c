/* What known reducers would return, written without its being made. */
#include "known.h"

#include "base/compat.h"
#include "inline_leaves.h"

#include <stdlib.h>

/* The stages of a frame: what is to be done next. */
enum {
    WRITE_ARGUMENTS,
    WRITE_ITEMS_OF_ARGUMENTS, /* a tuple's */
    WRITE_END_OF_ARGUMENTS,   /* there was one */
    WRITE_OPCODE,
    WRITE_BATCH,
    WRITE_ITEM,
    WRITE_KEY,
    WRITE_VALUE,
    WRITE_STATE,
    WRITE_SLOTS,
    WRITE_SLOT,
};

/* --- arguments ----------------------------------------------------------- */

static int
save_empty_tuple(fp_walk *walk)
{
    return fp_begin_temporary(walk) < 0 ? -1
                                        : fp_emit_byte(walk, OP_EMPTY_TUPLE);
}

/* A copy that is saved in the place of the instance. Steals it. */
static int
save_copy(fp_walk *walk, PyObject *copy, int is_shared)
{
    int status;

    if (copy == NULL) {
        return -1;
    }
    status = fp_keep(walk, copy) < 0 ? -1 : fp_save(walk, copy, !is_shared);
    Py_DECREF(copy);
    return status;
}

static int
save_text(fp_walk *walk, PyObject *text)
{
    Py_ssize_t length;

#if PY_VERSION_HEX < 0x030c0000
    if (PyUnicode_READY(text) < 0) {
        return -1;
    }
#endif
    length = PyUnicode_GET_LENGTH(text);
    if (length > 0 && length < FP_SHORT_STR) {
        return fp_begin_temporary(walk) < 0 ? -1 : fp_save_str(walk, text, 1);
    }
    return save_copy(walk, PyUnicode_FromObject(text), length == 0);
}

static int
save_leaf(fp_walk *walk, PyObject *object, fp_known_kind kind)
{
    Py_ssize_t n_bytes;
    int status;

    switch (kind) {
    case FP_KNOWN_STR:
        return save_text(walk, object);
    case FP_KNOWN_BYTES:
        n_bytes = PyBytes_GET_SIZE(object);
        return save_copy(
            walk,
            PyBytes_FromStringAndSize(PyBytes_AS_STRING(object), n_bytes),
            n_bytes <= 1);
    case FP_KNOWN_INT:
        status = fp_begin_temporary(walk);
        return status < 0 ? -1 : fp_save_int_inline(walk, object);
    default:
        status = fp_begin_temporary(walk);
        return status < 0 ? -1 : fp_save_float_inline(walk, object);
    }
}

static int
save_maxlen(fp_walk *walk, PyObject *deque)
{
    PyTypeObject *type = (PyTypeObject *)walk->state->deque_type;
    PyObject *getter = fp_type_lookup(type, walk->state->str_maxlen);
    PyObject *maxlen;
    int status;

    if (getter == NULL || Py_TYPE(getter)->tp_descr_get == NULL) {
        return fp_call_out(walk);
    }
    maxlen = Py_TYPE(getter)->tp_descr_get(getter, deque, (PyObject *)type);
    if (maxlen == NULL) {
        return -1;
    }
    if (maxlen == Py_None) {
        status = save_empty_tuple(walk);
    }
    else {
        status = fp_begin_temporary(walk) < 0 || save_empty_tuple(walk) < 0
                         || fp_save(walk, maxlen, 0) < 0
                     ? -1
                     : fp_end_tuple(walk, 2);
    }
    Py_DECREF(maxlen);
    return status;
}

static PyObject *
default_factory(const fp_state *state, PyObject *object)
{
    PyObject *member = fp_type_lookup((PyTypeObject *)state->default_dict_type,
                                      state->str_default_factory);

    if (member == NULL || Py_TYPE(member)->tp_descr_get == NULL) {
        return Py_NewRef(Py_NotImplemented);
    }
    return Py_TYPE(member)->tp_descr_get(member, object,
                                         state->default_dict_type);
}

/* The only argument is saved: the next stage ends the tuple. */
static int
save_argument(fp_walk *walk, fp_frame *frame, PyObject *argument)
{
    frame->stage = WRITE_END_OF_ARGUMENTS;
    return fp_save(walk, argument, fp_is_lonely(argument));
}

static int
save_factory(fp_walk *walk, fp_frame *frame)
{
    PyObject *factory = default_factory(walk->state, frame->object);
    int status;

    if (factory == NULL) {
        return -1;
    }
    Py_DECREF(factory); /* the object has it */
    if (factory == Py_NotImplemented) {
        return fp_call_out(walk);
    }
    if (factory == Py_None) {
        frame->stage = WRITE_OPCODE;
        return save_empty_tuple(walk);
    }
    status = fp_begin_temporary(walk);
    return status < 0 ? -1 : save_argument(walk, frame, factory);
}

static int
save_items_as_list(fp_walk *walk, fp_frame *frame)
{
    PyObject *items = PySequence_List(frame->object);
    int status;

    if (items == NULL) {
        return -1;
    }
    frame->stage = WRITE_END_OF_ARGUMENTS;
    status = fp_begin_temporary(walk) < 0 || fp_begin_temporary(walk) < 0
                 ? -1
                 : fp_open_list(walk, items, 1);
    Py_DECREF(items);
    return status;
}

static int
begin_items_of_tuple(fp_walk *walk, fp_frame *frame, int is_inner)
{
    Py_ssize_t size = PyTuple_GET_SIZE(frame->object);

    frame->stage = WRITE_ITEMS_OF_ARGUMENTS;
    if (fp_begin_temporary(walk) < 0
        || (is_inner && fp_begin_temporary(walk) < 0))
    {
        return -1;
    }
    if (size == 0) {
        frame->stage = is_inner ? WRITE_END_OF_ARGUMENTS : WRITE_OPCODE;
        return fp_emit_byte(walk, OP_EMPTY_TUPLE);
    }
    return size > 3 ? fp_emit_byte(walk, OP_MARK) : 0;
}

static int
save_items_of_tuple(fp_walk *walk, fp_frame *frame, int is_inner)
{
    PyObject *tuple = frame->object;
    Py_ssize_t size = PyTuple_GET_SIZE(tuple);

    while (frame->position < size) {
        PyObject *item = PyTuple_GET_ITEM(tuple, frame->position);
        int status;
        frame->position++;
        if (item == NULL) {
            return fp_call_out(walk);
        }
        status = fp_save(walk, item, fp_is_lonely(item));
        if (status != FP_SAVED) {
            return status;
        }
    }
    frame->position = 0;
    frame->stage = is_inner ? WRITE_END_OF_ARGUMENTS : WRITE_OPCODE;
    return fp_end_tuple(walk, size);
}

static int
save_arguments(fp_walk *walk, fp_frame *frame, const fp_known_class *known)
{
    PyObject *object = frame->object;
    int status;

    switch (known->kind) {
    case FP_KNOWN_TUPLE:
    case FP_KNOWN_NAMEDTUPLE:
        return begin_items_of_tuple(walk, frame,
                                    known->kind == FP_KNOWN_TUPLE);
    case FP_KNOWN_STR:
    case FP_KNOWN_BYTES:
    case FP_KNOWN_INT:
    case FP_KNOWN_FLOAT:
        frame->stage = WRITE_END_OF_ARGUMENTS;
        status = fp_begin_temporary(walk);
        return status < 0 ? -1 : save_leaf(walk, object, known->kind);
    case FP_KNOWN_COMPLEX:
        frame->stage = WRITE_OPCODE;
        return fp_save_complex_parts(walk, object);
    case FP_KNOWN_SET:
        return save_items_as_list(walk, frame);
    case FP_KNOWN_DEFAULT_DICT:
        return save_factory(walk, frame);
    case FP_KNOWN_COUNTER: /* a dict of the same items */
        frame->stage = WRITE_END_OF_ARGUMENTS;
        status = fp_begin_temporary(walk) < 0 ? -1 : fp_begin_temporary(walk);
        return status < 0 ? -1 : fp_open_dict(walk, object, 1, 0);
    case FP_KNOWN_ENUM:
        status = fp_begin_temporary(walk);
        return status < 0 ? -1 : save_argument(walk, frame, frame->pending);
    case FP_KNOWN_DEQUE:
        frame->stage = WRITE_OPCODE;
        return save_maxlen(walk, object);
    default:
        frame->stage = WRITE_OPCODE;
        return save_empty_tuple(walk);
    }
}

/* The object is built, and in the memo from here on. */
static int
finish_building(fp_walk *walk, const fp_frame *frame, fp_known_kind kind)
{
    unsigned char opcode = kind >= FP_KNOWN_SET ? OP_REDUCE : OP_NEWOBJ;

    return fp_emit_byte(walk, opcode) < 0
               ? -1
               : fp_memo_put(walk, frame->object,
                             (frame->flags & FP_FLAG_LONELY) != 0);
}

/* --- items --------------------------------------------------------------- */

/* `size` is their number, `lookahead` how many are written, `position` where a
 * dict's iteration stands, `ahead` the value that belongs to a key. */

static int
begin_items(const fp_walk *walk, fp_frame *frame, fp_known_kind kind)
{
    PyTypeObject *deque = (PyTypeObject *)walk->state->deque_type;
    PyObject *object = frame->object;
    PyObject *iterator = NULL;

    frame->stage = WRITE_BATCH;
    switch (kind) {
    case FP_KNOWN_LIST:
        frame->size = PyList_GET_SIZE(object);
        return 0;
    case FP_KNOWN_DICT:
    case FP_KNOWN_DEFAULT_DICT:
        frame->size = PyDict_GET_SIZE(object);
        return 0;
    case FP_KNOWN_ORDERED_DICT:
        frame->size = PyDict_GET_SIZE(object);
        if (frame->size > 0) {
            iterator = PyODict_Type.tp_iter(object);
        }
        break;
    case FP_KNOWN_DEQUE:
        frame->size = deque->tp_as_sequence->sq_length(object);
        if (frame->size > 0) {
            iterator = deque->tp_iter(object);
        }
        break;
    default:
        frame->stage = WRITE_STATE;
        return 0;
    }
    if (frame->size > 0) {
        if (iterator == NULL) {
            return -1;
        }
        frame->pending = iterator;
        frame->flags |= FP_FLAG_OWNS_PENDING;
    }
    return 0;
}

/* As pickle does it with an iterator: a single one has no MARK. */
static int
begin_batch(fp_walk *walk, fp_frame *frame, fp_known_kind kind)
{
    Py_ssize_t n_left = frame->size - frame->lookahead;

    if (n_left == 0) {
        frame->stage = WRITE_STATE;
        return 0;
    }
    frame->n_batch = 0;
    frame->stage = kind == FP_KNOWN_LIST || kind == FP_KNOWN_DEQUE ? WRITE_ITEM
                                                                   : WRITE_KEY;
    frame->flags &= (unsigned char)~FP_FLAG_MARKED;
    if (n_left > 1) {
        frame->flags |= FP_FLAG_MARKED;
        return fp_emit_byte(walk, OP_MARK);
    }
    return 0;
}

static inline int
is_batch_full(const fp_frame *frame)
{
    return frame->lookahead == frame->size || frame->n_batch == FP_BATCH_ITEMS;
}

static int
end_batch(fp_walk *walk, fp_frame *frame, unsigned char one,
          unsigned char many)
{
    frame->stage = WRITE_BATCH;
    return fp_emit_byte(walk, frame->flags & FP_FLAG_MARKED ? many : one);
}

/* The next item, borrowed: in silence whoever holds it keeps it. NULL with or
 * without an exception. */
static PyObject *
next_item(const fp_frame *frame, fp_known_kind kind)
{
    PyObject *item;

    if (kind == FP_KNOWN_LIST) {
        return PyList_GET_ITEM(frame->object, frame->lookahead);
    }
    item = PyIter_Next(frame->pending);
    Py_XDECREF(item);
    return item;
}

static int
save_items(fp_walk *walk, fp_frame *frame, fp_known_kind kind)
{
    while (!is_batch_full(frame)) {
        PyObject *item = next_item(frame, kind);
        int status;
        if (item == NULL) {
            return PyErr_Occurred() ? -1 : fp_call_out(walk);
        }
        frame->lookahead++;
        frame->n_batch++;
        status = fp_save(walk, item, fp_is_lonely(item));
        if (status != FP_SAVED) {
            return status;
        }
    }
    return end_batch(walk, frame, OP_APPEND, OP_APPENDS);
}

/* The next key, borrowed, its value in `ahead`. */
static PyObject *
next_key(fp_frame *frame, fp_known_kind kind)
{
    PyObject *key, *value;

    if (kind != FP_KNOWN_ORDERED_DICT) {
        if (!PyDict_Next(frame->object, &frame->position, &key, &value)) {
            return NULL;
        }
        frame->ahead = Py_NewRef(value);
        return key;
    }
    key = PyIter_Next(frame->pending);
    if (key == NULL) {
        return NULL;
    }
    Py_DECREF(key);
    return fp_dict_get(frame->object, key, &frame->ahead) > 0 ? key : NULL;
}

static int
save_pairs(fp_walk *walk, fp_frame *frame, fp_known_kind kind)
{
    PyObject *key, *value;
    int status;

    for (;;) {
        if (frame->stage == WRITE_KEY) {
            if (is_batch_full(frame)) {
                return end_batch(walk, frame, OP_SETITEM, OP_SETITEMS);
            }
            key = next_key(frame, kind);
            if (key == NULL) {
                return PyErr_Occurred() ? -1 : fp_call_out(walk);
            }
            frame->lookahead++;
            frame->n_batch++;
            frame->stage = WRITE_VALUE;
            /* The list of an OrderedDict holds its keys, too. */
            status = fp_save(
                walk, key, kind != FP_KNOWN_ORDERED_DICT && fp_is_lonely(key));
            if (status != FP_SAVED) {
                return status;
            }
        }
        frame->stage = WRITE_KEY;
        value = frame->ahead;
        frame->ahead = NULL;
        Py_DECREF(value); /* the dict has it */
        status = fp_save(walk, value, fp_is_lonely(value));
        if (status != FP_SAVED) {
            return status;
        }
    }
}

/* --- state --------------------------------------------------------------- */

/* The instance's own dict, borrowed from it; NULL without an exception where
 * there is none. */
static PyObject *
instance_dict(PyObject *object)
{
    PyObject **place;

#if PY_VERSION_HEX >= 0x030d0000
    if (Py_TYPE(object)->tp_flags & Py_TPFLAGS_INLINE_VALUES) {
        PyObject *dict = PyObject_GenericGetDict(object, NULL);
        Py_XDECREF(dict);
        return dict;
    }
#endif
    place = _PyObject_GetDictPtr(object);
    return place == NULL ? NULL : *place;
}

/* The state is a dict alone: the last thing of the object. */
static int
save_dict_alone(fp_walk *walk, PyObject *object, PyObject *dict)
{
    return fp_save_state_dict(walk, Py_TYPE(object), dict, fp_is_lonely(dict));
}

/* The dict in front of the slots. */
static int
save_dict_of_pair(fp_walk *walk, PyObject *dict)
{
    int lonely = fp_is_lonely(dict);

    if (fp_begin_temporary(walk) < 0) {
        return -1;
    }
    if (!lonely && fp_memo_find(walk->memo, dict) != NULL) {
        return fp_call_out(walk); /* as in fp_save_state_dict() */
    }
    return fp_open_dict(walk, dict, lonely, FP_FLAG_ATTRIBUTES);
}

/* What there is of a state; pops the frame where that is all. */
static int
save_state(fp_walk *walk, fp_frame *frame, const fp_known_class *known)
{
    PyObject *object = frame->object;
    PyObject *dict = NULL;

    if (known->has_dict) {
        dict = instance_dict(object);
        if (dict == NULL && PyErr_Occurred()) {
            return -1;
        }
    }
    frame->size = 0;
    for (size_t i = 0; i < known->n_slots; i++) {
        frame->size += fp_slot_value(object, &known->slots[i]) != NULL;
    }
    if (known->kind == FP_KNOWN_DEFAULT_DICT || known->kind == FP_KNOWN_COUNTER
        || known->kind == FP_KNOWN_ENUM)
    {
        fp_pop(walk);
        return FP_SAVED;
    }
    if (known->kind == FP_KNOWN_NAMESPACE && dict == NULL) {
        return fp_call_out(walk);
    }
    if (frame->size == 0) {
        int is_empty = dict == NULL
                       || (PyDict_GET_SIZE(dict) == 0
                           && known->kind != FP_KNOWN_NAMESPACE);
        fp_pop(walk); /* whoever holds the object keeps it */
        return is_empty ? FP_SAVED : save_dict_alone(walk, object, dict);
    }
    frame->stage = WRITE_SLOTS;
    if (fp_begin_temporary(walk) < 0) {
        return -1;
    }
    return dict == NULL || PyDict_GET_SIZE(dict) == 0
               ? fp_save(walk, Py_None, 0)
               : save_dict_of_pair(walk, dict);
}

/* The dict of the slots is not made. */
static int
begin_slots(fp_walk *walk, fp_frame *frame)
{
    frame->stage = WRITE_SLOT;
    frame->position = 0;
    if (fp_begin_temporary(walk) < 0 || fp_emit_byte(walk, OP_EMPTY_DICT) < 0
        || fp_put_temporary(walk) < 0)
    {
        return -1;
    }
    return frame->size > 1 ? fp_emit_byte(walk, OP_MARK) : 0;
}

static int
save_slots(fp_walk *walk, fp_frame *frame, const fp_known_class *known)
{
    while (frame->position < (Py_ssize_t)known->n_slots) {
        const fp_known_slot *slot = &known->slots[frame->position++];
        PyObject *value = fp_slot_value(frame->object, slot);
        int status;
        if (value == NULL) {
            continue;
        }
        status = fp_save(walk, slot->name, 0);
        if (status == FP_SAVED) {
            status = fp_save(walk, value, fp_is_lonely(value));
        }
        if (status != FP_SAVED) {
            return status;
        }
    }
    if (fp_emit_byte(walk, frame->size > 1 ? OP_SETITEMS : OP_SETITEM) < 0
        || fp_end_tuple(walk, 2) < 0 || fp_emit_byte(walk, OP_BUILD) < 0)
    {
        return -1;
    }
    fp_pop(walk);
    return FP_SAVED;
}

/* --- one object ---------------------------------------------------------- */

int
fp_step_known(fp_walk *walk, fp_frame *frame)
{
    const fp_known_class *known =
        fp_known_class_of(walk, Py_TYPE(frame->object));
    size_t n_frames = walk->n_frames;
    int status = known == NULL ? -1 : FP_SAVED;

    if (known != NULL && known->kind >= FP_KNOWN_DATE) {
        return fp_step_value(walk, frame, known);
    }

    /* A save that pushes a frame comes back here when that is done. */
    while (status == FP_SAVED && walk->n_frames == n_frames) {
        switch (frame->stage) {
        case WRITE_ARGUMENTS:
            status = save_arguments(walk, frame, known);
            break;
        case WRITE_ITEMS_OF_ARGUMENTS:
            status = save_items_of_tuple(walk, frame,
                                         known->kind == FP_KNOWN_TUPLE);
            break;
        case WRITE_END_OF_ARGUMENTS:
            frame->stage = WRITE_OPCODE;
            status = fp_end_tuple(walk, 1);
            break;
        case WRITE_OPCODE:
            status = finish_building(walk, frame, known->kind);
            if (status == 0) {
                status = begin_items(walk, frame, known->kind);
            }
            break;
        case WRITE_BATCH:
            status = begin_batch(walk, frame, known->kind);
            break;
        case WRITE_ITEM:
            status = save_items(walk, frame, known->kind);
            break;
        case WRITE_KEY:
        case WRITE_VALUE:
            status = save_pairs(walk, frame, known->kind);
            break;
        case WRITE_STATE:
            status = save_state(walk, frame, known);
            break;
        case WRITE_SLOTS:
            status = begin_slots(walk, frame);
            break;
        default: /* WRITE_SLOT */
            status = save_slots(walk, frame, known);
        }
    }
    return status;
}

/* Whether the instance's own dict hides what pickle would look up in the class
 * and nobody looks for when that dict is written (containers.c). 1, 0 or -1. */
static int
is_shadowed(const fp_walk *walk, PyObject *object, fp_known_kind kind)
{
    const fp_state *state = walk->state;
    PyObject *names[FP_N_REDUCER_NAMES + 2];
    PyObject *dict;
    int found = 0;

    if (kind != FP_KNOWN_DICT && kind < FP_KNOWN_UUID) {
        return 0;
    }
    dict = instance_dict(object);
    if (dict == NULL || PyDict_GET_SIZE(dict) == 0) {
        return PyErr_Occurred() ? -1 : 0;
    }
    fp_reducer_names(state, names);
    names[FP_N_REDUCER_NAMES] = state->str_items;
    names[FP_N_REDUCER_NAMES + 1] = state->str_reduce;
    for (size_t i = 0; found == 0 && i < FP_N_REDUCER_NAMES + 2; i++) {
        found = PyDict_Contains(dict, names[i]);
    }
    return found;
}

/* Keys whose hashing and comparing runs nothing. */
static int
is_plain_key(PyObject *key)
{
    return PyUnicode_CheckExact(key) || PyLong_CheckExact(key)
           || PyFloat_CheckExact(key) || PyBytes_CheckExact(key)
           || PyBool_Check(key) || key == Py_None;
}

static int
has_plain_keys(PyObject *dict)
{
    Py_ssize_t position = 0;
    PyObject *key, *value;

    while (PyDict_Next(dict, &position, &key, &value)) {
        if (!is_plain_key(key)) {
            return 0;
        }
    }
    return 1;
}

/* Whether the arguments may lead back to the object. */
static inline int
has_open_arguments(fp_known_kind kind)
{
    return kind == FP_KNOWN_TUPLE || kind == FP_KNOWN_NAMEDTUPLE
           || kind == FP_KNOWN_SET || kind == FP_KNOWN_DEFAULT_DICT
           || kind == FP_KNOWN_COUNTER || kind == FP_KNOWN_ENUM
           || kind >= FP_KNOWN_DATE;
}

/* An object without arguments and slots, which is most of them: no frame. */
static int
save_object(fp_walk *walk, PyObject *object, const fp_known_class *known,
            int lonely)
{
    PyObject *dict;
    fp_frame *frame;

    if (save_empty_tuple(walk) < 0 || fp_emit_byte(walk, OP_NEWOBJ) < 0
        || fp_memo_put(walk, object, lonely) < 0)
    {
        return -1;
    }
    if (known->n_slots == 0) {
        dict = known->has_dict ? instance_dict(object) : NULL;
        if (dict == NULL || PyDict_GET_SIZE(dict) == 0) {
            return PyErr_Occurred() ? -1 : FP_SAVED;
        }
        return save_dict_alone(walk, object, dict);
    }
    frame = fp_push(walk, FP_FRAME_KNOWN, object);
    if (frame == NULL) {
        return -1;
    }
    frame->stage = WRITE_STATE;
    return FP_PUSHED;
}

/* A dict of the number alone is its state, if all that may be said is unknown. */
static int
save_uuid(fp_walk *walk, PyObject *object, const fp_known_class *known,
          int lonely)
{
    PyObject *number = fp_slot_value(object, &known->slots[0]);

    if (number == NULL || !PyLong_CheckExact(number)
        || fp_slot_value(object, &known->slots[1]) != known->unknown)
    {
        return fp_call_out(walk);
    }
    return save_empty_tuple(walk) < 0 || fp_emit_byte(walk, OP_NEWOBJ) < 0
                   || fp_memo_put(walk, object, lonely) < 0
                   || fp_begin_temporary(walk) < 0
                   || fp_emit_byte(walk, OP_EMPTY_DICT) < 0
                   || fp_put_temporary(walk) < 0
                   || fp_save(walk, walk->state->str_int, 0) < 0
                   || fp_save(walk, number, 0) < 0
                   || fp_emit_byte(walk, OP_SETITEM) < 0
               ? -1
               : fp_emit_byte(walk, OP_BUILD);
}

/* Borrowed from the dict. */
static PyObject *
enum_value(const fp_state *state, PyObject *member)
{
    PyObject *dict = instance_dict(member);
    PyObject *value = NULL;

    if (dict != NULL) {
        (void)fp_dict_get(dict, state->str_value_, &value);
        Py_XDECREF(value);
    }
    return value;
}

int
fp_save_known_class(fp_walk *walk, PyObject *object, int lonely)
{
    const fp_known_class *known = fp_known_class_of(walk, Py_TYPE(object));
    PyObject *value = NULL;
    fp_known_kind kind;
    fp_frame *frame;
    int status;

    if (known == NULL) {
        return -1;
    }
    kind = known->kind;
    if (kind == FP_KNOWN_NOTHING
        || (walk->protocol < 3
            && (kind == FP_KNOWN_BYTES || kind == FP_KNOWN_DATE
                || kind == FP_KNOWN_TIME || kind == FP_KNOWN_DATETIME)))
    {
        return FP_LEFT;
    }
    if (known->has_dict) {
        status = is_shadowed(walk, object, kind);
        if (status != 0) {
            return status < 0 ? -1 : fp_call_out(walk);
        }
    }
    if (kind == FP_KNOWN_ENUM) {
        value = enum_value(walk->state, object);
        if (value == NULL) {
            return fp_call_out(walk);
        }
    }
    if (kind == FP_KNOWN_ORDERED_DICT && !has_plain_keys(object)) {
        return fp_call_out(walk);
    }
    walk->knows = 1;
    status = fp_save(walk, (PyObject *)Py_TYPE(object), 0);
    if (status != FP_SAVED) {
        return status < 0 ? -1 : fp_call_out(walk);
    }
    if (kind == FP_KNOWN_OBJECT) {
        return save_object(walk, object, known, lonely);
    }
    if (kind == FP_KNOWN_UUID) {
        return save_uuid(walk, object, known, lonely);
    }
    if (kind >= FP_KNOWN_DATE) {
        status = fp_save_value(walk, object, known, lonely);
        if (status != FP_LEFT) {
            return status;
        }
    }
    if (!lonely && has_open_arguments(kind)
        && fp_memo_set(walk->memo, object, FP_MEMO_OPEN) < 0)
    {
        return -1;
    }
    frame = fp_push(walk, FP_FRAME_KNOWN, object);
    if (frame == NULL) {
        return -1;
    }
    frame->pending = value;
    if (lonely) {
        frame->flags |= FP_FLAG_LONELY;
    }
    return FP_PUSHED;
}

#include "base/errors.h"
#include "base/messages.h"
#include "inline_leaves.h"
#include "walk.h"

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

static inline int
is_lonely(const fp_walk *walk, PyObject *object)
{
    return walk->silent && Py_REFCNT(object) == 1;
}

/* --- containers --------------------------------------------------------- */

/* From 3.15 on a last batch of one item is written as a single one, and one of
 * none not at all. */
#define SHORT_LAST_BATCH (PY_VERSION_HEX >= 0x030f0000)

/* Whether pickle minds that a list is not as long as it was. */
static inline int
minds_list_size(void)
{
#if PY_VERSION_HEX >= 0x030f0000
    return 1;
#elif PY_VERSION_HEX >= 0x030e0000
    return Py_Version >= 0x030e0700;
#else
    return 0;
#endif
}

static int
changed_size(fp_frame *frame, const char *what)
{
    PyErr_Format(PyExc_RuntimeError, "%s changed size during iteration", what);
    return fp_fail_itself(frame);
}

/* From so many items on, room in the memo is made for all of them. */
#define LARGE_CONTAINER 1024

/* A large container is about to be walked whose items look like `first`. */
static int
expect_items(fp_walk *walk, PyObject *first, Py_ssize_t n_items)
{
    PyTypeObject *type = Py_TYPE(first);

    if (n_items < LARGE_CONTAINER || walk->no_memo || type == &PyLong_Type
        || type == &PyFloat_Type || type == &PyBool_Type || first == Py_None
        || is_lonely(walk, first))
    {
        return 0;
    }
    return fp_memo_reserve(walk->memo, (size_t)n_items);
}

#define N_SAMPLES 16

/* Whether a large list names few objects again and again, by some of its
 * items. */
static int
repeats_items(PyObject *list, Py_ssize_t n_items)
{
    PyObject *samples[N_SAMPLES];

    for (Py_ssize_t i = 0; i < N_SAMPLES; i++) {
        samples[i] = PyList_GET_ITEM(list, n_items / N_SAMPLES * i + i);
        for (Py_ssize_t j = 0; j < i; j++) {
            if (samples[i] == samples[j]) {
                return 1;
            }
        }
    }
    return 0;
}

int
fp_open_list(fp_walk *walk, PyObject *list, int lonely)
{
    fp_frame *frame;

    if (walk->text ? fp_emit(walk, "(l", 2) < 0
                   : fp_emit_byte(walk, OP_EMPTY_LIST) < 0)
    {
        return -1;
    }
    if (fp_memo_put(walk, list, lonely) < 0) {
        return -1;
    }
    if (PyList_GET_SIZE(list) == 0) {
        return FP_SAVED;
    }
    if (walk->protocol == 0) {
        PyObject *iterator = PyObject_GetIter(list);
        if (iterator == NULL) {
            return -1;
        }
        frame = fp_push(walk, FP_FRAME_LIST_ITER, iterator);
        Py_DECREF(iterator);
        return frame == NULL || fp_guard_enter(walk, frame, list) < 0
                   ? -1
                   : FP_PUSHED;
    }
    frame = fp_push(walk, FP_FRAME_LIST, list);
    if (frame == NULL || fp_guard_enter(walk, frame, list) < 0) {
        return -1;
    }
    frame->size = PyList_GET_SIZE(list);
    if ((frame->size < LARGE_CONTAINER || !repeats_items(list, frame->size))
        && expect_items(walk, PyList_GET_ITEM(list, 0), frame->size) < 0)
    {
        return -1;
    }
    if (frame->size > 1 && fp_emit_byte(walk, OP_MARK) < 0) {
        return -1;
    }
    return FP_PUSHED;
}

/* Objects are often scattered over the memory: those that come next are
 * fetched into the cache while this one is written, and their places in the
 * memo too. */
#define LOOKAHEAD 8

static inline void
prefetch(const fp_walk *walk, const PyObject *object)
{
    __builtin_prefetch(object);
    if (!walk->silent && walk->memo->slots != NULL) {
        __builtin_prefetch(
            &walk->memo->slots[fp_memo_home(walk->memo, object)]);
    }
}

static int
step_list(fp_walk *walk, fp_frame *frame)
{
    PyObject *list = frame->object;
    int status;

    if (frame->size == 1) {
alone:
        if (frame->stage == 0 && frame->position < PyList_GET_SIZE(list)) {
            PyObject *item = Py_NewRef(PyList_GET_ITEM(list, frame->position));
            frame->stage = 1;
            frame->position++;
            status = fp_save(walk, item, walk->silent && Py_REFCNT(item) == 2);
            Py_DECREF(item);
            if (status != FP_SAVED) {
                return status;
            }
        }
        if (fp_emit_byte(walk, OP_APPEND) < 0) {
            return -1;
        }
        fp_pop(walk);
        return FP_SAVED;
    }
    for (;;) {
        if (frame->n_batch == FP_BATCH_ITEMS
            || frame->position >= PyList_GET_SIZE(list))
        {
            if (fp_emit_byte(walk, OP_APPENDS) < 0) {
                return -1;
            }
            if (PyList_GET_SIZE(list) != frame->size && minds_list_size()) {
                return changed_size(frame, "list");
            }
            if (frame->position >= PyList_GET_SIZE(list)) {
                fp_pop(walk);
                return FP_SAVED;
            }
            if (SHORT_LAST_BATCH && frame->position == frame->size - 1) {
                frame->size = 1;
                goto alone;
            }
            if (fp_emit_byte(walk, OP_MARK) < 0) {
                return -1;
            }
            frame->n_batch = 0;
        }
        Py_ssize_t i = frame->position++;
        PyObject *item = PyList_GET_ITEM(list, i);
        frame->n_batch++;
        if (i + LOOKAHEAD < PyList_GET_SIZE(list)) {
            prefetch(walk, PyList_GET_ITEM(list, i + LOOKAHEAD));
        }
        if (Py_TYPE(item) == &PyLong_Type && walk->late_puts) {
            status = fp_save_int_inline(walk, item);
        }
        else if (walk->silent) {
            status = fp_save(walk, item, Py_REFCNT(item) == 1);
        }
        else {
            Py_INCREF(item);
            status = fp_save(walk, item, 0);
            Py_DECREF(item);
        }
        if (status != FP_SAVED) {
            return status;
        }
    }
}

/* `flags`: FP_FLAG_ATTRIBUTES and FP_FLAG_BUILD, or 0. */
int
fp_open_dict(fp_walk *walk, PyObject *dict, int lonely, int flags)
{
    fp_frame *frame;

    if (walk->text ? fp_emit(walk, "(d", 2) < 0
                   : fp_emit_byte(walk, OP_EMPTY_DICT) < 0)
    {
        return -1;
    }
    if (fp_memo_put(walk, dict, lonely) < 0) {
        return -1;
    }
    if (PyDict_GET_SIZE(dict) == 0) {
        return flags & FP_FLAG_BUILD ? fp_emit_byte(walk, OP_BUILD) : FP_SAVED;
    }
    if (walk->protocol == 0) {
        PyObject *items =
            PyObject_CallMethodNoArgs(dict, walk->state->str_items);
        if (items == NULL) {
            return -1;
        }
        PyObject *iterator = PyObject_GetIter(items);
        Py_DECREF(items);
        if (iterator == NULL) {
            return -1;
        }
        frame = fp_push(walk, FP_FRAME_DICT_ITER, iterator);
        Py_DECREF(iterator);
        return frame == NULL || fp_guard_enter(walk, frame, dict) < 0
                   ? -1
                   : FP_PUSHED;
    }
    frame = fp_push(walk, FP_FRAME_DICT, dict);
    if (frame == NULL || fp_guard_enter(walk, frame, dict) < 0) {
        return -1;
    }
    frame->size = PyDict_GET_SIZE(dict);
    frame->flags |= (unsigned char)flags;
    if (frame->size > 4 * LOOKAHEAD) {
        PyObject *key, *value;
        Py_ssize_t first = 0;
        if (PyDict_Next(dict, &first, &key, &value)
            && expect_items(walk, key, frame->size) < 0)
        {
            return -1;
        }
        for (int i = 0; i < LOOKAHEAD; i++) {
            PyDict_Next(dict, &frame->lookahead, &key, &value);
        }
    }
    /* Keys of a split table belong to a class, not to this dict alone. */
    if (((PyDictObject *)dict)->ma_values != NULL) {
        frame->flags |= FP_FLAG_SHARED_KEYS;
    }
    if (frame->size > 1 && fp_emit_byte(walk, OP_MARK) < 0) {
        return -1;
    }
    return FP_PUSHED;
}

int
fp_save_state_dict(fp_walk *walk, PyTypeObject *type, PyObject *dict,
                   int lonely)
{
    int64_t *value;
    int status;

    if (!walk->late_puts && fp_end_full_frame(walk) < 0) {
        return -1;
    }
    value = lonely ? NULL : fp_memo_find(walk->memo, dict);
    if (value != NULL) {
        /* Written as a plain dict, nobody looked for reducers in it. */
        return fp_call_out(walk) < 0 || fp_memo_get(walk, value) < 0
                   ? -1
                   : fp_emit_byte(walk, OP_BUILD);
    }
    status =
        fp_open_dict(walk, dict, lonely, FP_FLAG_ATTRIBUTES | FP_FLAG_BUILD);
    if (status == FP_PUSHED) {
        walk->frames[walk->n_frames - 1].ahead = Py_NewRef(type);
    }
    else if (status < 0) {
        fp_add_note(FP_NOTE_STATE, type);
        fp_add_note(FP_NOTE_OBJECT, type);
    }
    return status;
}

/* An instance may carry a reducer of its own in its dict; the plain path does
 * not look there first. 1 where `key` is such a name. */
static int
is_reducer_name(const fp_walk *walk, PyObject *key)
{
    PyObject *names[FP_N_REDUCER_NAMES];

    if (!PyUnicode_CheckExact(key) || PyUnicode_GET_LENGTH(key) < 9
        || PyUnicode_READ_CHAR(key, 0) != '_'
        || PyUnicode_READ_CHAR(key, 1) != '_')
    {
        return 0;
    }
    fp_reducer_names(walk->state, names);
    for (size_t i = 0; i < FP_N_REDUCER_NAMES; i++) {
        if (PyUnicode_Compare(key, names[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

static int
end_dict(fp_walk *walk, fp_frame *frame, int opcode)
{
    int build = frame->flags & FP_FLAG_BUILD;

    if (fp_emit_byte(walk, (unsigned char)opcode) < 0) {
        return -1;
    }
    if (opcode == OP_SETITEMS && PyDict_GET_SIZE(frame->object) != frame->size)
    {
        return changed_size(frame, "dictionary");
    }
    fp_pop(walk);
    return build ? fp_emit_byte(walk, OP_BUILD) : FP_SAVED;
}

static inline void
drop_pending(fp_frame *frame)
{
    if (frame->flags & FP_FLAG_OWNS_PENDING) {
        frame->flags &= (unsigned char)~FP_FLAG_OWNS_PENDING;
        Py_CLEAR(frame->pending);
    }
}

/* How many items of a dict are still to be written: 0, 1, or 2 for any more. */
static int
items_left(const fp_frame *frame)
{
    Py_ssize_t position = frame->position;
    PyObject *key, *value;
    int n_left = 0;

    while (n_left < 2 && PyDict_Next(frame->object, &position, &key, &value)) {
        n_left++;
    }
    return n_left;
}

static int
step_dict(fp_walk *walk, fp_frame *frame)
{
    PyObject *dict = frame->object;
    PyObject *key, *value;
    int status;

    if (frame->stage == FP_DICT_KEY) {
        goto key_saved;
    }
    for (;;) {
        drop_pending(frame);
        if (frame->size == 1) {
            if (frame->n_batch == 1) {
                return end_dict(walk, frame, OP_SETITEM);
            }
        }
        else if (frame->n_batch == FP_BATCH_ITEMS) {
            int n_left = SHORT_LAST_BATCH ? items_left(frame) : 2;
            if (n_left == 0) {
                return end_dict(walk, frame, OP_SETITEMS);
            }
            if (fp_emit(walk, "u(", n_left == 1 ? 1 : 2) < 0) {
                return -1;
            }
            if (PyDict_GET_SIZE(dict) != frame->size) {
                return changed_size(frame, "dictionary");
            }
            if (n_left == 1) {
                frame->size = 1;
            }
            frame->n_batch = 0;
        }
        if (!PyDict_Next(dict, &frame->position, &key, &value)) {
            if (frame->size == 1) {
                return changed_size(frame, "dictionary");
            }
            return end_dict(walk, frame, OP_SETITEMS);
        }
        if (frame->lookahead > 0) {
            PyObject *next_key, *next_value;
            if (PyDict_Next(dict, &frame->lookahead, &next_key, &next_value)) {
                prefetch(walk, next_key);
                __builtin_prefetch(next_value);
            }
            else {
                frame->lookahead = 0;
            }
        }
        frame->n_batch++;
        frame->stage = FP_DICT_KEY;
        frame->pending = value;
        if (walk->silent && PyUnicode_CheckExact(key)) {
            if (unlikely(frame->flags & FP_FLAG_ATTRIBUTES)
                && is_reducer_name(walk, key))
            {
                walk->careful = 1;
                walk->restart = 1;
                return -1;
            }
            status = fp_save(walk, key,
                             Py_REFCNT(key) == 1
                                 && !(frame->flags & FP_FLAG_SHARED_KEYS));
        }
        else {
            Py_INCREF(value);
            frame->flags |= FP_FLAG_OWNS_PENDING;
            int lonely = is_lonely(walk, key);
            Py_INCREF(key);
            status = fp_save(walk, key, lonely);
            Py_DECREF(key);
        }
        if (status != FP_SAVED) {
            return status;
        }
key_saved:
        frame->stage = FP_DICT_VALUE;
        status =
            fp_save(walk, frame->pending,
                    walk->silent
                        && Py_REFCNT(frame->pending)
                               == 1 + (frame->flags & FP_FLAG_OWNS_PENDING));
        if (status != FP_SAVED) {
            return status;
        }
    }
}

/* An immutable container enters the memo behind its items. */
static int
note_open(fp_walk *walk, fp_frame *frame, int lonely)
{
    if (lonely) {
        frame->flags |= FP_FLAG_LONELY;
        return 0;
    }
    return walk->silent ? fp_memo_set(walk->memo, frame->object, FP_MEMO_OPEN)
                        : 0;
}

/* The value of an immutable container that its own items have led to and
 * put in the memo, or NULL. */
static int64_t *
find_closed(const fp_walk *walk, const fp_frame *frame)
{
    int64_t *value = frame->flags & FP_FLAG_LONELY
                         ? NULL
                         : fp_memo_find(walk->memo, frame->object);
    return value == NULL || *value == FP_MEMO_OPEN ? NULL : value;
}

int
fp_open_tuple(fp_walk *walk, PyObject *tuple, int lonely)
{
    Py_ssize_t size = PyTuple_GET_SIZE(tuple);
    fp_frame *frame;

    if (size == 0) {
        return walk->protocol == 0 ? fp_emit(walk, "(t", 2)
                                   : fp_emit_byte(walk, OP_EMPTY_TUPLE);
    }
    frame = fp_push(walk, FP_FRAME_TUPLE, tuple);
    if (frame == NULL) {
        return -1;
    }
    frame->size = size;
    if (note_open(walk, frame, lonely) < 0) {
        return -1;
    }
    if (size > 3 || walk->protocol < 2) {
        frame->flags |= FP_FLAG_MARKED;
        if (fp_emit_byte(walk, OP_MARK) < 0) {
            return -1;
        }
    }
    return FP_PUSHED;
}

/* The items led back to the tuple, which is built and in the memo: what lies
 * on the unpickler's stack is thrown away and the built one fetched. */
static int
fetch_recursive_tuple(fp_walk *walk, const fp_frame *frame, int64_t *value)
{
    Py_ssize_t n_pops = frame->size;

    if (frame->flags & FP_FLAG_MARKED) {
        if (!walk->text) {
            n_pops = 0;
            if (fp_emit_byte(walk, OP_POP_MARK) < 0) {
                return -1;
            }
        }
        else {
            n_pops++;
        }
    }
    for (; n_pops > 0; n_pops--) {
        if (fp_emit_byte(walk, OP_POP) < 0) {
            return -1;
        }
    }
    return fp_memo_get(walk, value);
}

static int
step_tuple(fp_walk *walk, fp_frame *frame)
{
    static const unsigned char opcodes[] = {0, OP_TUPLE1, OP_TUPLE2,
                                            OP_TUPLE3};
    PyObject *tuple = frame->object;
    int lonely = (frame->flags & FP_FLAG_LONELY) != 0;
    int64_t *value;
    int status;

    while (frame->position < frame->size) {
        PyObject *item = PyTuple_GET_ITEM(tuple, frame->position);
        frame->position++;
        if (unlikely(item == NULL)) {
            PyErr_SetString(PyExc_SystemError, "tuple with an empty slot");
            return fp_fail_itself(frame);
        }
        status = fp_save(walk, item, is_lonely(walk, item));
        if (status != FP_SAVED) {
            return status;
        }
    }
    value = find_closed(walk, frame);
    if (value != NULL) {
        status = fetch_recursive_tuple(walk, frame, value);
    }
    else {
        status = fp_emit_byte(walk, frame->flags & FP_FLAG_MARKED
                                        ? OP_TUPLE
                                        : opcodes[frame->size]);
        if (status == 0) {
            status = fp_memo_put(walk, tuple, lonely);
        }
    }
    if (status < 0) {
        return -1;
    }
    fp_pop(walk);
    return FP_SAVED;
}

/* Before protocol 4 a set is a call of its class with a list. */
static int
save_set_by_call(fp_walk *walk, PyObject *set)
{
    PyObject *items, *reduced;
    int status;

    items = PySequence_List(set);
    if (items == NULL) {
        return -1;
    }
    reduced = Py_BuildValue("(O(N))", Py_TYPE(set), items);
    if (reduced == NULL) {
        return -1;
    }
    status = fp_save_reduced(walk, reduced, set);
    Py_DECREF(reduced);
    if (status == FP_PUSHED && Py_TYPE(set) == &PyFrozenSet_Type
        && fp_guard_enter(walk, &walk->frames[walk->n_frames - 1], set) < 0)
    {
        return -1;
    }
    return status;
}

int
fp_open_set(fp_walk *walk, PyObject *set, int lonely)
{
    int frozen = Py_TYPE(set) == &PyFrozenSet_Type;
    fp_frame *frame;

    if (walk->protocol < 4) {
        return fp_call_out(walk) < 0 ? -1 : save_set_by_call(walk, set);
    }
    if (!frozen) {
        if (fp_emit_byte(walk, OP_EMPTY_SET) < 0
            || fp_memo_put(walk, set, lonely) < 0)
        {
            return -1;
        }
        if (PySet_GET_SIZE(set) == 0) {
            return FP_SAVED;
        }
    }
    frame = fp_push(walk, frozen ? FP_FRAME_FROZENSET : FP_FRAME_SET, set);
    if (frame == NULL) {
        return -1;
    }
    if ((frozen
         && (fp_guard_enter(walk, frame, set) < 0
             || note_open(walk, frame, lonely) < 0))
        || (frame->pending = PyObject_GetIter(set)) == NULL)
    {
        return fp_fail_itself(frame);
    }
    frame->flags |= FP_FLAG_OWNS_PENDING;
    frame->size = PySet_GET_SIZE(set);
    return fp_emit_byte(walk, OP_MARK) < 0 ? -1 : FP_PUSHED;
}

/* Saves the iterator's items; FP_SAVED when the iterator is at its end or
 * the batch is full. */
static int
save_set_items(fp_walk *walk, fp_frame *frame, int batched)
{
    while (!batched || frame->n_batch < FP_BATCH_ITEMS) {
        PyObject *item = PyIter_Next(frame->pending);
        if (item == NULL) {
            frame->stage = 1;
            if (!PyErr_Occurred()) {
                return FP_SAVED;
            }
            return PySet_GET_SIZE(frame->object) != frame->size
                       ? changed_size(frame, "set")
                       : fp_fail_itself(frame);
        }
        frame->n_batch = (unsigned short)(batched ? frame->n_batch + 1 : 0);
        int status = fp_save(walk, item, walk->silent && Py_REFCNT(item) == 2);
        Py_DECREF(item);
        if (status != FP_SAVED) {
            return status;
        }
    }
    return FP_SAVED;
}

static int
step_set(fp_walk *walk, fp_frame *frame)
{
    for (;;) {
        int status = save_set_items(walk, frame, 1);
        if (status != FP_SAVED) {
            return status;
        }
        if (fp_emit_byte(walk, OP_ADDITEMS) < 0) {
            return -1;
        }
        frame->position += frame->n_batch;
        if (frame->stage == 1
            || (SHORT_LAST_BATCH && frame->position == frame->size
                && PySet_GET_SIZE(frame->object) == frame->size))
        {
            fp_pop(walk);
            return FP_SAVED;
        }
        frame->n_batch = 0;
        if (fp_emit_byte(walk, OP_MARK) < 0) {
            return -1;
        }
    }
}

static int
step_frozenset(fp_walk *walk, fp_frame *frame)
{
    PyObject *set = frame->object;
    int lonely = (frame->flags & FP_FLAG_LONELY) != 0;
    int64_t *value;
    int status = save_set_items(walk, frame, 0);

    if (status != FP_SAVED) {
        return status;
    }
    value = find_closed(walk, frame);
    if (value != NULL) {
        if (fp_emit_byte(walk, OP_POP_MARK) < 0
            || fp_memo_get(walk, value) < 0)
        {
            return -1;
        }
    }
    else if (fp_emit_byte(walk, OP_FROZENSET) < 0
             || fp_memo_put(walk, set, lonely) < 0)
    {
        return -1;
    }
    fp_pop(walk);
    return FP_SAVED;
}

/* --- iterators ---------------------------------------------------------- */

enum {
    ITER_START,
    ITER_IN_BATCH,
    ITER_SINGLE,
    ITER_ONE_BY_ONE
};

/* NULL without an exception at the end. Pairs are checked. */
static PyObject *
next_item(fp_frame *frame)
{
    PyObject *item = PyIter_Next(frame->object);

    if (item != NULL && frame->kind == FP_FRAME_DICT_ITER
        && !(PyTuple_Check(item) && PyTuple_GET_SIZE(item) == 2))
    {
        PyErr_SetString(PyExc_TypeError,
                        "dict items iterator must return 2-tuples");
        Py_CLEAR(item);
    }
    if (item == NULL && PyErr_Occurred()) {
        (void)fp_fail_itself(frame);
    }
    return item;
}

/* Saves frame->pending: the item, or first the key and then the value. */
static int
save_current(fp_walk *walk, fp_frame *frame)
{
    int status;

    if (frame->kind == FP_FRAME_LIST_ITER) {
        status = frame->position == 0
                     ? (frame->position = 1, fp_save(walk, frame->pending, 0))
                     : FP_SAVED;
        if (status != FP_SAVED) {
            return status;
        }
    }
    else {
        while (frame->position < 2) {
            PyObject *half = PyTuple_GET_ITEM(frame->pending, frame->position);
            frame->position++;
            status = fp_save(walk, half, 0);
            if (status != FP_SAVED) {
                return status;
            }
        }
    }
    return FP_SAVED;
}

/* `item` becomes the current one; steals it. */
static void
set_current(fp_frame *frame, PyObject *item)
{
    drop_pending(frame);
    frame->pending = item;
    frame->flags |= FP_FLAG_OWNS_PENDING;
    frame->position = 0;
    frame->size++;
}

static int
step_iterator(fp_walk *walk, fp_frame *frame)
{
    int is_list = frame->kind == FP_FRAME_LIST_ITER;
    unsigned char one = is_list ? OP_APPEND : OP_SETITEM;
    unsigned char many = is_list ? OP_APPENDS : OP_SETITEMS;
    PyObject *item;
    int status;

    for (;;) {
        if (frame->pending != NULL) {
            status = save_current(walk, frame);
            if (status != FP_SAVED) {
                return status;
            }
            drop_pending(frame);
        }
        switch (frame->stage) {
        case ITER_SINGLE:
            if (fp_emit_byte(walk, one) < 0) {
                return -1;
            }
            fp_pop(walk);
            return FP_SAVED;
        case ITER_ONE_BY_ONE:
            if (fp_emit_byte(walk, one) < 0) {
                return -1;
            }
            /* fall through */
        case ITER_START:
            frame->n_batch = 0;
            item = next_item(frame);
            if (item == NULL) {
                if (PyErr_Occurred()) {
                    return -1;
                }
                fp_pop(walk);
                return FP_SAVED;
            }
            set_current(frame, item);
            if (walk->protocol == 0) {
                frame->stage = ITER_ONE_BY_ONE;
                continue;
            }
            frame->ahead = next_item(frame);
            if (frame->ahead == NULL) {
                if (PyErr_Occurred()) {
                    return -1;
                }
                frame->stage = ITER_SINGLE;
                continue;
            }
            frame->stage = ITER_IN_BATCH;
            frame->n_batch = 1;
            if (fp_emit_byte(walk, OP_MARK) < 0) {
                return -1;
            }
            continue;
        default: /* ITER_IN_BATCH */
            item = frame->ahead;
            frame->ahead = NULL;
            if (item == NULL && frame->n_batch < FP_BATCH_ITEMS) {
                item = next_item(frame);
                if (item == NULL && PyErr_Occurred()) {
                    return -1;
                }
            }
            if (item == NULL) {
                if (fp_emit_byte(walk, many) < 0) {
                    return -1;
                }
                if (frame->n_batch < FP_BATCH_ITEMS) {
                    fp_pop(walk);
                    return FP_SAVED;
                }
                frame->stage = ITER_START;
                continue;
            }
            set_current(frame, item);
            frame->n_batch++;
        }
    }
}

int
fp_step_container(fp_walk *walk, fp_frame *frame)
{
    switch ((fp_frame_kind)frame->kind) {
    case FP_FRAME_LIST:
        return step_list(walk, frame);
    case FP_FRAME_DICT:
        return step_dict(walk, frame);
    case FP_FRAME_TUPLE:
        return step_tuple(walk, frame);
    case FP_FRAME_SET:
        return step_set(walk, frame);
    case FP_FRAME_FROZENSET:
        return step_frozenset(walk, frame);
    default:
        return step_iterator(walk, frame);
    }
}

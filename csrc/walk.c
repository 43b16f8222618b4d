#include "walk.h"

#include "errors.h"
#include "inline_leaves.h"

#include <stdlib.h>
#include <string.h>

#define FRAME_HEADER_BYTES 9
#define FRAME_MIN_BYTES 4
/* Reducers nested in their own arguments, and reducers nested in any way:
 * pickle raises RecursionError long before, memory would be gone after. */
#define MAX_UNBUILT 100000
#define MAX_REDUCES 2000000
#define GUARD_DEPTH 50

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* --- output ------------------------------------------------------------- */

static size_t
output_length(const fp_walk *walk)
{
    return walk->graph.base == NULL ? 0 : fp_graph_length(&walk->graph);
}

int
fp_more_room(fp_walk *walk, size_t n_bytes)
{
    int opens_frame = walk->framing && walk->frame_start < 0;
    size_t n_all = n_bytes + (opens_frame ? FRAME_HEADER_BYTES : 0);

    if (n_all < n_bytes || fp_graph_room(&walk->graph, n_all) != FP_OK) {
        PyErr_NoMemory();
        return -1;
    }
    if (opens_frame) {
        walk->frame_start = (Py_ssize_t)output_length(walk);
        walk->graph.cursor += FRAME_HEADER_BYTES;
    }
    return 0;
}

void
fp_commit_frame(fp_walk *walk)
{
    if (!walk->framing || walk->frame_start < 0) {
        return;
    }
    unsigned char *frame = walk->graph.base + walk->frame_start;
    size_t n_bytes =
        (size_t)(walk->graph.cursor - frame) - FRAME_HEADER_BYTES;
    if (n_bytes >= FRAME_MIN_BYTES) {
        *frame = OP_FRAME;
        for (int i = 0; i < 8; i++) {
            frame[1 + i] = (unsigned char)((uint64_t)n_bytes >> (8 * i));
        }
    }
    else {
        memmove(frame, frame + FRAME_HEADER_BYTES, n_bytes);
        walk->graph.cursor -= FRAME_HEADER_BYTES;
    }
    walk->frame_start = -1;
    /* The next opcode must find no room, so that it opens a frame. */
    walk->graph.soft_end = walk->graph.cursor;
}

int
fp_flush_to_file(fp_walk *walk)
{
    PyObject *data, *result;

    data = PyBytes_FromStringAndSize((char *)walk->graph.base,
                                     (Py_ssize_t)output_length(walk));
    if (data == NULL) {
        return -1;
    }
    fp_graph_reset(&walk->graph);
    result = PyObject_CallOneArg(walk->write, data);
    Py_DECREF(data);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int
fp_emit_large(fp_walk *walk, const unsigned char *header,
              size_t header_bytes, const char *data, size_t n_bytes,
              PyObject *payload)
{
    int framing = walk->framing;
    int bypass = n_bytes >= FP_FRAME_TARGET_BYTES && !walk->late_puts;
    int result = -1;
    PyObject *made = NULL;
    PyObject *written;

    if (bypass) {
        fp_commit_frame(walk);
        walk->framing = 0;
    }
    if (!bypass || walk->write == NULL) {
        unsigned char *out = fp_room(walk, header_bytes + n_bytes);
        if (out == NULL) {
            goto done;
        }
        memcpy(out, header, header_bytes);
        memcpy(out + header_bytes, data, n_bytes);
        walk->graph.cursor = out + header_bytes + n_bytes;
        result = 0;
        goto done;
    }
    if (fp_emit(walk, header, header_bytes) < 0 ||
        fp_flush_to_file(walk) < 0)
    {
        goto done;
    }
    if (payload == NULL) {
        made = PyBytes_FromStringAndSize(data, (Py_ssize_t)n_bytes);
        if (made == NULL) {
            goto done;
        }
        payload = made;
    }
    written = PyObject_CallOneArg(walk->write, payload);
    if (written == NULL) {
        goto done;
    }
    Py_DECREF(written);
    result = 0;
done:
    Py_XDECREF(made);
    walk->framing = framing;
    if (framing && walk->frame_start < 0) {
        walk->graph.soft_end = walk->graph.cursor;
    }
    return result;
}

/* Standard stream: a frame ends at the first object behind 64 KiB. */
static int
end_full_frame(fp_walk *walk)
{
    if (walk->frame_start >= 0 &&
        output_length(walk) - (size_t)walk->frame_start -
                FRAME_HEADER_BYTES >=
            FP_FRAME_TARGET_BYTES)
    {
        fp_commit_frame(walk);
        if (walk->write != NULL) {
            return fp_flush_to_file(walk);
        }
    }
    return 0;
}

/* --- memo --------------------------------------------------------------- */

int
fp_draw_number(fp_walk *walk, uint32_t *number)
{
    if (walk->n_numbers > UINT32_MAX) {
        PyErr_SetString(walk->state->pickling_error,
                        "more than 2**32 memo numbers are needed");
        return -1;
    }
    *number = (uint32_t)walk->n_numbers++;
    return 0;
}

int
fp_emit_get(fp_walk *walk, uint32_t number)
{
    unsigned char *out = fp_room(walk, 16);
    if (out == NULL) {
        return -1;
    }
    if (walk->protocol == 0) {
        out += snprintf((char *)out, 16, "g%lu\n", (unsigned long)number);
    }
    else if (number < 256) {
        *out++ = OP_BINGET;
        *out++ = (unsigned char)number;
    }
    else {
        *out++ = OP_LONG_BINGET;
        for (int shift = 0; shift < 32; shift += 8) {
            *out++ = (unsigned char)(number >> shift);
        }
    }
    walk->graph.cursor = out;
    return 0;
}

int
fp_memo_get(fp_walk *walk, int64_t *value)
{
    if (*value == FP_MEMO_OPEN) {
        /* The items of a tuple or frozenset lead back to it: it will be met
         * twice, and with it everything that has one reference only. */
        return fp_call_out(walk);
    }
    if (*value >= 0) {
        uint32_t number;
        if (fp_draw_number(walk, &number) < 0) {
            return -1;
        }
        if (fp_graph_put(&walk->graph, (uint64_t)*value, number) != FP_OK) {
            PyErr_NoMemory();
            return -1;
        }
        *value = ~(int64_t)number;
    }
    if (~*value > (int64_t)UINT32_MAX) {
        PyErr_SetString(walk->state->pickling_error,
                        "memo id too large for LONG_BINGET");
        return -1;
    }
    return fp_emit_get(walk, (uint32_t)~*value);
}

static int
put_in_stream(fp_walk *walk, PyObject *object, int lonely)
{
    unsigned char *out;
    int64_t number;

    if (walk->no_memo) {
        return 0;
    }
    number = walk->silent ? (int64_t)walk->n_numbers++
                          : (int64_t)walk->memo->n_used;
    if (!lonely && fp_memo_set(walk->memo, object, ~number) < 0) {
        return -1;
    }
    if (walk->protocol >= 4) {
        return fp_emit_byte(walk, OP_MEMOIZE);
    }
    if (number > (int64_t)UINT32_MAX) {
        PyErr_SetString(walk->state->pickling_error,
                        "memo id too large for LONG_BINPUT");
        return -1;
    }
    out = fp_room(walk, 16);
    if (out == NULL) {
        return -1;
    }
    if (walk->protocol == 0) {
        out += snprintf((char *)out, 16, "p%lu\n", (unsigned long)number);
    }
    else if (number < 256) {
        *out++ = OP_BINPUT;
        *out++ = (unsigned char)number;
    }
    else {
        *out++ = OP_LONG_BINPUT;
        for (int shift = 0; shift < 32; shift += 8) {
            *out++ = (unsigned char)(number >> shift);
        }
    }
    walk->graph.cursor = out;
    return 0;
}

static inline int
memo_put(fp_walk *walk, PyObject *object, int lonely)
{
    if (likely(walk->late_puts)) {
        if (lonely) {
            return 0;
        }
        return fp_memo_set(walk->memo, object,
                           (int64_t)fp_graph_length(&walk->graph));
    }
    return put_in_stream(walk, object, lonely);
}

int
fp_memo_put(fp_walk *walk, PyObject *object, int lonely)
{
    return memo_put(walk, object, lonely);
}

/* --- the stack ---------------------------------------------------------- */

fp_frame *
fp_push(fp_walk *walk, fp_frame_kind kind, PyObject *object)
{
    fp_frame *frame;

    if (unlikely(walk->n_frames == walk->frames_capacity)) {
        size_t wanted =
            walk->frames_capacity == 0 ? 32 : walk->frames_capacity * 2;
        fp_frame *moved = NULL;
        if (wanted <= SIZE_MAX / sizeof(fp_frame)) {
            moved = realloc(walk->frames, wanted * sizeof(fp_frame));
        }
        if (moved == NULL) {
            PyErr_NoMemory();
            return NULL;
        }
        walk->frames = moved;
        walk->frames_capacity = wanted;
    }
    frame = &walk->frames[walk->n_frames++];
    *frame = (fp_frame){.kind = (unsigned char)kind,
                        .object = Py_XNewRef(object)};
    return frame;
}

/* Pickler.fast keeps no memo: cycles are looked for by address, once the
 * nesting is deep enough to be suspicious. */
static int
guard_enter(fp_walk *walk, fp_frame *frame)
{
    PyObject *address;
    int found;

    if (!walk->no_memo) {
        return 0;
    }
    frame->flags |= FP_FLAG_GUARDED;
    if (++walk->guard_depth < GUARD_DEPTH) {
        return 0;
    }
    if (walk->guard == NULL) {
        walk->guard = PySet_New(NULL);
        if (walk->guard == NULL) {
            return -1;
        }
    }
    address = PyLong_FromVoidPtr(frame->object);
    if (address == NULL) {
        return -1;
    }
    found = PySet_Contains(walk->guard, address);
    if (found > 0) {
        PyErr_Format(PyExc_ValueError,
                     "fast mode: can't pickle cyclic objects including "
                     "object type %.200s at %p",
                     Py_TYPE(frame->object)->tp_name, frame->object);
    }
    else if (found == 0) {
        found = PySet_Add(walk->guard, address);
    }
    Py_DECREF(address);
    return found == 0 ? 0 : -1;
}

static void
guard_leave(fp_walk *walk, const fp_frame *frame)
{
    if (walk->guard_depth-- >= GUARD_DEPTH && walk->guard != NULL) {
        PyObject *address = PyLong_FromVoidPtr(frame->object);
        if (address == NULL || PySet_Discard(walk->guard, address) < 0) {
            PyErr_Clear(); /* the entry outlives its container: a false
                              alarm at worst, and only out of memory */
        }
        Py_XDECREF(address);
    }
}

void
fp_pop(fp_walk *walk)
{
    fp_frame frame = walk->frames[--walk->n_frames];

    if (unlikely(frame.flags & FP_FLAG_GUARDED)) {
        guard_leave(walk, &frame);
    }
    if (frame.kind == FP_FRAME_REDUCE) {
        walk->n_reduces--;
    }
    if (frame.flags & FP_FLAG_OWNS_PENDING) {
        Py_XDECREF(frame.pending);
    }
    Py_XDECREF(frame.ahead);
    Py_XDECREF(frame.object);
}

int
fp_keep(fp_walk *walk, PyObject *made)
{
    if (!walk->silent) {
        return 0;
    }
    if (walk->kept == NULL) {
        walk->kept = PyList_New(0);
        if (walk->kept == NULL) {
            return -1;
        }
    }
    return PyList_Append(walk->kept, made);
}

int
fp_call_out(fp_walk *walk)
{
    if (walk->silent) {
        walk->restart = 1;
        return -1;
    }
    return 0;
}

static inline int
is_lonely(const fp_walk *walk, PyObject *object)
{
    return walk->silent && Py_REFCNT(object) == 1;
}

/* --- containers --------------------------------------------------------- */

static int
open_list(fp_walk *walk, PyObject *list, int lonely)
{
    fp_frame *frame;

    if (walk->protocol == 0 ? fp_emit(walk, "(l", 2) < 0
                            : fp_emit_byte(walk, OP_EMPTY_LIST) < 0)
    {
        return -1;
    }
    if (memo_put(walk, list, lonely) < 0) {
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
        return frame == NULL || guard_enter(walk, frame) < 0 ? -1
                                                             : FP_PUSHED;
    }
    frame = fp_push(walk, FP_FRAME_LIST, list);
    if (frame == NULL || guard_enter(walk, frame) < 0) {
        return -1;
    }
    frame->size = PyList_GET_SIZE(list);
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
        if (frame->stage == 0 && PyList_GET_SIZE(list) > 0) {
            PyObject *item = Py_NewRef(PyList_GET_ITEM(list, 0));
            frame->stage = 1;
            frame->position = 1;
            status = fp_save(walk, item,
                             walk->silent && Py_REFCNT(item) == 2);
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
        if (frame->n_batch == FP_BATCH_ITEMS ||
            frame->position >= PyList_GET_SIZE(list))
        {
            if (fp_emit_byte(walk, OP_APPENDS) < 0) {
                return -1;
            }
            if (frame->position >= PyList_GET_SIZE(list)) {
                fp_pop(walk);
                return FP_SAVED;
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
static int
open_dict(fp_walk *walk, PyObject *dict, int lonely, int flags)
{
    fp_frame *frame;

    if (walk->protocol == 0 ? fp_emit(walk, "(d", 2) < 0
                            : fp_emit_byte(walk, OP_EMPTY_DICT) < 0)
    {
        return -1;
    }
    if (memo_put(walk, dict, lonely) < 0) {
        return -1;
    }
    if (PyDict_GET_SIZE(dict) == 0) {
        return FP_SAVED;
    }
    if (walk->protocol == 0) {
        PyObject *items = PyObject_CallMethodNoArgs(dict,
                                                    walk->state->str_items);
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
        return frame == NULL || guard_enter(walk, frame) < 0 ? -1
                                                             : FP_PUSHED;
    }
    frame = fp_push(walk, FP_FRAME_DICT, dict);
    if (frame == NULL || guard_enter(walk, frame) < 0) {
        return -1;
    }
    frame->size = PyDict_GET_SIZE(dict);
    frame->flags |= (unsigned char)flags;
    if (frame->size > 4 * LOOKAHEAD) {
        PyObject *key, *value;
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
fp_save_state_dict(fp_walk *walk, PyObject *dict, int lonely)
{
    int64_t *value;

    if (!walk->late_puts && end_full_frame(walk) < 0) {
        return -1;
    }
    value = lonely ? NULL : fp_memo_find(walk->memo, dict);
    if (value != NULL) {
        return fp_memo_get(walk, value) < 0 ? -1
                                            : fp_emit_byte(walk, OP_BUILD);
    }
    return open_dict(walk, dict, lonely,
                     FP_FLAG_ATTRIBUTES | FP_FLAG_BUILD);
}

/* An instance may carry a reducer of its own in its dict; the plain path does
 * not look there first. 1 where `key` is such a name. */
static int
is_reducer_name(const fp_walk *walk, PyObject *key)
{
    const fp_state *state = walk->state;
    PyObject *const names[] = {state->str_reduce_ex, state->str_getstate,
                               state->str_getnewargs,
                               state->str_getnewargs_ex, state->str_class_};

    if (!PyUnicode_CheckExact(key) || PyUnicode_GET_LENGTH(key) < 9 ||
        PyUnicode_READ_CHAR(key, 0) != '_' ||
        PyUnicode_READ_CHAR(key, 1) != '_')
    {
        return 0;
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (PyUnicode_Compare(key, names[i]) == 0) {
            return 1;
        }
    }
    return 0;
}

enum { DICT_NEXT, DICT_KEY_SAVED, DICT_VALUE_SAVED };

static int
end_dict(fp_walk *walk, fp_frame *frame, int opcode)
{
    int build = frame->flags & FP_FLAG_BUILD;

    if (fp_emit_byte(walk, (unsigned char)opcode) < 0) {
        return -1;
    }
    if (opcode == OP_SETITEMS && PyDict_GET_SIZE(frame->object) != frame->size)
    {
        PyErr_SetString(PyExc_RuntimeError,
                        "dictionary changed size during iteration");
        return -1;
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

static int
step_dict(fp_walk *walk, fp_frame *frame)
{
    PyObject *dict = frame->object;
    PyObject *key, *value;
    int status;

    if (frame->stage == DICT_KEY_SAVED) {
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
            if (fp_emit(walk, "u(", 2) < 0) {
                return -1;
            }
            if (PyDict_GET_SIZE(dict) != frame->size) {
                PyErr_SetString(PyExc_RuntimeError,
                                "dictionary changed size during iteration");
                return -1;
            }
            frame->n_batch = 0;
        }
        if (!PyDict_Next(dict, &frame->position, &key, &value)) {
            if (frame->size == 1) {
                PyErr_SetString(PyExc_RuntimeError,
                                "dictionary changed size during iteration");
                return -1;
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
        frame->stage = DICT_KEY_SAVED;
        frame->pending = value;
        if (walk->silent) {
            if (unlikely(frame->flags & FP_FLAG_ATTRIBUTES) &&
                is_reducer_name(walk, key))
            {
                walk->careful = 1;
                walk->restart = 1;
                return -1;
            }
            status = fp_save(walk, key,
                             Py_REFCNT(key) == 1 &&
                                 !(frame->flags & FP_FLAG_SHARED_KEYS));
        }
        else {
            Py_INCREF(value);
            frame->flags |= FP_FLAG_OWNS_PENDING;
            Py_INCREF(key);
            status = fp_save(walk, key, 0);
            Py_DECREF(key);
        }
        if (status != FP_SAVED) {
            return status;
        }
key_saved:
        frame->stage = DICT_VALUE_SAVED;
        status = fp_save(walk, frame->pending,
                         is_lonely(walk, frame->pending));
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
    return walk->silent
               ? fp_memo_set(walk->memo, frame->object, FP_MEMO_OPEN)
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

static int
open_tuple(fp_walk *walk, PyObject *tuple, int lonely)
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
        if (walk->protocol > 0) {
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
            return -1;
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
            status = memo_put(walk, tuple, lonely);
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
    if (status == FP_PUSHED && Py_TYPE(set) == &PyFrozenSet_Type &&
        guard_enter(walk, &walk->frames[walk->n_frames - 1]) < 0)
    {
        return -1;
    }
    return status;
}

static int
open_set(fp_walk *walk, PyObject *set, int lonely)
{
    int frozen = Py_TYPE(set) == &PyFrozenSet_Type;
    fp_frame *frame;

    if (walk->protocol < 4) {
        return fp_call_out(walk) < 0 ? -1 : save_set_by_call(walk, set);
    }
    if (!frozen) {
        if (fp_emit_byte(walk, OP_EMPTY_SET) < 0 ||
            memo_put(walk, set, lonely) < 0)
        {
            return -1;
        }
        if (PySet_GET_SIZE(set) == 0) {
            return FP_SAVED;
        }
    }
    frame = fp_push(walk, frozen ? FP_FRAME_FROZENSET : FP_FRAME_SET, set);
    if (frame == NULL || (frozen && guard_enter(walk, frame) < 0)) {
        return -1;
    }
    if (frozen && note_open(walk, frame, lonely) < 0) {
        return -1;
    }
    frame->pending = PyObject_GetIter(set);
    if (frame->pending == NULL) {
        return -1;
    }
    frame->flags |= FP_FLAG_OWNS_PENDING;
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
            return PyErr_Occurred() ? -1 : FP_SAVED;
        }
        frame->n_batch = (unsigned short)(batched ? frame->n_batch + 1 : 0);
        int status = fp_save(walk, item,
                             walk->silent && Py_REFCNT(item) == 2);
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
        if (frame->stage == 1) {
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
        if (fp_emit_byte(walk, OP_POP_MARK) < 0 ||
            fp_memo_get(walk, value) < 0)
        {
            return -1;
        }
    }
    else if (fp_emit_byte(walk, OP_FROZENSET) < 0 ||
             memo_put(walk, set, lonely) < 0)
    {
        return -1;
    }
    fp_pop(walk);
    return FP_SAVED;
}

/* --- iterators ---------------------------------------------------------- */

enum { ITER_START, ITER_IN_BATCH, ITER_SINGLE, ITER_ONE_BY_ONE };

/* NULL without an exception at the end. Pairs are checked. */
static PyObject *
next_item(fp_frame *frame)
{
    PyObject *item = PyIter_Next(frame->object);

    if (item != NULL && frame->kind == FP_FRAME_DICT_ITER &&
        !(PyTuple_Check(item) && PyTuple_GET_SIZE(item) == 2))
    {
        PyErr_SetString(PyExc_TypeError,
                        "dict items iterator must return 2-tuples");
        Py_CLEAR(item);
    }
    return item;
}

/* Saves frame->pending: the item, or first the key and then the value. */
static int
save_current(fp_walk *walk, fp_frame *frame)
{
    int status;

    if (frame->kind == FP_FRAME_LIST_ITER) {
        status = frame->position == 0 ? (frame->position = 1,
                                         fp_save(walk, frame->pending, 0))
                                      : FP_SAVED;
        if (status != FP_SAVED) {
            return status;
        }
    }
    else {
        while (frame->position < 2) {
            PyObject *half =
                PyTuple_GET_ITEM(frame->pending, frame->position);
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

/* --- one object --------------------------------------------------------- */

static int
save_persistent(fp_walk *walk, PyObject *object)
{
    PyObject *id, *text;
    fp_frame *frame;
    int status = -1;

    id = PyObject_CallOneArg(walk->persistent_id, object);
    if (id == NULL) {
        return -1;
    }
    if (id == Py_None) {
        Py_DECREF(id);
        return FP_SAVED + 2;
    }
    if (walk->protocol > 0) {
        frame = fp_push(walk, FP_FRAME_PERSISTENT, id);
        Py_DECREF(id);
        return frame == NULL ? -1 : FP_PUSHED;
    }
    text = PyObject_Str(id);
    Py_DECREF(id);
    if (text == NULL) {
        return -1;
    }
    if (!PyUnicode_IS_ASCII(text)) {
        PyErr_SetString(walk->state->pickling_error,
                        "persistent IDs in protocol 0 must be "
                        "ASCII strings");
    }
    else if (fp_emit_byte(walk, OP_PERSID) == 0 &&
             fp_emit(walk, PyUnicode_DATA(text),
                     (size_t)PyUnicode_GET_LENGTH(text)) == 0 &&
             fp_emit_byte(walk, '\n') == 0)
    {
        status = FP_SAVED;
    }
    Py_DECREF(text);
    return status;
}

static int save_known(fp_walk *walk, PyObject *object, int lonely);

static int
step_persistent(fp_walk *walk, fp_frame *frame)
{
    if (frame->stage == 0) {
        frame->stage = 1;
        if (end_full_frame(walk) < 0) {
            return -1;
        }
        int status = save_known(walk, frame->object, 0);
        if (status != FP_SAVED) {
            return status;
        }
    }
    if (fp_emit_byte(walk, OP_BINPERSID) < 0) {
        return -1;
    }
    fp_pop(walk);
    return FP_SAVED;
}

static int
save_container(fp_walk *walk, PyObject *object, int lonely)
{
    PyTypeObject *type = Py_TYPE(object);

    if (!lonely) {
        int64_t *value = fp_memo_find(walk->memo, object);
        if (value != NULL) {
            return fp_memo_get(walk, value);
        }
    }
    if (type == &PyDict_Type) {
        return open_dict(walk, object, lonely, 0);
    }
    if (type == &PyList_Type) {
        return open_list(walk, object, lonely);
    }
    if (type == &PyTuple_Type) {
        return open_tuple(walk, object, lonely);
    }
    if (type == &PyBytes_Type) {
        return fp_save_bytes(walk, object, lonely);
    }
    if (type == &PySet_Type || type == &PyFrozenSet_Type) {
        return open_set(walk, object, lonely);
    }
    if (type == &PyByteArray_Type) {
        return fp_save_bytearray(walk, object, lonely);
    }
    if (type == &PyPickleBuffer_Type) {
        return fp_save_pickle_buffer(walk, object, lonely);
    }
    return fp_save_other(walk, object, lonely);
}

static inline void
copy_short(unsigned char *out, const unsigned char *data, size_t n_bytes)
{
    if (n_bytes > 16) {
        memcpy(out, data, n_bytes);
    }
    else if (n_bytes >= 8) {
        memcpy(out, data, 8);
        memcpy(out + n_bytes - 8, data + n_bytes - 8, 8);
    }
    else if (n_bytes >= 4) {
        memcpy(out, data, 4);
        memcpy(out + n_bytes - 4, data + n_bytes - 4, 4);
    }
    else {
        for (size_t i = 0; i < n_bytes; i++) {
            out[i] = data[i];
        }
    }
}

static inline int
save_str(fp_walk *walk, PyObject *text, int lonely)
{
    fp_memo_slot *slot = NULL;

    if (!lonely) {
        slot = fp_memo_slot_of(walk->memo, text);
        if (slot != NULL && slot->key != NULL) {
            return fp_memo_get(walk, &slot->value);
        }
    }
    if (likely(PyUnicode_IS_COMPACT_ASCII(text) &&
               PyUnicode_GET_LENGTH(text) < 256 && walk->protocol >= 4))
    {
        size_t n_bytes = (size_t)PyUnicode_GET_LENGTH(text);
        unsigned char *out = fp_room(walk, n_bytes + 2);
        if (out == NULL) {
            return -1;
        }
        out[0] = OP_SHORT_BINUNICODE;
        out[1] = (unsigned char)n_bytes;
        copy_short(out + 2, PyUnicode_DATA(text), n_bytes);
        walk->graph.cursor = out + 2 + n_bytes;
        if (slot != NULL && walk->late_puts && fp_memo_has_room(walk->memo))
        {
            fp_memo_fill(walk->memo, slot, text,
                         (int64_t)fp_graph_length(&walk->graph));
            return 0;
        }
        return memo_put(walk, text, lonely);
    }
    return fp_save_str(walk, text, lonely);
}

/* Writes one object, whatever persistent_id may say. */
static inline int
save_known(fp_walk *walk, PyObject *object, int lonely)
{
    PyTypeObject *type = Py_TYPE(object);

    if (type == &PyUnicode_Type) {
        return save_str(walk, object, lonely);
    }
    if (type == &PyLong_Type) {
        return fp_save_int_inline(walk, object);
    }
    if (type == &PyFloat_Type) {
        return fp_save_float_inline(walk, object);
    }
    if (object == Py_None) {
        return fp_emit_byte(walk, OP_NONE);
    }
    if (type == &PyBool_Type) {
        if (walk->protocol >= 2) {
            return fp_emit_byte(walk, object == Py_True ? OP_NEWTRUE
                                                        : OP_NEWFALSE);
        }
        return fp_emit(walk, object == Py_True ? "I01\n" : "I00\n", 4);
    }
    return save_container(walk, object, lonely);
}

int
fp_save(fp_walk *walk, PyObject *object, int lonely)
{
    if (unlikely(!walk->late_puts)) {
        if (end_full_frame(walk) < 0) {
            return -1;
        }
        if (walk->hooked) {
            int status = save_persistent(walk, object);
            if (status <= FP_PUSHED) {
                return status;
            }
        }
    }
    return save_known(walk, object, lonely);
}

/* --- the whole walk ----------------------------------------------------- */

static int
step(fp_walk *walk, fp_frame *frame)
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
    case FP_FRAME_LIST_ITER:
    case FP_FRAME_DICT_ITER:
        return step_iterator(walk, frame);
    case FP_FRAME_REDUCE:
        if (walk->n_unbuilt > MAX_UNBUILT || walk->n_reduces > MAX_REDUCES) {
            PyErr_SetString(PyExc_RecursionError,
                            "maximum nesting of reducers exceeded "
                            "while pickling an object");
            return -1;
        }
        return fp_step_reduce(walk, frame);
    case FP_FRAME_SCRIPT:
        return fp_step_script(walk, frame);
    case FP_FRAME_PERSISTENT:
        return step_persistent(walk, frame);
    case FP_FRAME_ARRAY:
        return fp_step_array(walk, frame);
    }
    Py_UNREACHABLE();
}

static int
walk_object(fp_walk *walk, PyObject *object)
{
    int status;

    if (!walk->late_puts && walk->protocol >= 2) {
        unsigned char header[] = {OP_PROTO, (unsigned char)walk->protocol};
        if (fp_emit(walk, header, 2) < 0) {
            return -1;
        }
        if (walk->protocol >= 4) {
            walk->framing = 1;
            walk->frame_start = -1;
            walk->graph.soft_end = walk->graph.cursor;
        }
    }
    status = fp_save(walk, object, 0);
    while (status >= 0 && walk->n_frames > 0) {
        status = step(walk, &walk->frames[walk->n_frames - 1]);
    }
    if (status >= 0 && !walk->late_puts) {
        status = fp_emit_byte(walk, OP_STOP);
        fp_commit_frame(walk);
    }
    walk->framing = 0;
    return status < 0 ? -1 : 0;
}

static void
clear_frames(fp_walk *walk)
{
    while (walk->n_frames > 0) {
        fp_pop(walk);
    }
    walk->n_reduces = 0;
    walk->n_unbuilt = 0;
    walk->guard_depth = 0;
    Py_CLEAR(walk->guard);
}

/* From silence to a full memo: everything but the hooks starts over. */
static int
start_over(fp_walk *walk)
{
    walk->restart = 0;
    walk->silent = 0;
    clear_frames(walk);
    fp_graph_reset(&walk->graph);
    fp_memo_clear(walk->memo);
    walk->memo->holds = 1;
    walk->n_numbers = 0;
    walk->framing = 0;
    walk->frame_start = -1;
    if (walk->modules != NULL && PySet_Clear(walk->modules) < 0) {
        return -1;
    }
    return walk->sidecar == NULL ? 0 : fp_sidecar_reset(walk->sidecar);
}

void
fp_walk_init(fp_walk *walk, fp_state *state, int protocol, int fix_imports)
{
    walk->state = state;
    walk->memo = &walk->own_memo;
    walk->own_memo.holds = 1;
    walk->protocol = protocol;
    walk->fix_imports = fix_imports && protocol < 3;
    walk->frame_start = -1;
    walk->graph.no_cuts = 1;
}

int
fp_walk_run(fp_walk *walk, PyObject *object)
{
    int status;

    fp_pause_collector(walk->state);
    walk->memo->holds = !walk->silent;
    status = walk_object(walk, object);
    if (status < 0 && walk->restart) {
        status = start_over(walk);
        if (status == 0) {
            status = walk_object(walk, object);
        }
    }
    if (status < 0) {
        fp_note_path(walk);
        clear_frames(walk);
    }
    fp_resume_collector(walk->state);
    return status;
}

void
fp_walk_free(fp_walk *walk)
{
    clear_frames(walk);
    free(walk->frames);
    walk->frames = NULL;
    walk->frames_capacity = 0;
    fp_memo_clear(&walk->own_memo);
    fp_graph_free(&walk->graph);
    Py_CLEAR(walk->kept);
    Py_CLEAR(walk->modules);
    Py_CLEAR(walk->dtype_names);
    for (size_t i = 0; i < FP_DTYPE_CACHE; i++) {
        Py_CLEAR(walk->dtypes[i].dtype);
    }
    Py_CLEAR(walk->last_fields);
    PyMem_Free(walk->last_covered);
    walk->last_covered = NULL;
}

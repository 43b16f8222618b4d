#include "walk.h"

#include "base/compat.h"
#include "base/errors.h"
#include "base/messages.h"
#include "inline_leaves.h"
#include "outlet.h"

#include <stdlib.h>
#include <string.h>

/* Reducers nested in their own arguments, and reducers nested in any way:
 * pickle raises RecursionError long before, memory would be gone after. */
#define MAX_UNBUILT              100000
#define MAX_REDUCES              2000000
#define MAX_REDUCES_WITHOUT_MEMO 10000
#define GUARD_DEPTH              50

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

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
    *frame =
        (fp_frame){.kind = (unsigned char)kind, .object = Py_XNewRef(object)};
    return frame;
}

/* Pickler.fast keeps no memo: cycles are looked for by address, once the
 * nesting is deep enough to be suspicious. */
int
fp_guard_enter(fp_walk *walk, fp_frame *frame, PyObject *container)
{
    PyObject *address;
    int found;

    if (!walk->no_memo) {
        return 0;
    }
    frame->guarded = Py_NewRef(container);
    if (++walk->guard_depth < GUARD_DEPTH) {
        return 0;
    }
    if (walk->guard == NULL) {
        walk->guard = PySet_New(NULL);
        if (walk->guard == NULL) {
            return -1;
        }
    }
    address = PyLong_FromVoidPtr(container);
    if (address == NULL) {
        return -1;
    }
    found = PySet_Contains(walk->guard, address);
    if (found > 0) {
        PyErr_Format(PyExc_ValueError,
                     "fast mode: can't pickle cyclic objects including "
                     "object type %.200s at %p",
                     Py_TYPE(container)->tp_name, container);
    }
    else if (found == 0) {
        found = PySet_Add(walk->guard, address);
    }
    Py_DECREF(address);
    return found == 0 ? 0 : -1;
}

/* May be called with an exception set, which stays. */
static void
guard_leave(fp_walk *walk, PyObject *container)
{
    PyObject *error, *address;

    if (walk->guard_depth-- < GUARD_DEPTH || walk->guard == NULL) {
        return;
    }
    error = fp_take_exception();
    address = PyLong_FromVoidPtr(container);
    if (address == NULL || PySet_Discard(walk->guard, address) < 0) {
        PyErr_Clear(); /* the entry outlives its container: a false alarm at
                          worst, and only where memory is short */
    }
    Py_XDECREF(address);
    fp_put_exception(error);
}

void
fp_pop(fp_walk *walk)
{
    fp_frame frame = walk->frames[--walk->n_frames];

    if (unlikely(frame.guarded != NULL)) {
        guard_leave(walk, frame.guarded);
        Py_DECREF(frame.guarded);
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
    if (!walk->text) {
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
    else if (fp_emit_byte(walk, OP_PERSID) == 0
             && fp_emit(walk, PyUnicode_DATA(text),
                        (size_t)PyUnicode_GET_LENGTH(text))
                    == 0
             && fp_emit_byte(walk, '\n') == 0)
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
        if (fp_end_full_frame(walk) < 0) {
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
        return fp_open_dict(walk, object, lonely, 0);
    }
    if (type == &PyList_Type) {
        return fp_open_list(walk, object, lonely);
    }
    if (type == &PyTuple_Type) {
        return fp_open_tuple(walk, object, lonely);
    }
    if (type == &PyBytes_Type) {
        return fp_save_bytes(walk, object, lonely);
    }
    if (type == &PySet_Type || type == &PyFrozenSet_Type) {
        return fp_open_set(walk, object, lonely);
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

    if (unlikely(lonely && PyUnicode_CHECK_INTERNED(text))) {
        lonely = 0; /* the table of interned strings hands it out again */
    }
    if (!lonely) {
        slot = fp_memo_slot_of(walk->memo, text);
        if (slot != NULL && slot->key != NULL) {
            return fp_memo_get(walk, &slot->value);
        }
    }
    if (likely(PyUnicode_IS_COMPACT_ASCII(text)
               && PyUnicode_GET_LENGTH(text) < 256 && walk->protocol >= 4
               && !walk->text))
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
        if (slot != NULL && walk->late_puts && fp_memo_has_room(walk->memo)) {
            fp_memo_fill(walk->memo, slot, text,
                         (int64_t)fp_graph_length(&walk->graph));
            return 0;
        }
        return fp_memo_put(walk, text, lonely);
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
            return fp_emit_byte(walk,
                                object == Py_True ? OP_NEWTRUE : OP_NEWFALSE);
        }
        return fp_emit(walk, object == Py_True ? "I01\n" : "I00\n", 4);
    }
    return save_container(walk, object, lonely);
}

int
fp_save(fp_walk *walk, PyObject *object, int lonely)
{
    if (unlikely(!walk->late_puts)) {
        if (fp_end_full_frame(walk) < 0) {
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
    case FP_FRAME_DICT:
    case FP_FRAME_TUPLE:
    case FP_FRAME_SET:
    case FP_FRAME_FROZENSET:
    case FP_FRAME_LIST_ITER:
    case FP_FRAME_DICT_ITER:
        return fp_step_container(walk, frame);
    case FP_FRAME_REDUCE:
        if (walk->n_unbuilt > MAX_UNBUILT
            || walk->n_reduces
                   > (walk->no_memo ? MAX_REDUCES_WITHOUT_MEMO : MAX_REDUCES))
        {
            PyErr_SetString(PyExc_RecursionError,
                            "maximum nesting of reducers exceeded "
                            "while pickling an object");
            return fp_fail_itself(frame);
        }
        return fp_step_reduce(walk, frame);
    case FP_FRAME_SCRIPT:
        return fp_step_script(walk, frame);
    case FP_FRAME_PERSISTENT:
        return step_persistent(walk, frame);
    case FP_FRAME_ARRAY:
        return walk->outlet->methods->step_array(walk, frame);
    case FP_FRAME_KNOWN:
        return fp_step_known(walk, frame);
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
    fp_forget_known(walk);
    fp_graph_reset(&walk->graph);
    fp_memo_clear(walk->memo);
    walk->memo->holds = 1;
    walk->n_numbers = 0;
    walk->framing = 0;
    walk->frame_start = -1;
    if (walk->modules != NULL && PySet_Clear(walk->modules) < 0) {
        return -1;
    }
    return walk->outlet == NULL ? 0 : walk->outlet->methods->start_over(walk);
}

void
fp_walk_init(fp_walk *walk, fp_state *state, int protocol, int fix_imports)
{
    walk->state = state;
    walk->memo = &walk->own_memo;
    walk->own_memo.holds = 1;
    walk->protocol = protocol;
    walk->local_object_error = FP_LOCAL_OBJECT_ERROR(state);
    walk->text = protocol == 0;
    walk->fix_imports = fix_imports && protocol < 3;
    walk->frame_start = -1;
    walk->graph.no_cuts = 1;
}

int
fp_walk_run(fp_walk *walk, PyObject *object)
{
    int status;

    walk->memo->holds = !walk->silent;
    if (walk->silent) {
        /* An allocation may start the collector, which runs finalizers.
         * Nothing else can switch it meanwhile. */
        int was_enabled = PyGC_Disable();
        status = walk_object(walk, object);
        if (was_enabled) {
            PyGC_Enable();
        }
    }
    else {
        status = walk_object(walk, object);
    }
    if (status < 0 && walk->silent && walk->knows && !walk->restart
        && !PyErr_ExceptionMatches(PyExc_MemoryError))
    {
        PyErr_Clear(); /* let the general way say what is wrong, and where */
        walk->restart = 1;
    }
    if (status < 0 && walk->restart) {
        status = start_over(walk);
        if (status == 0) {
            status = walk_object(walk, object);
        }
    }
    if (status < 0) {
        fp_note_frames(walk);
        fp_note_place_of_walk(walk);
        clear_frames(walk);
    }
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
    fp_forget_known(walk);
    fp_graph_free(&walk->graph);
    Py_CLEAR(walk->kept);
    Py_CLEAR(walk->modules);
    Py_CLEAR(walk->dtype_names);
    for (size_t i = 0; i < FP_DTYPE_CACHE; i++) {
        Py_CLEAR(walk->dtypes[i].dtype);
    }
    fp_padding_cache_clear(&walk->padding);
}

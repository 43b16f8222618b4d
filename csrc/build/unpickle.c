/* The loop over opcodes. */
#include "inline_leaves.h"
#include "restrict.h"
#include "unpickle_parts.h"

static int
invalid_key(fp_machine *machine, unsigned char opcode)
{
    int is_shown =
        opcode >= 0x20 && opcode <= 0x7e && opcode != '\'' && opcode != '\\';

    PyErr_Format(machine->state->unpickling_error,
                 is_shown ? "invalid load key, '%c'."
                          : "invalid load key, '\\x%02x'.",
                 opcode);
    return -1;
}

/* --- opcodes that the loop leaves to these ------------------------------- */

static int
load_proto(fp_machine *machine, int protocol)
{
    if (protocol > 5) {
        PyErr_Format(PyExc_ValueError, "unsupported pickle protocol: %d",
                     protocol);
        return -1;
    }
    machine->protocol = protocol;
    return 0;
}

static int
load_pop(fp_machine *machine)
{
    size_t size = fp_stack_size(machine);

    if (machine->n_marks > 0 && machine->fence == size) {
        size_t index;
        return fp_pop_mark(machine, &index);
    }
    if (size <= machine->fence) {
        return fp_stack_underflow(machine);
    }
    fp_foreign_code(machine);
    fp_stack_cut(machine, size - 1);
    return 0;
}

static int
load_pop_mark(fp_machine *machine)
{
    size_t index;

    if (fp_pop_mark(machine, &index) < 0) {
        return -1;
    }
    fp_foreign_code(machine);
    fp_stack_cut(machine, index);
    return 0;
}

static int
load_dup(fp_machine *machine)
{
    if (fp_stack_size(machine) <= machine->fence) {
        return fp_stack_underflow(machine);
    }
    return fp_push(machine, Py_NewRef(machine->top[-1]));
}

/* In the order of the wire: an argument of 1, 2, 4 or 8 bytes. */
static int
load_counted(fp_machine *machine, unsigned char opcode)
{
    static const unsigned char widths[256] = {
        [OP_LONG1] = 1,
        [OP_LONG4] = 4,
        [OP_BINUNICODE] = 4,
        [OP_BINUNICODE8] = 8,
        [OP_SHORT_BINUNICODE] = 1,
        [OP_SHORT_BINBYTES] = 1,
        [OP_BINBYTES] = 4,
        [OP_BINBYTES8] = 8,
        [OP_BYTEARRAY8] = 8,
        [OP_SHORT_BINSTRING] = 1,
        [OP_BINSTRING] = 4,
        [OP_FRAME] = 8,
        [OP_EXT1] = 1,
        [OP_EXT2] = 2,
        [OP_EXT4] = 4,
        [OP_PROTO] = 1,
    };
    fp_input *input = machine->input;
    size_t width = widths[opcode];
    uint64_t argument = 0;

    if (input->kind == FP_INPUT_FILE) {
        fp_foreign_code(machine);
    }
    if (fp_input_need(input, width) < 0) {
        return -1;
    }
    for (size_t i = width; i-- > 0;) {
        argument = argument << 8 | input->cursor[i];
    }
    input->cursor += width;
    switch (opcode) {
    case OP_SHORT_BINUNICODE:
    case OP_BINUNICODE:
    case OP_BINUNICODE8:
        return fp_load_text(machine, argument);
    case OP_SHORT_BINBYTES:
    case OP_BINBYTES:
    case OP_BINBYTES8:
        return fp_load_bytes(machine, argument);
    case OP_BYTEARRAY8:
        return fp_load_bytearray(machine, argument);
    case OP_LONG1:
        return fp_load_long(machine, (int64_t)argument);
    case OP_LONG4: /* signed */
        return fp_load_long(machine, (int32_t)(uint32_t)argument);
    case OP_SHORT_BINSTRING:
    case OP_BINSTRING:
        return fp_load_old_string(machine, (uint32_t)argument);
    case OP_FRAME:
        return fp_load_frame(machine, argument);
    case OP_EXT1:
    case OP_EXT2:
        return fp_load_extension(machine, (int64_t)argument);
    case OP_EXT4:
        return fp_load_extension(machine, (int32_t)(uint32_t)argument);
    default: /* PROTO */
        return load_proto(machine, (int)argument);
    }
}

/* What is not in the dense part of the memo, or is a blob. */
static int
load_far(fp_machine *machine, size_t index)
{
    fp_slot slot = index < machine->memo_capacity ? machine->memo[index] : 0;

    if (slot & 1) {
        return fp_load_blob(machine, machine->blobs, slot >> 1);
    }
    return fp_push(machine, Py_XNewRef(fp_machine_get_far(machine, index)));
}

static int
load_empty_set(fp_machine *machine)
{
    return fp_push(machine, PySet_New(NULL));
}

/* --- the loop ------------------------------------------------------------ */

static PyObject *
take_result(fp_machine *machine, int until_end)
{
    if (until_end && (machine->n_marks > 0 || fp_stack_size(machine) != 1)) {
        PyErr_SetString(machine->state->unpickling_error,
                        "the graph does not leave one object");
        return NULL;
    }
    return fp_pop(machine);
}

/* Locals to the machine, the machine to locals. */
#define SYNC()                                                                \
    do {                                                                      \
        input->cursor = p;                                                    \
        machine->top = top;                                                   \
    } while (0)
#define RELOAD()                                                              \
    do {                                                                      \
        p = input->cursor;                                                    \
        end = input->end;                                                     \
        top = machine->top;                                                   \
        limit = machine->stack_end;                                           \
        floor = machine->stack + machine->fence;                              \
    } while (0)
#define CALL(call)                                                            \
    do {                                                                      \
        SYNC();                                                               \
        if ((call) < 0) {                                                     \
            goto failed;                                                      \
        }                                                                     \
        RELOAD();                                                             \
    } while (0)
/* n bytes at p */
#define NEED(n)                                                               \
    do {                                                                      \
        if ((size_t)(end - p) < (size_t)(n)) {                                \
            CALL(need(machine, (n)));                                         \
        }                                                                     \
    } while (0)
/* Steals; NULL is a failure. */
#define PUSH(expression)                                                      \
    do {                                                                      \
        PyObject *pushed = (expression);                                      \
        if (top == limit || pushed == NULL) {                                 \
            CALL(fp_push(machine, pushed));                                   \
        }                                                                     \
        else {                                                                \
            *top++ = pushed;                                                  \
        }                                                                     \
    } while (0)

static int
need(fp_machine *machine, size_t n_bytes)
{
    if (machine->input->kind == FP_INPUT_FILE) {
        fp_foreign_code(machine);
    }
    return fp_input_need(machine->input, n_bytes);
}

static int
need_opcode(fp_machine *machine)
{
    if (machine->input->kind == FP_INPUT_FILE) {
        fp_foreign_code(machine);
    }
    return fp_input_need_opcode(machine->input);
}

/* Of a graph of ours, where a frame ends: another one follows, or nothing. */
static int
next_frame(fp_machine *machine)
{
    fp_input *input = machine->input;

    if (!fp_input_leave_frame(input)
        || (input->cursor < input->end && *input->cursor != OP_FRAME))
    {
        PyErr_SetString(machine->state->unpickling_error,
                        "an opcode outside of frames");
        return -1;
    }
    return 0;
}

static int
push_mark(fp_machine *machine, int kind)
{
    fp_mark *mark;

    if (machine->n_marks == machine->marks_capacity
        && fp_marks_grow(machine) < 0)
    {
        return -1;
    }
    mark = &machine->marks[machine->n_marks++];
    mark->index = machine->fence = fp_stack_size(machine);
    mark->n_calls = machine->n_calls;
    mark->kind = kind;
    return 0;
}

/* An empty dict or list and the MARK behind it, in one: the slot stays NULL
 * until the items are there. */
static int
push_pending(fp_machine *machine, int kind)
{
    if (machine->top == machine->stack_end && fp_stack_grow(machine) < 0) {
        return -1;
    }
    *machine->top++ = NULL;
    if (push_mark(machine, kind) < 0) {
        machine->top--;
        return -1;
    }
    return 0;
}

/* The PUT and the MARK that are likely to follow an instance's empty dict. */
static int
mark_fresh_state(fp_machine *machine)
{
    fp_input *input = machine->input;
    const unsigned char *p = input->cursor;
    size_t ahead = (size_t)(input->end - p);
    size_t index;

    if (ahead >= 2 && p[0] == OP_MEMOIZE && p[1] == OP_MARK) {
        index = machine->n_memo;
        input->cursor += 2;
    }
    else if (ahead >= 3 && p[0] == OP_BINPUT && p[2] == OP_MARK) {
        index = p[1];
        input->cursor += 3;
    }
    else if (ahead >= 6 && p[0] == OP_LONG_BINPUT && p[5] == OP_MARK) {
        index = fp_u32(p + 1);
        input->cursor += 6;
    }
    else {
        return 0;
    }
    if (fp_machine_put(machine, index, machine->top[-1]) < 0) {
        return -1;
    }
    return push_mark(machine, FP_MARK_FRESH);
}

/* Whether the topmost object is an instance as NEWOBJ made it. */
static inline int
is_fresh(const fp_machine *machine, PyObject **top, PyObject **floor)
{
    return top > floor && machine->fresh == top[-1]
           && machine->fresh_calls == machine->n_calls;
}

/* Runs to the end; the result is on the stack. */
static int
run(fp_machine *machine, int until_end)
{
    fp_input *input = machine->input;
    const unsigned char *p, *end;
    PyObject **top, **limit, **floor;

    RELOAD();
    for (;;) {
        unsigned char opcode;
        size_t index;

        if (p == end) {
            CALL(until_end ? next_frame(machine) : need_opcode(machine));
            if (p == end) {
                return 0;
            }
        }
        opcode = *p++;
        switch (opcode) {
        case OP_NONE:
            PUSH(Py_NewRef(Py_None));
            continue;
        case OP_NEWTRUE:
            PUSH(Py_NewRef(Py_True));
            continue;
        case OP_NEWFALSE:
            PUSH(Py_NewRef(Py_False));
            continue;
        case OP_BININT1:
            NEED(1);
            PUSH(PyLong_FromLong(p[0]));
            p += 1;
            continue;
        case OP_BININT2:
            NEED(2);
            PUSH(PyLong_FromLong((long)fp_u16(p)));
            p += 2;
            continue;
        case OP_BININT:
            NEED(4);
            PUSH(PyLong_FromLong((int32_t)fp_u32(p)));
            p += 4;
            continue;
        case OP_LONG1:
            if (end - p >= 1 && end - p > p[0]) {
                size_t n_bytes = p[0];
                p += 1 + n_bytes;
                PUSH(fp_int_of(p - n_bytes, n_bytes));
                continue;
            }
            CALL(load_counted(machine, opcode));
            continue;
        case OP_BINFLOAT:
            NEED(8);
            PUSH(PyFloat_FromDouble(fp_float_of(p)));
            p += 8;
            continue;
        case OP_SHORT_BINUNICODE:
            if (end - p >= 1 && p[0] <= FP_SHORT_TEXT && end - p > p[0]) {
                size_t n_bytes = p[0];
                p += 1 + n_bytes;
                PUSH(fp_short_text(p - n_bytes, n_bytes));
                continue;
            }
            CALL(load_counted(machine, opcode));
            continue;
        case OP_BINUNICODE:
            if (end - p >= 4 && fp_u32(p) <= FP_SHORT_TEXT
                && end - p >= 4 + (ptrdiff_t)p[0])
            {
                size_t n_bytes = p[0];
                p += 4 + n_bytes;
                PUSH(fp_short_text(p - n_bytes, n_bytes));
                continue;
            }
            CALL(load_counted(machine, opcode));
            continue;
        case OP_SHORT_BINBYTES:
            if (end - p >= 1 && end - p > p[0]) {
                size_t n_bytes = p[0];
                p += 1 + n_bytes;
                PUSH(PyBytes_FromStringAndSize((const char *)p - n_bytes,
                                               (Py_ssize_t)n_bytes));
                continue;
            }
            CALL(load_counted(machine, opcode));
            continue;

        /* --- memo */
        case OP_BINGET:
            NEED(1);
            index = p[0];
            p += 1;
            goto get;
        case OP_LONG_BINGET:
            NEED(4);
            index = fp_u32(p);
            p += 4;
get:
            if (index < machine->memo_capacity) {
                fp_slot slot = machine->memo[index];
                if (slot != 0 && !(slot & 1)) {
                    PUSH(Py_NewRef((PyObject *)slot));
                    continue;
                }
            }
            CALL(load_far(machine, index));
            continue;
        case OP_BINPUT:
            NEED(1);
            index = p[0];
            p += 1;
            goto put;
        case OP_LONG_BINPUT:
            NEED(4);
            index = fp_u32(p);
            p += 4;
            goto put;
        case OP_MEMOIZE:
            index = machine->n_memo;
put:
            if (top <= floor) {
                goto underflow;
            }
            if (index < machine->memo_capacity && machine->memo[index] == 0
                && machine->sparse_memo == NULL)
            {
                machine->memo[index] = (fp_slot)Py_NewRef(top[-1]);
                machine->n_memo++;
                continue;
            }
            CALL(fp_machine_put(machine, index, top[-1]));
            continue;

        /* --- containers */
        case OP_MARK:
            CALL(push_mark(machine, FP_MARK_PLAIN));
            continue;
        case OP_EMPTY_TUPLE:
            if (p < end && *p == OP_NEWOBJ && top > floor
                && fp_has_plain_new(top[-1])
                && (!machine->is_restricted
                    || fp_restrict_is_plain(machine, (PyTypeObject *)top[-1])))
            {
                PyTypeObject *type = (PyTypeObject *)top[-1];
                PyObject *instance;
                p++;
                SYNC();
                instance = PyBaseObject_Type.tp_new(
                    type, machine->state->empty_tuple, NULL);
                if (instance == NULL) {
                    goto failed;
                }
                top[-1] = instance;
                Py_DECREF(type);
                machine->fresh = instance;
                machine->fresh_calls = machine->n_calls;
                continue;
            }
            PUSH(Py_NewRef(machine->state->empty_tuple));
            continue;
        case OP_TUPLE1:
            CALL(fp_load_tuple(machine, 1));
            continue;
        case OP_TUPLE2:
            CALL(fp_load_tuple(machine, 2));
            continue;
        case OP_TUPLE3:
            CALL(fp_load_tuple(machine, 3));
            continue;
        case OP_TUPLE:
        case OP_LIST:
        case OP_DICT:
        case OP_FROZENSET:
            CALL(fp_load_marked(machine, opcode));
            continue;
        case OP_EMPTY_LIST:
            if (p < end && *p == OP_MARK) {
                p++;
                CALL(push_pending(machine, FP_MARK_LIST));
                continue;
            }
            PUSH(PyList_New(0));
            continue;
        case OP_EMPTY_DICT: {
            int fresh = is_fresh(machine, top, floor) ? FP_MARK_FRESH : 0;
            if (p < end && *p == OP_MARK) {
                p++;
                CALL(push_pending(machine, FP_MARK_DICT | fresh));
                continue;
            }
            PUSH(PyDict_New());
            if (fresh) {
                CALL(mark_fresh_state(machine));
            }
            continue;
        }
        case OP_EMPTY_SET:
            CALL(load_empty_set(machine));
            continue;
        case OP_APPEND:
            if (top - 1 <= floor) {
                goto underflow;
            }
            CALL(fp_append_items(machine, fp_stack_size(machine) - 1));
            continue;
        case OP_APPENDS:
            CALL(fp_load_appends(machine));
            continue;
        case OP_SETITEM:
            if (top - 2 <= floor) {
                goto underflow;
            }
            CALL(fp_set_items(machine, fp_stack_size(machine) - 2));
            continue;
        case OP_SETITEMS:
            CALL(fp_load_setitems(machine));
            continue;
        case OP_ADDITEMS:
            CALL(fp_load_additems(machine));
            continue;
        case OP_POP:
            CALL(load_pop(machine));
            continue;
        case OP_POP_MARK:
            CALL(load_pop_mark(machine));
            continue;
        case OP_DUP:
            CALL(load_dup(machine));
            continue;

        /* --- objects */
        case OP_STACK_GLOBAL:
            CALL(fp_load_stack_global(machine));
            continue;
        case OP_GLOBAL:
            CALL(fp_load_global(machine));
            continue;
        case OP_NEWOBJ:
            CALL(fp_load_newobj(machine, 0));
            continue;
        case OP_NEWOBJ_EX:
            CALL(fp_load_newobj(machine, 1));
            continue;
        case OP_REDUCE:
            CALL(fp_load_reduce(machine));
            continue;
        case OP_BUILD:
            CALL(fp_load_build(machine));
            continue;
        case OP_INST:
            CALL(fp_load_inst(machine));
            continue;
        case OP_OBJ:
            CALL(fp_load_obj(machine));
            continue;
        case OP_PERSID:
        case OP_BINPERSID:
            CALL(fp_load_persistent_id(machine, opcode));
            continue;
        case OP_NEXT_BUFFER:
            CALL(fp_load_next_buffer(machine));
            continue;
        case OP_READONLY_BUFFER:
            CALL(fp_load_readonly_buffer(machine));
            continue;

        case OP_PROTO:
        case OP_FRAME:
        case OP_LONG4:
        case OP_BINUNICODE8:
        case OP_BINBYTES:
        case OP_BINBYTES8:
        case OP_BYTEARRAY8:
        case OP_SHORT_BINSTRING:
        case OP_BINSTRING:
        case OP_EXT1:
        case OP_EXT2:
        case OP_EXT4:
            CALL(load_counted(machine, opcode));
            continue;
        case OP_INT:
        case OP_LONG:
        case OP_FLOAT:
        case OP_STRING:
        case OP_UNICODE:
        case OP_GET:
        case OP_PUT:
            CALL(fp_load_text_opcode(machine, opcode));
            continue;
        case OP_STOP:
            SYNC();
            if (until_end) {
                PyErr_SetString(machine->state->unpickling_error,
                                "STOP inside the graph");
                return -1;
            }
            return 0;
        default:
            SYNC();
            return invalid_key(machine, opcode);
underflow:
            SYNC();
            return fp_stack_underflow(machine);
        }
    }
failed:
    return -1;
}

PyObject *
fp_machine_run(fp_machine *machine, int until_end)
{
    PyObject *result = NULL;
    uint64_t at_most = fp_input_at_most(machine->input);

    fp_reset_stack(machine);
    machine->protocol = until_end ? 5 : 0; /* ours: PROTO is in the header */
    if (machine->stack == NULL && fp_stack_grow(machine) < 0) {
        return NULL;
    }
    if (until_end) {
        machine->input->whole_frames = 1;
        (void)fp_input_begin_frame(machine->input, 0); /* the next is ours */
    }
    if (at_most != UINT64_MAX && machine->memo_hint < at_most / 8) {
        machine->memo_hint = (size_t)(at_most / 8);
    }
    /* The file stands behind STOP before anything is handed out. */
    if (run(machine, until_end) == 0 && fp_input_settle(machine->input) == 0
        && (!machine->is_restricted || fp_restrict_end(machine) == 0))
    {
        result = take_result(machine, until_end);
    }
    fp_reset_stack(machine);
    return result;
}

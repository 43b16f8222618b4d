/* GET of a blob, or NEXT_BUFFER: an array, where the opcodes around it are those that our dump
 * writes, else the object that the blob's own opcode stands for.
 *
 *     numpy.ndarray MARK shape dtype GET [offset [strides]] TUPLE REDUCE
 *     numpy.ndarray MARK shape dtype GET offset NONE "F" TUPLE REDUCE
 *
 * (csrc/FORMAT.md, Graph). Only what is complete in the window counts, and
 * nothing is consumed before the array is made.
 */
#include "array_guard.h"
#include "unpickle_parts.h"

enum {
    NOT_PARSED = 0,
    PARSED = 1
};

typedef struct {
    const unsigned char *next;
    const unsigned char *end;
} ahead;

static inline int
has(const ahead *text, size_t n_bytes)
{
    return (size_t)(text->end - text->next) >= n_bytes;
}

static int
parse_int(ahead *text, int64_t *number)
{
    const unsigned char *p = text->next;

    if (has(text, 2) && p[0] == OP_BININT1) {
        *number = p[1];
        text->next += 2;
        return PARSED;
    }
    if (has(text, 3) && p[0] == OP_BININT2) {
        *number = fp_u16(p + 1);
        text->next += 3;
        return PARSED;
    }
    if (has(text, 5) && p[0] == OP_BININT) {
        *number = (int32_t)fp_u32(p + 1);
        text->next += 5;
        return PARSED;
    }
    if (has(text, 2) && p[0] == OP_LONG1 && p[1] >= 1 && p[1] <= 8
        && has(text, 2 + (size_t)p[1]))
    {
        size_t n_bytes = p[1];
        uint64_t bits = p[1 + n_bytes] & 0x80 ? UINT64_MAX : 0;
        for (size_t i = n_bytes; i > 0; i--) {
            bits = bits << 8 | p[1 + i];
        }
        *number = (int64_t)bits;
        text->next += 2 + n_bytes;
        return PARSED;
    }
    return NOT_PARSED;
}

static int
parse_opcode(ahead *text, unsigned char opcode)
{
    if (!has(text, 1) || *text->next != opcode) {
        return NOT_PARSED;
    }
    text->next++;
    return PARSED;
}

/* A tuple of ints: by its length where it has at most three, else from a MARK
 * to TUPLE. */
static int
parse_strides(ahead *text, fp_array_spec *spec)
{
    static const int max_strides =
        sizeof(spec->strides) / sizeof(spec->strides[0]);
    int marked = parse_opcode(text, OP_MARK);
    int n = 0;

    while (n < max_strides && parse_int(text, &spec->strides[n])) {
        n++;
    }
    spec->n_strides = n;
    if (marked) {
        return parse_opcode(text, OP_TUPLE);
    }
    switch (n) {
    case 0:
        return parse_opcode(text, OP_EMPTY_TUPLE);
    case 1:
        return parse_opcode(text, OP_TUPLE1);
    case 2:
        return parse_opcode(text, OP_TUPLE2);
    case 3:
        return parse_opcode(text, OP_TUPLE3);
    default:
        return NOT_PARSED;
    }
}

/* "F": a str of its own, perhaps numbered, or one from the memo. *put is its
 * number, or -1. */
static int
parse_fortran(fp_machine *machine, ahead *text, int64_t *put)
{
    const unsigned char *p = text->next;
    size_t index;
    PyObject *order;

    if (has(text, 3) && p[0] == OP_SHORT_BINUNICODE && p[1] == 1
        && p[2] == 'F')
    {
        text->next += 3;
        p = text->next;
        if (has(text, 2) && p[0] == OP_BINPUT) {
            *put = p[1];
            text->next += 2;
        }
        else if (has(text, 5) && p[0] == OP_LONG_BINPUT) {
            *put = fp_u32(p + 1);
            text->next += 5;
        }
        return PARSED;
    }
    if (has(text, 2) && p[0] == OP_BINGET) {
        index = p[1];
        text->next += 2;
    }
    else if (has(text, 5) && p[0] == OP_LONG_BINGET) {
        index = fp_u32(p + 1);
        text->next += 5;
    }
    else {
        return NOT_PARSED;
    }
    if (index >= machine->memo_capacity || machine->memo[index] == 0
        || machine->memo[index] & 1)
    {
        return NOT_PARSED;
    }
    order = (PyObject *)machine->memo[index];
    return PyUnicode_CheckExact(order) && PyUnicode_GET_LENGTH(order) == 1
           && PyUnicode_READ_CHAR(order, 0) == 'F';
}

static int
parse_tail(fp_machine *machine, ahead *text, fp_array_spec *spec, int64_t *put)
{
    int64_t offset;

    if (parse_int(text, &offset)) {
        if (offset < 0) {
            return NOT_PARSED;
        }
        spec->offset = (uint64_t)offset;
        if (parse_opcode(text, OP_NONE)) {
            spec->is_fortran = 1;
            if (!parse_fortran(machine, text, put)) {
                return NOT_PARSED;
            }
        }
        else if (has(text, 1) && *text->next != OP_TUPLE
                 && !parse_strides(text, spec))
        {
            return NOT_PARSED;
        }
    }
    return parse_opcode(text, OP_TUPLE) && parse_opcode(text, OP_REDUCE);
}

/* 1: the array lies in the constructor's place, and REDUCE is done. */
static int
load_array(fp_machine *machine, fp_blobs *blobs, size_t blob)
{
    ahead text = {machine->input->cursor, machine->input->end};
    PyObject **items = machine->top - 2; /* shape, dtype */
    fp_array_spec spec;
    PyObject *array;
    int64_t put = -1;
    int handled = 1;

    spec.offset = 0;
    spec.n_strides = -1;
    spec.is_fortran = 0;
    if (!PyTuple_CheckExact(items[0])
        /* Anything else with a dtype may be a dtype to NumPy. */
        || (machine->is_restricted && !PyUnicode_CheckExact(items[1])
            && !fp_is_dtype(machine->state, items[1]))
        || !parse_tail(machine, &text, &spec, &put))
    {
        return 0;
    }
    spec.shape = items[0];
    spec.dtype = items[1];
    if (!PyUnicode_CheckExact(items[1])) {
        fp_foreign_code(machine);
    }
    array = fp_blobs_array(blobs, blob, &spec, &handled);
    if (array == NULL) {
        return handled || PyErr_Occurred() ? -1 : 0;
    }
    if (put >= 0) {
        PyObject *order = PyUnicode_FromOrdinal('F');
        int status =
            order == NULL ? -1 : fp_machine_put(machine, (size_t)put, order);
        Py_XDECREF(order);
        if (status < 0) {
            Py_DECREF(array);
            return -1;
        }
    }
    fp_take_mark(machine);
    Py_DECREF(items[1]);
    Py_DECREF(items[0]);
    machine->top = items;
    Py_SETREF(items[-1], array);
    machine->input->cursor = text.next;
    return 1;
}

PyObject *
fp_array_without_blob(fp_machine *machine, PyObject *args)
{
    fp_array_spec spec;
    int handled;

    if (!PyTuple_CheckExact(args) || PyTuple_GET_SIZE(args) != 2
        || !PyTuple_CheckExact(PyTuple_GET_ITEM(args, 0)))
    {
        return NULL;
    }
    spec.shape = PyTuple_GET_ITEM(args, 0);
    spec.dtype = PyTuple_GET_ITEM(args, 1);
    spec.offset = 0;
    spec.n_strides = -1;
    spec.is_fortran = 0;
    return fp_blobs_array(machine->out_of_band != NULL ? machine->out_of_band
                                                       : machine->blobs,
                          FP_NO_BLOB, &spec, &handled);
}

int
fp_load_blob(fp_machine *machine, fp_blobs *blobs, size_t blob)
{
    size_t size = fp_stack_size(machine);
    PyObject *object;

    if (blobs->table[blob].is_awaited) {
        fp_foreign_code(machine); /* of other threads */
        if (blobs->fetch(blobs, blob) < 0) {
            return -1;
        }
    }
    if (machine->n_marks > 0 && machine->fence > 0
        && size - machine->fence == 2
        && machine->top[-3] == machine->state->ndarray_type)
    {
        int status = load_array(machine, blobs, blob);
        if (status != 0) {
            fp_blobs_used(blobs, blob);
            return status < 0 ? -1 : 0;
        }
    }
    fp_foreign_code(machine);
    object = fp_blobs_object(blobs, blob);
    fp_blobs_used(blobs, blob);
    return fp_push(machine, object);
}

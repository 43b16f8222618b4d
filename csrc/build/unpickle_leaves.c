/* Numbers, text and bytes, other than the short ones that the loop makes
 * itself; out-of-band buffers; and the opcodes of protocol 0, whose argument
 * is a line. */
#include "base/text.h"
#include "core/utf8.h"
#include "inline_leaves.h"
#include "messages_load.h"
#include "unpickle_parts.h"

#include <errno.h>
#include <stdlib.h>

/* From a file of unknown length so much is allocated on a length's word
 * alone, and after that so much ahead of what has come. */
#define AHEAD_BYTES ((size_t)32 << 20)
/* Payloads from here on go straight from the source to the object. */
#define DIRECT_BYTES ((size_t)64 << 10)

static int
too_long(const char *what)
{
    PyErr_Format(PyExc_OverflowError,
                 "%s exceeds system's maximum size of %zd bytes", what,
                 PY_SSIZE_T_MAX);
    return -1;
}

static int
truncated(fp_machine *machine)
{
    machine->input->is_truncated = 1;
    PyErr_SetString(machine->state->unpickling_error,
                    "pickle data was truncated");
    return -1;
}

/* 1: the whole length may be allocated at once; 0: step by step; -1: there
 * cannot be so much. */
static int
may_allocate(fp_machine *machine, uint64_t n_bytes)
{
    uint64_t at_most = fp_input_at_most(machine->input);

    if (fp_input_check_length(machine->input, n_bytes) < 0) {
        return -1;
    }
    if (n_bytes > at_most) {
        return truncated(machine);
    }
    return at_most != UINT64_MAX || n_bytes <= AHEAD_BYTES;
}

/* n_bytes at the cursor, which moves behind them. */
static const unsigned char *
take(fp_machine *machine, size_t n_bytes)
{
    fp_input *input = machine->input;
    const unsigned char *start;

    if (input->kind == FP_INPUT_FILE) {
        fp_foreign_code(machine);
    }
    if (fp_input_need(input, n_bytes) < 0) {
        return NULL;
    }
    start = input->cursor;
    input->cursor += n_bytes;
    return start;
}

/* --- bytes and text ------------------------------------------------------ */

/* A bytes object of a length that nothing vouches for. */
static PyObject *
bytes_in_steps(fp_machine *machine, size_t n_bytes)
{
    PyObject *bytes = NULL;
    size_t have = 0;

    while (have < n_bytes) {
        size_t step =
            n_bytes - have < AHEAD_BYTES ? n_bytes - have : AHEAD_BYTES;
        if (bytes == NULL) {
            bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)step);
        }
        else {
            _PyBytes_Resize(&bytes, (Py_ssize_t)(have + step));
        }
        if (bytes == NULL) {
            return NULL;
        }
        if (fp_input_read_into(machine->input, PyBytes_AS_STRING(bytes) + have,
                               step)
            < 0)
        {
            Py_DECREF(bytes);
            return NULL;
        }
        have += step;
    }
    return bytes;
}

static PyObject *
read_bytes(fp_machine *machine, uint64_t n_bytes)
{
    PyObject *bytes;
    int at_once = may_allocate(machine, n_bytes);

    if (at_once < 0) {
        return NULL;
    }
    if (machine->input->kind == FP_INPUT_FILE) {
        fp_foreign_code(machine);
    }
    if (!at_once) {
        return bytes_in_steps(machine, (size_t)n_bytes);
    }
    bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)n_bytes);
    if (bytes != NULL
        && fp_input_read_into(machine->input, PyBytes_AS_STRING(bytes),
                              (size_t)n_bytes)
               < 0)
    {
        Py_CLEAR(bytes);
    }
    return bytes;
}

int
fp_load_bytes(fp_machine *machine, uint64_t n_bytes)
{
    if (n_bytes > (uint64_t)PY_SSIZE_T_MAX) {
        return too_long("BINBYTES");
    }
    return fp_push(machine, read_bytes(machine, n_bytes));
}

int
fp_load_bytearray(fp_machine *machine, uint64_t n_bytes)
{
    PyObject *array;
    size_t have = 0;
    int at_once;

    if (n_bytes > (uint64_t)PY_SSIZE_T_MAX) {
        return too_long("BYTEARRAY8");
    }
    at_once = may_allocate(machine, n_bytes);
    if (at_once < 0) {
        return -1;
    }
    if (machine->input->kind == FP_INPUT_FILE) {
        fp_foreign_code(machine);
    }
    array = PyByteArray_FromStringAndSize(
        NULL, at_once ? (Py_ssize_t)n_bytes : (Py_ssize_t)AHEAD_BYTES);
    while (array != NULL && have < n_bytes) {
        size_t step = (size_t)PyByteArray_GET_SIZE(array) - have;
        if (fp_input_read_into(machine->input,
                               PyByteArray_AS_STRING(array) + have, step)
            < 0)
        {
            Py_CLEAR(array);
            break;
        }
        have += step;
        if (have < n_bytes) {
            size_t next = (size_t)n_bytes - have;
            if (next > AHEAD_BYTES) {
                next = AHEAD_BYTES;
            }
            if (PyByteArray_Resize(array, (Py_ssize_t)(have + next)) < 0) {
                Py_CLEAR(array);
            }
        }
    }
    return fp_push(machine, array);
}

/* Straight into a str, in the hope that it is ASCII. */
static PyObject *
read_large_text(fp_machine *machine, size_t n_bytes)
{
    PyObject *text = PyUnicode_New((Py_ssize_t)n_bytes, 127);
    PyObject *decoded;
    unsigned char highest;

    if (text == NULL
        || fp_input_read_into(machine->input, PyUnicode_1BYTE_DATA(text),
                              n_bytes)
               < 0)
    {
        Py_XDECREF(text);
        return NULL;
    }
    fp_utf8_count(PyUnicode_1BYTE_DATA(text), n_bytes, &highest);
    if (highest < 0x80) {
        return text;
    }
    decoded = fp_text_of_utf8(PyUnicode_1BYTE_DATA(text), n_bytes);
    Py_DECREF(text);
    return decoded;
}

int
fp_load_text(fp_machine *machine, uint64_t n_bytes)
{
    fp_input *input = machine->input;
    const unsigned char *start;
    PyObject *text;
    int at_once;

    if (n_bytes > (uint64_t)PY_SSIZE_T_MAX) {
        return too_long("BINUNICODE");
    }
    at_once = may_allocate(machine, n_bytes);
    if (at_once < 0) {
        return -1;
    }
    if (!at_once) {
        PyObject *bytes = read_bytes(machine, n_bytes);
        if (bytes == NULL) {
            return -1;
        }
        text = fp_text_of_utf8(PyBytes_AS_STRING(bytes), (size_t)n_bytes);
        Py_DECREF(bytes);
        return fp_push(machine, text);
    }
    if (n_bytes >= DIRECT_BYTES
        && (uint64_t)(input->end - input->cursor) < n_bytes)
    {
        fp_foreign_code(machine);
        return fp_push(machine, read_large_text(machine, (size_t)n_bytes));
    }
    start = take(machine, (size_t)n_bytes);
    if (start == NULL) {
        return -1;
    }
    return fp_push(machine, fp_text_of_utf8(start, (size_t)n_bytes));
}

/* What Python 2 called a string. */
static PyObject *
decode_old_string(fp_machine *machine, const char *string, Py_ssize_t n_bytes)
{
    if (strcmp(machine->encoding, "bytes") == 0) {
        return PyBytes_FromStringAndSize(string, n_bytes);
    }
    fp_foreign_code(machine); /* codecs can be registered */
    return PyUnicode_Decode(string, n_bytes, machine->encoding,
                            machine->errors);
}

int
fp_load_old_string(fp_machine *machine, uint32_t n_bytes)
{
    PyObject *bytes, *string;

    if (n_bytes > INT32_MAX && FP_BINSTRING_IS_SIGNED) {
        PyErr_SetString(machine->state->unpickling_error,
                        "BINSTRING pickle has negative byte count");
        return -1;
    }
    /* A copy: the window may change while a codec runs. */
    bytes = read_bytes(machine, n_bytes);
    if (bytes == NULL) {
        return -1;
    }
    string = decode_old_string(machine, PyBytes_AS_STRING(bytes),
                               PyBytes_GET_SIZE(bytes));
    Py_DECREF(bytes);
    return fp_push(machine, string);
}

/* --- numbers ------------------------------------------------------------- */

int
fp_load_long(fp_machine *machine, int64_t n_bytes)
{
    PyObject *copy, *number;

    if (n_bytes < 0) {
        PyErr_SetString(machine->state->unpickling_error,
                        "LONG pickle has negative byte count");
        return -1;
    }
    if ((uint64_t)n_bytes <= DIRECT_BYTES) {
        const unsigned char *start = take(machine, (size_t)n_bytes);
        if (start == NULL) {
            return -1;
        }
        return fp_push(machine, fp_int_of(start, (size_t)n_bytes));
    }
    copy = read_bytes(machine, (uint64_t)n_bytes);
    if (copy == NULL) {
        return -1;
    }
    number = fp_int_of((const unsigned char *)PyBytes_AS_STRING(copy),
                       (size_t)n_bytes);
    Py_DECREF(copy);
    return fp_push(machine, number);
}

/* A frame's bytes are fetched at once; then they are read like any others. In
 * a graph of ours a frame stands in no other, not even as the last of it. */
int
fp_load_frame(fp_machine *machine, uint64_t n_bytes)
{
    fp_input *input = machine->input;

    if ((input->whole_frames && fp_input_in_frame(input))
        || !fp_input_leave_frame(input))
    {
        PyErr_SetString(machine->state->unpickling_error,
                        "beginning of a new frame before end of current "
                        "frame");
        return -1;
    }
    if (n_bytes > (uint64_t)PY_SSIZE_T_MAX) {
        PyErr_Format(PyExc_OverflowError,
                     "FRAME length exceeds system's maximum of %zd bytes",
                     PY_SSIZE_T_MAX);
        return -1;
    }
    if ((uint64_t)(input->end - input->cursor) < n_bytes) {
        fp_foreign_code(machine);
    }
    return fp_input_begin_frame(input, (size_t)n_bytes);
}

/* --- out-of-band buffers ------------------------------------------------- */

int
fp_load_next_buffer(fp_machine *machine)
{
    PyObject *buffers = machine->buffers;
    PyObject *buffer;

    if (machine->out_of_band != NULL) {
        if (machine->next_buffer == machine->out_of_band->n_blobs) {
            PyErr_SetString(machine->state->unpickling_error,
                            "not enough out-of-band buffers");
            return -1;
        }
        return fp_load_blob(machine, machine->out_of_band,
                            machine->next_buffer++);
    }
    if (buffers == NULL) {
        PyErr_SetString(machine->state->unpickling_error,
                        "pickle stream refers to out-of-band data "
                        "but no *buffers* argument was given");
        return -1;
    }
    fp_foreign_code(machine);
    Py_INCREF(buffers);
    buffer = PyIter_Next(buffers);
    Py_DECREF(buffers);
    if (buffer == NULL && !PyErr_Occurred()) {
        PyErr_SetString(machine->state->unpickling_error,
                        "not enough out-of-band buffers");
    }
    return fp_push(machine, buffer);
}

int
fp_load_readonly_buffer(fp_machine *machine)
{
    PyObject *view, *readonly;

    if (fp_stack_size(machine) <= machine->fence) {
        return fp_stack_underflow(machine);
    }
    fp_foreign_code(machine);
    view = PyMemoryView_FromObject(machine->top[-1]);
    if (view == NULL) {
        return -1;
    }
    if (PyMemoryView_GET_BUFFER(view)->readonly) {
        Py_DECREF(view);
        return 0;
    }
    readonly = PyObject_CallMethodNoArgs(view, machine->state->str_toreadonly);
    Py_DECREF(view);
    if (readonly == NULL) {
        return -1;
    }
    Py_SETREF(machine->top[-1], readonly);
    return 0;
}

/* --- protocol 0 ---------------------------------------------------------- */

int
fp_text_line(fp_machine *machine, size_t least, const char **line,
             size_t *n_bytes)
{
    const unsigned char *start;

    if (machine->input->kind == FP_INPUT_FILE) {
        fp_foreign_code(machine);
    }
    if (fp_input_line(machine->input, &start, n_bytes) < 0) {
        return -1;
    }
    if (*n_bytes < least) {
        return truncated(machine);
    }
    *line = (const char *)start;
    --*n_bytes;
    return 0;
}

/* The line is parsed up to its newline or a NUL in it. */
static PyObject *
parse_int(const char *line, size_t n_bytes)
{
    char *stop;
    long number;
    PyObject *object;

    errno = 0;
    number = strtol(line, &stop, FP_INTEGER_BASE);
    if (errno != 0 || (*stop != '\n' && *stop != '\0')) {
        object = PyLong_FromString(line, NULL, FP_INTEGER_BASE);
        if (object == NULL) {
            PyErr_SetString(PyExc_ValueError,
                            "could not convert string to int");
        }
        return object;
    }
    if (n_bytes == 2 && (number == 0 || number == 1)
        && (line[0] == '0' || !FP_BOOL_IS_LITERAL))
    {
        return PyBool_FromLong(number); /* "00", "01": before protocol 2 */
    }
    return PyLong_FromLong(number);
}

/* The machine's own copy of the line may be written to: fp_input_line(). */
static PyObject *
parse_long(fp_machine *machine, size_t n_bytes)
{
    unsigned char *line = machine->input->line;

    if (n_bytes > 0 && line[n_bytes - 1] == 'L') {
        line[n_bytes - 1] = '\0';
    }
    return PyLong_FromString((const char *)line, NULL, FP_INTEGER_BASE);
}

static PyObject *
parse_float(const char *line)
{
    char *stop;
    double number = PyOS_string_to_double(line, &stop, PyExc_OverflowError);

    if (number == -1.0 && PyErr_Occurred()) {
        return NULL;
    }
    if (*stop != '\n' && *stop != '\0') {
        PyErr_SetString(PyExc_ValueError, "could not convert string to float");
        return NULL;
    }
    return PyFloat_FromDouble(number);
}

static PyObject *
parse_string(fp_machine *machine, const char *line, size_t n_bytes)
{
    PyObject *bytes, *string;

    if (n_bytes < 2 || line[0] != line[n_bytes - 1]
        || (line[0] != '\'' && line[0] != '"'))
    {
        PyErr_SetString(machine->state->unpickling_error,
                        "the STRING opcode argument must be quoted");
        return NULL;
    }
    bytes =
        PyBytes_DecodeEscape(line + 1, (Py_ssize_t)n_bytes - 2, NULL, 0, NULL);
    if (bytes == NULL || strcmp(machine->encoding, "bytes") == 0) {
        return bytes;
    }
    string = decode_old_string(machine, PyBytes_AS_STRING(bytes),
                               PyBytes_GET_SIZE(bytes));
    Py_DECREF(bytes);
    return string;
}

static int
parse_index(const char *line, Py_ssize_t *index)
{
    PyObject *number = PyLong_FromString(line, NULL, 10);

    if (number == NULL) {
        return -1;
    }
    *index = PyLong_AsSsize_t(number);
    Py_DECREF(number);
    return *index == -1 && PyErr_Occurred() ? -1 : 0;
}

static int
load_get(fp_machine *machine, const char *line)
{
    Py_ssize_t index;
    fp_slot slot = 0;
    PyObject *value;

    if (parse_index(line, &index) < 0) {
        return -1;
    }
    if ((size_t)index < machine->memo_capacity) {
        slot = machine->memo[index];
    }
    if (slot & 1) {
        return fp_load_blob(machine, machine->blobs, slot >> 1);
    }
    value = slot != 0 ? (PyObject *)slot
                      : fp_machine_get_far(machine, (size_t)index);
    return fp_push(machine, Py_XNewRef(value));
}

static int
load_put(fp_machine *machine, const char *line)
{
    Py_ssize_t index;

    if (fp_stack_size(machine) <= machine->fence) {
        return fp_stack_underflow(machine);
    }
    if (parse_index(line, &index) < 0) {
        return -1;
    }
    if (index < 0) {
        PyErr_SetString(PyExc_ValueError, "negative PUT argument");
        return -1;
    }
    return fp_machine_put(machine, (size_t)index, machine->top[-1]);
}

int
fp_load_text_opcode(fp_machine *machine, unsigned char opcode)
{
    const char *line;
    size_t n_bytes;

    if (fp_text_line(machine,
                     opcode == OP_UNICODE || opcode == OP_STRING ? 1 : 2,
                     &line, &n_bytes)
        < 0)
    {
        return -1;
    }
    switch (opcode) {
    case OP_INT:
        return fp_push(machine, parse_int(line, n_bytes));
    case OP_LONG:
        return fp_push(machine, parse_long(machine, n_bytes));
    case OP_FLOAT:
        return fp_push(machine, parse_float(line));
    case OP_STRING:
        return fp_push(machine, parse_string(machine, line, n_bytes));
    case OP_UNICODE:
        return fp_push(machine, PyUnicode_DecodeRawUnicodeEscape(
                                    line, (Py_ssize_t)n_bytes, NULL));
    case OP_GET:
        return load_get(machine, line);
    default:
        return load_put(machine, line);
    }
}

#include "input.h"

#include "base/errors.h"
#include "base/signals.h"
#include "core/block_read.h"
#include "core/pages.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* What is asked of peek(); as much as a large buffer may hold. */
#define PEEK_BYTES ((size_t)128 << 10)
/* A descriptor's window, as long as nothing needs more. */
#define WINDOW_BYTES ((size_t)256 << 10)
/* Beyond this a request is met step by step, each no more than what has come
 * already or this. */
#define STEP_BYTES ((size_t)1 << 20)
/* One pread(); Linux stops at 2 GiB. */
#define PREAD_BYTES ((size_t)1 << 30)
/* From here on several threads read. */
#define THREAD_BYTES ((size_t)2 << 20)

/* What the functions below return where they do not fail: */
enum {
    GOT = 0,
    ENDED = 1
};

#define NO_FRAME UINT64_MAX

static inline size_t
available(const fp_input *input)
{
    return (size_t)(input->end - input->cursor);
}

/* With what lies behind the frame. */
static inline size_t
held(const fp_input *input)
{
    return (size_t)(input->filled - input->cursor);
}

static int
truncated(fp_input *input)
{
    input->is_truncated = 1;
    PyErr_SetString(input->state->unpickling_error,
                    "pickle data was truncated");
    return -1;
}

/* What the unpickler sees of the window: up to the end of the frame. */
static void
show_window(fp_input *input)
{
    uint64_t n_shown = input->frame_end - input->position;

    input->end = (uint64_t)(input->filled - input->start) > n_shown
                     ? input->start + n_shown
                     : input->filled;
}

int
fp_input_leave_frame(fp_input *input)
{
    if (input->frame_end == NO_FRAME) {
        return 1;
    }
    if (input->frame_end != fp_input_offset(input)) {
        return 0;
    }
    input->frame_end = NO_FRAME;
    show_window(input);
    return 1;
}

int
fp_input_begin_frame(fp_input *input, size_t n_bytes)
{
    /* All of it, so that a length that is wrong is met at once. */
    if (fp_input_need(input, n_bytes) < 0) {
        return -1;
    }
    input->frame_end = fp_input_offset(input) + n_bytes;
    show_window(input);
    return 0;
}

static int
check_frame(fp_input *input, uint64_t n_bytes)
{
    if (input->frame_end == NO_FRAME
        || n_bytes <= input->frame_end - fp_input_offset(input)
        || (!input->whole_frames && fp_input_leave_frame(input)))
    {
        return 0;
    }
    PyErr_SetString(input->state->unpickling_error,
                    "pickle exhausted before end of frame");
    return -1;
}

int
fp_input_check_length(fp_input *input, uint64_t n_bytes)
{
    /* The cursor is never behind the limit: the window ends there. */
    if (input->limit == UINT64_MAX
        || n_bytes <= input->limit - fp_input_offset(input))
    {
        return check_frame(input, n_bytes);
    }
    input->is_over_limit = 1;
    return fp_raise_over_limit(input->state, NULL, input->max_bytes);
}

/* The window ends where the limit is. */
static void
clip_window(fp_input *input)
{
    uint64_t n_allowed = input->limit - input->position;

    if ((uint64_t)(input->filled - input->start) > n_allowed) {
        input->filled = input->start + n_allowed;
    }
    show_window(input);
}

void
fp_input_limit(fp_input *input, uint64_t max_bytes)
{
    if (fp_input_at_most(input) <= max_bytes) {
        return; /* there is no more anyway */
    }
    input->max_bytes = input->limit = max_bytes;
    if (input->kind == FP_INPUT_DESCRIPTOR) {
        input->fd_end = input->fd_offset + max_bytes;
    }
    clip_window(input);
}

void
fp_input_from_memory(fp_input *input, fp_state *state, const void *data,
                     size_t n_bytes)
{
    memset(input, 0, sizeof(*input));
    input->kind = FP_INPUT_MEMORY;
    input->limit = UINT64_MAX;
    input->frame_end = NO_FRAME;
    input->state = state;
    input->start = n_bytes > 0 ? data : (const unsigned char *)"";
    input->cursor = input->start;
    input->end = input->filled = input->start + n_bytes;
}

void
fp_input_from_descriptor(fp_input *input, fp_state *state, int fd,
                         uint64_t offset, uint64_t end)
{
    memset(input, 0, sizeof(*input));
    input->kind = FP_INPUT_DESCRIPTOR;
    input->limit = UINT64_MAX;
    input->frame_end = NO_FRAME;
    input->state = state;
    input->fd = fd;
    input->fd_offset = offset;
    input->fd_end = end > offset ? end : offset;
    input->n_threads = 1;
}

int
fp_input_from_file(fp_input *input, fp_state *state, PyObject *file)
{
    static const size_t n_methods = 4;
    PyObject **methods[] = {&input->peek, &input->readinto, &input->read,
                            &input->readline};
    PyObject *names[] = {state->str_peek, state->str_readinto, state->str_read,
                         state->str_readline};

    memset(input, 0, sizeof(*input));
    input->kind = FP_INPUT_FILE;
    input->limit = UINT64_MAX;
    input->frame_end = NO_FRAME;
    input->state = state;
    for (size_t i = 0; i < n_methods; i++) {
        *methods[i] = fp_optional_attribute(file, names[i]);
        if (*methods[i] == NULL && PyErr_Occurred()) {
            goto failed;
        }
    }
    if (input->read == NULL || input->readline == NULL) {
        PyErr_SetString(PyExc_TypeError,
                        "file must have 'read' and 'readline' attributes");
        goto failed;
    }
    return 0;
failed:
    fp_input_free(input);
    return -1;
}

int
fp_input_traverse(fp_input *input, visitproc visit, void *arg)
{
    Py_VISIT(input->read);
    Py_VISIT(input->readinto);
    Py_VISIT(input->readline);
    Py_VISIT(input->peek);
    return 0;
}

void
fp_input_free(fp_input *input)
{
    input->start = input->cursor = input->end = input->filled = NULL;
    input->n_peeked = 0;
    PyMem_Free(input->window);
    input->window = NULL;
    input->window_bytes = 0;
    PyMem_Free(input->line);
    input->line = NULL;
    input->line_capacity = 0;
    Py_CLEAR(input->held);
    Py_CLEAR(input->read);
    Py_CLEAR(input->readinto);
    Py_CLEAR(input->readline);
    Py_CLEAR(input->peek);
}

uint64_t
fp_input_at_most(const fp_input *input)
{
    switch (input->kind) {
    case FP_INPUT_MEMORY:
        return held(input);
    case FP_INPUT_DESCRIPTOR:
        return held(input) + (input->fd_end - input->fd_offset);
    default:
        return UINT64_MAX;
    }
}

uint64_t
fp_input_offset(const fp_input *input)
{
    return input->position + (uint64_t)(input->cursor - input->start);
}

/* --- the window ---------------------------------------------------------- */

/* The window becomes empty; what it still held is forgotten. */
static void
drop_window(fp_input *input)
{
    input->position += (uint64_t)(input->cursor - input->start);
    input->start = input->cursor = input->end = input->filled = NULL;
    input->n_peeked = 0;
    Py_CLEAR(input->held);
}

static int
grow_window(fp_input *input, size_t n_bytes)
{
    unsigned char *window;

    if (n_bytes <= input->window_bytes) {
        return 0;
    }
    if (n_bytes > (size_t)PY_SSIZE_T_MAX) {
        return truncated(input);
    }
    window = PyMem_Realloc(input->window, n_bytes);
    if (window == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    input->window = window;
    input->window_bytes = n_bytes;
    return 0;
}

/* What is left of the window moves to the front of `window`, and there is room
 * for n_bytes in all. */
static int
compact_window(fp_input *input, size_t n_bytes)
{
    size_t n_left = held(input);
    size_t at = (size_t)(input->cursor - input->start);
    int is_own = input->held == NULL && input->start != NULL;

    if (is_own && at > 0) {
        memmove(input->window, input->cursor, n_left);
        input->position += at;
        input->start = input->cursor = input->window;
        input->filled = input->window + n_left;
    }
    if (grow_window(input, n_bytes > n_left ? n_bytes : n_left) < 0) {
        return -1;
    }
    if (!is_own) {
        if (n_left > 0) {
            memcpy(input->window, input->cursor, n_left);
        }
        input->position += at;
        Py_CLEAR(input->held);
    }
    input->start = input->cursor = input->window;
    input->filled = input->window + n_left;
    show_window(input);
    return 0;
}

/* --- descriptor ---------------------------------------------------------- */

/* Reads up to n_bytes; *n_read is 0 at the end. */
static int
pread_some(fp_input *input, unsigned char *target, size_t n_bytes,
           size_t *n_read)
{
    uint64_t left = input->fd_end - input->fd_offset;

    if (n_bytes > left) {
        n_bytes = (size_t)left;
    }
    if (n_bytes > PREAD_BYTES) {
        n_bytes = PREAD_BYTES;
    }
    *n_read = 0;
    while (n_bytes > 0) {
        ssize_t got;
        int saved_errno;
        Py_BEGIN_ALLOW_THREADS
        got = pread(input->fd, target, n_bytes, (off_t)input->fd_offset);
        saved_errno = errno;
        Py_END_ALLOW_THREADS
        if (got >= 0) {
            *n_read = (size_t)got;
            input->fd_offset += (uint64_t)got;
            return 0;
        }
        if (saved_errno != EINTR) {
            errno = saved_errno;
            PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        }
        if (PyErr_CheckSignals() < 0) {
            return -1;
        }
    }
    return 0;
}

/* Reads n_bytes, which are there, with several threads. */
static int
read_in_parallel(fp_input *input, unsigned char *target, size_t n_bytes)
{
    fp_piece piece = {target, n_bytes};
    fp_signals signals;
    fp_status status;
    fp_block_read read = {
        .fd = input->fd,
        .offset = input->fd_offset,
        .n_bytes = n_bytes,
        .pieces = &piece,
        .n_pieces = 1,
        .n_threads = input->n_threads,
        .interrupt = &signals.interrupt,
    };

    fp_signals_init(&signals);
    signals.progress = input->progress;
    signals.part = input->part;
    signals.before = input->position;
    Py_BEGIN_ALLOW_THREADS
    fp_pages_prefer_huge(target, n_bytes);
    status = fp_block_read_run(&read);
    Py_END_ALLOW_THREADS
    if (status == FP_TRUNCATED) {
        input->is_truncated = 1;
        PyErr_SetString(input->state->truncated_error,
                        "the file became shorter while it was read");
        return -1;
    }
    if (status != FP_OK) {
        return fp_raise_status(status, read.saved_errno, NULL, "reading");
    }
    input->fd_offset += n_bytes;
    input->position += n_bytes;
    return 0;
}

static int
descriptor_need(fp_input *input, size_t n_bytes)
{
    while (available(input) < n_bytes) {
        size_t have = available(input);
        size_t step = have > STEP_BYTES ? have : STEP_BYTES;
        size_t wanted = n_bytes - have > step ? have + step : n_bytes;
        size_t n_read;
        if (wanted < WINDOW_BYTES) {
            wanted = WINDOW_BYTES;
        }
        if (compact_window(input, wanted) < 0
            || pread_some(input, input->window + have,
                          input->window_bytes - have, &n_read)
                   < 0)
        {
            return -1;
        }
        if (n_read == 0) {
            return ENDED;
        }
        input->filled += n_read;
        show_window(input);
    }
    return GOT;
}

/* --- file object --------------------------------------------------------- */

/* read(n_bytes): a new reference. */
static PyObject *
call_read(fp_input *input, size_t n_bytes)
{
    PyObject *size = PyLong_FromSize_t(n_bytes);
    PyObject *read, *data;

    if (size == NULL) {
        return NULL;
    }
    read = Py_NewRef(input->read);
    data = PyObject_CallOneArg(read, size);
    Py_DECREF(read);
    Py_DECREF(size);
    return data;
}

int
fp_input_settle(fp_input *input)
{
    size_t consumed;

    if (input->n_peeked == 0) {
        return 0;
    }
    consumed = (size_t)(input->cursor - input->start);
    drop_window(input);
    while (consumed > 0) {
        PyObject *data = call_read(input, consumed);
        Py_ssize_t n_read = data == NULL ? -1 : PyObject_Size(data);
        Py_XDECREF(data);
        if (n_read < 0) {
            return -1;
        }
        if (n_read == 0 || (size_t)n_read > consumed) {
            break; /* not what peek() promised: nothing sensible to do */
        }
        consumed -= (size_t)n_read;
    }
    return 0;
}

/* Takes a new reference's bytes behind what the window holds; steals `data`.
 * *n_bytes is how many. */
static int
take_data(fp_input *input, PyObject *data, size_t *n_bytes)
{
    Py_buffer view;
    size_t have = held(input);
    int status = -1;

    if (have == 0 && PyBytes_CheckExact(data)) {
        drop_window(input);
        *n_bytes = (size_t)PyBytes_GET_SIZE(data);
        input->held = data;
        input->start = (const unsigned char *)PyBytes_AS_STRING(data);
        input->cursor = input->start;
        input->filled = input->start + *n_bytes;
        clip_window(input);
        return 0;
    }
    if (PyObject_GetBuffer(data, &view, PyBUF_CONTIG_RO) == 0) {
        *n_bytes = (size_t)view.len;
        if (compact_window(input, have + *n_bytes) == 0) {
            if (view.len > 0) {
                memcpy(input->window + have, view.buf, *n_bytes);
            }
            input->filled += *n_bytes;
            clip_window(input);
            status = 0;
        }
        PyBuffer_Release(&view);
    }
    Py_DECREF(data);
    return status;
}

static int
peek_window(fp_input *input)
{
    PyObject *size = PyLong_FromSize_t(PEEK_BYTES);
    PyObject *peek, *data;
    size_t n_bytes;

    if (size == NULL) {
        return -1;
    }
    peek = Py_NewRef(input->peek);
    data = PyObject_CallOneArg(peek, size);
    Py_DECREF(peek);
    Py_DECREF(size);
    if (data == NULL) {
        if (!PyErr_ExceptionMatches(PyExc_NotImplementedError)) {
            return -1;
        }
        PyErr_Clear();
        Py_CLEAR(input->peek);
        return 0;
    }
    if (take_data(input, data, &n_bytes) < 0) {
        return -1;
    }
    input->n_peeked = n_bytes;
    return 0;
}

static int
file_need(fp_input *input, size_t n_bytes)
{
    if (fp_input_settle(input) < 0) {
        return -1;
    }
    if (available(input) == 0 && input->peek != NULL && n_bytes < PEEK_BYTES) {
        if (peek_window(input) < 0) {
            return -1;
        }
        if (available(input) >= n_bytes) {
            return GOT;
        }
        drop_window(input);
    }
    while (available(input) < n_bytes) {
        size_t have = available(input);
        size_t wanted = n_bytes - have;
        size_t step = have > STEP_BYTES ? have : STEP_BYTES;
        size_t n_read;
        PyObject *data = call_read(input, wanted > step ? step : wanted);
        if (data == NULL || take_data(input, data, &n_read) < 0) {
            return -1;
        }
        if (n_read == 0) {
            return ENDED;
        }
    }
    return GOT;
}

/* --- requests ------------------------------------------------------------ */

static int
tell_progress(const fp_input *input)
{
    return fp_progress_at(input->progress, input->part,
                          fp_input_offset(input));
}

static int
need(fp_input *input, size_t n_bytes)
{
    if (available(input) >= n_bytes) {
        return GOT;
    }
    if (fp_input_check_length(input, n_bytes) < 0) {
        return -1;
    }
    if (available(input) >= n_bytes) { /* behind the frame */
        return GOT;
    }
    if (n_bytes > fp_input_at_most(input)) {
        return ENDED;
    }
    if (tell_progress(input) < 0) {
        return -1;
    }
    if (input->kind == FP_INPUT_DESCRIPTOR) {
        return descriptor_need(input, n_bytes);
    }
    return file_need(input, n_bytes);
}

int
fp_input_need(fp_input *input, size_t n_bytes)
{
    int status = need(input, n_bytes);
    return status == ENDED ? truncated(input) : status;
}

int
fp_input_need_opcode(fp_input *input)
{
    int status = need(input, 1);

    if (status == ENDED) {
        PyErr_SetString(PyExc_EOFError, "Ran out of input");
        return -1;
    }
    return status;
}

/* One readinto() or read(). */
static int
file_read_some(fp_input *input, unsigned char *target, size_t n_bytes,
               size_t *n_read)
{
    PyObject *result = NULL;
    Py_ssize_t size = -1;

    *n_read = 0;
    if (input->readinto == NULL) {
        PyObject *data = call_read(input, n_bytes);
        if (data == NULL) {
            return -1;
        }
        if (PyBytes_Check(data)) {
            size_t length = (size_t)PyBytes_GET_SIZE(data);
            *n_read = length > n_bytes ? n_bytes : length;
            memcpy(target, PyBytes_AS_STRING(data), *n_read);
            size = 0;
        }
        else {
            PyErr_Format(PyExc_ValueError,
                         "read() returned non-bytes object (%R)",
                         Py_TYPE(data));
        }
        Py_DECREF(data);
        return size < 0 ? -1 : 0;
    }
    PyObject *readinto = Py_NewRef(input->readinto);
    PyObject *view = PyMemoryView_FromMemory((char *)target,
                                             (Py_ssize_t)n_bytes, PyBUF_WRITE);
    if (view != NULL) {
        PyObject *released = NULL;
        result = PyObject_CallOneArg(readinto, view);
        if (result != NULL) {
            /* A file that kept it must not write to this memory later. */
            released =
                PyObject_CallMethodNoArgs(view, input->state->str_release);
            if (released == NULL) {
                Py_CLEAR(result);
            }
        }
        Py_XDECREF(released);
        Py_DECREF(view);
    }
    Py_DECREF(readinto);
    if (result == NULL) {
        return -1;
    }
    size = PyLong_AsSsize_t(result);
    Py_DECREF(result);
    if (size == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (size < 0 || (size_t)size > n_bytes) {
        PyErr_SetString(PyExc_ValueError,
                        size < 0 ? "readinto() returned negative size"
                                 : "readinto() returned more than asked for");
        return -1;
    }
    *n_read = (size_t)size;
    return 0;
}

int
fp_input_read_into(fp_input *input, void *target, size_t n_bytes)
{
    unsigned char *next = target;
    size_t have = available(input);

    if (fp_input_check_length(input, n_bytes) < 0) {
        return -1;
    }
    if (n_bytes > fp_input_at_most(input)) {
        return truncated(input);
    }
    if (have > n_bytes) {
        have = n_bytes;
    }
    if (have > 0) {
        memcpy(next, input->cursor, have);
        input->cursor += have;
        next += have;
        n_bytes -= have;
    }
    if (n_bytes == 0) {
        return 0;
    }
    if (fp_input_settle(input) < 0) {
        return -1;
    }
    drop_window(input);
    if (input->kind == FP_INPUT_DESCRIPTOR && input->n_threads > 1
        && n_bytes >= THREAD_BYTES)
    {
        return read_in_parallel(input, next, n_bytes);
    }
    while (n_bytes > 0) {
        size_t n_read;
        int status = input->kind == FP_INPUT_DESCRIPTOR
                         ? pread_some(input, next, n_bytes, &n_read)
                         : file_read_some(input, next, n_bytes, &n_read);
        if (status < 0) {
            return -1;
        }
        if (n_read == 0) {
            return truncated(input);
        }
        input->position += n_read;
        next += n_read;
        n_bytes -= n_read;
        if (tell_progress(input) < 0) {
            return -1;
        }
    }
    return 0;
}

/* A line may be as long as the file: what is allowed of it is asked for. */
static PyObject *
call_readline(fp_input *input)
{
    PyObject *readline = Py_NewRef(input->readline);
    PyObject *data;

    if (input->limit == UINT64_MAX) {
        data = PyObject_CallNoArgs(readline);
    }
    else {
        unsigned long long n_left =
            input->limit - fp_input_offset(input) - available(input);
        data = PyObject_CallFunction(
            readline, "n",
            n_left > PY_SSIZE_T_MAX ? PY_SSIZE_T_MAX : (Py_ssize_t)n_left);
    }
    Py_DECREF(readline);
    return data;
}

/* The window gets everything up to the next newline; *n_bytes is how much of
 * it from the cursor. */
static int
need_line(fp_input *input, size_t *n_bytes)
{
    size_t searched = 0;

    for (;;) {
        size_t have = available(input);
        const unsigned char *newline =
            have > searched
                ? memchr(input->cursor + searched, '\n', have - searched)
                : NULL;
        if (newline != NULL) {
            *n_bytes = (size_t)(newline - input->cursor) + 1;
            return GOT;
        }
        searched = have;
        if (fp_input_check_length(input, (uint64_t)have + 1) < 0) {
            return -1;
        }
        if (available(input) > have) { /* behind the frame */
            continue;
        }
        if (input->kind == FP_INPUT_FILE) {
            PyObject *data;
            size_t n_read;
            if (input->peek != NULL && have == 0 && input->n_peeked == 0) {
                if (peek_window(input) < 0) {
                    return -1;
                }
                if (available(input) > 0) {
                    continue;
                }
            }
            if (input->n_peeked > 0) {
                if (fp_input_settle(input) < 0) {
                    return -1;
                }
                searched = 0;
            }
            data = call_readline(input);
            if (data == NULL || take_data(input, data, &n_read) < 0) {
                return -1;
            }
            if (n_read == 0) {
                return ENDED;
            }
        }
        else {
            /* Twice what was searched: each byte is moved once or twice. */
            size_t wanted = have < WINDOW_BYTES ? have + 1 : 2 * have;
            uint64_t at_most = fp_input_at_most(input);
            int status;
            if (at_most <= have) {
                return ENDED;
            }
            status = need(input, wanted > at_most ? (size_t)at_most : wanted);
            if (status != GOT) {
                return status;
            }
        }
    }
}

int
fp_input_line(fp_input *input, const unsigned char **line, size_t *n_bytes)
{
    int status = need_line(input, n_bytes);

    if (status != GOT) {
        return status == ENDED ? truncated(input) : -1;
    }
    if (*n_bytes + 1 > input->line_capacity) {
        size_t capacity = *n_bytes + 64;
        unsigned char *grown = PyMem_Realloc(input->line, capacity);
        if (grown == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        input->line = grown;
        input->line_capacity = capacity;
    }
    memcpy(input->line, input->cursor, *n_bytes);
    input->line[*n_bytes] = '\0';
    input->cursor += *n_bytes;
    *line = input->line;
    return 0;
}

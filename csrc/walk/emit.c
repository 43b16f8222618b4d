#include "outlet.h"
#include "walk.h"

#define FRAME_HEADER_BYTES 9
#define FRAME_MIN_BYTES    4

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
    size_t n_bytes = (size_t)(walk->graph.cursor - frame) - FRAME_HEADER_BYTES;
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

static inline int
has_stream(const fp_walk *walk)
{
    return walk->outlet != NULL && walk->outlet->methods->flush != NULL;
}

int
fp_flush_to_file(fp_walk *walk)
{
    PyObject *data, *result;

    if (has_stream(walk)) {
        return walk->outlet->methods->flush(walk);
    }
    data = fp_output_take(walk);
    if (data == NULL) {
        return -1;
    }
    result = PyObject_CallOneArg(walk->write, data);
    Py_DECREF(data);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

int
fp_begin_unframed(fp_walk *walk)
{
    int framing = walk->framing;

    fp_commit_frame(walk);
    walk->framing = 0;
    return framing;
}

void
fp_end_unframed(fp_walk *walk, int framing)
{
    walk->framing = framing;
    if (framing && walk->frame_start < 0) {
        walk->graph.soft_end = walk->graph.cursor;
    }
}

int
fp_emit_large(fp_walk *walk, const unsigned char *header, size_t header_bytes,
              const char *data, size_t n_bytes, PyObject *payload)
{
    int framing = walk->framing;
    int bypass = n_bytes >= FP_FRAME_TARGET_BYTES && !walk->late_puts;
    int result = -1;
    PyObject *made = NULL;
    PyObject *written;

    if (bypass) {
        (void)fp_begin_unframed(walk);
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
    if (fp_emit(walk, header, header_bytes) < 0 || fp_flush_to_file(walk) < 0)
    {
        goto done;
    }
    if (payload == NULL) {
        made = fp_new_bytes(n_bytes);
        if (made == NULL) {
            goto done;
        }
        memcpy(PyBytes_AS_STRING(made), data, n_bytes);
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
    fp_end_unframed(walk, framing);
    return result;
}

/* Standard stream: a frame ends at the first object behind 64 KiB. */
int
fp_end_full_frame(fp_walk *walk)
{
    if (walk->frame_start >= 0
        && output_length(walk) - (size_t)walk->frame_start - FRAME_HEADER_BYTES
               >= FP_FRAME_TARGET_BYTES)
    {
        fp_commit_frame(walk);
        if (walk->write != NULL || (has_stream(walk) && !walk->silent)) {
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

/* An opcode of the memo: a line of text, or by the size of the number. */
static int
emit_numbered(fp_walk *walk, uint32_t number, char text_op,
              unsigned char short_op, unsigned char long_op)
{
    unsigned char *out = fp_room(walk, 16);
    if (out == NULL) {
        return -1;
    }
    if (walk->text) {
        out += snprintf((char *)out, 16, "%c%lu\n", text_op,
                        (unsigned long)number);
    }
    else if (number < 256) {
        *out++ = short_op;
        *out++ = (unsigned char)number;
    }
    else {
        *out++ = long_op;
        for (int shift = 0; shift < 32; shift += 8) {
            *out++ = (unsigned char)(number >> shift);
        }
    }
    walk->graph.cursor = out;
    return 0;
}

int
fp_emit_get(fp_walk *walk, uint32_t number)
{
    return emit_numbered(walk, number, OP_GET, OP_BINGET, OP_LONG_BINGET);
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

int
fp_put_in_stream(fp_walk *walk, PyObject *object, int lonely)
{
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
    return emit_numbered(walk, (uint32_t)number, OP_PUT, OP_BINPUT,
                         OP_LONG_BINPUT);
}

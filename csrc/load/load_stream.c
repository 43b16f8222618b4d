/* A dump of ours from a file object, front to back: payloads straight into
 * their final memory, the graph kept until the footer has confirmed it all. */
#include "base/compat.h"
#include "load_parts.h"

#include "base/opcodes.h"
#include "core/block_hash.h"
#include "core/buffer.h"

#include <stdlib.h>
#include <string.h>

/* Read and hashed at once, while it is in the cache. */
#define CHUNK_BYTES ((uint64_t)1 << 20)
/* A length is believed for so much more than what has arrived. */
#define TRUSTED_BYTES ((uint64_t)64 << 20)

#define BLOB_CLOSING_BYTES 2 /* a suffix's opcode and its POP, at least */

typedef struct {
    fp_load *load;   /* borrowed */
    fp_input *input; /* borrowed */
    uint64_t base;   /* input offset of the dump's first byte */
    fp_section section;
    fp_block_hash hash;
    fp_blob *found; /* the blobs as they came; owned */
    size_t found_capacity;
    size_t n_whole;        /* of them have come to their end */
    unsigned flags;        /* the header's */
    uint64_t graph_offset; /* 0: no frame yet */
    size_t n_sidecar_hashes;
    fp_buffer graph;
    fp_buffer footer;
} stream;

static uint64_t
offset_of(const stream *from)
{
    return fp_input_offset(from->input) - from->base;
}

static int
damaged(const stream *from, fp_status status, uint64_t offset,
        const char *expected)
{
    return fp_raise_damage(from->load->state, status, from->load->path,
                           from->section, from->load->start + offset,
                           expected);
}

/* The input failed. That it ended too early is the file's damage; whatever
 * else went wrong stays as it is. */
static int
failed_to_read(const stream *from)
{
    PyObject *error, *cause;

    /* A codec in between has said where it lies. */
    if (from->input->is_over_limit || fp_input_was_ended(from->input)
        || PyErr_ExceptionMatches(from->load->state->corrupt_error)
        || (!PyErr_ExceptionMatches(PyExc_EOFError)
            && !PyErr_ExceptionMatches(from->load->state->unpickling_error)))
    {
        return -1;
    }
    cause = fp_take_exception();
    damaged(from, FP_TRUNCATED, offset_of(from), "the rest of the dump");
    error = fp_take_exception();
    if (error != NULL && cause != NULL) {
        PyException_SetContext(error, Py_NewRef(cause));
    }
    Py_XDECREF(cause);
    fp_put_exception(error);
    return -1;
}

static int
need(stream *from, size_t n_bytes)
{
    return fp_input_need(from->input, n_bytes) < 0 ? failed_to_read(from) : 0;
}

static int
hash_bytes(stream *from, const void *data, size_t n_bytes)
{
    if (from->load->options->verify == FP_VERIFY_NONE) {
        return 0;
    }
    if (fp_block_hash_update(&from->hash, data, n_bytes) != FP_OK) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* n_bytes that are in the window: hashed and done with. */
static int
consume(stream *from, size_t n_bytes)
{
    if (hash_bytes(from, from->input->cursor, n_bytes) < 0) {
        return -1;
    }
    from->input->cursor += n_bytes;
    return 0;
}

/* n_bytes, at most CHUNK_BYTES, into memory of ours. */
static int
read_chunk(stream *from, unsigned char *target, uint64_t n_bytes,
           int is_hashed)
{
    if (fp_input_read_into(from->input, target, (size_t)n_bytes) < 0) {
        return failed_to_read(from);
    }
    if (is_hashed && hash_bytes(from, target, (size_t)n_bytes) < 0) {
        return -1;
    }
    return PyErr_CheckSignals();
}

/* Refuses what cannot be there before anything is allocated for it. */
static int
check_length(const stream *from, uint64_t n_bytes)
{
    if (fp_input_check_length(from->input, n_bytes) < 0) {
        return -1;
    }
    if (n_bytes > fp_input_at_most(from->input) || n_bytes > PY_SSIZE_T_MAX) {
        return damaged(from, FP_TRUNCATED, offset_of(from),
                       "as many bytes as the length in front says");
    }
    return 0;
}

static uint64_t
smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t
little_endian(const unsigned char *data, size_t n_bytes)
{
    uint64_t value = 0;

    for (size_t i = 0; i < n_bytes; i++) {
        value |= (uint64_t)data[i] << (8 * i);
    }
    return value;
}

/* --- blobs --------------------------------------------------------------- */

/* Hashed, and gone. */
static int
drop_payload(stream *from, uint64_t n_bytes)
{
    unsigned char *scratch = malloc((size_t)smaller(n_bytes, CHUNK_BYTES) + 1);
    int status = 0;

    if (scratch == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    while (status == 0 && n_bytes > 0) {
        uint64_t n_chunk = smaller(n_bytes, CHUNK_BYTES);
        status = read_chunk(from, scratch, n_chunk, 1);
        n_bytes -= n_chunk;
    }
    free(scratch);
    return status;
}

static int
read_payload(stream *from, size_t index, uint64_t n_bytes)
{
    fp_blobs *blobs = &from->load->blobs;
    uint64_t n_allocated = 0;
    uint64_t n_read = 0;

    if (check_length(from, n_bytes) < 0) {
        return -1;
    }
    if (from->load->only_checks) {
        return drop_payload(from, n_bytes);
    }
    do {
        if (n_read == n_allocated) {
            n_allocated = smaller(n_bytes, n_read + TRUSTED_BYTES);
            if (fp_blobs_grow(blobs, index, n_allocated, n_bytes) < 0) {
                return -1;
            }
        }
        uint64_t n_chunk = smaller(CHUNK_BYTES, n_allocated - n_read);
        if (n_chunk > 0
            && read_chunk(from, blobs->table[index].data + n_read, n_chunk, 1)
                   < 0)
        {
            return -1;
        }
        n_read += n_chunk;
    } while (n_read < n_bytes);
    return 0;
}

static int
add_blob(stream *from, const fp_blob *blob)
{
    fp_blobs *blobs = &from->load->blobs;
    size_t index = blobs->n_blobs;

    if (index == from->found_capacity) {
        size_t capacity = index < 8 ? 8 : index * 2;
        fp_blob *found =
            capacity > PY_SSIZE_T_MAX / sizeof(fp_blob)
                ? NULL
                : realloc(from->found, capacity * sizeof(fp_blob));
        if (found == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        from->found = found;
        from->found_capacity = capacity;
    }
    from->found[index] = *blob;
    return fp_blobs_add(blobs, blob->kind);
}

/* Padding, opcode and length. */
static int
read_prefix(stream *from, fp_blob *blob)
{
    unsigned char expected[FP_BLOB_PREFIX_MAX];
    uint64_t position = offset_of(from);
    const unsigned char *bytes;
    size_t n_bytes;

    /* The offset alone says how long a prefix is. */
    n_bytes = fp_blob_prefix_encode(expected, position, FP_BLOB_BYTEARRAY, 0);
    if (need(from, n_bytes) < 0) {
        return -1;
    }
    bytes = from->input->cursor;
    switch (bytes[n_bytes - 9]) {
    case OP_BYTEARRAY8:
        blob->kind = FP_BLOB_BYTEARRAY;
        break;
    case OP_BINBYTES8:
        blob->kind = FP_BLOB_BYTES;
        break;
    case OP_BINUNICODE8:
        blob->kind = FP_BLOB_STR;
        break;
    default:
        return damaged(from, FP_CORRUPT, position, "the opcode of a blob");
    }
    blob->length = little_endian(bytes + n_bytes - 8, 8);
    (void)fp_blob_prefix_encode(expected, position, blob->kind, blob->length);
    if (memcmp(bytes, expected, n_bytes) != 0) {
        return damaged(from, FP_CORRUPT, position,
                       "the padding in front of a blob");
    }
    if (consume(from, n_bytes) < 0) {
        return -1;
    }
    blob->offset = offset_of(from);
    return 0;
}

static int
read_suffix(stream *from, fp_blob *blob)
{
    uint64_t position = offset_of(from);
    const unsigned char *bytes;
    unsigned char expected[FP_BLOB_SUFFIX_MAX];
    size_t n_bytes = 1;

    if (need(from, 1 + BLOB_CLOSING_BYTES) < 0) {
        return -1;
    }
    if (from->input->cursor[0] == OP_LONG_BINPUT) {
        n_bytes = 4;
        if (need(from, 6) < 0) {
            return -1;
        }
    }
    bytes = from->input->cursor;
    blob->memo_number = (uint32_t)little_endian(bytes + 1, n_bytes);
    n_bytes = fp_blob_suffix_encode(expected, blob->memo_number);
    if (memcmp(bytes, expected, n_bytes) != 0) {
        return damaged(from, FP_CORRUPT, position,
                       "BINPUT and POP behind a blob");
    }
    return consume(from, n_bytes);
}

static int
read_blob(stream *from)
{
    size_t index = from->load->blobs.n_blobs;
    fp_blob blob = {0};

    if (read_prefix(from, &blob) < 0 || add_blob(from, &blob) < 0
        || read_payload(from, index, blob.length) < 0
        || read_suffix(from, &blob) < 0)
    {
        return -1;
    }
    from->found[index] = blob;
    from->n_whole = index + 1;
    return 0;
}

/* --- graph and footer ---------------------------------------------------- */

/* n_bytes behind what `buffer` holds. */
static int
read_buffer(stream *from, fp_buffer *buffer, uint64_t n_bytes, int is_hashed)
{
    if (check_length(from, n_bytes) < 0) {
        return -1;
    }
    while (n_bytes > 0) {
        uint64_t n_chunk = smaller(CHUNK_BYTES, n_bytes);
        if (fp_buffer_reserve(buffer, (size_t)n_chunk) != FP_OK) {
            PyErr_NoMemory();
            return -1;
        }
        if (read_chunk(from, buffer->data + buffer->length, n_chunk, is_hashed)
            < 0)
        {
            return -1;
        }
        buffer->length += (size_t)n_chunk;
        n_bytes -= n_chunk;
    }
    return 0;
}

static int
end_region(stream *from)
{
    if (fp_block_hash_end_region(&from->hash) != FP_OK) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static int
read_frame(stream *from)
{
    uint64_t length;

    if (from->graph_offset == 0) {
        from->graph_offset = offset_of(from);
        if (end_region(from) < 0) {
            return -1;
        }
        from->n_sidecar_hashes = from->hash.n_hashes;
        from->section = FP_SECTION_GRAPH;
    }
    if (need(from, 9) < 0) {
        return -1;
    }
    length = little_endian(from->input->cursor + 1, 8);
    if (read_buffer(from, &from->graph, 9, 1) < 0) {
        return -1;
    }
    return read_buffer(from, &from->graph, length, 1);
}

static int
read_footer(stream *from)
{
    size_t n_opcode = from->input->cursor[0] == OP_BINBYTES ? 5 : 9;
    uint64_t length;

    from->section = FP_SECTION_FOOTER;
    if (end_region(from) < 0 || need(from, n_opcode) < 0) {
        return -1;
    }
    length = little_endian(from->input->cursor + 1, n_opcode - 1);
    if (length > UINT64_MAX - 2) {
        return damaged(from, FP_CORRUPT, offset_of(from),
                       "the length of the footer");
    }
    if (read_buffer(from, &from->footer, n_opcode, 0) < 0) {
        return -1;
    }
    return read_buffer(from, &from->footer, length + 2, 0);
}

/* --- what the footer says against what came ------------------------------ */

static int
compare_hashes(stream *from, const fp_footer *footer)
{
    size_t first =
        footer->state == FP_STATE_VALID ? 0 : from->n_sidecar_hashes;

    if (from->load->options->verify == FP_VERIFY_NONE) {
        return 0;
    }
    for (size_t i = first; i < footer->n_hashes; i++) {
        if (from->hash.hashes[i] == footer->hashes[i]) {
            continue;
        }
        int is_graph = i >= from->n_sidecar_hashes;
        from->section = is_graph ? FP_SECTION_GRAPH : FP_SECTION_ARRAYS;
        uint64_t block = is_graph ? i - from->n_sidecar_hashes : i;
        uint64_t offset =
            (is_graph ? footer->graph_offset : footer->arrays_offset)
            + (block << FP_HASH_BLOCK_SHIFT);
        uint64_t end = is_graph ? footer->graph_offset + footer->graph_length
                                : footer->graph_offset;
        if (end - offset > FP_HASH_BLOCK_BYTES) {
            end = offset + FP_HASH_BLOCK_BYTES;
        }
        return fp_raise_bad_block(from->load->state, from->load->path,
                                  from->section, from->load->start + offset,
                                  from->load->start + end);
    }
    return 0;
}

static int
confirm(stream *from)
{
    fp_load *load = from->load;
    fp_footer *footer = &load->footer;
    uint64_t footer_offset = from->base;
    fp_layout_error error;
    fp_status status;

    footer_offset = offset_of(from) - from->footer.length;
    status = fp_footer_decode(from->footer.data, from->footer.length, footer,
                              &error);
    if (status == FP_NO_MEMORY) {
        PyErr_NoMemory();
        return -1;
    }
    if (status != FP_OK) {
        return damaged(from, status, footer_offset + error.offset,
                       error.expected);
    }
    load->has_footer = 1;
    /* The decoder has checked that the extents fit together. */
    if (footer->total_length != offset_of(from) || footer->flags != from->flags
        || footer->graph_offset != from->graph_offset
        || footer->n_blobs != load->blobs.n_blobs
        || (load->options->verify != FP_VERIFY_NONE
            && footer->n_hashes != from->hash.n_hashes))
    {
        return damaged(from, FP_CORRUPT, footer_offset,
                       "the extents of what stands in front");
    }
    for (size_t i = 0; i < footer->n_blobs; i++) {
        const fp_blob *said = &footer->blobs[i];
        const fp_blob *found = &from->found[i];
        if (said->kind != found->kind || said->offset != found->offset
            || said->length != found->length
            || said->memo_number != found->memo_number)
        {
            return damaged(from, FP_CORRUPT, footer_offset,
                           "the blobs that stand in front");
        }
        load->blobs.table[i].memo_number = said->memo_number;
        load->blobs.table[i].checked = 1;
    }
    if (compare_hashes(from, footer) < 0 || fp_load_check_numbers(load) < 0) {
        return -1;
    }
    /* verify() has more to say about it. */
    return footer->state == FP_STATE_VOID && !load->only_checks
               ? fp_load_warn_void(load)
               : 0;
}

static int
read_header(stream *from)
{
    fp_layout_error error;
    fp_status status;

    if (need(from, FP_HEADER_BYTES) < 0) {
        return -1;
    }
    status = fp_load_decode_header(from->input->cursor, &error);
    from->flags = fp_header_flags(from->input->cursor);
    if (status != FP_OK) {
        /* Whether it is damaged or newer, only its footer could tell. */
        return damaged(from, FP_CORRUPT, error.offset,
                       status == FP_TOO_NEW
                           ? "format version 1 (or this is a later one)"
                           : error.expected);
    }
    from->input->cursor += FP_HEADER_BYTES;
    return 0;
}

static int
read_parts(stream *from)
{
    from->section = FP_SECTION_ARRAYS;
    for (;;) {
        if (need(from, 1) < 0) {
            return -1;
        }
        switch (from->input->cursor[0]) {
        case OP_SHORT_BINBYTES:
            if (from->graph_offset != 0) {
                return damaged(from, FP_CORRUPT, offset_of(from),
                               "no blob behind the graph");
            }
            if (read_blob(from) < 0) {
                return -1;
            }
            break;
        case OP_FRAME:
            if (read_frame(from) < 0) {
                return -1;
            }
            break;
        case OP_BINBYTES:
        case OP_BINBYTES8:
            return read_footer(from);
        default:
            return damaged(from, FP_CORRUPT, offset_of(from),
                           "a blob, a frame or the footer");
        }
    }
}

int
fp_load_read_stream(fp_load *load, fp_input *input)
{
    stream from = {
        .load = load,
        .input = input,
        .base = fp_input_offset(input),
        .section = FP_SECTION_HEADER,
    };
    int result = -1;

    load->blobs.native_order = load->options->native_order;
    if (read_header(&from) == 0 && read_parts(&from) == 0
        && confirm(&from) == 0)
    {
        load->own_graph = from.graph.data;
        load->graph = load->own_graph;
        from.graph = (fp_buffer){0};
        result = 0;
    }
    else if (load->only_checks) { /* a survey may have a look at them */
        load->own_graph = from.graph.data;
        load->n_graph_bytes = from.graph.length;
        load->found = from.found;
        load->n_found = from.n_whole;
        from.graph = (fp_buffer){0};
        from.found = NULL;
    }
    fp_block_hash_free(&from.hash);
    fp_buffer_free(&from.graph);
    fp_buffer_free(&from.footer);
    free(from.found);
    return result;
}

/* A sidecar file from a file object, front to back. */
#include "load_buffers_parts.h"

#include "core/block_hash.h"
#include "core/buffer.h"

#include <string.h>

#define CHUNK_BYTES ((uint64_t)1 << 20)
/* A length is believed for so much more than what has arrived. */
#define TRUSTED_BYTES ((uint64_t)64 << 20)

typedef struct {
    fp_buffers *buffers; /* borrowed */
    fp_input input;
    fp_block_hash hash;
    fp_buffer index;
} stream;

/* The input failed: that it ended too early is damage. */
static int
failed_to_read(const stream *from)
{
    const fp_buffers *buffers = from->buffers;

    if (from->input.is_over_limit || fp_input_was_ended(&from->input)
        || PyErr_ExceptionMatches(buffers->state->corrupt_error)
        || (!PyErr_ExceptionMatches(PyExc_EOFError)
            && !PyErr_ExceptionMatches(buffers->state->unpickling_error)))
    {
        return -1;
    }
    PyErr_Clear();
    return fp_buffers_damaged(buffers, FP_TRUNCATED,
                              fp_input_offset(&from->input),
                              "the rest of the sidecar");
}

static int
need(stream *from, size_t n_bytes)
{
    return fp_input_need(&from->input, n_bytes) < 0 ? failed_to_read(from) : 0;
}

static int
hash_bytes(stream *from, const void *data, size_t n_bytes)
{
    if (fp_block_hash_update(&from->hash, data, n_bytes) != FP_OK) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static int
consume(stream *from, size_t n_bytes)
{
    if (hash_bytes(from, from->input.cursor, n_bytes) < 0) {
        return -1;
    }
    from->input.cursor += n_bytes;
    return 0;
}

static uint64_t
smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Hashed, and gone. */
static int
drop_payload(stream *from, size_t i, uint64_t n_bytes)
{
    unsigned char *scratch = malloc((size_t)smaller(n_bytes, CHUNK_BYTES) + 1);
    uint64_t n_left = n_bytes;
    int status = 0;

    if (scratch == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    while (status == 0 && n_left > 0) {
        uint64_t n_chunk = smaller(n_left, CHUNK_BYTES);
        status = fp_input_read_into(&from->input, scratch, (size_t)n_chunk) < 0
                     ? failed_to_read(from)
                     : hash_bytes(from, scratch, (size_t)n_chunk);
        if (status == 0) {
            status = PyErr_CheckSignals();
        }
        n_left -= n_chunk;
    }
    free(scratch);
    from->buffers->blobs.table[i].n_bytes = n_bytes;
    return status;
}

static int
read_payload(stream *from, size_t i, uint64_t n_bytes)
{
    fp_blobs *blobs = &from->buffers->blobs;
    uint64_t n_allocated = 0, n_read = 0;

    if (n_bytes > PY_SSIZE_T_MAX) {
        return fp_buffers_damaged(from->buffers, FP_CORRUPT,
                                  fp_input_offset(&from->input),
                                  "a buffer that fits into memory");
    }
    if (fp_input_check_length(&from->input, n_bytes) < 0) {
        return -1;
    }
    if (from->buffers->only_checks) {
        return drop_payload(from, i, n_bytes);
    }
    do {
        if (n_read == n_allocated) {
            n_allocated = smaller(n_bytes, n_read + TRUSTED_BYTES);
            if (fp_blobs_grow(blobs, i, n_allocated, n_bytes) < 0) {
                return -1;
            }
        }
        uint64_t n_chunk = smaller(CHUNK_BYTES, n_allocated - n_read);
        unsigned char *target = blobs->table[i].data;
        if (n_chunk > 0) {
            target += n_read;
            if (fp_input_read_into(&from->input, target, (size_t)n_chunk) < 0)
            {
                return failed_to_read(from);
            }
            if (hash_bytes(from, target, (size_t)n_chunk) < 0
                || PyErr_CheckSignals() < 0)
            {
                return -1;
            }
        }
        n_read += n_chunk;
    } while (n_read < n_bytes);
    return 0;
}

static int
read_stream_index(stream *from, uint64_t n_bytes)
{
    fp_buffers *buffers = from->buffers;
    uint64_t start = fp_input_offset(&from->input);
    fp_layout_error error = {0, NULL};
    fp_status status;

    if (fp_input_check_length(&from->input, n_bytes) < 0) {
        return -1;
    }
    while (from->index.length < n_bytes) {
        uint64_t n_chunk = smaller(CHUNK_BYTES, n_bytes - from->index.length);
        if (fp_buffer_reserve(&from->index, (size_t)n_chunk) != FP_OK) {
            PyErr_NoMemory();
            return -1;
        }
        if (fp_input_read_into(&from->input,
                               from->index.data + from->index.length,
                               (size_t)n_chunk)
            < 0)
        {
            return failed_to_read(from);
        }
        from->index.length += (size_t)n_chunk;
    }
    status = fp_sidecar_index_decode(from->index.data, from->index.length,
                                     &buffers->index, &error);
    if (status != FP_OK) {
        return fp_buffers_failed(buffers, status, 0, start + error.offset,
                                 error.expected);
    }
    return 0;
}

/* What the index says against what came. */
static int
compare_index(stream *from, uint64_t region_length)
{
    fp_buffers *buffers = from->buffers;
    const fp_sidecar_index *index = &buffers->index;

    if (index->region_length != region_length
        || index->n_buffers != buffers->blobs.n_blobs)
    {
        return fp_buffers_damaged(buffers, FP_CORRUPT, region_length,
                                  "an index of what stands in front");
    }
    /* Offsets follow from the lengths. */
    for (size_t i = 0; i < index->n_buffers; i++) {
        const fp_loaded_blob *blob = &buffers->blobs.table[i];
        if (index->buffers[i].length != blob->n_bytes
            || index->buffers[i].is_read_only != (blob->kind == FP_BLOB_BYTES))
        {
            return fp_buffers_damaged(buffers, FP_CORRUPT,
                                      index->buffers[i].offset,
                                      "a buffer as the index has it");
        }
    }
    if (fp_block_hash_end_region(&from->hash) != FP_OK) {
        PyErr_NoMemory();
        return -1;
    }
    if (fp_buffers_hashes(buffers) == NULL) {
        return 0;
    }
    for (size_t i = 0; i < index->n_hashes; i++) {
        if (from->hash.hashes[i] != index->hashes[i]) {
            uint64_t offset = (uint64_t)i << FP_HASH_BLOCK_SHIFT;
            uint64_t n_bytes = region_length - offset < FP_HASH_BLOCK_BYTES
                                   ? region_length - offset
                                   : FP_HASH_BLOCK_BYTES;
            return fp_buffers_bad_block(buffers, offset, offset + n_bytes);
        }
    }
    return 0;
}

static int
read_records(stream *from)
{
    fp_buffers *buffers = from->buffers;
    fp_layout_error error = {0, NULL};
    fp_record_kind kind;
    fp_status status;
    uint64_t length;

    if (fp_input_need_opcode(&from->input) < 0) {
        return -1; /* nothing at all: EOFError */
    }
    if (need(from, FP_SIDECAR_FILE_HEADER_BYTES) < 0) {
        return -1;
    }
    status = fp_sidecar_file_header_decode(from->input.cursor, &error);
    if (status != FP_OK) {
        return fp_buffers_damaged(buffers, FP_CORRUPT, error.offset,
                                  error.expected);
    }
    if (consume(from, FP_SIDECAR_FILE_HEADER_BYTES) < 0) {
        return -1;
    }
    for (;;) {
        uint64_t position = fp_input_offset(&from->input);
        size_t n_prefix = fp_record_prefix_bytes(position);
        size_t i = buffers->blobs.n_blobs;
        if (need(from, n_prefix) < 0) {
            return -1;
        }
        status = fp_record_prefix_decode(from->input.cursor, position, &kind,
                                         &length, &error);
        if (status != FP_OK) {
            return fp_buffers_damaged(buffers, status, position + error.offset,
                                      error.expected);
        }
        if (consume(from, n_prefix) < 0) {
            return -1;
        }
        if (kind == FP_RECORD_INDEX) {
            break;
        }
        if (fp_buffers_add(buffers, kind == FP_RECORD_READ_ONLY) < 0
            || read_payload(from, i, length) < 0)
        {
            return -1;
        }
        buffers->blobs.table[i].checked = 1;
    }
    uint64_t region_length = fp_input_offset(&from->input);
    if (read_stream_index(from, length) < 0) {
        return -1;
    }
    return compare_index(from, region_length);
}

int
fp_buffers_read_stream(fp_buffers *buffers)
{
    stream from = {.buffers = buffers};
    int result = -1;

    if (fp_input_from_file(&from.input, buffers->state, buffers->place->file)
        < 0)
    {
        return -1;
    }
    fp_input_limit(&from.input, buffers->max_bytes);
    fp_input_tell(&from.input, buffers->progress, FP_PROGRESS_SECOND);
    if (read_records(&from) == 0) {
        result = fp_input_settle(&from.input);
        if (buffers->progress != NULL) {
            buffers->progress->done[FP_PROGRESS_SECOND] =
                fp_input_offset(&from.input);
        }
    }
    fp_input_free(&from.input);
    fp_block_hash_free(&from.hash);
    fp_buffer_free(&from.index);
    return result;
}

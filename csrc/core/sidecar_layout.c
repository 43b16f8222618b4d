#include "sidecar_layout.h"

#include <stdlib.h>
#include <string.h>

#include "block_hash.h"
#include "layout_bytes.h"

/* Arrays, not strings: their 16 and 8 bytes count, a terminator does not. */
static const unsigned char header_magic[16] = "fastpersist sdc";
static const unsigned char tail_magic[16] = "fastpersist sde";
static const unsigned char kinds[3][8] = {
    {'w', 'r', 'i', 't', 'a', 'b', 'l', 'e'},
    {'r', 'e', 'a', 'd', 'o', 'n', 'l', 'y'},
    {'i', 'n', 'd', 'e', 'x', 0, 0, 0},
};

#define HEADER_VERSION 16
#define HEADER_FLAGS   20

#define RECORD_BYTES 16 /* kind and length */

#define ENTRY_BYTES    16 /* offset, length and flag */
#define READ_ONLY_FLAG (UINT64_C(1) << 63)

#define TAIL_REGION_LENGTH 0
#define TAIL_N_BUFFERS     8
#define TAIL_N_HASHES      16
#define TAIL_TOTAL_LENGTH  24
#define TAIL_HASHED_BYTES  32 /* the fields in front belong to the root */
#define TAIL_STATE         FP_SIDECAR_FILE_STATE_OFFSET
#define TAIL_ROOT          40
#define TAIL_MAGIC         48

static uint64_t
hash_count(uint64_t n_bytes)
{
    return (n_bytes >> FP_HASH_BLOCK_SHIFT)
           + ((n_bytes & (FP_HASH_BLOCK_BYTES - 1)) != 0);
}

/* --- header --- */

void
fp_sidecar_file_header_encode(unsigned char out[FP_SIDECAR_FILE_HEADER_BYTES])
{
    memcpy(out, header_magic, sizeof(header_magic));
    put_little_endian(out + HEADER_VERSION, FP_SIDECAR_FILE_VERSION, 4);
    put_little_endian(out + HEADER_FLAGS, 0, 4);
}

fp_status
fp_sidecar_file_header_decode(
    const unsigned char data[FP_SIDECAR_FILE_HEADER_BYTES],
    fp_layout_error *error)
{
    if (memcmp(data, header_magic, sizeof(header_magic)) != 0) {
        return fail(error, FP_NOT_OURS, 0, "the magic of a sidecar file");
    }
    uint64_t version = get_little_endian(data + HEADER_VERSION, 4);
    if (version != FP_SIDECAR_FILE_VERSION) {
        return fail(
            error, version > FP_SIDECAR_FILE_VERSION ? FP_TOO_NEW : FP_CORRUPT,
            HEADER_VERSION,
            "version 1 of the sidecar file (or this is a later one)");
    }
    if (get_little_endian(data + HEADER_FLAGS, 4) != 0) {
        return fail(error, FP_CORRUPT, HEADER_FLAGS, "header flags of zero");
    }
    return FP_OK;
}

/* --- records --- */

size_t
fp_record_prefix_bytes(uint64_t position)
{
    return distance_to_aligned(position + RECORD_BYTES) + RECORD_BYTES;
}

size_t
fp_record_prefix_encode(unsigned char out[FP_RECORD_PREFIX_MAX],
                        uint64_t position, fp_record_kind kind,
                        uint64_t length)
{
    size_t n_padding = distance_to_aligned(position + RECORD_BYTES);
    memset(out, 0, n_padding);
    memcpy(out + n_padding, kinds[kind], sizeof(kinds[kind]));
    put_little_endian(out + n_padding + 8, length, 8);
    return n_padding + RECORD_BYTES;
}

fp_status
fp_record_prefix_decode(const unsigned char *data, uint64_t position,
                        fp_record_kind *kind, uint64_t *length,
                        fp_layout_error *error)
{
    size_t n_padding = distance_to_aligned(position + RECORD_BYTES);
    for (size_t i = 0; i < n_padding; i++) {
        if (data[i] != 0) {
            return fail(error, FP_CORRUPT, i, "zeros in front of a record");
        }
    }
    for (int i = 0; i < 3; i++) {
        if (memcmp(data + n_padding, kinds[i], sizeof(kinds[i])) == 0) {
            *kind = (fp_record_kind)i;
            *length = get_little_endian(data + n_padding + 8, 8);
            return FP_OK;
        }
    }
    return fail(error, FP_CORRUPT, n_padding, "a known kind of record");
}

/* --- index --- */

static size_t
index_padding(uint64_t n_buffers, uint64_t n_hashes)
{
    return distance_to_aligned(n_buffers * ENTRY_BYTES + n_hashes * 8);
}

uint64_t
fp_sidecar_index_bytes(uint64_t n_buffers, uint64_t region_length)
{
    uint64_t n_hashes = hash_count(region_length);
    return n_buffers * ENTRY_BYTES + n_hashes * 8
           + index_padding(n_buffers, n_hashes) + FP_SIDECAR_FILE_TAIL_BYTES;
}

fp_status
fp_sidecar_index_encode(fp_sidecar_index *index, fp_buffer *out)
{
    uint64_t n_bytes =
        fp_sidecar_index_bytes(index->n_buffers, index->region_length);
    index->total_length = index->region_length + n_bytes;
    if (n_bytes > SIZE_MAX || n_bytes / ENTRY_BYTES < index->n_buffers) {
        return FP_NO_MEMORY;
    }
    /* All of it at once: the appends below then cannot fail. */
    fp_status status = fp_buffer_reserve(out, (size_t)n_bytes);
    if (status != FP_OK) {
        return status;
    }
    size_t start = out->length;
    for (size_t i = 0; i < index->n_buffers; i++) {
        const fp_sidecar_buffer *buffer = &index->buffers[i];
        (void)fp_buffer_append_u64(out, buffer->offset);
        (void)fp_buffer_append_u64(
            out, buffer->length | (buffer->is_read_only ? READ_ONLY_FLAG : 0));
    }
    for (size_t i = 0; i < index->n_hashes; i++) {
        (void)fp_buffer_append_u64(out, index->hashes[i]);
    }
    (void)fp_buffer_append_zeros(
        out, index_padding(index->n_buffers, index->n_hashes));
    (void)fp_buffer_append_u64(out, index->region_length);
    (void)fp_buffer_append_u64(out, index->n_buffers);
    (void)fp_buffer_append_u64(out, index->n_hashes);
    (void)fp_buffer_append_u64(out, index->total_length);
    index->root = fp_xxh3(out->data + start, out->length - start);
    (void)fp_buffer_append_u64(out, index->state);
    (void)fp_buffer_append_u64(out, index->root);
    return fp_buffer_append(out, tail_magic, sizeof(tail_magic));
}

fp_status
fp_sidecar_tail_decode(const unsigned char tail[FP_SIDECAR_FILE_TAIL_BYTES],
                       uint64_t available, uint64_t *n_bytes,
                       fp_layout_error *error)
{
    *n_bytes = 0;
    if (memcmp(tail + TAIL_MAGIC, tail_magic, sizeof(tail_magic)) != 0) {
        return fail(error, FP_NOT_OURS, TAIL_MAGIC,
                    "the magic at the end of a sidecar file");
    }
    uint64_t region = get_little_endian(tail + TAIL_REGION_LENGTH, 8);
    uint64_t total = get_little_endian(tail + TAIL_TOTAL_LENGTH, 8);
    if (total > available || total % FP_ALIGN != 0) {
        return fail(error, FP_CORRUPT, TAIL_TOTAL_LENGTH,
                    "a sidecar no longer than its file");
    }
    if (region > total || region % FP_ALIGN != 0 || region < FP_ALIGN
        || total - region < FP_SIDECAR_FILE_TAIL_BYTES)
    {
        return fail(error, FP_CORRUPT, TAIL_REGION_LENGTH,
                    "an index inside the sidecar");
    }
    *n_bytes = total - region;
    return FP_OK;
}

/* Each buffer where the record behind the one before puts it, the index
 * behind the last. Returns the number of the wrong one, or n_buffers + 1. */
static size_t
decode_buffers(const unsigned char *entries, fp_sidecar_index *out)
{
    uint64_t position = FP_SIDECAR_FILE_HEADER_BYTES;

    for (size_t i = 0; i < out->n_buffers; i++) {
        uint64_t offset = get_little_endian(entries + i * ENTRY_BYTES, 8);
        uint64_t word = get_little_endian(entries + i * ENTRY_BYTES + 8, 8);
        uint64_t length = word & ~READ_ONLY_FLAG;
        /* position <= region_length: the sum is far from overflow. */
        if (offset != position + fp_record_prefix_bytes(position)
            || offset > out->region_length
            || length > out->region_length - offset)
        {
            return i;
        }
        out->buffers[i] = (fp_sidecar_buffer){
            .offset = offset,
            .length = length,
            .is_read_only = (word & READ_ONLY_FLAG) != 0,
        };
        position = offset + length;
    }
    return position + fp_record_prefix_bytes(position) == out->region_length
               ? out->n_buffers + 1
               : out->n_buffers;
}

fp_status
fp_sidecar_index_decode(const unsigned char *data, size_t n_bytes,
                        fp_sidecar_index *out, fp_layout_error *error)
{
    *out = (fp_sidecar_index){0};
    if (n_bytes < FP_SIDECAR_FILE_TAIL_BYTES) {
        return fail(error, FP_TRUNCATED, n_bytes, "a whole index");
    }
    const size_t tail_offset = n_bytes - FP_SIDECAR_FILE_TAIL_BYTES;
    const unsigned char *tail = data + tail_offset;
    if (memcmp(tail + TAIL_MAGIC, tail_magic, sizeof(tail_magic)) != 0) {
        return fail(error, FP_CORRUPT, tail_offset + TAIL_MAGIC,
                    "the magic at the end of a sidecar file");
    }
    out->root = get_little_endian(tail + TAIL_ROOT, 8);
    if (fp_xxh3(data, tail_offset + TAIL_HASHED_BYTES) != out->root) {
        return fail(error, FP_CORRUPT, tail_offset + TAIL_ROOT,
                    "the hash of the index");
    }
    out->state = get_little_endian(tail + TAIL_STATE, 8);
    if (out->state != FP_STATE_VALID && out->state != FP_STATE_VOID) {
        return fail(error, FP_CORRUPT, tail_offset + TAIL_STATE,
                    "one of the two state words");
    }

    /* From here on only a forger is refused. */
    out->region_length = get_little_endian(tail + TAIL_REGION_LENGTH, 8);
    out->total_length = get_little_endian(tail + TAIL_TOTAL_LENGTH, 8);
    uint64_t n_buffers = get_little_endian(tail + TAIL_N_BUFFERS, 8);
    uint64_t n_hashes = get_little_endian(tail + TAIL_N_HASHES, 8);
    if (out->region_length % FP_ALIGN != 0
        || out->region_length > UINT64_MAX / 2
        || out->total_length != out->region_length + n_bytes)
    {
        return fail(error, FP_CORRUPT, tail_offset + TAIL_REGION_LENGTH,
                    "an index behind the buffers");
    }
    if (n_buffers > tail_offset / ENTRY_BYTES
        || n_hashes != hash_count(out->region_length)
        || fp_sidecar_index_bytes(n_buffers, out->region_length) != n_bytes)
    {
        return fail(error, FP_CORRUPT, tail_offset + TAIL_N_BUFFERS,
                    "an index of its buffers and hashes");
    }
    const unsigned char *hashes = data + n_buffers * ENTRY_BYTES;
    for (const unsigned char *byte = hashes + n_hashes * 8; byte < tail;
         byte++)
    {
        if (*byte != 0) {
            return fail(error, FP_CORRUPT, (uint64_t)(byte - data),
                        "zeros behind the hashes");
        }
    }

    /* One byte more, so that no size is zero. */
    out->n_buffers = (size_t)n_buffers;
    out->n_hashes = (size_t)n_hashes;
    if (out->n_buffers >= SIZE_MAX / sizeof(fp_sidecar_buffer)) {
        return fail(error, FP_NO_MEMORY, 0, NULL);
    }
    out->buffers = malloc(out->n_buffers * sizeof(fp_sidecar_buffer) + 1);
    out->hashes = malloc(out->n_hashes * sizeof(uint64_t) + 1);
    if (out->buffers == NULL || out->hashes == NULL) {
        fp_sidecar_index_free(out);
        return fail(error, FP_NO_MEMORY, 0, NULL);
    }
    for (size_t i = 0; i < out->n_hashes; i++) {
        out->hashes[i] = get_little_endian(hashes + 8 * i, 8);
    }
    size_t wrong = decode_buffers(data, out);
    if (wrong <= out->n_buffers) {
        fp_sidecar_index_free(out);
        return fail(error, FP_CORRUPT, wrong * ENTRY_BYTES,
                    "each buffer right behind the one before");
    }
    return FP_OK;
}

void
fp_sidecar_index_free(fp_sidecar_index *index)
{
    free(index->buffers);
    free(index->hashes);
    *index = (fp_sidecar_index){0};
}

/* The sidecar file of a dump in two: its decoders on any bytes.
 *
 * The input is tried as header, as a record's prefix at several positions, as
 * tail and as index; and once more as the inside of an index whose tail and
 * root hash are right. Property: what is accepted is encoded to the same
 * bytes, and its buffers lie inside the region.
 */
#include "core/sidecar_layout.h"

#include "core/block_hash.h"
#include "fuzz.h"
#include "refusal.h"

static void
decode_index(const unsigned char *data, size_t n_bytes)
{
    fp_sidecar_index index;
    fp_layout_error error = {0, NULL};
    fp_buffer again = {0};
    fp_status status = fp_sidecar_index_decode(data, n_bytes, &index, &error);

    if (status != FP_OK) {
        check_refusal(status, &error, n_bytes);
        return;
    }
    for (size_t i = 0; i < index.n_buffers; i++) {
        CHECK(index.buffers[i].offset % FP_ALIGN == 0);
        CHECK(index.buffers[i].offset <= index.region_length);
        CHECK(index.buffers[i].length
              <= index.region_length - index.buffers[i].offset);
    }
    if (index.state == FP_STATE_VALID) {
        CHECK(fp_sidecar_index_encode(&index, &again) == FP_OK);
        CHECK(again.length == n_bytes);
        CHECK(memcmp(again.data, data, n_bytes) == 0);
    }
    fp_buffer_free(&again);
    fp_sidecar_index_free(&index);
}

/* Index, hashes and the fields of the tail are the input, the rest is right. */
static void
decode_repaired(const unsigned char *data, size_t n_bytes)
{
    const size_t n_fields = 32;
    size_t n_inside = n_bytes > n_fields ? n_bytes : n_fields;
    size_t n_index = n_inside - n_fields + FP_SIDECAR_FILE_TAIL_BYTES;
    unsigned char *index = calloc(1, n_index);
    unsigned char *tail;

    CHECK(index != NULL);
    if (n_bytes > 0) {
        memcpy(index, data, n_bytes);
    }
    tail = index + n_index - FP_SIDECAR_FILE_TAIL_BYTES;
    put64(tail + 32, n_bytes % 7 == 0 ? FP_STATE_VOID : FP_STATE_VALID, 8);
    put64(tail + 40, fp_xxh3(index, n_inside), 8);
    memcpy(tail + 48, "fastpersist sde", 16);
    decode_index(index, n_index);
    free(index);
}

static void
decode_prefix(const unsigned char *data, size_t n_bytes, uint64_t position)
{
    fp_layout_error error = {0, NULL};
    fp_record_kind kind;
    uint64_t length;
    unsigned char again[FP_RECORD_PREFIX_MAX];
    size_t n_prefix = fp_record_prefix_bytes(position);
    fp_status status;

    CHECK(n_prefix <= FP_RECORD_PREFIX_MAX);
    if (n_bytes < n_prefix) {
        return;
    }
    status = fp_record_prefix_decode(data, position, &kind, &length, &error);
    if (status != FP_OK) {
        check_refusal(status, &error, n_prefix);
        return;
    }
    CHECK(fp_record_prefix_encode(again, position, kind, length) == n_prefix);
    CHECK(memcmp(again, data, n_prefix) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    fp_layout_error error = {0, NULL};
    unsigned char *copy = exact_copy(data, n_bytes);
    fp_status status;

    if (n_bytes >= FP_SIDECAR_FILE_HEADER_BYTES) {
        status = fp_sidecar_file_header_decode(copy, &error);
        if (status != FP_OK) {
            check_refusal(status, &error, n_bytes);
        }
    }
    for (uint64_t position = 0; position < 64; position += 9) {
        decode_prefix(copy, n_bytes, position);
    }
    if (n_bytes >= FP_SIDECAR_FILE_TAIL_BYTES) {
        uint64_t n_index;
        status =
            fp_sidecar_tail_decode(copy + n_bytes - FP_SIDECAR_FILE_TAIL_BYTES,
                                   n_bytes, &n_index, &error);
        if (status == FP_OK) {
            CHECK(n_index <= n_bytes);
            decode_index(copy + n_bytes - n_index, (size_t)n_index);
        }
        else {
            check_refusal(status, &error, FP_SIDECAR_FILE_TAIL_BYTES);
        }
    }
    decode_index(copy, n_bytes);
    decode_repaired(copy, n_bytes);
    free(copy);
    return 0;
}

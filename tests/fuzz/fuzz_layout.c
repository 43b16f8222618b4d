/* Header, tail and footer: the decoders on any bytes.
 *
 * The input is tried as it is, and once more as the inside of a footer whose
 * magics, lengths and hash are right, so that what stands behind the hash is
 * reached. Properties: no decoder leaves its input (the sanitizers watch; each
 * gets a block of exactly its size), what is refused has a place inside the
 * input and a reason, and what is accepted is encoded to the same bytes.
 */
#include "core/layout.h"

#include "core/block_hash.h"
#include "fuzz.h"
#include "refusal.h"

#include <string.h>

#define HEAD_BYTES   96
#define OPCODE_BYTES 5

static void
check_footer(fp_footer *footer, const unsigned char *data, size_t n_bytes)
{
    uint64_t end = footer->arrays_offset;
    uint64_t sidecar_end = footer->arrays_offset + footer->arrays_length;
    fp_buffer again = {0};

    CHECK(footer->arrays_offset == FP_HEADER_BYTES);
    CHECK(footer->graph_offset == sidecar_end);
    CHECK(footer->graph_offset + footer->graph_length + n_bytes
          == footer->total_length);
    CHECK(footer->total_length % FP_ALIGN == 0);
    for (size_t i = 0; i < footer->n_blobs; i++) {
        const fp_blob *blob = &footer->blobs[i];
        CHECK(blob->offset % FP_ALIGN == 0);
        CHECK(blob->offset >= end);
        CHECK(blob->length <= sidecar_end - blob->offset);
        end = blob->offset + blob->length;
    }
    CHECK(end <= sidecar_end);
    if (footer->state == FP_STATE_VALID) {
        CHECK(fp_footer_encode(footer, &again) == FP_OK);
        CHECK(again.length == n_bytes);
        CHECK(memcmp(again.data, data, n_bytes) == 0);
    }
    fp_buffer_free(&again);
}

static void
decode_footer(const unsigned char *data, size_t n_bytes)
{
    fp_footer footer;
    fp_layout_error error = {0, NULL};
    fp_status status = fp_footer_decode(data, n_bytes, &footer, &error);

    if (status == FP_OK) {
        check_footer(&footer, data, n_bytes);
        fp_footer_free(&footer);
    }
    else {
        CHECK(footer.blobs == NULL && footer.hashes == NULL);
        check_refusal(status, &error, n_bytes);
    }
}

/* A footer around `data`, right where a writer of any content is. */
static void
decode_repaired(const unsigned char *data, size_t n_bytes)
{
    size_t n_body = n_bytes > HEAD_BYTES - 16 ? n_bytes : HEAD_BYTES - 16;
    size_t n_payload = 16 + n_body + FP_TAIL_BYTES;
    size_t n_footer = OPCODE_BYTES + n_payload + 2;
    unsigned char *footer = calloc(1, n_footer);
    unsigned char *payload, *tail;
    uint64_t hash;

    CHECK(footer != NULL);
    payload = footer + OPCODE_BYTES;
    tail = payload + n_payload - FP_TAIL_BYTES;
    footer[0] = 0x42;
    put64(footer + 1, n_payload, 4);
    memcpy(payload, "fastpersist ftr", 16);
    if (n_bytes > 0) {
        memcpy(payload + 16, data, n_bytes);
    }
    put64(tail, n_bytes % 7 == 0 ? FP_STATE_VOID : FP_STATE_VALID, 8);
    put64(tail + 16, n_payload, 8);
    memcpy(tail + 24, "fastpersist end", 16);
    memcpy(footer + n_footer - 2, "0.", 2);
    CHECK(fp_xxh3_pair(payload, n_payload - FP_TAIL_BYTES, tail + 16, 8, &hash)
          == FP_OK);
    put64(tail + 8, hash, 8);
    decode_footer(footer, n_footer);
    free(footer);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    fp_layout_error error = {0, NULL};
    unsigned char *copy = exact_copy(data, n_bytes);
    fp_status status = fp_header_decode(copy, n_bytes, &error);

    if (status != FP_OK) {
        check_refusal(status, &error, n_bytes);
    }
    if (n_bytes >= FP_TAIL_READ_BYTES) {
        uint64_t n_footer;
        status = fp_tail_decode(copy + n_bytes - FP_TAIL_READ_BYTES, n_bytes,
                                &n_footer, &error);
        if (status == FP_OK) {
            CHECK(n_footer <= n_bytes);
            decode_footer(copy + n_bytes - n_footer, (size_t)n_footer);
        }
        else {
            check_refusal(status, &error, FP_TAIL_READ_BYTES);
        }
    }
    decode_footer(copy, n_bytes);
    decode_repaired(copy, n_bytes);
    free(copy);
    return 0;
}

/* The blob table: a footer that is right but for its table and the length of
 * its sidecar, which are the input.
 *
 * Input: u32 length of the sidecar, u8 number of blobs, the table. Property:
 * as in fuzz_layout.c, what is accepted lies inside the sidecar, block by
 * block, and is encoded to the same bytes.
 */
#include "core/layout.h"

#include "core/block_hash.h"
#include "fuzz.h"

#define HEAD_BYTES   96
#define OPCODE_BYTES 5

static uint64_t
hash_count(uint64_t n_bytes)
{
    return (n_bytes + FP_HASH_BLOCK_BYTES - 1) >> FP_HASH_BLOCK_SHIFT;
}

static unsigned char *
build(uint64_t n_sidecar, uint64_t n_blobs, const uint8_t *table,
      size_t n_table, size_t *n_footer)
{
    const uint64_t n_graph = 10;
    uint64_t n_hashes = hash_count(n_sidecar) + hash_count(n_graph);
    uint64_t start = FP_HEADER_BYTES + n_sidecar + n_graph;
    size_t n_unpadded =
        HEAD_BYTES + n_table + (size_t)n_hashes * 8 + FP_TAIL_BYTES;
    size_t n_padding =
        (size_t)((0 - (start + OPCODE_BYTES + n_unpadded + 2)) % FP_ALIGN);
    size_t n_payload = n_unpadded + n_padding;
    unsigned char *footer, *head, *tail;
    uint64_t fields[9];
    uint64_t hash;

    *n_footer = OPCODE_BYTES + n_payload + 2;
    footer = calloc(1, *n_footer);
    CHECK(footer != NULL);
    fields[0] = start + *n_footer;
    fields[1] = FP_HEADER_BYTES;
    fields[2] = n_sidecar;
    fields[3] = FP_HEADER_BYTES + n_sidecar;
    fields[4] = n_graph;
    fields[5] = n_blobs;
    fields[6] = n_table;
    fields[7] = n_hashes;
    fields[8] = 0;
    footer[0] = 0x42;
    put64(footer + 1, n_payload, 4);
    head = footer + OPCODE_BYTES;
    memcpy(head, "fastpersist ftr", 16);
    head[16] = 1;
    for (size_t i = 0; i < 9; i++) {
        put64(head + 24 + 8 * i, fields[i], 8);
    }
    if (n_table > 0) {
        memcpy(head + HEAD_BYTES, table, n_table);
    }
    tail = head + n_payload - FP_TAIL_BYTES;
    put64(tail, FP_STATE_VALID, 8);
    put64(tail + 16, n_payload, 8);
    memcpy(tail + 24, "fastpersist end", 16);
    memcpy(footer + *n_footer - 2, "0.", 2);
    CHECK(fp_xxh3_pair(head, n_payload - FP_TAIL_BYTES, tail + 16, 8, &hash)
          == FP_OK);
    put64(tail + 8, hash, 8);
    return footer;
}

static void
check(fp_footer *footer, const unsigned char *data, size_t n_bytes)
{
    uint64_t end = footer->arrays_offset;
    uint64_t sidecar_end = footer->graph_offset;
    fp_buffer again = {0};

    for (size_t i = 0; i < footer->n_blobs; i++) {
        const fp_blob *blob = &footer->blobs[i];
        unsigned char prefix[FP_BLOB_PREFIX_MAX];
        unsigned char suffix[FP_BLOB_SUFFIX_MAX];
        CHECK(blob->offset
              == end
                     + fp_blob_prefix_encode(prefix, end, blob->kind,
                                             blob->length));
        CHECK(blob->offset % FP_ALIGN == 0);
        CHECK(blob->length <= sidecar_end - blob->offset);
        end = blob->offset + blob->length
              + fp_blob_suffix_encode(suffix, blob->memo_number);
    }
    CHECK(end == sidecar_end);
    CHECK(fp_footer_encode(footer, &again) == FP_OK);
    CHECK(again.length == n_bytes && memcmp(again.data, data, n_bytes) == 0);
    fp_buffer_free(&again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    fp_layout_error error = {0, NULL};
    fp_footer footer;
    unsigned char *bytes;
    size_t n_footer;
    uint64_t n_sidecar = 0;
    fp_status status;

    if (n_bytes < 5) {
        return 0;
    }
    for (size_t i = 4; i-- > 0;) {
        n_sidecar = n_sidecar << 8 | data[i];
    }
    bytes = build(n_sidecar, data[4], data + 5, n_bytes - 5, &n_footer);
    status = fp_footer_decode(bytes, n_footer, &footer, &error);
    if (status == FP_OK) {
        check(&footer, bytes, n_footer);
        fp_footer_free(&footer);
    }
    else {
        CHECK(status == FP_CORRUPT);
        CHECK(error.offset < n_footer && error.expected != NULL);
    }
    free(bytes);
    return 0;
}

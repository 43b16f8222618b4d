#include <assert.h>
#include <string.h>

#include "footer_bytes.h"

static fp_status
append_blob_table(const fp_footer *footer, fp_buffer *out)
{
    uint64_t end = footer->arrays_offset;
    uint32_t memo_number = 0;
    for (size_t i = 0; i < footer->n_blobs; i++) {
        const fp_blob *blob = &footer->blobs[i];
        assert(blob->offset >= end && blob->offset % FP_ALIGN == 0);
        uint64_t gap = blob->offset - end;
        /* Zigzag: 0, -1, 1, -2 become 0, 1, 2, 3. */
        int64_t delta = (int64_t)blob->memo_number - (int64_t)memo_number;
        uint64_t zigzag =
            delta < 0 ? ((uint64_t)-delta << 1) - 1 : (uint64_t)delta << 1;
        fp_status status =
            fp_buffer_append_varint(out, (uint64_t)blob->kind | gap << 2);
        if (status == FP_OK) {
            status = fp_buffer_append_varint(out, blob->length);
        }
        if (status == FP_OK) {
            status = fp_buffer_append_varint(out, zigzag);
        }
        if (status != FP_OK) {
            return status;
        }
        end = blob->offset + blob->length;
        memo_number = blob->memo_number;
    }
    return FP_OK;
}

static void
encode_head(const fp_footer *footer, uint64_t blob_table_bytes,
            unsigned char head[HEAD_BYTES])
{
    memcpy(head, footer_magic, sizeof(footer_magic));
    put_little_endian(head + HEAD_VERSION, FP_FORMAT_VERSION, 4);
    put_little_endian(head + HEAD_FLAGS, footer->flags, 4);
    put_little_endian(head + HEAD_TOTAL_LENGTH, footer->total_length, 8);
    put_little_endian(head + HEAD_SIDECAR_OFFSET, footer->arrays_offset, 8);
    put_little_endian(head + HEAD_SIDECAR_LENGTH, footer->arrays_length, 8);
    put_little_endian(head + HEAD_GRAPH_OFFSET, footer->graph_offset, 8);
    put_little_endian(head + HEAD_GRAPH_LENGTH, footer->graph_length, 8);
    put_little_endian(head + HEAD_N_BLOBS, footer->n_blobs, 8);
    put_little_endian(head + HEAD_BLOB_TABLE_BYTES, blob_table_bytes, 8);
    put_little_endian(head + HEAD_N_HASHES, footer->n_hashes, 8);
    put_little_endian(head + HEAD_ENVIRONMENT_BYTES, footer->environment_bytes,
                      8);
}

fp_status
fp_footer_encode(fp_footer *footer, fp_buffer *out)
{
    const uint64_t start = footer->graph_offset + footer->graph_length;
    fp_buffer table = {0};
    fp_status status = append_blob_table(footer, &table);
    if (status != FP_OK) {
        goto done;
    }

    uint64_t n_unpadded = HEAD_BYTES + extension_bytes(footer->flags)
                          + (uint64_t)table.length
                          + (uint64_t)footer->n_hashes * 8
                          + footer->environment_bytes + FP_TAIL_BYTES;
    size_t opcode_bytes;
    size_t n_padding = footer_padding(start, n_unpadded, &opcode_bytes);
    uint64_t payload_bytes = n_unpadded + n_padding;
    footer->total_length =
        start + opcode_bytes + payload_bytes + CLOSING_BYTES;
    /* All of it at once: the appends below then cannot fail. */
    if (payload_bytes > SIZE_MAX - opcode_bytes - CLOSING_BYTES) {
        status = FP_NO_MEMORY;
        goto done;
    }
    status = fp_buffer_reserve(out, opcode_bytes + (size_t)payload_bytes
                                        + CLOSING_BYTES);
    if (status != FP_OK) {
        goto done;
    }

    unsigned char opcode[BINBYTES8_OPCODE_BYTES];
    opcode[0] =
        opcode_bytes == BINBYTES_OPCODE_BYTES ? OP_BINBYTES : OP_BINBYTES8;
    put_little_endian(opcode + 1, payload_bytes, opcode_bytes - 1);
    (void)fp_buffer_append(out, opcode, opcode_bytes);
    size_t payload_start = out->length;

    unsigned char head[HEAD_BYTES];
    encode_head(footer, table.length, head);
    (void)fp_buffer_append(out, head, sizeof(head));
    if (footer->flags & FP_FLAG_SIDECAR_FILE) {
        (void)fp_buffer_append_u64(out, footer->n_buffers);
        (void)fp_buffer_append_u64(out, footer->sidecar_file_length);
        (void)fp_buffer_append_u64(out, footer->sidecar_file_root);
    }
    (void)fp_buffer_append(out, table.data, table.length);
    for (size_t i = 0; i < footer->n_hashes; i++) {
        (void)fp_buffer_append_u64(out, footer->hashes[i]);
    }
    (void)fp_buffer_append(out, footer->environment,
                           footer->environment_bytes);
    (void)fp_buffer_append_zeros(out, n_padding);

    unsigned char tail[FP_TAIL_BYTES] = {0};
    put_little_endian(tail + TAIL_STATE, footer->state, 8);
    put_little_endian(tail + TAIL_PAYLOAD_BYTES, payload_bytes, 8);
    memcpy(tail + TAIL_MAGIC, end_magic, sizeof(end_magic));
    (void)fp_buffer_append(out, tail, sizeof(tail));

    unsigned char *payload = out->data + payload_start;
    uint64_t hash;
    status = hash_payload(payload, (size_t)payload_bytes, &hash);
    if (status != FP_OK) {
        goto done;
    }
    put_little_endian(payload + payload_bytes - FP_TAIL_BYTES + TAIL_HASH,
                      hash, 8);

    const unsigned char closing[CLOSING_BYTES] = {OP_POP, OP_STOP};
    (void)fp_buffer_append(out, closing, sizeof(closing));

done:
    fp_buffer_free(&table);
    return status;
}

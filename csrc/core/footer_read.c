#include <stdlib.h>
#include <string.h>

#include "footer_bytes.h"

#define SMALLEST_BLOB_ENTRY 3 /* three varints */

static size_t
suffix_bytes(uint32_t memo_number)
{
    return memo_number < 256 ? 3 : 6;
}

fp_status
fp_tail_decode(const unsigned char tail[FP_TAIL_READ_BYTES],
               uint64_t available, uint64_t *n_bytes, fp_layout_error *error)
{
    *n_bytes = 0;
    if (memcmp(tail + TAIL_MAGIC, end_magic, sizeof(end_magic)) != 0) {
        return FP_NOT_OURS;
    }
    if (tail[FP_TAIL_BYTES] != OP_POP || tail[FP_TAIL_BYTES + 1] != OP_STOP) {
        return fail(error, FP_CORRUPT, FP_TAIL_BYTES,
                    "POP and STOP at the end");
    }
    uint64_t payload_bytes = get_little_endian(tail + TAIL_PAYLOAD_BYTES, 8);
    if (payload_bytes < HEAD_BYTES + FP_TAIL_BYTES) {
        return fail(error, FP_CORRUPT, TAIL_PAYLOAD_BYTES,
                    "a footer of at least 136 bytes");
    }
    uint64_t n_around = opcode_bytes_for(payload_bytes) + CLOSING_BYTES;
    if (available < n_around || payload_bytes > available - n_around) {
        return fail(error, FP_CORRUPT, TAIL_PAYLOAD_BYTES,
                    "a footer no longer than the file");
    }
    *n_bytes = payload_bytes + n_around;
    return FP_OK;
}

/* A varint as the encoder writes it: the shortest, and below 2^64. */
static int
read_varint(const unsigned char **next, const unsigned char *end,
            uint64_t *value)
{
    const unsigned char *byte = *next;
    *value = 0;
    for (unsigned shift = 0; shift < 70 && byte < end; shift += 7, byte++) {
        if (shift == 63 && *byte > 1) {
            return 0;
        }
        *value |= (uint64_t)(*byte & 0x7f) << shift;
        if (*byte < 0x80) {
            *next = byte + 1;
            return *byte != 0 || shift == 0;
        }
    }
    return 0;
}

/* Reads the blob table into out->blobs, which has room for out->n_blobs.
 * Returns the place that is wrong, or NULL; *expected says what was not found
 * there. */
static const unsigned char *
decode_blobs(const unsigned char *table, const unsigned char *table_end,
             fp_footer *out, const char **expected)
{
    const unsigned char *next = table;
    const uint64_t sidecar_end = out->arrays_offset + out->arrays_length;
    uint64_t end = out->arrays_offset; /* of the payload before this one */
    uint64_t position = end;           /* where this one's prefix starts */
    int64_t memo_number = 0;

    for (size_t i = 0; i < out->n_blobs; i++) {
        const unsigned char *entry = next;
        uint64_t kind_and_gap;
        uint64_t length;
        uint64_t zigzag;
        if (!read_varint(&next, table_end, &kind_and_gap)
            || !read_varint(&next, table_end, &length)
            || !read_varint(&next, table_end, &zigzag))
        {
            *expected = "three shortest varints per blob";
            return entry;
        }
        unsigned kind = (unsigned)(kind_and_gap & 3);
        uint64_t gap = kind_and_gap >> 2;
        if (kind > FP_BLOB_STR) {
            *expected = "a known kind of blob";
            return entry;
        }

        /* The gap holds the suffix before and the prefix of this one, whose
         * sizes are known: so a gap can hide nothing. Every sum is below
         * sidecar_end plus a few dozen bytes, and cannot overflow. */
        uint64_t prefix = 3 + distance_to_aligned(position + 3 + 9) + 9;
        if (gap != position + prefix - end) {
            *expected = "a blob right behind the one before, 64-byte aligned";
            return entry;
        }
        uint64_t offset = position + prefix;
        if (offset > sidecar_end || length > sidecar_end - offset) {
            *expected = "a blob inside the array bytes";
            return entry;
        }

        if (zigzag >> 1 > UINT32_MAX) {
            *expected = "a memo number of 32 bits";
            return entry;
        }
        int64_t delta = (int64_t)(zigzag >> 1);
        memo_number += zigzag & 1 ? -delta - 1 : delta;
        if (memo_number < 0 || memo_number > (int64_t)UINT32_MAX) {
            *expected = "a memo number of 32 bits";
            return entry;
        }

        out->blobs[i] = (fp_blob){
            .kind = (fp_blob_kind)kind,
            .memo_number = (uint32_t)memo_number,
            .offset = offset,
            .length = length,
        };
        end = offset + length;
        position = end + suffix_bytes((uint32_t)memo_number);
        if (position > sidecar_end) {
            *expected = "a blob inside the array bytes";
            return entry;
        }
    }
    if (next != table_end) {
        *expected = "a blob table of the announced number of blobs";
        return next;
    }
    if (position != sidecar_end) {
        *expected = "array bytes that end with their last blob";
        return next;
    }
    return NULL;
}

/* The extents of the head against each other and against the footer's own
 * size. Returns the offset in the head of a wrong field, 0 where all hold. */
static size_t
check_extents(const fp_footer *footer, uint64_t footer_bytes,
              uint64_t n_hashes, const char **expected)
{
    const uint64_t total = footer->total_length;
    if (total % FP_ALIGN != 0 || total < FP_HEADER_BYTES + footer_bytes) {
        *expected = "a total length that is a multiple of 64";
        return HEAD_TOTAL_LENGTH;
    }
    /* What is left for sidecar and graph; each is subtracted in turn, so that
     * no sum of untrusted numbers is ever formed. */
    uint64_t n_left = total - FP_HEADER_BYTES - footer_bytes;
    if (footer->arrays_offset != FP_HEADER_BYTES) {
        *expected = "array bytes right behind the header";
        return HEAD_SIDECAR_OFFSET;
    }
    if (footer->arrays_length > n_left) {
        *expected = "array bytes inside the dump";
        return HEAD_SIDECAR_LENGTH;
    }
    if (footer->graph_offset != FP_HEADER_BYTES + footer->arrays_length) {
        *expected = "a graph right behind the array bytes";
        return HEAD_GRAPH_OFFSET;
    }
    if (footer->graph_length != n_left - footer->arrays_length) {
        *expected = "a graph that ends where the footer starts";
        return HEAD_GRAPH_LENGTH;
    }
    if (n_hashes
        != hash_count(footer->arrays_length)
               + hash_count(footer->graph_length))
    {
        *expected = "one hash for each MiB of array bytes and graph";
        return HEAD_N_HASHES;
    }
    return 0;
}

static size_t
check_frame(const unsigned char *data, size_t n_bytes, size_t *opcode_bytes,
            fp_status *status, const char **expected)
{
    *status = FP_TRUNCATED;
    *expected = "a whole footer";
    if (n_bytes < BINBYTES_OPCODE_BYTES) {
        return n_bytes;
    }
    *opcode_bytes = data[0] == OP_BINBYTES8 ? BINBYTES8_OPCODE_BYTES
                                            : BINBYTES_OPCODE_BYTES;
    if (n_bytes < *opcode_bytes) {
        return n_bytes;
    }
    if (data[0] != OP_BINBYTES && data[0] != OP_BINBYTES8) {
        *status = FP_CORRUPT;
        *expected = "BINBYTES or BINBYTES8 in front of the footer";
        return 0;
    }
    uint64_t payload_bytes = get_little_endian(data + 1, *opcode_bytes - 1);
    uint64_t n_behind = n_bytes - *opcode_bytes;
    if (n_behind < CLOSING_BYTES || payload_bytes > n_behind - CLOSING_BYTES) {
        return n_bytes;
    }

    *status = FP_CORRUPT;
    if (payload_bytes != n_behind - CLOSING_BYTES
        || payload_bytes < HEAD_BYTES + FP_TAIL_BYTES
        || opcode_bytes_for(payload_bytes) != *opcode_bytes)
    {
        *expected = "the footer's length behind its opcode";
        return 1;
    }
    if (data[n_bytes - 2] != OP_POP || data[n_bytes - 1] != OP_STOP) {
        *expected = "POP and STOP behind the footer";
        return n_bytes - CLOSING_BYTES;
    }
    *status = FP_OK;
    return 0;
}

/* Magics, hash, version and state word: after these the bytes are what an
 * encoder wrote, or a forgery. Offsets are relative to the payload. */
static fp_status
check_payload(const unsigned char *payload, size_t payload_bytes,
              size_t *offset, const char **expected)
{
    const size_t tail_offset = payload_bytes - FP_TAIL_BYTES;
    const unsigned char *tail = payload + tail_offset;

    *offset = 0;
    *expected = "the footer's first magic";
    if (memcmp(payload, footer_magic, sizeof(footer_magic)) != 0) {
        return FP_CORRUPT;
    }
    *offset = tail_offset + TAIL_MAGIC;
    *expected = "the footer's last magic";
    if (memcmp(tail + TAIL_MAGIC, end_magic, sizeof(end_magic)) != 0) {
        return FP_CORRUPT;
    }
    *offset = tail_offset + TAIL_PAYLOAD_BYTES;
    *expected = "the footer's own length";
    if (get_little_endian(tail + TAIL_PAYLOAD_BYTES, 8) != payload_bytes) {
        return FP_CORRUPT;
    }

    uint64_t hash;
    fp_status status = hash_payload(payload, payload_bytes, &hash);
    if (status != FP_OK) {
        return status;
    }
    *offset = tail_offset + TAIL_HASH;
    *expected = "the footer's hash";
    if (get_little_endian(tail + TAIL_HASH, 8) != hash) {
        return FP_CORRUPT;
    }
    /* Only now: a damaged version is damage, not a later version. */
    uint64_t version = get_little_endian(payload + HEAD_VERSION, 4);
    *offset = HEAD_VERSION;
    *expected = "format version 1";
    if (version != FP_FORMAT_VERSION) {
        return version > FP_FORMAT_VERSION ? FP_TOO_NEW : FP_CORRUPT;
    }
    *offset = HEAD_FLAGS;
    *expected = "footer flags of zero";
    if ((get_little_endian(payload + HEAD_FLAGS, 4) & ~(uint64_t)KNOWN_FLAGS)
        != 0)
    {
        return FP_CORRUPT;
    }
    uint64_t state = get_little_endian(tail + TAIL_STATE, 8);
    *offset = tail_offset + TAIL_STATE;
    *expected = "one of the two state words";
    if (state != FP_STATE_VALID && state != FP_STATE_VOID) {
        return FP_CORRUPT;
    }
    return FP_OK;
}

fp_status
fp_footer_decode(const unsigned char *data, size_t n_bytes, fp_footer *out,
                 fp_layout_error *error)
{
    size_t opcode_bytes = 0;
    size_t offset;
    const char *expected = NULL;
    fp_status status;
    const unsigned char *wrong;

    *out = (fp_footer){0};
    offset = check_frame(data, n_bytes, &opcode_bytes, &status, &expected);
    if (status != FP_OK) {
        goto failed;
    }
    const unsigned char *payload = data + opcode_bytes;
    const size_t payload_bytes = n_bytes - opcode_bytes - CLOSING_BYTES;
    status = check_payload(payload, payload_bytes, &offset, &expected);
    offset += opcode_bytes;
    if (status != FP_OK) {
        goto failed;
    }

    const unsigned char *tail = payload + payload_bytes - FP_TAIL_BYTES;
    out->total_length = get_little_endian(payload + HEAD_TOTAL_LENGTH, 8);
    out->arrays_offset = get_little_endian(payload + HEAD_SIDECAR_OFFSET, 8);
    out->arrays_length = get_little_endian(payload + HEAD_SIDECAR_LENGTH, 8);
    out->graph_offset = get_little_endian(payload + HEAD_GRAPH_OFFSET, 8);
    out->graph_length = get_little_endian(payload + HEAD_GRAPH_LENGTH, 8);
    out->state = get_little_endian(tail + TAIL_STATE, 8);
    uint64_t n_blobs = get_little_endian(payload + HEAD_N_BLOBS, 8);
    uint64_t table_bytes =
        get_little_endian(payload + HEAD_BLOB_TABLE_BYTES, 8);
    uint64_t n_hashes = get_little_endian(payload + HEAD_N_HASHES, 8);
    uint64_t environment_bytes =
        get_little_endian(payload + HEAD_ENVIRONMENT_BYTES, 8);

    status = FP_CORRUPT;
    offset = check_extents(out, n_bytes, n_hashes, &expected);
    if (offset != 0) {
        offset += opcode_bytes;
        goto failed;
    }

    /* The variable parts, each against what is left of the payload: from here
     * on every count is below n_bytes and fits a size_t. */
    size_t n_left = payload_bytes - HEAD_BYTES - FP_TAIL_BYTES;
    const unsigned char *table = payload + HEAD_BYTES;
    out->flags = (unsigned)get_little_endian(payload + HEAD_FLAGS, 4);
    if (out->flags & FP_FLAG_SIDECAR_FILE) {
        expected = "what identifies the sidecar file";
        offset = opcode_bytes + HEAD_BYTES;
        if (n_left < EXTENSION_BYTES) {
            goto failed;
        }
        out->n_buffers = get_little_endian(table + EXTENSION_N_BUFFERS, 8);
        out->sidecar_file_length =
            get_little_endian(table + EXTENSION_LENGTH, 8);
        out->sidecar_file_root = get_little_endian(table + EXTENSION_ROOT, 8);
        table += EXTENSION_BYTES;
        n_left -= EXTENSION_BYTES;
    }
    expected = "a blob table inside the footer";
    offset = opcode_bytes + HEAD_BLOB_TABLE_BYTES;
    if (table_bytes > n_left) {
        goto failed;
    }
    n_left -= (size_t)table_bytes;
    expected = "no more blobs than their table can hold";
    offset = opcode_bytes + HEAD_N_BLOBS;
    if (n_blobs > table_bytes / SMALLEST_BLOB_ENTRY) {
        goto failed;
    }
    expected = "hashes inside the footer";
    offset = opcode_bytes + HEAD_N_HASHES;
    if (n_hashes > n_left / 8) {
        goto failed;
    }
    n_left -= (size_t)n_hashes * 8;
    expected = "an environment inside the footer";
    offset = opcode_bytes + HEAD_ENVIRONMENT_BYTES;
    if (environment_bytes > n_left) {
        goto failed;
    }
    n_left -= (size_t)environment_bytes;

    const unsigned char *hashes = table + table_bytes;
    const unsigned char *environment = hashes + n_hashes * 8;
    const unsigned char *padding = environment + environment_bytes;
    size_t same_opcode_bytes;
    expected = "the shortest zero padding to a multiple of 64";
    offset = (size_t)(padding - data);
    if (n_left
        != footer_padding(out->graph_offset + out->graph_length,
                          payload_bytes - n_left, &same_opcode_bytes))
    {
        goto failed;
    }
    for (size_t i = 0; i < n_left; i++) {
        if (padding[i] != 0) {
            goto failed;
        }
    }

    /* One byte more, so that no size is zero and NULL always means failure.
     * The table pays 3 bytes for each 24 here. */
    out->n_blobs = (size_t)n_blobs;
    out->n_hashes = (size_t)n_hashes;
    out->environment_bytes = (size_t)environment_bytes;
    status = FP_NO_MEMORY;
    if (out->n_blobs >= SIZE_MAX / sizeof(fp_blob)) {
        goto failed;
    }
    out->blobs = malloc(out->n_blobs * sizeof(fp_blob) + 1);
    out->hashes = malloc(out->n_hashes * sizeof(uint64_t) + 1);
    out->environment = malloc(out->environment_bytes + 1);
    if (out->blobs == NULL || out->hashes == NULL || out->environment == NULL)
    {
        goto failed;
    }

    status = FP_CORRUPT;
    wrong = decode_blobs(table, hashes, out, &expected);
    if (wrong != NULL) {
        offset = (size_t)(wrong - data);
        goto failed;
    }
    for (size_t i = 0; i < out->n_hashes; i++) {
        out->hashes[i] = get_little_endian(hashes + 8 * i, 8);
    }
    memcpy(out->environment, environment, out->environment_bytes);
    out->environment[out->environment_bytes] = '\0';
    return FP_OK;

failed:
    fp_footer_free(out);
    return fail(error, status, offset, expected);
}

void
fp_footer_free(fp_footer *footer)
{
    free(footer->blobs);
    free(footer->hashes);
    free(footer->environment);
    *footer = (fp_footer){0};
}

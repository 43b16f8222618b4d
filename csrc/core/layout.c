/* Header, and the opcodes around a blob. */
#include <string.h>

#include "layout_bytes.h"

/* An array, not a string: its 12 bytes count, a terminator would be one more.
 */
static const unsigned char header_magic[12] = "fastpersist";

#define HEADER_PAYLOAD_BYTES 16
#define HEADER_MAGIC_OFFSET  4
#define HEADER_FLAGS_OFFSET  18

/* --- header --- */

void
fp_header_encode(unsigned char out[FP_HEADER_BYTES])
{
    fp_header_encode_flags(out, 0);
}

unsigned
fp_header_flags(const unsigned char header[FP_HEADER_BYTES])
{
    return (unsigned)get_little_endian(header + HEADER_FLAGS_OFFSET, 2);
}

void
fp_header_encode_flags(unsigned char out[FP_HEADER_BYTES], unsigned flags)
{
    out[0] = OP_PROTO;
    out[1] = 5;
    out[2] = OP_SHORT_BINBYTES;
    out[3] = HEADER_PAYLOAD_BYTES;
    memcpy(out + HEADER_MAGIC_OFFSET, header_magic, sizeof(header_magic));
    put_little_endian(out + 16, FP_FORMAT_VERSION, 2);
    put_little_endian(out + HEADER_FLAGS_OFFSET, flags, 2);
    out[20] = OP_POP;
}

fp_status
fp_header_decode(const unsigned char *data, size_t n_bytes,
                 fp_layout_error *error)
{
    unsigned char expected[FP_HEADER_BYTES];
    fp_header_encode(expected);
    if (n_bytes < FP_HEADER_BYTES) {
        /* The flags, at its end, may be others. */
        if (n_bytes > HEADER_MAGIC_OFFSET
            && memcmp(data, expected,
                      n_bytes < HEADER_FLAGS_OFFSET ? n_bytes
                                                    : HEADER_FLAGS_OFFSET)
                   == 0)
        {
            return fail(error, FP_TRUNCATED, n_bytes, "a whole header");
        }
        return FP_NOT_OURS;
    }
    if (memcmp(data + HEADER_MAGIC_OFFSET, header_magic, sizeof(header_magic))
        != 0)
    {
        return FP_NOT_OURS;
    }
    if (memcmp(data, expected, HEADER_MAGIC_OFFSET) != 0) {
        return fail(error, FP_CORRUPT, 0, "PROTO 5 and SHORT_BINBYTES 16");
    }
    if (data[20] != OP_POP) {
        return fail(error, FP_CORRUPT, 20, "POP behind the header");
    }
    uint64_t version = get_little_endian(data + 16, 2);
    if (version > FP_FORMAT_VERSION) {
        return fail(error, FP_TOO_NEW, 16, "format version 1");
    }
    if (version != FP_FORMAT_VERSION) {
        return fail(error, FP_CORRUPT, 16, "format version 1");
    }
    if ((fp_header_flags(data) & ~KNOWN_FLAGS) != 0) {
        return fail(error, FP_CORRUPT, HEADER_FLAGS_OFFSET,
                    "header flags of zero");
    }
    return FP_OK;
}

/* --- blobs --- */

size_t
fp_blob_prefix_encode(unsigned char out[FP_BLOB_PREFIX_MAX], uint64_t position,
                      fp_blob_kind kind, uint64_t n_bytes)
{
    size_t n_padding = distance_to_aligned(position + 3 + 9);
    out[0] = OP_SHORT_BINBYTES;
    out[1] = (unsigned char)n_padding;
    memset(out + 2, 0, n_padding);
    out[2 + n_padding] = OP_POP;

    unsigned char *opcode = out + 3 + n_padding;
    switch (kind) {
    case FP_BLOB_BYTEARRAY:
        opcode[0] = OP_BYTEARRAY8;
        break;
    case FP_BLOB_BYTES:
        opcode[0] = OP_BINBYTES8;
        break;
    case FP_BLOB_STR:
        opcode[0] = OP_BINUNICODE8;
        break;
    }
    put_little_endian(opcode + 1, n_bytes, 8);
    return 3 + n_padding + 9;
}

size_t
fp_blob_suffix_encode(unsigned char out[FP_BLOB_SUFFIX_MAX],
                      uint32_t memo_number)
{
    size_t n_bytes = memo_number < 256 ? 1 : 4;
    out[0] = n_bytes == 1 ? OP_BINPUT : OP_LONG_BINPUT;
    put_little_endian(out + 1, memo_number, n_bytes);
    out[1 + n_bytes] = OP_POP;
    return 1 + n_bytes + 1;
}

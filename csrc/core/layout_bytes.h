/* Opcodes and numbers in files, and their places: what the encoders and decoders
 * of layout.h and sidecar_layout.h share. No memory, no lock.
 */
#ifndef FP_CORE_LAYOUT_BYTES_H
#define FP_CORE_LAYOUT_BYTES_H

#include "layout.h"

/* The opcodes of pickle that frame header, blobs and footer. */
enum {
    OP_PROTO = 0x80,
    OP_SHORT_BINBYTES = 0x43,
    OP_BINBYTES = 0x42,
    OP_BINBYTES8 = 0x8e,
    OP_BYTEARRAY8 = 0x96,
    OP_BINUNICODE8 = 0x8d,
    OP_BINPUT = 0x71,
    OP_LONG_BINPUT = 0x72,
    OP_POP = 0x30,
    OP_STOP = 0x2e,
};

#define KNOWN_FLAGS FP_FLAG_SIDECAR_FILE

static inline fp_status
fail(fp_layout_error *error, fp_status status, uint64_t offset,
     const char *expected)
{
    error->offset = offset;
    error->expected = expected;
    return status;
}

static inline void
put_little_endian(unsigned char *out, uint64_t value, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++) {
        out[i] = (unsigned char)(value >> (8 * i));
    }
}

static inline uint64_t
get_little_endian(const unsigned char *data, size_t n_bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        value |= (uint64_t)data[i] << (8 * i);
    }
    return value;
}

/* How far `position` is from the next multiple of FP_ALIGN. */
static inline size_t
distance_to_aligned(uint64_t position)
{
    return (size_t)((0 - position) & (FP_ALIGN - 1));
}

#endif

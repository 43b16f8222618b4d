/* Constants of the LZ4 frame format that writer and reader share. */
#ifndef FP_CORE_LZ4_FRAME_FORMAT_H
#define FP_CORE_LZ4_FRAME_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#define FP_LZ4_MAGIC            0x184D2204u
#define FP_LZ4_SKIPPABLE_MAGIC  0x184D2A50u /* its low four bits are free */
#define FP_LZ4_SKIPPABLE_MASK   0xFFFFFFF0u
#define FP_LZ4_LEGACY_MAGIC     0x184C2102u /* before there were frames */
#define FP_LZ4_MAGIC_BYTES      4
#define FP_LZ4_HEADER_BYTES_MIN 7
#define FP_LZ4_HEADER_BYTES_MAX 19
#define FP_LZ4_DICTIONARY_BYTES 4
#define FP_LZ4_LEGACY_BLOCK     ((size_t)8 << 20)
#define FP_LZ4_STORED           0x80000000u /* in a block's size */
#define FP_LZ4_BLOCK_SIZE_BYTES 4
#define FP_LZ4_CHECKSUM_BYTES   4

/* Of the header's first byte, FLG. */
#define FP_LZ4_VERSION          0x40u
#define FP_LZ4_VERSION_MASK     0xC0u
#define FP_LZ4_INDEPENDENT      0x20u
#define FP_LZ4_BLOCK_CHECKSUM   0x10u
#define FP_LZ4_CONTENT_SIZE     0x08u
#define FP_LZ4_CONTENT_CHECKSUM 0x04u
#define FP_LZ4_FLG_RESERVED     0x02u
#define FP_LZ4_DICTIONARY       0x01u
/* Of the second, BD. */
#define FP_LZ4_BD_RESERVED       0x8Fu
#define FP_LZ4_BLOCK_ID_SHIFT    4
#define FP_LZ4_BLOCK_ID_SMALLEST 4u
#define FP_LZ4_BLOCK_ID_LARGEST  7u

/* 64 KiB, 256 KiB, 1 MiB, 4 MiB. */
static inline size_t
fp_lz4_block_bytes(unsigned block_id)
{
    return (size_t)1 << (8 + 2 * block_id);
}

static inline void
fp_lz4_put32(unsigned char *target, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        target[i] = (unsigned char)(value >> (8 * i));
    }
}

static inline uint32_t
fp_lz4_get32(const unsigned char *source)
{
    return (uint32_t)source[0] | (uint32_t)source[1] << 8
           | (uint32_t)source[2] << 16 | (uint32_t)source[3] << 24;
}

#endif

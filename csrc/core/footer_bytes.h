/* The footer's places and what both directions compute: what footer_write.c and
 * footer_read.c share. No memory, no lock.
 */
#ifndef FP_CORE_FOOTER_BYTES_H
#define FP_CORE_FOOTER_BYTES_H

#include "block_hash.h"
#include "layout_bytes.h"

/* Arrays, not strings: all 16 bytes count. */
static const unsigned char footer_magic[16] = "fastpersist ftr";
static const unsigned char end_magic[16] = "fastpersist end";

/* The footer's payload: head, blob table, hashes, environment, padding, tail.
 * Offsets in the head: */
#define HEAD_VERSION           16
#define HEAD_FLAGS             20
#define HEAD_TOTAL_LENGTH      24
#define HEAD_SIDECAR_OFFSET    32
#define HEAD_SIDECAR_LENGTH    40
#define HEAD_GRAPH_OFFSET      48
#define HEAD_GRAPH_LENGTH      56
#define HEAD_N_BLOBS           64
#define HEAD_BLOB_TABLE_BYTES  72
#define HEAD_N_HASHES          80
#define HEAD_ENVIRONMENT_BYTES 88
#define HEAD_BYTES             96
/* ... behind it, with FP_FLAG_SIDECAR_FILE: */
#define EXTENSION_N_BUFFERS 0
#define EXTENSION_LENGTH    8
#define EXTENSION_ROOT      16
#define EXTENSION_BYTES     24
/* ... and in the tail: */
#define TAIL_STATE         0
#define TAIL_HASH          8
#define TAIL_PAYLOAD_BYTES 16
#define TAIL_MAGIC         24

#define BINBYTES_OPCODE_BYTES  5 /* opcode and u32 */
#define BINBYTES8_OPCODE_BYTES 9 /* opcode and u64 */
#define CLOSING_BYTES          2 /* POP, STOP */
#define BINBYTES_LIMIT         (UINT64_C(1) << 32)

/* Padding of the footer, so that the dump's length is a multiple of FP_ALIGN.
 * `start` is the footer's offset in the dump, n_unpadded its payload without
 * padding. The opcode is BINBYTES where the padded payload fits its u32; with
 * BINBYTES8 the payload is kept at 2^32 or more, so that its length alone
 * tells which opcode there is. */
static inline size_t
footer_padding(uint64_t start, uint64_t n_unpadded, size_t *opcode_bytes)
{
    uint64_t n_rest = n_unpadded + CLOSING_BYTES;
    *opcode_bytes = BINBYTES_OPCODE_BYTES;
    size_t n_padding = distance_to_aligned(start + *opcode_bytes + n_rest);
    if (n_unpadded + n_padding < BINBYTES_LIMIT) {
        return n_padding;
    }
    *opcode_bytes = BINBYTES8_OPCODE_BYTES;
    n_padding = distance_to_aligned(start + *opcode_bytes + n_rest);
    if (n_unpadded + n_padding < BINBYTES_LIMIT) {
        n_padding += FP_ALIGN;
    }
    return n_padding;
}

static inline size_t
extension_bytes(unsigned flags)
{
    return flags & FP_FLAG_SIDECAR_FILE ? EXTENSION_BYTES : 0;
}

static inline size_t
opcode_bytes_for(uint64_t payload_bytes)
{
    return payload_bytes < BINBYTES_LIMIT ? BINBYTES_OPCODE_BYTES
                                          : BINBYTES8_OPCODE_BYTES;
}

static inline uint64_t
hash_count(uint64_t n_bytes)
{
    return (n_bytes >> FP_HASH_BLOCK_SHIFT)
           + ((n_bytes & (FP_HASH_BLOCK_BYTES - 1)) != 0);
}

/* Over the whole payload but state word, hash and end magic. */
static inline fp_status
hash_payload(const unsigned char *payload, size_t payload_bytes,
             uint64_t *hash)
{
    const unsigned char *tail = payload + payload_bytes - FP_TAIL_BYTES;
    return fp_xxh3_pair(payload, payload_bytes - FP_TAIL_BYTES,
                        tail + TAIL_PAYLOAD_BYTES, 8, hash);
}

#endif

/* Header and footer of a file, as bytes: encoding, and decoding with every
 * number checked. csrc/FORMAT.md is the specification; the constants that it
 * names are here.
 *
 * Decoding borrows the input for the call and allocates only what the input's
 * own length pays for. On FP_CORRUPT, FP_TRUNCATED and FP_TOO_NEW the decoder
 * leaves in fp_layout_error the offset (relative to the bytes it was given)
 * and a static text that says what was expected. No Python, no lock.
 */
#ifndef FP_CORE_LAYOUT_H
#define FP_CORE_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include "buffer.h"
#include "status.h"

#define FP_FORMAT_VERSION     1
#define FP_HEADER_BYTES       21 /* PROTO 5, SHORT_BINBYTES 16 bytes, POP */
#define FP_HEADER_FIXED_BYTES 18 /* in front of the flags */
#define FP_TAIL_BYTES         40 /* fixed end of the footer's payload */
#define FP_ALIGN              64 /* payloads of blobs, and the total length */
#define FP_OWN_BLOB_BYTES     ((size_t)16 << 10)
#define FP_SHARED_BLOB_BYTES  ((size_t)256 << 10)

/* The state word: two constants that differ in all 64 bits. */
#define FP_STATE_VALID UINT64_C(0x3a96c55369f00fa5)
#define FP_STATE_VOID  UINT64_C(0xc5693aac960ff05a)

/* Flag of header and footer: the graph has buffers in a second file. */
#define FP_FLAG_SIDECAR_FILE 1u

typedef enum {
    FP_BLOB_BYTEARRAY = 0, /* BYTEARRAY8 */
    FP_BLOB_BYTES = 1,     /* BINBYTES8 */
    FP_BLOB_STR = 2,       /* BINUNICODE8 */
} fp_blob_kind;

typedef struct {
    fp_blob_kind kind;
    uint32_t memo_number;
    uint64_t offset; /* of the payload, from the first byte of the dump */
    uint64_t length; /* bytes of the payload */
} fp_blob;

typedef struct {
    uint64_t total_length;  /* of the dump, header to STOP */
    uint64_t arrays_offset; /* == FP_HEADER_BYTES */
    uint64_t arrays_length; /* may be 0 */
    uint64_t graph_offset;  /* == arrays_offset + arrays_length */
    uint64_t graph_length;
    uint64_t state; /* FP_STATE_VALID or FP_STATE_VOID */
    size_t n_blobs;
    fp_blob *blobs;    /* decode: owned, fp_footer_free() */
    size_t n_hashes;   /* ceil(sidecar / 1 MiB) + ceil(graph / 1 MiB) */
    uint64_t *hashes;  /* decode: owned */
    char *environment; /* UTF-8 JSON, not NUL-terminated; decode: owned */
    size_t environment_bytes;
    unsigned flags;
    /* With FP_FLAG_SIDECAR_FILE (core/sidecar_layout.h): */
    uint64_t n_buffers;
    uint64_t sidecar_file_length;
    uint64_t sidecar_file_root;
} fp_footer;

typedef struct {
    uint64_t offset;
    const char *expected;
} fp_layout_error;

/* The 21 bytes of a header. */
void fp_header_encode(unsigned char out[FP_HEADER_BYTES]);
/* ... with flags, and the flags of one that was decoded. */
void fp_header_encode_flags(unsigned char out[FP_HEADER_BYTES],
                            unsigned flags);
unsigned fp_header_flags(const unsigned char header[FP_HEADER_BYTES]);
/* FP_NOT_OURS where the magic is not there, FP_TOO_NEW for a later version,
 * FP_CORRUPT where the opcodes around it or the flags are wrong. */
fp_status fp_header_decode(const unsigned char *data, size_t n_bytes,
                           fp_layout_error *error);

/* What goes in front of a blob's payload: padding opcode and length opcode.
 * `position` is the file offset where this starts. Writes at most
 * FP_BLOB_PREFIX_MAX bytes, returns how many; the payload then begins at a
 * multiple of FP_ALIGN. */
#define FP_BLOB_PREFIX_MAX (3 + 63 + 9)
size_t fp_blob_prefix_encode(unsigned char out[FP_BLOB_PREFIX_MAX],
                             uint64_t position, fp_blob_kind kind,
                             uint64_t n_bytes);
/* What follows it: BINPUT or LONG_BINPUT, POP. At most 6 bytes. */
#define FP_BLOB_SUFFIX_MAX 6
size_t fp_blob_suffix_encode(unsigned char out[FP_BLOB_SUFFIX_MAX],
                             uint32_t memo_number);

/* Appends everything behind the graph, BINBYTES to STOP, to `out` (which is
 * empty at the call). All fields of `footer` but total_length are given; that
 * one is computed and set. */
fp_status fp_footer_encode(fp_footer *footer, fp_buffer *out);

/* How many of a dump's last bytes a reader must have to learn the footer's
 * length: the tail, POP and STOP. */
#define FP_TAIL_READ_BYTES (FP_TAIL_BYTES + 2)
/* Reads the tail, checks its magic and returns in *n_bytes the length of the
 * whole footer, opcode to STOP: so many bytes from the end fp_footer_decode()
 * wants. `available` is how many bytes the file has in front of its end. */
fp_status fp_tail_decode(const unsigned char tail[FP_TAIL_READ_BYTES],
                         uint64_t available, uint64_t *n_bytes,
                         fp_layout_error *error);
/* Decodes and checks: opcodes, magics, hash, state word, every extent against
 * total_length and against its neighbours, blobs in ascending order inside the
 * sidecar and 64-byte aligned, the number of hashes, total_length == the
 * footer's own offset + length. `data` is the footer, opcode to STOP. */
fp_status fp_footer_decode(const unsigned char *data, size_t n_bytes,
                           fp_footer *out, fp_layout_error *error);
void fp_footer_free(fp_footer *footer); /* what decode allocated */

#endif

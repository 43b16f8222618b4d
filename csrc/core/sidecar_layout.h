/* The sidecar file of a dump in two files, as bytes: encoding, and decoding
 * with every number checked. csrc/FORMAT.md, "Two files", is the
 * specification.
 *
 *     header
 *     records: zeros, kind, length, payload      one for each buffer,
 *     zeros, kind, length                        and one for the index:
 *     index, hashes, zeros, tail                 its payload
 *
 * All in front of the index's payload is one hashed region.
 *
 * Decoding borrows its input and allocates only what the input's own length
 * pays for. On FP_CORRUPT, FP_TRUNCATED and FP_TOO_NEW the decoder leaves in
 * fp_layout_error what was expected and where, relative to the bytes it was
 * given. No Python, no lock.
 */
#ifndef FP_CORE_SIDECAR_LAYOUT_H
#define FP_CORE_SIDECAR_LAYOUT_H

#include <stddef.h>
#include <stdint.h>

#include "buffer.h"
#include "layout.h"
#include "status.h"

#define FP_SIDECAR_FILE_VERSION      1
#define FP_SIDECAR_FILE_HEADER_BYTES 24
#define FP_SIDECAR_FILE_TAIL_BYTES   64
#define FP_SIDECAR_FILE_STATE_OFFSET 32 /* of the state word in the tail */
/* Zeros, kind and length in front of a payload. */
#define FP_RECORD_PREFIX_MAX (63 + 16)

typedef enum {
    FP_RECORD_WRITABLE, /* a buffer */
    FP_RECORD_READ_ONLY,
    FP_RECORD_INDEX, /* the last one */
} fp_record_kind;

typedef struct {
    uint64_t offset; /* of the payload in the sidecar file */
    uint64_t length;
    int is_read_only;
} fp_sidecar_buffer;

typedef struct {
    uint64_t region_length; /* where the index's payload starts */
    uint64_t total_length;
    uint64_t state; /* FP_STATE_VALID or FP_STATE_VOID (layout.h) */
    uint64_t root;  /* over index, hashes and tail */
    size_t n_buffers;
    fp_sidecar_buffer *buffers; /* decode: owned */
    size_t n_hashes;            /* ceil(region_length / 1 MiB) */
    uint64_t *hashes;           /* decode: owned */
} fp_sidecar_index;

void
fp_sidecar_file_header_encode(unsigned char out[FP_SIDECAR_FILE_HEADER_BYTES]);
/* FP_NOT_OURS where the magic is not there. */
fp_status fp_sidecar_file_header_decode(
    const unsigned char data[FP_SIDECAR_FILE_HEADER_BYTES],
    fp_layout_error *error);

/* What stands in front of a payload when the record starts at `position`;
 * returns its length. The payload is then at a multiple of FP_ALIGN. */
size_t fp_record_prefix_encode(unsigned char out[FP_RECORD_PREFIX_MAX],
                               uint64_t position, fp_record_kind kind,
                               uint64_t length);
/* How long it is; the reader then has so many bytes to decode. */
size_t fp_record_prefix_bytes(uint64_t position);
/* `data` has fp_record_prefix_bytes(position) bytes. */
fp_status fp_record_prefix_decode(const unsigned char *data, uint64_t position,
                                  fp_record_kind *kind, uint64_t *length,
                                  fp_layout_error *error);

/* How long the index's payload is, in a region of so many bytes. */
uint64_t fp_sidecar_index_bytes(uint64_t n_buffers, uint64_t region_length);
/* Appends the payload of the index record. Sets total_length and root. */
fp_status fp_sidecar_index_encode(fp_sidecar_index *index, fp_buffer *out);

/* Reads the last bytes of a file in which `available` bytes are in front of
 * their end, and returns in *n_bytes the length of the index's payload, which
 * they end. FP_NOT_OURS where the magic is not there. */
fp_status
fp_sidecar_tail_decode(const unsigned char tail[FP_SIDECAR_FILE_TAIL_BYTES],
                       uint64_t available, uint64_t *n_bytes,
                       fp_layout_error *error);
/* Decodes the payload of the index record and checks all of it. */
fp_status fp_sidecar_index_decode(const unsigned char *data, size_t n_bytes,
                                  fp_sidecar_index *out,
                                  fp_layout_error *error);
void fp_sidecar_index_free(fp_sidecar_index *index);

#endif

/* The sidecar: array bytes and large leaves, staged in front of the graph.
 *
 * Each payload gets a blob (own or shared, FORMAT.md) with a memo number from
 * the walk's counter. Bytes are copied into the ring block by block; when the
 * ring is full it is flushed with the GIL released, so between two pieces of a
 * payload anything may have changed: callers read pointers and sizes again.
 *
 * Ownership: borrows the ring; owns the blob table and the open shared blob
 * until fp_sidecar_free(). GIL held on entry and return of every function.
 * Errors: -1 with an exception set.
 */
#ifndef FP_SIDECAR_H
#define FP_SIDECAR_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <sys/types.h>

#include "core/layout.h"
#include "staging.h"

typedef struct fp_sidecar {
    fp_staging staging;
    unsigned header_flags; /* of the file's header */
    fp_blob *blobs;
    size_t n_blobs;
    size_t blobs_capacity;
    unsigned char *shared; /* the open shared blob, or NULL */
    size_t shared_length;  /* bytes in use */
    uint32_t shared_number;
    int is_silent; /* nothing may be flushed: reset may come */
    fp_spare_blocks
        *spare; /* borrowed: where the shared blob's memory is from */
} fp_sidecar;

/* Stages the header and opens the sidecar's hash region. */
int fp_sidecar_start(fp_sidecar *sidecar);

/* Whether n_bytes of payload can be staged without a flush, whatever blobs
 * they need. */
int fp_sidecar_fits(const fp_sidecar *sidecar, size_t n_bytes);

/* A blob of its own: begin, then exactly n_bytes into sidecar->staging, then
 * end. No other blob may begin in between. */
int fp_sidecar_begin(fp_sidecar *sidecar, fp_blob_kind kind, uint64_t n_bytes,
                     uint32_t memo_number);
int fp_sidecar_end(fp_sidecar *sidecar);

/* Room in a shared blob for an array of n_bytes (1 .. FP_OWN_BLOB_BYTES - 1):
 * where to copy it, and its offset in the blob. *opened is set where a new
 * blob was opened: its number is then sidecar->shared_number, which the caller
 * has drawn and passes in `number_if_opened`. */
int fp_sidecar_will_open(const fp_sidecar *sidecar, size_t n_bytes);
int fp_sidecar_share(fp_sidecar *sidecar, size_t n_bytes,
                     uint32_t number_if_opened, unsigned char **where,
                     size_t *offset);
/* Closes the open shared blob, if any. */
int fp_sidecar_close_shared(fp_sidecar *sidecar);

/* Forget everything that was staged (ring not yet flushed) and start anew;
 * this ends the silence. */
int fp_sidecar_reset(fp_sidecar *sidecar);
void fp_sidecar_free(fp_sidecar *sidecar);

#endif

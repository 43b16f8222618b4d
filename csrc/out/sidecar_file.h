/* The second file of a dump in two: arrays and PickleBuffers, each a buffer
 * of its own, in the order in which the graph asks for them
 * (core/sidecar_layout.h).
 *
 * Ownership: borrows the ring; owns the table of buffers until
 * fp_sidecar_file_free(). GIL held on entry and return, but where said
 * otherwise. Errors: -1 with an exception set.
 */
#ifndef FP_SIDECAR_FILE_H
#define FP_SIDECAR_FILE_H

#include "core/sidecar_layout.h"
#include "staging.h"

typedef struct {
    fp_staging staging;
    fp_sidecar_index index; /* `buffers` grow; the rest is set at the end */
    size_t capacity;        /* of index.buffers */
} fp_sidecar_file;

/* Stages the header and opens the hashed region. */
int fp_sidecar_file_start(fp_sidecar_file *file);
/* Whether a buffer of n_bytes can be staged without a flush. */
int fp_sidecar_file_fits(const fp_sidecar_file *file, size_t n_bytes);
/* A buffer: exactly n_bytes into file->staging follow. */
int fp_sidecar_file_begin(fp_sidecar_file *file, uint64_t n_bytes,
                          int is_read_only);
/* Index and tail, and all of it written. Without the GIL. */
fp_status fp_sidecar_file_finish(fp_sidecar_file *file);
/* Forget everything that was staged (ring not yet flushed) and start anew. */
int fp_sidecar_file_reset(fp_sidecar_file *file);
void fp_sidecar_file_free(fp_sidecar_file *file);

#endif

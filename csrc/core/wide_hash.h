/* XXH3-128: of bytes, of large payloads block by block by several threads, and
 * of the columns of a table that lies row by row.
 *
 * A digest is 16 bytes, most significant first, the same on every processor.
 * A payload is hashed as a whole up to FP_WIDE_BLOCK_BYTES; of a larger one each
 * block is hashed by itself, and then the digests that stand behind one another:
 * so the number of threads makes no difference.
 *
 * Ownership: everything is borrowed for the time of a call; a state is the
 * caller's. Called without the GIL where there is much to do. Errors: status.
 */
#ifndef FP_CORE_WIDE_HASH_H
#define FP_CORE_WIDE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

#define FP_WIDE_BYTES       16
#define FP_WIDE_BLOCK_BYTES ((size_t)1 << 20)

typedef struct {
    unsigned char bytes[FP_WIDE_BYTES];
} fp_wide;

fp_wide fp_wide_hash(const void *data, size_t n_bytes);

/* Of pieces that come one after the other. NULL where there is no memory; begin
 * starts a new hash. */
void *fp_wide_state_new(void);
void *fp_wide_state_copy(const void *state);
void fp_wide_begin(void *state);
void fp_wide_update(void *state, const void *data, size_t n_bytes);
fp_wide fp_wide_digest(const void *state);
void fp_wide_state_free(void *state);

/* Of a payload's blocks, by their digests. */
fp_wide fp_wide_of_blocks(const fp_wide *digests, size_t n_blocks);

/* A payload that arrives in pieces of any size. Zeroed at first; freed by
 * finish, which is to be called after a failure, too. */
typedef struct {
    void *block;   /* owned state of the open block */
    void *digests; /* owned state over the closed ones */
    size_t filled;
    uint64_t n_closed;
    fp_wide last;
} fp_wide_payload;

fp_status fp_wide_payload_update(fp_wide_payload *payload, const void *data,
                                 size_t n_bytes);
/* `digest` may be NULL. */
fp_status fp_wide_payload_finish(fp_wide_payload *payload, fp_wide *digest);

/* Payloads that lie in memory as they are; several of them at once. */
typedef struct {
    const unsigned char *data;
    size_t n_bytes;
    fp_wide digest; /* the result */
} fp_wide_span;

fp_status fp_wide_hash_spans(fp_wide_span *spans, size_t n_spans,
                             int n_threads);

/* The columns of a table, each as a payload of its own: column i begins at
 * data + i * item_bytes, its elements are row_stride apart. item_bytes is a
 * power of two up to 64. */
typedef struct {
    const unsigned char *data;
    size_t n_rows;
    size_t n_columns;
    size_t item_bytes;
    ptrdiff_t row_stride;
} fp_wide_table;

fp_status fp_wide_hash_table(const fp_wide_table *table, fp_wide *digests,
                             int n_threads);

#endif

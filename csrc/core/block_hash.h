/* XXH3-64 of every 1 MiB block of a region of the file.
 *
 * The blocks restart after fp_block_hash_end_region(), so a region's hashes do
 * not depend on what lies before it. Bytes that arrive outside a
 * region (header, footer) are not fed in. The hashes of all regions stand one
 * after the other in `hashes`; the last block of a region may be short, an
 * empty region has none.
 *
 * Ownership: the struct is the caller's; `hashes` belongs to it until
 * fp_block_hash_free(). Zero-initialized is valid and empty. After a failure
 * (FP_NO_MEMORY) the hashes are of no use; reset or free it. Not locked: one
 * thread at a time.
 */
#ifndef FP_CORE_BLOCK_HASH_H
#define FP_CORE_BLOCK_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

#define FP_HASH_BLOCK_SHIFT 20
#define FP_HASH_BLOCK_BYTES ((size_t)1 << FP_HASH_BLOCK_SHIFT)

typedef struct fp_block_hash {
    void *state;         /* XXH3_state_t, allocated on first use */
    size_t block_filled; /* bytes of the open block seen so far */
    uint64_t *hashes;
    size_t n_hashes;
    size_t hashes_capacity;
} fp_block_hash;

fp_status fp_block_hash_update(fp_block_hash *hash, const void *data,
                               size_t n_bytes);
/* Closes the open block, if any: the next byte starts a new region. */
fp_status fp_block_hash_end_region(fp_block_hash *hash);
void fp_block_hash_reset(fp_block_hash *hash); /* forget every hash */
void fp_block_hash_free(fp_block_hash *hash);

/* One-shot XXH3-64 (seed 0) through the fastest code this processor has. */
uint64_t fp_xxh3(const void *data, size_t n_bytes);
/* Another hash for each seed: for tables that a file must not make slow. */
uint64_t fp_xxh3_seeded(const void *data, size_t n_bytes, uint64_t seed);
/* fp_xxh3() of two pieces, as if they lay behind one another. */
fp_status fp_xxh3_pair(const void *first, size_t n_first, const void *second,
                       size_t n_second, uint64_t *out);
/* The same of pieces that come one after the other, any number. The state is
 * the caller's, NULL where there is no memory; begin starts a new hash in it. */
void *fp_xxh3_state_new(void);
void fp_xxh3_begin(void *state);
void fp_xxh3_update(void *state, const void *data, size_t n_bytes);
uint64_t fp_xxh3_digest(const void *state);
void fp_xxh3_state_free(void *state);

#endif

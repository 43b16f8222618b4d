#include "block_hash.h"

#include <stdlib.h>

#include <xxhash.h>
#ifdef FP_HAVE_XXH_DISPATCH
/* Picks AVX2 or AVX-512 at run time; same values, about twice as fast. */
#include <xxh_x86dispatch.h>
#endif

#define FIRST_CAPACITY 16

uint64_t
fp_xxh3(const void *data, size_t n_bytes)
{
    return XXH3_64bits(n_bytes > 0 ? data : "", n_bytes);
}

uint64_t
fp_xxh3_seeded(const void *data, size_t n_bytes, uint64_t seed)
{
    return XXH3_64bits_withSeed(n_bytes > 0 ? data : "", n_bytes, seed);
}

fp_status
fp_xxh3_pair(const void *first, size_t n_first, const void *second,
             size_t n_second, uint64_t *out)
{
    XXH3_state_t *state = XXH3_createState();
    if (state == NULL) {
        return FP_NO_MEMORY;
    }
    (void)XXH3_64bits_reset(state);
    if (n_first > 0) {
        (void)XXH3_64bits_update(state, first, n_first);
    }
    if (n_second > 0) {
        (void)XXH3_64bits_update(state, second, n_second);
    }
    *out = XXH3_64bits_digest(state);
    (void)XXH3_freeState(state);
    return FP_OK;
}

void *
fp_xxh3_state_new(void)
{
    return XXH3_createState(); /* 64-byte aligned */
}

void
fp_xxh3_begin(void *state)
{
    (void)XXH3_64bits_reset(state);
}

void
fp_xxh3_update(void *state, const void *data, size_t n_bytes)
{
    if (n_bytes > 0) {
        (void)XXH3_64bits_update(state, data, n_bytes);
    }
}

uint64_t
fp_xxh3_digest(const void *state)
{
    return XXH3_64bits_digest(state);
}

void
fp_xxh3_state_free(void *state)
{
    (void)XXH3_freeState(state);
}

/* Room for one more hash, asked for before the block is closed, so that a
 * failure leaves the struct as it was. */
static fp_status
reserve_hash(fp_block_hash *hash)
{
    if (hash->n_hashes < hash->hashes_capacity) {
        return FP_OK;
    }
    size_t capacity = FIRST_CAPACITY;
    if (hash->hashes_capacity > 0) {
        if (hash->hashes_capacity > SIZE_MAX / sizeof(uint64_t) / 2) {
            return FP_NO_MEMORY;
        }
        capacity = hash->hashes_capacity * 2;
    }
    uint64_t *hashes = realloc(hash->hashes, capacity * sizeof(uint64_t));
    if (hashes == NULL) {
        return FP_NO_MEMORY;
    }
    hash->hashes = hashes;
    hash->hashes_capacity = capacity;
    return FP_OK;
}

/* Makes the state ready for the first byte of a block. */
static fp_status
open_block(fp_block_hash *hash)
{
    if (hash->state == NULL) {
        hash->state = XXH3_createState(); /* 64-byte aligned */
        if (hash->state == NULL) {
            return FP_NO_MEMORY;
        }
    }
    (void)XXH3_64bits_reset(hash->state);
    return FP_OK;
}

static fp_status
close_block(fp_block_hash *hash)
{
    fp_status status = reserve_hash(hash);
    if (status != FP_OK) {
        return status;
    }
    hash->hashes[hash->n_hashes++] = XXH3_64bits_digest(hash->state);
    hash->block_filled = 0;
    return FP_OK;
}

fp_status
fp_block_hash_update(fp_block_hash *hash, const void *data, size_t n_bytes)
{
    const unsigned char *next = data;
    while (n_bytes > 0) {
        fp_status status;
        size_t n_taken;
        if (hash->block_filled == 0 && n_bytes >= FP_HASH_BLOCK_BYTES) {
            /* A whole block at once needs no state. */
            status = reserve_hash(hash);
            if (status != FP_OK) {
                return status;
            }
            n_taken = FP_HASH_BLOCK_BYTES;
            hash->hashes[hash->n_hashes++] = fp_xxh3(next, n_taken);
        }
        else {
            if (hash->block_filled == 0) {
                status = open_block(hash);
                if (status != FP_OK) {
                    return status;
                }
            }
            n_taken = FP_HASH_BLOCK_BYTES - hash->block_filled;
            if (n_taken > n_bytes) {
                n_taken = n_bytes;
            }
            (void)XXH3_64bits_update(hash->state, next, n_taken);
            hash->block_filled += n_taken;
            if (hash->block_filled == FP_HASH_BLOCK_BYTES) {
                status = close_block(hash);
                if (status != FP_OK) {
                    return status;
                }
            }
        }
        next += n_taken;
        n_bytes -= n_taken;
    }
    return FP_OK;
}

fp_status
fp_block_hash_end_region(fp_block_hash *hash)
{
    return hash->block_filled > 0 ? close_block(hash) : FP_OK;
}

void
fp_block_hash_reset(fp_block_hash *hash)
{
    hash->block_filled = 0;
    hash->n_hashes = 0;
}

void
fp_block_hash_free(fp_block_hash *hash)
{
    if (hash->state != NULL) {
        (void)XXH3_freeState(hash->state);
    }
    free(hash->hashes);
    *hash = (fp_block_hash){0};
}

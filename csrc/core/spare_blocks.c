#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* posix_memalign under -std=c11 */
#endif

#include "spare_blocks.h"

#include <stdlib.h>

#define BLOCK_ALIGNMENT 64

/* The first that is kept, so that a small dump meets the block that the last
 * one has touched. */
void *
fp_spare_take(fp_spare_blocks *spare)
{
    void *block = NULL;

    for (size_t i = 0; spare != NULL && i < FP_SPARE_BLOCKS; i++) {
        if (atomic_load_explicit(&spare->blocks[i], memory_order_relaxed)
            == NULL)
        {
            continue;
        }
        block = atomic_exchange(&spare->blocks[i], NULL);
        if (block != NULL) {
            return block;
        }
    }
    if (posix_memalign(&block, BLOCK_ALIGNMENT, FP_SPARE_BLOCK_BYTES) != 0) {
        return NULL;
    }
    return block;
}

void
fp_spare_give(fp_spare_blocks *spare, void *block)
{
    if (block == NULL) {
        return;
    }
    for (size_t i = 0; spare != NULL && i < FP_SPARE_BLOCKS; i++) {
        void *expected = NULL;
        if (atomic_compare_exchange_strong(&spare->blocks[i], &expected,
                                           block))
        {
            return;
        }
    }
    free(block);
}

void
fp_spare_drop(fp_spare_blocks *spare)
{
    for (size_t i = 0; i < FP_SPARE_BLOCKS; i++) {
        free(atomic_exchange(&spare->blocks[i], NULL));
    }
}

size_t
fp_spare_bytes(fp_spare_blocks *spare)
{
    size_t n_bytes = 0;

    for (size_t i = 0; i < FP_SPARE_BLOCKS; i++) {
        if (atomic_load(&spare->blocks[i]) != NULL) {
            n_bytes += FP_SPARE_BLOCK_BYTES;
        }
    }
    return n_bytes;
}

/* Blocks of memory kept from one dump to the next.
 *
 * Fresh pages cost a fault each, and a block of a ring is 64 of them: for a
 * dump of a few MB that is a quarter of its time. What is kept are whole
 * blocks of FP_SPARE_BLOCK_BYTES, at most FP_SPARE_BLOCKS (4 MiB).
 *
 * Ownership: a zeroed struct is empty and belongs to the caller, who calls
 * fp_spare_drop() at the end. Who takes a block owns it, and gives it back or
 * frees it with free(). No lock: any threads may call any of these at once,
 * and a child of fork() finds every block either kept or not.
 */
#ifndef FP_CORE_SPARE_BLOCKS_H
#define FP_CORE_SPARE_BLOCKS_H

#include <stdatomic.h>
#include <stddef.h>

#define FP_SPARE_BLOCK_BYTES ((size_t)256 << 10)
#define FP_SPARE_BLOCKS      16

typedef struct {
    _Atomic(void *) blocks[FP_SPARE_BLOCKS];
} fp_spare_blocks;

/* Uninitialized, aligned for a cache line; NULL without memory. `spare` may be
 * NULL: a new block, and free() in its place. */
void *fp_spare_take(fp_spare_blocks *spare);
void fp_spare_give(fp_spare_blocks *spare, void *block); /* NULL is fine */
/* Frees what is kept. */
void fp_spare_drop(fp_spare_blocks *spare);
size_t fp_spare_bytes(fp_spare_blocks *spare);

#endif

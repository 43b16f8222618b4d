/* Large memory that is filled once from end to end.
 *
 * From 4 MiB on it lies in huge pages where there are any: a fault of a small
 * page costs as much as reading three of them.
 * No lock, no Python.
 */
#ifndef FP_CORE_PAGES_H
#define FP_CORE_PAGES_H

#include <stddef.h>

/* Uninitialized; the caller's, to be given to free(). NULL where there is no
 * memory. */
void *fp_pages_new(size_t n_bytes);
/* The same wish for memory that is there already and was not touched yet. */
void fp_pages_prefer_huge(void *memory, size_t n_bytes);
/* The same for memory that realloc() will move: all of its mapping is of one
 * kind, since the kernel moves no other in one piece, and n_bytes becomes a
 * size at which huge pages stay what they are when they are moved, if the
 * allocator puts fewer than FP_PAGES_HEAD bytes in front. */
void fp_pages_prefer_huge_movable(void *memory, size_t n_bytes);
size_t fp_pages_round_up(size_t n_bytes);
#define FP_PAGES_HEAD ((size_t)256)

#endif

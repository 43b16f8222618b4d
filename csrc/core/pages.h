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

#endif

#include "pages.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_PAGE_BYTES ((size_t)2 << 20)

void *
fp_pages_new(size_t n_bytes)
{
#ifdef MADV_HUGEPAGE
    void *memory;

    if (n_bytes >= 2 * HUGE_PAGE_BYTES
        && posix_memalign(&memory, HUGE_PAGE_BYTES, n_bytes) == 0)
    {
        fp_pages_prefer_huge(memory, n_bytes);
        return memory;
    }
#endif
    return malloc(n_bytes == 0 ? 1 : n_bytes);
}

void
fp_pages_prefer_huge(void *memory, size_t n_bytes)
{
#ifdef MADV_HUGEPAGE
    uintptr_t begin = (uintptr_t)memory;
    uintptr_t end = begin + n_bytes;
    uintptr_t first =
        (begin + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;

    if (n_bytes >= 2 * HUGE_PAGE_BYTES) {
        end = end / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
        (void)madvise((void *)first, end - first, MADV_HUGEPAGE);
    }
#else
    (void)memory;
    (void)n_bytes;
#endif
}

void
fp_pages_prefer_huge_movable(void *memory, size_t n_bytes)
{
#ifdef MADV_HUGEPAGE
    long page_bytes = sysconf(_SC_PAGESIZE);

    if (n_bytes >= 2 * HUGE_PAGE_BYTES && page_bytes > 0) {
        uintptr_t mask = ~((uintptr_t)page_bytes - 1);
        uintptr_t first = (uintptr_t)memory & mask;
        uintptr_t end =
            ((uintptr_t)memory + n_bytes + (uintptr_t)page_bytes - 1) & mask;
        (void)madvise((void *)first, end - first, MADV_HUGEPAGE);
    }
#else
    (void)memory;
    (void)n_bytes;
#endif
}

size_t
fp_pages_round_up(size_t n_bytes)
{
    if (n_bytes < 2 * HUGE_PAGE_BYTES || n_bytes > SIZE_MAX / 2) {
        return n_bytes;
    }
    n_bytes += FP_PAGES_HEAD + HUGE_PAGE_BYTES - 1;
    return n_bytes / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES - FP_PAGES_HEAD;
}

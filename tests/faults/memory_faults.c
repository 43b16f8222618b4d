/* Allocations that fail on demand: preloaded into a Python that the tests
 * start, and steered from there through ctypes (fault_shims.py).
 *
 * memory_arm() lets the n-th allocation (and `n_times` in all) fail, counted
 * from then on over malloc, calloc, realloc, posix_memalign, aligned_alloc
 * and anonymous mmap of callers between `low` and `high` (the text of one
 * library; 0 and 0: of everybody in the process, on any thread).
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>

/* The C library's own, under the names it keeps for such as us: dlsym() would
 * allocate. */
void *__libc_malloc(size_t n_bytes);
void *__libc_calloc(size_t n_items, size_t n_bytes);
void *__libc_realloc(void *memory, size_t n_bytes);
void *__libc_memalign(size_t alignment, size_t n_bytes);

static struct {
    atomic_int is_armed;
    atomic_long first;
    atomic_long n_times;
    atomic_uintptr_t low;
    atomic_uintptr_t high;
    atomic_long used;
    atomic_long failed;
} faults;

void memory_arm(long first, long n_times, uintptr_t low, uintptr_t high);
void memory_disarm(void);
long memory_used(void);
long memory_failed(void);

void
memory_arm(long first, long n_times, uintptr_t low, uintptr_t high)
{
    faults.first = first;
    faults.n_times = n_times;
    faults.low = low;
    faults.high = high;
    faults.used = 0;
    faults.failed = 0;
    faults.is_armed = 1;
}

void
memory_disarm(void)
{
    faults.is_armed = 0;
}

long
memory_used(void)
{
    return faults.used;
}

long
memory_failed(void)
{
    return faults.failed;
}

static int
fails(void *caller)
{
    uintptr_t address = (uintptr_t)caller;
    if (!faults.is_armed
        || (faults.high != 0
            && (address < faults.low || address >= faults.high)))
    {
        return 0;
    }
    long n = atomic_fetch_add(&faults.used, 1);
    if (n < faults.first || n - faults.first >= faults.n_times) {
        return 0;
    }
    atomic_fetch_add(&faults.failed, 1);
    errno = ENOMEM;
    return 1;
}

#define CALLER __builtin_return_address(0)

void *
malloc(size_t n_bytes)
{
    return fails(CALLER) ? NULL : __libc_malloc(n_bytes);
}

void *
calloc(size_t n_items, size_t n_bytes)
{
    return fails(CALLER) ? NULL : __libc_calloc(n_items, n_bytes);
}

void *
realloc(void *memory, size_t n_bytes)
{
    return fails(CALLER) ? NULL : __libc_realloc(memory, n_bytes);
}

void *
aligned_alloc(size_t alignment, size_t n_bytes)
{
    return fails(CALLER) ? NULL : __libc_memalign(alignment, n_bytes);
}

int
posix_memalign(void **out, size_t alignment, size_t n_bytes)
{
    if (fails(CALLER)) {
        return ENOMEM;
    }
    void *memory = __libc_memalign(alignment, n_bytes);
    if (memory == NULL) {
        return ENOMEM;
    }
    *out = memory;
    return 0;
}

#define WRAP_MMAP(symbol, offset_type)                                        \
    void *symbol(void *at, size_t n_bytes, int protection, int flags, int fd, \
                 offset_type offset)                                          \
    {                                                                         \
        void *(*real)(void *, size_t, int, int, int, offset_type);            \
        if ((flags & MAP_ANONYMOUS) && fails(CALLER)) {                       \
            return MAP_FAILED;                                                \
        }                                                                     \
        void *found = dlsym(RTLD_NEXT, #symbol);                              \
        memcpy(&real, &found, sizeof(found));                                 \
        return real(at, n_bytes, protection, flags, fd, offset);              \
    }

WRAP_MMAP(mmap, off_t)
WRAP_MMAP(mmap64, off64_t)

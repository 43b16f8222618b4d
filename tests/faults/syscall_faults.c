/* System calls that fail on demand: preloaded into a Python that the tests
 * start, and steered from there through ctypes (inside.py).
 *
 * fault_arm() chooses one call by its name in CALLS and what happens from its
 * n-th use on, `n_times` times: an errno, or half of the bytes only ("short").
 * Uses are counted while armed, of callers between `low` and `high` (the text
 * of one library; 0 and 0: of everybody). close() closes, also where it is
 * made to fail, as Linux does; nothing else is done by a call that fails.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#define SHORT (-1) /* in place of an errno */

/* clang-format off */
#define CALLS(X)                                                              \
    X(open) X(close) X(read) X(pread) X(preadv) X(write) X(pwrite)            \
    X(fsync) X(fdatasync) X(fchmod) X(fchown) X(fstat) X(lstat) X(stat)       \
    X(fstatat) X(fstatfs) X(statx) X(faccessat) X(ftruncate) X(fallocate)     \
    X(flock) X(fcntl) X(linkat) X(unlinkat) X(mmap) X(getrandom) X(readlink)  \
    X(readlinkat) X(rename) X(renameat) X(pthread_create)
/* clang-format on */

enum {
#define X(name) CALL_##name,
    CALLS(X)
#undef X
    N_CALLS
};

static const char *const call_names[N_CALLS] = {
#define X(name) #name,
    CALLS(X)
#undef X
};

static struct {
    atomic_int armed; /* 1 + the call, 0: none */
    atomic_long first;
    atomic_long n_times;
    atomic_int error;
    atomic_uintptr_t low;
    atomic_uintptr_t high;
    atomic_long used[N_CALLS];
    atomic_long failed;
} faults;

int fault_arm(const char *name, long first, long n_times, int error,
              uintptr_t low, uintptr_t high);
void fault_disarm(void);
long fault_used(const char *name);
long fault_failed(void);

static int
number_of(const char *name)
{
    for (int i = 0; i < N_CALLS; i++) {
        if (strcmp(call_names[i], name) == 0) {
            return i;
        }
    }
    return -1;
}

/* `name` may be "": then uses are counted and nothing fails. */
int
fault_arm(const char *name, long first, long n_times, int error, uintptr_t low,
          uintptr_t high)
{
    int call = number_of(name);
    if (call < 0 && name[0] != '\0') {
        return -1;
    }
    faults.first = first;
    faults.n_times = n_times;
    faults.error = error;
    faults.low = low;
    faults.high = high;
    faults.failed = 0;
    for (int i = 0; i < N_CALLS; i++) {
        faults.used[i] = 0;
    }
    faults.armed = call < 0 ? N_CALLS + 1 : call + 1;
    return 0;
}

void
fault_disarm(void)
{
    faults.armed = 0;
}

long
fault_used(const char *name)
{
    int call = number_of(name);
    return call < 0 ? -1 : faults.used[call];
}

long
fault_failed(void)
{
    return faults.failed;
}

/* 0: go on. SHORT or an errno otherwise. */
static int
fault(int call, void *caller)
{
    int armed = faults.armed;
    uintptr_t address = (uintptr_t)caller;
    if (armed == 0
        || (faults.high != 0
            && (address < faults.low || address >= faults.high)))
    {
        return 0;
    }
    long n = atomic_fetch_add(&faults.used[call], 1);
    if (armed != call + 1 || n < faults.first
        || n - faults.first >= faults.n_times)
    {
        return 0;
    }
    atomic_fetch_add(&faults.failed, 1);
    return faults.error;
}

/* The call of the C library; `real` is declared with the right type. */
#define REAL(name, real)                                                      \
    do {                                                                      \
        void *symbol = dlsym(RTLD_NEXT, name);                                \
        memcpy(&(real), &symbol, sizeof(symbol));                             \
    } while (0)

#define CALLER __builtin_return_address(0)

#define FAIL_OR_GO_ON(call, failed)                                           \
    do {                                                                      \
        int reason = fault(CALL_##call, CALLER);                              \
        if (reason > 0) {                                                     \
            errno = reason;                                                   \
            return failed;                                                    \
        }                                                                     \
    } while (0)

#define WRAP(call, symbol, type, failed, parameters, arguments)               \
    type symbol parameters;                                                   \
    type symbol parameters                                                    \
    {                                                                         \
        type(*real) parameters;                                               \
        FAIL_OR_GO_ON(call, failed);                                          \
        REAL(#symbol, real);                                                  \
        return real arguments;                                                \
    }

/* As WRAP, of calls that may transfer less than n_bytes. */
#define WRAP_TRANSFER(call, symbol, parameters, arguments)                    \
    ssize_t symbol parameters;                                                \
    ssize_t symbol parameters                                                 \
    {                                                                         \
        ssize_t(*real) parameters;                                            \
        int reason = fault(CALL_##call, CALLER);                              \
        if (reason > 0) {                                                     \
            errno = reason;                                                   \
            return -1;                                                        \
        }                                                                     \
        if (reason == SHORT && n_bytes > 1) {                                 \
            n_bytes /= 2;                                                     \
        }                                                                     \
        REAL(#symbol, real);                                                  \
        return real arguments;                                                \
    }

WRAP_TRANSFER(read, read, (int fd, void *data, size_t n_bytes),
              (fd, data, n_bytes))
WRAP_TRANSFER(write, write, (int fd, const void *data, size_t n_bytes),
              (fd, data, n_bytes))
WRAP_TRANSFER(pread, pread, (int fd, void *data, size_t n_bytes, off_t offset),
              (fd, data, n_bytes, offset))
WRAP_TRANSFER(pread, pread64,
              (int fd, void *data, size_t n_bytes, off64_t offset),
              (fd, data, n_bytes, offset))
WRAP_TRANSFER(pwrite, pwrite,
              (int fd, const void *data, size_t n_bytes, off_t offset),
              (fd, data, n_bytes, offset))
WRAP_TRANSFER(pwrite, pwrite64,
              (int fd, const void *data, size_t n_bytes, off64_t offset),
              (fd, data, n_bytes, offset))

/* Short: the first half of the first vector. */
#define WRAP_PREADV(symbol, offset_type)                                      \
    ssize_t symbol(int fd, const struct iovec *vectors, int n_vectors,        \
                   offset_type offset);                                       \
    ssize_t symbol(int fd, const struct iovec *vectors, int n_vectors,        \
                   offset_type offset)                                        \
    {                                                                         \
        ssize_t (*real)(int, const struct iovec *, int, offset_type);         \
        int reason = fault(CALL_preadv, CALLER);                              \
        if (reason > 0) {                                                     \
            errno = reason;                                                   \
            return -1;                                                        \
        }                                                                     \
        REAL(#symbol, real);                                                  \
        if (reason == SHORT && n_vectors > 0) {                               \
            struct iovec one = vectors[0];                                    \
            one.iov_len = (one.iov_len + 1) / 2;                              \
            return real(fd, &one, 1, offset);                                 \
        }                                                                     \
        return real(fd, vectors, n_vectors, offset);                          \
    }

WRAP_PREADV(preadv, off_t)
WRAP_PREADV(preadv64, off64_t)

#define WRAP_OPEN(symbol, parameters, arguments)                              \
    int symbol parameters;                                                    \
    int symbol parameters                                                     \
    {                                                                         \
        int(*real) parameters;                                                \
        va_list rest;                                                         \
        va_start(rest, flags);                                                \
        mode_t mode = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE   \
                          ? va_arg(rest, mode_t)                              \
                          : 0;                                                \
        va_end(rest);                                                         \
        FAIL_OR_GO_ON(open, -1);                                              \
        REAL(#symbol, real);                                                  \
        return real arguments;                                                \
    }

WRAP_OPEN(open, (const char *path, int flags, ...), (path, flags, mode))
WRAP_OPEN(open64, (const char *path, int flags, ...), (path, flags, mode))
WRAP_OPEN(openat, (int at, const char *path, int flags, ...),
          (at, path, flags, mode))
WRAP_OPEN(openat64, (int at, const char *path, int flags, ...),
          (at, path, flags, mode))

int
close(int fd)
{
    int (*real)(int);
    int reason = fault(CALL_close, CALLER);
    REAL("close", real);
    int result = real(fd);
    if (reason > 0) {
        errno = reason;
        return -1;
    }
    return result;
}

#define WRAP_FCNTL(symbol)                                                    \
    int symbol(int fd, int command, ...);                                     \
    int symbol(int fd, int command, ...)                                      \
    {                                                                         \
        int (*real)(int, int, ...);                                           \
        va_list rest;                                                         \
        va_start(rest, command);                                              \
        void *argument = va_arg(rest, void *);                                \
        va_end(rest);                                                         \
        FAIL_OR_GO_ON(fcntl, -1);                                             \
        REAL(#symbol, real);                                                  \
        return real(fd, command, argument);                                   \
    }

WRAP_FCNTL(fcntl)
WRAP_FCNTL(fcntl64)

WRAP(fsync, fsync, int, -1, (int fd), (fd))
WRAP(fdatasync, fdatasync, int, -1, (int fd), (fd))
WRAP(fchmod, fchmod, int, -1, (int fd, mode_t mode), (fd, mode))
WRAP(fchown, fchown, int, -1, (int fd, uid_t user, gid_t group),
     (fd, user, group))
WRAP(fstat, fstat, int, -1, (int fd, struct stat *out), (fd, out))
WRAP(fstat, fstat64, int, -1, (int fd, struct stat64 *out), (fd, out))
WRAP(lstat, lstat, int, -1, (const char *path, struct stat *out), (path, out))
WRAP(lstat, lstat64, int, -1, (const char *path, struct stat64 *out),
     (path, out))
WRAP(stat, stat, int, -1, (const char *path, struct stat *out), (path, out))
WRAP(stat, stat64, int, -1, (const char *path, struct stat64 *out),
     (path, out))
WRAP(fstatat, fstatat, int, -1,
     (int at, const char *path, struct stat *out, int flags),
     (at, path, out, flags))
WRAP(fstatat, fstatat64, int, -1,
     (int at, const char *path, struct stat64 *out, int flags),
     (at, path, out, flags))
WRAP(fstatfs, fstatfs, int, -1, (int fd, struct statfs *out), (fd, out))
WRAP(statx, statx, int, -1,
     (int at, const char *path, int flags, unsigned mask, struct statx *out),
     (at, path, flags, mask, out))
WRAP(faccessat, faccessat, int, -1,
     (int at, const char *path, int mode, int flags), (at, path, mode, flags))
WRAP(ftruncate, ftruncate, int, -1, (int fd, off_t length), (fd, length))
WRAP(ftruncate, ftruncate64, int, -1, (int fd, off64_t length), (fd, length))
WRAP(fallocate, fallocate, int, -1,
     (int fd, int mode, off_t offset, off_t length),
     (fd, mode, offset, length))
WRAP(flock, flock, int, -1, (int fd, int operation), (fd, operation))
WRAP(linkat, linkat, int, -1,
     (int at, const char *from, int to_at, const char *to, int flags),
     (at, from, to_at, to, flags))
WRAP(unlinkat, unlinkat, int, -1, (int at, const char *path, int flags),
     (at, path, flags))
WRAP(mmap, mmap, void *, MAP_FAILED,
     (void *at, size_t n_bytes, int protection, int flags, int fd,
      off_t offset),
     (at, n_bytes, protection, flags, fd, offset))
WRAP(mmap, mmap64, void *, MAP_FAILED,
     (void *at, size_t n_bytes, int protection, int flags, int fd,
      off64_t offset),
     (at, n_bytes, protection, flags, fd, offset))
WRAP(getrandom, getrandom, ssize_t, -1,
     (void *out, size_t n_bytes, unsigned flags), (out, n_bytes, flags))
WRAP(readlink, readlink, ssize_t, -1,
     (const char *path, char *out, size_t n_bytes), (path, out, n_bytes))
WRAP(readlinkat, readlinkat, ssize_t, -1,
     (int at, const char *path, char *out, size_t n_bytes),
     (at, path, out, n_bytes))
WRAP(renameat, renameat, int, -1,
     (int at, const char *from, int to_at, const char *to),
     (at, from, to_at, to))
WRAP(rename, rename, int, -1, (const char *from, const char *to), (from, to))

/* Reports an error as its result, not in errno. */
int
pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
               void *(*start)(void *), void *argument)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *),
                void *);
    int reason = fault(CALL_pthread_create, CALLER);
    if (reason > 0) {
        return reason;
    }
    REAL("pthread_create", real);
    return real(thread, attributes, start, argument);
}

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "file_copy.h"

#define MIB ((size_t)1 << 20)

static int
open_new(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0);
    return fd;
}

static void
write_all(int fd, const unsigned char *data, size_t n_bytes)
{
    size_t n_done = 0;
    while (n_done < n_bytes) {
        ssize_t n = write(fd, data + n_done, n_bytes - n_done);
        CHECK(n > 0);
        n_done += (size_t)n;
    }
}

static void
check_content(int fd, const unsigned char *data, size_t n_bytes)
{
    struct stat info;
    unsigned char *found = malloc(n_bytes + 1);
    CHECK(found != NULL);
    CHECK(fstat(fd, &info) == 0 && (size_t)info.st_size == n_bytes);
    size_t n_done = 0;
    while (n_done < n_bytes) {
        ssize_t n = pread(fd, found + n_done, n_bytes - n_done, (off_t)n_done);
        CHECK(n > 0);
        n_done += (size_t)n;
    }
    CHECK(memcmp(found, data, n_bytes) == 0);
    free(found);
}

/* Wherever the descriptors stand. */
static void
copy_sizes(const char *directory)
{
    const size_t sizes[] = {0,   1,       4095,    MIB - 1,
                            MIB, MIB + 1, 2 * MIB, 3 * MIB + 77};
    random_source source = {7};
    CHECK(chdir(directory) == 0);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        unsigned char *data = random_bytes_new(&source, sizes[i]);
        int from = open_new("from");
        int to = open_new("to");
        int reason = 0;
        write_all(from, data, sizes[i]);
        CHECK_OK(fp_file_copy(from, to, sizes[i], NULL, &reason));
        check_content(to, data, sizes[i]);
        check_content(from, data, sizes[i]);
        CHECK(lseek(to, 0, SEEK_CUR) == 0);
        CHECK(close(from) == 0 && close(to) == 0);
        free(data);
    }
}

static int n_asked;

static int
third_time(fp_interrupt *interrupt, int at_once)
{
    (void)interrupt;
    CHECK(!at_once);
    n_asked++;
    return n_asked == 3;
}

static void
copy_failures(const char *directory)
{
    random_source source = {8};
    unsigned char *data = random_bytes_new(&source, 5 * MIB);
    fp_interrupt interrupt = {third_time};
    int reason = 0;
    CHECK(chdir(directory) == 0);
    int from = open_new("from");
    int to = open_new("to");
    write_all(from, data, 5 * MIB);

    /* Given up: what is there is a prefix. */
    CHECK(fp_file_copy(from, to, 5 * MIB, &interrupt, &reason)
          == FP_SINK_FAILED);
    CHECK(n_asked == 3);
    check_content(to, data, 3 * MIB);

    /* The source is shorter than was said. */
    CHECK(fp_file_copy(from, to, 5 * MIB + 1, NULL, &reason) == FP_IO);
    CHECK(reason == EIO);

    /* No room for it, and no way to make some. */
    struct rlimit old;
    CHECK(getrlimit(RLIMIT_FSIZE, &old) == 0);
    struct rlimit limit = {MIB + 5, old.rlim_max};
    CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    CHECK(ftruncate(to, 0) == 0);
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    CHECK(fp_file_copy(from, to, 5 * MIB, NULL, &reason) == FP_IO);
    CHECK(setrlimit(RLIMIT_FSIZE, &old) == 0);
    CHECK(reason == EFBIG);
    check_content(to, data, MIB + 5);
    check_content(from, data, 5 * MIB);

    /* Descriptors that do not serve. */
    int only_write = open("from", O_WRONLY);
    int only_read = open("to", O_RDONLY);
    CHECK(only_write >= 0 && only_read >= 0);
    CHECK(fp_file_copy(only_write, to, 1, NULL, &reason) == FP_IO);
    CHECK(reason == EBADF);
    CHECK(fp_file_copy(from, only_read, 1, NULL, &reason) == FP_IO);
    CHECK(reason == EBADF);
    CHECK(close(only_write) == 0 && close(only_read) == 0);
    CHECK(close(from) == 0 && close(to) == 0);
    free(data);
}

const test_case file_copy_tests[] = {
    {"copy_sizes", copy_sizes},
    {"copy_failures", copy_failures},
    {NULL, NULL},
};

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "block_hash.h"
#include "block_read.h"
#include "check.h"

#define LEAD_BYTES 1000 /* of the file, in front of the region */

/* A file, its region's true hashes, and pieces to read it into. */
typedef struct {
    unsigned char *data; /* of the region */
    size_t n_bytes;
    uint64_t *hashes;
    size_t n_hashes;
    fp_piece *pieces;
    size_t n_pieces;
    int fd;
} region;

static void
make_region(region *made, random_source *source, const char *directory,
            size_t n_bytes, size_t most_piece)
{
    char path[4096];
    char lead[LEAD_BYTES] = {1};

    made->data = random_bytes_new(source, n_bytes);
    made->n_bytes = n_bytes;
    made->n_hashes = (n_bytes + FP_HASH_BLOCK_BYTES - 1) / FP_HASH_BLOCK_BYTES;
    made->hashes = malloc(made->n_hashes * sizeof(uint64_t) + 1);
    CHECK(made->hashes != NULL);
    for (size_t i = 0; i < made->n_hashes; i++) {
        size_t start = i * FP_HASH_BLOCK_BYTES;
        size_t n = n_bytes - start;
        made->hashes[i] =
            fp_xxh3(made->data + start,
                    n < FP_HASH_BLOCK_BYTES ? n : FP_HASH_BLOCK_BYTES);
    }
    snprintf(path, sizeof(path), "%s/region", directory);
    made->fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(made->fd >= 0);
    CHECK(write(made->fd, lead, sizeof(lead)) == sizeof(lead));
    for (size_t written = 0; written < n_bytes;) {
        ssize_t n = write(made->fd, made->data + written, n_bytes - written);
        CHECK(n > 0);
        written += (size_t)n;
    }
    CHECK(write(made->fd, "behind", 6) == 6);

    /* Each piece on its own, so that one byte too many is seen by a
     * sanitizer; some are empty. */
    made->pieces =
        malloc((4 * n_bytes / most_piece + 16) * 8 * sizeof(fp_piece));
    CHECK(made->pieces != NULL);
    made->n_pieces = 0;
    for (size_t left = n_bytes; left > 0 || made->n_pieces % 3 != 0;) {
        size_t n = random_below(source, most_piece + 1);
        if (n > left) {
            n = left;
        }
        made->pieces[made->n_pieces].target = n == 0 ? NULL : malloc(n);
        made->pieces[made->n_pieces].n_bytes = n;
        made->n_pieces++;
        left -= n;
    }
}

static void
free_region(region *made)
{
    for (size_t i = 0; i < made->n_pieces; i++) {
        free(made->pieces[i].target);
    }
    free(made->pieces);
    free(made->hashes);
    free(made->data);
    close(made->fd);
}

static fp_block_read
reader_of(const region *made, int n_threads)
{
    return (fp_block_read){
        .fd = made->fd,
        .offset = LEAD_BYTES,
        .n_bytes = made->n_bytes,
        .pieces = made->pieces,
        .n_pieces = made->n_pieces,
        .hashes = made->hashes,
        .n_threads = n_threads,
    };
}

static void
check_pieces(const region *made)
{
    size_t position = 0;
    for (size_t i = 0; i < made->n_pieces; i++) {
        size_t n = (size_t)made->pieces[i].n_bytes;
        CHECK(n == 0
              || memcmp(made->pieces[i].target, made->data + position, n)
                     == 0);
        position += n;
    }
    CHECK(position == made->n_bytes);
}

/* Every size around a block, pieces from a few bytes to megabytes. */
static void
block_read_whole(const char *directory)
{
    static const size_t sizes[] = {
        1, 2, 1000, 1048575, 1048576, 1048577, 5 * 1048576, 9 * 1048576 + 77};
    static const size_t pieces[] = {300, 20000, 3000000};
    random_source source = {1};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (size_t k = 0; k < sizeof(pieces) / sizeof(pieces[0]); k++) {
            region made;
            make_region(&made, &source, directory, sizes[i], pieces[k]);
            for (int n_threads = 1; n_threads <= 4; n_threads++) {
                fp_block_read read = reader_of(&made, n_threads);
                CHECK_OK(fp_block_read_run(&read));
                check_pieces(&made);
                CHECK(lseek(made.fd, 0, SEEK_CUR)
                      == (off_t)(LEAD_BYTES + sizes[i] + 6));
                /* What is in memory is checked in place. */
                read.fd = -1;
                CHECK_OK(fp_block_read_run(&read));
            }
            free_region(&made);
        }
    }
    fp_block_read nothing = {.fd = -1, .n_threads = 2};
    CHECK_OK(fp_block_read_run(&nothing));
}

static void
flip(const region *made, size_t offset)
{
    unsigned char byte;
    CHECK(pread(made->fd, &byte, 1, (off_t)(LEAD_BYTES + offset)) == 1);
    byte ^= 0x10;
    CHECK(pwrite(made->fd, &byte, 1, (off_t)(LEAD_BYTES + offset)) == 1);
}

/* The lowest bad block is reported, whoever read it. */
static void
block_read_finds_lowest_bad_block(const char *directory)
{
    random_source source = {2};
    region made;

    make_region(&made, &source, directory, 12 * 1048576 + 5, 100000);
    for (int n_threads = 1; n_threads <= 4; n_threads++) {
        for (size_t bad = 0; bad < 13; bad++) {
            size_t low = bad * 1048576 + (bad == 12 ? 4 : 777777);
            size_t high = 12 * 1048576 + 2;
            flip(&made, low);
            flip(&made, high);
            fp_block_read read = reader_of(&made, n_threads);
            CHECK(fp_block_read_run(&read) == FP_CORRUPT);
            CHECK(read.bad_offset == LEAD_BYTES + bad * 1048576);
            read.hashes = NULL;
            CHECK_OK(fp_block_read_run(&read));
            flip(&made, low);
            flip(&made, high);
        }
    }
    free_region(&made);
}

static void
block_read_sees_the_end(const char *directory)
{
    random_source source = {3};
    region made;

    make_region(&made, &source, directory, 6 * 1048576, 500000);
    CHECK(ftruncate(made.fd, LEAD_BYTES + 3 * 1048576 + 9) == 0);
    for (int n_threads = 1; n_threads <= 3; n_threads++) {
        fp_block_read read = reader_of(&made, n_threads);
        CHECK(fp_block_read_run(&read) == FP_TRUNCATED);
        CHECK(read.bad_offset == LEAD_BYTES + 3 * 1048576);
    }
    free_region(&made);
}

static void
block_read_reports_errno(const char *directory)
{
    random_source source = {4};
    region made;

    make_region(&made, &source, directory, 5 * 1048576, 500000);
    fp_block_read read = reader_of(&made, 2);
    read.fd = open(directory, O_RDONLY);
    CHECK(read.fd >= 0);
    CHECK(fp_block_read_run(&read) == FP_IO);
    CHECK(read.saved_errno == EISDIR);
    close(read.fd);
    free_region(&made);
}

typedef struct {
    fp_interrupt interrupt;
    pthread_t caller;
    int n_calls;
    int end_at;
} interruption;

static int
interrupted(fp_interrupt *interrupt, int at_once)
{
    interruption *state = (interruption *)interrupt;
    CHECK(!at_once);
    CHECK(pthread_equal(pthread_self(), state->caller));
    return ++state->n_calls >= state->end_at;
}

static void
block_read_can_be_interrupted(const char *directory)
{
    random_source source = {5};
    region made;

    make_region(&made, &source, directory, 8 * 1048576, 500000);
    for (int n_threads = 1; n_threads <= 3; n_threads++) {
        interruption state = {{interrupted}, pthread_self(), 0, 1};
        fp_block_read read = reader_of(&made, n_threads);
        read.interrupt = &state.interrupt;
        flip(&made, 0); /* goes before what was read */
        CHECK(fp_block_read_run(&read) == FP_SINK_FAILED);
        CHECK(state.n_calls == 1);
        flip(&made, 0);
        state = (interruption){{interrupted}, pthread_self(), 0, 1000};
        CHECK_OK(fp_block_read_run(&read));
        CHECK(state.n_calls >= 1 && state.n_calls <= 9);
    }
    free_region(&made);
}

const test_case block_read_tests[] = {
    {"block_read_whole", block_read_whole},
    {"block_read_finds_lowest_bad_block", block_read_finds_lowest_bad_block},
    {"block_read_sees_the_end", block_read_sees_the_end},
    {"block_read_reports_errno", block_read_reports_errno},
    {"block_read_can_be_interrupted", block_read_can_be_interrupted},
    {NULL, NULL},
};

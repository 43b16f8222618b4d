#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "block_hash.h"
#include "check.h"
#include "read_ahead.h"

#define LEAD_BYTES 1000 /* of the file, in front of the region */

/* A region with blobs in it, its file and its true hashes. */
typedef struct {
    unsigned char *data, *gaps;
    size_t n_bytes;
    uint64_t *hashes;
    size_t n_blobs;
    fp_ahead_blob *blobs;
    size_t *order; /* of all blobs; the last ones are never given */
    size_t n_order;
    int fd;
} region;

static void
make_region(region *made, random_source *source, const char *directory,
            size_t n_blobs, size_t most_bytes, size_t shuffled)
{
    char path[4096];
    size_t n_gap_bytes = 0;

    made->n_blobs = n_blobs;
    made->blobs = calloc(n_blobs + 1, sizeof(fp_ahead_blob));
    made->order = calloc(n_blobs + 1, sizeof(size_t));
    CHECK(made->blobs != NULL && made->order != NULL);
    made->n_bytes = 0;
    for (size_t i = 0; i < n_blobs; i++) {
        fp_ahead_blob *blob = &made->blobs[i];
        size_t n_gap = random_below(source, 90);
        n_gap_bytes += n_gap;
        made->n_bytes += n_gap;
        blob->start = made->n_bytes;
        blob->n_gap_bytes = n_gap_bytes;
        blob->n_bytes = random_below(source, most_bytes + 1);
        made->n_bytes += blob->n_bytes;
        made->order[i] = i;
    }
    made->n_bytes += 7;
    n_gap_bytes += 7;
    for (size_t i = 0; i < shuffled; i++) {
        size_t one = random_below(source, n_blobs);
        size_t two = random_below(source, n_blobs);
        size_t blob = made->order[one];
        made->order[one] = made->order[two];
        made->order[two] = blob;
    }
    made->n_order = n_blobs - n_blobs / 10;
    for (size_t i = 0; i < made->n_order; i++) {
        made->blobs[made->order[i]].comes_later = 1;
    }
    made->gaps = malloc(n_gap_bytes);
    made->data = random_bytes_new(source, made->n_bytes);
    made->hashes =
        malloc((made->n_bytes / FP_HASH_BLOCK_BYTES + 1) * sizeof(uint64_t));
    CHECK(made->gaps != NULL && made->hashes != NULL);
    for (size_t i = 0; i * FP_HASH_BLOCK_BYTES < made->n_bytes; i++) {
        size_t start = i * FP_HASH_BLOCK_BYTES;
        size_t n = made->n_bytes - start;
        made->hashes[i] =
            fp_xxh3(made->data + start,
                    n < FP_HASH_BLOCK_BYTES ? n : FP_HASH_BLOCK_BYTES);
    }
    snprintf(path, sizeof(path), "%s/region", directory);
    made->fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(made->fd >= 0);
    CHECK(ftruncate(made->fd, LEAD_BYTES) == 0);
    for (size_t written = 0; written < made->n_bytes;) {
        ssize_t n =
            pwrite(made->fd, made->data + written, made->n_bytes - written,
                   (off_t)(LEAD_BYTES + written));
        CHECK(n > 0);
        written += (size_t)n;
    }
}

static void
free_region(region *made)
{
    for (size_t i = 0; i < made->n_blobs; i++) {
        free(made->blobs[i].target);
    }
    free(made->blobs);
    free(made->order);
    free(made->data);
    free(made->gaps);
    free(made->hashes);
    CHECK(close(made->fd) == 0);
}

static fp_read_ahead
describe(const region *made, int n_threads)
{
    return (fp_read_ahead){
        .fd = made->fd,
        .offset = LEAD_BYTES,
        .n_bytes = made->n_bytes,
        .hashes = made->hashes,
        .blobs = made->blobs,
        .n_blobs = made->n_blobs,
        .gaps = made->gaps,
        .n_threads = n_threads,
    };
}

static void
give(region *made, fp_read_ahead *ahead, size_t place)
{
    size_t blob = made->order[place];
    /* Memory of its own: one byte too many is seen by a sanitizer. */
    unsigned char *target = malloc(made->blobs[blob].n_bytes + 1);

    CHECK(target != NULL);
    made->blobs[blob].target = target;
    fp_read_ahead_give(ahead, blob, target);
}

/* Uses the blobs, `window` of them given ahead; what was used
 * is changed, so that nothing may be written there any more. Returns the place
 * of the first that failed. */
static size_t
use_all(region *made, fp_read_ahead *ahead, size_t *n_given, size_t window)
{
    for (size_t i = 0; i < made->n_order; i++) {
        const fp_ahead_blob *blob = &made->blobs[made->order[i]];
        while (*n_given < made->n_order && *n_given <= i + window) {
            give(made, ahead, (*n_given)++);
        }
        if (fp_read_ahead_wait(ahead, made->order[i], NULL) != FP_OK) {
            return i;
        }
        CHECK(fp_read_ahead_is_ready(ahead, made->order[i]));
        if (blob->n_bytes > 0) {
            CHECK(memcmp(blob->target, made->data + blob->start, blob->n_bytes)
                  == 0);
            memset(blob->target, 0x5a, blob->n_bytes);
        }
    }
    for (size_t i = 0; i < made->n_order; i++) {
        const fp_ahead_blob *blob = &made->blobs[made->order[i]];
        for (size_t k = 0; k < blob->n_bytes; k++) {
            CHECK(blob->target[k] == 0x5a);
        }
    }
    return made->n_order;
}

static void
check_gaps(const region *made)
{
    uint64_t end = 0, n_gap_bytes = 0;

    for (size_t i = 0; i <= made->n_blobs; i++) {
        uint64_t start =
            i < made->n_blobs ? made->blobs[i].start : made->n_bytes;
        CHECK(memcmp(made->gaps + n_gap_bytes, made->data + end, start - end)
              == 0);
        n_gap_bytes += start - end;
        end = start + (i < made->n_blobs ? made->blobs[i].n_bytes : 0);
    }
}

static void
reads_all_in_any_order(const char *directory)
{
    static const size_t most_bytes[] = {300, 60000, 700000, 4000000};
    random_source source = {11};

    for (int i = 0; i < 24; i++) {
        size_t most = most_bytes[i % 4];
        region made;
        fp_read_ahead ahead;
        size_t n_given = 0;
        make_region(&made, &source, directory,
                    12000000 / most > 400 ? 400 : 12000000 / most + 1, most,
                    i % 3 * 20);
        ahead = describe(&made, 1 + i % 5);
        if (i % 7 == 0) {
            ahead.hashes = NULL;
        }
        CHECK_OK(fp_read_ahead_begin(&ahead));
        CHECK(use_all(&made, &ahead, &n_given, random_below(&source, 30))
              == made.n_order);
        CHECK_OK(fp_read_ahead_finish(&ahead, NULL));
        check_gaps(&made);
        fp_read_ahead_stop(&ahead);
        fp_read_ahead_stop(&ahead);
        free_region(&made);
    }
}

/* Of one order the same blob fails, whatever the threads did. */
static void
names_bad_blocks(const char *directory)
{
    random_source source = {12};

    for (int i = 0; i < 8; i++) {
        size_t failed = SIZE_MAX;
        region made;
        make_region(&made, &source, directory, 60, 400000, i % 3 * 20);
        size_t bad = random_below(&source, made.n_bytes);
        unsigned char byte = (unsigned char)(made.data[bad] ^ 4);
        CHECK(pwrite(made.fd, &byte, 1, (off_t)(LEAD_BYTES + bad)) == 1);
        for (int n_threads = 1; n_threads < 5; n_threads++) {
            fp_read_ahead ahead = describe(&made, n_threads);
            size_t n_given = 0, here;
            for (size_t k = 0; k < made.n_blobs; k++) {
                fp_ahead_blob *blob = &made.blobs[k];
                free(blob->target);
                *blob = (fp_ahead_blob){.start = blob->start,
                                        .n_bytes = blob->n_bytes,
                                        .n_gap_bytes = blob->n_gap_bytes,
                                        .comes_later = blob->comes_later};
            }
            CHECK_OK(fp_read_ahead_begin(&ahead));
            here = use_all(&made, &ahead, &n_given, 5);
            CHECK(failed == SIZE_MAX || here == failed);
            failed = here;
            CHECK(fp_read_ahead_finish(&ahead, NULL) == FP_CORRUPT);
            CHECK(ahead.failed_block == bad >> FP_HASH_BLOCK_SHIFT);
            fp_read_ahead_stop(&ahead);
        }
        free_region(&made);
    }
}

static void
stops_in_the_middle(const char *directory)
{
    random_source source = {13};

    for (int i = 0; i < 15; i++) {
        region made;
        size_t n_given;
        make_region(&made, &source, directory, 30, 800000, 3);
        fp_read_ahead ahead = describe(&made, 4);
        CHECK_OK(fp_read_ahead_begin(&ahead));
        for (n_given = 0; n_given < random_below(&source, 28); n_given++) {
            give(&made, &ahead, n_given);
        }
        fp_read_ahead_stop(&ahead);
        free_region(&made);
    }
}

static int
want_to_stop(fp_interrupt *interrupt, int at_once)
{
    (void)at_once;
    return interrupt->n_done > 0;
}

static void
is_interrupted_between_blocks(const char *directory)
{
    random_source source = {14};
    fp_interrupt interrupt = {.is_wanted = want_to_stop};
    region made;

    make_region(&made, &source, directory, 2, 20000000, 0);
    fp_read_ahead ahead = describe(&made, 2);
    CHECK_OK(fp_read_ahead_begin(&ahead));
    give(&made, &ahead, 0);
    made.n_order = 1;
    if (fp_read_ahead_wait(&ahead, made.order[0], &interrupt) == FP_OK) {
        CHECK(made.blobs[0].n_bytes < 4000000);
    }
    CHECK(fp_read_ahead_finish(&ahead, &interrupt) == FP_SINK_FAILED);
    fp_read_ahead_stop(&ahead);
    free_region(&made);
}

static void
goes_on_in_a_child(const char *directory)
{
    random_source source = {15};

    for (int i = 0; i < 6; i++) {
        region made;
        size_t n_given = 0;
        int is_child, status = 0;
        make_region(&made, &source, directory, 80, 300000, i % 3 * 20);
        fp_read_ahead ahead = describe(&made, 3);
        CHECK_OK(fp_read_ahead_begin(&ahead));
        while (n_given < (size_t)i * 10) {
            give(&made, &ahead, n_given++);
        }
        pid_t child = fork();
        CHECK(child >= 0);
        is_child = child == 0;
        CHECK(use_all(&made, &ahead, &n_given, 9) == made.n_order);
        CHECK_OK(fp_read_ahead_finish(&ahead, NULL));
        check_gaps(&made);
        fp_read_ahead_stop(&ahead);
        free_region(&made);
        if (is_child) {
            _exit(0);
        }
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
}

const test_case read_ahead_tests[] = {
    {"reads_all_in_any_order", reads_all_in_any_order},
    {"names_bad_blocks", names_bad_blocks},
    {"stops_in_the_middle", stops_in_the_middle},
    {"is_interrupted_between_blocks", is_interrupted_between_blocks},
    {"goes_on_in_a_child", goes_on_in_a_child},
    {NULL, NULL},
};

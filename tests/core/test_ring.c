#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "block_hash.h"
#include "check.h"
#include "ring.h"

/* A ring whose thread starts at the first flush: small data will do. */
static fp_status
new_ring(fp_sink *sink, int n_threads, fp_ring **out)
{
    fp_status status = fp_ring_new(sink, n_threads, out);
    if (status == FP_OK) {
        fp_ring_thread_from(*out, 0);
    }
    return status;
}

/* A sink that keeps what it is given, and fails at the n-th write. */
typedef struct {
    unsigned char *data;
    size_t length;
    size_t capacity;
    size_t n_writes;
    size_t fail_at;   /* 0: never */
    int is_slow;      /* sleeps, so that the producer runs into it */
    int was_blocked;  /* SIGINT was blocked in the writing thread */
    pthread_t writer; /* who wrote last */
} memory_sink;

static fp_status
memory_write(fp_sink *sink, const void *data, size_t n_bytes)
{
    memory_sink *memory = sink->context;
    memory->n_writes++;
    memory->writer = pthread_self();
    sigset_t mask;
    CHECK(pthread_sigmask(SIG_BLOCK, NULL, &mask) == 0);
    memory->was_blocked = sigismember(&mask, SIGINT);
    if (memory->is_slow) {
        struct timespec pause = {.tv_nsec = 200000};
        (void)nanosleep(&pause, NULL);
    }
    if (memory->n_writes == memory->fail_at) {
        return FP_SINK_FAILED;
    }
    CHECK(memory->fail_at == 0 || memory->n_writes < memory->fail_at);
    CHECK(n_bytes > 0 && n_bytes <= memory->capacity - memory->length);
    memcpy(memory->data + memory->length, data, n_bytes);
    memory->length += n_bytes;
    return FP_OK;
}

static fp_sink
make_sink(memory_sink *memory, size_t capacity)
{
    *memory =
        (memory_sink){.data = malloc(capacity + 1), .capacity = capacity};
    CHECK(memory->data != NULL);
    return (fp_sink){
        .write = memory_write, .own_thread = 1, .context = memory};
}

#define CALM_BYTES (FP_RING_CALM_BLOCKS * FP_RING_BLOCK_BYTES)

/* Stages through room/advance, as the walk does. */
static fp_status
stage(fp_ring *ring, const unsigned char *data, size_t n_bytes)
{
    while (n_bytes > 0) {
        unsigned char *room;
        size_t n_room;
        fp_status status = fp_ring_room(ring, &room, &n_room);
        if (status != FP_OK) {
            return status;
        }
        if (n_room == 0) {
            CHECK(fp_ring_free_bytes(ring) == 0);
            status = fp_ring_flush(ring);
            if (status != FP_OK) {
                return status;
            }
            CHECK(fp_ring_free_bytes(ring) >= CALM_BYTES / 2);
            continue;
        }
        CHECK(n_room <= fp_ring_free_bytes(ring));
        if (n_room > n_bytes) {
            n_room = n_bytes;
        }
        memcpy(room, data, n_room);
        fp_ring_advance(ring, n_room);
        data += n_room;
        n_bytes -= n_room;
    }
    return FP_OK;
}

/* What the hashes should be: appended to `expected`. */
static void
expect_region(fp_block_hash *expected, const unsigned char *data,
              size_t n_bytes)
{
    CHECK_OK(fp_block_hash_update(expected, data, n_bytes));
    CHECK_OK(fp_block_hash_end_region(expected));
}

static void
check_hashes(const fp_ring *ring, const fp_block_hash *expected)
{
    size_t n_hashes;
    const uint64_t *hashes = fp_ring_hashes(ring, &n_hashes);
    CHECK(n_hashes == expected->n_hashes);
    for (size_t i = 0; i < n_hashes; i++) {
        CHECK(hashes[i] == expected->hashes[i]);
    }
}

/* One file of random length in random steps, with a few regions, and flush,
 * hash_staged and finish thrown in at random places. */
static void
one_random_file(uint64_t seed, int n_threads, int own_thread)
{
    random_source source = {seed};
    size_t total = random_below(&source, 4 * FP_RING_BYTES);
    unsigned char *data = random_bytes_new(&source, total);
    memory_sink memory;
    fp_sink sink = make_sink(&memory, total);
    sink.own_thread = own_thread;
    memory.is_slow = random_below(&source, 8) == 0;
    fp_block_hash expected = {0};
    fp_ring *ring;
    CHECK_OK(new_ring(&sink, n_threads, &ring));
    CHECK(fp_ring_free_bytes(ring) == FP_RING_BYTES);

    size_t position = 0;
    size_t region_start = 0;
    int in_region = 0;
    while (position < total) {
        size_t n_bytes = random_below(&source, 4) == 0
                             ? random_below(&source, FP_RING_BYTES)
                             : random_below(&source, 3000);
        if (n_bytes > total - position) {
            n_bytes = total - position;
        }
        switch (random_below(&source, 3)) {
        case 0:
            CHECK_OK(stage(ring, data + position, n_bytes));
            break;
        case 1:
            CHECK_OK(fp_ring_write(ring, data + position, n_bytes));
            break;
        default:
            CHECK_OK(fp_ring_pass(ring, data + position, n_bytes));
        }
        position += n_bytes;
        CHECK(fp_ring_position(ring) == position);

        switch (random_below(&source, 16)) {
        case 0:
            CHECK_OK(fp_ring_flush(ring));
            break;
        case 1:
            CHECK_OK(fp_ring_hash_staged(ring));
            if (!in_region) {
                check_hashes(ring, &expected);
            }
            break;
        case 2:
            CHECK_OK(fp_ring_finish(ring));
            CHECK(memory.length == position);
            break;
        case 3:
        case 4:
            if (in_region) {
                expect_region(&expected, data + region_start,
                              position - region_start);
                CHECK_OK(fp_ring_end_region(ring));
                in_region = 0;
            }
            else {
                CHECK_OK(fp_ring_begin_region(ring));
                region_start = position;
                in_region = 1;
            }
            break;
        default:
            break;
        }
    }
    if (in_region) {
        expect_region(&expected, data + region_start, total - region_start);
        CHECK_OK(fp_ring_end_region(ring));
    }
    CHECK_OK(fp_ring_finish(ring));
    CHECK(memory.length == total);
    CHECK(memcmp(memory.data, data, total) == 0);
    check_hashes(ring, &expected);
    fp_ring_free(ring);
    fp_block_hash_free(&expected);
    free(memory.data);
    free(data);
}

static void
ring_random_one_thread(const char *directory)
{
    (void)directory;
    for (uint64_t seed = 0; seed < 30; seed++) {
        one_random_file(seed, 1, 1);
        one_random_file(seed, 4, 0);
    }
}

static void
ring_random_two_threads(const char *directory)
{
    (void)directory;
    for (uint64_t seed = 0; seed < 60; seed++) {
        one_random_file(seed, 2, 1);
    }
}

static void
ring_regions_side_by_side(const char *directory)
{
    (void)directory;
    random_source source = {11};
    const size_t header = 21;
    const size_t sidecar = 5 * FP_HASH_BLOCK_BYTES + 17;
    const size_t graph = 2 * FP_HASH_BLOCK_BYTES;
    const size_t total = header + sidecar + graph + 500;
    unsigned char *data = random_bytes_new(&source, total);
    fp_block_hash expected = {0};
    expect_region(&expected, data + header, sidecar);
    expect_region(&expected, data + header + sidecar, graph);
    for (int n_threads = 1; n_threads <= 2; n_threads++) {
        memory_sink memory;
        fp_sink sink = make_sink(&memory, total);
        fp_ring *ring;
        CHECK_OK(new_ring(&sink, n_threads, &ring));
        CHECK_OK(stage(ring, data, header));
        CHECK_OK(fp_ring_begin_region(ring));
        CHECK_OK(stage(ring, data + header, sidecar));
        CHECK_OK(fp_ring_end_region(ring));
        CHECK_OK(fp_ring_begin_region(ring)); /* empty: no hash */
        CHECK_OK(fp_ring_end_region(ring));
        CHECK_OK(fp_ring_begin_region(ring));
        CHECK_OK(stage(ring, data + header + sidecar, graph));
        CHECK_OK(fp_ring_end_region(ring));
        CHECK_OK(fp_ring_hash_staged(ring));
        check_hashes(ring, &expected);
        CHECK_OK(fp_ring_write(ring, data + total - 500, 500));
        CHECK_OK(fp_ring_finish(ring));
        CHECK(memory.length == total);
        CHECK(memcmp(memory.data, data, total) == 0);
        check_hashes(ring, &expected);
        fp_ring_free(ring);
        free(memory.data);
    }
    fp_block_hash_free(&expected);
    free(data);
}

/* Until the first flush nothing leaves, and reset forgets everything. */
static void
ring_reset(const char *directory)
{
    (void)directory;
    random_source source = {12};
    unsigned char *data = random_bytes_new(&source, FP_RING_BYTES);
    memory_sink memory;
    fp_sink sink = make_sink(&memory, FP_RING_BYTES);
    fp_ring *ring;
    CHECK_OK(new_ring(&sink, 2, &ring));
    CHECK_OK(fp_ring_begin_region(ring));
    CHECK_OK(stage(ring, data, FP_RING_BYTES));
    CHECK(fp_ring_free_bytes(ring) == 0);
    CHECK_OK(fp_ring_hash_staged(ring));
    CHECK(memory.n_writes == 0);
    fp_ring_reset(ring);
    CHECK(fp_ring_free_bytes(ring) == CALM_BYTES);
    CHECK(fp_ring_position(ring) == 0);
    size_t n_hashes;
    (void)fp_ring_hashes(ring, &n_hashes);
    CHECK(n_hashes == 0);

    CHECK_OK(stage(ring, data + 1, 10));
    CHECK_OK(fp_ring_begin_region(ring));
    CHECK_OK(stage(ring, data + 11, 1000));
    CHECK_OK(fp_ring_end_region(ring));
    CHECK_OK(fp_ring_finish(ring));
    CHECK(memory.length == 1010);
    CHECK(memcmp(memory.data, data + 1, 1010) == 0);
    const uint64_t *hashes = fp_ring_hashes(ring, &n_hashes);
    CHECK(n_hashes == 1 && hashes[0] == fp_xxh3(data + 11, 1000));
    fp_ring_free(ring);
    free(memory.data);
    free(data);
}

static void
ring_thread_only_when_needed(const char *directory)
{
    (void)directory;
    random_source source = {13};
    unsigned char *data = random_bytes_new(&source, FP_RING_BYTES * 2);
    memory_sink memory;
    fp_sink sink = make_sink(&memory, FP_RING_BYTES * 2);
    fp_ring *ring;

    /* Small: finish writes by itself. */
    CHECK_OK(new_ring(&sink, 8, &ring));
    CHECK_OK(stage(ring, data, FP_RING_BYTES));
    CHECK_OK(fp_ring_finish(ring));
    CHECK(pthread_equal(memory.writer, pthread_self()));
    CHECK(!memory.was_blocked);
    fp_ring_free(ring);

    /* Large: another thread, with all signals blocked. */
    memory.length = 0;
    CHECK_OK(new_ring(&sink, 2, &ring));
    CHECK_OK(stage(ring, data, FP_RING_BYTES * 2));
    CHECK_OK(fp_ring_finish(ring));
    CHECK(!pthread_equal(memory.writer, pthread_self()));
    CHECK(memory.was_blocked);
    sigset_t mask;
    CHECK(pthread_sigmask(SIG_BLOCK, NULL, &mask) == 0);
    CHECK(!sigismember(&mask, SIGINT));
    fp_ring_free(ring);

    /* Without the shortcut, not before it pays. */
    memory.length = 0;
    CHECK_OK(fp_ring_new(&sink, 2, &ring));
    CHECK_OK(stage(ring, data, FP_RING_BYTES * 2));
    CHECK_OK(fp_ring_finish(ring));
    CHECK(pthread_equal(memory.writer, pthread_self()));
    fp_ring_free(ring);

    /* A sink that must stay on its thread. */
    memory.length = 0;
    sink.own_thread = 0;
    CHECK_OK(new_ring(&sink, 2, &ring));
    CHECK_OK(stage(ring, data, FP_RING_BYTES * 2));
    CHECK_OK(fp_ring_finish(ring));
    CHECK(pthread_equal(memory.writer, pthread_self()));
    fp_ring_free(ring);
    free(memory.data);
    free(data);
}

/* Memory that is passed on: the thread that much data starts writes it, from
 * where it lies; the bytes and hashes are the same. A place from which write()
 * copies slowly goes through the blocks. */
static void
ring_passes_memory(const char *directory)
{
    (void)directory;
    random_source source = {31};
    const size_t n_bytes = FP_RING_THREAD_BYTES + 12345;
    unsigned char *data = random_bytes_new(&source, n_bytes + 8192);
    unsigned char *page = data + (4096 - (uintptr_t)data % 4096) % 4096;
    const size_t places[] = {0, 4000, 4090, 64};
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        for (int n_threads = 1; n_threads <= 2; n_threads++) {
            const unsigned char *passed = page + places[i];
            memory_sink memory;
            fp_sink sink = make_sink(&memory, n_bytes + 200);
            fp_ring *ring;
            CHECK_OK(fp_ring_new(&sink, n_threads, &ring));
            CHECK_OK(fp_ring_write(ring, data, 10));
            CHECK_OK(fp_ring_begin_region(ring));
            CHECK_OK(fp_ring_pass(ring, passed, n_bytes));
            CHECK(fp_ring_position(ring) == n_bytes + 10);
            CHECK_OK(fp_ring_write(ring, data, 90));
            CHECK_OK(fp_ring_end_region(ring));
            CHECK_OK(fp_ring_finish(ring));
            CHECK((n_threads == 1)
                  == (pthread_equal(memory.writer, pthread_self()) != 0));
            CHECK(memory.length == n_bytes + 100);
            CHECK(memcmp(memory.data, data, 10) == 0);
            CHECK(memcmp(memory.data + 10, passed, n_bytes) == 0);
            CHECK(memcmp(memory.data + 10 + n_bytes, data, 90) == 0);
            fp_block_hash expected = {0};
            expect_region(&expected, memory.data + 10, n_bytes + 90);
            check_hashes(ring, &expected);
            fp_block_hash_free(&expected);
            fp_ring_free(ring);
            free(memory.data);
        }
    }
    free(data);
}

/* Whichever write fails, the passed memory is the caller's again. */
static void
ring_fails_in_passed_memory(const char *directory)
{
    (void)directory;
    random_source source = {32};
    const size_t n_bytes = FP_RING_THREAD_BYTES + 12345;
    for (int n_threads = 1; n_threads <= 2; n_threads++) {
        for (size_t fail_at = 1; fail_at < 5; fail_at++) {
            memory_sink memory;
            fp_sink sink = make_sink(&memory, n_bytes + 200);
            fp_ring *ring;
            unsigned char *data = random_bytes_new(&source, n_bytes);
            memory.fail_at = fail_at;
            CHECK_OK(fp_ring_new(&sink, n_threads, &ring));
            CHECK_OK(fp_ring_write(ring, data, 100));
            fp_status status = fp_ring_pass(ring, data, n_bytes);
            free(data);
            if (status == FP_OK) {
                CHECK(memory.n_writes < fail_at);
            }
            else {
                CHECK(status == FP_SINK_FAILED);
                CHECK(fp_ring_flush(ring) == FP_SINK_FAILED);
                CHECK(fp_ring_finish(ring) == FP_SINK_FAILED);
            }
            fp_ring_free(ring);
            free(memory.data);
        }
    }
}

/* Blocks of a ring that has ended serve the next; no more than 4 MiB stay. */
static void
ring_keeps_blocks(const char *directory)
{
    (void)directory;
    fp_spare_blocks spare = {0};
    memory_sink memory;
    fp_sink sink = make_sink(&memory, 8 * FP_RING_BYTES);
    fp_ring *rings[4];
    unsigned char *room;
    size_t n_room;
    for (size_t i = 0; i < 4; i++) {
        CHECK_OK(fp_ring_new(&sink, 1, &rings[i]));
        fp_ring_use_spare(rings[i], &spare);
        while (fp_ring_free_bytes(rings[i]) > 0) {
            CHECK_OK(fp_ring_room(rings[i], &room, &n_room));
            memset(room, (int)i, n_room);
            fp_ring_advance(rings[i], n_room);
        }
    }
    CHECK(fp_spare_bytes(&spare) == 0);
    for (size_t i = 0; i < 4; i++) {
        fp_ring_free(rings[i]);
        CHECK(fp_spare_bytes(&spare)
              == (i == 0 ? FP_RING_BYTES : 2 * FP_RING_BYTES));
    }
    CHECK(fp_spare_bytes(&spare) == (size_t)4 << 20);
    void *first = atomic_load(&spare.blocks[0]);
    CHECK_OK(fp_ring_new(&sink, 1, &rings[0]));
    fp_ring_use_spare(rings[0], &spare);
    CHECK_OK(fp_ring_room(rings[0], &room, &n_room));
    CHECK(room == first);
    fp_ring_free(rings[0]);
    fp_spare_drop(&spare);
    CHECK(fp_spare_bytes(&spare) == 0);
    fp_spare_drop(&spare);
    free(memory.data);
}

static void *
take_and_give(void *context)
{
    fp_spare_blocks *spare = context;
    for (int turn = 0; turn < 2000; turn++) {
        unsigned char *blocks[FP_SPARE_BLOCKS / 2];
        for (size_t i = 0; i < FP_SPARE_BLOCKS / 2; i++) {
            blocks[i] = fp_spare_take(spare);
            CHECK(blocks[i] != NULL && (uintptr_t)blocks[i] % 64 == 0);
            memset(blocks[i], turn, 64);
        }
        for (size_t i = 0; i < FP_SPARE_BLOCKS / 2; i++) {
            CHECK(blocks[i][63] == (unsigned char)turn);
            fp_spare_give(spare, blocks[i]);
        }
        if (turn % 100 == 0) {
            fp_spare_drop(spare);
        }
    }
    return NULL;
}

/* No block is two threads' at once. */
static void
spare_of_several_threads(const char *directory)
{
    (void)directory;
    fp_spare_blocks spare = {0};
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) {
        CHECK(pthread_create(&threads[i], NULL, take_and_give, &spare) == 0);
    }
    for (size_t i = 0; i < 4; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
    }
    CHECK(fp_spare_bytes(&spare) <= (size_t)4 << 20);
    fp_spare_drop(&spare);
}

/* The n-th write fails: the error comes back from then on, the sink is not
 * called again (memory_write checks it), and nothing hangs. */
static void
ring_failing_sink(const char *directory)
{
    (void)directory;
    random_source source = {14};
    const size_t total = 3 * FP_RING_BYTES;
    unsigned char *data = random_bytes_new(&source, total);
    for (int n_threads = 1; n_threads <= 2; n_threads++) {
        for (size_t fail_at = 1; fail_at <= 3 * FP_RING_BLOCKS + 1; fail_at++)
        {
            for (int is_slow = 0; is_slow < 2; is_slow++) {
                memory_sink memory;
                fp_sink sink = make_sink(&memory, total);
                memory.fail_at = fail_at;
                memory.is_slow = is_slow;
                fp_ring *ring;
                CHECK_OK(new_ring(&sink, n_threads, &ring));
                CHECK_OK(fp_ring_begin_region(ring));
                fp_status status = stage(ring, data, total);
                if (status == FP_OK) {
                    status = fp_ring_finish(ring);
                }
                if (fail_at <= 3 * FP_RING_BLOCKS) {
                    CHECK(status == FP_SINK_FAILED);
                    unsigned char *room;
                    size_t n_room;
                    CHECK(fp_ring_room(ring, &room, &n_room)
                          == FP_SINK_FAILED);
                    CHECK(n_room == 0);
                    CHECK(fp_ring_flush(ring) == FP_SINK_FAILED);
                    CHECK(fp_ring_write(ring, data, 1) == FP_SINK_FAILED);
                    CHECK(fp_ring_begin_region(ring) == FP_SINK_FAILED);
                    CHECK(fp_ring_hash_staged(ring) == FP_SINK_FAILED);
                    CHECK(fp_ring_finish(ring) == FP_SINK_FAILED);
                    CHECK(fp_ring_finish(ring) == FP_SINK_FAILED);
                    CHECK(memory.n_writes == fail_at);
                }
                else {
                    CHECK(status == FP_OK);
                }
                fp_ring_free(ring);
                free(memory.data);
            }
        }
    }
    free(data);
}

/* Freeing in the middle joins the thread and forgets what was not written. */
static void
ring_free_while_writing(const char *directory)
{
    (void)directory;
    random_source source = {15};
    const size_t total = 3 * FP_RING_BYTES;
    unsigned char *data = random_bytes_new(&source, total);
    for (size_t part = 0; part < 8; part++) {
        memory_sink memory;
        fp_sink sink = make_sink(&memory, total);
        memory.is_slow = 1;
        fp_ring *ring;
        CHECK_OK(new_ring(&sink, 2, &ring));
        CHECK_OK(stage(ring, data, total * part / 8));
        CHECK_OK(fp_ring_flush(ring));
        fp_ring_free(ring);
        CHECK(memcmp(memory.data, data, memory.length) == 0);
        free(memory.data);
    }
    fp_ring_free(NULL);
    free(data);
}

static void
ring_to_a_file(const char *directory)
{
    random_source source = {16};
    const size_t total = 3 * FP_RING_BYTES + 777;
    unsigned char *data = random_bytes_new(&source, total);
    unsigned char *back = malloc(total);
    char path[4096];
    CHECK(back != NULL);
    CHECK(snprintf(path, sizeof(path), "%s/file", directory) > 0);
    for (int n_threads = 1; n_threads <= 2; n_threads++) {
        int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
        CHECK(fd >= 0);
        fp_sink sink = fp_fd_sink(fd);
        fp_ring *ring;
        CHECK_OK(new_ring(&sink, n_threads, &ring));
        CHECK_OK(fp_ring_write(ring, data, total));
        CHECK_OK(fp_ring_finish(ring));
        fp_ring_free(ring);
        CHECK(lseek(fd, 0, SEEK_END) == (off_t)total);
        CHECK(pread(fd, back, total, 0) == (ssize_t)total);
        CHECK(memcmp(data, back, total) == 0);
        CHECK(close(fd) == 0);

        /* Not open for writing: EBADF, kept by the sink. */
        fd = open(path, O_RDONLY);
        CHECK(fd >= 0);
        sink = fp_fd_sink(fd);
        CHECK_OK(new_ring(&sink, n_threads, &ring));
        CHECK(fp_ring_write(ring, data, total) == FP_IO);
        CHECK(fp_ring_finish(ring) == FP_IO);
        fp_ring_free(ring);
        CHECK(sink.saved_errno == EBADF);
        CHECK(close(fd) == 0);
    }
    free(back);
    free(data);
}

static void *
slow_reader(void *argument)
{
    int fd = *(int *)argument;
    size_t n_total = 0;
    unsigned char bytes[7001];
    ssize_t n_read;
    while ((n_read = read(fd, bytes, sizeof(bytes))) > 0) {
        for (ssize_t i = 0; i < n_read; i++) {
            CHECK(bytes[i] == (unsigned char)(n_total + (size_t)i));
        }
        n_total += (size_t)n_read;
    }
    CHECK(n_total == 1000000);
    return NULL;
}

/* Short writes of a pipe are continued. */
static void
sink_into_a_pipe(const char *directory)
{
    (void)directory;
    int ends[2];
    CHECK(pipe(ends) == 0);
    pthread_t reader;
    CHECK(pthread_create(&reader, NULL, slow_reader, &ends[0]) == 0);
    unsigned char *data = malloc(1000000);
    CHECK(data != NULL);
    for (size_t i = 0; i < 1000000; i++) {
        data[i] = (unsigned char)i;
    }
    fp_sink sink = fp_fd_sink(ends[1]);
    CHECK_OK(sink.write(&sink, data, 1000000));
    CHECK_OK(sink.write(&sink, data, 0));
    CHECK(close(ends[1]) == 0);
    CHECK(pthread_join(reader, NULL) == 0);
    CHECK(close(ends[0]) == 0);
    free(data);
}

/* Whoever is asked whether to go on: counts, and gives up at one question. */
typedef struct {
    fp_interrupt interrupt;
    pthread_t caller;
    int n_asked;
    int n_at_once;
    int end_at;
} patience;

static int
has_no_patience(fp_interrupt *interrupt, int at_once)
{
    patience *left = (patience *)interrupt;
    CHECK(pthread_equal(pthread_self(), left->caller));
    left->n_at_once += at_once;
    return ++left->n_asked == left->end_at;
}

/* Each flush asks; the answer is sticky, as an error is. */
static void
ring_interrupted(const char *directory)
{
    (void)directory;
    random_source source = {17};
    const size_t total = 4 * FP_RING_BYTES;
    unsigned char *data = random_bytes_new(&source, total);
    for (int n_threads = 1; n_threads <= 2; n_threads++) {
        for (int end_at = 0; end_at < 4; end_at++) {
            memory_sink memory;
            fp_sink sink = make_sink(&memory, total);
            patience left = {{has_no_patience}, pthread_self(), 0, 0, end_at};
            fp_ring *ring;
            sink.interrupt = &left.interrupt;
            CHECK_OK(new_ring(&sink, n_threads, &ring));
            fp_status status = fp_ring_write(ring, data, total);
            if (end_at == 0) {
                CHECK_OK(status);
                CHECK_OK(fp_ring_finish(ring));
                /* With a quick writer each flush makes room for a whole ring:
                 * the first one is full, three more have to fit. */
                CHECK(left.n_asked >= 3);
            }
            else {
                CHECK(status == FP_SINK_FAILED);
                CHECK(fp_ring_flush(ring) == FP_SINK_FAILED);
                CHECK(fp_ring_finish(ring) == FP_SINK_FAILED);
                CHECK(left.n_asked == end_at);
            }
            fp_ring_free(ring);
            free(memory.data);
        }
    }
    free(data);
}

static void
on_alarm(int number)
{
    (void)number;
}

/* A write that waits for ever is ended by a signal and who is asked then; a
 * large one asks between its pieces. */
static void
sink_interrupted(const char *directory)
{
    (void)directory;
    struct sigaction action = {.sa_handler = on_alarm};
    struct itimerval soon = {{0, 10000}, {0, 10000}};
    struct itimerval never = {{0, 0}, {0, 0}};
    patience left = {{has_no_patience}, pthread_self(), 0, 0, 3};
    int ends[2];
    char *data = calloc(1, 24 << 20);
    CHECK(data != NULL && pipe(ends) == 0);
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
    fp_sink sink = fp_fd_sink(ends[1]);
    sink.interrupt = &left.interrupt;
    CHECK(sink.write(&sink, data, 1 << 20) == FP_SINK_FAILED);
    CHECK(left.n_asked == 3 && left.n_at_once >= 2);
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    CHECK(close(ends[0]) == 0 && close(ends[1]) == 0);

    int fd = open("/dev/null", O_WRONLY);
    CHECK(fd >= 0);
    sink = fp_fd_sink(fd);
    left = (patience){{has_no_patience}, pthread_self(), 0, 0, 0};
    sink.interrupt = &left.interrupt;
    CHECK_OK(sink.write(&sink, data, 24 << 20));
    CHECK(left.n_asked == 2 && left.n_at_once == 0);
    left.end_at = 3;
    CHECK(sink.write(&sink, data, 24 << 20) == FP_SINK_FAILED);
    CHECK(close(fd) == 0);
    free(data);
}

const test_case ring_tests[] = {
    {"ring_random_one_thread", ring_random_one_thread},
    {"ring_random_two_threads", ring_random_two_threads},
    {"ring_regions_side_by_side", ring_regions_side_by_side},
    {"ring_reset", ring_reset},
    {"ring_thread_only_when_needed", ring_thread_only_when_needed},
    {"ring_passes_memory", ring_passes_memory},
    {"ring_fails_in_passed_memory", ring_fails_in_passed_memory},
    {"ring_keeps_blocks", ring_keeps_blocks},
    {"spare_of_several_threads", spare_of_several_threads},
    {"ring_failing_sink", ring_failing_sink},
    {"ring_free_while_writing", ring_free_while_writing},
    {"ring_to_a_file", ring_to_a_file},
    {"sink_into_a_pipe", sink_into_a_pipe},
    {"ring_interrupted", ring_interrupted},
    {"sink_interrupted", sink_interrupted},
    {NULL, NULL},
};

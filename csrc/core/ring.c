/* Positions are 64-bit counts of bytes since the start of the dump, and
 *
 *     written <= handed <= hashed <= staged <= written + capacity
 *
 * always holds, but while memory is passed on that is not the ring's. The byte at position p lies in block (p / block) % n_blocks at
 * offset p % block, so a position names its place for good: bytes staged
 * behind a half-filled block that the writer is reading are other bytes of it.
 * n_blocks changes only while nothing is staged.
 *
 * `handed`, `written`, `write_status` and `stop` belong to the mutex while the
 * writer runs; everything else belongs to the producer. `reclaimed` is what
 * the producer last saw of `written`, so that staging takes no lock.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* pthread_sigmask under -std=c11 */
#endif

#include "ring.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* What is passed on at once, so that it is hashed and written while it is in a
 * cache, and beside a writer thread, which takes all of a large write(): the
 * fewer, the larger its pages in the file's cache. */
#define LEAST_PASS   ((size_t)512 << 10)
#define LARGEST_PASS ((size_t)8 << 20)

/* From `position` on, bytes are inside (or outside) a region; an open region
 * ends there in either case. */
typedef struct {
    uint64_t position;
    int is_begin;
} region_mark;

struct fp_ring {
    fp_sink *sink;                         /* borrowed */
    fp_spare_blocks *spare;                /* borrowed, or NULL */
    unsigned char *blocks[FP_RING_BLOCKS]; /* owned, NULL until needed */
    size_t n_blocks;                       /* in use */
    uint64_t staged;
    uint64_t hashed;
    uint64_t reclaimed;
    fp_status status; /* sticky, as the producer knows it */

    fp_block_hash hash;
    int in_region;      /* at `hashed` */
    region_mark *marks; /* owned; between hashed and staged, ascending */
    size_t n_marks;
    size_t marks_capacity;

    uint64_t thread_from; /* bytes staged before a thread is worth it */
    int wants_thread;
    int thread_runs;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t work;     /* more was handed over, or stop */
    pthread_cond_t progress; /* more was written, or the sink failed */
    uint64_t handed;
    uint64_t written;
    const unsigned char *passed; /* borrowed: what lies from `written` up to
                                  * `handed`, in place of the blocks */
    fp_status write_status;
    int stop;
};

static size_t
capacity_of(const fp_ring *ring)
{
    return ring->n_blocks * FP_RING_BLOCK_BYTES;
}

static void
check_invariants(const fp_ring *ring)
{
    assert(ring->reclaimed <= ring->hashed);
    assert(ring->hashed <= ring->staged);
    assert(ring->staged - ring->reclaimed <= capacity_of(ring));
    assert(ring->n_marks == 0
           || ring->marks[ring->n_marks - 1].position <= ring->staged);
    (void)ring;
}

static unsigned char *
address_of(const fp_ring *ring, uint64_t position)
{
    size_t block = (size_t)(position / FP_RING_BLOCK_BYTES % ring->n_blocks);
    return ring->blocks[block] + position % FP_RING_BLOCK_BYTES;
}

/* The end of the block in which `position` lies, or `end` where that comes
 * first. */
static uint64_t
clip_to_block(uint64_t position, uint64_t end)
{
    uint64_t n_left = FP_RING_BLOCK_BYTES - position % FP_RING_BLOCK_BYTES;
    return end - position < n_left ? end : position + n_left;
}

fp_status
fp_ring_new(fp_sink *sink, int n_threads, fp_ring **out)
{
    *out = NULL;
    fp_ring *ring = calloc(1, sizeof(*ring));
    if (ring == NULL) {
        return FP_NO_MEMORY;
    }
    ring->sink = sink;
    ring->n_blocks = FP_RING_BLOCKS;
    ring->wants_thread = n_threads > 1 && sink->own_thread;
    ring->thread_from = FP_RING_THREAD_BYTES;
    if (pthread_mutex_init(&ring->mutex, NULL) != 0) {
        goto no_mutex;
    }
    if (pthread_cond_init(&ring->work, NULL) != 0) {
        goto no_work;
    }
    if (pthread_cond_init(&ring->progress, NULL) != 0) {
        goto no_progress;
    }
    *out = ring;
    return FP_OK;

no_progress:
    (void)pthread_cond_destroy(&ring->work);
no_work:
    (void)pthread_mutex_destroy(&ring->mutex);
no_mutex:
    free(ring);
    return FP_NO_MEMORY;
}

/* --- the writer thread --- */

/* Runs until it is told to stop or the sink fails; what was handed over and
 * not yet written is then left alone. */
static void *
writer_main(void *argument)
{
    fp_ring *ring = argument;
    (void)pthread_mutex_lock(&ring->mutex);
    for (;;) {
        while (!ring->stop && ring->written == ring->handed) {
            (void)pthread_cond_wait(&ring->work, &ring->mutex);
        }
        if (ring->stop) {
            break;
        }
        uint64_t start = ring->written;
        int is_passed = ring->passed != NULL;
        uint64_t end =
            is_passed ? ring->handed : clip_to_block(start, ring->handed);
        const unsigned char *data =
            is_passed ? ring->passed : address_of(ring, start);
        (void)pthread_mutex_unlock(&ring->mutex);

        fp_status status =
            ring->sink->write(ring->sink, data, (size_t)(end - start));

        (void)pthread_mutex_lock(&ring->mutex);
        if (status == FP_OK) {
            ring->written = end;
        }
        ring->write_status = status;
        (void)pthread_cond_signal(&ring->progress);
        if (status != FP_OK) {
            break;
        }
    }
    (void)pthread_mutex_unlock(&ring->mutex);
    return NULL;
}

/* Where no thread can be had, the caller writes by itself from then on. */
static void
start_writer(fp_ring *ring)
{
    sigset_t all_signals;
    sigset_t old_mask;
    (void)sigfillset(&all_signals);
    if (pthread_sigmask(SIG_SETMASK, &all_signals, &old_mask) != 0) {
        ring->wants_thread = 0;
        return;
    }
    ring->stop = 0;
    if (pthread_create(&ring->thread, NULL, writer_main, ring) == 0) {
        ring->thread_runs = 1;
    }
    else {
        ring->wants_thread = 0;
    }
    (void)pthread_sigmask(SIG_SETMASK, &old_mask, NULL);
}

static void
stop_writer(fp_ring *ring)
{
    if (!ring->thread_runs) {
        return;
    }
    (void)pthread_mutex_lock(&ring->mutex);
    ring->stop = 1;
    (void)pthread_cond_signal(&ring->work);
    (void)pthread_mutex_unlock(&ring->mutex);
    (void)pthread_join(ring->thread, NULL);
    ring->thread_runs = 0;
}

void
fp_ring_free(fp_ring *ring)
{
    if (ring == NULL) {
        return;
    }
    stop_writer(ring);
    (void)pthread_cond_destroy(&ring->progress);
    (void)pthread_cond_destroy(&ring->work);
    (void)pthread_mutex_destroy(&ring->mutex);
    for (size_t i = 0; i < FP_RING_BLOCKS; i++) {
        fp_spare_give(ring->spare, ring->blocks[i]);
    }
    free(ring->marks);
    fp_block_hash_free(&ring->hash);
    free(ring);
}

void
fp_ring_thread_from(fp_ring *ring, uint64_t n_bytes)
{
    ring->thread_from = n_bytes;
}

void
fp_ring_use_spare(fp_ring *ring, fp_spare_blocks *spare)
{
    ring->spare = spare;
}

/* --- staging --- */

size_t
fp_ring_free_bytes(const fp_ring *ring)
{
    return capacity_of(ring) - (size_t)(ring->staged - ring->reclaimed);
}

uint64_t
fp_ring_position(const fp_ring *ring)
{
    return ring->staged;
}

fp_status
fp_ring_room(fp_ring *ring, unsigned char **room, size_t *n_room)
{
    *room = NULL;
    *n_room = 0;
    if (ring->status != FP_OK) {
        return ring->status;
    }
    size_t n_free = fp_ring_free_bytes(ring);
    if (n_free == 0) {
        return FP_OK;
    }

    size_t block =
        (size_t)(ring->staged / FP_RING_BLOCK_BYTES % ring->n_blocks);
    if (ring->blocks[block] == NULL) {
        ring->blocks[block] = fp_spare_take(ring->spare);
        if (ring->blocks[block] == NULL) {
            ring->status = FP_NO_MEMORY;
            return ring->status;
        }
    }
    *room = address_of(ring, ring->staged);
    *n_room = (size_t)(clip_to_block(ring->staged, ring->staged + n_free)
                       - ring->staged);
    return FP_OK;
}

void
fp_ring_advance(fp_ring *ring, size_t n_bytes)
{
    ring->staged += n_bytes;
    check_invariants(ring);
}

static fp_status
add_mark(fp_ring *ring, int is_begin)
{
    if (ring->status != FP_OK) {
        return ring->status;
    }
    if (ring->n_marks == ring->marks_capacity) {
        size_t capacity = ring->marks_capacity * 2 + 4;
        region_mark *marks = realloc(ring->marks, capacity * sizeof(*marks));
        if (marks == NULL) {
            ring->status = FP_NO_MEMORY;
            return ring->status;
        }
        ring->marks = marks;
        ring->marks_capacity = capacity;
    }
    ring->marks[ring->n_marks++] =
        (region_mark){.position = ring->staged, .is_begin = is_begin};
    return FP_OK;
}

fp_status
fp_ring_begin_region(fp_ring *ring)
{
    return add_mark(ring, 1);
}

fp_status
fp_ring_end_region(fp_ring *ring)
{
    return add_mark(ring, 0);
}

void
fp_ring_reset(fp_ring *ring)
{
    assert(ring->handed == 0 && !ring->thread_runs);
    ring->n_blocks = FP_RING_CALM_BLOCKS;
    ring->staged = 0;
    ring->hashed = 0;
    ring->reclaimed = 0;
    ring->status = FP_OK;
    ring->n_marks = 0;
    ring->in_region = 0;
    fp_block_hash_reset(&ring->hash);
}

/* --- hashing and handing over --- */

/* Hashes up to `end` and obeys every mark up to and at it. */
static fp_status
hash_until(fp_ring *ring, uint64_t end)
{
    size_t mark = 0;
    fp_status status = FP_OK;
    while (status == FP_OK) {
        if (mark < ring->n_marks && ring->marks[mark].position == ring->hashed)
        {
            status = fp_block_hash_end_region(&ring->hash);
            ring->in_region = ring->marks[mark].is_begin;
            mark++;
            continue;
        }
        if (ring->hashed == end) {
            break;
        }
        uint64_t next = clip_to_block(ring->hashed, end);
        if (mark < ring->n_marks && ring->marks[mark].position < next) {
            next = ring->marks[mark].position;
        }
        if (ring->in_region) {
            status = fp_block_hash_update(&ring->hash,
                                          address_of(ring, ring->hashed),
                                          (size_t)(next - ring->hashed));
        }
        ring->hashed = next;
    }
    if (mark > 0) {
        ring->n_marks -= mark;
        memmove(ring->marks, ring->marks + mark,
                ring->n_marks * sizeof(*ring->marks));
    }
    return status;
}

/* Gives all that is hashed to the writer, or writes it where none runs. */
static fp_status
hand_over(fp_ring *ring)
{
    if (ring->thread_runs) {
        (void)pthread_mutex_lock(&ring->mutex);
        ring->handed = ring->hashed;
        fp_status status = ring->write_status;
        (void)pthread_cond_signal(&ring->work);
        (void)pthread_mutex_unlock(&ring->mutex);
        return status;
    }
    ring->handed = ring->hashed;
    while (ring->written < ring->handed) {
        uint64_t end = clip_to_block(ring->written, ring->handed);
        fp_status status =
            ring->sink->write(ring->sink, address_of(ring, ring->written),
                              (size_t)(end - ring->written));
        if (status != FP_OK) {
            return status;
        }
        ring->written = end;
    }
    return FP_OK;
}

/* Hashes and hands over everything staged, block by block, so that the writer
 * is busy early and a synchronous write finds the bytes in the cache. */
static fp_status
hand_over_staged(fp_ring *ring)
{
    fp_status status;
    do {
        status = hash_until(ring, clip_to_block(ring->hashed, ring->staged));
        if (status == FP_OK) {
            status = hand_over(ring);
        }
    } while (status == FP_OK && ring->hashed < ring->staged);
    return status;
}

/* Returns when no more than n_bytes of what was handed over are unwritten. */
static fp_status
wait_for_writer(fp_ring *ring, uint64_t n_bytes)
{
    fp_status status = FP_OK;
    if (ring->thread_runs) {
        (void)pthread_mutex_lock(&ring->mutex);
        while (ring->write_status == FP_OK
               && ring->handed - ring->written > n_bytes)
        {
            (void)pthread_cond_wait(&ring->progress, &ring->mutex);
        }
        status = ring->write_status;
        ring->reclaimed = ring->written;
        (void)pthread_mutex_unlock(&ring->mutex);
    }
    else {
        ring->reclaimed = ring->written;
    }
    return status;
}

static int
is_interrupted(const fp_ring *ring)
{
    fp_interrupt *interrupt = ring->sink->interrupt;

    if (interrupt == NULL) {
        return 0;
    }
    interrupt->n_done = ring->reclaimed;
    return fp_interrupted(interrupt, 0);
}

fp_status
fp_ring_flush(fp_ring *ring)
{
    if (ring->status != FP_OK) {
        return ring->status;
    }
    fp_status status = hand_over_staged(ring);
    if (status == FP_OK) {
        status = wait_for_writer(ring, capacity_of(ring) / 2);
    }
    if (status == FP_OK && is_interrupted(ring)) {
        status = FP_SINK_FAILED;
    }
    if (status == FP_OK && !ring->thread_runs) {
        /* Nothing is staged: the time to change the number of blocks. */
        ring->n_blocks = FP_RING_CALM_BLOCKS;
        if (ring->wants_thread && ring->staged >= ring->thread_from) {
            start_writer(ring);
            if (ring->thread_runs) {
                ring->n_blocks = FP_RING_BLOCKS;
            }
        }
    }
    ring->status = status;
    check_invariants(ring);
    return status;
}

/* Behind a flush: nothing is staged but what the writer has already. */
static fp_status
pass_piece(fp_ring *ring, const unsigned char *data, size_t n_bytes)
{
    fp_status status = FP_OK;
    fp_status hash_status = FP_OK;
    uint64_t end = ring->staged + n_bytes;

    if (ring->thread_runs) {
        status = wait_for_writer(ring, 0);
        if (status != FP_OK) {
            return status;
        }
        (void)pthread_mutex_lock(&ring->mutex);
        ring->passed = data;
        ring->handed = end;
        (void)pthread_cond_signal(&ring->work);
        (void)pthread_mutex_unlock(&ring->mutex);
    }
    if (ring->in_region) {
        hash_status = fp_block_hash_update(&ring->hash, data, n_bytes);
    }
    if (ring->thread_runs) {
        /* In any case: the memory is the caller's again behind this. */
        status = wait_for_writer(ring, 0);
        ring->passed = NULL;
    }
    else if (hash_status == FP_OK) {
        status = ring->sink->write(ring->sink, data, n_bytes);
        ring->handed = ring->written = ring->reclaimed = end;
    }
    if (status == FP_OK) {
        status = hash_status;
    }
    /* Also where it failed: nothing more is staged or written then. */
    ring->staged = ring->hashed = ring->reclaimed = end;
    if (status == FP_OK && is_interrupted(ring)) {
        status = FP_SINK_FAILED;
    }
    return status;
}

/* Where bytes go to a place in a file's page just behind the place in a page
 * from which they come, write() copies them three times slower (1.2 GB/s, not
 * 3.5: what `rep movsb` does on many processors). The place in the file is
 * given; the ring's blocks lie well to any. */
static int
copies_slowly(const fp_ring *ring, const unsigned char *data)
{
    uintptr_t distance = ((uintptr_t)ring->staged - (uintptr_t)data) % 4096;

    return distance > 0 && distance < 32;
}

fp_status
fp_ring_pass(fp_ring *ring, const void *data, size_t n_bytes)
{
    const unsigned char *next = data;
    uint64_t thread_from = ring->thread_from;

    if (n_bytes >= thread_from) {
        ring->thread_from = 0;
    }
    fp_status status = fp_ring_flush(ring);
    ring->thread_from = thread_from;
    if ((ring->thread_runs && n_bytes < LEAST_PASS)
        || (status == FP_OK && copies_slowly(ring, data)))
    {
        return fp_ring_write(ring, data, n_bytes);
    }
    while (status == FP_OK && n_bytes > 0) {
        size_t n_piece = ring->thread_runs ? LARGEST_PASS : LEAST_PASS;
        if (n_piece > n_bytes) {
            n_piece = n_bytes;
        }
        status = pass_piece(ring, next, n_piece);
        next += n_piece;
        n_bytes -= n_piece;
    }
    ring->status = status;
    if (status == FP_OK) {
        check_invariants(ring);
    }
    return status;
}

fp_status
fp_ring_write(fp_ring *ring, const void *data, size_t n_bytes)
{
    const unsigned char *next = data;
    while (n_bytes > 0) {
        unsigned char *room;
        size_t n_room;
        fp_status status = fp_ring_room(ring, &room, &n_room);
        if (status == FP_OK && n_room == 0) {
            status = fp_ring_flush(ring);
        }
        if (status != FP_OK) {
            return status;
        }
        if (n_room > n_bytes) {
            n_room = n_bytes;
        }
        if (n_room > 0) {
            memcpy(room, next, n_room);
            fp_ring_advance(ring, n_room);
            next += n_room;
            n_bytes -= n_room;
        }
    }
    return ring->status;
}

fp_status
fp_ring_finish(fp_ring *ring)
{
    if (ring->status == FP_OK) {
        ring->status = hand_over_staged(ring);
    }
    if (ring->status == FP_OK) {
        ring->status = wait_for_writer(ring, 0);
    }
    stop_writer(ring);
    check_invariants(ring);
    return ring->status;
}

fp_status
fp_ring_hash_staged(fp_ring *ring)
{
    if (ring->status == FP_OK) {
        ring->status = hash_until(ring, ring->staged);
    }
    return ring->status;
}

const uint64_t *
fp_ring_hashes(const fp_ring *ring, size_t *n_hashes)
{
    *n_hashes = ring->hash.n_hashes;
    return ring->hash.hashes;
}

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* preadv, pthread_sigmask under -std=c11 */
#endif

#include "block_read.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#include "block_hash.h"

/* So many pieces go into one system call; few systems take more than 1024. */
#define MAX_VECTORS 256
/* Below this a second thread costs more than it saves. */
#define BYTES_PER_THREAD ((uint64_t)1 << 20)
#define MAX_THREADS      64

/* What the threads of one call share. */
typedef struct {
    const fp_block_read *read;
    uint64_t n_blocks;
    atomic_uint_fast64_t next_block;
    atomic_int is_stopped; /* hand out no more blocks */
    /* The failure in the lowest block; under the mutex. */
    pthread_mutex_t mutex;
    fp_status status;
    uint64_t failed_block;
    int saved_errno;
} shared_read;

/* A place in the pieces. */
typedef struct {
    size_t piece;
    uint64_t piece_start; /* in the region */
} cursor;

/* The piece that holds `position`; positions only ever grow. */
static void
advance_to(cursor *at, const fp_block_read *read, uint64_t position)
{
    while (position - at->piece_start >= read->pieces[at->piece].n_bytes) {
        at->piece_start += read->pieces[at->piece].n_bytes;
        at->piece++;
    }
}

/* Describes the pieces from `position` up to `end`; returns how many. */
static int
gather(const fp_block_read *read, const cursor *from, uint64_t position,
       uint64_t end, struct iovec vectors[MAX_VECTORS])
{
    size_t piece = from->piece;
    uint64_t skipped = position - from->piece_start;
    int n = 0;

    while (position < end && n < MAX_VECTORS) {
        uint64_t n_bytes = read->pieces[piece].n_bytes - skipped;
        if (n_bytes > end - position) {
            n_bytes = end - position;
        }
        if (n_bytes > 0) {
            vectors[n].iov_base = read->pieces[piece].target + skipped;
            vectors[n].iov_len = (size_t)n_bytes;
            n++;
        }
        position += n_bytes;
        skipped = 0;
        piece++;
    }
    return n;
}

static fp_status
read_block(const fp_block_read *read, cursor at, uint64_t start, uint64_t end,
           int *saved_errno)
{
    uint64_t position = start;

    while (position < end) {
        struct iovec vectors[MAX_VECTORS];
        advance_to(&at, read, position);
        int n = gather(read, &at, position, end, vectors);
        ssize_t n_read =
            preadv(read->fd, vectors, n, (off_t)(read->offset + position));
        if (n_read < 0) {
            if (errno == EINTR) {
                continue;
            }
            *saved_errno = errno;
            return FP_IO;
        }
        if (n_read == 0) {
            return FP_TRUNCATED;
        }
        position += (uint64_t)n_read;
    }
    return FP_OK;
}

static fp_status
hash_block(const fp_block_read *read, cursor at, uint64_t start, uint64_t end,
           fp_block_hash *hash)
{
    fp_status status = FP_OK;

    fp_block_hash_reset(hash);
    for (uint64_t position = start; position < end && status == FP_OK;) {
        struct iovec vectors[MAX_VECTORS];
        advance_to(&at, read, position);
        int n = gather(read, &at, position, end, vectors);
        for (int i = 0; i < n && status == FP_OK; i++) {
            status = fp_block_hash_update(hash, vectors[i].iov_base,
                                          vectors[i].iov_len);
            position += vectors[i].iov_len;
        }
    }
    return status == FP_OK ? fp_block_hash_end_region(hash) : status;
}

static void
note_failure(shared_read *shared, fp_status status, uint64_t block,
             int saved_errno)
{
    (void)pthread_mutex_lock(&shared->mutex);
    /* That the caller was interrupted goes before whatever was read. */
    if (shared->status == FP_OK
        || (shared->status != FP_SINK_FAILED
            && (status == FP_SINK_FAILED || block < shared->failed_block)))
    {
        shared->status = status;
        shared->failed_block = block;
        shared->saved_errno = saved_errno;
    }
    (void)pthread_mutex_unlock(&shared->mutex);
    /* Blocks are handed out in order: those below this one are finished by
     * the threads that have them. */
    atomic_store(&shared->is_stopped, 1);
}

/* In the calling thread. */
static int
is_interrupted(shared_read *shared)
{
    fp_interrupt *interrupt = shared->read->interrupt;
    uint64_t n_done;

    if (interrupt == NULL) {
        return 0;
    }
    /* Blocks that others are at are counted as well. */
    n_done = atomic_load(&shared->next_block) << FP_HASH_BLOCK_SHIFT;
    interrupt->n_done =
        n_done < shared->read->n_bytes ? n_done : shared->read->n_bytes;
    return fp_interrupted(interrupt, 0);
}

static void
read_blocks(shared_read *shared, int is_caller)
{
    const fp_block_read *read = shared->read;
    cursor at = {0, 0};
    fp_block_hash hash = {0};

    for (;;) {
        if (is_caller && is_interrupted(shared)) {
            note_failure(shared, FP_SINK_FAILED, 0, 0);
        }
        if (atomic_load(&shared->is_stopped)) {
            break;
        }
        uint64_t block = atomic_fetch_add(&shared->next_block, 1);
        if (block >= shared->n_blocks) {
            break;
        }
        uint64_t start = block << FP_HASH_BLOCK_SHIFT;
        uint64_t end = start + FP_HASH_BLOCK_BYTES;
        if (end > read->n_bytes) {
            end = read->n_bytes;
        }
        fp_status status = FP_OK;
        int saved_errno = 0;
        advance_to(&at, read, start);
        if (read->fd >= 0) {
            status = read_block(read, at, start, end, &saved_errno);
        }
        if (status == FP_OK && read->hashes != NULL) {
            status = hash_block(read, at, start, end, &hash);
            if (status == FP_OK && hash.hashes[0] != read->hashes[block]) {
                status = FP_CORRUPT;
            }
        }
        if (status != FP_OK) {
            note_failure(shared, status, block, saved_errno);
        }
    }
    fp_block_hash_free(&hash);
}

static void *
helper_main(void *context)
{
    read_blocks(context, 0);
    return NULL;
}

/* Starts up to `wanted` helpers that take no signals; returns how many. That
 * one cannot be started is no failure: the others do its work. */
static int
start_helpers(shared_read *shared, int wanted, pthread_t *threads)
{
    sigset_t all_signals;
    sigset_t old_mask;
    int n_started = 0;

    (void)sigfillset(&all_signals);
    if (pthread_sigmask(SIG_SETMASK, &all_signals, &old_mask) != 0) {
        return 0;
    }
    while (n_started < wanted
           && pthread_create(&threads[n_started], NULL, helper_main, shared)
                  == 0)
    {
        n_started++;
    }
    (void)pthread_sigmask(SIG_SETMASK, &old_mask, NULL);
    return n_started;
}

fp_status
fp_block_read_run(fp_block_read *read)
{
    shared_read shared = {.read = read, .status = FP_OK};
    pthread_t threads[MAX_THREADS];
    int n_helpers = 0;

    read->bad_offset = read->bad_end = read->offset;
    read->saved_errno = 0;
    if (read->n_bytes == 0) {
        return FP_OK;
    }
    shared.n_blocks = ((read->n_bytes - 1) >> FP_HASH_BLOCK_SHIFT) + 1;
    atomic_init(&shared.next_block, 0);
    atomic_init(&shared.is_stopped, 0);
    if (pthread_mutex_init(&shared.mutex, NULL) != 0) {
        return FP_NO_MEMORY;
    }
    uint64_t useful = read->n_bytes / BYTES_PER_THREAD;
    if (useful > 1 && read->n_threads > 1) {
        int wanted = read->n_threads;
        if (wanted > MAX_THREADS) {
            wanted = MAX_THREADS;
        }
        if ((uint64_t)wanted > useful) {
            wanted = (int)useful;
        }
        n_helpers = start_helpers(&shared, wanted - 1, threads);
    }
    read_blocks(&shared, 1);
    for (int i = 0; i < n_helpers; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    (void)pthread_mutex_destroy(&shared.mutex);
    read->bad_offset =
        read->offset + (shared.failed_block << FP_HASH_BLOCK_SHIFT);
    read->bad_end = read->offset + read->n_bytes;
    if (read->bad_end - read->bad_offset > FP_HASH_BLOCK_BYTES) {
        read->bad_end = read->bad_offset + FP_HASH_BLOCK_BYTES;
    }
    read->saved_errno = shared.saved_errno;
    return shared.status;
}

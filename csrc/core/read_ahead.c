#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* pthread_sigmask under -std=c11 */
#endif

#include "read_ahead.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "block_hash.h"

/* So often a wait for other threads looks for signals. */
#define LOOK_NANOSECONDS 50000000L

/* Flags of a block. */
enum {
    IS_TAKEN = 1,   /* somebody reads it, or has */
    IS_CHECKED = 2, /* it was read and is what was written */
};

static uint64_t
first_block(const fp_ahead_blob *blob)
{
    return blob->start >> FP_HASH_BLOCK_SHIFT;
}

/* Of a blob that has bytes. */
static uint64_t
last_block(const fp_ahead_blob *blob)
{
    return (blob->start + blob->n_bytes - 1) >> FP_HASH_BLOCK_SHIFT;
}

/* --- begin and end ------------------------------------------------------- */

/* How many pieces the fullest block has: each blob and the gap in front of it,
 * and the gap at the block's end. */
static size_t
count_pieces(const fp_read_ahead *ahead)
{
    uint64_t block = UINT64_MAX;
    size_t n = 0, most = 0;

    for (size_t i = 0; i < ahead->n_blobs; i++) {
        uint64_t first = first_block(&ahead->blobs[i]);
        n = first == block ? n + 1 : 1;
        block = first;
        if (n > most) {
            most = n;
        }
    }
    return 2 * (most + 1) + 1;
}

static void
free_reader(fp_ahead_reader *reader)
{
    free(reader->scratch);
    free(reader->pieces);
    free(reader->blobs);
    *reader = (fp_ahead_reader){0};
}

static int
init_reader(fp_read_ahead *ahead, fp_ahead_reader *reader)
{
    reader->ahead = ahead;
    reader->scratch = malloc(FP_HASH_BLOCK_BYTES);
    reader->pieces = malloc(ahead->max_pieces * sizeof(fp_piece));
    reader->blobs = malloc(ahead->max_pieces * sizeof(size_t));
    if (reader->scratch == NULL || reader->pieces == NULL
        || reader->blobs == NULL)
    {
        free_reader(reader);
        return -1;
    }
    return 0;
}

static int
init_locks(fp_read_ahead *ahead)
{
    if (pthread_mutex_init(&ahead->mutex, NULL) != 0) {
        return -1;
    }
    if (pthread_cond_init(&ahead->work, NULL) != 0) {
        goto no_work;
    }
    if (pthread_cond_init(&ahead->progress, NULL) != 0) {
        goto no_progress;
    }
    return 0;

no_progress:
    (void)pthread_cond_destroy(&ahead->work);
no_work:
    (void)pthread_mutex_destroy(&ahead->mutex);
    return -1;
}

static void
free_tables(fp_read_ahead *ahead)
{
    for (int i = 0; i < FP_READ_AHEAD_THREADS; i++) {
        free_reader(&ahead->readers[i]);
    }
    free(ahead->blocks);
    free(ahead->line);
    ahead->blocks = NULL;
    ahead->line = NULL;
}

fp_status
fp_read_ahead_begin(fp_read_ahead *ahead)
{
    ahead->n_blocks =
        (ahead->n_bytes + FP_HASH_BLOCK_BYTES - 1) >> FP_HASH_BLOCK_SHIFT;
    ahead->max_pieces = count_pieces(ahead);
    if (ahead->n_threads > FP_READ_AHEAD_THREADS) {
        ahead->n_threads = FP_READ_AHEAD_THREADS;
    }
    ahead->blocks = calloc((size_t)ahead->n_blocks + 1, 1);
    ahead->line = malloc((ahead->n_blobs + 1) * sizeof(size_t));
    if (ahead->blocks == NULL || ahead->line == NULL
        || init_reader(ahead, &ahead->readers[0]) < 0 || init_locks(ahead) < 0)
    {
        free_tables(ahead);
        return FP_NO_MEMORY;
    }
    ahead->owner = getpid();
    ahead->is_begun = 1;
    return FP_OK;
}

/* In a child of fork(): the threads stayed with the parent. What one of them
 * may have been at is begun again; what was complete stays. */
static void
adopt(fp_read_ahead *ahead)
{
    if (getpid() == ahead->owner) {
        return;
    }
    ahead->owner = getpid();
    ahead->n_running = ahead->n_idle = ahead->n_reading = 0;
    ahead->n_threads = 1;
    /* Whoever holds the old ones is not here. */
    (void)pthread_mutex_init(&ahead->mutex, NULL);
    (void)pthread_cond_init(&ahead->work, NULL);
    (void)pthread_cond_init(&ahead->progress, NULL);
    ahead->status = FP_OK;
    ahead->line_head = 0;
    ahead->n_checked = ahead->n_open = 0;
    for (uint64_t i = 0; i < ahead->n_blocks; i++) {
        int is_checked = (ahead->blocks[i] & IS_CHECKED) != 0;
        ahead->blocks[i] = is_checked ? IS_TAKEN | IS_CHECKED : 0;
        ahead->n_checked += (uint64_t)is_checked;
    }
    for (size_t i = 0; i < ahead->line_end; i++) {
        fp_ahead_blob *blob = &ahead->blobs[ahead->line[i]];
        if (blob->n_pending == 0 && !blob->is_failed) {
            blob->next = blob->end;
            continue;
        }
        blob->is_failed = blob->has_first = blob->has_last = 0;
        blob->next = first_block(blob);
        blob->end = last_block(blob) + 1;
        blob->n_pending = blob->end - blob->next;
        ahead->n_open += blob->n_pending;
    }
}

void
fp_read_ahead_stop(fp_read_ahead *ahead)
{
    if (!ahead->is_begun) {
        return;
    }
    adopt(ahead);
    (void)pthread_mutex_lock(&ahead->mutex);
    ahead->is_stopped = 1;
    (void)pthread_cond_broadcast(&ahead->work);
    (void)pthread_mutex_unlock(&ahead->mutex);
    for (int i = 0; i < ahead->n_running; i++) {
        (void)pthread_join(ahead->threads[i], NULL);
    }
    ahead->n_running = 0;
    (void)pthread_cond_destroy(&ahead->progress);
    (void)pthread_cond_destroy(&ahead->work);
    (void)pthread_mutex_destroy(&ahead->mutex);
    free_tables(ahead);
    ahead->is_begun = 0;
}

/* --- one block ----------------------------------------------------------- */

/* The first blob that ends behind `position`; n_blobs where none does. */
static size_t
find_blob(const fp_read_ahead *ahead, uint64_t position)
{
    size_t low = 0, high = ahead->n_blobs;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const fp_ahead_blob *blob = &ahead->blobs[middle];
        if (blob->start + blob->n_bytes > position) {
            high = middle;
        }
        else {
            low = middle + 1;
        }
    }
    return low;
}

/* Whether a blob lacks the block, which then counts as handed out to it. */
static int
wants(fp_ahead_blob *blob, uint64_t block)
{
    unsigned char *has;

    if (!blob->is_given) {
        return 0;
    }
    if (block == first_block(blob)) {
        has = &blob->has_first;
    }
    else if (block == last_block(blob)) {
        has = &blob->has_last;
    }
    else {
        return 1; /* its own, handed out once */
    }
    if (*has) {
        return 0;
    }
    *has = 1;
    return 1;
}

/* Where the bytes of a block go. The mutex is held. Returns how many pieces
 * that are. */
static size_t
plan_block(fp_read_ahead *ahead, fp_ahead_reader *reader, uint64_t block)
{
    uint64_t start = block << FP_HASH_BLOCK_SHIFT;
    uint64_t end = start + FP_HASH_BLOCK_BYTES;
    uint64_t position = start;
    size_t i = find_blob(ahead, start), n = 0;
    /* Two readers may have it at the same time. */
    int is_first = !(ahead->blocks[block] & IS_TAKEN);

    if (end > ahead->n_bytes) {
        end = ahead->n_bytes;
    }
    ahead->blocks[block] |= IS_TAKEN;
    reader->n_blobs = 0;
    for (; position < end; i++) {
        int is_last = i == ahead->n_blobs;
        fp_ahead_blob *blob = &ahead->blobs[is_last ? 0 : i];
        uint64_t gap_end = is_last ? ahead->n_bytes : blob->start;
        uint64_t n_gap_bytes = is_last && i > 0
                                   ? ahead->n_bytes - ahead->blobs[i - 1].start
                                         - ahead->blobs[i - 1].n_bytes
                                         + ahead->blobs[i - 1].n_gap_bytes
                               : is_last ? ahead->n_bytes
                                         : blob->n_gap_bytes;
        uint64_t n_bytes;
        if (position < gap_end) {
            unsigned char *gap =
                ahead->gaps + (n_gap_bytes - (gap_end - position));
            n_bytes = (gap_end < end ? gap_end : end) - position;
            reader->pieces[n].target =
                is_first ? gap : reader->scratch + (position - start);
            reader->pieces[n++].n_bytes = n_bytes;
            position += n_bytes;
        }
        if (is_last || position == end || blob->n_bytes == 0) {
            continue;
        }
        n_bytes = blob->start + blob->n_bytes;
        n_bytes = (n_bytes < end ? n_bytes : end) - position;
        if (wants(blob, block)) {
            reader->pieces[n].target = blob->target + (position - blob->start);
            reader->blobs[reader->n_blobs++] = i;
        }
        else {
            reader->pieces[n].target = reader->scratch + (position - start);
        }
        reader->pieces[n++].n_bytes = n_bytes;
        position += n_bytes;
    }
    return n;
}

static void
note_failure(fp_read_ahead *ahead, uint64_t block, fp_status status,
             int saved_errno)
{
    if (ahead->status == FP_OK || block < ahead->failed_block) {
        ahead->status = status;
        ahead->failed_block = block;
        ahead->saved_errno = saved_errno;
    }
}

/* Reads one block that was taken. The mutex is held on entry and return, not
 * while it is read. */
static void
run_block(fp_read_ahead *ahead, fp_ahead_reader *reader, uint64_t block)
{
    size_t n_pieces = plan_block(ahead, reader, block);
    uint64_t start = block << FP_HASH_BLOCK_SHIFT;
    fp_block_read read = {
        .fd = ahead->fd,
        .offset = ahead->offset + start,
        .n_bytes = ahead->n_bytes - start < FP_HASH_BLOCK_BYTES
                       ? ahead->n_bytes - start
                       : FP_HASH_BLOCK_BYTES,
        .pieces = reader->pieces,
        .n_pieces = n_pieces,
        .hashes = ahead->hashes == NULL ? NULL : ahead->hashes + block,
        .n_threads = 1,
    };
    fp_status status;

    ahead->n_reading++;
    (void)pthread_mutex_unlock(&ahead->mutex);
    status = fp_block_read_run(&read);
    (void)pthread_mutex_lock(&ahead->mutex);
    ahead->n_reading--;
    if (status != FP_OK) {
        note_failure(ahead, block, status, read.saved_errno);
    }
    else if (!(ahead->blocks[block] & IS_CHECKED)) {
        ahead->blocks[block] |= IS_CHECKED;
        ahead->n_checked++;
    }
    for (size_t i = 0; i < reader->n_blobs; i++) {
        fp_ahead_blob *blob = &ahead->blobs[reader->blobs[i]];
        if (status != FP_OK) {
            blob->is_failed = 1;
        }
        else {
            blob->n_pending--;
        }
    }
}

/* --- which block is next ------------------------------------------------- */

/* Whether a blob has got its outer block already, together with another. */
static int
has_block(const fp_ahead_blob *blob, uint64_t block)
{
    return block == first_block(blob)  ? blob->has_first
           : block == last_block(blob) ? blob->has_last
                                       : 0;
}

/* Takes the next block that somebody has to read. The mutex is held. */
static int
take_block(fp_read_ahead *ahead, uint64_t *block)
{
    while (ahead->line_head < ahead->line_end) {
        fp_ahead_blob *blob = &ahead->blobs[ahead->line[ahead->line_head]];
        while (blob->next < blob->end) {
            *block = blob->next++;
            ahead->n_open--;
            if (!has_block(blob, *block)) {
                return 1;
            }
        }
        ahead->line_head++;
    }
    while (ahead->is_finishing && ahead->next_check < ahead->n_blocks) {
        *block = ahead->next_check++;
        if (!(ahead->blocks[*block] & IS_TAKEN)) {
            return 1;
        }
    }
    return 0;
}

static void *
reader_main(void *argument)
{
    fp_ahead_reader *reader = argument;
    fp_read_ahead *ahead = reader->ahead;
    uint64_t block;

    (void)pthread_mutex_lock(&ahead->mutex);
    for (;;) {
        if (ahead->is_stopped) {
            break;
        }
        if (take_block(ahead, &block)) {
            run_block(ahead, reader, block);
            (void)pthread_cond_signal(&ahead->progress);
        }
        else {
            ahead->n_idle++;
            (void)pthread_cond_wait(&ahead->work, &ahead->mutex);
            ahead->n_idle--;
        }
    }
    (void)pthread_mutex_unlock(&ahead->mutex);
    return NULL;
}

/* One more thread. That it cannot be started is no failure. */
static void
start_thread(fp_read_ahead *ahead)
{
    fp_ahead_reader *reader = &ahead->readers[ahead->n_running + 1];
    sigset_t all_signals;
    sigset_t old_mask;
    int is_started = 0;

    (void)sigfillset(&all_signals);
    if (init_reader(ahead, reader) == 0
        && pthread_sigmask(SIG_SETMASK, &all_signals, &old_mask) == 0)
    {
        is_started = pthread_create(&ahead->threads[ahead->n_running], NULL,
                                    reader_main, reader)
                     == 0;
        (void)pthread_sigmask(SIG_SETMASK, &old_mask, NULL);
    }
    if (is_started) {
        ahead->n_running++;
    }
    else {
        free_reader(reader);
        ahead->n_threads = ahead->n_running + 1; /* no more are tried */
    }
}

/* Whether the blob behind it in the file will share its last block, and has no
 * memory yet. */
static int
is_to_wait(const fp_read_ahead *ahead, size_t blob)
{
    const fp_ahead_blob *next = &ahead->blobs[blob + 1];

    return blob + 1 < ahead->n_blobs && next->comes_later && !next->is_given
           && next->n_bytes > 0
           && first_block(next) == last_block(&ahead->blobs[blob]);
}

void
fp_read_ahead_give(fp_read_ahead *ahead, size_t index, unsigned char *target)
{
    fp_ahead_blob *blob = &ahead->blobs[index];
    uint64_t n_open;
    int n_idle;

    adopt(ahead);
    (void)pthread_mutex_lock(&ahead->mutex);
    blob->is_given = 1;
    if (blob->n_bytes > 0) {
        blob->target = target;
        blob->next = first_block(blob);
        blob->end = last_block(blob) + 1;
        blob->n_pending = blob->end - blob->next;
        if (is_to_wait(ahead, index)) {
            blob->end--;
        }
        ahead->line[ahead->line_end++] = index;
        ahead->n_open += blob->end - blob->next;
    }
    n_open = ahead->n_open;
    n_idle = ahead->n_idle;
    if (n_idle > 0 && blob->next < blob->end) {
        if (blob->end - blob->next > 1) {
            (void)pthread_cond_broadcast(&ahead->work);
        }
        else {
            (void)pthread_cond_signal(&ahead->work);
        }
    }
    (void)pthread_mutex_unlock(&ahead->mutex);
    /* Beside the thread that starts them: it will wait for the first block. */
    while (ahead->n_running + 1 < ahead->n_threads
           && n_open > (uint64_t)ahead->n_running + 1)
    {
        start_thread(ahead);
    }
}

int
fp_read_ahead_is_ready(fp_read_ahead *ahead, size_t blob)
{
    int is_ready;

    adopt(ahead);
    (void)pthread_mutex_lock(&ahead->mutex);
    is_ready =
        ahead->blobs[blob].is_given && ahead->blobs[blob].n_pending == 0;
    (void)pthread_mutex_unlock(&ahead->mutex);
    return is_ready;
}

/* Waits for another thread's block, not for ever. */
static void
wait_for_others(fp_read_ahead *ahead)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += LOOK_NANOSECONDS;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    (void)pthread_cond_timedwait(&ahead->progress, &ahead->mutex, &until);
}

/* Between two blocks of the caller's, without the mutex. */
static int
is_interrupted(fp_read_ahead *ahead, fp_interrupt *interrupt)
{
    int answer;

    if (interrupt == NULL) {
        return 0;
    }
    interrupt->n_done = ahead->n_checked << FP_HASH_BLOCK_SHIFT;
    if (interrupt->n_done > ahead->n_bytes) {
        interrupt->n_done = ahead->n_bytes;
    }
    (void)pthread_mutex_unlock(&ahead->mutex);
    answer = fp_interrupted(interrupt, 0);
    (void)pthread_mutex_lock(&ahead->mutex);
    return answer;
}

fp_status
fp_read_ahead_wait(fp_read_ahead *ahead, size_t index, fp_interrupt *interrupt)
{
    fp_ahead_blob *blob = &ahead->blobs[index];
    fp_status status = FP_OK;
    uint64_t block;

    adopt(ahead);
    (void)pthread_mutex_lock(&ahead->mutex);
    while (blob->n_pending > 0) {
        if (blob->is_failed) {
            status = ahead->status;
            break;
        }
        if (is_interrupted(ahead, interrupt)) {
            status = FP_SINK_FAILED;
            break;
        }
        if (blob->next == blob->end && !has_block(blob, last_block(blob))) {
            /* It was put off for the blob behind it. */
            run_block(ahead, &ahead->readers[0], last_block(blob));
        }
        else if (take_block(ahead, &block)) {
            run_block(ahead, &ahead->readers[0], block);
        }
        else {
            wait_for_others(ahead);
        }
    }
    (void)pthread_mutex_unlock(&ahead->mutex);
    return status;
}

fp_status
fp_read_ahead_finish(fp_read_ahead *ahead, fp_interrupt *interrupt)
{
    fp_status status;
    uint64_t block;

    adopt(ahead);
    (void)pthread_mutex_lock(&ahead->mutex);
    ahead->is_finishing = 1;
    if (ahead->n_idle > 0) {
        (void)pthread_cond_broadcast(&ahead->work);
    }
    for (;;) {
        if (take_block(ahead, &block)) {
            run_block(ahead, &ahead->readers[0], block);
        }
        else if (ahead->n_reading > 0) {
            wait_for_others(ahead);
        }
        else {
            status = ahead->status;
            break;
        }
        if (is_interrupted(ahead, interrupt)) {
            status = FP_SINK_FAILED;
            break;
        }
    }
    (void)pthread_mutex_unlock(&ahead->mutex);
    return status;
}

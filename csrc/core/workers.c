#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* pthread_sigmask under -std=c11 */
#endif

#include "workers.h"

#include <assert.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

size_t
fp_workers_slots(int n_threads)
{
    if (n_threads > FP_WORKERS_MAX) {
        n_threads = FP_WORKERS_MAX;
    }
    return n_threads <= 1 ? 1 : (size_t)n_threads + 2;
}

fp_status
fp_workers_init(fp_workers *workers, int n_threads, size_t n_slots,
                void (*run)(void *context, size_t slot), void *context)
{
    memset(workers, 0, sizeof(*workers));
    workers->run = run;
    workers->context = context;
    workers->n_slots = n_slots;
    workers->n_wanted =
        (n_threads > FP_WORKERS_MAX ? FP_WORKERS_MAX : n_threads) - 1;
    workers->is_done = calloc(n_slots, 1);
    if (workers->is_done == NULL) {
        return FP_NO_MEMORY;
    }
    if (pthread_mutex_init(&workers->mutex, NULL) != 0) {
        goto no_mutex;
    }
    if (pthread_cond_init(&workers->work, NULL) != 0) {
        goto no_work;
    }
    if (pthread_cond_init(&workers->progress, NULL) != 0) {
        goto no_progress;
    }
    return FP_OK;

no_progress:
    (void)pthread_cond_destroy(&workers->work);
no_work:
    (void)pthread_mutex_destroy(&workers->mutex);
no_mutex:
    free(workers->is_done);
    workers->is_done = NULL;
    return FP_NO_MEMORY;
}

/* Does the oldest job that nobody has. The mutex is held on entry and return,
 * not while the job runs. */
static void
run_one(fp_workers *workers)
{
    size_t slot = (size_t)(workers->taken++ % workers->n_slots);

    (void)pthread_mutex_unlock(&workers->mutex);
    workers->run(workers->context, slot);
    (void)pthread_mutex_lock(&workers->mutex);
    workers->is_done[slot] = 1;
}

static void *
worker_main(void *argument)
{
    fp_workers *workers = argument;

    (void)pthread_mutex_lock(&workers->mutex);
    for (;;) {
        while (!workers->stop && workers->taken == workers->submitted) {
            (void)pthread_cond_wait(&workers->work, &workers->mutex);
        }
        if (workers->stop) {
            break;
        }
        run_one(workers);
        (void)pthread_cond_signal(&workers->progress);
    }
    (void)pthread_mutex_unlock(&workers->mutex);
    return NULL;
}

static void
start_thread(fp_workers *workers)
{
    sigset_t all_signals;
    sigset_t old_mask;

    (void)sigfillset(&all_signals);
    if (pthread_sigmask(SIG_SETMASK, &all_signals, &old_mask) != 0) {
        workers->n_wanted = workers->n_running;
        return;
    }
    if (pthread_create(&workers->threads[workers->n_running], NULL,
                       worker_main, workers)
        == 0)
    {
        workers->n_running++;
    }
    else {
        workers->n_wanted = workers->n_running;
    }
    (void)pthread_sigmask(SIG_SETMASK, &old_mask, NULL);
}

void
fp_workers_stop(fp_workers *workers)
{
    if (workers->is_done == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&workers->mutex);
    workers->stop = 1;
    (void)pthread_cond_broadcast(&workers->work);
    (void)pthread_mutex_unlock(&workers->mutex);
    for (int i = 0; i < workers->n_running; i++) {
        (void)pthread_join(workers->threads[i], NULL);
    }
    (void)pthread_cond_destroy(&workers->progress);
    (void)pthread_cond_destroy(&workers->work);
    (void)pthread_mutex_destroy(&workers->mutex);
    free(workers->is_done);
    workers->is_done = NULL;
    workers->n_running = 0;
}

/* `released` and `submitted` are written by the caller's thread alone, so it
 * reads them without the mutex. */

int
fp_workers_is_empty(const fp_workers *workers)
{
    return workers->submitted == workers->released;
}

int
fp_workers_is_full(const fp_workers *workers)
{
    return workers->submitted - workers->released == workers->n_slots;
}

size_t
fp_workers_next_slot(const fp_workers *workers)
{
    return (size_t)(workers->submitted % workers->n_slots);
}

size_t
fp_workers_oldest(const fp_workers *workers)
{
    return (size_t)(workers->released % workers->n_slots);
}

void
fp_workers_submit(fp_workers *workers)
{
    int is_backlog;

    assert(!fp_workers_is_full(workers));
    (void)pthread_mutex_lock(&workers->mutex);
    workers->is_done[fp_workers_next_slot(workers)] = 0;
    workers->submitted++;
    /* Each running thread and the caller can have a job in hand. */
    is_backlog = workers->submitted - workers->released
                 > (uint64_t)workers->n_running + 1;
    (void)pthread_cond_signal(&workers->work);
    (void)pthread_mutex_unlock(&workers->mutex);
    if (is_backlog && workers->n_running < workers->n_wanted) {
        start_thread(workers);
    }
}

int
fp_workers_claim(fp_workers *workers)
{
    int is_ours;

    assert(!fp_workers_is_empty(workers));
    (void)pthread_mutex_lock(&workers->mutex);
    is_ours = workers->taken == workers->released;
    if (is_ours) {
        workers->is_done[fp_workers_oldest(workers)] = 1;
        workers->taken++;
    }
    (void)pthread_mutex_unlock(&workers->mutex);
    return is_ours;
}

void
fp_workers_wait(fp_workers *workers)
{
    size_t slot = fp_workers_oldest(workers);

    assert(!fp_workers_is_empty(workers));
    (void)pthread_mutex_lock(&workers->mutex);
    while (!workers->is_done[slot]) {
        if (workers->taken < workers->submitted) {
            run_one(workers);
        }
        else {
            (void)pthread_cond_wait(&workers->progress, &workers->mutex);
        }
    }
    (void)pthread_mutex_unlock(&workers->mutex);
}

void
fp_workers_release(fp_workers *workers)
{
    (void)pthread_mutex_lock(&workers->mutex);
    workers->released++;
    (void)pthread_mutex_unlock(&workers->mutex);
}

/* --- jobs that need no order ---------------------------------------------- */

typedef struct {
    fp_status (*run)(void *context, size_t job);
    void *context;
    size_t n_jobs;
    atomic_size_t next;
    atomic_int status;
} crowd;

static void
run_jobs(void *context, size_t slot)
{
    crowd *jobs = context;

    (void)slot;
    while (atomic_load(&jobs->status) == FP_OK) {
        size_t job = atomic_fetch_add(&jobs->next, 1);
        fp_status status;
        if (job >= jobs->n_jobs) {
            return;
        }
        status = jobs->run(jobs->context, job);
        if (status != FP_OK) {
            atomic_store(&jobs->status, (int)status);
        }
    }
}

fp_status
fp_workers_do(fp_status (*run)(void *context, size_t job), void *context,
              size_t n_jobs, int n_threads)
{
    crowd jobs = {.run = run, .context = context, .n_jobs = n_jobs};
    fp_workers workers;
    fp_status status;
    size_t n_slots;

    atomic_init(&jobs.next, 0);
    atomic_init(&jobs.status, FP_OK);
    if (n_threads > FP_WORKERS_MAX) {
        n_threads = FP_WORKERS_MAX;
    }
    n_slots = n_threads < 1 ? 1 : (size_t)n_threads;
    if (n_slots > n_jobs) {
        n_slots = n_jobs;
    }
    if (n_slots <= 1) {
        run_jobs(&jobs, 0);
        return (fp_status)atomic_load(&jobs.status);
    }
    status = fp_workers_init(&workers, (int)n_slots, n_slots, run_jobs, &jobs);
    if (status != FP_OK) {
        return status;
    }
    for (size_t i = 0; i < n_slots; i++) {
        fp_workers_submit(&workers);
    }
    while (!fp_workers_is_empty(&workers)) {
        fp_workers_wait(&workers);
        fp_workers_release(&workers);
    }
    fp_workers_stop(&workers);
    return (fp_status)atomic_load(&jobs.status);
}

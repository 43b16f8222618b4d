/* Work on a sequence of pieces by several threads, finished in order.
 *
 * The caller owns n_slots pieces of memory and numbers its jobs 0, 1, 2, ...;
 * job i uses slot i % n_slots. It fills a slot, submits it, and takes back the
 * oldest job when that is done:
 *
 *     while jobs are to be had
 *         if fp_workers_is_full()          the oldest slot is needed
 *             fp_workers_wait()            until it is done
 *             ... use its result ...
 *             fp_workers_release()
 *         ... fill slot fp_workers_next_slot() ...
 *         fp_workers_submit()
 *
 * `run(context, slot)` does a job; it may be called by any of the threads, the
 * waiting caller among them: n_threads == 1 starts none and does everything in
 * fp_workers_wait(). A thread is started by the submission that finds all
 * others busy, never by the first; where none can be had the others do the
 * work. Which thread does a job must not matter for its result.
 *
 * Threads block all signals, and end in fp_workers_stop(). A child of fork()
 * must not touch what belongs to its parent.
 * Ownership: the struct is the caller's; stop must follow a successful init.
 * Called without the GIL.
 */
#ifndef FP_CORE_WORKERS_H
#define FP_CORE_WORKERS_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

/* More would wait for the one thread that brings and takes the data. */
#define FP_WORKERS_MAX 16

typedef struct {
    void (*run)(void *context, size_t slot);
    void *context; /* borrowed */
    size_t n_slots;
    int n_wanted; /* threads beside the caller's */
    int n_running;
    pthread_t threads[FP_WORKERS_MAX];
    pthread_mutex_t mutex;
    pthread_cond_t work;     /* a job was submitted, or stop */
    pthread_cond_t progress; /* a job is done */
    /* released <= taken <= submitted <= released + n_slots */
    uint64_t released;
    uint64_t taken; /* by a thread, in order */
    uint64_t submitted;
    unsigned char *is_done; /* owned; by slot */
    int stop;
} fp_workers;

/* How many slots keep n_threads busy. */
size_t fp_workers_slots(int n_threads);
fp_status fp_workers_init(fp_workers *workers, int n_threads, size_t n_slots,
                          void (*run)(void *context, size_t slot),
                          void *context);
/* Joins the threads; jobs that none has taken are dropped. Does nothing to a
 * struct that is zeroed or stopped. */
void fp_workers_stop(fp_workers *workers);

/* run(context, job) for jobs 0 to n_jobs - 1, each once, in any order, by so many
 * threads with the caller's; returns when all are done. Of a failure the others
 * hear before their next job; the status is one of theirs. */
fp_status fp_workers_do(fp_status (*run)(void *context, size_t job),
                        void *context, size_t n_jobs, int n_threads);

/* Of the caller's thread alone: */
int fp_workers_is_empty(const fp_workers *workers);
int fp_workers_is_full(const fp_workers *workers);
size_t fp_workers_next_slot(const fp_workers *workers);
void fp_workers_submit(fp_workers *workers);
/* The slot of the oldest job; there is one. */
size_t fp_workers_oldest(const fp_workers *workers);
/* Takes the oldest job away from the threads, so that the caller can do it
 * otherwise than run() would: 1, or 0 where one of them has it already. */
int fp_workers_claim(fp_workers *workers);
/* Returns when the oldest job is done; does jobs itself until then. */
void fp_workers_wait(fp_workers *workers);
/* The oldest job's slot is free again. */
void fp_workers_release(fp_workers *workers);

#endif

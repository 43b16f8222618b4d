/* Payloads of a file read ahead of who uses them, each block checked on the way.
 *
 * The region (a sidecar) is cut into blocks of 1 MiB from its first byte
 * (block_hash.h); in it lie blobs, ascending, with gaps between them. The caller
 * gives memory to one blob after the other, in the order in which it will want
 * them, and so decides how far the threads may run ahead: they read the blocks
 * of what was given, in that order, straight into that memory, and hash each
 * block there. All of them work on one large blob. Who waits for a blob reads
 * as well, and does all of it where no thread can be had.
 *
 * A block that holds the end of one blob and the beginning of the next is put
 * off until the next has its memory, so that it is read once; but not where
 * somebody waits, or where the next has no use. It is read again for what is
 * given later. Bytes of blobs that have no memory go to a thread's own block.
 * A blob is ready when all its blocks were read and are what was written. A
 * block that is not fails its blobs and no others: who asks for blobs in one
 * order meets the same failure first, whatever the threads did.
 *
 * Ownership: the struct and the memory of blobs and gaps are the caller's, who
 * must stop before any of it is freed. Threads block all signals and end in
 * fp_read_ahead_stop(). In a child of fork() there are none: whichever function
 * is called there first notices, and what was not complete is read anew, by the
 * caller. Errors: a status. Of the caller's one thread; called without the GIL
 * where they may wait (wait, finish, stop), with or without it elsewhere.
 */
#ifndef FP_CORE_READ_AHEAD_H
#define FP_CORE_READ_AHEAD_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "block_read.h"
#include "interrupt.h"
#include "status.h"

#define FP_READ_AHEAD_THREADS 16

/* All but the first three and `comes_later` is the reader's. */
typedef struct {
    uint64_t start; /* of the payload in the region */
    uint64_t n_bytes;
    uint64_t n_gap_bytes;      /* all gaps in front of it, together */
    unsigned char *target;     /* borrowed; NULL before it was given */
    uint64_t next, end;        /* blocks of it to be handed out */
    uint64_t n_pending;        /* blocks that it still lacks */
    unsigned char comes_later; /* it will be given some time */
    unsigned char is_given;
    unsigned char has_first, has_last; /* its outer blocks were handed out */
    unsigned char is_failed;
} fp_ahead_blob;

/* What one thread needs to read a block. */
typedef struct {
    struct fp_read_ahead *ahead;
    unsigned char *scratch; /* owned: one block */
    fp_piece *pieces;       /* owned: of one block ... */
    size_t *blobs;          /* ... and the blobs that get some of it; owned */
    size_t n_blobs;
} fp_ahead_reader;

typedef struct fp_read_ahead {
    /* Set by the caller, all borrowed: */
    int fd;
    uint64_t offset;        /* of the region in the file */
    uint64_t n_bytes;       /* of the region */
    const uint64_t *hashes; /* one per block; NULL: do not check */
    fp_ahead_blob *blobs;   /* ascending; may have no bytes */
    size_t n_blobs;
    unsigned char *gaps; /* all bytes of the region that are no blob's: there
                          * when finish has returned FP_OK */
    int n_threads;       /* with the caller's */
    /* Results of a failure: the lowest block that is known to be bad. */
    fp_status status;
    uint64_t failed_block;
    int saved_errno;

    pid_t owner;
    pthread_mutex_t mutex;
    pthread_cond_t work;     /* something was given, finish, or stop */
    pthread_cond_t progress; /* a block is done */
    pthread_t threads[FP_READ_AHEAD_THREADS];
    fp_ahead_reader readers[FP_READ_AHEAD_THREADS]; /* [0]: the caller's */
    int n_running;
    int n_idle;
    int n_reading; /* readers that are at a block */
    uint64_t n_blocks;
    size_t max_pieces;     /* that one block has */
    unsigned char *blocks; /* owned: flags of each block */
    size_t *line;          /* owned: what was given, in order */
    size_t line_head, line_end;
    uint64_t n_open;     /* blocks in the line that nobody has */
    uint64_t n_checked;  /* blocks */
    uint64_t next_check; /* of finish */
    int is_finishing;
    int is_stopped;
    int is_begun;
} fp_read_ahead;

/* No thread is started before there is work for it. FP_OK, or FP_NO_MEMORY with
 * nothing to be stopped. */
fp_status fp_read_ahead_begin(fp_read_ahead *ahead);
/* The blob's memory, which has room for it; each blob once. */
void fp_read_ahead_give(fp_read_ahead *ahead, size_t blob,
                        unsigned char *target);
/* Whether all of a blob is there, and right. */
int fp_read_ahead_is_ready(fp_read_ahead *ahead, size_t blob);
/* Returns when a blob that was given is ready, or with what is wrong with it;
 * FP_SINK_FAILED: interrupted. */
fp_status fp_read_ahead_wait(fp_read_ahead *ahead, size_t blob,
                             fp_interrupt *interrupt);
/* Reads and checks all blocks that were not read yet; the first failure of any
 * block, of those before as well. */
fp_status fp_read_ahead_finish(fp_read_ahead *ahead, fp_interrupt *interrupt);
/* Ends the threads. Does nothing to a struct of zeros, or a second time. */
void fp_read_ahead_stop(fp_read_ahead *ahead);

#endif

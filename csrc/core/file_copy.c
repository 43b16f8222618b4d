#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* fallocate; POSIX names under -std=c11 */
#endif

#include "file_copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

#define BLOCK_BYTES ((size_t)1 << 20)

/* EINTR: whether to give up. Any other errno is a failure. */
static fp_status
look_at_errno(fp_interrupt *interrupt, int *reason)
{
    *reason = errno;
    if (errno != EINTR) {
        return FP_IO;
    }
    return fp_interrupted(interrupt, 1) ? FP_SINK_FAILED : FP_OK;
}

static fp_status
read_block(int from, unsigned char *block, size_t n_bytes, uint64_t offset,
           fp_interrupt *interrupt, int *reason)
{
    size_t n_done = 0;
    fp_status status = FP_OK;
    while (status == FP_OK && n_done < n_bytes) {
        ssize_t n_read = pread(from, block + n_done, n_bytes - n_done,
                               (off_t)(offset + n_done));
        if (n_read > 0) {
            n_done += (size_t)n_read;
        }
        else if (n_read == 0) {
            *reason = EIO;
            status = FP_IO;
        }
        else {
            status = look_at_errno(interrupt, reason);
        }
    }
    return status;
}

/* Whether the first n_bytes of the source take no room any more. */
static int
give_back(int from, uint64_t n_bytes)
{
#ifdef FALLOC_FL_PUNCH_HOLE
    return fallocate(from, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                     (off_t)n_bytes)
           == 0;
#else
    (void)from;
    (void)n_bytes;
    return 0;
#endif
}

static fp_status
write_block(int from, int to, const unsigned char *block, size_t n_bytes,
            uint64_t offset, fp_interrupt *interrupt, int *reason)
{
    size_t n_done = 0;
    int is_given_back = 0;
    fp_status status = FP_OK;
    while (status == FP_OK && n_done < n_bytes) {
        ssize_t n_written = pwrite(to, block + n_done, n_bytes - n_done,
                                   (off_t)(offset + n_done));
        if (n_written > 0) {
            n_done += (size_t)n_written;
        }
        else if (n_written == 0) {
            /* No progress and no reason: never loop on it. */
            *reason = EIO;
            status = FP_IO;
        }
        else if ((errno == ENOSPC || errno == EDQUOT) && !is_given_back) {
            *reason = errno;
            is_given_back = give_back(from, offset + n_bytes);
            status = is_given_back ? FP_OK : FP_IO;
        }
        else {
            status = look_at_errno(interrupt, reason);
        }
    }
    return status;
}

fp_status
fp_file_copy(int from, int to, uint64_t n_bytes, fp_interrupt *interrupt,
             int *reason)
{
    unsigned char *block = malloc(BLOCK_BYTES);
    fp_status status = block == NULL ? FP_NO_MEMORY : FP_OK;
    uint64_t offset = 0;

    while (status == FP_OK && offset < n_bytes) {
        uint64_t n_left = n_bytes - offset;
        size_t n_block = n_left < BLOCK_BYTES ? (size_t)n_left : BLOCK_BYTES;
        status = read_block(from, block, n_block, offset, interrupt, reason);
        if (status == FP_OK) {
            status = write_block(from, to, block, n_block, offset, interrupt,
                                 reason);
        }
        offset += n_block;
        if (status == FP_OK && offset < n_bytes
            && fp_interrupted(interrupt, 0))
        {
            status = FP_SINK_FAILED;
        }
    }
    free(block);
    return status;
}

/* Reading a region of a file into many places at once, checked on the way.
 *
 * A region is cut into blocks of 1 MiB from its first byte (block_hash.h).
 * Its bytes go to consecutive pieces, each a run of memory: an array's final
 * memory, or a few bytes of opcodes between two payloads. Each block is read
 * by one thread with positioned reads straight into the pieces that it
 * touches, and hashed there while it is in the cache. Which thread takes
 * which block makes no difference to the result.
 *
 * Ownership: everything is the caller's; threads live for the call only.
 * Called without the GIL. Never moves the descriptor's own position.
 */
#ifndef FP_CORE_BLOCK_READ_H
#define FP_CORE_BLOCK_READ_H

#include <stddef.h>
#include <stdint.h>

#include "interrupt.h"
#include "status.h"

typedef struct {
    unsigned char *target; /* NULL only for an empty piece */
    uint64_t n_bytes;
} fp_piece;

typedef struct {
    int fd;                 /* -1: the bytes are in the pieces already (a map,
                             * a file that was read whole): only check them */
    uint64_t offset;        /* of the region in the file */
    uint64_t n_bytes;       /* of the region: the sum of the pieces */
    const fp_piece *pieces; /* ascending, without gaps */
    size_t n_pieces;
    const uint64_t *hashes; /* one per block; NULL: do not check */
    int n_threads;
    /* Asked after each block, by the calling thread alone: nonzero ends the
     * read with FP_SINK_FAILED. May be NULL. */
    fp_interrupt *interrupt;
    /* results */
    uint64_t bad_offset; /* FP_CORRUPT, FP_TRUNCATED: first bad block, in the
                          * file (the lowest one, whatever the threads did), */
    uint64_t bad_end;    /* and where that ends */
    int saved_errno;     /* FP_IO */
} fp_block_read;

fp_status fp_block_read_run(fp_block_read *read);

#endif

/* Where a dump ends, found from its front by the lengths that its parts
 * announce, as a stream's reader does: for a file in which something else
 * stands behind it. From the end, the footer says it.
 *
 * No payload is read and nothing is hashed: what comes out is where a whole
 * dump would end, and its footer is to be checked there. Every length is
 * compared with the size of the file before it is used. No state, no memory
 * allocated. Called without the GIL; interruptions (EINTR) are gone on from.
 */
#ifndef FP_CORE_DUMP_END_H
#define FP_CORE_DUMP_END_H

#include "status.h"

#include <stdint.h>

/* A regular file: its bytes where they are in memory, else its descriptor. */
typedef struct {
    int fd;
    const unsigned char *whole; /* borrowed; NULL: by `fd` */
    uint64_t size;
} fp_file_bytes;

/* Of the dump whose header is at `start`. FP_CORRUPT: its opcodes are no dump's;
 * FP_TRUNCATED: it would end behind the file; FP_IO with *saved_errno. */
fp_status fp_dump_find_end(const fp_file_bytes *file, uint64_t start,
                           uint64_t *end, int *saved_errno);

#endif

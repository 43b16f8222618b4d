/* The sidecar file of a load, shared by the files that carry it out:
 *
 *   load_buffers.c         what others call; the pair
 *   load_buffers_file.c    a regular file: read, or mapped
 *   load_buffers_stream.c  a file object, front to back
 *
 * Ownership: fp_buffers owns what fp_buffers_free() frees. Errors: -1 with an
 * exception set. GIL held; released around input and hashing.
 */
#ifndef FP_LOAD_BUFFERS_PARTS_H
#define FP_LOAD_BUFFERS_PARTS_H

#include "load_parts.h"

/* --- load_buffers.c ------------------------------------------------------ */

/* The exception for damage in the sidecar; always -1. */
/* The bytes from `offset` to `end` do not have their hash; returns -1. */
int fp_buffers_bad_block(const fp_buffers *from, uint64_t offset,
                         uint64_t end);
int fp_buffers_damaged(const fp_buffers *from, fp_status status,
                       uint64_t offset, const char *expected);
/* ... and for whatever the core reports. */
int fp_buffers_failed(const fp_buffers *from, fp_status status,
                      int saved_errno, uint64_t offset, const char *expected);
/* A blob for one more buffer, with nothing in it yet. */
int fp_buffers_add(fp_buffers *from, int is_read_only);
/* What the blocks should hash to; NULL: they are not to be checked. */
const uint64_t *fp_buffers_hashes(const fp_buffers *from);

/* --- load_buffers_file.c ------------------------------------------------- */

/* The index of the first sidecar in the file, from the end of the last. */
int fp_buffers_find_index(fp_buffers *from);
/* The buffers into memory, by several threads. */
int fp_buffers_read(fp_buffers *from);
/* The buffers in a map of the file. */
int fp_buffers_map(fp_buffers *from);

/* --- load_buffers_stream.c ----------------------------------------------- */

/* Index and buffers, or where only_checks is set, nothing but the checks. */
int fp_buffers_read_stream(fp_buffers *from);

#endif

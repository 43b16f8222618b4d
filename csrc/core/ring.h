/* The staging ring: bytes are copied in, hashed, and written in order.
 *
 * The producer (one thread) appends bytes to the open block with
 * fp_ring_room() / fp_ring_advance(): both only touch memory, so they are
 * called with the GIL held, and between them the producer copies out of Python
 * objects. When fp_ring_room() reports no room, every block is full: the
 * producer releases the GIL and calls fp_ring_flush(), which hashes what was
 * staged since the last flush, hands it to the sink and returns when at least
 * half of the ring is free again.
 *
 * Nothing reaches the sink before the first fp_ring_flush(): until then
 * fp_ring_reset() forgets everything, so a walk can start over.
 *
 * The writer thread is started by the first flush behind FP_RING_THREAD_BYTES
 * of a ring with n_threads > 1 whose sink allows it, lives until
 * fp_ring_finish() or fp_ring_free(), and blocks all signals. Without one (n_threads == 1, small dumps, or when no
 * thread can be started) the flushing thread writes by itself. The bytes and
 * hashes are the same either way.
 *
 * Regions: bytes staged while a region is open are hashed (block_hash.h).
 * fp_ring_begin_region() and fp_ring_end_region() take effect at the current
 * position.
 *
 * Each flush asks the sink's `interrupt` whether to go on.
 *
 * Errors are sticky: after a failure, flush and finish return it again.
 * Ownership: the ring owns its blocks and hashes, borrows the sink and the
 * spare blocks. The caller
 * frees it on every path; fp_ring_free() joins the thread first.
 * A child of fork() must not touch a ring of its parent.
 */
#ifndef FP_CORE_RING_H
#define FP_CORE_RING_H

#include <stddef.h>
#include <stdint.h>

#include "block_hash.h"
#include "sink.h"
#include "spare_blocks.h"
#include "status.h"

#define FP_RING_BLOCK_BYTES FP_SPARE_BLOCK_BYTES
#define FP_RING_BLOCKS      8
#define FP_RING_BYTES       (FP_RING_BLOCK_BYTES * FP_RING_BLOCKS)
/* While no thread runs, after a reset or the first flush: more would only be
 * memory to touch (2 MiB of fresh pages cost 0.5 ms), and leave the cache. */
#define FP_RING_CALM_BLOCKS 2
/* From here on a writer thread pays for its start and for moving the blocks to
 * another core's cache (a model of 4 MB takes 2.7 ms without, 3.8 with). */
#define FP_RING_THREAD_BYTES ((size_t)16 << 20)

typedef struct fp_ring fp_ring;

/* Allocates the struct only; blocks are allocated as they are first filled. */
fp_status fp_ring_new(fp_sink *sink, int n_threads, fp_ring **out);
void fp_ring_free(fp_ring *ring); /* NULL is fine */
/* The thread may start from n_bytes on, in place of FP_RING_THREAD_BYTES. */
void fp_ring_thread_from(fp_ring *ring, uint64_t n_bytes);
/* Blocks come from there and go back there (borrowed, outlives the ring). */
void fp_ring_use_spare(fp_ring *ring, fp_spare_blocks *spare);

/* Where the next bytes go: sets *room and *n_room (> 0). Returns FP_OK,
 * FP_NO_MEMORY, a sticky error, or, with *n_room == 0, FP_OK: "flush me". */
fp_status fp_ring_room(fp_ring *ring, unsigned char **room, size_t *n_room);
void fp_ring_advance(fp_ring *ring, size_t n_bytes);

/* Bytes that can be staged before a flush is needed (fresh ring:
 * FP_RING_BYTES). */
size_t fp_ring_free_bytes(const fp_ring *ring);
/* Bytes staged since the start of the dump: the file offset of the next. */
uint64_t fp_ring_position(const fp_ring *ring);

fp_status fp_ring_begin_region(fp_ring *ring);
fp_status fp_ring_end_region(fp_ring *ring);

/* GIL released by the caller. */
fp_status fp_ring_flush(fp_ring *ring);
/* Copies n_bytes in, flushing as needed. GIL released by the caller. */
fp_status fp_ring_write(fp_ring *ring, const void *data, size_t n_bytes);
/* As fp_ring_write(), but the bytes go to the sink as they lie, not through the
 * blocks; the writer thread, which much data starts, writes them while they
 * are hashed. Nobody changes them meanwhile. GIL released by the caller. */
fp_status fp_ring_pass(fp_ring *ring, const void *data, size_t n_bytes);
/* Hashes and writes all that is staged, waits for the thread and ends it. GIL
 * released. May be followed by more fp_ring_write() and another finish (the
 * hashes are needed before the footer can be built). */
fp_status fp_ring_finish(fp_ring *ring);
/* Hashes all that is staged, without waiting for the writer: after it,
 * fp_ring_hashes() is complete up to the current position. GIL released. */
fp_status fp_ring_hash_staged(fp_ring *ring);

/* Only before the first flush: forget every staged byte, hash and region. */
void fp_ring_reset(fp_ring *ring);

const uint64_t *fp_ring_hashes(const fp_ring *ring, size_t *n_hashes);

#endif

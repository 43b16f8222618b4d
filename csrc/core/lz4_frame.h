/* LZ4 frames, written and read by several threads.
 *
 * Writer: one standard frame of independent blocks of 1 MiB, each with its
 * checksum, no content checksum (its XXH32 cannot be shared out), no content
 * size (it is not known before the end). Levels as in LZ4F: up to 2 fast, from
 * 3 on high compression. A block in which the fast compressor finds nothing is
 * stored as it is, at every level. The bytes depend on nothing but data, level
 * and version of liblz4.
 *
 * Reader: frames of every standard kind, one after the other, legacy ones too,
 * skippable ones left out. What would need a dictionary is FP_UNSUPPORTED.
 * Independent blocks are read ahead and
 * decoded by several threads, one straight into the caller's memory where
 * there is room for a whole; linked ones go through LZ4F one by one. Every
 * checksum and the content size are compared. From its source it takes no byte
 * behind a frame before the next frame is asked for (then its four of magic);
 * a legacy frame has no end but that, so there they are taken with it.
 *
 * Memory: a few blocks, never what a frame claims to hold: the writer
 * (n_threads + 2) * 2 MiB, the reader at most FP_LZ4_READER_BYTES.
 * Sink and source are only called from within the functions below, by their
 * caller's thread. Errors are sticky; FP_CORRUPT, FP_TRUNCATED and
 * FP_UNSUPPORTED leave their reason in the reader. Ownership: new gives, free takes back and joins the
 * threads; sink and source are borrowed. Called without the GIL, by one thread
 * at a time; not by a forked child.
 */
#ifndef FP_CORE_LZ4_FRAME_H
#define FP_CORE_LZ4_FRAME_H

#include <stddef.h>
#include <stdint.h>

#include "sink.h"
#include "status.h"

typedef struct fp_lz4_writer fp_lz4_writer;

fp_status fp_lz4_writer_new(fp_sink *output, int level, int n_threads,
                            fp_lz4_writer **out);
fp_status fp_lz4_writer_write(fp_lz4_writer *writer, const void *data,
                              size_t n_bytes);
/* Writes what is left and the end of the frame; ends the threads. */
fp_status fp_lz4_writer_finish(fp_lz4_writer *writer);
void fp_lz4_writer_free(fp_lz4_writer *writer); /* NULL is fine */

#define FP_LZ4_READER_BYTES ((size_t)64 << 20)

/* Where compressed bytes come from: up to n_bytes of them into `target`, at
 * least one, or *n_read = 0 at the end. FP_IO and FP_SINK_FAILED are the
 * owner's to explain. */
typedef struct fp_source {
    fp_status (*read)(struct fp_source *source, void *target, size_t n_bytes,
                      size_t *n_read);
    void *context; /* borrowed */
} fp_source;

typedef struct fp_lz4_reader fp_lz4_reader;

fp_status fp_lz4_reader_new(fp_source *source, int n_threads,
                            fp_lz4_reader **out);
void fp_lz4_reader_free(fp_lz4_reader *reader); /* NULL is fine */

/* Decodes up to n_bytes (> 0), to the end of a frame at most; *n_made is 0
 * where no further frame begins. */
fp_status fp_lz4_reader_read(fp_lz4_reader *reader, void *target,
                             size_t n_bytes, size_t *n_made);
/* Decodes and drops what is left of the frame that was begun. */
fp_status fp_lz4_reader_finish(fp_lz4_reader *reader);
/* What was taken behind the last frame and begins none: at most four bytes. */
size_t fp_lz4_reader_behind(const fp_lz4_reader *reader,
                            const unsigned char **bytes);
/* How many bytes were taken from the source; after an error of the data, where
 * it lies. */
uint64_t fp_lz4_reader_offset(const fp_lz4_reader *reader);
/* Static text, after FP_CORRUPT, FP_TRUNCATED or FP_UNSUPPORTED. */
const char *fp_lz4_reader_error(const fp_lz4_reader *reader);

#endif

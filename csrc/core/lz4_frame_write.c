#include "lz4_frame.h"

#include "lz4_frame_format.h"
#include "workers.h"

#include <lz4.h>
#include <lz4hc.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define BLOCK_ID         6u
#define BLOCK_BYTES      ((size_t)1 << 20)
#define FIRST_HIGH_LEVEL 3
#define SAMPLE_BYTES     (32 << 10)
/* A block on its way out has its size in front and its checksum behind. */
#define FRAMED_BYTES                                                          \
    (FP_LZ4_BLOCK_SIZE_BYTES + BLOCK_BYTES + FP_LZ4_CHECKSUM_BYTES)
#define SLOTS_MAX (FP_WORKERS_MAX + 2)

typedef struct {
    unsigned char *plain;      /* owned, FRAMED_BYTES: what came in */
    unsigned char *compressed; /* owned, FRAMED_BYTES */
    size_t n_plain;
    const unsigned char *framed; /* one of the two */
    size_t n_framed;
} slot;

struct fp_lz4_writer {
    fp_sink *output; /* borrowed */
    int level;
    fp_status status; /* sticky */
    int has_header;
    int is_finished;
    fp_workers workers;
    slot slots[SLOTS_MAX];
};

/* --- a block ------------------------------------------------------------- */

/* The slow search takes ten times as long to find nothing as well, so what the
 * fast one makes nothing of is left alone. Where a sample gets smaller already,
 * the slow one is worth its time. */
static int
is_worth_searching(const char *from, char *target, int n_bytes)
{
    return (n_bytes > SAMPLE_BYTES
            && LZ4_compress_fast(from, target, SAMPLE_BYTES,
                                 SAMPLE_BYTES - SAMPLE_BYTES / 16, 1)
                   > 0)
           || LZ4_compress_fast(from, target, n_bytes, n_bytes - 1, 1) > 0;
}

/* 0 where it does not get smaller. */
static size_t
compress_bytes(const unsigned char *plain, size_t n_plain,
               unsigned char *target, int level)
{
    const char *from = (const char *)plain;
    int n_bytes = (int)n_plain;
    int n_made = 0;

    if (level < FIRST_HIGH_LEVEL) {
        n_made =
            LZ4_compress_fast(from, (char *)target, n_bytes, n_bytes - 1, 1);
    }
    else if (is_worth_searching(from, (char *)target, n_bytes)) {
        n_made =
            LZ4_compress_HC(from, (char *)target, n_bytes, n_bytes - 1, level);
    }
    return n_made > 0 ? (size_t)n_made : 0;
}

static void
compress_block(void *context, size_t index)
{
    fp_lz4_writer *writer = context;
    slot *block = &writer->slots[index];
    const unsigned char *plain = block->plain + FP_LZ4_BLOCK_SIZE_BYTES;
    unsigned char *framed = block->compressed;
    unsigned char *body = framed + FP_LZ4_BLOCK_SIZE_BYTES;
    size_t n_body = compress_bytes(plain, block->n_plain, body, writer->level);
    uint32_t size = (uint32_t)n_body;

    if (n_body == 0) {
        framed = block->plain;
        body = framed + FP_LZ4_BLOCK_SIZE_BYTES;
        n_body = block->n_plain;
        size = (uint32_t)n_body | FP_LZ4_STORED;
    }
    fp_lz4_put32(framed, size);
    fp_lz4_put32(body + n_body, XXH32(body, n_body, 0));
    block->framed = framed;
    block->n_framed = FP_LZ4_BLOCK_SIZE_BYTES + n_body + FP_LZ4_CHECKSUM_BYTES;
}

/* --- the frame ----------------------------------------------------------- */

fp_status
fp_lz4_writer_new(fp_sink *output, int level, int n_threads,
                  fp_lz4_writer **out)
{
    fp_lz4_writer *writer = calloc(1, sizeof(*writer));
    fp_status status;

    *out = NULL;
    if (writer == NULL) {
        return FP_NO_MEMORY;
    }
    writer->output = output;
    writer->level = level;
    status =
        fp_workers_init(&writer->workers, n_threads,
                        fp_workers_slots(n_threads), compress_block, writer);
    if (status != FP_OK) {
        free(writer);
        return status;
    }
    *out = writer;
    return FP_OK;
}

void
fp_lz4_writer_free(fp_lz4_writer *writer)
{
    if (writer == NULL) {
        return;
    }
    fp_workers_stop(&writer->workers);
    for (size_t i = 0; i < SLOTS_MAX; i++) {
        free(writer->slots[i].plain);
        free(writer->slots[i].compressed);
    }
    free(writer);
}

/* A frame of less than one block says so, for readers that allocate what its
 * header names. */
static unsigned
block_id_for(size_t n_only)
{
    unsigned block_id = FP_LZ4_BLOCK_ID_SMALLEST;

    while (fp_lz4_block_bytes(block_id) < n_only) {
        block_id++;
    }
    return block_id;
}

static fp_status
write_header(fp_lz4_writer *writer, unsigned block_id)
{
    unsigned char header[FP_LZ4_HEADER_BYTES_MIN];
    unsigned char *descriptor = header + FP_LZ4_MAGIC_BYTES;

    fp_lz4_put32(header, FP_LZ4_MAGIC);
    descriptor[0] =
        FP_LZ4_VERSION | FP_LZ4_INDEPENDENT | FP_LZ4_BLOCK_CHECKSUM;
    descriptor[1] = (unsigned char)(block_id << FP_LZ4_BLOCK_ID_SHIFT);
    descriptor[2] = (unsigned char)(XXH32(descriptor, 2, 0) >> 8);
    writer->has_header = 1;
    return writer->output->write(writer->output, header, sizeof(header));
}

/* Waits for the oldest block and writes it. */
static fp_status
write_oldest(fp_lz4_writer *writer)
{
    fp_status status = FP_OK;
    slot *block;

    fp_workers_wait(&writer->workers);
    block = &writer->slots[fp_workers_oldest(&writer->workers)];
    if (!writer->has_header) {
        status = write_header(writer, BLOCK_ID);
    }
    if (status == FP_OK) {
        status = writer->output->write(writer->output, block->framed,
                                       block->n_framed);
    }
    block->n_plain = 0;
    fp_workers_release(&writer->workers);
    return status;
}

static fp_status
allocate(slot *block)
{
    if (block->plain == NULL) {
        block->plain = malloc(FRAMED_BYTES);
    }
    if (block->compressed == NULL) {
        block->compressed = malloc(FRAMED_BYTES);
    }
    return block->plain == NULL || block->compressed == NULL ? FP_NO_MEMORY
                                                             : FP_OK;
}

static fp_status
add_bytes(fp_lz4_writer *writer, const unsigned char *data, size_t n_bytes)
{
    fp_workers *workers = &writer->workers;
    fp_status status = FP_OK;

    while (n_bytes > 0) {
        slot *block;
        size_t n_room;
        if (fp_workers_is_full(workers)) {
            status = write_oldest(writer);
            if (status != FP_OK) {
                return status;
            }
        }
        block = &writer->slots[fp_workers_next_slot(workers)];
        status = allocate(block);
        if (status != FP_OK) {
            return status;
        }
        n_room = BLOCK_BYTES - block->n_plain;
        if (n_room > n_bytes) {
            n_room = n_bytes;
        }
        memcpy(block->plain + FP_LZ4_BLOCK_SIZE_BYTES + block->n_plain, data,
               n_room);
        block->n_plain += n_room;
        data += n_room;
        n_bytes -= n_room;
        if (block->n_plain == BLOCK_BYTES) {
            fp_workers_submit(workers);
        }
    }
    return status;
}

fp_status
fp_lz4_writer_write(fp_lz4_writer *writer, const void *data, size_t n_bytes)
{
    if (writer->status == FP_OK) {
        writer->status = add_bytes(writer, data, n_bytes);
    }
    return writer->status;
}

static fp_status
finish(fp_lz4_writer *writer)
{
    fp_workers *workers = &writer->workers;
    const unsigned char end_mark[FP_LZ4_BLOCK_SIZE_BYTES] = {0};
    fp_status status = FP_OK;

    if (!fp_workers_is_full(workers)) {
        const slot *last = &writer->slots[fp_workers_next_slot(workers)];
        if (!writer->has_header && fp_workers_is_empty(workers)) {
            status = write_header(writer, block_id_for(last->n_plain));
        }
        if (last->n_plain > 0) {
            fp_workers_submit(workers);
        }
    }
    while (status == FP_OK && !fp_workers_is_empty(workers)) {
        status = write_oldest(writer);
    }
    if (status == FP_OK) {
        status =
            writer->output->write(writer->output, end_mark, sizeof(end_mark));
    }
    fp_workers_stop(workers);
    return status;
}

fp_status
fp_lz4_writer_finish(fp_lz4_writer *writer)
{
    if (writer->status == FP_OK && !writer->is_finished) {
        writer->is_finished = 1;
        writer->status = finish(writer);
    }
    return writer->status;
}

#include "lz4_frame.h"

#include "lz4_frame_format.h"
#include "workers.h"

#include <lz4.h>
#include <lz4frame.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define SLOTS_MAX (FP_WORKERS_MAX + 2)
/* Skipped bytes and dropped content pass through so much at a time. */
#define DROP_BYTES ((size_t)64 << 10)
/* Around a block: its size and its checksum. */
#define BLOCK_EXTRA_BYTES (FP_LZ4_BLOCK_SIZE_BYTES + FP_LZ4_CHECKSUM_BYTES)

typedef enum {
    BETWEEN,     /* frames */
    INDEPENDENT, /* in a frame of such blocks */
    LINKED,
    LEGACY,
} place;

typedef struct {
    unsigned char *framed; /* owned: block and checksum, as read */
    unsigned char *plain;  /* owned: NULL until it is decoded here */
    size_t n_framed;       /* of the block alone */
    int is_stored;
    uint64_t offset; /* of its first byte in the source */
    fp_status status;
    const char *error;
    size_t n_plain;
    size_t n_taken; /* of n_plain, by the caller */
} slot;

struct fp_lz4_reader {
    fp_source *source; /* borrowed */
    int n_threads;
    uint64_t offset;
    fp_status status; /* sticky */
    const char *error;
    unsigned char behind[FP_LZ4_MAGIC_BYTES];
    size_t n_behind;
    int is_magic_next; /* `behind` was read, and not looked at */
    place place;
    /* the frame */
    size_t block_bytes;
    int has_block_checksums;
    int has_content_checksum;
    int has_content_size;
    uint64_t content_size;
    uint64_t n_content;          /* made so far */
    XXH32_state_t *content_hash; /* owned */
    /* independent blocks */
    fp_workers workers;
    slot slots[SLOTS_MAX];
    size_t n_allocated; /* of each slot's memory: for blocks of so much */
    uint32_t next_size; /* of the block that follows, as stored */
    int is_last_read;   /* the end mark was */
    /* linked blocks */
    LZ4F_dctx *context;   /* owned */
    unsigned char *input; /* owned: what LZ4F gets next */
    size_t input_capacity;
    size_t n_input;
    size_t input_taken;
};

static fp_status
damaged(fp_lz4_reader *reader, fp_status status, const char *error)
{
    reader->error = error;
    return status;
}

static fp_status
corrupt(fp_lz4_reader *reader, const char *error)
{
    return damaged(reader, FP_CORRUPT, error);
}

fp_status
fp_lz4_reader_new(fp_source *source, int n_threads, fp_lz4_reader **out)
{
    fp_lz4_reader *reader = calloc(1, sizeof(*reader));

    *out = reader;
    if (reader == NULL) {
        return FP_NO_MEMORY;
    }
    reader->source = source;
    reader->n_threads = n_threads;
    return FP_OK;
}

static void
free_slots(fp_lz4_reader *reader)
{
    for (size_t i = 0; i < SLOTS_MAX; i++) {
        free(reader->slots[i].framed);
        free(reader->slots[i].plain);
        reader->slots[i] = (slot){0};
    }
}

void
fp_lz4_reader_free(fp_lz4_reader *reader)
{
    if (reader == NULL) {
        return;
    }
    fp_workers_stop(&reader->workers);
    free_slots(reader);
    (void)XXH32_freeState(reader->content_hash);
    (void)LZ4F_freeDecompressionContext(reader->context);
    free(reader->input);
    free(reader);
}

size_t
fp_lz4_reader_behind(const fp_lz4_reader *reader, const unsigned char **bytes)
{
    *bytes = reader->behind;
    return reader->n_behind;
}

uint64_t
fp_lz4_reader_offset(const fp_lz4_reader *reader)
{
    return reader->offset;
}

const char *
fp_lz4_reader_error(const fp_lz4_reader *reader)
{
    return reader->error;
}

/* --- the source ---------------------------------------------------------- */

/* As many of n_bytes as there are. */
static fp_status
read_some(fp_lz4_reader *reader, unsigned char *target, size_t n_bytes,
          size_t *n_read)
{
    *n_read = 0;
    while (*n_read < n_bytes) {
        size_t n_more = 0;
        fp_status status = reader->source->read(
            reader->source, target + *n_read, n_bytes - *n_read, &n_more);
        if (status != FP_OK) {
            return status;
        }
        if (n_more == 0) {
            break;
        }
        *n_read += n_more;
        reader->offset += n_more;
    }
    return FP_OK;
}

static fp_status
read_all(fp_lz4_reader *reader, unsigned char *target, size_t n_bytes)
{
    size_t n_read;
    fp_status status = read_some(reader, target, n_bytes, &n_read);

    if (status == FP_OK && n_read < n_bytes) {
        status = damaged(reader, FP_TRUNCATED, "the frame ends too early");
    }
    return status;
}

/* --- one independent block ---------------------------------------------- */

/* Runs on any thread. `target` has room for a whole block. */
static void
decode_block(const fp_lz4_reader *reader, slot *block, unsigned char *target)
{
    int n_made;

    block->status = FP_CORRUPT;
    if (reader->has_block_checksums
        && XXH32(block->framed, block->n_framed, 0)
               != fp_lz4_get32(block->framed + block->n_framed))
    {
        block->error = "wrong checksum of a block";
        return;
    }
    if (block->is_stored) {
        memcpy(target, block->framed, block->n_framed);
        block->n_plain = block->n_framed;
        block->status = FP_OK;
        return;
    }
    n_made =
        LZ4_decompress_safe((const char *)block->framed, (char *)target,
                            (int)block->n_framed, (int)reader->block_bytes);
    if (n_made < 0) {
        block->error = "wrong bytes in a block";
        return;
    }
    block->n_plain = (size_t)n_made;
    block->status = FP_OK;
}

static void
decode_slot(void *context, size_t index)
{
    fp_lz4_reader *reader = context;
    slot *block = &reader->slots[index];

    if (block->plain == NULL) {
        block->plain = malloc(reader->block_bytes);
    }
    if (block->plain == NULL) {
        block->status = FP_NO_MEMORY;
        return;
    }
    decode_block(reader, block, block->plain);
}

/* --- what the header says of the content --------------------------------- */

/* Content that the caller has got. */
static fp_status
count_content(fp_lz4_reader *reader, size_t n_bytes)
{
    reader->n_content += n_bytes;
    return reader->has_content_size && reader->n_content > reader->content_size
               ? corrupt(reader, "more content than the header says")
               : FP_OK;
}

static fp_status
end_content(fp_lz4_reader *reader)
{
    reader->place = BETWEEN;
    return reader->has_content_size
                   && reader->n_content != reader->content_size
               ? corrupt(reader, "less content than the header says")
               : FP_OK;
}

/* --- headers ------------------------------------------------------------- */

static fp_status
skip_frame(fp_lz4_reader *reader)
{
    unsigned char size[4];
    unsigned char *scratch = NULL;
    size_t n_left;
    fp_status status = read_all(reader, size, sizeof(size));

    if (status != FP_OK) {
        return status;
    }
    n_left = fp_lz4_get32(size);
    scratch = malloc(DROP_BYTES);
    if (scratch == NULL) {
        return FP_NO_MEMORY;
    }
    while (status == FP_OK && n_left > 0) {
        size_t n_chunk = n_left < DROP_BYTES ? n_left : DROP_BYTES;
        status = read_all(reader, scratch, n_chunk);
        n_left -= n_chunk;
    }
    free(scratch);
    return status;
}

static fp_status
begin_linked(fp_lz4_reader *reader, const unsigned char *header,
             size_t n_header)
{
    size_t n_target = 0, n_taken = n_header;
    size_t capacity = reader->block_bytes + BLOCK_EXTRA_BYTES;
    size_t hint;

    if (reader->input_capacity < capacity) {
        unsigned char *input = realloc(reader->input, capacity);
        if (input == NULL) {
            return FP_NO_MEMORY;
        }
        reader->input = input;
        reader->input_capacity = capacity;
    }
    if (reader->context == NULL
        && LZ4F_isError(
            LZ4F_createDecompressionContext(&reader->context, LZ4F_VERSION)))
    {
        reader->context = NULL;
        return FP_NO_MEMORY;
    }
    hint = LZ4F_decompress(reader->context, reader->behind, &n_target, header,
                           &n_taken, NULL);
    if (LZ4F_isError(hint) || n_taken != n_header) {
        return corrupt(reader, "wrong header");
    }
    reader->n_input = reader->input_taken = 0;
    reader->place = LINKED;
    return FP_OK;
}

/* Memory for blocks of this frame's size, and threads. */
static fp_status
begin_independent(fp_lz4_reader *reader)
{
    size_t n_slots = fp_workers_slots(reader->n_threads);
    size_t n_most = FP_LZ4_READER_BYTES / (2 * reader->block_bytes);
    unsigned char size[FP_LZ4_BLOCK_SIZE_BYTES];
    fp_status status;

    if (reader->n_allocated != reader->block_bytes) {
        free_slots(reader);
        reader->n_allocated = reader->block_bytes;
    }
    status = read_all(reader, size, sizeof(size));
    if (status != FP_OK) {
        return status;
    }
    reader->next_size = fp_lz4_get32(size);
    reader->is_last_read = reader->next_size == 0;
    status = fp_workers_init(&reader->workers, reader->n_threads,
                             n_slots < n_most ? n_slots : n_most, decode_slot,
                             reader);
    reader->place = INDEPENDENT;
    return status;
}

static fp_status
begin_frame(fp_lz4_reader *reader)
{
    unsigned char header[FP_LZ4_HEADER_BYTES_MAX];
    unsigned char *descriptor = header + FP_LZ4_MAGIC_BYTES;
    size_t n_header = FP_LZ4_HEADER_BYTES_MIN;
    unsigned flg, block_id;
    fp_status status;

    memcpy(header, reader->behind, FP_LZ4_MAGIC_BYTES);
    reader->n_behind = 0;
    status = read_all(reader, descriptor, 2);
    if (status != FP_OK) {
        return status;
    }
    flg = descriptor[0];
    block_id = descriptor[1] >> FP_LZ4_BLOCK_ID_SHIFT;
    if ((flg & FP_LZ4_VERSION_MASK) != FP_LZ4_VERSION
        || (flg & FP_LZ4_FLG_RESERVED) != 0
        || (descriptor[1] & FP_LZ4_BD_RESERVED) != 0
        || block_id < FP_LZ4_BLOCK_ID_SMALLEST)
    {
        return corrupt(reader, "wrong header");
    }
    if (flg & FP_LZ4_CONTENT_SIZE) {
        n_header += sizeof(uint64_t);
    }
    if (flg & FP_LZ4_DICTIONARY) {
        n_header += FP_LZ4_DICTIONARY_BYTES;
    }
    status =
        read_all(reader, descriptor + 2, n_header - FP_LZ4_MAGIC_BYTES - 2);
    if (status != FP_OK) {
        return status;
    }
    if (header[n_header - 1]
        != (unsigned char)(XXH32(descriptor, n_header - FP_LZ4_MAGIC_BYTES - 1,
                                 0)
                           >> 8))
    {
        return corrupt(reader, "wrong checksum of the header");
    }
    if (flg & FP_LZ4_DICTIONARY) {
        return damaged(reader, FP_UNSUPPORTED, "the frame needs a dictionary");
    }
    reader->block_bytes = fp_lz4_block_bytes(block_id);
    reader->has_block_checksums = (flg & FP_LZ4_BLOCK_CHECKSUM) != 0;
    reader->has_content_checksum = (flg & FP_LZ4_CONTENT_CHECKSUM) != 0;
    reader->has_content_size = (flg & FP_LZ4_CONTENT_SIZE) != 0;
    reader->n_content = 0;
    if (reader->has_content_size) {
        reader->content_size = (uint64_t)fp_lz4_get32(descriptor + 2)
                               | (uint64_t)fp_lz4_get32(descriptor + 6) << 32;
    }
    if (!(flg & FP_LZ4_INDEPENDENT)) {
        return begin_linked(reader, header, n_header);
    }
    if (reader->has_content_checksum) {
        if (reader->content_hash == NULL) {
            reader->content_hash = XXH32_createState();
        }
        if (reader->content_hash == NULL) {
            return FP_NO_MEMORY;
        }
        (void)XXH32_reset(reader->content_hash, 0);
    }
    return begin_independent(reader);
}

/* A legacy frame: blocks of 8 MiB, none of them checked, up to the end of the
 * source or a magic, which no block's size can be. */
static fp_status
begin_legacy(fp_lz4_reader *reader)
{
    if (reader->n_allocated != FP_LZ4_LEGACY_BLOCK) {
        free_slots(reader);
        reader->n_allocated = FP_LZ4_LEGACY_BLOCK;
    }
    reader->block_bytes = FP_LZ4_LEGACY_BLOCK;
    reader->has_block_checksums = 0;
    reader->has_content_size = 0;
    reader->n_behind = 0;
    reader->slots[0].n_plain = reader->slots[0].n_taken = 0;
    reader->place = LEGACY;
    return FP_OK;
}

/* Goes into the next frame, if one follows. */
static fp_status
next_frame(fp_lz4_reader *reader)
{
    while (reader->place == BETWEEN) {
        fp_status status;
        uint32_t magic;
        if (reader->is_magic_next) {
            reader->is_magic_next = 0;
        }
        else if (reader->n_behind > 0) {
            return FP_OK; /* was looked at before: no frame */
        }
        else {
            status = read_some(reader, reader->behind, FP_LZ4_MAGIC_BYTES,
                               &reader->n_behind);
            if (status != FP_OK) {
                return status;
            }
        }
        if (reader->n_behind < FP_LZ4_MAGIC_BYTES) {
            return FP_OK;
        }
        magic = fp_lz4_get32(reader->behind);
        if (magic == FP_LZ4_MAGIC) {
            status = begin_frame(reader);
        }
        else if (magic == FP_LZ4_LEGACY_MAGIC) {
            status = begin_legacy(reader);
        }
        else if ((magic & FP_LZ4_SKIPPABLE_MASK) == FP_LZ4_SKIPPABLE_MAGIC) {
            reader->n_behind = 0;
            status = skip_frame(reader);
        }
        else {
            return FP_OK;
        }
        if (status != FP_OK) {
            return status;
        }
    }
    return FP_OK;
}

/* --- independent blocks, in order -------------------------------------------------- */

/* Reads the block whose size is known, its checksum, and the size of the one
 * that follows, and submits it. */
static fp_status
read_block(fp_lz4_reader *reader)
{
    slot *block = &reader->slots[fp_workers_next_slot(&reader->workers)];
    size_t n_behind = FP_LZ4_BLOCK_SIZE_BYTES;
    fp_status status;

    block->is_stored = (reader->next_size & FP_LZ4_STORED) != 0;
    block->n_framed = reader->next_size & ~FP_LZ4_STORED;
    if (block->n_framed > reader->block_bytes) {
        return corrupt(reader, "a block is larger than the header allows");
    }
    if (block->framed == NULL) {
        block->framed = malloc(reader->block_bytes + FP_LZ4_CHECKSUM_BYTES
                               + FP_LZ4_BLOCK_SIZE_BYTES);
        if (block->framed == NULL) {
            return FP_NO_MEMORY;
        }
    }
    if (reader->has_block_checksums) {
        n_behind += FP_LZ4_CHECKSUM_BYTES;
    }
    block->offset = reader->offset;
    status = read_all(reader, block->framed, block->n_framed + n_behind);
    if (status != FP_OK) {
        return status;
    }
    reader->next_size = fp_lz4_get32(block->framed + block->n_framed + n_behind
                                     - FP_LZ4_BLOCK_SIZE_BYTES);
    reader->is_last_read = reader->next_size == 0;
    block->n_taken = 0;
    fp_workers_submit(&reader->workers);
    return FP_OK;
}

static fp_status
end_independent(fp_lz4_reader *reader)
{
    unsigned char checksum[FP_LZ4_CHECKSUM_BYTES];

    fp_workers_stop(&reader->workers);
    if (reader->has_content_checksum) {
        fp_status status = read_all(reader, checksum, sizeof(checksum));
        if (status != FP_OK) {
            return status;
        }
        if (fp_lz4_get32(checksum) != XXH32_digest(reader->content_hash)) {
            return corrupt(reader, "wrong checksum of the content");
        }
    }
    return end_content(reader);
}

/* From the oldest block into `target`; the block is gone when all of it was
 * taken. */
static fp_status
take_block(fp_lz4_reader *reader, unsigned char *target, size_t n_bytes,
           size_t *n_made)
{
    fp_workers *workers = &reader->workers;
    slot *block = &reader->slots[fp_workers_oldest(workers)];
    size_t n_chunk;

    if (n_bytes >= reader->block_bytes && fp_workers_claim(workers)) {
        decode_block(reader, block, target);
        block->n_taken = block->status == FP_OK ? block->n_plain : 0;
        n_chunk = block->n_taken;
    }
    else {
        fp_workers_wait(workers);
        n_chunk = block->status == FP_OK ? block->n_plain - block->n_taken : 0;
        if (n_chunk > n_bytes) {
            n_chunk = n_bytes;
        }
        if (n_chunk > 0) {
            memcpy(target, block->plain + block->n_taken, n_chunk);
        }
        block->n_taken += n_chunk;
    }
    *n_made = n_chunk;
    if (block->status != FP_OK) {
        reader->offset = block->offset;
        return damaged(reader, block->status, block->error);
    }
    if (block->n_taken == block->n_plain) {
        fp_workers_release(workers);
    }
    if (reader->has_content_checksum) {
        (void)XXH32_update(reader->content_hash, target, n_chunk);
    }
    return count_content(reader, n_chunk);
}

static fp_status
read_independent(fp_lz4_reader *reader, unsigned char *target, size_t n_bytes,
                 size_t *n_made)
{
    fp_workers *workers = &reader->workers;

    while (n_bytes > *n_made) {
        fp_status status = FP_OK;
        size_t n_chunk;
        while (status == FP_OK && !reader->is_last_read
               && !fp_workers_is_full(workers))
        {
            status = read_block(reader);
        }
        if (status != FP_OK) {
            return status;
        }
        if (fp_workers_is_empty(workers)) {
            return end_independent(reader);
        }
        status =
            take_block(reader, target + *n_made, n_bytes - *n_made, &n_chunk);
        *n_made += n_chunk;
        if (status != FP_OK) {
            return status;
        }
    }
    return FP_OK;
}

/* --- linked blocks ------------------------------------------------------- */

/* The next block, or the end of the frame, and nothing behind it: LZ4F's own
 * hints may go further. */
static fp_status
refill(fp_lz4_reader *reader)
{
    unsigned char *input = reader->input;
    size_t n_block;
    fp_status status;

    reader->n_input = reader->input_taken = 0;
    status = read_all(reader, input, FP_LZ4_BLOCK_SIZE_BYTES);
    if (status != FP_OK) {
        return status;
    }
    n_block = fp_lz4_get32(input) & ~FP_LZ4_STORED;
    if (n_block > reader->block_bytes) {
        return corrupt(reader, "a block is larger than the header allows");
    }
    if (fp_lz4_get32(input) == 0) {
        n_block = reader->has_content_checksum ? FP_LZ4_CHECKSUM_BYTES : 0;
    }
    else if (reader->has_block_checksums) {
        n_block += FP_LZ4_CHECKSUM_BYTES;
    }
    status = read_all(reader, input + FP_LZ4_BLOCK_SIZE_BYTES, n_block);
    if (status == FP_OK) {
        reader->n_input = FP_LZ4_BLOCK_SIZE_BYTES + n_block;
    }
    return status;
}

static fp_status
read_linked(fp_lz4_reader *reader, unsigned char *target, size_t n_bytes,
            size_t *n_made)
{
    while (n_bytes > *n_made) {
        size_t n_taken = reader->n_input - reader->input_taken;
        size_t n_chunk = n_bytes - *n_made;
        size_t hint = LZ4F_decompress(
            reader->context, target + *n_made, &n_chunk,
            reader->input + reader->input_taken, &n_taken, NULL);
        if (LZ4F_isError(hint)) {
            return corrupt(reader, LZ4F_getErrorName(hint));
        }
        reader->input_taken += n_taken;
        *n_made += n_chunk;
        fp_status status = count_content(reader, n_chunk);
        if (status == FP_OK && hint == 0) {
            return end_content(reader);
        }
        if (status == FP_OK && reader->input_taken == reader->n_input
            && n_chunk == 0)
        {
            status = refill(reader);
        }
        if (status != FP_OK) {
            return status;
        }
    }
    return FP_OK;
}

/* --- blocks of a legacy frame --------------------------------------------- */

/* Reads and decodes the next block into the one slot, or ends the frame. */
static fp_status
next_legacy(fp_lz4_reader *reader)
{
    slot *block = &reader->slots[0];
    size_t n_most = (size_t)LZ4_COMPRESSBOUND(FP_LZ4_LEGACY_BLOCK);
    fp_status status = read_some(reader, reader->behind,
                                 FP_LZ4_BLOCK_SIZE_BYTES, &reader->n_behind);

    if (status != FP_OK) {
        return status;
    }
    block->n_framed = fp_lz4_get32(reader->behind);
    if (reader->n_behind < FP_LZ4_BLOCK_SIZE_BYTES || block->n_framed > n_most)
    {
        reader->is_magic_next = 1;
        reader->place = BETWEEN;
        return FP_OK;
    }
    reader->n_behind = 0;
    if (block->framed == NULL) {
        block->framed = malloc(n_most);
    }
    if (block->framed == NULL) {
        return FP_NO_MEMORY;
    }
    block->offset = reader->offset;
    block->is_stored = 0;
    block->n_taken = 0;
    status = read_all(reader, block->framed, block->n_framed);
    if (status != FP_OK) {
        return status;
    }
    decode_slot(reader, 0);
    if (block->status != FP_OK) {
        reader->offset = block->offset;
        return damaged(reader, block->status, block->error);
    }
    return FP_OK;
}

static fp_status
read_legacy(fp_lz4_reader *reader, unsigned char *target, size_t n_bytes,
            size_t *n_made)
{
    slot *block = &reader->slots[0];
    size_t n_chunk;

    while (block->n_taken == block->n_plain) {
        fp_status status = next_legacy(reader);
        if (status != FP_OK || reader->place == BETWEEN) {
            return status;
        }
    }
    n_chunk = block->n_plain - block->n_taken;
    if (n_chunk > n_bytes) {
        n_chunk = n_bytes;
    }
    memcpy(target, block->plain + block->n_taken, n_chunk);
    block->n_taken += n_chunk;
    *n_made = n_chunk;
    return FP_OK;
}

/* --- reading ------------------------------------------------------------- */

/* Of the frame that was begun. */
static fp_status
read_here(fp_lz4_reader *reader, void *target, size_t n_bytes, size_t *n_made)
{
    switch (reader->place) {
    case LINKED:
        return read_linked(reader, target, n_bytes, n_made);
    case LEGACY:
        return read_legacy(reader, target, n_bytes, n_made);
    default:
        return read_independent(reader, target, n_bytes, n_made);
    }
}

fp_status
fp_lz4_reader_read(fp_lz4_reader *reader, void *target, size_t n_bytes,
                   size_t *n_made)
{
    *n_made = 0;
    while (reader->status == FP_OK && *n_made == 0) {
        reader->status = next_frame(reader);
        if (reader->status != FP_OK || reader->place == BETWEEN) {
            break;
        }
        reader->status = read_here(reader, target, n_bytes, n_made);
    }
    return reader->status;
}

fp_status
fp_lz4_reader_finish(fp_lz4_reader *reader)
{
    unsigned char *scratch;

    if (reader->place == BETWEEN || reader->status != FP_OK) {
        return reader->status;
    }
    scratch = malloc(DROP_BYTES);
    if (scratch == NULL) {
        return FP_NO_MEMORY;
    }
    while (reader->status == FP_OK && reader->place != BETWEEN) {
        size_t n_made = 0;
        reader->status = read_here(reader, scratch, DROP_BYTES, &n_made);
    }
    free(scratch);
    return reader->status;
}

#include "wide_hash.h"

#include <stdlib.h>
#include <string.h>

#include <xxhash.h>
#ifdef FP_HAVE_XXH_DISPATCH
#include <xxh_x86dispatch.h>
#endif

#include "workers.h"

static fp_wide
as_bytes(XXH128_hash_t hash)
{
    XXH128_canonical_t canonical;
    fp_wide wide;

    XXH128_canonicalFromHash(&canonical, hash);
    memcpy(wide.bytes, canonical.digest, sizeof(wide.bytes));
    return wide;
}

fp_wide
fp_wide_hash(const void *data, size_t n_bytes)
{
    return as_bytes(XXH3_128bits(n_bytes > 0 ? data : "", n_bytes));
}

fp_wide
fp_wide_of_blocks(const fp_wide *digests, size_t n_blocks)
{
    return n_blocks == 1 ? digests[0]
                         : fp_wide_hash(digests, n_blocks * FP_WIDE_BYTES);
}

/* --- in pieces ------------------------------------------------------------ */

void *
fp_wide_state_new(void)
{
    XXH3_state_t *state = XXH3_createState(); /* 64-byte aligned */

    if (state != NULL) {
        (void)XXH3_128bits_reset(state);
    }
    return state;
}

void *
fp_wide_state_copy(const void *state)
{
    XXH3_state_t *copy = XXH3_createState();

    if (copy != NULL) {
        XXH3_copyState(copy, state);
    }
    return copy;
}

void
fp_wide_begin(void *state)
{
    (void)XXH3_128bits_reset(state);
}

void
fp_wide_update(void *state, const void *data, size_t n_bytes)
{
    if (n_bytes > 0) {
        (void)XXH3_128bits_update(state, data, n_bytes);
    }
}

fp_wide
fp_wide_digest(const void *state)
{
    return as_bytes(XXH3_128bits_digest(state));
}

void
fp_wide_state_free(void *state)
{
    (void)XXH3_freeState(state);
}

/* The open block, which is full, or the last one. */
static fp_status
close_block(fp_wide_payload *payload)
{
    payload->last = fp_wide_digest(payload->block);
    fp_wide_begin(payload->block);
    if (payload->digests == NULL) {
        payload->digests = fp_wide_state_new();
        if (payload->digests == NULL) {
            return FP_NO_MEMORY;
        }
    }
    fp_wide_update(payload->digests, payload->last.bytes, FP_WIDE_BYTES);
    payload->n_closed++;
    payload->filled = 0;
    return FP_OK;
}

fp_status
fp_wide_payload_update(fp_wide_payload *payload, const void *data,
                       size_t n_bytes)
{
    const unsigned char *next = data;

    if (payload->block == NULL) {
        payload->block = fp_wide_state_new();
        if (payload->block == NULL) {
            return FP_NO_MEMORY;
        }
    }
    while (n_bytes > 0) {
        size_t n = FP_WIDE_BLOCK_BYTES - payload->filled;
        if (n == 0) {
            fp_status status = close_block(payload);
            if (status != FP_OK) {
                return status;
            }
            continue;
        }
        if (n > n_bytes) {
            n = n_bytes;
        }
        fp_wide_update(payload->block, next, n);
        payload->filled += n;
        next += n;
        n_bytes -= n;
    }
    return FP_OK;
}

fp_status
fp_wide_payload_finish(fp_wide_payload *payload, fp_wide *digest)
{
    fp_status status = FP_OK;

    if (digest != NULL) {
        if (payload->block == NULL) {
            *digest = fp_wide_hash(NULL, 0);
        }
        else if (payload->n_closed == 0) {
            *digest = fp_wide_digest(payload->block);
        }
        else {
            status = close_block(payload);
            if (status == FP_OK) {
                *digest = fp_wide_digest(payload->digests);
            }
        }
    }
    fp_wide_state_free(payload->block);
    fp_wide_state_free(payload->digests);
    *payload = (fp_wide_payload){0};
    return status;
}

/* --- spans ---------------------------------------------------------------- */

static size_t
n_blocks_of(size_t n_bytes)
{
    return n_bytes <= FP_WIDE_BLOCK_BYTES
               ? 1
               : (n_bytes - 1) / FP_WIDE_BLOCK_BYTES + 1;
}

typedef struct {
    const unsigned char *data;
    size_t n_bytes;
} block;

typedef struct {
    const block *blocks;
    fp_wide *digests;
} block_jobs;

static fp_status
hash_block(void *context, size_t job)
{
    const block_jobs *jobs = context;

    jobs->digests[job] =
        fp_wide_hash(jobs->blocks[job].data, jobs->blocks[job].n_bytes);
    return FP_OK;
}

fp_status
fp_wide_hash_spans(fp_wide_span *spans, size_t n_spans, int n_threads)
{
    size_t n_jobs = 0, job = 0;
    block *blocks;
    fp_wide *digests;
    fp_status status = FP_NO_MEMORY;

    for (size_t i = 0; i < n_spans; i++) {
        n_jobs += n_blocks_of(spans[i].n_bytes);
    }
    if (n_jobs == 0) {
        return FP_OK;
    }
    blocks = calloc(n_jobs, sizeof(*blocks));
    digests = calloc(n_jobs, sizeof(*digests));
    if (blocks == NULL || digests == NULL) {
        goto done;
    }
    for (size_t i = 0; i < n_spans; i++) {
        size_t offset = 0;
        for (size_t n = n_blocks_of(spans[i].n_bytes); n > 0; n--) {
            size_t n_left = spans[i].n_bytes - offset;
            blocks[job++] = (block){
                spans[i].data == NULL ? NULL : spans[i].data + offset,
                n_left < FP_WIDE_BLOCK_BYTES ? n_left : FP_WIDE_BLOCK_BYTES,
            };
            offset += FP_WIDE_BLOCK_BYTES;
        }
    }
    status = fp_workers_do(hash_block,
                           &(block_jobs){.blocks = blocks, .digests = digests},
                           n_jobs, n_threads);
    if (status != FP_OK) {
        goto done;
    }
    job = 0;
    for (size_t i = 0; i < n_spans; i++) {
        size_t n = n_blocks_of(spans[i].n_bytes);
        spans[i].digest = fp_wide_of_blocks(&digests[job], n);
        job += n;
    }
done:
    free(blocks);
    free(digests);
    return status;
}

/* --- tables --------------------------------------------------------------- */

/* So many bytes of a row are taken at once, at least and at most, and so many
 * rows: pieces of a column that are long enough to be hashed fast, and all of
 * them no more than the second cache holds. What lies between the columns keeps
 * them off each other's lines in the first one. */
#define LEAST_GROUP_BYTES 128
#define MOST_GROUP_BYTES  1024
#define TILE_ROWS         ((size_t)256)
#define GAP_BYTES         ((size_t)64)

typedef struct {
    const fp_wide_table *table;
    fp_wide *digests; /* block by block of each column */
    size_t n_blocks;
    size_t block_rows;
    size_t group_columns;
    size_t n_groups;
} table_jobs;

#define ROWS_AHEAD 16

/* A row that comes soon; it need not be there. */
static inline void
prefetch_row(const unsigned char *row, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i += 64) {
        __builtin_prefetch((const void *)((uintptr_t)row + i));
    }
}

/* n_columns columns of n_rows rows, each column's elements side by side. */
static void
turn(unsigned char *out, size_t column_bytes, const unsigned char *data,
     ptrdiff_t row_stride, size_t n_rows, size_t n_columns, size_t item_bytes)
{
#define TURN(n)                                                               \
    for (size_t row = 0; row < n_rows; row++) {                               \
        const unsigned char *from = data + (ptrdiff_t)row * row_stride;       \
        unsigned char *to = out + row * (n);                                  \
        prefetch_row(from + (ptrdiff_t)ROWS_AHEAD * row_stride,               \
                     n_columns * (n));                                        \
        for (size_t column = 0; column < n_columns; column++) {               \
            memcpy(to, from, n);                                              \
            from += (n);                                                      \
            to += column_bytes;                                               \
        }                                                                     \
    }
    switch (item_bytes) {
    case 1:
        TURN((size_t)1)
        break;
    case 2:
        TURN((size_t)2)
        break;
    case 4:
        TURN((size_t)4)
        break;
    case 8:
        TURN((size_t)8)
        break;
    default:
        TURN(item_bytes)
        break;
    }
#undef TURN
}

/* One block of rows of a few columns. */
static fp_status
hash_group(void *context, size_t job)
{
    const table_jobs *jobs = context;
    const fp_wide_table *table = jobs->table;
    size_t first_column = job % jobs->n_groups * jobs->group_columns;
    size_t number = job / jobs->n_groups;
    size_t row = number * jobs->block_rows;
    size_t n_columns = table->n_columns - first_column;
    size_t n_rows = table->n_rows - row;
    size_t tile_rows = TILE_ROWS;
    size_t column_bytes = tile_rows * table->item_bytes + GAP_BYTES;
    unsigned char *tile = malloc(column_bytes * jobs->group_columns);
    void **states;
    fp_status status = FP_NO_MEMORY;

    if (n_columns > jobs->group_columns) {
        n_columns = jobs->group_columns;
    }
    if (n_rows > jobs->block_rows) {
        n_rows = jobs->block_rows;
    }
    states = calloc(n_columns, sizeof(*states));
    if (tile == NULL || states == NULL) {
        goto done;
    }
    for (size_t i = 0; i < n_columns; i++) {
        states[i] = fp_wide_state_new();
        if (states[i] == NULL) {
            goto done;
        }
    }
    while (n_rows > 0) {
        size_t n = n_rows < tile_rows ? n_rows : tile_rows;
        turn(tile, column_bytes,
             table->data + (ptrdiff_t)row * table->row_stride
                 + first_column * table->item_bytes,
             table->row_stride, n, n_columns, table->item_bytes);
        for (size_t i = 0; i < n_columns; i++) {
            fp_wide_update(states[i], tile + i * column_bytes,
                           n * table->item_bytes);
        }
        row += n;
        n_rows -= n;
    }
    for (size_t i = 0; i < n_columns; i++) {
        jobs->digests[(first_column + i) * jobs->n_blocks + number] =
            fp_wide_digest(states[i]);
    }
    status = FP_OK;
done:
    for (size_t i = 0; states != NULL && i < n_columns; i++) {
        fp_wide_state_free(states[i]);
    }
    free(states);
    free(tile);
    return status;
}

/* Each thread's share, if there is one block of rows. */
static size_t
group_columns(const fp_wide_table *table, int n_threads)
{
    size_t n =
        (table->n_columns - 1) / (size_t)(n_threads > 1 ? n_threads : 1) + 1;
    size_t least = LEAST_GROUP_BYTES / table->item_bytes;
    size_t most = MOST_GROUP_BYTES / table->item_bytes;

    return n < least ? least : n > most ? most : n;
}

fp_status
fp_wide_hash_table(const fp_wide_table *table, fp_wide *digests, int n_threads)
{
    table_jobs jobs = {.table = table};
    fp_status status;

    if (table->n_columns == 0) {
        return FP_OK;
    }
    jobs.n_blocks = n_blocks_of(table->n_rows * table->item_bytes);
    jobs.block_rows = FP_WIDE_BLOCK_BYTES / table->item_bytes;
    jobs.group_columns = group_columns(table, n_threads);
    jobs.n_groups = (table->n_columns - 1) / jobs.group_columns + 1;
    jobs.digests = calloc(table->n_columns * jobs.n_blocks, FP_WIDE_BYTES);
    if (jobs.digests == NULL) {
        return FP_NO_MEMORY;
    }
    status = fp_workers_do(hash_group, &jobs, jobs.n_blocks * jobs.n_groups,
                           n_threads);
    for (size_t i = 0; status == FP_OK && i < table->n_columns; i++) {
        digests[i] =
            fp_wide_of_blocks(&jobs.digests[i * jobs.n_blocks], jobs.n_blocks);
    }
    free(jobs.digests);
    return status;
}

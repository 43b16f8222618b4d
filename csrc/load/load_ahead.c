/* A sidecar that is read ahead of the graph: what of it the graph will ask for
 * and when, memory for a window of that, and the wait for what it asks for.
 *
 * The graph is checked already, so a pass over its opcodes tells in which order
 * it fetches the blobs and how often each. At a fetch the blobs behind that one
 * get their memory, up to WINDOW_BYTES of them and the next one in any case;
 * core/read_ahead.h fills it. Behind its last GET a blob is no longer kept, so
 * what __setstate__ has copied comes back for the blobs that follow.
 */
#include "load_parts.h"

#include "base/signals.h"
#include "core/block_hash.h"
#include "core/read_ahead.h"

#include <stdlib.h>

/* So much is read ahead of the blob that was asked for last, whatever their
 * size, and the next blob. */
#define WINDOW_BYTES ((uint64_t)16 << 20)
/* A smaller sidecar is there before a thread has begun. */
#define LEAST_BYTES ((uint64_t)2 << 20)
/* Where the graph is longer than that, arrays are so small that the pass over it
 * takes as long as reading them. */
#define BYTES_PER_GRAPH_BYTE 12
/* Blocks that are read twice, in a file whose blobs are asked for in another
 * order than they lie in: more than so many, and than an eighth of it, and
 * everything is read first. */
#define FEW_BLOCKS 16

struct fp_load_ahead {
    fp_read_ahead reader;
    size_t *order; /* owned: blobs, by their first GET */
    size_t n_order;
    size_t *place; /* owned: of each blob, in `order`; SIZE_MAX: nobody asks */
    size_t n_given;
    uint64_t n_ahead; /* bytes that were given, and not fetched yet */
    uint64_t n_before, n_fetched; /* bytes, for progress */
    unsigned char *gaps;          /* owned */
    fp_ahead_blob *blobs;         /* owned */
};

int
fp_load_may_stream(const fp_load *load)
{
    const fp_load_options *options = load->options;
    const fp_footer *footer = &load->footer;

    return load->whole == NULL && options->mmap_mode == NULL
           && options->verify != FP_VERIFY_FULL && options->audit == NULL
           && !(footer->flags & FP_FLAG_SIDECAR_FILE)
           && footer->sidecar_length >= LEAST_BYTES
           && footer->sidecar_length / BYTES_PER_GRAPH_BYTE
                  >= footer->graph_length;
}

/* --- the plan ------------------------------------------------------------ */

/* Whether two blobs that share a block are asked for so far apart that it will
 * be read for each of them, and that too often. */
static int
is_scattered(const fp_load *load, const struct fp_load_ahead *ahead,
             const uint64_t *sum)
{
    const fp_blob *blobs = load->footer.blobs;
    uint64_t n_again = 0;
    uint64_t n_blocks = load->footer.sidecar_length >> FP_HASH_BLOCK_SHIFT;
    size_t before = SIZE_MAX; /* the blob before, of those that are wanted */

    for (size_t i = 0; i < load->footer.n_blobs; i++) {
        uint64_t start = blobs[i].offset - load->footer.sidecar_offset;
        if (ahead->place[i] == SIZE_MAX || blobs[i].length == 0) {
            continue;
        }
        if (before != SIZE_MAX) {
            uint64_t end = blobs[before].offset + blobs[before].length - 1
                           - load->footer.sidecar_offset;
            uint64_t here = sum[ahead->place[i]];
            uint64_t there = sum[ahead->place[before]];
            n_again +=
                start >> FP_HASH_BLOCK_SHIFT == end >> FP_HASH_BLOCK_SHIFT
                && ahead->place[i] != ahead->place[before] + 1
                && (here > there ? here - there : there - here)
                       > WINDOW_BYTES / 2;
        }
        before = i;
    }
    return n_again > FEW_BLOCKS && n_again > n_blocks / 8;
}

/* 1, or 0 where everything is better read first; -1. */
static int
plan(fp_load *load, struct fp_load_ahead *ahead, const fp_machine *machine)
{
    const fp_footer *footer = &load->footer;
    size_t n = footer->n_blobs;
    uint64_t n_payload = 0;
    uint64_t *sum = NULL;
    int result = -1;

    ahead->order = malloc((n + 1) * sizeof(size_t));
    ahead->place = malloc((n + 1) * sizeof(size_t));
    ahead->blobs = calloc(n + 1, sizeof(fp_ahead_blob));
    sum = malloc((n + 1) * sizeof(uint64_t));
    if (ahead->order == NULL || ahead->place == NULL || ahead->blobs == NULL
        || sum == NULL)
    {
        PyErr_NoMemory();
        goto done;
    }
    Py_BEGIN_ALLOW_THREADS
    ahead->n_order = fp_machine_count_gets(
        machine, load->graph, (size_t)footer->graph_length, ahead->order);
    Py_END_ALLOW_THREADS
    if (ahead->n_order == SIZE_MAX) {
        result = 0;
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t start = footer->blobs[i].offset - footer->sidecar_offset;
        ahead->place[i] = SIZE_MAX;
        ahead->blobs[i].start = start;
        ahead->blobs[i].n_bytes = footer->blobs[i].length;
        ahead->blobs[i].n_gap_bytes = start - n_payload;
        n_payload += footer->blobs[i].length;
    }
    sum[0] = 0;
    for (size_t i = 0; i < ahead->n_order; i++) {
        size_t blob = ahead->order[i];
        ahead->place[blob] = i;
        ahead->blobs[blob].comes_later = 1;
        sum[i + 1] = sum[i] + footer->blobs[blob].length;
    }
    if (is_scattered(load, ahead, sum)) {
        result = 0;
        goto done;
    }
    ahead->gaps = malloc((size_t)(footer->sidecar_length - n_payload) + 1);
    if (ahead->gaps == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    result = 1;
done:
    free(sum);
    return result;
}

/* Memory for the blob at `place` of the order, which must have some, and for
 * those behind it. */
static int
give_memory(fp_load *load, size_t place)
{
    struct fp_load_ahead *ahead = load->ahead;

    while (ahead->n_given < ahead->n_order) {
        size_t index = ahead->order[ahead->n_given];
        uint64_t n_bytes = load->footer.blobs[index].length;
        if (ahead->n_given > place + 1
            && (ahead->n_ahead >= WINDOW_BYTES
                || n_bytes > WINDOW_BYTES - ahead->n_ahead))
        {
            break;
        }
        if (fp_blobs_allocate(&load->blobs, index, n_bytes) < 0) {
            if (ahead->n_given <= place) {
                return -1;
            }
            PyErr_Clear(); /* its turn will come */
            break;
        }
        fp_read_ahead_give(&ahead->reader, index,
                           load->blobs.table[index].data);
        ahead->n_ahead += n_bytes;
        ahead->n_given++;
    }
    return 0;
}

/* --- failures ------------------------------------------------------------ */

/* Raises what was found. Of damage the lowest block is named, as a load does
 * that reads all blocks in order. */
static int
raise_found(fp_load *load, fp_status status)
{
    const fp_read_ahead *reader = &load->ahead->reader;

    load->has_read_failed = 1;
    if (status == FP_SINK_FAILED) {
        return -1;
    }
    if ((status == FP_CORRUPT || status == FP_TRUNCATED)
        && fp_load_find_damage(load, reader->failed_block) < 0)
    {
        return -1;
    }
    return fp_load_raise_read(
        load, status, reader->saved_errno, FP_SECTION_SIDECAR,
        reader->offset + (reader->failed_block << FP_HASH_BLOCK_SHIFT),
        status == FP_TRUNCATED ? "a longer file" : "the hash of its block");
}

/* --- fetching ------------------------------------------------------------ */

static fp_status
wait_for(fp_load *load, size_t index)
{
    fp_signals signals;
    fp_status status;

    fp_signals_init(&signals);
    signals.progress = &load->progress;
    signals.part = FP_PROGRESS_MAIN;
    signals.before = load->ahead->n_before;
    Py_BEGIN_ALLOW_THREADS
    status = index == SIZE_MAX ? fp_read_ahead_finish(&load->ahead->reader,
                                                      &signals.interrupt)
                               : fp_read_ahead_wait(&load->ahead->reader,
                                                    index, &signals.interrupt);
    Py_END_ALLOW_THREADS
    return status;
}

/* Progress, where nobody had to wait. */
static int
tell(fp_load *load, uint64_t n_bytes)
{
    struct fp_load_ahead *ahead = load->ahead;

    ahead->n_fetched += n_bytes;
    if (fp_progress_at(&load->progress, FP_PROGRESS_MAIN,
                       ahead->n_before + ahead->n_fetched)
        < 0)
    {
        load->has_read_failed = 1;
        return -1;
    }
    return 0;
}

static int
fetch(fp_blobs *blobs, size_t index)
{
    fp_load *load = blobs->context;
    struct fp_load_ahead *ahead = load->ahead;
    size_t place = ahead->place[index];
    fp_status status;

    if (place == SIZE_MAX) {
        PyErr_SetString(load->state->unpickling_error,
                        "a blob that the graph does not ask for");
        return -1;
    }
    if (place < ahead->n_given) {
        ahead->n_ahead -= blobs->table[index].n_bytes;
        if (give_memory(load, place) < 0) {
            return -1;
        }
    }
    else {
        if (give_memory(load, place) < 0) {
            return -1;
        }
        ahead->n_ahead -= blobs->table[index].n_bytes;
    }
    if (!fp_read_ahead_is_ready(&ahead->reader, index)) {
        status = wait_for(load, index);
        if (status != FP_OK) {
            return raise_found(load, status);
        }
    }
    blobs->table[index].is_awaited = 0;
    return tell(load, blobs->table[index].n_bytes);
}

/* --- begin and end ------------------------------------------------------- */

int
fp_load_begin_ahead(fp_load *load, const fp_machine *machine)
{
    const fp_footer *footer = &load->footer;
    struct fp_load_ahead *ahead = calloc(1, sizeof(*ahead));
    int status;

    if (ahead == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    load->ahead = ahead;
    ahead->n_before = load->progress.done[FP_PROGRESS_MAIN];
    status = plan(load, ahead, machine);
    if (status <= 0) {
        return status;
    }
    if (footer->state == FP_STATE_VOID && fp_load_warn_void(load) < 0) {
        return -1;
    }
    fp_load_describe_ahead(load, &ahead->reader);
    ahead->reader.blobs = ahead->blobs;
    ahead->reader.n_blobs = footer->n_blobs;
    ahead->reader.gaps = ahead->gaps;
    if (fp_read_ahead_begin(&ahead->reader) != FP_OK) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < footer->n_blobs; i++) {
        load->blobs.table[i].is_awaited = 1;
    }
    load->blobs.fetch = fetch;
    load->blobs.context = load;
    /* The first ones are read while the graph comes to them. */
    return give_memory(load, 0) < 0 ? -1 : 1;
}

int
fp_load_end_ahead(fp_load *load)
{
    fp_status status = wait_for(load, SIZE_MAX);

    if (status != FP_OK) {
        return raise_found(load, status);
    }
    load->progress.done[FP_PROGRESS_MAIN] =
        load->ahead->n_before + load->footer.sidecar_length;
    return fp_load_check_read_gaps(load, load->ahead->gaps);
}

void
fp_load_stop_ahead(fp_load *load)
{
    struct fp_load_ahead *ahead = load->ahead;

    if (ahead == NULL) {
        return;
    }
    Py_BEGIN_ALLOW_THREADS
    fp_read_ahead_stop(&ahead->reader);
    Py_END_ALLOW_THREADS
    free(ahead->order);
    free(ahead->place);
    free(ahead->gaps);
    free(ahead->blobs);
    free(ahead);
    load->ahead = NULL;
}

#include "graph.h"

#include <stdlib.h>
#include <string.h>

#define FRAME_OPCODE       0x95
#define BINPUT_OPCODE      0x71
#define LONG_BINPUT_OPCODE 0x72
#define FRAME_HEADER_BYTES 9
#define LONG_BINPUT_BYTES  5
/* Something always follows what is large. */
#define SPARE_BYTES 64

static void
set_soft_end(fp_graph *graph, size_t n_needed)
{
    size_t used = fp_graph_length(graph);
    size_t end = graph->capacity;
    if (!graph->no_cuts) {
        size_t due = graph->last_cut + FP_FRAME_TARGET_BYTES;
        if (due < used + n_needed) {
            due = used + n_needed;
        }
        if (due < end) {
            end = due;
        }
    }
    graph->soft_end = graph->base + end;
}

/* Grows an array of items to hold one more; geometric. */
static fp_status
grow(void **items, size_t *capacity, size_t item_bytes)
{
    size_t wanted = *capacity < 16 ? 16 : *capacity * 2;
    if (wanted > SIZE_MAX / item_bytes) {
        return FP_NO_MEMORY;
    }
    void *moved = realloc(*items, wanted * item_bytes);
    if (moved == NULL) {
        return FP_NO_MEMORY;
    }
    *items = moved;
    *capacity = wanted;
    return FP_OK;
}

fp_status
fp_graph_room(fp_graph *graph, size_t n_bytes)
{
    size_t used = graph->base == NULL ? 0 : fp_graph_length(graph);
    if (n_bytes > SIZE_MAX / 4 - used) {
        return FP_NO_MEMORY;
    }
    if (used + n_bytes > graph->capacity) {
        size_t wanted = graph->capacity + graph->capacity / 2;
        if (wanted < 4096) {
            wanted = 4096;
        }
        if (wanted < used + n_bytes + SPARE_BYTES) {
            wanted = used + n_bytes + SPARE_BYTES;
        }
        unsigned char *moved;
        if (graph->memory == NULL) {
            moved = realloc(graph->base, wanted);
        }
        else {
            moved = graph->memory->resize(graph->memory, graph->base, used,
                                          &wanted);
            if (moved == NULL) {
                fp_graph_forget(graph);
            }
        }
        if (moved == NULL) {
            return FP_NO_MEMORY;
        }
        graph->base = moved;
        graph->cursor = moved + used;
        graph->capacity = wanted;
    }
    if (!graph->no_cuts
        && used - graph->last_cut + n_bytes > FP_FRAME_TARGET_BYTES
        && used > graph->last_cut)
    {
        if (graph->n_cuts == graph->cuts_capacity) {
            void *cuts = graph->cuts;
            fp_status status =
                grow(&cuts, &graph->cuts_capacity, sizeof(size_t));
            graph->cuts = cuts;
            if (status != FP_OK) {
                return status;
            }
        }
        graph->cuts[graph->n_cuts++] = used;
        graph->last_cut = used;
    }
    set_soft_end(graph, n_bytes);
    return FP_OK;
}

fp_status
fp_graph_put(fp_graph *graph, uint64_t position, uint32_t number)
{
    if (graph->n_puts == graph->puts_capacity) {
        void *puts = graph->puts;
        fp_status status = grow(&puts, &graph->puts_capacity, sizeof(fp_put));
        graph->puts = puts;
        if (status != FP_OK) {
            return status;
        }
    }
    if (graph->n_puts > 0
        && graph->puts[graph->n_puts - 1].position > position)
    {
        graph->puts_unsorted = 1;
    }
    graph->puts[graph->n_puts].position = position;
    graph->puts[graph->n_puts].number = number;
    graph->n_puts++;
    return FP_OK;
}

/* Least significant digit first, by bytes of the position. */
static fp_status
sort_puts(fp_graph *graph)
{
    fp_put *from = graph->puts;
    fp_put *to;
    fp_put *spare;
    uint64_t largest = (uint64_t)fp_graph_length(graph);

    if (!graph->puts_unsorted) {
        return FP_OK;
    }
    spare = malloc(graph->n_puts * sizeof(fp_put));
    if (spare == NULL) {
        return FP_NO_MEMORY;
    }
    to = spare;
    for (unsigned shift = 0; shift < 64 && (largest >> shift) != 0; shift += 8)
    {
        size_t counts[257] = {0};
        for (size_t i = 0; i < graph->n_puts; i++) {
            counts[((from[i].position >> shift) & 0xff) + 1]++;
        }
        for (size_t digit = 0; digit < 256; digit++) {
            counts[digit + 1] += counts[digit];
        }
        for (size_t i = 0; i < graph->n_puts; i++) {
            to[counts[(from[i].position >> shift) & 0xff]++] = from[i];
        }
        fp_put *swapped = from;
        from = to;
        to = swapped;
    }
    if (from != graph->puts) {
        memcpy(graph->puts, from, graph->n_puts * sizeof(fp_put));
    }
    free(spare);
    graph->puts_unsorted = 0;
    return FP_OK;
}

static unsigned char *
encode_put(unsigned char *out, uint32_t number)
{
    if (number < 256) {
        *out++ = BINPUT_OPCODE;
        *out++ = (unsigned char)number;
    }
    else {
        *out++ = LONG_BINPUT_OPCODE;
        for (unsigned shift = 0; shift < 32; shift += 8) {
            *out++ = (unsigned char)(number >> shift);
        }
    }
    return out;
}

static void
encode_frame_header(unsigned char *out, uint64_t n_bytes)
{
    *out++ = FRAME_OPCODE;
    for (unsigned shift = 0; shift < 64; shift += 8) {
        *out++ = (unsigned char)(n_bytes >> shift);
    }
}

fp_status
fp_graph_write(fp_graph *graph, fp_ring *ring)
{
    fp_status status = sort_puts(graph);
    unsigned char *scratch = NULL;
    size_t scratch_bytes = 0;
    size_t next_put = 0;
    size_t begin = 0;
    size_t length = fp_graph_length(graph);

    for (size_t cut = 0; status == FP_OK && begin < length; cut++) {
        size_t end = cut < graph->n_cuts ? graph->cuts[cut] : length;
        size_t last_put = next_put;
        while (last_put < graph->n_puts
               && graph->puts[last_put].position <= end)
        {
            last_put++;
        }
        if (last_put == next_put) {
            unsigned char header[FRAME_HEADER_BYTES];
            encode_frame_header(header, end - begin);
            status = fp_ring_write(ring, header, sizeof(header));
            if (status == FP_OK) {
                status = fp_ring_write(ring, graph->base + begin, end - begin);
            }
            begin = end;
            continue;
        }
        size_t needed = FRAME_HEADER_BYTES + (end - begin)
                        + (last_put - next_put) * LONG_BINPUT_BYTES;
        if (needed > scratch_bytes) {
            free(scratch);
            scratch = malloc(needed);
            if (scratch == NULL) {
                status = FP_NO_MEMORY;
                break;
            }
            scratch_bytes = needed;
        }
        unsigned char *out = scratch + FRAME_HEADER_BYTES;
        while (next_put < last_put) {
            size_t n_bytes = (size_t)graph->puts[next_put].position - begin;
            memcpy(out, graph->base + begin, n_bytes);
            begin += n_bytes;
            out = encode_put(out + n_bytes, graph->puts[next_put].number);
            next_put++;
        }
        memcpy(out, graph->base + begin, end - begin);
        out += end - begin;
        begin = end;
        encode_frame_header(scratch,
                            (uint64_t)(out - scratch) - FRAME_HEADER_BYTES);
        status = fp_ring_write(ring, scratch, (size_t)(out - scratch));
    }
    free(scratch);
    return status;
}

void
fp_graph_reset(fp_graph *graph)
{
    graph->cursor = graph->base;
    graph->soft_end = graph->base;
    graph->last_cut = 0;
    graph->n_cuts = 0;
    graph->n_puts = 0;
    graph->puts_unsorted = 0;
}

void
fp_graph_forget(fp_graph *graph)
{
    graph->base = NULL;
    graph->capacity = 0;
    fp_graph_reset(graph);
}

void
fp_graph_free(fp_graph *graph)
{
    if (graph->memory == NULL) {
        free(graph->base);
    }
    else if (graph->base != NULL) {
        graph->memory->release(graph->memory, graph->base);
    }
    free(graph->cuts);
    free(graph->puts);
    memset(graph, 0, sizeof(*graph));
}

/* The graph: opcodes in memory until the walk ends, then copied out in frames.
 *
 * A memo number is drawn at an object's second reference, when its first
 * appearance lies far behind in the buffer: the walk then notes "insert PUT n
 * at position p". It also notes, about every 64 KiB, a position where a frame
 * may end (an opcode boundary). fp_graph_write() merges the three.
 *
 * Ownership: all memory is the graph's until fp_graph_free(); a zeroed struct
 * is an empty graph. The opcodes may lie in memory that somebody else provides
 * (fp_graph_memory), which is told when it is no longer needed. The cursor is public: the emitter writes opcodes inline
 * and only calls fp_graph_room() when they do not fit in front of `soft_end`.
 */
#ifndef FP_CORE_GRAPH_H
#define FP_CORE_GRAPH_H

#include <stddef.h>
#include <stdint.h>

#include "ring.h"
#include "status.h"

#define FP_FRAME_TARGET_BYTES ((size_t)64 << 10)

typedef struct {
    uint64_t position; /* the PUT goes behind this many bytes of the graph */
    uint32_t number;
} fp_put;

/* Where the opcodes lie, if not in memory of malloc(). */
typedef struct fp_graph_memory {
    /* The memory at `base` (NULL: none yet), of which n_used bytes count, with
     * room for *n_bytes, wherever it is then; *n_bytes may become more. NULL:
     * there is none, and what was there is released. */
    unsigned char *(*resize)(struct fp_graph_memory *memory,
                             unsigned char *base, size_t n_used,
                             size_t *n_bytes);
    void (*release)(struct fp_graph_memory *memory, unsigned char *base);
} fp_graph_memory;

typedef struct {
    unsigned char *base;
    unsigned char *cursor;
    unsigned char *soft_end; /* end of room, or where a cut is due */
    size_t capacity;
    size_t last_cut;
    size_t *cuts;
    size_t n_cuts;
    size_t cuts_capacity;
    fp_put *puts;
    size_t n_puts;
    size_t puts_capacity;
    int puts_unsorted;       /* nonzero: not in ascending order of position */
    int no_cuts;             /* nonzero: frames are somebody else's business */
    fp_graph_memory *memory; /* borrowed, or NULL */
} fp_graph;

static inline size_t
fp_graph_length(const fp_graph *graph)
{
    return (size_t)(graph->cursor - graph->base);
}

/* Makes room for n_bytes at the cursor. Called at an opcode boundary, since it
 * may note a cut there. */
fp_status fp_graph_room(fp_graph *graph, size_t n_bytes);
fp_status fp_graph_put(fp_graph *graph, uint64_t position, uint32_t number);
/* Copies the graph out: FRAME, opcodes with their PUTs, FRAME, ... Consumes
 * the order of `puts` (sorts them). Called without the GIL. */
fp_status fp_graph_write(fp_graph *graph, fp_ring *ring);
/* Forget the contents, keep the memory. */
void fp_graph_reset(fp_graph *graph);
/* Forget the contents and the memory, which somebody else has taken. */
void fp_graph_forget(fp_graph *graph);
void fp_graph_free(fp_graph *graph);

#endif

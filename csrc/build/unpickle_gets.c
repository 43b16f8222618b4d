/* Which blobs a graph will ask for: a pass over its opcodes that makes no
 * objects. There are no jumps, so each opcode is run once, in this order. What
 * is put under a blob's number later hides the blob: then it is counted too
 * often, and kept to the end.
 */
#include "unpickle_parts.h"

/* Of an opcode: 1 + the bytes of its argument, where it has nothing but so
 * many; else 0 (unknown bytes too). */
#define STEP_NONE      1
#define STEP_1         2
#define STEP_2         3
#define STEP_4         5
#define STEP_8         9
#define STEP_LINE      0
#define STEP_TWO_LINES 0
#define STEP_COUNT_1   0
#define STEP_COUNT_4   0
#define STEP_COUNT_8   0

static const unsigned char steps[256] = {
#define X(name, code, argument, protocol, pops, pushes)                       \
    [code] = STEP_##argument,
    FP_OPCODES(X)
#undef X
};

static const unsigned char forms[256] = {
#define X(name, code, argument, protocol, pops, pushes)                       \
    [code] = FP_ARGUMENT_##argument,
    FP_OPCODES(X)
#undef X
};

/* Steps over the argument of an opcode that has a length or lines. NULL where
 * it is not whole. */
static const unsigned char *
skip_argument(unsigned char opcode, const unsigned char *next,
              const unsigned char *end)
{
    int n_lines = 0;
    uint64_t n_bytes = 0;
    size_t width = FP_ARGUMENT_WIDTH(forms[opcode]);

    switch (forms[opcode]) {
    case FP_ARGUMENT_TWO_LINES:
        n_lines = 2;
        break;
    case FP_ARGUMENT_LINE:
        n_lines = 1;
        break;
    case FP_ARGUMENT_NONE:
        return NULL; /* no opcode */
    default:
        if ((size_t)(end - next) < width) {
            return NULL;
        }
        for (size_t i = width; i-- > 0;) {
            n_bytes = n_bytes << 8 | next[i];
        }
        next += width;
        return (uint64_t)(end - next) < n_bytes ? NULL : next + n_bytes;
    }
    for (; n_lines > 0; n_lines--) {
        next = memchr(next, '\n', (size_t)(end - next));
        if (next == NULL) {
            return NULL;
        }
        next++;
    }
    return next;
}

static void
count_get(const fp_machine *machine, size_t number, size_t *order, size_t *n)
{
    fp_slot slot = number < machine->memo_capacity ? machine->memo[number] : 0;
    fp_loaded_blob *blob;

    if (!(slot & 1)) {
        return;
    }
    blob = &machine->blobs->table[slot >> 1];
    if (blob->n_gets == 0) {
        order[(*n)++] = slot >> 1;
    }
    if (blob->n_gets < UINT32_MAX) {
        blob->n_gets++;
    }
}

/* 0, or -1: these opcodes do not tell. */
static int
count_all(const fp_machine *machine, const unsigned char *next,
          const unsigned char *end, size_t *order, size_t *n)
{
    while (next < end) {
        unsigned char opcode = *next;
        size_t step;
        /* The commonest: a branch that is foreseen need not wait for the
         * opcode, a length from the table would. */
        switch (opcode) {
        case OP_MARK:
        case OP_TUPLE:
        case OP_TUPLE1:
        case OP_TUPLE2:
        case OP_REDUCE:
        case OP_BUILD:
        case OP_NEWOBJ:
        case OP_NONE:
            next += 1;
            continue;
        case OP_BINGET:
            if (end - next < 2) {
                return -1;
            }
            count_get(machine, next[1], order, n);
            next += 2;
            continue;
        case OP_LONG_BINGET:
            if (end - next < 5) {
                return -1;
            }
            count_get(machine, fp_u32(next + 1), order, n);
            next += 5;
            continue;
        default:
            break;
        }
        step = steps[opcode];
        if (step == 0) {
            if (opcode == OP_GET
                || (next = skip_argument(opcode, next + 1, end)) == NULL)
            {
                return -1;
            }
            continue;
        }
        if ((size_t)(end - next) < step) {
            return -1;
        }
        next += step;
    }
    return 0;
}

size_t
fp_machine_count_gets(const fp_machine *machine, const unsigned char *graph,
                      size_t n_bytes, size_t *order)
{
    fp_blobs *blobs = machine->blobs;
    size_t n = 0;

    if (count_all(machine, graph, graph + n_bytes, order, &n) < 0) {
        for (size_t i = 0; i < blobs->n_blobs; i++) {
            blobs->table[i].n_gets = 0;
        }
        return SIZE_MAX;
    }
    for (size_t i = 0; i < blobs->n_blobs; i++) {
        if (blobs->table[i].n_gets == UINT32_MAX) {
            blobs->table[i].n_gets = 0; /* more than fit */
        }
    }
    return n;
}

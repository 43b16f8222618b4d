/* Where an unpickler's bytes come from.
 *
 * The unpickler parses memory: [cursor, end) are bytes that it may take. Where
 * they do not suffice it asks for more, and the source decides how:
 *   memory      there is no more
 *   descriptor  positioned reads of a window at a time; the descriptor's own
 *               position is left alone; the size is known beforehand
 *   file object read, and where the file has them readinto, readline, peek.
 *               Never takes more than asked for unless peek() showed it
 *               before, so that after a load the file stands right behind it
 *
 * While a frame of the pickle is open, `end` is never behind the frame's. So
 * what fits is parsed as ever, and only a request that does not fit looks at
 * the frame: it is left where it is used up, and the request is refused where
 * that would take a part of it. A frame may end between two requests, as the
 * standard unpickler has it (between an opcode and its argument, a length and
 * what it counts, two lines), with `whole_frames` only between two opcodes.
 *
 * Ownership: the struct is the caller's; owns its window and its references
 * until fp_input_free(). The memory of a memory source is borrowed.
 * Errors: -1 with an exception set: UnpicklingError ("pickle data was
 * truncated", "pickle exhausted before end of frame"), EOFError where nothing
 * at all is left and the caller asked for an opcode ("Ran out of input"), the
 * file's own exception, MemoryError; an UnpicklingError that names max_bytes
 * where more than that is asked for.
 * GIL held; released around reads of a descriptor. User code may run in every
 * call for a file object.
 */
#ifndef FP_INPUT_H
#define FP_INPUT_H

#include "base/progress.h"
#include "base/state.h"

typedef enum {
    FP_INPUT_MEMORY,
    FP_INPUT_DESCRIPTOR,
    FP_INPUT_FILE,
} fp_input_kind;

typedef struct fp_input {
    const unsigned char *cursor; /* next byte; the unpickler advances it */
    const unsigned char *end;
    const unsigned char *start;  /* of the window: `position` belongs to it */
    const unsigned char *filled; /* end of the window; `end`, or behind it */
    uint64_t position;           /* stream offset of `start` */
    uint64_t frame_end;          /* stream offset; UINT64_MAX: no frame */
    int whole_frames;            /* a frame holds whole opcodes */
    fp_input_kind kind;
    fp_state *state;       /* borrowed */
    unsigned char *window; /* owned; NULL for memory */
    size_t window_bytes;
    uint64_t max_bytes; /* what `limit` came from, for the message */
    uint64_t limit;     /* stream offset; UINT64_MAX: none */
    int is_over_limit;  /* a request was refused for it ... */
    int is_truncated;   /* ... or because the input ended */
    /* descriptor */
    int fd;             /* borrowed */
    uint64_t fd_offset; /* next byte to read */
    uint64_t fd_end;
    int n_threads;         /* that may read what is large */
    fp_progress *progress; /* borrowed, may be NULL */
    fp_progress_part part;
    /* file object */
    PyObject *read, *readinto, *readline, *peek; /* owned, may be NULL */
    PyObject *held;      /* owned: the bytes object that the window lies in */
    size_t n_peeked;     /* of the window, which then is all peeked: the file
                      * itself still stands at `start` */
    unsigned char *line; /* owned: the last line, NUL-terminated */
    size_t line_capacity;
} fp_input;

void fp_input_from_memory(fp_input *input, fp_state *state, const void *data,
                          size_t n_bytes);
void fp_input_from_descriptor(fp_input *input, fp_state *state, int fd,
                              uint64_t offset, uint64_t end);
int fp_input_from_file(fp_input *input, fp_state *state, PyObject *file);

/* From now on `progress` (borrowed) is told of what is read. */
static inline void
fp_input_tell(fp_input *input, fp_progress *progress, fp_progress_part part)
{
    input->progress = progress;
    input->part = part;
}
/* Whether it was told and has raised: no fault of the bytes. */
static inline int
fp_input_was_ended(const fp_input *input)
{
    return input->progress != NULL && input->progress->has_raised;
}

/* At most max_bytes may be taken in all; right after the input was made.
 * UINT64_MAX: no limit. */
void fp_input_limit(fp_input *input, uint64_t max_bytes);
/* Whether n_bytes behind the cursor are within the limit, and do not cross the
 * end of the frame: 0, or -1 with an exception, before anything is allocated
 * for them. A frame that is used up is left. */
int fp_input_check_length(fp_input *input, uint64_t n_bytes);

/* Begins a frame at the cursor, where none is open. */
int fp_input_begin_frame(fp_input *input, size_t n_bytes);
/* Leaves the frame, if one is open and used up. Whether none is open now. */
int fp_input_leave_frame(fp_input *input);
/* Whether one is open, used up or not. */
static inline int
fp_input_in_frame(const fp_input *input)
{
    return input->frame_end != UINT64_MAX;
}

/* At least n_bytes at the cursor. For small requests (opcodes, arguments,
 * frames): bounded steps, so a lying length costs no memory. */
int fp_input_need(fp_input *input, size_t n_bytes);
/* As above, for the next opcode: EOFError at the end. */
int fp_input_need_opcode(fp_input *input);
/* A copy of the bytes up to and with the next newline, and a NUL behind them;
 * `*line` is good until the next call. */
int fp_input_line(fp_input *input, const unsigned char **line,
                  size_t *n_bytes);
/* n_bytes straight into `target`. */
int fp_input_read_into(fp_input *input, void *target, size_t n_bytes);
/* How many bytes there can be at most behind the cursor: exact for memory and
 * descriptor, UINT64_MAX for a file object. A declared length above it is
 * refused before anything is allocated. */
uint64_t fp_input_at_most(const fp_input *input);
/* Stream offset of the cursor, counted from where the input began. */
uint64_t fp_input_offset(const fp_input *input);
/* Takes back what was peeked and not consumed (by reading exactly what was
 * consumed): the file stands at the cursor afterwards. */
int fp_input_settle(fp_input *input);
/* Of the references to a file. */
int fp_input_traverse(fp_input *input, visitproc visit, void *arg);
void fp_input_free(fp_input *input);

#endif

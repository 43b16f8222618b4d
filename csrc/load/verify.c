/* Checks without a load: files of ours by their hashes, other pickles opcode by
 * opcode. */
#include "base/opcodes.h"
#include "core/block_hash.h"
#include "load_parts.h"
#include "survey/survey.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* So much of a sidecar is in memory at once: whole blocks. */
#define WINDOW_BYTES (16 * (uint64_t)FP_HASH_BLOCK_BYTES)

static uint64_t
smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t
larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static int
refuse_void(const fp_load *load)
{
    const fp_footer *footer = &load->footer;

    if (footer->state == FP_STATE_VALID) {
        return 0;
    }
    return fp_raise_damage(
        load->state, FP_CORRUPT, load->path, FP_SECTION_FOOTER,
        load->start + footer->total_length - FP_TAIL_READ_BYTES,
        "valid hashes: the file was mapped for writing");
}

/* --- the graph's frames -------------------------------------------------- */

/* What follows each opcode that a graph may have: no FRAME, no STOP. */
static const struct {
    uint8_t is_known;
    uint8_t
        n_argument; /* bytes; of COUNT, of the length in front of the rest */
    uint8_t is_length;
    uint8_t n_lines;
} shapes[256] = {
#define X(name, code, argument, protocol, pops, pushes)                       \
    [code] = {OP_##name != OP_FRAME && OP_##name != OP_STOP,                  \
              FP_ARGUMENT_WIDTH(FP_ARGUMENT_##argument),                      \
              FP_ARGUMENT_##argument >= FP_ARGUMENT_COUNT_1,                  \
              FP_ARGUMENT_##argument == FP_ARGUMENT_LINE        ? 1           \
              : FP_ARGUMENT_##argument == FP_ARGUMENT_TWO_LINES ? 2           \
                                                                : 0},
    FP_OPCODES(X)
#undef X
};

/* The length of an opcode with its argument; 0 where it goes beyond n_bytes, or
 * is none that a graph may have. */
static uint64_t
opcode_length(const unsigned char *opcode, uint64_t n_bytes)
{
    uint64_t n_argument = shapes[opcode[0]].n_argument;
    uint64_t n_counted = 0, n_used = 1 + n_argument;

    if (!shapes[opcode[0]].is_known || n_used > n_bytes) {
        return 0;
    }
    if (shapes[opcode[0]].is_length) {
        for (uint64_t i = n_argument; i > 0; i--) {
            n_counted = n_counted << 8 | opcode[i];
        }
    }
    if (n_counted > n_bytes - n_used) {
        return 0;
    }
    n_used += n_counted;
    for (int n_lines = shapes[opcode[0]].n_lines; n_lines > 0; n_lines--) {
        const unsigned char *newline =
            memchr(opcode + n_used, '\n', (size_t)(n_bytes - n_used));
        if (newline == NULL) {
            return 0;
        }
        n_used = (uint64_t)(newline - opcode) + 1;
    }
    return n_used;
}

/* No opcode crosses the end of its frame. */
static int
check_graph(const fp_load *load)
{
    const unsigned char *next = load->graph;
    const unsigned char *end = next + load->footer.graph_length;

    if (fp_load_check_frames(load) < 0) {
        return -1;
    }
    while (next < end) {
        uint64_t n_left = 0;
        for (int i = FP_FRAME_BYTES - 1; i > 0; i--) {
            n_left = n_left << 8 | next[i];
        }
        next += FP_FRAME_BYTES;
        while (n_left > 0) {
            uint64_t n_bytes = opcode_length(next, n_left);
            if (n_bytes == 0) {
                return fp_raise_damage(load->state, FP_CORRUPT, load->path,
                                       FP_SECTION_GRAPH,
                                       load->start + load->footer.graph_offset
                                           + (uint64_t)(next - load->graph),
                                       "a whole opcode, in its frame");
            }
            next += n_bytes;
            n_left -= n_bytes;
        }
    }
    return 0;
}

/* --- a descriptor -------------------------------------------------------- */

/* The opcodes between payloads, as far as they lie in the window: bytes of the
 * dump from `begin` to `end`. *next is the first gap that may reach into it. */
static int
check_window(const fp_load *load, const unsigned char *window, uint64_t begin,
             uint64_t end, size_t *next)
{
    const fp_footer *footer = &load->footer;

    for (; *next <= footer->n_blobs; ++*next) {
        unsigned char expected[FP_GAP_MAX];
        uint64_t n_bytes;
        uint64_t offset = fp_load_gap_extent(footer, *next, &n_bytes);
        uint64_t from = larger(offset, begin);
        uint64_t to = smaller(offset + n_bytes, end);

        if (from < to) {
            (void)fp_load_gap(footer, *next, expected);
            if (memcmp(window + (from - begin), expected + (from - offset),
                       (size_t)(to - from))
                != 0)
            {
                return fp_load_raise_gap(load, offset);
            }
        }
        if (offset + n_bytes > end) {
            break; /* the next window has the rest */
        }
    }
    return 0;
}

static int
check_sidecar(fp_load *load)
{
    const fp_footer *footer = &load->footer;
    uint64_t n_left = footer->arrays_length;
    uint64_t begin = footer->arrays_offset;
    unsigned char *window = malloc((size_t)smaller(n_left, WINDOW_BYTES) + 1);
    size_t next_gap = 0;
    uint64_t first = 0;
    int status = 0;

    if (window == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    while (status == 0 && n_left > 0) {
        uint64_t n_bytes = smaller(n_left, WINDOW_BYTES);
        status = fp_load_read_blocks(load, first, window, n_bytes);
        if (status == 0) {
            status =
                check_window(load, window, begin, begin + n_bytes, &next_gap);
        }
        first += WINDOW_BYTES >> FP_HASH_BLOCK_SHIFT;
        begin += n_bytes;
        n_left -= n_bytes;
    }
    free(window);
    return status;
}

/* The dump at load->start, whose footer is known. */
static int
check_dump(fp_load *load)
{
    int status = -1;

    if (refuse_void(load) == 0 && fp_load_check_numbers(load) == 0
        && fp_load_read_graph(load) == 0 && check_graph(load) == 0)
    {
        status = check_sidecar(load);
    }
    if (status == 0 && (load->footer.flags & FP_FLAG_SIDECAR_FILE)) {
        status = fp_load_miss_sidecar(load);
    }
    free(load->own_graph);
    load->own_graph = NULL;
    return status;
}

int
fp_verify_descriptor(fp_state *state, int fd, PyObject *path, int n_threads,
                     PyObject *report)
{
    fp_load_options options = {
        .verify = FP_VERIFY_FULL,
        .n_threads = n_threads,
        .max_bytes = UINT64_MAX,
    };
    fp_load load = {
        .state = state, .options = &options, .path = path, .fd = fd};
    struct stat info;
    uint64_t end;
    int kind, status = 0;

    if (fstat(fd, &info) < 0) {
        PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
        return -1;
    }
    load.size = end = (uint64_t)info.st_size;
    fp_progress_init(&load.progress, report);
    load.progress.total[FP_PROGRESS_MAIN] = load.size;
    kind = fp_load_look(&load, 0);
    if (kind == FP_FILE_HEADLESS) { /* no codec's: the caller has asked */
        kind = FP_FILE_OURS;
    }
    if (kind == FP_FILE_REWRITTEN) {
        status = fp_load_raise_rewritten(&load);
    }
    while (kind == FP_FILE_OURS && status == 0 && end > 0) {
        load.start = 0;
        status = fp_load_dump_before(&load, &end);
        if (status == 0) {
            load.start = end;
            status = check_dump(&load);
        }
    }
    if (kind == FP_FILE_OURS && status == 0) {
        status = fp_progress_end(&load.progress);
    }
    fp_load_free(&load);
    return kind < 0 || status < 0 ? -1 : kind == FP_FILE_OURS;
}

/* --- a file object ------------------------------------------------------- */

/* What a dump that was read says about a second file. */
static int
check_second_file(fp_load *load)
{
    const fp_sidecar_place *place = load->options->sidecar;

    if (!(load->footer.flags & FP_FLAG_SIDECAR_FILE)) {
        return place == NULL ? 0 : fp_load_refuse_sidecar(load);
    }
    return place == NULL
               ? fp_load_miss_sidecar(load)
               : fp_verify_buffers(load->state, place, &load->footer,
                                   load->options->max_bytes, &load->progress);
}

int
fp_verify_file(fp_state *state, PyObject *file, PyObject *path,
               const fp_load_options *options)
{
    fp_load load = {
        .state = state,
        .options = options,
        .path = path,
        .fd = -1,
        .only_checks = 1,
    };
    fp_input input;
    int is_ours, result = -1;

    if (fp_input_from_file(&input, state, file) < 0) {
        return -1;
    }
    fp_input_limit(&input, options->max_bytes);
    fp_progress_init(&load.progress,
                     options->report == NULL ? Py_None : options->report);
    fp_input_tell(&input, &load.progress, FP_PROGRESS_MAIN);
    is_ours = fp_load_is_ours(&load, &input);
    if (is_ours == 0) {
        result = 0;
    }
    else if (is_ours > 0 && fp_blobs_init(&load.blobs, state, 0) == 0
             && fp_load_read_stream(&load, &input) == 0
             && fp_input_settle(&input) == 0 && refuse_void(&load) == 0
             && check_graph(&load) == 0)
    {
        load.progress.done[FP_PROGRESS_MAIN] = fp_input_offset(&input);
        result =
            check_second_file(&load) < 0 || fp_progress_end(&load.progress) < 0
                ? -1
                : 1;
    }
    fp_input_free(&input);
    fp_load_free(&load);
    return result;
}

int
fp_verify_sidecar(fp_state *state, const fp_sidecar_place *place,
                  uint64_t max_bytes, PyObject *report)
{
    fp_progress progress;

    fp_progress_init(&progress, report);
    return fp_verify_buffers(state, place, NULL, max_bytes, &progress) < 0
               ? -1
               : fp_progress_end(&progress);
}

/* --- any pickle ---------------------------------------------------------- */

int
fp_verify_pickle(fp_state *state, PyObject *file, PyObject *path,
                 uint64_t max_bytes, PyObject *report)
{
    fp_survey_options options = {.is_ours = 0};
    fp_progress progress;
    fp_survey survey;
    fp_input input;
    int status;

    if (fp_input_from_file(&input, state, file) < 0) {
        return -1;
    }
    fp_input_limit(&input, max_bytes);
    fp_progress_init(&progress, report);
    fp_input_tell(&input, &progress, FP_PROGRESS_MAIN);
    status = fp_survey_run(&survey, state, &input, &options);
    if (status < 0 && !input.is_over_limit && !progress.has_raised) {
        fp_name_damage(state, path, FP_SECTION_PICKLE, survey.offset_end,
                       input.is_truncated, 1);
    }
    if (status == 0) {
        status = fp_input_settle(&input);
    }
    if (status == 0) {
        progress.done[FP_PROGRESS_MAIN] = fp_input_offset(&input);
        status = fp_progress_end(&progress);
    }
    fp_survey_free(&survey);
    fp_input_free(&input);
    return status;
}

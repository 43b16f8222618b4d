/* What is in a file, by surveys: which kind it is, as a load finds it, and then
 * each dump. */
#include "load_parts.h"
#include "survey_type.h"

#include "base/compat.h"
#include "base/opcodes.h"
#include "core/block_hash.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Pickles that follow one another in a file that is not ours. */
#define MAX_PICKLES 256
/* So much is in memory at once of what is only checked: whole blocks. */
#define WINDOW_BYTES (16 * (uint64_t)FP_HASH_BLOCK_BYTES)

/* --- damage -------------------------------------------------------------- */

/* The exception that is set becomes the survey's, if it is about the bytes. -1
 * where it is about anything else. */
static int
keep_damage(fp_survey_object *report)
{
    fp_state *state = report->survey.state;

    if (!PyErr_ExceptionMatches(state->unpickling_error)) {
        return -1; /* CorruptFileError is one, too */
    }
    if (report->damage == NULL) {
        report->damage = fp_take_exception();
    }
    else { /* what was met first counts */
        PyErr_Clear();
    }
    return 0;
}

/* Runs a survey, whose exception is made one about the file. 0, also where there
 * is damage; or -1. */
static int
run_survey(fp_survey_object *report, fp_state *state, PyObject *path,
           fp_input *input, const fp_survey_options *options)
{
    fp_survey *survey = &report->survey;

    if (fp_survey_run(survey, state, input, options) == 0) {
        return 0;
    }
    if (input->is_over_limit) {
        return -1;
    }
    fp_name_damage(state, path,
                   options->is_ours ? FP_SECTION_GRAPH : FP_SECTION_PICKLE,
                   survey->offset_end, input->is_truncated, 1);
    return keep_damage(report);
}

/* --- other pickles ------------------------------------------------------- */

static int
survey_pickles(fp_load *load, uint64_t start, uint64_t max_bytes,
               PyObject *list)
{
    int status = 0;

    while (status == 0 && start < load->size
           && PyList_GET_SIZE(list) < MAX_PICKLES)
    {
        fp_survey_options options = {.base = start};
        fp_survey_object *report = fp_survey_object_new(load->state);
        fp_input input;
        if (report == NULL) {
            return -1;
        }
        fp_input_from_descriptor(&input, load->state, load->fd, start,
                                 load->size);
        fp_input_limit(&input, max_bytes);
        status = run_survey(report, load->state, load->path, &input, &options);
        fp_input_free(&input);
        report->start = start;
        report->length = report->survey.offset_end - start;
        start = report->survey.offset_end;
        if (status == 0) {
            status = PyList_Append(list, (PyObject *)report);
        }
        if (!report->survey.is_complete) {
            start = load->size; /* nobody knows where the next one begins */
        }
        Py_DECREF(report);
    }
    return status;
}

/* --- dumps of ours ------------------------------------------------------- */

/* The graph of a dump whose footer is load->footer, which moves to the report. */
static int
survey_graph(fp_survey_object *report, fp_load *load, int only_names)
{
    fp_survey_options options = {.is_ours = 1, .only_names = only_names};
    fp_input input;
    const fp_footer *footer = &report->footer;
    size_t n_bytes = (size_t)load->footer.graph_length;

    if (load->own_graph != NULL) {
        report->graph = load->own_graph;
        load->own_graph = NULL;
    }
    else {
        report->graph = malloc(n_bytes + 1);
        if (report->graph == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        memcpy(report->graph, load->graph, n_bytes);
    }
    load->graph = NULL;
    report->footer = load->footer;
    report->has_footer = 1;
    load->has_footer = 0;
    report->is_ours = 1;
    report->start = load->start;
    report->length = footer->total_length;
    report->header_bytes = FP_HEADER_BYTES;
    report->sidecar_bytes = footer->arrays_length;
    options.base = load->start + footer->graph_offset;
    options.dump_start = load->start;
    options.blobs = footer->blobs;
    options.n_blobs = footer->n_blobs;
    options.has_second_file = (footer->flags & FP_FLAG_SIDECAR_FILE) != 0;
    fp_input_from_memory(&input, load->state, report->graph, n_bytes);
    return run_survey(report, load->state, load->path, &input, &options);
}

int
fp_load_survey(fp_load *load)
{
    fp_survey_object *report = fp_survey_object_new(load->state);

    if (report == NULL) {
        return -1;
    }
    load->survey = (PyObject *)report;
    if (survey_graph(report, load, 1) < 0) {
        return -1;
    }
    load->graph = report->graph;
    return 0;
}

/* A dump that cannot be surveyed as one: as any pickle, from its start. Its
 * header and blobs are values that are popped. */
static int
survey_damaged(fp_survey_object *report, fp_load *load, uint64_t end)
{
    fp_survey_options options = {.base = load->start};
    fp_input input;
    int status;

    report->survey.state = load->state;
    if (keep_damage(report) < 0) {
        return -1;
    }
    fp_input_from_descriptor(&input, load->state, load->fd, load->start, end);
    status = run_survey(report, load->state, load->path, &input, &options);
    report->is_ours = 1;
    report->start = load->start;
    report->length = report->survey.offset_end - load->start;
    fp_input_free(&input);
    return status;
}

/* Whether the dump before *end is one by its footer, whose start *end becomes. */
static int
survey_dump(fp_load *load, uint64_t end, uint64_t max_bytes, PyObject *list)
{
    fp_survey_object *report = fp_survey_object_new(load->state);
    uint64_t start = end;
    int status = -1;

    if (report == NULL) {
        return -1;
    }
    load->start = 0;
    if (fp_load_dump_before(load, &start) == 0) {
        load->start = start;
        if (load->footer.graph_length > max_bytes) {
            fp_raise_over_limit(load->state, load->path, max_bytes);
            goto done;
        }
        status =
            fp_load_check_numbers(load) < 0 || fp_load_read_graph(load) < 0
                ? survey_damaged(report, load,
                                 start + load->footer.total_length)
                : survey_graph(report, load, 0);
    }
done:
    if (status == 0) {
        status = PyList_Append(list, (PyObject *)report);
    }
    Py_DECREF(report);
    free(load->own_graph);
    load->own_graph = NULL;
    return status;
}

/* Where each dump ends, from the last one. A list that cannot be followed to the
 * first byte of the file is damage: -1. */
static int
find_ends(fp_load *load, uint64_t **ends, size_t *n_ends)
{
    uint64_t end = load->size;
    size_t capacity = 0;

    load->start = 0;
    while (end > 0) {
        if (*n_ends == capacity) {
            size_t grown = capacity == 0 ? 16 : 2 * capacity;
            uint64_t *more = realloc(*ends, grown * sizeof(**ends));
            if (more == NULL) {
                PyErr_NoMemory();
                return -1;
            }
            *ends = more;
            capacity = grown;
        }
        (*ends)[(*n_ends)++] = end;
        if (fp_load_dump_before(load, &end) < 0) {
            return -1;
        }
    }
    return 0;
}

/* All of the file, about which an exception is set, as one pickle. */
static int
survey_whole(fp_load *load, PyObject *list)
{
    fp_survey_object *report = fp_survey_object_new(load->state);
    int status = -1;

    if (report != NULL) {
        load->start = 0;
        status = survey_damaged(report, load, load->size);
        if (status == 0) {
            status = PyList_Append(list, (PyObject *)report);
        }
        Py_DECREF(report);
    }
    return status;
}

/* The same, where nobody else's dumps follow: load->size becomes the end of
 * ours. */
static int
find_first_ends(fp_load *load, uint64_t **ends, size_t *n_ends)
{
    PyObject *error;
    int status = find_ends(load, ends, n_ends);

    if (status == 0 || !PyErr_ExceptionMatches(load->state->corrupt_error)) {
        return status;
    }
    error = fp_take_exception();
    status = fp_load_leave_others(load);
    if (status == 0) {
        fp_put_exception(error);
        return -1;
    }
    Py_XDECREF(error);
    *n_ends = 0;
    return status < 0 ? -1 : find_ends(load, ends, n_ends);
}

static int
survey_ours(fp_load *load, uint64_t max_bytes, PyObject *list)
{
    uint64_t *ends = NULL;
    uint64_t size = load->size, end;
    unsigned char opcode = 0;
    size_t n_ends = 0;
    int status = find_first_ends(load, &ends, &n_ends);

    if (status < 0) {
        status = survey_whole(load, list);
        goto done;
    }
    while (status == 0 && n_ends > 0) {
        status = survey_dump(load, ends[--n_ends], max_bytes, list);
    }
    end = load->size;
    load->size = size;
    if (status == 0 && end < size) {
        status = fp_load_look_at(load, end, &opcode, 1);
        if (status == 0 && opcode == OP_PROTO) { /* else a codec's stream */
            status = survey_pickles(load, end, max_bytes, list);
        }
    }
done:
    free(ends);
    return status;
}

/* --- a descriptor -------------------------------------------------------- */

PyObject *
fp_survey_descriptor(fp_state *state, int fd, PyObject *path,
                     uint64_t max_bytes, int n_threads, PyObject *foreign)
{
    fp_load_options options = {
        .verify = FP_VERIFY_FULL,
        .n_threads = n_threads,
        .max_bytes = UINT64_MAX,
        .foreign = foreign,
    };
    fp_load load = {
        .state = state, .options = &options, .path = path, .fd = fd};
    PyObject *list;
    struct stat info;
    int kind, status = -1;

    if (fstat(fd, &info) < 0) {
        PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
        return NULL;
    }
    list = PyList_New(0);
    if (list == NULL) {
        return NULL;
    }
    load.size = (uint64_t)info.st_size;
    kind = fp_load_look(&load, 0);
    if (kind == FP_FILE_EMPTY) {
        PyErr_SetString(PyExc_EOFError, "Ran out of input");
    }
    else if (kind == FP_FILE_OURS || kind == FP_FILE_HEADLESS) {
        /* Without its header it is no codec's: the caller has asked. */
        status = survey_ours(&load, max_bytes, list);
    }
    else if (kind == FP_FILE_REWRITTEN) {
        (void)fp_load_raise_rewritten(&load);
        status = survey_whole(&load, list);
    }
    else if (kind >= 0) {
        status = survey_pickles(&load, 0, max_bytes, list);
    }
    fp_load_free(&load);
    if (status < 0) {
        Py_CLEAR(list);
    }
    return list;
}

/* --- a file object ------------------------------------------------------- */

/* What had come of a dump before it broke off. */
static int
survey_partial(fp_survey_object *report, fp_load *load)
{
    fp_survey_options options = {
        .is_ours = 1,
        .blobs = load->found,
        .n_blobs = load->n_found,
    };
    fp_input input;
    int status;

    report->survey.state = load->state;
    if (keep_damage(report) < 0) {
        return -1;
    }
    report->is_ours = 1;
    report->graph = load->own_graph;
    load->own_graph = NULL;
    options.base = FP_HEADER_BYTES;
    if (load->n_found > 0) {
        const fp_blob *last = &load->found[load->n_found - 1];
        unsigned char suffix[FP_BLOB_SUFFIX_MAX];
        options.base = last->offset + last->length
                       + fp_blob_suffix_encode(suffix, last->memo_number);
    }
    report->header_bytes = FP_HEADER_BYTES;
    report->sidecar_bytes = options.base - FP_HEADER_BYTES;
    fp_input_from_memory(&input, load->state, report->graph,
                         load->n_graph_bytes);
    status = run_survey(report, load->state, load->path, &input, &options);
    report->length = report->survey.offset_end;
    /* The blobs go with the load. */
    report->survey.options.blobs = NULL;
    report->survey.options.n_blobs = 0;
    return status;
}

static int
survey_stream(fp_survey_object *report, fp_load *load, fp_input *input)
{
    fp_survey_options options = {.is_ours = 0};
    int status = -1;

    switch (fp_load_is_ours(load, input)) {
    case 1:
        if (fp_blobs_init(&load->blobs, load->state, 0) < 0) {
            return -1;
        }
        if (fp_load_read_stream(load, input) == 0) {
            return fp_input_settle(input) < 0 ? -1
                                              : survey_graph(report, load, 0);
        }
        return input->is_over_limit ? -1 : survey_partial(report, load);
    case 0:
        status = run_survey(report, load->state, load->path, input, &options);
        report->length = report->survey.offset_end;
        return status < 0 || fp_input_settle(input) < 0 ? -1 : 0;
    default:
        if (input->is_over_limit
            || !PyErr_ExceptionMatches(load->state->corrupt_error))
        {
            return -1;
        }
        report->is_ours = 1; /* a header that breaks off */
        report->survey.state = load->state;
        report->survey.root = FP_SURVEY_NONE;
        return keep_damage(report);
    }
}

PyObject *
fp_survey_file(fp_state *state, PyObject *file, PyObject *path,
               uint64_t max_bytes)
{
    fp_load_options options = {
        .verify = FP_VERIFY_FULL,
        .n_threads = 1,
        .max_bytes = max_bytes,
    };
    fp_load load = {
        .state = state,
        .options = &options,
        .path = path,
        .fd = -1,
        .only_checks = 1,
    };
    fp_survey_object *report = NULL;
    fp_input input;
    int status = -1;

    if (fp_input_from_file(&input, state, file) < 0) {
        return NULL;
    }
    fp_input_limit(&input, max_bytes);
    if (fp_input_need_opcode(&input) < 0) {
        if (PyErr_ExceptionMatches(PyExc_EOFError)) {
            PyErr_Clear();
            fp_input_free(&input);
            Py_RETURN_NONE;
        }
        goto done;
    }
    report = fp_survey_object_new(state);
    if (report != NULL) {
        status = survey_stream(report, &load, &input);
    }
done:
    if (status < 0) {
        Py_CLEAR(report);
    }
    fp_load_free(&load);
    fp_input_free(&input);
    return (PyObject *)report;
}

/* --- bytes of one array -------------------------------------------------- */

/* Whole blocks of the sidecar that hold the bytes from `first` to `end`, counted
 * from its start: what is wanted goes to `target`, the rest is only checked. */
static int
read_blocks(fp_load *load, uint64_t first, uint64_t end, unsigned char *target)
{
    const fp_footer *footer = &load->footer;
    uint64_t block = first >> FP_HASH_BLOCK_SHIFT;
    uint64_t start = block << FP_HASH_BLOCK_SHIFT;
    uint64_t stop = ((end - 1) >> FP_HASH_BLOCK_SHIFT << FP_HASH_BLOCK_SHIFT)
                    + FP_HASH_BLOCK_BYTES;
    unsigned char *around = malloc(2 * FP_HASH_BLOCK_BYTES);
    fp_block_read read = {
        .fd = load->fd,
        .offset = load->start + footer->arrays_offset + start,
        .hashes =
            footer->state == FP_STATE_VALID ? footer->hashes + block : NULL,
        .n_threads = load->options->n_threads,
    };
    fp_piece pieces[3];
    fp_status status;

    if (around == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (stop > footer->arrays_length) {
        stop = footer->arrays_length;
    }
    pieces[0] = (fp_piece){around, first - start};
    pieces[1] = (fp_piece){target, end - first};
    pieces[2] = (fp_piece){around + FP_HASH_BLOCK_BYTES, stop - end};
    read.n_bytes = stop - start;
    read.pieces = pieces;
    read.n_pieces = 3;
    status = fp_load_run_blocks(&read, NULL, FP_PROGRESS_MAIN);
    free(around);
    if (status == FP_CORRUPT) {
        return fp_raise_bad_block(load->state, load->path, FP_SECTION_ARRAYS,
                                  read.bad_offset, read.bad_end);
    }
    if (status == FP_TRUNCATED) {
        return fp_raise_damage(load->state, status, load->path,
                               FP_SECTION_ARRAYS, read.bad_offset,
                               "a longer file");
    }
    return status == FP_OK
               ? 0
               : fp_raise_status(status, read.saved_errno, load->path, NULL);
}

static int
check_blocks(fp_load *load, uint64_t first, uint64_t end)
{
    unsigned char *window = malloc((size_t)WINDOW_BYTES);
    int status = 0;

    if (window == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    while (status == 0 && first < end) {
        /* Up to the end of a block, so that none is read twice. */
        uint64_t next = ((first >> FP_HASH_BLOCK_SHIFT) << FP_HASH_BLOCK_SHIFT)
                        + WINDOW_BYTES;
        if (next > end) {
            next = end;
        }
        status = read_blocks(load, first, next, window);
        first = next;
    }
    free(window);
    return status;
}

int
fp_read_checked(fp_state *state, int fd, PyObject *path, uint64_t start,
                uint64_t end, uint64_t offset, uint64_t n_bytes,
                unsigned char *target, int n_threads)
{
    fp_load_options options = {
        .verify = FP_VERIFY_FULL,
        .n_threads = n_threads,
        .max_bytes = UINT64_MAX,
    };
    fp_load load = {
        .state = state, .options = &options, .path = path, .fd = fd};
    const fp_footer *footer = &load.footer;
    struct stat info;
    uint64_t first;
    int kind, status = -1;

    if (fstat(fd, &info) < 0) {
        PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
        return -1;
    }
    load.size = (uint64_t)info.st_size;
    if (end < load.size) { /* what follows is not asked for */
        load.size = end;
    }
    kind = fp_load_look(&load, start);
    if (kind < 0 || kind != FP_FILE_OURS) {
        if (kind >= 0) {
            PyErr_SetString(PyExc_ValueError, "no dump begins there");
        }
        goto done;
    }
    if (fp_load_find_dump(&load) < 0) {
        goto done;
    }
    first = offset - start - footer->arrays_offset;
    if (offset < start + footer->arrays_offset || first > footer->arrays_length
        || n_bytes > footer->arrays_length - first)
    {
        PyErr_SetString(
            PyExc_ValueError,
            "those bytes are not among the array bytes of the dump");
        goto done;
    }
    status = n_bytes == 0 ? 0
             : target == NULL
                 ? check_blocks(&load, first, first + n_bytes)
                 : read_blocks(&load, first, first + n_bytes, target);
done:
    fp_load_free(&load);
    return status;
}

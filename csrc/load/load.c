#include "load.h"

#include "base/compat.h"
#include "base/environment.h"
#include "base/opcodes.h"
#include "build/unpickle.h"
#include "joblib_layout.h"
#include "load_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void
fp_load_free(fp_load *load)
{
    fp_load_stop_ahead(load);
    fp_blobs_free(&load->blobs);
    fp_buffers_free(&load->buffers);
    if (load->map_view.obj != NULL) {
        PyBuffer_Release(&load->map_view);
    }
    if (load->has_footer) {
        fp_footer_free(&load->footer);
    }
    free(load->own_graph);
    free(load->found);
    free(load->whole);
    Py_CLEAR(load->survey);
}

/* --- the environment ----------------------------------------------------- */

/* Whether the packages run in the versions that the dump was saved with: 0; -1
 * with what was raised for it. Before anything is built only for who wants no
 * such object, and with those that are imported already. */
static int
check_environment(const fp_load *load, int is_built)
{
    fp_mismatch mismatch = load->options->mismatch;
    const fp_footer *footer = &load->footer;
    PyObject *module, *answer = NULL;

    if (mismatch == FP_MISMATCH_IGNORE
        || (mismatch == FP_MISMATCH_WARN && !is_built)
        || fp_environment_is_same(footer->environment,
                                  footer->environment_bytes, !is_built))
    {
        return 0;
    }
    module = PyImport_ImportModule("fastpersist._environment");
    if (module != NULL) {
        answer = PyObject_CallMethod(module, "check", "Oy#ii",
                                     load->path == NULL ? Py_None : load->path,
                                     footer->environment,
                                     (Py_ssize_t)footer->environment_bytes,
                                     mismatch == FP_MISMATCH_RAISE, !is_built);
        Py_DECREF(module);
    }
    Py_XDECREF(answer);
    return answer == NULL ? -1 : 0;
}

/* --- running ------------------------------------------------------------- */

/* Notes on an exception of user code, or of the machine: where in the file,
 * and which versions it was saved with. */
static void
add_notes(const fp_load *load, uint64_t offset)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception)
        || PyErr_ExceptionMatches(PyExc_MemoryError))
    {
        return; /* KeyboardInterrupt and its like are not about the file */
    }
    fp_note_place(load->state, load->path, offset);
    if (load->has_footer || load->survey != NULL) {
        fp_note_environment(load->state, load->footer.environment,
                            load->footer.environment_bytes);
    }
}

/* CorruptFileError, where the bytes are the reason of the exception. */
static void
name_damage(const fp_load *load, const fp_machine *machine, int is_ours,
            uint64_t first_offset)
{
    const fp_input *input = machine->input;
    /* What the caller's file object raises is its own affair; with a path it is
     * one of ours. */
    int no_foreign_code =
        machine->n_names == 0
        && (input->kind != FP_INPUT_FILE || load->path != NULL);

    /* joblib's message about files of Python 2 is worth more. */
    if ((!is_ours && PyErr_ExceptionMatches(PyExc_UnicodeError))
        || load->progress.has_raised
        /* What is refused is whole. */
        || PyErr_ExceptionMatches(load->state->untrusted_error))
    {
        return;
    }

    if (!input->is_over_limit) {
        fp_name_damage(load->state, load->path,
                       is_ours ? FP_SECTION_GRAPH : FP_SECTION_PICKLE,
                       first_offset + fp_input_offset(input),
                       input->is_truncated, no_foreign_code);
    }
}

/* Runs a machine that is set up; `n_bytes` is about what it will read. */
static PyObject *
run(fp_load *load, fp_machine *machine, int until_end, uint64_t first_offset,
    uint64_t n_bytes)
{
    fp_collector_pause pause;
    PyObject *result;

    fp_collector_pause_begin(load->state, &pause);
    result = fp_machine_run(machine, until_end);
    if (result != NULL && load->ahead != NULL && fp_load_end_ahead(load) < 0) {
        Py_CLEAR(result);
    }
    else if (result == NULL && !load->has_read_failed) {
        name_damage(load, machine, until_end, first_offset);
        add_notes(load, first_offset + fp_input_offset(machine->input));
    }
    fp_load_stop_ahead(load);
    fp_machine_free(machine);
    fp_collector_pause_end(load->state, &pause, n_bytes, until_end);
    return result;
}

/* The graph is whole frames. */
int
fp_load_check_frames(const fp_load *load)
{
    const unsigned char *next = load->graph;
    uint64_t n_left = load->footer.graph_length;

    do {
        uint64_t length = 0;
        for (int i = 8; n_left >= FP_FRAME_BYTES && i > 0; i--) {
            length = length << 8 | next[i];
        }
        if (n_left < FP_FRAME_BYTES || next[0] != OP_FRAME
            || length > n_left - FP_FRAME_BYTES)
        {
            return fp_raise_damage(load->state, FP_CORRUPT, load->path,
                                   FP_SECTION_GRAPH,
                                   load->start + load->footer.graph_offset
                                       + (uint64_t)(next - load->graph),
                                   "a whole frame");
        }
        next += FP_FRAME_BYTES + length;
        n_left -= FP_FRAME_BYTES + length;
    } while (n_left > 0);
    return 0;
}

/* Asks options->audit, of a file of which the survey is not known, too. */
static int
audit(const fp_load *load)
{
    PyObject *survey = load->survey == NULL ? Py_None : load->survey;
    PyObject *answer =
        PyObject_CallFunction(load->options->audit, "Oi", survey, load->fd);

    Py_XDECREF(answer);
    return answer == NULL ? -1 : 0;
}

/* Has the sidecar read while the machine runs, or does so now. */
static int
stream_sidecar(fp_load *load, const fp_machine *machine)
{
    int status = fp_load_begin_ahead(load, machine);

    if (status == 0) {
        fp_load_stop_ahead(load);
        status = fp_load_read_sidecar(load);
    }
    return status < 0 ? -1 : 0;
}

/* The graph of ours: checked, in memory, its blobs at hand or on their way. */
static PyObject *
run_graph(fp_load *load)
{
    const fp_footer *footer = &load->footer;
    fp_input input;
    fp_machine machine;
    PyObject *result;

    if (fp_load_check_frames(load) < 0 || fp_load_buffers(load) < 0) {
        return NULL;
    }
    load->blobs.native_order = load->options->native_order;
    fp_input_from_memory(&input, load->state, load->graph,
                         (size_t)footer->graph_length);
    fp_machine_init(&machine, load->state, &input);
    fp_machine_find_with(&machine, load->options->find_class);
    if (footer->flags & FP_FLAG_SIDECAR_FILE) {
        machine.out_of_band = &load->buffers.blobs;
    }
    if (fp_machine_seed_blobs(&machine, &load->blobs) < 0
        || (load->is_streamed && stream_sidecar(load, &machine) < 0))
    {
        fp_load_stop_ahead(load);
        fp_machine_free(&machine);
        return NULL;
    }
    result = run(load, &machine, 1, load->start + footer->graph_offset,
                 footer->graph_length);
    if (result != NULL && check_environment(load, 1) < 0) {
        Py_CLEAR(result);
    }
    return result;
}

/* A plain pickle, or joblib's layout. */
static PyObject *
run_pickle(fp_load *load, fp_input *input, fp_joblib *joblib,
           uint64_t first_offset, uint64_t n_bytes)
{
    fp_machine machine;

    if (load->options->sidecar != NULL) {
        fp_load_refuse_sidecar(load);
        return NULL;
    }
    joblib->native_order = load->options->native_order;
    fp_machine_init(&machine, load->state, input);
    fp_machine_find_with(&machine, load->options->find_class);
    if (load->options->encoding != NULL) {
        machine.encoding = load->options->encoding;
        machine.errors = load->options->errors;
        machine.fix_imports = load->options->fix_imports;
    }
    machine.own_wrappers = 1;
    machine.array_rules = joblib;
    return run(load, &machine, 0, first_offset, n_bytes);
}

/* --- progress ------------------------------------------------------------ */

static void
begin_progress(fp_load *load)
{
    PyObject *report = load->options->report;

    fp_progress_init(&load->progress, report == NULL ? Py_None : report);
}

/* The last word, where there is a value; steals it. */
static PyObject *
end_progress(fp_load *load, PyObject *value)
{
    if (value != NULL && fp_progress_end(&load->progress) < 0) {
        Py_CLEAR(value);
    }
    return value;
}

/* --- a descriptor -------------------------------------------------------- */

/* What is to be read of a dump, against max_bytes. */
static int
check_size(fp_load *load)
{
    const fp_sidecar_place *second = load->options->sidecar;
    uint64_t n_bytes = load->options->mmap_mode != NULL
                           ? load->footer.graph_length
                           : load->footer.total_length;

    if (second == NULL || second->fd >= 0) { /* else nobody knows */
        load->progress.total[FP_PROGRESS_MAIN] =
            load->options->verify == FP_VERIFY_FULL ? load->footer.total_length
                                                    : n_bytes;
    }
    return n_bytes <= load->options->max_bytes
               ? 0
               : fp_raise_over_limit(load->state, load->path,
                                     load->options->max_bytes);
}

static PyObject *
load_ours(fp_load *load)
{
    const fp_footer *footer = &load->footer;
    uint64_t n_file_bytes = load->size;
    int status = 0;

    if (fp_load_find_first(load) < 0 || check_size(load) < 0
        || check_environment(load, 0) < 0 || fp_load_read_graph(load) < 0
        || fp_blobs_init(&load->blobs, load->state, footer->n_blobs) < 0)
    {
        return NULL;
    }
    if (load->options->audit != NULL
        && ((footer->total_length == n_file_bytes && fp_load_survey(load) < 0)
            || audit(load) < 0))
    {
        return NULL;
    }
    for (size_t i = 0; i < footer->n_blobs; i++) {
        fp_loaded_blob *blob = &load->blobs.table[i];
        blob->kind = (unsigned char)footer->blobs[i].kind;
        blob->memo_number = footer->blobs[i].memo_number;
        blob->checked = 1;
    }
    load->is_streamed = fp_load_may_stream(load);
    /* Of two files the second is the one that is mapped. */
    if (load->options->mmap_mode != NULL
        && !(footer->flags & FP_FLAG_SIDECAR_FILE))
    {
        status = fp_load_map_sidecar(load);
    }
    else if (!load->is_streamed) {
        status = fp_load_read_sidecar(load);
    }
    return status < 0 ? NULL : run_graph(load);
}

/* joblib's layout, its arrays mapped where a mode asks for it. */
static PyObject *
load_pickle(fp_load *load, uint64_t *end)
{
    fp_joblib joblib = {.path = load->path};
    PyObject *mode = load->options->mmap_mode;
    PyObject *map = NULL, *filename = NULL, *result = NULL;
    fp_input input;

    if (mode != NULL) {
        map = fp_map_new(load->fd, mode);
        if (map == NULL
            || PyObject_GetBuffer(map, &load->map_view, PyBUF_SIMPLE) < 0)
        {
            goto done;
        }
        filename = fp_map_filename(load->path);
        if (filename == NULL) {
            goto done;
        }
        joblib.map = map;
        joblib.map_data = load->map_view.buf;
        joblib.map_bytes = (uint64_t)load->map_view.len;
        joblib.map_mode = mode;
        joblib.map_filename = filename;
    }
    if (map != NULL) {
        /* Of the map only the pages with opcodes are touched. */
        fp_input_from_memory(&input, load->state,
                             joblib.map_data + load->start,
                             joblib.map_bytes > load->start
                                 ? (size_t)(joblib.map_bytes - load->start)
                                 : 0);
    }
    else if (load->whole != NULL) {
        fp_input_from_memory(&input, load->state, load->whole + load->start,
                             (size_t)(load->size - load->start));
    }
    else {
        fp_input_from_descriptor(&input, load->state, load->fd, load->start,
                                 load->size);
        input.n_threads = load->options->n_threads;
    }
    if (map == NULL) {
        fp_input_limit(&input, load->options->max_bytes);
    }
    load->progress.total[FP_PROGRESS_MAIN] = load->size - load->start;
    fp_input_tell(&input, &load->progress, FP_PROGRESS_MAIN);
    result = run_pickle(load, &input, &joblib, load->start,
                        load->size - load->start);
    *end = load->start + fp_input_offset(&input);
    fp_input_free(&input);
    if (result != NULL && fp_load_check_behind(load, *end) < 0) {
        Py_CLEAR(result);
    }
done:
    Py_XDECREF(filename);
    Py_XDECREF(map);
    return result;
}

int
fp_load_raise_rewritten(const fp_load *load)
{
    return fp_raise_corrupt(
        load->state, load->path, FP_SECTION_FOOTER,
        PyUnicode_FromFormat(
            "%R was rewritten by another program, as pickletools.optimize "
            "does, so its checks do not hold any more: load it from a file "
            "object, which takes it as any pickle, or dump the object again",
            load->path));
}

static PyObject *
no_input(void)
{
    PyErr_SetString(PyExc_EOFError, "Ran out of input");
    return NULL;
}

/* Whether arrays can be mapped where they are. */
static int
is_mappable(const fp_load *load, int kind)
{
    return load->options->mmap_mode == NULL || load->options->sidecar != NULL
           || (kind == FP_FILE_OURS ? load->start % FP_ALIGN == 0
                                    : load->start == 0);
}

PyObject *
fp_load_descriptor(fp_state *state, int fd, PyObject *path, uint64_t start,
                   const fp_load_options *options, uint64_t *end)
{
    fp_load load = {
        .state = state, .options = options, .path = path, .fd = fd};
    PyObject *result = NULL;
    struct stat status;
    int kind;

    *end = 0;
    if (fstat(fd, &status) < 0) {
        PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
        return NULL;
    }
    load.size = (uint64_t)status.st_size;
    begin_progress(&load);
    kind = fp_load_look(&load, start);
    if (kind == FP_FILE_HEADLESS) { /* no codec's: the caller has asked */
        kind = FP_FILE_OURS;
    }
    if (kind == FP_FILE_EMPTY) {
        no_input();
    }
    else if (kind == FP_FILE_REWRITTEN) {
        fp_load_raise_rewritten(&load);
    }
    else if (kind >= 0 && !is_mappable(&load, kind)) {
        result = Py_NewRef(Py_None);
    }
    else if (kind == FP_FILE_OURS) {
        result = end_progress(&load, load_ours(&load));
        *end = start + load.footer.total_length;
    }
    else if (kind >= 0) {
        result = end_progress(&load, load_pickle(&load, end));
    }
    fp_load_free(&load);
    return result;
}

/* --- a path -------------------------------------------------------------- */

/* As open() does it: audited, not inherited, signals handled. */
static int
open_path(PyObject *path, PyObject *mmap_mode)
{
    int is_writable =
        mmap_mode != NULL
        && PyUnicode_CompareWithASCIIString(mmap_mode, "r+") == 0;
    int flags = (is_writable ? O_RDWR : O_RDONLY) | O_CLOEXEC;
    PyObject *encoded = NULL;
    int fd = -1;

    if (PySys_Audit("open", "OOi", path, Py_None, flags) < 0
        || !PyUnicode_FSConverter(path, &encoded))
    {
        return -1;
    }
    for (;;) {
        Py_BEGIN_ALLOW_THREADS
        fd = open(PyBytes_AS_STRING(encoded), flags);
        Py_END_ALLOW_THREADS
        if (fd >= 0) {
            break;
        }
        if (errno != EINTR) {
            PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
            break;
        }
        if (PyErr_CheckSignals() < 0) {
            break;
        }
    }
    Py_DECREF(encoded);
    return fd;
}

static PyObject *
load_opened(fp_load *load)
{
    PyObject *result;
    uint64_t end;
    struct stat status;
    int kind = FP_FILE_FOREIGN;

    begin_progress(load);
    if (fstat(load->fd, &status) < 0) {
        PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, load->path);
        return NULL;
    }
    if (S_ISDIR(status.st_mode)) {
        errno = EISDIR;
        PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, load->path);
        return NULL;
    }
    if (S_ISREG(status.st_mode)) {
        load->size = (uint64_t)status.st_size;
        kind = fp_load_look(load, 0);
    }
    if (load->options->audit != NULL && kind != -1 && kind != FP_FILE_OURS
        && audit(load) < 0)
    {
        return NULL;
    }
    switch (kind) {
    case -1:
        return NULL;
    case FP_FILE_OURS:
        return end_progress(load, load_ours(load));
    case FP_FILE_EMPTY:
        return no_input();
    case FP_FILE_REWRITTEN:
        fp_load_raise_rewritten(load);
        return NULL;
    case FP_FILE_PICKLE:
        result = end_progress(load, load_pickle(load, &end));
        if (result != NULL
            || !PyErr_ExceptionMatches(load->state->old_joblib_file))
        {
            return result;
        }
        PyErr_Clear(); /* joblib itself is asked to read it */
        break;
    default:
        break;
    }
    return PyObject_CallFunction(load->options->foreign, "i", load->fd);
}

PyObject *
fp_load_path(fp_state *state, PyObject *path, const fp_load_options *options)
{
    fp_load load = {
        .state = state, .options = options, .path = path, .fd = -1};
    PyObject *result;
    PyObject *error;

    load.fd =
        open_path(path, options->sidecar == NULL ? options->mmap_mode : NULL);
    if (load.fd < 0) {
        return NULL;
    }
    result = load_opened(&load);
    error = fp_take_exception();
    fp_load_free(&load);
    (void)close(load.fd); /* was only read, or synced */
    fp_put_exception(error);
    return result;
}

/* --- a file object ------------------------------------------------------- */

/* Damage of one byte must not make it some other pickle. Asks for one more byte
 * only while it may be ours, since another pickle may end there. */
int
fp_load_is_ours(const fp_load *load, fp_input *input)
{
    unsigned char header[FP_HEADER_BYTES];
    fp_layout_error error;
    size_t n_bytes = 1;
    int n_wrong = 0;

    fp_header_encode(header);
    if (fp_input_need_opcode(input) < 0) {
        return -1;
    }
    for (;;) {
        unsigned char byte = input->cursor[n_bytes - 1];
        /* The flags may be others: a dump in two files. */
        n_wrong += byte != header[n_bytes - 1]
                   && !(n_bytes - 1 == FP_HEADER_FIXED_BYTES
                        && byte == FP_FLAG_SIDECAR_FILE);
        if (n_wrong > 1 || n_bytes == FP_HEADER_BYTES) {
            break;
        }
        n_bytes++;
        if (fp_input_need(input, n_bytes) == 0) {
            continue;
        }
        if (input->is_over_limit || fp_input_was_ended(input)
            || (!PyErr_ExceptionMatches(load->state->unpickling_error)
                && !PyErr_ExceptionMatches(PyExc_EOFError)))
        {
            return -1;
        }
        input->is_truncated = 0;
        PyErr_Clear(); /* the input ends here: not an error by itself */
        return n_wrong > 0 ? 0
                           : fp_raise_damage(load->state, FP_TRUNCATED,
                                             load->path, FP_SECTION_HEADER,
                                             n_bytes - 1, "a whole header");
    }
    return n_wrong <= 1
           || (n_bytes == FP_HEADER_BYTES
               && fp_header_decode(input->cursor, FP_HEADER_BYTES, &error)
                      != FP_NOT_OURS);
}

PyObject *
fp_load_file(fp_state *state, PyObject *file, PyObject *path,
             const fp_load_options *options)
{
    fp_load load = {
        .state = state, .options = options, .path = path, .fd = -1};
    PyObject *result = NULL;
    fp_joblib joblib = {.path = path};
    fp_input input;

    if (fp_input_from_file(&input, state, file) < 0) {
        return NULL;
    }
    fp_input_limit(&input, options->max_bytes);
    begin_progress(&load);
    fp_input_tell(&input, &load.progress, FP_PROGRESS_MAIN);
    switch (fp_load_is_ours(&load, &input)) {
    case 1:
        if (fp_blobs_init(&load.blobs, state, 0) == 0
            && fp_load_read_stream(&load, &input) == 0
            && fp_input_settle(&input) == 0
            && check_environment(&load, 0) == 0)
        {
            result = run_graph(&load);
        }
        break;
    case 0:
        result = run_pickle(&load, &input, &joblib, 0, UINT64_MAX);
        if (result != NULL && fp_input_settle(&input) < 0) {
            Py_CLEAR(result);
        }
        break;
    default:
        break;
    }
    load.progress.done[FP_PROGRESS_MAIN] = fp_input_offset(&input);
    result = end_progress(&load, result);
    fp_input_free(&input);
    fp_load_free(&load);
    return result;
}

#include "dump.h"

#include "base/compat.h"
#include "base/environment.h"
#include "base/errors.h"
#include "core/graph.h"
#include "core/layout.h"
#include "core/ring.h"
#include "file_outlets.h"
#include "joblib_dump.h"
#include "out/object_sink.h"
#include "out/target.h"
#include "walk/walk.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One dump under way. */
typedef struct {
    fp_state *state; /* borrowed */
    const fp_dump_options *options;
    fp_target main;
    fp_ring *ring;
    fp_file_outlet files;
    fp_walk walk;
    fp_buffer environment;
    fp_buffer footer;
    /* With a sidecar file: */
    int has_sidecar_file;
    fp_target second;
    fp_ring *second_ring;
    pid_t owner; /* the process that may touch the rings */
    fp_progress progress;
} fp_dump;

static int
is_forked_child(const fp_dump *dump)
{
    return getpid() != dump->owner;
}

static int
target_result(const fp_target *target, fp_status status)
{
    return status == FP_OK ? 0
                           : fp_raise_status(status, target->sink->saved_errno,
                                             target->path, NULL);
}

/* A ring in front of a target; `staging` is how the walk fills it. */
static int
new_ring(const fp_dump *dump, const fp_target *target, fp_ring **ring,
         fp_staging *staging)
{
    fp_status status =
        fp_ring_new(target->sink, dump->options->n_threads, ring);

    if (status != FP_OK) {
        return fp_raise_status(status, 0, target->path, NULL);
    }
    fp_ring_use_spare(*ring, &dump->state->spare);
    *staging = (fp_staging){
        .ring = *ring,
        .sink = target->sink,
        .path = target->path,
        .owner = dump->owner,
    };
    return 0;
}

/* --- the file layout ---------------------------------------------------- */

/* Graph and footer, behind what the walk has staged. No GIL. */
static fp_status
finish_file(fp_dump *dump)
{
    fp_ring *ring = dump->ring;
    fp_footer footer = {0};
    fp_status status;

    footer.arrays_offset = FP_HEADER_BYTES;
    footer.arrays_length = fp_ring_position(ring) - FP_HEADER_BYTES;
    footer.graph_offset = fp_ring_position(ring);
    status = fp_ring_end_region(ring);
    if (status == FP_OK) {
        status = fp_ring_begin_region(ring);
    }
    if (status == FP_OK) {
        status = fp_graph_write(&dump->walk.graph, ring);
    }
    if (status == FP_OK) {
        status = fp_ring_end_region(ring);
    }
    footer.graph_length = fp_ring_position(ring) - footer.graph_offset;
    if (status == FP_OK) {
        status = fp_ring_hash_staged(ring);
    }
    if (status != FP_OK) {
        return status;
    }
    footer.state = FP_STATE_VALID;
    footer.n_blobs = dump->files.blobs.n_blobs;
    footer.blobs = dump->files.blobs.blobs;
    footer.flags = dump->files.blobs.header_flags;
    if (dump->has_sidecar_file) {
        footer.n_buffers = dump->files.buffers.index.n_buffers;
        footer.sidecar_file_length = dump->files.buffers.index.total_length;
        footer.sidecar_file_root = dump->files.buffers.index.root;
    }
    const uint64_t *hashes = fp_ring_hashes(ring, &footer.n_hashes);
    footer.hashes = malloc(footer.n_hashes * sizeof(uint64_t) + 1);
    if (footer.hashes == NULL) {
        return FP_NO_MEMORY;
    }
    if (footer.n_hashes > 0) {
        memcpy(footer.hashes, hashes, footer.n_hashes * sizeof(uint64_t));
    }
    footer.environment = (char *)dump->environment.data;
    footer.environment_bytes = dump->environment.length;
    status = fp_footer_encode(&footer, &dump->footer);
    free(footer.hashes);
    if (status == FP_OK) {
        status = fp_ring_write(ring, dump->footer.data, dump->footer.length);
    }
    return status == FP_OK ? fp_ring_finish(ring) : status;
}

/* The sidecar file is complete when the walk is. */
static int
finish_sidecar_file(fp_dump *dump)
{
    fp_status status;

    Py_BEGIN_ALLOW_THREADS
    status = fp_sidecar_file_finish(&dump->files.buffers);
    Py_END_ALLOW_THREADS
    if (target_result(&dump->second, status) < 0) {
        return -1;
    }
    return is_forked_child(dump) ? fp_refuse_child() : 0;
}

static int
start_walk(fp_dump *dump)
{
    fp_walk *walk = &dump->walk;

    fp_walk_init(walk, dump->state, 5, 0);
    walk->local_object_error = dump->state->pickling_error; /* as joblib's */
    walk->names = dump->options->names;
    walk->late_puts = 1;
    walk->silent = 1;
    walk->graph.no_cuts = 0;
    fp_file_outlet_init(&dump->files, dump->has_sidecar_file);
    dump->files.blobs.spare = &dump->state->spare;
    walk->outlet = &dump->files.outlet;
    if (new_ring(dump, &dump->main, &dump->ring, &dump->files.blobs.staging)
        < 0)
    {
        return -1;
    }
    if (dump->has_sidecar_file) {
        if (new_ring(dump, &dump->second, &dump->second_ring,
                     &dump->files.buffers.staging)
                < 0
            || fp_sidecar_file_start(&dump->files.buffers) < 0)
        {
            return -1;
        }
    }
    walk->modules = PySet_New(NULL);
    return walk->modules == NULL ? -1 : fp_sidecar_start(&dump->files.blobs);
}

/* What is written anew keeps where it was made. */
static int
write_environment(fp_dump *dump)
{
    const fp_dump_options *options = dump->options;
    fp_status status;

    if (options->environment == NULL) {
        return fp_environment_write(dump->walk.modules, &dump->environment);
    }
    status = fp_buffer_append(&dump->environment, options->environment,
                              (size_t)options->environment_bytes);
    return status == FP_OK ? 0 : fp_raise_status(status, 0, NULL, NULL);
}

static int
dump_file_layout(fp_dump *dump, PyObject *value)
{
    fp_walk *walk = &dump->walk;
    fp_status status;

    if (start_walk(dump) < 0 || fp_walk_run(walk, value) < 0) {
        return -1;
    }
    if (is_forked_child(dump)) {
        return fp_refuse_child();
    }
    if (fp_sidecar_close_shared(&dump->files.blobs) < 0
        || (dump->has_sidecar_file && finish_sidecar_file(dump) < 0)
        || write_environment(dump) < 0)
    {
        return -1;
    }
    /* STOP of the pickle is the footer's last byte; the memo is not needed
     * any more, its references end under the GIL. */
    fp_memo_clear(&walk->own_memo);
    Py_BEGIN_ALLOW_THREADS
    status = finish_file(dump);
    Py_END_ALLOW_THREADS
    return target_result(&dump->main, status);
}

/* --- others ------------------------------------------------------------- */

/* Protocols that cannot carry a sidecar: a pickle and nothing else. */
static int
dump_plain_pickle(fp_dump *dump, PyObject *value)
{
    fp_walk *walk = &dump->walk;
    fp_sink *sink = dump->main.sink;
    fp_status status;

    fp_walk_init(walk, dump->state, dump->options->protocol, 1);
    walk->local_object_error = dump->state->pickling_error;
    walk->names = dump->options->names;
    walk->silent = 1;
    if (fp_walk_run(walk, value) < 0) {
        return -1;
    }
    if (is_forked_child(dump)) {
        return fp_refuse_child();
    }
    dump->progress.done[0] = fp_graph_length(&walk->graph);
    Py_BEGIN_ALLOW_THREADS
    status = sink->write(sink, walk->graph.base, dump->progress.done[0]);
    Py_END_ALLOW_THREADS
    return target_result(&dump->main, status);
}

static int
dump_joblib_layout(fp_dump *dump, PyObject *value)
{
    const fp_dump_options *options = dump->options;
    fp_stream stream = {.start = options->start};
    fp_status status;

    if (new_ring(dump, &dump->main, &dump->ring, &stream.staging) < 0
        || fp_joblib_walk(&dump->walk, dump->state, &stream, value,
                          options->protocol, options->names)
               < 0)
    {
        return -1;
    }
    if (is_forked_child(dump)) {
        return fp_refuse_child();
    }
    Py_BEGIN_ALLOW_THREADS
    status = fp_ring_finish(dump->ring);
    Py_END_ALLOW_THREADS
    return target_result(&dump->main, status);
}

/* A function or class that is local to a function: an AttributeError from
 * pickle before Python 3.14, and so from the walk. joblib makes a PicklingError
 * of it on every Python, and so does dump(). What the object's own code raised
 * has a traceback. */
static void
name_local_object(const fp_state *state)
{
    PyObject *type, *error, *traceback;
    PyObject *text = NULL, *mark = NULL, *notes = NULL, *named = NULL;

    PyErr_Fetch(&type, &error, &traceback);
    if (type == PyExc_AttributeError && traceback == NULL) {
        PyErr_NormalizeException(&type, &error, &traceback);
        text = PyObject_Str(error);
        mark = PyUnicode_FromString(" local object ");
        if (text != NULL && mark != NULL && PyUnicode_Contains(text, mark) == 1
            && (named = PyObject_CallOneArg(state->pickling_error, text))
                   != NULL)
        {
            notes = fp_optional_attribute(error, state->str_notes);
            if (notes != NULL) {
                (void)PyObject_SetAttr(named, state->str_notes, notes);
            }
            Py_CLEAR(type);
            Py_CLEAR(error);
        }
        Py_XDECREF(text);
        Py_XDECREF(mark);
        Py_XDECREF(notes);
        PyErr_Clear(); /* then it stays what it is */
    }
    if (named == NULL) {
        PyErr_Restore(type, error, traceback);
    }
    else {
        PyErr_SetObject(state->pickling_error, named);
        Py_DECREF(named);
    }
}

/* What was written, for the last word on progress. */
static void
note_lengths(fp_dump *dump)
{
    if (dump->ring != NULL) {
        dump->progress.done[FP_PROGRESS_MAIN] = fp_ring_position(dump->ring);
    }
    if (dump->second_ring != NULL) {
        dump->progress.done[FP_PROGRESS_SECOND] =
            fp_ring_position(dump->second_ring);
    }
}

static int
dump_to_sinks(fp_dump *dump, PyObject *value)
{
    int result;

    if (dump->options->layout == FP_LAYOUT_JOBLIB) {
        result = dump_joblib_layout(dump, value);
    }
    else if (dump->options->layout == FP_LAYOUT_PICKLE
             && dump->options->protocol >= 5)
    {
        result = dump_file_layout(dump, value);
    }
    else {
        result = dump_plain_pickle(dump, value);
    }
    fp_walk_free(&dump->walk);
    if (!is_forked_child(dump)) {
        note_lengths(dump);
        Py_BEGIN_ALLOW_THREADS
        fp_ring_free(dump->ring);
        fp_ring_free(dump->second_ring);
        Py_END_ALLOW_THREADS
    }
    fp_file_outlet_free(&dump->files);
    fp_buffer_free(&dump->environment);
    fp_buffer_free(&dump->footer);
    if (result < 0) {
        name_local_object(dump->state);
    }
    return result;
}

/* Two files take their places one right behind the other, the sidecar first: a
 * main file never names a sidecar that is not there yet. */
static int
commit(fp_dump *dump)
{
    PyObject *error;

    if (!dump->has_sidecar_file) {
        return fp_target_commit(&dump->main);
    }
    if (fp_target_prepare(&dump->second) < 0
        || fp_target_prepare(&dump->main) < 0)
    {
        return -1;
    }
    if (fp_target_commit(&dump->second) == 0) {
        return fp_target_commit(&dump->main);
    }
    /* Where the sidecar is renamed but its directory not synced, the pair is
     * made whole all the same. */
    if (dump->second.file.is_renamed) {
        error = fp_take_exception();
        if (fp_target_commit(&dump->main) == 0) {
            fp_put_exception(error);
        }
        else {
            Py_XDECREF(error);
        }
    }
    return -1;
}

static int
open_target(fp_dump *dump, fp_target *target, PyObject *place)
{
    int status =
        PyUnicode_Check(place) || PyBytes_Check(place)
            ? fp_target_open_path(target, place, dump->options->durable)
            : fp_target_open_object(target, dump->state, place);

    if (status == 0) {
        fp_target_tell(target, &dump->progress,
                       target == &dump->main ? FP_PROGRESS_MAIN
                                             : FP_PROGRESS_SECOND);
    }
    return status;
}

int
fp_dump_value(fp_state *state, PyObject *value, PyObject *place,
              PyObject *sidecar, const fp_dump_options *options)
{
    fp_dump dump = {
        .state = state,
        .options = options,
        .has_sidecar_file = sidecar != NULL,
        .owner = getpid(),
    };
    int result = -1;

    fp_progress_init(&dump.progress,
                     options->report == NULL ? Py_None : options->report);
    if (open_target(&dump, &dump.main, place) == 0
        && (sidecar == NULL || open_target(&dump, &dump.second, sidecar) == 0)
        && dump_to_sinks(&dump, value) == 0
        && fp_progress_end(&dump.progress) == 0)
    {
        result = commit(&dump);
    }
    fp_target_release(&dump.second);
    fp_target_release(&dump.main);
    return result;
}

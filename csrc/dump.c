#include "dump.h"

#include "core/atomic_file.h"
#include "core/graph.h"
#include "core/layout.h"
#include "core/ring.h"
#include "environment.h"
#include "errors.h"
#include "sidecar.h"
#include "walk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One dump under way. */
typedef struct {
    fp_state *state; /* borrowed */
    fp_sink *sink;   /* borrowed */
    PyObject *path;  /* borrowed; NULL for a file object */
    fp_ring *ring;
    fp_sidecar sidecar;
    fp_walk walk;
    fp_buffer environment;
    fp_buffer footer;
    pid_t owner; /* the process that may touch the ring */
} fp_dump;

static int
is_forked_child(const fp_dump *dump)
{
    return getpid() != dump->owner;
}

static int
refuse_child(void)
{
    PyErr_SetString(PyExc_RuntimeError,
                    "the process was forked during a dump; only the parent "
                    "can go on with it");
    return -1;
}

static int
sink_result(const fp_dump *dump, fp_status status)
{
    return status == FP_OK ? 0
                           : fp_raise_status(status, dump->sink->saved_errno,
                                             dump->path, NULL);
}

/* Graph and footer, behind what the walk has staged. No GIL. */
static fp_status
finish_file(fp_dump *dump)
{
    fp_ring *ring = dump->ring;
    fp_footer footer = {0};
    fp_status status;

    footer.sidecar_offset = FP_HEADER_BYTES;
    footer.sidecar_length = fp_ring_position(ring) - FP_HEADER_BYTES;
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
    footer.n_blobs = dump->sidecar.n_blobs;
    footer.blobs = dump->sidecar.blobs;
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

static int
dump_file_layout(fp_dump *dump, PyObject *value, int n_threads)
{
    fp_walk *walk = &dump->walk;
    fp_status status = fp_ring_new(dump->sink, n_threads, &dump->ring);

    if (status != FP_OK) {
        return fp_raise_status(status, 0, dump->path, NULL);
    }
    dump->sidecar.ring = dump->ring;
    dump->sidecar.sink = dump->sink;
    dump->sidecar.path = dump->path;
    fp_walk_init(walk, dump->state, 5, 0);
    walk->late_puts = 1;
    walk->silent = 1;
    dump->sidecar.is_silent = 1;
    walk->graph.no_cuts = 0;
    walk->sidecar = &dump->sidecar;
    walk->modules = PySet_New(NULL);
    if (walk->modules == NULL || fp_sidecar_start(&dump->sidecar) < 0
        || fp_walk_run(walk, value) < 0)
    {
        return -1;
    }
    if (is_forked_child(dump)) {
        return refuse_child();
    }
    if (fp_sidecar_close_shared(&dump->sidecar) < 0
        || fp_environment_write(walk->modules, &dump->environment) < 0)
    {
        return -1;
    }
    /* STOP of the pickle is the footer's last byte; the memo is not needed
     * any more, its references end under the GIL. */
    fp_memo_clear(&walk->own_memo);
    Py_BEGIN_ALLOW_THREADS
    status = finish_file(dump);
    Py_END_ALLOW_THREADS
    return sink_result(dump, status);
}

/* Protocols that cannot carry a sidecar: a pickle and nothing else. */
static int
dump_plain_pickle(fp_dump *dump, PyObject *value, int protocol)
{
    fp_walk *walk = &dump->walk;
    fp_status status;

    fp_walk_init(walk, dump->state, protocol, 1);
    walk->silent = 1;
    if (fp_walk_run(walk, value) < 0) {
        return -1;
    }
    if (is_forked_child(dump)) {
        return refuse_child();
    }
    Py_BEGIN_ALLOW_THREADS
    status = dump->sink->write(dump->sink, walk->graph.base,
                               fp_graph_length(&walk->graph));
    Py_END_ALLOW_THREADS
    return sink_result(dump, status);
}

static int
dump_to_sink(fp_dump *dump, PyObject *value, int protocol, int n_threads)
{
    int status;

    status = protocol >= 5 ? dump_file_layout(dump, value, n_threads)
                           : dump_plain_pickle(dump, value, protocol);
    fp_walk_free(&dump->walk);
    if (dump->ring != NULL && !is_forked_child(dump)) {
        Py_BEGIN_ALLOW_THREADS
        fp_ring_free(dump->ring);
        Py_END_ALLOW_THREADS
    }
    fp_sidecar_free(&dump->sidecar);
    fp_buffer_free(&dump->environment);
    fp_buffer_free(&dump->footer);
    return status;
}

/* --- to a path ---------------------------------------------------------- */

static int
raise_file_error(const fp_atomic_file *file, fp_status status, PyObject *path)
{
    const char *step = file->failed_step;
    /* That opening failed is plain from an exception with a path. */
    if (step != NULL && strcmp(step, "open") == 0) {
        step = NULL;
    }
    return fp_raise_status(status, file->saved_errno, path, step);
}

static int
commit(fp_atomic_file *file, PyObject *path)
{
    fp_status status;

    Py_BEGIN_ALLOW_THREADS
    status = fp_atomic_file_commit(file);
    Py_END_ALLOW_THREADS
    return status == FP_OK ? 0 : raise_file_error(file, status, path);
}

/* The path from the root: user code may change the directory meanwhile. Owned
 * by the caller (free); NULL where there is no memory. */
static char *
absolute_path(const char *path)
{
    char *directory, *joined;
    size_t n_bytes;

    if (path[0] == '/' || path[0] == '\0'
        || (directory = getcwd(NULL, 0)) == NULL)
    {
        return strdup(path);
    }
    n_bytes = strlen(directory) + strlen(path) + 2;
    joined = malloc(n_bytes);
    if (joined != NULL) {
        snprintf(joined, n_bytes, "%s/%s", directory, path);
    }
    free(directory);
    return joined;
}

int
fp_dump_to_path(fp_state *state, PyObject *value, PyObject *path, int protocol,
                int durable, int n_threads)
{
    fp_dump dump = {.state = state, .path = path, .owner = getpid()};
    fp_atomic_file file = {0};
    fp_sink sink;
    fp_status status;
    PyObject *encoded = NULL;
    char *absolute = NULL;
    int result = -1;

    if (!PyUnicode_FSConverter(path, &encoded)) {
        return -1;
    }
    absolute = absolute_path(PyBytes_AS_STRING(encoded));
    if (absolute == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    do {
        Py_BEGIN_ALLOW_THREADS
        status = fp_atomic_file_open(&file, absolute, durable);
        Py_END_ALLOW_THREADS
        /* A signal ends the wait for a FIFO's reader. */
        if (status == FP_IO && file.saved_errno == EINTR
            && PyErr_CheckSignals() < 0)
        {
            goto done;
        }
    } while (status == FP_IO && file.saved_errno == EINTR);
    if (status != FP_OK) {
        raise_file_error(&file, status, path);
        goto done;
    }
    if (file.in_place == 2
        && PyErr_WarnFormat(
               PyExc_RuntimeWarning, 2,
               "%R cannot be replaced in its directory and is "
               "written in place: an interrupted dump would leave "
               "it damaged",
               path)
               < 0)
    {
        goto done;
    }
    sink = fp_fd_sink(file.fd);
    dump.sink = &sink;
    if (dump_to_sink(&dump, value, protocol, n_threads) < 0) {
        goto done;
    }
    result = commit(&file, path);
done:
    if (result < 0 && !is_forked_child(&dump)) {
        PyObject *type, *error, *traceback;
        PyErr_Fetch(&type, &error, &traceback);
        Py_BEGIN_ALLOW_THREADS
        fp_atomic_file_abort(&file);
        Py_END_ALLOW_THREADS
        PyErr_Restore(type, error, traceback);
    }
    free(absolute);
    Py_XDECREF(encoded);
    return result;
}

/* --- to a file object --------------------------------------------------- */

/* write() may take less than it is given (raw files do): the rest is offered
 * again. 0 or -1; GIL held. */
static int
write_all(PyObject *write, const unsigned char *data, size_t n_bytes)
{
    while (n_bytes > 0) {
        PyObject *chunk, *answer;
        Py_ssize_t n_taken = (Py_ssize_t)n_bytes;

        /* A bytes object, which the file may keep; the ring's block goes on
         * to be used. */
        chunk =
            PyBytes_FromStringAndSize((const char *)data, (Py_ssize_t)n_bytes);
        if (chunk == NULL) {
            return -1;
        }
        answer = PyObject_CallOneArg(write, chunk);
        Py_DECREF(chunk);
        if (answer == NULL) {
            return -1;
        }
        if (PyLong_CheckExact(answer)) {
            n_taken = PyLong_AsSsize_t(answer);
        }
        Py_DECREF(answer);
        if (n_taken == -1 && PyErr_Occurred()) {
            return -1;
        }
        if (n_taken <= 0 || (size_t)n_taken > n_bytes) {
            PyErr_Format(PyExc_OSError, "write() of %zu bytes returned %zd",
                         n_bytes, n_taken);
            return -1;
        }
        data += n_taken;
        n_bytes -= (size_t)n_taken;
    }
    return 0;
}

typedef struct {
    PyObject *write; /* owned */
    pid_t owner;     /* write() may fork: the child must not go on */
} file_object;

static fp_status
write_to_object(fp_sink *sink, const void *data, size_t n_bytes)
{
    const file_object *file = sink->context;
    PyGILState_STATE gil = PyGILState_Ensure();
    int status = write_all(file->write, data, n_bytes);

    if (status == 0 && getpid() != file->owner) {
        status = refuse_child();
    }
    PyGILState_Release(gil);
    return status < 0 ? FP_SINK_FAILED : FP_OK;
}

int
fp_dump_to_file(fp_state *state, PyObject *value, PyObject *file, int protocol)
{
    fp_dump dump = {.state = state, .owner = getpid()};
    fp_sink sink = {.write = write_to_object, .fd = -1};
    file_object target = {.owner = dump.owner};
    int status;

    target.write = PyObject_GetAttr(file, state->str_write);
    if (target.write == NULL) {
        return -1;
    }
    sink.context = &target;
    dump.sink = &sink;
    status = dump_to_sink(&dump, value, protocol, 1);
    Py_DECREF(target.write);
    return status;
}

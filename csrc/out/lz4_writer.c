#include "lz4_writer.h"

#include "base/errors.h"
#include "base/signals.h"
#include "base/small_type.h"
#include "core/lz4_frame.h"
#include "object_sink.h"

#include <limits.h>
#include <unistd.h>

typedef struct {
    fp_small_head head;
    fp_state *state; /* borrowed: the type's module lives as long */
    fp_lz4_writer *writer;
    fp_sink *output;       /* one of the two below */
    fp_sink fd_sink;       /* a descriptor's */
    fp_object_sink object; /* a file object's */
    fp_sink sink;          /* of the frame, for a dump */
    fp_signals signals;    /* of the call that is under way */
    PyObject *path;        /* owned; NULL */
    pid_t owner;
    int is_busy;
    int is_closed;
} writer;

/* Takes the writer for one call: 0, or -1 with an exception. */
static int
enter(writer *self)
{
    if (self->is_busy) {
        PyErr_SetString(PyExc_RuntimeError, "Lz4Writer is in use");
        return -1;
    }
    if (self->is_closed) {
        PyErr_SetString(PyExc_ValueError, "the LZ4 frame was closed");
        return -1;
    }
    if (getpid() != self->owner) {
        return fp_refuse_child();
    }
    self->is_busy = 1;
    fp_signals_init(&self->signals);
    return 0;
}

static int
leave(writer *self, fp_status status)
{
    self->is_busy = 0;
    return status == FP_OK ? 0
                           : fp_raise_status(status, self->output->saved_errno,
                                             self->path, NULL);
}

static fp_status
write_to_frame(fp_sink *sink, const void *data, size_t n_bytes)
{
    writer *self = sink->context;
    fp_status status = fp_lz4_writer_write(self->writer, data, n_bytes);

    sink->saved_errno = self->output->saved_errno;
    return status;
}

static int
open_output(writer *self, PyObject *file)
{
    if (!PyLong_Check(file)) {
        if (fp_object_sink_init(&self->object, self->state, file) < 0) {
            return -1;
        }
        self->output = &self->object.sink;
        return 0;
    }
    long fd = PyLong_AsLong(file);
    if (fd < 0 || fd > INT_MAX) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ValueError, "not a descriptor");
        }
        return -1;
    }
    self->fd_sink = fp_fd_sink((int)fd);
    self->output = &self->fd_sink;
    return 0;
}

static const fp_small_type writer_type;

static PyObject *
writer_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"file", "level", "n_threads", "path", NULL};
    PyObject *file, *path = Py_None;
    int level, n_threads;
    writer *self;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "Oii|O:Lz4Writer", names,
                                     &file, &level, &n_threads, &path))
    {
        return NULL;
    }
    self = fp_small_new(type, &writer_type);
    if (self == NULL) {
        return NULL;
    }
    self->state = fp_state_of_type(type);
    self->owner = getpid();
    self->path = path == Py_None ? NULL : Py_NewRef(path);
    self->sink = (fp_sink){
        .write = write_to_frame,
        .fd = -1,
        .context = self,
        .interrupt = &self->signals.interrupt,
    };
    if (self->state == NULL || open_output(self, file) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->output->interrupt = &self->signals.interrupt;
    if (fp_lz4_writer_new(self->output, level, n_threads, &self->writer)
        != FP_OK)
    {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static int
writer_visit(PyObject *object, visitproc visit, void *arg)
{
    writer *self = (writer *)object;

    Py_VISIT(self->object.write);
    Py_VISIT(self->path);
    return 0;
}

static int
writer_clear(PyObject *object)
{
    writer *self = (writer *)object;

    /* Without its output the frame can only be dropped. */
    self->is_closed = 1;
    fp_object_sink_free(&self->object);
    Py_CLEAR(self->path);
    return 0;
}

/* Joins the threads. What belongs to a parent process is left alone. */
static void
drop_frame(writer *self)
{
    fp_lz4_writer *frame = self->writer;

    self->writer = NULL;
    if (getpid() == self->owner) {
        Py_BEGIN_ALLOW_THREADS
        fp_lz4_writer_free(frame);
        Py_END_ALLOW_THREADS
    }
}

static void
writer_end(PyObject *object)
{
    drop_frame((writer *)object);
}

PyDoc_STRVAR(write_doc, "write($self, data, /)\n"
                        "--\n"
                        "\n"
                        "Compress a bytes-like object; return its length.");

static PyObject *
writer_write(PyObject *object, PyObject *data)
{
    writer *self = (writer *)object;
    Py_buffer view;
    fp_status status;
    Py_ssize_t n_bytes;

    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    if (enter(self) < 0) {
        PyBuffer_Release(&view);
        return NULL;
    }
    n_bytes = view.len;
    Py_BEGIN_ALLOW_THREADS
    status = fp_lz4_writer_write(self->writer, view.buf, (size_t)n_bytes);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&view);
    return leave(self, status) < 0 ? NULL : PyLong_FromSsize_t(n_bytes);
}

PyDoc_STRVAR(close_doc, "close($self, /)\n"
                        "--\n"
                        "\n"
                        "Write what is left and the end of the frame.");

static PyObject *
writer_close(PyObject *object, PyObject *unused)
{
    writer *self = (writer *)object;
    fp_status status;

    (void)unused;
    if (self->is_closed) {
        Py_RETURN_NONE;
    }
    if (enter(self) < 0) {
        return NULL;
    }
    self->is_closed = 1;
    Py_BEGIN_ALLOW_THREADS
    status = fp_lz4_writer_finish(self->writer);
    Py_END_ALLOW_THREADS
    if (leave(self, status) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(abandon_doc, "abandon($self, /)\n"
                          "--\n"
                          "\n"
                          "Drop what is left and end the threads.");

static PyObject *
writer_abandon(PyObject *object, PyObject *unused)
{
    writer *self = (writer *)object;

    (void)unused;
    if (!self->is_busy) {
        self->is_closed = 1;
        drop_frame(self);
    }
    Py_RETURN_NONE;
}

int
fp_lz4_writer_type_acquire(fp_state *state, PyObject *file, fp_sink **sink,
                           PyObject **path)
{
    writer *self = (writer *)file;

    *sink = NULL;
    if (!Py_IS_TYPE(file, state->lz4_writer_type)) {
        return 0;
    }
    if (enter(self) < 0) {
        return -1;
    }
    *sink = &self->sink;
    *path = self->path;
    return 0;
}

void
fp_lz4_writer_type_release(PyObject *file)
{
    ((writer *)file)->is_busy = 0;
}

static PyMethodDef writer_methods[] = {
    {"write", writer_write, METH_O, write_doc},
    {"close", writer_close, METH_NOARGS, close_doc},
    {"abandon", writer_abandon, METH_NOARGS, abandon_doc},
    {NULL, NULL, 0, NULL},
};

PyDoc_STRVAR(writer_doc,
             "Lz4Writer(file, level, n_threads, path=None)\n"
             "--\n"
             "\n"
             "Writes one LZ4 frame to a file object or a descriptor.");

static const fp_small_type writer_type = {
    .name = "fastpersist._core.Lz4Writer",
    .doc = writer_doc,
    .n_bytes = sizeof(writer),
    .make = writer_new,
    .methods = writer_methods,
    .visit = writer_visit,
    .clear = writer_clear,
    .end = writer_end,
};

int
fp_lz4_writer_type_init(PyObject *module, fp_state *state)
{
    state->lz4_writer_type = fp_small_type_add(module, &writer_type);
    return state->lz4_writer_type == NULL ? -1 : 0;
}

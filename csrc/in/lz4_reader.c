#include "lz4_reader.h"

#include "base/errors.h"
#include "base/small_type.h"
#include "core/lz4_frame.h"

#include <string.h>
#include <unistd.h>

/* A file with read() alone is asked for so much at once. */
#define READ_BYTES ((size_t)4 << 20)

typedef struct {
    fp_small_head head;
    fp_state *state; /* borrowed: the type's module lives as long */
    fp_lz4_reader *reader;
    fp_source source;
    PyObject *read, *readinto; /* owned; one of them may be NULL */
    pid_t owner;
    int is_busy;
} reader;

/* --- the source ---------------------------------------------------------- */

/* How many bytes, or -1. GIL held. */
static Py_ssize_t
call_readinto(const reader *self, void *target, size_t n_bytes)
{
    PyObject *view =
        PyMemoryView_FromMemory(target, (Py_ssize_t)n_bytes, PyBUF_WRITE);
    PyObject *answer = NULL, *released;
    Py_ssize_t n_read = -1;

    if (view == NULL) {
        return -1;
    }
    answer = PyObject_CallOneArg(self->readinto, view);
    if (answer != NULL) {
        /* A file that kept it must not write to this memory later. */
        released = PyObject_CallMethodNoArgs(view, self->state->str_release);
        if (released == NULL) {
            Py_CLEAR(answer);
        }
        Py_XDECREF(released);
    }
    Py_DECREF(view);
    if (answer == Py_None) {
        PyErr_SetString(PyExc_BlockingIOError, "the file has no data yet");
    }
    else if (answer != NULL) {
        n_read = PyLong_AsSsize_t(answer);
    }
    Py_XDECREF(answer);
    if (n_read > (Py_ssize_t)n_bytes || (n_read < 0 && !PyErr_Occurred())) {
        PyErr_Format(PyExc_ValueError, "readinto() of %zu bytes returned %zd",
                     n_bytes, n_read);
        return -1;
    }
    return n_read;
}

static Py_ssize_t
call_read(const reader *self, void *target, size_t n_bytes)
{
    size_t n_asked = n_bytes < READ_BYTES ? n_bytes : READ_BYTES;
    PyObject *size = PyLong_FromSize_t(n_asked);
    PyObject *data = NULL;
    Py_ssize_t n_read = -1;
    Py_buffer view;

    if (size != NULL) {
        data = PyObject_CallOneArg(self->read, size);
        Py_DECREF(size);
    }
    if (data == NULL || PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        Py_XDECREF(data);
        return -1;
    }
    if ((size_t)view.len > n_asked) {
        PyErr_Format(PyExc_ValueError, "read(%zu) returned %zd bytes", n_asked,
                     view.len);
    }
    else {
        n_read = view.len;
        if (n_read > 0) {
            memcpy(target, view.buf, (size_t)n_read);
        }
    }
    PyBuffer_Release(&view);
    Py_DECREF(data);
    return n_read;
}

static fp_status
read_from_file(fp_source *source, void *target, size_t n_bytes, size_t *n_read)
{
    const reader *self = source->context;
    PyGILState_STATE gil = PyGILState_Ensure();
    Py_ssize_t n_got = self->readinto != NULL
                           ? call_readinto(self, target, n_bytes)
                           : call_read(self, target, n_bytes);

    PyGILState_Release(gil);
    *n_read = n_got < 0 ? 0 : (size_t)n_got;
    return n_got < 0 ? FP_SINK_FAILED : FP_OK;
}

/* --- the type ------------------------------------------------------------ */

static const fp_small_type reader_type;

static PyObject *
reader_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"file", "n_threads", NULL};
    PyObject *file;
    int n_threads;
    reader *self;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "Oi:Lz4Reader", names,
                                     &file, &n_threads))
    {
        return NULL;
    }
    self = fp_small_new(type, &reader_type);
    if (self == NULL) {
        return NULL;
    }
    self->owner = getpid();
    self->source = (fp_source){.read = read_from_file, .context = self};
    self->state = fp_state_of_type(type);
    if (self->state == NULL) {
        goto failed;
    }
    self->readinto = fp_optional_attribute(file, self->state->str_readinto);
    if (self->readinto == NULL) {
        if (PyErr_Occurred()) {
            goto failed;
        }
        self->read = PyObject_GetAttr(file, self->state->str_read);
        if (self->read == NULL) {
            goto failed;
        }
    }
    if (fp_lz4_reader_new(&self->source, n_threads, &self->reader) != FP_OK) {
        PyErr_NoMemory();
        goto failed;
    }
    return (PyObject *)self;
failed:
    Py_DECREF(self);
    return NULL;
}

static int
reader_visit(PyObject *object, visitproc visit, void *arg)
{
    reader *self = (reader *)object;

    Py_VISIT(self->read);
    Py_VISIT(self->readinto);
    return 0;
}

/* Joins the threads. What belongs to a parent process is left alone. */
static void
drop_frames(reader *self)
{
    fp_lz4_reader *frames = self->reader;

    self->reader = NULL;
    if (getpid() == self->owner) {
        Py_BEGIN_ALLOW_THREADS
        fp_lz4_reader_free(frames);
        Py_END_ALLOW_THREADS
    }
}

static int
reader_clear(PyObject *object)
{
    reader *self = (reader *)object;

    if (self->is_busy) {
        return 0; /* on some thread's stack: not garbage */
    }
    drop_frames(self);
    Py_CLEAR(self->read);
    Py_CLEAR(self->readinto);
    return 0;
}

static int
enter(reader *self)
{
    if (self->is_busy) {
        PyErr_SetString(PyExc_RuntimeError, "Lz4Reader is in use");
        return -1;
    }
    if (self->reader == NULL) {
        PyErr_SetString(PyExc_ValueError, "Lz4Reader is closed");
        return -1;
    }
    if (getpid() != self->owner) {
        PyErr_SetString(PyExc_RuntimeError,
                        "the process was forked during a load; only the "
                        "parent can go on with it");
        return -1;
    }
    self->is_busy = 1;
    return 0;
}

static int
leave(reader *self, fp_status status)
{
    self->is_busy = 0;
    if (status == FP_CORRUPT || status == FP_TRUNCATED) {
        PyErr_SetString(status == FP_CORRUPT ? self->state->corrupt_error
                                             : self->state->truncated_error,
                        fp_lz4_reader_error(self->reader));
        return -1;
    }
    if (status == FP_UNSUPPORTED) {
        PyErr_SetString(PyExc_ValueError, fp_lz4_reader_error(self->reader));
        return -1;
    }
    if (status == FP_SINK_FAILED && !PyErr_Occurred()) {
        PyErr_SetString(PyExc_ValueError,
                        "reading the LZ4 stream has failed before");
    }
    return status == FP_OK ? 0 : fp_raise_status(status, 0, NULL, NULL);
}

PyDoc_STRVAR(readinto_doc, "readinto($self, target, /)\n"
                           "--\n"
                           "\n"
                           "Decode into target; return how many bytes.");

static PyObject *
reader_readinto(PyObject *object, PyObject *target)
{
    reader *self = (reader *)object;
    Py_buffer view;
    fp_status status = FP_OK;
    size_t n_made = 0;

    if (PyObject_GetBuffer(target, &view, PyBUF_WRITABLE) < 0) {
        return NULL;
    }
    if (enter(self) < 0) {
        PyBuffer_Release(&view);
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    if (view.len > 0) {
        status = fp_lz4_reader_read(self->reader, view.buf, (size_t)view.len,
                                    &n_made);
    }
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&view);
    return leave(self, status) < 0 ? NULL : PyLong_FromSize_t(n_made);
}

PyDoc_STRVAR(finish_doc, "finish($self, /)\n"
                         "--\n"
                         "\n"
                         "Decode and drop what is left of the frame.");

static PyObject *
reader_finish(PyObject *object, PyObject *unused)
{
    reader *self = (reader *)object;
    fp_status status;

    (void)unused;
    if (enter(self) < 0) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status = fp_lz4_reader_finish(self->reader);
    Py_END_ALLOW_THREADS
    if (leave(self, status) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(close_doc, "close($self, /)\n"
                        "--\n"
                        "\n"
                        "End the threads; the file stays open.");

static PyObject *
reader_close(PyObject *object, PyObject *unused)
{
    reader *self = (reader *)object;

    (void)unused;
    if (!self->is_busy) {
        drop_frames(self);
    }
    Py_RETURN_NONE;
}

static PyObject *
get_behind(PyObject *object, void *closure)
{
    reader *self = (reader *)object;
    const unsigned char *bytes = NULL;
    size_t n_bytes =
        self->reader == NULL ? 0 : fp_lz4_reader_behind(self->reader, &bytes);

    (void)closure;
    return PyBytes_FromStringAndSize((const char *)bytes, (Py_ssize_t)n_bytes);
}

static PyObject *
get_offset(PyObject *object, void *closure)
{
    reader *self = (reader *)object;

    (void)closure;
    return PyLong_FromUnsignedLongLong(
        self->reader == NULL ? 0 : fp_lz4_reader_offset(self->reader));
}

static PyObject *
get_damage(PyObject *object, void *closure)
{
    reader *self = (reader *)object;
    const char *error =
        self->reader == NULL ? NULL : fp_lz4_reader_error(self->reader);

    (void)closure;
    if (error == NULL) {
        Py_RETURN_NONE;
    }
    return PyUnicode_FromString(error);
}

static PyMethodDef reader_methods[] = {
    {"readinto", reader_readinto, METH_O, readinto_doc},
    {"finish", reader_finish, METH_NOARGS, finish_doc},
    {"close", reader_close, METH_NOARGS, close_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef reader_getset[] = {
    {"behind", get_behind, NULL,
     PyDoc_STR("Bytes taken from the file that begin no frame."), NULL},
    {"offset", get_offset, NULL,
     PyDoc_STR("How many bytes were taken, or where the damage is."), NULL},
    {"damage", get_damage, NULL,
     PyDoc_STR("What is wrong with the data, or None."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(reader_doc, "Lz4Reader(file, n_threads)\n"
                         "--\n"
                         "\n"
                         "Reads LZ4 frames from a file object.");

static const fp_small_type reader_type = {
    .name = "fastpersist._core.Lz4Reader",
    .doc = reader_doc,
    .n_bytes = sizeof(reader),
    .make = reader_new,
    .methods = reader_methods,
    .getset = reader_getset,
    .visit = reader_visit,
    .clear = reader_clear,
};

int
fp_lz4_reader_type_init(PyObject *module)
{
    PyTypeObject *type = fp_small_type_add(module, &reader_type);

    Py_XDECREF(type);
    return type == NULL ? -1 : 0;
}

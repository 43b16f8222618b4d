#include "atomic_file_type.h"

#include "base/compat.h"
#include "base/errors.h"
#include "base/signals.h"
#include "base/small_type.h"
#include "object_sink.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- shared with dump.c -------------------------------------------------- */

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

/* In place: what is there is lost from here on. */
static int
begin(fp_atomic_file *file, PyObject *path)
{
    fp_status status;

    if (file->in_place == 2
        && fp_warn(PyExc_RuntimeWarning,
                   "%R cannot be replaced in its directory and is "
                   "written in place: an interrupted dump would leave "
                   "it damaged",
                   path)
               < 0)
    {
        return -1;
    }
    Py_BEGIN_ALLOW_THREADS
    status = fp_atomic_file_begin(file);
    Py_END_ALLOW_THREADS
    return status == FP_OK ? 0 : raise_file_error(file, status, path);
}

int
fp_atomic_file_open_path(fp_atomic_file *file, PyObject *path, int durable)
{
    PyObject *encoded = NULL;
    fp_status status;
    int result = -1;

    if (!PyUnicode_FSConverter(path, &encoded)) {
        return -1;
    }
    do {
        Py_BEGIN_ALLOW_THREADS
        status =
            fp_atomic_file_open(file, PyBytes_AS_STRING(encoded), durable);
        Py_END_ALLOW_THREADS
        /* A signal ends the wait for a FIFO's reader. */
        if (status == FP_IO && file->saved_errno == EINTR
            && PyErr_CheckSignals() < 0)
        {
            goto done;
        }
    } while (status == FP_IO && file->saved_errno == EINTR);
    if (status != FP_OK) {
        raise_file_error(file, status, path);
        goto done;
    }
    if (begin(file, path) < 0) {
        fp_atomic_file_abort_path(file);
        goto done;
    }
    result = 0;
done:
    Py_DECREF(encoded);
    return result;
}

int
fp_atomic_file_prepare_path(fp_atomic_file *file, PyObject *path)
{
    fp_status status;

    Py_BEGIN_ALLOW_THREADS
    status = fp_atomic_file_prepare(file);
    Py_END_ALLOW_THREADS
    return status == FP_OK ? 0 : raise_file_error(file, status, path);
}

int
fp_atomic_file_commit_path(fp_atomic_file *file, PyObject *path)
{
    fp_signals signals;
    fp_status status;

    /* An empty target is filled by a copy, which may take long. */
    fp_signals_init(&signals);
    file->interrupt = &signals.interrupt;
    Py_BEGIN_ALLOW_THREADS
    status = fp_atomic_file_commit(file);
    Py_END_ALLOW_THREADS
    file->interrupt = NULL;
    return status == FP_OK ? 0 : raise_file_error(file, status, path);
}

void
fp_atomic_file_abort_path(fp_atomic_file *file)
{
    PyObject *error = fp_take_exception();

    Py_BEGIN_ALLOW_THREADS
    fp_atomic_file_abort(file);
    Py_END_ALLOW_THREADS
    fp_put_exception(error);
}

/* --- the type ------------------------------------------------------------ */

typedef struct {
    fp_small_head head;
    fp_atomic_file file;
    PyObject *path; /* owned */
    pid_t owner;
    int is_open; /* neither committed nor aborted */
} atomic;

static const fp_small_type atomic_type;

static PyObject *
atomic_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {"path", "durable", NULL};
    PyObject *path;
    int durable;
    atomic *self;

    if (!PyArg_ParseTupleAndKeywords(args, keywords, "Op:AtomicFile", names,
                                     &path, &durable))
    {
        return NULL;
    }
    self = fp_small_new(type, &atomic_type);
    if (self == NULL) {
        return NULL;
    }
    self->owner = getpid();
    self->path = Py_NewRef(path);
    if (fp_atomic_file_open_path(&self->file, path, durable) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    self->is_open = 1;
    return (PyObject *)self;
}

static void
abort_file(atomic *self)
{
    int was_open = self->is_open;

    self->is_open = 0;
    if (was_open && getpid() == self->owner) {
        fp_atomic_file_abort_path(&self->file);
    }
}

static int
atomic_visit(PyObject *object, visitproc visit, void *arg)
{
    Py_VISIT(((atomic *)object)->path);
    return 0;
}

static int
atomic_clear(PyObject *object)
{
    Py_CLEAR(((atomic *)object)->path);
    return 0;
}

static void
atomic_end(PyObject *object)
{
    abort_file((atomic *)object);
}

static int
must_be_open(const atomic *self)
{
    if (!self->is_open) {
        PyErr_SetString(PyExc_ValueError, "the file is closed");
        return -1;
    }
    return getpid() == self->owner ? 0 : fp_refuse_child();
}

PyDoc_STRVAR(fileno_doc, "fileno($self, /)\n"
                         "--\n"
                         "\n"
                         "Return the descriptor of what is written.");

static PyObject *
atomic_fileno(PyObject *object, PyObject *unused)
{
    atomic *self = (atomic *)object;

    (void)unused;
    return must_be_open(self) < 0 ? NULL : PyLong_FromLong(self->file.fd);
}

PyDoc_STRVAR(commit_doc, "commit($self, /)\n"
                         "--\n"
                         "\n"
                         "Close it and let it replace its target.");

static PyObject *
atomic_commit(PyObject *object, PyObject *unused)
{
    atomic *self = (atomic *)object;

    (void)unused;
    if (must_be_open(self) < 0) {
        return NULL;
    }
    if (fp_atomic_file_commit_path(&self->file, self->path) < 0) {
        abort_file(self);
        return NULL;
    }
    self->is_open = 0;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(abort_doc, "abort($self, /)\n"
                        "--\n"
                        "\n"
                        "Drop what was written; the target is as it was.");

static PyObject *
atomic_abort(PyObject *object, PyObject *unused)
{
    (void)unused;
    abort_file((atomic *)object);
    Py_RETURN_NONE;
}

/* Where the path is a relative one, the same from the root, if it leads to the
 * same directory; else the path itself. What opens it by this name may do so
 * when the current directory is another. To be freed; steals `path`. */
static char *
from_the_root(const fp_atomic_file *file, char *path)
{
    char *directory = NULL, *joined = NULL;
    size_t n_directory, n_bytes;
    struct stat named, opened;

    if (path == NULL || path[0] == '/'
        || (directory = getcwd(NULL, 0)) == NULL)
    {
        goto done;
    }
    n_directory = strlen(directory);
    n_bytes = n_directory + strlen(path) + 2;
    joined = malloc(n_bytes);
    if (joined == NULL) {
        goto done;
    }
    snprintf(joined, n_bytes, "%s/%s", directory, path);
    /* Its directory, for a moment. */
    char *slash = strrchr(joined, '/');
    slash[0] = '\0';
    int is_there = stat(slash == joined ? "/" : joined, &named) == 0;
    slash[0] = '/';
    if (is_there && fstat(file->place.directory, &opened) == 0
        && named.st_dev == opened.st_dev && named.st_ino == opened.st_ino)
    {
        free(path);
        path = joined;
        joined = NULL;
    }
done:
    free(directory);
    free(joined);
    return path;
}

static PyObject *
get_name(PyObject *object, void *closure)
{
    atomic *self = (atomic *)object;
    PyObject *name;
    char *path;

    (void)closure;
    if (must_be_open(self) < 0) {
        return NULL;
    }
    path = from_the_root(&self->file, fp_atomic_file_path(&self->file));
    if (path == NULL) {
        return PyErr_NoMemory();
    }
    name = PyUnicode_DecodeFSDefault(path);
    free(path);
    return name;
}

static PyMethodDef atomic_methods[] = {
    {"fileno", atomic_fileno, METH_NOARGS, fileno_doc},
    {"commit", atomic_commit, METH_NOARGS, commit_doc},
    {"abort", atomic_abort, METH_NOARGS, abort_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef atomic_getset[] = {
    {"name", get_name, NULL, PyDoc_STR("The path of what is written."), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(atomic_doc, "AtomicFile(path, durable)\n"
                         "--\n"
                         "\n"
                         "A file that replaces path whole, or not at all.");

static const fp_small_type atomic_type = {
    .name = "fastpersist._core.AtomicFile",
    .doc = atomic_doc,
    .n_bytes = sizeof(atomic),
    .make = atomic_new,
    .methods = atomic_methods,
    .getset = atomic_getset,
    .visit = atomic_visit,
    .clear = atomic_clear,
    .end = atomic_end,
};

int
fp_atomic_file_type_init(PyObject *module)
{
    PyTypeObject *type = fp_small_type_add(module, &atomic_type);

    Py_XDECREF(type);
    return type == NULL ? -1 : 0;
}

#include "write_answer.h"

#include <errno.h>

/* So many wrappers around a function are looked through. */
#define DEEPEST_WRAPPER 16

static int
is_raw(const fp_state *state, PyObject *object)
{
    /* By its type: a mock says that it is an instance of anything. */
    return PyObject_IsSubclass((PyObject *)Py_TYPE(object),
                               state->raw_file_type);
}

/* What functools.wraps() was given, as often as it was. New reference. */
static PyObject *
unwrapped(const fp_state *state, PyObject *function)
{
    PyObject *inner;

    Py_INCREF(function);
    for (int i = 0; i < DEEPEST_WRAPPER && PyFunction_Check(function); i++) {
        inner = fp_optional_attribute(function, state->str_wrapped);
        if (inner == NULL) {
            if (PyErr_Occurred()) {
                Py_CLEAR(function);
            }
            break;
        }
        Py_SETREF(function, inner);
    }
    return function;
}

/* The object a method is bound to; borrowed, NULL for other callables. */
static PyObject *
holder_of(PyObject *method)
{
    return PyMethod_Check(method)      ? PyMethod_GET_SELF(method)
           : PyCFunction_Check(method) ? PyCFunction_GET_SELF(method)
                                       : NULL;
}

/* Whether it is the write() of that raw file, and no other of its methods. */
static int
is_its_write(const fp_state *state, PyObject *holder, PyObject *method)
{
    PyObject *write = fp_optional_attribute(holder, state->str_write);
    int answer;

    if (write == NULL) {
        return PyErr_Occurred() ? -1 : 0;
    }
    answer = PyObject_RichCompareBool(write, method, Py_EQ);
    Py_DECREF(write);
    return answer;
}

static int
is_spooled_write(const fp_state *state, PyObject *method)
{
    PyObject *module, *type = NULL, *write = NULL;
    int answer = 0;

    if (!PyMethod_Check(method)) {
        return 0;
    }
    module = PyImport_GetModule(state->str_tempfile);
    if (module != NULL) {
        type = fp_optional_attribute(module, state->str_spooled);
        Py_DECREF(module);
    }
    if (type != NULL) {
        write = fp_optional_attribute(type, state->str_write);
        Py_DECREF(type);
    }
    if (write != NULL) {
        answer = write == PyMethod_GET_FUNCTION(method);
        Py_DECREF(write);
    }
    return PyErr_Occurred() ? -1 : answer;
}

int
fp_write_counts(const fp_state *state, PyObject *file, PyObject *write)
{
    PyObject *method, *holder;
    int answer = is_raw(state, file);

    if (answer != 0) {
        return answer;
    }
    method = unwrapped(state, write);
    if (method == NULL) {
        return -1;
    }
    holder = holder_of(method);
    if (holder != NULL) {
        answer = is_raw(state, holder);
        if (answer == 1) {
            answer = is_its_write(state, holder, method);
        }
        else if (answer == 0) {
            answer = is_spooled_write(state, method);
        }
    }
    Py_DECREF(method);
    return answer;
}

static void
raise_would_block(void)
{
    PyObject *error = Py_BuildValue(
        "(is)", EAGAIN,
        "write() would have to wait; dump to a buffered or blocking file");

    if (error != NULL) {
        PyErr_SetObject(PyExc_BlockingIOError, error);
        Py_DECREF(error);
    }
}

Py_ssize_t
fp_bytes_taken(PyObject *answer, Py_ssize_t n_bytes)
{
    Py_ssize_t n_taken;

    if (answer == Py_None) {
        raise_would_block();
        return -1;
    }
    /* True would be one byte. */
    if (PyBool_Check(answer) || !PyIndex_Check(answer)) {
        PyErr_Format(PyExc_OSError,
                     "write() of an io.RawIOBase returned %R, not the number "
                     "of bytes that it took",
                     answer);
        return -1;
    }
    n_taken = PyNumber_AsSsize_t(answer, NULL);
    if (n_taken == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (n_taken <= 0 || n_taken > n_bytes) {
        PyErr_Format(
            PyExc_OSError,
            "write() of an io.RawIOBase returned %zd, not a number of "
            "bytes from 1 to %zd",
            n_taken, n_bytes);
        return -1;
    }
    return n_taken;
}

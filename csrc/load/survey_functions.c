/* The module's functions for surveys: their arguments. */
#include "load.h"

#include "base/opcodes.h"
#include "core/block_hash.h"

#define NO_LIMIT UINT64_MAX

PyDoc_STRVAR(
    survey_descriptor_doc,
    "survey_descriptor($module, fd, path, n_threads, foreign=None,\n"
    "                  max_bytes=18446744073709551615, /)\n"
    "--\n"
    "\n"
    "A Survey of each dump or pickle in a regular file. foreign: see\n"
    "load_path.");

static PyObject *
survey_descriptor(PyObject *module, PyObject *args)
{
    PyObject *path, *foreign = Py_None;
    int fd, n_threads;
    unsigned long long max_bytes = NO_LIMIT;

    if (!PyArg_ParseTuple(args, "iOi|OK:survey_descriptor", &fd, &path,
                          &n_threads, &foreign, &max_bytes))
    {
        return NULL;
    }
    return fp_survey_descriptor(fp_state_of_module(module), fd, path,
                                max_bytes, n_threads,
                                foreign == Py_None ? NULL : foreign);
}

PyDoc_STRVAR(survey_file_doc,
             "survey_file($module, file, path,\n"
             "            max_bytes=18446744073709551615, /)\n"
             "--\n"
             "\n"
             "A Survey of the dump or pickle that comes next from a file\n"
             "object; None where nothing comes.");

static PyObject *
survey_file(PyObject *module, PyObject *args)
{
    PyObject *file, *path;
    unsigned long long max_bytes = NO_LIMIT;

    if (!PyArg_ParseTuple(args, "OO|K:survey_file", &file, &path, &max_bytes))
    {
        return NULL;
    }
    return fp_survey_file(fp_state_of_module(module), file,
                          path == Py_None ? NULL : path, max_bytes);
}

PyDoc_STRVAR(survey_names_doc, "survey_names($module, /)\n"
                               "--\n"
                               "\n"
                               "What the numbers in a Survey's records mean.");

static PyObject *
survey_names(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return fp_survey_names();
}

PyDoc_STRVAR(read_checked_doc,
             "read_checked($module, fd, path, start, end, offset, n_bytes,\n"
             "             target, n_threads, /)\n"
             "--\n"
             "\n"
             "Read array bytes of the dump from start to end into a writable\n"
             "buffer, or with None only check them.");

static PyObject *
read_checked(PyObject *module, PyObject *args)
{
    PyObject *path, *target;
    int fd, n_threads, status;
    unsigned long long start, end, offset, n_bytes;
    Py_buffer view = {.buf = NULL};

    if (!PyArg_ParseTuple(args, "iOKKKKOi:read_checked", &fd, &path, &start,
                          &end, &offset, &n_bytes, &target, &n_threads))
    {
        return NULL;
    }
    if (target != Py_None) {
        if (PyObject_GetBuffer(target, &view, PyBUF_WRITABLE) < 0) {
            return NULL;
        }
        if ((unsigned long long)view.len != n_bytes) {
            PyBuffer_Release(&view);
            PyErr_SetString(PyExc_ValueError, "a buffer of another size");
            return NULL;
        }
    }
    status = fp_read_checked(fp_state_of_module(module), fd, path, start, end,
                             offset, n_bytes, view.buf, n_threads);
    if (target != Py_None) {
        PyBuffer_Release(&view);
    }
    if (status < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(hash_bytes_doc, "hash_bytes($module, data, /)\n"
                             "--\n"
                             "\n"
                             "XXH3-64 of a buffer, as payloads have it.");

static PyObject *
hash_bytes(PyObject *Py_UNUSED(module), PyObject *data)
{
    Py_buffer view;
    uint64_t hash;

    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    hash = fp_xxh3(view.buf, (size_t)view.len);
    Py_END_ALLOW_THREADS
    PyBuffer_Release(&view);
    return PyLong_FromUnsignedLongLong(hash);
}

PyDoc_STRVAR(opcodes_doc,
             "opcodes($module, /)\n"
             "--\n"
             "\n"
             "(name, code, argument, protocol, pops, pushes) of each opcode.");

static PyObject *
opcode_table(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    static const struct {
        const char *name;
        const char *argument;
        int code, protocol, pops, pushes;
    } table[] = {
#define X(name, code, argument, protocol, pops, pushes)                       \
    {#name, #argument, code, protocol, pops, pushes},
        FP_OPCODES(X)
#undef X
    };
    PyObject *list = PyList_New(0);

    for (size_t i = 0; list != NULL && i < sizeof(table) / sizeof(table[0]);
         i++)
    {
        PyObject *row = Py_BuildValue("sisiii", table[i].name, table[i].code,
                                      table[i].argument, table[i].protocol,
                                      table[i].pops, table[i].pushes);
        if (row == NULL || PyList_Append(list, row) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(row);
    }
    return list;
}


static PyMethodDef functions[] = {
    {"survey_descriptor", survey_descriptor, METH_VARARGS,
     survey_descriptor_doc},
    {"survey_file", survey_file, METH_VARARGS, survey_file_doc},
    {"survey_names", survey_names, METH_NOARGS, survey_names_doc},
    {"read_checked", read_checked, METH_VARARGS, read_checked_doc},
    {"hash_bytes", hash_bytes, METH_O, hash_bytes_doc},
    {"opcodes", opcode_table, METH_NOARGS, opcodes_doc},
    {NULL, NULL, 0, NULL},
};

int
fp_survey_functions_init(PyObject *module)
{
    return PyModule_AddFunctions(module, functions);
}

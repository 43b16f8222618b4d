/* The module: its state and its functions. */
#include "dump.h"
#include "pickler.h"
#include "walk.h"

/* --- functions ---------------------------------------------------------- */

PyDoc_STRVAR(
    dumps_doc,
    "dumps($module, /, obj, protocol=None, *, fix_imports=True,\n"
    "      buffer_callback=None)\n"
    "--\n"
    "\n"
    "Return the pickled representation of the object as a bytes object.\n"
    "\n"
    "Byte for byte what pickle.dumps() of the running Python returns for the\n"
    "same arguments; see its documentation for their meaning.");

PyDoc_STRVAR(
    dump_to_path_doc,
    "dump_to_path($module, value, path, protocol, durable, n_threads, /)\n"
    "--\n"
    "\n"
    "Write value to a file that replaces path at the end.");

static PyObject *
dump_to_path(PyObject *module, PyObject *args)
{
    PyObject *value, *path;
    int protocol, durable, n_threads;

    if (!PyArg_ParseTuple(args, "OOipi:dump_to_path", &value, &path, &protocol,
                          &durable, &n_threads)
        || fp_dump_to_path(fp_state_of_module(module), value, path, protocol,
                           durable, n_threads)
               < 0)
    {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(dump_to_file_doc,
             "dump_to_file($module, value, file, protocol, /)\n"
             "--\n"
             "\n"
             "Write value to an object with a write() method, front to back.");

static PyObject *
dump_to_file(PyObject *module, PyObject *args)
{
    PyObject *value, *file;
    int protocol;

    if (!PyArg_ParseTuple(args, "OOi:dump_to_file", &value, &file, &protocol)
        || fp_dump_to_file(fp_state_of_module(module), value, file, protocol)
               < 0)
    {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"dumps", (PyCFunction)(void (*)(void))fp_dumps,
     METH_VARARGS | METH_KEYWORDS, dumps_doc},
    {"dump_to_path", dump_to_path, METH_VARARGS, dump_to_path_doc},
    {"dump_to_file", dump_to_file, METH_VARARGS, dump_to_file_doc},
    {NULL, NULL, 0, NULL},
};

/* --- state -------------------------------------------------------------- */

/* `*field` becomes the attribute of a module. */
static int
fetch(PyObject **field, const char *module_name, const char *name)
{
    PyObject *module = PyImport_ImportModule(module_name);

    if (module == NULL) {
        return -1;
    }
    *field = PyObject_GetAttrString(module, name);
    Py_DECREF(module);
    return *field == NULL ? -1 : 0;
}

/* What object's own class dict holds under a name: a new reference. */
static int
fetch_of_object(PyObject **field, PyObject *name)
{
    *field = Py_XNewRef(_PyType_Lookup(&PyBaseObject_Type, name));
    if (*field == NULL) {
        PyErr_Format(PyExc_SystemError, "object has no %U", name);
        return -1;
    }
    return 0;
}

static int
must_be_dict(PyObject *object, const char *name)
{
    if (PyDict_CheckExact(object)) {
        return 0;
    }
    PyErr_Format(PyExc_RuntimeError, "%s should be a dict, not %.200s", name,
                 Py_TYPE(object)->tp_name);
    return -1;
}

static int
module_exec(PyObject *module)
{
    fp_state *state = fp_state_of_module(module);

#define X(field, text)                                                        \
    state->str_##field = PyUnicode_InternFromString(text);                    \
    if (state->str_##field == NULL) {                                         \
        return -1;                                                            \
    }
    FP_NAMES(X)
#undef X
    if (fetch(&state->pickling_error, "pickle", "PicklingError") < 0
        || fetch(&state->dispatch_table, "copyreg", "dispatch_table") < 0
        || fetch(&state->extension_registry, "copyreg", "_extension_registry")
               < 0
        || fetch(&state->name_mapping_3to2, "_compat_pickle",
                 "REVERSE_NAME_MAPPING")
               < 0
        || fetch(&state->import_mapping_3to2, "_compat_pickle",
                 "REVERSE_IMPORT_MAPPING")
               < 0
        || fetch(&state->codecs_encode, "codecs", "encode") < 0
        || fetch(&state->getattr, "builtins", "getattr") < 0
        || fetch(&state->partial, "functools", "partial") < 0
        || must_be_dict(state->dispatch_table, "copyreg.dispatch_table") < 0
        || must_be_dict(state->extension_registry,
                        "copyreg._extension_registry")
               < 0
        || must_be_dict(state->name_mapping_3to2,
                        "_compat_pickle.REVERSE_NAME_MAPPING")
               < 0
        || must_be_dict(state->import_mapping_3to2,
                        "_compat_pickle.REVERSE_IMPORT_MAPPING")
               < 0
        || fetch_of_object(&state->object_reduce_ex, state->str_reduce_ex) < 0
        || fetch_of_object(&state->object_reduce, state->str_reduce) < 0
        || fetch_of_object(&state->object_getstate, state->str_getstate) < 0
        || fetch_of_object(&state->object_class, state->str_class_) < 0
        || fp_array_init(state) < 0)
    {
        return -1;
    }
    return fp_pickler_init(module, state);
}

#define OBJECTS(X)                                                            \
    X(pickler_type)                                                           \
    X(memo_proxy_type)                                                        \
    X(pickling_error)                                                         \
    X(dispatch_table)                                                         \
    X(extension_registry)                                                     \
    X(name_mapping_3to2)                                                      \
    X(import_mapping_3to2)                                                    \
    X(codecs_encode)                                                          \
    X(getattr)                                                                \
    X(partial)                                                                \
    X(memmap_type)                                                            \
    X(scalar_function)                                                        \
    X(object_reduce_ex)                                                       \
    X(object_reduce)                                                          \
    X(object_getstate)                                                        \
    X(object_class)

static int
module_traverse(PyObject *module, visitproc visit, void *arg)
{
    fp_state *state = fp_state_of_module(module);

#define X(field) Py_VISIT(state->field);
    OBJECTS(X)
#undef X
    return 0;
}

static int
module_clear(PyObject *module)
{
    fp_state *state = fp_state_of_module(module);

#define X(field) Py_CLEAR(state->field);
    OBJECTS(X)
#undef X
#define X(field, text) Py_CLEAR(state->str_##field);
    FP_NAMES(X)
#undef X
    return 0;
}

static void
module_free(void *module)
{
    module_clear((PyObject *)module);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030c0000
    /* NumPy refuses subinterpreters. */
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

struct PyModuleDef fp_module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "fastpersist._core",
    .m_doc = PyDoc_STR("The compiled part of fastpersist."),
    .m_size = sizeof(fp_state),
    .m_methods = functions,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&fp_module_def);
}

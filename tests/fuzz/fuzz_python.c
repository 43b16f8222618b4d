/* The unpickler and the loader, or the survey, in an embedded Python.
 *
 * Everything of csrc/ is compiled into this program, with the sanitizers, and
 * takes the place of fastpersist._core. What is done with an input is said in
 * the module FUZZ_MODULE (unpickle_target.py, survey_target.py,
 * restricted_target.py), whose one(data) is called for each; an exception that
 * it does not expect ends the program.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "fuzz.h"

PyMODINIT_FUNC PyInit__core(void);

int LLVMFuzzerInitialize(int *argc, char ***argv);

/* Held for the life of the process. */
static PyObject *one;

static void
fail(const char *what)
{
    PyErr_Print();
    fprintf(stderr, "%s\n", what);
    abort();
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    PyConfig config;
    PyObject *module;

    (void)argc;
    (void)argv;
    CHECK(PyImport_AppendInittab("_fastpersist_core", PyInit__core) == 0);
    PyConfig_InitPythonConfig(&config);
    config.install_signal_handlers = 0;
    config.write_bytecode = 0;
    CHECK(!PyStatus_Exception(
        PyConfig_SetBytesString(&config, &config.executable, FUZZ_PYTHON)));
    CHECK(!PyStatus_Exception(
        PyConfig_SetBytesString(&config, &config.program_name, FUZZ_PYTHON)));
    CHECK(!PyStatus_Exception(Py_InitializeFromConfig(&config)));
    PyConfig_Clear(&config);
    module = PyImport_ImportModule(FUZZ_MODULE);
    if (module == NULL
        || (one = PyObject_GetAttrString(module, "one")) == NULL)
    {
        fail("the target cannot be imported");
    }
    Py_DECREF(module);
    return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    PyObject *result = PyObject_CallFunction(one, "y#", (const char *)data,
                                             (Py_ssize_t)n_bytes);

    if (result == NULL) {
        fail("an exception that is not expected");
    }
    Py_DECREF(result);
    return 0;
}

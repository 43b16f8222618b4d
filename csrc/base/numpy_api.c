#define FP_IMPORT_NUMPY
#include "numpy_api.h"

#define FIRST_USER_TYPE          256
#define END_OF_LEGACY_USER_TYPES 2048

/* A module of NumPy's core, which NumPy 1.26 has under another name. */
static PyObject *
import_of_core(const char *name, const char *old_name)
{
    PyObject *module = PyImport_ImportModule(name);

    if (module == NULL && PyErr_ExceptionMatches(PyExc_ModuleNotFoundError)) {
        PyErr_Clear();
        module = PyImport_ImportModule(old_name);
    }
    return module;
}

int
fp_numpy_init(fp_state *state)
{
    PyObject *numpy, *multiarray, *numeric;

    if (PyArray_ImportNumPyAPI() < 0) {
        return -1;
    }
    numpy = PyImport_ImportModule("numpy");
    if (numpy == NULL) {
        return -1;
    }
    state->memmap_type = PyObject_GetAttrString(numpy, "memmap");
    state->matrix_type = PyObject_GetAttrString(numpy, "matrix");
    Py_DECREF(numpy);
    if (state->memmap_type == NULL || state->matrix_type == NULL) {
        return -1;
    }
    state->ndarray_type = Py_NewRef((PyObject *)&PyArray_Type);
    state->dtype_metaclass =
        (PyTypeObject *)Py_NewRef(Py_TYPE(&PyArrayDescr_Type));
    state->array_getbuffer = PyArray_Type.tp_as_buffer->bf_getbuffer;
    multiarray =
        import_of_core("numpy._core.multiarray", "numpy.core.multiarray");
    if (multiarray == NULL) {
        return -1;
    }
    state->scalar_function = PyObject_GetAttrString(multiarray, "scalar");
    state->builtin_frombuffer =
        PyObject_GetAttrString(multiarray, "frombuffer");
    Py_DECREF(multiarray);
    numeric = import_of_core("numpy._core.numeric", "numpy.core.numeric");
    if (numeric == NULL) {
        return -1;
    }
    state->frombuffer_function =
        PyObject_GetAttrString(numeric, "_frombuffer");
    Py_DECREF(numeric);
    return state->scalar_function == NULL || state->builtin_frombuffer == NULL
                   || state->frombuffer_function == NULL
               ? -1
               : 0;
}

fp_array_extent
fp_extent_of(PyObject *exporter)
{
    fp_array_extent extent = {NULL, 0};

    if (exporter != NULL && PyArray_Check(exporter)) {
        PyArrayObject *array = (PyArrayObject *)exporter;
        extent.data = PyArray_BYTES(array);
        extent.n_bytes = (size_t)PyArray_NBYTES(array);
    }
    return extent;
}

int
fp_has_plain_bytes(const PyArray_Descr *descr)
{
    int type_num = descr->type_num;

    if (!fp_is_builtin_number(type_num)
        && !(type_num >= FIRST_USER_TYPE
             && type_num < END_OF_LEGACY_USER_TYPES))
    {
        return 0;
    }
    return !PyDataType_FLAGCHK(descr, NPY_ITEM_REFCOUNT)
           && !PyDataType_FLAGCHK(descr, NPY_ITEM_IS_POINTER)
           && !PyDataType_FLAGCHK(descr, NPY_LIST_PICKLE);
}

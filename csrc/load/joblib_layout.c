#include "joblib_layout.h"

#include "base/errors.h"
#include "build/unpickle.h"
#include "in/array_load.h"
#include "load.h"

#include <string.h>

/* Streams in object arrays of streams ...: each level is C recursion. joblib
 * itself writes one. */
#define MAX_DEPTH 100
/* What may be allocated beyond what has arrived, of input of unknown size. */
#define MAX_AHEAD ((size_t)64 << 20)
/* joblib warns of maps whose arrays lie at no multiple of it. */
#define ALIGNMENT 16

static const fp_joblib default_rules = {.native_order = 1};

/* What a wrapper's state says. */
typedef struct {
    PyArray_Descr *descr; /* owned */
    PyObject *subclass;   /* owned; NULL: plain ndarray */
    fp_array_layout layout;
    size_t n_bytes;
    int is_aligned; /* padding precedes the bytes */
    int may_map;
} description;

/* --- the wrapper's state ------------------------------------------------- */

static PyObject *
attribute(fp_machine *machine, PyObject *wrapper, PyObject *name)
{
    PyObject *value = fp_optional_attribute(wrapper, name);

    if (value == NULL && !PyErr_Occurred()) {
        PyErr_Format(machine->state->corrupt_error,
                     "joblib's NumpyArrayWrapper has no %U", name);
    }
    return value;
}

static int
take_shape(fp_machine *machine, PyObject *shape, description *array)
{
    PyObject *error = machine->state->corrupt_error;
    size_t n_bytes = (size_t)PyDataType_ELSIZE(array->descr);
    int is_empty = 0;

    if (!PyTuple_Check(shape)) {
        PyErr_Format(error, "shape of a joblib array is no tuple but %.200s",
                     Py_TYPE(shape)->tp_name);
        return -1;
    }
    if (PyTuple_GET_SIZE(shape) > fp_array_max_dims()) {
        PyErr_Format(error, "joblib array of %zd dimensions",
                     PyTuple_GET_SIZE(shape));
        return -1;
    }
    array->layout.n_dims = (int)PyTuple_GET_SIZE(shape);
    for (int i = 0; i < array->layout.n_dims; i++) {
        PyObject *item = PyTuple_GET_ITEM(shape, i);
        Py_ssize_t size;
        if (!PyIndex_Check(item)) {
            PyErr_Format(error, "shape of a joblib array has a %.200s in it",
                         Py_TYPE(item)->tp_name);
            return -1;
        }
        /* User code may run here, but the tuple is not its to change. */
        size = PyNumber_AsSsize_t(item, error);
        if (size == -1 && PyErr_Occurred()) {
            return -1;
        }
        if (size < 0) {
            PyErr_Format(error, "negative size %zd in the shape of an array",
                         size);
            return -1;
        }
        array->layout.shape[i] = size;
        is_empty |= size == 0;
        /* Empty arrays too: NumPy refuses such products. */
        if (size > 0
            && (__builtin_mul_overflow(n_bytes, (size_t)size, &n_bytes)
                || n_bytes > (size_t)PY_SSIZE_T_MAX))
        {
            PyErr_Format(error, "shape %R of a joblib array overflows", shape);
            return -1;
        }
    }
    array->n_bytes = is_empty ? 0 : n_bytes;
    return 0;
}

static int
take_order(fp_machine *machine, PyObject *order, description *array)
{
    if (!PyUnicode_Check(order)) {
        PyErr_Format(machine->state->corrupt_error,
                     "order of a joblib array is no str but %.200s",
                     Py_TYPE(order)->tp_name);
        return -1;
    }
    array->layout.is_fortran =
        PyUnicode_CompareWithASCIIString(order, "F") == 0;
    return 0;
}

static void
description_free(description *array)
{
    Py_CLEAR(array->descr);
    Py_CLEAR(array->subclass);
}

/* Everything but the shape, which an array of objects does not need. */
static int
describe(fp_machine *machine, PyObject *wrapper, description *array)
{
    const fp_state *state = machine->state;
    PyObject *value = attribute(machine, wrapper, state->str_dtype);

    if (value == NULL) {
        return -1;
    }
    if (!PyArray_DescrCheck(value)) {
        PyErr_Format(state->corrupt_error,
                     "dtype of a joblib array is no dtype but %.200s",
                     Py_TYPE(value)->tp_name);
        Py_DECREF(value);
        return -1;
    }
    array->descr = (PyArray_Descr *)value;
    array->subclass = attribute(machine, wrapper, state->str_subclass);
    return array->subclass == NULL ? -1 : 0;
}

static int
describe_bytes(fp_machine *machine, PyObject *wrapper, description *array)
{
    const fp_state *state = machine->state;
    PyObject *value;
    int status;

    /* NumPy takes an itemsize of 0 for "as long as needed", joblib for an
     * error. */
    if (!fp_has_plain_bytes(array->descr)
        || PyDataType_SUBARRAY(array->descr) != NULL
        || PyDataType_ELSIZE(array->descr) <= 0)
    {
        PyErr_Format(state->corrupt_error, "bytes of dtype %R cannot be read",
                     array->descr);
        return -1;
    }
    value = attribute(machine, wrapper, state->str_shape);
    status = value == NULL ? -1 : take_shape(machine, value, array);
    Py_XDECREF(value);
    if (status < 0) {
        return -1;
    }
    value = attribute(machine, wrapper, state->str_order);
    status = value == NULL ? -1 : take_order(machine, value, array);
    Py_XDECREF(value);
    if (status < 0) {
        return -1;
    }
    value = attribute(machine, wrapper, state->str_allow_mmap);
    array->may_map = value == NULL ? -1 : PyObject_IsTrue(value);
    Py_XDECREF(value);
    if (array->may_map < 0) {
        return -1;
    }
    /* Unknown before 1.2; None where joblib wrote to a pipe. */
    value = fp_optional_attribute(wrapper, state->str_alignment_bytes);
    if (value == NULL && PyErr_Occurred()) {
        return -1;
    }
    array->is_aligned = value != NULL && value != Py_None;
    Py_XDECREF(value);
    return 0;
}

/* --- bytes --------------------------------------------------------------- */

static int
skip_padding(fp_machine *machine)
{
    fp_input *input = machine->input;
    size_t n_bytes;

    if (fp_input_need(input, 1) < 0) {
        return -1;
    }
    n_bytes = *input->cursor++;
    if (fp_input_need(input, n_bytes) < 0) {
        return -1;
    }
    for (size_t i = 0; i < n_bytes; i++) {
        if (input->cursor[i] != 0xff) {
            PyErr_SetString(machine->state->corrupt_error,
                            "padding in front of a joblib array is damaged");
            return -1;
        }
    }
    input->cursor += n_bytes;
    return 0;
}

/* Whether so many bytes can be there; else an error, before anything is
 * allocated. */
static int
check_length(fp_machine *machine, size_t n_bytes)
{
    uint64_t at_most = fp_input_at_most(machine->input);

    if (fp_input_check_length(machine->input, n_bytes) < 0) {
        return -1;
    }
    if (n_bytes <= at_most) {
        return 0;
    }
    PyErr_Format(machine->state->truncated_error,
                 "array data of %zu bytes, but only %llu are left", n_bytes,
                 (unsigned long long)at_most);
    return -1;
}

/* The input goes on behind n_bytes that were taken elsewhere, or are mapped. */
static void
skip_bytes(fp_input *input, uint64_t n_bytes)
{
    uint64_t n_there = (uint64_t)(input->end - input->cursor);

    if (n_bytes <= n_there) {
        input->cursor += n_bytes;
        return;
    }
    assert(input->kind == FP_INPUT_DESCRIPTOR && !fp_input_in_frame(input));
    input->position += (uint64_t)(input->end - input->start);
    input->position += n_bytes - n_there;
    input->fd_offset += n_bytes - n_there;
    input->start = input->cursor = input->end;
}

/* An array that owns its memory, read from the input. */
static PyObject *
read_array(fp_machine *machine, const description *array,
           const fp_joblib *rules)
{
    size_t n_bytes = array->n_bytes;
    /* An array without bytes has memory too, as NumPy wants it. */
    size_t n_allocated = n_bytes > 0 ? n_bytes : 1;
    size_t n_read = 0;
    PyObject *handler = NULL;
    unsigned char *data = NULL;
    PyObject *result = NULL;

    if (check_length(machine, n_bytes) < 0) {
        return NULL;
    }
    /* Of a file object nobody knows how much will come. */
    if (machine->input->kind == FP_INPUT_FILE && n_allocated > MAX_AHEAD) {
        n_allocated = MAX_AHEAD;
    }
    handler = fp_array_handler();
    if (handler == NULL) {
        return NULL;
    }
    data = fp_array_memory_new(handler, n_allocated);
    if (data == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    while (n_read < n_bytes) {
        size_t n_step = n_allocated - n_read;
        if (n_step == 0) {
            size_t n_left = n_bytes - n_read;
            unsigned char *bigger;
            n_step = n_left < MAX_AHEAD ? n_left : MAX_AHEAD;
            bigger =
                fp_array_memory_resize(handler, data, n_allocated + n_step);
            if (bigger == NULL) {
                PyErr_NoMemory();
                goto done;
            }
            data = bigger;
            n_allocated += n_step;
        }
        if (fp_input_read_into(machine->input, data + n_read, n_step) < 0) {
            goto done;
        }
        n_read += n_step;
    }
    result = fp_array_take(array->descr, &array->layout, data, handler);
    if (result == NULL) {
        goto done;
    }
    data = NULL;
    if (rules->native_order
        && fp_array_make_native((PyArrayObject *)result) < 0)
    {
        Py_CLEAR(result);
    }

done:
    if (data != NULL) {
        fp_array_memory_free(handler, data, n_allocated);
    }
    Py_DECREF(handler);
    return result;
}

static int
warn_unaligned(PyObject *array, PyObject *path)
{
    PyObject *text = PyObject_Str(array);
    int status;

    if (text == NULL) {
        return -1;
    }
    status = fp_warn(
        PyExc_UserWarning,
        "The memmapped array %U loaded from the file %S is not byte aligned. "
        "This may cause segmentation faults if this memmapped array is used "
        "in some libraries like BLAS or PyTorch. To get rid of this warning, "
        "regenerate your pickle file with joblib >= 1.2.0. See "
        "https://github.com/joblib/joblib/issues/563 for more details",
        text, path);
    Py_DECREF(text);
    return status;
}

/* A numpy.memmap of the bytes that follow, which the input skips. */
static PyObject *
map_array(fp_machine *machine, const description *array,
          const fp_joblib *rules)
{
    uint64_t offset = fp_input_offset(machine->input);
    PyObject *result;

    if (check_length(machine, array->n_bytes) < 0) {
        return NULL;
    }
    if (offset > rules->map_bytes
        || array->n_bytes > rules->map_bytes - offset)
    {
        PyErr_SetString(machine->state->truncated_error,
                        "array data beyond the end of the map");
        return NULL;
    }
    result = fp_array_of_map(machine->state, array->descr, &array->layout,
                             rules->map, rules->map_data, offset,
                             rules->map_mode, rules->map_filename);
    if (result == NULL) {
        return NULL;
    }
    skip_bytes(machine->input, array->n_bytes);
    if (!array->is_aligned && offset % ALIGNMENT != 0
        && warn_unaligned(result, rules->path != NULL ? rules->path
                                                      : rules->map_filename)
               < 0)
    {
        Py_CLEAR(result);
    }
    return result;
}

/* An array's bytes stand outside of frames: joblib looks for them behind the
 * frame, wherever in it the array is asked for. */
static int
leave_frame(fp_machine *machine)
{
    if (fp_input_leave_frame(machine->input)) {
        return 0;
    }
    PyErr_SetString(machine->state->unpickling_error,
                    "beginning or end of a joblib array inside a frame");
    return -1;
}

/* --- arrays of objects --------------------------------------------------- */

/* A complete pickle at the input, with a stack and memo of its own and the
 * hooks of the machine around it. */
static PyObject *
read_objects(fp_machine *outer)
{
    fp_machine inner;
    PyObject *result;

    if (outer->depth >= MAX_DEPTH) {
        PyErr_Format(outer->state->corrupt_error,
                     "arrays of objects nested more than %d times", MAX_DEPTH);
        return NULL;
    }
    fp_machine_nested(&inner, outer, outer->input);
    result = fp_machine_run(&inner, 0);
    fp_machine_free(&inner);
    if (result != NULL && leave_frame(outer) < 0) {
        Py_CLEAR(result);
    }
    return result;
}

/* --- one array ----------------------------------------------------------- */

/* NumPy before 2.0 let joblib rebuild subclasses (numpy.matrix); with later
 * ones they come back as plain arrays, from joblib too. Steals `array`. */
static PyObject *
as_subclass(fp_machine *machine, PyObject *array, const description *what)
{
    PyObject *subclass = what->subclass;
    PyObject *view = NULL;

    if (subclass == (PyObject *)&PyArray_Type
        || subclass == machine->state->memmap_type || !PyArray_Check(array)
        || !PyObject_HasAttrString((PyObject *)&PyArray_Type,
                                   "__array_prepare__"))
    {
        return array;
    }
    if (PyType_Check(subclass)
        && PyType_IsSubtype((PyTypeObject *)subclass, &PyArray_Type))
    {
        view = PyArray_View((PyArrayObject *)array, NULL,
                            (PyTypeObject *)subclass);
    }
    else {
        PyErr_Format(machine->state->corrupt_error,
                     "type of a joblib array is no array type but %R",
                     subclass);
    }
    Py_DECREF(array);
    return view;
}

static PyObject *
read_wrapped(fp_machine *machine, PyObject *wrapper)
{
    const fp_joblib *rules =
        machine->array_rules != NULL ? machine->array_rules : &default_rules;
    description array = {.descr = NULL};
    PyObject *result = NULL;

    if (machine->input->whole_frames) { /* it has no bytes but opcodes */
        PyErr_SetString(machine->state->corrupt_error,
                        "a joblib array in a graph");
        return NULL;
    }
    if (leave_frame(machine) < 0 || describe(machine, wrapper, &array) < 0) {
        goto done;
    }
    if (PyDataType_REFCHK(array.descr)) {
        result = read_objects(machine);
    }
    else {
        if (describe_bytes(machine, wrapper, &array) < 0
            || (array.is_aligned && skip_padding(machine) < 0))
        {
            goto done;
        }
        result = rules->map != NULL && array.may_map
                     ? map_array(machine, &array, rules)
                     : read_array(machine, &array, rules);
    }
    if (result != NULL) {
        result = as_subclass(machine, result, &array);
    }

done:
    description_free(&array);
    return result;
}

/* --- names --------------------------------------------------------------- */

/* joblib's own name for its array wrapper, and the one of the copy that old
 * versions of scikit-learn carried. */
static int
is_wrapper(PyObject *module_name, PyObject *name)
{
    return PyUnicode_Check(name) && PyUnicode_Check(module_name)
           && PyUnicode_CompareWithASCIIString(name, "NumpyArrayWrapper") == 0
           && (PyUnicode_CompareWithASCIIString(module_name,
                                                "joblib.numpy_pickle")
                   == 0
               || PyUnicode_CompareWithASCIIString(
                      module_name, "sklearn.externals.joblib.numpy_pickle")
                      == 0);
}

/* The wrappers of files before 0.10. */
static int
is_old_wrapper(PyObject *module_name, PyObject *name)
{
    return PyUnicode_Check(module_name) && PyUnicode_Check(name)
           && (PyUnicode_CompareWithASCIIString(name, "NDArrayWrapper") == 0
               || PyUnicode_CompareWithASCIIString(name, "ZNDArrayWrapper")
                      == 0)
           && (PyUnicode_CompareWithASCIIString(module_name,
                                                "joblib.numpy_pickle")
                   == 0
               || PyUnicode_CompareWithASCIIString(
                      module_name, "joblib.numpy_pickle_compat")
                      == 0);
}

static PyObject *
stand_in(fp_state *state, PyObject *module_name, PyObject *name)
{
    if (is_wrapper(module_name, name)) {
        return PySys_Audit("pickle.find_class", "OO", module_name, name) < 0
                   ? NULL
                   : Py_NewRef(state->array_wrapper_type);
    }
    if (is_old_wrapper(module_name, name)) {
        PyErr_SetString(state->old_joblib_file,
                        "the file was written by joblib before 0.10, and only "
                        "joblib itself reads such files: pip install joblib");
    }
    return NULL;
}

int
fp_joblib_init(PyObject *module, fp_state *state)
{
    static const fp_wrapped_arrays arrays = {
        .is_wrapper = is_wrapper,
        .stand_in = stand_in,
        .read = read_wrapped,
    };

    state->wrapped_arrays = &arrays;
    /* An ordinary class, as joblib's own: with a dict, and collected. */
    state->array_wrapper_type = PyObject_CallFunction(
        (PyObject *)&PyType_Type, "s(){ss}", "NumpyArrayWrapper", "__module__",
        "fastpersist._core");
    if (state->array_wrapper_type == NULL) {
        return -1;
    }
    state->old_joblib_file = PyErr_NewException(
        "fastpersist._core.OldJoblibFile", PyExc_ImportError, NULL);
    if (state->old_joblib_file == NULL) {
        return -1;
    }
    return PyModule_AddObjectRef(module, "OldJoblibFile",
                                 state->old_joblib_file);
}

#include "survey_type_parts.h"

#include "load.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* --- numbers ------------------------------------------------------------- */

static PyObject *
get_kind(PyObject *op, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(((fp_survey_object *)op)->is_ours
                                    ? "fastpersist"
                                : fp_survey_of(op)->is_joblib ? "joblib"
                                                              : "pickle");
}

static PyObject *
get_start(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(((fp_survey_object *)op)->start);
}

static PyObject *
get_length(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(((fp_survey_object *)op)->length);
}

static PyObject *
get_protocol(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromLong(fp_survey_of(op)->protocol);
}

static PyObject *
get_n_opcodes(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(fp_survey_of(op)->n_opcodes);
}

static PyObject *
get_n_frames(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(fp_survey_of(op)->n_frames);
}

static PyObject *
get_n_buffers(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(fp_survey_of(op)->n_buffers);
}

static PyObject *
get_n_undecided(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(fp_survey_of(op)->n_undecided);
}

static PyObject *
get_opcode_bytes(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(fp_survey_of(op)->skeleton_bytes);
}

static PyObject *
get_complete(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(fp_survey_of(op)->is_complete);
}

static PyObject *
get_damage(PyObject *op, void *Py_UNUSED(closure))
{
    PyObject *damage = ((fp_survey_object *)op)->damage;

    return Py_NewRef(damage == NULL ? Py_None : damage);
}

static PyObject *
get_root(PyObject *op, void *Py_UNUSED(closure))
{
    return fp_none_or_number(fp_survey_of(op)->root);
}

static PyObject *
get_environment(PyObject *op, void *Py_UNUSED(closure))
{
    fp_survey_object *self = (fp_survey_object *)op;

    if (!self->has_footer) {
        Py_RETURN_NONE;
    }
    return PyBytes_FromStringAndSize(
        self->footer.environment, (Py_ssize_t)self->footer.environment_bytes);
}

static PyObject *
get_state_void(PyObject *op, void *Py_UNUSED(closure))
{
    fp_survey_object *self = (fp_survey_object *)op;

    return PyBool_FromLong(self->has_footer
                           && self->footer.state == FP_STATE_VOID);
}

static PyObject *
get_second_file(PyObject *op, void *Py_UNUSED(closure))
{
    fp_survey_object *self = (fp_survey_object *)op;

    if (!self->has_footer || !(self->footer.flags & FP_FLAG_SIDECAR_FILE)) {
        Py_RETURN_NONE;
    }
    return Py_BuildValue("KKK", (unsigned long long)self->footer.n_buffers,
                         (unsigned long long)self->footer.sidecar_file_length,
                         (unsigned long long)self->footer.sidecar_file_root);
}

/* --- one at a time ------------------------------------------------------- */

/* A number from the caller, below `n`; -1 with an exception. */
static Py_ssize_t
take_index(PyObject *argument, size_t n)
{
    Py_ssize_t index = PyNumber_AsSsize_t(argument, PyExc_IndexError);

    if (index == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (index < 0 || (size_t)index >= n) {
        PyErr_SetString(PyExc_IndexError, "no such number in the survey");
        return -1;
    }
    return index;
}

static PyObject *
survey_path(PyObject *op, PyObject *argument)
{
    const fp_survey *survey = fp_survey_of(op);
    Py_ssize_t node = take_index(argument, survey->n_nodes);

    return node < 0 ? NULL : fp_survey_path(survey, (uint32_t)node);
}

static PyObject *
survey_find(PyObject *op, PyObject *argument)
{
    uint32_t number;
    int is_leaf;

    if (!PyUnicode_Check(argument)) {
        PyErr_SetString(PyExc_TypeError, "a path is a str");
        return NULL;
    }
    if (fp_survey_find(fp_survey_of(op), argument, &number, &is_leaf) < 0) {
        return NULL;
    }
    if (number == FP_SURVEY_NONE) {
        Py_RETURN_NONE;
    }
    return Py_BuildValue("sI", is_leaf ? "leaf" : "array", number);
}

static PyObject *
numbers_tuple(const int64_t *numbers, size_t n)
{
    PyObject *tuple = PyTuple_New((Py_ssize_t)n);

    for (size_t i = 0; tuple != NULL && i < n; i++) {
        PyObject *number = PyLong_FromLongLong(numbers[i]);
        if (number == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, number);
    }
    return tuple;
}

static PyObject *
survey_shape(PyObject *op, PyObject *argument)
{
    const fp_survey *survey = fp_survey_of(op);
    Py_ssize_t i = take_index(argument, survey->n_arrays);
    const fp_survey_array *array = i < 0 ? NULL : &survey->arrays[i];

    if (array == NULL) {
        return NULL;
    }
    if (array->n_dims == FP_SURVEY_NO_SHAPE) {
        Py_RETURN_NONE;
    }
    return numbers_tuple(survey->numbers + array->shape, array->n_dims);
}

static PyObject *
survey_strides(PyObject *op, PyObject *argument)
{
    const fp_survey *survey = fp_survey_of(op);
    Py_ssize_t i = take_index(argument, survey->n_arrays);
    const fp_survey_array *array = i < 0 ? NULL : &survey->arrays[i];

    if (array == NULL) {
        return NULL;
    }
    if (array->n_dims == FP_SURVEY_NO_SHAPE || array->order != 'A') {
        Py_RETURN_NONE;
    }
    return numbers_tuple(survey->numbers + array->shape + array->n_dims,
                         array->n_dims);
}

static PyObject *
survey_value(PyObject *op, PyObject *argument)
{
    const fp_survey *survey = fp_survey_of(op);
    unsigned long long place = PyLong_AsUnsignedLongLong(argument);
    PyObject *value;
    uint64_t n_whole;

    if (place == (unsigned long long)-1 && PyErr_Occurred()) {
        return NULL;
    }
    value = fp_survey_value(survey, place, &n_whole);
    if (value == NULL) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    return Py_BuildValue("NK", value, (unsigned long long)n_whole);
}

static PyObject *
survey_offset(PyObject *op, PyObject *argument)
{
    unsigned long long place = PyLong_AsUnsignedLongLong(argument);

    if (place == (unsigned long long)-1 && PyErr_Occurred()) {
        return NULL;
    }
    return PyLong_FromUnsignedLongLong(
        fp_survey_offset(fp_survey_of(op), place));
}

static PyObject *
survey_dtype(PyObject *op, PyObject *argument)
{
    Py_ssize_t i = take_index(argument, fp_survey_of(op)->n_dtypes);

    return i < 0 ? NULL
                 : fp_survey_dtype_object((fp_survey_object *)op, (uint32_t)i);
}

static PyObject *
survey_itemsize(PyObject *op, PyObject *argument)
{
    const fp_survey *survey = fp_survey_of(op);
    Py_ssize_t i = take_index(argument, survey->n_dtypes);

    if (i < 0) {
        return NULL;
    }
    return survey->dtypes[i].flags & FP_DTYPE_KNOWN
               ? fp_none_or_number(survey->dtypes[i].itemsize)
               : Py_NewRef(Py_None);
}

static PyObject *
survey_has_objects(PyObject *op, PyObject *argument)
{
    const fp_survey *survey = fp_survey_of(op);
    Py_ssize_t i = take_index(argument, survey->n_dtypes);

    return i < 0 ? NULL
                 : PyBool_FromLong(survey->dtypes[i].flags & FP_DTYPE_OBJECTS);
}

/* The place of an offset of the file, which is in the skeleton. */
static uint64_t
place_of(const fp_survey *survey, uint64_t offset)
{
    uint64_t low = 0, high = survey->skeleton_bytes;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (fp_survey_offset(survey, middle) < offset) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    return low;
}

/* The bytes of an array that are in memory. */
static PyObject *
survey_inline(PyObject *op, PyObject *argument)
{
    const fp_survey *survey = fp_survey_of(op);
    Py_ssize_t i = take_index(argument, survey->n_arrays);
    const fp_survey_array *array = i < 0 ? NULL : &survey->arrays[i];
    uint64_t place;

    if (array == NULL) {
        return NULL;
    }
    if (array->stored == FP_STORED_TEXT) {
        return fp_survey_encoded(survey, place_of(survey, array->offset));
    }
    place = place_of(survey, array->offset);
    if (array->stored != FP_STORED_INLINE
        || array->n_bytes > survey->skeleton_bytes - place)
    {
        Py_RETURN_NONE;
    }
    return PyBytes_FromStringAndSize((const char *)survey->skeleton + place,
                                     (Py_ssize_t)array->n_bytes);
}

/* --- the type ------------------------------------------------------------ */

static int
survey_visit(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(((fp_survey_object *)op)->damage);
    Py_VISIT(((fp_survey_object *)op)->dtypes);
    return 0;
}

static int
survey_clear(PyObject *op)
{
    Py_CLEAR(((fp_survey_object *)op)->damage);
    Py_CLEAR(((fp_survey_object *)op)->dtypes);
    return 0;
}

static void
survey_end(PyObject *op)
{
    fp_survey_object *self = (fp_survey_object *)op;

    fp_survey_free(&self->survey);
    if (self->has_footer) {
        fp_footer_free(&self->footer);
        self->has_footer = 0;
    }
    free(self->graph);
    self->graph = NULL;
}

static PyMethodDef survey_methods[] = {
    {"path", survey_path, METH_O,
     PyDoc_STR("path($self, node, /)\n--\n\nThe path of a node.")},
    {"find", survey_find, METH_O,
     PyDoc_STR("find($self, path, /)\n--\n\n"
               "(\"array\" or \"leaf\", its number) of a path, or None.")},
    {"shape", survey_shape, METH_O,
     PyDoc_STR("shape($self, array, /)\n--\n\n"
               "The shape of an array, or None.")},
    {"strides", survey_strides, METH_O,
     PyDoc_STR("strides($self, array, /)\n--\n\n"
               "The strides of an array of order \"A\", or None.")},
    {"dtype", survey_dtype, METH_O,
     PyDoc_STR("dtype($self, dtype, /)\n--\n\n"
               "A dtype: str, or (\"dtype\", arguments, state).")},
    {"itemsize", survey_itemsize, METH_O,
     PyDoc_STR("itemsize($self, dtype, /)\n--\n\n"
               "The itemsize of a dtype, or None.")},
    {"has_objects", survey_has_objects, METH_O,
     PyDoc_STR("has_objects($self, dtype, /)\n--\n\n"
               "Whether a dtype holds objects.")},
    {"value", survey_value, METH_O,
     PyDoc_STR("value($self, place, /)\n--\n\n"
               "(value, length) of the str or bytes at a place, or None.")},
    {"offset", survey_offset, METH_O,
     PyDoc_STR("offset($self, place, /)\n--\n\n"
               "Where in the file a place is.")},
    {"inline", survey_inline, METH_O,
     PyDoc_STR("inline($self, array, /)\n--\n\n"
               "The bytes of an array that are in memory, or None.")},
    {"is_within", fp_survey_is_within, METH_O,
     PyDoc_STR("is_within($self, uses, /)\n--\n\n"
               "Whether it is whole and plain, and uses names as a dict of\n"
               "(module, name): use allows. False decides nothing.")},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef survey_getset[] = {
    {"kind", get_kind, NULL, NULL, NULL},
    {"start", get_start, NULL, NULL, NULL},
    {"length", get_length, NULL, NULL, NULL},
    {"protocol", get_protocol, NULL, NULL, NULL},
    {"n_opcodes", get_n_opcodes, NULL, NULL, NULL},
    {"n_frames", get_n_frames, NULL, NULL, NULL},
    {"n_buffers", get_n_buffers, NULL, NULL, NULL},
    {"n_undecided", get_n_undecided, NULL, NULL, NULL},
    {"opcode_bytes", get_opcode_bytes, NULL, NULL, NULL},
    {"complete", get_complete, NULL, NULL, NULL},
    {"damage", get_damage, NULL, NULL, NULL},
    {"root", get_root, NULL, NULL, NULL},
    {"environment", get_environment, NULL, NULL, NULL},
    {"state_void", get_state_void, NULL, NULL, NULL},
    {"second_file", get_second_file, NULL, NULL, NULL},
    {"parts", fp_survey_get_parts, NULL, NULL, NULL},
    {"sums", fp_survey_get_sums, NULL, NULL, NULL},
    {"globals", fp_survey_get_globals, NULL, NULL, NULL},
    {"nodes", fp_survey_get_nodes, NULL, NULL, NULL},
    {"arrays", fp_survey_get_arrays, NULL, NULL, NULL},
    {"leaves", fp_survey_get_leaves, NULL, NULL, NULL},
    {"payloads", fp_survey_get_payloads, NULL, NULL, NULL},
    {"numbers", fp_survey_get_numbers, NULL, NULL, NULL},
    {"odd", fp_survey_get_odd, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static const fp_small_type survey_type = {
    .name = "fastpersist._core.Survey",
    .doc = PyDoc_STR("What one dump holds, found without loading it."),
    .n_bytes = sizeof(fp_survey_object),
    .methods = survey_methods,
    .getset = survey_getset,
    .visit = survey_visit,
    .clear = survey_clear,
    .end = survey_end,
};

int
fp_survey_type_init(PyObject *module, fp_state *state)
{
    state->survey_type = fp_small_type_add(module, &survey_type);
    return state->survey_type == NULL
               ? -1
               : PyModule_AddObjectRef(module, "Survey",
                                       (PyObject *)state->survey_type);
}

fp_survey_object *
fp_survey_object_new(fp_state *state)
{
    return fp_small_new(state->survey_type, &survey_type);
}

static int
add_names(PyObject *dict, const char *key, const char *const *names, size_t n)
{
    PyObject *tuple = PyTuple_New((Py_ssize_t)n);
    int status;

    for (size_t i = 0; tuple != NULL && i < n; i++) {
        PyObject *name = PyUnicode_InternFromString(names[i]);
        if (name == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, name);
    }
    status = tuple == NULL ? -1 : PyDict_SetItemString(dict, key, tuple);
    Py_XDECREF(tuple);
    return status;
}

#define N(names) (sizeof(names) / sizeof(names[0]))

PyObject *
fp_survey_names(void)
{
    static const char *const kinds[] = {
        "",           "None",      "bool",    "int",      "float", "str",
        "bytes",      "bytearray", "old str", "tuple",    "list",  "dict",
        "set",        "frozenset", "global",  "instance", "dtype", "array",
        "persistent", "buffer",    "blob",
    };
    static const char *const steps[] = {
        "root", "index",  "key",      "keys",   "member", "state",
        "args", "kwargs", "callable", "popped", "open",   "object key",
    };
    static const char *const stored[] = {
        "nowhere", "unknown", "inline", "payload",
        "blob",    "buffer",  "text",   "elements",
    };
    PyObject *dict = PyDict_New();

    static_assert(N(kinds) == FP_VALUE_BLOB + 1, "a name for each kind");
    static_assert(N(steps) == FP_STEP_OBJECT_KEY + 1, "a name for each step");
    static_assert(N(stored) == FP_STORED_ELEMENTS + 1, "a name for each");
    if (dict != NULL
        && (add_names(dict, "kinds", kinds, N(kinds)) < 0
            || add_names(dict, "steps", steps, N(steps)) < 0
            || add_names(dict, "stored", stored, N(stored)) < 0))
    {
        Py_CLEAR(dict);
    }
    return dict;
}

/* Dtypes of a Survey: literals, and nothing made of them. */
#include "survey_type_parts.h"

/* Literals in literals; dtypes have few. */
#define MAX_DEPTH 40

static PyObject *literal_object(fp_survey_object *self, uint32_t number,
                                int depth);

static PyObject *
tuple_of(fp_survey_object *self, const fp_literal *literal, int depth)
{
    PyObject *tuple = PyTuple_New((Py_ssize_t)literal->n);

    for (uint32_t i = 0; tuple != NULL && i < literal->n; i++) {
        PyObject *item =
            literal_object(self, (uint32_t)(literal->u.first + i), depth + 1);
        if (item == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, (Py_ssize_t)i, item);
    }
    return tuple;
}

static PyObject *
encoded_object(const fp_survey *survey, uint64_t place)
{
    uint64_t n_whole;
    PyObject *text = fp_survey_value(survey, place, &n_whole);
    PyObject *bytes = NULL;

    if (text == NULL) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_Ellipsis);
    }
    bytes = PyUnicode_Check(text)
                ? PyUnicode_AsEncodedString(text, "latin1", "replace")
                : Py_NewRef(text);
    Py_DECREF(text);
    return bytes;
}

/* What is no literal is Ellipsis. */
static PyObject *
literal_object(fp_survey_object *self, uint32_t number, int depth)
{
    const fp_survey *survey = &self->survey;
    const fp_literal *literal = &survey->literals[number];
    PyObject *value;
    uint64_t n_whole;

    if (depth > MAX_DEPTH) {
        return Py_NewRef(Py_Ellipsis);
    }
    switch ((fp_literal_kind)literal->kind) {
    case FP_LITERAL_NONE:
        return Py_NewRef(Py_None);
    case FP_LITERAL_BOOL:
        return PyBool_FromLong(literal->u.number != 0);
    case FP_LITERAL_INT:
        return PyLong_FromLongLong(literal->u.number);
    case FP_LITERAL_FLOAT:
        return PyFloat_FromDouble(literal->u.real);
    case FP_LITERAL_STR:
    case FP_LITERAL_BYTES:
        value = fp_survey_value(survey, literal->u.place, &n_whole);
        return value == NULL && !PyErr_Occurred() ? Py_NewRef(Py_Ellipsis)
                                                  : value;
    case FP_LITERAL_ENCODED:
        return encoded_object(survey, literal->u.place);
    case FP_LITERAL_TUPLE:
        return tuple_of(self, literal, depth);
    case FP_LITERAL_DICT: /* its items, in turn: keys are whatever they are */
        value = tuple_of(self, literal, depth);
        return value == NULL ? NULL : Py_BuildValue("sN", "dict", value);
    case FP_LITERAL_GLOBAL: {
        const fp_survey_global *global = &survey->globals[literal->u.number];
        PyObject *module = fp_text_object(survey, global->module);
        PyObject *name =
            module == NULL ? NULL : fp_text_object(survey, global->name);
        if (name == NULL) {
            Py_XDECREF(module);
            return NULL;
        }
        return Py_BuildValue("sNN", "global", module, name);
    }
    case FP_LITERAL_DTYPE:
        return fp_survey_dtype_object(self, (uint32_t)literal->u.number);
    default:
        return Py_NewRef(Py_Ellipsis);
    }
}

static PyObject *
literal_or_none(fp_survey_object *self, uint32_t number)
{
    return number == FP_SURVEY_NONE ? Py_NewRef(Py_None)
                                    : literal_object(self, number, 0);
}

static PyObject *
make_dtype(fp_survey_object *self, const fp_survey_dtype *dtype)
{
    PyObject *text, *arguments, *state;

    if (dtype->flags & FP_DTYPE_TEXT) {
        text = fp_text_object(&self->survey, dtype->text);
        if (text != NULL && dtype->order != 0) {
            Py_SETREF(text, PyUnicode_FromFormat("%c%U", dtype->order, text));
        }
        return text;
    }
    arguments = literal_or_none(self, dtype->arguments);
    state = arguments == NULL ? NULL : literal_or_none(self, dtype->state);
    if (state == NULL) {
        Py_XDECREF(arguments);
        return NULL;
    }
    return Py_BuildValue("sNN", "dtype", arguments, state);
}

/* Each is made once: fields of one dtype, used again and again in others, must
 * not be copied. They never contain themselves. */
PyObject *
fp_survey_dtype_object(fp_survey_object *self, uint32_t number)
{
    PyObject *made;

    if (self->dtypes == NULL) {
        self->dtypes = PyDict_New();
        if (self->dtypes == NULL) {
            return NULL;
        }
    }
    PyObject *key = PyLong_FromUnsignedLong(number);
    if (key == NULL) {
        return NULL;
    }
    made = PyDict_GetItemWithError(self->dtypes, key);
    Py_XINCREF(made);
    if (made == NULL && !PyErr_Occurred()) {
        made = make_dtype(self, &self->survey.dtypes[number]);
        if (made != NULL && PyDict_SetItem(self->dtypes, key, made) < 0) {
            Py_CLEAR(made);
        }
    }
    Py_DECREF(key);
    return made;
}

#include "survey_type.h"

#include "load.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Literals in literals; dtypes have few. */
#define MAX_DEPTH 40

static fp_survey *
survey_of(PyObject *op)
{
    return &((fp_survey_object *)op)->survey;
}

static PyObject *
none_or_number(uint32_t number)
{
    return number == FP_SURVEY_NONE ? Py_NewRef(Py_None)
                                    : PyLong_FromUnsignedLong(number);
}

static PyObject *
bytes_of(const void *rows, size_t n, size_t row_bytes)
{
    return PyBytes_FromStringAndSize(n > 0 ? rows : "",
                                     (Py_ssize_t)(n * row_bytes));
}

static PyObject *
text_object(const fp_survey *survey, uint32_t text)
{
    size_t n_bytes;
    const char *bytes;

    if (text == FP_SURVEY_NONE) {
        Py_RETURN_NONE;
    }
    bytes = fp_survey_text(survey, text, &n_bytes);
    return PyUnicode_DecodeUTF8(bytes, (Py_ssize_t)n_bytes, "surrogatepass");
}

/* --- numbers ------------------------------------------------------------- */

static PyObject *
get_kind(PyObject *op, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(((fp_survey_object *)op)->is_ours
                                    ? "fastpersist"
                                : survey_of(op)->is_joblib ? "joblib"
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
    return PyLong_FromLong(survey_of(op)->protocol);
}

static PyObject *
get_n_opcodes(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(survey_of(op)->n_opcodes);
}

static PyObject *
get_n_frames(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(survey_of(op)->n_frames);
}

static PyObject *
get_n_buffers(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(survey_of(op)->n_buffers);
}

static PyObject *
get_n_undecided(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(survey_of(op)->n_undecided);
}

static PyObject *
get_opcode_bytes(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLongLong(survey_of(op)->skeleton_bytes);
}

static PyObject *
get_complete(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(survey_of(op)->is_complete);
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
    return none_or_number(survey_of(op)->root);
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

/* --- bytes that add up --------------------------------------------------- */

static int
add_part(PyObject *list, const char *name, uint64_t offset, uint64_t n_bytes)
{
    PyObject *part = Py_BuildValue("sKK", name, (unsigned long long)offset,
                                   (unsigned long long)n_bytes);
    int status = part == NULL ? -1 : PyList_Append(list, part);

    Py_XDECREF(part);
    return status;
}

static PyObject *
get_parts(PyObject *op, void *Py_UNUSED(closure))
{
    fp_survey_object *self = (fp_survey_object *)op;
    const fp_footer *footer = &self->footer;
    PyObject *list = PyList_New(0);
    uint64_t graph, end;
    int status;

    if (list == NULL) {
        return NULL;
    }
    if (!self->has_footer) {
        status = add_part(list, "pickle", self->start, self->length);
    }
    else {
        graph = self->start + footer->graph_offset;
        end = graph + footer->graph_length;
        status = -(add_part(list, "header", self->start, FP_HEADER_BYTES) < 0
                   || add_part(list, "sidecar",
                               self->start + footer->sidecar_offset,
                               footer->sidecar_length)
                          < 0
                   || add_part(list, "graph", graph, footer->graph_length) < 0
                   || add_part(list, "footer", end,
                               self->start + footer->total_length - end)
                          < 0);
    }
    if (status < 0) {
        Py_CLEAR(list);
    }
    return list;
}

static PyObject *
get_sums(PyObject *op, void *Py_UNUSED(closure))
{
    fp_survey_object *self = (fp_survey_object *)op;
    const fp_survey_sums *sums = &self->survey.sums;
    const fp_footer *footer = &self->footer;
    unsigned long long header = 0, rest = 0, padding = 0;

    if (self->has_footer) {
        header = FP_HEADER_BYTES;
        padding = footer->sidecar_length - sums->blobs;
        rest =
            footer->total_length - footer->graph_offset - footer->graph_length;
    }
    return Py_BuildValue("{sKsKsKsKsKsKsKsK}", "values",
                         (unsigned long long)sums->values, "outside",
                         (unsigned long long)sums->outside, "protocol",
                         (unsigned long long)sums->protocol, "frames",
                         (unsigned long long)sums->frames, "stop",
                         (unsigned long long)sums->stop, "header", header,
                         "padding", padding, "footer", rest);
}

/* --- names --------------------------------------------------------------- */

/* As pickle maps them for protocols below 3: new references to what the pair
 * becomes, or the same again. */
static int
rename_pair(const fp_state *state, PyObject **module, PyObject **name)
{
    PyObject *pair = PyTuple_Pack(2, *module, *name);
    PyObject *found;

    if (pair == NULL) {
        return -1;
    }
    found = PyDict_GetItemWithError(state->name_mapping_2to3, pair);
    Py_DECREF(pair);
    if (found != NULL && PyTuple_CheckExact(found)
        && PyTuple_GET_SIZE(found) == 2)
    {
        *module = Py_NewRef(PyTuple_GET_ITEM(found, 0));
        *name = Py_NewRef(PyTuple_GET_ITEM(found, 1));
        return 1;
    }
    if (PyErr_Occurred()) {
        return -1;
    }
    found = PyDict_GetItemWithError(state->import_mapping_2to3, *module);
    if (found == NULL && PyErr_Occurred()) {
        return -1;
    }
    *module = Py_NewRef(found != NULL ? found : *module);
    *name = Py_NewRef(*name);
    return found != NULL;
}

static PyObject *
global_object(const fp_survey *survey, const fp_survey_global *global)
{
    PyObject *spelled = NULL, *result = NULL;
    PyObject *module = text_object(survey, global->module);
    PyObject *name = module == NULL ? NULL : text_object(survey, global->name);
    PyObject *new_module = NULL, *new_name = NULL, *first_node = NULL;
    int is_renamed = 0;

    if (name == NULL) {
        goto done;
    }
    if (global->flags & FP_GLOBAL_RENAMED && module != Py_None
        && name != Py_None)
    {
        new_module = module;
        new_name = name;
        is_renamed = rename_pair(survey->state, &new_module, &new_name);
        if (is_renamed < 0) {
            new_module = new_name = NULL;
            goto done;
        }
    }
    spelled = is_renamed ? PyTuple_Pack(2, module, name) : Py_NewRef(Py_None);
    first_node = none_or_number(global->first_node);
    if (spelled != NULL && first_node != NULL) {
        unsigned flags =
            (unsigned)global->flags & ~(unsigned)FP_GLOBAL_RENAMED;
        result = Py_BuildValue(
            "OOIIIIIOIO", new_module != NULL ? new_module : module,
            new_name != NULL ? new_name : name, global->n_called,
            global->n_class, global->n_built, global->n_argument,
            global->n_get, first_node,
            is_renamed ? flags | FP_GLOBAL_RENAMED : flags, spelled);
    }
done:
    Py_XDECREF(module);
    Py_XDECREF(name);
    Py_XDECREF(new_module);
    Py_XDECREF(new_name);
    Py_XDECREF(spelled);
    Py_XDECREF(first_node);
    return result;
}

static PyObject *
get_globals(PyObject *op, void *Py_UNUSED(closure))
{
    const fp_survey *survey = survey_of(op);
    PyObject *list = PyList_New((Py_ssize_t)survey->n_globals);

    for (size_t i = 0; list != NULL && i < survey->n_globals; i++) {
        PyObject *item = global_object(survey, &survey->globals[i]);
        if (item == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, item);
    }
    return list;
}

/* --- tables -------------------------------------------------------------- */

/* A node as numpy.frombuffer() takes it. */
typedef struct {
    uint64_t total;
    uint64_t own;
    uint64_t step;
    uint32_t parent;
    uint32_t what;
    uint8_t step_kind;
    uint8_t kind;
    uint8_t is_repeated;
    uint8_t zero[5];
} node_record;

static PyObject *
get_nodes(PyObject *op, void *Py_UNUSED(closure))
{
    const fp_survey *survey = survey_of(op);
    PyObject *bytes;
    node_record *records;

    if (survey->n_nodes > PY_SSIZE_T_MAX / sizeof(node_record)) {
        return PyErr_NoMemory();
    }
    bytes = PyBytes_FromStringAndSize(
        NULL, (Py_ssize_t)(survey->n_nodes * sizeof(node_record)));
    if (bytes == NULL || survey->n_nodes == 0) {
        return bytes;
    }
    records = (node_record *)(void *)PyBytes_AS_STRING(bytes);
    for (size_t i = 0; i < survey->n_nodes; i++) {
        const fp_survey_node *node = &survey->nodes[i];
        records[i] = (node_record){
            .total = node->total,
            .step = fp_node_step_value(node),
            .parent = node->parent,
            .what = node->what,
            .step_kind = (uint8_t)fp_node_step_kind(node),
            .kind = (uint8_t)fp_node_kind(node),
            .is_repeated = (uint8_t)fp_node_is_repeated(node),
        };
    }
    fp_survey_own_bytes(survey, &records->own, sizeof(node_record));
    return bytes;
}

static PyObject *
get_arrays(PyObject *op, void *Py_UNUSED(closure))
{
    const fp_survey *survey = survey_of(op);

    return bytes_of(survey->arrays, survey->n_arrays, sizeof(fp_survey_array));
}

static PyObject *
get_leaves(PyObject *op, void *Py_UNUSED(closure))
{
    const fp_survey *survey = survey_of(op);

    return bytes_of(survey->leaves, survey->n_leaves, sizeof(fp_survey_leaf));
}

static PyObject *
get_payloads(PyObject *op, void *Py_UNUSED(closure))
{
    const fp_survey *survey = survey_of(op);

    return bytes_of(survey->payloads, survey->n_payloads,
                    sizeof(fp_survey_payload));
}

static PyObject *
get_numbers(PyObject *op, void *Py_UNUSED(closure))
{
    const fp_survey *survey = survey_of(op);

    return bytes_of(survey->numbers, survey->n_numbers, sizeof(int64_t));
}

static PyObject *
odd_object(const fp_survey_odd *odd, fp_oddity oddity)
{
    uint64_t n =
        odd->count < FP_SURVEY_ODD_PLACES ? odd->count : FP_SURVEY_ODD_PLACES;
    PyObject *offsets = PyList_New(0);
    PyObject *result = NULL;

    for (uint64_t i = 0; offsets != NULL && i < n; i++) {
        PyObject *offset = PyLong_FromUnsignedLongLong(odd->offsets[i]);
        if (offset == NULL || PyList_Append(offsets, offset) < 0) {
            Py_CLEAR(offsets);
        }
        Py_XDECREF(offset);
    }
    if (offsets != NULL) {
        result = Py_BuildValue("sKO", fp_oddity_text(oddity),
                               (unsigned long long)odd->count, offsets);
        Py_DECREF(offsets);
    }
    return result;
}

static PyObject *
get_odd(PyObject *op, void *Py_UNUSED(closure))
{
    const fp_survey *survey = survey_of(op);
    PyObject *list = PyList_New(0);

    for (int i = 0; list != NULL && i < FP_N_ODDITIES; i++) {
        PyObject *item;
        if (survey->odd[i] == NULL) {
            continue;
        }
        item = odd_object(survey->odd[i], (fp_oddity)i);
        if (item == NULL || PyList_Append(list, item) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(item);
    }
    return list;
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
    const fp_survey *survey = survey_of(op);
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
    if (fp_survey_find(survey_of(op), argument, &number, &is_leaf) < 0) {
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
    const fp_survey *survey = survey_of(op);
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
    const fp_survey *survey = survey_of(op);
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
    const fp_survey *survey = survey_of(op);
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
    return PyLong_FromUnsignedLongLong(fp_survey_offset(survey_of(op), place));
}

/* --- dtypes -------------------------------------------------------------- */

static PyObject *dtype_object(fp_survey_object *self, uint32_t number);
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
        PyObject *module = text_object(survey, global->module);
        PyObject *name =
            module == NULL ? NULL : text_object(survey, global->name);
        if (name == NULL) {
            Py_XDECREF(module);
            return NULL;
        }
        return Py_BuildValue("sNN", "global", module, name);
    }
    case FP_LITERAL_DTYPE:
        return dtype_object(self, (uint32_t)literal->u.number);
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
        text = text_object(&self->survey, dtype->text);
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
static PyObject *
dtype_object(fp_survey_object *self, uint32_t number)
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

static PyObject *
survey_dtype(PyObject *op, PyObject *argument)
{
    Py_ssize_t i = take_index(argument, survey_of(op)->n_dtypes);

    return i < 0 ? NULL : dtype_object((fp_survey_object *)op, (uint32_t)i);
}

static PyObject *
survey_itemsize(PyObject *op, PyObject *argument)
{
    const fp_survey *survey = survey_of(op);
    Py_ssize_t i = take_index(argument, survey->n_dtypes);

    if (i < 0) {
        return NULL;
    }
    return survey->dtypes[i].flags & FP_DTYPE_KNOWN
               ? none_or_number(survey->dtypes[i].itemsize)
               : Py_NewRef(Py_None);
}

static PyObject *
survey_has_objects(PyObject *op, PyObject *argument)
{
    const fp_survey *survey = survey_of(op);
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
    const fp_survey *survey = survey_of(op);
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
    {"parts", get_parts, NULL, NULL, NULL},
    {"sums", get_sums, NULL, NULL, NULL},
    {"globals", get_globals, NULL, NULL, NULL},
    {"nodes", get_nodes, NULL, NULL, NULL},
    {"arrays", get_arrays, NULL, NULL, NULL},
    {"leaves", get_leaves, NULL, NULL, NULL},
    {"payloads", get_payloads, NULL, NULL, NULL},
    {"numbers", get_numbers, NULL, NULL, NULL},
    {"odd", get_odd, NULL, NULL, NULL},
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
        "args", "kwargs", "callable", "popped", "open",
    };
    static const char *const stored[] = {
        "nowhere", "unknown", "inline", "payload",
        "blob",    "buffer",  "text",   "elements",
    };
    PyObject *dict = PyDict_New();

    static_assert(N(kinds) == FP_VALUE_BLOB + 1, "a name for each kind");
    static_assert(N(steps) == FP_STEP_OPEN + 1, "a name for each step");
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

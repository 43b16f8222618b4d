/* What a Survey says in one piece: sums, names, tables. */
#include "survey_type_parts.h"

PyObject *
fp_text_object(const fp_survey *survey, uint32_t text)
{
    size_t n_bytes;
    const char *bytes;

    if (text == FP_SURVEY_NONE) {
        Py_RETURN_NONE;
    }
    bytes = fp_survey_text(survey, text, &n_bytes);
    return PyUnicode_DecodeUTF8(bytes, (Py_ssize_t)n_bytes, "surrogatepass");
}

static PyObject *
bytes_of(const void *rows, size_t n, size_t row_bytes)
{
    return PyBytes_FromStringAndSize(n > 0 ? rows : "",
                                     (Py_ssize_t)(n * row_bytes));
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

PyObject *
fp_survey_get_parts(PyObject *op, void *Py_UNUSED(closure))
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
                   || add_part(list, "array bytes",
                               self->start + footer->arrays_offset,
                               footer->arrays_length)
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

PyObject *
fp_survey_get_sums(PyObject *op, void *Py_UNUSED(closure))
{
    fp_survey_object *self = (fp_survey_object *)op;
    const fp_survey_sums *sums = &self->survey.sums;
    const fp_footer *footer = &self->footer;
    unsigned long long header = self->header_bytes, rest = 0, padding = 0;

    if (self->has_footer) {
        rest =
            footer->total_length - footer->graph_offset - footer->graph_length;
    }
    if (self->sidecar_bytes > 0) {
        padding = self->sidecar_bytes - sums->blobs;
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
    PyObject *module = fp_text_object(survey, global->module);
    PyObject *name =
        module == NULL ? NULL : fp_text_object(survey, global->name);
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
    first_node = fp_none_or_number(global->first_node);
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

PyObject *
fp_survey_get_globals(PyObject *op, void *Py_UNUSED(closure))
{
    const fp_survey *survey = fp_survey_of(op);
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
    uint8_t zero;
    uint32_t levels;
} node_record;

PyObject *
fp_survey_get_nodes(PyObject *op, void *Py_UNUSED(closure))
{
    const fp_survey *survey = fp_survey_of(op);
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
            .levels = fp_node_levels(node),
        };
    }
    fp_survey_own_bytes(survey, &records->own, sizeof(node_record));
    return bytes;
}

PyObject *
fp_survey_get_arrays(PyObject *op, void *Py_UNUSED(closure))
{
    const fp_survey *survey = fp_survey_of(op);

    return bytes_of(survey->arrays, survey->n_arrays, sizeof(fp_survey_array));
}

PyObject *
fp_survey_get_leaves(PyObject *op, void *Py_UNUSED(closure))
{
    const fp_survey *survey = fp_survey_of(op);

    return bytes_of(survey->leaves, survey->n_leaves, sizeof(fp_survey_leaf));
}

PyObject *
fp_survey_get_payloads(PyObject *op, void *Py_UNUSED(closure))
{
    const fp_survey *survey = fp_survey_of(op);

    return bytes_of(survey->payloads, survey->n_payloads,
                    sizeof(fp_survey_payload));
}

PyObject *
fp_survey_get_numbers(PyObject *op, void *Py_UNUSED(closure))
{
    const fp_survey *survey = fp_survey_of(op);

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

PyObject *
fp_survey_get_odd(PyObject *op, void *Py_UNUSED(closure))
{
    const fp_survey *survey = fp_survey_of(op);
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

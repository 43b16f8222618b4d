#include "joblib_dump.h"

#include "out/array_bytes.h"

#include <string.h>

#define ALIGNMENT        16
#define OBJECTS_PROTOCOL 5
/* Arrays from here on go to the ring without a stop in the graph. */
#define DIRECT_BYTES ((size_t)16 << 10)

static fp_stream *
stream_of(const fp_walk *walk)
{
    return walk->outlet->self;
}

/* --- opcodes ------------------------------------------------------------ */

/* A global by its name; `key` stands for it in the memo. */
static int
emit_global(fp_walk *walk, PyObject *key, const char *module_name,
            const char *name)
{
    size_t n_module = strlen(module_name);
    size_t n_name = strlen(name);
    int64_t *value = fp_memo_find(walk->memo, key);
    unsigned char *out;

    if (value != NULL) {
        return fp_memo_get(walk, value);
    }
    out = fp_room(walk, n_module + n_name + 5);
    if (out == NULL) {
        return -1;
    }
    if (walk->protocol >= 4) {
        *out++ = OP_SHORT_BINUNICODE;
        *out++ = (unsigned char)n_module;
        memcpy(out, module_name, n_module);
        out += n_module;
        *out++ = OP_SHORT_BINUNICODE;
        *out++ = (unsigned char)n_name;
        memcpy(out, name, n_name);
        out += n_name;
        *out++ = OP_STACK_GLOBAL;
    }
    else {
        *out++ = OP_GLOBAL;
        memcpy(out, module_name, n_module);
        out += n_module;
        *out++ = '\n';
        memcpy(out, name, n_name);
        out += n_name;
        *out++ = '\n';
    }
    walk->graph.cursor = out;
    return fp_memo_put(walk, key, 0);
}

/* A leaf, class or function: written at once. Steals `object`, which may be
 * NULL: then -1. */
static int
emit_at_once(fp_walk *walk, PyObject *object)
{
    int status;

    if (object == NULL) {
        return -1;
    }
    status = fp_save(walk, object, 0);
    Py_DECREF(object);
    if (status == FP_PUSHED) { /* a registered reducer of a metaclass */
        PyErr_SetString(walk->state->pickling_error,
                        "the class of an array must be pickled by its name "
                        "in joblib's layout");
        return -1;
    }
    return status;
}

static PyObject *
reconstructor(void)
{
    PyObject *module = PyImport_ImportModule("copyreg");
    PyObject *function = NULL;

    if (module != NULL) {
        function = PyObject_GetAttrString(module, "_reconstructor");
        Py_DECREF(module);
    }
    return function;
}

/* An instance of joblib's class, without state. */
static int
emit_instance(fp_walk *walk)
{
    static const unsigned char make[] = {OP_EMPTY_TUPLE, OP_NEWOBJ};
    static const unsigned char call[] = {OP_NONE, OP_TUPLE, OP_REDUCE};
    static const char module_name[] = "joblib.numpy_pickle";
    static const char name[] = "NumpyArrayWrapper";
    PyObject *key = walk->state->array_wrapper_type;

    if (walk->protocol >= 2) {
        return emit_global(walk, key, module_name, name) < 0
                       || fp_emit(walk, make, sizeof(make)) < 0
                   ? -1
                   : 0;
    }
    if (emit_at_once(walk, reconstructor()) < 0
        || fp_emit_byte(walk, OP_MARK) < 0
        || emit_global(walk, key, module_name, name) < 0
        || emit_at_once(walk, Py_NewRef(&PyBaseObject_Type)) < 0)
    {
        return -1;
    }
    return fp_emit(walk, call, sizeof(call));
}

static int
emit_shape(fp_walk *walk, const fp_array_geometry *array)
{
    if (walk->protocol >= 2) {
        return fp_emit_integers(walk, array->n_dims, array->shape);
    }
    if (fp_emit_byte(walk, OP_MARK) < 0) {
        return -1;
    }
    for (int i = 0; i < array->n_dims; i++) {
        if (emit_at_once(walk, PyLong_FromSsize_t(array->shape[i])) < 0) {
            return -1;
        }
    }
    return fp_emit_byte(walk, OP_TUPLE);
}

/* A dtype that is known by its string. */
static int
emit_named_dtype(fp_walk *walk, PyArray_Descr *descr, PyObject *name)
{
    int64_t *value = fp_memo_find(walk->memo, (PyObject *)descr);

    if (value != NULL) {
        return fp_memo_get(walk, value);
    }
    if (emit_global(walk, (PyObject *)&PyArrayDescr_Type, "numpy", "dtype") < 0
        || fp_emit_byte(walk, OP_MARK) < 0
        || emit_at_once(walk, Py_NewRef(name)) < 0
        || fp_emit_byte(walk, OP_TUPLE) < 0
        || fp_emit_byte(walk, OP_REDUCE) < 0)
    {
        return -1;
    }
    return fp_memo_put(walk, (PyObject *)descr, 0);
}

/* The items of the state dict: in protocol 0 one by one. */
static int
emit_key(fp_walk *walk, PyObject *key)
{
    return emit_at_once(walk, Py_NewRef(key));
}

static int
end_item(fp_walk *walk)
{
    return walk->text ? fp_emit_byte(walk, OP_SETITEM) : 0;
}

/* Up to the key of the dtype. */
static int
emit_head(fp_walk *walk, const fp_array_geometry *array)
{
    const fp_state *state = walk->state;
    unsigned char dict[] = {walk->text ? OP_MARK : OP_EMPTY_DICT,
                            walk->text ? OP_DICT : OP_MARK};
    const char *order = array->order == FP_ORDER_F ? "F" : "C";

    if (emit_instance(walk) < 0 || fp_emit(walk, dict, sizeof(dict)) < 0
        || emit_key(walk, state->str_subclass) < 0
        || emit_at_once(walk, Py_NewRef(Py_TYPE(array->array))) < 0
        || end_item(walk) < 0 || emit_key(walk, state->str_shape) < 0
        || emit_shape(walk, array) < 0 || end_item(walk) < 0
        || emit_key(walk, state->str_order) < 0
        || emit_at_once(walk, PyUnicode_FromString(order)) < 0
        || end_item(walk) < 0)
    {
        return -1;
    }
    return emit_key(walk, state->str_dtype);
}

/* From behind the dtype to BUILD. */
static int
emit_tail(fp_walk *walk, int is_mappable)
{
    const fp_state *state = walk->state;

    if (end_item(walk) < 0 || emit_key(walk, state->str_allow_mmap) < 0
        || emit_at_once(walk, PyBool_FromLong(is_mappable)) < 0
        || end_item(walk) < 0 || emit_key(walk, state->str_alignment_bytes) < 0
        || emit_at_once(walk, PyLong_FromLong(ALIGNMENT)) < 0
        || fp_emit_byte(walk, walk->text ? OP_SETITEM : OP_SETITEMS) < 0)
    {
        return -1;
    }
    return fp_emit_byte(walk, OP_BUILD);
}

/* --- bytes -------------------------------------------------------------- */

static int
flush(fp_walk *walk)
{
    fp_staging *staging = &stream_of(walk)->staging;
    size_t n_bytes =
        walk->graph.base == NULL ? 0 : fp_graph_length(&walk->graph);
    int status;

    if (n_bytes >= FP_RING_BLOCK_BYTES) {
        status = fp_staging_pass(staging, walk->graph.base, n_bytes);
    }
    else {
        status = fp_staging_write(staging, walk->graph.base, n_bytes);
    }
    fp_graph_reset(&walk->graph);
    return status;
}

/* The byte that says how much padding there is, and the padding. */
static int
emit_padding(fp_walk *walk)
{
    const fp_stream *stream = stream_of(walk);
    uint64_t position = stream->start + fp_ring_position(stream->staging.ring)
                        + fp_graph_length(&walk->graph);
    size_t n_padding = ALIGNMENT - (size_t)((position + 1) % ALIGNMENT);
    unsigned char *out = fp_room(walk, 1 + n_padding);

    if (out == NULL) {
        return -1;
    }
    out[0] = (unsigned char)n_padding;
    memset(out + 1, 0xff, n_padding);
    walk->graph.cursor = out + 1 + n_padding;
    return 0;
}

static int
write_plain(fp_walk *walk, const fp_array_geometry *array)
{
    unsigned char *out;
    fp_array_reader from;

    if (fp_array_check_unchanged(array) < 0 || emit_padding(walk) < 0) {
        return -1;
    }
    if (!walk->silent && array->n_bytes >= DIRECT_BYTES) {
        if (flush(walk) < 0) {
            return -1;
        }
        return fp_array_stage(&stream_of(walk)->staging, array);
    }
    if (array->n_bytes > 0) {
        out = fp_room(walk, array->n_bytes);
        if (out == NULL) {
            return -1;
        }
        fp_array_reader_init(&from, array);
        fp_array_read(&from, out, array->n_bytes);
        walk->graph.cursor = out + array->n_bytes;
        if (walk->silent) {
            stream_of(walk)->n_held += array->n_bytes;
        }
    }
    return 0;
}

static int
pass(fp_walk *walk, fp_payload *source)
{
    return fp_staging_take(&stream_of(walk)->staging, source);
}

static int
start_over(fp_walk *walk)
{
    stream_of(walk)->n_held = 0;
    return 0;
}

/* A pickle of its own: nothing in it is shared with what is around it, and the
 * arrays in it are what their reducer makes of them. */
static int
write_objects(fp_walk *walk, PyObject *array)
{
    static const fp_outlet_methods methods = {
        .flush = flush, .pass = pass, .start_over = start_over};
    fp_outlet outlet = {.methods = &methods, .self = walk->outlet->self};
    fp_walk inner = {0};
    int status;

    if (flush(walk) < 0) {
        return -1;
    }
    fp_walk_init(&inner, walk->state, OBJECTS_PROTOCOL, 0);
    inner.local_object_error = walk->local_object_error;
    inner.names = walk->names;
    inner.outlet = &outlet;
    status = fp_walk_run(&inner, array);
    if (status == 0) {
        status = flush(&inner);
    }
    fp_walk_free(&inner);
    return status;
}

/* Behind the dtype: the end of the state, and what follows BUILD. */
static int
finish_array(fp_walk *walk, const fp_array_geometry *array, int has_objects)
{
    int framing, status;

    if (emit_tail(walk, !has_objects) < 0) {
        return -1;
    }
    framing = fp_begin_unframed(walk);
    status = has_objects ? write_objects(walk, (PyObject *)array->array)
                         : write_plain(walk, array);
    if (status == 0 && !walk->silent
        && fp_graph_length(&walk->graph) >= FP_FRAME_TARGET_BYTES)
    {
        status = flush(walk);
    }
    fp_end_unframed(walk, framing);
    return status;
}

/* --- one array ---------------------------------------------------------- */

/* While a dtype is saved by its own reducer. */
typedef struct {
    fp_array_geometry array;
    int has_objects;
} suspended;

static int
push_suspended(fp_walk *walk, const fp_array_geometry *array, int has_objects)
{
    suspended kept = {.array = *array, .has_objects = has_objects};

    return fp_push_array(walk, (PyObject *)array->array,
                         (PyObject *)array->descr, &kept, sizeof(kept));
}

static int
step_array(fp_walk *walk, fp_frame *frame)
{
    suspended *kept =
        PyCapsule_GetPointer(PyTuple_GET_ITEM(frame->pending, 0), NULL);

    if (frame->stage == 0) {
        int status;
        frame->stage = 1;
        status = fp_save(walk, PyTuple_GET_ITEM(frame->pending, 1), 0);
        if (status != FP_SAVED) {
            return status;
        }
    }
    if (fp_array_check_unchanged(&kept->array) < 0
        || fp_array_find_padding(&walk->padding, &kept->array) < 0
        || finish_array(walk, &kept->array, kept->has_objects) < 0)
    {
        return -1;
    }
    fp_pop(walk);
    return FP_SAVED;
}

static int
save_wrapped(fp_walk *walk, PyArrayObject *object, int has_objects)
{
    PyArray_Descr *descr = PyArray_DESCR(object);
    PyObject *name = fp_dtype_name_of(walk, descr);
    fp_array_geometry array;

    if (name == NULL && PyErr_Occurred()) {
        return -1;
    }
    if (fp_array_describe(&walk->padding, object, &array) < 0) {
        return -1;
    }
    if (array.order == FP_ORDER_OTHER) {
        array.order = FP_ORDER_GATHERED;
    }
    if (walk->silent
        && (name == NULL || walk->protocol < 2
            || array.n_bytes > FP_HELD_BYTES - stream_of(walk)->n_held))
    {
        return fp_call_out(walk);
    }
    if (emit_head(walk, &array) < 0) {
        return -1;
    }
    if (name == NULL) {
        return push_suspended(walk, &array, has_objects);
    }
    if (emit_named_dtype(walk, descr, name) < 0) {
        return -1;
    }
    return finish_array(walk, &array, has_objects) < 0 ? -1 : FP_SAVED;
}

/* Never in the memo, so `lonely` is no matter. */
static int
save_array(fp_walk *walk, PyObject *object, int lonely, int *result)
{
    PyObject *type = (PyObject *)Py_TYPE(object);
    PyArray_Descr *descr;
    int has_objects;

    (void)lonely;
    if (type != (PyObject *)&PyArray_Type && type != walk->state->memmap_type
        && type != walk->state->matrix_type)
    {
        return 0;
    }
    descr = PyArray_DESCR((PyArrayObject *)object);
    has_objects = PyDataType_REFCHK(descr);
    /* What joblib has no bytes for (it fails on items of no size) is an
     * ordinary object. */
    if (!has_objects
        && (!fp_has_plain_bytes(descr) || PyDataType_ELSIZE(descr) <= 0))
    {
        return 0;
    }
    *result = save_wrapped(walk, (PyArrayObject *)object, has_objects);
    return *result < 0 ? -1 : 1;
}

/* --- the whole stream --------------------------------------------------- */

/* Arrays come first: as with joblib, whatever is registered for them. */
static const fp_outlet_methods joblib_methods = {
    .save_array = save_array,
    .step_array = step_array,
    .comes_first = 1,
    .flush = flush,
    .pass = pass,
    .start_over = start_over,
};

int
fp_joblib_walk(fp_walk *walk, fp_state *state, fp_stream *stream,
               PyObject *value, int protocol, PyObject *names)
{
    stream->outlet = (fp_outlet){.methods = &joblib_methods, .self = stream};
    fp_walk_init(walk, state, protocol, 1);
    walk->local_object_error = state->pickling_error;
    walk->names = names;
    walk->outlet = &stream->outlet;
    walk->silent = 1;
    return fp_walk_run(walk, value) < 0 ? -1 : flush(walk);
}

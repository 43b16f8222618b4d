/* NumPy arrays: the opcodes that make them, around bytes that go to the walk's
 * outlet. */
#include "outlet.h"
#include "walk.h"

#include <string.h>

/* --- dtypes ------------------------------------------------------------- */

/* Whether dtype.str says all there is to say. */
static int
is_named_by_string(PyArray_Descr *descr)
{
    PyArray_Descr *standard;
    int same;

    if (!fp_is_builtin_number(descr->type_num) || fp_has_fields(descr)
        || PyDataType_SUBARRAY(descr) != NULL
        || (PyDataType_METADATA(descr) != NULL
            && PyDataType_METADATA(descr) != Py_None))
    {
        return 0;
    }
    standard = PyArray_DescrFromType(descr->type_num);
    if (standard == NULL) {
        PyErr_Clear();
        return 0;
    }
    same = standard->typeobj == descr->typeobj;
    Py_DECREF(standard);
    return same;
}

PyObject *
fp_dtype_name_of(fp_walk *walk, PyArray_Descr *descr)
{
    fp_dtype_name *cached =
        &walk->dtypes[FP_CACHE_SLOT(descr, FP_DTYPE_CACHE)];
    PyObject *text;
    PyObject *kept = NULL;

    if (cached->dtype == (PyObject *)descr) {
        return cached->name;
    }
    if (is_named_by_string(descr)) {
        if (walk->dtype_names == NULL) {
            walk->dtype_names = PyDict_New();
            if (walk->dtype_names == NULL) {
                return NULL;
            }
        }
        text = PyObject_GetAttrString((PyObject *)descr, "str");
        if (text == NULL) {
            return NULL;
        }
        kept = PyDict_SetDefault(walk->dtype_names, text, text);
        Py_DECREF(text);
        if (kept == NULL) {
            return NULL;
        }
    }
    Py_XSETREF(cached->dtype, Py_NewRef(descr));
    cached->name = kept;
    return kept;
}

/* --- opcodes ------------------------------------------------------------ */

static int
emit_integer(fp_walk *walk, int64_t value)
{
    unsigned char *out = fp_room(walk, 10);

    if (out == NULL) {
        return -1;
    }
    if (value >= 0 && value < 256) {
        *out++ = OP_BININT1;
        *out++ = (unsigned char)value;
    }
    else if (value >= 0 && value < 65536) {
        *out++ = OP_BININT2;
        *out++ = (unsigned char)value;
        *out++ = (unsigned char)(value >> 8);
    }
    else {
        int n_bytes = value >= INT32_MIN && value <= INT32_MAX ? 4 : 8;
        if (n_bytes == 4) {
            *out++ = OP_BININT;
        }
        else {
            *out++ = OP_LONG1;
            *out++ = 8;
        }
        for (int i = 0; i < n_bytes; i++) {
            *out++ = (unsigned char)((uint64_t)value >> (8 * i));
        }
    }
    walk->graph.cursor = out;
    return 0;
}

int
fp_emit_integers(fp_walk *walk, int n, const npy_intp *values)
{
    static const unsigned char opcodes[] = {OP_EMPTY_TUPLE, OP_TUPLE1,
                                            OP_TUPLE2, OP_TUPLE3};

    if (n > 3 && fp_emit_byte(walk, OP_MARK) < 0) {
        return -1;
    }
    for (int i = 0; i < n; i++) {
        if (emit_integer(walk, values[i]) < 0) {
            return -1;
        }
    }
    return fp_emit_byte(walk, n > 3 ? OP_TUPLE : opcodes[n]);
}

/* numpy.ndarray, and the MARK and shape of its arguments. */
static int
emit_head(fp_walk *walk, const fp_array_geometry *array)
{
    int status = fp_save(walk, (PyObject *)&PyArray_Type, 0);

    if (status != FP_SAVED) {
        if (status == FP_PUSHED) { /* a class of a plain metaclass never is */
            PyErr_SetString(PyExc_SystemError,
                            "numpy.ndarray was not written at once");
        }
        return -1;
    }
    if (fp_emit_byte(walk, OP_MARK) < 0) {
        return -1;
    }
    return fp_emit_integers(walk, array->n_dims, array->shape);
}

/* Behind the dtype: blob, offset, strides, order, and the call. */
static int
emit_tail(fp_walk *walk, const fp_array_geometry *array,
          const fp_array_place *place)
{
    static const unsigned char call[] = {OP_TUPLE, OP_REDUCE};

    if (array->n_bytes > 0) {
        int needs_strides =
            array->order == FP_ORDER_OTHER || array->order == FP_ORDER_F;
        if (walk->outlet->methods->fetch_array(walk, place) < 0) {
            return -1;
        }
        if ((place->offset > 0 || needs_strides)
            && emit_integer(walk, (int64_t)place->offset) < 0)
        {
            return -1;
        }
        if (array->order == FP_ORDER_OTHER
            && fp_emit_integers(walk, array->n_dims, array->strides) < 0)
        {
            return -1;
        }
        if (array->order == FP_ORDER_F) {
            PyObject *order = PyUnicode_FromString("F"); /* a cached one */
            int status;
            if (order == NULL) {
                return -1;
            }
            status =
                fp_emit_byte(walk, OP_NONE) < 0 || fp_save(walk, order, 0) < 0
                    ? -1
                    : 0;
            Py_DECREF(order);
            if (status < 0) {
                return -1;
            }
        }
    }
    return fp_emit(walk, call, sizeof(call));
}

/* An array without bytes has no place. */
static int
place(fp_walk *walk, const fp_array_geometry *array, fp_array_place *where)
{
    return array->n_bytes == 0
               ? 0
               : walk->outlet->methods->place_array(walk, array, where);
}

/* A dtype that is an object is saved by its own reducer, between the two
 * halves: the frame keeps what the second half needs. */
typedef struct {
    fp_array_geometry array;
    fp_array_place place;
} suspended;

static void
free_suspended(PyObject *capsule)
{
    PyMem_Free(PyCapsule_GetPointer(capsule, NULL));
}

int
fp_push_array(fp_walk *walk, PyObject *array, PyObject *descr,
              const void *kept, size_t n_bytes)
{
    void *copy = PyMem_Malloc(n_bytes);
    PyObject *capsule, *pair;
    fp_frame *frame;

    if (copy == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(copy, kept, n_bytes);
    capsule = PyCapsule_New(copy, NULL, free_suspended);
    if (capsule == NULL) {
        PyMem_Free(copy);
        return -1;
    }
    pair = PyTuple_Pack(2, capsule, descr);
    Py_DECREF(capsule);
    if (pair == NULL) {
        return -1;
    }
    frame = fp_push(walk, FP_FRAME_ARRAY, array);
    if (frame == NULL) {
        Py_DECREF(pair);
        return -1;
    }
    frame->pending = pair;
    frame->flags |= FP_FLAG_OWNS_PENDING;
    return FP_PUSHED;
}

static int
push_suspended(fp_walk *walk, PyObject *object, const fp_array_geometry *array,
               const fp_array_place *place)
{
    suspended kept = {.array = *array, .place = *place};

    return fp_push_array(walk, object, (PyObject *)array->descr, &kept,
                         sizeof(kept));
}

int
fp_step_array(fp_walk *walk, fp_frame *frame)
{
    suspended *kept =
        PyCapsule_GetPointer(PyTuple_GET_ITEM(frame->pending, 0), NULL);
    int64_t *value;
    int status;

    if (frame->stage == 0) {
        frame->stage = 1;
        status = fp_save(walk, PyTuple_GET_ITEM(frame->pending, 1), 0);
        if (status != FP_SAVED) {
            return status;
        }
    }
    if (walk->outlet->methods->is_ordered
        && (fp_array_check_unchanged(&kept->array) < 0
            || fp_array_find_padding(&walk->padding, &kept->array) < 0
            || place(walk, &kept->array, &kept->place) < 0))
    {
        return -1;
    }
    if (emit_tail(walk, &kept->array, &kept->place) < 0) {
        return -1;
    }
    /* The dtype may have led back to the array. */
    value = fp_memo_find(walk->memo, frame->object);
    status = value == NULL ? fp_memo_put(walk, frame->object, 0)
             : fp_emit_byte(walk, OP_POP) < 0 ? -1
                                              : fp_memo_get(walk, value);
    if (status < 0) {
        return -1;
    }
    fp_pop(walk);
    return FP_SAVED;
}

int
fp_save_array(fp_walk *walk, PyObject *object, int lonely, int *result)
{
    PyTypeObject *type = Py_TYPE(object);
    PyArray_Descr *descr;
    PyObject *name;
    const fp_outlet_methods *methods = walk->outlet->methods;
    fp_array_geometry array;
    fp_array_place where = {0};

    if (type != &PyArray_Type && (PyObject *)type != walk->state->memmap_type)
    {
        return 0;
    }
    descr = PyArray_DESCR((PyArrayObject *)object);
    if (!fp_has_plain_bytes(descr)) {
        return 0;
    }
    name = fp_dtype_name_of(walk, descr);
    if (name == NULL) {
        if (PyErr_Occurred()) {
            return -1;
        }
        if (fp_call_out(walk) < 0) {
            return -1;
        }
    }
    if (fp_array_describe(&walk->padding, (PyArrayObject *)object, &array) < 0)
    {
        return -1;
    }
    if (walk->silent && !methods->array_fits(walk, array.n_bytes)) {
        return fp_call_out(walk);
    }
    /* The buffers of a dtype's own objects come in front of the array's in the
     * graph, so in the file, too. */
    if ((name != NULL || !methods->is_ordered)
        && place(walk, &array, &where) < 0)
    {
        return -1;
    }
    if (emit_head(walk, &array) < 0) {
        return -1;
    }
    if (name == NULL) {
        *result = push_suspended(walk, object, &array, &where);
        return *result < 0 ? -1 : 1;
    }
    if (fp_save(walk, name, 0) < 0 || emit_tail(walk, &array, &where) < 0
        || fp_memo_put(walk, object, lonely) < 0)
    {
        return -1;
    }
    *result = FP_SAVED;
    return 1;
}

/* --- scalars ------------------------------------------------------------ */

#define MAX_SCALAR_BYTES 64

int
fp_save_scalar(fp_walk *walk, PyObject *object)
{
    static const unsigned char call[] = {OP_TUPLE2, OP_REDUCE};
    PyArray_Descr *descr;
    int64_t *function, *dtype;
    unsigned char bytes[MAX_SCALAR_BYTES + 2];
    size_t n_bytes;
    int status = -1;

    if (!PyArray_IsScalar(object, Number) && !PyArray_IsScalar(object, Bool)) {
        return 0;
    }
    descr = PyArray_DescrFromScalar(object);
    if (descr == NULL) {
        return -1;
    }
    n_bytes = (size_t)PyDataType_ELSIZE(descr);
    function = fp_memo_find(walk->memo, walk->state->scalar_function);
    dtype = fp_memo_find(walk->memo, (PyObject *)descr);
    if (Py_TYPE(object) != descr->typeobj || function == NULL || dtype == NULL
        || !fp_is_builtin_number(descr->type_num)
        || n_bytes > MAX_SCALAR_BYTES)
    {
        status = 0;
        goto done;
    }
    bytes[0] = OP_SHORT_BINBYTES;
    bytes[1] = (unsigned char)n_bytes;
    PyArray_ScalarAsCtype(object, bytes + 2);
    if (fp_memo_get(walk, function) == 0 && fp_memo_get(walk, dtype) == 0
        && fp_emit(walk, bytes, n_bytes + 2) == 0
        && fp_emit(walk, call, sizeof(call)) == 0
        && fp_memo_put(walk, object, 0) == 0)
    {
        status = 1;
    }
done:
    Py_DECREF(descr);
    return status;
}

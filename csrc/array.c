/* NumPy arrays. The only file that includes NumPy's headers. */
#include "walk.h"

#include <numpy/arrayobject.h>

#include "core/strided.h"

#include <string.h>

int
fp_array_init(fp_state *state)
{
    PyObject *numpy, *multiarray;

    if (PyArray_ImportNumPyAPI() < 0) {
        return -1;
    }
    numpy = PyImport_ImportModule("numpy");
    if (numpy == NULL) {
        return -1;
    }
    state->memmap_type = PyObject_GetAttrString(numpy, "memmap");
    Py_DECREF(numpy);
    if (state->memmap_type == NULL) {
        return -1;
    }
    multiarray = PyImport_ImportModule("numpy._core.multiarray");
    if (multiarray == NULL) { /* NumPy 1.26 */
        PyErr_Clear();
        multiarray = PyImport_ImportModule("numpy.core.multiarray");
    }
    if (multiarray == NULL) {
        return -1;
    }
    state->scalar_function = PyObject_GetAttrString(multiarray, "scalar");
    Py_DECREF(multiarray);
    return state->scalar_function == NULL ? -1 : 0;
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

/* --- dtypes ------------------------------------------------------------- */

#define FIRST_USER_TYPE          256
#define END_OF_LEGACY_USER_TYPES 2048

static inline int
is_builtin_number(int type_num)
{
    return type_num >= NPY_BOOL && type_num <= NPY_HALF
           && type_num != NPY_OBJECT;
}

/* Whether the elements are bytes that mean the same wherever they lie. */
static int
has_plain_bytes(const PyArray_Descr *descr)
{
    int type_num = descr->type_num;

    if (!is_builtin_number(type_num)
        && !(type_num >= FIRST_USER_TYPE
             && type_num < END_OF_LEGACY_USER_TYPES))
    {
        return 0;
    }
    return !PyDataType_FLAGCHK(descr, NPY_ITEM_REFCOUNT)
           && !PyDataType_FLAGCHK(descr, NPY_ITEM_IS_POINTER)
           && !PyDataType_FLAGCHK(descr, NPY_LIST_PICKLE);
}

static inline int
has_fields(PyArray_Descr *descr)
{
    PyObject *names = PyDataType_NAMES(descr);
    return names != NULL && names != Py_None;
}

/* Whether dtype.str says all there is to say. */
static int
is_named_by_string(PyArray_Descr *descr)
{
    PyArray_Descr *standard;
    int same;

    if (!is_builtin_number(descr->type_num) || has_fields(descr)
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

/* The dtype's string, one object per spelling and walk; borrowed. NULL without
 * an exception where the dtype must be stored as an object. */
static PyObject *
dtype_name(fp_walk *walk, PyArray_Descr *descr)
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

/* Marks with 1 the bytes of an element that belong to a field. */
static int
mark_fields(PyArray_Descr *descr, unsigned char *covered)
{
    PyObject *fields, *key, *value;
    Py_ssize_t position = 0;

    if (PyDataType_SUBARRAY(descr) != NULL) {
        PyArray_Descr *base = PyDataType_SUBARRAY(descr)->base;
        npy_intp item_bytes = PyDataType_ELSIZE(base);
        for (npy_intp at = 0;
             item_bytes > 0 && at + item_bytes <= PyDataType_ELSIZE(descr);
             at += item_bytes)
        {
            if (mark_fields(base, covered + at) < 0) {
                return -1;
            }
        }
        return 0;
    }
    if (!has_fields(descr)) {
        memset(covered, 1, (size_t)PyDataType_ELSIZE(descr));
        return 0;
    }
    fields = PyDataType_FIELDS(descr);
    while (PyDict_Next(fields, &position, &key, &value)) {
        PyArray_Descr *field = (PyArray_Descr *)PyTuple_GET_ITEM(value, 0);
        Py_ssize_t offset = PyLong_AsSsize_t(PyTuple_GET_ITEM(value, 1));
        if (offset == -1 && PyErr_Occurred()) {
            return -1;
        }
        if (mark_fields(field, covered + offset) < 0) {
            return -1;
        }
    }
    return 0;
}

/* --- geometry ----------------------------------------------------------- */

/* What the array was at its visit. User code, or another thread while the
 * ring is flushed, may change it between two blocks. */
typedef struct {
    PyArrayObject *array; /* borrowed */
    PyArray_Descr *descr; /* borrowed, compared only */
    const char *data;
    int n_dims;
    npy_intp shape[NPY_MAXDIMS];
    npy_intp strides[NPY_MAXDIMS];
    size_t item_bytes;
    size_t n_bytes;
    enum {
        ORDER_C,
        ORDER_F,
        ORDER_OTHER,
        GATHERED
    } order;
    const unsigned char *covered; /* the walk's; NULL: no byte is padding */
} geometry;

/* Whether the axes, taken in some order, lie densely one in the other. */
static int
is_dense(const geometry *array)
{
    int used[NPY_MAXDIMS] = {0};
    npy_intp expected = (npy_intp)array->item_bytes;

    for (int n_found = 0; n_found < array->n_dims; n_found++) {
        int axis = -1;
        for (int i = 0; i < array->n_dims; i++) {
            if (!used[i]
                && (array->shape[i] == 1 || array->strides[i] == expected))
            {
                axis = i;
                break;
            }
        }
        if (axis < 0) {
            return 0;
        }
        used[axis] = 1;
        expected *= array->shape[axis];
    }
    return 1;
}

/* One byte per byte of an element, 0 where it is padding; the walk's own,
 * until the next structured dtype. *covered is NULL where there is no
 * padding. */
static int
find_padding(fp_walk *walk, PyArray_Descr *descr,
             const unsigned char **covered)
{
    size_t item_bytes = (size_t)PyDataType_ELSIZE(descr);
    unsigned char *map;

    if (walk->last_fields != (PyObject *)descr) {
        map = PyMem_Calloc(item_bytes, 1);
        if (map == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        if (mark_fields(descr, map) < 0) {
            PyMem_Free(map);
            return -1;
        }
        PyMem_Free(walk->last_covered);
        walk->last_covered = map;
        Py_XSETREF(walk->last_fields, Py_NewRef(descr));
        walk->last_is_padded = memchr(map, 0, item_bytes) != NULL;
    }
    *covered = walk->last_is_padded ? walk->last_covered : NULL;
    return 0;
}

static int
describe(fp_walk *walk, PyArrayObject *object, geometry *array)
{
    array->array = object;
    array->descr = PyArray_DESCR(object);
    array->data = PyArray_BYTES(object);
    array->n_dims = PyArray_NDIM(object);
    array->item_bytes = (size_t)PyDataType_ELSIZE(array->descr);
    array->covered = NULL;
    if (array->n_dims > 0) {
        memcpy(array->shape, PyArray_DIMS(object),
               sizeof(npy_intp) * (size_t)array->n_dims);
        memcpy(array->strides, PyArray_STRIDES(object),
               sizeof(npy_intp) * (size_t)array->n_dims);
    }
    array->n_bytes = (size_t)PyArray_SIZE(object) * array->item_bytes;
    if (PyArray_IS_C_CONTIGUOUS(object)) {
        array->order = ORDER_C;
    }
    else if (PyArray_IS_F_CONTIGUOUS(object)) {
        array->order = ORDER_F;
    }
    else {
        array->order = is_dense(array) ? ORDER_OTHER : GATHERED;
    }
    if (array->n_bytes > 0 && has_fields(array->descr)) {
        return find_padding(walk, array->descr, &array->covered);
    }
    return 0;
}

static int
is_unchanged(const geometry *array)
{
    PyArrayObject *object = array->array;
    size_t n_axes = sizeof(npy_intp) * (size_t)array->n_dims;

    return PyArray_BYTES(object) == array->data
           && PyArray_DESCR(object) == array->descr
           && PyArray_NDIM(object) == array->n_dims
           && (n_axes == 0
               || (memcmp(PyArray_DIMS(object), array->shape, n_axes) == 0
                   && memcmp(PyArray_STRIDES(object), array->strides, n_axes)
                          == 0));
}

/* --- bytes -------------------------------------------------------------- */

/* Copies the array's bytes in the order they are stored, piece by piece. */
typedef struct {
    const geometry *array;
    fp_strided cursor;
    size_t offset;
} reader;

static void
reader_init(reader *from, const geometry *array)
{
    from->array = array;
    from->offset = 0;
    if (array->order == GATHERED) {
        int64_t shape[FP_STRIDED_MAX_DIMS];
        int64_t strides[FP_STRIDED_MAX_DIMS];
        for (int i = 0; i < array->n_dims; i++) {
            shape[i] = array->shape[i];
            strides[i] = array->strides[i];
        }
        fp_strided_init(&from->cursor, array->n_dims, shape, strides,
                        array->item_bytes);
    }
}

static void
read_next(reader *from, unsigned char *out, size_t n_bytes)
{
    const geometry *array = from->array;

    if (array->order == GATHERED) {
        fp_strided_copy(&from->cursor, (const unsigned char *)array->data, out,
                        n_bytes);
    }
    else {
        memcpy(out, array->data + from->offset, n_bytes);
    }
    if (array->covered != NULL) {
        fp_strided_zero_gaps(out, n_bytes, array->covered, array->item_bytes,
                             from->offset % array->item_bytes);
    }
    from->offset += n_bytes;
}

static int
place_alone(fp_walk *walk, const geometry *array, uint32_t *number)
{
    fp_sidecar *sidecar = walk->sidecar;
    size_t n_left = array->n_bytes;
    reader from;

    if (fp_draw_number(walk, number) < 0
        || fp_sidecar_begin(sidecar, FP_BLOB_BYTEARRAY, n_left, *number) < 0)
    {
        return -1;
    }
    reader_init(&from, array);
    while (n_left > 0) {
        unsigned char *room;
        size_t n_room;
        if (fp_sidecar_room(sidecar, &room, &n_room) < 0) {
            return -1;
        }
        if (!is_unchanged(array)) {
            PyErr_SetString(PyExc_RuntimeError,
                            "array was changed in shape or memory while it "
                            "was being dumped");
            return -1;
        }
        if (n_room > n_left) {
            n_room = n_left;
        }
        read_next(&from, room, n_room);
        fp_sidecar_advance(sidecar, n_room);
        n_left -= n_room;
    }
    return fp_sidecar_end(sidecar);
}

static int
place_shared(fp_walk *walk, const geometry *array, uint32_t *number,
             size_t *offset)
{
    fp_sidecar *sidecar = walk->sidecar;
    unsigned char *where;
    reader from;

    *number = sidecar->shared_number;
    if (fp_sidecar_will_open(sidecar, array->n_bytes)
        && fp_draw_number(walk, number) < 0)
    {
        return -1;
    }
    if (fp_sidecar_share(sidecar, array->n_bytes, *number, &where, offset) < 0)
    {
        return -1;
    }
    if (!is_unchanged(array)) {
        PyErr_SetString(PyExc_RuntimeError,
                        "array was changed in shape or memory while it was "
                        "being dumped");
        return -1;
    }
    reader_init(&from, array);
    read_next(&from, where, array->n_bytes);
    return 0;
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

static int
emit_integers(fp_walk *walk, int n, const npy_intp *values)
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
emit_head(fp_walk *walk, const geometry *array)
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
    return emit_integers(walk, array->n_dims, array->shape);
}

/* Behind the dtype: blob, offset, strides, order, and the call. */
static int
emit_tail(fp_walk *walk, const geometry *array, uint32_t number, size_t offset)
{
    static const unsigned char call[] = {OP_TUPLE, OP_REDUCE};

    if (array->n_bytes > 0) {
        int needs_strides =
            array->order == ORDER_OTHER || array->order == ORDER_F;
        if (fp_emit_get(walk, number) < 0) {
            return -1;
        }
        if ((offset > 0 || needs_strides)
            && emit_integer(walk, (int64_t)offset) < 0)
        {
            return -1;
        }
        if (array->order == ORDER_OTHER
            && emit_integers(walk, array->n_dims, array->strides) < 0)
        {
            return -1;
        }
        if (array->order == ORDER_F) {
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

/* A dtype that is an object is saved by its own reducer, between the two
 * halves: the frame keeps what the second half needs. */
typedef struct {
    geometry array;
    uint32_t number;
    size_t offset;
} suspended;

static void
free_suspended(PyObject *capsule)
{
    PyMem_Free(PyCapsule_GetPointer(capsule, NULL));
}

static int
push_suspended(fp_walk *walk, PyObject *object, const geometry *array,
               uint32_t number, size_t offset)
{
    suspended *kept;
    PyObject *capsule;
    PyObject *pair;
    fp_frame *frame;

    kept = PyMem_Malloc(sizeof(*kept));
    if (kept == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    kept->array = *array;
    kept->number = number;
    kept->offset = offset;
    capsule = PyCapsule_New(kept, NULL, free_suspended);
    if (capsule == NULL) {
        PyMem_Free(kept);
        return -1;
    }
    pair = PyTuple_Pack(2, capsule, (PyObject *)array->descr);
    Py_DECREF(capsule);
    if (pair == NULL) {
        return -1;
    }
    frame = fp_push(walk, FP_FRAME_ARRAY, object);
    if (frame == NULL) {
        Py_DECREF(pair);
        return -1;
    }
    frame->pending = pair;
    frame->flags |= FP_FLAG_OWNS_PENDING;
    return FP_PUSHED;
}

int
fp_step_array(fp_walk *walk, fp_frame *frame)
{
    const suspended *kept =
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
    if (emit_tail(walk, &kept->array, kept->number, kept->offset) < 0) {
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
    geometry array;
    uint32_t number = 0;
    size_t offset = 0;

    if (type != &PyArray_Type && (PyObject *)type != walk->state->memmap_type)
    {
        return 0;
    }
    descr = PyArray_DESCR((PyArrayObject *)object);
    if (!has_plain_bytes(descr)) {
        return 0;
    }
    name = dtype_name(walk, descr);
    if (name == NULL) {
        if (PyErr_Occurred()) {
            return -1;
        }
        if (fp_call_out(walk) < 0) {
            return -1;
        }
    }
    if (describe(walk, (PyArrayObject *)object, &array) < 0) {
        return -1;
    }
    if (walk->silent && !fp_sidecar_fits(walk->sidecar, array.n_bytes)) {
        return fp_call_out(walk);
    }
    if (array.n_bytes >= FP_OWN_BLOB_BYTES) {
        if (place_alone(walk, &array, &number) < 0) {
            return -1;
        }
    }
    else if (array.n_bytes > 0
             && place_shared(walk, &array, &number, &offset) < 0)
    {
        return -1;
    }
    if (emit_head(walk, &array) < 0) {
        return -1;
    }
    if (name == NULL) {
        *result = push_suspended(walk, object, &array, number, offset);
        return *result < 0 ? -1 : 1;
    }
    if (fp_save(walk, name, 0) < 0
        || emit_tail(walk, &array, number, offset) < 0
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
        || !is_builtin_number(descr->type_num) || n_bytes > MAX_SCALAR_BYTES)
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

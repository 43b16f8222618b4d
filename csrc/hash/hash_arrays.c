/* NumPy's arrays, dtypes and numbers, by the bytes that a dump stores. */
#include "hash_parts.h"

#include "base/compat.h"
#include "core/workers.h"

#include <stdlib.h>

/* --- dtypes --------------------------------------------------------------- */

static int
has_metadata(const PyArray_Descr *descr)
{
    return PyDataType_METADATA(descr) != NULL
           && PyDataType_METADATA(descr) != Py_None;
}

/* Whether what put_dtype() puts is all there is to say. */
static int
is_simple(PyArray_Descr *descr)
{
    int is_user = descr->type_num >= NPY_USERDEF && fp_has_plain_bytes(descr);

    if (has_metadata(descr)) {
        return 0;
    }
    if (PyDataType_SUBARRAY(descr) != NULL) {
        return is_simple(PyDataType_SUBARRAY(descr)->base);
    }
    if (fp_has_fields(descr)) {
        PyObject *fields = PyDataType_FIELDS(descr);
        PyObject *key, *value;
        Py_ssize_t position = 0;
        while (PyDict_Next(fields, &position, &key, &value)) {
            if (!is_simple((PyArray_Descr *)PyTuple_GET_ITEM(value, 0))
                || (PyTuple_GET_SIZE(value) > 2
                    && PyTuple_GET_ITEM(value, 2) != Py_None
                    && !PyUnicode_CheckExact(PyTuple_GET_ITEM(value, 2))))
            {
                return 0;
            }
        }
        return 1;
    }
    return is_user || fp_is_builtin_number(descr->type_num)
           || descr->type_num == NPY_OBJECT;
}

static int put_dtype(fp_hasher *hasher, PyArray_Descr *descr, int lonely);

static int
put_fields(fp_hasher *hasher, PyArray_Descr *descr)
{
    PyObject *names = PyDataType_NAMES(descr);
    PyObject *fields = PyDataType_FIELDS(descr);

    if (fp_put_number(hasher, (uint64_t)PyTuple_GET_SIZE(names)) < 0) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(names); i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        PyObject *field = PyDict_GetItemWithError(fields, name);
        Py_ssize_t offset;
        if (field == NULL) {
            if (!PyErr_Occurred()) {
                PyErr_SetObject(PyExc_KeyError, name);
            }
            return -1;
        }
        offset = PyLong_AsSsize_t(PyTuple_GET_ITEM(field, 1));
        if ((offset == -1 && PyErr_Occurred()) || fp_put_text(hasher, name) < 0
            || fp_put_number(hasher, (uint64_t)offset) < 0
            || (PyTuple_GET_SIZE(field) > 2
                        && PyTuple_GET_ITEM(field, 2) != Py_None
                    ? fp_put_text(hasher, PyTuple_GET_ITEM(field, 2))
                    : fp_put_tag(hasher, FP_NONE_RECORD))
                   < 0
            || put_dtype(hasher, (PyArray_Descr *)PyTuple_GET_ITEM(field, 0),
                         0)
                   < 0)
        {
            return -1;
        }
    }
    return 0;
}

static int
put_subarray(fp_hasher *hasher, PyArray_Descr *descr)
{
    PyArray_ArrayDescr *subarray = PyDataType_SUBARRAY(descr);
    PyObject *shape = subarray->shape;

    if (put_dtype(hasher, subarray->base, 0) < 0
        || fp_put_number(hasher, (uint64_t)PyTuple_GET_SIZE(shape)) < 0)
    {
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(shape); i++) {
        Py_ssize_t extent = PyLong_AsSsize_t(PyTuple_GET_ITEM(shape, i));
        if ((extent == -1 && PyErr_Occurred())
            || fp_put_number(hasher, (uint64_t)extent) < 0)
        {
            return -1;
        }
    }
    return 0;
}

/* By dtype.str, and where that does not say it all by class, fields, shape. */
static int
put_dtype_content(fp_hasher *hasher, PyArray_Descr *descr)
{
    PyObject *text;
    int is_void = descr->type_num == NPY_VOID;
    int status;

    if (fp_put_tag(hasher, FP_DTYPE_TAG) < 0) {
        return -1;
    }
    text = PyObject_GetAttrString((PyObject *)descr, "str");
    if (text == NULL) {
        return -1;
    }
    status = fp_put_text(hasher, text);
    Py_DECREF(text);
    if (status < 0 || (!is_void && descr->type_num < NPY_USERDEF)) {
        return status;
    }
    if (fp_put_class(hasher, (PyObject *)descr->typeobj) < 0) {
        return -1;
    }
    if (PyDataType_SUBARRAY(descr) != NULL) {
        return put_subarray(hasher, descr);
    }
    return fp_has_fields(descr) ? put_fields(hasher, descr) : 0;
}

/* The record of a simple dtype. */
static int
put_dtype(fp_hasher *hasher, PyArray_Descr *descr, int lonely)
{
    size_t start = hasher->bytes.n_used;
    int status = fp_put_known(hasher, (PyObject *)descr);

    if (status != 0) {
        return status < 0 ? -1 : 0;
    }
    if (Py_EnterRecursiveCall(" while hashing a dtype")) {
        return -1;
    }
    status = put_dtype_content(hasher, descr);
    Py_LeaveRecursiveCall();
    return status < 0
               ? -1
               : fp_close_content(hasher, start, (PyObject *)descr, lonely);
}

/* --- arrays --------------------------------------------------------------- */

/* The bytes of an array that lie in memory as they are stored. */
static int
lies_as_stored(const fp_array_geometry *array)
{
    return array->order != FP_ORDER_GATHERED && array->covered == NULL;
}

#define PIECE_BYTES ((size_t)64 << 10)

typedef struct {
    const fp_array_geometry *array;
    fp_wide *digests; /* of each block */
} gathering;

/* One block, gathered piece by piece. */
static fp_status
gather_block(void *context, size_t job)
{
    const gathering *all = context;
    size_t offset = job * FP_WIDE_BLOCK_BYTES;
    size_t n_left = all->array->n_bytes - offset;
    size_t n_piece;
    unsigned char *piece;
    void *state = fp_wide_state_new();
    fp_array_reader from;

    if (n_left > FP_WIDE_BLOCK_BYTES) {
        n_left = FP_WIDE_BLOCK_BYTES;
    }
    n_piece = n_left < PIECE_BYTES ? n_left : PIECE_BYTES;
    piece = malloc(n_piece);
    if (piece == NULL || state == NULL) {
        fp_wide_state_free(state);
        free(piece);
        return FP_NO_MEMORY;
    }
    fp_array_reader_init(&from, all->array);
    fp_array_reader_seek(&from, offset);
    while (n_left > 0) {
        size_t n = n_left < n_piece ? n_left : n_piece;
        fp_array_read(&from, piece, n);
        fp_wide_update(state, piece, n);
        n_left -= n;
    }
    all->digests[job] = fp_wide_digest(state);
    fp_wide_state_free(state);
    free(piece);
    return FP_OK;
}

/* Of an array that has bytes and does not lie in memory as it is stored. Needs
 * no GIL. */
static fp_status
hash_gathered(const fp_array_geometry *array, int n_threads, fp_wide *digest)
{
    size_t n_blocks = (array->n_bytes - 1) / FP_WIDE_BLOCK_BYTES + 1;
    gathering all = {.array = array,
                     .digests = calloc(n_blocks, FP_WIDE_BYTES)};
    fp_status status = FP_NO_MEMORY;

    if (all.digests != NULL) {
        status = fp_workers_do(gather_block, &all, n_blocks, n_threads);
    }
    if (status == FP_OK) {
        *digest = fp_wide_of_blocks(all.digests, n_blocks);
    }
    free(all.digests);
    return status;
}

static int
hash_array_bytes(fp_hasher *hasher, const fp_array_geometry *array,
                 fp_wide *digest)
{
    fp_status status;

    if (array->n_bytes == 0) {
        *digest = fp_wide_hash(NULL, 0);
        return 0;
    }
    if (lies_as_stored(array)) {
        if (fp_hash_payload(hasher, array->data, array->n_bytes, digest) < 0) {
            return -1;
        }
    }
    else {
        Py_BEGIN_ALLOW_THREADS
        status = hash_gathered(array, hasher->n_threads, digest);
        Py_END_ALLOW_THREADS
        if (status != FP_OK) {
            PyErr_NoMemory();
            return -1;
        }
    }
    return fp_array_check_unchanged(array);
}

/* The axes, from the one with the longest steps; those of one element, which
 * have none, where they stand among the shortest. */
static int
put_axes(fp_hasher *hasher, const fp_array_geometry *array)
{
    int axes[NPY_MAXDIMS];
    int n = 0;

    for (int axis = 0; axis < array->n_dims; axis++) {
        int at = n;
        if (array->shape[axis] == 1) {
            continue;
        }
        while (at > 0 && array->strides[axes[at - 1]] < array->strides[axis]) {
            axes[at] = axes[at - 1];
            at--;
        }
        axes[at] = axis;
        n++;
    }
    for (int i = 0; i < n; i++) {
        if (fp_put_tag(hasher, axes[i]) < 0) {
            return -1;
        }
    }
    return 0;
}

static int
put_shape(fp_hasher *hasher, const fp_array_geometry *array)
{
    static const char orders[] = {'C', 'F', 'A', 'C'};
    char order = orders[array->order];

    if (fp_put_tag(hasher, order) < 0 || fp_put_tag(hasher, array->n_dims) < 0)
    {
        return -1;
    }
    for (int i = 0; i < array->n_dims; i++) {
        if (fp_put_number(hasher, (uint64_t)array->shape[i]) < 0) {
            return -1;
        }
    }
    return order == 'A' ? put_axes(hasher, array) : 0;
}

/* The record of an array whose bytes have that digest. */
static int
put_array(fp_hasher *hasher, const fp_array_geometry *array,
          const fp_wide *digest, int lonely)
{
    PyObject *object = (PyObject *)array->array;
    size_t start = hasher->bytes.n_used;
    int is_subclass =
        !PyArray_CheckExact(array->array)
        && (PyObject *)Py_TYPE(object) != hasher->state->memmap_type;

    if (fp_put_tag(hasher, is_subclass ? FP_SUBCLASS_ARRAY_TAG : FP_ARRAY_TAG)
        < 0)
    {
        return -1;
    }
    if (is_subclass && fp_put_class(hasher, (PyObject *)Py_TYPE(object)) < 0) {
        return -1;
    }
    return put_dtype(hasher, array->descr, 0) < 0
                   || put_shape(hasher, array) < 0
                   || fp_put_number(hasher, array->n_bytes) < 0
                   || fp_pile_put(&hasher->bytes, digest->bytes, FP_WIDE_BYTES)
                          < 0
               ? -1
               : fp_close_content(hasher, start, object, lonely);
}

static int
hash_plain_array(fp_hasher *hasher, PyObject *object, int lonely)
{
    fp_array_geometry array;
    fp_wide digest;

    return fp_array_describe(&hasher->padding, (PyArrayObject *)object, &array)
                       < 0
                   || hash_array_bytes(hasher, &array, &digest) < 0
               ? -1
               : put_array(hasher, &array, &digest, lonely);
}

/* An array of objects: its elements, in C order. */
static int
push_object_array(fp_hasher *hasher, PyObject *object, int lonely)
{
    fp_array_geometry array;
    PyObject *flat, *elements;
    fp_visit *visit;

    if (fp_array_describe(&hasher->padding, (PyArrayObject *)object, &array)
        < 0)
    {
        return -1;
    }
    flat = PyArray_Ravel((PyArrayObject *)object, NPY_CORDER);
    elements = flat == NULL ? NULL : PySequence_List(flat);
    Py_XDECREF(flat);
    visit = fp_push_visit(hasher, FP_VISIT_LIST, FP_OBJECT_ARRAY_TAG, object,
                          elements, lonely);
    if (visit == NULL || put_shape(hasher, &array) < 0) {
        return -1;
    }
    visit->size = PyList_GET_SIZE(elements);
    return FP_PUSHED_VISIT;
}

/* --- numbers -------------------------------------------------------------- */

#define MAX_NUMBER_BYTES 64

static int
put_scalar(fp_hasher *hasher, PyObject *object, PyArray_Descr *descr,
           int lonely)
{
    size_t start = hasher->bytes.n_used;
    size_t n_bytes = (size_t)PyDataType_ELSIZE(descr);
    unsigned char bytes[MAX_NUMBER_BYTES];
    PyObject *array;
    fp_array_geometry geometry;
    fp_wide digest;
    int status;

    if (fp_put_tag(hasher, FP_SCALAR_TAG) < 0
        || put_dtype(hasher, descr, 0) < 0)
    {
        return -1;
    }
    if ((PyArray_IsScalar(object, Number) || PyArray_IsScalar(object, Bool))
        && descr->type_num < NPY_USERDEF && n_bytes <= sizeof(bytes))
    {
        memset(bytes, 0, sizeof(bytes));
        PyArray_ScalarAsCtype(object, bytes);
        status = fp_put_bytes(hasher, FP_BYTES_RECORD, bytes, n_bytes);
    }
    else {
        array = PyArray_FromScalar(object, NULL);
        if (array == NULL) {
            return -1;
        }
        status = fp_array_describe(&hasher->padding, (PyArrayObject *)array,
                                   &geometry);
        if (status == 0) {
            status = hash_array_bytes(hasher, &geometry, &digest);
        }
        if (status == 0) {
            status = fp_put_digest(hasher, &digest);
        }
        Py_DECREF(array);
    }
    return status < 0 ? -1 : fp_close_content(hasher, start, object, lonely);
}

/* 1, 0 or -1. */
static int
hash_scalar(fp_hasher *hasher, PyObject *object, int lonely)
{
    PyArray_Descr *descr = PyArray_DescrFromScalar(object);
    int status = 0;

    if (descr == NULL) {
        return -1;
    }
    if (descr->typeobj == Py_TYPE(object) && fp_has_plain_bytes(descr)
        && is_simple(descr))
    {
        status = put_scalar(hasher, object, descr, lonely) < 0 ? -1 : 1;
    }
    Py_DECREF(descr);
    return status;
}

/* --- which it is ---------------------------------------------------------- */

/* Whether the class says nothing of its own about how its arrays are pickled. */
static int
is_reduced_as_array(const fp_state *state, PyTypeObject *type)
{
    PyObject *const names[] = {state->str_reduce, state->str_reduce_ex,
                               state->str_getstate, state->str_setstate};

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (fp_type_lookup(type, names[i])
            != fp_type_lookup(&PyArray_Type, names[i]))
        {
            return 0;
        }
    }
    return 1;
}

int
fp_hash_numpy(fp_hasher *hasher, PyObject *object, int lonely, int *status)
{
    PyTypeObject *type = Py_TYPE(object);
    int found;

    *status = FP_PUT_RECORD;
    if (PyArray_Check(object)) {
        PyArray_Descr *descr = PyArray_DESCR((PyArrayObject *)object);
        int is_plain = type == &PyArray_Type
                       || (PyObject *)type == hasher->state->memmap_type;
        if (!is_simple(descr)
            || (!is_plain && !is_reduced_as_array(hasher->state, type)))
        {
            return 0;
        }
        if (fp_has_plain_bytes(descr)) {
            return hash_plain_array(hasher, object, lonely) < 0 ? -1 : 1;
        }
        if (is_plain && descr->type_num == NPY_OBJECT) {
            *status = push_object_array(hasher, object, lonely);
            return *status < 0 ? -1 : 1;
        }
        return 0;
    }
    if (PyArray_DescrCheck(object)) {
        if (!is_simple((PyArray_Descr *)object)) {
            return 0;
        }
        return put_dtype(hasher, (PyArray_Descr *)object, lonely) < 0 ? -1 : 1;
    }
    if (PyArray_IsScalar(object, Generic)) {
        found = hash_scalar(hasher, object, lonely);
        return found;
    }
    return 0;
}

/* --- columns -------------------------------------------------------------- */

typedef struct {
    Py_ssize_t number;
    fp_array_geometry array;
    int is_strided;
} column;

static int
compare_columns(const void *one, const void *other)
{
    const column *a = one;
    const column *b = other;

    if (a->is_strided != b->is_strided) {
        return a->is_strided - b->is_strided;
    }
    return (a->array.data > b->array.data) - (a->array.data < b->array.data);
}

/* Whether it lies beside the one in front, in a table of rows. */
static int
continues(const column *before, const column *next)
{
    const fp_array_geometry *a = &before->array;
    const fp_array_geometry *b = &next->array;

    return a->item_bytes == b->item_bytes && a->shape[0] == b->shape[0]
           && a->strides[0] == b->strides[0]
           && b->data == a->data + a->item_bytes;
}

/* Without the GIL. `columns` are sorted. */
static fp_status
hash_sorted(column *columns, size_t n, fp_wide *digests, int n_threads)
{
    size_t n_spans = 0, first;
    fp_wide_span *spans = calloc(n + 1, sizeof(*spans));
    fp_wide *found = calloc(n + 1, sizeof(*found));
    fp_status status = FP_NO_MEMORY;

    if (spans == NULL || found == NULL) {
        goto done;
    }
    while (n_spans < n && !columns[n_spans].is_strided) {
        spans[n_spans].data =
            (const unsigned char *)columns[n_spans].array.data;
        spans[n_spans].n_bytes = columns[n_spans].array.n_bytes;
        n_spans++;
    }
    status = fp_wide_hash_spans(spans, n_spans, n_threads);
    for (size_t i = 0; status == FP_OK && i < n_spans; i++) {
        digests[columns[i].number] = spans[i].digest;
    }
    first = n_spans;
    while (status == FP_OK && first < n) {
        const fp_array_geometry *array = &columns[first].array;
        size_t end = first + 1;
        while (end < n && continues(&columns[end - 1], &columns[end])) {
            end++;
        }
        if (array->item_bytes <= 64
            && (array->item_bytes & (array->item_bytes - 1)) == 0)
        {
            fp_wide_table table = {
                .data = (const unsigned char *)array->data,
                .n_rows = (size_t)array->shape[0],
                .n_columns = end - first,
                .item_bytes = array->item_bytes,
                .row_stride = array->strides[0],
            };
            status = fp_wide_hash_table(&table, found, n_threads);
        }
        else {
            for (size_t i = first; status == FP_OK && i < end; i++) {
                status = hash_gathered(&columns[i].array, n_threads,
                                       &found[i - first]);
            }
        }
        for (size_t i = first; status == FP_OK && i < end; i++) {
            digests[columns[i].number] = found[i - first];
        }
        first = end;
    }
done:
    free(spans);
    free(found);
    return status;
}

int
fp_hash_columns(fp_hasher *hasher, fp_visit *visit)
{
    PyObject *list = visit->source;
    size_t n_all = (size_t)visit->size, n = 0;
    column *columns = PyMem_Calloc(n_all + 1, sizeof(*columns));
    fp_status status;
    int result = -1;

    visit->digests = PyMem_Calloc(n_all + 1, sizeof(*visit->digests));
    visit->has_digest = PyMem_Calloc(n_all + 1, 1);
    if (columns == NULL || visit->digests == NULL || visit->has_digest == NULL)
    {
        PyErr_NoMemory();
        goto done;
    }
    for (size_t i = 0; i < n_all; i++) {
        PyObject *object = PyList_GET_ITEM(list, (Py_ssize_t)i);
        PyArrayObject *array = (PyArrayObject *)object;
        column *next = &columns[n];
        if (!PyArray_CheckExact(object) || PyArray_NDIM(array) != 1
            || PyArray_SIZE(array) == 0
            || !fp_is_builtin_number(PyArray_DESCR(array)->type_num)
            || !fp_has_plain_bytes(PyArray_DESCR(array))
            || !is_simple(PyArray_DESCR(array))
            || fp_has_fields(PyArray_DESCR(array)))
        {
            continue;
        }
        next->number = (Py_ssize_t)i;
        if (fp_array_describe(&hasher->padding, array, &next->array) < 0) {
            goto done;
        }
        next->is_strided = next->array.order == FP_ORDER_GATHERED;
        visit->has_digest[i] = 1;
        n++;
    }
    qsort(columns, n, sizeof(*columns), compare_columns);
    Py_BEGIN_ALLOW_THREADS
    status = hash_sorted(columns, n, visit->digests, hasher->n_threads);
    Py_END_ALLOW_THREADS
    if (status != FP_OK) {
        PyErr_NoMemory();
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        if (fp_array_check_unchanged(&columns[i].array) < 0) {
            goto done;
        }
    }
    result = 0;
done:
    PyMem_Free(columns);
    return result;
}

int
fp_put_column(fp_hasher *hasher, PyObject *object, const fp_wide *digest)
{
    fp_array_geometry array;

    return fp_array_describe(&hasher->padding, (PyArrayObject *)object, &array)
                   < 0
               ? -1
               : put_array(hasher, &array, digest, 1);
}

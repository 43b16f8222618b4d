#include "array_bytes.h"

#include <string.h>

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
    if (!fp_has_fields(descr)) {
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

/* Whether the axes, taken in some order, lie densely one in the other. */
static int
is_dense(const fp_array_geometry *array)
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

void
fp_padding_cache_clear(fp_padding_cache *cache)
{
    Py_CLEAR(cache->descr);
    PyMem_Free(cache->covered);
    cache->covered = NULL;
}

/* *covered is NULL where there is no padding. */
static int
find_padding(fp_padding_cache *cache, PyArray_Descr *descr,
             const unsigned char **covered)
{
    size_t item_bytes = (size_t)PyDataType_ELSIZE(descr);
    unsigned char *map;

    if (cache->descr != (PyObject *)descr) {
        map = PyMem_Calloc(item_bytes, 1);
        if (map == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        if (mark_fields(descr, map) < 0) {
            PyMem_Free(map);
            return -1;
        }
        PyMem_Free(cache->covered);
        cache->covered = map;
        Py_XSETREF(cache->descr, Py_NewRef(descr));
        cache->is_padded = memchr(map, 0, item_bytes) != NULL;
    }
    *covered = cache->is_padded ? cache->covered : NULL;
    return 0;
}

int
fp_array_find_padding(fp_padding_cache *cache, fp_array_geometry *array)
{
    array->covered = NULL;
    return array->n_bytes > 0 && fp_has_fields(array->descr)
               ? find_padding(cache, array->descr, &array->covered)
               : 0;
}

int
fp_array_describe(fp_padding_cache *cache, PyArrayObject *object,
                  fp_array_geometry *array)
{
    array->array = object;
    array->descr = PyArray_DESCR(object);
    array->data = PyArray_BYTES(object);
    array->n_dims = PyArray_NDIM(object);
    array->item_bytes = (size_t)PyDataType_ELSIZE(array->descr);
    if (array->n_dims > 0) {
        memcpy(array->shape, PyArray_DIMS(object),
               sizeof(npy_intp) * (size_t)array->n_dims);
        memcpy(array->strides, PyArray_STRIDES(object),
               sizeof(npy_intp) * (size_t)array->n_dims);
    }
    array->n_bytes = (size_t)PyArray_SIZE(object) * array->item_bytes;
    if (PyArray_IS_C_CONTIGUOUS(object)) {
        array->order = FP_ORDER_C;
    }
    else if (PyArray_IS_F_CONTIGUOUS(object)) {
        array->order = FP_ORDER_F;
    }
    else {
        array->order = is_dense(array) ? FP_ORDER_OTHER : FP_ORDER_GATHERED;
    }
    return fp_array_find_padding(cache, array);
}

static int
is_unchanged(const fp_array_geometry *array)
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

void
fp_array_reader_init(fp_array_reader *from, const fp_array_geometry *array)
{
    from->array = array;
    from->offset = 0;
    if (array->order == FP_ORDER_GATHERED) {
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

void
fp_array_reader_seek(fp_array_reader *from, size_t offset)
{
    if (from->array->order == FP_ORDER_GATHERED) {
        fp_strided_seek(&from->cursor, offset);
    }
    from->offset = offset;
}

void
fp_array_read(fp_array_reader *from, unsigned char *out, size_t n_bytes)
{
    const fp_array_geometry *array = from->array;

    if (array->order == FP_ORDER_GATHERED) {
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

int
fp_array_check_unchanged(const fp_array_geometry *array)
{
    if (is_unchanged(array)) {
        return 0;
    }
    PyErr_SetString(PyExc_RuntimeError,
                    "array was changed in shape or memory while it was being "
                    "dumped");
    return -1;
}

int
fp_array_stage(fp_staging *staging, const fp_array_geometry *array)
{
    size_t n_left = array->n_bytes;
    fp_array_reader from;

    fp_array_reader_init(&from, array);
    if (n_left >= FP_RING_THREAD_BYTES) {
        fp_ring_thread_from(staging->ring, 0);
    }
    while (n_left > 0) {
        unsigned char *room;
        size_t n_room;
        if (fp_staging_room(staging, &room, &n_room) < 0
            || fp_array_check_unchanged(array) < 0)
        {
            return -1;
        }
        if (n_room > n_left) {
            n_room = n_left;
        }
        fp_array_read(&from, room, n_room);
        fp_staging_advance(staging, n_room);
        n_left -= n_room;
    }
    return 0;
}

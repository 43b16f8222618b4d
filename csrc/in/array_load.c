#include "array_load.h"

#include "blobs.h"

#include <string.h>

/* The domain under which NumPy tells tracemalloc of its arrays' memory. */
#define TRACE_DOMAIN 389047

/* --- memory ------------------------------------------------------------- */

PyObject *
fp_array_handler(void)
{
    return PyDataMem_GetHandler();
}

/* Borrowed; the capsule was made by NumPy, or checked by it. */
static PyDataMemAllocator *
allocator_of(PyObject *handler)
{
    PyDataMem_Handler *pointer = PyCapsule_GetPointer(handler, "mem_handler");

    return pointer == NULL ? NULL : &pointer->allocator;
}

void *
fp_array_memory_new(PyObject *handler, size_t n_bytes)
{
    PyDataMemAllocator *allocator = allocator_of(handler);

    return allocator == NULL ? NULL
                             : allocator->malloc(allocator->ctx, n_bytes);
}

void *
fp_array_memory_resize(PyObject *handler, void *data, size_t n_bytes)
{
    PyDataMemAllocator *allocator = allocator_of(handler);

    return allocator == NULL
               ? NULL
               : allocator->realloc(allocator->ctx, data, n_bytes);
}

void
fp_array_memory_free(PyObject *handler, void *data, size_t n_bytes)
{
    PyDataMemAllocator *allocator = allocator_of(handler);

    if (allocator != NULL) {
        allocator->free(allocator->ctx, data, n_bytes);
    }
}

/* --- byte order --------------------------------------------------------- */

#if NPY_BYTE_ORDER == NPY_LITTLE_ENDIAN
#define FOREIGN '>'
#else
#define FOREIGN '<'
#endif

int
fp_array_is_foreign(PyArray_Descr *descr)
{
    PyObject *fields, *key, *value;
    Py_ssize_t position = 0;
    int n_fields = 0;

    if (descr->byteorder != '|') {
        return descr->byteorder == FOREIGN;
    }
    fields = PyDataType_FIELDS(descr);
    if (fields == NULL || fields == Py_None) {
        return 0;
    }
    while (PyDict_Next(fields, &position, &key, &value)) {
        PyArray_Descr *field = (PyArray_Descr *)PyTuple_GET_ITEM(value, 0);
        if (field->byteorder != FOREIGN) {
            return 0;
        }
        n_fields++;
    }
    return n_fields > 0;
}

int
fp_array_make_native(PyArrayObject *array)
{
    PyArrayObject_fields *fields = (PyArrayObject_fields *)array;
    PyArray_Descr *native;
    PyObject *swapped;

    if (!fp_array_is_foreign(fields->descr)) {
        return 0;
    }
    native = PyArray_DescrNewByteorder(fields->descr, NPY_NATIVE);
    if (native == NULL) {
        return -1;
    }
    swapped = PyArray_Byteswap(array, NPY_TRUE);
    if (swapped == NULL) {
        Py_DECREF(native);
        return -1;
    }
    Py_DECREF(swapped);
    Py_SETREF(fields->descr, native);
    return 0;
}

PyObject *
fp_array_raw_bytes(PyObject *array, int is_swapped)
{
    PyObject *copy = NULL, *swapped, *bytes;

    if (is_swapped) {
        copy = PyArray_NewCopy((PyArrayObject *)array, NPY_KEEPORDER);
        if (copy == NULL) {
            return NULL;
        }
        swapped = PyArray_Byteswap((PyArrayObject *)copy, NPY_TRUE);
        if (swapped == NULL) {
            Py_DECREF(copy);
            return NULL;
        }
        Py_DECREF(swapped);
        array = copy;
    }
    bytes = PyByteArray_FromStringAndSize(
        PyArray_BYTES((PyArrayObject *)array),
        (Py_ssize_t)PyArray_NBYTES((PyArrayObject *)array));
    Py_XDECREF(copy);
    return bytes;
}

/* --- making arrays ------------------------------------------------------ */

int
fp_array_max_dims(void)
{
    return PyArray_RUNTIME_VERSION >= NPY_2_0_API_VERSION ? 64 : 32;
}

/* Over `data`, which stays the caller's. */
static PyArrayObject *
new_over(PyTypeObject *type, PyArray_Descr *descr,
         const fp_array_layout *layout, const void *data, int is_writable)
{
    PyArrayObject *array;
    int flags =
        layout->is_fortran ? NPY_ARRAY_F_CONTIGUOUS : NPY_ARRAY_C_CONTIGUOUS;

    /* NumPy steals the descr; the pointer loses its const as every pointer
     * that NumPy is given. */
    Py_INCREF(descr);
    array = (PyArrayObject *)PyArray_NewFromDescr(
        type, descr, layout->n_dims, layout->shape,
        layout->has_strides ? layout->strides : NULL, (void *)(uintptr_t)data,
        is_writable ? flags | NPY_ARRAY_WRITEABLE : flags, NULL);
    if (array != NULL) {
        PyArray_UpdateFlags(array, NPY_ARRAY_UPDATE_ALL);
    }
    return array;
}

PyObject *
fp_array_take(PyArray_Descr *descr, const fp_array_layout *layout, void *data,
              PyObject *handler)
{
    PyArrayObject *array = new_over(&PyArray_Type, descr, layout, data, 1);

    if (array != NULL) {
        ((PyArrayObject_fields *)array)->mem_handler = Py_NewRef(handler);
        PyArray_ENABLEFLAGS(array, NPY_ARRAY_OWNDATA);
        (void)PyTraceMalloc_Track(TRACE_DOMAIN, (uintptr_t)data,
                                  (size_t)PyArray_NBYTES(array));
    }
    return (PyObject *)array;
}

PyObject *
fp_array_of_map(fp_state *state, PyArray_Descr *descr,
                const fp_array_layout *layout, PyObject *map,
                const unsigned char *map_data, uint64_t offset, PyObject *mode,
                PyObject *filename)
{
    int is_writable = PyUnicode_CompareWithASCIIString(mode, "r") != 0;
    PyObject *offset_object = NULL;
    PyArrayObject *array = new_over((PyTypeObject *)state->memmap_type, descr,
                                    layout, map_data + offset, is_writable);
    PyObject *object = (PyObject *)array;

    if (array == NULL) {
        return NULL;
    }
    offset_object = PyLong_FromUnsignedLongLong(offset);
    if (offset_object == NULL
        || PyArray_SetBaseObject(array, Py_NewRef(map)) < 0
        || PyObject_SetAttr(object, state->str_mmap_attribute, map) < 0
        || PyObject_SetAttr(object, state->str_offset, offset_object) < 0
        || PyObject_SetAttr(object, state->str_mode, mode) < 0
        || PyObject_SetAttr(object, state->str_filename, filename) < 0)
    {
        Py_CLEAR(object);
    }
    Py_XDECREF(offset_object);
    return object;
}

/* With memory of its own, a copy of `data`. */
static PyObject *
new_copy(PyArray_Descr *descr, const fp_array_layout *layout, const void *data,
         size_t n_bytes)
{
    PyObject *array;

    Py_INCREF(descr); /* stolen */
    array = PyArray_NewFromDescr(&PyArray_Type, descr, layout->n_dims,
                                 layout->shape,
                                 layout->has_strides ? layout->strides : NULL,
                                 NULL, layout->is_fortran, NULL);
    if (array != NULL && n_bytes > 0) {
        memcpy(PyArray_BYTES((PyArrayObject *)array), data, n_bytes);
    }
    return array;
}

/* --- what the graph says ------------------------------------------------ */

/* The dtype that `given` means, looked up once per object; its `descr` is NULL
 * where numpy.ndarray is to decide. NULL with MemoryError. */
static const fp_known_dtype *
known_dtype(fp_blobs *blobs, PyObject *given)
{
    fp_known_dtype *entry;
    PyArray_Descr *descr = NULL;

    for (size_t i = 0; i < FP_KNOWN_DTYPES; i++) {
        if (blobs->dtypes[i].given == given) {
            return &blobs->dtypes[i];
        }
    }
    if (PyArray_DescrCheck(given)) {
        descr = (PyArray_Descr *)Py_NewRef(given);
    }
    else if (PyUnicode_CheckExact(given)
             && !PyArray_DescrConverter(given, &descr))
    {
        if (PyErr_ExceptionMatches(PyExc_MemoryError)) {
            return NULL;
        }
        PyErr_Clear(); /* numpy.ndarray will find the same */
        descr = NULL;
    }
    if (descr != NULL
        && (!fp_has_plain_bytes(descr) || PyDataType_ELSIZE(descr) <= 0
            || PyDataType_SUBARRAY(descr) != NULL))
    {
        Py_CLEAR(descr);
    }
    entry = &blobs->dtypes[blobs->next_dtype];
    blobs->next_dtype = (blobs->next_dtype + 1) % FP_KNOWN_DTYPES;
    Py_XSETREF(entry->given, Py_NewRef(given));
    Py_XSETREF(entry->descr, (PyObject *)descr);
    entry->is_foreign = descr != NULL && fp_array_is_foreign(descr);
    return entry;
}

/* Whether the axes, taken in some order, lie densely one in the other. */
static int
is_dense(const fp_array_layout *layout, npy_intp item_bytes)
{
    unsigned char used[NPY_MAXDIMS] = {0};
    npy_intp expected = item_bytes;

    for (int n_found = 0; n_found < layout->n_dims; n_found++) {
        int axis = 0;
        while (axis < layout->n_dims
               && (used[axis]
                   || (layout->shape[axis] != 1
                       && layout->strides[axis] != expected)))
        {
            axis++;
        }
        if (axis == layout->n_dims) {
            return 0;
        }
        used[axis] = 1;
        expected *= layout->shape[axis];
    }
    return 1;
}

/* Reads shape, strides and order. 1, or 0 where this is nothing that our dump
 * writes; *n_bytes is what the array takes. */
static int
read_layout(const fp_array_spec *spec, npy_intp item_bytes,
            fp_array_layout *layout, size_t *n_bytes)
{
    Py_ssize_t n_dims = PyTuple_GET_SIZE(spec->shape);
    npy_intp total = item_bytes;
    int is_empty = 0;

    if (n_dims > fp_array_max_dims()
        || (spec->n_strides >= 0 && spec->n_strides != n_dims))
    {
        return 0;
    }
    layout->n_dims = (int)n_dims;
    layout->is_fortran = spec->is_fortran;
    layout->has_strides = spec->n_strides >= 0;
    for (Py_ssize_t i = 0; i < n_dims; i++) {
        PyObject *item = PyTuple_GET_ITEM(spec->shape, i);
        Py_ssize_t length;
        if (!PyLong_CheckExact(item)) {
            return 0;
        }
        length = PyLong_AsSsize_t(item);
        if (length < 0) {
            PyErr_Clear(); /* negative, or too large for any array */
            return 0;
        }
        layout->shape[i] = length;
        if (length == 0) {
            is_empty = 1;
        }
        /* Also of an empty array: NumPy refuses such products, too. */
        else if (__builtin_mul_overflow(total, length, &total)) {
            return 0;
        }
    }
    *n_bytes = is_empty ? 0 : (size_t)total;
    if (layout->has_strides) {
        if (is_empty) {
            return 0;
        }
        for (Py_ssize_t i = 0; i < n_dims; i++) {
            layout->strides[i] = (npy_intp)spec->strides[i];
        }
        return is_dense(layout, item_bytes);
    }
    return 1;
}

PyObject *
fp_array_of_buffer(PyObject *args)
{
    fp_array_spec spec = {.n_strides = -1};
    fp_array_layout layout;
    PyArray_Descr *descr;
    PyObject *buffer, *order, *view, *array;
    char *data;
    size_t n_there, n_bytes;
    int is_writable;

    if (!PyTuple_CheckExact(args) || PyTuple_GET_SIZE(args) != 4) {
        return NULL;
    }
    buffer = PyTuple_GET_ITEM(args, 0);
    descr = (PyArray_Descr *)PyTuple_GET_ITEM(args, 1);
    spec.shape = PyTuple_GET_ITEM(args, 2);
    order = PyTuple_GET_ITEM(args, 3);
    is_writable = PyByteArray_CheckExact(buffer);
    if ((!is_writable && !PyBytes_CheckExact(buffer))
        || !PyArray_DescrCheck(descr) || !fp_has_plain_bytes(descr)
        || PyDataType_ELSIZE(descr) <= 0 || PyDataType_SUBARRAY(descr) != NULL
        || !PyTuple_CheckExact(spec.shape) || !PyUnicode_CheckExact(order)
        || PyUnicode_GET_LENGTH(order) != 1)
    {
        return NULL;
    }
    spec.is_fortran = PyUnicode_READ_CHAR(order, 0) == 'F';
    if (is_writable) {
        data = PyByteArray_AS_STRING(buffer);
        n_there = (size_t)PyByteArray_GET_SIZE(buffer);
    }
    else {
        data = PyBytes_AS_STRING(buffer);
        n_there = (size_t)PyBytes_GET_SIZE(buffer);
    }
    if ((!spec.is_fortran && PyUnicode_READ_CHAR(order, 0) != 'C')
        || !read_layout(&spec, PyDataType_ELSIZE(descr), &layout, &n_bytes)
        || n_bytes == 0 || n_bytes != n_there)
    {
        return NULL;
    }
    /* It also keeps a bytearray from being resized. */
    view = PyMemoryView_FromObject(buffer);
    if (view == NULL) {
        return NULL;
    }
    array =
        (PyObject *)new_over(&PyArray_Type, descr, &layout, data, is_writable);
    if (array == NULL) {
        Py_DECREF(view);
        return NULL;
    }
    if (PyArray_SetBaseObject((PyArrayObject *)array, view) < 0) {
        Py_CLEAR(array);
    }
    return array;
}

/* An array that takes part in another one's memory: what a second use of a
 * blob means where the first one took it. */
static PyObject *
share_taken(const fp_loaded_blob *blob, PyArray_Descr *descr,
            const fp_array_layout *layout, uint64_t offset, size_t n_bytes,
            int *handled)
{
    PyArrayObject *first = (PyArrayObject *)blob->array;
    uint64_t n_there = (uint64_t)PyArray_NBYTES(first); /* it may be resized */
    PyArrayObject *array;

    if (blob->swapped || offset > n_there || n_bytes > n_there - offset) {
        *handled = 0;
        return NULL;
    }
    array = new_over(&PyArray_Type, descr, layout,
                     PyArray_BYTES(first) + offset, 1);
    if (array != NULL
        && PyArray_SetBaseObject(array, Py_NewRef(blob->array)) < 0)
    {
        Py_CLEAR(array);
    }
    return (PyObject *)array;
}

static PyObject *
array_of_blob(fp_blobs *blobs, fp_loaded_blob *blob,
              const fp_known_dtype *dtype, const fp_array_layout *layout,
              uint64_t offset, size_t n_bytes)
{
    PyArray_Descr *descr = (PyArray_Descr *)dtype->descr;
    PyObject *array;
    int is_taken = 0;

    if (blobs->map != NULL) {
        return fp_array_of_map(
            blobs->state, descr, layout, blobs->map, blobs->map_data,
            (uint64_t)(blob->data - blobs->map_data) + offset, blobs->map_mode,
            blobs->map_filename);
    }
    if (blob->of_handler && offset == 0 && n_bytes == blob->n_bytes) {
        if (fp_blobs_fit(blobs, blob) < 0) {
            return NULL;
        }
        array = fp_array_take(descr, layout, blob->data, blobs->handler);
        is_taken = array != NULL;
    }
    else {
        array = new_copy(descr, layout, blob->data + offset, n_bytes);
    }
    if (is_taken) {
        blob->data = NULL;
        blob->array = Py_NewRef(array);
    }
    if (array != NULL && dtype->is_foreign && blobs->native_order) {
        if (is_taken) {
            blob->swapped = 1;
        }
        if (fp_array_make_native((PyArrayObject *)array) < 0) {
            Py_CLEAR(array);
        }
    }
    return array;
}

/* An array without elements has no blob; in a map it is a numpy.memmap all the
 * same, of nothing at the file's first byte. */
static PyObject *
empty_array(fp_blobs *blobs, const fp_known_dtype *dtype,
            const fp_array_layout *layout)
{
    PyArray_Descr *descr = (PyArray_Descr *)dtype->descr;
    PyObject *array;

    if (blobs->map != NULL) {
        return fp_array_of_map(blobs->state, descr, layout, blobs->map,
                               blobs->map_data, 0, blobs->map_mode,
                               blobs->map_filename);
    }
    array = new_copy(descr, layout, NULL, 0);
    if (array != NULL && dtype->is_foreign && blobs->native_order
        && fp_array_make_native((PyArrayObject *)array) < 0)
    {
        Py_CLEAR(array);
    }
    return array;
}

PyObject *
fp_blobs_array(fp_blobs *blobs, size_t index, const fp_array_spec *spec,
               int *handled)
{
    const fp_known_dtype *dtype = known_dtype(blobs, spec->dtype);
    fp_array_layout layout;
    fp_loaded_blob *blob;
    size_t n_bytes;

    *handled = dtype == NULL;
    if (dtype == NULL || dtype->descr == NULL
        || !read_layout(spec, PyDataType_ELSIZE((PyArray_Descr *)dtype->descr),
                        &layout, &n_bytes))
    {
        return NULL;
    }
    if (index == FP_NO_BLOB) {
        if (n_bytes > 0) {
            return NULL;
        }
        *handled = 1;
        return empty_array(blobs, dtype, &layout);
    }
    blob = &blobs->table[index];
    if (blob->kind != FP_BLOB_BYTEARRAY || blob->object != NULL
        || n_bytes == 0)
    {
        return NULL;
    }
    if (blob->array != NULL) {
        *handled = 1;
        return share_taken(blob, (PyArray_Descr *)dtype->descr, &layout,
                           spec->offset, n_bytes, handled);
    }
    if (spec->offset > blob->n_bytes || n_bytes > blob->n_bytes - spec->offset)
    {
        return NULL;
    }
    *handled = 1;
    return array_of_blob(blobs, blob, dtype, &layout, spec->offset, n_bytes);
}

/* --- arrays of a read-only map that will be written to ------------------- */

static int
map_privately(fp_blobs *blobs)
{
    PyObject *map;
    Py_buffer now, before;
    int status = -1;

    if (blobs->private_map != NULL) {
        return 0;
    }
    map = blobs->map_privately(blobs);
    if (map == NULL || PyObject_GetBuffer(map, &now, PyBUF_SIMPLE) < 0) {
        Py_XDECREF(map);
        return -1;
    }
    if (PyObject_GetBuffer(blobs->map, &before, PyBUF_SIMPLE) == 0) {
        if (now.len >= before.len) {
            blobs->private_map = Py_NewRef(map);
            blobs->private_data = now.buf;
            status = 0;
        }
        else {
            PyErr_SetString(PyExc_OSError,
                            "the file became shorter while it was mapped");
        }
        PyBuffer_Release(&before);
    }
    /* It is not closed while arrays lie in it: nobody else has it. */
    PyBuffer_Release(&now);
    Py_DECREF(map);
    return status;
}

PyObject *
fp_blobs_writable(fp_blobs *blobs, PyObject *object)
{
    PyArrayObject *array = (PyArrayObject *)object;
    fp_array_layout layout = {.has_strides = 1};
    PyObject *mode, *made;
    size_t offset;

    if (blobs->map == NULL || blobs->map_privately == NULL
        || (PyObject *)Py_TYPE(object) != blobs->state->memmap_type
        || PyArray_ISWRITEABLE(array) || PyArray_BASE(array) != blobs->map)
    {
        return NULL;
    }
    layout.n_dims = PyArray_NDIM(array);
    for (int i = 0; i < layout.n_dims; i++) {
        layout.shape[i] = PyArray_DIM(array, i);
        layout.strides[i] = PyArray_STRIDE(array, i);
    }
    if (PyArray_SIZE(array) == 0) {
        layout.has_strides = 0;
        return new_copy(PyArray_DESCR(array), &layout, NULL, 0);
    }
    if (map_privately(blobs) < 0) {
        return NULL;
    }
    mode = PyUnicode_FromString("c");
    if (mode == NULL) {
        return NULL;
    }
    offset = (size_t)((const unsigned char *)PyArray_BYTES(array)
                      - blobs->map_data);
    made = fp_array_of_map(blobs->state, PyArray_DESCR(array), &layout,
                           blobs->private_map, blobs->private_data, offset,
                           mode, blobs->map_filename);
    Py_DECREF(mode);
    return made;
}

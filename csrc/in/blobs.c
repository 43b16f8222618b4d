#include "blobs.h"

#include "array_load.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

int
fp_blobs_init(fp_blobs *blobs, fp_state *state, size_t n_blobs)
{
    *blobs = (fp_blobs){.state = state};
    if (n_blobs > 0) {
        blobs->table = PyMem_RawCalloc(n_blobs, sizeof(fp_loaded_blob));
        if (blobs->table == NULL) {
            PyErr_NoMemory();
            return -1;
        }
    }
    blobs->n_blobs = blobs->capacity = n_blobs;
    blobs->handler = fp_array_handler();
    return blobs->handler == NULL ? -1 : 0;
}

int
fp_blobs_add(fp_blobs *blobs, fp_blob_kind kind)
{
    if (blobs->n_blobs == blobs->capacity) {
        size_t capacity = blobs->capacity < 8 ? 8 : blobs->capacity * 2;
        fp_loaded_blob *table;
        if (capacity > PY_SSIZE_T_MAX / sizeof(fp_loaded_blob)
            || (table = PyMem_RawRealloc(blobs->table,
                                         capacity * sizeof(fp_loaded_blob)))
                   == NULL)
        {
            PyErr_NoMemory();
            return -1;
        }
        blobs->table = table;
        blobs->capacity = capacity;
    }
    blobs->table[blobs->n_blobs++] =
        (fp_loaded_blob){.kind = (unsigned char)kind};
    return 0;
}

/* --- payloads ----------------------------------------------------------- */

static int
grow_bytes(fp_loaded_blob *blob, uint64_t n_bytes)
{
    int status = 0;

    blob->in_place = 1;
    if (blob->object == NULL) {
        blob->object = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)n_bytes);
        status = blob->object == NULL ? -1 : 0;
    }
    else {
        status = _PyBytes_Resize(&blob->object, (Py_ssize_t)n_bytes);
    }
    blob->data =
        status < 0 ? NULL : (unsigned char *)PyBytes_AS_STRING(blob->object);
    return status;
}

static int
grow_bytearray(fp_loaded_blob *blob, uint64_t n_bytes)
{
    int status = 0;

    blob->in_place = 1;
    if (blob->object == NULL) {
        blob->object =
            PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)n_bytes);
        status = blob->object == NULL ? -1 : 0;
    }
    else {
        status = PyByteArray_Resize(blob->object, (Py_ssize_t)n_bytes);
    }
    blob->data = status < 0
                     ? NULL
                     : (unsigned char *)PyByteArray_AS_STRING(blob->object);
    return status;
}

int
fp_blobs_grow(fp_blobs *blobs, size_t index, uint64_t n_bytes,
              uint64_t n_final)
{
    fp_loaded_blob *blob = &blobs->table[index];
    void *data;

    if (n_bytes > PY_SSIZE_T_MAX || n_final > PY_SSIZE_T_MAX) {
        PyErr_NoMemory();
        return -1;
    }
    if (blob->kind == FP_BLOB_BYTES
        || (blobs->as_objects && blob->kind == FP_BLOB_BYTEARRAY))
    {
        if ((blob->kind == FP_BLOB_BYTES ? grow_bytes(blob, n_bytes)
                                         : grow_bytearray(blob, n_bytes))
            < 0)
        {
            return -1;
        }
        blob->n_bytes = n_bytes;
        return 0;
    }
    if (n_bytes == 0) {
        return 0;
    }
    if (blob->data == NULL) {
        blob->of_handler =
            blob->kind == FP_BLOB_BYTEARRAY && n_final >= FP_OWN_BLOB_BYTES;
    }
    if (blob->of_handler) {
        data = blob->data == NULL
                   ? fp_array_memory_new(blobs->handler, (size_t)n_bytes)
                   : fp_array_memory_resize(blobs->handler, blob->data,
                                            (size_t)n_bytes);
    }
    else {
        data = PyMem_RawRealloc(blob->data, (size_t)n_bytes);
    }
    if (data == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    blob->data = data;
    blob->n_bytes = n_bytes;
    return 0;
}

int
fp_blobs_allocate(fp_blobs *blobs, size_t index, uint64_t n_bytes)
{
    return fp_blobs_grow(blobs, index, n_bytes, n_bytes);
}

static void
free_payload(fp_blobs *blobs, fp_loaded_blob *blob)
{
    if (!blob->in_place && blob->data != NULL) {
        if (blob->of_handler) {
            fp_array_memory_free(blobs->handler, blob->data,
                                 (size_t)blob->n_bytes);
        }
        else {
            PyMem_RawFree(blob->data);
        }
    }
    blob->data = NULL;
}

void
fp_blobs_free(fp_blobs *blobs)
{
    for (size_t i = 0; i < blobs->n_blobs; i++) {
        fp_loaded_blob *blob = &blobs->table[i];
        free_payload(blobs, blob);
        Py_CLEAR(blob->object);
        Py_CLEAR(blob->array);
    }
    PyMem_RawFree(blobs->table);
    blobs->table = NULL;
    blobs->n_blobs = blobs->capacity = 0;
    for (size_t i = 0; i < FP_KNOWN_DTYPES; i++) {
        Py_CLEAR(blobs->dtypes[i].given);
        Py_CLEAR(blobs->dtypes[i].descr);
    }
    Py_CLEAR(blobs->handler);
    Py_CLEAR(blobs->map);
    Py_CLEAR(blobs->map_mode);
    Py_CLEAR(blobs->map_filename);
}

/* --- objects ------------------------------------------------------------ */

PyObject *
fp_blobs_object(fp_blobs *blobs, size_t index)
{
    fp_loaded_blob *blob = &blobs->table[index];
    const char *data;
    Py_ssize_t n_bytes = (Py_ssize_t)blob->n_bytes;
    PyObject *object = NULL;

    if (blob->object != NULL) {
        return Py_NewRef(blob->object);
    }
    if (blob->array != NULL) {
        object = fp_array_raw_bytes(blob->array, blob->swapped);
        blob->object = Py_XNewRef(object);
        return object;
    }
    if (!blob->checked && blobs->check != NULL) {
        if (blobs->check(blobs, index) < 0) {
            return NULL;
        }
        blob->checked = 1;
    }
    data = n_bytes == 0 ? "" : (const char *)blob->data;
    switch ((fp_blob_kind)blob->kind) {
    case FP_BLOB_BYTEARRAY:
        object = PyByteArray_FromStringAndSize(data, n_bytes);
        break;
    case FP_BLOB_BYTES:
        object = PyBytes_FromStringAndSize(data, n_bytes);
        break;
    case FP_BLOB_STR:
        object = fp_text_of_utf8(data, (size_t)n_bytes);
        break;
    }
    if (object != NULL) {
        free_payload(blobs, blob);
        blob->object = Py_NewRef(object);
    }
    return object;
}

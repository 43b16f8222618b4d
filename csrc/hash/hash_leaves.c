#include "core/utf8.h"
#include "hash_parts.h"

int
fp_put_number(fp_hasher *hasher, uint64_t number)
{
    unsigned char out[8];

    for (int i = 0; i < 8; i++) {
        out[i] = (unsigned char)(number >> (8 * i));
    }
    return fp_pile_put(&hasher->bytes, out, sizeof(out));
}

int
fp_hash_payload(fp_hasher *hasher, const void *data, size_t n_bytes,
                fp_wide *digest)
{
    fp_wide_span span = {.data = data, .n_bytes = n_bytes};
    fp_status status;

    if (n_bytes < FP_LARGE_PAYLOAD) {
        *digest = fp_wide_hash(data, n_bytes);
        return 0;
    }
    Py_BEGIN_ALLOW_THREADS
    status = fp_wide_hash_spans(&span, 1, hasher->n_threads);
    Py_END_ALLOW_THREADS
    if (status != FP_OK) {
        PyErr_NoMemory();
        return -1;
    }
    *digest = span.digest;
    return 0;
}

/* The digest of a leaf that is long. */
static int
hash_long_leaf(fp_hasher *hasher, int tag, size_t n_bytes,
               const fp_wide *payload, fp_wide *digest)
{
    size_t start = hasher->bytes.n_used;
    unsigned char first = (unsigned char)tag;

    if (fp_pile_put(&hasher->bytes, &first, 1) < 0
        || fp_put_number(hasher, n_bytes) < 0
        || fp_pile_put(&hasher->bytes, payload->bytes, FP_WIDE_BYTES) < 0)
    {
        return -1;
    }
    *digest =
        fp_wide_hash(hasher->bytes.data + start, hasher->bytes.n_used - start);
    hasher->bytes.n_used = start;
    return 0;
}

int
fp_put_bytes(fp_hasher *hasher, int tag, const void *data, size_t n_bytes)
{
    unsigned char *out;
    fp_wide digest;

    if (n_bytes > FP_SHORT_LEAF) {
        if (fp_hash_payload(hasher, data, n_bytes, &digest) < 0
            || hash_long_leaf(hasher, tag, n_bytes, &digest, &digest) < 0)
        {
            return -1;
        }
        return fp_put_digest(hasher, &digest);
    }
    out = fp_pile_room(&hasher->bytes, n_bytes + 2);
    if (out == NULL) {
        return -1;
    }
    out[0] = (unsigned char)tag;
    out[1] = (unsigned char)n_bytes;
    if (n_bytes > 0) {
        memcpy(out + 2, data, n_bytes);
    }
    hasher->bytes.n_used += n_bytes + 2;
    return 0;
}

/* --- text ----------------------------------------------------------------- */

#define TEXT_PIECE ((size_t)64 << 10)

/* Text that is no ASCII, as UTF-8, with no copy of all of it. */
static int
put_encoded(fp_hasher *hasher, PyObject *text)
{
    int width = (int)PyUnicode_KIND(text);
    const void *chars = PyUnicode_DATA(text);
    size_t n_chars = (size_t)PyUnicode_GET_LENGTH(text);
    size_t n_bytes = fp_utf8_length(chars, width, n_chars);
    size_t next = 0;
    fp_wide_payload payload = {0};
    fp_status status = FP_OK;
    fp_wide digest;
    unsigned char *out, *end;

    if (n_bytes <= FP_SHORT_LEAF) {
        unsigned char encoded[FP_SHORT_LEAF + 8];
        (void)fp_utf8_encode(chars, width, n_chars, &next, encoded,
                             encoded + sizeof(encoded));
        return fp_put_bytes(hasher, FP_STR_RECORD, encoded, n_bytes);
    }
    out = PyMem_Malloc(TEXT_PIECE);
    if (out == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    while (status == FP_OK && next < n_chars) {
        end = fp_utf8_encode(chars, width, n_chars, &next, out,
                             out + TEXT_PIECE);
        status = fp_wide_payload_update(&payload, out, (size_t)(end - out));
    }
    PyMem_Free(out);
    if (status == FP_OK) {
        status = fp_wide_payload_finish(&payload, &digest);
    }
    else {
        (void)fp_wide_payload_finish(&payload, NULL);
    }
    if (status != FP_OK) {
        PyErr_NoMemory();
        return -1;
    }
    return hash_long_leaf(hasher, FP_STR_RECORD, n_bytes, &digest, &digest) < 0
               ? -1
               : fp_put_digest(hasher, &digest);
}

int
fp_put_text(fp_hasher *hasher, PyObject *text)
{
#if PY_VERSION_HEX < 0x030c0000
    if (PyUnicode_READY(text) < 0) {
        return -1;
    }
#endif
    return PyUnicode_IS_ASCII(text)
               ? fp_put_bytes(hasher, FP_STR_RECORD, PyUnicode_DATA(text),
                              (size_t)PyUnicode_GET_LENGTH(text))
               : put_encoded(hasher, text);
}

#define SHARED_BYTES 512

/* A leaf that is not short: held while the GIL may be released, and remembered
 * where it may be met again. */
static int
put_long(fp_hasher *hasher, PyObject *object,
         int (*put)(fp_hasher *hasher, PyObject *object))
{
    size_t start = hasher->bytes.n_used;
    int is_lonely = Py_REFCNT(object) == 1;
    fp_wide digest;
    int status;

    if (!is_lonely) {
        status = fp_put_known(hasher, object);
        if (status != 0) {
            return status < 0 ? -1 : 0;
        }
    }
    Py_INCREF(object);
    status = put(hasher, object);
    Py_DECREF(object);
    if (status < 0 || is_lonely) {
        return status;
    }
    if (hasher->bytes.data[start] != FP_DIGEST_RECORD) {
        return 0;
    }
    memcpy(digest.bytes, hasher->bytes.data + start + 1, FP_WIDE_BYTES);
    hasher->bytes.n_used = start;
    return fp_put_finished(hasher, object, 0, &digest);
}

static int
put_bytes_object(fp_hasher *hasher, PyObject *object)
{
    return fp_put_bytes(hasher, FP_BYTES_RECORD, PyBytes_AS_STRING(object),
                        (size_t)PyBytes_GET_SIZE(object));
}

/* --- numbers -------------------------------------------------------------- */

static int
put_int(fp_hasher *hasher, PyObject *object)
{
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(object, &overflow);
    unsigned char *out;
    PyObject *text;
    const char *digits;
    Py_ssize_t n_digits;
    int status;

    if (overflow == 0) {
        if (value == -1 && PyErr_Occurred()) {
            return -1;
        }
        out = fp_pile_room(&hasher->bytes, 9);
        if (out == NULL) {
            return -1;
        }
        out[0] = FP_INT_RECORD;
        for (int i = 0; i < 8; i++) {
            out[1 + i] = (unsigned char)((unsigned long long)value >> (8 * i));
        }
        hasher->bytes.n_used += 9;
        return 0;
    }
    text = PyNumber_ToBase(object, 16); /* in linear time, of any length */
    if (text == NULL) {
        return -1;
    }
    digits = PyUnicode_AsUTF8AndSize(text, &n_digits);
    status = digits == NULL ? -1
                            : fp_put_bytes(hasher, FP_BIG_INT_RECORD, digits,
                                           (size_t)n_digits);
    Py_DECREF(text);
    return status;
}

/* Eight bytes, the least significant first. */
static void
write_double(unsigned char *out, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof(bits));
    for (int i = 0; i < 8; i++) {
        out[i] = (unsigned char)(bits >> (8 * i));
    }
}

static int
put_doubles(fp_hasher *hasher, int tag, const double *values, size_t n)
{
    unsigned char *out = fp_pile_room(&hasher->bytes, 1 + 8 * n);

    if (out == NULL) {
        return -1;
    }
    *out++ = (unsigned char)tag;
    for (size_t i = 0; i < n; i++) {
        write_double(out + 8 * i, values[i]);
    }
    hasher->bytes.n_used += 1 + 8 * n;
    return 0;
}

int
fp_put_tag(fp_hasher *hasher, int tag)
{
    unsigned char byte = (unsigned char)tag;

    return fp_pile_put(&hasher->bytes, &byte, 1);
}

static int
put_bytearray(fp_hasher *hasher, PyObject *object)
{
    Py_buffer view; /* nobody can resize it while it is exported */
    int status;

    if (PyObject_GetBuffer(object, &view, PyBUF_SIMPLE) < 0) {
        return -1;
    }
    status =
        fp_put_bytes(hasher, FP_BYTEARRAY_RECORD, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    return status;
}

int
fp_hash_leaf(fp_hasher *hasher, PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);
    int status;

    if (type == &PyUnicode_Type) {
        status = PyUnicode_GET_LENGTH(object) < SHARED_BYTES
                     ? fp_put_text(hasher, object)
                     : put_long(hasher, object, fp_put_text);
    }
    else if (type == &PyLong_Type) {
        status = put_int(hasher, object);
    }
    else if (type == &PyFloat_Type) {
        double value = PyFloat_AS_DOUBLE(object);
        status = put_doubles(hasher, FP_FLOAT_RECORD, &value, 1);
    }
    else if (object == Py_None) {
        status = fp_put_tag(hasher, FP_NONE_RECORD);
    }
    else if (type == &PyBool_Type) {
        status = fp_put_tag(hasher, object == Py_True ? FP_TRUE_RECORD
                                                      : FP_FALSE_RECORD);
    }
    else if (type == &PyBytes_Type) {
        status = PyBytes_GET_SIZE(object) < SHARED_BYTES
                     ? put_bytes_object(hasher, object)
                     : put_long(hasher, object, put_bytes_object);
    }
    else if (type == &PyComplex_Type) {
        Py_complex value = PyComplex_AsCComplex(object);
        double parts[] = {value.real, value.imag};
        status = put_doubles(hasher, FP_COMPLEX_RECORD, parts, 2);
    }
    else if (type == &PyByteArray_Type) {
        status = PyByteArray_GET_SIZE(object) < SHARED_BYTES
                     ? put_bytearray(hasher, object)
                     : put_long(hasher, object, put_bytearray);
    }
    else if (object == Py_Ellipsis) {
        status = fp_put_tag(hasher, FP_ELLIPSIS_RECORD);
    }
    else if (object == Py_NotImplemented) {
        status = fp_put_tag(hasher, FP_NOT_IMPLEMENTED_RECORD);
    }
    else {
        return 0;
    }
    return status < 0 ? -1 : 1;
}

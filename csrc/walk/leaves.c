#include "base/messages.h"
#include "core/utf8.h"
#include "inline_leaves.h"
#include "outlet.h"
#include "walk.h"

#include <string.h>

/* --- numbers ------------------------------------------------------------ */

static int
as_byte_array(PyObject *object, unsigned char *out, size_t n_bytes)
{
#if PY_VERSION_HEX < 0x030d0000
    return _PyLong_AsByteArray((PyLongObject *)object, out, n_bytes, 1, 1);
#else
    return PyLong_AsNativeBytes(object, out, (Py_ssize_t)n_bytes,
                                Py_ASNATIVEBYTES_LITTLE_ENDIAN)
                   < 0
               ? -1
               : 0;
#endif
}

/* How many bytes two's complement may need: the exact number or one more. */
static int
big_int_bytes(PyObject *object, size_t *n_bytes)
{
#if PY_VERSION_HEX < 0x030d0000
    size_t n_bits = _PyLong_NumBits(object);
    if (n_bits == (size_t)-1 && PyErr_Occurred()) {
        return -1;
    }
    *n_bytes = (n_bits >> 3) + 1;
#else
    Py_ssize_t n =
        PyLong_AsNativeBytes(object, NULL, 0, Py_ASNATIVEBYTES_LITTLE_ENDIAN);
    if (n < 0) {
        return -1;
    }
    *n_bytes = (size_t)n;
#endif
    return 0;
}

static int
save_big_int(fp_walk *walk, PyObject *object)
{
    size_t n_bytes, n_header;
    unsigned char *out, *digits;

    if (big_int_bytes(object, &n_bytes) < 0) {
        return -1;
    }
    if (n_bytes > INT32_MAX) {
        PyErr_SetString(PyExc_OverflowError, "int too large to pickle");
        return -1;
    }
    out = fp_room(walk, n_bytes + 5);
    if (out == NULL) {
        return -1;
    }
    digits = out + 5;
    if (as_byte_array(object, digits, n_bytes) < 0) {
        return -1;
    }
    /* A negative number may have got a last byte of sign bits only. */
    if (n_bytes > 1 && digits[n_bytes - 1] == 0xff
        && (digits[n_bytes - 2] & 0x80) != 0)
    {
        n_bytes--;
    }
    if (n_bytes < 256) {
        n_header = 2;
        memmove(out + 2, digits, n_bytes);
        out[0] = OP_LONG1;
        out[1] = (unsigned char)n_bytes;
    }
    else {
        n_header = 5;
        out[0] = OP_LONG4;
        for (int i = 0; i < 4; i++) {
            out[1 + i] = (unsigned char)(n_bytes >> (8 * i));
        }
    }
    walk->graph.cursor = out + n_header + n_bytes;
    return 0;
}

static int
save_int_as_text(fp_walk *walk, PyObject *object)
{
    PyObject *repr;
    Py_ssize_t n_bytes;
    const char *digits;
    int status = -1;

    if (fp_call_out(walk) < 0) { /* repr() runs signal handlers */
        return -1;
    }
    repr = PyObject_Repr(object);
    if (repr == NULL) {
        return -1;
    }
    digits = PyUnicode_AsUTF8AndSize(repr, &n_bytes);
    if (digits != NULL && fp_emit_byte(walk, OP_LONG) == 0
        && fp_emit(walk, digits, (size_t)n_bytes) == 0)
    {
        status = fp_emit(walk, "L\n", 2);
    }
    Py_DECREF(repr);
    return status;
}

int
fp_save_int(fp_walk *walk, PyObject *object)
{
    long value;
    unsigned char *out;

    if (!fp_as_small(object, &value)) {
        int overflow;
        value = PyLong_AsLongAndOverflow(object, &overflow);
        if (value == -1 && !overflow && PyErr_Occurred()) {
            return -1;
        }
        if (overflow || value > INT32_MAX || value < INT32_MIN) {
            return walk->protocol >= 2 ? save_big_int(walk, object)
                                       : save_int_as_text(walk, object);
        }
    }
    out = fp_room(walk, 32);
    if (out == NULL) {
        return -1;
    }
    if (walk->text) {
        out += snprintf((char *)out, 32, "I%ld\n", value);
    }
    else {
        out = fp_encode_int(out, value);
    }
    walk->graph.cursor = out;
    return 0;
}

/* Protocol 0: a line of text. The others: inline_leaves.h. */
int
fp_save_float(fp_walk *walk, PyObject *object)
{
    double value = PyFloat_AS_DOUBLE(object);
    char *text;
    int status;

    text = PyOS_double_to_string(value, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    if (text == NULL) {
        return -1;
    }
    status = fp_emit_byte(walk, OP_FLOAT);
    if (status == 0) {
        status = fp_emit(walk, text, strlen(text));
    }
    if (status == 0) {
        status = fp_emit_byte(walk, '\n');
    }
    PyMem_Free(text);
    return status;
}

/* --- large leaves ------------------------------------------------------- */

static int
changed(const fp_payload *source)
{
    PyErr_Format(PyExc_RuntimeError,
                 "%.200s was resized while it was being dumped",
                 Py_TYPE(source->object)->tp_name);
    return -1;
}

static int
read_bytes(fp_payload *source, unsigned char *out, size_t n_bytes)
{
    memcpy(out, source->data + source->offset, n_bytes);
    source->offset += n_bytes;
    return 0;
}

static int
read_bytearray(fp_payload *source, unsigned char *out, size_t n_bytes)
{
    if (PyByteArray_AS_STRING(source->object) != source->data
        || (size_t)PyByteArray_GET_SIZE(source->object) != source->n_bytes)
    {
        return changed(source);
    }
    return read_bytes(source, out, n_bytes);
}

/* An export pins the memory, but for ndarray.resize(refcheck=False). */
static int
read_pickle_buffer(fp_payload *source, unsigned char *out, size_t n_bytes)
{
    const Py_buffer *view = PyPickleBuffer_GetBuffer(source->object);
    fp_array_extent now;

    if (view == NULL) {
        return -1;
    }
    now = fp_extent_of(view->obj);
    if (view->buf != source->data || now.data != source->array.data
        || now.n_bytes != source->array.n_bytes)
    {
        return changed(source);
    }
    return read_bytes(source, out, n_bytes);
}

/* A leaf that is large and need not wait in memory: past the frames, straight
 * to where the stream goes. */
static inline int
wants_stream(const fp_walk *walk, size_t n_bytes)
{
    return walk->outlet != NULL && walk->outlet->methods->pass != NULL
           && !walk->silent && n_bytes >= FP_FRAME_TARGET_BYTES;
}

static int
save_in_stream(fp_walk *walk, const unsigned char *header, size_t n_header,
               fp_payload *source)
{
    const fp_outlet_methods *methods = walk->outlet->methods;
    int framing = fp_begin_unframed(walk);
    int status = fp_emit(walk, header, n_header);

    if (status == 0) {
        status = methods->flush(walk);
    }
    if (status == 0) {
        status = methods->pass(walk, source);
    }
    fp_end_unframed(walk, framing);
    return status;
}

static inline int
wants_blob(const fp_walk *walk, size_t n_bytes)
{
    return n_bytes >= FP_OWN_BLOB_BYTES && walk->outlet != NULL
           && walk->outlet->methods->save_leaf != NULL;
}

static int
save_as_blob(fp_walk *walk, fp_payload *source, fp_blob_kind kind, int lonely)
{
    return walk->outlet->methods->save_leaf(walk, source, kind, lonely);
}

/* --- bytes -------------------------------------------------------------- */

static size_t
encode_length(unsigned char *out, unsigned char opcode, size_t n_length,
              uint64_t length)
{
    out[0] = opcode;
    for (size_t i = 0; i < n_length; i++) {
        out[1 + i] = (unsigned char)(length >> (8 * i));
    }
    return 1 + n_length;
}

static int
emit_payload(fp_walk *walk, const unsigned char *header, size_t n_header,
             fp_payload *source, int lonely)
{
    if ((wants_stream(walk, source->n_bytes)
             ? save_in_stream(walk, header, n_header, source)
             : fp_emit_large(walk, header, n_header, source->data,
                             source->n_bytes, source->object))
        < 0)
    {
        return -1;
    }
    return fp_memo_put(walk, source->object, lonely);
}

/* bytes in-band. */
static int
emit_bytes(fp_walk *walk, fp_payload *source, int lonely)
{
    size_t n_bytes = source->n_bytes;
    unsigned char header[9];
    size_t n_header;

    if (n_bytes < 256) {
        n_header = encode_length(header, OP_SHORT_BINBYTES, 1, n_bytes);
    }
    else if (n_bytes <= UINT32_MAX) {
        n_header = encode_length(header, OP_BINBYTES, 4, n_bytes);
    }
    else if (walk->protocol >= 4) {
        n_header = encode_length(header, OP_BINBYTES8, 8, n_bytes);
    }
    else {
        PyErr_SetString(PyExc_OverflowError,
                        "serializing a bytes object larger than 4 GiB "
                        "requires pickle protocol 4 or higher");
        return -1;
    }
    return emit_payload(walk, header, n_header, source, lonely);
}

static int
emit_bytearray(fp_walk *walk, fp_payload *source, int lonely)
{
    unsigned char header[9];
    size_t n_header = encode_length(header, OP_BYTEARRAY8, 8, source->n_bytes);

    return emit_payload(walk, header, n_header, source, lonely);
}

static int
save_reduced_and_release(fp_walk *walk, PyObject *reduced, PyObject *object)
{
    int status;

    if (reduced == NULL) {
        return -1;
    }
    status = fp_save_reduced(walk, reduced, object);
    Py_DECREF(reduced);
    return status;
}

int
fp_save_bytes(fp_walk *walk, PyObject *object, int lonely)
{
    const char *data = PyBytes_AS_STRING(object);
    size_t n_bytes = (size_t)PyBytes_GET_SIZE(object);

    if (walk->protocol >= 3) {
        fp_payload from = {.read = read_bytes,
                           .object = object,
                           .data = data,
                           .n_bytes = n_bytes,
                           .is_fixed = 1};
        return wants_blob(walk, n_bytes)
                   ? save_as_blob(walk, &from, FP_BLOB_BYTES, lonely)
                   : emit_bytes(walk, &from, lonely);
    }
    /* As pickle does: Python 2 gets a str, Python 3 bytes. */
    if (fp_call_out(walk) < 0) {
        return -1;
    }
    if (n_bytes == 0) {
        return save_reduced_and_release(
            walk, Py_BuildValue("(O())", (PyObject *)&PyBytes_Type), object);
    }
    return save_reduced_and_release(
        walk,
        Py_BuildValue(
            "(O(NO))", walk->state->codecs_encode,
            PyUnicode_DecodeLatin1(data, (Py_ssize_t)n_bytes, "strict"),
            walk->state->str_latin1),
        object);
}

int
fp_save_bytearray(fp_walk *walk, PyObject *object, int lonely)
{
    const char *data = PyByteArray_AS_STRING(object);
    size_t n_bytes = (size_t)PyByteArray_GET_SIZE(object);

    if (walk->protocol >= 5) {
        fp_payload from = {.read = read_bytearray,
                           .object = object,
                           .data = data,
                           .n_bytes = n_bytes};
        return wants_blob(walk, n_bytes)
                   ? save_as_blob(walk, &from, FP_BLOB_BYTEARRAY, lonely)
                   : emit_bytearray(walk, &from, lonely);
    }
    if (fp_call_out(walk) < 0) {
        return -1;
    }
    if (n_bytes == 0) {
        return save_reduced_and_release(
            walk, Py_BuildValue("(O())", (PyObject *)&PyByteArray_Type),
            object);
    }
    return save_reduced_and_release(
        walk,
        Py_BuildValue("(O(N))", (PyObject *)&PyByteArray_Type,
                      PyBytes_FromObject(object)),
        object);
}

/* Whether the bytes of a buffer are to stand in the stream; -1. */
static int
wants_in_band(const fp_walk *walk, PyObject *object)
{
    PyObject *answer = PyObject_CallOneArg(walk->buffer_callback, object);
    int in_band;

    if (answer == NULL) {
        return -1;
    }
    in_band = PyObject_IsTrue(answer);
    Py_DECREF(answer);
    return in_band;
}

int
fp_save_pickle_buffer(fp_walk *walk, PyObject *object, int lonely)
{
    const Py_buffer *view;
    Py_buffer held = {0};
    fp_payload from;
    int status = -1;

    if (walk->protocol < 5) {
        PyErr_SetString(walk->state->pickling_error,
                        FP_BUFFER_NEEDS_PROTOCOL_5);
        return -1;
    }
    view = PyPickleBuffer_GetBuffer(object);
    if (view == NULL) {
        return -1;
    }
    if (view->suboffsets != NULL || !PyBuffer_IsContiguous(view, 'A')) {
        PyErr_SetString(walk->state->pickling_error,
                        "PickleBuffer can not be pickled when "
                        "pointing to a non-contiguous buffer");
        return -1;
    }
    if (walk->buffer_callback != NULL) {
        int in_band;
        /* The callback may release the buffer. */
        if (fp_call_out(walk) < 0
            || PyObject_GetBuffer(object, &held, PyBUF_FULL_RO) < 0)
        {
            return -1;
        }
        view = &held;
        in_band = wants_in_band(walk, object);
        if (in_band < 0) {
            goto done;
        }
        if (!in_band) {
            unsigned char opcodes[] = {OP_NEXT_BUFFER, OP_READONLY_BUFFER};
            status = fp_emit(walk, opcodes, view->readonly ? 2 : 1);
            goto done;
        }
    }
    from = (fp_payload){.read = read_pickle_buffer,
                        .object = object,
                        .data = view->buf,
                        .n_bytes = (size_t)view->len,
                        .array = fp_extent_of(view->obj)};
    if (walk->outlet != NULL && walk->outlet->methods->save_buffer != NULL) {
        status = walk->outlet->methods->save_buffer(walk, &from,
                                                    view->readonly, lonely);
    }
    else if (wants_blob(walk, from.n_bytes)) {
        status = save_as_blob(
            walk, &from, view->readonly ? FP_BLOB_BYTES : FP_BLOB_BYTEARRAY,
            lonely);
    }
    else {
        status = view->readonly ? emit_bytes(walk, &from, lonely)
                                : emit_bytearray(walk, &from, lonely);
    }
done:
    PyBuffer_Release(&held); /* nothing where it was not taken */
    return status;
}

/* --- str ---------------------------------------------------------------- */

/* UTF-8 with lone surrogates encoded like any other character
 * ("surrogatepass"), straight from the characters: PyUnicode_AsUTF8 would
 * leave a copy in the user's object. Where it has one already, as a str of
 * ASCII does, that is taken. */

/* What of a str its UTF-8 is made of. */
typedef struct {
    const char *utf8; /* borrowed, as long as the str; NULL: to be encoded */
    size_t n_bytes;   /* of the UTF-8 */
} encoding;

static encoding
encoding_of(PyObject *text)
{
    Py_ssize_t n_chars = PyUnicode_GET_LENGTH(text);
    const PyCompactUnicodeObject *object;

    if (PyUnicode_IS_ASCII(text)) {
        return (encoding){PyUnicode_DATA(text), (size_t)n_chars};
    }
    object = (const PyCompactUnicodeObject *)text;
    if (object->utf8 != NULL) {
        return (encoding){object->utf8, (size_t)object->utf8_length};
    }
    return (encoding){NULL, fp_utf8_length(PyUnicode_DATA(text),
                                           (int)PyUnicode_KIND(text),
                                           (size_t)n_chars)};
}

/* The characters from *next on, in front of `end`: see fp_utf8_encode(). */
static unsigned char *
encode_chars(PyObject *text, size_t *next, unsigned char *out,
             const unsigned char *end)
{
    return fp_utf8_encode(PyUnicode_DATA(text), (int)PyUnicode_KIND(text),
                          (size_t)PyUnicode_GET_LENGTH(text), next, out, end);
}

static void
copy_encoded(PyObject *text, const encoding *what, unsigned char *out)
{
    size_t next = 0;

    if (what->utf8 != NULL) {
        memcpy(out, what->utf8, what->n_bytes);
    }
    else {
        (void)encode_chars(text, &next, out, out + what->n_bytes);
    }
}

/* The state of an encoding that goes on from block to block: a character may
 * be cut by the end of a block. */
typedef struct {
    fp_payload base;
    unsigned char cut[4];
    size_t n_cut;
} str_source;

static int
read_str(fp_payload *source, unsigned char *out, size_t n_bytes)
{
    str_source *from = (str_source *)source;
    PyObject *text = source->object;
    unsigned char *end = out + n_bytes;

    while (out < end) {
        size_t n;
        if (from->n_cut == 0) {
            size_t next = source->offset;
            out = encode_chars(text, &next, out, end);
            source->offset = next;
            if (out == end) {
                break;
            }
            /* One more character, which does not fit. */
            Py_UCS4 c = PyUnicode_READ_CHAR(text, (Py_ssize_t)next);
            next = 0;
            from->n_cut =
                (size_t)(fp_utf8_encode(&c, 4, 1, &next, from->cut,
                                        from->cut + sizeof(from->cut))
                         - from->cut);
            source->offset++;
        }
        n = from->n_cut < (size_t)(end - out) ? from->n_cut
                                              : (size_t)(end - out);
        memcpy(out, from->cut, n);
        memmove(from->cut, from->cut + n, from->n_cut - n);
        from->n_cut -= n;
        out += n;
    }
    return 0;
}

static str_source
source_of_str(PyObject *text, const encoding *what)
{
    str_source from = {
        .base = {.read = read_str, .object = text, .n_bytes = what->n_bytes}};

    if (what->utf8 != NULL) {
        from.base.read = read_bytes;
        from.base.data = what->utf8;
        from.base.is_fixed = 1;
    }
    return from;
}

static const char hex_digits[] = "0123456789abcdef";

static unsigned char *
encode_escape(unsigned char *out, char letter, int n_digits, Py_UCS4 c)
{
    *out++ = '\\';
    *out++ = (unsigned char)letter;
    for (int shift = 4 * (n_digits - 1); shift >= 0; shift -= 4) {
        *out++ = (unsigned char)hex_digits[(c >> shift) & 0xf];
    }
    return out;
}

/* Protocol 0: raw-unicode-escape, and the characters that would end or spoil
 * the line escaped as well. */
static int
emit_escaped(fp_walk *walk, PyObject *text, int lonely)
{
    Py_ssize_t n_chars = PyUnicode_GET_LENGTH(text);
    int kind = PyUnicode_KIND(text);
    const void *data = PyUnicode_DATA(text);
    unsigned char *out;

    if ((size_t)n_chars > (SIZE_MAX - 2) / 10) {
        PyErr_NoMemory();
        return -1;
    }
    out = fp_room(walk, (size_t)n_chars * 10 + 2);
    if (out == NULL) {
        return -1;
    }
    *out++ = OP_UNICODE;
    for (Py_ssize_t i = 0; i < n_chars; i++) {
        Py_UCS4 c = PyUnicode_READ(kind, data, i);
        if (c >= 0x10000) {
            out = encode_escape(out, 'U', 8, c);
        }
        else if (c >= 256 || c == '\\' || c == 0 || c == '\n' || c == '\r'
                 || c == 0x1a)
        {
            out = encode_escape(out, 'u', 4, c);
        }
        else {
            *out++ = (unsigned char)c;
        }
    }
    *out++ = '\n';
    walk->graph.cursor = out;
    return fp_memo_put(walk, text, lonely);
}

static int
emit_str(fp_walk *walk, PyObject *text, const encoding *what,
         const unsigned char *header, size_t n_header)
{
    unsigned char *out = fp_room(walk, n_header + what->n_bytes);

    if (out == NULL) {
        return -1;
    }
    memcpy(out, header, n_header);
    copy_encoded(text, what, out + n_header);
    walk->graph.cursor = out + n_header + what->n_bytes;
    return 0;
}

/* A str so large that the standard stream writes it past its frames. */
static int
emit_large_str(fp_walk *walk, PyObject *text, const encoding *what,
               const unsigned char *header, size_t n_header)
{
    PyObject *encoded;
    int framing;
    int status;

    if (wants_stream(walk, what->n_bytes)) {
        str_source from = source_of_str(text, what);
        return save_in_stream(walk, header, n_header, &from.base);
    }
    if (what->utf8 != NULL) {
        return fp_emit_large(walk, header, n_header, what->utf8, what->n_bytes,
                             NULL);
    }
    if (walk->write == NULL) {
        framing = fp_begin_unframed(walk);
        status = emit_str(walk, text, what, header, n_header);
        fp_end_unframed(walk, framing);
        return status;
    }
    encoded = fp_new_bytes(what->n_bytes);
    if (encoded == NULL) {
        return -1;
    }
    copy_encoded(text, what, (unsigned char *)PyBytes_AS_STRING(encoded));
    status = fp_emit_large(walk, header, n_header, PyBytes_AS_STRING(encoded),
                           what->n_bytes, encoded);
    Py_DECREF(encoded);
    return status;
}

/* So few characters that the length of their UTF-8 is one byte whatever they
 * are: it is known when they are encoded. */
#define FEW_CHARS 63

static int
save_short_str(fp_walk *walk, PyObject *text, int lonely)
{
    /* Room for blocks: utf8.h writes none where there is little. */
    unsigned char *out = fp_room(walk, 2 + 4 * FEW_CHARS);
    unsigned char *end;
    size_t next = 0;

    if (out == NULL) {
        return -1;
    }
    end = encode_chars(text, &next, out + 2, out + 2 + 4 * FEW_CHARS);
    out[0] = OP_SHORT_BINUNICODE;
    out[1] = (unsigned char)(end - (out + 2));
    walk->graph.cursor = end;
    return fp_memo_put(walk, text, lonely);
}

int
fp_save_str(fp_walk *walk, PyObject *text, int lonely)
{
    unsigned char header[9];
    size_t n_header;
    encoding what;
    int status;

#if PY_VERSION_HEX < 0x030c0000
    if (PyUnicode_READY(text) < 0) {
        return -1;
    }
#endif
    if (walk->text) {
        return emit_escaped(walk, text, lonely);
    }
    if (PyUnicode_GET_LENGTH(text) <= FEW_CHARS && walk->protocol >= 4
        && !PyUnicode_IS_ASCII(text))
    {
        return save_short_str(walk, text, lonely);
    }
    what = encoding_of(text);
    if (wants_blob(walk, what.n_bytes)) {
        str_source from = source_of_str(text, &what);
        return save_as_blob(walk, &from.base, FP_BLOB_STR, lonely);
    }
    if (what.n_bytes < 256 && walk->protocol >= 4) {
        n_header = encode_length(header, OP_SHORT_BINUNICODE, 1, what.n_bytes);
    }
    else if (what.n_bytes <= UINT32_MAX) {
        n_header = encode_length(header, OP_BINUNICODE, 4, what.n_bytes);
    }
    else if (walk->protocol >= 4) {
        n_header = encode_length(header, OP_BINUNICODE8, 8, what.n_bytes);
    }
    else {
        PyErr_SetString(PyExc_OverflowError,
                        "serializing a string larger than 4 GiB "
                        "requires pickle protocol 4 or higher");
        return -1;
    }
    status = what.n_bytes >= FP_FRAME_TARGET_BYTES && !walk->late_puts
                 ? emit_large_str(walk, text, &what, header, n_header)
                 : emit_str(walk, text, &what, header, n_header);
    return status < 0 ? -1 : fp_memo_put(walk, text, lonely);
}

#include "text.h"

#include "core/utf8.h"

#include <string.h>

PyObject *
fp_text_of_utf8(const void *bytes, size_t n_bytes)
{
    unsigned char highest;
    size_t n_chars = fp_utf8_count(bytes, n_bytes, &highest);
    PyObject *text;

    /* Characters by themselves are shared; that is left to Python. */
    if (n_chars > 1 && n_bytes <= (size_t)PY_SSIZE_T_MAX) {
        text = PyUnicode_New((Py_ssize_t)n_chars, highest < 0x80   ? 0x7f
                                                  : highest < 0xc4 ? 0xff
                                                  : highest < 0xf0 ? 0xffff
                                                                   : 0x10ffff);
        if (text == NULL) {
            return NULL;
        }
        if (highest < 0x80) {
            memcpy(PyUnicode_1BYTE_DATA(text), bytes, n_bytes);
            return text;
        }
        if (fp_utf8_decode(bytes, n_bytes, PyUnicode_DATA(text),
                           (int)PyUnicode_KIND(text), n_chars))
        {
            return text;
        }
        Py_DECREF(text);
    }
    return PyUnicode_DecodeUTF8(bytes, (Py_ssize_t)n_bytes, "surrogatepass");
}

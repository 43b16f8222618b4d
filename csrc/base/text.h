/* A str of UTF-8, as PyUnicode_DecodeUTF8() with "surrogatepass" makes it, and
 * with its exceptions; of text that is neither ASCII nor damaged in less time.
 *
 * A new reference, or NULL with an exception set. With the GIL; text that is
 * damaged or has surrogates calls an error handler, which is Python's or one
 * that somebody has registered in its place. */
#ifndef FP_BASE_TEXT_H
#define FP_BASE_TEXT_H

#include <Python.h>

PyObject *fp_text_of_utf8(const void *bytes, size_t n_bytes);

#endif

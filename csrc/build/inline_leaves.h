/* The leaves that the loop meets most, made inline: short text, which is ASCII
 * as a rule, floats and ints. Everything else about leaves: unpickle_leaves.c.
 *
 * New references, or NULL with an exception set; `p` is borrowed and has as many
 * bytes as are asked for. With the GIL. */
#ifndef FP_BUILD_INLINE_LEAVES_H
#define FP_BUILD_INLINE_LEAVES_H

#include "base/text.h"

#include <stdint.h>
#include <string.h>

/* Text up to here is made in the loop. */
#define FP_SHORT_TEXT 128
#define FP_HIGH_BITS  UINT64_C(0x8080808080808080)

static inline uint64_t
fp_word_at(const unsigned char *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

static inline uint32_t
fp_half_at(const unsigned char *p)
{
    uint32_t word;
    memcpy(&word, p, 4);
    return word;
}

/* Up to FP_SHORT_TEXT bytes. ASCII is checked as it is copied, by moves of eight
 * bytes that may overlap. */
static inline PyObject *
fp_short_text(const unsigned char *p, size_t n)
{
    PyObject *text;
    unsigned char *target;

    if (n > 16 && n <= 32) {
        uint64_t word[4] = {fp_word_at(p), fp_word_at(p + 8),
                            fp_word_at(p + n - 16), fp_word_at(p + n - 8)};
        if ((word[0] | word[1] | word[2] | word[3]) & FP_HIGH_BITS) {
            goto decode;
        }
        text = PyUnicode_New((Py_ssize_t)n, 127);
        if (text != NULL) {
            target = PyUnicode_1BYTE_DATA(text);
            memcpy(target, &word[0], 16);
            memcpy(target + n - 16, &word[2], 16);
        }
        return text;
    }
    if (n > 32) {
        uint64_t any = fp_word_at(p + n - 8);
        for (size_t i = 0; i + 8 < n; i += 8) {
            any |= fp_word_at(p + i);
        }
        if (any & FP_HIGH_BITS) {
            goto decode;
        }
        text = PyUnicode_New((Py_ssize_t)n, 127);
        if (text != NULL) {
            target = PyUnicode_1BYTE_DATA(text);
            for (size_t i = 0; i + 8 < n; i += 8) {
                memcpy(target + i, p + i, 8);
            }
            memcpy(target + n - 8, p + n - 8, 8);
        }
        return text;
    }
    if (n >= 8) {
        uint64_t head = fp_word_at(p);
        uint64_t tail = fp_word_at(p + n - 8);
        if ((head | tail) & FP_HIGH_BITS) {
            goto decode;
        }
        text = PyUnicode_New((Py_ssize_t)n, 127);
        if (text != NULL) {
            target = PyUnicode_1BYTE_DATA(text);
            memcpy(target, &head, 8);
            memcpy(target + n - 8, &tail, 8);
        }
        return text;
    }
    if (n >= 4) {
        uint32_t head = fp_half_at(p);
        uint32_t tail = fp_half_at(p + n - 4);
        if ((head | tail) & (uint32_t)FP_HIGH_BITS) {
            goto decode;
        }
        text = PyUnicode_New((Py_ssize_t)n, 127);
        if (text != NULL) {
            target = PyUnicode_1BYTE_DATA(text);
            memcpy(target, &head, 4);
            memcpy(target + n - 4, &tail, 4);
        }
        return text;
    }
    if (n >= 2) {
        unsigned char first = p[0], middle = p[n / 2], last = p[n - 1];
        if ((first | middle | last) & 0x80) {
            goto decode;
        }
        text = PyUnicode_New((Py_ssize_t)n, 127);
        if (text != NULL) {
            target = PyUnicode_1BYTE_DATA(text);
            target[0] = first;
            target[n / 2] = middle;
            target[n - 1] = last;
        }
        return text;
    }
decode: /* also the empty one and single characters, which Python shares */
    return fp_text_of_utf8(p, n);
}

/* Two's complement, the lowest byte first; any length. */
static inline PyObject *
fp_int_of(const unsigned char *p, size_t n)
{
    if (n <= 8) {
        uint64_t bits = 0;
        if (n == 0) {
            return PyLong_FromLong(0);
        }
        for (size_t i = n; i-- > 0;) {
            bits = bits << 8 | p[i];
        }
        /* The sign, up to the highest bit. */
        bits <<= 64 - 8 * n;
        return PyLong_FromLongLong((int64_t)bits >> (64 - 8 * n));
    }
#if PY_VERSION_HEX >= 0x030d0000
    return PyLong_FromNativeBytes(p, n, Py_ASNATIVEBYTES_LITTLE_ENDIAN);
#else
    return _PyLong_FromByteArray(p, n, 1, 1);
#endif
}

/* Big-endian, as BINFLOAT has it. */
static inline double
fp_float_of(const unsigned char *p)
{
    uint64_t bits = 0;
    double number;

    for (int i = 0; i < 8; i++) {
        bits = bits << 8 | p[i];
    }
    memcpy(&number, &bits, 8);
    return number;
}

#endif

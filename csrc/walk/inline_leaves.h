/* The leaves that a walk meets most, written inline: ints of one digit and
 * floats, in the binary protocols. Everything else about leaves: leaves.c. */
#ifndef FP_INLINE_LEAVES_H
#define FP_INLINE_LEAVES_H

#include "walk.h"

#include <string.h>

#if PY_VERSION_HEX < 0x030c0000
/* 1 and the value in *small where the int has at most one digit. */
static inline int
fp_as_small(PyObject *object, long *small)
{
    Py_ssize_t size = Py_SIZE(object);
    if (size < -1 || size > 1) {
        return 0;
    }
    *small = size == 0
                 ? 0
                 : (long)size * (long)((PyLongObject *)object)->ob_digit[0];
    return 1;
}
#else
static inline int
fp_as_small(PyObject *object, long *small)
{
    if (!PyUnstable_Long_IsCompact((PyLongObject *)object)) {
        return 0;
    }
    *small = (long)PyUnstable_Long_CompactValue((PyLongObject *)object);
    return 1;
}
#endif

/* BININT1, BININT2 or BININT for a value of 32 bits; returns the end. */
static inline unsigned char *
fp_encode_int(unsigned char *out, long value)
{
    if ((unsigned long)value < 256) {
        out[0] = OP_BININT1;
        out[1] = (unsigned char)value;
        return out + 2;
    }
    if ((unsigned long)value < 65536) {
        out[0] = OP_BININT2;
        out[1] = (unsigned char)value;
        out[2] = (unsigned char)(value >> 8);
        return out + 3;
    }
    out[0] = OP_BININT;
    for (int i = 0; i < 4; i++) {
        out[1 + i] = (unsigned char)((unsigned long)value >> (8 * i));
    }
    return out + 5;
}

static inline int
fp_save_int_inline(fp_walk *walk, PyObject *object)
{
    long value;
    unsigned char *out;

    if (walk->text || !fp_as_small(object, &value) || value > INT32_MAX
        || value < INT32_MIN)
    {
        return fp_save_int(walk, object);
    }
    out = fp_room(walk, 5);
    if (out == NULL) {
        return -1;
    }
    walk->graph.cursor = fp_encode_int(out, value);
    return 0;
}

static inline int
fp_emit_double(fp_walk *walk, double value)
{
    uint64_t bits;
    unsigned char *out;

    out = fp_room(walk, 9);
    if (out == NULL) {
        return -1;
    }
    memcpy(&bits, &value, 8);
    out[0] = OP_BINFLOAT;
    for (int i = 0; i < 8; i++) {
        out[1 + i] = (unsigned char)(bits >> (56 - 8 * i));
    }
    walk->graph.cursor = out + 9;
    return 0;
}

static inline int
fp_save_float_inline(fp_walk *walk, PyObject *object)
{
    return walk->text ? fp_save_float(walk, object)
                      : fp_emit_double(walk, PyFloat_AS_DOUBLE(object));
}

#endif

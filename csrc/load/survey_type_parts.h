/* The Survey type, shared by the files that make it up:
 *
 *   survey_type.c    the type, and its methods
 *   survey_tables.c  what it says in one piece
 *   survey_dtypes.c  its dtypes
 *
 * New references, NULL with an exception set. GIL held.
 */
#ifndef FP_SURVEY_TYPE_PARTS_H
#define FP_SURVEY_TYPE_PARTS_H

#include "survey_type.h"

static inline fp_survey *
fp_survey_of(PyObject *op)
{
    return &((fp_survey_object *)op)->survey;
}

static inline PyObject *
fp_none_or_number(uint32_t number)
{
    return number == FP_SURVEY_NONE ? Py_NewRef(Py_None)
                                    : PyLong_FromUnsignedLong(number);
}

/* A text of a survey as str; None for FP_SURVEY_NONE. */
PyObject *fp_text_object(const fp_survey *survey, uint32_t text);
/* Each is made once. */
PyObject *fp_survey_dtype_object(fp_survey_object *self, uint32_t number);

/* --- survey_tables.c: getters -------------------------------------------- */

PyObject *fp_survey_get_parts(PyObject *op, void *closure);
PyObject *fp_survey_get_sums(PyObject *op, void *closure);
PyObject *fp_survey_get_globals(PyObject *op, void *closure);
PyObject *fp_survey_get_nodes(PyObject *op, void *closure);
PyObject *fp_survey_get_arrays(PyObject *op, void *closure);
PyObject *fp_survey_get_leaves(PyObject *op, void *closure);
PyObject *fp_survey_get_payloads(PyObject *op, void *closure);
PyObject *fp_survey_get_numbers(PyObject *op, void *closure);
PyObject *fp_survey_get_odd(PyObject *op, void *closure);
/* A method. */
PyObject *fp_survey_is_within(PyObject *op, PyObject *uses);

#endif

/* Survey: what a survey of one dump found, as a Python object. Only this folder
 * makes them (inspect.c); pypkg/fastpersist/_core.pyi says what they offer.
 *
 * Ownership: the object owns the survey, and what that borrows: the graph's
 * bytes and the footer of a dump of ours. The input is read to its end when the
 * survey has run, so it may go.
 * Errors: NULL with an exception set. GIL held.
 */
#ifndef FP_SURVEY_TYPE_H
#define FP_SURVEY_TYPE_H

#include "base/small_type.h"
#include "core/layout.h"
#include "survey/survey.h"

typedef struct {
    fp_small_head head;
    fp_survey survey;
    int is_ours;
    uint64_t start;  /* of the dump, in the file */
    uint64_t length; /* of the dump; of a damaged one, what was looked at */
    /* In front of a graph; 0 where all of it was surveyed as one pickle. */
    uint64_t header_bytes;
    uint64_t sidecar_bytes;
    PyObject *damage; /* owned: an exception, or NULL */
    PyObject
        *dtypes; /* owned: list of what was made of them so far, or NULL */
    fp_footer footer; /* owned, where has_footer */
    int has_footer;
    unsigned char *graph; /* owned: malloc() */
} fp_survey_object;

/* New reference; nothing is surveyed yet. */
fp_survey_object *fp_survey_object_new(fp_state *state);
#endif

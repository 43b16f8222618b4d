/* Where payloads go: what the walk asks, and dump/ answers.
 *
 * The walk writes opcodes. Where the bytes of arrays and large leaves go, and
 * where a stream goes that has grown, depends on the file that is written: its
 * outlet is the table of functions that says so. A walk without one keeps
 * everything among its opcodes, or hands it to a Pickler's file.
 *
 * Silence (walk.h): what cannot be placed without a flush ends it, by
 * fp_call_out(), before anything is placed.
 *
 * Ownership: a walk borrows its outlet, and what an outlet is asked to place is
 * borrowed for the call. GIL held on entry and return; it may be released in
 * between, so pointers and sizes are read again. Errors: -1 with an exception
 * set (or `restart`: walk.h).
 */
#ifndef FP_OUTLET_H
#define FP_OUTLET_H

#include "core/layout.h"
#include "out/array_bytes.h"
#include "walk.h"

/* Where an array's bytes were placed; means something to its outlet only. */
typedef struct {
    uint32_t number;
    size_t offset; /* in what is fetched; also an argument of the array */
} fp_array_place;

/* Functions that are NULL are not offered. */
struct fp_outlet_methods {
    /* An array, in place of its reducer. 1: written or pushed through *result;
     * 0: left to its reducer; -1. */
    int (*save_array)(fp_walk *walk, PyObject *object, int lonely,
                      int *result);
    int (*step_array)(fp_walk *walk, fp_frame *frame);
    /* Asked before registered reducers are. */
    int comes_first;

    /* For fp_save_array() of array.c. */
    /* Whether n_bytes can be placed without a flush. */
    int (*array_fits)(const fp_walk *walk, size_t n_bytes);
    int (*place_array)(fp_walk *walk, const fp_array_geometry *array,
                       fp_array_place *place);
    /* The opcodes that fetch the bytes, of which there are some. */
    int (*fetch_array)(fp_walk *walk, const fp_array_place *place);
    /* Bytes must be placed in the order in which they are fetched. */
    int is_ordered;

    /* A leaf of FP_OWN_BLOB_BYTES or more, written in full. */
    int (*save_leaf)(fp_walk *walk, fp_payload *source, fp_blob_kind kind,
                     int lonely);
    /* A PickleBuffer of any size. */
    int (*save_buffer)(fp_walk *walk, fp_payload *source, int is_read_only,
                       int lonely);

    /* Of a stream: takes everything in memory; no frame may be open. */
    int (*flush)(fp_walk *walk);
    /* A payload behind what was flushed; not in silence. */
    int (*pass)(fp_walk *walk, fp_payload *source);

    /* Forgets everything: the walk starts over. */
    int (*start_over)(fp_walk *walk);
};

struct fp_outlet {
    const fp_outlet_methods *methods;
    void *self; /* borrowed; the methods know what it is */
};

/* array.c: save_array and step_array of an outlet that has the functions to
 * place and fetch: numpy.ndarray(shape, dtype, bytes, ...). */
int fp_save_array(fp_walk *walk, PyObject *object, int lonely, int *result);
int fp_step_array(fp_walk *walk, fp_frame *frame);
/* Puts an array off until its dtype is written: its frame keeps a copy of
 * `kept` in a capsule, and the dtype, as the pair `pending`. */
int fp_push_array(fp_walk *walk, PyObject *array, PyObject *descr,
                  const void *kept, size_t n_bytes);
/* The dtype's string, one object per spelling and walk; borrowed. NULL without
 * an exception where the dtype must be stored as an object. */
PyObject *fp_dtype_name_of(fp_walk *walk, PyArray_Descr *descr);
/* A tuple of n integers. */
int fp_emit_integers(fp_walk *walk, int n, const npy_intp *values);

#endif

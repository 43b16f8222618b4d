/* The blobs of one of our files, on their way from the file to the objects.
 *
 * load/ fills the table before the graph is run: each payload is in memory
 * (read and checked), or in a map of the file; or it is read ahead of the graph
 * (`fetch`). The graph then fetches them:
 *   fp_blobs_array()   the bytes become an array's own memory, without a copy
 *                      where the array takes all of a blob; small arrays are
 *                      copied out of the blob that they share; of a map the
 *                      array is a numpy.memmap
 *   fp_blobs_object()  any other use: the bytes, str or bytearray that the
 *                      blob's opcode stands for, made once
 * Memory that nothing took is freed with the table, or after the last use where
 * their number is known: no array keeps it alive.
 *
 * Ownership: the struct owns payloads, objects and its reference to the map.
 * Errors: -1 or NULL with an exception set. GIL held.
 */
#ifndef FP_BLOBS_H
#define FP_BLOBS_H

#include "base/state.h"
#include "core/layout.h"

typedef struct {
    unsigned char *data; /* payload; owned by the table unless in place, NULL
                          * for an empty one and one that was taken */
    uint64_t n_bytes;
    PyObject *object; /* owned: what fp_blobs_object() made; for kind BYTES of
                       * a file that is read, made beforehand: `data` then
                       * points into it */
    PyObject *array;  /* owned: the array that took the payload's memory */
    uint32_t memo_number;
    uint32_t n_gets;          /* uses that are left; 0: nobody has counted */
    unsigned char kind;       /* fp_blob_kind */
    unsigned char is_awaited; /* not before `fetch` is the payload there */
    unsigned char in_place;   /* `data` lies in a map, in the file's bytes in
                             * memory, or in `object` */
    unsigned char of_handler; /* `data` came from the handler */
    unsigned char is_roomy;   /* ... with room for FP_SHARED_BLOB_BYTES */
    unsigned char swapped; /* `array` has another byte order than the file */
    unsigned char checked; /* hash verified, or not asked for */
} fp_loaded_blob;

/* A dtype as the graph gives it, and what became of it. */
typedef struct {
    PyObject *given; /* owned; NULL: not in use */
    PyObject *descr; /* owned; NULL: numpy.ndarray is to decide */
    int is_foreign;
} fp_known_dtype;

#define FP_KNOWN_DTYPES 4

typedef struct fp_blobs {
    fp_state *state; /* borrowed */
    fp_loaded_blob *table;
    size_t n_blobs;
    size_t capacity;
    int native_order; /* swap foreign byte order, as joblib does */
    int as_objects;   /* of BYTEARRAY too an object is made beforehand */
    /* The allocator that NumPy's arrays of this load get their memory from
     * (the capsule of PyDataMem_GetHandler()); owned. */
    PyObject *handler;
    /* Memory of it that blobs with several uses have left for others of their
     * kind, each piece with the address of the next one; owned. */
    unsigned char *spare;
    fp_known_dtype dtypes[FP_KNOWN_DTYPES];
    unsigned next_dtype; /* the entry to be replaced next */
    /* Of a mapped file, else NULL. */
    PyObject *map;                 /* mmap.mmap of the file; owned */
    const unsigned char *map_data; /* its first byte */
    PyObject *map_mode;            /* str: "r", "r+", "c"; owned */
    PyObject *map_filename;        /* str, absolute; owned */
    /* Of a read-only map, for arrays whose taker would write: one of the same
     * file that is copied on write, made when it is first needed. */
    PyObject *private_map; /* mmap.mmap; owned, or NULL */
    const unsigned char *private_data;
    PyObject *(*map_privately)(const struct fp_blobs *blobs);
    /* Verifies the blocks that hold a blob of a map before its first use as
     * an object; NULL: nothing to do. 0 or -1 with an exception. */
    int (*check)(struct fp_blobs *blobs, size_t index);
    /* Waits for a payload that is awaited; releases the GIL. Called before the
     * first use. 0 or -1 with an exception. */
    int (*fetch)(struct fp_blobs *blobs, size_t index);
    void *context; /* of both */
} fp_blobs;

/* A table of n_blobs empty entries. 0 or -1. */
int fp_blobs_init(fp_blobs *blobs, fp_state *state, size_t n_blobs);
/* One more entry, where their number is not known beforehand. 0 or -1. */
int fp_blobs_add(fp_blobs *blobs, fp_blob_kind kind);
/* Memory for the payload of a blob of `kind`: a bytes object for BYTES, memory
 * of the handler where one array may come to own it, else plain memory.
 * `n_bytes` becomes its length. */
int fp_blobs_allocate(fp_blobs *blobs, size_t index, uint64_t n_bytes);
/* More of the same, for a payload whose length is announced but not trusted.
 * The bytes that are there stay. `n_final` is the announced length: it decides
 * where memory comes from, at the first call (with nothing allocated yet). */
int fp_blobs_grow(fp_blobs *blobs, size_t index, uint64_t n_bytes,
                  uint64_t n_final);
/* Before an array takes the payload's memory: it has no more room than that. */
int fp_blobs_fit(fp_blobs *blobs, fp_loaded_blob *blob);
void fp_blobs_free(fp_blobs *blobs);
/* One use is over: behind the last one nothing of the blob is kept here. */
void fp_blobs_used(fp_blobs *blobs, size_t index);

/* New reference. */
PyObject *fp_blobs_object(fp_blobs *blobs, size_t index);

/* What the graph says about an array; references are borrowed. */
typedef struct {
    PyObject *shape; /* exact tuple */
    PyObject *dtype; /* whatever numpy.ndarray takes as dtype */
    uint64_t offset; /* into the payload */
    int n_strides;   /* -1: none given */
    int64_t strides[64];
    int is_fortran;
} fp_array_spec;

/* In place of an index: an array without bytes, numpy.ndarray(shape, dtype). */
#define FP_NO_BLOB SIZE_MAX

/* New reference; the array that numpy.ndarray(shape, dtype, blob, offset,
 * strides, order) would give, owning its memory. *handled = 0 and NULL without
 * an exception where this is nothing that our dump writes (objects in the
 * dtype, extents beyond the blob, a shape that is no tuple of int, ...): the
 * caller then calls numpy.ndarray itself, and that decides. (array_load.c) */
PyObject *fp_blobs_array(fp_blobs *blobs, size_t index,
                         const fp_array_spec *spec, int *handled);

/* Of an array over a read-only map one of the same bytes that may be written
 * to, over a map that is copied on write: new reference. NULL without an
 * exception where `array` is no such array. */
PyObject *fp_blobs_writable(fp_blobs *blobs, PyObject *array);

/* What numpy's _frombuffer(*args) gives for the arguments that pickles of
 * arrays have: an array over bytes or a bytearray, in C or Fortran order.
 * NULL without an exception where the function itself is to be called. */
PyObject *fp_array_of_buffer(PyObject *args);

#endif

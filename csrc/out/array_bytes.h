/* The bytes of an array, in the order they are stored.
 *
 * What an array is at its visit is noted once. User code, or another thread
 * while a ring is flushed, may change it between two pieces: it is compared
 * before each, and a change is a RuntimeError.
 *
 * Ownership: everything is borrowed; a map of padding belongs to the
 * fp_padding_cache that it was asked of. GIL held. Errors: -1 with an exception
 * set.
 */
#ifndef FP_ARRAY_BYTES_H
#define FP_ARRAY_BYTES_H

#include "base/numpy_api.h"
#include "core/strided.h"
#include "staging.h"

/* Which bytes of an element are fields, of the structured dtype that was met
 * last. Zeroed at first, then fp_padding_cache_clear(). */
typedef struct {
    PyObject *descr; /* owned; NULL: none */
    unsigned char
        *covered;  /* owned: one byte for each, 0 where it is padding */
    int is_padded; /* whether there is such a byte */
} fp_padding_cache;

void fp_padding_cache_clear(fp_padding_cache *cache);

typedef enum {
    FP_ORDER_C,
    FP_ORDER_F,
    FP_ORDER_OTHER,    /* dense in another order of the axes */
    FP_ORDER_GATHERED, /* not dense: copied into C order */
} fp_array_order;

typedef struct {
    PyArrayObject *array; /* borrowed */
    PyArray_Descr *descr; /* borrowed, compared only */
    const char *data;
    int n_dims;
    npy_intp shape[NPY_MAXDIMS];
    npy_intp strides[NPY_MAXDIMS];
    size_t item_bytes;
    size_t n_bytes;
    fp_array_order order;
    const unsigned char *covered; /* the cache's; NULL: no byte is padding */
} fp_array_geometry;

int fp_array_describe(fp_padding_cache *cache, PyArrayObject *object,
                      fp_array_geometry *array);
/* Sets `covered` again, where the cache was asked about others meanwhile. */
int fp_array_find_padding(fp_padding_cache *cache, fp_array_geometry *array);
/* 0, or RuntimeError where the array is not what it was. */
int fp_array_check_unchanged(const fp_array_geometry *array);

/* A place in the array's bytes. */
typedef struct {
    const fp_array_geometry *array;
    fp_strided cursor;
    size_t offset;
} fp_array_reader;

void fp_array_reader_init(fp_array_reader *from,
                          const fp_array_geometry *array);
/* From the start to an offset, up to n_bytes of the array. */
void fp_array_reader_seek(fp_array_reader *from, size_t offset);
/* The next n_bytes, which are there. */
void fp_array_read(fp_array_reader *from, unsigned char *out, size_t n_bytes);

/* All bytes into a ring. */
int fp_array_stage(fp_staging *staging, const fp_array_geometry *array);

#endif

/* The way of bytes into a ring, for code that holds the GIL.
 *
 * Bytes are copied in block by block; where the ring is full it is flushed
 * with the GIL released, so between two pieces of a payload anything may have
 * changed: callers read pointers and sizes again. A walk in silence must not
 * come to that: it asks fp_ring_free_bytes() beforehand.
 *
 * Ownership: everything is borrowed. GIL held on entry and return. Errors: -1
 * with an exception set; in a process forked since `owner` was noted,
 * RuntimeError: the ring is the parent's.
 */
#ifndef FP_STAGING_H
#define FP_STAGING_H

#include <sys/types.h>

#include "base/numpy_api.h"
#include "core/ring.h"

typedef struct {
    fp_ring *ring;
    const fp_sink *sink; /* whose errno a failure reports */
    PyObject *path;      /* for the exception, or NULL */
    pid_t owner;         /* the process that may touch the ring */
} fp_staging;

/* The exception for what a function of the ring reported. -1, or 0 for
 * FP_OK. */
int fp_staging_result(const fp_staging *staging, fp_status status);
/* Where the next bytes go: *n_room > 0 on success. May release the GIL. */
int fp_staging_room(fp_staging *staging, unsigned char **room, size_t *n_room);
/* So many bytes of the room are filled. */
void fp_staging_advance(fp_staging *staging, size_t n_bytes);
/* Copies n_bytes in; `data` is memory that nobody else changes. */
int fp_staging_write(fp_staging *staging, const void *data, size_t n_bytes);
/* A payload that is read piece by piece. `read` fills `out` with exactly
 * n_bytes, the next of the payload; -1 with an exception where the object is no
 * longer what it was. */
typedef struct fp_payload {
    int (*read)(struct fp_payload *source, unsigned char *out, size_t n_bytes);
    PyObject *object; /* borrowed */
    const char *data; /* as it was at the start */
    size_t n_bytes;
    size_t offset;         /* bytes read so far; of a str: characters */
    int is_fixed;          /* `data` are the bytes while `object` lives */
    fp_array_extent array; /* of a PickleBuffer over an array */
} fp_payload;

/* All of a payload, block by block. */
int fp_staging_take(fp_staging *staging, fp_payload *source);
/* As fp_staging_write(), but for much: the GIL is released, and without a
 * writer thread, or where it is very much, the bytes go to the sink as they
 * lie. */
int fp_staging_pass(fp_staging *staging, const void *data, size_t n_bytes);

#endif

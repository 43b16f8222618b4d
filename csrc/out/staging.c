#include "staging.h"

#include "base/errors.h"
#include "object_sink.h"

#include <string.h>
#include <unistd.h>

int
fp_staging_result(const fp_staging *staging, fp_status status)
{
    return status == FP_OK
               ? 0
               : fp_raise_status(status, staging->sink->saved_errno,
                                 staging->path, NULL);
}

int
fp_staging_pass(fp_staging *staging, const void *data, size_t n_bytes)
{
    fp_status status;

    if (getpid() != staging->owner) {
        return fp_refuse_child();
    }
    Py_BEGIN_ALLOW_THREADS
    status = n_bytes == 0 ? fp_ring_flush(staging->ring)
                          : fp_ring_pass(staging->ring, data, n_bytes);
    Py_END_ALLOW_THREADS
    if (status != FP_OK) {
        return fp_staging_result(staging, status);
    }
    return PyErr_CheckSignals();
}

int
fp_staging_room(fp_staging *staging, unsigned char **room, size_t *n_room)
{
    for (;;) {
        fp_status status = fp_ring_room(staging->ring, room, n_room);
        if (status != FP_OK) {
            return fp_staging_result(staging, status);
        }
        if (*n_room > 0) {
            return 0;
        }
        if (fp_staging_pass(staging, NULL, 0) < 0) {
            return -1;
        }
    }
}

void
fp_staging_advance(fp_staging *staging, size_t n_bytes)
{
    fp_ring_advance(staging->ring, n_bytes);
}

int
fp_staging_write(fp_staging *staging, const void *data, size_t n_bytes)
{
    const unsigned char *next = data;

    while (n_bytes > 0) {
        unsigned char *room;
        size_t n_room;
        if (fp_staging_room(staging, &room, &n_room) < 0) {
            return -1;
        }
        if (n_room > n_bytes) {
            n_room = n_bytes;
        }
        memcpy(room, next, n_room);
        fp_staging_advance(staging, n_room);
        next += n_room;
        n_bytes -= n_room;
    }
    return 0;
}

/* From here on copying costs more than to write out what is staged. Less than
 * the ring holds is copied, as a walk in silence needs it. */
#define LEAST_FIXED FP_RING_BYTES

int
fp_staging_take(fp_staging *staging, fp_payload *source)
{
    size_t n_left = source->n_bytes;

    if (source->is_fixed && n_left >= LEAST_FIXED) {
        PyObject *held = Py_NewRef(source->object);
        int status = fp_staging_pass(staging, source->data, n_left);
        Py_DECREF(held);
        return status;
    }
    while (n_left > 0) {
        unsigned char *room;
        size_t n_room;
        if (fp_staging_room(staging, &room, &n_room) < 0) {
            return -1;
        }
        if (n_room > n_left) {
            n_room = n_left;
        }
        if (source->read(source, room, n_room) < 0) {
            return -1;
        }
        fp_staging_advance(staging, n_room);
        n_left -= n_room;
    }
    return 0;
}

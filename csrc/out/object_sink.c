#include "object_sink.h"

#include "write_answer.h"

#include <unistd.h>

int
fp_refuse_child(void)
{
    PyErr_SetString(PyExc_RuntimeError,
                    "the process was forked during a dump; only the parent "
                    "can go on with it");
    return -1;
}

/* How many bytes write() took, or -1. GIL held. */
static Py_ssize_t
write_some(const fp_object_sink *target, const unsigned char *data,
           size_t n_bytes)
{
    Py_ssize_t n_taken = (Py_ssize_t)n_bytes;
    PyObject *chunk, *answer;

    /* A bytes object, which the file may keep; our memory goes on to be
     * used. */
    chunk = PyBytes_FromStringAndSize((const char *)data, n_taken);
    if (chunk == NULL) {
        return -1;
    }
    answer = PyObject_CallOneArg(target->write, chunk);
    Py_DECREF(chunk);
    if (answer == NULL) {
        return -1;
    }
    if (target->counts) {
        n_taken = fp_bytes_taken(answer, n_taken);
    }
    Py_DECREF(answer);
    return n_taken;
}

static fp_status
write_to_object(fp_sink *sink, const void *data, size_t n_bytes)
{
    const fp_object_sink *target = sink->context;
    const unsigned char *next = data;
    PyGILState_STATE gil = PyGILState_Ensure();
    int status = 0;

    while (status == 0 && n_bytes > 0) {
        size_t n_chunk =
            n_bytes < FP_OBJECT_SINK_BYTES ? n_bytes : FP_OBJECT_SINK_BYTES;
        Py_ssize_t n_taken = write_some(target, next, n_chunk);
        if (n_taken < 0) {
            status = -1;
        }
        else {
            next += n_taken;
            n_bytes -= (size_t)n_taken;
            status = getpid() != target->owner ? fp_refuse_child()
                                               : PyErr_CheckSignals();
        }
    }
    PyGILState_Release(gil);
    return status < 0 ? FP_SINK_FAILED : FP_OK;
}

int
fp_object_sink_init(fp_object_sink *target, fp_state *state, PyObject *file)
{
    *target = (fp_object_sink){
        .sink = {.write = write_to_object, .fd = -1, .context = target},
        .owner = getpid(),
    };
    target->write = PyObject_GetAttr(file, state->str_write);
    if (target->write == NULL) {
        return -1;
    }
    target->counts = fp_write_counts(state, file, target->write);
    return target->counts < 0 ? -1 : 0;
}

void
fp_object_sink_free(fp_object_sink *target)
{
    Py_CLEAR(target->write);
}

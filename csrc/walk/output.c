/* The memory in which the standard stream grows. */
#include "core/pages.h"
#include "walk.h"

#include <stdlib.h>
#include <string.h>

/* From here on the stream grows in what is handed out; what is shorter is
 * copied, and its memory serves what comes next. */
#define BYTES_FROM ((size_t)32 << 10)
/* Frames follow each other: memory for the next is as large as the last one's
 * at once, up to a size that a frame seldom exceeds. */
#define EXPECTED_AT_MOST ((size_t)128 << 10)

static fp_output *
output_of(fp_graph_memory *memory)
{
    return (fp_output *)((char *)memory - offsetof(fp_output, memory));
}

static unsigned char *
start_of(PyObject *bytes)
{
    return (unsigned char *)PyBytes_AS_STRING(bytes);
}

PyObject *
fp_new_bytes(size_t n_bytes)
{
    PyObject *bytes;

    if (n_bytes > (size_t)PY_SSIZE_T_MAX) {
        return PyErr_NoMemory();
    }
    bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)n_bytes);
    if (bytes != NULL) {
        fp_pages_prefer_huge(start_of(bytes), n_bytes);
    }
    return bytes;
}

/* From malloc()'s memory to a bytes object. */
static unsigned char *
become_bytes(fp_output *output, unsigned char *base, size_t n_used,
             size_t n_bytes)
{
    output->bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)n_bytes);
    if (output->bytes != NULL) {
        fp_pages_prefer_huge_movable(start_of(output->bytes), n_bytes);
        if (n_used > 0) {
            memcpy(start_of(output->bytes), base, n_used);
        }
    }
    free(base);
    return output->bytes == NULL ? NULL : start_of(output->bytes);
}

static unsigned char *
resize(fp_graph_memory *memory, unsigned char *base, size_t n_used,
       size_t *n_bytes)
{
    fp_output *output = output_of(memory);
    unsigned char *moved;

    if (*n_bytes < output->expected) {
        *n_bytes = output->expected;
    }
    if (output->bytes == NULL && *n_bytes < BYTES_FROM) {
        moved = realloc(base, *n_bytes);
        if (moved == NULL) {
            free(base);
        }
        return moved;
    }
    *n_bytes = fp_pages_round_up(*n_bytes); /* at most half of what there is */
    if (output->bytes == NULL) {
        return become_bytes(output, base, n_used, *n_bytes);
    }
    if (_PyBytes_Resize(&output->bytes, (Py_ssize_t)*n_bytes) < 0) {
        return NULL;
    }
    moved = start_of(output->bytes);
    fp_pages_prefer_huge_movable(moved, *n_bytes);
    return moved;
}

static void
release(fp_graph_memory *memory, unsigned char *base)
{
    fp_output *output = output_of(memory);

    if (output->bytes == NULL) {
        free(base);
    }
    Py_CLEAR(output->bytes);
}

void
fp_output_init(fp_walk *walk)
{
    walk->output.memory = (fp_graph_memory){resize, release};
    walk->graph.memory = &walk->output.memory;
}

PyObject *
fp_output_take(fp_walk *walk)
{
    fp_output *output = &walk->output;
    fp_graph *graph = &walk->graph;
    size_t n_bytes = graph->base == NULL ? 0 : fp_graph_length(graph);
    PyObject *bytes;

    if (output->bytes == NULL || n_bytes < BYTES_FROM) {
        bytes = PyBytes_FromStringAndSize((const char *)graph->base,
                                          (Py_ssize_t)n_bytes);
        fp_graph_reset(graph);
        return bytes;
    }
    bytes = output->bytes;
    output->bytes = NULL;
    output->expected = graph->capacity < EXPECTED_AT_MOST ? graph->capacity
                                                          : EXPECTED_AT_MOST;
    fp_graph_forget(graph);
    (void)_PyBytes_Resize(&bytes, (Py_ssize_t)n_bytes); /* NULL if it fails */
    return bytes;
}

/* The cyclic collector, while objects are built and right afterwards.
 *
 * Everything that a load builds is alive until it ends, so the collections
 * that its own allocations would trigger are wasted: they are most of the time
 * that a load takes. After it the young generation holds all of it, and the
 * next allocation would scan it. gc.freeze() and gc.unfreeze() move it to the
 * oldest generation instead, by relinking lists. But that takes it, and all
 * other young objects, out of the sight of all but full collections, and the
 * collector knows nothing of how many there are: so they are counted here.
 */
#include "base/compat.h"
#include "unpickle.h"

/* Fewer are left to the collector. */
#define MANY_CONTAINERS 100000
/* So many may be moved between two full collections ... */
#define MAX_MOVED 2000000
/* ... and each time counts as so many at least. */
#define LEAST_MOVED 10000

/* Who freezes at all freezes thousands of objects. Python 3.12 itself keeps a
 * few hundred immortal ones there, and puts them back at each collection. */
#if PY_VERSION_HEX >= 0x030c0000 && PY_VERSION_HEX < 0x030d0000
#define FEW_FROZEN 1000
#else
#define FEW_FROZEN 0
#endif

int
fp_collector_init(fp_state *state)
{
    PyObject *gc = PyImport_ImportModule("gc");

    if (gc == NULL) {
        return -1;
    }
    state->gc_get_count = PyObject_GetAttrString(gc, "get_count");
    state->gc_get_stats = PyObject_GetAttrString(gc, "get_stats");
    state->gc_get_freeze_count =
        PyObject_GetAttrString(gc, "get_freeze_count");
    state->gc_freeze = PyObject_GetAttrString(gc, "freeze");
    state->gc_unfreeze = PyObject_GetAttrString(gc, "unfreeze");
    Py_DECREF(gc);
    return state->gc_get_count == NULL || state->gc_get_stats == NULL
                   || state->gc_get_freeze_count == NULL
                   || state->gc_freeze == NULL || state->gc_unfreeze == NULL
               ? -1
               : 0;
}

/* An int that `function` returns, or the first one of the tuple that it
 * returns. */
static int
ask(PyObject *function, long long *number)
{
    PyObject *result = PyObject_CallNoArgs(function);
    PyObject *item = result;

    if (result == NULL) {
        return -1;
    }
    if (PyTuple_Check(result) && PyTuple_GET_SIZE(result) > 0) {
        item = PyTuple_GET_ITEM(result, 0);
    }
    *number = PyLong_AsLongLong(item);
    Py_DECREF(result);
    return *number == -1 && PyErr_Occurred() ? -1 : 0;
}

/* How many full collections there have been. */
static int
count_full_collections(fp_state *state, long long *number)
{
    PyObject *stats = PyObject_CallNoArgs(state->gc_get_stats);
    PyObject *oldest = NULL, *count = NULL;
    int status = -1;

    if (stats == NULL) {
        return -1;
    }
    oldest = PySequence_GetItem(stats, -1);
    if (oldest != NULL) {
        count = PyMapping_GetItemString(oldest, "collections");
    }
    if (count != NULL) {
        *number = PyLong_AsLongLong(count);
        status = *number == -1 && PyErr_Occurred() ? -1 : 0;
    }
    Py_XDECREF(count);
    Py_XDECREF(oldest);
    Py_DECREF(stats);
    return status;
}

static int
call(PyObject *function)
{
    PyObject *result = PyObject_CallNoArgs(function);

    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

/* While the collector is still off: any allocation would start it. 1 where it
 * is time for a full collection. */
static int
move_young(fp_state *state, int is_large_graph)
{
    long long n_young, n_frozen, n_collections;

    if (ask(state->gc_get_count, &n_young) < 0) {
        return -1;
    }
    if (n_young <= MANY_CONTAINERS && !is_large_graph) {
        return 0;
    }
    if (ask(state->gc_get_freeze_count, &n_frozen) < 0
        || count_full_collections(state, &n_collections) < 0)
    {
        return -1;
    }
    if (n_frozen > FEW_FROZEN) {
        return 0; /* of somebody else: unfreezing would undo that */
    }
    if (n_collections != state->n_full_collections) {
        state->n_full_collections = n_collections;
        state->n_moved = 0;
    }
    state->n_moved +=
        n_young > LEAST_MOVED ? (size_t)n_young : (size_t)LEAST_MOVED;
    if (state->n_moved > MAX_MOVED) {
        return 1;
    }
    return call(state->gc_freeze) < 0 || call(state->gc_unfreeze) < 0 ? -1 : 0;
}

void
fp_collector_pause_begin(fp_state *Py_UNUSED(state), fp_collector_pause *pause)
{
    pause->was_enabled = PyGC_Disable();
}

void
fp_collector_pause_end(fp_state *state, fp_collector_pause *pause,
                       uint64_t n_bytes, int is_graph)
{
    PyObject *error;
    int status;

    if (!pause->was_enabled) {
        return;
    }
    if (n_bytes <= FP_LARGE_LOAD_BYTES) {
        PyGC_Enable();
        return;
    }
    error = fp_take_exception();
    status = move_young(state, is_graph && n_bytes >= FP_LARGE_GRAPH_BYTES);
    if (status < 0) {
        /* Nothing depends on it: the collector does what it always does. */
        PyErr_WriteUnraisable(NULL);
    }
    PyGC_Enable();
    if (status > 0) {
        PyGC_Collect(); /* the next look at the statistics finds it */
    }
    fp_put_exception(error);
}

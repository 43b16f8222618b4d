#include "tree_guard.h"

#include "base/numpy_api.h"

#include <stdint.h>
#include <string.h>

typedef struct {
    Py_ssize_t left, right, feature;
    int is_leaf;
} tree_node;

/* Depth of each node, 1 for the root, 0 for one not reached yet. */
typedef struct {
    const char *bytes;
    Py_ssize_t itemsize, count;
    uint32_t *depths;
} tree;

static int
refuse(Py_ssize_t node, const char *what)
{
    PyErr_Format(PyExc_ValueError, "node %zd %s", node, what);
    return -1;
}

static int
open_tree(tree *t, const Py_buffer *view, Py_ssize_t itemsize,
          Py_ssize_t least)
{
    if (itemsize < least || view->len % itemsize != 0
        || view->len / itemsize < 1)
    {
        PyErr_SetString(PyExc_ValueError, "not one node and more");
        return -1;
    }
    t->bytes = view->buf;
    t->itemsize = itemsize;
    t->count = view->len / itemsize;
    if (t->count > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "too many nodes");
        return -1;
    }
    t->depths = PyMem_Calloc((size_t)t->count, sizeof *t->depths);
    if (t->depths == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    t->depths[0] = 1;
    return 0;
}

static inline int
visit_child(tree *t, Py_ssize_t parent, Py_ssize_t child)
{
    if (child <= parent || child >= t->count) {
        return refuse(parent, "has a child that is not behind it");
    }
    if (t->depths[child] != 0) {
        return refuse(child, "is the child of two");
    }
    t->depths[child] = t->depths[parent] + 1;
    return 0;
}

static inline int
visit(tree *t, Py_ssize_t i, const tree_node *node, Py_ssize_t n_features)
{
    if (t->depths[i] == 0) {
        return refuse(i, "is no child of any");
    }
    if (node->is_leaf) {
        return 0;
    }
    if (node->feature < 0 || node->feature >= n_features) {
        return refuse(i, "splits by a feature that there is not");
    }
    return visit_child(t, i, node->left) < 0
                   || visit_child(t, i, node->right) < 0
               ? -1
               : 0;
}

static int
read_sizes(PyObject *const *args, Py_ssize_t n, Py_ssize_t *sizes)
{
    for (Py_ssize_t i = 0; i < n; i++) {
        sizes[i] = PyLong_AsSsize_t(args[i]);
        if (sizes[i] == -1 && PyErr_Occurred()) {
            return -1;
        }
    }
    return 0;
}

static int
check_nodes(tree *t, Py_ssize_t n_features, Py_ssize_t max_depth)
{
    for (Py_ssize_t i = 0; i < t->count; i++) {
        Py_ssize_t fields[3];
        tree_node node;

        memcpy(fields, t->bytes + i * t->itemsize, sizeof fields);
        node = (tree_node){fields[0], fields[1], fields[2],
                           fields[0] == -1 && fields[1] == -1};
        if (visit(t, i, &node, n_features) < 0) {
            return -1;
        }
        if ((Py_ssize_t)t->depths[i] - 1 > max_depth) {
            return refuse(i, "lies deeper than the tree says it is");
        }
    }
    return 0;
}

PyObject *
fp_check_tree(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    Py_ssize_t sizes[3];
    Py_buffer view;
    tree t;
    int result;

    (void)module;
    if (n_args != 4) {
        PyErr_SetString(PyExc_TypeError, "check_tree() takes 4 arguments");
        return NULL;
    }
    if (read_sizes(args + 1, 3, sizes) < 0
        || PyObject_GetBuffer(args[0], &view, PyBUF_SIMPLE) < 0)
    {
        return NULL;
    }
    result =
        open_tree(&t, &view, sizes[0], (Py_ssize_t)(3 * sizeof(Py_ssize_t)));
    if (result == 0) {
        result = check_nodes(&t, sizes[1], sizes[2]);
        PyMem_Free(t.depths);
    }
    PyBuffer_Release(&view);
    if (result < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* The array where it is a plain one, of so many dimensions, in memory that
 * nobody else holds; else NULL. */
static PyArrayObject *
own_array(PyObject *object, int n_dims)
{
    PyArrayObject *array = (PyArrayObject *)object;

    return object != NULL && PyArray_CheckExact(object)
                   && PyArray_NDIM(array) == n_dims
                   && PyArray_CHKFLAGS(array,
                                       NPY_ARRAY_OWNDATA | NPY_ARRAY_CARRAY_RO)
                   && PyArray_BASE(array) == NULL
               ? array
               : NULL;
}

/* -1 where it is no exact int, or none that fits. */
static Py_ssize_t
count_of(PyObject *object)
{
    Py_ssize_t count = -1;

    if (object != NULL && PyLong_CheckExact(object)) {
        count = PyLong_AsSsize_t(object);
        if (count == -1 && PyErr_Occurred()) {
            PyErr_Clear();
        }
    }
    return count;
}

PyObject *
fp_is_plain_tree(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    PyArrayObject *nodes, *values;
    Py_ssize_t sizes[3], max_depth;
    npy_intp *shape;
    Py_buffer view = {.buf = NULL};
    tree t;
    int result;

    (void)module;
    if (n_args != 5) {
        PyErr_SetString(PyExc_TypeError, "is_plain_tree() takes 5 arguments");
        return NULL;
    }
    if (read_sizes(args + 2, 3, sizes) < 0) {
        return NULL;
    }
    if (!PyDict_CheckExact(args[0]) || PyDict_GET_SIZE(args[0]) != 4) {
        Py_RETURN_FALSE;
    }
    nodes = own_array(PyDict_GetItemString(args[0], "nodes"), 1);
    values = own_array(PyDict_GetItemString(args[0], "values"), 3);
    max_depth = count_of(PyDict_GetItemString(args[0], "max_depth"));
    if (nodes == NULL || values == NULL
        || (PyObject *)PyArray_DESCR(nodes) != args[1]
        || PyArray_TYPE(values) != NPY_DOUBLE || max_depth < 0
        || max_depth > PyArray_DIM(nodes, 0)
        || count_of(PyDict_GetItemString(args[0], "node_count"))
               != PyArray_DIM(nodes, 0))
    {
        Py_RETURN_FALSE;
    }
    shape = PyArray_DIMS(values);
    if (shape[0] != PyArray_DIM(nodes, 0) || shape[1] != sizes[1]
        || shape[2] != sizes[2])
    {
        Py_RETURN_FALSE;
    }
    view.buf = PyArray_DATA(nodes);
    view.len = PyArray_NBYTES(nodes);
    result = open_tree(&t, &view, PyArray_ITEMSIZE(nodes),
                       (Py_ssize_t)(3 * sizeof(Py_ssize_t)));
    if (result == 0) {
        result = check_nodes(&t, sizes[0], max_depth);
        PyMem_Free(t.depths);
    }
    if (result < 0) {
        return NULL;
    }
    Py_RETURN_TRUE;
}

PyObject *
fp_is_plain_tree_call(PyObject *module, PyObject *args)
{
    PyArrayObject *counts;
    Py_ssize_t n_outputs, most = 0;

    (void)module;
    if (!PyTuple_CheckExact(args) || PyTuple_GET_SIZE(args) != 3) {
        Py_RETURN_FALSE;
    }
    n_outputs = count_of(PyTuple_GET_ITEM(args, 2));
    counts = own_array(PyTuple_GET_ITEM(args, 1), 1);
    if (counts == NULL || PyArray_TYPE(counts) != NPY_INTP || n_outputs < 1
        || n_outputs > INT32_MAX || PyArray_DIM(counts, 0) != n_outputs
        || count_of(PyTuple_GET_ITEM(args, 0)) < 0
        || count_of(PyTuple_GET_ITEM(args, 0)) > INT32_MAX)
    {
        Py_RETURN_FALSE;
    }
    for (Py_ssize_t i = 0; i < n_outputs; i++) {
        npy_intp count = ((const npy_intp *)PyArray_DATA(counts))[i];
        if (count < 1 || count > INT32_MAX) {
            Py_RETURN_FALSE;
        }
        most = count > most ? count : most;
    }
    return PyBool_FromLong((int64_t)most * n_outputs <= INT64_C(1) << 40);
}

/* One of them: 1, 0, or -1. */
static int
is_plain_model(PyObject *estimator, PyObject *classes, PyTypeObject *tree_type,
               PyObject *n_features, int also_in)
{
    PyObject *state, *held, *width, *n_nodes;
    int result = PySet_Contains(classes, (PyObject *)Py_TYPE(estimator));

    if (result <= 0) {
        return result;
    }
    state = PyObject_GenericGetDict(estimator, NULL);
    if (state == NULL) {
        return -1;
    }
    held = PyDict_GetItemString(state, "tree_");
    result = held != NULL && Py_TYPE(held) == tree_type;
    if (result && also_in) {
        width = PyDict_GetItemString(state, "n_features_in_");
        result = width != NULL && PyLong_CheckExact(width)
                     ? PyObject_RichCompareBool(width, n_features, Py_EQ)
                     : 0;
    }
    if (result > 0) {
        width = PyObject_GetAttrString(held, "n_features");
        n_nodes =
            width == NULL ? NULL : PyObject_GetAttrString(held, "node_count");
        result = n_nodes == NULL
                     ? -1
                     : PyLong_CheckExact(width) && PyLong_CheckExact(n_nodes)
                           && PyObject_IsTrue(n_nodes);
        if (result > 0) {
            result = PyObject_RichCompareBool(width, n_features, Py_EQ);
        }
        Py_XDECREF(width);
        Py_XDECREF(n_nodes);
    }
    Py_DECREF(state);
    return result;
}

PyObject *
fp_are_plain_trees(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    int result = 1, also_in;

    (void)module;
    if (n_args != 5 || !PyList_CheckExact(args[0]) || !PyType_Check(args[2])
        || !PyFrozenSet_CheckExact(args[1]) || !PyLong_CheckExact(args[3]))
    {
        PyErr_SetString(PyExc_TypeError,
                        "are_plain_trees() takes a list, a frozenset, a type, "
                        "an int and a bool");
        return NULL;
    }
    also_in = PyObject_IsTrue(args[4]);
    if (also_in < 0) {
        return NULL;
    }
    for (Py_ssize_t i = 0; result > 0 && i < PyList_GET_SIZE(args[0]); i++) {
        PyObject *estimator = Py_NewRef(PyList_GET_ITEM(args[0], i));
        result = is_plain_model(estimator, args[1], (PyTypeObject *)args[2],
                                args[3], also_in);
        Py_DECREF(estimator);
    }
    return result < 0 ? NULL : PyBool_FromLong(result);
}

/* --- boosted trees ------------------------------------------------------- */

enum {
    LEFT,
    RIGHT,
    FEATURE,
    IS_LEAF,
    IS_CATEGORICAL,
    BITSET,
    N_FIELDS
};

static const Py_ssize_t widths[N_FIELDS] = {
    sizeof(uint32_t), sizeof(uint32_t), sizeof(Py_ssize_t), 1, 1,
    sizeof(uint32_t)};

typedef struct {
    Py_ssize_t offsets[N_FIELDS];
    Py_ssize_t n_features, n_bitsets;
    Py_ssize_t largest; /* of the features */
    int has_categorical;
} predictor;

static uint32_t
read_u32(const char *from)
{
    uint32_t number;

    memcpy(&number, from, sizeof number);
    return number;
}

static int
check_records(tree *t, predictor *p)
{
    for (Py_ssize_t i = 0; i < t->count; i++) {
        const char *record = t->bytes + i * t->itemsize;
        tree_node node;

        node.left = (Py_ssize_t)read_u32(record + p->offsets[LEFT]);
        node.right = (Py_ssize_t)read_u32(record + p->offsets[RIGHT]);
        memcpy(&node.feature, record + p->offsets[FEATURE],
               sizeof node.feature);
        node.is_leaf = record[p->offsets[IS_LEAF]] != 0;
        if (visit(t, i, &node, p->n_features) < 0) {
            return -1;
        }
        if (node.is_leaf) {
            continue;
        }
        if (node.feature > p->largest) {
            p->largest = node.feature;
        }
        if (record[p->offsets[IS_CATEGORICAL]] != 0) {
            p->has_categorical = 1;
            if ((Py_ssize_t)read_u32(record + p->offsets[BITSET])
                >= p->n_bitsets)
            {
                return refuse(i, "splits by categories that there are not");
            }
        }
    }
    return 0;
}

static int
read_offsets(PyObject *offsets, Py_ssize_t itemsize, predictor *p)
{
    if (!PyTuple_Check(offsets) || PyTuple_GET_SIZE(offsets) != N_FIELDS) {
        PyErr_SetString(PyExc_TypeError, "offsets: a tuple of 6");
        return -1;
    }
    for (Py_ssize_t i = 0; i < N_FIELDS; i++) {
        Py_ssize_t offset = PyLong_AsSsize_t(PyTuple_GET_ITEM(offsets, i));

        if (offset == -1 && PyErr_Occurred()) {
            return -1;
        }
        if (offset < 0 || itemsize < widths[i]
            || offset > itemsize - widths[i])
        {
            PyErr_SetString(PyExc_ValueError, "an offset behind the record");
            return -1;
        }
        p->offsets[i] = offset;
    }
    return 0;
}

/* A table of categories: eight words for each. NULL where it is another. */
static PyArrayObject *
own_bitsets(PyObject *object)
{
    PyArrayObject *bitsets = own_array(object, 2);

    return bitsets != NULL && PyArray_TYPE(bitsets) == NPY_UINT32
                   && PyArray_DIM(bitsets, 1) == 8
               ? bitsets
               : NULL;
}

/* The same of an array of records: 0 or -1. */
static int
check_array(PyArrayObject *nodes, PyObject *offsets, predictor *p)
{
    Py_buffer view = {.buf = PyArray_DATA(nodes),
                      .len = PyArray_NBYTES(nodes)};
    tree t;
    int result;

    if (read_offsets(offsets, PyArray_ITEMSIZE(nodes), p) < 0
        || open_tree(&t, &view, PyArray_ITEMSIZE(nodes), 1) < 0)
    {
        return -1;
    }
    result = check_records(&t, p);
    PyMem_Free(t.depths);
    return result;
}

PyObject *
fp_is_plain_predictor(PyObject *module, PyObject *const *args,
                      Py_ssize_t n_args)
{
    PyArrayObject *nodes, *binned, *raw;
    predictor p = {.largest = -1, .n_features = INT32_MAX};

    (void)module;
    if (n_args != 3) {
        PyErr_SetString(PyExc_TypeError,
                        "is_plain_predictor() takes 3 arguments");
        return NULL;
    }
    if (!PyDict_CheckExact(args[0]) || PyDict_GET_SIZE(args[0]) != 3) {
        Py_RETURN_FALSE;
    }
    nodes = own_array(PyDict_GetItemString(args[0], "nodes"), 1);
    binned =
        own_bitsets(PyDict_GetItemString(args[0], "binned_left_cat_bitsets"));
    raw = own_bitsets(PyDict_GetItemString(args[0], "raw_left_cat_bitsets"));
    if (nodes == NULL || binned == NULL || raw == NULL
        || (PyObject *)PyArray_DESCR(nodes) != args[1])
    {
        Py_RETURN_FALSE;
    }
    p.n_bitsets = PyArray_DIM(binned, 0) < PyArray_DIM(raw, 0)
                      ? PyArray_DIM(binned, 0)
                      : PyArray_DIM(raw, 0);
    if (check_array(nodes, args[2], &p) < 0) {
        return NULL;
    }
    Py_RETURN_TRUE;
}

/* One of them, by its nodes: 1, 0, or -1. */
static int
is_plain_boosted(PyObject *predictor_object, PyObject *const *args,
                 Py_ssize_t n_features)
{
    PyObject *state = PyObject_GenericGetDict(predictor_object, NULL);
    predictor p = {
        .largest = -1, .n_features = n_features, .n_bitsets = INT32_MAX};
    PyArrayObject *nodes;
    int result = 0;

    if (state == NULL) {
        return -1;
    }
    nodes = own_array(PyDict_GetItemString(state, "nodes"), 1);
    if (nodes != NULL && (PyObject *)PyArray_DESCR(nodes) == args[2]) {
        result = check_array(nodes, args[3], &p) < 0 ? -1 : !p.has_categorical;
    }
    Py_DECREF(state);
    return result;
}

PyObject *
fp_are_plain_predictors(PyObject *module, PyObject *const *args,
                        Py_ssize_t n_args)
{
    Py_ssize_t n_features;
    int result = 1;

    (void)module;
    if (n_args != 5 || !PyList_CheckExact(args[0])) {
        PyErr_SetString(PyExc_TypeError,
                        "are_plain_predictors() takes a list, a class, a "
                        "dtype, offsets and an int");
        return NULL;
    }
    if (read_sizes(args + 4, 1, &n_features) < 0) {
        return NULL;
    }
    for (Py_ssize_t i = 0; result > 0 && i < PyList_GET_SIZE(args[0]); i++) {
        PyObject *each = Py_NewRef(PyList_GET_ITEM(args[0], i));
        result = (PyObject *)Py_TYPE(each) == args[1]
                     ? is_plain_boosted(each, args, n_features)
                     : 0;
        Py_DECREF(each);
    }
    return result < 0 ? NULL : PyBool_FromLong(result);
}

PyObject *
fp_check_predictor(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    Py_ssize_t itemsize, sizes[2];
    predictor p = {.largest = -1};
    Py_buffer view;
    tree t;
    int result;

    (void)module;
    if (n_args != 5) {
        PyErr_SetString(PyExc_TypeError,
                        "check_predictor() takes 5 arguments");
        return NULL;
    }
    if (read_sizes(args + 1, 1, &itemsize) < 0
        || read_sizes(args + 3, 2, sizes) < 0
        || read_offsets(args[2], itemsize, &p) < 0
        || PyObject_GetBuffer(args[0], &view, PyBUF_SIMPLE) < 0)
    {
        return NULL;
    }
    p.n_features = sizes[0];
    p.n_bitsets = sizes[1];
    result = open_tree(&t, &view, itemsize, 1);
    if (result == 0) {
        result = check_records(&t, &p);
        PyMem_Free(t.depths);
    }
    PyBuffer_Release(&view);
    if (result < 0) {
        return NULL;
    }
    return Py_BuildValue("(nO)", p.largest,
                         p.has_categorical ? Py_True : Py_False);
}

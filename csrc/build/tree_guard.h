/* What a decision tree's nodes may not say.
 *
 * Compiled code that predicts follows the children of a node, and reads the
 * feature that it names, without looking: a child beyond the nodes, or a
 * feature beyond the columns, reads what belongs to others, and a child in
 * front of its parent goes round for ever. fastpersist.policy asks here, before
 * the nodes get to the class that believes them; a forest has thousands of
 * trees, which is why this is in C.
 *
 * The caller has compared the dtype of the nodes with the one of the class.
 * What is read here stays within the buffer whatever the numbers are.
 *
 * Ownership: borrows the nodes for the call, with their buffer held; they have
 * to be in memory that no other process changes.
 * Errors: NULL with ValueError (which node, and what is wrong), TypeError or
 * BufferError (no contiguous bytes), MemoryError. GIL held. */
#ifndef FP_TREE_GUARD_H
#define FP_TREE_GUARD_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Method check_tree(nodes, itemsize, n_features, max_depth): records that begin
 * with left child, right child and feature as Py_ssize_t. A node has both
 * children or none (-1), behind itself; all nodes but the first are the child
 * of one; no node lies deeper than max_depth; features of nodes with children
 * are in [0, n_features). None. */
PyObject *fp_check_tree(PyObject *module, PyObject *const *args,
                        Py_ssize_t n_args);

/* Method is_plain_tree(state, dtype, n_features, n_outputs, max_n_classes): the
 * state as scikit-learn writes it, its parts looked at without a line of
 * Python: nodes of just that dtype object and values of doubles, in memory of
 * their own, and the nodes as check_tree() wants them. True; False where it is
 * written otherwise, and the caller has to look. */
PyObject *fp_is_plain_tree(PyObject *module, PyObject *const *args,
                           Py_ssize_t n_args);

/* Method is_plain_tree_call(args): ints and an array of counts in memory of its
 * own, as scikit-learn writes them. True; False as above. */
PyObject *fp_is_plain_tree_call(PyObject *module, PyObject *args);

/* Method are_plain_trees(estimators, classes, tree, n_features, also_in): a list
 * of estimators, each exactly of one of the `classes` (a frozenset), whose `tree_`
 * is exactly a `tree` that has nodes and reads n_features columns; with also_in
 * each says the same of itself, as n_features_in_. True; False as above. */
PyObject *fp_are_plain_trees(PyObject *module, PyObject *const *args,
                             Py_ssize_t n_args);

/* Method is_plain_predictor(state, dtype, offsets): the state of a boosted tree
 * as scikit-learn writes it: nodes of just that dtype object, two tables of
 * categories, in memory of their own, and the nodes as check_predictor() wants
 * them, whatever columns there are. True; False as above. */
PyObject *fp_is_plain_predictor(PyObject *module, PyObject *const *args,
                                Py_ssize_t n_args);

/* Method are_plain_predictors(predictors, class, dtype, offsets, n_features): a
 * list of boosted trees, each exactly of the class, with nodes as above that read
 * no other columns and do not split by categories. True; False as above. */
PyObject *fp_are_plain_predictors(PyObject *module, PyObject *const *args,
                                  Py_ssize_t n_args);

/* Method check_predictor(nodes, itemsize, offsets, n_features, n_bitsets): the
 * same of records with fields at the given offsets (left: uint32, right: uint32,
 * feature: Py_ssize_t, is_leaf: uint8, is_categorical: uint8, bitset: uint32);
 * a leaf says so, its children are not looked at. Categorical nodes name one of
 * n_bitsets. Returns the largest feature of any node with children, -1 where
 * there is none, and whether any is categorical. */
PyObject *fp_check_predictor(PyObject *module, PyObject *const *args,
                             Py_ssize_t n_args);

#endif

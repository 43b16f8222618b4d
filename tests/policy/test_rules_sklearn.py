"""The rules for scikit-learn: models come back through them and predict the same; states that make
its compiled code read or write elsewhere are refused."""

from __future__ import annotations

import copy
import os
import pickle
import warnings
from typing import Any

import pytest
from fastpersist.policy import rules_sklearn
from rules_at_work import CALLS, STATES, Ruled, by_name, ended_by_signal, refused

pytestmark = pytest.mark.models

np = pytest.importorskip("numpy")
sklearn = pytest.importorskip("sklearn")
sparse = pytest.importorskip("scipy.sparse")

from sklearn.cluster import Birch, BisectingKMeans, KMeans, MiniBatchKMeans  # noqa: E402
from sklearn.datasets import make_classification  # noqa: E402
from sklearn.ensemble import (  # noqa: E402
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
)
from sklearn.feature_extraction import DictVectorizer, FeatureHasher  # noqa: E402
from sklearn.feature_extraction.text import CountVectorizer  # noqa: E402
from sklearn.neighbors import (  # noqa: E402
    BallTree,
    KDTree,
    KernelDensity,
    KNeighborsClassifier,
    KNeighborsRegressor,
    LocalOutlierFactor,
    NearestNeighbors,
    RadiusNeighborsClassifier,
)
from sklearn.preprocessing import OneHotEncoder  # noqa: E402
from sklearn.svm import SVC, SVR, NuSVC, OneClassSVM  # noqa: E402
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor  # noqa: E402

X, Y = make_classification(90, 6, n_informative=4, n_classes=3, random_state=0)
ROUND = np.round(X)

calls: dict[str, Any] = {
    **CALLS,
    "Tree": rules_sklearn.tree_call,
    **by_name("Hinge Log SquaredHinge CyHuberLoss", rules_sklearn.loss_call),
}
states: dict[str, Any] = {
    **STATES,
    "Tree": rules_sklearn.tree_state,
    "TreePredictor": rules_sklearn.predictor_state,
    "_BinMapper": rules_sklearn.bin_mapper_state,
    **by_name(" ".join(rules_sklearn.TREES), rules_sklearn.decision_tree_state),
    **by_name("RandomForestClassifier ExtraTreesRegressor", rules_sklearn.forest_state),
    "IsolationForest": rules_sklearn.isolation_state,
    **by_name(
        "GradientBoostingClassifier GradientBoostingRegressor",
        rules_sklearn.gradient_boosting_state,
    ),
    **by_name(
        "HistGradientBoostingClassifier HistGradientBoostingRegressor",
        rules_sklearn.hist_boosting_state,
    ),
    **by_name(" ".join(rules_sklearn.LOSSES), rules_sklearn.loss_state),
    **by_name(
        "EuclideanDistance EuclideanDistance64 MinkowskiDistance MinkowskiDistance64 "
        "MahalanobisDistance MahalanobisDistance64",
        rules_sklearn.metric_state,
    ),
    **by_name("KDTree BallTree", rules_sklearn.binary_tree_state),
    **by_name(
        "KNeighborsClassifier KNeighborsRegressor RadiusNeighborsClassifier NearestNeighbors "
        "LocalOutlierFactor",
        rules_sklearn.neighbors_state,
    ),
    "KernelDensity": rules_sklearn.kernel_density_state,
    **by_name("SVC NuSVC SVR OneClassSVM", rules_sklearn.svm_state),
    **by_name("KMeans MiniBatchKMeans BisectingKMeans", rules_sklearn.kmeans_state),
    "Birch": rules_sklearn.birch_state,
    "OneHotEncoder": rules_sklearn.one_hot_state,
    **by_name("CountVectorizer DictVectorizer", rules_sklearn.vocabulary_state),
    "FeatureHasher": rules_sklearn.hasher_state,
}


def through(value: Any, *names: str) -> Any:
    unpickler = Ruled(pickle.dumps(value, 5), calls, states)
    loaded = unpickler.load()
    for name in names or (type(value).__name__,):
        assert unpickler.asked[name], (name, unpickler.asked)
    return loaded


def fitted(model: Any, points: Any = X) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(points, Y)


def state_of(value: Any) -> dict[str, Any]:
    """What is given to BUILD."""
    return dict(value.__getstate__())


def refuses(model: Any, **changes: Any) -> str:
    """The rule's words on a fitted model whose state has these instead."""
    rule = states[type(model).__name__]
    rule(type(model).__new__(type(model)), state_of(model))
    return refused(rule, type(model).__new__(type(model)), {**state_of(model), **changes})


with_categories = np.c_[X[:, :5], np.arange(len(X)) % 5]

MODELS = [
    (DecisionTreeClassifier(max_depth=4), X),
    (DecisionTreeRegressor(max_leaf_nodes=7, ccp_alpha=0.01), X),
    (RandomForestClassifier(3), X),
    (RandomForestClassifier(2), sparse.csr_matrix(X)),
    (ExtraTreesRegressor(3), X),
    (IsolationForest(n_estimators=3), X),
    (IsolationForest(n_estimators=3, max_features=2), X),
    (GradientBoostingClassifier(n_estimators=3), X),
    (GradientBoostingClassifier(n_estimators=3, init="zero"), X),
    (GradientBoostingRegressor(n_estimators=3, loss="huber"), X),
    (HistGradientBoostingRegressor(max_iter=3), X),
    (HistGradientBoostingClassifier(max_iter=3), X),
    (HistGradientBoostingClassifier(max_iter=3, categorical_features=[5]), with_categories),
    (KNeighborsClassifier(), X),
    (KNeighborsClassifier(algorithm="brute"), X),
    (KNeighborsClassifier(), sparse.csr_matrix(X)),
    (KNeighborsRegressor(algorithm="ball_tree", metric="minkowski", p=3), X),
    (RadiusNeighborsClassifier(radius=9), X),
    (LocalOutlierFactor(novelty=True), X),
    (KernelDensity(), X),
    (SVC(), X),
    (SVC(kernel="poly"), sparse.csr_matrix(X)),
    (SVC(kernel="precomputed"), X @ X.T),
    (NuSVC(nu=0.1), X),
    (SVR(), X),
    (SVR(), sparse.csr_matrix(X)),
    (OneClassSVM(), X),
    (KMeans(3, n_init=1), X),
    (MiniBatchKMeans(3, n_init=1), X),
    (BisectingKMeans(3), X),
    (Birch(n_clusters=3), X),
    (OneHotEncoder(handle_unknown="ignore"), ROUND),
    (OneHotEncoder(drop="first", min_frequency=5), ROUND),
    (OneHotEncoder(drop="if_binary"), np.array([["a"], ["b"], [None]] * 30, object)),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("model", "points"), MODELS, ids=[repr(model)[:60] for model, _ in MODELS])
def test_models_predict_the_same(model: Any, points: Any) -> None:
    model = fitted(copy.deepcopy(model), points)
    loaded = through(model)
    for method in ("predict", "decision_function", "transform", "score_samples", "predict_proba"):
        if hasattr(model, method):
            expected, found = getattr(model, method)(points), getattr(loaded, method)(points)
            if sparse.issparse(expected):
                expected, found = expected.toarray(), found.toarray()
            assert np.array_equal(expected, found), method


# Trees


@pytest.fixture(scope="module")
def tree() -> Any:
    return fitted(DecisionTreeClassifier(max_depth=4, random_state=0)).tree_


def empty_tree(tree: Any) -> Any:
    return type(tree)(*tree.__reduce__()[1])


def nodes_with(tree: Any, node: int, **fields: Any) -> Any:
    nodes = tree.__getstate__()["nodes"].copy()
    for name, value in fields.items():
        nodes[name][node] = value
    return nodes


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"left_child": 1 << 28}, "not behind it"),
        ({"left_child": -5}, "not behind it"),
        ({"left_child": 0}, "not behind it"),
        ({"left_child": -1}, "not behind it"),
        ({"right_child": 1}, "the child of two"),
        ({"left_child": -1, "right_child": -1}, "no child of any"),
        ({"feature": 6}, "feature that there is not"),
        ({"feature": -1}, "feature that there is not"),
        ({"feature": 1 << 60}, "feature that there is not"),
    ],
)
def test_nodes_of_trees(tree: Any, fields: dict[str, Any], words: str) -> None:
    state = {**tree.__getstate__(), "nodes": nodes_with(tree, 0, **fields)}
    assert words in refused(rules_sklearn.tree_state, empty_tree(tree), state)


def test_states_of_trees(tree: Any) -> None:
    state = tree.__getstate__()
    assert state["max_depth"] == 4
    rules_sklearn.tree_state(empty_tree(tree), state)
    nodes, values = state["nodes"], state["values"]
    for changes in [
        {"max_depth": 3},
        {"max_depth": -1},
        {"max_depth": 1 << 40},
        {"max_depth": None},
        {"node_count": len(nodes) + 1},
        {"node_count": 0},
        {"node_count": "1"},
        {"nodes": nodes[:0]},
        {"nodes": nodes[:-1]},
        {"nodes": nodes.reshape(-1, 1)},
        {"nodes": nodes.tolist()},
        {"nodes": nodes[["left_child", "right_child"]]},
        {"nodes": nodes.view("V64")},
        {"values": values[:-1]},
        {"values": values[:, :, :1]},
        {"values": values.astype(np.float32)},
        {"values": None},
    ]:
        refused(rules_sklearn.tree_state, empty_tree(tree), {**state, **changes})
    refused(rules_sklearn.tree_state, empty_tree(tree), [])
    # A second state would come behind what others have been told of the first.
    refused(rules_sklearn.tree_state, tree, state)


def test_nodes_of_other_machines_are_turned_into_our_own(tree: Any) -> None:
    state = tree.__getstate__()
    swapped = state["nodes"].astype(state["nodes"].dtype.newbyteorder())
    checked = rules_sklearn.tree_state(empty_tree(tree), {**state, "nodes": swapped})
    assert checked["nodes"].dtype == state["nodes"].dtype
    assert np.array_equal(checked["nodes"]["threshold"], state["nodes"]["threshold"])


def test_nodes_in_memory_of_others_are_copied(tree: Any) -> None:
    state = tree.__getstate__()
    bytes_ = bytearray(state["nodes"].tobytes())
    nodes = np.frombuffer(bytes_, state["nodes"].dtype)
    checked = rules_sklearn.tree_state(empty_tree(tree), {**state, "nodes": nodes})
    assert not np.shares_memory(checked["nodes"], nodes)


@pytest.mark.parametrize(
    "args",
    [
        (6, np.array([3]), 2),
        (6, np.array([3, 3]), 1),
        (6, np.array([0]), 1),
        (6, np.array([-1]), 1),
        (6, np.array([1 << 62]), 1),
        (6, np.array([1.0]), 1),
        (6, np.array([[3]]), 1),
        (6, [3], 1),
        (-1, np.array([3]), 1),
        (6, np.array([], int), 0),
        (6,),
    ],
)
def test_arguments_of_trees(args: tuple[Any, ...]) -> None:
    refused(rules_sklearn.tree_call, args)


SETUP = """
    import warnings
    import numpy
    from sklearn.datasets import make_classification
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.feature_extraction import FeatureHasher
    from sklearn.preprocessing import OneHotEncoder
    from sklearn.svm import SVC
    from sklearn.tree import DecisionTreeClassifier
    warnings.simplefilter("ignore")
    X, y = make_classification(90, 6, n_informative=4, n_classes=3, random_state=0)
"""
CRASHES = {
    "tree": """
    tree = DecisionTreeClassifier().fit(X, y).tree_
    state = tree.__getstate__()
    state["nodes"] = state["nodes"].copy()
    state["nodes"]["left_child"][0] = state["nodes"]["right_child"][0] = 1 << 28
    tree.__setstate__(state)
    tree.predict(X.astype(numpy.float32))
    """,
    "histogram": """
    model = HistGradientBoostingRegressor(max_iter=1).fit(X, y)
    model._predictors[0][0].nodes["feature_idx"] = 1 << 40
    model.predict(X)
    """,
    "one hot": """
    model = OneHotEncoder(sparse_output=False).fit(numpy.round(X))
    model._n_features_outs = [1 << 28, -(1 << 28), 1, 1, 1, 1]
    model.transform(numpy.round(X))
    """,
    "hasher": """
    FeatureHasher(n_features=0).transform([{"a": 1}])
    """,
    "support vectors": """
    model = SVC().fit(X, y)
    model._n_support = numpy.array([1 << 30, -(1 << 30), len(model.support_)], numpy.int32)
    model.predict(X)
    """,
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_without_the_rules_the_process_ends() -> None:
    assert all(ended_by_signal(SETUP, CRASHES).values())


def test_owners_of_trees_know_their_width(tree: Any) -> None:
    model = fitted(DecisionTreeClassifier(max_depth=3))
    assert "more features" in refuses(model, n_features_in_=5)
    refuses(model, n_features_in_=None)
    assert "not complete" in refuses(model, tree_=empty_tree(tree))
    refuses(model, tree_=None)
    forest = fitted(RandomForestClassifier(2))
    refuses(forest, n_features_in_=5)
    refuses(forest, estimators_=[DecisionTreeClassifier()])
    refuses(forest, estimators_=[None])
    refuses(forest, estimators_=np.array(forest.estimators_, object))
    forest = fitted(IsolationForest(n_estimators=2))
    refuses(forest, n_features_in_=5)
    refuses(forest, estimators_features_=[np.arange(2)] * 2)
    refuses(forest, estimators_features_=[])


def test_gradient_boosting(tree: Any) -> None:
    model = fitted(GradientBoostingClassifier(n_estimators=2))
    refuses(model, estimators_=np.tile(model.estimators_, 2))
    refuses(model, estimators_=model.estimators_[:0])
    refuses(model, estimators_=model.estimators_.tolist())
    refuses(model, estimators_=np.full((2, 3), None))
    refuses(model, n_features_in_=5)
    refuses(model, init_=None)
    refuses(model, init_="zero", n_trees_per_iteration_=2)
    refuses(model, init_=model)
    loss = fitted(GradientBoostingRegressor(n_estimators=2))._loss
    refuses(model, _loss=loss)
    init = copy.deepcopy(model.init_)
    init.class_prior_ = init.class_prior_.reshape(1, -1)
    refuses(model, init_=init)
    refuses(loss, is_multiclass=True)
    refuses(loss, link=print)
    refuses(loss, closs=print)


# Histogram gradient boosting


@pytest.mark.parametrize(
    "fields",
    [
        {"left": 1 << 28},
        {"left": 0},
        {"right": 1},
        {"feature_idx": -1},
        {"feature_idx": 1 << 40},
        {"is_categorical": 1, "bitset_idx": 0},
        {"is_leaf": 1},
    ],
)
def test_nodes_of_predictors(fields: dict[str, Any]) -> None:
    model = fitted(HistGradientBoostingRegressor(max_iter=1))
    predictor = model._predictors[0][0]
    nodes = predictor.nodes.copy()
    for name, value in fields.items():
        nodes[name][0] = value
    refuses(predictor, nodes=nodes)


def test_other_states_of_predictors() -> None:
    model = fitted(HistGradientBoostingRegressor(max_iter=1))
    predictor = model._predictors[0][0]
    refuses(predictor, nodes=predictor.nodes[:0])
    refuses(predictor, nodes=predictor.nodes["left"])
    refuses(predictor, nodes=None)
    refuses(predictor, raw_left_cat_bitsets=np.zeros((3, 2), np.uint32))
    refuses(predictor, raw_left_cat_bitsets=None)
    refuses(model, n_features_in_=5)
    refuses(model, _in_fit=True)
    refuses(model, _predictors=[[type(predictor).__new__(type(predictor))]])
    refuses(model, _predictors=[[None]])
    refuses(model, _bin_mapper=None)
    refuses(model, _preprocessor=model)
    mapper = model._bin_mapper
    refuses(mapper, is_categorical_=np.zeros(2, np.uint8))
    refuses(mapper, bin_thresholds_=mapper.bin_thresholds_[:2])
    refuses(mapper, bin_thresholds_=[None] * 6)
    refuses(mapper, n_threads=1 << 20)


def test_categories_of_boosting() -> None:
    model = fitted(HistGradientBoostingClassifier(max_iter=3, categorical_features=[5]),
                   with_categories)  # fmt: skip
    other = fitted(HistGradientBoostingClassifier(max_iter=3))
    refuses(model, _bin_mapper=other._bin_mapper, _predictors=with_a_category(other))
    narrow = copy.deepcopy(model._preprocessor)
    narrow.transformers_ = narrow.transformers_[:1]
    refuses(model, _preprocessor=narrow)


def with_a_category(model: Any) -> Any:
    predictors = copy.deepcopy(model._predictors)
    predictors[0][0].nodes["is_categorical"][0] = 1
    return predictors


# Neighbours


@pytest.mark.parametrize("kind", [KDTree, BallTree])
def test_states_of_binary_trees(kind: Any) -> None:
    value = kind(X, leaf_size=4)
    loaded = through(value)
    assert np.array_equal(loaded.query(X, 3)[1], value.query(X, 3)[1])
    state = value.__getstate__()
    nodes, indices = np.asarray(state[2]), np.asarray(state[1])

    def nodes_with(node: int, **fields: int) -> Any:
        changed = nodes.copy()
        for name, number in fields.items():
            changed[name][node] = number
        return changed

    blank = kind.__new__(kind)
    for place, wrong in [
        (0, X[:5]),
        (0, None),
        (0, X.astype(np.float32)),
        (1, indices + 1),
        (1, indices - 1),
        (1, indices[:5].copy()),
        (1, indices.astype(np.int32)),
        (2, nodes_with(0, idx_end=1 << 30)),
        (2, nodes_with(0, idx_start=-3)),
        (2, nodes_with(1, idx_end=3)),
        (2, nodes_with(len(nodes) - 1, is_leaf=0)),
        (2, nodes[:-1].copy()),
        (2, nodes["radius"].copy()),
        (3, np.asarray(state[3])[:, :2].copy()),
        (4, 0),
        (5, 60),
        (6, len(nodes) + 2),
        (7, 1 << 40),
        (11, None),
        (12, np.ones(3)),
    ]:
        changed = (*state[:place], wrong, *state[place + 1 :])
        refused(rules_sklearn.binary_tree_state, blank, changed)
    refused(rules_sklearn.binary_tree_state, blank, state[:12])
    refused(rules_sklearn.binary_tree_new, (DecisionTreeClassifier,))


def test_metrics_fit_the_columns() -> None:
    metrics = pytest.importorskip("sklearn.metrics").DistanceMetric
    narrow = metrics.get_metric("mahalanobis", VI=np.eye(2))
    wide = KDTree(X)
    state = BallTree(X).__getstate__()
    refused(rules_sklearn.binary_tree_state, BallTree.__new__(BallTree),
            (*state[:11], narrow, None))  # fmt: skip
    p, vector, matrix = narrow.__getstate__()
    for changed in [
        (p, vector, matrix[:1]),
        (p, None, matrix),
        ("2", vector, matrix),
        (p, vector),
        (p, vector.astype(np.float32), matrix),
    ]:
        refused(rules_sklearn.metric_state, narrow, changed)
    function = metrics.get_metric(lambda a, b: 0.0)
    refused(rules_sklearn.metric_new, (type(function),))
    refused(rules_sklearn.metric_state, function, (p, vector, matrix))
    assert wide.data.shape == X.shape


def test_states_of_neighbours() -> None:
    model = fitted(KNeighborsClassifier(algorithm="brute"))
    refuses(model, _y=model._y + 1)
    refuses(model, _y=model._y - 1)
    refuses(model, _y=model._y[:5])
    refuses(model, _y=model._y.astype(float))
    refuses(model, classes_=model.classes_[:2])
    refuses(model, n_samples_fit_=5)
    refuses(model, n_features_in_=5)
    refuses(model, _fit_X=X[:5])
    refuses(model, _fit_X=None)
    refuses(model, _fit_X=sparse.csr_matrix.__new__(sparse.csr_matrix))
    refuses(model, _tree=KDTree(X[:5]))
    refuses(model, _tree=KDTree.__new__(KDTree))
    refuses(model, _tree=print)
    refuses(model, effective_metric_params_={"Y_norm_squared": np.ones(1)})
    refuses(fitted(NearestNeighbors()), _tree=BallTree.__new__(BallTree))
    refuses(fitted(KernelDensity()), tree_=KDTree.__new__(KDTree))


# Support vectors


def test_states_of_support_vector_machines() -> None:
    model = fitted(SVC())
    n = len(model.support_)
    refuses(model, _n_support=np.array([n, n, n], np.int32))
    refuses(model, _n_support=np.array([1 << 30, -(1 << 30), n], np.int32))
    refuses(model, _n_support=np.array([n], np.int32))
    refuses(model, support_=model.support_[:2])
    refuses(model, support_=model.support_ + 1000)
    refuses(model, support_vectors_=model.support_vectors_[:, :2].copy())
    refuses(model, support_vectors_=model.support_vectors_[:2])
    refuses(model, _dual_coef_=model._dual_coef_[:1])
    refuses(model, _intercept_=model._intercept_[:1])
    refuses(model, _probA=np.ones(1), _probB=np.ones(1))
    refuses(model, _probA=np.ones(3))
    refuses(model, _sparse=True)
    refuses(model, n_features_in_=5)
    refuses(model, _impl="epsilon_svr")
    model = fitted(SVC(), sparse.csr_matrix(X))
    refuses(model, _dual_coef_=sparse.csr_matrix(np.eye(2, len(model.support_))))
    refuses(model, _n_support=np.array([1, 1, 1], np.int32))
    refuses(model, kernel="precomputed")
    refuses(model, _effective_probability=True)
    refuses(model, _sparse=False)
    model = fitted(SVC(kernel="precomputed"), X @ X.T)
    refuses(model, support_=model.support_ + 1000)
    refuses(model, support_=model.support_ - 1000)


# Clusters, encoders, vectorizers


def test_states_of_clusters() -> None:
    for model in (KMeans(3, n_init=1), MiniBatchKMeans(3, n_init=1), BisectingKMeans(3)):
        fitted(model)
        refuses(model, cluster_centers_=np.ones((3, 2)))
        refuses(model, cluster_centers_=np.ones((0, 6)))
        refuses(model, cluster_centers_=None)
        refuses(model, _n_threads=1 << 20)
        refuses(model, n_features_in_=7)
    birch = fitted(Birch(n_clusters=3))
    refuses(birch, _subcluster_norms=np.ones(1))
    refuses(birch, subcluster_centers_=np.ones((1, 6)))
    refuses(birch, subcluster_centers_=None)
    narrow = copy.deepcopy(model)
    narrow._bisecting_tree.left.center = np.ones(2)
    refuses(model, _bisecting_tree=narrow._bisecting_tree)
    circle = copy.deepcopy(model)
    circle._bisecting_tree.left = circle._bisecting_tree
    refuses(model, _bisecting_tree=circle._bisecting_tree)


def test_states_of_encoders() -> None:
    model = fitted(OneHotEncoder(), ROUND)
    widths = model._n_features_outs
    refuses(model, _n_features_outs=[1] * 6)
    refuses(model, _n_features_outs=[*widths, 1])
    refuses(model, _n_features_outs=np.array(widths))
    refuses(model, categories_=[column[::-1] for column in model.categories_])
    refuses(model, categories_=[column[:2] for column in model.categories_])
    refuses(model, categories_=[None] * 6)
    refuses(model, drop_idx_=np.zeros(6, object), _drop_idx_after_grouping=np.zeros(6, object))
    model = fitted(OneHotEncoder(drop="first", min_frequency=5), ROUND)
    refuses(model, _infrequent_enabled=False)
    refuses(model, _infrequent_indices=[None] * 6)
    refuses(model, _drop_idx_after_grouping=None, drop_idx_=None)
    refuses(model, _drop_idx_after_grouping=np.array([99] * 6, object))
    mappings = copy.deepcopy(model._default_to_infrequent_mappings)
    mappings[0][0] = 1 << 30
    refuses(model, _default_to_infrequent_mappings=mappings)


def test_tables_of_vectorizers() -> None:
    text = CountVectorizer().fit(["a bb cc", "bb dd"])
    assert through(text).vocabulary_ == text.vocabulary_
    for table in [{"bb": 1 << 20}, {"bb": -1}, {"bb": "1"}, [("bb", 0)]]:
        refuses(text, vocabulary_=table)
    words = DictVectorizer().fit([{"a": 1}])
    refuses(words, vocabulary_={"a": 5})
    hasher = FeatureHasher(8)
    assert through(hasher).n_features == 8
    for number in (0, -1, 1 << 40, "1"):
        refuses(hasher, n_features=number)


def test_compiled_losses_are_made_of_their_own_class() -> None:
    module = pytest.importorskip("sklearn._loss._loss")
    rule = rules_sklearn.pyx_unpickle("sklearn._loss._loss", "CyHalfMultinomialLoss")
    rule((module.CyHalfMultinomialLoss, 238750788, None))
    rule((module.CyHalfMultinomialLoss, 238750788, ()))
    for args in [
        (module.CyHuberLoss, 238750788, None),
        (module.CyHalfMultinomialLoss, 238750788, (1.0,)),
        (module.CyHalfMultinomialLoss, "1", None),
        (str, 238750788, None),
        (),
    ]:
        refused(rule, args)
    rule = rules_sklearn.pyx_unpickle("sklearn._loss._loss", "CyHuberLoss")
    rule((module.CyHuberLoss, 1, (0.5,)))
    refused(rule, (module.CyHuberLoss, 1, ()))
    refused(rules_sklearn.loss_call, ("1",))
    refused(rules_sklearn.loss_call, (1.0,) * 4)

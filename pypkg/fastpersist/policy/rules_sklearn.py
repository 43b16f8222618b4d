"""Rules for arguments and states of what is scikit-learn's.

Most estimators compute by NumPy, which looks at every index and shape. Here are those whose
compiled code does not: it takes from a fitted state how many columns, nodes, classes or threads
there are. A rule looks at what is fitted; what is not there was not fitted, and the estimator
says so itself.

What a rule has seen must not change behind it: lists and dicts are copied, and the load gives a
state to each object once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from fastpersist import _core
from fastpersist.policy.rows import Refused
from fastpersist.policy.rules_numpy import exact_array, is_array, numpy, own
from fastpersist.policy.rules_python import exact_dict, integer, is_number, need

Arguments = tuple[Any, ...]

MOST = (1 << 31) - 1
THREADS = 1024
"""More threads than that end the process instead of computing."""


def _module(name: str) -> Any:
    module = sys.modules.get(name)
    if module is None:
        raise Refused(f"{name} is not loaded")
    return module


def _is(value: Any, module: str, *names: str) -> bool:
    """Whether `value` is an instance of just one of these classes."""
    kind = type(value)
    loaded = sys.modules.get(module)
    return loaded is not None and any(kind is getattr(loaded, name, None) for name in names)


def _attributes(instance: Any, state: Any) -> Any:
    return dict(exact_dict(state, type(instance).__name__))


def _features(state: dict[str, Any], what: str) -> int:
    return integer(state.get("n_features_in_"), 0, MOST, f"n_features_in_ of {what}")


def _array(value: Any, kinds: str, shape: tuple[int | None, ...], what: str) -> Any:
    """An array of plain numbers of that shape (None: any length)."""
    if not is_array(value) or value.dtype.kind not in kinds or value.ndim != len(shape):
        raise Refused(f"{what} is not what was fitted")
    for want, have in zip(shape, value.shape, strict=True):
        if want is not None and want != have:
            raise Refused(f"{what} has shape {value.shape}")
    return value


def _list(value: Any, what: str) -> list[Any]:
    """A list of its own: the load could go on to append to the one in the state."""
    if type(value) is not list and type(value) is not tuple:
        raise Refused(f"{what} is no list")
    return list(value)


# Trees. A forest has thousands of them: what is the same for each is looked up once.


class _Known:
    """Classes and dtypes that were found to be the right ones."""

    array: Any = None
    tree: Any = None
    layout: Any = None
    """The dtype of nodes, and one that was found to be equal to it: comparing takes longer than
    looking at the nodes of a small tree."""
    nodes: Any = None
    predictor: Any = None
    offsets: Any = (0,) * 6
    """The same of boosted trees, and where in it its fields are."""
    double: Any = None
    integer: Any = None


def _know() -> None:
    np = numpy()
    module = _module("sklearn.tree._tree")
    layout = module.NODE_DTYPE
    size = np.dtype(np.intp).itemsize
    for i, name in enumerate(("left_child", "right_child", "feature")):
        kind, offset = layout.fields[name][:2]
        need(kind == np.intp and offset == i * size, "an unknown layout of nodes")
    _Known.array, _Known.tree = np.ndarray, module.Tree
    _Known.layout = _Known.nodes = layout
    _Known.double, _Known.integer = np.dtype(np.float64), np.dtype(np.intp)


def tree_call(args: Arguments) -> Arguments | None:
    """``Tree(n_features, n_classes, n_outputs)``."""
    if _core.is_plain_tree_call(args):
        return None
    need(len(args) == 3, "a Tree takes three arguments")
    n_features, n_classes, n_outputs = args
    if type(n_features) is not int or type(n_outputs) is not int:
        n_features = integer(n_features, 0, MOST, "n_features of a Tree")
        n_outputs = integer(n_outputs, 1, MOST, "n_outputs of a Tree")
    if not 0 <= n_features <= MOST or not 1 <= n_outputs <= MOST:
        raise Refused("a number in a Tree")
    if type(n_classes) is not _Known.array or n_classes.dtype is not _Known.integer:
        _know()
        n_classes = numpy().array(_array(n_classes, "i", (None,), "n_classes of a Tree"), "intp")
    if n_classes.shape != (n_outputs,):
        raise Refused("n_classes of a Tree")
    n_classes = n_classes.copy()
    counts = n_classes.tolist()
    if min(counts) < 1 or max(counts) * n_outputs > 1 << 40:
        raise Refused("a Tree of no classes, or of too many")
    return (n_features, n_classes, n_outputs)


def _node_records(nodes: Any) -> Any:
    """The nodes in their own dtype, in memory of their own."""
    if not is_array(nodes) or nodes.ndim != 1:
        raise Refused("the nodes of a Tree are no array")
    _know()
    dtype, layout = nodes.dtype, _Known.layout
    if dtype != layout:
        # Of a machine with other integers, or another byte order.
        need(
            dtype.names == layout.names
            and all(dtype[name].kind == layout[name].kind for name in layout.names),
            "the nodes of a Tree have fields of another version",
        )
        return nodes.astype(layout, casting="same_kind")
    _Known.nodes = dtype
    flags = nodes.flags
    return nodes if flags.owndata and flags.c_contiguous else nodes.copy(order="C")


def tree_state(instance: Any, state: Any) -> Any:
    """State of ``sklearn.tree._tree.Tree``."""
    if type(state) is not dict or instance.node_count:
        raise Refused("the state of a Tree")
    try:
        sizes = instance.n_features, instance.n_outputs, instance.max_n_classes
        if _core.is_plain_tree(state, _Known.nodes, *sizes):
            return state
    except ValueError as error:
        raise Refused(f"a Tree: {error}") from None
    nodes: Any = state.get("nodes")
    values: Any = state.get("values")
    if (
        type(nodes) is _Known.array
        and nodes.dtype is _Known.nodes
        and nodes.ndim == 1
        and (flags := nodes.flags).owndata
        and flags.c_contiguous
    ):
        checked = nodes
    else:
        checked = _node_records(nodes)
    count = len(checked)
    max_depth: Any = state.get("max_depth")
    if type(state.get("node_count")) is not int or type(max_depth) is not int:
        max_depth = integer(max_depth, 0, MOST, "max_depth of a Tree")
        integer(state.get("node_count"), count, count, "node_count of a Tree")
    elif state["node_count"] != count or not 0 <= max_depth <= count:
        raise Refused("node_count or max_depth of a Tree")
    if (
        type(values) is not _Known.array
        or values.shape != (count, instance.n_outputs, instance.max_n_classes)
        or (values.dtype is not _Known.double and values.dtype.str[1:] != "f8")
    ):
        raise Refused("the values of a Tree have another shape than its nodes")
    try:
        _core.check_tree(checked, checked.itemsize, instance.n_features, max_depth)
    except ValueError as error:
        raise Refused(f"a Tree: {error}") from None
    if checked is nodes and len(state) == 4:
        return state
    return {"max_depth": max_depth, "node_count": count, "nodes": checked, "values": values}


TREES = (
    "DecisionTreeClassifier",
    "DecisionTreeRegressor",
    "ExtraTreeClassifier",
    "ExtraTreeRegressor",
)


def _tree_features(tree: Any, what: str) -> int:
    """How many columns a complete Tree reads."""
    if type(tree) is not _Known.tree:
        _know()
    if type(tree) is not _Known.tree or not tree.node_count:
        raise Refused(f"a tree of {what} is none, or is not complete")
    return tree.n_features  # type: ignore[no-any-return]


def decision_tree_state(instance: Any, state: Any) -> Any:
    """A single tree of any kind: it reads no column that there is not."""
    if type(state) is not dict:
        raise Refused("the state of a tree is no dict")
    if "tree_" in state:
        what = type(instance).__name__
        width = state.get("n_features_in_")
        if type(width) is not int:
            width = _features(state, what)
        if _tree_features(state["tree_"], what) > width:
            raise Refused(f"{what} has a tree of more features")
    return state


def _tree_classes() -> frozenset[Any]:
    module = _module("sklearn.tree._classes")
    return frozenset(getattr(module, name) for name in TREES)


def _estimator_features(estimator: Any, what: str, classes: frozenset[Any]) -> int:
    if type(estimator) not in classes:
        raise Refused(f"an estimator of {what} is no tree")
    return _tree_features(estimator.__dict__.get("tree_"), what)


def forest_state(instance: Any, state: Any) -> Any:
    """Forests hand their checked input to the trees as it is."""
    what = type(instance).__name__
    attributes = _attributes(instance, state)
    if "estimators_" in attributes:
        n_features = _features(attributes, what)
        trees = attributes["estimators_"] = _list(attributes["estimators_"], what)
        classes = _tree_classes()
        _know()
        if _core.are_plain_trees(trees, classes, _Known.tree, n_features, False):
            return attributes  # as of every honest forest
        for tree in trees:
            if _estimator_features(tree, what, classes) > n_features:
                raise Refused(f"{what} has a tree of more features")
    return attributes


def isolation_state(instance: Any, state: Any) -> Any:
    """IsolationForest: each tree gets the columns that are listed for it."""
    what = type(instance).__name__
    attributes = _attributes(instance, state)
    if "estimators_" in attributes:
        n_features = _features(attributes, what)
        trees = attributes["estimators_"] = _list(attributes["estimators_"], what)
        columns = attributes["estimators_features_"] = _list(
            attributes.get("estimators_features_"), what
        )
        need(len(trees) == len(columns), f"{what} has not as many trees as lists of columns")
        classes = _tree_classes()
        for tree, listed in zip(trees, columns, strict=True):
            _array(listed, "iu", (None,), f"columns of {what}")
            need(
                _estimator_features(tree, what, classes) <= min(n_features, listed.shape[0]),
                f"{what} has a tree of more features",
            )
    return attributes


def _init_columns(attributes: Any, what: str) -> int:
    """How many columns of raw predictions gradient boosting starts with. Its trees add to them by
    number, so nothing but what it starts with by itself is taken."""
    init = attributes.get("init_")
    if type(init) is str and init == "zero":
        return integer(attributes.get("n_trees_per_iteration_"), 1, MOST, f"trees of {what}")
    fitted = getattr(init, "__dict__", {})
    if _is(init, "sklearn.dummy", "DummyRegressor"):
        need(
            integer(fitted.get("n_outputs_"), 1, 1, f"init_ of {what}") == 1
            and is_array(fitted.get("constant_")),
            f"init_ of {what}",
        )
        return 1
    if _is(init, "sklearn.dummy", "DummyClassifier"):
        integer(fitted.get("n_outputs_"), 1, 1, f"init_ of {what}")
        strategy = fitted.get("_strategy")
        need(type(strategy) is str and strategy == "prior", f"init_ of {what}")
        classes = _array(fitted.get("class_prior_"), "f", (None,), f"init_ of {what}").shape[0]
        need(
            integer(fitted.get("n_classes_"), 2, MOST, f"init_ of {what}") == classes,
            f"init_ of {what}",
        )
        loss = attributes.get("_loss")
        if _is(loss, "sklearn._loss.loss", "HalfMultinomialLoss"):
            return int(classes)
        need(_is(loss, "sklearn._loss.loss", *LOSSES), f"the loss of {what}")
        return 1
    raise Refused(f"init_ of {what}: {type(init).__name__}")


def gradient_boosting_state(instance: Any, state: Any) -> Any:
    what = type(instance).__name__
    attributes = _attributes(instance, state)
    if "estimators_" not in attributes:
        return attributes
    trees = attributes["estimators_"]
    if not is_array(trees) or trees.ndim != 2 or trees.dtype != object or not trees.size:
        raise Refused(f"the trees of {what}")
    trees = attributes["estimators_"] = trees.copy()
    n_features = _features(attributes, what)
    _know()
    listed = trees.ravel().tolist()
    regressors = frozenset({_module("sklearn.tree._classes").DecisionTreeRegressor})
    if not _core.are_plain_trees(listed, regressors, _Known.tree, n_features, True):
        for tree in listed:
            need(
                _estimator_features(tree, what, regressors) == n_features
                and _features(tree.__dict__, what) == n_features,
                f"{what} has a tree of other features",
            )
    need(
        trees.shape[1] <= _init_columns(attributes, what),
        f"{what} has more trees in an iteration than outputs",
    )
    return attributes


# Histogram gradient boosting

_OFFSETS = ("left", "right", "feature_idx", "is_leaf", "is_categorical", "bitset_idx")


def _predictor_records(nodes: Any) -> Any:
    known = _module("sklearn.ensemble._hist_gradient_boosting.common").PREDICTOR_RECORD_DTYPE
    if not is_array(nodes) or nodes.ndim != 1:
        raise Refused("the nodes of a TreePredictor are no array")
    dtype = nodes.dtype
    if dtype is not _Known.predictor and dtype != known:
        need(
            nodes.dtype.names == known.names
            and all(nodes.dtype[name].kind == known[name].kind for name in known.names),
            "the nodes of a TreePredictor have fields of another version",
        )
        return nodes.astype(known, casting="same_kind")
    if dtype is not _Known.predictor:
        _Known.offsets = tuple(dtype.fields[name][1] for name in _OFFSETS)
        _Known.predictor = dtype
    nodes = own(nodes)
    return nodes if nodes.flags.c_contiguous else nodes.copy(order="C")


def _check_predictor(nodes: Any, n_features: int, n_bitsets: int) -> tuple[int, bool]:
    dtype = nodes.dtype
    if dtype is _Known.predictor:
        offsets = _Known.offsets
    else:
        offsets = tuple(dtype.fields[name][1] for name in _OFFSETS)
    try:
        return _core.check_predictor(nodes, nodes.itemsize, offsets, n_features, n_bitsets)
    except ValueError as error:
        raise Refused(f"a TreePredictor: {error}") from None


_U4 = "<u4" if sys.byteorder == "little" else ">u4"


def _bitsets(value: Any, what: str) -> Any:
    if not is_array(value) or value.dtype.str != _U4 or value.shape[1:] != (8,):
        value = exact_array(value, "uint32", (None, 8), what)
    return value if value.flags.c_contiguous else value.copy(order="C")


def predictor_state(instance: Any, state: Any) -> Any:
    """State of a TreePredictor; how many columns there are is known to its owner alone."""
    try:
        if _core.is_plain_predictor(state, _Known.predictor, _Known.offsets):
            return state
    except ValueError as error:
        raise Refused(f"a TreePredictor: {error}") from None
    attributes = _attributes(instance, state)
    nodes = attributes["nodes"] = _predictor_records(attributes.get("nodes"))
    n_bitsets = MOST
    for name in ("binned_left_cat_bitsets", "raw_left_cat_bitsets"):
        attributes[name] = _bitsets(attributes.get(name), name)
        n_bitsets = min(n_bitsets, attributes[name].shape[0])
    _check_predictor(nodes, MOST, n_bitsets)
    return attributes


def _threads(attributes: Any, name: str, what: str, least: int = -THREADS) -> None:
    if attributes.get(name) is not None:
        integer(attributes[name], least, THREADS, f"{name} of {what}")


def bin_mapper_state(instance: Any, state: Any) -> Any:
    what = "a _BinMapper"
    attributes = _attributes(instance, state)
    _threads(attributes, "n_threads", what)
    if "is_categorical_" in attributes or "bin_thresholds_" in attributes:
        thresholds = attributes["bin_thresholds_"] = _list(attributes.get("bin_thresholds_"), what)
        for values in thresholds:
            _array(values, "f", (None,), f"bin_thresholds_ of {what}")
        count = len(thresholds)
        exact_array(attributes.get("is_categorical_"), "uint8", (count,), "is_categorical_")
        _array(attributes.get("n_bins_non_missing_"), "iu", (count,), "n_bins_non_missing_")
        integer(attributes.get("missing_values_bin_idx_"), 0, 255, "missing_values_bin_idx_")
    return attributes


def _selected(columns: Any, what: str) -> int:
    """How many columns a ColumnTransformer's specification takes."""
    if type(columns) is slice:
        raise Refused(f"columns of {what} as a slice")
    if is_array(columns):
        need(columns.ndim == 1 and columns.dtype.kind in "biuOU", f"columns of {what}")
        if columns.dtype.kind == "b":
            return int(numpy().count_nonzero(columns))
        return int(columns.shape[0])
    columns = _list(columns, what)
    if columns and all(type(c) is bool for c in columns):
        return sum(columns)
    return len(columns)


def _same_width(transformer: Any) -> bool:
    """Whether what comes out has as many columns as what went in."""
    if _is(transformer, "sklearn.preprocessing._function_transformer", "FunctionTransformer"):
        function = transformer.__dict__.get("func")
        if type(function).__name__ == "partial" and type(function).__module__ == "functools":
            function = function.func
        check = getattr(sys.modules.get("sklearn.utils.validation"), "check_array", None)
        return function is None or (check is not None and function is check)
    return _is(transformer, "sklearn.preprocessing._encoders", "OrdinalEncoder")


def _preprocessed(preprocessor: Any, n_features: int, what: str) -> int:
    """How many columns come out of what goes before the trees where some are categories."""
    if preprocessor is None:
        return n_features
    need(
        _is(preprocessor, "sklearn.compose._column_transformer", "ColumnTransformer"),
        f"_preprocessor of {what}",
    )
    count = 0
    for entry in _list(preprocessor.__dict__.get("transformers_"), what):
        need(type(entry) is tuple and len(entry) == 3, f"_preprocessor of {what}")
        _, transformer, columns = entry
        if type(transformer) is str and transformer == "drop":
            continue
        need(
            (type(transformer) is str and transformer == "passthrough") or _same_width(transformer),
            f"_preprocessor of {what}",
        )
        count += _selected(columns, what)
    return count


def _are_plain(predictors: list[Any], kind: Any, width: int, what: str) -> bool:
    try:
        return _core.are_plain_predictors(predictors, kind, _Known.predictor, _Known.offsets, width)
    except ValueError as error:
        raise Refused(f"a tree of {what}: {error}") from None


def hist_boosting_state(instance: Any, state: Any) -> Any:
    """HistGradientBoostingClassifier and its like: the trees' features are columns."""
    what = type(instance).__name__
    attributes = _attributes(instance, state)
    need(not attributes.get("_in_fit"), f"{what} is being fitted")
    if "_predictors" not in attributes:
        return attributes
    width = _preprocessed(attributes.get("_preprocessor"), _features(attributes, what), what)
    mapper = attributes.get("_bin_mapper")
    need(
        _is(mapper, "sklearn.ensemble._hist_gradient_boosting.binning", "_BinMapper"),
        f"_bin_mapper of {what}",
    )
    categorical = exact_array(
        mapper.__dict__.get("is_categorical_"), "uint8", (None,), f"_bin_mapper of {what}"
    )
    need(categorical.shape[0] == width, f"_bin_mapper of {what} has another width")
    iterations = [_list(trees, what) for trees in _list(attributes["_predictors"], what)]
    kind = _module("sklearn.ensemble._hist_gradient_boosting.predictor").TreePredictor
    has_categories = bool(categorical.any())
    listed = [predictor for predictors in iterations for predictor in predictors]
    if not _are_plain(listed, kind, width, what):
        for predictor in listed:
            nodes = predictor.__dict__.get("nodes") if type(predictor) is kind else None
            if nodes is None:
                raise Refused(f"a tree of {what} is none, or is not complete")
            _, by_category = _check_predictor(nodes, width, MOST)
            if by_category and not has_categories:
                raise Refused(f"{what} splits by categories without having any")
    attributes["_predictors"] = iterations
    return attributes


# Losses, metrics, and compiled objects without a state of their own

LOSSES = (
    "AbsoluteError",
    "ExponentialLoss",
    "HalfBinomialLoss",
    "HalfGammaLoss",
    "HalfPoissonLoss",
    "HalfSquaredError",
    "HalfTweedieLoss",
    "HalfTweedieLossIdentity",
    "HuberLoss",
    "PinballLoss",
)
"""Of one output."""

_LOSS_ATTRIBUTES = {
    "approx_hessian",
    "class_indexing_offsets",
    "closs",
    "constant_hessian",
    "delta",
    "device",
    "interval_y_pred",
    "interval_y_true",
    "link",
    "n_classes",
    "power",
    "quantile",
    "xp",
    "y_true_int",
    "y_true_one_hot",
}


def loss_state(instance: Any, state: Any) -> Any:
    """A loss of sklearn._loss.loss: nothing that hides what its class says of it."""
    what = type(instance).__name__
    attributes = _attributes(instance, state)
    unknown = set(attributes) - _LOSS_ATTRIBUTES
    need(not unknown, f"{what} has no {min(unknown, default='')!r:.80}")
    if "closs" in attributes:
        need(
            type(attributes["closs"]).__module__ in ("sklearn._loss._loss", "_loss")
            and type(attributes["closs"]).__name__.startswith("Cy"),
            f"the compiled loss of {what}",
        )
    if "link" in attributes:
        need(type(attributes["link"]).__module__ == "sklearn._loss.link", f"the link of {what}")
    return attributes


def loss_call(args: Arguments) -> None:
    """``Hinge(1.0)``, ``CyHuberLoss(0.5)``: a few numbers."""
    need(len(args) <= 3, "a loss takes a few numbers")
    for value in args:
        need(is_number(value), "a parameter of a loss is no number")


_NUMBERS = {
    "CyHalfTweedieLoss": 1,
    "CyHalfTweedieLossIdentity": 1,
    "CyHuberLoss": 1,
    "CyPinballLoss": 1,
}
"""How many numbers a compiled loss keeps, where it keeps any."""


def pyx_unpickle(module: str, name: str) -> Callable[[Arguments], None]:
    """The rule for ``__pyx_unpickle_NAME(class, checksum, state)`` of a compiled loss: it takes any
    class, would fill an instance of another as if it were its own, and does not count what is in
    the state."""
    count = _NUMBERS.get(name, 0)

    def check(args: Arguments) -> None:
        need(
            len(args) == 3
            and args[0] is getattr(sys.modules.get(module), name, module)
            and type(args[1]) is int
            and 0 <= args[1] <= MOST,
            f"makes {name} only",
        )
        state = args[2]
        if state is None:
            return
        need(
            type(state) is tuple
            and len(state) == count
            and all(type(number) is float for number in state),
            f"the state of {name}",
        )

    return check


_METRICS = (
    "BrayCurtis Canberra Chebyshev Dice Euclidean Hamming Haversine Jaccard Kulsinski Mahalanobis "
    "Manhattan Matching Minkowski RogersTanimoto RussellRao SEuclidean SokalMichener SokalSneath"
).split()


def is_metric_class(value: Any) -> bool:
    """One of the metrics, but for the one that calls a function."""
    module = sys.modules.get("sklearn.metrics._dist_metrics")
    return module is not None and any(
        value is getattr(module, f"{name}Distance{suffix}", None)
        for name in _METRICS
        for suffix in ("", "64", "32")
    )


def metric_new(args: Arguments) -> None:
    """``sklearn.metrics._dist_metrics.newObj(class)``."""
    need(len(args) == 1 and is_metric_class(args[0]), "makes metrics only")


def metric_state(instance: Any, state: Any) -> Any:
    """State of a metric: (p, vector, matrix)."""
    what = type(instance).__name__
    need(is_metric_class(type(instance)), "no metric")
    need(type(state) is tuple and len(state) == 3, f"the state of {what}")
    p, vector, matrix = state
    need(is_number(p), f"p of {what}")
    vector = exact_array(vector, "float64", (None,), f"the vector of {what}")
    matrix = exact_array(matrix, "float64", (None, None), f"the matrix of {what}")
    need(matrix.shape[0] == matrix.shape[1], f"the matrix of {what} is not square")
    np = numpy()
    return (float(p), np.array(vector, order="C"), np.array(matrix, order="C"))


def _check_metric(metric: Any, n_features: int, what: str) -> None:
    """Whether a metric's own vector or matrix fits the columns."""
    need(is_metric_class(type(metric)), f"the metric of {what}")
    p, vector, matrix = metric.__getstate__()[:3]
    name = type(metric).__name__
    if name.startswith("SEuclidean"):
        need(vector.shape[0] == n_features, f"the metric of {what}")
    elif name.startswith("Mahalanobis"):
        need(matrix.shape == (n_features, n_features), f"the metric of {what}")
    elif name.startswith("Minkowski"):
        need(vector.shape[0] in (0, n_features) and p > 0, f"the metric of {what}")
    elif name.startswith("Haversine"):
        need(n_features == 2, f"the metric of {what}")


# Neighbours


def is_binary_tree_class(value: Any) -> bool:
    for module in ("sklearn.neighbors._kd_tree", "sklearn.neighbors._ball_tree"):
        loaded = sys.modules.get(module)
        for name in ("KDTree", "KDTree64", "KDTree32", "BallTree", "BallTree64", "BallTree32"):
            if loaded is not None and value is getattr(loaded, name, None):
                return True
    return False


def binary_tree_new(args: Arguments) -> None:
    """``newObj(class)`` of sklearn.neighbors._kd_tree and ._ball_tree."""
    need(len(args) == 1 and is_binary_tree_class(args[0]), "makes KDTree and BallTree only")


_NODE_FIELDS = ("idx_start", "idx_end", "is_leaf", "radius")


def binary_tree_state(instance: Any, state: Any) -> Any:
    """State of a KDTree or BallTree: each node but a leaf has two children that share its points
    out, the root has all points."""
    what = type(instance).__name__
    need(is_binary_tree_class(type(instance)), f"{what} is no tree")
    need(type(state) is tuple and len(state) == 13, f"the state of {what}")
    np = numpy()
    dtype = "float32" if what.endswith("32") else "float64"
    data = exact_array(state[0], dtype, (None, None), f"data of {what}")
    n_samples, n_features = data.shape
    need(n_samples >= 1 and n_features >= 1, f"{what} is empty")
    indices = own(exact_array(state[1], "intp", (n_samples,), f"idx_array of {what}"))
    need(int(indices.min()) >= 0 and int(indices.max()) < n_samples, f"idx_array of {what}")
    leaf_size = integer(state[4], 1, MOST, f"leaf_size of {what}")
    n_levels = integer(state[5], 1, 40, f"n_levels of {what}")
    n_nodes = integer(state[6], 1, 1 << 40, f"n_nodes of {what}")
    need(n_nodes == (1 << n_levels) - 1, f"n_nodes of {what}")
    counters = [integer(count, -(1 << 31), MOST, f"a count of {what}") for count in state[7:11]]
    nodes = state[2]
    if (
        not is_array(nodes)
        or nodes.shape != (n_nodes,)
        or nodes.dtype.names != _NODE_FIELDS
        or any(nodes.dtype[name] != np.intp for name in _NODE_FIELDS[:3])
        or nodes.dtype["radius"].kind != "f"
    ):
        raise Refused(f"node_data of {what}")
    nodes = own(nodes)
    _check_ranges(nodes, n_samples, n_nodes, what)
    n_bounds = 1 if what.startswith("Ball") else 2
    bounds = exact_array(state[3], dtype, (n_bounds, n_nodes, n_features), f"bounds of {what}")
    _check_metric(state[11], n_features, what)
    weights = state[12]
    if weights is not None:
        weights = _array(weights, "fiu", (n_samples,), f"sample_weight of {what}")
    return (
        np.ascontiguousarray(data),
        np.ascontiguousarray(indices),
        np.ascontiguousarray(nodes),
        np.ascontiguousarray(bounds),
        leaf_size,
        n_levels,
        n_nodes,
        *counters,
        state[11],
        weights,
    )


def _check_ranges(nodes: Any, n_samples: int, n_nodes: int, what: str) -> None:
    np = numpy()
    start, end, leaf = (nodes[name] for name in _NODE_FIELDS[:3])
    need(int(start[0]) == 0 and int(end[0]) == n_samples, f"the root of {what} has not all points")
    # Level by level, those that are reached. A node above the last level may be a leaf.
    level = np.zeros(1, np.intp)
    while level.size:
        need(
            bool((start[level] >= 0).all())
            and bool((start[level] <= end[level]).all())
            and bool((end[level] <= n_samples).all()),
            f"a node of {what} has points that there are not",
        )
        inner = level[leaf[level] == 0]
        left, right = 2 * inner + 1, 2 * inner + 2
        if inner.size and int(right.max()) >= n_nodes:
            raise Refused(f"a node of {what} has children behind the last")
        need(
            bool((start[left] == start[inner]).all())
            and bool((end[left] == start[right]).all())
            and bool((end[right] == end[inner]).all()),
            f"the children of a node of {what} do not share its points out",
        )
        level = np.concatenate((left, right))


def _complete_tree(tree: Any, shape: tuple[int, ...] | None, what: str) -> None:
    need(is_binary_tree_class(type(tree)), f"the tree of {what}")
    state = tree.__getstate__()
    need(state[6] >= 1, f"the tree of {what} is not complete")
    need(shape is None or state[0].shape == shape, f"the tree of {what} has other points")


def _fitted_points(value: Any, what: str) -> tuple[int, int]:
    """Shape of the points that were fitted: an array or a CSR matrix."""
    if is_array(value) and value.ndim == 2 and value.dtype.kind in "biufO":
        return value.shape  # type: ignore[no-any-return]
    if _is(value, "scipy.sparse._csr", "csr_matrix", "csr_array"):
        need(_is_complete_csr(value), f"the points of {what} are not complete")
        return value.shape  # type: ignore[no-any-return]
    raise Refused(f"the points of {what}")


def _is_complete_csr(matrix: Any) -> bool:
    return all(name in matrix.__dict__ for name in ("_shape", "data", "indices", "indptr"))


def neighbors_state(instance: Any, state: Any) -> Any:
    """Estimators that keep the points they were fitted with: compiled searches give numbers of
    points, which others take for rows."""
    what = type(instance).__name__
    attributes = _attributes(instance, state)
    if "_fit_X" not in attributes:
        return attributes
    points = attributes["_fit_X"]
    shape = _fitted_points(points, what)
    n_samples = integer(attributes.get("n_samples_fit_"), 0, MOST, f"n_samples_fit_ of {what}")
    need(n_samples == shape[0], f"{what} has other points")
    need(_features(attributes, what) == shape[1], f"{what} has other features")
    tree = attributes.get("_tree")
    if tree is not None:
        _complete_tree(tree, shape, what)
    for name in ("effective_metric_params_", "metric_params"):
        if attributes.get(name) is not None:
            # Squared norms, if any are given, are taken to be one for each point.
            parameters = attributes[name] = dict(exact_dict(attributes[name], what))
            unknown = set(parameters) - {"p", "w", "V", "VI"}
            need(not unknown, f"a parameter of the metric of {what}")
    if "classes_" in attributes:
        _check_labels(attributes, shape[0], what)
    elif "_y" in attributes:
        targets = attributes["_y"]
        need(
            (is_array(targets) and targets.ndim >= 1 and targets.shape[0] == shape[0]),
            f"the targets of {what}",
        )
    return attributes


def _check_labels(attributes: Any, n_samples: int, what: str) -> None:
    """Labels are counted in tables that have as many places as there are classes."""
    labels = attributes.get("_y")
    if not is_array(labels) or labels.dtype.kind not in "iu" or labels.ndim not in (1, 2):
        raise Refused(f"the labels of {what}")
    need(labels.shape[0] == n_samples, f"{what} has not a label for each point")
    labels = attributes["_y"] = own(labels)
    classes = attributes["classes_"]
    columns = [labels] if labels.ndim == 1 else [labels[:, k] for k in range(labels.shape[1])]
    tables = [classes] if is_array(classes) else _list(classes, what)
    need(len(tables) == len(columns), f"the classes of {what}")
    for column, table in zip(columns, tables, strict=True):
        need(is_array(table) and table.ndim == 1, f"the classes of {what}")
        if column.size and not (int(column.min()) >= 0 and int(column.max()) < table.shape[0]):
            raise Refused(f"a label of {what} is of no class")


def kernel_density_state(instance: Any, state: Any) -> Any:
    attributes = _attributes(instance, state)
    if "tree_" in attributes:
        _complete_tree(attributes["tree_"], None, "KernelDensity")
    return attributes


# Support vector machines


def svm_state(instance: Any, state: Any) -> Any:
    """SVC, NuSVC, SVR, NuSVR, OneClassSVM: libsvm takes all lengths from a few of the arrays."""
    what = type(instance).__name__
    attributes = _attributes(instance, state)
    if "support_vectors_" not in attributes and "_dual_coef_" not in attributes:
        return attributes
    need("_impl" not in attributes and "_sparse_kernels" not in attributes, f"_impl of {what}")
    sparse = attributes.get("_sparse")
    need(type(sparse) is bool, f"_sparse of {what}")
    classifies = what in ("SVC", "NuSVC")
    counts = own(exact_array(attributes.get("_n_support"), "int32", (None,), "_n_support"))
    n_classes = counts.shape[0]
    need(n_classes >= 2 if classifies else n_classes == 2, f"_n_support of {what}")
    need(n_classes <= 1 << 15, f"_n_support of {what}")
    attributes["_n_support"] = counts
    pairs = n_classes * (n_classes - 1) // 2
    exact_array(attributes.get("_intercept_"), "float64", (pairs,), f"_intercept_ of {what}")
    lengths = set()
    for name in ("_probA", "_probB") if "_probA" in attributes else ("probA_", "probB_"):
        values = exact_array(attributes.get(name), "float64", (None,), f"{name} of {what}")
        lengths.add(values.shape[0])
    need(len(lengths) == 1 and lengths <= {0, pairs}, f"the probabilities of {what}")
    # Said to give probabilities, its sparse half copies as many as there are pairs.
    flags = [attributes.get(name) for name in ("_effective_probability", "probability")]
    gives = any(flag and not (type(flag) is str and flag == "deprecated") for flag in flags)
    need(not (sparse and gives) or lengths == {pairs}, f"the probabilities of {what}")
    kernel = attributes.get("kernel")
    shape = attributes.get("shape_fit_")
    need(type(shape) is tuple and 1 <= len(shape) <= 2, f"shape_fit_ of {what}")
    n_fitted = integer(shape[0], 0, MOST, f"shape_fit_ of {what}")
    if sparse:
        n_vectors = _sparse_vectors(attributes, kernel, n_classes, what)
    else:
        n_vectors = _dense_vectors(attributes, kernel, n_classes, n_fitted, what)
    # Where nothing is classified, libsvm does not look at them, nor fill them in each time.
    need(
        not classifies or (int(counts.min()) >= 0 and int(counts.sum()) == n_vectors),
        f"_n_support of {what} does not sum to its vectors",
    )
    return attributes


def _dense_vectors(attributes: Any, kernel: Any, n_classes: int, n_fitted: int, what: str) -> int:
    support = own(exact_array(attributes.get("support_"), "int32", (None,), "support_"))
    attributes["support_"] = support
    n_vectors = int(support.shape[0])
    need(n_vectors >= 1, f"{what} has no support vectors")
    need(int(support.min()) >= 0 and int(support.max()) < n_fitted, f"a support vector of {what}")
    exact_array(attributes.get("_dual_coef_"), "float64", (n_classes - 1, n_vectors), "_dual_coef_")
    vectors = exact_array(
        attributes.get("support_vectors_"), "float64", (None, None), "support_vectors_"
    )
    if type(kernel) is str and kernel != "precomputed":
        need(
            vectors.shape == (n_vectors, _features(attributes, what)),
            f"support_vectors_ of {what}",
        )
    return n_vectors


def _sparse_vectors(attributes: Any, kernel: Any, n_classes: int, what: str) -> int:
    need(type(kernel) is str and kernel != "precomputed", f"the kernel of {what}")
    matrices = []
    for name in ("support_vectors_", "_dual_coef_"):
        matrix = attributes.get(name)
        need(
            _is(matrix, "scipy.sparse._csr", "csr_matrix", "csr_array")
            and _is_complete_csr(matrix)
            and matrix.data.dtype == numpy().float64,
            f"{name} of {what}",
        )
        matrices.append(matrix)
    vectors, coefficients = matrices
    need(
        vectors.indices.dtype == vectors.indptr.dtype == numpy().int32,
        f"support_vectors_ of {what}",
    )
    n_vectors = int(vectors.shape[0])
    need(n_vectors >= 1, f"{what} has no support vectors")
    # Taken as if no entry were missing.
    need(
        coefficients.shape == (n_classes - 1, n_vectors)
        and coefficients.data.shape[0] == (n_classes - 1) * n_vectors,
        f"_dual_coef_ of {what}",
    )
    return n_vectors


# Clusters


def _check_centers(centers: Any, n_features: int, what: str) -> None:
    if (
        not is_array(centers)
        or centers.ndim != 2
        or centers.dtype.kind != "f"
        or centers.shape[0] < 1
        or centers.shape[1] != n_features
    ):
        raise Refused(f"the centers of {what}")


def kmeans_state(instance: Any, state: Any) -> Any:
    """KMeans, MiniBatchKMeans, BisectingKMeans: centers have as many columns as the input."""
    what = type(instance).__name__
    attributes = _attributes(instance, state)
    # OpenMP gets it as it is, and ends the process for a negative one.
    _threads(attributes, "_n_threads", what, 1)
    if "cluster_centers_" in attributes:
        n_features = _features(attributes, what)
        _check_centers(attributes["cluster_centers_"], n_features, what)
        if "_bisecting_tree" in attributes:
            _check_bisecting(attributes["_bisecting_tree"], n_features, what)
        if "_X_mean" in attributes:
            _array(attributes["_X_mean"], "f", (n_features,), f"_X_mean of {what}")
    return attributes


def _check_bisecting(root: Any, n_features: int, what: str) -> None:
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        need(
            _is(node, "sklearn.cluster._bisect_k_means", "_BisectingTree") and id(node) not in seen,
            f"the tree of {what}",
        )
        seen.add(id(node))
        fitted = node.__dict__
        _array(fitted.get("center"), "f", (n_features,), f"a center of {what}")
        children = [fitted.get(side) for side in ("left", "right")]
        if children[0] is not None or children[1] is not None:
            waiting.extend(children)


def birch_state(instance: Any, state: Any) -> Any:
    """Birch: as many squared norms as centers, which nobody compares."""
    what = "Birch"
    attributes = _attributes(instance, state)
    if "subcluster_centers_" in attributes or "_subcluster_norms" in attributes:
        centers = attributes.get("subcluster_centers_")
        _check_centers(centers, _features(attributes, what), what)
        _array(attributes.get("_subcluster_norms"), "f", (centers.shape[0],), f"norms of {what}")
        labels = attributes.get("subcluster_labels_")
        if labels is not None:
            _array(labels, "iu", (centers.shape[0],), f"labels of {what}")
    return attributes


def hdbscan_state(instance: Any, state: Any) -> Any:
    """HDBSCAN: its tree is cut again by ``dbscan_clustering``."""
    what = "HDBSCAN"
    attributes = _attributes(instance, state)
    tree = attributes.get("_single_linkage_tree_")
    if tree is None:
        return attributes
    if not is_array(tree) or tree.ndim != 1 or tree.dtype.names is None:
        raise Refused(f"the tree of {what}")
    need({"left_node", "right_node"} <= set(tree.dtype.names), f"the tree of {what}")
    tree = attributes["_single_linkage_tree_"] = own(tree)
    # Of n points there are n - 1 merges, each of two that were there before.
    points = tree.shape[0] + 1
    made = numpy().arange(tree.shape[0]) + points
    for name in ("left_node", "right_node"):
        column = tree[name]
        need(
            column.dtype.kind == "i" and bool((column >= 0).all()) and bool((column < made).all()),
            f"the tree of {what}",
        )
    return attributes


# Encoders and vectorizers: they make sparse matrices of the numbers that their tables give


def _own_table(table: Any, what: str) -> Any:
    """A dict whose values are numbers below its length."""
    if type(table) is not dict:
        raise Refused(f"the vocabulary of {what}")
    table = dict(table)
    count = len(table)
    for value in table.values():
        if type(value) is not int or not 0 <= value < count:
            integer(value, 0, count - 1, f"a number in the vocabulary of {what}")
    return table


def vocabulary_state(instance: Any, state: Any) -> Any:
    """CountVectorizer, TfidfVectorizer, DictVectorizer, MultiLabelBinarizer."""
    what = type(instance).__name__
    attributes = _attributes(instance, state)
    for name in ("vocabulary_", "_cached_dict"):
        if attributes.get(name) is not None:
            attributes[name] = _own_table(attributes[name], what)
    return attributes


def hasher_state(instance: Any, state: Any) -> Any:
    """FeatureHasher, HashingVectorizer: numbers are taken modulo n_features."""
    what = type(instance).__name__
    attributes = _attributes(instance, state)
    if "n_features" in attributes:
        integer(attributes["n_features"], 1, MOST, f"n_features of {what}")
    return attributes


def _category_count(categories: Any, what: str) -> int:
    """How many categories a column has. Numbers are looked for by halving, so that what is found
    is not beyond the last only where that is the largest."""
    if not is_array(categories) or categories.ndim != 1:
        raise Refused(f"the categories of {what}")
    kind = categories.dtype.kind
    count = int(categories.shape[0])
    if count == 0 or kind in "USMmb":
        return count
    last = categories[-1]
    if kind in "iuf":
        need(
            bool((categories[:-1] <= last).all()) or bool(last != last),
            f"the categories of {what} are not sorted",
        )
        return count
    need(kind == "O", f"the categories of {what}")
    if is_number(last) and last == last:
        for value in categories.tolist():
            need(not is_number(value) or value <= last, f"the categories of {what} are not sorted")
    return count


def one_hot_state(instance: Any, state: Any) -> Any:
    """OneHotEncoder: columns of its output are numbered by what it says of its categories."""
    what = "OneHotEncoder"
    attributes = _attributes(instance, state)
    if "categories_" not in attributes:
        return attributes
    np = numpy()
    categories = attributes["categories_"] = _list(attributes["categories_"], what)
    widths = [_category_count(column, what) for column in categories]
    enabled = attributes.get("_infrequent_enabled", False)
    need(type(enabled) in (bool, np.bool_), f"_infrequent_enabled of {what}")
    if enabled:
        rare = attributes["_infrequent_indices"] = _list(
            attributes.get("_infrequent_indices"), what
        )
        mappings = attributes["_default_to_infrequent_mappings"] = _list(
            attributes.get("_default_to_infrequent_mappings"), what
        )
        need(len(rare) == len(mappings) == len(widths), f"the infrequent categories of {what}")
        for i, (indices, mapping) in enumerate(zip(rare, mappings, strict=True)):
            need((indices is None) == (mapping is None), f"infrequent categories of {what}")
            if mapping is None:
                continue
            _array(mapping, "iu", (widths[i],), f"a mapping of {what}")
            _array(indices, "iu", (None,), f"infrequent categories of {what}")
            mappings[i] = mapping = own(mapping)
            kept = widths[i] - indices.shape[0] + 1
            need(
                indices.shape[0] >= 1
                and kept >= 1
                and int(mapping.min()) >= 0
                and int(mapping.max()) < kept,
                f"a mapping of {what}",
            )
            widths[i] = kept
    dropped = attributes.get("_drop_idx_after_grouping", attributes.get("drop_idx_"))
    if dropped is not None:
        need(
            is_array(dropped) and dropped.shape == (len(widths),) and dropped.dtype == object,
            f"what {what} drops",
        )
        dropped = dropped.copy()
        for i, number in enumerate(dropped.tolist()):
            if number is not None:
                integer(number, 0, widths[i] - 1, f"what {what} drops")
                widths[i] -= 1
        if "_drop_idx_after_grouping" in attributes:
            attributes["_drop_idx_after_grouping"] = dropped
        else:
            attributes["drop_idx_"] = dropped
    if "_n_features_outs" in attributes:
        outs = _list(attributes["_n_features_outs"], what)
        need(
            [integer(n, 0, MOST, f"a width of {what}") for n in outs] == widths,
            f"_n_features_outs of {what} is not what its categories say",
        )
        attributes["_n_features_outs"] = outs
    return attributes

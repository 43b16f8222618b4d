"""Rules that the tables need beside those of one library; and honest models, which pass all."""

import pickle
import types
import warnings

import numpy as np
import pytest
from fastpersist.policy import rules_small
from fastpersist.policy.rows import Refused
from table_unpickler import loads

pytestmark = pytest.mark.models
pytest.importorskip("sklearn")


class Model:
    def predict(self):
        pass

    @property
    def coef_(self):
        return 1


def refused(state, match=None, check=rules_small.model_state, instance=None):
    with pytest.raises(Refused, match=match):
        check(Model() if instance is None else instance, state)


def test_type_of_singletons_only():
    assert rules_small.type_of_singleton((None,)) is None
    for args in ((), (1,), (Model,), ("A", (), {}), (None, None)):
        with pytest.raises(Refused):
            rules_small.type_of_singleton(args)


# ---------------------------------------------------------------- arrays


@pytest.mark.parametrize(
    "array",
    [np.arange(3), np.zeros((2, 0)), np.array([None, "a"]), np.asfortranarray(np.ones((2, 3)))],
)
def test_states_of_arrays(array):
    state = array.__reduce__()[2]
    assert rules_small.array_state(None, state) is state


@pytest.mark.parametrize(
    "change",
    [
        {0: (1,)},
        {0: (-3,)},
        {0: [3]},
        {1: "f8"},
        {1: np.dtype("O")},
        {1: np.dtype([("a", "O")])},
        {3: [1, 2, 3]},
        {3: b"123"},
    ],
)
def test_states_of_no_arrays(change):
    state = list(np.arange(3).__reduce__()[2])
    for i, value in change.items():
        state[1 + i] = value
    refused(tuple(state), check=rules_small.array_state)


def test_too_few_items_of_an_object_array():
    _, _, dtype, order, _ = np.array([None, None]).__reduce__()[2]
    refused((1, (2,), dtype, order, [None]), "items", rules_small.array_state)


# ---------------------------------------------------------------- models


def test_a_state_is_a_dict():
    """What it may be named is the core's to look at: tests/build/test_restrict.py."""
    refused([], "no dict")
    assert rules_small.model_state(Model(), {"coef_": 2}) == {"coef_": 2}


def test_the_state_is_a_copy():
    state = {"a": 1}
    assert rules_small.model_state(Model(), state) is not state


@pytest.mark.parametrize(
    "function", [np.log1p, np.mean, np.float32, int, "sklearn.metrics:r2_score", None, "text"]
)
def test_functions_that_models_hold(function):
    if isinstance(function, str) and ":" in function:
        module, _, name = function.partition(":")
        function = getattr(pytest.importorskip(module), name)
    assert rules_small.model_state(Model(), {"func": function})["func"] is function


@pytest.mark.parametrize(
    "function",
    [
        np.ndarray,
        np.zeros(1).__reduce__()[0],
        np.vectorize,
        print,
        pickle.loads,
        type,
        len,
        types.SimpleNamespace,
        lambda: None,
        [].append,
        "".join,
        Model().predict,
        dict.fromkeys,
        str.format,
    ],
)
def test_functions_that_models_do_not_hold(function):
    refused({"func": function}, "func of Model")


def test_functions_that_cython_compiled():
    from sklearn.neighbors import _kd_tree

    refused({"func": _kd_tree.newObj}, "newObj")


def test_no_memory():
    assert rules_small.model_state(Model(), {"memory": None}) == {"memory": None}
    refused({"memory": "/tmp"}, "memory")


def test_texts_are_not_from_files():
    check = rules_small.text_state(lambda instance, state: state)
    assert check(Model(), {"input": "content"})
    refused({"input": "filename"}, "input", check)
    refused({"input": "file"}, "input", check)


def test_compiled_losses_with_numbers():
    from sklearn._loss import _loss

    check = rules_small.pyx_unpickle_numbers("sklearn._loss._loss", "CyHuberLoss", 1)
    assert check((_loss.CyHuberLoss, 5, (0.5,))) is None
    for args in (
        (_loss.CyHuberLoss, 5, ()),
        (_loss.CyHuberLoss, 5, ("a",)),
        (_loss.CyPinballLoss, 5, (0.5,)),
        (_loss.CyHuberLoss, 5),
    ):
        with pytest.raises(Refused):
            check(args)


def test_counts_are_as_many_as_centers():
    check = rules_small.centers_state(lambda instance, state: state)
    centers = np.zeros((3, 2))
    good = {"cluster_centers_": centers, "_counts": np.zeros(3)}
    assert check(Model(), good) is good
    refused({**good, "_counts": np.zeros(2)}, "counts", check)
    refused({"_counts": np.zeros(2)}, "counts", check)


# ---------------------------------------------------------------- distributions


def test_a_distribution_executes_nothing_of_the_file():
    stats = pytest.importorskip("scipy.stats")
    ran = []
    state = stats.loguniform.__getstate__()
    state["_parse_arg_template"] = "raise AssertionError"
    state["__doc__"] = ran
    known = rules_small.distribution_state(stats.loguniform, state)
    assert known["_parse_arg_template"] == stats.loguniform._parse_arg_template
    assert known["__doc__"] is not ran


def test_a_distribution_in_a_file_executes_nothing(capfd):
    stats = pytest.importorskip("scipy.stats")
    state = stats.norm.__getstate__()
    text = "import os\nos.write(1, b'executed')\n" + state["_parse_arg_template"]
    inner = pickle.dumps({**state, "_parse_arg_template": text}, 3)[2:-1]
    stream = b"\x80\x03cscipy.stats._continuous_distns\nnorm_gen\n)\x81" + inner + b"b."
    assert loads(stream).pdf(0) == stats.norm.pdf(0)
    assert capfd.readouterr().out == ""
    pickle.loads(stream)
    assert capfd.readouterr().out == "executed"


@pytest.mark.parametrize(
    "change", [{"name": "uniform"}, {"name": "norm"}, {"name": "np"}, {"numargs": 3}, {"a": []}]
)
def test_states_of_no_distribution(change):
    stats = pytest.importorskip("scipy.stats")
    state = {**stats.loguniform.__getstate__(), **change}
    refused(state, check=rules_small.distribution_state, instance=stats.loguniform)


def test_frozen_distributions():
    stats = pytest.importorskip("scipy.stats")
    frozen = stats.loguniform(0.1, 1)
    assert rules_small.frozen_state(frozen, dict(frozen.__dict__))
    for change in ({"dist": Model()}, {"args": [1]}, {"kwds": {"a": print}}, {"pdf": 1}):
        refused({**frozen.__dict__, **change}, check=rules_small.frozen_state, instance=frozen)


# ---------------------------------------------------------------- honest objects


def models():
    from sklearn import (
        cluster,
        ensemble,
        feature_extraction,
        gaussian_process,
        linear_model,
        model_selection,
        neighbors,
        pipeline,
        preprocessing,
        svm,
    )

    rng = np.random.default_rng(0)
    X, y = rng.random((40, 3)), np.arange(40) % 2
    logistic = linear_model.LogisticRegression()
    grid = model_selection.GridSearchCV(
        pipeline.make_pipeline(preprocessing.StandardScaler(), logistic),
        {"logisticregression__C": [1, 2]},
        cv=2,
        scoring="accuracy",
    )
    for model in (
        grid,
        cluster.MiniBatchKMeans(2, n_init=1),
        ensemble.RandomForestClassifier(3),
        ensemble.HistGradientBoostingClassifier(max_iter=2),
        ensemble.GradientBoostingClassifier(n_estimators=2),
        gaussian_process.GaussianProcessClassifier(),
        neighbors.KNeighborsClassifier(algorithm="kd_tree"),
        preprocessing.FunctionTransformer(np.log1p, np.expm1),
        svm.SVC(),
    ):
        yield model.fit(X, y), X
    texts = ["a text", "another one"]
    yield feature_extraction.text.CountVectorizer().fit(texts), texts


def dense(row):
    return row.toarray() if hasattr(row, "toarray") else row


def test_honest_models():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for model, data in models():
            for protocol in (2, 5):
                again = loads(pickle.dumps(model, protocol))
                method = "predict" if hasattr(model, "predict") else "transform"
                for answer, expected in zip(
                    getattr(again, method)(data), getattr(model, method)(data), strict=True
                ):
                    assert np.array_equal(dense(answer), dense(expected)), model


def test_a_distribution_is_loaded():
    stats = pytest.importorskip("scipy.stats")
    frozen = stats.loguniform(0.1, 1)
    for protocol in (2, 5):
        again = loads(pickle.dumps(frozen, protocol))
        assert again.args == (0.1, 1) and again.pdf(0.5) == frozen.pdf(0.5)


def test_honest_frames():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(
        {"a": [1, 2], "b": ["x", None], "c": pd.Categorical(["u", "v"]), "d": [1.5, None]},
        index=pd.date_range("2026-01-01", periods=2),
    )
    for protocol in (2, 5):
        pd.testing.assert_frame_equal(loads(pickle.dumps(frame, protocol)), frame)


@pytest.mark.parametrize("value", [{1: np.float32(2)}, {1j}, np.random.default_rng(0), b"\xff"])
def test_honest_values(value):
    for protocol in (0, 2, 5):
        assert repr(loads(pickle.dumps(value, protocol)))[:20] == repr(value)[:20]


def test_refused_values():
    for value in (print, Model(), np.vectorize(len), pickle.loads):
        with pytest.raises(Refused):
            loads(pickle.dumps(value))

"""Fitted models, frames, sparse matrices: dumped here, read by plain pickle and joblib elsewhere.

Everything of one kind is dumped into one directory, and one process that never imports fastpersist
reads it all, so the suite stays fast.
"""

import pickle
import time
import warnings

import fastpersist
import numpy as np
import pytest
from compare import assert_isomorphic
from helpers import run_python

pytestmark = pytest.mark.models

# Reads every file by pickle and by joblib and compares what the models say with what they said.
READ_ELSEWHERE = """
import glob, os, pickle, sys, warnings
import joblib
import numpy as np

# Of models that scikit-learn is about to drop.
warnings.filterwarnings("ignore", "Class .* is deprecated", FutureWarning)
directory = sys.argv[1]
with open(os.path.join(directory, "expected"), "rb") as file:
    expected = pickle.load(file)


def plain(x):
    if hasattr(x, "toarray"):
        return x.toarray()
    return x


def compare(name, got, wanted):
    assert type(got) is type(wanted), (name, type(got), type(wanted))
    got, wanted = plain(got), plain(wanted)
    if isinstance(wanted, (list, tuple)):
        assert len(got) == len(wanted), name
        for one, other in zip(got, wanted):
            compare(name, one, other)
    elif hasattr(wanted, "equals") and hasattr(wanted, "memory_usage"):
        assert got.equals(wanted), name
        assert str(getattr(got, "dtypes", "")) == str(getattr(wanted, "dtypes", "")), name
    elif isinstance(wanted, np.ndarray) and wanted.dtype.kind in "fc":
        assert got.dtype == wanted.dtype, name
        np.testing.assert_allclose(got, wanted, rtol=1e-6, atol=1e-9, err_msg=name)
    else:
        np.testing.assert_array_equal(got, wanted, err_msg=name)


def load_with_pickle(path):
    with open(path, "rb") as file:
        return pickle.load(file)


n = 0
for path in sorted(glob.glob(os.path.join(directory, "*.pkl"))):
    name = os.path.basename(path)[:-4]
    data, answers = expected.pop(name)
    for load in (load_with_pickle, joblib.load):
        model = load(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for method, answer in answers.items():
                value = model if method == "" else getattr(model, method)(data)
                compare(f"{name}.{method} by {load.__name__}", value, answer)
    n += 1
assert not expected, expected
assert not [name for name in sys.modules if name.startswith("fastpersist")]
print(n)
"""

ANSWERS = [
    "predict",
    "predict_proba",
    "decision_function",
    "transform",
    "score_samples",
    "apply",
    "kneighbors",
    "predict_log_proba",
]


def answers_of(model, data):
    answers = {}
    for method in ANSWERS:
        if hasattr(model, method):
            try:
                answers[method] = getattr(model, method)(data)
            except Exception:
                pass  # not for this data: the others will do
    return answers


def dump_all(values, directory):
    """values: name -> (object, data for its methods or None). Writes all and what to expect."""
    expected = {}
    for name, (value, data) in values.items():
        # First the answers: some models remember something about the last question.
        expected[name] = data, ({"": value} if data is None else answers_of(value, data))
        fastpersist.dump(value, directory / f"{name}.pkl")
    (directory / "expected").write_bytes(pickle.dumps(expected, 5))


def read_elsewhere(directory):
    return int(run_python(READ_ELSEWHERE, directory))


def assert_same_graphs(values, directory):
    """The graph itself is the one that pickle gives: types, order, identity."""
    for name, (value, _) in values.items():
        with open(directory / f"{name}.pkl", "rb") as file:
            got = pickle.load(file)
        try:
            assert_isomorphic(pickle.loads(pickle.dumps(value, 5)), got)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None


# ---------------------------------------------------------------- scikit-learn


def fitted_estimators():
    """Every estimator that scikit-learn's own helpers can make and that fits some data of ours."""
    pytest.importorskip("sklearn")
    from sklearn.base import clone
    from sklearn.datasets import make_blobs
    from sklearn.utils import all_estimators
    from sklearn.utils.estimator_checks import (
        _enforce_estimator_tags_X,
        _enforce_estimator_tags_y,
    )

    try:
        from sklearn.utils._test_common.instance_generator import _construct_instances
    except ImportError:  # before 1.6
        from sklearn.utils.estimator_checks import _construct_instance

        def _construct_instances(cls):
            return [_construct_instance(cls)]

    X, y = make_blobs(60, 5, centers=3, random_state=0)
    out, left_out = {}, {}
    for name, cls in all_estimators():
        try:
            model = clone(next(iter(_construct_instances(cls))))
            for parameter, value in (
                ("random_state", 0),
                ("n_jobs", 1),
                ("max_iter", 10),
                ("n_estimators", 5),
                ("n_iter", 2),
                ("verbose", 0),
            ):
                if parameter in model.get_params():
                    old = model.get_params()[parameter]
                    if old is None or not isinstance(old, (list, dict)):
                        model.set_params(**{parameter: value})
            data = _enforce_estimator_tags_X(model, X)
            target = _enforce_estimator_tags_y(model, y)
            model.fit(data, target)
        except Exception as error:
            left_out[name] = error
            continue
        out[name] = model, data
    return out, left_out


@pytest.fixture(scope="module")
def estimators():
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out = fitted_estimators()
    print(f"{len(out[0])} estimators in {time.perf_counter() - start:.1f} s")
    return out


def test_every_estimator(estimators, tmp_path):
    fitted, left_out = estimators
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dump_all(fitted, tmp_path)
        assert_same_graphs(fitted, tmp_path)
    n = read_elsewhere(tmp_path)
    assert n == len(fitted)
    assert n >= 190, f"{n} estimators; left out: {left_out}"


def test_dumping_leaves_estimators_alone(estimators):
    """A model gives the same answers, and the same pickle, after it was dumped."""
    for name in ("RandomForestClassifier", "LogisticRegression", "HistGradientBoostingRegressor"):
        model, data = estimators[0][name]
        before = pickle.dumps(model, 5), model.predict(data).tobytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fastpersist.dumps(model)
        assert (pickle.dumps(model, 5), model.predict(data).tobytes()) == before


@pytest.mark.night
def test_estimators_in_memory_give_pickles_bytes(estimators):
    """dumps of a model is pickle's, byte by byte."""
    n = 0
    for name, (model, _) in estimators[0].items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for protocol in (2, 5):
                expected = pickle.dumps(model, protocol)
                if expected != pickle.dumps(model, protocol):
                    continue  # has chance bytes of its own: the padding of structures
                assert fastpersist.dumps(model, protocol) == expected, name
                n += 1
    assert n > 350


def refused_by_the_policy(values, path):
    """Names of those that trusted=() refuses; the others come back as a plain load has them."""
    refused = {}
    for name, (value, _) in values.items():
        fastpersist.dump(value, path)
        try:
            for got in (
                fastpersist.load(path, trusted=()),
                fastpersist.loads(fastpersist.dumps(value, 2), trusted=()),
            ):
                plain = fastpersist.load(path)
                if hasattr(got, "equals"):  # what pandas keeps to compute less is not taken over
                    assert type(got) is type(plain) and got.equals(plain), name
                    assert str(getattr(got, "dtypes", "")) == str(getattr(plain, "dtypes", ""))
                elif fastpersist.dumps(got) != fastpersist.dumps(plain):
                    assert_isomorphic(plain, got)
        except fastpersist.UntrustedError as error:
            refused[name] = [each.name for each in error.names] or str(error)
            assert [each.name for each in fastpersist.inspect(path).untrusted] or error.reasons
    return refused


def test_every_estimator_under_the_policy(estimators, tmp_path):
    fitted, _ = estimators
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused = refused_by_the_policy(fitted, tmp_path / "model")
    n = len(fitted) - len(refused)
    assert n >= 0.95 * len(fitted) and n >= 190, f"{n} of {len(fitted)}; refused: {refused}"


# ---------------------------------------------------------------- pandas


def frames():
    pd = pytest.importorskip("pandas")
    n = 3000
    rng = np.random.default_rng(0)
    dates = pd.date_range("2026-01-01", periods=n, freq="h")
    numeric = pd.DataFrame(
        {
            "f8": rng.standard_normal(n),
            "f4": rng.standard_normal(n).astype("f4"),
            "i1": rng.integers(0, 5, n).astype("i1"),
            "u8": rng.integers(0, 5, n).astype("u8"),
            "bool": rng.integers(0, 2, n).astype(bool),
        }
    )
    text = pd.DataFrame({"s": [f"text {i % 100}" for i in range(n)], "n": ["é", None, "漢"] * 1000})
    mixed = pd.DataFrame({"a": [1, "two", None] * 1000, "b": [[i] for i in range(n)]})
    category = pd.DataFrame({"c": pd.Categorical(["x", "y", "z"] * 1000, ordered=True)})
    times = pd.DataFrame(
        {
            "naive": dates,
            "zone": dates.tz_localize("UTC"),
            "delta": dates - dates[0],
            "period": dates.to_period("D"),
        }
    )
    nullable = pd.DataFrame(
        {
            "Int64": pd.array([1, None, 3] * 1000, "Int64"),
            "boolean": pd.array([True, None, False] * 1000, "boolean"),
            "Float32": pd.array([1.5, None, 2.5] * 1000, "Float32"),
            "string": pd.array(["a", None, "c"] * 1000, "string"),
        }
    )
    levels = pd.MultiIndex.from_product([["a", "b"], range(1500)], names=["x", "y"])
    out = {
        "numeric": numeric,
        "text": text,
        "mixed": mixed,
        "category": category,
        "times": times,
        "nullable": nullable,
        "everything": pd.concat([numeric, text, category, times, nullable], axis=1),
        "multi_index": numeric.set_index(levels),
        "date_index": numeric.set_index(dates),
        "intervals": pd.DataFrame({"i": pd.cut(numeric["f8"], 5)}),
        "sliced": numeric.iloc[10:20, ::2],
        "transposed": numeric[["f8", "i1"]].T,
        "empty": numeric.iloc[:0],
        "no_columns": pd.DataFrame(index=range(5)),
        "sparse": pd.DataFrame({"s": pd.arrays.SparseArray([0, 0, 1] * 1000)}),
        "series": numeric["f8"],
        "series_text": text["s"],
        "index": pd.Index(["a", "b"]),
        "range_index": pd.RangeIndex(5),
        "foreign": pd.DataFrame(np.arange(6, dtype="f8").reshape(3, 2)),
    }
    return {name: (frame, None) for name, frame in out.items()}


def test_frames(tmp_path):
    values = frames()
    dump_all(values, tmp_path)
    assert read_elsewhere(tmp_path) == len(values) >= 20


def test_frames_under_the_policy(tmp_path):
    assert refused_by_the_policy(frames(), tmp_path / "frame") == {}


def test_frames_can_be_changed_after_loading(tmp_path):
    for name, (frame, _) in frames().items():
        if name in ("numeric", "date_index", "multi_index"):
            fastpersist.dump(frame, tmp_path / name)
            back = fastpersist.load(tmp_path / name)
            back["f8"] += 1
            back.iloc[0, 1] = 5
            assert back["f8"].iloc[2] == frame["f8"].iloc[2] + 1


# ---------------------------------------------------------------- scipy


def sparse_matrices():
    sparse = pytest.importorskip("scipy.sparse")
    dense = np.random.default_rng(0).integers(0, 4, (60, 80)) * 1.5
    dense[dense > 2] = 0
    out = {}
    for name in ("bsr", "coo", "csc", "csr", "dia", "dok", "lil"):
        for kind in ("matrix", "array"):
            cls = getattr(sparse, f"{name}_{kind}")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", sparse.SparseEfficiencyWarning)  # of DIA
                out[f"{name}_{kind}"] = cls(dense)
                out[f"{name}_{kind}_i1"] = cls((dense > 0).astype("i1"))
                out[f"{name}_{kind}_empty"] = cls((5, 7))
    large = sparse.random(2000, 2000, 0.01, "csr", random_state=0)
    out["large_csr"], out["large_csc"] = large, large.tocsc()
    return {name: (matrix, None) for name, matrix in out.items()}


def test_sparse_matrices(tmp_path):
    values = sparse_matrices()
    dump_all(values, tmp_path)
    assert_same_graphs(values, tmp_path)
    assert read_elsewhere(tmp_path) == len(values) == 44


def test_sparse_matrices_under_the_policy(tmp_path):
    assert refused_by_the_policy(sparse_matrices(), tmp_path / "matrix") == {}


def test_other_objects_of_scipy(tmp_path):
    pytest.importorskip("scipy")
    from scipy import interpolate, optimize, spatial, stats

    x = np.linspace(0, 1, 50)
    values = [
        spatial.cKDTree(np.random.default_rng(0).random((500, 3))),
        interpolate.CubicSpline(x, np.sin(x)),
        stats.norm(1, 2),
        optimize.OptimizeResult(x=x, success=True),
        spatial.ConvexHull(np.random.default_rng(0).random((30, 2))).vertices,
    ]
    fastpersist.dump(values, tmp_path / "file")
    tree, spline, norm, result, hull = pickle.loads((tmp_path / "file").read_bytes())
    assert tree.query([0.5, 0.5, 0.5])[1] == values[0].query([0.5, 0.5, 0.5])[1]
    assert (spline(x) == values[1](x)).all()
    assert norm.cdf(1.5) == values[2].cdf(1.5)
    assert result.success and (result.x == x).all() and (hull == values[4]).all()


# ---------------------------------------------------------------- boosters


@pytest.mark.boosters
def test_xgboost(tmp_path):
    xgboost = pytest.importorskip("xgboost")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 5))
    y = (X[:, 0] > 0).astype(int)
    booster = xgboost.train({"max_depth": 3}, xgboost.DMatrix(X, y), 5)
    values = {
        "classifier": (xgboost.XGBClassifier(n_estimators=10, n_jobs=1).fit(X, y), X),
        "regressor": (xgboost.XGBRegressor(n_estimators=10, n_jobs=1).fit(X, X[:, 1]), X),
        "ranker": (xgboost.XGBRFClassifier(n_estimators=5, n_jobs=1).fit(X, y), X),
    }
    dump_all(values, tmp_path)
    assert read_elsewhere(tmp_path) == 3
    fastpersist.dump(booster, tmp_path / "booster")
    back = pickle.loads((tmp_path / "booster").read_bytes())
    assert (back.predict(xgboost.DMatrix(X)) == booster.predict(xgboost.DMatrix(X))).all()


@pytest.mark.boosters
def test_lightgbm(tmp_path):
    lightgbm = pytest.importorskip("lightgbm")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 5))
    y = (X[:, 0] > 0).astype(int)
    keywords = {"n_estimators": 10, "n_jobs": 1, "verbose": -1}
    booster = lightgbm.train({"verbose": -1}, lightgbm.Dataset(X, y), 5)
    values = {
        "classifier": (lightgbm.LGBMClassifier(**keywords).fit(X, y), X),
        "regressor": (lightgbm.LGBMRegressor(**keywords).fit(X, X[:, 1]), X),
        "booster": (booster, X),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dump_all(values, tmp_path)
        assert read_elsewhere(tmp_path) == 3

"""The names that dumps of honest objects ask for: what the tables in fastpersist.policy are from.

usage: list_policy_candidates.py [--missing] [--json FILE] [--add FILE]... [--only TEXT]
                                 [--family NAME]...

Fits every estimator of the installed scikit-learn that fits small data of some kind, makes frames,
indexes and series of pandas, sparse matrices and interpolators of scipy, arrays, scalars and
generators of NumPy and values of the standard library, dumps each with `fastpersist.dump` and with
pickle's protocols 2 and 5, and lists each name that `fastpersist.inspect` finds: how it is used,
how many objects use it and which one does first. Then: how many there were, and which could not be
made.

--missing  only names that the tables have no row for, or none for that use, and that they do not
           leave out on purpose (LEFT_OUT); exits with 1 if any
--json     writes what was found into FILE as well; --add reads such a file in addition, so that one
           table shows several installations
--only     only objects whose name has TEXT in it
--family   only those of python, numpy, sparse, scipy, pandas or sklearn

It says what picklers write, not what is safe: each row of the tables was looked at by hand.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import enum
import fractions
import importlib
import importlib.util
import io
import json
import os
import pathlib
import pickle
import platform
import sys
import uuid
import warnings

# Data as small as ours is done sooner by one thread: before anything imports NumPy.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import fastpersist  # noqa: E402

TABLES = ("python", "numpy_", "scipy_", "sklearn_", "pandas_", "joblib_", "torch_")
LIBRARIES = ("numpy", "scipy", "sklearn", "pandas", "joblib")
CALL, NEW, BUILD = 1, 2, 4
# Left out of the tables, which say why.
LEFT_OUT = """
    builtins.getattr dateutil.relativedelta. enum.Enum functools.partial numpy._core._internal.
    numpy.char. numpy.chararray numpy.poly1d numpy.rec. numpy.recarray numpy.record numpy.vectorize
    pandas.DateOffset pandas._libs.tslibs.offsets.Custom pandas._libs.tslibs.offsets.DateOffset
    pandas._libs.tslibs.offsets.FY5253 pytz. scipy.interpolate._bary_rational.
    scipy.interpolate._fitpack2. scipy.interpolate._interpnd. scipy.interpolate.interpnd.
    scipy.interpolate._interpolate.NdPPoly scipy.interpolate._ndbspline.
    scipy.interpolate._ndgriddata. scipy.interpolate._polyint. scipy.interpolate._rbf
    scipy.interpolate._rgi. scipy.optimize. scipy.signal. scipy.spatial.
    scipy.stats._discrete_distns. scipy.stats._distn_infrastructure.rv_discrete_frozen
    scipy.stats._kde. scipy.stats._stats_ types.SimpleNamespace zoneinfo.
""".split()
USES = {"called": CALL, "class": NEW, "built": BUILD, "argument": 0}
# Nothing that takes long, whatever an estimator's defaults are.
SMALL = {
    "random_state": 0,
    "n_jobs": 1,
    "max_iter": 10,
    "n_estimators": 5,
    "n_iter": 2,
    "verbose": 0,
}


class Failed:
    """An object that could not be made."""

    def __init__(self, error):
        self.error = error


def made(make):
    try:
        return make()
    except Exception as error:
        return Failed(error)


# ---------------------------------------------------------------- the standard library


def standard():
    yield "datetime", datetime.datetime(2026, 1, 2, 3, 4, 5, 6, datetime.UTC)
    yield "timezone", datetime.timezone(datetime.timedelta(hours=1), "name")
    yield "date", [datetime.date(2026, 1, 2), datetime.time(3, 4), datetime.timedelta(5)]
    yield "decimal", [decimal.Decimal("1.5"), fractions.Fraction(1, 3)]
    yield "uuid", uuid.UUID(int=5)
    yield (
        "collections",
        [
            collections.OrderedDict(a=1),
            collections.Counter("abca"),
            collections.deque([1, 2], 5),
            *(
                collections.defaultdict(f, {1: f()})
                for f in (int, float, str, list, dict, set, bool)
            ),
            collections.defaultdict(None),
            collections.defaultdict(tuple),
        ],
    )
    yield "sets", [{1, 2}, frozenset({3}), bytearray(b"abc"), b"abc", bytearray()]
    yield "numbers", [1j, range(3), slice(1, 2), 2**100, Ellipsis, NotImplemented]
    yield "paths", [pathlib.PurePosixPath("a/b"), pathlib.PureWindowsPath("a"), pathlib.Path("a")]
    yield "types", [int, float, str, list, dict, object, type(None), type(...), enum.Enum]
    yield "simple namespace", __import__("types").SimpleNamespace(a=1)


# ---------------------------------------------------------------- NumPy


def arrays():
    import numpy as np

    record = np.dtype([("a", "f8"), ("b", "i4", (2,))])
    yield "array", [np.arange(3, dtype=code) for code in "?bBhHiIlLqQefdgFDG" if code != "?"]
    yield "bool array", np.array([True, False])
    yield "big-endian array", np.arange(3, dtype=">f4")
    yield "fortran array", np.asfortranarray(np.ones((3, 4)))
    yield "strided array", np.arange(20)[::2]
    yield "empty array", np.empty((0, 3))
    yield "text arrays", [np.array(["a", "bc"]), np.array([b"a"]), np.array(5)]
    yield "datetime arrays", np.array(["2026-01-01", "NaT"], "M8[ns]")
    yield "timedelta arrays", np.array([1, 2], "m8[3s]")
    yield "record array", np.zeros(3, record)
    yield "recarray", np.zeros(3, record).view(np.recarray)
    yield "object array", np.array([None, "a", {"b": 1}], object)
    yield "chararray", np.char.array(["a", "b"])
    yield "matrix", np.asmatrix([[1.0, 2.0]])
    yield "masked array", np.ma.array([1.0, 2.0], mask=[True, False])
    yield "masked constant", np.ma.masked
    yield "masked record", np.ma.array(np.zeros(2, record), mask=[(0, 1), (1, 0)])
    for code in "?bBhHiIlLqQefdgFDG":
        yield f"scalar {code}", np.dtype(code).type(1)
    yield "other scalars", [np.str_("a"), np.bytes_(b"a"), np.datetime64("2026"), np.timedelta64(1)]
    yield "record scalar", np.zeros(1, record)[0]
    yield "dtypes", [np.dtype(c) for c in ("f8", "O", "S3", "U3", "M8[ns]", ">i2", "V5", record)]
    yield "dtype classes", [type(np.dtype(c)) for c in "?bBhHiIlLqQefdgFDGSUVOMm"]
    yield "scalar classes", [np.dtype(c).type for c in "?bBhHiIlLqQefdgFDGSUVOMm"]
    yield "abstract classes", [np.generic, np.number, np.integer, np.floating, np.inexact]
    if hasattr(np.dtypes, "StringDType"):
        yield "strings", made(lambda: np.array(["a", "bc"], np.dtypes.StringDType()))
    yield "ufuncs", [np.log, np.log1p, np.exp, np.expm1, np.sqrt, np.abs, np.add, np.tanh]
    yield "functions", [np.mean, np.median, np.sum, np.max, np.min, np.std, np.nanmean]
    yield "polynomial", np.polynomial.Polynomial([1.0, 2.0])
    yield "poly1d", np.poly1d([1.0, 2.0])
    for name in ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"):
        bits = getattr(np.random, name)(5)
        yield f"bit generator {name}", bits
        yield f"generator of {name}", np.random.Generator(bits)
    yield "random state", np.random.RandomState(5)
    yield "random state of PCG64", np.random.RandomState(np.random.PCG64(5))
    yield "seed sequence", np.random.SeedSequence(5).spawn(1)[0]


# ---------------------------------------------------------------- scipy


def sparse():
    import numpy as np
    import scipy.sparse as sp

    data = np.array([[0, 1.0, 0], [2.0, 0, 3.0]])
    for form in ("bsr", "coo", "csc", "csr", "dia", "dok", "lil"):
        for kind in ("matrix", "array"):
            make = getattr(sp, f"{form}_{kind}")
            yield f"{form}_{kind}", made(lambda make=make: make(data))
    yield "coo_array of one dimension", made(lambda: sp.coo_array(np.array([1.0, 0, 2])))
    yield "csr_array of one dimension", made(lambda: sp.csr_array(np.array([1.0, 0, 2])))
    yield "dok_array of one dimension", made(lambda: sp.dok_array(np.array([1.0, 0, 2])))


def interpolators():
    import numpy as np
    import scipy.interpolate as si
    import scipy.spatial as ss
    import scipy.stats as st

    x = np.linspace(0, 3, 12)
    y = np.sin(x)
    grid = y[:, None] * y
    points = np.random.default_rng(0).random((20, 2))
    makers = {
        "interp1d": lambda: si.interp1d(x, y),
        "interp1d cubic": lambda: si.interp1d(x, y, "cubic"),
        "interp1d nearest": lambda: si.interp1d(x, y, "nearest", fill_value="extrapolate"),
        "interp1d previous": lambda: si.interp1d(x, y, "previous", bounds_error=False),
        "BSpline": lambda: si.make_interp_spline(x, y),
        "CubicSpline": lambda: si.CubicSpline(x, y),
        "PchipInterpolator": lambda: si.PchipInterpolator(x, y),
        "Akima1DInterpolator": lambda: si.Akima1DInterpolator(x, y),
        "PPoly": lambda: si.PPoly(np.ones((2, 11)), x),
        "BPoly": lambda: si.BPoly(np.ones((2, 11)), x),
        "NdPPoly": lambda: si.NdPPoly(np.ones((2, 11)), (x,)),
        "NdBSpline": lambda: si.NdBSpline((np.r_[0, 0, 0, 0, 1, 1, 1, 1.0],), np.ones(4), 3),
        "UnivariateSpline": lambda: si.UnivariateSpline(x, y),
        "InterpolatedUnivariateSpline": lambda: si.InterpolatedUnivariateSpline(x, y),
        "LSQUnivariateSpline": lambda: si.LSQUnivariateSpline(x, y, x[3:9:3]),
        "RectBivariateSpline": lambda: si.RectBivariateSpline(x, x, grid),
        "SmoothBivariateSpline": lambda: si.SmoothBivariateSpline(*points.T, points[:, 0], s=1),
        "RegularGridInterpolator": lambda: si.RegularGridInterpolator((x, x), grid),
        "RegularGrid cubic": lambda: si.RegularGridInterpolator((x, x), grid, "cubic"),
        "LinearNDInterpolator": lambda: si.LinearNDInterpolator(points, points[:, 0]),
        "NearestNDInterpolator": lambda: si.NearestNDInterpolator(points, points[:, 0]),
        "CloughTocher2DInterpolator": lambda: si.CloughTocher2DInterpolator(points, points[:, 0]),
        "RBFInterpolator": lambda: si.RBFInterpolator(points, points[:, 0]),
        "Rbf": lambda: si.Rbf(*points.T, points[:, 0]),
        "BarycentricInterpolator": lambda: si.BarycentricInterpolator(x, y),
        "KroghInterpolator": lambda: si.KroghInterpolator(x, y),
        "AAA": lambda: si.AAA(x, y),
        "cKDTree": lambda: ss.cKDTree(points),
        "KDTree": lambda: ss.KDTree(points),
        "Rotation": lambda: ss.transform.Rotation.from_euler("x", 1.0),
        "Delaunay": lambda: ss.Delaunay(points),
        "norm": lambda: st.norm(1, 2),
        "uniform": lambda: st.uniform(0, 1),
        "loguniform": lambda: st.loguniform(0.1, 1),
        "randint": lambda: st.randint(1, 5),
        "gaussian_kde": lambda: st.gaussian_kde(points.T),
        "linregress": lambda: st.linregress(x, y),
        "OptimizeResult": lambda: importlib.import_module("scipy.optimize").minimize(
            lambda v: float(v @ v), [1.0]
        ),
        "LinearConstraint": lambda: importlib.import_module("scipy.optimize").Bounds([0], [1]),
        "lti": lambda: importlib.import_module("scipy.signal").lti([1.0], [1.0, 2.0]),
        "special functions": lambda: [
            getattr(importlib.import_module("scipy.special"), name) for name in ("expit", "logit")
        ],
    }
    for name, make in makers.items():
        yield name, made(make)


# ---------------------------------------------------------------- pandas


def frames():
    import numpy as np
    import pandas as pd

    dates = pd.date_range("2026-01-01", periods=4, freq="h")
    makers = {
        "numbers": lambda: pd.DataFrame({c: np.arange(4, dtype=c) for c in "bBhHiIlLqQfd"}),
        "bool": lambda: pd.DataFrame({"a": [True, False]}),
        "complex": lambda: pd.DataFrame({"a": [1j, 2.0]}),
        "text": lambda: pd.DataFrame({"a": ["x", None, "y"]}, index=list("abc")),
        "objects": lambda: pd.DataFrame({"a": [1, "x", None, [2]]}),
        "object dtype": lambda: pd.DataFrame({"a": ["x", "y"]}, dtype=object),
        "categories": lambda: pd.DataFrame({"a": pd.Categorical(list("xyx"), ordered=True)}),
        "categories of numbers": lambda: pd.Series([1, 2, 1], dtype="category"),
        "datetimes": lambda: pd.DataFrame({"a": dates}),
        "datetimes of a zone": lambda: pd.DataFrame({"a": dates.tz_localize("UTC")}),
        "zone": lambda: pd.Series(dates.tz_localize("Europe/Berlin")),
        "offset zone": lambda: pd.Series(
            dates.tz_localize(datetime.timezone(datetime.timedelta(hours=1)))
        ),
        "timedeltas": lambda: pd.DataFrame({"a": dates - dates[0]}),
        "periods": lambda: pd.DataFrame({"a": dates.to_period("D")}),
        "intervals": lambda: pd.DataFrame({"a": pd.interval_range(0, 4)}),
        "sparse": lambda: pd.DataFrame({"a": pd.arrays.SparseArray([0, 0, 1.0])}),
        "sparse blocks": lambda: pd.Series(pd.arrays.SparseArray([0, 1], kind="block")),
        "series": lambda: pd.Series([1.0, 2.0], name="n"),
        "series of zone": lambda: pd.Series(dates.tz_localize("UTC"), name="n"),
        "attrs": lambda: pd.Series([1.0]).rename("x"),
        "Index": lambda: pd.Index(["a", "b"], name="n"),
        "Index of objects": lambda: pd.Index(["a", 1], dtype=object),
        "Index of numbers": lambda: [pd.Index([1, 2]), pd.Index([1.5]), pd.Index([1], dtype="u1")],
        "Index of extension": lambda: pd.Index(pd.array([1, None], "Int64")),
        "RangeIndex": lambda: pd.RangeIndex(5),
        "MultiIndex": lambda: pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["x", "y"]),
        "DatetimeIndex": lambda: dates,
        "DatetimeIndex of days": lambda: pd.date_range("2026", periods=3, freq="D"),
        "DatetimeIndex of zone": lambda: dates.tz_localize("UTC"),
        "TimedeltaIndex": lambda: dates - dates[0],
        "PeriodIndex": lambda: dates.to_period("M"),
        "IntervalIndex": lambda: pd.interval_range(0, 4),
        "CategoricalIndex": lambda: pd.CategoricalIndex(list("xyx")),
        "columns of levels": lambda: pd.DataFrame(
            np.ones((2, 4)), columns=pd.MultiIndex.from_product([["a", "b"], [1, 2]])
        ),
        "Timestamp": lambda: pd.Timestamp("2026-01-01"),
        "Timestamp of zone": lambda: pd.Timestamp("2026-01-01", tz="UTC"),
        "Timedelta": lambda: pd.Timedelta("1h"),
        "Period": lambda: pd.Period("2026-01", "M"),
        "Interval": lambda: pd.Interval(0, 1),
        "NaT, NA": lambda: [pd.NaT, pd.NA],
        "Categorical": lambda: pd.Categorical(["a", None]),
        "dtypes": lambda: [
            pd.CategoricalDtype(["a"]),
            pd.DatetimeTZDtype("ns", "UTC"),
            pd.PeriodDtype("M"),
            pd.IntervalDtype("int64"),
            pd.SparseDtype("float"),
            pd.StringDtype(),
            pd.StringDtype("python"),
            pd.Int64Dtype(),
            pd.BooleanDtype(),
        ],
        "flags": lambda: pd.DataFrame({"a": [1]}).set_flags(allows_duplicate_labels=False),
        "groupby": lambda: pd.DataFrame({"a": [1, 1], "b": [1, 2]}).groupby("a").sum(),
        "NumpyExtensionArray": lambda: pd.arrays.NumpyExtensionArray(np.array([1, 2])),
    }
    for code in (
        *(f"{sign}nt{bits}" for sign in ("I", "UI") for bits in (8, 16, 32, 64)),
        *("Float32", "Float64", "boolean", "string", "string[python]", "str"),
        *("string[pyarrow]", "int64[pyarrow]"),
    ):
        values = ["a", None] if "str" in code else [True, None] if code == "boolean" else [1, None]
        makers[f"{code} array"] = lambda v=values, code=code: pd.array(v, code)
        makers[f"{code} frame"] = lambda v=values, code=code: pd.DataFrame({"a": pd.array(v, code)})
    offsets = importlib.import_module("pandas.tseries.offsets")
    for name in offsets.__all__:
        if name not in ("BaseOffset", "DateOffset", "Tick"):
            makers[f"offset {name}"] = lambda name=name: getattr(offsets, name)()
    makers["offset DateOffset"] = lambda: offsets.DateOffset(months=2)
    for name, make in makers.items():
        yield name, made(make)


# ---------------------------------------------------------------- scikit-learn


def instances(cls):
    """What scikit-learn's own checks would make of the class: several of some."""
    try:
        from sklearn.utils._test_common.instance_generator import _construct_instances
    except ImportError:  # before 1.6
        from sklearn.utils.estimator_checks import _construct_instance

        return [_construct_instance(cls)]
    return list(_construct_instances(cls))


def smaller(model):
    parameters = model.get_params(deep=False)
    for name, value in SMALL.items():
        old = parameters.get(name)
        number = isinstance(old, (int, float)) and not isinstance(old, bool)
        if name in parameters and (old is None or number):
            model.set_params(**{name: value})
    return model


def data_sets():
    """(X, y) of several kinds: what an estimator is fitted on is the first that does."""
    import numpy as np

    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(c, 0.5, (20, 4)) for c in (0, 3, 6)])
    y = np.repeat([0, 1, 2], 20)
    number = X @ [1.0, 2, 3, 4] + rng.normal(size=60)
    texts = ["one two three", "two three four", "three four five"] * 20
    yield X, y
    yield X, number
    yield np.abs(X) + 0.1, np.abs(number) + 0.1
    yield X, np.stack([y % 2, y // 2], 1)
    yield X, np.stack([number, -number], 1)
    yield X[:, 0], number
    yield texts, y
    yield [{"a": 1.0, "b": text} for text in texts], y
    yield (np.abs(X) * 2).astype(int), y
    yield X @ X.T, y
    yield y, None
    yield [list("abc"), list("ad")] * 30, None
    yield (X > 3).astype(float), y % 2


def fitted(model):
    from sklearn.base import clone

    first = None
    for X, y in data_sets():
        for target in (y, None):
            try:
                one = clone(model)
                one.fit(X, target) if target is not None else one.fit(X)
            except Exception as error:
                first = first or error
            else:
                return one
    return Failed(first)


def special_models():
    """Estimators with parameters that bring names of their own."""
    import numpy as np
    from sklearn import (
        calibration,
        cluster,
        compose,
        decomposition,
        dummy,
        ensemble,
        feature_extraction,
        feature_selection,
        gaussian_process,
        impute,
        kernel_approximation,
        linear_model,
        manifold,
        metrics,
        mixture,
        model_selection,
        multiclass,
        multioutput,
        neighbors,
        neural_network,
        pipeline,
        preprocessing,
        svm,
        tree,
    )
    from sklearn.experimental import (  # noqa: F401
        enable_halving_search_cv,
        enable_iterative_imputer,
    )
    from sklearn.gaussian_process import kernels as k

    logistic = linear_model.LogisticRegression
    grid = {"C": [0.1, 1.0]}
    scaler = preprocessing.StandardScaler
    kernels = {
        "RBF": k.RBF(),
        "Matern": k.Matern(),
        "product": k.ConstantKernel() * k.RBF() + k.WhiteKernel(),
        "RationalQuadratic": k.RationalQuadratic(),
        "ExpSineSquared": k.ExpSineSquared(),
        "DotProduct": k.DotProduct() ** 2,
        "Pairwise": k.PairwiseKernel(metric="rbf"),
    }
    for name, kernel in kernels.items():
        yield gaussian_process.GaussianProcessRegressor(kernel, optimizer=None), name
        yield gaussian_process.GaussianProcessClassifier(kernel, optimizer=None), name
    yield k.CompoundKernel([k.RBF(), k.Matern()]), "itself"
    for searcher in ("GridSearchCV", "HalvingGridSearchCV"):
        make = getattr(model_selection, searcher)
        yield make(logistic(), grid), ""
        yield make(pipeline.make_pipeline(scaler(), logistic()), {"logisticregression__C": [1]}), ""
        yield make(tree.DecisionTreeRegressor(), {"max_depth": [1, 2]}, scoring="r2"), "r2"
    for name in metrics.get_scorer_names():
        yield metrics.get_scorer(name), f"scorer {name}"
    import scipy.stats

    for distribution in (scipy.stats.uniform(0.1, 1), scipy.stats.loguniform(0.1, 1)):
        for searcher in ("RandomizedSearchCV", "HalvingRandomSearchCV"):
            make = getattr(model_selection, searcher)
            yield make(logistic(), {"C": distribution}, random_state=0), "distribution"
    for name in model_selection.__all__:
        cls = getattr(model_selection, name)
        if isinstance(cls, type) and hasattr(cls, "split") and name != "BaseShuffleSplit":
            for arguments in ((), (2,), ([0, 1, 0, 1],)):
                splitter = made(lambda cls=cls, arguments=arguments: cls(*arguments))
                if not isinstance(splitter, Failed):
                    yield splitter, "itself"
                    if "Group" not in name and name != "PredefinedSplit":
                        yield model_selection.GridSearchCV(logistic(), grid, cv=splitter), name
                    break
    yield compose.ColumnTransformer([("a", scaler(), [0, 1])], remainder="passthrough"), ""
    yield (
        compose.ColumnTransformer(
            [("a", scaler(), slice(0, 2)), ("b", preprocessing.OneHotEncoder(), [2])]
        ),
        "slice",
    )
    yield compose.make_column_selector("a"), "itself"
    yield compose.ColumnTransformer([("a", scaler(), [0])], remainder=scaler()), "rest"
    yield pipeline.FeatureUnion([("a", scaler()), ("b", decomposition.PCA(2))]), ""
    yield pipeline.make_pipeline(scaler(), feature_selection.SelectKBest(k=2), logistic()), ""
    yield pipeline.make_pipeline(feature_extraction.text.TfidfVectorizer(), logistic()), "text"
    functions = [np.log1p, np.expm1, np.sqrt, np.log, np.exp, np.abs, np.sin, np.cos, np.square]
    for function in functions:
        yield preprocessing.FunctionTransformer(function), function.__name__
    yield preprocessing.FunctionTransformer(np.log1p, np.expm1), "log1p, expm1"
    for name in ("f_classif", "f_regression", "chi2", "mutual_info_classif", "r_regression"):
        function = getattr(feature_selection, name)
        yield feature_selection.SelectKBest(function, k=2), name
        yield feature_selection.GenericUnivariateSelect(function, mode="k_best", param=2), name
    yield feature_selection.SelectKBest(feature_selection.mutual_info_regression, k=2), "regression"
    for metric in ("minkowski", "euclidean", "manhattan", "chebyshev", "cosine"):
        for algorithm in ("brute",) if metric == "cosine" else ("kd_tree", "ball_tree", "brute"):
            for cls in (neighbors.KNeighborsClassifier, neighbors.KNeighborsRegressor):
                yield cls(algorithm=algorithm, metric=metric), f"{algorithm} {metric}"
    for metric in neighbors.VALID_METRICS["ball_tree"]:
        if metric in ("haversine", "mahalanobis", "pyfunc", "seuclidean"):
            continue
        p = {"p": 3} if metric in ("minkowski", "p", "wminkowski") else {}
        yield neighbors.NearestNeighbors(algorithm="ball_tree", metric=metric, **p), metric
    yield (
        neighbors.NearestNeighbors(
            algorithm="ball_tree", metric="seuclidean", metric_params={"V": np.ones(4)}
        ),
        "seuclidean",
    )
    yield (
        neighbors.NearestNeighbors(
            algorithm="ball_tree", metric="mahalanobis", metric_params={"VI": np.eye(4)}
        ),
        "mahalanobis",
    )
    yield neighbors.KNeighborsClassifier(metric=metrics.pairwise.cosine_distances), "function"
    yield neighbors.KNeighborsClassifier(weights="distance"), "distance"
    for dtype in ("float32", "float64"):
        yield Unchanged(neighbors.NearestNeighbors(algorithm="kd_tree"), dtype=dtype), dtype
        yield Unchanged(neighbors.NearestNeighbors(algorithm="ball_tree"), dtype=dtype), dtype
        yield Unchanged(neighbors.NearestNeighbors(algorithm="brute"), dtype=dtype), dtype
    boosted = ensemble.HistGradientBoostingRegressor
    for loss in ("squared_error", "absolute_error", "gamma", "poisson", "quantile"):
        yield boosted(loss=loss, quantile=0.5, max_iter=3, early_stopping=True), loss
    yield (
        ensemble.HistGradientBoostingClassifier(max_iter=3, categorical_features=[0]),
        "categories",
    )
    yield ensemble.HistGradientBoostingClassifier(max_iter=3, scoring="accuracy"), "scoring"
    for loss in ("squared_error", "absolute_error", "huber", "quantile"):
        yield ensemble.GradientBoostingRegressor(loss=loss, n_estimators=3), loss
    for loss in ("log_loss", "exponential"):
        yield ensemble.GradientBoostingClassifier(loss=loss, n_estimators=3), loss
    yield ensemble.GradientBoostingClassifier(init="zero", n_estimators=3), "zero"
    yield ensemble.RandomForestClassifier(5, oob_score=True, criterion="entropy"), "entropy"
    yield ensemble.RandomForestRegressor(5, criterion="poisson"), "poisson"
    yield ensemble.BaggingClassifier(logistic(), 3), "logistic"
    yield ensemble.VotingClassifier([("a", logistic()), ("b", svm.SVC())]), ""
    yield ensemble.StackingClassifier([("a", logistic()), ("b", svm.SVC())]), ""
    for loss in (
        *("hinge", "log_loss", "modified_huber", "squared_hinge", "perceptron", "squared_error"),
        *("huber", "epsilon_insensitive", "squared_epsilon_insensitive"),
    ):
        yield linear_model.SGDClassifier(loss=loss), loss
        if loss in ("squared_error", "huber") or "epsilon" in loss:
            yield linear_model.SGDRegressor(loss=loss), loss
    yield linear_model.SGDOneClassSVM(), ""
    for cls in ("TweedieRegressor", "PoissonRegressor", "GammaRegressor"):
        for power in (0, 1, 1.5, 2, 3):
            made_of = {"power": power} if cls == "TweedieRegressor" else {}
            yield getattr(linear_model, cls)(**made_of), str(power)
    for solver in ("lbfgs", "adam", "sgd"):
        yield neural_network.MLPClassifier(solver=solver, max_iter=5), solver
        yield neural_network.MLPRegressor(solver=solver, max_iter=5, early_stopping=True), solver
    for method in ("sigmoid", "isotonic", "temperature"):
        yield calibration.CalibratedClassifierCV(logistic(), method=method), method
    for kernel in ("linear", "rbf", "poly", "sigmoid"):
        yield svm.SVC(kernel=kernel, probability=True), kernel
    yield svm.SVC(kernel=metrics.pairwise.linear_kernel), "function"
    yield kernel_approximation.Nystroem(kernel="polynomial", degree=2), "polynomial"
    for strategy in ("mean", "median", "constant"):
        yield impute.SimpleImputer(strategy=strategy, add_indicator=True), strategy
        yield dummy.DummyRegressor(strategy=strategy, constant=1.0), strategy
    yield impute.IterativeImputer(max_iter=2), ""
    yield impute.IterativeImputer(ensemble.RandomForestRegressor(3), max_iter=1), "forest"
    yield preprocessing.OneHotEncoder(dtype=np.float32), "float32"
    yield preprocessing.OneHotEncoder(dtype=int, handle_unknown="ignore"), "int"
    yield preprocessing.OrdinalEncoder(dtype="int32"), "int32"
    yield preprocessing.SplineTransformer(), ""
    yield preprocessing.SplineTransformer(extrapolation="periodic"), "periodic"
    yield preprocessing.PolynomialFeatures(3), ""
    yield preprocessing.KBinsDiscretizer(3, encode="ordinal"), ""
    yield scaler().set_output(transform="default"), "set_output"
    yield made(lambda: scaler().set_output(transform="pandas")), "pandas"
    for cls in ("CountVectorizer", "TfidfVectorizer", "HashingVectorizer"):
        make = getattr(feature_extraction.text, cls)
        yield make(), "text"
        yield make(analyzer="char", stop_words=["a"], ngram_range=(1, 2)), "text"
    yield cluster.AgglomerativeClustering(3, linkage="single"), ""
    yield cluster.FeatureAgglomeration(2, pooling_func=np.median), "median"
    yield cluster.Birch(n_clusters=cluster.KMeans(2, n_init=1)), "KMeans"
    yield cluster.BisectingKMeans(3), ""
    if hasattr(cluster, "HDBSCAN"):
        yield cluster.HDBSCAN(store_centers="both"), ""
    yield mixture.BayesianGaussianMixture(n_components=2, max_iter=2), ""
    for cls in (multiclass.OneVsRestClassifier, multiclass.OneVsOneClassifier):
        yield cls(logistic()), ""
    yield multiclass.OutputCodeClassifier(logistic()), ""
    yield multioutput.ClassifierChain(logistic(), order=[0, 1]), ""
    yield multioutput.RegressorChain(linear_model.Ridge(), order=[0, 1]), ""
    yield decomposition.SparseCoder(np.eye(4)), ""
    yield Unchanged(manifold.TSNE(perplexity=5, init="random")), ""
    yield Unchanged(neighbors.NearestNeighbors(algorithm="ball_tree", metric="haversine"), 2), ""
    if importlib.util.find_spec("sklearn.frozen"):
        from sklearn.frozen import FrozenEstimator

        yield FrozenEstimator(logistic().fit([[0.0], [1.0]], [0, 1])), "itself"
    yield compose.TransformedTargetRegressor(func=np.log1p, inverse_func=np.expm1), "log1p"
    yield compose.TransformedTargetRegressor(linear_model.Ridge(), transformer=scaler()), "scaler"
    yield linear_model.LogisticRegressionCV(Cs=2, cv=2, scoring="accuracy"), "scoring"
    yield linear_model.RidgeCV(store_cv_results=True), "results"
    yield linear_model.RANSACRegressor(linear_model.LinearRegression()), ""
    yield feature_selection.RFECV(logistic(), cv=2), ""
    yield feature_selection.SequentialFeatureSelector(logistic(), cv=2), ""


class Unchanged:
    """An estimator to be fitted as it is, on so many columns of numbers of a dtype."""

    def __init__(self, model, n_columns=4, dtype="float64"):
        self.model, self.n_columns, self.dtype = model, n_columns, dtype

    def fitted(self):
        X, y = next(data_sets())
        return self.model.fit(X[:, : self.n_columns].astype(self.dtype), y)


def estimators():
    import sklearn
    from sklearn.utils import all_estimators

    for name, cls in all_estimators():
        several = made(lambda cls=cls: instances(cls))
        if isinstance(several, Failed):
            several = [made(cls)]
        for i, model in enumerate(several):
            label = f"{name}" if i == 0 else f"{name} ({i})"
            if isinstance(model, Failed):
                yield label, model
                continue
            result = made(lambda model=model: fitted(smaller(model)))
            if isinstance(result, Failed) and i == 0:
                result = made(lambda cls=cls: fitted(smaller(cls())))
            yield label, result
    models = special_models()
    while True:
        try:
            model, label = next(models)
        except StopIteration:
            break
        except Exception as error:
            yield "special models", Failed(error)
            break
        kind = model.model if isinstance(model, Unchanged) else model
        name = f"{type(kind).__name__} {label or 'special'}"
        if isinstance(model, Failed):
            yield name, model
        elif isinstance(model, Unchanged):
            yield name, made(model.fitted)
        elif label == "itself" or not hasattr(model, "fit"):
            yield name, model
        else:
            yield name, made(lambda model=model: fitted(smaller(model)))
    with sklearn.config_context(enable_metadata_routing=True):
        yield "metadata routing", made(routed)


def routed():
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.preprocessing import StandardScaler

    model = LogisticRegression().set_fit_request(sample_weight=True)
    search = GridSearchCV(model, {"C": [1.0]})
    X, y = next(data_sets())
    return [search.fit(X, y), StandardScaler().set_fit_request(sample_weight=False)]


# ---------------------------------------------------------------- the names

FAMILIES = {
    "python": standard,
    "numpy": arrays,
    "sparse": sparse,
    "scipy": interpolators,
    "pandas": frames,
    "sklearn": estimators,
}


def streams(value):
    file = io.BytesIO()
    fastpersist.dump(value, file)
    yield file.getvalue()
    for protocol in (2, 5):
        yield pickle.dumps(value, protocol)


def names_of(value):
    """{(module, name): uses} of all three pickles."""
    out = {}
    for stream in streams(value):
        for one in fastpersist.inspect(io.BytesIO(stream)).globals:
            uses = out.setdefault((one.module, one.name), set())
            counts = (one.n_called, one.n_class, one.n_built, one.n_argument)
            uses |= {use for use, n in zip(USES, counts, strict=True) if n}
            uses |= {one.use}
    return out


class Found:
    """Names, and what they were found in."""

    def __init__(self):
        self.names = {}
        self.made, self.failed = {}, {}
        self.versions = {}

    def add(self, key, uses, objects, versions):
        row = self.names.setdefault(key, (set(), {}, set()))
        row[0].update(uses)
        row[1].update(dict.fromkeys(objects))
        row[2].update(versions)

    def look(self, only, families):
        version = self.versions.get("sklearn", "")
        for family in families:
            made_ones = self.made.setdefault(family, [])
            failed = self.failed.setdefault(family, {})
            try:
                for name, value in FAMILIES[family]():
                    if only and only not in name:
                        continue
                    found = (
                        value if isinstance(value, Failed) else made(lambda v=value: names_of(v))
                    )
                    if isinstance(found, Failed):
                        failed[name] = f"{type(found.error).__name__}: {found.error}"[:200]
                        continue
                    made_ones.append(name)
                    for key, uses in found.items():
                        self.add(key, uses, [f"{family}: {name}"], [version])
            except ImportError as error:
                failed["all"] = str(error)

    def save(self, path):
        rows = [
            [*key, sorted(uses), list(objects), sorted(versions)]
            for key, (uses, objects, versions) in self.names.items()
        ]
        content = {
            "versions": self.versions,
            "made": self.made,
            "failed": self.failed,
            "names": rows,
        }
        pathlib.Path(path).write_text(json.dumps(content, indent=1))

    def read(self, path):
        for module, name, *rest in json.loads(pathlib.Path(path).read_text())["names"]:
            self.add((module, name), *rest)


def installed():
    out = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            out[name] = importlib.import_module(name).__version__
        except ImportError:
            pass
    return out


def approved():
    """{(module, name): sum of uses} of all tables."""
    out = {}
    for table in TABLES:
        for row in importlib.import_module(f"fastpersist.policy.{table}").ROWS:
            out[row.module, row.name] = row.use
    return out


def lacking(uses, row):
    """Which uses the row does not have."""
    if row is None:
        return sorted(uses)
    return sorted(use for use in uses if USES[use] & ~row)


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--missing", action="store_true")
    parser.add_argument("--json")
    parser.add_argument("--add", action="append", default=[])
    parser.add_argument("--only", default="")
    parser.add_argument("--family", action="append", choices=FAMILIES)
    options = parser.parse_args(arguments)
    found = Found()
    found.versions = installed()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found.look(options.only, options.family or FAMILIES)
    for path in options.add:
        found.read(path)
    if options.json:
        found.save(options.json)
    table = approved() if options.missing else {}
    n = 0
    for (module, name), (uses, objects, versions) in sorted(found.names.items(), key=str):
        show = lacking(uses, table.get((module, name))) if options.missing else sorted(uses)
        if options.missing and f"{module}.{name}".startswith(tuple(LEFT_OUT)):
            continue
        if show:
            n += 1
            first = next(iter(objects))
            print(f"{module}\t{name}\t{','.join(show)}\t{len(objects)}\t{first}\t", end="")
            print(",".join(sorted(versions)))
    print(f"{n} names {'missing' if options.missing else ''}; {found.versions}")
    for family, failed in found.failed.items():
        print(f"{family}: {len(found.made[family])} objects, {len(failed)} could not be made")
        for name, error in failed.items():
            print(f"    {name}: {error}")
    if "sklearn" in found.made:
        fitted_ones = [name for name in found.made["sklearn"] if " " not in name]
        print(f"estimators of all_estimators() that were fitted: {len(fitted_ones)}")
    return 1 if options.missing and n else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

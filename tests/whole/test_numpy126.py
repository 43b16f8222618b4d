"""Files written under NumPy 2 are read under NumPy 1.26, with warnings as errors.

The older NumPy lives in an environment of its own: that of FASTPERSIST_NUMPY126_PYTHON, or one
that is made once inside the environment that runs the tests.
"""

import fcntl
import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys

import array_values
import fastpersist
import numpy as np
import pytest
from helpers import run_python

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not array_values.NUMPY_2, reason="this writer is not NumPy 2"),
]

# What names modules or classes that NumPy 1.26 does not have: NumPy's own limits, not the file's.


def installed(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def requirements():
    """NumPy 1.26, and the very versions of what else the file names."""
    out = ["numpy==1.26.4"]
    for name in ("scipy", "scikit-learn", "joblib"):
        if (version := installed(name)) is not None:
            out.append(f"{name}=={version}")
    return out


@pytest.fixture(scope="module")
def old_python():
    if given := os.environ.get("FASTPERSIST_NUMPY126_PYTHON"):
        return given
    if sys.version_info >= (3, 13):
        pytest.skip("NumPy 1.26 has no wheels for this Python")
    if sys.prefix == sys.base_prefix:
        pytest.skip("not in a virtual environment: set FASTPERSIST_NUMPY126_PYTHON")
    directory = pathlib.Path(sys.prefix) / "numpy126"
    python = directory / "bin" / "python"
    stamp = directory / ("made-with-" + "-".join(requirements()).replace("==", "-"))
    with open(directory.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        if not stamp.exists():
            shutil.rmtree(directory, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", directory], check=True)
            install = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
            install += ["--only-binary=:all:"]
            done = subprocess.run([*install, *requirements()], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"cannot install NumPy 1.26 here: {done.stderr.strip()[-300:]}")
            stamp.touch()
    return str(python)


READ_ARRAYS = """
import pickle, sys, warnings
import numpy as np
assert np.__version__.startswith("1.26")
import array_values
from compare import assert_isomorphic
with warnings.catch_warnings():
    warnings.simplefilter("error")
    with open(sys.argv[1], "rb") as file:
        got = pickle.load(file)
warnings.simplefilter("ignore")
values = array_values.everything()
n = 0
for name, value in got.items():
    try:
        assert_isomorphic(array_values.as_loaded(values[name]()), value)
    except AssertionError as error:
        raise AssertionError(f"{name}: {error}") from None
    n += 1
assert not [name for name in sys.modules if name.startswith("fastpersist")]
print(n)
"""


@pytest.mark.filterwarnings("ignore:the matrix subclass is not:PendingDeprecationWarning")
def test_arrays_and_scalars(old_python, tmp_path):
    values = {
        n: build
        for n, build in array_values.everything().items()
        if n not in array_values.NOT_IN_NUMPY_126
    }
    fastpersist.dump({name: build() for name, build in values.items()}, tmp_path / "arrays")
    n = int(run_python(READ_ARRAYS, tmp_path / "arrays", python=old_python))
    assert n == len(values) > 450


READ_MODELS = """
import pickle, sys, warnings
import numpy as np
assert np.__version__.startswith("1.26")
with warnings.catch_warnings():
    warnings.simplefilter("error")
    with open(sys.argv[1], "rb") as file:
        matrices, models, X = pickle.load(file)
answers = np.load(sys.argv[2])
for name, matrix in matrices.items():
    np.testing.assert_array_equal(matrix.toarray(), answers[name], err_msg=name)
for name, model in models.items():
    for method in ("predict", "transform"):
        if hasattr(model, method):
            got = getattr(model, method)(X)
            np.testing.assert_allclose(got, answers[f"{name}.{method}"], rtol=1e-7, err_msg=name)
print(len(matrices) + len(models))
"""


@pytest.mark.models
def test_sparse_matrices_and_linear_models(old_python, tmp_path):
    sparse = pytest.importorskip("scipy.sparse")
    linear_model = pytest.importorskip("sklearn.linear_model")
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 6))
    y = X @ np.arange(6.0)
    dense = np.where(X > 0.5, X, 0)[:30]
    matrices = {
        f"{name}_{kind}": getattr(sparse, f"{name}_{kind}")(dense)
        for name in ("bsr", "coo", "csc", "csr", "dok", "lil")
        for kind in ("matrix", "array")
    }
    models = {
        "linear": linear_model.LinearRegression().fit(X, y),
        "ridge": linear_model.Ridge().fit(X, y),
        "lasso": linear_model.Lasso(0.1).fit(X, y),
        "logistic": linear_model.LogisticRegression().fit(X, y > 0),
        "pipeline": make_pipeline(StandardScaler(), linear_model.Ridge()).fit(X, y),
        "scaler": StandardScaler().fit(X),
    }
    fastpersist.dump([matrices, models, X], tmp_path / "models")
    answers = {name: matrix.toarray() for name, matrix in matrices.items()}
    for name, model in models.items():
        for method in ("predict", "transform"):
            if hasattr(model, method):
                answers[f"{name}.{method}"] = getattr(model, method)(X)
    np.savez(tmp_path / "answers.npz", **answers)
    n = run_python(READ_MODELS, tmp_path / "models", tmp_path / "answers.npz", python=old_python)
    assert int(n) == len(matrices) + len(models)

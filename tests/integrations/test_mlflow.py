"""The flavour of MLflow, with a file store of this machine."""

import pathlib
import sys

import fastpersist
import mlflow
import numpy as np
import pytest
import sklearn
import yaml
from documented import code_of
from fastpersist.integrations import mlflow as fastpersist_mlflow
from mlflow.exceptions import MlflowException
from sklearn.linear_model import LinearRegression, LogisticRegression

pytestmark = pytest.mark.filterwarnings("ignore:::mlflow", "ignore:::pydantic")


@pytest.fixture(autouse=True)
def tracking(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"file://{tmp_path}/store")
    yield
    mlflow.set_tracking_uri(before)


X = np.random.default_rng(0).random((400, 60))
Y = X @ np.arange(60.0)


@pytest.fixture
def model():
    return LinearRegression().fit(X, Y)


def test_a_saved_model_is_loaded_in_every_way(model, tmp_path):
    path = tmp_path / "model"
    fastpersist_mlflow.save_model(model, path)
    assert (fastpersist_mlflow.load_model(str(path)).coef_ == model.coef_).all()
    assert (fastpersist_mlflow.load_model(str(path), trusted=()).coef_ == model.coef_).all()
    mapped = fastpersist_mlflow.load_model(str(path), mmap_mode="r")
    assert isinstance(mapped.coef_, np.memmap)
    assert np.allclose(mlflow.pyfunc.load_model(str(path)).predict(X), Y)
    assert (fastpersist.load(path / "model.pkl").coef_ == model.coef_).all()


def test_a_logged_model(model):
    with mlflow.start_run():
        info = fastpersist_mlflow.log_model(
            model, name="linear", input_example=X[:2], metadata={"kind": "test"}, compress=3
        )
    assert set(info.flavors) == {"fastpersist", "python_function"}
    assert info.metadata == {"kind": "test"}
    assert (fastpersist_mlflow.load_model(info.model_uri).coef_ == model.coef_).all()
    found = mlflow.pyfunc.load_model(info.model_uri)
    assert np.allclose(found.predict(X), Y)
    assert isinstance(found.get_raw_model(), type(model))


def test_another_method_for_pyfunc(tmp_path):
    model = LogisticRegression().fit(X, Y > Y.mean())
    fastpersist_mlflow.save_model(model, tmp_path / "m", pyfunc_predict_fn="predict_proba")
    found = mlflow.pyfunc.load_model(str(tmp_path / "m")).predict(X)
    assert np.array_equal(found, model.predict_proba(X))


def test_what_cannot_predict_is_no_pyfunc(tmp_path):
    fastpersist_mlflow.save_model({"a": [1]}, tmp_path / "m")
    assert fastpersist_mlflow.load_model(str(tmp_path / "m"), trusted=()) == {"a": [1]}
    flavors = yaml.safe_load((tmp_path / "m" / "MLmodel").read_text())["flavors"]
    assert set(flavors) == {"fastpersist"}


def test_requirements_are_those_that_the_file_names(model, tmp_path):
    fastpersist_mlflow.save_model(model, tmp_path / "m")
    lines = (tmp_path / "m" / "requirements.txt").read_text().split("\n")
    assert f"scikit-learn=={sklearn.__version__}" in lines
    assert f"fastpersist=={fastpersist.__version__}" in lines
    assert any(line.startswith("mlflow") for line in lines)
    assert not any(line.startswith(("torch", "pandas", "pytest")) for line in lines)
    fastpersist_mlflow.save_model(model, tmp_path / "n", pip_requirements=["numpy"])
    assert "scikit-learn" not in (tmp_path / "n" / "requirements.txt").read_text()


def test_the_models_own_file_grants_nothing(tmp_path):
    path = tmp_path / "m"
    fastpersist_mlflow.save_model([pathlib.PurePosixPath, print], path)
    conf = yaml.safe_load((path / "MLmodel").read_text())
    conf["flavors"]["fastpersist"] |= {
        "trusted": ["builtins.print"],
        "mmap_mode": "r+",
        "data": "../other",
        "code": "code",
    }
    (path / "code").mkdir()
    (path / "code" / "numpy.py").write_text("raise SystemExit")
    (path / "MLmodel").write_text(yaml.safe_dump(conf))
    before = list(sys.path)
    with pytest.raises(fastpersist.UntrustedError, match="print"):
        fastpersist_mlflow.load_model(str(path), trusted=())
    assert sys.path == before


def test_code_that_comes_with_a_model(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "own_code_of_a_model.py").write_text("class Own: pass\n")
    sys.path.insert(0, str(tmp_path / "source"))
    try:
        import own_code_of_a_model as own

        fastpersist_mlflow.save_model(own.Own(), tmp_path / "m", code_paths=[own.__file__])
    finally:
        sys.path.remove(str(tmp_path / "source"))
        del sys.modules["own_code_of_a_model"]
    before = list(sys.path)
    try:
        found = fastpersist_mlflow.load_model(str(tmp_path / "m"))
    finally:
        sys.path[:] = before
        sys.modules.pop("own_code_of_a_model", None)
    assert type(found).__name__ == "Own"


def test_failures(model, tmp_path):
    with pytest.raises((MlflowException, OSError)):
        fastpersist_mlflow.load_model(str(tmp_path / "none"))
    fastpersist_mlflow.save_model(model, tmp_path / "m")
    with pytest.raises(MlflowException, match="empty"):
        fastpersist_mlflow.save_model(model, tmp_path / "m")
    data = bytearray((tmp_path / "m" / "model.pkl").read_bytes())
    data[200] ^= 1
    (tmp_path / "m" / "model.pkl").write_bytes(data)
    with pytest.raises(fastpersist.CorruptFileError):
        fastpersist_mlflow.load_model(str(tmp_path / "m"))
    mlflow.sklearn.save_model(model, tmp_path / "other", serialization_format="pickle")
    with pytest.raises(MlflowException, match="no flavour"):
        fastpersist_mlflow.load_model(str(tmp_path / "other"))


def test_the_example_of_the_page():
    exec(compile(code_of("mlflow.md"), "mlflow.md", "exec"), {})

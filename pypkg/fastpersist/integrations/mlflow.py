"""A flavour for MLflow: models as files of fastpersist.

    from fastpersist.integrations import mlflow as fastpersist_mlflow

    with mlflow.start_run():
        info = fastpersist_mlflow.log_model(model, name="forest")
    model = fastpersist_mlflow.load_model(info.model_uri, mmap_mode="r")

What a load may call, and whether it maps, are arguments of `load_model`, and never come from the
model's own ``MLmodel`` file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

import fastpersist

try:
    import mlflow
    import yaml
    from mlflow import pyfunc
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model
    from mlflow.models.utils import _save_example
    from mlflow.utils.environment import (
        _process_conda_env,
        _process_pip_requirements,
        _PythonEnv,
        _validate_env_arguments,
    )
    from mlflow.utils.model_utils import (
        _add_code_from_conf_to_system_path,
        _validate_and_copy_code_paths,
        _validate_and_prepare_target_save_path,
    )
except ImportError as error:
    raise ImportError(
        "fastpersist.integrations.mlflow needs the package mlflow: "
        "pip install 'fastpersist[mlflow]'",
        name=error.name,
    ) from error

__all__ = ["load_model", "log_model", "save_model"]

FLAVOR_NAME = "fastpersist"

_DATA = "model.pkl"  # never another name because MLmodel says so
_CONDA, _PYTHON = "conda.yaml", "python_env.yaml"


def save_model(
    model: Any,
    path: str | os.PathLike[str],
    *,
    compress: Any = 0,
    mlflow_model: Any = None,
    code_paths: list[str] | None = None,
    signature: Any = None,
    input_example: Any = None,
    conda_env: Any = None,
    pip_requirements: Any = None,
    extra_pip_requirements: Any = None,
    pyfunc_predict_fn: str = "predict",
    metadata: dict[str, Any] | None = None,
) -> None:
    """Save a model as a directory of MLflow's.

    Parameters
    ----------
    model
        Any object that pickle can handle. Where it has the method `pyfunc_predict_fn`, the
        directory has the flavour "python_function", too.
    path : str or os.PathLike of str
        A directory that does not exist, or is empty.
    compress
        As in `fastpersist.dump`. What is compressed cannot be mapped.
    mlflow_model : mlflow.models.Model, optional
        To which the flavour is added.
    code_paths, signature, input_example, conda_env, metadata
        As in ``mlflow.sklearn.save_model``.
    pip_requirements, extra_pip_requirements
        As there. By default the packages that the file itself names, with their versions, and
        fastpersist: nothing is imported or run to find them.
    pyfunc_predict_fn : str
        The method that ``mlflow.pyfunc`` calls.

    Raises
    ------
    mlflow.exceptions.MlflowException
        The directory is not empty, or arguments contradict each other.
    pickle.PicklingError
        The model, or something in it, cannot be pickled.

    Examples
    --------
    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "model")
    >>> save_model({"coef": [1.0, 2.0]}, path)
    >>> load_model(path, trusted=())
    {'coef': [1.0, 2.0]}
    """
    path = os.fspath(path)
    _validate_env_arguments(conda_env, pip_requirements, extra_pip_requirements)
    _validate_and_prepare_target_save_path(path)
    code = _validate_and_copy_code_paths(code_paths, path)
    data = os.path.join(path, _DATA)
    fastpersist.dump(model, data, compress=compress)

    mlflow_model = Model() if mlflow_model is None else mlflow_model
    if signature is not None and signature is not False:
        mlflow_model.signature = signature
    if input_example is not None:
        _save_example(mlflow_model, input_example, path)
    if metadata is not None:
        mlflow_model.metadata = metadata
    if hasattr(model, pyfunc_predict_fn):
        pyfunc.add_to_model(
            mlflow_model,
            loader_module=__name__,
            data=_DATA,
            code=code,
            conda_env=_CONDA,
            python_env=_PYTHON,
            predict_fn=pyfunc_predict_fn,
        )
    mlflow_model.add_flavor(FLAVOR_NAME, fastpersist_version=fastpersist.__version__, code=code)
    mlflow_model.save(os.path.join(path, "MLmodel"))
    _save_environment(path, data, conda_env, pip_requirements, extra_pip_requirements)


def _save_environment(
    path: str, data: str, conda_env: Any, pip_requirements: Any, extra_pip_requirements: Any
) -> None:
    if conda_env is not None:
        conda_env, requirements, constraints = _process_conda_env(conda_env)
    else:
        default = None if pip_requirements is not None else _requirements(data)
        conda_env, requirements, constraints = _process_pip_requirements(
            default, pip_requirements, extra_pip_requirements
        )
    with open(os.path.join(path, _CONDA), "w", encoding="utf-8") as file:
        yaml.safe_dump(conda_env, stream=file, default_flow_style=False)
    for name, lines in (("requirements.txt", requirements), ("constraints.txt", constraints)):
        if lines:
            with open(os.path.join(path, name), "w", encoding="utf-8") as file:
                file.write("\n".join(lines))
    _PythonEnv.current().to_yaml(os.path.join(path, _PYTHON))


def _requirements(data: str) -> list[str]:
    """What the file names, exactly: MLflow would import the model to find out."""
    named = fastpersist.inspect(data).requirements()
    own = f"fastpersist=={fastpersist.__version__}"
    return [own, *(line for line in named if "==" in line)]  # no version: code of the model's own


def log_model(model: Any, name: str | None = None, **arguments: Any) -> Any:
    """Log a model to the current run.

    Parameters
    ----------
    model
        As in `save_model`.
    name : str, optional
        Of the model.
    **arguments
        What `save_model` takes, and what ``mlflow.models.Model.log`` does
        (``registered_model_name``, ``params``, ``tags``, ``step`` and so on).

    Returns
    -------
    mlflow.models.model.ModelInfo
        Its ``model_uri`` is what `load_model` takes.

    Raises
    ------
    mlflow.exceptions.MlflowException, pickle.PicklingError
        As in `save_model`.

    Examples
    --------
    >>> with mlflow.start_run():  # doctest: +SKIP
    ...     info = log_model(forest, name="forest")
    """
    flavor = sys.modules[__name__]
    arguments.setdefault("artifact_path", None)
    return Model.log(flavor=flavor, model=model, name=name, **arguments)


def load_model(
    model_uri: str,
    dst_path: str | None = None,
    *,
    mmap_mode: str | None = None,
    trusted: Iterable[Any] | None = None,
    **arguments: Any,
) -> Any:
    """Load a model that was saved or logged.

    Parameters
    ----------
    model_uri : str
        A directory, ``runs:/...``, ``models:/...``, or what else MLflow knows.
    dst_path : str, optional
        An existing directory to which files are downloaded.
    mmap_mode, trusted
        As in `fastpersist.load`. With `trusted` the model's own code (``code_paths``) is left
        out of ``sys.path``, where it could stand for an approved module.
    **arguments
        Others of `fastpersist.load`.

    Returns
    -------
    object
        The model.

    Raises
    ------
    mlflow.exceptions.MlflowException
        There is no such model, or it has no flavour "fastpersist".
    fastpersist.UntrustedError, fastpersist.CorruptFileError
        As in `fastpersist.load`.

    Examples
    --------
    >>> model = load_model("models:/forest/3", trusted=())  # doctest: +SKIP
    """
    path = mlflow.artifacts.download_artifacts(artifact_uri=str(model_uri), dst_path=dst_path)
    flavors = Model.load(path).flavors
    if FLAVOR_NAME not in flavors:
        raise MlflowException(
            f'{model_uri!r} has no flavour "{FLAVOR_NAME}", but {sorted(flavors)}'
        )
    if trusted is None:
        _add_code_from_conf_to_system_path(path, flavors[FLAVOR_NAME])
    data = os.path.join(path, _DATA)
    return fastpersist.load(data, mmap_mode, trusted=trusted, **arguments)


# ---------------------------------------------------------------- pyfunc


def _load_pyfunc(path: str) -> Any:
    """What ``mlflow.pyfunc.load_model`` calls, which has no arguments for us: a plain load."""
    directory = os.path.dirname(path)
    conf = Model.load(directory).flavors[pyfunc.FLAVOR_NAME]
    return _Predicting(fastpersist.load(path), conf.get("predict_fn", "predict"))


class _Predicting:
    """A model with the one method that MLflow calls."""

    def __init__(self, model: Any, name: str) -> None:
        self._model, self._name = model, name
        setattr(self, name, self.predict)  # MLflow asks for it by its name

    def get_raw_model(self) -> Any:
        return self._model

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        return getattr(self._model, self._name)(data)

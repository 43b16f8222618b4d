"""Tests are there where the packages are that they need: no skips where those are not."""

import importlib.util

_NEEDS = {
    "test_remote.py": ("fsspec",),
    "test_s3.py": ("s3fs", "moto", "flask"),
    "test_dask.py": ("distributed",),
    "test_dask_ensemble.py": ("distributed", "s3fs", "moto", "flask", "sklearn"),
    "test_mlflow.py": ("mlflow", "sklearn"),
}

collect_ignore = [
    name for name, packages in _NEEDS.items() if not all(map(importlib.util.find_spec, packages))
]

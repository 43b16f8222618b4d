"""joblib's names, with `dump`, `load`, `hash` and `register_compressor` of fastpersist among them.

``from fastpersist import joblib`` takes the place of ``import joblib``. All other names are
joblib's own objects: what is pickled of them names joblib. joblib itself is imported, and not
changed: its `Memory` and `Parallel` go on with its own persistence.
"""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

import fastpersist
from fastpersist import dump, load, register_compressor

try:
    import joblib as _joblib
except ImportError as error:
    raise ImportError(
        "fastpersist.joblib needs the package joblib: pip install joblib", name="joblib"
    ) from error

if TYPE_CHECKING:
    # What a type checker knows of joblib; at run time __getattr__ asks the joblib that is there.
    from joblib import (
        Logger,
        MemorizedResult,
        Memory,
        Parallel,
        ParallelBackendBase,
        PrintTime,
        StoreBackendBase,
        cpu_count,
        delayed,
        effective_n_jobs,
        expires_after,
        parallel_backend,
        parallel_config,
        register_parallel_backend,
        register_store_backend,
        wrap_non_picklable_objects,
    )

__all__ = [
    "Logger",
    "MemorizedResult",
    "Memory",
    "Parallel",
    "ParallelBackendBase",
    "PrintTime",
    "StoreBackendBase",
    "cpu_count",
    "delayed",
    "dump",
    "effective_n_jobs",
    "expires_after",
    "hash",
    "load",
    "parallel_backend",
    "parallel_config",
    "register_compressor",
    "register_parallel_backend",
    "register_store_backend",
    "wrap_non_picklable_objects",
]
if not TYPE_CHECKING:
    __all__ = sorted({*_joblib.__all__, "dump", "load", "hash", "register_compressor"})


def hash(obj: Any, *args: Any, **kwargs: Any) -> str:
    """Hash a value as `fastpersist.hash` does, or as joblib does where its parameters are given.

    Parameters
    ----------
    obj
        The value.
    hash_name : {"md5", "sha1"}, optional
        joblib's: its own hash, by this algorithm.
    coerce_mmap : bool, optional
        joblib's: its own hash; True takes maps for arrays, as `fastpersist.hash` always does.

    Returns
    -------
    str
        Hexadecimal digits: 32, and 40 of "sha1".

    Raises
    ------
    TypeError
        Something in it cannot be pickled; joblib's own hash raises `pickle.PicklingError`.
    ValueError
        joblib does not know `hash_name`.

    Examples
    --------
    >>> from fastpersist import joblib
    >>> len(joblib.hash([1, 2])), len(joblib.hash([1, 2], hash_name="sha1"))
    (32, 40)
    """
    if args or kwargs:
        digest: str = _joblib.hash(obj, *args, **kwargs)
        return digest
    return fastpersist.hash(obj)


# What inspect.signature() says: the parameters are joblib's.
hash.__signature__ = signature(_joblib.hash)  # type: ignore[attr-defined]


def __getattr__(name: str) -> Any:
    # Of the names with two underscores only this: with joblib's __path__, importing
    # fastpersist.joblib.parallel would make a second joblib.parallel.
    if name == "__version__" or not name.startswith("__"):
        try:
            return getattr(_joblib, name)
        except AttributeError:
            pass
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *vars(_joblib)})

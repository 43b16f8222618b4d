"""A serialization family for Dask: what goes between client, scheduler and workers.

    from fastpersist.integrations import dask as fastpersist_dask

    fastpersist_dask.register()
    client = Client(address, serializers=["fastpersist", "dask", "pickle"])

Every process has to know the family: schedulers and workers are started with
``--preload fastpersist.integrations.dask``, or with that name in Dask's configuration
(``distributed.scheduler.preload``, ``distributed.worker.preload``).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import numpy as np

import fastpersist

try:
    import cloudpickle
    import dask.config
    from distributed.protocol import register_serialization_family
except ImportError as error:
    raise ImportError(
        "fastpersist.integrations.dask needs the package distributed: "
        "pip install 'fastpersist[dask]'",
        name=error.name,
    ) from error

__all__ = ["dask_setup", "register"]

NAME = "fastpersist"


def register(trusted: Iterable[Any] | None = None) -> None:
    """Make the family "fastpersist" known to Dask in this process.

    An object that only cloudpickle can take (lambdas, what ``__main__`` defines), and any other
    that cannot be pickled, goes to the next family of the list that the client was given.

    Parameters
    ----------
    trusted : iterable of str and classes, optional
        As in `fastpersist.load`: what arrives by this family is refused where it asks for more
        than the policy approves. Arrays then travel within the pickle, since buffers beside it
        cannot be looked at; so it has to be set in all processes. It holds for this family alone:
        leave "pickle" out of ``deserializers``, or it is a way around. Tasks themselves are
        functions, which Dask sends by means of its own.

    Raises
    ------
    TypeError
        `trusted` is no iterable of names and classes.

    Examples
    --------
    >>> from distributed.protocol import deserialize, serialize
    >>> from fastpersist.integrations import dask
    >>> dask.register()
    >>> header, frames = serialize({"a": [1, 2]}, serializers=["fastpersist"])
    >>> header["serializer"], deserialize(header, frames)
    ('fastpersist', {'a': [1, 2]})
    """
    names = None if trusted is None else tuple(trusted)
    if names is not None:
        fastpersist.loads(fastpersist.dumps(None), trusted=names)  # refuses what is no name

    def loads(header: dict[str, Any], frames: list[Any]) -> Any:
        return _loads(header, frames, names)

    register_serialization_family(NAME, _dumps if names is None else _dumps_in_one, loads)


def dask_setup(server: Any) -> None:
    """For ``--preload``: `register`, as Dask's configuration has it.

    Parameters
    ----------
    server : distributed.Scheduler or distributed.Worker
        Whose process it is.

    Notes
    -----
    ``fastpersist.trusted`` is a list of names for `register`. With ``fastpersist.between-workers``
    workers ask each other for data in this family, too (by default in Dask's own); then every
    worker has to be preloaded.

    Examples
    --------
    >>> import dask
    >>> preload = {"distributed.worker.preload": ["fastpersist.integrations.dask"]}
    >>> with dask.config.set(preload):
    ...     pass  # clusters that are started here
    """
    register(dask.config.get("fastpersist.trusted", None))
    if dask.config.get("fastpersist.between-workers", False):
        server.rpc.serializers = [NAME, "dask", "pickle"]
        server.rpc.deserializers = [NAME, "dask", "pickle", "error"]


# ---------------------------------------------------------------- the family


_Message = tuple[dict[str, Any], list[Any]]


def _dumps(value: Any, context: Any = None) -> _Message:
    if type(value) is np.ndarray and (message := _of_array(value)) is not None:
        return message
    frames: list[Any] = [None]
    writeable = []

    def keep(buffer: Any) -> None:
        view = memoryview(buffer)
        frames.append(view)
        writeable.append(not view.readonly)

    frames[0] = _pickled(value, keep)
    return {"serializer": NAME, "writeable": tuple(writeable)}, frames


def _dumps_in_one(value: Any, context: Any = None) -> _Message:
    if type(value) is np.ndarray and (message := _of_array(value)) is not None:
        return message
    return {"serializer": NAME, "writeable": ()}, [_pickled(value, None)]


def _of_array(array: np.ndarray[Any, Any]) -> _Message | None:
    """One array and nothing else: no pickle around its bytes."""
    flags, dtype = array.flags, array.dtype
    if dtype.isbuiltin != 1 or dtype.hasobject or not flags.forc or array.size == 0:
        return None
    order = "C" if flags.c_contiguous else "F"
    header = {"array": (dtype.str, array.shape, order), "writeable": (flags.writeable,)}
    return header, [array.ravel("K").view(np.uint8).data]


def _array(what: Any, frame: Any, is_writeable: bool) -> Any:
    text, shape, order = what
    dtype = np.dtype(text)
    if dtype.hasobject:
        raise ValueError("an array of objects is no plain bytes")
    return np.ndarray(tuple(shape), dtype, _writeable(frame, is_writeable), order=order)


def _pickled(value: Any, keep: Any) -> bytes:
    try:
        data = fastpersist.dumps(value, 5, buffer_callback=keep)
    except MemoryError:
        raise
    except Exception as error:
        raise NotImplementedError("it cannot be pickled") from error
    # By name these would be looked for in another process's __main__. As Dask does it.
    if b"__main__" in data or _is_by_value(value):
        raise NotImplementedError("it belongs to __main__")
    return data


def _is_by_value(value: Any) -> bool:
    by_value = cloudpickle.list_registry_pickle_by_value()
    return bool(by_value) and getattr(inspect.getmodule(value), "__name__", None) in by_value


def _loads(header: dict[str, Any], frames: list[Any], trusted: Any) -> Any:
    if "array" in header:
        return _array(header["array"], frames[0], header["writeable"][0])
    if trusted is not None:
        return fastpersist.loads(frames[0], buffers=frames[1:], trusted=trusted)
    buffers = [
        _writeable(frame, is_writeable)
        for frame, is_writeable in zip(frames[1:], header["writeable"], strict=True)
    ]
    return fastpersist.loads(frames[0], buffers=buffers)


def _writeable(frame: Any, is_wanted: bool) -> memoryview:
    view = memoryview(frame)
    if is_wanted and view.readonly:
        return memoryview(bytearray(view))
    return view if is_wanted else view.toreadonly()

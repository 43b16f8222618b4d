"""The twelve models whose files are damaged, and the ways they are written and loaded."""

from __future__ import annotations

import bisect
import io
import pickle
import sys
import warnings
from collections.abc import Callable, Container
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

# ---------------------------------------------------------------- models


def _data(n=40, n_features=4):
    chance = np.random.default_rng(0)
    x = chance.normal(size=(n, n_features))
    return x, (x[:, 0] + x[:, 1] > 0).astype(int)


def linear():
    from sklearn.linear_model import LinearRegression

    x, y = _data()
    return LinearRegression().fit(x, y)


def pipeline():
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression()).fit(*_data())


def forest():
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(4, max_depth=3, random_state=0).fit(*_data())


def boosting():
    from sklearn.ensemble import GradientBoostingClassifier

    return GradientBoostingClassifier(n_estimators=4, random_state=0).fit(*_data())


def svc():
    from sklearn.svm import SVC

    return SVC().fit(*_data())


def kmeans():
    from sklearn.cluster import KMeans

    return KMeans(3, n_init=1, random_state=0).fit(_data()[0])


def tfidf():
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = "the quick brown fox jumps over a lazy dog while seven wizards box".split()
    return TfidfVectorizer().fit(" ".join(words[i : i + 4]) for i in range(10))


def frame():
    import pandas

    return pandas.DataFrame({"a": np.arange(20), "b": np.arange(20) / 3, "c": list("xy") * 10})


def sparse():
    import scipy.sparse

    return scipy.sparse.random(30, 30, 0.1, "csr", random_state=0)


def arrays():
    return {
        "floats": np.arange(40.0),
        "fortran": np.asfortranarray(np.arange(12, dtype="i2").reshape(3, 4)),
        "foreign": np.arange(8, dtype=">u4"),
        "own blob": np.arange(5000, dtype="u4"),
        "empty": np.empty((0, 3)),
    }


def graph():
    shared = [1, 2.5, None]
    cycle = {"key": "value", "shared": shared, "bytes": b"\0\1\2", "big": 1 << 200}
    cycle["self"] = cycle
    return [cycle, shared, ("tuple", 1 + 2j), {1, 2, 3}, "text" * 20, -7, True, bytearray(b"ab")]


def objects():
    return np.array([None, "a", 1, [2, 3], np.arange(3), {"k": 0.5}], dtype=object)


MODELS: dict[str, Callable[[], Any]] = {
    "linear regression": linear,
    "pipeline": pipeline,
    "forest": forest,
    "gradient boosting": boosting,
    "SVC": svc,
    "KMeans": kmeans,
    "TfidfVectorizer": tfidf,
    "DataFrame": frame,
    "sparse matrix": sparse,
    "dict of arrays": arrays,
    "lists and dicts": graph,
    "object array": objects,
}


def large_forest():
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(40, random_state=0).fit(*_data(8000, 10))


def large_array():
    return {"array": np.random.default_rng(0).normal(size=3 << 20), "text": "x" * 3_000_000}


# Files of many blocks: sampled.
LARGE: dict[str, Callable[[], Any]] = {"large forest": large_forest, "large array": large_array}

# ---------------------------------------------------------------- ways


@dataclass
class Way:
    """How a model becomes bytes, and how those are loaded from a path.

    `write` gives None where this way has no file of the model. `ours`: whether nothing may be
    silent, crash, hang, or take memory. `unchecked` are the bytes that a load does not read, and
    `ends_cleanly` says whether bytes appended are noticed.
    """

    name: str
    write: Callable[[Any], list[bytes] | None]
    load: Callable[[list[str]], Any]
    ours: bool = True
    unchecked: Callable[[bytes], Container[int]] | None = None
    ends_cleanly: bool = True


def _file_bytes(value, **keywords):
    import fastpersist

    file = io.BytesIO()
    fastpersist.dump(value, file, **keywords)
    return [file.getvalue()]


def _load(paths, **keywords):
    import fastpersist

    return fastpersist.load(paths[0], **keywords)


def _load_through_file(paths):
    import fastpersist

    with open(paths[0], "rb") as file:
        return fastpersist.load(file)


def _load_sidecar(paths, **keywords):
    import fastpersist

    return fastpersist.load(paths[0], sidecar=paths[1], **keywords)


def _write_sidecar(value):
    import fastpersist

    first, second = io.BytesIO(), io.BytesIO()
    fastpersist.dump(value, first, sidecar=second)
    return [first.getvalue(), second.getvalue()]


class Extents:
    """Numbers in some ranges, given as first and end, ascending."""

    def __init__(self, ranges):
        self.ranges = list(ranges)

    def __contains__(self, number):
        k = bisect.bisect_right(self.ranges, (number, sys.maxsize)) - 1
        return k >= 0 and number < self.ranges[k][1]

    def __bool__(self):
        return bool(self.ranges)


def _array_bytes(data):
    """Offsets of the payloads of arrays: a map does not check them by default."""
    import format_reader

    dump = format_reader.read(data)
    arrays = [blob for blob in dump.blobs if blob.kind == "bytearray" and blob.length > 0]
    return Extents((blob.offset, blob.offset + blob.length) for blob in arrays)


def _joblib_bytes(value, **keywords):
    import joblib

    file = io.BytesIO()
    joblib.dump(value, file, **keywords)
    return [file.getvalue()]


def _joblib_load(paths):
    import joblib

    return joblib.load(paths[0])


def _pickle_load(paths):
    with open(paths[0], "rb") as file:
        return pickle.load(file)


def _skops_bytes(value):
    import skops.io

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [skops.io.dumps(value)]
    except Exception:  # it takes some types only
        return None


def _skops_load(paths):
    import skops.io

    with open(paths[0], "rb") as file:
        data = file.read()
    return skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))


OURS = [
    Way("path", _file_bytes, _load),
    Way("file object", _file_bytes, _load_through_file, ends_cleanly=False),
    Way('map, verify="full"', _file_bytes, partial(_load, mmap_mode="r", verify="full")),
    Way("map", _file_bytes, partial(_load, mmap_mode="r"), unchecked=_array_bytes),
    Way("lz4", partial(_file_bytes, compress="lz4"), _load),
    Way("zlib", partial(_file_bytes, compress=("zlib", 3)), _load),
    Way("gzip", partial(_file_bytes, compress=("gzip", 3)), _load),
    Way("sidecar", _write_sidecar, _load_sidecar),
    Way("sidecar, map", _write_sidecar, partial(_load_sidecar, mmap_mode="r", verify="full")),
]
PEERS = [
    Way("joblib", _joblib_bytes, _joblib_load, ours=False),
    Way("joblib, zlib", partial(_joblib_bytes, compress=3), _joblib_load, ours=False),
    Way("pickle", lambda value: [pickle.dumps(value, 5)], _pickle_load, ours=False),
    Way("skops", _skops_bytes, _skops_load, ours=False),
]
WAYS = {way.name: way for way in OURS + PEERS}


def is_available(name: str) -> bool:
    """Whether what a way needs is installed."""
    try:
        return WAYS[name].write([1]) is not None
    except ImportError:
        return False

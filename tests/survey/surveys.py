"""Surveys for tests: of bytes in every way, their records as NumPy arrays, and what a traced
`pickle.load` asks for."""

import contextlib
import copyreg
import io
import os
import pickle
import tempfile

import numpy as np
from fastpersist import _core

NONE = 0xFFFFFFFF
NOWHERE = 0xFFFFFFFFFFFFFFFF
# As _core.pyi has them.
NODE = np.dtype(
    [("total", "u8"), ("own", "u8"), ("step", "u8"), ("parent", "u4"), ("what", "u4")]
    + [("step_kind", "u1"), ("kind", "u1"), ("repeated", "u1"), ("", "V1")]
    + [("levels", "u4")]
)
ARRAY = np.dtype(
    [("offset", "u8"), ("n_bytes", "u8"), ("node", "u4"), ("dtype", "u4"), ("shape", "u4")]
    + [("payload", "u4"), ("maker", "u4"), ("ndim", "u1"), ("order", "S1"), ("stored", "u1")]
    + [("flags", "u1")]
)
LEAF = np.dtype(
    [("offset", "u8"), ("n_bytes", "u8"), ("node", "u4"), ("payload", "u4"), ("kind", "u1")]
    + [("stored", "u1"), ("in_array", "u1"), ("", "V5")]
)
PAYLOAD = np.dtype(
    [("place", "u8"), ("offset", "u8"), ("n_bytes", "u8"), ("hash", "u8"), ("n_cut", "u8")]
)
NAMES = _core.survey_names()
COMPUTED, UNKNOWN, LONG, RENAMED, EXTENSION = 1, 2, 4, 8, 16

# What a survey may say only of files that nobody's pickler wrote.
CERTAIN = {
    "computed name",
    "name of 4 KiB or more",
    "state set on what is no instance",
    "items put into what takes none",
    "number in an unusual form",
}


class Stingy:
    """A file object of read and readline alone, which gives a few bytes at a time."""

    def __init__(self, data, step=7):
        self.file = io.BytesIO(data)
        self.step = step
        self.readline = self.file.readline

    def read(self, n=-1):
        return self.file.read(min(n, self.step) if n >= 0 else n)


@contextlib.contextmanager
def descriptor_of(data):
    fd, path = tempfile.mkstemp()
    try:
        os.write(fd, data)
        yield fd, path
    finally:
        os.close(fd)
        os.unlink(path)


def of_descriptor(data):
    """All surveys of a file with these bytes."""
    with descriptor_of(data) as (fd, path):
        return _core.survey_descriptor(fd, path, 2)


def of_file(file):
    return _core.survey_file(file, None)


def facts(survey):
    """Everything that a survey says, to be compared."""
    arrays = records(survey, "arrays")
    return {
        "globals": survey.globals,
        "nodes": survey.nodes,
        "arrays": survey.arrays,
        "leaves": survey.leaves,
        "shapes": [survey.shape(i) for i in range(len(arrays))],
        "dtypes": [survey.dtype(d) for d in arrays["dtype"] if d != NONE],
        "hashes": sorted(records(survey, "payloads")["hash"].tolist()),
        "odd": survey.odd,
        "sums": survey.sums,
        "numbers": (survey.kind, survey.protocol, survey.length, survey.n_opcodes),
        "end": (survey.complete, survey.n_frames, survey.n_buffers, survey.n_undecided),
    }


def records(survey, name):
    dtype = {"nodes": NODE, "arrays": ARRAY, "leaves": LEAF, "payloads": PAYLOAD}[name]
    return np.frombuffer(getattr(survey, name), dtype)


def every_survey(data):
    """The survey of the first dump in these bytes, which is the same wherever they come from."""
    first = of_descriptor(data)[0]
    for file in (
        io.BytesIO(data),
        io.BufferedReader(io.BytesIO(data), 64),
        Stingy(data, 7 + len(data) // 100),
    ):
        other = of_file(file)
        if first.damage is None:
            assert facts(other) == facts(first)
            rest = file.read(1 << 20) if first.kind != "fastpersist" else b""
            assert len(rest) <= len(data) - first.length
        else:
            assert other.damage is not None
    return first


def paths(survey):
    return [survey.path(i) for i in range(len(records(survey, "nodes")))]


def odd(survey):
    return {what: count for what, count, _ in survey.odd}


def check_deep(survey, n_bytes):
    """The same of one whose paths are too many, or too long, to be looked at."""
    return check(survey, n_bytes, with_paths=False)


def check(survey, n_bytes=None, with_paths=True):
    """What holds for every survey that reached its end."""
    assert survey.damage is None, survey.damage
    assert survey.complete
    nodes = records(survey, "nodes")
    assert sum(survey.sums.values()) == survey.length
    assert sum(part[2] for part in survey.parts) == survey.length
    if n_bytes is not None:
        assert survey.length == n_bytes
    roots = nodes["parent"] == NONE
    assert nodes["total"][survey.root] == survey.sums["values"]
    # Own bytes below the root are all of the root's.
    assert int(nodes["own"].sum()) == int(nodes["total"][roots].sum())
    below = np.zeros(len(nodes), "u8")
    np.add.at(below, nodes["parent"][~roots], nodes["total"][~roots])
    assert (nodes["total"] == nodes["own"] + below).all()
    # Each is named by one path, and the other way round.
    if not with_paths:
        return survey
    named = paths(survey)
    assert len(set(named)) == len(named)
    for kind, name in (("array", "arrays"), ("leaf", "leaves")):
        for i, node in enumerate(records(survey, name)["node"][:50]):
            assert survey.find(named[node]) == (kind, i) or kind == "leaf"
    return survey


# ---------------------------------------------------------------- the oracle


class Traced(pickle.Unpickler):
    """Notes what it is asked for."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.names = []

    def find_class(self, module, name):
        self.names.append((module, name))
        return super().find_class(module, name)

    def persistent_load(self, pid):
        return None


def unique(names):
    return list(dict.fromkeys(names))


def names_of(survey):
    """The names as the stream spells them, codes of copyreg as the names they stand for."""
    out = []
    for module, name, *_, flags, spelled in survey.globals:
        if flags & UNKNOWN:
            continue
        if flags & EXTENSION:
            module, name = copyreg._inverted_registry[int(name)]
        out.append(spelled or (module, name))
    return unique(out)


def has_computed(survey):
    return any(g[8] & (COMPUTED | LONG) for g in survey.globals)


def check_names(survey, names):
    """Against what a traced load asked for up to STOP."""
    if has_computed(survey):
        assert set(names_of(survey)) <= set(names) or "computed name" in odd(survey)
    else:
        assert names_of(survey) == unique(names)

"""What the fuzz target "survey" does with an input; called by fuzz_python.c and by the tests.

The survey beside the unpickler: the first byte says how the rest is read, as the target "unpickle"
has it. Two parsers must not differ:

- where a load reaches the end, the survey does, and lists exactly the names that the load asked
  for (through the audit hook), or says that one was computed; a load that fails has not asked for
  anything that the survey does not list;
- where the survey reaches the end and leaves nothing undecided, a load succeeds;
- a survey is the same wherever its bytes come from, its sums add up, every node has a path of its
  own, and no array is read from anywhere but from its file.
"""

from __future__ import annotations

import contextlib
import copyreg
import io
import os
import pickle
import sys
import warnings

import forged_files as forge
import numpy as np
import unpickle_target
from fastpersist.files import kinds
from unpickle_target import EXPECTED, LIMIT, OnlyRead, fastpersist, is_bounded

# That module has put the core of the embedding program in its place.
_core = sys.modules["fastpersist._core"]
CorruptFileError = fastpersist.CorruptFileError

NONE = 0xFFFFFFFF
COMPUTED, UNKNOWN, LONG, EXTENSION = 1, 2, 4, 16
NODE_BYTES = ARRAY_BYTES = 40
# Which instances are wrappers of joblib's arrays, and which bytes opcodes, is then not known.
UNSURE = {"joblib's array wrapper in another use", "call of what is no global"}
UNSURE.add("array of a size that only its type knows")
# A load may fail for these whatever the bytes are.
ANYWAY = (MemoryError, RecursionError)

_names: list[tuple[str, str]] | None = None


def _audit(event, arguments):
    if event == "pickle.find_class" and _names is not None:
        _names.append(arguments)


sys.addaudithook(_audit)


@contextlib.contextmanager
def traced():
    """The names that are asked for while this lasts."""
    global _names
    _names = names = []
    try:
        yield names
    finally:
        _names = None


def loaded(function, *arguments, **keywords):
    """(the names that were asked for, the exception or None)."""
    with traced() as names:
        try:
            function(*arguments, **keywords)
        except EXPECTED as error:
            return names, error
    return names, None


@contextlib.contextmanager
def opened(data):
    fd = os.memfd_create("fuzz")
    try:
        os.write(fd, data)
        yield fd, f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)


def listed(survey):
    names = []
    for module, name, *_, flags, spelled in survey.globals:
        if flags & UNKNOWN:
            continue
        if flags & EXTENSION:
            registered = copyreg._inverted_registry.get(int(name))
            if registered is not None:
                names.append(registered)
        else:
            names.append(spelled or (module, name))
    return list(dict.fromkeys(names))


def check(survey):
    """What holds for every survey."""
    n_nodes = len(survey.nodes) // NODE_BYTES
    nodes = np.frombuffer(survey.nodes, "u4").reshape(n_nodes, NODE_BYTES // 4)
    totals = np.frombuffer(survey.nodes, "u8").reshape(n_nodes, NODE_BYTES // 8)
    assert sum(survey.sums.values()) == survey.length or survey.damage is not None
    roots = nodes[:, 6] == NONE
    assert int(totals[:, 1].sum()) == int(totals[roots, 0].sum())
    assert survey.root is None or totals[survey.root, 0] == survey.sums["values"]
    paths = [survey.path(i) for i in range(min(n_nodes, 200))]
    assert len(set(paths)) == len(paths)
    assert all(path.isprintable() for path in paths)
    arrays = np.frombuffer(survey.arrays, "u4").reshape(-1, ARRAY_BYTES // 4)
    for i in range(min(len(arrays), 20)):
        survey.shape(i), survey.strides(i), survey.inline(i)
        if arrays[i, 5] != NONE:
            survey.dtype(int(arrays[i, 5]))
            survey.itemsize(int(arrays[i, 5]))
    assert survey.complete or survey.damage is not None
    return [survey.path(int(node)) for node in arrays[:3, 4]]


def facts(survey):
    arrays = len(survey.arrays) // ARRAY_BYTES
    return (
        survey.globals,
        survey.nodes,
        survey.leaves,
        survey.arrays,
        survey.odd,
        survey.sums,
        survey.n_undecided,
        [survey.shape(i) for i in range(min(arrays, 20))],
    )


def compare(survey, names, error, may_refuse=()):
    """The survey of a dump beside a load of it."""
    if "joblib's NumpyArrayWrapper" in str(survey.damage):
        return  # what it might stand for is refused, and a load may go on
    found = listed(survey)
    is_sure = not any(g[8] & (COMPUTED | LONG) for g in survey.globals)
    if any(g[1] == "NumpyArrayWrapper" for g in survey.globals):
        is_sure &= UNSURE.isdisjoint(what for what, *_ in survey.odd)
    if error is None:
        assert survey.complete and survey.damage is None, survey.damage
        if is_sure:
            assert found == list(dict.fromkeys(names)), (found, names)
    elif survey.damage is None and survey.n_undecided == 0 and survey.n_buffers == 0:
        assert found or isinstance(error, (*ANYWAY, *may_refuse)), error
    assert not is_sure or set(names) <= set(found), (names, found)


def surveyed(data):
    with opened(data) as (fd, path):
        surveys = _core.survey_descriptor(fd, path, 2)
        for survey in surveys:
            for array in check(survey):
                read(path, array)
    return surveys


def read(path, array):
    try:
        fastpersist.read_array(path, array)
    except (ValueError, KeyError, MemoryError):  # CorruptFileError is a ValueError
        pass


# ---------------------------------------------------------------- the ways


def as_pickle(data):
    if not data:
        return
    names, error = loaded(fastpersist.loads, data, buffers=[b"a", bytearray(b"b")] * 50)
    survey = surveyed(data)[0]
    if survey.kind != "fastpersist" or survey.damage is None:  # loads() takes it as any pickle
        compare(survey, names, error)
    for file in (io.BytesIO(data), OnlyRead(data, 5), io.BufferedReader(io.BytesIO(data), 16)):
        other = _core.survey_file(file, None)
        check(other)
        if survey.damage is None:
            assert facts(other) == facts(survey)
        elif survey.kind == other.kind != "fastpersist":
            assert other.damage is not None
            assert other.globals == survey.globals


def as_joblib(data):
    """joblib's layout: arrays between the opcodes, which a plain unpickler reads as well."""
    if not data or kinds.is_encoded(data):
        return
    names, error = loaded(fastpersist.load, OnlyRead(data, 1 << 20))
    survey = _core.survey_file(io.BytesIO(data), None)
    check(survey)
    if not isinstance(error, ImportError):  # joblib's old files, and modules that are not there
        compare(survey, names, error)


def as_file(data):
    if not data:
        return
    try:
        surveys = surveyed(data)
    except MemoryError:
        return
    with opened(data) as (_, path):
        names, error = loaded(fastpersist.load, path)
    if data[:1] != b"\x80":  # it may be compressed
        return
    if surveys[0].kind != "fastpersist" or surveys[0].damage is None:
        # Of ours the sidecar is checked by a load alone.
        compare(surveys[0], names, error, (CorruptFileError,))


def as_graph(data):
    """u8 number of blobs; for each u8 kind and u8 length; the rest is the graph's opcodes."""
    n_blobs = data[0] % 6 if data else 0
    at = 1
    blobs = []
    for i in range(n_blobs):
        kind, length = (*data[at : at + 2], 0, 0)[:2]
        at += 2
        n_bytes = (length & 0x7F) << (9 if length & 0x80 else 0)
        blobs.append((kind % 3, bytes([65 + i]) * n_bytes))
    as_file(forge.dump(blobs, data[at:]))


def as_frames(data):
    """The graph's frames as they come, and the numbers of the blobs."""
    numbers = [int.from_bytes(data[i : i + 4], "little") for i in (0, 4, 8)]
    blobs = [(0, b"a" * 20000), (1, b"b" * 20), (2, b"c" * 20000)]
    as_file(forge.dump(blobs, graph=data[12:], numbers=numbers))


WAYS = [as_pickle, as_joblib, as_file, as_graph, as_frames]


def one(data):
    if not data or len(data) > LIMIT or not is_bounded(data):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        WAYS[data[0] % len(WAYS)](data[1:])


def seeds():
    """Those of the unpickler, in the ways that this target has, and arrays of every kind."""
    names = {way.__name__: i for i, way in enumerate(WAYS)}
    theirs = {"as_stream": "as_joblib", "as_path": "as_file"}
    for data in unpickle_target.seeds():
        way = unpickle_target.WAYS[data[0]].__name__
        way = theirs.get(way, way)
        if way in names:
            yield bytes([names[way]]) + data[1:]
    for protocol in range(6):
        for value in (
            np.arange(4),
            np.asfortranarray(np.eye(3)),
            np.zeros(2, [("a", "<f4"), ("b", ">i2", 2), ("c", "M8[25s]")]),
            np.array(["a", None, [np.arange(3)]], object),
            {"k": [np.arange(3), b"x" * 5000, "é" * 9000], 5: (set, frozenset([1]))},
        ):
            yield bytes([names["as_pickle"]]) + pickle.dumps(value, protocol)

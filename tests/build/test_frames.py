"""Frames: no opcode and no argument crosses the end of one, whoever reads.

The oracle is the running pickle where it has the rule; older Pythons are told by frames.py.
"""

import copyreg
import io
import itertools
import pickle
import pickletools
import random
import re
import struct

import fastpersist
import forged_files as forge
import frames
import numpy as np
import pytest
import sample_classes as s
from file_objects import Bare
from frames import EXHAUSTED, NESTED, frame
from helpers import outcome

EXTENSION = 123
U64 = struct.pack("<Q", 2)
# Everything that leaves one object, or none, on the stack: all opcodes are here.
PIECES = [
    b"I42\n",
    b"I01\n",
    b"L-5L\n",
    b"F2.5\n",
    b"S'ab'\n",
    b"Vtext\n",
    b"V\n",
    b"J\1\2\3\4",
    b"K\7",
    b"M\1\2",
    b"N",
    b"T\2\0\0\0ab",
    b"U\2ab",
    b"X\2\0\0\0ab",
    b"G@\4\0\0\0\0\0\0",
    b"\x88\x89\x86",
    b"\x8a\2\1\2",
    b"\x8a\0",
    b"\x8b\2\0\0\0\1\2",
    b"B\2\0\0\0ab",
    b"C\2ab",
    b"C\0",
    b"\x8c\2ab",
    b"\x8c\0",
    b"\x8d" + U64 + b"ab",
    b"\x8e" + U64 + b"ab",
    b"\x96" + U64 + b"ab",
    b"\x96" + bytes(8),
    b"]\x940h\0",
    b"Vm\np5\n0g5\n",
    b"Vm\nq\6h\6\x86",
    b"Vm\nr\7\0\0\0j\7\0\0\0\x86",
    b"cbuiltins\nlen\n",
    b"\x8c\x08builtins\x8c\3len\x93",
    b"(ibuiltins\nlist\n",
    b"(cbuiltins\nlist\no",
    b"cbuiltins\nlist\n)\x81",
    b"cbuiltins\nlist\n)}\x92",
    b"cbuiltins\nlist\n)R",
    b"csample_classes\nPlain\n)\x81}(\x8c\1aK\1ub",
    b"csample_classes\nPlain\n)\x81}\x94(\x8c\1aK\1ub",
    b"](K\1K\2e",
    b"]K\1a",
    b"}K\1K\2s",
    b"}(K\1K\2u",
    b"\x8f(K\1\x90",
    b"(K\1\x91",
    b"(K\1l",
    b"(K\1K\2d",
    b"(K\1t",
    b"K\1\x85",
    b"K\1K\2K\3\x87",
    b"Ppid\n",
    b"K\1Q",
    b"N20",
    b"(K\0011N",
    b"\x80\5",
    b"\x82\x7b",
    b"\x83\x7b\0",
    b"\x84\x7b\0\0\0",
    b"\x97",
    b"\x97\x98",
    b"C\xff" + b"x" * 255,
    b"\x8c\xff" + b"x" * 255,
]
PROGRAMS = [b"\x80\4(" + piece + b"t." for piece in PIECES]
# As pickle writes it: what is large stands between frames.
LARGE = [pickle.dumps([1, b"b" * 70_000, "t" * 70_000, bytearray(70_000), 2], p) for p in (4, 5)]


def test_all_opcodes_are_tried():
    met = {op.code for data in PROGRAMS for op, _, _ in pickletools.genops(data)}
    assert met == {op.code for op in pickletools.opcodes if op.name != "FRAME"}


@pytest.fixture(autouse=True)
def extension():
    copyreg.add_extension("sample_classes", "Plain", EXTENSION)
    yield
    copyreg.remove_extension("sample_classes", "Plain", EXTENSION)


def boundaries(data):
    return [position for _, _, position in pickletools.genops(data)] + [len(data)]


def one_frame_each(data):
    """With a frame that begins at any opcode and ends anywhere, or behind the end."""
    for start in boundaries(data)[:-1]:
        for end in [*range(start, len(data) + 1), len(data) + 3]:
            yield data[:start] + frame(end - start) + data[start:]


def two_frames(data, chance, n):
    """With two frames at opcodes: apart, one in the other, or anyhow."""
    starts = boundaries(data)[:-1]
    for _ in range(n):
        first, second = sorted(chance.choices(starts, k=2))
        ends = [chance.choice([chance.randrange(40), *range(9)]) for _ in range(2)]
        if chance.random() < 0.4:  # the first holds the second, or its header at least
            ends[0] += second - first + chance.choice([0, 1, 8, 9, 9, 9, 10])
        elif chance.random() < 0.5:
            ends[0] = second - first
        yield (data[:first] + frame(ends[0]) + data[first:second] + frame(ends[1]) + data[second:])


def with_ids(base):
    class WithIds(base):
        def persistent_load(self, pid):
            return ["persistent", pid]

    return WithIds


OURS, THEIRS = with_ids(fastpersist.Unpickler), with_ids(pickle.Unpickler)
FILES = [Bare, io.BytesIO, lambda data: io.BufferedReader(io.BytesIO(data), 16)]


def shown(call, *arguments):
    result = outcome(call, *arguments)
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], str):
        return result
    return re.sub("0x[0-9a-f]+", "0x...", repr(result))


def buffers():
    return [b"one", bytearray(b"two")]


def check(data):
    """Like pickle with the rule, from memory and from every kind of file. Returns what it says."""
    expected = shown(frames.as_new, lambda d: pickle.loads(d, buffers=buffers()), data)
    assert shown(lambda: fastpersist.loads(data, buffers=buffers())) == expected, data
    for open_data in FILES:
        expected = shown(
            frames.as_new, lambda d, o=open_data: THEIRS(o(d), buffers=buffers()).load(), data
        )
        got = shown(lambda o=open_data: OURS(o(data), buffers=buffers()).load())
        assert got == expected, (data, open_data)
    return expected


@pytest.mark.parametrize("data", PROGRAMS, ids=range(len(PROGRAMS)))
def test_one_frame_anywhere(data):
    whole = check(data)
    verdicts = {check(framed) for framed in one_frame_each(data)}
    assert whole in verdicts
    assert (pickle.UnpicklingError, "pickle data was truncated") in verdicts  # longer than the data


def test_one_frame_anywhere_is_refused_and_allowed():
    n_refused = n_allowed = 0
    for data in PROGRAMS:
        for framed in one_frame_each(data):
            found = frames.breach(framed)
            n_refused += found is not None
            n_allowed += found is None
    assert n_refused > 2000 and n_allowed > 2000


def test_two_frames():
    chance = random.Random(0)
    seen = []
    for _ in range(120):
        pieces = b"".join(chance.choices(PIECES[:-2], k=3))
        for framed in two_frames(b"\x80\4(" + pieces + b"t.", chance, 60):
            seen.append(str(check(framed)))
    for words in (EXHAUSTED, NESTED, "pickle data was truncated"):
        assert sum(words in text for text in seen) > 100, words
    assert sum("Error" not in text for text in seen) > 1000


def test_frames_of_no_bytes():
    for data in PROGRAMS:
        for n in range(3):
            framed = b"".join(
                frame(0) * n + data[start:end]
                for start, end in itertools.pairwise(boundaries(data))
            )
            assert check(framed) == check(data)


def test_what_is_large_stands_behind_a_frame():
    for data in LARGE:
        assert fastpersist.loads(data) == pickle.loads(data)
        for open_data in FILES:
            assert OURS(open_data(data)).load() == pickle.loads(data)
        starts = [p for op, _, p in pickletools.genops(data) if op.name == "FRAME"]
        assert len(starts) > 1
        for start in starts:
            (right,) = struct.unpack_from("<Q", data, start + 1)
            for wrong in (right - 1, right + 1, right + 2, right + 100):
                check(data[: start + 1] + struct.pack("<Q", wrong) + data[start + 9 :])


@pytest.mark.parametrize(
    "data, expected",
    [
        (frame(4) + b"N.K\7.", [None, 7, EOFError]),
        (frame(3) + b"N.K\7.", [None, 7, EOFError]),
        (frame(4) + b"N.VK\7.\n.N.", [None, EXHAUSTED, 7, "load key"]),
        (frame(14) + b"N." + frame(3) + b"K\7.", [None, NESTED, 7, EOFError]),
        (frame(11) + b"N." + frame(3) + b"K\7.", [None, 7, EOFError]),
    ],
)
@pytest.mark.parametrize("open_data", FILES, ids=["bare", "BytesIO", "buffered"])
def test_a_frame_outlives_its_pickle(open_data, data, expected):
    """STOP inside a frame: the next load of the same Unpickler is still in it."""

    def loads(base):
        file = open_data(data)
        unpickler = base(file)
        for _ in expected:
            position = getattr(file, "tell", lambda: None)
            yield outcome(unpickler.load), position()

    got = list(loads(OURS))
    if frames.HAS_RULE:
        assert got == list(loads(THEIRS))
    for (result, _), wanted in zip(got, expected, strict=True):
        if isinstance(wanted, str):
            assert result[0] is pickle.UnpicklingError and wanted in result[1]
        elif wanted is EOFError:
            assert result[0] is EOFError
        else:
            assert result == wanted


# ---------------------------------------------------------------- files


def by_path(data, path, **keywords):
    path.write_bytes(data)
    return fastpersist.load(path, **keywords)


def by_stream(data, path):
    return fastpersist.load(io.BytesIO(data))


def by_map(data, path):
    return by_path(data, path, mmap_mode="r")


def by_verify(data, path):
    path.write_bytes(data)
    fastpersist.verify(path)


WAYS = [by_path, by_stream, by_map, by_verify]
ways = pytest.mark.parametrize("load", WAYS, ids=lambda way: way.__name__)


@ways
def test_files_of_pickle(load, tmp_path):
    path = tmp_path / "file"
    chance = random.Random(1)
    n_refused = 0
    for data in PROGRAMS:
        for framed in chance.sample(list(one_frame_each(data)), 20):
            expected = shown(frames.as_new, pickle.loads, framed)
            if expected[1] in (EXHAUSTED, NESTED):
                with pytest.raises(fastpersist.CorruptFileError, match=expected[1]) as caught:
                    load(framed, path)
                assert caught.value.section == "pickle"
                n_refused += 1
            elif load is not by_verify:
                got = shown(load, framed, path)
                if isinstance(expected, str) or isinstance(got, str):
                    assert got == expected
    assert n_refused > 100


def test_large_files_of_pickle(tmp_path):
    """Frames of many sizes, and longer than what is read of a file at a time."""
    path = tmp_path / "file"
    numbers = b"".join(b"J" + struct.pack("<i", i) for i in range(200_000))
    opcodes = b"(" + numbers + b"t."
    for size in (5, 13, 4099, 65_538, 300_003, len(opcodes)):
        parts = [opcodes[i : i + size] for i in range(0, len(opcodes), size)]
        data = b"\x80\4" + b"".join(frame(len(part)) + part for part in parts)
        crosses = frames.breach(data) is not None
        assert crosses == (size != len(opcodes))
        for load in WAYS:
            if crosses:
                with pytest.raises(fastpersist.CorruptFileError, match=EXHAUSTED):
                    load(data, path)
            else:
                assert load(data, path) in (None, tuple(range(200_000)))
        parts = [opcodes[:1], *(numbers[i : i + size * 5] for i in range(0, 10**6, size * 5))]
        data = b"\x80\4" + b"".join(frame(len(part)) + part for part in [*parts, b"t."])
        for load in WAYS:
            assert load(data, path) in (None, tuple(range(200_000)))


GRAPH = pickle.dumps(
    [
        1,
        "some text",
        b"bytes",
        300,
        70_000,
        2.5,
        {"k": (1, 2)},
        s.Plain(a=1),
        b"x" * 300,
        -(1 << 90),
    ],
    3,
)[2:-1]


@ways
def test_our_own_graph(load, tmp_path):
    """Frames hold whole opcodes there, and nothing lies outside."""
    path = tmp_path / "file"
    whole = set(boundaries(b"\x80\3" + GRAPH + b"."))
    for cut in range(len(GRAPH) + 1):
        framed = frame(cut) + GRAPH[:cut] + frame(len(GRAPH) - cut) + GRAPH[cut:]
        if cut + 2 in whole:
            load(forge.dump(graph=framed), path)
        else:
            with pytest.raises(pickle.UnpicklingError):
                load(forge.dump(graph=framed), path)


@ways
@pytest.mark.parametrize(
    "graph",
    [
        GRAPH,
        b"N" + frame(1) + b"0" + frame(1) + b"N",
        frame(1) + b"NN0",
        frame(2) + b"N",
        frame(10) + b"N" + frame(1) + b"0",
        frame(11) + b"N" + frame(1) + b"0",
        frame(12) + b"N" + frame(1) + b"0N",
        frame(1) + b"K" + frame(0),
        frame(1) + b"K" + frame(0) + bytes(149),
        frame(2) + b"K\1" + frame(0)[:-1],
        frame(1) + b"\x95" + frame(1) + b"N",
        frame(1 << 63) + b"N",
    ],
    ids=range(12),
)
def test_our_own_graph_refuses(load, graph, tmp_path):
    with pytest.raises(pickle.UnpicklingError):
        load(forge.dump(graph=graph), tmp_path / "file")


@ways
def test_our_own_graph_allows_frames_of_no_bytes(load, tmp_path):
    graph = frame(0) + frame(1) + b"N" + frame(0) + frame(0)
    assert load(forge.dump(graph=graph), tmp_path / "file") is None


def joblib_file(value, protocol):
    file = io.BytesIO()
    joblib = pytest.importorskip("joblib")
    joblib.dump(value, file, protocol=protocol)
    return file.getvalue()


JOBLIB_VALUES = {
    "bytes": [1, np.arange(20.0), "behind"],
    "objects": [1, np.array([1, "two", None], object), "behind"],
}


@ways
@pytest.mark.parametrize("kind", JOBLIB_VALUES)
@pytest.mark.parametrize("protocol", [4, 5])
def test_joblib_layout(load, kind, protocol, tmp_path):
    """An array stands behind its frame: it neither begins nor ends in one."""
    path = tmp_path / "file"
    data = joblib_file(JOBLIB_VALUES[kind], protocol)
    assert data[2:3] == b"\x95"
    (right,) = struct.unpack_from("<Q", data, 3)
    expected = load(data, path)
    n_refused = n_read = 0
    for length in range(right + 12):
        changed = data[:3] + struct.pack("<Q", length) + data[11:]
        found = frames.breach(changed[: 11 + right])
        if length <= right and found is None:
            assert repr(load(changed, path)) == repr(expected)
            n_read += 1
        else:
            with pytest.raises(fastpersist.CorruptFileError, match="frame"):
                load(changed, path)
            n_refused += 1
    assert n_refused > 100 and n_read > 20

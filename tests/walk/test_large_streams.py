"""Streams that outgrow the memory they begin in: what is returned, what write() is given."""

import io
import pickle
import sys
import tracemalloc

import fastpersist
import numpy as np
import pytest
from helpers import assert_same_pickle

KIB, MIB = 1 << 10, 1 << 20

# Around each size at which the memory changes its kind: 32 KiB, a frame, huge pages.
SIZES = [32 * KIB + d for d in (-70, -12, -11, -1, 0, 1, 40)]
SIZES += [64 * KIB + d for d in (-12, -1, 0, 1)]
SIZES += [128 * KIB, 4 * MIB - 300, 4 * MIB, 6 * MIB - 256, 6 * MIB + 1]

BUILDERS = {
    "bytes": lambda n: b"x" * n,
    "bytearray": lambda n: bytearray(n),
    "str": lambda n: "x" * n,
    "latin": lambda n: "\xe9" * (n // 2),
    "wide": lambda n: "\u20ac" * (n // 3),
    "short leaves": lambda n: [f"text {i}" for i in range(n // 16)],
    "array": lambda n: np.arange(n // 8),
    "frames": lambda n: [b"y" * 1000 for _ in range(n // 1000)],
    "mixed": lambda n: [b"z" * n, [str(i) for i in range(9000)], "t" * n, 1.5],
    "long int": lambda n: 1 << (8 * n),
}


@pytest.mark.parametrize("name", BUILDERS)
def test_sizes_around_every_threshold(name):
    for size in SIZES:
        value = BUILDERS[name](min(size, MIB) if name == "short leaves" else size)
        assert_same_pickle(value, protocols=(3, 4, 5))


class Recorder:
    """A file that keeps every argument of write()."""

    def __init__(self):
        self.calls = []

    def write(self, data):
        self.calls.append((type(data), bytes(data)))


def calls_of(pickler_class, values, protocol):
    file = Recorder()
    pickler = pickler_class(file, protocol)
    for value in values:
        pickler.dump(value)
    return file.calls


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_file_is_written_to_in_pickles_pieces(name, protocol):
    for size in (100, 33 * KIB, 65 * KIB, 300 * KIB, 5 * MIB):
        value = BUILDERS[name](min(size, 300 * KIB) if "leaves" in name else size)
        values = [[value, "in between", value], 1, value]
        got = calls_of(fastpersist.Pickler, values, protocol)
        expected = calls_of(pickle.Pickler, values, protocol)
        assert [len(data) for _, data in got] == [len(data) for _, data in expected], size
        assert got == expected, size


def test_what_was_written_stays_as_it_is():
    """A file may keep the bytes that it is given."""
    kept = []

    class Keeper:
        def write(self, data):
            kept.append(data)

    values = [[b"%d" % i * 500 for i in range(400)], "x" * 300 * KIB, list(range(90000))]
    for protocol in (2, 4):
        kept.clear()
        fastpersist.Pickler(Keeper(), protocol).dump(values)
        assert b"".join(kept) == pickle.dumps(values, protocol)


def test_a_pickler_whose_file_fails_goes_on_afterwards():
    class Failing(io.BytesIO):
        fails = True

        def write(self, data):
            if self.fails:
                raise OSError("full")
            return super().write(data)

    file = Failing()
    pickler = fastpersist.Pickler(file, 4)
    value = [b"y" * 1000 for _ in range(900)]
    with pytest.raises(OSError, match="full"):
        pickler.dump(value)
    file.fails = False
    pickler.clear_memo()
    pickler.dump(value)
    assert file.getvalue() == pickle.dumps(value, 4)


@pytest.mark.parametrize("name", ["bytes", "str", "latin", "array", "mixed"])
def test_dumps_needs_no_more_memory_than_pickle(name):
    def peak(dumps):
        value = BUILDERS[name](24 * MIB)
        tracemalloc.start()
        try:
            result = dumps(value, 5)
            kept, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        if dumps is fastpersist.dumps:  # pickle's leaves UTF-8 in the str
            assert kept < sys.getsizeof(result) + 256 * KIB
        return most

    # Memory in huge pages comes in pieces of 2 MiB.
    assert peak(fastpersist.dumps) <= peak(pickle.dumps) + 2 * MIB

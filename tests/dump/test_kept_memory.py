"""Memory that is kept from one dump to the next, and when a dump starts a thread."""

import gc
import os
import threading

import fastpersist
import numpy as np
import pytest
from fastpersist import _core
from helpers import file_bytes, run_python

MOST = 4 << 20
BLOCK = 256 << 10

needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="needs /proc")


@pytest.fixture(autouse=True)
def nothing_kept():
    _core.give_back_memory()
    yield
    _core.give_back_memory()


def large_value():
    return {"array": np.arange(1 << 19, dtype=float), "text": ["x" * 100_000 for _ in range(20)]}


def test_small_dumps_keep_one_block(tmp_path):
    for _ in range(5):
        fastpersist.dump({"a": 1}, tmp_path / "file")
        assert _core.give_back_memory() == BLOCK
    assert _core.give_back_memory() == 0


def test_no_more_than_four_mib_are_kept(tmp_path):
    value = large_value()
    for _ in range(3):
        fastpersist.dump(value, tmp_path / "file", sidecar=tmp_path / "second")
    assert BLOCK <= _core.give_back_memory() <= MOST


def test_kept_memory_changes_no_byte():
    values = [large_value(), {"a": 1}, [np.ones(2000)] * 3, b"y" * 5_000_000, "z" * 3_000_000]
    fresh = []
    for value in values:
        _core.give_back_memory()
        fresh.append(file_bytes(value))
    for _ in range(2):
        assert [file_bytes(value) for value in values] == fresh


def test_a_dump_that_fails_keeps_its_memory_too(tmp_path):
    with pytest.raises((TypeError, AttributeError, fastpersist.PicklingError)):
        fastpersist.dump([np.ones(2000), b"x" * 100_000, threading.Lock()], tmp_path / "file")
    assert 0 < _core.give_back_memory() <= MOST
    assert not os.listdir(tmp_path)


def test_threads_that_dump_at_once_share_nothing(tmp_path):
    values = [
        {"array": np.full(300_000, i, dtype=float), "bytes": bytes([i]) * 3_000_000, "i": i}
        for i in range(6)
    ]
    failures = []

    def work(i):
        path = tmp_path / str(i)
        for _ in range(4):
            fastpersist.dump(values[i], path)
            back = fastpersist.load(path)
            if not (
                back["i"] == i
                and back["bytes"] == values[i]["bytes"]
                and np.array_equal(back["array"], values[i]["array"])
            ):
                failures.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(values))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert _core.give_back_memory() <= MOST


def test_a_dump_inside_a_dump(tmp_path):
    class Nested:
        def __reduce__(self):
            fastpersist.dump(large_value(), tmp_path / "inner")
            return int, (7,)

    value = [np.ones(100_000), Nested(), b"x" * 100_000]
    fastpersist.dump(value, tmp_path / "outer")
    back = fastpersist.load(tmp_path / "outer")
    assert back[1:] == [7, b"x" * 100_000] and back[0].sum() == 100_000
    assert np.array_equal(fastpersist.load(tmp_path / "inner")["array"], large_value()["array"])
    assert _core.give_back_memory() <= MOST


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_gives_the_memory_back():
    run_python(
        """
import os, sys, tempfile
import numpy as np, fastpersist
from fastpersist import _core

path = os.path.join(tempfile.mkdtemp(), "file")
fastpersist.dump(np.ones(1 << 19), path)
child = os.fork()
if child == 0:
    status = 1
    try:
        assert _core.give_back_memory() == 0
        fastpersist.dump({"child": 1}, path + ".child")
        assert fastpersist.load(path + ".child") == {"child": 1}
        assert _core.give_back_memory() > 0
        status = 0
    finally:
        os._exit(status)
assert os.waitpid(child, 0)[1] == 0
assert _core.give_back_memory() == 0
fastpersist.dump({"parent": 1}, path)
assert fastpersist.load(path) == {"parent": 1}
"""
    )


def test_memory_is_kept_up_to_the_exit():
    run_python(
        """
import atexit, tempfile, os
import fastpersist

path = os.path.join(tempfile.mkdtemp(), "file")
atexit.register(lambda: fastpersist.dump([b"x" * 3_000_000], path))
fastpersist.dump([b"x" * 3_000_000], path)
"""
    )


# ---------------------------------------------------------------- threads


class CountsThreads:
    def __init__(self):
        self.seen = []

    def __reduce__(self):
        self.seen.append(len(os.listdir("/proc/self/task")))
        return int, ()


@needs_proc
@pytest.mark.parametrize("n_bytes", [100, 1_000_000])
def test_little_data_starts_no_thread(tmp_path, n_bytes):
    before = len(os.listdir("/proc/self/task"))
    counter = CountsThreads()
    value = [b"x" * n_bytes, np.zeros(n_bytes // 8), counter, CountsThreads()]
    fastpersist.dump(value, tmp_path / "file", threads=4)
    assert counter.seen and set(counter.seen) == {before}


@needs_proc
@pytest.mark.parametrize("kind", ["bytes", "str", "array"])
def test_no_thread_is_left(tmp_path, kind):
    values = {"bytes": b"x" * (24 << 20), "str": "x" * (24 << 20), "array": np.ones(3 << 20)}
    before = len(os.listdir("/proc/self/task"))
    fastpersist.dump(values[kind], tmp_path / "file", threads=2)
    assert len(os.listdir("/proc/self/task")) == before
    back = fastpersist.load(tmp_path / "file")
    assert np.array_equal(back, values[kind])
    gc.collect()


# ---------------------------------------------------------------- written from where it lies


@pytest.mark.parametrize("place", [0, 1, 16, 31, 32, 63])
@pytest.mark.parametrize("threads", [1, 2])
def test_large_bytes_wherever_they_lie(tmp_path, place, threads):
    small = b"s" * (16 << 10 | place)
    value = [small, bytes(bytearray(range(256)) * 80_000), "text " * 600_000, small + b"e"]
    fastpersist.dump(value, tmp_path / "file", threads=threads)
    assert fastpersist.load(tmp_path / "file") == value
    assert (tmp_path / "file").read_bytes() == file_bytes(value)


def test_the_object_lives_while_it_is_written():
    """write() of the target drops the last reference to what is being written."""
    large = [bytes(bytearray(range(256)) * 20_000)]

    class Target:
        def __init__(self):
            self.parts = []

        def write(self, data):
            large.clear()
            gc.collect()
            self.parts.append(bytes(data))
            return len(data)

    expected = large[0] * 1
    target = Target()
    try:
        fastpersist.dump(large, target)
    except RuntimeError:
        return  # the list has changed, as pickle may say
    assert expected in b"".join(target.parts)

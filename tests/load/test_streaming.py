"""Loads by path that read ahead: what is built, what is found, what is left behind.

verify="full" checks everything before it builds anything, so it says what a load has to give. Files
here have more than 2 MiB of blobs: smaller ones are read first in any case.
"""

import contextlib
import gc
import os
import pathlib
import random
import sys
import threading
import time
import weakref

import fastpersist
import numpy as np
import pytest
from compare import assert_isomorphic
from fastpersist import CorruptFileError, TruncatedFileError
from helpers import examples, run_python
from hypothesis import given
from hypothesis import strategies as st

forge = pytest.importorskip("forged_files", reason="needs the package xxhash")
format_reader = pytest.importorskip("format_reader")

MIB = 1 << 20
THREADS = [1, 2, 5]
TASKS = pathlib.Path("/proc/self/task")


class Copies:
    """Keeps a copy of what it was saved with, as a decision tree does; tells whom it was told."""

    calls = []
    then = None

    def __init__(self, values):
        self.values = values

    def __getstate__(self):
        return {"values": self.values}

    def __setstate__(self, state):
        if state["values"].sum() != state["values"].size * state["values"][0]:
            raise ValueError("these bytes are not what was saved")
        self.values = state["values"].copy()
        Copies.calls.append(self.values[0])
        if Copies.then is not None:
            Copies.then(self)


@pytest.fixture(autouse=True)
def nobody_called():
    Copies.calls, Copies.then = [], None
    yield
    Copies.then = None


def tree(i, n_bytes=470_000):
    return Copies(np.full(n_bytes // 8 + i, float(i)))


def bits(rng, n):
    return np.frombuffer(rng.randbytes(n), "u1").copy()


def saved(value, tmp_path):
    path = tmp_path / "file"
    fastpersist.dump(value, path)
    return path


def written(data, tmp_path):
    path = tmp_path / "forged"
    path.write_bytes(data)
    return path


def layout(path):
    return format_reader.read(path.read_bytes())


# ---------------------------------------------------------------- what is built


def leaf(rng, size):
    return rng.choice(
        [
            lambda: bits(rng, size),
            lambda: bits(rng, size).tobytes(),
            lambda: bytearray(bits(rng, size)),
            lambda: "é" * (size // 2),
            lambda: np.asfortranarray(bits(rng, size // 16 * 16).reshape(16, -1)),
            lambda: [bits(rng, rng.choice([1, 100, 5000])) for _ in range(40)],
        ]
    )()


def graph(seed, sizes):
    """Leaves of these sizes in lists and dicts, some of them in several places."""
    rng = random.Random(seed)
    leaves = [leaf(rng, size) for size in sizes]
    value = [leaves[0]]
    for item in leaves:
        match rng.randrange(4):
            case 0:
                value = [value, item]
            case 1:
                value = {"item": item, "rest": value, "again": rng.choice(leaves)}
            case 2:
                value = {"more": item, "the rest": [value]}
            case _:
                value = (rng.choice(leaves), value, item)
    return value


SIZES = st.lists(
    st.sampled_from([0, 1000, 16 << 10, 20_000, 65_536, 300_000, MIB, MIB + 1, 3 * MIB]),
    min_size=3,
    max_size=25,
)


@given(seed=st.integers(0, 10**6), sizes=SIZES)
@examples(60, by_day=10)
def test_any_graph(seed, sizes, tmp_path_factory):
    value = graph(seed, [2 * MIB, *sizes])
    path = saved(value, tmp_path_factory.mktemp("graph"))
    expected = fastpersist.load(path, verify="full")
    assert_isomorphic(expected, value)
    for threads in THREADS:
        assert_isomorphic(fastpersist.load(path, threads=threads), value)
    assert_isomorphic(fastpersist.load(path, verify=False), value)


@pytest.mark.parametrize("threads", THREADS)
def test_blobs_larger_than_the_window(threads, tmp_path):
    rng = random.Random(1)
    value = [bits(rng, 17 * MIB + 5), [bits(rng, 100)], bits(rng, 9 * MIB), bits(rng, 16 << 10)]
    assert_isomorphic(fastpersist.load(saved(value, tmp_path), threads=threads), value)


@pytest.mark.parametrize("threads", THREADS)
def test_shared_blobs_behind_those_that_are_asked_for_later(threads, tmp_path):
    """Small arrays of the first trees lie at the end of the file."""
    value = [[np.arange(3.0) + i, tree(i)] for i in range(30)]
    path = saved(value, tmp_path)
    blobs = layout(path).blobs
    assert blobs[-1].number == 0 and len(blobs) == 31
    loaded = fastpersist.load(path, threads=threads)
    assert [small[0] for small, _ in loaded] == [float(i) for i in range(30)]
    assert all(
        (one[1].values == two[1].values).all() for one, two in zip(loaded, value, strict=True)
    )


def gets(numbers):
    """A list of what the blobs of these numbers stand for."""
    return b"](" + b"".join(b"h%c" % number for number in numbers) + b"e"


@pytest.mark.parametrize("order", ["forwards", "backwards", "mixed", "twice", "some"])
@pytest.mark.parametrize("n_bytes", [40_000, 130_000, MIB - 90, 2 * MIB])
def test_any_order(order, n_bytes, tmp_path):
    """Also those in which our own files never are: a block is then read more than once."""
    rng = random.Random(n_bytes)
    n = min(70, 20 * MIB // n_bytes)
    payloads = [rng.randbytes(n_bytes - i) for i in range(n)]
    numbers = list(range(n))
    match order:
        case "backwards":
            numbers.reverse()
        case "mixed":
            rng.shuffle(numbers)
        case "twice":
            numbers += numbers[::-1]
        case "some":
            numbers = rng.sample(numbers, n // 3)
    kinds = [(forge.BYTES, payload) for payload in payloads]
    path = written(forge.dump(kinds, gets(numbers)), tmp_path)
    for threads in THREADS:
        loaded = fastpersist.load(path, threads=threads)
        assert loaded == [payloads[number] for number in numbers]
        if order == "twice":
            assert all(one is two for one, two in zip(loaded, reversed(loaded), strict=True))


def test_a_blob_without_bytes(tmp_path):
    blobs = [(forge.BYTES, b"")] * 3 + [(forge.BYTES, bytes(3 * MIB)), (forge.STR, b"")]
    blobs += [(forge.BYTEARRAY, b"")]
    loaded = fastpersist.load(written(forge.dump(blobs, gets([4, 0, 3, 5, 1, 2])), tmp_path))
    assert loaded == ["", b"", bytes(3 * MIB), bytearray(), b"", b""]


def test_arrays_over_one_bytearray_stay_that(tmp_path):
    """Both take all of it; there is no copy until the last GET is done."""
    number = b"cnumpy\nndarray\n(M\x00\x50\x85\x8c\x03|u1h\x00tR"
    graph = b"](" + 2 * number + b"h\x01e"
    blobs = [(forge.BYTEARRAY, bytes(0x5000)), (forge.BYTES, bytes(3 * MIB))]
    one, two, _ = fastpersist.load(written(forge.dump(blobs, graph), tmp_path))
    one[5] = 77
    assert two[5] == 77 and np.shares_memory(one, two)


def test_a_number_that_is_put_again(tmp_path):
    """What hides a blob is what is fetched; the blob stays until the end."""
    blobs = [(forge.BYTES, bytes(3 * MIB)), (forge.BYTES, b"x" * 20_000)]
    graph = b"](" + b"K\x07q\x00h\x00h\x01e"
    assert fastpersist.load(written(forge.dump(blobs, graph), tmp_path)) == [7, 7, b"x" * 20_000]


@pytest.mark.parametrize("graph", [b"](g0\nh\x01e", b"](h\x00h\x01e"])
def test_opcodes_that_do_not_tell(graph, tmp_path):
    """GET with its number as text: such a file is read first."""
    blobs = [(forge.BYTES, bytes(3 * MIB)), (forge.BYTES, b"x" * 20_000)]
    loaded = fastpersist.load(written(forge.dump(blobs, graph), tmp_path))
    assert loaded == [bytes(3 * MIB), b"x" * 20_000]


# ---------------------------------------------------------------- damage


def damaged(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x40
    path.write_bytes(data)
    return path


def complaint(path, **kwargs):
    with pytest.raises(CorruptFileError) as caught:
        fastpersist.load(path, **kwargs)
    error = caught.value
    return type(error), str(error), error.offset, error.section, getattr(error, "__notes__", [])


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("where", [0, 5, 38])
def test_damage_in_a_blob(where, threads, tmp_path):
    """The same words as ever, and nobody has seen the bytes."""
    path = saved([tree(i) for i in range(40)], tmp_path)
    damaged(path, layout(path).blobs[where].offset + 300_001)
    words = complaint(path, verify="full")
    assert Copies.calls == []
    assert complaint(path, threads=threads) == words
    assert Copies.calls == [float(i) for i in range(len(Copies.calls))]
    assert len(Copies.calls) <= where
    assert not any(isinstance(thing, Copies) for thing in gc.get_objects(0))


@pytest.mark.parametrize("threads", THREADS)
def test_of_several_damaged_blocks_the_first_is_named(threads, tmp_path):
    """Though the last blob of the file is asked for first."""
    value = [np.arange(3.0), [tree(i) for i in range(20)]]
    path = saved(value, tmp_path)
    blobs = layout(path).blobs
    for blob in blobs[3], blobs[9], blobs[-1]:
        damaged(path, blob.offset + 10)
    assert complaint(path, threads=threads) == complaint(path, verify="full")
    assert Copies.calls == []


@pytest.mark.parametrize("what", ["padding", "opcode", "length", "put", "last put"])
def test_damage_between_blobs(what, tmp_path):
    path = saved([tree(i) for i in range(12)], tmp_path)
    blobs = layout(path).blobs
    after = blobs[6].offset + blobs[6].length
    offset = {
        "padding": blobs[7].offset - 10,
        "opcode": blobs[7].offset - 9,
        "length": blobs[7].offset - 3,
        "put": after,
        "last put": blobs[-1].offset + blobs[-1].length,
    }[what]
    damaged(path, offset)
    assert complaint(path) == complaint(path, verify="full")


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("state", [format_reader.STATE_VALID, format_reader.STATE_VOID])
def test_gaps_whose_hashes_are_right(state, threads, tmp_path):
    """Or do not count: then the opcodes around the blobs are all that is checked."""

    def change(sidecar):
        position = sidecar.index(b"0\x8e", 3 * MIB) - 3  # in front of the second blob's opcode
        return sidecar[:position] + b"\1" + sidecar[position + 1 :]

    blobs = [(forge.BYTES, bytes(3 * MIB)), (forge.BYTES, b"x" * 20_000)]
    path = written(forge.dump(blobs, gets([0, 1]), change_sidecar=change, state=state), tmp_path)
    with pytest.warns(UserWarning) if state == format_reader.STATE_VOID else no_warning():
        words = complaint(path, threads=threads)
    with pytest.warns(UserWarning) if state == format_reader.STATE_VOID else no_warning():
        assert words == complaint(path, verify="full")
    assert "around a blob" in words[1]


class no_warning:
    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("where", [0, 3, 7])
def test_damage_in_a_blob_that_nobody_asks_for(where, threads, tmp_path):
    blobs = [(forge.BYTES, bytes([i]) * (MIB + 77)) for i in range(8)]
    numbers = [i for i in range(8) if i != where]
    path = written(forge.dump(blobs, gets(numbers)), tmp_path)
    assert len(fastpersist.load(path, threads=threads)) == 7
    damaged(path, layout(path).blobs[where].offset + MIB // 2)
    assert complaint(path, threads=threads) == complaint(path, verify="full")


def test_a_file_that_becomes_shorter_meanwhile(tmp_path):
    path = saved([tree(i) for i in range(60)], tmp_path)

    def cut(_):
        os.truncate(path, 2 * MIB)

    Copies.then = cut
    with pytest.raises(TruncatedFileError, match="longer file"):
        fastpersist.load(path)
    assert len(Copies.calls) < 60


def test_a_file_that_is_written_over_meanwhile(tmp_path):
    """Each block is used as it was hashed."""
    path = saved([tree(i) for i in range(60)], tmp_path)

    def write_over(_):
        with open(path, "r+b") as file:
            file.seek(22 * MIB)
            file.write(os.urandom(100))

    Copies.then = write_over
    with pytest.raises(CorruptFileError, match="hash of its block"):
        fastpersist.load(path)


# ---------------------------------------------------------------- exceptions, threads, forks


def n_threads():
    return len(list(TASKS.iterdir()))


ON_LINUX = pytest.mark.skipif(not TASKS.exists(), reason="reads /proc")


class Deliberate(Exception):
    pass


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("error", [Deliberate, KeyboardInterrupt, SystemExit, MemoryError])
def test_an_exception_of_user_code_ends_the_load(error, threads, tmp_path):
    """As it is, also where a later blob is damaged: its bytes were not among the reasons."""
    path = saved([tree(i) for i in range(30)], tmp_path)
    damaged(path, layout(path).blobs[25].offset + 1000)

    def fail(copies):
        if copies.values[0] == 3:
            raise error("so be it")

    Copies.then = fail
    for _ in range(3):
        with pytest.raises(error, match="so be it"):
            fastpersist.load(path, threads=threads)
    assert Copies.calls == [0.0, 1.0, 2.0, 3.0] * 3


@ON_LINUX
def test_threads_end_on_every_way_out(tmp_path):
    path = saved([tree(i) for i in range(30)], tmp_path)
    bad = tmp_path / "bad"
    bad.write_bytes(path.read_bytes())
    damaged(bad, layout(path).blobs[20].offset)
    before, during = n_threads(), []

    def count(copies):
        during.append(n_threads())
        if copies.values[0] == 4 and fails:
            raise Deliberate

    Copies.then = count
    for fails in False, True:
        for threads in 1, 2, 9, 40:
            for name, expected in (path, Deliberate), (bad, CorruptFileError):
                with contextlib.suppress(Deliberate if fails else expected):
                    fastpersist.load(name, threads=threads)
                assert n_threads() == before
                assert min(threads, 2) <= max(during) - before + 1 <= min(threads, 16)
                during.clear()


@ON_LINUX
def test_little_starts_no_thread(tmp_path):
    path = saved([tree(i, 20_000) for i in range(40)], tmp_path)
    before, during = n_threads(), []
    Copies.then = lambda _: during.append(n_threads())
    fastpersist.load(path, threads=8)
    assert during == [before] * 40


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize("bad", [False, True])
@pytest.mark.parametrize("threads", THREADS)
def test_a_child_goes_on_by_itself(threads, bad, tmp_path):
    """So does its parent."""
    value = [tree(i) for i in range(40)] + ["é" * MIB]
    path = saved(value, tmp_path)
    if bad:
        damaged(path, layout(path).blobs[37].offset)
    parent, children = os.getpid(), []

    def fork(copies):
        if os.getpid() == parent and copies.values[0] in (2, 20):
            children.append(os.fork())

    Copies.then = fork
    status = 1
    try:
        loaded = fastpersist.load(path, threads=threads)
        same = all(
            (one.values == two.values).all() for one, two in zip(loaded[:40], value, strict=False)
        )
        status = 0 if same and loaded[40] == value[40] and not bad else 2
    except CorruptFileError:
        status = 0 if bad else 3
    finally:
        if os.getpid() != parent:
            os._exit(status)
    assert status == 0
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]


def test_other_threads_run_meanwhile(tmp_path):
    """A wait for a blob gives the GIL away."""
    path = saved([np.zeros(64 * MIB, "u1")], tmp_path)
    steps, stop = [], threading.Event()

    def count():
        while not stop.is_set():
            steps.append(None)
            time.sleep(0)  # gives it back

    interval = sys.getswitchinterval()
    thread = threading.Thread(target=count)
    try:
        thread.start()
        sys.setswitchinterval(1000)  # nobody has to give it away
        fastpersist.load(path, verify="full", threads=1)
        steps.clear()
        fastpersist.load(path, threads=1)
        assert len(steps) > 0
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        thread.join()


def test_loads_inside_of_a_load(tmp_path):
    inner = tmp_path / "inner"
    fastpersist.dump([np.arange(400_000.0), b"x" * MIB], inner)
    path = saved([tree(i) for i in range(20)], tmp_path)
    found = []
    Copies.then = lambda _: found.append(fastpersist.load(inner)[0].sum())
    assert len(fastpersist.load(path)) == 20
    assert found == [np.arange(400_000.0).sum()] * 20


# ---------------------------------------------------------------- memory


def test_what_was_used_is_let_go(tmp_path):
    """Arrays that __setstate__ drops are gone while the load goes on."""
    path = saved([tree(i) for i in range(30)], tmp_path)
    seen, alive = [], []

    class Watches(Copies):
        def __setstate__(self, state):
            alive.append(sum(array() is not None for array in seen))
            seen.append(weakref.ref(state["values"]))

    original = Copies.__setstate__
    Copies.__setstate__ = Watches.__setstate__
    try:
        fastpersist.load(path)
    finally:
        Copies.__setstate__ = original
    assert max(alive) <= 1 and len(alive) == 30


PEAK = """
import sys, numpy, fastpersist, peak
class Sums:
    def __setstate__(self, state):
        self.sum = float(state["values"].sum())
before = peak.peak_kib()
fastpersist.load(sys.argv[1], threads=int(sys.argv[2]))
print(peak.peak_kib() - before)
"""

SAVE = """
import sys, numpy, fastpersist
class Sums:
    def __getstate__(self):
        return {"values": self.values}
value = []
for i in range(int(sys.argv[2])):
    value.append(Sums())
    value[-1].values = numpy.ones(int(sys.argv[3]))
fastpersist.dump(value, sys.argv[1])
"""


@ON_LINUX
@pytest.mark.slow  # and not for sanitizers, which keep what was freed
@pytest.mark.parametrize(("n", "items"), [(60, 250_000), (1200, 12_500), (8, 1_900_000)])
def test_memory_is_bounded_by_the_window(n, items, tmp_path):
    """120 MB of blobs of any size, and none is kept: the window, and what the machine is at."""
    path = tmp_path / "file"
    run_python(SAVE, str(path), str(n), str(items))
    grown = int(run_python(PEAK, str(path), "2"))
    assert grown < (44 << 10) + 2 * (items * 8 >> 10)


# ---------------------------------------------------------------- progress


def test_progress_is_told_while_objects_are_built(tmp_path):
    path = saved([tree(i) for i in range(40)], tmp_path)
    told = []

    def sleep(copies):
        if copies.values[0] in (10, 20, 30):
            time.sleep(0.13)  # longer than the pause between two reports

    Copies.then = sleep
    fastpersist.load(path, progress=lambda *numbers: told.append(numbers))
    assert len(told) >= 4 and told == sorted(told)
    assert told[-1] == (path.stat().st_size,) * 2

    def fail(done, total):
        raise Deliberate("enough")

    with pytest.raises(Deliberate) as caught:
        fastpersist.load(path, progress=fail)
    assert not hasattr(caught.value, "__notes__")

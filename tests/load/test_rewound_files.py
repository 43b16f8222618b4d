"""Loads from file objects that stand at their end, beside joblib.

joblib seeks to the start of every file object without peek(), wherever it stands, so dump() and
load() without seek(0) in between is a habit. Here a load begins where the file object stands; one
that stands at its end is rewound, unless a load brought it there.
"""

import contextlib
import gc
import io
import mmap
import os
import pickle
import tempfile
import weakref

import fastpersist
import joblib
import numpy as np
import pytest
from fastpersist import _ends

VALUE = {"array": np.arange(2000.0), "text": "é" * 300}


def same(one, other):
    return one["text"] == other["text"] and np.array_equal(one["array"], other["array"])


# ---------------------------------------------------------------- file objects


class Memory(io.BytesIO):
    """As fsspec's: a subclass of BytesIO."""


class Proxy:
    """As the uploads of web frameworks: all that it has not itself it gets from the file in it."""

    def __init__(self, file):
        self.stream = file

    def __getattr__(self, name):
        return getattr(self.stream, name)


class ProxyByProperties:
    def __init__(self, file):
        self.file = file

    read = property(lambda self: self.file.read)
    readline = property(lambda self: self.file.readline)
    write = property(lambda self: self.file.write)
    seek = property(lambda self: self.file.seek)
    tell = property(lambda self: self.file.tell)

    def seekable(self):
        return True


class FewMethods:
    """No seekable(), and a seek() that goes nowhere but to a place."""

    def __init__(self):
        self._file = io.BytesIO()

    def read(self, n_bytes):
        return self._file.read(n_bytes)

    def readline(self):
        return self._file.readline()

    def write(self, data):
        self._file.write(data)

    def seek(self, offset):
        self._file.seek(offset)

    def tell(self):
        return self._file.tell()


class NotHashable(io.BytesIO):
    __hash__ = None

    def __eq__(self, other):
        return NotImplemented


class AllEqual(io.BytesIO):
    def __hash__(self):
        return 1

    def __eq__(self, other):
        return True


class RawSubclass(io.RawIOBase):
    def __init__(self):
        self._file = io.BytesIO()

    def readable(self):
        return True

    writable = seekable = readable

    def readinto(self, target):
        return self._file.readinto(target)

    def write(self, data):
        return self._file.write(data)

    def seek(self, offset, whence=0):
        return self._file.seek(offset, whence)

    def tell(self):
        return self._file.tell()

    def truncate(self, size=None):
        return self._file.truncate(size)


def fsspec_memory(folder):
    fsspec = pytest.importorskip("fsspec")
    return fsspec.filesystem("memory").open("memory://file", "wb")


MAKERS = {
    "BytesIO": lambda folder: io.BytesIO(),
    "a subclass": lambda folder: Memory(),
    "not hashable": lambda folder: NotHashable(),
    "equal to others": lambda folder: AllEqual(),
    "raw": lambda folder: RawSubclass(),
    "without a buffer": lambda folder: open(folder / str(len(os.listdir(folder))), "w+b", 0),
    "NamedTemporaryFile": lambda folder: tempfile.NamedTemporaryFile(buffering=0),
    "SpooledTemporaryFile": lambda folder: tempfile.SpooledTemporaryFile(),
    "rolled over": lambda folder: tempfile.SpooledTemporaryFile(max_size=10),
    "rolled over, raw": lambda folder: tempfile.SpooledTemporaryFile(max_size=10, buffering=0),
    "upload": lambda folder: Proxy(tempfile.SpooledTemporaryFile()),
    "upload by properties": lambda folder: ProxyByProperties(io.BytesIO()),
    "few methods": lambda folder: FewMethods(),
    "fsspec's memory": fsspec_memory,
}


@pytest.fixture(params=MAKERS)
def make(request, tmp_path):
    """A way to make file objects; those that can be closed are closed at the end."""
    with contextlib.ExitStack() as opened:

        def opening():
            file = MAKERS[request.param](tmp_path)
            if hasattr(file, "close"):
                opened.callback(file.close)
            return file

        yield opening


WAYS = {
    "plain": {},
    "zlib": {"compress": "zlib"},
    "lz4": {"compress": "lz4"},
    "xz": {"compress": "xz"},
    "layout joblib": {"layout": "joblib"},
    "protocol 2": {"protocol": 2},
}
ways = pytest.mark.parametrize("way", WAYS)


# ---------------------------------------------------------------- just written


def test_joblib_loads_what_was_just_written(make):
    file = make()
    joblib.dump(VALUE, file)
    assert same(joblib.load(file), VALUE)


@ways
def test_so_do_we(make, way):
    file = make()
    fastpersist.dump(VALUE, file, **WAYS[way])
    assert same(fastpersist.load(file), VALUE)


def test_whoever_wrote_it(make):
    for dump in (joblib.dump, pickle.dump, fastpersist.dump):
        file = make()
        dump(VALUE, file)
        assert same(fastpersist.load(file), VALUE)
    file = make()
    fastpersist.dump(VALUE, file)
    assert same(joblib.load(file), VALUE)


@ways
def test_a_load_that_came_to_the_end(make, way):
    """Meant to differ: joblib loads the first dump again and again."""
    file = make()
    fastpersist.dump(VALUE, file, **WAYS[way])
    fastpersist.load(file)
    for _ in range(2):
        with pytest.raises(EOFError):
            fastpersist.load(file)
    file.seek(0)
    assert same(fastpersist.load(file), VALUE)
    if way == "layout joblib":
        for _ in range(2):
            assert same(joblib.load(file), VALUE)


@ways
def test_dumps_in_sequence(make, way):
    """pickle is the peer here: from a file object of its own it loads them one after the other."""
    file, pickled = make(), make()
    for number in range(3):
        fastpersist.dump([number], file, **WAYS[way])
        pickle.dump([number], pickled)
    for rewind in (False, True, True):
        if rewind:
            file.seek(0)
        pickled.seek(0)
        for number in range(3):
            assert fastpersist.load(file) == [number]
            assert pickle.load(pickled) == [number]
        for load, source in ((fastpersist.load, file), (pickle.load, pickled)):
            with pytest.raises(EOFError):
                load(source)


@ways
def test_written_anew_after_a_load(make, way):
    file = make()
    if not hasattr(file, "truncate"):
        pytest.skip("cannot be cut")
    for number in range(3):  # dumps of one length, so the end stays where it was
        file.seek(0)
        file.truncate()
        fastpersist.dump([number], file, **WAYS[way])
        assert fastpersist.load(file) == [number]
        with pytest.raises(EOFError):
            fastpersist.load(file)


def test_written_on_after_a_load(make):
    """As joblib does: the file's first dump. Whoever appends goes back to where he began."""
    file = make()
    for dump in (fastpersist.dump, joblib.dump, pickle.dump):
        file.seek(0, 2) if type(file) is not FewMethods else None
        begin = file.tell()
        dump([begin], file)
        assert fastpersist.load(file) == joblib.load(file) == [0]
        file.seek(begin)
        assert fastpersist.load(file) == [begin]
        with pytest.raises(EOFError):
            fastpersist.load(file)


def test_in_the_middle(make):
    """Meant to differ: joblib goes to the start whatever the position is."""
    file = make()
    fastpersist.dump("first", file, layout="joblib")
    middle = file.tell()
    fastpersist.dump("second", file, layout="joblib")
    file.seek(middle)
    assert fastpersist.load(file) == "second"
    file.seek(middle)
    assert joblib.load(file) == "first"


def test_nothing_in_it(make):
    file = make()
    for load in (fastpersist.load, joblib.load, pickle.load):
        with pytest.raises(EOFError):
            load(file)


def test_what_was_read_by_hand(make):
    """At the end, but no load of ours was it: as joblib."""
    file = make()
    fastpersist.dump(VALUE, file)
    file.seek(0)
    while file.read(1000):
        pass
    assert same(fastpersist.load(file), VALUE)


def test_verify(make):
    file = make()
    fastpersist.dump(VALUE, file)
    fastpersist.verify(file)
    for call in (fastpersist.verify, fastpersist.load):
        with pytest.raises(EOFError):
            call(file)
    fastpersist.dump(VALUE, file)
    fastpersist.verify(file)


def test_two_files(make):
    main, second = make(), io.BytesIO()
    fastpersist.dump(VALUE, main, sidecar=second)
    assert same(fastpersist.load(main, sidecar=second), VALUE)
    with pytest.raises(EOFError):
        fastpersist.load(main, sidecar=second)
    main, second = io.BytesIO(), make()
    fastpersist.dump(VALUE, main, sidecar=second)
    assert len(fastpersist.read_sidecar(second)) == 1
    with pytest.raises(EOFError):
        fastpersist.read_sidecar(second)
    second.seek(0)
    fastpersist.load(main, sidecar=second)
    with pytest.raises(EOFError):
        fastpersist.read_sidecar(second)


# ---------------------------------------------------------------- loads that fail


def broken(number):
    raise ZeroDivisionError


class Broken:
    def __reduce__(self):
        return broken, (1,)


@ways
def test_a_load_that_failed(make, way):
    """It can be tried again, as with joblib; in a sequence it is not."""
    file = make()
    fastpersist.dump(Broken(), file, **WAYS[way])
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            fastpersist.load(file)
    if "compress" not in WAYS[way]:  # at its end joblib does not see that
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                joblib.load(file)
    file.seek(0)
    with pytest.raises(ZeroDivisionError):
        fastpersist.load(file)


@ways
def test_one_of_a_sequence_that_failed(make, way):
    file = make()
    fastpersist.dump("first", file, **WAYS[way])
    fastpersist.dump(Broken(), file, **WAYS[way])
    assert fastpersist.load(file) == "first"
    with pytest.raises(ZeroDivisionError):
        fastpersist.load(file)
    for _ in range(3):  # never the first again, wherever that left it
        with pytest.raises((EOFError, pickle.UnpicklingError)):
            fastpersist.load(file)


def test_a_sequence_that_was_cut(make):
    file = make()
    fastpersist.dump("first", file)
    whole = io.BytesIO()
    fastpersist.dump("second", whole)
    file.write(whole.getvalue()[:-5])
    assert fastpersist.load(file) == "first"
    with pytest.raises(fastpersist.TruncatedFileError):
        fastpersist.load(file)
    with pytest.raises(EOFError):
        fastpersist.load(file)


# ---------------------------------------------------------------- those that are not rewound


class NoWeakReferences:
    __slots__ = ("_file",)

    def __init__(self):
        self._file = io.BytesIO()

    def __getattr__(self, name):
        return getattr(self._file, name)


def test_where_it_cannot_be_known():
    """Meant to differ from joblib: it would be the first dump of a sequence again and again."""
    file = NoWeakReferences()
    fastpersist.dump("first", file, layout="joblib")
    with pytest.raises(EOFError):
        fastpersist.load(file)
    assert joblib.load(file) == "first"
    file.seek(0)
    assert fastpersist.load(file) == "first"


def test_files_with_peek(tmp_path):
    """joblib does not rewind these either."""
    with open(tmp_path / "file", "w+b") as file, tempfile.NamedTemporaryFile() as other:
        for target in (file, other):
            fastpersist.dump(VALUE, target)
            for load in (fastpersist.load, joblib.load, pickle.load):
                with pytest.raises(EOFError):
                    load(target)


def test_what_cannot_seek():
    class Pipe(io.BytesIO):
        def seekable(self):
            return False

        def seek(self, *arguments):
            raise io.UnsupportedOperation

    class Half(io.BytesIO):
        """A stream of a package that has the methods, and means none of them."""

        seekable = None

        def __getattribute__(self, name):
            if name == "seekable":
                raise AttributeError
            return super().__getattribute__(name)

        def seek(self, *arguments):
            raise NotImplementedError

    for make in (Pipe, Half):
        file = make()
        fastpersist.dump(VALUE, file)
        with pytest.raises(EOFError):
            fastpersist.load(file)
        with pytest.raises((OSError, NotImplementedError)):
            joblib.load(file)
        assert same(fastpersist.load(make(file.getvalue())), VALUE)


def test_mapped_memory(tmp_path):
    """mmap.mmap has no seekable() before Python 3.13."""
    path = tmp_path / "file"
    for compress in (0, "zlib", "lz4"):
        with open(path, "wb") as file:
            for number in range(3):
                fastpersist.dump([number], file, compress=compress)
        with open(path, "rb") as file:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                mapped.seek(0, 2)
                for number in range(3):
                    assert fastpersist.load(mapped) == [number]
                for _ in range(2):
                    with pytest.raises(EOFError):
                        fastpersist.load(mapped)
                if not compress:
                    assert joblib.load(mapped) == [0]


def test_mapped_loads(tmp_path):
    """Of a file without a buffer, which is mapped where it stands."""
    with open(tmp_path / "file", "w+b", buffering=0) as file:
        fastpersist.dump(VALUE, file)
        loaded = fastpersist.load(file, mmap_mode="r")
        assert isinstance(loaded["array"], np.memmap)
        assert same(loaded, VALUE)
        with pytest.raises(EOFError):
            fastpersist.load(file, mmap_mode="r")
        joblib.dump(VALUE, file)
        assert same(joblib.load(file, mmap_mode="r"), VALUE)


# ---------------------------------------------------------------- what is kept


def test_nothing_keeps_the_file():
    gc.collect()
    before = len(_ends._ends)
    file = Memory()
    fastpersist.dump(VALUE, file)
    fastpersist.load(file)
    assert len(_ends._ends) == before + 1
    reference = weakref.ref(file)
    del file
    gc.collect()
    assert reference() is None
    assert len(_ends._ends) == before
    for _ in range(100):  # others at the same addresses
        file = io.BytesIO()
        fastpersist.dump(VALUE, file)
        assert same(fastpersist.load(file), VALUE)
    del file
    gc.collect()
    assert len(_ends._ends) == before


def test_a_file_in_a_circle():
    gc.collect()
    before = len(_ends._ends)
    for _ in range(10):
        file = Memory()
        file.itself = file
        fastpersist.dump(VALUE, file)
        fastpersist.load(file)
        del file
    gc.collect()
    assert len(_ends._ends) == before


def test_a_dump_that_fails_is_forgotten_too():
    file = io.BytesIO()
    fastpersist.dump([1], file)
    fastpersist.load(file)
    with pytest.raises(Exception, match="lambda"):
        fastpersist.dump(lambda: 1, file)
    file.seek(0, 2)
    assert fastpersist.load(file) == [1]

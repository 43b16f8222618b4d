"""What the fuzz target "unpickle" does with an input; called by fuzz_unpickle.c and by the tests.

The first byte says how the rest is read: as a pickle from memory and from files, as a stream of
joblib's layout, as the graph of a file of ours (with blobs, and every hash right), or as whole
bytes of a file. Fuzzed bytes can name any function of any module: an audit hook refuses all names
but a few that do no harm, in the embedding program for good, in the tests while a replay runs.

Properties: no sanitizer report and no crash (watched by the program around this), an exception or
a value and nothing else, the same kind of outcome whatever the bytes come from.
"""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import pickletools
import struct
import sys
import warnings

if "_fastpersist_core" in sys.builtin_module_names:
    import _fastpersist_core

    sys.modules["fastpersist._core"] = _fastpersist_core
    EMBEDDED = True
else:
    EMBEDDED = False

import fastpersist
import forged_files as forge
import frames
import numpy as np

HARMLESS = {
    "builtins": {"set", "frozenset", "complex", "list", "dict", "object", "bytearray", "int"},
    "__builtin__": {"set", "frozenset", "complex", "list", "dict", "object", "bytearray"},
    "collections": {"OrderedDict", "Counter"},
    "copyreg": {"_reconstructor", "__newobj__", "__newobj_ex__"},
    "copy_reg": {"_reconstructor"},
    "numpy": {"ndarray", "dtype"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "joblib.numpy_pickle": {"NumpyArrayWrapper"},
    "unpickle_target": {"Plain", "Slots", "WithState", "Sequence", "Mapping"},
}
# What a pickle may raise, and what the classes above may.
EXPECTED = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,  # UnicodeDecodeError, CorruptFileError
    TypeError,
    AttributeError,
    LookupError,
    OverflowError,
    MemoryError,
    ImportError,
    RecursionError,
    RuntimeError,
    SyntaxError,  # of NumPy, for the dtype ",f8"
    AssertionError,
    SystemError,  # NumPy, of states that it did not write
    NotImplementedError,
)
LIMIT = 1 << 16


class Plain:
    pass


class Slots:
    __slots__ = ("a", "b", "__weakref__")


class WithState:
    def __setstate__(self, state):
        self.state = state


class Sequence(list):
    pass


class Mapping(dict):
    pass


_refusing = EMBEDDED
_forbidden = False  # to look up any name


def _audit(event, arguments):
    if event == "pickle.find_class" and _forbidden:
        os.abort()
    if _refusing and event == "pickle.find_class":
        module, name = arguments
        if name not in HARMLESS.get(module, ()):
            raise pickle.UnpicklingError(f"{module}.{name} is not harmless")


sys.addaudithook(_audit)


@contextlib.contextmanager
def harmless():
    """While this lasts, unpickling finds only harmless names."""
    global _refusing
    before, _refusing = _refusing, True
    try:
        yield
    finally:
        _refusing = before


class Restricted(fastpersist.Unpickler):
    def find_class(self, module, name):
        if name not in HARMLESS.get(module, ()):
            raise pickle.UnpicklingError(f"{module}.{name} is not harmless")
        return super().find_class(module, name)

    def persistent_load(self, pid):
        return [pid]


class OnlyRead:
    """A file object without readinto and peek, which gives a few bytes at a time."""

    def __init__(self, data, step):
        self.file = io.BytesIO(data)
        self.step = step
        self.readline = self.file.readline

    def read(self, n=-1):
        return self.file.read(min(n, self.step) if n >= 0 else n)


def outcome(function, *arguments, **keywords):
    """The type of what a call returned, or of what it raised."""
    try:
        value = function(*arguments, **keywords)
    except EXPECTED as error:
        return type(error)
    return type(value)


def is_same(first, second):
    """Memory may run out here and not there, and a cut is named differently."""
    ends = (EOFError, fastpersist.TruncatedFileError, pickle.UnpicklingError)
    return (
        first is second
        or MemoryError in (first, second)
        or RecursionError in (first, second)
        or (first in ends and second in ends)
    )


def _pair():
    first, second = io.BytesIO(), io.BytesIO()
    fastpersist.dump([np.arange(4), np.arange(3000), b"x"], first, sidecar=second)
    return first.getvalue(), second.getvalue()


PAIR = _pair()

# ---------------------------------------------------------------- the ways


def as_pickle(data):
    from_memory = outcome(fastpersist.loads, data)
    from_file = outcome(lambda: fastpersist.Unpickler(OnlyRead(data, 5)).load())
    assert is_same(from_memory, from_file), (from_memory, from_file)
    assert frames.breach(data) is None or issubclass(from_memory, Exception), from_memory


def as_restricted(data):
    buffers = [bytearray(b"ab"), b"cd", np.arange(3)]
    unpickler = Restricted(io.BytesIO(data), buffers=buffers, encoding="bytes")
    for _ in range(3):  # the memo stays from one to the next
        if isinstance(outcome(unpickler.load), Exception):
            break


def as_text(data):
    outcome(fastpersist.loads, data, encoding="latin1", fix_imports=False)
    file = io.BufferedReader(io.BytesIO(data), 16)
    outcome(lambda: fastpersist.Unpickler(file, encoding="latin1").load())


def as_stream(data):
    """Whatever load() makes of a file object: joblib's layout, ours, compressed."""
    first = outcome(fastpersist.load, OnlyRead(data, 1 << 20))
    second = outcome(fastpersist.load, io.BufferedReader(io.BytesIO(data), 64))
    assert is_same(first, second), (first, second)


def as_path(data):
    fd = os.memfd_create("fuzz")
    try:
        os.write(fd, data)
        path = f"/proc/self/fd/{fd}"
        outcome(fastpersist.load, path)
        outcome(fastpersist.load, path, mmap_mode="r", verify="full")
        outcome(fastpersist.load, OnlyRead(data, 1 << 20))
        outcome(fastpersist.load, path, max_bytes=len(data) // 2)
        verified(path)
    finally:
        os.close(fd)


def verified(source):
    """Nothing is looked up, and no more than a few kinds of exceptions come out."""
    global _forbidden
    _forbidden = True
    try:
        fastpersist.verify(source)
    except (fastpersist.CorruptFileError, EOFError, MemoryError):
        pass
    except ValueError as error:
        assert "sidecar" in str(error) or "0.10" in str(error), error
    except pickle.UnpicklingError as error:
        assert "later version" in str(error), error
    finally:
        _forbidden = False


def as_verified(data):
    verified(io.BytesIO(data))
    verified(OnlyRead(data, 7))


def as_sidecar(data):
    """u8 which file is changed, u16 where, then what is written there."""
    files = list(PAIR)
    which, at = data[0] & 1 if data else 0, int.from_bytes(data[1:3], "little")
    changed = bytearray(files[which])
    changed[at : at + len(data[3:])] = data[3:]
    files[which] = bytes(changed)
    for mode in (None, "r"):
        fds = [os.memfd_create("fuzz") for _ in files]
        paths = [f"/proc/self/fd/{fd}" for fd in fds]
        try:
            for fd, content in zip(fds, files, strict=True):
                os.write(fd, content)
            outcome(fastpersist.load, paths[0], mode, sidecar=paths[1], verify="full")
            outcome(fastpersist.verify, paths[0], sidecar=paths[1])
        finally:
            for fd in fds:
                os.close(fd)
    outcome(fastpersist.load, io.BytesIO(files[0]), sidecar=io.BytesIO(files[1]))


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
    as_path(forge.dump(blobs, data[at:]))


def as_frames(data):
    """The graph's frames as they come, and the numbers of the blobs."""
    numbers = list(struct.unpack("<3I", data[:12].ljust(12, b"\0")))
    blobs = [(0, b"a" * 20000), (1, b"b" * 20), (2, b"c" * 20000)]
    as_path(forge.dump(blobs, graph=data[12:], numbers=numbers))


WAYS = [as_pickle, as_restricted, as_text, as_stream, as_path, as_graph, as_frames]
WAYS += [as_verified, as_sidecar]


def is_bounded(data):
    """Whether no container is doubled more often than memory bears: 40 times x = (x, x) and a
    repr or a comparison never ends, in any unpickler."""
    return data.count(b"2") + data.count(b"h") + data.count(b"j") < 2000


def one(data):
    if not data or len(data) > LIMIT or not is_bounded(data):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        WAYS[data[0] % len(WAYS)](data[1:])


# ---------------------------------------------------------------- seeds


def seeds():
    """Inputs that reach much: pickles of all kinds in each of the ways."""
    plain = Plain()
    plain.a, plain.b = [1, 2.5, "text", b"bytes", None, True], {"k": (1, 2), 3: {4, 5}}
    slots = Slots()
    slots.a = [plain, plain.a]
    state = WithState()
    state.__dict__["x"] = 1
    mapping = Mapping(a=1)
    mapping.b = 2
    values = [
        [plain, slots, plain.a],
        [Sequence([1, [2]]), mapping, state, frozenset([1]), {1, 2}],
        {"": -1, "é": 2**40, "x" * 300: 1 << 300, "\ud800": bytearray(b"ab"), 1: 1 + 2j},
        [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), 300, -5, 70000, 2.5],
        [np.arange(4), np.float32(2), np.zeros((2, 2), order="F"), np.array(["a", None], object)],
        np.zeros(2, [("a", "<f4"), ("b", ">i2", 2)]),
        [{"a": 1, "b": []}, {"a": 2, "b": [1]}] * 2,
    ]
    for value in values:
        for protocol in range(6):
            if protocol < 2 and value is values[0]:
                continue
            data = pickle.dumps(value, protocol)
            for way in (as_pickle, as_restricted, as_text, as_stream):
                yield bytes([WAYS.index(way)]) + data
        for size in (1, 2, 7, 64):
            body = pickle.dumps(value, 3)[2:]
            yield bytes([WAYS.index(as_pickle)]) + b"\x80\4" + forge.frames(body, size)
        joblib_data = _with_joblib(value)
        if joblib_data is not None:
            yield bytes([WAYS.index(as_stream)]) + joblib_data
            yield bytes([WAYS.index(as_path)]) + joblib_data
        file = io.BytesIO()
        fastpersist.dump(value, file)
        yield bytes([WAYS.index(as_path)]) + file.getvalue()
        yield bytes([WAYS.index(as_stream)]) + file.getvalue()
        body = pickletools.optimize(pickle.dumps(value, 4))[2:-1]
        yield bytes([WAYS.index(as_graph), 0]) + body.replace(b"\x95", b"\x95")
    array = b"\x8c\x05numpy\x8c\x07ndarray\x93(K\x04\x85\x8c\x03<f8h\0tR"
    yield bytes([WAYS.index(as_graph), 1, 0, 32]) + array
    yield bytes([WAYS.index(as_graph), 1, 0, 0x80 | 40]) + array
    strided = b"\x8c\x05numpy\x8c\x07ndarray\x93(K\x02K\x02\x86\x8c\x03<f8h\0K\x08(K\x08K\x10ttR"
    yield bytes([WAYS.index(as_graph), 1, 0, 64]) + strided
    fortran = b"\x8c\x05numpy\x8c\x07ndarray\x93(K\x02K\x02\x86\x8c\x03>f8h\0K\0N\x8c\x01FtR"
    yield bytes([WAYS.index(as_graph), 1, 0, 64]) + fortran
    yield bytes([WAYS.index(as_graph), 3, 0, 5, 1, 5, 2, 5]) + b"(h\0h\1h\2t"
    for value in values[:2]:
        yield bytes([WAYS.index(as_verified)]) + pickle.dumps(value, 2)
        yield bytes([WAYS.index(as_verified)]) + (_with_joblib(value) or b"")
    for which, content in enumerate(PAIR):
        yield bytes([WAYS.index(as_sidecar), which, 0, 0]) + content[:8]
        at = len(content) - 100
        yield bytes([WAYS.index(as_sidecar), which]) + at.to_bytes(2, "little") + content[at:]
    graph = b"(h\0h\1h\2t"
    yield bytes([WAYS.index(as_frames)]) + struct.pack("<3I", 0, 1, 2) + forge.frames(graph)


def _with_joblib(value):
    try:
        import joblib
    except ImportError:
        return None
    file = io.BytesIO()
    joblib.dump(value, file)
    return file.getvalue()

"""Changes one opcode, name, number, length or element of the files of benign models, makes the
hashes right again, and loads what came of it under the built-in policy.

    python tests/policy/mutate.py [--cases N] [--seconds N] [--seed N] [--models NAME ...]

Each case must be refused, fail cleanly, or load; what loads is shown (repr) and used (predict,
sums) and must neither crash nor reach for anything outside: an audit hook watches. Cases
run in children, many in one; a child that dies is noted with its case, and another goes on behind
it. Each case is made from (seed, number) alone: `--only N` runs one again, in this process. Under
sanitizers: set LD_PRELOAD and so on as the target `asan` of the Makefile does.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import contextlib
import importlib
import io
import mmap
import pathlib
import pickle
import pickletools
import random
import resource
import signal
import struct
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

SUPPORT = str(pathlib.Path(__file__).resolve().parents[1] / "support")
if SUPPORT not in sys.path:
    sys.path.append(SUPPORT)

import fastpersist  # noqa: E402
import forged_files  # noqa: E402
import format_reader  # noqa: E402
import numpy as np  # noqa: E402

# ---------------------------------------------------------------- models


def _data(n: int = 40) -> tuple[Any, Any]:
    chance = np.random.default_rng(0)
    x = chance.normal(size=(n, 4))
    return x, (x[:, 0] + x[:, 1] > 0).astype(int)


def forest() -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(2, max_depth=3, random_state=0).fit(*_data())


def boosting() -> Any:
    from sklearn.ensemble import GradientBoostingClassifier

    return GradientBoostingClassifier(n_estimators=2, random_state=0).fit(*_data())


def hist_boosting() -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier

    # Categories would bring a functools.partial, which is never allowed.
    return HistGradientBoostingClassifier(
        max_iter=2, min_samples_leaf=3, max_leaf_nodes=5, random_state=0
    ).fit(*_data())


def logistic_pipeline() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression()).fit(*_data())


def knn() -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(3, algorithm="brute").fit(*_data())


def mlp() -> Any:
    from sklearn.neural_network import MLPClassifier

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MLPClassifier((5,), max_iter=5, random_state=0).fit(*_data())


def svc() -> Any:
    from sklearn.svm import SVC

    return SVC().fit(*_data())


def frame() -> Any:
    import pandas

    columns = {"a": np.arange(20), "b": np.arange(20) / 3, "c": list("xy") * 10}
    made = pandas.DataFrame(columns)
    made["d"] = pandas.Categorical(list("uvw") * 6 + ["u", "v"])
    made["e"] = pandas.date_range("2020-01-01", periods=20)
    return made


def sparse() -> Any:
    import scipy.sparse

    made = scipy.sparse.random(20, 30, 0.1, "csr", random_state=0)
    return {"csr": made, "csc": made.tocsc(), "coo": made.tocoo(), "bsr": made.tobsr((2, 2))}


def arrays() -> Any:
    return {
        "floats": np.arange(40.0),
        "fortran": np.asfortranarray(np.arange(12, dtype="i2").reshape(3, 4)),
        "foreign": np.arange(8, dtype=">u4"),
        "records": np.zeros(4, [("a", "<f4"), ("b", "u1", 3)]),
        "objects": np.array([None, "a", 1, [2, 3], {"k": 0.5}], dtype=object),
        "own blob": np.arange(5000, dtype="u4"),
        "times": np.arange(4).astype("M8[s]"),
        "scalars": [np.float64(1), np.int8(2), np.datetime64(1, "D"), np.str_("x")],
        "others": [{1, 2}, frozenset([3]), 1 + 2j, range(3), slice(1, 2), bytearray(b"ab")],
        "empty": np.empty((0, 3)),
        "generator": np.random.default_rng(0),
        "masked": np.ma.array([1, 2, 3], mask=[0, 1, 0]),
    }


def gaussian_process() -> Any:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, WhiteKernel

    kernel = RBF() + WhiteKernel()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return GaussianProcessRegressor(kernel, random_state=0).fit(*_data(10))


def isolation_forest() -> Any:
    from sklearn.ensemble import IsolationForest

    return IsolationForest(n_estimators=2, max_samples=16, random_state=0).fit(_data()[0])


MODELS: dict[str, Callable[[], Any]] = {
    "forest": forest,
    "boosting": boosting,
    "hist boosting": hist_boosting,
    "logistic pipeline": logistic_pipeline,
    "KNN": knn,
    "MLP": mlp,
    "SVC": svc,
    "DataFrame": frame,
    "sparse": sparse,
    "arrays": arrays,
    "Gaussian process": gaussian_process,
    "isolation forest": isolation_forest,
}


def neighbours() -> Any:
    from sklearn.neighbors import KNeighborsClassifier

    return KNeighborsClassifier(3, algorithm="kd_tree").fit(*_data())


def balls() -> Any:
    from sklearn.neighbors import KNeighborsRegressor

    return KNeighborsRegressor(3, algorithm="ball_tree", metric="manhattan").fit(*_data())


def splines() -> Any:
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import SplineTransformer

    return make_pipeline(SplineTransformer(), LinearRegression()).fit(*_data())


def isotonic() -> Any:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.linear_model import LogisticRegression

    return CalibratedClassifierCV(LogisticRegression(), method="isotonic", cv=3).fit(*_data())


def birch() -> Any:
    from sklearn.cluster import Birch

    return Birch(n_clusters=3).fit(_data()[0])


def kmeans() -> Any:
    from sklearn.cluster import KMeans

    return KMeans(3, n_init=1, random_state=0).fit(_data()[0])


def sparse_svc() -> Any:
    import scipy.sparse
    from sklearn.svm import SVC

    return SVC().fit(scipy.sparse.csr_matrix(_data()[0]), _data()[1])


def extra_trees() -> Any:
    from sklearn.ensemble import ExtraTreesRegressor

    x, y = _data()
    return ExtraTreesRegressor(2, max_depth=3, random_state=0).fit(x, np.column_stack([y, x[:, 0]]))


def other_sparse() -> Any:
    import scipy.sparse

    made = scipy.sparse.random(12, 10, 0.2, "csr", random_state=0)
    return {"lil": made.tolil(), "dok": made.todok(), "dia": made.todia(), "array": made.tocoo()}


def interpolators() -> Any:
    import scipy.interpolate as interpolate

    x = np.arange(8.0)
    return {
        "spline": interpolate.make_interp_spline(x, x**2),
        "cubic": interpolate.CubicSpline(x, x**2),
        "pchip": interpolate.PchipInterpolator(x, x**2),
    }


MORE: dict[str, Callable[[], Any]] = {
    "neighbours in a tree": neighbours,
    "neighbours in balls": balls,
    "splines": splines,
    "isotonic": isotonic,
    "birch": birch,
    "k-means": kmeans,
    "sparse SVC": sparse_svc,
    "extra trees": extra_trees,
    "sparse matrices": other_sparse,
    "interpolators": interpolators,
}
NEEDS_LIBRARIES = set(MODELS | MORE) - {"arrays"}

# ---------------------------------------------------------------- mutations

# Names that a mutation may put in the place of another: of modules that are approved, and of what
# attacks reach for.
NAMES = [
    ("builtins", "exec"),
    ("builtins", "eval"),
    ("builtins", "getattr"),
    ("builtins", "set"),
    ("builtins", "slice"),
    ("builtins", "int"),
    ("builtins", "list"),
    ("os", "system"),
    ("attack_marks", "mark"),
    ("attack_marks", "Array"),
    ("functools", "partial"),
    ("collections", "OrderedDict"),
    ("collections", "Counter"),
    ("collections", "defaultdict"),
    ("collections", "deque"),
    ("copyreg", "_reconstructor"),
    ("copyreg", "__newobj__"),
    ("_codecs", "encode"),
    ("decimal", "Decimal"),
    ("datetime", "datetime"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy", "load"),
    ("numpy", "float64"),
    ("numpy", "void"),
    ("numpy", "object_"),
    ("numpy", "memmap"),
    ("numpy", "matrix"),
    ("numpy.ma", "MaskedArray"),
    ("numpy.ma.core", "_mareconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.random._pickle", "__generator_ctor"),
    ("numpy.random._pickle", "__bit_generator_ctor"),
    ("numpy.random._pcg64", "PCG64"),
    ("numpy.random._mt19937", "MT19937"),
    ("scipy.sparse._csr", "csr_matrix"),
    ("scipy.sparse._csc", "csc_matrix"),
    ("scipy.sparse._coo", "coo_matrix"),
    ("sklearn.tree._tree", "Tree"),
    ("sklearn.tree._classes", "DecisionTreeClassifier"),
    ("sklearn.tree._classes", "DecisionTreeRegressor"),
    ("sklearn.ensemble._forest", "RandomForestClassifier"),
    ("sklearn.linear_model._logistic", "LogisticRegression"),
    ("sklearn.linear_model._base", "LinearRegression"),
    ("sklearn.neighbors._kd_tree", "KDTree"),
    ("sklearn.neighbors._kd_tree", "newObj"),
    ("sklearn.utils._bunch", "Bunch"),
    ("sklearn.svm._classes", "SVC"),
    ("sklearn.ensemble._hist_gradient_boosting.predictor", "TreePredictor"),
    ("sklearn.ensemble._hist_gradient_boosting.binning", "_BinMapper"),
    ("pandas", "DataFrame"),
    ("pandas.core.internals.managers", "BlockManager"),
    ("pandas._libs.internals", "_unpickle_block"),
    ("pandas.core.indexes.base", "Index"),
    ("pandas.core.indexes.base", "_new_Index"),
]
TEXTS = ["__class__", "__dict__", "__setstate__", "__array_interface__", "__array__", "predict"]
TEXTS += ["shape", "nodes", "data", "indptr", "", "O", "|O8", "<f8", "i8,O", "V8", ">i4", "C", "F"]
NUMBERS = [0, 1, 2, 3, 4, 7, 8, 63, 64, 127, 128, 255, 256, 1000, 65535, 65536, 1 << 28]
NUMBERS += [(1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, (1 << 63) - 1, 1 << 63]
NUMBERS += [1 << 64, -1, -2, -8, -128, -(1 << 31), -(1 << 63), 12345]
ELEMENTS = [b"\xff", b"\0", b"\x80", b"\x7f", b"\1", b"\xff\xff\xff\x7f", b"\xfe\xff\xff\xff"]
ELEMENTS += [b"\0\0\0\x10", b"\xff" * 8, b"\0" * 8, b"\0\0\0\0\0\0\xf8\x7f", b"\1\0\0\0\0\0\0\0"]
ELEMENTS += [b"\0\0\0\x10\0\0\0\0", b"\0\0\0\0\0\0\0\x80", b"\x20\0\0\0", b"\xff" * 4]
# Opcodes without arguments, and how many values they take and leave is of no account here.
BARE = [o.code.encode("latin1") for o in pickletools.opcodes if o.arg is None and o.name != "STOP"]
EXTRA = [b"J\xff\xff\xff\xff", b"h\0", b"h\1", b"q\0", b"cos\nsystem\n", b"\x8c\1a", b"C\1a"]
EXTRA += [b"\x82\1", b"(ios\nsystem\n", b"Pid\n", b"\x95\4\0\0\0\0\0\0\0", b"K\1", b"\x80\2"]
TEXT_OPCODES = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "SHORT_BINSTRING"}
NUMBER_OPCODES = {"BININT", "BININT1", "BININT2", "LONG1", "INT", "LONG"}
BYTES_OPCODES = {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "BINSTRING"}
MEMO_OPCODES = {"BINGET": "<B", "LONG_BINGET": "<I", "BINPUT": "<B", "LONG_BINPUT": "<I"}


@dataclass
class Piece:
    name: str
    argument: Any
    data: bytes


def pieces_of(opcodes: bytes) -> list[Piece]:
    """The opcodes, frames left out; ends with STOP."""
    found = list(pickletools.genops(opcodes))
    ends = [at for _, _, at in found[1:]] + [len(opcodes)]
    return [
        Piece(opcode.name, argument, opcodes[at:end])
        for (opcode, argument, at), end in zip(found, ends, strict=True)
        if opcode.name != "FRAME"
    ]


def text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def changed_bytes(data: bytes, chance: random.Random) -> bytes:
    """One element of an array, most likely."""
    if not data:
        return b"\xff" * chance.choice((1, 8))
    if chance.random() < 0.05:
        return data[: chance.randrange(len(data))]
    if chance.random() < 0.05:
        return data + bytes(chance.choice((1, 8, 64)))
    element = chance.choice(ELEMENTS)
    at = chance.randrange(len(data)) // len(element) * len(element)
    return (data[:at] + element + data[at + len(element) :])[: len(data)]


def change_text(piece: Piece, pieces: list[Piece], chance: random.Random) -> bytes:
    others = [p.argument for p in pieces if p.name in TEXT_OPCODES]
    kind = chance.random()
    if kind < 0.45:
        return text(chance.choice(others))
    if kind < 0.65:
        return text(chance.choice(TEXTS))
    if kind < 0.8:
        return text(chance.choice(chance.choice(NAMES)))
    value = piece.argument
    at = chance.randrange(len(value) + 1)
    return text(value[:at] + chance.choice(("", ".", "_", "a", "\0", "0")) + value[at + 1 :])


MADE = {
    "EMPTY_LIST",
    "EMPTY_DICT",
    "EMPTY_SET",
    "REDUCE",
    "NEWOBJ",
    "BUILD",
    "TUPLE",
    "LIST",
    "DICT",
}


def changed_late(pieces: list[Piece], chance: random.Random) -> list[bytes]:
    """Something is changed once more when the objects that hold it were made of it, and checked."""
    out = [piece.data for piece in pieces]
    made = [i for i, piece in enumerate(pieces) if piece.name in MADE]
    states = [i - 1 for i, piece in enumerate(pieces) if piece.name == "BUILD"]
    if not made:
        return out
    first, second = chance.choice(made), chance.choice(states or made)
    out[second] += b"r\1\xee\0\0"
    out[first] += b"r\0\xee\0\0"
    texts = [piece.argument for piece in pieces if piece.name in TEXT_OPCODES] or [""]
    value = chance.choice((number(chance.choice(NUMBERS)), b"N", b"j\1\xee\0\0", b"C\0"))
    key = chance.choice((text(chance.choice(texts)), number(chance.randrange(3))))
    late = chance.choice(
        (value + b"a", b"(" + value * 3 + b"e", key + value + b"s", b"j\1\xee\0\0b", value + b"b")
    )
    late = b"j\0\xee\0\0" + late + b"0"
    last = chance.choice((len(out) - 1, len(out) - 1, chance.randrange(first, len(out))))
    out[last] = late + out[last]
    return out


def changed(pieces: list[Piece], chance: random.Random) -> list[bytes]:
    """The opcodes with one change."""
    out = [piece.data for piece in pieces]
    which = chance.random()
    if which < 0.15:
        return changed_late(pieces, chance)
    if which < 0.18:
        built = [i for i, piece in enumerate(pieces) if piece.name == "BUILD"]
        if built:
            out[chance.choice(built)] = b"0"  # never gets its state
            return out
    kind = chance.random()
    if kind < 0.12:
        names = [i for i, piece in enumerate(pieces) if piece.name == "STACK_GLOBAL"]
        names += [i for i, piece in enumerate(pieces) if piece.name == "GLOBAL"]
        if names:
            i = chance.choice(names)
            module, name = chance.choice(NAMES)
            stack = b"" if pieces[i].name == "GLOBAL" else b"00"
            new = text(module) + text(name) + b"\x93"
            out[i] = stack + (new if stack else f"c{module}\n{name}\n".encode())
            return out
    if kind < 0.5:
        wanted = chance.choice((TEXT_OPCODES, NUMBER_OPCODES, NUMBER_OPCODES, BYTES_OPCODES))
        where = [i for i, piece in enumerate(pieces) if piece.name in wanted]
        if where:
            i = chance.choice(where)
            piece = pieces[i]
            if wanted is TEXT_OPCODES:
                out[i] = change_text(piece, pieces, chance)
            elif wanted is NUMBER_OPCODES:
                value = piece.argument if isinstance(piece.argument, int) else 0
                near = [value - 1, value + 1, value * 2, -value]
                out[i] = number(chance.choice(near if chance.random() < 0.4 else NUMBERS))
            else:
                value = piece.argument
                value = value.encode("latin1") if isinstance(value, str) else bytes(value)
                value = changed_bytes(value, chance)
                code = b"\x96" if piece.name == "BYTEARRAY8" else b"\x8e"
                out[i] = code + struct.pack("<Q", len(value)) + value
            return out
    i = chance.randrange(len(pieces) - 1)
    piece = pieces[i]
    if piece.name in MEMO_OPCODES and kind < 0.8:
        new = max(0, piece.argument + chance.choice((-2, -1, 1, 2, 5, 100)))
        name = "j" if "GET" in piece.name else "r"
        out[i] = name.encode() + struct.pack("<I", new)
    elif kind < 0.6:
        out[i] = chance.choice(BARE)
    elif kind < 0.7:
        out[i] = b""
    elif kind < 0.75:
        out[i] = out[i] * 2
    elif kind < 0.8:
        j = chance.randrange(len(pieces) - 1)
        out[i], out[j] = out[j], out[i]
    elif kind < 0.85:
        j = chance.randrange(len(pieces) - 1)
        out[i] = out[j]
    elif kind < 0.9:
        out[i] = chance.choice(EXTRA)
    elif kind < 0.95:
        out[i] += chance.choice(BARE)
    else:
        j = min(len(pieces) - 1, i + chance.randrange(1, 20))
        start = chance.randrange(len(pieces) - 1)
        out[i:j] = out[start : start + j - i]
    return out


# ---------------------------------------------------------------- subjects


@dataclass
class Subject:
    """A model's files, taken apart."""

    name: str
    pieces: list[Piece]  # of our own layout's graph
    blobs: list[tuple[int, bytes]]
    numbers: list[int]
    plain: dict[int, list[Piece]] = field(default_factory=dict)
    joblib: bytes = b""
    reference: bytes = b""

    def case(self, chance: random.Random) -> tuple[str, bytes]:
        """In which layout, and the bytes of the file."""
        kind = chance.random()
        if kind < 0.4:
            graph = b"".join(changed(self.pieces, chance)[:-1])
            return "ours", forged_files.dump(self.blobs, graph, numbers=self.numbers)
        if kind < 0.6 and self.blobs:
            blobs = list(self.blobs)
            sizes = [len(payload) + 200 for _, payload in blobs]
            i = chance.choices(range(len(blobs)), sizes)[0]
            blobs[i] = (blobs[i][0], changed_bytes(blobs[i][1], chance))
            graph = b"".join(piece.data for piece in self.pieces[:-1])
            return "blob", forged_files.dump(blobs, graph, numbers=self.numbers)
        if kind < 0.9 or not self.joblib:
            protocol = chance.choice(list(self.plain))
            head = bytes([0x80, protocol]) if protocol >= 2 else b""
            return "pickle", head + b"".join(changed(self.plain[protocol], chance))
        data = bytearray(self.joblib)
        at = chance.randrange(len(data))
        new = chance.choice((*ELEMENTS, *BARE))
        data[at : at + len(new)] = new
        return "joblib", bytes(data)


def subject(name: str) -> Subject:
    value = (MODELS | MORE)[name]()
    file = io.BytesIO()
    fastpersist.dump(value, file)
    whole = file.getvalue()
    dump = format_reader.read(whole)
    kinds = {kind: number for number, kind in format_reader.KINDS.items()}
    blobs = [(kinds[blob.kind], dump.payload(blob)) for blob in dump.blobs]
    numbers = [blob.number for blob in dump.blobs]
    made = Subject(name, pieces_of(dump.graph_bytes + b"."), blobs, numbers)
    for protocol in (0, 2, 4, 5):
        try:
            data = pickle.dumps(value, protocol)
        except TypeError:  # __slots__, in protocol 0
            continue
        made.plain[protocol] = [p for p in pieces_of(data) if p.name != "PROTO"]
    try:
        import joblib
    except ImportError:
        pass
    else:
        file = io.BytesIO()
        joblib.dump(value, file)
        made.joblib = file.getvalue()
    made.reference = fastpersist.dumps(fastpersist.loads(pickle.dumps(value)))
    return made


def _by_child(name: str) -> bytes:
    """A subject as a pickle, made in a child: this process must not start OpenMP's threads before
    it forks."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            data = pickle.dumps(subject(name))
            with open(write_end, "wb") as pipe:
                pipe.write(data)
            status = 0
        finally:
            os._exit(status)
    os.close(write_end)
    with open(read_end, "rb") as pipe:
        data = pipe.read()
    if os.waitpid(pid, 0)[1] != 0:
        raise RuntimeError(f"no files of {name}")
    return data


def subjects(names: list[str]) -> list[Subject]:
    modules = [module for module, _ in NAMES if module not in ("os", "attack_marks")]
    if NEEDS_LIBRARIES.intersection(names):
        modules += ["sklearn.gaussian_process", "sklearn.neural_network", "sklearn.pipeline"]
    for module in modules:  # imported once; that starts no threads
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    return [pickle.loads(_by_child(name)) for name in names]


# ---------------------------------------------------------------- one case

REFUSED, FAILED, EQUAL, DIFFERENT, FOREIGN, ODD, CRASHED, HUNG = range(1, 9)
OUTCOMES = {
    REFUSED: "refused by the policy",
    FAILED: "failed cleanly",
    EQUAL: "equal",
    DIFFERENT: "another value",
    FOREIGN: "reached outside",
    ODD: "an exception of another kind",
    CRASHED: "crashed",
    HUNG: "hung",
}
BAD = {FOREIGN, ODD, CRASHED, HUNG}
CLEAN = (pickle.PickleError, EOFError, ValueError, MemoryError, OverflowError, TypeError)
CLEAN += (AttributeError, LookupError, ImportError, RecursionError, AssertionError, RuntimeError)
CLEAN += (NotImplementedError, SystemError, SyntaxError, ArithmeticError)

HARMFUL = ("os.", "subprocess.", "socket.", "shutil.", "pty.", "ctypes.", "urllib.", "ftplib.")
HARMFUL += ("smtplib.", "tempfile.", "sqlite3.", "signal.", "fcntl.", "webbrowser.")
HARMFUL += ("builtins.breakpoint", "builtins.input", "syslog.", "resource.")
# Looking for what may be imported, and threads' limits.
FINE = ("os.listdir", "os.scandir", "os.putenv", "os.unsetenv", "os.add_dll_directory")

_watching = False
_seen: list[str] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    if event == "open":
        mode = arguments[1]
        if isinstance(arguments[0], (str, bytes)) and isinstance(mode, str) and mode != "r":
            if any(letter in mode for letter in "wax+"):
                _seen.append(f"open {arguments[0]!r} {mode}")
    elif event == "pickle.find_class":
        if arguments in FORBIDDEN:
            _seen.append(f"find_class {arguments}")
    elif event == "import":
        if arguments[0] == "attack_marks":
            _seen.append(f"import {arguments[0]}")
    elif event.startswith(HARMFUL) and event not in FINE:
        _seen.append(event)


FORBIDDEN = {
    ("builtins", "exec"),
    ("builtins", "eval"),
    ("builtins", "getattr"),
    ("os", "system"),
    ("attack_marks", "mark"),
    ("attack_marks", "Array"),
    ("functools", "partial"),
    ("numpy", "load"),
    ("numpy", "memmap"),
}

X = np.linspace(-1, 1, 20).reshape(5, 4)


def use(value: Any) -> None:
    """What a user does with it next; whatever it raises is fine."""
    try:
        repr(value)
    except Exception:
        pass
    parts = [value]
    if type(value) is dict:
        parts = list(value.values())
        parts += [item for part in parts if type(part) is list for item in part]
    for part in parts:
        for step in (_predict, _numbers):
            try:
                step(part)
            except Exception:
                continue


def _predict(value: Any) -> None:
    if hasattr(value, "predict"):
        value.predict(X)
    if hasattr(value, "predict_proba"):
        value.predict_proba(X)


def _numbers(value: Any) -> None:
    if isinstance(value, np.ndarray) and value.size < 1 << 22:
        repr(value)
        value.copy()
        value.sum()
    elif isinstance(value, np.random.Generator):
        value.random(700)
    elif hasattr(value, "tocsr") and np.prod(value.shape) < 1 << 22:
        value.toarray()
        value @ np.ones(value.shape[1])
        value.tocsr().sum_duplicates()
    elif type(value).__module__.startswith("scipy.interpolate"):
        value(np.linspace(0, 5, 7))
    elif hasattr(value, "iloc") and len(value) < 1 << 20:
        value.copy()
        value.iloc[::-1].describe(include="all")
        value.sort_values("a")
        value["d"].astype(str)


def outcome(made: Subject, data: bytes, layout: str, only_wall_2: bool = False) -> int:
    """Loads one file, and uses what comes of it."""
    global _watching
    _seen.clear()
    _watching = True
    try:
        try:
            if layout == "pickle":
                value = fastpersist.loads(data, trusted=())
            else:
                value = fastpersist.load(io.BytesIO(data), trusted=(), environment="ignore")
        except fastpersist.UntrustedError:
            return FOREIGN if _seen else REFUSED
        except CLEAN:
            return FOREIGN if _seen else FAILED
        except Exception as error:
            _seen.append(repr(error))
            return ODD
        use(value)
        if _seen:
            return FOREIGN
    finally:
        _watching = False
    try:
        return EQUAL if fastpersist.dumps(value) == made.reference else DIFFERENT
    except Exception:
        return DIFFERENT


def case(made: list[Subject], seed: int, i: int) -> tuple[Subject, str, bytes]:
    chance = random.Random(f"{seed}, {i}")
    which = made[i % len(made)]
    return which, *which.case(chance)


# ---------------------------------------------------------------- children

SECONDS_PER_CASE = 20
MORE_MEMORY = 1 << 30
BATCH = 4000


def warm_up(made: list[Subject]) -> None:
    for each in made:
        graph = b"".join(piece.data for piece in each.pieces[:-1])
        data = forged_files.dump(each.blobs, graph, numbers=each.numbers)
        value = fastpersist.load(io.BytesIO(data), trusted=(), environment="ignore")
        use(value)


def _child(made: list[Subject], seed: int, first: int, last: int, results: Any) -> None:
    status = 1
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        errors = os.dup(2)
        if "libasan" not in os.environ.get("LD_PRELOAD", ""):  # whose last words are wanted
            os.dup2(null, 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if "libasan" not in os.environ.get("LD_PRELOAD", ""):
            with open("/proc/self/statm") as file:
                now = int(file.read().split()[0]) * mmap.PAGESIZE
            resource.setrlimit(resource.RLIMIT_AS, (now + MORE_MEMORY, now + MORE_MEMORY))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        sys.addaudithook(_audit)
        warnings.simplefilter("ignore")
        np.seterr(all="ignore")
        if UNAUDITED:
            without_wall_1()
        warm_up(made)
        for i in range(first, last):
            which, layout, data = case(made, seed, i)
            signal.setitimer(signal.ITIMER_REAL, SECONDS_PER_CASE)
            results[i - BASE[0]] = outcome(which, data, layout)
            signal.setitimer(signal.ITIMER_REAL, 0)
        status = 0
    except Exception:
        os.write(errors, traceback.format_exc().encode())
    finally:
        os._exit(status)


BASE = [0]
UNAUDITED = False


def without_wall_1() -> None:
    """Nothing is audited before it runs: what then refuses is the machine alone."""
    from fastpersist import restricted

    restricted.audit = lambda *arguments, **keywords: None


@dataclass
class Report:
    outcomes: Counter[int] = field(default_factory=Counter)
    failures: list[tuple[int, str, str, str]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def n_cases(self) -> int:
        return sum(self.outcomes.values())

    def __str__(self) -> str:
        parts = [f"{OUTCOMES[kind]}: {n:,}" for kind, n in sorted(self.outcomes.items())]
        rate = self.n_cases / max(self.seconds, 1e-9)
        head = f"{self.n_cases:,} cases in {self.seconds:.0f} s ({rate:.0f} a second)"
        return "; ".join([head, *parts])


def run(
    made: list[Subject],
    n_cases: int,
    seed: int,
    first: int = 0,
    seconds: float | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> Report:
    """Cases `first` to `first + n_cases`, in children. Nobody else's threads may run."""
    report = Report()
    begun = time.monotonic()
    for start in range(first, first + n_cases, BATCH):
        if seconds is not None and time.monotonic() - begun > seconds:
            break
        end = min(start + BATCH, first + n_cases)
        with mmap.mmap(-1, end - start) as results:
            BASE[0] = at = start
            while at < end:
                sys.stdout.flush()
                pid = os.fork()
                if pid == 0:
                    _child(made, seed, at, end, results)
                status = os.waitpid(pid, 0)[1]
                done = results.find(b"\0", at - start)
                if done < 0:
                    break
                if os.WIFEXITED(status) and done == at - start and at == start:
                    raise RuntimeError(f"the files as they are do not load, or case {start}")
                is_timer = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM
                results[done] = HUNG if is_timer else CRASHED
                at = start + done + 1
            found = results[: end - start]
        for i, result in enumerate(found, start):
            report.outcomes[result] += 1
            if result in BAD and len(report.failures) < 200:
                which, layout, _ = case(made, seed, i)
                failure = (i, which.name, layout, OUTCOMES[result])
                report.failures.append(failure)
                tell(f"seed {seed}, case {i}: {which.name}, {layout}: {OUTCOMES[result]}")
    report.seconds = time.monotonic() - begun
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument(
        "--only", type=int, default=None, metavar="CASE", help="here, not in a child"
    )
    parser.add_argument("--save", default=None, metavar="PATH", help="with --only: the file")
    parser.add_argument("--without-audit", action="store_true", help="the machine alone refuses")
    parser.add_argument("--models", nargs="*", default=list(MODELS), choices=[*MODELS, *MORE])
    options = parser.parse_args()
    global UNAUDITED
    UNAUDITED = options.without_audit
    made = subjects(options.models)
    if options.only is not None:
        which, layout, data = case(made, options.seed, options.only)
        if options.save:
            pathlib.Path(options.save).write_bytes(data)
        print(which.name, layout, len(data), flush=True)
        warnings.simplefilter("ignore")
        if UNAUDITED:
            without_wall_1()
        sys.addaudithook(_audit)
        warm_up([which])
        print(OUTCOMES[outcome(which, data, layout)], *_seen)
        return 0
    report = run(
        made,
        options.cases,
        options.seed,
        options.first,
        options.seconds,
        lambda line: print(line, flush=True),
    )
    print(report)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())

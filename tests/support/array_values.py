"""Named NumPy values: arrays of every dtype and layout, subclasses, scalars, dtypes, generators.

Imports nothing of fastpersist: processes that read its files build the same values to compare.
"""

import pickle

import numpy as np

NUMPY_2 = np.lib.NumpyVersion(np.__version__) >= "2.0.0"

SIZES = [0, 1, 2, 15, 16, 17, 63, 64, 65, 255, 256, 16_383, 16_384, 16_385]
SIZES += [262_143, 262_144, 262_145, 3_000_001]

# ---------------------------------------------------------------- user subclasses


class PlainSubclass(np.ndarray):
    """No reducer of its own: NumPy's keeps the type and drops the attributes."""


class FinalizedSubclass(np.ndarray):
    def __array_finalize__(self, parent):
        self.unit = getattr(parent, "unit", "metre")


class ReducingSubclass(np.ndarray):
    """With a reducer of its own, which keeps an attribute."""

    def __reduce__(self):
        function, arguments, state = super().__reduce__()
        return function, arguments, (state, self.__dict__)

    def __setstate__(self, state):
        super().__setstate__(state[0])
        self.__dict__.update(state[1])


class ReducingExSubclass(np.ndarray):
    def __reduce_ex__(self, protocol):
        return rebuild, (np.asarray(self), "from reduce_ex")


def rebuild(array, label):
    out = array.view(ReducingExSubclass)
    out.label = label
    return out


def labelled(cls):
    out = np.arange(6.0).reshape(2, 3).view(cls)
    out.label = ["a label"]
    return out


# ---------------------------------------------------------------- layouts


def numbers(n, dtype="f8"):
    """Bytes that are all different from their neighbours, whatever the dtype."""
    dtype = np.dtype(dtype)
    raw = (np.arange(n * dtype.itemsize, dtype="u8") * 37 % 251).astype("u1")
    if dtype.kind == "b":
        raw %= 2
    if dtype.kind == "U":
        raw = (raw % 0x70).astype("u1")
        raw = np.where(np.arange(raw.size) % 4 == (0 if dtype.str[0] == "<" else 3), raw, 0)
        raw = raw.astype("u1")
    return np.frombuffer(raw.tobytes(), dtype, count=n) if dtype.itemsize else np.empty(n, dtype)


def writable(n, dtype="f8"):
    return numbers(n, dtype).copy()


def layouts():
    """One block of memory seen in many ways."""

    def base():
        return writable(2 * 3 * 4 * 5, "i4").reshape(2, 3, 4, 5)

    strided = np.lib.stride_tricks.as_strided
    x = {
        "C": base,
        "F": lambda: np.asfortranarray(base()),
        "read-only": lambda: frozen(base()),
        "view of a view": lambda: base()[1:][:, 1],
        "one dimension": lambda: base().ravel(),
        "column": lambda: base()[:, :, :, 1],
        "every second": lambda: base()[..., ::2],
        "every second row": lambda: base()[:, ::2],
        "negative": lambda: base()[::-1],
        "negative last": lambda: base()[..., ::-1],
        "all negative": lambda: base()[::-1, ::-1, ::-1, ::-1],
        "mixed": lambda: base()[::-1, :, ::2, ::-2].T,
        "broadcast": lambda: np.broadcast_to(np.arange(5), (4, 3, 5)),
        "broadcast scalar": lambda: np.broadcast_to(np.float64(2.5), (100, 100)),
        "broadcast column": lambda: np.broadcast_to(np.arange(4)[:, None], (4, 6)),
        "overlapping": lambda: strided(writable(20, "i4"), (16, 5), (4, 4)),
        "overlapping rows": lambda: strided(writable(20, "i2"), (4, 6), (4, 2)),
        "newaxis": lambda: base()[:, None, :, 0:1],
        "0-d": lambda: np.array(3.5),
        "0-d view": lambda: base()[1, 2, 3, 4:5].reshape(()),
        "unaligned": lambda: np.frombuffer(b"x" + bytes(range(80)), "f8", offset=1),
        "unaligned strided": lambda: np.frombuffer(b"x" + bytes(range(80)), "f8", offset=1)[::3],
        "from bytes": lambda: np.frombuffer(b"0123456789abcdef", "i8"),
        "from bytearray": lambda: np.frombuffer(bytearray(b"0123456789abcdef"), "i8"),
        "reshaped column": lambda: np.arange(12)[:, None],
        "one row of F": lambda: np.asfortranarray(base()[0, 0])[1:2],
        "large F": lambda: np.asfortranarray(writable(60_000).reshape(200, 300)),
        "large transposed": lambda: writable(60_000).reshape(20, 30, 100).transpose(1, 2, 0),
        "large strided": lambda: writable(120_000).reshape(300, 400)[::2, ::-3],
        "large narrow strided": lambda: writable(200_000, "u1").reshape(-1, 2)[:, 1],
        "large broadcast": lambda: np.broadcast_to(writable(1000), (300, 1000)),
        "large reversed": lambda: writable(100_000, "u2")[::-1],
        "32 dimensions": lambda: np.arange(4).reshape((1,) * 15 + (2,) + (1,) * 15 + (2,)),
    }
    for order in ((0, 1, 3, 2), (3, 1, 2, 0), (1, 0, 2, 3), (2, 3, 0, 1), (3, 2, 0, 1)):
        x[f"transposed {order}"] = lambda order=order: base().transpose(order)
    for shape in ((0,), (0, 3), (3, 0), (1,), (1, 1), (1, 5), (5, 1), (2, 0, 5), ()):
        x[f"shape {shape}"] = lambda shape=shape: np.full(shape, 7, "i2")
        x[f"F shape {shape}"] = lambda shape=shape: np.full(shape, 7, "i2", order="F")
    if NUMPY_2:
        x["64 dimensions"] = lambda: np.arange(4).reshape((1,) * 31 + (2,) + (1,) * 31 + (2,))
    return x


def frozen(array):
    array.flags.writeable = False
    return array


# ---------------------------------------------------------------- dtypes

ALIGNED = np.dtype([("a", "u1"), ("b", "f8"), ("c", "u2")], align=True)
NESTED = np.dtype([("p", ALIGNED), ("q", [("r", ">i4"), ("s", "S3")]), ("t", "U2")])
SUBARRAY = np.dtype([("m", "f4", (2, 3)), ("n", [("o", "i1", 3)], (2,))])
TITLES = np.dtype([(("a title", "x"), "i4"), (("another", "y"), "f8")])
OFFSETS = np.dtype(
    {"names": ["a", "b"], "formats": ["i4", "u1"], "offsets": [8, 1], "itemsize": 24}
)
OVERLAP = np.dtype({"names": ["word", "byte"], "formats": ["u4", "u1"], "offsets": [0, 1]})
EMPTY_STRUCT = np.dtype([])
METADATA = np.dtype("f8", metadata={"unit": "m", "n": [1]})
FIELD_METADATA = np.dtype([("x", METADATA), ("y", "i4")])
RECORD = np.dtype((np.record, [("x", "i4"), ("y", "S5")]))


def plain_dtypes():
    kinds = ["?", *"bBhHiIlLqQefdgFDG", "S1", "S7", "U1", "U9", "V1", "V5", "V16"]
    units = ["Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as", "25s", "7D"]
    kinds += [f"{kind}8[{unit}]" for kind in "Mm" for unit in units]
    kinds += ["M8", "m8"]
    for kind in kinds:
        for order in "<>":
            yield np.dtype(kind).newbyteorder(order)


def structured_dtypes():
    return {
        "aligned": ALIGNED,
        "nested": NESTED,
        "subarray": SUBARRAY,
        "titles": TITLES,
        "offsets": OFFSETS,
        "overlapping fields": OVERLAP,
        "metadata": METADATA,
        "metadata of a field": FIELD_METADATA,
        "record": RECORD,
        "non-ASCII names": np.dtype([("é", "i4"), ("😀", "f8")]),
        "one field": np.dtype([("only", "f4")]),
        "big-endian field": np.dtype([("a", ">i4"), ("b", "<i4"), ("c", ">M8[ms]")]),
        "void field": np.dtype([("v", "V3"), ("w", "V0")]),
    }


def by_dtype():
    x = {}
    for dtype in plain_dtypes():
        x[f"dtype {dtype.str}"] = lambda dtype=dtype: writable(7, dtype)
        x[f"dtype {dtype.str} F"] = lambda dtype=dtype: np.asfortranarray(
            writable(6, dtype).reshape(2, 3)
        )
        x[f"dtype {dtype.str} strided"] = lambda dtype=dtype: writable(9, dtype)[::-2]
    for name, dtype in structured_dtypes().items():
        x[f"struct {name}"] = lambda dtype=dtype: writable(5, dtype)
        x[f"struct {name} strided"] = lambda dtype=dtype: writable(8, dtype)[::3]
        x[f"struct {name} large"] = lambda dtype=dtype: writable(5000, dtype)
        x[f"struct {name} empty"] = lambda dtype=dtype: np.empty((0, 2), dtype)
    x["struct empty dtype"] = lambda: np.empty(3, EMPTY_STRUCT)
    x["struct two fields of"] = lambda: writable(5, NESTED)[["t", "p"]]
    x["struct field"] = lambda: writable(5, NESTED)["q"]
    x["struct field strided"] = lambda: writable(4000, NESTED)["p"]["b"]
    for kind in ("S", "U"):
        x[f"zero-width {kind}"] = lambda kind=kind: np.zeros(3, [("a", kind + "0")])["a"]
    x["zero-width V"] = lambda: np.zeros(3, "V0")
    x["huge item S"] = lambda: writable(3, "S100000")
    x["huge item U"] = lambda: writable(2, "U50000")
    x["huge item V"] = lambda: writable(3, "V70000")[::2]
    x["huge item struct"] = lambda: writable(2, [("big", "u1", (300, 300)), ("n", "i4")])
    x["text"] = lambda: np.array(["", "a", "é", "漢字😀", "longer than the others"])
    x["bytes"] = lambda: np.array([b"", b"a", b"\xff\x00b"])
    x["not a time"] = lambda: np.array(["NaT", "2026-11-22T01:02:03"], "M8[s]")
    x["nan payloads"] = lambda: np.array([0x7FF8DEADBEEF0001, 0xFFF0000000000001], "u8").view("f8")
    x["negative zero"] = lambda: np.array([-0.0, 0.0, np.inf, -np.inf])
    for n in SIZES:
        x[f"bytes of size {n}"] = lambda n=n: writable(n, "u1")
        x[f"doubles around size {n}"] = lambda n=n: writable(n // 8, "f8")
    return x


# ---------------------------------------------------------------- objects, subclasses


def object_arrays():
    def self_containing():
        x = np.empty(3, object)
        x[:] = [x, [x], 1]
        return x

    def cycle_through_list():
        inner = [1]
        x = np.empty(2, object)
        x[:] = [inner, "s"]
        inner.append(x)
        return inner

    def nested():
        x = np.empty((2, 2), object)
        x[0, 0], x[0, 1], x[1, 0], x[1, 1] = np.arange(3.0), x.copy(), {"k": np.eye(2)}, None
        return x

    def record_of_objects():
        shared = ["shared"]
        return np.array([(1, shared), (2, shared)], [("n", "i4"), ("o", object)])

    def scalar():
        x = np.empty((), object)
        x[()] = {"a": 1}
        return x

    return {
        "objects": lambda: np.array([1, "two", None, [3], 2.5], object),
        "objects F": lambda: np.asfortranarray(np.arange(6).astype(object).reshape(2, 3)),
        "objects strided": lambda: np.arange(10).astype(object)[::-3],
        "objects empty": lambda: np.empty((0, 2), object),
        "objects 0-d": scalar,
        "objects with themselves": self_containing,
        "objects through list": cycle_through_list,
        "objects nested": nested,
        "objects large": lambda: np.array([f"item {i}" for i in range(5000)], object),
        "objects in a record": record_of_objects,
    }


def subclasses():
    def masked():
        return np.ma.array([[1.5, 2], [3, 4]], mask=[[0, 1], [0, 0]], fill_value=-1, hard_mask=True)

    return {
        "masked": masked,
        "masked large": lambda: np.ma.array(writable(5000), mask=np.arange(5000) % 3 == 0),
        "masked no mask": lambda: np.ma.array([1, 2, 3]),
        "masked constant": lambda: [np.ma.masked, np.ma.nomask],
        "matrix": lambda: np.asmatrix(np.arange(6.0).reshape(2, 3)),
        "recarray": lambda: np.rec.array([(1, b"x"), (2, b"y")], dtype=RECORD),
        "chararray": lambda: np.char.asarray(["ab", "c"]),
        "subclass": lambda: labelled(PlainSubclass),
        "subclass strided": lambda: labelled(PlainSubclass)[:, ::2],
        "subclass finalized": lambda: labelled(FinalizedSubclass),
        "subclass reduce": lambda: labelled(ReducingSubclass),
        "subclass reduce_ex": lambda: labelled(ReducingExSubclass),
        "array of a subclass's base": lambda: np.asarray(labelled(PlainSubclass)),
    }


def other_numpy():
    x = {
        "scalars": lambda: [np.dtype(c).type(1) for c in "?bBhHiIlLqQefdgFDG"],
        "text scalars": lambda: [np.str_("é"), np.bytes_(b"\xff"), np.str_(""), np.bytes_(b"")],
        "time scalars": lambda: [
            np.datetime64("2026-11-22"),
            np.datetime64("NaT", "s"),
            np.timedelta64(5, "25s"),
            np.datetime64("2026-11-22T01:02:03.000000001"),
        ],
        "void scalars": lambda: [np.void(b"abc"), writable(2, NESTED)[1], writable(2, ALIGNED)[0]],
        "record scalar": lambda: np.rec.array([(1, b"x")], dtype=RECORD)[0],
        "foreign scalars": lambda: [np.array(5, ">i4")[()], np.array(1.5, ">f8")[()]],
        "nan scalars": lambda: [np.float64("nan"), np.float32("-inf"), np.complex128(-0.0 - 0.0j)],
        "shared scalar": lambda: [np.float64(1.5)] * 3 + [np.float64(1.5)],
        "dtypes": lambda: [*plain_dtypes(), *structured_dtypes().values(), np.dtype(object)],
        "dtype classes": lambda: [type(np.dtype("f8")), np.float64, np.generic, np.ndarray],
        "ufuncs": lambda: [np.add, np.sin, np.logical_or, np.matmul, np.add],
        "functions": lambda: [np.mean, np.concatenate, np.array, np.linalg.norm, np.nan, np.pi],
        "generators": lambda: [np.random.default_rng(1), np.random.default_rng(2)],
        "bit generators": lambda: [
            np.random.PCG64(1),
            np.random.PCG64DXSM(1),
            np.random.Philox(1),
            np.random.SFC64(1),
            np.random.MT19937(1),
            np.random.SeedSequence(5),
        ],
        "random state": lambda: np.random.RandomState(5),
        "polynomial": lambda: np.polynomial.Polynomial([1.0, 2.0]),
        "slices": lambda: [np.s_[1:2], np.s_[..., None]],
    }
    return x


def shared_arrays():
    def twice():
        a = writable(10)
        return [a, a, {"a": a}]

    def twice_large():
        a = writable(5000)
        return [a, [a], a]

    def views():
        a = writable(100)
        return [a, a[:], a[10:20], a[::-1], a.reshape(10, 10), a.T]

    def equal():
        return [writable(10), writable(10)]

    def mixed():
        a, b = writable(3000), np.arange(3)
        return {"a": a, "b": b, "nested": [(a, b), {"b": b}], "object": np.array([a, b], object)}

    return {
        "twice": twice,
        "twice large": twice_large,
        "views": views,
        "equal": equal,
        "mixed graph": mixed,
        "many small": lambda: [np.full(3, i) for i in range(2000)],
        "small and large": lambda: [writable(n, "u1") for n in range(0, 20_000, 997)],
    }


def arrays():
    """Values that are one array of class ndarray or record dtype, with plain bytes."""
    return {**layouts(), **by_dtype()}


def everything():
    return {**arrays(), **object_arrays(), **subclasses(), **other_numpy(), **shared_arrays()}


def as_loaded(value):
    """What a reader must get: an array as it is; of other things, what their reducers keep.

    Arrays are not sent through pickle for this: it gives some foreign byte orders back swapped.
    """
    return value if type(value) is np.ndarray else pickle.loads(pickle.dumps(value, 5))


# Of everything(), what NumPy 1.26 cannot load, and why.
NOT_IN_NUMPY_126 = {
    "generators": "random generators keep NumPy's reducers, which name 2.x internals",
    "bit generators": "as generators",
    "random state": "as generators",
    "64 dimensions": "1.26 has at most 32",
    "recarray": "numpy.rec is no module before 2.0",
    "chararray": "numpy.char is no module before 2.0",
    "polynomial": "its attributes are of another type in 1.26",
    "struct two fields of": "1.26 cannot read the flags of an aligned structure written by 2.x",
    "void scalars": "as two fields of",
    "dtypes": "as two fields of",
}
NOT_IN_NUMPY_126 |= {
    f"struct {name}{how}": NOT_IN_NUMPY_126["struct two fields of"]
    for name in ("aligned", "nested")
    for how in ("", " strided", " large", " empty")
}

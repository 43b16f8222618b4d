"""Rules for arguments and states of what is NumPy's.

The core looks at every array and dtype that a pickle makes (csrc/build/array_guard.h): that its
bytes are no pointers and lie within their buffer. Here is what a restricted load asks beyond that.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

from fastpersist.policy.rows import Refused
from fastpersist.policy.rules_python import (
    PLAIN,
    exact_dict,
    integer,
    need,
)

Arguments = tuple[Any, ...]

BIT_GENERATORS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
"""Whose states are checked here."""

ARRAY_CLASSES = ("ndarray", "matrix", "recarray", "memmap")
"""What `_reconstruct` may make."""


def numpy() -> Any:
    """NumPy, which is loaded where a rule of its own is asked."""
    module = sys.modules.get("numpy")
    if module is None:
        raise Refused("NumPy is not loaded")
    return module


def is_array(value: Any) -> bool:
    """Whether `value` is an array, of no subclass."""
    return type(value) is sys.modules["numpy"].ndarray


def is_dtype(value: Any) -> bool:
    """Whether `value` is a dtype that NumPy itself defines."""
    np = numpy()
    return isinstance(value, np.dtype) and type(value).__module__ in ("numpy", "numpy.dtypes")


def holds_plain_bytes(dtype: Any) -> bool:
    """Whether no object, and nothing else that is a pointer, lies in the elements."""
    return is_dtype(dtype) and not dtype.hasobject and type(dtype).__name__ != "StringDType"


def is_scalar_value(value: Any) -> bool:
    """Whether `value` is a scalar of a type of NumPy's own."""
    np = numpy()
    return isinstance(value, np.generic) and type(value).__module__ == "numpy"


def own(array: Any) -> Any:
    """The array itself where nobody else holds its memory, else a copy: a mapped file may be
    changed by others behind a check."""
    if array.flags.owndata and array.base is None:
        return array
    return array.copy(order="K")


def array_of(value: Any, kinds: str, ndim: int, what: str) -> Any:
    """`value`, where it is an array of one of the `kinds` in `ndim` dimensions."""
    if not is_array(value):
        raise Refused(f"{what} is no array")
    if value.dtype.kind not in kinds or value.ndim != ndim:
        raise Refused(f"{what} has dtype {value.dtype} and {value.ndim} dimensions")
    return value


def exact_array(value: Any, dtype: str, shape: tuple[int | None, ...], what: str) -> Any:
    """`value`, where it is an array of that dtype and shape (None: any length)."""
    if not is_array(value):
        raise Refused(f"{what} is no array")
    if value.dtype != numpy().dtype(dtype):
        raise Refused(f"{what} has dtype {value.dtype}, not {dtype}")
    if value.ndim != len(shape) or any(
        want is not None and want != have for want, have in zip(shape, value.shape, strict=True)
    ):
        raise Refused(f"{what} has shape {value.shape}")
    return value


def _is_text_of_dtype(value: Any) -> bool:
    # T: NumPy's variable-width strings are pointers to memory of their own.
    return type(value) is str and len(value) < 256 and "T" not in value and "," not in value


def dtype_call(args: Arguments) -> None:
    """``numpy.dtype(text, align, copy)``, as every pickle has it: no list of fields, no class."""
    need(1 <= len(args) <= 3, "a dtype takes its text, and two flags")
    need(_is_text_of_dtype(args[0]), "a dtype takes its text, as pickle writes it")
    for flag in args[1:]:
        need(type(flag) in (bool, int), "the flags of a dtype")


def _shape(value: Any) -> tuple[int, ...]:
    if type(value) is not tuple:
        value = (value,)
    for length in value:
        integer(length, 0, (1 << 63) - 1, "a length in a shape")
    return value  # type: ignore[no-any-return]


def ndarray_call(args: Arguments) -> None:
    """``numpy.ndarray(shape, dtype, buffer, offset, strides, order)``. Without a buffer it would
    show what was left in memory, which is why it has one."""
    need(2 <= len(args) <= 6, "an array takes a shape, a dtype and a buffer")
    _shape(args[0])
    need(_names_plain_bytes(args[1]), "the dtype of an array over a buffer")
    if len(args) == 2:
        need(0 in _shape(args[0]), "an array without a buffer has no elements")
        return
    need(_is_buffer(args[2]), "the buffer of an array")
    if len(args) > 3:
        integer(args[3], 0, (1 << 63) - 1, "the offset of an array")
    if len(args) > 4 and args[4] is not None:
        need(type(args[4]) is tuple, "the strides of an array")
        for stride in args[4]:
            integer(stride, -(1 << 63), (1 << 63) - 1, "a stride of an array")
    if len(args) > 5:
        need(type(args[5]) is str and args[5] in ("C", "F"), "the order of an array")


def _names_plain_bytes(dtype: Any) -> bool:
    """Of a dtype, or of a text that names one, as dumps of ours have it."""
    if _is_text_of_dtype(dtype):
        try:
            dtype = numpy().dtype(dtype)
        except (TypeError, ValueError, SyntaxError):
            return False
    return holds_plain_bytes(dtype)


def _is_buffer(value: Any) -> bool:
    return (
        type(value) in (bytes, bytearray, memoryview)
        or is_array(value)
        or (
            type(value).__name__ == "PickleBuffer"
            and type(value).__module__ in ("pickle", "_pickle")
        )
    )


def _check_empty(args: Arguments) -> None:
    shape, typecode = args
    need(
        type(shape) is tuple and len(shape) == 1 and type(shape[0]) is int and shape[0] == 0,
        "an array before its state is empty",
    )
    need(
        (type(typecode) is bytes or type(typecode) is str) and typecode in (b"b", "b"),
        "an array before its state is one of bytes",
    )


def reconstruct_call(args: Arguments) -> None:
    """``_reconstruct(class, (0,), b"b")``: an empty array, before its state."""
    need(len(args) == 3, "takes a class, a shape and a dtype")
    np = numpy()
    kind = args[0]
    need(
        any(kind is getattr(np, name, None) for name in ARRAY_CLASSES),
        "makes arrays of NumPy's own classes only",
    )
    _check_empty(args[1:])


@cache
def _numbers() -> frozenset[Any]:
    """The classes of dtypes of numbers: a forest has thousands of scalars."""
    return frozenset(type(numpy().dtype(code)) for code in "?bhilqBHILQefdgFDG")


def scalar_call(args: Arguments) -> None:
    """``scalar(dtype, bytes)``."""
    if (
        len(args) == 2
        and type(args[0]) in _numbers()
        and type(args[1]) is bytes
        and len(args[1]) == args[0].itemsize
    ):
        return
    need(len(args) == 2 and holds_plain_bytes(args[0]), "the dtype of a scalar")
    value = args[1]
    if type(value) is str:
        try:
            value = value.encode("latin-1")
        except UnicodeEncodeError:
            raise Refused("the bytes of a scalar") from None
    need(
        type(value) is bytes and len(value) == args[0].itemsize,
        "the bytes of a scalar are not as many as its dtype takes",
    )


def frombuffer_call(args: Arguments) -> None:
    """``_frombuffer(buffer, dtype, shape, order[, axes])``."""
    need(4 <= len(args) <= 5, "takes a buffer, a dtype, a shape and an order")
    need(_is_buffer(args[0]), "the buffer of an array")
    need(holds_plain_bytes(args[1]), "the dtype of an array over a buffer")
    shape = _shape(args[2])
    need(type(args[3]) is str and args[3] in ("C", "F", "K", "A"), "the order of an array")
    if len(args) == 5 and args[4] is not None:
        need(
            type(args[4]) in (tuple, list)
            and all(type(axis) is int for axis in args[4])
            and sorted(args[4]) == list(range(len(shape))),
            "the axes of an array",
        )


# Random generators. Their compiled setters take numbers as they come: a position is an index.


def _module_of(name: str) -> str:
    return "_pcg64" if name == "PCG64DXSM" else "_" + name.lower()


def bit_generator_class(value: Any) -> bool:
    """Whether `value` is one of the listed classes."""
    for name in BIT_GENERATORS:
        module = sys.modules.get(f"numpy.random.{_module_of(name)}")
        if module is not None and value is getattr(module, name, None):
            return True
    return False


def is_bit_generator(value: Any) -> bool:
    return bit_generator_class(type(value))


def bit_generator_ctor(args: Arguments) -> None:
    """``__bit_generator_ctor(class or name)``."""
    need(len(args) <= 1, "takes the name of a bit generator")
    if args:
        named = type(args[0]) is str and args[0] in BIT_GENERATORS
        need(named or bit_generator_class(args[0]), "not a listed bit generator")


def generator_ctor(args: Arguments) -> None:
    """``__generator_ctor(bit generator or name, constructor)``, also ``__randomstate_ctor``."""
    need(len(args) <= 2, "takes a bit generator and its constructor")
    if args:
        named = type(args[0]) is str and args[0] in BIT_GENERATORS
        need(named or is_bit_generator(args[0]), "not a listed bit generator")
    if len(args) == 2:
        module = sys.modules.get("numpy.random._pickle")
        constructor = getattr(module, "__bit_generator_ctor", None)
        need(constructor is not None and args[1] is constructor, "not a bit generator's own")


randomstate_ctor = generator_ctor

_U32 = (1 << 32) - 1
_U64 = (1 << 64) - 1
_U128 = (1 << 128) - 1


def _words(value: Any, dtype: str, length: int, what: str) -> Any:
    """A copy of an array of machine words."""
    if type(value) in (list, tuple):  # as the legacy tuple of a state may have it
        need(len(value) == length, f"{what} has {len(value)} numbers, not {length}")
        top = _U32 if dtype == "uint32" else _U64
        return numpy().array([integer(word, 0, top, what) for word in value], dtype)
    if not is_array(value) or value.ndim != 1 or value.shape[0] != length:
        raise Refused(f"{what} is no array of {length} numbers")
    # NumPy itself writes the counters of Philox as uint64, keys of old files as another integer.
    need(value.dtype.kind in "ui", f"{what} has dtype {value.dtype}")
    return value.astype(dtype)


def _mt19937(state: dict[str, Any]) -> dict[str, Any]:
    inner = exact_dict(state.get("state"), "MT19937")
    need(set(inner) == {"key", "pos"}, "the state of MT19937")
    return {
        "key": _words(inner["key"], "uint32", 624, "the key of MT19937"),
        "pos": integer(inner["pos"], 0, 624, "the position of MT19937"),
    }


def _pcg64(state: dict[str, Any]) -> dict[str, Any]:
    inner = exact_dict(state.get("state"), "PCG64")
    need(set(inner) == {"state", "inc"}, "the state of PCG64")
    return {key: integer(inner[key], 0, _U128, f"{key} of PCG64") for key in ("state", "inc")}


def _philox(state: dict[str, Any]) -> dict[str, Any]:
    inner = exact_dict(state.get("state"), "Philox")
    need(set(inner) == {"counter", "key"}, "the state of Philox")
    return {
        "counter": _words(inner["counter"], "uint64", 4, "the counter of Philox"),
        "key": _words(inner["key"], "uint64", 2, "the key of Philox"),
    }


def _sfc64(state: dict[str, Any]) -> dict[str, Any]:
    inner = exact_dict(state.get("state"), "SFC64")
    need(set(inner) == {"state"}, "the state of SFC64")
    return {"state": _words(inner["state"], "uint64", 4, "the state of SFC64")}


_INNER = {
    "MT19937": _mt19937,
    "PCG64": _pcg64,
    "PCG64DXSM": _pcg64,
    "Philox": _philox,
    "SFC64": _sfc64,
}


def _bit_state(value: Any, name: str) -> dict[str, Any]:
    """The state of a bit generator, checked and copied."""
    state = exact_dict(value, name)
    need(
        type(state.get("bit_generator")) is str and state["bit_generator"] == name,
        "the state is another bit generator's",
    )
    result: dict[str, Any] = {"bit_generator": name, "state": _INNER[name](state)}
    if name != "MT19937":
        result["has_uint32"] = integer(state.get("has_uint32"), 0, 1, "has_uint32")
        result["uinteger"] = integer(state.get("uinteger"), 0, _U32, "uinteger")
    if name == "Philox":
        result["buffer"] = _words(state.get("buffer"), "uint64", 4, "the buffer of Philox")
        result["buffer_pos"] = integer(state.get("buffer_pos"), 0, 4, "the position of Philox")
    return result


def bit_generator_state(instance: Any, state: Any) -> Any:
    """State of MT19937, PCG64 and so on: a dict (NumPy 1), or that and a SeedSequence."""
    name = type(instance).__name__
    need(is_bit_generator(instance), "not a listed bit generator")
    if type(state) is tuple:
        need(len(state) == 2, "the state of a bit generator")
        sequence = state[1]
        module = sys.modules.get("numpy.random.bit_generator")
        need(
            sequence is None or type(sequence) is getattr(module, "SeedSequence", None),
            "a seed sequence is none",
        )
        return (_bit_state(state[0], name), sequence)
    return _bit_state(state, name)


def generator_state(instance: Any, state: Any) -> Any:
    """State of Generator: None (NumPy 2), or the state of its bit generator."""
    if state is None:
        return None
    name = type(instance.bit_generator).__name__
    need(is_bit_generator(instance.bit_generator), "not a listed bit generator")
    return _bit_state(state, name)


def random_state(instance: Any, state: Any) -> Any:
    """State of a RandomState."""
    bits = instance._bit_generator
    need(is_bit_generator(bits), "not a listed bit generator")
    name = type(bits).__name__
    if type(state) is tuple:  # of NumPy 1.16 and earlier
        need(name == "MT19937" and 3 <= len(state) <= 5, "the state of a RandomState")
        need(type(state[0]) is str and state[0] == "MT19937", "another bit generator's state")
        kept: tuple[Any, ...] = (
            "MT19937",
            _words(state[1], "uint32", 624, "the key of MT19937"),
            integer(state[2], 0, 624, "the position of MT19937"),
        )
        if len(state) > 3:
            kept += (integer(state[3], 0, 1, "has_gauss"),)
        if len(state) > 4:
            kept += (_real(state[4], "gauss"),)
        return kept
    state = exact_dict(state, "a RandomState")
    result = _bit_state(state, name)
    result["has_gauss"] = integer(state.get("has_gauss", 0), 0, 1, "has_gauss")
    result["gauss"] = _real(state.get("gauss", 0.0), "gauss")
    return result


def _real(value: Any, what: str) -> float:
    if type(value) is float:
        return value
    if type(value) is int and abs(value) < 1 << 53:
        return float(value)
    if numpy().float64 is type(value):
        return float(value)
    raise Refused(f"{what} is no number")


def _entropy(value: Any) -> bool:
    if value is None:
        return True
    if type(value) is int:
        return 0 <= value < 1 << 4096
    if is_scalar_value(value):
        return value.dtype.kind in "iu" and int(value) >= 0
    if type(value) in (list, tuple):
        return len(value) < 4096 and all(type(v) is int and 0 <= v <= _U64 for v in value)
    return is_array(value) and value.dtype.kind == "u" and value.ndim == 1


def seed_sequence_call(args: Arguments) -> None:
    """``__pyx_unpickle_SeedSequence(class, checksum, state)``; the state mostly comes by BUILD."""
    module = sys.modules.get("numpy.random.bit_generator")
    need(
        len(args) == 3
        and args[0] is getattr(module, "SeedSequence", None)
        and type(args[1]) is int
        and args[2] is None,
        "takes its class, a number and None",
    )


def seed_sequence(instance: Any, state: Any) -> Any:
    """State of a SeedSequence: (entropy, n_children_spawned, pool, pool_size, spawn_key)."""
    need(type(state) is tuple and len(state) == 5, "the state of a SeedSequence")
    entropy, children, pool, size, spawn_key = state
    need(_entropy(entropy), "the entropy of a SeedSequence")
    children = integer(children, 0, _U32, "n_children_spawned")
    size = integer(size, 4, 1 << 16, "pool_size")
    # Mixed in compiled loops over pool_size, without a look at the length.
    pool = exact_array(pool, "uint32", (size,), "the pool of a SeedSequence").copy()
    need(
        type(spawn_key) is tuple and all(type(key) is int and 0 <= key for key in spawn_key),
        "the spawn_key of a SeedSequence",
    )
    return (entropy, children, pool, size, spawn_key)


# Masked arrays


def masked_call(args: Arguments) -> None:
    """``_mareconstruct(class, base class, (0,), "b")``."""
    need(len(args) == 4, "takes two classes, a shape and a dtype")
    np = numpy()
    need(args[0] is np.ma.MaskedArray, "makes numpy.ma.MaskedArray only")
    need(args[1] is np.ndarray, "over numpy.ndarray only")
    _check_empty(args[2:])


def masked_state(instance: Any, state: Any) -> Any:
    """State of a masked array: (1, shape, dtype, order, bytes, bytes of the mask, fill value)."""
    need(type(state) is tuple and len(state) == 7, "the state of a masked array")
    version, shape, dtype, fortran, data, mask, fill = state
    need(type(version) is int, "the version of a masked array")
    need(type(shape) is tuple, "the shape of a masked array")
    count = 1
    for length in shape:
        count *= integer(length, 0, (1 << 63) - 1, "a length in a shape")
    need(is_dtype(dtype), "the dtype of a masked array")
    need(type(fortran) in (bool, int), "the order of a masked array")
    if holds_plain_bytes(dtype):
        need(
            type(data) is bytes and len(data) == count * dtype.itemsize,
            "the bytes of a masked array are not as many as its shape takes",
        )
    else:
        need(type(data) is list and len(data) == count, "the items of a masked array")
    need(type(mask) is bytes, "the mask of a masked array")
    if dtype.names is None and dtype.subdtype is None:
        need(len(mask) == count, "the mask of a masked array is as long as its data")
    # What fills the masked is turned into the dtype by NumPy.
    if not (
        type(fill) in PLAIN
        or (is_array(fill) and holds_plain_bytes(fill.dtype))
        or (type(fill).__module__ == "numpy" and hasattr(fill, "dtype"))
    ):
        raise Refused("the fill value of a masked array")
    return state

"""Rules for arguments and states of what is pandas'.

Blocks, codes and masks of a frame go to compiled code that takes them to be as long, and within
the bounds, that pandas' own constructors would have seen to. Pickles come in by side doors that do
not look: `_unpickle_block`, `_new_Index` for a MultiIndex, states of arrays.
"""

from __future__ import annotations

import sys
from typing import Any

from fastpersist.policy.rows import Refused
from fastpersist.policy.rules_numpy import (
    holds_plain_bytes,
    is_array,
    is_scalar_value,
    numpy,
    own,
)
from fastpersist.policy.rules_python import PLAIN, exact_dict, integer, need

Arguments = tuple[Any, ...]

INT64 = (1 << 63) - 1
ROWS = 1 << 48


def _class(module: str, name: str) -> Any:
    return getattr(sys.modules.get(module), name, None)


def _is(value: Any, module: str, *names: str) -> bool:
    return any(type(value) is _class(module, name) for name in names)


def _is_pandas(value: Any) -> bool:
    """Whether an object is of a class of pandas itself."""
    return type(value).__module__.split(".")[0] == "pandas"


def is_index(value: Any) -> bool:
    kind = _class("pandas.core.indexes.base", "Index")
    return kind is not None and isinstance(value, kind) and _is_pandas(value)


def is_extension_array(value: Any) -> bool:
    kind = _class("pandas.core.arrays.base", "ExtensionArray")
    return kind is not None and isinstance(value, kind) and _is_pandas(value)


def is_offset(value: Any) -> bool:
    kind = _class("pandas._libs.tslibs.offsets", "BaseOffset")
    return kind is not None and isinstance(value, kind) and _is_pandas(value)


def is_na(value: Any) -> bool:
    kind = type(value).__name__
    return value is None or value != value or kind in ("NAType", "NaTType")


# Blocks and managers


def _placement(value: Any, what: str) -> int:
    """How many columns a block is for."""
    if type(value) is slice:
        start, stop = (0 if value.start is None else value.start), value.stop
        step = 1 if value.step is None else value.step
        start = integer(start, 0, ROWS, f"the placement of {what}")
        stop = integer(stop, -1, ROWS, f"the placement of {what}")
        step = integer(step, -ROWS, ROWS, f"the placement of {what}")
        need(step != 0, f"the placement of {what}")
        return len(range(start, stop, step))
    if is_array(value) and value.ndim == 1 and value.dtype.kind in "iu":
        need(not value.size or int(value.min()) >= 0, f"the placement of {what}")
        return int(value.shape[0])
    raise Refused(f"the placement of {what}")


def _values(values: Any, ndim: int, width: int, what: str) -> None:
    if is_array(values):
        need(
            values.ndim == ndim and (ndim == 1 or values.shape[0] == width),
            f"{what} has other values than columns",
        )
    elif is_extension_array(values):
        need(
            values.ndim == 1 or (values.ndim == ndim and values.shape[0] == width),
            f"{what} has other values than columns",
        )
        need(ndim == 1 or values.ndim == 2 or width == 1, f"{what} is of more than one column")
    else:
        raise Refused(f"the values of {what}")


def unpickle_block(args: Arguments) -> Arguments:
    """``pandas._libs.internals._unpickle_block(values, placement, ndim)``."""
    need(len(args) == 3, "a block takes three arguments")
    values, placement, ndim = args
    ndim = integer(ndim, 1, 2, "the dimensions of a block")
    width = _placement(placement, "a block")
    _values(values, ndim, width, "a block")
    if is_array(placement):
        placement = placement.astype(numpy().intp)
    return (values, placement, ndim)


def _axes(value: Any, count: int, what: str) -> list[Any]:
    need(type(value) in (list, tuple) and len(value) == count, f"the axes of {what}")
    for axis in value:
        need(is_index(axis), f"an axis of {what}")
    return list(value)


def block_manager_call(args: Arguments) -> Arguments:
    """``BlockManager(blocks, axes)``: each column is in just one block, all are as long."""
    what = "a BlockManager"
    need(len(args) == 2 and type(args[0]) in (tuple, list), f"the arguments of {what}")
    blocks = tuple(args[0])
    axes = _axes(args[1], 2, what)
    rows = len(axes[1])
    base = _class("pandas._libs.internals", "Block")
    places = []
    for block in blocks:
        need(base is not None and isinstance(block, base) and _is_pandas(block), f"a block: {what}")
        values = block.values
        need(values.shape[-1] == rows and block.ndim == 2, f"a block of {what} has other rows")
        places.append(block.mgr_locs.as_array)
    np = numpy()
    found = np.sort(np.concatenate(places)) if places else np.empty(0, np.intp)
    need(
        found.shape[0] == len(axes[0]) and bool((found == np.arange(len(axes[0]))).all()),
        f"the columns of {what} are not each in one block",
    )
    return (blocks, axes)


def _old_manager(state: Any, ndim: int, what: str) -> Any:
    need(type(state) is tuple and len(state) >= 4, f"the state of {what}")
    extra = exact_dict(exact_dict(state[3], what).get("0.14.1"), what)
    axes = _axes(extra.get("axes"), ndim, what)
    listed = extra.get("blocks")
    need(type(listed) in (list, tuple), f"the blocks of {what}")
    blocks = []
    places: list[int] = []
    rows = len(axes[-1])
    for entry in listed:
        need(type(entry) is dict and set(entry) == {"values", "mgr_locs"}, f"a block of {what}")
        values, place = entry["values"], entry["mgr_locs"]
        width = _placement(place, what)
        _values(values, ndim, width, what)
        need(values.shape[-1] == rows, f"a block of {what} has other rows")
        blocks.append({"values": values, "mgr_locs": place})
        if type(place) is slice:
            places.extend(range(*place.indices(ROWS)))
        else:
            places.extend(place.tolist())
    need(sorted(places) == list(range(len(axes[0]))), f"the columns of {what}")
    # What comes before is for versions that do not look at this.
    return (axes, [], axes[:1], {"0.14.1": {"axes": axes, "blocks": blocks}})


def block_manager_state(instance: Any, state: Any) -> Any:
    """State of a BlockManager, of pandas before 1.3."""
    return _old_manager(state, 2, "a BlockManager")


def single_manager_state(instance: Any, state: Any) -> Any:
    """State of a SingleBlockManager: one block, as long as its axis."""
    what = "a SingleBlockManager"
    state = _old_manager(state, 1, what)
    need(len(state[3]["0.14.1"]["blocks"]) == 1, f"the blocks of {what}")
    return state


_FRAME_KEYS = {"_mgr", "_typ", "_metadata", "attrs", "_flags", "_name"}


def frame_state(instance: Any, state: Any) -> Any:
    """State of a DataFrame or a Series."""
    what = type(instance).__name__
    attributes: Any = dict(exact_dict(state, what))
    unknown = set(attributes) - _FRAME_KEYS
    need(not unknown, f"{what} has no {min(unknown, default='')!r:.80}")
    manager = "SingleBlockManager" if what == "Series" else "BlockManager"
    need(
        _is(attributes.get("_mgr"), "pandas.core.internals.managers", manager)
        and type(getattr(attributes["_mgr"], "axes", None)) is list
        and type(getattr(attributes["_mgr"], "blocks", None)) is tuple,
        f"the data of {what}",
    )
    typ = attributes.get("_typ")
    need(
        type(typ) is str and typ == ("series" if what == "Series" else "dataframe"),
        f"_typ of {what}",
    )
    names = attributes.get("_metadata", [])
    need(
        type(names) is list and all(type(n) is str and n in ("name", "_name") for n in names),
        f"_metadata of {what}",
    )
    attributes["_metadata"] = list(names)
    need(type(attributes.get("attrs", {})) is dict, f"attrs of {what}")
    flags = attributes.get("_flags", {})
    need(
        type(flags) is dict
        and set(flags) <= {"allows_duplicate_labels"}
        and all(type(flag) is bool for flag in flags.values()),
        f"_flags of {what}",
    )
    return attributes


# Arrays


def _codes(codes: Any, count: int, what: str) -> Any:
    """Codes of categories or levels: -1 where there is none."""
    if not is_array(codes) or codes.ndim not in (1, 2) or codes.dtype.kind != "i":
        raise Refused(f"the codes of {what}")
    codes = own(codes)
    if codes.size and not (int(codes.min()) >= -1 and int(codes.max()) < count):
        raise Refused(f"a code of {what} is of no category")
    return codes


def nd_backed_call(args: Arguments) -> Arguments:
    """``__pyx_unpickle_NDArrayBacked(class, checksum, state)``; the state comes by BUILD. Before
    it this is an array without elements: compiled code looks at the one inside without asking if
    there is one.
    """
    base = _class("pandas._libs.arrays", "NDArrayBacked")
    need(
        len(args) == 3
        and isinstance(args[0], type)
        and args[0].__name__ in ND_BACKED
        and base is not None
        and issubclass(args[0], base)
        and args[0].__module__.split(".")[0] == "pandas"
        and type(args[1]) is int
        and args[2] is None,
        "makes arrays of pandas' own, without a state",
    )
    numpy = sys.modules["numpy"]
    return args[0], args[1], (numpy.dtype("i8"), numpy.empty(0, "i8"))


ND_BACKED = (
    "Categorical",
    "DatetimeArray",
    "NumpyExtensionArray",
    "PandasArray",
    "PeriodArray",
    "StringArray",
    "TimedeltaArray",
)


def _check_nd_backed(name: str, dtype: Any, array: Any, what: str) -> Any:
    np = numpy()
    if name == "Categorical":
        categories: Any = getattr(dtype, "categories", None)
        need(
            type(dtype).__name__ == "CategoricalDtype" and is_index(categories),
            f"the dtype of {what}",
        )
        return _codes(array, len(categories), what)
    if name in ("DatetimeArray", "TimedeltaArray"):
        kind = "M" if name == "DatetimeArray" else "m"
        need(array.dtype.kind == kind, f"the values of {what}")
        zoned = type(dtype).__name__ == "DatetimeTZDtype" and kind == "M" and _is_pandas(dtype)
        unit = np.datetime_data(array.dtype)
        need(unit[0] in ("s", "ms", "us", "ns") and unit[1] == 1, f"the unit of {what}")
        if zoned:
            need(type(dtype.unit) is str and dtype.unit == unit[0], f"the unit of {what}")
        else:
            need(isinstance(dtype, np.dtype) and dtype == array.dtype, f"the dtype of {what}")
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    if name == "PeriodArray":
        need(
            type(dtype).__name__ == "PeriodDtype" and _is_pandas(dtype) and array.dtype == np.int64,
            f"the values of {what}",
        )
        return array
    if name == "StringArray":
        need(
            type(dtype).__name__ == "StringDtype"
            and _is_pandas(dtype)
            and dtype.storage == "python"
            and array.dtype == object,
            f"the values of {what}",
        )
        array = array.copy()
        for value in array.flat:
            if type(value) is not str and not (
                type(value) in (float, type(None)) or type(value).__name__ == "NAType"
            ):
                raise Refused(f"a value of {what} is {type(value).__name__}")
        return array
    need(
        type(dtype).__name__ in ("NumpyEADtype", "PandasDtype")
        and dtype.numpy_dtype == array.dtype,
        f"the dtype of {what}",
    )
    return array


_ND_ATTRIBUTES = {"_freq", "_readonly", "_cache", "_dtype", "_ndarray"}


def nd_backed_state(instance: Any, state: Any) -> Any:
    """State of Categorical, DatetimeArray and so on: a dtype and an array that go together."""
    what = type(instance).__name__
    need(what in ND_BACKED, "no array of pandas' own")
    attributes: Any = {}
    if type(state) is dict or (type(state) is tuple and len(state) == 1):
        found = dict(exact_dict(state if type(state) is dict else state[0], what))
        array = found.pop("_ndarray", found.pop("_data", found.pop("_codes", None)))
        dtype = found.pop("_dtype", None)
        attributes = found
    else:
        need(type(state) is tuple and len(state) in (2, 3), f"the state of {what}")
        dtype, array = state[:2]
        if is_array(dtype):
            dtype, array = array, dtype
        if len(state) == 3:
            attributes = dict(exact_dict(state[2], what))
    # Compiled code asks for the first length without asking whether there is one.
    need(is_array(array) and array.ndim in (1, 2), f"the values of {what}")
    array = _check_nd_backed(what, dtype, array, what)
    attributes.pop("_cache", None)
    unknown = set(attributes) - _ND_ATTRIBUTES
    need(not unknown, f"{what} has no {min(unknown, default='')!r:.80}")
    frequency = attributes.get("_freq")
    need(frequency is None or is_offset(frequency), f"the frequency of {what}")
    need(type(attributes.get("_readonly", False)) is bool, f"_readonly of {what}")
    return (dtype, array, attributes)


_MASKED_KINDS = {"IntegerArray": "iu", "FloatingArray": "f", "BooleanArray": "b"}


def masked_array_state(instance: Any, state: Any) -> Any:
    """IntegerArray, FloatingArray, BooleanArray: a mask as long as the data."""
    what = type(instance).__name__
    attributes: Any = dict(exact_dict(state, what))
    data, mask = attributes.get("_data"), attributes.get("_mask")
    kinds = _MASKED_KINDS.get(what)
    if (
        kinds is None
        or not is_array(data)
        or not is_array(mask)
        or data.dtype.kind not in kinds
        or mask.dtype != bool
        or data.shape != mask.shape
        or data.ndim != 1
    ):
        raise Refused(f"the data of {what}")
    attributes.pop("_cache", None)
    unknown = set(attributes) - {"_data", "_mask", "_dtype", "_readonly"}
    need(not unknown, f"{what} has no {min(unknown, default='')!r:.80}")
    if "_dtype" in attributes:
        need(_is_pandas(attributes["_dtype"]), f"the dtype of {what}")
    return attributes


def interval_call(args: Arguments) -> None:
    """``__pyx_unpickle_IntervalMixin(IntervalArray, checksum, None)``."""
    need(
        len(args) == 3
        and args[0] is _class("pandas.core.arrays.interval", "IntervalArray")
        and type(args[1]) is int
        and args[2] is None,
        "makes IntervalArray only, without a state",
    )


def _bounds(value: Any) -> bool:
    return is_array(value) or is_extension_array(value) or is_index(value)


def interval_state(instance: Any, state: Any) -> Any:
    """State of an IntervalArray: as many left bounds as right ones."""
    what = "an IntervalArray"
    bare = type(state) is dict
    need(bare or (type(state) is tuple and len(state) == 1), f"the state of {what}")
    attributes: Any = dict(exact_dict(state if bare else state[0], what))
    left, right = attributes.get("_left"), attributes.get("_right")
    need(
        _bounds(left)
        and type(left) is type(right)
        and len(left) == len(right)
        and left.ndim == right.ndim == 1
        and left.dtype == right.dtype,
        f"the bounds of {what}",
    )
    unknown = set(attributes) - {"_left", "_right", "_dtype", "_closed", "_readonly"}
    need(not unknown, f"{what} has no {min(unknown, default='')!r:.80}")
    return attributes if bare else (attributes,)


def _positions(value: Any, what: str) -> Any:
    if not is_array(value) or value.ndim != 1 or value.dtype != numpy().int32:
        raise Refused(f"the positions of {what}")
    return own(value)


def int_index_call(args: Arguments) -> Arguments:
    """``IntIndex(length, indices)``, going up."""
    what = "an IntIndex"
    need(len(args) == 2, f"{what} takes two arguments")
    length = integer(args[0], 0, (1 << 31) - 1, f"the length of {what}")
    indices = _positions(args[1], what)
    if indices.size:
        need(
            int(indices[0]) >= 0
            and int(indices[-1]) < length
            and bool((indices[1:] > indices[:-1]).all()),
            f"the positions of {what}",
        )
    return (length, indices)


def block_index_call(args: Arguments) -> Arguments:
    """``BlockIndex(length, starts, lengths)``, one behind the other."""
    what = "a BlockIndex"
    need(len(args) == 3, f"{what} takes three arguments")
    length = integer(args[0], 0, (1 << 31) - 1, f"the length of {what}")
    starts, lengths = _positions(args[1], what), _positions(args[2], what)
    need(starts.shape == lengths.shape, f"the positions of {what}")
    if starts.size:
        ends = starts.astype("int64") + lengths
        need(
            int(starts[0]) >= 0
            and bool((lengths > 0).all())
            and int(ends[-1]) <= length
            and bool((starts[1:] >= ends[:-1]).all()),
            f"the positions of {what}",
        )
    return (length, starts, lengths)


def sparse_array_state(instance: Any, state: Any) -> Any:
    """State of a SparseArray: a value for each of its positions."""
    what = "a SparseArray"
    attributes: Any = dict(exact_dict(state, what))
    index, values = attributes.get("_sparse_index"), attributes.get("_sparse_values")
    need(
        _is(index, "pandas._libs.sparse", "IntIndex", "BlockIndex")
        and is_array(values)
        and values.shape == (index.npoints,),
        f"the values of {what}",
    )
    dtype = attributes.get("_dtype")
    need(type(dtype).__name__ == "SparseDtype" and _is_pandas(dtype), f"the dtype of {what}")
    need(
        set(attributes) <= {"_sparse_index", "_sparse_values", "_dtype", "_readonly"},
        f"the state of {what}",
    )
    return attributes


# Indexes


_INDEX_KEYS = {
    "closed", "codes", "copy", "data", "dtype", "freq", "left", "levels", "name", "names",
    "right", "sortorder", "start", "step", "stop", "tz",
}  # fmt: skip


def _check_multi(described: Any) -> None:
    """Nobody looks at the codes of a MultiIndex that comes out of a pickle."""
    what = "a MultiIndex"
    for name in ("levels", "codes"):
        need(type(described.get(name)) in (list, tuple), f"the {name} of {what}")
    levels, codes = list(described["levels"]), list(described["codes"])
    need(len(levels) == len(codes) and levels, f"{what} has not as many levels as codes")
    lengths = set()
    for i, (level, column) in enumerate(zip(levels, codes, strict=True)):
        need(is_index(level), f"a level of {what}")
        codes[i] = _codes(column, len(level), what)
        need(codes[i].ndim == 1, f"the codes of {what}")
        lengths.add(codes[i].shape[0])
    need(len(lengths) == 1, f"the codes of {what} are not all as long")
    described["levels"], described["codes"] = levels, codes
    if described.get("sortorder") is not None:
        integer(described["sortorder"], 0, len(levels), f"the sortorder of {what}")


def new_index(args: Arguments) -> Arguments:
    """``_new_Index(class, dict)``, ``_new_DatetimeIndex``, ``_new_TimedeltaIndex``,
    ``_new_IntervalIndex``."""
    need(len(args) == 2, "an Index takes its class and a dict")
    kind = args[0]
    base = _class("pandas.core.indexes.base", "Index")
    need(
        isinstance(kind, type)
        and base is not None
        and issubclass(kind, base)
        and kind.__module__.split(".")[0] == "pandas",
        "makes indexes of pandas' own",
    )
    what = kind.__name__
    described: Any = dict(exact_dict(args[1], what))
    unknown = set(described) - _INDEX_KEYS
    need(not unknown, f"{what} has no {min(unknown, default='')!r:.80}")
    if what == "MultiIndex":
        _check_multi(described)
    else:
        need("codes" not in described and "levels" not in described, f"the levels of {what}")
        for name in ("data", "left", "right"):
            if name in described:
                need(_bounds(described[name]), f"the {name} of {what}")
        for name in ("start", "stop", "step"):
            if described.get(name) is not None:
                integer(described[name], -INT64, INT64, f"the {name} of {what}")
        data = described.get("data")
        if what in ("DatetimeIndex", "TimedeltaIndex") and is_array(data):
            need(data.dtype.kind in "iMm" and data.dtype.itemsize == 8, f"the data of {what}")
    need(
        described.get("freq") is None
        or is_offset(described["freq"])
        or type(described["freq"]) is str,
        f"the frequency of {what}",
    )
    return (kind, described)


# Values and dtypes


def _check_zone(zone: Any, what: str) -> None:
    import datetime

    need(zone is None or isinstance(zone, datetime.tzinfo), f"the time zone of {what}")


_SECONDS_TO_NANOSECONDS = (7, 10)


def timestamp_call(args: Arguments) -> None:
    """``_unpickle_timestamp(value, freq, tz, resolution)``."""
    what = "a Timestamp"
    need(3 <= len(args) <= 4, f"the arguments of {what}")
    integer(args[0], -INT64 - 1, INT64, f"the value of {what}")
    need(args[1] is None or is_offset(args[1]), f"the frequency of {what}")
    _check_zone(args[2], what)
    if len(args) == 4:
        integer(args[3], *_SECONDS_TO_NANOSECONDS, f"the resolution of {what}")


def timedelta_call(args: Arguments) -> None:
    """``_timedelta_unpickle(value, resolution)``."""
    need(len(args) == 2, "the arguments of a Timedelta")
    integer(args[0], -INT64 - 1, INT64, "the value of a Timedelta")
    integer(args[1], *_SECONDS_TO_NANOSECONDS, "the resolution of a Timedelta")


def nat_call(args: Arguments) -> None:
    need(len(args) == 1 and args[0] is None, "NaT takes None")


def period_call(args: Arguments) -> None:
    """``Period(None, freq, ordinal)``."""
    need(
        len(args) == 3 and args[0] is None and (is_offset(args[1]) or type(args[1]) is str),
        "the arguments of a Period",
    )
    integer(args[2], -(1 << 53), 1 << 53, "the ordinal of a Period")


def interval_value_call(args: Arguments) -> None:
    """``Interval(left, right, closed)``, which compares them."""
    need(len(args) == 3, "an Interval takes two bounds")
    for bound in args[:2]:
        need(
            type(bound) in (int, float)
            or (is_scalar_value(bound) and holds_plain_bytes(bound.dtype))
            or type(bound).__name__ in ("Timestamp", "Timedelta"),
            "a bound of an Interval",
        )
    need(type(args[2]) is str, "the closed side of an Interval")


def offset_call(args: Arguments) -> None:
    """Offsets, as ``MonthEnd(2, False)``: some count their steps one by one."""
    import datetime

    for value in args:
        if type(value) is int:
            integer(value, -1_000_000, 1_000_000, "a number in an offset")
        elif type(value) is tuple or type(value) is list:
            need(
                all(
                    type(v) in PLAIN
                    or type(v) in (datetime.time, datetime.date)
                    or is_scalar_value(v)
                    for v in value
                ),
                "an argument of an offset",
            )
        else:
            need(
                type(value) in PLAIN
                or type(value) in (datetime.timedelta, datetime.time)
                or is_offset(value),
                "an argument of an offset",
            )


def categorical_dtype_state(instance: Any, state: Any) -> Any:
    attributes: Any = dict(exact_dict(state, "a CategoricalDtype"))
    need(set(attributes) <= {"categories", "ordered", "_cache"}, "a CategoricalDtype")
    attributes.pop("_cache", None)
    categories = attributes.get("categories")
    need(categories is None or is_index(categories), "the categories of a CategoricalDtype")
    need(type(attributes.get("ordered")) in (bool, type(None)), "ordered of a CategoricalDtype")
    return attributes


def dtype_state(instance: Any, state: Any) -> Any:
    """DatetimeTZDtype, IntervalDtype, SparseDtype, Int64Dtype and their like."""
    import datetime

    what = type(instance).__name__
    if state is None:
        return None
    attributes: Any = dict(exact_dict(state, what))
    attributes.pop("_cache", None)
    attributes.pop("_cache_dtypes", None)
    for name, value in attributes.items():
        need(
            name.strip("_") in ("unit", "tz", "subtype", "closed", "dtype", "fill_value", "freq"),
            f"{what} has no {name!r:.80}",
        )
        need(
            type(value) in PLAIN
            or isinstance(value, datetime.tzinfo)
            or isinstance(value, numpy().dtype)
            or is_scalar_value(value)
            or is_offset(value)
            or _is_pandas(value),
            f"{name} of {what}",
        )
    if what == "DatetimeTZDtype":
        need(attributes.get("unit") in ("s", "ms", "us", "ns"), f"the unit of {what}")
        _check_zone(attributes.get("tz"), what)
    return attributes


def string_dtype_call(args: Arguments) -> None:
    """``StringDtype(storage, na_value)``; pyarrow's storage is not approved."""
    need(
        len(args) <= 2
        and (not args or (type(args[0]) is str and args[0] == "python"))
        and (len(args) < 2 or type(args[1]) is float or type(args[1]).__name__ == "NAType"),
        "a StringDtype of Python's own strings",
    )


def text_call(args: Arguments) -> None:
    """``PeriodDtype("period[M]")``, and its like: one short text."""
    need(len(args) == 1 and type(args[0]) is str and len(args[0]) < 100, "takes one text")

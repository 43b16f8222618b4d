"""Rules for states of what is SciPy's.

Compiled code of SciPy, and of scikit-learn, follows the indices of a sparse matrix without looking
at the lengths again. A matrix that passes here has what its own constructors would have checked.
"""

from __future__ import annotations

from typing import Any

from fastpersist.policy.rows import Refused
from fastpersist.policy.rules_numpy import is_array, is_dtype, is_scalar_value, numpy, own
from fastpersist.policy.rules_python import exact_dict, integer, is_number, need

LARGEST = (1 << 63) - 1

_FLAGS = ("_has_sorted_indices", "has_sorted_indices", "_has_canonical_format",
          "has_canonical_format")  # fmt: skip


def _state(state: Any, what: str, *names: str) -> Any:
    """The state's known part; what is not known is refused."""
    state = exact_dict(state, what)
    result = {}
    for key, value in state.items():
        if key in _FLAGS:
            if type(value) not in (bool, int) and type(value).__name__ not in ("bool_", "bool"):
                raise Refused(f"{key} of {what}")
        elif key == "maxprint":
            if value is not None:
                integer(value, 0, LARGEST, "maxprint")
        elif key != "_shape" and key not in names:
            raise Refused(f"{what} has no {key!r:.80}")
        result[key] = value
    return result


def _shape_of(state: dict[str, Any], what: str, *dimensions: int) -> tuple[int, ...]:
    shape = state.get("_shape")
    if type(shape) is not tuple or len(shape) not in dimensions:
        raise Refused(f"the shape of {what}")
    state["_shape"] = tuple(integer(n, 0, LARGEST, f"a length of {what}") for n in shape)
    return state["_shape"]  # type: ignore[no-any-return]


def _indices(value: Any, ndim: int, what: str) -> Any:
    """An array of machine integers, in memory of its own."""
    if not is_array(value) or value.ndim != ndim:
        raise Refused(f"{what} are no array of {ndim} dimensions")
    dtype = value.dtype
    if dtype.kind != "i" or dtype.itemsize not in (4, 8):
        raise Refused(f"{what} are of dtype {dtype}")
    if not dtype.isnative:
        return value.astype(dtype.newbyteorder("="))
    return own(value)


def _values(value: Any, ndim: int, what: str) -> Any:
    if not is_array(value) or value.ndim != ndim or value.dtype.kind not in "biufc":
        raise Refused(f"the values of {what}")
    return value


def _in_range(indices: Any, length: int, what: str) -> None:
    if indices.size and not (int(indices.min()) >= 0 and int(indices.max()) < length):
        raise Refused(f"{what}: not all from 0 to below {length}")


def _pointers(state: dict[str, Any], rows: int, what: str) -> Any:
    """Looks at indptr; returns how many entries it covers."""
    pointers = _indices(state.get("indptr"), 1, f"indptr of {what}")
    state["indptr"] = pointers
    need(pointers.shape[0] - 1 == rows, f"indptr of {what} is not as long as its shape says")
    need(int(pointers[0]) == 0, f"indptr of {what} does not begin at 0")
    if bool((pointers[1:] < pointers[:-1]).any()):
        raise Refused(f"indptr of {what} goes down")
    return int(pointers[-1])


def _compressed(state: Any, what: str, axis: int) -> Any:
    state = _state(state, what, "data", "indices", "indptr")
    shape = _shape_of(state, what, 2, 1)
    if len(shape) == 1:
        shape = (1, *shape)
        axis = 0
    count = _pointers(state, shape[axis], what)
    indices = _indices(state.get("indices"), 1, f"indices of {what}")
    values = _values(state.get("data"), 1, what)
    need(
        count <= min(indices.shape[0], values.shape[0]),
        f"indptr of {what} ends behind its entries",
    )
    # Room behind the last entry, as where some were removed, would be taken for entries by some
    # of SciPy's functions.
    if indices.shape[0] != count:
        indices = indices[:count].copy()
    if values.shape[0] != count:
        values = values[:count].copy()
    _in_range(indices, shape[1 - axis], f"indices of {what}")
    state["indices"], state["data"] = indices, values
    return state


def csr_state(instance: Any, state: Any) -> Any:
    return _compressed(state, "a CSR matrix", 0)


def csc_state(instance: Any, state: Any) -> Any:
    return _compressed(state, "a CSC matrix", 1)


def bsr_state(instance: Any, state: Any) -> Any:
    what = "a BSR matrix"
    state = _state(state, what, "data", "indices", "indptr", "blocksize")
    rows, columns = _shape_of(state, what, 2)
    values = _values(state.get("data"), 3, what)
    high, wide = values.shape[1:]
    need(high >= 1 and wide >= 1, f"the blocks of {what} are empty")
    need(rows % high == 0 and columns % wide == 0, f"the blocks of {what} do not fill its shape")
    count = _pointers(state, rows // high, what)
    indices = _indices(state.get("indices"), 1, f"indices of {what}")
    need(count == indices.shape[0] == values.shape[0], f"indptr of {what} does not end at its end")
    _in_range(indices, columns // wide, f"indices of {what}")
    state["indices"] = indices
    state.pop("blocksize", None)
    return state


def coo_state(instance: Any, state: Any) -> Any:
    what = "a COO matrix"
    state = _state(state, what, "data", "row", "col", "coords")
    shape = _shape_of(state, what, *range(1, 33))
    values = _values(state.get("data"), 1, what)
    if "coords" in state:
        coords = state["coords"]
        need(
            type(coords) is tuple and "row" not in state and "col" not in state,
            f"the coordinates of {what}",
        )
    else:
        coords = (state.get("row"), state.get("col"))
    need(len(coords) == len(shape), f"the coordinates of {what}")
    checked = []
    for axis, (indices, length) in enumerate(zip(coords, shape, strict=True)):
        indices = _indices(indices, 1, f"coordinates of {what}")
        need(indices.shape[0] == values.shape[0], f"{what} has not as many coordinates as values")
        _in_range(indices, length, f"coordinates of axis {axis} of {what}")
        checked.append(indices)
    if "coords" in state:
        state["coords"] = tuple(checked)
    else:
        state["row"], state["col"] = checked
    return state


def dia_state(instance: Any, state: Any) -> Any:
    what = "a DIA matrix"
    state = _state(state, what, "data", "offsets")
    rows, columns = _shape_of(state, what, 2)
    values = _values(state.get("data"), 2, what)
    offsets = _indices(state.get("offsets"), 1, f"offsets of {what}")
    need(offsets.shape[0] == values.shape[0], f"{what} has not one offset for each diagonal")
    if offsets.size:
        need(
            int(offsets.min()) >= -rows and int(offsets.max()) <= columns,
            f"a diagonal of {what} lies outside",
        )
        need(len(numpy().unique(offsets)) == offsets.shape[0], f"{what} has a diagonal twice")
    state["offsets"] = offsets
    return state


def _number(value: Any) -> bool:
    return (
        type(value) is complex
        or is_number(value)
        or (is_scalar_value(value) and value.dtype.kind in "biufc")
    )


def _dtype(state: dict[str, Any], what: str) -> None:
    need(is_dtype(state.get("dtype")) and state["dtype"].kind in "biufc", f"the dtype of {what}")


def lil_state(instance: Any, state: Any) -> Any:
    what = "a LIL matrix"
    state = _state(state, what, "data", "rows", "dtype")
    rows, columns = _shape_of(state, what, 2)
    _dtype(state, what)
    for name in ("rows", "data"):
        lists = state.get(name)
        need(
            is_array(lists) and lists.dtype == object and lists.shape == (rows,),
            f"the {name} of {what}",
        )
    np = numpy()
    # Lists of their own: the load could go on to append to those of the file.
    new_rows, new_data = np.empty(rows, object), np.empty(rows, object)
    for i, (indices, values) in enumerate(zip(state["rows"], state["data"], strict=True)):
        need(
            type(indices) is list and type(values) is list and len(indices) == len(values),
            f"a row of {what}",
        )
        last = -1
        kept = []
        for index in indices:
            last = integer(index, last + 1, columns - 1, f"an index of {what}")
            kept.append(last)
        for value in values:
            need(_number(value), f"a value of {what}")
        new_rows[i], new_data[i] = kept, list(values)
    state["rows"], state["data"] = new_rows, new_data
    return state


def _check_items(items: Any, shape: tuple[int, ...], what: str) -> None:
    for key, value in items.items():
        index = key if type(key) is tuple else (key,)
        need(len(index) == len(shape), f"a key of {what}")
        for i, length in zip(index, shape, strict=True):
            integer(i, 0, length - 1, f"an index of {what}")
        need(_number(value), f"a value of {what}")


def dok_state(instance: Any, state: Any) -> Any:
    what = "a DOK matrix"
    state = _state(state, what, "_dict", "dtype")
    shape = _shape_of(state, what, 1, 2)
    _dtype(state, what)
    if "_dict" in state:
        need(type(state["_dict"]) is dict, f"the items of {what}")
        state["_dict"] = dict(state["_dict"])
        _check_items(state["_dict"], shape, what)
    if isinstance(instance, dict) and dict.__len__(instance):
        _check_items(dict(dict.items(instance)), shape, what)
    return state


# Splines and piecewise polynomials


def _knots(value: Any, what: str) -> Any:
    np = numpy()
    if not is_array(value) or value.ndim != 1 or value.dtype != np.float64:
        raise Refused(f"the knots of {what} are no array of floats")
    value = np.ascontiguousarray(own(value))
    need(bool(np.isfinite(value).all()), f"a knot of {what} is not finite")
    return value


def _coefficients(value: Any, ndim: int, what: str) -> Any:
    if (
        not is_array(value)
        or value.ndim < ndim
        or value.dtype.kind not in "fc"
        or value.dtype.itemsize != (8 if value.dtype.kind == "f" else 16)
        or not value.dtype.isnative
    ):
        raise Refused(f"the coefficients of {what}")
    return value


def _check_asarray(function: Any, what: str) -> None:
    """Splines keep the `asarray` of the library whose arrays they were made of."""
    need(
        getattr(function, "__name__", None) == "asarray"
        and str(getattr(function, "__module__", "")).startswith(
            ("scipy._lib.array_api_compat.numpy", "scipy._external.array_api_compat.numpy", "numpy")
        ),  # fmt: skip
        f"_asarray of {what}",
    )


def _check_extrapolate(value: Any, what: str) -> None:
    need(
        type(value) is bool
        or value is None
        or (type(value) is str and value == "periodic")
        or type(value) is numpy().bool_,
        f"extrapolate of {what}",
    )


def bspline_state(instance: Any, state: Any) -> Any:
    what = "a BSpline"
    state = dict(exact_dict(state, what))
    under = "_" if "_t" in state else ""
    allowed = {f"{under}t", f"{under}c", "k", "extrapolate", "axis", "_asarray"}
    need(set(state) <= allowed and f"{under}t" in state, f"the state of {what}")
    knots = _knots(state[f"{under}t"], what)
    degree = integer(state.get("k"), 0, 1000, f"the degree of {what}")
    count = knots.shape[0] - degree - 1
    need(count >= degree + 1, f"{what} has too few knots")
    need(not bool((knots[1:] < knots[:-1]).any()), f"the knots of {what} go down")
    values = _coefficients(state.get(f"{under}c"), 1, what)
    need(values.shape[0] >= count, f"{what} has too few coefficients")
    state["axis"] = integer(state.get("axis", 0), 0, values.ndim - 1, f"the axis of {what}")
    _check_extrapolate(state.get("extrapolate"), what)
    if "_asarray" in state:
        _check_asarray(state["_asarray"], what)
    state[f"{under}t"], state["k"] = knots, degree
    return state


def ppoly_state(instance: Any, state: Any) -> Any:
    """PPoly, BPoly and the interpolators that are such."""
    what = "a piecewise polynomial"
    slots = state
    if type(state) is tuple:
        need(len(state) == 2 and state[0] is None, f"the state of {what}")
        slots = state[1]
    slots = dict(exact_dict(slots, what))
    under = "_" if "_x" in slots else ""
    allowed = {f"{under}c", f"{under}x", "extrapolate", "axis", "_asarray"}
    need(set(slots) <= allowed and f"{under}x" in slots, f"the state of {what}")
    knots = _knots(slots[f"{under}x"], what)
    need(knots.shape[0] >= 2, f"{what} has too few breakpoints")
    steps = knots[1:] - knots[:-1]
    need(bool((steps >= 0).all()) or bool((steps <= 0).all()), f"the breakpoints of {what}")
    values = _coefficients(slots.get(f"{under}c"), 2, what)
    need(
        values.shape[0] >= 1 and values.shape[1] == knots.shape[0] - 1,
        f"{what} has other coefficients than breakpoints",
    )
    slots["axis"] = integer(slots.get("axis", 0), 0, values.ndim - 2, f"the axis of {what}")
    _check_extrapolate(slots.get("extrapolate"), what)
    if "_asarray" in slots:
        _check_asarray(slots["_asarray"], what)
    slots[f"{under}x"] = knots
    return (None, slots) if type(state) is tuple else slots


def interp1d_state(instance: Any, state: Any) -> Any:
    """interp1d of any kind: it indexes through NumPy, which checks; its function is its own."""
    what = "an interp1d"
    need(type(state) is tuple and len(state) == 2, f"the state of {what}")
    attributes: Any = dict(exact_dict(state[0], what))
    slots = dict(exact_dict(state[1], what))
    function = attributes.get("_call")
    name = getattr(function, "__name__", None)
    need(
        type(name) is str
        and name.startswith("_call_")
        and type(instance).__dict__.get(name) is function,
        f"_call of {what}",
    )
    for key in ("x", "y", "_y"):
        value = attributes.get(key)
        need(is_array(value) and value.dtype.kind in "biufc", f"{key} of {what}")
    spline = attributes.get("_spline")
    if spline is not None:
        module = type(spline).__module__
        need(
            module == "scipy.interpolate._bsplines" and type(spline).__name__ == "BSpline",
            f"the spline of {what}",
        )
    need(set(slots) <= {"_y_axis", "_y_extra_shape", "dtype"}, f"the state of {what}")
    return (attributes, slots)


__all__ = [
    "bspline_state",
    "bsr_state",
    "coo_state",
    "csc_state",
    "csr_state",
    "dia_state",
    "dok_state",
    "interp1d_state",
    "lil_state",
    "ppoly_state",
]

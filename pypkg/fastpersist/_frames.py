"""What pandas' objects are made of, for their hash.

pandas keeps equal frames in blocks that depend on how they were made; their reducers give those.
Here a frame is its index, the names of its columns, and one array for each. The core calls `parts`
with objects of classes that pandas defines, or that derive from those, so pandas is imported.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

# What is hashed, and a list of columns or None.
Parts = tuple[tuple[Any, ...], list[Any] | None]


def parts(value: Any) -> Parts | None:
    """What a value is made of; None: what its own reducer says."""
    cls = _name(value)
    if isinstance(value, pd.DataFrame):
        columns = [_plain(column) for column in value._iter_column_arrays()]
        return (cls, value.columns, value.index, *_extras(value)), columns
    if isinstance(value, pd.Series):
        return (cls, value.name, value.index, *_extras(value)), [_plain(value.array)]
    if isinstance(value, pd.Index):
        return _parts_of_index(value)
    if isinstance(value, pd.api.extensions.ExtensionArray):
        return _parts_of_array(value)
    return None


def _name(value: Any) -> Any:
    """Its class; of pandas' own the name: the module differs from version to version."""
    cls = type(value)
    return f"pandas.{cls.__name__}" if cls.__module__.partition(".")[0] == "pandas" else cls


def _extras(value: Any) -> tuple[Any, ...]:
    """Attributes that pandas' own reducer keeps beside the data."""
    own = {name: getattr(value, name, None) for name in value._metadata if name != "name"}
    return value.flags.allows_duplicate_labels, value.attrs, own


def _plain(array: Any) -> Any:
    """A NumPy array where that is all there is to it."""
    return array.to_numpy() if isinstance(array, pd.arrays.NumpyExtensionArray) else array


def _parts_of_index(index: Any) -> Parts:
    cls = _name(index)
    if isinstance(index, pd.RangeIndex):
        return _parts_of_range(index.name, index.start, len(index), index.step)
    if isinstance(index, pd.MultiIndex):
        # By label: levels may hold more than is used, in any order.
        labels = [index.get_level_values(i) for i in range(index.nlevels)]
        return (cls, tuple(index.names)), [_plain(level.array) for level in labels]
    if type(index) is pd.Index and index.dtype == np.int64:
        values = index.to_numpy()
        start = int(values[0]) if len(values) else 0
        step = int(values[1]) - start if len(values) > 1 else 1
        if step and (len(values) < 3 or bool((np.diff(values) == step).all())):
            return _parts_of_range(index.name, start, len(values), step)
    freq = getattr(index, "freqstr", None)
    return (cls, index.name, freq), [_plain(index.array)]


def _parts_of_range(name: Any, start: int, length: int, step: int) -> Parts:
    """To pandas a RangeIndex is equal to the Index of its numbers: neither class counts."""
    if length < 2:
        step = 1
    return ("range", name, start if length else 0, length, step), None


def _parts_of_array(array: Any) -> Parts | None:
    cls = _name(array)
    if isinstance(array, pd.Categorical):
        return (cls, array.ordered, array.categories), [array.codes]
    if isinstance(array, pd.arrays.DatetimeArray | pd.arrays.TimedeltaArray):
        # Times count; the frequency is the index's.
        return (cls, str(array.dtype)), [array.asi8]
    if isinstance(array, pd.arrays.PeriodArray):
        return (cls, str(array.dtype)), [array.asi8]
    if isinstance(array, pd.arrays.IntervalArray):
        return (cls, array.closed), [_plain(array.left.array), _plain(array.right.array)]
    if isinstance(array, pd.arrays.SparseArray):
        return (cls, str(array.dtype), array.fill_value, len(array)), [
            _plain(array.sp_values),
            array.sp_index.to_int_index().indices,
        ]
    if isinstance(array, pd.core.arrays.masked.BaseMaskedArray):
        # What lies below the mask is not part of the value.
        mask = np.array(array._mask)
        data = array._data
        if mask.any():
            data = data.copy()
            data[mask] = data.dtype.type(0)
        return (cls, str(array.dtype)), [data, mask]
    if isinstance(array.dtype, pd.StringDtype | pd.ArrowDtype):
        # Arrow's chunks depend on how it was made.
        missing = np.asarray(array.isna())
        values = array.to_numpy(dtype=object, na_value=None)
        return (cls, str(array.dtype)), [values, missing]
    return None

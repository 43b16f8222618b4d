"""What is approved of pandas, from 2.0 on; pandas 3 names what is public by its public module."""

from __future__ import annotations

from typing import Any

from fastpersist.policy import rules_pandas, rules_small
from fastpersist.policy.rows import ARGUMENT, BUILD, CALL, NEW, Row, rows

_FRAME = "frame or series: blocks, axes and columns have to agree before it gets them"
_BLOCKS = "the data of a frame: side doors for pickles, which do not look at lengths"
_INDEX = "an index, told by its class and a dict; codes of levels are checked"
_ARRAY = "an array of pandas' own: dtype, values, codes and mask have to agree"
_DTYPE = "a dtype of pandas' own: a few plain values"
_VALUE = "an immutable value; the rule takes only what its pickles have"
_OFFSET = "a frequency: numbers and names of days, not large, as some are counted one by one"


def _moved(
    public: str, home: str, names: str, use: int, reason: str, **rules: Any
) -> tuple[Row, ...]:
    """Rows for both names of each class: the public one, and that of the module it is made in."""
    return (
        *rows(public, names, use, reason, means=home, **rules),
        *rows(home, names, use, reason, means=public, **rules),
    )


_INDEXES = {
    "base": "Index",
    "category": "CategoricalIndex",
    "datetimes": "DatetimeIndex",
    "interval": "IntervalIndex",
    "multi": "MultiIndex",
    "period": "PeriodIndex",
    "range": "RangeIndex",
    "timedeltas": "TimedeltaIndex",
}

ROWS: tuple[Row, ...] = (
    *_moved(
        "pandas",
        "pandas.core.frame",
        "DataFrame",
        NEW | BUILD,
        _FRAME,
        state=rules_pandas.frame_state,
    ),
    *_moved(
        "pandas",
        "pandas.core.series",
        "Series",
        NEW | BUILD,
        _FRAME,
        state=rules_pandas.frame_state,
    ),
    Row(
        "pandas._libs.internals",
        "_unpickle_block",
        CALL,
        _BLOCKS,
        call=rules_pandas.unpickle_block,
    ),
    Row(
        "pandas.core.internals.managers",
        "BlockManager",
        CALL | BUILD,
        _BLOCKS,
        call=rules_pandas.block_manager_call,
        state=rules_pandas.block_manager_state,
    ),
    Row(
        "pandas.core.internals.managers",
        "SingleBlockManager",
        NEW | BUILD,
        _BLOCKS,
        state=rules_pandas.single_manager_state,
    ),
    # Indexes: the classes are arguments of these functions.
    *(
        row
        for module, name in _INDEXES.items()
        for row in _moved("pandas", f"pandas.core.indexes.{module}", name, ARGUMENT, _INDEX)
    ),
    *(
        Row(
            f"pandas.core.indexes.{module}",
            name,
            CALL,
            _INDEX,
            call=rules_pandas.new_index,
        )
        for module, name in (
            ("base", "_new_Index"),
            ("datetimes", "_new_DatetimeIndex"),
            ("interval", "_new_IntervalIndex"),
            ("timedeltas", "_new_TimedeltaIndex"),
        )
    ),
    # Arrays.
    Row(
        "pandas._libs.arrays",
        "__pyx_unpickle_NDArrayBacked",
        CALL | BUILD,
        "makes arrays of the listed classes only, as it would fill any other",
        call=rules_pandas.nd_backed_call,
        state=rules_pandas.nd_backed_state,
    ),
    *(
        row
        for public, module, name in (
            ("pandas", "categorical", "Categorical"),
            ("pandas.arrays", "datetimes", "DatetimeArray"),
            ("pandas.arrays", "numpy_", "NumpyExtensionArray"),
            ("pandas.arrays", "period", "PeriodArray"),
            ("pandas.arrays", "string_", "StringArray"),
            ("pandas.arrays", "timedeltas", "TimedeltaArray"),
        )
        for row in _moved(
            public,
            f"pandas.core.arrays.{module}",
            name,
            BUILD,
            _ARRAY,
            state=rules_pandas.nd_backed_state,
        )
    ),
    *(
        row
        for module, name in (
            ("boolean", "BooleanArray"),
            ("floating", "FloatingArray"),
            ("integer", "IntegerArray"),
        )
        for row in _moved(
            "pandas.arrays",
            f"pandas.core.arrays.{module}",
            name,
            NEW | BUILD,
            _ARRAY,
            state=rules_pandas.masked_array_state,
        )
    ),
    *_moved(
        "pandas.arrays",
        "pandas.core.arrays.sparse.array",
        "SparseArray",
        NEW | BUILD,
        _ARRAY,
        state=rules_pandas.sparse_array_state,
    ),
    Row(
        "pandas._libs.sparse",
        "IntIndex",
        CALL,
        "positions of a SparseArray, going up and below its length",
        call=rules_pandas.int_index_call,
    ),
    Row(
        "pandas._libs.sparse",
        "BlockIndex",
        CALL,
        "positions of a SparseArray, going up and below its length",
        call=rules_pandas.block_index_call,
    ),
    Row(
        "pandas._libs.interval",
        "__pyx_unpickle_IntervalMixin",
        CALL | BUILD,
        "makes an IntervalArray only, as it would fill any other",
        call=rules_pandas.interval_call,
        state=rules_pandas.interval_state,
    ),
    *_moved(
        "pandas.arrays",
        "pandas.core.arrays.interval",
        "IntervalArray",
        BUILD,
        _ARRAY,
        state=rules_pandas.interval_state,
    ),
    # Dtypes.
    *_moved(
        "pandas",
        "pandas.core.dtypes.dtypes",
        "CategoricalDtype",
        NEW | BUILD,
        _DTYPE,
        state=rules_pandas.categorical_dtype_state,
    ),
    *_moved(
        "pandas",
        "pandas.core.dtypes.dtypes",
        "DatetimeTZDtype IntervalDtype SparseDtype",
        NEW | BUILD,
        _DTYPE,
        state=rules_pandas.dtype_state,
    ),
    # NumpyEADtype is public nowhere.
    *rows(
        "pandas.core.dtypes.dtypes",
        "NumpyEADtype",
        NEW | BUILD,
        _DTYPE,
        state=rules_pandas.dtype_state,
    ),
    *_moved(
        "pandas",
        "pandas.core.dtypes.dtypes",
        "PeriodDtype",
        CALL,
        _DTYPE,
        call=rules_pandas.text_call,
    ),
    *(
        row
        for module, names in (
            ("boolean", "BooleanDtype"),
            ("floating", "Float32Dtype Float64Dtype"),
            (
                "integer",
                "Int8Dtype Int16Dtype Int32Dtype Int64Dtype UInt8Dtype UInt16Dtype UInt32Dtype "
                "UInt64Dtype",
            ),
        )
        for row in _moved(
            "pandas",
            f"pandas.core.arrays.{module}",
            names,
            NEW | BUILD,
            _DTYPE,
            state=rules_pandas.dtype_state,
        )
    ),
    *_moved(
        "pandas",
        "pandas.core.arrays.string_",
        "StringDtype",
        CALL | NEW | BUILD,
        "a dtype of texts that Python keeps; pyarrow's is opt-in",
        call=rules_pandas.string_dtype_call,
        state=rules_small.string_dtype_state,
    ),
    # Values.
    Row(
        "pandas._libs.tslibs.timestamps",
        "_unpickle_timestamp",
        CALL,
        _VALUE,
        call=rules_pandas.timestamp_call,
    ),
    Row(
        "pandas._libs.tslibs.timedeltas",
        "_timedelta_unpickle",
        CALL,
        _VALUE,
        call=rules_pandas.timedelta_call,
    ),
    *rows(
        "pandas._libs.tslibs.nattype",
        "_nat_unpickle __nat_unpickle",
        CALL,
        _VALUE,
        call=rules_pandas.nat_call,
    ),
    *_moved("pandas", "pandas._libs.missing", "NA", ARGUMENT, "a constant, without attributes"),
    *_moved(
        "pandas",
        "pandas._libs.tslibs.period",
        "Period",
        CALL,
        _VALUE,
        call=rules_pandas.period_call,
    ),
    *_moved(
        "pandas",
        "pandas._libs.interval",
        "Interval",
        CALL,
        _VALUE,
        call=rules_pandas.interval_value_call,
    ),
    *rows(
        "pandas._libs.tslibs.offsets",
        "BHalfYearBegin BHalfYearEnd BQuarterBegin BQuarterEnd BYearBegin BYearEnd BusinessDay "
        "BusinessHour BusinessMonthBegin BusinessMonthEnd Day Easter HalfYearBegin HalfYearEnd "
        "Hour LastWeekOfMonth Micro Milli Minute MonthBegin MonthEnd Nano QuarterBegin QuarterEnd "
        "Second SemiMonthBegin SemiMonthEnd Week WeekOfMonth YearBegin YearEnd",
        CALL,
        _OFFSET,
        call=rules_pandas.offset_call,
    ),
    # Opt-in: DateOffset (its state sets attributes by name, and brings dateutil), custom offsets
    # (calendars hold functions and rules), FY5253 (counts years one by one), arrays of pyarrow,
    # time zones by name (zoneinfo writes them with getattr, pytz reads files).
)

"""Rules for arguments and states of what is Python's own.

What a rule gets was made by the load, of approved names only; it holds types to be exact, since a
subclass may answer anything.
"""

from __future__ import annotations

import calendar
import re
import sys
from typing import Any

from fastpersist.policy.rows import Refused

Arguments = tuple[Any, ...]

PLAIN = frozenset({type(None), bool, int, float, complex, str, bytes})
"""Types whose values hold no other object."""

# How many values are looked at where one stands for many: the same tuple within a tuple, level by
# level, has a hash that takes exponential time.
BUDGET = 100_000

SAFE_FACTORIES = frozenset(
    {bool, bytes, complex, dict, float, frozenset, int, list, set, str, tuple}
)


def need(condition: object, reason: str) -> None:
    """Refuses where `condition` does not hold."""
    if not condition:
        raise Refused(reason)


def exact_dict(state: Any, what: str) -> Any:
    """`state`, where it is a dict with names for keys (a dict[str, Any])."""
    if type(state) is not dict:
        raise Refused(f"the state of {what} is no dict")
    for key in state:
        if type(key) is not str:
            raise Refused(f"the state of {what} has a key that is no name")
    return state


def class_name(instance: Any) -> str:
    return type(instance).__name__


def integer(value: Any, low: int, high: int, what: str) -> int:
    """`value` as an int, where it is an integer from `low` to `high`: Python's or NumPy's."""
    if type(value) is not int:
        # bool, and NumPy's integers; others have no __index__ of C.
        kind = type(value)
        if kind is not bool and not (kind.__module__ == "numpy" and hasattr(kind, "__index__")):
            raise Refused(f"{what} is no integer")
        try:
            value = int(value.__index__())
        except TypeError:
            raise Refused(f"{what} is no integer") from None
    if not low <= value <= high:
        raise Refused(f"{what} is {value}, not between {low} and {high}")
    return value  # type: ignore[no-any-return]


def is_number(value: Any) -> bool:
    """Whether `value` is a real number of Python's or NumPy's."""
    kind = type(value)
    if kind is int or kind is float or kind is bool:
        return True
    return (
        kind.__module__ == "numpy"
        and getattr(value, "dtype", None) is not None
        and (value.dtype.kind in "biuf" and value.ndim == 0 and kind.__name__ != "ndarray")
    )


def no_arguments(args: Arguments) -> None:
    if args:
        raise Refused("takes no arguments")


def plain_values(args: Arguments) -> None:
    """Numbers, text, bytes, None, and tuples of these."""
    seen = set()
    waiting: list[Any] = [args]
    while waiting:
        value = waiting.pop()
        if type(value) is tuple:
            if id(value) not in seen:
                seen.add(id(value))
                waiting.extend(value)
        elif type(value) not in PLAIN:
            raise Refused(f"an argument is {class_name(value)}, not a plain value")


def texts(args: Arguments) -> None:
    for value in args:
        if type(value) is not str:
            raise Refused(f"an argument is {class_name(value)}, not str")


def slice_(args: Arguments) -> None:
    need(1 <= len(args) <= 3, "slice() takes one to three arguments")
    for value in args:
        if value is not None and type(value) is not str and not is_number(value):
            raise Refused(f"a bound of a slice is {class_name(value)}")


def range_(args: Arguments) -> None:
    need(1 <= len(args) <= 3, "range() takes one to three arguments")
    for value in args:
        integer(value, -(1 << 64), 1 << 64, "a bound of a range")


def complex_(args: Arguments) -> None:
    need(len(args) <= 2, "complex() takes two numbers")
    for value in args:
        if type(value) not in (int, float, bool):
            raise Refused(f"a part of a complex number is {class_name(value)}")


def getattr_(args: Arguments) -> None:
    """Never: it reaches anything by name."""
    raise Refused("getattr() may not be called")


def check_hashable(value: Any) -> None:
    """Refuses a value as key or member whose hash or comparison runs other code than Python's and
    NumPy's own, or takes very long."""
    left = BUDGET
    waiting = [value]
    while waiting:
        value = waiting.pop()
        kind = type(value)
        left -= 1
        if left < 0:
            raise Refused("a key is nested too much")
        if kind in PLAIN:
            continue
        if kind is tuple or kind is frozenset:
            if len(value) > left:
                raise Refused("a key is nested too much")
            waiting.extend(value)
        elif kind is range or kind is type:
            continue
        elif not (kind.__module__ == "numpy" and hasattr(value, "dtype") and is_scalar(value)):
            raise Refused(f"a key is {class_name(value)}")


def is_scalar(value: Any) -> bool:
    """Whether `value` is one of NumPy's scalars, of a type that NumPy itself defines, without
    fields."""
    numpy = sys.modules["numpy"]
    return (
        isinstance(value, numpy.generic)
        and type(value) is not numpy.void
        and (type(value) is value.dtype.type)
    )


def set_from_list(args: Arguments) -> None:
    """As protocols 0 to 3 write set and frozenset."""
    if not args:
        return
    need(len(args) == 1, "a set takes one argument")
    members = args[0]
    need(type(members) in (list, tuple, set, frozenset), "a set takes a list")
    for member in members:
        check_hashable(member)


def bytearray_(args: Arguments) -> None:
    if not args or (len(args) == 1 and type(args[0]) is bytes):
        return
    # So protocols 0 to 2 write it. A number would be a size.
    need(
        len(args) == 2
        and type(args[0]) is str
        and type(args[1]) is str
        and args[1].lower() in ("latin-1", "latin1", "iso-8859-1"),
        "a bytearray takes bytes",
    )


def bytes_(args: Arguments) -> None:
    """As protocol 2 writes the empty bytes."""
    need(not args or (len(args) == 1 and type(args[0]) is bytes), "bytes takes no arguments")


def encode(args: Arguments) -> None:
    """As protocols 0 to 2 write bytes: ``_codecs.encode(text, "latin1")``."""
    need(
        len(args) == 2
        and type(args[0]) is str
        and type(args[1]) is str
        and args[1] in ("latin1", "latin-1"),
        "encodes text as latin1 only",
    )


def decimal_(args: Arguments) -> None:
    need(len(args) == 1 and type(args[0]) is str, "a Decimal takes its text")


_FRACTION = re.compile(r"-?[0-9]{1,4300}(/[0-9]{1,4300})?")


def fraction_(args: Arguments) -> None:
    """Text without an exponent: 1e1000000000 would take all memory."""
    if len(args) == 1 and type(args[0]) is str and _FRACTION.fullmatch(args[0]):
        return
    need(
        len(args) == 2 and type(args[0]) is int and type(args[1]) is int,
        "a Fraction takes two integers",
    )


def timezone_(args: Arguments) -> None:
    import datetime

    need(
        1 <= len(args) <= 2
        and type(args[0]) is datetime.timedelta
        and (len(args) == 1 or type(args[1]) is str),
        "a timezone takes a timedelta and a name",
    )


def timedelta_(args: Arguments) -> None:
    need(len(args) <= 3, "a timedelta takes three integers")
    for value in args:
        if type(value) is not int:
            raise Refused("a timedelta takes three integers")


def _check_date(state: bytes) -> None:
    year, month, day = state[0] * 256 + state[1], state[2] & 0x7F, state[3]
    need(
        1 <= year <= 9999 and 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1],
        "not a date",
    )


def _check_time(state: bytes) -> None:
    microsecond = state[3] << 16 | state[4] << 8 | state[5]
    need(
        state[0] & 0x7F < 24 and state[1] < 60 and state[2] < 60 and microsecond < 1_000_000,
        "not a time of day",
    )


def _bytes_of(value: Any) -> bytes | None:
    """The packed fields: bytes, or the text that protocol 2 of Python 2 made of them."""
    if type(value) is bytes:
        return value
    if type(value) is str:
        try:
            return value.encode("latin-1")
        except UnicodeEncodeError:
            return None
    return None


def date_(args: Arguments) -> None:
    """Year, month and day in four bytes, of which Python looks at the month only: weekdays of
    other years are read from in front of their table."""
    state = _bytes_of(args[0]) if len(args) == 1 else None
    if state is None or len(state) != 4:
        raise Refused("a date takes its four bytes")
    _check_date(state)


def _check_zone(args: Arguments) -> None:
    import datetime

    if len(args) == 2 and not isinstance(args[1], datetime.tzinfo):
        raise Refused("a time zone is none")


def time_(args: Arguments) -> None:
    state = _bytes_of(args[0]) if 1 <= len(args) <= 2 else None
    if state is None or len(state) != 6:
        raise Refused("a time takes its six bytes")
    _check_time(state)
    _check_zone(args)


def datetime_(args: Arguments) -> None:
    """Date and time in ten bytes, and a time zone; also date, time, timedelta and timezone are told
    by their own rules."""
    state = _bytes_of(args[0]) if 1 <= len(args) <= 2 else None
    if state is None or len(state) != 10:
        raise Refused("a datetime takes its ten bytes")
    _check_date(state)
    _check_time(state[4:])
    _check_zone(args)


_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,3}")


def zone_info(args: Arguments) -> None:
    """``zoneinfo.ZoneInfo._unpickle(key, from_cache)``: the key names a file of the system."""
    need(
        len(args) == 2
        and type(args[0]) is str
        and _ZONE.fullmatch(args[0])
        and type(args[1]) in (bool, int),
        "a time zone takes its name",
    )


def uuid_(instance: Any, state: Any) -> Any:
    state = exact_dict(state, "a UUID")
    need(type(state.get("int")) is int and 0 <= state["int"] < 1 << 128, "the number of a UUID")
    kept = {"int": state["int"]}
    if "is_safe" in state:
        need(type(state["is_safe"]) in PLAIN, "is_safe of a UUID")
        kept["is_safe"] = state["is_safe"]
    return kept


def _check_pairs(items: Any) -> None:
    if type(items) is dict:
        return
    need(type(items) in (list, tuple), "takes a list of pairs")
    for pair in items:
        need(type(pair) in (list, tuple) and len(pair) == 2, "takes a list of pairs")
        check_hashable(pair[0])


def ordered_dict(args: Arguments) -> None:
    need(len(args) <= 1, "an OrderedDict takes a list of pairs")
    if args:
        _check_pairs(args[0])


def ordered_dict_state(instance: Any, state: Any) -> dict[str, Any]:
    """Of one that a module's state_dict() gave: which version each part has."""
    need(type(state) is dict and set(state) == {"_metadata"}, "the state of an OrderedDict")
    versions = state["_metadata"]
    need(type(versions) is type(instance), "the versions of a state dict")
    return {"_metadata": versions}


def defaultdict_(args: Arguments) -> None:
    """The factory is called when a key is missing: None, or a class that is made of nothing."""
    need(len(args) <= 2, "a defaultdict takes a factory and a dict")
    if args and args[0] is not None:
        factory = args[0]
        if not (type(factory) is type and (factory in SAFE_FACTORIES or _is_container(factory))):
            raise Refused(
                f"the factory of a defaultdict is {getattr(factory, '__name__', factory)!s:.80}"
            )
    if len(args) == 2:
        need(type(args[1]) is dict, "a defaultdict takes a dict")


def _is_container(factory: type) -> bool:
    import collections

    return factory in (collections.OrderedDict, collections.Counter, collections.deque)


def deque_(args: Arguments) -> None:
    need(len(args) <= 2, "a deque takes items and a length")
    if args:
        need(type(args[0]) in (list, tuple), "a deque takes a list")
    if len(args) == 2 and args[1] is not None:
        integer(args[1], 0, 1 << 62, "the length of a deque")


def counter_(args: Arguments) -> None:
    need(not args or (len(args) == 1 and type(args[0]) is dict), "a Counter takes a dict")


def enum_value(args: Arguments) -> None:
    """The value of a member."""
    need(len(args) == 1, "a member of an enumeration is found by its value")
    plain_values(args)


def path_(args: Arguments) -> None:
    """Parts of a path: nothing is opened."""
    texts(args)


def array_(args: Arguments) -> None:
    """``array._array_reconstructor(array, typecode, format, bytes)``, which checks the rest."""
    import array

    need(
        len(args) == 4
        and args[0] is array.array
        and type(args[1]) is str
        and len(args[1]) == 1
        and type(args[2]) is int
        and type(args[3]) is bytes,
        "an array takes its type and its bytes",
    )


def array_call(args: Arguments) -> None:
    """``array.array(typecode, list)``, of protocols 0 to 2."""
    need(
        1 <= len(args) <= 2
        and type(args[0]) is str
        and len(args[0]) == 1
        and (len(args) == 1 or type(args[1]) in (list, bytes)),
        "an array takes its type and its items",
    )

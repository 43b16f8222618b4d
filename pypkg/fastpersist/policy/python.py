"""What is approved of Python itself."""

from __future__ import annotations

from fastpersist.policy import rules_python, rules_small
from fastpersist.policy.rows import ARGUMENT, BUILD, CALL, ITEMS, NEW, Row, rows

_VALUE = "an immutable value; the rule takes only what its pickles have"
_CONTAINER = "holds what is put into it; its own methods are C"
_CLASS = "a class that is referred to, as the factory of a defaultdict or a dtype of a parameter"

ROWS: tuple[Row, ...] = (
    # Called with one argument, set and frozenset take its items; with none they are empty.
    *rows(
        "builtins",
        "set frozenset",
        CALL | NEW,
        "made of a list in protocols 0 to 3; members are held to hashes of Python's own",
        call=rules_python.set_from_list,
    ),
    Row("builtins", "bytearray", CALL, _VALUE, call=rules_python.bytearray_),
    Row("builtins", "bytes", CALL, "the empty bytes of protocol 2", call=rules_python.bytes_),
    Row("builtins", "complex", CALL, _VALUE, call=rules_python.complex_),
    Row("builtins", "slice", CALL, _VALUE, call=rules_python.slice_),
    Row("builtins", "range", CALL, _VALUE, call=rules_python.range_),
    # The class alone: type() with three arguments makes a class, and with one of an object gives
    # what could not be named.
    Row(
        "builtins",
        "type",
        CALL,
        "type(None), type(...) and type(NotImplemented), which have no names",
        call=rules_small.type_of_singleton,
    ),
    *rows("builtins", "bool int float str list tuple dict object", ARGUMENT, _CLASS),
    *rows("builtins", "Ellipsis NotImplemented", ARGUMENT, "a constant"),
    Row(
        "_codecs",
        "encode",
        CALL,
        "bytes of protocols 0 to 2; to latin-1 only, as other codecs import modules",
        call=rules_python.encode,
    ),
    # The machine looks at the class and its base itself: a class is a row of its own.
    *rows(
        "copyreg",
        "_reconstructor __newobj__ __newobj_ex__",
        CALL,
        "makes an instance of an approved class; the load does it by its rule for the class",
    ),
    Row(
        "collections",
        "OrderedDict",
        CALL | NEW | BUILD | ITEMS,
        "holds what is put into it; its own methods are C. Its state is the versions that torch "
        "keeps with a state dict",
        call=rules_python.ordered_dict,
        state=rules_python.ordered_dict_state,
    ),
    Row(
        "collections",
        "defaultdict",
        CALL | NEW | ITEMS,
        "calls its factory when a key is missing: the rule allows none, or a plain container",
        call=rules_python.defaultdict_,
    ),
    Row("collections", "Counter", CALL | ITEMS, _CONTAINER, call=rules_python.counter_),
    Row("collections", "deque", CALL | ITEMS, _CONTAINER, call=rules_python.deque_),
    # Not timezone's and ZoneInfo's relatives of other libraries: pytz and dateutil read files.
    Row("datetime", "date", CALL, _VALUE, call=rules_python.date_),
    Row("datetime", "time", CALL, _VALUE, call=rules_python.time_),
    Row("datetime", "datetime", CALL, _VALUE, call=rules_python.datetime_),
    Row("datetime", "timedelta", CALL, _VALUE, call=rules_python.timedelta_),
    Row("datetime", "timezone", CALL, _VALUE, call=rules_python.timezone_),
    Row(
        "decimal",
        "Decimal",
        CALL,
        _VALUE,
        call=rules_python.decimal_,
        means=(("_pydecimal", "Decimal"),),
    ),
    Row("fractions", "Fraction", CALL, _VALUE, call=rules_python.fraction_),
    Row(
        "uuid",
        "UUID",
        NEW | BUILD,
        "a number of 128 bits; its state is rebuilt from the number",
        state=rules_python.uuid_,
    ),
    Row("uuid", "SafeUUID", CALL, "a member of an enumeration", call=rules_python.enum_value),
    *rows(
        "pathlib",
        "PurePosixPath PureWindowsPath PosixPath",
        CALL,
        "parts of a path; nothing is opened, and its methods cannot be called",
        means="pathlib._local",
        call=rules_python.path_,
    ),
    *rows(
        "pathlib._local",
        "PurePosixPath PureWindowsPath PosixPath",
        CALL,
        "as Python 3.13 names it",
        means="pathlib",
        call=rules_python.path_,
    ),
    Row(
        "array",
        "array",
        CALL,
        "numbers of one type",
        call=rules_python.array_call,
    ),
    Row(
        "array",
        "_array_reconstructor",
        CALL,
        "numbers of one type, from their bytes; it checks the format",
        call=rules_python.array_,
    ),
    # Not here, although pickles of honest objects have them: functools.partial, what operator has
    # (itemgetter, attrgetter, methodcaller), builtins.getattr (protocols 0 to 3 write methods with
    # it, and every protocol ZoneInfo), types.SimpleNamespace (it would take any names).
)

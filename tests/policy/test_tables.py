"""The policy's tables: what is approved, held to the libraries that are installed."""

import collections
import functools
import importlib
import pathlib
import subprocess
import sys
import types
import warnings

import pytest
from fastpersist.policy import never
from fastpersist.policy.rows import BUILD, CALL, ITEMS, NEW, WHOLE

TABLES = ("python", "numpy_", "scipy_", "sklearn_", "pandas_", "joblib_", "torch_")
ROWS = [
    row for table in TABLES for row in importlib.import_module(f"fastpersist.policy.{table}").ROWS
]
BY_NAME = {(row.module, row.name): row for row in ROWS}
GADGETS = [
    tuple(line.split("\t")[:2])
    for line in (pathlib.Path(__file__).parents[1] / "support" / "gadgets.tsv")
    .read_text()
    .splitlines()[1:]
]
# A gadget where it takes any dtype and any memory: its rule takes neither.
WITH_A_RULE = {("numpy", "ndarray")}
# Called with anything: the load itself does what they do.
LOAD_DOES_IT = {("copyreg", name) for name in ("_reconstructor", "__newobj__", "__newobj_ex__")}
# Reached by name, and no class.
CONSTANTS = {("builtins", "Ellipsis"), ("builtins", "NotImplemented")} | {
    (module, "NA") for module in ("pandas", "pandas._libs.missing")
}
CONSTANTS |= {
    (row.module, row.name) for row in ROWS if row.reason == "a dtype, which is a constant"
}
FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType)


def label(row):
    return f"{row.module}.{row.name}"


def found(row):
    """What a row's name stands for, or None: another version of the library, or none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value = importlib.import_module(row.module)
        except ImportError:
            return None
        for part in row.name.split("."):
            try:
                value = getattr(value, part)
            except AttributeError:
                return None
    # asarray() of scipy 1.14, which no pickle of that version has: it does not present itself.
    return None if isinstance(value, functools.partial) else value


def installed():
    return [(row, value) for row in ROWS if (value := found(row)) is not None]


@pytest.fixture(scope="module")
def found_rows():
    return installed()


def is_function(value):
    kind = type(value)
    return isinstance(value, FUNCTIONS) or (kind.__module__, kind.__name__) in (
        ("numpy", "ufunc"),
        ("numpy", "_ArrayFunctionDispatcher"),
        ("builtins", "method_descriptor"),
        # Functions that Cython compiles; each library has its own class of that name.
        *((kind.__module__, "cython_function_or_method"),),
    )


def presented(value):
    name = getattr(value, "__qualname__", None) or value.__name__
    module = getattr(value, "__module__", None)
    if isinstance(value, types.MethodDescriptorType):
        module = value.__objclass__.__module__
    return module, name


# ---------------------------------------------------------------- names


def test_gadgets_are_not_approved():
    bad = [
        gadget
        for gadget in GADGETS
        if gadget in BY_NAME
        and BY_NAME[gadget].use & (CALL | NEW)
        and not (gadget in WITH_A_RULE and BY_NAME[gadget].call)
    ]
    assert len(GADGETS) == 216 and not bad


def test_gadgets_are_never_approved():
    assert {gadget for gadget in GADGETS if never.is_never(*gadget) is None} == WITH_A_RULE


def test_no_row_is_of_what_is_never_approved():
    assert [label(row) for row in ROWS if never.is_never(row.module, row.name)] == []
    meant = [pair for row in ROWS for pair in row.means]
    assert [pair for pair in meant if never.is_never(*pair)] == []


@pytest.mark.parametrize(
    "name",
    [
        ("os", "getpid"),
        ("os.path", "join"),
        ("sklearn._config", "os.getpid"),
        ("numpy", "core._internal.sys.modules"),
        ("pathlib", "os.system"),
        ("__builtin__", "eval"),
        ("builtins", "getattr"),
        ("functools", "partial"),
        ("operator", "itemgetter"),
        ("pickle", "loads"),
        ("fastpersist", "load"),
        ("builtins", "int.__subclasses__"),
        ("sklearn.base", "BaseEstimator.__init__.__globals__"),
        ("collections", "abc.sys.modules"),
    ],
)
def test_never(name):
    assert never.is_never(*name)


@pytest.mark.parametrize(
    "name",
    [("mine", "Model"), ("types", "SimpleNamespace"), ("io", "BytesIO"), ("numpy", "ndarray")],
)
def test_not_never(name):
    assert never.is_never(*name) is None


# ---------------------------------------------------------------- rows


def test_rows_are_unique():
    twice = [n for n, k in collections.Counter((r.module, r.name) for r in ROWS).items() if k > 1]
    assert not twice


def test_rows_give_reasons():
    assert [label(row) for row in ROWS if len(row.reason.split()) < 2] == []


def test_uses_are_sane():
    for row in ROWS:
        assert row.use & ~(CALL | NEW | BUILD | ITEMS | WHOLE) == 0, label(row)
        # A rule that nothing asks for would be a mistake.
        assert row.call is None or row.use & (CALL | NEW), label(row)
        assert row.state is None or row.use & BUILD, label(row)


def test_what_is_called_has_a_rule():
    free = {(row.module, row.name) for row in ROWS if row.use & CALL and row.call is None}
    assert free == LOAD_DOES_IT


def test_states_have_rules():
    """But for those of classes that take none, and those that the load reads by itself."""
    free = {label(row) for row in ROWS if row.use & BUILD and row.state is None}
    assert free == {"numpy.dtype", "numpy.ndarray", "sklearn.utils._bunch.Bunch"}


def test_python_2_names_are_not_in_the_tables():
    for row in ROWS:
        assert row.module not in ("__builtin__", "copy_reg"), label(row)


def test_importing_the_tables_imports_no_library():
    tables = ", ".join(TABLES)
    code = f"""
import sys
import fastpersist
before = set(sys.modules)
from fastpersist.policy import never, {tables}
print(*(set(sys.modules) - before))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    others = {name for name in out.stdout.split() if not name.startswith("fastpersist")}
    libraries = {"scipy", "sklearn", "pandas", "joblib", "torch"}
    assert not {name.partition(".")[0] for name in others} & libraries


# ---------------------------------------------------------------- what names stand for


def test_names_stand_for_what_they_say(found_rows):
    bad = []
    for row, value in found_rows:
        if (row.module, row.name) in CONSTANTS:
            continue
        accepted = {(row.module, row.name), *row.means}
        # ufuncs of NumPy before 2.2 do not say where they are from.
        own = presented(value)
        if own not in accepted and not (own[0] is None and (row.module, own[1]) in accepted):
            bad.append((label(row), own))
    assert not bad
    assert len(found_rows) > 200


def test_names_stand_for_classes_and_functions(found_rows):
    bad = []
    for row, value in found_rows:
        if (row.module, row.name) in CONSTANTS:
            # Nothing can be set on what has no row to be built by.
            kind = type(value)
            assert (kind.__module__, kind.__qualname__) not in BY_NAME, label(row)
            assert row.use == 0, label(row)
        elif isinstance(value, type):
            pass
        elif not is_function(value) or row.use & ~(CALL | BUILD | WHOLE):
            bad.append(label(row))
    assert not bad


def test_dotted_names_go_through_classes():
    for row in ROWS:
        *outer, _ = row.name.split(".")
        value = None
        for i in range(len(outer)):
            name = ".".join(outer[: i + 1])
            value = found(row.__class__(row.module, name, 0, "part of a name"))
            assert value is None or isinstance(value, type), label(row)


def test_items_go_where_the_base_puts_them(found_rows):
    for row, value in found_rows:
        if not row.use & ITEMS:
            continue
        base = next(
            kind for kind in (dict, list, set, collections.deque) if issubclass(value, kind)
        )
        for method in ("__setitem__", "append", "extend", "add", "update"):
            own = getattr(value, method, None)
            exempt = value in (collections.OrderedDict, collections.Counter) and method in (
                "__setitem__",
                "update",
            )
            if own is not None and not exempt:
                assert own is getattr(base, method), f"{label(row)}.{method}"
        # What sets attributes by itself takes no state, but for a method of its own.
        if value.__setattr__ is not object.__setattr__:
            assert "__setstate__" in vars(value) or not row.use & BUILD, label(row)


def test_states_are_not_set_through_setattr(found_rows):
    """BUILD fills ``__dict__``, unless the class has ``__setstate__``."""
    own = [
        label(row)
        for row, value in found_rows
        if row.use & BUILD
        and isinstance(value, type)
        and value.__setattr__ is not object.__setattr__
        and not hasattr(value, "__setstate__")
    ]
    assert not own


def test_new_makes_an_instance_without_running_the_class(found_rows):
    """``__new__`` of a class without a rule for arguments is Python's, or a compiled one."""
    bad = []
    for row, value in found_rows:
        if row.use & NEW and row.call is None and isinstance(value, type):
            if isinstance(value.__new__, types.FunctionType) and not issubclass(value, tuple):
                bad.append(label(row))
    # That of deprecated classes, which warns.
    assert {name.rpartition(".")[2] for name in bad} <= {
        "PassiveAggressiveClassifier",
        "PassiveAggressiveRegressor",
    }

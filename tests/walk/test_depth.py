"""Deep nesting: the walk has a stack of its own, and infinite recursion still ends in an error."""

import collections
import pickle

import fastpersist
import pytest
import sample_classes as s
from helpers import file_bytes, opcode_names, run_python

DEPTH = 10**6


def nested_list():
    value = []
    for _ in range(DEPTH - 1):
        value = [value]
    return value


def nested_tuple():
    value = (1, 2, 3, 4)
    for _ in range(DEPTH - 1):
        value = (value,)
    return value


def nested_dict():
    value = {}
    for _ in range(DEPTH - 1):
        value = {"k": value}
    return value


def nested_instances():
    value = None
    for _ in range(DEPTH):
        value = s.Node(None, value)
    return value


def chained_by_two():
    """A list and a dictionary in turn, each with something behind the nested one."""
    value = []
    for _ in range(DEPTH // 2):
        value = [{"a": value, "b": 1}, 2]
    return value


def unnest(value):
    """Takes a deep value apart from the outside, so that dropping it needs no depth."""
    while True:
        if isinstance(value, s.Node):
            value.link, value = None, value.link
        elif isinstance(value, list) and value:
            value = value.pop(0)
        elif isinstance(value, dict) and value:
            value = value.popitem()[1] if len(value) == 1 else value.pop("a")
        elif isinstance(value, tuple) and len(value) == 1:
            value = value[0]
        else:
            return


CASES = {
    "lists": nested_list,
    "tuples": nested_tuple,
    "dicts": nested_dict,
    "instances": nested_instances,
    "mixed": chained_by_two,
}


# In a process of its own, by plain pickle: memory that deep graphs leave behind goes with it.
LOAD_AND_COUNT = """
import gc, pickle, sys
gc.disable()


def depth_of(value):
    depth = 0
    while True:
        depth += 1
        if isinstance(value, list):
            if not value: return depth
            value = value[0]
        elif isinstance(value, dict):
            if not value: return depth
            value = next(iter(value.values()))
        elif isinstance(value, tuple):
            if len(value) > 1: return depth
            value = value[0]
        else:
            value = value.link
            if value is None: return depth


for path in sys.argv[1:]:
    with open(path, "rb") as file:
        print(depth_of(pickle.load(file)))
"""


@pytest.mark.parametrize("case", CASES)
@pytest.mark.by_day(wanted=lambda case: case in ("tuples", "instances", "mixed"))
def test_a_million_levels(case, tmp_path):
    value = CASES[case]()
    fastpersist.dump(value, tmp_path / "file")
    (tmp_path / "stream").write_bytes(fastpersist.dumps(value))
    unnest(value)
    depths = run_python(LOAD_AND_COUNT, tmp_path / "file", tmp_path / "stream").split()
    assert len(depths) == 2
    for depth in depths:
        assert abs(int(depth) - DEPTH) <= 1


def test_deep_sharing():
    """A million levels that each refer to the innermost object as well."""
    shared = ["shared"]
    value = [shared]
    for _ in range(100_000):
        value = [value, shared]
    counts = collections.Counter(opcode_names(file_bytes(value)))
    assert counts["BINGET"] == 100_000 and counts["BINPUT"] == 1
    while isinstance(value[0], list) and value[0] is not shared:
        value = value[0]


def test_deep_reducers():
    """Reducers nest on the walk's own stack too."""
    value = None
    for _ in range(50_000):
        value = s.Reduce(value)
    data = fastpersist.dumps(value, 4)
    while value is not None:
        value = value.arguments[0]
    assert opcode_names(data).count("REDUCE") == 50_000


def test_deep_states():
    value = None
    for _ in range(50_000):
        value = s.GetState(value)
    data = file_bytes(value)
    while value is not None:
        value.state, value = None, value.state
    assert opcode_names(data).count("BUILD") == 50_000


# ---------------------------------------------------------------- without end


class ReducesToNewSelf:
    def __reduce__(self):
        return list, (ReducesToNewSelf(),)


class StateIsNewSelf:
    def __getstate__(self):
        return {"next": StateIsNewSelf()}


class ItemsAreNewSelf(list):
    def __reduce__(self):
        return ItemsAreNewSelf, (), None, iter([ItemsAreNewSelf()])


class ReduceIsItsOwnArgument:
    def __reduce__(self):
        return list, (self,)


ENDLESS = [ReducesToNewSelf, StateIsNewSelf, ItemsAreNewSelf, ReduceIsItsOwnArgument]


# As with pickle a RecursionError, and before memory is used up.
BOUNDED = """
import io
import fastpersist
from peak import peak_kib
from test_depth import ENDLESS
for i, cls in enumerate(ENDLESS):
    try:
        if i % 2:
            fastpersist.dumps(cls())
        else:
            fastpersist.dump(cls(), io.BytesIO())
    except RecursionError:
        continue
    raise AssertionError(cls)
print(peak_kib() >> 10)
"""


@pytest.mark.slow
def test_reducers_without_end():
    assert int(run_python(BOUNDED, timeout=120)) < 1500


def test_the_oracle_recurses_too():
    for cls in ENDLESS:
        with pytest.raises(RecursionError):
            pickle.dumps(cls())

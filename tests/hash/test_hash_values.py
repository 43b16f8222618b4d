"""What counts, and what does not: types, order, sharing, names."""

import collections
import copy
import functools
import pickle

import fastpersist
import pytest
from fastpersist import hash as hashed
from hash_values import Plain, Slots
from helpers import examples
from hypothesis import given
from hypothesis import strategies as st

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=80)
    | st.binary(max_size=80)
    | st.complex_numbers(allow_nan=False)
)
KEYS = st.text(max_size=5) | st.integers() | st.tuples(st.integers(), st.none())
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.frozensets(KEYS, max_size=4)
        | st.builds(lambda a, b: Plain(a=a, b=b), inner, inner)
    ),
    max_leaves=20,
)


def backwards(value):
    """Equal, with every dict, set and __dict__ filled from its end."""
    if type(value) in (list, tuple):
        return type(value)(map(backwards, value))
    if type(value) is dict:
        return {backwards(k): backwards(v) for k, v in reversed(value.items())}
    if type(value) is frozenset:
        return frozenset(reversed([*value]))
    if type(value) is Plain:
        return Plain(**backwards(vars(value)))
    return value


def form(value):
    """What the hash of such a value should depend on."""
    if type(value) in (list, tuple):
        return type(value).__name__, [form(item) for item in value]
    if type(value) is dict:
        return "dict", sorted((repr(form(k)), form(v)) for k, v in value.items())
    if type(value) is frozenset:
        return "frozenset", sorted(repr(form(item)) for item in value)
    if type(value) is Plain:
        return "Plain", form(vars(value))
    return type(value).__name__, repr(value)


@given(VALUES)
@examples(200, by_day=60)
def test_order_and_identity_do_not_matter(value):
    digest = hashed(value)
    assert digest == hashed(backwards(value))
    assert digest == hashed(copy.deepcopy(value))
    assert digest == hashed(pickle.loads(pickle.dumps(value)))
    assert hashed([value, value]) == hashed([value, copy.deepcopy(value)])
    assert hashed({"a": value, "b": (value,)}) == hashed({"b": (copy.copy(value),), "a": value})


@given(VALUES, VALUES)
@examples(300, by_day=80)
def test_equal_hashes_are_of_equal_values(one, other):
    assert (hashed(one) == hashed(other)) == (repr(form(one)) == repr(form(other)))


def test_types_count():
    values = [1, 1.0, True, 1 + 0j, "1", b"1", bytearray(b"1"), [1], (1,), {1}, frozenset({1})]
    values += [
        {1: None},
        Plain(a=1),
        {"a": 1},
        0,
        -0.0,
        0.0,
        None,
        "",
        b"",
        [],
        (),
        {},
        set(),
        [[]],
    ]
    assert len({hashed(value) for value in values}) == len(values)
    assert len({hashed({key: 0}) for key in (1, 1.0, True)}) == 3
    assert len({hashed({key}) for key in (1, 1.0, True)}) == 3


def test_what_is_beside_each_other_is_told_apart():
    pairs = [["ab", "c"], ["a", "bc"]], [[[1], 2], [1, [2]]], [{1: 2, 3: 4}, {1: 4, 3: 2}]
    pairs += [[[1], [2, 3]], [[1, 2], [3]]], [{"a": "b"}, {"b": "a"}], [{(1, 2)}, {1, 2}]
    pairs += [["x" * 64, "x" * 65], ["x" * 65, "x" * 66]], [[2**63, 2**63 + 1], [2**64, 2**64 + 1]]
    for one, other in pairs:
        assert hashed(one) != hashed(other)


@pytest.mark.parametrize("size", [15, 16, 17, 24, 25, 255, 256, 257, 5000])
def test_sets_and_dicts_of_any_size(size):
    items = list(range(size))
    turned = items[::-1]
    assert hashed(set(items)) == hashed(set(turned))
    assert hashed(dict.fromkeys(items)) == hashed(dict.fromkeys(reversed(items)))
    assert hashed(set(items)) != hashed({*items[:-1], -1})
    alike = [Plain(a=1) for _ in items]
    assert hashed(set(alike)) == hashed({*reversed([Plain(a=1) for _ in items])})
    assert hashed(set(alike)) != hashed(set(alike[:-1]))


def test_ordered_dicts_keep_their_order_and_other_subclasses_do_not():
    pairs = [("a", 1), ("b", 2)]
    turned = pairs[::-1]
    ordered = collections.OrderedDict
    assert hashed(ordered(pairs)) != hashed(ordered(turned))
    assert hashed(ordered(pairs)) == hashed(ordered(pairs)) != hashed(dict(pairs))
    for cls in (collections.Counter, functools.partial(collections.defaultdict, None)):
        assert hashed(cls(dict(pairs))) == hashed(cls(dict(turned))) != hashed(dict(pairs))


def test_text_by_its_characters():
    for text in ("é" * 40, "\u20ac" * 30, "\U0001f600" * 20, "a" * 70, "\udc80" * 30):
        for n in (1, 400, 100_000):
            value = text * n
            again = (value + "x")[:-1]
            assert hashed(value) == hashed(again)
            assert hashed(value) != hashed(value + "x")
            assert hashed([value, value]) == hashed([value, again])
    assert hashed("é") != hashed("é".encode())


def test_classes_functions_and_methods_by_name():
    values = [int, bool, len, abs, fastpersist.hash, pickle.dumps, type(None), type(...), Plain]
    values += [
        Plain(a=1).__init__,
        Plain(a=2).__init__,
        [].append,
        [1].append,
        "a".upper,
        "a".lower,
    ]
    values += [collections.OrderedDict.fromkeys, dict.fromkeys, str.join, functools.partial(int)]
    assert len({hashed(value) for value in values}) == len(values)
    assert hashed(Plain(a=1).__init__) == hashed(Plain(a=1).__init__)
    assert hashed([1].append) == hashed([1].append)


class Reducer:
    def __init__(self, answer):
        self.answer = answer

    def __reduce__(self):
        return self.answer


NAMED = Reducer("NAMED")


def test_what_a_reducer_gives():
    def of(*answer):
        return hashed(Reducer(answer))

    assert of(list, ()) == of(list, ()) == of(list, (), None, None, None)
    answers = [(list, ()), (tuple, ()), (list, ((),)), (list, (), {}), (list, (), {"a": 1})]
    assert len({of(*answer) for answer in answers}) == len(answers)
    assert of(list, (), None, iter([1, 2])) == of(list, (), None, iter((1, 2)))
    assert of(list, (), None, iter([1, 2])) != of(list, (), None, iter([2, 1]))
    pairs = [("a", 1), ("b", 2)]
    assert of(dict, (), None, None, iter(pairs)) == of(dict, (), None, None, iter(pairs[::-1]))
    assert hashed(NAMED) not in (of(list, ()), hashed("NAMED"), hashed(Reducer))
    with pytest.raises(TypeError, match="not the same object"):
        hashed(Reducer("NAMED"))
    assert hashed(Slots()) == hashed(Slots())


def test_an_instance_with_a_state_of_its_own():
    class Stated(Plain):
        def __getstate__(self):
            return {"kept": self.kept}

    Stated.__qualname__ = "Stated"
    globals()["Stated"] = Stated
    assert hashed(Stated(kept=1, other=2)) == hashed(Stated(kept=1, other=3))
    assert hashed(Stated(kept=1)) != hashed(Stated(kept=2))
    shadowed = Plain(a=1)
    shadowed.__reduce_ex__ = lambda protocol: (list, ())
    assert hashed(shadowed) == hashed(Reducer((list, ())))


def test_hundreds_of_thousands_of_levels():
    nested = pairs = []
    for _ in range(300_000):
        nested = [nested]
        pairs = (pairs, 1)
    assert hashed(nested) != hashed([nested])
    assert hashed(pairs) == hashed(pairs)


def test_time_is_linear_where_objects_are_shared():
    """Unfolded these are more than 2 ** 60 objects, and texts of terabytes."""
    value = ["x" * 100_000] * 100_000
    for _ in range(60):
        value = [value, (value, {"a": value})]
    assert len(hashed(value)) == 32


def test_one_argument():
    with pytest.raises(TypeError):
        hashed()

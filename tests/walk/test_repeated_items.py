"""Large lists that name few objects again and again."""

import collections
import enum
import io
import pickle
import random

import fastpersist
import pytest
import sample_classes as s
from compare import assert_isomorphic
from helpers import assert_same_pickle, file_bytes, same_bytes

Colours = enum.Enum("Colours", [f"C{i}" for i in range(700)], module=__name__)


def assert_same(value):
    assert_same_pickle(value)
    written = file_bytes(value)
    expected = pickle.loads(pickle.dumps(value, 5))
    assert_isomorphic(expected, pickle.loads(written))
    assert_isomorphic(expected, fastpersist.load(io.BytesIO(written)))


@pytest.mark.parametrize("n_objects", [1, 2, 3, 9, 100, 255, 257, 700])
def test_few_objects(n_objects):
    members = list(Colours)[:n_objects]
    for n in (1024, 2001, 3000):
        assert_same([members[i % n_objects] for i in range(n)])


def test_objects_of_many_kinds():
    draw = random.Random(7).choices
    few = [
        *list(Colours)[:5],
        *(f"text {i}" for i in range(4)),
        *(1, 2.5, None, True, 10**30, b"bytes", (), "", s.Plain(), s.Pair(1, 2), len, s.Plain),
        ["a list"],
        {"a": "dict"},
        collections.OrderedDict(a=1),
    ]
    assert_same(draw(few, k=3000))
    assert_same([draw(few, k=1500), {"key": draw(few, k=1500)}, few])
    assert_same([draw([*few, i, [i], str(i)], k=1) for i in range(2000)])
    assert_same([x for i in range(3000) for x in (few[i % 3], f"{i}", few[i % 7])])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_frames(protocol):
    """They end where pickle's do, wherever GETs of two and of five bytes stand."""
    members = list(Colours)
    for n in range(8):
        few = [members[i % 3] for i in range(n + 70_000)]
        many = [members[i * 7 % 700] for i in range(70_000)]
        value = ["x" * n, few, many, few + many]
        assert same_bytes(fastpersist.dumps(value, protocol), pickle.dumps(value, protocol))
        if protocol < 4:
            return


def test_a_list_within_itself():
    items = [Colours.C1, Colours.C2] * 1000
    items[10::50] = [items] * len(items[10::50])
    assert_same(items)


def test_persistent_ids_of_every_item():
    value = [Colours.C1, Colours.C2] * 1000
    outcomes = []
    for base in (fastpersist.Pickler, pickle.Pickler):
        seen = []

        def persistent_id(_self, instance, seen=seen):
            seen.append(instance)
            return "two" if instance is Colours.C2 else None

        file = io.BytesIO()
        type("P", (base,), {"persistent_id": persistent_id})(file, 5).dump(value)
        outcomes.append((file.getvalue(), len(seen)))
    assert outcomes[0] == outcomes[1]


def test_a_memo_that_names_numbers():
    """What pickle looks up in no memo is not looked up in one that was set either."""
    value = [5, None, "text"] * 1000
    outcomes = []
    for pickler_type in (fastpersist.Pickler, pickle.Pickler):
        file = io.BytesIO()
        pickler = pickler_type(file, 5)
        pickler.memo = {id(item): (i, item) for i, item in enumerate(value[:3])}
        pickler.dump(value)
        outcomes.append(file.getvalue())
    assert outcomes[0] == outcomes[1]

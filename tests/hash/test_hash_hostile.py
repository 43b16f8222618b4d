"""Code that runs in the middle, and what cannot be hashed."""

import sys
import threading

import fastpersist
import numpy as np
import pytest
from fastpersist import hash as hashed
from hash_values import Plain
from restless import Meddler


def place(error):
    return error.value.__notes__


@pytest.mark.parametrize(
    ("make", "where"),
    {
        "lambda": (lambda bad: bad, ""),
        "list": (lambda bad: [1, [bad]], "[1][0]"),
        "dict": (lambda bad: {"a": {(1, 2): bad}}, "['a'][<tuple>]"),
        "key": (lambda bad: {bad: 1}, "[<function>]"),
        "attribute": (lambda bad: Plain(a=1, b=[bad]), ".b[0]"),
        "set": (lambda bad: {"x": {bad}}, "['x']{...}"),
    }.values(),
    ids=["lambda", "list", "dict", "key", "attribute", "set"],
)
def test_what_has_no_name(make, where):
    with pytest.raises(TypeError, match="lambda") as error:
        hashed(make(lambda: 0))
    assert place(error) == ["while hashing value" + where]


def test_what_cannot_be_pickled():
    for value in (sys, threading.Lock(), (i for i in ()), memoryview(b"")):
        with pytest.raises(TypeError) as error:
            hashed({"a": [value]})
        assert place(error) == ["while hashing value['a'][0]"]


class Raises:
    def __reduce__(self):
        raise ZeroDivisionError("own")


def test_exceptions_of_reducers_pass():
    with pytest.raises(ZeroDivisionError, match="own") as error:
        hashed([Plain(a=Raises())])
    assert place(error) == ["while hashing value[0].a"]


@pytest.mark.parametrize(
    "answer", [(), (1,), (1, ()), (list, 1), (list, (), None, 1), (list, (), None, None, 1), 5]
)
def test_answers_of_reducers_that_are_none(answer):
    with pytest.raises(TypeError):
        hashed(Answers(answer))


@pytest.mark.parametrize("pairs", [[1], [(1,)], [(1, 2, 3)], [[1, 2]]])
def test_items_that_are_no_pairs(pairs):
    with pytest.raises(TypeError, match="pairs"):
        hashed(Answers((dict, (), None, None, iter(pairs))))


class Answers:
    def __init__(self, answer):
        self.answer = answer

    def __reduce__(self):
        return self.answer


def test_containers_that_change_meanwhile():
    for change in (list.clear, lambda items: items.append(1), lambda items: items.pop()):
        items = []
        items += [Meddler(lambda items=items, change=change: change(items)), [1], "x" * 1000]
        with pytest.raises(RuntimeError, match="changed size"):
            hashed(items)
    for change in (dict.clear, lambda items: items.update(new=1), dict.popitem):
        items = {}
        items |= {0: Meddler(lambda items=items, change=change: change(items)), 1: [2], "b": 3}
        with pytest.raises(RuntimeError, match="changed size"):
            hashed(items)
    items = {1, 2}
    items.add(Meddler(lambda: items.update(range(100))))
    with pytest.raises(RuntimeError, match="changed size"):
        hashed([items, *range(3)])


def test_contents_that_are_replaced_meanwhile():
    """Of the same size: the hash is of one or the other, and nothing is used that is gone."""
    for n in (1, 50):
        items = [None] * n
        items += [[object], ["y" * 5000], {"a": [1]}]

        def replace(items=items):
            for i in range(1, len(items)):
                items[i] = [[i]]

        items[0] = Meddler(replace)
        assert len(hashed(items)) == 32
        table = {i: [[i]] for i in range(n)}
        table[0] = Meddler(lambda table=table: table.update({i: [i, [i]] for i in table if i}))
        table[-1] = [[1]]
        assert len(hashed(table)) == 32
        node = Plain(a=None, b=[["x"]])
        node.a = Meddler(lambda node=node: setattr(node, "b", [["y"]]))
        assert len(hashed(node)) == 32


def test_objects_that_lead_back_only_from_then_on():
    outer = [[None], [1]]
    outer[0][0] = Meddler(lambda: outer[1].__setitem__(0, outer))
    assert len(hashed(outer)) == 32
    lonely = [[[None]]]
    lonely[0][0][0] = Meddler(lambda: lonely[0][0].__setitem__(0, lonely[0]))
    assert len(hashed(lonely)) == 32


def test_a_hash_within_a_hash():
    found = []
    value = [1, [2]]
    value.append(Meddler(lambda: found.append(hashed(value[:2]))))
    assert len(hashed(value)) == 32
    assert found == [hashed([1, [2]])]


def test_an_array_that_is_resized_meanwhile():
    array = np.arange(4)
    cells = np.array([None, [1], [2]], dtype=object)
    cells[0] = Meddler(lambda: array.resize(100_000, refcheck=False))
    assert len(hashed([cells, array])) == 32
    cells[0] = Meddler(lambda: cells.fill(None))
    assert len(hashed(cells)) == 32


def test_metaclasses_with_an_eq_of_their_own():
    class Meta(type):
        def __eq__(cls, other):
            raise ZeroDivisionError

        def __hash__(cls):
            raise ZeroDivisionError

    class Odd(metaclass=Meta):
        pass

    Odd.__qualname__ = "Odd"
    globals()["Odd"] = Odd
    with pytest.raises(ZeroDivisionError):
        hashed(Odd())


def test_hashes_in_several_threads():
    value = {"a": np.arange(300_000), "b": [Plain(i=i) for i in range(2000)]}
    expected = hashed(value)
    found = []

    def run():
        found.extend(hashed(value) for _ in range(5))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 20


def test_references_are_given_back():
    value = [Plain(a=[1]), {"k": (1,)}, np.arange(3), np.dtype("f4"), "x" * 5000]
    ring = []
    ring.append(ring)
    value.append(ring)
    bad = [*value, lambda: 0]
    hashed(value)
    before = [sys.getrefcount(item) for item in (*value, Plain, np.dtype("f4"))]
    for _ in range(50):
        hashed(value)
        with pytest.raises(TypeError):
            hashed(bad)
    assert [sys.getrefcount(item) for item in (*value, Plain, np.dtype("f4"))] == before
    assert fastpersist.hash is hashed

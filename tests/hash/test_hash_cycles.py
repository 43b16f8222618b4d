"""Objects that lead back to themselves."""

import copy
import random

import pytest
from fastpersist import hash as hashed
from hash_values import Plain
from helpers import examples
from hypothesis import given
from hypothesis import strategies as st


def loop(length, payload=()):
    first = last = list(payload)
    for _ in range(length - 1):
        last.append(list(payload))
        last = last[-1]
    last.append(first)
    return first


def test_distance_counts():
    assert hashed(loop(1)) == hashed(loop(1))
    hashes = {hashed(loop(n)) for n in (1, 2, 3, 10, 255, 256)}
    assert len(hashes) == 6
    near, far = [[]], [[]]
    near[0].append(near[0])
    far[0].append(far)
    assert hashed(near) != hashed(far)


def test_copies_are_equal():
    for value in (loop(1), loop(3, "ab"), loop(200, [1, "x"])):
        assert hashed(value) == hashed(copy.deepcopy(value))
        assert hashed([value, value]) == hashed([value, copy.deepcopy(value)])


def test_sharing_inside_a_short_cycle_does_not_matter():
    def parent(shared):
        node = Plain(children=[])
        node.children = [Plain(up=node, name="x") for _ in range(2)]
        if shared:
            node.children[1] = node.children[0]
        return node

    assert hashed(parent(True)) == hashed(parent(False))


def ring(numbers):
    nodes = [Plain(number=n) for n in numbers]
    for i, node in enumerate(nodes):
        node.next = nodes[(i + 1) % len(nodes)]
        node.before = nodes[i - 1]
    return nodes


@pytest.mark.parametrize("size", [2, 5, 90, 3000])
def test_members_of_a_set_in_any_order(size):
    """Objects hash by their address: sets of them are walked in another order each time."""
    numbers = [(i * i) % 101 for i in range(size)]
    one, other = ring(numbers), ring(numbers)
    random.Random(1).shuffle(other)
    assert hashed(set(one)) == hashed(set(other))
    assert hashed({n: n.number for n in one}) == hashed({n: n.number for n in other})
    changed = ring(numbers)
    changed[size // 2].number = -1
    assert hashed(set(one)) != hashed(set(changed))


def test_where_a_cycle_is_entered_first_makes_no_difference():
    for size in (4, 1000):
        one = ring(range(size))
        assert hashed([one[0], one[3]]) == hashed([one[0], ring(range(size))[3]])
        alone = hashed(one[3])
        both = Plain(a=one[0], b=one[3])
        assert hashed([one[3]]) == hashed([ring(range(size))[3]])
        assert hashed(one[3]) == alone
        assert hashed(both) == hashed(Plain(b=ring(range(size))[3], a=one[0]))


def test_a_difference_far_from_where_a_long_cycle_is_entered():
    one, other = ring(range(2000)), ring(range(2000))
    other[1000].number = "other"
    assert hashed(one[0]) != hashed(other[0])
    assert hashed(one[0]) != hashed(one[1])
    assert hashed(ring([0] * 300)[0]) == hashed(ring([0] * 300)[7])
    assert hashed(ring(range(300))[0]) != hashed(ring(range(301))[0])


def test_time_is_bounded_where_ways_multiply():
    root = value = []
    for _ in range(60):
        value = [value, value]
    root.append(value)
    assert hashed(root) == hashed(root)
    nodes = [Plain(i=i) for i in range(200)]
    for node in nodes:
        node.others = nodes
    assert hashed(nodes) == hashed(nodes)
    grid = [[Plain(x=1) for _ in range(40)] for _ in range(40)]
    for i, row in enumerate(grid):
        for k, node in enumerate(row):
            node.right = grid[i][k - 1]
            node.down = grid[i - 1][k]
            node.up = grid[(i + 1) % 40][k]
    assert len(hashed(grid)) == 32


def test_long_chains_with_ways_back():
    nodes = [Plain(i=i) for i in range(20_000)]
    for one, other in zip(nodes, nodes[1:], strict=False):
        one.next, other.before = other, one
    assert hashed(nodes) == hashed(list(nodes))
    wide = list(range(50_000))
    wide.append({"up": wide})
    wide += range(50_000)
    assert hashed(wide) == hashed(copy.deepcopy(wide)) != hashed(wide[:-1])


@st.composite
def graphs(draw):
    n = draw(st.integers(1, 7))
    kinds = draw(st.lists(st.sampled_from(["list", "dict", "plain"]), min_size=n, max_size=n))
    edges = draw(st.lists(st.tuples(*[st.integers(0, n - 1)] * 2), max_size=2 * n))
    return kinds, edges


def build(graph):
    kinds, edges = graph
    nodes = [{"list": list, "dict": dict, "plain": Plain}[kind]() for kind in kinds]
    for number, (one, other) in enumerate(edges):
        node = nodes[one]
        if type(node) is list:
            node.append(nodes[other])
        elif type(node) is dict:
            node[f"k{number}"] = nodes[other]
        else:
            setattr(node, f"a{number}", nodes[other])
    return nodes


@given(graphs())
@examples(300, by_day=80)
def test_any_graph(graph):
    one, other = build(graph), build(graph)
    assert hashed(one) == hashed(other)
    for a, b in zip(one, other, strict=True):
        digest = hashed(a)
        assert digest == hashed(b)
        assert hashed([a, one]) == hashed([b, one])

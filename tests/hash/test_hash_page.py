"""Hashes as docs/hash.md says: the page read by somebody else."""

import struct

import numpy as np
import pytest
from fastpersist import hash as hashed
from hash_values import Plain
from helpers import examples
from hypothesis import given
from test_hash_values import VALUES

xxhash = pytest.importorskip("xxhash")
MIB = 1 << 20


def h(data):
    return xxhash.xxh3_128(data).digest()


def payload(data):
    if len(data) <= MIB:
        return h(data)
    return h(b"".join(h(data[i : i + MIB]) for i in range(0, len(data), MIB)))


def number(value):
    return struct.pack("<q", value)


def leaf(letter, data):
    if len(data) <= 64:
        return letter + bytes([len(data)]) + data
    return content(letter + number(len(data)) + payload(data))


def content(data):
    return b"D" + h(data)


def unordered(head, items):
    return content(head + b"".join(sorted(map(h, items))))


def pairs(items):
    return [record(key) + record(value) for key, value in items]


def array(value):
    order = b"C" if value.flags.c_contiguous or not value.flags.forc else b"F"
    data = value.tobytes("A" if value.flags.forc else "C")
    head = b"a" + content(b"q" + record(value.dtype.str)) + order + bytes([value.ndim])
    return content(head + b"".join(map(number, value.shape)) + number(len(data)) + payload(data))


def record(value):
    cls = type(value)
    if value is None or cls is bool:
        return {None: b"N", True: b"T", False: b"F"}[value]
    if cls is int:
        is_short = -(2**63) <= value < 2**63
        return b"i" + number(value) if is_short else leaf(b"j", hex(value).encode())
    if cls is float:
        return b"f" + struct.pack("<d", value)
    if cls is complex:
        return b"c" + struct.pack("<2d", value.real, value.imag)
    if cls is str:
        return leaf(b"s", value.encode("utf-8", "surrogatepass"))
    if cls in (bytes, bytearray):
        return leaf(b"b" if cls is bytes else b"y", bytes(value))
    if cls in (list, tuple):
        return content((b"l" if cls is list else b"t") + b"".join(map(record, value)))
    if cls is dict:
        return unordered(b"d", pairs(value.items()))
    if cls in (set, frozenset):
        return unordered(b"S" if cls is set else b"Z", map(record, value))
    if cls is Plain:
        return unordered(b"o" + record(cls), pairs(vars(value).items()))
    if cls is type:
        return content(b"g" + record(value.__module__) + record(value.__qualname__))
    if cls is np.ndarray:
        return array(value)
    if cls is np.float64:
        data = leaf(b"b", value.tobytes())
        return content(b"n" + content(b"q" + record(value.dtype.str)) + data)
    assert cls is range, cls
    arguments = record((value.start, value.stop, value.step))
    return content(b"r" + record(cls) + arguments + b"NNNN")


def expected(value):
    return xxhash.xxh3_128(b"fastpersist.hash\x01" + record(value)).hexdigest()


@given(VALUES)
@examples(300, by_day=80)
def test_any_value(value):
    assert hashed(value) == expected(value)


def test_long_and_large_values():
    values = [3**500, -(3**500), "é" * 700_000, "x" * MIB, b"x" * (MIB + 1), bytearray(3 * MIB)]
    values += [list(range(30_000)), {str(i): i for i in range(3000)}, set(range(3000)), range(9)]
    values += [np.float64(2.5), np.arange(300_000.0), np.arange(6).reshape(2, 3, order="F")]
    values += [np.zeros((3, 0)), np.arange(4_000_000, dtype="u1")[::3], np.array(1), [Plain(a=[])]]
    for value in values:
        assert hashed(value) == expected(value)
    assert hashed(values) == expected(values)


def back(distance):
    return b"R" + number(distance) + bytes(8)


def as_text(found):
    return xxhash.xxh3_128(b"fastpersist.hash\x01" + found).hexdigest()


def test_references_back():
    items = []
    items.append(items)
    assert hashed(items) == as_text(content(b"l" + back(1)))
    table = {"a": [1]}
    table["a"].append(table)
    inner = content(b"l" + record(1) + back(2))
    assert hashed(table) == as_text(unordered(b"d", [record("a") + inner]))
    assert hashed(table["a"]) == as_text(
        content(b"l" + record(1) + unordered(b"d", [record("a") + back(2)]))
    )


def names_of(contents):
    """The classes of a long cycle. `contents`: functions of the names, by object."""
    names = [bytes(16)] * len(contents)
    known = {}
    dirty = set(range(len(contents)))
    turn = 0
    while dirty:
        found = {i: h(contents[i](names)) for i in dirty}
        renamed = dict(enumerate(names))
        for name in {names[i] for i in dirty}:
            parts = {}
            for i, own in enumerate(names):
                if own == name:
                    parts.setdefault(found.get(i, known.get(name)), []).append(i)
            largest = min(parts, key=lambda part: (-len(parts[part]), part))
            for part, members in parts.items():
                new = name if part == largest else h(name + part + number(turn))
                renamed.update(dict.fromkeys(members, new))
                known[new] = part
        before, names = names, [renamed[i] for i in range(len(names))]
        dirty = {i for i in range(len(names)) if contents[i](names) != contents[i](before)}
        turn += 1
    classes = {name: h(name + known[name]) for name in names}
    whole = h(b"".join(sorted(classes.values())))
    return [h(b"W" + classes[name] + whole) for name in names]


def test_long_cycles():
    for payloads in ([i % 5 for i in range(300)], [0] * 290 + [1] * 10, [0] * 300):
        n = len(payloads)
        ring = [[value] for value in payloads]
        for i, node in enumerate(ring):
            node += [ring[i - 1], ring[(i + 1) % n]]

        def made(i, payloads=payloads, n=n):
            return lambda names: (
                b"l" + record(payloads[i]) + b"C" + names[i - 1] + b"C" + names[(i + 1) % n]
            )

        digests = names_of([made(i) for i in range(n)])
        for i in (0, 7, n - 1):
            assert hashed(ring[i]) == as_text(b"D" + digests[i])

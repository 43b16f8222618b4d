"""Equal payloads that are stored twice.

Of what pickle and joblib wrote a survey has hashed all payloads of 4 KiB and more. Blobs of ours it
does not read: those of the same size are compared here, at their beginnings, middles and ends, and
whole up to a bound.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from fastpersist._core import hash_bytes
from fastpersist.report.facts import PAYLOAD, STORED, Facts
from fastpersist.report.records import EqualReport

_SHOWN = 20  # paths and offsets of each
_MIN_BYTES = 16 << 10  # of blobs
_MAX_BLOBS = 4096  # that are compared
_MAX_BYTES = 64 << 20  # that are read for it
_PROBE_BYTES = 4096

_PAYLOAD, _TEXT, _BLOB = (STORED.index(name) for name in ("payload", "text", "blob"))


def of_payloads(facts: Facts) -> tuple[EqualReport, ...]:
    """By the hashes of a survey."""
    payloads = np.frombuffer(facts.survey.payloads, PAYLOAD)
    if len(payloads) < 2:
        return ()
    keys = payloads[["hash", "n_bytes"]]
    _, first, group, n_equal = np.unique(
        keys, return_index=True, return_inverse=True, return_counts=True
    )
    nodes = _nodes_of_payloads(facts)
    members = np.argsort(group, kind="stable")
    starts = np.cumsum(n_equal) - n_equal
    out = []
    for i in np.flatnonzero(n_equal > 1):
        numbers = members[starts[i] : starts[i] + n_equal[i]]
        shown = [int(number) for number in numbers[:_SHOWN]]
        found = [nodes[number] for number in shown]
        out.append(
            EqualReport(
                n_bytes=int(payloads["n_bytes"][first[i]]),
                count=int(n_equal[i]),
                paths=tuple("" if node is None else facts.survey.path(node) for node in found),
                offsets=tuple(int(payloads["offset"][number]) + facts.base for number in shown),
                certain=True,
                dump=facts.number,
            )
        )
    return _sorted(out)


def _nodes_of_payloads(facts: Facts) -> dict[int, int | None]:
    nodes: dict[int, int | None] = dict.fromkeys(range(len(facts.survey.payloads) // 40))
    for table in (facts.every_leaf, facts.arrays):
        kept = table[np.isin(table["stored"], (_PAYLOAD, _TEXT))]
        numbers = zip(kept["payload"].tolist(), kept["node"].tolist(), strict=True)
        nodes.update((payload, node) for payload, node in numbers if payload in nodes)
    return nodes


def of_blobs(facts: Facts, fd: int) -> tuple[EqualReport, ...]:
    """Of a dump of ours in a regular file."""
    by_size: dict[int, list[tuple[int, int]]] = {}
    for table in (facts.arrays, facts.leaves):
        kept = table[(table["stored"] == _BLOB) & (table["n_bytes"] >= _MIN_BYTES)]
        for record in kept[:_MAX_BLOBS]:
            where = (int(record["offset"]), int(record["node"]))
            by_size.setdefault(int(record["n_bytes"]), []).append(where)
    out: list[EqualReport] = []
    n_left = _MAX_BYTES
    for n_bytes in sorted(by_size):
        candidates = by_size[n_bytes]
        if len(candidates) < 2:
            continue
        for group in _grouped(candidates, partial(_probe, fd, n_bytes)):
            n_left -= n_bytes * len(group)
            is_certain = n_left >= 0
            groups = [group]
            if is_certain:
                groups = _grouped(group, partial(_hash, fd, n_bytes))
            out.extend(_equal(facts, n_bytes, each, is_certain) for each in groups)
    return _sorted(out)


def _grouped(
    candidates: Sequence[tuple[int, int]], key: Callable[[int], object]
) -> list[list[tuple[int, int]]]:
    groups: dict[object, list[tuple[int, int]]] = {}
    for offset, node in candidates:
        groups.setdefault(key(offset), []).append((offset, node))
    return [group for group in groups.values() if len(group) > 1]


def _probe(fd: int, n_bytes: int, offset: int) -> tuple[bytes, ...]:
    places = (offset, offset + n_bytes // 2, offset + n_bytes - _PROBE_BYTES)
    return tuple(os.pread(fd, _PROBE_BYTES, place) for place in places)


def _hash(fd: int, n_bytes: int, offset: int) -> tuple[int, int]:
    data = os.pread(fd, n_bytes, offset)
    return len(data), hash_bytes(data)


def _equal(
    facts: Facts, n_bytes: int, group: Sequence[tuple[int, int]], is_certain: bool
) -> EqualReport:
    return EqualReport(
        n_bytes=n_bytes,
        count=len(group),
        paths=tuple(facts.survey.path(node) for _, node in group[:_SHOWN]),
        offsets=tuple(offset for offset, _ in group[:_SHOWN]),
        certain=is_certain,
        dump=facts.number,
    )


def _sorted(found: list[EqualReport]) -> tuple[EqualReport, ...]:
    return tuple(sorted(found, key=lambda each: (-each.n_bytes * (each.count - 1), each.offsets)))

"""What a survey found, as records."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

import numpy as np

from fastpersist._core import Survey, survey_names
from fastpersist.files.arrays import make_dtype
from fastpersist.report.kept import KeptSurvey, keep
from fastpersist.report.records import (
    ArrayReport,
    Environment,
    GlobalReport,
    LeafReport,
    Oddity,
    Part,
    Reader,
    Rows,
)
from fastpersist.report.words import NAME_CHARACTERS, cut

# As _core.pyi has them.
NODE = np.dtype(
    [("total", "u8"), ("own", "u8"), ("step", "u8"), ("parent", "u4"), ("what", "u4")]
    + [("step_kind", "u1"), ("kind", "u1"), ("repeated", "u1"), ("zero", "u1"), ("levels", "u4")]
)
ARRAY = np.dtype(
    [("offset", "u8"), ("n_bytes", "u8"), ("node", "u4"), ("dtype", "u4"), ("shape", "u4")]
    + [("payload", "u4"), ("maker", "u4"), ("ndim", "u1"), ("order", "S1"), ("stored", "u1")]
    + [("flags", "u1")]
)
LEAF = np.dtype(
    [("offset", "u8"), ("n_bytes", "u8"), ("node", "u4"), ("payload", "u4"), ("kind", "u1")]
    + [("stored", "u1"), ("in_array", "u1"), ("zero", "V5")]
)
PAYLOAD = np.dtype(
    [("place", "u8"), ("offset", "u8"), ("n_bytes", "u8"), ("hash", "u8"), ("n_cut", "u8")]
)
NONE = 0xFFFFFFFF
NOWHERE = 0xFFFFFFFFFFFFFFFF

_NAMES = survey_names()
KINDS, STEPS, STORED = _NAMES["kinds"], _NAMES["steps"], _NAMES["stored"]
_FLAGS = ((1, "computed"), (2, "unknown"), (4, "cut"), (8, "renamed"), (16, "extension"))


class Facts:
    """One survey; `base` is where its file object stood in the decoded file."""

    def __init__(
        self, survey: Survey | KeptSurvey, number: int, base: int, read: Reader | None
    ) -> None:
        self.survey, self.number, self.base, self._read = survey, number, base, read
        self.arrays = np.frombuffer(survey.arrays, ARRAY)
        leaves = np.frombuffer(survey.leaves, LEAF)
        self.every_leaf = leaves
        self.leaves = leaves[leaves["in_array"] == 0]
        self.globals = survey.globals
        self._dtypes: dict[int, str] = {}

    def __reduce__(self) -> Any:
        """Of plain values, without the file that arrays are read from."""
        dtypes = {i: self.dtype(i) for i in np.unique(self.arrays["dtype"]).tolist()}
        named = {each[7] for each in self.globals if each[7] is not None}
        named.update(self.arrays["node"].tolist(), self.leaves["node"].tolist())
        kept = keep(self.survey, len(self.arrays), self.nodes["parent"], named)
        return Facts, (kept, self.number, self.base, None), {"_dtypes": dtypes}

    @cached_property
    def nodes(self) -> Any:
        """Made when the tree is asked for."""
        return np.frombuffer(self.survey.nodes, NODE)

    # ------------------------------------------------------------ records

    def global_rows(self) -> Rows[GlobalReport]:
        return Rows(len(self.globals), self.global_)

    def array_rows(self) -> Rows[ArrayReport]:
        return Rows(len(self.arrays), self.array)

    def leaf_rows(self) -> Rows[LeafReport]:
        return Rows(len(self.leaves), self.leaf)

    def odd(self) -> tuple[Oddity, ...]:
        return tuple(
            Oddity(what, count, tuple(offset + self.base for offset in offsets))
            for what, count, offsets in self.survey.odd
        )

    def parts(self) -> tuple[Part, ...]:
        return tuple(Part(name, at + self.base, n) for name, at, n in self.survey.parts)

    def offset(self, offset: int) -> int | None:
        return None if offset == NOWHERE else int(offset) + self.base

    def array(self, i: int) -> ArrayReport:
        record = self.arrays[i]
        stored = STORED[record["stored"]]
        offset = self.offset(record["offset"])
        if stored == "buffer" and offset is not None:
            offset -= self.base  # of the second file
        return ArrayReport(
            path=self.survey.path(int(record["node"])),
            dtype=self.dtype(int(record["dtype"])),
            shape=self.survey.shape(i),
            order=record["order"].decode(),
            offset=offset,
            n_bytes=int(record["n_bytes"]),
            kind=self.global_label(int(record["maker"])),
            stored=stored,
            dump=self.number,
            _read=self._read,
        )

    def leaf(self, i: int) -> LeafReport:
        record = self.leaves[i]
        return LeafReport(
            path=self.survey.path(int(record["node"])),
            kind=KINDS[record["kind"]],
            offset=self.offset(record["offset"]),
            n_bytes=int(record["n_bytes"]),
            stored=STORED[record["stored"]],
            dump=self.number,
        )

    def global_(self, i: int) -> GlobalReport:
        module, name, *counts, node, flags, spelled = self.globals[i]
        n_called, n_class, n_built, n_argument, n_fetched = counts
        uses = (("called", n_called), ("class", n_class), ("built", n_built))
        return GlobalReport(
            module=None if module is None else cut(module),
            name=None if name is None else cut(name),
            spelled=None if spelled is None else cut(".".join(spelled)),
            use=next((use for use, n in uses if n > 0), "argument"),
            n_called=n_called,
            n_class=n_class,
            n_built=n_built,
            n_argument=n_argument,
            n_fetched=n_fetched,
            path=None if node is None else self.survey.path(node),
            flags=tuple(text for bit, text in _FLAGS if flags & bit),
            dump=self.number,
        )

    # ------------------------------------------------------------ names

    def global_label(self, i: int) -> str:
        if i >= len(self.globals):
            return "(computed)"
        module, name = self.globals[i][:2]
        if module is None:
            return "(computed)" if name is None else cut(f"extension code {name}")
        return cut(f"{module}.{name or '(computed)'}")

    def dtype(self, i: int) -> str:
        """A short text; "object" where objects are in it, "?" where nobody knows."""
        if i not in self._dtypes:
            self._dtypes[i] = "?" if i == NONE else self._dtype(i)
        return self._dtypes[i]

    def _dtype(self, i: int) -> str:
        if isinstance(self.survey, KeptSurvey):
            return "?"  # none of an array: those are all in _dtypes
        what: Any = self.survey.dtype(i)
        if self.survey.has_objects(i):
            return "object"
        try:
            made = make_dtype(what)
        except ValueError:
            return _named(what)
        return cut(_text_of(made), NAME_CHARACTERS)


def _text_of(dtype: np.dtype[Any]) -> str:
    """ "<f8", or "record(name: <f8, ...)"; of many fields the first ones."""
    if dtype.subdtype is not None:
        return f"{_text_of(dtype.subdtype[0])}{list(dtype.subdtype[1])}"
    if dtype.fields is None:
        return dtype.str
    names = list(dtype.fields)[:20]
    fields = [f"{cut(name, 40)}: {_text_of(dtype.fields[name][0])}" for name in names]
    more = ", …" if len(dtype.fields) > len(names) else ""
    return f"record({', '.join(fields)}{more})"


def _named(what: Any) -> str:
    """What can be said of a dtype that NumPy's own do not cover."""
    if isinstance(what, str):
        return cut(what, 40)
    try:
        argument = what[1][0]
    except (IndexError, TypeError):
        return "?"
    if isinstance(argument, str):
        return cut(argument, 40)
    if isinstance(argument, tuple) and argument[:1] == ("global",):
        return cut(f"{argument[1]}.{argument[2]}", 80)
    return "?"


# ---------------------------------------------------------------- environment

_PACKAGES = 500  # more are not shown


def environment_of(data: bytes | None) -> Environment | None:
    """Of the JSON of a footer, which may hold anything. None where there is none."""
    if data is None:
        return None
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return Environment()
    if not isinstance(found, dict):
        return Environment()

    def text(key: str) -> str | None:
        value = found.get(key)
        return cut(value) if isinstance(value, str) else None

    packages = found.get("packages")
    items = list(packages.items()) if isinstance(packages, dict) else []
    return Environment(
        python=text("python"),
        fastpersist=text("fastpersist"),
        implementation=text("implementation"),
        platform=text("platform"),
        byteorder=text("byteorder"),
        packages=tuple(
            (cut(name), cut(version)) for name, version in items if isinstance(version, str)
        )[:_PACKAGES],
    )

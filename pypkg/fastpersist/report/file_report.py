"""FileReport: what `fastpersist.inspect` gives."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastpersist import policy
from fastpersist.policy import UntrustedName
from fastpersist.report import changes, page, text, versions
from fastpersist.report.lists import Lists, lists_of
from fastpersist.report.records import (
    ArrayReport,
    Damage,
    EqualReport,
    FileRecord,
    GlobalReport,
    LeafReport,
    Oddity,
    TreeRow,
    joined,
    plain,
)
from fastpersist.report.tree import MAX_DEPTH, Dump, rows_of

_ROWS = 1000


@dataclass(frozen=True, repr=False)
class FileReport(FileRecord):
    """What is in a file, with nothing of it loaded.

    Its parts are records whose fields are plain values; `to_dict` has all of them. ``print`` shows
    the report, a notebook draws it, `save_html` writes a page. It can be pickled and copied, but
    of what ``pickle`` or `copy.deepcopy` gives, arrays cannot be read.

    Examples
    --------
    >>> import fastpersist, numpy
    >>> _ = fastpersist.dump({"weights": numpy.zeros((3, 4)), "names": ["a", "b"]}, "model")
    >>> report = fastpersist.inspect("model")
    >>> [(array.path, array.dtype, array.shape) for array in report.arrays]
    [("['weights']", '<f8', (3, 4))]
    >>> [each.label for each in report.globals]
    ['numpy.ndarray']
    """

    _dumps: tuple[Dump, ...] = field(default=(), compare=False)

    # ------------------------------------------------------------ of all dumps

    @property
    def globals(self) -> Sequence[GlobalReport]:
        """Every name that a load asks for, in the order of first use."""
        return joined([dump.globals for dump in self.dumps])

    @property
    def arrays(self) -> Sequence[ArrayReport]:
        """Every array, in the order of the file."""
        return joined([dump.arrays for dump in self.dumps])

    @property
    def leaves(self) -> Sequence[LeafReport]:
        """Every text and bytes object of 16 KiB and more."""
        return joined([dump.leaves for dump in self.dumps])

    @property
    def equal(self) -> tuple[EqualReport, ...]:
        """Equal payloads that are stored more than once."""
        return tuple(joined([dump.equal for dump in self.dumps]))

    @property
    def odd(self) -> tuple[Oddity, ...]:
        """What no pickler writes, or what only trust can answer."""
        return tuple(joined([dump.odd for dump in self.dumps]))

    @property
    def untrusted(self) -> tuple[UntrustedName, ...]:
        """The names that ``fastpersist.load(..., trusted=())`` would refuse the file for, with how
        they are used, how often, and where first."""
        return policy.restriction(()).refused_in(self.globals)

    @property
    def untrusted_reasons(self) -> tuple[str, ...]:
        """What else it would refuse the file for: opcodes, and where they stand."""
        odd = [(each.what, each.count, each.offsets) for each in self.odd]
        return tuple(policy.restriction(()).refused((), odd)[1])

    @property
    def tree(self) -> tuple[TreeRow, ...]:
        """Bytes by object path: at most 1,000 rows, the largest, which add up to the file."""
        return self.rows()

    def rows(
        self,
        n_rows: int = _ROWS,
        *,
        n_children: int = 100,
        depth: int | None = None,
        sort: str = "size",
    ) -> tuple[TreeRow, ...]:
        """Bytes by object path, what hangs on a row behind it.

        Parameters
        ----------
        n_rows
            About so many rows; smaller objects are one row together.
        n_children
            Of one object so many are shown.
        depth
            So many levels of objects, at most 64.
        sort : {"size", "path"}
            The order of what hangs on one object.

        Returns
        -------
        tuple of TreeRow
            The first is the file. What a row has besides the rows below it is its `own_bytes`.

        Raises
        ------
        ValueError
            `sort` is something else.

        Examples
        --------
        >>> import fastpersist
        >>> _ = fastpersist.dump(list(range(10)), "model")
        >>> [row.label for row in fastpersist.inspect("model").rows(depth=1)][:2]
        ['file', 'list of 10']
        """
        _check_sort(sort)
        return self._rows(n_rows, n_children, depth, sort, 0.0)

    def _rows(
        self, n_rows: int, n_children: int, depth: int | None, sort: str, share: float
    ) -> tuple[TreeRow, ...]:
        return rows_of(
            self._dumps,
            self.n_bytes_behind,
            n_rows=n_rows,
            n_children=n_children,
            depth=MAX_DEPTH if depth is None else depth + (len(self._dumps) > 1),
            sort=sort,
            share=share,
        )

    # ------------------------------------------------------------ as something else

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON: schema 1, keys and rows in a fixed order.

        Names are cut where they are long, lone surrogates in them are escaped.

        Returns
        -------
        dict
            Of dicts, lists, str, int, bool and None.

        Examples
        --------
        >>> import fastpersist, json
        >>> _ = fastpersist.dump([1, 2], "model")
        >>> print(json.dumps(fastpersist.inspect("model").to_dict())[:30])
        {"schema": 1, "name": "model",
        """
        out = {"schema": 1, **plain(self)}
        out["tree"] = plain(self.rows())
        return out

    def to_text(
        self,
        width: int = 80,
        *,
        n_rows: int = 25,
        depth: int | None = None,
        sort: str = "size",
        n_listed: int = 10,
    ) -> str:
        """As `str` gives it, for another width, or with more or fewer rows.

        Parameters
        ----------
        width
            Columns of the terminal, 40 or more.
        n_rows, depth, sort
            Of the tree of bytes: as `rows` takes them.
        n_listed
            Of arrays, names and other lists so many are shown.

        Returns
        -------
        str
            Lines of that width at most.

        Raises
        ------
        ValueError
            `sort` is neither "size" nor "path".

        Examples
        --------
        >>> import fastpersist
        >>> _ = fastpersist.dump([1, 2], "model")
        >>> fastpersist.inspect("model").to_text(60).splitlines()[0].split(", ")[1:]
        ['fastpersist', 'protocol 5']
        """
        _check_sort(sort)
        rows = self._rows(n_rows, max(4, n_rows // 3), depth, sort, 0.001)
        return "\n".join(text.lines(self, self._lists(n_listed), rows, max(40, width)))

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        return f"<FileReport: {next(iter(str(self).splitlines()))}>"

    def _repr_html_(self) -> str:
        return page.fragment(self, self._lists(10), self.rows(300))

    def save_html(self, path: Any) -> None:
        """Write the report as one HTML page, which needs no network and no scripts.

        With scripts, the tree map can be entered, and the tables sorted and filtered.

        Parameters
        ----------
        path : str, bytes or os.PathLike
            Replaced where it exists.

        Raises
        ------
        OSError
            It could not be written.

        Examples
        --------
        >>> import fastpersist
        >>> _ = fastpersist.dump([1, 2], "model")
        >>> fastpersist.inspect("model").save_html("report.html")
        """
        data = page.whole(self, self._lists(page.TABLE_ROWS), self.rows, versions.beside)
        with open(os.fspath(path), "wb") as file:
            file.write(data.encode())

    def _lists(self, n_listed: int) -> Lists:
        return lists_of([dump.facts for dump in self._dumps], n_listed)

    # ------------------------------------------------------------ beside others

    def diff(self, other: FileReport) -> changes.FileDiff:
        """What is different in another file: what grew, what is new or gone.

        Parameters
        ----------
        other
            The later one: what it has more of has grown.

        Returns
        -------
        FileDiff
            Sizes by path, arrays of another dtype or shape, names, versions. ``print`` shows it.

        Raises
        ------
        TypeError
            `other` is no report.

        Examples
        --------
        >>> import fastpersist
        >>> for n in (10, 1000):
        ...     _ = fastpersist.dump({"text": "x" * n}, f"model{n}")
        >>> old, new = map(fastpersist.inspect, ("model10", "model1000"))
        >>> old.diff(new).sizes[0].difference
        993
        """
        if not isinstance(other, FileReport):
            raise TypeError(f"other should be a FileReport, not {type(other).__name__}")
        return changes.between(
            (self.name or "", other.name or ""),
            (self._dumps, other._dumps),
            (self.arrays, other.arrays),
            (self.globals, other.globals),
            (self.environment, other.environment),
            (self.n_bytes_decoded, other.n_bytes_decoded),
        )

    def requirements(self) -> list[str]:
        """Requirement lines for pip: the packages that a load needs.

        Versions are those that the file was saved with, where it says so. Names of distributions
        are those of packages that are installed here.

        Returns
        -------
        list of str
            As ``["numpy==2.4.6", "scikit-learn==1.9.1"]``, sorted.

        Examples
        --------
        >>> import fastpersist
        >>> _ = fastpersist.dump([1, 2], "model")
        >>> fastpersist.inspect("model").requirements()
        []
        """
        found = [dump.environment for dump in self.dumps if dump.environment is not None]
        return versions.requirement_lines(found, self._every_global())

    def _every_global(self) -> Iterator[GlobalReport]:
        for dump in self.dumps:
            yield from dump.globals

    @property
    def faults(self) -> tuple[Damage, ...]:
        """All that is wrong, of the file and of its dumps."""
        found = [dump.damage for dump in self.dumps if dump.damage is not None]
        if self.damage is not None and self.damage not in found:
            found.append(self.damage)
        return tuple(found)


def _check_sort(sort: str) -> None:
    if sort not in ("size", "path"):
        raise ValueError(f'sort must be "size" or "path", not {sort!r}')

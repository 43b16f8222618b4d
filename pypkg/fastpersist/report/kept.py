"""What a pickled or copied report keeps of a survey."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastpersist._core import Survey

_NONE = 0xFFFFFFFF
# Above the deepest node that a tree of 64 levels shows: a level may stand for a few nodes.
_LEVELS = 200


@dataclass(frozen=True)
class KeptSurvey:
    """Plain values, for what a report shows. Paths are kept as steps from the node above, as
    long keys would else be there once for each object below them."""

    length: int
    root: int | None
    sums: dict[str, int]
    parts: list[tuple[str, int, int]]
    odd: list[tuple[str, int, list[int]]]
    globals: list[Any]
    nodes: bytes
    arrays: bytes
    leaves: bytes
    shapes: tuple[tuple[int, ...] | None, ...]
    steps: dict[int, tuple[str, int | None]]
    payloads: bytes = b""

    def path(self, node: int, /) -> str:
        texts = []
        above: int | None = node
        while above is not None:
            text, above = self.steps[above]
            texts.append(text)
        return "".join(reversed(texts))

    def shape(self, array: int, /) -> tuple[int, ...] | None:
        return self.shapes[array]


def keep(
    survey: Survey | KeptSurvey, n_arrays: int, parents: np.ndarray[Any, Any], named: set[int]
) -> KeptSurvey:
    """parents: by node; named: nodes whose paths are needed at any depth."""
    if isinstance(survey, KeptSurvey):
        return survey
    return KeptSurvey(
        length=survey.length,
        root=survey.root,
        sums=survey.sums,
        parts=survey.parts,
        odd=survey.odd,
        globals=survey.globals,
        nodes=survey.nodes,
        arrays=survey.arrays,
        leaves=survey.leaves,
        shapes=tuple(survey.shape(i) for i in range(n_arrays)),
        steps=_steps(survey, parents, named),
    )


def _steps(
    survey: Survey, parents: np.ndarray[Any, Any], named: set[int]
) -> dict[int, tuple[str, int | None]]:
    chosen = named.union(np.flatnonzero(_shallow(parents)).tolist())
    steps: dict[int, tuple[str, int | None]] = {}
    for node in chosen:
        path, parent = survey.path(node), int(parents[node])
        steps[node] = (path, None)
        if parent in chosen:
            above = survey.path(parent)
            if path.startswith(above):
                steps[node] = (path[len(above) :], parent)
    return steps


def _shallow(parents: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = parents == _NONE
    left = np.flatnonzero(~found)
    for _ in range(_LEVELS):
        is_next = found[parents[left]]
        if not is_next.any():
            break
        found[left[is_next]] = True
        left = left[~is_next]
    return found

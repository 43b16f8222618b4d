"""What is approved of pandas."""

from __future__ import annotations

from fastpersist.policy.rows import Row

ROWS: tuple[Row, ...] = ()

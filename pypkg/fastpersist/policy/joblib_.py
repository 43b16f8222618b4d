"""What is approved of joblib: what its own files are made of."""

from __future__ import annotations

from fastpersist.policy import rules_small
from fastpersist.policy.rows import BUILD, NEW, Row

ROWS: tuple[Row, ...] = (
    # The load reads the array behind it by itself (csrc/load/joblib_layout.c): the class is never
    # imported, and its read() never runs.
    Row(
        "joblib.numpy_pickle",
        "NumpyArrayWrapper",
        NEW | BUILD,
        "in front of an array of a file of joblib's; the load reads the array itself",
        state=rules_small.wrapper_state,
    ),
    # Not here: NDArrayWrapper and ZNDArrayWrapper of joblib before 0.10 (they open other files),
    # joblib.hashing, joblib.memory.
)

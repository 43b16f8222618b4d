"""What a type checker makes of code that uses the package: `make lint` runs mypy over this file,
in which a comment that ignores nothing is an error, too."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path
from typing import IO, Any, assert_type

import fastpersist
import numpy as np
import pytest
from fastpersist import CorruptFileError, Pickler, Unpickler, UntrustedError


def test_dump_gives_paths_for_paths(tmp_path: Path) -> None:
    path = tmp_path / "model"
    assert_type(fastpersist.dump([1], path), list[str])
    assert_type(fastpersist.dump([1], str(path), 3), list[str])
    names = fastpersist.dump([1], path, compress=("zlib", 3), progress=lambda done, total: None)
    assert [name.upper() for name in names] == [str(path).upper()]
    assert len(fastpersist.dump([1], path, sidecar=tmp_path / "second")) == 2


def test_dump_gives_nothing_for_file_objects(tmp_path: Path) -> None:
    file = io.BytesIO()
    fastpersist.dump([1], file)
    with open(tmp_path / "raw", "wb", buffering=0) as raw, open(tmp_path / "x", "wb") as buffered:
        fastpersist.dump([1], raw)
        fastpersist.dump([1], buffered, layout="joblib")
    with tempfile.TemporaryFile() as temporary:
        fastpersist.dump([1], temporary)

    def dump_to(either: str | IO[bytes]) -> None:
        assert_type(fastpersist.dump([1], either), list[str] | None)

    dump_to(file)


def test_load_takes_paths_and_files(tmp_path: Path) -> None:
    path = tmp_path / "model"
    fastpersist.dump({"a": np.arange(3)}, path)
    for source in (path, str(path), os.fsencode(path)):
        assert_type(fastpersist.load(source), Any)
    with open(path, "rb") as file:
        fastpersist.load(file, trusted=["package.Name", dict])
    fastpersist.load(path, mmap_mode="r", verify="full", environment="ignore", max_bytes=1 << 20)
    assert_type(fastpersist.read_array(path, "['a']"), np.ndarray[Any, Any])
    fastpersist.verify(path, threads=1, progress=False)
    report = fastpersist.inspect(path)
    assert_type(report.to_text(80), str)
    assert_type(fastpersist.loads(fastpersist.dumps([1], protocol=4)), Any)


def test_what_is_no_mode_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model"
    fastpersist.dump([1], path)
    with pytest.raises(ValueError):
        fastpersist.load(path, mmap_mode="rw")  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        fastpersist.load(path, verify="some")  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        fastpersist.load(path, environment="warning")  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        fastpersist.read_array(path, "", "r+")  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        fastpersist.dump([1], path, layout="zip")  # type: ignore[call-overload]
    with pytest.raises(ValueError):
        fastpersist.dump(path, [1])  # type: ignore[call-overload]


def test_pickle_in_another_name(tmp_path: Path) -> None:
    file = io.BytesIO()
    pickler = Pickler(file, 5)
    pickler.dump([1])
    file.seek(0)
    assert_type(Unpickler(file).load(), Any)
    try:
        fastpersist.load(tmp_path / "nothing", trusted=())
    except CorruptFileError as error:
        assert_type(error.offset, int | None)
    except UntrustedError as error:
        assert_type(error.reasons, tuple[str, ...])
    except FileNotFoundError:
        pass

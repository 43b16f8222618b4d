"""Hashes that are written down: they change with the version in docs/hash.md only."""

import json
import pathlib
import re

import fastpersist
import hash_values
import pytest
from fastpersist import _core
from helpers import run_python

ROOT = pathlib.Path(__file__).parents[2]
GOLDEN = json.loads(pathlib.Path(__file__).with_name("golden.json").read_text("utf-8"))


def test_hashes_are_what_they_were():
    assert hash_values.hashes() == GOLDEN["values"]


@pytest.mark.models
def test_hashes_of_pandas_are_what_they_were():
    pytest.importorskip("pandas")
    assert hash_values.pandas_hashes() == GOLDEN["pandas"]


def test_the_version_is_that_of_the_page():
    page = (ROOT / "docs" / "hash.md").read_text("utf-8")
    header = (ROOT / "csrc" / "hash" / "hash.h").read_text("utf-8")
    (written,) = re.findall(r"^This is version (\d+)\.", page, re.MULTILINE)
    assert re.findall(r"FP_HASH_VERSION (\d+)", header) == [written]


def test_values_that_differ_have_hashes_that_differ():
    hashes = list(GOLDEN["values"].values())
    assert len(set(hashes)) == len(hashes)
    assert all(re.fullmatch("[0-9a-f]{32}", digest) for digest in hashes)


@pytest.mark.parametrize("seed", ["1", "4242"])
def test_another_process_says_the_same(seed):
    code = "import json, hash_values; print(json.dumps(hash_values.hashes()))"
    found = run_python(code, env={"PYTHONHASHSEED": seed, "FASTPERSIST_THREADS": seed})
    assert json.loads(found) == GOLDEN["values"]


@pytest.mark.parametrize("n_threads", [1, 2, 7])
def test_the_number_of_threads_makes_no_difference(n_threads):
    for name in ("large array", "strided", "2 MiB and 1", "long, not ASCII"):
        value = hash_values.VALUES[name]()
        assert (
            _core.hash_value(value, n_threads) == GOLDEN["values"][name] == fastpersist.hash(value)
        )

"""`encoding`, `errors` and `fix_imports` of load: pickle.load's own, on pickles of Python 2."""

import io
import pickle

import fastpersist
import numpy as np
import pytest

TEXT = b"\x80\x02U\x03a\xe9b."
NAMED = b"c__builtin__\nset\n(]tR."
CASES = [
    (TEXT, {"encoding": "latin-1"}),
    (TEXT, {"encoding": "bytes"}),
    (TEXT, {"errors": "replace"}),
    (TEXT, {"encoding": "utf-8", "errors": "ignore"}),
    (b"\x80\x02U\x01a.", {"fix_imports": False}),
]


def readers(path):
    yield path
    yield str(path)
    yield io.BytesIO(path.read_bytes())


@pytest.mark.parametrize("trusted", [None, ()])
@pytest.mark.parametrize("case", range(len(CASES)))
def test_as_pickle(tmp_path, case, trusted):
    data, how = CASES[case]
    path = tmp_path / "file"
    path.write_bytes(data)
    for place in readers(path):
        value = fastpersist.load(place, trusted=trusted, **how)
        assert value == pickle.loads(data, **how) and type(value) is type(pickle.loads(data, **how))


def test_without_it_text_is_ascii(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(TEXT)
    for place in readers(path):
        with pytest.raises(ValueError):
            fastpersist.load(place)


def test_names_of_python_2_stay_where_they_are_not_fixed(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(NAMED)
    assert fastpersist.load(path) == set()
    with pytest.raises(ModuleNotFoundError):
        fastpersist.load(path, fix_imports=False)


def test_our_own_layout_has_no_such_text(tmp_path):
    path = tmp_path / "file"
    fastpersist.dump(["é", np.arange(3)], path)
    assert fastpersist.load(path, encoding="bytes", fix_imports=False)[0] == "é"


def test_codecs_that_do_not_exist(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(TEXT)
    with pytest.raises(pickle.UnpicklingError, match="unknown encoding"):
        fastpersist.load(path, encoding="no such thing")
    with pytest.raises(TypeError):
        fastpersist.load(path, encoding=None)

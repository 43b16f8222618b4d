"""`reducers` and `names` of `_core.dump_value`: how types that others define are written."""

import copyreg
import pickle

import fastpersist
import numpy as np
import pytest
from fastpersist import _core


class Thing:
    def __init__(self, *numbers):
        self.numbers = numbers

    def __eq__(self, other):
        return type(other) is type(self) and self.numbers == other.numbers

    __hash__ = None


class Part(Thing):
    pass


class Name(type):
    pass


class Named(metaclass=Name):
    pass


Named.__module__, Named.__qualname__ = "numpy", "ndarray.tolist"


def dumped(value, path, reducers, names=Name, layout="pickle", protocol=5):
    how = (layout, protocol, False, 1)
    _core.dump_value(value, None, *how, str(path), 0, None, names, None, reducers)
    return path


def read(path):
    with open(path, "rb") as file:
        return pickle.load(file)


def test_the_exact_type_counts(tmp_path):
    path = dumped([Thing(1), Part(2), Thing(3)], tmp_path / "file", {Thing: lambda t: (list, ())})
    assert fastpersist.load(path) == read(path) == [[], Part(2), []]


def test_it_is_asked_behind_copyreg(tmp_path):
    copyreg.pickle(Thing, lambda thing: (dict, ()))
    try:
        assert read(dumped(Thing(1), tmp_path / "file", {Thing: lambda t: (list, ())})) == {}
    finally:
        del copyreg.dispatch_table[Thing]


def test_names_that_have_no_function(tmp_path):
    array = np.arange(3)
    path = dumped([Thing(1)] * 2, tmp_path / "file", {Thing: lambda thing: (Named, (array,))})
    first, second = fastpersist.load(path)
    assert first == [0, 1, 2] and first is second and read(path) == [first, first]
    assert {each.name for each in fastpersist.inspect(path).globals} == {
        "ndarray",
        "ndarray.tolist",
    }
    assert dict(fastpersist.inspect(path).environment.packages)["numpy"] == np.__version__


def test_other_layouts_know_none(tmp_path):
    for layout, protocol in (("joblib", 5), ("pickle", 4), ("plain", 5)):
        reducers = {Thing: lambda thing: (list, ())}
        path = dumped(Thing(1), tmp_path / "file", reducers, layout=layout, protocol=protocol)
        assert read(path) == Thing(1)


def test_what_it_raises_ends_the_dump(tmp_path):
    with pytest.raises(ZeroDivisionError) as error:
        dumped({"a": [Thing(1)]}, tmp_path / "file", {Thing: lambda thing: 1 // 0})
    assert "value['a'][0]" in error.value.__notes__[-1]
    assert not (tmp_path / "file").exists()
    with pytest.raises(TypeError, match="reducers"):
        dumped(1, tmp_path / "file", [])

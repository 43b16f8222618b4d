"""Any graph: pickle's own bytes from dumps and Pickler, an isomorphic graph from the file."""

import inspect
import pickle
import sys

import fastpersist
import pytest
import sample_classes as s
from compare import assert_isomorphic
from helpers import (
    PROTOCOLS,
    assert_same_pickle,
    examples,
    file_bytes,
    outcome,
    outcome_of_dump,
    run_python,
    through_file,
)
from hypothesis import given
from values import catalogue, graphs

# Python's own, about its iterators, from 3.12 on.
pytestmark = pytest.mark.filterwarnings("ignore:Pickle, copy, and deepcopy support will be removed")

CATALOGUE = catalogue()


def loaded_by_pickle(pickled, value):
    try:
        return pickle.loads(pickled)
    except pickle.UnpicklingError:
        # From 3.14 on, of a name that is a subclass of str. In a file it is a str.
        assert value is s.OTHER_SINGLETON and sys.version_info >= (3, 14)
        return value


@pytest.fixture(params=CATALOGUE, ids=lambda name: name.replace(" ", "_"))
def value(request):
    return CATALOGUE[request.param]()


def test_same_bytes_as_pickle(value):
    assert_same_pickle(value)


def test_the_file_gives_the_same_graph(value):
    pickled = outcome(pickle.dumps, value, 5)
    if not isinstance(pickled, bytes):
        assert outcome(file_bytes, value)[0] is pickled[0]
        return
    assert_isomorphic(loaded_by_pickle(pickled, value), through_file(value))


@pytest.mark.parametrize("protocol", PROTOCOLS[:-1])
def test_older_protocols_give_a_plain_pickle_file(protocol):
    for name, build in CATALOGUE.items():
        value = build()
        expected = outcome_of_dump(pickle.dumps, value, protocol)
        if expected is RecursionError:
            continue
        assert outcome_of_dump(file_bytes, value, protocol=protocol) == expected, name


READ_ELSEWHERE = f"""
import pickle, sys, warnings
import joblib
import sample_classes as s
from compare import assert_isomorphic
from values import catalogue
{inspect.getsource(loaded_by_pickle)}
warnings.filterwarnings("ignore", "Pickle, copy, and deepcopy support will be removed")
with open(sys.argv[1], "rb") as file:
    by_pickle = pickle.load(file)
by_joblib = joblib.load(sys.argv[1])
for name, build in catalogue().items():
    if name in by_pickle:
        expected = loaded_by_pickle(pickle.dumps(build(), 5), build())
        for got in (by_pickle, by_joblib):
            try:
                assert_isomorphic(expected, got[name])
            except AssertionError as error:
                raise AssertionError(f"{{name}}: {{error}}") from None
assert not [name for name in sys.modules if name.startswith("fastpersist")]
print(len(by_pickle))
"""


def test_read_by_pickle_and_joblib_where_fastpersist_is_not_imported(tmp_path):
    values = {}
    for name, build in CATALOGUE.items():
        value = build()
        if isinstance(outcome(pickle.dumps, value, 5), bytes):
            values[name] = build()
    fastpersist.dump(values, tmp_path / "file")
    assert int(run_python(READ_ELSEWHERE, tmp_path / "file")) == len(values) > 200


@examples(250)
@given(graphs())
def test_generated_graphs_give_the_same_bytes_as_pickle(value):
    assert_same_pickle(value)


@examples(250)
@given(graphs())
def test_generated_graphs_come_back_isomorphic_from_the_file(value):
    expected = pickle.loads(pickle.dumps(value, 5))
    assert_isomorphic(expected, through_file(value))


@examples(50)
@given(graphs())
def test_generated_graphs_come_back_isomorphic_to_what_was_dumped(value):
    if pickle_is_faithful(value):
        assert_isomorphic(value, through_file(value))


def pickle_is_faithful(value):
    """Some reducers copy what they return, so that pickle itself loses an identity."""
    try:
        assert_isomorphic(value, pickle.loads(pickle.dumps(value, 5)))
    except AssertionError:
        return False
    return True


def test_default_protocol_of_dumps_is_that_of_pickle():
    assert fastpersist.dumps([1, "x"]) == pickle.dumps([1, "x"])
    assert fastpersist.dumps([1, "x"], -1) == pickle.dumps([1, "x"], pickle.HIGHEST_PROTOCOL)
    assert fastpersist.dumps([1], protocol=0, fix_imports=False) == pickle.dumps([1], 0)


@pytest.mark.parametrize("fix_imports", [True, False])
def test_names_of_python_2(fix_imports):
    assert_same_pickle(CATALOGUE["moved in Python 3"](), fix_imports=fix_imports)
    assert_same_pickle(CATALOGUE["exceptions"](), fix_imports=fix_imports)


def test_loads_is_the_standard_librarys():
    value = {"a": [1, 2, {3}]}
    assert fastpersist.loads(fastpersist.dumps(value)) == value
    assert fastpersist.loads(pickle.dumps(value)) == value
    with pytest.raises(pickle.UnpicklingError):
        fastpersist.loads(b"\x00not a pickle")

"""Notes on exceptions that belong to the object: one of a dump at a time, and none in a dump.

Beside joblib and pickle, which (before Python 3.14) add none: what they write of the same exception
is what ours writes after any number of failed dumps.
"""

import copy
import io
import pickle

import fastpersist
import joblib
import pytest
from helpers import file_bytes

OF_DUMP = "while dumping value"


class Raises:
    """Its reducer raises one exception, again and again."""

    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        raise self.error


class Own(Exception):
    def __init__(self, text, number):
        super().__init__(text, number)
        self.number = number


class OwnReduce(Exception):
    def __reduce__(self):
        return OwnReduce, self.args, {**vars(self), "other": 1}


class OwnState(Exception):
    def __getstate__(self):
        return {**self.__dict__, "more": 5}


class NoNotes(Exception):
    def add_note(self, note):
        raise RuntimeError("no notes")


def with_attributes():
    error = KeyError("k")
    error.detail = {"a": [1, 2]}
    return error


def with_own_note():
    error = ValueError("x")
    error.add_note("a note of the user's")
    return error


ERRORS = {
    "ValueError": lambda: ValueError("x"),
    "no arguments": ArithmeticError,
    "OSError": lambda: OSError(5, "text", "name"),
    "KeyError with attributes": with_attributes,
    "with a note": with_own_note,
    "of its own class": lambda: Own("text", 5),
    "its own reducer": lambda: OwnReduce("x"),
    "its own state": lambda: OwnState("x"),
    "a group": lambda: ExceptionGroup("g", [ValueError(1), with_own_note()]),
    "BaseException": lambda: KeyboardInterrupt("stop"),
    "takes no notes": lambda: NoNotes("x"),
    "AttributeError": lambda: AttributeError("Can't pickle local object 'x'"),
}
errors = pytest.mark.parametrize("name", ERRORS)


def pickler(value):
    file = io.BytesIO()
    fastpersist.Pickler(file).dump(value)
    return file.getvalue()


DUMPS = {
    "dump": file_bytes,
    "dumps": fastpersist.dumps,
    "Pickler": pickler,
    "protocol 2": lambda value: file_bytes(value, protocol=2),
    "layout joblib": lambda value: file_bytes(value, layout="joblib"),
    "zlib": lambda value: file_bytes(value, compress="zlib"),
    "sidecar": lambda value: file_bytes(value, sidecar=io.BytesIO()),
}
dumps = pytest.mark.parametrize("dump", DUMPS.values(), ids=DUMPS)


def notes(error):
    return list(getattr(error, "__notes__", []))


def of_dump(error):
    return [note for note in notes(error) if note.startswith(OF_DUMP)]


def others(error):
    return [note for note in notes(error) if not note.startswith(OF_DUMP)]


def fail(error, dump, times=1, around=lambda value: [0, value]):
    for _ in range(times):
        with pytest.raises(type(error)) as caught:
            dump(around(Raises(error)))
        assert caught.value is error


@errors
@dumps
def test_one_note_however_often(name, dump):
    error = ERRORS[name]()
    before = notes(error)
    fail(error, dump, 5)
    fail(error, dump, around=lambda value: {"key": value})
    expected = [] if name == "takes no notes" else [f"{OF_DUMP}['key']"]
    assert of_dump(error) == expected
    # From 3.14 on pickle has notes of its own, and so has what does as pickle does.
    assert others(error)[: len(before)] == before


@errors
def test_one_note_of_all_of_them(name):
    error = ERRORS[name]()
    for dump in DUMPS.values():
        fail(error, dump, 2)
    assert len(of_dump(error)) == (0 if name == "takes no notes" else 1)


@errors
@dumps
def test_none_is_dumped(name, dump):
    error, fresh = ERRORS[name](), ERRORS[name]()
    fail(error, dump, 3)
    known = notes(error)
    for kept in others(error)[len(notes(fresh)) :]:
        BaseException.add_note(fresh, kept)
    assert dump([error, [error]]) == dump([fresh, [fresh]])
    assert notes(error) == known, "the exception itself keeps it"
    if dump is DUMPS["sidecar"]:
        return
    loaded, (again,) = fastpersist.load(io.BytesIO(dump([error, [error]])))
    assert again is loaded
    assert notes(loaded) == others(error)
    assert repr(loaded.args) == repr(error.args)


@errors
def test_as_the_peers_write_a_fresh_one(name):
    error, fresh = ERRORS[name](), ERRORS[name]()
    fail(error, file_bytes, 3)
    for kept in others(error)[len(notes(fresh)) :]:
        BaseException.add_note(fresh, kept)
    for protocol in range(6):
        assert fastpersist.dumps(error, protocol) == pickle.dumps(fresh, protocol)
    file, theirs = io.BytesIO(), io.BytesIO()
    fastpersist.dump(error, file, layout="joblib")
    joblib.dump(fresh, theirs)
    assert notes(joblib.load(file)) == notes(joblib.load(theirs)) == notes(fresh)


def test_what_pickle_does_with_it():
    """Meant to differ: it does not know the note from any other."""
    error = ValueError("x")
    fail(error, file_bytes)
    assert OF_DUMP in "".join(notes(pickle.loads(pickle.dumps(error))))


@dumps
def test_part_of_what_is_dumped(dump):
    """The very case: it is in the graph, in front of what raises it."""
    error = ValueError("x")
    error.add_note("the user's")
    value = {"last": error, "all": [Raises(error)]}
    for _ in range(4):
        with pytest.raises(ValueError) as caught:
            dump(value)
        assert caught.value is error
        assert of_dump(error) == [f"{OF_DUMP}['all'][0]"]
    value["all"].clear()
    if dump is not DUMPS["sidecar"]:
        loaded = fastpersist.load(io.BytesIO(dump(value)))["last"]
        assert "the user's" in notes(loaded) and not of_dump(loaded)


@pytest.mark.parametrize(
    "note",
    [
        "while dumping",
        "while dumping values",
        "while dumping value, the disk was full",
        "while dumping value\N{LATIN SMALL LETTER I WITH OGONEK}",  # its last byte is a dot's
        "While dumping value",
        "x while dumping value",
        "",
    ],
)
def test_notes_of_the_users_stay(note):
    error = ValueError("x")
    error.add_note(note)
    fail(error, file_bytes, 3)
    assert len([n for n in notes(error) if n.startswith(f"{OF_DUMP}[")]) == 1
    assert notes(error).count(note) == 1
    assert note in notes(fastpersist.loads(fastpersist.dumps(error)))


def test_the_order_of_notes():
    error = ValueError("x")
    error.add_note("first")
    fail(error, file_bytes)
    error.add_note("second")
    fail(error, file_bytes)
    assert [n for n in notes(error) if not n.startswith("when")] == [
        "first",
        "second",
        f"{OF_DUMP}[1]",
    ]


@pytest.mark.parametrize("odd", [(), ("x",), None, 5, {"x": 1}, [5, None, "x"]], ids=repr)
def test_notes_that_are_none(odd):
    error = ValueError("x")
    error.__notes__ = odd
    with pytest.raises((ValueError, TypeError)) as expected:  # TypeError: it adds notes, from 3.14
        pickle.dumps([0, Raises(error)])
    for _ in range(2):
        with pytest.raises(expected.type) as caught:
            file_bytes([0, Raises(error)])
        assert str(caught.value) == str(expected.value)
    assert fastpersist.dumps(copy.copy(ValueError("y")))
    assert fastpersist.loads(fastpersist.dumps(error)).args == ("x",)


def test_a_copy_is_known_too():
    """By the text: it has been through another process, or a file."""
    error = ValueError("x")
    fail(error, file_bytes)
    for again in (copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert of_dump(again)
        assert OF_DUMP.encode() not in file_bytes(again)
        fail(again, file_bytes)
        assert len(of_dump(again)) == 1


class DumpsInside:
    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        file_bytes({"inner": Raises(self.error)})


def test_a_dump_inside_a_dump():
    error = ValueError("x")
    with pytest.raises(ValueError):
        file_bytes([DumpsInside(error)])
    assert of_dump(error) == [f"{OF_DUMP}[0]"]


# ---------------------------------------------------------------- loads

ERROR = ValueError("raised by each load")


class RaisesOnLoad:
    def __setstate__(self, state):
        raise ERROR

    def __getstate__(self):
        return {"a": 1}


def test_loads_of_one_file_note_it_once(tmp_path):
    """That tells nothing new; where it was in another file does."""
    ERROR.__notes__ = []
    for name in ("one", "two"):
        fastpersist.dump(RaisesOnLoad(), tmp_path / name)
        for _ in range(4):
            with pytest.raises(ValueError, match="raised by each load"):
                fastpersist.load(tmp_path / name)
    places = [note for note in ERROR.__notes__ if "while loading" in note]
    assert len(places) == 2
    assert len({*ERROR.__notes__}) == len(ERROR.__notes__)
    ERROR.__notes__ = []

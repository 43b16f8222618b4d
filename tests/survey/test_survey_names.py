"""The survey lists the names that a load asks for: beside a traced `pickle.load`, on every value
of the tests in every protocol, as ours, as joblib's, and on CPython's own pickles."""

import copyreg
import io
import pickle
import sys
import warnings

import array_values
import joblib
import joblib.numpy_pickle
import numpy as np
import pytest
import sample_classes
import surveys
import values
from helpers import PROTOCOLS, examples, file_bytes
from hypothesis import given
from hypothesis import strategies as st

pytestmark = [
    pytest.mark.filterwarnings("ignore:the matrix subclass is not:PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*chararray.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*align.*:Warning"),
]

VALUES = {**values.catalogue(), **array_values.everything()}


def traced(data, **keywords):
    unpickler = surveys.Traced(io.BytesIO(data), **keywords)
    unpickler.load()
    return unpickler.names


def dumped(value, protocol):
    try:
        return pickle.dumps(value, protocol)
    except Exception:
        return None  # not everything can be pickled in every protocol


@pytest.mark.parametrize("name", VALUES)
def test_every_value_in_every_protocol(name):
    value = VALUES[name]()
    for protocol in PROTOCOLS:
        data = dumped(value, protocol)
        if data is None:
            continue
        survey = surveys.check(surveys.every_survey(data), len(data))
        try:
            names = traced(data)
        except pickle.UnpicklingError:
            # Pickle of 3.14 writes the name as an object, and does not take it for a name.
            assert (
                name == "reduce to str subclass" and protocol >= 4 and sys.version_info >= (3, 14)
            )
            assert surveys.odd(survey)["computed name"] == 1
            continue
        surveys.check_names(survey, names)
        assert not surveys.has_computed(survey)
        assert not surveys.CERTAIN & set(surveys.odd(survey)) or protocol == 0


@pytest.mark.parametrize("name", VALUES)
def test_every_value_as_ours(name):
    value = VALUES[name]()
    if dumped(value, 5) is None:
        return
    data = file_bytes(value)
    survey = surveys.check(surveys.every_survey(data), len(data))
    assert survey.kind == "fastpersist"
    surveys.check_names(survey, traced(data))
    assert not surveys.CERTAIN & set(surveys.odd(survey))


class TracedJoblib:
    """joblib's own load, whose unpicklers are traced."""

    def __init__(self, monkeypatch):
        self.names = names = []

        class Unpickler(joblib.numpy_pickle.NumpyUnpickler):
            def find_class(self, module, name):
                names.append((module, name))
                return super().find_class(module, name)

        def load(file, **keywords):
            unpickler = surveys.Traced(file, **keywords)
            unpickler.names = names
            return unpickler.load()

        monkeypatch.setattr(joblib.numpy_pickle, "NumpyUnpickler", Unpickler)
        monkeypatch.setattr(joblib.numpy_pickle.pickle, "load", load)


def by_joblib(value, protocol):
    """None where joblib cannot write it, or read it back."""
    file = io.BytesIO()
    try:
        joblib.dump(value, file, protocol=protocol)
        file.seek(0)
        joblib.load(file)
    except Exception:
        return None
    return file.getvalue()


@pytest.mark.parametrize("name", VALUES)
def test_every_value_as_joblib_writes_it(name, monkeypatch):
    value = VALUES[name]()
    for protocol in (None, 0, 2, 3):
        with warnings.catch_warnings(), monkeypatch.context() as patches:
            warnings.simplefilter("ignore")
            data = by_joblib(value, protocol)
            if data is None:
                continue
            tracer = TracedJoblib(patches)
            joblib.load(io.BytesIO(data))
        survey = surveys.check(surveys.every_survey(data), len(data))
        surveys.check_names(survey, tracer.names)


@given(values.graphs())
@examples(60)
def test_generated_graphs(value):
    for protocol in PROTOCOLS:
        data = dumped(value, protocol)
        if data is not None:
            survey = surveys.check(surveys.of_descriptor(data)[0], len(data))
            surveys.check_names(survey, traced(data))
    data = file_bytes(value)
    survey = surveys.check(surveys.of_descriptor(data)[0], len(data))
    surveys.check_names(survey, traced(data))


# ---------------------------------------------------------------- CPython's pickles


def corpus():
    """The pickles that CPython's own tests hold: as bytes in their source, by name."""
    pickletester = pytest.importorskip("test.pickletester")
    out = {}
    for owner in (pickletester, pickletester.AbstractUnpickleTests):
        for name, value in vars(owner).items():
            if isinstance(value, bytes) and b"." in value:
                out[name] = value
    return out


def test_cpythons_corpus():
    n_loaded = 0
    for name, data in corpus().items():
        unpickler = surveys.Traced(io.BytesIO(data), encoding="latin1")
        try:
            unpickler.load()
            is_loaded = True
        except Exception:
            is_loaded = False
        survey = surveys.every_survey(data)
        if is_loaded:
            n_loaded += 1
            surveys.check(survey)
            surveys.check_names(survey, unpickler.names)
        else:
            found = set(surveys.names_of(survey))
            assert set(unpickler.names) <= found or surveys.has_computed(survey), name
    assert n_loaded >= 10


# ---------------------------------------------------------------- names by name


def names_in(data):
    survey = surveys.check(surveys.every_survey(data), len(data))
    surveys.check_names(survey, traced(data))
    return survey.globals


def test_the_names_of_python_2_are_mapped():
    ((module, name, *_, flags, spelled),) = names_in(b"c__builtin__\nxrange\n(K\1K\2tR.")
    assert (module, name) == ("builtins", "range")
    assert flags == surveys.RENAMED and spelled == ("__builtin__", "xrange")
    ((module, name, *_, flags, spelled),) = names_in(b"cUserDict\nUserDict\n.")
    assert (module, name) == ("collections", "UserDict")
    ((module, name, *_, flags, spelled),) = names_in(b"\x80\3cbuiltins\nrange\n.")
    assert (module, name, flags, spelled) == ("builtins", "range", 0, None)


def test_spellings_of_one_protocol_are_kept_apart():
    survey = surveys.check(
        surveys.of_descriptor(b"c__builtin__\nset\ncbuiltins\nset\n\x86.".replace(b"\x86", b"0."))[
            0
        ]
    )
    assert [(g[0], g[1]) for g in survey.globals] == [("builtins", "set")] * 2


def test_uses_are_counted():
    survey = surveys.check(
        surveys.of_descriptor(
            b"\x80\4(cbuiltins\nlist\nq\0)R"  # called
            b"h\0)\x81"  # class
            b"h\0"  # argument
            b"cbuiltins\nobject\n)\x81}b"  # class, built
            b"h\0Nb"  # built itself
            b"t."
        )[0]
    )
    (_, name, called, as_class, built, argument, get, *_), second = survey.globals
    assert (name, called, as_class, built, argument, get) == ("list", 1, 1, 1, 2, 3)
    assert second[1:7] == ("object", 0, 1, 1, 0, 0)
    assert surveys.odd(survey) == {"state set on a global": 1}


def test_first_paths():
    survey = surveys.check(
        surveys.of_descriptor(pickle.dumps({"a": [1, sample_classes.Plain()], "b": len}, 4))[0]
    )
    first = {g[1]: survey.path(g[7]) for g in survey.globals}
    assert first == {"Plain": "['a'][1]", "len": "['b']"}


def test_codes_of_copyreg():
    copyreg.add_extension("sample_classes", "ExtensionClass", 0xAB)
    try:
        data = pickle.dumps([sample_classes.ExtensionClass()] * 2, 2)
        survey = surveys.check(surveys.every_survey(data), len(data))
        ((module, name, *_, flags, spelled),) = survey.globals
        assert (module, name, flags, spelled) == (None, "171", surveys.EXTENSION, None)
        surveys.check_names(survey, traced(data))
        assert surveys.odd(survey) == {"extension code": 1}
    finally:
        copyreg.remove_extension("sample_classes", "ExtensionClass", 0xAB)


COMPUTED_NAMES = {
    "STRING": b"\x80\4S'builtins'\nS'len'\n\x93.",
    "SHORT_BINSTRING": b"\x80\4U\x08builtinsU\x03len\x93.",
    "the memo of one": b"\x80\4U\x08builtinsq\0U\x03lenq\1h\0h\1\x93.",
    "a call": b"\x80\4cbuiltins\nstr\n\x8c\x08builtins\x85R\x8c\3len\x93.",
    "the memo of a call": b"\x80\4cbuiltins\nstr\n\x8c\x08builtins\x85Rq\0\x8c\3lenq\1h\0h\1\x93.",
    "a global": b"\x80\4cstring\ndigits\n\x8c\3len\x93.",
    "a persistent id": b"\x80\4Pid\n\x8c\3len\x93.",
}


@pytest.mark.parametrize("name", COMPUTED_NAMES)
def test_computed_names_are_said_to_be(name):
    survey = surveys.every_survey(COMPUTED_NAMES[name])
    assert survey.complete
    assert surveys.odd(survey)["computed name"] >= 1
    assert survey.globals[-1][8] & surveys.COMPUTED


def test_a_name_from_a_blob_is_a_computed_one():
    import forged_files as forge

    data = forge.dump([(forge.STR, b"builtins")], b"h\0\x8c\3len\x93")
    assert pickle.loads(data) is len
    survey = surveys.check(surveys.of_descriptor(data)[0], len(data))
    assert surveys.odd(survey) == {"computed name": 1}
    assert survey.globals[0][:2] == (None, "len")


def test_memo_numbers_that_change_their_meaning():
    data = b"\x80\4\x8c\2osq\0\x8c\x08builtinsq\1h\0q\1h\1\x8c\4name\x93."
    assert traced(data) == [("os", "name")]
    survey = surveys.check(surveys.every_survey(data), len(data))
    surveys.check_names(survey, traced(data))
    assert surveys.odd(survey)["memo number used twice"] == 1
    # What lies on the stack keeps the text that it had.
    data = b"\x80\4\x8c\2osq\0h\0\x8c\x08builtinsq\x000\x8c\4name\x93."
    survey = surveys.check(surveys.every_survey(data), len(data))
    surveys.check_names(survey, traced(data))


@pytest.mark.parametrize("text", ["len", "\\u006cen", "l\\u0065n", "\\U0000006cen", "é", "a\\\\b"])
def test_unicode_lines(text):
    line = text.encode("latin-1")
    data = b"\x80\4Vbuiltins\nV" + line + b"\n\x93."
    unpickler = surveys.Traced(io.BytesIO(data))
    try:
        unpickler.load()
    except AttributeError:
        pass
    survey = surveys.every_survey(data)
    surveys.check_names(survey, unpickler.names)


@pytest.mark.parametrize("n", [4095, 4096, 70_000, 1 << 20])
def test_long_names_are_cut(n):
    name = "é" * (n // 2)
    text = name.encode()
    data = b"\x80\4\x8c\2osX" + len(text).to_bytes(4, "little") + text + b"\x93."
    survey = surveys.of_descriptor(data)[0]
    assert survey.complete
    ((module, found, *_, flags, _),) = survey.globals
    if len(text) < 4096:
        assert found == name and flags == 0
    else:
        assert flags == surveys.LONG and len(found) < 100 and found.startswith("é" * 32)
    lines = b"cos\n" + text + b"\n."
    ((_, again, *_, flags, _),) = surveys.of_descriptor(lines)[0].globals
    assert (flags & surveys.LONG != 0) == (len(text) >= 4096)
    assert again.startswith("é" * 32)


@pytest.mark.parametrize("unit", ["é", "\\u20ac", "\\U0001F600", "\\\\", "a\\u0041\\"])
@pytest.mark.parametrize("shift", range(11))
def test_long_names_of_unicode_lines_are_cut_as_text(unit, shift):
    line = ("x" * shift + unit * 5000).encode("latin-1") + b"z"
    data = b"\x80\4V" + line + b"\nV" + line + b"\n\x93."
    survey = surveys.check(surveys.every_survey(data), len(data))
    module, name = survey.globals[0][:2]
    text = line.decode("raw-unicode-escape")
    assert module == name and survey.globals[0][8] & surveys.LONG
    shown = module.partition("...(")[0]
    assert shift < len(shown) <= 64 and text.startswith(shown)


def test_lone_surrogates_in_names():
    data = b"\x80\4\x8c\2os\x8c\3\xed\xa0\x80\x93."
    survey = surveys.every_survey(data)
    assert survey.globals[0][1] == "\ud800"
    assert surveys.every_survey(b"cos\n\xed\xa0\x80\n.").damage is not None  # as a line, never


@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=30))
@examples(50)
def test_any_names_in_order_of_first_use(pairs):
    body = b""
    for module, name in pairs:
        for text in (module, name):
            encoded = text.encode("utf-8", "surrogatepass")
            body += b"\x8c" + bytes([len(encoded)]) + encoded
        body += b"\x930"
    survey = surveys.check(surveys.of_descriptor(b"\x80\4" + body + b"N.")[0])
    assert [(g[0], g[1]) for g in survey.globals] == list(dict.fromkeys(pairs))


def test_a_dtype_is_no_name_of_its_own():
    survey = surveys.of_descriptor(pickle.dumps(np.arange(3), 5))[0]
    assert [g[1] for g in survey.globals] == ["_frombuffer", "dtype"]

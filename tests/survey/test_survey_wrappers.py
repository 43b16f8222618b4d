"""joblib's arrays lie between the opcodes: who takes another length for one reads other opcodes.
Each file here makes a load take bytes for an array that a survey could take for the end of the
pickle, or the other way round; behind it stands a name that must not stay hidden."""

import io
import struct
import sys

import fastpersist
import forged_files as forge
import numpy as np
import pytest
import surveys
from fastpersist import CorruptFileError

WRAPPER = b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n"
NDARRAY = b"cnumpy\nndarray\n"
HIDDEN = ("builtins", "hidden")
# What a survey may say in place of an exception.
UNSURE = {"joblib's array wrapper in another use", "call of what is no global"}
UNSURE |= {"array of a size that only its type knows", "computed name"}


def text(value):
    return b"\x8c" + bytes([len(value)]) + value.encode()


def dtype(name, *state):
    """numpy.dtype(name, False, True) and its state: order, itemsize, flags."""
    made = b"cnumpy\ndtype\n" + (text(name) if isinstance(name, str) else name) + b"\x89\x88\x87R"
    if state:
        order, itemsize, flags = state
        numbers = b"".join(b"J" + struct.pack("<i", n) for n in (itemsize, -1, flags))
        made += b"(K\3" + text(order) + b"NNN" + numbers + b"tb"
    return made


MINUS_1 = b"J\xff\xff\xff\xff"
U1 = dtype("u1", "|", -1, 0)


def state(shape, dtype=U1, more=b""):
    out = b"}q\x20(" + text("subclass") + NDARRAY + text("shape") + b"K" + bytes([shape]) + b"\x85"
    out += text("order") + text("C") + text("dtype") + dtype + text("allow_mmap") + b"\x88"
    return out + more + b"u"


def wrapper(*arguments, made=WRAPPER + b")\x81", behind=b""):
    return made + state(*arguments) + behind + b"b"


def ending(n_bytes, at):
    """The bytes of an array; taken for opcodes from `at` on they end a pickle."""
    return b"x" * at + b"." + b"x" * (n_bytes - at - 1)


HIDE = b"0cbuiltins\nhidden\n."
# What follows a wrapper that the load takes for an array, whatever it looks like.
IN_A_LOAD = {
    "a shape that is set through the memo": wrapper(
        0, behind=b"h\x20" + text("shape") + b"K\x20\x85s0"
    ),
    "a shape that is set through a copy": wrapper(0, behind=b"2" + text("shape") + b"K\x20\x85s0"),
    "several through the memo": wrapper(0, behind=b"h\x20(" + text("shape") + b"K\x20\x85u0"),
    "a shape behind a line": wrapper(0, U1, b"S'shape'\nK\x20\x85"),
    "a shape behind an old string": wrapper(0, U1, b"U\5shapeK\x20\x85"),
    "a shape behind a computed key": wrapper(
        0, U1, b"cbuiltins\nstr\n" + text("shape") + b"\x85RK\x20\x85"
    ),
    "an itemsize that NumPy does not look at": wrapper(8, dtype("f4", "<", 1, 0)),
    "an itemsize of a type of NumPy": wrapper(8, dtype(b"cnumpy\nfloat32\n", "<", 1, 0)),
    "an itemsize of another type": wrapper(8, dtype(b"cctypes\nc_float\n", "<", 1, 0)),
    "copyreg.__newobj_ex__": wrapper(
        32, made=b"ccopyreg\n__newobj_ex__\n" + WRAPPER + b")}\x87R"
    ),
    "copyreg.__newobj__": wrapper(32, made=b"ccopyreg\n__newobj__\n" + WRAPPER + b"\x85R"),
    "copyreg._reconstructor": wrapper(
        32, made=b"ccopyreg\n_reconstructor\n(" + WRAPPER + b"cbuiltins\nobject\nNtR"
    ),
    "... with arguments from the memo": wrapper(
        32,
        made=b"ccopyreg\n_reconstructor\nq\1(" + WRAPPER + b"cbuiltins\nobject\nNtq\2R0h\1h\2R",
    ),
    "a class that a call gets": wrapper(32, made=b"cfunctools\npartial\n" + WRAPPER + b"\x85R)R"),
    "INST": wrapper(32, made=b"(ijoblib.numpy_pickle\nNumpyArrayWrapper\n"),
    "OBJ": wrapper(32, made=b"(" + WRAPPER + b"o"),
    "REDUCE": wrapper(32, made=WRAPPER + b")R"),
    "a class from the memo": wrapper(32, made=WRAPPER + b"q\1)\x810h\1)\x81"),
    "a dtype that is set later": wrapper(
        8, dtype("f4") + b"q\1", behind=b"h\1(K\3" + text("<") + b"NNN" + MINUS_1 * 2 + b"K\0tb0"
    ),
}  # fmt: skip


_asked = None


def _hook(event, arguments):
    if event == "pickle.find_class" and _asked is not None:
        _asked.append(arguments)


sys.addaudithook(_hook)


def names_of_a_load(data):
    global _asked
    names, error = [], None
    _asked = names
    try:
        fastpersist.load(io.BytesIO(data))
    except Exception as found:
        error = found
    finally:
        _asked = None
    return names, error


def check_nothing_is_hidden(data):
    names, error = names_of_a_load(data)
    survey = surveys.of_file(io.BytesIO(data))
    if survey.damage is None and not UNSURE & surveys.odd(survey).keys():
        assert set(names) <= set(surveys.names_of(survey))
    return names, error, survey


@pytest.mark.parametrize("at", [0, 8])
@pytest.mark.parametrize("name", IN_A_LOAD)
def test_an_array_that_a_load_finds(name, at):
    data = b"\x80\4" + IN_A_LOAD[name] + ending(32, at) + HIDE
    names, error, survey = check_nothing_is_hidden(data)
    assert names[-1] == HIDDEN and "hidden" in str(error)
    assert (
        HIDDEN in surveys.names_of(survey) or survey.damage or UNSURE & surveys.odd(survey).keys()
    )


@pytest.mark.parametrize(
    "key", [b"N", b"\x88", b"K\1", b"G" + bytes(8), b"C\5shape", b"K\1\x85", b"V\xe9\n"]
)
def test_keys_that_are_no_attributes(key):
    data = b"\x80\4" + wrapper(2, U1, key + b"K\1\x85") + b"ab."
    assert fastpersist.load(io.BytesIO(data)).tobytes() == b"ab"
    surveys.check(surveys.every_survey(data), len(data))
    assert fastpersist.read_array(io.BytesIO(data), "").tobytes() == b"ab"


PLAIN = b"csample_classes\nPlain\n"
IN_A_SURVEY = {
    "a class that was popped": b"ccopyreg\n_reconstructor\n("
    + WRAPPER
    + b"0"
    + PLAIN
    + b"cbuiltins\nobject\nNtR",
    "a class that was replaced": b"ccopyreg\n_reconstructor\n("
    + WRAPPER
    + b"q\x010"
    + PLAIN
    + b"q\1cbuiltins\nobject\nNtR",
    "a class among other arguments": b"ccopyreg\n__newobj__\n(" + PLAIN + WRAPPER + b"0tR",
}


@pytest.mark.parametrize("name", IN_A_SURVEY)
def test_an_array_that_a_load_does_not_find(name):
    data = b"\x80\4" + wrapper(len(HIDE), made=IN_A_SURVEY[name]) + HIDE + b"."
    names, error, survey = check_nothing_is_hidden(data)
    assert names[-1] == HIDDEN and "hidden" in str(error)
    assert HIDDEN in surveys.names_of(survey)


def test_a_wrapper_that_is_used_twice():
    """It keeps what its state said before."""
    aligned = text("numpy_array_alignment_bytes") + b"K\x10"
    data = b"\x80\4" + WRAPPER + b")\x81q\1" + state(0, U1, aligned) + b"b\0"
    data += b"0h\1" + state(2) + b"b" + b"\0a." + HIDE
    names, error, survey = check_nothing_is_hidden(data)
    assert names[-1] == HIDDEN and "hidden" in str(error)
    assert isinstance(survey.damage, CorruptFileError)


ALIGNED = {"K\x10": True, "K\0": True, "N": False}


@pytest.mark.parametrize("value", ALIGNED)
def test_padding(value):
    aligned = text("numpy_array_alignment_bytes") + value.encode()
    body = b"\2\xff\xffab" if ALIGNED[value] else b"ab"
    data = b"\x80\4" + wrapper(2, U1, aligned) + body + b"."
    assert fastpersist.load(io.BytesIO(data)).tobytes() == b"ab"
    assert surveys.check(surveys.of_file(io.BytesIO(data)), len(data))
    assert fastpersist.read_array(io.BytesIO(data), "").tobytes() == b"ab"
    data = data.replace(aligned, aligned[:-2] + b"cbuiltins\nint\n)R")
    assert surveys.of_file(io.BytesIO(data)).damage is not None


CONTRADICTIONS = {
    "objects by name alone": dtype("O8", "|", -1, 0),
    "objects by flags alone": dtype("u1", "|", -1, 63),
    "a negative size": dtype("V8", "|", -8, 0),
    "no size": dtype("S5", "|", -1, 0),
    "another version": dtype("u1", "|", -1, 0).replace(b"(K\3", b"(K\2"),
    "two states": U1 + b"(K\3" + text("|") + b"NNNJ\1\0\0\0J\1\0\0\0K\0tb",
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_dtypes_that_contradict_themselves(name):
    data = b"\x80\4" + wrapper(4, CONTRADICTIONS[name]) + b"NNN."
    names, _, survey = check_nothing_is_hidden(data + HIDE)
    assert isinstance(survey.damage, CorruptFileError)
    # In an array of NumPy's own they are no more than unknown.
    array = b"\x80\4" + NDARRAY + b"(K\4\x85" + CONTRADICTIONS[name] + b"C\x04abcdtR."
    survey = surveys.every_survey(array)
    assert survey.complete
    with pytest.raises(ValueError, match="has objects|described|holds objects|its bytes|no dtype"):
        fastpersist.read_array(io.BytesIO(array), "")


OBJECTS = dtype("O8", "|", -1, 63)


@pytest.mark.parametrize("body", [b"\x80\4N.", b"", b"N"])
@pytest.mark.parametrize("made", [wrapper(0, OBJECTS), wrapper(0), wrapper(3)])
def test_none_is_in_a_graph_of_ours(made, body, tmp_path):
    """It has no bytes but its opcodes."""
    frames = b"".join(forge.frames(part) for part in (made, body) if part)
    data = forge.dump([], graph=frames)
    path = tmp_path / "file"
    path.write_bytes(data)
    for survey in (surveys.of_descriptor(data)[0], surveys.of_file(io.BytesIO(data))):
        assert isinstance(survey.damage, CorruptFileError)
        assert WRAPPER[1:-1].decode().split("\n") == list(survey.globals[0][:2])
    for source in (path, io.BytesIO(data)):
        with pytest.raises(CorruptFileError, match="a joblib array in a graph"):
            fastpersist.load(source)


def test_arrays_of_objects_from_joblib_are_followed():
    joblib = pytest.importorskip("joblib")
    value = [np.array([{1: 2}, None, np.arange(3)], object), np.arange(5)]
    for protocol in range(6):
        file = io.BytesIO()
        joblib.dump(value, file, protocol=protocol)
        data = file.getvalue()
        survey = surveys.check(surveys.every_survey(data), len(data))
        assert not UNSURE & surveys.odd(survey).keys()
        assert fastpersist.read_array(io.BytesIO(data), "[1]").tolist() == list(range(5))

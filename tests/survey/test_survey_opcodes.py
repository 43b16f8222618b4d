"""The survey and the unpickler read the same opcodes: the table beside pickletools, and both
parsers beside each other."""

import io
import itertools
import pickle
import pickletools

import fastpersist
import pytest
import surveys
from fastpersist import _core
from helpers import examples
from hypothesis import given
from hypothesis import strategies as st

TABLE = _core.opcodes()
ARGUMENTS = {
    "uint1": "1",
    "uint2": "2",
    "int4": "4",
    "uint4": "4",
    "uint8": "8",
    "float8": "8",
    "stringnl": "LINE",
    "stringnl_noescape": "LINE",
    "unicodestringnl": "LINE",
    "decimalnl_short": "LINE",
    "decimalnl_long": "LINE",
    "floatnl": "LINE",
    "stringnl_noescape_pair": "TWO_LINES",
    **dict.fromkeys(("string1", "bytes1", "unicodestring1", "long1"), "COUNT_1"),
    **dict.fromkeys(("string4", "bytes4", "unicodestring4", "long4"), "COUNT_4"),
    **dict.fromkeys(("unicodestring8", "bytes8", "bytearray8"), "COUNT_8"),
}


def test_the_table_is_that_of_pickletools():
    expected = set()
    for op in pickletools.opcodes:
        before = [item.name for item in op.stack_before]
        pops = -1 - before.index("mark") if "mark" in before else len(before)
        argument = "NONE" if op.arg is None else ARGUMENTS[op.arg.name]
        row = (op.name, ord(op.code), argument, op.proto, pops, len(op.stack_after))
        expected.add(row)
    assert set(TABLE) == expected and len(TABLE) == len(expected)


def unpickled(data):
    """Whether the unpickler reads it, or what it says."""
    try:
        fastpersist.loads(data, buffers=itertools.repeat(b"buffer"), encoding="latin1")
    except Exception as error:
        return type(error), str(error)
    return None


def surveyed(data):
    survey = surveys.every_survey(data)
    return survey


def test_what_is_no_opcode_is_none_to_both():
    known = {row[1] for row in TABLE}
    for code in range(256):
        data = bytes([code])
        if code not in known:
            assert "invalid load key" in unpickled(data + b".")[1]
            assert "invalid load key" in str(surveyed(data + b".").damage)


SAMPLES = {
    "NONE": b"",
    "1": b"\1",
    "2": b"\1\0",
    "4": b"\1\0\0\0",
    "8": b"\1\0\0\0\0\0\0\0",
    "LINE": b"1\n",
    "TWO_LINES": b"builtins\nlist\n",
    "COUNT_1": b"\3abc",
    "COUNT_4": b"\3\0\0\0abc",
    "COUNT_8": b"\3\0\0\0\0\0\0\0abc",
}
SPECIAL = {"STRING": b"'a'\n", "GET": b"0\n", "BINGET": b"\0", "LONG_BINGET": b"\0\0\0\0"}


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row[0])
def test_arguments_are_as_long_for_both(row):
    name, code, kind, *_ = row
    argument = SPECIAL.get(name, SAMPLES[kind])
    if name == "FRAME":
        argument, rest = SAMPLES["8"], b"N"
    else:
        rest = b""
    # On the stack: enough for any opcode, with marks between; a memo with something at 0.
    start = b"\x80\5Np0\n" + b"((]N(cbuiltins\nlist\n)" + (b"}" if name == "NEWOBJ_EX" else b"")
    whole = start + bytes([code]) + argument + rest
    survey = surveyed(whole + b"N.")
    seen = unpickled(whole + b"N.")
    if name not in ("EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "STOP"):
        assert survey.complete == (seen is None) or survey.n_undecided > 0, seen
    # Each byte of the argument is asked for by both, and no further one.
    for n in range(len(argument)):
        cut = start + bytes([code]) + argument[:n]
        survey = surveyed(cut)
        assert not survey.complete
        assert isinstance(survey.damage, fastpersist.TruncatedFileError), survey.damage
        if name != "PERSID":  # there is nobody to ask
            assert "truncated" in unpickled(cut)[1] or unpickled(cut)[0] is EOFError


def test_frames():
    """Where a frame may end, and where not: as the unpickler has it."""
    frame = b"\x95" + (3).to_bytes(8, "little")
    for body in (b"NN0N.", b"K\1K\2\x86.", b"(NtNN.", b"\x8c\3abc0N.", b"I1\n0N.", frame + b"N0N."):
        for n in range(6):
            data = b"\x80\4\x95" + n.to_bytes(8, "little") + body
            survey = surveyed(data)
            if not survey.complete:
                assert survey.damage is not None
            else:
                assert unpickled(data) is None
    survey = surveyed(b"\x80\4\x95" + (1).to_bytes(8, "little") + b"K\1.")
    assert survey.complete and surveys.odd(survey) == {"frame that ends inside an opcode": 1}
    for straddling in (b"\x8c\3abc", b"M\1\1", b"X\3\0\0\0abc", b"I12\n", b"cos\nname\n"):
        for n in range(2, len(straddling)):
            data = b"\x80\4\x95" + n.to_bytes(8, "little") + straddling + b"."
            survey = surveyed(data)
            assert survey.complete or "exhausted before end of frame" in str(survey.damage)
    nested = b"\x80\4\x95" + (20).to_bytes(8, "little") + frame + b"N" * 11 + b"."
    assert "beginning of a new frame" in str(surveyed(nested).damage)


_lines = st.sampled_from(
    [b"0", b"1", b"-5", b"00", b"01", b"1L", b"-12L", b"1.5", b"1e5", b"inf", b"x", b"", b"''"]
)
_opcode = st.sampled_from(TABLE)


@st.composite
def streams(draw):
    """Opcodes that follow one another as they come, most of them with what they need."""
    out = b"\x80" + bytes([draw(st.integers(0, 5))])
    for _ in range(draw(st.integers(1, 25))):
        name, code, kind, *_ = draw(_opcode)
        if name in ("STOP", "PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "FRAME", "PROTO"):
            continue
        if name in ("GLOBAL", "INST", "STACK_GLOBAL"):
            continue
        if draw(st.booleans()):
            out += draw(
                st.sampled_from([b"N", b"(", b"]", b"}", b")", b"K\1", b"\x8c\1a", b"\x8f"])
            )
        out += bytes([code])
        if kind in "1248":
            out += draw(st.binary(min_size=int(kind), max_size=int(kind)))
        elif kind == "LINE":
            out += draw(_lines) + b"\n"
        elif kind.startswith("COUNT"):
            data = draw(st.binary(max_size=4))
            out += len(data).to_bytes(int(kind[-1]), "little") + data
    return out + b"."


EMPTY = [
    head + value + b"(" + opcode + b"."
    for head in (b"", b"\x80\5")
    for value in (b"]", b"}", b"\x8f", b"N", b"I0\n", b"cbuiltins\nlist\n)R", b"K\1\x85", b"\x97")
    for opcode in (b"e", b"u", b"\x90")
]


@pytest.mark.parametrize("data", EMPTY)
def test_no_items_for_any_value(data):
    """Not every Python asks for a method then."""
    agree(data)


ENDED = [
    b"",
    b" ",
    b"-",
    b"+",
    b"0",
    b"7",
    b"01",
    b"-1",
    b" 1 ",
    b"0x",
    b"1_0",
    b"1L",
    b"L",
    b"1.",
    b"e",
]


@pytest.mark.parametrize("opcode", [b"I", b"L", b"F"])
@pytest.mark.parametrize(
    "line", [before + b"\0" + after for before in ENDED for after in (b"", b"\x92")]
)
def test_lines_with_a_nul(opcode, line):
    """C ends a number there, and some of its functions take nothing for 0."""
    agree(opcode + line + b"\n.")
    agree(b"N" + b"p" + line + b"\n.")
    agree(b"Np0\n0g" + line + b"\n.")


def agree(data):
    """Where no name is asked for, both reach STOP or neither; what the survey leaves undecided
    may go either way in a load."""
    survey = surveys.of_descriptor(data)[0]
    try:
        fastpersist.loads(data, buffers=itertools.repeat(b"buffer"))
        is_loaded = True
    except (MemoryError, RecursionError):
        return
    except Exception as caught:
        is_loaded, error = False, caught
    if is_loaded:
        assert survey.complete, (survey.damage, pickletools.genops)
    elif survey.n_undecided == 0:
        assert not survey.complete, error


@given(streams())
@examples(400)
def test_generated_streams(data):
    agree(data)


def test_what_both_refuse():
    for data in (
        b".",
        b"",
        b"0.",
        b"1.",
        b"(.",
        b"a.",
        b"Na.",
        b"]Na",
        b"(a.",
        b"t.",
        b"e.",
        b"](",
        b"u.",
        b"}(Nu.",
        b"}](Nu.",
        b"d.",
        b"(Nd.",
        b"(](dd.",
        b"}]Ns.",
        b"}}Ns.",
        b"}](ts.",
        b"}(]tNs.",
        b"}(]t\x85Ns.",
        b"\x8f(]\x90.",
        b"(]\x91.",
        b"NR.",
        b"N)R.",
        b"\x81.",
        b"N)\x81.",
        b"b.",
        b"\x93.",
        b"NN\x93.",
        b"h\0.",
        b"j\0\0\0\0.",
        b"g0\n.",
        b"p0\n.",
        b"q\0.",
        b"\x94.",
        b"Np-1\n.",
        b"Npx\n.",
        b"Ix\n.",
        b"I\n.",
        b"L\n.",
        b"Lx\n.",
        b"Fx\n.",
        b"F\n.",
        b"S\n.",
        b"Sa\n.",
        b"S'\n.",
        b"V\\u12\n.",
        b"V\\U00110000\n.",
        b"\x80\6N.",
        b"\x98.",
        b"2.",
        b"\x8b\xff\xff\xff\xff.",
        b"X\1\0\0\0\xff.",
        b"\x8c\2\xc3(.",
        b"\x8c\3\xed\xa0.",
        b"c\nx\n.",
        b"co\n\n.",
        b"\x82\0.",
        b"cbuiltins\nlist\nNR.",
        b"N(2.",
        b"N(\x85.",
        b"(i\n\n.",
        b"(o.",
        b"(No.",
    ):
        assert unpickled(data) is not None, data
        survey = surveyed(data) if data else None
        assert survey is None or not survey.complete, data


def test_what_both_take():
    for data in (
        b"N.",
        b"(N.",
        b"((N.",
        b"NN.",
        b"]Na.",
        b"](e.",
        b"}(u.",
        b"\x8f(\x90.",
        b"(t.",
        b"(l.",
        b"(d.",
        b"(\x91.",
        b"(1N.",
        b"(0N.",
        b"N2\x86.",
        b"I00\n.",
        b"I01\n.",
        b"L5L\n.",
        b"F1.5\n.",
        b"V\\u0041\n.",
        b"S'a'\n.",
        b"U\1a.",
        b"T\1\0\0\0a.",
        b"\x8a\0.",
        b"\x8b\0\0\0\0.",
        b"\x8c\3\xed\xa0\x80.",
        b"Np5\ng5\n.",
        b"N\x94h\0.",
        b"Nq\5\x94h\1.",
        b"})Ns.",
        b"}N)s.",
        b"](K\1e.",
        b"\x80\2\x80\4N.",
    ):
        assert unpickled(data) is None, data
        survey = surveyed(data)
        assert survey.complete and survey.n_undecided == 0, data


def test_the_result_is_what_lies_on_top():
    for data in (b"NK\1.", b"(K\1(K\2."):
        survey = surveyed(data)
        assert survey.complete
        if survey.odd:
            assert "value left on the stack" in surveys.odd(survey)
        kinds = surveys.NAMES["kinds"]
        root = surveys.records(survey, "nodes")[survey.root]
        assert kinds[root["kind"]] == type(pickle.loads(data)).__name__


@pytest.mark.parametrize("n_left", [0, 1, 10, 70_000, 131_072, 131_073, 1 << 20, 1 << 62])
@pytest.mark.parametrize("n_there", [0, 1, 10, 70_000, 131_072, 131_073, 1 << 20])
def test_a_frame_that_goes_on_behind_stop(n_left, n_there):
    """An unpickler wants all of it to be there."""
    body = pickle.dumps([1, "a" * 100], 3)[2:]
    data = b"\x80\4\x95" + (len(body) + n_left).to_bytes(8, "little") + body + b"x" * n_there
    agree(data)
    survey = surveys.every_survey(data)
    assert survey.complete == (n_left <= n_there)
    assert survey.complete or isinstance(survey.damage, fastpersist.TruncatedFileError)


@pytest.mark.parametrize("n_bytes", [100, 131_071, 131_072, 140_000, 195_000, 400_000])
@pytest.mark.parametrize("n_rest", [0, 1, 100_000])
def test_long_lines_in_frames(n_bytes, n_rest):
    """A file object is asked for no more than the frame has."""
    body = b"V" + b"x" * n_bytes + b"\n" + b"N0" * n_rest + b"."
    data = b"\x80\4\x95" + len(body).to_bytes(8, "little") + body
    survey = surveys.check(surveys.every_survey(data), len(data))
    assert survey.n_opcodes == 4 + 2 * n_rest
    file = io.BytesIO(data + b"behind")
    assert surveys.of_file(surveys.Stingy(file.getvalue(), 1 << 20)).complete
    assert surveys.of_file(file).complete and file.read() == b"behind"

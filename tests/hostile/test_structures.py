"""Files that somebody made up: every hash is right, the rest is not. Small files that want much.

What test_load.py and test_unpickler_damage.py have is not repeated here.
"""

import bz2
import gzip
import io
import lzma
import pickle
import random
import struct
import zlib

import fastpersist
import forged_files as forge
import format_reader
import numpy as np
import pytest
from compare import assert_isomorphic
from fastpersist import CorruptFileError
from helpers import EFFORT, FRUGAL, file_bytes, outcome, run_python

joblib = pytest.importorskip("joblib")

LARGE = np.arange(4096.0)
BLOBS = [(0, LARGE.tobytes()), (0, LARGE[:16].tobytes()), (1, b"b" * 17000), (2, b"s" * 17000)]


def by_path(data, tmp_path, **keywords):
    path = tmp_path / "file"
    path.write_bytes(data)
    return fastpersist.load(path, **keywords)


def by_stream(data, tmp_path, **keywords):
    return fastpersist.load(io.BytesIO(data), **keywords)


def by_map(data, tmp_path):
    return by_path(data, tmp_path, mmap_mode="c")


def by_lz4(data, tmp_path):
    return by_path(lz4_frame(data), tmp_path)


def by_verify(data, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(data)
    fastpersist.verify(path)


def lz4_frame(data):
    """One frame of stored blocks: any bytes as a stream of the codec."""
    out = b"\x04\x22\x4d\x18\x60\x70\x73"
    for i in range(0, len(data), 1 << 22):
        block = data[i : i + (1 << 22)]
        out += struct.pack("<I", len(block) | 1 << 31) + block
    return out + bytes(4)


ways = pytest.mark.parametrize(
    "load", [by_path, by_stream, by_map, by_lz4, by_verify], ids=lambda way: way.__name__
)


def test_the_frame_of_stored_blocks_is_one(tmp_path):
    assert by_lz4(file_bytes([1, 2]), tmp_path) == [1, 2]


# ---------------------------------------------------------------- footers

FIELDS = [
    "flags",
    "total_length",
    "arrays_offset",
    "arrays_length",
    "graph_offset",
    "graph_length",
    "n_blobs",
    "table_bytes",
    "n_hashes",
    "environment_bytes",
]
NUMBERS = [0, 1, 20, 63, 64, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 62, 1 << 63, (1 << 64) - 64]
NUMBERS += [(1 << 64) - 1]


def right_fields(data):
    start = format_reader.read(data).footer.start + 5 + 20
    return dict(zip(FIELDS, struct.unpack_from("<I9Q", data, start), strict=True))


@ways
@pytest.mark.parametrize("field", FIELDS)
def test_no_number_in_the_head_but_the_right_one(load, field, tmp_path):
    whole = forge.dump(BLOBS)
    load(whole, tmp_path)
    right = right_fields(whole)[field]
    for number in {*NUMBERS, right - 1, right + 1, right - 64, right + 64, right * 2} - {right}:
        if field == "flags":
            number &= (1 << 32) - 1
        if number == right or number < 0:
            continue
        if field == "environment_bytes" and right < number < right + 64:
            continue  # zeros of the padding in it
        with pytest.raises(CorruptFileError) as caught:
            load(forge.dump(BLOBS, **{field: number}), tmp_path)
        assert caught.value.offset is not None and caught.value.section


@ways
def test_any_two_numbers_in_the_head(load, tmp_path):
    chance = random.Random(0)
    right = right_fields(forge.dump(BLOBS))
    for _ in range(300):
        head = {}
        for field in chance.sample(FIELDS[1:], 2):
            step = chance.choice([1, 8, 64, 1 << 20, 1 << 40, 1 << 63]) * chance.choice([1, -1])
            head[field] = (right[field] + step) % (1 << 64)
        with pytest.raises(CorruptFileError):
            load(forge.dump(BLOBS, **head), tmp_path)


@ways
def test_any_entry_of_the_blob_table(load, tmp_path):
    chance = random.Random(1)
    for _ in range(300):
        i, j = chance.randrange(len(BLOBS)), chance.randrange(3)
        step = chance.choice([1, 3, 4, 64, 256, 1 << 32, 1 << 61, 1 << 63]) * chance.choice([1, -1])

        def change(entries, i=i, j=j, step=step):
            entry = list(entries[i])
            entry[j] = (entry[j] + step) % (1 << 64)
            return [*entries[:i], tuple(entry), *entries[i + 1 :]]

        data = forge.dump(BLOBS, change_table=change)
        try:
            load(data, tmp_path)
        except CorruptFileError as error:
            assert error.offset is not None and error.section
        else:  # a map compares the opcodes around a payload when that is asked for
            assert load is by_map


@pytest.mark.parametrize(
    "environment",
    [b"", b"not json", b"[]", b"{", b"\xff\xfe", b"null", b"1e999", b"[" * 100_000, b'"' * 5]
    + [b'{"python":[1]}', b'{"packages":3}', b'{"packages":{"a":null}}', b'{"python":"\\ud800"}'],
    ids=range(13),
)
def test_an_environment_that_is_none(environment, tmp_path):
    data = forge.dump(environment=environment)
    for load in (by_path, by_stream, by_map, by_verify):
        assert load(data, tmp_path) is None
    missing = b"\x8c\x0eno_such_module\x8c\x01a\x93"
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        by_path(forge.dump(opcodes=missing, environment=environment), tmp_path)


def test_parts_of_two_dumps(tmp_path):
    """Sidecar, graph and footer of two dumps that differ in nothing but values."""
    datas = [file_bytes({"a": LARGE + i, "b": [i, "text"]}) for i in range(2)]
    one, other = (format_reader.read(data) for data in datas)
    assert one.footer == other.footer
    parts = [(0, 21), (21, one.graph.start), (one.graph.start, one.footer.start)]
    parts += [(one.footer.start, len(datas[0]))]
    for chosen in range(1, 15):
        mixed = b"".join(datas[chosen >> i & 1][a:b] for i, (a, b) in enumerate(parts))
        if mixed in datas:  # headers are equal
            continue
        for load in (by_path, by_stream, by_lz4, by_verify):
            with pytest.raises(CorruptFileError):
                load(mixed, tmp_path)
        with pytest.raises(CorruptFileError):
            by_path(mixed, tmp_path, mmap_mode="r", verify="full")


# ---------------------------------------------------------------- graphs

ARRAY = b"\x8c\x05numpy\x8c\x07ndarray\x93("
PIECES = [b"h\0", b"h\1", b"h\2", b"h\3", b"q\0", b"q\1", b"q\5", b"h\5", b"0", b"1", b"2", b"("]
PIECES += [b"t", b"R", b"}", b"]", b"e", b"u", b"a", b"s", b"b", b"N", b"K\2", b"\x8c\1a", b"\x85"]
PIECES += [b"\x86", b"\x93", b"\x81", b"\x8f", b"\x90", b"\x91", b"\x94", b"K\x10\x85"]
PIECES += [
    b"M\0\x10\x85",
    ARRAY,
    ARRAY + b"K\x10\x85\x8c\3<f8h\1tR",
    ARRAY + b"M\0\x10\x85\x8c\3<f8h\0tR",
]
PIECES += [ARRAY + b"M\0\x08\x85\x8c\3>f8h\0M\0\x40tR", ARRAY + b"K\x05\x85\x8c\2u1h\2tR"]
PIECES += [ARRAY + b"K\2K\3\x86\x8c\2i1h\1K\1NtR", ARRAY + b"K\0\x85\x8c\3<f8tR", b"\x8c\3<f8"]
PIECES += [ARRAY + b"K\2K\2\x86\x8c\3<i4h\0K\x08(K\4K\x08ttR", ARRAY + b"h\0h\1tR", b"N\x8c\1FtR"]


def is_error(result):
    return (
        type(result) is tuple
        and len(result) == 2
        and isinstance(result[0], type)
        and issubclass(result[0], Exception)
    )


def test_odd_uses_of_blobs_mean_what_pickle_makes_of_them(tmp_path):
    """pickle reads the same files, and is asked what a graph means."""
    chance = random.Random(2)
    n_values = 0
    n_files = 2000 * EFFORT
    for _ in range(n_files):
        opcodes = b"".join(chance.choices(PIECES, k=chance.randrange(1, 9)))
        if chance.random() < 0.7:
            opcodes = b"(" + opcodes + b"t"
        data = forge.dump(BLOBS, opcodes)
        expected = outcome(pickle.loads, data)
        for load in (by_path, by_stream):
            got = outcome(load, data, tmp_path, ensure_native_byte_order=False)
            if "does not leave one object" in str(got):
                continue  # pickle drops what lies below the result
            if is_error(expected):
                assert is_error(got), (opcodes, expected, got)
            else:
                assert_isomorphic(expected, got)
                n_values += 1
        outcome(by_map, data, tmp_path)  # its arrays are of another type
    assert n_values > n_files // 12


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13])
@ways
def test_opcodes_that_cross_frames(load, size, tmp_path):
    opcodes = pickle.dumps([1, "some text", b"bytes", 300, 70000, 2.5, {"k": (1, 2)}], 3)[2:-1]
    with pytest.raises(pickle.UnpicklingError):
        load(forge.dump(graph=forge.frames(opcodes, size)), tmp_path)


@pytest.mark.parametrize(
    "opcodes",
    [
        b"Nr\xff\xff\xff\xff",
        b"N" + b"".join(b"r%c%c%c\xff" % (i, i, i) for i in range(200)),
        b"Np9999999999999999\n",
        b"j\xff\xff\xff\xff",
        b"\x8e" + struct.pack("<Q", 1 << 62),
        b"\x8d" + struct.pack("<Q", 1 << 33) + b"a",
        b"\x96" + struct.pack("<Q", (1 << 63) - 1) + b"a",
        b"B\xff\xff\xff\xffa",
        b"T\xff\xff\xff\x7fa",
        b"\x8b\xff\xff\xff\x7fa",
        b"\x95" + struct.pack("<Q", 1 << 40) + b"N",
        b"((((((((tttttttttttttt",
        b"(" * 1000 + b"1" * 1001,
        b"N" + b"2" * 100 + b"0" * 102,
        b"}(NNN" + b"u",
        b"]N\x90",
        b"\x85",
        b"e",
        b"N.N",
        b"\xfe",
        b"\x80\x06N",
    ],
    ids=range(21),
)
def test_graphs_that_lie_take_no_memory(opcodes, tmp_path):
    paths = []
    for i, data in enumerate((forge.dump(BLOBS, opcodes), b"\x80\x05" + opcodes + b".")):
        for j, content in enumerate((data, lz4_frame(data), zlib.compress(data))):
            paths.append(tmp_path / f"{i}{j}")
            paths[-1].write_bytes(content)
    # The first three are pickles: a memo may have holes.
    watched(64, "may_load=True", *paths)


# ---------------------------------------------------------------- small files that want much

# Loads each path in every way; an exception is expected, and less memory than so many MiB. The
# keywords of load() come as text; `may_load`: an exception is not needed.
WATCHED = """
import sys, warnings
import fastpersist, numpy, joblib.numpy_pickle
from peak import peak_kib
most, keywords, *paths = sys.argv[1:]
keywords = eval(f"dict({keywords})")
may_load = keywords.pop("may_load", False)
expected = (fastpersist.UnpicklingError, ValueError, OverflowError, IndexError, TypeError)
def try_it(call, *arguments, **keywords):
    try:
        call(*arguments, **keywords)
    except expected as error:
        return error
    return None
for path in paths:
    with open(path, "rb") as file:
        size = len(file.read())
    before = peak_kib()
    errors = [try_it(fastpersist.load, path, **keywords)]
    with open(path, "rb") as file:
        errors.append(try_it(fastpersist.load, file, **keywords))
    with open(path, "rb", buffering=0) as file:
        errors.append(try_it(fastpersist.load, file, **keywords))
    keywords_of_verify = {k: v for k, v in keywords.items() if k == "max_bytes"}
    if keywords_of_verify:
        errors.append(try_it(fastpersist.verify, path, **keywords_of_verify))
    assert may_load or None not in errors, (path, errors)
    growth = (peak_kib() - before) // 1024
    assert growth <= int(most) + 4 * size // 2**20, (path, growth, errors)
"""
BOMB_BYTES = 128 << 20  # twice what a load may grow by


def watched(most, keywords, *paths):
    run_python(WATCHED, most, keywords, *paths, env=FRUGAL)


def codecs():
    yield "zlib", lambda data: zlib.compress(data, 1)
    yield "gzip", lambda data: gzip.compress(data, 1)
    yield "bz2", lambda data: bz2.compress(data, 1)
    yield "xz", lambda data: lzma.compress(data, preset=0)


@pytest.fixture(scope="module")
def bombs(tmp_path_factory):
    """Small files that become large: by name, what stands in them and in which codec."""
    directory = tmp_path_factory.mktemp("bombs")
    zeros = bytes(BOMB_BYTES)
    ours = file_bytes([np.zeros(BOMB_BYTES, "u1"), 1])
    contents = {
        "zeros": zeros,
        "ours": ours,
        "pickle": b"\x80\x05\x8e" + struct.pack("<Q", BOMB_BYTES) + zeros + b".",
        "text": b"V" + b"a" * BOMB_BYTES + b"\n.",
        "graph": forge.dump(opcodes=b"]" * BOMB_BYTES),
        "frames": b"\x80\x05" + b"N0" * (BOMB_BYTES // 2) + b"N.",
    }
    paths = {}
    for name, data in contents.items():
        paths[name] = directory / f"{name}.zlib"
        paths[name].write_bytes(zlib.compress(data, 1))
    for codec, compress in codecs():
        paths[f"ours in {codec}"] = directory / f"ours.{codec}"
        paths[f"ours in {codec}"].write_bytes(compress(ours))
    path = directory / "joblib"
    joblib.dump(np.zeros(BOMB_BYTES, "u1"), path, compress=3)
    paths["joblib"] = path
    path = directory / "lz4"
    with open(path, "wb") as file:
        fastpersist.dump(np.zeros(BOMB_BYTES, "u1"), file, compress="lz4")
    paths["lz4"] = path
    for path in paths.values():
        assert path.stat().st_size < 5 << 20
    return paths


@pytest.mark.slow
@pytest.mark.parametrize("max_bytes", [0, 1000, 1 << 20])
def test_bombs_are_bounded_by_max_bytes(bombs, max_bytes):
    watched(64, f"max_bytes={max_bytes}", *bombs.values())


def test_a_small_bomb_is_bounded_by_max_bytes(tmp_path):
    paths = []
    for name, compress in codecs():
        for i, data in enumerate((file_bytes(bytes(100 << 20)), bytes(100 << 20))):
            paths.append(tmp_path / f"{name}{i}")
            paths[-1].write_bytes(compress(data))
    watched(32, "max_bytes=1000000", *paths)


def test_max_bytes_is_exact(tmp_path):
    """Of files of ours and of others: as many bytes as there are suffice, one less does not."""
    path = tmp_path / "file"
    value = [np.arange(5000), "text", b"x" * 20000]
    ours = file_bytes(value)
    plain = pickle.dumps(value, 5)
    plain_0 = pickle.dumps([1, "text", 2.5], 0)
    file = io.BytesIO()
    joblib.dump(value, file)
    for data in (ours, plain, plain_0, file.getvalue()):
        for content in (data, zlib.compress(data), gzip.compress(data), lz4_frame(data)):
            path.write_bytes(content)
            fastpersist.load(path, max_bytes=len(data))
            fastpersist.verify(path, max_bytes=len(data))
            with open(path, "rb") as source:
                fastpersist.load(source, max_bytes=len(data))
            for less in (1, 2, 100, len(data) - 22, len(data)):
                limit = max(0, len(data) - less)
                with pytest.raises(pickle.UnpicklingError, match=f"max_bytes={limit} "):
                    fastpersist.load(path, max_bytes=limit)
                with (
                    open(path, "rb") as source,
                    pytest.raises(pickle.UnpicklingError, match=f"max_bytes={limit} "),
                ):
                    fastpersist.load(source, max_bytes=limit)


def test_max_bytes_of_maps_and_pairs(tmp_path):
    path, sidecar = tmp_path / "file", tmp_path / "sidecar"
    fastpersist.dump(np.arange(100_000), path)
    fastpersist.load(path, mmap_mode="r", max_bytes=1000)
    with pytest.raises(pickle.UnpicklingError, match="max_bytes"):
        fastpersist.load(path, mmap_mode="r", max_bytes=10)
    fastpersist.dump(np.arange(100_000), path, sidecar=sidecar)
    fastpersist.load(path, sidecar=sidecar, max_bytes=1_000_000)
    fastpersist.load(path, sidecar=sidecar, mmap_mode="r", max_bytes=1000)
    for opened in (False, True):
        other = open(sidecar, "rb") if opened else sidecar
        with pytest.raises(pickle.UnpicklingError, match="max_bytes"):
            fastpersist.load(path, sidecar=other, max_bytes=700_000)
        if opened:
            other.close()


def test_what_joblib_reads_itself_has_no_limit(tmp_path):
    path = tmp_path / "old"
    path.write_bytes(b"ZF0x1")
    with pytest.raises(ValueError, match="max_bytes"):
        fastpersist.load(path, max_bytes=1000)


HUGE = struct.pack("<Q", 1 << 40)
SHAPE = b"\x8a\x06\0\0\0\0\0\1\x85"  # (2 ** 40,)


def lying_streams():
    header = format_reader.HEADER
    prefix = b"C%c%b0" % (31, bytes(31))
    yield header + prefix + b"\x96" + HUGE + b"x" * 1000
    yield header + prefix + b"\x8e" + HUGE + b"x" * 1000
    yield header + prefix + b"\x8d" + HUGE + b"x" * 1000
    yield header + b"\x95" + HUGE + b"x" * 1000
    yield header + b"\x8e" + HUGE + b"x" * 1000
    yield b"\x80\x05\x8e" + HUGE + b"x" * 1000
    yield b"\x80\x05\x96" + HUGE + b"x" * 1000
    yield b"\x80\x05\x8d" + HUGE + b"x" * 1000
    yield b"\x80\x05\x95" + HUGE + b"x" * 1000
    yield (
        b"\x80\x04\x8c\x13joblib.numpy_pickle\x8c\x11NumpyArrayWrapper\x93)\x81}("
        b"\x8c\x08subclass\x8c\x05numpy\x8c\x07ndarray\x93\x8c\x05shape"
        + SHAPE
        + b"\x8c\x05order\x8c\x01C\x8c\x05dtype\x8c\x05numpy\x8c\x05dtype\x93\x8c\x02f8\x89"
        b"\x88\x87R\x8c\x0aallow_mmap\x89ub" + b"x" * 1000
    )


def test_streams_that_lie_about_lengths_take_no_memory(tmp_path):
    paths = []
    for i, data in enumerate(lying_streams()):
        for name, content in (
            ("plain", data),
            ("zlib", zlib.compress(data)),
            ("gzip", gzip.compress(data)),
            ("lz4", lz4_frame(data)),
            # A content size in the header that is not true.
            ("sized", b"\x04\x22\x4d\x18\x68\x70" + HUGE + b"\x3c" + lz4_frame(data)[7:]),
        ):
            paths.append(tmp_path / f"{i}{name}")
            paths[-1].write_bytes(content)
    # Beyond what has arrived at most 64 MiB are taken.
    watched(100, "", *paths)


def test_sidecars_that_lie_about_lengths_take_no_memory(tmp_path):
    main, sidecar = tmp_path / "main", tmp_path / "sidecar"
    fastpersist.dump([np.arange(5000)], main, sidecar=sidecar)
    data = bytearray(sidecar.read_bytes())
    at = data.index(b"writable") + 8
    data[at : at + 8] = HUGE
    sidecar.write_bytes(data)
    run_python(
        """
import sys, fastpersist
from peak import peak_kib
main, sidecar = sys.argv[1:]
before = peak_kib()
for second in (sidecar, open(sidecar, "rb")):
    for call in (fastpersist.load, fastpersist.verify):
        try:
            call(main, sidecar=second)
        except fastpersist.CorruptFileError:
            pass
        else:
            raise AssertionError
        if second is not sidecar:
            second.seek(0)
assert peak_kib() - before < 100 << 10
""",
        main,
        sidecar,
        warnings="ignore",
    )


# ---------------------------------------------------------------- depth

# At 32 bytes of the C stack a level, recursion would need it all.
DEPTH = 1 << 18
DEEP = {
    "lists": b"]" * DEPTH + b"a" * (DEPTH - 1),
    "tuples": b")" + b"\x85" * DEPTH,
    "marks": b"(" * DEPTH + b"l" * DEPTH,
    "dicts in dicts": b"}K\0" * DEPTH + b"N" + b"s" * DEPTH,
}


@pytest.mark.parametrize("kind", DEEP)
def test_many_levels(kind, tmp_path):
    graph = DEEP[kind]
    paths = []
    for name, data in (
        ("ours", forge.dump(graph=forge.frames(graph, len(graph)))),
        ("pickle", b"\x80\x05" + graph + b"."),
    ):
        for codec, content in (("", data), ("zlib", zlib.compress(data, 1))):
            paths.append(tmp_path / f"{name}{codec}")
            paths[-1].write_bytes(content)
    run_python(
        """
import sys, fastpersist
for path in sys.argv[1:]:
    fastpersist.verify(path)
    value = fastpersist.load(path)
    n = 0
    while value:
        n += 1
        value = value[0]
    print(path, n)
    with open(path, "rb") as file:
        fastpersist.load(file)
""",
        *paths,
    )


def test_object_arrays_in_object_arrays_in_joblibs_layout(tmp_path):
    """Each is C recursion: more than a hundred are refused."""
    wrapper = (
        b"\x80\x04\x8c\x13joblib.numpy_pickle\x8c\x11NumpyArrayWrapper\x93)\x81}("
        b"\x8c\x08subclass\x8c\x05numpy\x8c\x07ndarray\x93\x8c\x05shapeK\x01\x85"
        b"\x8c\x05order\x8c\x01C\x8c\x05dtype\x8c\x05numpy\x8c\x05dtype\x93\x8c\x02O8\x89\x88\x87R"
        b"\x8c\x0aallow_mmap\x89ub"
    )
    data = wrapper * 50 + b"N." + b"." * 50
    for check in (by_verify, by_path, by_stream):
        check(data, tmp_path)
    data = wrapper * 100_000 + b"N." + b"." * 100_000
    for check in (by_verify, by_path, by_stream):
        with pytest.raises(CorruptFileError, match="nested"):
            check(data, tmp_path)

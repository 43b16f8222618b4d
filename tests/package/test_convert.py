"""Files written anew with nothing of them run: what a load gives of both is equal, in every layout,
and what cannot be followed is refused with the reason.
"""

import collections
import copyreg
import datetime
import decimal
import functools
import io
import json
import pickle

import array_values
import fastpersist
import joblib
import numpy as np
import pytest
import sample_classes
import values
from compare import assert_isomorphic
from fastpersist import cli
from fastpersist.convert import Unsettled, convert
from helpers import NIGHT, run_python
from helpers import run_command as command

pytestmark = pytest.mark.usefixtures("nothing_else_is_collected")

A = np.arange(3000.0)
RECURSIVE = sample_classes.Plain(a=1)
RECURSIVE.me = [RECURSIVE]
VALUES = {
    "plain": {"a": [1, 2.5, None, True, 2**70, "é", b"x", (1, (2,))], (1, "k"): {1, 2}},
    "shared": [[1]] * 3,
    "recursive": RECURSIVE,
    "instances": [
        sample_classes.Plain(x=1),
        sample_classes.Slots(1, 2),
        sample_classes.GetState([1]),
        sample_classes.Reduce(1),
        sample_classes.NewArgsEx(1, k=2),
        sample_classes.function,
        sample_classes.Colour.RED,
        sample_classes.ListSub([1]),
    ],
    "standard library": [
        datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC),
        decimal.Decimal("1.5"),
        collections.OrderedDict(a=1),
        collections.defaultdict(list, {1: [2]}),
        collections.deque([1, 2], 5),
        collections.Counter("abca"),
        functools.partial(int, base=2),
        frozenset([3]),
        1j,
        slice(1, 2),
        range(3),
        len,
        bytearray(b"abc"),
        b"",
    ],
    "arrays": {
        "one": A,
        "again": A,
        "view": A[::3],
        "fortran": np.asfortranarray(np.ones((30, 40))),
        "bool": np.zeros(4, bool),
        "days": np.array(["2020-01-01", "NaT"], "M8[D]"),
        "text": np.array(["a", "bc"]),
        "record": np.zeros(3, [("a", "i4"), ("b", "U3")]),
        "scalar": np.float32(1.5),
        "empty": np.zeros((0, 3)),
        "dtype": np.dtype("i8"),
        "objects": np.array([1, "x", None, [A + 1], sample_classes.Plain(x=1)], dtype=object),
    },
    "random": [np.random.RandomState(3), np.random.default_rng(3)],
    "large leaves": ["x" * 100_000, "é" * 50_000, b"x" * 100_000, bytearray(70_000)],
    "many": [{"id": i, "name": f"n{i}"} for i in range(3000)],
}
EVERYTHING = array_values.everything()
LAYOUTS = ("fastpersist", "joblib", "pickle")
SOURCES = {f"pickle, protocol {p}": functools.partial(pickle.dumps, protocol=p) for p in range(6)}


def _joblib(value, **options):
    with io.BytesIO() as file:
        joblib.dump(value, file, **options)
        return file.getvalue()


def _ours(value, **options):
    with io.BytesIO() as file:
        fastpersist.dump(value, file, **options)
        return file.getvalue()


SOURCES |= {
    "joblib": _joblib,
    "joblib, zlib": functools.partial(_joblib, compress=("zlib", 3)),
    "joblib, protocol 2": functools.partial(_joblib, protocol=2),
    "ours": _ours,
    "ours, gzip": functools.partial(_ours, compress="gzip"),
    "ours, joblib's layout": functools.partial(_ours, layout="joblib"),
}


def each_two_meet(name, source, layout):
    numbers = [list(table).index(key) for table, key in ((VALUES, name), (SOURCES, source))]
    return (sum(numbers) + LAYOUTS.index(layout)) % len(LAYOUTS) == 0


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", VALUES)
@pytest.mark.by_day(wanted=each_two_meet)
def test_a_load_of_both_is_equal(name, source, layout, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    value = VALUES[name]
    if name == "arrays" and layout == "joblib":
        value = {key: array for key, array in value.items() if key != "again"}  # is stored twice
    try:
        old.write_bytes(SOURCES[source](value))
    except TypeError as error:
        assert name == "instances" and "__slots__" in str(error)  # protocols 0 and 1
        return
    convert(old, new, layout=layout)
    want = joblib.load(old)
    assert_isomorphic(want, joblib.load(new))
    if layout != "joblib":
        with open(new, "rb") as file:
            assert_isomorphic(want, pickle.load(file))
    if layout == "fastpersist":
        fastpersist.verify(new)
        assert_isomorphic(want, fastpersist.load(new))
    # joblib's layout of what has no arrays is a plain pickle.
    assert fastpersist.inspect(new).layout in {layout, "pickle" if layout == "joblib" else layout}


CATALOGUE = dict(values.catalogue())


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_catalogue(name, tmp_path):
    value = CATALOGUE[name]()
    old, new = tmp_path / "old", tmp_path / "new"
    try:
        old.write_bytes(pickle.dumps(value, 4))
        want = pickle.loads(old.read_bytes())
    except Exception:
        pytest.skip("pickle cannot")
    try:
        convert(old, new)
    except Unsettled as error:
        assert "dropped" in str(error), error  # a state setter's call
        return
    assert_isomorphic(want, fastpersist.load(new))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
@pytest.mark.parametrize("name", EVERYTHING)
def test_every_array(name, tmp_path):
    value = EVERYTHING[name]()
    files = [_ours(value), pickle.dumps(value, 5), pickle.dumps(value, 3)]
    if getattr(getattr(value, "dtype", None), "itemsize", 1) > 0:  # joblib divides by it
        files.append(_joblib(value))
    if not NIGHT:
        at = list(EVERYTHING).index(name) % len(files)
        files = [files[0], files[at]] if at else files[:1]
    for data in files:
        (tmp_path / "old").write_bytes(data)
        want = fastpersist.load(tmp_path / "old", ensure_native_byte_order=False)
        convert(tmp_path / "old", tmp_path / "new")
        got = fastpersist.load(tmp_path / "new", ensure_native_byte_order=False)
        assert_isomorphic(want, got)
        if type(value) is np.ndarray and not value.dtype.hasobject and value.nbytes:
            got = fastpersist.load(tmp_path / "new", mmap_mode="r")
            assert isinstance(got, np.memmap) or not got.flags.owndata


def test_ours_is_the_same_file(tmp_path):
    value = [VALUES["plain"], VALUES["many"], VALUES["arrays"]["one"], VALUES["arrays"]["fortran"]]
    fastpersist.dump(value, tmp_path / "old")
    convert(tmp_path / "old", tmp_path / "new")
    assert (tmp_path / "old").read_bytes() == (tmp_path / "new").read_bytes()
    convert(tmp_path / "new", tmp_path / "new")  # itself
    assert (tmp_path / "old").read_bytes() == (tmp_path / "new").read_bytes()


def test_two_files(tmp_path):
    value = VALUES["arrays"]
    places = [tmp_path / name for name in ("one", "main", "second", "main 2", "second 2")]
    one, main, second, other_main, other_second = places
    fastpersist.dump(value, one)
    convert(one, main, sidecar=second)
    assert_isomorphic(fastpersist.load(one), fastpersist.load(main, sidecar=second))
    convert(main, other_main, sidecar=other_second, source_sidecar=second)
    assert main.read_bytes() == other_main.read_bytes()
    assert second.read_bytes() == other_second.read_bytes()
    convert(main, other_main, source_sidecar=second)
    assert_isomorphic(fastpersist.load(one), fastpersist.load(other_main))
    with pytest.raises(ValueError, match="sidecar"):
        convert(main, other_main)


def test_the_environment_is_kept(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    fastpersist.dump(np.random.default_rng(0), old)
    convert(old, new)
    assert fastpersist.inspect(new).environment == fastpersist.inspect(old).environment
    old.write_bytes(pickle.dumps(np.random.default_rng(0)))
    convert(old, new)
    environment = fastpersist.inspect(new).environment
    assert environment.python is None and environment.packages == ()
    report = fastpersist.inspect(new)
    assert "saved with" not in str(report)
    report.save_html(tmp_path / "page.html")
    assert "Environment" not in (tmp_path / "page.html").read_text(encoding="utf-8")
    fastpersist.load(new, environment="raise")
    convert(old, new, load=True)
    assert dict(fastpersist.inspect(new).environment.packages)["numpy"] == np.__version__


def test_names_of_python_2(tmp_path):
    """Protocols 0 to 2 have the names of Python 2; the new file those of today."""
    data = b"\x80\x02(ccopy_reg\n_reconstructor\nc__builtin__\nxrange\ncitertools\nizip\nt."
    (tmp_path / "old").write_bytes(data)
    convert(tmp_path / "old", tmp_path / "new")
    want = (copyreg._reconstructor, range, zip)
    assert pickle.loads((tmp_path / "new").read_bytes()) == pickle.loads(data) == want


def test_one_name_is_one_object(tmp_path):
    """However often the stream asks for it."""
    data = b"\x80\x02(cos\npath\ncos\npath\nt."
    (tmp_path / "old").write_bytes(data)
    convert(tmp_path / "old", tmp_path / "new")
    assert (tmp_path / "new").read_bytes().count(b"path") == 1


LARGE = pickle.dumps(["x" * 9] * 30_000)[2:]
REFUSED = {
    "persistent id": b"Pid\n.",
    "binary persistent id": b"\x80\x02K\x01Q.",
    "extension code": b"\x80\x02\x82\x01.",
    "computed name": b"\x80\x04cos\nsep\n\x8c\x04path\x93.",
    "STRING": b"S'abc'\n.",
    "BINSTRING": b"U\x03abc.",
    "INST": b"(icollections\nOrderedDict\n.",
    "OBJ": b"(ccollections\nOrderedDict\no.",
    "a call that is dropped": b"\x80\x02cos\ngetcwd\n)R0K\x01.",
    "a call that only the memo keeps": b"\x80\x02cos\ngetcwd\n)Rq\x000K\x01.",
    "a call that only keeps itself": b"\x80\x02cos\ngetcwd\n)Rq\x00}K\x01h\x00sb0K\x01.",
    "a large one": b"\x80\x02cos\ngetcwd\n)Rq\x00}K\x01h\x00sb0"
    + pickle.dumps(["x" * 9] * 30_000)[2:],
    "a call below what is returned": b"\x80\x02cos\ngetcwd\n)RK\x01.",
    "an attribute set on a class": b"\x80\x02ccollections\nOrderedDict\n}\x8c\x01aK\x01sb.",
    "a state that is set twice": b"\x80\x02ccollections\nOrderedDict\n)R}b}b.",
    "items behind the state": b"\x80\x02ccollections\nOrderedDict\n)R}bK\x01K\x02s.",
    "a set of no type known": b"\x80\x04ccollections\nOrderedDict\n)R(K\x01\x90.",
    "two of them": pickle.dumps(1) * 2,
    "an array of a class": b"\x80\x03cnumpy\nndarray\nK\x02\x85ccollections\nOrderedDict\n\x86R.",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_followed_is_refused(name, tmp_path, capfd):
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(REFUSED[name])
    new.write_bytes(b"as it was")
    with pytest.raises((Unsettled, pickle.UnpicklingError)) as caught:
        convert(old, new)
    assert str(caught.value)
    assert new.read_bytes() == b"as it was"
    capfd.readouterr()
    status = cli.main(["convert", str(old), str(new)])
    out, error = capfd.readouterr()
    assert status == 2 and out == "", (status, out)
    assert error.count("\n") == 1 and "Traceback" not in error
    assert new.read_bytes() == b"as it was"


@pytest.mark.parametrize("name", ["STRING", "INST", "a call that is dropped"])
def test_a_load_does_what_is_refused(name, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(REFUSED[name])
    done = command("convert", "--load", str(old), str(new))
    assert done.returncode == 0, done.stderr
    assert fastpersist.load(new) == pickle.loads(old.read_bytes())


NOTHING_RUNS = """
import sys
from fastpersist.convert import convert

QUIET = ("open", "os.", "shutil.", "tempfile.", "object.__", "sys._getframe", "mmap.", "fcntl.",
         "builtins.id")
seen = []

def hook(event, arguments):
    if not event.startswith(QUIET) or event.startswith(("os.system", "os.exec", "os.spawn")):
        seen.append((event, str(arguments)[:200]))

def every_layout():
    for layout in ("fastpersist", "joblib", "pickle"):
        convert(sys.argv[1], sys.argv[2] + layout, layout=layout)

every_layout()  # imports what it needs
modules = set(sys.modules)
sys.addaudithook(hook)
every_layout()
print(seen, sorted(set(sys.modules) - modules))
"""


class Gadget:
    def __reduce__(self):
        return exec, ("import xmlrpc.client; open('touched', 'w')",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_nothing_of_the_file_runs(protocol, tmp_path):
    """Neither its calls nor an import of a module that it names."""
    (tmp_path / "old").write_bytes(pickle.dumps([Gadget(), Gadget()], protocol))
    printed = run_python(NOTHING_RUNS, tmp_path / "old", tmp_path / "new")
    assert printed.strip() == "[] []"
    for layout in LAYOUTS:
        assert b"xmlrpc" in (tmp_path / f"new{layout}").read_bytes()


def test_damage_is_told(tmp_path):
    old = tmp_path / "old"
    fastpersist.dump([A], old)
    data = bytearray(old.read_bytes())
    data[200] ^= 1
    old.write_bytes(data)
    with pytest.raises(fastpersist.CorruptFileError):
        convert(old, tmp_path / "new")
    done = command("convert", str(old), str(tmp_path / "new"))
    assert done.returncode == 1 and "DAMAGED" in done.stdout
    assert not (tmp_path / "new").exists()


# ---------------------------------------------------------------- the command


def test_the_command(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    joblib.dump(VALUES["arrays"], old)
    for options, layout, codec in (
        ((), "fastpersist", None),
        (("--layout", "joblib"), "joblib", None),
        (("--layout", "pickle"), "pickle", None),
        (("--compress", "gzip"), "fastpersist", "gzip"),
        (("--compress", "zlib:9"), "fastpersist", "zlib"),
        (("--compress", "3"), "fastpersist", "zlib"),
    ):
        done = command("convert", str(old), str(new), *options)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"{new}: ") and "bytes, was" in done.stdout
        shown = json.loads(command("inspect", "--json", str(new)).stdout)
        assert (shown["dumps"][0]["layout"], shown["codec"]) == (layout, codec)
        assert_isomorphic(joblib.load(old), joblib.load(new))
    second = tmp_path / "second"
    assert command("convert", str(old), str(new), "--sidecar", str(second)).returncode == 0
    done = command("convert", str(new), str(old), "--from-sidecar", str(second))
    assert done.returncode == 0, done.stderr
    assert_isomorphic(fastpersist.load(new, sidecar=second), fastpersist.load(old))


@pytest.mark.parametrize(
    "arguments",
    [
        ("missing", "new"),
        ("old", "no/such/folder/new"),
        ("old", "new", "--compress", "nonsense"),
        ("old", "new", "--compress", "zlib:x"),
        ("old", "new", "--layout", "nonsense"),
        ("old", "new", "--sidecar", "second", "--compress", "zlib"),
    ],
)
def test_what_cannot_be_done_is_said(arguments, tmp_path):
    fastpersist.dump([1], tmp_path / "old")
    paths = [str(tmp_path / text) for text in arguments[:2]]
    done = command("convert", *paths, *arguments[2:])
    assert done.returncode == 2 and "Traceback" not in done.stderr and done.stderr
    assert not (tmp_path / "new").exists()

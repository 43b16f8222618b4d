"""`trusted=` of load and loads: what it takes, on which files, and what it says."""

import contextlib
import gzip
import io
import os
import pickle
import subprocess
import sys
import threading
from collections import OrderedDict

import attacks
import fastpersist
import joblib
import numpy as np
import pytest
from fastpersist import UntrustedError, _core, policy, restricted

CODECS = ["zlib", "gzip", "bz2", "xz", "lzma", "lz4"]


class Own:
    def __init__(self):
        self.x = [1, 2]

    def __eq__(self, other):
        return type(other) is Own and self.x == other.x

    __hash__ = None


class Command:
    def __reduce__(self):
        return os.system, ("exit 3",)


GOOD = {
    "numbers": np.arange(5000.0),
    "text": ["a", "b" * 20_000, b"c" * 20_000],
    "set": {1, 2, (3, "x")},
    "ordered": OrderedDict(a=1),
    "objects": np.array([1, "x", None], object),
    "scalar": np.float64(1.5),
}
OWN = f"{Own.__module__}.Own"


def same(a, b):
    assert a.keys() == b.keys()
    for key, value in a.items():
        if isinstance(value, np.ndarray):
            assert value.dtype == b[key].dtype and (value == b[key]).all()
        else:
            assert value == b[key] and type(value) is type(b[key])
    return True


def writers():
    for protocol in range(6):
        yield f"pickle {protocol}", lambda v, p, n=protocol: p.write_bytes(pickle.dumps(v, n))
    yield "ours", lambda v, p: fastpersist.dump(v, p)
    yield "joblib's layout", lambda v, p: fastpersist.dump(v, p, layout="joblib")
    yield "joblib", lambda v, p: joblib.dump(v, p)
    yield "joblib, zlib", lambda v, p: joblib.dump(v, p, compress=3)
    for codec in CODECS:
        yield f"ours, {codec}", lambda v, p, c=codec: fastpersist.dump(v, p, compress=c)


WRITERS = dict(writers())


@pytest.fixture(params=WRITERS, ids=lambda name: name.replace(" ", "_"))
def write(request, tmp_path):
    def write(value):
        path = tmp_path / "file"
        WRITERS[request.param](value, path)
        return path

    return write


def by_path(path, **how):
    return fastpersist.load(path, **how)


def by_file(path, **how):
    with open(path, "rb") as file:
        return fastpersist.load(file, **how)


def by_bytes(path, **how):
    return fastpersist.load(io.BytesIO(path.read_bytes()), **how)


def by_pipe(path, **how):
    """A file object that cannot go back."""
    reader, writer = os.pipe()

    def feed():
        with open(writer, "wb") as file:
            file.write(path.read_bytes())

    thread = threading.Thread(target=feed)
    thread.start()
    with open(reader, "rb", buffering=0) as file:
        try:
            return fastpersist.load(file, **how)
        finally:
            while file.read(1 << 16):
                pass
            thread.join()


def by_fifo(path, **how):
    fifo = path.with_suffix(".fifo")
    os.mkfifo(fifo)
    thread = threading.Thread(target=fifo.write_bytes, args=(path.read_bytes(),))
    thread.start()
    try:
        return fastpersist.load(fifo, **how)
    finally:
        thread.join()
        fifo.unlink()


WAYS = [by_path, by_file, by_bytes, by_pipe, by_fifo]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_what_is_approved_loads_from_every_file(write, way):
    path = write(GOOD)
    assert same(way(path, trusted=()), GOOD)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_what_is_not_is_refused_with_its_name(write, way):
    path = write([Own(), GOOD])
    with pytest.raises(UntrustedError) as caught:
        way(path, trusted=())
    assert [each.name for each in caught.value.names] == [OWN]
    assert caught.value.names[0].path.startswith("[0]") or caught.value.names[0].path == ""
    out = way(path, trusted=[OWN])
    assert out[0] == Own() and same(out[1], GOOD)
    assert way(path, trusted=[Own])[0] == Own()


def test_both_walls_refuse_alone(write, monkeypatch):
    path = write([Command()])
    assert [each.name for each in fastpersist.inspect(path).untrusted] == ["posix.system"]
    with pytest.raises(UntrustedError) as caught:
        fastpersist.load(path, trusted=())
    assert caught.value.names[0].never and caught.value.names[0].use == "called"
    monkeypatch.setattr(restricted, "audit", lambda survey, rules: None)
    with pytest.raises(UntrustedError, match="posix.system"):
        fastpersist.load(path, trusted=())
    with pytest.raises(UntrustedError, match="posix.system"):
        fastpersist.load(path, trusted=["os.system", "posix.system"])
    monkeypatch.undo()
    with pytest.raises(UntrustedError, match="posix.system"):
        fastpersist.load(path, trusted=["os.system", "posix.system"])


@pytest.mark.parametrize("codec", [0, *CODECS])
def test_nothing_has_run_where_the_end_is_damaged(tmp_path, codec):
    path = tmp_path / "file"
    fastpersist.dump([Own(), np.arange(100_000.0)], path, compress=codec)
    data = bytearray(path.read_bytes())
    data[-len(data) // 8] ^= 1
    path.write_bytes(data)
    asked = []
    rules = policy.restriction([Own])
    found = type(rules).__call__

    class Asking(policy.Policy):
        def __call__(self, module, name):
            asked.append(name)
            return found(self, module, name)

    with pytest.raises(fastpersist.UnpicklingError):
        run = Asking(frozenset([OWN]))
        restricted.load(
            path,
            None,
            (),
            lambda f, s, _, look=None: fastpersist._load(
                f, s, None, None, True, 2, 1, 1 << 62, 0, None, run, look
            ),
            1,
            1 << 62,
        )
    assert not asked


def test_a_map_is_verified_whole(tmp_path):
    path = tmp_path / "file"
    fastpersist.dump(GOOD, path)
    out = fastpersist.load(path, mmap_mode="r", trusted=())
    assert isinstance(out["numbers"], np.memmap)
    assert same(out, GOOD)
    data = bytearray(path.read_bytes())
    data[data.index(np.arange(5000.0).tobytes()) + 100] ^= 1
    path.write_bytes(data)
    with pytest.raises(fastpersist.CorruptFileError):
        fastpersist.load(path, mmap_mode="r", trusted=())


def test_two_files(tmp_path):
    main, second = tmp_path / "main", tmp_path / "second"
    fastpersist.dump([GOOD, Own()], main, sidecar=second)
    with pytest.raises(UntrustedError, match="Own"):
        fastpersist.load(main, sidecar=second, trusted=())
    assert same(fastpersist.load(main, sidecar=second, trusted=[Own])[0], GOOD)
    fastpersist.load(main, mmap_mode="r", sidecar=second, trusted=[Own])


def test_several_dumps_of_a_file_object(tmp_path):
    path = tmp_path / "file"
    with open(path, "wb") as file:
        fastpersist.dump(GOOD, file)
        fastpersist.dump([Own()], file)
        pickle.dump({"a": 1}, file)
    with open(path, "rb") as file:
        assert same(fastpersist.load(file, trusted=()), GOOD)
        with pytest.raises(UntrustedError):
            fastpersist.load(file, trusted=())
        file.seek(0)
        fastpersist.load(file, trusted=())
        fastpersist.load(file, trusted=[Own])
        assert fastpersist.load(file, trusted=()) == {"a": 1}


def test_what_stands_behind_is_refused(tmp_path):
    path = tmp_path / "file"
    for behind in (b"junk", pickle.dumps(Command()), gzip.compress(pickle.dumps(1))):
        path.write_bytes(pickle.dumps(1) + behind)
        with pytest.raises(fastpersist.UnpicklingError):
            fastpersist.load(path, trusted=())
    fastpersist.dump([1], path)
    data = path.read_bytes()
    path.write_bytes(data + data)
    assert fastpersist.load(path, trusted=()) == [1]
    for behind in (b"junk", pickle.dumps(1)):
        path.write_bytes(data + behind)
        with pytest.raises(fastpersist.UnpicklingError):
            fastpersist.load(path, trusted=())


@pytest.mark.parametrize("trusted", [True, "*", "numpy.ndarray", b"x", 5, 1.5])
def test_what_is_no_list_of_names(trusted, tmp_path):
    for call in (
        lambda: fastpersist.loads(pickle.dumps(1), trusted=trusted),
        lambda: fastpersist.load(tmp_path / "none", trusted=trusted),
    ):
        with pytest.raises(TypeError, match="trusted"):
            call()


@pytest.mark.parametrize(
    "name", ["*", "numpy.*", "numpy", "", ".", "a..b", "a.b ", "numpy.random.*"]
)
def test_names_are_whole(name):
    with pytest.raises(ValueError, match="whole names"):
        fastpersist.loads(pickle.dumps(1), trusted=[name])
    with pytest.raises(TypeError, match="names and classes"):
        fastpersist.loads(pickle.dumps(1), trusted=[None])


def test_false_and_empty_lists_restrict():
    data = pickle.dumps(Own())
    for trusted in ((), [], set(), {}, iter(())):
        with pytest.raises(UntrustedError):
            fastpersist.loads(data, trusted=trusted)
    with pytest.raises(TypeError):
        fastpersist.loads(data, trusted=False)
    assert fastpersist.loads(data, trusted=None) == Own()


def test_loads_takes_its_other_arguments():
    data = b"\x80\x02U\x01\xe9."
    assert fastpersist.loads(data, encoding="latin1", trusted=()) == "é"
    assert fastpersist.loads(data, encoding="bytes", trusted=()) == b"\xe9"
    assert fastpersist.loads(bytearray(pickle.dumps([1])), trusted=()) == [1]
    with pytest.raises(EOFError):
        fastpersist.loads(b"", trusted=())
    with pytest.raises(TypeError):
        fastpersist.loads("text", trusted=())
    buffers = []
    data = pickle.dumps(np.arange(5), 5, buffer_callback=buffers.append)
    with pytest.raises(UntrustedError, match="buffers"):
        fastpersist.loads(data, buffers=buffers, trusted=())


def test_the_message_can_be_pasted():
    class Unused:
        pass

    with pytest.raises(UntrustedError) as caught:
        fastpersist.loads(pickle.dumps([Own(), Own(), Own]), trusted=())
    line = str(caught.value).splitlines()[-1].strip()
    trusted = eval(line.removeprefix("trusted="))
    assert fastpersist.loads(pickle.dumps([Own(), Own]), trusted=trusted)[0] == Own()
    with pytest.raises(UntrustedError) as caught:
        fastpersist.loads(pickle.dumps([Own(), Command()]), trusted=())
    assert len(caught.value.names) == 2 and "trusted=[" not in str(caught.value)


def test_the_environment_is_told_as_ever(tmp_path):
    path = tmp_path / "file"
    fastpersist.dump(GOOD, path)
    told = []
    fastpersist.load(path, trusted=(), progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1]
    fastpersist.load(path, trusted=(), environment="raise")


def test_the_same_name_may_mean_another_thing(monkeypatch):
    """What is found must be what the row means, whoever has put it there."""
    monkeypatch.setattr(np, "ndarray", os.system)
    with pytest.raises(UntrustedError, match="not what the policy means"):
        fastpersist.loads(
            b"\x80\x04\x8c\x05numpy\x8c\x07ndarray\x93.", trusted=policy.Policy(frozenset())
        )


def test_an_alias_of_what_is_never_allowed(monkeypatch):
    import tests_alias_module as alias

    data = b"\x80\x04\x8c\x12tests_alias_module\x8c\x03run\x93\x8c\x04true\x85R."
    assert alias.run is os.system
    with pytest.raises(UntrustedError, match="posix.system"):
        fastpersist.loads(data, trusted=["tests_alias_module.run"])


@pytest.fixture(autouse=True)
def alias_module():
    import types

    module = types.ModuleType("tests_alias_module")
    module.run = os.system
    sys.modules[module.__name__] = module
    yield
    del sys.modules[module.__name__]


def test_a_plain_load_imports_none_of_it():
    code = (
        "import sys, pickle, fastpersist; fastpersist.loads(pickle.dumps([1]));"
        "assert 'fastpersist.policy' not in sys.modules, 'policy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_approved_rows_have_reasons():
    rows = policy.approved()
    assert len(rows) > 200 and all(row.reason and row.module and row.name for row in rows)


# ------------------------------------------------- the quick answer of a survey

CALLED, MADE = ("builtins", "complex"), ("collections", "OrderedDict")


def surveyed(data):
    return _core.survey_file(io.BytesIO(data), None)


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(complex(1, 2), 0).replace(b"c__builtin__\n", b"cbuiltins\n")[:-1],
        pickle.dumps(1, 2)[:-1] + b"Pa\n.",
        b"Pname\n.",
        pickle.dumps(complex(1, 2), 2),
        b"\x80\x04\x8c\x08builtins\x8c\x03int\x8c\x00\x86R\x93.",
        b"\x80\x02\x82\x01.",
        b"(ibuiltins\ncomplex\n.",
        b"(cbuiltins\ncomplex\no.",
    ],
    ids=[
        "no end",
        "something else behind it",
        "persistent id",
        "name of Python 2",
        "computed name",
        "extension code",
        "INST",
        "OBJ",
    ],
)
def test_what_is_not_plain_is_never_within(data):
    uses = {CALLED: 63, MADE: 63, ("__builtin__", "complex"): 63}
    assert not surveyed(data).is_within(uses)


def test_a_name_is_within_what_it_may_be_used_for():
    called = surveyed(pickle.dumps(complex(1, 2), 4))
    assert called.is_within({CALLED: 1}) and called.is_within({CALLED: 63})
    assert not called.is_within({CALLED: 62}) and not called.is_within({MADE: 63})
    made = surveyed(pickle.dumps(Own(), 4))
    own = (Own.__module__, "Own")
    assert made.is_within({own: 2}) and not made.is_within({own: 61})
    argument = surveyed(pickle.dumps(OrderedDict, 4))
    assert argument.is_within({MADE: 0}) and not argument.is_within({})
    with pytest.raises(TypeError):
        argument.is_within([MADE])
    with pytest.raises(TypeError):
        called.is_within({CALLED: "1"})


def test_within_is_what_the_policy_does_not_refuse():
    rules, n_within = policy.restriction(()), 0
    for attack in attacks.ATTACKS:
        for label, data in attack.pickles().items():
            with contextlib.suppress(EOFError, pickle.UnpicklingError):
                survey = surveyed(data)
                if survey is not None and survey.is_within(policy.uses()):
                    found = rules.refused(survey.globals, survey.odd)
                    assert found == ([], []), (attack.name, label)
                    assert survey.complete and survey.damage is None
                    n_within += 1
    assert n_within > 0  # those that the machine alone can refuse

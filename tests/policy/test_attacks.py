"""Restricted loads beside plain pickle: what that runs is refused, with nothing done for it.

Each attack of support/attacks.py is tried in every protocol that has it, in our own layout with
right hashes, in joblib's, below every codec, from paths, file objects, memory and maps: with both
walls, by the survey alone, and by the machine alone.
"""

import csv
import json
import pickle
import sys
from pathlib import Path

import attacks
import attempts
import fastpersist
import pytest
from helpers import run_python

NAMES = [attack.name for attack in attacks.ATTACKS]
BY_NAME = {attack.name: attack for attack in attacks.ATTACKS}
SHOWN = [a.name for a in attacks.ATTACKS if a.shows and attempts.usable(a)]


def run(function, *arguments):
    code = f"import attempts, sys; attempts.{function}(*sys.argv[1:])"
    return json.loads(run_python(code, *arguments, warnings="ignore"))


def test_the_catalogue():
    assert len(NAMES) == len(set(NAMES)) > 200


# ---------------------------------------------------------------- plain pickle


@pytest.fixture(scope="module")
def plain():
    return run("plain")


@pytest.mark.parametrize("name", SHOWN)
def test_plain_pickle_does_it(plain, name):
    """Otherwise the attack would prove nothing."""
    done = plain[name]
    assert any(value is True for value in done.values()), done
    if BY_NAME[name].always:
        assert all(value is True for value in done.values()), done


# ---------------------------------------------------------------- ours


def found(directory, wall):
    return run("restricted", directory, wall)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    return found(tmp_path_factory.mktemp("both"), "both")


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    return found(tmp_path_factory.mktemp("machine"), "machine")


@pytest.fixture(scope="module")
def surveyed(tmp_path_factory):
    return run("surveyed", tmp_path_factory.mktemp("survey"))


# What the survey cannot tell: it depends on values that only a load makes, or on what the process
# has imported. The machine refuses these.
ONLY_MACHINE = {
    "attribute that hides a method by a class that is approved",
    "array interface in a state",
    "array interface as a key of a bunch",
    "array method as a key of a bunch",
    "class that is approved in a slot state",
    "dict in a slot state",
    "laughs of frozensets",
}


def check(name, tries, refusals):
    assert isinstance(tries, list), tries  # else the child died
    attack = BY_NAME[name]
    for label, way, result, text, events, modules in tries:
        what = f"{label}, {way}: {result}: {text}"
        assert events == [] and modules == [], (what, events, modules)
        if attack.outcome == attacks.REFUSED:
            assert result in refusals, what
        else:
            assert result in ("untrusted", "clean", "value"), what


@pytest.mark.parametrize("name", NAMES)
def test_it_is_refused(both, name):
    attack = BY_NAME[name]
    # Where plain pickle does it, it is not for damage that we refuse.
    is_sound = attack.body is not None and attack.shows
    check(name, both[name], ("untrusted",) if is_sound else ("untrusted", "clean"))


@pytest.mark.parametrize("name", NAMES)
def test_the_machine_refuses_it_alone(machine, name):
    check(name, machine[name], ("untrusted", "clean"))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ONLY_MACHINE])
def test_the_survey_refuses_it_alone(surveyed, name):
    for label, (result, events) in surveyed[name].items():
        assert events == [], (label, events)
        if BY_NAME[name].outcome == attacks.REFUSED and BY_NAME[name].shows:
            assert result != "", label


# ---------------------------------------------------------------- gadgets

TABLE = Path(__file__).parents[1] / "support" / "gadgets.tsv"
with open(TABLE, encoding="utf-8", newline="") as file:
    GADGETS = [(row["module"], row["name"]) for row in csv.DictReader(file, delimiter="\t")]

# numpy.ndarray is approved: with arguments that a rule has looked at.
APPROVED_OTHERWISE = {("numpy", "ndarray")}


@pytest.fixture(scope="module")
def gadgets(tmp_path_factory):
    return run("gadgets", tmp_path_factory.mktemp("gadgets"), TABLE)


@pytest.mark.parametrize("gadget", GADGETS, ids=".".join)
def test_gadgets_are_refused(gadgets, gadget):
    for form, results in gadgets[".".join(gadget)].items():
        if gadget in APPROVED_OTHERWISE and form == "referred to":
            continue
        for trust, (result, text, events) in results.items():
            if trust == "trusted by its name" and not attempts.is_never(*gadget):
                continue
            assert result in ("untrusted", "refused to trust"), (form, trust, result, text)
            assert events == [], (form, trust, events)


def test_most_gadgets_are_never_allowed():
    assert sum(attempts.is_never(*gadget) for gadget in GADGETS) > 100


# ---------------------------------------------------------------- approved names, misused

# No attribute of these is an item, and the state of a Bunch is not set: its __setstate__ is empty.
FINE = {
    ("collections.OrderedDict", "address as an item"),
    ("collections.defaultdict", "address as an item"),
    ("sklearn.utils._bunch.Bunch", "class in a state"),
    ("sklearn.utils._bunch.Bunch", "dict in a state"),
}


@pytest.mark.parametrize("wall", ["both", "machine"])
@pytest.mark.by_day(wanted=lambda wall: wall == "both")
def test_approved_names_in_other_uses(wall, tmp_path):
    """Each of them in some sixty: nothing runs, nothing is changed, nothing crashes."""
    n_names, wrong = run("misused", tmp_path, wall)
    assert n_names > 50
    assert [each for each in wrong if tuple(each[:2]) not in FINE] == []


# ---------------------------------------------------------------- what trusted= opens

MARK = "attack_marks"


def refused(data, trusted):
    with pytest.raises(fastpersist.UnpicklingError) as caught:
        fastpersist.loads(data, trusted=trusted)
    return caught.value


def test_a_trusted_name_is_that_name_only():
    f = attacks.Form(4)
    data = attacks.plain(4, f.call(f.ours("Called")))
    for trusted in (["attack_marks.Call"], ["attack_marks.Called.__init__"], ["attack_marks.New"]):
        assert refused(data, trusted).names[0].name == "attack_marks.Called"
    value = fastpersist.loads(data, trusted=["attack_marks.Called"])
    assert type(value).__name__ == "Called"
    assert type(fastpersist.loads(data, trusted=[type(value)])) is type(value)


def test_nothing_but_names_and_classes_is_trusted():
    data = attacks.plain(4, attacks.Form(4).payload())
    for trusted in (True, "*", "builtins.exec", b"builtins.exec", 1, "builtins"):
        with pytest.raises((TypeError, ValueError)):
            fastpersist.loads(data, trusted=trusted)
    for trusted in (["*"], ["builtins.*"], ["builtins"], [""], ["."], ["builtins."], [None], [1]):
        with pytest.raises((TypeError, ValueError)):
            fastpersist.loads(data, trusted=trusted)


def test_a_trusted_class_is_not_changed_by_build():
    f = attacks.Form(4)
    cls = f.ours("Trace")
    for state in (f.slots(a=f.number(1)), f.attributes(a=f.number(1))):
        refused(attacks.plain(4, cls + state + attacks.BUILD), ["attack_marks.Trace"])
    assert not hasattr(sys.modules.get("attack_marks"), "Trace.a")


def test_what_is_below_a_trusted_name_is_another_name():
    f = attacks.Form(4)
    data = attacks.plain(4, f.name("attack_marks", "Trace.__init__.__globals__"))
    refused(data, ["attack_marks.Trace", "attack_marks.Trace.__init__"])


def test_everything_is_said_at_once():
    f = attacks.Form(4)
    names = [("os", "system"), ("builtins", "eval"), ("shutil", "rmtree"), ("attack_marks", "mark")]
    calls = [f.call(f.name(*name), f.text("touched")) for name in names]
    data = attacks.plain(4, f.dict(*((f.number(i), call) for i, call in enumerate(calls))))
    error = refused(data, ())
    assert [each.name for each in error.names] == [".".join(name) for name in names]
    assert [bool(each.never) for each in error.names[:2]] == [True, True]
    assert error.names[3].never is None and error.names[3].use == "called"
    assert all(each.count == 1 for each in error.names)
    assert all(each.name in str(error) for each in error.names)
    assert not any(
        line.startswith("  trusted=") and "os.system" in line for line in str(error).splitlines()
    )
    text = str(refused(data, ["attack_marks.mark", "shutil.rmtree"]))
    assert "attack_marks.mark" not in text and "os.system" in text


def test_reasons_that_are_no_names():
    f = attacks.Form(4)
    for body in (attacks.op("EXT1", 0x77), f.text("x") + attacks.op("BINPERSID")):
        error = refused(attacks.plain(4, body), ["attack_marks.mark"])
        assert isinstance(error, fastpersist.UntrustedError)
        assert error.names or error.reasons


def test_never_is_never():
    f = attacks.Form(4)
    for module, name in [("os", "system"), ("builtins", "exec"), ("builtins", "getattr")]:
        data = attacks.plain(4, f.call(f.name(module, name), f.text("touched")))
        try:
            fastpersist.loads(data, trusted=[f"{module}.{name}"])
        except (fastpersist.UntrustedError, ValueError) as error:
            assert "never" in str(error)
        else:
            raise AssertionError(name)


# ---------------------------------------------------------------- pairs, and dumps of ours


class Evil:
    def __reduce__(self):
        return exec, (attacks.CODE,)


def marks():
    module = sys.modules.get("attack_marks")
    return [] if module is None else module.marks


KINDS = {
    "ours": {},
    "lz4": {"compress": "lz4"},
    "zlib": {"compress": 3},
    "joblib": {"layout": "joblib"},
    "protocol 0": {"protocol": 0},
    "protocol 4": {"protocol": 4},
}


@pytest.mark.parametrize("kind", KINDS)
def test_dumps_of_our_own(kind, tmp_path):
    import numpy as np

    path = tmp_path / "file"
    before = len(marks())
    fastpersist.dump(
        [np.arange(5000), Evil(), {"k": np.array([Evil()], object)}], path, **KINDS[kind]
    )
    for mode in (None, "r"):
        with pytest.raises(fastpersist.UntrustedError) as caught:
            fastpersist.load(path, mode, trusted=())
        assert [each.name for each in caught.value.names] == ["builtins.exec"]
        assert caught.value.names[0].count == 2 or kind == "joblib"
        assert caught.value.names[0].never
    assert len(marks()) == before


@pytest.mark.parametrize("mode", [None, "r"])
def test_pairs(mode, tmp_path):
    import numpy as np

    main, sidecar = tmp_path / "main", tmp_path / "sidecar"
    before = len(marks())
    fastpersist.dump([np.arange(5000), Evil()], main, sidecar=sidecar)
    with pytest.raises(fastpersist.UntrustedError, match="builtins.exec"):
        fastpersist.load(main, mode, sidecar=sidecar, trusted=())
    if mode is None:
        with (
            open(main, "rb") as first,
            open(sidecar, "rb") as second,
            pytest.raises(fastpersist.UntrustedError, match="builtins.exec"),
        ):
            fastpersist.load(first, sidecar=second, trusted=())
    assert len(marks()) == before


def test_a_pickle_in_place_of_a_sidecar(tmp_path):
    import numpy as np

    main, sidecar = tmp_path / "main", tmp_path / "sidecar"
    before = len(marks())
    fastpersist.dump([np.arange(5000)], main, sidecar=sidecar)
    for data in (
        attacks.plain(4, attacks.Form(4).payload()),
        attacks.plain(0, attacks.inst(attacks.Form(0))),
    ):
        sidecar.write_bytes(data)
        with pytest.raises(fastpersist.UnpicklingError):
            fastpersist.load(main, sidecar=sidecar, trusted=())
        with pytest.raises(fastpersist.UntrustedError):
            fastpersist.load(sidecar, trusted=())
    assert len(marks()) == before


def test_objects_whose_bytes_are_a_pickle_are_bytes(tmp_path):
    import numpy as np

    hostile = attacks.plain(4, attacks.Form(4).payload())
    before = len(marks())
    value = [hostile, bytearray(hostile), np.frombuffer(hostile, "u1"), hostile.decode("latin1")]
    path = tmp_path / "file"
    for kind in ({}, {"compress": "lz4"}):
        fastpersist.dump(value, path, **kind)
        loaded = fastpersist.load(path, trusted=())
        assert loaded[0] == hostile and loaded[2].tobytes() == hostile
    assert len(marks()) == before


def test_the_second_dump_of_a_file_object(tmp_path):
    hostile = attacks.plain(4, attacks.Form(4).payload())
    path = tmp_path / "file"
    before = len(marks())
    for first in (attacks.BENIGN, _ours([1])):
        path.write_bytes(first + hostile)
        with open(path, "rb") as file:
            assert fastpersist.load(file, trusted=()) == [1]
            with pytest.raises(fastpersist.UntrustedError):
                fastpersist.load(file, trusted=())
        with pytest.raises(fastpersist.UnpicklingError):
            fastpersist.load(path, trusted=())
    assert len(marks()) == before


def _ours(value):
    from helpers import file_bytes

    return file_bytes(value)


LARGE = "a" * 400_000  # too much to be read at once, before anybody looks


@pytest.mark.parametrize(
    "content",
    [
        lambda: attacks.BENIGN,
        lambda: pickle.dumps([LARGE], 4),
        lambda: _ours([1]),
        lambda: _ours([LARGE]),
    ],
    ids=["small", "large", "ours", "ours, large"],
)
def test_a_file_that_is_another_one_when_it_is_loaded(content, tmp_path):
    """Looked at, then replaced: the machine knows nothing of what the survey found. What was
    read before anybody looked is loaded as it was."""
    path = tmp_path / "file"
    before = len(marks())
    content = content()
    path.write_bytes(content)
    benign = fastpersist.load(path)
    from fastpersist import restricted

    audit = restricted.audit

    def replacing(*arguments):
        audit(*arguments)
        path.write_bytes(attacks.plain(4, attacks.Form(4).payload()))

    restricted.audit = replacing
    try:
        if len(content) > len(LARGE):
            with pytest.raises(fastpersist.UnpicklingError):
                fastpersist.load(path, trusted=())
        else:
            assert fastpersist.load(path, trusted=()) == benign
    finally:
        restricted.audit = audit
    assert len(marks()) == before


class Changing:
    """A file object that has other bytes the second time."""

    def __init__(self, *contents):
        self.contents = list(contents)
        self.data = self.contents.pop(0)
        self.at = 0

    def tell(self):
        return self.at

    def seek(self, at, whence=0):
        if whence == 0 and at < self.at and self.contents:
            self.data = self.contents.pop(0)
        self.at = at if whence == 0 else len(self.data) + at if whence == 2 else self.at + at
        return self.at

    def read(self, n=-1):
        end = len(self.data) if n < 0 else self.at + n
        data = self.data[self.at : end]
        self.at += len(data)
        return data

    def readline(self):
        end = self.data.find(b"\n", self.at) + 1 or len(self.data)
        return self.read(end - self.at)


def test_a_file_object_that_gives_other_bytes_the_second_time():
    hostile = attacks.plain(4, attacks.Form(4).payload())
    before = len(marks())
    for n in range(1, 4):
        file = Changing(*[attacks.BENIGN] * n, hostile)
        try:
            value = fastpersist.load(file, trusted=())
        except fastpersist.UnpicklingError:
            continue
        assert value == [1]
    assert len(marks()) == before


# ---------------------------------------------------------------- what mutations have found


@pytest.mark.models
@pytest.mark.parametrize("what", ["no dimension", "no state"])
def test_arrays_of_pandas_that_are_none(what):
    """Compiled code looks for the array inside, and for its first length, without asking."""
    pandas = pytest.importorskip("pandas")
    import pickle

    import numpy as np

    array = pandas.array(["a", "b"], dtype="string[python]")
    function, arguments, state = array.__reduce__()[:3]

    class Hostile:
        def __reduce__(self):
            if what == "no state":
                return function, arguments
            dtype, values, *others = state
            return function, arguments, (dtype, np.array("a", object).reshape(()), *others)

    data = pickle.dumps(Hostile(), 4)
    run_python(
        """
import sys, fastpersist
try:
    value = fastpersist.loads(bytes.fromhex(sys.argv[1]), trusted=())
except fastpersist.UntrustedError:
    sys.exit()
try:
    repr(value), len(value)
except Exception:
    pass
""",
        data.hex(),
        warnings="ignore",
    )


@pytest.mark.models
def test_a_number_of_threads_that_ends_the_process():
    cluster = pytest.importorskip("sklearn.cluster")
    import pickle

    import numpy as np

    model = cluster.KMeans(2, n_init=1).fit(np.arange(12.0).reshape(6, 2))
    assert fastpersist.loads(pickle.dumps(model), trusted=())._n_threads == model._n_threads
    for number in (-1, 0, 1 << 30):
        model._n_threads = number
        with pytest.raises(fastpersist.UntrustedError, match="_n_threads"):
            fastpersist.loads(pickle.dumps(model), trusted=())

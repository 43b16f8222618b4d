"""User code that runs in the middle of a walk and changes what is being walked."""

import copyreg
import gc
import io
import pickle
import sys
import threading

import fastpersist
import numpy as np
import pytest
import sample_classes as s
from compare import assert_isomorphic
from helpers import (
    examples,
    file_bytes,
    outcome,
    outcome_of_dump,
    run_python,
    same_bytes,
    through_file,
)
from hypothesis import given
from hypothesis import strategies as st
from restless import ChangingSink

pytestmark = pytest.mark.usefixtures("nothing_else_is_collected")

LARGE = 40_000  # doubles: a blob of its own, several staging blocks


class Calls:
    """Calls a function when it is pickled, and reduces to what that returns."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        function, arguments = self.call
        result = function(*arguments)
        return (list, (result if isinstance(result, (list, tuple)) else [],))


class CallsInState(Calls):
    def __reduce__(self):
        return object.__reduce__(self)

    def __reduce_ex__(self, protocol):
        return object.__reduce_ex__(self, protocol)

    def __getstate__(self):
        if "call" not in self.__dict__:
            return self.__dict__
        function, arguments = self.call
        return {"state": function(*arguments)}


def ways():
    """Each way to dump, as a function from a value to pickled bytes."""

    def by_pickler(value):
        file = io.BytesIO()
        fastpersist.Pickler(file, 5).dump(value)
        return file.getvalue()

    return {"file": file_bytes, "dumps": fastpersist.dumps, "Pickler": by_pickler}


@pytest.fixture(params=ways())
def dumps(request):
    return ways()[request.param]


def defined_or_error(build, dumps, errors=(RuntimeError,)):
    """Something that loads, or one of the errors. No oracle: _pickle crashes on some of these."""
    try:
        return pickle.loads(dumps(build()))
    except errors:
        return None


def same_as_pickle(build, dumps):
    got = pickle.loads(dumps(build()))
    assert_isomorphic(pickle.loads(pickle.dumps(build(), 5)), got)
    return got


# ---------------------------------------------------------------- containers that change


def list_that(change):
    def build():
        x = [[i] for i in range(10)]
        x[3] = Calls(change, x)
        return x

    return build


def dict_that(change):
    def build():
        x = {i: [i] for i in range(10)}
        x[3] = Calls(change, x)
        return x

    return build


LIST_CHANGES = {
    "append": lambda x: x.append(1) if len(x) < 2000 else None,
    "clear": lambda x: x.clear(),
    "pop": lambda x: x.pop(),
    "pop the first": lambda x: x.pop(0),
    "replace the rest": lambda x: x.__setitem__(slice(4, None), ["new"] * 3),
    "replace itself": lambda x: x.__setitem__(3, "gone"),
    "replace all": lambda x: x.__setitem__(slice(None), [object] * 10),
    "grow much": lambda x: x.extend(range(3000)) if len(x) < 20 else None,
}
DICT_CHANGES = {
    "insert": lambda x: x.__setitem__("new", 1),
    "delete": lambda x: x.pop(7, None),
    "delete itself": lambda x: x.pop(3, None),
    "clear": lambda x: x.clear(),
    "replace a value": lambda x: x.__setitem__(5, "other"),
    "delete and insert": lambda x: (x.pop(7, None), x.__setitem__("new", 1)),
    "grow much": lambda x: x.update((f"k{i}", i) for i in range(3000)),
    "clear and refill": lambda x: (x.clear(), x.update(dict.fromkeys(range(10)))),
}


@pytest.mark.parametrize("change", LIST_CHANGES)
def test_a_list_that_changes(change, dumps):
    defined_or_error(list_that(LIST_CHANGES[change]), dumps, (RuntimeError, IndexError))


@pytest.mark.parametrize("change", DICT_CHANGES)
def test_a_dict_that_changes(change, dumps):
    defined_or_error(dict_that(DICT_CHANGES[change]), dumps)


@pytest.mark.parametrize("change", ["insert", "delete", "delete itself", "clear", "grow much"])
def test_a_dict_whose_size_changes_is_an_error(change, dumps):
    with pytest.raises(RuntimeError, match="changed size|changed during"):
        dumps(dict_that(DICT_CHANGES[change])())


def test_a_list_that_grows_ends(dumps):
    """Each item appends another: the standard library would go on to the end of memory."""

    class Appends:
        def __reduce__(self):
            if len(x) < 5000:
                x.append(Appends())
            return list, ()

    x = [Appends()]
    defined_or_error(lambda: x, dumps)


@pytest.mark.parametrize("size", [1, 5, 999, 1000, 1001, 2500])
def test_a_list_that_shrinks_at_a_batch(size, dumps):
    def build():
        x = [Calls(lambda: x.clear())]
        x += range(size)
        return x

    defined_or_error(build, dumps, (RuntimeError, IndexError))


@pytest.mark.parametrize("size", [1, 5, 999, 1000, 1001, 2500])
def test_a_dict_that_is_emptied_at_a_batch(size, dumps):
    def build():
        x = {"first": Calls(lambda: x.clear())}
        x.update(dict.fromkeys(range(size)))
        return x

    with pytest.raises(RuntimeError):
        dumps(build())


class WhilePickled:
    """Calls a function when it is pickled; has the place of another element in a set."""

    def __init__(self, call, hashed_as):
        self.call, self.hashed_as = call, hashed_as

    def __hash__(self):
        return hash(self.hashed_as)

    def __reduce__(self):
        self.call()
        return int, ()


def list_changed_at(n, at, change):
    x = [0] * n
    x[at] = WhilePickled(lambda: change(x), None)
    return x


def dict_changed_at(n, at, change):
    x = dict.fromkeys(range(n), 0)
    x[at] = WhilePickled(lambda: change(x), None)
    return x


def set_changed_at(n, at, change):
    x = {float(i) for i in range(n)}
    element = list(x)[at]
    x.remove(element)
    x.add(WhilePickled(lambda: change(x), element))
    return x


def replaced(x):
    copy = x.copy()
    x.clear()
    (x.extend if isinstance(x, list) else x.update)(copy)


CHANGES_OF_SIZE = {
    list_changed_at: {
        "nothing": lambda x: None,
        "one more": lambda x: x.append(1),
        "many more": lambda x: x.extend(range(1500)),
        "last away": lambda x: x.pop(),
        "first away": lambda x: x.pop(0),
        "empty": lambda x: x.clear(),
        "replaced": replaced,
    },
    dict_changed_at: {
        "nothing": lambda x: None,
        "one more": lambda x: x.__setitem__(-1, 1),
        "many more": lambda x: x.update(dict.fromkeys(range(-1500, 0))),
        "last away": lambda x: x.popitem(),
        "empty": lambda x: x.clear(),
        "replaced": replaced,
    },
    set_changed_at: {
        "nothing": lambda x: None,
        "one more": lambda x: x.add(-1),
        "many more": lambda x: x.update(range(-1500, 0)),
        "one away": lambda x: x.pop(),
        "empty": lambda x: x.clear(),
        "replaced": replaced,
    },
}


@pytest.mark.parametrize("n", [1, 2, 1000, 1001, 1002, 2000, 2001])
@pytest.mark.parametrize("make", CHANGES_OF_SIZE)
def test_a_size_that_changes_at_a_batch(make, n):
    """Bytes or exception are pickle's, wherever in a batch it happens."""
    for at in {0, n // 2, min(n - 1, 999), min(n - 1, 1000), n - 1}:
        for name, change in CHANGES_OF_SIZE[make].items():
            for protocol in (0, 1, 2, 4):

                def build(at=at, change=change):
                    return make(n, at, change)

                expected = outcome_of_dump(lambda p=protocol, b=build: pickle.dumps(b(), p))
                got = outcome_of_dump(lambda p=protocol, b=build: fastpersist.dumps(b(), p))
                assert same_bytes(got, expected), (at, name, protocol)


def test_a_set_that_changes(dumps):
    class InSet:
        def __reduce__(self):
            x.discard(2)
            x.update(range(100, 400))
            return s.Plain, ()

    x = {InSet(), 2, 3}
    defined_or_error(lambda: x, dumps)


def test_an_instance_dict_that_changes(dumps):
    def build():
        x = s.Plain(a=1, c=[])
        x.b = Calls(lambda: x.__dict__.clear())
        x.d = [2]
        return x

    defined_or_error(build, dumps)

    def build_growing():
        x = s.Plain(a=1)
        x.b = Calls(lambda: x.__dict__.update((f"n{i}", i) for i in range(50)))
        x.c = 3
        return x

    defined_or_error(build_growing, dumps)


def test_an_instance_whose_class_changes(dumps):
    def build():
        x = s.Node([1], None)
        x.link = Calls(lambda: setattr(x, "__class__", s.Plain))
        return [x, x]

    defined_or_error(build, dumps)


def test_a_class_that_gains_a_reducer_meanwhile(dumps):
    """Facts about a class are looked at again when it changes."""

    class Local:
        pass

    Local.__qualname__ = "Local"
    Local.__module__ = __name__
    globals()["Local"] = Local

    def gain():
        Local.__reduce__ = lambda self: (list, (["reduced"],))

    try:
        got = pickle.loads(dumps([Local(), Calls(gain), Local()]))
        assert type(got[0]) is Local and got[2] == ["reduced"]
        assert pickle.loads(dumps(Local())) == ["reduced"]
        del Local.__reduce__
        assert type(pickle.loads(dumps(Local()))) is Local
        Local.__getstate__ = lambda self: {"from": "getstate"}
        assert vars(pickle.loads(dumps(Local()))) == {"from": "getstate"}
        copyreg.pickle(Local, lambda x: (list, (["copyreg"],)))
        assert pickle.loads(dumps(Local())) == ["copyreg"]
    finally:
        copyreg.dispatch_table.pop(Local, None)
        del globals()["Local"]


def test_slots_that_change(dumps):
    def build():
        x = s.Slots(1)
        x.a = Calls(lambda: delattr(x, "b"))
        x.b = 2
        return x

    defined_or_error(build, dumps)


# ---------------------------------------------------------------- arrays that change


def test_a_scratch_array_used_again(dumps):
    """What is stored is what the array held when it was visited."""

    class Model:
        def __init__(self, number):
            self.number = number

        def __reduce__(self):
            scratch[:] = self.number
            return list, ([scratch[:]],)

    for n in (3, 3000, LARGE):
        scratch = np.zeros(n)
        got = pickle.loads(dumps([Model(i) for i in range(5)]))
        assert [set(a[0].tolist()) for a in got] == [{float(i)} for i in range(5)]


def test_a_shared_scratch_array_is_one_array(dumps):
    """The very same object is stored as it was at its first visit, as with pickle."""

    class Model:
        def __init__(self, number):
            self.number = number

        def __getstate__(self):
            scratch[:] = self.number
            return {"weights": scratch}

    Model.__qualname__ = "Model"
    globals()["Model"] = Model
    try:
        for n in (3, 3000, LARGE):
            scratch = np.zeros(n)
            got = pickle.loads(dumps([Model(i) for i in range(1, 4)]))
            assert got[2].weights is got[0].weights and set(got[0].weights) == {1.0}
    finally:
        del globals()["Model"]


@pytest.mark.parametrize("n", [3, 3000, LARGE])
def test_an_array_already_visited_is_changed(n, dumps):
    def build():
        array = np.zeros(n)
        return [array, Calls(lambda: array.fill(7)), array, array[:2]]

    got = same_as_pickle(build, dumps)
    assert set(got[0]) == {0.0} and got[2] is got[0] and set(got[3]) == {7.0}


@pytest.mark.parametrize("n", [3, 3000, LARGE])
def test_an_array_yet_to_be_visited_is_changed(n, dumps):
    def build():
        array = np.zeros(n)
        return [Calls(lambda: array.fill(7)), array]

    assert set(same_as_pickle(build, dumps)[1]) == {7.0}


@pytest.mark.parametrize("kind", [bytearray, list])
def test_a_large_leaf_is_changed_after_its_visit(kind, dumps):
    def build():
        data = kind(b"a" * 50_000)
        return [data, Calls(lambda: data.clear()), data]

    got = pickle.loads(dumps(build()))
    assert got[0] == kind(b"a" * 50_000) and got[2] is got[0]


@pytest.mark.parametrize("n", [3, 3000, LARGE])
def test_an_array_resized_between_visits(n, dumps):
    def build():
        array = np.arange(float(n))
        return [array, Calls(lambda: array.resize(2 * n, refcheck=False)), array]

    got = same_as_pickle(build, dumps)
    assert got[0].tolist() == list(range(n)) and got[2] is got[0]


@pytest.mark.parametrize("make", ["C", "F", "strided"])
@pytest.mark.parametrize("how", ["shrink", "grow", "setstate", "reshape"])
def test_an_array_resized_while_it_is_copied(make, how):
    """Several megabytes: the ring is written out in the middle of the array."""
    array = np.zeros((2000, 1000))
    view = {"C": array, "F": np.asfortranarray(array), "strided": array[:, ::2]}[make]

    def change():
        if how == "shrink":
            view.resize((10, 10), refcheck=False)
        elif how == "grow":
            view.resize((4000, 1000), refcheck=False)
        elif how == "setstate":
            view.__setstate__((1, (3,), np.dtype("i2"), False, b"abcdef"))
        else:
            view.shape = (-1,)

    def change_quietly():
        try:
            change()
        except (ValueError, AttributeError):
            pass

    sink = ChangingSink(change_quietly)
    try:
        # NumPy 2.5 deprecates both ways to change an array in place.
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            fastpersist.dump([view, "after"], sink)
    except RuntimeError:
        return
    back = pickle.loads(b"".join(sink.pieces))
    assert back[1] == "after" and back[0].dtype == np.float64
    assert not back[0].any()


def test_a_bytearray_cannot_be_resized_while_it_is_copied():
    data = bytearray(6_000_000)

    def change():
        with pytest.raises(BufferError):
            data.append(1)

    sink = ChangingSink(lambda: None)
    try:
        sink.change = lambda: data.__iadd__(b"x")
        fastpersist.dump([data], sink)
    except (BufferError, RuntimeError):
        return
    assert pickle.loads(b"".join(sink.pieces))[0][:6_000_000] == bytes(6_000_000)


def test_an_array_written_to_by_another_thread(tmp_path):
    """The file is consistent in itself, whatever the other thread does."""
    format_reader = pytest.importorskip("format_reader", reason="needs the package xxhash")
    array = np.zeros(2_000_000)
    stop = threading.Event()

    def scribble():
        n = 0
        while not stop.is_set():
            n += 1
            array[n % 1000 :: 1000] = n

    thread = threading.Thread(target=scribble)
    thread.start()
    try:
        for _ in range(5):
            fastpersist.dump([array, array[::2]], tmp_path / "file")
            format_reader.read((tmp_path / "file").read_bytes())
    finally:
        stop.set()
        thread.join()


# ---------------------------------------------------------------- identity


def test_a_new_reference_to_something_written(dumps):
    """Found by the walk while nothing was remembered yet: user code hands it out again."""
    for shared in (
        ["list"],
        {"k": 1},
        ("tu", "ple"),
        {1},
        "a text" * 2,
        b"bytes" * 2,
        s.Plain(a=1),
    ):
        holder = [shared, [shared.copy() if hasattr(shared, "copy") else 0]]
        place = holder[0] if not isinstance(shared, list) else holder
        value = [[[place]], CallsInState(lambda place=place: place)]
        expected = pickle.loads(pickle.dumps(value, 5))
        got = pickle.loads(dumps(value))
        assert_isomorphic(expected, got)
        assert got[1].state is got[0][0][0]


def test_a_reference_that_only_the_reducer_knows(dumps):
    """The only reference followed by the walk, and a new one from gc.get_referents."""
    value = [[["inner"]], None]
    value[1] = CallsInState(lambda: gc.get_referents(value[0])[0])
    got = pickle.loads(dumps(value))
    assert got[1].state is got[0][0]


def test_references_handed_out_by_gc(dumps):
    """Everything there is may be handed out again by the collector."""
    value = {"a": [{"b": [1, "".join(["te", "xt"])]}], "z": None}
    value["z"] = CallsInState(lambda: [value["a"], value["a"][0], value["a"][0]["b"]])
    got = pickle.loads(dumps(value))
    assert got["z"].state[0] is got["a"]
    assert got["z"].state[1] is got["a"][0]
    assert got["z"].state[2] is got["a"][0]["b"]


class Temporaries:
    """Its state is made anew at each visit, so that addresses are used again and again."""

    def __init__(self, i):
        self.i = i

    def __getstate__(self):
        return {"list": [self.i], "text": f"text {self.i}", "pair": (self.i, [self.i]), "i": self.i}


class TemporaryArguments:
    def __init__(self, *arguments):
        self.arguments = arguments

    def __reduce__(self):
        return TemporaryArguments, tuple([x, f"n{x}"] for x in map(str, self.arguments))


class TemporaryItems(list):
    def __reduce__(self):
        return TemporaryItems, (), None, ([i, f"item {i}"] for i in range(50)), None


class TemporaryArrays:
    def __init__(self, i):
        self.i = i

    def __reduce__(self):
        return list, ([np.full(5, self.i), np.full(3000, self.i), np.full(LARGE // 20, self.i)],)


def test_addresses_used_again(dumps):
    got = pickle.loads(dumps([Temporaries(i) for i in range(500)]))
    for i, x in enumerate(got):
        assert vars(x) == {"list": [i], "text": f"text {i}", "pair": (i, [i]), "i": i}
    for build in (
        lambda: [TemporaryArguments(i, i + 1) for i in range(200)],
        lambda: [TemporaryItems() for _ in range(20)],
    ):
        assert_isomorphic(pickle.loads(pickle.dumps(build(), 5)), pickle.loads(dumps(build())))


def test_addresses_of_arrays_used_again(dumps):
    got = pickle.loads(dumps([TemporaryArrays(i) for i in range(100)]))
    for i, arrays in enumerate(got):
        assert [set(a.tolist()) for a in arrays] == [{i}] * 3


def test_reducers_that_return_new_bound_methods_and_strings(dumps):
    value = [[].append, {}.get, "".join] * 50
    assert_isomorphic(pickle.loads(pickle.dumps(value, 5)), pickle.loads(dumps(value)))


def test_an_object_that_dies_during_the_walk(dumps):
    """A reducer removes the last reference to what the walk stands on."""

    class Fragile:
        def __init__(self, i):
            self.payload = [i] * 10

        def __reduce__(self):
            holder.clear()
            gc.collect()
            return list, (self.payload,)

    for _ in range(3):
        holder = [Fragile(i) for i in range(5)]
        try:
            dumps([holder])
        except (RuntimeError, IndexError):
            pass
        holder = {"holder": [Fragile(1), "x"]}
        defined_or_error(lambda: holder, dumps)  # noqa: B023


def test_the_dict_of_an_instance_is_replaced(dumps):
    x = s.Plain(a=1, b=None, c=[3])

    def replace():
        x.__dict__ = {"other": 1}
        gc.collect()

    x.b = Calls(replace)
    defined_or_error(lambda: x, dumps)


# ---------------------------------------------------------------- re-entrance


def test_a_dump_inside_a_dump(dumps, tmp_path):
    inner_value = {"inner": np.arange(10), "shared": ["s"]}

    def inner():
        fastpersist.dump(inner_value, tmp_path / "inner", threads=2)
        return [file_bytes(inner_value), fastpersist.dumps(inner_value)]

    got = pickle.loads(dumps([["outer"], Calls(inner), np.arange(LARGE)]))
    assert got[0] == ["outer"] and len(got[2]) == LARGE
    for data in (*got[1], (tmp_path / "inner").read_bytes()):
        assert_isomorphic(inner_value, pickle.loads(data))


def test_a_dump_of_itself_inside_a_dump(dumps):
    depth = []

    def again():
        if len(depth) < 5:
            depth.append(1)
            return [dumps(value)]
        return []

    value = [["x"] * 3, CallsInState(again)]
    got = pickle.loads(dumps(value))
    while got[1].state:
        got = pickle.loads(got[1].state[0])
    assert len(depth) == 5


def test_a_dump_to_the_same_path_inside_a_dump(tmp_path):
    path = tmp_path / "same"

    def inner():
        fastpersist.dump("inner", path)

    fastpersist.dump([1, Calls(inner), 2], path)
    assert fastpersist.load(path) == [1, [], 2]
    assert [p.name for p in tmp_path.iterdir()] == ["same"]


def test_a_load_inside_a_dump(tmp_path):
    path = tmp_path / "file"
    fastpersist.dump([1], path)
    fastpersist.dump([Calls(lambda: fastpersist.load(path))], path)
    assert fastpersist.load(path) == [[1]]


def test_threads_dump_at_once(tmp_path):
    values = [[s.GetState([i, f"t{i}"]), np.full(50_000, i), {"k": [i] * 500}] for i in range(8)]
    expected = [file_bytes(value) for value in values]
    errors = []

    def work(i):
        try:
            for _ in range(10):
                fastpersist.dump(values[i], tmp_path / str(i), threads=2)
                assert (tmp_path / str(i)).read_bytes() == expected[i]
                assert pickle.loads(fastpersist.dumps(values[i]))[0].state[0] == i
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert gc.isenabled()


# ---------------------------------------------------------------- the collector


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_left_as_it_was(enabled, dumps):
    class Fails:
        def __reduce__(self):
            raise ZeroDivisionError

    (gc.enable if enabled else gc.disable)()
    try:
        for value, error in (
            ([1, 2], None),
            ([s.GetState(1)], None),
            ([Fails()], ZeroDivisionError),
            ([lambda: 0], (pickle.PicklingError, AttributeError)),
            ([Calls(gc.collect)], None),
        ):
            if error is None:
                dumps(value)
            else:
                with pytest.raises(error):
                    dumps(value)
            assert gc.isenabled() == enabled
    finally:
        gc.enable()


def test_user_code_that_turns_the_collector_off_or_on(dumps):
    dumps([Calls(gc.enable), [1], Calls(gc.collect)])
    assert gc.isenabled()
    dumps([Calls(gc.disable), [1]])
    gc.enable()


def test_a_failing_sink_leaves_the_collector_on():
    class Broken:
        def write(self, data):
            raise OSError("no")

    for value in ([1], np.zeros(1_000_000)):
        with pytest.raises(OSError, match="no"):
            fastpersist.dump(value, Broken())
        with pytest.raises(OSError, match="no"):
            fastpersist.Pickler(Broken()).dump(value)
    assert gc.isenabled()


def test_finalizers_run_during_the_walk(dumps):
    """A __del__ of something the walk makes and drops is user code too."""
    seen = []

    class Noisy:
        def __del__(self):
            seen.append(1)
            target.append("late")

        def __reduce__(self):
            return list, ()

    class Makes:
        def __reduce__(self):
            return list, ([Noisy()],)

    target = [Makes()] * 3 + [Makes() for _ in range(3)]
    defined_or_error(lambda: target, dumps)
    gc.collect()
    assert seen


# ---------------------------------------------------------------- sinks


def test_a_sink_that_changes_a_list_in_the_walk():
    value = [np.zeros(600_000), ["a"], np.zeros(600_000), ["b"]]
    sink = ChangingSink(lambda: value.append("more") if len(value) < 100 else None)
    try:
        fastpersist.dump(value, sink)
    except RuntimeError:
        return
    back = pickle.loads(b"".join(sink.pieces))
    assert back[1] == ["a"] and back[3] == ["b"]


def test_a_sink_that_clears_what_is_walked():
    value = {"x": [np.zeros(600_000), ["a"], np.zeros(600_000)], "y": ["b"]}
    sink = ChangingSink(lambda: (value["x"].clear() if "x" in value else 0, value.clear()))
    try:
        fastpersist.dump(value, sink)
    except RuntimeError:
        return
    pickle.loads(b"".join(sink.pieces))


def test_a_sink_that_hands_out_what_was_written():
    """A Python write() is user code: a new reference afterwards must be seen as the same object."""
    value = [["inner"], np.zeros(600_000), []]

    def change():
        if not value[2]:
            value[2].append(value[0])

    sink = ChangingSink(change)
    fastpersist.dump(value, sink)
    back = pickle.loads(b"".join(sink.pieces))
    assert back[0] == ["inner"]
    if back[2]:
        assert back[2][0] is back[0]


def test_a_sink_that_writes_less_than_it_was_given():
    class Short(io.RawIOBase):
        def __init__(self):
            self.data = bytearray()

        def writable(self):
            return True

        def write(self, data):
            part = bytes(data)[:1000]
            self.data += part
            return len(part)

    sink = Short()
    value = list(range(10_000))
    try:
        fastpersist.dump(value, sink)
    except OSError:
        return  # refused: also right
    assert pickle.loads(bytes(sink.data)) == value


@pytest.mark.parametrize("result", [None, "text", -5, 10**30, []])
def test_a_sink_that_returns_nonsense(result):
    class Nonsense:
        pieces = []

        def write(self, data):
            self.pieces.append(bytes(data))
            return result

    sink = Nonsense()
    sink.pieces = []
    try:
        fastpersist.dump([1, np.arange(10)], sink)
    except (OSError, TypeError, ValueError, OverflowError):
        return
    assert pickle.loads(b"".join(sink.pieces))[0] == 1


def test_a_sink_that_keeps_what_it_was_given():
    """A buffer given to write() stays as it is afterwards, or is a copy, or cannot be kept."""

    class Keeps:
        def __init__(self):
            self.kept = []
            self.copies = []

        def write(self, data):
            self.kept.append(data)
            self.copies.append(bytes(data))
            return len(data)

    for value in ([f"{i}" for i in range(50_000)], np.arange(500_000.0), [1]):
        sink = Keeps()
        fastpersist.dump(value, sink)
        for kept, copy in zip(sink.kept, sink.copies, strict=True):
            try:
                assert bytes(kept) == copy
            except ValueError:
                pass  # a released memoryview
        assert_isomorphic(value, pickle.loads(b"".join(sink.copies)))


# ---------------------------------------------------------------- Pickler


def test_init_again_inside_persistent_id():
    file, other = io.BytesIO(), io.BytesIO()

    class Reinit(fastpersist.Pickler):
        def persistent_id(self, x):
            if x == "now":
                self.__init__(other, 2)
            return None

    for value in (["a", "now", ["b"]], [["now"]] * 3, {"k": "now"}):
        try:
            Reinit(file, 5).dump(value)
        except (RuntimeError, pickle.PicklingError):
            pass


def test_init_again_inside_a_reducer():
    class P(fastpersist.Pickler):
        pass

    pickler = P(io.BytesIO(), 5)
    value = [["x"], Calls(lambda: pickler.__init__(io.BytesIO(), 1)), ["y"] * 3]
    try:
        pickler.dump(value)
    except (RuntimeError, pickle.PicklingError):
        pass
    pickler.dump([1])


@pytest.mark.parametrize("how", ["clear_memo", "memo.clear", "assign"])
def test_the_memo_cleared_during_the_walk(how):
    """The numbers start anew, so the stream is nonsense: the same nonsense as with pickle."""

    def clearing(base):
        class Clears(base):
            def persistent_id(self, x):
                if x == "now":
                    if how == "clear_memo":
                        self.clear_memo()
                    elif how == "memo.clear":
                        self.memo.clear()
                    else:
                        self.memo = {}
                return None

        return Clears

    def dumped(base, value, protocol):
        file = io.BytesIO()
        clearing(base)(file, protocol).dump(value)
        return file.getvalue()

    shared = ["s"]
    for value in ([shared, "now", shared], [[("now", shared)], shared], {"a": shared, "b": "now"}):
        for protocol in range(6):
            got = outcome(dumped, fastpersist.Pickler, value, protocol)
            if got[:1] != (RuntimeError,):
                assert got == outcome(dumped, pickle.Pickler, value, protocol)


def test_the_memo_cleared_inside_reducer_override():
    class Clears(fastpersist.Pickler):
        def reducer_override(self, x):
            if isinstance(x, s.Plain):
                self.clear_memo()
                gc.collect()
            return NotImplemented

    shared = s.Plain(a=[1])
    file = io.BytesIO()
    try:
        Clears(file).dump([shared, s.Plain(b=2), shared])
    except (RuntimeError, pickle.PicklingError):
        return
    assert pickle.loads(file.getvalue())[1].b == 2


def test_a_pickler_used_by_its_own_reducer():
    """dump inside dump on one Pickler: a defined result or RuntimeError, no crash."""
    file = io.BytesIO()
    pickler = fastpersist.Pickler(file, 5)
    value = [["x"], Calls(lambda: pickler.dump(["inner"])), ["y"]]
    try:
        pickler.dump(value)
    except RuntimeError:
        return
    file.seek(0)
    assert pickle.load(file) is not None


def test_hooks_replaced_during_the_walk():
    class Replaces(fastpersist.Pickler):
        def reducer_override(self, x):
            self.dispatch_table = {s.Plain: lambda x: (list, (["table"],))}
            return NotImplemented

    file = io.BytesIO()
    try:
        Replaces(file).dump([s.Node(1), s.Plain(a=1), s.Plain()])
    except RuntimeError:
        return
    pickle.loads(file.getvalue())


def test_a_dispatch_table_that_empties_itself(dumps):
    table_size = len(copyreg.dispatch_table)

    def reduce_plain(x):
        copyreg.dispatch_table.pop(s.Plain, None)
        gc.collect()
        return list, (["by copyreg"],)

    copyreg.pickle(s.Plain, reduce_plain)
    try:
        got = pickle.loads(dumps([s.Plain(a=1), s.Plain(b=2)]))
    finally:
        copyreg.dispatch_table.pop(s.Plain, None)
    assert got[0] == ["by copyreg"] and got[1].b == 2
    assert len(copyreg.dispatch_table) == table_size


def test_buffer_callbacks_that_misbehave():
    array = np.arange(10_000)

    def fails(buffer):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fastpersist.dumps([array], 5, buffer_callback=fails)
    value = [pickle.PickleBuffer(b"x" * 100), ["y"]]

    def clears(buffer):
        value.clear()
        gc.collect()

    try:
        fastpersist.dumps(value, 5, buffer_callback=clears)
    except (RuntimeError, IndexError):
        pass


class ReleasedWhenAsked:
    """The answer of a callback, which releases the buffer while it is looked at."""

    def __init__(self, buffer, in_band):
        self.buffer, self.in_band = buffer, in_band

    def __bool__(self):
        self.buffer.release()
        return self.in_band


@pytest.mark.parametrize("n", [16, 100_000])
def test_a_buffer_that_its_callback_releases(n):
    for memory in (b"a" * n, bytearray(b"a" * n), memoryview(b"a" * 2 * n)[n:]):
        for in_band in (True, False):
            expected = pickle.dumps(
                pickle.PickleBuffer(memory), 5, buffer_callback=lambda buffer, b=in_band: b
            )
            got = fastpersist.dumps(
                pickle.PickleBuffer(memory),
                5,
                buffer_callback=lambda buffer, b=in_band: ReleasedWhenAsked(buffer, b),
            )
            assert got == expected


# ---------------------------------------------------------------- odd classes


class EqualToEverything:
    def __eq__(self, other):
        raise ZeroDivisionError

    def __hash__(self):
        raise ZeroDivisionError


class BadAttributes:
    def __getattribute__(self, name):
        if name.startswith("_FP") or name in ("__class__", "__dict__"):
            return object.__getattribute__(self, name)
        raise ZeroDivisionError(name)


class LiesAboutClass:
    @property
    def __class__(self):
        return s.Plain


class LenLies(list):
    def __len__(self):
        return 10**9

    def __iter__(self):
        return iter([1, 2])


class IterFails(dict):
    def items(self):
        yield 1, 2
        raise ZeroDivisionError


class StrangeDict:
    """Its __dict__ has keys that are no str."""

    def __init__(self):
        self.__dict__[1] = "one"
        self.__dict__[("t",)] = "tuple"


class DictProperty:
    @property
    def __dict__(self):
        return {"from": "property"}


ODD = [
    EqualToEverything(),
    BadAttributes(),
    LiesAboutClass(),
    LenLies([3]),
    IterFails(a=1),
    StrangeDict(),
    DictProperty(),
]


@pytest.mark.parametrize("odd", ODD, ids=lambda x: type(x).__name__)
def test_odd_classes(odd):
    for value in (odd, [odd, odd]):
        for protocol in (2, 5):
            try:
                expected = pickle.dumps(value, protocol)
            except Exception as error:
                with pytest.raises(type(error)):
                    fastpersist.dumps(value, protocol)
                with pytest.raises(type(error)):
                    file_bytes(value)
            else:
                assert fastpersist.dumps(value, protocol) == expected
                through = pickle.dumps(pickle.loads(expected), 2)
                assert pickle.dumps(through_file(value), 2) == through


def test_str_subclass_as_attribute_name(dumps):
    x = s.Plain()
    x.__dict__[s.StrSub("a")] = 1
    x.__dict__["b"] = 2
    assert_isomorphic(pickle.loads(pickle.dumps(x, 5)), pickle.loads(dumps(x)))
    x = [x, s.Plain(a=1)]
    assert_isomorphic(pickle.loads(pickle.dumps(x, 5)), pickle.loads(dumps(x)))


# ---------------------------------------------------------------- anything goes


class Acts:
    """Runs the next of some actions each time it is pickled, in one of the ways there are."""

    def __init__(self, way, actions):
        self.way, self.actions = way, actions

    def act(self):
        if self.actions:
            self.actions.pop()()

    def __reduce_ex__(self, protocol):
        self.act()
        if self.way == "reduce":
            return list, ([self.way, [1]],)
        if self.way == "items":
            return list, (), None, (self.act() for _ in range(3))
        return object.__reduce_ex__(s.GetState(self.way), protocol)


CHANGES = {
    list: [
        lambda x, other: x.append(other),
        lambda x, other: x.clear(),
        lambda x, other: x.pop() if x else None,
        lambda x, other: x.insert(0, other),
        lambda x, other: x.__setitem__(slice(None), [other] * 3),
    ],
    dict: [
        lambda x, other: x.__setitem__(len(x), other),
        lambda x, other: x.clear(),
        lambda x, other: x.popitem() if x else None,
        lambda x, other: x.update(dict.fromkeys(range(20), other)),
        lambda x, other: x.update(dict.fromkeys(list(x), other)),
    ],
    s.Plain: [
        lambda x, other: setattr(x, "a", other),
        lambda x, other: x.__dict__.clear(),
        lambda x, other: setattr(x, "__dict__", {"b": other}),
        lambda x, other: setattr(x, "__class__", s.Node),
    ],
    np.ndarray: [
        lambda x, other: x.fill(7),
        lambda x, other: x.resize((1,), refcheck=False),
        lambda x, other: x.resize((9000,), refcheck=False),
    ],
}


@st.composite
def restless(draw):
    """A graph with objects in it that change it, in any order, while it is walked."""
    nodes = [[], {}, s.Plain(), np.zeros(draw(st.sampled_from([3, 100, 5000]))), "text", b"bytes"]
    containers = [x for x in nodes if type(x) in CHANGES]
    for _ in range(draw(st.integers(3, 12))):
        kind = draw(st.sampled_from(["list", "dict", "plain", "array", "acts", "tuple"]))
        parts = draw(st.lists(st.sampled_from(nodes), max_size=4))
        if kind == "acts":
            actions = []
            for _ in range(draw(st.integers(1, 3))):
                target = draw(st.sampled_from(containers))
                change = draw(st.sampled_from(CHANGES.get(type(target), [lambda x, other: None])))
                other = draw(st.sampled_from(nodes))
                actions.append(lambda t=target, c=change, o=other: c(t, o))
            if draw(st.booleans()):
                actions.append(lambda: gc.collect(1))
            node = Acts(draw(st.sampled_from(["reduce", "items", "state"])), actions)
        elif kind == "array":
            node = np.full(draw(st.sampled_from([2, 3000])), 1.5)
        elif kind == "tuple":
            node = tuple(parts)
        else:
            node = {"list": list, "dict": lambda p: dict(enumerate(p))}.get(
                kind, lambda p: s.Plain(**{f"a{i}": x for i, x in enumerate(p)})
            )(parts)
        nodes.append(node)
        if type(node) in CHANGES:
            containers.append(node)
        target = draw(st.sampled_from(containers))
        if type(target) is list:
            target.append(node)
        elif type(target) is dict:
            target[len(target)] = node
    return nodes


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of resize, in NumPy 2.5
@examples(100)
@given(restless(), st.sampled_from(sorted(ways())))
def test_any_change_at_any_time(value, way):
    try:
        data = ways()[way](value)
    except (RuntimeError, IndexError, TypeError, AttributeError, ValueError, pickle.PicklingError):
        return
    pickle.loads(data)


def test_hash_and_eq_are_never_called(dumps):
    """Identity is by address; user comparison has no place in a walk."""
    x = EqualToEverything()
    assert len(pickle.loads(dumps([x, [x], (x,)]))) == 3


def test_a_trace_function_sees_nothing_odd(dumps):
    events = []
    sys.setprofile(lambda frame, event, argument: events.append(event))
    try:
        data = dumps([s.GetState([1]), {"k": [2]}])
    finally:
        sys.setprofile(None)
    assert pickle.loads(data)[1] == {"k": [2]}


FORK_DURING_DUMP = """
import os, pickle, sys
import numpy as np
import fastpersist

class Forks:
    def __reduce__(self):
        pid = os.fork()
        if pid == 0:
            fastpersist.dump([np.arange(200_000)], sys.argv[1] + ".child", threads=2)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        return list, ()

fastpersist.dump([np.arange(300_000), Forks(), np.arange(5)], sys.argv[1], threads=2)
for name, n in ((sys.argv[1], 3), (sys.argv[1] + ".child", 1)):
    with open(name, "rb") as file:
        assert len(pickle.load(file)) == n
"""


def test_fork_during_a_dump(tmp_path):
    # Python 3.12 warns about fork with threads alive; ours live for the dump.
    run_python(FORK_DURING_DUMP, tmp_path / "file", warnings="ignore", timeout=60)


@pytest.mark.parametrize("enabled", [True, False])
def test_interning_is_left_alone(enabled, dumps):
    names = [f"attribute_{i}" for i in range(5)]
    x = s.Plain(**dict.fromkeys(names))
    pickle.loads(dumps([x, s.Plain(**dict.fromkeys(names, 1))]))
    assert list(x.__dict__) == names

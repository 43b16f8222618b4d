"""Pickler: the standard library's interface, attribute by attribute, byte by byte."""

import collections
import copyreg
import gc
import io
import pickle
import weakref

import fastpersist
import pytest
import sample_classes as s
from helpers import (
    PERSISTENT_ID_IS_READ_ONLY,
    PICKLER_FORBIDS_REENTRY,
    PROTOCOLS,
    outcome,
    outcome_of_dump,
    same_bytes,
)
from values import catalogue, shared_and_cyclic

BASES = {"ours": fastpersist.Pickler, "theirs": pickle.Pickler}


def compared(build, protocols=PROTOCOLS):
    """What `build` does with our Pickler and with theirs gives the same bytes or exception."""
    for protocol in protocols:
        got = outcome_of_dump(build, fastpersist.Pickler, protocol)
        assert same_bytes(got, outcome_of_dump(build, pickle.Pickler, protocol)), protocol


def dump_all(pickler_class, values, protocol, prepare=lambda pickler: None, **kwargs):
    file = io.BytesIO()
    pickler = pickler_class(file, protocol, **kwargs)
    prepare(pickler)
    for value in values:
        pickler.dump(value)
    return file.getvalue()


SHARED = ["shared"]
VALUES = [[SHARED, SHARED], {"a": SHARED}, "text", ("text", SHARED), s.Plain(a=SHARED), SHARED]


def test_several_dumps_share_a_memo():
    compared(lambda base, protocol: dump_all(base, VALUES, protocol))


def test_the_memo_cleared_between_dumps():
    def build(base, protocol):
        file = io.BytesIO()
        pickler = base(file, protocol)
        for i, value in enumerate(VALUES):
            pickler.dump(value)
            if i % 2:
                pickler.clear_memo()
            elif i == 2:
                pickler.memo.clear()
        return file.getvalue()

    compared(build)


def test_fast_mode():
    def fast(pickler):
        pickler.fast = True

    for name, build in catalogue().items():
        if name in ("count", "iterators", "enumerate", "state setter", *shared_and_cyclic()):
            continue  # consumed by the first dump, or without end where nothing is remembered
        values = [build()] * 2
        compared(lambda base, protocol, v=values: dump_all(base, v, protocol, fast), (1, 2, 4, 5))


def test_fast_mode_stores_shared_objects_twice():
    def fast(pickler):
        pickler.fast = 1

    for name in ("twins", "shared_leaves", "many_shared", "interned"):
        value = shared_and_cyclic()[name]()
        compared(lambda base, protocol, v=value: dump_all(base, [v] * 2, protocol, fast), (1, 5))


def test_fast_mode_notices_cycles():
    value = []
    for _ in range(3):
        value = [value]
    value[0][0].append(value)
    file = io.BytesIO()
    pickler = fastpersist.Pickler(file)
    pickler.fast = True
    with pytest.raises((ValueError, RecursionError)):
        pickler.dump(value)


def test_attributes():
    for base in BASES.values():
        pickler = base(io.BytesIO(), 2)
        assert pickler.bin == 1 and base(io.BytesIO(), 0).bin == 0
        assert pickler.fast == 0
        pickler.fast = 1
        pickler.bin = 0
        assert (pickler.fast, pickler.bin) == (1, 0)
        assert not hasattr(pickler, "dispatch_table")
        pickler.dispatch_table = {}
        assert pickler.dispatch_table == {}


def test_memo():
    def build(base, protocol):
        file = io.BytesIO()
        first = base(file, protocol)
        first.dump(VALUES)
        copy = first.memo.copy()
        assert all(key == id(value) for key, (_, value) in copy.items())
        assert sorted(number for number, _ in copy.values()) == list(range(len(copy)))
        second = base(file, protocol)
        second.memo = copy
        second.dump(VALUES)
        third = base(file, protocol)
        third.memo = first.memo
        third.dump([VALUES, "more", "more"])
        third.memo = {}
        third.dump(VALUES)
        return file.getvalue()

    compared(build)


def test_the_memo_holds_its_objects():
    pickler = fastpersist.Pickler(io.BytesIO())
    x = s.Plain()
    pickler.dump(x)
    reference = weakref.ref(x)
    del x
    gc.collect()
    assert reference() is not None
    pickler.clear_memo()
    gc.collect()
    assert reference() is None


def test_a_pickler_in_a_cycle_is_collected():
    class P(fastpersist.Pickler):
        pass

    pickler = P(io.BytesIO())
    pickler.me = pickler
    pickler.dump([[1], SHARED])
    held = s.Plain(pickler=pickler)
    pickler.persistent_id = lambda x: None
    pickler.dispatch_table = {int: held}
    reference = weakref.ref(pickler)
    del pickler, held
    gc.collect()
    assert reference() is None


class Persistent:
    """persistent_id for the even numbers and the shared list."""

    def persistent_id(self, x):
        if type(x) is int and x % 2 == 0:
            return f"even {x}"
        return "shared" if x is SHARED else None


def test_persistent_ids():
    def build(base, protocol):
        cls = type("P", (Persistent, base), {})
        return dump_all(cls, [VALUES, list(range(10)), {1: 2, 2: 3}], protocol)

    compared(build)


def test_persistent_ids_of_any_type():
    for answer in (5, 0, False, ("a", [1]), "", "x\ny", "é", SHARED, s.Plain):

        def build(base, protocol, answer=answer):
            class P(base):
                def persistent_id(self, x):
                    return answer if x == "here" else None

            return dump_all(P, [["here", 1, "here"]], protocol)

        compared(build)


@pytest.mark.skipif(
    PERSISTENT_ID_IS_READ_ONLY,
    reason="this Python's own Pickler refuses the attribute, as no other version does",
)
def test_persistent_id_as_an_attribute():
    def build(base, protocol):
        def prepare(pickler):
            pickler.persistent_id = lambda x: "id" if x == 5 else None

        return dump_all(base, [[5, 6]], protocol, prepare)

    compared(build)


def without_module(result):
    """What a call returned or raised, where that names the type's module."""
    return (
        repr(result).replace("_pickle.Pickler", "Pickler").replace("fastpersist.Pickler", "Pickler")
    )


@pytest.mark.skipif(
    PERSISTENT_ID_IS_READ_ONLY or not hasattr(pickle.Pickler(io.BytesIO()), "persistent_id"),
    reason="pickle has no such method (before 3.13), or refuses the attribute (3.13.0)",
)
def test_persistent_id_as_method_and_attribute():
    def always(x):
        return "id"

    def build(base):
        class Overrides(base):
            def persistent_id(self, x):
                return None

        class Inherits(base):
            pass

        done = []
        for cls in (base, Overrides, Inherits):
            file = io.BytesIO()
            pickler = cls(file, 4)
            for step in (
                lambda p: type(p.persistent_id).__name__,
                lambda p: p.persistent_id(1),
                lambda p: delattr(p, "persistent_id"),
                lambda p: setattr(p, "persistent_id", always),
                lambda p: p.persistent_id is always,
                lambda p: p.dump([5]),
                lambda p: super(type(p), p).persistent_id(1),
                lambda p: setattr(p, "persistent_id", 5),
                lambda p: p.dump([6]),
                lambda p: delattr(p, "persistent_id"),
                lambda p: delattr(p, "persistent_id"),
                lambda p: type(p.persistent_id).__name__,
                lambda p: p.dump([7]),
                lambda p: setattr(p, "other", 1),
                lambda p: delattr(p, "other"),
                lambda p: type(p).persistent_id(p, 1),
                lambda p: type(type(p).__dict__.get("persistent_id")).__name__,
            ):
                done.append(without_module(outcome(step, pickler)))
            done.append(file.getvalue())
        return done

    assert build(fastpersist.Pickler) == build(pickle.Pickler)


REENTRIES = {
    "dump": lambda p: p.dump(1),
    "init": lambda p: p.__init__(io.BytesIO()),
    "init with nonsense": lambda p: p.__init__(5),
    "clear_memo": lambda p: p.clear_memo(),
    "memo": lambda p: p.memo.copy(),
    "memo.clear": lambda p: p.memo.clear(),
    "set memo": lambda p: setattr(p, "memo", {}),
    "its memo for another": lambda p: setattr(type(p)(io.BytesIO()), "memo", p.memo),
    "sizeof": lambda p: p.__sizeof__() > 0,
    "fast": lambda p: setattr(p, "fast", 0),
    "dispatch_table": lambda p: setattr(p, "dispatch_table", {}),
}


@pytest.mark.skipif(not PICKLER_FORBIDS_REENTRY, reason="this pickle may crash there")
@pytest.mark.parametrize("reentry", REENTRIES)
def test_a_pickler_that_is_used_already(reentry):
    class Reduces:
        def __init__(self, call):
            self.call = call

        def __reduce__(self):
            self.call()
            return list, ()

    class File(io.BytesIO):
        call = staticmethod(lambda: None)

        def write(self, data):
            self.call()
            return super().write(data)

    def build(base, protocol):
        found = []

        class WithId(base):
            def persistent_id(self, x):
                if x == "now":
                    again()
                return None

        def again():
            result = outcome(lambda: REENTRIES[reentry](pickler))
            if not found or result != found[-1]:
                found.append(result)

        file = File()
        pickler = base(file, protocol)
        pickler.dump([1, Reduces(again)])
        pickler = WithId(File(), protocol)
        pickler.dump([1, "now"])
        file = File()
        pickler = base(file, protocol)
        file.call = again
        pickler.dump(["x" * 100_000])
        pickler.dump([2])  # used no more
        return repr([found if reentry != "memo" else len(found), pickler.fast])

    compared(build, (2, 5))


def test_persistent_id_by_static_and_class_method():
    for kind in (staticmethod, classmethod):

        def build(base, protocol, kind=kind):
            function = (
                (lambda x: "id" if x == 5 else None)
                if kind is staticmethod
                else (lambda cls, x: "id" if x == 5 else None)
            )
            return dump_all(type("P", (base,), {"persistent_id": kind(function)}), [[5]], protocol)

        compared(build)


class Overriding:
    def reducer_override(self, x):
        if isinstance(x, s.Plain):
            return s.Plain, (), {"overridden": True}
        if isinstance(x, type) and x is s.Outer:
            return list, (["class"],)
        if x is s.function:
            return "SINGLETON"
        return NotImplemented


def test_reducer_override():
    def build(base, protocol):
        cls = type("P", (Overriding, base), {})
        plain = s.Plain(a=1)
        values = [plain, plain, s.Outer, s.Plain, [s.Reduce(1)], 5, "x"]
        return dump_all(cls, [values], protocol)

    compared(build)


def test_reducer_override_of_builtin_types_is_not_asked():
    asked = []

    def build(base, protocol):
        class P(base):
            def reducer_override(self, x):
                asked.append(type(x))
                return NotImplemented

        asked.clear()
        value = [
            1,
            1.5,
            "x",
            b"x",
            bytearray(b"x"),
            None,
            (1,),
            {2},
            frozenset([3]),
            {},
            1j,
            s.Plain,
        ]
        data = dump_all(P, [value], protocol)
        return data + repr([t.__name__ for t in asked]).encode()

    compared(build)


def test_reducer_override_that_returns_nonsense():
    for answer in (None, 5, (list,), "missing name", (1, 2, 3, 4, 5, 6, 7)):

        def build(base, protocol, answer=answer):
            class P(base):
                def reducer_override(self, x):
                    return answer

            return dump_all(P, [s.Plain()], protocol)

        compared(build)


def test_dispatch_tables():
    table = {
        s.Plain: lambda x: (s.Plain, (), {"by": "table"}),
        complex: lambda x: (complex, (7,)),
        s.Meta: lambda cls: "SINGLETON",
    }
    for make in (dict, lambda t: collections.ChainMap({}, t), lambda t: Mapping(t)):

        def build(base, protocol, make=make):
            def prepare(pickler):
                pickler.dispatch_table = make(table)

            values = [s.Plain(a=1), 1j, s.WithMeta, [s.Reduce(1)], {1: s.Plain()}]
            return dump_all(base, [values], protocol, prepare)

        compared(build)


class Mapping:
    """Only __getitem__, as little as a table may have."""

    def __init__(self, table):
        self.table = table

    def __getitem__(self, key):
        return self.table[key]


def test_a_dispatch_table_of_the_class():
    def build(base, protocol):
        table = {**copyreg.dispatch_table, s.Plain: lambda x: (list, (["class table"],))}
        return dump_all(type("P", (base,), {"dispatch_table": table}), [s.Plain(), 1j], protocol)

    compared(build)


def test_a_dispatch_table_that_fails():
    class Fails:
        def __getitem__(self, key):
            raise ZeroDivisionError

    def build(base, protocol):
        def prepare(pickler):
            pickler.dispatch_table = Fails()

        return dump_all(base, [s.Plain()], protocol, prepare)

    compared(build)


def test_copyreg_for_a_metaclass():
    copyreg.pickle(s.ReducingMeta, lambda cls: (list, ([cls.__name__],)))
    try:
        cls = s.ReducingMeta("Made", (), {})

        def build(base, protocol):
            return dump_all(base, [[cls, cls, s.WithMeta]], protocol)

        compared(build)
    finally:
        del copyreg.dispatch_table[s.ReducingMeta]


def test_buffer_callback():
    for answer in (None, False, True, 0, 1, "text"):

        def build(base, protocol, answer=answer):
            seen = []

            def callback(buffer):
                seen.append(bytes(buffer))
                return answer

            buffers = [pickle.PickleBuffer(b"ro"), pickle.PickleBuffer(bytearray(b"rw"))]
            data = dump_all(base, [buffers + buffers], protocol, buffer_callback=callback)
            return data + repr(seen).encode()

        compared(build, [5])


class Writer:
    def __init__(self):
        self.pieces = []

    def write(self, data):
        self.pieces.append(bytes(data))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pieces_given_to_write(protocol):
    """The same bytes come in as many pieces as with pickle, at most."""
    value = [[f"text {i}", i] for i in range(20_000)] + [b"x" * 100_000, "y" * 200_000]
    ours, theirs = Writer(), Writer()
    fastpersist.Pickler(ours, protocol).dump(value)
    pickle.Pickler(theirs, protocol).dump(value)
    assert b"".join(ours.pieces) == b"".join(theirs.pieces)
    assert len(ours.pieces) <= len(theirs.pieces) + 1


def test_a_subclass_with_its_own_dump():
    class P(fastpersist.Pickler):
        def __init__(self, *arguments, extra=None, **keywords):
            super().__init__(*arguments, **keywords)
            self.extra = extra

        def dump(self, x):
            super().dump([self.extra, x])

    file = io.BytesIO()
    P(file, extra="extra").dump(1)
    assert pickle.loads(file.getvalue()) == ["extra", 1]


def test_init_again_starts_anew():
    first, second = io.BytesIO(), io.BytesIO()
    pickler = fastpersist.Pickler(first, 2)
    pickler.dump(VALUES)
    pickler.__init__(second, 4)
    pickler.dump(VALUES)
    assert second.getvalue() == pickle.dumps(VALUES, 4)


def test_a_pickler_that_lost_its_file():
    pickler = fastpersist.Pickler(io.BytesIO())
    with pytest.raises(TypeError):
        pickler.__init__(5)
    try:
        pickler.dump(1)
    except (pickle.PicklingError, TypeError):
        pass

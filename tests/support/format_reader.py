"""A second reader of the file layout, written from its description alone.

It checks every byte of a dump: each lies in a hashed region, or is compared with the one value
that it can have, or belongs to the state word. What is wrong raises FormatError. Loading is left to
pickle.
"""

import dataclasses
import json
import struct

import xxhash

MIB = 1 << 20
HEADER = b"\x80\x05C\x10fastpersist\0\x01\0\0\0" + b"0"
FOOTER_MAGIC = b"fastpersist ftr\0"
END_MAGIC = b"fastpersist end\0"
STATE_VALID = 0x3A96C55369F00FA5
STATE_VOID = STATE_VALID ^ 0xFFFF_FFFF_FFFF_FFFF
LENGTH_OPCODES = {0: b"\x96", 1: b"\x8e", 2: b"\x8d"}
KINDS = {0: "bytearray", 1: "bytes", 2: "str"}


class FormatError(Exception):
    pass


@dataclasses.dataclass(frozen=True)
class Blob:
    kind: str
    number: int
    offset: int
    length: int


@dataclasses.dataclass(frozen=True)
class Dump:
    data: bytes
    blobs: list
    sidecar: range
    graph: range
    footer: range
    environment: dict
    state_offset: int

    @property
    def graph_bytes(self):
        return self.data[self.graph.start : self.graph.stop]

    def payload(self, blob):
        return self.data[blob.offset : blob.offset + blob.length]


def check(condition, message):
    if not condition:
        raise FormatError(message)


def xxh3(data):
    return xxhash.xxh3_64_intdigest(data)


def read(data):
    """One dump, which is all of `data`, checked from its end to its beginning."""
    check(len(data) >= len(HEADER) + 5 + 96 + 40 + 2 and len(data) % 64 == 0, "length")
    check(data[: len(HEADER)] == HEADER, "header")
    check(data[-2:] == b"0.", "POP and STOP")
    state, footer_hash, payload_bytes = struct.unpack("<3Q", data[-42:-18])
    check(data[-18:-2] == END_MAGIC, "magic at the end")
    check(state in (STATE_VALID, STATE_VOID), "state word")
    opcode_bytes = 5 if payload_bytes < 1 << 32 else 9
    start = len(data) - 2 - payload_bytes
    check(96 + 40 <= payload_bytes <= len(data) - len(HEADER) - 7, "length of the footer")
    opcode = struct.pack("<cI", b"B", payload_bytes) if opcode_bytes == 5 else None
    opcode = opcode or struct.pack("<cQ", b"\x8e", payload_bytes)
    check(data[start - opcode_bytes : start] == opcode, "opcode of the footer")
    payload = data[start : len(data) - 2]
    check(xxh3(payload[:-40] + payload[-24:-16]) == footer_hash, "hash of the footer")

    check(payload[:16] == FOOTER_MAGIC, "magic of the footer")
    version, flags = struct.unpack("<II", payload[16:24])
    check((version, flags) == (1, 0), "version and flags")
    total, s_offset, s_length, g_offset, g_length = struct.unpack("<5Q", payload[24:64])
    n_blobs, table_bytes, n_hashes, env_bytes = struct.unpack("<4Q", payload[64:96])
    check(total == len(data), "total length")
    check(s_offset == len(HEADER), "offset of the sidecar")
    check(g_offset == s_offset + s_length, "offset of the graph")
    check(g_offset + g_length == start - opcode_bytes, "length of the graph")

    at = 96
    table = payload[at : at + table_bytes]
    at += table_bytes
    hashes = struct.unpack(f"<{n_hashes}Q", payload[at : at + 8 * n_hashes])
    at += 8 * n_hashes
    environment = payload[at : at + env_bytes]
    at += env_bytes
    padding = payload[at:-40]
    check(len(environment) == env_bytes and padding == bytes(len(padding)), "padding")
    check(len(padding) < 64, "length of the padding")

    sidecar = range(s_offset, s_offset + s_length)
    graph = range(g_offset, g_offset + g_length)
    blocks = [data[i : min(i + MIB, r.stop)] for r in (sidecar, graph) for i in r[::MIB]]
    check(n_hashes == len(blocks), "number of hashes")
    if state == STATE_VOID:
        n_void = len(sidecar[::MIB])
        check(list(map(xxh3, blocks[n_void:])) == list(hashes[n_void:]), "hash of the graph")
    else:
        check(list(map(xxh3, blocks)) == list(hashes), "hash of a block")
    blobs = read_blobs(data, table, n_blobs, sidecar)
    return Dump(
        data,
        blobs,
        sidecar,
        graph,
        range(start - opcode_bytes, len(data)),
        json.loads(environment),
        len(data) - 42,
    )


def read_blobs(data, table, n_blobs, sidecar):
    """The blobs of the table, while comparing every byte between their payloads."""
    blobs, at, end, number, position = [], 0, sidecar.start, 0, sidecar.start
    for _ in range(n_blobs):
        kind_and_gap, at = varint(table, at)
        length, at = varint(table, at)
        zigzag, at = varint(table, at)
        kind, gap = kind_and_gap & 3, kind_and_gap >> 2
        check(kind in KINDS, "kind of a blob")
        number += zigzag >> 1 if zigzag % 2 == 0 else -(zigzag + 1 >> 1)
        n_padding = -(position + 3 + 9) % 64
        prefix = b"C%c%b0" % (n_padding, bytes(n_padding))
        prefix += LENGTH_OPCODES[kind] + struct.pack("<Q", length)
        offset = position + len(prefix)
        check(offset == end + gap and offset % 64 == 0, "offset of a blob")
        check(data[position:offset] == prefix, "opcodes in front of a blob")
        end = offset + length
        suffix = b"q%c0" % number if number < 256 else b"r%b0" % struct.pack("<I", number)
        position = end + len(suffix)
        check(data[end:position] == suffix, "opcodes behind a blob")
        blobs.append(Blob(KINDS[kind], number, offset, length))
    check(at == len(table), "length of the table")
    check(position == sidecar.stop, "length of the sidecar")
    check(len({blob.number for blob in blobs}) == len(blobs), "two blobs of one number")
    return blobs


def varint(data, at):
    value, shift = 0, 0
    while True:
        check(at < len(data), "a number cut short")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            check(byte or shift == 7, "a number longer than it need be")
            return value, at


def split(data):
    """The dumps of a file that holds several, found from its end by their total lengths."""
    dumps = []
    while data:
        check(len(data) > 42 and data[-18:-2] == END_MAGIC, "magic at the end")
        (payload_bytes,) = struct.unpack("<Q", data[-26:-18])
        start = len(data) - 2 - payload_bytes
        check(start >= 0, "length of the footer")
        (total,) = struct.unpack("<Q", data[start + 24 : start + 32])
        check(0 < total <= len(data), "total length")
        dumps.append(read(data[-total:]))
        data = data[:-total]
    return dumps[::-1]

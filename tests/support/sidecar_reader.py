"""A second reader of sidecar files, written from their description alone.

It checks every byte: each lies in a hashed region, or is compared with the one value that it can
have, or belongs to the state word. What is wrong raises FormatError.
"""

import struct

from format_reader import MIB, STATE_VALID, STATE_VOID, check, xxh3

HEADER = b"fastpersist sdc\0" + struct.pack("<II", 1, 0)
END_MAGIC = b"fastpersist sde\0"
KINDS = {b"writable": bytearray, b"readonly": bytes}
INDEX = b"index\0\0\0"
READ_ONLY = 1 << 63


def read_record(data, position):
    """Kind, where its payload begins, and how long it is."""
    start = -(-(position + 16) // 64) * 64
    check(not data[position : start - 16].strip(b"\0"), "zeros in front of a record")
    kind = data[start - 16 : start - 8]
    (length,) = struct.unpack("<Q", data[start - 8 : start])
    check(start + length <= len(data), "a record inside the file")
    return kind, start, length


def read(data):
    """The buffers of the first sidecar, its root hash, and where it ends."""
    check(data[:24] == HEADER, "the header")
    entries, buffers, position = b"", [], 24
    while True:
        kind, start, length = read_record(data, position)
        if kind == INDEX:
            break
        check(kind in KINDS, "a known kind of record")
        buffers.append(KINDS[kind](data[start : start + length]))
        flag = READ_ONLY if kind == b"readonly" else 0
        entries += struct.pack("<QQ", start, length | flag)
        position = start + length
    end = start + length
    region = data[:start]
    hashes = [xxh3(region[i : i + MIB]) for i in range(0, len(region), MIB)]
    body = entries + struct.pack(f"<{len(hashes)}Q", *hashes)
    body += bytes(-len(body) % 64)
    body += struct.pack("<4Q", len(region), len(buffers), len(hashes), end)
    root = xxh3(body)
    tail = data[end - 64 : end]
    (state,) = struct.unpack("<Q", tail[32:40])
    check(state in (STATE_VALID, STATE_VOID), "one of the two state words")
    expected = body + tail[32:40] + struct.pack("<Q", root) + END_MAGIC
    check(data[start:end] == expected, "index, hashes and tail")
    check(end % 64 == 0, "a length that is a multiple of 64")
    return buffers, root, end


def read_all(data):
    out = []
    while data:
        buffers, _, end = read(data)
        out.append(buffers)
        data = data[end:]
    return out

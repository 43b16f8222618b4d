"""Writes files of our layout with anything in them: every hash is right, the rest need not be.

Written from the format's description, as format_reader.py.
"""

import struct

import format_reader
from format_reader import END_MAGIC, FOOTER_MAGIC, HEADER, MIB, xxh3

BYTEARRAY, BYTES, STR = 0, 1, 2


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def block_hashes(region):
    return [xxh3(region[i : i + MIB]) for i in range(0, len(region), MIB)]


def frames(opcodes, size=1 << 16):
    parts = [opcodes[i : i + size] for i in range(0, len(opcodes), size)] or [b""]
    return b"".join(b"\x95" + struct.pack("<Q", len(part)) + part for part in parts)


def dump(
    blobs=(),
    opcodes=b"N",
    *,
    graph=None,
    numbers=None,
    environment=b"{}",
    state=format_reader.STATE_VALID,
    change_table=lambda entries: entries,
    change_sidecar=lambda sidecar: sidecar,
    **head,
):
    """A whole dump. `blobs` are (kind, payload); `opcodes` become the graph's frames.

    The hooks change what is hashed; `head` sets fields of the footer's head.
    """
    numbers = list(range(len(blobs))) if numbers is None else numbers
    sidecar, entries, end, last = b"", [], len(HEADER), 0
    for (kind, payload), number in zip(blobs, numbers, strict=True):
        position = len(HEADER) + len(sidecar)
        n_padding = -(position + 12) % 64
        sidecar += b"C%c%b0" % (n_padding, bytes(n_padding))
        sidecar += format_reader.LENGTH_OPCODES[kind] + struct.pack("<Q", len(payload))
        gap = len(HEADER) + len(sidecar) - end
        sidecar += payload
        end = len(HEADER) + len(sidecar)
        sidecar += b"q%c0" % number if number < 256 else b"r" + struct.pack("<I", number) + b"0"
        delta = number - last
        entries.append((kind | gap << 2, len(payload), 2 * delta if delta >= 0 else -2 * delta - 1))
        last = number
    sidecar = change_sidecar(sidecar)
    table = b"".join(varint(number) for entry in change_table(entries) for number in entry)
    graph = frames(opcodes) if graph is None else graph
    hashes = b"".join(struct.pack("<Q", h) for h in block_hashes(sidecar) + block_hashes(graph))
    return (
        HEADER
        + sidecar
        + graph
        + footer((len(sidecar), len(graph), len(entries)), table, hashes, environment, state, head)
    )


def footer(lengths, table, hashes, environment, state, head):
    sidecar, graph, n_blobs = lengths
    fields = {
        "version": 1,
        "flags": 0,
        "total_length": None,
        "arrays_offset": len(HEADER),
        "arrays_length": sidecar,
        "graph_offset": len(HEADER) + sidecar,
        "graph_length": graph,
        "n_blobs": n_blobs,
        "table_bytes": len(table),
        "n_hashes": len(hashes) // 8,
        "environment_bytes": len(environment),
    }
    body = table + hashes + environment
    start = len(HEADER) + sidecar + graph
    padding = bytes(-(start + 5 + 96 + len(body) + 40 + 2) % 64)
    payload_bytes = 96 + len(body) + len(padding) + 40
    fields["total_length"] = start + 5 + payload_bytes + 2
    fields.update(head)
    payload = FOOTER_MAGIC + struct.pack("<II9Q", *fields.values()) + body + padding
    length = struct.pack("<Q", payload_bytes)
    tail = struct.pack("<QQ", state, xxh3(payload + length)) + length + END_MAGIC
    return b"B" + struct.pack("<I", payload_bytes) + payload + tail + b"0."

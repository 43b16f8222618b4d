"""bz2, by the standard library."""

from __future__ import annotations

import io
from typing import Any

from fastpersist.codecs.decoding import Decoded, Member
from fastpersist.codecs.outlet import Outlet, ThroughOutlet
from fastpersist.codecs.registry import Codec, OpenStream


def writer(name: str, level: Any, n_threads: int) -> OpenStream:
    try:
        import bz2
    except ImportError:
        raise ValueError("bz2 module is not compiled on your python standard library.") from None
    checked = 9 if level is None else level
    bz2.BZ2File(io.BytesIO(), "wb", compresslevel=checked).close()  # refuses a level that is none

    def make(file: Any, path: str | None) -> ThroughOutlet:
        outlet = Outlet(file, path)
        return ThroughOutlet(outlet, bz2.BZ2File(outlet, "wb", compresslevel=checked))

    return make


def reader(
    codec: Codec, file: Any, path: str | bytes | None, n_threads: int, max_bytes: int
) -> Decoded:
    return Decoded(codec, file, path, n_threads, max_bytes, start=_start, joins=True)


def _start(n_threads: int) -> Member:
    import bz2

    return Member(bz2.BZ2Decompressor(), OSError)

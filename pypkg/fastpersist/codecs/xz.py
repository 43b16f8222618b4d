"""xz, and the older lzma without checksums, by the standard library."""

from __future__ import annotations

from typing import Any

from fastpersist.codecs.decoding import Decoded, Member
from fastpersist.codecs.outlet import Outlet, ThroughOutlet
from fastpersist.codecs.registry import Codec, OpenStream


def writer(name: str, level: Any, n_threads: int) -> OpenStream:
    try:
        import lzma
    except ImportError:
        raise ValueError("lzma module is not compiled on your python standard library.") from None
    kind = lzma.FORMAT_XZ if name == "xz" else lzma.FORMAT_ALONE
    lzma.LZMACompressor(format=kind, preset=level)

    def make(file: Any, path: str | None) -> ThroughOutlet:
        outlet: Any = Outlet(file, path)
        return ThroughOutlet(outlet, lzma.LZMAFile(outlet, "wb", format=kind, preset=level))

    return make


def reader(
    codec: Codec, file: Any, path: str | bytes | None, n_threads: int, max_bytes: int
) -> Decoded:
    joins = codec.name == "xz"
    return Decoded(codec, file, path, n_threads, max_bytes, start=_start, joins=joins)


def _start(n_threads: int) -> Member:
    import lzma

    return Member(lzma.LZMADecompressor(), lzma.LZMAError)

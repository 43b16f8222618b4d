"""xz, and the older lzma without checksums, by the standard library."""

from __future__ import annotations

from typing import Any

from fastpersist.codecs.decoding import Decoded, Member, Refused
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
    is_xz = codec.name == "xz"
    start = _start_xz if is_xz else _start_lzma
    return Decoded(codec, file, path, n_threads, max_bytes, start=start, joins=is_xz)


def _explain(error: Exception) -> Exception | None:
    text = str(error)
    if "unsupported options" in text:  # checksums have said that they stand there as written
        return Refused(
            "it uses options or filters that this liblzma does not know",
            "compress it again without them",
        )
    if "Memory usage limit" in text:
        return MemoryError(text)
    return None


def _start_xz(n_threads: int) -> Member:
    import lzma

    return Member(lzma.LZMADecompressor(lzma.FORMAT_XZ), lzma.LZMAError, _explain)


def _start_lzma(n_threads: int) -> Member:
    import lzma

    # Asked to find out by itself, liblzma takes a dictionary of an odd size for no lzma.
    return Member(lzma.LZMADecompressor(lzma.FORMAT_ALONE), lzma.LZMAError)

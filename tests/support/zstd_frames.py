"""zstd of every kind, made by the library that this Python has: compression.zstd or zstandard."""

import struct
import sys

if sys.version_info >= (3, 14):
    from compression import zstd

    def frame(data, level=3, *, checksum=False, size=True, window=0, long=False, threads=0):
        parameter = zstd.CompressionParameter
        options = {
            parameter.compression_level: level,
            parameter.checksum_flag: checksum,
            parameter.content_size_flag: size,
            parameter.window_log: window,
            parameter.enable_long_distance_matching: long,
            parameter.nb_workers: threads,
        }
        return zstd.compress(data, options=options)

    def flushed(data, step, level=3):
        """One frame of many blocks, of unknown size."""
        compressor = zstd.ZstdCompressor(level)
        parts = [
            compressor.compress(data[i : i + step], compressor.FLUSH_BLOCK)
            for i in range(0, len(data), step)
        ]
        return b"".join(parts) + compressor.flush()

    def with_dictionary(data):
        samples = [b"sample %d of the dictionary" % i * 9 for i in range(500)]
        return zstd.compress(data, zstd_dict=zstd.train_dict(samples, 2000))

    def decompressed(data):
        return zstd.decompress(data)

else:
    import zstandard

    def frame(data, level=3, *, checksum=False, size=True, window=0, long=False, threads=0):
        parameters = zstandard.ZstdCompressionParameters(
            compression_level=level,
            window_log=window,
            enable_ldm=long,
            write_checksum=checksum,
            write_content_size=size,
            threads=threads,
        )
        return zstandard.ZstdCompressor(compression_params=parameters).compress(data)

    def flushed(data, step, level=3):
        """One frame of many blocks, of unknown size."""
        compressor = zstandard.ZstdCompressor(level).compressobj()
        parts = [
            compressor.compress(data[i : i + step])
            + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
            for i in range(0, len(data), step)
        ]
        return b"".join(parts) + compressor.flush()

    def with_dictionary(data):
        samples = [b"sample %d of the dictionary" % i * 9 for i in range(500)]
        dictionary = zstandard.train_dictionary(2000, samples)
        return zstandard.ZstdCompressor(dict_data=dictionary).compress(data)

    def decompressed(data):
        decompressor = zstandard.ZstdDecompressor()
        return decompressor.stream_reader(data, read_across_frames=True).readall()


def skippable(data=b"anything", number=0):
    return struct.pack("<II", 0x184D2A50 + number, len(data)) + data


def kinds(data):
    """Files of these bytes, by what is special about them."""
    middle = len(data) // 2
    return {
        "level 1": frame(data, 1),
        "level 19": frame(data, 19),
        "negative level": frame(data, -5),
        "checksum": frame(data, checksum=True),
        "unknown size": frame(data, size=False),
        "small window": frame(data, window=10),
        "large window": frame(data, window=27, size=False),
        "long distance": frame(data, long=True),
        "workers": frame(data, threads=2),
        "many blocks": flushed(data, 1000),
        "two frames": frame(data[:middle]) + frame(data[middle:], checksum=True),
        "a frame for every 999 bytes": b"".join(
            frame(data[i : i + 999]) for i in range(0, len(data), 999)
        ),
        "empty frames": frame(b"").join([frame(data[:middle]), frame(data[middle:]), b""]),
        "empty frame first": frame(b"") + frame(data),
        "skippable frames": frame(data[:middle])
        + skippable()
        + skippable(b"", 15)
        + frame(data[middle:])
        + skippable(bytes(300_000), 7),
    }

"""An object store for fsspec, in this process: counts what is read, publishes a file when it is
closed, and fails where it is told to."""

import fsspec
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem


class Store(AbstractFileSystem):
    protocol = "teststore"
    cachable = False  # each call has one of its own over the same files
    files = {}
    versions = {}
    ranges = []  # (start, end) of what was read
    parts = []  # sizes of what was written
    on_range = None
    on_part = None
    with_etags = True

    @classmethod
    def reset(cls):
        for table in (cls.files, cls.versions, cls.ranges, cls.parts):
            table.clear()
        cls.on_range = cls.on_part = None
        cls.with_etags = True

    @classmethod
    def put_bytes(cls, name, data):
        cls.files[name] = bytes(data)
        cls.versions[name] = cls.versions.get(name, 0) + 1

    @classmethod
    def n_read(cls):
        return sum(end - start for start, end in cls.ranges)

    def info(self, path, **_):
        path = self._strip_protocol(path)
        if path not in self.files:
            raise FileNotFoundError(path)
        found = {"name": path, "size": len(self.files[path]), "type": "file"}
        if self.with_etags:
            found["ETag"] = f'"{self.versions[path]}"'
        return found

    def cat_file(self, path, start=None, end=None, **_):
        path = self._strip_protocol(path)
        if type(self).on_range is not None:
            type(self).on_range(path, start, end)
        data = self.files[path][start:end]
        self.ranges.append((start or 0, (start or 0) + len(data)))
        return data

    def _open(self, path, mode="rb", block_size=None, autocommit=True, **_):
        return File(self, path, mode, block_size=1 << 20, autocommit=autocommit)


class File(AbstractBufferedFile):
    """In parts of 1 MiB, there at its last."""

    def _initiate_upload(self):
        self.uploaded = b""

    def _upload_chunk(self, final=False):
        if Store.on_part is not None:
            Store.on_part(len(Store.parts))
        data = self.buffer.getvalue()
        Store.parts.append(len(data))
        self.uploaded += data
        if final:
            Store.put_bytes(self.path, self.uploaded)
        return True

    def discard(self):
        Store.parts.append("discarded")


fsspec.register_implementation("teststore", Store, clobber=True)

"""File objects that can do as little as pickle asks for."""

import io


class Bare:
    """read and readline alone; returns what it is asked for, or less."""

    def __init__(self, data, at_most=None):
        self.file = io.BytesIO(data)
        self.readline = self.file.readline
        self.at_most = at_most or len(data) + 1

    def read(self, n):
        return self.file.read(min(n, self.at_most))


class WriteOnly:
    """write alone, which answers nothing."""

    def __init__(self):
        self.data = b""

    def write(self, data):
        self.data += data

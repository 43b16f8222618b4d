"""Objects and sinks that do something in the middle of a dump."""


class Meddler:
    """Its reducer does something: to what is written later, or has been."""

    def __init__(self, action):
        self.action = action

    def __reduce__(self):
        self.action()
        return int, ()


class Unpicklable:
    def __reduce__(self):
        raise RuntimeError("not this one")


class ChangingSink:
    """Does something at each write, the first of which comes in the middle of the walk."""

    def __init__(self, change):
        self.change = change
        self.pieces = []

    def write(self, data):
        self.pieces.append(bytes(data))
        self.change()
        return len(data)

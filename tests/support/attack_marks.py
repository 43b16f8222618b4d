"""What hostile pickles reach for: whoever gets here has run code of the file.

`marks` counts how often; nothing here does any harm.
"""

import collections
import copyreg

import numpy as np

marks = []

# Codes of the extension registry, as a program may have registered them.
EXT1, EXT2, EXT4 = 0x7A, 0x7A7A, 0x7A7A7A


def mark(*arguments, **keywords):
    marks.append(arguments)
    return Trace()


def register():
    """In the process that loads: EXT opcodes then stand for `mark`."""
    for code in (EXT1,):
        copyreg.add_extension("attack_marks", "mark", code)
    copyreg.add_extension("attack_marks", "Called", EXT2)
    copyreg.add_extension("attack_marks", "New", EXT4)


class Trace:
    """What a call leaves behind."""


class Called:
    def __init__(self, *arguments, **keywords):
        mark()


class New:
    def __new__(cls, *arguments, **keywords):
        mark()
        return super().__new__(cls)


class State:
    def __setstate__(self, state):
        mark()


class Property:
    @property
    def value(self):
        return None

    @value.setter
    def value(self, value):
        mark()


class Attribute:
    def __setattr__(self, name, value):
        mark()


class Hash:
    def __hash__(self):
        mark()
        return 1


class Mapping(collections.OrderedDict):
    def __setitem__(self, key, value):
        mark()


class Counting(collections.Counter):
    def __setitem__(self, key, value):
        mark()


class Sequence(list):
    def append(self, value):
        mark()

    def extend(self, values):
        mark()


class Appender:
    def append(self, value):
        mark()


class Adder:
    def add(self, value):
        mark()


class Members(set):
    def add(self, value):
        mark()

    def update(self, *others):
        mark()


class Meta(type):
    def __call__(cls, *arguments):
        mark()


class OfMeta(metaclass=Meta):
    pass


class Array(np.ndarray):
    def __array_finalize__(self, other):
        mark()

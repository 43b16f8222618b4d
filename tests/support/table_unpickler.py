"""The tables as an unpickler of Python's own, to see what they let through: no wall of its own."""

import _compat_pickle
import copyreg
import importlib
import io
import pickle

import numpy
from fastpersist.policy.rows import BUILD, CALL, ITEMS, NEW, Refused

TABLES = ("python", "numpy_", "scipy_", "sklearn_", "pandas_", "joblib_", "torch_")
BY_NAME = {
    (row.module, row.name): row
    for table in TABLES
    for row in importlib.import_module(f"fastpersist.policy.{table}").ROWS
}
_PLAIN_ITEMS = (dict, list, set)


class TableUnpickler(pickle._Unpickler):
    """Of each object that was found by name, the row is kept by identity."""

    dispatch = dict(pickle._Unpickler.dispatch)

    def __init__(self, file):
        super().__init__(file)
        self.rows = {}

    def find_class(self, module, name):
        module, name = _compat_pickle.NAME_MAPPING.get(
            (module, name), (_compat_pickle.IMPORT_MAPPING.get(module, module), name)
        )
        row = BY_NAME.get((module, name))
        if row is None:
            raise Refused(f"{module}.{name} is not approved")
        value = importlib.import_module(module)
        for part in name.split("."):
            value = getattr(value, part)
        self.rows[id(value)] = row
        return value

    def row_of(self, value, use, what):
        row = self.rows.get(id(value))
        if row is None:
            name = (getattr(value, "__module__", None), getattr(value, "__qualname__", None))
            row = BY_NAME.get(name)
        if row is None or not row.use & use:
            raise Refused(f"{what} {value!r:.200}")
        return row

    def called(self, function, args):
        row = self.row_of(function, CALL, "call of")
        if function is copyreg._reconstructor:
            return self.new(args[0], ())
        if function in (copyreg.__newobj__, copyreg.__newobj_ex__):
            return self.new(args[0], args[1:])
        changed = row.call(args) if row.call else None
        return function(*(args if changed is None else changed))

    def new(self, cls, args):
        row = self.row_of(cls, NEW, "instance of")
        changed = row.call(args) if row.call else None
        if args and row.call is None:
            raise Refused(f"arguments of {cls}")
        return cls.__new__(cls, *(args if changed is None else changed))

    def load_reduce(self):
        args = self.stack.pop()
        self.stack[-1] = self.called(self.stack[-1], args)

    dispatch[pickle.REDUCE[0]] = load_reduce

    def load_newobj(self):
        args = self.stack.pop()
        self.append(self.new(self.stack.pop(), args))

    dispatch[pickle.NEWOBJ[0]] = load_newobj

    def load_newobj_ex(self):
        kwargs = self.stack.pop()
        args = self.stack.pop()
        if kwargs:
            raise Refused("keyword arguments")
        self.append(self.new(self.stack.pop(), args))

    dispatch[pickle.NEWOBJ_EX[0]] = load_newobj_ex

    def load_build(self):
        instance = self.stack[-2]
        kind = numpy.dtype if isinstance(instance, numpy.dtype) else type(instance)
        row = self.row_of(kind, BUILD, "state of")
        if row.state is not None:
            self.stack[-1] = row.state(instance, self.stack[-1])
        super().load_build()

    dispatch[pickle.BUILD[0]] = load_build

    def filled(self, load, n_items):
        def loading(self=self):
            target = self.metastack[-1][-1] if n_items is None else self.stack[-1 - n_items]
            if type(target) not in _PLAIN_ITEMS:
                self.row_of(type(target), ITEMS, "items of")
            load(self)

        loading()

    for _code, _count in (
        (pickle.SETITEM, 2),
        (pickle.SETITEMS, None),
        (pickle.APPEND, 1),
        (pickle.APPENDS, None),
        (pickle.ADDITEMS, None),
    ):

        def _load(self, load=dispatch[_code[0]], count=_count):
            self.filled(load, count)

        dispatch[_code[0]] = _load


def loads(stream):
    return TableUnpickler(io.BytesIO(stream)).load()

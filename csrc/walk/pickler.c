#include "pickler.h"

#include "base/compat.h"
#include "base/memo_proxy.h"
#include "known.h"
#include "walk.h"

/* persistent_id: an attribute, later a method that an attribute may replace
 * (in 3.13.0 it could not). */
#define HAS_PERSISTENT_ID_METHOD (PY_VERSION_HEX >= 0x030d0100)

typedef struct {
    PyObject_HEAD
    fp_memo memo;
    PyObject *write;
    PyObject *persistent_id; /* set as an attribute, or NULL */
    PyObject *dispatch_table;
    PyObject *buffer_callback;
    int protocol;
    int fix_imports;
    int bin;
    int fast;
    int is_used; /* dump() or __init__() is running */
} Pickler;

int
fp_protocol_of(PyObject *argument, int if_none)
{
    long protocol;

    if (argument == NULL || argument == Py_None) {
        return if_none;
    }
    protocol = PyLong_AsLong(argument);
    if (protocol == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (protocol < 0) {
        return FP_HIGHEST_PROTOCOL;
    }
    if (protocol > FP_HIGHEST_PROTOCOL) {
        PyErr_Format(PyExc_ValueError, "pickle protocol must be <= %d",
                     FP_HIGHEST_PROTOCOL);
        return -1;
    }
    return (int)protocol;
}

static int
check_buffer_callback(PyObject **callback, int protocol)
{
    if (*callback == Py_None) {
        *callback = NULL;
    }
    if (*callback != NULL && protocol < 5) {
        PyErr_SetString(PyExc_ValueError,
                        "buffer_callback needs protocol >= 5");
        return -1;
    }
    return 0;
}

/* --- dumps -------------------------------------------------------------- */

PyObject *
fp_dumps(PyObject *module, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"obj", "protocol", "fix_imports",
                            "buffer_callback", NULL};
    PyObject *object;
    PyObject *protocol_argument = NULL;
    PyObject *callback = NULL;
    PyObject *result = NULL;
    fp_walk walk = {0};
    int fix_imports = 1;
    int protocol;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|O$pO:dumps", names,
                                     &object, &protocol_argument, &fix_imports,
                                     &callback))
    {
        return NULL;
    }
    protocol = fp_protocol_of(protocol_argument, FP_DEFAULT_PROTOCOL);
    if (protocol < 0 || check_buffer_callback(&callback, protocol) < 0) {
        return NULL;
    }
    fp_walk_init(&walk, fp_state_of_module(module), protocol, fix_imports);
    fp_output_init(&walk);
    walk.buffer_callback = callback;
    walk.silent = 1;
    if (fp_walk_run(&walk, object) == 0) {
        result = fp_output_take(&walk);
    }
    fp_walk_free(&walk);
    return result;
}

/* --- Pickler ------------------------------------------------------------ */

static int
pickler_clear(PyObject *op)
{
    Pickler *self = (Pickler *)op;
    Py_CLEAR(self->write);
    Py_CLEAR(self->persistent_id);
    Py_CLEAR(self->dispatch_table);
    Py_CLEAR(self->buffer_callback);
    fp_memo_clear(&self->memo);
    return 0;
}

static int
pickler_traverse(PyObject *op, visitproc visit, void *arg)
{
    Pickler *self = (Pickler *)op;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->write);
    Py_VISIT(self->persistent_id);
    Py_VISIT(self->dispatch_table);
    Py_VISIT(self->buffer_callback);
    return fp_memo_traverse(&self->memo, visit, arg);
}

static void
pickler_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    pickler_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

/* *value is NULL where there is no such attribute. 0 or -1. */
static int
find_attribute(PyObject *object, PyObject *name, PyObject **value)
{
    *value = fp_optional_attribute(object, name);
    return *value == NULL && PyErr_Occurred() ? -1 : 0;
}

/* Whether pickle forbids that one of its picklers is used while it is. */
static int
forbids_reentry(void)
{
    return Py_Version >= 0x030e0300
           || (Py_Version >= 0x030d0c00 && Py_Version < 0x030e0000);
}

/* 0, or -1 with an exception set where the Pickler is used already. */
static int
begin_use(Pickler *self)
{
    if (self->is_used && forbids_reentry()) {
        PyErr_SetString(PyExc_RuntimeError, "Pickler object is already used");
        return -1;
    }
    self->is_used++;
    return 0;
}

PyDoc_STRVAR(
    pickler_doc,
    "Pickler(file, protocol=None, fix_imports=True, buffer_callback=None)\n"
    "--\n"
    "\n"
    "Writes pickles to a file, as pickle.Pickler does and byte for byte the\n"
    "same. May be subclassed: persistent_id, reducer_override and\n"
    "dispatch_table are honoured.\n"
    "\n"
    "Parameters\n"
    "----------\n"
    "file : object with ``write``\n"
    "protocol, fix_imports, buffer_callback\n"
    "    As of dumps().\n"
    "\n"
    "Examples\n"
    "--------\n"
    ">>> import io\n"
    ">>> file = io.BytesIO()\n"
    ">>> fastpersist.Pickler(file, 4).dump([1])\n"
    ">>> fastpersist.loads(file.getvalue())\n"
    "[1]");

static int
set_up(Pickler *self, const fp_state *state, PyObject *file,
       PyObject *protocol_argument, int fix_imports, PyObject *callback)
{
    PyObject *write;
    int protocol;

    if (self->write != NULL) {
        pickler_clear((PyObject *)self); /* a second __init__ */
    }
    protocol = fp_protocol_of(protocol_argument, FP_DEFAULT_PROTOCOL);
    if (protocol < 0 || check_buffer_callback(&callback, protocol) < 0
        || find_attribute(file, state->str_write, &write) < 0)
    {
        return -1;
    }
    if (write == NULL) {
        PyErr_SetString(PyExc_TypeError, "file must have a 'write' attribute");
        return -1;
    }
    Py_XSETREF(self->write, write);
    Py_XSETREF(self->buffer_callback, Py_XNewRef(callback));
    self->memo.holds = 1;
    self->protocol = protocol;
    self->fix_imports = fix_imports;
    self->bin = protocol > 0;
    self->fast = 0;
    if (self->dispatch_table == NULL) {
        return find_attribute((PyObject *)self, state->str_dispatch_table,
                              &self->dispatch_table);
    }
    return 0;
}

static int
pickler_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"file", "protocol", "fix_imports",
                            "buffer_callback", NULL};
    Pickler *self = (Pickler *)op;
    fp_state *state = fp_state_of_type(Py_TYPE(op));
    PyObject *file;
    PyObject *protocol_argument = NULL;
    PyObject *callback = NULL;
    int fix_imports = 1;
    int status;

    if (state == NULL
        || !PyArg_ParseTupleAndKeywords(args, kwargs, "O|OpO:Pickler", names,
                                        &file, &protocol_argument,
                                        &fix_imports, &callback)
        || begin_use(self) < 0)
    {
        return -1;
    }
    status =
        set_up(self, state, file, protocol_argument, fix_imports, callback);
    self->is_used--;
    return status;
}

static PyObject *no_persistent_id(PyObject *op, PyObject *object);

PyDoc_STRVAR(
    dump_doc,
    "dump($self, obj, /)\n"
    "--\n"
    "\n"
    "Write the pickled representation of the object to the open file.");

static PyObject *
pickler_dump(PyObject *op, PyObject *object)
{
    Pickler *self = (Pickler *)op;
    fp_state *state = fp_state_of_type(Py_TYPE(op));
    PyObject *override = NULL;
    PyObject *persistent_id = NULL;
    fp_walk walk = {0};
    int status = -1;

    if (state == NULL) {
        return NULL;
    }
    if (self->write == NULL) {
        PyErr_Format(state->pickling_error,
                     "Pickler.__init__() was not called by %s.__init__()",
                     Py_TYPE(op)->tp_name);
        return NULL;
    }
    if (begin_use(self) < 0) {
        return NULL;
    }
    if (find_attribute(op, state->str_reducer_override, &override) < 0
        || find_attribute(op, state->str_persistent_id, &persistent_id) < 0)
    {
        goto done;
    }
    if (persistent_id != NULL && PyCFunction_CheckExact(persistent_id)
        && PyCFunction_GET_FUNCTION(persistent_id) == no_persistent_id
        && PyCFunction_GET_SELF(persistent_id) == op)
    {
        Py_CLEAR(persistent_id);
    }
    fp_walk_init(&walk, state, self->protocol, self->fix_imports);
    fp_output_init(&walk);
    walk.memo = &self->memo;
    walk.no_memo = self->fast;
    walk.text = !self->bin;
    walk.reducer_override = override;
    walk.persistent_id = persistent_id;
    walk.hooked = persistent_id != NULL;
    /* References of our own: __init__ may be called again meanwhile. */
    walk.write = Py_NewRef(self->write);
    walk.dispatch_table = Py_XNewRef(self->dispatch_table);
    walk.buffer_callback = Py_XNewRef(self->buffer_callback);
    status = fp_walk_run(&walk, object);
    if (status == 0) {
        status = fp_flush_to_file(&walk);
    }
    Py_XDECREF(walk.write);
    Py_XDECREF(walk.dispatch_table);
    Py_XDECREF(walk.buffer_callback);
    fp_walk_free(&walk);
done:
    self->is_used--;
    Py_XDECREF(override);
    Py_XDECREF(persistent_id);
    return status < 0 ? NULL : Py_NewRef(Py_None);
}

PyDoc_STRVAR(
    clear_memo_doc,
    "clear_memo($self, /)\n"
    "--\n"
    "\n"
    "Forget which objects were pickled: the next dump() writes them anew.");

static PyObject *
pickler_clear_memo(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    fp_memo_clear(&((Pickler *)op)->memo);
    Py_RETURN_NONE;
}

static size_t
memo_bytes(const Pickler *self)
{
    return self->memo.slots == NULL
               ? 0
               : (self->memo.mask + 1) * sizeof(fp_memo_slot);
}

PyDoc_STRVAR(sizeof_doc, "__sizeof__($self, /)\n"
                         "--\n"
                         "\n"
                         "Returns size in memory, in bytes.");

static PyObject *
pickler_sizeof(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return PyLong_FromSize_t((size_t)Py_TYPE(op)->tp_basicsize
                             + memo_bytes((Pickler *)op));
}

/* --- the memo, as an attribute ------------------------------------------ */

static PyObject *
memo_as_dict(PyObject *owner)
{
    const fp_memo *memo = &((Pickler *)owner)->memo;
    PyObject *copy = PyDict_New();

    if (copy == NULL || memo->slots == NULL) {
        return copy;
    }
    for (size_t i = 0;; i++) {
        PyObject *object, *key, *value;
        long long number;
        int status;
        if (memo->slots == NULL || i > memo->mask) {
            break; /* cleared by a finalizer */
        }
        if (memo->slots[i].key == NULL) {
            continue;
        }
        object = Py_NewRef(memo->slots[i].key);
        number = ~memo->slots[i].value;
        key = PyLong_FromVoidPtr(object);
        value = Py_BuildValue("(LN)", number, object);
        status = key == NULL || value == NULL
                     ? -1
                     : PyDict_SetItem(copy, key, value);
        Py_XDECREF(key);
        Py_XDECREF(value);
        if (status < 0) {
            Py_DECREF(copy);
            return NULL;
        }
    }
    return copy;
}

static void
clear_memo(PyObject *owner)
{
    fp_memo_clear(&((Pickler *)owner)->memo);
}

static PyObject *
pickler_get_memo(PyObject *op, void *Py_UNUSED(closure))
{
    static const fp_memo_of memo = {memo_as_dict, clear_memo};
    fp_state *state = fp_state_of_type(Py_TYPE(op));

    return state == NULL
               ? NULL
               : fp_memo_proxy_new(state->memo_proxy_type, op, &memo);
}

static int
memo_from_dict(PyObject *dict, fp_memo *memo)
{
    Py_ssize_t position = 0;
    PyObject *key, *value;

    while (PyDict_Next(dict, &position, &key, &value)) {
        Py_ssize_t number;
        if (!PyTuple_Check(value) || PyTuple_GET_SIZE(value) != 2) {
            PyErr_SetString(PyExc_TypeError,
                            "'memo' values must be 2-item tuples");
            return -1;
        }
        number = PyLong_AsSsize_t(PyTuple_GET_ITEM(value, 0));
        if (number == -1 && PyErr_Occurred()) {
            return -1;
        }
        if (number < 0) {
            PyErr_SetString(PyExc_ValueError,
                            "memo numbers must not be negative");
            return -1;
        }
        if (fp_memo_set(memo, PyTuple_GET_ITEM(value, 1), ~(int64_t)number)
            < 0)
        {
            return -1;
        }
    }
    return 0;
}

static int
pickler_set_memo(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    Pickler *self = (Pickler *)op;
    fp_state *state = fp_state_of_type(Py_TYPE(op));
    fp_memo replaced = {.holds = 1};
    int status;

    if (state == NULL) {
        return -1;
    }
    if (value == NULL) {
        PyErr_SetString(PyExc_TypeError,
                        "attribute deletion is not supported");
        return -1;
    }
    if (Py_IS_TYPE(value, state->memo_proxy_type)) {
        const Pickler *other = (Pickler *)fp_memo_proxy_owner(value);
        status = fp_memo_copy(&replaced, &other->memo);
    }
    else if (PyDict_Check(value)) {
        status = memo_from_dict(value, &replaced);
    }
    else {
        PyErr_Format(PyExc_TypeError,
                     "'memo' attribute must be a PicklerMemoProxy object or "
                     "dict, not %.200s",
                     Py_TYPE(value)->tp_name);
        return -1;
    }
    if (status < 0) {
        fp_memo_clear(&replaced);
        return -1;
    }
    fp_memo old = self->memo;
    self->memo = replaced;
    fp_memo_clear(&old);
    return 0;
}

/* Where the standard Pickler has a method persistent_id (since 3.13), one that
 * finds no identifier; dump() knows it and does not call it. */
static PyObject *
no_persistent_id(PyObject *Py_UNUSED(op), PyObject *Py_UNUSED(object))
{
    Py_RETURN_NONE;
}

#if HAS_PERSISTENT_ID_METHOD
static int
is_persistent_id(PyObject *name)
{
    return PyUnicode_Check(name)
           && PyUnicode_CompareWithASCIIString(name, "persistent_id") == 0;
}

/* The one that was set is in front of the method. */
static PyObject *
pickler_getattro(PyObject *op, PyObject *name)
{
    PyObject *persistent_id = ((Pickler *)op)->persistent_id;

    return persistent_id != NULL && is_persistent_id(name)
               ? Py_NewRef(persistent_id)
               : PyObject_GenericGetAttr(op, name);
}

static int
pickler_setattro(PyObject *op, PyObject *name, PyObject *value)
{
    if (!is_persistent_id(name)) {
        return PyObject_GenericSetAttr(op, name, value);
    }
    Py_XSETREF(((Pickler *)op)->persistent_id, Py_XNewRef(value));
    return 0;
}
#else
static PyObject *
pickler_get_persistent_id(PyObject *op, void *Py_UNUSED(closure))
{
    static PyMethodDef method = {"persistent_id", no_persistent_id, METH_O,
                                 NULL};
    Pickler *self = (Pickler *)op;

    if (self->persistent_id != NULL) {
        return Py_NewRef(self->persistent_id);
    }
    if (PY_VERSION_HEX >= 0x030d0000) {
        return PyCFunction_New(&method, op);
    }
    PyErr_SetString(PyExc_AttributeError, "persistent_id");
    return NULL;
}

static int
pickler_set_persistent_id(PyObject *op, PyObject *value,
                          void *Py_UNUSED(closure))
{
    if (value == NULL) {
        PyErr_SetString(PyExc_TypeError,
                        "attribute deletion is not supported");
        return -1;
    }
    if (!PyCallable_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "persistent_id must be a callable "
                                         "taking one argument");
        return -1;
    }
    Py_XSETREF(((Pickler *)op)->persistent_id, Py_NewRef(value));
    return 0;
}
#endif

static PyMethodDef pickler_methods[] = {
#if HAS_PERSISTENT_ID_METHOD
    {"persistent_id", no_persistent_id, METH_O,
     PyDoc_STR("persistent_id($self, obj, /)\n--\n\n")},
#endif
    {"dump", pickler_dump, METH_O, dump_doc},
    {"clear_memo", pickler_clear_memo, METH_NOARGS, clear_memo_doc},
    {"__sizeof__", pickler_sizeof, METH_NOARGS, sizeof_doc},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef pickler_members[] = {
    {"bin", Py_T_INT, offsetof(Pickler, bin), 0, NULL},
    {"fast", Py_T_INT, offsetof(Pickler, fast), 0, NULL},
    {"dispatch_table", Py_T_OBJECT_EX, offsetof(Pickler, dispatch_table), 0,
     NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef pickler_getset[] = {
    {"memo", pickler_get_memo, pickler_set_memo, NULL, NULL},
#if !HAS_PERSISTENT_ID_METHOD
    {"persistent_id", pickler_get_persistent_id, pickler_set_persistent_id,
     NULL, NULL},
#endif
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot pickler_slots[] = {
    {Py_tp_doc, (void *)(uintptr_t)pickler_doc},
    {Py_tp_init, pickler_init},
    {Py_tp_new, PyType_GenericNew},
    {Py_tp_alloc, PyType_GenericAlloc},
    {Py_tp_free, PyObject_GC_Del},
    {Py_tp_dealloc, pickler_dealloc},
    {Py_tp_traverse, pickler_traverse},
    {Py_tp_clear, pickler_clear},
    {Py_tp_methods, pickler_methods},
    {Py_tp_members, pickler_members},
    {Py_tp_getset, pickler_getset},
#if HAS_PERSISTENT_ID_METHOD
    {Py_tp_getattro, pickler_getattro},
    {Py_tp_setattro, pickler_setattro},
#endif
    {0, NULL},
};

static PyType_Spec pickler_spec = {
    .name = "fastpersist.Pickler",
    .basicsize = sizeof(Pickler),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC
             | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = pickler_slots,
};

int
fp_pickler_init(PyObject *module, fp_state *state)
{
    state->pickler_type =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &pickler_spec, NULL);
    if (state->pickler_type == NULL
        || PyModule_AddType(module, state->pickler_type) < 0
        || fp_known_init(state) < 0)
    {
        return -1;
    }
    state->memo_proxy_type = fp_memo_proxy_type_new(module, 0);
    return state->memo_proxy_type == NULL ? -1 : 0;
}

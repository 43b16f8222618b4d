#include "unpickler.h"

#include "base/memo_proxy.h"
#include "messages_load.h"
#include "restrict.h"
#include "unpickle_parts.h"

/* persistent_load: since 3.13 a method like any other, which an attribute of
 * the instance may hide, looked up by each load(); before, an attribute that
 * the class has no method for, looked up once. */
#define PERSISTENT_LOAD_IS_METHOD (PY_VERSION_HEX >= 0x030d0000)

typedef struct {
    PyObject_HEAD
    fp_machine machine;
    fp_input input;
    char *encoding; /* owned: what the machine borrows */
    char *errors;
    int running; /* in load() */
#if PERSISTENT_LOAD_IS_METHOD
    PyObject *persistent_load; /* owned: the instance's attribute, or NULL */
#else
    int has_attribute; /* persistent_load was set, not found in the class */
#endif
} Unpickler;

/* --- loads --------------------------------------------------------------- */

/* The arguments that loads() and Unpickler() share. */
typedef struct {
    int fix_imports;
    const char *encoding, *errors; /* borrowed */
    PyObject *buffers;             /* borrowed; NULL or None: none */
    PyObject *trusted;             /* borrowed, of loads(); NULL or None */
} options;

static int
text_argument(PyObject *argument, const char *name, const char **text)
{
    Py_ssize_t length;

    if (!PyUnicode_Check(argument)) {
        PyErr_Format(PyExc_TypeError,
                     "loads() argument '%s' must be str, not %.50s", name,
                     Py_TYPE(argument)->tp_name);
        return -1;
    }
    *text = PyUnicode_AsUTF8AndSize(argument, &length);
    if (*text == NULL) {
        return -1;
    }
    if (strlen(*text) != (size_t)length) {
        PyErr_SetString(PyExc_ValueError, "embedded null character");
        return -1;
    }
    return 0;
}

static int
parse_keyword(PyObject *name, PyObject *argument, options *parsed)
{
    if (PyUnicode_CompareWithASCIIString(name, "fix_imports") == 0) {
        parsed->fix_imports = PyObject_IsTrue(argument);
        return parsed->fix_imports < 0 ? -1 : 0;
    }
    if (PyUnicode_CompareWithASCIIString(name, "encoding") == 0) {
        return text_argument(argument, "encoding", &parsed->encoding);
    }
    if (PyUnicode_CompareWithASCIIString(name, "errors") == 0) {
        return text_argument(argument, "errors", &parsed->errors);
    }
    if (PyUnicode_CompareWithASCIIString(name, "buffers") == 0) {
        parsed->buffers = argument;
        return 0;
    }
    if (PyUnicode_CompareWithASCIIString(name, "trusted") == 0) {
        parsed->trusted = argument;
        return 0;
    }
    PyErr_Format(PyExc_TypeError,
                 "'%U' is an invalid keyword argument for loads()", name);
    return -1;
}

static int
set_buffers(fp_machine *machine, PyObject *buffers)
{
    PyObject *iterator = NULL;

    if (buffers != NULL && buffers != Py_None) {
        iterator = PyObject_GetIter(buffers);
        if (iterator == NULL) {
            return -1;
        }
    }
    Py_XSETREF(machine->buffers, iterator);
    return 0;
}

PyObject *
fp_loads(PyObject *module, PyObject *const *arguments, Py_ssize_t n_arguments,
         PyObject *keywords)
{
    fp_state *state = fp_state_of_module(module);
    options parsed = {
        .fix_imports = 1, .encoding = "ASCII", .errors = "strict"};
    Py_ssize_t n_keywords = keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords);
    Py_buffer data;
    fp_input input;
    fp_machine machine;
    fp_collector_pause pause;
    PyObject *result = NULL;

    if (n_arguments != 1) {
        PyErr_Format(PyExc_TypeError,
                     "loads() takes exactly 1 positional argument (%zd given)",
                     n_arguments);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < n_keywords; i++) {
        if (parse_keyword(PyTuple_GET_ITEM(keywords, i), arguments[1 + i],
                          &parsed)
            < 0)
        {
            return NULL;
        }
    }
    if (parsed.trusted != NULL && parsed.trusted != Py_None
        && state->restricted_loads != NULL
        && !PyObject_TypeCheck(parsed.trusted,
                               (PyTypeObject *)state->restriction_type))
    {
        /* The same arguments, to where the tables are. */
        return PyObject_Vectorcall(state->restricted_loads, arguments,
                                   (size_t)n_arguments, keywords);
    }
    if (PyObject_GetBuffer(arguments[0], &data, PyBUF_CONTIG_RO) < 0) {
        return NULL;
    }
    fp_input_from_memory(&input, state, data.buf, (size_t)data.len);
    fp_machine_init(&machine, state, &input);
    machine.encoding = parsed.encoding;
    machine.errors = parsed.errors;
    machine.fix_imports = parsed.fix_imports;
    if (parsed.trusted != NULL && parsed.trusted != Py_None) {
        fp_machine_find_with(&machine, parsed.trusted);
        machine.own_wrappers = 1; /* it imports no joblib */
    }
    if (set_buffers(&machine, parsed.buffers) == 0) {
        fp_collector_pause_begin(state, &pause);
        result = fp_machine_run(&machine, 0);
        fp_machine_free(&machine);
        fp_collector_pause_end(state, &pause, fp_input_offset(&input), 0);
    }
    else {
        fp_machine_free(&machine);
    }
    fp_input_free(&input);
    PyBuffer_Release(&data);
    return result;
}

/* --- Unpickler ----------------------------------------------------------- */

static int
unpickler_clear(PyObject *op)
{
    Unpickler *self = (Unpickler *)op;

    fp_machine_free(&self->machine);
    fp_input_free(&self->input);
    self->machine.encoding = "ASCII";
    self->machine.errors = "strict";
    PyMem_Free(self->encoding);
    self->encoding = NULL;
    PyMem_Free(self->errors);
    self->errors = NULL;
#if PERSISTENT_LOAD_IS_METHOD
    Py_CLEAR(self->persistent_load);
#endif
    return 0;
}

static int
unpickler_traverse(PyObject *op, visitproc visit, void *arg)
{
    Unpickler *self = (Unpickler *)op;
    fp_machine *machine = &self->machine;

    /* Not the stack: while load() runs, its top is not up to date. */
    Py_VISIT(Py_TYPE(self));
    for (size_t i = 0; i < machine->memo_capacity; i++) {
        if (machine->memo[i] != 0 && !(machine->memo[i] & 1)) {
            Py_VISIT((PyObject *)machine->memo[i]);
        }
    }
    Py_VISIT(machine->sparse_memo);
    Py_VISIT(machine->persistent_load);
    Py_VISIT(machine->buffers);
    Py_VISIT(machine->wrapper_type);
#if PERSISTENT_LOAD_IS_METHOD
    Py_VISIT(self->persistent_load);
#endif
    return fp_input_traverse(&self->input, visit, arg);
}

static void
unpickler_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    unpickler_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyObject *
unpickler_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
              PyObject *Py_UNUSED(kwargs))
{
    fp_state *state = fp_state_of_type(type);
    Unpickler *self;

    if (state == NULL) {
        return NULL;
    }
    self = (Unpickler *)type->tp_alloc(type, 0);
    if (self != NULL) {
        fp_input_from_memory(&self->input, state, NULL, 0);
        fp_machine_init(&self->machine, state, &self->input);
    }
    return (PyObject *)self;
}

static int
refuse_while_running(const Unpickler *self)
{
    if (self->running) {
        PyErr_SetString(PyExc_RuntimeError,
                        "Unpickler object is already used");
        return -1;
    }
    return 0;
}

static char *
copy_of(const char *text)
{
    size_t n_bytes = strlen(text) + 1;
    char *copy = PyMem_Malloc(n_bytes);

    if (copy == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    memcpy(copy, text, n_bytes);
    return copy;
}

#if PERSISTENT_LOAD_IS_METHOD

static PyObject *
no_persistent_load(PyObject *op, PyObject *Py_UNUSED(id))
{
    PyErr_SetString(((Unpickler *)op)->machine.state->unpickling_error,
                    FP_NO_PERSISTENT_LOAD);
    return NULL;
}

/* What was set before the first __init__() stays: a new reference, or NULL. */
static PyObject *
persistent_load_before(Unpickler *self)
{
    return self->input.read == NULL ? Py_XNewRef(self->persistent_load) : NULL;
}

/* Steals it. */
static void
keep_persistent_load(Unpickler *self, PyObject *attribute)
{
    self->persistent_load = attribute;
}

/* For one load(). The built-in method knows no identifier: load() says so
 * itself. */
static int
find_persistent_load(Unpickler *self, fp_state *state)
{
    PyObject *load;

    if (self->persistent_load == NULL
        && Py_IS_TYPE((PyObject *)self, state->unpickler_type))
    {
        return 0;
    }
    load = PyObject_GetAttr((PyObject *)self, state->str_persistent_load);
    if (load == NULL) {
        return -1;
    }
    if (PyCFunction_CheckExact(load)
        && PyCFunction_GET_FUNCTION(load) == no_persistent_load
        && PyCFunction_GET_SELF(load) == (PyObject *)self)
    {
        Py_CLEAR(load);
    }
    Py_XSETREF(self->machine.persistent_load, load);
    return 0;
}

#else

static PyObject *unpickler_get_persistent_load(PyObject *op, void *closure);

/* Steals `load`, or NULL for none. A method of the Unpickler itself is taken
 * apart: no cycle through its own self. */
static void
set_persistent_load(Unpickler *self, PyObject *load)
{
    PyObject *replaced = self->machine.persistent_load;

    self->machine.persistent_owner = NULL;
    self->machine.persistent_load = load;
    if (load != NULL && PyMethod_Check(load)
        && PyMethod_GET_SELF(load) == (PyObject *)self)
    {
        self->machine.persistent_load = Py_NewRef(PyMethod_GET_FUNCTION(load));
        self->machine.persistent_owner = (PyObject *)self;
        Py_DECREF(load);
    }
    Py_XDECREF(replaced);
}

/* What was set before the first __init__() stays: a new reference, or NULL. */
static PyObject *
persistent_load_before(Unpickler *self)
{
    return self->input.read == NULL && self->has_attribute
               ? unpickler_get_persistent_load((PyObject *)self, NULL)
               : NULL;
}

/* Steals it. */
static void
keep_persistent_load(Unpickler *self, PyObject *attribute)
{
    self->has_attribute = attribute != NULL;
    set_persistent_load(self, attribute);
}

static int
find_persistent_load(Unpickler *self, fp_state *state)
{
    PyObject *load =
        fp_optional_attribute((PyObject *)self, state->str_persistent_load);

    if (load == NULL && PyErr_Occurred()) {
        return -1;
    }
    set_persistent_load(self, load);
    return 0;
}

#endif

PyDoc_STRVAR(
    unpickler_doc,
    "Unpickler(file, *, fix_imports=True, encoding=\"ASCII\",\n"
    "          errors=\"strict\", buffers=())\n"
    "--\n"
    "\n"
    "Reads pickles from a file, as pickle.Unpickler does, and files of\n"
    "joblib. May be subclassed: find_class and persistent_load are honoured.\n"
    "\n"
    "Parameters\n"
    "----------\n"
    "file : object with ``read`` and ``readline``\n"
    "fix_imports, encoding, errors, buffers\n"
    "    As of pickle.Unpickler.\n"
    "\n"
    "Examples\n"
    "--------\n"
    ">>> import io\n"
    ">>> file = io.BytesIO(fastpersist.dumps([1]))\n"
    ">>> fastpersist.Unpickler(file).load()\n"
    "[1]");

static int
unpickler_init(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"file",   "fix_imports", "encoding",
                            "errors", "buffers",     NULL};
    Unpickler *self = (Unpickler *)op;
    fp_state *state = fp_state_of_type(Py_TYPE(op));
    /* The machine's defaults are the same. */
    options parsed = {
        .fix_imports = 1, .encoding = "ASCII", .errors = "strict"};
    PyObject *file;
    fp_input input;
    PyObject *attribute;

    if (state == NULL) {
        return -1;
    }
    if (kwargs == NULL && PyTuple_GET_SIZE(args) == 1) {
        file = PyTuple_GET_ITEM(args, 0);
    }
    else if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$pssO:Unpickler",
                                          names, &file, &parsed.fix_imports,
                                          &parsed.encoding, &parsed.errors,
                                          &parsed.buffers))
    {
        return -1;
    }
    if (fp_input_from_file(&input, state, file) < 0) {
        return -1;
    }
    if (refuse_while_running(self) < 0) {
        fp_input_free(&input);
        return -1;
    }
    attribute = persistent_load_before(self);
    unpickler_clear(op);
    keep_persistent_load(self, attribute);
    self->input = input;
    self->machine.fix_imports = parsed.fix_imports;
    self->machine.protocol = 0;
    if (kwargs != NULL) {
        self->encoding = copy_of(parsed.encoding);
        self->errors = self->encoding == NULL ? NULL : copy_of(parsed.errors);
        if (self->errors == NULL) {
            return -1;
        }
        self->machine.encoding = self->encoding;
        self->machine.errors = self->errors;
    }
    if (set_buffers(&self->machine, parsed.buffers) < 0) {
        return -1;
    }
#if PERSISTENT_LOAD_IS_METHOD
    return 0;
#else
    return find_persistent_load(self, state);
#endif
}

PyDoc_STRVAR(load_doc,
             "load($self, /)\n"
             "--\n"
             "\n"
             "Read one pickle from the file, and return the object that it\n"
             "describes. The file stands right behind the pickle then.");

static PyObject *
unpickler_load(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    Unpickler *self = (Unpickler *)op;
    fp_state *state = self->machine.state;
    fp_collector_pause pause;
    PyObject *result;
    uint64_t start;

    if (self->input.read == NULL) {
        PyErr_Format(state->unpickling_error,
                     "Unpickler.__init__() was not called by %s.__init__()",
                     Py_TYPE(op)->tp_name);
        return NULL;
    }
    if (refuse_while_running(self) < 0) {
        return NULL;
    }
    self->running = 1;
#if PERSISTENT_LOAD_IS_METHOD
    if (find_persistent_load(self, state) < 0) {
        self->running = 0;
        return NULL;
    }
#endif
    self->machine.owner = Py_IS_TYPE(op, state->unpickler_type) ? NULL : op;
    start = fp_input_offset(&self->input);
    fp_collector_pause_begin(state, &pause);
    result = fp_machine_run(&self->machine, 0);
    fp_collector_pause_end(state, &pause,
                           fp_input_offset(&self->input) - start, 0);
#if PERSISTENT_LOAD_IS_METHOD
    Py_CLEAR(self->machine.persistent_load);
#endif
    self->running = 0;
    return result;
}

PyDoc_STRVAR(
    find_class_doc,
    "find_class($self, module_name, global_name, /)\n"
    "--\n"
    "\n"
    "Return an object from a module, which is imported if needed.\n"
    "\n"
    "Called for every class and function of a pickle. Subclasses may\n"
    "override it, to refuse some or to find others.");

static PyObject *
unpickler_find_class(PyObject *op, PyObject *const *args, Py_ssize_t n_args)
{
    if (n_args != 2) {
        PyErr_Format(PyExc_TypeError,
                     "find_class expected 2 arguments, got %zd", n_args);
        return NULL;
    }
    return fp_import_global(&((Unpickler *)op)->machine, args[0], args[1]);
}

PyDoc_STRVAR(sizeof_doc, "__sizeof__($self, /)\n"
                         "--\n"
                         "\n"
                         "Returns size in memory, in bytes.");

static PyObject *
unpickler_sizeof(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    const Unpickler *self = (Unpickler *)op;
    const fp_machine *machine = &self->machine;
    size_t n_bytes = (size_t)Py_TYPE(op)->tp_basicsize;

    n_bytes += machine->memo_capacity * sizeof(fp_slot);
    n_bytes += machine->marks_capacity * sizeof(fp_mark);
    n_bytes +=
        (size_t)(machine->stack_end - machine->stack) * sizeof(PyObject *);
    n_bytes += self->input.window_bytes + self->input.line_capacity;
    n_bytes += self->encoding == NULL ? 0 : strlen(self->encoding) + 1;
    n_bytes += self->errors == NULL ? 0 : strlen(self->errors) + 1;
    return PyLong_FromSize_t(n_bytes);
}

/* --- the memo, as an attribute ------------------------------------------- */

static PyObject *
memo_as_dict(PyObject *owner)
{
    return fp_memo_as_dict(&((Unpickler *)owner)->machine);
}

static void
clear_memo(PyObject *owner)
{
    fp_memo_forget(&((Unpickler *)owner)->machine);
}

static PyObject *
unpickler_get_memo(PyObject *op, void *Py_UNUSED(closure))
{
    static const fp_memo_of memo = {memo_as_dict, clear_memo};
    fp_state *state = ((Unpickler *)op)->machine.state;

    return fp_memo_proxy_new(state->unpickler_memo_type, op, &memo);
}

static int
copy_memo(fp_machine *target, const fp_machine *source)
{
    for (size_t i = 0; i < source->memo_capacity; i++) {
        if (source->memo[i] != 0
            && fp_machine_put(target, i, (PyObject *)source->memo[i]) < 0)
        {
            return -1;
        }
    }
    if (source->sparse_memo != NULL) {
        target->sparse_memo = PyDict_Copy(source->sparse_memo);
        if (target->sparse_memo == NULL) {
            return -1;
        }
    }
    target->n_memo = source->n_memo;
    return 0;
}

static int
unpickler_set_memo(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    fp_machine *machine = &((Unpickler *)op)->machine;
    fp_state *state = machine->state;
    fp_machine replaced; /* for its memo */
    fp_machine forgotten;
    int status;

    if (value == NULL) {
        PyErr_SetString(PyExc_TypeError,
                        "attribute deletion is not supported");
        return -1;
    }
    fp_machine_init(&replaced, state, machine->input);
    if (Py_IS_TYPE(value, state->unpickler_memo_type)) {
        const Unpickler *other = (Unpickler *)fp_memo_proxy_owner(value);
        const fp_machine *source = &other->machine;
        replaced.memo_hint = source->memo_capacity;
        status = copy_memo(&replaced, source);
    }
    else if (PyDict_Check(value)) {
        status = fp_memo_of_dict(&replaced, value);
    }
    else {
        PyErr_Format(PyExc_TypeError,
                     "'memo' attribute must be an UnpicklerMemoProxy object "
                     "or dict, not %.200s",
                     Py_TYPE(value)->tp_name);
        return -1;
    }
    if (status < 0) {
        fp_memo_forget(&replaced);
        return -1;
    }
    fp_machine_init(&forgotten, state, machine->input);
    forgotten.memo = machine->memo;
    forgotten.memo_capacity = machine->memo_capacity;
    forgotten.sparse_memo = machine->sparse_memo;
    machine->memo = replaced.memo;
    machine->memo_capacity = replaced.memo_capacity;
    machine->sparse_memo = replaced.sparse_memo;
    machine->n_memo = replaced.n_memo;
    fp_memo_forget(&forgotten);
    return 0;
}

/* --- persistent_load ----------------------------------------------------- */

#if PERSISTENT_LOAD_IS_METHOD

PyDoc_STRVAR(persistent_load_doc, "persistent_load($self, pid, /)\n"
                                  "--\n"
                                  "\n");

static int
is_persistent_load(PyObject *op, PyObject *name)
{
    return PyUnicode_Check(name)
           && PyUnicode_Compare(
                  name, ((Unpickler *)op)->machine.state->str_persistent_load)
                  == 0;
}

static PyObject *
unpickler_getattro(PyObject *op, PyObject *name)
{
    PyObject *attribute = ((Unpickler *)op)->persistent_load;

    return attribute != NULL && is_persistent_load(op, name)
               ? Py_NewRef(attribute)
               : PyObject_GenericGetAttr(op, name);
}

/* Anything may be set, and deleted without having been there. */
static int
unpickler_setattro(PyObject *op, PyObject *name, PyObject *value)
{
    if (!is_persistent_load(op, name)) {
        return PyObject_GenericSetAttr(op, name, value);
    }
    Py_XSETREF(((Unpickler *)op)->persistent_load, Py_XNewRef(value));
    return 0;
}

#else

static PyObject *
unpickler_get_persistent_load(PyObject *op, void *Py_UNUSED(closure))
{
    const fp_machine *machine = &((Unpickler *)op)->machine;

    if (((Unpickler *)op)->has_attribute && machine->persistent_load != NULL) {
        return machine->persistent_owner == NULL
                   ? Py_NewRef(machine->persistent_load)
                   : PyMethod_New(machine->persistent_load, op);
    }
    PyErr_SetString(PyExc_AttributeError, "persistent_load");
    return NULL;
}

static int
unpickler_set_persistent_load(PyObject *op, PyObject *value,
                              void *Py_UNUSED(closure))
{
    if (value == NULL) {
        PyErr_SetString(PyExc_TypeError,
                        "attribute deletion is not supported");
        return -1;
    }
    if (!PyCallable_Check(value)) {
        PyErr_SetString(PyExc_TypeError, "persistent_load must be a callable "
                                         "taking one argument");
        return -1;
    }
    set_persistent_load((Unpickler *)op, Py_NewRef(value));
    ((Unpickler *)op)->has_attribute = 1;
    return 0;
}

#endif

static PyMethodDef unpickler_methods[] = {
    {"load", unpickler_load, METH_NOARGS, load_doc},
    {"find_class", (PyCFunction)(void (*)(void))unpickler_find_class,
     METH_FASTCALL, find_class_doc},
    {"__sizeof__", unpickler_sizeof, METH_NOARGS, sizeof_doc},
#if PERSISTENT_LOAD_IS_METHOD
    {"persistent_load", no_persistent_load, METH_O, persistent_load_doc},
#endif
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef unpickler_getset[] = {
    {"memo", unpickler_get_memo, unpickler_set_memo, NULL, NULL},
#if !PERSISTENT_LOAD_IS_METHOD
    {"persistent_load", unpickler_get_persistent_load,
     unpickler_set_persistent_load, NULL, NULL},
#endif
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot unpickler_slots[] = {
    {Py_tp_doc, (void *)(uintptr_t)unpickler_doc},
    {Py_tp_init, unpickler_init},
    {Py_tp_new, unpickler_new},
    {Py_tp_alloc, PyType_GenericAlloc},
    {Py_tp_free, PyObject_GC_Del},
    {Py_tp_dealloc, unpickler_dealloc},
    {Py_tp_traverse, unpickler_traverse},
    {Py_tp_clear, unpickler_clear},
    {Py_tp_methods, unpickler_methods},
    {Py_tp_getset, unpickler_getset},
#if PERSISTENT_LOAD_IS_METHOD
    {Py_tp_getattro, unpickler_getattro},
    {Py_tp_setattro, unpickler_setattro},
#endif
    {0, NULL},
};

static PyType_Spec unpickler_spec = {
    .name = "fastpersist.Unpickler",
    .basicsize = sizeof(Unpickler),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC
             | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = unpickler_slots,
};

int
fp_unpickler_init(PyObject *module, fp_state *state)
{
    state->empty_tuple = PyTuple_New(0);
    if (state->empty_tuple == NULL || fp_build_init(state) < 0) {
        return -1;
    }
    state->unpickler_type = (PyTypeObject *)PyType_FromModuleAndSpec(
        module, &unpickler_spec, NULL);
    if (state->unpickler_type == NULL
        || PyModule_AddType(module, state->unpickler_type) < 0)
    {
        return -1;
    }
    state->unpickler_memo_type = fp_memo_proxy_type_new(module, 1);
    return state->unpickler_memo_type == NULL ? -1 : 0;
}

#include "memo_proxy.h"

#include "small_type.h"

typedef struct {
    fp_small_head head;
    PyObject *owner; /* owned */
    const fp_memo_of *memo;
} proxy;

static PyObject *
proxy_clear_memo(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ((proxy *)op)->memo->clear(((proxy *)op)->owner);
    Py_RETURN_NONE;
}

static PyObject *
proxy_copy(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return ((proxy *)op)->memo->as_dict(((proxy *)op)->owner);
}

static PyObject *
proxy_reduce(PyObject *op, PyObject *ignored)
{
    PyObject *copy = proxy_copy(op, ignored);

    return copy == NULL
               ? NULL
               : Py_BuildValue("(O(N))", (PyObject *)&PyDict_Type, copy);
}

static int
proxy_visit(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(((proxy *)op)->owner);
    return 0;
}

static int
proxy_clear(PyObject *op)
{
    Py_CLEAR(((proxy *)op)->owner);
    return 0;
}

static PyMethodDef proxy_methods[] = {
    {"clear", proxy_clear_memo, METH_NOARGS,
     PyDoc_STR("clear($self, /)\n--\n\nRemove all items from memo.")},
    {"copy", proxy_copy, METH_NOARGS,
     PyDoc_STR("copy($self, /)\n--\n\nCopy the memo to a new object.")},
    {"__reduce__", proxy_reduce, METH_NOARGS,
     PyDoc_STR("__reduce__($self, /)\n--\n\nImplement pickle support.")},
    {NULL, NULL, 0, NULL},
};

/* Of Pickler and of Unpickler: they differ in name only. */
static const fp_small_type proxy_types[] = {
    {
        .name = "fastpersist._core.PicklerMemoProxy",
        .n_bytes = sizeof(proxy),
        .methods = proxy_methods,
        .visit = proxy_visit,
        .clear = proxy_clear,
    },
    {
        .name = "fastpersist._core.UnpicklerMemoProxy",
        .n_bytes = sizeof(proxy),
        .methods = proxy_methods,
        .visit = proxy_visit,
        .clear = proxy_clear,
    },
};

PyTypeObject *
fp_memo_proxy_type_new(PyObject *module, int of_unpickler)
{
    return fp_small_type_add(module, &proxy_types[of_unpickler != 0]);
}

PyObject *
fp_memo_proxy_new(PyTypeObject *type, PyObject *owner, const fp_memo_of *memo)
{
    /* Which of the two names is the type's own affair. */
    proxy *self = fp_small_new(type, &proxy_types[0]);

    if (self == NULL) {
        return NULL;
    }
    self->owner = Py_NewRef(owner);
    self->memo = memo;
    return (PyObject *)self;
}

PyObject *
fp_memo_proxy_owner(PyObject *op)
{
    return ((proxy *)op)->owner;
}

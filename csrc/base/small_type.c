#include "small_type.h"

static int
traverse(PyObject *self, visitproc visit, void *arg)
{
    const fp_small_type *kind = ((fp_small_head *)self)->kind;

    Py_VISIT(Py_TYPE(self));
    return kind == NULL || kind->visit == NULL ? 0
                                               : kind->visit(self, visit, arg);
}

static int
clear(PyObject *self)
{
    const fp_small_type *kind = ((fp_small_head *)self)->kind;

    return kind == NULL || kind->clear == NULL ? 0 : kind->clear(self);
}

static void
dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    const fp_small_type *kind = ((fp_small_head *)self)->kind;

    PyObject_GC_UnTrack(self);
    if (kind != NULL && kind->end != NULL) {
        kind->end(self);
    }
    (void)clear(self);
    type->tp_free(self);
    Py_DECREF(type);
}

PyTypeObject *
fp_small_type_add(PyObject *module, const fp_small_type *kind)
{
    PyType_Slot slots[10] = {
        {Py_tp_traverse, traverse},
        {Py_tp_clear, clear},
        {Py_tp_dealloc, dealloc},
        {Py_tp_methods, kind->methods},
    };
    int n_slots = 4;
    PyType_Spec spec = {
        .name = kind->name,
        .basicsize = kind->n_bytes,
        .flags =
            Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
        .slots = slots,
    };
    PyTypeObject *type;

    if (kind->doc != NULL) {
        slots[n_slots++] =
            (PyType_Slot){Py_tp_doc, (void *)(uintptr_t)kind->doc};
    }
    if (kind->getset != NULL) {
        slots[n_slots++] = (PyType_Slot){Py_tp_getset, kind->getset};
    }
    if (kind->make != NULL) {
        slots[n_slots++] = (PyType_Slot){Py_tp_new, kind->make};
    }
    else {
        spec.flags |= Py_TPFLAGS_DISALLOW_INSTANTIATION;
        slots[n_slots++] =
            (PyType_Slot){Py_tp_hash, PyObject_HashNotImplemented};
    }
    type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
    if (type != NULL && kind->make != NULL
        && PyModule_AddType(module, type) < 0)
    {
        Py_CLEAR(type);
    }
    return type;
}

void *
fp_small_new(PyTypeObject *type, const fp_small_type *kind)
{
    fp_small_head *self = (fp_small_head *)type->tp_alloc(type, 0);

    if (self != NULL) {
        self->kind = kind;
    }
    return self;
}

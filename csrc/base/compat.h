/* What newer CPythons offer, for the older ones that this builds on: from 3.11
 * to 3.15 nothing in here is deprecated where it is used. GIL held. */
#ifndef FP_COMPAT_H
#define FP_COMPAT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if PY_VERSION_HEX < 0x030c0000
#include <structmember.h>
#define Py_T_INT       T_INT
#define Py_T_OBJECT_EX T_OBJECT_EX
#endif

/* Takes the exception that is set, with its traceback, from where it is set:
 * a new reference, or NULL where there is none. */
static inline PyObject *
fp_take_exception(void)
{
#if PY_VERSION_HEX >= 0x030c0000
    return PyErr_GetRaisedException();
#else
    PyObject *type, *error, *traceback;

    PyErr_Fetch(&type, &error, &traceback);
    if (type == NULL) {
        return NULL;
    }
    PyErr_NormalizeException(&type, &error, &traceback);
    if (traceback != NULL) {
        PyException_SetTraceback(error, traceback);
    }
    Py_DECREF(type);
    Py_XDECREF(traceback);
    return error;
#endif
}

/* Sets it again, in place of any other. Steals `error`; NULL: none is set. */
static inline void
fp_put_exception(PyObject *error)
{
#if PY_VERSION_HEX >= 0x030c0000
    PyErr_SetRaisedException(error);
#else
    if (error == NULL) {
        PyErr_Clear();
    }
    else {
        PyErr_Restore(Py_NewRef(Py_TYPE(error)), error,
                      PyException_GetTraceback(error));
    }
#endif
}

/* Makes `earlier` the context of the exception that is set, as if that had been
 * raised while `earlier` was handled. Steals `earlier`, which may be NULL; where
 * no exception is set, sets it. */
static inline void
fp_chain_exception(PyObject *earlier)
{
    PyObject *error;

    if (earlier == NULL) {
        return;
    }
    error = fp_take_exception();
    if (error == NULL) {
        fp_put_exception(earlier);
        return;
    }
    PyException_SetContext(error, earlier); /* steals */
    fp_put_exception(error);
}

/* What a dict holds under a key: 1 and a new reference in *value; 0 and NULL; or
 * -1 and NULL with an exception set. */
static inline int
fp_dict_get(PyObject *dict, PyObject *key, PyObject **value)
{
#if PY_VERSION_HEX >= 0x030d0000
    return PyDict_GetItemRef(dict, key, value);
#else
    *value = Py_XNewRef(PyDict_GetItemWithError(dict, key));
    return *value != NULL ? 1 : PyErr_Occurred() ? -1 : 0;
#endif
}

/* What a class or its bases hold under a name, not bound to anything: borrowed,
 * NULL without an exception. No Python has this in its public API; the private
 * function is there in all of them, and remembers what it found. */
static inline PyObject *
fp_type_lookup(PyTypeObject *type, PyObject *name)
{
    return _PyType_Lookup(type, name);
}

/* A new reference to the class's own dict, or NULL where it has none. */
static inline PyObject *
fp_type_dict(PyTypeObject *type)
{
#if PY_VERSION_HEX >= 0x030c0000
    return PyType_GetDict(type);
#else
    return Py_XNewRef(type->tp_dict);
#endif
}

#endif

/* What Python 3.12 brought, for 3.11 too: the exception that is set as one
 * object, its traceback in it. GIL held. */
#ifndef FP_COMPAT_H
#define FP_COMPAT_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* Takes the exception that is set: a new reference, or NULL for none. */
static inline PyObject *
fp_take_error(void)
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
        (void)PyException_SetTraceback(error, traceback);
    }
    Py_DECREF(type);
    Py_XDECREF(traceback);
    return error;
#endif
}

/* Sets it again; steals `error`. NULL: none is set any more. */
static inline void
fp_restore_error(PyObject *error)
{
#if PY_VERSION_HEX >= 0x030c0000
    PyErr_SetRaisedException(error);
#else
    PyErr_Restore(error == NULL ? NULL : Py_NewRef(Py_TYPE(error)), error,
                  error == NULL ? NULL : PyException_GetTraceback(error));
#endif
}

#endif

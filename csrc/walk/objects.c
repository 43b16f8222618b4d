/* Which way an object goes that is no leaf and no built-in container: whose
 * reducer is asked, in pickle's order. */
#include "base/compat.h"
#include "base/errors.h"
#include "base/messages.h"
#include "known.h"
#include "outlet.h"
#include "walk.h"

/* From the Pickler's dispatch_table or copyreg's, or the dump's own: a new reference, or NULL,
 * with an exception or (nothing registered) without. */
static PyObject *
registered_reducer(fp_walk *walk, PyTypeObject *type)
{
    PyObject *reducer;

    if (walk->dispatch_table == NULL) {
        (void)fp_dict_get(walk->state->dispatch_table, (PyObject *)type,
                          &reducer);
    }
    else {
        reducer = PyObject_GetItem(walk->dispatch_table, (PyObject *)type);
        if (reducer == NULL && PyErr_ExceptionMatches(PyExc_KeyError)) {
            PyErr_Clear();
        }
    }
    if (reducer == NULL && walk->reducers != NULL && !PyErr_Occurred()) {
        (void)fp_dict_get(walk->reducers, (PyObject *)type, &reducer);
    }
    return reducer;
}

static PyObject *
call_own_reducer(fp_walk *walk, PyObject *object)
{
    PyObject *method, *argument;
    PyObject *reduced = NULL;

    method = fp_optional_attribute(object, walk->state->str_reduce_ex);
    if (method != NULL) {
        argument = PyLong_FromLong(walk->protocol);
        if (argument != NULL) {
            reduced = PyObject_CallOneArg(method, argument);
            Py_DECREF(argument);
        }
        Py_DECREF(method);
        return reduced;
    }
    if (PyErr_Occurred()) {
        return NULL;
    }
    method = fp_optional_attribute(object, walk->state->str_reduce);
    if (method != NULL) {
        reduced = PyObject_CallNoArgs(method);
        Py_DECREF(method);
    }
    else if (!PyErr_Occurred()) {
        PyErr_Format(walk->state->pickling_error, FP_NO_REDUCER,
                     FP_TYPE_OF(object), object);
    }
    return reduced;
}

PyObject *
fp_ask_reducer(fp_walk *walk, PyObject *object)
{
    PyObject *reducer = registered_reducer(walk, Py_TYPE(object));
    PyObject *reduced;

    if (reducer != NULL) {
        reduced = PyObject_CallOneArg(reducer, object);
        Py_DECREF(reducer);
    }
    else if (PyErr_Occurred()) {
        return NULL;
    }
    else {
        reduced = call_own_reducer(walk, object);
    }
    if (reduced == NULL || PyUnicode_Check(reduced)) {
        return reduced;
    }
    if (!PyTuple_Check(reduced)) {
        PyErr_Format(walk->state->pickling_error, FP_NEITHER_STRING_NOR_TUPLE,
                     FP_TYPE_OF(reduced));
        Py_CLEAR(reduced);
    }
    else if (fp_check_reduced(walk->state, reduced) < 0) {
        Py_CLEAR(reduced);
    }
    return reduced;
}

static int
save_answer(fp_walk *walk, PyObject *reduced, PyObject *object)
{
    if (PyUnicode_Check(reduced)) {
        return fp_save_global(walk, object, reduced);
    }
    if (PyTuple_Check(reduced)) {
        int status = fp_save_reduced(walk, reduced, object);
        if (status == FP_PUSHED) {
            walk->frames[walk->n_frames - 1].flags |= FP_FLAG_OF_OBJECT;
            return status;
        }
    }
    else {
        PyErr_Format(walk->state->pickling_error, FP_NEITHER_STRING_NOR_TUPLE,
                     FP_TYPE_OF(reduced));
    }
    fp_add_note(FP_NOTE_OBJECT, Py_TYPE(object));
    return -1;
}

static int
save_singleton_type(fp_walk *walk, PyObject *type, PyObject *singleton)
{
    PyObject *reduced;
    int status;

    if (fp_call_out(walk) < 0) {
        return -1;
    }
    reduced = Py_BuildValue("(O(O))", (PyObject *)&PyType_Type, singleton);
    if (reduced == NULL) {
        return -1;
    }
    status = fp_save_reduced(walk, reduced, type);
    Py_DECREF(reduced);
    return status;
}

static int
save_type(fp_walk *walk, PyObject *type)
{
    if (type == (PyObject *)Py_TYPE(Py_None)) {
        return save_singleton_type(walk, type, Py_None);
    }
    if (type == (PyObject *)Py_TYPE(Py_Ellipsis)) {
        return save_singleton_type(walk, type, Py_Ellipsis);
    }
    if (type == (PyObject *)Py_TYPE(Py_NotImplemented)) {
        return save_singleton_type(walk, type, Py_NotImplemented);
    }
    return fp_save_global(walk, type, NULL);
}

/* Whether arrays have a way of their own, before or behind what is registered
 * for their types. */
static inline int
outlet_takes_arrays(const fp_walk *walk, int comes_first)
{
    const fp_outlet *outlet = walk->outlet;

    return outlet != NULL && outlet->methods->save_array != NULL
           && outlet->methods->comes_first == comes_first;
}

static int
save_other(fp_walk *walk, PyObject *object, int lonely)
{
    PyTypeObject *type = Py_TYPE(object);
    PyObject *reducer;
    PyObject *reduced = NULL;
    int status;

    if (walk->silent && walk->protocol >= 2) {
        status = fp_save_known_class(walk, object, lonely);
        if (status != FP_LEFT) {
            return status;
        }
    }
    if (walk->reducer_override != NULL) {
        if (fp_call_out(walk) < 0) {
            return -1;
        }
        reduced = PyObject_CallOneArg(walk->reducer_override, object);
        if (reduced == NULL) {
            return -1;
        }
        if (reduced != Py_NotImplemented) {
            status = save_answer(walk, reduced, object);
            Py_DECREF(reduced);
            return status;
        }
        Py_CLEAR(reduced);
    }
    if (outlet_takes_arrays(walk, 1)) {
        int found =
            walk->outlet->methods->save_array(walk, object, lonely, &status);
        if (found != 0) {
            return found < 0 ? -1 : status;
        }
    }
    if (type == &PyType_Type) {
        return save_type(walk, object);
    }
    if (type == &PyFunction_Type) {
        return fp_save_global(walk, object, NULL);
    }
    if (Py_TYPE(type)->tp_hash != PyType_Type.tp_hash && fp_call_out(walk) < 0)
    {
        return -1;
    }
    reducer = registered_reducer(walk, type);
    if (reducer != NULL) {
        if (fp_call_out(walk) < 0) {
            Py_DECREF(reducer);
            return -1;
        }
        reduced = PyObject_CallOneArg(reducer, object);
        Py_DECREF(reducer);
    }
    else if (PyErr_Occurred()) {
        return -1;
    }
    else if (PyType_IsSubtype(type, &PyType_Type)) {
        return fp_save_global(walk, object, NULL);
    }
    else if (fp_has_own_reduce(walk, type)) {
        if (fp_call_out(walk) < 0) {
            return -1;
        }
        reduced = fp_call_own_reduce(walk, object);
    }
    else {
        if (outlet_takes_arrays(walk, 0)) {
            int found = walk->outlet->methods->save_array(walk, object, lonely,
                                                          &status);
            if (found != 0) {
                return found < 0 ? -1 : status;
            }
        }
        if (walk->protocol >= 4 && !walk->hooked
            && walk->reducer_override == NULL && walk->dispatch_table == NULL)
        {
            status = fp_save_instance(walk, object, lonely);
            if (status != FP_LEFT) {
                return status;
            }
        }
        if (walk->late_puts) {
            int found = fp_save_scalar(walk, object);
            if (found != 0) {
                return found < 0 ? -1 : FP_SAVED;
            }
        }
        if (fp_call_out(walk) < 0) {
            return -1;
        }
        reduced = call_own_reducer(walk, object);
    }
    if (reduced == NULL) {
        return -1;
    }
    status = save_answer(walk, reduced, object);
    Py_DECREF(reduced);
    return status;
}

int
fp_save_other(fp_walk *walk, PyObject *object, int lonely)
{
    /* Even in silence a look-up may meet a key that is a subclass of str with
     * an __eq__ of its own. */
    PyTypeObject *type = Py_TYPE(object);
    int status;

    Py_INCREF(object);
    Py_INCREF(type); /* __class__ may be assigned to */
    status = save_other(walk, object, lonely);
    Py_DECREF(type);
    Py_DECREF(object);
    return status;
}

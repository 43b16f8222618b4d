/* What a pickle may not do with NumPy's own constructors.
 *
 * NumPy believes what a pickle tells it of memory: numpy.ndarray() takes bytes
 * for pointers to objects, the state of a dtype puts fields anywhere, the state
 * of an array may have fewer items than its shape. The standard unpickler then
 * crashes, or reads and writes what belongs to others. The machine asks here
 * before it calls what makes arrays and scalars, looks at the arrays that were
 * made, and reads the states of arrays and dtypes before NumPy does.
 *
 * Refused is what would let NumPy take bytes for objects, leave a buffer, free
 * memory that something else lies in, or crash at once; nothing that NumPy
 * itself writes. Where NumPy raises by itself, its exception stays. Only what
 * was called counts: other callables that a find_class gives, and classes whose
 * constructor or __setstate__ is of others, are none of this file's business,
 * but that a list in a state may not be shorter than its shape says.
 *
 * For everything else it is a comparison of pointers (fp_is_guarded(),
 * fp_has_guarded_state()).
 *
 * Ownership: borrows what it is given, but where a line says otherwise.
 * Errors: -1 or NULL with an exception set: UnpicklingError that says what is
 * wrong, and where in the input; what NumPy or an index raises. GIL held; user
 * code may run in an object's own __index__ or buffer.
 *
 *   array_guard.c  calls, the arrays that they made, states of arrays
 *   dtype_guard.c  states of dtypes
 */
#ifndef FP_ARRAY_GUARD_H
#define FP_ARRAY_GUARD_H

#include "unpickle.h"

/* What Python classes inherit with numpy.ndarray's memory. */
static inline int
fp_is_array_class(const fp_state *state, PyTypeObject *type)
{
    return type->tp_as_buffer != NULL
           && type->tp_as_buffer->bf_getbuffer == state->array_getbuffer;
}

static inline int
fp_is_guarded(const fp_state *state, PyObject *callable)
{
    if (PyType_Check(callable)) {
        return fp_is_array_class(state, (PyTypeObject *)callable);
    }
    return callable == state->scalar_function
           || callable == state->frombuffer_function
           || callable == state->builtin_frombuffer
           || callable == state->newobj_function
           || callable == state->newobj_ex_function;
}

static inline int
fp_is_dtype(const fp_state *state, PyObject *object)
{
    return Py_IS_TYPE((PyObject *)Py_TYPE(object), state->dtype_metaclass);
}

static inline int
fp_has_guarded_state(const fp_state *state, PyObject *instance)
{
    return fp_is_array_class(state, Py_TYPE(instance))
           || fp_is_dtype(state, instance);
}

/* Before a guarded callable is called; `keywords` may be NULL. */
int fp_guard_call(fp_machine *machine, PyObject *callable, PyObject *args,
                  PyObject *keywords);
/* What the call returned: steals `object` (NULL: its exception is set), and
 * returns it, or NULL. */
PyObject *fp_guard_result(fp_machine *machine, PyObject *callable,
                          PyObject *args, PyObject *object);

/* Before BUILD of the topmost object, which has a guarded state. 1: to go on
 * with *state, which may have been replaced (by another new reference); 0:
 * nothing is left to be done; -1. */
int fp_guard_state(fp_machine *machine, PyObject *instance, PyObject **state);

/* Before items go into what is neither list nor dict: a bytearray that an
 * array of this load lies in must not move. */
int fp_guard_items(fp_machine *machine, PyObject *target);

/* --- what the two files share -------------------------------------------- */

/* UnpicklingError: the text, and where in the input. Always -1. */
int fp_refuse(fp_machine *machine, const char *format, ...);
/* Whether nothing but the stack (once) and the memo refers to the object. */
int fp_is_only_here(const fp_machine *machine, PyObject *object);
/* dtype_guard.c; returns as fp_guard_state(). */
int fp_guard_dtype_state(fp_machine *machine, PyObject *dtype,
                         PyObject **state);

#endif

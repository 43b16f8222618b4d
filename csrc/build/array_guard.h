/* Arrays and dtypes that a file makes by hand: no pointer comes out of a file,
 * and no array reaches beyond its buffer.
 *
 * NumPy's constructors believe a pickle. numpy.ndarray(shape, "O", buffer)
 * takes the buffer's bytes for objects, a dtype's state may say of a field of
 * objects that there is none, that it lies at -8, or that an item is larger
 * than it is, and a state may change a dtype or an array that others look
 * into: each a crash, or worse, in pickle. Here each is an UnpicklingError. What
 * NumPy itself refuses stays NumPy's exception, and what it writes is loaded as
 * ever.
 *
 * The machine asks about what a call returned, and in front of and behind a
 * state that is set. Numbers are compared before anything is read by them.
 * Ownership: everything is borrowed. Errors: -1 with an exception set. GIL held.
 */
#ifndef FP_ARRAY_GUARD_H
#define FP_ARRAY_GUARD_H

#include "unpickle.h"

/* What REDUCE's callable makes of its arguments; new reference. A dtype is
 * remembered until its state is set: the opcode that follows tells where in the
 * memo it goes. NumPy's two __setstate__ are held to fp_guard_state(). */
PyObject *fp_guard_call(fp_machine *machine, PyObject *callable,
                        PyObject *args);

/* What a call made: 0 for anything but an array, and for an array whose elements
 * are its own, or are bytes that lie within what it was made over. */
int fp_guard_array(const fp_machine *machine, PyObject *object);

/* Sets the state of a dtype or an array (of any subclass), by `set`, which
 * calls its __setstate__: 0 where both are sound. `held`: how many references
 * to `instance` the caller knows of, the memo's not among them. */
typedef int (*fp_set_state)(fp_machine *machine, PyObject *instance,
                            PyObject *state);
int fp_guard_state(fp_machine *machine, PyObject *instance, PyObject *state,
                   Py_ssize_t n_held, fp_set_state set);
/* Whether an object is one of those. */
int fp_guard_is_for(PyObject *instance);

#endif

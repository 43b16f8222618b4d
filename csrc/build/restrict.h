/* Restricted loads: what the machine may do where somebody has said which names
 * it may use.
 *
 * Where the find_class of a load is a Restriction (a Python class of ours,
 * whose subclass in pypkg/fastpersist/policy/ has the tables), every opcode is
 * held to a rule, whatever a survey has said of the file before:
 *
 *   names    what Restriction(module, name) allows: it answers with the object
 *            and its rule, (object, use, call, state[, plain]), or raises
 *   REDUCE   of what has FP_MAY_CALL, its arguments shown to `call` first
 *   NEWOBJ   of classes with FP_MAY_NEW, likewise; no keywords. So are
 *            copyreg's functions that stand for it
 *   BUILD    of an instance whose exact type has FP_MAY_BUILD, its state shown
 *            to `state` first, or to `plain` where that is enough (a dict that
 *            holds nothing that can be called); of arrays and dtypes nothing else refers to. Its
 *            keys are exact str that hide no method and are no special name. An
 *            instance whose type has a `state` is built once at most, so that
 *            what was looked at stays as it was
 *   the end  nothing is left without a state that must have one
 *   items    into exact list, dict and set, and what has FP_MAY_ITEMS and takes
 *            them as its base does
 *   keys     of types whose hash and comparison are Python's own C code
 *   refused  INST, OBJ, EXT1 to EXT4, persistent ids; GLOBAL in a graph of ours
 *
 * All objects that a file can lay hands on are so made by this machine, or
 * classes and functions of the tables; none of those is an instance that BUILD
 * would take.
 *
 * Ownership: a restriction belongs to its machine, and holds its objects.
 * Errors: -1 or NULL with an exception: UntrustedError that says what and
 * where. GIL held; the rules are Python code of ours, what they look at is of
 * the load.
 */
#ifndef FP_RESTRICT_H
#define FP_RESTRICT_H

#include "base/uses.h"
#include "unpickle.h"

void fp_restriction_free(fp_machine *machine);

/* What the Restriction has answered: the object, its rule noted. Steals
 * `answer`; new reference. */
PyObject *fp_restrict_global(fp_machine *machine, PyObject *answer);
/* An object of ours that the stream got under a name: may be made and built. */
int fp_restrict_own(fp_machine *machine, PyObject *cls);

/* What a call has made: borrowed. */
int fp_restrict_made(fp_machine *machine, PyObject *callable,
                     PyObject *object);
/* STOP, or the end of a graph. */
int fp_restrict_end(fp_machine *machine);

/* Each may replace what it is given by another new reference. */
int fp_restrict_call(fp_machine *machine, PyObject *callable, PyObject **args);
int fp_restrict_new(fp_machine *machine, PyObject *cls, PyObject **args,
                    PyObject *keywords);
int fp_restrict_state(fp_machine *machine, PyObject *instance,
                      PyObject **state);

/* Whether NEWOBJ without arguments, and BUILD that nobody looks at, are
 * allowed: no exception where they are not. */
int fp_restrict_is_plain(const fp_machine *machine, PyTypeObject *type);
/* An item of an instance's state, set as its attribute. */
int fp_restrict_attribute(fp_machine *machine, PyTypeObject *type,
                          PyObject *name);
/* Of __slots__: the class must have it there. */
int fp_restrict_slot(fp_machine *machine, PyTypeObject *type, PyObject *name);
/* Items go into what is not exactly list, dict or set. */
int fp_restrict_items(fp_machine *machine, PyObject *target,
                      unsigned char opcode);
/* The key of an item, where items are attributes as well. */
int fp_restrict_item_name(fp_machine *machine, PyTypeObject *type,
                          PyObject *key);
/* A key, or a member of a set. */
int fp_restrict_hashed(fp_machine *machine, PyObject *key);

static inline int
fp_restrict_key(fp_machine *machine, PyObject *key)
{
    return PyUnicode_CheckExact(key) || PyLong_CheckExact(key)
               ? 0
               : fp_restrict_hashed(machine, key);
}

/* An opcode that no restricted load runs. Always -1. */
int fp_restrict_opcode(fp_machine *machine, const char *what);

#endif

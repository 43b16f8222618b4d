/* What Pickler.memo and Unpickler.memo return: a small object that stands for
 * the memo of its owner, with clear(), copy() and __reduce__().
 *
 * Ownership: a proxy owns its owner. GIL held. Errors: NULL with an exception
 * set.
 */
#ifndef FP_MEMO_PROXY_H
#define FP_MEMO_PROXY_H

#include "state.h"

/* What the two picklers do differently; constant. */
typedef struct {
    PyObject *(*as_dict)(PyObject *owner); /* a new dict */
    void (*clear)(PyObject *owner);
} fp_memo_of;

/* "fastpersist._core.PicklerMemoProxy" or the Unpickler's: a new reference. */
PyTypeObject *fp_memo_proxy_type_new(PyObject *module, int of_unpickler);
PyObject *fp_memo_proxy_new(PyTypeObject *type, PyObject *owner,
                            const fp_memo_of *memo);
/* Borrowed. */
PyObject *fp_memo_proxy_owner(PyObject *proxy);

#endif

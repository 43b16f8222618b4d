/* Pickler, its memo proxy and dumps(): the standard library's interface over
 * the walk. GIL held. */
#ifndef FP_PICKLER_H
#define FP_PICKLER_H

#include "base/state.h"

/* Creates both types and adds Pickler to the module. 0 or -1. */
int fp_pickler_init(PyObject *module, fp_state *state);

/* dumps(obj, protocol=None, *, fix_imports=True, buffer_callback=None) */
PyObject *fp_dumps(PyObject *module, PyObject *args, PyObject *kwargs);

/* An int from a protocol argument: None is the default, negative the highest.
 * -1 with ValueError set where there is no such protocol. */
int fp_protocol_of(PyObject *argument, int if_none);

#define FP_DEFAULT_PROTOCOL (PY_VERSION_HEX >= 0x030e0000 ? 5 : 4)
#define FP_HIGHEST_PROTOCOL 5

#endif

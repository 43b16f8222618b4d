/* The words of pickle's exceptions where they differ from one Python to the
 * next: each message once, with what the Pythons up to 3.13 say and what those
 * from 3.14 on say. Nobody else asks for a version to choose words.
 *
 * The formats are those of PyErr_Format(). Where a newer text says more than an
 * older one, the call passes what the newer one prints at the end, where the
 * older one does not look. FP_TYPE_OF(x) passes what %T or %s prints: the type
 * of x. A message whose older and newer texts take other arguments, or are of
 * another type, is a row that raises it.
 */
#ifndef FP_MESSAGES_H
#define FP_MESSAGES_H

#include "compat.h"

#if PY_VERSION_HEX >= 0x030e0000
#define FP_SINCE_314(older, newer) newer
#define FP_TYPE_OF(object)         ((PyObject *)(object))
#else
#define FP_SINCE_314(older, newer) older
#define FP_TYPE_OF(object)         (Py_TYPE(object)->tp_name)
#endif

#if PY_VERSION_HEX >= 0x030d0000
#define FP_SINCE_313(older, newer) newer
#else
#define FP_SINCE_313(older, newer) older
#endif

/* Whether an exception that pickle raises in place of another one has that as
 * its context. */
#define FP_KEEPS_CONTEXT FP_SINCE_314(0, 1)

/* `replaced` (stolen, may be NULL) was set before the exception that is set. */
static inline void
fp_keep_context(PyObject *replaced)
{
    if (FP_KEEPS_CONTEXT) {
        fp_chain_exception(replaced);
    }
    else {
        Py_XDECREF(replaced);
    }
}

/* --- classes and functions, by name -------------------------------------- */

/* What is local to a function; pickle's exception for it. */
#define FP_LOCAL_OBJECT_ERROR(state)                                          \
    FP_SINCE_314(PyExc_AttributeError, (state)->pickling_error)

#define FP_RAISE_LOCAL_OBJECT(kind, object, name)                             \
    ((void)(object), (void)(name),                                            \
     FP_SINCE_314(                                                            \
         PyErr_Format(kind,                                                   \
                      FP_SINCE_313("Can't pickle local object %R",            \
                                   "Can't get local object %R"),              \
                      name),                                                  \
         PyErr_Format(kind, "Can't pickle local object %R", object)))

/* `error`: what the import raised; until 3.13 it is taken away already. */
#define FP_RAISE_NO_MODULE(state, object, module_name, error)                 \
    ((void)(module_name), (void)(error),                                      \
     FP_SINCE_314(PyErr_Format((state)->pickling_error,                       \
                               "Can't pickle %R: import of module %R failed", \
                               object, module_name),                          \
                  PyErr_Format((state)->pickling_error,                       \
                               "Can't pickle %R: %S", object, error)))

#define FP_RAISE_NOT_FOUND(state, object, module_name, name)                  \
    FP_SINCE_314(                                                             \
        PyErr_Format((state)->pickling_error,                                 \
                     "Can't pickle %R: attribute lookup %S on %S failed",     \
                     object, name, module_name),                              \
        PyErr_Format((state)->pickling_error,                                 \
                     "Can't pickle %R: it's not found as %S.%S", object,      \
                     module_name, name))

#define FP_RAISE_EXTENSION_CODE(state, object, code)                          \
    ((void)(state), (void)(object),                                           \
     FP_SINCE_313(                                                            \
         PyErr_Format((state)->pickling_error,                                \
                      "Can't pickle %R: extension code %ld is out of range",  \
                      object, code),                                          \
         PyErr_Format(PyExc_RuntimeError,                                     \
                      "extension code %ld is out of range", code)))

/* ("module" or "global", name, protocol) */
#define FP_NOT_ENCODABLE                                                      \
    FP_SINCE_314("can't pickle %s identifier '%S' using pickle protocol %i",  \
                 "can't pickle %s identifier %R using pickle protocol %i")

/* --- reducers ------------------------------------------------------------ */

/* (FP_TYPE_OF(object), object) */
#define FP_NO_REDUCER                                                         \
    FP_SINCE_314("can't pickle '%.200s' object: %R", "Can't pickle %T "       \
                                                     "object")

/* (FP_TYPE_OF(what it returned)) */
#define FP_NEITHER_STRING_NOR_TUPLE                                           \
    "__reduce__ must return a string or tuple" FP_SINCE_314("", ", not %T")

/* (FP_TYPE_OF(item)) */
#define FP_CALLABLE_NOT_CALLABLE                                              \
    "first item of the tuple returned by __reduce__ must be "                 \
    "callable" FP_SINCE_314("", ", not %T")
#define FP_ARGUMENTS_NOT_TUPLE                                                \
    "second item of the tuple returned by __reduce__ must be a "              \
    "tuple" FP_SINCE_314("", ", not %T")
#define FP_LIST_ITEMS_NOT_ITERATOR                                            \
    FP_SINCE_314("fourth element of the tuple returned by __reduce__ must "   \
                 "be an iterator, not %s",                                    \
                 "fourth item of the tuple returned by __reduce__ must be "   \
                 "an iterator, not %T")
#define FP_DICT_ITEMS_NOT_ITERATOR                                            \
    FP_SINCE_314("fifth element of the tuple returned by __reduce__ must "    \
                 "be an iterator, not %s",                                    \
                 "fifth item of the tuple returned by __reduce__ must be an " \
                 "iterator, not %T")
#define FP_SETTER_NOT_CALLABLE                                                \
    FP_SINCE_314("sixth element of the tuple returned by __reduce__ must "    \
                 "be a function, not %s",                                     \
                 "sixth item of the tuple returned by __reduce__ must be "    \
                 "callable, not %T")

/* (number of arguments) */
#define FP_NEWOBJ_EMPTY                                                       \
    FP_SINCE_314("__newobj__ arglist is empty",                               \
                 "__newobj__ expected at least 1 argument, got %zd")
/* (FP_TYPE_OF(argument)) */
#define FP_NEWOBJ_NOT_CLASS                                                   \
    FP_SINCE_314("args[0] from __newobj__ args is not a type",                \
                 "first argument to __newobj__() must be a class, not %T")
/* (class of the object, argument) */
#define FP_NEWOBJ_OTHER_CLASS                                                 \
    FP_SINCE_314("args[0] from __newobj__ args has the wrong class",          \
                 "first argument to __newobj__() must be %R, not %R")
/* (number of arguments) */
#define FP_NEWOBJ_EX_SIZE                                                     \
    FP_SINCE_314("length of the NEWOBJ_EX argument tuple must be exactly 3, " \
                 "not %zd",                                                   \
                 "__newobj_ex__ expected 3 arguments, got %zd")
/* (FP_TYPE_OF(argument)) */
#define FP_NEWOBJ_EX_NOT_CLASS                                                \
    FP_SINCE_314("first item from NEWOBJ_EX argument tuple must be a class, " \
                 "not %.200s",                                                \
                 "first argument to __newobj_ex__() must be a class, not %T")
#define FP_NEWOBJ_EX_NOT_TUPLE                                                \
    FP_SINCE_314("second item from NEWOBJ_EX argument tuple must be a "       \
                 "tuple, not %.200s",                                         \
                 "second argument to __newobj_ex__() must be a tuple, not "   \
                 "%T")
#define FP_NEWOBJ_EX_NOT_DICT                                                 \
    FP_SINCE_314("third item from NEWOBJ_EX argument tuple must be a dict, "  \
                 "not %.200s",                                                \
                 "third argument to __newobj_ex__() must be a dict, not %T")

/* --- leaves and containers ----------------------------------------------- */

#define FP_BUFFER_NEEDS_PROTOCOL_5                                            \
    FP_SINCE_313("PickleBuffer can only pickled with protocol >= 5",          \
                 "PickleBuffer can only be pickled with protocol >= 5")

/* --- notes, from 3.14 on ------------------------------------------------- */

#define FP_HAS_NOTES FP_SINCE_314(0, 1)

/* (type) */
#define FP_NOTE_OBJECT        "when serializing %N object"
#define FP_NOTE_ELEMENT       "when serializing %N element"
#define FP_NOTE_CLASS         "when serializing %N class"
#define FP_NOTE_NEW_ARGUMENTS "when serializing %N __new__ arguments"
#define FP_NOTE_RECONSTRUCTOR "when serializing %N reconstructor"
#define FP_NOTE_ARGUMENTS     "when serializing %N reconstructor arguments"
#define FP_NOTE_STATE         "when serializing %N state"
#define FP_NOTE_SETTER        "when serializing %N state setter"
/* (type, index) */
#define FP_NOTE_ITEM "when serializing %N item %zd"
/* (type, key) */
#define FP_NOTE_VALUE "when serializing %N item %R"

#endif

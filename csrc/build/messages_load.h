/* Where the standard unpickler differs from one Python to the next, in what it
 * says or in what it takes: all of it is here. A part came with bugfix
 * releases, so the running Python is asked, not the one of the headers. */
#ifndef FP_MESSAGES_LOAD_H
#define FP_MESSAGES_LOAD_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define FP_SINCE(version) (Py_Version >= (version))

/* --- what it takes ------------------------------------------------------- */

/* INT and LONG are decimal; before, as int(text, base=0) has it. */
#define FP_INTEGER_BASE (FP_SINCE(0x030e0000) ? 10 : 0)
/* INT: 00 and 01 alone are bool; before, all of two characters that are 0 or 1
 * in value. */
#define FP_BOOL_IS_LITERAL FP_SINCE(0x030f0000)
/* BINSTRING: the length is signed. */
#define FP_BINSTRING_IS_SIGNED FP_SINCE(0x030d0600)
/* APPENDS and ADDITEMS of nothing look at what they would extend. */
#define FP_EXTENDS_BY_NOTHING FP_SINCE(0x030f0000)
/* Without a persistent_load the identifier is read all the same. */
#define FP_READS_UNKNOWN_ID FP_SINCE(0x030d0000)
/* A name is looked for as getattr() does it, and its exceptions pass; before,
 * they all are one about the whole name. */
#define FP_NAMES_AS_GETATTR FP_SINCE(0x030e0000)

/* --- what it says -------------------------------------------------------- */

/* The whole name and the module; unless FP_NAMES_AS_GETATTR. */
#define FP_NO_NAME "Can't get attribute %R on %R"
#define FP_LOCAL_NAME                                                         \
    (FP_SINCE(0x030d0000) ? "Can't get local attribute %R on %R"              \
                          : "Can't pickle local attribute %R on %R")
/* The dotted name and the module's name. */
#define FP_NO_PATH "Can't resolve path %R on module %R"

#define FP_NO_PERSISTENT_LOAD                                                 \
    (FP_SINCE(0x030c0000)                                                     \
         ? "A load persistent id instruction was encountered, "               \
           "but no persistent_load function was specified."                   \
         : "A load persistent id instruction was encountered,\n"              \
           "but no persistent_load function was specified.")

#endif

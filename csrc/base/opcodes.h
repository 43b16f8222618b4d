/* The opcodes of pickle, by the names of pickletools: one table, from which the
 * unpickler has its codes and the survey its arguments. A test compares it with
 * pickletools.
 */
#ifndef FP_OPCODES_H
#define FP_OPCODES_H

/* What follows an opcode: */
typedef enum {
    FP_ARGUMENT_NONE,
    FP_ARGUMENT_1, /* so many bytes */
    FP_ARGUMENT_2,
    FP_ARGUMENT_4,
    FP_ARGUMENT_8,
    FP_ARGUMENT_LINE, /* up to and with a newline */
    FP_ARGUMENT_TWO_LINES,
    FP_ARGUMENT_COUNT_1, /* a length of so many bytes, and that many bytes */
    FP_ARGUMENT_COUNT_4,
    FP_ARGUMENT_COUNT_8,
} fp_argument;

/* How many bytes the argument, or the length in front of it, has. */
#define FP_ARGUMENT_WIDTH(argument)                                           \
    ((argument) == FP_ARGUMENT_1 || (argument) == FP_ARGUMENT_COUNT_1   ? 1   \
     : (argument) == FP_ARGUMENT_2                                      ? 2   \
     : (argument) == FP_ARGUMENT_4 || (argument) == FP_ARGUMENT_COUNT_4 ? 4   \
     : (argument) == FP_ARGUMENT_8 || (argument) == FP_ARGUMENT_COUNT_8 ? 8   \
                                                                        : 0)

/* X(name, code, argument, protocol, pops, pushes): the protocol that has it
 * first; how many items it takes from the stack and how many it leaves there
 * instead. -n: everything down to the MARK, that, and n - 1 items below. */
#define FP_OPCODES(X)                                                         \
    X(INT, 'I', LINE, 0, 0, 1)                                                \
    X(BININT, 'J', 4, 1, 0, 1)                                                \
    X(BININT1, 'K', 1, 1, 0, 1)                                               \
    X(BININT2, 'M', 2, 1, 0, 1)                                               \
    X(LONG, 'L', LINE, 0, 0, 1)                                               \
    X(LONG1, 0x8a, COUNT_1, 2, 0, 1)                                          \
    X(LONG4, 0x8b, COUNT_4, 2, 0, 1)                                          \
    X(STRING, 'S', LINE, 0, 0, 1)                                             \
    X(BINSTRING, 'T', COUNT_4, 1, 0, 1)                                       \
    X(SHORT_BINSTRING, 'U', COUNT_1, 1, 0, 1)                                 \
    X(BINBYTES, 'B', COUNT_4, 3, 0, 1)                                        \
    X(SHORT_BINBYTES, 'C', COUNT_1, 3, 0, 1)                                  \
    X(BINBYTES8, 0x8e, COUNT_8, 4, 0, 1)                                      \
    X(BYTEARRAY8, 0x96, COUNT_8, 5, 0, 1)                                     \
    X(NEXT_BUFFER, 0x97, NONE, 5, 0, 1)                                       \
    X(READONLY_BUFFER, 0x98, NONE, 5, 1, 1)                                   \
    X(NONE, 'N', NONE, 0, 0, 1)                                               \
    X(NEWTRUE, 0x88, NONE, 2, 0, 1)                                           \
    X(NEWFALSE, 0x89, NONE, 2, 0, 1)                                          \
    X(UNICODE, 'V', LINE, 0, 0, 1)                                            \
    X(SHORT_BINUNICODE, 0x8c, COUNT_1, 4, 0, 1)                               \
    X(BINUNICODE, 'X', COUNT_4, 1, 0, 1)                                      \
    X(BINUNICODE8, 0x8d, COUNT_8, 4, 0, 1)                                    \
    X(FLOAT, 'F', LINE, 0, 0, 1)                                              \
    X(BINFLOAT, 'G', 8, 1, 0, 1)                                              \
    X(EMPTY_LIST, ']', NONE, 1, 0, 1)                                         \
    X(APPEND, 'a', NONE, 0, 2, 1)                                             \
    X(APPENDS, 'e', NONE, 1, -2, 1)                                           \
    X(LIST, 'l', NONE, 0, -1, 1)                                              \
    X(EMPTY_TUPLE, ')', NONE, 1, 0, 1)                                        \
    X(TUPLE, 't', NONE, 0, -1, 1)                                             \
    X(TUPLE1, 0x85, NONE, 2, 1, 1)                                            \
    X(TUPLE2, 0x86, NONE, 2, 2, 1)                                            \
    X(TUPLE3, 0x87, NONE, 2, 3, 1)                                            \
    X(EMPTY_DICT, '}', NONE, 1, 0, 1)                                         \
    X(DICT, 'd', NONE, 0, -1, 1)                                              \
    X(SETITEM, 's', NONE, 0, 3, 1)                                            \
    X(SETITEMS, 'u', NONE, 1, -2, 1)                                          \
    X(EMPTY_SET, 0x8f, NONE, 4, 0, 1)                                         \
    X(ADDITEMS, 0x90, NONE, 4, -2, 1)                                         \
    X(FROZENSET, 0x91, NONE, 4, -1, 1)                                        \
    X(POP, '0', NONE, 0, 1, 0)                                                \
    X(DUP, '2', NONE, 0, 1, 2)                                                \
    X(MARK, '(', NONE, 0, 0, 1)                                               \
    X(POP_MARK, '1', NONE, 1, -1, 0)                                          \
    X(GET, 'g', LINE, 0, 0, 1)                                                \
    X(BINGET, 'h', 1, 1, 0, 1)                                                \
    X(LONG_BINGET, 'j', 4, 1, 0, 1)                                           \
    X(PUT, 'p', LINE, 0, 0, 0)                                                \
    X(BINPUT, 'q', 1, 1, 0, 0)                                                \
    X(LONG_BINPUT, 'r', 4, 1, 0, 0)                                           \
    X(MEMOIZE, 0x94, NONE, 4, 1, 1)                                           \
    X(EXT1, 0x82, 1, 2, 0, 1)                                                 \
    X(EXT2, 0x83, 2, 2, 0, 1)                                                 \
    X(EXT4, 0x84, 4, 2, 0, 1)                                                 \
    X(GLOBAL, 'c', TWO_LINES, 0, 0, 1)                                        \
    X(STACK_GLOBAL, 0x93, NONE, 4, 2, 1)                                      \
    X(REDUCE, 'R', NONE, 0, 2, 1)                                             \
    X(BUILD, 'b', NONE, 0, 2, 1)                                              \
    X(INST, 'i', TWO_LINES, 0, -1, 1)                                         \
    X(OBJ, 'o', NONE, 1, -1, 1)                                               \
    X(NEWOBJ, 0x81, NONE, 2, 2, 1)                                            \
    X(NEWOBJ_EX, 0x92, NONE, 4, 3, 1)                                         \
    X(PROTO, 0x80, 1, 2, 0, 0)                                                \
    X(STOP, '.', NONE, 0, 1, 0)                                               \
    X(FRAME, 0x95, 8, 4, 0, 0)                                                \
    X(PERSID, 'P', LINE, 0, 0, 1)                                             \
    X(BINPERSID, 'Q', NONE, 1, 1, 1)

enum fp_opcode {
#define X(name, code, argument, protocol, pops, pushes) OP_##name = (code),
    FP_OPCODES(X)
#undef X
};

/* As many items as pickle puts between a MARK and APPENDS, SETITEMS or
 * ADDITEMS. */
#define FP_BATCH_ITEMS 1000

#endif

/* The survey: what a pickle holds and wants, with no object made of it.
 *
 * It runs the opcodes of any pickle (the graph of a file of ours, a plain
 * pickle of protocols 0 to 5, joblib's layout) with a stack and a memo of
 * small records: what kind of value lies there, and where in the stream it
 * begins. Nothing is imported, called, compared or hashed, and no name is
 * looked up. What comes out:
 *
 *   globals    every name the stream asks for, and how it is used
 *   arrays     shape, dtype, order, and where the bytes are
 *   leaves     str, bytes and bytearray of FP_SURVEY_LEAF_BYTES and more
 *   nodes      the tree of what is notable: those, what holds them, and every
 *              container of FP_SURVEY_CONTAINER_BYTES and more in all
 *   payloads   what of the stream was hashed and not kept
 *   odd        what no pickler writes, or what only trust can answer
 *
 * Skeleton. The opcodes are kept in memory, or lie there (memory, the graph of
 * ours). Of an argument of FP_SURVEY_PAYLOAD_BYTES and more that comes from a
 * descriptor or a file object only the first FP_SURVEY_KEPT_BYTES are kept; an
 * offset into what is kept is a "place". fp_survey_offset() says where in the
 * file that is.
 *
 * Bytes. What lies on the stack is in the order of the stream, so a value's
 * bytes go from its own place to that of the next value. A container has in
 * addition what it is made of; what is popped counts with the value in front, or
 * behind a MARK with what that begins, and hangs nowhere.
 * The bytes of a blob of ours count with the first value that fetches it, of a
 * shared one each array its own. So the root's bytes, those of frames, PROTO,
 * STOP, of values outside of the root, and what no value has add up to the file.
 * A value that is fetched from the memo has the bytes of the GET, and no node:
 * an array that is met again is not listed again.
 *
 * Paths (fp_survey_path) name a node by the way from the root:
 *
 *   [3]          item of a list or tuple        ['key']  value of a dict
 *   {3}          item of a set                  .keys[3] key of a dict
 *   .name        item of an instance's state    .state   any other state, and
 *                                               items of those names
 *   .args[0]     argument of a call             .kwargs['a']
 *   .flat[3]     element of an array of objects
 *   .callable    what is called, itself made here
 *   [@9]         value of a dict whose key cannot be written, by its place
 *   .popped@9    taken from the stack, by its place; a value's own place stands
 *                behind it where its path would not be the only one
 *
 * Of more than FP_SURVEY_PATH_STEPS steps the first ones are left out, and the
 * number of the node is put behind. Containers that hold hardly more than one
 * other of their kind, at the same index, share its node: a step may be taken
 * several times ("[0]*1000").
 *
 * Errors. What the unpickler refuses whatever the names stand for is refused
 * here with its exception: underflow, unknown opcodes, lengths beyond the
 * input, frames that straddle, keys that have no hash. fp_survey_run() then
 * returns -1, and all that was met up to there stays: values that were not
 * complete are children of what they would have become part of. What the
 * unpickler might refuse, depending on what the names stand for, goes on and is
 * counted in n_undecided.
 *
 * joblib's arrays. Nothing says how long one is but the state of the wrapper in
 * front of it. What could bring a load to another length is refused: a state
 * that changes through the memo, a dtype that contradicts itself, a wrapper that
 * is used twice. Where the wrapper's class goes elsewhere than into the hands of
 * what makes an instance of it, or a function of copyreg makes one of a class
 * that is not known, that is odd, and what follows may be read otherwise.
 *
 * Time is linear in the file. Memory is at most 64 MiB and 32 bytes for each
 * byte of opcodes, while it runs and for what it leaves.
 *
 * Ownership: a survey owns what fp_survey_free() frees; it borrows a memory
 * input and the options' blobs for as long as it lives. GIL held throughout
 * (released while a descriptor is read); signal handlers run now and then, and
 * a file object's methods when it is read.
 *
 *   survey.c           the loop
 *   survey_run.c       one survey, from its beginning to what it leaves
 *   survey_parts.h     what the files below and the loop share
 *   survey_source.c    bytes from the input into the skeleton; frames, payloads
 *   survey_seams.c     which bytes are values', and where in the file they are
 *   survey_stack.c     stack, marks and memo
 *   survey_tree.c      nodes, and what becomes part of what
 *   survey_leaves.c    text, bytes, numbers
 *   survey_containers.c list, dict, set, tuple
 *   survey_objects.c   globals in use: REDUCE, NEWOBJ, BUILD, INST, OBJ
 *   survey_names.c     texts and globals, each once
 *   survey_text.c      whether text is UTF-8, whether lines are numbers
 *   survey_literal.c, survey_pile.c
 *                      a piece of the skeleton, parsed again as a literal
 *   survey_arrays.c, survey_dtypes.c, survey_shapes.c
 *                      arrays and dtypes, from such literals
 *   survey_joblib.c    arrays between the opcodes
 *   survey_path.c      paths
 */
#ifndef FP_SURVEY_H
#define FP_SURVEY_H

#include "base/state.h"
#include "core/layout.h"
#include "in/input.h"

#define FP_SURVEY_LEAF_BYTES      ((uint64_t)16 << 10)
#define FP_SURVEY_CONTAINER_BYTES ((uint64_t)4 << 10)
#define FP_SURVEY_PAYLOAD_BYTES   ((uint64_t)4 << 10)
#define FP_SURVEY_KEPT_BYTES      ((uint64_t)64)
#define FP_SURVEY_PATH_STEPS      1000
/* Of each odd thing so many places are kept. */
#define FP_SURVEY_ODD_PLACES 100

/* "There is none", for every number of 32 bits below. */
#define FP_SURVEY_NONE UINT32_MAX
/* ... and for offsets. */
#define FP_SURVEY_NOWHERE UINT64_MAX

typedef enum {
    FP_VALUE_NONE = 1,
    FP_VALUE_BOOL,
    FP_VALUE_INT,
    FP_VALUE_FLOAT,
    FP_VALUE_STR,
    FP_VALUE_BYTES,
    FP_VALUE_BYTEARRAY,
    FP_VALUE_OLD_STR, /* of Python 2: what it is depends on the reader */
    FP_VALUE_TUPLE,
    FP_VALUE_LIST,
    FP_VALUE_DICT,
    FP_VALUE_SET,
    FP_VALUE_FROZENSET,
    FP_VALUE_GLOBAL,
    FP_VALUE_INSTANCE,   /* what a call gave */
    FP_VALUE_DTYPE,      /* numpy.dtype(...) */
    FP_VALUE_ARRAY,      /* of NumPy, in one of the ways that are known */
    FP_VALUE_PERSISTENT, /* what a persistent id stands for */
    FP_VALUE_BUFFER,     /* out of band */
    FP_VALUE_BLOB,       /* of ours, on its way into an array */
} fp_value_kind;

/* How a node hangs on its parent; what `value` of the step is. */
typedef enum {
    FP_STEP_ROOT,     /* nothing; also of what hangs nowhere */
    FP_STEP_INDEX,    /* index */
    FP_STEP_KEY,      /* place of the key, a leaf or a GET */
    FP_STEP_KEYS,     /* index of a key that is notable itself */
    FP_STEP_MEMBER,   /* of a set: index */
    FP_STEP_STATE,    /* place of the state */
    FP_STEP_ARGS,     /* place */
    FP_STEP_KWARGS,   /* place */
    FP_STEP_CALLABLE, /* place */
    FP_STEP_POPPED,   /* place */
    FP_STEP_OPEN, /* place: the stream broke off before it was put anywhere */
    FP_STEP_OBJECT_KEY, /* place of a key that is no leaf */
} fp_step_kind;

typedef struct {
    uint32_t parent;
    uint32_t what; /* INSTANCE: its maker, a global; ARRAY: its number; GLOBAL:
                     * the global; leaf: its number in `leaves`; containers: how
                     * many items (pairs) */
    uint64_t total; /* bytes, with everything below */
    uint64_t place; /* bits 0 to 47 the step's value (of an index only 32, and
                     * then how many times more the step is taken), 48 to 54 its
                     * kind, 55 whether a sibling in front has the same step, 56
                     * to 63 fp_value_kind */
} fp_survey_node;

#define FP_SURVEY_PLACE_MASK ((UINT64_C(1) << 48) - 1)

static inline fp_step_kind
fp_node_step_kind(const fp_survey_node *node)
{
    return (fp_step_kind)(node->place >> 48 & 0x7f);
}

static inline int
fp_step_has_index(fp_step_kind step)
{
    return step == FP_STEP_INDEX || step == FP_STEP_MEMBER
           || step == FP_STEP_KEYS;
}

static inline uint64_t
fp_node_step_value(const fp_survey_node *node)
{
    return node->place
           & (fp_step_has_index(fp_node_step_kind(node))
                  ? UINT32_MAX
                  : FP_SURVEY_PLACE_MASK);
}

/* How often the step is taken. */
static inline uint32_t
fp_node_levels(const fp_survey_node *node)
{
    return fp_step_has_index(fp_node_step_kind(node))
               ? (uint32_t)(node->place >> 32 & 0xffff) + 1
               : 1;
}

static inline int
fp_node_is_repeated(const fp_survey_node *node)
{
    return (int)(node->place >> 55 & 1);
}

static inline fp_value_kind
fp_node_kind(const fp_survey_node *node)
{
    return (fp_value_kind)(node->place >> 56);
}

/* Flags of a global. */
enum {
    FP_GLOBAL_COMPUTED = 1,   /* the name came from no str opcode ... */
    FP_GLOBAL_UNKNOWN = 2,    /* ... and is not known */
    FP_GLOBAL_LONG = 4,       /* the name is cut */
    FP_GLOBAL_RENAMED = 8,    /* pickle maps it, for a protocol below 3 */
    FP_GLOBAL_EXTENSION = 16, /* a code of copyreg: `name` is its digits */
};

/* Counts end at UINT32_MAX. */
typedef struct {
    uint32_t module, name; /* texts; FP_SURVEY_NONE where unknown */
    uint32_t n_called;     /* by REDUCE, INST, OBJ */
    uint32_t n_class;      /* of NEWOBJ, NEWOBJ_EX */
    uint32_t n_built;      /* BUILD on an instance of it, or on itself */
    uint32_t n_argument;   /* put into something, and not called there */
    uint32_t n_get;        /* fetched from the memo */
    uint32_t first_node;   /* where it is used first */
    uint8_t flags;
    uint8_t role; /* private */
} fp_survey_global;

/* Where the bytes of an array or a leaf are. */
typedef enum {
    FP_STORED_NOWHERE, /* there are none */
    FP_STORED_UNKNOWN,
    FP_STORED_INLINE,   /* in the skeleton */
    FP_STORED_PAYLOAD,  /* a payload of the stream, by `payload` */
    FP_STORED_BLOB,     /* a blob of ours, by `payload` */
    FP_STORED_BUFFER,   /* a buffer of the second file, by `payload` */
    FP_STORED_TEXT,     /* as text, a character for each byte (protocol < 3) */
    FP_STORED_ELEMENTS, /* objects: they are values of their own */
} fp_stored;

enum {
    FP_ARRAY_BEYOND = 1,  /* it claims more bytes than there are */
    FP_ARRAY_WRAPPED = 2, /* of joblib's layout */
};

#define FP_SURVEY_NO_SHAPE 255

typedef struct {
    uint64_t offset;  /* of the first byte in the file; in the second one or
                       * (TEXT) of the opcode; FP_SURVEY_NOWHERE */
    uint64_t n_bytes; /* as stored; 0 where it is not known */
    uint32_t node;
    uint32_t dtype; /* number, or FP_SURVEY_NONE */
    uint32_t shape; /* the first of n_dims numbers in `numbers`, and of as many
                       * strides for order 'A' */
    uint32_t payload; /* number of the payload, blob or buffer */
    uint32_t
        maker; /* a global: class, or function where that is all there is */
    uint8_t n_dims; /* FP_SURVEY_NO_SHAPE: unknown */
    char order;     /* 'C', 'F', 'A' (any other) */
    uint8_t stored; /* fp_stored */
    uint8_t flags;
} fp_survey_array;

typedef struct {
    uint64_t offset; /* of its first byte in the file */
    uint64_t n_bytes;
    uint32_t node;
    uint32_t payload;
    uint8_t kind;     /* fp_value_kind: STR, BYTES, BYTEARRAY or OLD_STR */
    uint8_t stored;   /* INLINE, PAYLOAD, BLOB */
    uint8_t in_array; /* the bytes of an array that is listed */
    uint8_t zero[5];
} fp_survey_leaf;

typedef struct {
    uint64_t place;
    uint64_t offset;
    uint64_t n_bytes;
    uint64_t hash;   /* XXH3-64 */
    uint64_t n_kept; /* bytes of all payloads up to here that are not in the
                      * skeleton */
} fp_survey_payload;

/* A dtype: text ("<f8"), or arguments and state as a literal. */
enum {
    FP_DTYPE_KNOWN = 1,   /* what it is could be read */
    FP_DTYPE_TEXT = 2,    /* `text` and `order` say it all */
    FP_DTYPE_OBJECTS = 4, /* has objects in it */
    FP_DTYPE_BUILT = 8,   /* private, as the next two */
    FP_DTYPE_NAMED = 16,
    FP_DTYPE_SIZED = 128,   /* its size is what its state says */
    FP_DTYPE_DOUBTFUL = 32, /* what it says does not fit together */
    FP_DTYPE_OF_TYPE = 64,  /* of a type that is not NumPy's */
};

typedef struct {
    uint64_t place;     /* of the REDUCE, its own or that of the first array */
    uint32_t arguments; /* a literal, or NONE; ... */
    uint32_t state;     /* ... the same */
    uint32_t text;      /* the first argument, or NONE */
    uint32_t itemsize;  /* or NONE */
    char order;         /* '<', '>', '|', '=', or 0: it is in the text */
    uint8_t flags;
    uint8_t depth; /* of dtypes within dtypes */
} fp_survey_dtype;

typedef enum {
    FP_LITERAL_NONE,
    FP_LITERAL_BOOL,
    FP_LITERAL_INT,
    FP_LITERAL_FLOAT,
    FP_LITERAL_STR,     /* place of its opcode */
    FP_LITERAL_BYTES,   /* place of its opcode */
    FP_LITERAL_ENCODED, /* bytes, by the place of the str they are encoded as */
    FP_LITERAL_TUPLE,   /* the first of n literals */
    FP_LITERAL_LIST,
    FP_LITERAL_DICT,   /* ... of n keys and values in turn */
    FP_LITERAL_GLOBAL, /* number */
    FP_LITERAL_DTYPE,  /* number; always one that is complete */
    FP_LITERAL_BLOB,   /* number */
    FP_LITERAL_BUFFER, /* number */
    FP_LITERAL_OTHER,  /* something that is no literal */
} fp_literal_kind;

typedef struct {
    uint32_t kind; /* fp_literal_kind */
    uint32_t n;
    union {
        int64_t number;
        double real;
        uint64_t place;
        uint64_t first;
    } u;
} fp_literal;

#define FP_ODDITIES(X)                                                        \
    X(COMPUTED_NAME, "computed name")                                         \
    X(LONG_NAME, "name of 4 KiB or more")                                     \
    X(CALL_OF_VALUE, "call of what is no global")                             \
    X(BUILD_OF_GLOBAL, "state set on a global")                               \
    X(BUILD_OF_VALUE, "state set on what is no instance")                     \
    X(ITEMS_OF_VALUE, "items put into what takes none")                       \
    X(OLD_STR, "str of Python 2")                                             \
    X(INST, "INST")                                                           \
    X(OBJ, "OBJ")                                                             \
    X(WRAPPER, "joblib's array wrapper in another use")                       \
    X(SIZE_OF_TYPE, "array of a size that only its type knows")               \
    X(EXTENSION, "extension code")                                            \
    X(PERSISTENT, "persistent id")                                            \
    X(BUFFER, "out-of-band buffer")                                           \
    X(POP, "POP of a value")                                                  \
    X(DUP, "DUP")                                                             \
    X(PUT_AGAIN, "memo number used twice")                                    \
    X(MEMO_GAP, "memo number left out")                                       \
    X(LEFT_ON_STACK, "value left on the stack")                               \
    X(SPLIT_BY_FRAME, "frame that ends inside an opcode")                     \
    X(STOP_IN_FRAME, "STOP in front of its frame's end")                      \
    X(LATER_PROTOCOL, "opcode of a later protocol than announced")            \
    X(PROTOCOL_AGAIN, "PROTO that is not the first opcode")                   \
    X(NUMBER, "number in an unusual form")                                    \
    X(UNKNOWN_ARRAY, "array that cannot be described")                        \
    X(ARRAY_BEYOND, "array of more bytes than there are")

typedef enum {
#define X(name, text) FP_ODD_##name,
    FP_ODDITIES(X)
#undef X
    FP_N_ODDITIES
} fp_oddity;

typedef struct {
    uint64_t count;
    uint64_t offsets[FP_SURVEY_ODD_PLACES]; /* in the file */
} fp_survey_odd;

/* Bytes, as they add up to what was looked at. */
typedef struct {
    uint64_t values;   /* of the root and all below it */
    uint64_t outside;  /* of values that are no part of it */
    uint64_t protocol; /* PROTO opcodes */
    uint64_t frames;   /* FRAME opcodes and their lengths */
    uint64_t stop;
    uint64_t
        blobs; /* how much of `values` and `outside` lies in the sidecar */
} fp_survey_sums;

typedef struct {
    int is_ours;          /* a graph: whole frames, to the end of the input */
    uint64_t base;        /* offset in the file of the input's first byte */
    const fp_blob *blobs; /* of ours; borrowed as long as the survey lives */
    size_t n_blobs;
    uint64_t dump_start; /* what the blobs' offsets count from */
    int has_second_file; /* NEXT_BUFFER is the next buffer of that */
    int only_names; /* of ours: arrays are not listed, and have no nodes */
} fp_survey_options;

struct fp_survey_run; /* survey_parts.h */

typedef struct fp_survey {
    fp_survey_options options;
    fp_state *state; /* borrowed */

    const unsigned char *skeleton; /* borrowed or owned */
    uint64_t skeleton_bytes;
    int is_cut;          /* payloads are not in the skeleton */
    uint64_t offset_end; /* in the file: so far the survey got */
    int is_complete;     /* STOP (of ours: the end) was reached */
    int protocol;        /* the highest announced */
    uint64_t n_opcodes;
    uint64_t n_frames;
    uint64_t n_undecided;
    uint32_t root; /* node; NONE where nothing was made */
    int is_joblib; /* has arrays between its opcodes */

    fp_survey_node *nodes;
    size_t n_nodes;
    fp_survey_global *globals;
    size_t n_globals;
    fp_survey_array *arrays;
    size_t n_arrays;
    int64_t *numbers; /* shapes and strides */
    size_t n_numbers;
    fp_survey_leaf *leaves;
    size_t n_leaves;
    fp_survey_payload *payloads;
    size_t n_payloads;
    fp_survey_dtype *dtypes;
    size_t n_dtypes;
    fp_literal *literals;
    size_t n_literals;
    uint32_t n_buffers;
    fp_survey_odd *odd[FP_N_ODDITIES]; /* NULL: none */
    fp_survey_sums sums;

    struct fp_survey_run *run; /* owned: what only the run needs, and texts */
} fp_survey;

/* Of all that the input holds up to STOP (is_ours: its end). Zeroes and fills
 * `survey`, which the caller frees in any case. 0, or -1 with an exception and
 * all that was met in front. */
int fp_survey_run(fp_survey *survey, fp_state *state, fp_input *input,
                  const fp_survey_options *options);
void fp_survey_free(fp_survey *survey);

/* --- what was found ------------------------------------------------------ */

/* Where in the file a place is. */
uint64_t fp_survey_offset(const fp_survey *survey, uint64_t place);
/* A text of a global or dtype, UTF-8 with surrogates passed: borrowed. */
const char *fp_survey_text(const fp_survey *survey, uint32_t text,
                           size_t *n_bytes);
/* The value of a leaf opcode at a place, as far as it is kept; *n_whole is how
 * many bytes it has in all. NULL without an exception where there is none, or
 * an exception is set. New reference: str or bytes. */
PyObject *fp_survey_value(const fp_survey *survey, uint64_t place,
                          uint64_t *n_whole);
/* The bytes that a str at a place stands for, a character for each: new reference;
 * None where not all of it is kept, or it is none, or has other characters. */
PyObject *fp_survey_encoded(const fp_survey *survey, uint64_t place);
/* New reference: str. */
PyObject *fp_survey_path(const fp_survey *survey, uint32_t node);
/* The array or leaf of that path: *is_leaf and its number; FP_SURVEY_NONE where
 * there is none. -1 with an exception. */
int fp_survey_find(const fp_survey *survey, PyObject *path, uint32_t *number,
                   int *is_leaf);
/* Every node's bytes that are not its children's, in order; `own` has room for
 * n_nodes of them, each `stride` bytes behind the one before. */
void fp_survey_own_bytes(const fp_survey *survey, void *own, size_t stride);
const char *fp_oddity_text(fp_oddity oddity);

#endif

/* What the parts of the survey share.
 *
 * The loop (survey.c) keeps its place and the stack's top in locals. It writes
 * them back before it calls one of these functions, and reads them again
 * afterwards; so in here the run is as it should be: `place` is behind the
 * opcode and what was read of its argument.
 *
 * Functions return 0, or -1 with an exception set.
 */
#ifndef FP_SURVEY_PARTS_H
#define FP_SURVEY_PARTS_H

#include "base/opcodes.h"
#include "core/buffer.h"
#include "survey.h"

#include <string.h>

/* --- values -------------------------------------------------------------- */

/* Bits 56 to 63 of a head. */
enum {
    FP_IS_NOTABLE = 1,    /* look at it when it becomes part of something */
    FP_IS_UNHASHABLE = 2, /* can be no key */
    FP_IS_LARGE = 4,      /* has FP_SURVEY_CONTAINER_BYTES and more */
    FP_HAS_ORIGIN = 8,    /* a str from the memo, by `origin`; no node */
    FP_IS_LEAF = 16,      /* `what` is its number in `leaves` */
    FP_IS_GROWN = 32,     /* `what` is its number in `grown` */
    FP_WAS_REPLACED = 64, /* in the memo: another value had this number */
    FP_IS_COPY = 128,     /* by GET or DUP: others may stand for the object */
};

/* On the stack. Bits 0 to 47 of the head are the place where it begins, 48 to
 * 55 its kind, then flags. */
typedef struct {
    uint64_t head;
    union {
        struct {
            uint32_t node; /* NONE: not notable so far */
            uint32_t what; /* GLOBAL, DTYPE, ARRAY, BLOB: its number; INSTANCE:
                            * its maker; containers: how many items */
        };
        uint64_t origin; /* place of the str opcode */
        uint64_t tail;
    };
} fp_value;

/* In the memo; a head of 0 is an empty place. */
typedef struct {
    uint64_t head;
    union {
        struct {
            uint32_t length; /* of the value up to its PUT; UINT32_MAX: more */
            uint32_t what;
        };
        uint64_t origin; /* of a str */
    };
} fp_remembered;

#define FP_HEAD(kind, flags) ((uint64_t)(kind) << 48 | (uint64_t)(flags) << 56)
/* A node of NONE, and 0. */
#define FP_NO_TAIL ((uint64_t)FP_SURVEY_NONE)

static inline uint64_t
fp_place_of(uint64_t head)
{
    return head & FP_SURVEY_PLACE_MASK;
}

static inline fp_value_kind
fp_kind_of(uint64_t head)
{
    return (fp_value_kind)(head >> 48 & 0xff);
}

static inline unsigned
fp_flags_of(uint64_t head)
{
    return (unsigned)(head >> 56);
}

static inline int
fp_is_container(fp_value_kind kind)
{
    return kind >= FP_VALUE_TUPLE && kind <= FP_VALUE_FROZENSET;
}

/* --- the run ------------------------------------------------------------- */

typedef struct {
    uint64_t place; /* of the MARK */
    uint64_t index; /* of the first item above it */
} fp_survey_mark;

typedef struct {
    uint64_t number;
    fp_remembered value; /* a head of 0: free */
} fp_far_value;

/* Numbers that the opcodes so far account for are in `near`. */
typedef struct {
    fp_remembered *near;
    size_t near_capacity;
    fp_far_value *far; /* open addressing */
    size_t far_capacity;
    size_t n_far;
    size_t n_filled; /* for MEMOIZE */
    uint64_t hint;   /* numbers that the length of a graph allows for */
    uint64_t seed;   /* the run's */
    uint64_t highest;
} fp_survey_memo;

/* A stream inside a stream: an array of objects in joblib's layout. */
typedef struct {
    fp_survey_memo memo; /* of the stream around it */
    size_t floor;
    size_t first_mark;
    size_t fence;
    int protocol;
    uint64_t first_place;
    size_t foreign; /* its own bytes, by number */
} fp_survey_context;

/* From here on `extra` bytes belong to values beside those of the skeleton, or
 * less. */
typedef struct {
    uint64_t place;
    uint64_t extra; /* modulo 2^64 */
} fp_seam;

typedef struct {
    uint32_t maker;
    uint32_t n_items;
} fp_grown;

/* Bytes of the skeleton that are no opcodes of the stream around them: an array
 * of joblib's, or its stream. */
typedef struct {
    uint64_t start;
    uint64_t end;
} fp_foreign_bytes;

/* The tuple that was made last, and its first item, if that is a global: what a
 * call of a function that makes instances is about. */
typedef struct {
    uint64_t place; /* FP_SURVEY_NOWHERE: none */
    uint32_t first; /* global, or NONE */
} fp_last_tuple;

/* Of `numbers`: a shape, with strides or without. */
typedef struct {
    uint32_t first;
    uint32_t n;
} fp_run_of_numbers;

typedef struct {
    uint64_t offset; /* in text_bytes */
    uint32_t n_bytes;
    uint32_t hash;
} fp_text;

/* A growing array that is not public. */
#define FP_ROWS(type)                                                         \
    struct {                                                                  \
        type *rows;                                                           \
        size_t n;                                                             \
        size_t capacity;                                                      \
    }

#define FP_NO_FRAME        UINT64_MAX
#define FP_SURVEY_MAX_DIMS 64

typedef struct fp_survey_run {
    fp_survey *survey; /* borrowed */
    fp_input *input;   /* borrowed */
    uint64_t seed; /* another one each time: where in a table things lie is not
                    * for the file to choose */

    uint64_t place;           /* next byte */
    uint64_t visible;         /* the loop may go so far */
    uint64_t synced;          /* the place of the input's cursor */
    uint64_t frame_end;       /* a place */
    size_t skeleton_capacity; /* 0: borrowed */
    unsigned char *scratch;   /* payloads pass through it ... */
    void *hash;               /* ... and this */

    fp_value *stack, *top, *stack_end;
    size_t fence; /* nothing below may be popped */
    FP_ROWS(fp_survey_mark) marks;
    fp_survey_memo memo;
    FP_ROWS(fp_survey_context) contexts;
    size_t floor; /* where the stack of this stream begins */
    size_t first_mark;
    int protocol;
    uint64_t first_place; /* of this stream */
    unsigned char used[256];

    FP_ROWS(fp_seam) seams;
    size_t last_seam; /* where a place was found last */
    FP_ROWS(fp_grown) grown;
    FP_ROWS(fp_foreign_bytes) foreign;
    FP_ROWS(uint64_t) buffers; /* places of NEXT_BUFFER */
    uint64_t *counted;         /* of each blob, what values have */
    size_t nodes_capacity, globals_capacity, arrays_capacity;
    size_t numbers_capacity, leaves_capacity, payloads_capacity;
    size_t dtypes_capacity, literals_capacity;

    FP_ROWS(fp_text) texts;
    FP_ROWS(unsigned char) text_bytes;
    uint32_t *text_table, *global_table; /* open addressing; NONE is free */
    size_t text_table_size, global_table_size;
    uint32_t dtype_global; /* what was called for the last dtype */
    fp_last_tuple last_tuple;
    uint64_t
        n_wrappers; /* arguments that say: an instance of joblib's wrapper */
    FP_ROWS(unsigned char) decoded;

    /* survey_literal.c */
    FP_ROWS(fp_literal) pile;  /* what is being parsed */
    FP_ROWS(fp_literal) parts; /* of tuples, lists, dicts */
    uint64_t n_steps;          /* of all literals so far */

    FP_ROWS(fp_run_of_numbers) shapes; /* each of them once */
    uint32_t *shape_table;             /* open addressing; NONE is free */
    size_t shape_table_size;
    uint32_t *dtype_table; /* by text: the dtype that is nothing else */
    size_t dtype_table_size;
    uint64_t dtype_place; /* of a text that was one, and its number */
    uint32_t dtype_there;
} fp_survey_run_state;

/* Room for one row more; grows by an eighth, where it is large. */
int fp_rows_grow(void *rows, size_t *capacity, size_t n, size_t row_bytes);

#define FP_ROWS_ROOM(list)                                                    \
    ((list).n < (list).capacity                                               \
         ? 0                                                                  \
         : fp_rows_grow(&(list).rows, &(list).capacity, (list).n + 1,         \
                        sizeof(*(list).rows)))

/* Numbers are 32 bits wide: whether n of something are as many as there can be.
 * Then with an exception. */
static inline int
fp_is_full(size_t n)
{
    if (n < FP_SURVEY_NONE) {
        return 0;
    }
    PyErr_NoMemory();
    return 1;
}

static inline size_t
fp_height(const fp_survey_run_state *run)
{
    return (size_t)(run->top - run->stack);
}

static inline int
fp_survey_refuse(const fp_survey_run_state *run, const char *message)
{
    PyErr_SetString(run->survey->state->unpickling_error, message);
    return -1;
}

/* --- survey.c ------------------------------------------------------------ */

/* All opcodes: 0, or -1. */
int fp_survey_opcodes(fp_survey_run_state *run);

/* --- survey_source.c ----------------------------------------------------- */

int fp_source_begin(fp_survey_run_state *run);
void fp_source_end(fp_survey_run_state *run);
/* One more opcode: 0, 1 where the input of a graph ends, -1. */
int fp_source_opcode(fp_survey_run_state *run);
/* n_bytes at `place`. */
int fp_source_need(fp_survey_run_state *run, uint64_t n_bytes);
/* A line from `place`, which goes behind it; without its newline. */
int fp_source_line(fp_survey_run_state *run, uint64_t *line,
                   uint64_t *n_bytes);
/* What a length has announced, from `place` on, which goes behind it. Text is
 * held to be UTF-8. *payload is its number, or NONE. */
int fp_source_take(fp_survey_run_state *run, uint64_t n_bytes, int is_text,
                   uint32_t *payload);
/* FRAME and PROTO, argument included, that end at `place`. */
int fp_source_frame(fp_survey_run_state *run, uint64_t n_bytes);
int fp_source_proto(fp_survey_run_state *run);
/* STOP: what its frame claims beyond is there. */
int fp_source_stop(fp_survey_run_state *run);
/* An array of joblib's begins, or its bytes have ended. */
int fp_source_leave_frame(fp_survey_run_state *run);

/* --- survey_seams.c ------------------------------------------------------ */

/* From `place` on so many bytes more (or, negative, less) belong to values. */
int fp_add_seam(fp_survey_run_state *run, int64_t extra);
/* Bytes in front of a place that belong to values. */
uint64_t fp_value_bytes(fp_survey_run_state *run, uint64_t place);
void fp_odd(fp_survey_run_state *run, fp_oddity oddity, uint64_t place);

/* --- survey_stack.c ------------------------------------------------------ */

int fp_value_stack_grow(fp_survey_run_state *run);
int fp_value_underflow(const fp_survey_run_state *run);
int fp_push_mark(fp_survey_run_state *run);
/* Takes the top mark away. */
int fp_take_value_mark(fp_survey_run_state *run, fp_survey_mark *mark);
/* A value that begins at `place`. */
int fp_push_value(fp_survey_run_state *run, uint64_t head, uint64_t tail);
int fp_remember(fp_survey_run_state *run, uint64_t number);
/* NULL: nothing there. */
const fp_remembered *fp_recall(const fp_survey_memo *memo, uint64_t number);
int fp_fetch(fp_survey_run_state *run, uint64_t number, uint64_t place);
int fp_seed_blobs(fp_survey_run_state *run);
void fp_value_memo_free(fp_survey_memo *memo);

/* --- survey_tree.c ------------------------------------------------------- */

/* The node of a value, made where it has none. */
int fp_ensure_node(fp_survey_run_state *run, fp_value *value);
uint32_t fp_new_node(fp_survey_run_state *run, fp_value_kind kind,
                     uint32_t what);
/* `n` values become part of the one at `target`; the last one ends at `end`.
 * `step` INDEX, MEMBER: counted from `first_index`; KEY: keys and values in
 * turn; else: the one value is that. */
int fp_take_values(fp_survey_run_state *run, fp_value *target,
                   fp_value *values, size_t n, fp_step_kind step,
                   uint64_t first_index, uint64_t end);
/* What is taken from the stack at `index` and above. */
int fp_drop_values(fp_survey_run_state *run, size_t index, uint64_t end);
/* LARGE, where it has become so. */
static inline void
fp_measure(const fp_survey_run_state *run, fp_value *value)
{
    if (run->place - fp_place_of(value->head) >= FP_SURVEY_CONTAINER_BYTES) {
        value->head |= FP_HEAD(0, FP_IS_LARGE | FP_IS_NOTABLE);
    }
}
/* STOP, and the end of everything. */
int fp_finish_tree(fp_survey_run_state *run);
int fp_finish_broken_tree(fp_survey_run_state *run);
int fp_mark_repeated_steps(fp_survey_run_state *run);
/* Whether a node (or NULL) is one of the two dicts of a state (dict, slots). */
static inline int
fp_node_is_slots(const fp_survey *survey, const fp_survey_node *node)
{
    const fp_survey_node *tuple;

    if (node == NULL || node->parent == FP_SURVEY_NONE
        || fp_node_step_kind(node) != FP_STEP_INDEX)
    {
        return 0;
    }
    tuple = &survey->nodes[node->parent];
    return fp_node_step_kind(tuple) == FP_STEP_STATE && tuple->what == 2
           && fp_node_kind(tuple) == FP_VALUE_TUPLE;
}
/* A leaf of FP_SURVEY_LEAF_BYTES and more is pushed. */
int fp_push_leaf(fp_survey_run_state *run, uint64_t place, fp_value_kind kind,
                 const fp_survey_leaf *leaf);

/* --- survey_names.c ------------------------------------------------------ */

typedef struct {
    const unsigned char *data; /* what is kept of it */
    uint64_t n_kept;
    uint64_t n_whole;
    unsigned char opcode;
} fp_leaf_bytes;

/* The opcode at a place, and how many bytes are kept behind it; NULL where
 * nothing is. */
static inline const unsigned char *
fp_opcode_at(const fp_survey *survey, uint64_t place, uint64_t *n_behind)
{
    if (place >= survey->skeleton_bytes) {
        return NULL;
    }
    *n_behind = survey->skeleton_bytes - place - 1;
    return survey->skeleton + place;
}

/* The leaf opcode at a place: 1, or 0 where there is none. */
int fp_leaf_at(const fp_survey *survey, uint64_t place, fp_leaf_bytes *leaf);
/* The number, or for None, True and False another one, of the opcode at a place,
 * where a path writes it: 1, or 0. */
int fp_small_number_at(const fp_survey *survey, uint64_t place,
                       int64_t *number);
/* Whether it is a str of Python 2 whose line has escapes. */
static inline int
fp_has_escapes(const fp_leaf_bytes *leaf)
{
    return leaf->opcode == OP_STRING
           && memchr(leaf->data, '\\', (size_t)leaf->n_kept) != NULL;
}
/* The number of the payload that begins at a place: 1, or 0. */
int fp_payload_at(const fp_survey *survey, uint64_t place, size_t *number);
/* The number of a text, made where it is new. */
int fp_intern(fp_survey_run_state *run, const void *text, size_t n_bytes,
              uint32_t *number);
/* The text of a str literal; NONE where it is too long to be one. */
int fp_intern_literal(fp_survey_run_state *run, uint64_t place,
                      uint32_t *number);
/* The same, and of what was a str in Python 2 where that is plain ASCII. */
int fp_intern_old_literal(fp_survey_run_state *run, uint64_t place,
                          uint32_t *number);
/* The number of a global, made where it is new. */
int fp_intern_global(fp_survey_run_state *run, uint32_t module, uint32_t name,
                     unsigned flags, uint32_t *number);
int fp_is_text(const fp_survey_run_state *run, uint32_t number,
               const char *text);
int fp_stack_global(fp_survey_run_state *run, uint64_t place);
/* The global that such lines name. */
int fp_global_of_lines(fp_survey_run_state *run, int is_ascii,
                       uint32_t *number);
/* Of two str literals, where it is known: NONE otherwise. */
int fp_find_known_global(fp_survey_run_state *run, uint64_t module_place,
                         uint64_t name_place, uint32_t *number);
/* The same of the lines of a GLOBAL. */
int fp_find_known_lines(fp_survey_run_state *run, const unsigned char *module,
                        size_t n_module, const unsigned char *name,
                        size_t n_name, uint32_t *number);
void fp_use(fp_survey_run_state *run, uint32_t *count);

/* What the survey knows a global for. */
enum {
    FP_ROLE_NONE,
    FP_ROLE_DTYPE,
    FP_ROLE_NDARRAY,
    FP_ROLE_FROMBUFFER,
    FP_ROLE_RECONSTRUCT,
    FP_ROLE_ENCODE,
    FP_ROLE_MAKER, /* makes an instance of its first argument; copyreg's */
    FP_ROLE_WRAPPER,
};

/* --- survey_leaves.c ----------------------------------------------------- */

/* How the argument of an opcode is written. */
static inline size_t
fp_argument_width(fp_argument argument)
{
    return FP_ARGUMENT_WIDTH(argument);
}

/* Opcodes that begin at a place: with a length in front of what they hold, with
 * a line. */
int fp_do_counted(fp_survey_run_state *run, unsigned char opcode,
                  fp_argument argument, uint64_t place);
int fp_do_line(fp_survey_run_state *run, unsigned char opcode, uint64_t place);

/* --- survey_containers.c ------------------------------------------------- */

/* TUPLE1, TUPLE2, TUPLE3 */
int fp_do_short_tuple(fp_survey_run_state *run, size_t n);
/* TUPLE, LIST, DICT, FROZENSET */
int fp_do_marked(fp_survey_run_state *run, unsigned char opcode);
/* APPENDS, SETITEMS, ADDITEMS */
int fp_do_items(fp_survey_run_state *run, unsigned char opcode);
/* APPEND, SETITEM: of the topmost n */
int fp_do_item(fp_survey_run_state *run, size_t n);

/* --- survey_objects.c ---------------------------------------------------- */

int fp_do_reduce(fp_survey_run_state *run);
int fp_do_newobj(fp_survey_run_state *run, int with_keywords);
int fp_do_build(fp_survey_run_state *run);
int fp_do_inst(fp_survey_run_state *run, uint64_t place);
int fp_do_obj(fp_survey_run_state *run);
int fp_do_extension(fp_survey_run_state *run, uint64_t place, int64_t code);
int fp_do_persistent(fp_survey_run_state *run, uint64_t place, int is_binary);
/* The maker of an instance, or NONE. */
uint32_t fp_maker_of(const fp_survey_run_state *run, const fp_value *value);
/* Items go into a value that is no list, dict or set, or at least not surely:
 * how many it has got before, or where that is not known another number, so that
 * each has one of its own. */
int fp_grow_value(fp_survey_run_state *run, fp_value *value, size_t n,
                  uint64_t *before);

/* --- survey_text.c ------------------------------------------------------- */

/* What of a character is there, between two pieces of a text. */
typedef struct {
    unsigned char bytes[4];
    unsigned n_bytes;
} fp_utf8_state;

/* Pieces of UTF-8, with lone surrogates where `surrogates`. 0: not valid. */
int fp_utf8_feed(fp_utf8_state *state, const unsigned char *text,
                 size_t n_bytes, int surrogates);
/* Text as a whole. */
int fp_is_utf8(const unsigned char *text, size_t n_bytes, int surrogates);
/* How many bytes of UTF-8 that was cut off are whole characters; n_bytes > 0. */
size_t fp_whole_characters(const unsigned char *text, size_t n_bytes);
/* UNICODE's line as UTF-8, into a buffer; 0 where it is not valid. */
int fp_decode_raw_unicode(fp_survey_run_state *run, const unsigned char *line,
                          size_t n_bytes);
/* The line of a number: 1 as pickle writes it, 0 perhaps one, -1 with an
 * exception. */
int fp_check_int_line(const unsigned char *line, size_t n_bytes, int is_long);
int fp_check_float_line(const unsigned char *line, size_t n_bytes);
/* The number of a GET or PUT. */
int fp_number_of_line(const unsigned char *line, size_t n_bytes,
                      int64_t *number);

/* Short text, n_bytes of which are there: almost always ASCII. */
static inline int
fp_is_short_ascii(const unsigned char *text, size_t n_bytes)
{
    uint64_t any = 0, word;
    size_t i = 0;

    if (n_bytes >= 8) {
        for (; i + 8 < n_bytes; i += 8) {
            memcpy(&word, text + i, 8);
            any |= word;
        }
        memcpy(&word, text + n_bytes - 8, 8);
        any |= word;
        return (any & UINT64_C(0x8080808080808080)) == 0;
    }
    if (n_bytes >= 4) {
        uint32_t head, tail;
        memcpy(&head, text, 4);
        memcpy(&tail, text + n_bytes - 4, 4);
        return ((head | tail) & 0x80808080) == 0;
    }
    for (; i < n_bytes; i++) {
        any |= text[i];
    }
    return (any & 0x80) == 0;
}

/* --- survey_literal.c ---------------------------------------------------- */

/* Parses the skeleton from `start` to `end` as one literal, into `pile` and
 * `parts`: good until the next call. *literal is OTHER where it is none, or too
 * large for what the file has paid for so far. */
int fp_parse_literal(fp_survey_run_state *run, uint64_t start, uint64_t end,
                     const fp_literal **literal);
/* survey_pile.c: what these return beside -1, an exception. */
enum {
    FP_NO_LITERAL = 0,
    FP_PARSED = 1
};

#define FP_LITERAL_MARK UINT32_MAX
/* `n` of what is OTHER because it is a dict from the memo. */
#define FP_PILE_DICT 1

/* Literals at one time. */
#define FP_PILE_ROWS ((size_t)1 << 16)

static inline int
fp_pile_push(fp_survey_run_state *run, fp_literal literal)
{
    if (run->pile.n + run->parts.n >= FP_PILE_ROWS) {
        return FP_NO_LITERAL;
    }
    if (FP_ROWS_ROOM(run->pile) < 0) {
        return -1;
    }
    run->pile.rows[run->pile.n++] = literal;
    return FP_PARSED;
}

static inline int
fp_pile_number(fp_survey_run_state *run, fp_literal_kind kind, int64_t number)
{
    return fp_pile_push(run, (fp_literal){.kind = kind, .u.number = number});
}

static inline int
fp_pile_place(fp_survey_run_state *run, fp_literal_kind kind, uint64_t place)
{
    return fp_pile_push(run, (fp_literal){.kind = kind, .u.place = place});
}

static inline int
fp_pile_other(fp_survey_run_state *run)
{
    return fp_pile_push(run, (fp_literal){.kind = FP_LITERAL_OTHER});
}

/* Nothing below `base` is touched. How many lie above the topmost mark; */
int fp_pile_above_mark(const fp_survey_run_state *run, size_t base, size_t *n);
/* without the topmost n; */
int fp_pile_drop(fp_survey_run_state *run, size_t base, size_t n);
/* the topmost n, in the place of a mark if there is one, become a tuple, */
int fp_pile_tuple(fp_survey_run_state *run, size_t base, size_t n,
                  int has_mark);
/* or keys and values of the dict below them. */
int fp_pile_items(fp_survey_run_state *run, size_t base, size_t n,
                  int has_mark);

/* Copies a literal into the survey's own: its number; NONE where that takes more
 * than the file has paid for. */
int fp_keep_literal(fp_survey_run_state *run, const fp_literal *literal,
                    uint32_t *number);

/* NULL where it has none. */
static inline const fp_literal *
fp_literal_parts(const fp_survey_run_state *run, const fp_literal *literal)
{
    return (literal->kind == FP_LITERAL_TUPLE
            || literal->kind == FP_LITERAL_DICT)
                   && literal->n > 0
               ? run->parts.rows + literal->u.first
               : NULL;
}

/* --- survey_arrays.c ----------------------------------------------------- */

/* REDUCE of a global with a role; `value` is the result, `args` lay behind it.
 */
int fp_reduce_dtype(fp_survey_run_state *run, fp_value *value,
                    const fp_value *args);
int fp_reduce_array(fp_survey_run_state *run, fp_value *value,
                    const fp_value *args, uint32_t global);
int fp_build_dtype(fp_survey_run_state *run, fp_value *value,
                   uint64_t state_start, uint64_t state_end);
int fp_build_array(fp_survey_run_state *run, fp_value *value,
                   uint64_t state_start, uint64_t state_end);
/* A record of an array nothing is known of yet, and its node: `value` becomes
 * an array. */
int fp_new_array(fp_survey_run_state *run, fp_value *value, uint32_t maker);
/* What a literal says about an array. Shape: 1, 0 where it is none. Strides are
 * a tuple of as many ints, or NULL. */
int fp_take_shape(fp_survey_run_state *run, fp_survey_array *array,
                  const fp_literal *shape, const fp_literal *strides);
int fp_take_dtype(fp_survey_run_state *run, fp_survey_array *array,
                  const fp_literal *dtype);
/* n numbers in all: a shape, and with order 'A' strides behind it. 1, 0 where
 * that is more than the file has paid for. */
int fp_keep_shape(fp_survey_run_state *run, fp_survey_array *array,
                  const int64_t *numbers, size_t n);
/* The product of shape and itemsize: 1, 0 where it is unknown, or no number. */
int fp_array_size(const fp_survey_run_state *run, const fp_survey_array *array,
                  uint64_t *n_bytes);
/* A blob's bytes go to the value that ends at `place`. */
int fp_count_blob(fp_survey_run_state *run, uint32_t blob, uint64_t n_bytes);

/* --- survey_joblib.c ----------------------------------------------------- */

/* BUILD has completed a wrapper: its array follows. */
int fp_unwrap(fp_survey_run_state *run, fp_value *value, uint64_t state_start,
              uint64_t state_end);
/* STOP of the stream of an array of objects. */
int fp_leave_context(fp_survey_run_state *run);

/* --- little endian ------------------------------------------------------- */

static inline uint64_t
fp_le(const unsigned char *bytes, size_t n_bytes)
{
    uint64_t value = 0;
    for (size_t i = n_bytes; i-- > 0;) {
        value = value << 8 | bytes[i];
    }
    return value;
}

#endif

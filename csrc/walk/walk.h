/* The walk: from an object to opcodes, with its own stack on the heap.
 *
 * One walk serves two writers, which differ in `late_puts`:
 *   - the file (late_puts = 1): a memo number is drawn at an object's second
 *     reference and its PUT is inserted when the graph is copied out; arrays
 *     and large leaves go to the outlet and are fetched from there;
 *   - the standard stream (late_puts = 0): byte for byte what pickle writes,
 *     MEMOIZE or PUT behind every object, its own frames, everything in-band.
 *
 * Silence. While `silent` is set nothing but this code has run since the walk
 * began and the GIL was never released. Then nobody can take a new reference
 * to anything, so an object whose only reference is the one the walk followed
 * needs no memo entry, and nothing needs to be kept alive. The first thing
 * that would break the silence (a call to foreign code, a full staging ring)
 * is not done: the walk stops with `restart` set, and fp_walk_run() begins
 * anew with a full memo that holds strong references.
 *
 * What does not stay among the opcodes, and a stream that goes out as it grows,
 * is the outlet's (outlet.h).
 *
 * Ownership: a walk borrows its hooks and its outlet from whoever set it up;
 * frames own the objects they work on; fp_walk_free() releases everything.
 * Errors: -1 with an exception set, or, inside a walk, with `restart` set.
 * The GIL is held throughout; only the outlet releases it.
 *
 *   walk.c     the stack machine, and which room an object belongs to
 *   emit.c     opcodes in memory: room, frames, GET and PUT
 *   output.c   the standard stream as bytes objects
 *   containers.c  lists, tuples, dicts, sets, and a reducer's iterators
 *   leaves.c   numbers and strings (the hottest: inline_leaves.h)
 *   objects.c  which way everything else goes: whose reducer is asked
 *   instances.c  plain instances, whose reducer nobody need ask
 *   known_classes.c, known_write.c, known_values.c, known_functions.c
 *              instances whose reducer is known
 *   reduce.c   what a reducer returned, part by part
 *   globals.c  classes and functions, by name
 *   path.c     where in the object the walk is, for our own note
 *   notes.c    pickle's own notes on a failure
 *   array.c    NumPy arrays, around bytes that go to the outlet
 */
#ifndef FP_WALK_H
#define FP_WALK_H

#include "base/opcodes.h"
#include "base/state.h"
#include "core/graph.h"
#include "memo.h"
#include "out/array_bytes.h"

typedef enum {
    FP_FRAME_LIST, /* exact list, by index */
    FP_FRAME_DICT, /* exact dict, by position */
    FP_FRAME_TUPLE,
    FP_FRAME_SET,        /* `pending` is the iterator */
    FP_FRAME_FROZENSET,  /* `pending` is the iterator */
    FP_FRAME_LIST_ITER,  /* items of a reducer, or of a list in protocol 0 */
    FP_FRAME_DICT_ITER,  /* pairs of a reducer, or of a dict in protocol 0 */
    FP_FRAME_REDUCE,     /* `pending` is the reducer's tuple */
    FP_FRAME_SCRIPT,     /* `pending` is a tuple: bytes are opcodes to write,
                          * everything else is to be saved */
    FP_FRAME_PERSISTENT, /* `object` is the persistent id */
    FP_FRAME_ARRAY,      /* `pending` is the tuple of arguments */
    FP_FRAME_KNOWN,      /* an object by a reducer that is known */
} fp_frame_kind;

typedef struct {
    unsigned char kind;
    unsigned char stage;    /* meaning is the kind's own */
    unsigned char flags;    /* FP_FLAG_... */
    unsigned short n_batch; /* items in the open batch */
    PyObject *object;       /* owned; NULL for a nameless reduce */
    PyObject *pending;      /* owned where FP_FLAG_OWNS_PENDING */
    PyObject *ahead;        /* owned: an iterator's item read in advance; the
                             * class whose instance a dict is the state of */
    PyObject *guarded;      /* owned: the container Pickler.fast guards */
    Py_ssize_t position;
    Py_ssize_t size;      /* at the start */
    Py_ssize_t lookahead; /* a dict's position, some entries ahead */
} fp_frame;

#define FP_FLAG_OWNS_PENDING 1
#define FP_FLAG_ATTRIBUTES   2  /* a dict that is an instance's state */
#define FP_FLAG_BUILD        4  /* BUILD follows the dict */
#define FP_FLAG_LONELY       8  /* no memo entry needed */
#define FP_FLAG_MARKED       16 /* a MARK is open */
#define FP_FLAG_SHARED_KEYS  32 /* of a dict */
#define FP_FLAG_REPEATS      32 /* of a list: few objects, again and again */
#define FP_FLAG_ITSELF       64 /* failed by itself, not in what it holds */
#define FP_FLAG_OF_OBJECT                                                     \
    128 /* a reducer's answer for an object, which is
                                  * not of a type that pickle knows itself */

/* The stages of a dict's frame: which half of an item is being saved. */
enum {
    FP_DICT_NONE,
    FP_DICT_KEY,
    FP_DICT_VALUE
};

/* The frame, not what it holds, is the reason of the exception that is set.
 * Returns -1. */
static inline int
fp_fail_itself(fp_frame *frame)
{
    frame->flags |= FP_FLAG_ITSELF;
    return -1;
}

/* Where a pointer belongs in a small cache. */
#define FP_CACHE_SLOT(pointer, n_slots)                                       \
    ((size_t)(((uint64_t)(uintptr_t)(pointer) * UINT64_C(0x9e3779b97f4a7c15)) \
              >> 40)                                                          \
     % (n_slots))

/* Class facts, valid while the class keeps its version. */
typedef struct {
    PyTypeObject *type; /* borrowed, compared only together with `version` */
    unsigned int version;
    int kind; /* reduce.c's */
} fp_class_facts;

#define FP_CLASS_CACHE 64

/* Where the standard stream grows: once it is large, in the bytes object that is
 * handed out, so that nothing large is copied once more (output.c). */
typedef struct {
    fp_graph_memory memory;
    PyObject *bytes; /* owned; NULL: the memory is malloc()'s */
    size_t expected; /* of the next memory, by the last */
} fp_output;

/* What a dtype is called in the file. */
typedef struct {
    PyObject *dtype; /* owned */
    PyObject *name;  /* borrowed from dtype_names; NULL: stored as object */
} fp_dtype_name;

#define FP_DTYPE_CACHE 16

typedef struct fp_outlet fp_outlet;
typedef struct fp_outlet_methods fp_outlet_methods;

typedef struct fp_walk {
    fp_state *state; /* borrowed */
    fp_graph graph;
    fp_memo *memo; /* own_memo, or the Pickler's */
    fp_memo own_memo;
    fp_frame *frames;
    size_t n_frames;
    size_t frames_capacity;
    size_t n_reduces;   /* FP_FRAME_REDUCE on the stack */
    size_t n_unbuilt;   /* of these, not yet in the memo */
    uint64_t n_numbers; /* memo numbers drawn */

    int protocol;
    int text; /* lines of text: protocol 0, or Pickler.bin = 0 */
    int fix_imports;
    int late_puts;
    int silent;
    int restart;
    int knows;   /* something was written without its reducer, in silence */
    int careful; /* look for reducers in instance dicts first */
    int hooked;  /* persistent_id is set */
    int no_memo; /* Pickler.fast */
    PyObject *local_object_error; /* borrowed: pickle's, or PicklingError */
    Py_ssize_t guard_depth;       /* Pickler.fast: nested containers */
    PyObject *guard;              /* owned set of addresses, or NULL */

    /* Standard stream only. */
    int framing;
    Py_ssize_t frame_start; /* -1: none open */
    PyObject *write;        /* borrowed; NULL for dumps */
    fp_output output;

    /* Borrowed hooks; NULL where not set. */
    PyObject *reducer_override;
    PyObject *persistent_id;
    PyObject *dispatch_table;
    PyObject *reducers; /* exact dict: a type, and its reducer where none is
                         * registered */
    PyObject *buffer_callback;
    PyObject *names; /* a metaclass: its classes are written by __module__ and
                      * __qualname__, which are str, and looked up nowhere */

    const fp_outlet *outlet; /* borrowed: where payloads go (outlet.h);
                               * NULL: nowhere else */
    PyObject *kept;          /* owned list: what a silent walk made itself */
    PyObject *modules;       /* owned set of top-level names, or NULL */
    PyObject *dtype_names;   /* owned dict: dtype.str -> itself */
    fp_dtype_name dtypes[FP_DTYPE_CACHE];
    fp_padding_cache padding;
    fp_class_facts classes[FP_CLASS_CACHE];
    /* What is known of classes, in silence (known.h). */
    fp_memo known_types; /* a class: its index */
    struct fp_known_class **known;
    size_t n_known;
    size_t known_capacity;
} fp_walk;

/* What a saving function says. */
#define FP_SAVED  0 /* the object's opcodes are written */
#define FP_PUSHED 1 /* a frame was pushed; they will be when it is popped */
#define FP_LEFT   2 /* by its reducer after all; nothing is written yet */
#define FP_FAILED (-1)

/* A zeroed walk becomes ready; cannot fail. */
void fp_walk_init(fp_walk *walk, fp_state *state, int protocol,
                  int fix_imports);
/* Writes PROTO, the object and STOP (standard stream), or the object alone
 * (file). On failure notes in the exception where in the object it was: first
 * in pickle's words, then as a path. */
int fp_walk_run(fp_walk *walk, PyObject *object);
void fp_walk_free(fp_walk *walk);

/* --- for other walks (hash/): what an object says of itself --- */

/* Whether nobody but object itself would be asked about the class's instances:
 * class and __dict__ are all there is, unless the dict has a reducer in it. */
int fp_is_plain_class(fp_walk *walk, PyTypeObject *type);
/* Whether the instance's own dict shadows what makes its class plain. 1, 0 or
 * -1. */
int fp_carries_reducer(const fp_state *state, PyObject *dict);
/* What the registered or the object's own reducer answers, a str or a tuple of
 * the right parts: a new reference. Not in silence. */
PyObject *fp_ask_reducer(fp_walk *walk, PyObject *object);
/* Module and name under which pickle finds the object, `given` or its own: new
 * references to str. 0 or -1. */
int fp_find_names(fp_walk *walk, PyObject *object, PyObject *given,
                  PyObject **module_name, PyObject **name);

/* --- for the rooms of the walk only --- */

/* Writes one object, or pushes the frame that will. `object` is borrowed and
 * must stay alive until this returns. `lonely`: followed through its only
 * reference, in silence. */
int fp_save(fp_walk *walk, PyObject *object, int lonely);
/* Everything that is not a leaf or a container of an exact built-in type. */
int fp_save_other(fp_walk *walk, PyObject *object, int lonely);
int fp_save_global(fp_walk *walk, PyObject *object, PyObject *name);
/* `reduced` is what a reducer returned (borrowed); `object` may be NULL. */
int fp_save_reduced(fp_walk *walk, PyObject *reduced, PyObject *object);
/* Whether its parts are what they should be. 0 or -1. */
int fp_check_reduced(const fp_state *state, PyObject *reduced);
int fp_step_reduce(fp_walk *walk, fp_frame *frame);
/* instances.c: an instance that pickle would ask nobody but object itself
 * about. FP_LEFT where it would ask somebody. */
int fp_save_instance(fp_walk *walk, PyObject *object, int lonely);
/* known_write.c, in silence, protocol 2 or newer: an instance whose reducer
 * need not be asked. FP_LEFT where it must be; nothing is written then. */
int fp_save_known_class(fp_walk *walk, PyObject *object, int lonely);
int fp_step_known(fp_walk *walk, fp_frame *frame);
/* known_classes.c */
void fp_forget_known(fp_walk *walk);
/* The state of an object that is written, and BUILD. */
int fp_push_state(fp_walk *walk, PyObject *object, PyObject *state);
/* What a frame is saving of a reducer's answer. */
typedef enum {
    FP_PART_CALLABLE,
    FP_PART_ARGUMENTS,
    FP_PART_ITEMS,
    FP_PART_STATE,
} fp_reduce_part;
fp_reduce_part fp_reduce_part_of(const fp_frame *frame);
/* What of a reducer's answer a frame is saving: the note of messages.h, or
 * NULL. */
const char *fp_reduce_note(const fp_frame *frame);
/* The object whose items a frame is saving (borrowed), or NULL. */
PyObject *fp_reduce_owner(const fp_frame *frame);
int fp_step_script(fp_walk *walk, fp_frame *frame);
/* A NumPy number whose dtype and constructor the file has already: 1 when it
 * is written, 0: left to its own reducer, -1. */
int fp_save_scalar(fp_walk *walk, PyObject *object);

/* containers.c: an exact list, dict (`flags`: FP_FLAG_ATTRIBUTES and
 * FP_FLAG_BUILD, or 0), tuple, set or frozenset that is not in the memo. */
int fp_open_list(fp_walk *walk, PyObject *list, int lonely);
int fp_open_dict(fp_walk *walk, PyObject *dict, int lonely, int flags);
int fp_open_tuple(fp_walk *walk, PyObject *tuple, int lonely);
int fp_open_set(fp_walk *walk, PyObject *set, int lonely);
int fp_step_container(fp_walk *walk, fp_frame *frame);
/* Pickler.fast: notes that the frame's container is on the stack, ValueError
 * where it is there already. 0 or -1. */
int fp_guard_enter(fp_walk *walk, fp_frame *frame, PyObject *container);
/* The non-empty __dict__ of a plain instance of `type`, with the BUILD behind
 * it. */
int fp_save_state_dict(fp_walk *walk, PyTypeObject *type, PyObject *dict,
                       int lonely);

/* In silence the memo holds nothing, so what the walk itself creates and saves
 * must be kept alive. 0 or -1. */
int fp_keep(fp_walk *walk, PyObject *made);

/* notes.c: adds to the exception that is set the notes that pickle would have
 * added on its way up through these frames. */
void fp_note_frames(const fp_walk *walk);

/* Notes on the exception that is set: the path from the root to the object the
 * walk is at (path.c). */
void fp_note_place_of_walk(const fp_walk *walk);

/* Breaks the silence: 0 to go on, -1 when the walk is to start over. */
int fp_call_out(fp_walk *walk);

/* Pushes a frame owning `object` (a new reference is taken; NULL allowed).
 * Returns it, valid until the next push, or NULL with MemoryError set. */
fp_frame *fp_push(fp_walk *walk, fp_frame_kind kind, PyObject *object);
/* Releases the top frame. */
void fp_pop(fp_walk *walk);

/* GET for an object in the memo: `value` from fp_memo_find(). */
int fp_memo_get(fp_walk *walk, int64_t *value);
/* A memo number for a blob or object of the file. */
int fp_draw_number(fp_walk *walk, uint32_t *number);
int fp_emit_get(fp_walk *walk, uint32_t number);
/* GETs of the first of these items, up to one that is none or for which there is
 * no room: how many. */
Py_ssize_t fp_emit_gets(fp_walk *walk, PyObject *const *items,
                        Py_ssize_t n_items);

/* leaves.c */
int fp_save_int(fp_walk *walk, PyObject *object);
int fp_save_float(fp_walk *walk, PyObject *object);
int fp_save_bytes(fp_walk *walk, PyObject *object, int lonely);
int fp_save_str(fp_walk *walk, PyObject *object, int lonely);
int fp_save_bytearray(fp_walk *walk, PyObject *object, int lonely);
int fp_save_pickle_buffer(fp_walk *walk, PyObject *object, int lonely);

/* Room for n_bytes at the cursor, slow path: opens a frame of the standard
 * stream, grows, notes a cut. 0 or -1. */
int fp_more_room(fp_walk *walk, size_t n_bytes);

static inline unsigned char *
fp_room(fp_walk *walk, size_t n_bytes)
{
    if ((size_t)(walk->graph.soft_end - walk->graph.cursor) < n_bytes
        && fp_more_room(walk, n_bytes) < 0)
    {
        return NULL;
    }
    return walk->graph.cursor;
}

static inline int
fp_emit(fp_walk *walk, const void *data, size_t n_bytes)
{
    unsigned char *out;
    if (n_bytes == 0) {
        return 0;
    }
    out = fp_room(walk, n_bytes);
    if (out == NULL) {
        return -1;
    }
    memcpy(out, data, n_bytes);
    walk->graph.cursor = out + n_bytes;
    return 0;
}

static inline int
fp_emit_byte(fp_walk *walk, unsigned char byte)
{
    unsigned char *out = fp_room(walk, 1);
    if (out == NULL) {
        return -1;
    }
    *out = byte;
    walk->graph.cursor = out + 1;
    return 0;
}

/* Standard stream: MEMOIZE or PUT. */
int fp_put_in_stream(fp_walk *walk, PyObject *object, int lonely);
/* Notes that `object` now exists on the unpickler's stack. */
static inline int
fp_memo_put(fp_walk *walk, PyObject *object, int lonely)
{
    if (walk->late_puts) {
        if (lonely) {
            return 0;
        }
        return fp_memo_set(walk->memo, object,
                           (int64_t)fp_graph_length(&walk->graph));
    }
    return fp_put_in_stream(walk, object, lonely);
}

/* Standard stream: a large payload bypasses the frames. */
int fp_emit_large(fp_walk *walk, const unsigned char *header,
                  size_t header_bytes, const char *data, size_t n_bytes,
                  PyObject *payload);
/* output.c: the stream of a walk that has no outlet. */
void fp_output_init(fp_walk *walk);
/* All that is in memory, which is empty then: new bytes, or NULL with an
 * exception set. */
PyObject *fp_output_take(fp_walk *walk);
/* Uninitialized bytes; large ones lie in huge pages. New reference or NULL. */
PyObject *fp_new_bytes(size_t n_bytes);

/* Standard stream: a frame ends at the first object behind 64 KiB. 0 or -1. */
int fp_end_full_frame(fp_walk *walk);
/* Standard stream: closes the open frame. Cannot fail. */
void fp_commit_frame(fp_walk *walk);
/* Standard stream to a file or a ring: hands over what is in memory. */
int fp_flush_to_file(fp_walk *walk);
/* Standard stream: what follows up to the end is not part of any frame. */
int fp_begin_unframed(fp_walk *walk);
void fp_end_unframed(fp_walk *walk, int framing);

#endif

/* The unpickler: from opcodes to objects, with a stack of its own.
 *
 * One machine reads everything: plain pickles of protocols 0 to 5, the graph
 * of our own files (with blobs in the memo), and arrays between the opcodes.
 * Parsing is a loop over opcodes: nesting costs heap, never C stack.
 *
 * Every count, length and index comes from the input and is checked against
 * what is there before it is used; the memo and the stack grow with the
 * number of opcodes read, never with a number that an opcode names.
 *
 * User code (find_class, persistent_load, constructors, __setstate__, a
 * file's read) runs in the middle. It may use the same Unpickler: the machine
 * re-reads its memo after every call-out and holds what it works on; a nested
 * load() on the same Unpickler is refused, so nobody else touches its stack.
 *
 * Ownership: a machine borrows its input, its blobs and its Unpickler; owns
 * stack, marks, memo and the hooks it looked up. Errors: -1 or NULL with an
 * exception set. GIL held throughout, released only inside the input.
 *
 *   unpickle.c             the loop
 *   unpickle_parts.h       what the files below and the loop share
 *   unpickle_memo.c        the machine's life, stack, marks and memo
 *   unpickle_leaves.c      numbers, text, bytes; the opcodes of protocol 0
 *   unpickle_containers.c  list, dict, set, tuple
 *   unpickle_objects.c     globals, NEWOBJ, REDUCE, BUILD, INST, OBJ, EXT
 *   unpickle_arrays.c      arrays and other uses of blobs
 *   unpickle_gets.c        which blobs a graph will ask for
 *   array_guard.h          what a pickle may not do with NumPy's constructors
 *   restrict.h             what a restricted load may do
 *   unpickler.c            the Unpickler type, its memo proxy, loads()
 */
#ifndef FP_UNPICKLE_H
#define FP_UNPICKLE_H

#include "base/state.h"
#include "in/blobs.h"
#include "in/input.h"

/* A memo slot: 0 empty, an owned reference, or a blob: index << 1 | 1. */
typedef uintptr_t fp_slot;

/* What a MARK says about the slot below it. */
enum {
    FP_MARK_PLAIN = 0,
    FP_MARK_DICT = 1,  /* the slot is NULL: a dict that was not made yet */
    FP_MARK_LIST = 2,  /* the slot is NULL: a list that was not made yet */
    FP_MARK_FRESH = 4, /* in the slot is an empty dict (or it is NULL), and in
                        * the one below it an instance that nothing but this
                        * machine has touched, if n_calls is still the same */
};

typedef struct {
    size_t index; /* of the first item above it */
    size_t n_calls;
    int kind;
} fp_mark;

struct fp_build_cache;
struct fp_restriction;

struct fp_machine;

/* Arrays that follow their wrapper in the stream, as in joblib's files: an
 * instance of the class that the stream got under such a name is replaced,
 * once BUILD has completed it, by the array whose bytes come next. The machine
 * does not know how; load/ does, and puts this table into the state at import
 * (`wrapped_arrays`). */
typedef struct fp_wrapped_arrays {
    /* Whether the name is a wrapper's. */
    int (*is_wrapper)(PyObject *module_name, PyObject *name);
    /* For load(), which imports no joblib: what stands for a wrapper of that
     * name (new reference). NULL without an exception for any other name, with
     * one where nobody but joblib can read what follows. */
    PyObject *(*stand_in)(fp_state *state, PyObject *module_name,
                          PyObject *name);
    /* The wrapper whose BUILD has just been done: its array, read from the
     * machine's input. New reference. */
    PyObject *(*read)(struct fp_machine *machine, PyObject *wrapper);
} fp_wrapped_arrays;

typedef struct fp_machine {
    fp_state *state; /* borrowed */
    fp_input *input; /* borrowed */
    fp_blobs *blobs; /* borrowed, or NULL */
    /* The buffers of a dump in two files, for NEXT_BUFFER; borrowed, or
     * NULL. */
    fp_blobs *out_of_band;
    size_t next_buffer;

    PyObject **stack; /* owned references */
    PyObject **top;   /* one behind the topmost; NULL is only ever below a mark
                       * that says so */
    PyObject **stack_end;
    size_t fence; /* nothing below may be popped: the top mark */
    fp_mark *marks;
    size_t n_marks;
    size_t marks_capacity;

    fp_slot *memo;
    size_t memo_capacity;
    size_t n_memo;         /* filled slots, for MEMOIZE */
    size_t memo_hint;      /* indexes that the input's length allows for */
    PyObject *sparse_memo; /* dict of int to object: indexes far beyond the
                            * dense part; NULL until needed */

    /* Hooks; NULL where the built-in rule holds. */
    PyObject *owner;      /* borrowed: an Unpickler of a subclass, whose
                           * method find_class is called */
    PyObject *find_class; /* owned: of a load; called with the names that would
                           * be imported. What it gives is not what they stand
                           * for: see also fp_guard_call() */
    PyObject *persistent_load;  /* owned: a callable or a plain method ... */
    PyObject *persistent_owner; /* borrowed: ... and its self, or NULL */
    PyObject *buffers;          /* owned: iterator of out-of-band buffers */
    const char *encoding, *errors; /* borrowed for the load */
    int fix_imports;
    int protocol;

    /* fp_wrapped_arrays. The types that count as a wrapper: whatever the stream
     * got under a name of one. */
    PyObject *wrapper_type;  /* owned; NULL until named */
    const void *array_rules; /* borrowed: of the load, for `read`; NULL: the
                              * usual ones */
    int own_wrappers;        /* load(): a wrapper is what `stand_in` says */
    int depth;               /* nested streams of object arrays */

    int lends_buffers; /* arrays lie in memory that its owner may move */
    size_t n_names;    /* how many the stream has asked for */

    /* Plain instances. */
    size_t n_calls; /* how often code of others may have run */
    PyObject
        *fresh; /* compared only: the instance that NEWOBJ made last ... */
    size_t fresh_calls;                 /* ... and n_calls at that moment */
    struct fp_build_cache *build_cache; /* owned; NULL until needed */

    /* restrict.h */
    int is_restricted;                  /* find_class is a Restriction */
    struct fp_restriction *restriction; /* owned; NULL until a name came */
} fp_machine;

/* `encoding` and `errors` are the defaults, fix_imports is 1. */
void fp_machine_init(fp_machine *machine, fp_state *state, fp_input *input);
/* A machine for a stream inside the parent's: the same hooks, buffers and
 * rules, an empty memo, one level deeper. */
void fp_machine_nested(fp_machine *machine, const fp_machine *parent,
                       fp_input *input);
/* Puts every blob of the table into the memo at its number. */
int fp_machine_seed_blobs(fp_machine *machine, fp_blobs *blobs);
/* Before the machine runs: counts in the table how often the graph (the n_bytes
 * that it will run) asks for each blob, and writes to `order`, which has room
 * for all blobs, in which order it does so first; makes no object. How many
 * blobs those are; or SIZE_MAX where that cannot be told from the opcodes, and
 * nothing is counted. Reads nothing but the machine's memo, so the GIL need not
 * be held. */
size_t fp_machine_count_gets(const fp_machine *machine,
                             const unsigned char *graph, size_t n_bytes,
                             size_t *order);
/* Runs opcodes up to STOP, or, for the graph of our file (where STOP stands
 * behind the footer), to the end of the input: `until_end`. New reference. */
PyObject *fp_machine_run(fp_machine *machine, int until_end);
void fp_machine_free(fp_machine *machine);

/* restrict.c: restricted loads. */
/* At import: Restriction, UntrustedError, find_name(). 0 or -1. */
int fp_restrict_init(PyObject *module, fp_state *state);

/* The machine asks `find_class` (borrowed; NULL: nobody) for names, and is
 * restricted where that is a Restriction. */
void fp_machine_find_with(fp_machine *machine, PyObject *find_class);

/* unpickle_objects.c: new references. */
/* As the stream asks for it: through the hooks, if there are any. */
PyObject *fp_find_global(fp_machine *machine, PyObject *module_name,
                         PyObject *name);
/* By the built-in rule: audited, renamed (fix_imports), imported. */
PyObject *fp_import_global(fp_machine *machine, PyObject *module_name,
                           PyObject *name);

/* --- the collector ------------------------------------------------------- */

/* Cyclic collection is paused while objects are built, and put back as it was
 * on every way out. After a load of more than 100,000 containers, or of a large
 * graph, what was built goes to the oldest generation, so that the next
 * allocation does not pay for a scan of it; a full collection is made once so
 * many have been moved that garbage could have gathered there (collector.c). */
typedef struct {
    int was_enabled;
} fp_collector_pause;

/* What a load of so many bytes leaves is worth a look at the generations ... */
#define FP_LARGE_LOAD_BYTES ((uint64_t)64 << 10)
/* ... and a graph of so many is large whatever is in it: a list of a million
 * str is one container. */
#define FP_LARGE_GRAPH_BYTES ((uint64_t)256 << 10)

int fp_collector_init(fp_state *state); /* at import */
void fp_collector_pause_begin(fp_state *state, fp_collector_pause *pause);
/* n_bytes of input were used; `is_graph` says that no array lay among them.
 * Keeps the exception that is set, if any. */
void fp_collector_pause_end(fp_state *state, fp_collector_pause *pause,
                            uint64_t n_bytes, int is_graph);

#endif

/* What the rooms of hash/ share.
 *
 * Records. An object stands in what contains it as a record: a leaf by itself,
 * where it is short; else "D" and the digest of its content. A content is a tag
 * and the records of what the object holds; where order does not matter, a head
 * and the sorted digests of the items. Contents of open objects lie on top of
 * each other in `bytes`: when an object is closed its content is replaced by its
 * record, which is part of what is open below it.
 *
 * Cycles. Objects that lead back to each other are found as Tarjan does (strongly
 * connected components): `index` counts open objects in the order of their first
 * visit, `low` is the smallest one that is reached. A record of an object whose
 * digest is not known yet is a hole, of the same length. A content with holes is
 * kept as a vertex, until its component is complete; what is outside then asks
 * for the digest of a vertex (hash_cycles.c), which no longer needs the objects.
 * So each object is looked at once, whatever leads to it.
 *
 * The memo says of an object that was met: its digest, that it is open, or its
 * vertex. An object with one reference, that of what the walk is in, needs no
 * entry: nothing else leads to it. Others are kept alive by the memo.
 *
 * Code of the objects' own runs in the middle (reducers): whatever it may take
 * away is held while it runs, sizes are compared after it.
 */
#ifndef FP_HASH_PARTS_H
#define FP_HASH_PARTS_H

#include "base/numpy_api.h"
#include "core/wide_hash.h"
#include "hash.h"
#include "walk/walk.h"

/* The first byte of a record of a leaf. */
enum {
    FP_NONE_RECORD = 'N',
    FP_TRUE_RECORD = 'T',
    FP_FALSE_RECORD = 'F',
    FP_ELLIPSIS_RECORD = 'E',
    FP_NOT_IMPLEMENTED_RECORD = 'X',
    FP_INT_RECORD = 'i',     /* 8 bytes */
    FP_BIG_INT_RECORD = 'j', /* text */
    FP_FLOAT_RECORD = 'f',   /* 8 bytes */
    FP_COMPLEX_RECORD = 'c', /* 16 bytes */
    FP_STR_RECORD = 's',     /* length, bytes */
    FP_BYTES_RECORD = 'b',
    FP_BYTEARRAY_RECORD = 'y',
    FP_DIGEST_RECORD = 'D', /* FP_WIDE_BYTES */
    FP_BACK_RECORD = 'R',   /* distance: 8 bytes, and zeros */
    FP_NAME_RECORD = 'C',   /* of hash_cycles.c */
};

/* The first byte of a content. */
enum {
    FP_LIST_TAG = 'l',
    FP_TUPLE_TAG = 't',
    FP_DICT_TAG = 'd',
    FP_SET_TAG = 'S',
    FP_FROZENSET_TAG = 'Z',
    FP_INSTANCE_TAG = 'o',
    FP_REDUCE_TAG = 'r',
    FP_ITEMS_TAG = 'L',         /* of a reducer: list items */
    FP_PAIRS_TAG = 'M',         /* dict items */
    FP_ORDERED_PAIRS_TAG = 'Q', /* dict items of an OrderedDict */
    FP_GLOBAL_TAG = 'g',
    FP_NAMED_TAG = 'u', /* by its class and a name */
    FP_METHOD_TAG = 'm',
    FP_DTYPE_TAG = 'q',
    FP_ARRAY_TAG = 'a',
    FP_OBJECT_ARRAY_TAG = 'A',
    FP_SUBCLASS_ARRAY_TAG = 'B',
    FP_SCALAR_TAG = 'n',
    FP_FRAME_TAG = 'P', /* pandas */
    FP_COLUMNS_TAG = 'K',
    FP_CYCLE_TAG = 'W',
};

/* Leaves of more bytes are hashed by themselves. */
#define FP_SHORT_LEAF 64
/* The tag and a digest. */
#define FP_DIGEST_RECORD_BYTES (1 + FP_WIDE_BYTES)
/* From here on payloads are hashed with the GIL released, and by threads. */
#define FP_LARGE_PAYLOAD ((size_t)256 << 10)

/* --- memory --------------------------------------------------------------- */

/* A stack of bytes or records. Zeroed: empty. */
typedef struct {
    unsigned char *data;
    size_t n_used; /* bytes */
    size_t capacity;
} fp_pile;

/* Room for n_bytes more; they are not counted as used yet. NULL with MemoryError
 * set. */
unsigned char *fp_pile_grow(fp_pile *pile, size_t n_bytes);

static inline unsigned char *
fp_pile_room(fp_pile *pile, size_t n_bytes)
{
    return pile->capacity - pile->n_used >= n_bytes
               ? pile->data + pile->n_used
               : fp_pile_grow(pile, n_bytes);
}

static inline int
fp_pile_put(fp_pile *pile, const void *data, size_t n_bytes)
{
    unsigned char *room = fp_pile_room(pile, n_bytes);

    if (room == NULL) {
        return -1;
    }
    if (n_bytes > 0) {
        memcpy(room, data, n_bytes);
        pile->n_used += n_bytes;
    }
    return 0;
}

/* --- cycles --------------------------------------------------------------- */

#define FP_IN_ORDER  SIZE_MAX
#define FP_NO_VERTEX SIZE_MAX

/* A record whose digest is not known yet. */
typedef struct {
    size_t
        item; /* which open item it is in; FP_IN_ORDER: the content itself */
    size_t offset; /* of the record, in that */
    size_t target; /* a vertex */
} fp_hole;

/* An item with holes, of an object that has no order. */
typedef struct {
    size_t start; /* in the vertex's items */
    size_t n_bytes;
} fp_open_item;

/* A content with holes. */
typedef struct {
    uint64_t index;
    size_t component; /* SIZE_MAX: not complete */
    size_t place;     /* in its component */
    int is_ordered;
    int has_digest;
    fp_wide digest;
    void *prefix; /* owned state over what came before the content, or NULL */
    unsigned char *memory; /* owned: all of these */
    unsigned char *content;
    size_t n_content;
    size_t n_head; /* where there is no order: digests follow */
    unsigned char *item_bytes;
    fp_open_item *items;
    size_t n_items;
    fp_hole *holes; /* by item, then by offset */
    size_t n_holes;
} fp_vertex;

typedef struct {
    size_t *members; /* owned: vertices */
    size_t n_members;
    fp_wide *names; /* owned: what long cycles are told apart by, or NULL */
    fp_wide all;    /* of all names */
} fp_component;

typedef struct fp_cycles {
    fp_vertex *vertices;
    size_t n_vertices;
    size_t vertices_capacity;
    fp_component *components;
    size_t n_components;
    size_t components_capacity;
} fp_cycles;

/* A new vertex without a content: its number, or FP_NO_VERTEX with MemoryError
 * set. */
size_t fp_vertex_new(fp_cycles *cycles, uint64_t index);
/* These vertices are one component now. 0 or -1. */
int fp_component_new(fp_cycles *cycles, const size_t *members,
                     size_t n_members);
/* The digest of a vertex of a complete component. 0 or -1. May run signal
 * handlers. */
int fp_vertex_digest(fp_cycles *cycles, size_t vertex, fp_wide *digest);
void fp_cycles_free(fp_cycles *cycles);
/* Sorts digests, and hashes them with the head in front, in place. */
fp_wide fp_hash_unordered(unsigned char *content, size_t n_head,
                          size_t n_content);

/* --- the walk ------------------------------------------------------------- */

typedef enum {
    FP_VISIT_LIST,
    FP_VISIT_TUPLE,
    FP_VISIT_DICT,
    FP_VISIT_SET,
    FP_VISIT_INSTANCE, /* its dict */
    FP_VISIT_REDUCE,
    FP_VISIT_PAIRS,
    FP_VISIT_ORDERED_PAIRS,
    FP_VISIT_PARTS, /* a tuple of what an object is made of */
    FP_VISIT_COLUMNS,
} fp_visit_kind;

typedef struct {
    unsigned char kind;
    unsigned char stage; /* of an item: key, value, done */
    PyObject *object;    /* borrowed from the memo; NULL: not in it */
    PyObject *source;    /* owned: where the items are */
    PyObject *ahead;     /* owned: the value of the key that is hashed;
                             * columns that follow */
    PyObject *shown;     /* owned: that key, for the path; or NULL */
    fp_wide *digests;    /* owned, of columns; or NULL */
    unsigned char *has_digest;
    Py_ssize_t position;
    Py_ssize_t size;
    size_t start;      /* of the content, in `bytes` */
    size_t n_head;     /* where there is no order */
    size_t item_start; /* of the open item, in `bytes` */
    size_t first_hole;
    size_t item_hole; /* the first one of the open item */
    size_t first_item;
    size_t item_bytes_start;
    void *prefix; /* owned state over what was taken off the content */
    uint64_t index;
    uint64_t low;
    size_t vertex;
} fp_visit;

/* What is known of a class. */
typedef enum {
    FP_CLASS_BY_NAME = 1, /* its instances are classes */
    FP_CLASS_PLAIN,
    FP_CLASS_PANDAS,
    FP_CLASS_REDUCED,
} fp_class_kind;

typedef struct {
    fp_state *state;
    int n_threads;
    fp_walk walk; /* for what is asked of objects and classes; not run */
    fp_memo memo;
    fp_memo classes;
    PyObject *pandas_parts; /* owned: what takes pandas' objects apart */
    fp_pile bytes;
    fp_pile holes;      /* fp_hole */
    fp_pile items;      /* fp_open_item */
    fp_pile item_bytes; /* of those */
    fp_pile digests;    /* fp_wide */
    fp_pile pending;    /* size_t: closed vertices of open components */
    fp_visit *visits;
    size_t n_visits;
    size_t visits_capacity;
    uint64_t n_indexes;
    unsigned n_steps;
    fp_cycles cycles;
    fp_padding_cache padding;
} fp_hasher;

#define FP_PUT_RECORD   0
#define FP_PUSHED_VISIT 1

/* hash.c: the record of an object is put, or a visit pushed that will. The
 * object is borrowed, from what nobody changes but code that is run in here.
 * `n_refs`: the references that the walk knows of; where there are no others
 * the object is lonely. 0: it never is. */
int fp_hash_child(fp_hasher *hasher, PyObject *object, Py_ssize_t n_refs);
/* Pushes a visit of `object` (borrowed; NULL or lonely: nothing leads back to
 * it), and puts its tag. Steals `source`, which may be NULL with an exception
 * set. NULL with an exception set; valid until the next one is pushed. */
fp_visit *fp_push_visit(fp_hasher *hasher, fp_visit_kind kind, int tag,
                        PyObject *object, PyObject *source, int lonely);
/* Where order does not matter: what was put so far is the head. */
void fp_begin_items(fp_hasher *hasher, fp_visit *visit);
int fp_put_tag(fp_hasher *hasher, int tag);
/* Of an object that was met: 1 where its record is put, 0, or -1. */
int fp_put_known(fp_hasher *hasher, PyObject *object);
/* "D", and a digest; remembered for an object that is met again. */
int fp_put_digest(fp_hasher *hasher, const fp_wide *digest);
int fp_put_finished(fp_hasher *hasher, PyObject *object, int lonely,
                    const fp_wide *digest);
/* What was put since `start` becomes the digest of a finished object. */
int fp_close_content(fp_hasher *hasher, size_t start, PyObject *object,
                     int lonely);

/* hash_leaves.c: 1 where it was a leaf, 0, or -1. */
int fp_hash_leaf(fp_hasher *hasher, PyObject *object);
int fp_put_text(fp_hasher *hasher, PyObject *text);
/* A record of bytes, of any length. */
int fp_put_bytes(fp_hasher *hasher, int tag, const void *data, size_t n_bytes);
int fp_put_number(fp_hasher *hasher, uint64_t number);
/* A digest of bytes that cannot go away. 0 or -1. */
int fp_hash_payload(fp_hasher *hasher, const void *data, size_t n_bytes,
                    fp_wide *digest);

/* hash_objects.c: everything else, which is held by who calls. */
int fp_hash_other(fp_hasher *hasher, PyObject *object, int lonely);
/* A class by its name, whatever its metaclass. */
int fp_put_class(fp_hasher *hasher, PyObject *type);
int fp_step_reduce_visit(fp_hasher *hasher, fp_visit *visit);

/* hash_arrays.c: 1 where it was one of NumPy's (*status is FP_PUT_RECORD or
 * FP_PUSHED_VISIT), 0, or -1. */
int fp_hash_numpy(fp_hasher *hasher, PyObject *object, int lonely,
                  int *status);
/* Digests of those columns that are plain arrays. 0 or -1. */
int fp_hash_columns(fp_hasher *hasher, fp_visit *visit);
/* The record of a column whose payload has that digest. */
int fp_put_column(fp_hasher *hasher, PyObject *column, const fp_wide *digest);

#endif

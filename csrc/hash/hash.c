#include "hash_parts.h"

#include "base/compat.h"
#include "base/errors.h"

/* --- memory --------------------------------------------------------------- */

unsigned char *
fp_pile_grow(fp_pile *pile, size_t n_bytes)
{
    size_t capacity = pile->capacity < 512 ? 1024 : pile->capacity;
    unsigned char *data;

    while (capacity - pile->n_used < n_bytes) {
        if (capacity > (size_t)PTRDIFF_MAX / 2) {
            PyErr_NoMemory();
            return NULL;
        }
        capacity *= 2;
    }
    data = PyMem_Realloc(pile->data, capacity);
    if (data == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    pile->data = data;
    pile->capacity = capacity;
    return data + pile->n_used;
}

static void
free_pile(fp_pile *pile)
{
    PyMem_Free(pile->data);
    *pile = (fp_pile){0};
}

static inline size_t
n_holes_of(const fp_hasher *hasher)
{
    return hasher->holes.n_used / sizeof(fp_hole);
}

static inline fp_hole *
holes_of(const fp_hasher *hasher)
{
    return (fp_hole *)(void *)hasher->holes.data;
}

static inline size_t
n_items_of(const fp_hasher *hasher)
{
    return hasher->items.n_used / sizeof(fp_open_item);
}

/* --- the memo ------------------------------------------------------------- */

/* What its values say: the number of a digest, of a visit, of a vertex. */
enum {
    MET_FINISHED,
    MET_OPEN,
    MET_VERTEX
};

static inline int64_t
met(int what, size_t number)
{
    return (int64_t)(number << 2) | what;
}

static inline int
is_ordered(const fp_visit *visit)
{
    return visit->kind != FP_VISIT_DICT && visit->kind != FP_VISIT_SET
           && visit->kind != FP_VISIT_INSTANCE
           && visit->kind != FP_VISIT_PAIRS;
}

int
fp_put_digest(fp_hasher *hasher, const fp_wide *digest)
{
    unsigned char *out = fp_pile_room(&hasher->bytes, FP_DIGEST_RECORD_BYTES);

    if (out == NULL) {
        return -1;
    }
    out[0] = FP_DIGEST_RECORD;
    memcpy(out + 1, digest->bytes, FP_WIDE_BYTES);
    hasher->bytes.n_used += FP_DIGEST_RECORD_BYTES;
    return 0;
}

int
fp_put_finished(fp_hasher *hasher, PyObject *object, int lonely,
                const fp_wide *digest)
{
    if (!lonely) {
        size_t number = hasher->digests.n_used / FP_WIDE_BYTES;
        if (fp_pile_put(&hasher->digests, digest->bytes, FP_WIDE_BYTES) < 0
            || fp_memo_set(&hasher->memo, object, met(MET_FINISHED, number))
                   < 0)
        {
            return -1;
        }
    }
    return fp_put_digest(hasher, digest);
}

int
fp_close_content(fp_hasher *hasher, size_t start, PyObject *object, int lonely)
{
    fp_wide digest =
        fp_wide_hash(hasher->bytes.data + start, hasher->bytes.n_used - start);

    hasher->bytes.n_used = start;
    return fp_put_finished(hasher, object, lonely, &digest);
}

/* A record to be filled in, in what the top visit is at. */
static int
put_hole(fp_hasher *hasher, size_t target)
{
    fp_visit *top = &hasher->visits[hasher->n_visits - 1];
    fp_wide nothing = {{0}};
    fp_hole hole = {.item = FP_IN_ORDER, .target = target};

    hole.offset = hasher->bytes.n_used
                  - (is_ordered(top) ? top->start : top->item_start);
    if (top->low > hasher->cycles.vertices[target].index) {
        top->low = hasher->cycles.vertices[target].index;
    }
    return fp_pile_put(&hasher->holes, &hole, sizeof(hole)) < 0
               ? -1
               : fp_put_digest(hasher, &nothing);
}

int
fp_put_known(fp_hasher *hasher, PyObject *object)
{
    int64_t *value = fp_memo_find(&hasher->memo, object);
    fp_wide digest;
    size_t number;

    if (value == NULL) {
        return 0;
    }
    number = (size_t)*value >> 2;
    switch (*value & 3) {
    case MET_FINISHED:
        memcpy(digest.bytes, hasher->digests.data + number * FP_WIDE_BYTES,
               FP_WIDE_BYTES);
        return fp_put_digest(hasher, &digest) < 0 ? -1 : 1;
    case MET_OPEN: {
        fp_visit *visit = &hasher->visits[number];
        if (visit->vertex == FP_NO_VERTEX) {
            visit->vertex = fp_vertex_new(&hasher->cycles, visit->index);
            if (visit->vertex == FP_NO_VERTEX) {
                return -1;
            }
        }
        return put_hole(hasher, visit->vertex) < 0 ? -1 : 1;
    }
    default:
        if (hasher->cycles.vertices[number].component == SIZE_MAX) {
            return put_hole(hasher, number) < 0 ? -1 : 1;
        }
        return fp_vertex_digest(&hasher->cycles, number, &digest) < 0
                       || fp_put_digest(hasher, &digest) < 0
                   ? -1
                   : 1;
    }
}

/* --- visits --------------------------------------------------------------- */

fp_visit *
fp_push_visit(fp_hasher *hasher, fp_visit_kind kind, int tag, PyObject *object,
              PyObject *source, int lonely)
{
    fp_visit *visit;

    if (source == NULL) {
        return NULL;
    }
    if (hasher->n_visits == hasher->visits_capacity) {
        size_t n =
            hasher->visits_capacity == 0 ? 32 : hasher->visits_capacity * 2;
        fp_visit *grown =
            n > PTRDIFF_MAX / sizeof(*grown)
                ? NULL
                : PyMem_Realloc(hasher->visits, n * sizeof(*grown));
        if (grown == NULL) {
            Py_DECREF(source);
            PyErr_NoMemory();
            return NULL;
        }
        hasher->visits = grown;
        hasher->visits_capacity = n;
    }
    if (object == NULL || lonely) {
        object = NULL;
    }
    else if (fp_memo_set(&hasher->memo, object,
                         met(MET_OPEN, hasher->n_visits))
             < 0)
    {
        Py_DECREF(source);
        return NULL;
    }
    visit = &hasher->visits[hasher->n_visits];
    *visit = (fp_visit){
        .kind = (unsigned char)kind,
        .object = object,
        .source = source,
        .start = hasher->bytes.n_used,
        .first_hole = n_holes_of(hasher),
        .item_hole = n_holes_of(hasher),
        .first_item = n_items_of(hasher),
        .item_bytes_start = hasher->item_bytes.n_used,
        .index = hasher->n_indexes,
        .low = hasher->n_indexes,
        .vertex = FP_NO_VERTEX,
    };
    hasher->n_indexes++;
    hasher->n_visits++;
    if (fp_put_tag(hasher, tag) < 0) {
        return NULL; /* the visit is released with the others */
    }
    fp_begin_items(hasher, visit);
    return visit;
}

void
fp_begin_items(fp_hasher *hasher, fp_visit *visit)
{
    visit->n_head = hasher->bytes.n_used - visit->start;
    visit->item_start = hasher->bytes.n_used;
}

/* What a visit owns of Python's. May run other code. */
static void
release_visit(fp_visit *visit)
{
    fp_wide_state_free(visit->prefix);
    PyMem_Free(visit->digests);
    PyMem_Free(visit->has_digest);
    visit->prefix = NULL;
    visit->digests = NULL;
    visit->has_digest = NULL;
    Py_CLEAR(visit->source);
    Py_CLEAR(visit->ahead);
    Py_CLEAR(visit->shown);
}

/* An item of what has no order: its digest takes its place. */
static int
finish_item(fp_hasher *hasher, fp_visit *visit)
{
    unsigned char *item = hasher->bytes.data + visit->item_start;
    size_t n_bytes = hasher->bytes.n_used - visit->item_start;
    size_t n_holes = n_holes_of(hasher);

    if (visit->item_hole == n_holes) {
        fp_wide digest = fp_wide_hash(item, n_bytes);
        hasher->bytes.n_used = visit->item_start;
        if (fp_pile_put(&hasher->bytes, digest.bytes, FP_WIDE_BYTES) < 0) {
            return -1;
        }
    }
    else {
        fp_open_item open = {
            .start = hasher->item_bytes.n_used - visit->item_bytes_start,
            .n_bytes = n_bytes,
        };
        size_t number = n_items_of(hasher) - visit->first_item;
        if (fp_pile_put(&hasher->item_bytes, item, n_bytes) < 0
            || fp_pile_put(&hasher->items, &open, sizeof(open)) < 0)
        {
            return -1;
        }
        for (size_t i = visit->item_hole; i < n_holes; i++) {
            holes_of(hasher)[i].item = number;
        }
        hasher->bytes.n_used = visit->item_start;
    }
    visit->item_start = hasher->bytes.n_used;
    visit->item_hole = n_holes;
    return 0;
}

#define FLUSH_BYTES ((size_t)64 << 10)

/* What has come so far of a long content is hashed, so that it need not be kept:
 * up to the first hole. */
static int
flush_content(fp_hasher *hasher, fp_visit *visit)
{
    if (hasher->bytes.n_used - visit->start < FLUSH_BYTES
        || n_holes_of(hasher) != visit->first_hole)
    {
        return 0;
    }
    if (visit->prefix == NULL) {
        visit->prefix = fp_wide_state_new();
        if (visit->prefix == NULL) {
            PyErr_NoMemory();
            return -1;
        }
    }
    fp_wide_update(visit->prefix, hasher->bytes.data + visit->start,
                   hasher->bytes.n_used - visit->start);
    hasher->bytes.n_used = visit->start;
    return 0;
}

/* --- the end of an object ------------------------------------------------- */

static fp_wide
digest_of(const fp_hasher *hasher, const fp_visit *visit)
{
    unsigned char *content = hasher->bytes.data + visit->start;
    size_t n_content = hasher->bytes.n_used - visit->start;

    if (!is_ordered(visit)) {
        return fp_hash_unordered(content, visit->n_head, n_content);
    }
    if (visit->prefix == NULL) {
        return fp_wide_hash(content, n_content);
    }
    fp_wide_update(visit->prefix, content, n_content);
    return fp_wide_digest(visit->prefix);
}

/* A content with holes becomes that of the visit's vertex. */
static int
keep_content(fp_hasher *hasher, fp_visit *visit)
{
    size_t n_content = hasher->bytes.n_used - visit->start;
    size_t n_holes = n_holes_of(hasher) - visit->first_hole;
    size_t n_items = n_items_of(hasher) - visit->first_item;
    size_t n_item_bytes = hasher->item_bytes.n_used - visit->item_bytes_start;
    unsigned char *next;
    fp_vertex *vertex;

    if (visit->vertex == FP_NO_VERTEX) {
        visit->vertex = fp_vertex_new(&hasher->cycles, visit->index);
        if (visit->vertex == FP_NO_VERTEX) {
            return -1;
        }
    }
    vertex = &hasher->cycles.vertices[visit->vertex];
    next =
        PyMem_Malloc(n_holes * sizeof(fp_hole) + n_items * sizeof(fp_open_item)
                     + n_content + n_item_bytes);
    if (next == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    vertex->memory = next;
    vertex->holes = (fp_hole *)(void *)next;
    memcpy(next, holes_of(hasher) + visit->first_hole,
           n_holes * sizeof(fp_hole));
    next += n_holes * sizeof(fp_hole);
    vertex->items = (fp_open_item *)(void *)next;
    if (n_items > 0) {
        memcpy(next,
               hasher->items.data + visit->first_item * sizeof(fp_open_item),
               n_items * sizeof(fp_open_item));
        next += n_items * sizeof(fp_open_item);
    }
    vertex->content = next;
    if (n_content > 0) {
        memcpy(next, hasher->bytes.data + visit->start, n_content);
        next += n_content;
    }
    vertex->item_bytes = next;
    if (n_item_bytes > 0) {
        memcpy(next, hasher->item_bytes.data + visit->item_bytes_start,
               n_item_bytes);
    }
    vertex->is_ordered = is_ordered(visit);
    vertex->n_holes = n_holes;
    vertex->n_items = n_items;
    vertex->n_content = n_content;
    vertex->n_head = visit->n_head;
    vertex->prefix = visit->prefix;
    visit->prefix = NULL;
    return fp_pile_put(&hasher->pending, &visit->vertex,
                       sizeof(visit->vertex));
}

/* The vertices that are closed since the visit began, and its own. */
static int
complete_component(fp_hasher *hasher, const fp_visit *visit)
{
    size_t *pending = (size_t *)(void *)hasher->pending.data;
    size_t n_all = hasher->pending.n_used / sizeof(*pending);
    size_t first = n_all;

    while (first > 0
           && hasher->cycles.vertices[pending[first - 1]].index
                  >= visit->index)
    {
        first--;
    }
    hasher->pending.n_used = first * sizeof(*pending);
    return fp_component_new(&hasher->cycles, pending + first, n_all - first);
}

/* The top visit has met all that its object holds. */
static int
close_visit(fp_hasher *hasher)
{
    fp_visit *visit = &hasher->visits[hasher->n_visits - 1];
    int has_holes = n_holes_of(hasher) > visit->first_hole;
    int is_pending = visit->low < visit->index;
    fp_visit closed;
    fp_wide digest;
    size_t number;

    assert(has_holes || !is_pending);
    if (!has_holes) {
        digest = digest_of(hasher, visit);
    }
    else if (keep_content(hasher, visit) < 0
             || (!is_pending
                 && (complete_component(hasher, visit) < 0
                     || fp_vertex_digest(&hasher->cycles, visit->vertex,
                                         &digest)
                            < 0)))
    {
        return -1;
    }
    if (visit->object != NULL) {
        int64_t *value = fp_memo_find(&hasher->memo, visit->object);
        number = hasher->digests.n_used / FP_WIDE_BYTES;
        if (has_holes) {
            *value = met(MET_VERTEX, visit->vertex);
        }
        else if (fp_pile_put(&hasher->digests, digest.bytes, FP_WIDE_BYTES)
                 < 0)
        {
            return -1;
        }
        else {
            *value = met(MET_FINISHED, number);
        }
    }
    hasher->bytes.n_used = visit->start;
    hasher->holes.n_used = visit->first_hole * sizeof(fp_hole);
    hasher->items.n_used = visit->first_item * sizeof(fp_open_item);
    hasher->item_bytes.n_used = visit->item_bytes_start;
    closed = *visit;
    hasher->n_visits--;
    if (is_pending) { /* so there is another visit below */
        fp_visit *below = visit - 1;
        if (below->low > closed.low) {
            below->low = closed.low;
        }
    }
    /* The record first: releasing may run code that changes what is below. */
    if ((is_pending ? put_hole(hasher, closed.vertex)
                    : fp_put_digest(hasher, &digest))
        < 0)
    {
        release_visit(&closed);
        return -1;
    }
    release_visit(&closed);
    return 0;
}

/* --- children ------------------------------------------------------------- */

static int
push_set(fp_hasher *hasher, PyObject *set, int tag, int lonely)
{
    fp_visit *visit = fp_push_visit(hasher, FP_VISIT_SET, tag, set,
                                    PyObject_GetIter(set), lonely);

    return visit == NULL ? -1 : FP_PUSHED_VISIT;
}

static int
push_container(fp_hasher *hasher, fp_visit_kind kind, int tag,
               PyObject *object, Py_ssize_t size, int lonely)
{
    fp_visit *visit =
        fp_push_visit(hasher, kind, tag, object, Py_NewRef(object), lonely);

    if (visit == NULL) {
        return -1;
    }
    visit->size = size;
    return FP_PUSHED_VISIT;
}

/* What is no leaf. */
static int
hash_inner(fp_hasher *hasher, PyObject *object, Py_ssize_t n_refs)
{
    PyTypeObject *type = Py_TYPE(object);
    int lonely = n_refs > 0 && Py_REFCNT(object) <= n_refs;
    int status;

    if (!lonely) {
        status = fp_put_known(hasher, object);
        if (status != 0) {
            return status < 0 ? -1 : FP_PUT_RECORD;
        }
    }
    if (type == &PyTuple_Type) {
        return push_container(hasher, FP_VISIT_TUPLE, FP_TUPLE_TAG, object,
                              PyTuple_GET_SIZE(object), lonely);
    }
    if (type == &PyList_Type) {
        return push_container(hasher, FP_VISIT_LIST, FP_LIST_TAG, object,
                              PyList_GET_SIZE(object), lonely);
    }
    if (type == &PyDict_Type) {
        return push_container(hasher, FP_VISIT_DICT, FP_DICT_TAG, object,
                              PyDict_GET_SIZE(object), lonely);
    }
    if (type == &PySet_Type) {
        return push_set(hasher, object, FP_SET_TAG, lonely);
    }
    if (type == &PyFrozenSet_Type) {
        return push_set(hasher, object, FP_FROZENSET_TAG, lonely);
    }
    Py_INCREF(object);
    Py_INCREF(type); /* __class__ may be assigned to */
    status = fp_hash_other(hasher, object, lonely);
    Py_DECREF(type);
    Py_DECREF(object);
    return status;
}

int
fp_hash_child(fp_hasher *hasher, PyObject *object, Py_ssize_t n_refs)
{
    int status = fp_hash_leaf(hasher, object);

    return status != 0 ? (status < 0 ? -1 : FP_PUT_RECORD)
                       : hash_inner(hasher, object, n_refs);
}

/* --- steps ---------------------------------------------------------------- */

/* What a step says beside FP_PUSHED_VISIT and -1. */
#define FINISHED 2

static int
raise_changed(const char *what)
{
    PyErr_Format(PyExc_RuntimeError, "%s changed size while it was hashed",
                 what);
    return -1;
}

static int
step_sequence(fp_hasher *hasher, fp_visit *visit)
{
    PyObject *source = visit->source;
    int is_list = visit->kind == FP_VISIT_LIST;

    for (;;) {
        Py_ssize_t size =
            is_list ? PyList_GET_SIZE(source) : PyTuple_GET_SIZE(source);
        PyObject *item;
        int status;
        if (size != visit->size) {
            return raise_changed("list");
        }
        if (visit->position >= size) {
            break;
        }
        item = is_list ? PyList_GET_ITEM(source, visit->position)
                       : PyTuple_GET_ITEM(source, visit->position);
        visit->position++;
        status = fp_hash_child(hasher, item, 1);
        if (status != FP_PUT_RECORD) {
            return status;
        }
        if (flush_content(hasher, visit) < 0) {
            return -1;
        }
    }
    return FINISHED;
}

/* Of an item of two: which is next. */
enum {
    AT_KEY,
    AT_VALUE,
    AT_END
};

/* Keys of this size are hashed without releasing the GIL. */
#define SHORT_KEY 1000

static int
step_dict(fp_hasher *hasher, fp_visit *visit)
{
    PyObject *dict = visit->source;
    PyObject *key, *value;
    int status;

    for (;;) {
        if (visit->stage == AT_VALUE) {
            value = visit->ahead;
            visit->ahead = NULL;
            visit->stage = AT_END;
            status = fp_hash_child(hasher, value, 2);
            Py_DECREF(value);
            if (status != FP_PUT_RECORD) {
                return status;
            }
        }
        if (visit->stage == AT_END) {
            visit->stage = AT_KEY;
            if (finish_item(hasher, visit) < 0) {
                return -1;
            }
        }
        if (PyDict_GET_SIZE(dict) != visit->size) {
            return raise_changed("dict");
        }
        if (!PyDict_Next(dict, &visit->position, &key, &value)) {
            return FINISHED;
        }
        if (PyUnicode_CheckExact(key) && PyUnicode_GET_LENGTH(key) < SHORT_KEY)
        {
            if (fp_hash_leaf(hasher, key) < 0) {
                return -1;
            }
            visit->stage = AT_END;
            status = fp_hash_leaf(hasher, value);
            if (status == 0) {
                Py_XSETREF(visit->shown, Py_NewRef(key));
                status = hash_inner(hasher, value, 1);
                if (status != FP_PUT_RECORD) {
                    return status;
                }
            }
            else if (status < 0) {
                return -1;
            }
        }
        else {
            Py_INCREF(key);
            visit->ahead = Py_NewRef(value);
            Py_XSETREF(visit->shown, Py_NewRef(key));
            visit->stage = AT_VALUE;
            status = fp_hash_child(hasher, key, 3);
            Py_DECREF(key);
            if (status != FP_PUT_RECORD) {
                return status;
            }
        }
    }
}

static int
step_set(fp_hasher *hasher, fp_visit *visit)
{
    for (;;) {
        PyObject *item;
        int status;
        if (visit->stage == AT_END) {
            visit->stage = AT_KEY;
            if (finish_item(hasher, visit) < 0) {
                return -1;
            }
        }
        item = PyIter_Next(visit->source);
        if (item == NULL) {
            return PyErr_Occurred() ? -1 : FINISHED;
        }
        visit->stage = AT_END;
        status = fp_hash_child(hasher, item, 2);
        Py_DECREF(item);
        if (status != FP_PUT_RECORD) {
            return status;
        }
    }
}

/* The pairs of a reducer, as a list. */
static int
step_pairs(fp_hasher *hasher, fp_visit *visit)
{
    for (;;) {
        PyObject *pair;
        int status;
        if (visit->stage == AT_END) {
            visit->stage = AT_KEY;
            visit->position++;
            if (visit->kind == FP_VISIT_PAIRS
                && finish_item(hasher, visit) < 0)
            {
                return -1;
            }
            if (visit->kind == FP_VISIT_ORDERED_PAIRS
                && flush_content(hasher, visit) < 0)
            {
                return -1;
            }
        }
        if (visit->position >= PyList_GET_SIZE(visit->source)) {
            return FINISHED;
        }
        pair = PyList_GET_ITEM(visit->source, visit->position);
        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2) {
            PyErr_SetString(PyExc_TypeError,
                            "dict items of a reducer must be pairs");
            return -1;
        }
        Py_XSETREF(visit->shown, Py_NewRef(PyTuple_GET_ITEM(pair, 0)));
        status = visit->stage == AT_KEY
                     ? fp_hash_child(hasher, PyTuple_GET_ITEM(pair, 0), 2)
                     : fp_hash_child(hasher, PyTuple_GET_ITEM(pair, 1), 1);
        if (status < 0) {
            return -1;
        }
        /* A visit that was pushed may have moved this one. */
        visit = &hasher->visits[hasher->n_visits - 1
                                - (size_t)(status == FP_PUSHED_VISIT)];
        visit->stage++;
        if (status == FP_PUSHED_VISIT) {
            return status;
        }
    }
}

static int
step_parts(fp_hasher *hasher, fp_visit *visit)
{
    int status = step_sequence(hasher, visit);

    if (status == FINISHED && visit->ahead != NULL) {
        PyObject *columns = visit->ahead;
        fp_visit *pushed;
        visit->ahead = NULL;
        pushed = fp_push_visit(hasher, FP_VISIT_COLUMNS, FP_COLUMNS_TAG, NULL,
                               columns, 1);
        if (pushed == NULL) {
            return -1;
        }
        pushed->size = PyList_GET_SIZE(columns);
        return fp_hash_columns(hasher, pushed) < 0 ? -1 : FP_PUSHED_VISIT;
    }
    return status;
}

static int
step_columns(fp_hasher *hasher, fp_visit *visit)
{
    while (visit->position < visit->size
           && visit->position < PyList_GET_SIZE(visit->source))
    {
        Py_ssize_t i = visit->position++;
        PyObject *column = PyList_GET_ITEM(visit->source, i);
        int status = visit->has_digest[i]
                         ? fp_put_column(hasher, column, &visit->digests[i])
                         : fp_hash_child(hasher, column, 1);
        if (status != FP_PUT_RECORD) {
            return status;
        }
    }
    return FINISHED;
}

static int
step(fp_hasher *hasher)
{
    fp_visit *visit = &hasher->visits[hasher->n_visits - 1];

    switch ((fp_visit_kind)visit->kind) {
    case FP_VISIT_LIST:
    case FP_VISIT_TUPLE:
        return step_sequence(hasher, visit);
    case FP_VISIT_DICT:
    case FP_VISIT_INSTANCE:
        return step_dict(hasher, visit);
    case FP_VISIT_SET:
        return step_set(hasher, visit);
    case FP_VISIT_REDUCE: {
        int status = fp_step_reduce_visit(hasher, visit);
        return status == FP_PUT_RECORD ? FINISHED : status;
    }
    case FP_VISIT_PAIRS:
    case FP_VISIT_ORDERED_PAIRS:
        return step_pairs(hasher, visit);
    case FP_VISIT_PARTS:
        return step_parts(hasher, visit);
    case FP_VISIT_COLUMNS:
        return step_columns(hasher, visit);
    }
    return -1;
}

/* --- where it failed ------------------------------------------------------ */

#define SHOWN_CHARS 60

/* A key, by code that is built in alone. */
static PyObject *
show(PyObject *key)
{
    PyObject *repr, *head;

    if (key == NULL) {
        return PyUnicode_FromString("?");
    }
    if (!PyUnicode_CheckExact(key) && !PyLong_CheckExact(key)
        && !PyFloat_CheckExact(key) && !PyBytes_CheckExact(key)
        && !PyBool_Check(key) && key != Py_None)
    {
        return PyUnicode_FromFormat("<%.100s>", Py_TYPE(key)->tp_name);
    }
    repr = PyObject_Repr(key);
    if (repr == NULL || PyUnicode_GET_LENGTH(repr) <= SHOWN_CHARS) {
        return repr;
    }
    head = PyUnicode_Substring(repr, 0, SHOWN_CHARS);
    Py_SETREF(repr, head == NULL ? NULL : PyUnicode_FromFormat("%U...", head));
    Py_XDECREF(head);
    return repr;
}

static PyObject *
show_step(const void *context, size_t i)
{
    const fp_hasher *hasher = context;
    const fp_visit *visit = &hasher->visits[i];
    PyObject *shown, *text;

    switch ((fp_visit_kind)visit->kind) {
    case FP_VISIT_LIST:
    case FP_VISIT_TUPLE:
        return PyUnicode_FromFormat(
            "[%zd]", visit->position > 0 ? visit->position - 1 : 0);
    case FP_VISIT_SET:
        return PyUnicode_FromString("{...}");
    case FP_VISIT_REDUCE:
        return visit->position <= 2
                   ? PyUnicode_FromFormat(
                         ".__reduce_ex__()[%zd]",
                         visit->position > 0 ? visit->position - 1 : 0)
                   : PyUnicode_FromString("");
    case FP_VISIT_INSTANCE:
        if (visit->shown != NULL && PyUnicode_CheckExact(visit->shown)
            && PyUnicode_IsIdentifier(visit->shown) == 1)
        {
            return PyUnicode_FromFormat(".%U", visit->shown);
        }
        break;
    case FP_VISIT_DICT:
    case FP_VISIT_PAIRS:
    case FP_VISIT_ORDERED_PAIRS:
        break;
    default:
        return PyUnicode_FromString("");
    }
    shown = show(visit->shown);
    text = shown == NULL ? NULL : PyUnicode_FromFormat("[%U]", shown);
    Py_XDECREF(shown);
    return text;
}

/* --- all of it ------------------------------------------------------------ */

/* Between two looks at whether a signal has come. */
#define STEPS_BETWEEN_SIGNALS 0x4000

static int
hash_object(fp_hasher *hasher, PyObject *value)
{
    int status = fp_hash_child(hasher, value, 0);

    while (status >= 0 && hasher->n_visits > 0) {
        if (++hasher->n_steps % STEPS_BETWEEN_SIGNALS == 0
            && PyErr_CheckSignals() < 0)
        {
            status = -1;
            break;
        }
        status = step(hasher);
        if (status == FINISHED) {
            status = close_visit(hasher);
        }
    }
    if (status < 0) {
        fp_path path = {
            .n_steps = hasher->n_visits,
            .step = show_step,
            .context = hasher,
            .is_hash = 1,
        };
        fp_note_path(hasher->state, &path);
    }
    return status < 0 ? -1 : 0;
}

static PyObject *
as_text(const unsigned char *bytes, size_t n_bytes)
{
    static const char start[] = "fastpersist.hash";
    static const char digits[] = "0123456789abcdef";
    unsigned char all[sizeof(start) + FP_DIGEST_RECORD_BYTES + FP_SHORT_LEAF];
    char text[2 * FP_WIDE_BYTES];
    fp_wide digest;

    memcpy(all, start, sizeof(start) - 1);
    all[sizeof(start) - 1] = FP_HASH_VERSION;
    memcpy(all + sizeof(start), bytes, n_bytes);
    digest = fp_wide_hash(all, sizeof(start) + n_bytes);
    for (size_t i = 0; i < FP_WIDE_BYTES; i++) {
        text[2 * i] = digits[digest.bytes[i] >> 4];
        text[2 * i + 1] = digits[digest.bytes[i] & 15];
    }
    return PyUnicode_FromStringAndSize(text, sizeof(text));
}

PyObject *
fp_hash_value(fp_state *state, PyObject *value, int n_threads)
{
    fp_hasher hasher = {.state = state, .n_threads = n_threads};
    PyObject *result = NULL, *error;

    fp_walk_init(&hasher.walk, state, 4, 0);
    hasher.walk.local_object_error = PyExc_TypeError;
    hasher.memo.holds = 1;
    hasher.classes.holds = 1;
    if (hash_object(&hasher, value) == 0) {
        result = as_text(hasher.bytes.data, hasher.bytes.n_used);
    }
    error = fp_take_exception();
    while (hasher.n_visits > 0) {
        release_visit(&hasher.visits[--hasher.n_visits]);
    }
    PyMem_Free(hasher.visits);
    free_pile(&hasher.bytes);
    free_pile(&hasher.holes);
    free_pile(&hasher.items);
    free_pile(&hasher.item_bytes);
    free_pile(&hasher.digests);
    free_pile(&hasher.pending);
    fp_cycles_free(&hasher.cycles);
    fp_padding_cache_clear(&hasher.padding);
    Py_CLEAR(hasher.pandas_parts);
    fp_memo_clear(&hasher.memo);
    fp_memo_clear(&hasher.classes);
    fp_walk_free(&hasher.walk);
    if (error != NULL) {
        fp_put_exception(error);
    }
    return result;
}

/* Digests of objects that contain themselves, from what is kept of their
 * contents: no object is looked at any more.
 *
 * Short ones are unfolded from the vertex that is asked for: a reference to an
 * object that is open counts by its distance. Unfolding has as many steps as
 * there are ways through the component, so it ends at UNFOLD_STEPS. Then the
 * component's vertices get names, which tell them apart by what they hold, round
 * by round, until a round tells no more apart than the one before; the digest is
 * that of the vertex's name and of the set of all of them. Both are the same
 * whatever leads into the component first, and in whatever order. */
#include "hash_parts.h"

#include <stdlib.h>

/* So many vertices are visited while one is unfolded. */
#define UNFOLD_STEPS 256

/* --- what there is -------------------------------------------------------- */

/* Room for one more element: the array, moved or not, or NULL with MemoryError
 * set. */
static void *
grow(void *array, size_t n_used, size_t *capacity, size_t item_bytes)
{
    size_t n = *capacity < 8 ? 16 : *capacity * 2;
    void *grown;

    if (n_used < *capacity) {
        return array;
    }
    grown = n > PTRDIFF_MAX / item_bytes
                ? NULL
                : PyMem_Realloc(array, n * item_bytes);
    if (grown == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    *capacity = n;
    return grown;
}

size_t
fp_vertex_new(fp_cycles *cycles, uint64_t index)
{
    void *grown = grow(cycles->vertices, cycles->n_vertices,
                       &cycles->vertices_capacity, sizeof(fp_vertex));

    if (grown == NULL) {
        return FP_NO_VERTEX;
    }
    cycles->vertices = grown;
    cycles->vertices[cycles->n_vertices] =
        (fp_vertex){.index = index, .component = SIZE_MAX};
    return cycles->n_vertices++;
}

int
fp_component_new(fp_cycles *cycles, const size_t *members, size_t n_members)
{
    void *grown = grow(cycles->components, cycles->n_components,
                       &cycles->components_capacity, sizeof(fp_component));
    size_t *copy;

    if (grown == NULL) {
        return -1;
    }
    cycles->components = grown;
    copy = PyMem_New(size_t, n_members);
    if (copy == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < n_members; i++) {
        copy[i] = members[i];
        cycles->vertices[copy[i]].component = cycles->n_components;
        cycles->vertices[copy[i]].place = i;
    }
    cycles->components[cycles->n_components++] =
        (fp_component){.members = copy, .n_members = n_members};
    return 0;
}

void
fp_cycles_free(fp_cycles *cycles)
{
    for (size_t i = 0; i < cycles->n_vertices; i++) {
        fp_wide_state_free(cycles->vertices[i].prefix);
        PyMem_Free(cycles->vertices[i].memory);
    }
    for (size_t i = 0; i < cycles->n_components; i++) {
        PyMem_Free(cycles->components[i].members);
        PyMem_Free(cycles->components[i].names);
    }
    PyMem_Free(cycles->vertices);
    PyMem_Free(cycles->components);
    *cycles = (fp_cycles){0};
}

/* --- one vertex ----------------------------------------------------------- */

static int
compare_digests(const void *one, const void *other)
{
    return memcmp(one, other, FP_WIDE_BYTES);
}

static inline uint64_t
leading(const unsigned char *digest)
{
    uint64_t value = 0;

    for (int i = 0; i < 8; i++) {
        value = value << 8 | digest[i];
    }
    return value;
}

static void
insertion_sort(unsigned char *digests, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        unsigned char moved[FP_WIDE_BYTES];
        size_t at = i;
        memcpy(moved, digests + i * FP_WIDE_BYTES, FP_WIDE_BYTES);
        while (
            at > 0
            && memcmp(moved, digests + (at - 1) * FP_WIDE_BYTES, FP_WIDE_BYTES)
                   < 0)
        {
            memcpy(digests + at * FP_WIDE_BYTES,
                   digests + (at - 1) * FP_WIDE_BYTES, FP_WIDE_BYTES);
            at--;
        }
        memcpy(digests + at * FP_WIDE_BYTES, moved, FP_WIDE_BYTES);
    }
}

#define SMALL_SORT 24

static void
sort_few(unsigned char *digests, size_t n)
{
    if (n <= SMALL_SORT) {
        insertion_sort(digests, n);
    }
    else {
        qsort(digests, n, FP_WIDE_BYTES, compare_digests);
    }
}

/* Into buckets by their first bits, of which all values are as likely, and then
 * each bucket. Where there is no memory for that: as few are. */
static void
sort_many(unsigned char *digests, size_t n)
{
    unsigned n_bits = 4;
    size_t n_buckets, start = 0;
    size_t *ends;
    unsigned char *sorted;

    while (n_bits < 24 && (size_t)8 << n_bits < n) {
        n_bits++;
    }
    n_buckets = (size_t)1 << n_bits;
    ends = PyMem_Calloc(n_buckets + 1, sizeof(*ends));
    sorted = PyMem_Malloc(n * FP_WIDE_BYTES);
    if (ends == NULL || sorted == NULL) {
        sort_few(digests, n);
        goto done;
    }
    for (size_t i = 0; i < n; i++) {
        ends[1 + (leading(digests + i * FP_WIDE_BYTES) >> (64 - n_bits))]++;
    }
    for (size_t i = 0; i < n_buckets; i++) {
        ends[i + 1] += ends[i]; /* where bucket i + 1 begins */
    }
    for (size_t i = 0; i < n; i++) {
        const unsigned char *digest = digests + i * FP_WIDE_BYTES;
        size_t to = ends[leading(digest) >> (64 - n_bits)]++;
        memcpy(sorted + to * FP_WIDE_BYTES, digest, FP_WIDE_BYTES);
    }
    for (size_t i = 0; i < n_buckets; i++) {
        sort_few(sorted + start * FP_WIDE_BYTES, ends[i] - start);
        start = ends[i];
    }
    memcpy(digests, sorted, n * FP_WIDE_BYTES);
done:
    PyMem_Free(ends);
    PyMem_Free(sorted);
}

fp_wide
fp_hash_unordered(unsigned char *content, size_t n_head, size_t n_content)
{
    size_t n = (n_content - n_head) / FP_WIDE_BYTES;

    if (n > 256) {
        sort_many(content + n_head, n);
    }
    else {
        sort_few(content + n_head, n);
    }
    return fp_wide_hash(content, n_content);
}

/* The digest of a vertex whose holes are filled in. Its digests of items are
 * not in order any more. The memory has room for those of its open items behind
 * the content. */
static int
digest_filled(fp_vertex *vertex, fp_wide *digest)
{
    size_t n_content = vertex->n_content;
    void *state;

    if (vertex->is_ordered) {
        if (vertex->prefix == NULL) {
            *digest = fp_wide_hash(vertex->content, n_content);
            return 0;
        }
        state = fp_wide_state_copy(vertex->prefix);
        if (state == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        fp_wide_update(state, vertex->content, n_content);
        *digest = fp_wide_digest(state);
        fp_wide_state_free(state);
        return 0;
    }
    if (vertex->n_items > 0) {
        size_t n_all = n_content + vertex->n_items * FP_WIDE_BYTES;
        unsigned char *all = PyMem_Malloc(n_all);
        if (all == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        memcpy(all, vertex->content, n_content);
        for (size_t i = 0; i < vertex->n_items; i++) {
            fp_wide item =
                fp_wide_hash(vertex->item_bytes + vertex->items[i].start,
                             vertex->items[i].n_bytes);
            memcpy(all + n_content + i * FP_WIDE_BYTES, item.bytes,
                   FP_WIDE_BYTES);
        }
        *digest = fp_hash_unordered(all, vertex->n_head, n_all);
        PyMem_Free(all);
        return 0;
    }
    *digest = fp_hash_unordered(vertex->content, vertex->n_head, n_content);
    return 0;
}

static void
fill_hole(fp_vertex *vertex, const fp_hole *hole, int tag, const void *bytes)
{
    unsigned char *at =
        (hole->item == FP_IN_ORDER
             ? vertex->content
             : vertex->item_bytes + vertex->items[hole->item].start)
        + hole->offset;

    at[0] = (unsigned char)tag;
    memcpy(at + 1, bytes, FP_WIDE_BYTES);
}

/* --- unfolded ------------------------------------------------------------- */

typedef struct {
    size_t vertex;
    size_t next_hole;
} unfolding;

/* 1 where the digest was found within the steps, 0, or -1. A vertex is open only
 * once at a time, so its content holds what is filled in. */
static int
unfold(fp_cycles *cycles, size_t root, fp_wide *digest)
{
    unfolding open[UNFOLD_STEPS];
    size_t n_open = 1, n_steps = 1;

    open[0] = (unfolding){.vertex = root};
    for (;;) {
        unfolding *top = &open[n_open - 1];
        fp_vertex *vertex = &cycles->vertices[top->vertex];
        size_t target, distance = 0;
        if (top->next_hole == vertex->n_holes) {
            if (digest_filled(vertex, digest) < 0) {
                return -1;
            }
            if (--n_open == 0) {
                return 1;
            }
            top--;
            vertex = &cycles->vertices[top->vertex];
            fill_hole(vertex, &vertex->holes[top->next_hole++],
                      FP_DIGEST_RECORD, digest->bytes);
            continue;
        }
        target = vertex->holes[top->next_hole].target;
        for (size_t i = 1; i <= n_open && distance == 0; i++) {
            if (open[n_open - i].vertex == target) {
                distance = i;
            }
        }
        if (distance > 0) {
            unsigned char bytes[FP_WIDE_BYTES] = {0};
            bytes[0] = (unsigned char)distance;
            bytes[1] = (unsigned char)(distance >> 8);
            fill_hole(vertex, &vertex->holes[top->next_hole++], FP_BACK_RECORD,
                      bytes);
            continue;
        }
        if (n_steps++ == UNFOLD_STEPS) {
            return 0;
        }
        open[n_open++] = (unfolding){.vertex = target};
    }
}

/* --- told apart ----------------------------------------------------------- */

static size_t
count_distinct(fp_wide *sorted, size_t n)
{
    size_t n_distinct = n > 0;

    qsort(sorted, n, sizeof(*sorted), compare_digests);
    for (size_t i = 1; i < n; i++) {
        n_distinct += compare_digests(&sorted[i - 1], &sorted[i]) != 0;
    }
    return n_distinct;
}

/* names[i] becomes what member i is called after this round, by `old`. */
static int
next_round(fp_cycles *cycles, const fp_component *component,
           const fp_wide *old, fp_wide *names)
{
    for (size_t i = 0; i < component->n_members; i++) {
        fp_vertex *vertex = &cycles->vertices[component->members[i]];
        for (size_t k = 0; k < vertex->n_holes; k++) {
            const fp_hole *hole = &vertex->holes[k];
            fill_hole(vertex, hole, FP_NAME_RECORD,
                      old[cycles->vertices[hole->target].place].bytes);
        }
        if (digest_filled(vertex, &names[i]) < 0) {
            return -1;
        }
        if ((i & 0xfff) == 0xfff && PyErr_CheckSignals() < 0) {
            return -1;
        }
    }
    return PyErr_CheckSignals();
}

/* Finds the names of a component. 0 or -1. */
static int
tell_apart(fp_cycles *cycles, fp_component *component)
{
    size_t n = component->n_members;
    fp_wide *old = PyMem_Calloc(n, sizeof(*old));
    fp_wide *names = PyMem_Calloc(n, sizeof(*names));
    fp_wide *sorted = PyMem_Calloc(n, 2 * sizeof(*sorted));
    size_t n_before = 1, n_distinct, n_kept = 0;
    int status = -1;

    if (old == NULL || names == NULL || sorted == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (;;) {
        fp_wide *swapped = old;
        if (next_round(cycles, component, old, names) < 0) {
            goto done;
        }
        memcpy(sorted, names, n * sizeof(*names));
        n_distinct = count_distinct(sorted, n);
        if (n_distinct == n_before) {
            break;
        }
        n_before = n_distinct;
        old = names;
        names = swapped;
    }
    /* The last names say what each is made of by the names before, and those go
     * with them. */
    for (size_t i = 0; i < n; i++) {
        fp_wide both[] = {names[i], old[i]};
        sorted[i] = fp_wide_hash(both, sizeof(both));
    }
    qsort(sorted, n, sizeof(*sorted), compare_digests);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || compare_digests(&sorted[i - 1], &sorted[i]) != 0) {
            sorted[n_kept++] = sorted[i];
        }
    }
    component->all = fp_wide_hash(sorted, n_kept * sizeof(*sorted));
    component->names = names;
    names = NULL;
    status = 0;
done:
    PyMem_Free(old);
    PyMem_Free(names);
    PyMem_Free(sorted);
    return status;
}

int
fp_vertex_digest(fp_cycles *cycles, size_t number, fp_wide *digest)
{
    fp_vertex *vertex = &cycles->vertices[number];
    fp_component *component = &cycles->components[vertex->component];
    unsigned char content[1 + 2 * FP_WIDE_BYTES] = {FP_CYCLE_TAG};
    int found;

    if (!vertex->has_digest) {
        found = unfold(cycles, number, &vertex->digest);
        if (found < 0) {
            return -1;
        }
        if (!found) {
            if (component->names == NULL && tell_apart(cycles, component) < 0)
            {
                return -1;
            }
            memcpy(content + 1, component->names[vertex->place].bytes,
                   FP_WIDE_BYTES);
            memcpy(content + 1 + FP_WIDE_BYTES, component->all.bytes,
                   FP_WIDE_BYTES);
            vertex->digest = fp_wide_hash(content, sizeof(content));
        }
        vertex->has_digest = 1;
    }
    *digest = vertex->digest;
    return 0;
}

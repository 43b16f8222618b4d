/* Digests of objects that contain themselves, from what is kept of their
 * contents: no object is looked at any more.
 *
 * Short ones are unfolded from the vertex that is asked for: a reference to an
 * object that is open counts by its distance. Unfolding has as many steps as
 * there are ways through the component, so it ends at UNFOLD_STEPS. Then the
 * component's vertices get names, which tell them apart by what they hold, until
 * those of one name hold the same; the digest is that of the vertex's name and of
 * the set of all of them. Both are the same whatever leads into the component
 * first, and in whatever order. */
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

/* A class of members that were not told apart so far. */
typedef struct {
    size_t start; /* in `order` */
    size_t end;
    fp_wide name;
    fp_wide content; /* of each of them, by the names of what it holds */
} fp_alike;

/* Partition refinement (Hopcroft; Paige and Tarjan), in rounds: the members that
 * hold something which got another name are looked at again; where a class falls
 * apart by that, the largest part keeps its name, so that each member gets
 * another name only as often as its class is halved. */
typedef struct {
    fp_cycles *cycles;
    const fp_component *component;
    size_t n;
    fp_alike *classes;
    size_t n_classes;
    size_t *class_of;  /* by member */
    size_t *order;     /* members, class by class */
    size_t *place_of;  /* in that */
    fp_wide *contents; /* of those that are looked at again */
    size_t *dirty;     /* those */
    size_t n_dirty;
    unsigned char *is_dirty;
    size_t *holder_start; /* by member: who holds it, in `holders` */
    size_t *holders;
    size_t *renamed;
    size_t n_renamed;
    uint64_t round;
} refinement;

static void
free_refinement(refinement *all)
{
    PyMem_Free(all->classes);
    PyMem_Free(all->class_of);
    PyMem_Free(all->order);
    PyMem_Free(all->place_of);
    PyMem_Free(all->contents);
    PyMem_Free(all->dirty);
    PyMem_Free(all->is_dirty);
    PyMem_Free(all->holder_start);
    PyMem_Free(all->holders);
    PyMem_Free(all->renamed);
}

static inline fp_vertex *
member(const refinement *all, size_t i)
{
    return &all->cycles->vertices[all->component->members[i]];
}

static inline size_t
held_by(const refinement *all, const fp_hole *hole)
{
    return all->cycles->vertices[hole->target].place;
}

/* One class, all of it to be looked at. */
static int
begin_refinement(refinement *all)
{
    size_t n = all->n, n_holes = 0;

    for (size_t i = 0; i < n; i++) {
        n_holes += member(all, i)->n_holes;
    }
    all->classes = PyMem_Calloc(n, sizeof(*all->classes));
    all->class_of = PyMem_Calloc(n, sizeof(size_t));
    all->order = PyMem_Calloc(n, sizeof(size_t));
    all->place_of = PyMem_Calloc(n, sizeof(size_t));
    all->contents = PyMem_Calloc(n, sizeof(*all->contents));
    all->dirty = PyMem_Calloc(n, sizeof(size_t));
    all->is_dirty = PyMem_Calloc(n, 1);
    all->holder_start = PyMem_Calloc(n + 2, sizeof(size_t));
    all->holders = PyMem_Calloc(n_holes, sizeof(size_t));
    all->renamed = PyMem_Calloc(n, sizeof(size_t));
    if (all->classes == NULL || all->class_of == NULL || all->order == NULL
        || all->place_of == NULL || all->contents == NULL || all->dirty == NULL
        || all->is_dirty == NULL || all->holder_start == NULL
        || all->holders == NULL || all->renamed == NULL)
    {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        const fp_vertex *vertex = member(all, i);
        all->order[i] = all->place_of[i] = all->dirty[i] = i;
        for (size_t k = 0; k < vertex->n_holes; k++) {
            all->holder_start[held_by(all, &vertex->holes[k]) + 2]++;
        }
    }
    for (size_t i = 0; i < n; i++) {
        all->holder_start[i + 2] += all->holder_start[i + 1];
    }
    for (size_t i = 0; i < n; i++) {
        const fp_vertex *vertex = member(all, i);
        for (size_t k = 0; k < vertex->n_holes; k++) {
            size_t held = held_by(all, &vertex->holes[k]);
            all->holders[all->holder_start[held + 1]++] = i;
        }
    }
    all->classes[0].end = n;
    all->n_classes = 1;
    all->n_dirty = n;
    return 0;
}

/* The content of a member by the names of what it holds. */
static int
look_again(refinement *all, size_t i)
{
    fp_vertex *vertex = member(all, i);

    for (size_t k = 0; k < vertex->n_holes; k++) {
        const fp_hole *hole = &vertex->holes[k];
        size_t class = all->class_of[held_by(all, hole)];
        fill_hole(vertex, hole, FP_NAME_RECORD,
                  all->classes[class].name.bytes);
    }
    return digest_filled(vertex, &all->contents[i]);
}

static void
move_member(refinement *all, size_t i, size_t to)
{
    size_t from = all->place_of[i];
    size_t other = all->order[to];

    all->order[to] = i;
    all->order[from] = other;
    all->place_of[i] = to;
    all->place_of[other] = from;
}

/* The members at these places become a class of their own. */
static void
split_off(refinement *all, size_t class, size_t start, size_t end,
          const fp_wide *content)
{
    fp_alike *made = &all->classes[all->n_classes];
    unsigned char text[2 * FP_WIDE_BYTES + 8];

    memcpy(text, all->classes[class].name.bytes, FP_WIDE_BYTES);
    memcpy(text + FP_WIDE_BYTES, content->bytes, FP_WIDE_BYTES);
    for (int i = 0; i < 8; i++) {
        text[2 * FP_WIDE_BYTES + i] = (unsigned char)(all->round >> (8 * i));
    }
    *made = (fp_alike){
        .start = start,
        .end = end,
        .content = *content,
        .name = fp_wide_hash(text, sizeof(text)),
    };
    for (size_t place = start; place < end; place++) {
        all->class_of[all->order[place]] = all->n_classes;
        all->renamed[all->n_renamed++] = all->order[place];
    }
    all->n_classes++;
}

/* A class and those of it that were looked at, by content. */
static void
divide(refinement *all, size_t class, const size_t *looked_at, size_t n)
{
    fp_alike old = all->classes[class];
    size_t rest_end = old.end - n;
    size_t kept_start = old.start, kept_end = rest_end;
    fp_wide kept = old.content;
    size_t first, end;

    for (size_t i = 0; i < n; i++) {
        move_member(all, looked_at[n - 1 - i], old.end - 1 - i);
    }
    for (first = rest_end; first < old.end; first = end) {
        const fp_wide *content = &all->contents[all->order[first]];
        size_t n_kept = kept_end - kept_start;
        for (end = first + 1;
             end < old.end
             && compare_digests(content, &all->contents[all->order[end]]) == 0;
             end++)
        {
        }
        if (end - first > n_kept
            || (end - first == n_kept && compare_digests(content, &kept) < 0))
        {
            kept_start = first;
            kept_end = end;
            kept = *content;
        }
    }
    if (rest_end > old.start && kept_start != old.start) {
        split_off(all, class, old.start, rest_end, &old.content);
    }
    for (first = rest_end; first < old.end; first = end) {
        fp_wide content = all->contents[all->order[first]];
        for (end = first + 1;
             end < old.end
             && compare_digests(&content, &all->contents[all->order[end]])
                    == 0;
             end++)
        {
        }
        if (first != kept_start) {
            split_off(all, class, first, end, &content);
        }
    }
    all->classes[class].start = kept_start;
    all->classes[class].end = kept_end;
    all->classes[class].content = kept;
}

typedef struct {
    size_t class;
    fp_wide content;
    size_t member;
} looked_at;

static int
compare_looked_at(const void *one, const void *other)
{
    const looked_at *a = one;
    const looked_at *b = other;

    return a->class != b->class ? (a->class > b->class ? 1 : -1)
                                : compare_digests(&a->content, &b->content);
}

/* One round: 1 where there is another one, 0, or -1. */
static int
refine(refinement *all)
{
    size_t n = all->n_dirty, first, end;
    looked_at *sorted = PyMem_Calloc(n, sizeof(*sorted));
    int status = -1;

    if (sorted == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        size_t number = all->dirty[i];
        if (look_again(all, number) < 0
            || ((i & 0xfff) == 0xfff && PyErr_CheckSignals() < 0))
        {
            goto done;
        }
        sorted[i] = (looked_at){
            .class = all->class_of[number],
            .content = all->contents[number],
            .member = number,
        };
        all->is_dirty[number] = 0;
    }
    qsort(sorted, n, sizeof(*sorted), compare_looked_at);
    for (size_t i = 0; i < n; i++) {
        all->dirty[i] = sorted[i].member;
    }
    all->n_renamed = 0;
    for (first = 0; first < n; first = end) {
        for (end = first + 1;
             end < n && sorted[end].class == sorted[first].class; end++)
        {
        }
        divide(all, sorted[first].class, all->dirty + first, end - first);
    }
    all->n_dirty = 0;
    for (size_t i = 0; i < all->n_renamed; i++) {
        size_t held = all->renamed[i];
        for (size_t k = all->holder_start[held];
             k < all->holder_start[held + 1]; k++)
        {
            size_t holder = all->holders[k];
            if (!all->is_dirty[holder]) {
                all->is_dirty[holder] = 1;
                all->dirty[all->n_dirty++] = holder;
            }
        }
    }
    all->round++;
    status = PyErr_CheckSignals() < 0 ? -1 : all->n_dirty > 0;
done:
    PyMem_Free(sorted);
    return status;
}

/* Finds the names of a component. 0 or -1. */
static int
tell_apart(fp_cycles *cycles, fp_component *component)
{
    refinement all = {
        .cycles = cycles, .component = component, .n = component->n_members};
    fp_wide *names = NULL, *sorted = NULL;
    int status = begin_refinement(&all) < 0 ? -1 : 1;

    while (status > 0) {
        status = refine(&all);
    }
    if (status < 0) {
        goto done;
    }
    status = -1;
    names = PyMem_Calloc(all.n, sizeof(*names));
    sorted = PyMem_Calloc(all.n_classes, sizeof(*sorted));
    if (names == NULL || sorted == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    /* A class is what it holds, and what it is called where it is held. */
    for (size_t i = 0; i < all.n_classes; i++) {
        fp_wide both[] = {all.classes[i].name, all.classes[i].content};
        sorted[i] = fp_wide_hash(both, sizeof(both));
    }
    for (size_t i = 0; i < all.n; i++) {
        names[i] = sorted[all.class_of[i]];
    }
    qsort(sorted, all.n_classes, sizeof(*sorted), compare_digests);
    component->all = fp_wide_hash(sorted, all.n_classes * sizeof(*sorted));
    component->names = names;
    names = NULL;
    status = 0;
done:
    PyMem_Free(names);
    PyMem_Free(sorted);
    free_refinement(&all);
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

#include "memo.h"

#include <stdlib.h>
#include <sys/mman.h>

#define FIRST_SLOTS 64
/* From here on a table is mapped, in huge pages where there are any: look-ups
 * in a large one are bound by misses of the TLB. */
#define MAPPED_BYTES ((size_t)2 << 20)

static fp_memo_slot *
allocate(size_t n_slots)
{
    size_t n_bytes = n_slots * sizeof(fp_memo_slot);
    void *slots;

    if (n_bytes < MAPPED_BYTES) {
        return calloc(n_slots, sizeof(fp_memo_slot));
    }
    slots = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (slots == MAP_FAILED) {
        return NULL;
    }
#ifdef MADV_HUGEPAGE
    madvise(slots, n_bytes, MADV_HUGEPAGE);
#endif
    return slots;
}

static void
release(fp_memo_slot *slots, size_t n_slots)
{
    size_t n_bytes = n_slots * sizeof(fp_memo_slot);

    if (n_bytes < MAPPED_BYTES) {
        free(slots);
    }
    else {
        munmap(slots, n_bytes);
    }
}

static size_t
slot_count(const fp_memo *memo)
{
    return memo->slots == NULL ? 0 : memo->mask + 1;
}

static int
resize(fp_memo *memo, size_t n_new)
{
    size_t n_old = slot_count(memo);
    fp_memo grown = *memo;

    if (n_new > SIZE_MAX / sizeof(fp_memo_slot)) {
        PyErr_NoMemory();
        return -1;
    }
    grown.slots = allocate(n_new);
    if (grown.slots == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    grown.mask = n_new - 1;
    grown.shift = (unsigned)__builtin_clzll((unsigned long long)n_new) + 1;
    for (size_t i = 0; i < n_old; i++) {
        const fp_memo_slot *slot = &memo->slots[i];
        if (slot->key != NULL) {
            size_t at = fp_memo_home(&grown, slot->key);
            while (grown.slots[at].key != NULL) {
                at = (at + 1) & grown.mask;
            }
            grown.slots[at] = *slot;
        }
    }
    if (n_old > 0) {
        release(memo->slots, n_old);
    }
    *memo = grown;
    return 0;
}

static int
grow(fp_memo *memo)
{
    size_t n_slots = slot_count(memo);

    if (n_slots == 0) {
        return resize(memo, FIRST_SLOTS);
    }
    return resize(memo, n_slots * (n_slots < ((size_t)1 << 18) ? 4 : 2));
}

int
fp_memo_reserve(fp_memo *memo, size_t n_more)
{
    size_t n_slots = FIRST_SLOTS;

    if (n_more > SIZE_MAX / 8 - memo->n_used) {
        return 0; /* it will grow as far as it can */
    }
    while (n_slots <= (memo->n_used + n_more) * 3) {
        n_slots *= 2;
    }
    return n_slots > slot_count(memo) ? resize(memo, n_slots) : 0;
}

int
fp_memo_set(fp_memo *memo, PyObject *key, int64_t value)
{
    fp_memo_slot *slot;

    if (!fp_memo_has_room(memo) && grow(memo) < 0) {
        return -1;
    }
    slot = fp_memo_slot_of(memo, key);
    if (slot->key != NULL) {
        slot->value = value;
    }
    else {
        fp_memo_fill(memo, slot, key, value);
    }
    return 0;
}

int
fp_memo_copy(fp_memo *to, const fp_memo *from)
{
    to->slots = NULL;
    to->mask = 0;
    to->n_used = 0;
    to->holds = 1;
    if (from->slots == NULL) {
        return 0;
    }
    to->slots = allocate(from->mask + 1);
    if (to->slots == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    to->mask = from->mask;
    to->shift = from->shift;
    to->n_used = from->n_used;
    for (size_t i = 0; i <= from->mask; i++) {
        to->slots[i] = from->slots[i];
        Py_XINCREF(to->slots[i].key);
    }
    return 0;
}

void
fp_memo_clear(fp_memo *memo)
{
    fp_memo old = *memo;

    memo->slots = NULL;
    memo->mask = 0;
    memo->n_used = 0;
    if (old.slots == NULL) {
        return;
    }
    if (old.holds) {
        for (size_t i = 0; i <= old.mask; i++) {
            Py_XDECREF(old.slots[i].key);
        }
    }
    release(old.slots, old.mask + 1);
}

int
fp_memo_traverse(const fp_memo *memo, visitproc visit, void *arg)
{
    if (memo->slots != NULL && memo->holds) {
        for (size_t i = 0; i <= memo->mask; i++) {
            Py_VISIT(memo->slots[i].key);
        }
    }
    return 0;
}

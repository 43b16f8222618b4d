#include "memo.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define FIRST_SLOTS 64
/* From here on a table is mapped in huge pages, where there are any: look-ups
 * in a large one are bound by misses of the TLB. */
#define HUGE_BYTES ((size_t)2 << 20)

static fp_memo_slot *
allocate(size_t n_slots)
{
    size_t n_bytes = n_slots * sizeof(fp_memo_slot);
    fp_memo_slot *slots;

    if (n_bytes < 2 * HUGE_BYTES) {
        return calloc(n_slots, sizeof(fp_memo_slot));
    }
    slots = aligned_alloc(HUGE_BYTES, n_bytes);
    if (slots != NULL) {
#ifdef MADV_HUGEPAGE
        madvise(slots, n_bytes, MADV_HUGEPAGE);
#endif
        memset(slots, 0, n_bytes);
    }
    return slots;
}

static int
resize(fp_memo *memo)
{
    size_t n_old = memo->slots == NULL ? 0 : memo->mask + 1;
    size_t n_new = n_old == 0 ? FIRST_SLOTS
                              : n_old * (n_old < ((size_t)1 << 18) ? 4 : 2);
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
    free(memo->slots);
    *memo = grown;
    return 0;
}

int
fp_memo_set(fp_memo *memo, PyObject *key, int64_t value)
{
    size_t i;

    if (memo->slots == NULL || memo->n_used * 2 >= memo->mask + 1) {
        if (resize(memo) < 0) {
            return -1;
        }
    }
    i = fp_memo_home(memo, key);
    while (memo->slots[i].key != NULL) {
        if (memo->slots[i].key == key) {
            memo->slots[i].value = value;
            return 0;
        }
        i = (i + 1) & memo->mask;
    }
    if (memo->holds) {
        Py_INCREF(key);
    }
    memo->slots[i].key = key;
    memo->slots[i].value = value;
    memo->n_used++;
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
    free(old.slots);
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

/* The memo: which objects were met, keyed by address.
 *
 * Open addressing with linear probing. Objects are mostly visited in the
 * order they were allocated, so neighbours in memory are neighbours here: one
 * slot for each 32 bytes of a 4 KiB page (few objects that need an entry are
 * smaller). The pages are spread over the table by Fibonacci hashing (Knuth,
 * The Art of Computer Programming 6.4), which puts consecutive ones as far
 * from each other as they can be. A page claims more slots than it fills: at
 * a load above a third the claims overlap and probing takes 5 to 30 steps
 * where it takes 1.3 to 2 below.
 *
 * With `holds` set each key is a strong reference. A walk during which nothing
 * else can run leaves it unset: no object can be freed then.
 *
 * A value is the position of the object's first appearance in the graph
 * (>= 0), or ~number once its memo number is drawn (< 0), or FP_MEMO_OPEN: a
 * tuple or frozenset whose items are being walked in silence.
 *
 * Pointers to values are valid until the next fp_memo_set(). GIL held.
 */
#ifndef FP_MEMO_H
#define FP_MEMO_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

#define FP_MEMO_OPEN INT64_MIN

typedef struct {
    PyObject *key;
    int64_t value;
} fp_memo_slot;

typedef struct {
    fp_memo_slot *slots; /* NULL while empty */
    size_t mask;         /* number of slots - 1 */
    unsigned shift;      /* 64 - log2(number of slots) */
    size_t n_used;
    int holds;
} fp_memo;

#define FP_MEMO_PAGE_SHIFT 12
#define FP_MEMO_UNIT_SHIFT 5

static inline size_t
fp_memo_home(const fp_memo *memo, const PyObject *key)
{
    const uintptr_t last_unit =
        ((uintptr_t)1 << (FP_MEMO_PAGE_SHIFT - FP_MEMO_UNIT_SHIFT)) - 1;
    uintptr_t address = (uintptr_t)key;
    uint64_t page = (uint64_t)(address >> FP_MEMO_PAGE_SHIFT);
    size_t start =
        (size_t)((page * UINT64_C(0x9e3779b97f4a7c15)) >> memo->shift);

    return (start + ((address >> FP_MEMO_UNIT_SHIFT) & last_unit))
           & memo->mask;
}

/* The key's slot, or the empty one (key == NULL) where it belongs; NULL only
 * while the memo has no slots at all. */
static inline fp_memo_slot *
fp_memo_slot_of(const fp_memo *memo, const PyObject *key)
{
    if (memo->slots == NULL) {
        return NULL;
    }
    for (size_t i = fp_memo_home(memo, key);; i = (i + 1) & memo->mask) {
        fp_memo_slot *slot = &memo->slots[i];
        if (slot->key == key || slot->key == NULL) {
            return slot;
        }
    }
}

/* NULL where the key is not there. */
static inline int64_t *
fp_memo_find(const fp_memo *memo, const PyObject *key)
{
    fp_memo_slot *slot = fp_memo_slot_of(memo, key);
    return slot == NULL || slot->key == NULL ? NULL : &slot->value;
}

/* Whether one more key fits without moving the slots. */
static inline int
fp_memo_has_room(const fp_memo *memo)
{
    return memo->slots != NULL && memo->n_used * 3 < memo->mask + 1;
}

/* Fills an empty slot from fp_memo_slot_of(), while there is room. */
static inline void
fp_memo_fill(fp_memo *memo, fp_memo_slot *slot, PyObject *key, int64_t value)
{
    if (memo->holds) {
        Py_INCREF(key);
    }
    slot->key = key;
    slot->value = value;
    memo->n_used++;
}

/* Adds the key or changes its value. Takes a reference of its own where the
 * memo holds. 0, or -1 with MemoryError set. */
int fp_memo_set(fp_memo *memo, PyObject *key, int64_t value);
/* Makes room for n_more keys at once, so that they need not be moved again and
 * again while they come in. 0, or -1 with MemoryError set. */
int fp_memo_reserve(fp_memo *memo, size_t n_more);
/* Same contents, own references. 0 or -1. */
int fp_memo_copy(fp_memo *to, const fp_memo *from);
/* Empties it; releasing the keys may run foreign code, which finds the memo
 * empty already. */
void fp_memo_clear(fp_memo *memo);
int fp_memo_traverse(const fp_memo *memo, visitproc visit, void *arg);

#endif

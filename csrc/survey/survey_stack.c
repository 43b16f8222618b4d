/* The stack, its marks, and the memo. */
#include "survey_parts.h"

#include "core/block_hash.h"

/* Numbers below this are always in the near part. */
#define NEAR_ANYWAY 1024
#define FIRST_FAR   64

int
fp_value_stack_grow(fp_survey_run_state *run)
{
    size_t height = fp_height(run);
    size_t capacity = (size_t)(run->stack_end - run->stack);

    if (fp_rows_grow(&run->stack, &capacity, height + 1, sizeof(fp_value)) < 0)
    {
        return -1;
    }
    run->top = run->stack + height;
    run->stack_end = run->stack + capacity;
    return 0;
}

int
fp_value_underflow(const fp_survey_run_state *run)
{
    return fp_survey_refuse(run, run->marks.n > run->first_mark
                                     ? "unexpected MARK found"
                                     : "unpickling stack underflow");
}

int
fp_push_value(fp_survey_run_state *run, uint64_t head, uint64_t tail)
{
    if (run->top == run->stack_end && fp_value_stack_grow(run) < 0) {
        return -1;
    }
    run->top->head = head;
    run->top->tail = tail;
    run->top++;
    return 0;
}

int
fp_push_mark(fp_survey_run_state *run)
{
    if (FP_ROWS_ROOM(run->marks) < 0) {
        return -1;
    }
    run->fence = fp_height(run);
    run->marks.rows[run->marks.n++] =
        (fp_survey_mark){run->place - 1, run->fence};
    return 0;
}

int
fp_take_value_mark(fp_survey_run_state *run, fp_survey_mark *mark)
{
    if (run->marks.n == run->first_mark) {
        return fp_survey_refuse(run, "could not find MARK");
    }
    *mark = run->marks.rows[--run->marks.n];
    run->fence = run->marks.n > run->first_mark
                     ? (size_t)run->marks.rows[run->marks.n - 1].index
                     : run->floor;
    return 0;
}

/* --- the memo ------------------------------------------------------------ */

void
fp_value_memo_free(fp_survey_memo *memo)
{
    PyMem_RawFree(memo->near);
    PyMem_RawFree(memo->far);
    memset(memo, 0, sizeof(*memo));
}

static size_t
first_slot(const fp_survey_memo *memo, uint64_t number)
{
    return (size_t)fp_xxh3_seeded(&number, sizeof(number), memo->seed)
           & (memo->far_capacity - 1);
}

/* The place of a number in the far part, or where it belongs. */
static fp_far_value *
far_slot(const fp_survey_memo *memo, uint64_t number)
{
    size_t i = first_slot(memo, number);

    while (memo->far[i].value.head != 0 && memo->far[i].number != number) {
        i = (i + 1) & (memo->far_capacity - 1);
    }
    return &memo->far[i];
}

static int
grow_far(fp_survey_memo *memo)
{
    fp_survey_memo grown = *memo;

    if (memo->far != NULL && memo->n_far < memo->far_capacity / 4 * 3) {
        return 0;
    }
    grown.far_capacity =
        memo->far == NULL ? FIRST_FAR : 2 * memo->far_capacity;
    grown.far = PyMem_RawCalloc(grown.far_capacity, sizeof(fp_far_value));
    if (grown.far == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < memo->far_capacity; i++) {
        if (memo->far[i].value.head != 0) {
            *far_slot(&grown, memo->far[i].number) = memo->far[i];
        }
    }
    PyMem_RawFree(memo->far);
    *memo = grown;
    return 0;
}

static int
is_near(const fp_survey_memo *memo, uint64_t number)
{
    return number < memo->near_capacity || number <= memo->hint
           || number <= memo->n_filled + memo->n_filled / 4 + NEAR_ANYWAY;
}

static int
grow_near(fp_survey_memo *memo, uint64_t number)
{
    size_t before = memo->near_capacity;

    if (number < before) {
        return 0;
    }
    if (fp_rows_grow(&memo->near, &memo->near_capacity, (size_t)number + 1,
                     sizeof(fp_remembered))
        < 0)
    {
        return -1;
    }
    memset(memo->near + before, 0,
           (memo->near_capacity - before) * sizeof(fp_remembered));
    return 0;
}

const fp_remembered *
fp_recall(const fp_survey_memo *memo, uint64_t number)
{
    if (number < memo->near_capacity && memo->near[number].head != 0) {
        return &memo->near[number];
    }
    if (memo->far != NULL) {
        const fp_far_value *slot = far_slot(memo, number);
        return slot->value.head != 0 ? &slot->value : NULL;
    }
    return NULL;
}

/* Where the value of a number is to be put: it is empty or replaced. */
static fp_remembered *
place_for(fp_survey_memo *memo, uint64_t number)
{
    fp_far_value *slot;

    /* What is in the far part stays there. */
    if (memo->far != NULL) {
        slot = far_slot(memo, number);
        if (slot->value.head != 0) {
            return &slot->value;
        }
    }
    if (is_near(memo, number)) {
        return grow_near(memo, number) < 0 ? NULL : &memo->near[number];
    }
    if (grow_far(memo) < 0) {
        return NULL;
    }
    slot = far_slot(memo, number);
    slot->number = number;
    memo->n_far++;
    return &slot->value;
}

int
fp_remember(fp_survey_run_state *run, uint64_t number)
{
    fp_survey_memo *memo = &run->memo;
    const fp_value *value = run->top - 1;
    unsigned flags = fp_flags_of(value->head)
                     & (FP_IS_UNHASHABLE | FP_IS_GROWN | FP_HAS_ORIGIN);
    uint64_t head = value->head & ((UINT64_C(1) << 56) - 1);
    fp_remembered *entry = place_for(memo, number);

    if (entry == NULL) {
        return -1;
    }
    if (entry->head != 0) {
        fp_odd(run, FP_ODD_PUT_AGAIN, run->place - 1);
        flags |= FP_WAS_REPLACED;
    }
    else {
        memo->n_filled++;
    }
    if (number > memo->highest) {
        memo->highest = number;
    }
    if (fp_kind_of(head) == FP_VALUE_STR) {
        entry->origin =
            flags & FP_HAS_ORIGIN ? value->origin : fp_place_of(head);
        flags |= FP_HAS_ORIGIN;
    }
    else {
        uint64_t length = run->place - fp_place_of(head);
        entry->length = length < UINT32_MAX ? (uint32_t)length : UINT32_MAX;
        entry->what = value->what;
    }
    entry->head = head | FP_HEAD(0, flags);
    return 0;
}

/* A GET of a blob: the buffer of an array, where the stack looks like that,
 * else the leaf that it stands for. */
static int
fetch_blob(fp_survey_run_state *run, uint32_t number, uint64_t place)
{
    fp_survey *survey = run->survey;
    const fp_blob *blob = &survey->options.blobs[number];
    fp_survey_leaf leaf = {
        .offset = survey->options.dump_start + blob->offset,
        .n_bytes = blob->length,
        .node = FP_SURVEY_NONE,
        .payload = number,
        .stored = FP_STORED_BLOB,
    };
    size_t height = fp_height(run);

    if (run->marks.n > run->first_mark && height - run->fence == 2
        && run->fence > run->floor
        && fp_kind_of(run->top[-3].head) == FP_VALUE_GLOBAL
        && survey->globals[run->top[-3].what].role == FP_ROLE_NDARRAY)
    {
        return fp_push_value(run,
                             place | FP_HEAD(FP_VALUE_BLOB, FP_IS_UNHASHABLE),
                             FP_NO_TAIL | (uint64_t)number << 32);
    }
    leaf.kind = blob->kind == FP_BLOB_STR     ? FP_VALUE_STR
                : blob->kind == FP_BLOB_BYTES ? FP_VALUE_BYTES
                                              : FP_VALUE_BYTEARRAY;
    if (run->counted[number] > 0) { /* met again: no leaf of its own */
        return fp_push_value(
            run,
            place
                | FP_HEAD(leaf.kind, leaf.kind == FP_VALUE_BYTEARRAY
                                         ? FP_IS_UNHASHABLE
                                         : 0),
            FP_NO_TAIL);
    }
    return fp_count_blob(run, number, UINT64_MAX) < 0
               ? -1
               : fp_push_leaf(run, place, (fp_value_kind)leaf.kind, &leaf);
}

int
fp_fetch(fp_survey_run_state *run, uint64_t number, uint64_t place)
{
    const fp_remembered *entry = fp_recall(&run->memo, number);
    uint64_t head, tail;

    if (entry == NULL) {
        PyErr_Format(run->survey->state->unpickling_error,
                     "Memo value not found at index %lld", (long long)number);
        return -1;
    }
    head = (entry->head & ~FP_SURVEY_PLACE_MASK & ~FP_HEAD(0, FP_WAS_REPLACED))
           | FP_HEAD(0, FP_IS_COPY) | place;
    switch (fp_kind_of(head)) {
    case FP_VALUE_STR:
        tail = entry->origin;
        break;
    case FP_VALUE_BLOB:
        return fetch_blob(run, entry->what, place);
    case FP_VALUE_GLOBAL:
        fp_use(run, &run->survey->globals[entry->what].n_get);
        head |= FP_HEAD(0, FP_IS_NOTABLE);
        /* fall through */
    default:
        tail = FP_NO_TAIL | (uint64_t)entry->what << 32;
    }
    return fp_push_value(run, head, tail);
}

/* The blobs lie in the memo under their numbers, before the graph begins. */
int
fp_seed_blobs(fp_survey_run_state *run)
{
    const fp_survey_options *options = &run->survey->options;

    if (options->n_blobs == 0) {
        return 0;
    }
    run->counted = PyMem_RawCalloc(options->n_blobs, sizeof(uint64_t));
    if (run->counted == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < options->n_blobs; i++) {
        uint64_t number = options->blobs[i].memo_number;
        fp_remembered *entry;
        if (!is_near(&run->memo, number)) {
            PyErr_Format(run->survey->state->unpickling_error,
                         "a blob has the memo number %llu, of %zu blobs",
                         (unsigned long long)number, options->n_blobs);
            return -1;
        }
        entry = place_for(&run->memo, number);
        if (entry == NULL) {
            return -1;
        }
        if (entry->head == 0) {
            run->memo.n_filled++;
        }
        entry->head = FP_HEAD(FP_VALUE_BLOB, 0);
        entry->length = UINT32_MAX;
        entry->what = (uint32_t)i;
        if (number > run->memo.highest) {
            run->memo.highest = number;
        }
    }
    return 0;
}

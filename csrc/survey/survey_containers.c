/* Containers: what lies on the stack becomes part of them. */
#include "survey_parts.h"

/* A container in the place of its topmost n items, which begins at `place`. */
static int
wrap_items(fp_survey_run_state *run, fp_value_kind kind, size_t n,
           uint64_t place, uint64_t end)
{
    fp_value *items = run->top - n;
    fp_value container = {.node = FP_SURVEY_NONE};
    uint64_t any = 0;

    for (size_t i = 0; i < n; i++) {
        any |= items[i].head;
    }
    container.what = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
    container.head =
        place
        | FP_HEAD(kind, kind == FP_VALUE_TUPLE
                            ? fp_flags_of(any) & FP_IS_UNHASHABLE
                        : kind == FP_VALUE_FROZENSET ? 0
                                                     : FP_IS_UNHASHABLE);
    if (kind == FP_VALUE_FROZENSET && fp_flags_of(any) & FP_IS_UNHASHABLE) {
        PyErr_SetString(PyExc_TypeError, "unhashable item of a set");
        return -1;
    }
    if (fp_flags_of(any) & FP_IS_NOTABLE
        && fp_take_values(run, &container, items, n,
                          kind == FP_VALUE_FROZENSET ? FP_STEP_MEMBER
                                                     : FP_STEP_INDEX,
                          0, end)
               < 0)
    {
        return -1;
    }
    if (kind == FP_VALUE_TUPLE) {
        run->last_tuple = (fp_last_tuple){
            .place = place,
            .first = n > 0 && fp_kind_of(items->head) == FP_VALUE_GLOBAL
                         ? items->what
                         : FP_SURVEY_NONE,
        };
    }
    fp_measure(run, &container);
    run->top = items;
    return fp_push_value(run, container.head, container.tail);
}

int
fp_do_short_tuple(fp_survey_run_state *run, size_t n)
{
    if (fp_height(run) < run->fence + n) {
        return fp_value_underflow(run);
    }
    return wrap_items(run, FP_VALUE_TUPLE, n,
                      fp_place_of((run->top - n)->head), run->place - 1);
}

/* Keys must have a hash, as far as that is known. */
static int
check_keys(const fp_value *items, size_t n)
{
    uint64_t any = 0;

    for (size_t i = 0; i < n; i += 2) {
        any |= items[i].head;
    }
    if (fp_flags_of(any) & FP_IS_UNHASHABLE) {
        PyErr_SetString(PyExc_TypeError, "unhashable key of a dict");
        return -1;
    }
    return 0;
}

/* TUPLE, LIST, DICT, FROZENSET */
int
fp_do_marked(fp_survey_run_state *run, unsigned char opcode)
{
    fp_survey_mark mark;
    uint64_t end = run->place - 1;
    fp_value *items;
    size_t n;

    if (fp_take_value_mark(run, &mark) < 0) {
        return -1;
    }
    items = run->stack + mark.index;
    n = (size_t)(run->top - items);
    switch (opcode) {
    case OP_TUPLE:
        return wrap_items(run, FP_VALUE_TUPLE, n, mark.place, end);
    case OP_LIST:
        return wrap_items(run, FP_VALUE_LIST, n, mark.place, end);
    case OP_FROZENSET:
        return wrap_items(run, FP_VALUE_FROZENSET, n, mark.place, end);
    default:
        break;
    }
    fp_value dict = {
        .head = mark.place | FP_HEAD(FP_VALUE_DICT, FP_IS_UNHASHABLE),
        .node = FP_SURVEY_NONE,
    };
    if (n % 2 != 0) {
        return fp_survey_refuse(run, "odd number of items for DICT");
    }
    if (check_keys(items, n) < 0
        || fp_take_values(run, &dict, items, n, FP_STEP_KEY, 0, end) < 0)
    {
        return -1;
    }
    dict.what = (uint32_t)(n / 2);
    fp_measure(run, &dict);
    run->top = items;
    return fp_push_value(run, dict.head, dict.tail);
}

static inline void
add_count(fp_value *container, size_t n)
{
    container->what = n < UINT32_MAX - container->what
                          ? container->what + (uint32_t)n
                          : UINT32_MAX;
}

/* From Python 3.15 on also what gets no items has to have a method for them. */
static int
take_nothing(fp_survey_run_state *run, const fp_value *target,
             fp_value_kind expected)
{
    run->survey->n_undecided += fp_kind_of(target->head) != expected;
    return 0;
}

/* The values from `index` on go into the one below. */
static int
append_items(fp_survey_run_state *run, size_t index)
{
    fp_value *items = run->stack + index;
    size_t n = (size_t)(run->top - items);
    fp_value *target = items - 1;
    uint64_t first = target->what;

    if (n == 0) {
        return take_nothing(run, target, FP_VALUE_LIST);
    }
    if (fp_kind_of(target->head) == FP_VALUE_LIST) {
        add_count(target, n);
    }
    else {
        run->survey->n_undecided++;
        if (fp_grow_value(run, target, n, &first) < 0) {
            return -1;
        }
    }
    if (fp_take_values(run, target, items, n, FP_STEP_INDEX, first,
                       run->place - 1)
        < 0)
    {
        return -1;
    }
    fp_measure(run, target);
    run->top = items;
    return 0;
}

static int
set_items(fp_survey_run_state *run, size_t index)
{
    fp_value *items = run->stack + index;
    size_t n = (size_t)(run->top - items);
    fp_value *target = items - 1;
    uint64_t first = target->what;

    if (n % 2 != 0) {
        return fp_survey_refuse(run, "odd number of items for SETITEMS");
    }
    if (fp_kind_of(target->head) == FP_VALUE_DICT) {
        if (check_keys(items, n) < 0) {
            return -1;
        }
        add_count(target, n / 2);
    }
    else if (n > 0) {
        run->survey->n_undecided++;
        if (fp_grow_value(run, target, n / 2, &first) < 0) {
            return -1;
        }
    }
    if (fp_take_values(run, target, items, n, FP_STEP_KEY, first,
                       run->place - 1)
        < 0)
    {
        return -1;
    }
    fp_measure(run, target);
    run->top = items;
    return 0;
}

static int
add_items(fp_survey_run_state *run, size_t index)
{
    fp_value *items = run->stack + index;
    size_t n = (size_t)(run->top - items);
    fp_value *target = items - 1;
    uint64_t first = target->what, any = 0;

    if (n == 0) {
        return take_nothing(run, target, FP_VALUE_SET);
    }
    for (size_t i = 0; i < n; i++) {
        any |= items[i].head;
    }
    if (fp_kind_of(target->head) == FP_VALUE_SET) {
        if (fp_flags_of(any) & FP_IS_UNHASHABLE) {
            PyErr_SetString(PyExc_TypeError, "unhashable item of a set");
            return -1;
        }
        add_count(target, n);
    }
    else {
        run->survey->n_undecided++;
        if (fp_grow_value(run, target, n, &first) < 0) {
            return -1;
        }
    }
    if (fp_take_values(run, target, items, n, FP_STEP_MEMBER, first,
                       run->place - 1)
        < 0)
    {
        return -1;
    }
    fp_measure(run, target);
    run->top = items;
    return 0;
}

/* APPENDS, SETITEMS, ADDITEMS */
int
fp_do_items(fp_survey_run_state *run, unsigned char opcode)
{
    fp_survey_mark mark;
    size_t index;

    if (fp_take_value_mark(run, &mark) < 0) {
        return -1;
    }
    index = (size_t)mark.index;
    if (index > fp_height(run) || index <= run->fence) {
        return fp_value_underflow(run);
    }
    return opcode == OP_APPENDS    ? append_items(run, index)
           : opcode == OP_SETITEMS ? set_items(run, index)
                                   : add_items(run, index);
}

/* APPEND, SETITEM: the topmost n */
int
fp_do_item(fp_survey_run_state *run, size_t n)
{
    size_t height = fp_height(run);

    if (height < n || height - n <= run->fence) {
        return fp_value_underflow(run);
    }
    return n == 1 ? append_items(run, height - 1) : set_items(run, height - 2);
}

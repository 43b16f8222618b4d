/* The tree of what is notable, and what becomes part of what. */
#include "survey_parts.h"

#include "core/block_hash.h"

/* A container with so few bytes of its own may share the node of what is in it. */
#define FEW_BYTES 64

/* --- nodes --------------------------------------------------------------- */

static uint64_t
node_place(fp_value_kind kind, fp_step_kind step, uint64_t value)
{
    if (fp_step_has_index(step) && value > UINT32_MAX) {
        value = UINT32_MAX;
    }
    return (value & FP_SURVEY_PLACE_MASK) | (uint64_t)step << 48
           | (uint64_t)kind << 56;
}

uint32_t
fp_new_node(fp_survey_run_state *run, fp_value_kind kind, uint32_t what)
{
    fp_survey *survey = run->survey;
    size_t n = survey->n_nodes;

    if (fp_is_full(n)
        || fp_rows_grow(&survey->nodes, &run->nodes_capacity, n + 1,
                        sizeof(fp_survey_node))
               < 0)
    {
        return FP_SURVEY_NONE;
    }
    survey->nodes[n] = (fp_survey_node){
        .parent = FP_SURVEY_NONE,
        .what = what,
        .place = node_place(kind, FP_STEP_ROOT, 0),
    };
    survey->n_nodes = n + 1;
    return (uint32_t)n;
}

/* What a node says of its value. */
static uint32_t
what_of(const fp_survey_run_state *run, const fp_value *value)
{
    unsigned flags = fp_flags_of(value->head);

    if (flags & FP_HAS_ORIGIN) {
        return FP_SURVEY_NONE;
    }
    return flags & FP_IS_GROWN ? run->grown.rows[value->what].maker
                               : value->what;
}

int
fp_ensure_node(fp_survey_run_state *run, fp_value *value)
{
    fp_survey *survey = run->survey;
    unsigned flags = fp_flags_of(value->head);

    if (flags & FP_HAS_ORIGIN) {
        /* A str that holds something: it stays what it is, but nothing asks
         * for its text any more. */
        value->head &= ~FP_HEAD(0, FP_HAS_ORIGIN);
        value->tail = FP_NO_TAIL;
    }
    if (value->node == FP_SURVEY_NONE) {
        uint32_t node =
            fp_new_node(run, fp_kind_of(value->head), what_of(run, value));
        if (node == FP_SURVEY_NONE) {
            return -1;
        }
        value->node = node;
        if (flags & FP_IS_LEAF) {
            survey->leaves[value->what].node = node;
        }
    }
    value->head |= FP_HEAD(0, FP_IS_NOTABLE);
    return 0;
}

int
fp_push_leaf(fp_survey_run_state *run, uint64_t place, fp_value_kind kind,
             const fp_survey_leaf *leaf)
{
    fp_survey *survey = run->survey;
    size_t n = survey->n_leaves;
    unsigned flags = FP_IS_NOTABLE | FP_IS_LARGE | FP_IS_LEAF;

    if (fp_is_full(n)
        || fp_rows_grow(&survey->leaves, &run->leaves_capacity, n + 1,
                        sizeof(*leaf))
               < 0)
    {
        return -1;
    }
    survey->leaves[n] = *leaf;
    survey->n_leaves = n + 1;
    if (kind == FP_VALUE_BYTEARRAY) {
        flags |= FP_IS_UNHASHABLE;
    }
    return fp_push_value(run, place | FP_HEAD(kind, flags),
                         FP_NO_TAIL | (uint64_t)n << 32);
}

/* --- what becomes part of what ------------------------------------------- */

/* As long as a node hangs nowhere its total is not known: there stands how many
 * children it has, and which is the last. */
static void
attach(fp_survey_run_state *run, uint32_t child, uint32_t parent,
       fp_step_kind step, uint64_t step_value, uint64_t start, uint64_t end)
{
    fp_survey_node *node = &run->survey->nodes[child];

    if (parent != FP_SURVEY_NONE) {
        uint64_t *children = &run->survey->nodes[parent].total;
        uint64_t n = *children >> 32;
        *children = (n < UINT32_MAX ? n + 1 : n) << 32 | child;
    }
    node->parent = parent;
    node->place = node_place(fp_node_kind(node), step, step_value);
    node->total =
        0 - fp_value_bytes(run, start); /* places are asked in order */
    node->total += fp_value_bytes(run, end);
}

/* A container in one of its own kind, and so on: each but the innermost would have
 * a node for a byte or two. Where `value`, which goes into `target` at an index,
 * has hardly more than one child, at the same index, the two share a node. */
static int
share_node(fp_survey_run_state *run, fp_value *target, const fp_value *value,
           fp_step_kind step, uint64_t index, uint64_t end)
{
    const fp_survey *survey = run->survey;
    fp_value_kind kind = fp_kind_of(value->head);
    uint64_t n_bytes, children = survey->nodes[value->node].total;
    fp_survey_node *child;

    if (kind != fp_kind_of(target->head) || !fp_is_container(kind)
        || (step != FP_STEP_INDEX && step != FP_STEP_MEMBER)
        || target->node != FP_SURVEY_NONE || children >> 32 != 1)
    {
        return 0;
    }
    child = &survey->nodes[children & UINT32_MAX];
    n_bytes = 0 - fp_value_bytes(run, fp_place_of(value->head));
    n_bytes += fp_value_bytes(run, end);
    if (child->parent != value->node || fp_node_step_kind(child) != step
        || fp_node_step_value(child) != index
        || fp_node_levels(child) > UINT16_MAX
        || n_bytes - child->total >= FEW_BYTES * fp_node_levels(child))
    {
        return 0;
    }
    child->place += UINT64_C(1) << 32;
    target->node = value->node;
    target->head |= FP_HEAD(0, FP_IS_NOTABLE);
    return 1;
}

/* Whether a value has a node, or gets one now that it becomes part of
 * something: 1, 0, -1. A global is counted as an argument. */
static int
is_worth_a_node(fp_survey_run_state *run, fp_value *value)
{
    unsigned flags = fp_flags_of(value->head);
    fp_value_kind kind = fp_kind_of(value->head);

    if (kind == FP_VALUE_GLOBAL) {
        fp_survey_global *global = &run->survey->globals[value->what];
        fp_use(run, &global->n_argument);
        if (global->first_node == FP_SURVEY_NONE) {
            if (fp_ensure_node(run, value) < 0) {
                return -1;
            }
            /* The table of globals does not grow meanwhile. */
            global->first_node = value->node;
        }
    }
    else if (flags & FP_IS_LEAF
             || (flags & FP_IS_LARGE && kind >= FP_VALUE_TUPLE))
    {
        if (fp_ensure_node(run, value) < 0) {
            return -1;
        }
    }
    return !(flags & FP_HAS_ORIGIN) && value->node != FP_SURVEY_NONE;
}

static uint64_t
step_value_of(fp_step_kind step, const fp_value *values, size_t i,
              uint64_t first_index)
{
    switch (step) {
    case FP_STEP_INDEX:
    case FP_STEP_MEMBER:
        return first_index + i;
    case FP_STEP_KEY: {
        const fp_value *key = &values[i - 1];
        return fp_flags_of(key->head) & FP_HAS_ORIGIN ? key->origin
                                                      : fp_place_of(key->head);
    }
    case FP_STEP_KEYS:
        return first_index + i / 2;
    default:
        return fp_place_of(values[i].head);
    }
}

int
fp_take_values(fp_survey_run_state *run, fp_value *target, fp_value *values,
               size_t n, fp_step_kind step, uint64_t first_index, uint64_t end)
{
    uint64_t any = 0;

    for (size_t i = 0; i < n; i++) {
        any |= values[i].head;
    }
    if (!(fp_flags_of(any) & FP_IS_NOTABLE)) {
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        fp_value *value = &values[i];
        fp_step_kind its_step =
            step == FP_STEP_KEY && i % 2 == 0 ? FP_STEP_KEYS : step;
        int has_node;
        if (!(fp_flags_of(value->head) & FP_IS_NOTABLE)) {
            continue;
        }
        if (fp_flags_of(value->head) & FP_IS_LARGE && target != NULL) {
            target->head |= FP_HEAD(0, FP_IS_LARGE | FP_IS_NOTABLE);
        }
        has_node = is_worth_a_node(run, value);
        if (has_node > 0 && target != NULL
            && share_node(run, target, value, its_step,
                          step_value_of(its_step, values, i, first_index),
                          i + 1 < n ? fp_place_of(values[i + 1].head) : end))
        {
            continue;
        }
        if (has_node < 0
            || (has_node && target != NULL && fp_ensure_node(run, target) < 0))
        {
            return -1;
        }
        if (has_node) {
            run->survey->nodes[value->node].what = what_of(run, value);
            attach(run, value->node,
                   target == NULL ? FP_SURVEY_NONE : target->node, its_step,
                   step_value_of(its_step, values, i, first_index),
                   fp_place_of(value->head),
                   i + 1 < n ? fp_place_of(values[i + 1].head) : end);
        }
    }
    return 0;
}

/* Their bytes count with the value in front, if there is one. Behind a MARK they
 * are in what that begins, which is not there yet: they hang nowhere. */
int
fp_drop_values(fp_survey_run_state *run, size_t index, uint64_t end)
{
    fp_value *first = run->stack + index;
    int is_behind_mark = run->marks.n > run->first_mark && index == run->fence;
    fp_value *target =
        index > run->floor && !is_behind_mark ? first - 1 : NULL;
    int status = fp_take_values(run, target, first, (size_t)(run->top - first),
                                FP_STEP_POPPED, 0, end);

    run->top = first;
    return status;
}

/* --- the end ------------------------------------------------------------- */

/* The value at `top - 1` is what the stream makes. */
int
fp_finish_tree(fp_survey_run_state *run)
{
    fp_survey *survey = run->survey;
    fp_value *root = run->top - 1;
    uint64_t end = run->place - (survey->options.is_ours ? 0 : 1);
    int status = is_worth_a_node(run, root);

    if (status < 0 || fp_ensure_node(run, root) < 0) {
        return -1;
    }
    survey->nodes[root->node].what = what_of(run, root);
    attach(run, root->node, FP_SURVEY_NONE, FP_STEP_ROOT, 0,
           fp_place_of(root->head), end);
    survey->root = root->node;
    survey->sums.values = survey->nodes[root->node].total;
    survey->sums.outside = fp_value_bytes(run, end) - survey->sums.values;
    run->top--;
    /* Whatever else is left hangs nowhere. */
    return fp_drop_values(run, run->floor, fp_place_of(root->head));
}

/* As if what lies above a MARK became part of what lies below. */
static int
close_mark(fp_survey_run_state *run, size_t index, uint64_t end)
{
    fp_value *target = run->stack + index - 1;
    fp_value *values = run->stack + index;
    size_t n = (size_t)(run->top - values);
    fp_step_kind step = FP_STEP_OPEN;
    uint64_t first = 0;
    int status;

    if (index == 0) {
        return 0;
    }
    switch (fp_kind_of(target->head)) {
    case FP_VALUE_LIST:
        step = FP_STEP_INDEX;
        first = target->what;
        break;
    case FP_VALUE_SET:
        step = FP_STEP_MEMBER;
        first = target->what;
        break;
    case FP_VALUE_DICT:
        /* A key without its value is left to stand for itself. */
        step = n > 1 ? FP_STEP_KEY : FP_STEP_OPEN;
        break;
    default:
        break;
    }
    if (step == FP_STEP_KEY && n % 2 != 0) {
        status = fp_take_values(run, target, values, n - 1, step, first,
                                fp_place_of(values[n - 1].head));
        if (status == 0) {
            status = fp_take_values(run, target, values + n - 1, 1,
                                    FP_STEP_OPEN, 0, end);
        }
    }
    else {
        status = fp_take_values(run, target, values, n, step, first, end);
    }
    run->top = values;
    return status;
}

/* The stream broke off: what is on the stack becomes a tree. */
int
fp_finish_broken_tree(fp_survey_run_state *run)
{
    fp_survey *survey = run->survey;
    uint64_t end = run->place;
    uint64_t total = fp_value_bytes(run, end);

    while (run->marks.n > 0) {
        size_t index = (size_t)run->marks.rows[--run->marks.n].index;
        if (index <= fp_height(run) && close_mark(run, index, end) < 0) {
            return -1;
        }
    }
    survey->sums.outside = total;
    if (run->top == run->stack) {
        return 0;
    }
    if (fp_take_values(run, run->stack, run->stack + 1, fp_height(run) - 1,
                       FP_STEP_OPEN, 0, end)
            < 0
        || is_worth_a_node(run, run->stack) < 0
        || fp_ensure_node(run, run->stack) < 0)
    {
        return -1;
    }
    survey->root = run->stack->node;
    attach(run, survey->root, FP_SURVEY_NONE, FP_STEP_ROOT, 0,
           fp_place_of(run->stack->head), end);
    survey->nodes[survey->root].what = what_of(run, run->stack);
    survey->sums.values = survey->nodes[survey->root].total;
    survey->sums.outside -= survey->sums.values;
    run->top = run->stack;
    return 0;
}

/* --- steps that are not the only ones of their kind ---------------------- */

/* Only keys may be the same twice, and states be set again. What two of them
 * differ in: of keys the text, where it is at hand, else the place. */
static int
identity_of(fp_survey_run_state *run, const fp_survey_node *node,
            uint64_t *identity)
{
    const fp_survey *survey = run->survey;
    uint64_t value = fp_node_step_value(node);
    uint32_t parent = node->parent;
    fp_leaf_bytes leaf;
    uint32_t text;

    if (fp_node_step_kind(node) == FP_STEP_STATE) {
        value = FP_SURVEY_PLACE_MASK;
    }
    else if (fp_leaf_at(survey, value, &leaf)
             && leaf.n_whole < FP_SURVEY_PAYLOAD_BYTES)
    {
        if (fp_intern(run, leaf.data, (size_t)leaf.n_kept, &text) < 0) {
            return -1;
        }
        value = text;
    }
    if (fp_node_is_slots(survey, &survey->nodes[parent])) {
        parent = survey->nodes[parent].parent; /* attributes of one object */
    }
    *identity = (uint64_t)parent * UINT64_C(0x9e3779b97f4a7c15)
                ^ (value + 1) * UINT64_C(0xc2b2ae3d27d4eb4f);
    return 0;
}

static int
may_repeat(const fp_survey_node *node)
{
    fp_step_kind step = fp_node_step_kind(node);

    return node->parent != FP_SURVEY_NONE
           && (step == FP_STEP_KEY || step == FP_STEP_STATE);
}

/* By a table of hashes: where two fall together by chance, a path is longer
 * than it need be. */
int
fp_mark_repeated_steps(fp_survey_run_state *run)
{
    fp_survey *survey = run->survey;
    uint64_t *table;
    size_t n = 0, size = 16;
    int status = 0;

    for (size_t i = 0; i < survey->n_nodes; i++) {
        n += (size_t)may_repeat(&survey->nodes[i]);
    }
    while (size < n + n / 2) {
        size *= 2;
    }
    table = PyMem_RawCalloc(size, sizeof(*table));
    if (table == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < survey->n_nodes; i++) {
        fp_survey_node *node = &survey->nodes[i];
        uint64_t identity;
        size_t slot;
        if (!may_repeat(node)) {
            continue;
        }
        status = identity_of(run, node, &identity);
        if (status < 0) {
            break;
        }
        identity += identity == 0;
        slot = (size_t)fp_xxh3_seeded(&identity, sizeof(identity), run->seed)
               & (size - 1);
        while (table[slot] != 0 && table[slot] != identity) {
            slot = (slot + 1) & (size - 1);
        }
        if (table[slot] == identity) {
            node->place |= UINT64_C(1) << 55;
        }
        table[slot] = identity;
    }
    PyMem_RawFree(table);
    return status;
}

void
fp_survey_own_bytes(const fp_survey *survey, void *own, size_t stride)
{
    char *first = own;

    for (size_t i = 0; i < survey->n_nodes; i++) {
        memcpy(first + i * stride, &survey->nodes[i].total, sizeof(uint64_t));
    }
    for (size_t i = 0; i < survey->n_nodes; i++) {
        uint64_t left;
        if (survey->nodes[i].parent == FP_SURVEY_NONE) {
            continue;
        }
        memcpy(&left, first + survey->nodes[i].parent * stride, sizeof(left));
        left =
            left > survey->nodes[i].total ? left - survey->nodes[i].total : 0;
        memcpy(first + survey->nodes[i].parent * stride, &left, sizeof(left));
    }
}

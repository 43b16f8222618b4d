/* The pile on which literals are parsed, and the literals that stay. */
#include "survey_parts.h"

/* Literals that are kept: so many, and one for so many bytes. */
#define FREE_KEPT      ((uint64_t)1 << 16)
#define BYTES_PER_KEPT 2

/* They were written a moment ago, in two halves: read as a whole they would have
 * to wait until all that was written before is in the cache. */
static inline void
copy_literal(fp_literal *to, const fp_literal *from)
{
    const volatile fp_literal *halves = from;

    to->kind = halves->kind;
    to->n = halves->n;
    to->u.place = halves->u.place;
}

/* How many lie above the topmost mark. */
int
fp_pile_above_mark(const fp_survey_run_state *run, size_t base, size_t *n)
{
    size_t i = run->pile.n;

    while (i > base && run->pile.rows[i - 1].kind != FP_LITERAL_MARK) {
        i--;
    }
    if (i == base) {
        return FP_NO_LITERAL;
    }
    *n = run->pile.n - i;
    return FP_PARSED;
}

int
fp_pile_drop(fp_survey_run_state *run, size_t base, size_t n)
{
    if (run->pile.n - base < n) {
        return FP_NO_LITERAL;
    }
    run->pile.n -= n;
    return FP_PARSED;
}

/* The topmost n become parts. */
static int
fp_pile_collect(fp_survey_run_state *run, size_t base, size_t n,
                fp_literal *result)
{
    if (run->pile.n - base < n) {
        return FP_NO_LITERAL;
    }
    if (fp_rows_grow(&run->parts.rows, &run->parts.capacity, run->parts.n + n,
                     sizeof(fp_literal))
        < 0)
    {
        return -1;
    }
    run->pile.n -= n;
    for (size_t i = 0; i < n; i++) {
        copy_literal(&run->parts.rows[run->parts.n + i],
                     &run->pile.rows[run->pile.n + i]);
    }
    result->n = (uint32_t)n;
    result->u.first = run->parts.n;
    run->parts.n += n;
    return FP_PARSED;
}

int
fp_pile_tuple(fp_survey_run_state *run, size_t base, size_t n, int has_mark)
{
    fp_literal tuple = {.kind = FP_LITERAL_TUPLE};
    int status = fp_pile_collect(run, base, n, &tuple);

    if (status == FP_PARSED && has_mark) {
        run->pile.n--;
    }
    return status == FP_PARSED ? fp_pile_push(run, tuple) : status;
}

/* Keys and values that lie on top go into the dict below them. */
int
fp_pile_items(fp_survey_run_state *run, size_t base, size_t n, int has_mark)
{
    fp_literal items = {.kind = FP_LITERAL_DICT};
    fp_literal *dict;
    size_t before;
    int status;

    if (run->pile.n - base < n + (size_t)has_mark + 1) {
        return FP_NO_LITERAL;
    }
    status = fp_pile_collect(run, base, n, &items);
    if (status != FP_PARSED) {
        return status;
    }
    run->pile.n -= (size_t)has_mark;
    dict = &run->pile.rows[run->pile.n - 1];
    if (dict->kind != FP_LITERAL_DICT) {
        /* Of something that is no literal; but not of one of the dicts here. */
        return dict->n == FP_PILE_DICT ? FP_NO_LITERAL : FP_PARSED;
    }
    before = dict->n;
    if (before > 0) { /* what it had is moved in front */
        if (run->pile.n + run->parts.n + before >= FP_PILE_ROWS) {
            return FP_NO_LITERAL;
        }
        if (fp_rows_grow(&run->parts.rows, &run->parts.capacity,
                         run->parts.n + before, sizeof(fp_literal))
            < 0)
        {
            return -1;
        }
        memmove(run->parts.rows + items.u.first + before,
                run->parts.rows + items.u.first, n * sizeof(fp_literal));
        memcpy(run->parts.rows + items.u.first,
               run->parts.rows + dict->u.first, before * sizeof(fp_literal));
        run->parts.n += before;
    }
    dict->n = (uint32_t)(before + n);
    dict->u.first = items.u.first;
    return FP_PARSED;
}

/* --- literals that stay -------------------------------------------------- */

static int
has_parts(const fp_literal *literal)
{
    return literal->kind == FP_LITERAL_TUPLE
           || literal->kind == FP_LITERAL_DICT;
}

/* The parts of literals are copied behind all that is there; those of the copies
 * follow in their turn. */
int
fp_keep_literal(fp_survey_run_state *run, const fp_literal *literal,
                uint32_t *number)
{
    fp_survey *survey = run->survey;
    size_t first = survey->n_literals;
    size_t at_most = (size_t)(FREE_KEPT + run->place / BYTES_PER_KEPT);

    if (at_most > FP_SURVEY_NONE) {
        at_most = FP_SURVEY_NONE;
    }
    if (fp_rows_grow(&survey->literals, &run->literals_capacity, first + 1,
                     sizeof(fp_literal))
        < 0)
    {
        return -1;
    }
    survey->literals[survey->n_literals++] = *literal;
    for (size_t i = first; i < survey->n_literals; i++) {
        fp_literal *copy = &survey->literals[i];
        size_t n = copy->n;
        if (!has_parts(copy) || n == 0) {
            continue;
        }
        if (survey->n_literals + n > at_most) {
            survey->n_literals = first;
            *number = FP_SURVEY_NONE;
            return 0;
        }
        if (fp_rows_grow(&survey->literals, &run->literals_capacity,
                         survey->n_literals + n, sizeof(fp_literal))
            < 0)
        {
            return -1;
        }
        copy = &survey->literals[i];
        memcpy(survey->literals + survey->n_literals,
               run->parts.rows + copy->u.first, n * sizeof(fp_literal));
        copy->u.first = survey->n_literals;
        survey->n_literals += n;
    }
    if (survey->n_literals > at_most) {
        survey->n_literals = first;
        *number = FP_SURVEY_NONE;
        return 0;
    }
    *number = (uint32_t)first;
    return 0;
}

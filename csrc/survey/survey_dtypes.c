/* Dtypes: what the calls and states that make them say. */
#include "survey_parts.h"

/* Dtypes in fields of dtypes ... */
#define MAX_DTYPE_DEPTH 32

/* The itemsize that a text such as "<f8" or "U9" tells, NONE where it does not;
 * *kind is its letter. */
static uint32_t
itemsize_of_text(const char *text, size_t n_bytes, char *kind)
{
    static const struct {
        char letter;
        uint8_t itemsize;
    } letters[] = {
        {'?', 1},  {'b', 1}, {'B', 1}, {'h', 2}, {'H', 2}, {'i', 4},
        {'I', 4},  {'q', 8}, {'Q', 8}, {'e', 2}, {'f', 4}, {'d', 8},
        {'D', 16}, {'F', 8}, {'O', 8}, {'c', 1},
    };
    size_t i = n_bytes > 0 && memchr("<>|=", text[0], 4) != NULL;
    uint64_t number = 0;
    size_t first;

    *kind = 0;
    if (i >= n_bytes) {
        return FP_SURVEY_NONE;
    }
    *kind = text[i++];
    first = i;
    while (i < n_bytes && text[i] >= '0' && text[i] <= '9') {
        number = number * 10 + (uint64_t)(text[i++] - '0');
        if (number > INT32_MAX) {
            return FP_SURVEY_NONE;
        }
    }
    if (i == first) {
        for (size_t k = 0; k < sizeof(letters) / sizeof(letters[0]); k++) {
            if (letters[k].letter == *kind && i == n_bytes) {
                return letters[k].itemsize;
            }
        }
        return FP_SURVEY_NONE;
    }
    if (memchr("mM", *kind, 2) != NULL && i < n_bytes && text[i] == '[') {
        return number == 8 ? 8 : FP_SURVEY_NONE; /* [ns] */
    }
    if (i != n_bytes) {
        return FP_SURVEY_NONE;
    }
    if (*kind == 'U') {
        return number <= INT32_MAX / 4 ? (uint32_t)number * 4 : FP_SURVEY_NONE;
    }
    return memchr("?bBhHiIlLqQefdgFDGOSaVmMuc", *kind, 26) != NULL
               ? (uint32_t)number
               : FP_SURVEY_NONE;
}

static int
new_dtype(fp_survey_run_state *run, fp_survey_dtype dtype, uint32_t *number)
{
    fp_survey *survey = run->survey;
    size_t n = survey->n_dtypes;

    if (fp_is_full(n)
        || fp_rows_grow(&survey->dtypes, &run->dtypes_capacity, n + 1,
                        sizeof(dtype))
               < 0)
    {
        return -1;
    }
    survey->dtypes[n] = dtype;
    survey->n_dtypes = n + 1;
    *number = (uint32_t)n;
    return 0;
}

static void
describe_text(fp_survey_run_state *run, fp_survey_dtype *dtype)
{
    size_t n_bytes;
    const char *text;
    char kind;

    if (dtype->text == FP_SURVEY_NONE) {
        return;
    }
    text = fp_survey_text(run->survey, dtype->text, &n_bytes);
    dtype->itemsize = itemsize_of_text(text, n_bytes, &kind);
    dtype->flags |= FP_DTYPE_TEXT;
    if (dtype->itemsize != FP_SURVEY_NONE) {
        dtype->flags |= FP_DTYPE_KNOWN;
    }
    if (kind == 'O') {
        dtype->flags |= FP_DTYPE_OBJECTS;
    }
    if (kind != 0 && memchr("SUVa", kind, 4) != NULL) {
        dtype->flags |= FP_DTYPE_SIZED;
    }
}

/* A dtype that is given as a text: each text once. */
static int
bare_dtype(fp_survey_run_state *run, uint32_t text, uint32_t *number)
{
    fp_survey_dtype dtype = {
        .place = run->place - 1,
        .arguments = FP_SURVEY_NONE,
        .state = FP_SURVEY_NONE,
        .text = text,
        .itemsize = FP_SURVEY_NONE,
    };
    size_t n_texts = run->texts.n;

    /* By the text's number. */
    if (run->dtype_table_size < n_texts) {
        size_t before = run->dtype_table_size;
        if (fp_rows_grow(&run->dtype_table, &run->dtype_table_size, n_texts,
                         sizeof(uint32_t))
            < 0)
        {
            return -1;
        }
        memset(run->dtype_table + before, 0xff,
               (run->dtype_table_size - before) * sizeof(uint32_t));
    }
    *number = run->dtype_table[text];
    if (*number != FP_SURVEY_NONE) {
        return 0;
    }
    describe_text(run, &dtype);
    if (new_dtype(run, dtype, number) < 0) {
        return -1;
    }
    run->dtype_table[text] = *number;
    return 0;
}

/* Looks for dtypes within the literal that was kept last: whether they may be
 * used, how deep they go, whether they hold objects. `number` is the dtype's
 * own, if it has one. */
static int
look_at_parts(fp_survey_run_state *run, uint32_t number, uint32_t literal,
              fp_survey_dtype *dtype)
{
    fp_survey *survey = run->survey;

    /* What was kept last is at the end. */
    for (size_t i = literal; i < survey->n_literals; i++) {
        const fp_literal *part = &survey->literals[i];
        fp_survey_dtype *inner;
        if (part->kind != FP_LITERAL_DTYPE) {
            continue;
        }
        inner = &survey->dtypes[part->u.number];
        if (part->u.number == number || inner->depth >= MAX_DTYPE_DEPTH) {
            return 0;
        }
        inner->flags |= FP_DTYPE_NAMED;
        if (inner->depth >= dtype->depth) {
            dtype->depth = (uint8_t)(inner->depth + 1);
        }
        if (inner->flags & FP_DTYPE_OBJECTS) {
            dtype->flags |= FP_DTYPE_OBJECTS;
        }
    }
    return 1;
}

/* Types of numpy that have no size of their own. */
static int
is_void_type(const fp_survey_run_state *run, const fp_survey_global *global)
{
    return fp_is_text(run, global->module, "numpy")
           && (fp_is_text(run, global->name, "void")
               || fp_is_text(run, global->name, "record"));
}

/* What a dtype's first argument is, other than a text. */
static void
describe_argument(const fp_survey_run_state *run, const fp_literal *argument,
                  fp_survey_dtype *dtype)
{
    if (argument->kind == FP_LITERAL_GLOBAL) {
        const fp_survey_global *global =
            &run->survey->globals[argument->u.number];
        if (is_void_type(run, global)) {
            dtype->flags |= FP_DTYPE_SIZED;
        }
        else if (!fp_is_text(run, global->module, "numpy")) {
            dtype->flags |= FP_DTYPE_OF_TYPE;
        }
    }
}

int
fp_reduce_dtype(fp_survey_run_state *run, fp_value *value,
                const fp_value *args)
{
    fp_survey_dtype dtype = {
        .place = run->place - 1,
        .arguments = FP_SURVEY_NONE,
        .state = FP_SURVEY_NONE,
        .text = FP_SURVEY_NONE,
        .itemsize = FP_SURVEY_NONE,
    };
    const fp_literal *literal;
    uint32_t number;

    if (fp_parse_literal(run, fp_place_of(args->head), run->place - 1,
                         &literal)
        < 0)
    {
        return -1;
    }
    if (literal->kind == FP_LITERAL_TUPLE && literal->n > 0) {
        const fp_literal *first = fp_literal_parts(run, literal);
        if ((first->kind == FP_LITERAL_STR
             && fp_intern_old_literal(run, first->u.place, &dtype.text) < 0)
            || fp_keep_literal(run, literal, &dtype.arguments) < 0)
        {
            return -1;
        }
        describe_text(run, &dtype);
        describe_argument(run, first, &dtype);
        if (dtype.arguments != FP_SURVEY_NONE
            && !look_at_parts(run, FP_SURVEY_NONE, dtype.arguments, &dtype))
        {
            dtype.arguments = FP_SURVEY_NONE;
        }
    }
    if (new_dtype(run, dtype, &number) < 0) {
        return -1;
    }
    value->head = fp_place_of(value->head) | FP_HEAD(FP_VALUE_DTYPE, 0);
    value->what = number;
    return 0;
}

/* The size that a state says: NumPy looks at it where the type has none of its
 * own. 0: it is not what NumPy would have written. */
static int
take_itemsize(const fp_literal *itemsize, fp_survey_dtype *dtype)
{
    int is_size = itemsize->kind == FP_LITERAL_INT && itemsize->u.number >= 0
                  && itemsize->u.number <= INT32_MAX;

    if (dtype->flags & (FP_DTYPE_SIZED | FP_DTYPE_OF_TYPE)) {
        dtype->itemsize =
            is_size ? (uint32_t)itemsize->u.number : FP_SURVEY_NONE;
        return is_size;
    }
    return itemsize->kind == FP_LITERAL_INT
           && (itemsize->u.number == -1
               || (is_size
                   && (uint32_t)itemsize->u.number == dtype->itemsize));
}

/* (version, order, subarray, names, fields, itemsize, alignment, flags
 * [, metadata]): 1, or 0 where it is not as NumPy writes it. *is_text: it adds no
 * more to the text than an order. `dtype` knows about the parts already. */
static int
describe_state(fp_survey_run_state *run, const fp_literal *state,
               fp_survey_dtype *dtype, int *is_text)
{
    const fp_literal *parts = fp_literal_parts(run, state);
    fp_leaf_bytes leaf;
    int has_objects;

    *is_text = 0;
    if (state->kind != FP_LITERAL_TUPLE || state->n < 8 || state->n > 9
        || parts[0].kind != FP_LITERAL_INT || parts[0].u.number < 3
        || parts[0].u.number > 4 || parts[1].kind != FP_LITERAL_STR
        || !fp_leaf_at(run->survey, parts[1].u.place, &leaf))
    {
        return 0;
    }
    if (leaf.opcode == OP_STRING && leaf.n_kept == 3) {
        leaf.data++; /* in quotes */
        leaf.n_kept = 1;
    }
    if (leaf.n_kept != 1 || memchr("<>|=", leaf.data[0], 4) == NULL) {
        return 0;
    }
    dtype->order = (char)leaf.data[0];
    /* Its flags say whether NumPy takes it for objects. */
    has_objects = (dtype->flags & FP_DTYPE_OBJECTS) != 0;
    if (!take_itemsize(&parts[5], dtype) || parts[6].kind != FP_LITERAL_INT
        || parts[7].kind != FP_LITERAL_INT
        || (has_objects != (parts[7].u.number & 1)
            && !(dtype->flags & FP_DTYPE_OF_TYPE)))
    {
        return 0;
    }
    if (parts[7].u.number & 1) {
        dtype->flags |= FP_DTYPE_OBJECTS;
    }
    *is_text = state->n == 8 || parts[8].kind == FP_LITERAL_NONE;
    for (int i = 2; i < 5; i++) {
        *is_text &= parts[i].kind == FP_LITERAL_NONE;
    }
    return 1;
}

int
fp_build_dtype(fp_survey_run_state *run, fp_value *value, uint64_t state_start,
               uint64_t state_end)
{
    fp_survey_dtype *dtype = &run->survey->dtypes[value->what];
    fp_survey_dtype built = *dtype;
    const fp_literal *state;
    uint32_t kept;
    int is_text = 0, is_good;

    if (fp_parse_literal(run, state_start, state_end, &state) < 0
        || fp_keep_literal(run, state, &kept) < 0)
    {
        return -1;
    }
    built.flags &= (uint8_t)~(FP_DTYPE_TEXT | FP_DTYPE_KNOWN);
    built.state = kept;
    built.flags |= FP_DTYPE_BUILT;
    /* A second state, or one that others have looked at: nobody does that, and
     * dtypes must not contain themselves. */
    is_good = !(dtype->flags & (FP_DTYPE_BUILT | FP_DTYPE_NAMED))
              && kept != FP_SURVEY_NONE && built.arguments != FP_SURVEY_NONE
              && look_at_parts(run, value->what, kept, &built)
              && describe_state(run, state, &built, &is_text);
    if (!is_good) {
        built.state = FP_SURVEY_NONE;
        built.arguments = FP_SURVEY_NONE;
        built.itemsize = FP_SURVEY_NONE;
        built.flags |= FP_DTYPE_DOUBTFUL;
        is_text = 0;
    }
    if (built.itemsize != FP_SURVEY_NONE) {
        built.flags |= FP_DTYPE_KNOWN;
    }
    if (is_text && built.text != FP_SURVEY_NONE) {
        built.flags |= FP_DTYPE_TEXT;
    }
    run->survey->dtypes[value->what] = built;
    return 0;
}

int
fp_take_dtype(fp_survey_run_state *run, fp_survey_array *array,
              const fp_literal *literal)
{
    uint32_t text;

    if (literal->kind == FP_LITERAL_DTYPE) {
        array->dtype = (uint32_t)literal->u.number;
        return 0;
    }
    if (literal->kind != FP_LITERAL_STR) {
        return 0;
    }
    /* Mostly that of the array before, by the memo. */
    if (literal->u.place == run->dtype_place) {
        array->dtype = run->dtype_there;
        return 0;
    }
    if (fp_intern_old_literal(run, literal->u.place, &text) < 0
        || (text != FP_SURVEY_NONE
            && bare_dtype(run, text, &array->dtype) < 0))
    {
        return -1;
    }
    run->dtype_place = literal->u.place;
    run->dtype_there = array->dtype;
    return 0;
}

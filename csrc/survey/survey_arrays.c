/* Arrays and dtypes: what the calls and states that make them say. */
#include "survey_parts.h"

#include "core/block_hash.h"

#define MAX_DIMS 64
/* Dtypes in fields of dtypes ... */
#define MAX_DTYPE_DEPTH 32
/* Leaves are looked at so far back, for the one that holds an array's bytes. */
#define RECENT_LEAVES 8

/* --- dtypes -------------------------------------------------------------- */

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

    if (n >= FP_SURVEY_NONE
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
    fp_literal literal;
    uint32_t number;

    if (fp_parse_literal(run, fp_place_of(args->head), run->place - 1,
                         &literal)
        < 0)
    {
        return -1;
    }
    if (literal.kind == FP_LITERAL_TUPLE && literal.n > 0) {
        const fp_literal *first = fp_literal_parts(run, &literal);
        if ((first->kind == FP_LITERAL_STR
             && fp_intern_literal(run, first->u.place, &dtype.text) < 0)
            || fp_keep_literal(run, &literal, &dtype.arguments) < 0)
        {
            return -1;
        }
        describe_text(run, &dtype);
    }
    if (new_dtype(run, dtype, &number) < 0) {
        return -1;
    }
    value->head = fp_place_of(value->head) | FP_HEAD(FP_VALUE_DTYPE, 0);
    value->what = number;
    return 0;
}

/* Looks for dtypes within: whether they may be used, how deep they go, whether
 * they hold objects. */
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

/* (version, order, subarray, names, fields, itemsize, alignment, flags
 * [, metadata]): whether it adds no more to the text than an order. */
static int
describe_state(fp_survey_run_state *run, const fp_literal *state,
               fp_survey_dtype *dtype)
{
    const fp_literal *parts = fp_literal_parts(run, state);
    fp_leaf_bytes leaf;
    int is_text = 1;

    if (state->kind != FP_LITERAL_TUPLE || state->n < 8 || state->n > 9
        || parts[1].kind != FP_LITERAL_STR
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
    for (int i = 2; i < 5; i++) {
        is_text &= parts[i].kind == FP_LITERAL_NONE;
    }
    if (parts[5].kind == FP_LITERAL_INT && parts[5].u.number >= 0
        && parts[5].u.number <= INT32_MAX)
    {
        dtype->itemsize = (uint32_t)parts[5].u.number;
    }
    if (parts[7].kind == FP_LITERAL_INT && parts[7].u.number & 1) {
        dtype->flags |= FP_DTYPE_OBJECTS;
    }
    return is_text && (state->n == 8 || parts[8].kind == FP_LITERAL_NONE);
}

int
fp_build_dtype(fp_survey_run_state *run, fp_value *value, uint64_t state_start,
               uint64_t state_end)
{
    fp_survey_dtype *dtype = &run->survey->dtypes[value->what];
    fp_survey_dtype built = *dtype;
    fp_literal state;
    uint32_t kept;
    int is_text;

    if (fp_parse_literal(run, state_start, state_end, &state) < 0
        || fp_keep_literal(run, &state, &kept) < 0)
    {
        return -1;
    }
    built.flags &= (uint8_t)~(FP_DTYPE_TEXT | FP_DTYPE_KNOWN);
    is_text =
        state.kind != FP_LITERAL_OTHER && describe_state(run, &state, &built);
    built.state = kept;
    built.flags |= FP_DTYPE_BUILT;
    /* A second state, or one that others have looked at: nobody does that, and
     * dtypes must not contain themselves. */
    if (dtype->flags & (FP_DTYPE_BUILT | FP_DTYPE_NAMED)
        || kept == FP_SURVEY_NONE || built.arguments == FP_SURVEY_NONE
        || state.kind != FP_LITERAL_TUPLE
        || !look_at_parts(run, value->what, kept, &built))
    {
        built.state = FP_SURVEY_NONE;
        built.arguments = FP_SURVEY_NONE;
        built.itemsize = FP_SURVEY_NONE;
        built.flags &= (uint8_t)~FP_DTYPE_OBJECTS;
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

/* --- blobs --------------------------------------------------------------- */

/* A blob with its padding, prefix and suffix. */
static uint64_t
region_of(const fp_survey_options *options, uint32_t number)
{
    const fp_blob *blob = &options->blobs[number];
    unsigned char suffix[FP_BLOB_SUFFIX_MAX];
    uint64_t start = FP_HEADER_BYTES;
    uint64_t end = blob->offset + blob->length
                   + fp_blob_suffix_encode(suffix, blob->memo_number);

    if (number > 0) {
        const fp_blob *before = blob - 1;
        start = before->offset + before->length
                + fp_blob_suffix_encode(suffix, before->memo_number);
    }
    return end - start;
}

int
fp_count_blob(fp_survey_run_state *run, uint32_t number, uint64_t n_bytes)
{
    uint64_t *counted = &run->counted[number];
    uint64_t n_left = region_of(&run->survey->options, number) - *counted;

    if (n_bytes > n_left) {
        n_bytes = n_left;
    }
    *counted += n_bytes;
    run->survey->sums.blobs += n_bytes;
    return n_bytes == 0 ? 0 : fp_add_seam(run, (int64_t)n_bytes);
}

/* --- shapes -------------------------------------------------------------- */

static size_t
numbers_of(const fp_survey_array *array)
{
    return (size_t)array->n_dims * (array->order == 'A' ? 2 : 1);
}

static size_t
shape_slot(fp_survey_run_state *run, const int64_t *numbers, size_t n)
{
    const fp_survey *survey = run->survey;
    size_t mask = run->shape_table_size - 1;
    size_t slot = (size_t)(fp_xxh3(numbers, n * sizeof(int64_t)) + n) & mask;

    while (run->shape_table[slot] != FP_SURVEY_NONE) {
        const fp_survey_array *known = &survey->arrays[run->shape_table[slot]];
        if (numbers_of(known) == n
            && memcmp(survey->numbers + known->shape, numbers,
                      n * sizeof(int64_t))
                   == 0)
        {
            break;
        }
        slot = (slot + 1) & mask;
    }
    return slot;
}

static int
grow_shapes(fp_survey_run_state *run)
{
    uint32_t *old = run->shape_table;
    size_t old_size = run->shape_table_size;
    size_t size = old_size == 0 ? 64 : 2 * old_size;

    if (run->n_shapes < old_size / 4 * 3) {
        return 0;
    }
    run->shape_table = PyMem_RawMalloc(size * sizeof(uint32_t));
    if (run->shape_table == NULL) {
        run->shape_table = old;
        PyErr_NoMemory();
        return -1;
    }
    memset(run->shape_table, 0xff, size * sizeof(uint32_t));
    run->shape_table_size = size;
    for (size_t i = 0; i < old_size; i++) {
        if (old[i] != FP_SURVEY_NONE) {
            const fp_survey_array *array = &run->survey->arrays[old[i]];
            run->shape_table[shape_slot(
                run, run->survey->numbers + array->shape, numbers_of(array))] =
                old[i];
        }
    }
    PyMem_RawFree(old);
    return 0;
}

/* n numbers in all, each run of them once. */
static int
keep_shape(fp_survey_run_state *run, fp_survey_array *array,
           const int64_t *numbers, size_t n)
{
    fp_survey *survey = run->survey;
    size_t slot;

    if (grow_shapes(run) < 0) {
        return -1;
    }
    slot = shape_slot(run, numbers, n);
    if (run->shape_table[slot] != FP_SURVEY_NONE) {
        array->shape = survey->arrays[run->shape_table[slot]].shape;
        return 0;
    }
    if (survey->n_numbers + n >= FP_SURVEY_NONE
        || fp_rows_grow(&survey->numbers, &run->numbers_capacity,
                        survey->n_numbers + n + 1, sizeof(int64_t))
               < 0)
    {
        return -1;
    }
    if (n > 0) {
        memcpy(survey->numbers + survey->n_numbers, numbers,
               n * sizeof(int64_t));
    }
    array->shape = (uint32_t)survey->n_numbers;
    survey->n_numbers += n;
    run->shape_table[slot] = (uint32_t)(array - survey->arrays);
    run->n_shapes++;
    return 0;
}

static int
numbers_of_literal(const fp_survey_run_state *run, const fp_literal *literal,
                   int64_t *numbers)
{
    const fp_literal *parts = fp_literal_parts(run, literal);

    if (literal->kind == FP_LITERAL_INT) {
        numbers[0] = literal->u.number;
        return 1;
    }
    if (literal->kind != FP_LITERAL_TUPLE || literal->n > MAX_DIMS) {
        return -1;
    }
    for (uint32_t i = 0; i < literal->n; i++) {
        if (parts[i].kind != FP_LITERAL_INT) {
            return -1;
        }
        numbers[i] = parts[i].u.number;
    }
    return (int)literal->n;
}

int
fp_take_shape(fp_survey_run_state *run, fp_survey_array *array,
              const fp_literal *shape, const fp_literal *strides)
{
    int64_t numbers[2 * MAX_DIMS];
    int n = numbers_of_literal(run, shape, numbers);

    if (n < 0) {
        return 0;
    }
    for (int i = 0; i < n; i++) {
        if (numbers[i] < 0) {
            return 0;
        }
    }
    if (strides != NULL && numbers_of_literal(run, strides, numbers + n) != n)
    {
        return 0;
    }
    array->n_dims = (uint8_t)n;
    if (strides != NULL) {
        array->order = 'A';
    }
    return keep_shape(run, array, numbers, numbers_of(array)) < 0 ? -1 : 1;
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
    if (fp_intern_literal(run, literal->u.place, &text) < 0) {
        return -1;
    }
    return text == FP_SURVEY_NONE ? 0 : bare_dtype(run, text, &array->dtype);
}

int
fp_array_size(const fp_survey_run_state *run, const fp_survey_array *array,
              uint64_t *n_bytes)
{
    const fp_survey *survey = run->survey;
    const int64_t *shape = survey->numbers + array->shape;
    uint64_t product;
    int is_empty = 0;

    if (array->n_dims == FP_SURVEY_NO_SHAPE || array->dtype == FP_SURVEY_NONE
        || !(survey->dtypes[array->dtype].flags & FP_DTYPE_KNOWN))
    {
        return 0;
    }
    product = survey->dtypes[array->dtype].itemsize;
    for (int i = 0; i < array->n_dims; i++) {
        is_empty |= shape[i] == 0;
        if (shape[i] > 0
            && (__builtin_mul_overflow(product, (uint64_t)shape[i], &product)
                || product > (uint64_t)PY_SSIZE_T_MAX))
        {
            return 0;
        }
    }
    *n_bytes = is_empty ? 0 : product;
    return 1;
}

/* --- where the bytes are ------------------------------------------------- */

/* The leaf whose bytes, at that offset, an array takes is listed with the
 * array. */
static void
mark_leaf(fp_survey *survey, uint64_t offset)
{
    size_t n = survey->n_leaves;

    for (size_t i = 0; i < RECENT_LEAVES && i < n; i++) {
        fp_survey_leaf *leaf = &survey->leaves[n - 1 - i];
        if (leaf->offset == offset) {
            leaf->in_array = 1;
            return;
        }
    }
}

/* What stands in the place of a buffer. *n_there is how many bytes it has,
 * UINT64_MAX where nobody knows. 1, or 0 where it is nothing of the kind. */
static int
find_bytes(fp_survey_run_state *run, fp_survey_array *array,
           const fp_literal *buffer, uint64_t *n_there)
{
    uint64_t n_bytes;
    fp_survey *survey = run->survey;
    const fp_survey_options *options = &survey->options;
    fp_leaf_bytes leaf;
    size_t number;

    *n_there = UINT64_MAX;
    switch (buffer->kind) {
    case FP_LITERAL_BLOB:
        array->stored = FP_STORED_BLOB;
        array->payload = (uint32_t)buffer->u.number;
        array->offset =
            options->dump_start + options->blobs[array->payload].offset;
        *n_there = options->blobs[array->payload].length;
        return 1;
    case FP_LITERAL_BUFFER:
        array->stored = FP_STORED_BUFFER;
        array->payload = (uint32_t)buffer->u.number;
        array->offset = 0;
        return 1;
    case FP_LITERAL_ENCODED:
        array->stored = FP_STORED_TEXT;
        array->offset = fp_survey_offset(survey, buffer->u.place);
        if (fp_leaf_at(survey, buffer->u.place, &leaf)) {
            uint64_t first = (uint64_t)(leaf.data - survey->skeleton);
            mark_leaf(survey, fp_survey_offset(survey, first));
            if (fp_payload_at(survey, first, &number)) {
                array->payload = (uint32_t)number;
            }
        }
        return 1;
    case FP_LITERAL_LIST:
        array->stored = FP_STORED_ELEMENTS;
        return 1;
    case FP_LITERAL_BYTES:
    case FP_LITERAL_STR: /* of Python 2 */
        break;
    default: /* no bytes are written in many ways */
        *n_there = 0;
        return fp_array_size(run, array, &n_bytes) && n_bytes == 0;
    }
    if (!fp_leaf_at(survey, buffer->u.place, &leaf) || leaf.opcode == OP_STRING
        || (buffer->kind == FP_LITERAL_STR && leaf.opcode != OP_BINSTRING
            && leaf.opcode != OP_SHORT_BINSTRING))
    {
        return 0;
    }
    array->stored = FP_STORED_INLINE;
    array->offset =
        fp_survey_offset(survey, (uint64_t)(leaf.data - survey->skeleton));
    *n_there = leaf.n_whole;
    if (leaf.n_whole >= FP_SURVEY_PAYLOAD_BYTES
        && fp_payload_at(survey, (uint64_t)(leaf.data - survey->skeleton),
                         &number))
    {
        array->stored = FP_STORED_PAYLOAD;
        array->payload = (uint32_t)number;
        array->offset = survey->payloads[number].offset;
    }
    return 1;
}

/* From the first byte of the first element to behind the last one; 0: strides
 * that go backwards, or too far. */
static int
strided_extent(const fp_survey_run_state *run, const fp_survey_array *array,
               uint64_t *n_bytes)
{
    const int64_t *shape = run->survey->numbers + array->shape;
    const int64_t *strides = shape + array->n_dims;
    uint64_t extent = run->survey->dtypes[array->dtype].itemsize;

    for (int i = 0; i < array->n_dims; i++) {
        uint64_t step;
        if (strides[i] < 0
            || __builtin_mul_overflow((uint64_t)strides[i],
                                      (uint64_t)shape[i] - 1, &step)
            || __builtin_add_overflow(extent, step, &extent))
        {
            return 0;
        }
    }
    *n_bytes = extent;
    return 1;
}

/* The bytes begin `skip` behind those that were found, of which there are
 * n_there. */
static int
place_bytes(fp_survey_run_state *run, fp_survey_array *array, uint64_t skip,
            uint64_t n_there)
{
    uint64_t n_bytes, extent;
    int is_known = fp_array_size(run, array, &n_bytes);
    int fits = skip <= n_there;

    n_there = fits ? n_there - skip : 0;
    if (array->offset != FP_SURVEY_NOWHERE) {
        array->offset += skip;
    }
    if (!is_known) {
        array->n_bytes = n_there == UINT64_MAX ? 0 : n_there;
    }
    else {
        extent = n_bytes;
        if (array->order == 'A' && n_bytes > 0
            && !strided_extent(run, array, &extent))
        {
            fits = 0;
        }
        fits &= extent <= n_there;
        array->n_bytes = n_bytes <= n_there ? n_bytes : n_there;
    }
    if (!fits) {
        array->flags |= FP_ARRAY_BEYOND;
        fp_odd(run, FP_ODD_ARRAY_BEYOND, run->place - 1);
    }
    if (array->stored == FP_STORED_BLOB) {
        int is_whole = skip == 0 && array->n_bytes == n_there;
        if (fp_count_blob(run, array->payload,
                          is_whole ? UINT64_MAX : array->n_bytes)
            < 0)
        {
            return -1;
        }
    }
    if (is_known && n_bytes == 0) {
        array->stored = FP_STORED_NOWHERE;
        array->offset = FP_SURVEY_NOWHERE;
        array->payload = FP_SURVEY_NONE;
    }
    else {
        mark_leaf(run->survey, array->offset);
    }
    return 0;
}

/* --- arrays -------------------------------------------------------------- */

int
fp_new_array(fp_survey_run_state *run, fp_value *value, uint32_t maker)
{
    fp_survey *survey = run->survey;
    size_t n = survey->n_arrays;

    if (n >= FP_SURVEY_NONE
        || fp_rows_grow(&survey->arrays, &run->arrays_capacity, n + 1,
                        sizeof(fp_survey_array))
               < 0
        || fp_ensure_node(run, value) < 0)
    {
        return -1;
    }
    survey->arrays[n] = (fp_survey_array){
        .offset = FP_SURVEY_NOWHERE,
        .node = value->node,
        .dtype = FP_SURVEY_NONE,
        .payload = FP_SURVEY_NONE,
        .maker = maker,
        .n_dims = FP_SURVEY_NO_SHAPE,
        .order = 'C',
        .stored = FP_STORED_UNKNOWN,
    };
    survey->n_arrays = n + 1;
    value->head =
        fp_place_of(value->head)
        | FP_HEAD(FP_VALUE_ARRAY,
                  FP_IS_NOTABLE | (fp_flags_of(value->head) & FP_IS_LARGE));
    value->what = (uint32_t)n;
    survey->nodes[value->node].what = (uint32_t)n;
    survey->nodes[value->node].place =
        (survey->nodes[value->node].place & ((UINT64_C(1) << 56) - 1))
        | (uint64_t)FP_VALUE_ARRAY << 56;
    return 0;
}

static int
is_fortran(const fp_survey_run_state *run, const fp_literal *order)
{
    fp_leaf_bytes leaf;

    return order->kind == FP_LITERAL_STR
           && fp_leaf_at(run->survey, order->u.place, &leaf)
           && leaf.n_kept == 1 && leaf.data[0] == 'F';
}

/* numpy.ndarray(shape, dtype, buffer, offset, strides, order): 1, or 0 where it
 * cannot be described. */
static int
describe_constructed(fp_survey_run_state *run, fp_survey_array *array,
                     const fp_literal *args)
{
    const fp_literal *parts = fp_literal_parts(run, args);
    const fp_literal *strides = NULL;
    uint64_t n_there = 0, skip = 0;
    int status;

    if (args->kind != FP_LITERAL_TUPLE || args->n < 2 || args->n > 6) {
        return 0;
    }
    if (args->n > 4 && parts[4].kind != FP_LITERAL_NONE) {
        strides = &parts[4];
    }
    if (args->n > 5 && is_fortran(run, &parts[5])) {
        array->order = 'F';
    }
    if (args->n > 3) {
        if (parts[3].kind != FP_LITERAL_INT || parts[3].u.number < 0) {
            return 0;
        }
        skip = (uint64_t)parts[3].u.number;
    }
    status = fp_take_shape(run, array, &parts[0], strides);
    if (status <= 0 || fp_take_dtype(run, array, &parts[1]) < 0) {
        return status <= 0 ? status : -1;
    }
    if (args->n > 2 && parts[2].kind != FP_LITERAL_NONE) {
        if (!find_bytes(run, array, &parts[2], &n_there)) {
            return 0;
        }
    }
    else {
        array->stored = FP_STORED_NOWHERE;
    }
    return place_bytes(run, array, skip, n_there) < 0 ? -1 : 1;
}

/* An array that lies in C order, seen with its axes in another order: the strides
 * of that. 1, or 0 where it is no such order. */
static int
transpose(fp_survey_run_state *run, fp_survey_array *array,
          const fp_literal *axes)
{
    const fp_literal *parts = fp_literal_parts(run, axes);
    const int64_t *shape = run->survey->numbers + array->shape;
    int64_t strides[MAX_DIMS], turned[2 * MAX_DIMS];
    uint64_t seen = 0, n_bytes;
    int64_t step;
    int n = array->n_dims;

    if (axes->kind != FP_LITERAL_TUPLE || axes->n != (uint32_t)n
        || !fp_array_size(run, array, &n_bytes))
    {
        return 0;
    }
    step = run->survey->dtypes[array->dtype].itemsize;
    for (int i = n; i-- > 0;) {
        strides[i] = step;
        step *= shape[i] > 0 ? shape[i] : 1; /* no more than fits */
    }
    for (int i = 0; i < n; i++) {
        int64_t axis = parts[i].u.number;
        if (parts[i].kind != FP_LITERAL_INT || axis < 0 || axis >= n
            || seen >> axis & 1)
        {
            return 0;
        }
        seen |= UINT64_C(1) << axis;
        turned[i] = shape[axis];
        turned[n + i] = strides[axis];
    }
    array->order = 'A';
    return keep_shape(run, array, turned, 2 * (size_t)n) < 0 ? -1 : 1;
}

/* _frombuffer(buffer, dtype, shape, order [, axes]) */
static int
describe_from_buffer(fp_survey_run_state *run, fp_survey_array *array,
                     const fp_literal *args)
{
    const fp_literal *parts = fp_literal_parts(run, args);
    uint64_t n_there;
    int status;

    if (args->kind != FP_LITERAL_TUPLE || args->n < 4) {
        return 0;
    }
    if (is_fortran(run, &parts[3])) {
        array->order = 'F';
    }
    status = fp_take_shape(run, array, &parts[2], NULL);
    if (status <= 0 || fp_take_dtype(run, array, &parts[1]) < 0) {
        return status <= 0 ? status : -1;
    }
    if (args->n > 4 && parts[4].kind != FP_LITERAL_NONE) {
        status = transpose(run, array, &parts[4]);
        if (status <= 0) {
            return status;
        }
    }
    if (!find_bytes(run, array, &parts[0], &n_there)) {
        return 0;
    }
    return place_bytes(run, array, 0, n_there) < 0 ? -1 : 1;
}

int
fp_reduce_array(fp_survey_run_state *run, fp_value *value,
                const fp_value *args, uint32_t global)
{
    int role = run->survey->globals[global].role;
    fp_survey_array *array;
    fp_literal literal;
    int status;

    if (fp_new_array(run, value, global) < 0
        || fp_parse_literal(run, fp_place_of(args->head), run->place - 1,
                            &literal)
               < 0)
    {
        return -1;
    }
    array = &run->survey->arrays[value->what];
    if (role == FP_ROLE_RECONSTRUCT) { /* its state says all but the class */
        const fp_literal *first = fp_literal_parts(run, &literal);
        if (literal.kind == FP_LITERAL_TUPLE && literal.n > 0
            && first->kind == FP_LITERAL_GLOBAL)
        {
            array->maker = (uint32_t)first->u.number;
        }
        return 0;
    }
    status = role == FP_ROLE_NDARRAY
                 ? describe_constructed(run, array, &literal)
                 : describe_from_buffer(run, array, &literal);
    if (status == 0) {
        array->stored = FP_STORED_UNKNOWN;
        fp_odd(run, FP_ODD_UNKNOWN_ARRAY, run->place - 1);
    }
    return status < 0 ? -1 : 0;
}

/* ([version,] shape, dtype, is_fortran, bytes or elements) */
int
fp_build_array(fp_survey_run_state *run, fp_value *value, uint64_t state_start,
               uint64_t state_end)
{
    fp_survey_array *array = &run->survey->arrays[value->what];
    const fp_literal *parts;
    fp_literal state;
    uint64_t n_there;
    int status = 0;

    if (fp_parse_literal(run, state_start, state_end, &state) < 0) {
        return -1;
    }
    parts = fp_literal_parts(run, &state);
    if (state.kind == FP_LITERAL_TUPLE && (state.n == 4 || state.n == 5)
        && array->n_dims == FP_SURVEY_NO_SHAPE)
    {
        parts += state.n - 4;
        if ((parts[2].kind == FP_LITERAL_BOOL
             || parts[2].kind == FP_LITERAL_INT)
            && parts[2].u.number != 0)
        {
            array->order = 'F';
        }
        status = fp_take_shape(run, array, &parts[0], NULL);
        if (status < 0 || fp_take_dtype(run, array, &parts[1]) < 0) {
            return -1;
        }
        if (status > 0 && !find_bytes(run, array, &parts[3], &n_there)) {
            status = 0;
        }
        if (status > 0 && array->stored != FP_STORED_ELEMENTS
            && place_bytes(run, array, 0, n_there) < 0)
        {
            return -1;
        }
    }
    if (status == 0) {
        array->stored = FP_STORED_UNKNOWN;
        fp_odd(run, FP_ODD_UNKNOWN_ARRAY, run->place - 1);
    }
    return 0;
}

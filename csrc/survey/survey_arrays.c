/* Arrays and dtypes: what the calls and states that make them say. */
#include "survey_parts.h"

/* Leaves are looked at so far back, for the one that holds an array's bytes. */
#define RECENT_LEAVES 8

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

    if (fp_is_full(n)
        || fp_rows_grow(&survey->arrays, &run->arrays_capacity, n + 1,
                        sizeof(fp_survey_array))
               < 0
        || (!survey->options.only_names && fp_ensure_node(run, value) < 0))
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
    value->what = (uint32_t)n;
    if (survey->options.only_names) {
        value->head = fp_place_of(value->head)
                      | FP_HEAD(FP_VALUE_ARRAY, fp_flags_of(value->head));
        return 0;
    }
    value->head =
        fp_place_of(value->head)
        | FP_HEAD(FP_VALUE_ARRAY,
                  FP_IS_NOTABLE | (fp_flags_of(value->head) & FP_IS_LARGE));
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
    int64_t strides[FP_SURVEY_MAX_DIMS], turned[2 * FP_SURVEY_MAX_DIMS];
    uint64_t seen = 0, n_bytes;
    int64_t step;
    int n = array->n_dims;
    int status;

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
    status = fp_keep_shape(run, array, turned, 2 * (size_t)n);
    if (status > 0) {
        array->order = 'A';
    }
    return status;
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
    const fp_literal *literal;
    int status;

    if (fp_new_array(run, value, global) < 0) {
        return -1;
    }
    if (run->survey->options.only_names && role != FP_ROLE_RECONSTRUCT) {
        return 0;
    }
    if (fp_parse_literal(run, fp_place_of(args->head), run->place - 1,
                         &literal)
        < 0)
    {
        return -1;
    }
    array = &run->survey->arrays[value->what];
    if (role == FP_ROLE_RECONSTRUCT) { /* its state says all but the class */
        const fp_literal *first = fp_literal_parts(run, literal);
        if (literal->kind == FP_LITERAL_TUPLE && literal->n > 0
            && first->kind == FP_LITERAL_GLOBAL)
        {
            array->maker = (uint32_t)first->u.number;
        }
        return 0;
    }
    status = role == FP_ROLE_NDARRAY
                 ? describe_constructed(run, array, literal)
                 : describe_from_buffer(run, array, literal);
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
    const fp_literal *state;
    uint64_t n_there;
    int status = 0;

    if (run->survey->options.only_names) {
        return 0;
    }
    if (fp_parse_literal(run, state_start, state_end, &state) < 0) {
        return -1;
    }
    parts = fp_literal_parts(run, state);
    if (state->kind == FP_LITERAL_TUPLE && (state->n == 4 || state->n == 5)
        && array->n_dims == FP_SURVEY_NO_SHAPE)
    {
        parts += state->n - 4;
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

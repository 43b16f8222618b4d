/* Shapes and strides, each of them once. */
#include "survey_parts.h"

#include "core/block_hash.h"

/* So many are kept, and one for so many bytes: shapes and strides in all their
 * combinations would be more than what they are made of. */
#define FREE_NUMBERS     ((uint64_t)1 << 19)
#define BYTES_PER_NUMBER 2

static size_t
shape_slot(const fp_survey_run_state *run, const int64_t *numbers, size_t n)
{
    size_t mask = run->shape_table_size - 1;
    size_t slot =
        (size_t)fp_xxh3_seeded(numbers, n * sizeof(int64_t), run->seed) & mask;

    while (run->shape_table[slot] != FP_SURVEY_NONE) {
        const fp_run_of_numbers *known =
            &run->shapes.rows[run->shape_table[slot]];
        if (known->n == n
            && memcmp(run->survey->numbers + known->first, numbers,
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
    uint32_t *table;
    size_t size = run->shape_table_size == 0 ? 64 : 2 * run->shape_table_size;

    if (run->shapes.n < run->shape_table_size / 4 * 3) {
        return 0;
    }
    table = PyMem_RawMalloc(size * sizeof(uint32_t));
    if (table == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memset(table, 0xff, size * sizeof(uint32_t)); /* NONE */
    PyMem_RawFree(run->shape_table);
    run->shape_table = table;
    run->shape_table_size = size;
    for (size_t i = 0; i < run->shapes.n; i++) {
        const fp_run_of_numbers *known = &run->shapes.rows[i];
        table[shape_slot(run, run->survey->numbers + known->first, known->n)] =
            (uint32_t)i;
    }
    return 0;
}

int
fp_keep_shape(fp_survey_run_state *run, fp_survey_array *array,
              const int64_t *numbers, size_t n)
{
    fp_survey *survey = run->survey;
    size_t slot;

    if (survey->numbers == NULL /* none are compared, but from somewhere */
        && fp_rows_grow(&survey->numbers, &run->numbers_capacity, 1,
                        sizeof(int64_t))
               < 0)
    {
        return -1;
    }
    if (grow_shapes(run) < 0) {
        return -1;
    }
    slot = shape_slot(run, numbers, n);
    if (run->shape_table[slot] != FP_SURVEY_NONE) {
        array->shape = run->shapes.rows[run->shape_table[slot]].first;
        return 1;
    }
    if (survey->n_numbers + n > FREE_NUMBERS + run->place / BYTES_PER_NUMBER) {
        return 0;
    }
    if (fp_is_full(survey->n_numbers + n)
        || fp_rows_grow(&survey->numbers, &run->numbers_capacity,
                        survey->n_numbers + n, sizeof(int64_t))
               < 0
        || FP_ROWS_ROOM(run->shapes) < 0)
    {
        return -1;
    }
    memcpy(survey->numbers + survey->n_numbers, numbers, n * sizeof(int64_t));
    run->shape_table[slot] = (uint32_t)run->shapes.n;
    run->shapes.rows[run->shapes.n++] =
        (fp_run_of_numbers){(uint32_t)survey->n_numbers, (uint32_t)n};
    array->shape = (uint32_t)survey->n_numbers;
    survey->n_numbers += n;
    return 1;
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
    if (literal->kind != FP_LITERAL_TUPLE || literal->n > FP_SURVEY_MAX_DIMS) {
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
    int64_t numbers[2 * FP_SURVEY_MAX_DIMS];
    int n = numbers_of_literal(run, shape, numbers);
    int status;

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
    status = fp_keep_shape(run, array, numbers,
                           (size_t)n * (strides == NULL ? 1 : 2));
    if (status > 0) {
        array->n_dims = (uint8_t)n;
    }
    if (status > 0 && strides != NULL) {
        array->order = 'A';
    }
    return status;
}

int
fp_array_size(const fp_survey_run_state *run, const fp_survey_array *array,
              uint64_t *n_bytes)
{
    const fp_survey *survey = run->survey;
    const int64_t *shape;
    uint64_t product;
    int is_empty = 0;

    if (array->n_dims == FP_SURVEY_NO_SHAPE || array->dtype == FP_SURVEY_NONE
        || !(survey->dtypes[array->dtype].flags & FP_DTYPE_KNOWN))
    {
        return 0;
    }
    shape = survey->numbers + array->shape;
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

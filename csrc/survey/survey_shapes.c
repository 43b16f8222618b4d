/* Shapes and strides, each of them once. */
#include "survey_parts.h"

#include "core/block_hash.h"

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
int
fp_keep_shape(fp_survey_run_state *run, fp_survey_array *array,
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
    return fp_keep_shape(run, array, numbers, numbers_of(array)) < 0 ? -1 : 1;
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

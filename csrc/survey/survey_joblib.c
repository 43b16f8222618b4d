/* Arrays between the opcodes, as joblib has them: behind the BUILD of a
 * NumpyArrayWrapper come the bytes of its array, or a stream of its own. */
#include "survey_parts.h"

/* Streams in arrays of objects of streams ...; joblib itself writes one. */
#define MAX_DEPTH 100

typedef struct {
    const fp_literal *shape, *dtype; /* NULL: not said */
    uint32_t subclass;               /* global */
    int is_fortran;
    int is_aligned;
} description;

static int
corrupt(const fp_survey_run_state *run, const char *message)
{
    PyErr_SetString(run->survey->state->corrupt_error, message);
    return -1;
}

/* The text of a key, or NONE where it is surely none of a wrapper's attributes. 0
 * where nobody knows: it may turn out to be any of them. */
static int
take_key(fp_survey_run_state *run, const fp_literal *literal, uint32_t *key)
{
    fp_leaf_bytes leaf;

    *key = FP_SURVEY_NONE;
    switch (literal->kind) {
    case FP_LITERAL_STR:
        if (fp_intern_old_literal(run, literal->u.place, key) < 0) {
            return -1;
        }
        return *key != FP_SURVEY_NONE
               || (fp_leaf_at(run->survey, literal->u.place, &leaf)
                   && leaf.n_whole >= FP_SURVEY_PAYLOAD_BYTES
                   && leaf.opcode != OP_STRING && leaf.opcode != OP_UNICODE);
    case FP_LITERAL_NONE:
    case FP_LITERAL_BOOL:
    case FP_LITERAL_INT:
    case FP_LITERAL_FLOAT:
    case FP_LITERAL_BYTES:
    case FP_LITERAL_TUPLE:
    case FP_LITERAL_DTYPE:
        return 1;
    default:
        return 0;
    }
}

static int
describe(fp_survey_run_state *run, const fp_literal *state,
         description *wrapper)
{
    const fp_literal *items = fp_literal_parts(run, state);

    for (uint32_t i = 0; i + 1 < state->n; i += 2) {
        const fp_literal *item = &items[i + 1];
        fp_leaf_bytes leaf;
        uint32_t key;
        int status = take_key(run, &items[i], &key);
        if (status < 0) {
            return -1;
        }
        if (status == 0) {
            return corrupt(run, "joblib's NumpyArrayWrapper with an attribute "
                                "that has no plain name");
        }
        if (fp_is_text(run, key, "shape")) {
            wrapper->shape = item;
        }
        else if (fp_is_text(run, key, "dtype")) {
            wrapper->dtype = item;
        }
        else if (fp_is_text(run, key, "subclass")) {
            wrapper->subclass = item->kind == FP_LITERAL_GLOBAL
                                    ? (uint32_t)item->u.number
                                    : FP_SURVEY_NONE;
        }
        else if (fp_is_text(run, key, "order")) {
            wrapper->is_fortran =
                item->kind == FP_LITERAL_STR
                && fp_leaf_at(run->survey, item->u.place, &leaf)
                && leaf.n_kept == 1 && leaf.data[0] == 'F';
        }
        else if (fp_is_text(run, key, "numpy_array_alignment_bytes")) {
            if (item->kind != FP_LITERAL_NONE && item->kind != FP_LITERAL_INT)
            {
                return corrupt(run, "joblib's NumpyArrayWrapper with an "
                                    "alignment that is no number");
            }
            wrapper->is_aligned = item->kind == FP_LITERAL_INT;
        }
    }
    return 0;
}

static int
skip_padding(fp_survey_run_state *run)
{
    const unsigned char *padding;
    size_t n_bytes;

    if (fp_source_need(run, 1) < 0) {
        return -1;
    }
    n_bytes = run->survey->skeleton[run->place++];
    if (fp_source_need(run, n_bytes) < 0) {
        return -1;
    }
    padding = run->survey->skeleton + run->place;
    for (size_t i = 0; i < n_bytes; i++) {
        if (padding[i] != 0xff) {
            return corrupt(run,
                           "padding in front of a joblib array is damaged");
        }
    }
    run->place += n_bytes;
    return 0;
}

static int
note_foreign(fp_survey_run_state *run)
{
    if (FP_ROWS_ROOM(run->foreign) < 0) {
        return -1;
    }
    run->foreign.rows[run->foreign.n++] =
        (fp_foreign_bytes){run->place, run->place};
    return 0;
}

/* --- bytes --------------------------------------------------------------- */

static int
take_bytes(fp_survey_run_state *run, fp_value *value,
           const description *wrapper)
{
    fp_survey *survey = run->survey;
    size_t foreign = run->foreign.n;
    fp_survey_array *array;
    uint64_t n_bytes, start;
    uint32_t payload;
    int status;

    if (fp_new_array(run, value, wrapper->subclass) < 0) {
        return -1;
    }
    array = &survey->arrays[value->what];
    array->flags |= FP_ARRAY_WRAPPED;
    array->order = wrapper->is_fortran ? 'F' : 'C';
    if (fp_take_dtype(run, array, wrapper->dtype) < 0) {
        return -1;
    }
    status = wrapper->shape == NULL
                 ? 0
                 : fp_take_shape(run, array, wrapper->shape, NULL);
    if (status < 0) {
        return -1;
    }
    if (status == 0 || !fp_array_size(run, array, &n_bytes)
        || survey->dtypes[array->dtype].itemsize == 0)
    {
        return corrupt(
            run, "joblib's NumpyArrayWrapper without a shape and a dtype");
    }
    if (note_foreign(run) < 0
        || (wrapper->is_aligned && skip_padding(run) < 0))
    {
        return -1;
    }
    start = run->place;
    array->offset = fp_survey_offset(survey, start);
    if (fp_source_take(run, n_bytes, 0, &payload) < 0) {
        return -1;
    }
    run->foreign.rows[foreign].end = run->place;
    array->n_bytes = n_bytes;
    array->payload = payload;
    array->stored = n_bytes == 0                ? FP_STORED_NOWHERE
                    : payload == FP_SURVEY_NONE ? FP_STORED_INLINE
                                                : FP_STORED_PAYLOAD;
    if (n_bytes == 0) {
        array->offset = FP_SURVEY_NOWHERE;
    }
    return 0;
}

/* --- objects ------------------------------------------------------------- */

static int
enter_context(fp_survey_run_state *run)
{
    fp_survey_context *context;

    if (run->contexts.n >= MAX_DEPTH) {
        return corrupt(run, "arrays of objects nested more than 100 times");
    }
    if (FP_ROWS_ROOM(run->contexts) < 0 || note_foreign(run) < 0) {
        return -1;
    }
    context = &run->contexts.rows[run->contexts.n++];
    *context = (fp_survey_context){
        .memo = run->memo,
        .floor = run->floor,
        .first_mark = run->first_mark,
        .fence = run->fence,
        .protocol = run->protocol,
        .first_place = run->first_place,
        .foreign = run->foreign.n - 1,
    };
    memset(&run->memo, 0, sizeof(run->memo));
    run->memo.seed = run->seed;
    run->floor = run->fence = fp_height(run);
    run->first_mark = run->marks.n;
    run->protocol = 0;
    run->first_place = run->place;
    return 0;
}

int
fp_leave_context(fp_survey_run_state *run)
{
    fp_survey_context *context = &run->contexts.rows[run->contexts.n - 1];
    fp_value *wrapper = run->stack + run->floor - 1;
    fp_value result = run->top[-1];
    uint64_t start = run->foreign.rows[context->foreign].start;

    run->top--;
    if (fp_drop_values(run, run->floor, fp_place_of(result.head)) < 0) {
        return -1;
    }
    fp_value_memo_free(&run->memo);
    run->memo = context->memo;
    run->marks.n = run->first_mark;
    run->floor = context->floor;
    run->first_mark = context->first_mark;
    run->fence = context->fence;
    run->protocol = context->protocol;
    run->first_place = context->first_place;
    run->foreign.rows[context->foreign].end = run->place;
    run->contexts.n--;
    /* The result takes the wrapper's place, and its bytes. */
    if (wrapper->node != FP_SURVEY_NONE) {
        if (fp_flags_of(result.head) & FP_HAS_ORIGIN) {
            result.head &= ~FP_HEAD(0, FP_HAS_ORIGIN);
            result.tail = FP_NO_TAIL;
        }
        if (fp_take_values(run, &result, wrapper, 1, FP_STEP_CALLABLE, 0,
                           start)
            < 0)
        {
            return -1;
        }
    }
    result.head =
        (result.head & ~FP_SURVEY_PLACE_MASK) | fp_place_of(wrapper->head);
    *wrapper = result;
    fp_measure(run, wrapper);
    return fp_source_leave_frame(run);
}

/* --- one wrapper --------------------------------------------------------- */

int
fp_unwrap(fp_survey_run_state *run, fp_value *value, uint64_t state_start,
          uint64_t state_end)
{
    description wrapper = {.subclass = FP_SURVEY_NONE};
    const fp_literal *state;
    const fp_literal *dtype;
    unsigned flags;

    if (run->survey->options.is_ours) {
        return corrupt(run, "a joblib array in a graph");
    }
    run->survey->is_joblib = 1;
    /* One that was used before keeps what its state said then. */
    if (fp_flags_of(value->head) & FP_IS_COPY) {
        return corrupt(run, "joblib's NumpyArrayWrapper used twice");
    }
    if (fp_source_leave_frame(run) < 0
        || fp_parse_literal(run, state_start, state_end, &state) < 0)
    {
        return -1;
    }
    if (state->kind != FP_LITERAL_DICT || describe(run, state, &wrapper) < 0) {
        return PyErr_Occurred()
                   ? -1
                   : corrupt(run, "joblib's NumpyArrayWrapper without a state "
                                  "that can be read");
    }
    dtype = wrapper.dtype;
    if (dtype == NULL || dtype->kind != FP_LITERAL_DTYPE) {
        return corrupt(run, "joblib's NumpyArrayWrapper without a dtype");
    }
    flags = run->survey->dtypes[dtype->u.number].flags;
    if (flags & FP_DTYPE_DOUBTFUL) {
        return corrupt(run, "joblib's NumpyArrayWrapper with a dtype that "
                            "contradicts itself");
    }
    if (flags & FP_DTYPE_OF_TYPE) {
        fp_odd(run, FP_ODD_SIZE_OF_TYPE, run->place - 1);
    }
    return flags & FP_DTYPE_OBJECTS ? enter_context(run)
                                    : take_bytes(run, value, &wrapper);
}

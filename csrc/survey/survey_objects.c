/* Globals in use: what is called, made and set, and what it is made of. */
#include "survey_parts.h"

static int
wrong_type(const char *message)
{
    PyErr_SetString(PyExc_TypeError, message);
    return -1;
}

/* --- makers -------------------------------------------------------------- */

uint32_t
fp_maker_of(const fp_survey_run_state *run, const fp_value *value)
{
    switch (fp_kind_of(value->head)) {
    case FP_VALUE_INSTANCE:
        return fp_flags_of(value->head) & FP_IS_GROWN
                   ? run->grown.rows[value->what].maker
                   : value->what;
    case FP_VALUE_ARRAY:
        return run->survey->arrays[value->what].maker;
    case FP_VALUE_DTYPE:
        return run->dtype_global;
    default:
        return FP_SURVEY_NONE;
    }
}

int
fp_grow_value(fp_survey_run_state *run, fp_value *value, size_t n,
              uint64_t *before)
{
    fp_grown *grown;

    if (fp_kind_of(value->head) != FP_VALUE_INSTANCE) {
        *before = run->place - n; /* a number that no others get */
        fp_odd(run, FP_ODD_ITEMS_OF_VALUE, run->place - 1);
        return 0;
    }
    if (!(fp_flags_of(value->head) & FP_IS_GROWN)) {
        if (fp_is_full(run->grown.n) || FP_ROWS_ROOM(run->grown) < 0) {
            return -1;
        }
        run->grown.rows[run->grown.n] = (fp_grown){.maker = value->what};
        value->what = (uint32_t)run->grown.n++;
        value->head |= FP_HEAD(0, FP_IS_GROWN);
    }
    grown = &run->grown.rows[value->what];
    *before = grown->n_items;
    grown->n_items += (uint32_t)n;
    return 0;
}

/* The class that a function such as copyreg._reconstructor makes an instance
 * of: the first of its arguments, where that is a global and they were put
 * together just now. */
static uint32_t
made_class(fp_survey_run_state *run, const fp_value *args)
{
    const fp_last_tuple *tuple = &run->last_tuple;

    if (fp_kind_of(args->head) != FP_VALUE_TUPLE
        || fp_place_of(args->head) != tuple->place
        || tuple->first == FP_SURVEY_NONE)
    {
        fp_odd(run, FP_ODD_CALL_OF_VALUE, run->place - 1);
        return FP_SURVEY_NONE;
    }
    run->n_wrappers +=
        run->survey->globals[tuple->first].role == FP_ROLE_WRAPPER;
    return tuple->first;
}

/* --- calls --------------------------------------------------------------- */

/* Whether a value can be called, or be a class: 1 a global, 0 perhaps, -1 not.
 */
static int
is_callable(fp_value_kind kind)
{
    switch (kind) {
    case FP_VALUE_GLOBAL:
        return 1;
    case FP_VALUE_INSTANCE:
    case FP_VALUE_PERSISTENT:
        return 0;
    default:
        return -1;
    }
}

/* Of a value that must be a tuple (or dict): 1, 0 perhaps, -1 not. */
static int
is_kind(const fp_value *value, fp_value_kind wanted)
{
    fp_value_kind kind = fp_kind_of(value->head);

    return kind == wanted ? 1 : is_callable(kind) >= 0 ? 0 : -1;
}

/* The result of a call, where `callable` lay; its parts hang on it. `args` is
 * one value, `kwargs` NULL or another one, the last of which ends at `end`. */
static int
finish_call(fp_survey_run_state *run, fp_value *callable, fp_value *args,
            fp_value *kwargs, fp_value *result, uint64_t end)
{
    fp_survey *survey = run->survey;
    uint64_t args_end = kwargs == NULL ? end : fp_place_of(kwargs->head);

    if (fp_kind_of(callable->head) == FP_VALUE_GLOBAL) {
        fp_survey_global *global = &survey->globals[callable->what];
        if (callable->node != FP_SURVEY_NONE
            && fp_take_values(run, result, callable, 1, FP_STEP_CALLABLE, 0,
                              fp_place_of(args->head))
                   < 0)
        {
            return -1;
        }
        if (global->first_node == FP_SURVEY_NONE) {
            if (fp_ensure_node(run, result) < 0) {
                return -1;
            }
            global->first_node = result->node;
        }
    }
    else {
        fp_odd(run, FP_ODD_CALL_OF_VALUE, end);
        if (fp_take_values(run, result, callable, 1, FP_STEP_CALLABLE, 0,
                           fp_place_of(args->head))
            < 0)
        {
            return -1;
        }
    }
    if (fp_take_values(run, result, args, 1, FP_STEP_ARGS, 0, args_end) < 0
        || (kwargs != NULL
            && fp_take_values(run, result, kwargs, 1, FP_STEP_KWARGS, 0, end)
                   < 0))
    {
        return -1;
    }
    fp_measure(run, result);
    survey->n_undecided++;
    return 0;
}

static fp_value
new_instance(uint64_t place, const fp_value *callable)
{
    return (fp_value){
        .head = place | FP_HEAD(FP_VALUE_INSTANCE, 0),
        .node = FP_SURVEY_NONE,
        .what = fp_kind_of(callable->head) == FP_VALUE_GLOBAL ? callable->what
                                                              : FP_SURVEY_NONE,
    };
}

int
fp_do_reduce(fp_survey_run_state *run)
{
    fp_survey *survey = run->survey;
    fp_value *callable, *args, result;
    uint64_t end = run->place - 1;
    uint32_t maker;
    int role = FP_ROLE_NONE;
    int status = 0;

    if (fp_height(run) < run->fence + 2) {
        return fp_value_underflow(run);
    }
    callable = run->top - 2;
    args = run->top - 1;
    if (is_callable(fp_kind_of(callable->head)) < 0) {
        return wrong_type("REDUCE of an object that is not callable");
    }
    if (is_kind(args, FP_VALUE_TUPLE) < 0) {
        return wrong_type("argument list must be a tuple");
    }
    result = new_instance(fp_place_of(callable->head), callable);
    if (result.what != FP_SURVEY_NONE) {
        fp_use(run, &survey->globals[result.what].n_called);
        role = survey->globals[result.what].role;
    }
    switch (role) {
    case FP_ROLE_MAKER:
        maker = made_class(run, args);
        if (maker != FP_SURVEY_NONE) {
            fp_use(run, &survey->globals[maker].n_class);
            result.what = maker;
        }
        break;
    case FP_ROLE_DTYPE:
        run->dtype_global = result.what;
        status = fp_reduce_dtype(run, &result, args);
        break;
    case FP_ROLE_NDARRAY:
    case FP_ROLE_FROMBUFFER:
    case FP_ROLE_RECONSTRUCT:
        status = fp_reduce_array(run, &result, args, result.what);
        break;
    default:
        break;
    }
    if (status < 0 || finish_call(run, callable, args, NULL, &result, end) < 0)
    {
        return -1;
    }
    *callable = result;
    run->top = callable + 1;
    return 0;
}

int
fp_do_newobj(fp_survey_run_state *run, int with_keywords)
{
    size_t n = with_keywords ? 3 : 2;
    fp_value *values, result;

    if (fp_height(run) < run->fence + n) {
        return fp_value_underflow(run);
    }
    values = run->top - n;
    if (is_callable(fp_kind_of(values[0].head)) < 0) {
        return fp_survey_refuse(run, "NEWOBJ class argument must be a type");
    }
    if (is_kind(&values[1], FP_VALUE_TUPLE) < 0) {
        return fp_survey_refuse(run, "NEWOBJ args argument must be a tuple");
    }
    if (with_keywords && is_kind(&values[2], FP_VALUE_DICT) < 0) {
        return fp_survey_refuse(run,
                                "NEWOBJ_EX kwargs argument must be a dict");
    }
    result = new_instance(fp_place_of(values[0].head), &values[0]);
    if (result.what != FP_SURVEY_NONE) {
        fp_use(run, &run->survey->globals[result.what].n_class);
    }
    if (finish_call(run, &values[0], &values[1],
                    with_keywords ? &values[2] : NULL, &result, run->place - 1)
        < 0)
    {
        return -1;
    }
    values[0] = result;
    run->top = values + 1;
    return 0;
}

/* INST and OBJ: a class called with the topmost n values, which end at `end`. All
 * down to the mark goes. */
static int
call_with_items(fp_survey_run_state *run, const fp_survey_mark *mark,
                fp_value *callable, size_t n, uint64_t end)
{
    fp_value *first = run->top - n;
    fp_value args = {
        .head = (first < run->top ? fp_place_of(first->head) : end)
                | FP_HEAD(FP_VALUE_TUPLE, 0),
        .node = FP_SURVEY_NONE,
        .what = (uint32_t)n,
    };
    fp_value result = new_instance(mark->place, callable);

    if (result.what != FP_SURVEY_NONE) {
        fp_use(run, &run->survey->globals[result.what].n_called);
    }
    if (fp_take_values(run, &args, first, n, FP_STEP_INDEX, 0, end) < 0
        || finish_call(run, callable, &args, NULL, &result, end) < 0)
    {
        return -1;
    }
    run->top = run->stack + mark->index;
    return fp_push_value(run, result.head, result.tail);
}

int
fp_do_inst(fp_survey_run_state *run, uint64_t place)
{
    fp_survey_mark mark;
    fp_value callable = {
        .head = FP_HEAD(FP_VALUE_GLOBAL, FP_IS_NOTABLE),
        .node = FP_SURVEY_NONE,
    };

    fp_odd(run, FP_ODD_INST, place);
    if (fp_take_value_mark(run, &mark) < 0
        || fp_global_of_lines(run, 1, &callable.what) < 0)
    {
        return -1;
    }
    return call_with_items(run, &mark, &callable,
                           fp_height(run) - (size_t)mark.index, place);
}

int
fp_do_obj(fp_survey_run_state *run)
{
    fp_survey_mark mark;
    fp_value callable;
    uint64_t end = run->place - 1;
    fp_value *first;

    fp_odd(run, FP_ODD_OBJ, end);
    if (fp_take_value_mark(run, &mark) < 0) {
        return -1;
    }
    first = run->stack + mark.index;
    if (first == run->top) {
        return fp_value_underflow(run);
    }
    callable = *first;
    if (is_callable(fp_kind_of(callable.head)) < 0) {
        return wrong_type("OBJ of an object that is not callable");
    }
    return call_with_items(run, &mark, &callable,
                           (size_t)(run->top - first) - 1, end);
}

/* --- state --------------------------------------------------------------- */

int
fp_do_build(fp_survey_run_state *run)
{
    fp_survey *survey = run->survey;
    fp_value *instance, *state;
    uint64_t start, end = run->place - 1;
    uint32_t maker;
    int status = 0;

    if (fp_height(run) < run->fence + 2) {
        return fp_value_underflow(run);
    }
    instance = run->top - 2;
    state = run->top - 1;
    start = fp_place_of(state->head);
    survey->n_undecided++;
    switch (fp_kind_of(instance->head)) {
    case FP_VALUE_GLOBAL:
        fp_use(run, &survey->globals[instance->what].n_built);
        fp_odd(run, FP_ODD_BUILD_OF_GLOBAL, end);
        break;
    case FP_VALUE_DTYPE:
        status = fp_build_dtype(run, instance, start, end);
        break;
    case FP_VALUE_ARRAY:
        status = fp_build_array(run, instance, start, end);
        break;
    case FP_VALUE_INSTANCE:
    case FP_VALUE_PERSISTENT:
        break;
    default:
        fp_odd(run, FP_ODD_BUILD_OF_VALUE, end);
    }
    maker = fp_maker_of(run, instance);
    if (maker != FP_SURVEY_NONE) {
        fp_use(run, &survey->globals[maker].n_built);
    }
    if (status < 0
        || fp_take_values(run, instance, state, 1, FP_STEP_STATE, 0, end) < 0)
    {
        return -1;
    }
    run->top = state;
    fp_measure(run, instance);
    if (maker != FP_SURVEY_NONE
        && fp_kind_of(instance->head) == FP_VALUE_INSTANCE
        && survey->globals[maker].role == FP_ROLE_WRAPPER)
    {
        return fp_unwrap(run, instance, start, end);
    }
    return 0;
}

/* --- codes and persistent ids -------------------------------------------- */

int
fp_do_extension(fp_survey_run_state *run, uint64_t place, int64_t code)
{
    char digits[24];
    uint32_t text, number;

    if (code <= 0) {
        return fp_survey_refuse(run, "EXT specifies code <= 0");
    }
    fp_odd(run, FP_ODD_EXTENSION, place);
    run->survey->n_undecided++;
    PyOS_snprintf(digits, sizeof(digits), "%lld", (long long)code);
    if (fp_intern(run, digits, strlen(digits), &text) < 0
        || fp_intern_global(run, FP_SURVEY_NONE, text, FP_GLOBAL_EXTENSION,
                            &number)
               < 0)
    {
        return -1;
    }
    return fp_push_value(run, place | FP_HEAD(FP_VALUE_GLOBAL, FP_IS_NOTABLE),
                         FP_NO_TAIL | (uint64_t)number << 32);
}

int
fp_do_persistent(fp_survey_run_state *run, uint64_t place, int is_binary)
{
    const fp_survey_odd *odd;
    fp_value result = {
        .head = place | FP_HEAD(FP_VALUE_PERSISTENT, 0),
        .tail = FP_NO_TAIL,
    };
    uint64_t line, n_bytes;

    run->survey->n_undecided++;
    if (is_binary) {
        if (fp_height(run) <= run->fence) {
            return fp_value_underflow(run);
        }
        run->top--;
        result.head =
            fp_place_of(run->top->head) | FP_HEAD(FP_VALUE_PERSISTENT, 0);
        if (fp_kind_of(run->top->head) == FP_VALUE_PERSISTENT) {
            /* Of ids within ids one node is enough. */
            result.node = run->top->node;
            result.head |= run->top->head & FP_HEAD(0, FP_IS_NOTABLE);
        }
        else if (fp_take_values(run, &result, run->top, 1, FP_STEP_ARGS, 0,
                                place)
                 < 0)
        {
            return -1;
        }
    }
    else {
        if (fp_source_line(run, &line, &n_bytes) < 0) {
            return -1;
        }
        if (!fp_is_short_ascii(run->survey->skeleton + line, (size_t)n_bytes))
        {
            return fp_survey_refuse(
                run, "persistent IDs in protocol 0 must be ASCII strings");
        }
    }
    fp_odd(run, FP_ODD_PERSISTENT, place);
    odd = run->survey->odd[FP_ODD_PERSISTENT];
    if (odd != NULL && odd->count <= FP_SURVEY_ODD_PLACES
        && fp_ensure_node(run, &result) < 0)
    {
        return -1;
    }
    return fp_push_value(run, result.head, result.tail);
}

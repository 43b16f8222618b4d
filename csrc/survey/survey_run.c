/* One survey, from its beginning to what it leaves. */
#include "base/compat.h"
#include "survey_parts.h"

/* What hash() of a str is made with, and where memory lies. */
static uint64_t
new_seed(const fp_survey_run_state *run)
{
    uint64_t seed = (uint64_t)(uintptr_t)run;

    return seed ^ (uint64_t)PyObject_Hash(run->survey->state->str_dtype);
}

/* What only the run needs. Texts stay. */
static void
drop_run(fp_survey_run_state *run)
{
    PyMem_RawFree(run->stack);
    run->stack = run->top = run->stack_end = NULL;
    PyMem_RawFree(run->marks.rows);
    run->marks.rows = NULL;
    fp_value_memo_free(&run->memo);
    while (run->contexts.n > 0) {
        fp_value_memo_free(&run->contexts.rows[--run->contexts.n].memo);
    }
    PyMem_RawFree(run->contexts.rows);
    run->contexts.rows = NULL;
    PyMem_RawFree(run->seams.rows);
    run->seams.rows = NULL;
    PyMem_RawFree(run->grown.rows);
    run->grown.rows = NULL;
    PyMem_RawFree(run->foreign.rows);
    run->foreign.rows = NULL;
    PyMem_RawFree(run->buffers.rows);
    run->buffers.rows = NULL;
    PyMem_RawFree(run->pile.rows);
    run->pile.rows = NULL;
    PyMem_RawFree(run->parts.rows);
    run->parts.rows = NULL;
    PyMem_RawFree(run->counted);
    run->counted = NULL;
    PyMem_RawFree(run->shapes.rows);
    run->shapes.rows = NULL;
    PyMem_RawFree(run->shape_table);
    run->shape_table = NULL;
    PyMem_RawFree(run->dtype_table);
    run->dtype_table = NULL;
    PyMem_RawFree(run->global_table);
    run->global_table = NULL;
}

static void
drop_text_table(fp_survey_run_state *run)
{
    PyMem_RawFree(run->text_table);
    run->text_table = NULL;
    run->text_table_size = 0;
    PyMem_RawFree(run->decoded.rows);
    run->decoded.rows = NULL;
    run->decoded.capacity = 0;
}

int
fp_survey_run(fp_survey *survey, fp_state *state, fp_input *input,
              const fp_survey_options *options)
{
    fp_survey_run_state *run;
    int status = -1;

    memset(survey, 0, sizeof(*survey));
    survey->options = *options;
    survey->state = state;
    survey->root = FP_SURVEY_NONE;
    survey->skeleton = (const unsigned char *)"";
    run = survey->run = PyMem_RawCalloc(1, sizeof(*run));
    if (run == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    run->survey = survey;
    run->input = input;
    run->dtype_global = FP_SURVEY_NONE;
    survey->skeleton = NULL;
    if (options->is_ours) { /* PROTO is in the header */
        survey->protocol = run->protocol = 5;
    }
    run->last_tuple.place = run->dtype_place = FP_SURVEY_NOWHERE;
    run->seed = run->memo.seed = new_seed(run);
    if (options->is_ours) { /* all of the input is opcodes */
        run->memo.hint = options->n_blobs + fp_input_at_most(input) / 8;
    }
    if (fp_source_begin(run) == 0 && fp_seed_blobs(run) == 0
        && fp_value_stack_grow(run) == 0)
    {
        status = fp_survey_opcodes(run) < 0 ? -1 : 0;
    }
    if (status < 0) {
        PyObject *error = fp_take_exception();
        if (run->stack != NULL && fp_finish_broken_tree(run) < 0) {
            PyErr_Clear(); /* of no memory: what counts is the first one */
        }
        fp_source_end(run);
        drop_run(run);
        if (fp_mark_repeated_steps(run) < 0) {
            PyErr_Clear();
        }
        fp_put_exception(error);
    }
    else {
        fp_source_end(run);
        drop_run(run);
        status = fp_mark_repeated_steps(run);
    }
    drop_text_table(run);
    if (options->only_names) {
        survey->n_arrays = 0;
    }
    return status;
}

void
fp_survey_free(fp_survey *survey)
{
    fp_survey_run_state *run = survey->run;

    if (run != NULL) {
        drop_run(run);
        drop_text_table(run);
        PyMem_RawFree(run->texts.rows);
        PyMem_RawFree(run->text_bytes.rows);
        PyMem_RawFree(run);
    }
    if (survey->is_cut) {
        PyMem_RawFree((void *)(uintptr_t)survey->skeleton);
    }
    PyMem_RawFree(survey->nodes);
    PyMem_RawFree(survey->globals);
    PyMem_RawFree(survey->arrays);
    PyMem_RawFree(survey->numbers);
    PyMem_RawFree(survey->leaves);
    PyMem_RawFree(survey->payloads);
    PyMem_RawFree(survey->dtypes);
    PyMem_RawFree(survey->literals);
    for (size_t i = 0; i < FP_N_ODDITIES; i++) {
        PyMem_RawFree(survey->odd[i]);
    }
    memset(survey, 0, sizeof(*survey));
}

const char *
fp_oddity_text(fp_oddity oddity)
{
    static const char *const texts[] = {
#define X(name, text) text,
        FP_ODDITIES(X)
#undef X
    };

    return texts[oddity];
}

/* Bytes from the input into the skeleton: opcodes are kept, payloads hashed.
 *
 * Of a descriptor or file object the skeleton ends with a copy of what the
 * input's window holds: the loop parses that copy. The input's cursor stands at
 * `synced`, and follows when there is more to be fetched; so nothing is taken
 * from a file object before it is needed.
 */
#include "survey_parts.h"

#include "core/block_hash.h"

/* The loop comes here after so many bytes at the latest, for signals. */
#define VISIBLE_BYTES ((uint64_t)1 << 20)
/* Of a frame that a file object holds so much is asked for at once. */
#define FRAME_AHEAD_BYTES ((uint64_t)128 << 10)
#define SCRATCH_BYTES     ((size_t)256 << 10)
/* So much is copied of the input's window at once: behind a payload, what was
 * copied in front of it is copied again. */
#define MIRROR_BYTES ((size_t)16 << 10)
/* Growth: by half, where that is little; by an eighth above. */
#define LITTLE_BYTES ((size_t)16 << 20)

#define FRAME_OPCODE_BYTES 9
#define PROTO_OPCODE_BYTES 2

int
fp_rows_grow(void *rows, size_t *capacity, size_t n, size_t row_bytes)
{
    size_t wanted = *capacity;
    void *old, *grown;

    if (n <= *capacity) {
        return 0;
    }
    wanted += wanted * row_bytes < LITTLE_BYTES ? wanted / 2 + 16 : wanted / 8;
    if (wanted < n) {
        wanted = n;
    }
    memcpy(&old, rows, sizeof(old));
    grown = wanted > PY_SSIZE_T_MAX / row_bytes
                ? NULL
                : PyMem_RawRealloc(old, wanted * row_bytes);
    if (grown == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(rows, &grown, sizeof(grown));
    *capacity = wanted;
    return 0;
}

/* --- the skeleton -------------------------------------------------------- */

static int
is_borrowed(const fp_survey_run_state *run)
{
    return !run->survey->is_cut;
}

/* The end of the skeleton, to be written to. */
static unsigned char *
reserve(fp_survey_run_state *run, uint64_t n_bytes)
{
    fp_survey *survey = run->survey;

    if (n_bytes > (uint64_t)PY_SSIZE_T_MAX - survey->skeleton_bytes
        || survey->skeleton_bytes + n_bytes > FP_SURVEY_PLACE_MASK)
    {
        PyErr_NoMemory();
        return NULL;
    }
    if (fp_rows_grow(&survey->skeleton, &run->skeleton_capacity,
                     (size_t)(survey->skeleton_bytes + n_bytes), 1)
        < 0)
    {
        return NULL;
    }
    return (unsigned char *)(uintptr_t)survey->skeleton
           + survey->skeleton_bytes;
}

int
fp_source_begin(fp_survey_run_state *run)
{
    fp_survey *survey = run->survey;
    fp_input *input = run->input;

    run->frame_end = FP_NO_FRAME;
    survey->is_cut = input->kind != FP_INPUT_MEMORY;
    if (is_borrowed(run)) {
        survey->skeleton = input->cursor;
        survey->skeleton_bytes = (uint64_t)(input->end - input->cursor);
        return 0;
    }
    return fp_rows_grow(&survey->skeleton, &run->skeleton_capacity, 1, 1);
}

static void
sync_input(fp_survey_run_state *run)
{
    if (run->place != run->synced) {
        run->input->cursor += run->place - run->synced;
        run->synced = run->place;
    }
}

void
fp_source_end(fp_survey_run_state *run)
{
    fp_survey *survey = run->survey;

    sync_input(run);
    survey->offset_end = fp_survey_offset(survey, run->place);
    if (!is_borrowed(run)) {
        survey->skeleton_bytes = run->place;
    }
    PyMem_RawFree(run->scratch);
    run->scratch = NULL;
    if (run->hash != NULL) {
        fp_xxh3_state_free(run->hash);
        run->hash = NULL;
    }
}

static void
show(fp_survey_run_state *run)
{
    uint64_t end = run->survey->skeleton_bytes;

    if (run->frame_end < end) {
        end = run->frame_end;
    }
    if (end - run->place > VISIBLE_BYTES) {
        end = run->place + VISIBLE_BYTES;
    }
    run->visible = end;
}

/* What the input's window holds, n_at_least and more of it, is copied behind
 * `place`. */
static int
mirror(fp_survey_run_state *run, uint64_t n_at_least)
{
    fp_survey *survey = run->survey;
    size_t n_bytes = (size_t)(run->input->end - run->input->cursor);
    unsigned char *end;

    if (n_bytes > MIRROR_BYTES) {
        n_bytes = n_at_least > n_bytes        ? n_bytes
                  : n_at_least > MIRROR_BYTES ? (size_t)n_at_least
                                              : MIRROR_BYTES;
    }
    survey->skeleton_bytes = run->place;
    end = reserve(run, n_bytes);
    if (end == NULL) {
        return -1;
    }
    memcpy(end, run->input->cursor, n_bytes);
    survey->skeleton_bytes += n_bytes;
    return 0;
}

/* Of a frame that a file object holds more is asked for than is needed now: all
 * of it should be there. Where it is not, what is there has to do. */
static int
fetch_ahead(fp_survey_run_state *run, uint64_t n_bytes)
{
    fp_input *input = run->input;
    uint64_t n_ahead = run->frame_end - run->place;

    if (n_ahead > FRAME_AHEAD_BYTES) {
        n_ahead = FRAME_AHEAD_BYTES;
    }
    if (n_ahead <= n_bytes) {
        return fp_input_need(input, (size_t)n_bytes);
    }
    if (fp_input_need(input, (size_t)n_ahead) == 0) {
        return 0;
    }
    if (!input->is_truncated
        || (uint64_t)(input->end - input->cursor) < n_bytes)
    {
        return -1;
    }
    input->is_truncated = 0;
    PyErr_Clear();
    return 0;
}

static int
fetch(fp_survey_run_state *run, uint64_t n_bytes)
{
    int status = 0;

    sync_input(run);
    if (is_borrowed(run)) { /* everything is there already */
        return fp_input_need(run->input, (size_t)n_bytes);
    }
    if (n_bytes > (uint64_t)(run->input->end - run->input->cursor)) {
        status =
            run->input->kind == FP_INPUT_FILE && run->frame_end != FP_NO_FRAME
                ? fetch_ahead(run, n_bytes)
                : fp_input_need(run->input, (size_t)n_bytes);
    }
    return status < 0 ? -1 : mirror(run, n_bytes);
}

/* --- requests ------------------------------------------------------------ */

/* A frame may end in front of what is read next, but not in it. */
static int
check_frame(fp_survey_run_state *run, uint64_t n_bytes)
{
    if (run->frame_end == FP_NO_FRAME
        || n_bytes <= run->frame_end - run->place)
    {
        return 0;
    }
    if (run->frame_end != run->place || run->survey->options.is_ours) {
        return fp_survey_refuse(run, "pickle exhausted before end of frame");
    }
    run->frame_end = FP_NO_FRAME;
    fp_odd(run, FP_ODD_SPLIT_BY_FRAME, run->place);
    return 0;
}

int
fp_source_opcode(fp_survey_run_state *run)
{
    fp_survey *survey = run->survey;

    if (PyErr_CheckSignals() < 0) {
        return -1;
    }
    if (run->frame_end == run->place) {
        run->frame_end = FP_NO_FRAME;
    }
    if (run->place == survey->skeleton_bytes) {
        sync_input(run);
        if (survey->options.is_ours && run->frame_end == FP_NO_FRAME) {
            return 1;
        }
        if (run->frame_end != FP_NO_FRAME) {
            if (fetch(run, 1) < 0) {
                return -1;
            }
        }
        else if (fp_input_need_opcode(run->input) < 0 || mirror(run, 1) < 0) {
            return -1;
        }
    }
    if (survey->options.is_ours && run->frame_end == FP_NO_FRAME
        && survey->skeleton[run->place] != OP_FRAME)
    {
        return fp_survey_refuse(run, "an opcode outside of the frames");
    }
    show(run);
    return 0;
}

int
fp_source_need(fp_survey_run_state *run, uint64_t n_bytes)
{
    if (check_frame(run, n_bytes) < 0) {
        return -1;
    }
    if (n_bytes > run->survey->skeleton_bytes - run->place
        && fetch(run, n_bytes) < 0)
    {
        return -1;
    }
    show(run);
    return 0;
}

/* A file object knows where its lines end. */
static int
line_of_file(fp_survey_run_state *run)
{
    const unsigned char *line;
    unsigned char *end;
    size_t n_bytes;

    sync_input(run);
    run->survey->skeleton_bytes = run->place;
    if (fp_input_line(run->input, &line, &n_bytes) < 0) {
        return -1;
    }
    end = reserve(run, n_bytes);
    if (end == NULL) {
        return -1;
    }
    memcpy(end, line, n_bytes);
    run->survey->skeleton_bytes += n_bytes;
    run->synced += n_bytes; /* the cursor is behind it already */
    return 0;
}

int
fp_source_line(fp_survey_run_state *run, uint64_t *line, uint64_t *n_bytes)
{
    fp_survey *survey = run->survey;
    uint64_t n_searched = 0;

    if (check_frame(run, 1) < 0) {
        return -1;
    }
    for (;;) {
        const unsigned char *start = survey->skeleton + run->place;
        uint64_t n_there = survey->skeleton_bytes - run->place;
        const unsigned char *newline;
        int is_whole_frame = 0;
        if (run->frame_end != FP_NO_FRAME
            && n_there >= run->frame_end - run->place)
        {
            n_there = run->frame_end - run->place;
            is_whole_frame = 1;
        }
        newline = n_there > n_searched ? memchr(start + n_searched, '\n',
                                                (size_t)(n_there - n_searched))
                                       : NULL;
        if (newline != NULL) {
            *line = run->place;
            *n_bytes = (uint64_t)(newline - start);
            run->place += *n_bytes + 1;
            show(run);
            return 0;
        }
        if (is_whole_frame) {
            return fp_survey_refuse(run,
                                    "pickle exhausted before end of frame");
        }
        n_searched = n_there;
        if (run->input->kind == FP_INPUT_FILE && run->frame_end == FP_NO_FRAME)
        {
            if (line_of_file(run) < 0) {
                return -1;
            }
        }
        else {
            /* Twice what was searched: each byte is moved once or twice. */
            uint64_t at_most;
            uint64_t wanted = n_there + n_there / 2 + 1;
            sync_input(run);
            at_most = fp_input_at_most(run->input);
            if (wanted > at_most && at_most > n_there) {
                wanted = at_most;
            }
            if (run->frame_end != FP_NO_FRAME
                && wanted > run->frame_end - run->place)
            {
                wanted = run->frame_end - run->place;
            }
            if (fetch(run, wanted) < 0) {
                return -1;
            }
        }
    }
}

/* --- payloads ------------------------------------------------------------ */

static int
not_utf8(const fp_survey_run_state *run)
{
    return fp_survey_refuse(run, "text that is not UTF-8");
}

static int
note_payload(fp_survey_run_state *run, uint64_t n_bytes, uint64_t hash,
             uint64_t n_cut, uint32_t *number)
{
    fp_survey *survey = run->survey;
    fp_survey_payload *payload;
    size_t n = survey->n_payloads;

    if (fp_is_full(n)
        || fp_rows_grow(&survey->payloads, &run->payloads_capacity, n + 1,
                        sizeof(*payload))
               < 0)
    {
        return -1;
    }
    payload = &survey->payloads[n];
    payload->place = run->place;
    payload->offset = fp_survey_offset(survey, run->place);
    payload->n_bytes = n_bytes;
    payload->hash = hash;
    payload->n_kept = n_cut + (n > 0 ? payload[-1].n_kept : 0);
    *number = (uint32_t)n;
    survey->n_payloads = n + 1;
    return 0;
}

/* Through memory that is used again and again. `kept` gets the first bytes. */
static int
pass_payload(fp_survey_run_state *run, uint64_t n_bytes, int is_text,
             unsigned char *kept)
{
    fp_utf8_state text = {.n_bytes = 0};
    size_t n_kept = (size_t)FP_SURVEY_KEPT_BYTES;
    int is_first = 1;

    if (run->scratch == NULL) {
        run->scratch = PyMem_RawMalloc(SCRATCH_BYTES);
    }
    if (run->hash == NULL) {
        run->hash = fp_xxh3_state_new();
    }
    if (run->scratch == NULL || run->hash == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    fp_xxh3_begin(run->hash);
    while (n_bytes > 0) {
        size_t n_step =
            n_bytes < SCRATCH_BYTES ? (size_t)n_bytes : SCRATCH_BYTES;
        if (fp_input_read_into(run->input, run->scratch, n_step) < 0) {
            return -1;
        }
        if (is_first) {
            memcpy(kept, run->scratch, n_kept);
            is_first = 0;
        }
        fp_xxh3_update(run->hash, run->scratch, n_step);
        if (is_text && !fp_utf8_feed(&text, run->scratch, n_step, 1)) {
            return not_utf8(run);
        }
        n_bytes -= n_step;
        if (PyErr_CheckSignals() < 0) {
            return -1;
        }
    }
    return is_text && text.n_bytes > 0 ? not_utf8(run) : 0;
}

/* What is in nobody's interest but has to be there. */
static int
pass_by(fp_survey_run_state *run, uint64_t n_bytes)
{
    if (run->scratch == NULL) {
        run->scratch = PyMem_RawMalloc(SCRATCH_BYTES);
        if (run->scratch == NULL) {
            PyErr_NoMemory();
            return -1;
        }
    }
    while (n_bytes > 0) {
        size_t n_step =
            n_bytes < SCRATCH_BYTES ? (size_t)n_bytes : SCRATCH_BYTES;
        if (fp_input_read_into(run->input, run->scratch, n_step) < 0
            || PyErr_CheckSignals() < 0)
        {
            return -1;
        }
        n_bytes -= n_step;
    }
    return 0;
}

static int
cut_payload(fp_survey_run_state *run, uint64_t n_bytes, int is_text,
            uint32_t *number)
{
    fp_survey *survey = run->survey;
    uint64_t n_cut = n_bytes - FP_SURVEY_KEPT_BYTES;
    unsigned char *kept;

    sync_input(run);
    if (fp_input_check_length(run->input, n_bytes) < 0) {
        return -1;
    }
    if (n_bytes > fp_input_at_most(run->input)) {
        return fp_input_need(run->input, (size_t)n_bytes); /* says so */
    }
    survey->skeleton_bytes = run->place;
    kept = reserve(run, FP_SURVEY_KEPT_BYTES);
    if (kept == NULL || pass_payload(run, n_bytes, is_text, kept) < 0
        || note_payload(run, n_bytes, fp_xxh3_digest(run->hash), n_cut, number)
               < 0)
    {
        return -1;
    }
    survey->skeleton_bytes += FP_SURVEY_KEPT_BYTES;
    run->place = run->synced = survey->skeleton_bytes;
    if (run->frame_end != FP_NO_FRAME) {
        run->frame_end -= n_cut;
    }
    return fp_add_seam(run, (int64_t)n_cut);
}

int
fp_source_take(fp_survey_run_state *run, uint64_t n_bytes, int is_text,
               uint32_t *payload)
{
    const unsigned char *data;

    *payload = FP_SURVEY_NONE;
    if (n_bytes > (uint64_t)PY_SSIZE_T_MAX) {
        PyErr_Format(PyExc_OverflowError,
                     "length exceeds system's maximum size of %zd bytes",
                     PY_SSIZE_T_MAX);
        return -1;
    }
    if (check_frame(run, n_bytes) < 0) {
        return -1;
    }
    if (n_bytes >= FP_SURVEY_PAYLOAD_BYTES && !is_borrowed(run)) {
        if (cut_payload(run, n_bytes, is_text, payload) < 0) {
            return -1;
        }
        show(run);
        return 0;
    }
    if (fp_source_need(run, n_bytes) < 0) {
        return -1;
    }
    data = run->survey->skeleton + run->place;
    if (is_text && !fp_is_utf8(data, (size_t)n_bytes, 1)) {
        return not_utf8(run);
    }
    if (n_bytes >= FP_SURVEY_PAYLOAD_BYTES
        && note_payload(run, n_bytes, fp_xxh3(data, (size_t)n_bytes), 0,
                        payload)
               < 0)
    {
        return -1;
    }
    run->place += n_bytes;
    show(run);
    return 0;
}

/* --- frames and protocols ------------------------------------------------ */

int
fp_source_frame(fp_survey_run_state *run, uint64_t n_bytes)
{
    fp_survey *survey = run->survey;

    if (run->frame_end != FP_NO_FRAME
        && (run->frame_end != run->place || survey->options.is_ours))
    {
        return fp_survey_refuse(
            run, "beginning of a new frame before end of current frame");
    }
    run->frame_end = FP_NO_FRAME;
    if (n_bytes > (uint64_t)PY_SSIZE_T_MAX) {
        PyErr_Format(PyExc_OverflowError,
                     "FRAME length exceeds system's maximum of %zd bytes",
                     PY_SSIZE_T_MAX);
        return -1;
    }
    /* A frame may hold payloads that are too large for memory: not all of it is
     * fetched. One that is cut off is surveyed as far as it goes. */
    run->frame_end = run->place + n_bytes;
    survey->n_frames++;
    survey->sums.frames += FRAME_OPCODE_BYTES;
    show(run);
    return fp_add_seam(run, -FRAME_OPCODE_BYTES);
}

int
fp_source_stop(fp_survey_run_state *run)
{
    fp_input *input = run->input;
    uint64_t n_left;

    if (run->frame_end == FP_NO_FRAME || run->frame_end == run->place) {
        return 0;
    }
    sync_input(run);
    n_left = run->frame_end - run->place;
    if (fp_input_check_length(input, n_left) < 0) {
        return -1;
    }
    if (n_left > fp_input_at_most(input)
        || (input->kind == FP_INPUT_FILE && n_left <= FRAME_AHEAD_BYTES))
    {
        return fp_input_need(input, (size_t)n_left);
    }
    return input->kind == FP_INPUT_FILE ? pass_by(run, n_left) : 0;
}

int
fp_source_proto(fp_survey_run_state *run)
{
    run->survey->sums.protocol += PROTO_OPCODE_BYTES;
    return fp_add_seam(run, -PROTO_OPCODE_BYTES);
}

int
fp_source_leave_frame(fp_survey_run_state *run)
{
    if (run->frame_end == FP_NO_FRAME) {
        return 0;
    }
    if (run->frame_end != run->place) {
        return fp_survey_refuse(
            run, "beginning or end of a joblib array inside a frame");
    }
    run->frame_end = FP_NO_FRAME;
    return 0;
}

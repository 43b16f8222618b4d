/* Where bytes belong: which of them are values', where in the file they are. */
#include "survey_parts.h"

/* Between two questions for the bytes of values, mostly. */
#define NEAR_SEAMS 8

int
fp_add_seam(fp_survey_run_state *run, int64_t extra)
{
    uint64_t before = 0;

    if (run->seams.n > 0) {
        fp_seam *last = &run->seams.rows[run->seams.n - 1];
        before = last->extra;
        if (last->place == run->place) {
            last->extra += (uint64_t)extra;
            return 0;
        }
    }
    if (FP_ROWS_ROOM(run->seams) < 0) {
        return -1;
    }
    run->seams.rows[run->seams.n++] =
        (fp_seam){run->place, before + (uint64_t)extra};
    return 0;
}

/* How many seams stand at a place or in front of it. Places are mostly asked for
 * in order: from the last answer on, a few steps. */
static size_t
seams_before(fp_survey_run_state *run, uint64_t place)
{
    const fp_seam *seams = run->seams.rows;
    size_t low = 0, high = run->seams.n;
    size_t near = run->last_seam;

    if (near <= high && (near == 0 || seams[near - 1].place <= place)) {
        size_t end = high - near > NEAR_SEAMS ? near + NEAR_SEAMS : high;
        while (near < end && seams[near].place <= place) {
            near++;
        }
        if (near < end || near == high) {
            return near;
        }
        low = near;
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (seams[middle].place <= place) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    return low;
}

uint64_t
fp_value_bytes(fp_survey_run_state *run, uint64_t place)
{
    const fp_seam *seams = run->seams.rows;
    size_t n = run->seams.n;

    if (n > 0 && seams[n - 1].place > place) {
        n = run->last_seam = seams_before(run, place);
    }
    return n == 0 ? place : place + seams[n - 1].extra;
}

uint64_t
fp_survey_offset(const fp_survey *survey, uint64_t place)
{
    const fp_survey_payload *payloads = survey->payloads;
    size_t low = 0, high = survey->is_cut ? survey->n_payloads : 0;

    while (low < high) { /* the first payload that is not in front */
        size_t middle = low + (high - low) / 2;
        if (payloads[middle].place + FP_SURVEY_KEPT_BYTES <= place) {
            low = middle + 1;
        }
        else {
            high = middle;
        }
    }
    return survey->options.base + place
           + (low == 0 ? 0 : payloads[low - 1].n_kept);
}

void
fp_odd(fp_survey_run_state *run, fp_oddity oddity, uint64_t place)
{
    fp_survey_odd **odd = &run->survey->odd[oddity];

    if (*odd == NULL) {
        *odd = PyMem_RawCalloc(1, sizeof(**odd));
        if (*odd == NULL) {
            return; /* not worth failing */
        }
    }
    if ((*odd)->count < FP_SURVEY_ODD_PLACES) {
        (*odd)->offsets[(*odd)->count] = fp_survey_offset(run->survey, place);
    }
    (*odd)->count++;
}

#include "progress.h"

#include <time.h>

static double
seconds_now(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void
fp_progress_init(fp_progress *progress, PyObject *report)
{
    *progress = (fp_progress){.report = report == Py_None ? NULL : report};
    if (progress->report != NULL) {
        progress->next = seconds_now() + FP_PROGRESS_SECONDS;
    }
}

/* `total` of 0: None. */
static int
tell(fp_progress *progress, uint64_t done, uint64_t total)
{
    PyObject *answer =
        total == 0 ? PyObject_CallFunction(progress->report, "KO",
                                           (unsigned long long)done, Py_None)
                   : PyObject_CallFunction(progress->report, "KK",
                                           (unsigned long long)done,
                                           (unsigned long long)total);

    if (answer == NULL) {
        progress->has_raised = 1;
        return -1;
    }
    Py_DECREF(answer);
    return 0;
}

int
fp_progress_tell(fp_progress *progress, fp_progress_part part, uint64_t n_done)
{
    uint64_t done, total;
    int status;

    if (n_done > progress->done[part]) {
        progress->done[part] = n_done;
    }
    if (progress->has_raised || seconds_now() < progress->next) {
        return 0;
    }
    done = progress->done[0] + progress->done[1];
    total = progress->total[0] + progress->total[1];
    if (total > 0 && done >= total) { /* that is the end's to say */
        done = total - 1;
    }
    status = tell(progress, done, total);
    progress->next = seconds_now() + FP_PROGRESS_SECONDS;
    return status;
}

int
fp_progress_end(fp_progress *progress)
{
    uint64_t done, total;

    if (progress == NULL || progress->report == NULL) {
        return 0;
    }
    done = progress->done[0] + progress->done[1];
    total = progress->total[0] + progress->total[1];
    if (total == 0) {
        total = done;
    }
    return tell(progress, total, total);
}

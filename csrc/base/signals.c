#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "signals.h"

#include <time.h>

static double
seconds_now(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static int
run_handlers(fp_interrupt *interrupt, int at_once)
{
    fp_signals *signals = (fp_signals *)interrupt;
    PyGILState_STATE gil;
    int status;

    if (!pthread_equal(pthread_self(), signals->owner)
        || (!at_once && seconds_now() < signals->next))
    {
        return 0;
    }
    gil = PyGILState_Ensure();
    status = PyErr_CheckSignals();
    if (status == 0) {
        status = fp_progress_at(signals->progress, signals->part,
                                signals->before + interrupt->n_done);
    }
    PyGILState_Release(gil);
    signals->next = seconds_now() + FP_SIGNALS_SECONDS;
    return status < 0;
}

void
fp_signals_init(fp_signals *signals)
{
    *signals = (fp_signals){
        .interrupt = {.is_wanted = run_handlers},
        .owner = pthread_self(),
        .next = seconds_now() + FP_SIGNALS_SECONDS,
    };
}

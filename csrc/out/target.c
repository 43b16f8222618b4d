#include "target.h"

#include "lz4_writer.h"

#include <unistd.h>

static void
watch_signals(fp_target *target)
{
    fp_signals_init(&target->signals);
    target->sink->interrupt = &target->signals.interrupt;
}

int
fp_target_open_path(fp_target *target, PyObject *path, int durable)
{
    target->owner = getpid();
    if (fp_atomic_file_open_path(&target->file, path, durable) < 0) {
        return -1;
    }
    target->path = path;
    target->is_path = 1;
    target->file_sink = fp_fd_sink(target->file.fd);
    /* What may wait for a reader is written by this thread, which signals
     * wake. */
    target->file_sink.own_thread = target->file.in_place != 1;
    target->sink = &target->file_sink;
    watch_signals(target);
    return 0;
}

int
fp_target_open_object(fp_target *target, fp_state *state, PyObject *object)
{
    target->owner = getpid();
    if (fp_lz4_writer_type_acquire(state, object, &target->sink, &target->path)
        < 0)
    {
        return -1;
    }
    if (target->sink != NULL) {
        target->writer = object; /* it sees to signals itself */
        return 0;
    }
    if (fp_object_sink_init(&target->object, state, object) < 0) {
        return -1;
    }
    target->sink = &target->object.sink;
    watch_signals(target);
    return 0;
}

void
fp_target_tell(fp_target *target, fp_progress *progress, fp_progress_part part)
{
    fp_signals *signals = target->writer == NULL
                              ? &target->signals
                              : (fp_signals *)target->sink->interrupt;

    signals->progress = progress;
    signals->part = part;
}

int
fp_target_prepare(fp_target *target)
{
    return !target->is_path
               ? 0
               : fp_atomic_file_prepare_path(&target->file, target->path);
}

int
fp_target_commit(fp_target *target)
{
    return !target->is_path
               ? 0
               : fp_atomic_file_commit_path(&target->file, target->path);
}

void
fp_target_release(fp_target *target)
{
    fp_object_sink_free(&target->object);
    if (target->writer != NULL) {
        fp_lz4_writer_type_release(target->writer);
    }
    if (target->is_path && getpid() == target->owner) {
        fp_atomic_file_abort_path(&target->file);
    }
}

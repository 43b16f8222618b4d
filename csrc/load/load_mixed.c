/* Files that several writers have added to: a dump of ours in front of another
 * writer's, or behind it. From the end such a file looks damaged; from its
 * front the first dump is whole, and what follows it begins as it should. */
#include "base/compat.h"
#include "load_parts.h"

#include "core/dump_end.h"

/* The bytes that say what begins at an offset: how many there are, or -1. */
static int
look_at(const fp_load *load, uint64_t offset, unsigned char *head)
{
    uint64_t n_bytes = load->size - offset;

    if (n_bytes > FP_HEADER_BYTES) {
        n_bytes = FP_HEADER_BYTES;
    }
    return fp_load_look_at(load, offset, head, n_bytes) < 0 ? -1
                                                            : (int)n_bytes;
}

/* Passes over a dump of ours by its lengths: 1; 0 where it is none, or is cut;
 * -1. */
static int
pass_dump(const fp_load *load, uint64_t *end)
{
    fp_file_bytes file = {
        .fd = load->fd, .whole = load->whole, .size = load->size};
    fp_status status;
    int saved_errno = 0;

    Py_BEGIN_ALLOW_THREADS
    status = fp_dump_find_end(&file, *end, end, &saved_errno);
    Py_END_ALLOW_THREADS
    if (status == FP_CORRUPT || status == FP_TRUNCATED) {
        return 0;
    }
    return status == FP_OK
               ? 1
               : fp_raise_status(status, saved_errno, load->path, NULL);
}

/* Whether another writer's pickle or stream begins there: 1, 0, or -1. */
static int
is_anothers(const fp_load *load, uint64_t offset)
{
    PyObject *foreign = load->options->foreign;
    PyObject *answer;
    int result;

    if (foreign == NULL) {
        return 0;
    }
    answer = PyObject_CallFunction(foreign, "iK", load->fd,
                                   (unsigned long long)offset);
    if (answer == NULL) {
        return -1;
    }
    result = PyObject_IsTrue(answer);
    Py_DECREF(answer);
    return result;
}

int
fp_load_leave_others(fp_load *load)
{
    unsigned char head[FP_HEADER_BYTES];
    uint64_t end = load->start;
    int n_head, status;

    /* What begins with our header, or but for one byte, has to be a dump. */
    do {
        status = pass_dump(load, &end);
        if (status <= 0 || end == load->size) {
            return status < 0 ? -1 : 0;
        }
        n_head = look_at(load, end, head);
        if (n_head < 0) {
            return -1;
        }
    } while (fp_load_starts_as_ours(head, (uint64_t)n_head));
    status = is_anothers(load, end);
    if (status > 0) {
        load->size = end;
    }
    return status;
}

int
fp_load_find_first(fp_load *load)
{
    PyObject *error;
    int status;

    if (fp_load_find_dump(load) == 0) {
        return 0;
    }
    if (!PyErr_ExceptionMatches(load->state->corrupt_error)) {
        return -1;
    }
    error = fp_take_exception();
    status = fp_load_leave_others(load);
    if (status == 0) {
        fp_put_exception(error);
        return -1;
    }
    Py_XDECREF(error);
    return status < 0 ? -1 : fp_load_find_dump(load);
}

int
fp_load_check_behind(fp_load *load, uint64_t end)
{
    unsigned char head[FP_HEADER_BYTES];
    int n_head;

    if (end >= load->size) {
        return 0;
    }
    n_head = look_at(load, end, head);
    if (n_head < 0) {
        return -1;
    }
    if (!fp_load_starts_as_ours(head, (uint64_t)n_head)) {
        return 0;
    }
    load->start = end;
    return fp_load_find_first(load);
}

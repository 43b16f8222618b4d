#include "sink.h"

#include <errno.h>
#include <sys/types.h>
#include <unistd.h>

/* No signal ends a write to a regular file: it is asked for between pieces
 * that take a few milliseconds. */
#define LARGEST_WRITE ((size_t)8 << 20)

static fp_status
fd_write(fp_sink *sink, const void *data, size_t n_bytes)
{
    const unsigned char *next = data;
    while (n_bytes > 0) {
        size_t n_asked = n_bytes < LARGEST_WRITE ? n_bytes : LARGEST_WRITE;
        ssize_t n_written = write(sink->fd, next, n_asked);
        if (n_written < 0) {
            sink->saved_errno = errno;
            if (errno == EINTR) {
                if (fp_interrupted(sink->interrupt, 1)) {
                    return FP_SINK_FAILED;
                }
                continue;
            }
            return FP_IO;
        }
        if (n_written == 0) {
            /* No progress and no reason: never loop on it. */
            sink->saved_errno = EIO;
            return FP_IO;
        }
        next += n_written;
        n_bytes -= (size_t)n_written;
        if (n_bytes > 0 && fp_interrupted(sink->interrupt, 0)) {
            return FP_SINK_FAILED;
        }
    }
    return FP_OK;
}

fp_sink
fp_fd_sink(int fd)
{
    return (fp_sink){.write = fd_write, .fd = fd, .own_thread = 1};
}

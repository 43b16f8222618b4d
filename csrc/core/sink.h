/* Where finished bytes go: a table of one function and its state.
 *
 * `write` takes all n_bytes or fails; it is called in file order, by one
 * thread at a time, never with the GIL held (a sink that needs the GIL takes
 * it itself). After the first failure a sink is not called again. An fd sink
 * continues short writes and EINTR, and keeps the errno of a failure; between
 * its pieces, and after EINTR, `interrupt` may end it.
 */
#ifndef FP_CORE_SINK_H
#define FP_CORE_SINK_H

#include <stddef.h>

#include "interrupt.h"
#include "status.h"

typedef struct fp_sink {
    fp_status (*write)(struct fp_sink *sink, const void *data, size_t n_bytes);
    int fd;                  /* fd sinks; borrowed, never closed here */
    int saved_errno;         /* fd sinks: why write failed */
    int own_thread;          /* nonzero: may be called from another thread */
    void *context;           /* other sinks: borrowed */
    fp_interrupt *interrupt; /* borrowed, may be NULL; the ring asks it too */
} fp_sink;

fp_sink fp_fd_sink(int fd);

#endif

/* What a core function can report.
 *
 * The core knows nothing of Python: it returns one of these codes, and
 * csrc/errors.h turns a code into an exception, in one place. FP_IO leaves the
 * reason in the object that failed (`saved_errno`), never in the global errno:
 * the failure may have happened on another thread.
 */
#ifndef FP_CORE_STATUS_H
#define FP_CORE_STATUS_H

typedef enum {
    FP_OK = 0,
    FP_NO_MEMORY,   /* an allocation failed */
    FP_IO,          /* a system call failed; see saved_errno of the object */
    FP_SINK_FAILED, /* the sink's owner failed and holds the reason itself */
    FP_TRUNCATED,   /* the file ends before what it announces */
    FP_CORRUPT,     /* the bytes contradict the format */
    FP_NOT_OURS,    /* no header and no footer of this format */
    FP_TOO_NEW,     /* a later version of this format */
    FP_UNSUPPORTED, /* sound, as far as one can tell, and not for this reader */
} fp_status;

#endif

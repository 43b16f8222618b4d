/* Lz4Reader: core/lz4_frame.h's reader as a Python type, private to the
 * package.
 *
 *     Lz4Reader(file, n_threads)
 *
 * `file` has readinto() or read(); it is called by the thread that calls in,
 * and gives what lies up to the end of the frames that are read.
 *     readinto(target)   decoded bytes: how many, 0 where no frame follows
 *     finish()           drops what is left of the frame
 *     close()            ends the threads; the file stays open
 *     behind             bytes taken from the file that begin no frame
 *     offset             how many bytes were taken, or where the damage is
 *     damage             what is wrong with the data; None
 * CorruptFileError or TruncatedFileError, with `damage` set. GIL released
 * while it works; a second call meanwhile is a RuntimeError.
 */
#ifndef FP_LZ4_READER_H
#define FP_LZ4_READER_H

#include "base/state.h"

int fp_lz4_reader_type_init(PyObject *module);

#endif

/* The bytes of one file, copied to the start of another.
 *
 * By pread() and pwrite() through a block of memory. copy_file_range() and
 * sendfile() are left alone: some file systems do not have them, some copied
 * holes where bytes had just been written, and what follows could not be done
 * with them.
 *
 * Where there is no room for both (ENOSPC, EDQUOT), the source gives back what
 * was read of it already (a hole is punched, where the system can), and the
 * copy goes on: after a failure the source may be spoilt. At any moment the
 * other file holds a prefix of the source.
 *
 * `interrupt` may be NULL. Called without the GIL. FP_IO: the errno is in
 * *reason; a source that ends early is EIO.
 */
#ifndef FP_CORE_FILE_COPY_H
#define FP_CORE_FILE_COPY_H

#include <stdint.h>

#include "interrupt.h"
#include "status.h"

/* Both descriptors are borrowed, `from` open for reading and writing. */
fp_status fp_file_copy(int from, int to, uint64_t n_bytes,
                       fp_interrupt *interrupt, int *reason);

#endif

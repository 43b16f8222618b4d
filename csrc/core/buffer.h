/* A growable run of bytes: the graph's opcodes, a footer under construction.
 *
 * Ownership: the struct is the caller's, `data` is the buffer's until
 * fp_buffer_free(). Zero-initialized is valid and empty. A failed call leaves
 * the contents as they were. Touches no lock and no Python state.
 */
#ifndef FP_CORE_BUFFER_H
#define FP_CORE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"

typedef struct {
    unsigned char *data;
    size_t length;   /* bytes in use */
    size_t capacity; /* bytes allocated */
} fp_buffer;

/* Room for n_bytes more behind `length`. Geometric growth. FP_NO_MEMORY also
 * when the sum overflows. */
fp_status fp_buffer_reserve(fp_buffer *buffer, size_t n_bytes);
fp_status fp_buffer_append(fp_buffer *buffer, const void *data,
                           size_t n_bytes);
fp_status fp_buffer_append_u32(fp_buffer *buffer, uint32_t value); /* LE */
fp_status fp_buffer_append_u64(fp_buffer *buffer, uint64_t value); /* LE */
/* LEB128, at most 10 bytes. */
fp_status fp_buffer_append_varint(fp_buffer *buffer, uint64_t value);
fp_status fp_buffer_append_zeros(fp_buffer *buffer, size_t n_bytes);
void fp_buffer_free(fp_buffer *buffer);

#endif

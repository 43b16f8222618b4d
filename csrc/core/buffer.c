#include "buffer.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 256
#define LARGEST        ((size_t)PTRDIFF_MAX) /* of any object */

fp_status
fp_buffer_reserve(fp_buffer *buffer, size_t n_bytes)
{
    if (n_bytes <= buffer->capacity - buffer->length) {
        return FP_OK;
    }
    if (n_bytes > LARGEST - buffer->length) {
        return FP_NO_MEMORY;
    }

    size_t needed = buffer->length + n_bytes;
    size_t capacity = buffer->capacity;
    if (capacity < FIRST_CAPACITY) {
        capacity = FIRST_CAPACITY;
    }
    while (capacity < needed) {
        capacity = capacity <= LARGEST / 2 ? capacity + capacity / 2 : needed;
    }

    unsigned char *data = realloc(buffer->data, capacity);
    if (data == NULL) {
        return FP_NO_MEMORY;
    }
    buffer->data = data;
    buffer->capacity = capacity;
    return FP_OK;
}

fp_status
fp_buffer_append(fp_buffer *buffer, const void *data, size_t n_bytes)
{
    if (n_bytes == 0) {
        return FP_OK; /* `data` may be NULL, which memcpy() must not get */
    }
    fp_status status = fp_buffer_reserve(buffer, n_bytes);
    if (status != FP_OK) {
        return status;
    }
    memcpy(buffer->data + buffer->length, data, n_bytes);
    buffer->length += n_bytes;
    return FP_OK;
}

static fp_status
append_little_endian(fp_buffer *buffer, uint64_t value, size_t n_bytes)
{
    unsigned char bytes[8];
    for (size_t i = 0; i < n_bytes; i++) {
        bytes[i] = (unsigned char)(value >> (8 * i));
    }
    return fp_buffer_append(buffer, bytes, n_bytes);
}

fp_status
fp_buffer_append_u32(fp_buffer *buffer, uint32_t value)
{
    return append_little_endian(buffer, value, 4);
}

fp_status
fp_buffer_append_u64(fp_buffer *buffer, uint64_t value)
{
    return append_little_endian(buffer, value, 8);
}

fp_status
fp_buffer_append_varint(fp_buffer *buffer, uint64_t value)
{
    unsigned char bytes[10];
    size_t n_bytes = 0;
    while (value >= 0x80) {
        bytes[n_bytes++] = (unsigned char)(value | 0x80);
        value >>= 7;
    }
    bytes[n_bytes++] = (unsigned char)value;
    return fp_buffer_append(buffer, bytes, n_bytes);
}

fp_status
fp_buffer_append_zeros(fp_buffer *buffer, size_t n_bytes)
{
    if (n_bytes == 0) {
        return FP_OK;
    }
    fp_status status = fp_buffer_reserve(buffer, n_bytes);
    if (status != FP_OK) {
        return status;
    }
    memset(buffer->data + buffer->length, 0, n_bytes);
    buffer->length += n_bytes;
    return FP_OK;
}

void
fp_buffer_free(fp_buffer *buffer)
{
    free(buffer->data);
    *buffer = (fp_buffer){0};
}

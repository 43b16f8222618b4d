#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* pread under -std=c11 */
#endif
#include "dump_end.h"

#include "layout.h"
#include "layout_bytes.h"

#include <errno.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define FRAME       0x95
#define FRAME_BYTES 9 /* with its length */

/* n_bytes at an offset. FP_TRUNCATED where the file has fewer. */
static fp_status
read_exactly(const fp_file_bytes *file, uint64_t offset, unsigned char *out,
             size_t n_bytes, int *saved_errno)
{
    if (offset > file->size || n_bytes > file->size - offset) {
        return FP_TRUNCATED;
    }
    if (file->whole != NULL) {
        memcpy(out, file->whole + offset, n_bytes);
        return FP_OK;
    }
    while (n_bytes > 0) {
        ssize_t n = pread(file->fd, out, n_bytes, (off_t)offset);
        if (n == 0) {
            return FP_TRUNCATED;
        }
        if (n < 0 && errno != EINTR) {
            *saved_errno = errno;
            return FP_IO;
        }
        if (n > 0) {
            out += n;
            offset += (uint64_t)n;
            n_bytes -= (size_t)n;
        }
    }
    return FP_OK;
}

/* *position goes n_header + n_body bytes on, if the file has so many. */
static fp_status
pass(const fp_file_bytes *file, uint64_t *position, uint64_t n_header,
     uint64_t n_body)
{
    uint64_t n_left = file->size - *position;

    if (n_header > n_left || n_body > n_left - n_header) {
        return FP_TRUNCATED;
    }
    *position += n_header + n_body;
    return FP_OK;
}

static fp_status
pass_blob(const fp_file_bytes *file, uint64_t start, uint64_t *position,
          int *saved_errno)
{
    unsigned char found[FP_BLOB_PREFIX_MAX], expected[FP_BLOB_PREFIX_MAX];
    size_t n_prefix, n_suffix = 3;
    fp_blob_kind kind;
    uint64_t n_bytes;
    fp_status status;

    /* The place alone says how long a prefix is. */
    n_prefix = fp_blob_prefix_encode(expected, *position - start,
                                     FP_BLOB_BYTEARRAY, 0);
    status = read_exactly(file, *position, found, n_prefix, saved_errno);
    if (status != FP_OK) {
        return status;
    }
    switch (found[n_prefix - 9]) {
    case OP_BYTEARRAY8:
        kind = FP_BLOB_BYTEARRAY;
        break;
    case OP_BINBYTES8:
        kind = FP_BLOB_BYTES;
        break;
    case OP_BINUNICODE8:
        kind = FP_BLOB_STR;
        break;
    default:
        return FP_CORRUPT;
    }
    n_bytes = get_little_endian(found + n_prefix - 8, 8);
    (void)fp_blob_prefix_encode(expected, *position - start, kind, n_bytes);
    if (memcmp(found, expected, n_prefix) != 0) {
        return FP_CORRUPT;
    }
    status = pass(file, position, n_prefix, n_bytes);
    if (status == FP_OK) {
        status = read_exactly(file, *position, found, n_suffix, saved_errno);
    }
    if (status == FP_OK && found[0] == OP_LONG_BINPUT) {
        n_suffix = 6;
        status = read_exactly(file, *position, found, n_suffix, saved_errno);
    }
    if (status != FP_OK) {
        return status;
    }
    if ((found[0] != OP_BINPUT && found[0] != OP_LONG_BINPUT)
        || found[n_suffix - 1] != OP_POP)
    {
        return FP_CORRUPT;
    }
    return pass(file, position, n_suffix, 0);
}

fp_status
fp_dump_find_end(const fp_file_bytes *file, uint64_t start, uint64_t *end,
                 int *saved_errno)
{
    unsigned char bytes[FP_HEADER_BYTES];
    uint64_t position = start;
    fp_layout_error error;
    fp_status status =
        read_exactly(file, start, bytes, FP_HEADER_BYTES, saved_errno);
    int in_graph = 0;

    if (status == FP_OK
        && fp_header_decode(bytes, FP_HEADER_BYTES, &error) != FP_OK)
    {
        status = FP_CORRUPT;
    }
    if (status == FP_OK) {
        status = pass(file, &position, FP_HEADER_BYTES, 0);
    }
    while (status == FP_OK) {
        size_t n_length;
        status = read_exactly(file, position, bytes, FRAME_BYTES, saved_errno);
        if (status != FP_OK) {
            break;
        }
        switch (bytes[0]) {
        case OP_SHORT_BINBYTES:
            status = in_graph ? FP_CORRUPT
                              : pass_blob(file, start, &position, saved_errno);
            break;
        case FRAME:
            in_graph = 1;
            status = pass(file, &position, FRAME_BYTES,
                          get_little_endian(bytes + 1, 8));
            break;
        case OP_BINBYTES:
        case OP_BINBYTES8:
            n_length = bytes[0] == OP_BINBYTES ? 4 : 8;
            status = pass(file, &position, 1 + n_length + 2,
                          get_little_endian(bytes + 1, n_length));
            if (status == FP_OK) {
                *end = position;
            }
            return status;
        default:
            status = FP_CORRUPT;
        }
    }
    return status;
}

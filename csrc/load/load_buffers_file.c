/* A sidecar file by its descriptor: its index, found from the end; its buffers
 * read and checked, or mapped. */
#include "load_buffers_parts.h"

#include "core/block_hash.h"
#include "core/block_read.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Smaller buffers are read together, and copied into their arrays. */
#define OWN_BYTES FP_OWN_BLOB_BYTES

/* --- the index ----------------------------------------------------------- */

/* Reads n_bytes at an offset into new memory (free()); NULL with an
 * exception. */
static unsigned char *
read_at(const fp_buffers *from, uint64_t offset, uint64_t n_bytes)
{
    unsigned char *data = malloc((size_t)n_bytes + 1);
    fp_piece piece = {data, n_bytes};
    fp_block_read read = {
        .fd = from->place->fd,
        .offset = offset,
        .n_bytes = n_bytes,
        .pieces = &piece,
        .n_pieces = 1,
        .n_threads = 1,
    };
    fp_status status;

    if (data == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status = fp_block_read_run(&read);
    Py_END_ALLOW_THREADS
    if (status != FP_OK) {
        fp_buffers_failed(from, status, read.saved_errno, offset,
                          "a file that does not become shorter");
        free(data);
        return NULL;
    }
    return data;
}

/* The index of the sidecar that ends at `end`. */
static int
read_index_before(fp_buffers *from, uint64_t end)
{
    fp_layout_error error = {0, NULL};
    unsigned char *data = NULL;
    uint64_t n_bytes;
    fp_status status;
    int result = -1;

    if (end < FP_SIDECAR_FILE_HEADER_BYTES + FP_SIDECAR_FILE_TAIL_BYTES) {
        return fp_buffers_damaged(from, FP_TRUNCATED, end, "a whole sidecar");
    }
    data = read_at(from, end - FP_SIDECAR_FILE_TAIL_BYTES,
                   FP_SIDECAR_FILE_TAIL_BYTES);
    if (data == NULL) {
        return -1;
    }
    status = fp_sidecar_tail_decode(data, end, &n_bytes, &error);
    if (status != FP_OK) {
        int is_cut =
            status == FP_NOT_OURS && end == from->size && end % FP_ALIGN != 0;
        fp_buffers_damaged(from, is_cut ? FP_TRUNCATED : FP_CORRUPT,
                           end - FP_SIDECAR_FILE_TAIL_BYTES + error.offset,
                           error.expected);
        goto done;
    }
    free(data);
    data = read_at(from, end - n_bytes, n_bytes);
    if (data == NULL) {
        return -1;
    }
    fp_sidecar_index_free(&from->index);
    Py_BEGIN_ALLOW_THREADS
    status =
        fp_sidecar_index_decode(data, (size_t)n_bytes, &from->index, &error);
    Py_END_ALLOW_THREADS
    if (status != FP_OK) {
        fp_buffers_failed(from, status, 0, end - n_bytes + error.offset,
                          error.expected);
        goto done;
    }
    result = 0;
done:
    free(data);
    return result;
}

/* The header of the sidecar that begins at `start`. */
static int
check_header_at(fp_buffers *from, uint64_t start)
{
    unsigned char *header = read_at(from, start, FP_SIDECAR_FILE_HEADER_BYTES);
    fp_layout_error error = {0, NULL};
    fp_status status;

    if (header == NULL) {
        return -1;
    }
    status = fp_sidecar_file_header_decode(header, &error);
    free(header);
    if (status != FP_OK) {
        return fp_buffers_damaged(from, FP_CORRUPT, start + error.offset,
                                  error.expected);
    }
    return 0;
}

int
fp_buffers_find_index(fp_buffers *from)
{
    struct stat info;
    uint64_t end;

    if (fstat(from->place->fd, &info) < 0) {
        PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, from->place->path);
        return -1;
    }
    from->size = end = (uint64_t)info.st_size;
    if (end < FP_SIDECAR_FILE_HEADER_BYTES) {
        return fp_buffers_damaged(from, FP_TRUNCATED, end, "a whole sidecar");
    }
    if (check_header_at(from, 0) < 0) {
        return -1;
    }
    while (end > 0) {
        /* The tail has been compared with what is in front of it. */
        if (read_index_before(from, end) < 0) {
            return -1;
        }
        end -= from->index.total_length;
        if (end > 0 && check_header_at(from, end) < 0) {
            return -1;
        }
    }
    return 0;
}

/* --- reading ------------------------------------------------------------- */

/* Whether the bytes in front of payload `i` are the record's; behind the last
 * one stands the index's. */
static int
is_right_prefix(const fp_sidecar_index *index, size_t i, uint64_t position,
                const unsigned char *data)
{
    unsigned char expected[FP_RECORD_PREFIX_MAX];
    size_t n_bytes;

    if (i < index->n_buffers) {
        const fp_sidecar_buffer *buffer = &index->buffers[i];
        n_bytes = fp_record_prefix_encode(
            expected, position,
            buffer->is_read_only ? FP_RECORD_READ_ONLY : FP_RECORD_WRITABLE,
            buffer->length);
    }
    else {
        n_bytes = fp_record_prefix_encode(expected, position, FP_RECORD_INDEX,
                                          index->total_length
                                              - index->region_length);
    }
    return memcmp(data, expected, n_bytes) == 0;
}

/* Everything between the large payloads lies in `scratch`, in order. Small
 * payloads are used there. */
static int
check_scratch(fp_buffers *from)
{
    const fp_sidecar_index *index = &from->index;
    const unsigned char *next = from->scratch + FP_SIDECAR_FILE_HEADER_BYTES;
    unsigned char header[FP_SIDECAR_FILE_HEADER_BYTES];
    uint64_t position = FP_SIDECAR_FILE_HEADER_BYTES;

    fp_sidecar_file_header_encode(header);
    if (memcmp(from->scratch, header, sizeof(header)) != 0) {
        return fp_buffers_damaged(from, FP_CORRUPT, 0, "the header");
    }
    for (size_t i = 0; i <= index->n_buffers; i++) {
        if (!is_right_prefix(index, i, position, next)) {
            return fp_buffers_damaged(from, FP_CORRUPT, position, "a record");
        }
        if (i < index->n_buffers) {
            const fp_sidecar_buffer *buffer = &index->buffers[i];
            next += buffer->offset - position;
            next += buffer->length < OWN_BYTES ? buffer->length : 0;
            position = buffer->offset + buffer->length;
        }
    }
    return 0;
}

/* Gives each buffer its memory. *n_pieces and *n_scratch are what reading
 * needs. */
static int
allocate_buffers(fp_buffers *from, size_t *n_pieces, uint64_t *n_scratch)
{
    const fp_sidecar_index *index = &from->index;

    *n_pieces = 1;
    *n_scratch = index->region_length;
    for (size_t i = 0; i < index->n_buffers; i++) {
        const fp_sidecar_buffer *buffer = &index->buffers[i];
        if (fp_buffers_add(from, buffer->is_read_only) < 0) {
            return -1;
        }
        if (buffer->length >= OWN_BYTES) {
            if (fp_blobs_allocate(&from->blobs, i, buffer->length) < 0) {
                return -1;
            }
            *n_pieces += 2;
            *n_scratch -= buffer->length;
        }
        from->blobs.table[i].checked = 1;
    }
    from->scratch = malloc((size_t)*n_scratch + 1);
    if (from->scratch == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

/* Where every byte of the region goes. */
static void
plan_pieces(fp_buffers *from, fp_piece *piece)
{
    const fp_sidecar_index *index = &from->index;
    unsigned char *next = from->scratch;
    uint64_t position = 0; /* of `next` in the file */

    piece->target = next;
    for (size_t i = 0; i < index->n_buffers; i++) {
        const fp_sidecar_buffer *buffer = &index->buffers[i];
        fp_loaded_blob *blob = &from->blobs.table[i];
        next += buffer->offset - position;
        position = buffer->offset + buffer->length;
        if (buffer->length < OWN_BYTES) {
            blob->data = next;
            blob->n_bytes = buffer->length;
            blob->in_place = 1;
            next += buffer->length;
            continue;
        }
        piece->n_bytes = (uint64_t)(next - piece->target);
        piece++;
        *piece++ = (fp_piece){blob->data, buffer->length};
        piece->target = next;
    }
    next += index->region_length - position;
    piece->n_bytes = (uint64_t)(next - piece->target);
}

int
fp_buffers_read(fp_buffers *from)
{
    size_t n_pieces;
    uint64_t n_scratch;
    fp_piece *pieces = NULL;
    int result = -1;

    if (allocate_buffers(from, &n_pieces, &n_scratch) < 0) {
        return -1;
    }
    pieces = malloc(n_pieces * sizeof(fp_piece));
    if (pieces == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    plan_pieces(from, pieces);
    fp_block_read read = {
        .fd = from->place->fd,
        .n_bytes = from->index.region_length,
        .pieces = pieces,
        .n_pieces = n_pieces,
        .hashes = fp_buffers_hashes(from),
        .n_threads = from->n_threads,
    };
    fp_status status =
        fp_load_run_blocks(&read, from->progress, FP_PROGRESS_SECOND);
    if (status == FP_CORRUPT) {
        fp_buffers_bad_block(from, read.bad_offset, read.bad_end);
    }
    else if (status != FP_OK) {
        fp_buffers_failed(from, status, read.saved_errno, read.bad_offset,
                          "a longer file");
    }
    else {
        result = check_scratch(from);
    }
    free(pieces);
    return result;
}

/* --- a map --------------------------------------------------------------- */

/* Blocks of the region that are in the map. */
static int
check_blocks(fp_buffers *from, uint64_t first, uint64_t end_block)
{
    uint64_t begin = first << FP_HASH_BLOCK_SHIFT;
    uint64_t end = end_block << FP_HASH_BLOCK_SHIFT;
    fp_status status;

    if (end > from->index.region_length) {
        end = from->index.region_length;
    }
    fp_piece piece = {
        .target = (unsigned char *)(uintptr_t)from->blobs.map_data + begin,
        .n_bytes = end - begin, /* only read */
    };
    fp_block_read read = {
        .fd = -1,
        .offset = begin,
        .n_bytes = end - begin,
        .pieces = &piece,
        .n_pieces = 1,
        .hashes = from->index.hashes + first,
        .n_threads = from->n_threads,
    };
    status = fp_load_run_blocks(&read, from->progress, FP_PROGRESS_SECOND);
    if (status == FP_CORRUPT) {
        return fp_buffers_bad_block(from, read.bad_offset, read.bad_end);
    }
    return status == FP_OK ? 0
                           : fp_buffers_failed(from, status, read.saved_errno,
                                               read.bad_offset, NULL);
}

/* Before a buffer becomes an object other than a mapped array. */
static int
check_mapped(fp_blobs *blobs, size_t i)
{
    fp_buffers *from = blobs->context;
    const fp_sidecar_buffer *buffer = &from->index.buffers[i];

    if (buffer->length == 0) {
        return 0;
    }
    return check_blocks(
        from, buffer->offset >> FP_HASH_BLOCK_SHIFT,
        ((buffer->offset + buffer->length - 1) >> FP_HASH_BLOCK_SHIFT) + 1);
}

/* From now on the buffers may change under their hashes: says so on disk. */
static int
mark_void(const fp_buffers *from)
{
    unsigned char word[8];
    uint64_t offset = from->index.total_length - FP_SIDECAR_FILE_TAIL_BYTES
                      + FP_SIDECAR_FILE_STATE_OFFSET;
    int saved_errno;

    if (from->index.state == FP_STATE_VOID) {
        return 0;
    }
    for (size_t i = 0; i < sizeof(word); i++) {
        word[i] = (unsigned char)(FP_STATE_VOID >> (8 * i));
    }
    Py_BEGIN_ALLOW_THREADS
    saved_errno =
        fp_load_overwrite(from->place->fd, word, sizeof(word), offset);
    Py_END_ALLOW_THREADS
    return saved_errno == 0
               ? 0
               : fp_raise_status(FP_IO, saved_errno, from->place->path,
                                 "marking the sidecar as mapped for writing");
}

int
fp_buffers_map(fp_buffers *from)
{
    fp_blobs *blobs = &from->blobs;
    int is_checked =
        from->verify != FP_VERIFY_READ || from->index.state != FP_STATE_VALID;

    blobs->map = fp_map_new(from->place->fd, from->mmap_mode);
    if (blobs->map == NULL
        || PyObject_GetBuffer(blobs->map, &from->map_view, PyBUF_SIMPLE) < 0)
    {
        return -1;
    }
    if ((uint64_t)from->map_view.len < from->size) {
        return fp_buffers_damaged(from, FP_TRUNCATED,
                                  (uint64_t)from->map_view.len,
                                  "a file that does not become shorter");
    }
    blobs->map_data = from->map_view.buf;
    blobs->map_mode = Py_NewRef(from->mmap_mode);
    blobs->map_filename = fp_map_filename(from->place->path);
    if (blobs->map_filename == NULL) {
        return -1;
    }
    for (size_t i = 0; i < from->index.n_buffers; i++) {
        const fp_sidecar_buffer *buffer = &from->index.buffers[i];
        if (fp_buffers_add(from, buffer->is_read_only) < 0) {
            return -1;
        }
        /* Written to by nobody but through an array of a writable map. */
        blobs->table[i].data =
            (unsigned char *)(uintptr_t)blobs->map_data + buffer->offset;
        blobs->table[i].n_bytes = buffer->length;
        blobs->table[i].in_place = 1;
        blobs->table[i].checked = (unsigned char)is_checked;
    }
    blobs->check = check_mapped;
    blobs->context = from;
    if (from->verify == FP_VERIFY_FULL && from->index.state == FP_STATE_VALID
        && check_blocks(from, 0, from->index.n_hashes) < 0)
    {
        return -1;
    }
    return PyUnicode_CompareWithASCIIString(from->mmap_mode, "r+") == 0
               ? mark_void(from)
               : 0;
}

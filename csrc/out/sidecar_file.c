#include "sidecar_file.h"

#include <stdlib.h>
#include <string.h>

int
fp_sidecar_file_start(fp_sidecar_file *file)
{
    unsigned char header[FP_SIDECAR_FILE_HEADER_BYTES];
    fp_status status = fp_ring_begin_region(file->staging.ring);

    if (status != FP_OK) {
        return fp_staging_result(&file->staging, status);
    }
    fp_sidecar_file_header_encode(header);
    return fp_staging_write(&file->staging, header, sizeof(header));
}

int
fp_sidecar_file_fits(const fp_sidecar_file *file, size_t n_bytes)
{
    size_t n_free = fp_ring_free_bytes(file->staging.ring);

    return n_free > FP_RECORD_PREFIX_MAX
           && n_free - FP_RECORD_PREFIX_MAX > n_bytes;
}

int
fp_sidecar_file_begin(fp_sidecar_file *file, uint64_t n_bytes,
                      int is_read_only)
{
    unsigned char prefix[FP_RECORD_PREFIX_MAX];
    fp_sidecar_index *index = &file->index;
    size_t n_prefix;

    if (index->n_buffers == file->capacity) {
        size_t wanted = file->capacity == 0 ? 16 : file->capacity * 2;
        fp_sidecar_buffer *moved = NULL;
        if (wanted <= SIZE_MAX / sizeof(fp_sidecar_buffer)) {
            moved =
                realloc(index->buffers, wanted * sizeof(fp_sidecar_buffer));
        }
        if (moved == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        index->buffers = moved;
        file->capacity = wanted;
    }
    n_prefix = fp_record_prefix_encode(
        prefix, fp_ring_position(file->staging.ring),
        is_read_only ? FP_RECORD_READ_ONLY : FP_RECORD_WRITABLE, n_bytes);
    if (fp_staging_write(&file->staging, prefix, n_prefix) < 0) {
        return -1;
    }
    index->buffers[index->n_buffers++] = (fp_sidecar_buffer){
        .offset = fp_ring_position(file->staging.ring),
        .length = n_bytes,
        .is_read_only = is_read_only,
    };
    return 0;
}

/* The index's record and all that belongs to it, behind the last buffer. */
static fp_status
write_index(fp_sidecar_file *file, fp_buffer *out)
{
    unsigned char prefix[FP_RECORD_PREFIX_MAX];
    fp_ring *ring = file->staging.ring;
    fp_sidecar_index *index = &file->index;
    uint64_t position = fp_ring_position(ring);
    fp_status status;

    index->region_length = position + fp_record_prefix_bytes(position);
    index->state = FP_STATE_VALID;
    (void)fp_record_prefix_encode(
        prefix, position, FP_RECORD_INDEX,
        fp_sidecar_index_bytes(index->n_buffers, index->region_length));
    status = fp_ring_write(ring, prefix, fp_record_prefix_bytes(position));
    if (status == FP_OK) {
        status = fp_ring_end_region(ring);
    }
    if (status == FP_OK) {
        status = fp_ring_hash_staged(ring);
    }
    if (status != FP_OK) {
        return status;
    }
    const uint64_t *hashes = fp_ring_hashes(ring, &index->n_hashes);
    index->hashes = malloc(index->n_hashes * sizeof(uint64_t) + 1);
    if (index->hashes == NULL) {
        return FP_NO_MEMORY;
    }
    memcpy(index->hashes, hashes, index->n_hashes * sizeof(uint64_t));
    status = fp_sidecar_index_encode(index, out);
    return status == FP_OK ? fp_ring_write(ring, out->data, out->length)
                           : status;
}

fp_status
fp_sidecar_file_finish(fp_sidecar_file *file)
{
    fp_buffer out = {0};
    fp_status status = write_index(file, &out);

    fp_buffer_free(&out);
    return status == FP_OK ? fp_ring_finish(file->staging.ring) : status;
}

int
fp_sidecar_file_reset(fp_sidecar_file *file)
{
    fp_ring_reset(file->staging.ring);
    file->index.n_buffers = 0;
    return fp_sidecar_file_start(file);
}

void
fp_sidecar_file_free(fp_sidecar_file *file)
{
    fp_sidecar_index_free(&file->index);
    file->capacity = 0;
}

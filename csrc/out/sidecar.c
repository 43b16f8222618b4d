#include "sidecar.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int
fp_sidecar_fits(const fp_sidecar *sidecar, size_t n_bytes)
{
    /* An own blob, the shared blob that is open and one more to come. */
    const size_t overhead = 3 * (FP_BLOB_PREFIX_MAX + FP_BLOB_SUFFIX_MAX);
    size_t n_free = fp_ring_free_bytes(sidecar->staging.ring);
    size_t n_shared = sidecar->shared == NULL ? 0 : sidecar->shared_length;

    if (n_bytes < FP_OWN_BLOB_BYTES) {
        n_shared += FP_ALIGN;
    }
    return n_free > overhead + n_shared
           && n_free - overhead - n_shared > n_bytes;
}

int
fp_sidecar_begin(fp_sidecar *sidecar, fp_blob_kind kind, uint64_t n_bytes,
                 uint32_t memo_number)
{
    unsigned char prefix[FP_BLOB_PREFIX_MAX];
    size_t n_prefix;
    fp_blob *blob;

    if (sidecar->n_blobs == sidecar->blobs_capacity) {
        size_t wanted =
            sidecar->blobs_capacity == 0 ? 16 : sidecar->blobs_capacity * 2;
        fp_blob *moved = NULL;
        if (wanted <= SIZE_MAX / sizeof(fp_blob)) {
            moved = realloc(sidecar->blobs, wanted * sizeof(fp_blob));
        }
        if (moved == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        sidecar->blobs = moved;
        sidecar->blobs_capacity = wanted;
    }
    n_prefix = fp_blob_prefix_encode(
        prefix, fp_ring_position(sidecar->staging.ring), kind, n_bytes);
    if (fp_staging_write(&sidecar->staging, prefix, n_prefix) < 0) {
        return -1;
    }
    blob = &sidecar->blobs[sidecar->n_blobs++];
    blob->kind = kind;
    blob->memo_number = memo_number;
    blob->offset = fp_ring_position(sidecar->staging.ring);
    blob->length = n_bytes;
    return 0;
}

int
fp_sidecar_end(fp_sidecar *sidecar)
{
    unsigned char suffix[FP_BLOB_SUFFIX_MAX];
    size_t n_suffix = fp_blob_suffix_encode(
        suffix, sidecar->blobs[sidecar->n_blobs - 1].memo_number);

    return fp_staging_write(&sidecar->staging, suffix, n_suffix);
}

_Static_assert(FP_SHARED_BLOB_BYTES == FP_SPARE_BLOCK_BYTES,
               "a spare block holds a shared blob");

/* --- shared blobs ------------------------------------------------------- */

static size_t
aligned_length(const fp_sidecar *sidecar, size_t n_bytes)
{
    size_t unit = n_bytes >= FP_ALIGN ? FP_ALIGN : 16;
    return (sidecar->shared_length + unit - 1) / unit * unit;
}

int
fp_sidecar_will_open(const fp_sidecar *sidecar, size_t n_bytes)
{
    return sidecar->shared == NULL || sidecar->shared_length == 0
           || aligned_length(sidecar, n_bytes) + n_bytes
                  > FP_SHARED_BLOB_BYTES;
}

int
fp_sidecar_close_shared(fp_sidecar *sidecar)
{
    size_t n_bytes = sidecar->shared_length;

    if (n_bytes == 0) {
        return 0;
    }
    sidecar->shared_length = 0;
    if (fp_sidecar_begin(sidecar, FP_BLOB_BYTEARRAY, n_bytes,
                         sidecar->shared_number)
        < 0)
    {
        return -1;
    }
    if (sidecar->is_silent || n_bytes < FP_SHARED_BLOB_BYTES / 2) {
        if (fp_staging_write(&sidecar->staging, sidecar->shared, n_bytes) < 0)
        {
            return -1;
        }
    }
    else if (fp_staging_pass(&sidecar->staging, sidecar->shared, n_bytes) < 0)
    {
        return -1;
    }
    return fp_sidecar_end(sidecar);
}

int
fp_sidecar_share(fp_sidecar *sidecar, size_t n_bytes,
                 uint32_t number_if_opened, unsigned char **where,
                 size_t *offset)
{
    size_t at;

    if (fp_sidecar_will_open(sidecar, n_bytes)) {
        if (fp_sidecar_close_shared(sidecar) < 0) {
            return -1;
        }
        if (sidecar->shared == NULL) {
            sidecar->shared = fp_spare_take(sidecar->spare);
            if (sidecar->shared == NULL) {
                PyErr_NoMemory();
                return -1;
            }
        }
        sidecar->shared_number = number_if_opened;
    }
    at = aligned_length(sidecar, n_bytes);
    memset(sidecar->shared + sidecar->shared_length, 0,
           at - sidecar->shared_length);
    sidecar->shared_length = at + n_bytes;
    *where = sidecar->shared + at;
    *offset = at;
    return 0;
}

int
fp_sidecar_start(fp_sidecar *sidecar)
{
    unsigned char header[FP_HEADER_BYTES];
    fp_status status;

    sidecar->staging.owner = getpid();
    fp_header_encode_flags(header, sidecar->header_flags);
    if (fp_staging_write(&sidecar->staging, header, sizeof(header)) < 0) {
        return -1;
    }
    status = fp_ring_begin_region(sidecar->staging.ring);
    return fp_staging_result(&sidecar->staging, status);
}

int
fp_sidecar_reset(fp_sidecar *sidecar)
{
    fp_ring_reset(sidecar->staging.ring);
    sidecar->n_blobs = 0;
    sidecar->shared_length = 0;
    sidecar->is_silent = 0;
    return fp_sidecar_start(sidecar);
}

void
fp_sidecar_free(fp_sidecar *sidecar)
{
    free(sidecar->blobs);
    fp_spare_give(sidecar->spare, sidecar->shared);
    sidecar->blobs = NULL;
    sidecar->shared = NULL;
}

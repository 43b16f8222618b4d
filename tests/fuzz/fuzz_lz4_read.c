/* LZ4 frames: our reader on any bytes, beside liblz4's own.
 *
 * Input: u8 how the bytes are cut (reads of the source and of the content),
 * then the stream. Properties: no access outside of any buffer, an end, and
 * where both readers come to the end of the first frame, the same content. A
 * frame that ours accepts is one that liblz4 accepts.
 */
#include "core/lz4_frame.h"

#include "fuzz.h"

#include <lz4frame.h>

/* Enough to see a difference; a bomb stops here. */
#define CONTENT_LIMIT ((size_t)1 << 19)

typedef struct {
    const unsigned char *data;
    size_t n_left;
    size_t n_step; /* at most so many bytes at once */
} memory;

static fp_status
read_memory(fp_source *source, void *target, size_t n_bytes, size_t *n_read)
{
    memory *from = source->context;

    if (n_bytes > from->n_step) {
        n_bytes = from->n_step;
    }
    if (n_bytes > from->n_left) {
        n_bytes = from->n_left;
    }
    if (n_bytes > 0) {
        memcpy(target, from->data, n_bytes);
    }
    from->data += n_bytes;
    from->n_left -= n_bytes;
    *n_read = n_bytes;
    return FP_OK;
}

/* All content of the stream, up to the limit. */
static fp_status
read_ours(const uint8_t *data, size_t n_bytes, size_t n_step, size_t n_piece,
          unsigned char *content, size_t *n_content)
{
    unsigned char *copy = exact_copy(data, n_bytes);
    memory from = {copy, n_bytes, n_step};
    fp_source source = {read_memory, &from};
    fp_lz4_reader *reader;
    fp_status status = fp_lz4_reader_new(&source, 1, &reader);

    CHECK(status == FP_OK);
    *n_content = 0;
    while (*n_content < CONTENT_LIMIT) {
        size_t n_wanted = CONTENT_LIMIT - *n_content;
        size_t n_made;
        unsigned char *piece;
        if (n_wanted > n_piece) {
            n_wanted = n_piece;
        }
        piece = malloc(n_wanted);
        CHECK(piece != NULL);
        status = fp_lz4_reader_read(reader, piece, n_wanted, &n_made);
        CHECK(n_made <= n_wanted);
        if (status == FP_OK && n_made > 0) {
            memcpy(content + *n_content, piece, n_made);
        }
        free(piece);
        if (status != FP_OK || n_made == 0) {
            break;
        }
        *n_content += n_made;
    }
    if (status == FP_CORRUPT || status == FP_TRUNCATED
        || status == FP_UNSUPPORTED)
    {
        CHECK(fp_lz4_reader_error(reader) != NULL);
    }
    CHECK(fp_lz4_reader_offset(reader) <= n_bytes);
    fp_lz4_reader_free(reader);
    free(copy);
    return status;
}

/* The frames that stand one behind the other; 0 where one is wrong or ends
 * too early. */
static int
read_theirs(const uint8_t *data, size_t n_bytes, unsigned char *content,
            size_t *n_content)
{
    LZ4F_dctx *context;
    size_t hint = 1;

    CHECK(!LZ4F_isError(
        LZ4F_createDecompressionContext(&context, LZ4F_VERSION)));
    *n_content = 0;
    while (n_bytes > 0 && *n_content < CONTENT_LIMIT) {
        size_t n_taken = n_bytes;
        size_t n_made = CONTENT_LIMIT - *n_content;
        hint = LZ4F_decompress(context, content + *n_content, &n_made, data,
                               &n_taken, NULL);
        if (LZ4F_isError(hint)) {
            break;
        }
        data += n_taken;
        n_bytes -= n_taken;
        *n_content += n_made;
        if (n_taken == 0 && n_made == 0) {
            break;
        }
    }
    LZ4F_freeDecompressionContext(context);
    return n_bytes == 0 && hint == 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static const size_t steps[] = {1, 7, 64, (size_t)1 << 20};
    static const size_t pieces[] = {3, 1000, 65536, CONTENT_LIMIT};
    unsigned char *ours, *theirs;
    size_t n_ours, n_theirs;
    fp_status status;

    if (n_bytes < 1) {
        return 0;
    }
    ours = malloc(CONTENT_LIMIT);
    theirs = malloc(CONTENT_LIMIT);
    CHECK(ours != NULL && theirs != NULL);
    status = read_ours(data + 1, n_bytes - 1, steps[data[0] & 3],
                       pieces[data[0] >> 2 & 3], ours, &n_ours);
    CHECK(status != FP_IO && status != FP_SINK_FAILED);
    if (read_theirs(data + 1, n_bytes - 1, theirs, &n_theirs)
        && n_theirs < CONTENT_LIMIT)
    {
        CHECK(status == FP_OK);
        CHECK(n_ours == n_theirs && memcmp(ours, theirs, n_ours) == 0);
    }
    free(ours);
    free(theirs);
    return 0;
}

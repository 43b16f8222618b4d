/* LZ4 frames: what our writer makes, our reader and liblz4 read back.
 *
 * Input: u8 level, u8 how the bytes are cut, then a seed of the content, which
 * is repeated to some blocks' length where it is long enough.
 */
#include "core/lz4_frame.h"

#include "core/buffer.h"
#include "fuzz.h"

#include <lz4frame.h>

static fp_status
write_buffer(fp_sink *sink, const void *data, size_t n_bytes)
{
    return fp_buffer_append(sink->context, data, n_bytes);
}

static fp_status
read_buffer(fp_source *source, void *target, size_t n_bytes, size_t *n_read)
{
    fp_buffer *left = source->context;

    *n_read = n_bytes < left->length ? n_bytes : left->length;
    if (*n_read > 0) {
        memcpy(target, left->data, *n_read);
    }
    left->data += *n_read;
    left->length -= *n_read;
    return FP_OK;
}

static void
read_back(fp_buffer framed, const unsigned char *content, size_t n_content)
{
    fp_source source = {read_buffer, &framed};
    fp_lz4_reader *reader;
    unsigned char *again = malloc(n_content + 1);
    size_t n_again = 0;
    size_t n_made = 1;

    CHECK(again != NULL);
    CHECK(fp_lz4_reader_new(&source, 1, &reader) == FP_OK);
    while (n_made > 0) {
        CHECK(fp_lz4_reader_read(reader, again + n_again,
                                 n_content + 1 - n_again, &n_made)
              == FP_OK);
        n_again += n_made;
        CHECK(n_again <= n_content);
    }
    CHECK(n_again == n_content && memcmp(again, content, n_content) == 0);
    fp_lz4_reader_free(reader);
    free(again);
}

static void
read_back_theirs(const fp_buffer *framed, const unsigned char *content,
                 size_t n_content)
{
    LZ4F_dctx *context;
    unsigned char *again = malloc(n_content + 1);
    size_t n_again = n_content + 1;
    size_t n_taken = framed->length;

    CHECK(again != NULL);
    CHECK(!LZ4F_isError(
        LZ4F_createDecompressionContext(&context, LZ4F_VERSION)));
    CHECK(
        LZ4F_decompress(context, again, &n_again, framed->data, &n_taken, NULL)
        == 0);
    CHECK(n_taken == framed->length && n_again == n_content);
    CHECK(memcmp(again, content, n_content) == 0);
    LZ4F_freeDecompressionContext(context);
    free(again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    fp_buffer framed = {0};
    fp_sink sink = {.write = write_buffer, .context = &framed};
    fp_lz4_writer *writer;
    unsigned char *content;
    size_t n_seed, n_content, n_step;

    if (n_bytes < 2) {
        return 0;
    }
    n_seed = n_bytes - 2;
    n_content = n_seed > 256 ? n_seed * 4099 : n_seed;
    if (n_content > (size_t)3 << 20) {
        n_content = (size_t)3 << 20;
    }
    n_step = (size_t)1 << (data[1] % 22);
    if (n_step < n_content / 4096) {
        n_step = n_content / 4096;
    }
    content = malloc(n_content + 1);
    CHECK(content != NULL);
    for (size_t i = 0; i < n_content; i++) {
        content[i] = data[2 + i % n_seed];
    }
    CHECK(fp_lz4_writer_new(&sink, data[0] % 13, 1, &writer) == FP_OK);
    for (size_t at = 0; at < n_content; at += n_step) {
        size_t n_left = n_content - at;
        CHECK(fp_lz4_writer_write(writer, content + at,
                                  n_step < n_left ? n_step : n_left)
              == FP_OK);
    }
    CHECK(fp_lz4_writer_finish(writer) == FP_OK);
    fp_lz4_writer_free(writer);
    read_back(framed, content, n_content);
    read_back_theirs(&framed, content, n_content);
    fp_buffer_free(&framed);
    free(content);
    return 0;
}

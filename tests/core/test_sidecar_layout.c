#include <string.h>

#include <xxhash.h>

#include "check.h"
#include "sidecar_layout.h"

/* The lengths of the buffers in most cases; odd ones are read-only. */
static const uint64_t lengths[] = {24, 0, 5600, 1, 64, 3 << 20};
#define N_BUFFERS (sizeof(lengths) / sizeof(lengths[0]))

/* An index that puts every buffer where it belongs. */
static fp_sidecar_index
make_index(fp_sidecar_buffer *buffers, uint64_t *hashes, size_t n_buffers)
{
    uint64_t position = FP_SIDECAR_FILE_HEADER_BYTES;
    for (size_t i = 0; i < n_buffers; i++) {
        buffers[i] = (fp_sidecar_buffer){
            .offset = position + fp_record_prefix_bytes(position),
            .length = lengths[i],
            .is_read_only = (int)(i % 2),
        };
        position = buffers[i].offset + buffers[i].length;
    }
    fp_sidecar_index index = {
        .region_length = position + fp_record_prefix_bytes(position),
        .state = FP_STATE_VALID,
        .n_buffers = n_buffers,
        .buffers = buffers,
        .hashes = hashes,
    };
    index.n_hashes = (size_t)((index.region_length + (1 << 20) - 1) >> 20);
    for (size_t i = 0; i < index.n_hashes; i++) {
        hashes[i] = 0x0123456789abcdef * (i + 1);
    }
    return index;
}

static void
encode(size_t n_buffers, fp_sidecar_index *index, fp_buffer *out)
{
    static fp_sidecar_buffer buffers[N_BUFFERS];
    static uint64_t hashes[8];
    *index = make_index(buffers, hashes, n_buffers);
    *out = (fp_buffer){0};
    CHECK_OK(fp_sidecar_index_encode(index, out));
    CHECK(out->length
          == fp_sidecar_index_bytes(n_buffers, index->region_length));
    CHECK(index->total_length == index->region_length + out->length);
    CHECK(index->total_length % FP_ALIGN == 0);
}

static void
sidecar_header(const char *directory)
{
    unsigned char header[FP_SIDECAR_FILE_HEADER_BYTES];
    fp_layout_error error;
    (void)directory;
    fp_sidecar_file_header_encode(header);
    CHECK(memcmp(header, "fastpersist sdc\0\1\0\0\0\0\0\0\0", 24) == 0);
    CHECK_OK(fp_sidecar_file_header_decode(header, &error));
    for (size_t i = 0; i < sizeof(header) * 8; i++) {
        header[i / 8] ^= (unsigned char)(1 << i % 8);
        fp_status status = fp_sidecar_file_header_decode(header, &error);
        CHECK(status
              == (i / 8 < 16                ? FP_NOT_OURS
                  : i / 8 >= 20 || i == 128 ? FP_CORRUPT
                                            : FP_TOO_NEW));
        CHECK(error.expected != NULL);
        header[i / 8] ^= (unsigned char)(1 << i % 8);
    }
}

static void
sidecar_records(const char *directory)
{
    unsigned char prefix[FP_RECORD_PREFIX_MAX];
    fp_layout_error error;
    (void)directory;
    for (uint64_t position = 24; position < 24 + 130; position++) {
        for (int kind = 0; kind < 3; kind++) {
            fp_record_kind found;
            uint64_t length;
            size_t n_bytes = fp_record_prefix_encode(
                prefix, position, (fp_record_kind)kind, 1000 + position);
            CHECK(n_bytes == fp_record_prefix_bytes(position));
            CHECK(n_bytes >= 16 && n_bytes <= FP_RECORD_PREFIX_MAX);
            CHECK((position + n_bytes) % FP_ALIGN == 0);
            CHECK_OK(fp_record_prefix_decode(prefix, position, &found, &length,
                                             &error));
            CHECK((int)found == kind && length == 1000 + position);
            for (size_t i = 0; i < n_bytes - 8; i++) {
                prefix[i] ^= 1;
                CHECK(fp_record_prefix_decode(prefix, position, &found,
                                              &length, &error)
                      == FP_CORRUPT);
                prefix[i] ^= 1;
            }
        }
    }
}

static void
sidecar_index_round_trip(const char *directory)
{
    (void)directory;
    for (size_t n = 0; n <= N_BUFFERS; n++) {
        fp_sidecar_index index, decoded;
        fp_buffer out;
        fp_layout_error error;
        uint64_t n_bytes;
        encode(n, &index, &out);
        CHECK_OK(fp_sidecar_tail_decode(out.data + out.length - 64,
                                        index.total_length, &n_bytes, &error));
        CHECK(n_bytes == out.length);
        CHECK_OK(
            fp_sidecar_index_decode(out.data, out.length, &decoded, &error));
        CHECK(decoded.root == index.root && decoded.root != 0);
        CHECK(decoded.region_length == index.region_length);
        CHECK(decoded.total_length == index.total_length);
        CHECK(decoded.n_buffers == n && decoded.n_hashes == index.n_hashes);
        for (size_t i = 0; i < n; i++) {
            CHECK(decoded.buffers[i].offset == index.buffers[i].offset);
            CHECK(decoded.buffers[i].length == index.buffers[i].length);
            CHECK(decoded.buffers[i].is_read_only
                  == index.buffers[i].is_read_only);
        }
        CHECK(memcmp(decoded.hashes, index.hashes,
                     index.n_hashes * sizeof(uint64_t))
              == 0);
        fp_sidecar_index_free(&decoded);
        fp_buffer_free(&out);
    }
}

static void
sidecar_index_every_flip_and_cut(const char *directory)
{
    fp_sidecar_index index, decoded;
    fp_buffer out;
    fp_layout_error error;
    (void)directory;
    encode(3, &index, &out);
    for (size_t i = 0; i < out.length * 8; i++) {
        out.data[i / 8] ^= (unsigned char)(1 << i % 8);
        CHECK(fp_sidecar_index_decode(out.data, out.length, &decoded, &error)
              == FP_CORRUPT);
        CHECK(error.offset <= out.length && error.expected != NULL);
        CHECK(decoded.buffers == NULL && decoded.hashes == NULL);
        out.data[i / 8] ^= (unsigned char)(1 << i % 8);
    }
    for (size_t n = 0; n < out.length; n++) {
        fp_status status =
            fp_sidecar_index_decode(out.data, n, &decoded, &error);
        CHECK(status == FP_CORRUPT || status == FP_TRUNCATED);
        CHECK(decoded.buffers == NULL && decoded.hashes == NULL);
    }
    fp_buffer_free(&out);
}

static void
put_u64(unsigned char *at, uint64_t value)
{
    for (int i = 0; i < 8; i++) {
        at[i] = (unsigned char)(value >> (8 * i));
    }
}

/* Numbers that a forger has given a right root. */
static void
sidecar_index_forged(const char *directory)
{
    static const uint64_t lies[] = {
        0,
        1,
        15,
        64,
        UINT64_C(1) << 31,
        1 << 20,
        UINT64_MAX,
        UINT64_MAX - 63,
        UINT64_C(1) << 63,
        UINT64_C(1) << 62,
    };
    (void)directory;
    for (size_t field = 0; field < 3 * 16 / 8 + 5 + 4; field++) {
        for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
            fp_sidecar_index index, decoded;
            fp_buffer out, again = {0};
            fp_layout_error error;
            uint64_t n_bytes;
            encode(3, &index, &out);
            size_t n_fields = 3 * 16 / 8 + index.n_hashes;
            unsigned char *tail = out.data + out.length - 64;
            unsigned char *at = field < n_fields
                                    ? out.data + 8 * field
                                    : tail + 8 * ((field - n_fields) % 4);
            put_u64(at, lies[i]);
            put_u64(tail + 40, XXH3_64bits(out.data, out.length - 32));
            (void)fp_sidecar_tail_decode(tail, index.total_length, &n_bytes,
                                         &error);
            CHECK(n_bytes <= index.total_length);
            if (fp_sidecar_index_decode(out.data, out.length, &decoded, &error)
                == FP_OK)
            {
                /* Nothing but a hash, or a field that was so before. */
                CHECK_OK(fp_sidecar_index_encode(&decoded, &again));
                CHECK(again.length == out.length
                      && memcmp(again.data, out.data, out.length) == 0);
                fp_sidecar_index_free(&decoded);
            }
            fp_buffer_free(&again);
            fp_buffer_free(&out);
        }
    }
}

static void
sidecar_footer_extension(const char *directory)
{
    unsigned char header[FP_HEADER_BYTES];
    fp_layout_error error;
    fp_buffer out = {0};
    fp_footer decoded;
    uint64_t hash = 5;
    char environment[] = "{}";
    fp_footer footer = {
        .arrays_offset = FP_HEADER_BYTES,
        .graph_offset = FP_HEADER_BYTES,
        .graph_length = 100,
        .state = FP_STATE_VALID,
        .n_hashes = 1,
        .hashes = &hash,
        .environment = environment,
        .environment_bytes = 2,
        .flags = FP_FLAG_SIDECAR_FILE,
        .n_buffers = 3,
        .sidecar_file_length = 640,
        .sidecar_file_root = UINT64_C(0x1122334455667788),
    };
    (void)directory;
    CHECK_OK(fp_footer_encode(&footer, &out));
    CHECK_OK(fp_footer_decode(out.data, out.length, &decoded, &error));
    CHECK(decoded.flags == FP_FLAG_SIDECAR_FILE && decoded.n_buffers == 3);
    CHECK(decoded.sidecar_file_length == 640);
    CHECK(decoded.sidecar_file_root == footer.sidecar_file_root);
    CHECK(decoded.n_hashes == 1 && decoded.hashes[0] == 5);
    fp_footer_free(&decoded);
    for (size_t i = 0; i < out.length; i++) {
        out.data[i] ^= 0x10;
        CHECK(fp_footer_decode(out.data, out.length, &decoded, &error)
              != FP_OK);
        out.data[i] ^= 0x10;
    }
    fp_buffer_free(&out);

    fp_header_encode_flags(header, FP_FLAG_SIDECAR_FILE);
    CHECK_OK(fp_header_decode(header, sizeof(header), &error));
    CHECK(fp_header_flags(header) == FP_FLAG_SIDECAR_FILE);
    for (size_t n = 5; n < sizeof(header); n++) {
        CHECK(fp_header_decode(header, n, &error) == FP_TRUNCATED);
    }
    fp_header_encode(header);
    CHECK(fp_header_flags(header) == 0);
}

const test_case sidecar_layout_tests[] = {
    {"sidecar_header", sidecar_header},
    {"sidecar_records", sidecar_records},
    {"sidecar_index_round_trip", sidecar_index_round_trip},
    {"sidecar_index_every_flip_and_cut", sidecar_index_every_flip_and_cut},
    {"sidecar_index_forged", sidecar_index_forged},
    {"sidecar_footer_extension", sidecar_footer_extension},
    {NULL, NULL},
};

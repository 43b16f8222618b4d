#include <string.h>

#include <xxhash.h>

#include "block_hash.h"
#include "buffer.h"
#include "check.h"

static void
buffer_appends(const char *directory)
{
    (void)directory;
    fp_buffer buffer = {0};
    CHECK_OK(fp_buffer_append(&buffer, NULL, 0));
    CHECK_OK(fp_buffer_append_zeros(&buffer, 0));
    CHECK(buffer.data == NULL);
    CHECK_OK(fp_buffer_append(&buffer, "ab", 2));
    CHECK_OK(fp_buffer_append_u32(&buffer, 0x04030201));
    CHECK_OK(fp_buffer_append_u64(&buffer, UINT64_C(0x0807060504030201)));
    CHECK_OK(fp_buffer_append_zeros(&buffer, 3));
    const unsigned char expected[] = {'a', 'b', 1, 2, 3, 4, 1, 2, 3,
                                      4,   5,   6, 7, 8, 0, 0, 0};
    CHECK(buffer.length == sizeof(expected));
    CHECK(memcmp(buffer.data, expected, sizeof(expected)) == 0);

    size_t length = buffer.length;
    for (unsigned i = 0; i < 100000; i++) {
        CHECK_OK(fp_buffer_append_u32(&buffer, i));
    }
    CHECK(buffer.length == length + 400000);
    CHECK(buffer.capacity < 2 * buffer.length);
    CHECK(buffer.data[length + 4 * 70000] == (70000 & 0xff));

    length = buffer.length;
    CHECK(fp_buffer_reserve(&buffer, SIZE_MAX) == FP_NO_MEMORY);
    CHECK(fp_buffer_reserve(&buffer, SIZE_MAX - length) == FP_NO_MEMORY);
    CHECK(fp_buffer_reserve(&buffer, SIZE_MAX / 2) == FP_NO_MEMORY);
    CHECK(buffer.length == length);
    fp_buffer_free(&buffer);
    CHECK(buffer.data == NULL && buffer.length == 0);
}

static void
buffer_varints(const char *directory)
{
    (void)directory;
    static const struct {
        uint64_t value;
        size_t n_bytes;
        unsigned char bytes[10];
    } cases[] = {
        {0, 1, {0}},
        {1, 1, {1}},
        {127, 1, {127}},
        {128, 2, {0x80, 1}},
        {300, 2, {0xac, 2}},
        {16384, 3, {0x80, 0x80, 1}},
        {UINT64_MAX, 10, {255, 255, 255, 255, 255, 255, 255, 255, 255, 1}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        fp_buffer buffer = {0};
        CHECK_OK(fp_buffer_append_varint(&buffer, cases[i].value));
        CHECK(buffer.length == cases[i].n_bytes);
        CHECK(memcmp(buffer.data, cases[i].bytes, buffer.length) == 0);
        fp_buffer_free(&buffer);
    }
}

static void
hash_known_values(const char *directory)
{
    (void)directory;
    CHECK(fp_xxh3(NULL, 0) == UINT64_C(0x2d06800538d394c2));
    CHECK(fp_xxh3("", 0) == UINT64_C(0x2d06800538d394c2));
    /* The dispatching functions against the plain ones. */
    random_source source = {1};
    unsigned char *data = random_bytes_new(&source, 5000);
    for (size_t n_bytes = 0; n_bytes < 5000; n_bytes++) {
        CHECK(fp_xxh3(data, n_bytes) == XXH3_64bits(data, n_bytes));
    }
    for (size_t n_first = 0; n_first <= 2000; n_first += 7) {
        uint64_t hash;
        CHECK_OK(fp_xxh3_pair(data, n_first, data + n_first, 2000 - n_first,
                              &hash));
        CHECK(hash == fp_xxh3(data, 2000));
    }
    uint64_t hash;
    CHECK_OK(fp_xxh3_pair(NULL, 0, NULL, 0, &hash));
    CHECK(hash == fp_xxh3(NULL, 0));
    free(data);
}

/* The hashes of n_bytes, one block at a time, by the one-shot function. */
static void
check_region(const uint64_t *hashes, const unsigned char *data, size_t n_bytes)
{
    for (size_t i = 0; i * FP_HASH_BLOCK_BYTES < n_bytes; i++) {
        size_t n_left = n_bytes - i * FP_HASH_BLOCK_BYTES;
        if (n_left > FP_HASH_BLOCK_BYTES) {
            n_left = FP_HASH_BLOCK_BYTES;
        }
        CHECK(hashes[i]
              == XXH3_64bits(data + i * FP_HASH_BLOCK_BYTES, n_left));
    }
}

static size_t
count_blocks(size_t n_bytes)
{
    return (n_bytes + FP_HASH_BLOCK_BYTES - 1) / FP_HASH_BLOCK_BYTES;
}

static void
hash_streaming_equals_one_shot(const char *directory)
{
    (void)directory;
    random_source source = {2};
    const size_t n_most = 3 * FP_HASH_BLOCK_BYTES + 12345;
    unsigned char *data = random_bytes_new(&source, n_most);
    const size_t totals[] = {0,
                             1,
                             FP_HASH_BLOCK_BYTES - 1,
                             FP_HASH_BLOCK_BYTES,
                             FP_HASH_BLOCK_BYTES + 1,
                             2 * FP_HASH_BLOCK_BYTES,
                             n_most};
    const size_t chunks[] = {1021,
                             4096,
                             65536,
                             FP_HASH_BLOCK_BYTES / 4,
                             FP_HASH_BLOCK_BYTES - 1,
                             FP_HASH_BLOCK_BYTES,
                             FP_HASH_BLOCK_BYTES + 1,
                             SIZE_MAX,
                             0}; /* 0: random */
    fp_block_hash hash = {0};
    for (size_t i = 0; i < sizeof(totals) / sizeof(totals[0]); i++) {
        for (size_t j = 0; j < sizeof(chunks) / sizeof(chunks[0]); j++) {
            size_t total = totals[i];
            size_t n_done = 0;
            while (n_done < total) {
                size_t n_bytes = chunks[j];
                if (n_bytes == 0) {
                    n_bytes =
                        random_below(&source, random_below(&source, 4) == 0
                                                  ? 2 * FP_HASH_BLOCK_BYTES
                                                  : 5000);
                }
                if (n_bytes > total - n_done) {
                    n_bytes = total - n_done;
                }
                CHECK_OK(fp_block_hash_update(&hash, data + n_done, n_bytes));
                n_done += n_bytes;
            }
            CHECK_OK(fp_block_hash_end_region(&hash));
            CHECK(hash.n_hashes == count_blocks(total));
            check_region(hash.hashes, data, total);
            fp_block_hash_reset(&hash);
        }
    }
    fp_block_hash_free(&hash);
    free(data);
}

static void
hash_byte_by_byte(const char *directory)
{
    (void)directory;
    random_source source = {3};
    const size_t n_bytes = FP_HASH_BLOCK_BYTES + 3;
    unsigned char *data = random_bytes_new(&source, n_bytes);
    fp_block_hash hash = {0};
    for (size_t i = 0; i < n_bytes; i++) {
        CHECK_OK(fp_block_hash_update(&hash, data + i, 1));
    }
    CHECK_OK(fp_block_hash_end_region(&hash));
    CHECK(hash.n_hashes == 2);
    check_region(hash.hashes, data, n_bytes);
    fp_block_hash_free(&hash);
    free(data);
}

static void
hash_regions_restart_blocks(const char *directory)
{
    (void)directory;
    random_source source = {4};
    const size_t n_bytes = FP_HASH_BLOCK_BYTES * 2 + 99;
    unsigned char *data = random_bytes_new(&source, n_bytes);
    fp_block_hash hash = {0};
    /* Many regions, so that the table of hashes grows a few times. */
    for (size_t i = 0; i < 50; i++) {
        CHECK_OK(fp_block_hash_update(&hash, data, i));
        CHECK_OK(fp_block_hash_end_region(&hash));
        CHECK_OK(fp_block_hash_end_region(&hash));
    }
    CHECK(hash.n_hashes == 49); /* the empty one has none */
    for (size_t i = 1; i < 50; i++) {
        CHECK(hash.hashes[i - 1] == fp_xxh3(data, i));
    }
    CHECK_OK(fp_block_hash_update(&hash, data, n_bytes));
    CHECK_OK(fp_block_hash_end_region(&hash));
    CHECK(hash.n_hashes == 52);
    check_region(hash.hashes + 49, data, n_bytes);

    /* A reset in the middle of a block forgets it too. */
    CHECK_OK(fp_block_hash_update(&hash, data, 1000));
    fp_block_hash_reset(&hash);
    CHECK_OK(fp_block_hash_update(&hash, data, 10));
    CHECK_OK(fp_block_hash_end_region(&hash));
    CHECK(hash.n_hashes == 1 && hash.hashes[0] == fp_xxh3(data, 10));
    fp_block_hash_free(&hash);
    fp_block_hash_free(&hash);
    free(data);
}

const test_case buffer_and_hash_tests[] = {
    {"buffer_appends", buffer_appends},
    {"buffer_varints", buffer_varints},
    {"hash_known_values", hash_known_values},
    {"hash_streaming_equals_one_shot", hash_streaming_equals_one_shot},
    {"hash_byte_by_byte", hash_byte_by_byte},
    {"hash_regions_restart_blocks", hash_regions_restart_blocks},
    {NULL, NULL},
};

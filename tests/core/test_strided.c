#include <string.h>

#include "check.h"
#include "strided.h"

/* Element by element, by the definition. */
static void
gather(unsigned char *out, const unsigned char *data, int n_dims,
       const int64_t *shape, const int64_t *strides, size_t item_bytes)
{
    int64_t n_items = 1;
    for (int i = 0; i < n_dims; i++) {
        n_items *= shape[i];
    }
    for (int64_t k = 0; k < n_items; k++) {
        int64_t rest = k;
        int64_t offset = 0;
        for (int i = n_dims; i-- > 0;) {
            offset += rest % shape[i] * strides[i];
            rest /= shape[i];
        }
        memcpy(out + (size_t)k * item_bytes, data + offset, item_bytes);
    }
}

static void
compare(random_source *source, int n_dims, const int64_t *shape,
        const int64_t *strides, size_t item_bytes)
{
    /* The memory that the array spans, exactly: a byte outside it is an error
     * for the sanitizer. */
    int64_t lowest = 0;
    int64_t highest = 0;
    size_t n_bytes = item_bytes;
    for (int i = 0; i < n_dims; i++) {
        n_bytes *= (size_t)shape[i];
        if (shape[i] > 0) {
            int64_t reach = (shape[i] - 1) * strides[i];
            *(reach < 0 ? &lowest : &highest) += reach;
        }
    }
    size_t n_memory = (size_t)(highest - lowest) + item_bytes;
    unsigned char *memory = random_bytes_new(source, n_memory);
    unsigned char *moved = random_bytes_new(source, n_memory);
    memcpy(moved, memory, n_memory);
    unsigned char *expected = malloc(n_bytes + 1);
    CHECK(expected != NULL);
    gather(expected, memory - lowest, n_dims, shape, strides, item_bytes);

    for (int round = 0; round < 4; round++) {
        unsigned char *out = malloc(n_bytes + 1);
        CHECK(out != NULL);
        memset(out, 0xa5, n_bytes + 1);
        fp_strided cursor;
        fp_strided_init(&cursor, n_dims, shape, strides, item_bytes);
        CHECK(cursor.n_left == n_bytes);
        size_t n_done = 0;
        do {
            size_t n_room =
                round == 0 ? n_bytes + 5 : 1 + random_below(source, 40);
            if (round == 2) {
                n_room = 1;
            }
            size_t n_space = n_bytes - n_done;
            size_t n_copied = fp_strided_copy(
                &cursor, n_done % 2 ? memory - lowest : moved - lowest,
                out + n_done,
                n_room < n_space || round == 0 ? n_room : n_space);
            CHECK(n_copied == (n_room < n_space ? n_room : n_space));
            n_done += n_copied;
            CHECK(cursor.n_left == n_bytes - n_done);
        } while (n_done < n_bytes);
        CHECK(fp_strided_copy(&cursor, memory - lowest, out, 10) == 0);
        CHECK(memcmp(out, expected, n_bytes) == 0);
        CHECK(out[n_bytes] == 0xa5);
        free(out);
    }
    free(expected);
    free(moved);
    free(memory);
}

static void
strided_random_arrays(const char *directory)
{
    (void)directory;
    random_source source = {21};
    const size_t items[] = {1, 2, 3, 4, 5, 8, 12, 16, 24, 32};
    for (int round = 0; round < 3000; round++) {
        int n_dims = (int)random_below(&source, 6);
        int64_t shape[6];
        int64_t strides[6];
        size_t item_bytes = items[random_below(&source, 10)];
        int order[6];
        for (int i = 0; i < n_dims; i++) {
            shape[i] = (int64_t)random_below(&source, 7);
            if (shape[i] == 0 && random_below(&source, 10) != 0) {
                shape[i] = 1;
            }
            order[i] = i;
        }
        for (int i = n_dims - 1; i > 0; i--) {
            int j = (int)random_below(&source, (size_t)i + 1);
            if (random_below(&source, 2)) {
                int swapped = order[i];
                order[i] = order[j];
                order[j] = swapped;
            }
        }
        /* From the innermost in memory outward: sometimes packed, sometimes
         * with a gap, stepping back, or standing still. */
        int64_t next = (int64_t)item_bytes;
        for (int i = n_dims; i-- > 0;) {
            int axis = order[i];
            switch (random_below(&source, 6)) {
            case 0:
                strides[axis] = 0;
                continue;
            case 1:
                next += (int64_t)random_below(&source, 20);
                break;
            case 2:
                next *= 2;
                break;
            default:
                break;
            }
            strides[axis] = random_below(&source, 4) == 0 ? -next : next;
            next *= shape[axis] > 0 ? shape[axis] : 1;
        }
        compare(&source, n_dims, shape, strides, item_bytes);
    }
}

static void
strided_merges_axes(const char *directory)
{
    (void)directory;
    fp_strided cursor;
    const int64_t shape[] = {4, 1, 5, 6};
    const int64_t packed[] = {240, 7, 48, 8};
    fp_strided_init(&cursor, 4, shape, packed, 8);
    CHECK(cursor.n_dims == 1);
    CHECK(cursor.shape[0] == 120 && cursor.strides[0] == 8);
    const int64_t gapped[] = {300, 7, 48, 8};
    fp_strided_init(&cursor, 4, shape, gapped, 8);
    CHECK(cursor.n_dims == 2);
    CHECK(cursor.shape[1] == 30 && cursor.strides[0] == 300);
    const int64_t every_second[] = {480, 7, 96, 16};
    fp_strided_init(&cursor, 4, shape, every_second, 8);
    CHECK(cursor.n_dims == 1 && cursor.strides[0] == 16);
    /* Strides whose product with an extent overflows. */
    const int64_t huge[] = {INT64_MAX, INT64_MAX, INT64_MIN, INT64_MAX};
    fp_strided_init(&cursor, 4, shape, huge, 8);
    CHECK(cursor.n_left == 960);
    const int64_t empty[] = {INT64_MAX, 0, INT64_MAX, 2};
    fp_strided_init(&cursor, 4, empty, huge, 8);
    CHECK(cursor.n_left == 0);
    unsigned char byte;
    CHECK(fp_strided_copy(&cursor, &byte, &byte, 1) == 0);
    fp_strided_init(&cursor, 0, NULL, NULL, 8);
    CHECK(cursor.n_left == 8);
}

static void
strided_most_dimensions(const char *directory)
{
    (void)directory;
    random_source source = {22};
    int64_t shape[FP_STRIDED_MAX_DIMS];
    int64_t strides[FP_STRIDED_MAX_DIMS];
    /* Two long axes outside, then many of one element and a few of two whose
     * strides do not let them merge. */
    for (int i = 0; i < FP_STRIDED_MAX_DIMS; i++) {
        shape[i] = i % 9 == 0 ? 2 : 1;
        strides[i] = 64 - i;
    }
    compare(&source, FP_STRIDED_MAX_DIMS, shape, strides, 8);
}

static void
strided_zero_gaps(const char *directory)
{
    (void)directory;
    random_source source = {23};
    for (int round = 0; round < 500; round++) {
        size_t item_bytes = 1 + random_below(&source, 30);
        size_t n_bytes = random_below(&source, 200);
        size_t phase = random_below(&source, item_bytes);
        unsigned char covered[32];
        for (size_t i = 0; i < item_bytes; i++) {
            covered[i] = (unsigned char)random_below(&source, 2);
        }
        unsigned char *data = random_bytes_new(&source, n_bytes);
        unsigned char *expected = malloc(n_bytes + 1);
        CHECK(expected != NULL);
        for (size_t i = 0; i < n_bytes; i++) {
            expected[i] = covered[(phase + i) % item_bytes] ? data[i] : 0;
        }
        fp_strided_zero_gaps(data, n_bytes, covered, item_bytes, phase);
        CHECK(memcmp(data, expected, n_bytes) == 0);
        free(expected);
        free(data);
    }
}

const test_case strided_tests[] = {
    {"strided_random_arrays", strided_random_arrays},
    {"strided_merges_axes", strided_merges_axes},
    {"strided_most_dimensions", strided_most_dimensions},
    {"strided_zero_gaps", strided_zero_gaps},
    {NULL, NULL},
};

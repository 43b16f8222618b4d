#include <string.h>

#include "check.h"
#include "utf8.h"

/* One character, by the definition. */
static size_t
encode_one(unsigned char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (unsigned char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (unsigned char)(0xc0 + c / 64);
        out[1] = (unsigned char)(0x80 + c % 64);
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (unsigned char)(0xe0 + c / 4096);
        out[1] = (unsigned char)(0x80 + c / 64 % 64);
        out[2] = (unsigned char)(0x80 + c % 64);
        return 3;
    }
    out[0] = (unsigned char)(0xf0 + c / 262144);
    out[1] = (unsigned char)(0x80 + c / 4096 % 64);
    out[2] = (unsigned char)(0x80 + c / 64 % 64);
    out[3] = (unsigned char)(0x80 + c % 64);
    return 4;
}

/* The characters in memory of exactly their size, for the sanitizer. */
static void *
narrowed(const uint32_t *chars, size_t n, int width)
{
    unsigned char *memory = malloc(n * (size_t)width + (n == 0));
    CHECK(memory != NULL);
    for (size_t i = 0; i < n; i++) {
        uint8_t c1 = (uint8_t)chars[i];
        uint16_t c2 = (uint16_t)chars[i];
        const void *from = width == 1   ? (const void *)&c1
                           : width == 2 ? (const void *)&c2
                                        : (const void *)&chars[i];
        memcpy(memory + i * (size_t)width, from, (size_t)width);
    }
    return memory;
}

static void
compare(random_source *source, const uint32_t *chars, size_t n, int width)
{
    unsigned char *expected = malloc(4 * n + 1);
    unsigned char *out;
    void *given = narrowed(chars, n, width);
    size_t n_bytes = 0;
    size_t next = 0;

    CHECK(expected != NULL);
    for (size_t i = 0; i < n; i++) {
        n_bytes += encode_one(expected + n_bytes, chars[i]);
    }
    CHECK(fp_utf8_length(given, width, n) == n_bytes);

    /* All at once, into exactly as much room. */
    out = malloc(n_bytes + (n_bytes == 0));
    CHECK(out != NULL);
    CHECK(fp_utf8_encode(given, width, n, &next, out, out + n_bytes)
          == out + n_bytes);
    CHECK(next == n && memcmp(out, expected, n_bytes) == 0);
    free(out);

    /* Piece by piece: what does not fit is left, and nothing behind written. */
    next = 0;
    for (size_t at = 0; at < n_bytes;) {
        size_t room = 4 + random_below(source, 70);
        unsigned char *stop;
        size_t before = next;
        out = malloc(room);
        CHECK(out != NULL);
        stop = fp_utf8_encode(given, width, n, &next, out, out + room);
        CHECK(next > before && next <= n);
        CHECK(next == n || (size_t)(stop - out) > room - 4);
        CHECK((size_t)(stop - out) <= n_bytes - at);
        CHECK(memcmp(out, expected + at, (size_t)(stop - out)) == 0);
        at += (size_t)(stop - out);
        free(out);
    }
    CHECK(next == n);
    free(given);
    free(expected);
}

/* A character that takes up to so many bytes. */
static uint32_t
random_char(random_source *source, int at_most)
{
    static const uint32_t limits[] = {0x80, 0x800, 0x10000, 0x110000};
    static const uint32_t edges[] = {0,      0x7f,    0x80,     0x7ff,  0x800,
                                     0xd7ff, 0xd800,  0xdfff,   0xe000, 0xfffd,
                                     0xffff, 0x10000, 0x10ffff, 0xff,   0x100};
    if (random_below(source, 8) == 0) {
        uint32_t c = edges[random_below(source, sizeof(edges) / 4)];
        if (c < limits[at_most - 1]) {
            return c;
        }
    }
    uint32_t low = at_most == 1 ? 0 : limits[at_most - 2];
    return low + (uint32_t)random_below(source, limits[at_most - 1] - low);
}

static void
utf8_random_text(const char *directory)
{
    random_source source = {1};

    (void)directory;
    for (int round = 0; round < 6000; round++) {
        uint32_t chars[300];
        static const int widths[] = {1, 2, 4};
        int width = widths[random_below(&source, 3)];
        int longest = width == 1 ? 2 : width == 2 ? 3 : 4;
        size_t n = random_below(&source, round % 50 == 0 ? 300 : 60);
        /* Runs of one length, or a mixture. */
        int length = 1 + (int)random_below(&source, (size_t)longest);
        size_t change = 1 + random_below(&source, 30);
        for (size_t i = 0; i < n; i++) {
            if (i % change == 0) {
                length = 1 + (int)random_below(&source, (size_t)longest);
            }
            chars[i] = random_char(&source, length);
            if (width == 1) {
                chars[i] &= 0xff;
            }
        }
        compare(&source, chars, n, width);
    }
}

/* Sums in small integers do not overflow. */
static void
utf8_long_text(const char *directory)
{
    static const uint32_t samples[] = {0xff, 0xffff, 0x10ffff};
    static const int widths[] = {1, 2, 4};
    random_source source = {2};

    (void)directory;
    for (int i = 0; i < 3; i++) {
        size_t n = 200000 + random_below(&source, 100);
        uint32_t *chars = malloc(n * sizeof(*chars));
        CHECK(chars != NULL);
        for (size_t k = 0; k < n; k++) {
            chars[k] = samples[i];
        }
        compare(&source, chars, n, widths[i]);
        free(chars);
    }
}

static void
utf8_every_character(const char *directory)
{
    random_source source = {3};
    uint32_t *chars = malloc(0x110000 * sizeof(*chars));

    (void)directory;
    CHECK(chars != NULL);
    for (uint32_t c = 0; c < 0x110000; c++) {
        chars[c] = c;
    }
    compare(&source, chars, 0x110000, 4);
    compare(&source, chars, 0x10000, 2);
    compare(&source, chars, 0x100, 1);
    free(chars);
}

const test_case utf8_tests[] = {
    {"utf8_random_text", utf8_random_text},
    {"utf8_long_text", utf8_long_text},
    {"utf8_every_character", utf8_every_character},
    {NULL, NULL},
};

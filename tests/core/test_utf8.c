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

/* Back to the characters, or refused where one of them is a surrogate. */
static void
compare_decoding(const uint32_t *chars, size_t n, int width,
                 const unsigned char *encoded, size_t n_bytes)
{
    unsigned char *given = malloc(n_bytes + (n_bytes == 0));
    void *expected = narrowed(chars, n, width);
    void *out = malloc(n * (size_t)width + (n == 0));
    unsigned char highest;
    unsigned char highest_expected = 0;
    int has_surrogates = 0;

    CHECK(given != NULL && out != NULL);
    memcpy(given, encoded, n_bytes);
    for (size_t i = 0; i < n; i++) {
        has_surrogates |= chars[i] >= 0xd800 && chars[i] < 0xe000;
    }
    for (size_t i = 0; i < n_bytes; i++) {
        if (given[i] > highest_expected) {
            highest_expected = given[i];
        }
    }
    CHECK(fp_utf8_count(given, n_bytes, &highest) == n);
    CHECK(highest == highest_expected);
    CHECK(fp_utf8_decode(given, n_bytes, out, width, n) == !has_surrogates);
    CHECK(has_surrogates || memcmp(out, expected, n * (size_t)width) == 0);
    free(given);
    free(expected);
    free(out);
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
    compare_decoding(chars, n, width, expected, n_bytes);
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

/* The characters that bytes are the UTF-8 of, by the definition; whether they
 * are any. */
static int
decode_each(const unsigned char *bytes, size_t n_bytes, uint32_t *chars,
            size_t *n)
{
    size_t at = 0;

    *n = 0;
    while (at < n_bytes) {
        unsigned char again[4];
        unsigned char lead = bytes[at];
        size_t n_given = lead < 0xc0   ? 1
                         : lead < 0xe0 ? 2
                         : lead < 0xf0 ? 3
                                       : 4;
        uint32_t c = n_given == 1 ? lead : lead & (0x7fU >> n_given);
        if (n_given > n_bytes - at) {
            return 0;
        }
        for (size_t i = 1; i < n_given; i++) {
            c = c << 6 | (bytes[at + i] & 0x3f);
        }
        /* The one form that it has is the one that it came in. */
        if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000)
            || encode_one(again, c) != n_given
            || memcmp(again, bytes + at, n_given) != 0)
        {
            return 0;
        }
        chars[(*n)++] = c;
        at += n_given;
    }
    return 1;
}

static void
compare_damaged(const unsigned char *bytes, size_t n_bytes)
{
    unsigned char *given = malloc(n_bytes + (n_bytes == 0));
    uint32_t chars[400];
    unsigned char highest;
    size_t n_given, n;
    void *out;
    int width, is_text;

    CHECK(given != NULL && n_bytes <= 400);
    memcpy(given, bytes, n_bytes);
    n_given = fp_utf8_count(given, n_bytes, &highest);
    width = highest < 0xc4 ? 1 : highest < 0xf0 ? 2 : 4;
    out = malloc(n_given * (size_t)width + (n_given == 0));
    CHECK(out != NULL);
    is_text = decode_each(given, n_bytes, chars, &n);
    CHECK(fp_utf8_decode(given, n_bytes, out, width, n_given) == is_text);
    if (is_text) {
        void *expected = narrowed(chars, n, width);
        CHECK(n == n_given);
        CHECK(memcmp(out, expected, n * (size_t)width) == 0);
        free(expected);
    }
    free(out);
    free(given);
}

static void
utf8_damaged_text(const char *directory)
{
    static const unsigned char odd[] = {
        0,    0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0,
        0xc1, 0xc2, 0xc3, 0xc4, 0xdf, 0xe0, 0xe1, 0xed, 0xee,
        0xef, 0xf0, 0xf1, 0xf4, 0xf5, 0xf7, 0xf8, 0xff};
    random_source source = {4};

    (void)directory;
    for (int round = 0; round < 100000; round++) {
        unsigned char bytes[400];
        size_t n_chars = random_below(&source, round % 50 == 0 ? 90 : 12);
        size_t n_bytes = 0;
        int longest = 1 + (int)random_below(&source, 4);
        for (size_t i = 0; i < n_chars; i++) {
            int length = 1 + (int)random_below(&source, (size_t)longest);
            n_bytes +=
                encode_one(bytes + n_bytes, random_char(&source, length));
        }
        for (size_t k = random_below(&source, 3); k > 0 && n_bytes > 0; k--) {
            size_t at = random_below(&source, n_bytes);
            if (random_below(&source, 3) == 0) {
                memmove(bytes + at, bytes + at + 1, --n_bytes - at);
            }
            else {
                bytes[at] = odd[random_below(&source, sizeof(odd))];
            }
        }
        compare_damaged(bytes, n_bytes);
    }
}

/* Each sequence of two, three and four bytes from the edges of what is allowed,
 * at the end and across the end of a block. */
static void
utf8_odd_sequences(const char *directory)
{
    static const unsigned char leads[] = {
        0x41, 0x80, 0xbf, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xdf, 0xe0, 0xe1,
        0xec, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xf8, 0xff};
    static const unsigned char seconds[] = {0x7f, 0x80, 0x8f, 0x90, 0x9f,
                                            0xa0, 0xbf, 0xc0, 0xc2};
    static const size_t places[] = {0, 13, 14, 15, 16};

    (void)directory;
    for (size_t i = 0; i < sizeof(leads); i++) {
        for (size_t k = 0; k < sizeof(seconds) * 81; k++) {
            for (size_t j = 0; j < 5; j++) {
                unsigned char bytes[48];
                size_t n = places[j];
                memset(bytes, 'a', sizeof(bytes));
                bytes[n++] = leads[i];
                bytes[n++] = seconds[k % 9];
                bytes[n++] = seconds[k / 9 % 9];
                bytes[n++] = seconds[k / 81];
                compare_damaged(bytes, n - k % 3);
                compare_damaged(bytes, n + 16 + k % 5);
            }
        }
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
    {"utf8_damaged_text", utf8_damaged_text},
    {"utf8_odd_sequences", utf8_odd_sequences},
    {NULL, NULL},
};

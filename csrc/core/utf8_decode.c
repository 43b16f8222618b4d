#include "utf8.h"

#include <string.h>

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* --- one by one ----------------------------------------------------------- */

ALWAYS_INLINE void
put_char(void *chars, int width, size_t i, uint32_t c)
{
    if (width == 1) {
        ((uint8_t *)chars)[i] = (uint8_t)c;
    }
    else if (width == 2) {
        ((uint16_t *)chars)[i] = (uint16_t)c;
    }
    else {
        ((uint32_t *)chars)[i] = c;
    }
}

/* The bytes of one character that are left, and the character; 0 if it is none
 * or does not fit the width. */
ALWAYS_INLINE size_t
char_of(const unsigned char *p, size_t n_left, uint32_t *c)
{
    uint32_t lead = p[0];
    size_t n = lead < 0x80   ? 1
               : lead < 0xc2 ? 0
               : lead < 0xe0 ? 2
               : lead < 0xf0 ? 3
               : lead < 0xf5 ? 4
                             : 0;

    if (n == 0 || n > n_left) {
        return 0;
    }
    *c = n == 1 ? lead : lead & (0x7fU >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
        *c = *c << 6 | (p[i] & 0x3f);
    }
    if ((n == 3 && (*c < 0x800 || (*c & 0xf800) == 0xd800))
        || (n == 4 && (*c < 0x10000 || *c > 0x10ffff)))
    {
        return 0;
    }
    return n;
}

ALWAYS_INLINE int
decode_singly(const unsigned char *bytes, size_t n_bytes, void *chars,
              int width, size_t n_chars)
{
    const uint32_t limit = width == 1   ? 0x100
                           : width == 2 ? 0x10000
                                        : 0x110000;
    size_t at = 0, i = 0;

    while (at < n_bytes) {
        uint32_t c;
        size_t n = char_of(bytes + at, n_bytes - at, &c);
        if (n == 0 || i == n_chars || c >= limit) {
            return 0;
        }
        put_char(chars, width, i++, c);
        at += n;
    }
    return i == n_chars;
}

static int
decode_any(const unsigned char *bytes, size_t n_bytes, void *chars, int width,
           size_t n_chars)
{
    return width == 1   ? decode_singly(bytes, n_bytes, chars, 1, n_chars)
           : width == 2 ? decode_singly(bytes, n_bytes, chars, 2, n_chars)
                        : decode_singly(bytes, n_bytes, chars, 4, n_chars);
}

#if !defined(__SSE2__)

size_t
fp_utf8_count(const unsigned char *bytes, size_t n_bytes,
              unsigned char *highest)
{
    size_t n_chars = 0;
    unsigned char high = 0;

    for (size_t i = 0; i < n_bytes; i++) {
        n_chars += (bytes[i] & 0xc0) != 0x80;
        high = bytes[i] > high ? bytes[i] : high;
    }
    *highest = high;
    return n_chars;
}

int
fp_utf8_decode(const unsigned char *bytes, size_t n_bytes, void *chars,
               int width, size_t n_chars)
{
    return decode_any(bytes, n_bytes, chars, width, n_chars);
}

#else

#include <tmmintrin.h>

/* --- sixteen bytes at once -------------------------------------------------- */

/* A compiler for any x86-64 may be told of one function that it is for some
 * only; which it is, is found out at run time. */
#define SSSE3   static inline __attribute__((always_inline, target("ssse3")))

ALWAYS_INLINE uint64_t
word_at(const unsigned char *p)
{
    uint64_t word;
    memcpy(&word, p, 8);
    return word;
}

ALWAYS_INLINE uint64_t
half_at(const unsigned char *p)
{
    uint32_t word;
    memcpy(&word, p, 4);
    return word;
}

/* Up to seven bytes as the lowest of a number. */
ALWAYS_INLINE uint64_t
few_bytes(const unsigned char *p, size_t n)
{
    if (n >= 4) {
        return half_at(p) | half_at(p + n - 4) << (8 * (n - 4));
    }
    if (n == 0) {
        return 0;
    }
    return (uint64_t)p[0] | (uint64_t)p[n / 2] << (8 * (n / 2))
           | (uint64_t)p[n - 1] << (8 * (n - 1));
}

/* Less than sixteen bytes, and zeros behind them. */
ALWAYS_INLINE __m128i
last_bytes(const unsigned char *p, size_t n)
{
    uint64_t low = n < 8 ? few_bytes(p, n) : word_at(p);
    uint64_t high = 0;

    if (n > 8) {
        high = word_at(p + n - 8) >> (8 * (16 - n));
    }
    return _mm_set_epi64x((long long)high, (long long)low);
}

ALWAYS_INLINE __m128i
load(const unsigned char *from)
{
    return _mm_loadu_si128((const __m128i *)(const void *)from);
}

ALWAYS_INLINE void
store(void *to, __m128i vector)
{
    _mm_storeu_si128((__m128i *)to, vector);
}

/* 0xff where an unsigned byte is not below the limit. */
ALWAYS_INLINE __m128i
not_below(__m128i bytes, unsigned limit)
{
    __m128i limits = _mm_set1_epi8((char)limit);
    return _mm_cmpeq_epi8(_mm_max_epu8(bytes, limits), bytes);
}

ALWAYS_INLINE __m128i
equal_to(__m128i bytes, unsigned value)
{
    return _mm_cmpeq_epi8(bytes, _mm_set1_epi8((char)value));
}

size_t
fp_utf8_count(const unsigned char *bytes, size_t n_bytes,
              unsigned char *highest)
{
    const __m128i zero = _mm_setzero_si128();
    const __m128i below_leads = _mm_set1_epi8((char)0xc0);
    __m128i high = zero, sums = zero;
    size_t left = n_bytes;

    while (left >= 16) {
        /* Sums in bytes; so many do not overflow. */
        size_t n = left / 16 < 255 ? left / 16 : 255;
        __m128i more = zero;
        for (size_t i = 0; i < n; i++, bytes += 16) {
            __m128i b = load(bytes);
            high = _mm_max_epu8(high, b);
            more = _mm_sub_epi8(more, _mm_cmplt_epi8(b, below_leads));
        }
        sums = _mm_add_epi64(sums, _mm_sad_epu8(more, zero));
        left -= 16 * n;
    }
    if (left > 0) {
        __m128i b = last_bytes(bytes, left);
        __m128i more = _mm_sub_epi8(zero, _mm_cmplt_epi8(b, below_leads));
        high = _mm_max_epu8(high, b);
        sums = _mm_add_epi64(sums, _mm_sad_epu8(more, zero));
    }
    high = _mm_max_epu8(high, _mm_srli_si128(high, 8));
    high = _mm_max_epu8(high, _mm_srli_si128(high, 4));
    high = _mm_max_epu8(high, _mm_srli_si128(high, 2));
    high = _mm_max_epu8(high, _mm_srli_si128(high, 1));
    *highest = (unsigned char)_mm_cvtsi128_si32(high);
    sums = _mm_add_epi64(sums, _mm_srli_si128(sums, 8));
    return n_bytes - (size_t)_mm_cvtsi128_si64(sums);
}

/* Four elements, of which those of the set bits are moved to the front. */
#define ONE(k)  k
#define TWO(k)  2 * (k), 2 * (k) + 1
#define FOUR(k) 4 * (k), 4 * (k) + 1, 4 * (k) + 2, 4 * (k) + 3
#define ROW(BYTES, a, b, c, d) {BYTES(a), BYTES(b), BYTES(c), BYTES(d)}
/* clang-format off */
#define ROWS(BYTES)                                                           \
    {ROW(BYTES, 0, 0, 0, 0), ROW(BYTES, 0, 0, 0, 0),                          \
     ROW(BYTES, 1, 0, 0, 0), ROW(BYTES, 0, 1, 0, 0),                          \
     ROW(BYTES, 2, 0, 0, 0), ROW(BYTES, 0, 2, 0, 0),                          \
     ROW(BYTES, 1, 2, 0, 0), ROW(BYTES, 0, 1, 2, 0),                          \
     ROW(BYTES, 3, 0, 0, 0), ROW(BYTES, 0, 3, 0, 0),                          \
     ROW(BYTES, 1, 3, 0, 0), ROW(BYTES, 0, 1, 3, 0),                          \
     ROW(BYTES, 2, 3, 0, 0), ROW(BYTES, 0, 2, 3, 0),                          \
     ROW(BYTES, 1, 2, 3, 0), ROW(BYTES, 0, 1, 2, 3)}
/* clang-format on */

static const uint8_t order_of_1[16][4] = ROWS(ONE);
static const uint8_t order_of_2[16][8] = ROWS(TWO);
static const uint8_t order_of_4[16][16] = ROWS(FOUR);
static const uint8_t n_set[16] = {0, 1, 1, 2, 1, 2, 2, 3,
                                  1, 2, 2, 3, 2, 3, 3, 4};

/* All four places are written to. */
SSSE3 unsigned char *
keep(unsigned char *out, __m128i four, int width, unsigned bits)
{
    if (width == 1) {
        int order, kept;
        memcpy(&order, order_of_1[bits], 4);
        kept = _mm_cvtsi128_si32(
            _mm_shuffle_epi8(four, _mm_cvtsi32_si128(order)));
        memcpy(out, &kept, 4);
    }
    else if (width == 2) {
        __m128i order =
            _mm_loadl_epi64((const __m128i *)(const void *)order_of_2[bits]);
        _mm_storel_epi64((__m128i *)(void *)out,
                         _mm_shuffle_epi8(four, order));
    }
    else {
        store(out, _mm_shuffle_epi8(four, load(order_of_4[bits])));
    }
    return out + (size_t)width * n_set[bits];
}

/* What goes from one block to the next. */
typedef struct {
    __m128i before;     /* its bytes */
    __m128i bad;        /* not zero: there was something that is no UTF-8 */
    unsigned bad_bits;  /* the same */
    unsigned continued; /* bytes that have to be continuations */
    unsigned ends;      /* bytes that are the last of a character */
} decoder;

/* Bytes that may never be, or not behind the one in front (p1). */
SSSE3 __m128i
out_of_range(__m128i b, __m128i p1, int width)
{
    /* 0xc0, 0xc1 */
    __m128i bad = equal_to(_mm_and_si128(b, _mm_set1_epi8((char)0xfe)), 0xc0);

    if (width > 1) {
        /* Too long a form: 0xe0 in front of less than 0xa0; surrogates: 0xed
         * in front of more. */
        __m128i from_a0 = not_below(b, 0xa0);
        bad = _mm_or_si128(bad, _mm_andnot_si128(from_a0, equal_to(p1, 0xe0)));
        bad = _mm_or_si128(bad, _mm_and_si128(from_a0, equal_to(p1, 0xed)));
    }
    if (width > 2) {
        /* Too long a form, and beyond the last character. */
        __m128i from_90 = not_below(b, 0x90);
        bad = _mm_or_si128(bad, _mm_andnot_si128(from_90, equal_to(p1, 0xf0)));
        bad = _mm_or_si128(bad, _mm_and_si128(from_90, equal_to(p1, 0xf4)));
        bad = _mm_or_si128(bad, not_below(b, 0xf5));
    }
    return bad;
}

/* Sixteen bytes that are all ASCII. */
SSSE3 unsigned char *
widen(unsigned char *out, __m128i b, int width)
{
    const __m128i zero = _mm_setzero_si128();

    if (width == 1) {
        store(out, b);
    }
    else {
        __m128i low = _mm_unpacklo_epi8(b, zero);
        __m128i high = _mm_unpackhi_epi8(b, zero);
        if (width == 2) {
            store(out, low);
            store(out + 16, high);
        }
        else {
            store(out, _mm_unpacklo_epi16(low, zero));
            store(out + 16, _mm_unpackhi_epi16(low, zero));
            store(out + 32, _mm_unpacklo_epi16(high, zero));
            store(out + 48, _mm_unpackhi_epi16(high, zero));
        }
    }
    return out + 16 * width;
}

/* The characters that end in a block, of which n_bytes are text. Up to sixteen
 * places are written to. */
SSSE3 unsigned char *
decode_block(decoder *state, __m128i b, unsigned n_bytes, unsigned char *out,
             int width)
{
    const __m128i zero = _mm_setzero_si128();
    const __m128i of_6_bits = _mm_set1_epi8(0x3f);
    __m128i p1 = _mm_alignr_epi8(b, state->before, 15);
    __m128i p2 = _mm_alignr_epi8(b, state->before, 14);
    __m128i p3 = _mm_alignr_epi8(b, state->before, 13);
    __m128i from_80 = _mm_cmplt_epi8(b, zero);
    unsigned above = (unsigned)_mm_movemask_epi8(from_80);
    unsigned leads, continued, ends;
    __m128i last, second, third, low, high;

    if ((above | state->continued) == 0 && n_bytes == 16) {
        state->before = b;
        return widen(out, b, width);
    }
    leads = (unsigned)_mm_movemask_epi8(not_below(b, 0xc0));
    continued = state->continued | leads << 1;
    ends = state->ends | (above ^ 0xffff);
    if (width == 1) {
        ends |= leads << 1;
    }
    else {
        unsigned threes = (unsigned)_mm_movemask_epi8(not_below(b, 0xe0));
        unsigned fours =
            width == 2 ? 0 : (unsigned)_mm_movemask_epi8(not_below(b, 0xf0));
        continued |= threes << 2 | fours << 3;
        ends |= (leads & ~threes) << 1 | (threes & ~fours) << 2 | fours << 3;
    }
    state->bad = _mm_or_si128(state->bad, out_of_range(b, p1, width));
    state->bad_bits |= (continued ^ (above & ~leads)) & 0xffff;
    state->continued = continued >> 16;
    state->ends = ends >> 16;
    state->before = b;
    ends &= (1U << n_bytes) - 1;

    if (width == 1) {
        /* Behind 0xc2 it is the character, behind 0xc3 it lacks a bit. */
        __m128i lacks = _mm_and_si128(equal_to(p1, 0xc3), from_80);
        b = _mm_or_si128(b, _mm_and_si128(lacks, _mm_set1_epi8(0x40)));
        out = keep(out, b, 1, ends & 15);
        out = keep(out, _mm_srli_si128(b, 4), 1, ends >> 4 & 15);
        out = keep(out, _mm_srli_si128(b, 8), 1, ends >> 8 & 15);
        return keep(out, _mm_srli_si128(b, 12), 1, ends >> 12);
    }

    /* Of each byte that is the last of a character: its bits, those of the one
     * in front, and so on. Of the third, four have room in 16 bits. */
    last =
        _mm_andnot_si128(_mm_and_si128(from_80, _mm_set1_epi8((char)0xc0)), b);
    second = _mm_and_si128(_mm_and_si128(p1, of_6_bits), from_80);
    third = not_below(p2, 0xe0);
    if (width == 4) {
        third = _mm_or_si128(third, not_below(p3, 0xf0));
    }
    third = _mm_and_si128(third, p2);
    low = _mm_or_si128(
        _mm_or_si128(_mm_unpacklo_epi8(last, zero),
                     _mm_slli_epi16(_mm_unpacklo_epi8(second, zero), 6)),
        _mm_slli_epi16(_mm_unpacklo_epi8(third, zero), 12));
    high = _mm_or_si128(
        _mm_or_si128(_mm_unpackhi_epi8(last, zero),
                     _mm_slli_epi16(_mm_unpackhi_epi8(second, zero), 6)),
        _mm_slli_epi16(_mm_unpackhi_epi8(third, zero), 12));
    if (width == 2) {
        out = keep(out, low, 2, ends & 15);
        out = keep(out, _mm_srli_si128(low, 8), 2, ends >> 4 & 15);
        out = keep(out, high, 2, ends >> 8 & 15);
        return keep(out, _mm_srli_si128(high, 8), 2, ends >> 12);
    }
    else {
        /* What is beyond 16 bits: two bits of the third, and the lead's. */
        __m128i beyond = _mm_or_si128(
            _mm_and_si128(_mm_srli_epi16(p2, 4), _mm_set1_epi8(3)),
            _mm_slli_epi16(_mm_and_si128(p3, _mm_set1_epi8(7)), 2));
        __m128i beyond_low, beyond_high;
        beyond = _mm_and_si128(beyond, not_below(p3, 0xf0));
        beyond_low = _mm_unpacklo_epi8(beyond, zero);
        beyond_high = _mm_unpackhi_epi8(beyond, zero);
        out = keep(out, _mm_unpacklo_epi16(low, beyond_low), 4, ends & 15);
        out =
            keep(out, _mm_unpackhi_epi16(low, beyond_low), 4, ends >> 4 & 15);
        out = keep(out, _mm_unpacklo_epi16(high, beyond_high), 4,
                   ends >> 8 & 15);
        return keep(out, _mm_unpackhi_epi16(high, beyond_high), 4, ends >> 12);
    }
}

/* So many characters, and up to a block's behind them, are made where there is
 * room for them, and copied. */
#define SPARE_CHARS            ((size_t)64)

SSSE3 int
decode_blocks(const unsigned char *bytes, size_t n_bytes, unsigned char *chars,
              int width, size_t n_chars)
{
    const size_t block_room = 16 * (size_t)width;
    unsigned char spare[(SPARE_CHARS + 16) * 4];
    unsigned char *out = chars;
    unsigned char *end = chars + n_chars * (size_t)width;
    unsigned char *rest = NULL; /* where those in `spare` belong */
    decoder state = {_mm_setzero_si128(), _mm_setzero_si128(), 0, 0, 0};

    if (n_chars <= SPARE_CHARS) {
        rest = out;
        out = spare;
    }
    for (; n_bytes >= 16; n_bytes -= 16, bytes += 16) {
        if (rest == NULL && (size_t)(end - out) < block_room) {
            rest = out;
            out = spare;
        }
        out = decode_block(&state, load(bytes), 16, out, width);
    }
    if (rest == NULL) {
        rest = out;
        out = spare;
    }
    out = decode_block(&state, last_bytes(bytes, n_bytes), (unsigned)n_bytes,
                       out, width);
    if (out - spare != end - rest || state.bad_bits != 0
        || _mm_movemask_epi8(_mm_cmpeq_epi8(state.bad, _mm_setzero_si128()))
               != 0xffff)
    {
        return 0;
    }
    memcpy(rest, spare, (size_t)(out - spare));
    return 1;
}

#define BLOCKS_OF(width)                                                      \
    static __attribute__((noinline, target("ssse3"))) int blocks_of_##width(  \
        const unsigned char *bytes, size_t n_bytes, unsigned char *chars,     \
        size_t n_chars)                                                       \
    {                                                                         \
        return decode_blocks(bytes, n_bytes, chars, width, n_chars);          \
    }

BLOCKS_OF(1)
BLOCKS_OF(2)
BLOCKS_OF(4)

int
fp_utf8_decode(const unsigned char *bytes, size_t n_bytes, void *chars,
               int width, size_t n_chars)
{
    if (!__builtin_cpu_supports("ssse3")) {
        return decode_any(bytes, n_bytes, chars, width, n_chars);
    }
    return width == 1   ? blocks_of_1(bytes, n_bytes, chars, n_chars)
           : width == 2 ? blocks_of_2(bytes, n_bytes, chars, n_chars)
                        : blocks_of_4(bytes, n_bytes, chars, n_chars);
}

#endif

#include "utf8.h"

#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* --- lengths ------------------------------------------------------------ */

/* Sums in small integers, so that a vector has many of them; a block is as long
 * as they cannot overflow. */

static size_t
length_1(const uint8_t *chars, size_t n_chars)
{
    size_t n_bytes = n_chars;

    while (n_chars > 0) {
        size_t n = n_chars < 240 ? n_chars : 240;
        uint8_t more = 0;
        for (size_t i = 0; i < n; i++) {
            more = (uint8_t)(more + (chars[i] >> 7));
        }
        n_bytes += more;
        chars += n;
        n_chars -= n;
    }
    return n_bytes;
}

static size_t
length_2(const uint16_t *chars, size_t n_chars)
{
    size_t n_bytes = n_chars;

    while (n_chars > 0) {
        size_t n = n_chars < 16384 ? n_chars : 16384;
        uint16_t more = 0;
        for (size_t i = 0; i < n; i++) {
            more = (uint16_t)(more + (chars[i] >= 0x80) + (chars[i] >= 0x800));
        }
        n_bytes += more;
        chars += n;
        n_chars -= n;
    }
    return n_bytes;
}

static size_t
length_4(const uint32_t *chars, size_t n_chars)
{
    size_t n_bytes = n_chars;

    while (n_chars > 0) {
        size_t n = n_chars < 65536 ? n_chars : 65536;
        uint32_t more = 0;
        for (size_t i = 0; i < n; i++) {
            more += (uint32_t)(chars[i] >= 0x80) + (chars[i] >= 0x800)
                    + (chars[i] >= 0x10000);
        }
        n_bytes += more;
        chars += n;
        n_chars -= n;
    }
    return n_bytes;
}

size_t
fp_utf8_length(const void *chars, int width, size_t n_chars)
{
    return width == 1   ? length_1(chars, n_chars)
           : width == 2 ? length_2(chars, n_chars)
                        : length_4(chars, n_chars);
}

/* --- one character ------------------------------------------------------- */

/* The encoding as a number whose lowest byte comes first. */

ALWAYS_INLINE uint32_t
two_bytes(uint32_t c)
{
    return 0x80c0 | c >> 6 | (c & 0x3f) << 8;
}

ALWAYS_INLINE uint32_t
three_bytes(uint32_t c)
{
    return 0x8080e0 | c >> 12 | (c << 2 & 0x3f00) | (c & 0x3f) << 16;
}

ALWAYS_INLINE uint32_t
four_bytes(uint32_t c)
{
    return 0x808080f0 | c >> 18 | (c >> 4 & 0x3f00) | (c << 10 & 0x3f0000)
           | (c & 0x3f) << 24;
}

ALWAYS_INLINE void
put_2(unsigned char *out, uint32_t word)
{
    out[0] = (unsigned char)word;
    out[1] = (unsigned char)(word >> 8);
}

ALWAYS_INLINE void
put_4(unsigned char *out, uint32_t word)
{
    out[0] = (unsigned char)word;
    out[1] = (unsigned char)(word >> 8);
    out[2] = (unsigned char)(word >> 16);
    out[3] = (unsigned char)(word >> 24);
}

ALWAYS_INLINE uint32_t
char_at(const void *chars, int width, size_t i)
{
    return width == 1   ? ((const uint8_t *)chars)[i]
           : width == 2 ? ((const uint16_t *)chars)[i]
                        : ((const uint32_t *)chars)[i];
}

/* Without a branch, since text in most scripts is a mixture: up to so many
 * bytes, two or four of which are written to whatever the length. */

ALWAYS_INLINE unsigned char *
put_up_to_2(unsigned char *out, uint32_t c)
{
    put_2(out, c < 0x80 ? c : two_bytes(c));
    return out + 1 + (c >= 0x80);
}

ALWAYS_INLINE unsigned char *
put_up_to_3(unsigned char *out, uint32_t c)
{
    uint32_t word = c < 0x80 ? c : two_bytes(c);

    put_4(out, c < 0x800 ? word : three_bytes(c));
    return out + 1 + (c >= 0x80) + (c >= 0x800);
}

ALWAYS_INLINE unsigned char *
put_up_to_4(unsigned char *out, uint32_t c)
{
    if (c < 0x10000) {
        return put_up_to_3(out, c);
    }
    put_4(out, four_bytes(c));
    return out + 4;
}

/* --- blocks ---------------------------------------------------------------- */

/* Room for a block: eight characters, and what is written behind the last. */
#define ROOM_1 17
#define ROOM_2 28
#define ROOM_4 32

ALWAYS_INLINE unsigned char *
mixed_block(const void *chars, int width, int at_most, unsigned char *out)
{
    for (size_t i = 0; i < 8; i++) {
        uint32_t c = char_at(chars, width, i);
        out = at_most == 2   ? put_up_to_2(out, c)
              : at_most == 3 ? put_up_to_3(out, c)
                             : put_up_to_4(out, c);
    }
    return out;
}

#ifdef __SSE2__

ALWAYS_INLINE __m128i
load(const void *from)
{
    return _mm_loadu_si128((const __m128i *)from);
}

ALWAYS_INLINE void
store(unsigned char *out, __m128i vector)
{
    _mm_storeu_si128((__m128i *)(void *)out, vector);
}

ALWAYS_INLINE void
store_half(unsigned char *out, __m128i vector)
{
    _mm_storel_epi64((__m128i *)(void *)out, vector);
}

/* Eight characters of two bytes each. */
ALWAYS_INLINE void
put_twos(unsigned char *out, __m128i c)
{
    __m128i lead = _mm_srli_epi16(c, 6);
    __m128i trail = _mm_slli_epi16(_mm_and_si128(c, _mm_set1_epi16(0x3f)), 8);

    store(out, _mm_or_si128(_mm_or_si128(lead, trail),
                            _mm_set1_epi16((short)0x80c0)));
}

/* Four characters, as 32 bits, of three bytes each; 14 are written to. */
ALWAYS_INLINE void
put_threes(unsigned char *out, __m128i c)
{
    __m128i first = _mm_srli_epi32(c, 12);
    __m128i second =
        _mm_and_si128(_mm_slli_epi32(c, 2), _mm_set1_epi32(0x3f00));
    __m128i third = _mm_slli_epi32(_mm_and_si128(c, _mm_set1_epi32(0x3f)), 16);
    __m128i all = _mm_or_si128(_mm_or_si128(first, second),
                               _mm_or_si128(third, _mm_set1_epi32(0x8080e0)));
    /* Two of them behind each other in each half. */
    __m128i odd = _mm_andnot_si128(_mm_set1_epi64x(0xffffffff), all);
    __m128i pairs =
        _mm_or_si128(_mm_and_si128(all, _mm_set1_epi64x(0xffffffff)),
                     _mm_srli_epi64(odd, 8));

    store_half(out, pairs);
    store_half(out + 6, _mm_unpackhi_epi64(pairs, pairs));
}

/* Eight characters below 0x10000, as 16 bits; `chars` are the same. */
ALWAYS_INLINE unsigned char *
put_block_of_16_bits(unsigned char *out, __m128i c, const void *chars,
                     int width)
{
    __m128i zero = _mm_setzero_si128();
    int below_80 = _mm_movemask_epi8(_mm_cmpeq_epi16(
        _mm_and_si128(c, _mm_set1_epi16((short)0xff80)), zero));
    int below_800;

    if (below_80 == 0xffff) {
        store_half(out, _mm_packus_epi16(c, c));
        return out + 8;
    }
    below_800 = _mm_movemask_epi8(_mm_cmpeq_epi16(
        _mm_and_si128(c, _mm_set1_epi16((short)0xf800)), zero));
    if (below_800 == 0xffff) {
        if (below_80 != 0) {
            return mixed_block(chars, width, 2, out);
        }
        put_twos(out, c);
        return out + 16;
    }
    if (below_800 != 0) {
        return mixed_block(chars, width, 3, out);
    }
    put_threes(out, _mm_unpacklo_epi16(c, zero));
    put_threes(out + 12, _mm_unpackhi_epi16(c, zero));
    return out + 24;
}

ALWAYS_INLINE unsigned char *
put_block_1(unsigned char *out, const uint8_t *chars)
{
    __m128i c = _mm_loadl_epi64((const __m128i *)(const void *)chars);
    int from_80 = _mm_movemask_epi8(c);

    if (from_80 == 0) {
        store_half(out, c);
        return out + 8;
    }
    if (from_80 != 0xff) {
        return mixed_block(chars, 1, 2, out);
    }
    put_twos(out, _mm_unpacklo_epi8(c, _mm_setzero_si128()));
    return out + 16;
}

ALWAYS_INLINE unsigned char *
put_block_2(unsigned char *out, const uint16_t *chars)
{
    return put_block_of_16_bits(out, load(chars), chars, 2);
}

ALWAYS_INLINE unsigned char *
put_block_4(unsigned char *out, const uint32_t *chars)
{
    __m128i low = load(chars);
    __m128i high = load(chars + 4);
    __m128i beyond = _mm_srli_epi32(_mm_or_si128(low, high), 16);

    if (_mm_movemask_epi8(_mm_cmpeq_epi32(beyond, _mm_setzero_si128()))
        != 0xffff)
    {
        return mixed_block(chars, 4, 4, out);
    }
    /* Sign bits, so that the pack, which saturates, changes nothing. */
    low = _mm_srai_epi32(_mm_slli_epi32(low, 16), 16);
    high = _mm_srai_epi32(_mm_slli_epi32(high, 16), 16);
    return put_block_of_16_bits(out, _mm_packs_epi32(low, high), chars, 4);
}

#else

ALWAYS_INLINE unsigned char *
put_block_1(unsigned char *out, const uint8_t *chars)
{
    uint64_t word;

    memcpy(&word, chars, 8);
    if ((word & UINT64_C(0x8080808080808080)) == 0) {
        memcpy(out, chars, 8);
        return out + 8;
    }
    return mixed_block(chars, 1, 2, out);
}

ALWAYS_INLINE unsigned char *
put_block_2(unsigned char *out, const uint16_t *chars)
{
    unsigned any = 0;

    for (size_t i = 0; i < 8; i++) {
        any |= chars[i];
    }
    if (any < 0x80) {
        for (size_t i = 0; i < 8; i++) {
            out[i] = (unsigned char)chars[i];
        }
        return out + 8;
    }
    return any < 0x800 ? mixed_block(chars, 2, 2, out)
                       : mixed_block(chars, 2, 3, out);
}

ALWAYS_INLINE unsigned char *
put_block_4(unsigned char *out, const uint32_t *chars)
{
    uint32_t any = 0;

    for (size_t i = 0; i < 8; i++) {
        any |= chars[i];
    }
    return any < 0x10000 ? mixed_block(chars, 4, 3, out)
                         : mixed_block(chars, 4, 4, out);
}

#endif

/* --- all of it --------------------------------------------------------------- */

ALWAYS_INLINE size_t
n_bytes_of(uint32_t c)
{
    return 1 + (size_t)(c >= 0x80) + (c >= 0x800) + (c >= 0x10000);
}

ALWAYS_INLINE unsigned char *
encode(const void *chars, int width, size_t n_chars, size_t *next,
       unsigned char *out, const unsigned char *end)
{
    const size_t room = width == 1 ? ROOM_1 : width == 2 ? ROOM_2 : ROOM_4;
    size_t i = *next;

    while (n_chars - i >= 8 && (size_t)(end - out) >= room) {
        if (width == 1) {
            out = put_block_1(out, (const uint8_t *)chars + i);
        }
        else if (width == 2) {
            out = put_block_2(out, (const uint16_t *)chars + i);
        }
        else {
            out = put_block_4(out, (const uint32_t *)chars + i);
        }
        i += 8;
    }
    while (i < n_chars) {
        uint32_t c = char_at(chars, width, i);
        size_t n = n_bytes_of(c);
        uint32_t word = n == 1   ? c
                        : n == 2 ? two_bytes(c)
                        : n == 3 ? three_bytes(c)
                                 : four_bytes(c);
        if ((size_t)(end - out) < n) {
            break;
        }
        for (size_t k = 0; k < n; k++) {
            *out++ = (unsigned char)(word >> (8 * k));
        }
        i++;
    }
    *next = i;
    return out;
}

unsigned char *
fp_utf8_encode(const void *chars, int width, size_t n_chars, size_t *next,
               unsigned char *out, const unsigned char *end)
{
    return width == 1   ? encode(chars, 1, n_chars, next, out, end)
           : width == 2 ? encode(chars, 2, n_chars, next, out, end)
                        : encode(chars, 4, n_chars, next, out, end);
}

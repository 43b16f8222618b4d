/* Text as UTF-8, both ways, by several characters at once.
 *
 * Characters are given as an array of elements of one width: 1, 2 or 4 bytes.
 * Lone surrogates are encoded like any other character ("surrogatepass");
 * decoding leaves them, and whatever is no UTF-8, to somebody else.
 * No memory is allocated, nothing fails.
 */
#ifndef FP_CORE_UTF8_H
#define FP_CORE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The length of all of it in bytes. */
size_t fp_utf8_length(const void *chars, int width, size_t n_chars);

/* Encodes the characters from *next on, which moves behind the last one that
 * is written: up to n_chars, or up to one that does not fit in front of `end`.
 * Returns where the bytes end. Nothing behind `end` is written to. */
unsigned char *fp_utf8_encode(const void *chars, int width, size_t n_chars,
                              size_t *next, unsigned char *out,
                              const unsigned char *end);

/* How many characters UTF-8 is of, and its highest byte: below 0x80 it is
 * ASCII, below 0xc4 Latin-1, below 0xf0 all characters have up to 16 bits. Of
 * bytes that are no UTF-8 the number says how many are no continuation. */
size_t fp_utf8_count(const unsigned char *bytes, size_t n_bytes,
                     unsigned char *highest);

/* Decodes all of it into as many characters as fp_utf8_count() says, of a
 * width that has room for its highest. Returns 1; or 0 if it is no UTF-8 or has
 * surrogates, and what was written to is of no use. */
int fp_utf8_decode(const unsigned char *bytes, size_t n_bytes, void *chars,
                   int width, size_t n_chars);

#endif

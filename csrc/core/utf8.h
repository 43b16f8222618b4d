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

#endif

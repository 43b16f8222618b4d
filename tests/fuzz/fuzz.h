/* What the fuzz targets share. Each defines LLVMFuzzerTestOneInput(); linked
 * with libFuzzer it explores, linked with replay_main.c it repeats files. */
#ifndef FP_FUZZ_H
#define FP_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

/* Holds in every build. */
#define CHECK(condition)                                                      \
    do {                                                                      \
        if (!(condition)) {                                                   \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, \
                    #condition);                                              \
            abort();                                                          \
        }                                                                     \
    } while (0)

/* In a block of exactly its size: the sanitizer sees one byte too many. */
static inline unsigned char *
exact_copy(const uint8_t *data, size_t n_bytes)
{
    unsigned char *copy = calloc(1, n_bytes > 0 ? n_bytes : 1);

    CHECK(copy != NULL);
    if (n_bytes > 0) {
        memcpy(copy, data, n_bytes);
    }
    return copy;
}

/* The low n_bytes of value, little-endian. */
static inline void
put64(unsigned char *target, uint64_t value, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++) {
        target[i] = (unsigned char)(value >> (8 * i));
    }
}

#endif

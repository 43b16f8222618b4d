/* The few macros of the core's unit tests. A failed CHECK prints its place and
 * ends the process: every case runs in a process of its own. */
#ifndef FP_TESTS_CHECK_H
#define FP_TESTS_CHECK_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "status.h"

#define CHECK(condition)                                                      \
    do {                                                                      \
        if (!(condition)) {                                                   \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__,      \
                    #condition);                                              \
            exit(1);                                                          \
        }                                                                     \
    } while (0)

#define CHECK_OK(call) CHECK((call) == FP_OK)

typedef struct {
    const char *name;
    void (*run)(const char *directory); /* empty, the case's own */
} test_case;

/* Each ends with a case without a name. */
extern const test_case block_read_tests[];
extern const test_case read_ahead_tests[];
extern const test_case buffer_and_hash_tests[];
extern const test_case ring_tests[];
extern const test_case strided_tests[];
extern const test_case place_tests[];
extern const test_case file_copy_tests[];
extern const test_case dump_end_tests[];
extern const test_case atomic_file_tests[];
extern const test_case layout_tests[];
extern const test_case memory_tests[];
extern const test_case sidecar_layout_tests[];
extern const test_case utf8_tests[];

/* A small generator with a fixed seed: every run is the same. */
typedef struct {
    uint64_t state;
} random_source;

static inline uint64_t
random_u64(random_source *source)
{
    /* splitmix64 */
    uint64_t z = (source->state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* 0 <= result < bound; a little uneven, which does not matter here. */
static inline size_t
random_below(random_source *source, size_t bound)
{
    return (size_t)(random_u64(source) % bound);
}

static inline unsigned char *
random_bytes_new(random_source *source, size_t n_bytes)
{
    unsigned char *data = malloc(n_bytes + 1);
    CHECK(data != NULL);
    for (size_t i = 0; i < n_bytes; i++) {
        data[i] = (unsigned char)random_u64(source);
    }
    return data;
}

#endif

#define _GNU_SOURCE
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "dump_end.h"
#include "layout.h"

/* A dump of two blobs, a frame and a footer of no more than its lengths. */
typedef struct {
    unsigned char bytes[1024];
    size_t n_bytes;
    size_t lengths[4]; /* where a length of eight bytes stands */
    size_t parts[6];   /* where parts begin */
} sample;

static void
put(sample *dump, const void *bytes, size_t n_bytes)
{
    CHECK(dump->n_bytes + n_bytes <= sizeof(dump->bytes));
    memcpy(dump->bytes + dump->n_bytes, bytes, n_bytes);
    dump->n_bytes += n_bytes;
}

static void
put_length(sample *dump, size_t i, uint64_t length)
{
    dump->lengths[i] = dump->n_bytes;
    for (int shift = 0; shift < 64; shift += 8) {
        unsigned char byte = (unsigned char)(length >> shift);
        put(dump, &byte, 1);
    }
}

/* `n_front` bytes in front of it. */
static sample
make_sample(size_t n_front)
{
    static const uint64_t n_payload[2] = {100, 0};
    unsigned char bytes[FP_BLOB_PREFIX_MAX] = {0};
    sample dump = {.n_bytes = n_front};

    fp_header_encode(bytes);
    put(&dump, bytes, FP_HEADER_BYTES);
    for (size_t i = 0; i < 2; i++) {
        size_t n;
        dump.parts[i] = dump.n_bytes;
        n = fp_blob_prefix_encode(bytes, dump.n_bytes - n_front, FP_BLOB_STR,
                                  n_payload[i]);
        dump.lengths[i] = dump.n_bytes + n - 8;
        put(&dump, bytes, n);
        dump.n_bytes += (size_t)n_payload[i];
        n = fp_blob_suffix_encode(bytes, i == 0 ? 3 : 300);
        put(&dump, bytes, n);
    }
    dump.parts[2] = dump.n_bytes;
    put(&dump, "\x95", 1);
    put_length(&dump, 2, 5);
    put(&dump, "CCCCC", 5);
    dump.parts[3] = dump.n_bytes;
    put(&dump, "\x8e", 1);
    put_length(&dump, 3, 7);
    put(&dump, "1234567", 7);
    put(&dump, "0.", 2);
    return dump;
}

/* The same in memory and in a file. */
static fp_status
find(const char *directory, const unsigned char *bytes, size_t n_bytes,
     uint64_t start, uint64_t *end)
{
    char path[4096];
    uint64_t by_descriptor = 0;
    int saved_errno = 0;
    fp_file_bytes file = {.fd = -1, .whole = bytes, .size = n_bytes};
    fp_status status, again;

    *end = 0;
    status = fp_dump_find_end(&file, start, end, &saved_errno);
    CHECK(snprintf(path, sizeof(path), "%s/dump", directory) > 0);
    file.fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(file.fd >= 0);
    CHECK(write(file.fd, bytes, n_bytes) == (ssize_t)n_bytes);
    file.whole = NULL;
    again = fp_dump_find_end(&file, start, &by_descriptor, &saved_errno);
    CHECK(again == status && by_descriptor == *end);
    CHECK(close(file.fd) == 0);
    return status;
}

static void
dump_end_is_found(const char *directory)
{
    for (size_t n_front = 0; n_front < 130; n_front += 13) {
        sample dump = make_sample(n_front);
        uint64_t end;
        for (size_t n_behind = 0; n_behind < 100; n_behind += 33) {
            CHECK_OK(find(directory, dump.bytes, dump.n_bytes + n_behind,
                          n_front, &end));
            CHECK(end == dump.n_bytes);
        }
    }
}

static void
dump_end_of_a_cut_one(const char *directory)
{
    sample dump = make_sample(3);
    uint64_t end;

    for (size_t n = 0; n < dump.n_bytes; n++) {
        fp_status status = find(directory, dump.bytes, n, 3, &end);
        CHECK(status == FP_TRUNCATED);
        CHECK(end == 0);
    }
}

/* Lengths near all limits: no sum of them wraps. */
static void
dump_end_with_other_lengths(const char *directory)
{
    for (size_t i = 0; i < 4; i++) {
        for (uint64_t back = 0; back < 300; back++) {
            const uint64_t lengths[] = {UINT64_MAX - back,
                                        (UINT64_C(1) << 63) - 150 + back,
                                        (UINT64_C(1) << 32) - 150 + back};
            for (size_t k = 0; k < 3; k++) {
                sample dump = make_sample(0);
                uint64_t end;
                for (size_t byte = 0; byte < 8; byte++) {
                    dump.bytes[dump.lengths[i] + byte] =
                        (unsigned char)(lengths[k] >> (8 * byte));
                }
                CHECK(find(directory, dump.bytes, dump.n_bytes, 0, &end)
                      == FP_TRUNCATED);
            }
        }
    }
}

static void
dump_end_of_other_opcodes(const char *directory)
{
    for (size_t i = 0; i < 4; i++) {
        for (unsigned byte = 0; byte < 256; byte++) {
            sample dump = make_sample(0);
            uint64_t end;
            fp_status status;
            int is_same = dump.bytes[dump.parts[i]] == byte;
            dump.bytes[dump.parts[i]] = (unsigned char)byte;
            status = find(directory, dump.bytes, dump.n_bytes, 0, &end);
            /* It may be another part then, and the dump shorter. */
            if (memchr("\x43\x95\x42\x8e", (int)byte, 4) == NULL) {
                CHECK(status == FP_CORRUPT);
            }
            CHECK(is_same ? end == dump.n_bytes : end < dump.n_bytes);
        }
    }
    for (size_t i = 0; i < FP_HEADER_BYTES; i++) {
        sample dump = make_sample(0);
        uint64_t end;
        dump.bytes[i] ^= 64;
        CHECK(find(directory, dump.bytes, dump.n_bytes, 0, &end)
              == FP_CORRUPT);
    }
}

const test_case dump_end_tests[] = {
    {"dump_end_is_found", dump_end_is_found},
    {"dump_end_of_a_cut_one", dump_end_of_a_cut_one},
    {"dump_end_with_other_lengths", dump_end_with_other_lengths},
    {"dump_end_of_other_opcodes", dump_end_of_other_opcodes},
    {NULL, NULL},
};

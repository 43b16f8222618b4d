/* Every allocation of every room fails once: the answer is FP_NO_MEMORY, and
 * nothing is left behind. Needs a linker that can wrap functions
 * (FP_WRAP_MALLOC, see test_core_units.py); without one there are no cases. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include <xxhash.h>

#include "atomic_file.h"
#include "block_hash.h"
#include "block_read.h"
#include "buffer.h"
#include "check.h"
#include "layout.h"
#include "ring.h"

#ifdef FP_WRAP_MALLOC

/* Allocations still allowed; negative: no limit. */
static atomic_long n_allowed = -1;
static atomic_long n_live;

void *__real_malloc(size_t n_bytes);
void *__real_calloc(size_t n_items, size_t n_bytes);
void *__real_realloc(void *memory, size_t n_bytes);
int __real_posix_memalign(void **out, size_t alignment, size_t n_bytes);
void __real_free(void *memory);
XXH3_state_t *__real_XXH3_createState(void);
XXH_errorcode __real_XXH3_freeState(XXH3_state_t *state);

void *__wrap_malloc(size_t n_bytes);
void *__wrap_calloc(size_t n_items, size_t n_bytes);
void *__wrap_realloc(void *memory, size_t n_bytes);
int __wrap_posix_memalign(void **out, size_t alignment, size_t n_bytes);
void __wrap_free(void *memory);
XXH3_state_t *__wrap_XXH3_createState(void);
XXH_errorcode __wrap_XXH3_freeState(XXH3_state_t *state);

static int
is_refused(void)
{
    if (atomic_load(&n_allowed) < 0) {
        return 0;
    }
    if (atomic_load(&n_allowed) == 0) {
        return 1; /* and every one after it */
    }
    atomic_fetch_sub(&n_allowed, 1);
    return 0;
}

static void *
counted(void *memory)
{
    if (memory != NULL) {
        atomic_fetch_add(&n_live, 1);
    }
    return memory;
}

void *
__wrap_malloc(size_t n_bytes)
{
    return is_refused() ? NULL : counted(__real_malloc(n_bytes));
}

void *
__wrap_calloc(size_t n_items, size_t n_bytes)
{
    return is_refused() ? NULL : counted(__real_calloc(n_items, n_bytes));
}

void *
__wrap_realloc(void *memory, size_t n_bytes)
{
    if (is_refused()) {
        return NULL;
    }
    void *grown = __real_realloc(memory, n_bytes);
    return memory == NULL ? counted(grown) : grown;
}

int
__wrap_posix_memalign(void **out, size_t alignment, size_t n_bytes)
{
    if (is_refused()) {
        return ENOMEM;
    }
    int result = __real_posix_memalign(out, alignment, n_bytes);
    if (result == 0) {
        atomic_fetch_add(&n_live, 1);
    }
    return result;
}

void
__wrap_free(void *memory)
{
    if (memory != NULL) {
        atomic_fetch_sub(&n_live, 1);
    }
    __real_free(memory);
}

XXH3_state_t *
__wrap_XXH3_createState(void)
{
    return is_refused() ? NULL : counted(__real_XXH3_createState());
}

XXH_errorcode
__wrap_XXH3_freeState(XXH3_state_t *state)
{
    if (state != NULL) {
        atomic_fetch_sub(&n_live, 1);
    }
    return __real_XXH3_freeState(state);
}

/* Runs `job` with 0, 1, 2, ... allocations allowed, until it succeeds. */
static void
fail_each_allocation(fp_status (*job)(void), long n_least)
{
    for (long n = 0;; n++) {
        long n_live_before = atomic_load(&n_live);
        atomic_store(&n_allowed, n);
        fp_status status = job();
        atomic_store(&n_allowed, -1);
        CHECK(atomic_load(&n_live) == n_live_before);
        if (status == FP_OK) {
            CHECK(n >= n_least);
            break;
        }
        CHECK(status == FP_NO_MEMORY);
        CHECK(n < 1000);
    }
}

static fp_status
buffer_job(void)
{
    fp_buffer buffer = {0};
    fp_status status = FP_OK;
    for (unsigned i = 0; i < 1000 && status == FP_OK; i++) {
        size_t length = buffer.length;
        status = fp_buffer_append_u64(&buffer, i);
        if (status == FP_OK) {
            status = fp_buffer_append_varint(&buffer, i);
        }
        CHECK(buffer.length >= length);
        CHECK(length == 0 || buffer.data[0] == 0);
    }
    if (status == FP_OK) {
        status = fp_buffer_append_zeros(&buffer, 100000);
    }
    fp_buffer_free(&buffer);
    return status;
}

static void
memory_buffer(const char *directory)
{
    (void)directory;
    fail_each_allocation(buffer_job, 5);
}

static unsigned char *job_data;

static fp_status
hash_job(void)
{
    fp_block_hash hash = {0};
    fp_status status = FP_OK;
    for (int i = 0; i < 40 && status == FP_OK; i++) {
        status = fp_block_hash_update(&hash, job_data, 1000);
        if (status == FP_OK) {
            status = fp_block_hash_end_region(&hash);
        }
    }
    if (status == FP_OK) {
        status =
            fp_block_hash_update(&hash, job_data, 3 * FP_HASH_BLOCK_BYTES);
    }
    uint64_t pair;
    if (status == FP_OK) {
        status = fp_xxh3_pair(job_data, 3, job_data, 5, &pair);
    }
    fp_block_hash_free(&hash);
    return status;
}

static void
memory_hash(const char *directory)
{
    (void)directory;
    job_data = __real_calloc(3, FP_HASH_BLOCK_BYTES);
    CHECK(job_data != NULL);
    fail_each_allocation(hash_job, 4);
    __real_free(job_data);
}

static int job_threads;
static const fp_piece *job_pieces;
static const uint64_t *job_hashes;

/* Two blocks of two pieces each: a state per thread. */
static fp_status
block_read_job(void)
{
    fp_block_read read = {
        .fd = -1,
        .n_bytes = 2 * FP_HASH_BLOCK_BYTES,
        .pieces = job_pieces,
        .n_pieces = 4,
        .hashes = job_hashes,
        .n_threads = job_threads,
    };
    return fp_block_read_run(&read);
}

static void
memory_block_read(const char *directory)
{
    (void)directory;
    unsigned char *data = __real_calloc(2, FP_HASH_BLOCK_BYTES);
    CHECK(data != NULL);
    uint64_t hash = fp_xxh3(data, FP_HASH_BLOCK_BYTES);
    uint64_t hashes[] = {hash, hash};
    fp_piece pieces[] = {
        {data, 1000},
        {data + 1000, FP_HASH_BLOCK_BYTES - 1000},
        {data + FP_HASH_BLOCK_BYTES, 77},
        {data + FP_HASH_BLOCK_BYTES + 77, FP_HASH_BLOCK_BYTES - 77},
    };
    job_pieces = pieces;
    job_hashes = hashes;
    job_threads = 1;
    fail_each_allocation(block_read_job, 2);
    __real_free(data);
}

static fp_status
discard(fp_sink *sink, const void *data, size_t n_bytes)
{
    (void)sink;
    (void)data;
    (void)n_bytes;
    return FP_OK;
}

static fp_status
ring_job(void)
{
    fp_sink sink = {.write = discard, .own_thread = 1};
    fp_ring *ring;
    fp_status status = fp_ring_new(&sink, job_threads, &ring);
    if (status != FP_OK) {
        CHECK(ring == NULL);
        return status;
    }
    fp_ring_thread_from(ring, 0);
    status = fp_ring_write(ring, job_data, 21);
    for (int i = 0; i < 6 && status == FP_OK; i++) {
        status = fp_ring_begin_region(ring);
        if (status == FP_OK) {
            status = fp_ring_write(ring, job_data, FP_RING_BYTES);
        }
        if (status == FP_OK) {
            status = fp_ring_end_region(ring);
        }
    }
    CHECK(fp_ring_finish(ring) == status || status == FP_OK);
    status = fp_ring_finish(ring);
    fp_ring_free(ring);
    return status;
}

static void
memory_ring(const char *directory)
{
    (void)directory;
    job_data = __real_calloc(1, FP_RING_BYTES);
    CHECK(job_data != NULL);
    for (job_threads = 1; job_threads <= 2; job_threads++) {
        fail_each_allocation(ring_job, FP_RING_BLOCKS + 3);
    }
    __real_free(job_data);
}

static const char *job_path;

static int job_durable;

static fp_status
atomic_file_job(void)
{
    fp_atomic_file file;
    fp_status status = fp_atomic_file_open(&file, job_path, job_durable);
    if (status != FP_OK) {
        return status;
    }
    char *path = fp_atomic_file_path(&file);
    if (path == NULL) {
        fp_atomic_file_abort(&file);
        return FP_NO_MEMORY;
    }
    free(path);
    CHECK(write(file.fd, "text", 4) == 4);
    status = fp_atomic_file_commit(&file);
    fp_atomic_file_abort(&file);
    return status;
}

static void
memory_atomic_file(const char *directory)
{
    CHECK(chdir(directory) == 0);
    CHECK(symlink("target", "link") == 0);
    job_path = "link";
    job_durable = 1;
    fail_each_allocation(atomic_file_job, 7);

    /* An empty target, which is filled. */
    int fd = open("target", O_RDWR | O_TRUNC);
    CHECK(fd >= 0);
    job_durable = 0;
    fail_each_allocation(atomic_file_job, 8);
    char text[5] = "";
    CHECK(read(fd, text, 5) == 4 && strcmp(text, "text") == 0);
    CHECK(close(fd) == 0);
    DIR *names = opendir(".");
    CHECK(names != NULL);
    struct dirent *name;
    while ((name = readdir(names)) != NULL) {
        CHECK(strstr(name->d_name, ".tmp") == NULL);
    }
    CHECK(closedir(names) == 0);
}

static fp_status
layout_job(void)
{
    fp_blob blobs[30];
    uint64_t hashes[2] = {1, 2};
    char environment[] = "{}";
    uint64_t position = FP_HEADER_BYTES;
    for (uint32_t i = 0; i < 30; i++) {
        unsigned char bytes[FP_BLOB_PREFIX_MAX];
        position += fp_blob_prefix_encode(bytes, position, FP_BLOB_BYTES, i);
        blobs[i] = (fp_blob){.kind = FP_BLOB_BYTES,
                             .memo_number = 99 * i,
                             .offset = position,
                             .length = i};
        position += i;
        position += fp_blob_suffix_encode(bytes, 99 * i);
    }
    fp_footer in = {
        .arrays_offset = FP_HEADER_BYTES,
        .arrays_length = position - FP_HEADER_BYTES,
        .graph_offset = position,
        .graph_length = 5,
        .state = FP_STATE_VALID,
        .n_blobs = 30,
        .blobs = blobs,
        .n_hashes = 2,
        .hashes = hashes,
        .environment = environment,
        .environment_bytes = 2,
    };
    fp_buffer encoded = {0};
    fp_footer out;
    fp_layout_error error;
    fp_status status = fp_footer_encode(&in, &encoded);
    if (status == FP_OK) {
        status = fp_footer_decode(encoded.data, encoded.length, &out, &error);
        if (status == FP_OK) {
            fp_footer_free(&out);
        }
    }
    fp_buffer_free(&encoded);
    return status;
}

static void
memory_layout(const char *directory)
{
    (void)directory;
    fail_each_allocation(layout_job, 6);
}

const test_case memory_tests[] = {
    {"memory_buffer", memory_buffer},
    {"memory_hash", memory_hash},
    {"memory_block_read", memory_block_read},
    {"memory_ring", memory_ring},
    {"memory_atomic_file", memory_atomic_file},
    {"memory_layout", memory_layout},
    {NULL, NULL},
};

#else

const test_case memory_tests[] = {{NULL, NULL}};

#endif

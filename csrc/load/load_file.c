/* A file of ours by its descriptor: the dumps in it, found from its end; the
 * graph and the sidecar of one, read and checked. */
#include "load_parts.h"

#include "base/opcodes.h"
#include "base/signals.h"
#include "core/block_hash.h"
#include "core/block_read.h"
#include "core/pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FLAGS_OFFSET 18 /* in the header */
/* So much of a file's end is read at once: footer and all, for most files. */
#define END_BYTES ((uint64_t)64 << 10)

/* --- reading ------------------------------------------------------------- */

static int
raise_read(const fp_load *load, fp_status status, int saved_errno,
           fp_section section, uint64_t offset, const char *expected)
{
    if (status == FP_TRUNCATED || status == FP_CORRUPT || status == FP_TOO_NEW)
    {
        return fp_raise_damage(load->state, status, load->path, section,
                               offset, expected);
    }
    return fp_raise_status(status, saved_errno, load->path, NULL);
}

/* All n_bytes at an offset of the file. No GIL. */
static fp_status
read_at(int fd, unsigned char *out, uint64_t n_bytes, uint64_t offset,
        int *saved_errno)
{
    while (n_bytes > 0) {
        ssize_t n = pread(fd, out, (size_t)n_bytes, (off_t)offset);
        if (n == 0) {
            return FP_TRUNCATED;
        }
        if (n < 0 && errno != EINTR) {
            *saved_errno = errno;
            return FP_IO;
        }
        if (n > 0) {
            out += n;
            offset += (uint64_t)n;
            n_bytes -= (uint64_t)n;
        }
    }
    return FP_OK;
}

/* Bytes of the file, which has them: borrowed of `whole`, or in *owned memory
 * (free()). NULL with an exception. */
static const unsigned char *
bytes_at(const fp_load *load, uint64_t offset, uint64_t n_bytes,
         unsigned char **owned)
{
    fp_status status;
    int saved_errno = 0;

    if (load->whole != NULL) {
        return load->whole + offset;
    }
    *owned = malloc((size_t)n_bytes + 1);
    if (*owned == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    status = read_at(load->fd, *owned, n_bytes, offset, &saved_errno);
    Py_END_ALLOW_THREADS
    if (status != FP_OK) {
        raise_read(load, status, saved_errno, FP_SECTION_FOOTER, offset,
                   "a file that does not become shorter");
        return NULL;
    }
    return *owned;
}

int
fp_load_look_at(const fp_load *load, uint64_t offset, unsigned char *out,
                uint64_t n_bytes)
{
    unsigned char *owned = NULL;
    const unsigned char *bytes = bytes_at(load, offset, n_bytes, &owned);

    if (bytes != NULL) {
        memcpy(out, bytes, (size_t)n_bytes);
    }
    free(owned);
    return bytes == NULL ? -1 : 0;
}

/* --- what kind of file --------------------------------------------------- */

/* Whether a file starts as a file of ours does, or would but for one byte: what
 * one fault makes of a header is still one. The flags may be others. */
int
fp_load_starts_as_ours(const unsigned char *head, uint64_t n_bytes)
{
    unsigned char header[FP_HEADER_BYTES];
    size_t n_compared = n_bytes < FP_HEADER_FIXED_BYTES
                            ? (size_t)n_bytes
                            : FP_HEADER_FIXED_BYTES;
    int n_wrong = 0;

    fp_header_encode(header);
    for (size_t i = 0; i < n_compared; i++) {
        n_wrong += head[i] != header[i];
    }
    /* Of a few bytes one is much. */
    return n_wrong == 0 || (n_wrong == 1 && n_bytes >= FP_HEADER_BYTES);
}

static int read_footer(fp_load *load, uint64_t end, fp_footer *footer);

/* Whether the file is footers of ours, each whole, whose lengths lead from the
 * end to load->start exactly. 1, 0, or -1 where reading failed. */
static int
leads_back(fp_load *load)
{
    uint64_t end = load->size;

    while (end > load->start) {
        fp_footer footer = {0};
        uint64_t total_length;
        if (read_footer(load, end, &footer) < 0) {
            if (!PyErr_ExceptionMatches(load->state->unpickling_error)) {
                return -1;
            }
            PyErr_Clear();
            return 0;
        }
        total_length = footer.total_length;
        fp_footer_free(&footer);
        if (total_length > end - load->start) {
            return 0;
        }
        end -= total_length;
    }
    return 1;
}

/* Of a file that ends as ours do: whether it begins with our header in a frame,
 * where other programs write it that make a pickle of a pickle. */
static int
is_rewritten(const unsigned char head[FP_HEADER_BYTES])
{
    unsigned char header[FP_HEADER_BYTES];

    fp_header_encode(header);
    return memcmp(head, header, 2) == 0 && head[2] == OP_FRAME
           && memcmp(head + 2 + FP_FRAME_BYTES, header + 2,
                     FP_HEADER_BYTES - 2 - FP_FRAME_BYTES)
                  == 0;
}

int
fp_load_look(fp_load *load, uint64_t start)
{
    unsigned char ends[FP_HEADER_BYTES + FP_TAIL_READ_BYTES] = {0};
    const unsigned char *head = ends, *tail = ends + FP_HEADER_BYTES;
    uint64_t n_bytes = load->size > start ? load->size - start : 0;
    uint64_t n_head = n_bytes < FP_HEADER_BYTES ? n_bytes : FP_HEADER_BYTES;
    uint64_t footer_bytes;
    fp_layout_error error;
    fp_status status = FP_OK;
    int saved_errno = 0;
    int kind, is_ours;

    load->start = start;
    if (n_bytes == 0) {
        return FP_FILE_EMPTY;
    }
    if (load->size <= FP_WHOLE_FILE_BYTES && load->whole == NULL) {
        load->whole = malloc((size_t)load->size);
        if (load->whole == NULL) {
            PyErr_NoMemory();
            return -1;
        }
        Py_BEGIN_ALLOW_THREADS
        status = read_at(load->fd, load->whole, load->size, 0, &saved_errno);
        Py_END_ALLOW_THREADS
    }
    if (load->whole != NULL) {
        head = load->whole + start;
        if (n_bytes >= FP_TAIL_READ_BYTES) {
            tail = load->whole + load->size - FP_TAIL_READ_BYTES;
        }
    }
    else {
        Py_BEGIN_ALLOW_THREADS
        status = read_at(load->fd, ends, n_head, start, &saved_errno);
        if (status == FP_OK && n_bytes >= FP_TAIL_READ_BYTES) {
            status =
                read_at(load->fd, ends + FP_HEADER_BYTES, FP_TAIL_READ_BYTES,
                        load->size - FP_TAIL_READ_BYTES, &saved_errno);
        }
        Py_END_ALLOW_THREADS
    }
    if (status != FP_OK) {
        return raise_read(load, status, saved_errno, FP_SECTION_HEADER, start,
                          "a file that does not become shorter");
    }
    if (fp_load_starts_as_ours(head, n_bytes)
        || fp_header_decode(head, (size_t)n_head, &error) != FP_NOT_OURS)
    {
        return FP_FILE_OURS;
    }
    kind = n_bytes >= 2 && head[0] == OP_PROTO && head[1] >= 3
               ? FP_FILE_PICKLE
               : FP_FILE_FOREIGN;
    if (n_bytes < FP_TAIL_READ_BYTES
        || fp_tail_decode(tail, n_bytes, &footer_bytes, &error) == FP_NOT_OURS)
    {
        return kind;
    }
    /* Its end is ours. A codec may have stored a dump as it lies, so that is no
     * sign by itself, but whole footers that lead back to the first byte are. */
    is_ours = leads_back(load);
    return is_ours < 0 ? -1
           : !is_ours  ? is_rewritten(head) ? FP_FILE_REWRITTEN : kind
           : kind == FP_FILE_PICKLE ? FP_FILE_OURS
                                    : FP_FILE_HEADLESS;
}

/* --- footers ------------------------------------------------------------- */

/* There is no end magic at the end of the file: was it cut? */
static int
raise_no_footer(const fp_load *load, const unsigned char *tail)
{
    int is_cut = load->size % FP_ALIGN != 0
                 || tail[FP_TAIL_READ_BYTES - 1] != OP_STOP
                 || tail[FP_TAIL_READ_BYTES - 2] != OP_POP;

    return fp_raise_damage(load->state, is_cut ? FP_TRUNCATED : FP_CORRUPT,
                           load->path, FP_SECTION_FOOTER, load->size,
                           "a footer at the end of the file");
}

/* Decodes the footer that ends at `end`. *section says where a failure lies:
 * at the file's end in the footer, in front of a later dump in what should be
 * one more dump. */
static int
read_footer(fp_load *load, uint64_t end, fp_footer *footer)
{
    int is_last = end == load->size;
    fp_section section = is_last ? FP_SECTION_FOOTER : FP_SECTION_TRAILING;
    uint64_t available = end - load->start;
    uint64_t n_window = available < END_BYTES ? available : END_BYTES;
    uint64_t n_bytes;
    unsigned char *owned = NULL, *longer = NULL;
    const unsigned char *window, *data;
    fp_layout_error error;
    fp_status status;
    int result = -1;

    if (available < FP_HEADER_BYTES + FP_TAIL_READ_BYTES) {
        return fp_raise_damage(
            load->state, is_last ? FP_TRUNCATED : FP_CORRUPT, load->path,
            section, is_last ? end : load->start, "a whole dump");
    }
    window = bytes_at(load, end - n_window, n_window, &owned);
    if (window == NULL) {
        goto done;
    }
    const unsigned char *tail = window + n_window - FP_TAIL_READ_BYTES;
    status = fp_tail_decode(tail, available, &n_bytes, &error);
    if (status == FP_NOT_OURS) {
        if (is_last) {
            raise_no_footer(load, tail);
        }
        else {
            fp_raise_damage(load->state, FP_CORRUPT, load->path, section, end,
                            "nothing but whole dumps behind the first one");
        }
        goto done;
    }
    if (status != FP_OK) {
        fp_raise_damage(load->state, status, load->path, section,
                        end - FP_TAIL_READ_BYTES + error.offset,
                        error.expected);
        goto done;
    }
    data = window + n_window - n_bytes;
    if (n_bytes > n_window) {
        data = bytes_at(load, end - n_bytes, n_bytes, &longer);
        if (data == NULL) {
            goto done;
        }
    }
    if (n_bytes > FP_WHOLE_FILE_BYTES) {
        Py_BEGIN_ALLOW_THREADS
        status = fp_footer_decode(data, (size_t)n_bytes, footer, &error);
        Py_END_ALLOW_THREADS
    }
    else {
        status = fp_footer_decode(data, (size_t)n_bytes, footer, &error);
    }
    if (status != FP_OK) {
        raise_read(load, status, 0, section, end - n_bytes + error.offset,
                   error.expected);
        goto done;
    }
    result = 0;
done:
    free(owned);
    free(longer);
    return result;
}

fp_status
fp_load_decode_header(const unsigned char *header, fp_layout_error *error)
{
    fp_status status = fp_header_decode(header, FP_HEADER_BYTES, error);

    if (status == FP_NOT_OURS) {
        error->offset = 0;
        error->expected = "the header's magic";
        return FP_CORRUPT;
    }
    return status;
}

/* `flags`: the footer's. */
static int
check_header(fp_load *load, uint64_t start, unsigned flags)
{
    unsigned char *owned = NULL;
    const unsigned char *header =
        bytes_at(load, start, FP_HEADER_BYTES, &owned);
    fp_layout_error error;
    fp_status status;
    int result = -1;

    if (header != NULL) {
        result = 0;
        status = fp_load_decode_header(header, &error);
        if (status == FP_OK && fp_header_flags(header) != flags) {
            status = FP_CORRUPT;
            error.offset = FP_HEADER_FIXED_BYTES;
            error.expected = "the flags of the footer";
        }
        if (status != FP_OK) {
            /* Its footer is of this version: the header cannot be newer. */
            result = fp_raise_damage(load->state, FP_CORRUPT, load->path,
                                     FP_SECTION_HEADER, start + error.offset,
                                     error.expected);
        }
    }
    free(owned);
    return result;
}

int
fp_load_dump_before(fp_load *load, uint64_t *end)
{
    fp_footer *footer = &load->footer;

    if (load->has_footer) {
        fp_footer_free(footer);
        load->has_footer = 0;
    }
    if (read_footer(load, *end, footer) < 0) {
        return -1;
    }
    load->has_footer = 1;
    if (footer->total_length > *end - load->start) {
        return fp_raise_damage(load->state, FP_CORRUPT, load->path,
                               *end == load->size ? FP_SECTION_FOOTER
                                                  : FP_SECTION_TRAILING,
                               *end, "a dump no longer than the file");
    }
    *end -= footer->total_length;
    return check_header(load, *end, footer->flags);
}

int
fp_load_find_dump(fp_load *load)
{
    uint64_t end = load->size;

    do {
        if (fp_load_dump_before(load, &end) < 0) {
            return -1;
        }
    } while (end > load->start);
    return fp_load_check_numbers(load);
}

/* --- checks -------------------------------------------------------------- */

static int
compare_numbers(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left;
    uint32_t b = *(const uint32_t *)right;

    return (a > b) - (a < b);
}

int
fp_load_check_numbers(fp_load *load)
{
    const fp_blob *blobs = load->footer.blobs;
    size_t n = load->footer.n_blobs;
    size_t n_ascending = 1;
    uint32_t *numbers;
    int is_distinct = 1;

    while (n_ascending < n
           && blobs[n_ascending].memo_number
                  > blobs[n_ascending - 1].memo_number)
    {
        n_ascending++;
    }
    if (n_ascending >= n) {
        return 0;
    }
    numbers = malloc(n * sizeof(uint32_t));
    if (numbers == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    for (size_t i = 0; i < n; i++) {
        numbers[i] = blobs[i].memo_number;
    }
    qsort(numbers, n, sizeof(uint32_t), compare_numbers);
    for (size_t i = 1; i < n; i++) {
        is_distinct &= numbers[i] != numbers[i - 1];
    }
    free(numbers);
    return is_distinct
               ? 0
               : fp_raise_damage(load->state, FP_CORRUPT, load->path,
                                 FP_SECTION_FOOTER,
                                 load->start + load->footer.graph_offset
                                     + load->footer.graph_length,
                                 "a memo number of its own for each blob");
}

size_t
fp_load_gap(const fp_footer *footer, size_t i,
            unsigned char expected[FP_GAP_MAX])
{
    uint64_t position = footer->arrays_offset;
    size_t n = 0;

    if (i > 0) {
        const fp_blob *before = &footer->blobs[i - 1];
        n = fp_blob_suffix_encode(expected, before->memo_number);
        position = before->offset + before->length + n;
    }
    if (i < footer->n_blobs) {
        const fp_blob *blob = &footer->blobs[i];
        n += fp_blob_prefix_encode(expected + n, position, blob->kind,
                                   blob->length);
    }
    return n;
}

static int
is_right_gap(const fp_footer *footer, size_t i, const unsigned char *gap)
{
    unsigned char expected[FP_GAP_MAX];

    return memcmp(gap, expected, fp_load_gap(footer, i, expected)) == 0;
}

uint64_t
fp_load_gap_extent(const fp_footer *footer, size_t i, uint64_t *n_bytes)
{
    uint64_t start =
        i == 0 ? footer->arrays_offset
               : footer->blobs[i - 1].offset + footer->blobs[i - 1].length;
    uint64_t end =
        i < footer->n_blobs ? footer->blobs[i].offset : footer->graph_offset;

    *n_bytes = end - start;
    return start;
}

int
fp_load_raise_gap(const fp_load *load, uint64_t offset)
{
    return fp_raise_damage(load->state, FP_CORRUPT, load->path,
                           FP_SECTION_ARRAYS, load->start + offset,
                           "the opcodes around a blob");
}

int
fp_load_check_gaps(fp_load *load, const unsigned char *dump)
{
    for (size_t i = 0; i <= load->footer.n_blobs; i++) {
        uint64_t n_bytes;
        uint64_t offset = fp_load_gap_extent(&load->footer, i, &n_bytes);
        if (!is_right_gap(&load->footer, i, dump + offset)) {
            return fp_load_raise_gap(load, offset);
        }
    }
    return 0;
}

/* Hashes of the region that begin at footer.hashes[first], or NULL. */
static const uint64_t *
hashes_of(const fp_load *load, fp_section section)
{
    size_t n_sidecar =
        (size_t)((load->footer.arrays_length + FP_HASH_BLOCK_BYTES - 1)
                 >> FP_HASH_BLOCK_SHIFT);

    if (load->options->verify == FP_VERIFY_NONE) {
        return NULL;
    }
    if (section == FP_SECTION_GRAPH) {
        return load->footer.hashes + n_sidecar;
    }
    return load->footer.state == FP_STATE_VALID ? load->footer.hashes : NULL;
}

/* Where a run of blocks lies in the file, and what they should hash to. */
static fp_block_read
describe_region(const fp_load *load, fp_section section)
{
    const fp_footer *footer = &load->footer;
    int is_graph = section == FP_SECTION_GRAPH;

    return (fp_block_read){
        .offset = load->start
                  + (is_graph ? footer->graph_offset : footer->arrays_offset),
        .n_bytes = is_graph ? footer->graph_length : footer->arrays_length,
        .hashes = hashes_of(load, section),
        .n_threads = load->options->n_threads,
    };
}

fp_status
fp_load_run_blocks(fp_block_read *read, fp_progress *progress,
                   fp_progress_part part)
{
    uint64_t before = progress == NULL ? 0 : progress->done[part];
    fp_signals signals;
    fp_status status;

    if (read->fd < 0 && read->n_bytes <= FP_WHOLE_FILE_BYTES) {
        status =
            fp_block_read_run(read); /* over before anybody gets the GIL */
    }
    else {
        fp_signals_init(&signals);
        if (progress != NULL) {
            signals.progress = progress;
            signals.part = part;
            signals.before = before;
        }
        read->interrupt = &signals.interrupt;
        Py_BEGIN_ALLOW_THREADS
        status = fp_block_read_run(read);
        Py_END_ALLOW_THREADS
    }
    if (progress != NULL) {
        progress->done[part] = before + read->n_bytes;
    }
    return status;
}

static int
run_block_read(fp_load *load, fp_section section, fp_block_read *read)
{
    fp_status status =
        fp_load_run_blocks(read, &load->progress, FP_PROGRESS_MAIN);

    if (status == FP_CORRUPT) {
        return fp_raise_bad_block(load->state, load->path, section,
                                  read->bad_offset, read->bad_end);
    }
    return status == FP_OK
               ? 0
               : raise_read(load, status, read->saved_errno, section,
                            read->bad_offset, "a longer file");
}

/* Fills the pieces from the file. */
static int
read_region(fp_load *load, fp_section section, const fp_piece *pieces,
            size_t n_pieces)
{
    fp_block_read read = describe_region(load, section);

    read.fd = load->fd;
    read.pieces = pieces;
    read.n_pieces = n_pieces;
    return run_block_read(load, section, &read);
}

/* Checks what is in memory; `read` says all but where. */
static int
check_memory(fp_load *load, fp_section section, fp_block_read *read,
             const unsigned char *bytes)
{
    fp_piece piece = {
        .target = (unsigned char *)(uintptr_t)bytes, /* only read */
        .n_bytes = read->n_bytes,
    };

    if (read->hashes == NULL) {
        return 0;
    }
    read->fd = -1;
    read->pieces = &piece;
    read->n_pieces = 1;
    return run_block_read(load, section, read);
}

int
fp_load_check_region(fp_load *load, fp_section section,
                     const unsigned char *bytes)
{
    fp_block_read read = describe_region(load, section);

    return check_memory(load, section, &read, bytes);
}

int
fp_load_check_blocks(fp_load *load, uint64_t first, const unsigned char *bytes,
                     uint64_t n_bytes)
{
    fp_block_read read = describe_region(load, FP_SECTION_ARRAYS);

    read.offset += first << FP_HASH_BLOCK_SHIFT;
    read.n_bytes = n_bytes;
    if (read.hashes != NULL) {
        read.hashes += first;
    }
    return check_memory(load, FP_SECTION_ARRAYS, &read, bytes);
}

int
fp_load_read_blocks(fp_load *load, uint64_t first, unsigned char *target,
                    uint64_t n_bytes)
{
    fp_piece piece = {target, n_bytes};
    fp_block_read read = describe_region(load, FP_SECTION_ARRAYS);

    read.fd = load->fd;
    read.offset += first << FP_HASH_BLOCK_SHIFT;
    read.n_bytes = n_bytes;
    read.pieces = &piece;
    read.n_pieces = 1;
    if (read.hashes != NULL) {
        read.hashes += first;
    }
    return run_block_read(load, FP_SECTION_ARRAYS, &read);
}

int
fp_load_warn_void(fp_load *load)
{
    PyObject *where = load->path == NULL
                          ? PyUnicode_FromString("the file")
                          : PyUnicode_FromFormat("%R", load->path);
    int status;

    if (where == NULL) {
        return -1;
    }
    status = fp_warn(
        PyExc_UserWarning,
        "%U was mapped for writing: the bytes of its arrays cannot be checked",
        where);
    Py_DECREF(where);
    return status;
}

/* --- graph and sidecar --------------------------------------------------- */

int
fp_load_read_graph(fp_load *load)
{
    const fp_footer *footer = &load->footer;
    fp_piece piece;

    if (load->whole != NULL) {
        load->graph = load->whole + load->start + footer->graph_offset;
        return fp_load_check_region(load, FP_SECTION_GRAPH, load->graph);
    }
    load->own_graph = fp_pages_new((size_t)footer->graph_length);
    if (load->own_graph == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    load->graph = load->own_graph;
    piece.target = load->own_graph;
    piece.n_bytes = footer->graph_length;
    return read_region(load, FP_SECTION_GRAPH, &piece, 1);
}

static int
copy_sidecar(fp_load *load)
{
    const fp_footer *footer = &load->footer;
    unsigned char *dump = load->whole + load->start;

    for (size_t i = 0; i < footer->n_blobs; i++) {
        const fp_blob *from = &footer->blobs[i];
        fp_loaded_blob *blob = &load->blobs.table[i];
        /* What one array may come to own is copied; the rest is used where it
         * lies. */
        if (from->kind == FP_BLOB_BYTEARRAY
            && from->length >= FP_OWN_BLOB_BYTES)
        {
            if (fp_blobs_allocate(&load->blobs, i, from->length) < 0) {
                return -1;
            }
            memcpy(blob->data, dump + from->offset, (size_t)from->length);
        }
        else {
            blob->data = dump + from->offset;
            blob->n_bytes = from->length;
            blob->in_place = 1;
        }
    }
    return 0;
}

/* Every payload to its own memory, what is between them to `gaps`. */
static void
plan_pieces(fp_load *load, unsigned char *gaps, fp_piece *pieces)
{
    const fp_footer *footer = &load->footer;

    for (size_t i = 0; i <= footer->n_blobs; i++) {
        pieces[2 * i].target = gaps;
        (void)fp_load_gap_extent(footer, i, &pieces[2 * i].n_bytes);
        gaps += pieces[2 * i].n_bytes;
        if (i < footer->n_blobs) {
            pieces[2 * i + 1].target = load->blobs.table[i].data;
            pieces[2 * i + 1].n_bytes = footer->blobs[i].length;
        }
    }
}

static int
check_read_gaps(fp_load *load, const unsigned char *gaps)
{
    for (size_t i = 0; i <= load->footer.n_blobs; i++) {
        uint64_t n_bytes;
        uint64_t offset = fp_load_gap_extent(&load->footer, i, &n_bytes);
        if (!is_right_gap(&load->footer, i, gaps)) {
            return fp_load_raise_gap(load, offset);
        }
        gaps += n_bytes;
    }
    return 0;
}

static int
read_pieces(fp_load *load)
{
    const fp_footer *footer = &load->footer;
    uint64_t n_gap_bytes = footer->arrays_length;
    unsigned char *gaps;
    fp_piece *pieces;
    int result = -1;

    for (size_t i = 0; i < footer->n_blobs; i++) {
        n_gap_bytes -= footer->blobs[i].length;
        if (fp_blobs_allocate(&load->blobs, i, footer->blobs[i].length) < 0) {
            return -1;
        }
    }
    gaps = malloc((size_t)n_gap_bytes + 1);
    pieces = malloc((2 * footer->n_blobs + 1) * sizeof(fp_piece));
    if (gaps == NULL || pieces == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    plan_pieces(load, gaps, pieces);
    if (read_region(load, FP_SECTION_ARRAYS, pieces, 2 * footer->n_blobs + 1)
        == 0)
    {
        result = check_read_gaps(load, gaps);
    }
done:
    free(pieces);
    free(gaps);
    return result;
}

int
fp_load_read_sidecar(fp_load *load)
{
    const fp_footer *footer = &load->footer;
    const unsigned char *dump;

    if (footer->state == FP_STATE_VOID && fp_load_warn_void(load) < 0) {
        return -1;
    }
    if (load->whole == NULL) {
        return read_pieces(load);
    }
    dump = load->whole + load->start;
    if (fp_load_check_region(load, FP_SECTION_ARRAYS,
                             dump + footer->arrays_offset)
            < 0
        || fp_load_check_gaps(load, dump) < 0)
    {
        return -1;
    }
    return copy_sidecar(load);
}

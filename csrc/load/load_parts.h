/* One load of a file of ours, shared by the files that carry it out:
 *
 *   load.c         which kind of file it is, and the order of things
 *   load_file.c    a file with a descriptor: its dumps, its graph, its sidecar
 *   load_ahead.c   its sidecar, read ahead of the graph
 *   load_map.c     the same through a map
 *   load_mixed.c   a file that other writers have added to
 *   load_stream.c  a file object, front to back
 *   load_buffers*.c the second file of a dump in two
 *   verify.c       all of the checks, and nothing else
 *   inspect.c      what is in a file, by surveys
 *
 * Ownership: fp_load owns what fp_load_free() frees. Errors: -1 or NULL with
 * an exception set. GIL held; released around input and hashing.
 */
#ifndef FP_LOAD_PARTS_H
#define FP_LOAD_PARTS_H

#include "base/errors.h"
#include "build/unpickle.h"
#include "core/block_read.h"
#include "core/layout.h"
#include "core/read_ahead.h"
#include "core/sidecar_layout.h"
#include "in/blobs.h"
#include "in/input.h"
#include "load.h"

/* A file up to this is read whole, by one system call. */
#define FP_WHOLE_FILE_BYTES ((uint64_t)256 << 10)

/* The second file of a dump in two, from its index to its buffers. */
typedef struct {
    fp_state *state; /* all borrowed */
    const fp_sidecar_place *place;
    PyObject *mmap_mode; /* NULL: read */
    fp_verify verify;
    int n_threads;
    int as_objects;        /* every buffer is to be an object of its own */
    int only_checks;       /* payloads are hashed and dropped */
    uint64_t max_bytes;    /* as in fp_load_options */
    uint64_t size;         /* of the file */
    fp_progress *progress; /* borrowed, may be NULL */
    fp_sidecar_index index;
    fp_blobs blobs;         /* one for each buffer, in order */
    unsigned char *scratch; /* owned: small buffers, and what is between */
    Py_buffer map_view;     /* keeps the map open while objects are built */
} fp_buffers;

void fp_buffers_free(fp_buffers *buffers);

typedef struct {
    fp_state *state;                /* borrowed */
    const fp_load_options *options; /* borrowed */
    PyObject *path;       /* borrowed; for messages, NULL for a file object */
    int fd;               /* borrowed; -1: none */
    uint64_t size;        /* of the file */
    uint64_t start;       /* of the dump in the file */
    unsigned char *whole; /* owned: all bytes of a small file, else NULL */
    fp_footer footer;     /* of the dump */
    int has_footer;
    const unsigned char *graph; /* checked bytes: in `whole` or `own_graph` */
    unsigned char *own_graph;   /* owned */
    fp_blobs blobs;
    Py_buffer map_view; /* keeps the map open while objects are built */
    /* Of a map: the blocks of the sidecar that were checked last. */
    uint64_t checked_first, checked_end;
    int is_streamed;             /* the sidecar is read when the graph runs */
    struct fp_load_ahead *ahead; /* owned; NULL: nothing is read ahead */
    int has_read_failed;         /* ahead of the graph, and that was raised */
    fp_buffers buffers;          /* of a dump in two files */
    int only_checks;             /* payloads are hashed and dropped */
    fp_progress progress;
    /* Owned: of a load that was audited, what was found. It has the graph and
     * the footer then. */
    PyObject *survey;
    /* Of a stream that broke off: the frames and blobs that had come. Owned. */
    size_t n_graph_bytes; /* in own_graph */
    fp_blob *found;
    size_t n_found;
} fp_load;

void fp_load_free(fp_load *load);

/* --- load.c -------------------------------------------------------------- */

#define FP_FRAME_BYTES 9 /* opcode and length */
/* CorruptFileError for FP_FILE_REWRITTEN. Returns -1. */
int fp_load_raise_rewritten(const fp_load *load);
/* The graph is whole frames. */
int fp_load_check_frames(const fp_load *load);
/* Whether the input starts as a file of ours does, or would but for one byte:
 * 1, 0, or -1. */
int fp_load_is_ours(const fp_load *load, fp_input *input);

/* --- inspect.c ----------------------------------------------------------- */

/* A Survey of the names in the graph that was read and checked, which load->survey
 * becomes:
 * it owns load->graph and load->footer's parts from here on. 0 or -1. */
int fp_load_survey(fp_load *load);

/* --- load_file.c --------------------------------------------------------- */

/* What the first and the last bytes say. */
typedef enum {
    FP_FILE_OURS,     /* whole or damaged */
    FP_FILE_PICKLE,   /* starts as a pickle of protocol 3 or later does */
    FP_FILE_FOREIGN,  /* anything else: whoever knows codecs is asked */
    FP_FILE_HEADLESS, /* the same, and if it is no codec's, ours and damaged */
    FP_FILE_REWRITTEN, /* a pickle made of a file of ours by another program */
    FP_FILE_EMPTY,
} fp_file_kind;

/* Looks at a regular file from `start`; reads all of a small one. -1 or a
 * kind. */
int fp_load_look(fp_load *load, uint64_t start);
/* A header of ours, all 21 bytes of it; *error says what is wrong. */
fp_status fp_load_decode_header(const unsigned char *header,
                                fp_layout_error *error);
/* Reads the footer that ends at *end into load->footer, and checks the header of
 * its dump; *end becomes where that dump begins. */
int fp_load_dump_before(fp_load *load, uint64_t *end);
/* Finds the dump that begins at load->start by the footers, from the end of
 * the file; what lies behind it must be whole dumps. */
int fp_load_find_dump(fp_load *load);
/* Reads and checks the graph. */
int fp_load_read_graph(fp_load *load);
/* Reads and checks the sidecar into load->blobs. */
int fp_load_read_sidecar(fp_load *load);
/* Compares the opcodes around the payloads, in the memory that holds the whole
 * dump, with what the blob table determines. */
int fp_load_check_gaps(fp_load *load, const unsigned char *dump);
/* What stands between the payloads of blob i - 1 and blob i, as the table
 * determines it; there is one more gap than blobs. The first returns its
 * length, the second its offset in the dump. */
#define FP_GAP_MAX (FP_BLOB_SUFFIX_MAX + FP_BLOB_PREFIX_MAX)
size_t fp_load_gap(const fp_footer *footer, size_t i,
                   unsigned char expected[FP_GAP_MAX]);
uint64_t fp_load_gap_extent(const fp_footer *footer, size_t i,
                            uint64_t *n_bytes);
/* The bytes at such an offset are wrong. Returns -1. */
int fp_load_raise_gap(const fp_load *load, uint64_t offset);
/* No two blobs have one memo number. */
int fp_load_check_numbers(fp_load *load);
/* Hashes bytes that are in memory already, sidecar or graph. */
int fp_load_check_region(fp_load *load, fp_section section,
                         const unsigned char *bytes);
/* The same for blocks of the sidecar, from number `first` on. */
int fp_load_check_blocks(fp_load *load, uint64_t first,
                         const unsigned char *bytes, uint64_t n_bytes);
/* Reads blocks of the sidecar, from number `first` on, and checks them. */
int fp_load_read_blocks(fp_load *load, uint64_t first, unsigned char *target,
                        uint64_t n_bytes);
/* Reads or checks blocks, without the GIL where that takes long, looks for
 * signals and tells `progress` (NULL: nobody). FP_SINK_FAILED: one has
 * raised. */
fp_status fp_load_run_blocks(fp_block_read *read, fp_progress *progress,
                             fp_progress_part part);
/* Raises the failure of a read, damage or not. Returns -1. */
int fp_load_raise_read(const fp_load *load, fp_status status, int saved_errno,
                       fp_section section, uint64_t offset,
                       const char *expected);
/* Reads the blocks of the sidecar up to number `last` once more, in order: -1
 * with the first failure, 0 where there is none. */
int fp_load_find_damage(fp_load *load, uint64_t last);
/* Where the sidecar lies in the file, and its hashes. */
void fp_load_describe_ahead(const fp_load *load, fp_read_ahead *ahead);
/* Compares all gaps, one behind the other, with what they have to be. */
int fp_load_check_read_gaps(fp_load *load, const unsigned char *gaps);
/* The sidecar's hashes do not hold any more: says so. */
int fp_load_warn_void(fp_load *load);

/* n_bytes at an offset of the file, which has them. 0 or -1. */
int fp_load_look_at(const fp_load *load, uint64_t offset, unsigned char *out,
                    uint64_t n_bytes);
/* Whether bytes begin as a file of ours does, or would but for one byte. */
int fp_load_starts_as_ours(const unsigned char *head, uint64_t n_bytes);

/* --- load_mixed.c -------------------------------------------------------- */

/* Where the dumps of ours that begin at load->start end in front of another
 * writer's, load->size becomes their end: 1. 0: they do not; -1. */
int fp_load_leave_others(fp_load *load);
/* As fp_load_find_dump(); where what lies behind begins as another writer's
 * pickle or stream, load->size becomes the end of the dumps in front of it.
 * What begins as a dump of ours, or would but for one byte, has to be whole. */
int fp_load_find_first(fp_load *load);
/* The same demand of what lies behind a foreign pickle that ends at `end`. */
int fp_load_check_behind(fp_load *load, uint64_t end);

/* --- load_ahead.c -------------------------------------------------------- */

/* Whether the sidecar may be read while the graph runs, and is worth it. */
int fp_load_may_stream(const fp_load *load);
/* Begins to read it, for a machine that has its blobs and stands before the
 * graph: 1; 0 where it is to be read first, -1. Whatever it returns, stop must
 * follow, before anything of `load` is freed. */
int fp_load_begin_ahead(fp_load *load, const fp_machine *machine);
/* When the graph has run: reads and checks what nobody asked for, and what is
 * between the blobs. */
int fp_load_end_ahead(fp_load *load);
/* Ends the threads. Keeps the exception that is set, if any. */
void fp_load_stop_ahead(fp_load *load);

/* --- load_map.c ---------------------------------------------------------- */

/* A map of a whole file, made by the mmap module: new reference. `mode` is a
 * checked mmap_mode. */
PyObject *fp_map_new(int fd, PyObject *mode);
/* The same, copied on write, whatever the load's mode. */
PyObject *fp_map_to_keep(int fd);
/* What numpy.memmap calls `filename`: the absolute path, as str. */
PyObject *fp_map_filename(PyObject *path);
/* Writes into a file in place and waits for the disk: 0 or an errno. No
 * GIL. */
int fp_load_overwrite(int fd, const unsigned char *data, size_t n_bytes,
                      uint64_t offset);
/* Puts the blobs into a map of the file, instead of reading them. */
int fp_load_map_sidecar(fp_load *load);

/* --- load_stream.c ------------------------------------------------------- */

/* Reads a dump of ours whose header starts at the input's cursor, up to and
 * with its STOP, and checks it. */
int fp_load_read_stream(fp_load *load, fp_input *input);

/* --- load_buffers.c ------------------------------------------------------ */

/* Of a dump whose footer is known: the buffers of its sidecar file. ValueError
 * where one is missing, or given and not wanted. */
int fp_load_buffers(fp_load *load);
/* Checks the sidecar that begins where a file object stands, without keeping
 * its buffers; `footer`, unless it is NULL, is that of its main file. */
int fp_verify_buffers(fp_state *state, const fp_sidecar_place *place,
                      const fp_footer *footer, uint64_t max_bytes,
                      fp_progress *progress);
/* That ValueError, for a dump whose sidecar is missing. Always -1. */
int fp_load_miss_sidecar(const fp_load *load);
/* That ValueError, for what is no dump in two files. Always -1. */
int fp_load_refuse_sidecar(const fp_load *load);

#endif

/* Loading from a path or a file object: what kind of file it is, its bytes,
 * its checks, and the machine that builds the objects.
 *
 * A path of ours: header and tail, footer and graph are read and checked before
 * an opcode of the graph runs; of the sidecar each block is before a byte of it
 * is used, and all are before the load returns: read ahead of the graph, or as
 * a whole before it (small files, verify="full", restricted loads), or the file
 * is mapped. Of a damaged file nothing is returned. An exception of user code
 * ends the load as it is: no damage can be its reason. Other
 * files (plain pickle, joblib) run as they are read. A file object is read
 * front to back, one dump, nothing behind it.
 * Compressed files never come here: pypkg/fastpersist/files/loading.py opens
 * the decompressor and hands over a file object.
 *
 * One descriptor from open to end: what was checked is what is used.
 * GIL held on entry and return; released around input and hashing.
 */
#ifndef FP_LOAD_H
#define FP_LOAD_H

#include "base/state.h"

typedef enum {
    FP_VERIFY_NONE,
    FP_VERIFY_READ, /* all that is read: everything but a map's arrays */
    FP_VERIFY_FULL,
} fp_verify;

/* What comes of packages that run in other versions than the file was saved
 * with. */
typedef enum {
    FP_MISMATCH_IGNORE,
    FP_MISMATCH_WARN,
    FP_MISMATCH_RAISE,
} fp_mismatch;

/* The sidecar file of a dump in two: a regular file by its descriptor, or a
 * file object. Everything is borrowed. */
typedef struct {
    int fd;         /* -1: see `file` */
    PyObject *file; /* with read() */
    PyObject *path; /* str or bytes, for messages and maps; NULL: unknown */
} fp_sidecar_place;

typedef struct {
    PyObject *mmap_mode; /* borrowed: NULL or str, checked: r, r+, c */
    int native_order;
    fp_verify verify;
    int n_threads;
    /* May be taken out of the file, of each of two: decoded where it is
     * compressed. UINT64_MAX: no limit. */
    uint64_t max_bytes;
    const fp_sidecar_place *sidecar; /* borrowed; NULL: none was given */
    /* Borrowed, who knows other writers' files. foreign(fd) loads what is left
     * to it; foreign(fd, offset) tells whether a pickle or a codec's stream
     * begins there. NULL: nobody. */
    PyObject *foreign;
    fp_mismatch mismatch;
    PyObject *report; /* borrowed: told of progress; NULL or None: nobody */
    PyObject *find_class; /* borrowed: as of fp_machine; NULL: names are
                           * imported */
    /* Of plain pickles, as Unpickler takes them; borrowed. `encoding` NULL: the
     * defaults of all three. */
    const char *encoding, *errors;
    int fix_imports;
    /* Borrowed; of fp_load_path() only; NULL: nobody. Asked before anything of
     * the file runs, and raises to refuse it: audit(survey, fd) of a file that
     * is one dump of ours, checked; audit(None, fd) of any other, which has
     * to look at it by itself and to leave the descriptor at its start. */
    PyObject *audit;
} fp_load_options;

/* At import (joblib_layout.c): the stand-in for joblib's NumpyArrayWrapper,
 * OldJoblibFile, which load() raises for the wrappers of files before 0.10 and
 * pypkg/fastpersist/files/ hands to joblib, and how the machine reads the
 * arrays of wrappers (fp_wrapped_arrays). 0 or -1. */
int fp_joblib_init(PyObject *module, fp_state *state);

/* New references. `path` (str or bytes, borrowed) is what the caller gave: for
 * messages, and numpy.memmap's filename.
 *
 * Opens `path`; of a regular file of ours it loads the first dump, and it runs
 * what starts as a pickle of protocol 3 or later. Anything else, and what turns
 * out to be joblib's from before 0.10, is left to options->foreign, called with
 * the open descriptor. */
PyObject *fp_load_path(fp_state *state, PyObject *path,
                       const fp_load_options *options);
/* The dump or pickle that begins at `start` of a regular file; *end is where it
 * ends. `fd` stays the caller's. None and an end of 0 where it cannot be mapped
 * as asked: arrays would not be aligned, or it is joblib's and not the first.
 */
PyObject *fp_load_descriptor(fp_state *state, int fd, PyObject *path,
                             uint64_t start, const fp_load_options *options,
                             uint64_t *end);
/* One dump or pickle from a file object, from where it stands, no further.
 * `path` may be NULL. mmap_mode is ignored. */
PyObject *fp_load_file(fp_state *state, PyObject *file, PyObject *path,
                       const fp_load_options *options);
/* verify.c: nothing is loaded, and nothing from the file runs. CorruptFileError
 * where a byte is not what was written. */

/* All dumps in a regular file. 1, or 0 where it is no file of ours; -1 with an
 * exception. */
int fp_verify_descriptor(fp_state *state, int fd, PyObject *path,
                         int n_threads, PyObject *report);
/* One dump from a file object, and its sidecar where it has one. 1; 0 where
 * none of ours begins here (at most FP_HEADER_BYTES are read then); -1. Of
 * `options` max_bytes, sidecar and report count. */
int fp_verify_file(fp_state *state, PyObject *file, PyObject *path,
                   const fp_load_options *options);
/* One sidecar from a file object. 0 or -1. */
int fp_verify_sidecar(fp_state *state, const fp_sidecar_place *place,
                      uint64_t max_bytes, PyObject *report);
/* The opcodes of any pickle, up to STOP, and the arrays between joblib's, by a
 * survey. 0 or -1. */
int fp_verify_pickle(fp_state *state, PyObject *file, PyObject *path,
                     uint64_t max_bytes, PyObject *report);

/* inspect.c: what a file holds (survey_type.h), with nothing of it run. Damage is
 * no exception here but part of what is found: a Survey has it as `damage`, and
 * all that was met in front of it. New references. */

/* At import: the type, and the functions for surveys. 0 or -1. */
int fp_survey_type_init(PyObject *module, fp_state *state);
int fp_survey_functions_init(PyObject *module);
/* The names behind the numbers of its records: a dict. */
PyObject *fp_survey_names(void);
/* All dumps of a regular file, or the pickles that follow one another in it: a
 * list of Survey. `foreign` as in fp_load_options, or NULL. */
PyObject *fp_survey_descriptor(fp_state *state, int fd, PyObject *path,
                               uint64_t max_bytes, int n_threads,
                               PyObject *foreign);
/* One dump or pickle from a file object, and no further; None where nothing
 * comes. */
PyObject *fp_survey_file(fp_state *state, PyObject *file, PyObject *path,
                         uint64_t max_bytes);
/* n_bytes of a dump's sidecar, at an offset of the file, read into `target` or,
 * where that is NULL, only checked: every block of the dump that begins at
 * `start` and ends at `end` which holds some of them is compared with its hash.
 * 0 or -1. */
int fp_read_checked(fp_state *state, int fd, PyObject *path, uint64_t start,
                    uint64_t end, uint64_t offset, uint64_t n_bytes,
                    unsigned char *target, int n_threads);

/* The buffers of a sidecar file, a list of bytearray and bytes. */
PyObject *fp_read_sidecar(fp_state *state, const fp_sidecar_place *place,
                          fp_verify verify, int n_threads);

#endif

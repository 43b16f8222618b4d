/* The sidecar file of a dump in two: the order of things, and whether it
 * belongs to its main file. */
#include "load_buffers_parts.h"

#include <stdlib.h>

int
fp_buffers_damaged(const fp_buffers *from, fp_status status, uint64_t offset,
                   const char *expected)
{
    return fp_raise_damage(from->state, status, from->place->path,
                           FP_SECTION_SIDECAR, offset, expected);
}

int
fp_buffers_bad_block(const fp_buffers *from, uint64_t offset, uint64_t end)
{
    return fp_raise_bad_block(from->state, from->place->path,
                              FP_SECTION_SIDECAR, offset, end);
}

int
fp_buffers_failed(const fp_buffers *from, fp_status status, int saved_errno,
                  uint64_t offset, const char *expected)
{
    if (status == FP_TRUNCATED || status == FP_CORRUPT || status == FP_TOO_NEW)
    {
        return fp_buffers_damaged(from, status, offset, expected);
    }
    return fp_raise_status(status, saved_errno, from->place->path, NULL);
}

int
fp_buffers_add(fp_buffers *from, int is_read_only)
{
    return fp_blobs_add(&from->blobs,
                        is_read_only ? FP_BLOB_BYTES : FP_BLOB_BYTEARRAY);
}

const uint64_t *
fp_buffers_hashes(const fp_buffers *from)
{
    return from->verify != FP_VERIFY_NONE
                   && from->index.state == FP_STATE_VALID
               ? from->index.hashes
               : NULL;
}

/* What a message calls a file: new reference. */
static PyObject *
name_of(PyObject *path, const char *if_unknown)
{
    return path == NULL ? PyUnicode_FromString(if_unknown)
                        : PyUnicode_FromFormat("%R", path);
}

/* Whether this is the sidecar that the main file's footer names. */
static int
check_pair(const fp_buffers *from, const fp_footer *footer)
{
    PyObject *name;

    if (footer->sidecar_file_root == from->index.root
        && footer->n_buffers == from->index.n_buffers
        && footer->sidecar_file_length == from->index.total_length)
    {
        return 0;
    }
    name = name_of(from->place->path, "the sidecar");
    if (name != NULL) {
        fp_raise_corrupt(
            from->state, from->place->path, FP_SECTION_SIDECAR,
            PyUnicode_FromFormat(
                "%U belongs to another dump than the main file: load the two "
                "files that one dump() wrote, or dump the object again",
                name));
        Py_DECREF(name);
    }
    return -1;
}

static int
warn_if_void(const fp_buffers *from)
{
    PyObject *name;
    int status = -1;

    if (from->index.state == FP_STATE_VALID) {
        return 0;
    }
    name = name_of(from->place->path, "the sidecar");
    if (name != NULL) {
        status = fp_warn(PyExc_UserWarning,
                         "%U was mapped for writing: the bytes of "
                         "its arrays cannot be checked",
                         name);
        Py_DECREF(name);
    }
    return status;
}

/* --- what others call ---------------------------------------------------- */

void
fp_buffers_free(fp_buffers *from)
{
    fp_blobs_free(&from->blobs);
    if (from->map_view.obj != NULL) {
        PyBuffer_Release(&from->map_view);
    }
    fp_sidecar_index_free(&from->index);
    free(from->scratch);
    from->scratch = NULL;
}

/* What is to be read, against max_bytes. */
static int
check_size(const fp_buffers *from)
{
    return from->mmap_mode != NULL
                   || from->index.total_length <= from->max_bytes
               ? 0
               : fp_raise_over_limit(from->state, from->place->path,
                                     from->max_bytes);
}

/* `footer`: of the main file, or NULL. */
static int
load_buffers(fp_buffers *from, const fp_footer *footer)
{
    if (fp_blobs_init(&from->blobs, from->state, 0) < 0) {
        return -1;
    }
    from->blobs.as_objects = from->as_objects;
    if (from->place->fd < 0) {
        if (fp_buffers_read_stream(from) < 0) {
            return -1;
        }
    }
    else if (fp_buffers_find_index(from) < 0 || check_size(from) < 0) {
        return -1;
    }
    if ((footer != NULL && check_pair(from, footer) < 0)
        || warn_if_void(from) < 0)
    {
        return -1;
    }
    if (from->place->fd < 0) {
        return 0;
    }
    if (from->progress != NULL && from->mmap_mode == NULL) {
        from->progress->total[FP_PROGRESS_SECOND] = from->index.total_length;
    }
    return from->mmap_mode != NULL ? fp_buffers_map(from)
                                   : fp_buffers_read(from);
}

static int
refuse(const fp_load *load, const char *format)
{
    PyObject *name = name_of(load->path, "the file");

    if (name != NULL) {
        PyErr_Format(PyExc_ValueError, format, name);
        Py_DECREF(name);
    }
    return -1;
}

int
fp_load_buffers(fp_load *load)
{
    const fp_load_options *options = load->options;
    fp_buffers *from = &load->buffers;
    int wanted = (load->footer.flags & FP_FLAG_SIDECAR_FILE) != 0;

    if (!wanted) {
        return options->sidecar == NULL ? 0 : fp_load_refuse_sidecar(load);
    }
    if (options->sidecar == NULL) {
        return fp_load_miss_sidecar(load);
    }
    from->state = load->state;
    from->place = options->sidecar;
    from->verify = options->verify;
    from->n_threads = options->n_threads;
    from->max_bytes = options->max_bytes;
    from->progress = &load->progress;
    from->mmap_mode = options->sidecar->fd < 0 ? NULL : options->mmap_mode;
    if (load_buffers(from, &load->footer) < 0) {
        return -1;
    }
    from->blobs.native_order = options->native_order;
    return 0;
}

int
fp_load_miss_sidecar(const fp_load *load)
{
    return refuse(load, "%U has its arrays in a second file: pass that as "
                        "sidecar=");
}

int
fp_load_refuse_sidecar(const fp_load *load)
{
    return refuse(load, "%U is not a file with a sidecar: load it without "
                        "sidecar=");
}

int
fp_verify_buffers(fp_state *state, const fp_sidecar_place *place,
                  const fp_footer *footer, uint64_t max_bytes,
                  fp_progress *progress)
{
    fp_buffers from = {
        .state = state,
        .place = place,
        .verify = FP_VERIFY_FULL,
        .n_threads = 1,
        .only_checks = 1,
        .max_bytes = max_bytes,
        .progress = progress,
    };
    int result = -1;

    if (fp_blobs_init(&from.blobs, state, 0) == 0
        && fp_buffers_read_stream(&from) == 0
        && (footer == NULL || check_pair(&from, footer) == 0))
    {
        result = from.index.state == FP_STATE_VALID
                     ? 0
                     : fp_buffers_damaged(
                           &from, FP_CORRUPT,
                           from.index.total_length - FP_SIDECAR_FILE_TAIL_BYTES
                               + FP_SIDECAR_FILE_STATE_OFFSET,
                           "valid hashes: the file was mapped for "
                           "writing");
    }
    fp_buffers_free(&from);
    return result;
}

PyObject *
fp_read_sidecar(fp_state *state, const fp_sidecar_place *place,
                fp_verify verify, int n_threads)
{
    fp_buffers from = {
        .state = state,
        .place = place,
        .verify = verify,
        .n_threads = n_threads,
        .as_objects = 1,
        .max_bytes = UINT64_MAX,
    };
    PyObject *list = NULL;

    if (load_buffers(&from, NULL) == 0) {
        list = PyList_New((Py_ssize_t)from.blobs.n_blobs);
    }
    for (size_t i = 0; list != NULL && i < from.blobs.n_blobs; i++) {
        PyObject *buffer = fp_blobs_object(&from.blobs, i);
        if (buffer == NULL) {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, (Py_ssize_t)i, buffer);
    }
    fp_buffers_free(&from);
    return list;
}

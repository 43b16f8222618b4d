/* Maps: one mmap.mmap for a file, and blobs that lie in it. */
#include "load_parts.h"

#include "core/block_hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int
is_mode(PyObject *mode, const char *name)
{
    return PyUnicode_CompareWithASCIIString(mode, name) == 0;
}

PyObject *
fp_map_new(int fd, PyObject *mode)
{
    PyObject *module = PyImport_ImportModule("mmap");
    PyObject *type = NULL, *access = NULL, *map = NULL;
    PyObject *arguments = NULL, *keywords = NULL;
    const char *name = is_mode(mode, "r")   ? "ACCESS_READ"
                       : is_mode(mode, "c") ? "ACCESS_COPY"
                                            : "ACCESS_WRITE";

    if (module != NULL
        && (type = PyObject_GetAttrString(module, "mmap")) != NULL
        && (access = PyObject_GetAttrString(module, name)) != NULL
        && (arguments = Py_BuildValue("(ii)", fd, 0)) != NULL
        && (keywords = Py_BuildValue("{sO}", "access", access)) != NULL)
    {
        map = PyObject_Call(type, arguments, keywords);
    }
    Py_XDECREF(arguments);
    Py_XDECREF(keywords);
    Py_XDECREF(access);
    Py_XDECREF(type);
    Py_XDECREF(module);
    return map;
}

PyObject *
fp_map_filename(PyObject *path)
{
    PyObject *module = PyImport_ImportModule("os");
    PyObject *decoded = NULL, *paths = NULL, *absolute = NULL;

    if (module != NULL
        && (decoded = PyObject_CallMethod(module, "fsdecode", "O", path))
               != NULL
        && (paths = PyObject_GetAttrString(module, "path")) != NULL)
    {
        absolute = PyObject_CallMethod(paths, "abspath", "O", decoded);
    }
    Py_XDECREF(decoded);
    Py_XDECREF(paths);
    Py_XDECREF(module);
    return absolute;
}

/* --- blobs in a map ------------------------------------------------------ */

/* The hash blocks that a blob touches, each once in a load. */
static int
check_blob(fp_blobs *blobs, size_t index)
{
    fp_load *load = blobs->context;
    const fp_footer *footer = &load->footer;
    const fp_blob *blob = &footer->blobs[index];
    uint64_t begin = blob->offset - footer->arrays_offset;
    uint64_t first = begin >> FP_HASH_BLOCK_SHIFT;
    uint64_t end = begin + blob->length; /* at most arrays_length */
    uint64_t last;
    uint64_t n_checked;

    if (blob->length == 0) {
        return 0;
    }
    last = (end - 1) >> FP_HASH_BLOCK_SHIFT;
    /* Blobs are mostly used in order: what was checked last is remembered. */
    while (first <= last && first >= load->checked_first
           && first < load->checked_end)
    {
        first++;
    }
    if (first > last) {
        return 0;
    }
    n_checked = (last + 1) << FP_HASH_BLOCK_SHIFT;
    if (n_checked > footer->arrays_length) {
        n_checked = footer->arrays_length;
    }
    n_checked -= first << FP_HASH_BLOCK_SHIFT;
    if (fp_load_check_blocks(load, first,
                             blobs->map_data + load->start
                                 + footer->arrays_offset
                                 + (first << FP_HASH_BLOCK_SHIFT),
                             n_checked)
        < 0)
    {
        return -1;
    }
    if (first != load->checked_end) {
        load->checked_first = first;
    }
    load->checked_end = last + 1;
    return 0;
}

static int
check_all(fp_load *load, const unsigned char *dump)
{
    if (fp_load_check_region(load, FP_SECTION_ARRAYS,
                             dump + load->footer.arrays_offset)
        < 0)
    {
        return -1;
    }
    return fp_load_check_gaps(load, dump);
}

int
fp_load_overwrite(int fd, const unsigned char *data, size_t n_bytes,
                  uint64_t offset)
{
    size_t n_written = 0;

    while (n_written < n_bytes) {
        ssize_t n = pwrite(fd, data + n_written, n_bytes - n_written,
                           (off_t)(offset + n_written));
        if (n > 0) {
            n_written += (size_t)n;
        }
        else if (n == 0 || errno != EINTR) {
            return n == 0 ? EIO : errno;
        }
    }
    return fdatasync(fd) < 0 ? errno : 0;
}

/* From now on the sidecar may change under its hashes: says so on disk. */
static int
mark_void(fp_load *load)
{
    unsigned char word[8];
    uint64_t offset =
        load->start + load->footer.total_length - FP_TAIL_READ_BYTES;
    int saved_errno;

    if (load->footer.state == FP_STATE_VOID) {
        return 0;
    }
    for (size_t i = 0; i < sizeof(word); i++) {
        word[i] = (unsigned char)(FP_STATE_VOID >> (8 * i));
    }
    Py_BEGIN_ALLOW_THREADS
    saved_errno = fp_load_overwrite(load->fd, word, sizeof(word), offset);
    Py_END_ALLOW_THREADS
    return saved_errno == 0
               ? 0
               : fp_raise_status(FP_IO, saved_errno, load->path,
                                 "marking the file as mapped for writing");
}

int
fp_load_map_sidecar(fp_load *load)
{
    PyObject *mode = load->options->mmap_mode;
    const fp_footer *footer = &load->footer;
    fp_blobs *blobs = &load->blobs;
    const unsigned char *dump;
    int is_void = footer->state == FP_STATE_VOID;

    if (is_void && fp_load_warn_void(load) < 0) {
        return -1;
    }
    blobs->map = fp_map_new(load->fd, mode);
    if (blobs->map == NULL
        || PyObject_GetBuffer(blobs->map, &load->map_view, PyBUF_SIMPLE) < 0)
    {
        return -1;
    }
    if ((uint64_t)load->map_view.len < load->size) {
        return fp_raise_damage(load->state, FP_TRUNCATED, load->path,
                               FP_SECTION_ARRAYS, (uint64_t)load->map_view.len,
                               "a file that does not become shorter");
    }
    blobs->map_data = load->map_view.buf;
    blobs->map_mode = Py_NewRef(mode);
    blobs->map_filename = fp_map_filename(load->path);
    if (blobs->map_filename == NULL) {
        return -1;
    }
    dump = blobs->map_data + load->start;
    for (size_t i = 0; i < footer->n_blobs; i++) {
        fp_loaded_blob *blob = &blobs->table[i];
        /* Written to by nobody but through an array of a writable map. */
        blob->data =
            (unsigned char *)(uintptr_t)dump + footer->blobs[i].offset;
        blob->n_bytes = footer->blobs[i].length;
        blob->in_place = 1;
        blob->checked = load->options->verify != FP_VERIFY_READ || is_void;
    }
    blobs->check = check_blob;
    blobs->context = load;
    if (load->options->verify == FP_VERIFY_FULL && check_all(load, dump) < 0) {
        return -1;
    }
    return is_mode(mode, "r+") ? mark_void(load) : 0;
}

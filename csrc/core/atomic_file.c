#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* statx, getrandom; POSIX names under -std=c11 */
#endif

#include "atomic_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/random.h>
#endif

#define LINKS_MAX     40
#define COMPONENT_MAX 255
#define RANDOM_CHARS  8
#define NAME_TRIES    100

static fp_status
failed(fp_atomic_file *file, const char *step, int reason)
{
    file->failed_step = step;
    file->saved_errno = reason;
    return FP_IO;
}

static char *
copy_string(const char *text, size_t n_bytes)
{
    char *copy = malloc(n_bytes + 1);
    if (copy != NULL) {
        memcpy(copy, text, n_bytes);
        copy[n_bytes] = '\0';
    }
    return copy;
}

/* Length of the directory part, its slash included; 0 where there is none. */
static size_t
directory_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? 0 : (size_t)(slash - path) + 1;
}

/* The directory in which `path` lies, to be freed; NULL without memory. */
static char *
directory_of(const char *path)
{
    size_t n_bytes = directory_length(path);
    return n_bytes == 0 ? copy_string(".", 1) : copy_string(path, n_bytes);
}

/* --- following links --- */

/* The text of a link, to be freed. NULL: *reason is the errno, 0 standing for
 * "no memory". */
static char *
read_link(const char *path, int *reason)
{
    size_t capacity = 256;
    char *text = NULL;
    for (;;) {
        char *grown = realloc(text, capacity);
        if (grown == NULL) {
            *reason = 0;
            break;
        }
        text = grown;
        ssize_t n_bytes = readlink(path, text, capacity);
        if (n_bytes < 0) {
            *reason = errno;
            break;
        }
        if ((size_t)n_bytes < capacity) {
            text[n_bytes] = '\0';
            return text;
        }
        capacity *= 2;
    }
    free(text);
    return NULL;
}

/* Links under /proc (so also /dev/stdout) lead to an open file, whatever their
 * text says: only the kernel can follow them. */
static int
is_magic_link(const struct stat *link)
{
    struct stat proc;
    return stat("/proc", &proc) == 0 && proc.st_dev == link->st_dev;
}

/* Replaces file->target by what it leads to, and says what is there.
 * *exists = 0: nothing. *is_magic: the link was not followed. */
static fp_status
follow_links(fp_atomic_file *file, struct stat *info, int *exists,
             int *is_magic)
{
    *exists = 0;
    *is_magic = 0;
    for (int n_links = 0; n_links <= LINKS_MAX; n_links++) {
        if (lstat(file->target, info) != 0) {
            return errno == ENOENT ? FP_OK : failed(file, "open", errno);
        }
        if (!S_ISLNK(info->st_mode)) {
            *exists = 1;
            return FP_OK;
        }
        if (is_magic_link(info)) {
            *exists = 1;
            *is_magic = 1;
            return stat(file->target, info) == 0 ? FP_OK
                                                 : failed(file, "open", errno);
        }

        int reason = 0;
        char *text = read_link(file->target, &reason);
        if (text == NULL) {
            return reason == 0 ? FP_NO_MEMORY : failed(file, "open", reason);
        }
        size_t n_directory =
            text[0] == '/' ? 0 : directory_length(file->target);
        size_t n_text = strlen(text);
        char *next = malloc(n_directory + n_text + 1);
        if (next != NULL) {
            memcpy(next, file->target, n_directory);
            memcpy(next + n_directory, text, n_text + 1);
        }
        free(text);
        if (next == NULL) {
            return FP_NO_MEMORY;
        }
        free(file->target);
        file->target = next;
    }
    return failed(file, "open", ELOOP);
}

/* --- the temporary --- */

static int
random_bytes(unsigned char *out, size_t n_bytes)
{
#ifdef __linux__
    ssize_t n_got = getrandom(out, n_bytes, 0);
    if (n_got == (ssize_t)n_bytes) {
        return 0;
    }
#elif defined(__APPLE__) || defined(__FreeBSD__) || defined(__OpenBSD__)
    arc4random_buf(out, n_bytes);
    return 0;
#endif
#if !(defined(__APPLE__) || defined(__FreeBSD__) || defined(__OpenBSD__))
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    ssize_t n_read = read(fd, out, n_bytes);
    (void)close(fd);
    return n_read == (ssize_t)n_bytes ? 0 : -1;
#endif
}

/* "DIRECTORY/.NAME.XXXXXXXX.tmp", with at most n_name bytes of the name; the
 * X are filled in later. To be freed; NULL without memory. */
static char *
temporary_template(const char *target, size_t n_name)
{
    size_t n_directory = directory_length(target);
    const char *name = target + n_directory;
    size_t n_full = strlen(name);
    if (n_full < n_name) {
        n_name = n_full;
    }
    /* Not through the middle of a UTF-8 character: macOS would refuse it. */
    while (n_name > 0 && n_name < n_full
           && ((unsigned char)name[n_name] & 0xC0) == 0x80)
    {
        n_name--;
    }

    size_t capacity = n_directory + 1 + n_name + 1 + RANDOM_CHARS + 5;
    char *path = malloc(capacity);
    if (path != NULL) {
        memcpy(path, target, n_directory);
        path[n_directory] = '.';
        memcpy(path + n_directory + 1, name, n_name);
        memcpy(path + n_directory + 1 + n_name, ".XXXXXXXX.tmp",
               sizeof(".XXXXXXXX.tmp"));
    }
    return path;
}

/* Sets file->fd and file->temporary. */
static fp_status
make_temporary(fp_atomic_file *file, mode_t mode)
{
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
    const size_t n_suffix = RANDOM_CHARS + 4; /* XXXXXXXX.tmp */
    size_t n_name = COMPONENT_MAX - 2 - n_suffix;
    for (int attempt = 0; attempt < NAME_TRIES; attempt++) {
        if (file->temporary == NULL) {
            file->temporary = temporary_template(file->target, n_name);
            if (file->temporary == NULL) {
                return FP_NO_MEMORY;
            }
        }
        unsigned char bytes[RANDOM_CHARS];
        if (random_bytes(bytes, sizeof(bytes)) != 0) {
            return failed(file, "open", EIO);
        }
        char *suffix = file->temporary + strlen(file->temporary) - n_suffix;
        for (size_t i = 0; i < RANDOM_CHARS; i++) {
            suffix[i] = alphabet[bytes[i] % (sizeof(alphabet) - 1)];
        }

        file->fd = open(file->temporary,
                        O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (file->fd >= 0) {
            file->is_open = 1;
            return FP_OK;
        }
        if (errno == ENAMETOOLONG && n_name > 8) {
            /* Shorter limits than usual, or a path near its own. */
            n_name = 8;
            free(file->temporary);
            file->temporary = NULL;
        }
        else if (errno != EEXIST && errno != EINTR) {
            return failed(file, "open", errno);
        }
    }
    return failed(file, "open", EEXIST);
}

/* Why a rename over the target would fail although its directory admits new
 * files: 0, or an errno. Known before anything is written, not after. */
static int
reason_against_rename(const char *target, const struct stat *info,
                      const char *directory)
{
#if defined(__linux__) && defined(STATX_ATTR_MOUNT_ROOT)
    struct statx extended;
    if (statx(AT_FDCWD, target, AT_SYMLINK_NOFOLLOW, 0, &extended) == 0
        && (extended.stx_attributes & STATX_ATTR_MOUNT_ROOT))
    {
        return EBUSY;
    }
#else
    (void)target;
#endif
    struct stat parent;
    if (stat(directory, &parent) == 0 && (parent.st_mode & S_ISVTX)
        && geteuid() != 0 && info->st_uid != geteuid()
        && parent.st_uid != geteuid())
    {
        return EPERM;
    }
    return 0;
}

/* --- open --- */

/* Interrupted opens (a FIFO waits for its reader) are reported as EINTR: the
 * caller looks after signals, then calls again. */
static fp_status
open_in_place(fp_atomic_file *file, int kind, int flags)
{
    file->fd = open(file->target, O_WRONLY | O_CLOEXEC | O_NOCTTY | flags);
    if (file->fd < 0) {
        return failed(file, "open", errno);
    }
    file->is_open = 1;
    file->in_place = kind;
    return FP_OK;
}

static fp_status
open_resolved(fp_atomic_file *file, const struct stat *info, int exists,
              int is_magic, const char *directory)
{
    const char *name = file->target + directory_length(file->target);
    if (exists && S_ISDIR(info->st_mode)) {
        return failed(file, "open", EISDIR);
    }
    if (name[0] == '\0') {
        return failed(file, "open", file->target[0] ? EISDIR : ENOENT);
    }
    if (!exists) {
        return make_temporary(file, 0666);
    }
    if (!S_ISREG(info->st_mode)) {
        return file->durable ? failed(file, "open", EINVAL)
                             : open_in_place(file, 1, 0);
    }
    if (faccessat(AT_FDCWD, file->target, W_OK, AT_EACCESS) != 0) {
        return failed(file, "open", errno);
    }

    file->had_target = 1;
    file->target_mode = info->st_mode & 07777;
    int reason = is_magic
                     ? EINVAL
                     : reason_against_rename(file->target, info, directory);
    if (reason == 0) {
        fp_status status = make_temporary(file, info->st_mode & 0600);
        if (status != FP_IO
            || (file->saved_errno != EACCES && file->saved_errno != EPERM
                && file->saved_errno != EROFS))
        {
            return status;
        }
        reason = file->saved_errno;
        free(file->temporary);
        file->temporary = NULL;
    }
    if (file->durable) {
        return failed(file, "open", reason);
    }
    file->saved_errno = 0;
    file->failed_step = NULL;
    return open_in_place(file, 2, O_TRUNC);
}

fp_status
fp_atomic_file_open(fp_atomic_file *file, const char *path, int durable)
{
    char *directory = NULL;
    struct stat info;
    int exists;
    int is_magic;
    fp_status status = FP_NO_MEMORY;

    *file = (fp_atomic_file){.fd = -1, .durable = durable};
    file->target = copy_string(path, strlen(path));
    if (file->target == NULL) {
        goto done;
    }
    status = follow_links(file, &info, &exists, &is_magic);
    if (status != FP_OK) {
        goto done;
    }
    directory = directory_of(file->target);
    if (directory == NULL) {
        status = FP_NO_MEMORY;
        goto done;
    }
    status = open_resolved(file, &info, exists, is_magic, directory);

done:
    free(directory);
    if (status != FP_OK) {
        free(file->temporary); /* set, but never created */
        file->temporary = NULL;
        free(file->target);
        file->target = NULL;
    }
    return status;
}

/* --- commit and abort --- */

void
fp_atomic_file_abort(fp_atomic_file *file)
{
    if (file->is_open) {
        (void)close(file->fd);
        file->fd = -1;
        file->is_open = 0;
    }
    if (file->temporary != NULL) {
        (void)unlink(file->temporary);
        free(file->temporary);
        file->temporary = NULL;
    }
    free(file->target);
    file->target = NULL;
}

/* Gives the target's owner and mode to the temporary. What cannot be given is
 * never made up for by a wider permission. */
static fp_status
keep_attributes(fp_atomic_file *file)
{
    struct stat target;
    struct stat mine;
    mode_t mode;
    if (fstat(file->fd, &mine) != 0) {
        return failed(file, "fstat", errno);
    }
    int is_there = lstat(file->target, &target) == 0;
    if (!is_there && errno != ENOENT) {
        return failed(file, "lstat", errno);
    }
    if (is_there && S_ISREG(target.st_mode)) {
        mode = target.st_mode & 07777;
    }
    else if (file->had_target) {
        /* Somebody removed it meanwhile: what was to be replaced counts. */
        mode = file->target_mode & 0777;
        target = mine;
    }
    else {
        return FP_OK;
    }

    int has_owner = mine.st_uid == target.st_uid;
    int has_group = mine.st_gid == target.st_gid;
    int is_stale = 0; /* fchown() takes the setuid bit away */
    if (!has_owner || !has_group) {
        is_stale = 1;
        if (fchown(file->fd, target.st_uid, target.st_gid) == 0) {
            has_owner = 1;
            has_group = 1;
        }
        else if (!has_group && fchown(file->fd, (uid_t)-1, target.st_gid) == 0)
        {
            has_group = 1;
        }
    }
    if (!has_owner || !has_group) {
        mode &= (mode_t) ~(S_ISUID | S_ISGID);
    }
    if (!has_group) {
        /* Another group now: it gets no more than everybody had. */
        mode &= (mode_t)(~(mode_t)070 | ((mode & 07) << 3));
    }
    /* File systems without modes refuse; there the mode is the same for all
     * anyway. */
    if ((is_stale || (mine.st_mode & 07777) != mode)
        && fchmod(file->fd, mode) != 0 && errno != EPERM && errno != ENOTSUP
        && errno != ENOSYS)
    {
        return failed(file, "fchmod", errno);
    }
    return FP_OK;
}

static int
sync_file(int fd)
{
#ifdef F_FULLFSYNC
    /* fsync() alone leaves the data in the drive's cache there. */
    if (fcntl(fd, F_FULLFSYNC) == 0) {
        return 0;
    }
    if (errno != ENOTSUP && errno != EINVAL && errno != ENOTTY) {
        return -1;
    }
#endif
    return fsync(fd);
}

static fp_status
sync_directory(fp_atomic_file *file)
{
    static const char step[] = "fsync of the directory";
    char *directory = directory_of(file->target);
    if (directory == NULL) {
        return failed(file, step, ENOMEM);
    }
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int reason = fd < 0 ? errno : 0;
    free(directory);
    if (fd < 0) {
        return failed(file, step, reason);
    }
    /* Some file systems cannot sync a directory, and say so. */
    if (fsync(fd) != 0 && errno != EINVAL && errno != EBADF) {
        reason = errno;
    }
    (void)close(fd);
    return reason == 0 ? FP_OK : failed(file, step, reason);
}

fp_status
fp_atomic_file_prepare(fp_atomic_file *file)
{
    fp_status status = FP_OK;
    if (file->is_prepared) {
        return FP_OK;
    }
    if (!file->is_open) {
        return failed(file, "close", EBADF);
    }
    if (!file->in_place) {
        status = keep_attributes(file);
        if (status == FP_OK && file->durable && sync_file(file->fd) != 0) {
            status = failed(file, "fsync", errno);
        }
        if (status != FP_OK) {
            goto done;
        }
    }
    /* The descriptor is gone also where close() fails. */
    file->is_open = 0;
    int close_result = close(file->fd);
    file->fd = -1;
    if (close_result != 0) {
        status = failed(file, "close", errno);
        goto done;
    }
    file->is_prepared = 1;

done:
    if (status != FP_OK) {
        fp_atomic_file_abort(file);
    }
    return status;
}

fp_status
fp_atomic_file_commit(fp_atomic_file *file)
{
    fp_status status = fp_atomic_file_prepare(file);
    if (status != FP_OK || file->in_place) {
        goto done;
    }

    if (rename(file->temporary, file->target) != 0) {
        status = failed(file, "rename", errno);
        goto done;
    }
    file->is_renamed = 1;
    free(file->temporary); /* no longer ours to unlink */
    file->temporary = NULL;
    if (file->durable) {
        status = sync_directory(file);
    }

done:
    fp_atomic_file_abort(file); /* releases; unlinks where rename failed */
    return status;
}

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* statx, getrandom; POSIX names under -std=c11 */
#endif

#include "atomic_file.h"

#include "file_copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/random.h>
#endif

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

/* ".NAME.XXXXXXXX.tmp", with at most n_name bytes of the name; the X are
 * filled in later. To be freed; NULL without memory. */
static char *
temporary_template(const char *name, size_t n_name)
{
    static const char suffix[] = ".XXXXXXXX.tmp";
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

    char *text = malloc(1 + n_name + sizeof(suffix));
    if (text != NULL) {
        text[0] = '.';
        memcpy(text + 1, name, n_name);
        memcpy(text + 1 + n_name, suffix, sizeof(suffix));
    }
    return text;
}

/* Sets file->fd and file->temporary. */
static fp_status
make_temporary(fp_atomic_file *file, mode_t mode)
{
    /* What is to be copied is read again. */
    int access_mode = file->has_empty ? O_RDWR : O_WRONLY;
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
    const size_t n_suffix = RANDOM_CHARS + 4; /* XXXXXXXX.tmp */
    size_t n_name = COMPONENT_MAX - 2 - n_suffix;
    for (int attempt = 0; attempt < NAME_TRIES; attempt++) {
        if (file->temporary == NULL) {
            file->temporary = temporary_template(file->place.name, n_name);
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

        file->fd = openat(file->place.directory, file->temporary,
                          access_mode | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (file->fd >= 0) {
            file->is_open = 1;
            return FP_OK;
        }
        if (errno == ENAMETOOLONG && n_name > 8) {
            /* Shorter limits than usual. */
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

/* Why a rename to the target would fail although its directory admits new
 * files: 0, or an errno. Known before anything is written, not after. */
static int
reason_against_rename(const fp_place *place)
{
#if defined(__linux__) && defined(STATX_ATTR_MOUNT_ROOT)
    struct statx extended;
    if (place->exists
        && statx(place->directory, place->name, AT_SYMLINK_NOFOLLOW, 0,
                 &extended)
               == 0
        && (extended.stx_attributes & STATX_ATTR_MOUNT_ROOT))
    {
        return EBUSY;
    }
    /* What was made in such a directory stays, under its first name. */
    if (statx(place->directory, "", AT_EMPTY_PATH, 0, &extended) == 0
        && (extended.stx_attributes & STATX_ATTR_APPEND))
    {
        return EPERM;
    }
#endif
    struct stat parent;
    if (place->exists && geteuid() != 0 && place->info.st_uid != geteuid()
        && fstat(place->directory, &parent) == 0 && (parent.st_mode & S_ISVTX)
        && parent.st_uid != geteuid())
    {
        return EPERM;
    }
    return 0;
}

/* Whether a directory answers so that does not admit a new file, or not under
 * the temporary's name. */
static int
means_no_new_files(int reason)
{
    return reason == EACCES || reason == EPERM || reason == EROFS
           || reason == ENOENT || reason == EINVAL || reason == ENOSYS
           || reason == ENOTSUP;
}

/* --- an empty target --- */

static int
is_same_file(const struct stat *one, const struct stat *other)
{
    return one->st_dev == other->st_dev && one->st_ino == other->st_ino;
}

/* Whether the name leads to the descriptor's file, and that is empty. */
static int
is_empty_at_its_name(const fp_atomic_file *file)
{
    struct stat opened;
    struct stat named;
    return fstat(file->empty, &opened) == 0 && S_ISREG(opened.st_mode)
           && opened.st_size == 0
           && fp_place_look(&file->place, file->place.name, &named) == 0
           && is_same_file(&opened, &named);
}

static void
leave_empty(fp_atomic_file *file)
{
    if (file->has_empty) {
        (void)close(file->empty);
        file->empty = -1;
        file->has_empty = 0;
    }
}

/* Where it cannot be opened it is replaced like any other. */
static void
open_empty(fp_atomic_file *file)
{
    file->empty =
        openat(file->place.directory, file->place.name,
               O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK);
    file->has_empty = file->empty >= 0;
    if (file->has_empty && !is_empty_at_its_name(file)) {
        leave_empty(file);
    }
}

/* --- open --- */

/* Interrupted opens (a FIFO waits for its reader) are reported as EINTR: the
 * caller looks after signals, then calls again. */
static fp_status
open_in_place(fp_atomic_file *file, int kind)
{
    int flags = O_WRONLY | O_CLOEXEC | O_NOCTTY;
    if (!file->place.exists) {
        flags |= O_CREAT | O_EXCL;
    }
    else if (!file->place.is_magic) {
        flags |= O_NOFOLLOW;
    }
    file->fd = openat(file->place.directory, file->place.name, flags, 0666);
    if (file->fd < 0) {
        return failed(file, "open", errno);
    }
    file->is_open = 1;
    file->in_place = kind;
    return FP_OK;
}

/* Where the system cannot say, opening or renaming will. */
static int
may_be_written(const fp_place *place)
{
    return faccessat(place->directory, place->name, W_OK, AT_EACCESS) == 0
           || errno == ENOSYS || errno == EINVAL || errno == ENOTSUP;
}

static fp_status
open_at_place(fp_atomic_file *file)
{
    const fp_place *place = &file->place;
    mode_t mode = 0666;
    if (place->exists) {
        if (S_ISDIR(place->info.st_mode)) {
            return failed(file, "open", EISDIR);
        }
        if (!S_ISREG(place->info.st_mode)) {
            return file->durable ? failed(file, "open", EINVAL)
                                 : open_in_place(file, 1);
        }
        if (!may_be_written(place)) {
            return failed(file, "open", errno);
        }
        file->had_target = 1;
        file->target_mode = place->info.st_mode & 07777;
        mode = place->info.st_mode & 0600;
    }

    int reason = place->is_magic ? EINVAL : reason_against_rename(place);
    if (reason == 0) {
        if (place->exists && place->info.st_size == 0 && !file->durable) {
            open_empty(file);
        }
        fp_status status = make_temporary(file, mode);
        if (status != FP_IO || !place->exists
            || !means_no_new_files(file->saved_errno))
        {
            return status;
        }
        reason = file->saved_errno;
        free(file->temporary); /* set, but never created */
        file->temporary = NULL;
        leave_empty(file);
    }
    if (file->durable) {
        return failed(file, "open", reason);
    }
    file->saved_errno = 0;
    file->failed_step = NULL;
    return open_in_place(file, 2);
}

fp_status
fp_atomic_file_open(fp_atomic_file *file, const char *path, int durable)
{
    int reason = 0;

    *file = (fp_atomic_file){.fd = -1, .empty = -1, .durable = durable};
    fp_status status = fp_place_open(&file->place, path, &reason);
    if (status == FP_OK) {
        status = open_at_place(file);
    }
    else if (status == FP_IO) {
        (void)failed(file, "open", reason);
    }
    if (status != FP_OK) {
        free(file->temporary); /* set, but never created */
        file->temporary = NULL;
        fp_atomic_file_abort(file);
    }
    return status;
}

fp_status
fp_atomic_file_begin(fp_atomic_file *file)
{
    if (file->in_place == 2 && !file->is_begun) {
        if (ftruncate(file->fd, 0) != 0) {
            return failed(file, "ftruncate", errno);
        }
        file->is_begun = 1;
    }
    return FP_OK;
}

char *
fp_atomic_file_path(const fp_atomic_file *file)
{
    return fp_place_sibling(&file->place, file->temporary != NULL
                                              ? file->temporary
                                              : file->place.name);
}

/* --- commit and abort --- */

void
fp_atomic_file_abort(fp_atomic_file *file)
{
    if (file->is_open) {
        if (file->is_begun) {
            /* No half of a dump: what was there is lost either way. */
            (void)!ftruncate(file->fd, 0);
        }
        (void)close(file->fd);
        file->fd = -1;
        file->is_open = 0;
    }
    if (file->temporary != NULL) {
        (void)unlinkat(file->place.directory, file->temporary, 0);
        free(file->temporary);
        file->temporary = NULL;
    }
    leave_empty(file);
    fp_place_close(&file->place);
}

/* setuid and setgid, as far as the system leaves them to a file that this
 * process writes to. */
static mode_t
mode_once_written(mode_t mode)
{
    if (geteuid() != 0) {
        mode &= (mode_t)~S_ISUID;
        if (mode & S_IXGRP) {
            mode &= (mode_t)~S_ISGID;
        }
    }
    return mode;
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
    int is_there = fp_place_look(&file->place, file->place.name, &target) == 0;
    if (!is_there && errno != ENOENT) {
        return failed(file, "fstat", errno);
    }
    if (is_there && S_ISREG(target.st_mode)) {
        mode = mode_once_written(target.st_mode & 07777);
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
        && fchmod(file->fd, mode) != 0 && errno != EPERM && errno != EINVAL
        && errno != ENOTSUP && errno != ENOSYS)
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
    int fd =
        openat(file->place.directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int reason = 0;
    if (fd < 0) {
        return failed(file, step, errno);
    }
    /* Some file systems cannot sync a directory, and say so. */
    if (fsync(fd) != 0 && errno != EINVAL && errno != EBADF && errno != ENOTSUP
        && errno != ENOSYS)
    {
        reason = errno;
    }
    (void)close(fd);
    return reason == 0 ? FP_OK : failed(file, step, reason);
}

static fp_status
close_file(fp_atomic_file *file)
{
    /* The descriptor is gone also where close() fails. */
    int result = close(file->fd);
    file->is_open = 0;
    file->fd = -1;
    return result == 0 ? FP_OK : failed(file, "close", errno);
}

/* What close() has to report is asked of a second descriptor, so that there is
 * one left to truncate by. */
static fp_status
close_twin(fp_atomic_file *file, int fd)
{
    int twin = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return twin >= 0 && close(twin) == 0 ? FP_OK
                                         : failed(file, "close", errno);
}

/* The temporary, as it is to be when it is renamed. */
static fp_status
finish_temporary(fp_atomic_file *file)
{
    fp_status status = keep_attributes(file);
    if (status == FP_OK && file->durable && sync_file(file->fd) != 0) {
        status = failed(file, "fsync", errno);
    }
    return status == FP_OK ? close_file(file) : status;
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
    if (file->in_place) {
        status = file->is_begun ? close_twin(file, file->fd) : FP_OK;
        if (status == FP_OK) {
            status = close_file(file);
        }
    }
    else if (!file->has_empty) {
        status = finish_temporary(file);
    }
    file->is_prepared = status == FP_OK;
    if (status != FP_OK) {
        fp_atomic_file_abort(file);
    }
    return status;
}

/* Whether the temporary's name still leads to what was opened under it: what
 * opens it by name may have put another file there. */
static int
is_temporary_itself(const fp_atomic_file *file, struct stat *opened)
{
    struct stat named;
    return fstat(file->fd, opened) == 0
           && fp_place_look(&file->place, file->temporary, &named) == 0
           && is_same_file(opened, &named);
}

/* Copies the temporary into the empty target, where that is one still.
 * *is_filled = 0: nothing was touched, it is to be renamed. */
static fp_status
fill_empty(fp_atomic_file *file, int *is_filled)
{
    struct stat source;
    int reason = 0;
    int result;
    fp_status status = FP_OK;

    *is_filled = 0;
    do {
        result = flock(file->empty, LOCK_EX | LOCK_NB);
    } while (result != 0 && errno == EINTR);
    if (result != 0) {
        return FP_OK;
    }
    if (is_empty_at_its_name(file) && is_temporary_itself(file, &source)) {
        status = fp_file_copy(file->fd, file->empty, (uint64_t)source.st_size,
                              file->interrupt, &reason);
        if (status == FP_IO) {
            (void)failed(file, "copy into the empty file", reason);
        }
        else if (status == FP_OK) {
            status = close_twin(file, file->empty);
        }
        if (status != FP_OK) {
            (void)!ftruncate(file->empty, 0);
        }
        *is_filled = status == FP_OK;
    }
    /* A child forked meanwhile would hold the lock on. */
    (void)flock(file->empty, LOCK_UN);
    return status;
}

fp_status
fp_atomic_file_commit(fp_atomic_file *file)
{
    int is_filled = 0;
    fp_status status = fp_atomic_file_prepare(file);
    if (status != FP_OK || file->in_place) {
        goto done;
    }
    if (file->has_empty) {
        status = fill_empty(file, &is_filled);
        if (status != FP_OK || is_filled) {
            goto done;
        }
        status = finish_temporary(file);
        if (status != FP_OK) {
            goto done;
        }
    }

    if (renameat(file->place.directory, file->temporary, file->place.directory,
                 file->place.name)
        != 0)
    {
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

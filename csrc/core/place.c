#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* O_PATH, fstatfs; POSIX names under -std=c11 */
#endif

#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/vfs.h>
#endif

#define LINKS_MAX 40

/* Descriptors for *at() calls: reading the directory need not be allowed. */
#if defined(O_PATH)
#define SEARCH_FLAGS (O_PATH | O_DIRECTORY | O_CLOEXEC)
#elif defined(O_SEARCH)
#define SEARCH_FLAGS (O_SEARCH | O_DIRECTORY | O_CLOEXEC)
#else
#define SEARCH_FLAGS (O_RDONLY | O_DIRECTORY | O_CLOEXEC)
#endif

/* Length of the directory part, its slash included; 0 where there is none. */
static size_t
directory_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? 0 : (size_t)(slash - path) + 1;
}

/* `head`, then all of `tail`; to be freed, NULL without memory. */
static char *
joined(const char *head, size_t n_head, const char *tail)
{
    size_t n_tail = strlen(tail);
    char *text = malloc(n_head + n_tail + 1);
    if (text != NULL) {
        memcpy(text, head, n_head);
        memcpy(text + n_head, tail, n_tail + 1);
    }
    return text;
}

/* The text of a link, to be freed. NULL: *reason is the errno, 0 standing for
 * "no memory". */
static char *
read_link(const fp_place *place, int *reason)
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
        ssize_t n_bytes =
            readlinkat(place->directory, place->name, text, capacity);
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

static int
is_magic_link(const fp_place *place)
{
#ifdef __linux__
    const long proc_super_magic = 0x9fa0;
    struct statfs file_system;
    if (fstatfs(place->directory, &file_system) == 0) {
        return (long)file_system.f_type == proc_super_magic;
    }
#endif
    struct stat proc;
    return stat("/proc", &proc) == 0 && proc.st_dev == place->info.st_dev;
}

/* Goes from where the place is (at first nowhere: the current directory) to
 * the directory in which `way` ends. `path` (stolen) is the text for it from
 * the beginning. */
static fp_status
enter(fp_place *place, char *path, const char *way, int *reason)
{
    free(place->path);
    place->path = path;
    place->name = path + directory_length(path);

    /* The directory of "a/b//" is "a/". */
    size_t n_bytes = strlen(way);
    int ends_in_slash = n_bytes > 0 && way[n_bytes - 1] == '/';
    while (n_bytes > 0 && way[n_bytes - 1] == '/') {
        n_bytes--;
    }
    while (n_bytes > 0 && way[n_bytes - 1] != '/') {
        n_bytes--;
    }
    char *head = n_bytes > 0 ? joined(way, n_bytes, "")
                             : joined(way[0] == '/' ? "/" : ".", 1, "");
    if (head == NULL) {
        return FP_NO_MEMORY;
    }
    int directory = openat(place->is_open ? place->directory : AT_FDCWD, head,
                           SEARCH_FLAGS);
    *reason = directory < 0 ? errno : 0;
    free(head);
    if (directory < 0) {
        return FP_IO;
    }
    if (place->is_open) {
        (void)close(place->directory);
    }
    place->directory = directory;
    place->is_open = 1;
    if (ends_in_slash) {
        *reason = EISDIR;
        return FP_IO;
    }
    return FP_OK;
}

/* The name is a link: goes where it leads. */
static fp_status
follow(fp_place *place, int *reason)
{
    char *text = read_link(place, reason);
    if (text == NULL) {
        return *reason == 0 ? FP_NO_MEMORY : FP_IO;
    }
    size_t n_head = text[0] == '/' ? 0 : directory_length(place->path);
    char *path = joined(place->path, n_head, text);
    fp_status status =
        path == NULL ? FP_NO_MEMORY : enter(place, path, text, reason);
    free(text);
    return status;
}

/* Whether the kernel does not follow the link, a circle for one; else there
 * may be nothing behind it yet. */
static int
is_forbidden(int reason)
{
    return reason != ENOENT && reason != ENOTDIR;
}

static fp_status
find(fp_place *place, const char *path, int *reason)
{
    struct stat behind;
    if (path[0] == '\0') {
        *reason = ENOENT;
        return FP_IO;
    }
#ifdef PATH_MAX
    if (strlen(path) >= PATH_MAX) {
        /* In two steps it could be reached, but nobody could open it again. */
        *reason = ENAMETOOLONG;
        return FP_IO;
    }
#endif
    char *copy = joined("", 0, path);
    if (copy == NULL) {
        return FP_NO_MEMORY;
    }
    fp_status status = enter(place, copy, path, reason);
    for (int n_links = 0; status == FP_OK; n_links++) {
        if (fp_place_look(place, place->name, &place->info) != 0) {
            *reason = errno;
            return errno == ENOENT ? FP_OK : FP_IO;
        }
        if (!S_ISLNK(place->info.st_mode)) {
            place->exists = 1;
            return FP_OK;
        }
        int is_magic = is_magic_link(place);
        if ((n_links == 0 || is_magic)
            && fstatat(place->directory, place->name, &behind, 0) != 0
            && (is_magic || is_forbidden(errno)))
        {
            *reason = errno;
            return FP_IO;
        }
        if (is_magic) {
            place->info = behind;
            place->is_magic = 1;
            place->exists = 1;
            return FP_OK;
        }
        if (n_links == LINKS_MAX) {
            *reason = ELOOP;
            return FP_IO;
        }
        status = follow(place, reason);
    }
    return status;
}

fp_status
fp_place_open(fp_place *place, const char *path, int *reason)
{
    *place = (fp_place){.directory = -1};
    fp_status status = find(place, path, reason);
    if (status != FP_OK) {
        fp_place_close(place);
    }
    return status;
}

void
fp_place_close(fp_place *place)
{
    if (place->is_open) {
        (void)close(place->directory);
        place->directory = -1;
        place->is_open = 0;
    }
    free(place->path);
    place->path = NULL;
    place->name = NULL;
}

int
fp_place_look(const fp_place *place, const char *name, struct stat *info)
{
    return fstatat(place->directory, name, info, AT_SYMLINK_NOFOLLOW);
}

char *
fp_place_sibling(const fp_place *place, const char *name)
{
    return joined(place->path, (size_t)(place->name - place->path), name);
}

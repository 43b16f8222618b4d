#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "place.h"

static void
put(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    CHECK(fd >= 0 && close(fd) == 0);
}

/* The scene: every kind of name in one directory. */
static void
set_scene(const char *directory)
{
    char absolute[PATH_MAX];
    CHECK(chdir(directory) == 0);
    CHECK(mkdir("sub", 0700) == 0 && mkdir("sub/deep", 0700) == 0);
    put("file");
    put("sub/file");
    CHECK(symlink("file", "link") == 0);
    CHECK(symlink("link", "second") == 0);
    CHECK(symlink("../file", "sub/up") == 0);
    CHECK(symlink("sub/up", "down") == 0);
    CHECK(symlink("sub", "directory") == 0);
    CHECK(symlink("directory/deep/../up", "around") == 0);
    CHECK(snprintf(absolute, sizeof(absolute), "%s/sub/file", directory) > 0);
    CHECK(symlink(absolute, "absolute") == 0);
    CHECK(symlink("/", "root") == 0);
    CHECK(symlink("nothing", "dangling") == 0);
    CHECK(symlink("../nothing", "sub/dangling") == 0);
    CHECK(symlink("nowhere/file", "lost") == 0);
    CHECK(symlink("file/file", "through") == 0);
    CHECK(symlink("self", "self") == 0);
    CHECK(symlink("b", "a") == 0 && symlink("a", "b") == 0);
    CHECK(symlink("a/file", "loop_inside") == 0);
    CHECK(symlink("file/", "slash") == 0);
    CHECK(symlink("nothing//", "slash_nothing") == 0);
    CHECK(symlink("sub/", "slash_directory") == 0);
    CHECK(symlink(".", "dot") == 0 && symlink("..", "dots") == 0);
    char from[32];
    char to[32];
    CHECK(symlink("file", "chain1") == 0);
    for (int i = 2; i <= 41; i++) {
        CHECK(snprintf(from, sizeof(from), "chain%d", i) > 0);
        CHECK(snprintf(to, sizeof(to), "chain%d", i - 1) > 0);
        CHECK(symlink(to, from) == 0);
    }
}

static const char *const paths[] = {
    "file",
    "./file",
    "././/file",
    "sub/file",
    "sub//file",
    "sub/../file",
    "sub/deep/../../file",
    "new",
    "sub/new",
    "./new",
    " ",
    "-",
    "...",
    "..new",
    "new\n",
    "caf\xe9",
    "\xff\xfe",
    "link",
    "second",
    "sub/up",
    "down",
    "directory/file",
    "directory/new",
    "directory/up",
    "around",
    "absolute",
    "dangling",
    "sub/dangling",
    "directory/dangling",
    "dot/new",
    "dots/../new",
    "chain1",
    "chain40",
    "sub/deep/../../chain39",
    /* refused */
    "",
    ".",
    "..",
    "/",
    "//",
    "./",
    "../",
    "sub",
    "sub/",
    "sub/.",
    "sub/..",
    "sub/deep/",
    "directory",
    "directory/",
    "directory/.",
    "root",
    "dot",
    "dots",
    "file/",
    "file//",
    "file/.",
    "file/..",
    "file/new",
    "new/",
    "new//",
    "new/.",
    "new/..",
    "new/new",
    "link/",
    "link/new",
    "dangling/",
    "lost",
    "lost/",
    "through",
    "self",
    "self/",
    "self/new",
    "a",
    "b",
    "a/new",
    "loop_inside",
    "slash",
    "slash_nothing",
    "slash_directory",
    "chain41",
    "directory/../chain41",
};

/* Whether open() makes or opens a file there, or why not. */
static int
reason_of_open(const char *path, struct stat *info)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    if (fd < 0) {
        return errno;
    }
    CHECK(fstat(fd, info) == 0 && close(fd) == 0);
    return 0;
}

/* A place is found where open() finds or makes the file, and is refused for
 * open()'s reason. */
static void
check_as_open(const char *path)
{
    fp_place place;
    struct stat opened;
    struct stat there;
    int reason = 0;
    fp_status status = fp_place_open(&place, path, &reason);
    int exists = status == FP_OK && place.exists;
    if (exists && S_ISDIR(place.info.st_mode)) {
        /* Left to the caller, who knows what it is to be. */
        fp_place_close(&place);
        status = FP_IO;
        reason = EISDIR;
    }
    int expected = reason_of_open(path, &opened);
    if ((status == FP_OK ? 0 : reason) != expected) {
        fprintf(stderr, "\"%s\": %s, open() says %s\n", path, strerror(reason),
                strerror(expected));
        exit(1);
    }
    if (status == FP_OK) {
        CHECK(fp_place_look(&place, place.name, &there) == 0);
        CHECK(there.st_dev == opened.st_dev && there.st_ino == opened.st_ino);
        CHECK(!exists || place.info.st_ino == opened.st_ino);
        CHECK(stat(place.path, &there) == 0);
        CHECK(there.st_ino == opened.st_ino);
        if (!exists) {
            CHECK(unlinkat(place.directory, place.name, 0) == 0);
        }
    }
    CHECK(status == FP_OK || status == FP_IO);
    CHECK(place.is_open == (status == FP_OK));
    fp_place_close(&place);
    fp_place_close(&place);
    CHECK(!place.is_open && place.path == NULL);
}

static void
place_as_open(const char *directory)
{
    char path[2 * PATH_MAX];
    set_scene(directory);
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        check_as_open(paths[i]);
        CHECK(strlen(directory) + strlen(paths[i]) + 2 <= sizeof(path));
        CHECK(snprintf(path, sizeof(path), "%s/%s", directory, paths[i]) > 0);
        check_as_open(path);
    }
    CHECK(chdir("sub/deep") == 0);
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        CHECK(snprintf(path, sizeof(path), "../../%s", paths[i]) > 0);
        check_as_open(path);
    }
}

static void
place_of_long_paths(const char *directory)
{
    char path[PATH_MAX + 16];
    char name[300];
    CHECK(chdir(directory) == 0);
    for (size_t n_bytes = 250; n_bytes < 260; n_bytes++) {
        memset(name, 'n', n_bytes);
        name[n_bytes] = '\0';
        check_as_open(name);
    }
    /* "././ ... /name": of the largest length, and one more. */
    for (size_t n_bytes = PATH_MAX - 4; n_bytes < PATH_MAX + 4; n_bytes++) {
        size_t n_head = (n_bytes - 4) / 2 * 2;
        for (size_t i = 0; i < n_head; i += 2) {
            memcpy(path + i, "./", 2);
        }
        memset(path + n_head, 'n', n_bytes - n_head);
        path[n_bytes] = '\0';
        check_as_open(path);
    }
    /* A directory far deeper than any path from the root may be long. */
    memset(name, 'd', 200);
    name[200] = '\0';
    for (int i = 0; i < 2 * PATH_MAX / 200; i++) {
        CHECK(mkdir(name, 0700) == 0 && chdir(name) == 0);
    }
    put("file");
    CHECK(symlink("file", "link") == 0 && symlink("new", "dangling") == 0);
    check_as_open("file");
    check_as_open("link");
    check_as_open("dangling");
    check_as_open("new");
    check_as_open("../new");
    check_as_open("..");
}

/* Walked once: what is done to the path afterwards does not matter. */
static void
place_is_held(const char *directory)
{
    fp_place place;
    struct stat info;
    int reason;
    CHECK(chdir(directory) == 0);
    CHECK(mkdir("one", 0700) == 0 && mkdir("two", 0700) == 0);
    put("one/file");
    CHECK(symlink("one/file", "link") == 0);
    CHECK(fp_place_open(&place, "link", &reason) == FP_OK);
    CHECK(strcmp(place.path, "one/file") == 0);
    CHECK(strcmp(place.name, "file") == 0);
    char *sibling = fp_place_sibling(&place, "other");
    CHECK(sibling != NULL && strcmp(sibling, "one/other") == 0);
    free(sibling);
    CHECK(rename("one", "three") == 0 && rename("two", "one") == 0);
    CHECK(chdir("/") == 0);
    CHECK(fp_place_look(&place, place.name, &info) == 0);
    CHECK(info.st_ino == place.info.st_ino);
    CHECK((fcntl(place.directory, F_GETFD) & FD_CLOEXEC) != 0);
    fp_place_close(&place);

    fp_place nothing;
    memset(&nothing, 0, sizeof(nothing));
    fp_place_close(&nothing);
    CHECK(fcntl(0, F_GETFD) != -1 || errno == EBADF);
}

/* Only the kernel can follow what lies under /proc. */
static void
place_of_magic_links(const char *directory)
{
#ifdef __linux__
    fp_place place;
    char path[64];
    int reason;
    CHECK(chdir(directory) == 0);
    put("file");
    int fd = open("file", O_WRONLY);
    CHECK(fd >= 0);
    CHECK(snprintf(path, sizeof(path), "/proc/self/fd/%d", fd) > 0);
    CHECK(symlink(path, "link") == 0);
    const char *const names[] = {path, "link"};
    for (int is_gone = 0; is_gone < 2; is_gone++) {
        for (int i = 0; i < 2; i++) {
            struct stat info;
            CHECK(fp_place_open(&place, names[i], &reason) == FP_OK);
            CHECK(place.is_magic && place.exists);
            CHECK(fstat(fd, &info) == 0);
            CHECK(place.info.st_ino == info.st_ino);
            CHECK(strcmp(place.path, path) == 0);
            fp_place_close(&place);
        }
        CHECK(is_gone || unlink("file") == 0);
    }
    CHECK(close(fd) == 0);
    CHECK(fp_place_open(&place, "link", &reason) == FP_OK);
    CHECK(!place.exists && !place.is_magic);
    fp_place_close(&place);

    /* A way through /proc is a way like others. */
    put("file");
    CHECK(symlink("/proc/self/cwd/file", "around") == 0);
    check_as_open("/proc/self/cwd/file");
    check_as_open("/proc/self/cwd/new");
    check_as_open("around");
    CHECK(fp_place_open(&place, "around", &reason) == FP_OK);
    CHECK(place.exists && !place.is_magic);
    fp_place_close(&place);
#else
    (void)directory;
#endif
}

const test_case place_tests[] = {
    {"place_as_open", place_as_open},
    {"place_of_long_paths", place_of_long_paths},
    {"place_is_held", place_is_held},
    {"place_of_magic_links", place_of_magic_links},
    {NULL, NULL},
};

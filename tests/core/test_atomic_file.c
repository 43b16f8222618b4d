#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "atomic_file.h"
#include "check.h"

#define NOBODY 65534

static void
go_to(const char *directory)
{
    CHECK(chdir(directory) == 0);
    (void)umask(022);
}

static void
put_file(const char *path, const char *text, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0);
    CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    CHECK(fchmod(fd, mode) == 0);
    CHECK(close(fd) == 0);
}

static void
check_file(const char *path, const char *text)
{
    char found[256];
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0);
    ssize_t n_bytes = read(fd, found, sizeof(found) - 1);
    CHECK(n_bytes >= 0);
    found[n_bytes] = '\0';
    CHECK(strcmp(found, text) == 0);
    CHECK(close(fd) == 0);
}

static mode_t
mode_of(const char *path)
{
    struct stat info;
    CHECK(stat(path, &info) == 0);
    return info.st_mode & 07777;
}

static int
is_link(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0 && S_ISLNK(info.st_mode);
}

/* How many names a directory holds. */
static int
count_names(const char *path)
{
    DIR *directory = opendir(path);
    CHECK(directory != NULL);
    int n_names = -2; /* . and .. */
    while (readdir(directory) != NULL) {
        n_names++;
    }
    CHECK(closedir(directory) == 0);
    return n_names;
}

static void
open_and_write(fp_atomic_file *file, const char *path, int durable,
               const char *text)
{
    CHECK_OK(fp_atomic_file_open(file, path, durable));
    CHECK_OK(fp_atomic_file_begin(file));
    CHECK(file->fd >= 0);
    CHECK((fcntl(file->fd, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(write(file->fd, text, strlen(text)) == (ssize_t)strlen(text));
}

static void
check_closed(const fp_atomic_file *file)
{
    CHECK(!file->is_open && file->fd == -1 && file->temporary == NULL);
    CHECK(!file->has_empty && file->empty == -1);
    CHECK(!file->place.is_open && file->place.path == NULL);
}

static void
replace(const char *path, int durable, const char *text)
{
    fp_atomic_file file;
    open_and_write(&file, path, durable, text);
    CHECK(file.in_place == 0);
    CHECK_OK(fp_atomic_file_commit(&file));
    check_closed(&file);
    fp_atomic_file_abort(&file);
}

static void
refuse(const char *path, int durable, int reason)
{
    fp_atomic_file file;
    CHECK(fp_atomic_file_open(&file, path, durable) == FP_IO);
    CHECK(file.saved_errno == reason);
    CHECK(strcmp(file.failed_step, "open") == 0);
    check_closed(&file);
    fp_atomic_file_abort(&file);
}

static void
atomic_new_file(const char *directory)
{
    go_to(directory);
    replace("new", 0, "one");
    check_file("new", "one");
    CHECK(mode_of("new") == 0644);
    (void)umask(077);
    replace("./durable", 1, "two");
    check_file("durable", "two");
    CHECK(mode_of("durable") == 0600);
    CHECK(count_names(".") == 2);

    char path[4096];
    CHECK(snprintf(path, sizeof(path), "%s/absolute", directory) > 0);
    replace(path, 0, "three");
    check_file("absolute", "three");
    CHECK(count_names(".") == 3);
}

static void
atomic_keeps_mode(const char *directory)
{
    const mode_t modes[] = {0600, 0644, 0666, 0640, 0755, 0700, 0200};
    go_to(directory);
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        put_file("target", "old", modes[i]);
        fp_atomic_file file;
        open_and_write(&file, "target", 0, "new");
        struct stat info;
        CHECK(fstat(file.fd, &info) == 0);
        CHECK((info.st_mode & 077) == 0); /* while it is written */
        CHECK_OK(fp_atomic_file_commit(&file));
        CHECK(mode_of("target") == modes[i]);
        CHECK(chmod("target", 0600) == 0);
        check_file("target", "new");
    }
    CHECK(count_names(".") == 1);
}

/* The mode is that of the moment of the rename. */
static void
atomic_mode_changes_meanwhile(const char *directory)
{
    fp_atomic_file file;
    go_to(directory);
    put_file("target", "old", 0644);
    open_and_write(&file, "target", 0, "new");
    CHECK(chmod("target", 0600) == 0);
    CHECK_OK(fp_atomic_file_commit(&file));
    CHECK(mode_of("target") == 0600);

    CHECK(chmod("target", 0640) == 0);
    open_and_write(&file, "target", 0, "newer");
    CHECK(unlink("target") == 0);
    CHECK_OK(fp_atomic_file_commit(&file));
    CHECK(mode_of("target") == 0640);

    CHECK(unlink("target") == 0);
    open_and_write(&file, "target", 0, "newest");
    put_file("target", "somebody's", 0600);
    CHECK_OK(fp_atomic_file_commit(&file));
    CHECK(mode_of("target") == 0600);
    check_file("target", "newest");
}

static void
atomic_follows_links(const char *directory)
{
    go_to(directory);
    CHECK(mkdir("there", 0700) == 0);
    put_file("there/target", "old", 0640);
    CHECK(symlink("target", "there/hop") == 0);
    CHECK(symlink("there/hop", "link") == 0);
    replace("link", 0, "new");
    CHECK(is_link("link") && is_link("there/hop"));
    check_file("there/target", "new");
    CHECK(mode_of("there/target") == 0640);
    CHECK(count_names("there") == 2);

    /* A link to nothing: what it points to is made. */
    CHECK(symlink("there/missing", "dangling") == 0);
    replace("dangling", 1, "made");
    CHECK(is_link("dangling"));
    check_file("there/missing", "made");
    CHECK(count_names("there") == 3);

    /* An absolute link, and one through a directory link. */
    char path[4096];
    CHECK(snprintf(path, sizeof(path), "%s/there/absolute", directory) > 0);
    CHECK(symlink(path, "absolute") == 0);
    replace("absolute", 0, "yes");
    check_file("there/absolute", "yes");
    CHECK(symlink("there", "directory") == 0);
    replace("directory/hop", 0, "newer");
    check_file("there/target", "newer");

    CHECK(symlink("loop", "loop") == 0);
    refuse("loop", 0, ELOOP);
    CHECK(symlink("nowhere/file", "lost") == 0);
    refuse("lost", 0, ENOENT);
    CHECK(symlink("there", "to_directory") == 0);
    refuse("to_directory", 0, EISDIR);

    /* Forty links in a row are followed, forty-one are not. */
    char from[32];
    char to[32];
    for (int i = 0; i < 41; i++) {
        CHECK(snprintf(from, sizeof(from), "chain%d", i + 1) > 0);
        CHECK(snprintf(to, sizeof(to), "chain%d", i) > 0);
        CHECK(symlink(to, from) == 0);
    }
    replace("chain40", 0, "end");
    check_file("chain0", "end");
    refuse("chain41", 0, ELOOP);
}

static void
atomic_abort_leaves_nothing(const char *directory)
{
    fp_atomic_file file;
    go_to(directory);
    open_and_write(&file, "new", 0, "half");
    CHECK(count_names(".") == 1);
    fp_atomic_file_abort(&file);
    fp_atomic_file_abort(&file);
    CHECK(count_names(".") == 0);

    put_file("old", "old", 0600);
    open_and_write(&file, "old", 1, "half");
    fp_atomic_file_abort(&file);
    CHECK(count_names(".") == 1);
    check_file("old", "old");

    memset(&file, 0, sizeof(file));
    fp_atomic_file_abort(&file);
    CHECK(fcntl(0, F_GETFD) != -1 || errno == EBADF);
}

static void
atomic_refusals(const char *directory)
{
    go_to(directory);
    CHECK(mkdir("sub", 0700) == 0);
    put_file("plain", "x", 0600);
    refuse("sub", 0, EISDIR);
    refuse("sub/", 0, EISDIR);
    refuse(".", 0, EISDIR);
    refuse("/", 0, EISDIR);
    refuse("missing/", 0, EISDIR);
    refuse("missing/file", 0, ENOENT);
    refuse("plain/file", 0, ENOTDIR);
    refuse("", 0, ENOENT);
    CHECK(count_names(".") == 2 && count_names("sub") == 0);

    /* The rename fails: the temporary goes, the step is named. */
    fp_atomic_file file;
    open_and_write(&file, "late", 0, "text");
    CHECK(mkdir("late", 0700) == 0);
    CHECK(fp_atomic_file_commit(&file) == FP_IO);
    CHECK(file.saved_errno == EISDIR);
    CHECK(strcmp(file.failed_step, "rename") == 0);
    fp_atomic_file_abort(&file);
    CHECK(count_names(".") == 3);
}

static void
atomic_long_names(const char *directory)
{
    char name[300];
    go_to(directory);
    for (size_t n_bytes = 235; n_bytes <= 255; n_bytes++) {
        memset(name, 'n', n_bytes);
        name[n_bytes] = '\0';
        replace(name, 0, "x");
        check_file(name, "x");
    }
    CHECK(count_names(".") == 21);
    memset(name, 'n', 256);
    name[256] = '\0';
    refuse(name, 0, ENAMETOOLONG);

    /* The name is cut between characters, not inside of one. */
    for (size_t shift = 0; shift < 3; shift++) {
        memset(name, 'a', shift);
        for (size_t i = shift; i + 3 <= 252; i += 3) {
            memcpy(name + i, "\xe2\x82\xac", 3);
            name[i + 3] = '\0';
        }
        fp_atomic_file file;
        CHECK_OK(fp_atomic_file_open(&file, name, 0));
        CHECK(file.temporary[0] == '.');
        const char *rest = file.temporary + 1 + shift;
        while (memcmp(rest, "\xe2\x82\xac", 3) == 0) {
            rest += 3;
        }
        CHECK(rest[0] == '.' && strlen(rest) == 13);
        CHECK(strcmp(rest + 9, ".tmp") == 0);
        fp_atomic_file_abort(&file);
    }
}

static void
atomic_fifo_in_place(const char *directory)
{
    go_to(directory);
    CHECK(mkfifo("fifo", 0600) == 0);
    int reader = open("fifo", O_RDONLY | O_NONBLOCK);
    CHECK(reader >= 0);
    fp_atomic_file file;
    open_and_write(&file, "fifo", 0, "through");
    CHECK(file.in_place == 1 && file.temporary == NULL);
    CHECK_OK(fp_atomic_file_commit(&file));
    char text[16] = "";
    CHECK(read(reader, text, sizeof(text)) == 7);
    CHECK(strcmp(text, "through") == 0);

    CHECK_OK(fp_atomic_file_open(&file, "fifo", 0));
    fp_atomic_file_abort(&file);
    refuse("fifo", 1, EINVAL);
    CHECK(count_names(".") == 1);
    CHECK(close(reader) == 0);
}

/* A link under /proc leads to the open file, not to its name. */
static void
atomic_proc_link_in_place(const char *directory)
{
#ifdef __linux__
    fp_atomic_file file;
    char path[64];
    go_to(directory);
    put_file("out", "a long old text", 0600);
    int fd = open("out", O_WRONLY);
    CHECK(fd >= 0);
    CHECK(snprintf(path, sizeof(path), "/proc/self/fd/%d", fd) > 0);
    CHECK(symlink(path, "stdout") == 0);
    struct stat before;
    struct stat after;
    CHECK(fstat(fd, &before) == 0);
    open_and_write(&file, "stdout", 0, "new");
    CHECK(file.in_place == 2);
    CHECK_OK(fp_atomic_file_commit(&file));
    check_file("out", "new");
    CHECK(stat("out", &after) == 0 && before.st_ino == after.st_ino);
    refuse("stdout", 1, EINVAL);
    CHECK(unlink("out") == 0); /* now the link's text names nothing */
    open_and_write(&file, path, 0, "lost");
    CHECK(file.in_place == 2);
    CHECK_OK(fp_atomic_file_commit(&file));
    CHECK(count_names(".") == 1);
    CHECK(close(fd) == 0);
#else
    (void)directory;
#endif
}

/* Root is admitted everywhere: become somebody else, who owns the directory
 * and stands in it, whatever lies above. */
static void
drop_root(const char *directory)
{
    go_to(directory);
    if (geteuid() == 0) {
        CHECK(chown(".", NOBODY, NOBODY) == 0);
        CHECK(setegid(NOBODY) == 0);
        CHECK(seteuid(NOBODY) == 0);
    }
}

static void
regain_root(void)
{
    CHECK(chmod(".", 0700) == 0);
    if (getuid() == 0) {
        CHECK(seteuid(0) == 0);
        CHECK(setegid(0) == 0);
#ifdef __linux__
        (void)prctl(PR_SET_DUMPABLE, 1); /* for the leak checker */
#endif
    }
}

/* Of setuid and setgid, what the system leaves to a file when it is written
 * to: all for root, else setgid alone where the group may not execute. */
static void
setuid_when_written(void)
{
    const mode_t modes[] = {04755, 02755, 06711, 02644, 04600, 07777, 01644};
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        put_file("target", "old", modes[i]);
        int fd = open("target", O_WRONLY);
        CHECK(fd >= 0 && write(fd, "new", 3) == 3 && close(fd) == 0);
        mode_t written = mode_of("target");
        CHECK(chmod("target", modes[i]) == 0);
        replace("target", 0, "new");
        CHECK(mode_of("target") == written);
        CHECK(unlink("target") == 0);
    }
}

static void
atomic_setuid_when_written(const char *directory)
{
    go_to(directory);
    setuid_when_written();
    drop_root(directory);
    setuid_when_written();
    regain_root();
}

static void
atomic_unwritable_directory(const char *directory)
{
    fp_atomic_file file;
    drop_root(directory);
    put_file("target", "a long old text", 0640);
    put_file("sealed", "old", 0440);
    CHECK(chmod(".", 0500) == 0);

    open_and_write(&file, "target", 0, "new");
    CHECK(file.in_place == 2);
    CHECK_OK(fp_atomic_file_commit(&file));
    check_file("target", "new");
    CHECK(mode_of("target") == 0640);
    refuse("target", 1, EACCES);
    check_file("target", "new");
    refuse("fresh", 0, EACCES);
    refuse("sealed", 0, EACCES);

    /* A read-only file is refused also where it could be replaced. */
    CHECK(chmod(".", 0700) == 0);
    refuse("sealed", 0, EACCES);
    check_file("sealed", "old");
    CHECK(count_names(".") == 2);

    /* Nothing is lost before the beginning; half a dump is not left. */
    put_file("target", "old", 0640);
    CHECK(chmod(".", 0500) == 0);
    CHECK_OK(fp_atomic_file_open(&file, "target", 0));
    fp_atomic_file_abort(&file);
    check_file("target", "old");
    open_and_write(&file, "target", 0, "half");
    fp_atomic_file_abort(&file);
    check_file("target", "");
    regain_root();
}

/* A directory that may be written to, but not read. */
static void
atomic_directory_without_reading(const char *directory)
{
    fp_atomic_file file;
    drop_root(directory);
    CHECK(mkdir("sub", 0700) == 0);
    CHECK(chmod("sub", 0300) == 0);
    replace("sub/new", 0, "one");
    replace("sub/new", 0, "two");
    check_file("sub/new", "two");
    if (geteuid() != 0) {
        open_and_write(&file, "sub/new", 1, "three");
        CHECK(fp_atomic_file_commit(&file) == FP_IO);
        CHECK(file.saved_errno == EACCES && file.is_renamed);
        CHECK(strcmp(file.failed_step, "fsync of the directory") == 0);
        check_file("sub/new", "three");
    }
    CHECK(chmod("sub", 0700) == 0);
    CHECK(count_names("sub") == 1);
    regain_root();
}

/* The directory that the path named when it was opened is the one. */
static void
atomic_directory_is_held(const char *directory)
{
    fp_atomic_file file;
    go_to(directory);
    CHECK(mkdir("one", 0700) == 0 && mkdir("two", 0700) == 0);
    CHECK(chdir("one") == 0);
    open_and_write(&file, "name", 1, "text");
    CHECK(chdir("../two") == 0);
    CHECK(rename("../one", "../three") == 0);
    CHECK_OK(fp_atomic_file_commit(&file));
    check_file("../three/name", "text");
    CHECK(count_names("..") == 2 && count_names("../three") == 1);
    CHECK(count_names(".") == 0);
    open_and_write(&file, "name", 0, "text");
    CHECK(chdir("..") == 0);
    fp_atomic_file_abort(&file);
    CHECK(count_names("two") == 0);
}

/* --- an empty target --- */

static ino_t
inode_of(const char *path)
{
    struct stat info;
    CHECK(stat(path, &info) == 0);
    return info.st_ino;
}

static void
atomic_empty_is_filled(const char *directory)
{
    const mode_t modes[] = {0600, 0666, 0200, 0751};
    go_to(directory);
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        char text[16] = "";
        put_file("target", "", modes[i]);
        CHECK(link("target", "hard") == 0 && symlink("hard", "link") == 0);
        ino_t inode = inode_of("target");
        int handle = open("target", O_RDWR);
        CHECK(handle >= 0 || modes[i] == 0200);

        fp_atomic_file file;
        open_and_write(&file, i % 2 ? "target" : "link", 0, "the dump");
        CHECK(count_names(".") == 4);
        CHECK(read(handle, text, sizeof(text)) <= 0);
        CHECK_OK(fp_atomic_file_commit(&file));
        check_closed(&file);
        CHECK(handle < 0 || read(handle, text, sizeof(text)) == 8);
        CHECK(handle < 0 || strcmp(text, "the dump") == 0);
        CHECK(handle < 0 || close(handle) == 0);
        CHECK(inode_of("target") == inode && inode_of("hard") == inode);
        CHECK(mode_of("target") == modes[i]);
        CHECK(chmod("target", 0600) == 0);
        check_file("hard", "the dump");
        CHECK(count_names(".") == 3);
        CHECK(unlink("target") == 0 && unlink("hard") == 0);
        CHECK(unlink("link") == 0);
    }

    /* Nothing written, or given up: it stays empty. */
    put_file("target", "", 0600);
    ino_t inode = inode_of("target");
    replace("target", 0, "");
    check_file("target", "");
    fp_atomic_file file;
    open_and_write(&file, "target", 0, "never");
    fp_atomic_file_abort(&file);
    check_closed(&file);
    check_file("target", "");
    CHECK(inode_of("target") == inode && count_names(".") == 1);
}

/* What makes of the copy a rename again. */
static void
atomic_empty_is_replaced(const char *directory)
{
    fp_atomic_file file;
    go_to(directory);
    put_file("target", "", 0640);
    int holder = open("target", O_RDWR);
    CHECK(holder >= 0);

    /* Somebody's lock. */
    CHECK(flock(holder, LOCK_SH) == 0);
    replace("target", 0, "one");
    struct stat left;
    CHECK(fstat(holder, &left) == 0);
    CHECK(left.st_size == 0 && left.st_nlink == 0);
    CHECK(close(holder) == 0);
    check_file("target", "one");
    CHECK(mode_of("target") == 0640);

    /* It is to last. */
    put_file("target", "", 0600);
    ino_t inode = inode_of("target");
    replace("target", 1, "two");
    CHECK(inode_of("target") != inode);

    /* Written to meanwhile: that content is replaced like any other. */
    put_file("target", "", 0600);
    inode = inode_of("target");
    open_and_write(&file, "target", 0, "three");
    put_file("target", "theirs", 0604);
    CHECK_OK(fp_atomic_file_commit(&file));
    check_file("target", "three");
    CHECK(inode_of("target") != inode && mode_of("target") == 0604);

    /* The name was given to another file, which is empty too, or to none. */
    put_file("target", "", 0600);
    holder = open("target", O_RDONLY);
    CHECK(holder >= 0);
    open_and_write(&file, "target", 0, "four");
    put_file("other", "", 0606);
    CHECK(rename("other", "target") == 0);
    inode = inode_of("target");
    CHECK_OK(fp_atomic_file_commit(&file));
    check_file("target", "four");
    CHECK(inode_of("target") != inode && mode_of("target") == 0606);
    CHECK(fstat(holder, &left) == 0 && left.st_size == 0);
    CHECK(close(holder) == 0);

    put_file("target", "", 0600);
    open_and_write(&file, "target", 0, "five");
    CHECK(unlink("target") == 0);
    CHECK_OK(fp_atomic_file_commit(&file));
    check_file("target", "five");

    /* What writes by the temporary's name put another file there. */
    put_file("target", "", 0600);
    open_and_write(&file, "target", 0, "");
    put_file("other", "six", 0600);
    CHECK(rename("other", file.temporary) == 0);
    CHECK_OK(fp_atomic_file_commit(&file));
    check_file("target", "six");

    CHECK(count_names(".") == 1);
}

/* Two at once: one copies, the other renames, whoever is first. */
static void
atomic_empty_twice(const char *directory)
{
    fp_atomic_file one;
    fp_atomic_file two;
    go_to(directory);
    put_file("target", "", 0600);
    ino_t inode = inode_of("target");
    open_and_write(&one, "target", 0, "first");
    open_and_write(&two, "target", 0, "second");
    CHECK_OK(fp_atomic_file_commit(&one));
    check_file("target", "first");
    CHECK(inode_of("target") == inode);
    int handle = open("target", O_RDONLY);
    CHECK(handle >= 0);
    CHECK_OK(fp_atomic_file_commit(&two));
    check_file("target", "second");
    CHECK(inode_of("target") != inode && count_names(".") == 1);
    char text[16] = "";
    CHECK(read(handle, text, sizeof(text)) == 5);
    CHECK(strcmp(text, "first") == 0 && close(handle) == 0);
}

static int
give_up(fp_interrupt *interrupt, int at_once)
{
    (void)interrupt;
    return !at_once;
}

/* The copy ends in the middle: the file is empty again, and free again. */
static void
atomic_empty_copy_fails(const char *directory)
{
    static char block[1 << 20];
    fp_atomic_file file;
    fp_interrupt interrupt = {give_up};
    go_to(directory);
    put_file("target", "", 0640);
    ino_t inode = inode_of("target");
    for (int way = 0; way < 2; way++) {
        open_and_write(&file, "target", 0, "");
        for (int i = 0; i < 3; i++) {
            CHECK(write(file.fd, block, sizeof(block)) == sizeof(block));
        }
        if (way == 0) {
            file.interrupt = &interrupt;
            CHECK(fp_atomic_file_commit(&file) == FP_SINK_FAILED);
        }
        else {
            struct rlimit old;
            CHECK(getrlimit(RLIMIT_FSIZE, &old) == 0);
            struct rlimit limit = {(2 << 20) + 5, old.rlim_max};
            CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
            CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
            CHECK(fp_atomic_file_commit(&file) == FP_IO);
            CHECK(setrlimit(RLIMIT_FSIZE, &old) == 0);
            CHECK(file.saved_errno == EFBIG);
            CHECK(strcmp(file.failed_step, "copy into the empty file") == 0);
        }
        check_closed(&file);
        check_file("target", "");
        CHECK(inode_of("target") == inode && count_names(".") == 1);
        int fd = open("target", O_RDWR);
        CHECK(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0);
        CHECK(close(fd) == 0);
    }
    replace("target", 0, "whole");
    check_file("target", "whole");
    CHECK(inode_of("target") == inode && mode_of("target") == 0640);
}

/* Another user's file: the owner where permitted; never more for others. */
static void
atomic_other_owner(const char *directory)
{
    fp_atomic_file file;
    struct stat info;
    if (geteuid() != 0) {
        return; /* only root can set the scene */
    }
    go_to(directory);
    put_file("theirs", "old", 0640);
    CHECK(chown("theirs", 1234, 2345) == 0);
    CHECK(chmod("theirs", 06750) == 0);
    replace("theirs", 0, "new");
    CHECK(stat("theirs", &info) == 0);
    CHECK(info.st_uid == 1234 && info.st_gid == 2345);
    CHECK((info.st_mode & 07777) == 06750); /* as for root's writes */

    /* Not permitted: setuid and setgid go, a new group gets no more than
     * everybody. */
    CHECK(chown("theirs", 1234, 2345) == 0);
    CHECK(chmod("theirs", 06676) == 0);
    drop_root(directory);
    replace("theirs", 0, "newer");
    CHECK(stat("theirs", &info) == 0);
    CHECK(info.st_uid == NOBODY && info.st_gid == NOBODY);
    CHECK((info.st_mode & 07777) == 0666);
    regain_root();

    /* In a sticky directory of somebody else a rename would fail. */
    put_file("sticky", "old", 0666);
    CHECK(chown(".", 1234, 2345) == 0);
    CHECK(chmod(".", 01777) == 0);
    CHECK(seteuid(NOBODY) == 0);
    open_and_write(&file, "sticky", 0, "new");
    CHECK(file.in_place == 2);
    CHECK_OK(fp_atomic_file_commit(&file));
    check_file("sticky", "new");
    refuse("sticky", 1, EPERM);
    replace("mine", 0, "x");
    replace("mine", 1, "y");
    CHECK(count_names(".") == 3);
    CHECK(seteuid(0) == 0);
    CHECK(chown(".", 0, 0) == 0);
    regain_root();
}

const test_case atomic_file_tests[] = {
    {"atomic_new_file", atomic_new_file},
    {"atomic_keeps_mode", atomic_keeps_mode},
    {"atomic_setuid_when_written", atomic_setuid_when_written},
    {"atomic_mode_changes_meanwhile", atomic_mode_changes_meanwhile},
    {"atomic_follows_links", atomic_follows_links},
    {"atomic_abort_leaves_nothing", atomic_abort_leaves_nothing},
    {"atomic_refusals", atomic_refusals},
    {"atomic_long_names", atomic_long_names},
    {"atomic_fifo_in_place", atomic_fifo_in_place},
    {"atomic_proc_link_in_place", atomic_proc_link_in_place},
    {"atomic_unwritable_directory", atomic_unwritable_directory},
    {"atomic_directory_without_reading", atomic_directory_without_reading},
    {"atomic_directory_is_held", atomic_directory_is_held},
    {"atomic_empty_is_filled", atomic_empty_is_filled},
    {"atomic_empty_is_replaced", atomic_empty_is_replaced},
    {"atomic_empty_twice", atomic_empty_twice},
    {"atomic_empty_copy_fails", atomic_empty_copy_fails},
    {"atomic_other_owner", atomic_other_owner},
    {NULL, NULL},
};

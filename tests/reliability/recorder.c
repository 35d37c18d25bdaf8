/* Writes down, in order, what a program does to the files under $RECORD_UNDER and what it prints: LD_PRELOAD this.

   $RECORD_TO gets a line for each call that succeeded, and after it so many bytes of content:

       kind  inode  bytes  path  other path

   kind: O opened, W written or cut, C closed, S flushed (fsync), D a folder flushed, R renamed to the other path,
   L linked as the other path, U unlinked, M and X a folder made and removed, T printed. O, W, C, S and R carry the
   whole file as it then is, so that what libc writes past these functions (fwrite) is seen at the next of them.
   A rename by a system call past libc is seen at the next O, as a known inode under an unknown name. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int recorded(const char *path)
{
    const char *under = getenv("RECORD_UNDER");
    return under && strncmp(path, under, strlen(under)) == 0;
}

static void put(char kind, unsigned long long inode, const char *bytes, size_t count, const char *path, const char *other)
{
    char line[2 * PATH_MAX + 64];
    static int record = -1;
    pthread_mutex_lock(&lock);
    if (record < 0)
        record = REAL(open)(getenv("RECORD_TO"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    int length = snprintf(line, sizeof line, "%c\t%llu\t%zu\t%s\t%s\n", kind, inode, count, path, other);
    if (REAL(write)(record, line, length) != length || REAL(write)(record, bytes, count) != (ssize_t)count)
        abort();
    pthread_mutex_unlock(&lock);
}

/* The place of a path that a call was given, without links in its folders. */
static void place(int folder, const char *path, char *whole)
{
    char start[PATH_MAX] = "", joined[2 * PATH_MAX], link[64];
    if (path[0] != '/' && folder == AT_FDCWD && !getcwd(start, sizeof start))
        start[0] = 0;
    if (path[0] != '/' && folder != AT_FDCWD) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, start, sizeof start - 1);
        start[length < 0 ? 0 : length] = 0;
    }
    snprintf(joined, sizeof joined, "%s%s%s", start, path[0] == '/' ? "" : "/", path);
    snprintf(whole, PATH_MAX, "%.*s", PATH_MAX - 1, joined);
}

/* An event on an open file, with the file's content unless it is a folder. */
static void on_file(char kind, int fd, const char *other)
{
    char path[PATH_MAX] = "", link[64];
    struct stat about;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    if (!recorded(path) || fstat(fd, &about) || about.st_nlink == 0)
        return;
    if (S_ISDIR(about.st_mode)) {
        if (kind == 'S')
            put('D', about.st_ino, "", 0, path, "");
        return;
    }
    if (!S_ISREG(about.st_mode) || (kind != 'R' && kind != 'S' && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY))
        return;
    char *content = malloc(about.st_size + 1);
    int reading = REAL(open)(link, O_RDONLY | O_CLOEXEC);
    ssize_t count = pread(reading, content, about.st_size, 0);
    REAL(close)(reading);
    put(kind, about.st_ino, content, count < 0 ? 0 : count, path, other);
    free(content);
}

static void on_name(char kind, int folder, const char *path)
{
    char whole[PATH_MAX];
    place(folder, path, whole);
    if (recorded(whole))
        put(kind, 0, "", 0, whole, "");
}

static void on_rename(char kind, int from, const char *old, int to, const char *new)
{
    char before[PATH_MAX], after[PATH_MAX];
    place(from, old, before);
    place(to, new, after);
    if (recorded(before) || recorded(after))
        put(kind, 0, "", 0, before, after);
}

#define OPEN(name, ...)                                  \
    {                                                            \
        va_list list;                                            \
        va_start(list, flags);                                   \
        mode_t mode = va_arg(list, mode_t);                      \
        va_end(list);                                            \
        int fd = REAL(name)(__VA_ARGS__, flags, mode);           \
        if (fd >= 0)                                             \
            on_file('O', fd, "");                                \
        return fd;                                               \
    }
int open(const char *path, int flags, ...) OPEN(open, path)
int open64(const char *path, int flags, ...) OPEN(open64, path)
int openat(int folder, const char *path, int flags, ...) OPEN(openat, folder, path)
int openat64(int folder, const char *path, int flags, ...) OPEN(openat64, folder, path)

/* name(parameters): call it, and if it succeeded, note. The result is `done`. */
#define HOOK(type, name, parameters, arguments, note) \
    type name parameters                              \
    {                                                 \
        type done = REAL(name) arguments;             \
        if (done >= 0)                                \
            note;                                     \
        return done;                                  \
    }

#define PRINTED (fd == 1 ? put('T', 0, bytes, done, "", "") : on_file('W', fd, ""))
HOOK(int, creat, (const char *path, mode_t mode), (path, mode), on_file('O', done, ""))
HOOK(ssize_t, write, (int fd, const void *bytes, size_t count), (fd, bytes, count), PRINTED)
HOOK(ssize_t, writev, (int fd, const struct iovec *list, int count), (fd, list, count), on_file('W', fd, ""))
HOOK(ssize_t, pwrite, (int fd, const void *bytes, size_t count, off_t at), (fd, bytes, count, at), on_file('W', fd, ""))
HOOK(ssize_t, pwrite64, (int fd, const void *bytes, size_t count, off64_t at), (fd, bytes, count, at), on_file('W', fd, ""))
HOOK(int, ftruncate, (int fd, off_t size), (fd, size), on_file('W', fd, ""))
HOOK(int, ftruncate64, (int fd, off64_t size), (fd, size), on_file('W', fd, ""))
HOOK(int, fsync, (int fd), (fd), on_file('S', fd, ""))
HOOK(int, fdatasync, (int fd), (fd), on_file('S', fd, ""))
HOOK(int, rename, (const char *old, const char *new), (old, new), on_rename('R', AT_FDCWD, old, AT_FDCWD, new))
HOOK(int, renameat, (int from, const char *old, int to, const char *new), (from, old, to, new), on_rename('R', from, old, to, new))
HOOK(int, link, (const char *old, const char *new), (old, new), on_rename('L', AT_FDCWD, old, AT_FDCWD, new))
HOOK(int, unlink, (const char *path), (path), on_name('U', AT_FDCWD, path))
HOOK(int, unlinkat, (int folder, const char *path, int flags), (folder, path, flags), on_name(flags & AT_REMOVEDIR ? 'X' : 'U', folder, path))
HOOK(int, mkdir, (const char *path, mode_t mode), (path, mode), on_name('M', AT_FDCWD, path))
HOOK(int, mkdirat, (int folder, const char *path, mode_t mode), (folder, path, mode), on_name('M', folder, path))
HOOK(int, rmdir, (const char *path), (path), on_name('X', AT_FDCWD, path))

int close(int fd)
{
    on_file('C', fd, "");
    return REAL(close)(fd);
}

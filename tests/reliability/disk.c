/* Preloaded into a process that writes (tests/reliability/disk.py): what it does to files below KM_DISK_ROOT is logged,
 * call by call, to KM_DISK_LOG, and there is room for KM_DISK_ROOM bytes only where that is set.
 *
 * A line a call, numbers in decimal, before what it is about:
 *   O fd truncate path    opened, D: made too       W fd offset length (then the bytes)    T fd length
 *   S fd                  synced                    R from\tto                             U path
 *   P length (then the bytes)  written to standard output: what the user was told                                    */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *root;
static size_t root_length;
static int sink = -1;
static long long room = -1;
static char watched[1024];      /* by descriptor: 1 where it is a file or folder below the root */

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void)
{
    const char *log = getenv("KM_DISK_LOG"), *limit = getenv("KM_DISK_ROOM");
    root = getenv("KM_DISK_ROOT");
    root_length = root != NULL ? strlen(root) : 0;
    if (limit != NULL)
        room = atoll(limit);
    if (log != NULL)
        sink = REAL(open)(log, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
}

static void tell(const char *format, ...)
{
    char line[2 * PATH_MAX + 64];
    va_list arguments;
    if (sink < 0)
        return;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (REAL(write)(sink, line, (size_t)length) != length)
        abort();
}

static void tell_bytes(const void *bytes, ssize_t count)
{
    if (sink >= 0 && REAL(write)(sink, bytes, (size_t)count) != count)
        abort();
}

static int inside(const char *path)
{
    return root_length > 0 && strncmp(path, root, root_length) == 0;
}

static int is_watched(int fd)
{
    return fd >= 0 && fd < (int)sizeof watched && watched[fd];
}

static int opened(int fd, const char *path, int flags, int existed)
{
    if (fd >= 0 && fd < (int)sizeof watched) {
        watched[fd] = (char)inside(path);
        if (watched[fd] && ((flags & (O_WRONLY | O_RDWR | O_DIRECTORY)) != 0 || existed))
            tell("O %d %d %d %s\n", fd, (flags & O_TRUNC) != 0, !existed, path);
    }
    return fd;
}

#define OPEN(name)                                                                                                     \
    int name(const char *path, int flags, ...)                                                                         \
    {                                                                                                                  \
        va_list arguments;                                                                                             \
        va_start(arguments, flags);                                                                                    \
        mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;                                          \
        va_end(arguments);                                                                                             \
        int existed = access(path, F_OK) == 0;                                                                         \
        return opened(REAL(name)(path, flags, mode), path, flags, existed);                                            \
    }
OPEN(open)
OPEN(open64)

/* How many of these bytes there is room for; -1 where there is none. */
static ssize_t allowed(int fd, size_t count)
{
    if (room < 0 || !is_watched(fd))
        return (ssize_t)count;
    if (room == 0 && count > 0) {
        errno = ENOSPC;
        return -1;
    }
    return (ssize_t)count < room ? (ssize_t)count : (ssize_t)room;
}

static ssize_t written(int fd, off_t offset, const void *bytes, ssize_t count)
{
    if (count > 0 && is_watched(fd)) {
        if (room > 0)
            room -= count;
        tell("W %d %lld %lld\n", fd, (long long)offset, (long long)count);
        tell_bytes(bytes, count);
    } else if (count > 0 && fd == 1) {
        tell("P %lld\n", (long long)count);
        tell_bytes(bytes, count);
    }
    return count;
}

ssize_t write(int fd, const void *bytes, size_t count)
{
    ssize_t some = allowed(fd, count);
    if (some < 0)
        return -1;
    off_t offset = 0;
    if (is_watched(fd))
        offset = (fcntl(fd, F_GETFL) & O_APPEND) != 0 ? lseek(fd, 0, SEEK_END) : lseek(fd, 0, SEEK_CUR);
    return written(fd, offset, bytes, REAL(write)(fd, bytes, (size_t)some));
}

#define PWRITE(name, kind)                                                                                             \
    ssize_t name(int fd, const void *bytes, size_t count, kind offset)                                                 \
    {                                                                                                                  \
        ssize_t some = allowed(fd, count);                                                                             \
        return some < 0 ? -1 : written(fd, offset, bytes, REAL(name)(fd, bytes, (size_t)some, offset));                \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define TRUNCATE(name, kind)                                                                                           \
    int name(int fd, kind length)                                                                                      \
    {                                                                                                                  \
        if (is_watched(fd))                                                                                            \
            tell("T %d %lld\n", fd, (long long)length);                                                                \
        return REAL(name)(fd, length);                                                                                 \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define SYNC(name)                                                                                                     \
    int name(int fd)                                                                                                   \
    {                                                                                                                  \
        if (is_watched(fd))                                                                                            \
            tell("S %d\n", fd);                                                                                        \
        return 0; /* the disk itself is not what is tested */                                                          \
    }
SYNC(fsync)
SYNC(fdatasync)

int rename(const char *from, const char *to)
{
    int failed = REAL(rename)(from, to);
    if (!failed && inside(to))
        tell("R %s\t%s\n", from, to);
    return failed;
}

int unlink(const char *path)
{
    int failed = REAL(unlink)(path);
    if (!failed && inside(path))
        tell("U %s\n", path);
    return failed;
}

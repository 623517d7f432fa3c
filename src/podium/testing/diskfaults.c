/* A disk that fails on command: preloaded (LD_PRELOAD) into a process by podium.testing.diskfaults.
 *
 * PODIUM_FAULT_MARKER: calls on files whose path contains this text are looked at, all others go through.
 * PODIUM_FAULT_CONTROL: a file, read at each such call: "ERROR CALLS SKIP TIMES ROOM STAMP".
 *   ERROR  an errno's number, 0 for none, -1 to be killed instead (SIGKILL, before the call)
 *   CALLS  which fail, letters: w write, s sync, t truncate, o open for writing
 *   SKIP   how many of these calls succeed first; TIMES how many fail then (0: all)
 *   ROOM   bytes that may still be written before writes fail (-1: none are counted); the last one is cut short
 *   STAMP  a new one starts the counts anew
 * Beside the control file: CONTROL.failed grows by a byte for each call that failed; if CONTROL.journal exists, it gets
 * each write, truncation and sync of these files with what was there before, so that a power cut can be played.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long stamp = -1, seen = 0, written = 0;

struct rule { int error; char calls[16]; long skip, times, room, stamp; };

static int marked(int fd, char *path) {
    const char *marker = getenv("PODIUM_FAULT_MARKER");
    char link[64];
    if (!marker || !*marker) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return strstr(path, marker) != NULL;
}

static int beside(const char *suffix, int flags) {
    char path[PATH_MAX];
    const char *control = getenv("PODIUM_FAULT_CONTROL");
    if (!control) return -1;
    snprintf(path, sizeof path, "%s%s", control, suffix);
    return NEXT(open)(path, flags | O_CLOEXEC, 0644);
}

static int current(struct rule *rule) {
    char text[256];
    int fd = beside("", O_RDONLY);
    if (fd < 0) return 0;
    ssize_t length = NEXT(pread)(fd, text, sizeof text - 1, 0);
    NEXT(close)(fd);
    if (length <= 0) return 0;
    text[length] = 0;
    return sscanf(text, "%d %15s %ld %ld %ld %ld", &rule->error, rule->calls, &rule->skip, &rule->times, &rule->room,
                  &rule->stamp) == 6;
}

static void count_failure(void) {
    int fd = beside(".failed", O_WRONLY | O_APPEND | O_CREAT);
    if (fd < 0) return;
    if (NEXT(write)(fd, "x", 1) != 1) abort();
    NEXT(close)(fd);
}

/* Returns how many of `wanted` bytes may be written, or -1 with errno set when the call is to fail. */
static ssize_t allowed(char call, size_t wanted) {
    struct rule rule;
    ssize_t result = (ssize_t)wanted;
    if (!current(&rule) || !rule.error) return result;
    pthread_mutex_lock(&lock);
    if (rule.stamp != stamp) { stamp = rule.stamp; seen = 0; written = 0; }
    if (strchr(rule.calls, call)) {
        if (rule.room >= 0 && call == 'w' && written < rule.room) {
            if ((ssize_t)wanted > rule.room - written) result = rule.room - written;
            written += result;
        } else {
            long number = seen++ - rule.skip;
            if (number >= 0 && (rule.times == 0 || number < rule.times)) result = -1;
        }
    }
    pthread_mutex_unlock(&lock);
    if (result < 0) {
        if (rule.error < 0) kill(getpid(), SIGKILL);
        count_failure();
        errno = rule.error;
    }
    return result;
}

/* One record: call, length of the path, offset, length of what was there, length of what comes, the file's size. */
static void journal(char call, int fd, const char *path, off_t offset, const void *bytes, size_t length) {
    int file = beside(".journal", O_WRONLY | O_APPEND);
    if (file < 0) return;
    struct stat found;
    fstat(fd, &found);
    int64_t head[6] = {call, (int64_t)strlen(path), offset, 0, (int64_t)length, found.st_size};
    char *before = NULL;
    int64_t end = call == 't' ? found.st_size : offset + (int64_t)length;
    if (end > found.st_size) end = found.st_size;
    if (call != 's' && end > offset) {
        int reader = NEXT(open)(path, O_RDONLY | O_CLOEXEC);
        before = malloc((size_t)(end - offset));
        if (reader < 0 || !before || NEXT(pread)(reader, before, (size_t)(end - offset), offset) != end - offset) abort();
        NEXT(close)(reader);
        head[3] = end - offset;
    }
    struct iovec parts[4] = {{head, sizeof head}, {(void *)path, strlen(path)}, {before, (size_t)head[3]},
                             {(void *)bytes, call == 'w' ? length : 0}};
    if (NEXT(writev)(file, parts, 4) < 0) abort();
    free(before);
    NEXT(close)(file);
}

static ssize_t checked(int fd, off_t offset, const void *bytes, size_t length) {
    char path[PATH_MAX];
    if (!marked(fd, path)) return (ssize_t)length;
    ssize_t some = allowed('w', length);
    if (some > 0) journal('w', fd, path, offset < 0 ? lseek(fd, 0, SEEK_CUR) : offset, bytes, (size_t)some);
    return some;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    ssize_t some = checked(fd, -1, bytes, length);
    return some < 0 ? -1 : NEXT(write)(fd, bytes, (size_t)some);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    ssize_t some = checked(fd, offset, bytes, length);
    return some < 0 ? -1 : NEXT(pwrite)(fd, bytes, (size_t)some, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    ssize_t some = checked(fd, (off_t)offset, bytes, length);
    return some < 0 ? -1 : NEXT(pwrite64)(fd, bytes, (size_t)some, offset);
}

static int synced(int fd) {
    char path[PATH_MAX];
    return marked(fd, path) && allowed('s', 0) < 0 ? -1 : 0;
}

static int kept(int fd, int result) {
    char path[PATH_MAX];
    if (result == 0 && marked(fd, path)) journal('s', fd, path, 0, NULL, 0);
    return result;
}

int fsync(int fd) { return synced(fd) < 0 ? -1 : kept(fd, NEXT(fsync)(fd)); }
int fdatasync(int fd) { return synced(fd) < 0 ? -1 : kept(fd, NEXT(fdatasync)(fd)); }

static int truncated(int fd, off_t length) {
    char path[PATH_MAX];
    if (!marked(fd, path)) return 0;
    if (allowed('t', 0) < 0) return -1;
    journal('t', fd, path, length, NULL, 0);
    return 0;
}

int ftruncate(int fd, off_t length) { return truncated(fd, length) < 0 ? -1 : NEXT(ftruncate)(fd, length); }
int ftruncate64(int fd, off64_t length) {
    return truncated(fd, (off_t)length) < 0 ? -1 : NEXT(ftruncate64)(fd, length);
}

static int refused(const char *path, int flags) {
    const char *marker = getenv("PODIUM_FAULT_MARKER");
    int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
    return marker && *marker && writes && strstr(path, marker) && allowed('o', 0) < 0;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = va_arg(rest, mode_t); \
        va_end(rest); \
    }

int open(const char *path, int flags, ...) {
    MODE(flags)
    return refused(path, flags) ? -1 : NEXT(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    MODE(flags)
    return refused(path, flags) ? -1 : NEXT(open64)(path, flags, mode);
}

int openat(int folder, const char *path, int flags, ...) {
    MODE(flags)
    return refused(path, flags) ? -1 : NEXT(openat)(folder, path, flags, mode);
}

int openat64(int folder, const char *path, int flags, ...) {
    MODE(flags)
    return refused(path, flags) ? -1 : NEXT(openat64)(folder, path, flags, mode);
}

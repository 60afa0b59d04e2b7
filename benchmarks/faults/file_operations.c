/* Preloaded into a process: counts the operations that change files below one folder, whoever calls them, and lets
 * one of them kill or stop the process, or fail. file_operations.py compiles it, loads it and calls faults_arm. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum action { COUNT, KILL, STOP, FAIL_ONCE, FAIL_FROM_THEN_ON };
#define FILES 65536

static char root[PATH_MAX];
static size_t root_length;
static long moment = -1;
static enum action action = COUNT;
static int error_number, log_file = -1;
static atomic_long seen;
static atomic_char below[FILES]; /* of a file descriptor: it belongs to a file below the folder */

/* The process works inside the folder, so that relative paths lie below it. */
void faults_arm(const char *folder, const char *log, long at, int what, int error) {
    root_length = strlen(folder);
    memcpy(root, folder, root_length + 1);
    log_file = syscall(SYS_openat, AT_FDCWD, log, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0644);
    moment = at, action = what, error_number = error;
    atomic_store(&seen, 0);
}

static int marked(int file) { return file >= 0 && file < FILES && below[file]; }
static void mark(int file, int value) { if (file >= 0 && file < FILES) below[file] = value; }

static int inside(int folder, const char *path) {
    if (log_file < 0 || !path) return 0;
    if (path[0] == '/') return !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
    return folder == AT_FDCWD || marked(folder);
}

/* Called before an operation: 0 lets it happen, 1 lets it fail, 2 means that the process dies in the middle of it. */
static int fault(const char *name, const char *path) {
    char line[PATH_MAX + 64];
    long now = atomic_fetch_add(&seen, 1) + 1;
    if (path && path[0] == '/' && strlen(path) > root_length) path += root_length + 1;
    int length = snprintf(line, sizeof line, "%ld %s %s\n", now, name, path ? path : "");
    syscall(SYS_write, log_file, line, length < (int)sizeof line ? length : (int)sizeof line);
    if (action == FAIL_FROM_THEN_ON && now >= moment && strncmp(name, "remove", 6)) { errno = error_number; return 1; }
    if (now != moment) return 0;
    if (action == FAIL_ONCE) { errno = error_number; return 1; }
    if (action == STOP) { syscall(SYS_kill, getpid(), SIGSTOP); return 0; }
    if (action != KILL) return 0;
    if (!strcmp(name, "write")) return 2;
    syscall(SYS_kill, getpid(), SIGKILL);
    return 0;
}

#define NEXT(name) static __typeof__(name) *next; if (!next) next = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

#define OPEN_BODY(folder, call)                                                       \
    mode_t mode = 0;                                                                  \
    if (flags & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); } \
    int here = inside(folder, path);                                                  \
    if (here && (flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) && fault("open", path)) return -1; \
    int file = call;                                                                  \
    mark(file, here);                                                                 \
    return file;

int open(const char *path, int flags, ...) { NEXT(open); OPEN_BODY(AT_FDCWD, next(path, flags, mode)) }
int open64(const char *path, int flags, ...) { NEXT(open64); OPEN_BODY(AT_FDCWD, next(path, flags, mode)) }
int openat(int at, const char *path, int flags, ...) { NEXT(openat); OPEN_BODY(at, next(at, path, flags, mode)) }
int openat64(int at, const char *path, int flags, ...) { NEXT(openat64); OPEN_BODY(at, next(at, path, flags, mode)) }
int close(int file) { NEXT(close); mark(file, 0); return next(file); }

#define FOPEN_BODY                                                                    \
    int here = inside(AT_FDCWD, path);                                                \
    if (here && strpbrk(mode, "wa+") && fault("open", path)) return NULL;             \
    FILE *stream = next(path, mode);                                                  \
    if (stream) mark(fileno(stream), here);                                           \
    return stream;
FILE *fopen(const char *path, const char *mode) { NEXT(fopen); FOPEN_BODY }
FILE *fopen64(const char *path, const char *mode) { NEXT(fopen64); FOPEN_BODY }

ssize_t write(int file, const void *data, size_t count) {
    NEXT(write);
    int what = marked(file) ? fault("write", NULL) : 0;
    if (what == 1) return -1;
    if (what == 2) { next(file, data, count / 2); syscall(SYS_kill, getpid(), SIGKILL); }
    return next(file, data, count);
}
#define FAILS(name, path, failed) if (fault(name, path)) return failed
ssize_t pwrite(int file, const void *data, size_t count, off_t at) {
    NEXT(pwrite); if (marked(file)) FAILS("write at", NULL, -1); return next(file, data, count, at);
}
ssize_t pwrite64(int file, const void *data, size_t count, off64_t at) {
    NEXT(pwrite64); if (marked(file)) FAILS("write at", NULL, -1); return next(file, data, count, at);
}
ssize_t writev(int file, const struct iovec *data, int count) {
    NEXT(writev); if (marked(file)) FAILS("write vector", NULL, -1); return next(file, data, count);
}
ssize_t sendfile(int to, int from, off_t *at, size_t count);
ssize_t sendfile(int to, int from, off_t *at, size_t count) {
    NEXT(sendfile); if (marked(to)) FAILS("write copy", NULL, -1); return next(to, from, at, count);
}
ssize_t sendfile64(int to, int from, off64_t *at, size_t count);
ssize_t sendfile64(int to, int from, off64_t *at, size_t count) {
    NEXT(sendfile64); if (marked(to)) FAILS("write copy", NULL, -1); return next(to, from, at, count);
}
ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t count, unsigned flags) {
    NEXT(copy_file_range); if (marked(to)) FAILS("write copy", NULL, -1);
    return next(from, from_at, to, to_at, count, flags);
}
int ftruncate(int file, off_t size) { NEXT(ftruncate); if (marked(file)) FAILS("truncate", NULL, -1); return next(file, size); }
int ftruncate64(int file, off64_t size) { NEXT(ftruncate64); if (marked(file)) FAILS("truncate", NULL, -1); return next(file, size); }
int fsync(int file) { NEXT(fsync); if (marked(file)) FAILS("sync", NULL, -1); return next(file); }
int fdatasync(int file) { NEXT(fdatasync); if (marked(file)) FAILS("sync", NULL, -1); return next(file); }
int rename(const char *from, const char *to) {
    NEXT(rename); if (inside(AT_FDCWD, to)) FAILS("rename", to, -1); return next(from, to);
}
int renameat(int from_at, const char *from, int to_at, const char *to) {
    NEXT(renameat); if (inside(to_at, to)) FAILS("rename", to, -1); return next(from_at, from, to_at, to);
}
int link(const char *from, const char *to) { NEXT(link); if (inside(AT_FDCWD, to)) FAILS("link", to, -1); return next(from, to); }
int symlink(const char *from, const char *to) {
    NEXT(symlink); if (inside(AT_FDCWD, to)) FAILS("link", to, -1); return next(from, to);
}
int mkdir(const char *path, mode_t mode) { NEXT(mkdir); if (inside(AT_FDCWD, path)) FAILS("mkdir", path, -1); return next(path, mode); }
int mkdirat(int at, const char *path, mode_t mode) {
    NEXT(mkdirat); if (inside(at, path)) FAILS("mkdir", path, -1); return next(at, path, mode);
}
int unlink(const char *path) { NEXT(unlink); if (inside(AT_FDCWD, path)) FAILS("remove", path, -1); return next(path); }
int unlinkat(int at, const char *path, int flags) {
    NEXT(unlinkat); if (inside(at, path)) FAILS("remove", path, -1); return next(at, path, flags);
}
int rmdir(const char *path) { NEXT(rmdir); if (inside(AT_FDCWD, path)) FAILS("remove", path, -1); return next(path); }

/* Loaded into a program (LD_PRELOAD), this keeps what a disk would surely have after a loss of power: at each fsync(2) or
 * fdatasync(2) of a file its bytes, of a folder its names, as POSIX promises and no more. Below $POWER_KEPT there is one
 * file for each file or folder that was synced, named after what it is (inode and time of birth), since names change.
 * $POWER_WAIT_MS makes each of these calls take that much longer, as on a slow disk. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

static void need(int holds, const char *what) {
    if (!holds) {
        perror(what);
        abort();
    }
}

/* Inode and time of birth in nanoseconds, "-" between. */
static int identify(int folder, const char *name, struct statx *found, char key[64]) {
    int flags = AT_SYMLINK_NOFOLLOW | (*name ? 0 : AT_EMPTY_PATH);
    if (statx(folder, name, flags, STATX_BASIC_STATS | STATX_BTIME, found) != 0) return 0;
    need(found->stx_mask & STATX_BTIME, "unsynced: no time of birth");
    unsigned long long birth = found->stx_btime.tv_sec * 1000000000ull + found->stx_btime.tv_nsec;
    snprintf(key, 64, "%llu-%llu", (unsigned long long)found->stx_ino, birth);
    return 1;
}

static void keep_file(int fd, unsigned long long size, FILE *to) {
    char path[64], some[65536];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int from = open(path, O_RDONLY | O_CLOEXEC);
    need(from >= 0, "unsynced: open");
    while (size > 0) {
        ssize_t got = read(from, some, size < sizeof some ? size : sizeof some);
        need(got >= 0, "unsynced: read");
        if (got == 0) break;
        need(fwrite(some, 1, got, to) == (size_t)got, "unsynced: write");
        size -= got;
    }
    close(from);
}

/* A line for each name: its mode, octal, what it is, and the name. */
static void keep_folder(int fd, FILE *to) {
    int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    need(again >= 0, "unsynced: openat");
    DIR *folder = fdopendir(again);
    need(folder != NULL, "unsynced: fdopendir");
    for (struct dirent *entry; (entry = readdir(folder));) {
        struct statx found;
        char key[64];
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        /* It may have gone meanwhile. */
        if (!identify(again, entry->d_name, &found, key)) continue;
        fprintf(to, "%o %s %s\n", found.stx_mode, key, entry->d_name);
    }
    closedir(folder);
}

static void keep(int fd) {
    const char *kept = getenv("POWER_KEPT");
    struct statx found;
    char key[64], path[PATH_MAX], whole[PATH_MAX];
    if (!kept || !identify(fd, "", &found, key)) return;
    if (!S_ISREG(found.stx_mode) && !S_ISDIR(found.stx_mode)) return;
    /* Renamed when it is whole: SIGKILL may come at any moment. */
    snprintf(path, sizeof path, "%s/partial", kept);
    snprintf(whole, sizeof whole, "%s/%s", kept, key);
    FILE *to = fopen(path, "we");
    need(to != NULL, "unsynced: fopen");
    if (S_ISDIR(found.stx_mode))
        keep_folder(fd, to);
    else
        keep_file(fd, found.stx_size, to);
    need(fclose(to) == 0 && rename(path, whole) == 0, "unsynced: rename");
}

static int synced(int fd, const char *name) {
    int (*really)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    pthread_mutex_lock(&one_at_a_time);
    keep(fd);
    int result = really(fd);
    pthread_mutex_unlock(&one_at_a_time);
    const char *wait = getenv("POWER_WAIT_MS");
    if (wait) usleep(1000 * (useconds_t)atoi(wait));
    return result;
}

int fsync(int fd) { return synced(fd, "fsync"); }

int fdatasync(int fd) { return synced(fd, "fdatasync"); }

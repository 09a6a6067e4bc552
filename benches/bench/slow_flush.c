/* A disk whose flush is slow, and is counted: fsync and fdatasync sleep SLOW_FLUSH_MICROS microseconds before they
   flush, and add 1 to the number of 8 bytes that FLUSH_COUNT_FILE holds. scripts/bench compiles this; it is preloaded
   into the server or the service whose disk is meant. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static uint64_t *flushes;

__attribute__((constructor)) static void map_count(void) {
    const char *path = getenv("FLUSH_COUNT_FILE");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, sizeof *flushes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) flushes = mapped;
    close(file);
}

static void sleep_first(void) {
    const char *micros_text = getenv("SLOW_FLUSH_MICROS");
    long micros = micros_text ? atol(micros_text) : 0;
    struct timespec pause = {micros / 1000000, micros % 1000000 * 1000};
    if (micros > 0) nanosleep(&pause, NULL);
}

static int flush(const char *name, int fd) {
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    if (flushes) __atomic_fetch_add(flushes, 1, __ATOMIC_RELAXED);
    sleep_first();
    return next(fd);
}

int fsync(int fd) { return flush("fsync", fd); }
int fdatasync(int fd) { return flush("fdatasync", fd); }

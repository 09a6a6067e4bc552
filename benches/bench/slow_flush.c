/* A disk whose flush is slow: fsync and fdatasync sleep SLOW_FLUSH_MICROS microseconds before they flush.
   scripts/bench compiles this, and preloads it into the server whose disk is to be slow. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

static void sleep_first(void) {
    const char *micros_text = getenv("SLOW_FLUSH_MICROS");
    long micros = micros_text ? atol(micros_text) : 0;
    struct timespec pause = {micros / 1000000, micros % 1000000 * 1000};
    if (micros > 0) nanosleep(&pause, NULL);
}

static int flush(const char *name, int fd) {
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    sleep_first();
    return next(fd);
}

int fsync(int fd) { return flush("fsync", fd); }
int fdatasync(int fd) { return flush("fdatasync", fd); }

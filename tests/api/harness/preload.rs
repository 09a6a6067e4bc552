//! A library that is loaded before a process: with a clock of its own, a limit on threads, and a poll that fails.

use std::{path::PathBuf, process::Command};

use tempfile::TempDir;

/// `TEST_CLOCK_SHIFT` are seconds that are added to the time of day; `TEST_THREADS_MAX` are the threads that the
/// process may start, beside its first; with `TEST_ACCEPT_FAILS` the thread that accepts connections fails at its fourth
/// poll.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, now);
    const char *shift = getenv("TEST_CLOCK_SHIFT");
    if (shift && clock == CLOCK_REALTIME) now->tv_sec += atoll(shift);
    return result;
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    static atomic_int started;
    if (!real) real = dlsym(RTLD_NEXT, "pthread_create");
    const char *max = getenv("TEST_THREADS_MAX");
    if (max && atomic_fetch_add(&started, 1) >= atoi(max)) return EAGAIN;
    return real(thread, attributes, start, argument);
}

int epoll_wait(int poll, struct epoll_event *events, int events_max, int timeout) {
    static int (*real)(int, struct epoll_event *, int, int);
    static atomic_int polls;
    if (!real) real = dlsym(RTLD_NEXT, "epoll_wait");
    char name[16] = "";
    prctl(PR_GET_NAME, name);
    if (getenv("TEST_ACCEPT_FAILS") && !strncmp(name, "actix-server ac", 15) && atomic_fetch_add(&polls, 1) >= 3) {
        errno = EBADF;
        return -1;
    }
    return real(poll, events, events_max, timeout);
}
"#;

/// The library, built for one test.
pub struct Preload {
    _folder: TempDir,
    library: PathBuf,
}

impl Preload {
    /// Builds it with `cc`, which Rust needs as well.
    pub fn build() -> Self {
        let folder = TempDir::new().unwrap();
        let (source, library) = (folder.path().join("preload.c"), folder.path().join("preload.so"));
        std::fs::write(&source, SOURCE).unwrap();
        let mut command = Command::new("cc");
        command.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl");
        assert!(command.status().unwrap().success(), "cc");
        Self { _folder: folder, library }
    }

    /// Has the command's clock differ by so many seconds.
    pub fn shift_clock(&self, command: &mut Command, seconds: i64) {
        command.env("LD_PRELOAD", &self.library).env("TEST_CLOCK_SHIFT", seconds.to_string());
    }

    /// Refuses the command every thread beyond so many, beside its first.
    pub fn limit_threads(&self, command: &mut Command, threads: usize) {
        command.env("LD_PRELOAD", &self.library).env("TEST_THREADS_MAX", threads.to_string());
    }

    /// Has the thread that accepts connections fail soon.
    pub fn fail_accepting(&self, command: &mut Command) {
        command.env("LD_PRELOAD", &self.library).env("TEST_ACCEPT_FAILS", "1");
    }
}

//! What takes much time or memory at once is done a few at a time: work on large bodies and answers, outside the
//! threads that serve HTTP, and reads of events.

use std::{num::NonZero, ops::Deref, sync::Arc, thread::available_parallelism};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

/// Work on up to this many bytes takes a few milliseconds, and is done where it arises.
const LARGE_WORK_BYTES: usize = 1024 * 1024;

/// The scheduling priority (nice value) of the threads that do large work: probes and small requests come first.
#[cfg(target_os = "linux")]
const LARGE_WORK_NICE: libc::c_int = 10;

/// Reports of the counters at once: each may hold the names of 1,000 topics.
const REPORTS_MAX: usize = 16;

/// The work did not come to its end: it panicked, or the process is ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request was interrupted")]
pub struct WorkInterrupted;

/// Limits on what is done at once.
pub(super) struct LargeWork {
    /// One thread less than there are cores, so that small requests and probes find one.
    threads: Arc<Semaphore>,
    /// One read more than there are cores: each may hold an event of the largest size four times, in the engine, as
    /// its rows, as text and as the answer that is being built.
    reads: Arc<Semaphore>,
    reports: Arc<Semaphore>,
}

/// What was read, with its place among the reads. Dropped once the answer is built.
#[derive(Debug)]
pub struct Loaded<T> {
    value: T,
    _place: Option<OwnedSemaphorePermit>,
}

impl<T> Loaded<T> {
    /// What is so small that it needs no place.
    pub(super) fn small(value: T) -> Self {
        Self { value, _place: None }
    }
}

impl<T> Loaded<T> {
    /// What was read, without its place: for what is counted in another way from now on.
    pub fn into_value(self) -> T {
        self.value
    }
}

impl<T> Loaded<Option<T>> {
    /// What was found, if anything.
    pub(super) fn found(self) -> Option<Loaded<T>> {
        let Self { value, _place } = self;
        value.map(|value| Loaded { value, _place })
    }
}

impl<T> Deref for Loaded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl Default for LargeWork {
    fn default() -> Self {
        let cores = available_parallelism().map_or(1, NonZero::get);
        Self {
            threads: Arc::new(Semaphore::new((cores - 1).max(1))),
            reads: Arc::new(Semaphore::new(cores + 1)),
            reports: Arc::new(Semaphore::new(REPORTS_MAX)),
        }
    }
}

impl LargeWork {
    /// Does `work` on so many bytes.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WorkInterrupted> {
        if bytes <= LARGE_WORK_BYTES {
            return Ok(work());
        }
        let thread = Arc::clone(&self.threads).acquire_owned().await.map_err(|_| WorkInterrupted)?;
        // Nobody can end the work once it has begun: it keeps its place even when its client is gone.
        let done = spawn_blocking(move || {
            let _thread = thread;
            lower_priority();
            work()
        });
        done.await.map_err(|_| WorkInterrupted)
    }

    /// The places for reads of events.
    pub(super) fn reads(&self) -> Places {
        Places(Arc::clone(&self.reads))
    }

    /// The places for reports of the counters.
    pub(super) fn reports(&self) -> Places {
        Places(Arc::clone(&self.reports))
    }
}

/// Lowers the priority of the calling thread. It may fail, and then the work is done with the usual one.
fn lower_priority() {
    // SAFETY: setpriority takes numbers. On Linux, process 0 is the calling thread.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, LARGE_WORK_NICE);
    }
}

/// Places for reads, for a task that may outlive its request.
pub(super) struct Places(Arc<Semaphore>);

impl Places {
    /// Waits for a place, and then for what is `read`.
    pub(super) async fn load<T, E>(self, read: impl Future<Output = Result<T, E>>) -> Result<Loaded<T>, E> {
        let place = self.0.acquire_owned().await.expect("these places are never closed");
        Ok(Loaded { value: read.await?, _place: Some(place) })
    }
}

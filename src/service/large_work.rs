//! What takes much time or memory at once is done a few at a time: work on large bodies and answers, outside the
//! threads that serve HTTP, and reads of events.

use std::{num::NonZero, ops::Deref, sync::Arc, thread::available_parallelism};

use ipnet::IpNet;
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::places::{Place, Places, PlacesLimits};
use crate::ledger::Overloaded;

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
    /// One read more than there are cores: each may hold an event of the largest size three times, in the engine, as
    /// its row and as text, or a page once more as the answer that is being built.
    pub(super) reads: Arc<Places>,
    pub(super) reports: Arc<Places>,
}

/// What was read, with its place among the reads. Dropped once the answer is built.
#[derive(Debug)]
pub struct Loaded<T> {
    value: T,
    _place: Option<Place>,
}

impl<T> Loaded<T> {
    /// What was read within this place.
    pub(super) fn new(value: T, place: Place) -> Self {
        Self { value, _place: Some(place) }
    }

    /// What is so small that it needs no place.
    pub(super) fn small(value: T) -> Self {
        Self { value, _place: None }
    }

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

impl LargeWork {
    /// Of reads and of reports each, so many requests may wait for a place.
    pub(super) fn new(waiting_max: usize, exempt: Arc<[IpNet]>) -> Self {
        let cores = available_parallelism().map_or(1, NonZero::get);
        let places = |places, full, peer_full| {
            let (exempt, full, peer_full) = (Arc::clone(&exempt), Overloaded(full), Overloaded(peer_full));
            Places::new(PlacesLimits { places, waiting: waiting_max, exempt, full, peer_full })
        };
        Self {
            threads: Arc::new(Semaphore::new((cores - 1).max(1))),
            reads: places(cores + 1, "too many reads wait", "too many reads of this client's address wait"),
            reports: places(
                REPORTS_MAX,
                "too many reports of counters wait",
                "too many reports of counters for this client's address wait",
            ),
        }
    }

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
}

/// Lowers the priority of the calling thread. It may fail, and then the work is done with the usual one.
fn lower_priority() {
    // SAFETY: setpriority takes numbers. On Linux, process 0 is the calling thread.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, LARGE_WORK_NICE);
    }
}

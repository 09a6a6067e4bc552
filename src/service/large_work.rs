//! What takes much time or memory at once is done a few at a time: reading and parsing large bodies, building large answers
//! (the last two outside the threads that serve HTTP), and reads of events.

use std::{num::NonZero, ops::Deref, sync::Arc, thread::available_parallelism, time::Duration};

use ipnet::IpNet;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::spawn_blocking,
    time::{Instant, sleep},
};

use super::{
    places::{Place, Places, PlacesLimits},
    recent_peers::RecentPeers,
    rests::Rests,
};
use crate::ledger::{Overloaded, Peer};

/// A body up to this size is parsed in a few milliseconds at most, and an answer up to this size is built in one or two. That
/// is done where it arises.
const LARGE_BODY_BYTES: usize = 512 * 1024;
const LARGE_ANSWER_BYTES: usize = 1024 * 1024;

/// A large body rests for so long between two turns while others publish.
const TURN_PAUSE: Duration = Duration::from_millis(1);

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
    /// One core less than there are, so that small requests and probes find one.
    cores: Arc<Semaphore>,
    rests: Rests,
    recent_peers: RecentPeers,
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

/// The right to take the next bytes of a body. Not to be kept while the client is waited for.
pub struct BodyTurn<'a> {
    _core: Option<SemaphorePermit<'a>>,
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
            cores: Arc::new(Semaphore::new((cores - 1).max(1))),
            rests: Rests::new(Arc::clone(&exempt)),
            recent_peers: RecentPeers::new(),
            reads: places(cores + 1, "too many reads wait", "too many reads of this client's address wait"),
            reports: places(
                REPORTS_MAX,
                "too many reports of counters wait",
                "too many reports of counters for this client's address wait",
            ),
        }
    }

    /// Waits until `more` bytes may be taken of a body of `peer`, of which `bytes` have come.
    pub(super) async fn body_turn(&self, peer: Peer, bytes: usize, more: usize) -> BodyTurn<'_> {
        self.rests.wait(peer, bytes, more).await;
        if bytes <= LARGE_BODY_BYTES {
            return BodyTurn { _core: None };
        }
        if self.recent_peers.has_others(peer) {
            sleep(TURN_PAUSE).await;
        }
        // The semaphore is never closed.
        BodyTurn { _core: self.cores.acquire().await.ok() }
    }

    /// Parses a body of `peer`, whose next bodies pay for it where it is refused.
    pub(super) async fn parse<T: Send + 'static, E: Send + 'static>(
        &self,
        peer: Peer,
        bytes: usize,
        parse: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<Result<T, E>, WorkInterrupted> {
        self.recent_peers.note(peer);
        let timed = move || {
            let begun = Instant::now();
            (parse(), begun.elapsed())
        };
        let (parsed, took) = if bytes <= LARGE_BODY_BYTES { timed() } else { self.run_beside(timed).await? };
        if parsed.is_err() {
            self.rests.note_refused(peer, bytes, took);
        }
        Ok(parsed)
    }

    /// Does `work` for an answer of so many bytes.
    pub(super) async fn build<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WorkInterrupted> {
        if bytes <= LARGE_ANSWER_BYTES { Ok(work()) } else { self.run_beside(work).await }
    }

    /// Does `work` beside the HTTP workers.
    async fn run_beside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WorkInterrupted> {
        let core = Arc::clone(&self.cores).acquire_owned().await.map_err(|_| WorkInterrupted)?;
        // Nobody can end the work once it has begun: it keeps its place even when its client is gone.
        let done = spawn_blocking(move || {
            let _core = core;
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

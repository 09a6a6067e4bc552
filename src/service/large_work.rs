//! Work on large bodies and answers: off the threads that serve HTTP, and a few at a time.

use std::{num::NonZero, sync::Arc, thread::available_parallelism};

use tokio::{sync::Semaphore, task::spawn_blocking};

/// Work on up to this many bytes takes a few milliseconds, and is done where it arises.
const LARGE_WORK_BYTES: usize = 1024 * 1024;

/// The work did not come to its end: it panicked, or the process is ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request was interrupted")]
pub struct WorkInterrupted;

/// Threads for large work: one less than there are cores, so that small requests and probes find one.
pub(super) struct LargeWork {
    threads: Arc<Semaphore>,
}

impl Default for LargeWork {
    fn default() -> Self {
        let cores = available_parallelism().map_or(1, NonZero::get);
        Self { threads: Arc::new(Semaphore::new((cores - 1).max(1))) }
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
            work()
        });
        done.await.map_err(|_| WorkInterrupted)
    }
}

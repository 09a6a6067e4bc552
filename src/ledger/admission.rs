//! Limits on what is in flight: a full one is an answer, not a growing queue.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A limit on what is in flight is reached; nothing was done, and the same request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the service is overloaded: {0}")]
pub struct Overloaded(pub &'static str);

/// What one request holds of the limits, until it is answered and gone.
pub struct Permits {
    _bytes: BytesPermit,
    _events: OwnedSemaphorePermit,
}

/// Capacity for the bytes of a body, taken before they are read.
pub struct BytesPermit {
    permit: OwnedSemaphorePermit,
    semaphore: Arc<Semaphore>,
}

/// A body above this size is turned away unread when less than this share of the capacity for events is left: it would
/// most likely be read and taken apart for nothing, and that costs more than all else of a refusal.
const LARGE_BODY_BYTES: u64 = 64 * 1024;
const SPARED_FOR_SMALL_BODIES: usize = 32;

/// Bytes of answers that clients have asked for and not yet read.
const ANSWERS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The limits of one service.
pub struct Admission {
    events: Arc<Semaphore>,
    events_max: usize,
    bytes: Arc<Semaphore>,
    bytes_max: usize,
    answers: Arc<Semaphore>,
}

impl Admission {
    pub fn new(events_max: usize, bytes_max: usize) -> Self {
        Self {
            events: Arc::new(Semaphore::new(events_max)),
            events_max,
            bytes: Arc::new(Semaphore::new(bytes_max)),
            bytes_max,
            answers: Arc::new(Semaphore::new(ANSWERS_BYTES_MAX)),
        }
    }

    /// Says at once that there is hardly any capacity for the events of a body of so many bytes.
    pub fn expect_body(&self, bytes: u64) -> Result<(), Overloaded> {
        let capacity_is_short = self.events.available_permits() < self.events_max / SPARED_FOR_SMALL_BODIES;
        if capacity_is_short && bytes > LARGE_BODY_BYTES { Err(too_many_events()) } else { Ok(()) }
    }

    /// Takes capacity for `bytes`, or answers at once that there is none.
    pub fn admit_bytes(&self, bytes: usize) -> Result<BytesPermit, Overloaded> {
        let permit = take(&self.bytes, bytes)?;
        Ok(BytesPermit { permit, semaphore: Arc::clone(&self.bytes) })
    }

    /// Takes capacity for an answer of `bytes`, or says at once that there is none. One that is larger than all the capacity takes all of it.
    pub fn admit_answer(&self, bytes: usize) -> Result<BytesPermit, Overloaded> {
        let permit = take(&self.answers, bytes.min(ANSWERS_BYTES_MAX))?;
        Ok(BytesPermit { permit, semaphore: Arc::clone(&self.answers) })
    }

    /// Takes capacity for `events`, or answers at once that there is none.
    pub fn admit_events(&self, events: usize, bytes: BytesPermit) -> Result<Permits, Overloaded> {
        let permit = Arc::clone(&self.events)
            .try_acquire_many_owned(u32::try_from(events).unwrap_or(u32::MAX))
            .map_err(|_| too_many_events())?;
        Ok(Permits { _bytes: bytes, _events: permit })
    }

    pub fn events_in_flight(&self) -> usize {
        self.events_max - self.events.available_permits()
    }

    pub fn bytes_in_flight(&self) -> usize {
        self.bytes_max - self.bytes.available_permits()
    }
}

impl BytesPermit {
    /// Takes capacity for `bytes` more.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Overloaded> {
        self.permit.merge(take(&self.semaphore, bytes)?);
        Ok(())
    }

    /// The bytes it has capacity for.
    pub fn bytes(&self) -> usize {
        self.permit.num_permits()
    }
}

fn take(semaphore: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, Overloaded> {
    Arc::clone(semaphore)
        .try_acquire_many_owned(u32::try_from(bytes).unwrap_or(u32::MAX))
        .map_err(|_| Overloaded("too many bytes are in flight"))
}

fn too_many_events() -> Overloaded {
    Overloaded("too many events are in flight")
}

//! Limits on what is in flight: a full one is an answer, not a growing queue.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::PublishError;

/// What one request holds of the limits, until it is answered and gone.
pub(super) struct Permits {
    _bytes: BytesPermit,
    _events: OwnedSemaphorePermit,
}

/// Room for the bytes of a body, taken before they are read.
pub struct BytesPermit {
    permit: OwnedSemaphorePermit,
    semaphore: Arc<Semaphore>,
}

/// A body above this size is turned away unread when less than this share of the room for events is left: it would
/// most likely be read and taken apart for nothing, and that costs more than all else of a refusal.
const LARGE_BODY_BYTES: u64 = 64 * 1024;
const SPARED_FOR_SMALL_BODIES: usize = 32;

/// Bytes of answers that clients have asked for and not yet read.
const ANSWERS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The limits of one service.
pub(super) struct Admission {
    events: Arc<Semaphore>,
    events_max: usize,
    bytes: Arc<Semaphore>,
    bytes_max: usize,
    answers: Arc<Semaphore>,
}

impl Admission {
    pub(super) fn new(events_max: usize, bytes_max: usize) -> Self {
        Self {
            events: Arc::new(Semaphore::new(events_max)),
            events_max,
            bytes: Arc::new(Semaphore::new(bytes_max)),
            bytes_max,
            answers: Arc::new(Semaphore::new(ANSWERS_BYTES_MAX)),
        }
    }

    /// Says at once that there is hardly any room for the events of a body of so many bytes.
    pub(super) fn expect_body(&self, bytes: u64) -> Result<(), PublishError> {
        let room_is_short = self.events.available_permits() < self.events_max / SPARED_FOR_SMALL_BODIES;
        if room_is_short && bytes > LARGE_BODY_BYTES { Err(too_many_events()) } else { Ok(()) }
    }

    /// Takes room for `bytes`, or answers at once that there is none.
    pub(super) fn admit_bytes(&self, bytes: usize) -> Result<BytesPermit, PublishError> {
        let permit = take(&self.bytes, bytes)?;
        Ok(BytesPermit { permit, semaphore: Arc::clone(&self.bytes) })
    }

    /// Takes room for an answer of `bytes`, or says at once that there is none. One that is larger than all
    /// the room there is takes all of it.
    pub(super) fn admit_answer(&self, bytes: usize) -> Result<BytesPermit, PublishError> {
        let permit = take(&self.answers, bytes.min(ANSWERS_BYTES_MAX))?;
        Ok(BytesPermit { permit, semaphore: Arc::clone(&self.answers) })
    }

    /// Takes room for `events`, or answers at once that there is none.
    pub(super) fn admit_events(&self, events: usize, bytes: BytesPermit) -> Result<Permits, PublishError> {
        let permit = Arc::clone(&self.events)
            .try_acquire_many_owned(u32::try_from(events).unwrap_or(u32::MAX))
            .map_err(|_| too_many_events())?;
        Ok(Permits { _bytes: bytes, _events: permit })
    }

    pub(super) fn events_in_flight(&self) -> usize {
        self.events_max - self.events.available_permits()
    }

    pub(super) fn bytes_in_flight(&self) -> usize {
        self.bytes_max - self.bytes.available_permits()
    }
}

impl BytesPermit {
    /// Takes room for `bytes` more.
    pub fn grow(&mut self, bytes: usize) -> Result<(), PublishError> {
        self.permit.merge(take(&self.semaphore, bytes)?);
        Ok(())
    }

    /// The bytes it has room for.
    pub fn bytes(&self) -> usize {
        self.permit.num_permits()
    }
}

fn take(semaphore: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, PublishError> {
    Arc::clone(semaphore)
        .try_acquire_many_owned(u32::try_from(bytes).unwrap_or(u32::MAX))
        .map_err(|_| PublishError::Overloaded("too many bytes are in flight".to_owned()))
}

fn too_many_events() -> PublishError {
    PublishError::Overloaded("too many events are in flight".to_owned())
}

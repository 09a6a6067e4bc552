//! Compares the ledger's time with this machine's clock.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::SystemTime,
};

use tracing::warn;

/// The ledger may be ahead of the clock by this much without a word: clocks of several nodes differ a little.
const AHEAD_MICROS_MAX: i64 = 60_000_000;

/// Logs once that events are stored under a time that this machine's clock has not reached. `received_at` never
/// runs backwards, so one commit by a clock that was ahead gives its time to all that follow, until it has passed.
#[derive(Default)]
pub(super) struct ClockCheck {
    is_said: AtomicBool,
}

impl ClockCheck {
    /// Compares the newest `received_at` of the ledger, in microseconds since 1970.
    pub(super) fn note(&self, received_at: i64) {
        let ahead = received_at.saturating_sub(unix_micros());
        if ahead > AHEAD_MICROS_MAX && !self.is_said.swap(true, Ordering::Relaxed) {
            warn!(
                ahead_s = ahead / 1_000_000,
                "the newest stored event was received in the future by this machine's clock: new events get the same `received_at` until the clock has passed it"
            );
        }
    }
}

/// This machine's clock, in microseconds since 1970.
pub(super) fn unix_micros() -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX)
}

//! Turns of the streams that one thread serves.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;

/// What a stream sends before the other requests of its thread have their turn. A reader that lags could otherwise go on
/// until its client's buffers are full, which is megabytes.
const TURN_BYTES: usize = 32 * 1024;
/// The pace of a thread's streams while events are published, for each turn. Readers that lag take all there is of a
/// processor, and can wait; producers cannot.
const TURN_TIME: Duration = Duration::from_micros(125);
/// A turn that is due so soon begins at once: the clock of pauses is no finer.
const PAUSE_MIN: Duration = Duration::from_millis(1);

thread_local! {
    /// When the next turn of this thread's streams is due.
    static NEXT_TURN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// One stream's turn.
#[derive(Default)]
pub(super) struct Turn {
    sent: usize,
}

impl Turn {
    /// Counts what is sent.
    pub(super) fn note_sent(&mut self, bytes: usize) {
        self.sent += bytes;
    }

    /// Whether others have their turn now.
    pub(super) fn is_over(&self) -> bool {
        self.sent >= TURN_BYTES
    }

    /// Begins the next turn.
    pub(super) fn begin(&mut self) {
        self.sent = 0;
    }
}

/// How long a stream that lags waits for its next turn while events are published, if at all.
pub(super) fn pause_before_turn() -> Option<Duration> {
    let now = Instant::now();
    let due = NEXT_TURN.get().map_or(now, |due| due.max(now));
    NEXT_TURN.set(Some(due + TURN_TIME));
    Some(due - now).filter(|pause| *pause > PAUSE_MIN)
}

//! The times in the ledger, held against the server's clock.

use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::{Row, postgres::PgRow};
use tracing::warn;

/// A clock may run this much ahead of another server's.
const AHEAD_SECONDS_MAX: i64 = 60;

/// How far the newest commit is ahead of the server's clock; a column of a query of `sekali.commits`.
pub(super) const AHEAD_COLUMN: &str =
    "coalesce(extract(epoch FROM received_at - clock_timestamp()), 0)::bigint AS ahead_seconds";

/// Says once that the ledger is ahead of the clock.
#[derive(Default)]
pub(super) struct ClockCheck {
    was_told: AtomicBool,
}

impl ClockCheck {
    /// Looks at a row with [`AHEAD_COLUMN`].
    pub(super) fn note(&self, newest: &PgRow) -> sqlx::Result<()> {
        let ahead_seconds: i64 = newest.try_get("ahead_seconds")?;
        if ahead_seconds > AHEAD_SECONDS_MAX && !self.was_told.swap(true, Ordering::Relaxed) {
            warn!(
                ahead_seconds,
                "the newest commit is ahead of the server's clock, which was wrong then or is wrong now; `received_at` stays at that time until the clock has passed it"
            );
        }
        Ok(())
    }
}

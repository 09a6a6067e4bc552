//! What the service does by itself: it asks the store whether it answers, closes ledgers that nobody uses, and removes
//! the rows of namespaces that were deleted.

use std::{sync::Weak, time::Duration};

use super::{Parts, Service};
use crate::store::StoreError;

/// How often the store is asked whether it answers.
const PULSE_INTERVAL: Duration = Duration::from_millis(500);
/// How long it may take to answer.
const PULSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often idle ledgers are looked for.
const CLOSE_INTERVAL: Duration = Duration::from_secs(30);
/// A ledger that nobody has used for so long is closed.
const IDLE_LEDGER_TIME: Duration = Duration::from_secs(300);

/// Notes whenever the store answers.
pub(super) async fn feel_pulse(service: Weak<Parts>) {
    let mut pulses = tokio::time::interval(PULSE_INTERVAL);
    pulses.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pulses.tick().await;
        let Some(parts) = service.upgrade() else { continue };
        let (store, health) = (parts.shared.store.clone(), parts.shared.store_health.clone());
        drop(parts);
        let pulse = tokio::time::timeout(PULSE_TIMEOUT, store.control.ping()).await;
        // The writer and readiness report a store that is unavailable.
        if pulse.unwrap_or(Err(StoreError::TimedOut(PULSE_TIMEOUT))).is_ok() {
            health.note_answered();
        }
    }
}

/// Closes ledgers that nobody uses.
pub(super) async fn close_idle_ledgers(service: Weak<Parts>) {
    loop {
        tokio::time::sleep(CLOSE_INTERVAL).await;
        if let Some(parts) = service.upgrade() {
            Service(parts).close_idle_ledgers(IDLE_LEDGER_TIME);
        }
    }
}

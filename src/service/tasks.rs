//! What the service does by itself: it asks the store whether it answers, looks for other nodes' commits where readers
//! wait, closes ledgers that nobody uses, and removes the rows of namespaces that were deleted.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use super::{Parts, Service, nodes};
use crate::{
    ledger::OpenLedger,
    store::{LedgerKey, Store, StoreError, Swept},
};

/// How often the store is asked whether it answers.
const PULSE_INTERVAL: Duration = Duration::from_millis(500);
/// How long it may take to answer.
const PULSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the ledgers that readers wait for are looked at: other nodes tell nothing of their commits.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);
/// How long one look may take.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(5);
/// How often idle ledgers are looked for.
const CLOSE_INTERVAL: Duration = Duration::from_secs(30);
/// A ledger that nobody has used for so long is closed.
const IDLE_LEDGER_TIME: Duration = Duration::from_secs(300);

/// Rows that one job removes: it holds up publishes for some milliseconds at most.
const SWEEP_ROWS_MAX: usize = 1_000;
/// How long one job may take.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after a job: so many times as long as it took, and at least this, so that publishes are not slowed down.
const SWEEP_PAUSE_TIMES: u32 = 4;
const SWEEP_PAUSE_MIN: Duration = Duration::from_millis(5);
/// How often a node looks for rows that another one should have removed, and after a failure.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

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

/// Tells readers that wait of what other nodes have committed.
pub(super) async fn follow_ledgers(service: Weak<Parts>) {
    let mut looks = tokio::time::interval(FOLLOW_INTERVAL);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let Some(service) = service.upgrade().map(Service) else { continue };
        service.look_at_followed().await;
    }
}

impl Service {
    /// Looks how far the ledgers have grown that readers wait for here.
    pub(super) async fn look_at_followed(&self) {
        let followed = self.0.directory.with_readers();
        if followed.is_empty() {
            return;
        }
        if let Some(news) = &self.0.shared.store.news {
            nodes::tell_of_readers(&**news).await;
        }
        self.look_at(&followed).await;
    }

    /// Looks how far these ledgers have grown, on whatever node.
    pub(super) async fn look_at(&self, ledgers: &[Arc<OpenLedger>]) {
        let before: Vec<_> =
            ledgers.iter().map(|ledger| (ledger.position.seen().0, ledger.position.news.newest())).collect();
        let keys: Vec<LedgerKey> = ledgers.iter().map(|ledger| ledger.key()).collect();
        let last_seqs =
            self.ask_store(FOLLOW_TIMEOUT, async move |store| store.reads.last_seqs(&keys).await).await;
        // The writer and readiness report a store that is unavailable.
        let Ok(last_seqs) = last_seqs else { return };
        for (ledger, (seen, told)) in ledgers.iter().zip(before) {
            match last_seqs.get(&ledger.key()) {
                Some(Some(last_seq)) => {
                    ledger.position.news.tell_found(*last_seq, told);
                    ledger.position.note_newest(seen, *last_seq);
                }
                Some(None) => {}
                None => self.note_gone(ledger),
            }
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

/// Removes the rows of deleted namespaces: at the start those that were left over, and then whenever it is `wanted`.
pub(super) async fn sweep(store: Store, wanted: Arc<Notify>) {
    loop {
        sweep_until_done(&store).await;
        // Another node may have deleted a namespace and ended before it was swept.
        let _ = timeout(SWEEP_INTERVAL, wanted.notified()).await;
    }
}

async fn sweep_until_done(store: &Store) {
    let mut rows = 0;
    loop {
        let begun = Instant::now();
        let swept = timeout(SWEEP_TIMEOUT, store.control.sweep(SWEEP_ROWS_MAX)).await;
        match swept.unwrap_or(Err(StoreError::TimedOut(SWEEP_TIMEOUT))) {
            Ok(Swept { rows: removed, more }) => {
                rows += removed;
                if !more {
                    break;
                }
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                return warn!(
                    error,
                    rows, "the rows of deleted namespaces cannot be removed; trying again later"
                );
            }
        }
        sleep((begun.elapsed() * SWEEP_PAUSE_TIMES).max(SWEEP_PAUSE_MIN)).await;
    }
    if rows > 0 {
        info!(rows, "the rows of deleted namespaces are removed");
    }
}

//! What this node has committed and readers on other nodes may wait for.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::store::LedgerKey;

/// For so long after another node said that readers wait there, commits are told.
const WANTED_TIME: Duration = Duration::from_secs(3);

/// Gathers the ledgers that have grown until they are told. Costs next to nothing while no other node has readers.
#[derive(Default)]
pub struct Announcements {
    gathered: Mutex<Gathered>,
    wake: Notify,
}

#[derive(Default)]
struct Gathered {
    wanted_until: Option<Instant>,
    grown: HashMap<LedgerKey, u64>,
}

impl Announcements {
    /// Another node has readers.
    pub fn want(&self) {
        self.gathered.lock().wanted_until = Some(Instant::now() + WANTED_TIME);
    }

    /// Notes that a ledger has grown up to `last_seq`.
    pub fn note(&self, ledger: LedgerKey, last_seq: u64) {
        let mut gathered = self.gathered.lock();
        if gathered.wanted_until.is_some_and(|until| until > Instant::now()) {
            gathered.grown.insert(ledger, last_seq);
            self.wake.notify_one();
        }
    }

    /// Waits for ledgers that have grown, and returns those that have since the last call.
    pub async fn grown(&self) -> Vec<(LedgerKey, u64)> {
        loop {
            self.wake.notified().await;
            let grown = std::mem::take(&mut self.gathered.lock().grown);
            if !grown.is_empty() {
                return grown.into_iter().collect();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn commits_are_gathered_once_somebody_wants_them() {
        let announcements = Announcements::default();
        let key = |namespace_no| LedgerKey { namespace_no, ledger_id: Uuid::nil() };
        announcements.note(key(1), 1);
        assert!(announcements.grown().now_or_never().is_none(), "nobody wants to know");
        announcements.want();
        announcements.note(key(1), 2);
        announcements.note(key(1), 3);
        announcements.note(key(2), 9);
        let mut grown = announcements.grown().await;
        grown.sort_by_key(|(key, _)| key.namespace_no);
        assert_eq!(grown, [(key(1), 3), (key(2), 9)]);
        assert!(announcements.grown().now_or_never().is_none());
    }
}

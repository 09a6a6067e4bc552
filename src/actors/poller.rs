//! Polls the store for what no actor can notice: commits of other nodes, and a database restored to an older copy.

use std::{sync::Arc, time::Duration};

use actix::Addr;

use super::writer::{HeadPolled, WriterActor};
use crate::{
    ledger::LedgerPosition,
    store::{LedgerRecord, ReadStore},
};

/// How far the position may lag behind other nodes' commits.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(250);

const POLL_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Poller {
    pub(super) store: Arc<dyn ReadStore>,
    pub(super) ledger: LedgerRecord,
    pub(super) position: Arc<LedgerPosition>,
    pub(super) writer: Addr<WriterActor>,
}

impl Poller {
    /// Polls until it is ended.
    pub(super) async fn run(self) {
        let mut polls = tokio::time::interval(POLL_INTERVAL);
        polls.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            polls.tick().await;
            self.poll_ledger().await;
        }
    }

    async fn poll_ledger(&self) {
        // The writer and readiness report a store that is unavailable.
        let Ok(Ok(look)) =
            tokio::time::timeout(POLL_TIMEOUT, self.position.look(&*self.store, &self.ledger)).await
        else {
            return;
        };
        self.writer.do_send(HeadPolled(look));
    }
}

//! Polls for what nobody in the actors can notice: commits of other nodes, a database restored to an older
//! copy, and actors that died in spite of their guards.

use std::{sync::Arc, time::Duration};

use actix::Addr;

use super::{
    stats::{HeadSeen, StatsActor},
    supervision::{ActorExit, ActorHealth},
    writer::{HeadPolled, WriterActor},
};
use crate::{
    ledger::{LedgerPosition, PolledHead},
    store::EventStore,
};

/// How far the counters may lag behind other nodes' commits.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(250);

const POLL_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Poller {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) position: Arc<LedgerPosition>,
    pub(super) writer: Addr<WriterActor>,
    pub(super) stats: Addr<StatsActor>,
    /// Each actor, and whether its address still leads somewhere.
    pub(super) actors: Vec<ActorConnection>,
}

pub(super) type ActorConnection = (Arc<ActorHealth>, Box<dyn Fn() -> bool + Send + Sync>);

impl Poller {
    /// Polls until it is aborted.
    pub(super) async fn run(self) {
        let mut polls = tokio::time::interval(POLL_INTERVAL);
        polls.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            polls.tick().await;
            for (actor, _) in self.actors.iter().filter(|(_, connected)| !connected()) {
                actor.note_exit(ActorExit::Died);
            }
            self.poll_ledger().await;
        }
    }

    async fn poll_ledger(&self) {
        // A store that is away is the writer's business and readiness's.
        let Ok(Ok(look)) = tokio::time::timeout(POLL_TIMEOUT, self.position.look(&*self.store)).await else {
            return;
        };
        if let PolledHead::GoesOn { head, .. } = look {
            self.stats.do_send(HeadSeen(head));
        }
        self.writer.do_send(HeadPolled(look));
    }
}

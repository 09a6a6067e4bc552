//! The watch on what nobody in the rooms can notice: commits of other nodes, a database restored to an older
//! copy, and rooms that died in spite of their guards.

use std::{sync::Arc, time::Duration};

use actix::Addr;

use super::{
    ledger_sight::{LedgerSight, Look},
    stats::{HeadSeen, StatsActor},
    supervision::{Ending, Vitals},
    writer::{Looked, WriterActor},
};
use crate::store::EventStore;

/// How far the counters may lag behind other nodes' commits.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(250);

const POLL_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Watch {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) sight: Arc<LedgerSight>,
    pub(super) writer: Addr<WriterActor>,
    pub(super) stats: Addr<StatsActor>,
    /// Each room, and whether its address still leads somewhere.
    pub(super) rooms: Vec<RoomConnection>,
}

pub(super) type RoomConnection = (Arc<Vitals>, Box<dyn Fn() -> bool + Send + Sync>);

impl Watch {
    /// Polls until it is aborted.
    pub(super) async fn keep(self) {
        let mut polls = tokio::time::interval(POLL_INTERVAL);
        polls.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            polls.tick().await;
            for (room, _) in self.rooms.iter().filter(|(_, connected)| !connected()) {
                room.note_ending(Ending::Died);
            }
            self.poll_ledger().await;
        }
    }

    async fn poll_ledger(&self) {
        // A store that is away is the writer's business and readiness's.
        let Ok(Ok(look)) = tokio::time::timeout(POLL_TIMEOUT, self.sight.look(&*self.store)).await else {
            return;
        };
        if let Look::GoesOn { head, .. } = look {
            self.stats.do_send(HeadSeen(head));
        }
        self.writer.do_send(Looked(look));
    }
}

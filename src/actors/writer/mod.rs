//! The writers: a fixed set, like the shards. A ledger belongs to one of them by its number.
//!
//! A writer queues whole requests by ledger, and commits them in groups: one group of a ledger at a time, and several
//! ledgers at once, as far as there are connections.

mod actor;
mod lane;
mod queue;
mod waiting;
mod quarantine;
mod recent;
mod pace;
mod group;
mod commit;
mod connections;
mod settle;
mod blame;

use std::sync::{Arc, atomic::Ordering};

use actix::Addr;

pub(super) use self::{
    actor::{Close, Enqueue, Introduce, WriterActor},
    connections::WriteConnections,
    lane::GroupLimits,
    settle::WriterParts,
};
use super::{actor_health::ActorHealth, request::PublishRequest};

/// The address and the record of each writer.
#[derive(Clone)]
pub(super) struct Writers(pub(super) Arc<[(Addr<WriterActor>, Arc<ActorHealth>)]>);

impl Writers {
    /// Sends a whole request to the writer that its ledger belongs to.
    pub(super) fn enqueue(&self, request: Arc<PublishRequest>) {
        // Numbers start at 1.
        let place = request.ledger.key().namespace_no.unsigned_abs() as usize - 1;
        let (writer, health) = &self.0[place % self.0.len()];
        health.queue.fetch_add(1, Ordering::Relaxed);
        writer.do_send(Enqueue(request));
    }
}

//! The writer: it queues whole requests, and commits them in groups, one group at a time.

mod actor;
mod blame;
mod commit;
mod group;
mod pace;
mod quarantine;
mod queue;
mod shards;

pub(super) use self::{
    actor::{Close, Enqueue, HeadPolled, Subscribe, WriterActor, WriterLimits},
    queue::GroupLimits,
};

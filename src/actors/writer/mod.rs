//! The writer: it queues whole requests, and commits them in groups, one group at a time.

mod actor;
mod commit;
mod group;
mod pace;
mod queue;

pub(super) use self::{
    actor::{Close, Enqueue, HeadPolled, Subscribe, WriterActor, WriterLimits},
    group::TopicDelta,
    queue::GroupLimits,
};

//! The shards: each owns a key range of digests, and a window of the ids in it that are known to be stored.

mod actor;
mod shards;
mod warm_up;
mod window;

pub(super) use self::{
    actor::{Dedup, DedupActor, ShardGauges},
    shards::Shards,
    warm_up::{Source, WarmUp},
    window::DedupWindow,
};

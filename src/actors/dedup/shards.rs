//! The shards, as the writers see them: each learns what is committed of its key range.

use actix::Addr;

use super::actor::{DedupActor, Learn};
use crate::event::Digest;

/// The address of each shard. It stays the same over the restarts of its actor.
#[derive(Clone)]
pub(in crate::actors) struct Shards(pub(in crate::actors) Vec<Addr<DedupActor>>);

impl Shards {
    /// Sends each shard those of the committed ids that fall into its key range.
    pub(in crate::actors) fn teach(&self, ids: &[(Digest, u64)]) {
        let mut by_shard: Vec<Vec<(Digest, u64)>> = vec![Vec::new(); self.0.len()];
        for (digest, seq) in ids {
            by_shard[digest.shard(self.0.len())].push((*digest, *seq));
        }
        for (shard, ids) in self.0.iter().zip(by_shard) {
            if !ids.is_empty() {
                shard.do_send(Learn(ids));
            }
        }
    }
}

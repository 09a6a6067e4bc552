//! The shards, as the writer sees them: each learns what is committed of its key range.

use actix::Addr;

use crate::{
    actors::dedup::{DedupActor, Forget, Learn},
    event::Digest,
};

/// The address of each shard that has subscribed.
pub(in crate::actors) struct Shards(Vec<Option<Addr<DedupActor>>>);

impl Shards {
    pub(in crate::actors) fn new(shards: usize) -> Self {
        Self(vec![None; shards])
    }

    pub(in crate::actors) fn subscribe(&mut self, shard: usize, address: Addr<DedupActor>) {
        self.0[shard] = Some(address);
    }

    /// Sends each shard those of the committed ids that fall into its key range.
    pub(in crate::actors) fn teach(&self, ids: Vec<(Digest, u64)>) {
        let mut by_shard: Vec<Vec<(Digest, u64)>> = vec![Vec::new(); self.0.len()];
        for (digest, seq) in ids {
            by_shard[digest.shard(self.0.len())].push((digest, seq));
        }
        for (shard, ids) in self.0.iter().zip(by_shard) {
            if let Some(shard) = shard.as_ref().filter(|_| !ids.is_empty()) {
                shard.do_send(Learn(ids));
            }
        }
    }

    /// Tells all of them that nothing learned before `epoch` counts.
    pub(in crate::actors) fn forget(&self, epoch: u64) {
        self.0.iter().flatten().for_each(|shard| shard.do_send(Forget { epoch }));
    }
}

//! What a shard remembers: the newest stored ids of its key range, within a bound.

use crate::event::{Digest, DigestMap};

/// The ids learned last, with their `seq`, as two generations of a map that take turns: when the younger one is
/// full, the elder is forgotten at once and takes its place. No id costs more than a look-up and an insert.
///
/// It may only ever answer "stored"; an id that it does not know may be stored all the same. It remembers at
/// least the last half of `ids_max` ids and never more than `ids_max`, in at most 60 bytes each.
pub(in crate::actors) struct DedupWindow {
    younger: DigestMap<u64>,
    elder: DigestMap<u64>,
    generation_ids_max: usize,
}

impl DedupWindow {
    /// An empty window for at most `ids_max` ids; 0 remembers nothing.
    pub(in crate::actors) fn new(ids_max: usize) -> Self {
        Self { younger: DigestMap::default(), elder: DigestMap::default(), generation_ids_max: ids_max / 2 }
    }

    /// The `seq` of this id, if it is remembered; asking keeps it longer.
    pub(in crate::actors) fn seq(&mut self, digest: Digest) -> Option<u64> {
        if let Some(seq) = self.younger.get(&digest) {
            return Some(*seq);
        }
        let seq = *self.elder.get(&digest)?;
        self.learn(digest, seq);
        Some(seq)
    }

    /// Remembers that this id is stored under `seq`. To be called after its commit, never before.
    pub(in crate::actors) fn learn(&mut self, digest: Digest, seq: u64) {
        if self.generation_ids_max == 0 {
            return;
        }
        if self.younger.len() >= self.generation_ids_max && !self.younger.contains_key(&digest) {
            std::mem::swap(&mut self.younger, &mut self.elder);
            self.younger.clear();
        }
        self.younger.insert(digest, seq);
    }

    /// Remembers an id older than all that were learned, while it has capacity; true while it has more.
    pub(in crate::actors) fn warm(&mut self, digest: Digest, seq: u64) -> bool {
        if self.elder.len() < self.generation_ids_max {
            self.elder.insert(digest, seq);
        }
        self.elder.len() < self.generation_ids_max
    }

    /// Ids remembered now; one that stands in both generations counts twice.
    pub(in crate::actors) fn len(&self) -> usize {
        self.younger.len() + self.elder.len()
    }

    /// Forgets everything and gives the memory back.
    pub(in crate::actors) fn forget(&mut self) {
        self.younger = DigestMap::default();
        self.elder = DigestMap::default();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::event::{DedupScope, Digester};

    fn digest_of(id: u32) -> Digest {
        Digester::new(DedupScope::EventId, &[7; 16]).digest("", &id.to_string())
    }

    #[test]
    fn a_full_window_stays_within_its_bytes() {
        const IDS: usize = 1_000_000;
        for shards in [1, 3, 16] {
            let mut bytes = 0;
            for _ in 0..shards {
                let mut window = DedupWindow::new(IDS / shards);
                (0..2 * IDS as u32 / shards as u32).for_each(|id| window.learn(digest_of(id), 1));
                // hashbrown: 8 slots for 7 ids, a control byte each.
                let slots = (window.younger.capacity() + window.elder.capacity()) * 8 / 7;
                bytes += slots * (size_of::<(Digest, u64)>() + 1);
            }
            assert!(bytes <= 80 * 1024 * 1024, "{shards} shards take {bytes} bytes");
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Learn(u32),
        Warm(u32),
        Ask(u32),
        Forget,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            10 => (0..60_u32).prop_map(Step::Learn),
            3 => (0..60_u32).prop_map(Step::Warm),
            10 => (0..60_u32).prop_map(Step::Ask),
            1 => Just(Step::Forget),
        ];
        prop::collection::vec(step, 0..300)
    }

    proptest! {
        #[test]
        fn it_only_knows_what_it_was_taught_and_remembers_the_newest_half(
            steps in steps(), ids_max in 0..40_usize
        ) {
            let mut window = DedupWindow::new(ids_max);
            let mut taught: HashMap<u32, u64> = HashMap::new();
            let mut newest: Vec<u32> = Vec::new();
            for step in steps {
                match step {
                    Step::Learn(id) => {
                        window.learn(digest_of(id), u64::from(id) + 1);
                        taught.insert(id, u64::from(id) + 1);
                        newest.retain(|known| *known != id);
                        newest.push(id);
                    }
                    Step::Warm(id) => {
                        window.warm(digest_of(id), u64::from(id) + 1);
                        taught.insert(id, u64::from(id) + 1);
                    }
                    Step::Ask(id) => {
                        let answer = window.seq(digest_of(id));
                        prop_assert!(answer.is_none() || answer == taught.get(&id).copied());
                        let newest_half = &newest[newest.len().saturating_sub(ids_max / 2)..];
                        if newest_half.contains(&id) {
                            prop_assert!(answer.is_some(), "{} is among the newest {}", id, ids_max / 2);
                        }
                        if answer.is_some() {
                            newest.retain(|known| *known != id);
                            newest.push(id);
                        }
                    }
                    Step::Forget => {
                        window.forget();
                        taught.clear();
                        newest.clear();
                    }
                }
                prop_assert!(window.len() <= ids_max);
            }
        }
    }
}

//! What a shard remembers: the newest stored ids of its key range, within a bound.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hash, Hasher},
};

use siphasher::sip128::{Hasher128, SipHasher13};
use uuid::Uuid;

use crate::event::DedupScope;

/// A 128-bit digest of an event's identity, keyed with a secret of the process: nobody outside can make two
/// identities collide, and by chance 2^64 of them would be needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest {
    low: u64,
    high: u64,
}

impl Digest {
    /// The shard, of `shards`, whose key range this digest falls into: each owns an equal stretch of it.
    pub(super) fn shard(self, shards: usize) -> usize {
        ((u128::from(self.high) * shards as u128) >> 64) as usize
    }
}

/// The low half serves as the hash: it is as good as random already. Shards are told apart by the high half.
impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.low);
    }
}

/// A map by [`Digest`], which needs no further hashing.
pub(super) type DigestMap<V> = HashMap<Digest, V, BuildHasherDefault<DigestIsHash>>;

#[derive(Default)]
pub(super) struct DigestIsHash(u64);

impl Hasher for DigestIsHash {
    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("a digest hashes as one u64");
    }

    fn write_u64(&mut self, low: u64) {
        self.0 = low;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Makes digests with the process's secret.
#[derive(Clone)]
pub(super) struct Digester {
    keyed: SipHasher13,
    scope: DedupScope,
}

impl Digester {
    /// A digester with a fresh secret.
    pub(super) fn new(scope: DedupScope) -> Self {
        Self { keyed: SipHasher13::new_with_key(Uuid::new_v4().as_bytes()), scope }
    }

    /// The digest of the identity that these two make up in this scope.
    pub(super) fn digest(&self, topic: &str, event_id: &str) -> Digest {
        let mut hasher = self.keyed;
        let key_topic = self.scope.key_topic(topic);
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        hasher.write_u64(key_topic.len() as u64);
        hasher.write(key_topic.as_bytes());
        hasher.write(event_id.as_bytes());
        let hash = hasher.finish128();
        Digest { low: hash.h1, high: hash.h2 }
    }
}

/// The ids learned last, with their `seq`, as two generations of a map that take turns: when the younger one is
/// full, the elder is forgotten at once and takes its place. No id costs more than a look-up and an insert.
///
/// It may only ever answer "stored"; an id that it does not know may be stored all the same. It remembers at
/// least the last half of `ids_max` ids and never more than `ids_max`, in at most 60 bytes each.
pub(super) struct DedupWindow {
    younger: DigestMap<u64>,
    elder: DigestMap<u64>,
    generation_ids_max: usize,
}

impl DedupWindow {
    /// An empty window for at most `ids_max` ids; 0 remembers nothing.
    pub(super) fn new(ids_max: usize) -> Self {
        Self { younger: DigestMap::default(), elder: DigestMap::default(), generation_ids_max: ids_max / 2 }
    }

    /// The `seq` of this id, if it is remembered; asking keeps it longer.
    pub(super) fn seq(&mut self, digest: Digest) -> Option<u64> {
        if let Some(seq) = self.younger.get(&digest) {
            return Some(*seq);
        }
        let seq = *self.elder.get(&digest)?;
        self.learn(digest, seq);
        Some(seq)
    }

    /// Remembers that this id is stored under `seq`. To be called after its commit, never before.
    pub(super) fn learn(&mut self, digest: Digest, seq: u64) {
        if self.generation_ids_max == 0 {
            return;
        }
        if self.younger.len() >= self.generation_ids_max && !self.younger.contains_key(&digest) {
            std::mem::swap(&mut self.younger, &mut self.elder);
            self.younger.clear();
        }
        self.younger.insert(digest, seq);
    }

    /// Remembers an id older than all that were learned, while there is room; true while there is more.
    pub(super) fn warm(&mut self, digest: Digest, seq: u64) -> bool {
        if self.elder.len() < self.generation_ids_max {
            self.elder.insert(digest, seq);
        }
        self.elder.len() < self.generation_ids_max
    }

    /// Ids remembered now; one that stands in both generations counts twice.
    pub(super) fn len(&self) -> usize {
        self.younger.len() + self.elder.len()
    }

    /// Forgets everything and gives the memory back.
    pub(super) fn forget(&mut self) {
        self.younger = DigestMap::default();
        self.elder = DigestMap::default();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn digest_of(id: u32) -> Digest {
        let hash = SipHasher13::new_with_key(&[7; 16]).hash(&id.to_le_bytes());
        Digest { low: hash.h1, high: hash.h2 }
    }

    #[test]
    fn scope_decides_whether_the_topic_is_part_of_the_identity() {
        let by_id = Digester::new(DedupScope::EventId);
        assert_eq!(by_id.digest("a", "1"), by_id.digest("b", "1"));
        let by_topic = Digester::new(DedupScope::Topic);
        assert_ne!(by_topic.digest("a", "1"), by_topic.digest("b", "1"));
        assert_ne!(by_topic.digest("ab", "c"), by_topic.digest("a", "bc"));
    }

    #[test]
    fn every_shard_gets_a_fair_share_of_the_key_range() {
        let mut counts = [0_u32; 7];
        for id in 0..70_000 {
            counts[digest_of(id).shard(7)] += 1;
        }
        assert!(counts.iter().all(|count| (9_000..11_000).contains(count)), "{counts:?}");
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

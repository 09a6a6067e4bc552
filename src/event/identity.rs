//! Which events are the same one, and the digest that stands for an identity.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasherDefault, Hash, Hasher},
    str::FromStr,
};

use siphasher::sip128::{Hasher128, SipHasher13};
use uuid::Uuid;

/// Which events are the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DedupScope {
    /// `event_id` alone: an id is global, and the same id in another topic is a duplicate.
    EventId,
    /// The pair of `topic` and `event_id`.
    Topic,
}

impl DedupScope {
    /// The name on the command line and in the database.
    pub fn name(self) -> &'static str {
        match self {
            DedupScope::EventId => "event-id",
            DedupScope::Topic => "topic",
        }
    }

    /// What stands beside the `event_id` in the unique key: the topic, or nothing.
    pub fn key_topic(self, topic: &str) -> &str {
        match self {
            DedupScope::EventId => "",
            DedupScope::Topic => topic,
        }
    }
}

impl fmt::Display for DedupScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for DedupScope {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [DedupScope::EventId, DedupScope::Topic]
            .into_iter()
            .find(|scope| scope.name() == name)
            .ok_or_else(|| format!("is neither event-id nor topic: {name}"))
    }
}

/// A 128-bit digest of an event's identity, keyed with a secret of the process: nobody outside can make two
/// identities collide, and by chance 2^64 of them would be needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    low: u64,
    high: u64,
}

impl Digest {
    /// The digest with these bits.
    pub fn from_u128(bits: u128) -> Self {
        Self { low: bits as u64, high: (bits >> 64) as u64 }
    }

    /// The shard, of `shards`, whose key range holds this digest; each shard owns an equal part.
    pub fn shard(self, shards: usize) -> usize {
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
pub type DigestMap<V> = HashMap<Digest, V, BuildHasherDefault<DigestIsHash>>;

#[derive(Default)]
pub struct DigestIsHash(u64);

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
pub struct Digester {
    keyed: SipHasher13,
    scope: DedupScope,
}

impl Digester {
    /// A digester with a fresh secret.
    pub fn new(scope: DedupScope) -> Self {
        Self { keyed: SipHasher13::new_with_key(Uuid::new_v4().as_bytes()), scope }
    }

    /// The digest of the identity that these two make up in this scope.
    pub fn digest(&self, topic: &str, event_id: &str) -> Digest {
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

#[cfg(test)]
mod tests {
    use super::*;

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

    fn digest_of(id: u32) -> Digest {
        Digest::from_u128(SipHasher13::new_with_key(&[7; 16]).hash(&id.to_le_bytes()).as_u128())
    }
}

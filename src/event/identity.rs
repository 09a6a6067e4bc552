//! Which events are the same one, and the digest that stands for an identity.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasherDefault, Hash, Hasher},
    str::FromStr,
};

use sha2::{Digest as _, Sha256};
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

/// A 128-bit digest of an event's identity, keyed with the secret of its ledger: nobody outside can make two
/// identities collide, and by chance 2^64 of them would be needed. It is what the store's unique key judges.
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

    /// Its bits, as the store keeps them.
    pub fn to_uuid(self) -> Uuid {
        Uuid::from_u64_pair(self.high, self.low)
    }

    /// What it is remembered by where `salt` holds. The shard stays the same.
    pub fn salted(self, salt: u64) -> Self {
        Self { low: self.low ^ salt, ..self }
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

/// Bytes of the secret of a ledger's [`Digester`].
pub const IDENTITY_KEY_BYTES: usize = 16;

/// Makes the digests of one ledger.
#[derive(Clone)]
pub struct Digester {
    keyed: Sha256,
    scope: DedupScope,
}

impl Digester {
    /// The digester of the ledger with this secret.
    pub fn new(scope: DedupScope, identity_key: &[u8; IDENTITY_KEY_BYTES]) -> Self {
        Self { keyed: Sha256::new_with_prefix(identity_key), scope }
    }

    /// The digest of the identity that these two make up in this scope: the first 16 bytes of SHA-256 over the key,
    /// the topic's length in one byte, the topic, and the id. In scope `event-id` the length is 0, without a topic.
    /// SQL computes the same (`sekali.digest`). An id of up to 38 bytes takes one block.
    pub fn digest(&self, topic: &str, event_id: &str) -> Digest {
        let key_topic = self.scope.key_topic(topic);
        // The length keeps ("ab", "c") and ("a", "bc") apart; a topic has at most 255 bytes.
        let length = u8::try_from(key_topic.len()).unwrap_or(u8::MAX);
        let hash = self.keyed.clone().chain_update([length]).chain_update(key_topic).chain_update(event_id);
        let hash = hash.finalize();
        let half = |from: usize| u64::from_be_bytes(std::array::from_fn(|place| hash[from + place]));
        Digest { high: half(0), low: half(8) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; IDENTITY_KEY_BYTES] = *b"0123456789abcdef";

    #[test]
    fn scope_decides_whether_the_topic_is_part_of_the_identity() {
        let by_id = Digester::new(DedupScope::EventId, &KEY);
        assert_eq!(by_id.digest("a", "1"), by_id.digest("b", "1"));
        let by_topic = Digester::new(DedupScope::Topic, &KEY);
        assert_ne!(by_topic.digest("a", "1"), by_topic.digest("b", "1"));
        assert_ne!(by_topic.digest("ab", "c"), by_topic.digest("a", "bc"));
        assert_ne!(by_id.digest("a", "1"), Digester::new(DedupScope::EventId, &[7; 16]).digest("a", "1"));
    }

    #[test]
    fn a_digest_is_half_of_a_sha_256() {
        // printf '0123456789abcdef\x03logs42' | sha256sum
        let digest = Digester::new(DedupScope::Topic, &KEY).digest("log", "s42");
        assert_eq!(digest.to_uuid().simple().to_string(), "28b9204ae5a8c5fe016fb6df880d6290");
        // printf '0123456789abcdef\x0042' | sha256sum
        let digest = Digester::new(DedupScope::EventId, &KEY).digest("log", "42");
        assert_eq!(digest.to_uuid().simple().to_string(), "8ea6738489730dc8bd011d448ed3e2b7");
    }

    #[test]
    fn every_shard_gets_a_fair_share_of_the_key_range() {
        let digester = Digester::new(DedupScope::EventId, &KEY);
        let mut counts = [0_u32; 7];
        for id in 0..70_000 {
            counts[digester.digest("", &id.to_string()).shard(7)] += 1;
        }
        assert!(counts.iter().all(|count| (9_000..11_000).contains(count)), "{counts:?}");
    }
}

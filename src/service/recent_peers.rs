//! Which addresses published a moment ago: large bodies of one address are read more slowly for the sake of others, and as
//! fast as it goes where there are none.

use std::{
    hash::{BuildHasher, RandomState},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crate::ledger::Peer;

/// A publish of another address counts for so long.
const RECENT: Duration = Duration::from_millis(100);

/// Bits of a note that name the address. Two addresses with the same ones count as one.
const NAME_BITS: u32 = 16;
const NAME_MASK: u64 = (1 << NAME_BITS) - 1;

/// The last publish, and the last one of another address. Each is noted as milliseconds since the start and the address.
pub(super) struct RecentPeers {
    start: Instant,
    hasher: RandomState,
    last: AtomicU64,
    last_other: AtomicU64,
}

impl RecentPeers {
    pub(super) fn new() -> Self {
        let never = AtomicU64::default;
        Self { start: Instant::now(), hasher: RandomState::new(), last: never(), last_other: never() }
    }

    /// Notes a publish of `peer`.
    pub(super) fn note(&self, peer: Peer) {
        self.note_at(peer, self.now());
    }

    /// Whether another address than `peer` published a moment ago.
    pub(super) fn has_others(&self, peer: Peer) -> bool {
        self.has_others_at(peer, self.now())
    }

    fn note_at(&self, peer: Peer, now: u64) {
        let note = now << NAME_BITS | self.name(peer);
        let last = self.last.load(Ordering::Relaxed);
        if last == note {
            return;
        }
        if (last ^ note) & NAME_MASK != 0 {
            self.last_other.store(last, Ordering::Relaxed);
        }
        self.last.store(note, Ordering::Relaxed);
    }

    fn has_others_at(&self, peer: Peer, now: u64) -> bool {
        let last = self.last.load(Ordering::Relaxed);
        let other =
            if last & NAME_MASK == self.name(peer) { self.last_other.load(Ordering::Relaxed) } else { last };
        other != 0 && now.saturating_sub(other >> NAME_BITS) < RECENT.as_millis() as u64
    }

    fn now(&self) -> u64 {
        // From 1, so that no note is 0.
        self.start.elapsed().as_millis() as u64 + 1
    }

    fn name(&self, peer: Peer) -> u64 {
        self.hasher.hash_one(peer) & NAME_MASK
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn only_publishes_of_another_address_count() {
        let [one, other] = ["10.0.0.1", "10.0.0.2"].map(|peer| Peer::from(peer.parse::<IpAddr>().unwrap()));
        let peers = RecentPeers::new();
        assert!(!peers.has_others_at(one, 1));
        peers.note_at(one, 1);
        assert!(!peers.has_others_at(one, 1) && peers.has_others_at(other, 1));
        peers.note_at(other, 2);
        peers.note_at(other, 3);
        assert!(peers.has_others_at(one, 3) && peers.has_others_at(other, 100));
        peers.note_at(other, 101);
        assert!(peers.has_others_at(one, 101) && !peers.has_others_at(other, 101));
    }
}

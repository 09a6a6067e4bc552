//! Memory that requests share, and of which one peer may hold a part.

use std::{collections::HashMap, sync::Arc};

use ipnet::IpNet;
use parking_lot::Mutex;

use super::{Overloaded, Peer};

/// Answers up to this size need no capacity: a connection's buffers hold more than that anyway.
pub const SMALL_ANSWER_BYTES: usize = 4 * 1024;

/// A number of bytes, given out to requests and taken back when their permits are dropped.
pub struct Budget {
    limits: BudgetLimits,
    held: Mutex<Held>,
}

/// The limits of a [`Budget`], and what to say when one is reached.
pub struct BudgetLimits {
    /// Bytes that all peers together may hold.
    pub bytes_max: usize,
    /// Bytes that one peer may hold.
    pub peer_bytes_max: usize,
    /// Peers without a share of their own, as proxies that speak for many clients.
    pub exempt: Arc<[IpNet]>,
    pub full: Overloaded,
    pub peer_full: Overloaded,
}

/// Bytes by who holds them. Peers that hold nothing have no entry.
#[derive(Default)]
struct Held {
    total: usize,
    by_peer: HashMap<Peer, usize>,
}

/// Bytes of a budget that one request holds.
pub struct BytesPermit {
    budget: Arc<Budget>,
    peer: Peer,
    bytes: usize,
}

impl Budget {
    pub fn new(limits: BudgetLimits) -> Arc<Self> {
        Arc::new(Self { limits, held: Mutex::default() })
    }

    /// Takes `bytes` for `peer`, or says at once which limit is reached.
    pub fn take(self: &Arc<Self>, peer: Peer, bytes: usize) -> Result<BytesPermit, Overloaded> {
        let mut permit = self.none(peer);
        permit.grow(bytes)?;
        Ok(permit)
    }

    /// Takes capacity for an answer of about `bytes`, or says at once that there is none.
    ///
    /// A small answer always passes. One that is larger than a peer's share takes the whole share.
    pub fn admit_answer(self: &Arc<Self>, peer: Peer, bytes: usize) -> Result<BytesPermit, Overloaded> {
        let counted = if bytes <= SMALL_ANSWER_BYTES { 0 } else { bytes.min(self.limits.peer_bytes_max) };
        self.take(peer, counted)
    }

    /// A permit that holds nothing yet.
    pub fn none(self: &Arc<Self>, peer: Peer) -> BytesPermit {
        BytesPermit { budget: Arc::clone(self), peer, bytes: 0 }
    }

    /// The bytes that may be held.
    pub fn most(&self) -> usize {
        self.limits.bytes_max
    }

    /// The bytes that are held now.
    pub fn held(&self) -> usize {
        self.held.lock().total
    }

    fn grow(&self, peer: Peer, bytes: usize) -> Result<(), Overloaded> {
        let mut held = self.held.lock();
        if bytes > self.limits.bytes_max.saturating_sub(held.total) {
            return Err(self.limits.full);
        }
        let by_peer = held.by_peer.get(&peer).copied().unwrap_or_default();
        let over_share = bytes > self.limits.peer_bytes_max.saturating_sub(by_peer);
        if over_share && !peer.is_in(&self.limits.exempt) {
            return Err(self.limits.peer_full);
        }
        held.add(peer, bytes);
        Ok(())
    }
}

impl Held {
    fn add(&mut self, peer: Peer, bytes: usize) {
        if bytes > 0 {
            self.total += bytes;
            *self.by_peer.entry(peer).or_default() += bytes;
        }
    }

    fn give_back(&mut self, peer: Peer, bytes: usize) {
        self.total -= bytes;
        if let Some(held) = self.by_peer.get_mut(&peer) {
            *held -= bytes;
            if *held == 0 {
                self.by_peer.remove(&peer);
            }
        }
    }
}

impl BytesPermit {
    /// Takes `bytes` more, or says at once which limit is reached.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Overloaded> {
        if bytes == 0 {
            return Ok(());
        }
        self.budget.grow(self.peer, bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Holds as many bytes as there turned out to be, even where that is more than was estimated and than is free.
    pub fn settle(&mut self, bytes: usize) {
        let mut held = self.budget.held.lock();
        held.give_back(self.peer, self.bytes);
        held.add(self.peer, bytes);
        self.bytes = bytes;
    }

    /// The bytes it holds.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for BytesPermit {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.held.lock().give_back(self.peer, self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const FULL: Overloaded = Overloaded("full");
    const PEER_FULL: Overloaded = Overloaded("peer full");

    fn peer(last: u8) -> Peer {
        IpAddr::from([10, 0, 0, last]).into()
    }

    fn budget() -> Arc<Budget> {
        Budget::new(BudgetLimits {
            bytes_max: 100,
            peer_bytes_max: 50,
            exempt: ["10.0.0.9/32".parse().unwrap()].into(),
            full: FULL,
            peer_full: PEER_FULL,
        })
    }

    #[test]
    fn one_peer_has_its_share_and_all_have_the_whole() {
        let budget = budget();
        let one = budget.take(peer(1), 50).unwrap();
        assert_eq!(budget.take(peer(1), 1).err(), Some(PEER_FULL));
        let two = budget.take(peer(2), 49).unwrap();
        assert_eq!(budget.take(peer(2), 2).err(), Some(FULL));
        drop(one);
        drop(budget.take(peer(1), 50).unwrap());
        drop(two);
        assert!(budget.held.lock().by_peer.is_empty());
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn an_exempt_peer_is_held_to_the_whole_alone() {
        let budget = budget();
        let mut proxy = budget.take(peer(9), 90).unwrap();
        assert_eq!(proxy.grow(11), Err(FULL));
        assert_eq!(proxy.grow(10), Ok(()));
    }

    #[test]
    fn a_permit_settles_at_what_there_is() {
        let budget = budget();
        let mut permit = budget.take(peer(1), 40).unwrap();
        permit.settle(120);
        assert_eq!((budget.held(), permit.bytes()), (120, 120));
        assert_eq!(budget.take(peer(2), 1).err(), Some(FULL));
        permit.settle(7);
        assert_eq!(budget.held(), 7);
        assert_eq!(permit.grow(44), Err(PEER_FULL));
        drop(permit);
        assert_eq!(budget.held(), 0);
    }
}

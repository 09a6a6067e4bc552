//! Which connections there are, and which one makes way when there are as many as there may be.

use std::{collections::HashMap, sync::Arc};

use super::{
    connection::{Clock, Connection},
    reserve,
};
use crate::ledger::Peer;

/// A search goes through all connections, so it keeps the oldest ones for the next newcomers too.
const CANDIDATES_MAX: usize = 256;
/// A search that found none is not repeated for this time.
const SEARCH_PAUSE_MS: u64 = 20;

/// The connections, by their number.
pub(super) struct Table {
    connections_max: usize,
    clock: Clock,
    next_id: u64,
    /// Those within the limits.
    served: HashMap<u64, Arc<Connection>>,
    /// Those beyond the limits, which are answered probes only.
    reserve: HashMap<u64, Arc<Connection>>,
    shares: HashMap<Peer, Share>,
    candidates: Candidates,
}

/// The connections of one peer.
#[derive(Default)]
struct Share {
    connections: usize,
    candidates: Candidates,
}

/// The connections that have waited longest for a request, the longest one last: since when, and their number.
#[derive(Default)]
struct Candidates {
    longest: Vec<(u64, u64)>,
    searched_in_vain_ms: Option<u64>,
}

impl Table {
    pub(super) fn new(connections_max: usize, clock: Clock) -> Self {
        Self {
            connections_max,
            clock,
            next_id: 0,
            served: HashMap::new(),
            reserve: HashMap::new(),
            shares: HashMap::new(),
            candidates: Candidates::default(),
        }
    }

    /// Takes a connection in, if need be in place of one that waits for a request. `None` if there is no place at all.
    /// The number is that of connections closed for it. A peer that is exempt may have all connections.
    pub(super) fn admit(&mut self, peer: Peer, is_exempt: bool) -> (Option<Arc<Connection>>, u64) {
        let is_full = self.served.len() >= self.connections_max;
        let peer_is_full = !is_exempt
            && self
                .shares
                .get(&peer)
                .is_some_and(|share| share.connections >= (self.connections_max / 2).max(1));
        if !is_full && !peer_is_full {
            return (Some(self.add(peer, false)), 0);
        }
        if self.close_longest_waiting(peer_is_full.then_some(peer)) {
            return (Some(self.add(peer, false)), 1);
        }
        if self.reserve.len() < reserve(self.connections_max) {
            return (Some(self.add(peer, true)), 0);
        }
        match self.close_waiting_in_reserve() {
            true => (Some(self.add(peer, true)), 1),
            false => (None, 0),
        }
    }

    /// Forgets a connection that is over.
    pub(super) fn remove(&mut self, connection: &Connection) {
        if self.served.remove(&connection.id).is_some() {
            if let Some(share) = self.shares.get_mut(&connection.peer) {
                share.connections -= 1;
                if share.connections == 0 {
                    self.shares.remove(&connection.peer);
                }
            }
        } else {
            self.reserve.remove(&connection.id);
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Connection>> {
        self.served.values().chain(self.reserve.values())
    }

    /// How many there are, and how many there may be within the limits.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.served.len() + self.reserve.len(), self.connections_max)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.served.is_empty() && self.reserve.is_empty()
    }

    fn add(&mut self, peer: Peer, beyond_limits: bool) -> Arc<Connection> {
        self.next_id += 1;
        let connection = Arc::new(Connection::new(self.next_id, peer, beyond_limits, self.clock));
        if beyond_limits {
            self.reserve.insert(self.next_id, Arc::clone(&connection));
        } else {
            self.served.insert(self.next_id, Arc::clone(&connection));
            self.shares.entry(peer).or_default().connections += 1;
        }
        connection
    }

    /// Closes the connection that has waited longest for a request, of one peer or of all.
    fn close_longest_waiting(&mut self, peer: Option<Peer>) -> bool {
        let candidates = match peer {
            Some(peer) => &mut self.shares.entry(peer).or_default().candidates,
            None => &mut self.candidates,
        };
        let now_ms = self.clock.now_ms();
        let Some(closed) = candidates.close_one(&self.served, peer, now_ms) else { return false };
        self.remove(&closed);
        true
    }

    fn close_waiting_in_reserve(&mut self) -> bool {
        let waiting = self.reserve.values().filter_map(|it| Some((it.waiting_since_ms()?, it)));
        let Some((since_ms, longest)) = waiting.min_by_key(|(since_ms, _)| *since_ms) else { return false };
        let longest = Arc::clone(longest);
        let closed = longest.make_way(since_ms);
        if closed {
            self.remove(&longest);
        }
        closed
    }
}

impl Candidates {
    fn close_one(
        &mut self,
        served: &HashMap<u64, Arc<Connection>>,
        peer: Option<Peer>,
        now_ms: u64,
    ) -> Option<Arc<Connection>> {
        if let Some(closed) = self.close_known(served) {
            return Some(closed);
        }
        if self.searched_in_vain_ms.is_some_and(|searched| now_ms < searched + SEARCH_PAUSE_MS) {
            return None;
        }
        self.search(served, peer);
        let closed = self.close_known(served);
        self.searched_in_vain_ms = closed.is_none().then_some(now_ms);
        closed
    }

    fn close_known(&mut self, served: &HashMap<u64, Arc<Connection>>) -> Option<Arc<Connection>> {
        while let Some((since_ms, id)) = self.longest.pop() {
            // It may have begun a request since, or be gone.
            if let Some(connection) = served.get(&id).filter(|connection| connection.make_way(since_ms)) {
                return Some(Arc::clone(connection));
            }
        }
        None
    }

    fn search(&mut self, served: &HashMap<u64, Arc<Connection>>, peer: Option<Peer>) {
        let of_peer = served.values().filter(|connection| peer.is_none_or(|peer| connection.peer == peer));
        self.longest.extend(of_peer.filter_map(|it| Some((it.waiting_since_ms()?, it.id))));
        if self.longest.len() > CANDIDATES_MAX {
            self.longest.select_nth_unstable(CANDIDATES_MAX);
            self.longest.truncate(CANDIDATES_MAX);
        }
        self.longest.sort_unstable_by(|a, b| b.cmp(a));
        self.longest.shrink_to(CANDIDATES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn peer(last: u8) -> Peer {
        Peer::from(IpAddr::from([127, 0, 0, last]))
    }

    fn table(connections_max: usize) -> Table {
        Table::new(connections_max, Clock::start())
    }

    fn admit(table: &mut Table, peer: Peer) -> Arc<Connection> {
        table.admit(peer, false).0.expect("there is a place")
    }

    #[test]
    fn a_peer_has_half_of_the_places_and_the_longest_waiting_of_its_own_makes_way() {
        let mut table = table(8);
        let other = admit(&mut table, peer(2));
        let first: Vec<_> = (0..4).map(|_| admit(&mut table, peer(1))).collect();
        let late = admit(&mut table, peer(1));
        assert!(!late.beyond_limits);
        assert_eq!(first.iter().filter(|connection| connection.cut().is_some()).count(), 1);
        assert_eq!(other.cut(), None);
    }

    #[test]
    fn an_exempt_peer_may_have_all_places() {
        let mut table = table(8);
        let all: Vec<_> = (0..8).map(|_| table.admit(peer(1), true).0.unwrap()).collect();
        assert!(all.iter().all(|connection| connection.cut().is_none()));
    }

    #[test]
    fn who_comes_when_all_are_busy_is_beyond_the_limits_and_then_not_let_in() {
        let mut table = table(8);
        let busy: Vec<_> = (0..8).map(|place| admit(&mut table, peer(1 + place / 4))).collect();
        busy.iter().for_each(|connection| connection.request_begins(Some(0)));
        let beyond: Vec<_> = (0..reserve(8)).map(|_| admit(&mut table, peer(3))).collect();
        assert!(beyond.iter().all(|connection| connection.beyond_limits));
        let replaced = admit(&mut table, peer(3));
        assert!(replaced.beyond_limits);
        assert_eq!(beyond.iter().filter(|connection| connection.cut().is_some()).count(), 1);
        replaced.request_begins(Some(0));
        beyond.iter().for_each(|connection| connection.request_begins(Some(0)));
        assert!(table.admit(peer(3), false).0.is_none());
        busy.iter().chain(&beyond).for_each(|connection| table.remove(connection));
        assert!(!admit(&mut table, peer(3)).beyond_limits);
    }
}

//! Places for what is done a few at a time. Who finds none waits in a queue, and leaves it when nobody wants the place any
//! more. One peer has about half of the places and half of the queue, and those that have the fewest places come first: so
//! one that asks for much waits for itself alone.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use ipnet::IpNet;
use parking_lot::Mutex;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use crate::ledger::{Overloaded, Peer};

/// How many places there are, and how many may wait for one.
pub(super) struct PlacesLimits {
    /// At least 2, so that one peer leaves one to others.
    pub(super) places: usize,
    pub(super) waiting: usize,
    /// Peers without a share of their own, as proxies that speak for many clients.
    pub(super) exempt: Arc<[IpNet]>,
    pub(super) full: Overloaded,
    pub(super) peer_full: Overloaded,
}

/// Places of one kind.
pub(super) struct Places {
    limits: PlacesLimits,
    state: Mutex<State>,
}

/// Who takes a place; `None` for the service itself and for peers without a share of their own.
type Taker = Option<Peer>;

#[derive(Default)]
struct State {
    taken: usize,
    waiting: usize,
    /// Those that neither have a place nor wait have no entry.
    by_taker: HashMap<Taker, OfTaker>,
    next_no: u64,
}

#[derive(Default)]
struct OfTaker {
    taken: usize,
    waiting: VecDeque<Waiting>,
}

/// One that waits, by its number in the order of their coming.
struct Waiting {
    no: u64,
    place: oneshot::Sender<Place>,
}

/// A place, until its last clone is dropped.
#[derive(Clone, Debug)]
pub(super) struct Place {
    _taken: Arc<Taken>,
}

struct Taken {
    places: Arc<Places>,
    taker: Taker,
}

/// Waits in the queue, and leaves it when it is dropped.
struct Asking {
    places: Arc<Places>,
    taker: Taker,
    no: u64,
    place: oneshot::Receiver<Place>,
}

impl Places {
    pub(super) fn new(limits: PlacesLimits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    /// A place for `peer`, or for the service itself, as soon as there is one. Refused at once where too many wait, and at
    /// the deadline.
    pub(super) async fn take(
        self: &Arc<Self>,
        peer: Option<Peer>,
        deadline: Instant,
    ) -> Result<Place, Overloaded> {
        let taker = peer.filter(|peer| !peer.is_in(&self.limits.exempt));
        let mut asking = {
            let mut state = self.state.lock();
            if self.has_place_for(&state, taker) {
                state.note_taken(taker);
                drop(state);
                return Ok(self.place(taker));
            }
            self.check_queue(&state, taker)?;
            let (no, place) = state.queue(taker);
            Asking { places: Arc::clone(self), taker, no, place }
        };
        match timeout_at(deadline, &mut asking.place).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(self.limits.full),
        }
    }

    /// Those that wait for a place, and how many may.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.state.lock().waiting, self.limits.waiting)
    }

    fn has_place_for(&self, state: &State, taker: Taker) -> bool {
        let of_taker = state.by_taker.get(&taker).map_or(0, |of_taker| of_taker.taken);
        // Of an odd number one peer has the larger part.
        let share = self.limits.places.div_ceil(2);
        state.taken < self.limits.places && (taker.is_none() || of_taker < share)
    }

    fn check_queue(&self, state: &State, taker: Taker) -> Result<(), Overloaded> {
        let of_taker = state.by_taker.get(&taker).map_or(0, |of_taker| of_taker.waiting.len());
        let share = (self.limits.waiting / 2).max(1);
        if state.waiting >= self.limits.waiting {
            Err(self.limits.full)
        } else if taker.is_some() && of_taker >= share {
            Err(self.limits.peer_full)
        } else {
            Ok(())
        }
    }

    fn place(self: &Arc<Self>, taker: Taker) -> Place {
        Place { _taken: Arc::new(Taken { places: Arc::clone(self), taker }) }
    }

    /// Gives a place that was given back to who comes next, if anybody waits that may have one.
    fn hand_on(self: &Arc<Self>) {
        let mut state = self.state.lock();
        let waiting = state
            .by_taker
            .iter()
            .filter(|(taker, of_taker)| !of_taker.waiting.is_empty() && self.has_place_for(&state, **taker));
        let next = waiting.min_by_key(|(taker, of_taker)| {
            let taken = if taker.is_some() { of_taker.taken } else { 0 };
            (taken, of_taker.waiting.front().map(|first| first.no))
        });
        let Some(taker) = next.map(|(taker, _)| *taker) else { return };
        let Some(first) = state.unqueue(taker, 0) else { return };
        state.note_taken(taker);
        drop(state);
        // Where nobody wants it any more, it is given back.
        let _ = first.place.send(self.place(taker));
    }
}

impl State {
    fn note_taken(&mut self, taker: Taker) {
        self.taken += 1;
        self.by_taker.entry(taker).or_default().taken += 1;
    }

    fn queue(&mut self, taker: Taker) -> (u64, oneshot::Receiver<Place>) {
        let (no, (sender, receiver)) = (self.next_no, oneshot::channel());
        self.next_no += 1;
        self.waiting += 1;
        self.by_taker.entry(taker).or_default().waiting.push_back(Waiting { no, place: sender });
        (no, receiver)
    }

    fn unqueue(&mut self, taker: Taker, at: usize) -> Option<Waiting> {
        let waiting = self.by_taker.get_mut(&taker)?.waiting.remove(at)?;
        self.waiting -= 1;
        Some(waiting)
    }

    fn forget_if_idle(&mut self, taker: Taker) {
        if self.by_taker.get(&taker).is_some_and(|it| it.taken == 0 && it.waiting.is_empty()) {
            self.by_taker.remove(&taker);
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut state = self.places.state.lock();
        state.taken -= 1;
        if let Some(of_taker) = state.by_taker.get_mut(&self.taker) {
            of_taker.taken -= 1;
        }
        state.forget_if_idle(self.taker);
        drop(state);
        self.places.hand_on();
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut state = self.places.state.lock();
        // In the order of their coming. One that was given its place waits no more.
        let at = state
            .by_taker
            .get(&self.taker)
            .and_then(|it| it.waiting.binary_search_by_key(&self.no, |waiting| waiting.no).ok());
        let left = at.and_then(|at| state.unqueue(self.taker, at));
        state.forget_if_idle(self.taker);
        drop(state);
        drop(left);
    }
}

impl std::fmt::Debug for Taken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Taken").field(&self.taker).finish()
    }
}

#[cfg(test)]
mod tests;

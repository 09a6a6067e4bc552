//! A subscription and its workers as a model: `store/progress`. Each step is a transaction under the lock of the
//! subscription's row, so that it is of no matter on which node it is done.
//!
//! A lease may expire at any moment, which needs no clock. Workers die, are slow, and send an ack again whose answer was
//! lost. The database may become an older copy of itself, with the subscription as it was.
//!
//! Beyond the model are partitions, topics, halves of more than two events, renewing, and how much is parked.

use std::collections::BTreeSet;

use stateright::{Checker, HasDiscoveries, Model, Property};

use super::{
    THREADS,
    mistakes::{LEASE_MISTAKES, LeaseMistake},
};

const WORKERS: usize = 2;
const EVENTS: u8 = 3;
/// Events of one lease, for each worker.
const LIMITS: [u8; WORKERS] = [2, 1];
const MAX_LEASES: usize = 2;
const MAX_DELIVERIES: u8 = 2;

type Seq = u8;
type LeaseId = u8;

#[derive(Clone, Copy)]
struct Leasing {
    /// How often leases expire, workers die, and answers are lost, in all.
    faults: u8,
    /// How many times the database is put back.
    restores: u8,
    mistake: Option<LeaseMistake>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct State {
    database: Database,
    /// The copy that was made.
    copy: Option<Database>,
    /// Leases that were handed out. Their ids are random: none is given twice.
    last_lease: LeaseId,
    workers: [Option<Work>; WORKERS],
    /// An ack that was fenced moved something.
    is_moved_by_fenced: bool,
    has_fenced: bool,
    faults: u8,
    restores: u8,
}

/// What the database has of the subscription. The events themselves are never lost here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Database {
    handed_out: Seq,
    /// By `from`, disjoint, none behind `handed_out`.
    pieces: Vec<Piece>,
    parked: BTreeSet<Seq>,
    /// What workers have done, as they said when they acked it.
    done: BTreeSet<Seq>,
    /// The last id, to a database that would number them.
    last_lease: LeaseId,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Piece {
    from: Seq,
    through: Seq,
    deliveries: u8,
    holder: Option<LeaseId>,
}

/// A lease, to its worker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Work {
    lease: LeaseId,
    /// What it got first.
    first: Seq,
    /// What is not acked yet.
    from: Seq,
    through: Seq,
    /// It has expired, or the database has lost it.
    has_ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    Lease { worker: usize },
    Accept { worker: usize, through: Option<Seq>, is_answered: bool },
    Release { worker: usize },
    Reject { worker: usize },
    Expire { place: usize },
    Die { worker: usize },
    RetryParked { seq: Seq },
    Copy,
    PutBack,
}

impl Model for Leasing {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let may_fail = state.faults < self.faults;
        for (worker, work) in state.workers.iter().enumerate() {
            let Some(Work { from, through, .. }) = work else {
                actions.push(Action::Lease { worker });
                continue;
            };
            let part = (from < through).then_some(Some(*from));
            for through in [None].into_iter().chain(part) {
                actions.push(Action::Accept { worker, through, is_answered: true });
                actions.extend(may_fail.then_some(Action::Accept { worker, through, is_answered: false }));
            }
            if may_fail {
                actions.extend([
                    Action::Release { worker },
                    Action::Reject { worker },
                    Action::Die { worker },
                ]);
            }
        }
        let pieces = state.database.pieces.iter().enumerate();
        let held = pieces.filter(|(_, piece)| may_fail && piece.holder.is_some());
        actions.extend(held.map(|(place, _)| Action::Expire { place }));
        if may_fail {
            actions.extend(state.database.parked.iter().map(|seq| Action::RetryParked { seq: *seq }));
        }
        if state.restores < self.restores {
            actions.push(if state.copy.is_none() { Action::Copy } else { Action::PutBack });
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Lease { worker } => self.lease(&mut state, worker)?,
            Action::Accept { worker, through, is_answered } => {
                state.faults += u8::from(!is_answered);
                self.accept(&mut state, worker, through, is_answered);
            }
            Action::Release { worker } => state.fail_lease(worker, false),
            Action::Reject { worker } => state.fail_lease(worker, true),
            Action::Expire { place } => {
                state.faults += 1;
                state.end_lease(place, false);
            }
            Action::Die { worker } => {
                state.faults += 1;
                state.workers[worker] = None;
            }
            Action::RetryParked { seq } => {
                state.faults += 1;
                let Database { parked, pieces, .. } = &mut state.database;
                parked.remove(&seq);
                let place = pieces.partition_point(|piece| piece.from < seq);
                pieces.insert(place, Piece { from: seq, through: seq, deliveries: 0, holder: None });
            }
            Action::Copy => state.copy = Some(state.database.clone()),
            Action::PutBack => {
                state.restores += 1;
                state.database = state.copy.take()?;
                for work in state.workers.iter_mut().flatten() {
                    // Of a lease that is there again, a part may be to be acked again.
                    match state.database.find(work.lease) {
                        Some(piece) if piece.from >= work.first && piece.through == work.through => {
                            (work.from, work.has_ended) = (piece.from, false);
                        }
                        _ => work.has_ended = true,
                    }
                }
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::<Self>::always(SETTLED_IS_DONE, |_, State { database, .. }| {
                (1..=database.handed_out)
                    .filter(|seq| database.is_settled(*seq))
                    .all(|seq| database.done.contains(&seq))
            }),
            Property::<Self>::always("an event is in one piece, or parked", |_, State { database, .. }| {
                let is_in = |seq| database.pieces.iter().filter(|piece| piece.has(seq)).count();
                (1..=EVENTS).all(|seq| is_in(seq) + usize::from(database.parked.contains(&seq)) <= 1)
            }),
            Property::<Self>::always(HELD_IS_HELD, |_, state| {
                let mut held = state.workers.iter().flatten().filter(|work| !work.has_ended);
                held.all(|work| state.database.find(work.lease).is_some_and(|piece| piece.is_of(work)))
            }),
            Property::<Self>::always(FENCED_MOVES_NOTHING, |_, state| !state.is_moved_by_fenced),
            Property::<Self>::always("no more leases are held than may be", |_, state| {
                state.database.pieces.iter().filter(|piece| piece.holder.is_some()).count() <= MAX_LEASES
            }),
            Property::<Self>::sometimes("every event is acked", |_, State { database, .. }| {
                database.handed_out == EVENTS && (1..=EVENTS).all(|seq| database.is_settled(seq))
            }),
            Property::<Self>::sometimes(
                "a late ack is fenced, and the events are acked by another",
                |_, state| state.has_fenced && (1..=EVENTS).all(|seq| state.database.is_settled(seq)),
            ),
        ];
        if self.faults > 2 {
            properties
                .push(Property::<Self>::sometimes("an event is parked, and others are acked", |_, state| {
                    !state.database.parked.is_empty() && !state.database.done.is_empty()
                }));
        }
        if self.restores > 0 {
            properties.push(Property::<Self>::sometimes(
                "what a restore took back is done again",
                |_, state| {
                    state.restores > 0
                        && state.database.handed_out == EVENTS
                        && state.database.pieces.is_empty()
                },
            ));
        }
        properties
    }
}

const SETTLED_IS_DONE: &str = "what is settled was acked by a worker that had it";
const HELD_IS_HELD: &str = "a lease that has not ended is its worker's, with its events";
const FENCED_MOVES_NOTHING: &str = "a fenced ack changes nothing";

impl Leasing {
    fn makes(&self, mistake: LeaseMistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// Hands out the first free piece, else events that were not handed out yet. `None` where there is nothing.
    fn lease(&self, state: &mut State, worker: usize) -> Option<()> {
        let database = &mut state.database;
        if database.pieces.iter().filter(|piece| piece.holder.is_some()).count() >= MAX_LEASES {
            return None;
        }
        database.last_lease += 1;
        state.last_lease += 1;
        let lease =
            if self.makes(LeaseMistake::NumberLeases) { database.last_lease } else { state.last_lease };
        let free = database.pieces.iter().position(|piece| piece.holder.is_none());
        let (from, through) = match free {
            Some(place) => {
                let piece = database.pieces.remove(place);
                let through = piece.through.min(piece.from + LIMITS[worker] - 1);
                if through < piece.through && !self.makes(LeaseMistake::SettleTheRest) {
                    database.pieces.insert(place, Piece { from: through + 1, ..piece });
                }
                let deliveries = piece.deliveries + 1;
                database.pieces.insert(place, Piece { through, deliveries, holder: Some(lease), ..piece });
                (piece.from, through)
            }
            None if database.handed_out < EVENTS => {
                let from = database.handed_out + 1;
                let through = EVENTS.min(database.handed_out + LIMITS[worker]);
                database.handed_out = through;
                database.pieces.push(Piece { from, through, deliveries: 1, holder: Some(lease) });
                (from, through)
            }
            None => return None,
        };
        state.workers[worker] = Some(Work { lease, first: from, from, through, has_ended: false });
        Some(())
    }

    /// A worker says that its events are done, or those up to `through`. Without an answer it says so again.
    fn accept(&self, state: &mut State, worker: usize, through: Option<Seq>, is_answered: bool) {
        let Some(mut work) = state.workers[worker].take() else { return };
        let database = &mut state.database;
        let before = database.clone();
        let done_to = through.unwrap_or(work.through);
        let held = database.pieces.iter().position(|piece| piece.holder == Some(work.lease));
        let by_range = || database.pieces.iter().position(|piece| piece.is_of(&work));
        let place = if self.makes(LeaseMistake::AckByRange) { by_range() } else { held };
        match place {
            Some(place) if done_to < database.pieces[place].through => {
                database.pieces[place].from = database.pieces[place].from.max(done_to + 1);
            }
            Some(place) => drop(database.pieces.remove(place)),
            None if self.makes(LeaseMistake::MoveOnWhenFenced) => {
                database.pieces.retain(|piece| piece.through > done_to);
            }
            None => {}
        }
        if place.is_some() {
            database.done.extend(work.first..=done_to);
        }
        state.has_fenced |= held.is_none() && work.has_ended;
        state.is_moved_by_fenced |= work.has_ended && *database != before;
        let rest = done_to + 1..=work.through;
        work.has_ended |= place.is_none() || rest.is_empty();
        if is_answered {
            // What is left of the lease is the worker's still.
            work.from = *rest.start();
            state.workers[worker] = (place.is_some() && !rest.is_empty()).then_some(work);
        } else {
            work.from = if work.has_ended { work.from } else { *rest.start() };
            state.workers[worker] = Some(work);
        }
    }
}

impl State {
    fn fail_lease(&mut self, worker: usize, is_final: bool) {
        self.faults += 1;
        let Some(work) = self.workers[worker].take() else { return };
        let held = self.database.pieces.iter().position(|piece| piece.holder == Some(work.lease));
        if let Some(place) = held {
            self.end_lease(place, is_final);
        }
    }

    /// Takes a piece back from its holder. One that failed often enough is halved, and parked where it stands alone.
    fn end_lease(&mut self, place: usize, is_final: bool) {
        let Database { pieces, parked, .. } = &mut self.database;
        let piece = &mut pieces[place];
        let lease = piece.holder.take();
        for work in self.workers.iter_mut().flatten() {
            work.has_ended |= Some(work.lease) == lease;
        }
        if !is_final && piece.deliveries < MAX_DELIVERIES {
            return;
        }
        if piece.from == piece.through {
            parked.insert(piece.from);
            pieces.remove(place);
        } else {
            let second = Piece { from: piece.from + 1, ..piece.clone() };
            piece.through = piece.from;
            pieces.insert(place + 1, second);
        }
    }
}

impl Database {
    fn find(&self, lease: LeaseId) -> Option<&Piece> {
        self.pieces.iter().find(|piece| piece.holder == Some(lease))
    }

    fn is_settled(&self, seq: Seq) -> bool {
        seq <= self.handed_out
            && !self.parked.contains(&seq)
            && !self.pieces.iter().any(|piece| piece.has(seq))
    }
}

impl Piece {
    fn has(&self, seq: Seq) -> bool {
        (self.from..=self.through).contains(&seq)
    }

    fn is_of(&self, work: &Work) -> bool {
        (self.from, self.through) == (work.from, work.through)
    }
}

#[test]
fn what_is_settled_was_done_in_every_state() {
    for (faults, restores, states) in [(4, 0, 33_202), (2, 1, 90_523)] {
        let model = Leasing { faults, restores, mistake: None };
        let checker = model.checker().threads(THREADS).spawn_dfs().join();
        checker.assert_properties();
        assert_eq!(checker.unique_state_count(), states);
    }
}

#[test]
fn every_mistake_with_leases_breaks_the_property_that_it_is_known_for() {
    for (mistake, property) in LEASE_MISTAKES {
        let model = Leasing { faults: 2, restores: 1, mistake: Some(mistake) };
        let found = HasDiscoveries::AnyOf(std::iter::once(property).collect());
        let checker = model.checker().threads(THREADS).finish_when(found).spawn_dfs().join();
        assert!(checker.discovery(property).is_some(), "{mistake:?} does not break \"{property}\"");
    }
}

//! Readers of `GET /stream` as a model: `service/following.rs` and `service/shared_reads.rs`, on a node that commits.
//!
//! A reader is at a `seq` and asks for what comes behind it. What is read is shared by all at that place, and kept. The
//! node tells of its commits, finds by its next append that the database was restored, and then begins an epoch.
//!
//! Other nodes commit, too, but not where the database is restored: beyond the model is what `seq` alone cannot tell, a
//! database that was restored and has grown past a reader's place before the node finds it, by commits of other nodes, or
//! while the reader was away.

use std::collections::BTreeMap;

use stateright::{Checker, HasDiscoveries, Model, Property};

use super::{
    THREADS,
    mistakes::{READER_MISTAKES, ReaderMistake},
};

const READERS: usize = 2;
const EVENTS: u8 = 3;
/// Events of one read.
const READ_EVENTS: usize = 2;

/// An event by itself: what is published after a restore is another one, under the same `seq`.
type Event = u8;

#[derive(Clone, Copy)]
struct Following {
    /// How many times the database is restored.
    restores: u8,
    /// How many streams are lost.
    losses: u8,
    mistake: Option<ReaderMistake>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct State {
    log: Vec<Event>,
    published: u8,
    node: Node,
    readers: [Option<Reader>; READERS],
    restores: u8,
    losses: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Node {
    /// The log up to the newest commit that was seen.
    seen: Vec<Event>,
    epoch: u8,
    /// Where the log ended when the epoch began.
    begun_at: usize,
    /// A commit of which readers are not told yet.
    untold: Option<Vec<Event>>,
    /// The newest `seq` that was told.
    told: usize,
    /// The pieces that are read or kept.
    cells: BTreeMap<Key, Cell>,
}

/// The epoch, and the place behind which a piece begins.
type Key = (u8, usize);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Cell {
    /// Who reads it, or has read it.
    owner: usize,
    piece: Option<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Piece {
    events: Vec<Event>,
    head: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Reader {
    place: usize,
    epoch: u8,
    told: usize,
    looks: bool,
    /// It was told of something since it looked.
    has_news: bool,
    hand: Option<Hand>,
    /// What it got behind `base`: where it began, or where the last notice said that the log ends.
    base: usize,
    got: Vec<Event>,
}

/// A read that the reader waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Hand {
    key: Key,
    /// Whose read it is.
    owner: usize,
    piece: Option<Piece>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    Commit,
    CommitElsewhere,
    Tell,
    /// What the look of each second finds.
    LookAtHead,
    Restore {
        length: usize,
    },
    Begin {
        reader: usize,
    },
    Step {
        reader: usize,
    },
    CarryOut {
        reader: usize,
    },
    Finish {
        reader: usize,
    },
    LoseStream {
        reader: usize,
    },
}

impl Model for Following {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::default()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let State { node, log, .. } = state;
        match node.untold {
            Some(_) => actions.push(Action::Tell),
            None => actions.extend((state.published < EVENTS).then_some(Action::Commit)),
        }
        let is_known = node.untold.is_none() && log.starts_with(&node.seen);
        if is_known && state.published < EVENTS && self.restores == 0 {
            actions.push(Action::CommitElsewhere);
        }
        if is_known && node.told != log.len() {
            actions.push(Action::LookAtHead);
        }
        // A publisher that is to find it comes afterwards.
        if state.restores < self.restores && state.published < EVENTS {
            actions.extend((0..log.len()).map(|length| Action::Restore { length }));
        }
        for (no, reader) in state.readers.iter().enumerate() {
            let Some(reader) = reader else {
                // The readers are alike.
                if state.readers[..no].iter().all(Option::is_some) {
                    actions.push(Action::Begin { reader: no });
                }
                continue;
            };
            match &reader.hand {
                None if reader.has_work(node) => actions.push(Action::Step { reader: no }),
                None => {}
                Some(Hand { piece: Some(_), .. }) => actions.push(Action::Finish { reader: no }),
                Some(hand) if hand.owner == no => actions.push(Action::CarryOut { reader: no }),
                Some(_) => {}
            }
            // Who waits for the read of another begins it anew where that one goes away, which is a read of its own.
            if state.losses < self.losses && reader.hand.is_none() && reader.is_of(log) {
                actions.push(Action::LoseStream { reader: no });
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Commit => state.commit(),
            Action::CommitElsewhere => state.publish(),
            Action::Tell => {
                state.node.seen = state.node.untold.take()?;
                state.tell(state.node.seen.len());
            }
            Action::LookAtHead => state.tell(state.log.len()),
            Action::Restore { length } => {
                state.restores += 1;
                state.log.truncate(length);
            }
            Action::Begin { reader } => state.readers[reader] = Some(Reader::begin(&state, 0)),
            Action::Step { reader } => self.step(&mut state, reader),
            Action::CarryOut { reader } => state.carry_out(reader),
            Action::Finish { reader } => self.finish(&mut state, reader),
            Action::LoseStream { reader } => {
                state.losses += 1;
                let lost = state.readers[reader].take()?;
                let is_forgotten = self.mistake == Some(ReaderMistake::ResumeAtTheEnd);
                let place = if is_forgotten { state.log.len() } else { lost.place };
                let Reader { base, got, .. } = lost;
                state.readers[reader] = Some(Reader { base, got, ..Reader::begin(&state, place) });
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::<Self>::always(ALL_ONCE, |_, state| {
                let mut waiting = state.readers.iter().flatten().filter(|reader| state.is_at_rest(reader));
                waiting.all(|reader| reader.got == state.log[reader.base.min(state.log.len())..])
            }),
            Property::<Self>::always("what is read of the log is behind the reader's place", |_, state| {
                state.readers.iter().flatten().all(|reader| reader.place == reader.base + reader.got.len())
            }),
            Property::<Self>::sometimes("two readers share a read", |_, state| {
                let hands = state.readers.iter().flatten().flat_map(|reader| &reader.hand);
                hands.clone().any(|hand| hands.clone().filter(|other| other.key == hand.key).count() > 1)
            }),
            Property::<Self>::sometimes("all readers have everything", |_, state| {
                let has_all =
                    |reader: &Reader| state.is_at_rest(reader) && reader.got.len() == EVENTS as usize;
                state.readers.iter().all(|reader| reader.as_ref().is_some_and(has_all))
            }),
        ];
        if self.restores > 0 {
            properties.push(Property::<Self>::sometimes(
                "a reader is told of a restore, and reads on",
                |_, state| {
                    let mut readers = state.readers.iter().flatten();
                    readers
                        .any(|reader| reader.base > 0 && !reader.got.is_empty() && state.is_at_rest(reader))
                },
            ));
        }
        properties
    }
}

const ALL_ONCE: &str =
    "a reader at rest got each event once and in order, since it began or was told of a restore";

impl Following {
    /// What a reader does that waits for no read.
    fn step(&self, state: &mut State, no: usize) {
        let State { node, readers, .. } = state;
        let Some(reader) = &mut readers[no] else { return };
        if reader.epoch != node.epoch {
            reader.epoch = node.epoch;
            node.cells.clear();
            if node.begun_at < reader.place {
                self.go_back_to(reader, node.begun_at);
            }
        } else if reader.looks || reader.told > reader.place {
            let epoch =
                if self.mistake == Some(ReaderMistake::ShareReadsOfAllEpochs) { 0 } else { reader.epoch };
            let key = (epoch, reader.place);
            let cell = node.cells.entry(key).or_insert(Cell { owner: no, piece: None });
            reader.hand = Some(Hand { key, owner: cell.owner, piece: cell.piece.clone() });
            // A piece that is kept is not its own read, whoever has read it.
            if let Some(Hand { owner, piece: Some(_), .. }) = &mut reader.hand {
                *owner = READERS;
            }
        } else {
            reader.has_news = false;
            reader.looks = node.told < reader.place;
            reader.told = node.told;
        }
    }

    fn finish(&self, state: &mut State, no: usize) {
        let State { node, readers, .. } = state;
        let Some(reader) = &mut readers[no] else { return };
        let Some(Hand { owner, piece: Some(piece), .. }) = reader.hand.take() else { return };
        reader.looks = false;
        if self.mistake == Some(ReaderMistake::DropNewsWhileReading) {
            reader.has_news = false;
        }
        if !piece.events.is_empty() {
            reader.place += piece.events.len();
            reader.got.extend(&piece.events);
            reader.told = reader.told.max(piece.head);
        } else if owner != no {
            // Another reader may have begun that read before this one was told of something.
            reader.looks = true;
        } else {
            reader.told = piece.head;
            if piece.head < reader.place {
                node.cells.clear();
                self.go_back_to(reader, piece.head);
            }
        }
    }

    /// The reader is told that the database was restored.
    fn go_back_to(&self, reader: &mut Reader, head: usize) {
        if self.mistake != Some(ReaderMistake::StayInARestoredLog) {
            reader.place = head;
            (reader.base, reader.got) = (head, Vec::new());
        }
        reader.told = reader.told.max(head);
        reader.looks = self.mistake != Some(ReaderMistake::StayInARestoredLog);
    }
}

impl State {
    fn publish(&mut self) {
        self.log.push(self.published);
        self.published += 1;
    }

    /// The node appends; or finds that the log is not the one that it has seen.
    fn commit(&mut self) {
        if self.log.starts_with(&self.node.seen) {
            self.publish();
            self.node.untold = Some(self.log.clone());
            return;
        }
        self.node.seen = self.log.clone();
        self.node.epoch += 1;
        self.node.begun_at = self.log.len();
        self.tell(self.log.len());
    }

    fn tell(&mut self, head: usize) {
        self.node.told = head;
        self.readers.iter_mut().flatten().for_each(|reader| reader.has_news = true);
    }

    /// The store reads for a reader, and for all who wait for the same piece.
    fn carry_out(&mut self, no: usize) {
        let Some(Hand { key, .. }) = self.readers[no].as_ref().and_then(|reader| reader.hand.clone()) else {
            return;
        };
        let behind = self.log.iter().skip(key.1).take(READ_EVENTS);
        let piece = Piece { events: behind.copied().collect(), head: self.log.len() };
        let hands = self.readers.iter_mut().flatten().filter_map(|reader| reader.hand.as_mut());
        for hand in hands.filter(|hand| (hand.key, hand.owner) == (key, no)) {
            hand.piece = Some(piece.clone());
        }
        // It may have been forgotten meanwhile.
        let is_own = self.node.cells.get(&key).is_some_and(|cell| cell.owner == no && cell.piece.is_none());
        match is_own {
            true if piece.events.is_empty() => drop(self.node.cells.remove(&key)),
            true => drop(self.node.cells.insert(key, Cell { owner: no, piece: Some(piece) })),
            false => {}
        }
    }

    /// Whether a reader has nothing to do, and the node knows the log as it is.
    fn is_at_rest(&self, reader: &Reader) -> bool {
        let Node { seen, untold, told, .. } = &self.node;
        let is_known = untold.is_none() && self.log.starts_with(seen) && *told == self.log.len();
        is_known && reader.hand.is_none() && !reader.has_work(&self.node)
    }
}

impl Reader {
    fn begin(state: &State, place: usize) -> Self {
        let head = state.log.len();
        Self {
            place,
            epoch: state.node.epoch,
            told: head,
            looks: place > head,
            has_news: false,
            hand: None,
            base: place,
            got: Vec::new(),
        }
    }

    fn has_work(&self, node: &Node) -> bool {
        self.epoch != node.epoch || self.looks || self.told > self.place || self.has_news
    }

    /// Whether what it got is in this log.
    fn is_of(&self, log: &[Event]) -> bool {
        log.get(..self.place).is_some_and(|log| log.ends_with(&self.got))
    }
}

fn following(restores: u8, losses: u8, mistake: Option<ReaderMistake>) -> impl Checker<Following> {
    let checker = Following { restores, losses, mistake }.checker().threads(THREADS);
    checker.finish_when(HasDiscoveries::AnyFailures).spawn_dfs().join()
}

#[test]
fn readers_get_each_event_once_in_every_state() {
    for (restores, losses, states) in [(0, 2, 139_234), (1, 1, 174_914)] {
        let checker = following(restores, losses, None);
        checker.assert_properties();
        assert_eq!(checker.unique_state_count(), states);
    }
}

#[test]
fn every_mistake_with_readers_is_found() {
    for mistake in READER_MISTAKES {
        let checker = following(1, 1, Some(mistake));
        assert!(checker.discovery(ALL_ONCE).is_some(), "{mistake:?} does not break \"{ALL_ONCE}\"");
    }
}

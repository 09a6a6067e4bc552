//! The protocol of actors and store as an executable model, whose states are searched exhaustively.
//!
//! It can be read as the protocol's specification: `ledger` is the store's append, `actors` what the actors of a
//! node do and how they die, `properties` what must never break, and this file who may act when. Names are those
//! of `src/actors` and of the migrations. Everybody acts whenever they can, in every order.
//!
//! Clients send batches at any moment to any node, again and again, for whatever reason. A deadline needs no
//! clock: a call may be given up at any moment. States are told apart by 64-bit fingerprints.
//!
//! Beyond the model are the sizes of groups and windows, the warm-up of windows and the writer's own window (all
//! that it could know is stored), what the store refuses, restored databases, the counters that StatsActor shows,
//! the pruning of the ledger, and whether anything comes to an end.

mod actors;
mod ledger;
mod properties;

use std::collections::BTreeSet;

use actors::{Node, Request};
use ledger::{Call, Id, Ledger};
use stateright::{Checker, HasDiscoveries, Model, Property};

const NODES: usize = 2;
/// And as many shards in each node.
const IDS: usize = 2;
/// What clients want stored. The first batch needs both shards.
const BATCHES: [&[Id]; 2] = [&[0, 1], &[1]];
/// How often batches are sent in all.
const SENDS: usize = 3;
/// How many crashes and lost answers there are.
const FAULTS: u8 = 2;
const THREADS: usize = 2;

/// The protocol, with a mistake if one is to be found.
struct Protocol {
    mistake: Option<Mistake>,
}

/// What the protocol could be tempted to do.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mistake {
    /// Shards learn a group's ids when it is formed.
    LearnBeforeCommit,
    /// Clients are answered when their group is formed.
    ReplyBeforeCommit,
    /// `received` is raised after the commit, by the writer.
    CountOutsideTheTransaction,
    /// A group's first new event commits by itself.
    PartWithoutItsSiblings,
    /// A shard calls an id stored that it has sent on to the writer.
    AnswerFromAnInFlightMark,
    /// A call whose answer was lost goes out again under a new number.
    RetryWithoutTheNumber,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct State {
    requests: Vec<Request>,
    nodes: [Node; NODES],
    ledger: Ledger,
    /// Calls that nobody waits for any more; the database may yet carry them out.
    abandoned: BTreeSet<Call>,
    faults: u8,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    Publish { node: usize, ids: &'static [Id] },
    PolledHead { node: usize, shard: usize },
    TakeGroup { node: usize, count: usize },
    CarryOut { node: usize },
    CarryOutAbandoned { place: usize },
    Finish { node: usize },
    Suffer { node: usize, fault: Fault },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// The connection breaks, before the call is carried out or after it. The same group is sent again.
    AnswerLost,
    /// The group in hand is lost; the queue stays, and the numbers rise on. To give a call up is the same.
    WriterCrash { after_steps: usize },
    /// The window is lost, and the part in hand, if there is one; the rest of the mailbox stays.
    ShardCrash { shard: usize, parts: usize },
    /// The process ends, and starts again as a new writer.
    NodeCrash,
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State { nodes: [Node::start(0), Node::start(1)], ..State::default() }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // The nodes are alike: the first request may as well go to the first one.
        let receivers = if state.requests.is_empty() { 1 } else { NODES };
        for node in (0..receivers).filter(|_| state.requests.len() < SENDS) {
            actions.extend(BATCHES.map(|ids| Action::Publish { node, ids }));
        }
        actions.extend((0..state.abandoned.len()).map(|place| Action::CarryOutAbandoned { place }));
        for (node, Node { mailboxes, queue, hand, .. }) in state.nodes.iter().enumerate() {
            let mut faults = vec![Fault::NodeCrash];
            for (shard, mailbox) in mailboxes.iter().enumerate() {
                let in_hand = mailbox.len().min(1);
                actions.extend((0..in_hand).map(|_| Action::PolledHead { node, shard }));
                faults.extend((0..=in_hand).map(|parts| Fault::ShardCrash { shard, parts }));
            }
            match hand {
                None => actions.extend((1..=queue.len()).map(|count| Action::TakeGroup { node, count })),
                Some((_, None)) => {
                    faults.extend([Fault::AnswerLost, Fault::WriterCrash { after_steps: 0 }]);
                    actions.push(Action::CarryOut { node });
                }
                Some((Call { requests, .. }, Some(_))) => {
                    faults.push(Fault::AnswerLost);
                    faults.extend((0..=requests.len()).map(|after_steps| Fault::WriterCrash { after_steps }));
                    actions.push(Action::Finish { node });
                }
            }
            if state.faults < FAULTS {
                actions.extend(faults.into_iter().map(|fault| Action::Suffer { node, fault }));
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Publish { node, ids } => self.publish(&mut state, node, ids),
            Action::PolledHead { node, shard } => self.look(&mut state, node, shard),
            Action::TakeGroup { node, count } => self.take_group(&mut state, node, count),
            Action::CarryOut { node } => {
                let (call, answer) = state.nodes[node].hand.as_mut()?;
                *answer = state.ledger.append(call, self.mistake);
            }
            Action::CarryOutAbandoned { place } => {
                let call = state.abandoned.iter().nth(place)?.clone();
                state.abandoned.remove(&call);
                state.ledger.append(&call, self.mistake);
            }
            Action::Finish { node } => self.finish(&mut state, node, usize::MAX),
            Action::Suffer { node, fault } => {
                state.faults += 1;
                self.suffer(&mut state, node, fault);
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all()
    }
}

/// The number of states is exact, so that a step that is lost or added by accident is noticed.
#[test]
fn every_property_holds_in_every_state() {
    let checker = Protocol { mistake: None }.checker().threads(THREADS).spawn_dfs().join();
    checker.assert_properties();
    assert_eq!(checker.unique_state_count(), 495_187);
}

#[test]
fn every_mistake_breaks_the_property_that_it_is_known_for() {
    for (mistake, property) in [
        (Mistake::LearnBeforeCommit, "acknowledged means stored, just as the answer says"),
        (Mistake::ReplyBeforeCommit, "acknowledged means stored, just as the answer says"),
        (Mistake::CountOutsideTheTransaction, "received = unique + duplicate"),
        (Mistake::PartWithoutItsSiblings, "a request is stored whole or not at all"),
        (Mistake::AnswerFromAnInFlightMark, "acknowledged means stored, just as the answer says"),
        (Mistake::RetryWithoutTheNumber, "each committed request is counted once"),
    ] {
        let found = HasDiscoveries::AnyOf(BTreeSet::from([property]));
        let protocol = Protocol { mistake: Some(mistake) };
        let checker = protocol.checker().threads(THREADS).finish_when(found).spawn_dfs().join();
        assert!(checker.discovery(property).is_some(), "{mistake:?} does not break \"{property}\"");
    }
}

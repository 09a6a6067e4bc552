//! The protocol of actors and store as an executable model, whose states are searched exhaustively.
//!
//! It can be read as the protocol's specification: `database` is the store's append and what else happens to a
//! database, `actors` what the actors of a node do and how they die, `properties` what must never break, `mistakes` what
//! would break it, and this file who may act when. Names are those of `src/actors`, `src/ledger` and of the migrations.
//! Everybody acts whenever they can, in every order.
//!
//! Clients send batches at any moment to any node, again and again, for whatever reason. A deadline needs no
//! clock: a call may be given up at any moment. States are told apart by 64-bit fingerprints.
//!
//! A ledger is open on a node as an object with its position: the newest commit that was seen, and the epoch. It may be
//! closed whenever no request holds it. A restored database may have any older copy of a ledger, or be older than the
//! ledger; ledgers share nothing, so that it does not matter what a restore does to others. The number of a ledger that
//! a restore took away is given again, its id never.
//!
//! Beyond the model are the sizes of groups and windows, the warm-up of windows, what the store refuses, several
//! connections and writers of a node (ledgers commit independently), SQLite's transaction for several ledgers, the
//! counters that StatsActor shows, reads but for a ledger that is gone, the pruning of the ledger, the sweep of deleted
//! ones, and whether anything comes to an end.
//!
//! Readers of the stream (`following`) and leases of a subscription (`leasing`) are models of their own.

mod actors;
mod database;
mod following;
mod leasing;
mod mistakes;
mod properties;

use std::collections::BTreeSet;

use actors::{Hand, Node, Request};
use database::{Call, Database, Id, LedgerKey, Mark, Outcome};
use mistakes::{MISTAKES, Mistake};
use stateright::{Checker, HasDiscoveries, Model, Property};

const NODES: usize = 2;
/// The first one always exists.
const NAMESPACES: usize = 2;
/// And as many shards in each node.
const IDS: usize = 2;
const THREADS: usize = 2;

/// The protocol, with a mistake if one is to be found.
#[derive(Clone, Copy)]
struct Protocol {
    bounds: Bounds,
    mistake: Option<Mistake>,
}

/// How much happens. Each search has bounds of its own, since together they would be too much.
#[derive(Clone, Copy)]
struct Bounds {
    namespaces: usize,
    /// What clients want stored.
    batches: &'static [&'static [Id]],
    /// How often batches are sent in all.
    sends: usize,
    /// How many crashes and lost answers there are.
    faults: u8,
    /// How many ledgers are closed, and namespaces created, deleted or restored to an older copy.
    changes: u8,
}

/// The first batch needs both shards.
const BOTH_SHARDS: [&[Id]; 2] = [&[0, 1], &[1]];
/// One ledger, and all that crashes and lost answers may do to it.
const FAULTS: Bounds = Bounds { namespaces: 1, batches: &BOTH_SHARDS, sends: 3, faults: 2, changes: 0 };
/// One ledger that is closed and opened, and whose database is restored.
const RESTORES: Bounds = Bounds { namespaces: 1, batches: &BOTH_SHARDS, sends: 3, faults: 0, changes: 2 };
/// The same with a crash or a lost answer, and fewer batches.
const RESTORES_AND_FAULTS: Bounds = Bounds { batches: &[&[0, 1]], faults: 1, ..RESTORES };
/// Two ledgers with the same ids, of which the second is deleted, created, and given the number of another one.
const TENANTS: Bounds = Bounds { namespaces: 2, batches: &[&[0]], sends: 3, faults: 0, changes: 2 };
/// The same with a crash or a lost answer, and fewer requests.
const TENANTS_AND_FAULTS: Bounds = Bounds { sends: 2, faults: 1, ..TENANTS };

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct State {
    requests: Vec<Request>,
    nodes: [Node; NODES],
    database: Database,
    /// Calls that nobody waits for any more; the database may yet carry them out.
    abandoned: BTreeSet<Call>,
    faults: u8,
    changes: u8,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Action {
    Publish { node: usize, namespace: usize, ids: &'static [Id] },
    Look { node: usize, shard: usize },
    TakeGroup { node: usize, ledger: LedgerKey, count: usize, remembers: bool },
    CarryOut { node: usize, ledger: LedgerKey },
    CarryOutAbandoned { place: usize },
    Finish { node: usize, ledger: LedgerKey },
    FindGone { node: usize, namespace: usize },
    Suffer { node: usize, fault: Fault },
    Change(Change),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// The connection breaks, before the call is carried out or after it. The same group is sent again.
    AnswerLost { ledger: LedgerKey },
    /// The groups in hand are lost; the queues stay, and the numbers rise on. To give a call up is the same. It may
    /// happen after some of the steps that follow on a commit.
    WriterCrash { finishes: Option<(LedgerKey, usize)> },
    /// The window is lost, and the part in hand, if there is one; the rest of the mailbox stays.
    ShardCrash { shard: usize, parts: usize },
    /// The process ends, and starts again as a new writer.
    NodeCrash,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    Close {
        node: usize,
        namespace: usize,
    },
    Create {
        namespace: usize,
    },
    Delete {
        namespace: usize,
    },
    /// The ledger of this number becomes what it was after so many commits; `None`: what it was before it was created.
    Restore {
        namespace: usize,
        number: usize,
        commits: Option<usize>,
    },
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let database = Database::create(self.bounds.namespaces);
        vec![State { nodes: [Node::start(0), Node::start(1)], database, ..State::default() }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // The nodes are alike: the first request may as well go to the first one.
        let receivers = if state.requests.is_empty() { 1 } else { NODES };
        for node in (0..receivers).filter(|_| state.requests.len() < self.bounds.sends) {
            let is_there = |namespace: &usize| state.has_ledger_for(node, *namespace);
            for namespace in (0..self.bounds.namespaces).filter(is_there) {
                let publish = |ids: &&'static [Id]| Action::Publish { node, namespace, ids };
                actions.extend(self.bounds.batches.iter().map(publish));
            }
        }
        actions.extend((0..state.abandoned.len()).map(|place| Action::CarryOutAbandoned { place }));
        for (node, actor) in state.nodes.iter().enumerate() {
            steps(state, node, actor, actions);
            if state.faults < self.bounds.faults {
                actions.extend(faults(actor).into_iter().map(|fault| Action::Suffer { node, fault }));
            }
        }
        if state.changes < self.bounds.changes {
            let namespaces = 0..self.bounds.namespaces;
            actions.extend(namespaces.flat_map(|namespace| state.changes_of(namespace)).map(Action::Change));
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Publish { node, namespace, ids } => self.publish(&mut state, node, namespace, ids),
            Action::Look { node, shard } => self.look(&mut state, node, shard),
            Action::TakeGroup { node, ledger, count, remembers } => {
                self.take_group(&mut state, node, ledger, count, remembers);
            }
            Action::CarryOut { node, ledger } => {
                let State { nodes, database, .. } = &mut state;
                let hand = nodes[node].queues.get_mut(&ledger)?.hand.as_mut()?;
                hand.outcome = Some(database.append(&hand.call, self.mistake));
            }
            Action::CarryOutAbandoned { place } => {
                let call = state.abandoned.iter().nth(place)?.clone();
                state.abandoned.remove(&call);
                state.database.append(&call, self.mistake);
            }
            Action::Finish { node, ledger } => self.finish(&mut state, node, ledger, usize::MAX),
            Action::FindGone { node, namespace } => self.find_gone(&mut state, node, namespace),
            Action::Suffer { node, fault } => {
                state.faults += 1;
                self.suffer(&mut state, node, fault);
            }
            Action::Change(change) => {
                state.changes += 1;
                self.change(&mut state, change);
            }
        }
        self.forget_what_nobody_can_ask_for(&mut state);
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(&self.bounds)
    }
}

/// What a node may do next by itself.
fn steps(state: &State, node: usize, actor: &Node, actions: &mut Vec<Action>) {
    let shards = actor.mailboxes.iter().enumerate().filter(|(_, mailbox)| !mailbox.is_empty());
    actions.extend(shards.map(|(shard, _)| Action::Look { node, shard }));
    for (ledger, queue) in actor.queues.iter().map(|(ledger, queue)| (*ledger, queue)) {
        match &queue.hand {
            None => {
                let recent = queue.recent != [0; IDS];
                let remembers = [Some(false), recent.then_some(true)].into_iter().flatten();
                let take = |remembers| {
                    let counts = 1..=queue.requests.len();
                    counts.map(move |count| Action::TakeGroup { node, ledger, count, remembers })
                };
                actions.extend(remembers.flat_map(take));
            }
            Some(Hand { outcome: None, .. }) => actions.push(Action::CarryOut { node, ledger }),
            Some(Hand { outcome: Some(_), .. }) => actions.push(Action::Finish { node, ledger }),
        }
    }
    for (namespace, open) in actor.directory.iter().enumerate() {
        let ledger = open.and_then(|open| actor.opened[open].as_ref());
        if ledger.is_some_and(|ledger| !state.database.has(ledger.key)) {
            actions.push(Action::FindGone { node, namespace });
        }
    }
}

/// What may strike a node.
fn faults(actor: &Node) -> Vec<Fault> {
    let mut faults = vec![Fault::NodeCrash];
    for (shard, mailbox) in actor.mailboxes.iter().enumerate() {
        faults.extend((0..=mailbox.len().min(1)).map(|parts| Fault::ShardCrash { shard, parts }));
    }
    let hands = || actor.queues.iter().filter_map(|(ledger, queue)| Some((*ledger, queue.hand.as_ref()?)));
    faults.extend(hands().next().map(|_| Fault::WriterCrash { finishes: None }));
    for (ledger, hand) in hands() {
        faults.push(Fault::AnswerLost { ledger });
        if let Some(Outcome::Committed(_)) = hand.outcome {
            // After the last one it is a crash with nothing in hand.
            let steps = 1..hand.call.requests.len() + 2;
            faults.extend(steps.map(|steps| Fault::WriterCrash { finishes: Some((ledger, steps)) }));
        }
    }
    faults
}

impl State {
    /// Whether a request to this namespace is admitted: its ledger is open, or can be opened.
    fn has_ledger_for(&self, node: usize, namespace: usize) -> bool {
        self.nodes[node].directory[namespace].is_some() || self.database.namespaces[namespace].is_some()
    }

    /// What may be done to a namespace from outside.
    fn changes_of(&self, namespace: usize) -> Vec<Change> {
        let mut changes = Vec::new();
        let nodes = self.nodes.iter().enumerate();
        let closing = nodes
            .filter(|(no, node)| node.directory[namespace].is_some_and(|open| self.is_unused(*no, open)));
        changes.extend(closing.map(|(node, _)| Change::Close { node, namespace }));
        let number = self.database.namespaces[namespace];
        if namespace > 0 {
            changes.push(match number {
                Some(_) => Change::Delete { namespace },
                None => Change::Create { namespace },
            });
        }
        // What was deleted may be there again. The one created last was created after the copy was made.
        let last = (namespace > 0).then(|| self.database.ledgers.len() - 1).filter(|last| *last > 0);
        if let Some(number) = number.or(last) {
            let ledger = &self.database.ledgers[number];
            let commits = 0..ledger.commits.len() + usize::from(ledger.is_deleted);
            let commits = commits.map(Some).chain((Some(number) == last).then_some(None));
            changes.extend(commits.map(|commits| Change::Restore { namespace, number, commits }));
        }
        changes
    }

    /// Whether no request holds this ledger of a node, nor its writer a group.
    fn is_unused(&self, node: usize, open: usize) -> bool {
        let mut waiting = self.requests.iter().filter(|request| request.answer.is_none());
        let mut queues = self.nodes[node].queues.values().filter(|queue| queue.open == open);
        !waiting.any(|request| request.node == node && request.open == open)
            && queues.all(|queue| queue.hand.is_none() && queue.requests.is_empty())
    }
}

impl Protocol {
    fn change(&self, state: &mut State, change: Change) {
        match change {
            Change::Close { node, namespace } => self.close(state, node, namespace),
            Change::Create { namespace } => state.database.create_ledger(namespace),
            Change::Delete { namespace } => state.database.delete(namespace),
            Change::Restore { namespace, number, commits } => {
                let ledger =
                    LedgerKey { namespace_no: number, ledger_id: state.database.ledgers[number].ledger_id };
                let lost = state.database.restore(namespace, number, commits);
                state.forgive(ledger, &lost);
            }
        }
    }

    /// Objects that nobody has any more, and ids of epochs that are over, make no difference. Where no database is restored,
    /// neither do positions, nor recent ids: all that is known is stored.
    fn forget_what_nobody_can_ask_for(&self, state: &mut State) {
        for (no, node) in state.nodes.iter_mut().enumerate() {
            let waiting =
                || state.requests.iter().filter(|request| request.node == no && request.answer.is_none());
            let hands = || node.queues.values().flat_map(|queue| &queue.hand);
            let mut in_use: BTreeSet<usize> = node.directory.iter().flatten().copied().collect();
            in_use.extend(waiting().map(|request| request.open));
            in_use.extend(hands().map(|hand| hand.open));
            in_use.extend(node.queues.values().map(|queue| queue.open));
            let mut epochs: BTreeSet<usize> = waiting().map(|request| request.epoch).collect();
            epochs.extend(hands().map(|hand| hand.epoch));
            for (place, open) in node.opened.iter_mut().enumerate() {
                if !in_use.contains(&place) {
                    *open = None;
                }
                epochs.extend(open.iter().map(|open| open.epoch));
                if let Some(open) = open.as_mut().filter(|_| self.bounds.changes == 0) {
                    open.seen = Mark::default();
                }
            }
            for queue in node.queues.values_mut().filter(|_| self.bounds.changes == 0) {
                queue.recent = [0; IDS];
            }
            if self.mistake.is_none() {
                node.windows.iter_mut().for_each(|window| window.retain(|epoch, _| epochs.contains(epoch)));
            }
        }
    }
}

/// Walks through every state. Their number is exact, so that a step that is lost or added by accident is noticed.
fn search(bounds: Bounds, states: usize) {
    let protocol = Protocol { bounds, mistake: None };
    let checker = protocol.checker().threads(THREADS).spawn_dfs().join();
    checker.assert_properties();
    assert_eq!(checker.unique_state_count(), states);
}

#[test]
fn every_property_holds_in_every_state() {
    search(FAULTS, 496_727);
}

#[test]
fn every_property_holds_where_databases_are_restored_and_ledgers_opened_again() {
    search(RESTORES, 87_193);
    search(RESTORES_AND_FAULTS, 241_049);
}

#[test]
fn every_property_holds_where_namespaces_are_deleted_and_numbers_given_again() {
    search(TENANTS, 343_703);
    search(TENANTS_AND_FAULTS, 73_078);
}

#[test]
fn every_mistake_breaks_the_property_that_it_is_known_for() {
    for (mistake, bounds, property) in MISTAKES {
        let found = HasDiscoveries::AnyOf(BTreeSet::from([property]));
        let protocol = Protocol { bounds, mistake: Some(mistake) };
        let checker = protocol.checker().threads(THREADS).finish_when(found).spawn_dfs().join();
        assert!(checker.discovery(property).is_some(), "{mistake:?} does not break \"{property}\"");
    }
}

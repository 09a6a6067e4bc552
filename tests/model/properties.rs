//! What must hold in every state, and what must come about in some, lest the search prove nothing.

use stateright::Property;

use super::{
    Bounds, IDS, NODES, Protocol, State,
    actors::Hand,
    database::{Call, Commit, Event, Group, Ledger, LedgerKey, Outcome},
};

type Condition = fn(&Protocol, &State) -> bool;
type ToProperty = fn(&'static str, Condition) -> Property<Protocol>;

/// The properties that a search of these bounds must show.
pub fn all(bounds: &Bounds) -> Vec<Property<Protocol>> {
    let (always, sometimes): (ToProperty, ToProperty) = (Property::always, Property::sometimes);
    let mut properties = vec![
        always("acknowledged means stored, just as the answer says", |_, state| {
            let answered =
                state.requests.iter().filter_map(|request| Some((request, request.answer.as_ref()?)));
            let mut told =
                answered.flat_map(|(request, answer)| answer.iter().map(|event| (request.ledger, event)));
            told.all(|(key, event)| state.ledger(key).is_some_and(|ledger| is_true(ledger, event)))
        }),
        always("each commit tells the truth", |_, state| {
            let told =
                |ledger: &Ledger| ledger.commits.iter().flat_map(|commit| commit.outcomes.clone()).collect();
            state.database.ledgers.iter().all(|ledger| {
                let told: Vec<Event> = told(ledger);
                told.iter().all(|event| is_true(ledger, event))
            })
        }),
        always("each id is stored once", |_, state| {
            let is_one = |ledger: &Ledger, event: &Event| ledger.seq(event.id) == Some(event.seq);
            let mut ledgers = state.database.ledgers.iter();
            ledgers.all(|ledger| ledger.events.iter().all(|event| is_one(ledger, event)))
        }),
        always("seq has no gap", |_, state| {
            let mut ledgers = state.database.ledgers.iter();
            ledgers.all(|ledger| ledger.events.iter().map(|event| event.seq).eq(1..=ledger.totals().unique))
        }),
        always("received = unique + duplicate", |_, state| {
            let is_sum = |Commit { received, unique, duplicates, .. }| received == unique + duplicates;
            state.database.ledgers.iter().all(|ledger| is_sum(ledger.totals()))
        }),
        always("each committed request is counted once", |_, state| {
            let ledgers = state.database.ledgers.iter();
            let counted = ledgers.flat_map(|ledger| &ledger.commits).flat_map(|commit| &commit.outcomes);
            let events_of = |no| counted.clone().filter(|event| event.request == no).count();
            let mut requests = state.requests.iter().enumerate();
            requests.all(|(no, request)| [0, request.ids.len()].contains(&events_of(no)))
                && state.database.ledgers.iter().map(|ledger| ledger.totals().received).sum::<usize>()
                    == counted.clone().count()
        }),
        always("a request is stored whole or not at all", |_, state| {
            state.database.ledgers.iter().all(|ledger| {
                let mut ids = ledger.events.iter().flat_map(|event| state.requests[event.request].ids);
                ids.all(|id| ledger.seq(*id).is_some())
            })
        }),
        always("the new events of a request are consecutive, in its order", |_, state| {
            let of_request = |ledger: &Ledger, no| {
                let own = ledger.events.iter().filter(|event| event.request == no);
                let mut pairs = own.clone().zip(own.skip(1));
                pairs.all(|(one, next)| one.seq + 1 == next.seq && one.id < next.id)
            };
            let requests = || 0..state.requests.len();
            state.database.ledgers.iter().all(|ledger| requests().all(|no| of_request(ledger, no)))
        }),
        always("a request is in no ledger but its own", |_, state| {
            let is_own = |ledger: &Ledger, event: &Event| {
                state.requests[event.request].ledger.ledger_id == ledger.ledger_id
            };
            state.database.ledgers.iter().all(|ledger| {
                let mut outcomes = ledger.commits.iter().flat_map(|commit| &commit.outcomes);
                outcomes.all(|event| is_own(ledger, event))
                    && ledger.events.iter().all(|event| is_own(ledger, event))
            })
        }),
        always("no group that is waited for is overtaken", |_, state| {
            state.hands().all(|hand| hand.outcome != Some(Outcome::Overtaken))
        }),
        always("who waits is in somebody's hands", |_, state| {
            let mut requests = state.requests.iter().enumerate();
            requests.all(|(no, request)| request.answer.is_some() || state.nodes[request.node].holds(no))
        }),
    ];
    let of_faults = [
        sometimes("both nodes store", |_, state| {
            let node_of = |event: &Event| state.requests[event.request].node;
            let mut ledgers = state.database.ledgers.iter();
            ledgers.any(|ledger| ledger.events.windows(2).any(|two| node_of(&two[0]) != node_of(&two[1])))
        }),
        sometimes("a repeat is in one group with its original", |_, state| {
            let unknown =
                |call: &Call, id| call.events.iter().filter(|event| (event.id, event.seq) == (id, 0)).count();
            state.hands().any(|hand| (0..IDS).any(|id| unknown(&hand.call, id) > 1))
        }),
        sometimes("a lost answer is asked for again", |_, state| {
            let mut asked = state.hands().filter(|hand| hand.outcome.is_none());
            asked.any(|hand| state.commits().any(|commit| commit.mark.group == hand.call.group))
        }),
        sometimes("an abandoned call is overtaken", |_, state| {
            let is_later = |commit: &Commit, group: Group| {
                commit.mark.group.writer == group.writer && commit.mark.group.no > group.no
            };
            let mut late = state.abandoned.iter().map(|call| call.group);
            late.any(|group| state.commits().any(|commit| is_later(commit, group)))
        }),
        sometimes("the store knows what the node has forgotten", |_, state| {
            let own = |event: &Event| state.requests[event.request].node;
            let mut repeats = state.commits().flat_map(|commit| {
                let events = commit.outcomes.iter().filter(|event| !event.is_new);
                events.map(|event| (commit.mark.group.writer % NODES, event))
            });
            repeats.any(|(node, event)| {
                let ledgers = state.database.ledgers.iter();
                let mut originals = ledgers.flat_map(|ledger| &ledger.events);
                originals.any(|original| original.id == event.id && own(original) == node)
            })
        }),
    ];
    let of_restores = [
        sometimes("a restored database is found", |_, state| {
            state.hands().any(|hand| matches!(hand.outcome, Some(Outcome::Restored(_))))
        }),
        sometimes("a restored ledger has grown as long as it was", |_, state| {
            state.hands().any(|hand| match hand.outcome {
                Some(Outcome::Restored(found)) => found.commit_no >= hand.call.seen.commit_no,
                _ => false,
            })
        }),
    ];
    let of_tenants = [
        sometimes("a group meets a ledger that is gone", |_, state| {
            state.hands().any(|hand| hand.outcome == Some(Outcome::Gone))
        }),
        sometimes("a group meets another ledger of its number, which has events", |_, state| {
            state.hands().any(|hand| {
                let ledger = state.database.ledgers.get(hand.call.ledger.namespace_no);
                ledger.is_some_and(|ledger| {
                    ledger.ledger_id != hand.call.ledger.ledger_id && !ledger.events.is_empty()
                })
            })
        }),
        sometimes("two ledgers have the same id", |_, state| {
            let with_id = state.database.ledgers.iter().filter(|ledger| ledger.seq(0).is_some());
            with_id.count() > 1
        }),
        sometimes("a ledger that was deleted is there again, and open a second time", |_, state| {
            state.nodes.iter().any(|node| {
                let mut opened = node.opened.iter().flatten().map(|ledger| ledger.key);
                let first = opened.next();
                opened.any(|key| Some(key) == first)
            })
        }),
    ];
    properties.extend(of_faults.into_iter().filter(|_| bounds.faults > 1));
    properties.extend(of_restores.into_iter().filter(|_| bounds.changes > 0 && bounds.namespaces == 1));
    properties.extend(of_tenants.into_iter().filter(|_| bounds.namespaces > 1));
    properties
}

/// Whether this is stored, as the outcome says.
fn is_true(ledger: &Ledger, outcome: &Event) -> bool {
    ledger.seq(outcome.id) == Some(outcome.seq) && outcome.is_new == ledger.events.contains(outcome)
}

impl State {
    fn ledger(&self, key: LedgerKey) -> Option<&Ledger> {
        let ledger = self.database.ledgers.get(key.namespace_no)?;
        Some(ledger).filter(|ledger| ledger.ledger_id == key.ledger_id)
    }

    fn hands(&self) -> impl Iterator<Item = &Hand> {
        self.nodes.iter().flat_map(|node| node.queues.values()).filter_map(|queue| queue.hand.as_ref())
    }

    fn commits(&self) -> impl Iterator<Item = &Commit> {
        self.database.ledgers.iter().flat_map(|ledger| &ledger.commits)
    }
}

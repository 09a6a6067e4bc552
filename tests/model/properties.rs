//! What must hold in every state, and what must come about in some, lest the search prove nothing.

use stateright::Property;

use super::{
    IDS, Protocol, State,
    ledger::{Call, Commit, Event},
};

type ToProperty = fn(&'static str, fn(&Protocol, &State) -> bool) -> Property<Protocol>;

pub fn all() -> Vec<Property<Protocol>> {
    let (always, sometimes): (ToProperty, ToProperty) = (Property::always, Property::sometimes);
    vec![
        always("acknowledged means stored, just as the answer says", |_, state| {
            let mut told = state.requests.iter().flat_map(|request| request.answer.iter().flatten());
            let is_stored = |event: &Event| state.ledger.seq(event.id) == Some(event.seq);
            told.all(|event| is_stored(event) && event.is_new == state.ledger.events.contains(event))
        }),
        always("each id is stored once", |_, state| {
            state.ledger.events.iter().all(|event| state.ledger.seq(event.id) == Some(event.seq))
        }),
        always("seq has no gap", |_, state| {
            state.ledger.events.iter().map(|event| event.seq).eq(1..=state.ledger.totals().unique)
        }),
        always("received = unique + duplicate", |_, state| {
            let Commit { received, unique, duplicates, .. } = state.ledger.totals();
            received == unique + duplicates
        }),
        always("each committed request is counted once", |_, state| {
            let counted = state.ledger.commits.iter().flat_map(|commit| &commit.outcomes);
            let events_of = |no| counted.clone().filter(|event| event.request == no).count();
            let mut requests = state.requests.iter().enumerate();
            requests.all(|(no, request)| [0, request.ids.len()].contains(&events_of(no)))
                && state.ledger.totals().received == counted.clone().count()
        }),
        always("a request is stored whole or not at all", |_, state| {
            let mut ids = state.ledger.events.iter().flat_map(|event| state.requests[event.request].ids);
            ids.all(|id| state.ledger.seq(*id).is_some())
        }),
        always("the new events of a request are consecutive, in its order", |_, state| {
            (0..state.requests.len()).all(|no| {
                let own = state.ledger.events.iter().filter(|event| event.request == no);
                let mut pairs = own.clone().zip(own.skip(1));
                pairs.all(|(one, next)| one.seq + 1 == next.seq && one.id < next.id)
            })
        }),
        always("who waits is in somebody's hands", |_, state| {
            let mut requests = state.requests.iter().enumerate();
            requests.all(|(no, request)| request.answer.is_some() || state.nodes[request.node].holds(no))
        }),
        sometimes("both nodes store", |_, state| {
            let node_of = |event: &Event| state.requests[event.request].node;
            state.ledger.events.windows(2).any(|two| node_of(&two[0]) != node_of(&two[1]))
        }),
        sometimes("a repeat is in one group with its original", |_, state| {
            let mut calls = state.nodes.iter().flat_map(|node| &node.hand).map(|(call, _)| call);
            let unknown =
                |call: &Call, id| call.events.iter().filter(|event| (event.id, event.seq) == (id, 0)).count();
            calls.any(|call| (0..IDS).any(|id| unknown(call, id) > 1))
        }),
        sometimes("a lost answer is asked for again", |_, state| {
            let mut asked =
                state.nodes.iter().flat_map(|node| &node.hand).filter(|(_, answer)| answer.is_none());
            asked.any(|(call, _)| state.ledger.commits.iter().any(|commit| commit.group == call.group))
        }),
        sometimes("an abandoned call is overtaken", |_, state| {
            let newest = |writer| state.ledger.commits.iter().rfind(|commit| commit.group.writer == writer);
            let mut late = state.abandoned.iter().map(|call| call.group);
            late.any(|group| newest(group.writer).is_some_and(|commit| commit.group.no > group.no))
        }),
    ]
}

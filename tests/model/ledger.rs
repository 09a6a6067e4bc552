//! The store: events and commits, and the append that writes both in one transaction.

use super::Mistake;

pub type Id = usize;
/// The place of a request among all that were ever sent.
pub type RequestNo = usize;
/// The number of a stored event, from 1; 0 stands for none.
pub type Seq = usize;

/// An event, on its way to the store and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Event {
    pub request: RequestNo,
    pub id: Id,
    /// Of the stored copy, if that is known.
    pub seq: Seq,
    /// Whether it is the stored copy itself. The answer for it is `stored` then, and otherwise `duplicate`.
    pub is_new: bool,
}

/// What the ledger knows a group by: its writer, and that writer's rising number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group {
    pub writer: usize,
    pub no: usize,
}

/// A call of `append`: the events of whole requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Call {
    pub group: Group,
    pub requests: Vec<RequestNo>,
    pub events: Vec<Event>,
}

/// A row of the ledger: running totals, and the answer for whoever sends the same group again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Commit {
    pub group: Group,
    pub outcomes: Vec<Event>,
    pub received: usize,
    pub unique: usize,
    pub duplicates: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ledger {
    pub events: Vec<Event>,
    pub commits: Vec<Commit>,
}

impl Ledger {
    pub fn totals(&self) -> Commit {
        self.commits.last().cloned().unwrap_or_default()
    }

    pub fn seq(&self, id: Id) -> Option<Seq> {
        self.events.iter().find(|event| event.id == id).map(|event| event.seq)
    }

    /// One transaction under the ledger's lock. A group that is stored already gets its recorded answer.
    /// `None`: a later group of this writer is stored, so nobody waits for this one, and nothing is done.
    pub fn append(&mut self, call: &Call, mistake: Option<Mistake>) -> Option<Commit> {
        let own = self.commits.iter().filter(|commit| commit.group.writer == call.group.writer);
        match own.max_by_key(|commit| commit.group.no) {
            Some(newest) if newest.group.no > call.group.no => return None,
            Some(newest) if newest.group == call.group => return Some(newest.clone()),
            _ => {}
        }
        let mut commit = Commit { group: call.group, outcomes: Vec::new(), ..self.totals() };
        for event in &call.events {
            // The unique key is the judge of all that the node does not know.
            let copy = if event.seq > 0 { Some(event.seq) } else { self.seq(event.id) };
            let event = Event { seq: copy.unwrap_or(commit.unique + 1), is_new: copy.is_none(), ..*event };
            commit.outcomes.push(event);
            commit.duplicates += usize::from(!event.is_new);
            commit.unique += usize::from(event.is_new);
            self.events.extend(event.is_new.then_some(event));
            if mistake == Some(Mistake::PartWithoutItsSiblings) && event.is_new && call.events.len() > 1 {
                return None;
            }
        }
        if mistake != Some(Mistake::CountOutsideTheTransaction) {
            commit.received += call.events.len();
        }
        self.commits.push(commit.clone());
        Some(commit)
    }
}

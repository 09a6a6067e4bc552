//! The store: ledgers of namespaces, the append that writes to one of them in one transaction, and what others do to the
//! database.

use super::{Mistake, NAMESPACES};

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

/// What tells ledgers apart: a restored database gives numbers again, and ids never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LedgerKey {
    pub namespace_no: usize,
    pub ledger_id: usize,
}

/// What the ledger knows a group by: its writer, and that writer's rising number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group {
    pub writer: usize,
    pub no: usize,
}

/// A commit, and with it the ledger up to there. Number 0 stands for the empty ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark {
    pub commit_no: usize,
    pub group: Group,
}

/// A call of `append`: the events of whole requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Call {
    pub ledger: LedgerKey,
    pub group: Group,
    /// The newest commit that the caller has seen.
    pub seen: Mark,
    pub requests: Vec<RequestNo>,
    pub events: Vec<Event>,
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    Committed(Commit),
    /// A later group of this writer is stored, so nobody waits for this one.
    Overtaken,
    /// The ledger, which ends here, lacks what the caller has seen.
    Restored(Mark),
    /// The number belongs to another ledger, or to none.
    Gone,
}

/// A row of the ledger: running totals, and the answer for whoever sends the same group again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Commit {
    pub mark: Mark,
    pub outcomes: Vec<Event>,
    pub received: usize,
    pub unique: usize,
    pub duplicates: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ledger {
    pub ledger_id: usize,
    /// Its row is deleted, and with it the name of its namespace.
    pub is_deleted: bool,
    pub events: Vec<Event>,
    pub commits: Vec<Commit>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Database {
    /// By number. The highest number is the counter.
    pub ledgers: Vec<Ledger>,
    /// The number of each namespace that exists. The first one always does.
    pub namespaces: [Option<usize>; NAMESPACES],
    /// Ids so far; none is given twice, whatever becomes of the database.
    ids: usize,
}

impl Ledger {
    pub fn totals(&self) -> Commit {
        self.commits.last().cloned().unwrap_or_default()
    }

    pub fn seq(&self, id: Id) -> Option<Seq> {
        self.events.iter().find(|event| event.id == id).map(|event| event.seq)
    }

    /// Whether it lacks the commit that a caller has seen.
    fn lacks(&self, seen: Mark, mistake: Option<Mistake>) -> bool {
        let is_seen = |commit: &Commit| match mistake {
            Some(Mistake::KnowCommitsByNumberAlone) => commit.mark.commit_no == seen.commit_no,
            _ => commit.mark == seen,
        };
        let asks = seen.commit_no > 0 && mistake != Some(Mistake::AppendWhateverWasSeen);
        asks && !self.commits.iter().any(is_seen)
    }
}

impl Database {
    /// A database with so many namespaces.
    pub fn create(namespaces: usize) -> Self {
        let mut database = Self::default();
        (0..namespaces).for_each(|namespace| database.create_ledger(namespace));
        database
    }

    /// Creates the ledger of a namespace, under the number that follows on the last one that was given.
    pub fn create_ledger(&mut self, namespace: usize) {
        self.namespaces[namespace] = Some(self.ledgers.len());
        self.ids += 1;
        self.ledgers.push(Ledger { ledger_id: self.ids, ..Ledger::default() });
    }

    /// Takes the name of a namespace, and its ledger.
    pub fn delete(&mut self, namespace: usize) {
        let number = self.namespaces[namespace].take();
        number.into_iter().for_each(|number| self.ledgers[number].is_deleted = true);
    }

    /// The ledger of a namespace, and where it ends.
    pub fn find(&self, namespace: usize) -> Option<(LedgerKey, Mark)> {
        let namespace_no = self.namespaces[namespace]?;
        let ledger = &self.ledgers[namespace_no];
        Some((LedgerKey { namespace_no, ledger_id: ledger.ledger_id }, ledger.totals().mark))
    }

    pub fn has(&self, key: LedgerKey) -> bool {
        let ledger = self.ledgers.get(key.namespace_no);
        ledger.is_some_and(|ledger| ledger.ledger_id == key.ledger_id && !ledger.is_deleted)
    }

    /// Makes a ledger what it was after so many commits; `None`: before it was created. What it lost is returned.
    pub fn restore(&mut self, namespace: usize, number: usize, commits: Option<usize>) -> Vec<Commit> {
        let Some(commits) = commits else {
            self.namespaces[namespace] = None;
            return self.ledgers.pop().map(|ledger| ledger.commits).unwrap_or_default();
        };
        self.namespaces[namespace] = Some(number);
        let ledger = &mut self.ledgers[number];
        ledger.is_deleted = false;
        let lost = ledger.commits.split_off(commits);
        ledger.events.truncate(ledger.totals().unique);
        lost
    }

    /// The number of a ledger that is there.
    fn number_of(&self, key: LedgerKey, mistake: Option<Mistake>) -> Option<usize> {
        let number = key.namespace_no;
        match mistake {
            _ if self.has(key) => Some(number),
            Some(Mistake::KnowLedgersByNumberAlone) => {
                self.ledgers.get(number).filter(|ledger| !ledger.is_deleted).map(|_| number)
            }
            Some(Mistake::SendOnToTheNextLedger) => self.namespaces[number.min(1)],
            _ => None,
        }
    }

    /// One transaction under the ledger's lock. A group that is stored already gets its recorded answer.
    pub fn append(&mut self, call: &Call, mistake: Option<Mistake>) -> Outcome {
        let Some(number) = self.number_of(call.ledger, mistake) else { return Outcome::Gone };
        // What the unique key has of other ledgers, if it leaves their numbers out.
        let shares_key = mistake == Some(Mistake::ShareOneUniqueKey);
        let others = self.ledgers.iter().filter(|_| shares_key).flat_map(|ledger| ledger.events.clone());
        let others: Vec<Event> = others.collect();
        let ledger = &mut self.ledgers[number];
        let own = ledger.commits.iter().filter(|commit| commit.mark.group.writer == call.group.writer);
        match own.max_by_key(|commit| commit.mark.group.no) {
            Some(newest) if newest.mark.group.no > call.group.no => return Outcome::Overtaken,
            Some(newest) if newest.mark.group == call.group => return Outcome::Committed(newest.clone()),
            _ => {}
        }
        if ledger.lacks(call.seen, mistake) {
            return Outcome::Restored(ledger.totals().mark);
        }
        let mark = Mark { commit_no: ledger.commits.len() + 1, group: call.group };
        let mut commit = Commit { mark, outcomes: Vec::new(), ..ledger.totals() };
        for event in &call.events {
            // The unique key is the judge of all that the node does not know.
            let elsewhere = || others.iter().find(|other| other.id == event.id).map(|other| other.seq);
            let judged = || ledger.seq(event.id).or_else(elsewhere);
            let copy = if event.seq > 0 { Some(event.seq) } else { judged() };
            let event = Event { seq: copy.unwrap_or(commit.unique + 1), is_new: copy.is_none(), ..*event };
            commit.outcomes.push(event);
            commit.duplicates += usize::from(!event.is_new);
            commit.unique += usize::from(event.is_new);
            ledger.events.extend(event.is_new.then_some(event));
            if mistake == Some(Mistake::CommitPartByPart) && event.is_new && call.events.len() > 1 {
                return Outcome::Overtaken;
            }
        }
        if mistake != Some(Mistake::CountOutsideTheTransaction) {
            commit.received += call.events.len();
        }
        ledger.commits.push(commit.clone());
        Outcome::Committed(commit)
    }
}

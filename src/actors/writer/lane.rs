//! A lane: ledgers whose groups are committed one transaction at a time.
//!
//! On Postgres each ledger has a lane of its own, so that ledgers do not wait for each other. On SQLite, which has one
//! writer, all ledgers share one lane, and a transaction holds a group of each that has one.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    commit::JobDone,
    pace::{EndedGroup, Pace},
    quarantine::Quarantine,
    queue::{LedgerQueue, NextGroup, Size, answer_all},
};
use crate::{
    actors::request::{PublishError, PublishRequest},
    ledger::OpenLedger,
    store::LedgerKey,
};

type Requests = Vec<Arc<PublishRequest>>;

/// Where the last so many groups were all of different ledgers, many ledgers have little to commit each.
const SPARSE_GROUPS: usize = 8;
/// Then a transaction gathers for so long after the last one: else each event would cost a flush of the disk.
const GATHER_TIME: Duration = Duration::from_millis(6);

/// Steps in which the limit of a transaction rises from nothing to its full value.
const SIZE_STEPS: usize = 32;

/// The largest transaction that is made of several requests.
#[derive(Clone, Copy, Debug)]
pub(in crate::actors) struct GroupLimits {
    pub(in crate::actors) events: usize,
    pub(in crate::actors) bytes: usize,
    /// Groups, each of another ledger.
    pub(in crate::actors) groups: usize,
    /// Topics that a ledger may have.
    pub(in crate::actors) topics: u32,
}

/// A request of more than this part of a transaction is a large one.
const LARGE_PART: usize = 8;

impl GroupLimits {
    fn is_large(&self, request: &PublishRequest) -> bool {
        request.events.len() > self.events / LARGE_PART || request.event_bytes > self.bytes / LARGE_PART
    }
}

pub(in crate::actors) struct Lane {
    ledgers: HashMap<LedgerKey, LedgerQueue>,
    /// Ledgers with something to commit, in turn.
    ready: VecDeque<LedgerKey>,
    pub(in crate::actors) pace: Pace,
    /// The ledgers of the last groups.
    last_ledgers: VecDeque<LedgerKey>,
    pub(in crate::actors) quarantine: Quarantine,
    /// Whether a transaction is under way.
    pub(in crate::actors) is_committing: bool,
    /// Requests that wait in the queues, and their size.
    queued: usize,
    size: Size,
    limits: GroupLimits,
    /// Events that a transaction may have now. It is halved after one that the store did not take in time, and rises by
    /// a step with each that reached it and was taken.
    events_max: usize,
    /// Whether the last transaction reached the limit.
    reached: bool,
}

impl Lane {
    pub(in crate::actors) fn new(limits: GroupLimits) -> Self {
        Self {
            ledgers: HashMap::new(),
            ready: VecDeque::new(),
            pace: Pace::default(),
            last_ledgers: VecDeque::with_capacity(SPARSE_GROUPS),
            quarantine: Quarantine::default(),
            is_committing: false,
            queued: 0,
            size: Size::default(),
            limits,
            events_max: limits.events,
            reached: false,
        }
    }

    pub(in crate::actors) fn push(&mut self, request: Arc<PublishRequest>) {
        self.queued += 1;
        self.size = self.size.with(&request);
        let is_large = self.limits.is_large(&request);
        let queue = self.open(&request.ledger);
        queue.push(request, is_large);
        let key = queue.ledger.key();
        self.note_ready(key);
    }

    fn open(&mut self, ledger: &Arc<OpenLedger>) -> &mut LedgerQueue {
        self.ledgers.entry(ledger.key()).or_insert_with(|| LedgerQueue::new(Arc::clone(ledger)))
    }

    /// The queue of a ledger whose group is under way.
    pub(in crate::actors) fn ledger(&mut self, key: LedgerKey) -> Option<&mut LedgerQueue> {
        self.ledgers.get_mut(&key)
    }

    /// Forgets a ledger that is gone; returns its requests: those of the queue, and those that were tried before.
    pub(in crate::actors) fn take_ledger(&mut self, key: LedgerKey) -> (Requests, Requests) {
        let Some(mut queue) = self.ledgers.remove(&key) else { return Default::default() };
        self.ready.retain(|ready| *ready != key);
        let queued = queue.take_queue();
        self.queued -= queued.len();
        self.size = self.size.less(Size::of(&queued));
        (queued, queue.take_tried())
    }

    /// Requests that were taken from the queues and are not answered.
    pub(in crate::actors) fn requests_in_hand(&mut self) -> usize {
        self.ledgers.values().map(LedgerQueue::requests_in_hand).sum()
    }

    /// The writer starts again: what was in hand went with the last one. A crash that ended a transaction makes its
    /// requests suspects; a handler that panicked while one was under way had nothing to do with it.
    pub(in crate::actors) fn start_again(&mut self, now: Instant) {
        let was_committing = std::mem::take(&mut self.is_committing);
        let mut in_hand: Requests = Vec::new();
        for queue in self.ledgers.values_mut() {
            in_hand.append(&mut queue.in_hand);
            queue.refused = None;
            queue.recent.forget();
        }
        if !was_committing {
            let digests: Vec<_> = in_hand.iter().map(|request| &request.digests[..]).collect();
            self.quarantine.note_crash(&digests, now);
        }
        self.pace.stop_waiting();
    }

    /// An empty group, where the writer has to show that it commits anything else than what it crashed with.
    pub(in crate::actors) fn group_that_proves(&self) -> Option<(LedgerKey, NextGroup)> {
        let key = self.ledgers.keys().next().filter(|_| self.quarantine.wants_proof())?;
        Some((*key, NextGroup { requests: Vec::new(), is_retry: true, is_alone: true }))
    }

    /// How long to wait for the clients of these groups, which are answered next; `None` where it does not pay, or
    /// where one of the groups was not committed.
    pub(in crate::actors) fn pace_after(&mut self, done: &[JobDone]) -> Option<Duration> {
        let committed: Vec<_> = done.iter().filter_map(|done| done.result.as_ref().ok()).collect();
        if committed.len() < done.len() {
            return None;
        }
        self.note_taken();
        done.iter().for_each(|done| self.note_ledger(done.job.ledger.key()));
        if self.is_sparse() {
            return Some(self.pace.gather(GATHER_TIME, Instant::now()));
        }
        let ended = EndedGroup {
            requests: done.iter().map(|done| done.job.group.requests().len()).sum(),
            events: done.iter().map(|done| done.job.group.events()).sum(),
            commit_time: committed.first()?.committed.latency,
            queued: self.queued,
        };
        self.pace.group_ended(&ended, Instant::now())
    }

    /// Has the ledger take its turn, if it has something to commit.
    pub(in crate::actors) fn note_ready(&mut self, key: LedgerKey) {
        let Some(queue) = self.ledgers.get_mut(&key) else { return };
        if !queue.has_work() || std::mem::replace(&mut queue.is_in_line, true) {
            return;
        }
        // What failed is tried before anything else.
        if queue.has_first() {
            self.ready.push_front(key);
        } else {
            self.ready.push_back(key);
        }
    }

    /// Whether the queues hold a transaction that cannot grow any more.
    fn is_full(&self) -> bool {
        let limit = self.limit();
        self.size.events >= limit.events || self.size.bytes >= limit.bytes
    }

    /// Whether a transaction may begin now.
    pub(in crate::actors) fn may_start(&mut self, now: Instant) -> bool {
        if self.is_committing {
            return false;
        }
        let waits_for_nobody = self.quarantine.wants_proof()
            || self.ready.front().is_some_and(|key| self.ledgers[key].has_first());
        waits_for_nobody || self.pace.lets_start(self.queued, self.is_full(), now)
    }

    /// Takes the groups of the next transaction, each with its ledger, in turn. A ledger whose group does not fit into
    /// what the others have left is the first one next time.
    pub(in crate::actors) fn next_groups(&mut self, now: Instant) -> Vec<(LedgerKey, NextGroup)> {
        self.reached = false;
        let mut left = self.limit();
        let mut groups: Vec<(LedgerKey, NextGroup)> = Vec::new();
        let mut put_off: Vec<LedgerKey> = Vec::new();
        for _ in 0..self.ready.len() {
            let Some(key) = self.ready.pop_front() else { break };
            let Some(queue) = self.ledgers.get_mut(&key) else { continue };
            let isolates = |request: &PublishRequest| self.quarantine.isolates(&request.digests, now);
            let group = queue.next_group(left, groups.is_empty(), isolates);
            queue.is_in_line = queue.has_work();
            if queue.is_in_line {
                self.reached = true;
                if group.is_some() { self.ready.push_back(key) } else { put_off.push(key) }
            }
            let Some(group) = group else { continue };
            let size = Size::of(&group.requests);
            left = left.less(size);
            if !group.is_retry {
                self.queued -= group.requests.len();
                self.size = self.size.less(size);
            }
            let is_last = group.is_alone || groups.len() + 1 == self.limits.groups || left.events == 0;
            groups.push((key, group));
            if is_last {
                break;
            }
        }
        put_off.into_iter().rev().for_each(|key| self.ready.push_front(key));
        groups
    }

    /// Answers those who have waited so long that the store is unavailable; returns how many.
    pub(in crate::actors) fn answer_the_impatient(&mut self, patience: Duration) -> usize {
        let impatient: Vec<_> =
            self.ledgers.values_mut().flat_map(|queue| queue.take_impatient(patience)).collect();
        answer_all(&impatient, &PublishError::StoreUnavailable);
        self.queued -= impatient.len();
        self.size = self.size.less(Size::of(&impatient));
        impatient.len()
    }

    fn note_ledger(&mut self, key: LedgerKey) {
        if self.last_ledgers.len() == SPARSE_GROUPS {
            self.last_ledgers.pop_front();
        }
        self.last_ledgers.push_back(key);
    }

    /// Whether many ledgers share the lane, and none of them has much to commit.
    fn is_sparse(&self) -> bool {
        let mut last = self.last_ledgers.iter().enumerate();
        self.last_ledgers.len() == SPARSE_GROUPS
            && last.all(|(place, key)| self.last_ledgers.iter().skip(place + 1).all(|other| other != key))
    }

    /// The limit in bytes shrinks with the one in events.
    fn limit(&self) -> Size {
        let bytes = self.limits.bytes / self.limits.events.div_ceil(self.events_max);
        Size { events: self.events_max, bytes }
    }

    /// The last transaction was taken by the store.
    fn note_taken(&mut self) {
        if self.reached {
            let step = self.limits.events.div_ceil(SIZE_STEPS);
            self.events_max = self.limits.events.min(self.events_max + step);
        }
    }

    /// A transaction of so many events was not taken in time. One without any, which probes the store, tells nothing of
    /// sizes.
    pub(in crate::actors) fn note_not_taken(&mut self, events: usize) {
        if events > 0 {
            self.events_max = self.events_max.min(events.div_ceil(2));
        }
    }

    /// Forgets ledgers that were not used for so long and have nothing to commit; true if the lane has none any more.
    pub(in crate::actors) fn close_idle(&mut self, age: Duration) -> bool {
        let is_committing = self.is_committing;
        let keeps = self.quarantine.is_in_use();
        self.ledgers
            .retain(|_, queue| is_committing || keeps || queue.is_in_line || queue.used_at.elapsed() < age);
        self.ledgers.is_empty()
    }
}

#[cfg(test)]
mod tests;

//! The requests of one ledger that wait for its writer, and what the writer knows of the ledger.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    blame::RefusedGroup,
    commit::{GroupId, Job},
    group::Group,
    recent::RecentIds,
    waiting::WaitingRequests,
};
use crate::{
    actors::request::{PublishError, PublishRequest},
    ledger::OpenLedger,
};

/// One ledger, to its writer. Admission bounds the requests.
pub(in crate::actors) struct LedgerQueue {
    pub(in crate::actors) ledger: Arc<OpenLedger>,
    queue: WaitingRequests,
    /// Groups that are tried before the queue: parts of one that failed.
    first: VecDeque<Vec<Arc<PublishRequest>>>,
    pub(in crate::actors) recent: RecentIds,
    /// The last group, which the store refused, until an empty one tells whose failure it was.
    pub(in crate::actors) refused: Option<RefusedGroup>,
    /// The requests of the group that is being committed, answered and forgotten.
    pub(in crate::actors) in_hand: Vec<Arc<PublishRequest>>,
    pub(in crate::actors) used_at: Instant,
    /// Whether it stands in line for its turn.
    pub(in crate::actors) is_in_line: bool,
}

/// Requests of one ledger for one group; none makes a group that only proves that the store takes writes.
pub(in crate::actors) struct NextGroup {
    pub(in crate::actors) requests: Vec<Arc<PublishRequest>>,
    /// Whether they were tried before, and so have left the queue before.
    pub(in crate::actors) is_retry: bool,
    /// Whether no other group may stand in the transaction.
    pub(in crate::actors) is_alone: bool,
}

impl LedgerQueue {
    pub(in crate::actors) fn new(ledger: Arc<OpenLedger>) -> Self {
        Self {
            ledger,
            queue: WaitingRequests::default(),
            first: VecDeque::new(),
            recent: RecentIds::default(),
            refused: None,
            in_hand: Vec::new(),
            used_at: Instant::now(),
            is_in_line: false,
        }
    }

    /// Queues a request. Its ledger may have been opened again since the last one: what is remembered was seen of the other
    /// opening, whose position does not count any more.
    pub(in crate::actors) fn push(&mut self, request: Arc<PublishRequest>, is_large: bool) {
        if !Arc::ptr_eq(&self.ledger, &request.ledger) {
            self.ledger = Arc::clone(&request.ledger);
            self.recent.forget();
        }
        self.used_at = Instant::now();
        self.queue.push(request, is_large);
    }

    /// Puts requests in front, to be a group of their own.
    pub(in crate::actors) fn retry_first(&mut self, requests: Vec<Arc<PublishRequest>>) {
        if !requests.is_empty() {
            self.first.push_front(requests);
        }
    }

    /// Takes everything that waits in the queue.
    pub(in crate::actors) fn take_queue(&mut self) -> Vec<Arc<PublishRequest>> {
        self.queue.take(|_| true)
    }

    /// Takes everything that was tried before.
    pub(in crate::actors) fn take_tried(&mut self) -> Vec<Arc<PublishRequest>> {
        let refused = self.refused.take().map(|refused| refused.requests).unwrap_or_default();
        refused.into_iter().chain(self.first.drain(..).flatten()).collect()
    }

    /// Requests that were taken from the queue and are not answered.
    pub(in crate::actors) fn requests_in_hand(&self) -> usize {
        self.in_hand.len() + self.refused.as_ref().map_or(0, |refused| refused.requests.len())
    }

    /// Whether a group is to be tried before the queue.
    pub(in crate::actors) fn has_first(&self) -> bool {
        !self.first.is_empty() || self.refused.is_some()
    }

    /// Whether there is something to commit.
    pub(in crate::actors) fn has_work(&self) -> bool {
        self.has_first() || !self.queue.is_empty()
    }

    /// Takes the next group: within `left`, or a larger request alone where the transaction `is_empty`. One that
    /// `isolates` names is alone. `None` where there is none, or none that fits.
    pub(in crate::actors) fn next_group(
        &mut self,
        left: Size,
        is_empty: bool,
        isolates: impl Fn(&PublishRequest) -> bool,
    ) -> Option<NextGroup> {
        if self.refused.is_some() {
            return is_empty.then(|| NextGroup { requests: Vec::new(), is_retry: true, is_alone: true });
        }
        if !self.first.is_empty() {
            let requests = self.first.pop_front_if(|_| is_empty)?;
            return Some(NextGroup { requests, is_retry: true, is_alone: true });
        }
        self.queue.next_group(|requests| oldest(requests, left, is_empty, isolates))
    }

    /// Takes these requests in hand, as the group of this number.
    pub(in crate::actors) fn job(
        &mut self,
        requests: Vec<Arc<PublishRequest>>,
        id: GroupId,
        topics_max: u32,
    ) -> Job {
        self.in_hand.clone_from(&requests);
        let (seen, epoch) = self.ledger.position.seen();
        let group = Group::form(requests, epoch, &self.recent);
        Job { ledger: Arc::clone(&self.ledger), id, seen, epoch, topics_max, group }
    }

    /// Takes those who have waited for so long.
    pub(in crate::actors) fn take_impatient(&mut self, patience: Duration) -> Vec<Arc<PublishRequest>> {
        let now = Instant::now();
        self.queue.take(|request| now - request.admitted_at >= patience)
    }
}

/// Takes the oldest of them, as [`LedgerQueue::next_group`] says.
fn oldest(
    waiting: &mut VecDeque<Arc<PublishRequest>>,
    left: Size,
    is_empty: bool,
    isolates: impl Fn(&PublishRequest) -> bool,
) -> Option<NextGroup> {
    let mut group = Size::default();
    let mut requests: Vec<Arc<PublishRequest>> = Vec::new();
    let mut is_alone = false;
    while let Some(request) = waiting.front() {
        let is_first = is_empty && requests.is_empty();
        let size = group.with(request);
        let is_suspect = isolates(request);
        if (is_suspect || !size.fits(left)) && !is_first {
            break;
        }
        group = size;
        requests.extend(waiting.pop_front());
        if is_suspect {
            is_alone = true;
            break;
        }
    }
    (!requests.is_empty()).then_some(NextGroup { requests, is_retry: false, is_alone })
}

/// Answers each of them with this error.
pub(in crate::actors) fn answer_all(requests: &[Arc<PublishRequest>], error: &PublishError) {
    requests.iter().for_each(|request| request.answer(Err(error.clone())));
}

/// The sum over some requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::actors) struct Size {
    pub(in crate::actors) events: usize,
    pub(in crate::actors) bytes: usize,
}

impl Size {
    pub(in crate::actors) fn of(requests: &[Arc<PublishRequest>]) -> Self {
        requests.iter().fold(Self::default(), |sum, request| sum.with(request))
    }

    pub(in crate::actors) fn with(self, request: &PublishRequest) -> Self {
        Self { events: self.events + request.events.len(), bytes: self.bytes + request.event_bytes }
    }

    pub(in crate::actors) fn fits(self, limit: Self) -> bool {
        self.events <= limit.events && self.bytes <= limit.bytes
    }

    pub(in crate::actors) fn less(self, other: Self) -> Self {
        Self {
            events: self.events.saturating_sub(other.events),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

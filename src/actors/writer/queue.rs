//! The requests that wait for the writer, and how many of them make a group.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use crate::actors::{
    actor_health::ActorHealth,
    request::{PublishError, PublishRequest},
};

/// Steps in which the limit of a group rises from nothing to its full value.
const GROUP_STEPS: usize = 32;

/// The largest group that is made of several requests.
#[derive(Clone, Copy, Debug)]
pub(in crate::actors) struct GroupLimits {
    pub(in crate::actors) events: usize,
    pub(in crate::actors) bytes: usize,
}

/// Admission bounds it.
pub(in crate::actors) struct WriterQueue {
    queue: VecDeque<Arc<PublishRequest>>,
    /// Events and bytes of `queue`.
    size: Size,
    /// Groups that are tried before the queue: parts of one that failed.
    first: VecDeque<Vec<Arc<PublishRequest>>>,
    limits: GroupLimits,
    /// Events that a group may have now. It is halved after a group that the store did not take in time, and rises by
    /// a step with each group that reached it and was taken.
    events_max: usize,
    /// Whether the last group reached the limit.
    reached: bool,
    health: Arc<ActorHealth>,
}

impl WriterQueue {
    pub(in crate::actors) fn new(limits: GroupLimits, health: Arc<ActorHealth>) -> Self {
        Self {
            queue: VecDeque::new(),
            size: Size::default(),
            first: VecDeque::new(),
            limits,
            events_max: limits.events,
            reached: false,
            health,
        }
    }

    pub(in crate::actors) fn push(&mut self, request: Arc<PublishRequest>) {
        self.size.add(&request);
        self.queue.push_back(request);
    }

    /// Puts requests in front, to be a group of their own.
    pub(in crate::actors) fn retry_first(&mut self, requests: Vec<Arc<PublishRequest>>) {
        self.first.push_front(requests);
    }

    /// Whether a group is to be tried before the queue.
    pub(in crate::actors) fn has_first(&self) -> bool {
        !self.first.is_empty()
    }

    /// Requests in the queue.
    pub(in crate::actors) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether the queue holds a group that cannot grow any more.
    pub(in crate::actors) fn fills_a_group(&self) -> bool {
        self.size.events >= self.events_max || self.size.bytes >= self.bytes_max()
    }

    /// Requests for one group: up to the limits in events and bytes, or a larger one alone. One that `isolates`
    /// names is alone, too.
    pub(in crate::actors) fn next_group(
        &mut self,
        isolates: impl Fn(&PublishRequest) -> bool,
    ) -> Option<Vec<Arc<PublishRequest>>> {
        self.reached = false;
        if let Some(first) = self.first.pop_front() {
            return Some(first);
        }
        let bytes_max = self.bytes_max();
        let mut group = Size::default();
        let mut taken: Vec<Arc<PublishRequest>> = Vec::new();
        while let Some(request) = self.queue.front() {
            group.add(request);
            let full = group.events > self.events_max || group.bytes > bytes_max;
            if full && !taken.is_empty() {
                self.reached = true;
                break;
            }
            let alone = isolates(request);
            if alone && !taken.is_empty() {
                break;
            }
            self.size.subtract(request);
            taken.extend(self.queue.pop_front());
            if alone {
                break;
            }
        }
        self.health.queue.fetch_sub(taken.len(), Ordering::Relaxed);
        (!taken.is_empty()).then_some(taken)
    }

    /// The limit in bytes shrinks with the one in events.
    fn bytes_max(&self) -> usize {
        self.limits.bytes / self.limits.events.div_ceil(self.events_max)
    }

    /// The last group was taken by the store.
    pub(in crate::actors) fn note_taken(&mut self) {
        if self.reached {
            let step = self.limits.events.div_ceil(GROUP_STEPS);
            self.events_max = self.limits.events.min(self.events_max + step);
        }
    }

    /// A group of so many events was not taken in time. One without any, which probes the store, tells nothing of sizes.
    pub(in crate::actors) fn note_not_taken(&mut self, events: usize) {
        if events > 0 {
            self.events_max = self.events_max.min(events.div_ceil(2));
        }
    }

    /// Answers those who have waited so long that the store is unavailable.
    pub(in crate::actors) fn answer_the_impatient(&mut self, patience: Duration) {
        let now = Instant::now();
        let queued = self.queue.len();
        let size = &mut self.size;
        self.queue.retain(|request| {
            let waits_on = now - request.admitted_at < patience;
            if !waits_on {
                size.subtract(request);
                request.answer(Err(PublishError::StoreUnavailable));
            }
            waits_on
        });
        self.health.queue.fetch_sub(queued - self.queue.len(), Ordering::Relaxed);
    }
}

/// The sum over some requests.
#[derive(Default)]
struct Size {
    events: usize,
    bytes: usize,
}

impl Size {
    fn add(&mut self, request: &PublishRequest) {
        self.events += request.events.len();
        self.bytes += request.event_bytes;
    }

    fn subtract(&mut self, request: &PublishRequest) {
        self.events -= request.events.len();
        self.bytes -= request.event_bytes;
    }
}

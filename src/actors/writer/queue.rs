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

/// In so many steps the limit of a group comes back from nothing.
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
    /// Parts of a group that failed, each to be tried as a group of its own before the queue.
    apart: VecDeque<Vec<Arc<PublishRequest>>>,
    limits: GroupLimits,
    /// Events that a group may have now. One that the store did not take in time may have been too large for it, so the
    /// next ones have half; from there the limit rises with each group that it holds down and that is taken.
    events_max: usize,
    /// Whether the last group would have been larger without that limit.
    held_down: bool,
    health: Arc<ActorHealth>,
}

impl WriterQueue {
    pub(in crate::actors) fn new(limits: GroupLimits, health: Arc<ActorHealth>) -> Self {
        Self {
            queue: VecDeque::new(),
            apart: VecDeque::new(),
            limits,
            events_max: limits.events,
            held_down: false,
            health,
        }
    }

    pub(in crate::actors) fn push(&mut self, request: Arc<PublishRequest>) {
        self.queue.push_back(request);
    }

    /// Puts requests in front, to be a group of their own.
    pub(in crate::actors) fn retry_first(&mut self, requests: Vec<Arc<PublishRequest>>) {
        self.apart.push_front(requests);
    }

    /// Requests for one group: up to the limits in events and bytes, or a larger one alone.
    pub(in crate::actors) fn next_group(&mut self) -> Option<Vec<Arc<PublishRequest>>> {
        self.held_down = false;
        if let Some(apart) = self.apart.pop_front() {
            return Some(apart);
        }
        let bytes_max = self.limits.bytes / self.limits.events.div_ceil(self.events_max);
        let (mut events, mut bytes) = (0, 0);
        let mut taken: Vec<Arc<PublishRequest>> = Vec::new();
        while let Some(request) = self.queue.front() {
            events += request.events.len();
            bytes += request.events.iter().map(|event| event.bytes()).sum::<usize>();
            let full = events > self.events_max || bytes > bytes_max;
            if full && !taken.is_empty() {
                self.held_down = true;
                break;
            }
            taken.extend(self.queue.pop_front());
        }
        self.health.queue.fetch_sub(taken.len(), Ordering::Relaxed);
        (!taken.is_empty()).then_some(taken)
    }

    /// The last group was taken by the store.
    pub(in crate::actors) fn note_taken(&mut self) {
        if self.held_down {
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

    /// Answers those who have waited so long that the store is away.
    pub(in crate::actors) fn answer_the_impatient(&mut self, patience: Duration) {
        let now = Instant::now();
        let queued = self.queue.len();
        self.queue.retain(|request| {
            let waits_on = now - request.admitted_at < patience;
            if !waits_on {
                request.answer(Err(PublishError::StoreAway));
            }
            waits_on
        });
        self.health.queue.fetch_sub(queued - self.queue.len(), Ordering::Relaxed);
    }
}

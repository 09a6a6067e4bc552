//! The requests of one ledger that are in no group yet, large and small ones apart. Both have groups in turn, so that a
//! client of single events waits for one group of large requests, and not for all of them.

use std::{collections::VecDeque, sync::Arc};

use crate::actors::request::PublishRequest;

type Requests = VecDeque<Arc<PublishRequest>>;

#[derive(Default)]
pub(super) struct WaitingRequests {
    small: Requests,
    large: Requests,
    /// Whether the last group was one of small requests.
    is_turn_of_large: bool,
}

impl WaitingRequests {
    pub(super) fn push(&mut self, request: Arc<PublishRequest>, is_large: bool) {
        if is_large { self.large.push_back(request) } else { self.small.push_back(request) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.small.is_empty() && self.large.is_empty()
    }

    /// Takes the group of those whose turn it is, oldest first; none where `take` takes none of them.
    pub(super) fn next_group<T>(&mut self, take: impl FnOnce(&mut Requests) -> Option<T>) -> Option<T> {
        let is_large = self.small.is_empty() || self.is_turn_of_large && !self.large.is_empty();
        let group = take(if is_large { &mut self.large } else { &mut self.small })?;
        self.is_turn_of_large = !is_large;
        Some(group)
    }

    /// Takes those that `wanted` names.
    pub(super) fn take(&mut self, wanted: impl Fn(&PublishRequest) -> bool) -> Vec<Arc<PublishRequest>> {
        let mut taken = Vec::new();
        for requests in [&mut self.small, &mut self.large] {
            let (wanted, others): (Vec<_>, Vec<_>) = requests.drain(..).partition(|request| wanted(request));
            taken.extend(wanted);
            *requests = others.into();
        }
        taken
    }
}

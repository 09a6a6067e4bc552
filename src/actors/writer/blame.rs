//! Whose failure it is that a group was not stored: the store's, or that of one request.
//!
//! The store's error alone does not tell. So after a group that the store refused, the writer commits an empty
//! one. Where that fails, too, the store is to blame, and the requests may be sent again. Where it succeeds, a
//! request is to blame: the group is halved until that request stands alone, and the error is its answer.

use std::sync::Arc;

use crate::{
    actors::request::{PublishError, PublishRequest},
    store::StoreError,
};

/// A group that the store refused, while an empty one is committed.
pub(in crate::actors) struct RefusedGroup {
    pub(in crate::actors) requests: Vec<Arc<PublishRequest>>,
    pub(in crate::actors) error: StoreError,
}

/// What to do with a refused group when the store takes an empty one.
pub(in crate::actors) enum Blame {
    /// One of several requests is to blame: each half is to be tried as a group of its own.
    Halves(Vec<Arc<PublishRequest>>, Vec<Arc<PublishRequest>>),
    /// This request is to blame, and this is its answer.
    Culprit(Arc<PublishRequest>, PublishError),
    /// There was no request.
    Nobody,
}

/// Looks for the one among these requests that makes the store fail with `error`.
pub(in crate::actors) fn blame(mut requests: Vec<Arc<PublishRequest>>, error: &StoreError) -> Blame {
    if requests.len() > 1 {
        let second_half = requests.split_off(requests.len() / 2);
        return Blame::Halves(requests, second_half);
    }
    requests.pop().map_or(Blame::Nobody, |request| Blame::Culprit(request, answer_to_one(error)))
}

/// The answer to a request that makes the store fail with `error` although it takes others.
fn answer_to_one(error: &StoreError) -> PublishError {
    match error {
        StoreError::Rejected(_) | StoreError::TooManyTopics(_) => PublishError::Refused(innermost(error)),
        StoreError::Exhausted(_) => PublishError::TooLargeForStore(innermost(error)),
        StoreError::Unavailable(_)
        | StoreError::Locked(_)
        | StoreError::NodeAway(_)
        | StoreError::TimedOut(_) => PublishError::StoreUnavailable,
        StoreError::Gone => PublishError::Gone,
        StoreError::Damaged(_) => PublishError::LedgerBroken,
        StoreError::Broken(_) | StoreError::Detached(_) => PublishError::StoreBroken,
    }
}

/// The store's own words.
fn innermost(error: &StoreError) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

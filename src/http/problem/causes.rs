//! Which problem each error of the layers below is.

use super::{Kind, Problem};
use crate::{
    actors::PublishError,
    event::BatchError,
    http::at_hand,
    ledger::Overloaded,
    service::{NamespaceError, PageError, SubscriptionError, WorkInterrupted},
    store::StoreError,
};

impl From<BatchError> for Problem {
    fn from(error: BatchError) -> Self {
        let kind = match error {
            BatchError::NotJson { .. } => Kind::NotJson,
            BatchError::TooMany { .. } => Kind::TooLarge,
            BatchError::WrongShape(_) | BatchError::Empty | BatchError::Faults(_) => Kind::Invalid,
        };
        let detail = error.to_string();
        let errors = if let BatchError::Faults(faults) = error { faults } else { Vec::new() };
        Self { errors, ..Self::new(kind, detail) }
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        if let PublishError::NoNamespace(name) = &error {
            return Self::no_namespace(name);
        }
        let kind = match error {
            PublishError::Refused(_) => Kind::Refused,
            PublishError::TooLargeForStore(_) => Kind::TooLarge,
            PublishError::Quarantined => Kind::Quarantined,
            PublishError::LedgerBroken
            | PublishError::Gone
            | PublishError::NoNamespace(_)
            | PublishError::Overloaded(_)
            | PublishError::TimedOut
            | PublishError::Interrupted
            | PublishError::StoreUnavailable
            | PublishError::StoreBroken => Kind::Unavailable,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<WorkInterrupted> for Problem {
    fn from(interrupted: WorkInterrupted) -> Self {
        Self::unavailable(interrupted.to_string())
    }
}

impl From<Overloaded> for Problem {
    fn from(overloaded: Overloaded) -> Self {
        Self::unavailable(overloaded.to_string())
    }
}

impl From<NamespaceError> for Problem {
    fn from(error: NamespaceError) -> Self {
        let kind = match error {
            NamespaceError::Absent(name) => return Self::no_namespace(&name),
            NamespaceError::Store(error) => return error.into(),
            NamespaceError::Overloaded(error) => return error.into(),
            NamespaceError::OtherScope { .. } => Kind::OtherSettings,
            NamespaceError::Full(_) => Kind::TooManyNamespaces,
            // No conflict, since there is no state of the service in which it could be deleted.
            NamespaceError::Permanent => Kind::InvalidParameter,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<SubscriptionError> for Problem {
    fn from(error: SubscriptionError) -> Self {
        let detail = error.to_string();
        match error {
            SubscriptionError::Namespace(error) => error.into(),
            SubscriptionError::Overloaded(error) => error.into(),
            SubscriptionError::Locked(_) => Self::unavailable(detail),
            SubscriptionError::Absent { namespace, name } => Self::no_subscription(&namespace, &name),
            SubscriptionError::Other(_) => Self::new(Kind::OtherSettings, detail),
            SubscriptionError::Full => Self::new(Kind::TooManySubscriptions, detail),
            SubscriptionError::TooManyLeases(_) => Self::invalid_field("/max_leases", detail),
        }
    }
}

impl From<PageError> for Problem {
    fn from(error: PageError) -> Self {
        match error {
            PageError::Namespace(error) => error.into(),
            PageError::Overloaded(error) => error.into(),
        }
    }
}

/// The service has logged what a reader cannot mend by asking again.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::debug!(parent: &at_hand::request_span(), error = &error as &dyn std::error::Error, "a read failed");
        let kind = match error {
            StoreError::Damaged(_)
            | StoreError::Broken(_)
            | StoreError::Rejected(_)
            | StoreError::TooManyTopics(_) => Kind::Unreadable,
            StoreError::Unavailable(_)
            | StoreError::TimedOut(_)
            | StoreError::Exhausted(_)
            | StoreError::Detached(_)
            | StoreError::Locked(_)
            | StoreError::NodeAway(_)
            | StoreError::Gone => Kind::Unavailable,
        };
        Self::new(kind, error.to_string())
    }
}

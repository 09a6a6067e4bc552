//! Whether this node can serve: what probes and load balancers ask.

use std::time::Duration;

use super::Service;
use crate::store::StoreError;

/// How long a probe waits for the store.
const PROBE_TIMEOUT: Duration = Duration::from_millis(200);
/// For a probe that has waited in vain, this old an answer counts too.
const ANSWER_AGE_MAX: Duration = Duration::from_secs(1);
/// How long the store may take to prove that it answers.
const PING_TIMEOUT: Duration = Duration::from_millis(900);

/// Why the service is not ready.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    #[error("the database does not answer")]
    StoreUnavailable,
    /// The store answers, and what it answers is no head of a ledger.
    #[error("{0}")]
    StoreUnreadable(String),
    #[error("the database cannot be written")]
    StoreFailing,
    #[error("{0} is being restarted")]
    ActorDown(String),
}

impl Service {
    /// Whether every actor runs and the store takes what it is given.
    pub async fn ready(&self) -> Result<(), NotReady> {
        if let Some(down) = self.0.actors.down() {
            return Err(NotReady::ActorDown(down));
        }
        self.ping().await.map_err(|error| match error {
            StoreError::Damaged(_) | StoreError::Broken(_) | StoreError::Detached(_) => {
                NotReady::StoreUnreadable(error.to_string())
            }
            _ => NotReady::StoreUnavailable,
        })?;
        if self.0.shared.store_health.is_lost() { Err(NotReady::StoreFailing) } else { Ok(()) }
    }

    /// Whether the store answers, or has just answered. Takes a fifth of a second at most.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let ping = self.ask_store(PING_TIMEOUT, async move |store| store.control.ping().await);
        match tokio::time::timeout(PROBE_TIMEOUT, ping).await {
            Ok(answer) => answer.inspect(|()| self.0.shared.store_health.note_answered()),
            Err(_) if self.has_just_answered() => Ok(()),
            Err(_) => Err(StoreError::TimedOut(PROBE_TIMEOUT)),
        }
    }

    /// Whether the store has just answered, and no write has failed since.
    fn has_just_answered(&self) -> bool {
        let store_health = &self.0.shared.store_health;
        store_health.has_answered_within(ANSWER_AGE_MAX) && !store_health.is_lost()
    }
}

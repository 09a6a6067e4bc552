//! Subscriptions of a ledger: creating, showing and changing them, and what their consumers say.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::{Ledger, Loaded, NamespaceError};
use crate::{
    ledger::Overloaded,
    store::{
        AckOutcome, ChangeOutcome, LedgerRecord, ParkedPage, Retried, SUBSCRIPTIONS_MAX, SettingsChange,
        Start, Store, StoreError, SubscribeOutcome, SubscriptionInfo, SubscriptionPage, SubscriptionQuery,
        SubscriptionSettings, Verdict,
    },
};

/// How long the store may take for a transaction on a subscription.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(8);

/// Why a subscription did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SubscriptionError {
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    #[error("there is no subscription {name}")]
    Absent { namespace: String, name: String },
    #[error("the subscription {0} exists with other settings: change it with PATCH, or choose another name")]
    Other(String),
    #[error(
        "there are {SUBSCRIPTIONS_MAX} subscriptions in the namespace, and there may not be more: delete one"
    )]
    Full,
    #[error("must be at most {0}, the number of its partitions, each of which has one lease at most")]
    TooManyLeases(u32),
    #[error("the subscription {0} is locked by another node")]
    Locked(String),
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
}

/// A subscription that exists with the settings that were asked for.
pub struct Subscribed {
    pub subscription: SubscriptionInfo,
    /// Whether it was created by this call.
    pub is_new: bool,
}

impl Ledger {
    /// Creates a subscription, where there is none of that name.
    pub async fn subscribe(
        &self,
        name: &str,
        settings: SubscriptionSettings,
    ) -> Result<Subscribed, SubscriptionError> {
        let (asked, wanted) = (name.to_owned(), settings.clone());
        let question = async move |store: Store, ledger: LedgerRecord| {
            store.progress.subscribe(&ledger, &asked, wanted).await
        };
        match self.transact(name, question).await? {
            SubscribeOutcome::Created(subscription) => Ok(Subscribed { subscription, is_new: true }),
            SubscribeOutcome::There(subscription) if subscription.settings == settings => {
                Ok(Subscribed { subscription, is_new: false })
            }
            SubscribeOutcome::There(_) => Err(SubscriptionError::Other(name.to_owned())),
            SubscribeOutcome::Full => Err(SubscriptionError::Full),
        }
    }

    /// The subscription of this name: its topics, and up to where it has acked.
    pub async fn subscription(&self, name: &str) -> Result<Loaded<SubscriptionInfo>, SubscriptionError> {
        let asked = name.to_owned();
        let question = async move |store: Store, ledger: LedgerRecord| {
            store.progress.subscription(&ledger, &asked).await
        };
        self.found(name, self.load(question).await?.found())
    }

    /// One page of subscriptions, by name.
    pub async fn subscriptions(
        &self,
        query: SubscriptionQuery,
    ) -> Result<Loaded<SubscriptionPage>, SubscriptionError> {
        let question = async move |store: Store, ledger: LedgerRecord| {
            store.progress.subscriptions(&ledger, &query).await
        };
        Ok(self.load(question).await?)
    }

    /// Changes settings.
    pub async fn change_subscription(
        &self,
        name: &str,
        change: SettingsChange,
    ) -> Result<SubscriptionInfo, SubscriptionError> {
        let asked = name.to_owned();
        let question = async move |store: Store, ledger: LedgerRecord| {
            store.progress.change_subscription(&ledger, &asked, change).await
        };
        let changed = self.found(name, self.transact(name, question).await?)?;
        self.open.lease_news.tell(0);
        match changed {
            ChangeOutcome::Changed(subscription) => Ok(subscription),
            ChangeOutcome::TooManyLeases { partitions } => Err(SubscriptionError::TooManyLeases(partitions)),
        }
    }

    /// Deletes a subscription.
    pub async fn unsubscribe(&self, name: &str) -> Result<(), SubscriptionError> {
        let asked = name.to_owned();
        let question =
            async move |store: Store, ledger: LedgerRecord| store.progress.unsubscribe(&ledger, &asked).await;
        let is_deleted = self.transact(name, question).await?;
        self.open.lease_news.tell(0);
        self.found(name, is_deleted.then_some(()))
    }

    /// Does with a lease what its worker says.
    pub async fn settle(
        &self,
        name: &str,
        lease: Uuid,
        verdict: Verdict,
    ) -> Result<AckOutcome, SubscriptionError> {
        let asked = name.to_owned();
        let question = async move |store: Store, ledger: LedgerRecord| {
            store.progress.settle(&ledger, &asked, lease, verdict).await
        };
        self.moved(name, self.transact(name, question).await?)
    }

    /// Moves a reader without leases on to `through`.
    pub async fn move_on_to(&self, name: &str, through: u64) -> Result<AckOutcome, SubscriptionError> {
        let asked = name.to_owned();
        let question = async move |store: Store, ledger: LedgerRecord| {
            store.progress.move_on_to(&ledger, &asked, through).await
        };
        self.moved(name, self.transact(name, question).await?)
    }

    /// Goes to behind `after`, back or on.
    pub async fn seek(&self, name: &str, after: Start) -> Result<AckOutcome, SubscriptionError> {
        let asked = name.to_owned();
        let question =
            async move |store: Store, ledger: LedgerRecord| store.progress.seek(&ledger, &asked, after).await;
        self.moved(name, self.transact(name, question).await?)
    }

    /// Up to `limit` parked events with a `seq` above `after`.
    pub async fn parked(
        &self,
        name: &str,
        after: u64,
        limit: usize,
    ) -> Result<Loaded<ParkedPage>, SubscriptionError> {
        let asked = name.to_owned();
        let question = async move |store: Store, ledger: LedgerRecord| {
            store.progress.parked(&ledger, &asked, after, limit).await
        };
        let parked = self.load(question).await?;
        self.found(name, parked.found())
    }

    /// Has parked events tried again: these, or the oldest ones.
    pub async fn retry_parked(
        &self,
        name: &str,
        seqs: Option<Vec<u64>>,
    ) -> Result<Retried, SubscriptionError> {
        let asked = name.to_owned();
        let question = async move |store: Store, ledger: LedgerRecord| {
            store.progress.retry_parked(&ledger, &asked, seqs.as_deref()).await
        };
        let retried = self.transact(name, question).await?;
        self.open.lease_news.tell(0);
        self.found(name, retried)
    }

    /// Does a transaction on a subscription. One ledger has a few at a time, so that a subscription which another node holds
    /// does not keep the connections from other ledgers. A request that is dropped while it waits for its turn changes
    /// nothing; a transaction that has begun comes to its end.
    pub(super) async fn transact<T, F>(
        &self,
        name: &str,
        question: impl FnOnce(Store, LedgerRecord) -> F,
    ) -> Result<T, SubscriptionError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let deadline = Instant::now() + PROGRESS_TIMEOUT;
        let turns = Arc::clone(&self.open.lease_turns);
        let turn = timeout_at(deadline, turns.acquire_owned()).await.map_err(|_| timed_out())?;
        let in_turn = |store, ledger| {
            let transaction = question(store, ledger);
            async move {
                let _turn = turn.expect("these turns are never closed");
                transaction.await
            }
        };
        self.read(deadline - Instant::now(), in_turn).await.map_err(|error| match error {
            NamespaceError::Store(StoreError::TimedOut(_)) => timed_out(),
            // Its row is all that is locked here: publishers and other subscriptions go on.
            NamespaceError::Store(StoreError::Locked(_)) => SubscriptionError::Locked(name.to_owned()),
            error => error.into(),
        })
    }

    /// Workers that wait may find something to do after this.
    fn moved(&self, name: &str, outcome: Option<AckOutcome>) -> Result<AckOutcome, SubscriptionError> {
        self.open.lease_news.tell(0);
        self.found(name, outcome)
    }

    /// What the store found of this subscription.
    pub(super) fn found<T>(&self, name: &str, answer: Option<T>) -> Result<T, SubscriptionError> {
        let absent =
            || SubscriptionError::Absent { namespace: self.namespace().to_owned(), name: name.to_owned() };
        answer.ok_or_else(absent)
    }
}

/// A transaction took too long, with the wait for its turn.
fn timed_out() -> SubscriptionError {
    NamespaceError::from(StoreError::TimedOut(PROGRESS_TIMEOUT)).into()
}

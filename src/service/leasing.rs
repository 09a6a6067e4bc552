//! Workers that lease events of a subscription, and wait for some.
//!
//! A worker that waits holds neither a connection of the store nor a place among the reads. It is woken by commits to its
//! ledger, by leases that end on this node, and when the first lease expires; what other nodes do with leases is found by
//! looking again.

use std::{pin::pin, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use super::{Ledger, Loaded, NamespaceError, SubscriptionError};
use crate::{
    ledger::NewsReader,
    store::{LeaseInfo, LeaseOutcome, Leased, LedgerRecord, Store, StoreError, StoredEvent, Verdict},
};

/// How long one request looks through events of others before it is answered.
const SEARCH_TIME_MAX: Duration = Duration::from_secs(5);
/// A worker that was woken in vain is not woken again for so long.
const WAKE_PAUSE: Duration = Duration::from_millis(20);
/// How often a worker looks again while others hold leases, which may end on another node.
const HELD_INTERVAL: Duration = Duration::from_secs(1);
/// How often while nobody does: a subscription may be sent back by another node.
const IDLE_INTERVAL: Duration = Duration::from_secs(10);

/// A lease with its events.
pub struct Lease {
    pub offered: Offered,
    pub events: Loaded<Vec<StoredEvent>>,
}

/// A lease that its worker does not have yet. Dropped before it is [taken](Self::taken), it ends at once: a worker that
/// hangs up, while the store leases or while the events are read, would else keep them from others until it expires.
pub struct Offered {
    ledger: Ledger,
    name: String,
    leased: Option<Leased>,
}

impl Offered {
    /// What the store did for a worker, which may be nothing.
    fn of(outcome: &LeaseOutcome, ledger: Ledger, name: String) -> Self {
        let leased = match outcome {
            LeaseOutcome::Leased(leased) => Some(leased.clone()),
            _ => None,
        };
        Self { ledger, name, leased }
    }

    /// What is leased.
    pub fn leased(&self) -> &Leased {
        self.leased.as_ref().expect("it is there until the end")
    }

    /// The answer to the worker is there.
    pub fn taken(mut self) {
        self.leased = None;
    }

    /// Ends the lease, and waits for that.
    pub async fn give_back(mut self, verdict: Verdict) {
        give_back(&self.ledger, &self.name, self.leased(), verdict).await;
        self.leased = None;
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        let Some(leased) = self.leased.take() else { return };
        let (ledger, name) = (self.ledger.clone(), std::mem::take(&mut self.name));
        let give_back = async move { give_back(&ledger, &name, &leased, Verdict::Withdraw).await };
        self.ledger.service.0.actors.begin("the end of a lease that nobody took", give_back);
    }
}

/// Ends a lease that does not reach its worker. Where that fails, it expires.
async fn give_back(ledger: &Ledger, name: &str, leased: &Leased, verdict: Verdict) {
    if let Err(error) = ledger.settle(name, leased.lease, verdict).await {
        tracing::debug!(error = &error as &dyn std::error::Error, "a lease is left to expire");
    }
}

/// What a worker gets.
pub enum LeaseAnswer {
    Lease(Lease),
    /// There was nothing to do for as long as it was waited.
    Nothing,
    /// As many leases are held as may be.
    FullyLeased(Vec<LeaseInfo>),
}

impl Ledger {
    /// Leases up to `limit` events. While there are none to lease, it waits for up to this time, or until `stop`.
    pub async fn lease_within(
        &self,
        name: &str,
        limit: usize,
        worker: Option<String>,
        wait: Duration,
        stop: impl Future<Output = ()>,
    ) -> Result<LeaseAnswer, SubscriptionError> {
        let begun = Instant::now();
        let deadline = begun + wait;
        let mut stop = pin!(stop);
        // Before the first attempt: what happens after it is told.
        let mut news = self.open.position.news.subscribe();
        let mut lease_news = self.open.lease_news.subscribe();
        let mut place = None;
        loop {
            let (outcome, offered) = self.try_lease(name, limit, worker.clone()).await?;
            let (answer, look_again_at) = match outcome {
                LeaseOutcome::Leased(_) => return self.with_events(offered).await,
                LeaseOutcome::MovedOn if begun.elapsed() < SEARCH_TIME_MAX => continue,
                LeaseOutcome::MovedOn => return Ok(LeaseAnswer::Nothing),
                LeaseOutcome::Nothing { head, expires_in_micros } => {
                    self.open.position.news.note_seen(head);
                    (LeaseAnswer::Nothing, look_again_at(expires_in_micros))
                }
                LeaseOutcome::FullyLeased { leases, expires_in_micros } => {
                    (LeaseAnswer::FullyLeased(leases), look_again_at(Some(expires_in_micros)))
                }
            };
            if Instant::now() >= deadline {
                return Ok(answer);
            }
            let is_first = place.is_none();
            place = Some(place.map_or_else(|| self.service.0.waits.take(), Ok)?);
            // News of events are of no use where others hold all leases.
            let waits_for_events = matches!(answer, LeaseAnswer::Nothing);
            // Workers that wait are many, and who holds the leases may be a long list: it is read again at the end.
            drop(answer);
            let is_over = tokio::select! {
                biased;
                () = &mut stop => true,
                () = woken(&mut news, &mut lease_news, waits_for_events, is_first) => false,
                () = sleep_until(look_again_at.min(deadline)) => waits_for_events && Instant::now() >= deadline,
            };
            if is_over {
                return Ok(LeaseAnswer::Nothing);
            }
        }
    }

    async fn try_lease(
        &self,
        name: &str,
        limit: usize,
        worker: Option<String>,
    ) -> Result<(LeaseOutcome, Offered), SubscriptionError> {
        let (handle, asked) = (self.clone(), name.to_owned());
        let question = async move |store: Store, ledger: LedgerRecord| {
            let outcome = store.progress.lease(&ledger, &asked, limit, worker).await?;
            // Here, since the transaction comes to its end even where nobody waits for it any more.
            Ok(outcome.map(|outcome| {
                let offered = Offered::of(&outcome, handle, asked);
                (outcome, offered)
            }))
        };
        self.found(name, self.transact(name, question).await?)
    }

    /// The lease with its events. Where these cannot be read, it ends at once: else nobody would have them until it
    /// expires.
    async fn with_events(&self, offered: Offered) -> Result<LeaseAnswer, SubscriptionError> {
        let asked = offered.leased().clone();
        let question = async move |store: Store, ledger: LedgerRecord| {
            store.progress.leased_events(&ledger, &asked).await
        };
        match self.load(question).await {
            Ok(events) => Ok(LeaseAnswer::Lease(Lease { offered, events })),
            Err(error) => {
                // A damaged event fails at each delivery, so that it is parked in the end.
                let is_damaged = matches!(error, NamespaceError::Store(StoreError::Damaged(_)));
                let verdict = if is_damaged { Verdict::Release } else { Verdict::Withdraw };
                offered.give_back(verdict).await;
                Err(error.into())
            }
        }
    }
}

/// When to look again, whatever is told.
fn look_again_at(expires_in_micros: Option<u64>) -> Instant {
    let now = Instant::now();
    match expires_in_micros {
        Some(micros) => now + Duration::from_micros(micros).clamp(WAKE_PAUSE, HELD_INTERVAL),
        None => now + IDLE_INTERVAL,
    }
}

/// Waits for news, after a pause where the last ones were of no use.
async fn woken(news: &mut NewsReader, lease_news: &mut NewsReader, waits_for_events: bool, is_first: bool) {
    if !is_first {
        sleep(WAKE_PAUSE).await;
    }
    tokio::select! {
        _ = news.told(), if waits_for_events => {}
        _ = lease_news.told() => {}
    }
}

//! How far ledgers and their subscriptions are, for monitoring systems. A look is taken when the metrics are read, and shown the next time:
//! metrics ask no store, so that they are answered while it is unavailable.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::sleep};

use super::{Parts, Service};
use crate::store::{LedgerRecord, Store, StoreError, SubscriptionInfo, SubscriptionQuery};

/// Subscriptions that are shown.
const SUBSCRIPTIONS_MAX: usize = 1_000;
/// Open ledgers whose subscriptions are looked at.
const LEDGERS_MAX: usize = 200;
/// How long the look at one ledger may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the looks at all ledgers may take: a further one is not begun.
const LOOKS_TIME_MAX: Duration = Duration::from_secs(30);
/// The pause between two looks, however often metrics are read.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// What was seen longer ago is not shown.
const SEEN_AGE_MAX: Duration = Duration::from_secs(120);

/// How far a subscription is.
#[derive(Clone, Debug)]
pub struct SeenSubscription {
    pub namespace: String,
    pub name: String,
    pub lag: u64,
    pub parked: u64,
}

/// What the last look has shown. How far the ledgers are stands in their positions.
pub(super) struct SeenSubscriptions {
    /// Open ledgers that are looked at.
    ledgers_max: usize,
    wanted: Notify,
    seen: Mutex<Option<(Instant, Vec<SeenSubscription>)>>,
}

impl SeenSubscriptions {
    pub(super) fn new(ledgers_max: usize) -> Self {
        Self { ledgers_max, wanted: Notify::new(), seen: Mutex::default() }
    }

    /// What was seen a moment ago; has another look taken.
    pub(super) fn report(&self) -> Vec<SeenSubscription> {
        self.wanted.notify_one();
        let seen = self.seen.lock();
        let fresh = seen.as_ref().filter(|(at, _)| at.elapsed() <= SEEN_AGE_MAX);
        fresh.map(|(_, subscriptions)| subscriptions.clone()).unwrap_or_default()
    }
}

/// Looks at the open ledgers and their subscriptions whenever that is wanted.
pub(super) async fn look_at_subscriptions(service: Weak<Parts>, seen: Arc<SeenSubscriptions>) {
    loop {
        seen.wanted.notified().await;
        if let Some(service) = service.upgrade().map(Service) {
            let ledgers = service.0.directory.some(seen.ledgers_max);
            if !ledgers.is_empty() {
                service.look_at(&ledgers).await;
            }
            drop(ledgers);
            let subscriptions = service.see_subscriptions().await;
            *seen.seen.lock() = Some((Instant::now(), subscriptions));
        }
        sleep(LOOK_PAUSE).await;
    }
}

impl Service {
    async fn see_subscriptions(&self) -> Vec<SeenSubscription> {
        let (mut seen, begun) = (Vec::new(), Instant::now());
        for ledger in self.0.directory.some(LEDGERS_MAX) {
            let subscriptions_max = SUBSCRIPTIONS_MAX - seen.len();
            if subscriptions_max == 0 || begun.elapsed() >= LOOKS_TIME_MAX {
                break;
            }
            let record = ledger.record.clone();
            let question = async move |store: Store| subscriptions(&store, &record, subscriptions_max).await;
            match self.ask_store(LOOK_TIMEOUT, question).await {
                Ok(subscriptions) => seen.extend(subscriptions.into_iter().map(|it| SeenSubscription {
                    namespace: ledger.record.namespace.clone(),
                    lag: it.lag(),
                    parked: it.parked,
                    name: it.name,
                })),
                // Another node has deleted its namespace.
                Err(StoreError::Gone) => self.note_gone(&ledger),
                // The others are looked at all the same. The writer and readiness report a store that is unavailable.
                Err(error) => {
                    let namespace = &ledger.record.namespace;
                    tracing::debug!(%namespace, %error, "the subscriptions of a namespace are not seen");
                }
            }
        }
        seen.sort_unstable_by(|one, other| (&one.namespace, &one.name).cmp(&(&other.namespace, &other.name)));
        seen
    }
}

/// The first subscriptions of a ledger, page by page.
async fn subscriptions(
    store: &Store,
    ledger: &LedgerRecord,
    subscriptions_max: usize,
) -> Result<Vec<SubscriptionInfo>, StoreError> {
    let mut seen: Vec<SubscriptionInfo> = Vec::new();
    loop {
        let after = seen.last().map_or_else(String::new, |last| last.name.clone());
        let query = SubscriptionQuery { prefix: String::new(), after, limit: subscriptions_max - seen.len() };
        let page = store.progress.subscriptions(ledger, &query).await?;
        seen.extend(page.subscriptions);
        if !page.more || seen.len() >= subscriptions_max {
            return Ok(seen);
        }
    }
}

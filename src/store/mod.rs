//! The store: Postgres or SQLite behind four traits, one for each kind of caller.
//!
//! A store holds many ledgers. It appends whole groups in serial transactions: events, identities, counters and `seq`
//! commit together or not at all. Its unique key of identities alone decides what is a duplicate.

mod append;
mod crashing;
mod read;
mod page;
mod plan;
mod topics;
mod position;
mod control;
mod progress;
mod news;
mod open;
mod rows;
mod error;
mod postgres;
mod sqlite;

use std::sync::Arc;

pub use self::{
    append::{AppendGroup, AppendOutcome, AppendStore, Committed, GroupResult, StoreWriter, TopicCount},
    control::{
        ControlStore, CreateOutcome, DEFAULT_NAMESPACE, LedgerKey, LedgerRecord, NamespaceInfo,
        NamespaceQuery, Swept, check_namespace,
    },
    crashing::{CRASHED_IN_APPEND, CrashTrigger},
    error::{Damage, OpenError, StoreError},
    news::{NewsListener, NewsStore, NodeNews},
    open::{OpenOptions, migrate, open},
    page::{Page, PageQuery, StoredEvent, StoredId},
    position::{Head, LedgerMark, TopicTotal, Totals},
    progress::{
        AckOutcome, ChangeOutcome, DELIVERIES, LEASE_SECONDS, LEASES, LeaseInfo, LeaseOutcome, Leased,
        PARKED_MAX, PARTITIONS, ParkedInfo, ParkedPage, PartitionBy, Partitions, ProgressStore, RETRIES_MAX,
        Retried, SUBSCRIPTION_TOPICS_MAX, SUBSCRIPTIONS_MAX, SettingsChange, Start, SubscribeOutcome,
        SubscriptionInfo, SubscriptionPage, SubscriptionQuery, SubscriptionSettings, SubscriptionStatus,
        TopicPatterns, Verdict, check_subscription,
    },
    read::{PAGE_BYTES_MAX, ReadStore, TOPICS_SHOWN_MAX},
    topics::{TopicInfo, TopicQuery},
};

/// An open database; a clone is the same one.
#[derive(Clone)]
pub struct Store {
    /// For the writer.
    pub appends: Arc<dyn AppendStore>,
    /// For whoever reads.
    pub reads: Arc<dyn ReadStore>,
    /// For what concerns namespaces and the database as a whole.
    pub control: Arc<dyn ControlStore>,
    /// For subscriptions.
    pub progress: Arc<dyn ProgressStore>,
    /// For what nodes tell each other; a database with one node has none.
    pub news: Option<Arc<dyn NewsStore>>,
}

impl Store {
    fn of<S: AppendStore + ReadStore + ControlStore + ProgressStore + 'static>(engine: S) -> Self {
        let engine = Arc::new(engine);
        Self {
            appends: Arc::clone(&engine) as _,
            reads: Arc::clone(&engine) as _,
            control: Arc::clone(&engine) as _,
            progress: engine,
            news: None,
        }
    }
}

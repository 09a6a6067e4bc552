//! Subscriptions: durable places in a ledger, and what their consumers have in hand.
//!
//! [`state`] and [`track`] are plain logic, [`operations`] load, change and write back in one transaction under the lock
//! of the subscription's row, and each engine brings what it takes to do so, a [`ProgressSession`].

mod settings;
mod track;
mod state;
mod session;
mod rows;
mod operations;
mod handing_out;
mod saving;
mod shown;
mod parking;

use async_trait::async_trait;
use uuid::Uuid;

pub(super) use self::{
    rows::{SubscriptionRow, records},
    session::{
        Found, NewSubscription, ParkedRow, ProgressEngine, ProgressSession, Record, Search, StateChange,
        missing_event,
    },
    state::Progress,
    track::{Holder, ParkedEvent, Piece, Track},
};
pub use self::{
    settings::{
        DELIVERIES, LEASE_SECONDS, LEASES, PARTITIONS, PartitionBy, Partitions, SUBSCRIPTION_TOPICS_MAX,
        SettingsChange, Start, SubscriptionSettings, TopicPatterns, check_subscription,
    },
    state::{PARKED_MAX, Verdict},
};
use super::{Damage, LedgerRecord, StoreError, StoredEvent};
use crate::event::Timestamp;

/// Subscriptions of one namespace.
pub const SUBSCRIPTIONS_MAX: usize = 100_000;
/// Parked events that one call has tried again.
pub const RETRIES_MAX: usize = 100;

/// A subscription as it is shown.
#[derive(Clone, Debug)]
pub struct SubscriptionInfo {
    pub name: String,
    pub settings: SubscriptionSettings,
    pub created_at: Timestamp,
    /// Everything up to here is settled.
    pub acked: u64,
    /// The newest `seq` of its ledger.
    pub head: u64,
    pub leases: Vec<LeaseInfo>,
    /// Events that are parked.
    pub parked: u64,
    pub status: SubscriptionStatus,
}

impl SubscriptionInfo {
    /// How far it is behind.
    pub fn lag(&self) -> u64 {
        self.head.saturating_sub(self.acked)
    }
}

/// A lease that is held, without the secret by which it is acked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// Where there are several.
    pub partition: Option<usize>,
    pub from: u64,
    pub through: u64,
    pub deliveries: u32,
    pub expires_at: Timestamp,
    /// What the worker calls itself.
    pub worker: Option<String>,
}

/// How a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionStatus {
    /// Nothing is left to do.
    CaughtUp,
    /// A worker has events in hand.
    Leased,
    /// There is work, and no worker has any.
    Waiting,
    /// An event that fails cannot be parked, since as many are parked as may be.
    Blocked,
}

impl SubscriptionStatus {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            SubscriptionStatus::CaughtUp => "caught-up",
            SubscriptionStatus::Leased => "leased",
            SubscriptionStatus::Waiting => "waiting",
            SubscriptionStatus::Blocked => "blocked",
        }
    }
}

/// What became of a subscription that was to be created.
#[derive(Clone, Debug)]
pub enum SubscribeOutcome {
    Created(SubscriptionInfo),
    /// One of that name is there, whatever its settings.
    There(SubscriptionInfo),
    /// There are as many as may be.
    Full,
}

/// What became of a change of settings.
#[derive(Clone, Debug)]
pub enum ChangeOutcome {
    Changed(SubscriptionInfo),
    /// It has fewer partitions than it would have leases.
    TooManyLeases {
        partitions: u32,
    },
}

/// Events for one worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leased {
    /// Known to this worker alone.
    pub lease: Uuid,
    /// Where there are several.
    pub partition: Option<usize>,
    pub from: u64,
    pub through: u64,
    /// How many times the range was handed out, this time included.
    pub deliveries: u32,
    pub expires_at: Timestamp,
    /// Its events.
    pub seqs: Vec<u64>,
}

/// What a worker gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseOutcome {
    Leased(Leased),
    /// So far nothing was found, and there is more to look through: ask again.
    MovedOn,
    /// Nothing is left up to `head`. Where leases are held, the first one expires in so many microseconds.
    Nothing {
        head: u64,
        expires_in_micros: Option<u64>,
    },
    /// As many leases are held as may be.
    FullyLeased {
        leases: Vec<LeaseInfo>,
        expires_in_micros: u64,
    },
}

/// What an ack came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AckOutcome {
    Done {
        acked: u64,
        head: u64,
        expires_at: Option<Timestamp>,
    },
    /// The lease has expired or was taken over.
    Fenced {
        acked: u64,
        head: u64,
    },
    /// It is about more than was leased or stored, up to here.
    Beyond {
        through: u64,
    },
    /// These leases are held, and the ack names none.
    Leased(Vec<LeaseInfo>),
}

/// Which subscriptions to list: those whose names begin with `prefix` and are behind `after`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionQuery {
    pub prefix: String,
    pub after: String,
    pub limit: usize,
}

/// One page of subscriptions. It may end early, where much had to be looked through.
#[derive(Clone, Debug, Default)]
pub struct SubscriptionPage {
    pub subscriptions: Vec<SubscriptionInfo>,
    /// Whether others follow.
    pub more: bool,
}

/// An event that is parked, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedInfo {
    pub seq: u64,
    pub deliveries: u32,
    pub parked_at: Timestamp,
    /// Or what is wrong with it: an event that cannot be read is parked in the end.
    pub event: Result<StoredEvent, Damage>,
}

/// One page of parked events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedPage {
    pub events: Vec<ParkedInfo>,
    /// Whether others follow.
    pub more: bool,
}

/// What became of parked events that were to be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retried {
    /// Those that will be.
    pub retried: u64,
    /// Those that are still parked.
    pub parked: u64,
}

/// Keeps the subscriptions of ledgers. Each call is one transaction, which locks the row of its subscription and none of
/// its ledger. Each returns [`StoreError::Gone`] where the ledger is gone; `None` means that there is no such subscription.
#[async_trait]
pub trait ProgressStore: Send + Sync {
    /// Creates a subscription, if that makes no more than [`SUBSCRIPTIONS_MAX`].
    async fn subscribe(
        &self,
        ledger: &LedgerRecord,
        name: &str,
        settings: SubscriptionSettings,
    ) -> Result<SubscribeOutcome, StoreError>;

    async fn subscription(
        &self,
        ledger: &LedgerRecord,
        name: &str,
    ) -> Result<Option<SubscriptionInfo>, StoreError>;

    /// One page of subscriptions, by name.
    async fn subscriptions(
        &self,
        ledger: &LedgerRecord,
        query: &SubscriptionQuery,
    ) -> Result<SubscriptionPage, StoreError>;

    /// Changes settings. What is leased stays leased.
    async fn change_subscription(
        &self,
        ledger: &LedgerRecord,
        name: &str,
        change: SettingsChange,
    ) -> Result<Option<ChangeOutcome>, StoreError>;

    /// Deletes a subscription with all it has in hand; false if there is none.
    async fn unsubscribe(&self, ledger: &LedgerRecord, name: &str) -> Result<bool, StoreError>;

    /// Hands out up to `limit` events, whose contents are read by [`leased_events`](Self::leased_events).
    async fn lease(
        &self,
        ledger: &LedgerRecord,
        name: &str,
        limit: usize,
        worker: Option<String>,
    ) -> Result<Option<LeaseOutcome>, StoreError>;

    /// The events of a lease, oldest first.
    async fn leased_events(
        &self,
        ledger: &LedgerRecord,
        leased: &Leased,
    ) -> Result<Vec<StoredEvent>, StoreError>;

    /// Does with a lease what its worker says.
    async fn settle(
        &self,
        ledger: &LedgerRecord,
        name: &str,
        lease: Uuid,
        verdict: Verdict,
    ) -> Result<Option<AckOutcome>, StoreError>;

    /// Moves a reader without leases on to `through`.
    async fn move_on_to(
        &self,
        ledger: &LedgerRecord,
        name: &str,
        through: u64,
    ) -> Result<Option<AckOutcome>, StoreError>;

    /// Goes to behind `after`, back or on. All leases end, and parked events that are replayed are parked no more.
    async fn seek(
        &self,
        ledger: &LedgerRecord,
        name: &str,
        after: Start,
    ) -> Result<Option<AckOutcome>, StoreError>;

    /// Up to `limit` parked events with a `seq` above `after`, oldest first, and no more bytes than a page may have.
    async fn parked(
        &self,
        ledger: &LedgerRecord,
        name: &str,
        after: u64,
        limit: usize,
    ) -> Result<Option<ParkedPage>, StoreError>;

    /// Has parked events tried again: these, or the oldest ones, up to [`RETRIES_MAX`].
    async fn retry_parked(
        &self,
        ledger: &LedgerRecord,
        name: &str,
        seqs: Option<&[u64]>,
    ) -> Result<Option<Retried>, StoreError>;
}

//! A store's subscriptions, for tests in which nobody subscribes.

use async_trait::async_trait;
use sekali::store::*;
use uuid::Uuid;

pub struct NoSubscriptions;

#[async_trait]
impl ProgressStore for NoSubscriptions {
    async fn subscribe(
        &self,
        _ledger: &LedgerRecord,
        _name: &str,
        _settings: SubscriptionSettings,
    ) -> Result<SubscribeOutcome, StoreError> {
        unreachable!("nobody subscribes")
    }

    async fn subscription(
        &self,
        _ledger: &LedgerRecord,
        _name: &str,
    ) -> Result<Option<SubscriptionInfo>, StoreError> {
        unreachable!("nobody subscribes")
    }

    async fn subscriptions(
        &self,
        _ledger: &LedgerRecord,
        _query: &SubscriptionQuery,
    ) -> Result<SubscriptionPage, StoreError> {
        unreachable!("nobody subscribes")
    }

    async fn change_subscription(
        &self,
        _ledger: &LedgerRecord,
        _name: &str,
        _change: SettingsChange,
    ) -> Result<Option<ChangeOutcome>, StoreError> {
        unreachable!("nobody subscribes")
    }

    async fn unsubscribe(&self, _ledger: &LedgerRecord, _name: &str) -> Result<bool, StoreError> {
        unreachable!("nobody subscribes")
    }

    async fn lease(
        &self,
        _ledger: &LedgerRecord,
        _name: &str,
        _limit: usize,
        _worker: Option<String>,
    ) -> Result<Option<LeaseOutcome>, StoreError> {
        unreachable!("nobody subscribes")
    }

    async fn leased_events(
        &self,
        _ledger: &LedgerRecord,
        _leased: &Leased,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        unreachable!("nobody subscribes")
    }

    async fn settle(
        &self,
        _ledger: &LedgerRecord,
        _name: &str,
        _lease: Uuid,
        _verdict: Verdict,
    ) -> Result<Option<AckOutcome>, StoreError> {
        unreachable!("nobody subscribes")
    }

    async fn move_on_to(
        &self,
        _ledger: &LedgerRecord,
        _name: &str,
        _through: u64,
    ) -> Result<Option<AckOutcome>, StoreError> {
        unreachable!("nobody subscribes")
    }

    async fn seek(
        &self,
        _ledger: &LedgerRecord,
        _name: &str,
        _after: Start,
    ) -> Result<Option<AckOutcome>, StoreError> {
        unreachable!("nobody subscribes")
    }

    async fn parked(
        &self,
        _ledger: &LedgerRecord,
        _name: &str,
        _after: u64,
        _limit: usize,
    ) -> Result<Option<ParkedPage>, StoreError> {
        unreachable!("nobody subscribes")
    }

    async fn retry_parked(
        &self,
        _ledger: &LedgerRecord,
        _name: &str,
        _seqs: Option<&[u64]>,
    ) -> Result<Option<Retried>, StoreError> {
        unreachable!("nobody subscribes")
    }
}

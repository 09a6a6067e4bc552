//! A ledger, as HTTP sees it: a handle without mailboxes.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    Loaded, NamespaceError, NodeReport, READ_TIMEOUT, REPORT_TIMEOUT, STATS_TIMEOUT, Service, filtering,
    places::Place,
};
use crate::{
    actors::{CountersReport, MetricsReport, PublishError, PublishRequest},
    event::{DedupScope, Event, Filter, Outcome},
    ledger::{BytesPermit, OpenLedger, Overloaded, Peer},
    request_ids::RequestIds,
    store::{LedgerRecord, Page, PageQuery, Store, StoreError, StoredEvent, TopicInfo, TopicQuery, Totals},
};

/// One ledger of a running service; a clone is the same one.
#[derive(Clone)]
pub struct Ledger {
    pub(super) service: Service,
    pub(super) open: Arc<OpenLedger>,
    /// Whose share of the reads is used; `None` for the service's own.
    pub(super) peer: Option<Peer>,
}

/// One page of topics.
pub struct TopicPage {
    pub topics: Vec<TopicInfo>,
    /// Whether others follow.
    pub more: bool,
}

/// A ledger's counters, and what this node tells of itself.
#[derive(Clone, Debug)]
pub struct LedgerReport {
    pub totals: Arc<Totals>,
    pub metrics: MetricsReport,
    /// Why the ledger did not take the last write, where it did not.
    pub trouble: Option<String>,
    pub node: NodeReport,
}

impl Ledger {
    pub(super) fn new(service: Service, open: Arc<OpenLedger>) -> Self {
        Self { service, open, peer: None }
    }

    /// The same ledger, read for this peer.
    pub fn read_for(self, peer: Peer) -> Self {
        Self { peer: Some(peer), ..self }
    }

    /// Which events are the same one.
    pub fn scope(&self) -> DedupScope {
        self.open.record.scope
    }

    /// The name of its namespace.
    pub fn namespace(&self) -> &str {
        &self.open.record.namespace
    }

    /// Why the ledger did not take the last write, where it did not.
    pub fn trouble(&self) -> Option<String> {
        self.open.health.trouble()
    }

    /// Refuses a large body early when the capacity for events is nearly used up.
    pub fn expect_body(&self, bytes: u64) -> Result<(), Overloaded> {
        self.service.0.admission.expect_body(&self.open, bytes)
    }

    /// Stores the events of one request, all or none, and returns an outcome each, in order.
    ///
    /// Once admitted, the request runs to its end, whether or not the answer is still waited for; after
    /// `timeout` the result is [`PublishError::TimedOut`].
    pub async fn publish(
        &self,
        events: Vec<Event>,
        bytes: BytesPermit,
        ids: RequestIds,
        timeout: Duration,
    ) -> Result<Vec<Outcome>, PublishError> {
        let permits = self.service.0.admission.admit_events(&self.open, events.len(), bytes)?;
        let (request, answer) = PublishRequest::new(&self.open, events, permits, ids);
        self.service.0.actors.publish(request);
        let reply = match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_dropped)) => Err(PublishError::Interrupted),
            Err(_elapsed) => Err(PublishError::TimedOut),
        };
        if let Err(PublishError::Gone) = reply
            && let Err(NamespaceError::Absent(namespace)) = self.look_again().await
        {
            return Err(PublishError::NoNamespace(namespace));
        }
        reply
    }

    /// One page of the events that pass.
    pub async fn page(&self, query: PageQuery, filter: Filter) -> Result<Loaded<Page>, NamespaceError> {
        let read = async move |store: Store, ledger: LedgerRecord| {
            filtering::page(&*store.reads, &ledger, &query, &filter).await
        };
        self.load(read).await
    }

    /// The event with this id, and in scope `topic` this topic.
    pub async fn event(
        &self,
        event_id: String,
        topic: Option<String>,
    ) -> Result<Option<Loaded<StoredEvent>>, NamespaceError> {
        let read = async move |store: Store, ledger: LedgerRecord| {
            store.reads.event(&ledger, &event_id, topic.as_deref()).await
        };
        self.load(read).await.map(Loaded::found)
    }

    /// One page of topics, by name.
    pub async fn topics(&self, query: TopicQuery) -> Result<Loaded<TopicPage>, NamespaceError> {
        let limit = query.limit;
        let read = async move |store: Store, ledger: LedgerRecord| {
            // One more shows whether others follow.
            let query = TopicQuery { limit: limit + 1, ..query };
            let mut topics = store.reads.topics(&ledger, &query).await?;
            let more = topics.len() > limit;
            topics.truncate(limit);
            Ok(TopicPage { topics, more })
        };
        self.load(read).await
    }

    /// The counters, which include all that was committed before the call, on every node.
    pub async fn report(&self) -> Result<Loaded<LedgerReport>, NamespaceError> {
        let deadline = Instant::now() + REPORT_TIMEOUT;
        let place = self.service.0.large_work.reports.take(self.peer, deadline).await?;
        let report = tokio::time::timeout_at(deadline, self.load_report(&place)).await;
        let report = report.unwrap_or(Err(StoreError::TimedOut(REPORT_TIMEOUT).into()))?;
        Ok(Loaded::new(report, place))
    }

    async fn load_report(&self, place: &Place) -> Result<LedgerReport, NamespaceError> {
        let actors = &self.service.0.actors;
        let key = self.open.key();
        // Each read keeps the place, as it may outlive whoever asked.
        let within = place.clone();
        let read = async move |store: Store, ledger: LedgerRecord| {
            let _within = within;
            store.reads.head(&ledger).await
        };
        let head = self.read(STATS_TIMEOUT, read).await?;
        let counters = tokio::time::timeout(STATS_TIMEOUT, actors.counters(key)).await;
        let Ok(Ok(CountersReport { totals, metrics })) = counters else {
            return Err(StoreError::TimedOut(STATS_TIMEOUT).into());
        };
        let totals = match totals.filter(|totals| totals.head.mark == head.mark) {
            Some(totals) => totals,
            None => {
                let within = place.clone();
                let read = async move |store: Store, ledger: LedgerRecord| {
                    let _within = within;
                    store.reads.totals(&ledger).await
                };
                let totals = Arc::new(self.read(STATS_TIMEOUT, read).await?);
                actors.keep_counters(key, Arc::clone(&totals));
                totals
            }
        };
        Ok(LedgerReport { totals, metrics, trouble: self.open.health.trouble(), node: self.service.node() })
    }

    /// Reads what may be much, within a place among the reads. The request itself waits for the place, so that one which is
    /// abandoned leaves the queue; the read keeps the place to its end.
    pub(super) async fn load<T, F>(
        &self,
        question: impl FnOnce(Store, LedgerRecord) -> F,
    ) -> Result<Loaded<T>, NamespaceError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let deadline = Instant::now() + READ_TIMEOUT;
        let place = self.service.0.large_work.reads.take(self.peer, deadline).await?;
        let read = |store, ledger| {
            let reading = question(store, ledger);
            async move { Ok(Loaded::new(reading.await?, place)) }
        };
        self.read(deadline - Instant::now(), read).await
    }

    /// Asks the store about this ledger.
    pub(super) async fn read<T, F>(
        &self,
        timeout: Duration,
        question: impl FnOnce(Store, LedgerRecord) -> F,
    ) -> Result<T, NamespaceError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let record = self.open.record.clone();
        let answer = self.service.ask_store(timeout, |store| question(store, record)).await;
        if let Err(StoreError::Gone) = answer {
            self.look_again().await?;
        }
        Ok(answer?)
    }

    /// The ledger is gone. An error if its namespace is, too; else another ledger has its name, and the same request
    /// may be sent to that one.
    ///
    /// Boxed, as few requests meet that, and the room for it would be part of every request.
    async fn look_again(&self) -> Result<(), NamespaceError> {
        self.service.note_gone(&self.open);
        Box::pin(self.service.ledger(self.namespace())).await.map(drop)
    }
}

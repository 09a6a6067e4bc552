//! The handle on the rooms: plain async methods, no mailbox in sight.

use std::{
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use actix::{Addr, Arbiter};
use tokio::{
    runtime::Handle as Runtime,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::{
    admission::{Admission, BytesPermit},
    dedup::{Admit, DedupActor, ShardGauges},
    dedup_window::Digester,
    ledger_sight::LedgerSight,
    request::{PublishError, PublishRequest},
    stats::{Ask, CountersReport, StatsActor},
    store_link::{StoreLink, StoreReport},
    supervision::{Crash, Ending, RoomReport, Vitals},
    writer::WriterActor,
};
use crate::{
    event::{DedupScope, Event, Outcome},
    store::{EventStore, Page, PageQuery, StoreError, StoredEvent},
};

/// How long a reader waits for the store.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the store may take to prove that it answers.
const PING_TIMEOUT: Duration = Duration::from_millis(900);
const STATS_TIMEOUT: Duration = Duration::from_secs(6);
const DRAIN_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The service's rooms, for those above them; a clone is the same.
#[derive(Clone)]
pub struct Aggregator(Arc<Rooms>);

pub(super) struct Rooms {
    pub(super) store: Arc<dyn EventStore>,
    /// Reads run here, and outlive whoever asked: a read cut off in the middle costs its connection.
    pub(super) runtime: Runtime,
    pub(super) admission: Admission,
    pub(super) digester: Digester,
    pub(super) sight: Arc<LedgerSight>,
    pub(super) link: Arc<StoreLink>,
    pub(super) shards: Vec<(Addr<DedupActor>, Arc<ShardGauges>)>,
    pub(super) writer: (Addr<WriterActor>, Arc<Vitals>),
    pub(super) stats: (Addr<StatsActor>, Arc<Vitals>),
    pub(super) arbiters: Vec<Arbiter>,
    pub(super) watch: JoinHandle<()>,
    pub(super) lost: tokio::sync::Mutex<mpsc::UnboundedReceiver<String>>,
}

impl Rooms {
    fn vitals(&self) -> impl Iterator<Item = &Arc<Vitals>> {
        let shards = self.shards.iter().map(|(_, gauges)| &gauges.vitals);
        shards.chain([&self.writer.1, &self.stats.1])
    }
}

/// A room, to name it from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomName {
    Shard(usize),
    Writer,
    Stats,
}

/// Why the service is not ready.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    #[error("the database does not answer")]
    StoreAway,
    #[error("the database cannot be written")]
    StoreFailing,
    #[error("{0} is being restarted")]
    RoomDown(String),
}

/// This node, as `/stats` shows it.
#[derive(Clone, Debug)]
pub struct NodeReport {
    pub counters: CountersReport,
    pub shards: Vec<(RoomReport, usize)>,
    pub writer: RoomReport,
    pub stats: RoomReport,
    pub store: StoreReport,
    pub events_in_flight: usize,
    pub bytes_in_flight: usize,
    /// Times that the database proved to be restored to an older copy.
    pub restored: u64,
}

impl Aggregator {
    pub(super) fn new(rooms: Rooms) -> Self {
        Self(Arc::new(rooms))
    }

    /// Which events are the same one.
    pub fn scope(&self) -> DedupScope {
        self.0.store.scope()
    }

    /// Says at once that a body of so many bytes would be read for nothing, since there is no room for its events.
    pub fn expect_body(&self, bytes: u64) -> Result<(), PublishError> {
        self.0.admission.expect_body(bytes)
    }

    /// Takes room for a body of `bytes`, or answers at once that there is none.
    pub fn admit_bytes(&self, bytes: usize) -> Result<BytesPermit, PublishError> {
        self.0.admission.admit_bytes(bytes)
    }

    /// Takes room for an answer of `bytes`, to be kept until its client has read it; or says at once that
    /// there is none.
    pub fn admit_answer(&self, bytes: usize) -> Result<BytesPermit, PublishError> {
        self.0.admission.admit_answer(bytes)
    }

    /// Stores the events of one request, all or none, and answers an outcome each, in order.
    ///
    /// Once admitted, the request runs to its end, whether or not the answer is still waited for; after
    /// `timeout` the answer is [`PublishError::TimedOut`].
    pub async fn publish(
        &self,
        events: Vec<Event>,
        bytes: BytesPermit,
        timeout: Duration,
    ) -> Result<Vec<Outcome>, PublishError> {
        let answer = self.admit(events, bytes)?;
        match tokio::time::timeout(timeout, answer).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_dropped)) => Err(PublishError::Interrupted),
            Err(_elapsed) => Err(PublishError::TimedOut),
        }
    }

    fn admit(
        &self,
        events: Vec<Event>,
        bytes: BytesPermit,
    ) -> Result<oneshot::Receiver<Result<Vec<Outcome>, PublishError>>, PublishError> {
        let rooms = &*self.0;
        let permits = rooms.admission.admit_events(events.len(), bytes)?;
        let (request, answer) = PublishRequest::new(events, &rooms.digester, rooms.sight.epoch(), permits);
        let parts = request.parts(rooms.shards.len());
        let request = Arc::new(request);
        for (shard, places) in parts {
            let (address, gauges) = &rooms.shards[shard];
            gauges.vitals.queue.fetch_add(1, Ordering::Relaxed);
            address.do_send(Admit { request: Arc::clone(&request), places });
        }
        Ok(answer)
    }

    /// One page of events.
    pub async fn page(&self, query: PageQuery) -> Result<Page, StoreError> {
        self.read(READ_TIMEOUT, move |store| async move { store.page(&query).await }).await
    }

    /// The event with this id, and in scope `topic` this topic.
    pub async fn event(
        &self,
        event_id: String,
        topic: Option<String>,
    ) -> Result<Option<StoredEvent>, StoreError> {
        self.read(READ_TIMEOUT, move |store| async move { store.event(&event_id, topic.as_deref()).await })
            .await
    }

    /// Whether the store answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.read(PING_TIMEOUT, |store| async move { store.head().await.map(|_| ()) }).await
    }

    async fn read<T, F>(
        &self,
        timeout: Duration,
        question: impl FnOnce(Arc<dyn EventStore>) -> F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        // The limit lies within the task: the store gets to see that nobody waits any more.
        let reading = tokio::time::timeout(timeout, question(Arc::clone(&self.0.store)));
        match self.0.runtime.spawn(reading).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(StoreError::TimedOut(timeout)),
        }
    }

    /// The counters, which include all that this node has acknowledged; `None` while the store does not give them.
    pub async fn report(&self) -> Option<NodeReport> {
        let (reply, answer) = oneshot::channel();
        let rooms = &*self.0;
        rooms.stats.0.do_send(Ask(reply));
        let counters = tokio::time::timeout(STATS_TIMEOUT, answer).await.ok()?.ok()?;
        let shard = |(_, gauges): &(Addr<DedupActor>, Arc<ShardGauges>)| {
            (gauges.vitals.report(), gauges.window_ids.load(Ordering::Relaxed))
        };
        Some(NodeReport {
            counters,
            shards: rooms.shards.iter().map(shard).collect(),
            writer: rooms.writer.1.report(),
            stats: rooms.stats.1.report(),
            store: rooms.link.report(),
            events_in_flight: rooms.admission.events_in_flight(),
            bytes_in_flight: rooms.admission.bytes_in_flight(),
            restored: rooms.sight.restored(),
        })
    }

    /// Whether every room runs and the store takes what it is given.
    pub async fn ready(&self) -> Result<(), NotReady> {
        let rooms = &*self.0;
        if let Some(down) = rooms.vitals().find(|room| !room.is_running()) {
            return Err(NotReady::RoomDown(down.name.clone()));
        }
        self.ping().await.map_err(|_| NotReady::StoreAway)?;
        if rooms.link.is_lost() { Err(NotReady::StoreFailing) } else { Ok(()) }
    }

    /// Waits until nothing is in flight any more.
    pub async fn idle(&self) {
        while self.0.admission.events_in_flight() > 0 {
            tokio::time::sleep(DRAIN_POLL_INTERVAL).await;
        }
    }

    /// Waits for a room that cannot be brought back; answers its name.
    pub async fn lost(&self) -> String {
        match self.0.lost.lock().await.recv().await {
            Some(room) => room,
            None => std::future::pending().await,
        }
    }

    /// What is known of a room, whatever state it and the others are in.
    pub fn room(&self, room: RoomName) -> RoomReport {
        match room {
            RoomName::Shard(shard) => self.0.shards[shard].1.vitals.report(),
            RoomName::Writer => self.0.writer.1.report(),
            RoomName::Stats => self.0.stats.1.report(),
        }
    }

    /// Makes a room panic; for demonstrations and tests, and out of reach from outside.
    pub fn crash(&self, room: RoomName) {
        self.crash_by(room, Crash::Now);
    }

    /// As [`crash`](Self::crash), in one of several ways.
    pub fn crash_by(&self, room: RoomName, crash: Crash) {
        match room {
            RoomName::Shard(shard) => self.0.shards[shard].0.do_send(crash),
            RoomName::Writer => self.0.writer.0.do_send(crash),
            RoomName::Stats => self.0.stats.0.do_send(crash),
        }
    }

    /// Ends the rooms and closes the store. What is in flight is lost to its clients: be idle first.
    pub async fn stop(&self) {
        self.0.watch.abort();
        self.0.arbiters.iter().for_each(|arbiter| {
            arbiter.stop();
        });
        self.0.vitals().for_each(|room| room.note_ending(Ending::Stopped));
        self.0.store.close().await;
    }
}

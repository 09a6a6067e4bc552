//! What HTTP sees: plain async methods on a handle, no mailbox and no SQL.

mod directory;
mod namespaces;
mod ledger;
mod waiting;
mod following;
mod tail;
mod shared_reads;
mod reader_places;
mod subscriptions;
mod leasing;
mod filtering;
mod large_work;
mod places;
mod rests;
mod recent_peers;
mod readiness;
mod metrics;
mod seen_subscriptions;
mod tasks;
mod nodes;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ipnet::IpNet;
use tokio::sync::Notify;

use self::{
    directory::Directory,
    large_work::LargeWork,
    reader_places::ReaderPlaces,
    seen_subscriptions::{SeenSubscriptions, look_at_subscriptions},
    shared_reads::SharedReads,
};
pub use self::{
    following::{Begin, Follower, Step},
    large_work::{BodyTurn, Loaded, WorkInterrupted},
    leasing::{Lease, LeaseAnswer, Offered},
    ledger::{Ledger, LedgerReport, TopicPage},
    metrics::{InFlight, ServiceMetrics},
    namespaces::{Created, NamespaceError, NamespacePage},
    readiness::NotReady,
    seen_subscriptions::SeenSubscription,
    shared_reads::Interest,
    subscriptions::{Subscribed, SubscriptionError},
    waiting::PageError,
};
use crate::{
    actors::{ActorLimits, ActorName, ActorReport, Actors, Crash, RestartPolicy, Shared},
    ledger::{Admission, AdmissionLimits, BytesPermit, DamageLog, Overloaded, Peer, StoreReport},
    store::{Store, StoreError},
};

/// How long a reader waits for the store.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the store may take to close its connections when nothing is in flight any more.
const STORE_CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
const STATS_TIMEOUT: Duration = Duration::from_secs(6);
/// How long a report may take with the wait for its place among the reports.
const REPORT_TIMEOUT: Duration = Duration::from_secs(8);
const DRAIN_POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The limits of a service.
#[derive(Clone, Debug)]
pub struct ServiceLimits {
    /// DedupActors, at least 1.
    pub shards: usize,
    /// Ids that all windows together remember.
    pub window_ids: usize,
    /// WriterActors, and connections that append, at least 1; fewer where the store has fewer.
    pub write_connections: usize,
    /// Events of the largest request.
    pub batch_events_max: usize,
    /// Events accepted and not yet answered.
    pub events_in_flight_max: usize,
    /// Bytes of bodies being read or not yet answered.
    pub bytes_in_flight_max: usize,
    /// Bytes of the largest body.
    pub body_bytes_max: usize,
    /// Peers that may hold more than their share of the memory for bodies and answers.
    pub peer_share_exempt: Vec<IpNet>,
    /// Events in one group; a larger request is a group alone.
    pub group_events_max: usize,
    /// Bytes of events in one group; a larger request is a group alone.
    pub group_bytes_max: usize,
    /// Namespaces that the database may have.
    pub namespaces_max: usize,
    /// Topics that a namespace may have.
    pub topics_max: u32,
    /// Readers that wait for an event, and requests that wait for their read.
    pub waits_max: usize,
    /// Readers that follow a ledger.
    pub streams_max: usize,
    /// Namespaces that metrics show by name.
    pub metrics_namespaces_max: usize,
    /// How long a publish waits for a store that is unavailable.
    pub store_patience: Duration,
    /// How actors that crash are restarted.
    pub restarts: RestartPolicy,
}

/// A running service; a clone is the same one.
#[derive(Clone)]
pub struct Service(Arc<Parts>);

struct Parts {
    shared: Shared,
    directory: Directory,
    admission: Admission,
    actors: Actors,
    damage_log: DamageLog,
    log_lines_lost: LinesLost,
    large_work: LargeWork,
    namespaces_max: usize,
    /// Places of readers that wait.
    waits: ReaderPlaces,
    /// Places of readers that follow a ledger.
    streams: ReaderPlaces,
    shared_reads: SharedReads,
    subscriptions: Arc<SeenSubscriptions>,
    /// Wakes the task that removes the rows of deleted namespaces.
    sweep_wanted: Arc<Notify>,
}

/// Lines of the log that could not be written; a clone counts with it.
#[derive(Clone, Debug, Default)]
pub struct LinesLost(Arc<AtomicU64>);

impl LinesLost {
    /// Counts a line.
    pub fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Lines lost so far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// This node, as `/stats` shows it.
#[derive(Clone, Debug)]
pub struct NodeReport {
    /// Each shard's record, and how many ids its window holds.
    pub shards: Vec<(ActorReport, usize)>,
    pub writers: Vec<ActorReport>,
    pub stats: ActorReport,
    pub store: StoreReport,
    /// Ledgers that are open.
    pub ledgers: usize,
    pub events_in_flight: usize,
    pub bytes_in_flight: usize,
    pub answer_bytes_in_flight: usize,
    /// Lines of the log that could not be written.
    pub log_lines_lost: u64,
    /// Events that were looked up in the windows, and those of them that were known.
    pub window_lookups: (u64, u64),
    /// What is in flight against each limit.
    pub in_flight: Vec<InFlight>,
}

impl Service {
    /// Starts the actors over `store`.
    ///
    /// To be called within an `actix::System` on a multi-threaded tokio runtime, which the readers of the store use.
    /// An error where the system gives no thread for the actors.
    pub fn start(store: Store, limits: ServiceLimits, log_lines_lost: LinesLost) -> io::Result<Self> {
        let shared = Shared { store, store_health: Arc::default(), announcements: Arc::default() };
        let sweep_wanted = Arc::new(Notify::new());
        let sweep = tasks::sweep(shared.store.clone(), Arc::clone(&sweep_wanted));
        let service = Self(Arc::new(Parts {
            directory: Directory::default(),
            admission: Admission::new(admission(&limits)),
            actors: Actors::start(shared.clone(), actors(&limits))?,
            damage_log: DamageLog::default(),
            log_lines_lost,
            large_work: LargeWork::new(limits.waits_max, limits.peer_share_exempt.clone().into()),
            namespaces_max: limits.namespaces_max,
            waits: ReaderPlaces::new(limits.waits_max, "too many readers wait"),
            streams: ReaderPlaces::new(limits.streams_max, "there are as many streams as there may be"),
            shared_reads: SharedReads::default(),
            subscriptions: Arc::new(SeenSubscriptions::new(limits.metrics_namespaces_max)),
            sweep_wanted,
            shared,
        }));
        let parts = Arc::downgrade(&service.0);
        if let Some(news) = &service.0.shared.store.news {
            let announcements = Arc::clone(&service.0.shared.announcements);
            service
                .0
                .actors
                .keep_running("news to other nodes", nodes::announce(announcements, Arc::clone(news)));
            service
                .0
                .actors
                .keep_running("news of other nodes", nodes::hear(parts.clone(), Arc::clone(news)));
        }
        service.0.actors.keep_running("pulse", tasks::feel_pulse(parts.clone()));
        service.0.actors.keep_running("following of ledgers", tasks::follow_ledgers(parts.clone()));
        service.0.actors.keep_running("closing idle ledgers", tasks::close_idle_ledgers(parts.clone()));
        let subscriptions = Arc::clone(&service.0.subscriptions);
        service.0.actors.keep_running("a look at subscriptions", look_at_subscriptions(parts, subscriptions));
        service.0.actors.keep_running("sweep of deleted namespaces", sweep);
        Ok(service)
    }

    /// Closes the ledgers that nobody has used for so long.
    pub fn close_idle_ledgers(&self, age: Duration) {
        self.0.directory.close_idle(age);
    }

    /// A permit for the bytes of a body of `peer`, which grows as they come.
    pub fn body_permit(&self, peer: Peer) -> BytesPermit {
        self.0.admission.body_permit(peer)
    }

    /// Takes capacity for an answer to `peer` of about `bytes`, to be kept until the client has read it; or refuses
    /// at once.
    pub fn admit_answer(&self, peer: Peer, bytes: usize) -> Result<BytesPermit, Overloaded> {
        self.0.admission.admit_answer(peer, bytes)
    }

    /// Takes capacity for what is to be read for the streams of `peer`, or refuses at once.
    fn admit_piece(&self, peer: Peer, bytes: usize) -> Result<BytesPermit, Overloaded> {
        self.0.admission.admit_piece(peer, bytes)
    }

    /// Whether events are being published.
    pub fn is_publishing(&self) -> bool {
        self.0.admission.events_in_flight() > 0
    }

    /// Whether streams hold so much of what was read for them that others may have to wait.
    pub fn are_stream_pieces_scarce(&self) -> bool {
        self.0.admission.are_pieces_scarce()
    }

    /// Waits until `more` bytes may be taken of a body of `peer`, of which `bytes` have come: large bodies are read a few at a
    /// time, and those of an address rest behind one that was refused.
    pub async fn body_turn(&self, peer: Peer, bytes: usize, more: usize) -> BodyTurn<'_> {
        self.0.large_work.body_turn(peer, bytes, more).await
    }

    /// Parses a body of `peer`, where it is called, or on another thread where it would hold up others.
    pub async fn parse<T: Send + 'static, E: Send + 'static>(
        &self,
        peer: Peer,
        bytes: usize,
        parse: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<Result<T, E>, WorkInterrupted> {
        self.0.large_work.parse(peer, bytes, parse).await
    }

    /// Builds an answer of so many bytes in the same way.
    pub async fn build<T: Send + 'static>(
        &self,
        bytes: usize,
        build: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, WorkInterrupted> {
        self.0.large_work.build(bytes, build).await
    }

    async fn ask_store<T, F>(
        &self,
        timeout: Duration,
        question: impl FnOnce(Store) -> F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        // The limit lies within the task: the store gets to see that nobody waits any more. The task outlives
        // whoever asked, since a read that is cut off costs its connection.
        let reading = tokio::time::timeout(timeout, question(self.0.shared.store.clone()));
        match self.0.actors.run(reading).await {
            Some(Ok(answer)) => answer.inspect_err(|error| self.0.damage_log.note(error)),
            Some(Err(_)) | None => Err(StoreError::TimedOut(timeout)),
        }
    }

    /// What this node tells of itself.
    pub fn node(&self) -> NodeReport {
        let Parts { actors, admission, shared, directory, .. } = &*self.0;
        NodeReport {
            shards: actors.shards(),
            writers: actors.writers(),
            stats: actors.report(ActorName::Stats),
            store: shared.store_health.report(),
            ledgers: directory.len(),
            events_in_flight: admission.events_in_flight(),
            bytes_in_flight: admission.bytes_in_flight(),
            answer_bytes_in_flight: admission.answer_bytes_in_flight(),
            log_lines_lost: self.0.log_lines_lost.count(),
            window_lookups: actors.lookups(),
            in_flight: metrics::in_flight(&self.0),
        }
    }

    /// Waits until nothing is in flight any more.
    pub async fn idle(&self) {
        while self.0.admission.events_in_flight() > 0 {
            tokio::time::sleep(DRAIN_POLL_INTERVAL).await;
        }
    }

    /// Waits for an actor or a task that cannot be brought back; returns its name.
    pub async fn lost(&self) -> String {
        self.0.actors.lost().await
    }

    /// What is known of an actor, whatever state it and the others are in.
    pub fn actor(&self, actor: ActorName) -> ActorReport {
        self.0.actors.report(actor)
    }

    /// Makes an actor panic; for demonstrations and tests, and out of reach from outside.
    pub fn crash(&self, actor: ActorName, crash: Crash) {
        self.0.actors.crash(actor, crash);
    }

    /// Ends the actors and closes the store: the writer's connection first, then the readers', then what keeps the
    /// database for this service. What is in flight is lost to its clients: be idle first. True if everything was
    /// closed in time, and the database is left as it should be.
    pub async fn stop(&self) -> bool {
        let actors_stopped = self.0.actors.stop().await;
        let closing = self.0.shared.store.control.close();
        let store_closed = tokio::time::timeout(STORE_CLOSE_TIMEOUT, closing).await.unwrap_or(false);
        actors_stopped && store_closed
    }
}

fn actors(limits: &ServiceLimits) -> ActorLimits {
    ActorLimits {
        shards: limits.shards,
        window_ids: limits.window_ids,
        write_connections: limits.write_connections,
        group_events_max: limits.group_events_max,
        group_bytes_max: limits.group_bytes_max,
        topics_max: limits.topics_max,
        metrics_namespaces_max: limits.metrics_namespaces_max,
        store_patience: limits.store_patience,
        restarts: limits.restarts.clone(),
    }
}

fn admission(limits: &ServiceLimits) -> AdmissionLimits {
    AdmissionLimits {
        events_max: limits.events_in_flight_max,
        batch_events_max: limits.batch_events_max,
        bytes_max: limits.bytes_in_flight_max,
        body_bytes_max: limits.body_bytes_max,
        share_exempt: limits.peer_share_exempt.clone(),
    }
}

//! The actors: each owns a part of the state, and passes whole requests on.
//!
//! ```text
//! Ledger (the handle) ── Dedup ──► DedupActor 0 … n ── Enqueue ──► WriterActor 0 … w ──► store
//!      ▲    ▲                              ▲  ▲                         │   │
//!      │    │                              │  └───────── Learn ─────────┘   │
//!      │    └── the reply, by oneshot ─────┼────────────────────────────────┤
//!      └──────────── Ask ──► StatsActor ◄──┼──────── GroupCommitted ────────┘
//!                                          │
//!                                       WarmUp: a task that reads the store beside the actors
//! ```
//!
//! Liveness, a task too, finds what died in spite of its supervision.
//!
//! Shards and writers serve all ledgers that are open. Only writers write. A window may say "stored", never "new": the store's unique key is the judge. All
//! actors run under supervision and share one thread (an arbiter) of their own.

mod actor_health;
mod supervision;
mod tasks;
mod request;
mod dedup;
mod writer;
mod stats;
mod liveness;

use std::{
    io,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix::{Addr, Arbiter, Supervisor};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use self::{
    actor_health::ActorHealth,
    dedup::{Dedup, DedupActor, DedupWindow, ShardGauges, Shards, Source, WarmUp},
    liveness::{ActorConnection, Liveness},
    stats::{Ask, AskMetrics, Read, StatsActor},
    supervision::SupervisedActor,
    tasks::Tasks,
    writer::{Close, GroupLimits, Introduce, WriteConnections, WriterActor, WriterParts, Writers},
};
pub use self::{
    actor_health::{ActorExit, ActorReport, ExitCounts, InHand},
    request::{PublishError, PublishRequest, Reply},
    stats::{CountersReport, Distribution, EventCounts, MetricsReport, OTHER_NAMESPACES, TopicReport},
    supervision::{CRASH_INJECTED, Crash, RestartPolicy},
};
use crate::{
    ledger::{Announcements, OpenLedger, StoreHealth},
    store::{LedgerKey, Store, Totals},
};

/// How long the tasks may take to end when the service stops.
const TASKS_STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the writer's connection may take to close.
const WRITER_CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The limits of the actors.
#[derive(Clone, Debug)]
pub struct ActorLimits {
    /// DedupActors, at least 1.
    pub shards: usize,
    /// Ids that all windows together remember.
    pub window_ids: usize,
    /// WriterActors, and connections that append, at least 1; fewer where the store has fewer.
    pub write_connections: usize,
    /// Events in one group; a larger request is a group alone.
    pub group_events_max: usize,
    /// Bytes of events in one group; a larger request is a group alone.
    pub group_bytes_max: usize,
    /// Topics that a namespace may have.
    pub topics_max: u32,
    /// Namespaces that metrics show by name.
    pub metrics_namespaces_max: usize,
    /// How long a publish waits for a store that is unavailable.
    pub store_patience: Duration,
    /// How actors that crash are restarted.
    pub restarts: RestartPolicy,
}

/// What the actors share with the service above them.
#[derive(Clone)]
pub struct Shared {
    pub store: Store,
    pub store_health: Arc<StoreHealth>,
    /// What other nodes are to be told.
    pub announcements: Arc<Announcements>,
}

/// An actor, to name it from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorName {
    Shard(usize),
    Writer(usize),
    Stats,
}

/// A shard, and what is shown of it.
type Shard = (Addr<DedupActor>, Arc<ShardGauges>);

/// The running actors. All methods return at once; replies come by oneshot channel.
pub struct Actors {
    shards: Vec<Shard>,
    writers: Writers,
    warm_up: Arc<WarmUp>,
    stats: (Addr<StatsActor>, Arc<ActorHealth>),
    arbiter: Arbiter,
    tasks: Tasks,
    lost: tokio::sync::Mutex<mpsc::UnboundedReceiver<String>>,
}

impl Actors {
    /// Starts the actors, from the store upwards.
    ///
    /// To be called within an `actix::System` on a multi-threaded tokio runtime, which the readers of the store use.
    /// An error where the system gives no thread for them.
    pub fn start(shared: Shared, limits: ActorLimits) -> io::Result<Self> {
        let (lost, lost_received) = mpsc::unbounded_channel();
        let tasks = Tasks::new(lost.clone());
        let starting = Starting { shared, limits, arbiter: Arbiter::try_new()?, tasks, lost };
        let (stats, stats_health) = starting.stats();
        let writers = starting.writers(&stats);
        let (shards, warm_up) = starting.shards(&writers);
        let Starting { arbiter, tasks, lost, .. } = starting;
        let liveness = Liveness {
            actors: connections(&shards, &writers, (&stats, &stats_health)),
            thread: arbiter.handle(),
            lost,
        };
        tasks.keep_running("liveness", liveness.run());
        Ok(Self {
            shards,
            writers,
            warm_up,
            stats: (stats, stats_health),
            arbiter,
            tasks,
            lost: tokio::sync::Mutex::new(lost_received),
        })
    }

    /// Has the newest ids of a ledger that was just opened remembered, soon.
    pub fn warm(&self, ledger: &Arc<OpenLedger>) {
        self.warm_up.warm_ledger(ledger);
    }

    /// Runs `task` to its end on the runtime that the store's readers belong to, whether or not the result is
    /// waited for. The result is `None` if it panicked or if the service stopped first.
    pub async fn run<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> Option<T> {
        self.tasks.run(task).await
    }

    /// Runs a task that ends only with the service. Any other end of it ends the service.
    pub fn keep_running(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.keep_running(name, task);
    }

    /// Runs a task for as long as it has something to do. A panic in it ends the service.
    pub fn begin(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.begin(name, task);
    }

    /// Sends each shard its part of the request; the reply comes to the receiver that was made with the request.
    pub fn publish(&self, request: PublishRequest) {
        let parts = request.parts(self.shards.len());
        let request = Arc::new(request);
        for (shard, places) in parts {
            let (address, gauges) = &self.shards[shard];
            gauges.health.queue.fetch_add(1, Ordering::Relaxed);
            address.do_send(Dedup { request: Arc::clone(&request), places });
        }
    }

    /// The counters of a ledger as they were last read, and the metrics.
    pub fn counters(&self, ledger: LedgerKey) -> oneshot::Receiver<CountersReport> {
        let (reply, answer) = oneshot::channel();
        self.stats.0.do_send(Ask { ledger, reply });
        answer
    }

    /// The metrics of this process.
    pub fn metrics(&self) -> oneshot::Receiver<MetricsReport> {
        let (reply, answer) = oneshot::channel();
        self.stats.0.do_send(AskMetrics(reply));
        answer
    }

    /// Keeps the counters of a ledger, which were just read.
    pub fn keep_counters(&self, ledger: LedgerKey, totals: Arc<Totals>) {
        self.stats.0.do_send(Read { ledger, totals });
    }

    /// Each shard's record, and how many ids its window holds.
    pub fn shards(&self) -> Vec<(ActorReport, usize)> {
        let report =
            |gauges: &ShardGauges| (gauges.health.report(), gauges.window_ids.load(Ordering::Relaxed));
        self.shards.iter().map(|(_, gauges)| report(gauges)).collect()
    }

    /// Events that were looked up in the windows, and those of them that were known.
    pub fn lookups(&self) -> (u64, u64) {
        let sum = |count: fn(&ShardGauges) -> &AtomicU64| {
            self.shards.iter().map(|(_, gauges)| count(gauges).load(Ordering::Relaxed)).sum()
        };
        (sum(|gauges| &gauges.lookups), sum(|gauges| &gauges.hits))
    }

    /// Each writer's record.
    pub fn writers(&self) -> Vec<ActorReport> {
        self.writers.0.iter().map(|(_, health)| health.report()).collect()
    }

    /// What is known of an actor, whatever state it and the others are in.
    pub fn report(&self, actor: ActorName) -> ActorReport {
        match actor {
            ActorName::Shard(shard) => self.shards[shard].1.health.report(),
            ActorName::Writer(writer) => self.writers.0[writer].1.report(),
            ActorName::Stats => self.stats.1.report(),
        }
    }

    /// The name of an actor that does not run now.
    pub fn down(&self) -> Option<String> {
        self.health().find(|actor| !actor.is_running()).map(|actor| actor.name.clone())
    }

    /// Waits for an actor or a task that cannot be brought back; returns its name.
    pub async fn lost(&self) -> String {
        match self.lost.lock().await.recv().await {
            Some(actor) => actor,
            None => std::future::pending().await,
        }
    }

    /// Makes an actor panic; for demonstrations and tests, and out of reach from outside.
    pub fn crash(&self, actor: ActorName, crash: Crash) {
        match actor {
            ActorName::Shard(shard) => self.shards[shard].0.do_send(crash),
            ActorName::Writer(writer) => self.writers.0[writer].0.do_send(crash),
            ActorName::Stats => self.stats.0.do_send(crash),
        }
    }

    /// Ends the tasks, closes the writer's connection and ends the actors. What is in flight is lost to its
    /// clients. True if nothing holds a connection to the store any more.
    pub async fn stop(&self) -> bool {
        let (tasks_ended, writers_closed) =
            tokio::join!(self.tasks.stop(TASKS_STOP_TIMEOUT), self.close_writers());
        self.arbiter.stop();
        self.health().for_each(|actor| actor.note_exit(ActorExit::Stopped));
        tasks_ended && writers_closed
    }

    /// True if all connections are closed in time. A writer that is gone for good took its own along.
    async fn close_writers(&self) -> bool {
        let closing = self.writers.0.iter().filter(|(_, health)| !health.is_over()).map(|(address, _)| {
            let (closed, is_closed) = oneshot::channel();
            address.do_send(Close(closed));
            timeout(WRITER_CLOSE_TIMEOUT, is_closed)
        });
        futures::future::join_all(closing).await.iter().all(Result::is_ok)
    }

    fn health(&self) -> impl Iterator<Item = &Arc<ActorHealth>> {
        let shards = self.shards.iter().map(|(_, gauges)| &gauges.health);
        let writers = self.writers.0.iter().map(|(_, health)| health);
        shards.chain(writers).chain([&self.stats.1])
    }
}

/// What every actor is started with.
struct Starting {
    shared: Shared,
    limits: ActorLimits,
    arbiter: Arbiter,
    tasks: Tasks,
    lost: mpsc::UnboundedSender<String>,
}

impl Starting {
    fn health(&self, name: String) -> Arc<ActorHealth> {
        ActorHealth::new(name, self.limits.restarts.clone(), self.lost.clone())
    }

    fn supervise<A: SupervisedActor + Send>(&self, actor: A) -> Addr<A> {
        Supervisor::start_in_arbiter(&self.arbiter.handle(), |_| actor)
    }

    fn stats(&self) -> (Addr<StatsActor>, Arc<ActorHealth>) {
        let health = self.health("stats".to_owned());
        let actor = StatsActor::new(Arc::clone(&health), self.limits.metrics_namespaces_max);
        (self.supervise(actor), health)
    }

    fn writers(&self, stats: &Addr<StatsActor>) -> Writers {
        let appends = &self.shared.store.appends;
        let writers = appends.connections_max().unwrap_or(self.limits.write_connections).max(1);
        let connections = WriteConnections::new(Arc::clone(appends), writers);
        let limits = GroupLimits {
            events: self.limits.group_events_max,
            bytes: self.limits.group_bytes_max,
            groups: appends.groups_max(),
            topics: self.limits.topics_max,
        };
        let start = |writer: usize| {
            let parts = WriterParts {
                stats: stats.clone(),
                store_health: Arc::clone(&self.shared.store_health),
                announcements: Arc::clone(&self.shared.announcements),
                health: self.health(format!("writer {writer}")),
            };
            let health = Arc::clone(&parts.health);
            let patience = self.limits.store_patience;
            (self.supervise(WriterActor::new(parts, Arc::clone(&connections), limits, patience)), health)
        };
        Writers((0..writers).map(start).collect())
    }

    fn shards(&self, writers: &Writers) -> (Vec<Shard>, Arc<WarmUp>) {
        let window_ids = self.limits.window_ids / self.limits.shards;
        let addresses = Arc::new(OnceLock::new());
        let (warm_up, warming_up) = WarmUp::new(Source {
            store: Arc::clone(&self.shared.store.reads),
            shards: Arc::clone(&addresses),
            window_ids,
        });
        self.tasks.keep_running("warm-up", warming_up);
        let start = |shard: usize| {
            let health = self.health(format!("shard {shard}"));
            let gauges = Arc::new(ShardGauges::new(health));
            let actor = DedupActor {
                shard,
                window: DedupWindow::new(window_ids),
                writers: writers.clone(),
                warm_up: Arc::clone(&warm_up),
                gauges: Arc::clone(&gauges),
            };
            (self.supervise(actor), gauges)
        };
        let shards: Vec<_> = (0..self.limits.shards).map(start).collect();
        let introduced = Shards(shards.iter().map(|(address, _)| address.clone()).collect());
        for (writer, _) in writers.0.iter() {
            writer.do_send(Introduce(introduced.clone()));
        }
        let _ = addresses.set(introduced);
        (shards, warm_up)
    }
}

fn connections(
    shards: &[Shard],
    writers: &Writers,
    stats: (&Addr<StatsActor>, &Arc<ActorHealth>),
) -> Vec<ActorConnection> {
    fn connection<A: SupervisedActor>(address: &Addr<A>, health: &Arc<ActorHealth>) -> ActorConnection {
        let address = address.clone();
        (Arc::clone(health), Box::new(move || address.connected()))
    }
    let shards = shards.iter().map(|(address, gauges)| connection(address, &gauges.health));
    let writers = writers.0.iter().map(|(address, health)| connection(address, health));
    shards.chain(writers).chain([connection(stats.0, stats.1)]).collect()
}

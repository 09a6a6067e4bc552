//! The actors: each owns a part of the state, and passes whole requests on.
//!
//! ```text
//! Service (the handle) ── Dedup ──► DedupActor 0 … n ── Enqueue ──► WriterActor ──► store
//!      ▲    ▲                              ▲  ▲                         │   │
//!      │    │                              │  └───────── Learn ─────────┘   │
//!      │    └── the reply, by oneshot ─────┼────────────────────────────────┤
//!      └──────────── Ask ──► StatsActor ◄──┼──────── GroupCommitted ────────┘
//!                                          │
//!                                 Poller ──┴ WarmUp: tasks that read the store beside the actors
//! ```
//!
//! Liveness, a task too, finds what died in spite of its supervision.
//!
//! Only the writer writes. A window may say "stored", never "new": the store's unique key is the judge. All
//! actors run under supervision and share one thread (an arbiter) of their own.

mod actor_health;
mod supervision;
mod tasks;
mod request;
mod dedup;
mod writer;
mod stats;
mod poller;
mod liveness;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
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
    dedup::{Dedup, DedupActor, DedupWindow, ShardGauges, Source, WarmUp},
    liveness::{ActorConnection, Liveness},
    poller::Poller,
    stats::{Ask, Read, StatsActor},
    supervision::SupervisedActor,
    tasks::Tasks,
    writer::{Close, GroupLimits, WriterActor, WriterLimits},
};
pub use self::{
    actor_health::{ActorExit, ActorReport, ExitCounts, InHand},
    request::{PublishError, PublishRequest, Reply},
    stats::{CountersReport, MetricsReport},
    supervision::{CRASH_INJECTED, Crash, RestartPolicy},
};
use crate::{
    ledger::{LedgerPosition, StoreHealth},
    store::{LedgerKey, LedgerRecord, Store, Totals},
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
    /// Events in one group; a larger request is a group alone.
    pub group_events_max: usize,
    /// Bytes of events in one group; a larger request is a group alone.
    pub group_bytes_max: usize,
    /// How long a publish waits for a store that is unavailable.
    pub store_patience: Duration,
    /// How actors that crash are restarted.
    pub restarts: RestartPolicy,
}

/// What the actors share with the service above them.
#[derive(Clone)]
pub struct Shared {
    pub store: Store,
    pub ledger: LedgerRecord,
    pub position: Arc<LedgerPosition>,
    pub store_health: Arc<StoreHealth>,
}

/// An actor, to name it from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorName {
    Shard(usize),
    Writer,
    Stats,
}

/// The running actors. All methods return at once; replies come by oneshot channel.
pub struct Actors {
    shards: Vec<(Addr<DedupActor>, Arc<ShardGauges>)>,
    writer: (Addr<WriterActor>, Arc<ActorHealth>),
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
        let (writer, writer_health) = starting.writer(&stats);
        let shards = starting.shards(&writer, &writer_health);
        let Starting { shared, arbiter, tasks, lost, .. } = starting;
        let poller = Poller {
            store: shared.store.reads,
            ledger: shared.ledger,
            position: shared.position,
            writer: writer.clone(),
        };
        tasks.keep_running("poller", poller.run());
        let liveness = Liveness {
            actors: connections(&shards, (&writer, &writer_health), (&stats, &stats_health)),
            thread: arbiter.handle(),
            lost,
        };
        tasks.keep_running("liveness", liveness.run());
        Ok(Self {
            shards,
            writer: (writer, writer_health),
            stats: (stats, stats_health),
            arbiter,
            tasks,
            lost: tokio::sync::Mutex::new(lost_received),
        })
    }

    /// Runs `task` to its end on the runtime that the store's readers belong to, whether or not the result is
    /// waited for. The result is `None` if it panicked or if the service stopped first.
    pub async fn run<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> Option<T> {
        self.tasks.run(task).await
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

    /// What is known of an actor, whatever state it and the others are in.
    pub fn report(&self, actor: ActorName) -> ActorReport {
        match actor {
            ActorName::Shard(shard) => self.shards[shard].1.health.report(),
            ActorName::Writer => self.writer.1.report(),
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
            ActorName::Writer => self.writer.0.do_send(crash),
            ActorName::Stats => self.stats.0.do_send(crash),
        }
    }

    /// Ends the tasks, closes the writer's connection and ends the actors. What is in flight is lost to its
    /// clients. True if nothing holds a connection to the store any more.
    pub async fn stop(&self) -> bool {
        let (tasks_ended, writer_closed) =
            tokio::join!(self.tasks.stop(TASKS_STOP_TIMEOUT), self.close_writer());
        self.arbiter.stop();
        self.health().for_each(|actor| actor.note_exit(ActorExit::Stopped));
        tasks_ended && writer_closed
    }

    /// True if it is closed in time. A writer that is gone for good took its connection along.
    async fn close_writer(&self) -> bool {
        let (address, health) = &self.writer;
        if health.is_over() {
            return true;
        }
        let (closed, is_closed) = oneshot::channel();
        address.do_send(Close(closed));
        timeout(WRITER_CLOSE_TIMEOUT, is_closed).await.is_ok()
    }

    fn health(&self) -> impl Iterator<Item = &Arc<ActorHealth>> {
        let shards = self.shards.iter().map(|(_, gauges)| &gauges.health);
        shards.chain([&self.writer.1, &self.stats.1])
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
        let actor = StatsActor::new(Arc::clone(&health));
        (self.supervise(actor), health)
    }

    fn writer(&self, stats: &Addr<StatsActor>) -> (Addr<WriterActor>, Arc<ActorHealth>) {
        let health = self.health("writer".to_owned());
        let limits = WriterLimits {
            group: GroupLimits { events: self.limits.group_events_max, bytes: self.limits.group_bytes_max },
            store_patience: self.limits.store_patience,
        };
        let shared = self.shared.clone();
        let actor = WriterActor::new(shared, stats.clone(), self.limits.shards, limits, Arc::clone(&health));
        (self.supervise(actor), health)
    }

    fn shards(
        &self,
        writer: &Addr<WriterActor>,
        writer_health: &Arc<ActorHealth>,
    ) -> Vec<(Addr<DedupActor>, Arc<ShardGauges>)> {
        let window_ids = self.limits.window_ids / self.limits.shards;
        let (warm_up, warming_up) = WarmUp::new(Source {
            store: Arc::clone(&self.shared.store.reads),
            ledger: self.shared.ledger.clone(),
            position: Arc::clone(&self.shared.position),
            shards: self.limits.shards,
            shard_ids_max: window_ids / 2,
        });
        self.tasks.keep_running("warm-up", warming_up);
        let start = |shard: usize| {
            let health = self.health(format!("shard {shard}"));
            let gauges = Arc::new(ShardGauges { health, window_ids: AtomicUsize::new(0) });
            let actor = DedupActor {
                shard,
                window: DedupWindow::new(window_ids),
                epoch: 0,
                writer: writer.clone(),
                writer_health: Arc::clone(writer_health),
                warm_up: Arc::clone(&warm_up),
                gauges: Arc::clone(&gauges),
            };
            (self.supervise(actor), gauges)
        };
        (0..self.limits.shards).map(start).collect()
    }
}

fn connections(
    shards: &[(Addr<DedupActor>, Arc<ShardGauges>)],
    writer: (&Addr<WriterActor>, &Arc<ActorHealth>),
    stats: (&Addr<StatsActor>, &Arc<ActorHealth>),
) -> Vec<ActorConnection> {
    fn connection<A: SupervisedActor>(address: &Addr<A>, health: &Arc<ActorHealth>) -> ActorConnection {
        let address = address.clone();
        (Arc::clone(health), Box::new(move || address.connected()))
    }
    let shards = shards.iter().map(|(address, gauges)| connection(address, &gauges.health));
    shards.chain([connection(writer.0, writer.1), connection(stats.0, stats.1)]).collect()
}

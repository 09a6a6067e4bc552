//! The actors: each owns a part of the state, and passes whole requests on.
//!
//! ```text
//! Service (the handle) ── Dedup ──► DedupActor 0 … n ── Enqueue ──► WriterActor ──► store
//!      ▲    ▲                              ▲  ▲                         │   │
//!      │    │                              │  └───────── Learn ─────────┘   │
//!      │    └── the reply, by oneshot ─────┼────────────────────────────────┤
//!      └──────────── Ask ──► StatsActor ◄──┼──────── GroupCommitted ────────┘
//!                                 ▲        │
//!                                 └ Poller ┴ WarmUp: tasks that read the store beside the actors
//! ```
//!
//! Only the writer writes. A window may say "stored", never "new": the store's unique key is the judge. All
//! actors run under supervision and share one thread (an arbiter) of their own.

mod supervision;
mod request;
mod dedup;
mod writer;
mod stats;
mod poller;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use actix::{Addr, Arbiter, Supervisor};
use tokio::{
    runtime::Handle as Runtime,
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use self::{
    dedup::{Dedup, DedupActor, DedupWindow, ShardGauges, Source, WarmUp},
    poller::{ActorConnection, Poller},
    stats::{Ask, StatsActor},
    supervision::{ActorHealth, SupervisedActor},
    writer::{GroupLimits, WriterActor, WriterLimits},
};
pub use self::{
    request::{PublishError, PublishRequest, Reply},
    stats::{CountersReport, MetricsReport},
    supervision::{ActorExit, ActorReport, CRASH_INJECTED, Crash, ExitCounts, InHand, RestartPolicy},
};
use crate::{
    event::Digester,
    ledger::{LedgerPosition, StoreHealth},
    store::EventStore,
};

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
    pub store: Arc<dyn EventStore>,
    pub digester: Digester,
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
    poller: JoinHandle<()>,
    lost: tokio::sync::Mutex<mpsc::UnboundedReceiver<String>>,
}

impl Actors {
    /// Starts the actors, from the store upwards.
    ///
    /// To be called within an `actix::System` on a multi-threaded tokio runtime, which the readers of the store use.
    pub fn start(shared: Shared, limits: ActorLimits) -> Self {
        let (lost, lost_received) = mpsc::unbounded_channel();
        let starting = Starting { shared, limits, arbiter: Arbiter::new(), lost };
        let (stats, stats_health) = starting.stats();
        let (writer, writer_health) = starting.writer(&stats);
        let shards = starting.shards(&writer, &writer_health);
        let Starting { shared, arbiter, .. } = starting;
        let poller = Poller {
            store: shared.store,
            position: shared.position,
            writer: writer.clone(),
            stats: stats.clone(),
            actors: connections(&shards, (&writer, &writer_health), (&stats, &stats_health)),
        };
        Self {
            shards,
            writer: (writer, writer_health),
            stats: (stats, stats_health),
            arbiter,
            poller: tokio::spawn(poller.run()),
            lost: tokio::sync::Mutex::new(lost_received),
        }
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

    /// The counters, which include all that this node has acknowledged. The sender is dropped where the store
    /// does not give them.
    pub fn counters(&self) -> oneshot::Receiver<CountersReport> {
        let (reply, answer) = oneshot::channel();
        self.stats.0.do_send(Ask(reply));
        answer
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

    /// Waits for an actor that cannot be brought back; returns its name.
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

    /// Ends the actors. What is in flight is lost to its clients.
    pub fn stop(&self) {
        self.poller.abort();
        self.arbiter.stop();
        self.health().for_each(|actor| actor.note_exit(ActorExit::Stopped));
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
        let store = Arc::clone(&self.shared.store);
        let actor = StatsActor::new(store, Runtime::current(), Arc::clone(&health));
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
        let warm_up = WarmUp::start(Source {
            store: Arc::clone(&self.shared.store),
            digester: self.shared.digester.clone(),
            position: Arc::clone(&self.shared.position),
            shards: self.limits.shards,
            shard_ids_max: window_ids / 2,
        });
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

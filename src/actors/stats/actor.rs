//! StatsActor: owns the metrics of this process, and the counters of each ledger as they were last read.
//!
//! It is told of each commit of this process before the answers leave. Counters are read from the store, outside,
//! and come back as a message with the commit that they belong to: whoever asks compares that with the ledger's head,
//! and reads them again where another commit has followed. Its memory is the counters of the ledgers asked for last.

use std::{collections::HashMap, sync::Arc, time::Duration};

use actix::prelude::*;
use tokio::sync::oneshot;

use super::{
    by_namespace::EventCounts,
    metrics::{Metrics, MetricsReport},
};
use crate::actors::{
    actor_health::ActorHealth,
    supervision::{self, Crash, SupervisedActor, guarded},
};
use crate::{
    ledger::OpenLedger,
    store::{LedgerKey, Totals},
};

/// Ledgers whose counters are kept: each may name 1,000 topics.
const LEDGERS_MAX: usize = 64;

/// A commit of this process.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct GroupCommitted {
    pub(in crate::actors) ledger: Arc<OpenLedger>,
    /// All events of the group.
    pub(in crate::actors) events: usize,
    /// Those of them that were stored.
    pub(in crate::actors) unique: usize,
    /// Those of them that only the store knew to be duplicates.
    pub(in crate::actors) exceptions: usize,
    /// The events of each topic.
    pub(in crate::actors) topics: Vec<(String, EventCounts)>,
    pub(in crate::actors) latency: Duration,
}

/// Counters that were read from the store.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct Read {
    pub(in crate::actors) ledger: LedgerKey,
    pub(in crate::actors) totals: Arc<Totals>,
}

/// Someone wants to see a ledger's counters, as they are known here, and the metrics.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct Ask {
    pub(in crate::actors) ledger: LedgerKey,
    pub(in crate::actors) reply: oneshot::Sender<CountersReport>,
}

/// Someone wants to see the metrics alone.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct AskMetrics(pub(in crate::actors) oneshot::Sender<MetricsReport>);

/// The counters of a ledger, and this process's metrics.
#[derive(Clone, Debug)]
pub struct CountersReport {
    /// The counters as they were last read; `None` where they were not since the actor started.
    pub totals: Option<Arc<Totals>>,
    pub metrics: MetricsReport,
}

pub(in crate::actors) struct StatsActor {
    health: Arc<ActorHealth>,
    metrics: Metrics,
    totals: HashMap<LedgerKey, Arc<Totals>>,
}

impl StatsActor {
    pub(in crate::actors) fn new(health: Arc<ActorHealth>, namespaces_max: usize) -> Self {
        Self { health, metrics: Metrics::new(namespaces_max), totals: HashMap::new() }
    }
}

impl Actor for StatsActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        supervision::start(self, ctx);
    }
}

impl Supervised for StatsActor {
    fn restarting(&mut self, _ctx: &mut Self::Context) {
        self.totals.clear();
    }
}

impl SupervisedActor for StatsActor {
    fn health(&self) -> &Arc<ActorHealth> {
        &self.health
    }
}

impl Handler<GroupCommitted> for StatsActor {
    type Result = ();

    fn handle(&mut self, group: GroupCommitted, ctx: &mut Self::Context) {
        guarded(self, ctx, |stats, _| {
            stats.metrics.record(&group);
        });
    }
}

impl Handler<Read> for StatsActor {
    type Result = ();

    fn handle(&mut self, read: Read, ctx: &mut Self::Context) {
        guarded(self, ctx, |stats, _| {
            if stats.totals.len() >= LEDGERS_MAX && !stats.totals.contains_key(&read.ledger) {
                stats.totals.clear();
            }
            stats.totals.insert(read.ledger, read.totals);
        });
    }
}

impl Handler<Ask> for StatsActor {
    type Result = ();

    fn handle(&mut self, ask: Ask, ctx: &mut Self::Context) {
        guarded(self, ctx, |stats, _| {
            let totals = stats.totals.get(&ask.ledger).cloned();
            // Whoever hung up needs no answer.
            let _ = ask.reply.send(CountersReport { totals, metrics: stats.metrics.report() });
        });
    }
}

impl Handler<AskMetrics> for StatsActor {
    type Result = ();

    fn handle(&mut self, AskMetrics(reply): AskMetrics, ctx: &mut Self::Context) {
        guarded(self, ctx, |stats, _| {
            let mut report = stats.metrics.report();
            report.namespaces = stats.metrics.by_namespace();
            report.topics = stats.metrics.by_topic();
            let _ = reply.send(report);
        });
    }
}

impl Handler<Crash> for StatsActor {
    type Result = ();

    fn handle(&mut self, crash: Crash, ctx: &mut Self::Context) {
        crash.strike(self, ctx);
    }
}

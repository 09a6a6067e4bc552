//! StatsActor: owns the counters that `/stats` shows.
//!
//! It is told of each commit of this node before the answers leave, and so includes all that was acknowledged.
//! Where a commit of another node came in between, or it has just started, it takes all counters from the store,
//! in one snapshot. It waits for nobody: reads run outside and come back as messages.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;
use tokio::sync::oneshot;
use tracing::warn;

use super::{
    metrics::{Metrics, MetricsReport},
    topic_table::TopicTable,
};
use crate::actors::{
    actor_health::ActorHealth,
    supervision::{self, Crash, SupervisedActor, guarded},
    tasks::Tasks,
    writer::TopicDelta,
};
use crate::store::{EventStore, Head, LedgerMark, StoreError, Totals};

const LOAD_TIMEOUT: Duration = Duration::from_secs(5);

/// A commit of this node.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct GroupCommitted {
    /// The commit that the append found to be still in the ledger.
    pub(in crate::actors) seen: LedgerMark,
    pub(in crate::actors) head: Head,
    pub(in crate::actors) new_topics: Vec<String>,
    pub(in crate::actors) deltas: Vec<TopicDelta>,
    /// All events of the group.
    pub(in crate::actors) events: usize,
    /// Those of them that only the store knew to be duplicates.
    pub(in crate::actors) exceptions: usize,
    pub(in crate::actors) latency: Duration,
}

/// The newest commit of all nodes, as the watch saw it.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct HeadSeen(pub(in crate::actors) Head);

/// The database was restored to an older copy.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct Rebuild;

/// Someone wants to see the counters. The reply is dropped where the store does not give them.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct Ask(pub(in crate::actors) oneshot::Sender<CountersReport>);

/// The counters, and this node's metrics.
#[derive(Clone, Debug)]
pub struct CountersReport {
    pub totals: Totals,
    pub metrics: MetricsReport,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Loaded {
    /// `None` if reading them panicked.
    totals: Option<Result<Totals, StoreError>>,
    /// The rebuild that asked for it.
    rebuild_no: u64,
}

pub(in crate::actors) struct StatsActor {
    store: Arc<dyn EventStore>,
    tasks: Tasks,
    health: Arc<ActorHealth>,
    metrics: Metrics,
    /// The counters up to one commit; `None` until they are loaded.
    counted: Option<Counted>,
    /// The newest commit that this node has made.
    newest_made: u64,
    /// The newest commit at the watch's last look.
    newest_looked: u64,
    loading: bool,
    /// Why the counters could not be read at the last attempt.
    load_error: Option<String>,
    rebuild_no: u64,
    /// Those who wait for the counters up to a commit.
    waiting: Vec<(u64, oneshot::Sender<CountersReport>)>,
}

struct Counted {
    head: Head,
    topics: TopicTable,
}

impl StatsActor {
    pub(in crate::actors) fn new(store: Arc<dyn EventStore>, tasks: Tasks, health: Arc<ActorHealth>) -> Self {
        Self {
            store,
            tasks,
            health,
            metrics: Metrics::new(),
            counted: None,
            newest_made: 0,
            newest_looked: 0,
            loading: false,
            load_error: None,
            rebuild_no: 0,
            waiting: Vec::new(),
        }
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
        self.counted = None;
        self.rebuild_no += 1;
        self.loading = false;
    }
}

impl SupervisedActor for StatsActor {
    fn health(&self) -> &Arc<ActorHealth> {
        &self.health
    }

    fn enter(&mut self, ctx: &mut Context<Self>) {
        self.load(ctx);
    }
}

impl Handler<GroupCommitted> for StatsActor {
    type Result = ();

    fn handle(&mut self, told: GroupCommitted, ctx: &mut Self::Context) {
        guarded(self, ctx, |stats, _| {
            stats.metrics.record(told.events, told.exceptions, told.latency);
            stats.newest_made = told.head.mark.commit_no;
            if let Some(counted) = &mut stats.counted
                && counted.head.mark == told.seen
                && told.seen.commit_no + 1 == told.head.mark.commit_no
            {
                counted.head = told.head;
                counted.topics.add(told.new_topics, told.deltas);
            }
        });
    }
}

impl Handler<HeadSeen> for StatsActor {
    type Result = ();

    fn handle(&mut self, HeadSeen(head): HeadSeen, ctx: &mut Self::Context) {
        guarded(self, ctx, |stats, ctx| {
            // A look from before the last commit here tells nothing; one of a restored database, the writer will.
            if head.mark.commit_no < stats.newest_made {
                return;
            }
            stats.newest_looked = head.mark.commit_no;
            for (commit, _) in &mut stats.waiting {
                *commit = head.mark.commit_no.min(*commit);
            }
            if stats.counted.as_ref().is_none_or(|counted| counted.head.mark != head.mark) {
                stats.load(ctx);
            }
        });
    }
}

impl Handler<Rebuild> for StatsActor {
    type Result = ();

    fn handle(&mut self, _: Rebuild, ctx: &mut Self::Context) {
        guarded(self, ctx, |stats, ctx| {
            stats.counted = None;
            stats.newest_made = 0;
            stats.newest_looked = 0;
            stats.rebuild_no += 1;
            stats.loading = false;
            stats.waiting.iter_mut().for_each(|(commit, _)| *commit = 0);
            stats.load(ctx);
        });
    }
}

impl Handler<Ask> for StatsActor {
    type Result = ();

    fn handle(&mut self, Ask(reply): Ask, ctx: &mut Self::Context) {
        guarded(self, ctx, |stats, ctx| {
            stats.waiting.push((stats.newest_made.max(stats.newest_looked), reply));
            stats.answer_waiting();
            if !stats.waiting.is_empty() {
                stats.load(ctx);
            }
        });
    }
}

impl Handler<Loaded> for StatsActor {
    type Result = ();

    fn handle(&mut self, loaded: Loaded, ctx: &mut Self::Context) {
        guarded(self, ctx, |stats, ctx| {
            if loaded.rebuild_no != stats.rebuild_no {
                return;
            }
            stats.loading = false;
            match loaded.totals {
                Some(Ok(totals)) => stats.take(totals),
                Some(Err(error)) => stats.note_load_error(error),
                None => stats.waiting.clear(),
            }
            stats.answer_waiting();
            if !stats.waiting.is_empty() {
                stats.load(ctx);
            }
        });
    }
}

impl Handler<Crash> for StatsActor {
    type Result = ();

    fn handle(&mut self, crash: Crash, ctx: &mut Self::Context) {
        crash.strike(self, ctx);
    }
}

impl StatsActor {
    /// Has the counters read from the store, unless that is under way.
    fn load(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.loading, true) {
            return;
        }
        let store = Arc::clone(&self.store);
        let address = ctx.address();
        let rebuild_no = self.rebuild_no;
        let tasks = self.tasks.clone();
        ctx.spawn(
            async move {
                let totals = tasks.run(async move {
                    let totals = tokio::time::timeout(LOAD_TIMEOUT, store.totals()).await;
                    totals.unwrap_or(Err(StoreError::TimedOut(LOAD_TIMEOUT)))
                });
                address.do_send(Loaded { totals: totals.await, rebuild_no });
            }
            .into_actor(self),
        );
    }

    /// The poller asks again in a moment: a cause that stays is logged once.
    fn note_load_error(&mut self, error: StoreError) {
        let message = error.to_string();
        if self.load_error.replace(message) != Some(error.to_string()) {
            warn!(error = &error as &dyn std::error::Error, "the counters cannot be read");
        }
        self.waiting.clear();
    }

    /// Takes counters that were read, unless this node's commits have led beyond them meanwhile. They may lie
    /// before those that were read last: then the database was restored.
    fn take(&mut self, totals: Totals) {
        self.load_error = None;
        if totals.head.mark.commit_no >= self.newest_made {
            self.counted = Some(Counted { head: totals.head, topics: TopicTable::new(totals.topics) });
        }
    }

    fn answer_waiting(&mut self) {
        let Some(counted) = &self.counted else { return };
        let commit_no = counted.head.mark.commit_no;
        if self.waiting.iter().all(|(commit, _)| *commit > commit_no) {
            return;
        }
        let totals = Totals { head: counted.head, topics: counted.topics.to_vec() };
        let report = CountersReport { totals, metrics: self.metrics.report() };
        for (_, reply) in self.waiting.extract_if(.., |(commit, _)| *commit <= commit_no) {
            // Whoever hung up needs no answer.
            let _ = reply.send(report.clone());
        }
    }
}

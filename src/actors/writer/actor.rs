//! WriterActor: the only kind of actor that writes. It gathers whole requests by ledger, and commits them in groups.
//!
//! While one group of a ledger commits, the next one gathers; an idle ledger's group starts at once, and one whose
//! store has a slow flush waits a moment for the clients that were just answered ([`Pace`](super::pace::Pace)). Its
//! memory is the queues, which admission bounds. It waits for no other actor.

use std::{
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use actix::prelude::*;
use futures::FutureExt;
use tokio::sync::oneshot;
use tracing::error;
use uuid::Uuid;

use super::{
    commit::{Committing, GroupId, JobDone},
    connections::WriteConnections,
    lane::{GroupLimits, Lane},
    queue::NextGroup,
    settle::{Unanswered, WriterParts},
};
use crate::actors::{
    actor_health::ActorHealth,
    dedup::Shards,
    request::{PublishError, PublishRequest},
    supervision::{self, Crash, SupervisedActor, guarded},
};
use crate::store::LedgerKey;

/// How often the queues are searched: while the store is unavailable, for requests that have waited too long; and for
/// ledgers that were not used for long.
const QUEUE_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// A ledger that was not used for so long is forgotten, with what was learned of its clients' pace.
const IDLE_LEDGER_TIME: Duration = Duration::from_secs(60);

/// A whole request, from the shard that finished it last.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct Enqueue(pub(in crate::actors) Arc<PublishRequest>);

/// The shards, which learn what is committed; before the first request.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct Introduce(pub(in crate::actors) Shards);

/// Ends the connections. No transaction starts after it; the sender is used when those that are idle are closed.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct Close(pub(in crate::actors) oneshot::Sender<()>);

/// Which lane: that of one ledger, or that of all.
type LaneKey = Option<LedgerKey>;

pub(in crate::actors) struct WriterActor {
    parts: WriterParts,
    connections: Arc<WriteConnections>,
    shards: Shards,
    limits: GroupLimits,
    store_patience: Duration,
    lanes: HashMap<LaneKey, Lane>,
    /// Of the last group that was taken in hand.
    last_group: GroupId,
    /// The ledger whose group failed last for the store's sake.
    probed: Option<LedgerKey>,
    /// Set for good by [`Close`].
    is_closing: bool,
    /// Who waits for the connections to be closed.
    closed: Option<oneshot::Sender<()>>,
}

impl WriterActor {
    pub(in crate::actors) fn new(
        parts: WriterParts,
        connections: Arc<WriteConnections>,
        limits: GroupLimits,
        store_patience: Duration,
    ) -> Self {
        Self {
            parts,
            connections,
            shards: Shards(Vec::new()),
            limits,
            store_patience,
            lanes: HashMap::new(),
            last_group: GroupId { writer_id: Uuid::new_v4(), group_no: 0 },
            probed: None,
            is_closing: false,
            closed: None,
        }
    }
}

impl Actor for WriterActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        supervision::start(self, ctx);
    }
}

impl Supervised for WriterActor {
    /// The groups in hand went with the futures that committed them, and so did their connections. The queues stay.
    fn restarting(&mut self, _ctx: &mut Self::Context) {
        let now = Instant::now();
        self.lanes.values_mut().for_each(|lane| lane.start_again(now));
    }
}

impl SupervisedActor for WriterActor {
    fn health(&self) -> &Arc<ActorHealth> {
        &self.parts.health
    }

    fn enter(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(QUEUE_CHECK_INTERVAL, |writer, ctx| {
            guarded(writer, ctx, |writer, ctx| writer.look_after_queues(ctx));
        });
        let lanes: Vec<LaneKey> = self.lanes.keys().copied().collect();
        lanes.into_iter().for_each(|lane| self.commit_next(lane, ctx));
        self.close_if_asked(ctx);
    }
}

impl Handler<Enqueue> for WriterActor {
    type Result = ();

    fn handle(&mut self, Enqueue(request): Enqueue, ctx: &mut Self::Context) {
        guarded(self, ctx, |writer, ctx| {
            if request.ledger.is_gone() {
                writer.parts.health.queue.fetch_sub(1, Ordering::Relaxed);
                return request.answer(Err(PublishError::Gone));
            }
            let lane = writer.lane_of(request.ledger.key());
            let limits = writer.limits;
            writer.lanes.entry(lane).or_insert_with(|| Lane::new(limits)).push(request);
            writer.commit_next(lane, ctx);
        });
    }
}

impl Handler<Introduce> for WriterActor {
    type Result = ();

    fn handle(&mut self, Introduce(shards): Introduce, ctx: &mut Self::Context) {
        guarded(self, ctx, |writer, _| writer.shards = shards);
    }
}

impl Handler<Close> for WriterActor {
    type Result = ();

    fn handle(&mut self, Close(closed): Close, ctx: &mut Self::Context) {
        guarded(self, ctx, |writer, ctx| {
            writer.is_closing = true;
            writer.closed = Some(closed);
            writer.close_if_asked(ctx);
        });
    }
}

impl Handler<Crash> for WriterActor {
    type Result = ();

    fn handle(&mut self, crash: Crash, ctx: &mut Self::Context) {
        crash.strike(self, ctx);
    }
}

impl WriterActor {
    /// Where a transaction holds groups of several ledgers, all of them share a lane.
    fn lane_of(&self, ledger: LedgerKey) -> LaneKey {
        (self.limits.groups == 1).then_some(ledger)
    }

    /// Takes the next groups of a lane in hand, if there are some, none are, and nothing is waited for.
    fn commit_next(&mut self, lane_key: LaneKey, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let Some(lane) = self.lanes.get_mut(&lane_key) else { return };
        while !self.is_closing && lane.may_start(now) {
            let groups = match lane.group_that_proves() {
                Some(proof) => vec![proof],
                None => lane.next_groups(now),
            };
            if groups.is_empty() {
                return;
            }
            let fresh = groups.iter().filter(|(_, group)| !group.is_retry);
            let fresh = fresh.map(|(_, group)| group.requests.len()).sum();
            self.parts.health.queue.fetch_sub(fresh, Ordering::Relaxed);
            if !refuse_quarantined(lane, &groups, now) {
                return self.commit(lane_key, groups, ctx);
            }
        }
    }

    fn commit(&mut self, lane_key: LaneKey, groups: Vec<(LedgerKey, NextGroup)>, ctx: &mut Context<Self>) {
        let Some(lane) = self.lanes.get_mut(&lane_key) else { return };
        let mut jobs = Vec::with_capacity(groups.len());
        for (key, group) in groups {
            let Some(queue) = lane.ledger(key) else { continue };
            self.last_group.group_no += 1;
            jobs.push(queue.job(group.requests, self.last_group, self.limits.topics));
        }
        if jobs.is_empty() {
            return;
        }
        lane.is_committing = true;
        self.parts.health.note_in_hand(self.lanes.values_mut().map(Lane::requests_in_hand).sum());
        let committing = Committing {
            connections: Arc::clone(&self.connections),
            store_health: Arc::clone(&self.parts.store_health),
            store_patience: self.store_patience,
        };
        let committing = AssertUnwindSafe(committing.commit(jobs)).catch_unwind().into_actor(self);
        ctx.spawn(committing.map(move |done, writer: &mut Self, ctx| match done {
            Ok(done) => guarded(writer, ctx, |writer, ctx| writer.finish(lane_key, done, ctx)),
            Err(panic) => {
                if let Some(lane) = writer.lanes.get_mut(&lane_key) {
                    lane.is_committing = false;
                }
                supervision::end(writer, ctx, panic);
            }
        }));
    }

    fn finish(&mut self, lane_key: LaneKey, done: Vec<JobDone>, ctx: &mut Context<Self>) {
        let Some(lane) = self.lanes.get_mut(&lane_key) else { return };
        lane.is_committing = false;
        let pace = lane.pace_after(&done);
        let mut unanswered: Vec<Unanswered> = Vec::with_capacity(done.len());
        for done in done {
            let key = done.job.ledger.key();
            match self.parts.settle(lane, done) {
                Some(committed) => unanswered.push(committed),
                None => self.probed = Some(key),
            }
        }
        self.parts.health.note_in_hand(self.lanes.values_mut().map(Lane::requests_in_hand).sum());
        // Without a wait the next groups are on their way to the store before the clients of these are answered.
        self.commit_next(lane_key, ctx);
        for committed in unanswered {
            self.shards.teach(&committed.learned);
            committed.answer();
        }
        if let Some(wait) = pace {
            ctx.run_later(wait, move |writer, ctx| {
                guarded(writer, ctx, |writer, ctx| writer.commit_next(lane_key, ctx));
            });
        }
        self.close_if_asked(ctx);
    }

    /// Closes the connections for the one who asked, once no transaction is under way.
    fn close_if_asked(&mut self, ctx: &mut Context<Self>) {
        if self.lanes.values().any(|lane| lane.is_committing) {
            return;
        }
        let Some(closed) = self.closed.take() else { return };
        let connections = Arc::clone(&self.connections);
        let closing = async move { connections.close().await };
        let closing = AssertUnwindSafe(closing).catch_unwind().into_actor(self);
        ctx.spawn(closing.map(|closing, writer: &mut Self, ctx| {
            // Nobody waits any more only when the time for stopping is over.
            let _ = closed.send(());
            if let Err(panic) = closing {
                supervision::end(writer, ctx, panic);
            }
        }));
    }

    /// While the store is unavailable, a request waits no longer than the store's patience, in hand or in the queue.
    fn look_after_queues(&mut self, ctx: &mut Context<Self>) {
        if self.parts.store_health.is_lost() {
            let patience = self.store_patience;
            let impatient = self.lanes.values_mut().map(|lane| lane.answer_the_impatient(patience)).sum();
            self.parts.health.queue.fetch_sub(impatient, Ordering::Relaxed);
            self.probe_store(ctx);
        }
        // What failed last is probed until the store takes it.
        if !self.parts.store_health.is_lost() {
            self.lanes.retain(|_, lane| !lane.close_idle(IDLE_LEDGER_TIME));
        }
    }

    /// A store that failed is ready again only when it has taken a write, and a service that is not ready may be sent
    /// none: so a writer whose group failed commits an empty one.
    fn probe_store(&mut self, ctx: &mut Context<Self>) {
        let Some(ledger) = self.probed.filter(|_| !self.is_closing) else { return };
        let lane_key = self.lane_of(ledger);
        if self.lanes.get(&lane_key).is_some_and(|lane| !lane.is_committing) {
            let probe = NextGroup { requests: Vec::new(), is_retry: true, is_alone: true };
            self.commit(lane_key, vec![(ledger, probe)], ctx);
        }
    }
}

/// Answers a request that is quarantined; such a request makes a transaction alone.
fn refuse_quarantined(lane: &mut Lane, groups: &[(LedgerKey, NextGroup)], now: Instant) -> bool {
    let [(key, group)] = groups else { return false };
    let [request] = &group.requests[..] else { return false };
    let Some(refusal) = lane.quarantine.refuse(&request.digests, now) else { return false };
    let first = request.events.first();
    if !refusal.is_repeated {
        error!(
            parent: &request.ids.span(),
            events = request.events.len(),
            first_topic = first.map(|event| &**event.topic()),
            first_event_id = first.map(|event| &**event.event_id()),
            namespace = request.ledger.record.namespace,
            "a request crashed the writer twice by itself; it is quarantined"
        );
    }
    request.answer(Err(PublishError::Quarantined));
    lane.note_ready(*key);
    true
}

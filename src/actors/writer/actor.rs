//! WriterActor: the only actor that writes. It gathers whole requests, and commits them in groups, one at a time.
//!
//! While one group commits, the next one gathers; an idle writer starts at once, and one whose store has a slow
//! flush waits a moment for the clients it has just answered ([`Pace`]). Its memory is the queue, which admission
//! bounds, and the ids of its last groups. It waits for no other actor.

mod outcome;

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use futures::FutureExt;
use tokio::sync::oneshot;
use tracing::{error, warn};
use uuid::Uuid;

use super::{
    blame::RefusedGroup,
    commit::{AppendContext, CommitDone, Connection, GroupId, commit},
    group::Group,
    pace::Pace,
    quarantine::Quarantine,
    queue::{GroupLimits, WriterQueue},
    shards::Shards,
};
use crate::actors::{
    Shared,
    actor_health::ActorHealth,
    dedup::{DedupActor, DedupWindow},
    request::{PublishError, PublishRequest},
    stats::StatsActor,
    supervision::{self, Crash, SupervisedActor, guarded},
};
use crate::ledger::{LedgerPosition, PolledHead, StoreHealth};
use crate::store::{AppendStore, LedgerKey};

/// Ids of the last groups that the writer itself remembers, for repeats that were in flight with their original.
const RECENT_IDS_MAX: usize = 65_536;
/// While the store is unavailable: how often the queue is searched for requests that have waited too long, and how
/// often an idle writer asks whether it takes writes again.
const QUEUE_CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// A whole request, from the shard that finished it last.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct Enqueue(pub(in crate::actors) Arc<PublishRequest>);

/// A shard that wants to learn what is committed of its key range.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct Subscribe {
    pub(in crate::actors) shard: usize,
    pub(in crate::actors) address: Addr<DedupActor>,
}

/// Ends the writer's connection. No group starts after it; the sender is used when the connection is closed.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct Close(pub(in crate::actors) oneshot::Sender<()>);

/// The ledger, as the watch saw it.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct HeadPolled(pub(in crate::actors) PolledHead);

/// What the writer is held to.
pub(in crate::actors) struct WriterLimits {
    pub(in crate::actors) group: GroupLimits,
    /// How long a request waits for a store that is unavailable.
    pub(in crate::actors) store_patience: Duration,
}

pub(in crate::actors) struct WriterActor {
    store: Arc<dyn AppendStore>,
    ledger: LedgerKey,
    stats: Addr<StatsActor>,
    shards: Shards,
    position: Arc<LedgerPosition>,
    store_health: Arc<StoreHealth>,
    store_patience: Duration,
    health: Arc<ActorHealth>,
    queue: WriterQueue,
    pace: Pace,
    recent: DedupWindow,
    connection: Connection,
    /// Of the last group that was taken in hand.
    last_group: GroupId,
    committing: bool,
    /// The requests of the group that is being committed, answered and forgotten.
    in_hand: Vec<Arc<PublishRequest>>,
    /// The last group, which the store refused, until an empty one tells whose failure it was.
    refused: Option<RefusedGroup>,
    quarantine: Quarantine,
    /// Set for good by [`Close`].
    is_closing: bool,
    /// Who waits for the connection to be closed.
    closed: Option<oneshot::Sender<()>>,
}

impl WriterActor {
    pub(in crate::actors) fn new(
        shared: Shared,
        stats: Addr<StatsActor>,
        shards: usize,
        limits: WriterLimits,
        health: Arc<ActorHealth>,
    ) -> Self {
        Self {
            connection: None,
            last_group: GroupId { writer_id: Uuid::new_v4(), group_no: 0 },
            committing: false,
            in_hand: Vec::new(),
            refused: None,
            quarantine: Quarantine::default(),
            is_closing: false,
            closed: None,
            store: shared.store.appends,
            ledger: shared.ledger.key,
            stats,
            shards: Shards::new(shards),
            position: shared.position,
            store_health: shared.store_health,
            store_patience: limits.store_patience,
            queue: WriterQueue::new(limits.group, Arc::clone(&health)),
            pace: Pace::default(),
            health,
            recent: DedupWindow::new(RECENT_IDS_MAX),
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
    /// The group in hand went with the future that committed it, and so did the connection. The queue stays.
    fn restarting(&mut self, _ctx: &mut Self::Context) {
        let in_hand = std::mem::take(&mut self.in_hand);
        // A handler that panicked while a group was under way had nothing to do with the group.
        if !self.committing {
            let digests: Vec<_> = in_hand.iter().map(|request| &request.digests[..]).collect();
            self.quarantine.note_crash(&digests, Instant::now());
        }
        self.connection = None;
        self.committing = false;
        self.refused = None;
        self.pace.stop_waiting();
        self.recent.forget();
    }
}

impl SupervisedActor for WriterActor {
    fn health(&self) -> &Arc<ActorHealth> {
        &self.health
    }

    fn enter(&mut self, ctx: &mut Context<Self>) {
        ctx.run_interval(QUEUE_CHECK_INTERVAL, |writer, ctx| {
            guarded(writer, ctx, |writer, ctx| {
                writer.answer_the_impatient();
                writer.probe_store(ctx);
            });
        });
        self.commit_next(ctx);
        self.close_if_asked(ctx);
    }
}

impl Handler<Enqueue> for WriterActor {
    type Result = ();

    fn handle(&mut self, Enqueue(request): Enqueue, ctx: &mut Self::Context) {
        guarded(self, ctx, |writer, ctx| {
            writer.queue.push(request);
            writer.commit_next(ctx);
        });
    }
}

impl Handler<Subscribe> for WriterActor {
    type Result = ();

    fn handle(&mut self, subscribe: Subscribe, ctx: &mut Self::Context) {
        guarded(self, ctx, |writer, _| writer.shards.subscribe(subscribe.shard, subscribe.address));
    }
}

impl Handler<HeadPolled> for WriterActor {
    type Result = ();

    fn handle(&mut self, HeadPolled(look): HeadPolled, ctx: &mut Self::Context) {
        guarded(self, ctx, |writer, _| match look {
            // A group under way moves on by itself, and from what was seen when it was formed.
            PolledHead::GoesOn { seen, head } if !writer.committing && seen == writer.position.seen() => {
                writer.position.move_on(head);
            }
            PolledHead::Restored { found, epoch } if epoch == writer.position.epoch() => {
                writer.start_over(found)
            }
            PolledHead::GoesOn { .. } | PolledHead::Restored { .. } => {}
        });
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
    /// Takes the next group in hand, if there is one, none is, and nothing is waited for.
    fn commit_next(&mut self, ctx: &mut Context<Self>) {
        if self.committing || self.is_closing || !self.may_start() {
            return;
        }
        if self.refused.is_some() || self.quarantine.wants_proof() {
            return self.commit(Vec::new(), ctx);
        }
        let now = Instant::now();
        while let Some(requests) = self.queue.next_group(|next| self.quarantine.isolates(&next.digests, now))
        {
            if !self.refuse_quarantined(&requests, now) {
                return self.commit(requests, ctx);
            }
        }
    }

    /// Answers a request that is quarantined; such a request makes a group alone.
    fn refuse_quarantined(&mut self, requests: &[Arc<PublishRequest>], now: Instant) -> bool {
        let [request] = requests else { return false };
        let Some(refusal) = self.quarantine.refuse(&request.digests, now) else { return false };
        let first = request.events.first();
        if !refusal.is_repeated {
            error!(
                events = request.events.len(),
                first_topic = first.map(|event| &**event.topic()),
                first_event_id = first.map(|event| &**event.event_id()),
                "a request crashed the writer twice by itself; it is quarantined"
            );
        }
        request.answer(Err(PublishError::Quarantined));
        true
    }

    fn may_start(&mut self) -> bool {
        let (queued, fills_a_group) = (self.queue.len(), self.queue.fills_a_group());
        let waits_for_nobody = self.queue.has_first() || self.refused.is_some();
        waits_for_nobody || self.pace.lets_start(queued, fills_a_group, Instant::now())
    }

    /// A store that failed is ready again only when it has taken a write, and a service that is not ready may
    /// be sent none: so an idle writer commits an empty group.
    fn probe_store(&mut self, ctx: &mut Context<Self>) {
        if self.store_health.is_lost() && !self.committing && !self.is_closing {
            self.commit(Vec::new(), ctx);
        }
    }

    fn commit(&mut self, requests: Vec<Arc<PublishRequest>>, ctx: &mut Context<Self>) {
        self.last_group.group_no += 1;
        let refused = self.refused.as_ref().map_or(0, |group| group.requests.len());
        self.health.note_in_hand(requests.len() + refused);
        self.in_hand.clone_from(&requests);
        let group = Group::form(requests, self.position.epoch(), &mut self.recent);
        self.committing = true;
        let context = AppendContext {
            ledger: self.ledger,
            id: self.last_group,
            seen: self.position.seen(),
            epoch: self.position.epoch(),
            store_patience: self.store_patience,
        };
        let (store, store_health) = (Arc::clone(&self.store), Arc::clone(&self.store_health));
        let committing = commit(self.connection.take(), group, context, store, store_health);
        let committing = AssertUnwindSafe(committing).catch_unwind().into_actor(self);
        ctx.spawn(committing.map(|done, writer: &mut Self, ctx| match done {
            Ok(done) => guarded(writer, ctx, |writer, ctx| writer.finish(done, ctx)),
            Err(panic) => {
                writer.committing = false;
                supervision::end(writer, ctx, panic);
            }
        }));
    }

    fn finish(&mut self, done: CommitDone, ctx: &mut Context<Self>) {
        self.connection = done.connection;
        self.committing = false;
        self.health.note_in_hand(0);
        match done.result {
            Ok(committed) => self.settle(&done.group, committed, ctx),
            Err(failure) => {
                self.in_hand.clear();
                self.fail(done.group, failure);
            }
        }
        self.commit_next(ctx);
        self.close_if_asked(ctx);
    }

    /// Closes the connection for the one who asked, once no group is under way.
    fn close_if_asked(&mut self, ctx: &mut Context<Self>) {
        if self.committing {
            return;
        }
        let Some(closed) = self.closed.take() else { return };
        let connection = self.connection.take();
        let closing = async move {
            if let Some(connection) = connection
                && let Err(error) = connection.close().await
            {
                warn!(error = &error as &dyn std::error::Error, "the writer's connection did not close well");
            }
        };
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
    fn answer_the_impatient(&mut self) {
        if !self.store_health.is_lost() {
            return;
        }
        self.queue.answer_the_impatient(self.store_patience);
    }
}

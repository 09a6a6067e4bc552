//! WriterActor: the only actor that writes. It gathers whole requests, and commits them in groups, one at a time.
//!
//! While one group commits, the next one gathers; an idle writer starts at once, and one whose store has a slow
//! flush waits a moment for the clients it has just answered ([`Pace`]). Its memory is the queue, which admission
//! bounds, and the ids of its last groups. It waits for no other actor.

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
    commit::{AppendContext, CommitDone, CommitFailure, Connection, GroupId, SettledGroup, commit},
    group::Group,
    pace::{EndedGroup, Pace},
    queue::{GroupLimits, WriterQueue},
};
use crate::actors::{
    Shared,
    actor_health::ActorHealth,
    dedup::{DedupActor, DedupWindow, Forget, Learn},
    request::{PublishError, PublishRequest},
    stats::{Rebuild, StatsActor},
    supervision::{self, Crash, SupervisedActor, guarded},
};
use crate::event::Digest;
use crate::ledger::{LedgerPosition, PolledHead, StoreHealth, StoreLoss};
use crate::store::{EventStore, Head, StoreError};

/// Ids of the last groups that the writer itself remembers, for repeats that were in flight with their original.
const RECENT_IDS_MAX: usize = 65_536;
/// While the store is away: how often the queue is searched for requests that have waited too long, and how
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
    /// How long a request waits for a store that is away.
    pub(in crate::actors) store_patience: Duration,
}

pub(in crate::actors) struct WriterActor {
    store: Arc<dyn EventStore>,
    stats: Addr<StatsActor>,
    shards: Vec<Option<Addr<DedupActor>>>,
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
            is_closing: false,
            closed: None,
            store: shared.store,
            stats,
            shards: vec![None; shards],
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
        self.connection = None;
        self.committing = false;
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
        guarded(self, ctx, |writer, _| writer.shards[subscribe.shard] = Some(subscribe.address));
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
        if let Some(requests) = self.queue.next_group() {
            self.commit(requests, ctx);
        }
    }

    fn may_start(&mut self) -> bool {
        let (queued, fills_a_group) = (self.queue.len(), self.queue.fills_a_group());
        self.queue.has_first() || self.pace.lets_start(queued, fills_a_group, Instant::now())
    }

    /// A store that failed is ready again only when it has taken a write, and a service that is not ready may
    /// be sent none: so an idle writer commits an empty group.
    fn probe_store(&mut self, ctx: &mut Context<Self>) {
        if self.store_health.is_lost() && !self.committing && !self.is_closing {
            self.commit(Vec::new(), ctx);
        }
    }

    fn commit(&mut self, requests: Vec<Arc<PublishRequest>>, ctx: &mut Context<Self>) {
        self.committing = true;
        self.last_group.group_no += 1;
        self.health.note_in_hand(requests.len());
        let group = Group::form(requests, self.position.epoch(), &mut self.recent);
        let context = AppendContext {
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
            Err(panic) => supervision::end(writer, ctx, panic),
        }));
    }

    fn finish(&mut self, done: CommitDone, ctx: &mut Context<Self>) {
        self.connection = done.connection;
        self.committing = false;
        self.health.note_in_hand(0);
        match done.result {
            Ok(committed) => self.settle(done.group, committed, ctx),
            Err(failure) => {
                self.fail(done.group, failure);
                self.commit_next(ctx);
            }
        }
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

    fn settle(&mut self, group: Group, committed: SettledGroup, ctx: &mut Context<Self>) {
        let SettledGroup { settled, committed } = committed;
        self.position.move_on(committed.head);
        self.store_health.note_taken();
        self.queue.note_taken();
        let ended = EndedGroup {
            requests: group.requests().len(),
            events: group.events(),
            commit_time: committed.latency,
            queued: self.queue.len(),
        };
        self.stats.do_send(committed);
        settled.learned.iter().for_each(|(digest, seq)| self.recent.learn(*digest, *seq));
        let wait = self.pace.group_ended(&ended, Instant::now());
        // Without a wait the next group is on its way to the store before the clients of this one are answered.
        self.commit_next(ctx);
        self.teach(settled.learned);
        for (request, outcomes) in group.requests().iter().zip(settled.replies) {
            request.answer(Ok(outcomes));
        }
        if let Some(wait) = wait {
            ctx.run_later(wait, |writer, ctx| guarded(writer, ctx, |writer, ctx| writer.commit_next(ctx)));
        }
    }

    fn fail(&mut self, group: Group, failure: CommitFailure) {
        let answer_all = |group: Group, error: PublishError| {
            group.requests().iter().for_each(|request| request.answer(Err(error.clone())));
        };
        match failure {
            CommitFailure::Restored { found, epoch } => {
                // The watch may have noticed it while this group was tried.
                if epoch == self.position.epoch() {
                    self.start_over(found);
                }
                self.queue.retry_first(group.into_requests());
            }
            CommitFailure::Refused(error) if group.requests().len() > 1 => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "the store refuses a group; looking for the culprit"
                );
                let mut first_half = group.into_requests();
                let second_half = first_half.split_off(first_half.len() / 2);
                self.queue.retry_first(second_half);
                self.queue.retry_first(first_half);
            }
            CommitFailure::Refused(error) => {
                warn!(error = &error as &dyn std::error::Error, "the store refuses a request");
                answer_all(group, PublishError::Refused(innermost(&error)));
            }
            CommitFailure::Broken(error) => {
                self.store_health.note_lost(StoreLoss::Unwritable, &error);
                answer_all(group, PublishError::StoreBroken);
            }
            CommitFailure::Away => {
                self.queue.note_not_taken(group.events());
                answer_all(group, PublishError::StoreAway);
            }
            CommitFailure::Overtaken => answer_all(group, PublishError::TimedOut),
        }
    }

    /// Throws away all that is known of stored ids. Shards are told before the new epoch begins, so that
    /// whatever is admitted in it finds them empty.
    fn start_over(&mut self, found: Head) {
        let seen = self.position.seen();
        error!(
            seen = seen.commit_no,
            found = found.mark.commit_no,
            "the ledger lacks a commit that this node has seen: the database was restored to an older copy, or this node was away for long; all windows are forgotten"
        );
        let epoch = self.position.epoch() + 1;
        self.shards.iter().flatten().for_each(|shard| shard.do_send(Forget { epoch }));
        self.recent.forget();
        self.position.start_over(epoch, found);
        self.stats.do_send(Rebuild);
    }

    fn teach(&self, learned: Vec<(Digest, u64)>) {
        let shards = self.shards.len();
        let mut by_shard: Vec<Vec<(Digest, u64)>> = vec![Vec::new(); shards];
        for (digest, seq) in learned {
            by_shard[digest.shard(shards)].push((digest, seq));
        }
        for (shard, learned) in self.shards.iter().zip(by_shard) {
            if let Some(shard) = shard.as_ref().filter(|_| !learned.is_empty()) {
                shard.do_send(Learn(learned));
            }
        }
    }

    /// While the store is away, a request waits no longer than the store's patience, in hand or in the queue.
    fn answer_the_impatient(&mut self) {
        if !self.store_health.is_lost() {
            return;
        }
        self.queue.answer_the_impatient(self.store_patience);
    }
}

fn innermost(error: &StoreError) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

//! DedupActor: owns a key range and the window of its ids that are known to be stored.
//!
//! It only ever marks what is stored already; what it does not know goes on to the writer all the same. Its
//! memory is its window's. It waits for nobody.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use actix::prelude::*;

use super::{warm_up::WarmUp, window::DedupWindow};
use crate::actors::{
    actor_health::ActorHealth,
    request::PublishRequest,
    supervision::{self, Crash, SupervisedActor, guarded},
    writer::Writers,
};
use crate::event::Digest;

/// The part of a request that falls into this shard's key range.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct Dedup {
    pub(in crate::actors) request: Arc<PublishRequest>,
    /// Places of the shard's events in the request.
    pub(in crate::actors) places: Vec<u32>,
}

/// Ids that have just been committed, by what windows remember them by, with their `seq`.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct Learn(pub(in crate::actors) Vec<(Digest, u64)>);

/// Ids that were stored before, newest first.
#[derive(Message)]
#[rtype(result = "()")]
pub(in crate::actors) struct Warm(pub(in crate::actors) Vec<(Digest, u64)>);

pub(in crate::actors) struct DedupActor {
    pub(in crate::actors) shard: usize,
    pub(in crate::actors) window: DedupWindow,
    pub(in crate::actors) writers: Writers,
    pub(in crate::actors) warm_up: Arc<WarmUp>,
    pub(in crate::actors) gauges: Arc<ShardGauges>,
}

/// What is shown of a shard.
pub(in crate::actors) struct ShardGauges {
    pub(in crate::actors) health: Arc<ActorHealth>,
    pub(in crate::actors) window_ids: AtomicUsize,
    /// Events that were looked up in the window.
    pub(in crate::actors) lookups: AtomicU64,
    /// Those of them that it knew to be stored.
    pub(in crate::actors) hits: AtomicU64,
}

impl ShardGauges {
    pub(in crate::actors) fn new(health: Arc<ActorHealth>) -> Self {
        Self { health, window_ids: AtomicUsize::new(0), lookups: AtomicU64::new(0), hits: AtomicU64::new(0) }
    }
}

impl Actor for DedupActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        supervision::start(self, ctx);
    }
}

impl Supervised for DedupActor {
    fn restarting(&mut self, _ctx: &mut Self::Context) {
        self.window.forget();
    }
}

impl SupervisedActor for DedupActor {
    fn health(&self) -> &Arc<ActorHealth> {
        &self.gauges.health
    }

    fn enter(&mut self, ctx: &mut Context<Self>) {
        if self.gauges.health.has_ended() {
            self.warm_up.warm_shard(self.shard, ctx.address());
        }
    }
}

impl Handler<Dedup> for DedupActor {
    type Result = ();

    fn handle(&mut self, message: Dedup, ctx: &mut Self::Context) {
        self.gauges.health.queue.fetch_sub(1, Ordering::Relaxed);
        guarded(self, ctx, |shard, _| {
            let Dedup { request, places } = message;
            let (lookups, mut hits) = (places.len() as u64, 0);
            for place in places {
                if let Some(seq) = shard.window.seq(request.window_key(place)) {
                    request.mark_known(place, seq);
                    hits += 1;
                }
            }
            shard.gauges.lookups.fetch_add(lookups, Ordering::Relaxed);
            shard.gauges.hits.fetch_add(hits, Ordering::Relaxed);
            if request.finish_part() {
                shard.writers.enqueue(request);
            }
        });
    }
}

impl Handler<Learn> for DedupActor {
    type Result = ();

    fn handle(&mut self, Learn(ids): Learn, ctx: &mut Self::Context) {
        guarded(self, ctx, |shard, _| {
            for (digest, seq) in ids {
                shard.window.learn(digest, seq);
            }
            shard.show_window();
        });
    }
}

impl Handler<Warm> for DedupActor {
    type Result = ();

    fn handle(&mut self, Warm(ids): Warm, ctx: &mut Self::Context) {
        guarded(self, ctx, |shard, _| {
            for (digest, seq) in ids {
                shard.window.warm(digest, seq);
            }
            shard.show_window();
        });
    }
}

impl Handler<Crash> for DedupActor {
    type Result = ();

    fn handle(&mut self, crash: Crash, ctx: &mut Self::Context) {
        crash.strike(self, ctx);
    }
}

impl DedupActor {
    fn show_window(&self) {
        self.gauges.window_ids.store(self.window.len(), Ordering::Relaxed);
    }
}

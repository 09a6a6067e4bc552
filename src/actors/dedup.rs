//! DedupActor: owns a key range and the window of its ids that are known to be stored.
//!
//! It only ever marks what is stored already; what it does not know goes on to the writer all the same. Its
//! memory is its window's. It waits for nobody.

use std::sync::{Arc, atomic::Ordering};

use actix::prelude::*;

use super::{
    dedup_window::{DedupWindow, Digest},
    request::PublishRequest,
    supervision::{self, CRASH_INJECTED, Crash, Room, Vitals, guarded},
    warm_up::WarmUp,
    writer::{Append, Subscribe, WriterActor},
};

/// The part of a request that falls into this shard's key range.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Admit {
    pub(super) request: Arc<PublishRequest>,
    /// Places of the shard's events in the request.
    pub(super) places: Vec<u32>,
}

/// Ids that have just been committed, with their `seq`.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Learn(pub(super) Vec<(Digest, u64)>);

/// Ids that were stored before this shard started, newest first.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Warm {
    pub(super) ids: Vec<(Digest, u64)>,
    /// The epoch in which they were read; of no use in a later one.
    pub(super) epoch: u64,
}

/// The database was restored to an older copy: nothing learned before `epoch` counts.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Forget {
    pub(super) epoch: u64,
}

pub(super) struct DedupActor {
    pub(super) shard: usize,
    pub(super) window: DedupWindow,
    pub(super) epoch: u64,
    pub(super) writer: Addr<WriterActor>,
    pub(super) writer_vitals: Arc<Vitals>,
    pub(super) warm_up: Arc<WarmUp>,
    pub(super) gauges: Arc<ShardGauges>,
    /// Asked to crash with a request in hand.
    pub(super) crash_in_hand: bool,
}

/// What is shown of a shard.
pub(super) struct ShardGauges {
    pub(super) vitals: Arc<Vitals>,
    pub(super) window_ids: std::sync::atomic::AtomicUsize,
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

impl Room for DedupActor {
    fn vitals(&self) -> &Arc<Vitals> {
        &self.gauges.vitals
    }

    fn enter(&mut self, ctx: &mut Context<Self>) {
        self.writer.do_send(Subscribe { shard: self.shard, address: ctx.address() });
        self.warm_up.ask(self.shard, ctx.address());
    }
}

impl Handler<Admit> for DedupActor {
    type Result = ();

    fn handle(&mut self, message: Admit, ctx: &mut Self::Context) {
        self.gauges.vitals.queue.fetch_sub(1, Ordering::Relaxed);
        guarded(self, ctx, |shard, _| {
            let Admit { request, places } = message;
            if shard.crash_in_hand {
                shard.crash_in_hand = false;
                shard.gauges.vitals.note_in_hand(1);
                panic!("{CRASH_INJECTED}");
            }
            for place in places {
                if let Some(seq) = shard.window.seq(request.digests[place as usize]) {
                    request.mark_known(place, seq);
                }
            }
            if request.finish_part() {
                shard.writer_vitals.queue.fetch_add(1, Ordering::Relaxed);
                shard.writer.do_send(Append(request));
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

    fn handle(&mut self, warm: Warm, ctx: &mut Self::Context) {
        guarded(self, ctx, |shard, _| {
            if warm.epoch < shard.epoch {
                return;
            }
            for (digest, seq) in warm.ids {
                shard.window.warm(digest, seq);
            }
            shard.show_window();
        });
    }
}

impl Handler<Forget> for DedupActor {
    type Result = ();

    fn handle(&mut self, forget: Forget, ctx: &mut Self::Context) {
        guarded(self, ctx, |shard, _| {
            shard.window.forget();
            shard.epoch = forget.epoch;
            shard.show_window();
        });
    }
}

impl Handler<Crash> for DedupActor {
    type Result = ();

    fn handle(&mut self, crash: Crash, ctx: &mut Self::Context) {
        match crash {
            Crash::InHand => self.crash_in_hand = true,
            Crash::Now | Crash::PastGuard => crash.strike(self, ctx),
        }
    }
}

impl DedupActor {
    fn show_window(&self) {
        self.gauges.window_ids.store(self.window.len(), Ordering::Relaxed);
    }
}

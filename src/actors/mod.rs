//! The rooms: actors that each own a part of the state, and pass whole requests on.
//!
//! ```text
//! Aggregator (the handle) ── Admit ──► DedupActor 0 … n ── Append ──► WriterActor ──► store
//!      ▲    ▲                               ▲  ▲                         │   │
//!      │    │                               │  └───────── Learn ─────────┘   │
//!      │    └── the reply, by oneshot ──────┼────────────────────────────────┤
//!      └──────────── Ask ──► StatsActor ◄───┼──────────── Told ──────────────┘
//!                                 ▲         │
//!                                 └─ Watch ─┴─ WarmUp: tasks that read the store beside the rooms
//! ```
//!
//! Only the writer writes. A window may say "stored", never "new": the store's unique key is the judge. All
//! rooms run under supervision, on threads of their own.

mod admission;
mod aggregator;
mod backlog;
mod commit;
mod dedup;
mod dedup_window;
mod figures;
mod group;
mod ledger_sight;
mod request;
mod stats;
mod store_link;
mod supervision;
mod topic_table;
mod warm_up;
mod watch;
mod writer;

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use actix::{Addr, Arbiter, Supervisor};
use tokio::{runtime::Handle as Runtime, sync::mpsc};

use self::{
    admission::Admission,
    aggregator::Rooms,
    backlog::GroupLimits,
    dedup::{DedupActor, ShardGauges},
    dedup_window::{DedupWindow, Digester},
    ledger_sight::LedgerSight,
    stats::StatsActor,
    store_link::StoreLink,
    supervision::{Room, Vitals},
    warm_up::{Source, WarmUp},
    watch::{RoomConnection, Watch},
    writer::{WriterActor, WriterLimits},
};
pub use self::{
    admission::BytesPermit,
    aggregator::{Aggregator, NodeReport, NotReady, RoomName},
    figures::FiguresReport,
    request::PublishError,
    stats::CountersReport,
    store_link::{StoreLoss, StoreReport},
    supervision::{CRASH_INJECTED, Crash, Ending, EndingCounts, InHand, RestartPolicy, RoomReport},
};
use crate::store::EventStore;

/// The limits of the rooms.
#[derive(Clone, Debug)]
pub struct RoomLimits {
    pub shards: usize,
    /// Ids that all windows together remember.
    pub window_ids: usize,
    pub events_in_flight_max: usize,
    pub bytes_in_flight_max: usize,
    pub group_events_max: usize,
    pub group_bytes_max: usize,
    /// How long a publish waits for a store that is away.
    pub store_patience: Duration,
    pub restarts: RestartPolicy,
}

/// Starts the rooms, from the bottom up, and answers the handle on them.
///
/// To be called within an `actix::System` on a multi-threaded tokio runtime, which the readers of the store use.
pub fn start(store: Arc<dyn EventStore>, limits: RoomLimits) -> Aggregator {
    let runtime = Runtime::current();
    let sight = Arc::new(LedgerSight::default());
    let link = Arc::new(StoreLink::default());
    let digester = Digester::new(store.scope());
    let (lost, lost_received) = mpsc::unbounded_channel();
    let new_vitals = |name: String| Vitals::new(name, limits.restarts.clone(), lost.clone());
    let arbiter = Arbiter::new();

    let stats_vitals = new_vitals("stats".to_owned());
    let stats = {
        let actor = StatsActor::new(Arc::clone(&store), runtime.clone(), Arc::clone(&stats_vitals));
        Supervisor::start_in_arbiter(&arbiter.handle(), |_| actor)
    };
    let writer_vitals = new_vitals("writer".to_owned());
    let writer = {
        let actor = WriterActor::new(
            Arc::clone(&store),
            stats.clone(),
            limits.shards,
            Arc::clone(&sight),
            Arc::clone(&link),
            WriterLimits {
                group: GroupLimits { events: limits.group_events_max, bytes: limits.group_bytes_max },
                store_patience: limits.store_patience,
            },
            Arc::clone(&writer_vitals),
        );
        Supervisor::start_in_arbiter(&arbiter.handle(), |_| actor)
    };
    let shard_window_ids = limits.window_ids / limits.shards;
    let warm_up = WarmUp::start(Source {
        store: Arc::clone(&store),
        digester: digester.clone(),
        sight: Arc::clone(&sight),
        shards: limits.shards,
        shard_ids_max: shard_window_ids / 2,
    });
    let start_shard = |shard: usize| -> (Addr<DedupActor>, Arc<ShardGauges>) {
        let vitals = new_vitals(format!("shard {shard}"));
        let gauges = Arc::new(ShardGauges { vitals, window_ids: AtomicUsize::new(0) });
        let actor = DedupActor {
            shard,
            window: DedupWindow::new(shard_window_ids),
            epoch: 0,
            writer: writer.clone(),
            writer_vitals: Arc::clone(&writer_vitals),
            warm_up: Arc::clone(&warm_up),
            gauges: Arc::clone(&gauges),
            crash_in_hand: false,
        };
        (Supervisor::start_in_arbiter(&arbiter.handle(), |_| actor), gauges)
    };
    let shards: Vec<_> = (0..limits.shards).map(start_shard).collect();

    let watch = Watch {
        store: Arc::clone(&store),
        sight: Arc::clone(&sight),
        writer: writer.clone(),
        stats: stats.clone(),
        rooms: connections(&shards, (&writer, &writer_vitals), (&stats, &stats_vitals)),
    };
    Aggregator::new(Rooms {
        store,
        runtime,
        admission: Admission::new(limits.events_in_flight_max, limits.bytes_in_flight_max),
        digester,
        sight,
        link,
        shards,
        writer: (writer, writer_vitals),
        stats: (stats, stats_vitals),
        arbiters: vec![arbiter],
        watch: tokio::spawn(watch.keep()),
        lost: tokio::sync::Mutex::new(lost_received),
    })
}

fn connections(
    shards: &[(Addr<DedupActor>, Arc<ShardGauges>)],
    writer: (&Addr<WriterActor>, &Arc<Vitals>),
    stats: (&Addr<StatsActor>, &Arc<Vitals>),
) -> Vec<RoomConnection> {
    fn connection<R: Room>(address: &Addr<R>, vitals: &Arc<Vitals>) -> RoomConnection {
        let address = address.clone();
        (Arc::clone(vitals), Box::new(move || address.connected()))
    }
    let shards = shards.iter().map(|(address, gauges)| connection(address, &gauges.vitals));
    shards.chain([connection(writer.0, writer.1), connection(stats.0, stats.1)]).collect()
}

//! Fills the windows with the newest stored ids, in the background: with those of a ledger that was just opened, and
//! the window of a shard that has started again with those of the ledgers opened last.
//!
//! A ledger takes at most a tenth of the windows. A window that stays cold costs speed, never an answer, so a store
//! that fails here is only logged.

use std::{
    collections::VecDeque,
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use actix::Addr;
use futures::FutureExt;
use tokio::{sync::mpsc, time::timeout};
use tracing::{debug, warn};

use super::{
    actor::{DedupActor, Warm},
    shards::Shards,
};
use crate::{
    event::Digest,
    ledger::OpenLedger,
    store::{ReadStore, StoreError},
};

const PAGE_IDS: usize = 10_000;
const QUESTION_TIMEOUT: Duration = Duration::from_secs(15);
/// The part of the windows that one ledger may take, and so also the ledgers that fill them.
const LEDGERS: usize = 10;

/// Where windows are asked to be filled.
pub(in crate::actors) struct WarmUp {
    asks: mpsc::UnboundedSender<Ask>,
}

enum Ask {
    Ledger(Weak<OpenLedger>),
    Shard(usize, Addr<DedupActor>),
}

/// What a pass needs to know.
pub(in crate::actors) struct Source {
    pub(in crate::actors) store: Arc<dyn ReadStore>,
    pub(in crate::actors) shards: Arc<OnceLock<Shards>>,
    /// Ids that one window remembers at most.
    pub(in crate::actors) window_ids: usize,
}

impl WarmUp {
    /// A way to ask, and the task that answers.
    pub(in crate::actors) fn new(source: Source) -> (Arc<Self>, impl Future<Output = ()> + Send + 'static) {
        let (asks, received) = mpsc::unbounded_channel();
        (Arc::new(Self { asks }), serve(source, received))
    }

    /// Has the newest ids of a ledger that was just opened remembered, soon.
    pub(in crate::actors) fn warm_ledger(&self, ledger: &Arc<OpenLedger>) {
        self.ask(Ask::Ledger(Arc::downgrade(ledger)));
    }

    /// Has the window of a shard that starts again filled, soon.
    pub(in crate::actors) fn warm_shard(&self, shard: usize, address: Addr<DedupActor>) {
        self.ask(Ask::Shard(shard, address));
    }

    fn ask(&self, ask: Ask) {
        // Nobody answers any more only when the service is ending.
        let _ = self.asks.send(ask);
    }
}

async fn serve(source: Source, mut asks: mpsc::UnboundedReceiver<Ask>) {
    let mut opened_last: VecDeque<Weak<OpenLedger>> = VecDeque::new();
    while let Some(ask) = asks.recv().await {
        match ask {
            Ask::Ledger(ledger) => {
                let Some(shards) = source.shards.get() else { continue };
                warm(&source, &ledger, |shard| Some(&shards.0[shard])).await;
                opened_last.truncate(LEDGERS - 1);
                opened_last.push_front(ledger);
            }
            Ask::Shard(wanted, address) => {
                for ledger in &opened_last {
                    warm(&source, ledger, |shard| (shard == wanted).then_some(&address)).await;
                }
            }
        }
    }
    // The last shard is gone, and the service with it.
    std::future::pending().await
}

/// A pass may be given up: a window that stays cold costs speed, never an answer.
async fn warm<'a>(
    source: &Source,
    ledger: &Weak<OpenLedger>,
    address_of: impl Fn(usize) -> Option<&'a Addr<DedupActor>>,
) {
    let Some(ledger) = ledger.upgrade() else { return };
    let namespace = &ledger.record.namespace;
    match AssertUnwindSafe(pass(source, &ledger, address_of)).catch_unwind().await {
        Ok(Ok(())) => debug!(namespace, "windows are warm"),
        Ok(Err(error)) => warn!(
            namespace,
            error = &error as &dyn std::error::Error,
            "windows stay cold: the newest ids cannot be read"
        ),
        Err(_logged_by_the_hook) => warn!(namespace, "windows stay cold: reading the newest ids panicked"),
    }
}

async fn pass<'a>(
    source: &Source,
    ledger: &OpenLedger,
    address_of: impl Fn(usize) -> Option<&'a Addr<DedupActor>>,
) -> Result<(), StoreError> {
    let shards = source.shards.get().map_or(0, |shards| shards.0.len());
    let mut wanted: Vec<usize> =
        (0..shards).map(|shard| address_of(shard).map_or(0, |_| source.window_ids / LEDGERS)).collect();
    // A window must know nothing beyond what the node has seen, or a restored database could go unnoticed.
    let salt = ledger.position.epoch().salt();
    let mut before = ledger.position.head().last_seq + 1;
    while wanted.iter().any(|ids| *ids > 0) {
        let limit = wanted.iter().sum::<usize>().min(PAGE_IDS);
        let page = in_time(source.store.newest_ids(&ledger.record, before, limit)).await?;
        let Some(oldest) = page.last() else { break };
        before = oldest.seq;
        let mut by_shard: Vec<Vec<(Digest, u64)>> = vec![Vec::new(); shards];
        for id in &page {
            let digest = ledger.record.digester.digest(&id.topic, &id.event_id);
            let shard = digest.shard(shards);
            if wanted[shard] > 0 {
                wanted[shard] -= 1;
                by_shard[shard].push((digest.salted(salt), id.seq));
            }
        }
        for (shard, ids) in by_shard.into_iter().enumerate() {
            if let Some(address) = address_of(shard).filter(|_| !ids.is_empty()) {
                address.do_send(Warm(ids));
            }
        }
    }
    Ok(())
}

async fn in_time<T>(question: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(QUESTION_TIMEOUT, question).await.unwrap_or(Err(StoreError::TimedOut(QUESTION_TIMEOUT)))
}

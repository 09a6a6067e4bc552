//! Fills the windows of shards that have just started, in the background, from the newest stored ids.
//!
//! One pass over the store serves all shards that ask at about the same time. A window that stays cold costs
//! speed, never an answer, so a store that fails here is only logged.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use actix::Addr;
use futures::FutureExt;
use tokio::{sync::mpsc, time::timeout};
use tracing::{debug, warn};

use super::actor::{DedupActor, Warm};
use crate::{
    event::Digest,
    ledger::LedgerPosition,
    store::{LedgerRecord, ReadStore, StoreError},
};

const PAGE_IDS: usize = 10_000;
const QUESTION_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a first shard waits for the others to ask with it.
const GATHER: Duration = Duration::from_millis(20);

/// Where shards ask for their window to be filled.
pub(in crate::actors) struct WarmUp {
    asks: mpsc::UnboundedSender<Ask>,
}

struct Ask {
    shard: usize,
    address: Addr<DedupActor>,
}

/// What a pass needs to know.
pub(in crate::actors) struct Source {
    pub(in crate::actors) store: Arc<dyn ReadStore>,
    pub(in crate::actors) ledger: LedgerRecord,
    pub(in crate::actors) position: Arc<LedgerPosition>,
    pub(in crate::actors) shards: usize,
    /// Ids that one shard takes: the elder generation of its window.
    pub(in crate::actors) shard_ids_max: usize,
}

impl WarmUp {
    /// A way to ask, and the task that answers.
    pub(in crate::actors) fn new(source: Source) -> (Arc<Self>, impl Future<Output = ()> + Send + 'static) {
        let (asks, received) = mpsc::unbounded_channel();
        (Arc::new(Self { asks }), serve(source, received))
    }

    /// Has this shard's window filled, soon.
    pub(in crate::actors) fn ask(&self, shard: usize, address: Addr<DedupActor>) {
        // Nobody answers any more only when the service is ending.
        let _ = self.asks.send(Ask { shard, address });
    }
}

async fn serve(source: Source, mut asks: mpsc::UnboundedReceiver<Ask>) {
    while let Some(first) = asks.recv().await {
        tokio::time::sleep(GATHER).await;
        let mut gathered = vec![first];
        while let Ok(ask) = asks.try_recv() {
            gathered.push(ask);
        }
        // A pass may be given up: a window that stays cold costs speed, never an answer.
        match AssertUnwindSafe(pass(&source, &gathered)).catch_unwind().await {
            Ok(Ok(())) => debug!(shards = gathered.len(), "windows are warm"),
            Ok(Err(error)) => warn!(
                error = &error as &dyn std::error::Error,
                "windows stay cold: the newest ids cannot be read"
            ),
            Err(_logged_by_the_hook) => warn!("windows stay cold: reading the newest ids panicked"),
        }
    }
    // The last shard is gone, and the service with it.
    std::future::pending().await
}

async fn pass(source: &Source, asks: &[Ask]) -> Result<(), StoreError> {
    let mut wanted = vec![0; source.shards];
    asks.iter().for_each(|ask| wanted[ask.shard] = source.shard_ids_max);
    // A window must know nothing beyond what the node has seen, or a restored database could go unnoticed.
    let epoch = source.position.epoch();
    let mut before = source.position.head().await.last_seq + 1;
    while wanted.iter().any(|ids| *ids > 0) {
        let page = in_time(source.store.newest_ids(&source.ledger, before, PAGE_IDS)).await?;
        let Some(oldest) = page.last() else { break };
        before = oldest.seq;
        let mut by_shard: Vec<Vec<(Digest, u64)>> = vec![Vec::new(); source.shards];
        for id in &page {
            let digest = source.ledger.digester.digest(&id.topic, &id.event_id);
            let shard = digest.shard(source.shards);
            if wanted[shard] > 0 {
                wanted[shard] -= 1;
                by_shard[shard].push((digest, id.seq));
            }
        }
        for ask in asks {
            let ids = std::mem::take(&mut by_shard[ask.shard]);
            ask.address.do_send(Warm { ids, epoch });
        }
    }
    Ok(())
}

async fn in_time<T>(question: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(QUESTION_TIMEOUT, question).await.unwrap_or(Err(StoreError::TimedOut(QUESTION_TIMEOUT)))
}

//! News between the nodes of one database: what this one commits is told where readers wait on another one, and the
//! other way round. What is lost on the way is found by the look of each second.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::{sleep, timeout};
use tracing::debug;

use super::{Parts, Service};
use crate::{
    ledger::Announcements,
    store::{NewsStore, NodeNews, StoreError},
};

/// The least time from one message to the next, in which commits gather.
const TELL_PAUSE: Duration = Duration::from_millis(20);
/// How long a message may take.
const TELL_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause before a connection that was lost is made again.
const LISTEN_PAUSE: Duration = Duration::from_secs(1);

/// Tells what was committed here.
pub(super) async fn announce(announcements: Arc<Announcements>, store: Arc<dyn NewsStore>) {
    loop {
        let grown = announcements.grown().await;
        tell(&*store, &NodeNews::Grown(grown)).await;
        sleep(TELL_PAUSE).await;
    }
}

/// Tells other nodes that readers wait here.
pub(super) async fn tell_of_readers(store: &dyn NewsStore) {
    tell(store, &NodeNews::Readers).await;
}

async fn tell(store: &dyn NewsStore, news: &NodeNews) {
    let told = timeout(TELL_TIMEOUT, store.tell(news)).await;
    if let Err(error) = told.unwrap_or(Err(StoreError::TimedOut(TELL_TIMEOUT))) {
        debug!(
            error = &error as &dyn std::error::Error,
            "other nodes were not told; they find out by looking"
        );
    }
}

/// Hears what was committed elsewhere.
pub(super) async fn hear(service: Weak<Parts>, store: Arc<dyn NewsStore>) {
    loop {
        if let Err(error) = hear_until_lost(&service, &*store).await {
            debug!(
                error = &error as &dyn std::error::Error,
                "the news of other nodes are lost; listening anew"
            );
        }
        sleep(LISTEN_PAUSE).await;
    }
}

async fn hear_until_lost(service: &Weak<Parts>, store: &dyn NewsStore) -> Result<(), StoreError> {
    let mut listener = store.listen().await?;
    loop {
        let news = listener.next().await?;
        let Some(service) = service.upgrade().map(Service) else { return Ok(()) };
        match news {
            NodeNews::Readers => service.0.shared.announcements.want(),
            NodeNews::Grown(grown) => {
                for ledger in service.0.directory.with_readers() {
                    if let Some((_, last_seq)) = grown.iter().find(|(key, _)| *key == ledger.key()) {
                        ledger.position.news.tell_if_newer(*last_seq);
                    }
                }
            }
            NodeNews::Anything => service.look_at_followed().await,
        }
    }
}

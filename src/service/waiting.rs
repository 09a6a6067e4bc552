//! Readers that wait for the first event that belongs on their page.
//!
//! A waiting reader holds neither a connection of the store nor a place among the reads. A commit on this node wakes the
//! readers of its ledger; those of other nodes are found by a look a second.

use std::{pin::pin, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use super::{Ledger, Loaded, NamespaceError};
use crate::{
    event::{Filter, Timestamp},
    ledger::{NewsReader, Overloaded},
    store::{Page, PageQuery},
};

/// A reader that was woken for events of others is not woken again for so long.
const WAKE_PAUSE: Duration = Duration::from_millis(20);

/// Why a page was not read.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
}

impl Ledger {
    /// One page of the events that pass, as [`page`](Self::page). While it is empty and something can still come, it
    /// waits for up to this time, or until `stop`.
    pub async fn page_within(
        &self,
        mut query: PageQuery,
        filter: Filter,
        wait: Duration,
        stop: impl Future<Output = ()>,
    ) -> Result<Loaded<Page>, PageError> {
        if wait.is_zero() || !can_grow(&query) {
            return Ok(self.page(query, filter).await?);
        }
        let deadline = Instant::now() + wait.min(time_to_grow(&query));
        let mut stop = pin!(stop);
        // Before the first look at the ledger: what is committed after it is told.
        let mut news = self.open.position.news.subscribe();
        let mut place = None;
        loop {
            let page = self.page(query.clone(), filter.clone()).await?;
            if !page.events.is_empty() || page.next.is_some() {
                return Ok(page);
            }
            let (head, is_first) = (page.head, place.is_none());
            drop(page);
            if is_first {
                place = Some(self.service.0.waits.take()?);
            }
            self.open.position.news.note_seen(head);
            // Nothing up to the head belongs on the page.
            query.after = query.after.map(|after| after.max(head));
            let is_over = tokio::select! {
                () = woken(&mut news, is_first) => false,
                () = sleep_until(deadline) => true,
                () = &mut stop => true,
            };
            if is_over {
                return Ok(Loaded::small(Page { events: Vec::new(), next: None, head }));
            }
        }
    }
}

/// Waits for news, after a pause where the last ones were of no use.
async fn woken(news: &mut NewsReader, is_first: bool) {
    if !is_first {
        sleep(WAKE_PAUSE).await;
    }
    news.told().await;
}

/// Whether events that are yet to come may belong on the page.
fn can_grow(query: &PageQuery) -> bool {
    query.before.is_none() && !time_to_grow(query).is_zero()
}

/// For how long events that come then may belong on the page.
fn time_to_grow(query: &PageQuery) -> Duration {
    query.until.map_or(Duration::MAX, |until| {
        let micros = until.unix_micros() - Timestamp::now().unix_micros();
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    })
}

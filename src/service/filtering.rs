//! Pages of the events that pass a filter: they are looked for among those that are read.

use tokio::task::spawn_blocking;

use crate::{
    event::Filter,
    store::{LedgerRecord, Page, PageQuery, ReadStore, StoreError},
};

/// Events of one read, and reads of one page: a page ends where it has looked through so many.
const READ_EVENTS: usize = 1_000;
const READS_MAX: usize = 5;

/// One page of the events that pass. It ends early where many do not, and says where to go on.
pub(super) async fn page(
    store: &dyn ReadStore,
    ledger: &LedgerRecord,
    query: &PageQuery,
    filter: &Filter,
) -> Result<Page, StoreError> {
    if filter.is_empty() {
        return store.page(ledger, query).await;
    }
    let mut page = Page { events: Vec::new(), next: None, head: 0 };
    let mut question = PageQuery { limit: READ_EVENTS, ..query.clone() };
    let mut bytes_read = 0;
    for read in 0..READS_MAX {
        let found = store.page(ledger, &question).await?;
        // What is newer than the first read does not belong on a page of the newest events.
        if read == 0 || query.after.is_some() {
            page.head = found.head;
        }
        bytes_read += found.events.iter().map(|event| event.bytes()).sum::<usize>();
        let (filter, limits) = (filter.clone(), (query.limit, query.bytes_max));
        let taken = spawn_blocking(move || take(page, found, limits, &filter)).await;
        page = taken.expect("a filter does not panic");
        let is_done = page.events.len() == query.limit || bytes_read >= query.bytes_max;
        match page.next {
            Some(seq) if !is_done => question = question.goes_on_at(seq),
            _ => break,
        }
    }
    Ok(page)
}

/// Adds what passes to the page, until one that passes has no room on it.
fn take(mut page: Page, found: Page, (limit, bytes_max): (usize, usize), filter: &Filter) -> Page {
    let mut looked_at = page.next;
    let mut bytes: usize = page.events.iter().map(|event| event.bytes()).sum();
    for event in found.events {
        let seq = event.seq;
        if filter.passes(&event.shown()) {
            bytes += event.bytes();
            let is_full = page.events.len() == limit || bytes > bytes_max && !page.events.is_empty();
            if is_full {
                return Page { next: looked_at, ..page };
            }
            page.events.push(event);
        }
        looked_at = Some(seq);
    }
    Page { next: found.next, ..page }
}

//! Pages of parked events.

use super::{ParkedInfo, ParkedPage, ParkedRow, ProgressEngine, state::fitting};
use crate::store::{Damage, LedgerRecord, StoreError, StoredEvent};

/// Events of one page that cannot be read. Each is found by halves, which takes some statements.
const DAMAGED_MAX: usize = 100;

/// Up to `limit` parked events with a `seq` above `after`. The page ends before it has more bytes than a page may have,
/// which are counted before any event is read.
pub(super) async fn parked_page(
    engine: &dyn ProgressEngine,
    ledger: &LedgerRecord,
    name: &str,
    after: u64,
    limit: usize,
) -> Result<Option<ParkedPage>, StoreError> {
    let mut session = engine.read(ledger).await?;
    session.head_and_now().await?;
    let Some(record) = session.load(name).await? else {
        session.commit().await?;
        return Ok(None);
    };
    // One more shows whether others follow.
    let rows = session.parked(record.number, after, None, limit + 1).await?;
    session.commit().await?;
    let fitting = fitting(rows.iter().take(limit).map(|row| row.bytes));
    let seqs: Vec<u64> = rows[..fitting].iter().map(|row| row.event.seq).collect();
    let events = each_event(engine, ledger, &seqs).await?;
    let more = events.len() < rows.len();
    let info = |(row, event): (ParkedRow, Result<StoredEvent, Damage>)| ParkedInfo {
        seq: row.event.seq,
        deliveries: row.event.deliveries,
        parked_at: row.parked_at,
        event,
    };
    Ok(Some(ParkedPage { events: rows.into_iter().zip(events).map(info).collect(), more }))
}

/// The events with these `seq`, each or what is wrong with it, up to the last one of [`DAMAGED_MAX`] that are damaged.
async fn each_event(
    engine: &dyn ProgressEngine,
    ledger: &LedgerRecord,
    seqs: &[u64],
) -> Result<Vec<Result<StoredEvent, Damage>>, StoreError> {
    let (mut events, mut damaged, mut parts) = (Vec::with_capacity(seqs.len()), 0, vec![seqs]);
    while let Some(part) = parts.pop().filter(|_| damaged < DAMAGED_MAX) {
        match read_events(engine, ledger, part).await {
            Ok(read) => events.extend(read.into_iter().map(Ok)),
            Err(StoreError::Damaged(damage)) if part.len() == 1 => {
                events.push(Err(damage));
                damaged += 1;
            }
            Err(StoreError::Damaged(_)) => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(events)
}

/// The events with these `seq`, all of them. An engine that finds none takes the ledger for gone: that is looked at here,
/// since each of them may be missing.
pub(super) async fn read_events(
    engine: &dyn ProgressEngine,
    ledger: &LedgerRecord,
    seqs: &[u64],
) -> Result<Vec<StoredEvent>, StoreError> {
    match (engine.events(ledger, seqs).await, seqs.first()) {
        (Err(StoreError::Gone), Some(seq)) => {
            let mut session = engine.read(ledger).await?;
            session.head_and_now().await?;
            session.commit().await?;
            Err(StoreError::Damaged(Damage::new(format!("the event with seq {seq} is missing"))))
        }
        (events, _) => events,
    }
}

//! Looks for the next events of a subscription, and hands them out.

use super::{
    ProgressSession, Record, Search, SubscriptionSettings,
    state::{Candidate, Candidates, Handed, LeaseWanted, Next},
};
use crate::store::StoreError;

/// Steps of looking for events within one transaction.
const STEPS_MAX: usize = 4;
/// A step looks through so many `seq` at most, where events are not looked up by their topic.
const SCAN_MAX: u64 = 20_000;
/// Events that a step finds at most where they are sorted into partitions.
const FOUND_MAX: usize = 4_000;
/// What a look for events costs at least, in events that are looked through.
const LOOK_COST: u64 = 100;

/// Looks for the next events and hands them out; `None` where nothing is found in as many steps as may be, or at all.
pub(super) async fn hand_out(
    session: &mut dyn ProgressSession,
    record: &mut Record,
    head: u64,
    wanted: &(impl Fn() -> LeaseWanted + Sync),
) -> Result<(Next, Option<Handed>), StoreError> {
    for _ in 0..STEPS_MAX {
        let next = record.progress.next(head);
        let (after, through) = match next {
            Next::FullyLeased | Next::Nothing => return Ok((next, None)),
            Next::Piece { after, through, .. } => (after, through),
            Next::New { after } => (after, head),
        };
        let found = find(session, &record.settings, after, through, wanted().limit).await?;
        if let Some(handed) = record.progress.take(next, &found, wanted()) {
            return Ok((next, Some(handed)));
        }
    }
    Ok((record.progress.next(head), None))
}

/// The next events of a subscription in a range, or in its first part.
async fn find(
    session: &mut dyn ProgressSession,
    settings: &SubscriptionSettings,
    after: u64,
    through: u64,
    limit: usize,
) -> Result<Candidates, StoreError> {
    let topics = &settings.topics;
    let through = if topics.are_looked_up() { through } else { through.min(after.saturating_add(SCAN_MAX)) };
    let limit = if settings.partitions.is_some() { FOUND_MAX } else { limit };
    let key = settings.partitions.map(|partitions| partitions.by);
    let found = session.search(&Search { topics, after, through, limit, key }).await?;
    let edge = found.last().filter(|_| found.len() == limit).map_or(through, |last| last.seq);
    let partition = |key: &Option<String>| match (settings.partitions, key) {
        (Some(partitions), Some(key)) => partitions.of(key),
        _ => 0,
    };
    let events = found.iter().map(|found| Candidate {
        seq: found.seq,
        bytes: found.bytes,
        partition: partition(&found.key),
    });
    Ok(Candidates { events: events.collect(), edge })
}

/// Moves on over events of others, as the next leases would, so that what is shown has no lag where there is nothing to
/// do. Returns about how many events were looked through.
pub(super) async fn skip_others(
    session: &mut dyn ProgressSession,
    record: &mut Record,
    head: u64,
) -> Result<u64, StoreError> {
    let settings = &record.settings;
    if settings.partitions.is_none() && settings.topics.is_all() {
        return Ok(0);
    }
    let Some(after) = record.progress.idle_place().filter(|after| *after < head) else { return Ok(0) };
    let found = find(session, settings, after, head, 1).await?;
    let looked_through =
        if settings.topics.are_looked_up() { found.events.len() as u64 } else { found.edge - after };
    record.progress.skip_others(&found);
    Ok(looked_through.max(LOOK_COST))
}

//! One group's way into the store: connect, append, and try again where that helps.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::group::{Group, Settled};
use crate::{
    actors::{PublishError, stats::GroupCommitted},
    event::{Digest, Event},
    ledger::{StoreHealth, StoreLoss},
    store::{
        AppendGroup, AppendOutcome, AppendStore, Committed, Head, LedgerKey, LedgerMark, StoreError,
        StoreWriter, TopicCount,
    },
};

/// After this long an append's connection is dropped and never used again; opening one counts, too. The store's own time limits for a
/// statement end before it.
const APPEND_DEADLINE: Duration = Duration::from_secs(8);
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// What the ledger knows a group by. A writer keeps its id, and its numbers only rise, over all its restarts:
/// a group of before a restart that is still under way then comes too late and does nothing.
#[derive(Clone, Copy)]
pub(in crate::actors) struct GroupId {
    pub(in crate::actors) writer_id: Uuid,
    pub(in crate::actors) group_no: u64,
}

/// The writer's connection, where one is open and in order.
pub(in crate::actors) type Connection = Option<Box<dyn StoreWriter>>;

/// A group that is through, and the connection, free for the next one.
pub(in crate::actors) struct CommitDone {
    pub(in crate::actors) connection: Connection,
    pub(in crate::actors) group: Group,
    pub(in crate::actors) result: Result<SettledGroup, CommitFailure>,
}

pub(in crate::actors) struct SettledGroup {
    pub(in crate::actors) settled: Settled,
    pub(in crate::actors) head: Head,
    pub(in crate::actors) committed: GroupCommitted,
}

/// Why a group is not committed.
pub(in crate::actors) enum CommitFailure {
    /// The store was unavailable until nobody waited any more.
    Unavailable,
    /// The store answered with an error and stored nothing; it may be the fault of the store or of a request.
    Refused(StoreError),
    /// The store needs an operator.
    Broken(StoreError),
    /// The store, whose newest commit this is, lacks what was seen of it in this epoch; nothing was stored.
    Restored { found: Head, epoch: u64 },
    /// A later group of this writer is stored already, which only an abandoned call can meet.
    Overtaken,
}

/// What a group is committed by, fixed when it is formed.
pub(in crate::actors) struct AppendContext {
    pub(in crate::actors) ledger: LedgerKey,
    pub(in crate::actors) id: GroupId,
    /// The newest commit that was seen when the group was judged. A restored database that is noticed after
    /// that must not make the judgement look like a newer one.
    pub(in crate::actors) seen: LedgerMark,
    /// The epoch in which it was seen.
    pub(in crate::actors) epoch: u64,
    /// How long a request waits for a store that is unavailable.
    pub(in crate::actors) store_patience: Duration,
}

impl AppendContext {
    fn append<'a>(
        &self,
        events: &'a [&'a Event],
        digests: &'a [Digest],
        counts: &'a [TopicCount<'a>],
    ) -> AppendGroup<'a> {
        let GroupId { writer_id, group_no } = self.id;
        AppendGroup { ledger: self.ledger, writer_id, group_no, seen: self.seen, events, digests, counts }
    }
}

/// Commits `group` under its id; the same id however often it is tried.
pub(in crate::actors) async fn commit(
    mut connection: Connection,
    group: Group,
    context: AppendContext,
    store: Arc<dyn AppendStore>,
    store_health: Arc<StoreHealth>,
) -> CommitDone {
    let result = try_until_settled(&mut connection, &group, &context, &*store, &store_health).await;
    CommitDone { connection, group, result }
}

async fn try_until_settled(
    connection: &mut Connection,
    group: &Group,
    context: &AppendContext,
    store: &dyn AppendStore,
    store_health: &StoreHealth,
) -> Result<SettledGroup, CommitFailure> {
    let (events, digests) = group.candidates();
    let counts = group.counts();
    let append = context.append(&events, &digests, &counts);
    let started = Instant::now();
    let mut backoff = BACKOFF_MIN;
    loop {
        match try_once(connection, store, &append).await {
            Ok(AppendOutcome::Committed(committed)) => {
                return Ok(settle(group, &committed, started.elapsed()));
            }
            Ok(AppendOutcome::Restored(found)) => {
                return Err(CommitFailure::Restored { found, epoch: context.epoch });
            }
            Ok(AppendOutcome::Overtaken) => return Err(CommitFailure::Overtaken),
            Ok(AppendOutcome::Gone) => return Err(CommitFailure::Broken(StoreError::Gone)),
            Err(error @ (StoreError::Unavailable(_) | StoreError::TimedOut(_))) => {
                store_health.note_lost(StoreLoss::Unavailable, &error);
            }
            Err(error @ (StoreError::Detached(_) | StoreError::Gone)) => {
                return Err(CommitFailure::Broken(error));
            }
            Err(
                error @ (StoreError::Rejected(_)
                | StoreError::Exhausted(_)
                | StoreError::Broken(_)
                | StoreError::Damaged(_)),
            ) => return Err(CommitFailure::Refused(error)),
        }
        if !anyone_waits(group, context.store_patience) {
            return Err(CommitFailure::Unavailable);
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// A connection that has met an error is dropped: nothing of an unfinished append may reach the next one.
async fn try_once(
    connection: &mut Connection,
    store: &dyn AppendStore,
    append: &AppendGroup<'_>,
) -> Result<AppendOutcome, StoreError> {
    let attempt = async {
        let mut open = match connection.take() {
            Some(open) => open,
            None => store.open_writer().await?,
        };
        let answer = open.append(append).await?;
        *connection = Some(open);
        Ok(answer)
    };
    let timed_out = StoreError::TimedOut(APPEND_DEADLINE);
    tokio::time::timeout(APPEND_DEADLINE, attempt).await.unwrap_or(Err(timed_out))
}

/// Tells those whose patience is over to try again; true while there are others.
fn anyone_waits(group: &Group, store_patience: Duration) -> bool {
    for request in group.requests() {
        if request.admitted_at.elapsed() >= store_patience {
            request.answer(Err(PublishError::StoreUnavailable));
        }
    }
    group.requests().iter().any(|request| !request.is_answered())
}

fn settle(group: &Group, committed: &Committed, latency: Duration) -> SettledGroup {
    let group_committed =
        GroupCommitted { events: group.events(), exceptions: committed.repeats.len(), latency };
    SettledGroup { settled: group.settle(committed), head: committed.head, committed: group_committed }
}

//! The way of a transaction's groups into the store: append, and try again where that helps.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::{
    connections::WriteConnections,
    group::{Group, Settled},
};
use crate::{
    actors::{PublishError, stats::GroupCommitted},
    ledger::{Epoch, OpenLedger, StoreHealth, StoreLoss},
    store::{AppendGroup, AppendOutcome, Committed, Head, LedgerMark, StoreError, TopicCount},
};

const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// What the ledger knows a group by. A writer keeps its id, and its numbers only rise, over all its restarts:
/// a group of before a restart that is still under way then comes too late and does nothing.
#[derive(Clone, Copy)]
pub(in crate::actors) struct GroupId {
    pub(in crate::actors) writer_id: Uuid,
    pub(in crate::actors) group_no: u64,
}

/// A group with what it is committed by, fixed when it is formed.
pub(in crate::actors) struct Job {
    pub(in crate::actors) ledger: Arc<OpenLedger>,
    pub(in crate::actors) id: GroupId,
    /// The newest commit that was seen when the group was judged.
    pub(in crate::actors) seen: LedgerMark,
    /// The epoch in which it was seen.
    pub(in crate::actors) epoch: Epoch,
    pub(in crate::actors) topics_max: u32,
    pub(in crate::actors) group: Group,
}

/// A group that is through.
pub(in crate::actors) struct JobDone {
    pub(in crate::actors) job: Job,
    pub(in crate::actors) result: Result<SettledGroup, CommitFailure>,
}

pub(in crate::actors) struct SettledGroup {
    pub(in crate::actors) settled: Settled,
    pub(in crate::actors) head: Head,
    pub(in crate::actors) committed: GroupCommitted,
}

/// Why a group is not committed.
pub(in crate::actors) enum CommitFailure {
    /// The store was unavailable, or the ledger locked or on a node that is away, until nobody waited any more.
    Unavailable,
    /// The store answered with an error and stored nothing; it may be the fault of the store or of a request.
    Refused(StoreError),
    /// The store needs an operator.
    Broken(StoreError),
    /// The ledger, whose newest commit this is, lacks what was seen of it; nothing was stored.
    Restored(Head),
    /// The store has no such ledger any more; nothing was stored.
    Gone,
    /// A later group of this writer is stored already, which only an abandoned call can meet.
    Overtaken,
}

/// Commits groups of different ledgers in one transaction.
pub(in crate::actors) struct Committing {
    pub(in crate::actors) connections: Arc<WriteConnections>,
    pub(in crate::actors) store_health: Arc<StoreHealth>,
    /// How long a request waits for a store that is unavailable.
    pub(in crate::actors) store_patience: Duration,
}

impl Committing {
    /// Commits each job under its id; the same id however often it is tried. Where the transaction as a whole is
    /// refused, each job has one of its own.
    pub(in crate::actors) async fn commit(self, jobs: Vec<Job>) -> Vec<JobDone> {
        let results = match self.try_until_settled(&jobs).await {
            Ok(results) => results,
            Err(failure) if jobs.len() == 1 => vec![Err(failure)],
            Err(_) => {
                let mut results = Vec::with_capacity(jobs.len());
                for job in &jobs {
                    match self.try_until_settled(std::slice::from_ref(job)).await {
                        Ok(alone) => results.extend(alone),
                        Err(failure) => results.push(Err(failure)),
                    }
                }
                results
            }
        };
        jobs.into_iter().zip(results).map(|(job, result)| JobDone { job, result }).collect()
    }

    async fn try_until_settled(
        &self,
        jobs: &[Job],
    ) -> Result<Vec<Result<SettledGroup, CommitFailure>>, CommitFailure> {
        let contents: Vec<_> = jobs.iter().map(|job| (job.group.candidates(), job.group.counts())).collect();
        let groups: Vec<AppendGroup<'_>> = jobs
            .iter()
            .zip(&contents)
            .map(|(job, ((events, digests), counts))| job.append_group(events, digests, counts))
            .collect();
        let started = Instant::now();
        let mut backoff = BACKOFF_MIN;
        let mut was_held_up = false;
        loop {
            match self.connections.append(&groups, was_held_up).await {
                Ok(outcomes) => {
                    let counts = contents.iter().map(|(_, counts)| &counts[..]);
                    let settle = |((job, counts), outcome): ((&Job, _), _)| {
                        job.settle(outcome, counts, started.elapsed())
                    };
                    return Ok(jobs.iter().zip(counts).zip(outcomes).map(settle).collect());
                }
                Err(error @ (StoreError::Locked(_) | StoreError::NodeAway(_))) => {
                    was_held_up = true;
                    jobs.iter().for_each(|job| job.ledger.note_trouble(&error));
                }
                Err(error @ (StoreError::Unavailable(_) | StoreError::TimedOut(_))) => {
                    self.store_health.note_lost(StoreLoss::Unavailable, &error);
                }
                Err(error) => return Err(CommitFailure::of(error)),
            }
            if !self.anyone_waits(jobs) {
                return Err(CommitFailure::Unavailable);
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Tells those whose patience is over to try again; true while there are others.
    fn anyone_waits(&self, jobs: &[Job]) -> bool {
        let requests = || jobs.iter().flat_map(|job| job.group.requests());
        for request in requests() {
            if request.admitted_at.elapsed() >= self.store_patience {
                request.answer(Err(PublishError::StoreUnavailable));
            }
        }
        requests().any(|request| !request.is_answered())
    }
}

impl Job {
    fn append_group<'a>(
        &'a self,
        events: &'a [&'a crate::event::Event],
        digests: &'a [crate::event::Digest],
        counts: &'a [TopicCount<'a>],
    ) -> AppendGroup<'a> {
        AppendGroup {
            ledger: self.ledger.key(),
            writer_id: self.id.writer_id,
            group_no: self.id.group_no,
            seen: self.seen,
            topics_max: self.topics_max,
            events,
            digests,
            counts,
        }
    }

    fn settle(
        &self,
        outcome: Result<AppendOutcome, StoreError>,
        counts: &[TopicCount<'_>],
        latency: Duration,
    ) -> Result<SettledGroup, CommitFailure> {
        match outcome {
            Ok(AppendOutcome::Committed(committed)) => Ok(self.settle_committed(&committed, counts, latency)),
            Ok(AppendOutcome::Restored(found)) => Err(CommitFailure::Restored(found)),
            Ok(AppendOutcome::Gone) => Err(CommitFailure::Gone),
            Ok(AppendOutcome::Overtaken) => Err(CommitFailure::Overtaken),
            Ok(AppendOutcome::TooManyTopics) => {
                Err(CommitFailure::Refused(StoreError::TooManyTopics(self.topics_max)))
            }
            Err(error) => Err(CommitFailure::of(error)),
        }
    }

    fn settle_committed(
        &self,
        committed: &Committed,
        counts: &[TopicCount<'_>],
        latency: Duration,
    ) -> SettledGroup {
        let settled = self.group.settle(committed);
        let group_committed = GroupCommitted {
            ledger: Arc::clone(&self.ledger),
            events: self.group.events(),
            unique: settled.learned.len() - committed.repeats.len(),
            exceptions: committed.repeats.len(),
            topics: self.group.committed_by_topic(counts, committed),
            latency,
        };
        SettledGroup { settled, head: committed.head, committed: group_committed }
    }
}

impl CommitFailure {
    /// What an error means that is not tried again.
    fn of(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_)
            | StoreError::TimedOut(_)
            | StoreError::Locked(_)
            | StoreError::NodeAway(_) => Self::Unavailable,
            StoreError::Detached(_) => Self::Broken(error),
            StoreError::Gone => Self::Gone,
            StoreError::Rejected(_)
            | StoreError::TooManyTopics(_)
            | StoreError::Exhausted(_)
            | StoreError::Broken(_)
            | StoreError::Damaged(_) => Self::Refused(error),
        }
    }
}

//! What the writer does with a group that the store has taken, or has not.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use actix::Addr;
use tracing::{error, warn};

use super::{
    blame::{Blame, RefusedGroup, blame},
    commit::{CommitFailure, JobDone, SettledGroup},
    group::Group,
    lane::Lane,
    queue::answer_all,
};
use crate::{
    actors::{actor_health::ActorHealth, request::PublishError, stats::StatsActor},
    event::{Digest, Outcome},
    ledger::{Announcements, OpenLedger, StoreHealth, StoreLoss},
    store::{Head, LedgerKey, StoreError},
};

/// What a writer tells of its groups, whatever their ledgers.
pub(in crate::actors) struct WriterParts {
    pub(in crate::actors) stats: Addr<StatsActor>,
    pub(in crate::actors) store_health: Arc<StoreHealth>,
    pub(in crate::actors) announcements: Arc<Announcements>,
    pub(in crate::actors) health: Arc<ActorHealth>,
}

/// A group that is committed, and not answered yet.
pub(in crate::actors) struct Unanswered {
    group: Group,
    replies: Vec<Vec<Outcome>>,
    /// Its ids, by what windows remember them by, with their `seq`.
    pub(in crate::actors) learned: Vec<(Digest, u64)>,
}

impl Unanswered {
    /// Answers its requests.
    pub(in crate::actors) fn answer(self) {
        for (request, outcomes) in self.group.requests().iter().zip(self.replies) {
            request.answer(Ok(outcomes));
        }
    }
}

impl WriterParts {
    /// Deals with a group that is through. What is committed is to be answered.
    pub(in crate::actors) fn settle(&self, lane: &mut Lane, done: JobDone) -> Option<Unanswered> {
        let JobDone { job, result } = done;
        let key = job.ledger.key();
        let settled = match result {
            Ok(settled) => Some(self.take(lane, &job.ledger, &job.group, settled)),
            Err(failure) => {
                if let Some(queue) = lane.ledger(key) {
                    queue.in_hand.clear();
                }
                self.fail(lane, &job.ledger, job.group, failure);
                lane.note_ready(key);
                return None;
            }
        };
        lane.note_ready(key);
        let salt = job.epoch.salt();
        settled.map(|(replies, learned)| Unanswered {
            group: job.group,
            replies,
            learned: learned.into_iter().map(|(digest, seq)| (digest.salted(salt), seq)).collect(),
        })
    }

    fn take(
        &self,
        lane: &mut Lane,
        ledger: &Arc<OpenLedger>,
        group: &Group,
        settled: SettledGroup,
    ) -> (Vec<Vec<Outcome>>, Vec<(Digest, u64)>) {
        let SettledGroup { settled, head, committed } = settled;
        ledger.position.move_on(head);
        self.announcements.note(ledger.key(), head.last_seq);
        ledger.health.note_taken(&ledger.record.namespace);
        self.store_health.note_taken();
        self.stats.do_send(committed);
        if let Some(queue) = lane.ledger(ledger.key()) {
            if Arc::ptr_eq(&queue.ledger, ledger) {
                queue.recent.learn(&settled.learned, group.requests().len(), ledger);
            }
            queue.in_hand.clear();
        }
        self.learn_from_commit(lane, ledger, group);
        (settled.replies, settled.learned)
    }

    /// The store took a group: so it was not to blame for the last crash, nor for the last group of this ledger that it
    /// refused.
    fn learn_from_commit(&self, lane: &mut Lane, ledger: &OpenLedger, group: &Group) {
        let digests = group.requests().iter().map(|request| &request.digests[..]);
        if lane.quarantine.note_commit(digests, Instant::now()) {
            self.health.forgive_restart();
        }
        let Some(queue) = lane.ledger(ledger.key()) else { return };
        let Some(RefusedGroup { requests, error }) = queue.refused.take() else { return };
        warn!(
            namespace = ledger.record.namespace,
            error = &error as &dyn std::error::Error,
            requests = requests.len(),
            "the store refuses a group, and takes others; looking for the request that is to blame"
        );
        match blame(requests, &error) {
            Blame::Halves(first, second) => {
                queue.retry_first(second);
                queue.retry_first(first);
            }
            Blame::Culprit(request, answer) => {
                // Damage is no request's fault, even where only one request meets it.
                if let StoreError::Damaged(_) = error {
                    ledger.note_trouble(&error);
                }
                request.answer(Err(answer));
            }
            Blame::Nobody => {}
        }
    }

    /// The group is not committed, for this reason.
    fn fail(&self, lane: &mut Lane, ledger: &OpenLedger, group: Group, failure: CommitFailure) {
        if group.requests().is_empty() {
            lane.quarantine.drop_proof();
        }
        let key = ledger.key();
        match failure {
            CommitFailure::Restored(found) => {
                self.store_health.note_restored();
                start_over(lane, ledger, found);
                retry_later(lane, key, group);
            }
            CommitFailure::Refused(error) if !group.requests().is_empty() => {
                if let Some(queue) = lane.ledger(key) {
                    queue.refused = Some(RefusedGroup { requests: group.into_requests(), error });
                }
            }
            CommitFailure::Refused(error) | CommitFailure::Broken(error) => {
                self.fail_store(lane, ledger, &group, &error);
            }
            CommitFailure::Unavailable => {
                lane.note_not_taken(group.events());
                answer_all(group.requests(), &PublishError::StoreUnavailable);
                retry_later(lane, key, group);
            }
            CommitFailure::Overtaken => {
                answer_all(group.requests(), &PublishError::TimedOut);
                retry_later(lane, key, group);
            }
            CommitFailure::Gone => {
                ledger.note_gone();
                // The database answered.
                self.store_health.note_taken();
                answer_all(group.requests(), &PublishError::Gone);
                let (queued, tried) = lane.take_ledger(key);
                self.health.queue.fetch_sub(queued.len(), Ordering::Relaxed);
                answer_all(&queued, &PublishError::Gone);
                answer_all(&tried, &PublishError::Gone);
            }
        }
    }

    /// The store took neither this group nor, where it is empty, the one before.
    fn fail_store(&self, lane: &mut Lane, ledger: &OpenLedger, group: &Group, error: &StoreError) {
        let answer = match error {
            StoreError::Exhausted(_) => {
                self.store_health.note_lost(StoreLoss::Unavailable, error);
                PublishError::StoreUnavailable
            }
            // Other ledgers may be in order.
            StoreError::Damaged(_) => {
                ledger.note_trouble(error);
                PublishError::LedgerBroken
            }
            _ => {
                self.store_health.note_lost(StoreLoss::Unwritable, error);
                PublishError::StoreBroken
            }
        };
        let refused = lane.ledger(ledger.key()).and_then(|queue| queue.refused.take());
        answer_all(&refused.map(|refused| refused.requests).unwrap_or_default(), &answer);
        answer_all(group.requests(), &answer);
    }
}

/// Puts back what is not answered: the group that failed, or the one that was refused before it.
fn retry_later(lane: &mut Lane, key: LedgerKey, group: Group) {
    let Some(queue) = lane.ledger(key) else { return };
    let refused = queue.refused.take().map(|refused| refused.requests);
    let mut requests = refused.unwrap_or_default();
    requests.extend(group.into_requests());
    requests.retain(|request| !request.is_answered());
    queue.retry_first(requests);
}

/// Forgets all that is known of stored ids.
fn start_over(lane: &mut Lane, ledger: &OpenLedger, found: Head) {
    error!(
        namespace = ledger.record.namespace,
        seen = ledger.position.seen().0.commit_no,
        found = found.mark.commit_no,
        "the ledger lacks a commit that this node has seen: the database was restored to an older copy, or this node did not use the ledger for long; what it knew of stored ids is forgotten"
    );
    ledger.position.start_over(found);
    if let Some(queue) = lane.ledger(ledger.key()) {
        queue.recent.forget();
    }
}

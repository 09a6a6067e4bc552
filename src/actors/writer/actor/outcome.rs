//! What the writer does with a group that the store has taken, or has not.

use std::{sync::Arc, time::Instant};

use actix::prelude::*;
use tracing::{error, warn};

use super::WriterActor;
use crate::{
    actors::{
        request::{PublishError, PublishRequest},
        supervision::guarded,
        writer::{
            blame::{Blame, RefusedGroup, blame},
            commit::{CommitFailure, SettledGroup},
            group::Group,
            pace::EndedGroup,
        },
    },
    ledger::StoreLoss,
    store::{Head, StoreError},
};

impl WriterActor {
    /// The group is committed.
    pub(super) fn settle(&mut self, group: &Group, committed: SettledGroup, ctx: &mut Context<Self>) {
        let SettledGroup { settled, head, committed } = committed;
        self.position.move_on(head);
        self.store_health.note_taken();
        self.queue.note_taken();
        let ended = EndedGroup {
            requests: group.requests().len(),
            events: group.events(),
            commit_time: committed.latency,
            queued: self.queue.len(),
        };
        self.stats.do_send(committed);
        settled.learned.iter().for_each(|(digest, seq)| self.recent.learn(*digest, *seq));
        self.learn_from_commit(group);
        self.in_hand.clear();
        let wait = self.pace.group_ended(&ended, Instant::now());
        // Without a wait the next group is on its way to the store before the clients of this one are answered.
        self.commit_next(ctx);
        self.shards.teach(settled.learned);
        for (request, outcomes) in group.requests().iter().zip(settled.replies) {
            request.answer(Ok(outcomes));
        }
        if let Some(wait) = wait {
            ctx.run_later(wait, |writer, ctx| guarded(writer, ctx, |writer, ctx| writer.commit_next(ctx)));
        }
    }

    /// The store took a group: so it was not to blame for the last crash, nor for the last group it refused.
    fn learn_from_commit(&mut self, group: &Group) {
        let digests = group.requests().iter().map(|request| &request.digests[..]);
        if self.quarantine.note_commit(digests, Instant::now()) {
            self.health.forgive_restart();
        }
        let Some(RefusedGroup { requests, error }) = self.refused.take() else { return };
        warn!(
            error = &error as &dyn std::error::Error,
            requests = requests.len(),
            "the store refuses a group, and takes others; looking for the request that is to blame"
        );
        match blame(requests, &error) {
            Blame::Halves(first, second) => {
                self.queue.retry_first(second);
                self.queue.retry_first(first);
            }
            Blame::Culprit(request, answer) => {
                // Damage is no request's fault, even where only one request meets it.
                if let StoreError::Damaged(_) = error {
                    self.store_health.note_lost(StoreLoss::Unwritable, &error);
                }
                request.answer(Err(answer));
            }
            Blame::Nobody => {}
        }
    }

    /// The group is not committed, for this reason.
    pub(super) fn fail(&mut self, group: Group, failure: CommitFailure) {
        if group.requests().is_empty() {
            self.quarantine.drop_proof();
        }
        match failure {
            CommitFailure::Restored { found, epoch } => {
                // The poller may have noticed it while this group was tried.
                if epoch == self.position.epoch() {
                    self.start_over(found);
                }
                self.retry_later(group);
            }
            CommitFailure::Refused(error) if !group.requests().is_empty() => {
                self.refused = Some(RefusedGroup { requests: group.into_requests(), error });
            }
            CommitFailure::Refused(error) | CommitFailure::Broken(error) => self.fail_store(&group, &error),
            CommitFailure::Unavailable => {
                self.queue.note_not_taken(group.events());
                answer_all(group.requests(), &PublishError::StoreUnavailable);
                self.retry_later(group);
            }
            CommitFailure::Overtaken => {
                answer_all(group.requests(), &PublishError::TimedOut);
                self.retry_later(group);
            }
        }
    }

    /// Puts back what is not answered: the group that failed, or the one that was refused before it.
    fn retry_later(&mut self, group: Group) {
        let refused = self.refused.take().map(|refused| refused.requests);
        let mut requests = refused.unwrap_or_default();
        requests.extend(group.into_requests());
        requests.retain(|request| !request.is_answered());
        if !requests.is_empty() {
            self.queue.retry_first(requests);
        }
    }

    /// The store took neither this group nor, where it is empty, the one before.
    fn fail_store(&mut self, group: &Group, error: &StoreError) {
        let (loss, answer) = match error {
            StoreError::Exhausted(_) => (StoreLoss::Unavailable, PublishError::StoreUnavailable),
            _ => (StoreLoss::Unwritable, PublishError::StoreBroken),
        };
        self.store_health.note_lost(loss, error);
        let refused = self.refused.take().map(|refused| refused.requests);
        answer_all(&refused.unwrap_or_default(), &answer);
        answer_all(group.requests(), &answer);
    }

    /// Forgets all that is known of stored ids. Shards are told before the new epoch begins, so that
    /// whatever is admitted in it finds them empty.
    pub(super) fn start_over(&mut self, found: Head) {
        let seen = self.position.seen();
        error!(
            seen = seen.commit_no,
            found = found.mark.commit_no,
            "the ledger lacks a commit that this node has seen: the database was restored to an older copy, or this node was away for long; all windows are forgotten"
        );
        let epoch = self.position.epoch() + 1;
        self.shards.forget(epoch);
        self.recent.forget();
        self.position.start_over(epoch, found);
    }
}

fn answer_all(requests: &[Arc<PublishRequest>], error: &PublishError) {
    requests.iter().for_each(|request| request.answer(Err(error.clone())));
}

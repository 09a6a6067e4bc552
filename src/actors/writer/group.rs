//! A group that is being committed: whole requests, what is already known of their events, and what they become.
//!
//! A *repeat* has its original in the same group. A *duplicate* has it in the store; an *exception* is a duplicate
//! that only the store knew.

use std::{collections::HashMap, sync::Arc};

use super::recent::RecentIds;
use crate::{
    actors::{request::PublishRequest, stats::EventCounts},
    event::{Digest, DigestMap, Event, Outcome},
    ledger::Epoch,
    store::{Committed, TopicCount},
};

/// What the writer knows of one event before the store is asked.
#[derive(Clone, Copy)]
enum Verdict {
    /// A shard or the last groups know it: it is stored under this `seq`.
    Duplicate(u64),
    /// It goes to the store as the group's candidate at this place.
    Candidate(usize),
    /// It repeats the candidate at this place.
    RepeatOf(usize),
}

/// Requests that commit together.
pub(in crate::actors) struct Group {
    requests: Vec<Arc<PublishRequest>>,
    /// One verdict an event, in the order of the requests.
    verdicts: Vec<Verdict>,
    /// Request and place of each candidate.
    candidates: Vec<(u32, u32)>,
}

impl Group {
    /// Collapses the repeats among the events of `requests`, so that the first copy alone goes to the store.
    ///
    /// What shards knew counts only for requests of this `epoch`; `recent` knows the last groups' ids, which
    /// shards may have looked for before those were committed.
    pub(in crate::actors) fn form(
        requests: Vec<Arc<PublishRequest>>,
        epoch: Epoch,
        recent: &RecentIds,
    ) -> Self {
        let events = requests.iter().map(|request| request.events.len()).sum();
        let mut verdicts = Vec::with_capacity(events);
        let mut candidates = Vec::with_capacity(events);
        let mut seen: DigestMap<usize> = DigestMap::default();
        let several = events > 1;
        if several {
            seen.reserve(events);
        }
        for (request_place, request) in requests.iter().enumerate() {
            let marks_count = request.epoch == epoch;
            for (place, digest) in request.digests.iter().enumerate() {
                let known = request.known_seq(place).filter(|_| marks_count).or_else(|| recent.seq(*digest));
                let verdict = if let Some(seq) = known {
                    Verdict::Duplicate(seq)
                } else if let Some(candidate) = seen.get(digest) {
                    Verdict::RepeatOf(*candidate)
                } else {
                    if several {
                        seen.insert(*digest, candidates.len());
                    }
                    candidates.push((request_place as u32, place as u32));
                    Verdict::Candidate(candidates.len() - 1)
                };
                verdicts.push(verdict);
            }
        }
        Self { requests, verdicts, candidates }
    }

    pub(in crate::actors) fn requests(&self) -> &[Arc<PublishRequest>] {
        &self.requests
    }

    pub(in crate::actors) fn into_requests(self) -> Vec<Arc<PublishRequest>> {
        self.requests
    }

    /// All events of its requests.
    pub(in crate::actors) fn events(&self) -> usize {
        self.verdicts.len()
    }

    /// The candidates, for the store, and the identity of each.
    pub(in crate::actors) fn candidates(&self) -> (Vec<&Event>, Vec<Digest>) {
        let candidate = |(request, place): &(u32, u32)| {
            let request = &self.requests[*request as usize];
            (&request.events[*place as usize], request.digests[*place as usize])
        };
        self.candidates.iter().map(candidate).unzip()
    }

    /// The counts by topic, in the order in which the topics first occur.
    pub(in crate::actors) fn counts(&self) -> Vec<TopicCount<'_>> {
        let mut counts: Vec<TopicCount<'_>> = Vec::new();
        let mut places: HashMap<&str, usize> = HashMap::new();
        for (event, verdict) in self.events_with_verdicts() {
            let topic: &str = event.topic();
            // Events of one request mostly share their topic.
            let place = match counts.last() {
                Some(last) if last.topic == topic => counts.len() - 1,
                _ => *places.entry(topic).or_insert_with(|| {
                    counts.push(TopicCount { topic, new_events: 0, duplicates: 0 });
                    counts.len() - 1
                }),
            };
            match verdict {
                Verdict::Candidate(_) => counts[place].new_events += 1,
                Verdict::Duplicate(_) | Verdict::RepeatOf(_) => counts[place].duplicates += 1,
            }
        }
        counts
    }

    /// What a commit of these counts stored and found of each topic.
    pub(in crate::actors) fn committed_by_topic(
        &self,
        counts: &[TopicCount<'_>],
        committed: &Committed,
    ) -> Vec<(String, EventCounts)> {
        let mut repeats: HashMap<&str, u64> = HashMap::new();
        for (candidate, _) in &committed.repeats {
            let (request, place) = self.candidates[*candidate];
            *repeats.entry(self.requests[request as usize].events[place as usize].topic()).or_default() += 1;
        }
        let of = |count: &TopicCount<'_>| {
            let unique = count.new_events - repeats.get(count.topic).copied().unwrap_or(0);
            let received = count.new_events + count.duplicates;
            (count.topic.to_owned(), EventCounts { received, unique })
        };
        counts.iter().map(of).collect()
    }

    fn events_with_verdicts(&self) -> impl Iterator<Item = (&Event, Verdict)> {
        self.requests.iter().flat_map(|request| &request.events).zip(self.verdicts.iter().copied())
    }

    /// What became of it.
    pub(in crate::actors) fn settle(&self, committed: &Committed) -> Settled {
        let outcomes = candidate_outcomes(self.candidates.len(), committed);
        let digest =
            |(request, place): &(u32, u32)| self.requests[*request as usize].digests[*place as usize];
        let learned =
            self.candidates.iter().map(digest).zip(outcomes.iter().map(|outcome| outcome.seq())).collect();
        let mut verdicts = self.verdicts.iter();
        let replies = self
            .requests
            .iter()
            .map(|request| {
                let verdicts = verdicts.by_ref().take(request.events.len());
                verdicts.map(|verdict| verdict.outcome(&outcomes)).collect()
            })
            .collect();
        Settled { learned, replies }
    }
}

/// The outcome of each event of a committed group.
pub(in crate::actors) struct Settled {
    /// The candidates' ids, which are stored now, with their `seq`.
    pub(in crate::actors) learned: Vec<(Digest, u64)>,
    /// The outcomes of each request, in order.
    pub(in crate::actors) replies: Vec<Vec<Outcome>>,
}

fn candidate_outcomes(candidates: usize, committed: &Committed) -> Vec<Outcome> {
    let mut repeats = committed.repeats.iter().peekable();
    let mut next_seq = committed.first_seq;
    (0..candidates)
        .map(|candidate| match repeats.next_if(|(place, _)| *place == candidate) {
            Some((_, seq)) => Outcome::Duplicate(*seq),
            None => {
                next_seq += 1;
                Outcome::Stored(next_seq - 1)
            }
        })
        .collect()
}

impl Verdict {
    fn outcome(self, candidates: &[Outcome]) -> Outcome {
        match self {
            Verdict::Duplicate(seq) => Outcome::Duplicate(seq),
            Verdict::Candidate(candidate) => candidates[candidate],
            Verdict::RepeatOf(candidate) => Outcome::Duplicate(candidates[candidate].seq()),
        }
    }
}

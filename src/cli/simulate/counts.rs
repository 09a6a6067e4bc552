//! Proves the counts: what `/stats` says of the run's topics is what was planned, neither more nor less.

use std::{collections::HashMap, time::Duration};

use serde::Deserialize;
use tokio::time::sleep;

use super::{faults::Faults, plan::Plan};
use crate::client::{Client, ClientError};

/// Another node's counts may be as old as one poll; within this they must have come.
const LAG: Duration = Duration::from_millis(300);
const LOOKS: usize = 5;

/// The part of the answer that is looked at.
#[derive(Deserialize)]
pub struct Stats {
    received: u64,
    unique_processed: u64,
    duplicate_dropped: u64,
    topics_total: u64,
    by_topic: HashMap<String, Counts>,
}

#[derive(Clone, Copy, Default, Deserialize)]
struct Counts {
    unique: u64,
    duplicates: u64,
}

/// What the counts must have come to.
pub struct Expected<'a> {
    pub plan: &'a Plan,
    /// Before the run.
    pub before: Stats,
    /// Whether an earlier run may have used the topics.
    pub topics_may_be_old: bool,
    /// Planned events that were new to the service, a topic.
    pub new_by_topic: Vec<u64>,
    /// Copies that may have been counted beside those that were acknowledged.
    pub copies_unknown: u64,
}

/// What the last look came to.
#[derive(Default)]
pub struct Verdict {
    pub faults: Faults,
    /// What could not be looked at, in sentences.
    pub unproven: Vec<String>,
}

/// Asks for the counts.
pub async fn stats(client: &Client, give_up_after: Duration) -> Result<Stats, ClientError> {
    let json = client.read_until_answered(give_up_after, async |client| client.stats().await).await?;
    let unreadable = |source| ClientError::Unreadable { url: "/stats".to_owned(), source };
    serde_json::from_str(&json).map_err(unreadable)
}

/// Looks until the counts are right, or as long as they may lag behind.
pub async fn check(
    expected: &Expected<'_>,
    client: &Client,
    give_up_after: Duration,
) -> Result<Verdict, ClientError> {
    let mut looks = 1;
    loop {
        let verdict = expected.verdict(&stats(client, give_up_after).await?);
        if verdict.faults.is_empty() || looks == LOOKS {
            return Ok(verdict);
        }
        looks += 1;
        sleep(LAG).await;
    }
}

impl Expected<'_> {
    fn verdict(&self, now: &Stats) -> Verdict {
        let mut verdict = Verdict::default();
        if now.unique_processed.checked_add(now.duplicate_dropped) != Some(now.received) {
            verdict.faults.add("the totals in /stats do not add up", || {
                format!(
                    "{} unique, {} duplicates, {} received",
                    now.unique_processed, now.duplicate_dropped, now.received
                )
            });
        }
        let (mut topics, mut unproven) = (0, 0);
        let mut more_received = 0;
        for (place, (unique, copies)) in self.plan.by_topic().into_iter().enumerate() {
            if unique == 0 {
                continue;
            }
            topics += 1;
            match self.change(place, now) {
                Some(change) => {
                    self.check_topic(place, change, copies, &mut verdict.faults);
                    more_received += (change.unique + change.duplicates).saturating_sub(copies);
                }
                None => unproven += 1,
            }
        }
        if more_received > self.copies_unknown {
            verdict.faults.add("/stats counts more than was sent", || {
                format!("{more_received} more were received, where {} may have been", self.copies_unknown)
            });
        }
        if unproven > 0 {
            verdict.unproven.push(format!(
                "the counts of {unproven} of {topics} topics: they are not among those that /stats shows"
            ));
        }
        verdict
    }

    /// How a topic's counts changed since before the run, where both are shown.
    fn change(&self, place: usize, now: &Stats) -> Option<Counts> {
        let topic = &self.plan.topics[place];
        let shown = |stats: &Stats, may_be_hidden: bool| match stats.by_topic.get(topic) {
            None if may_be_hidden && stats.hides_topics() => None,
            shown => Some(shown.copied().unwrap_or_default()),
        };
        let (before, now) = (shown(&self.before, self.topics_may_be_old)?, shown(now, true)?);
        Some(Counts {
            unique: now.unique.saturating_sub(before.unique),
            duplicates: now.duplicates.saturating_sub(before.duplicates),
        })
    }

    fn check_topic(&self, place: usize, change: Counts, copies: u64, faults: &mut Faults) {
        let (topic, new) = (&self.plan.topics[place], self.new_by_topic[place]);
        if change.unique != new {
            faults.add("/stats counts another number of unique events than was planned", || {
                format!("{} in topic {topic}, planned {new}", change.unique)
            });
        }
        let received = change.unique + change.duplicates;
        if received < copies {
            faults.add("/stats counts fewer events than were sent", || {
                format!("{received} in topic {topic}, sent {copies}")
            });
        }
    }
}

impl Stats {
    fn hides_topics(&self) -> bool {
        self.topics_total > self.by_topic.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::simulate::tests::plan;

    fn stats(topics_total: u64, by_topic: &[(&str, u64, u64)]) -> Stats {
        let (unique, duplicates) =
            by_topic.iter().fold((0, 0), |sum, topic| (sum.0 + topic.1, sum.1 + topic.2));
        let counts = |(topic, unique, duplicates): &(&str, u64, u64)| {
            ((*topic).to_owned(), Counts { unique: *unique, duplicates: *duplicates })
        };
        Stats {
            received: unique + duplicates,
            unique_processed: unique,
            duplicate_dropped: duplicates,
            topics_total,
            by_topic: by_topic.iter().map(counts).collect(),
        }
    }

    fn verdict(plan: &Plan, copies_unknown: u64, now: &Stats) -> (Vec<String>, usize) {
        let expected = Expected {
            plan,
            before: stats(1, &[("other", 5, 0)]),
            topics_may_be_old: false,
            new_by_topic: vec![7],
            copies_unknown,
        };
        let verdict = expected.verdict(now);
        (verdict.faults.sentences(), verdict.unproven.len())
    }

    #[test]
    fn the_counts_must_be_the_planned_ones() {
        let plan = plan(&["--events=10", "--topics=1"]);
        let topic = plan.topics[0].as_str();
        let fault = |copies_unknown, unique, duplicates| {
            verdict(&plan, copies_unknown, &stats(2, &[("other", 9, 9), (topic, unique, duplicates)]))
                .0
                .join(" ")
        };
        assert_eq!(fault(0, 7, 3), "");
        assert_eq!(fault(2, 7, 5), "");
        assert!(fault(0, 7, 4).contains("counts more than was sent"));
        assert!(fault(2, 7, 6).contains("counts more than was sent"));
        assert!(fault(0, 7, 2).contains("counts fewer events"));
        assert!(fault(0, 6, 4).contains("another number of unique events"));
    }

    #[test]
    fn a_topic_that_is_not_shown_is_not_passed_over() {
        let plan = plan(&["--events=10", "--topics=1"]);
        assert_eq!(verdict(&plan, 0, &stats(1_001, &[("other", 9, 9)])), (vec![], 1));
        let (faults, unproven) = verdict(&plan, 0, &stats(1, &[("other", 9, 9)]));
        assert_eq!((faults.len(), unproven), (2, 0), "{faults:?}");
    }
}

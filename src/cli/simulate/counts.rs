//! Checks the counts: `/stats` counts exactly the planned events in the run's topics.

use std::time::Duration;

use tokio::time::sleep;

use super::{answers::Answers, faults::Faults, plan::Plan};
use crate::client::{Client, ClientError, Stats, TopicCounts};

/// The counts of another node may be as old as one poll, which takes less time than this.
const LAG: Duration = Duration::from_millis(300);
const ATTEMPTS_MAX: usize = 5;

/// The counts that must be there after the run.
pub struct Expected<'a> {
    pub plan: &'a Plan,
    /// The counts before the run.
    pub before: Stats,
    /// Whether an earlier run may have used the same topics.
    pub topics_may_be_old: bool,
    pub answers: &'a Answers,
}

/// The result of a check.
#[derive(Default)]
pub struct Verdict {
    pub faults: Faults,
    /// What could not be checked, in sentences.
    pub unproven: Vec<String>,
}

/// Checks until the counts are right, or for as long as they may lag behind.
pub async fn check(
    expected: &Expected<'_>,
    client: &Client,
    give_up_after: Duration,
) -> Result<Verdict, ClientError> {
    let mut attempts = 1;
    loop {
        let ask = async |client: &Client| client.stats().await;
        let verdict = expected.verdict(&client.read_until_answered(give_up_after, ask).await?);
        if verdict.faults.is_empty() || attempts == ATTEMPTS_MAX {
            return Ok(verdict);
        }
        attempts += 1;
        sleep(LAG).await;
    }
}

impl Expected<'_> {
    fn verdict(&self, now: &Stats) -> Verdict {
        let mut verdict = Verdict::default();
        let Stats { received, unique_processed, duplicate_dropped, .. } = now;
        if unique_processed.checked_add(*duplicate_dropped) != Some(*received) {
            let example =
                format!("{unique_processed} unique, {duplicate_dropped} duplicates, {received} received");
            verdict.faults.add("the totals in /stats do not add up", example);
        }
        let new_by_topic = self.answers.new_by_topic(self.plan);
        let (mut topics, mut unproven, mut more_received) = (0, 0, 0);
        let planned = self.plan.by_topic().into_iter().enumerate().filter(|(_, planned)| planned.unique > 0);
        for (place, planned) in planned {
            topics += 1;
            match self.change(place, now) {
                Some(change) => {
                    let (topic, new) = (&self.plan.topics[place], new_by_topic[place]);
                    check_topic(topic, change, new, planned.received(), &mut verdict.faults);
                    more_received += change.received().saturating_sub(planned.received());
                }
                None => unproven += 1,
            }
        }
        let copies_unknown = self.answers.copies_unknown;
        if more_received > copies_unknown {
            let example = format!("{more_received} more were received, where {copies_unknown} may have been");
            verdict.faults.add("/stats counts more than was sent", example);
        }
        if unproven > 0 {
            verdict.unproven.push(format!(
                "the counts of {unproven} of {topics} topics: they are not among those that /stats shows"
            ));
        }
        verdict
    }

    /// The change of a topic's counts since before the run, if both are shown.
    fn change(&self, place: usize, now: &Stats) -> Option<TopicCounts> {
        let topic = &self.plan.topics[place];
        let shown = |stats: &Stats, may_be_hidden: bool| match stats.by_topic.get(topic) {
            None if may_be_hidden && stats.topics_hidden() > 0 => None,
            shown => Some(shown.copied().unwrap_or_default()),
        };
        let (before, now) = (shown(&self.before, self.topics_may_be_old)?, shown(now, true)?);
        Some(TopicCounts {
            unique: now.unique.saturating_sub(before.unique),
            duplicates: now.duplicates.saturating_sub(before.duplicates),
        })
    }
}

/// Checks one topic: `new` events were not stored before, and `copies` were sent.
fn check_topic(topic: &str, change: TopicCounts, new: u64, copies: u64, faults: &mut Faults) {
    if change.unique != new {
        let example = format!("{} in topic {topic}, planned {new}", change.unique);
        faults.add("/stats counts another number of unique events than was planned", example);
    }
    if change.received() < copies {
        let example = format!("{} in topic {topic}, sent {copies}", change.received());
        faults.add("/stats counts fewer events than were sent", example);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::simulate::tests::plan;

    fn stats(topics_total: u64, by_topic: &[(&str, u64, u64)]) -> Stats {
        let sum = |count: fn(&(&str, u64, u64)) -> u64| by_topic.iter().map(count).sum::<u64>();
        let (unique, duplicates) = (sum(|topic| topic.1), sum(|topic| topic.2));
        let counts = |(topic, unique, duplicates): &(&str, u64, u64)| {
            json!({*topic: {"unique": unique, "duplicates": duplicates}}).as_object().unwrap().clone()
        };
        let by_topic: serde_json::Map<_, _> = by_topic.iter().flat_map(counts).collect();
        serde_json::from_value(json!({
            "received": unique + duplicates,
            "unique_processed": unique,
            "duplicate_dropped": duplicates,
            "topics_total": topics_total,
            "by_topic": by_topic,
        }))
        .unwrap()
    }

    fn verdict(plan: &Plan, copies_unknown: u64, now: &Stats) -> (Vec<String>, usize) {
        let mut answers = Answers::new(plan, 0);
        answers.copies_unknown = copies_unknown;
        let before = stats(1, &[("other", 5, 0)]);
        let verdict = Expected { plan, before, topics_may_be_old: false, answers: &answers }.verdict(now);
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

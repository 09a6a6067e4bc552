//! Checks the counts: `/stats` counts exactly the planned events in the run's topics.

use super::{answers::Answers, findings::Findings, plan::Plan};
use crate::client::{Stats, TopicCounts};

/// Checks the counts after the run. What is wrong is added to the findings of `answers`.
pub fn check(plan: &Plan, answers: &mut Answers, now: &Stats) {
    let Stats { received, unique_processed, duplicate_dropped, .. } = now;
    if unique_processed.checked_add(*duplicate_dropped) != Some(*received) {
        let example =
            format!("{unique_processed} unique, {duplicate_dropped} duplicates, {received} received");
        answers.findings.wrong("the totals in /stats do not add up", example);
    }
    let new_by_topic = answers.new_by_topic(plan);
    let (mut topics, mut unproven, mut more_received) = (0, 0, 0);
    let planned = plan.topics.iter().zip(plan.by_topic()).zip(new_by_topic);
    for ((topic, planned), new) in planned.filter(|((_, planned), _)| planned.unique > 0) {
        topics += 1;
        let Some(change) = change(topic, &answers.stats_before, now) else {
            unproven += 1;
            continue;
        };
        check_topic(topic, change, new, planned.received(), &mut answers.findings);
        more_received += change.received().saturating_sub(planned.received());
    }
    let copies_unknown = answers.copies_unknown;
    if more_received > copies_unknown {
        let example = format!("{more_received} more were received, where {copies_unknown} may have been");
        answers.findings.wrong("/stats counts more than was sent", example);
    }
    if unproven > 0 {
        let what = "they are not among those that /stats shows";
        answers.findings.unproven.push(format!("the counts of {unproven} of {topics} topics: {what}"));
    }
}

/// The change of a topic's counts, if both are shown.
fn change(topic: &str, before: &Stats, now: &Stats) -> Option<TopicCounts> {
    let shown = |stats: &Stats| match stats.by_topic.get(topic) {
        None if stats.topics_hidden() > 0 => None,
        shown => Some(shown.copied().unwrap_or_default()),
    };
    let (before, now) = (shown(before)?, shown(now)?);
    Some(TopicCounts {
        unique: now.unique.saturating_sub(before.unique),
        duplicates: now.duplicates.saturating_sub(before.duplicates),
    })
}

/// Checks one topic: `new` events were not stored before, and `copies` were sent.
fn check_topic(topic: &str, change: TopicCounts, new: u64, copies: u64, findings: &mut Findings) {
    if change.unique != new {
        let example = format!("{} in topic {topic}, planned {new}", change.unique);
        findings.wrong("/stats counts another number of unique events than was planned", example);
    }
    if change.received() < copies {
        let example = format!("{} in topic {topic}, sent {copies}", change.received());
        findings.wrong("/stats counts fewer events than were sent", example);
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

    /// The faults, and how much is unproven.
    fn found(plan: &Plan, copies_unknown: u64, now: &Stats) -> (Vec<String>, usize) {
        let mut answers = Answers::new(plan);
        answers.copies_unknown = copies_unknown;
        check(plan, &mut answers, now);
        (answers.findings.faults(), answers.findings.unproven.len())
    }

    #[test]
    fn the_counts_must_be_the_planned_ones() {
        let plan = plan(&["--events=10", "--topics=1"]);
        let topic = plan.topics[0].as_str();
        let fault = |copies_unknown, unique, duplicates| {
            found(&plan, copies_unknown, &stats(2, &[("other", 9, 9), (topic, unique, duplicates)]))
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
        assert_eq!(found(&plan, 0, &stats(1_001, &[("other", 9, 9)])), (vec![], 1));
        let (faults, unproven) = found(&plan, 0, &stats(1, &[("other", 9, 9)]));
        assert_eq!((faults.len(), unproven), (2, 0), "{faults:?}");
    }
}

//! What this process committed, by topic.

use std::{collections::HashMap, sync::Arc};

use super::by_namespace::EventCounts;

/// Topics that are counted, of all namespaces together: those that were seen first.
pub(in crate::actors) const TOPICS_MAX: usize = 1_000;

/// What was committed of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicReport {
    pub namespace: Arc<str>,
    pub topic: Arc<str>,
    pub counts: EventCounts,
}

/// The counts of topics, up to a limit. A topic keeps its place: counts never fall.
#[derive(Default)]
pub(in crate::actors) struct ByTopic {
    namespaces: HashMap<Arc<str>, HashMap<Arc<str>, EventCounts>>,
    counted: usize,
}

impl ByTopic {
    pub(in crate::actors) fn record(&mut self, namespace: &str, topics: &[(String, EventCounts)]) {
        for (topic, added) in topics {
            let known = self.namespaces.get_mut(namespace).and_then(|known| known.get_mut(topic.as_str()));
            let counts = match known {
                Some(counts) => counts,
                None if self.counted == TOPICS_MAX => continue,
                None => {
                    self.counted += 1;
                    let known = self.namespaces.entry(namespace.into()).or_default();
                    known.entry(topic.as_str().into()).or_default()
                }
            };
            counts.received += added.received;
            counts.unique += added.unique;
        }
    }

    /// The counts by name.
    pub(in crate::actors) fn report(&self) -> Vec<TopicReport> {
        let of = |(namespace, topics): (&Arc<str>, &HashMap<Arc<str>, EventCounts>)| {
            let of_topic = |(topic, counts): (&Arc<str>, &EventCounts)| TopicReport {
                namespace: Arc::clone(namespace),
                topic: Arc::clone(topic),
                counts: *counts,
            };
            topics.iter().map(of_topic).collect::<Vec<_>>()
        };
        let mut report: Vec<_> = self.namespaces.iter().flat_map(of).collect();
        report.sort_unstable_by(|one, other| {
            (&one.namespace, &one.topic).cmp(&(&other.namespace, &other.topic))
        });
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(received: u64, unique: u64) -> EventCounts {
        EventCounts { received, unique }
    }

    #[test]
    fn a_topic_belongs_to_its_namespace_and_those_beyond_the_limit_are_left_out() {
        let mut by_topic = ByTopic::default();
        by_topic.record("b", &[("t".to_owned(), counts(2, 1))]);
        by_topic.record("a", &[("t".to_owned(), counts(1, 1))]);
        by_topic.record("b", &[("t".to_owned(), counts(3, 0))]);
        let many: Vec<_> = (0..TOPICS_MAX).map(|number| (format!("n{number}"), counts(1, 1))).collect();
        by_topic.record("c", &many);
        by_topic.record("b", &[("t".to_owned(), counts(1, 1)), ("late".to_owned(), counts(1, 1))]);
        let report = by_topic.report();
        assert_eq!(report.len(), TOPICS_MAX);
        let first: Vec<_> = report.iter().take(2).map(|it| (&*it.namespace, &*it.topic, it.counts)).collect();
        assert_eq!(first, [("a", "t", counts(1, 1)), ("b", "t", counts(6, 2))]);
    }
}

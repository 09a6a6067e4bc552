//! The counters by topic that are shown: those of the topics first used last.

use std::collections::{HashMap, VecDeque};

use crate::actors::writer::TopicDelta;
use crate::store::{TOPICS_SHOWN_MAX, TopicTotal};

/// Topics in the order of their first use, at most [`TOPICS_SHOWN_MAX`]; an older one gives way to a new one.
#[derive(Default)]
pub(in crate::actors) struct TopicTable {
    topics: VecDeque<TopicTotal>,
    /// Where each stands, counted from the first topic that was ever here.
    places: HashMap<String, usize>,
    dropped: usize,
}

impl TopicTable {
    pub(in crate::actors) fn new(topics: Vec<TopicTotal>) -> Self {
        let mut table = Self::default();
        topics.into_iter().for_each(|topic| table.push(topic));
        table
    }

    /// Adds what one group counted. Topics that are neither here nor new are older than all here.
    pub(in crate::actors) fn add(&mut self, new_topics: Vec<String>, deltas: Vec<TopicDelta>) {
        for topic in new_topics {
            self.push(TopicTotal { topic, unique: 0, duplicates: 0 });
        }
        for delta in deltas {
            if let Some(place) = self.places.get(&delta.topic) {
                let total = &mut self.topics[*place - self.dropped];
                total.unique += delta.unique;
                total.duplicates += delta.duplicates;
            }
        }
    }

    pub(in crate::actors) fn to_vec(&self) -> Vec<TopicTotal> {
        self.topics.iter().cloned().collect()
    }

    fn push(&mut self, total: TopicTotal) {
        self.places.insert(total.topic.clone(), self.dropped + self.topics.len());
        self.topics.push_back(total);
        if self.topics.len() > TOPICS_SHOWN_MAX
            && let Some(oldest) = self.topics.pop_front()
        {
            self.places.remove(&oldest.topic);
            self.dropped += 1;
        }
    }
}

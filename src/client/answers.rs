//! The answers of the service as types.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

/// The answer to `POST /publish`.
#[derive(Debug, Deserialize)]
pub struct PublishAnswer {
    pub accepted: u64,
    pub unique: u64,
    pub duplicates: u64,
    /// One result per event, in the order of the request.
    pub results: Vec<EventResult>,
}

/// The result of one published event.
#[derive(Debug, Deserialize)]
pub struct EventResult {
    pub event_id: String,
    pub status: EventStatus,
    /// The `seq` of the stored event.
    pub seq: u64,
}

/// Whether a published event was new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventStatus {
    Stored,
    Duplicate,
}

/// An answer to a publish that contradicts the request or itself.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {detail}")]
pub struct WrongAnswer {
    /// The kind of contradiction.
    pub what: &'static str,
    /// The numbers or ids that contradict each other.
    pub detail: String,
}

impl PublishAnswer {
    /// Checks that the answer is about the events with these ids, all of them and in their order.
    pub fn check(&self, sent: &[impl AsRef<str>]) -> Result<(), WrongAnswer> {
        let Self { accepted, unique, duplicates, results } = self;
        let wrong = |what, detail| Err(WrongAnswer { what, detail });
        if unique.checked_add(*duplicates) != Some(*accepted) {
            let detail = format!("accepted {accepted}, unique {unique}, duplicates {duplicates}");
            return wrong("an answer does not add up", detail);
        }
        if *accepted != sent.len() as u64 || results.len() != sent.len() {
            let (sent, results) = (sent.len(), results.len());
            let detail = format!("{sent} events were sent, {accepted} accepted, with {results} results");
            return wrong("an answer is not about all events of its request", detail);
        }
        let stored = results.iter().filter(|result| result.status == EventStatus::Stored).count();
        if stored as u64 != *unique {
            let detail = format!("unique {unique}, but {stored} results are stored");
            return wrong("an answer contradicts its results", detail);
        }
        match results.iter().zip(sent).find(|(result, id)| result.event_id != id.as_ref()) {
            Some((result, id)) => {
                wrong("an answer names another id", format!("{:?} for {:?}", result.event_id, id.as_ref()))
            }
            None => Ok(()),
        }
    }
}

/// The answer to `GET /stats`. Other versions of the service may leave out what has a default.
#[derive(Debug, Default, Deserialize)]
pub struct Stats {
    pub received: u64,
    pub unique_processed: u64,
    pub duplicate_dropped: u64,
    pub duplicate_rate: Option<f64>,
    pub topics_total: Option<u64>,
    /// The counts of each topic that is shown; `topics_total` may be larger.
    #[serde(default)]
    pub by_topic: HashMap<String, TopicCounts>,
    pub uptime_seconds: Option<f64>,
    /// What the node tells about itself.
    #[serde(default)]
    pub node: Value,
}

impl Stats {
    /// The topics that are counted, and not among those that are shown.
    pub fn topics_hidden(&self) -> u64 {
        self.topics_total.unwrap_or(0).saturating_sub(self.by_topic.len() as u64)
    }
}

/// The counts of one topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct TopicCounts {
    pub unique: u64,
    pub duplicates: u64,
}

impl TopicCounts {
    /// All copies that were received.
    pub fn received(self) -> u64 {
        self.unique.saturating_add(self.duplicates)
    }
}

/// One page of stored events: each event's JSON text as it came.
pub type Page = Vec<Box<RawValue>>;

/// The `seq` of an event of a page.
pub(super) fn seq_of(event: &RawValue) -> Result<u64, serde_json::Error> {
    #[derive(Deserialize)]
    struct Event {
        seq: u64,
    }
    serde_json::from_str::<Event>(event.get()).map(|event| event.seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_must_agree_with_the_request_and_with_itself() {
        let answer = |[accepted, unique, duplicates]: [u64; 3], results: &[(&str, EventStatus)]| {
            let result = |(id, status): &(&str, EventStatus)| EventResult {
                event_id: (*id).to_owned(),
                status: *status,
                seq: 1,
            };
            PublishAnswer { accepted, unique, duplicates, results: results.iter().map(result).collect() }
        };
        let (a, b) = (("a", EventStatus::Stored), ("b", EventStatus::Duplicate));
        assert!(answer([2, 1, 1], &[a, b]).check(&["a", "b"]).is_ok());
        for (counts, results, fault) in [
            ([2, 2, 1], &[a, b][..], "does not add up"),
            ([1, 1, 0], &[a], "not about all events"),
            ([2, 1, 1], &[a], "not about all events"),
            ([2, 2, 0], &[a, b], "contradicts its results"),
            ([2, 1, 1], &[b, a], "names another id"),
        ] {
            let wrong = answer(counts, results).check(&["a", "b"]).unwrap_err();
            assert!(wrong.what.ends_with(fault) || wrong.what.contains(fault), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_status_is_no_answer() {
        let answer = r#"{"accepted":1,"unique":1,"duplicates":0,"results":[{"event_id":"a","status":"dropped","seq":1}]}"#;
        let error = serde_json::from_str::<PublishAnswer>(answer).unwrap_err();
        assert!(error.to_string().contains("unknown variant `dropped`"), "{error}");
    }
}

//! The result of a run, as a table or as JSON.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Followed, answers::Sums};

/// The result of a run. The field names are the keys of the JSON.
#[derive(Serialize)]
pub struct Report {
    pub verdict: &'static str,
    /// What is wrong, one sentence each.
    pub faults: Vec<String>,
    /// What could not be checked, one sentence each.
    pub unproven: Vec<String>,
    pub run: String,
    pub seed: u64,
    pub namespaces: Vec<String>,
    /// Events to send, repeats included.
    pub events: u64,
    /// Different events among them.
    pub unique: u64,
    #[serde(flatten)]
    pub sums: Sums,
    /// Requests that were acknowledged.
    pub requests: u64,
    /// Attempts that were followed by another one.
    pub retries: u64,
    /// Those attempts that may or may not have stored their events.
    pub unknown_outcomes: u64,
    pub seconds: f64,
    pub events_per_second: f64,
    pub requests_per_second: f64,
    pub latency_ms: Latency,
    /// Readers of the stream, of all namespaces.
    pub subscribers: u64,
    #[serde(flatten)]
    pub followed: Followed,
}

/// Milliseconds from a request's first attempt, or with a rate from its planned time, to its answer, retries
/// included.
#[derive(Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

impl Report {
    pub const PASSED: &str = "passed";
    pub const FAILED: &str = "failed";

    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and numbers serialise")
    }

    pub fn table(&self) -> String {
        let Latency { p50, p95, p99, max } = self.latency_ms;
        let Sums { there_before, accepted, stored, duplicates, read_back } = self.sums;
        let mut table = String::new();
        let mut line = |name: &str, value: &str| {
            writeln!(table, "{name:<12}{value}").expect("writing to a String never fails");
        };
        line("run", &format!("{}, seed {}", self.run, self.seed));
        if let [first, .., last] = &self.namespaces[..] {
            line("namespaces", &format!("{}, {first} to {last}", self.namespaces.len()));
        }
        line("sent", &format!("{accepted} of {} events, in {} requests", self.events, self.requests));
        line("stored", &format!("{stored} new, {duplicates} duplicates answered"));
        line("read back", &format!("{read_back} of {} different events", self.unique));
        line("time", &format!("{:.2} s", self.seconds));
        let (events, requests) = (self.events_per_second, self.requests_per_second);
        line("throughput", &format!("{events:.0} events/s, {requests:.0} requests/s"));
        line("latency", &format!("p50 {p50:.1} ms, p95 {p95:.1} ms, p99 {p99:.1} ms, max {max:.1} ms"));
        let unknown = self.unknown_outcomes;
        line("retries", &format!("{}, {unknown} of them after an unknown outcome", self.retries));
        if self.subscribers > 0 {
            let Followed { complete, events, losses } = self.followed;
            let subscribers = self.subscribers;
            let words = format!(
                "{complete} of {subscribers} got every event once and in order, {events} in all; {losses} streams were lost"
            );
            line("subscribers", &words);
        }
        if there_before > 0 {
            line("before", &format!("{there_before} of them were stored by an earlier run"));
        }
        line("verdict", self.verdict_in_words());
        self.faults.iter().for_each(|fault| line("wrong", fault));
        self.unproven.iter().for_each(|what| line("not proven", what));
        table
    }

    fn verdict_in_words(&self) -> &'static str {
        match (self.verdict, self.unproven.is_empty()) {
            (Self::PASSED, true) => {
                "passed: every event is stored exactly once, as it was sent, and every count is right"
            }
            (Self::PASSED, false) => {
                "passed, but for what is not proven: every event is stored exactly once, as it was sent"
            }
            _ => "FAILED: the result is wrong",
        }
    }
}

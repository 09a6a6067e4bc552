//! What a run came to, for people or as JSON.

use std::fmt::Write as _;

use serde::Serialize;

/// Everything that is told at the end.
#[derive(Serialize)]
pub struct Report {
    pub verdict: &'static str,
    /// What is wrong, a sentence each.
    pub faults: Vec<String>,
    /// What could not be looked at, a sentence each.
    pub unproven: Vec<String>,
    pub run: String,
    pub seed: u64,
    /// Events to send, repeats included.
    pub events: u64,
    /// Different events among them.
    pub unique: u64,
    /// Different events that were stored before the run.
    pub there_before: u64,
    /// Sums over the answers.
    pub accepted: u64,
    pub stored: u64,
    pub duplicates: u64,
    /// Different events that were read back.
    pub read_back: u64,
    /// Requests that were acknowledged.
    pub requests: u64,
    /// Attempts that were followed by another one.
    pub retries: u64,
    /// Those among them after which nobody knew whether the events were stored.
    pub unknown_outcomes: u64,
    pub seconds: f64,
    pub events_per_second: f64,
    pub requests_per_second: f64,
    pub latency_ms: Latency,
}

/// From a request's first sending, or with a rate its planned time, to its answer, retries included.
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
        let mut table = String::new();
        let latency = &self.latency_ms;
        for (name, value) in [
            ("run", format!("{}, seed {}", self.run, self.seed)),
            ("sent", format!("{} of {} events, in {} requests", self.accepted, self.events, self.requests)),
            ("stored", format!("{} new, {} duplicates answered", self.stored, self.duplicates)),
            ("read back", format!("{} of {} different events", self.read_back, self.unique)),
            ("time", format!("{:.2} s", self.seconds)),
            (
                "throughput",
                format!("{:.0} events/s, {:.0} requests/s", self.events_per_second, self.requests_per_second),
            ),
            (
                "latency",
                format!(
                    "p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
                    latency.p50, latency.p95, latency.p99, latency.max
                ),
            ),
            (
                "retries",
                format!("{}, {} of them after an unknown outcome", self.retries, self.unknown_outcomes),
            ),
        ] {
            push_line(&mut table, name, &value);
        }
        if self.there_before > 0 {
            push_line(
                &mut table,
                "before",
                &format!("{} of them were stored by an earlier run", self.there_before),
            );
        }
        push_line(&mut table, "verdict", &self.verdict_in_words());
        self.faults.iter().for_each(|fault| push_line(&mut table, "wrong", fault));
        self.unproven.iter().for_each(|what| push_line(&mut table, "not proven", what));
        table
    }

    fn verdict_in_words(&self) -> String {
        if self.verdict == Self::FAILED {
            return "FAILED: the result is not what it must be".to_owned();
        }
        match self.unproven.is_empty() {
            true => "passed: every event is stored exactly once, as it was sent, and every count is right"
                .to_owned(),
            false => "passed, but for what is not proven: every event is stored exactly once, as it was sent"
                .to_owned(),
        }
    }
}

fn push_line(table: &mut String, name: &str, value: &str) {
    writeln!(table, "{name:<12}{value}").expect("a String takes all that is written");
}

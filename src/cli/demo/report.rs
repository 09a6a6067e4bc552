//! What the demonstration came to, for people or as JSON.

use indicatif::HumanCount;
use serde::Serialize;

use super::seen::{Act, Counted};
use crate::cli::simulate;

#[derive(Serialize)]
pub struct Report {
    pub verdict: &'static str,
    /// What is wrong, a sentence each.
    pub faults: Vec<String>,
    /// `sqlite` or `postgres`.
    store: &'static str,
    seconds: f64,
    acts: Vec<Act>,
    /// The run's events, as `/stats` counts them in the end.
    counted: Counted,
    /// What `sekali simulate --json` prints.
    proof: simulate::Report,
}

impl Report {
    pub fn new(
        store: &'static str,
        seconds: f64,
        acts: Vec<Act>,
        proof: simulate::Report,
        counted: Counted,
    ) -> Self {
        let faults = acts.iter().flat_map(|act| &act.faults).chain(&proof.faults).cloned();
        // Fresh topics are always shown; what could not be looked at is no proof.
        let faults: Vec<String> = faults.chain(proof.unproven.iter().cloned()).collect();
        let verdict = match faults.is_empty() {
            true => simulate::Report::PASSED,
            false => simulate::Report::FAILED,
        };
        Self { verdict, faults, store, seconds, acts, counted, proof }
    }

    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("strings and numbers serialise")
    }

    pub fn words(&self) -> String {
        let count = |number: u64| HumanCount(number).to_string();
        let crashes: usize = self.acts.iter().map(|act| act.crashes.len()).sum();
        let proof = &self.proof;
        if self.verdict == simulate::Report::FAILED {
            let faults: String = self.faults.iter().map(|fault| format!("\n- {fault}")).collect();
            return format!(
                "\n{} of {} events were acknowledged, while actors crashed {crashes} times.\n\nFAILED: the result is not what it must be.{faults}",
                count(proof.accepted),
                count(proof.events),
            );
        }
        let told: usize = self.acts.iter().map(|act| act.told_to_retry.len()).sum();
        let waited = self.acts.iter().flat_map(|act| &act.crashes).map(|crash| crash.waited).max();
        let what = format!(
            "
{} events were published in {} requests, {} of them repeats, while actors crashed {crashes} times.
{told} requests were told to try again, since they were in the hands of an actor that crashed, and were acknowledged then.
Up to {} requests waited for an actor that was away, and were answered as if nothing had happened.
",
            count(proof.events),
            count(proof.requests),
            count(proof.events - proof.unique),
            waited.unwrap_or(0),
        );
        let Counted { received, unique, duplicates } = self.counted;
        let again = received - proof.events;
        let again = match again {
            0 => "as many as were published".to_owned(),
            _ => format!(
                "{} more than were published,\n  which were committed in attempts that could not be answered",
                count(again)
            ),
        };
        format!(
            "{what}
Passed: nothing is lost, and nothing is stored twice.
- Each of the {} different events is stored exactly once: all were read back, page by page, as they were
  sent, and under the seq that was answered.
- The counts agree: {} unique, which is every event once, and {} duplicates.
  Together they are {}, {again}.",
            count(proof.unique),
            count(unique),
            count(duplicates),
            count(received),
        )
    }
}

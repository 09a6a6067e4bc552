//! The result of the demonstration, in words or as JSON.

use indicatif::HumanCount;
use serde::Serialize;

use super::seen::{Act, Counted};
use crate::cli::simulate;

#[derive(Serialize)]
pub struct Report {
    pub verdict: &'static str,
    /// What is wrong, one sentence each.
    pub faults: Vec<String>,
    /// `sqlite` or `postgres`.
    store: &'static str,
    seconds: f64,
    acts: Vec<Act>,
    /// The counts of the run's events in `/stats` at the end.
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
        // The topics are new, so `/stats` shows them: anything unproven is a fault here.
        let mut faults: Vec<String> = faults.chain(proof.unproven.iter().cloned()).collect();
        if proof.followed.losses > 0 {
            faults.push(format!("readers lost {} streams, when only actors crashed", proof.followed.losses));
        }
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
        match self.verdict == simulate::Report::PASSED {
            true => format!("{}{}", self.what_happened(), self.what_is_proved()),
            false => self.what_is_wrong(),
        }
    }

    fn crashes(&self) -> usize {
        self.acts.iter().map(|act| act.crashes.len()).sum()
    }

    fn what_is_wrong(&self) -> String {
        let faults: String = self.faults.iter().map(|fault| format!("\n- {fault}")).collect();
        format!(
            "\n{} of {} events were acknowledged, while actors crashed {} times.\n\nFAILED: the result is not what it must be.{faults}",
            count(self.proof.sums.accepted),
            count(self.proof.events),
            self.crashes(),
        )
    }

    fn what_happened(&self) -> String {
        let proof = &self.proof;
        let told: usize = self.acts.iter().map(|act| act.told_to_retry.len()).sum();
        let waited = self.acts.iter().flat_map(|act| &act.crashes).map(|crash| crash.waited).max();
        format!(
            "
{} events were published in {} requests, {} of them repeats, while actors crashed {} times.
{told} requests were told to try again, since an actor crashed with them in hand, and were acknowledged then.
Up to {} requests waited for an actor that was restarting, and were answered as usual.
",
            count(proof.events),
            count(proof.requests),
            count(proof.events - proof.unique),
            self.crashes(),
            waited.unwrap_or(0),
        )
    }

    fn what_is_proved(&self) -> String {
        let Counted { received, unique, duplicates } = self.counted;
        let again = match received - self.proof.events {
            0 => "as many as were published".to_owned(),
            more => format!(
                "{} more than were published,\n  which were committed in attempts that could not be answered",
                count(more)
            ),
        };
        format!(
            "
Passed: nothing is lost, and nothing is stored twice.
- Each of the {} different events is stored exactly once: all were read back, page by page, as they were
  sent, and under the seq that was answered.
- The {} readers noticed nothing: each got every event once and in order, over one stream.
- The counts agree: {} unique, which is every event once, and {} duplicates.
  Together they are {}, {again}.",
            count(self.proof.unique),
            count(self.proof.subscribers),
            count(unique),
            count(duplicates),
            count(received),
        )
    }
}

fn count(number: u64) -> String {
    HumanCount(number).to_string()
}

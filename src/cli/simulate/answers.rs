//! What is known of each planned event from the answers and from reading back, and what contradicts itself.

use std::ops::Add;

use serde::Serialize;

use super::{findings::Findings, plan::Plan};
use crate::client::{EventStatus, PublishAnswer, Published, Stats};

/// What is known of one namespace, 16 bytes for each event.
#[derive(Default)]
pub struct Answers {
    events: Vec<Known>,
    /// The last `seq` before the run.
    pub last_seq_before: u64,
    /// The counts before the run, where its topics may have been used before.
    pub stats_before: Stats,
    pub sums: Sums,
    /// Copies in attempts that may or may not have stored them.
    pub copies_unknown: u64,
    /// The hash of each event behind `last_seq_before`, as readers of the stream got it.
    pub followed: Vec<u64>,
    pub findings: Findings,
}

/// Sums over the answers. The field names are keys of the report's JSON.
#[derive(Clone, Copy, Default, Serialize)]
pub struct Sums {
    /// Different events that were stored before the run.
    pub there_before: u64,
    pub accepted: u64,
    pub stored: u64,
    pub duplicates: u64,
    /// Different events that were read back.
    pub read_back: u64,
}

impl Add for Sums {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self {
            there_before: self.there_before + more.there_before,
            accepted: self.accepted.saturating_add(more.accepted),
            stored: self.stored.saturating_add(more.stored),
            duplicates: self.duplicates.saturating_add(more.duplicates),
            read_back: self.read_back + more.read_back,
        }
    }
}

/// What is known of one event.
#[derive(Clone, Copy, Default)]
struct Known {
    /// 0 before the first answer.
    seq: u64,
    /// An answer says that it was new.
    stored: bool,
    /// An attempt to publish it may or may not have stored it.
    outcome_unknown: bool,
    there_before: bool,
    read_back: bool,
}

impl Answers {
    pub fn new(plan: &Plan) -> Self {
        Self { events: vec![Known::default(); plan.unique as usize], ..Self::default() }
    }

    /// Forgets the events that the shorter `plan` leaves out.
    pub fn shorten_to(&mut self, plan: &Plan) {
        self.events.truncate(plan.unique as usize);
    }

    /// For each topic, the planned events that were not stored before the run.
    pub fn new_by_topic(&self, plan: &Plan) -> Vec<u64> {
        let mut counts = vec![0; plan.topics.len()];
        for (number, event) in (0..).zip(&self.events) {
            counts[plan.topic_of(number)] += u64::from(!event.there_before);
        }
        counts
    }

    /// Notes a planned event that was stored before the run.
    pub fn note_before(&mut self, number: u32, seq: u64) {
        self.events[number as usize] = Known { seq, there_before: true, ..Known::default() };
        self.sums.there_before += 1;
    }

    /// Notes the answer to the request at `place`, and its attempts before.
    pub fn note(&mut self, plan: &Plan, place: usize, published: &Published) {
        let numbers = plan.request(place);
        let unknown = published.unknown_outcomes();
        self.copies_unknown += unknown * numbers.len() as u64;
        for number in numbers {
            self.events[*number as usize].outcome_unknown |= unknown > 0;
        }
        let answer = &published.answer;
        let PublishAnswer { accepted, unique: stored, duplicates, .. } = *answer;
        self.sums = self.sums + Sums { accepted, stored, duplicates, ..Sums::default() };
        let ids: Vec<String> = numbers.iter().map(|number| plan.ids.id(*number).to_string()).collect();
        if let Err(wrong) = answer.check(&ids) {
            self.findings.wrong(wrong.what, wrong.detail);
        }
        self.note_results(answer, numbers, &ids);
    }

    fn note_results(&mut self, answer: &PublishAnswer, numbers: &[u32], ids: &[String]) {
        let mut last_stored = None;
        for ((result, number), id) in answer.results.iter().zip(numbers).zip(ids) {
            let seq = result.seq;
            if result.event_id != *id {
                continue;
            }
            if result.status == EventStatus::Stored {
                if last_stored.is_some_and(|last| seq != last + 1) {
                    let example = format!("event {id} has seq {seq}");
                    self.findings.wrong("new events of one request are not consecutive", example);
                }
                last_stored = Some(seq);
                self.note_stored(*number, id, seq);
            }
            let known = &mut self.events[*number as usize];
            if known.seq == 0 {
                known.seq = seq;
            } else if known.seq != seq {
                let example = format!("event {id} has seq {} and {seq}", known.seq);
                self.findings.wrong("two answers give one event different seqs", example);
            }
        }
    }

    fn note_stored(&mut self, number: u32, id: &str, seq: u64) {
        let known = &mut self.events[number as usize];
        if known.stored {
            self.findings.wrong("an event was stored twice, as two answers say", format!("event {id}"));
        }
        if known.there_before {
            self.findings.wrong("an event that was there before was stored again", format!("event {id}"));
        }
        if seq <= self.last_seq_before {
            let example =
                format!("event {id} has seq {seq}, and {} was given before the run", self.last_seq_before);
            self.findings.wrong("a new event has an old seq", example);
        }
        known.stored = true;
    }

    /// Notes that a planned event was read back, once and with the `seq` that was answered.
    pub fn note_read_back(&mut self, number: u32, id: &str, seq: u64) {
        let known = &mut self.events[number as usize];
        if known.read_back {
            self.findings.wrong("an event is stored twice", format!("event {id}, again with seq {seq}"));
        }
        self.sums.read_back += u64::from(!known.read_back);
        known.read_back = true;
        if seq != known.seq {
            let example = format!("event {id} has seq {seq}, and {} was answered", known.seq);
            self.findings.wrong("an event has another seq than was answered", example);
        }
    }

    /// Checks that readers of the stream got the event as it is read back.
    pub fn check_followed(&mut self, seq: u64, hash: u64) {
        let place = seq.checked_sub(self.last_seq_before + 1);
        let followed = place.and_then(|place| self.followed.get(place as usize));
        if followed.is_some_and(|followed| *followed != hash) {
            let what = "a reader of the stream got another event than is stored";
            self.findings.wrong(what, format!("seq {seq}"));
        }
    }

    /// Whether the event is certain to be stored by this run.
    pub fn is_of_this_run(&self, number: u32) -> bool {
        self.events[number as usize].stored
    }

    /// Checks, after reading back, that each event was stored once.
    pub fn check_each_event(&mut self, plan: &Plan) {
        for (number, known) in (0..).zip(&self.events) {
            let id = || plan.ids.id(number);
            if !known.read_back {
                let example = format!("event {}, answered with seq {}", id(), known.seq);
                self.findings.wrong("an acknowledged event is missing", example);
            }
            if !(known.stored || known.outcome_unknown || known.there_before) {
                let what = "an event was new, and no answer says that it was stored";
                self.findings.wrong(what, format!("event {}", id()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::simulate::tests::plan, client::EventResult};

    /// The faults after the answer to the run's only request, from the counts and (status, seq) of the results.
    fn noted(plan: &Plan, counts: [u64; 3], results: &[(EventStatus, u64)]) -> Vec<String> {
        let mut answers = Answers { last_seq_before: 10, ..Answers::new(plan) };
        let result = |(number, (status, seq)): (&u32, &(EventStatus, u64))| EventResult {
            event_id: plan.ids.id(*number).to_string(),
            status: *status,
            seq: *seq,
        };
        let results = plan.request(0).iter().zip(results).map(result).collect();
        let [accepted, unique, duplicates] = counts;
        let answer = PublishAnswer { accepted, unique, duplicates, results };
        answers.note(plan, 0, &Published { answer, earlier: Vec::new() });
        answers.findings.faults()
    }

    fn stored(seq: u64) -> (EventStatus, u64) {
        (EventStatus::Stored, seq)
    }

    #[test]
    fn an_answer_must_agree_with_the_plan_and_with_itself() {
        let plan = plan(&["--events=2", "--duplicates=0"]);
        let right = [stored(11), stored(12)];
        assert!(noted(&plan, [2, 2, 0], &right).is_empty());
        for (counts, results, fault) in [
            ([2, 1, 1], &right[..], "contradicts its results"),
            ([2, 2, 1], &right, "does not add up"),
            ([1, 1, 0], &right[..1], "not about all events"),
            ([2, 2, 0], &[stored(11), stored(13)], "not consecutive"),
            ([2, 2, 0], &[stored(10), stored(11)], "an old seq"),
        ] {
            let found = noted(&plan, counts, results);
            assert!(found.iter().any(|sentence| sentence.contains(fault)), "{fault}: {found:?}");
        }
    }

    #[test]
    fn an_event_is_stored_once_under_one_seq() {
        let plan = plan(&["--events=2", "--duplicates=0.5"]);
        assert!(noted(&plan, [2, 1, 1], &[stored(11), (EventStatus::Duplicate, 11)]).is_empty());
        let found = noted(&plan, [2, 2, 0], &[stored(11), stored(12)]);
        assert!(found.iter().any(|sentence| sentence.contains("stored twice")), "{found:?}");
        assert!(found.iter().any(|sentence| sentence.contains("different seqs")), "{found:?}");
    }
}

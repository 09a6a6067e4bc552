//! What the service answered, kept for the proof: thirteen bytes an event, and whatever contradicts itself.

use std::borrow::Cow;

use serde::Deserialize;
use uuid::Uuid;

use super::{faults::Faults, plan::Plan};

/// What is known of one event, as bits.
const STORED: u8 = 1;
const UNKNOWN_OUTCOME: u8 = 2;
const THERE_BEFORE: u8 = 4;
const READ_BACK: u8 = 8;

/// All answers so far.
pub struct Answers<'a> {
    plan: &'a Plan,
    /// The `seq` of each event, 0 while none was told.
    seqs: Vec<u64>,
    marks: Vec<u8>,
    /// The last `seq` before the run.
    pub last_seq_before: u64,
    /// Sums over the answers.
    pub accepted: u64,
    pub stored: u64,
    pub duplicates: u64,
    /// Copies sent in attempts after which nobody knew what had become of them.
    pub copies_unknown: u64,
    /// Events of the plan that were stored before the run.
    pub there_before: u64,
    pub faults: Faults,
}

#[derive(Deserialize)]
struct Answer<'a> {
    accepted: u64,
    unique: u64,
    duplicates: u64,
    #[serde(borrow)]
    results: Vec<EventResult<'a>>,
}

#[derive(Deserialize)]
struct EventResult<'a> {
    #[serde(borrow)]
    event_id: Cow<'a, str>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    seq: u64,
}

impl<'a> Answers<'a> {
    pub fn new(plan: &'a Plan, last_seq_before: u64) -> Self {
        let events = plan.unique as usize;
        Self {
            plan,
            seqs: vec![0; events],
            marks: vec![0; events],
            last_seq_before,
            accepted: 0,
            stored: 0,
            duplicates: 0,
            copies_unknown: 0,
            there_before: 0,
            faults: Faults::default(),
        }
    }

    /// The same answers, to a plan that ends earlier and that they are all about.
    pub fn cut_to<'b>(self, plan: &'b Plan) -> Answers<'b>
    where
        'a: 'b,
    {
        let mut answers: Answers<'b> = self;
        answers.plan = plan;
        answers.seqs.truncate(plan.unique as usize);
        answers.marks.truncate(plan.unique as usize);
        answers
    }

    /// What is answered about.
    pub fn plan(&self) -> &Plan {
        self.plan
    }

    /// How many planned events were not there before, a topic.
    pub fn new_by_topic(&self) -> Vec<u64> {
        let mut counts = vec![0; self.plan.topics.len()];
        for (number, marks) in (0..).zip(&self.marks) {
            counts[self.plan.topic_of(number)] += u64::from(marks & THERE_BEFORE == 0);
        }
        counts
    }

    /// A planned event was stored before the run.
    pub fn note_before(&mut self, number: u32, seq: u64) {
        self.seqs[number as usize] = seq;
        self.marks[number as usize] |= THERE_BEFORE;
        self.there_before += 1;
    }

    /// So many attempts of a request ended without anyone knowing how.
    pub fn note_unknown(&mut self, place: usize, attempts: u64) {
        let numbers = self.plan.request(place);
        self.copies_unknown += attempts * numbers.len() as u64;
        if attempts > 0 {
            numbers.iter().for_each(|number| self.marks[*number as usize] |= UNKNOWN_OUTCOME);
        }
    }

    /// The answer to a request.
    pub fn note_answer(&mut self, place: usize, body: &[u8]) {
        let answer: Answer<'_> = match serde_json::from_slice(body) {
            Ok(answer) => answer,
            Err(error) => {
                let begin = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
                return self
                    .faults
                    .add("an answer is not what sekali answers", || format!("{error}: {begin}"));
            }
        };
        self.accepted = self.accepted.saturating_add(answer.accepted);
        self.stored = self.stored.saturating_add(answer.unique);
        self.duplicates = self.duplicates.saturating_add(answer.duplicates);
        let numbers = self.plan.request(place);
        self.check_counts(&answer, numbers.len());
        if answer.results.len() == numbers.len() {
            self.check_results(&answer.results, numbers);
        }
    }

    fn check_counts(&mut self, answer: &Answer<'_>, sent: usize) {
        let Answer { accepted, unique, duplicates, results } = answer;
        if *accepted != sent as u64 || results.len() != sent {
            let results = results.len();
            self.faults.add("an answer is not about all events of its request", || {
                format!("{sent} events were sent, {accepted} accepted, with {results} results")
            });
        }
        if unique.checked_add(*duplicates) != Some(*accepted) {
            self.faults.add("an answer does not add up", || {
                format!("accepted {accepted}, unique {unique}, duplicates {duplicates}")
            });
        }
        let stored = results.iter().filter(|result| result.status == "stored").count();
        if stored as u64 != *unique {
            self.faults.add("an answer contradicts its results", || {
                format!("unique {unique}, but {stored} results are stored")
            });
        }
    }

    fn check_results(&mut self, results: &[EventResult<'_>], numbers: &[u32]) {
        let mut last_stored = None;
        let mut id = Uuid::encode_buffer();
        for (result, number) in results.iter().zip(numbers) {
            let planned = self.plan.ids.id(*number);
            if *result.event_id != *planned.hyphenated().encode_lower(&mut id) {
                let answered = &result.event_id;
                self.faults.add("an answer names another id", || format!("{answered} for {planned}"));
                continue;
            }
            match &*result.status {
                "stored" => {
                    if last_stored.is_some_and(|last| result.seq != last + 1) {
                        let seq = result.seq;
                        self.faults.add("new events of one request are not consecutive", || {
                            format!("event {planned} has seq {seq}")
                        });
                    }
                    last_stored = Some(result.seq);
                    self.note_stored(*number, result.seq);
                }
                "duplicate" => {}
                other => {
                    self.faults.add("an answer has an unknown status", || format!("{other:?} for {planned}"));
                }
            }
            self.note_seq(*number, result.seq);
        }
    }

    fn note_stored(&mut self, number: u32, seq: u64) {
        let (marks, id) = (self.marks[number as usize], self.plan.ids.id(number));
        if marks & STORED != 0 {
            self.faults.add("an event was stored twice, as two answers say", || format!("event {id}"));
        }
        if marks & THERE_BEFORE != 0 {
            self.faults.add("an event that was there before was stored again", || format!("event {id}"));
        }
        if seq <= self.last_seq_before {
            let before = self.last_seq_before;
            self.faults.add("a new event has an old seq", || {
                format!("event {id} has seq {seq}, and {before} was given before the run")
            });
        }
        self.marks[number as usize] |= STORED;
    }

    fn note_seq(&mut self, number: u32, seq: u64) {
        let known = &mut self.seqs[number as usize];
        if *known == 0 {
            *known = seq;
        } else if *known != seq {
            let (known, id) = (*known, self.plan.ids.id(number));
            self.faults.add("two answers give one event different seqs", || {
                format!("event {id} has seq {known} and {seq}")
            });
        }
    }

    /// A planned event was read back; checks its `seq`, and that it is there once.
    pub fn note_read_back(&mut self, number: u32, seq: u64) {
        let (answered, marks) = (self.seqs[number as usize], &mut self.marks[number as usize]);
        let id = self.plan.ids.id(number);
        if *marks & READ_BACK != 0 {
            self.faults.add("an event is stored twice", || format!("event {id}, again with seq {seq}"));
        }
        *marks |= READ_BACK;
        if seq != answered {
            self.faults.add("an event has another seq than was answered", || {
                format!("event {id} has seq {seq}, and {answered} was answered")
            });
        }
    }

    /// Whether the event's content was written by this run for certain.
    pub fn is_of_this_run(&self, number: u32) -> bool {
        self.marks[number as usize] & STORED != 0
    }

    /// Checks, when all was sent, that all was accepted.
    pub fn check_sum(&mut self) {
        let (accepted, planned) = (self.accepted, self.plan.events());
        if accepted != planned {
            self.faults.add("the answers do not add up to what was sent", || {
                format!("{accepted} accepted, {planned} sent")
            });
        }
    }

    /// Checks, when all was sent and read back, that each event was stored once and is there. Answers how many are.
    pub fn check_each_event(&mut self) -> u64 {
        let mut read_back = 0;
        for number in 0..self.plan.unique {
            let (marks, seq) = (self.marks[number as usize], self.seqs[number as usize]);
            let id = self.plan.ids.id(number);
            read_back += u64::from(marks & READ_BACK != 0);
            if marks & READ_BACK == 0 {
                self.faults.add("an acknowledged event is missing", || {
                    format!("event {id}, answered with seq {seq}")
                });
            }
            if marks & (STORED | UNKNOWN_OUTCOME | THERE_BEFORE) == 0 {
                self.faults
                    .add("an event was new, and no answer says that it was stored", || format!("event {id}"));
            }
        }
        read_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::simulate::tests::plan;

    /// The results of the run's only request, from (number, status, seq).
    fn noted(plan: &Plan, counts: [u64; 3], results: &[(&str, u64)]) -> Vec<String> {
        let mut answers = Answers::new(plan, 10);
        let results: Vec<_> = plan
            .request(0)
            .iter()
            .zip(results)
            .map(|(number, (status, seq))| {
                serde_json::json!({"event_id": plan.ids.id(*number).to_string(), "status": status, "seq": seq})
            })
            .collect();
        let [accepted, unique, duplicates] = counts;
        let answer = serde_json::json!({"accepted": accepted, "unique": unique, "duplicates": duplicates, "results": results});
        answers.note_answer(0, answer.to_string().as_bytes());
        answers.faults.sentences()
    }

    #[test]
    fn an_answer_must_agree_with_the_plan_and_with_itself() {
        let plan = plan(&["--events=2", "--duplicates=0"]);
        let right = [("stored", 11), ("stored", 12)];
        assert!(noted(&plan, [2, 2, 0], &right).is_empty());
        for (counts, results, fault) in [
            ([2, 1, 1], &right[..], "contradicts its results"),
            ([2, 2, 1], &right, "does not add up"),
            ([1, 1, 0], &right[..1], "not about all events"),
            ([2, 2, 0], &[("stored", 11), ("stored", 13)], "not consecutive"),
            ([2, 2, 0], &[("stored", 10), ("stored", 11)], "an old seq"),
            ([2, 1, 1], &[("stored", 11), ("dropped", 12)], "unknown status"),
        ] {
            let found = noted(&plan, counts, results);
            assert!(found.iter().any(|sentence| sentence.contains(fault)), "{fault}: {found:?}");
        }
    }

    #[test]
    fn an_event_is_stored_once_under_one_seq() {
        let plan = plan(&["--events=2", "--duplicates=0.5"]);
        assert!(noted(&plan, [2, 1, 1], &[("stored", 11), ("duplicate", 11)]).is_empty());
        let found = noted(&plan, [2, 2, 0], &[("stored", 11), ("stored", 12)]);
        assert!(found.iter().any(|sentence| sentence.contains("stored twice")), "{found:?}");
        assert!(found.iter().any(|sentence| sentence.contains("different seqs")), "{found:?}");
    }

    #[test]
    fn what_is_not_an_answer_is_called_so() {
        let plan = plan(&["--events=1", "--duplicates=0"]);
        let mut answers = Answers::new(&plan, 0);
        answers.note_answer(0, b"<html>");
        assert!(answers.faults.sentences()[0].contains("not what sekali answers"));
    }
}

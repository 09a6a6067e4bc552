//! What producers were told, and what is wrong with it.

use std::{collections::HashMap, ops::AddAssign, time::Duration};

use serde_json::Value;

/// All that producers sent and were answered: the measure of what must be stored.
#[derive(Default)]
pub struct Record {
    /// By id; where an id belongs to its topic, by both.
    pub told: HashMap<String, GroupCommitted>,
    pub is_by_topic: bool,
    pub requests: u64,
    /// Attempts that were not answered with 200.
    pub retries: u64,
    /// In requests that were answered with 200.
    pub events_acknowledged: u64,
    /// The same without those that the database lost with an older copy of its data: so many it must count.
    pub received_min: u64,
    /// In all attempts, whatever became of them.
    pub events_attempted: u64,
    /// From a request's first attempt to its acknowledgement.
    pub longest_outage: Duration,
    /// To whatever answer.
    pub longest_attempt: Duration,
    /// Why the last attempt that was not answered with 200 was not.
    pub last_refusal: String,
    pub findings: Findings,
}

/// What was said of one id.
#[derive(Clone, Debug)]
pub struct GroupCommitted {
    pub seq: u64,
    /// How often it was called stored, rather than a duplicate.
    pub stored: u32,
    /// Whether it was part of an attempt that was not acknowledged, and may have been stored by it.
    pub in_doubt: bool,
}

/// How much a record holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub requests: u64,
    pub retries: u64,
    pub events_acknowledged: u64,
    pub events_stored: u64,
    pub longest_outage: Duration,
}

/// What must never be found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Acknowledged, and not stored.
    pub losses: Vec<String>,
    pub double_stores: Vec<String>,
    /// Anything else that an answer or the database says and that is not so.
    pub wrong_answers: Vec<String>,
}

impl Record {
    /// What an event of this topic and id is known by.
    pub fn key(&self, topic: &str, id: &str) -> String {
        if self.is_by_topic { format!("{topic}/{id}") } else { id.to_owned() }
    }

    /// Notes an acknowledged request to `default`: `ids` in its order, and the `results` of its answer.
    pub fn acknowledge(&mut self, ids: &[String], results: &[Value], in_doubt: bool) {
        self.acknowledge_of("", ids, results, in_doubt);
    }

    /// The same of a request with events of one topic.
    pub fn acknowledge_of(&mut self, topic: &str, ids: &[String], results: &[Value], in_doubt: bool) {
        self.events_acknowledged += ids.len() as u64;
        self.received_min += ids.len() as u64;
        if results.len() != ids.len() {
            self.findings.wrong(format!("{} results for {} events", results.len(), ids.len()));
        }
        for (id, result) in ids.iter().zip(results) {
            let (Some(seq), Some(status)) = (result["seq"].as_u64(), result["status"].as_str()) else {
                self.findings.wrong(format!("{id} was answered {result}"));
                continue;
            };
            if result["event_id"].as_str() != Some(id) {
                self.findings.wrong(format!("{id} was answered {result}"));
            }
            let first = GroupCommitted { seq, stored: 0, in_doubt: false };
            let told = self.told.entry(self.key(topic, id)).or_insert(first);
            told.stored += u32::from(status == "stored");
            told.in_doubt |= in_doubt;
            if told.seq != seq {
                let found = format!("{id} was first told to be {}, then {result}", told.seq);
                self.findings.double_stores.push(found);
            }
        }
    }

    /// Notes an event that was stored beside those of the producers.
    pub fn adopt(&mut self, id: &str, seq: u64) {
        self.told.insert(id.to_owned(), GroupCommitted { seq, stored: 1, in_doubt: true });
        self.events_acknowledged += 1;
        self.received_min += 1;
        // How often it was tried is not known here.
        self.events_attempted += 100;
    }

    pub fn tally(&self) -> Tally {
        Tally {
            requests: self.requests,
            retries: self.retries,
            events_acknowledged: self.events_acknowledged,
            events_stored: self.told.len() as u64,
            longest_outage: self.longest_outage,
        }
    }

    /// Adds what others sent.
    pub fn extend(&mut self, others: Record) {
        self.told.extend(others.told);
        self.requests += others.requests;
        self.retries += others.retries;
        self.events_acknowledged += others.events_acknowledged;
        self.received_min += others.received_min;
        self.events_attempted += others.events_attempted;
        self.longest_outage = self.longest_outage.max(others.longest_outage);
        self.longest_attempt = self.longest_attempt.max(others.longest_attempt);
        self.findings.extend(others.findings);
    }

    /// Forgets what was told of everything above `seq`; answers what it was known by.
    pub fn forget_above(&mut self, seq: u64) -> Vec<String> {
        // How many of the acknowledged ones were counted by then is not known.
        self.received_min = 0;
        let lost = self.told.extract_if(|_, told| told.seq > seq);
        lost.map(|(key, _)| key).collect()
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.requests += more.requests;
        self.retries += more.retries;
        self.events_acknowledged += more.events_acknowledged;
        self.events_stored += more.events_stored;
        self.longest_outage = self.longest_outage.max(more.longest_outage);
    }
}

impl Findings {
    pub fn wrong(&mut self, what: String) {
        self.wrong_answers.push(what);
    }

    pub fn count(&self) -> usize {
        self.losses.len() + self.double_stores.len() + self.wrong_answers.len()
    }

    pub fn extend(&mut self, others: Findings) {
        self.losses.extend(others.losses);
        self.double_stores.extend(others.double_stores);
        self.wrong_answers.extend(others.wrong_answers);
    }

    pub fn assert_none(&self) {
        let first = |found: &[String]| found.iter().take(10).cloned().collect::<Vec<_>>();
        assert!(
            self.count() == 0,
            "{} losses: {:#?}\n{} double stores: {:#?}\n{} wrong answers: {:#?}",
            self.losses.len(),
            first(&self.losses),
            self.double_stores.len(),
            first(&self.double_stores),
            self.wrong_answers.len(),
            first(&self.wrong_answers)
        );
    }
}

//! The proof after each fault, from SQL and over HTTP: every acknowledged id is stored once and where it was said to
//! be, nothing else is, all counts agree, and every node knows all of it.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use serde_json::Value;

use super::{
    Client, events,
    record::{Findings, Record},
    stored_ledger::{StoredLedger, StoredRow},
};

/// Ids that are sent to each node once more, those stored last: its windows must know them, or its store.
const IDS_SENT_AGAIN_MAX: usize = 20_000;
const IDS_SENT_AGAIN_AT_ONCE: usize = 1_000;
/// Events that are read from each node, those stored last.
const EVENTS_READ_BACK_MAX: usize = 100_000;
/// How long a node may take to count what another one stored.
const COUNTS_TIME_MAX: Duration = Duration::from_secs(10);

/// A namespace that is looked at, while nobody publishes.
pub struct Proof<'a> {
    /// In this namespace.
    pub nodes: &'a [Client],
    pub ledger: &'a StoredLedger<'a>,
    /// Events up to here were proved before: they are counted, and not read again.
    pub after: u64,
}

impl Proof<'_> {
    /// What is wrong, the record's own findings first.
    pub async fn findings(&self, record: &Mutex<Record>) -> Findings {
        let mut findings = std::mem::take(&mut record.lock().unwrap().findings);
        findings.wrong_answers.extend(self.ledger.unsound().await);
        let rows = self.ledger.rows_after(self.after).await;
        compare(&rows, self.after, &record.lock().unwrap(), &mut findings);
        for node in self.nodes {
            self.read_back(node, &rows, &mut findings).await;
        }
        self.compare_counts(record, &mut findings).await;
        for node in self.nodes {
            send_again(node, &rows, record, &mut findings).await;
        }
        self.compare_counts(record, &mut findings).await;
        findings.extend(std::mem::take(&mut record.lock().unwrap().findings));
        findings
    }

    /// The events, page by page: the same as in the database.
    async fn read_back(&self, node: &Client, rows: &[StoredRow], findings: &mut Findings) {
        let rows = &rows[rows.len().saturating_sub(EVENTS_READ_BACK_MAX)..];
        let events = node.events_after(rows.first().map_or(self.after, |row| row.seq - 1)).await;
        if events.len() != rows.len() {
            findings.wrong(format!("{} events are read, {} are stored", events.len(), rows.len()));
        }
        for (event, row) in events.iter().zip(rows) {
            let read = (event["seq"].as_u64(), event["event_id"].as_str(), event["topic"].as_str());
            if read != (Some(row.seq), Some(&row.event_id), Some(&row.topic)) {
                findings.wrong(format!("{row:?} is read as {event}"));
            }
        }
    }

    /// Each node's counters: those of the database, and possible.
    async fn compare_counts(&self, record: &Mutex<Record>, findings: &mut Findings) {
        let (received, unique) = self.ledger.totals().await;
        {
            let record = record.lock().unwrap();
            let possible = record.received_min..=record.events_attempted;
            if !possible.contains(&received) {
                findings.wrong(format!("{received} received, which is not within {possible:?}"));
            }
            if unique != record.told.len() as u64 {
                findings.wrong(format!("{unique} counted, {} acknowledged", record.told.len()));
            }
        }
        let by_topic = self.ledger.stored_by_topic().await;
        for node in self.nodes {
            let counts = counts_when(node, received).await;
            let told = (&counts["received"], &counts["unique_processed"], &counts["duplicate_dropped"]);
            if told != (&received.into(), &unique.into(), &(received - unique).into()) {
                findings.wrong(format!("{told:?} is told of {received} received and {unique} unique"));
            }
            findings.wrong_answers.extend(unlike_by_topic(&counts, &by_topic));
        }
    }
}

/// That what is stored behind `after` is what was acknowledged, and where.
fn compare(rows: &[StoredRow], after: u64, record: &Record, findings: &mut Findings) {
    let mut seqs: HashMap<String, u64> = HashMap::with_capacity(rows.len());
    for (place, row) in (after + 1..).zip(rows) {
        if row.seq != place {
            findings.wrong(format!("{row:?} stands where {place} should"));
        }
        if let Some(first) = seqs.insert(record.key(&row.topic, &row.event_id), row.seq) {
            findings.double_stores.push(format!("{row:?} is stored as {first}, too"));
        }
        match record.told.get(&record.key(&row.topic, &row.event_id)) {
            None => findings.wrong(format!("{row:?} was never acknowledged")),
            Some(told) if told.seq != row.seq => {
                findings.double_stores.push(format!("{row:?} was acknowledged as {told:?}"));
            }
            Some(_) => {}
        }
    }
    for (id, told) in record.told.iter().filter(|(_, told)| told.seq > after) {
        if !seqs.contains_key(id) {
            findings.losses.push(format!("{id}: {told:?}"));
        }
        let stored_once = told.stored == 1 || told.stored == 0 && told.in_doubt;
        if !stored_once {
            findings.wrong(format!("{id} was called stored {} times: {told:?}", told.stored));
        }
    }
}

/// Sends what is stored last once more: each is a duplicate of what is there.
async fn send_again(node: &Client, rows: &[StoredRow], record: &Mutex<Record>, findings: &mut Findings) {
    let last = &rows[rows.len().saturating_sub(IDS_SENT_AGAIN_MAX)..];
    for rows in last.chunks(IDS_SENT_AGAIN_AT_ONCE) {
        let is_by_topic = record.lock().unwrap().is_by_topic;
        let mut by_topic: HashMap<&str, Vec<String>> = HashMap::new();
        for row in rows {
            // Where an id is one in all topics, a repeat may name another one: that one counts the duplicate.
            let topic = if is_by_topic { &row.topic } else { &rows[0].topic };
            by_topic.entry(topic).or_default().push(row.event_id.clone());
        }
        for (topic, ids) in by_topic {
            send_of_topic_again(node, topic, &ids, record, findings).await;
        }
    }
}

async fn send_of_topic_again(
    node: &Client,
    topic: &str,
    ids: &[String],
    record: &Mutex<Record>,
    findings: &mut Findings,
) {
    let body = events(topic, ids.iter().map(String::as_str));
    record.lock().unwrap().events_attempted += ids.len() as u64;
    let answer = node.publish(body).await;
    if answer.status != 200 {
        findings.wrong(format!("a repeat is answered {}: {}", answer.status, answer.text));
        return;
    }
    let answer = answer.json();
    if answer["unique"] != 0 {
        findings.wrong(format!("{} of {} repeats are called new", answer["unique"], ids.len()));
    }
    let results = answer["results"].as_array().cloned().unwrap_or_default();
    record.lock().unwrap().acknowledge_of(topic, ids, &results, false);
}

/// The node's counters, once it counts what others stored, too.
async fn counts_when(node: &Client, received: u64) -> Value {
    let begun = std::time::Instant::now();
    loop {
        let counts = node.stats().await;
        if counts["received"] == received || begun.elapsed() > COUNTS_TIME_MAX {
            return counts;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How `by_topic` differs from what is stored, and from the counters beside it.
fn unlike_by_topic(counts: &Value, stored: &HashMap<String, u64>) -> Vec<String> {
    let mut unlike = Vec::new();
    let by_topic = counts["by_topic"].as_object().cloned().unwrap_or_default();
    // A thousand topics at most are shown.
    let all_are_shown = counts["topics_total"] == by_topic.len();
    let sum = |name: &str| by_topic.values().filter_map(|topic| topic[name].as_u64()).sum::<u64>();
    let told = (&counts["unique_processed"], &counts["duplicate_dropped"]);
    if all_are_shown && told != (&sum("unique").into(), &sum("duplicates").into()) {
        unlike.push(format!("by_topic does not add up: {counts}"));
    }
    for (topic, stored) in stored {
        let counted = by_topic.get(topic).and_then(|counts| counts["unique"].as_u64());
        if counted.map_or(all_are_shown, |counted| counted != *stored) {
            unlike.push(format!("{topic} has {stored} events, {counted:?} are counted"));
        }
    }
    unlike
}

//! More load than the database can take.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::task::JoinHandle;

use super::serve;
use crate::harness::{
    Answer, Client, Database, Engine, block_on, database_proxy::DatabaseProxy, producers::Producers,
    record::Record, stored_ledger::StoredRow,
};

const CONNECTIONS: usize = 2_000;
const EVENTS_A_BATCH: usize = 1_000;
const STATEMENT_DELAY: Duration = Duration::from_millis(50);
/// What was accepted of the load is committed first.
const RECOVERY_MAX: Duration = Duration::from_secs(15);
const LOAD_LASTS: Duration = Duration::from_secs(6);
/// What the service may take, whatever is pushed at it.
const MEMORY_MAX: u64 = 400 << 20;
/// An answer at once, as it looks from a process that has 2,000 connections and shares its processors with the service.
const AT_ONCE: Duration = Duration::from_secs(2);
/// Throughput is measured over this time, before the load and after it.
const MEASURED: Duration = Duration::from_secs(2);

/// What became of the load.
#[derive(Default)]
struct Tally {
    record: Record,
    accepted: Vec<Duration>,
    refused: Vec<Duration>,
    other: Vec<String>,
}

impl Tally {
    /// Notes what became of a push; true where it is acknowledged.
    fn note(&mut self, ids: &[String], answer: Result<Answer, reqwest::Error>, took: Duration) -> bool {
        self.record.events_attempted += ids.len() as u64;
        match answer {
            Ok(answer) if answer.status == 200 => {
                self.accepted.push(took);
                let results = answer.json()["results"].as_array().cloned().unwrap_or_default();
                self.record.acknowledge(ids, &results, false);
                return true;
            }
            Ok(answer) if answer.status == 503 && answer.text.contains("in flight") => {
                self.refused.push(took);
                answer.problem(503);
            }
            Ok(answer) => self.other.push(format!("{}: {}", answer.status, answer.text)),
            Err(error) => self.other.push(format!("{error:?}")),
        }
        false
    }
}

#[test]
fn two_thousand_connections_at_a_slow_database_are_answered_or_refused_at_once_within_the_memory_bound() {
    block_on(async {
        let database = Database::create(Engine::Postgres).await;
        let proxy = DatabaseProxy::start(&database.url).await;
        let process = serve(&proxy.url).await;
        proxy.slow_down(STATEMENT_DELAY);
        let producers = Producers::start(&[&process.client], 8);
        producers.progress(50).await;
        let before = throughput(&producers).await;

        let tally = Arc::new(Mutex::new(Tally::default()));
        let pushing: Vec<_> = (0..CONNECTIONS)
            .map(|connection| {
                let (client, tally) = (process.client.clone(), Arc::clone(&tally));
                tokio::spawn(push(client, connection, tally))
            })
            .collect();
        tokio::time::sleep(LOAD_LASTS).await;
        pushing.iter().for_each(JoinHandle::abort);
        let ended = Instant::now();
        let after = loop {
            let after = throughput(&producers).await;
            if after > before / 2 || ended.elapsed() > RECOVERY_MAX {
                break after;
            }
        };

        let mut tally = std::mem::take(&mut *tally.lock().unwrap());
        let peak = process.peak_memory();
        eprintln!("peak memory {} MiB", peak >> 20);
        eprintln!("throughput {before} events/s before, {after} after");
        eprintln!("accepted: {}", spread(&mut tally.accepted));
        eprintln!("refused: {}", spread(&mut tally.refused));
        assert!(tally.other.is_empty(), "{:?}", &tally.other[..tally.other.len().min(5)]);
        assert!(tally.accepted.len() > 50, "{} accepted", tally.accepted.len());
        assert!(tally.refused.len() > CONNECTIONS / 2, "{} refused", tally.refused.len());
        let half = tally.refused[tally.refused.len() / 2];
        assert!(half < AT_ONCE, "half of the refusals took longer than {half:?}");
        assert!(peak < MEMORY_MAX, "{} MiB", peak >> 20);
        assert!(after > before / 2, "{before} events/s before, {after} after");
        proxy.slow_down(Duration::ZERO);
        settle_what_hung_up(&database, &mut tally.record).await;
        producers.record().extend(tally.record);
        producers.check(&[&process.client], &database).await;
    });
}

/// What was under way when the load fell may be stored, but only as a whole.
async fn settle_what_hung_up(database: &Database, record: &mut Record) {
    let mut unanswered: HashMap<String, Vec<StoredRow>> = HashMap::new();
    for row in database.ledger("default").await.rows_after(0).await {
        if row.topic == "load" && !record.told.contains_key(&row.event_id) {
            let batch = row.event_id.rsplit_once('+').unwrap().0.to_owned();
            unanswered.entry(batch).or_default().push(row);
        }
    }
    eprintln!("{} requests were stored after their clients had hung up", unanswered.len());
    for (batch, rows) in unanswered {
        assert_eq!(rows.len(), EVENTS_A_BATCH, "{batch} is stored in part");
        rows.iter().for_each(|row| record.adopt(&row.event_id, row.seq));
    }
}

/// Pushes batch after batch, and after a refusal the same one again when it is told to.
async fn push(client: Client, connection: usize, tally: Arc<Mutex<Tally>>) {
    for batch in 0.. {
        let ids: Vec<String> =
            (0..EVENTS_A_BATCH).map(|place| format!("{connection}+{batch}+{place}")).collect();
        let body = bytes::Bytes::from(small_events(&ids));
        loop {
            let begun = Instant::now();
            let answer = client.try_publish(body.clone()).await;
            if tally.lock().unwrap().note(&ids, answer, begun.elapsed()) {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// As small as events can be: what is measured is the service, and not how fast this process makes them.
fn small_events(ids: &[String]) -> String {
    let rest = r#"","timestamp":"2026-01-01T00:00:00Z","source":"s","payload":{}},"#;
    let mut body = String::from("[");
    for id in ids {
        body.push_str(r#"{"topic":"load","event_id":""#);
        body.push_str(id);
        body.push_str(rest);
    }
    body.pop();
    body.push(']');
    body
}

async fn throughput(producers: &Producers) -> u64 {
    let begun = Instant::now();
    let acknowledged = producers.record().events_acknowledged;
    tokio::time::sleep(MEASURED).await;
    let more = producers.record().events_acknowledged - acknowledged;
    (more as f64 / begun.elapsed().as_secs_f64()) as u64
}

fn spread(times: &mut [Duration]) -> String {
    times.sort();
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
    format!("{} requests, p50 {:?}, p99 {:?}, max {:?}", times.len(), at(50), at(99), times.last())
}

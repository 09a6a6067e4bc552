//! SQLite under readers that never leave a gap: the log stays small, and probes do not wait for pages.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use sqlx::{Connection, SqliteConnection};

use crate::harness::{Database, Engine, block_on, event, process::Process};

/// What the log may hold: the limit, and what is written before it is next compared.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// Publishes of a megabyte each, twice that.
const LARGE_EVENTS: usize = 128;

fn large(event_id: &str, bytes: usize) -> String {
    let mut event = event("t", event_id);
    event["payload"] = json!({"text": "x".repeat(bytes)});
    event.to_string()
}

/// Keeps a read transaction open at each moment, by two connections in turn, until `ended`.
async fn overlap_reads(url: &str, ended: &AtomicBool) {
    let mut connections = Vec::new();
    for _ in 0..2 {
        connections.push(SqliteConnection::connect(url).await.unwrap());
    }
    let [first, second] = &mut connections[..] else { unreachable!() };
    let (mut open, mut next) = (first, second);
    let read = "BEGIN; SELECT max(seq) FROM events";
    sqlx::raw_sql(read).execute(&mut *open).await.unwrap();
    while !ended.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        sqlx::raw_sql(read).execute(&mut *next).await.unwrap();
        sqlx::raw_sql("COMMIT").execute(&mut *open).await.unwrap();
        (open, next) = (next, open);
    }
}

#[test]
fn the_log_stays_small_while_readers_overlap() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let process = Process::start(Path::new("/"), &["--database-url", &database.url]).ready().await;
        let ended = Arc::new(AtomicBool::new(false));
        let (url, until) = (database.url.clone(), Arc::clone(&ended));
        let reads = tokio::spawn(async move { overlap_reads(&url, &until).await });
        let log = format!("{}-wal", database.file().display());
        let mut largest = 0;
        for number in 0..LARGE_EVENTS {
            process.client.publish_ok(large(&number.to_string(), 1 << 20)).await;
            largest = largest.max(fs::metadata(&log).unwrap().len());
        }
        ended.store(true, Ordering::Relaxed);
        reads.await.unwrap();
        assert!(largest > 8 << 20, "the readers were not in the way: {largest}");
        assert!(largest < LOG_BYTES_MAX, "{largest}");
        database.assert_sound().await;
    });
}

#[test]
fn probes_do_not_wait_for_readers_of_pages() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let arguments = ["--database-url", &database.url, "--read-connections", "1"];
        let process = Process::start(Path::new("/"), &arguments).ready().await;
        for number in 0..8 {
            process.client.publish_ok(large(&number.to_string(), 1 << 20)).await;
        }
        let ended = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..60)
            .map(|_| {
                let (client, ended) = (process.client.clone(), Arc::clone(&ended));
                tokio::spawn(async move {
                    while !ended.load(Ordering::Relaxed) {
                        let _ = client.send(client.request("GET", "/events")).await;
                    }
                })
            })
            .collect();
        for _ in 0..40 {
            for probe in ["/readyz", "/health"] {
                let answer = process.client.get(probe).await;
                assert_eq!(answer.status, 200, "{probe}: {}", answer.text);
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        ended.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.await.unwrap();
        }
    });
}

//! Ends of the process, wanted and not: what was acknowledged stays, and a drain answers what it accepted.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

use crate::harness::{
    Answer, Client, Database, Engine, database::HeldLedger, event, events, eventually, on_both_databases,
    process::Process,
};

async fn serve(database: &Database, arguments: &[&str]) -> Process {
    let arguments = [&["--database-url", database.url.as_str()], arguments].concat();
    Process::start(Path::new("/"), &arguments).ready().await
}

async fn in_flight(client: &Client, what: &str) -> u64 {
    client.stats().await["node"]["in_flight"][what].as_u64().unwrap()
}

/// A publish that waits for the ledger, which somebody else holds.
async fn publish_in_flight(
    process: &Process,
    database: &Database,
) -> (HeldLedger, JoinHandle<Result<Answer, reqwest::Error>>) {
    let held = database.hold_ledger().await;
    let client = process.client.clone();
    let publish = tokio::spawn(async move { client.try_publish(event("t", "in flight").to_string()).await });
    eventually("the publish is in flight", async || in_flight(&process.client, "events").await == 1).await;
    (held, publish)
}

async fn not_ready(process: &Process) {
    eventually("readiness is off", async || {
        let answer = process.client.get("/readyz").await;
        answer.status == 503 && answer.text.contains("stopping")
    })
    .await;
}

/// What the killed service left with the database may still be carried out, and does no harm then either.
async fn stored_once_on_a_retry(database: &Database) {
    let process = serve(database, &[]).await;
    process.client.publish_ok(event("t", "in flight")).await;
    assert_eq!(process.client.all_events().await.len(), 1);
    process.kill();
    if database.engine == Engine::Postgres {
        let left = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND application_name = 'sekali'";
        eventually("its sessions end", async || database.number(left).await == 0).await;
    }
    database.assert_sound().await;
}

#[test]
fn statistics_are_the_same_after_a_restart() {
    on_both_databases(async |database| {
        let lasting = |mut stats: Value| {
            let stats = stats.as_object_mut().unwrap();
            stats.retain(|name, _| !["uptime", "uptime_seconds", "node"].contains(&name.as_str()));
            Value::from(stats.clone())
        };
        let mut process = serve(&database, &[]).await;
        process.client.publish_ok(events("a", ["1", "2", "1"])).await;
        process.client.publish_ok(events("b", ["3", "2"])).await;
        let before = lasting(process.client.stats().await);
        assert_eq!(before["received"], 5);
        assert_eq!(before["by_topic"]["b"]["duplicates"], 1);
        process.signal("TERM");
        assert_eq!(process.wait().code(), Some(0));

        let process = serve(&database, &[]).await;
        assert_eq!(lasting(process.client.stats().await), before);
        let again = process.client.publish_ok(events("a", ["3", "4"])).await;
        assert_eq!((again[0]["status"].as_str(), again[0]["seq"].as_u64()), (Some("duplicate"), Some(3)));
        assert_eq!((again[1]["status"].as_str(), again[1]["seq"].as_u64()), (Some("stored"), Some(4)));
        database.assert_sound().await;
    });
}

#[test]
fn sigterm_and_sigint_answer_what_is_in_flight_and_turn_away_what_is_new() {
    on_both_databases(async |database| {
        for (signal, stored) in [("TERM", "stored"), ("INT", "duplicate")] {
            let mut process = serve(&database, &[]).await;
            let (held, in_flight) = publish_in_flight(&process, &database).await;
            process.signal(signal);
            not_ready(&process).await;
            assert_eq!(process.client.get("/livez").await.status, 200);
            if let Ok(answer) = process.client.try_publish(event("t", "new").to_string()).await {
                assert_eq!(answer.status, 503, "{}", answer.text);
                assert!(answer.header("retry-after").is_some());
                assert_eq!(answer.json()["retryable"], true);
            }
            assert!(!in_flight.is_finished(), "it waits for the ledger");
            held.release().await;
            let answer = in_flight.await.unwrap().unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text);
            assert_eq!(answer.json()["results"][0]["status"], stored);
            assert_eq!(process.wait().code(), Some(0), "{}", process.log());
            assert!(process.log().contains("stopped; everything in flight was answered"));
        }
        assert_eq!(database.number(&format!("SELECT count(*) FROM {}", database.events_table())).await, 1);
        database.assert_sound().await;
    });
}

#[test]
fn a_second_signal_ends_the_drain_at_once_with_exit_code_1() {
    on_both_databases(async |database| {
        let mut process = serve(&database, &["--drain-timeout", "1h", "--publish-timeout", "1h"]).await;
        let (held, in_flight) = publish_in_flight(&process, &database).await;
        process.signal("TERM");
        not_ready(&process).await;
        // Until a second after the first signal, a further one is the first one said twice.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let begun = Instant::now();
        process.signal("INT");
        assert_eq!(process.wait().code(), Some(1));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        eventually("it says why", async || process.log().contains("sekali: stopped at once")).await;
        assert!(in_flight.await.unwrap().is_err(), "it was not answered");
        held.release().await;
        stored_once_on_a_retry(&database).await;
    });
}

#[test]
fn a_drain_that_takes_too_long_ends_with_exit_code_1() {
    on_both_databases(async |database| {
        let mut process = serve(&database, &["--drain-timeout", "500ms"]).await;
        let (held, in_flight) = publish_in_flight(&process, &database).await;
        let begun = Instant::now();
        process.signal("TERM");
        assert_eq!(process.wait().code(), Some(1));
        assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        eventually("it says why", async || process.log().contains("sekali: not everything in flight")).await;
        assert!(in_flight.await.unwrap().is_err(), "it was not answered");
        held.release().await;
        stored_once_on_a_retry(&database).await;
    });
}

#[test]
fn clients_that_are_slow_or_idle_do_not_hold_up_the_drain() {
    on_both_databases(async |database| {
        let mut process = serve(&database, &[]).await;
        let mut half_sent = TcpStream::connect(process.address).await.unwrap();
        let head = "POST /publish HTTP/1.1\r\nhost: test\r\ncontent-length: 1000\r\n\r\n{\"topic\":";
        half_sent.write_all(head.as_bytes()).await.unwrap();
        let mut half_a_head = TcpStream::connect(process.address).await.unwrap();
        half_a_head.write_all(b"POST /publish HTTP/1.1\r\nhost: te").await.unwrap();
        let _idle = TcpStream::connect(process.address).await.unwrap();
        eventually("the body is being read", async || in_flight(&process.client, "bytes").await > 0).await;

        let begun = Instant::now();
        process.signal("TERM");
        assert_eq!(process.wait().code(), Some(0), "{}", process.log());
        assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
        let mut answer = String::new();
        half_sent.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer:?}");
    });
}

#[test]
fn the_log_is_text_for_people_or_json_for_collectors() {
    on_both_databases(async |database| {
        for format in ["text", "json"] {
            let mut process = serve(&database, &["--log-format", format]).await;
            process.client.publish_ok(event("t", "a")).await;
            process.signal("TERM");
            assert_eq!(process.wait().code(), Some(0));
            eventually("the last line is there", async || process.log().contains("stopped; ")).await;
            let log = process.log();
            assert!(log.lines().count() >= 4, "{log}");
            assert!(log.contains(&format!("listening on http://{}", process.address)), "{log}");
            assert!(!log.contains('\u{1b}'), "no colours where nobody looks: {log}");
            for line in log.lines() {
                let object = serde_json::from_str::<Value>(line).ok().filter(Value::is_object);
                assert_eq!(object.is_some(), format == "json", "{line}");
                if let Some(object) = object {
                    assert!(object["timestamp"].is_string() && object["level"].is_string(), "{line}");
                    assert!(object["message"].is_string() && object["target"].is_string(), "{line}");
                }
            }
        }
    });
}

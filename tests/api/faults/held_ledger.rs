//! A foreign session that holds the ledger.

use std::time::{Duration, Instant};

use super::{ANSWER_TIME_MAX, is_ready, serve};
use crate::harness::{Database, Engine, block_on, event, eventually, producers::Producers};

const HELD: Duration = Duration::from_secs(20);
const READ_TIME_MAX: Duration = Duration::from_secs(2);
const RECOVERY_TIME_MAX: Duration = Duration::from_secs(5);

#[test]
fn a_ledger_that_is_held_for_twenty_seconds_delays_publishes_and_no_reads() {
    // Side by side: most of it is waiting.
    block_on(async {
        tokio::join!(held(Engine::Sqlite), held(Engine::Postgres));
    });
}

async fn held(engine: Engine) {
    let database = Database::create(engine).await;
    let process = serve(&database.url).await;
    let client = &process.client;

    // Held for less time than anyone is ready to wait, it costs nobody an answer.
    let ledger = database.hold_ledger().await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.publish(event("t", "waits")).await }
    });
    eventually("the publish is in flight", async || client.stats().await["node"]["in_flight"]["events"] == 1)
        .await;
    ledger.release().await;
    let answer = waiting.await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);

    let producers = Producers::start(&[client], 4);
    producers.record().adopt("waits", 1);
    producers.progress(50).await;
    let ledger = database.hold_ledger().await;
    let begun = Instant::now();
    let mut slowest_read = Duration::ZERO;
    while begun.elapsed() < HELD {
        let read = Instant::now();
        assert_eq!(client.events("?limit=1").await.len(), 1);
        assert_eq!(client.get("/stats").await.status, 200);
        assert_eq!(client.get("/events/waits").await.status, 200);
        slowest_read = slowest_read.max(read.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(slowest_read < READ_TIME_MAX, "{slowest_read:?}");
    // On Postgres it is this ledger's trouble alone.
    assert_eq!(is_ready(client).await, engine == Engine::Postgres);
    let trouble = client.stats().await["node"]["namespace_trouble"].clone();
    assert_eq!(trouble.is_string(), engine == Engine::Postgres, "{trouble}");
    ledger.release().await;
    let released = Instant::now();
    producers.progress(50).await;
    eventually("it is ready again", async || is_ready(client).await).await;
    assert!(released.elapsed() < RECOVERY_TIME_MAX, "{:?}", released.elapsed());
    {
        let record = producers.record();
        assert!(record.retries > 0, "producers were told to try again");
        assert!(record.longest_attempt < ANSWER_TIME_MAX, "{:?}", record.longest_attempt);
    }
    producers.check(&[client], &database).await;
}

//! Clients that trickle, or never read what they asked for, on a service as it is by default.

use std::time::{Duration, Instant};

use serde_json::json;

use super::serve;
use crate::harness::{
    Database, Engine, block_on, event, eventually_within,
    process::Process,
    producers::Producers,
    raw::{Raw, publish_head},
};

const TRICKLING: usize = 32;
/// Ten seconds for a head or the beginning of a body, and a little for a busy machine.
const CUT_WITHIN: Duration = Duration::from_secs(20);
/// Ten seconds without taking a byte, and what a busy machine takes to make as many pages as there may be.
const UNREAD_CUT_WITHIN: Duration = Duration::from_secs(45);
/// What others may feel of it.
const OUTAGE_MAX: Duration = Duration::from_secs(3);

#[test]
fn slow_heads_slow_bodies_and_unread_answers_end_in_time_and_hold_up_nobody() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let process = serve(&database.url).await;
        let client = &process.client;
        let mut adopted = Vec::new();
        for place in 0..7 {
            let id = format!("large {place}");
            let mut large = event("large", &id);
            large["payload"] = json!({"text": "x".repeat(1_000_000)});
            adopted.push((id, client.publish_ok(&large).await[0]["seq"].as_u64().unwrap()));
        }
        let producers = Producers::start_at_pace(&[client], 4, Duration::from_millis(20));
        adopted.iter().for_each(|(id, seq)| producers.record().adopt(id, *seq));
        let head = || "GET /stats HTTP/1.1\r\nHost: test\r\nX: ".to_owned();
        tokio::join!(
            trickle(&process, head, "y"),
            trickle(&process, || publish_head("Transfer-Encoding: chunked"), DROP),
            trickle(&process, || unwanted_body("GET /stats"), DROP),
            trickle(&process, || unwanted_body("PUT /publish"), DROP),
            trickle(&process, || unwanted_body("POST /nowhere"), DROP),
            ask_and_never_read(&process),
        );
        assert_eq!(producers.record().retries, 0);
        let longest = producers.record().longest_outage;
        assert!(longest < OUTAGE_MAX, "{longest:?}");
        producers.check(&[client], &database).await;
    });
}

/// A piece of a body in chunks.
const DROP: &str = "1\r\n \r\n";

/// The head of a request with a body that is not looked at.
fn unwanted_body(request: &str) -> String {
    format!("{request} HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n")
}

/// Sends drop by drop until the service ends it, which it does in time.
async fn trickle(process: &Process, start: impl Fn() -> String, drop_by_drop: &str) {
    let begun = Instant::now();
    let one = async || {
        let mut client = Raw::connect(process.address).await;
        client.send(start()).await;
        while client.try_send(drop_by_drop).await.is_ok() {
            assert!(begun.elapsed() < CUT_WITHIN, "it is still taken");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    futures::future::join_all((0..TRICKLING).map(|_| one())).await;
    eprintln!("ended after {:?}", begun.elapsed());
}

/// The capacity for answers fills up, and is free again though nobody has read or hung up.
async fn ask_and_never_read(process: &Process) {
    let has_capacity = async || process.client.get("/events?topic=large").await.status == 200;
    let begun = Instant::now();
    let mut silent = Vec::new();
    while has_capacity().await {
        assert!(begun.elapsed() < UNREAD_CUT_WITHIN, "there is always capacity for a further page");
        for _ in 0..4 {
            let mut client = Raw::connect(process.address).await;
            client.send("GET /events?topic=large HTTP/1.1\r\nHost: test\r\n\r\n").await;
            silent.push(client);
        }
    }
    eventually_within(UNREAD_CUT_WITHIN, "there is capacity again", has_capacity).await;
    eprintln!("unread answers were given up after {:?}", begun.elapsed());
}

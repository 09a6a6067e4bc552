//! What readers of streams that take little or nothing may hold.

use std::time::Duration;

use serde_json::json;
use tokio::{task::JoinSet, time::sleep};

use crate::harness::{
    Client, RunningService, event, eventually, eventually_within, on_both_stores, raw::Raw,
};

const MIB: u64 = 1024 * 1024;
const LARGE: u64 = 5 * MIB;
/// An event that was read for streams, and its frame.
const PIECE: u64 = 2 * LARGE;

async fn publish_large(client: &Client, count: usize) {
    for number in 0..count {
        let mut large = event(&format!("t{number}"), &format!("large {number}"));
        large["payload"] = json!({"text": "x".repeat(LARGE as usize)});
        client.publish_ok(large).await;
    }
}

/// A reader of the one large event of this topic, which takes nothing by itself.
async fn read_large(service: &RunningService, number: usize) -> Raw {
    let mut reader = Raw::connect_narrow(service.address).await;
    let path = format!("/stream?after={number}&topic=t{number}");
    reader.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
    reader
}

async fn held(service: &RunningService) -> u64 {
    service.client.stats().await["node"]["in_flight"]["answer_bytes"].as_u64().unwrap()
}

#[test]
fn what_filtered_streams_have_to_send_is_counted_and_keeps_nobody_from_being_answered() {
    on_both_stores(async |service| {
        publish_large(&service.client, 4).await;
        let mut unread = Vec::new();
        for number in 0..4 {
            unread.push(read_large(&service, number).await);
            // Who reads the same has a part in the same memory.
            unread.push(read_large(&service, number).await);
        }
        eventually("their pieces are counted", async || held(&service).await > 4 * PIECE).await;
        assert!(held(&service).await < 5 * PIECE, "each is held once");
        // More than one peer's share of the memory for answers.
        assert_eq!(service.client.get("/events/large%200").await.status, 200);
        drop(unread);
        eventually("all is given back", async || held(&service).await < MIB).await;
    });
}

#[test]
fn streams_keep_a_pace_while_others_wait_for_the_memory_that_they_hold() {
    on_both_stores(async |service| {
        publish_large(&service.client, 4).await;
        let mut slow = JoinSet::new();
        for number in 0..4 {
            let mut reader = read_large(&service, number).await;
            // Takes something again and again.
            slow.spawn(async move {
                while !reader.read_at_most(64).await.is_empty() {
                    sleep(Duration::from_millis(200)).await;
                }
            });
        }
        eventually("their pieces are counted", async || held(&service).await > 4 * PIECE).await;
        // As soon as one is gone, others need not wait for the rest.
        let is_enough = async || held(&service).await < 4 * PIECE;
        eventually_within(Duration::from_secs(25), "one is ended", is_enough).await;
        slow.abort_all();
    });
}

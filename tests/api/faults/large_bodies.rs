//! The memory that large bodies and their answers take, and that it is given back.

use std::time::Duration;

use super::serve;
use crate::harness::{
    Database, Engine, block_on, event, eventually_within,
    raw::{Raw, publish_bytes},
};

const BODY_BYTES: usize = 15 * 1024 * 1024;
/// Bodies in flight, answers, what the store and the reads copy, and the service itself.
const PEAK_BYTES_MAX: u64 = 240 << 20;
const AFTER_BYTES_MAX: u64 = 150 << 20;

/// An event with as many members as fit, which is the most work and copies that a body can ask for.
fn large_event(event_id: &str) -> String {
    let members = vec![r#""":0"#; BODY_BYTES / 5].join(",");
    event("t", event_id).to_string().replace(&format!(r#""of":"{event_id}""#), &members)
}

#[test]
fn large_bodies_and_unread_reads_stay_within_a_bound_and_their_memory_is_given_back() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let process = serve(&database.url).await;
        process.client.publish_ok(large_event("0")).await;
        let bodies: Vec<String> = (1..5).map(|n| large_event(&n.to_string())).collect();
        let sends = bodies.iter().map(async |body| process.client.publish(body).await.status);
        let statuses = futures::future::join_all(sends).await;
        assert!(statuses.contains(&200), "{statuses:?}");
        let mut unread = Vec::new();
        for _ in 0..50 {
            let mut client = Raw::connect_narrow(process.address).await;
            client.send("GET /events/0 HTTP/1.1\r\nHost: test\r\n\r\n").await;
            unread.push(client);
        }
        let mut small = Raw::connect(process.address).await;
        small.send(publish_bytes(event("t", "small").to_string())).await;
        assert_eq!(small.answer().await.status, 200);
        drop(unread);
        let limit = Duration::from_secs(30);
        eventually_within(limit, "the memory is given back", async || process.memory() < AFTER_BYTES_MAX)
            .await;
        let peak = process.peak_memory();
        assert!(peak < PEAK_BYTES_MAX, "{} MiB", peak >> 20);
    });
}

//! Pages of parked events: how large they are, and events among them that cannot be read.

use serde_json::{Value, json};

use super::{lease, ok, publish, say, subscribe};
use crate::harness::{Client, event, on_both_stores};

const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Parks so many events, one by one.
async fn park(client: &Client, name: &str, events: usize) {
    for _ in 0..events {
        let one = lease(client, name, "?limit=1").await;
        say(client, name, &one, "reject").await;
    }
}

/// All parked events, and the sizes of the pages in bytes.
async fn all_parked(client: &Client, path: &str) -> (Vec<Value>, Vec<usize>) {
    let (mut all, mut sizes, mut path) = (Vec::new(), Vec::new(), path.to_owned());
    loop {
        let answer = client.get(&path).await;
        sizes.push(answer.text.len());
        all.extend(ok(&answer).as_array().unwrap().iter().cloned());
        match answer.next_link() {
            Some(next) => path = next,
            None => return (all, sizes),
        }
    }
}

#[test]
fn a_page_of_parked_events_ends_at_its_limit_of_bytes_and_says_that_there_are_more() {
    on_both_stores(async |service| {
        let client = &service.client;
        for id in 0..12 {
            let mut large = event("t", &format!("{id}"));
            large["payload"] = json!({"text": "x".repeat(1_000_000)});
            client.publish_ok(large).await;
        }
        subscribe(client, "s", json!({"after": "earliest"})).await;
        park(client, "s", 12).await;
        let (all, sizes) = all_parked(client, "/subscriptions/s/parked?limit=1000").await;
        let seqs: Vec<u64> = all.iter().map(|parked| parked["event"]["seq"].as_u64().unwrap()).collect();
        assert_eq!(seqs, (1..=12).collect::<Vec<_>>());
        assert_eq!(sizes.len(), 2, "{sizes:?}");
        assert!(sizes[0] < PAGE_BYTES_MAX + 10_000 && sizes[0] > 7_000_000, "{sizes:?}");
        let exact = client.get("/subscriptions/s/parked?limit=4&after=8").await;
        assert_eq!((ok(&exact).as_array().unwrap().len(), exact.next_link()), (4, None));
    });
}

#[test]
fn parked_events_that_cannot_be_read_are_shown_with_what_is_wrong_and_the_others_as_they_are() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish(client, "t", 0..6).await;
        subscribe(client, "s", json!({"after": "earliest"})).await;
        park(client, "s", 6).await;
        let table = service.database().events_table();
        let damage = format!(
            "UPDATE {table} SET payload = 'no' WHERE seq = 2; DELETE FROM {table} WHERE seq IN (4, 5)"
        );
        service.database().execute(&damage).await;
        for limit in [100, 2, 1] {
            let (all, _) = all_parked(client, &format!("/subscriptions/s/parked?limit={limit}")).await;
            assert_eq!(all.len(), 6);
            for (place, parked) in all.iter().enumerate() {
                let shown = &parked["event"];
                assert_eq!((&shown["seq"], &parked["deliveries"]), (&json!(place + 1), &json!(1)));
                match (place + 1, shown["damage"].as_str()) {
                    (2, Some(damage)) => assert!(damage.contains("payload is not JSON"), "{damage}"),
                    (4 | 5, Some(damage)) => assert!(damage.contains("is missing"), "{damage}"),
                    (_, damage) => assert_eq!((&shown["topic"], damage), (&json!("t"), None)),
                }
            }
        }
        assert_eq!(client.get("/readyz").await.status, 200);
    });
}

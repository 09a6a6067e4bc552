//! Partitions: order for each key with several workers.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{ask_lease, ok, range, say, show, subscribe};
use crate::harness::{Client, event, on_both_stores};

const PARTITIONS: u32 = 4;

fn partition(key: &str) -> u64 {
    let digest = Sha256::digest(key.as_bytes());
    u64::from(u32::from_be_bytes(digest[..4].try_into().unwrap()) % PARTITIONS)
}

/// Events of 12 sources and 3 topics in turn.
async fn publish_of_many(client: &Client, ids: std::ops::Range<usize>) {
    let events = ids.map(|id| {
        let mut event = event(&format!("topic {}", id % 3), &format!("{id}"));
        event["source"] = json!(format!("source {}", id % 12));
        event
    });
    client.publish_ok(json!(events.collect::<Vec<Value>>())).await;
}

#[test]
fn each_partition_has_one_lease_and_events_of_one_key_are_in_one_partition() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish_of_many(client, 0..120).await;
        for by in ["source", "topic"] {
            let settings = json!({"after": "earliest", "partitions": PARTITIONS, "partition_by": by});
            subscribe(client, by, settings).await;
            let mut held: HashMap<u64, Value> = HashMap::new();
            loop {
                let answer = ask_lease(client, by, "?limit=7").await;
                // With all partitions leased there is none; without events in the others there is nothing.
                if answer.status == 409 || answer.status == 204 {
                    break;
                }
                let lease = ok(&answer);
                let at = lease["partition"].as_u64().unwrap();
                for event in lease["events"].as_array().unwrap() {
                    assert_eq!(partition(event[by].as_str().unwrap()), at);
                }
                assert!(held.insert(at, lease).is_none(), "a partition has one lease at most");
            }
            let keys = if by == "source" { 12 } else { 3 };
            let used: BTreeSet<u64> = (0..keys).map(|key| partition(&format!("{by} {key}"))).collect();
            assert_eq!(held.keys().copied().collect::<BTreeSet<_>>(), used);
            assert_eq!(show(client, by).await["leases"].as_array().unwrap().len(), used.len());
        }
    });
}

#[test]
fn order_is_kept_for_each_key_whoever_works() {
    on_both_stores(async |service| {
        let client = &service.client;
        let settings = json!({
            "topics": ["topic 0", "topic 1"], "partitions": PARTITIONS, "partition_by": "source", "max_deliveries": 2,
        });
        subscribe(client, "s", settings).await;
        publish_of_many(client, 0..90).await;
        let workers = (0..6_u64).map(|worker| {
            let client = client.clone();
            tokio::spawn(async move {
                let mut done: Vec<(u64, String, u64)> = Vec::new();
                let mut leases = 0;
                loop {
                    let query = format!("?limit={}&wait=1", worker + 1);
                    let answer = ask_lease(&client, "s", &query).await;
                    if answer.status != 200 {
                        return done;
                    }
                    let lease = ok(&answer);
                    leases += 1;
                    // Now and then a worker fails: the same events come again, before any later one.
                    if leases % 5 == 4 && range(&lease).2 == 1 {
                        say(&client, "s", &lease, "release").await;
                        continue;
                    }
                    let (from, _, _) = range(&lease);
                    for event in lease["events"].as_array().unwrap() {
                        let seq = event["seq"].as_u64().unwrap();
                        done.push((seq, event["source"].as_str().unwrap().to_owned(), from));
                    }
                    say(&client, "s", &lease, "accept").await;
                }
            })
        });
        publish_of_many(client, 90..180).await;
        let mut all = Vec::new();
        for worker in workers.collect::<Vec<_>>() {
            all.extend(worker.await.unwrap());
        }
        let mut seqs: Vec<u64> = all.iter().map(|(seq, ..)| *seq).collect();
        seqs.sort_unstable();
        let expected: Vec<u64> = (1..=180).filter(|seq| (seq - 1) % 3 != 2).collect();
        assert_eq!(seqs, expected, "each event once");
        assert_eq!(show(client, "s").await["lag"], 0);
        assert_eq!(show(client, "s").await["parked"], 0);
    });
}

#[test]
fn a_failed_range_comes_again_before_later_events_of_its_partition() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish_of_many(client, 0..60).await;
        let settings = json!({"after": "earliest", "partitions": PARTITIONS, "partition_by": "source"});
        subscribe(client, "s", settings).await;
        let first = super::lease(client, "s", "?limit=2").await;
        say(client, "s", &first, "release").await;
        let again = super::lease(client, "s", "?limit=10").await;
        assert_eq!(again["partition"], first["partition"]);
        assert_eq!(again["events"], first["events"]);
        assert_eq!(again["deliveries"], 2);
        say(client, "s", &again, "reject").await;
        let half = super::lease(client, "s", "").await;
        assert_eq!(half["events"].as_array().unwrap()[..], first["events"].as_array().unwrap()[..1]);
        say(client, "s", &half, "reject").await;
        let parked = client.get("/subscriptions/s/parked").await.json();
        assert_eq!(parked[0]["event"], first["events"][0]);
        let retried = super::send(client, "POST", "/subscriptions/s/parked/retry", json!({})).await;
        assert_eq!(retried.json(), json!({"retried": 1, "parked": 0}));
        let tried = super::lease(client, "s", "").await;
        assert_eq!((&tried["events"][0], &tried["partition"]), (&first["events"][0], &first["partition"]));
    });
}

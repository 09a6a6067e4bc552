//! Work that fails: released, rejected, halved, parked, tried again.

use serde_json::{Value, json};

use super::{ask_lease, lease, ok, publish, range, say, send, show, subscribe};
use crate::harness::{Client, on_both_stores};

/// Leases and releases what holds a bad event, and accepts the rest, until nothing is left; returns the ranges.
async fn work(client: &Client, name: &str, bad: u64) -> Vec<(u64, u64, u64)> {
    let mut tries = Vec::new();
    loop {
        let answer = ask_lease(client, name, "").await;
        if answer.status == 204 {
            return tries;
        }
        let lease = ok(&answer);
        let (from, through, _) = range(&lease);
        tries.push(range(&lease));
        let result = if (from..=through).contains(&bad) { "release" } else { "accept" };
        say(client, name, &lease, result).await;
    }
}

async fn parked(client: &Client, name: &str) -> Vec<(u64, u64)> {
    let answer = client.get(&format!("/subscriptions/{name}/parked")).await;
    let number = |value: &Value| value.as_u64().unwrap();
    let parked = ok(&answer);
    parked
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (number(&it["event"]["seq"]), number(&it["deliveries"])))
        .collect()
}

async fn retry(client: &Client, name: &str, body: Value) -> (u64, u64) {
    let answer = ok(&send(client, "POST", &format!("/subscriptions/{name}/parked/retry"), body).await);
    (answer["retried"].as_u64().unwrap(), answer["parked"].as_u64().unwrap())
}

#[test]
fn one_bad_event_is_found_by_halves_and_parked_and_the_others_are_done() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish(client, "t", 0..8).await;
        subscribe(client, "s", json!({"after": "earliest", "max_deliveries": 2})).await;
        let tries = work(client, "s", 6).await;
        let expected =
            [(1, 8, 1), (1, 8, 2), (1, 4, 3), (5, 8, 3), (5, 6, 4), (5, 5, 5), (6, 6, 5), (7, 8, 4)];
        assert_eq!(tries, expected);
        let shown = show(client, "s").await;
        assert_eq!((&shown["acked"], &shown["lag"], &shown["parked"]), (&json!(8), &json!(0), &json!(1)));
        assert_eq!(parked(client, "s").await, [(6, 5)]);
        let answer = client.get("/subscriptions/s/parked").await.json();
        assert_eq!(answer[0]["event"], client.events("?after=5&limit=1").await[0]);
        assert!(answer[0]["parked_at"].as_str().unwrap().ends_with('Z'));
    });
}

#[test]
fn halves_are_made_of_events_and_not_of_numbers() {
    on_both_stores(async |service| {
        let client = &service.client;
        // Events 1, 2, 31 and 32 are of the topic.
        publish(client, "t", 0..2).await;
        publish(client, "noise", 0..28).await;
        publish(client, "t", 2..4).await;
        let settings = json!({"topics": ["t"], "after": "earliest", "max_deliveries": 1});
        subscribe(client, "s", settings).await;
        assert_eq!(
            work(client, "s", 31).await,
            [(1, 32, 1), (1, 2, 2), (31, 32, 2), (31, 31, 3), (32, 32, 3)]
        );
        assert_eq!(parked(client, "s").await, [(31, 3)]);
    });
}

#[test]
fn what_is_rejected_is_halved_at_once() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish(client, "t", 0..3).await;
        subscribe(client, "s", json!({"after": "earliest"})).await;
        let all = lease(client, "s", "").await;
        say(client, "s", &all, "reject").await;
        let first = lease(client, "s", "").await;
        assert_eq!(range(&first), (1, 1, 2));
        assert_eq!(say(client, "s", &first, "reject").await.0, 1, "a parked event does not hold it back");
        assert_eq!(parked(client, "s").await, [(1, 2)]);
        let rest = lease(client, "s", "").await;
        assert_eq!(range(&rest), (2, 3, 2));
        assert_eq!(say(client, "s", &rest, "accept").await, (3, 0));
    });
}

#[test]
fn parked_events_are_tried_again_and_done_or_parked_again() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish(client, "t", 0..4).await;
        subscribe(client, "s", json!({"after": "earliest", "max_deliveries": 1})).await;
        for _ in 0..3 {
            let one = lease(client, "s", "?limit=1").await;
            say(client, "s", &one, "release").await;
        }
        assert_eq!(parked(client, "s").await, [(1, 1), (2, 1), (3, 1)]);
        assert_eq!(retry(client, "s", json!({"seqs": [2, 9]})).await, (1, 2));
        assert_eq!(parked(client, "s").await, [(1, 1), (3, 1)]);
        let again = lease(client, "s", "").await;
        assert_eq!(range(&again), (2, 2, 1));
        assert_eq!(
            say(client, "s", &again, "accept").await.0,
            3,
            "events that are tried again change nothing"
        );
        assert_eq!(retry(client, "s", Value::Null).await, (2, 0));
        let (first, expected) = (lease(client, "s", "").await, (1, 1, 1));
        assert_eq!(range(&first), expected);
        say(client, "s", &first, "release").await;
        assert_eq!(parked(client, "s").await, [(1, 1)]);
        let third = lease(client, "s", "").await;
        assert_eq!(range(&third), (3, 3, 1));
        say(client, "s", &third, "accept").await;
        assert_eq!(range(&lease(client, "s", "").await), (4, 4, 1));
        assert_eq!(retry(client, "s", json!({"seqs": []})).await, (0, 1));
    });
}

#[test]
fn parked_events_are_listed_page_by_page_and_forgotten_where_they_are_replayed() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish(client, "t", 0..5).await;
        subscribe(client, "s", json!({"after": "earliest", "max_leases": 5})).await;
        for _ in 0..5 {
            let one = lease(client, "s", "?limit=1").await;
            say(client, "s", &one, "reject").await;
        }
        let mut path = "/subscriptions/s/parked?limit=2".to_owned();
        let mut sizes = Vec::new();
        loop {
            let answer = client.get(&path).await;
            sizes.push(answer.json().as_array().unwrap().len());
            match answer.next_link() {
                Some(next) => path = next,
                None => break,
            }
        }
        assert_eq!(sizes, [2, 2, 1]);
        ok(&send(client, "POST", "/subscriptions/s/seek", json!({"after": 3})).await);
        assert_eq!(parked(client, "s").await, [(1, 1), (2, 1), (3, 1)]);
        assert_eq!(show(client, "s").await["parked"], 3);
        assert_eq!(range(&lease(client, "s", "").await), (4, 5, 1));
    });
}

#[test]
fn a_full_parking_blocks_the_subscription_and_says_so() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish(client, "t", 0..2).await;
        subscribe(client, "s", json!({"after": "earliest", "max_deliveries": 1})).await;
        let table = service.database().table("subscriptions");
        service.database().execute(&format!("UPDATE {table} SET parked_total = 10000")).await;
        for deliveries in 1..4 {
            let one = lease(client, "s", "?limit=1").await;
            assert_eq!(range(&one), (1, 1, deliveries));
            assert_eq!(say(client, "s", &one, "release").await, (0, 2));
            assert_eq!(show(client, "s").await["status"], "blocked");
        }
    });
}

#[test]
fn a_damaged_event_is_named_and_parked_and_the_others_are_done() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish(client, "t", 0..4).await;
        subscribe(client, "s", json!({"after": "earliest", "max_deliveries": 1})).await;
        let table = service.database().events_table();
        service.database().execute(&format!("UPDATE {table} SET payload = 'no' WHERE seq = 2")).await;
        let mut done = Vec::new();
        let mut faults = 0;
        loop {
            let answer = ask_lease(client, "s", "").await;
            match answer.status {
                204 => break,
                500 => {
                    assert!(answer.problem(500)["detail"].as_str().unwrap().contains("seq 2"));
                    faults += 1;
                }
                _ => {
                    let lease = ok(&answer);
                    done.extend(super::seqs(&lease));
                    say(client, "s", &lease, "accept").await;
                }
            }
        }
        assert_eq!((done, faults), (vec![1, 3, 4], 3));
        assert_eq!(show(client, "s").await["parked"], 1);
    });
}

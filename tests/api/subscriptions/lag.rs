//! How far subscriptions are behind: on every route the same, and nothing where nothing is left to do.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{lease, ok, publish, range, say, send, serve, show, subscribe};
use crate::harness::{Client, Database, Engine, RunningService, block_on, event, eventually, on_both_stores};

/// Where a subscription is.
fn place(shown: &Value) -> (u64, u64, &str) {
    let number = |name: &str| shown[name].as_u64().unwrap();
    (number("acked"), number("lag"), shown["status"].as_str().unwrap())
}

/// Each route that shows subscriptions shows this place of them.
async fn assert_shown(client: &Client, names: &[&str], expected: (u64, u64, &str)) {
    for name in names {
        assert_eq!(place(&show(client, name).await), expected, "{name}");
        let path = format!("/subscriptions/{name}");
        let unchanged = ok(&send(client, "PATCH", &path, json!({})).await);
        assert_eq!(place(&unchanged), expected, "{name}, changed");
    }
    let listed = ok(&client.get("/subscriptions").await);
    for shown in listed.as_array().unwrap() {
        assert_eq!(place(shown), expected, "listed: {shown}");
    }
    assert_eq!(listed.as_array().unwrap().len(), names.len());
    eventually("metrics show it", async || {
        let seen = lags(client).await;
        names.iter().all(|name| {
            seen.contains(&format!("{{namespace=\"default\",subscription=\"{name}\"}} {}", expected.1))
        }) && seen.len() == names.len()
    })
    .await;
}

/// What metrics say of the lag of each subscription: its labels and the number.
async fn lags(client: &Client) -> BTreeSet<String> {
    let text = client.get("/metrics").await.text;
    let lines = text.lines().filter_map(|line| line.strip_prefix("sekali_subscription_lag"));
    lines.filter(|line| line.starts_with('{')).map(str::to_owned).collect()
}

#[test]
fn events_of_other_topics_are_no_lag_on_any_route_with_and_without_partitions() {
    on_both_stores(async |service| {
        let client = &service.client;
        let some = json!(["orders"]);
        for (name, settings) in [
            ("named", json!({"topics": some, "after": "earliest"})),
            ("prefix", json!({"topics": ["or*"], "after": "earliest"})),
            (
                "partitions",
                json!({"topics": some, "after": "earliest", "partitions": 4, "partition_by": "source"}),
            ),
        ] {
            subscribe(client, name, settings).await;
        }
        let names = ["named", "prefix", "partitions"];
        publish(client, "noise", 0..30).await;
        assert_shown(client, &names, (30, 0, "caught-up")).await;
        publish(client, "orders", 0..2).await;
        publish(client, "noise", 30..35).await;
        assert_shown(client, &names, (30, 7, "waiting")).await;
        for name in names {
            let leased = lease(client, name, "").await;
            assert_eq!(range(&leased), (31, 32, 1), "{name}");
            say(client, name, &leased, "accept").await;
        }
        publish(client, "noise", 35..40).await;
        assert_shown(client, &names, (42, 0, "caught-up")).await;
        let made =
            send(client, "PUT", "/subscriptions/new", json!({"topics": ["x"], "after": "earliest"})).await;
        assert_eq!((made.status, place(&made.json())), (201, (42, 0, "caught-up")));
    });
}

/// An event of a source whose events are in this one of two partitions.
fn event_of(partition: u8, id: &str) -> Value {
    let is_in = |source: &String| Sha256::digest(source.as_bytes())[3] % 2 == partition;
    let source = (0..).map(|number| format!("source {number}")).find(is_in).unwrap();
    let mut event = event("t", id);
    event["source"] = json!(source);
    event
}

#[test]
fn a_partition_that_has_no_events_left_holds_nothing_back() {
    on_both_stores(async |service| {
        let client = &service.client;
        subscribe(client, "s", json!({"partitions": 2, "partition_by": "source"})).await;
        client.publish_ok(event_of(0, "a")).await;
        let first = lease(client, "s", "").await;
        client.publish_ok(event_of(1, "b")).await;
        let second = lease(client, "s", "").await;
        assert_eq!((range(&first), range(&second)), ((1, 1, 1), (2, 2, 1)));
        say(client, "s", &second, "accept").await;
        assert_shown(client, &["s"], (0, 2, "leased")).await;
        say(client, "s", &first, "accept").await;
        assert_shown(client, &["s"], (2, 0, "caught-up")).await;
    });
}

async fn publish_much_noise(service: &RunningService) {
    for batch in 0..2 {
        let ids = batch * 10_000..(batch + 1) * 10_000;
        let noise: Vec<Value> = ids.map(|id| event("noise", &format!("{id}"))).collect();
        service.client.publish_ok(json!(noise)).await;
    }
}

#[test]
fn a_page_of_subscriptions_that_have_to_look_through_much_ends_early_and_goes_on() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish_much_noise(&service).await;
        for number in 0..8 {
            let settings = json!({"topics": ["rare*"], "after": "earliest"});
            subscribe(client, &format!("s{number}"), settings).await;
        }
        let (mut path, mut pages) = ("/subscriptions?limit=100".to_owned(), Vec::new());
        loop {
            let answer = client.get(&path).await;
            let page = ok(&answer);
            let page = page.as_array().unwrap();
            assert!(page.iter().all(|shown| place(shown) == (20_000, 0, "caught-up")), "{page:?}");
            pages.push(page.len());
            match answer.next_link() {
                Some(next) => path = next,
                None => break,
            }
        }
        assert_eq!(pages, [5, 3]);
        eventually("metrics show all of them", async || lags(client).await.len() == 8).await;
    });
}

#[test]
fn metrics_show_the_subscriptions_of_other_namespaces_where_some_were_deleted_by_another_node() {
    const NAMESPACES: usize = 12;
    block_on(async {
        let database = Database::create(Engine::Postgres).await;
        let (node, other) = (serve(&database.url).await, serve(&database.url).await);
        for number in 0..NAMESPACES {
            node.client.create_namespace(&format!("n{number}")).await;
            let path = format!("/namespaces/n{number}/subscriptions/s");
            assert_eq!(send(&node.client, "PUT", &path, json!({})).await.status, 201);
        }
        for number in (0..NAMESPACES).step_by(2) {
            let path = format!("/namespaces/n{number}?confirm=n{number}");
            assert_eq!(send(&other.client, "DELETE", &path, Value::Null).await.status, 204);
        }
        let left = (1..NAMESPACES).step_by(2);
        let left: BTreeSet<String> =
            left.map(|number| format!("{{namespace=\"n{number}\",subscription=\"s\"}} 0")).collect();
        eventually("all that are left are shown", async || lags(&node.client).await == left).await;
    });
}

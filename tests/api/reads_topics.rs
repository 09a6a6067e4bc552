//! Pages of several topics: one order, one link, and two ways to find the events.

use serde_json::{Value, json};

use crate::harness::{Client, event, events, on_both_stores};

fn seqs(page: &Value) -> Vec<u64> {
    page.as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

async fn page(client: &Client, path: &str) -> (Vec<u64>, Option<String>) {
    let answer = client.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    (seqs(&answer.json()), answer.next_link())
}

/// What the links from `path` on lead to, page by page.
async fn pages(client: &Client, path: &str) -> Vec<Vec<u64>> {
    let (mut found, mut next) = (Vec::new(), Some(path.to_owned()));
    while let Some(path) = next {
        let (seqs, link) = page(client, &path).await;
        found.push(seqs);
        next = link;
    }
    found
}

/// Publishes one event for each letter, of the topic with that name.
async fn publish_each(client: &Client, topics: &str) {
    let event = |(place, topic): (usize, char)| event(&topic.to_string(), &format!("{topic}{place}"));
    let batch: Vec<Value> = topics.chars().enumerate().map(event).collect();
    client.publish_ok(json!(batch)).await;
}

#[test]
fn several_topics_make_one_page_in_the_order_of_seq() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish_each(client, "abcabcaab").await;
        for (query, expected) in [
            ("topic=a&topic=b", vec![9, 8, 7, 5, 4, 2, 1]),
            ("topic=b&topic=a&after=0", vec![1, 2, 4, 5, 7, 8, 9]),
            ("topic=c&topic=b&limit=2", vec![9, 6]),
            ("topic=c&topic=b&after=2&limit=2", vec![3, 5]),
            ("topic=a&topic=c&after=1&before=7", vec![3, 4, 6]),
            ("topic=a&topic=unknown&before=5", vec![4, 1]),
            ("topic=x&topic=y", vec![]),
            ("topic=a&topic=b&topic=c&after=8", vec![9]),
            ("topic=a&topic=b&after=9223372036854775807", vec![]),
        ] {
            assert_eq!(page(client, &format!("/events?{query}")).await.0, expected, "{query}");
        }
    });
}

#[test]
fn the_link_keeps_every_topic() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish_each(client, "abcabcaab").await;
        let (_, next) = page(client, "/events?topic=a&topic=b&limit=3").await;
        assert_eq!(next.as_deref(), Some("/events?topic=a&topic=b&limit=3&before=7"));
        let newest_first = pages(client, "/events?topic=a&topic=b&limit=3").await;
        assert_eq!(newest_first, [vec![9, 8, 7], vec![5, 4, 2], vec![1]]);
        let oldest_first = pages(client, "/events?topic=b&topic=c&after=0&limit=2&before=9").await;
        assert_eq!(oldest_first, [[2, 3], [5, 6]]);
    });
}

#[test]
fn a_named_namespace_has_its_own_topics() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.create_namespace("other").await;
        publish_each(client, "abab").await;
        client.publish_in("other", events("b", ["1", "2"])).await;
        let (found, next) = page(client, "/namespaces/other/events?topic=a&topic=b&limit=1").await;
        assert_eq!(found, [2]);
        assert_eq!(next.as_deref(), Some("/namespaces/other/events?topic=a&topic=b&limit=1&before=2"));
    });
}

#[test]
fn a_hundred_topics_may_be_asked_for_each_of_them_once() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish_each(client, "abc").await;
        let query = |count: usize| {
            let topics: Vec<String> = (0..count).map(|number| format!("topic=t{number}")).collect();
            format!("/events?{}", topics.join("&"))
        };
        assert_eq!(page(client, &format!("{}&topic=b", query(99))).await.0, [2]);
        let problem = client.get(&query(101)).await.problem(422);
        assert!(problem["detail"].as_str().unwrap().contains("more than 100 times"), "{problem}");
        for (query, reason) in [
            ("topic=a&topic=b&topic=a", "twice with the same value"),
            ("topic=a&topic=", "must not be empty"),
            ("topic=a&topic=%00", "control character"),
            ("topic=a&topic=b&event_id=a0", "twice for one event"),
            ("topic=a&limit=1&limit=2", "`limit` must not be given twice"),
        ] {
            let problem = client.get(&format!("/events?{query}")).await.problem(422);
            assert!(problem["detail"].as_str().unwrap().contains(reason), "{query}: {problem}");
        }
        let problem = client.get("/events/a0?topic=a&topic=b").await.problem(422);
        assert!(problem["detail"].as_str().unwrap().contains("`topic`"), "{problem}");
    });
}

/// Many events of the topics, and all of them far from where the page begins: it ends without an event, and its link
/// leads on to them.
#[test]
fn a_page_that_searched_far_enough_ends_early_and_its_link_goes_on() {
    on_both_stores(async |service| {
        let client = &service.client;
        let ids: Vec<String> = (0..10_000).map(|id| id.to_string()).collect();
        let wanted = (0..4_000).map(|id| event(&format!("w{}", id % 20), &format!("w{id}")));
        client.publish_ok(json!(wanted.collect::<Vec<_>>())).await;
        for round in 0..3 {
            let ids = ids.iter().map(|id| format!("{round}-{id}"));
            let batch = ids.map(|id| event("other", &id)).collect::<Vec<_>>();
            client.publish_ok(json!(batch)).await;
        }
        client.publish_ok(event("w7", "last")).await;
        let topics: Vec<String> = (0..20).map(|number| format!("topic=w{number}")).collect();
        let topics = topics.join("&");
        let (found, next) = page(client, &format!("/events?{topics}&limit=10")).await;
        assert_eq!(found, [34_001], "what lies in the first 20,000");
        assert_eq!(next, Some(format!("/events?{topics}&limit=10&before=14002")));
        let all = pages(client, &format!("/events?{topics}&limit=1000")).await.concat();
        assert_eq!(all, [34_001].into_iter().chain((1..=4_000).rev()).collect::<Vec<_>>());
        let oldest_first = pages(client, &format!("/events?{topics}&after=3990&limit=10")).await;
        let expected: [Vec<u64>; 2] = [(3_991..=4_000).collect(), vec![34_001]];
        assert_eq!(oldest_first, expected);
    });
}

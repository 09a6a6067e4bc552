//! GET /topics: every topic once, by name, with exact counts.

use serde_json::{Value, json};

use crate::harness::{Client, event, events, on_both_stores};

async fn listed(client: &Client, path: &str) -> Vec<Value> {
    let answer = client.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.json().as_array().unwrap().clone()
}

fn names(topics: &[Value]) -> Vec<&str> {
    topics.iter().map(|topic| topic["topic"].as_str().unwrap()).collect()
}

#[test]
fn a_topic_is_listed_with_its_counts_and_its_first_and_last_event() {
    on_both_stores(async |service| {
        let client = &service.client;
        assert_eq!(listed(client, "/topics").await, [] as [Value; 0]);
        client.publish_ok(events("b", ["1", "2"])).await;
        client.publish_ok(events("a", ["3"])).await;
        client.publish_ok(events("b", ["4", "1"])).await;
        // Ids are global here: this names a topic that never gets an event.
        client.publish_ok(events("c", ["1"])).await;
        let all = client.all_events().await;
        let time = |seq: usize| all[seq - 1]["received_at"].clone();
        let expected = json!([
            {"topic": "a", "unique": 1, "duplicates": 0, "first_seq": 3, "last_seq": 3, "last_received_at": time(3)},
            {"topic": "b", "unique": 3, "duplicates": 1, "first_seq": 1, "last_seq": 4, "last_received_at": time(4)},
            {"topic": "c", "unique": 0, "duplicates": 1, "first_seq": null, "last_seq": null,
             "last_received_at": null},
        ]);
        assert_eq!(json!(listed(client, "/topics").await), expected);
        let head = client.send(client.request("HEAD", "/topics")).await.unwrap();
        assert_eq!((head.status, head.text.as_str()), (200, ""));
        assert_eq!(client.send(client.request("POST", "/topics")).await.unwrap().status, 405);
    });
}

#[test]
fn pages_of_topics_go_by_the_bytes_of_their_names() {
    on_both_stores(async |service| {
        let client = &service.client;
        let topics = ["Z", "a", "a b", "a%_", "a\u{e9}", "ab", "b", " x", "\u{e9}", "\u{10ffff}", "a\\\"&="];
        let batch: Vec<_> = topics.iter().map(|topic| event(topic, topic)).collect();
        client.publish_ok(json!(batch)).await;
        let mut sorted = topics;
        sorted.sort();
        assert_eq!(names(&listed(client, "/topics").await), sorted);
        let (mut found, mut path) = (Vec::new(), Some("/topics?limit=2".to_owned()));
        while let Some(next) = path {
            let answer = client.get(&next).await;
            let page = answer.json();
            assert!((1..=2).contains(&page.as_array().unwrap().len()), "{next}: {page}");
            found.extend(names(page.as_array().unwrap()).into_iter().map(str::to_owned));
            path = answer.next_link();
        }
        assert_eq!(found, sorted);
        let with_a: Vec<&str> = sorted.into_iter().filter(|topic| topic.starts_with('a')).collect();
        assert_eq!(names(&listed(client, "/topics?prefix=a").await), with_a);
        assert_eq!(names(&listed(client, "/topics?prefix=a%25").await), ["a%_"]);
        assert_eq!(names(&listed(client, "/topics?prefix=%20").await), [" x"]);
        assert_eq!(names(&listed(client, "/topics?prefix=%F4%8F%BF%BF").await), ["\u{10ffff}"]);
        assert_eq!(names(&listed(client, "/topics?prefix=a&after=a%25_").await), with_a[3..]);
        assert_eq!(names(&listed(client, "/topics?prefix=a&after=0").await), with_a);
        assert_eq!(names(&listed(client, "/topics?prefix=a&after=b").await), [] as [&str; 0]);
        let answer = client.get("/topics?prefix=a&limit=1&after=a%20b").await;
        assert_eq!(answer.next_link().as_deref(), Some("/topics?prefix=a&limit=1&after=a%25_"));
    });
}

#[test]
fn counts_are_exact_before_and_after_they_are_added_up() {
    on_both_stores(async |service| {
        let client = &service.client;
        // Postgres adds the counts of commits up when there are 4,096 of them.
        let topics: Vec<String> = (0..700).map(|number| format!("t{number:03}")).collect();
        for round in 0..7 {
            let batch: Vec<_> =
                topics.iter().map(|topic| event(topic, &format!("{topic}-{}", round / 2))).collect();
            client.publish_ok(json!(batch)).await;
            let listed = listed(client, "/topics").await;
            assert_eq!(names(&listed), topics.iter().map(String::as_str).collect::<Vec<_>>());
            for topic in &listed {
                let (unique, duplicates) = (1 + round / 2, round - round / 2);
                assert_eq!(
                    (&topic["unique"], &topic["duplicates"]),
                    (&json!(unique), &json!(duplicates)),
                    "{topic}"
                );
            }
        }
    });
}

#[test]
fn each_namespace_lists_its_own_topics_and_an_unknown_one_is_not_found() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.create_namespace("other").await;
        client.publish_ok(events("a", ["1"])).await;
        client.publish_in("other", events("b", ["1", "2"])).await;
        assert_eq!(names(&listed(client, "/topics").await), ["a"]);
        let other = listed(client, "/namespaces/other/topics").await;
        assert_eq!((names(&other), &other[0]["last_seq"]), (vec!["b"], &json!(2)));
        client.get("/namespaces/none/topics").await.problem(404);
    });
}

#[test]
fn a_wrong_question_for_topics_is_refused_with_the_parameter() {
    on_both_stores(async |service| {
        let client = &service.client;
        let long = format!("prefix={}", "x".repeat(256));
        for (query, name) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=", "limit"),
            ("prefix=", "prefix"),
            ("prefix=%00", "prefix"),
            ("after=%0A", "after"),
            ("after=a&after=b", "after"),
            (&*long, "prefix"),
        ] {
            let problem = client.get(&format!("/topics?{query}")).await.problem(422);
            assert!(problem["detail"].as_str().unwrap().contains(&format!("`{name}`")), "{query}: {problem}");
        }
        client.get("/topics?topic=a").await.problem(422);
    });
}

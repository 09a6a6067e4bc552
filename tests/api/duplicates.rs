//! What becomes of copies: within a request, over requests, and in the counts by topic.

use serde_json::{Value, json};

use crate::harness::{Client, RunningService, Settings, event, events, on_both_stores};

/// Each result as its status and `seq`.
fn outcomes(results: &[Value]) -> Vec<(&str, u64)> {
    results
        .iter()
        .map(|result| (result["status"].as_str().unwrap(), result["seq"].as_u64().unwrap()))
        .collect()
}

async fn stored_ids(client: &Client) -> Vec<String> {
    let events = client.all_events().await;
    events.iter().map(|event| event["event_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_copy_within_a_request_is_a_duplicate_of_the_first() {
    on_both_stores(async |service| {
        let client = &service.client;
        let body = json!([
            {"topic": "t", "event_id": "a", "timestamp": "2026-01-01T00:00:00Z", "source": "first", "payload": {"n": 1}},
            {"topic": "t", "event_id": "b", "timestamp": "2026-01-01T00:00:00Z", "source": "first", "payload": {}},
            {"topic": "t", "event_id": "a", "timestamp": "2027-01-01T00:00:00Z", "source": "second", "payload": {"n": 2}},
            {"topic": "t", "event_id": "a", "timestamp": "2028-01-01T00:00:00Z", "source": "third", "payload": {"n": 3}},
        ]);
        let answer = client.publish(body).await.json();
        assert_eq!(
            (&answer["accepted"], &answer["unique"], &answer["duplicates"]),
            (&json!(4), &json!(2), &json!(2))
        );
        assert_eq!(
            answer["results"],
            json!([
                {"event_id": "a", "status": "stored", "seq": 1},
                {"event_id": "b", "status": "stored", "seq": 2},
                {"event_id": "a", "status": "duplicate", "seq": 1},
                {"event_id": "a", "status": "duplicate", "seq": 1},
            ])
        );
        let stored = client.get("/events/a").await.json();
        assert_eq!(
            (&stored["source"], &stored["payload"], &stored["timestamp"]),
            (&json!("first"), &json!({"n": 1}), &json!("2026-01-01T00:00:00Z"))
        );
        assert_eq!(stored_ids(client).await, ["a", "b"]);
        assert_eq!(client.counts().await, (4, 2, 2));
        service.database().assert_sound().await;
    });
}

#[test]
fn a_request_of_duplicates_only_stores_nothing_and_counts_all() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.publish_ok(events("t", ["a", "b", "c"])).await;
        let answer = client.publish(events("t", ["c", "a", "b", "c"])).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let answer = answer.json();
        assert_eq!(
            (&answer["accepted"], &answer["unique"], &answer["duplicates"]),
            (&json!(4), &json!(0), &json!(4))
        );
        let results = answer["results"].as_array().unwrap();
        let expected = [("duplicate", 3), ("duplicate", 1), ("duplicate", 2), ("duplicate", 3)];
        assert_eq!(outcomes(results), expected);
        assert_eq!(stored_ids(client).await, ["a", "b", "c"]);
        let stats = client.stats().await;
        assert_eq!(stats["by_topic"], json!({"t": {"unique": 3, "duplicates": 4}}));
        assert_eq!(client.counts().await, (7, 3, 4));
        // A group without a new event leaves no gap behind.
        assert_eq!(outcomes(&client.publish_ok(event("t", "d")).await), [("stored", 4)]);
        service.database().assert_sound().await;
    });
}

#[test]
fn new_events_around_a_duplicate_have_consecutive_seq() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.publish_ok(events("t", ["old-1", "old-2"])).await;
        let results = client.publish_ok(events("t", ["a", "old-2", "b", "a", "old-1", "c"])).await;
        let expected = [
            ("stored", 3),
            ("duplicate", 2),
            ("stored", 4),
            ("duplicate", 3),
            ("duplicate", 1),
            ("stored", 5),
        ];
        assert_eq!(outcomes(&results), expected);
        assert_eq!(stored_ids(client).await, ["old-1", "old-2", "a", "b", "c"]);
        assert_eq!(client.counts().await, (8, 5, 3));
        service.database().assert_sound().await;
    });
}

#[test]
fn a_duplicate_that_only_the_store_remembers_leaves_no_gap_either() {
    on_both_stores(async |service| {
        service.client.publish_ok(events("t", ["old-1", "old-2"])).await;
        let (ended, database) = service.stop().await;
        ended.unwrap();
        let mut settings = Settings::new(database);
        settings.config.window_ids = 0;
        let service = RunningService::start(settings).await;
        let results = service.client.publish_ok(events("t", ["a", "old-2", "b", "old-1", "c"])).await;
        let expected = [("stored", 3), ("duplicate", 2), ("stored", 4), ("duplicate", 1), ("stored", 5)];
        assert_eq!(outcomes(&results), expected);
        assert_eq!(stored_ids(&service.client).await, ["old-1", "old-2", "a", "b", "c"]);
        assert_eq!(service.client.counts().await, (7, 5, 2));
        service.database().assert_sound().await;
    });
}

#[test]
fn a_duplicate_counts_for_the_topic_that_it_names_and_may_be_its_first_use() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.publish_ok(event("first", "a")).await;
        let again = client.publish_ok(json!([event("second", "a"), event("second", "a")])).await;
        assert_eq!(outcomes(&again), [("duplicate", 1), ("duplicate", 1)]);
        let within = client.publish_ok(json!([event("third", "b"), event("fourth", "b")])).await;
        assert_eq!(outcomes(&within), [("stored", 2), ("duplicate", 2)]);

        let stats = client.stats().await;
        assert_eq!(stats["topics"], json!(["first", "second", "third", "fourth"]));
        assert_eq!(stats["topics_total"], 4);
        assert_eq!(
            stats["by_topic"],
            json!({
                "first": {"unique": 1, "duplicates": 0},
                "second": {"unique": 0, "duplicates": 2},
                "third": {"unique": 1, "duplicates": 0},
                "fourth": {"unique": 0, "duplicates": 1},
            })
        );
        assert_eq!(client.counts().await, (5, 2, 3));
        assert!(client.events("?topic=second").await.is_empty());
        assert_eq!(client.get("/events/a?topic=second").await.status, 404);
        assert_eq!(client.get("/events/a?topic=first").await.status, 200);
        service.database().assert_sound().await;
    });
}

#[test]
fn the_first_copy_wins_whatever_later_ones_carry() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.publish_ok(event("t", "a")).await;
        let first = client.get("/events/a").await.text;
        let other = json!({
            "topic": "elsewhere", "event_id": "a", "timestamp": "1999-12-31T23:59:59Z",
            "source": "another", "payload": {"entirely": ["different"]},
        });
        assert_eq!(outcomes(&client.publish_ok(&other).await), [("duplicate", 1)]);
        // Ids are compared to the letter: neither case nor white space nor Unicode's normal forms make one the same.
        for (place, other_id) in ["A", "a ", " a", "\u{e9}", "e\u{301}"].into_iter().enumerate() {
            let results = client.publish_ok(event("t", other_id)).await;
            assert_eq!(outcomes(&results), [("stored", place as u64 + 2)], "{other_id:?}");
        }
        assert_eq!(client.get("/events/a").await.text, first);
        assert_eq!(stored_ids(client).await, ["a", "A", "a ", " a", "\u{e9}", "e\u{301}"]);
        assert_eq!(client.counts().await, (7, 6, 1));
        service.database().assert_sound().await;
    });
}

#[test]
fn of_more_than_a_thousand_topics_those_first_used_last_are_shown() {
    on_both_stores(async |service| {
        let client = &service.client;
        let topic = |number: usize| format!("topic-{number}");
        let body: Vec<Value> = (0..1_200).map(|number| event(&topic(number), &number.to_string())).collect();
        client.publish_ok(json!(body)).await;
        // Topic 1200 begins with a duplicate; topic 3 is used again, and stays among those not shown.
        client
            .publish_ok(json!([event(&topic(1_200), "7"), event(&topic(3), "new"), event(&topic(900), "0")]))
            .await;

        let expected: Vec<String> = (201..=1_200).map(topic).collect();
        let stats = client.stats().await;
        assert_eq!(stats["topics"], json!(expected));
        assert_eq!(stats["topics_total"], 1_201);
        let by_topic = stats["by_topic"].as_object().unwrap();
        assert_eq!(by_topic.len(), 1_000);
        assert!(expected.iter().all(|topic| by_topic.contains_key(topic)));
        assert_eq!(by_topic["topic-1200"], json!({"unique": 0, "duplicates": 1}));
        assert_eq!(by_topic["topic-900"], json!({"unique": 1, "duplicates": 1}));
        assert_eq!(by_topic["topic-201"], json!({"unique": 1, "duplicates": 0}));
        assert_eq!(client.counts().await, (1_203, 1_201, 2));
        service.database().assert_sound().await;

        // What is counted along the way is what the database tells after a restart.
        let (ended, database) = service.stop().await;
        ended.unwrap();
        let service = RunningService::start(Settings::new(database)).await;
        let reread = service.client.stats().await;
        for key in ["topics", "topics_total", "by_topic", "received"] {
            assert_eq!(reread[key], stats[key], "{key}");
        }
    });
}

#[test]
fn whoever_prefers_a_minimal_answer_gets_the_counts_alone() {
    on_both_stores(async |service| {
        let client = &service.client;
        let publish = async |prefer: &str, body: Value| {
            let request = client.request("POST", "/publish").header("content-type", "application/json");
            client.send(request.header("prefer", prefer).body(body.to_string())).await.unwrap()
        };
        let minimal = publish("return=minimal", events("t", ["a", "b", "a"])).await;
        assert_eq!(minimal.status, 200);
        assert_eq!(minimal.json(), json!({"accepted": 3, "unique": 2, "duplicates": 1}));
        assert_eq!(minimal.header("preference-applied"), Some("return=minimal"));

        let among_others = publish("respond-async, Return=Minimal; x=1, wait=5", event("t", "c")).await;
        assert_eq!(among_others.json(), json!({"accepted": 1, "unique": 1, "duplicates": 0}));
        assert_eq!(among_others.header("preference-applied"), Some("return=minimal"));

        for other in ["return=representation", "minimal", "return=minimalist"] {
            let full = publish(other, event("t", "c")).await;
            assert_eq!(full.json()["results"], json!([{"event_id": "c", "status": "duplicate", "seq": 3}]));
            assert_eq!(full.header("preference-applied"), None, "{other}");
        }
        assert_eq!(stored_ids(client).await, ["a", "b", "c"]);
        assert_eq!(client.counts().await, (7, 3, 4));
        service.database().assert_sound().await;
    });
}

//! The scenarios that the first service of this kind was tested by, and its clients' habits: all of them hold here.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use futures::future::join_all;
use sekali::event::DedupScope;
use serde_json::{Value, json};

use crate::harness::{Client, RunningService, Settings, event, events, on_both_stores, on_both_stores_with};

/// An event with one field changed; null removes it.
fn with(field: &str, value: Value) -> Value {
    let mut event = event("t", "a");
    match value {
        Value::Null => event.as_object_mut().unwrap().remove(field),
        value => event.as_object_mut().unwrap().insert(field.to_owned(), value),
    };
    event
}

async fn assert_nothing_stored(service: &RunningService) {
    assert!(service.client.all_events().await.is_empty());
    assert_eq!(service.client.counts().await, (0, 0, 0));
    assert_eq!(service.client.stats().await["topics_total"], 0);
    let table = service.database().events_table();
    assert_eq!(service.database().number(&format!("SELECT count(*) FROM {table}")).await, 0);
    service.database().assert_sound().await;
}

async fn restart(service: RunningService) -> RunningService {
    let (ended, database) = service.stop().await;
    ended.unwrap();
    RunningService::start(Settings::new(database)).await
}

fn ids_of(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event_id"].as_str().unwrap()).collect()
}

#[test]
fn an_event_that_breaks_the_schema_is_refused_and_every_fault_is_named() {
    on_both_stores(async |service| {
        let client = &service.client;
        for field in ["topic", "event_id", "timestamp", "source", "payload"] {
            let mut wrong = vec![Value::Null, json!(1), json!(true), json!([]), json!(["x"])];
            wrong.extend(if field == "payload" { vec![json!("x")] } else { vec![json!({}), json!("")] });
            for value in wrong {
                let answer = client.publish(with(field, value.clone())).await;
                assert_eq!(answer.status, 422, "{field} {value}: {}", answer.text);
                assert_eq!(answer.faults(), [(0, format!("/{field}"))], "{value}");
                assert_eq!(answer.json()["retryable"], false);
            }
        }
        for moment in
            ["yesterday", "2026-06-18", "2026-02-30T12:00:00Z", "2026-06-18T12:00:00+0700", "1781784000"]
        {
            let answer = client.publish(with("timestamp", json!(moment))).await;
            assert_eq!(
                (answer.status, answer.faults()),
                (422, vec![(0, "/timestamp".to_owned())]),
                "{moment}"
            );
        }
        let everything = client.publish(json!([{}, event("t", "good"), "no event"])).await;
        let places: BTreeSet<(u64, String)> = everything.faults().into_iter().collect();
        let fields = ["event_id", "payload", "source", "timestamp", "topic"];
        let mut expected: BTreeSet<_> = fields.map(|field| (0, format!("/{field}"))).into();
        expected.insert((2, String::new()));
        assert_eq!((everything.status, places), (422, expected));
        for body in ["", "{", "nonsense", "{\"events\":[}"] {
            assert_eq!(client.publish(body).await.status, 400, "{body}");
        }
        for body in ["1", "null", "\"x\"", "[]", "{\"events\":[]}", "{\"events\":{}}", "{}"] {
            assert_eq!(client.publish(body).await.status, 422, "{body}");
        }
        assert_nothing_stored(&service).await;
    });
}

#[test]
fn an_event_published_again_is_stored_once() {
    on_both_stores(async |service| {
        let client = &service.client;
        for copy in 0..5 {
            let answer = client.publish(event("orders", "order-1")).await.json();
            let unique = u64::from(copy == 0);
            assert_eq!(answer["accepted"], 1);
            assert_eq!(
                (answer["unique"].as_u64(), answer["duplicates"].as_u64()),
                (Some(unique), Some(1 - unique))
            );
            let status = if copy == 0 { "stored" } else { "duplicate" };
            assert_eq!(answer["results"], json!([{"event_id": "order-1", "status": status, "seq": 1}]));
        }
        assert_eq!(ids_of(&client.events("?topic=orders").await), ["order-1"]);
        assert_eq!(client.counts().await, (5, 1, 4));
        service.database().assert_sound().await;
    });
}

#[test]
fn a_batch_is_stored_as_a_whole() {
    on_both_stores(async |service| {
        let client = &service.client;
        let ids: Vec<String> = (0..100).map(|number| format!("event-{number}")).collect();
        let answer = client.publish(events("t", ids.iter().map(String::as_str))).await.json();
        assert_eq!(
            (&answer["accepted"], &answer["unique"], &answer["duplicates"]),
            (&json!(100), &json!(100), &json!(0))
        );
        let expected: Vec<Value> = (0..100)
            .map(|number| json!({"event_id": format!("event-{number}"), "status": "stored", "seq": number + 1}))
            .collect();
        assert_eq!(answer["results"], json!(expected));
        assert_eq!(ids_of(&client.all_events().await), ids);
        assert_eq!(client.counts().await, (100, 100, 0));
        service.database().assert_sound().await;
    });
}

#[test]
fn one_bad_event_rolls_its_batch_back() {
    on_both_stores(async |service| {
        let client = &service.client;
        for bad_place in [0, 7, 14] {
            let mut batch: Vec<Value> = (0..15).map(|number| event("t", &number.to_string())).collect();
            batch[bad_place] = with("source", json!(7));
            let answer = client.publish(json!({"events": batch})).await;
            assert_eq!(answer.status, 422, "{}", answer.text);
            assert_eq!(answer.faults(), [(bad_place as u64, "/source".to_owned())]);
        }
        assert_nothing_stored(&service).await;
        // Nothing of them is remembered as stored, and no `seq` was used up.
        let results = client.publish_ok(events("t", ["0", "1", "14"])).await;
        let expected: Vec<Value> = [("0", 1), ("1", 2), ("14", 3)]
            .map(|(id, seq)| json!({"event_id": id, "status": "stored", "seq": seq}))
            .into();
        assert_eq!(results, expected);
        assert_eq!(client.counts().await, (3, 3, 0));
        service.database().assert_sound().await;
    });
}

#[test]
fn statistics_agree_with_what_is_stored() {
    on_both_stores(async |service| {
        let client = &service.client;
        assert_eq!(client.stats().await["duplicate_rate"], 0.0);
        client.publish_ok(events("a", ["1", "2", "3"])).await;
        client.publish_ok(events("b", ["4", "1"])).await;
        client.publish_ok(events("a", ["3", "3", "5"])).await;
        let stats = client.stats().await;
        assert_eq!(
            (&stats["received"], &stats["unique_processed"], &stats["duplicate_dropped"]),
            (&json!(8), &json!(5), &json!(3))
        );
        assert_eq!(stats["duplicate_rate"], 0.375);
        assert_eq!((&stats["topics"], &stats["topics_total"]), (&json!(["a", "b"]), &json!(2)));
        assert_eq!(stats["by_topic"]["a"], json!({"unique": 4, "duplicates": 2}));
        assert_eq!(stats["by_topic"]["b"], json!({"unique": 1, "duplicates": 1}));
        for topic in ["a", "b"] {
            let stored = client.events(&format!("?topic={topic}")).await.len();
            assert_eq!(stats["by_topic"][topic]["unique"], stored);
        }
        service.database().assert_sound().await;
    });
}

#[test]
fn events_and_counts_outlive_a_restart() {
    on_both_stores(async |service| {
        let ids: Vec<String> = (0..50).map(|number| number.to_string()).collect();
        let ids = || ids.iter().map(String::as_str);
        service.client.publish_ok(events("t", ids())).await;
        service.client.publish_ok(events("u", ["7", "new"])).await;
        let stored = service.client.all_events().await;
        let stats = service.client.stats().await;

        let service = restart(service).await;
        let client = &service.client;
        assert_eq!(client.all_events().await, stored);
        let again = client.stats().await;
        for key in ["received", "unique_processed", "duplicate_dropped", "topics", "topics_total", "by_topic"]
        {
            assert_eq!(again[key], stats[key], "{key}");
        }
        let results = client.publish_ok(events("t", ids().chain(["later"]))).await;
        for (place, result) in results[..50].iter().enumerate() {
            assert_eq!((&result["status"], &result["seq"]), (&json!("duplicate"), &json!(place + 1)));
        }
        assert_eq!((&results[50]["status"], &results[50]["seq"]), (&json!("stored"), &json!(52)));
        assert_eq!(client.counts().await, (103, 52, 51));

        let service = restart(service).await;
        assert_eq!(service.client.counts().await, (103, 52, 51));
        assert_eq!(service.client.all_events().await.len(), 52);
        service.database().assert_sound().await;
    });
}

#[test]
fn of_many_concurrent_publishes_of_one_event_exactly_one_stores_it() {
    on_both_stores(async |service| {
        let publish = |_| {
            let client = service.client.clone();
            tokio::spawn(async move { client.publish_ok(event("t", "the-one")).await.remove(0) })
        };
        let results = join_all((0..50).map(publish)).await;
        let results: Vec<Value> = results.into_iter().map(|result| result.unwrap()).collect();
        let stored = results.iter().filter(|result| result["status"] == "stored").count();
        let duplicates = results.iter().filter(|result| result["status"] == "duplicate").count();
        assert_eq!((stored, duplicates), (1, 49));
        assert!(results.iter().all(|result| result["seq"] == 1), "{results:?}");
        assert_eq!(service.client.all_events().await.len(), 1);
        assert_eq!(service.client.counts().await, (50, 1, 49));
        service.database().assert_sound().await;
    });
}

#[test]
fn events_come_newest_first_by_seq_whatever_their_timestamps() {
    on_both_stores(async |service| {
        let client = &service.client;
        let moments = [
            ("2026-06-18T12:00:00Z", "2026-06-18T12:00:00Z"),
            ("2030-01-01T00:00:00.5+07:00", "2029-12-31T17:00:00.500000Z"),
            ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z"),
            ("2026-06-18T12:00:00.123456", "2026-06-18T12:00:00.123456Z"),
            ("2026-06-18 12:00:00", "2026-06-18T12:00:00Z"),
            ("2026-06-18t12:00:00.100z", "2026-06-18T12:00:00.100000Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
            ("2024-02-29T23:30:00-01:00", "2024-03-01T00:30:00Z"),
        ];
        for (place, (given, _)) in moments.iter().enumerate() {
            let mut event = event("t", &place.to_string());
            event["timestamp"] = json!(given);
            client.publish_ok(event).await;
        }
        let read = client.events("").await;
        let shown: Vec<(u64, &str, &str)> = read
            .iter()
            .map(|event| {
                let text = |name: &str| event[name].as_str().unwrap();
                (event["seq"].as_u64().unwrap(), text("event_id"), text("timestamp"))
            })
            .collect();
        let ids: Vec<String> = (0..moments.len()).map(|place| place.to_string()).collect();
        let expected: Vec<(u64, &str, &str)> = (0..moments.len())
            .rev()
            .map(|place| (place as u64 + 1, ids[place].as_str(), moments[place].1))
            .collect();
        assert_eq!(shown, expected);
        service.database().assert_sound().await;
    });
}

#[test]
fn a_payload_that_is_no_object_is_refused() {
    on_both_stores(async |service| {
        for payload in [json!("text"), json!([]), json!([{}]), json!(1), json!(0.5), json!(false)] {
            let answer = service.client.publish(with("payload", payload.clone())).await;
            assert_eq!(
                (answer.status, answer.faults()),
                (422, vec![(0, "/payload".to_owned())]),
                "{payload}"
            );
        }
        let mut null = event("t", "a");
        null["payload"] = Value::Null;
        let answer = service.client.publish(null).await;
        assert_eq!((answer.status, answer.faults()), (422, vec![(0, "/payload".to_owned())]));
        assert_nothing_stored(&service).await;
    });
}

#[test]
fn a_payload_of_a_million_characters_comes_back_to_the_letter() {
    on_both_stores(async |service| {
        let client = &service.client;
        let plain: String = "abcdefghij".repeat(100_000);
        let mixed: String = "aé日🦀\"\\\n\u{7f} /".chars().cycle().take(1_000_000).collect();
        for (id, text) in [("plain", plain), ("mixed", mixed)] {
            let payload = json!({"text": text}).to_string();
            let body = format!(
                r#"{{"topic":"t","event_id":"{id}","timestamp":"2026-06-18T12:00:00","source":"s","payload":{payload}}}"#
            );
            client.publish_ok(body).await;
            let answer = client.get(&format!("/events/{id}")).await;
            assert!(answer.text.contains(&format!("\"payload\":{payload},")), "{id}");
            assert_eq!(answer.json()["payload"]["text"].as_str().unwrap(), text, "{id}");
            assert_eq!(client.events("?limit=1").await, [answer.json()]);
        }
        assert_eq!(client.counts().await, (2, 2, 0));
        service.database().assert_sound().await;
    });
}

#[test]
fn health_and_observability_answer() {
    on_both_stores(async |service| {
        let client = &service.client;
        let health = client.get("/health").await;
        assert_eq!(
            (health.status, health.json()),
            (200, json!({"status": "healthy", "database": "connected"}))
        );
        for path in ["/livez", "/readyz"] {
            let answer = client.get(path).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
            assert_eq!(answer.header("content-type"), Some("application/json"));
        }
        client.publish_ok(events("t", ["a", "b", "a"])).await;
        let stats = client.stats().await;
        assert!(stats["uptime"].as_f64().unwrap() > 0.0);
        assert_eq!(stats["uptime"], stats["uptime_seconds"]);
        let node = &stats["node"];
        let shards = node["shards"].as_array().unwrap();
        assert_eq!(shards.len(), 2);
        for actor in shards.iter().chain([&node["writer"], &node["stats"]]) {
            assert_eq!((&actor["running"], &actor["restarts"]), (&json!(true), &json!(0)), "{actor}");
            assert!(actor["name"].is_string() && actor["queue"].is_u64(), "{actor}");
        }
        assert!(shards.iter().all(|shard| shard["window_ids"].is_u64()));
        assert_eq!(
            (&node["restarts"], &node["commits"], &node["exceptions"]),
            (&json!(0), &json!(1), &json!(0))
        );
        assert!(node["rates"]["events_per_second"].is_f64());
        assert!(node["commit_latency_ms"]["p99"].as_f64().unwrap() > 0.0);
        assert_eq!(node["version"], env!("CARGO_PKG_VERSION"));
    });
}

#[test]
fn a_single_event_comes_back_with_all_that_it_carried() {
    on_both_stores(async |service| {
        let client = &service.client;
        let payload = json!({"amount": 12.5, "lines": [{"sku": "é-1"}, null], "paid": true});
        let sent = json!({
            "topic": "orders", "event_id": "order-1", "timestamp": "2026-06-18T12:00:00Z",
            "source": "shop", "payload": payload, "trace": "ignored",
        });
        let results = client.publish_ok(&sent).await;
        assert_eq!(results, [json!({"event_id": "order-1", "status": "stored", "seq": 1})]);
        let stored = client.get("/events/order-1").await.json();
        let members: BTreeSet<&str> = stored.as_object().unwrap().keys().map(String::as_str).collect();
        let expected = ["event_id", "payload", "received_at", "seq", "source", "timestamp", "topic"];
        assert_eq!(members, expected.into());
        for field in ["topic", "event_id", "timestamp", "source", "payload"] {
            assert_eq!(stored[field], sent[field], "{field}");
        }
        assert_eq!(client.events("").await, [stored]);
        assert_eq!(client.counts().await, (1, 1, 0));
        service.database().assert_sound().await;
    });
}

#[test]
fn in_scope_event_id_the_same_id_in_another_topic_is_a_duplicate() {
    // It is the scope of a new database that was asked for none.
    for scope in [None, Some(DedupScope::EventId)] {
        on_both_stores_with(
            |settings| settings.config.dedup_scope = scope,
            async |service| {
                let client = &service.client;
                let results = client.publish_ok(json!([event("t", "a"), event("u", "a")])).await;
                assert_eq!((&results[0]["status"], &results[0]["seq"]), (&json!("stored"), &json!(1)));
                assert_eq!((&results[1]["status"], &results[1]["seq"]), (&json!("duplicate"), &json!(1)));
                assert_eq!(client.get("/events/a").await.json()["topic"], "t");
                assert!(client.events("?topic=u").await.is_empty());
                assert_eq!(client.counts().await, (2, 1, 1));
                service.database().assert_sound().await;
            },
        );
    }
}

#[test]
fn in_scope_topic_the_same_id_in_another_topic_is_another_event() {
    on_both_stores_with(
        |settings| settings.config.dedup_scope = Some(DedupScope::Topic),
        async |service| {
            let client = &service.client;
            let results = client.publish_ok(json!([event("t", "a"), event("u", "a"), event("t", "a")])).await;
            let expected = [("stored", 1), ("stored", 2), ("duplicate", 1)];
            for (result, (status, seq)) in results.iter().zip(expected) {
                assert_eq!((&result["status"], &result["seq"]), (&json!(status), &json!(seq)));
            }
            // Joined, these pairs would be the same text.
            let results = client.publish_ok(json!([event("ab", "c"), event("a", "bc")])).await;
            assert!(results.iter().all(|result| result["status"] == "stored"), "{results:?}");

            let unclear = client.get("/events/a").await;
            assert_eq!(unclear.status, 422, "{}", unclear.text);
            assert!(unclear.json()["detail"].as_str().unwrap().contains("topic"), "{}", unclear.text);
            for (topic, seq) in [("t", 1), ("u", 2)] {
                let found = client.get(&format!("/events/a?topic={topic}")).await.json();
                assert_eq!((&found["topic"], &found["seq"]), (&json!(topic), &json!(seq)));
            }
            assert_eq!(client.get("/events/a?topic=v").await.status, 404);
            assert_eq!(client.get("/events/b?topic=t").await.status, 404);
            assert_eq!(client.stats().await["by_topic"]["t"], json!({"unique": 1, "duplicates": 1}));

            // The database keeps its scope over a restart that asks for none.
            let service = restart(service).await;
            let results = service.client.publish_ok(json!([event("u", "a"), event("v", "a")])).await;
            assert_eq!((&results[0]["status"], &results[0]["seq"]), (&json!("duplicate"), &json!(2)));
            assert_eq!((&results[1]["status"], &results[1]["seq"]), (&json!("stored"), &json!(5)));
            assert_eq!(service.client.get("/events/a").await.status, 422);
            assert_eq!(service.client.counts().await, (7, 5, 2));
            service.database().assert_sound().await;
        },
    );
}

/// Counters read while others publish: each answer is consistent, none is behind an earlier one, and the keys stay.
async fn watch_stats(client: Client, published: Arc<AtomicBool>, acknowledged: Arc<AtomicU64>) -> usize {
    let mut last = (0, 0, 0);
    let mut keys = None;
    let mut calls = 0;
    loop {
        let all_published = published.load(Ordering::SeqCst);
        let acknowledged_before = acknowledged.load(Ordering::SeqCst);
        let stats = client.stats().await;
        calls += 1;
        let count = |name: &str| stats[name].as_u64().unwrap();
        let counts = (count("received"), count("unique_processed"), count("duplicate_dropped"));
        assert_eq!(counts.0, counts.1 + counts.2);
        assert!(counts.0 >= last.0 && counts.1 >= last.1 && counts.2 >= last.2, "{last:?} then {counts:?}");
        assert!(counts.0 >= acknowledged_before, "{acknowledged_before} were acknowledged: {counts:?}");
        let rate = if counts.0 == 0 { 0.0 } else { counts.2 as f64 / counts.0 as f64 };
        assert_eq!(stats["duplicate_rate"], rate);
        let by_topic = |name: &str| -> u64 {
            stats["by_topic"].as_object().unwrap().values().map(|topic| topic[name].as_u64().unwrap()).sum()
        };
        assert_eq!((by_topic("unique"), by_topic("duplicates")), (counts.1, counts.2));
        assert_eq!(stats["topics"].as_array().unwrap().len() as u64, count("topics_total"));
        let these: Vec<String> = stats.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys.get_or_insert_with(|| these.clone()), &these);
        last = counts;
        if all_published {
            return calls;
        }
    }
}

#[test]
fn statistics_are_consistent_while_many_publish() {
    on_both_stores(async |service| {
        let (published, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let watchers: Vec<_> = (0..4)
            .map(|_| {
                let watch =
                    watch_stats(service.client.clone(), Arc::clone(&published), Arc::clone(&acknowledged));
                tokio::spawn(watch)
            })
            .collect();
        let publishers = (0..16).map(|publisher| {
            let (client, acknowledged) = (service.client.clone(), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                for round in 0..20 {
                    // Four publishers each share their ids.
                    let ids: Vec<String> =
                        (0..5).map(|place| format!("{}-{round}-{place}", publisher % 4)).collect();
                    let topic = format!("topic-{}", publisher % 3);
                    let results = client.publish_ok(events(&topic, ids.iter().map(String::as_str))).await;
                    acknowledged.fetch_add(results.len() as u64, Ordering::SeqCst);
                }
            })
        });
        for publisher in join_all(publishers).await {
            publisher.unwrap();
        }
        published.store(true, Ordering::SeqCst);
        for watcher in join_all(watchers).await {
            assert!(watcher.unwrap() > 1);
        }
        assert_eq!(service.client.counts().await, (1_600, 400, 1_200));
        assert_eq!(service.client.all_events().await.len(), 400);
        service.database().assert_sound().await;
    });
}

#[test]
fn massive_duplication_stores_each_id_once() {
    on_both_stores(async |service| {
        let client = &service.client;
        let ids: Vec<String> = (0..5_000).map(|number| format!("id-{}", number % 50)).collect();
        let batch = || events("t", ids.iter().map(String::as_str));
        let answer = client.publish(batch()).await.json();
        assert_eq!(
            (&answer["accepted"], &answer["unique"], &answer["duplicates"]),
            (&json!(5_000), &json!(50), &json!(4_950))
        );
        for (number, result) in answer["results"].as_array().unwrap().iter().enumerate() {
            let status = if number < 50 { "stored" } else { "duplicate" };
            assert_eq!((&result["status"], &result["seq"]), (&json!(status), &json!(number % 50 + 1)));
        }
        // The same in many requests at once, with fifty ids more.
        let publish = |request: usize| {
            let client = client.clone();
            tokio::spawn(async move {
                let ids: Vec<String> =
                    (0..200).map(|place| format!("id-{}", (request * 7 + place) % 100)).collect();
                client.publish_ok(events("t", ids.iter().map(String::as_str))).await
            })
        };
        let results = join_all((0..25).map(publish)).await.into_iter().flat_map(|results| results.unwrap());
        assert_eq!(results.filter(|result| result["status"] == "stored").count(), 50);
        assert_eq!(client.counts().await, (10_000, 100, 9_900));
        assert_eq!(client.stats().await["duplicate_rate"], 0.99);
        let stored = client.all_events().await;
        assert_eq!(ids_of(&stored).into_iter().collect::<BTreeSet<_>>().len(), 100);
        assert_eq!(stored.len(), 100);
        service.database().assert_sound().await;
    });
}

#[test]
fn limit_bounds_the_list() {
    on_both_stores(async |service| {
        let client = &service.client;
        let ids: Vec<String> = (1..=20).map(|number| number.to_string()).collect();
        client.publish_ok(events("t", ids.iter().map(String::as_str))).await;
        assert_eq!(ids_of(&client.events("?limit=5").await), ["20", "19", "18", "17", "16"]);
        assert_eq!(ids_of(&client.events("?limit=1&topic=t").await), ["20"]);
        assert_eq!(client.events("?limit=20").await.len(), 20);
        assert_eq!(client.events("?limit=1000").await.len(), 20);
        for limit in ["0", "1001", "-5", "many"] {
            assert_eq!(client.get(&format!("/events?limit={limit}")).await.status, 422, "{limit}");
        }
    });
}

#[test]
fn a_topic_filters_the_list() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.publish_ok(json!([event("a", "1"), event("b", "2"), event("a", "3"), event("ab", "4")])).await;
        assert_eq!(ids_of(&client.events("?topic=a").await), ["3", "1"]);
        assert_eq!(ids_of(&client.events("?topic=b").await), ["2"]);
        assert_eq!(ids_of(&client.events("?topic=ab").await), ["4"]);
        assert!(client.events("?topic=A").await.is_empty());
        assert!(client.events("?topic=%25").await.is_empty(), "no pattern");
        assert_eq!(ids_of(&client.events("").await), ["4", "3", "2", "1"]);
    });
}

#[test]
fn the_list_is_a_bare_array_that_is_not_empty_once_something_is_stored() {
    on_both_stores(async |service| {
        let client = &service.client;
        assert_eq!(client.get("/events").await.text, "[]");
        client.publish_ok(events("t", ["a", "b"])).await;
        let list = client.get("/events").await.json();
        assert_eq!(ids_of(list.as_array().unwrap()), ["b", "a"]);
        for item in list.as_array().unwrap() {
            for field in ["topic", "event_id", "timestamp", "source", "received_at"] {
                assert!(item[field].is_string(), "{field}: {item}");
            }
            assert!(item["payload"].is_object() && item["seq"].is_u64(), "{item}");
        }
    });
}

#[test]
fn statistics_have_the_same_keys_and_types_at_every_call() {
    on_both_stores(async |service| {
        let client = &service.client;
        let check = async |client: &Client| {
            let stats = client.stats().await;
            let keys: BTreeSet<&str> = stats.as_object().unwrap().keys().map(String::as_str).collect();
            let expected = [
                "received",
                "unique_processed",
                "duplicate_dropped",
                "duplicate_rate",
                "topics",
                "topics_total",
                "by_topic",
                "uptime",
                "uptime_seconds",
                "node",
            ];
            assert_eq!(keys, expected.into());
            for name in ["received", "unique_processed", "duplicate_dropped", "topics_total"] {
                assert!(stats[name].is_u64(), "{name}: {stats}");
            }
            for name in ["duplicate_rate", "uptime", "uptime_seconds"] {
                assert!(stats[name].is_f64(), "{name}: {stats}");
            }
            assert!(stats["topics"].is_array() && stats["by_topic"].is_object() && stats["node"].is_object());
            let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
            (members(&stats["node"]), members(&stats["node"]["writer"]), members(&stats["node"]["shards"][0]))
        };
        let empty = check(client).await;
        client.publish_ok(events("t", ["a", "b"])).await;
        assert_eq!(check(client).await, empty);
        client.publish_ok(events("t", ["a", "b"])).await;
        assert_eq!(check(client).await, empty);
        let service = restart(service).await;
        assert_eq!(check(&service.client).await, empty);
    });
}

#[test]
fn the_statistics_answer_every_call_under_load() {
    on_both_stores(async |service| {
        let publish = |publisher: usize| {
            let client = service.client.clone();
            tokio::spawn(async move {
                for round in 0..30 {
                    client.publish_ok(event("t", &format!("{publisher}-{}", round % 15))).await;
                }
            })
        };
        let ask = |_| {
            let client = service.client.clone();
            tokio::spawn(async move {
                let mut last = (0, 0, 0);
                for _ in 0..50 {
                    let answer = client.get("/stats").await;
                    assert_eq!(answer.status, 200, "{}", answer.text);
                    let (received, unique, duplicates) = client.counts().await;
                    assert_eq!(received, unique + duplicates);
                    assert!(received >= last.0 && unique >= last.1 && duplicates >= last.2);
                    last = (received, unique, duplicates);
                }
            })
        };
        let publishers: Vec<_> = (0..8).map(publish).collect();
        let askers: Vec<_> = (0..8).map(ask).collect();
        for task in join_all(publishers.into_iter().chain(askers)).await {
            task.unwrap();
        }
        assert_eq!(service.client.counts().await, (240, 120, 120));
        service.database().assert_sound().await;
    });
}

#[test]
fn clients_of_the_original_keep_working() {
    on_both_stores(async |service| {
        let client = &service.client;
        let naive = |id: &str| {
            let mut event = event("legacy", id);
            event["timestamp"] = json!("2026-06-18T12:00:00.123456");
            event
        };
        // A single event, a batch in an envelope, with the headers that their libraries send or none.
        let bodies = [naive("single"), json!({"events": [naive("batch-1"), naive("batch-2")]})];
        for (body, accepted) in bodies.iter().zip([1, 2]) {
            for content_type in [
                Some("application/json"),
                Some("application/json; charset=utf-8"),
                None,
                Some("application/json;charset=UTF-8"),
            ] {
                let mut request = client.request("POST", "/publish").body(body.to_string());
                if let Some(content_type) = content_type {
                    request = request.header("content-type", content_type);
                }
                let answer = client.send(request).await.unwrap();
                assert_eq!(answer.status, 200, "{content_type:?}: {}", answer.text);
                assert_eq!(answer.json()["accepted"], accepted, "{content_type:?}");
            }
        }
        assert_eq!(client.counts().await, (12, 3, 9));

        // What was acknowledged is there to be read at once, in a bare array.
        for number in 0..20 {
            let id = format!("visible-{number}");
            client.publish_ok(json!({"events": [naive(&id)]})).await;
            let newest = client.events("?topic=legacy&limit=1").await;
            assert_eq!(newest[0]["event_id"], *id);
            assert_eq!(newest[0]["timestamp"], "2026-06-18T12:00:00.123456Z");
            assert_eq!((&newest[0]["source"], &newest[0]["payload"]), (&json!("test"), &json!({"of": id})));
        }
        let list = client.get("/events?topic=legacy").await.json();
        assert_eq!(list.as_array().map(Vec::len), Some(23));

        let stats = client.stats().await;
        for key in ["received", "unique_processed", "duplicate_dropped"] {
            assert!(stats[key].is_u64(), "{key}");
        }
        let bad = client.publish(json!({"events": [{"topic": "legacy"}]})).await;
        assert!([400, 422].contains(&bad.status), "{}", bad.text);
        assert_eq!(client.get("/health").await.json()["status"], "healthy");
        service.database().assert_sound().await;
    });
}

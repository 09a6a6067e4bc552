//! What publishing promises, and the habits of the clients of the original service.

use std::collections::BTreeSet;

use futures::future::join_all;
use sekali::event::DedupScope;
use serde_json::{Value, json};

use crate::harness::{RunningService, Settings, event, events, on_both_stores, on_both_stores_with};

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

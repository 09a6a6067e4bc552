//! The list of events: order, filters, limit, and the content of an event.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{event, events, on_both_stores};

fn ids_of(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event_id"].as_str().unwrap()).collect()
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

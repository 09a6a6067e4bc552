//! Reading back: pages, cursors, links, single events, HEAD, and payloads to the letter.

use std::time::{SystemTime, UNIX_EPOCH};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sekali::event::Timestamp;
use serde_json::{Value, json};

use crate::harness::{Answer, Client, event, events, on_both_stores};

/// Publishes `count` events of one topic, with the ids `1`, `2`, … equal to their `seq`.
async fn publish_numbered(client: &Client, count: u64) {
    let ids: Vec<String> = (1..=count).map(|seq| seq.to_string()).collect();
    client.publish_ok(events("t", ids.iter().map(String::as_str))).await;
}

async fn get_ok(client: &Client, path: &str) -> Answer {
    let answer = client.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer
}

fn seqs(answer: &Answer) -> Vec<u64> {
    let events = answer.json();
    events.as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

/// The `seq` of every event along the links from `path` on, page by page.
async fn pages(client: &Client, path: &str) -> Vec<Vec<u64>> {
    let mut pages = Vec::new();
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        let answer = get_ok(client, &path).await;
        pages.push(seqs(&answer));
        next = answer.next_link();
    }
    pages
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

#[test]
fn cursors_give_the_range_and_the_order_that_they_promise() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish_numbered(client, 10).await;
        for (query, expected) in [
            ("", vec![10, 9, 8, 7, 6, 5, 4, 3, 2, 1]),
            ("?limit=3", vec![10, 9, 8]),
            ("?before=4", vec![3, 2, 1]),
            ("?before=8&limit=2", vec![7, 6]),
            ("?before=1", vec![]),
            ("?before=0", vec![]),
            ("?before=9223372036854775807&limit=1", vec![10]),
            ("?after=0", vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
            ("?after=7", vec![8, 9, 10]),
            ("?after=2&limit=2", vec![3, 4]),
            ("?after=10", vec![]),
            ("?after=9223372036854775807", vec![]),
            ("?after=3&before=7", vec![4, 5, 6]),
            ("?before=7&after=3&limit=2", vec![4, 5]),
            ("?after=3&before=4", vec![]),
            ("?after=7&before=3", vec![]),
            ("?topic=t&after=8", vec![9, 10]),
        ] {
            assert_eq!(seqs(&get_ok(client, &format!("/events{query}")).await), expected, "{query}");
        }
    });
}

#[test]
fn a_page_holds_a_hundred_events_unless_asked_for_others_and_a_thousand_at_most() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish_numbered(client, 1_001).await;
        assert_eq!(seqs(&get_ok(client, "/events").await), (902..=1_001).rev().collect::<Vec<_>>());
        assert_eq!(seqs(&get_ok(client, "/events?after=0").await), (1..=100).collect::<Vec<_>>());
        assert_eq!(seqs(&get_ok(client, "/events?limit=1").await), [1_001]);
        let largest = get_ok(client, "/events?limit=1000").await;
        assert_eq!(seqs(&largest), (2..=1_001).rev().collect::<Vec<_>>());
        let rest = get_ok(client, &largest.next_link().unwrap()).await;
        assert_eq!((seqs(&rest), rest.next_link()), (vec![1], None));
    });
}

#[test]
fn a_link_leads_on_only_while_there_is_more_and_is_the_only_one() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish_numbered(client, 6).await;
        for (query, leads_on) in [
            ("?limit=5", true),
            ("?limit=6", false),
            ("?limit=7", false),
            ("?before=4&limit=2", true),
            ("?before=4&limit=3", false),
            ("?after=0&limit=5", true),
            ("?after=0&limit=6", false),
            ("?after=3&limit=3", false),
            ("?after=1&before=5&limit=2", true),
            ("?after=1&before=5&limit=3", false),
            ("?after=6", false),
            ("?topic=unknown", false),
        ] {
            let answer = get_ok(client, &format!("/events{query}")).await;
            assert_eq!(answer.next_link().is_some(), leads_on, "{query}");
            assert_eq!(answer.headers.get_all("link").iter().count(), usize::from(leads_on), "{query}");
        }
    });
}

#[test]
fn following_the_links_gives_every_event_exactly_once_both_ways() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish_numbered(client, 25).await;
        let oldest_first: Vec<u64> = (1..=25).collect();
        let newest_first: Vec<u64> = (1..=25).rev().collect();
        for limit in [1, 4, 5, 24, 25, 26] {
            let down = pages(client, &format!("/events?limit={limit}")).await;
            assert_eq!(down.concat(), newest_first, "limit {limit}");
            assert_eq!(down.len(), 25_usize.div_ceil(limit), "no page is empty");
            let up = pages(client, &format!("/events?after=0&limit={limit}")).await;
            assert_eq!(up.concat(), oldest_first, "limit {limit}");
            assert_eq!(up.len(), 25_usize.div_ceil(limit), "no page is empty");
            let range = pages(client, &format!("/events?after=3&before=20&limit={limit}")).await;
            assert_eq!(range.concat(), (4..=19).collect::<Vec<_>>(), "limit {limit}");
        }
        // Events that come while someone reads newest first do not disturb the reading.
        let first = get_ok(client, "/events?limit=10").await;
        client.publish_ok(events("t", ["new-1", "new-2"])).await;
        let rest = pages(client, &first.next_link().unwrap()).await.concat();
        assert_eq!([seqs(&first), rest].concat(), newest_first);
        // Reading on from the last `seq` finds them.
        assert_eq!(seqs(&get_ok(client, "/events?after=25").await), [26, 27]);
    });
}

#[test]
fn links_keep_a_topic_of_any_characters() {
    on_both_stores(async |service| {
        let client = &service.client;
        let topics = ["plain", "a b&c=d?e#f", "50% / é 日本 \u{1f980}", "a+b;\"<c>\"", "a", "%41"];
        for round in 0..5 {
            let batch: Vec<Value> =
                topics.iter().map(|topic| event(topic, &format!("{topic}-{round}"))).collect();
            client.publish_ok(json!(batch)).await;
        }
        for (place, topic) in topics.iter().enumerate() {
            let expected: Vec<u64> =
                (0..5).map(|round| round * topics.len() as u64 + place as u64 + 1).collect();
            let up = pages(client, &format!("/events?topic={}&limit=2&after=0", encoded(topic))).await;
            assert_eq!(up.concat(), expected, "{topic}");
            let down = pages(client, &format!("/events?limit=2&topic={}", encoded(topic))).await;
            let reversed: Vec<u64> = expected.into_iter().rev().collect();
            assert_eq!(down.concat(), reversed, "{topic}");
            let items = client.events(&format!("?topic={}", encoded(topic))).await;
            assert!(items.iter().all(|event| event["topic"] == **topic), "{topic}");
        }
    });
}

#[test]
fn a_page_ends_at_eight_mebibytes_and_holds_at_least_one_event() {
    on_both_stores(async |service| {
        let client = &service.client;
        let large = |id: &str, bytes: usize| {
            let mut event = event("t", id);
            event["payload"] = json!({"text": "x".repeat(bytes)});
            event
        };
        client.publish_ok(json!([large("1", 3_000_000), large("2", 3_000_000), event("t", "3")])).await;
        client.publish_ok(large("4", 9_000_000)).await;
        client.publish_ok(json!([large("5", 3_000_000), large("6", 3_000_000), large("7", 3_000_000)])).await;

        assert_eq!(pages(client, "/events").await, [vec![7, 6], vec![5], vec![4], vec![3, 2, 1]]);
        assert_eq!(pages(client, "/events?after=0").await, [vec![1, 2, 3], vec![4], vec![5, 6], vec![7]]);
        assert_eq!(pages(client, "/events?topic=t&after=2&before=6").await, [vec![3], vec![4], vec![5]]);
        let page = client.events("?after=3&limit=1").await;
        assert_eq!(page[0]["payload"]["text"].as_str().map(str::len), Some(9_000_000));
        service.database().assert_sound().await;
    });
}

#[test]
fn an_unknown_topic_and_an_empty_database_are_empty_arrays() {
    on_both_stores(async |service| {
        let client = &service.client;
        for path in ["/events", "/events?topic=t", "/events?after=0", "/events?after=0&before=9"] {
            let answer = get_ok(client, path).await;
            assert_eq!((answer.text.as_str(), answer.next_link()), ("[]", None), "{path}");
            assert_eq!(answer.header("content-type"), Some("application/json"));
        }
        client.publish_ok(event("t", "a")).await;
        for path in
            ["/events?topic=T", "/events?topic=unknown", "/events?topic=t%20", "/events?topic=tt&after=0"]
        {
            assert_eq!(get_ok(client, path).await.text, "[]", "{path}");
        }
    });
}

#[test]
fn a_parameter_that_is_not_understood_is_refused_by_its_name() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish_numbered(client, 3).await;
        let long = "x".repeat(256);
        for (query, name) in [
            ("offset=1", "offset"),
            ("limit=2&Topic=t", "Topic"),
            ("limit", "limit"),
            ("limit=", "limit"),
            ("limit=1&limit=1", "limit"),
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=-1", "limit"),
            ("limit=%2B1", "limit"),
            ("limit=1.0", "limit"),
            ("limit=1e2", "limit"),
            ("limit=ten", "limit"),
            ("limit=%201", "limit"),
            ("limit=99999999999999999999", "limit"),
            ("before=", "before"),
            ("before=-1", "before"),
            ("before=9223372036854775808", "before"),
            ("before=2&before=3", "before"),
            ("after=x", "after"),
            ("after=", "after"),
            ("after=9223372036854775808", "after"),
            ("after=0&limit=1&after=0", "after"),
            ("topic=", "topic"),
            ("topic=t&topic=t", "topic"),
            ("topic=%20", "topic"),
            ("topic=a%00b", "topic"),
            ("topic=a%0Ab", "topic"),
            ("topic=%FF", "topic"),
            ("limit=2&topic=a%ED%A0%80b", "topic"),
            (&format!("topic={long}"), "topic"),
        ] {
            let answer = client.get(&format!("/events?{query}")).await;
            assert_eq!(answer.status, 422, "{query}: {}", answer.text);
            assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{query}");
            let problem = answer.json();
            assert!(problem["detail"].as_str().unwrap().contains(name), "{query}: {}", answer.text);
            assert_eq!((&problem["status"], &problem["retryable"]), (&json!(422), &json!(false)));
            assert!(problem["type"].is_string() && problem["title"].is_string());
        }
        for query in ["topic=t&topic=t", "topic=", "topic=%FF", "limit=1", "Topic=t", "before=1"] {
            assert_eq!(client.get(&format!("/events/1?{query}")).await.status, 422, "{query}");
        }
    });
}

#[test]
fn one_event_is_found_by_an_id_of_any_characters() {
    on_both_stores(async |service| {
        let client = &service.client;
        let long = "é".repeat(127);
        let ids = [
            "plain",
            "a/b",
            "/a",
            "a/",
            "a//b",
            "a b",
            "50%",
            "%41",
            "what?",
            "a#b",
            "a+b",
            "a&b=c",
            "日本",
            "\u{1f980}",
            "\"quoted\"",
            "back\\slash",
            "..a",
            ":",
            &long,
        ];
        let batch: Vec<Value> = ids.iter().map(|id| event("t", id)).collect();
        client.publish_ok(json!(batch)).await;
        for (place, id) in ids.iter().enumerate() {
            let path = format!("/events/{}", encoded(id));
            let answer = get_ok(client, &path).await;
            assert_eq!(answer.header("content-type"), Some("application/json"));
            let found = answer.json();
            assert_eq!(found["event_id"], **id);
            assert_eq!(found["seq"], place as u64 + 1);
            assert_eq!(found["payload"], json!({"of": id}));
            assert_eq!(client.events("?after=0").await[place], found, "one event looks as it does in a page");
            assert_eq!(get_ok(client, &format!("{path}?topic=t")).await.json(), found);
            assert_eq!(client.get(&format!("{path}?topic=u")).await.status, 404, "{id}");
        }
        // A slash needs no encoding in a path, and neither do these.
        for (path, id) in
            [("/events/a/b", "a/b"), ("/events/a+b", "a+b"), ("/events/a&b=c", "a&b=c"), ("/events/:", ":")]
        {
            assert_eq!(get_ok(client, path).await.json()["event_id"], id);
        }
    });
}

#[test]
fn an_id_that_is_unknown_or_impossible_is_not_found() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.publish_ok(event("t", "a")).await;
        let long = "x".repeat(256);
        let paths =
            ["A", "b", "a/", "a%20", "", "%20", "%00", "a%00", "a%0A", "%FF", "a%ED%A0%80", "%C2%85", &long];
        for id in paths {
            let answer = client.get(&format!("/events/{id}")).await;
            assert_eq!(answer.status, 404, "{id}: {}", answer.text);
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
            assert_eq!(answer.json()["retryable"], false);
        }
    });
}

#[test]
fn head_answers_as_get_does_without_the_body() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish_numbered(client, 3).await;
        for path in [
            "/events",
            "/events?limit=2",
            "/events?topic=unknown",
            "/events?limit=0",
            "/events/1",
            "/events/unknown",
            "/health",
            "/livez",
            "/readyz",
            "/stats",
            "/nowhere",
        ] {
            let get = client.get(path).await;
            let head = client.send(client.request("HEAD", path)).await.unwrap();
            assert_eq!(head.status, get.status, "{path}");
            assert_eq!(head.text, "", "{path}");
            for header in ["content-type", "link"] {
                assert_eq!(head.header(header), get.header(header), "{path}: {header}");
            }
            // The uptime in /stats has more digits now and then.
            if path != "/stats" {
                assert_eq!(head.header("content-length"), get.header("content-length"), "{path}");
                assert_eq!(get.header("content-length"), Some(get.text.len().to_string().as_str()), "{path}");
            }
        }
        assert_eq!(client.counts().await, (3, 3, 0));
    });
}

#[test]
fn a_payload_keeps_every_digit_and_letter() {
    on_both_stores(async |service| {
        let client = &service.client;
        let payload = concat!(
            r#"{"b": 1.10, "a":1e-7,"big":123456789012345678901234567890, "neg":-0.0, "exp":1E+5,"one":1.0,"#,
            r#""max":1.7976931348623157e308,"tiny":4.9e-400, "esc":"\u00e9\ud83e\udd80\/\n\\u0000","#,
            r#" "plain":"é🦀/", "nested" : { "x" : [ 1 , null , true , { } , [ ] ] }, "":0, "b":"again" }"#
        );
        let body = |id: &str| {
            format!(
                r#"{{"topic":"t","event_id":"{id}","timestamp":"2026-06-18T12:00:00Z","source":"s","payload":{payload}}}"#
            )
        };
        client.publish_ok(body("alone")).await;
        client.publish_ok(format!("[{},{}]", body("first"), body("second"))).await;
        client.publish_ok(format!(r#"{{"events":[{}]}}"#, body("wrapped"))).await;
        for id in ["alone", "first", "second", "wrapped"] {
            let text = client.get(&format!("/events/{id}")).await.text;
            assert!(text.contains(&format!("\"payload\":{payload},\"received_at\"")), "{id}: {text}");
        }
        let page = client.get("/events?topic=t").await.text;
        assert_eq!(page.matches(payload).count(), 4, "{page}");
        service.database().assert_sound().await;
    });
}

#[test]
fn received_at_is_the_time_of_storing_in_utc() {
    on_both_stores(async |service| {
        let client = &service.client;
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
        // The database's clock need not be this one to the second.
        let earliest = now() - 60_000_000;
        for id in ["a", "b", "c"] {
            client.publish_ok(event("t", id)).await;
        }
        client.publish_ok(events("t", ["d", "e"])).await;
        let latest = now() + 60_000_000;

        let moments: Vec<Timestamp> = client
            .all_events()
            .await
            .iter()
            .map(|event| {
                let text = event["received_at"].as_str().unwrap();
                let moment = Timestamp::parse(text).unwrap();
                // `…T…[.ffffff]Z` and no other form reads back as itself.
                assert_eq!(moment.to_string(), text);
                moment
            })
            .collect();
        assert_eq!(moments.len(), 5);
        assert!(moments.is_sorted(), "{moments:?}");
        assert_eq!(moments[3], moments[4], "one transaction is one moment");
        assert!(
            moments.iter().all(|moment| (earliest..=latest).contains(&moment.unix_micros())),
            "{moments:?}"
        );
    });
}

#[test]
fn an_item_has_its_seven_members_in_their_order() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.publish_ok(event("t", "a")).await;
        let text = client.get("/events/a").await.text;
        let start = r#"{"seq":1,"topic":"t","event_id":"a","timestamp":"2026-06-18T12:00:00.123456Z","source":"test","payload":{"of":"a"},"received_at":""#;
        assert!(text.starts_with(start), "{text}");
        assert!(text.ends_with("Z\"}"), "{text}");
        assert_eq!(client.get("/events").await.text, format!("[{text}]"));
    });
}

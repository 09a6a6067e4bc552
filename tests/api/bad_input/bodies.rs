//! Bodies that hold no events, or are not JSON, and what a refusal costs.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{FIELDS, Refusal, are_refused, check, good, named, nothing_happened, with, without};
use crate::harness::{event, on_both_stores};

#[test]
fn events_of_the_wrong_shape_are_refused_with_every_place() {
    let mut refusals = Vec::new();
    for (value, kind) in [
        ("null", "null"),
        ("[]", "an array"),
        (r#""{}""#, "a string"),
        ("1", "a number"),
        ("false", "a boolean"),
    ] {
        let says = format!("must be an object, not {kind}");
        refusals.push(Refusal::at("/payload", &says, with("payload", value)));
    }
    for (field, value) in FIELDS {
        let pointer = format!("/{field}");
        refusals.push(Refusal::at(&pointer, "missing", without(field)));
        let twice = good().replacen('{', &format!("{{\"{field}\":{value},"), 1);
        refusals.push(Refusal::at(&pointer, "twice", twice));
        let other_case = without(field).replacen('{', &format!("{{\"{}\":{value},", field.to_uppercase()), 1);
        refusals.push(Refusal::at(&pointer, "missing", other_case));
    }
    let twice_in_disguise = good().replacen('{', r#"{"top\u0069c":"t","#, 1);
    refusals.push(Refusal::at("/topic", "twice", twice_in_disguise));
    let everything = r#"{"topic":1,"event_id":"","timestamp":"x","payload":{"a":["\u0000"]}}"#;
    let all = ["/topic", "/event_id", "/timestamp", "/source", "/payload/a/0"];
    let places = all.map(|pointer| (0, pointer.to_owned())).to_vec();
    refusals.push(Refusal { body: everything.into(), status: 422, places, says: "missing".to_owned() });
    let places = ["/topic", "/event_id", "/timestamp", "/source", "/payload"];
    let places = places.map(|pointer| (0, pointer.to_owned())).to_vec();
    refusals.push(Refusal { body: "{}".into(), status: 422, places, says: "missing".to_owned() });
    for (element, kind) in [
        ("null", "null"),
        ("1", "a number"),
        (r#""e""#, "a string"),
        ("[]", "an array"),
        ("[{}]", "an array"),
        ("true", "a boolean"),
        (r#""\u0000""#, "a string"),
    ] {
        for body in [format!("[{element}]"), format!(r#"{{"events":[{element}]}}"#)] {
            let places = vec![(0, String::new())];
            let says = format!("must be an object, not {kind}");
            refusals.push(Refusal { body: body.into(), status: 422, places, says });
        }
    }
    on_both_stores(async |service| {
        for refusal in &refusals {
            let answer = service.client.try_publish(refusal.body.clone()).await.unwrap();
            check(refusal, &answer, 0);
        }
        nothing_happened(&service).await;
    });
}

#[test]
fn bodies_that_hold_no_events_say_what_was_expected() {
    let refusals = [
        Refusal::whole(422, "no events", "[]"),
        Refusal::whole(422, "no events", r#"{"events":[]}"#),
        Refusal::whole(422, "no events", r#" {"events": [ ] , "note": 1} "#),
        Refusal::whole(422, "`events` must be an array, not null", r#"{"events":null}"#),
        Refusal::whole(422, "`events` must be an array, not an object", r#"{"events":{}}"#),
        Refusal::whole(422, "`events` must be an array, not a string", r#"{"events":"[]"}"#),
        Refusal::whole(422, "`events` must be an array, not a number", r#"{"events":1}"#),
        Refusal::whole(422, "twice", r#"{"events":[],"events":[]}"#),
        Refusal::whole(422, "/if is refused", r#"{"if":{"topics":["t"],"after":0},"events":[]}"#),
        Refusal::whole(422, "must be an event, an array of events or an object", "null"),
        Refusal::whole(422, "must be an event, an array of events or an object", "1"),
        Refusal::whole(422, "must be an event, an array of events or an object", "true"),
        Refusal::whole(422, "must be an event, an array of events or an object", r#""events""#),
    ];
    on_both_stores(async |service| are_refused(&service, &refusals).await);
}

#[test]
fn what_is_not_json_is_refused_with_line_and_column() {
    let good = good();
    let mut refusals = Vec::new();
    for (body, place) in [
        (String::new(), "line 1 column 1"),
        ("  \n ".to_owned(), "line 1 column 1"),
        ("x".to_owned(), "line 1 column 1"),
        (r#"{"events":["#.to_owned(), "line 1 column 11"),
        (good[..good.len() - 1].to_owned(), &format!("line 1 column {}", good.len() - 1)),
        (format!("{good}\n{good}"), "line 2 column 1"),
        (format!("{good},"), &format!("line 1 column {}", good.len() + 1)),
        (format!("{good}\n\n  x"), "line 3 column 3"),
        (with("payload", "{\"n\":NaN}"), "line 1"),
        (with("payload", "{\"n\":Infinity}"), "line 1"),
        (with("payload", "{\"n\":01}"), "line 1"),
        (with("payload", "{\"n\":.5}"), "line 1"),
        (with("payload", "{\"n\":+1}"), "line 1"),
        (with("payload", "{\"n\":1.}"), "line 1"),
        (with("payload", "{\"n\":0x10}"), "line 1"),
        (with("payload", "{\"n\":1,}"), "line 1"),
        (with("payload", "{n:1}"), "line 1"),
        (with("payload", r#"{"n":"\x00"}"#), "line 1"),
        (with("payload", r#"{"n":"\u00g0"}"#), "line 1"),
        (with("payload", "{\"n\":\"a\tb\"}"), "line 1"),
        (with("payload", "{\"n\":\"a\0b\"}"), "line 1"),
        (good.replace('"', "'"), "line 1 column 2"),
        (format!("/* hello */ {good}"), "line 1 column 1"),
        (format!("[{good} // one\n]"), "line 1"),
        (format!("[{good} {good}]"), "line 1"),
        (format!("[{good},]"), "line 1"),
        (format!("\u{feff}{good}"), "line 1 column 1"),
        (format!("\u{a0}{good}"), "line 1 column 1"),
        ("topic=t&event_id=a".to_owned(), "line 1"),
        ("undefined".to_owned(), "line 1 column 1"),
    ] {
        refusals.push(Refusal::whole(400, place, body));
    }
    for invalid in [&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"] {
        let mut body = b"{\n \"topic\": \"".to_vec();
        body.extend_from_slice(invalid);
        body.extend_from_slice(b"\"}");
        refusals.push(Refusal::whole(400, "line 2 column 12", body));
    }
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    refusals.push(Refusal::whole(400, "line 1 column 2", utf16));
    refusals.push(Refusal::whole(400, "line 1 column 2", b"\x1f\x8b\x08\0\0".to_vec()));
    refusals.push(Refusal::whole(400, "line 1 column 1", vec![0; 5_000]));
    on_both_stores(async |service| are_refused(&service, &refusals).await);
}

#[test]
fn at_most_a_hundred_faults_are_named_in_index_order() {
    on_both_stores(async |service| {
        let bad = |index: usize| if index.is_multiple_of(2) { without("topic") } else { good() };
        let bodies = |count| (0..count).map(bad).collect::<Vec<_>>().join(",");
        let even = |count: u64| (0..count).map(|place| (place * 2, "/topic".to_owned())).collect::<Vec<_>>();
        for (events, faults) in [(199, 100), (200, 100), (201, 100), (10_000, 100), (197, 99)] {
            let answer = service.client.publish(format!("[{}]", bodies(events))).await;
            let problem = answer.problem(422);
            assert_eq!(answer.faults(), even(faults), "{events} events");
            let says = if faults < 100 { "99 of the request's" } else { "at least 100 of the request's" };
            assert!(problem["detail"].as_str().unwrap().starts_with(says), "{problem}");
        }
        // Faults within one event count like any other.
        let nuls = vec![r#""\u0000""#; 250].join(",");
        let answer = service.client.publish(with("payload", &format!(r#"{{"n":[{nuls}]}}"#))).await;
        answer.problem(422);
        let places: Vec<_> = (0..100).map(|place| (0, format!("/payload/n/{place}"))).collect();
        assert_eq!(answer.faults(), places);
        nothing_happened(&service).await;
    });
}

#[test]
fn a_refusal_costs_little_however_hostile_the_body() {
    let some = 150_000;
    let bodies = [
        // Each of the faults lies behind a huge key, whose text its pointer would repeat.
        with(
            "payload",
            &format!(r#"{{"{}":[{}]}}"#, "k".repeat(15 * some), vec![r#""\u0000""#; 200].join(",")),
        ),
        // Each of the faults lies 60 levels deep, at the end of millions of small values.
        with(
            "payload",
            &format!(
                "{}{}[[{}],{}]{}{}",
                r#"{"a":"#.repeat(30),
                "[".repeat(30),
                vec!["0"; 6 * some].join(","),
                vec![r#""\ud800""#; 200].join(","),
                "]".repeat(30),
                "}".repeat(30)
            ),
        ),
        // Millions of faults.
        with("payload", &format!(r#"{{"n":"{}"}}"#, r"\u0000".repeat(2 * some))),
        with("extra", &format!("[{}]", vec!["1e999"; 2 * some].join(","))),
        format!(r#"{{"topic":"{}"}}"#, r"\udead".repeat(2 * some)),
        format!("[{}]", vec!["0"; 8 * some].join(",")),
        format!("[{}]", vec!["{}"; 10_000].join(",")),
    ];
    on_both_stores(async |service| {
        for body in &bodies {
            let begun = Instant::now();
            let answer = service.client.publish(body).await;
            let shown = body.chars().take(100).collect::<String>();
            assert!([413, 422].contains(&answer.status), "{shown}: {}", answer.status);
            answer.problem(answer.status);
            assert!(answer.text.len() < 200_000, "{shown}: an answer of {} bytes", answer.text.len());
            assert!(begun.elapsed() < Duration::from_secs(10), "{shown}: took {:?}", begun.elapsed());
        }
        nothing_happened(&service).await;
    });
}

#[test]
fn statements_of_sql_are_text_like_any_other() {
    let names = [
        "'; DROP TABLE events; --",
        "'); DROP SCHEMA sekali CASCADE; --",
        "\" OR \"\"=\"",
        "1 OR 1=1",
        "%' OR topic LIKE '%",
        "_%",
        "$1",
        "$$; SELECT pg_sleep(10); $$",
        "?1",
        ":topic",
        "\\'; DELETE FROM events; --",
        "{\"a\",NULL}",
        "NULL",
        "a,b",
        "{}",
        "../../etc/passwd",
        "%00",
        "%2e%2e%2f",
        "<script>alert(1)</script>",
        "${jndi:ldap://x}",
        "a;b&c=d#e?f",
    ];
    on_both_stores(async |service| {
        let client = &service.client;
        for (place, name) in names.iter().enumerate() {
            let mut event = event(name, name);
            event["source"] = json!(name);
            event["payload"] = json!({*name: name});
            client.publish_ok(&event).await;
            let seq = place as u64 + 1;
            let encoded: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
            let page = client.events(&format!("?topic={encoded}")).await;
            assert_eq!(page.len(), 1, "{name}");
            let path = encoded.replace('+', "%20");
            let single = client.get(&format!("/events/{path}")).await.json();
            assert_eq!(single, page[0], "{name}");
            assert_eq!(single["seq"], seq);
            for field in ["topic", "event_id", "source", "payload"] {
                assert_eq!(single[field], event[field], "{name}");
            }
        }
        assert_eq!(client.counts().await, (names.len() as u64, names.len() as u64, 0));
        assert_eq!(client.stats().await["topics"], json!(names));
        assert_eq!(client.all_events().await.len(), names.len());
        service.database().assert_sound().await;
    });
}

#[test]
fn bad_requests_among_good_ones_harm_none_of_them() {
    let bad = [
        with("topic", r#""\u0000""#),
        with("payload", r#"{"n":1e400000}"#),
        format!("[{},{}]", named("never-1", &good()), with("timestamp", "\"x\"")),
        "{".to_owned(),
        "[]".to_owned(),
        format!("[{}]", "{},".repeat(20_000) + "{}"),
    ];
    on_both_stores(async |service| {
        const WORKERS: usize = 8;
        const ROUNDS: usize = 40;
        let workers = (0..WORKERS).map(|worker| {
            let (client, bad) = (service.client.clone(), bad.clone());
            tokio::spawn(async move {
                for round in 0..ROUNDS {
                    if (worker + round) % 2 == 0 {
                        let refused = client.publish(&bad[(worker / 2 + round) % bad.len()]).await;
                        assert!([400, 413, 422].contains(&refused.status), "{}", refused.status);
                    }
                    // An event of its own, one that all workers share, and one twice.
                    let own = format!("{worker}-{round}");
                    let ids = [own.as_str(), &format!("shared-{round}"), &own];
                    let results = client.publish_ok(crate::harness::events("t", ids)).await;
                    assert_eq!(results[0]["status"], "stored");
                    assert_eq!(results[2]["status"], "duplicate");
                    assert_eq!(results[2]["seq"], results[0]["seq"]);
                }
            })
        });
        for worker in workers.collect::<Vec<_>>() {
            worker.await.unwrap();
        }
        let (received, unique) = ((WORKERS * ROUNDS * 3) as u64, (WORKERS * ROUNDS + ROUNDS) as u64);
        assert_eq!(service.client.counts().await, (received, unique, received - unique));
        assert_eq!(service.client.all_events().await.len() as u64, unique);
        service.database().assert_sound().await;
    });
}

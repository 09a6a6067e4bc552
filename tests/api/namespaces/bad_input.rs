//! Names, settings, bodies and namespaces that cannot be.

use std::time::Duration;

use futures::stream;
use reqwest::Body;
use serde_json::json;

use super::{NO_NAMESPACE, counts, create, detail, names, publish_ok, put, put_body, send};
use crate::harness::{
    Settings, event, eventually, on_both_stores, on_both_stores_with,
    raw::{Raw, publish_head},
};

const SETTINGS_BYTES_MAX: usize = 64 * 1024;

fn put_head(path: &str, lines: &str) -> String {
    format!("PUT {path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n{lines}\r\n\r\n")
}

#[test]
fn names_that_cannot_be_are_refused_with_the_rule_on_every_route() {
    on_both_stores(async |service| {
        let client = &service.client;
        let long = "a".repeat(64);
        for (name, rule) in [
            ("A", "a-z, 0-9 and -"),
            ("a_b", "a-z, 0-9 and -"),
            ("a.b", "a-z, 0-9 and -"),
            ("a%2Fb", "a-z, 0-9 and -"),
            ("a%20b", "a-z, 0-9 and -"),
            ("caf%C3%A9", "a-z, 0-9 and -"),
            ("%00", "a-z, 0-9 and -"),
            ("%FF", "a-z, 0-9 and -"),
            ("-a", "begin with a letter or a digit"),
            (&long, "1 to 63 characters"),
        ] {
            for (method, path) in [
                ("PUT", ""),
                ("GET", ""),
                ("DELETE", "?confirm=a"),
                ("POST", "/publish"),
                ("GET", "/events"),
                ("GET", "/events/a"),
                ("GET", "/topics"),
                ("GET", "/stats"),
            ] {
                let problem = send(client, method, &format!("/namespaces/{name}{path}")).await.problem(422);
                assert!(detail(&problem).contains(rule), "{method} {name}{path}: {problem}");
            }
        }
        assert_eq!(names(client).await, ["default"]);
        let longest = "9".repeat(63);
        for name in ["a", "0", "a-", "0-0", &longest] {
            create(client, name, json!({})).await;
            assert_eq!(publish_ok(client, name, event("t", "a")).await[0].1, 1);
        }
        // An encoded letter is that letter.
        assert_eq!(client.get("/namespaces/%61").await.json()["name"], "a");
        assert_eq!(client.get("/namespaces/%61/events/a").await.json()["seq"], 1);
    });
}

#[test]
fn settings_that_cannot_be_are_refused_and_create_nothing() {
    on_both_stores(async |service| {
        let client = &service.client;
        for body in ["{", "[", "nope", "{\"dedup_scope\":\"topic\"} x", "{\"unknown\":1, nope}", " "] {
            let problem = put(client, "a", body).await.problem(400);
            assert!(detail(&problem).contains("line 1 column"), "{body}: {problem}");
        }
        put_body(client, "a", b"{\"dedup_scope\":\"\xff\"}".to_vec()).await.problem(400);
        let deep = "[".repeat(30_000) + &"]".repeat(30_000);
        for (body, names) in [
            ("[]", "object"),
            ("[\"topic\"]", "object"),
            ("\"topic\"", "object"),
            ("null", "object"),
            ("5", "object"),
            (&deep, "object"),
            (r#"{"dedup_scope":"source"}"#, "dedup_scope"),
            (r#"{"dedup_scope":"Topic"}"#, "dedup_scope"),
            (r#"{"dedup_scope":""}"#, "dedup_scope"),
            (r#"{"dedup_scope":5}"#, "integer `5`"),
            (r#"{"dedup_scope":["topic"]}"#, "sequence"),
            (r#"{"dedup_scope":"topic","dedup_scope":"topic"}"#, "dedup_scope"),
            (r#"{"scope":"topic"}"#, "`scope`"),
            (r#"{"Dedup_scope":"topic"}"#, "`Dedup_scope`"),
            (r#"{"dedup_scope":"topic","extra":null}"#, "`extra`"),
            (r#"{"retention":{"events":"30d"}}"#, "`retention` cannot be set in this version"),
            (r#"{"retention":"forever","dedup_scope":"topic"}"#, "`retention`"),
        ] {
            let problem = put(client, "a", body).await.problem(422);
            assert_eq!(problem["type"], "urn:sekali:problem:invalid-settings");
            assert!(detail(&problem).contains(names), "{body:.80}: {problem}");
        }
        send(client, "PUT", "/namespaces/a?dedup_scope=topic").await.problem(422);
        assert_eq!(names(client).await, ["default"]);
    });
}

#[test]
fn settings_are_checked_in_the_order_of_the_contract() {
    on_both_stores(async |service| {
        let client = &service.client;
        let too_large = "{".repeat(SETTINGS_BYTES_MAX + 1);
        for (headers, body, status) in [
            (&[("content-type", "text/plain")][..], too_large.as_str(), 415),
            (&[("content-type", "application/json"), ("content-encoding", "gzip")], "{", 415),
            (&[("content-type", "application/json")], &too_large, 413),
            (&[], "{\"unknown\":1", 400),
            (&[("content-type", "application/merge-patch+json")], r#"{"unknown":1}"#, 422),
        ] {
            let mut request = client.request("PUT", "/namespaces/a");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let answer = client.send(request.body(body.to_owned())).await.unwrap();
            answer.problem(status);
        }
        // What does not say how long it is has the same limit.
        let pieces = [(); 2].map(|()| Ok::<_, std::io::Error>(vec![b' '; 40_000]));
        let answer = put_body(client, "a", Body::wrap_stream(stream::iter(pieces))).await;
        assert!(detail(&answer.problem(413)).contains("65536"));
        let mut raw = Raw::connect(service.address).await;
        raw.send(put_head("/namespaces/a", "Content-Length: 65537")).await;
        raw.answer().await.problem(413);
        // A body that is as large as it may be, most of it space.
        let settings = json!({"dedup_scope": "topic"}).to_string();
        let largest = " ".repeat(SETTINGS_BYTES_MAX - settings.len()) + &settings;
        assert_eq!(put(client, "largest", largest).await.status, 201);
        assert_eq!(names(client).await, ["default", "largest"]);
    });
}

#[test]
fn an_unknown_namespace_is_404_that_says_how_to_create_it() {
    on_both_stores(async |service| {
        let client = &service.client;
        for (method, path) in [
            ("GET", ""),
            ("GET", "?unknown=1"),
            ("DELETE", "?confirm=none"),
            ("POST", "/publish"),
            ("GET", "/events"),
            ("GET", "/events?limit=0"),
            ("GET", "/events?event_id=a"),
            ("GET", "/events/a"),
            ("GET", "/stats"),
        ] {
            let problem = send(client, method, &format!("/namespaces/none{path}")).await.problem(404);
            assert_eq!(problem["type"], NO_NAMESPACE, "{method} {path}");
            assert!(detail(&problem).contains("PUT /namespaces/none"), "{problem}");
        }
        // Before anything is said of the headers or the body.
        for headers in [[("content-type", "text/plain")], [("content-encoding", "gzip")]] {
            let request =
                client.request("POST", "/namespaces/none/publish").header(headers[0].0, headers[0].1);
            client.send(request.body("{")).await.unwrap().problem(404);
        }
        create(client, "none", json!({})).await;
        assert_eq!(counts(client, "none").await, (0, 0, 0));
    });
}

#[test]
fn an_unknown_namespace_is_refused_before_its_body_has_come() {
    on_both_stores(async |service| {
        let ledgers_open = service.handle.node().ledgers;
        for lines in ["Content-Length: 1000000", "Transfer-Encoding: chunked", "Content-Length: 99999999999"]
        {
            for name in ["a", "b"] {
                let mut raw = Raw::connect(service.address).await;
                let head = publish_head(lines).replace("/publish", &format!("/namespaces/{name}/publish"));
                raw.send(head).await;
                let problem = raw.answer().await.problem(404);
                assert_eq!(problem["type"], NO_NAMESPACE);
            }
        }
        // Names that somebody made up leave nothing behind, whether or not the answer was waited for.
        for name in 0..20 {
            let mut raw = Raw::connect(service.address).await;
            raw.send(format!("GET /namespaces/made-up-{name}/stats HTTP/1.1\r\nHost: test\r\n\r\n")).await;
        }
        eventually("nothing is left of the names", async || {
            service.client.get("/namespaces/made-up/stats").await.problem(404);
            service.handle.node().ledgers == ledgers_open
        })
        .await;
    });
}

#[test]
fn pages_of_another_origin_change_no_namespace() {
    on_both_stores(async |service| {
        let client = &service.client;
        create(client, "a", json!({})).await;
        for (method, path) in [
            ("PUT", "/namespaces/b"),
            ("DELETE", "/namespaces/a?confirm=a"),
            ("POST", "/namespaces/a/publish"),
            ("PUT", "/namespaces/A"),
        ] {
            for header in [("origin", "http://evil.example"), ("sec-fetch-site", "cross-site")] {
                let request = client.request(method, path).header(header.0, header.1);
                let request = request.header("content-type", "application/json");
                let answer = client.send(request.body(event("t", "x").to_string())).await.unwrap();
                assert_eq!(answer.problem(403)["type"], "urn:sekali:problem:foreign-origin");
            }
        }
        assert_eq!(names(client).await, ["a", "default"]);
        assert_eq!(counts(client, "a").await, (0, 0, 0));
        // Its own pages may, and so may those that read.
        let own = client.request("PUT", "/namespaces/b").header("origin", service.url());
        assert_eq!(client.send(own).await.unwrap().status, 201);
        let foreign = client.request("GET", "/namespaces").header("origin", "http://evil.example");
        assert_eq!(client.send(foreign).await.unwrap().status, 200);
    });
}

#[test]
fn settings_come_at_a_pace_and_take_memory_like_any_body() {
    let change = |settings: &mut Settings| {
        settings.config.body_timeout = Duration::from_secs(1);
        settings.config.body_bytes_max = 128 * 1024;
        settings.config.bytes_in_flight_max = 128 * 1024;
    };
    on_both_stores_with(change, async |service| {
        let client = &service.client;
        let mut slow = Raw::connect(service.address).await;
        slow.send(put_head("/namespaces/slow", "Content-Length: 100")).await;
        slow.send("{").await;
        slow.answer().await.problem(408);

        // Somebody's body has all the memory but a little.
        let mut holds = Raw::connect(service.address).await;
        holds.send(publish_head("Content-Length: 131072")).await;
        holds.send(" ".repeat(131_000)).await;
        eventually("the body has come", async || {
            client.stats().await["node"]["in_flight"]["bytes"].as_u64() >= Some(131_000)
        })
        .await;
        let settings = format!("{:>200}", "{}");
        put(client, "a", &settings).await.problem(503);
        drop(holds);
        eventually("the memory is free", async || put(client, "a", &settings).await.status < 300).await;
        assert_eq!(names(client).await, ["a", "default"]);
    });
}

#[test]
fn a_body_that_nobody_asked_for_is_not_waited_for() {
    on_both_stores(async |service| {
        create(&service.client, "a", json!({})).await;
        for (request, status) in [
            ("GET /namespaces", 200),
            ("GET /namespaces/a", 200),
            ("GET /namespaces/a/events", 200),
            ("POST /namespaces/a", 405),
            ("PUT /namespaces/A", 422),
            ("DELETE /namespaces/a", 422),
            ("DELETE /namespaces/a?confirm=a", 204),
        ] {
            for lines in ["Content-Length: 1000", "Transfer-Encoding: chunked"] {
                let mut raw = Raw::connect(service.address).await;
                raw.send(format!("{request} HTTP/1.1\r\nHost: test\r\n{lines}\r\n\r\n")).await;
                let answer = raw.answer().await;
                // The second deletion finds nothing.
                let found = if status == 204 && lines.starts_with('T') { 404 } else { status };
                assert_eq!(answer.status, found, "{request} {lines}: {}", answer.text);
            }
        }
    });
}

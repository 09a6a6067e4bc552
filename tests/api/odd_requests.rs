//! Requests that are wrong outside of their body's JSON: headers, sizes, paths, methods, query strings.

use futures::stream;
use reqwest::Body;
use serde_json::{Value, json};

use crate::harness::{
    Answer, RunningService, event, events, on_both_stores, on_both_stores_with,
    raw::{Raw, publish_bytes, publish_head},
};

const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

async fn nothing_happened(service: &RunningService) {
    assert_eq!(service.client.counts().await, (0, 0, 0));
    assert_eq!(service.client.all_events().await, [] as [Value; 0]);
    assert_eq!(service.client.publish_ok(event("t", "good")).await[0]["seq"], 1);
    let in_flight = &service.client.stats().await["node"]["in_flight"];
    assert_eq!((&in_flight["events"], &in_flight["bytes"]), (&json!(0), &json!(0)));
    service.database().assert_sound().await;
}

async fn post(service: &RunningService, headers: &[(&str, &str)], body: impl Into<Body>) -> Answer {
    let mut request = service.client.request("POST", "/publish");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    service.client.send(request.body(body)).await.unwrap()
}

fn detail(problem: &Value) -> &str {
    problem["detail"].as_str().unwrap()
}

#[test]
fn media_types_and_encodings_that_are_not_understood_are_named_with_those_that_are() {
    on_both_stores(async |service| {
        let good = event("t", "a").to_string();
        for media_type in [
            "text/plain",
            "text/json",
            "application/x-ndjson",
            "application/jsonl",
            "application/xml",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/octet-stream",
            "application/json; charset=utf-16",
            "application/json;charset=\"UTF-16LE\"",
            "application/json; charset=iso-8859-1",
            "application/json; profile=x; charset=utf-32",
            "application/jsonx",
            "json",
            "*/*",
            "+json",
            "application/+json",
        ] {
            let answer = post(&service, &[("content-type", media_type)], good.clone()).await;
            let problem = answer.problem(415);
            assert!(detail(&problem).contains(media_type), "{problem}");
            assert!(detail(&problem).contains("application/json"), "{problem}");
        }
        for encoding in
            ["gzip", "GZIP", "x-gzip", "deflate", "br", "zstd", "wonder", "identity, gzip", "gzip, identity"]
        {
            let headers = [("content-type", "application/json"), ("content-encoding", encoding)];
            let answer = post(&service, &headers, good.clone()).await;
            let problem = answer.problem(415);
            assert!(detail(&problem).contains(encoding), "{problem}");
            assert!(detail(&problem).contains("identity"), "{problem}");
            assert_eq!(answer.header("accept-encoding"), Some("identity"));
        }
        // A header that stands twice counts with all that it says.
        for headers in [
            [("content-encoding", "identity"), ("content-encoding", "gzip")],
            [("content-type", "application/json"), ("content-type", "text/plain")],
        ] {
            post(&service, &headers, good.clone()).await.problem(415);
        }
        nothing_happened(&service).await;
    });
}

#[test]
fn every_way_to_say_json_is_understood() {
    on_both_stores(async |service| {
        for (place, headers) in [
            &[][..],
            &[("content-type", "application/json")],
            &[("content-type", "APPLICATION/JSON")],
            &[("content-type", "application/json; charset=utf-8")],
            &[("content-type", "application/json;charset=\"UTF-8\"")],
            &[("content-type", "application/cloudevents+json")],
            &[("content-type", "application/vnd.x.y+json; v=1")],
            &[("content-type", "text/x+json")],
            &[("content-encoding", "identity")],
            &[("content-encoding", "")],
            &[("accept", "text/html"), ("content-type", "application/json")],
        ]
        .into_iter()
        .enumerate()
        {
            let event = event("t", &format!("id-{place}")).to_string();
            let answer = post(&service, headers, event).await;
            assert_eq!(answer.status, 200, "{headers:?}: {}", answer.text);
        }
    });
}

#[test]
fn a_batch_over_the_limit_is_refused_with_the_limit() {
    on_both_stores(async |service| {
        let ids: Vec<String> = (0..10_001).map(|id| format!("id-{id}")).collect();
        let batch = events("t", ids.iter().map(String::as_str));
        for body in [batch.to_string(), batch["events"].to_string()] {
            let problem = service.client.publish(body).await.problem(413);
            assert!(detail(&problem).contains("10001") && detail(&problem).contains("10000"), "{problem}");
        }
        nothing_happened(&service).await;
        let results = service.client.publish_ok(events("t", ids[..10_000].iter().map(String::as_str))).await;
        assert_eq!((results.len(), &results[9_999]["seq"]), (10_000, &json!(10_001)));
        assert_eq!(service.client.counts().await, (10_001, 10_001, 0));
    });
}

#[test]
fn a_body_over_the_limit_is_refused_in_an_answer_that_can_be_read() {
    on_both_stores(async |service| {
        let names_the_limit = |answer: Answer| {
            let problem = answer.problem(413);
            assert!(detail(&problem).contains(&BODY_BYTES_MAX.to_string()), "{problem}");
        };
        for bytes in [BODY_BYTES_MAX + 1, 20 * 1024 * 1024] {
            for filler in ["x", " "] {
                let body = filler.repeat(bytes);
                names_the_limit(service.client.try_publish(body.clone()).await.unwrap());
                let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
                    body.as_bytes().chunks(100_000).map(|piece| Ok(piece.to_vec())).collect();
                let chunked = Body::wrap_stream(stream::iter(pieces));
                names_the_limit(service.client.try_publish(chunked).await.unwrap());
            }
        }
        // Whoever announces too much and waits for the answer gets it too.
        let mut waiting = Vec::new();
        for length in ["16777217", "99999999999", "18446744073709551615"] {
            let mut client = Raw::connect(service.address).await;
            client.send(publish_head(&format!("Content-Length: {length}"))).await;
            waiting.push(client);
        }
        for mut client in waiting {
            names_the_limit(client.answer().await);
        }
        nothing_happened(&service).await;
    });
}

#[test]
fn a_body_of_the_largest_size_is_taken() {
    on_both_stores(async |service| {
        let mut largest = event("t", "largest");
        largest["payload"] = json!({"text": ""});
        largest["payload"]["text"] = json!("x".repeat(BODY_BYTES_MAX - largest.to_string().len()));
        let body = largest.to_string();
        assert_eq!(body.len(), BODY_BYTES_MAX);
        assert_eq!(service.client.publish_ok(body).await[0]["status"], "stored");
        let stored = service.client.get("/events/largest").await.json();
        assert!(stored["payload"] == largest["payload"], "it comes back whole");
    });
}

#[test]
fn the_checks_come_in_the_order_of_the_contract() {
    on_both_stores(async |service| {
        let json = ("content-type", "application/json");
        let too_large = "{".repeat(BODY_BYTES_MAX + 1);
        let bad_event = r#"{"topic":1}"#;
        let too_many = format!("[{}{bad_event}]", "{},".repeat(10_000));
        let too_many_twice = format!(r#"{{"events":{too_many},"events":[]}}"#);
        for (headers, body, status) in [
            (&[("content-type", "text/plain")][..], too_large.as_str(), 415),
            (&[json, ("content-encoding", "gzip")], &too_large, 415),
            (&[("content-type", "text/plain")], "{", 415),
            (&[json], &too_large, 413),
            (&[json], &too_many, 413),
            (&[json], &too_many_twice, 413),
            (&[json], &format!("[{bad_event},{{]"), 400),
            (&[json], &format!("{bad_event} x"), 400),
            (&[json], r#"{"events":[], "x": nope}"#, 400),
            (&[json], "1 2", 400),
            (&[json], bad_event, 422),
        ] {
            let answer = post(&service, headers, body.to_owned()).await;
            let shown: String = body.chars().take(60).collect();
            assert_eq!(answer.status, status, "{headers:?} {shown}: {}", answer.text);
            answer.problem(status);
        }
        nothing_happened(&service).await;
    });
}

#[test]
fn query_parameters_that_are_unknown_repeated_empty_or_out_of_range_are_refused() {
    on_both_stores(async |service| {
        for (query, names) in [
            ("limit=0", "limit"),
            ("limit=-1", "limit"),
            ("limit=1001", "limit"),
            ("limit=x", "limit"),
            ("limit=", "limit"),
            ("limit", "limit"),
            ("limit=1.5", "limit"),
            ("limit=1e2", "limit"),
            ("limit=+5", "limit"),
            ("limit=%2B5", "limit"),
            ("limit=%205", "limit"),
            ("limit=0x10", "limit"),
            ("limit=%EF%BC%95", "limit"),
            ("limit=99999999999999999999999999", "limit"),
            ("limit=5&limit=5", "limit"),
            ("limit=5;limit=6", "limit"),
            ("limit[]=5", "limit[]"),
            ("Limit=5", "Limit"),
            ("before=-1", "before"),
            ("before=9223372036854775808", "before"),
            ("before=18446744073709551616", "before"),
            ("before=x", "before"),
            ("before=", "before"),
            ("after=-1", "after"),
            ("after=9223372036854775808", "after"),
            ("after=1&after=2", "after"),
            ("after=", "after"),
            ("after=null", "after"),
            ("topic=", "topic"),
            ("topic", "topic"),
            ("topic=a&topic=a", "topic"),
            ("topic=a&t%6Fpic=a", "topic"),
            ("topic=%00", "topic"),
            ("topic=a%0Ab", "topic"),
            ("topic=%20", "topic"),
            ("offset=5", "offset"),
            ("topics=a", "topics"),
            ("=5", "parameter"),
            ("%27%3B%20DROP%20TABLE%20events=1", "DROP"),
        ] {
            let problem = service.client.get(&format!("/events?{query}")).await.problem(422);
            assert!(detail(&problem).contains(names), "{query}: {problem}");
        }
        let long = "x".repeat(256);
        service.client.get(&format!("/events?topic={long}")).await.problem(422);
        for query in ["topic=", "topic=a&topic=a", "limit=5", "topic=%00"] {
            service.client.get(&format!("/events/id?{query}")).await.problem(422);
        }
        for query in
            ["", "?", "?&", "?limit=1", "?limit=1000", "?after=0", "?before=0", "?topic=none", "?limit=007"]
        {
            assert_eq!(service.client.events(query).await, [] as [Value; 0], "{query}");
        }
        let largest = i64::MAX;
        let empty = [] as [Value; 0];
        assert_eq!(service.client.events(&format!("?before={largest}&after={largest}")).await, empty);
        nothing_happened(&service).await;
        assert_eq!(service.client.events(&format!("?before={largest}")).await.len(), 1);
        assert_eq!(service.client.events(&format!("?after={largest}")).await, empty);
    });
}

#[test]
fn odd_paths_and_methods_are_problem_documents_too() {
    on_both_stores(async |service| {
        let client = &service.client;
        for path in [
            "/publis",
            "/publish/",
            "/Publish",
            "//publish",
            "/publish/x",
            "/stats/",
            "/event",
            "/docs/",
            "/openapi.yaml",
            "/favicon.ico",
            "/../../etc/passwd",
            "/%2e%2e/x",
            "/events%2Fa",
            "/%00",
            "/é",
        ] {
            for method in ["GET", "POST", "DELETE"] {
                client.send(client.request(method, path)).await.unwrap().problem(404);
            }
        }
        for id in
            ["none", "%00", "%FF", "%", "%zz", "a%2Fb", "a/b", "", "%20", &"x".repeat(300), "..%2f..%2fetc"]
        {
            client.get(&format!("/events/{id}")).await.problem(404);
        }
        for (path, allowed) in [
            ("/publish", "POST"),
            ("/events", "GET, HEAD"),
            ("/events/a", "GET, HEAD"),
            ("/stats", "GET, HEAD"),
            ("/health", "GET, HEAD"),
            ("/livez", "GET, HEAD"),
            ("/readyz", "GET, HEAD"),
        ] {
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
                if allowed.contains(method) {
                    continue;
                }
                let answer = client.send(client.request(method, path)).await.unwrap();
                answer.problem(405);
                assert_eq!(answer.header("allow"), Some(allowed), "{method} {path}");
            }
        }
        nothing_happened(&service).await;
    });
}

#[test]
fn head_is_answered_like_get_without_the_body() {
    on_both_stores(async |service| {
        service.client.publish_ok(events("t", ["a", "b"])).await;
        let mut raw = Raw::connect(service.address).await;
        for (path, status) in [
            ("/events", 200),
            ("/events?limit=1", 200),
            ("/events/a", 200),
            ("/stats", 200),
            ("/health", 200),
            ("/livez", 200),
            ("/readyz", 200),
            ("/events?limit=0", 422),
            ("/events/none", 404),
            ("/none", 404),
            ("/publish", 405),
        ] {
            raw.send(format!("HEAD {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
            let head = raw.answer_to_head().await;
            assert_eq!(head.status, status, "{path}");
            // Had the answer a body, the next one on this connection would not be readable.
            raw.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
            let get = raw.answer().await;
            for name in ["content-type", "link", "allow"] {
                assert_eq!(head.header(name), get.header(name), "{path}");
            }
        }
    });
}

#[test]
fn broken_http_is_refused_and_harms_nobody() {
    on_both_stores(async |service| {
        let good = event("t", "smuggled").to_string();
        for request in [
            "\r\n\r\n\r\n".to_owned() + "nonsense\r\n\r\n",
            "GET /stats HTTP/9.9\r\nHost: test\r\n\r\n".to_owned(),
            "GET  /stats  HTTP/1.1\r\nHost: test\r\n\r\n".to_owned(),
            "POST /publish HTTP/1.1\r\nHost: test\r\nContent-Length: x\r\n\r\n".to_owned(),
            "POST /publish HTTP/1.1\r\nHost: test\r\nContent-Length: -1\r\n\r\n".to_owned(),
            "POST /publish HTTP/1.1\r\nHost: test\r\nContent-Length: 99999999999999999999999\r\n\r\n"
                .to_owned(),
            "POST /publish HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"
                .to_owned(),
            publish_head("Content-Length: 2\r\nTransfer-Encoding: chunked") + "0\r\n\r\n" + &good,
            publish_head("Transfer-Encoding: gzip, chunked") + "0\r\n\r\n",
            publish_head("Transfer-Encoding: wonder") + &good,
            publish_head("Transfer-Encoding: chunked") + "zz\r\n" + &good,
            publish_head("Transfer-Encoding: chunked") + "ffffffffffffffffff\r\n" + &good,
            publish_head("Transfer-Encoding: chunked") + "-1\r\n" + &good,
            format!("GET /events?topic={} HTTP/1.1\r\nHost: test\r\n\r\n", "x".repeat(200_000)),
            format!("GET /events HTTP/1.1\r\nHost: test\r\nX: {}\r\n\r\n", "x".repeat(200_000)),
            format!("GET /events HTTP/1.1\r\nHost: test\r\n{}\r\n", "X: y\r\n".repeat(1_000)),
            "GET /events HTTP/1.1\r\nHost: test\r\nX\0: y\r\n\r\n".to_owned(),
            "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0".to_owned(), // a TLS handshake
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        ] {
            let mut client = Raw::connect(service.address).await;
            let _ = client.try_send(&request).await; // it may be refused before it is whole
            client.shut_down_sending().await;
            let answer = String::from_utf8_lossy(&client.until_closed().await).into_owned();
            let shown: String = request.chars().take(120).collect();
            let status = answer.split(' ').nth(1).unwrap_or("none");
            assert!(status.starts_with('4'), "{shown:?}: {answer}");
            assert!(answer.contains("application/problem+json"), "{shown:?}: {answer}");
            assert!(answer.contains("\"retryable\":false"), "{shown:?}: {answer}");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{shown:?}: {answer}");
        }
        let mut client = Raw::connect(service.address).await;
        client.send(publish_bytes("{}")).await;
        client.answer().await.problem(422);
        nothing_happened(&service).await;
    });
}

#[test]
fn broken_framing_behind_a_good_request_is_refused_after_its_answer() {
    on_both_stores(async |service| {
        let mut client = Raw::connect(service.address).await;
        client.send("GET /livez HTTP/1.1\r\nHost: test\r\n\r\nnonsense\r\n\r\n").await;
        assert_eq!(client.answer().await.status, 200);
        let refusal = client.answer().await;
        assert_eq!(refusal.problem(400)["retryable"], false);
        assert_eq!(refusal.header("cache-control"), Some("no-store"));
        assert!(client.until_closed().await.is_empty());
    });
}

#[test]
fn a_publish_that_asks_for_another_protocol_keeps_its_body() {
    on_both_stores(async |service| {
        for (place, protocol) in ["websocket", "h2c", "WebSocket"].into_iter().enumerate() {
            let body = event("t", &format!("upgrade {place}")).to_string();
            let lines =
                format!("Connection: Upgrade\r\nUpgrade: {protocol}\r\nContent-Length: {}", body.len());
            let mut client = Raw::connect(service.address).await;
            client.send(publish_head(&lines) + &body).await;
            let answer = client.answer().await;
            assert_eq!(answer.status, 200, "{protocol}: {}", answer.text);
            assert_eq!(answer.json()["unique"], 1);
            let mut client = Raw::connect(service.address).await;
            let lines = format!("Host: test\r\nConnection: Upgrade\r\nUpgrade: {protocol}");
            client.send(format!("GET /stats HTTP/1.1\r\n{lines}\r\n\r\n")).await;
            assert_eq!(client.answer().await.status, 200, "{protocol}");
        }
    });
}

#[test]
fn every_answer_forbids_to_keep_it_and_to_guess_its_type() {
    on_both_stores(async |service| {
        let publish = post(&service, &[], event("t", "a").to_string()).await;
        let refused = post(&service, &[("content-type", "text/plain")], "{}").await;
        let mut answers = vec![publish, refused];
        for path in ["/events", "/stats", "/livez", "/readyz", "/health", "/nowhere", "/events?limit=0"] {
            answers.push(service.client.get(path).await);
        }
        let mut client = Raw::connect(service.address).await;
        client.send("nonsense\r\n\r\n").await;
        answers.push(client.answer().await);
        for answer in answers {
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{}", answer.text);
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{}", answer.text);
        }
    });
}

#[test]
fn a_page_of_another_origin_publishes_nothing() {
    let change = |settings: &mut crate::harness::Settings| {
        settings.config.cors_origins = vec!["https://app.example".parse().unwrap()];
    };
    on_both_stores_with(change, async |service| {
        let own = format!("http://{}", service.address);
        for headers in [
            &[("origin", "http://evil.example")][..],
            &[("origin", "null")],
            &[("origin", "http://evil.example"), ("host", "evil.example")],
            &[("sec-fetch-site", "cross-site")],
        ] {
            let refusal = post(&service, headers, event("t", "foreign").to_string()).await;
            let problem = refusal.problem(403);
            assert_eq!(problem["type"], "urn:sekali:problem:foreign-origin");
            assert_eq!(problem["retryable"], false);
        }
        nothing_happened(&service).await;
        for (place, headers) in [
            &[("origin", own.as_str()), ("sec-fetch-site", "same-origin")][..],
            &[("origin", "https://app.example"), ("sec-fetch-site", "cross-site")],
            &[],
        ]
        .into_iter()
        .enumerate()
        {
            let answer = post(&service, headers, event("t", &format!("own {place}")).to_string()).await;
            assert_eq!(answer.status, 200, "{headers:?}: {}", answer.text);
        }
        // Refused by its head alone: the body that was announced does not come.
        let mut client = Raw::connect(service.address).await;
        client.send(publish_head("Origin: http://evil.example\r\nContent-Length: 1000")).await;
        client.answer().await.problem(403);
    });
}

//! What clients can make the service hold: bodies that do not come on, and answers that are not read.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::harness::{
    Answer, Client, Database, Engine, RunningService, Settings, block_on, event, events, eventually,
    raw::{Raw, publish_bytes, publish_head},
};

/// The other peer of these tests; the usual clients come from 127.0.0.1.
const OTHER: [u8; 4] = [127, 0, 0, 2];
const MIB: usize = 1024 * 1024;

fn with_service<F: Future<Output = ()>>(change: impl Fn(&mut Settings), test: impl Fn(RunningService) -> F) {
    block_on(async {
        let mut settings = Settings::new(Database::create(Engine::Sqlite).await);
        change(&mut settings);
        test(RunningService::start(settings).await).await;
    });
}

async fn in_flight(service: &RunningService, what: &str) -> u64 {
    service.client.stats().await["node"]["in_flight"][what].as_u64().unwrap()
}

fn detail(problem: &Value) -> &str {
    problem["detail"].as_str().unwrap()
}

/// A body of `bytes`, of which all but the last byte are sent.
async fn fall_silent(client: &mut Raw, bytes: usize) {
    client.send(publish_head(&format!("Content-Length: {bytes}"))).await;
    client.send(" ".repeat(bytes - 1)).await;
}

#[test]
fn silence_within_a_body_ends_it_after_five_seconds_however_fast_it_came() {
    with_service(
        |_| {},
        async |service| {
            let mut fast = Raw::connect(service.address).await;
            let mut announcing = Raw::connect(service.address).await;
            announcing.send(publish_head("Content-Length: 65536")).await;
            fall_silent(&mut fast, 8 * MIB).await;
            let begun = Instant::now();
            eventually("its bytes are counted", async || {
                in_flight(&service, "bytes").await == 8 * MIB as u64 - 1
            })
            .await;
            fast.answer().await.problem(408);
            announcing.answer().await.problem(408);
            let silence = begun.elapsed();
            assert!(silence > Duration::from_secs(4) && silence < Duration::from_secs(9), "{silence:?}");
            assert_eq!(in_flight(&service, "bytes").await, 0);
        },
    );
}

#[test]
fn one_peer_holds_half_of_the_memory_for_bodies_and_leaves_the_rest_to_others() {
    let small = |settings: &mut Settings| {
        settings.config.body_bytes_max = MIB;
        settings.config.bytes_in_flight_max = 4 * MIB;
    };
    with_service(small, async |service| {
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut client = Raw::connect(service.address).await;
            fall_silent(&mut client, MIB).await;
            held.push(client);
        }
        eventually("half is held", async || in_flight(&service, "bytes").await == 2 * MIB as u64 - 2).await;
        let refused = service.client.publish(event("t", "a")).await.problem(503);
        assert!(detail(&refused).contains("this client's address"), "{refused}");
        let mut large = event("t", "b");
        large["payload"] = json!({"text": "x".repeat(MIB - 1_000)});
        let mut other = Raw::connect_from(OTHER, service.address).await;
        other.send(publish_bytes(large.to_string())).await;
        assert_eq!(other.answer().await.status, 200);
        drop(held);
        eventually("all is given back", async || in_flight(&service, "bytes").await == 0).await;
        service.client.publish_ok(event("t", "a")).await;
    });
}

#[test]
fn a_peer_that_is_exempt_holds_more_than_half_of_the_memory_for_bodies_and_no_more_than_all() {
    let exempt = |settings: &mut Settings| {
        settings.config.body_bytes_max = MIB;
        settings.config.bytes_in_flight_max = 4 * MIB;
        settings.config.peer_share_exempt = vec!["127.0.0.1/32".parse().unwrap()];
    };
    with_service(exempt, async |service| {
        let mut held = Vec::new();
        for bodies in 1..=4 {
            let mut client = Raw::connect(service.address).await;
            fall_silent(&mut client, MIB).await;
            held.push(client);
            let bytes = (bodies * (MIB - 1)) as u64;
            eventually("it is held", async || in_flight(&service, "bytes").await == bytes).await;
        }
        let refused = service.client.publish(event("t", "a")).await.problem(503);
        assert!(!detail(&refused).contains("this client's address"), "{refused}");
        drop(held);
        eventually("all is given back", async || in_flight(&service, "bytes").await == 0).await;
        service.client.publish_ok(event("t", "a")).await;
    });
}

/// Asks on new connections and reads nothing. The system takes the first answers of each connection.
async fn leave_unread(service: &RunningService, path: &str, connections: usize, requests: usize) -> Vec<Raw> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    leave_answers_unread(service, &request, connections, requests).await
}

async fn leave_answers_unread(
    service: &RunningService,
    request: &str,
    connections: usize,
    requests: usize,
) -> Vec<Raw> {
    let mut unread = Vec::new();
    for _ in 0..connections {
        let mut client = Raw::connect_narrow(service.address).await;
        client.send(request.repeat(requests)).await;
        unread.push(client);
    }
    unread
}

/// Bytes of answers in flight, as the other peer is told.
async fn in_flight_by_other(service: &RunningService) -> u64 {
    let mut client = Raw::connect_from(OTHER, service.address).await;
    client.send("GET /stats HTTP/1.1\r\nHost: test\r\n\r\n").await;
    let answer = client.answer().await;
    assert!(
        answer.status == 200 && !answer.text.is_empty(),
        "{} {:?} {}",
        answer.status,
        answer.headers,
        answer.text
    );
    answer.json()["node"]["in_flight"]["answer_bytes"].as_u64().unwrap()
}

#[test]
fn unread_answers_take_no_more_than_the_share_of_their_peer() {
    const SHARE: u64 = 32 * MIB as u64;
    with_service(
        |_| {},
        async |service| {
            let mut large = event("t", "large");
            large["payload"] = json!({"text": "x".repeat(MIB)});
            service.client.publish_ok(&large).await;
            let ask = async || service.client.get("/events/large").await;
            let mut unread = Vec::new();
            let refused = loop {
                let answer = ask().await;
                if answer.status == 503 {
                    break answer.problem(503);
                }
                assert!(unread.len() < 200, "each of them holds an answer, and none is refused");
                unread.extend(leave_unread(&service, "/events/large", 4, 8).await);
            };
            assert!(detail(&refused).contains("answers wait for this client"), "{refused}");
            assert!(in_flight_by_other(&service).await <= SHARE + SHARE / 8);
            assert_eq!(service.client.get("/livez").await.status, 200);
            service.client.publish_ok(event("t", "small answer")).await;
            let mut other = Raw::connect_from(OTHER, service.address).await;
            other.send("GET /events/large HTTP/1.1\r\nHost: test\r\n\r\n").await;
            assert_eq!(other.answer().await.status, 200);
            drop((unread, other));
            eventually("all is given back", async || in_flight_by_other(&service).await < MIB as u64).await;
        },
    );
}

/// Asks for `path` on connections that read nothing, and waits until each of them holds an answer that is counted.
async fn unread_and_counted(service: &RunningService, path: &str) {
    const CONNECTIONS: usize = 4;
    let answer = service.client.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    let bytes = answer.text.len();
    assert!(bytes > 4 * 1024, "{path} has {bytes} bytes, which need not be counted");
    // Far more than the system takes of each connection.
    let unread = leave_unread(service, path, CONNECTIONS, MIB / bytes + 2).await;
    // The answer to who asks here is not counted yet.
    let all = (CONNECTIONS * bytes * 9 / 10) as u64..=(CONNECTIONS * bytes * 11 / 10) as u64;
    eventually(path, async || all.contains(&in_flight_by_other(service).await)).await;
    drop(unread);
    eventually("all is given back", async || in_flight_by_other(service).await == 0).await;
}

/// Every route whose answers may be larger than 4 KiB, but for three: publishes and metrics have tests of their own, and
/// the files of the pages are parts of the binary, of which a connection holds a few pieces.
#[test]
fn unread_answers_of_every_route_are_counted() {
    with_service(
        |_| {},
        async |service| {
            let client = &service.client;
            let long_topics: Vec<Value> =
                (0..1_000).map(|n| event(&format!("{n:04}{}", "t".repeat(251)), &format!("s{n}"))).collect();
            client.publish_ok(json!(long_topics)).await;
            let mut large = event("t", "large");
            large["payload"] = json!({"text": "x".repeat(MIB / 2)});
            client.publish_ok(&large).await;
            let patterns: Vec<_> = (0..100).map(|n| format!("{n:03}{}", "t".repeat(252))).collect();
            for n in 0..100 {
                client.create_namespace(&format!("{n:02}{}", "n".repeat(60))).await;
            }
            subscribe(client, "many-topics", json!({"topics": patterns})).await;
            subscribe(client, "parks", json!({"after": "earliest", "max_deliveries": 1})).await;
            park_some(client).await;
            for path in [
                "/stats",
                "/topics",
                "/events?limit=1000",
                "/events/large",
                "/events?event_id=large",
                "/namespaces",
                "/subscriptions",
                "/subscriptions/many-topics",
                "/subscriptions/parks/parked?limit=1000",
            ] {
                unread_and_counted(&service, path).await;
            }
        },
    );
}

async fn post(client: &Client, path: &str, body: Value) -> Answer {
    let request = client.request("POST", path).header("content-type", "application/json");
    client.send(request.body(body.to_string())).await.unwrap()
}

async fn subscribe(client: &Client, name: &str, settings: Value) {
    let request = client.request("PUT", &format!("/subscriptions/{name}"));
    let request = request.header("content-type", "application/json").body(settings.to_string());
    let answer = client.send(request).await.unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text);
}

/// Has some events fail for the last time.
async fn park_some(client: &Client) {
    for _ in 0..40 {
        let lease = post(client, "/subscriptions/parks/lease?limit=1", Value::Null).await;
        assert_eq!(lease.status, 200, "{}", lease.text);
        let failed = json!({"lease": lease.json()["lease"], "result": "reject"});
        let answer = post(client, "/subscriptions/parks/ack", failed).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
}

#[test]
fn metrics_that_nobody_reads_take_no_more_than_the_share_of_their_peer_and_nothing_of_other_answers() {
    // A port that was just free.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let alone = SocketAddr::from(([127, 0, 0, 1], port));
    with_service(
        |settings| settings.config.metrics_listen = Some(alone.to_string()),
        async |service| {
            let long_topics: Vec<Value> =
                (0..1_000).map(|n| event(&format!("{n:04}{}", "t".repeat(251)), &format!("s{n}"))).collect();
            service.client.publish_ok(json!(long_topics)).await;
            let ask = async || service.client.get("/metrics").await;
            let bytes = ask().await.text.len();
            assert!(bytes > MIB / 2, "{bytes}");
            let mut unread = Vec::new();
            let refused = loop {
                let answer = ask().await;
                if answer.status == 503 {
                    break answer.problem(503);
                }
                assert!(unread.len() < 100, "each of them holds an answer, and none is refused");
                unread.extend(leave_unread(&service, "/metrics", 1, 4).await);
            };
            assert!(detail(&refused).contains("metrics wait for this client"), "{refused}");
            assert_eq!(in_flight_by_other(&service).await, 0);
            let mut other = Raw::connect_from(OTHER, service.address).await;
            other.send("GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").await;
            assert_eq!(other.answer().await.status, 200);
            assert_eq!(Client::new(alone).get("/metrics").await.status, 200, "its port has its own");
            drop(unread);
            eventually("all is given back", async || ask().await.status == 200).await;
        },
    );
}

#[test]
fn unread_answers_of_subscriptions_are_counted() {
    const LEASES: usize = 32;
    const ANSWER_BYTES: u64 = 16 * 1024;
    with_service(
        |_| {},
        async |service| {
            let client = &service.client;
            let topics: Vec<String> = (0..100).map(|n| format!("{n:04}{}", "t".repeat(251))).collect();
            let events: Vec<Value> = (0..LEASES).map(|n| event(&topics[0], &n.to_string())).collect();
            client.publish_ok(json!(events)).await;
            let settings = json!({"topics": topics, "after": "earliest", "max_leases": LEASES}).to_string();
            let create = client.request("PUT", "/subscriptions/s").header("content-type", "application/json");
            assert_eq!(client.send(create.body(settings)).await.unwrap().status, 201);
            let worker = "w".repeat(255);
            for _ in 0..LEASES {
                let path = format!("/subscriptions/s/lease?limit=1&worker={worker}");
                assert_eq!(client.send(client.request("POST", &path)).await.unwrap().status, 200);
            }
            let with_body = |method: &str, path: &str, body: &str| {
                let head =
                    format!("{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n");
                format!("{head}Content-Length: {}\r\n\r\n{body}", body.len())
            };
            for request in [
                "GET /subscriptions/s HTTP/1.1\r\nHost: test\r\n\r\n".to_owned(),
                with_body("PATCH", "/subscriptions/s", "{}"),
                with_body("POST", "/subscriptions/s/lease", ""),
                with_body("POST", "/subscriptions/s/ack", r#"{"through":1}"#),
            ] {
                let unread = leave_answers_unread(&service, &request, 4, 300).await;
                eventually(&request, async || in_flight_by_other(&service).await > ANSWER_BYTES).await;
                drop(unread);
                eventually("all is given back", async || in_flight_by_other(&service).await == 0).await;
            }
        },
    );
}

#[test]
fn an_unread_answer_to_a_publish_is_counted() {
    const EVENTS: usize = 20_000;
    let large_batches = |settings: &mut Settings| settings.config.batch_events_max = EVENTS;
    with_service(large_batches, async |service| {
        let ids: Vec<String> = (0..EVENTS).map(|n| format!("{n:05}{}", "i".repeat(250))).collect();
        let body = events("t", ids.iter().map(String::as_str)).to_string();
        let mut client = Raw::connect_narrow(service.address).await;
        client.send(publish_bytes(body)).await;
        eventually("its answer is counted", async || in_flight_by_other(&service).await > MIB as u64).await;
        drop(client);
        eventually("all is given back", async || in_flight_by_other(&service).await < MIB as u64).await;
    });
}

#[test]
fn what_a_client_sent_is_repeated_to_it_in_part_alone() {
    with_service(
        |_| {},
        async |service| {
            let answer = service.client.get(&format!("/events?{}=1", "%01".repeat(8_000))).await;
            assert!(answer.text.len() < 4_096, "{}", answer.text.len());
            answer.problem(422);
        },
    );
}

#[test]
fn probes_are_answered_while_large_bodies_are_parsed() {
    let one_worker = |settings: &mut Settings| settings.config.http_workers = 1;
    with_service(one_worker, async |service| {
        let members = vec![r#""\u0061":0"#; 15 * MIB / 11].join(",");
        let body = publish_bytes(format!("{{{members}}}"));
        let mut senders = Vec::new();
        for _ in 0..2 {
            let (address, body) = (service.address, body.clone());
            senders.push(tokio::spawn(async move {
                let mut client = Raw::connect(address).await;
                client.send(body).await;
                client.answer().await.problem(422)
            }));
        }
        let mut longest = Duration::ZERO;
        while !senders.iter().all(tokio::task::JoinHandle::is_finished) {
            let begun = Instant::now();
            assert_eq!(service.client.get("/livez").await.status, 200);
            longest = longest.max(begun.elapsed());
        }
        for sender in senders {
            sender.await.unwrap();
        }
        assert!(longest < Duration::from_millis(500), "{longest:?}");
    });
}

/// Whoever sends bodies that are costly to parse and come to nothing waits between them.
#[test]
fn large_bodies_of_a_peer_rest_behind_one_that_was_refused_and_those_of_others_do_not() {
    let members = vec![r#""\u0061":0"#; MIB / 11].join(",");
    let body = publish_bytes(format!("{{{members}}}"));
    with_service(
        |_| {},
        async |service| {
            let send_from = async |peer: [u8; 4]| {
                let begun = Instant::now();
                let mut client = Raw::connect_from(peer, service.address).await;
                client.send(&body).await;
                client.answer().await.problem(422);
                begun.elapsed()
            };
            let first = send_from(OTHER).await;
            let others = async {
                let mut small = Raw::connect_from(OTHER, service.address).await;
                small.send(publish_bytes(event("t", "a").to_string())).await;
                assert_eq!(small.answer().await.status, 200);
                send_from([127, 0, 0, 3]).await;
                Instant::now()
            };
            let second = async { (send_from(OTHER).await, Instant::now()) };
            let (others_answered, (second, second_answered)) = tokio::join!(others, second);
            assert!(others_answered < second_answered);
            assert!(second > 3 * first, "{first:?}, then {second:?}");
        },
    );
}

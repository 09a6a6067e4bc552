//! Clients that hang up, trickle, announce what never comes, or want more actor than there is.

use std::time::{Duration, Instant};

use reqwest::Body;
use serde_json::{Value, json};

use crate::harness::{
    RunningService, event, events, eventually, on_both_stores, on_both_stores_with,
    raw::{Raw, publish_bytes, publish_head},
};

const ANNOUNCED_BYTES: usize = 16 * 1024 * 1024;

async fn in_flight(service: &RunningService) -> (u64, u64) {
    let in_flight = service.client.stats().await["node"]["in_flight"].clone();
    (in_flight["events"].as_u64().unwrap(), in_flight["bytes"].as_u64().unwrap())
}

async fn nothing_in_flight(service: &RunningService) {
    eventually("nothing is in flight", async || in_flight(service).await == (0, 0)).await;
}

/// A publish of one event, and what its answer says.
async fn publish_one(service: &RunningService, event_id: &str) -> Value {
    service.client.publish_ok(event("t", event_id)).await[0].clone()
}

#[test]
fn a_client_that_hangs_up_in_mid_body_leaves_nothing_behind() {
    on_both_stores(async |service| {
        let body = events("t", ["a", "b"]).to_string();
        let whole = publish_bytes(&body);
        let head = whole.len() - body.len();
        for sent in [head, head + 1, whole.len() / 2, whole.len() - 1] {
            let mut client = Raw::connect(service.address).await;
            client.send(&whole[..sent]).await;
            let come = (sent - head) as u64;
            eventually("the body is waited for", async || in_flight(&service).await.1 == come).await;
            drop(client);
            nothing_in_flight(&service).await;
        }
        let chunked = publish_head("Transfer-Encoding: chunked");
        for part in ["1\r\n \r\n", "10\r\n{\"events\"", "5\r\n{\"eve\r\n", "5\r\n{\"eve\r\n0\r\n"] {
            let mut client = Raw::connect(service.address).await;
            client.send(format!("{chunked}{part}")).await;
            eventually("the body is waited for", async || in_flight(&service).await.1 > 0).await;
            drop(client);
            nothing_in_flight(&service).await;
        }
        assert_eq!(service.client.counts().await, (0, 0, 0));
        assert_eq!(publish_one(&service, "a").await["status"], "stored");
        service.database().assert_sound().await;
    });
}

#[test]
fn a_client_that_ends_its_half_in_mid_body_publishes_nothing() {
    on_both_stores(async |service| {
        let whole = publish_bytes(event("t", "a").to_string());
        let mut client = Raw::connect(service.address).await;
        client.send(&whole[..whole.len() - 1]).await;
        client.shut_down_sending().await;
        client.until_closed().await;
        nothing_in_flight(&service).await;
        assert_eq!(service.client.counts().await, (0, 0, 0));
        assert_eq!(publish_one(&service, "a").await["status"], "stored");
    });
}

#[test]
fn a_publish_whose_answer_nobody_reads_is_stored_once_and_its_retry_answered() {
    on_both_stores(async |service| {
        for round in 0..50 {
            let event_id = format!("id-{round}");
            let mut client = Raw::connect(service.address).await;
            client.send(publish_bytes(event("t", &event_id).to_string())).await;
            drop(client);
            let answer = publish_one(&service, &event_id).await;
            assert_eq!(answer["seq"], round + 1, "one seq an event, however many copies: {answer}");
        }
        nothing_in_flight(&service).await;
        let (received, unique, duplicates) = service.client.counts().await;
        assert_eq!((unique, received), (50, 50 + duplicates));
        assert_eq!(service.client.all_events().await.len(), 50);
        let (ended, database) = service.stop().await;
        ended.unwrap();
        database.assert_sound().await;
    });
}

#[test]
fn a_publish_admitted_before_its_client_hung_up_is_stored_all_the_same() {
    on_both_stores(async |service| {
        let lock = service.database().hold_ledger().await;
        let mut client = Raw::connect(service.address).await;
        client.send(publish_bytes(events("t", ["a", "b", "c"]).to_string())).await;
        eventually("it is admitted", async || in_flight(&service).await.0 == 3).await;
        drop(client);
        lock.release().await;
        eventually("it is stored", async || service.client.counts().await == (3, 3, 0)).await;
        nothing_in_flight(&service).await;
        assert_eq!(publish_one(&service, "b").await["status"], "duplicate");
        service.database().assert_sound().await;
    });
}

#[test]
fn requests_sent_ahead_on_one_connection_are_answered_in_order() {
    on_both_stores(async |service| {
        let mut client = Raw::connect(service.address).await;
        let mut ahead = Vec::new();
        for event_id in ["a", "b", "a"] {
            ahead.extend(publish_bytes(event("t", event_id).to_string()));
        }
        ahead.extend(publish_bytes("{"));
        ahead.extend(publish_bytes(r#"{"topic":1}"#));
        ahead.extend(b"GET /events?after=0 HTTP/1.1\r\nHost: test\r\n\r\n");
        ahead.extend(b"GET /stats HTTP/1.1\r\nHost: test\r\n\r\n");
        client.send(&ahead).await;
        for (status, seq) in [("stored", 1), ("stored", 2), ("duplicate", 1)] {
            let answer = client.answer().await.json();
            assert_eq!(
                (&answer["results"][0]["status"], &answer["results"][0]["seq"]),
                (&json!(status), &json!(seq))
            );
        }
        client.answer().await.problem(400);
        client.answer().await.problem(422);
        assert_eq!(client.answer().await.json().as_array().unwrap().len(), 2);
        assert_eq!(client.answer().await.json()["received"], 3);
    });
}

#[test]
fn a_client_may_ask_before_it_sends_a_body() {
    on_both_stores(async |service| {
        let body = event("t", "a").to_string();
        let mut client = Raw::connect(service.address).await;
        for (length, status) in [(body.len(), "stored"), (body.len(), "duplicate")] {
            client.send(publish_head(&format!("Expect: 100-continue\r\nContent-Length: {length}"))).await;
            assert_eq!(client.answer().await.status, 100);
            client.send(&body).await;
            assert_eq!(client.answer().await.json()["results"][0]["status"], status);
        }
    });
}

#[test]
fn a_body_may_come_in_the_smallest_pieces() {
    on_both_stores(async |service| {
        let body = events("t", ["a", "ä", "😀"]).to_string();
        let mut client = Raw::connect(service.address).await;
        client.send(publish_head("Transfer-Encoding: chunked")).await;
        for byte in body.bytes() {
            client.send([&b"1\r\n"[..], &[byte], b"\r\n"].concat()).await;
        }
        client.send("0\r\n\r\n").await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        for byte in publish_bytes(&body) {
            client.send([byte]).await;
        }
        assert_eq!(client.answer().await.json()["duplicates"], 3);
        let ids: Vec<Value> =
            service.client.all_events().await.iter().map(|event| event["event_id"].clone()).collect();
        assert_eq!(ids, ["a", "ä", "😀"]);
        nothing_in_flight(&service).await;
    });
}

#[test]
fn a_body_that_comes_too_slowly_is_refused_and_may_be_sent_again() {
    let short = |settings: &mut crate::harness::Settings| {
        settings.config.body_timeout = Duration::from_millis(300);
    };
    on_both_stores_with(short, async |service| {
        let whole = publish_bytes(event("t", "a").to_string());
        let mut client = Raw::connect(service.address).await;
        client.send(&whole[..whole.len() - 1]).await;
        let begun = Instant::now();
        client.answer().await.problem(408);
        assert!(begun.elapsed() >= Duration::from_millis(250), "not before its time");
        assert!(begun.elapsed() < Duration::from_secs(8), "soon after it: {:?}", begun.elapsed());
        client.until_closed().await;
        nothing_in_flight(&service).await;
        assert_eq!(service.client.counts().await, (0, 0, 0));
        assert_eq!(publish_one(&service, "a").await["status"], "stored");
    });
}

#[test]
fn heads_and_bodies_that_trickle_hold_nobody_else() {
    on_both_stores(async |service| {
        let mut trickling = Vec::new();
        for place in 0..64 {
            let mut client = Raw::connect(service.address).await;
            let (start, drop_by_drop) = match place % 2 {
                0 => ("GET /stats HTTP/1.1\r\nHost: test\r\nX: ".to_owned(), "y"),
                _ => (publish_head("Transfer-Encoding: chunked"), "1\r\n \r\n"),
            };
            client.send(start).await;
            client.send(drop_by_drop).await;
            trickling.push((client, drop_by_drop));
        }
        eventually("half of them are being read", async || in_flight(&service).await.1 > 0).await;
        for round in 0..20 {
            for (client, drop_by_drop) in &mut trickling {
                client.send(drop_by_drop).await;
            }
            let begun = Instant::now();
            assert_eq!(publish_one(&service, &format!("id-{round}")).await["status"], "stored");
            assert!(begun.elapsed() < Duration::from_secs(5), "took {:?}", begun.elapsed());
        }
        drop(trickling);
        nothing_in_flight(&service).await;
    });
}

#[test]
fn clients_that_only_announce_large_bodies_hold_nobody_else() {
    on_both_stores(async |service| {
        let mut announcing = Vec::new();
        for _ in 0..300 {
            let mut client = Raw::connect(service.address).await;
            client.send(publish_head(&format!("Content-Length: {ANNOUNCED_BYTES}"))).await;
            client.send(" ").await;
            announcing.push(client);
        }
        // What was announced and did not come takes no capacity.
        eventually("all of them are waited for", async || in_flight(&service).await.1 == 300).await;
        for event_id in ["a", "b", "c"] {
            assert_eq!(publish_one(&service, event_id).await["status"], "stored");
        }
        let million = json!({"text": "x".repeat(1_000_000)});
        let mut large = event("t", "large");
        large["payload"] = million.clone();
        assert_eq!(service.client.publish_ok(&large).await[0]["status"], "stored");
        assert_eq!(service.client.events("?limit=1").await[0]["payload"], million);
        drop(announcing);
        nothing_in_flight(&service).await;
        service.database().assert_sound().await;
    });
}

#[test]
fn more_bytes_in_flight_than_allowed_are_turned_away_at_once() {
    const BODY_BYTES_MAX: usize = 64 * 1024;
    let small = |settings: &mut crate::harness::Settings| {
        settings.config.body_bytes_max = BODY_BYTES_MAX;
        settings.config.bytes_in_flight_max = BODY_BYTES_MAX;
    };
    on_both_stores_with(small, async |service| {
        let mut large = event("t", "large");
        large["payload"] = json!({"text": "x".repeat(BODY_BYTES_MAX / 2)});
        let mut announcing = Raw::connect(service.address).await;
        announcing.send(publish_head(&format!("Content-Length: {}", BODY_BYTES_MAX - 1_000))).await;
        announcing.send(" ".repeat(60_000)).await;
        eventually("most of it has come", async || in_flight(&service).await.1 >= 60_000).await;
        let begun = Instant::now();
        let turned_away = service.client.publish(&large).await;
        assert!(turned_away.problem(503)["detail"].as_str().unwrap().contains("bytes"));
        assert!(begun.elapsed() < Duration::from_secs(2), "took {:?}", begun.elapsed());
        assert_eq!(publish_one(&service, "fits").await["status"], "stored");
        drop(announcing);
        nothing_in_flight(&service).await;
        assert_eq!(service.client.publish_ok(&large).await[0]["status"], "stored");
        assert_eq!(service.client.counts().await, (2, 2, 0));
    });
}

#[test]
fn a_body_of_any_size_up_to_the_limit_finds_capacity_when_nothing_else_is_in_flight() {
    const BODY_BYTES_MAX: usize = 100_000;
    let exact = |settings: &mut crate::harness::Settings| {
        settings.config.body_bytes_max = BODY_BYTES_MAX;
        settings.config.bytes_in_flight_max = BODY_BYTES_MAX;
    };
    on_both_stores_with(exact, async |service| {
        for (place, bytes) in [1_000, 65_536, 65_537, 70_000, BODY_BYTES_MAX].into_iter().enumerate() {
            let mut event = event("t", &format!("id-{place}"));
            event["payload"] = json!({"text": ""});
            let filler = "x".repeat(bytes - event.to_string().len());
            event["payload"] = json!({"text": filler});
            let body = event.to_string();
            assert_eq!(body.len(), bytes);
            let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
                body.as_bytes().chunks(1_000).map(|piece| Ok(piece.to_vec())).collect();
            let chunked = Body::wrap_stream(futures::stream::iter(pieces));
            for body in [Body::from(body), chunked] {
                let answer = service.client.try_publish(body).await.unwrap();
                assert_eq!(answer.status, 200, "{bytes} bytes: {}", answer.text);
                nothing_in_flight(&service).await;
            }
        }
        assert_eq!(service.client.counts().await, (10, 5, 5));
    });
}

#[test]
fn more_events_in_flight_than_allowed_are_turned_away_at_once() {
    let small = |settings: &mut crate::harness::Settings| {
        settings.config.batch_events_max = 5;
        settings.config.events_in_flight_max = 5;
    };
    on_both_stores_with(small, async |service| {
        let lock = service.database().hold_ledger().await;
        let client = service.client.clone();
        let five =
            tokio::spawn(async move { client.publish_ok(events("t", ["a", "b", "c", "d", "e"])).await });
        eventually("they are admitted", async || in_flight(&service).await.0 == 5).await;
        let begun = Instant::now();
        let turned_away = service.client.publish(event("t", "f")).await;
        assert!(turned_away.problem(503)["detail"].as_str().unwrap().contains("events"));
        assert!(begun.elapsed() < Duration::from_secs(2), "took {:?}", begun.elapsed());
        lock.release().await;
        assert_eq!(five.await.unwrap().len(), 5);
        nothing_in_flight(&service).await;
        assert_eq!(publish_one(&service, "f").await["seq"], 6);
        assert_eq!(service.client.counts().await, (6, 6, 0));
        service.database().assert_sound().await;
    });
}

#[test]
fn a_body_that_takes_longer_than_a_publish_may_wait_is_stored_and_answered() {
    let impatient = |settings: &mut crate::harness::Settings| {
        settings.config.publish_timeout = Duration::from_secs(2);
    };
    on_both_stores_with(impatient, async |service| {
        let whole = publish_bytes(event("t", "a").to_string());
        let (begun, end) = whole.split_at(whole.len() - 1);
        let mut client = Raw::connect(service.address).await;
        client.send(begun).await;
        // This is what is tested: a pause longer than a publish may wait for its commit.
        tokio::time::sleep(Duration::from_millis(2_300)).await;
        client.send(end).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(service.client.counts().await, (1, 1, 0));
    });
}

#[test]
fn pages_that_nobody_reads_are_limited_and_their_actor_comes_back() {
    on_both_stores(async |service| {
        for place in 0..7 {
            let mut large = event("t", &format!("large {place}"));
            large["payload"] = json!({"text": "x".repeat(1_000_000)});
            service.client.publish_ok(&large).await;
        }
        let mut silent = Vec::new();
        for _ in 0..12 {
            let mut client = Raw::connect(service.address).await;
            client.send("GET /events HTTP/1.1\r\nHost: test\r\n\r\n").await;
            silent.push(client);
        }
        eventually("there is no capacity for a further page", async || {
            let answer = service.client.get("/events").await;
            answer.status == 503 && answer.header("retry-after").is_some()
        })
        .await;
        assert_eq!(publish_one(&service, "small").await["status"], "stored");
        drop(silent);
        eventually("there is actor again", async || service.client.get("/events").await.status == 200).await;
    });
}

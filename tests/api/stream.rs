//! GET /stream: every event once and in order, from any place, for as long as the reader likes.

use crate::harness::{
    Client, Database, Engine, RunningService, Settings, block_on, event, events, eventually, on_both_stores,
    on_both_stores_with, raw::Raw, stream::Stream,
};
use serde_json::{Value, json};

/// Events with the ids of this range, in batches.
async fn publish(client: &Client, topic: &str, ids: std::ops::Range<usize>) {
    let ids: Vec<String> = ids.map(|id| id.to_string()).collect();
    for batch in ids.chunks(500) {
        client.publish_ok(events(topic, batch.iter().map(String::as_str))).await;
    }
}

/// The body of an answer in chunks, as far as it came.
fn dechunked(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let Some((_, mut rest)) = text.split_once("\r\n\r\n") else { return String::new() };
    let mut body = String::new();
    while let Some((size, behind)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        let Some(piece) = behind.get(..size) else { break };
        body.push_str(piece);
        let Some(next) = behind.get(size + 2..) else { break };
        rest = next;
    }
    body
}

#[test]
fn a_reader_gets_what_is_stored_and_then_what_comes() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish(client, "t", 0..2_500).await;
        let mut all = Stream::open(client, "/stream?after=earliest").await;
        assert_eq!(all.seqs(2_500).await, (1..=2_500).collect::<Vec<_>>());
        let caught_up = all.next().await.unwrap();
        assert_eq!((caught_up.name.as_str(), &caught_up.data), ("caught-up", &json!({"head": 2_500})));
        assert_eq!(caught_up.id, Some(2_500));
        assert!((1_000..=5_000).contains(&caught_up.retry.unwrap()));

        let mut now = Stream::open(client, "/stream").await;
        assert_eq!(now.notice("caught-up").await.id, Some(2_500));
        let mut later = Stream::open(client, "/stream?after=2501").await;
        assert_eq!(later.notice("caught-up").await.data, json!({"head": 2_500}));
        client.publish_ok(events("t", ["a", "0", "b", "a"])).await;
        client.publish_ok(event("u", "c")).await;
        for reader in [&mut all, &mut now] {
            assert_eq!(reader.seqs(3).await, [2_501, 2_502, 2_503]);
        }
        assert_eq!(later.seqs(2).await, [2_502, 2_503]);
        let page = client.events("?after=2502").await;
        let mut again = Stream::open(client, "/stream?after=2502").await;
        assert_eq!(again.event().await.as_ref(), page.first(), "an event looks as on a page");
    });
}

#[test]
fn a_reader_gets_the_topics_and_the_events_that_it_wants() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.create_namespace("other").await;
        publish(client, "often", 0..3_000).await;
        client.publish_ok(event("rare", "x")).await;
        publish(client, "often", 3_000..4_500).await;
        let mut rare = Stream::open(client, "/stream?after=0&topic=rare&topic=none").await;
        let mut one = Stream::open(client, "/stream?after=0&where=/event_id=4400").await;
        assert_eq!(rare.seqs(1).await, [3_001]);
        assert_eq!(one.seqs(1).await, [4_402]);
        for reader in [&mut rare, &mut one] {
            let caught_up = reader.notice("caught-up").await;
            assert_eq!((caught_up.id, caught_up.data), (Some(4_501), json!({"head": 4_501})));
        }
        client.publish_in("other", event("rare", "y")).await;
        client.publish_ok(events("often", ["a", "b"])).await;
        client.publish_ok(event("rare", "y")).await;
        assert_eq!(rare.seqs(1).await, [4_504]);
        let mut other = Stream::open(client, "/namespaces/other/stream?after=0").await;
        assert_eq!(other.seqs(1).await, [1]);
    });
}

#[test]
fn a_filtered_reader_that_waits_is_told_how_far_it_was_served() {
    on_both_stores(async |service| {
        let client = &service.client;
        let mut reader = Stream::open(client, "/stream?topic=rare").await;
        reader.notice("caught-up").await;
        publish(client, "often", 0..7).await;
        let place = reader.notice("place").await;
        assert_eq!((place.id, place.data), (Some(7), json!({"head": 7})));
        client.publish_ok(event("rare", "x")).await;
        assert_eq!(reader.seqs(1).await, [8]);
        let mut back = Stream::resume(client, "/stream?topic=rare&after=earliest", 7).await;
        assert_eq!(back.seqs(1).await, [8], "what was served counts more than the address");
    });
}

#[test]
fn who_waits_for_events_yet_to_come_was_not_served_up_to_there() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish(client, "t", 0..2).await;
        let mut reader = Stream::open(client, "/stream?after=5").await;
        let caught_up = reader.notice("caught-up").await;
        assert_eq!((caught_up.id, caught_up.data), (None, json!({"head": 2})));
        publish(client, "t", 2..7).await;
        assert_eq!(reader.seqs(2).await, [6, 7]);
    });
}

#[test]
fn lines_of_json_are_events_alone() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.publish_ok(events("t", ["a", "b"])).await;
        for name in ["application/x-ndjson", "application/jsonl", "application/ndjson"] {
            let request = client.request("GET", "/stream?after=0").header("accept", name);
            let mut response = request.send().await.unwrap();
            assert_eq!(response.headers()["content-type"], name);
            let mut text = String::new();
            while text.lines().count() < 2 {
                text.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
            }
            let lines: Vec<serde_json::Value> =
                text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert_eq!(lines, client.events("?after=0").await);
        }
    });
}

#[test]
fn a_client_of_http_1_0_gets_a_stream_without_chunks() {
    on_both_stores(async |service| {
        publish(&service.client, "t", 0..2_500).await;
        let mut raw = Raw::connect(service.address).await;
        let request =
            "GET /stream?after=0 HTTP/1.0\r\nConnection: keep-alive\r\nAccept: application/jsonl\r\n\r\n";
        raw.send(request).await;
        let mut answer = Vec::new();
        while memchr::memmem::find(&answer, b"{\"seq\":2500,").is_none() || !answer.ends_with(b"\n") {
            answer.extend(raw.read_some().await);
        }
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(!head.contains("transfer-encoding") && !head.contains("keep-alive"), "{head}");
        let seqs =
            body.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap());
        assert_eq!(seqs.collect::<Vec<_>>(), (1..=2_500).collect::<Vec<_>>());
    });
}

#[test]
fn an_event_is_one_line_however_its_payload_was_written() {
    on_both_stores(async |service| {
        let client = &service.client;
        let body = "{\"topic\":\"t\",\"event_id\":\"a\",\"timestamp\":\"2026-06-18T12:00:00Z\",\"source\":\"s\",\
                    \"payload\":{\n\"n\" :\r\n1.10,\"text\":\"\\n\"\r}}";
        let request = client.request("POST", "/publish").header("content-type", "application/json");
        assert_eq!(client.send(request.body(body)).await.unwrap().status, 200);
        let [stored] = client.events("").await.try_into().unwrap();
        let mut stream = Stream::open(client, "/stream?after=0").await;
        assert_eq!(stream.event().await.unwrap(), stored);
        let request = client.request("GET", "/stream?after=0").header("accept", "application/x-ndjson");
        let mut response = request.send().await.unwrap();
        let mut lines = Vec::new();
        while !lines.ends_with(b"\n") {
            lines.extend_from_slice(&response.chunk().await.unwrap().unwrap());
        }
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&lines).unwrap(), stored);
        assert_eq!(lines.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count(), 1);
    });
}

#[test]
fn what_is_asked_wrongly_is_named() {
    on_both_stores(async |service| {
        let client = &service.client;
        for (query, named) in [
            ("after=-1", "`after`"),
            ("after=newest", "`after`"),
            ("after=9223372036854775808", "`after`"),
            ("after=1&after=2", "`after`"),
            ("last_event_id=1x", "`last_event_id`"),
            ("topic=a&topic=a", "`topic`"),
            ("topic=", "`topic`"),
            ("where=level", "`where`"),
            ("limit=5", "\"limit\""),
        ] {
            let problem = client.get(&format!("/stream?{query}")).await.problem(422);
            assert!(problem["detail"].as_str().unwrap().contains(named), "{query}: {problem}");
        }
        let malformed = client.request("GET", "/stream?after=1").header("last-event-id", "abc");
        let problem = client.send(malformed).await.unwrap().problem(422);
        assert!(problem["detail"].as_str().unwrap().contains("Last-Event-ID"), "{problem}");
        client.get("/namespaces/none/stream").await.problem(404);
        let answer = client.send(client.request("POST", "/stream")).await.unwrap();
        answer.problem(405);
        let head = client.send(client.request("HEAD", "/stream")).await.unwrap();
        assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream")));
    });
}

#[test]
fn a_stream_that_cannot_be_is_told_within_one_that_ends() {
    let one = |settings: &mut Settings| settings.config.streams_max = Some(1);
    on_both_stores_with(one, async |service| {
        let client = &service.client;
        let mut first = Stream::open(client, "/stream").await;
        first.notice("caught-up").await;
        let mut second = Stream::open(client, "/stream").await;
        let message = second.next().await.unwrap();
        assert_eq!(message.name, "unavailable");
        assert!(message.data["detail"].as_str().unwrap().contains("as many streams"), "{message:?}");
        assert!((1_000..=5_000).contains(&message.retry.unwrap()));
        assert!(second.next().await.is_none());
        let lines = client.request("GET", "/stream").header("accept", "application/x-ndjson");
        let refused = client.send(lines).await.unwrap();
        assert!(refused.header("retry-after").is_some());
        refused.problem(503);
        drop(first);
        let hung_up = std::time::Instant::now();
        eventually("there is room again", async || {
            Stream::open(client, "/stream").await.next().await.unwrap().name == "caught-up"
        })
        .await;
        // Before the service would notice that by what it sends.
        assert!(hung_up.elapsed() < std::time::Duration::from_secs(8), "{:?}", hung_up.elapsed());
    });
}

#[test]
fn a_stop_ends_streams_at_once_and_they_resume_behind_their_last_event() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish(client, "t", 0..10).await;
        let mut reader = Stream::open(client, "/stream?after=0").await;
        reader.notice("caught-up").await;
        let begun = std::time::Instant::now();
        let (ended, database) = service.stop().await;
        ended.unwrap();
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!(reader.next().await.unwrap().name, "unavailable");
        assert!(reader.next().await.is_none());
        let service = RunningService::start(Settings::new(database)).await;
        publish(&service.client, "t", 10..20).await;
        let mut back = Stream::resume(&service.client, "/stream?after=0", reader.last_id.unwrap()).await;
        assert_eq!(back.seqs(10).await, (11..=20).collect::<Vec<_>>());
    });
}

#[test]
fn many_readers_and_producers_at_once_miss_nothing() {
    on_both_stores(async |service| {
        let client = &service.client;
        let readers: Vec<_> = (0..40)
            .map(|reader| {
                let client = client.clone();
                let topics = ["", "&topic=t0&topic=t1", "&topic=t2", "&where=/source=test"][reader % 4];
                tokio::spawn(async move {
                    let mut stream = Stream::open(&client, &format!("/stream?after=0{topics}")).await;
                    let wanted = if topics.starts_with("&topic=t2") {
                        1_000
                    } else if topics.starts_with("&topic") {
                        2_000
                    } else {
                        3_000
                    };
                    let seqs = stream.seqs(wanted).await;
                    assert!(seqs.is_sorted_by(|a, b| a < b), "{seqs:?}");
                })
            })
            .collect();
        let producers = (0..3).map(|topic| {
            let client = client.clone();
            tokio::spawn(async move {
                for batch in 0..100 {
                    let ids: Vec<String> = (0..10).map(|id| format!("{topic}-{batch}-{id}")).collect();
                    client.publish_ok(events(&format!("t{topic}"), ids.iter().map(String::as_str))).await;
                }
            })
        });
        for task in producers.collect::<Vec<_>>().into_iter().chain(readers) {
            task.await.unwrap();
        }
    });
}

#[test]
fn readers_on_another_node_get_what_is_published_here() {
    block_on(async {
        let database = std::sync::Arc::new(Database::create(Engine::Postgres).await);
        let here = RunningService::start(Settings::new(std::sync::Arc::clone(&database))).await;
        let there = RunningService::start(Settings::new(database)).await;
        let mut reader = Stream::open(&there.client, "/stream").await;
        reader.notice("caught-up").await;
        publish(&here.client, "t", 0..3).await;
        assert_eq!(reader.seqs(3).await, [1, 2, 3]);
        // Once the readers there are known here, each commit is told, and not only found by the look of each second.
        let mut delays = Vec::new();
        for id in 3..24 {
            publish(&here.client, "t", id..id + 1).await;
            let published = std::time::Instant::now();
            reader.seqs(1).await;
            delays.push(published.elapsed());
            tokio::time::sleep(std::time::Duration::from_millis(137)).await;
        }
        delays.sort();
        assert!(delays[10] < std::time::Duration::from_millis(200), "{delays:?}");
    });
}

#[test]
fn a_namespace_that_is_deleted_ends_its_streams() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.create_namespace("a").await;
        client.publish_in("a", event("t", "1")).await;
        let mut reader = Stream::open(client, "/namespaces/a/stream?after=0").await;
        reader.notice("caught-up").await;
        let delete = client.request("DELETE", "/namespaces/a?confirm=a");
        assert_eq!(client.send(delete).await.unwrap().status, 204);
        assert!(reader.next().await.is_none());
        client.get("/namespaces/a/stream").await.problem(404);
    });
}

#[test]
fn a_reader_that_takes_nothing_holds_up_nobody() {
    on_both_stores(async |service| {
        let client = &service.client;
        let mut stalled = Raw::connect_narrow(service.address).await;
        stalled.send("GET /stream?after=0 HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let large = json!({"topic": "t", "event_id": "x", "timestamp": "2026-01-01T00:00:00Z", "source": "s",
            "payload": {"text": "x".repeat(200_000)}});
        let mut reader = Stream::open(client, "/stream?after=0").await;
        for id in 0..60 {
            let mut event = large.clone();
            event["event_id"] = json!(id.to_string());
            client.publish_ok(event).await;
        }
        assert_eq!(reader.seqs(60).await, (1..=60).collect::<Vec<_>>());
        // It still gets all, when it reads.
        let mut bytes = Vec::new();
        while bytes.len() < 60 * 200_000 || !dechunked(&bytes).contains("id: 60\n") {
            let piece = stalled.read_some().await;
            assert!(!piece.is_empty(), "it was cut off");
            bytes.extend_from_slice(&piece);
        }
        assert_eq!(dechunked(&bytes).matches("data: {\"seq\":").count(), 60);
    });
}

#[test]
fn a_subscription_says_where_to_begin_and_what_is_wanted() {
    on_both_stores(async |service| {
        let client = &service.client;
        for name in ["orders", "or*"] {
            let path = if name == "orders" { "/subscriptions/exact" } else { "/subscriptions/prefix" };
            let body = json!({"after": "earliest", "topics": [name]}).to_string();
            let put = client.request("PUT", path).header("content-type", "application/json").body(body);
            assert_eq!(client.send(put).await.unwrap().status, 201);
        }
        client.publish_ok(events("orders", ["a", "b"])).await;
        client.publish_ok(event("other", "c")).await;
        client.publish_ok(event("oranges", "d")).await;
        let ack = client.request("POST", "/subscriptions/exact/ack");
        let ack = ack.header("content-type", "application/json").body(json!({"through": 1}).to_string());
        assert_eq!(client.send(ack).await.unwrap().status, 200);
        let mut exact = Stream::open(client, "/stream?subscription=exact").await;
        assert_eq!(exact.seqs(1).await, [2]);
        assert_eq!(exact.notice("caught-up").await.id, Some(4));
        let mut prefix = Stream::open(client, "/stream?subscription=prefix").await;
        assert_eq!(prefix.seqs(3).await, [1, 2, 4]);
        client.get("/stream?subscription=none").await.problem(404);
        client.get("/stream?subscription=exact&after=0").await.problem(422);
    });
}

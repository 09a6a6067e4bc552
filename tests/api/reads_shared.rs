//! Reads are done a few at a time: a peer that asks for many, or asks and goes away, keeps nobody else from reading.

use serde_json::json;

use crate::harness::{
    Answer, Database, ENGINES, RunningService, Settings, block_on, event, eventually, raw::Raw,
};

const FLOODING: [u8; 4] = [127, 0, 0, 2];
const OTHER: [u8; 4] = [127, 0, 0, 3];
/// Of them three quarters may wait for their read, of which one peer has half.
const CONNECTIONS_MAX: usize = 64;
const WAITING_OF_PEER: usize = CONNECTIONS_MAX * 3 / 4 / 2;
/// What a filter looks through for one page.
const EVENTS: usize = 5_000;

/// Looks through all of them and finds nothing.
const SLOW: &str = "GET /events?after=0&where=/payload/text=none HTTP/1.1\r\nHost: test\r\n\r\n";

fn with_many_events<F: Future<Output = ()>>(test: impl Fn(RunningService) -> F) {
    for engine in ENGINES {
        eprintln!("--- on {engine:?}");
        block_on(async {
            let mut settings = Settings::new(Database::create(engine).await);
            settings.config.connections_max = CONNECTIONS_MAX;
            let service = RunningService::start(settings).await;
            for batch in 0..EVENTS / 1_000 {
                let events: Vec<_> = (0..1_000)
                    .map(|n| {
                        let mut event = event("t", &format!("{batch}-{n}"));
                        event["payload"] = json!({"text": "x".repeat(1_000)});
                        event
                    })
                    .collect();
                service.client.publish_ok(json!(events)).await;
            }
            test(service).await;
        });
    }
}

fn waiting(service: &RunningService) -> usize {
    let in_flight = service.handle.node().in_flight;
    in_flight.iter().find(|it| it.what == "waiting_reads").unwrap().held
}

async fn flood(service: &RunningService, requests: usize) -> Vec<Raw> {
    let mut flooding = Vec::new();
    for _ in 0..requests {
        let mut client = Raw::connect_from(FLOODING, service.address).await;
        client.send(SLOW).await;
        flooding.push(client);
    }
    flooding
}

async fn page_of(peer: [u8; 4], service: &RunningService) -> Answer {
    let mut client = Raw::connect_from(peer, service.address).await;
    client.send("GET /events?limit=10 HTTP/1.1\r\nHost: test\r\n\r\n").await;
    client.answer().await
}

#[test]
fn a_peer_that_asks_for_many_reads_waits_for_itself_alone() {
    with_many_events(async |service| {
        let flooding = flood(&service, WAITING_OF_PEER).await;
        eventually("most of them wait", async || waiting(&service) > WAITING_OF_PEER / 2).await;
        let page = page_of(OTHER, &service).await;
        assert_eq!(page.json().as_array().unwrap().len(), 10);
        assert!(waiting(&service) > 0, "it came after all of them");
        for mut client in flooding {
            let answer = client.answer().await;
            assert_eq!((answer.status, &*answer.text), (200, "[]"));
        }
    });
}

#[test]
fn too_many_reads_of_one_peer_are_refused_at_once_and_abandoned_ones_do_not_wait() {
    with_many_events(async |service| {
        let flooding = flood(&service, WAITING_OF_PEER + 6).await;
        eventually("its part of the queue is full", async || waiting(&service) >= WAITING_OF_PEER).await;
        let refused = page_of(FLOODING, &service).await.problem(503);
        assert!(refused["detail"].as_str().unwrap().contains("this client's address"), "{refused}");
        assert_eq!(page_of(OTHER, &service).await.status, 200);
        assert!(waiting(&service) > 2, "the other one came after all of them");
        flooding.into_iter().for_each(Raw::reset);
        eventually("they have left the queue", async || waiting(&service) == 0).await;
        assert_eq!(page_of(FLOODING, &service).await.status, 200);
    });
}

//! Requests that crash the writer: their neighbours are stored, and they are refused in the end.

use std::{sync::Arc, time::Duration};

use futures::FutureExt;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::harness::{
    Answer, Client, RunningService, Settings, event, events, eventually, on_both_stores_with,
};

/// Answers that a client takes for one request at most before it is stored or refused.
const ATTEMPTS_MAX: usize = 20;

/// The writer panics in each append of an event whose id begins with `crash`.
fn crash_at_crash(settings: &mut Settings) {
    settings.before_append = Some(Arc::new(|ids: &[&str]| {
        let crashes = ids.iter().any(|id| id.starts_with("crash"));
        async move { assert!(!crashes, "such an event crashes the writer") }.boxed()
    }));
}

/// Sends a request as the contract asks of producers: again after 503, until there is another answer.
async fn send_until_settled(client: &Client, ids: &[String]) -> Answer {
    let body = events("t", ids.iter().map(String::as_str)).to_string();
    for _ in 0..ATTEMPTS_MAX {
        let answer = client.publish(&body).await;
        if answer.status != 503 {
            return answer;
        }
        assert_eq!(answer.json()["retryable"], json!(true));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{ids:?} is neither stored nor refused");
}

fn assert_quarantined(answer: &Answer) {
    let problem = answer.problem(422);
    assert_eq!(problem["type"], "urn:sekali:problem:quarantined");
    assert_eq!(problem["retryable"], json!(false));
}

async fn assert_refused_and_the_rest_stored(service: &RunningService, stored: u64) {
    assert_eq!(service.client.counts().await.1, stored);
    assert_eq!(service.client.get("/readyz").await.status, 200);
    service.database().assert_sound().await;
}

#[test]
fn a_request_that_crashes_the_writer_is_refused_and_its_neighbours_are_stored() {
    const REQUESTS: usize = 30;
    // The first group waits at this gate, so that all others gather for the second one.
    let gate = Arc::new(Semaphore::new(0));
    let change = |settings: &mut Settings| {
        let gate = Arc::clone(&gate);
        settings.before_append = Some(Arc::new(move |ids: &[&str]| {
            let (is_first, crashes) = (ids == ["first"], ids.contains(&"crash"));
            let gate = Arc::clone(&gate);
            async move {
                if is_first {
                    gate.acquire().await.unwrap().forget();
                }
                assert!(!crashes, "such an event crashes the writer");
            }
            .boxed()
        }));
    };
    on_both_stores_with(change, async |service| {
        let client = &service.client;
        let first = tokio::spawn({
            let client = client.clone();
            async move { client.publish(event("t", "first")).await }
        });
        let in_flight = async |events: u64| {
            eventually("the requests are in flight", async || {
                client.stats().await["node"]["in_flight"]["events"] == events
            })
            .await;
        };
        in_flight(1).await;
        let sending: Vec<_> = (0..REQUESTS)
            .map(|request| {
                let second = if request == 7 { "crash".to_owned() } else { format!("b{request}") };
                let (client, ids) = (client.clone(), [format!("a{request}"), second]);
                tokio::spawn(async move { send_until_settled(&client, &ids).await })
            })
            .collect();
        in_flight(1 + 2 * REQUESTS as u64).await;
        gate.add_permits(1);
        assert_eq!(first.await.unwrap().status, 200);
        for (request, answer) in sending.into_iter().enumerate() {
            let answer = answer.await.unwrap();
            match request {
                7 => assert_quarantined(&answer),
                _ => assert_eq!(answer.status, 200, "{}", answer.text),
            }
        }
        assert_refused_and_the_rest_stored(&service, 1 + 2 * (REQUESTS as u64 - 1)).await;
        // Once with its neighbours, and twice by itself.
        assert_eq!(client.stats().await["node"]["writers"][0]["restarts"], 3);
        // It is refused without another crash, and its other event may come in other requests.
        assert_quarantined(&client.publish(events("t", ["a7", "crash"])).await);
        client.publish_ok(event("t", "a7")).await;
        assert_eq!(client.stats().await["node"]["writers"][0]["restarts"], 3);
    });
}

#[test]
fn many_requests_that_crash_the_writer_do_not_end_the_service() {
    // Each crashes twice: more often together than restarts are allowed in a minute.
    const CRASHING: usize = 15;
    on_both_stores_with(crash_at_crash, async |service| {
        for request in 0..CRASHING {
            let answer = send_until_settled(&service.client, &[format!("crash {request}")]).await;
            assert_quarantined(&answer);
            service.client.publish_ok(event("t", &format!("fine {request}"))).await;
        }
        assert_refused_and_the_rest_stored(&service, CRASHING as u64).await;
    });
}

#[test]
fn a_writer_that_crashes_at_every_group_blames_no_request_and_ends_the_service() {
    let change = |settings: &mut Settings| {
        settings.restarts.restarts_max = 3;
        settings.before_append =
            Some(Arc::new(|_: &[&str]| async { panic!("the writer is broken") }.boxed()));
    };
    on_both_stores_with(change, async |service| {
        let client = &service.client;
        let mut answers = 0;
        // Not one of the answers may tell the producer to give up.
        while let Ok(answer) = client.try_publish(event("t", "a").to_string()).await {
            answer.problem(503);
            answers += 1;
            assert!(answers < 1_000, "the service does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (ended, _) = service.ended().await;
        assert!(ended.is_err());
    });
}

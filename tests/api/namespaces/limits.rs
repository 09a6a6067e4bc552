//! How many namespaces there may be, and how many topics in one.

use std::sync::Arc;

use futures::FutureExt;
use serde_json::json;
use tokio::sync::Semaphore;

use super::{counts, create, delete, detail, get, names, publish, publish_ok, put};
use crate::harness::{Client, Settings, event, eventually, on_both_stores_with};

#[test]
fn a_namespace_beyond_the_limit_is_refused_until_another_one_is_deleted() {
    let change = |settings: &mut Settings| settings.config.namespaces_max = 3;
    on_both_stores_with(change, async |service| {
        let client = &service.client;
        create(client, "a", json!({})).await;
        create(client, "b", json!({})).await;
        let problem = put(client, "c", "").await.problem(422);
        assert_eq!(problem["type"], "urn:sekali:problem:too-many-namespaces");
        assert!(detail(&problem).contains("--namespaces-max") && detail(&problem).contains('3'), "{problem}");
        assert_eq!(put(client, "b", "").await.status, 200);
        put(client, "b", json!({"dedup_scope": "topic"})).await.problem(409);
        assert_eq!(names(client).await, ["a", "b", "default"]);
        delete(client, "a").await;
        delete(client, "b").await;
        // The limit holds for those who create at once, too.
        let wanted: Vec<String> = (0..10).map(|number| format!("n{number}")).collect();
        let answers = futures::future::join_all(wanted.iter().map(|name| put(client, name, ""))).await;
        let created = answers.iter().filter(|answer| answer.status == 201).count();
        let refused = answers.iter().filter(|answer| answer.status == 422).count();
        assert_eq!((created, refused), (2, 8));
        assert_eq!(names(client).await.len(), 3);
    });
}

/// A request of so many events, each in a topic of its own.
fn in_topics(topics: &[&str]) -> String {
    let events: Vec<_> = topics.iter().map(|topic| event(topic, &format!("in {topic}"))).collect();
    json!(events).to_string()
}

#[test]
fn a_request_with_a_topic_too_many_is_refused_and_its_neighbours_are_stored() {
    // The first append waits, so that all requests after it stand in one group.
    let gate = Arc::new(Semaphore::new(0));
    let waiting = Arc::clone(&gate);
    let change = |settings: &mut Settings| {
        let gate = Arc::clone(&waiting);
        settings.config.topics_max = 3;
        settings.before_append = Some(Arc::new(move |ids: &[&str]| {
            let waits = ids == ["first"];
            let gate = Arc::clone(&gate);
            async move {
                if waits {
                    gate.acquire().await.unwrap().forget();
                }
            }
            .boxed()
        }));
    };
    on_both_stores_with(change, async |service| {
        let client = &service.client;
        create(client, "few", json!({})).await;
        let send = |body: String| {
            let client: Client = client.clone();
            tokio::spawn(async move { publish(&client, "few", body).await })
        };
        let first = send(event("a", "first").to_string());
        let queue = async || {
            let stats = client.stats().await;
            let writers = stats["node"]["writers"].as_array().unwrap().clone();
            writers.iter().map(|writer| writer["queue"].as_u64().unwrap()).sum::<u64>()
        };
        let in_flight = async || client.stats().await["node"]["in_flight"]["events"].as_u64().unwrap();
        eventually("the first append has begun", async || in_flight().await == 1 && queue().await == 0).await;
        let others =
            [in_topics(&["a", "b"]), in_topics(&["c", "d", "e"]), in_topics(&["b"]), in_topics(&["a", "c"])];
        let others = others.map(&send);
        eventually("the others wait", async || queue().await == 4).await;
        gate.add_permits(1);
        assert_eq!(first.await.unwrap().status, 200);
        let [fits, too_many, also_fits, fits_too] =
            futures::future::join_all(others).await.try_into().unwrap();
        for answer in [fits, also_fits, fits_too] {
            let answer = answer.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text);
        }
        let problem = too_many.unwrap().problem(422);
        assert!(detail(&problem).contains("more than 3 topics (--topics-max)"), "{problem}");

        // Nothing of it is stored or counted, and it is refused again; what names a known topic is not.
        assert_eq!(counts(client, "few").await, (6, 4, 2));
        publish(client, "few", in_topics(&["d"])).await.problem(422);
        assert_eq!(publish_ok(client, "few", event("c", "more")).await, [("stored".to_owned(), 5)]);
        assert_eq!(get(client, "few", "/stats").await["topics_total"], 3);
        // Another namespace has its own.
        client.publish_ok(in_topics(&["d", "e", "f"])).await;
    });
}

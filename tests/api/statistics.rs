//! The counters and the probes agree with what is stored, also while many publish.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Client, RunningService, Settings, event, events, on_both_stores};

async fn restart(service: RunningService) -> RunningService {
    let (ended, database) = service.stop().await;
    ended.unwrap();
    RunningService::start(Settings::new(database)).await
}

#[test]
fn statistics_agree_with_what_is_stored() {
    on_both_stores(async |service| {
        let client = &service.client;
        assert_eq!(client.stats().await["duplicate_rate"], 0.0);
        client.publish_ok(events("a", ["1", "2", "3"])).await;
        client.publish_ok(events("b", ["4", "1"])).await;
        client.publish_ok(events("a", ["3", "3", "5"])).await;
        let stats = client.stats().await;
        assert_eq!(
            (&stats["received"], &stats["unique_processed"], &stats["duplicate_dropped"]),
            (&json!(8), &json!(5), &json!(3))
        );
        assert_eq!(stats["duplicate_rate"], 0.375);
        assert_eq!((&stats["topics"], &stats["topics_total"]), (&json!(["a", "b"]), &json!(2)));
        assert_eq!(stats["by_topic"]["a"], json!({"unique": 4, "duplicates": 2}));
        assert_eq!(stats["by_topic"]["b"], json!({"unique": 1, "duplicates": 1}));
        for topic in ["a", "b"] {
            let stored = client.events(&format!("?topic={topic}")).await.len();
            assert_eq!(stats["by_topic"][topic]["unique"], stored);
        }
        service.database().assert_sound().await;
    });
}

/// Counters read while others publish: each answer is consistent, none is behind an earlier one, and the keys stay.
async fn watch_stats(client: Client, published: Arc<AtomicBool>, acknowledged: Arc<AtomicU64>) -> usize {
    let mut last = (0, 0, 0);
    let mut keys = None;
    let mut calls = 0;
    loop {
        let all_published = published.load(Ordering::SeqCst);
        let acknowledged_before = acknowledged.load(Ordering::SeqCst);
        let stats = client.stats().await;
        calls += 1;
        let count = |name: &str| stats[name].as_u64().unwrap();
        let counts = (count("received"), count("unique_processed"), count("duplicate_dropped"));
        assert_eq!(counts.0, counts.1 + counts.2);
        assert!(counts.0 >= last.0 && counts.1 >= last.1 && counts.2 >= last.2, "{last:?} then {counts:?}");
        assert!(counts.0 >= acknowledged_before, "{acknowledged_before} were acknowledged: {counts:?}");
        let rate = if counts.0 == 0 { 0.0 } else { counts.2 as f64 / counts.0 as f64 };
        assert_eq!(stats["duplicate_rate"], rate);
        let by_topic = |name: &str| -> u64 {
            stats["by_topic"].as_object().unwrap().values().map(|topic| topic[name].as_u64().unwrap()).sum()
        };
        assert_eq!((by_topic("unique"), by_topic("duplicates")), (counts.1, counts.2));
        assert_eq!(stats["topics"].as_array().unwrap().len() as u64, count("topics_total"));
        let these: Vec<String> = stats.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys.get_or_insert_with(|| these.clone()), &these);
        last = counts;
        if all_published {
            return calls;
        }
    }
}

#[test]
fn statistics_are_consistent_while_many_publish() {
    on_both_stores(async |service| {
        let (published, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let watchers: Vec<_> = (0..4)
            .map(|_| {
                let watch =
                    watch_stats(service.client.clone(), Arc::clone(&published), Arc::clone(&acknowledged));
                tokio::spawn(watch)
            })
            .collect();
        let publishers = (0..16).map(|publisher| {
            let (client, acknowledged) = (service.client.clone(), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                for round in 0..20 {
                    // Four publishers each share their ids.
                    let ids: Vec<String> =
                        (0..5).map(|place| format!("{}-{round}-{place}", publisher % 4)).collect();
                    let topic = format!("topic-{}", publisher % 3);
                    let results = client.publish_ok(events(&topic, ids.iter().map(String::as_str))).await;
                    acknowledged.fetch_add(results.len() as u64, Ordering::SeqCst);
                }
            })
        });
        for publisher in join_all(publishers).await {
            publisher.unwrap();
        }
        published.store(true, Ordering::SeqCst);
        for watcher in join_all(watchers).await {
            assert!(watcher.unwrap() > 1);
        }
        assert_eq!(service.client.counts().await, (1_600, 400, 1_200));
        assert_eq!(service.client.all_events().await.len(), 400);
        service.database().assert_sound().await;
    });
}

#[test]
fn statistics_have_the_same_keys_and_types_at_every_call() {
    on_both_stores(async |service| {
        let client = &service.client;
        let check = async |client: &Client| {
            let stats = client.stats().await;
            let keys: BTreeSet<&str> = stats.as_object().unwrap().keys().map(String::as_str).collect();
            let expected = [
                "received",
                "unique_processed",
                "duplicate_dropped",
                "duplicate_rate",
                "topics",
                "topics_total",
                "by_topic",
                "uptime",
                "uptime_seconds",
                "node",
            ];
            assert_eq!(keys, expected.into());
            for name in ["received", "unique_processed", "duplicate_dropped", "topics_total"] {
                assert!(stats[name].is_u64(), "{name}: {stats}");
            }
            for name in ["duplicate_rate", "uptime", "uptime_seconds"] {
                assert!(stats[name].is_f64(), "{name}: {stats}");
            }
            assert!(stats["topics"].is_array() && stats["by_topic"].is_object() && stats["node"].is_object());
            let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
            (
                members(&stats["node"]),
                members(&stats["node"]["writers"][0]),
                members(&stats["node"]["shards"][0]),
            )
        };
        let empty = check(client).await;
        client.publish_ok(events("t", ["a", "b"])).await;
        assert_eq!(check(client).await, empty);
        client.publish_ok(events("t", ["a", "b"])).await;
        assert_eq!(check(client).await, empty);
        let service = restart(service).await;
        assert_eq!(check(&service.client).await, empty);
    });
}

#[test]
fn the_statistics_answer_every_call_under_load() {
    on_both_stores(async |service| {
        let publish = |publisher: usize| {
            let client = service.client.clone();
            tokio::spawn(async move {
                for round in 0..30 {
                    client.publish_ok(event("t", &format!("{publisher}-{}", round % 15))).await;
                }
            })
        };
        let ask = |_| {
            let client = service.client.clone();
            tokio::spawn(async move {
                let mut last = (0, 0, 0);
                for _ in 0..50 {
                    let answer = client.get("/stats").await;
                    assert_eq!(answer.status, 200, "{}", answer.text);
                    let (received, unique, duplicates) = client.counts().await;
                    assert_eq!(received, unique + duplicates);
                    assert!(received >= last.0 && unique >= last.1 && duplicates >= last.2);
                    last = (received, unique, duplicates);
                }
            })
        };
        let publishers: Vec<_> = (0..8).map(publish).collect();
        let askers: Vec<_> = (0..8).map(ask).collect();
        for task in join_all(publishers.into_iter().chain(askers)).await {
            task.unwrap();
        }
        assert_eq!(service.client.counts().await, (240, 120, 120));
        service.database().assert_sound().await;
    });
}

#[test]
fn health_and_observability_answer() {
    on_both_stores(async |service| {
        let client = &service.client;
        let health = client.get("/health").await;
        assert_eq!(
            (health.status, health.json()),
            (200, json!({"status": "healthy", "database": "connected"}))
        );
        for path in ["/livez", "/readyz"] {
            let answer = client.get(path).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.text);
            assert_eq!(answer.header("content-type"), Some("application/json"));
        }
        client.publish_ok(events("t", ["a", "b", "a"])).await;
        let stats = client.stats().await;
        assert!(stats["uptime"].as_f64().unwrap() > 0.0);
        assert_eq!(stats["uptime"], stats["uptime_seconds"]);
        let node = &stats["node"];
        let shards = node["shards"].as_array().unwrap();
        assert_eq!(shards.len(), 2);
        for actor in shards.iter().chain([&node["writers"][0], &node["stats"]]) {
            assert_eq!((&actor["running"], &actor["restarts"]), (&json!(true), &json!(0)), "{actor}");
            assert!(actor["name"].is_string() && actor["queue"].is_u64(), "{actor}");
        }
        assert!(shards.iter().all(|shard| shard["window_ids"].is_u64()));
        assert_eq!(
            (&node["restarts"], &node["commits"], &node["exceptions"]),
            (&json!(0), &json!(1), &json!(0))
        );
        assert!(node["rates"]["events_per_second"].is_f64());
        assert!(node["commit_latency_ms"]["p99"].as_f64().unwrap() > 0.0);
        assert_eq!(node["version"], env!("CARGO_PKG_VERSION"));
    });
}

//! Many clients at once, and several services on one database: every event once, whoever asks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use futures::future::join_all;
use serde_json::Value;
use tokio::sync::Barrier;

use crate::harness::{
    Answer, Client, Database, Engine, RunningService, Settings, block_on, event, events, eventually,
    on_both_stores, on_both_stores_with,
};

const CLIENTS: usize = 64;

/// The ids of one request.
type Ids = Vec<String>;

/// Sends each request from a task of its own, all at the same moment; answers ids and answer of each.
async fn publish_at_once(requests: impl IntoIterator<Item = (Client, Ids)>) -> Vec<(Ids, Answer)> {
    let requests: Vec<(Client, Ids)> = requests.into_iter().collect();
    let start = Arc::new(Barrier::new(requests.len()));
    let publish = |(client, ids): (Client, Ids)| {
        let start = Arc::clone(&start);
        tokio::spawn(async move {
            start.wait().await;
            let answer = client.publish(events("t", ids.iter().map(String::as_str))).await;
            (ids, answer)
        })
    };
    let answers = join_all(requests.into_iter().map(publish)).await;
    answers.into_iter().map(|answer| answer.unwrap()).collect()
}

/// Overlapping batches, every second one in the opposite order.
fn overlapping(round: usize) -> Vec<Ids> {
    let batch = |client: usize| {
        let ids = (0..40).map(|place| format!("{round}-{}", (client * 11 + place) % 300));
        if client.is_multiple_of(2) { ids.collect() } else { ids.rev().collect() }
    };
    (0..CLIENTS).map(batch).collect()
}

/// The whole promise over all answers that were ever given on one fresh database.
async fn assert_once_each(client: &Client, database: &Database, answers: &[(Ids, Answer)]) {
    let stored = client.all_events().await;
    let seqs: Vec<u64> = stored.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=stored.len() as u64).collect::<Vec<_>>(), "seq is gapless from 1");
    let seq_of: BTreeMap<&str, u64> =
        stored.iter().map(|event| event["event_id"].as_str().unwrap()).zip(seqs).collect();
    assert_eq!(seq_of.len(), stored.len(), "every id is stored once");
    let sent: BTreeSet<&str> = answers.iter().flat_map(|(ids, _)| ids).map(String::as_str).collect();
    assert_eq!(sent, seq_of.keys().copied().collect(), "what was sent is stored, and nothing else");

    let mut said_stored = BTreeSet::new();
    for (ids, answer) in answers {
        assert_eq!(answer.status, 200, "{}", answer.text);
        for seq in stored_seqs(ids, &answer.json(), &seq_of) {
            assert!(said_stored.insert(seq), "seq {seq} was answered as stored twice");
        }
    }
    assert_eq!(said_stored.len(), stored.len(), "every event was answered as stored once");

    let received = answers.iter().map(|(ids, _)| ids.len() as u64).sum();
    let unique = stored.len() as u64;
    assert_eq!(client.counts().await, (received, unique, received - unique));
    database.assert_sound().await;
}

/// Checks one answer against what is stored; answers the `seq` of its new events.
fn stored_seqs(ids: &[String], answer: &Value, seq_of: &BTreeMap<&str, u64>) -> Vec<u64> {
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), ids.len());
    let mut stored = Vec::new();
    for (id, result) in ids.iter().zip(results) {
        let seq = result["seq"].as_u64().unwrap();
        assert_eq!(result["event_id"], **id, "results are in request order");
        assert_eq!(seq, seq_of[id.as_str()], "the seq answered is the stored one");
        match result["status"].as_str() {
            Some("stored") => stored.push(seq),
            Some("duplicate") => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(
        stored.windows(2).all(|pair| pair[0] + 1 == pair[1]),
        "consecutive, in request order: {stored:?}"
    );
    let count = |name: &str| answer[name].as_u64().unwrap() as usize;
    assert_eq!(count("accepted"), ids.len());
    assert_eq!(count("unique"), stored.len());
    assert_eq!(count("duplicates"), ids.len() - stored.len());
    stored
}

async fn overlapping_batches_in_opposite_orders(service: RunningService) {
    let mut answers = Vec::new();
    for round in 0..3 {
        let requests = overlapping(round).into_iter().map(|ids| (service.client.clone(), ids));
        answers.extend(publish_at_once(requests).await);
    }
    assert_once_each(&service.client, service.database(), &answers).await;
}

#[test]
fn overlapping_batches_in_opposite_orders_store_every_event_once() {
    on_both_stores(overlapping_batches_in_opposite_orders);
}

#[test]
fn overlapping_batches_are_stored_once_without_windows() {
    on_both_stores_with(|settings| settings.config.window_ids = 0, overlapping_batches_in_opposite_orders);
}

#[test]
fn overlapping_batches_are_stored_once_with_one_shard() {
    on_both_stores_with(|settings| settings.config.shards = 1, overlapping_batches_in_opposite_orders);
}

#[test]
fn overlapping_batches_are_stored_once_with_seven_shards() {
    on_both_stores_with(|settings| settings.config.shards = 7, overlapping_batches_in_opposite_orders);
}

#[test]
fn overlapping_batches_are_stored_once_when_each_request_is_a_group_alone() {
    on_both_stores_with(
        |settings| settings.config.group_events_max = 1,
        overlapping_batches_in_opposite_orders,
    );
}

async fn the_same_ids_at_the_same_moment(service: RunningService) {
    let mut answers = Vec::new();
    for round in 0..8 {
        let ids: Ids = (0..20).map(|place| format!("{round}-{place}")).collect();
        let requests = (0..CLIENTS).map(|_| (service.client.clone(), ids.clone()));
        let round = publish_at_once(requests).await;
        // All or none of a request: one of them stores all twenty, the others nothing.
        let unique: Vec<u64> =
            round.iter().map(|(_, answer)| answer.json()["unique"].as_u64().unwrap()).collect();
        assert_eq!(unique.iter().filter(|unique| **unique == 20).count(), 1, "{unique:?}");
        assert_eq!(unique.iter().sum::<u64>(), 20, "{unique:?}");
        answers.extend(round);
    }
    assert_once_each(&service.client, service.database(), &answers).await;
}

#[test]
fn repeats_in_flight_are_duplicates_of_the_one_that_is_stored() {
    on_both_stores(the_same_ids_at_the_same_moment);
}

#[test]
fn repeats_in_flight_are_told_without_windows() {
    on_both_stores_with(|settings| settings.config.window_ids = 0, the_same_ids_at_the_same_moment);
}

#[test]
fn repeats_in_flight_are_told_with_one_shard() {
    on_both_stores_with(|settings| settings.config.shards = 1, the_same_ids_at_the_same_moment);
}

#[test]
fn repeats_in_flight_are_told_with_seven_shards() {
    on_both_stores_with(|settings| settings.config.shards = 7, the_same_ids_at_the_same_moment);
}

#[test]
fn whoever_reads_on_from_the_last_seq_misses_nothing_while_others_publish() {
    on_both_stores(async |service| {
        let published = Arc::new(AtomicBool::new(false));
        let reader = {
            let (client, published) = (service.client.clone(), Arc::clone(&published));
            tokio::spawn(async move {
                let mut read = Vec::new();
                loop {
                    let all_published = published.load(Ordering::SeqCst);
                    let page = client.events(&format!("?after={}&limit=50", read.len())).await;
                    if page.is_empty() && all_published {
                        return read;
                    }
                    for event in page {
                        assert_eq!(
                            event["seq"].as_u64(),
                            Some(read.len() as u64 + 1),
                            "no seq is passed over"
                        );
                        read.push(event);
                    }
                }
            })
        };
        let mut answers = Vec::new();
        for round in 0..3 {
            let requests = overlapping(round).into_iter().map(|ids| (service.client.clone(), ids));
            answers.extend(publish_at_once(requests).await);
        }
        published.store(true, Ordering::SeqCst);
        assert_eq!(reader.await.unwrap(), service.client.all_events().await);
        assert_once_each(&service.client, service.database(), &answers).await;
    });
}

/// Two services on one Postgres database.
fn on_two_nodes<F: Future<Output = ()>>(test: impl Fn([RunningService; 2]) -> F) {
    block_on(async {
        test(two_nodes_on(Database::create(Engine::Postgres).await).await).await;
    });
}

async fn two_nodes_on(database: Database) -> [RunningService; 2] {
    let one = RunningService::start(Settings::new(database)).await;
    let other = RunningService::start(Settings::new(Arc::clone(one.database()))).await;
    [one, other]
}

#[test]
fn two_nodes_on_one_database_store_every_event_once() {
    on_two_nodes(async |nodes| {
        let mut answers = Vec::new();
        for round in 0..4 {
            let client = |place: usize| nodes[(place / 2) % 2].client.clone();
            let requests =
                overlapping(round).into_iter().enumerate().map(|(place, ids)| (client(place), ids));
            answers.extend(publish_at_once(requests).await);
        }
        let received = answers.iter().map(|(ids, _)| ids.len() as u64).sum::<u64>();
        for node in &nodes {
            let client = &node.client;
            eventually("each node counts what both stored", || async { client.counts().await.0 == received })
                .await;
            assert_once_each(client, node.database(), &answers).await;
        }
        let [one, other] = [nodes[0].client.stats().await, nodes[1].client.stats().await];
        for key in ["received", "unique_processed", "duplicate_dropped", "topics", "topics_total", "by_topic"]
        {
            assert_eq!(one[key], other[key], "{key}");
        }
    });
}

/// A writer that waited would otherwise go on with a snapshot that is older than the lock it has got.
#[test]
fn a_database_that_is_serializable_by_default_is_written_under_the_ledgers_lock() {
    block_on(async {
        let database = Database::create(Engine::Postgres).await;
        let settings = "DO $$ BEGIN EXECUTE format(
            'ALTER DATABASE %I SET default_transaction_isolation = serializable', current_database()); END $$";
        database.execute(settings).await;
        let nodes = two_nodes_on(database).await;
        let requests = overlapping(0).into_iter().enumerate();
        let requests = requests.map(|(place, ids)| (nodes[(place / 2) % 2].client.clone(), ids));
        let answers = publish_at_once(requests).await;
        let received = answers.iter().map(|(ids, _)| ids.len() as u64).sum::<u64>();
        let client = &nodes[0].client;
        eventually("the node counts what both stored", || async { client.counts().await.0 == received })
            .await;
        assert_once_each(client, nodes[0].database(), &answers).await;
    });
}

#[test]
fn the_same_request_on_two_nodes_at_the_same_moment_is_stored_once() {
    on_two_nodes(async |nodes| {
        let mut answers = Vec::new();
        for round in 0..20 {
            let ids: Ids = (0..10).map(|place| format!("{round}-{place}")).collect();
            let requests = (0..8).map(|place| (nodes[place % 2].client.clone(), ids.clone()));
            answers.extend(publish_at_once(requests).await);
        }
        let received = answers.len() as u64 * 10;
        for node in &nodes {
            let client = &node.client;
            eventually("each node counts what both stored", || async { client.counts().await.0 == received })
                .await;
            assert_once_each(client, node.database(), &answers).await;
        }
    });
}

#[test]
fn every_node_counts_at_once_what_any_node_acknowledged() {
    on_two_nodes(async |nodes| {
        let acknowledged = Arc::new(AtomicU64::new(0));
        let publishers = (0..8).map(|publisher| {
            let (client, acknowledged) = (nodes[publisher % 2].client.clone(), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                for place in 0..25 {
                    // Two publishers of the same node, and those of the other one, send the same ids.
                    client.publish_ok(event("t", &format!("{}-{place}", publisher / 4))).await;
                    let before = acknowledged.fetch_add(1, Ordering::SeqCst) + 1;
                    let (received, unique, duplicates) = client.counts().await;
                    assert!(received >= before, "{before} acknowledged, {received} counted");
                    assert_eq!(received, unique + duplicates);
                }
            })
        });
        for publisher in join_all(publishers).await {
            publisher.unwrap();
        }
        for node in &nodes {
            assert_eq!(node.client.counts().await, (200, 50, 150));
        }
        let results = nodes[0].client.publish_ok(event("late", "late")).await;
        assert_eq!(results[0]["seq"], 51);
        assert_eq!(nodes[0].client.counts().await, (201, 51, 150));
        let second = &nodes[1].client;
        assert_eq!(second.counts().await, (201, 51, 150));
        let results = second.publish_ok(event("late", "late")).await;
        assert_eq!((&results[0]["status"], &results[0]["seq"]), (&"duplicate".into(), &51.into()));
        assert_eq!(
            second.stats().await["by_topic"]["late"],
            serde_json::json!({"unique": 1, "duplicates": 1})
        );
        nodes[0].database().assert_sound().await;
    });
}

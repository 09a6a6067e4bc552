//! Namespaces that are deleted: idle, under load, on another node, and created again.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};

use super::{NO_NAMESPACE, counts, create, delete, detail, get, names, publish, publish_ok, put, send};
use crate::harness::{
    Client, Database, Engine, RunningService, Settings, block_on, event, events, eventually,
    on_both_databases, on_both_stores,
    raw::{Raw, publish_head},
};

/// Rows of namespaces other than `default`, in every table that has some.
async fn rows_beside_default(database: &Database) -> i64 {
    let commits = match database.engine {
        Engine::Sqlite => "",
        Engine::Postgres => "UNION ALL SELECT namespace_no FROM sekali.commits",
    };
    let tables = ["namespaces", "ledgers", "stored_events", "identities", "topics"];
    let rows = tables.map(|table| format!("SELECT namespace_no FROM {}", database.table(table)));
    let rows = format!("{} {commits}", rows.join(" UNION ALL "));
    database.number(&format!("SELECT count(*) FROM ({rows}) AS kept WHERE namespace_no <> 1")).await
}

#[test]
fn a_deleted_namespace_is_gone_and_the_next_one_of_its_name_is_empty() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.publish_ok(event("t", "a")).await;
        create(client, "a", json!({})).await;
        publish_ok(client, "a", events("t", ["a", "b", "a"])).await;
        let created_at = get(client, "a", "").await["created_at"].as_str().unwrap().to_owned();
        for query in ["", "?", "?confirm=", "?confirm=b", "?confirm=A", "?confirm=a&confirm=a", "?force=a"] {
            let problem = send(client, "DELETE", &format!("/namespaces/a{query}")).await.problem(422);
            let names = if query == "?force=a" { "force" } else { "confirm" };
            assert!(detail(&problem).contains(names), "{query}: {problem}");
        }
        assert_eq!(counts(client, "a").await, (3, 2, 1));

        delete(client, "a").await;
        for path in ["", "/events", "/events/a", "/stats"] {
            client.get(&format!("/namespaces/a{path}")).await.problem(404);
        }
        publish(client, "a", event("t", "c")).await.problem(404);
        send(client, "DELETE", "/namespaces/a?confirm=a").await.problem(404);
        assert_eq!(names(client).await, ["default"]);

        create(client, "a", json!({"dedup_scope": "topic"})).await;
        assert_eq!(get(client, "a", "/events").await, json!([]));
        assert_eq!(counts(client, "a").await, (0, 0, 0));
        let results = publish_ok(client, "a", json!([event("t", "a"), event("u", "a")])).await;
        assert_eq!(results, [("stored".to_owned(), 1), ("stored".to_owned(), 2)]);
        assert!(*get(client, "a", "").await["created_at"].as_str().unwrap() > *created_at);

        delete(client, "a").await;
        let database = service.database();
        eventually("its rows are removed", async || rows_beside_default(database).await == 0).await;
        assert_eq!(client.counts().await, (1, 1, 0));
        database.assert_sound().await;
    });
}

#[test]
fn the_rows_of_a_deletion_that_was_interrupted_are_removed_after_a_restart() {
    on_both_databases(async |database| {
        let service = RunningService::start(Settings::new(database)).await;
        let client = &service.client;
        client.publish_ok(event("t", "kept")).await;
        create(client, "a", json!({})).await;
        let ids: Vec<String> = (0..5_000).map(|id| id.to_string()).collect();
        publish_ok(client, "a", events("t", ids.iter().map(String::as_str))).await;
        let (ended, database) = service.stop().await;
        ended.unwrap();
        // As earlier versions left it, whose deletions had two steps.
        let namespaces = database.table("namespaces");
        let interrupted = format!("UPDATE {namespaces} SET name = NULL, state = 'deleting' WHERE name = 'a'");
        database.execute(&interrupted).await;
        assert!(rows_beside_default(&database).await > 10_000);

        // A stop in the middle of it leaves the rest for the next start.
        let service = RunningService::start(Settings::new(database)).await;
        eventually("some rows are removed", async || rows_beside_default(service.database()).await < 10_000)
            .await;
        let (ended, database) = service.stop().await;
        ended.unwrap();
        let service = RunningService::start(Settings::new(database)).await;
        let database = service.database();
        create(&service.client, "a", json!({})).await;
        let of_the_new_one = 2;
        eventually("its rows are removed", async || rows_beside_default(database).await == of_the_new_one)
            .await;
        assert_eq!(publish_ok(&service.client, "a", event("t", "0")).await, [("stored".to_owned(), 1)]);
        assert_eq!(service.client.counts().await, (1, 1, 0));
    });
}

#[test]
fn a_deletion_that_finds_the_ledger_held_does_nothing_and_can_be_repeated() {
    on_both_stores(async |service| {
        let client = &service.client;
        create(client, "a", json!({})).await;
        publish_ok(client, "a", event("t", "a")).await;
        let ledger = service.database().hold_ledger().await;
        let refused = send(client, "DELETE", "/namespaces/a?confirm=a").await.problem(503);
        assert_eq!(counts(client, "a").await, (1, 1, 0), "{refused}");
        assert_eq!(names(client).await, ["a", "default"]);
        ledger.release().await;
        assert_eq!(publish_ok(client, "a", event("t", "b")).await, [("stored".to_owned(), 2)]);
        delete(client, "a").await;
        publish(client, "a", event("t", "c")).await.problem(404);
        let database = service.database();
        eventually("its rows are removed", async || rows_beside_default(database).await == 0).await;
    });
}

#[test]
fn a_body_that_was_on_its_way_is_not_stored_in_the_next_namespace_of_that_name() {
    on_both_stores(async |service| {
        let client = &service.client;
        for is_created_again in [false, true] {
            create(client, "a", json!({})).await;
            let body = event("t", "late").to_string();
            let (begin, end) = body.split_at(body.len() / 2);
            let mut raw = Raw::connect(service.address).await;
            let head = publish_head(&format!("Content-Length: {}", body.len()));
            raw.send(head.replace("/publish", "/namespaces/a/publish") + begin).await;
            eventually("the body has begun", async || {
                client.stats().await["node"]["in_flight"]["bytes"].as_u64() > Some(0)
            })
            .await;
            delete(client, "a").await;
            if is_created_again {
                create(client, "a", json!({})).await;
            }
            raw.send(end).await;
            let answer = raw.answer().await;
            if is_created_again {
                // The same request may be sent again, and is then for the new one.
                answer.problem(503);
                assert_eq!(counts(client, "a").await, (0, 0, 0));
                assert_eq!(publish_ok(client, "a", &body).await, [("stored".to_owned(), 1)]);
            } else {
                assert_eq!(answer.problem(404)["type"], NO_NAMESPACE);
            }
        }
    });
}

/// Publishes to a namespace over and over, from several clients at once.
struct Load {
    is_over: Arc<AtomicBool>,
    /// How many times the namespace was created, as the producers know it.
    generation: Arc<AtomicUsize>,
    /// Requests that were answered 200.
    stored: Arc<AtomicUsize>,
    producers: Vec<tokio::task::JoinHandle<Vec<Sent>>>,
}

/// A request of one event and its answer.
struct Sent {
    id: String,
    begun_in: usize,
    ended_in: usize,
    answer: crate::harness::Answer,
}

impl Load {
    fn start(client: &Client, producers: usize) -> Self {
        let mut load = Self {
            is_over: Arc::default(),
            generation: Arc::default(),
            stored: Arc::default(),
            producers: Vec::new(),
        };
        for producer in 0..producers {
            let (is_over, generation, stored) =
                (Arc::clone(&load.is_over), Arc::clone(&load.generation), Arc::clone(&load.stored));
            let client = client.clone();
            load.producers.push(tokio::spawn(async move {
                let mut sent = Vec::new();
                while !is_over.load(Ordering::SeqCst) {
                    let id = format!("{producer} {}", sent.len());
                    let begun_in = generation.load(Ordering::SeqCst);
                    let answer = publish(&client, "busy", event("t", &id)).await;
                    if answer.status == 200 {
                        stored.fetch_add(1, Ordering::SeqCst);
                    }
                    let ended_in = generation.load(Ordering::SeqCst);
                    sent.push(Sent { id, begun_in, ended_in, answer });
                }
                sent
            }));
        }
        load
    }

    /// Waits until so many more requests are answered 200.
    async fn progress(&self, requests: usize) {
        let goal = self.stored.load(Ordering::SeqCst) + requests;
        eventually("publishes go on", async || self.stored.load(Ordering::SeqCst) >= goal).await;
    }

    async fn end(self) -> Vec<Sent> {
        self.is_over.store(true, Ordering::SeqCst);
        let sent = futures::future::join_all(self.producers).await;
        sent.into_iter().flat_map(Result::unwrap).collect()
    }
}

#[test]
fn publishes_to_a_namespace_that_is_deleted_are_stored_before_or_refused() {
    const ROUNDS: usize = 4;
    on_both_stores(async |service| {
        let client = &service.client;
        create(client, "busy", json!({})).await;
        let load = Load::start(client, 8);
        for _ in 0..ROUNDS {
            load.progress(100).await;
            delete(client, "busy").await;
            publish(client, "busy", event("t", "after")).await.problem(404);
            load.generation.fetch_add(1, Ordering::SeqCst);
            create(client, "busy", json!({})).await;
        }
        load.progress(100).await;
        let sent = load.end().await;
        for Sent { id, answer, .. } in &sent {
            match answer.status {
                200 => assert_eq!(answer.json()["results"][0]["status"], "stored", "{id}"),
                404 => assert_eq!(answer.problem(404)["type"], NO_NAMESPACE),
                _ => drop(answer.problem(503)),
            }
        }

        let page = get(client, "busy", "/events?after=0&limit=1000").await;
        let kept: Vec<(&str, u64)> = page
            .as_array()
            .unwrap()
            .iter()
            .map(|event| (event["event_id"].as_str().unwrap(), event["seq"].as_u64().unwrap()))
            .collect();
        let seqs: Vec<u64> = kept.iter().map(|(_, seq)| *seq).collect();
        assert_eq!(seqs, (1..=kept.len() as u64).collect::<Vec<_>>());
        assert!((100..1_000).contains(&kept.len()), "one page holds all: {}", kept.len());
        assert_eq!(counts(client, "busy").await, (kept.len() as u64, kept.len() as u64, 0));
        let kept: HashSet<&str> = kept.into_iter().map(|(id, _)| id).collect();
        for Sent { id, begun_in, ended_in, answer } in &sent {
            let was_stored = answer.status == 200;
            if *begun_in == ROUNDS {
                assert_eq!(kept.contains(id.as_str()), was_stored, "{id} was answered {}", answer.status);
            } else if *ended_in < ROUNDS {
                assert!(!kept.contains(id.as_str()), "{id} is of an earlier namespace");
            } else {
                // It was sent before the last creation: stored in this one only where that was answered.
                assert!(was_stored || !kept.contains(id.as_str()), "{id} was answered {}", answer.status);
            }
        }
        assert_eq!(names(client).await, ["busy", "default"]);
    });
}

#[test]
fn a_node_that_has_a_deleted_namespace_open_learns_that_it_is_gone_and_goes_on_with_the_next_one() {
    block_on(async {
        let database = Arc::new(Database::create(Engine::Postgres).await);
        let here = RunningService::start(Settings::new(Arc::clone(&database))).await;
        let there = RunningService::start(Settings::new(database)).await;
        let (here, there) = (&here.client, &there.client);
        let open_on_both = async |name: &str| {
            create(here, name, json!({})).await;
            assert_eq!(publish_ok(here, name, event("t", "a")).await, [("stored".to_owned(), 1)]);
            assert_eq!(publish_ok(there, name, event("t", "a")).await, [("duplicate".to_owned(), 1)]);
        };

        open_on_both("published").await;
        delete(here, "published").await;
        publish(there, "published", event("t", "b")).await.problem(404);
        there.get("/namespaces/published").await.problem(404);

        open_on_both("read").await;
        delete(here, "read").await;
        there.get("/namespaces/read/events").await.problem(404);
        there.get("/namespaces/read/stats").await.problem(404);

        // The name is another's already when the node finds out.
        for (name, path) in [("renewed-1", "/publish"), ("renewed-2", "/stats"), ("renewed-3", "/events")] {
            open_on_both(name).await;
            delete(here, name).await;
            create(here, name, json!({"dedup_scope": "topic"})).await;
            let body = json!([event("t", "a"), event("u", "a")]);
            let first = match path {
                "/publish" => publish(there, name, &body).await,
                path => there.get(&format!("/namespaces/{name}{path}")).await,
            };
            assert_eq!(first.problem(503)["retryable"], json!(true));
            assert_eq!(counts(there, name).await, (0, 0, 0));
            let expected = [("stored".to_owned(), 1), ("stored".to_owned(), 2)];
            assert_eq!(publish_ok(there, name, &body).await, expected);
            assert_eq!(counts(here, name).await, (2, 2, 0));
        }

        // A node that creates it itself knows that what it had open is gone.
        open_on_both("created").await;
        delete(here, "created").await;
        create(there, "created", json!({})).await;
        assert_eq!(publish_ok(there, "created", event("t", "a")).await, [("stored".to_owned(), 1)]);
        let shown: Value = put(here, "created", "").await.json();
        assert_eq!(shown["last_seq"], 1);
    });
}

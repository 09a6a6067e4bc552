//! Actors that die: what waited is served, what was in hand is answered "retry", and nothing is lost or twice.

use std::{
    collections::{HashMap, HashSet},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use sekali::{
    actors::{ActorExit, ActorName, Crash, ExitCounts, RestartPolicy},
    app::AppError,
    service::{NodeReport, NotReady},
};
use serde_json::{Value, json};

use crate::harness::{
    Answer, Client, Database, Engine, RunningService, Settings, block_on, event, events, eventually,
    on_both_stores, on_both_stores_with,
};

/// Restarts at once and for ever.
fn tireless() -> RestartPolicy {
    RestartPolicy {
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(1),
        restarts_max: usize::MAX,
        ..RestartPolicy::default()
    }
}

fn restart_tirelessly(settings: &mut Settings) {
    settings.restarts = tireless();
}

/// One request's way to its acknowledgement.
struct Sent {
    ids: Vec<String>,
    /// Attempts that were answered 503.
    interrupted: usize,
    results: Vec<Value>,
}

/// Sends a batch until it is acknowledged; anything but 200 or a retryable 503 is a fault.
async fn send_until_acknowledged(client: &Client, ids: Vec<String>) -> Sent {
    let body = events("t", ids.iter().map(String::as_str)).to_string();
    let mut interrupted = 0;
    loop {
        let answer = client.publish(&body).await;
        if answer.status == 200 {
            let results = answer.json()["results"].as_array().unwrap().clone();
            return Sent { ids, interrupted, results };
        }
        assert_retryable(&answer);
        interrupted += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn assert_retryable(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert_eq!(answer.json()["retryable"], json!(true), "{}", answer.text);
    assert!(answer.header("retry-after").is_some());
}

fn restarts(report: &NodeReport) -> u64 {
    let shards = report.shards.iter().map(|(actor, _)| actor.restarts);
    let writers = report.writers.iter().map(|actor| actor.restarts);
    shards.chain(writers).sum::<u64>() + report.stats.restarts
}

async fn wait_for_restarts(service: &RunningService, wanted: u64) {
    eventually("all actors are back", async || {
        restarts(&service.handle.node()) == wanted && service.handle.ready().await.is_ok()
    })
    .await;
}

/// That `sent` agrees with what is stored, and with what is counted.
async fn assert_stored_once(service: &RunningService, sent: &[Sent]) {
    let stored = service.client.all_events().await;
    let seqs: HashMap<&str, u64> = stored
        .iter()
        .map(|event| (event["event_id"].as_str().unwrap(), event["seq"].as_u64().unwrap()))
        .collect();
    assert_eq!(seqs.len(), stored.len(), "no event is stored twice");
    let mut told_stored: HashMap<&str, usize> = HashMap::new();
    for sent in sent {
        assert_eq!(sent.results.len(), sent.ids.len());
        for (id, result) in sent.ids.iter().zip(&sent.results) {
            assert_eq!(result["event_id"], json!(id));
            assert_eq!(result["seq"].as_u64(), seqs.get(&**id).copied(), "{id}");
            *told_stored.entry(id).or_default() += usize::from(result["status"] == "stored");
        }
    }
    let interrupted = sent.iter().filter(|sent| sent.interrupted > 0);
    let in_doubt: HashSet<&str> = interrupted.flat_map(|sent| &sent.ids).map(String::as_str).collect();
    for (id, times) in &told_stored {
        assert!(*times == 1 || *times == 0 && in_doubt.contains(id), "{id} was called stored {times} times");
    }
    assert_eq!(told_stored.len(), stored.len(), "all that is stored was acknowledged in the end");

    let (received, unique, duplicates) = service.client.counts().await;
    assert_eq!((unique, received), (stored.len() as u64, unique + duplicates));
    let acknowledged: usize = sent.iter().map(|sent| sent.ids.len()).sum();
    let attempted: usize = sent.iter().map(|sent| sent.ids.len() * (1 + sent.interrupted)).sum();
    assert!((acknowledged as u64..=attempted as u64).contains(&received), "{received} received");
    service.database().assert_sound().await;
}

/// Publishers send overlapping batches while `actors` die together, `crashes` times over.
async fn crash_under_load(service: &RunningService, actors: &[ActorName], crashes: usize) -> Vec<Sent> {
    const PUBLISHERS: usize = 6;
    const BATCHES: usize = 40;
    let acknowledged = AtomicUsize::new(0);
    let publisher = async |publisher: usize| {
        let mut all = Vec::new();
        for batch in 0..BATCHES {
            // A neighbour sends half of the same ids at about the same time.
            let ids = (0..8).map(|id| format!("{batch}-{}", (publisher / 2 + id) % 12)).collect();
            all.push(send_until_acknowledged(&service.client, ids).await);
            acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        all
    };
    let crashing = async {
        for crash in 0..crashes {
            let due = PUBLISHERS * BATCHES * (crash + 1) / (crashes + 1);
            while acknowledged.load(Ordering::Relaxed) < due {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            actors.iter().for_each(|actor| service.handle.crash(*actor, Crash::Now));
        }
    };
    let publishing = futures::future::join_all((0..PUBLISHERS).map(publisher));
    let (sent, ()) = futures::future::join(publishing, crashing).await;
    sent.into_iter().flatten().collect()
}

fn actors_die_under_load(actors: &[ActorName]) {
    on_both_stores_with(restart_tirelessly, async |service| {
        const CRASHES: usize = 12;
        let sent = crash_under_load(&service, actors, CRASHES).await;
        wait_for_restarts(&service, (CRASHES * actors.len()) as u64).await;
        if !actors.contains(&ActorName::Writer(0)) {
            let interrupted = sent.iter().map(|sent| sent.interrupted).sum::<usize>();
            assert_eq!(interrupted, 0, "only the writer holds requests while others run");
        }
        assert_stored_once(&service, &sent).await;
        let (ended, database) = service.stop().await;
        ended.unwrap();
        database.assert_sound().await;
    });
}

#[test]
fn a_shard_that_dies_under_load_costs_no_answer() {
    actors_die_under_load(&[ActorName::Shard(0)]);
}

#[test]
fn the_other_shard_dies_no_worse() {
    actors_die_under_load(&[ActorName::Shard(1)]);
}

#[test]
fn a_writer_that_dies_under_load_loses_nothing_that_was_acknowledged() {
    actors_die_under_load(&[ActorName::Writer(0)]);
}

#[test]
fn counters_that_die_under_load_are_exact_afterwards() {
    actors_die_under_load(&[ActorName::Stats]);
}

#[test]
fn all_actors_may_die_at_once_under_load() {
    actors_die_under_load(&[
        ActorName::Writer(0),
        ActorName::Shard(1),
        ActorName::Stats,
        ActorName::Shard(0),
    ]);
}

#[test]
fn a_writer_that_dies_answers_what_it_had_in_hand_and_keeps_its_queue() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.publish_ok(event("t", "before")).await;
        let lock = service.database().hold_ledger().await;
        let publish = |id: &'static str| {
            let client = client.clone();
            tokio::spawn(async move { client.publish(event("t", id)).await })
        };
        let report = || service.handle.node();
        let in_hand = publish("in hand");
        eventually("the writer has the first in hand", async || {
            let report = report();
            (report.writers.iter().map(|writer| writer.queue).sum::<usize>(), report.events_in_flight)
                == (0, 1)
                && report.shards.iter().all(|(actor, _)| actor.queue == 0)
        })
        .await;
        let waiting = [publish("waits"), publish("waits too"), publish("before")];
        let queued = || report().writers.iter().map(|writer| writer.queue).sum::<usize>();
        eventually("the others wait", async || queued() == 3).await;

        service.handle.crash(ActorName::Writer(0), Crash::Now);
        let interrupted = in_hand.await.unwrap();
        assert_retryable(&interrupted);
        lock.release().await;
        let mut results = Vec::new();
        for waits in waiting {
            let answer = waits.await.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text);
            results.extend(answer.json()["results"].as_array().unwrap().iter().cloned());
        }
        let statuses: Vec<_> = results.iter().map(|result| result["status"].as_str().unwrap()).collect();
        assert_eq!(statuses, ["stored", "stored", "duplicate"]);

        // Whether the abandoned append went through is the store's to say; the retry is right either way.
        let retry = client.publish_ok(event("t", "in hand")).await;
        let stored = client.all_events().await;
        assert_eq!(stored.len(), 4);
        let copy = stored.iter().find(|event| event["event_id"] == "in hand").unwrap();
        assert_eq!(copy["seq"], retry[0]["seq"]);
        let (received, unique, _) = client.counts().await;
        assert_eq!(unique, 4);
        assert!(received == 6 || received == 5, "{received} received");
        assert_eq!(received == 6, retry[0]["status"] == "duplicate", "an attempt counts if it committed");
        service.database().assert_sound().await;
    });
}

#[test]
fn a_thousand_crashes_leak_no_permit() {
    const EVENTS: usize = 2_000;
    let change = |settings: &mut Settings| {
        settings.restarts = tireless();
        settings.config.batch_events_max = EVENTS;
        settings.config.events_in_flight_max = EVENTS;
        settings.config.body_bytes_max = 1 << 20;
        settings.config.bytes_in_flight_max = 1 << 20;
    };
    on_both_stores_with(change, async |service| {
        const CRASHES: u64 = 1_000;
        let actors = [ActorName::Writer(0), ActorName::Shard(0), ActorName::Shard(1), ActorName::Stats];
        let over = std::sync::atomic::AtomicBool::new(false);
        let publisher = async |publisher: usize| {
            let mut sent = Vec::new();
            for batch in 0.. {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let ids = (0..5).map(|id| format!("{}-{id}", (publisher + batch) % 97)).collect();
                sent.push(send_until_acknowledged(&service.client, ids).await);
            }
            sent
        };
        let crashing = async {
            for crash in 0..CRASHES {
                service.handle.crash(actors[crash as usize % actors.len()], Crash::Now);
                if crash % 4 == 3 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
            wait_for_restarts(&service, CRASHES).await;
            over.store(true, Ordering::Relaxed);
        };
        let publishing = futures::future::join_all((0..4).map(publisher));
        let (sent, ()) = futures::future::join(publishing, crashing).await;
        let sent: Vec<Sent> = sent.into_iter().flatten().collect();
        assert!(sent.iter().any(|sent| sent.interrupted > 0), "some requests were in hand");
        assert_stored_once(&service, &sent).await;

        eventually("nothing is in flight", async || {
            let report = service.handle.node();
            (report.events_in_flight, report.bytes_in_flight) == (0, 0)
        })
        .await;
        // All that the limits allow, in one request.
        let names: Vec<String> = (0..EVENTS).map(|id| format!("full {id}")).collect();
        let mut body = events("t", names.iter().map(String::as_str)).to_string();
        body.push_str(&" ".repeat((1 << 20) - body.len()));
        let answer = service.client.publish(&body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.json()["unique"], json!(EVENTS));
        let report = service.handle.node();
        let queues = report
            .shards
            .iter()
            .map(|(actor, _)| actor.queue)
            .chain(report.writers.iter().map(|writer| writer.queue));
        assert!(queues.into_iter().all(|queue| queue == 0), "{report:?}");
        service.database().assert_sound().await;
    });
}

#[test]
fn an_actor_that_keeps_dying_ends_the_service() {
    for actor in [ActorName::Writer(0), ActorName::Shard(1), ActorName::Stats] {
        let change = |settings: &mut Settings| {
            settings.restarts = RestartPolicy { restarts_max: 3, ..tireless() };
        };
        on_both_stores_with(change, async |service| {
            service.client.publish_ok(event("t", "a")).await;
            for restart in 1..=3 {
                service.handle.crash(actor, Crash::Now);
                wait_for_restarts(&service, restart).await;
            }
            service.client.publish_ok(event("t", "b")).await;
            service.handle.crash(actor, Crash::Now);
            let actors = service.handle.clone();
            let name = match actor {
                ActorName::Shard(shard) => format!("shard {shard}"),
                ActorName::Writer(writer) => format!("writer {writer}"),
                ActorName::Stats => "stats".to_owned(),
            };
            let (ended, database) = service.ended().await;
            assert!(matches!(&ended, Err(AppError::ActorLost(lost)) if *lost == name), "{ended:?}");
            assert!(matches!(actors.ready().await, Err(NotReady::ActorDown(_))));
            let record = actors.actor(actor);
            assert_eq!(record.last_ending, Some(ActorExit::GivenUp));
            assert_eq!(record.endings, ExitCounts { panicked: 4, given_up: 1, ..ExitCounts::default() });
            database.assert_sound().await;

            // What comes next finds everything.
            drop(actors);
            let service = RunningService::start(Settings::new(database)).await;
            assert_eq!(service.client.counts().await, (2, 2, 0));
        });
    }
}

#[test]
fn the_service_is_not_ready_while_an_actor_restarts_and_serves_what_waited_then() {
    let change = |settings: &mut Settings| {
        settings.restarts = RestartPolicy { backoff_min: Duration::from_millis(600), ..tireless() };
        settings.restarts.backoff_max = settings.restarts.backoff_min;
    };
    on_both_stores_with(change, async |service| {
        // Another actor that has not even started would be named just as well.
        wait_for_restarts(&service, 0).await;
        for (actor, name) in [
            (ActorName::Shard(0), "shard 0"),
            (ActorName::Shard(1), "shard 1"),
            (ActorName::Writer(0), "writer 0"),
        ] {
            service.handle.crash(actor, Crash::Now);
            eventually("readiness fails", async || service.client.get("/readyz").await.status == 503).await;
            let answer = service.client.get("/readyz").await;
            assert!(answer.text.contains(name), "{}", answer.text);
            assert_eq!(service.client.get("/livez").await.status, 200);
            assert_eq!(service.client.get("/health").await.status, 200);
            // Enough ids that every shard has its part.
            let ids: Vec<String> = (0..20).map(|id| format!("{name} {id}")).collect();
            let answers = service.client.publish_ok(events("t", ids.iter().map(String::as_str))).await;
            assert!(answers.iter().all(|answer| answer["status"] == "stored"));
            assert_eq!(service.client.get("/readyz").await.status, 200);
        }
        assert_eq!(service.client.counts().await, (60, 60, 0));
    });
}

#[test]
fn stats_tell_of_restarts_with_their_cause_and_the_time_to_recover() {
    on_both_stores(async |service| {
        let node = async || service.client.stats().await["node"].clone();
        let fresh = node().await;
        assert_eq!(fresh["restarts"], json!(0));
        for actor in [&fresh["writers"][0], &fresh["stats"], &fresh["shards"][0], &fresh["shards"][1]] {
            assert_eq!((&actor["running"], &actor["restarts"]), (&json!(true), &json!(0)));
            assert_eq!((&actor["last_ending"], &actor["last_recovery_ms"]), (&Value::Null, &Value::Null));
        }
        for (done, actor) in
            (1..).zip([ActorName::Shard(1), ActorName::Writer(0), ActorName::Writer(0), ActorName::Stats])
        {
            service.handle.crash(actor, Crash::Now);
            wait_for_restarts(&service, done).await;
        }
        let node = node().await;
        assert_eq!(node["restarts"], json!(4));
        let record = |actor: &Value| (actor["name"].clone(), actor["restarts"].clone());
        assert_eq!(record(&node["shards"][0]), (json!("shard 0"), json!(0)));
        assert_eq!(record(&node["shards"][1]), (json!("shard 1"), json!(1)));
        assert_eq!(record(&node["writers"][0]), (json!("writer 0"), json!(2)));
        assert_eq!(record(&node["stats"]), (json!("stats"), json!(1)));
        for actor in [&node["shards"][1], &node["writers"][0], &node["stats"]] {
            assert_eq!(actor["running"], json!(true));
            assert_eq!(actor["last_ending"], json!("panicked: crash injected"));
            let endings = json!({"panicked": actor["restarts"], "given_up": 0, "died": 0, "stopped": 0});
            assert_eq!(actor["endings"], endings);
            let pause = if actor["name"] == "writer 0" { 20.0 } else { 10.0 };
            assert!(actor["last_recovery_ms"].as_f64().unwrap() >= pause, "{actor}");
        }
    });
}

#[test]
fn the_pause_before_a_restart_doubles_up_to_its_limit() {
    let change = |settings: &mut Settings| {
        settings.restarts = RestartPolicy {
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_millis(160),
            ..tireless()
        };
    };
    on_both_stores_with(change, async |service| {
        let begun = Instant::now();
        for (restart, pause_ms) in (1..).zip([20, 40, 80, 160, 160, 160, 160, 160]) {
            service.handle.crash(ActorName::Shard(0), Crash::Now);
            wait_for_restarts(&service, restart).await;
            let recovery = service.handle.node().shards[0].0.last_recovery.unwrap();
            assert!(recovery >= Duration::from_millis(pause_ms), "restart {restart} took {recovery:?}");
        }
        // Without the limit the pauses alone would add up to five seconds.
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        // Another actor starts from the shortest pause.
        service.handle.crash(ActorName::Shard(1), Crash::Now);
        wait_for_restarts(&service, 9).await;
    });
}

#[test]
fn a_crash_of_the_counters_loses_no_count() {
    on_both_stores_with(restart_tirelessly, async |service| {
        let client = &service.client;
        for round in 1..=20 {
            let ids = [format!("a{round}"), format!("b{round}"), format!("a{round}")];
            service.handle.crash(ActorName::Stats, Crash::Now);
            client.publish_ok(events("t", ids.iter().map(String::as_str))).await;
            service.handle.crash(ActorName::Stats, Crash::Now);
            let stats = client.stats().await;
            let by_topic = json!({"t": {"unique": 2 * round, "duplicates": round}});
            assert_eq!(stats["by_topic"], by_topic);
            assert_eq!(client.counts().await, (3 * round, 2 * round, round));
        }
        service.database().assert_sound().await;
    });
}

#[test]
fn a_window_that_was_lost_changes_no_answer() {
    on_both_stores_with(restart_tirelessly, async |service| {
        let ids: Vec<String> = (0..200).map(|id| format!("id {id}")).collect();
        let batch = events("t", ids.iter().map(String::as_str));
        let first = service.client.publish_ok(&batch).await;
        for restart in 1..=4 {
            let actor = if restart % 2 == 0 { ActorName::Shard(0) } else { ActorName::Shard(1) };
            service.handle.crash(actor, Crash::Now);
            let again = service.client.publish_ok(&batch).await;
            for (first, again) in first.iter().zip(&again) {
                assert_eq!(again["status"], "duplicate");
                assert_eq!(again["seq"], first["seq"]);
            }
            wait_for_restarts(&service, restart).await;
        }
        eventually("the windows are filled again from the store", async || {
            let report = service.handle.node();
            report.shards.iter().map(|(_, window_ids)| window_ids).sum::<usize>() >= 200
        })
        .await;
        assert_eq!(service.client.counts().await, (1_000, 200, 800));
    });
}

#[test]
fn a_service_that_ended_leaves_its_database_to_the_next_one_at_once() {
    block_on(async {
        // Only SQLite's file has one service at a time.
        let mut database = std::sync::Arc::new(Database::create(Engine::Sqlite).await);
        for _ in 0..60 {
            let service = RunningService::start(Settings::new(database)).await;
            service.client.publish_ok(event("t", "a")).await;
            let ended;
            (ended, database) = service.stop().await;
            ended.unwrap();
        }
        database.assert_sound().await;
    });
}

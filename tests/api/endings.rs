//! Every way in which an actor ends has a name, is counted and is logged once; so is a store that is lost.

use std::{
    io::{self, Write},
    sync::{Mutex, OnceLock},
    time::{Duration, Instant},
};

use sekali::{
    actors::{ActorExit, ActorName, Crash, ExitCounts, RestartPolicy},
    app::AppError,
    service::Service,
};
use serde_json::{Value, json};

use crate::harness::{
    Database, Engine, RunningService, Settings, block_on, event, events, eventually, on_both_stores,
    postgres_server::PostgresServer, process::Process,
};

const ACTORS: [(ActorName, &str); 4] = [
    (ActorName::Shard(0), "shard 0"),
    (ActorName::Shard(1), "shard 1"),
    (ActorName::Writer(0), "writer 0"),
    (ActorName::Stats, "stats"),
];

/// That each actor but `other` ended once, and because it was told to.
fn assert_stopped(actors: &Service, other: Option<ActorName>) {
    for (actor, name) in ACTORS.into_iter().filter(|(actor, _)| Some(*actor) != other) {
        let record = actors.actor(actor);
        assert_eq!(record.endings, ExitCounts { stopped: 1, ..ExitCounts::default() }, "{name}");
        assert_eq!((record.last_ending, record.running), (Some(ActorExit::Stopped), false), "{name}");
    }
}

#[test]
fn actors_that_are_stopped_say_so() {
    on_both_stores(async |service| {
        service.client.publish_ok(event("t", "a")).await;
        let actors = service.handle.clone();
        let (ended, _) = service.stop().await;
        ended.unwrap();
        assert_stopped(&actors, None);
    });
}

#[test]
fn an_actor_that_dies_past_its_guard_is_found_dead_and_ends_the_service() {
    for (actor, name) in ACTORS {
        on_both_stores(async |service| {
            service.client.publish_ok(event("t", "a")).await;
            let actors = service.handle.clone();
            actors.crash(actor, Crash::PastGuard);
            let (ended, database) = service.ended().await;
            assert!(matches!(&ended, Err(AppError::ActorLost(lost)) if lost == name), "{ended:?}");
            let record = actors.actor(actor);
            assert_eq!(record.endings, ExitCounts { died: 1, ..ExitCounts::default() });
            assert_eq!(record.last_ending, Some(ActorExit::Died));
            assert_stopped(&actors, Some(actor));
            database.assert_sound().await;

            // What comes next finds everything.
            drop(actors);
            let service = RunningService::start(Settings::new(database)).await;
            assert_eq!(service.client.counts().await, (1, 1, 0));
        });
    }
}

#[test]
fn a_dead_actor_is_found_at_once_although_the_store_is_silent() {
    block_on(async {
        let mut server = PostgresServer::create();
        server.start();
        let service = RunningService::start(Settings::new(Database::at(&server.url))).await;
        server.freeze();
        // The poll waits for the store from now on.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let begun = Instant::now();
        service.handle.crash(ActorName::Shard(1), Crash::PastGuard);
        let ending = || service.handle.actor(ActorName::Shard(1)).last_ending;
        eventually("it is found dead", async || ending() == Some(ActorExit::Died)).await;
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        let (ended, _database) = service.ended().await;
        server.thaw();
        assert!(matches!(&ended, Err(AppError::ActorLost(lost)) if lost == "shard 1"), "{ended:?}");
    });
}

#[test]
fn a_writer_that_dies_with_its_transaction_open_leaves_the_truth_to_the_store() {
    on_both_stores(async |service| {
        service.writer_crash.arm();
        let mut answered = 0;
        loop {
            let ids: Vec<String> = (0..1_000).map(|id| format!("{answered} {id}")).collect();
            let batch = events("t", ids.iter().map(String::as_str));
            let answer = service.client.publish(&batch).await;
            if answer.status == 200 {
                answered += 1;
                assert!(answered < 200, "no transaction was open for a moment");
                continue;
            }
            assert_eq!((answer.status, &answer.json()["retryable"]), (503, &json!(true)), "{}", answer.text);
            // The answer may come a moment before the ending is noted.
            let in_hand = || service.handle.actor(ActorName::Writer(0)).last_in_hand;
            eventually("the ending is noted", async || in_hand().is_some()).await;
            let in_hand = in_hand().unwrap();
            assert_eq!(in_hand.requests, 1);
            assert!(in_hand.time >= Duration::from_micros(200), "{in_hand:?}");
            let again = service.client.publish_ok(&batch).await;
            assert!(again.iter().all(|result| result["status"] == again[0]["status"]), "all or nothing");
            break;
        }
        assert_eq!(service.client.counts().await.1, (answered + 1) * 1_000);
        service.database().assert_sound().await;
    });
}

#[test]
fn a_store_that_is_lost_is_counted_with_the_time_until_it_takes_a_write_again() {
    // A lock on one ledger of Postgres is no loss of the store.
    block_on(async {
        let service = RunningService::start(Settings::new(Database::create(Engine::Sqlite).await)).await;
        let shown = async || service.client.stats().await["node"]["store"].clone();
        service.client.publish_ok(event("t", "a")).await;
        let never = json!({"lost": false, "losses": 0, "last_loss": null, "last_recovery_ms": null});
        assert_eq!(shown().await, never);
        for losses in 1..=2 {
            let held = service.database().hold_ledger().await;
            let publish = service.client.publish(event("t", "b"));
            let (answer, ()) = futures::future::join(publish, async {
                eventually("the store is lost", async || shown().await["lost"] == true).await;
                assert_eq!(shown().await["losses"], losses);
                assert_eq!(shown().await["last_loss"], "store lost: it is unavailable");
                held.release().await;
            })
            .await;
            assert!([200, 503].contains(&answer.status), "{}", answer.text);
            eventually("the store is back", async || shown().await["lost"] == false).await;
            let store = shown().await;
            assert_eq!(store["losses"], losses);
            assert!(store["last_recovery_ms"].as_f64().unwrap() > 0.0, "{store}");
        }
        // No actor has ended for it.
        let writer = service.handle.actor(ActorName::Writer(0));
        assert_eq!((writer.restarts, writer.last_ending), (0, None));
    });
}

#[test]
fn a_store_that_is_lost_is_logged_once_when_it_goes_and_once_when_it_is_back() {
    block_on(async {
        let mut server = PostgresServer::create();
        server.start();
        let process =
            Process::start(std::path::Path::new("/"), &["--database-url", &server.url]).ready().await;
        let client = &process.client;
        client.publish_ok(event("t", "a")).await;
        server.stop();
        let answer = client.publish(event("t", "b")).await;
        assert_eq!(answer.status, 503, "{}", answer.text);
        server.start();
        eventually("it is ready again", async || client.get("/readyz").await.status == 200).await;
        let store = client.stats().await["node"]["store"].clone();
        assert_eq!((&store["lost"], &store["losses"]), (&json!(false), &json!(1)));
        // It was away for the whole of the first answer, which is half of what a publish may take.
        assert!(store["last_recovery_ms"].as_f64().unwrap() >= 4_000.0, "{store}");
        let log = process.log();
        assert_eq!(log.matches("store lost: it is unavailable").count(), 1, "{log}");
        assert_eq!(log.matches("the store takes writes again").count(), 1, "{log}");
    });
}

/// What this process logs, a JSON object a line.
static LOG: OnceLock<Mutex<Vec<u8>>> = OnceLock::new();

struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.get_or_init(Mutex::default).lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines about this actor, each as its message and its ending.
fn logged(actor: &str) -> Vec<(String, Option<String>)> {
    let log = LOG.get_or_init(Mutex::default).lock().unwrap();
    let lines = String::from_utf8_lossy(&log);
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .filter(|line| line["actor"] == actor)
        .map(|line| {
            let text = |name: &str| line[name].as_str().map(str::to_owned);
            (text("message").unwrap(), text("ending"))
        })
        .collect()
}

#[test]
fn each_ending_is_logged_once() {
    // Other tests of this process may log, too; but none has so many shards.
    const SHARDS: usize = 12;
    let lines = tracing_subscriber::fmt().json().flatten_event(true).with_writer(|| Log);
    let _ = lines.try_init();
    block_on(async {
        let start = async || {
            let mut settings = Settings::new(Database::create(Engine::Sqlite).await);
            settings.config.shards = SHARDS;
            settings.restarts = RestartPolicy { restarts_max: 1, ..RestartPolicy::default() };
            RunningService::start(settings).await
        };
        let ended = |ending: &str| ("an actor ended".to_owned(), Some(ending.to_owned()));
        let said = |message: &str| (message.to_owned(), None);

        let service = start().await;
        service.handle.crash(ActorName::Shard(9), Crash::Now);
        eventually("it is back", async || service.handle.actor(ActorName::Shard(9)).last_recovery.is_some())
            .await;
        service.handle.crash(ActorName::Shard(9), Crash::Now);
        service.ended().await.0.unwrap_err();
        let crashed =
            || [ended("panicked: crash injected"), said("an actor restarts"), said("an actor is back")];
        let given_up = [ended("panicked: crash injected"), ended("given up after too many restarts")];
        assert_eq!(logged("shard 9"), [&crashed()[..], &given_up].concat());
        assert_eq!(logged("shard 10"), [ended("stopped")]);

        let service = start().await;
        service.handle.crash(ActorName::Shard(11), Crash::PastGuard);
        service.ended().await.0.unwrap_err();
        assert_eq!(logged("shard 11"), [ended("stopped"), ended("died in spite of its supervisor")]);

        let service = start().await;
        service.stop().await.0.unwrap();
        assert_eq!(logged("shard 10"), [ended("stopped"), ended("stopped"), ended("stopped")]);
    });
}

//! Databases that another program has changed or damaged: nothing is acknowledged that is not there, and what
//! cannot be read is said once.

use std::path::Path;

use serde_json::Value;

use crate::harness::{
    Database, Engine, RunningService, Settings, block_on, event, events, eventually, on_both_stores,
    pages::wipe_page_of,
    process::{Process, failure, sekali},
    stream::{Stream, assert_ends_at_damage},
};

async fn start_on_sqlite() -> RunningService {
    RunningService::start(Settings::new(Database::create(Engine::Sqlite).await)).await
}

/// The namespace says why it takes no writes; the service as a whole stays ready.
async fn in_trouble(service: &RunningService) {
    eventually("the namespace is in trouble", async || {
        service.handle.ledger("default").await.unwrap().trouble().is_some()
    })
    .await;
    assert_eq!(service.client.get("/readyz").await.status, 200);
}

#[test]
fn a_damaged_ledger_is_the_services_trouble_and_not_the_producers() {
    on_both_stores(async |service| {
        service.client.publish_ok(events("t", ["a", "b"])).await;
        let (ended, database) = service.stop().await;
        ended.unwrap();
        // As a restore of some tables alone would leave it.
        database
            .execute(match database.engine {
                Engine::Sqlite => "UPDATE ledgers SET commit_no = 0, last_seq = 0, received = 0",
                Engine::Postgres => "DELETE FROM sekali.commits",
            })
            .await;
        let service = RunningService::start(Settings::new(database)).await;
        let refusal = service.client.publish(event("t", "c")).await;
        let problem = refusal.problem(503);
        assert_eq!(problem["retryable"], true, "{problem}");
        in_trouble(&service).await;
        assert_eq!(service.database().number(&count_events(&service)).await, 2);
    });
}

fn count_events(service: &RunningService) -> String {
    format!("SELECT count(*) FROM {}", service.database().events_table())
}

#[test]
fn rows_that_a_trigger_drops_are_not_acknowledged() {
    let triggers = [
        "CREATE TRIGGER drops BEFORE INSERT ON stored_events BEGIN SELECT RAISE(IGNORE); END",
        "CREATE TRIGGER drops AFTER INSERT ON stored_events
         BEGIN DELETE FROM stored_events WHERE place = NEW.place; END",
        "CREATE TRIGGER drops BEFORE INSERT ON identities BEGIN SELECT RAISE(IGNORE); END",
        "CREATE TRIGGER drops AFTER INSERT ON identities
         BEGIN DELETE FROM identities WHERE digest = NEW.digest; END",
        "CREATE TRIGGER drops BEFORE INSERT ON topics BEGIN SELECT RAISE(IGNORE); END",
        "CREATE TRIGGER drops BEFORE UPDATE ON ledgers BEGIN SELECT RAISE(IGNORE); END",
    ];
    for trigger in triggers {
        eprintln!("--- {trigger}");
        block_on(async {
            let service = start_on_sqlite().await;
            service.client.publish_ok(events("t", ["a", "b"])).await;
            service.database().execute(trigger).await;
            for id in ["c", "d"] {
                service.client.publish(events("new", ["a", id])).await.problem(503);
            }
            if trigger.contains("ON stored_events") || trigger.contains("ON identities") {
                in_trouble(&service).await;
            }
            service.database().execute("DROP TRIGGER drops").await;
            assert_eq!(service.client.all_events().await.len(), 2);
            let results = service.client.publish_ok(events("new", ["a", "c"])).await;
            assert_eq!((&results[0]["status"], &results[1]["seq"]), (&"duplicate".into(), &3.into()));
            service.database().assert_sound().await;
        });
    }
}

#[test]
fn repeats_of_events_that_another_program_removed_are_not_acknowledged() {
    for (removal, left) in [("DELETE FROM stored_events", 0), ("DELETE FROM identities", 2)] {
        eprintln!("--- {removal}");
        block_on(async {
            let service = start_on_sqlite().await;
            service.client.publish_ok(events("t", ["a", "b"])).await;
            service.database().execute(removal).await;
            for body in [event("t", "a"), event("t", "c"), events("t", ["c", "a"])] {
                service.client.publish(body).await.problem(503);
                in_trouble(&service).await;
            }
            assert_eq!(service.database().number(&count_events(&service)).await, left);
        });
    }
}

#[test]
fn a_number_that_no_ledger_has_is_damage_and_not_another_number() {
    block_on(async {
        let service = start_on_sqlite().await;
        service.client.publish_ok(events("t", ["a", "b"])).await;
        service.database().execute("UPDATE ledgers SET received = -7").await;
        service.client.publish(event("t", "c")).await.problem(503);
        in_trouble(&service).await;
        assert_eq!(service.database().number(&count_events(&service)).await, 2);
        let unreadable = async |service: &RunningService| {
            let problem = service.client.get("/stats").await.problem(500);
            assert_eq!(problem["retryable"], false, "{problem}");
        };
        // What was counted before may not be true any more.
        unreadable(&service).await;

        let (_, database) = service.stop().await;
        unreadable(&RunningService::start(Settings::new(database)).await).await;
    });
}

#[test]
fn a_damaged_payload_is_named_and_never_sent_as_json() {
    let damages = [
        ("'{\"a\":'", "is not JSON"),
        ("'[1]'", "is not a JSON object"),
        ("'{} {}'", "is not JSON"),
        ("''", "is not JSON"),
        ("CAST(x'7b2261223a22ff227d' AS TEXT)", "utf-8"),
    ];
    block_on(async {
        let service = start_on_sqlite().await;
        service.client.publish_ok(events("t", ["a", "b", "c"])).await;
        for (payload, reason) in damages {
            eprintln!("--- {payload}");
            let damage = format!("UPDATE stored_events SET payload = {payload} WHERE seq = 2");
            service.database().execute(&damage).await;
            for path in ["/events", "/events?topic=t", "/events/b"] {
                let problem = service.client.get(path).await.problem(500);
                assert_eq!(problem["retryable"], false, "{problem}");
                let detail = problem["detail"].as_str().unwrap();
                assert!(detail.contains("the event with seq 2 cannot be read"), "{detail}");
                assert!(detail.contains(reason), "{detail}");
            }
            assert_eq!(service.client.events("?after=2").await[0]["event_id"], "c");
            assert_eq!(service.client.get("/events/a").await.status, 200);
            assert_ends_at_damage(&service.client, 2, reason).await;
        }
    });
}

#[test]
fn a_reader_of_a_stream_gets_all_that_stands_before_a_damaged_event() {
    block_on(async {
        let service = start_on_sqlite().await;
        let ids: Vec<String> = (1..=500).map(|id| id.to_string()).collect();
        service.client.publish_ok(events("t", ids.iter().map(String::as_str))).await;
        service.database().execute("UPDATE stored_events SET payload = '' WHERE seq IN (377, 400)").await;
        assert_ends_at_damage(&service.client, 377, "is not JSON").await;
        let mut behind = Stream::open(&service.client, "/stream?after=377&where=/event_id=378").await;
        assert_eq!(behind.seqs(1).await, [378]);
        assert_eq!(behind.notice("damaged").await.data["after"], 399);

        let url = format!("http://{}", service.address);
        let tail = move || failure(&mut sekali(&["tail", "--after", "370", "--url", &url]), 1);
        let said = tokio::task::spawn_blocking(tail).await.unwrap();
        assert!(said.contains("the event with seq 377 cannot be read"), "{said}");
    });
}

#[test]
fn a_damaged_page_is_no_reason_to_ask_again_and_is_logged_once() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let arguments = ["--database-url", &database.url, "--window-ids", "2"];
        let mut process = Process::start(Path::new("/"), &arguments).ready().await;
        for batch in 0..10 {
            let ids: Vec<String> = (0..100).map(|id| format!("{batch}-{id}")).collect();
            process.client.publish_ok(events("t", ids.iter().map(String::as_str))).await;
        }
        process.signal("TERM");
        assert_eq!(process.wait().code(), Some(0));
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
        assert!(wipe_page_of(&database.file(), "\"5-50\"", 4_096));

        let mut process = Process::start(Path::new("/"), &arguments).ready().await;
        for _ in 0..3 {
            let problem = process.client.get("/events?limit=1000").await.problem(500);
            assert_eq!(problem["retryable"], Value::Bool(false), "{problem}");
        }
        assert_eq!(process.client.events("?limit=1").await.len(), 1, "what is whole is read");
        // A line is handed over and not waited for: behind the last one are all.
        process.signal("TERM");
        process.wait();
        eventually("its log has ended", async || process.log().contains("stopped;")).await;
        let log = process.log();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("malformed")).collect();
        assert!(lines.len() == 1 && lines[0].contains("ERROR"), "{log}");
    });
}

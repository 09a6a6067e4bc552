//! A Postgres database that another program has changed: nothing is acknowledged that is not there. As `damage.rs`
//! for SQLite.

use std::path::Path;

use sekali::{
    event::{DedupScope, Event, parse_batch},
    store::{AppendGroup, DEFAULT_NAMESPACE, LedgerMark, OpenOptions, StoreError, TopicCount, open},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{
    Database, Engine, RunningService, Settings, block_on, event, events, eventually,
    postgres_server::PostgresServer, process::Process, stream::assert_ends_at_damage,
};

async fn start() -> RunningService {
    RunningService::start(Settings::new(Database::create(Engine::Postgres).await)).await
}

/// The namespace says why it takes no writes; the service as a whole stays ready.
async fn in_trouble(service: &RunningService) {
    eventually("the namespace is in trouble", async || {
        service.handle.ledger("default").await.unwrap().trouble().is_some()
    })
    .await;
    assert_eq!(service.client.get("/readyz").await.status, 200);
}

/// A trigger that runs `body` for each row.
fn trigger(table: &str, moment: &str, body: &str) -> String {
    format!(
        "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;
         CREATE TRIGGER meddle {moment} INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION meddle();"
    )
}

const WITHOUT_TRIGGER: &str = "DROP FUNCTION meddle CASCADE";
const DELETES_IT: &str = "DELETE FROM sekali.stored_events WHERE seq = NEW.seq; RETURN NULL;";
const DELETES_IDENTITY: &str = "DELETE FROM sekali.identities WHERE digest = NEW.digest; RETURN NULL;";

#[test]
fn rows_that_a_trigger_or_rule_drops_are_not_acknowledged() {
    let drops = [
        (trigger("sekali.stored_events", "BEFORE", "RETURN NULL;"), WITHOUT_TRIGGER),
        (trigger("sekali.stored_events", "AFTER", DELETES_IT), WITHOUT_TRIGGER),
        (trigger("sekali.identities", "BEFORE", "RETURN NULL;"), WITHOUT_TRIGGER),
        (trigger("sekali.identities", "AFTER", DELETES_IDENTITY), WITHOUT_TRIGGER),
        (trigger("sekali.topics", "BEFORE", "RETURN NULL;"), WITHOUT_TRIGGER),
        (trigger("sekali.commits", "BEFORE", "RETURN NULL;"), WITHOUT_TRIGGER),
        (
            "CREATE RULE meddle AS ON INSERT TO sekali.stored_events DO INSTEAD NOTHING".to_owned(),
            "DROP RULE meddle ON sekali.stored_events",
        ),
        (
            "CREATE RULE meddle AS ON INSERT TO sekali.identities DO INSTEAD NOTHING".to_owned(),
            "DROP RULE meddle ON sekali.identities",
        ),
    ];
    for (meddle, undo) in drops {
        eprintln!("--- {meddle}");
        block_on(async {
            let service = start().await;
            service.client.publish_ok(events("t", ["a", "b"])).await;
            service.database().execute(&meddle).await;
            for id in ["c", "d"] {
                service.client.publish(events("new", ["a", id])).await.problem(503);
            }
            if !meddle.contains("sekali.topics") {
                in_trouble(&service).await;
            }
            service.database().execute(undo).await;
            assert_eq!(service.client.all_events().await.len(), 2);
            let results = service.client.publish_ok(events("new", ["a", "c"])).await;
            assert_eq!((&results[0]["status"], &results[1]["seq"]), (&"duplicate".into(), &3.into()));
            service.database().assert_sound().await;
        });
    }
}

#[test]
fn repeats_of_events_that_another_program_removed_are_not_acknowledged() {
    for removal in [
        "TRUNCATE sekali.stored_events",
        "DELETE FROM sekali.stored_events WHERE seq = 2",
        "TRUNCATE sekali.identities",
    ] {
        eprintln!("--- {removal}");
        block_on(async {
            let service = start().await;
            service.client.publish_ok(events("t", ["a", "b"])).await;
            service.database().execute(removal).await;
            let left = service.database().number("SELECT count(*) FROM sekali.stored_events").await;
            for body in [event("t", "a"), event("t", "c"), events("t", ["c", "a"])] {
                service.client.publish(body).await.problem(503);
                in_trouble(&service).await;
            }
            assert_eq!(service.database().number("SELECT count(*) FROM sekali.stored_events").await, left);
        });
    }
}

#[test]
fn a_number_or_status_that_no_ledger_has_is_damage() {
    const OTHER_STATUS: &str = "DO $do$ BEGIN
        EXECUTE replace(pg_get_functiondef('sekali.append'::regproc), 'o_status := ''committed''', 'o_status := ''new''');
    END $do$";
    for change in ["UPDATE sekali.commits SET received = -7", OTHER_STATUS] {
        block_on(async {
            let service = start().await;
            service.client.publish_ok(events("t", ["a", "b"])).await;
            service.database().execute(change).await;
            service.client.publish(event("t", "c")).await.problem(503);
            in_trouble(&service).await;
        });
    }
}

#[test]
fn a_damaged_payload_is_named_and_never_sent_as_json() {
    block_on(async {
        let service = start().await;
        service.client.publish_ok(events("t", ["a", "b", "c"])).await;
        for (payload, reason) in [("{\"a\":", "is not JSON"), ("[1]", "is not a JSON object")] {
            let damage = format!("UPDATE sekali.stored_events SET payload = '{payload}' WHERE seq = 2");
            service.database().execute(&damage).await;
            for path in ["/events", "/events?topic=t", "/events/b"] {
                let problem = service.client.get(path).await.problem(500);
                assert_eq!(problem["retryable"], false, "{problem}");
                let detail = problem["detail"].as_str().unwrap();
                assert!(detail.contains("the event with seq 2 cannot be read"), "{detail}");
                assert!(detail.contains(reason), "{detail}");
            }
            assert_eq!(service.client.events("?after=2").await[0]["event_id"], "c");
            assert_ends_at_damage(&service.client, 2, reason).await;
        }
    });
}

#[test]
fn a_damaged_page_is_no_reason_to_ask_again_and_is_logged_once() {
    block_on(async {
        let mut server = PostgresServer::create();
        server.start();
        let url = server.url.clone();
        let arguments = ["--database-url", &url, "--window-ids", "2"];
        let mut process = Process::start(Path::new("/"), &arguments).ready().await;
        for batch in 0..10 {
            let ids: Vec<String> = (0..100).map(|id| format!("{batch}-{id}")).collect();
            process.client.publish_ok(events("t", ids.iter().map(String::as_str))).await;
        }
        process.signal("TERM");
        assert_eq!(process.wait().code(), Some(0));
        Database::at(&url).execute("CHECKPOINT").await;
        server.stop();
        server.wipe_page_of("5-50");
        server.start();

        let mut process = Process::start(Path::new("/"), &arguments).ready().await;
        for _ in 0..3 {
            let problem = process.client.get("/events?limit=1000").await.problem(500);
            assert_eq!(problem["retryable"], Value::Bool(false), "{problem}");
        }
        assert_eq!(process.client.events("?limit=1").await.len(), 1, "what is whole is read");
        let results = process.client.publish_ok(events("t", ["new", "9-99"])).await;
        assert_eq!((&results[0]["seq"], &results[1]["seq"]), (&json!(1_001), &json!(1_000)));
        process.signal("TERM");
        process.wait();
        eventually("its log has ended", async || process.log().contains("stopped;")).await;
        let log = process.log();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("invalid page")).collect();
        assert!(lines.len() == 1 && lines[0].contains("ERROR"), "{log}");
    });
}

#[test]
fn an_event_that_the_operators_own_check_or_trigger_refuses_is_its_producers_affair() {
    let refuse = trigger(
        "sekali.stored_events",
        "BEFORE",
        "IF (SELECT topic FROM sekali.topics WHERE namespace_no = NEW.namespace_no AND topic_no = NEW.topic_no) = 'bad'
         THEN RAISE EXCEPTION 'not here'; END IF; RETURN NEW;",
    );
    for rule in ["ALTER TABLE sekali.stored_events ADD CHECK (event_id IN ('a', 'd'))", &refuse] {
        block_on(async {
            let service = start().await;
            service.database().execute(rule).await;
            let (good, bad) = tokio::join!(
                service.client.publish(event("t", "a")),
                service.client.publish(events("bad", ["b", "c"])),
            );
            assert_eq!(good.status, 200, "{}", good.text);
            assert_eq!(bad.problem(422)["retryable"], false);
            service.client.publish_ok(event("u", "d")).await;
            assert_eq!(service.client.all_events().await.len(), 2);
            service.database().assert_sound().await;
        });
    }
}

#[test]
fn what_one_group_may_not_use_is_told_apart_from_an_absent_store() {
    block_on(async {
        let database = Database::create(Engine::Postgres).await;
        let options = OpenOptions { migrate: true, scope: Some(DedupScope::EventId), read_connections: 1 };
        drop(open(&database.url, &options).await.unwrap());
        database
            .execute(
                "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET temp_file_limit = 0', current_database());
                     EXECUTE format('ALTER DATABASE %I SET work_mem = ''64kB''', current_database()); END $$",
            )
            .await;
        let store = open(&database.url, &options).await.unwrap();
        let ledger = store.control.ledger(DEFAULT_NAMESPACE).await.unwrap().unwrap();
        let mut writer = store.appends.open_writer().await.unwrap();
        let payload = json!({"a": "x".repeat(200)});
        let event = |id: usize| {
            json!({"topic": "t", "event_id": id.to_string(), "source": "s", "timestamp": "2026-01-01T00:00:00Z",
                   "payload": payload})
        };
        let body = Value::Array((0..5_000).map(event).collect()).to_string();
        let parsed = parse_batch(body.into(), usize::MAX).unwrap();
        let candidates: Vec<_> = parsed.iter().collect();
        let digest = |event: &Event| ledger.digester.digest(event.topic(), event.event_id());
        let digests: Vec<_> = parsed.iter().map(digest).collect();
        let count =
            |new_events: usize| [TopicCount { topic: "t", new_events: new_events as u64, duplicates: 0 }];
        let (one, all) = (count(1), count(parsed.len()));
        let mut group = AppendGroup {
            ledger: ledger.key,
            writer_id: Uuid::new_v4(),
            group_no: 1,
            topics_max: 1_000,
            seen: LedgerMark::default(),
            events: &candidates[..1],
            digests: &digests[..1],
            counts: &one,
        };
        writer.append_all(&[group]).await.expect("one event needs no temporary space");
        // What finds the repeat among so many keeps them aside.
        (group.group_no, group.events, group.digests, group.counts) = (2, &candidates, &digests, &all);
        let error = writer.append_all(&[group]).await.unwrap_err();
        assert!(matches!(error, StoreError::Exhausted(_)), "{error:?}");

        let mut writer = store.appends.open_writer().await.unwrap();
        (group.events, group.digests, group.counts) = (&[], &[], &[]);
        writer.append_all(&[group]).await.expect("an empty group needs no temporary space");
    });
}

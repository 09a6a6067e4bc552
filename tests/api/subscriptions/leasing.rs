//! Leasing, acking and waiting.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::time::timeout;

use super::{ask_ack, ask_lease, lease, ok, publish, range, say, send, seqs, show, subscribe};
use crate::harness::{
    Client, Database, Engine, RunningService, Settings, block_on, event, events, eventually, on_both_stores,
    stream::Stream,
};

/// What an answer takes at most that does not wait, or not any more.
const AT_ONCE: Duration = Duration::from_secs(10);
/// A request that is unanswered for so long waits.
const A_WHILE: Duration = Duration::from_millis(300);

#[test]
fn one_lease_at_a_time_keeps_the_order() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish(client, "t", 0..25).await;
        subscribe(client, "s", json!({"after": "earliest"})).await;
        let mut got = Vec::new();
        for _ in 0..3 {
            let lease = lease(client, "s", "?limit=10").await;
            let events = client.events(&format!("?after={}&limit={}", got.len(), seqs(&lease).len())).await;
            assert_eq!(lease["events"], json!(events), "as GET /events shows them");
            let problem = ask_lease(client, "s", "").await.problem(409);
            assert_eq!(problem["type"], "urn:sekali:problem:fully-leased");
            assert_eq!(problem["leases"][0]["from"], lease["from"]);
            assert_eq!(problem["leases"][0]["lease"], Value::Null, "the id is the worker's alone");
            got.extend(seqs(&lease));
            let (acked, lag) = say(client, "s", &lease, "accept").await;
            assert_eq!((acked as usize, lag as usize), (got.len(), 25 - got.len()));
        }
        assert_eq!(got, (1..=25).collect::<Vec<_>>());
        assert_eq!(ask_lease(client, "s", "").await.status, 204);
        assert_eq!(show(client, "s").await["status"], "caught-up");
    });
}

#[test]
fn an_ack_is_for_one_lease_and_the_second_time_it_is_fenced() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish(client, "t", 0..10).await;
        subscribe(client, "s", json!({"after": "earliest", "max_leases": 2})).await;
        let (first, second) = (lease(client, "s", "?limit=4").await, lease(client, "s", "?limit=4").await);
        assert_eq!((range(&first), range(&second)), ((1, 4, 1), (5, 8, 1)));
        assert_eq!(say(client, "s", &second, "accept").await, (0, 10), "the first one holds it back");
        assert_eq!(say(client, "s", &first, "accept").await, (8, 2), "settled neighbours are one");
        for lease in [&first, &second] {
            let answer = ask_ack(client, "s", json!({"lease": lease["lease"], "result": "accept"})).await;
            let problem = answer.problem(409);
            assert_eq!(problem["type"], "urn:sekali:problem:fenced");
            assert_eq!(problem["acked"], 8, "an earlier ack counted");
        }
        // In parts.
        let third = lease(client, "s", "").await;
        assert_eq!(range(&third), (9, 10, 1));
        let part = json!({"lease": third["lease"], "result": "accept", "through": 9});
        assert_eq!(ok(&ask_ack(client, "s", part.clone()).await)["acked"], 9);
        assert_eq!(ok(&ask_ack(client, "s", part).await)["acked"], 9, "the same answer again");
        let beyond = json!({"lease": third["lease"], "result": "accept", "through": 11});
        let answer = ask_ack(client, "s", beyond).await;
        answer.problem(422);
        assert_eq!(answer.faults(), [(0, "/through".to_owned())]);
        assert_eq!(say(client, "s", &third, "release").await, (9, 1));
        assert_eq!(range(&lease(client, "s", "").await), (10, 10, 2));
    });
}

#[test]
fn an_expired_lease_is_handed_on_and_its_late_ack_is_fenced() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish(client, "t", 0..3).await;
        subscribe(client, "s", json!({"after": "earliest", "lease_seconds": 1})).await;
        let first = lease(client, "s", "?worker=alice").await;
        let problem = ask_lease(client, "s", "").await.problem(409);
        assert_eq!(problem["leases"][0]["worker"], "alice");
        assert!(problem["detail"].as_str().unwrap().contains("by alice"), "{problem}");
        // The worker that waits gets it as soon as it has expired.
        let second = lease(client, "s", "?wait=30").await;
        assert_eq!(range(&second), (1, 3, 2));
        let late = ask_ack(client, "s", json!({"lease": first["lease"], "result": "accept"})).await;
        assert_eq!(late.problem(409)["acked"], 0);
        assert_eq!(say(client, "s", &second, "accept").await, (3, 0));
    });
}

#[test]
fn an_expired_lease_is_fenced_even_where_nobody_took_it() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish(client, "t", 0..1).await;
        subscribe(client, "s", json!({"after": "earliest", "lease_seconds": 1})).await;
        let held = lease(client, "s", "").await;
        eventually("it has expired", async || show(client, "s").await["status"] == "waiting").await;
        let renew = ask_ack(client, "s", json!({"lease": held["lease"], "result": "renew"})).await;
        assert_eq!(renew.problem(409)["type"], "urn:sekali:problem:fenced");
    });
}

#[test]
fn a_lease_that_is_renewed_does_not_expire() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish(client, "t", 0..1).await;
        subscribe(client, "s", json!({"after": "earliest", "lease_seconds": 2})).await;
        let held = lease(client, "s", "").await;
        let mut expires_at = held["expires_at"].as_str().unwrap().to_owned();
        let waiting = tokio::spawn({
            let client = client.clone();
            async move { ask_lease(&client, "s", "?wait=4").await }
        });
        while !waiting.is_finished() {
            let renewed = ok(&ask_ack(client, "s", json!({"lease": held["lease"], "result": "renew"})).await);
            let next = renewed["expires_at"].as_str().unwrap().to_owned();
            assert!(next > expires_at, "{next} {expires_at}");
            expires_at = next;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        waiting.await.unwrap().problem(409);
        assert_eq!(say(client, "s", &held, "accept").await, (1, 0));
    });
}

/// A worker that waits.
async fn begin_waiting(client: &Client, path: &str) -> tokio::task::JoinHandle<crate::harness::Answer> {
    let (client, path) = (client.clone(), path.to_owned());
    let mut waiting = tokio::spawn(async move { send(&client, "POST", &path, Value::Null).await });
    let answered = timeout(A_WHILE, &mut waiting).await;
    assert!(answered.is_err(), "it does not wait: {answered:?}");
    waiting
}

#[test]
fn a_worker_waits_for_an_event_and_for_a_lease_that_ends() {
    on_both_stores(async |service| {
        let client = &service.client;
        subscribe(client, "s", json!({"topics": ["t"]})).await;
        let waiting = begin_waiting(client, "/subscriptions/s/lease?wait=60").await;
        client.publish_ok(event("other", "1")).await;
        client.publish_ok(event("t", "2")).await;
        let first = ok(&timeout(AT_ONCE, waiting).await.unwrap().unwrap());
        assert_eq!(seqs(&first), [2]);
        client.publish_ok(event("t", "3")).await;
        let waiting = begin_waiting(client, "/subscriptions/s/lease?wait=60").await;
        say(client, "s", &first, "accept").await;
        let second = ok(&timeout(AT_ONCE, waiting).await.unwrap().unwrap());
        assert_eq!(seqs(&second), [3]);
        say(client, "s", &second, "accept").await;
        assert_eq!(ask_lease(client, "s", "?wait=1").await.status, 204);
    });
}

#[test]
fn a_worker_that_waits_does_not_hold_up_the_end_of_the_service() {
    on_both_stores(async |service| {
        let client = service.client.clone();
        subscribe(&client, "s", json!({})).await;
        let waiting = begin_waiting(&client, "/subscriptions/s/lease?wait=60").await;
        let (ended, _) = service.stop().await;
        ended.unwrap();
        assert_eq!(timeout(AT_ONCE, waiting).await.unwrap().unwrap().status, 204);
    });
}

#[test]
fn events_of_other_topics_leave_no_lag() {
    on_both_stores(async |service| {
        let client = &service.client;
        for (name, topics) in [("one", json!(["orders"])), ("many", json!(["or*", "x"]))] {
            subscribe(client, name, json!({"topics": topics, "after": "earliest"})).await;
        }
        publish(client, "noise", 0..30).await;
        for name in ["one", "many"] {
            let shown = show(client, name).await;
            assert_eq!(
                (&shown["acked"], &shown["lag"], &shown["status"]),
                (&json!(30), &json!(0), &json!("caught-up"))
            );
            assert_eq!(ask_lease(client, name, "").await.status, 204);
            assert_eq!(show(client, name).await["acked"], 30);
        }
        publish(client, "orders", 0..2).await;
        publish(client, "noise", 30..35).await;
        for name in ["one", "many"] {
            assert_eq!(show(client, name).await["lag"], 7);
            let lease = lease(client, name, "").await;
            assert_eq!(range(&lease), (31, 32, 1));
            assert_eq!(say(client, name, &lease, "accept").await, (37, 0));
        }
    });
}

#[test]
fn a_reader_without_leases_moves_on_by_itself() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish(client, "t", 0..10).await;
        subscribe(client, "s", json!({"after": "earliest"})).await;
        let acked = async |through: u64| {
            ok(&ask_ack(client, "s", json!({"through": through})).await)["acked"].clone()
        };
        assert_eq!(acked(4).await, 4);
        assert_eq!(acked(2).await, 4, "it does not move back");
        let answer = ask_ack(client, "s", json!({"through": 11})).await;
        answer.problem(422);
        assert_eq!(answer.faults(), [(0, "/through".to_owned())]);
        let held = lease(client, "s", "?worker=alice").await;
        assert_eq!(range(&held), (5, 10, 1));
        let problem = ask_ack(client, "s", json!({"through": 6})).await.problem(409);
        assert_eq!(problem["type"], "urn:sekali:problem:fully-leased");
        assert_eq!(problem["leases"], show(client, "s").await["leases"]);
        assert_eq!(
            (&problem["leases"][0]["worker"], &problem["leases"][0]["from"]),
            (&json!("alice"), &json!(5))
        );
        assert!(problem["detail"].as_str().unwrap().contains("by alice"), "{problem}");
        say(client, "s", &held, "release").await;
        assert_eq!(acked(6).await, 6);
        assert_eq!(range(&lease(client, "s", "").await), (7, 10, 2));
    });
}

#[test]
fn a_subscription_is_sent_back_and_on() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish(client, "t", 0..10).await;
        subscribe(client, "s", json!({"after": "earliest"})).await;
        let held = lease(client, "s", "?limit=6").await;
        let seek = async |after: Value| {
            let answer = send(client, "POST", "/subscriptions/s/seek", json!({"after": after})).await;
            ok(&answer)["acked"].as_u64().unwrap()
        };
        assert_eq!(seek(json!(8)).await, 8);
        let answer = ask_ack(client, "s", json!({"lease": held["lease"], "result": "accept"})).await;
        assert_eq!(answer.problem(409)["acked"], 8);
        assert_eq!(seqs(&lease(client, "s", "").await), [9, 10]);
        assert_eq!(seek(json!("now")).await, 10);
        assert_eq!(ask_lease(client, "s", "").await.status, 204);
        assert_eq!(seek(json!("earliest")).await, 0);
        assert_eq!(range(&lease(client, "s", "").await), (1, 10, 1));
    });
}

#[test]
fn rare_events_are_found_among_many_others() {
    on_both_stores(async |service| {
        let client = &service.client;
        for name in ["looked-up", "searched"] {
            let topic = if name == "searched" { "rare*" } else { "rare" };
            subscribe(client, name, json!({"topics": [topic], "after": "earliest"})).await;
        }
        let noise = |batch: usize| {
            let ids = batch * 9_000..(batch + 1) * 9_000;
            json!(ids.map(|id| event("noise", &format!("{id}"))).collect::<Vec<_>>())
        };
        for batch in 0..5 {
            client.publish_ok(noise(batch)).await;
        }
        client.publish_ok(event("rare", "rare")).await;
        for name in ["looked-up", "searched"] {
            let lease = lease(client, name, "?wait=10").await;
            assert_eq!(range(&lease), (45_001, 45_001, 1), "{name}");
            assert_eq!(say(client, name, &lease, "accept").await, (45_001, 0));
        }
    });
}

#[test]
fn of_a_table_that_the_server_has_not_counted_no_more_is_read_than_is_asked_for() {
    block_on(async {
        let service = RunningService::start(Settings::new(Database::create(Engine::Postgres).await)).await;
        for table in ["stored_events", "identities", "topics", "commits"] {
            let quiet = format!("ALTER TABLE sekali.{table} SET (autovacuum_enabled = off)");
            service.database().execute(&quiet).await;
        }
        for round in 0..30 {
            let ids: Vec<String> = (0..1_000).map(|id| format!("{round}-{id}")).collect();
            service.client.publish_ok(events(["t", "u"][round % 2], ids.iter().map(String::as_str))).await;
        }
        let (before, database) = stopped(service).await;
        let mut settings = Settings::new(database);
        // A window would be filled from the table.
        settings.config.window_ids = 0;
        let service = RunningService::start(settings).await;
        let client = &service.client;
        subscribe(client, "all", json!({"after": "earliest"})).await;
        subscribe(client, "some", json!({"after": "earliest", "topics": ["u"]})).await;
        for name in ["all", "some"] {
            let leased = lease(client, name, "?limit=100").await;
            assert_eq!(leased["events"].as_array().unwrap().len(), 100);
            say(client, name, &leased, "accept").await;
        }
        for query in ["", "?after=20000", "?topic=t", "?topic=t&topic=u", "?before=100", "?event_id=7-7"] {
            assert!(!client.events(query).await.is_empty());
        }
        let mut stream = Stream::open(client, "/stream?after=29000").await;
        assert_eq!(stream.seqs(1_000).await, (29_001..=30_000).collect::<Vec<_>>());
        assert_eq!(client.get("/events/3-3").await.status, 200);
        let (after, _) = stopped(service).await;
        let read = after - before;
        assert!((1_500..10_000).contains(&read), "{read} rows were read for about 2,000");
    });
}

/// How many events were read so far. The server counts what its sessions did when they end.
async fn stopped(service: RunningService) -> (i64, Arc<Database>) {
    let (ended, database) = service.stop().await;
    ended.unwrap();
    let others = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    eventually("its sessions have ended", async || database.number(others).await == 0).await;
    let read = "SELECT (seq_tup_read + idx_tup_fetch)::bigint FROM pg_stat_user_tables
        WHERE relname = 'stored_events'";
    (database.number(read).await, database)
}

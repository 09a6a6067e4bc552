//! Workers that compete, on one node and on two.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::json;

use super::{ask_ack, ask_lease, ok, publish, range, seqs, serve, show, subscribe};
use crate::harness::{Client, Database, Engine, block_on, eventually, on_both_stores};

/// What workers did: the events that were acked, with how many times, and the leases that are held.
#[derive(Default)]
struct Record {
    acked: BTreeMap<u64, usize>,
    held: Vec<(u64, u64)>,
}

/// Leases and acks until so many events are acked. Some leases are left to expire.
async fn work(client: Client, record: Arc<Mutex<Record>>, worker: usize, events: usize) {
    let mut leases = 0;
    loop {
        let query = format!("?limit={}&wait=1&worker=w{worker}", 10 + worker);
        let answer = ask_lease(&client, "s", &query).await;
        match answer.status {
            204 if record.lock().unwrap().acked.len() == events => return,
            204 | 409 => continue,
            _ => {}
        }
        let lease = ok(&answer);
        let (from, through, _) = range(&lease);
        leases += 1;
        if leases % 7 == 3 {
            continue;
        }
        {
            let mut record = record.lock().unwrap();
            for (other_from, other_through) in &record.held {
                assert!(
                    through < *other_from || *other_through < from,
                    "two workers hold {from} to {through}"
                );
            }
            record.held.push((from, through));
        }
        tokio::task::yield_now().await;
        // Before the ack: once that is taken, it may count.
        record.lock().unwrap().held.retain(|held| *held != (from, through));
        let acked = ask_ack(&client, "s", json!({"lease": lease["lease"], "result": "accept"})).await;
        if acked.status == 200 {
            for seq in seqs(&lease) {
                *record.lock().unwrap().acked.entry(seq).or_default() += 1;
            }
        } else {
            assert_eq!(acked.problem(409)["type"], "urn:sekali:problem:fenced");
        }
    }
}

/// Every event was acked once, and nothing is left.
async fn assert_done(client: &Client, record: &Mutex<Record>, events: u64) {
    let acked: Vec<(u64, usize)> = record.lock().unwrap().acked.clone().into_iter().collect();
    let expected: Vec<(u64, usize)> = (1..=events).map(|seq| (seq, 1)).collect();
    assert_eq!(acked, expected, "each event is acked once");
    let shown = show(client, "s").await;
    assert_eq!((&shown["lag"], &shown["parked"], &shown["leases"]), (&json!(0), &json!(0), &json!([])));
}

#[test]
fn competing_workers_get_disjoint_ranges_and_every_event_once() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish(client, "t", 0..300).await;
        subscribe(client, "s", json!({"after": "earliest", "max_leases": 8, "lease_seconds": 1})).await;
        let record = Arc::new(Mutex::new(Record::default()));
        let workers: Vec<_> = (0..5)
            .map(|worker| tokio::spawn(work(client.clone(), Arc::clone(&record), worker, 500)))
            .collect();
        publish(client, "t", 300..500).await;
        for worker in workers {
            worker.await.unwrap();
        }
        assert_done(client, &record, 500).await;
    });
}

#[test]
fn two_nodes_share_the_work_of_one_subscription_and_one_of_them_is_killed() {
    block_on(async {
        let database = Database::create(Engine::Postgres).await;
        let (stays, dies) = (serve(&database.url).await, serve(&database.url).await);
        publish(&stays.client, "t", 0..400).await;
        let settings = json!({"after": "earliest", "max_leases": 6, "lease_seconds": 2});
        subscribe(&dies.client, "s", settings).await;
        // The node that dies has a lease in hand, and acked another one.
        let acked = ok(&ask_lease(&dies.client, "s", "?limit=20").await);
        ok(&ask_ack(&dies.client, "s", json!({"lease": acked["lease"], "result": "accept"})).await);
        let held = ok(&ask_lease(&dies.client, "s", "?limit=20").await);
        assert_eq!((range(&acked), range(&held)), ((1, 20, 1), (21, 40, 1)));
        let record = Arc::new(Mutex::new(Record::default()));
        record.lock().unwrap().acked = (1..=20).map(|seq| (seq, 1)).collect();
        let first: Vec<_> = [&stays, &dies, &stays]
            .into_iter()
            .enumerate()
            .map(|(worker, node)| tokio::spawn(work(node.client.clone(), Arc::clone(&record), worker, 400)))
            .collect();
        for worker in first {
            worker.await.unwrap();
        }
        assert_done(&stays.client, &record, 400).await;
        publish(&stays.client, "t", 400..440).await;
        let held = ok(&ask_lease(&dies.client, "s", "").await);
        dies.kill();
        // Its worker is another process, and acks at the node that stays.
        let answer = ask_ack(&stays.client, "s", json!({"lease": held["lease"], "result": "accept"})).await;
        assert_eq!(ok(&answer)["acked"], 440);
    });
}

#[test]
fn a_worker_that_waits_on_another_node_learns_of_events_and_of_acks() {
    block_on(async {
        let database = Database::create(Engine::Postgres).await;
        let (one, other) = (serve(&database.url).await, serve(&database.url).await);
        subscribe(&one.client, "s", json!({})).await;
        let wait = |node: &Client| {
            let client = node.clone();
            tokio::spawn(async move { ask_lease(&client, "s", "?wait=30").await })
        };
        let waiting = wait(&other.client);
        publish(&one.client, "t", 0..1).await;
        let first = ok(&waiting.await.unwrap());
        publish(&one.client, "t", 1..2).await;
        let waiting = wait(&one.client);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let ack = json!({"lease": first["lease"], "result": "accept"});
        ok(&ask_ack(&other.client, "s", ack).await);
        assert_eq!(seqs(&ok(&waiting.await.unwrap())), [2]);
    });
}

#[test]
fn a_subscription_that_another_node_holds_is_told_so_and_others_go_on() {
    block_on(async {
        let database = Database::create(Engine::Postgres).await;
        let node = serve(&database.url).await;
        let client = &node.client;
        publish(client, "t", 0..3).await;
        for name in ["s", "other"] {
            subscribe(client, name, json!({"after": "earliest"})).await;
        }
        let holds = "BEGIN; SELECT 1 FROM sekali.subscriptions WHERE name = 's' FOR UPDATE";
        let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(&database.url).await.unwrap();
        sqlx::raw_sql(holds).execute(&mut connection).await.unwrap();
        let ack = json!({"lease": "00000000-0000-4000-8000-000000000000", "result": "accept"});
        for answer in [ask_lease(client, "s", "").await, ask_ack(client, "s", ack).await] {
            let problem = answer.problem(503);
            assert_eq!(problem["detail"], "the subscription s is locked by another node");
        }
        publish(client, "t", 2..3).await;
        assert_eq!(ask_lease(client, "other", "").await.status, 200);
        assert_eq!(show(client, "s").await["acked"], 0, "it can be looked at");
        sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.unwrap();
        eventually("it is leased", async || {
            let answer = ask_lease(client, "s", "").await;
            answer.status == 200 && seqs(&answer.json()) == [1, 2, 3]
        })
        .await;
    });
}

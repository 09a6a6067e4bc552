//! Workers that hang up before they have their lease.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{ask_lease, ok, publish, range, show, subscribe};
use crate::harness::{Engine, RunningService, database::HeldLedger, eventually, on_both_stores, raw::Raw};

/// More than transactions of one ledger at a time: some of them wait for their turn.
const WORKERS: usize = 5;
/// For less than this time a transaction waits, on either engine, for a subscription that others hold.
const HELD_TIME_MAX: Duration = Duration::from_millis(900);
const ROUNDS: usize = 30;

/// Keeps every transaction from the subscription.
async fn hold(service: &RunningService) -> HeldLedger {
    let database = service.database();
    match database.engine {
        Engine::Sqlite => database.hold_ledger().await,
        Engine::Postgres => {
            let mut connection =
                <sqlx::PgConnection as sqlx::Connection>::connect(&database.url).await.unwrap();
            let holds = "BEGIN; SELECT 1 FROM sekali.subscriptions WHERE name = 's' FOR UPDATE";
            sqlx::raw_sql(holds).execute(&mut connection).await.unwrap();
            HeldLedger::Postgres(connection)
        }
    }
}

async fn connections(service: &RunningService) -> u64 {
    let metrics = service.client.get("/metrics").await.text;
    let number = metrics.lines().find_map(|line| line.strip_prefix("sekali_connections "));
    number.unwrap().parse().unwrap()
}

/// Workers ask and hang up while the subscription is held. Returns whether the service had taken note of that before the
/// transactions could have given up.
async fn hang_up_in_mid_lease(service: &RunningService) -> bool {
    let before = connections(service).await;
    let held = hold(service).await;
    let begun = Instant::now();
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        let mut worker = Raw::connect(service.address).await;
        worker.send("POST /subscriptions/s/lease HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n").await;
        workers.push(worker);
    }
    eventually("they are there", async || connections(service).await >= before + WORKERS as u64).await;
    drop(workers);
    eventually("they are gone", async || connections(service).await <= before).await;
    let in_time = begun.elapsed() < HELD_TIME_MAX;
    held.release().await;
    in_time
}

#[test]
fn a_worker_that_hangs_up_before_it_has_its_lease_keeps_no_event_from_others() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish(client, "t", 0..3).await;
        subscribe(client, "s", json!({"after": "earliest", "lease_seconds": 600})).await;
        let mut rounds = 0;
        while !hang_up_in_mid_lease(&service).await {
            rounds += 1;
            assert!(rounds < ROUNDS, "workers that hung up are answered as if they were there");
        }
        eventually("another worker gets a lease", async || {
            let answer = ask_lease(client, "s", "").await;
            answer.status == 200 && range(&ok(&answer)) == (1, 3, 1)
        })
        .await;
        assert_eq!(show(client, "s").await["leases"].as_array().unwrap().len(), 1);
    });
}

//! Two nodes on one Postgres, which get the same ids: one of them dies or freezes, and the other goes on.

use std::time::{Duration, Instant};

use sqlx::{ConnectOptions, postgres::PgConnectOptions};
use tokio::net::TcpListener;

use super::{serve, serve_with};
use crate::harness::{
    Database, Engine, block_on, event, events, eventually, pooler::forward_narrowly, producers::Producers,
    random::Random,
};

/// Within this time the other node must publish again.
const GOES_ON_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn a_node_that_is_killed_holds_up_no_other() {
    block_on(async {
        let database = Database::create(Engine::Postgres).await;
        let stays = serve(&database.url).await;
        let mut dies = serve(&database.url).await;
        let producers = Producers::start(&[&stays.client, &dies.client], 8);
        let mut random = Random::new(Random::any_seed());
        for round in 0..4 {
            producers.progress(random.within(50..200)).await;
            dies.kill();
            let begun = Instant::now();
            stays.client.publish_ok(event("t", &format!("beside {round}"))).await;
            assert!(begun.elapsed() < GOES_ON_WITHIN, "{:?}", begun.elapsed());
            dies = serve(&database.url).await;
            producers.turn_to(1, &dies.client);
        }
        for beside in stays.client.events("?topic=t").await {
            let (id, seq) = (beside["event_id"].as_str().unwrap(), beside["seq"].as_u64().unwrap());
            producers.record().adopt(id, seq);
        }
        producers.progress(100).await;
        producers.check(&[&stays.client, &dies.client], &database).await;
    });
}

#[test]
fn a_node_that_is_frozen_at_any_moment_holds_up_no_other_and_is_right_when_it_wakes() {
    block_on(async {
        let database = Database::create(Engine::Postgres).await;
        let nodes = [serve(&database.url).await, serve(&database.url).await];
        let [stays, freezes] = &nodes;
        let clients = [&stays.client, &freezes.client];
        let producers = Producers::start(&clients, 8);
        for round in 0..4 {
            producers.progress(100).await;
            freezes.signal("STOP");
            let begun = Instant::now();
            let seq = stays.client.publish_ok(event("t", &format!("beside {round}"))).await[0]["seq"].clone();
            assert!(begun.elapsed() < GOES_ON_WITHIN, "{:?}", begun.elapsed());
            producers.record().adopt(&format!("beside {round}"), seq.as_u64().unwrap());
            freezes.signal("CONT");
        }
        producers.progress(100).await;
        producers.check(&clients, &database).await;
    });
}

/// So many that their `seq` do not fit into the sockets between the server and a client that does not read.
const REPEATS: usize = 100_000;

/// The same database over sockets that hold little.
async fn narrow_way_to(url: &str) -> String {
    let options: PgConnectOptions = url.parse().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    forward_narrowly(listener, options.get_port());
    options.host("127.0.0.1").port(port).to_url_lossy().to_string()
}

#[test]
fn a_node_that_is_frozen_with_the_ledger_in_its_hands_loses_it_to_the_other_within_ten_seconds() {
    block_on(async {
        let database = Database::create(Engine::Postgres).await;
        // The answer to an append has the `seq` of each event that only the store knew: a client that does not read it
        // keeps its server from ending the transaction.
        let batch = ["--batch-events-max", "100000", "--events-in-flight-max", "300000"];
        let arguments = [&batch[..], &["--window-ids", "0"]].concat();
        let freezes = serve_with(&narrow_way_to(&database.url).await, &arguments).await;
        let stays = serve_with(&database.url, &arguments).await;
        let ids: Vec<String> = (0..REPEATS).map(|id| format!("frozen {id}")).collect();
        let body = events("t", ids.iter().map(String::as_str)).to_string();
        let stored = stays.client.publish_ok(&*body).await;
        let producers = Producers::start(&[&stays.client], 4);
        producers.progress(50).await;
        let pause = producers.pause().await;
        let held = database.hold_ledger().await;
        let publishing = tokio::spawn({
            let (client, body) = (freezes.client.clone(), body.clone());
            async move { client.try_publish(body).await }
        });
        // It gives up after three seconds, and begins again.
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                     AND wait_event_type = 'Lock' AND query LIKE '%sekali.append%'
                     AND query_start > clock_timestamp() - interval '1500 ms'";
        eventually("it waits for the ledger", async || database.number(waits).await == 1).await;
        freezes.signal("STOP");
        held.release().await;
        let sends = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
                     AND wait_event = 'ClientWrite' AND query LIKE '%sekali.append%'";
        eventually("the frozen node's append holds the ledger", async || database.number(sends).await == 1)
            .await;
        drop(pause);
        let begun = Instant::now();
        producers.progress(50).await;
        eprintln!("went on after {:?}", begun.elapsed());
        assert!(begun.elapsed() < GOES_ON_WITHIN, "{:?}", begun.elapsed());

        freezes.signal("CONT");
        let answer = publishing.await.unwrap().unwrap();
        let answer = if answer.status == 200 { answer } else { freezes.client.publish(&body).await };
        assert_eq!(answer.status, 200, "{}", answer.text.chars().take(300).collect::<String>());
        {
            let mut record = producers.record();
            let seqs = |results: &[serde_json::Value]| -> Vec<Option<u64>> {
                results.iter().map(|result| result["seq"].as_u64()).collect()
            };
            assert_eq!(seqs(answer.json()["results"].as_array().unwrap()), seqs(&stored));
            for (id, result) in ids.iter().zip(&stored) {
                record.adopt(id, result["seq"].as_u64().unwrap());
            }
        }
        producers.check(&[&stays.client, &freezes.client], &database).await;
    });
}

//! Two nodes on one Postgres, which get the same ids: one of them dies or freezes, and the other goes on.

use std::time::{Duration, Instant};

use super::{serve, serve_with};
use crate::harness::{Database, Engine, block_on, event, eventually, producers::Producers, random::Random};

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

/// An answer larger than what the sockets between a server and a client that does not read can hold.
const TOPICS: usize = 30_000;

#[test]
fn a_node_that_is_frozen_with_the_ledger_in_its_hands_loses_it_to_the_other_within_ten_seconds() {
    block_on(async {
        let database = Database::create(Engine::Postgres).await;
        let freezes = serve_with(&database.url, &["--batch-events-max", "30000"]).await;
        let stays = serve(&database.url).await;
        let producers = Producers::start(&[&stays.client], 4);
        producers.progress(50).await;

        // The answer to an append names each new topic: a client that does not read it keeps its server from
        // ending the transaction.
        let ids: Vec<String> = (0..TOPICS).map(|id| format!("frozen {id}")).collect();
        let new_topics: Vec<_> = ids.iter().map(|id| event(&format!("{id:y<240}"), id)).collect();
        let body = serde_json::Value::from(new_topics).to_string();
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
        let results = answer.json()["results"].as_array().unwrap().clone();
        {
            let mut record = producers.record();
            for (id, result) in ids.iter().zip(&results) {
                record.adopt(id, result["seq"].as_u64().unwrap());
            }
        }
        producers.check(&[&stays.client, &freezes.client], &database).await;
    });
}

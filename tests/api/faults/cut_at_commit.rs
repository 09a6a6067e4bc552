//! The connection to Postgres, cut in the middle of a commit: whether it went through is unknown, and the writer's
//! retry says which.

use std::time::Duration;

use super::serve;
use crate::harness::{
    Database, Engine, block_on,
    database_proxy::{APPEND, DatabaseProxy, Fate},
    event, events, eventually,
    producers::Producers,
    random::Random,
};

#[test]
fn a_commit_whose_answer_is_cut_off_is_counted_once_and_is_no_duplicate_of_itself() {
    block_on(async {
        let database = Database::create(Engine::Postgres).await;
        let proxy = DatabaseProxy::start(&database.url).await;
        let process = serve(&proxy.url).await;
        let client = &process.client;
        client.publish_ok(event("t", "first")).await;
        let mut stored = 1;
        for round in 0..5 {
            for fate in [Fate::CutWithin, Fate::CutBehind, Fate::CutAnswer] {
                proxy.plan(APPEND, 0, fate);
                let new = format!("{round} {fate:?}");
                let results = client.publish_ok(events("t", [&*new, "first"])).await;
                stored += 1;
                assert_eq!(proxy.planned(), 0, "it met its fate");
                assert_eq!((&results[0]["status"], &results[0]["seq"]), (&"stored".into(), &stored.into()));
                assert_eq!((&results[1]["status"], &results[1]["seq"]), (&"duplicate".into(), &1.into()));
                let duplicates = stored - 1;
                assert_eq!(client.counts().await, (stored + duplicates, stored, duplicates), "{fate:?}");
            }
        }
        database.assert_sound().await;
    });
}

#[test]
fn connections_that_are_cut_at_commits_under_load_cost_no_producer_an_answer() {
    block_on(async {
        let database = Database::create(Engine::Postgres).await;
        let proxy = DatabaseProxy::start(&database.url).await;
        let nodes = [serve(&proxy.url).await, serve(&proxy.url).await];
        let clients = [&nodes[0].client, &nodes[1].client];
        let producers = Producers::start(&clients, 6);
        let mut random = Random::new(1);
        for _ in 0..40 {
            let fate = *random.pick(&[Fate::CutWithin, Fate::CutBehind, Fate::CutAnswer]);
            proxy.plan(APPEND, random.within(0..5), fate);
            eventually("it meets its fate", async || proxy.planned() == 0).await;
        }
        producers.progress(50).await;
        assert_eq!(producers.record().retries, 0, "nodes try again by themselves");
        // Without retries of the producers, what is counted must be exactly what they sent.
        producers.check(&clients, &database).await;
    });
}

#[test]
fn a_commit_that_is_never_answered_is_given_up_in_time_and_the_producers_retry_says_which() {
    block_on(async {
        for (fate, status) in [(Fate::Silence, "stored"), (Fate::LoseAnswer, "duplicate")] {
            let database = Database::create(Engine::Postgres).await;
            let proxy = DatabaseProxy::start(&database.url).await;
            let process = serve(&proxy.url).await;
            proxy.plan(APPEND, 0, fate);
            let refusal = process.client.publish(event("t", "a")).await;
            refusal.problem(503);
            let again = async || process.client.publish(event("t", "a")).await;
            eventually("it is taken again", async || again().await.status == 200).await;
            let (received, unique, _) = process.client.counts().await;
            assert_eq!(unique, 1, "{fate:?}");
            assert!(received >= 2 || status == "stored", "{fate:?}: {received}");
            database.assert_sound().await;
        }
    });
}

/// Long enough for a node to notice, and short enough for none of its requests to be given up.
const SILENCE: Duration = Duration::from_secs(2);

#[test]
fn a_network_that_falls_silent_for_a_moment_costs_no_producer_an_answer() {
    block_on(async {
        let database = Database::create(Engine::Postgres).await;
        let proxy = DatabaseProxy::start(&database.url).await;
        let process = serve(&proxy.url).await;
        let producers = Producers::start(&[&process.client], 4);
        for _ in 0..2 {
            producers.progress(100).await;
            proxy.fall_silent();
            tokio::time::sleep(SILENCE).await;
            proxy.speak();
        }
        producers.progress(100).await;
        assert_eq!(producers.record().retries, 0);
        producers.check(&[&process.client], &database).await;
    });
}

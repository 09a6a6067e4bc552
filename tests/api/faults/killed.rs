//! The service, killed.

use std::time::Duration;

use super::serve;
use crate::harness::{
    eventually_within, namespaces::Namespaces, on_both_databases, producers::Producers, random::Random,
};

/// Rows of deleted namespaces are looked for this often, and are then removed.
const SWEEP_TIME_MAX: Duration = Duration::from_secs(90);

#[test]
fn what_was_acknowledged_survives_kills_at_random_moments() {
    on_both_databases(async |database| {
        let seed = Random::any_seed();
        eprintln!("seed {seed}");
        let mut random = Random::new(seed);
        let mut process = serve(&database.url).await;
        let producers = Producers::start(&[&process.client], 4);
        for _ in 0..5 {
            producers.progress(random.within(1..200)).await;
            // This is what is tested: any moment within a publish.
            tokio::time::sleep(random.millis(0..20)).await;
            process.kill();
            process = serve(&database.url).await;
            producers.turn_to(0, &process.client);
        }
        producers.progress(100).await;
        producers.check(&[&process.client], &database).await;
    });
}

#[test]
fn namespaces_that_come_and_go_lose_nothing_and_inherit_nothing() {
    on_both_databases(async |database| {
        let seed = Random::any_seed();
        eprintln!("seed {seed}");
        let mut random = Random::new(seed);
        let mut process = serve(&database.url).await;
        let mut namespaces =
            Namespaces::start(&[&process.client], 4, Duration::from_millis(5), random.clone()).await;
        for round in 0..3 {
            for ledger in &namespaces.kept {
                ledger.producers.progress(50).await;
            }
            // Once before the kill, and once while the service comes back.
            namespaces.come_and_go().await;
            tokio::time::sleep(random.millis(0..20)).await;
            process.kill();
            let nodes = namespaces.nodes.clone();
            let ((), again) = tokio::join!(namespaces.come_and_go(), async {
                let process = serve(&database.url).await;
                nodes.turn_to(0, &process.client);
                process
            });
            process = again;
            let _paused = namespaces.pause().await;
            namespaces.findings(&database, round == 2).await.assert_none();
        }
        eprintln!("{} generations, {:?}", namespaces.generations, namespaces.tally());
        assert!(namespaces.generations >= 4, "{}", namespaces.generations);
        eventually_within(SWEEP_TIME_MAX, "nothing is left of deleted ones", async || {
            database.rows_of_deleted().await == 0
        })
        .await;
    });
}

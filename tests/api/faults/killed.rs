//! The service, killed.

use super::serve;
use crate::harness::{on_both_databases, producers::Producers, random::Random};

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

//! A second service on the SQLite file of one that works.

use super::serve;
use crate::harness::{
    Database, Engine, block_on,
    process::{failure, sekali},
    producers::Producers,
};

#[test]
fn a_second_service_on_a_sqlite_file_under_load_is_refused_and_takes_over_when_the_first_is_killed() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let first = serve(&database.url).await;
        let producers = Producers::start(&[&first.client], 4);
        for _ in 0..5 {
            producers.progress(20).await;
            let arguments = ["serve", "--listen", "127.0.0.1:0", "--log-level", "off", "--database-url"];
            let second = &mut sekali(&arguments);
            let sentence = failure(second.arg(&database.url), 1);
            assert!(sentence.contains("is in use by another sekali"), "{sentence}");
        }
        assert_eq!(producers.record().retries, 0, "the first one was not disturbed");
        first.kill();
        let second = serve(&database.url).await;
        producers.turn_to(0, &second.client);
        producers.progress(100).await;
        producers.check(&[&second.client], &database).await;
    });
}

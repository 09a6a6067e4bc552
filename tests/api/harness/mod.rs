//! What the tests stand on: databases of their own, services in this process or in one of their own, and a
//! client that hides nothing.

pub mod certificates;
pub mod citus;
pub mod client;
pub mod database;
pub mod database_proxy;
pub mod decorated_store;
pub mod keys;
pub mod namespaces;
pub mod no_subscriptions;
pub mod pages;
pub mod pooler;
pub mod postgres_server;
pub mod preload;
pub mod process;
pub mod producers;
pub mod proof;
pub mod random;
pub mod raw;
pub mod record;
pub mod service;
pub mod small_disk;
pub mod stored_ledger;
pub mod stream;

use std::{
    future::Future,
    time::{Duration, Instant},
};

pub use self::{
    client::{Answer, Client, event, events},
    database::{Database, ENGINES, Engine},
    service::{RunningService, Settings},
};

/// Runs `test` against a fresh service on each store.
pub fn on_both_stores<F: Future<Output = ()>>(test: impl Fn(RunningService) -> F) {
    on_both_stores_with(|_| {}, test);
}

/// As [`on_both_stores`], with settings changed from the defaults first.
pub fn on_both_stores_with<F: Future<Output = ()>>(
    change: impl Fn(&mut Settings),
    test: impl Fn(RunningService) -> F,
) {
    for engine in ENGINES {
        eprintln!("--- on {engine:?}");
        block_on(async {
            let mut settings = Settings::new(Database::create(engine).await);
            change(&mut settings);
            test(RunningService::start(settings).await).await;
        });
    }
}

/// Runs `test` with an empty database of each kind.
pub fn on_both_databases<F: Future<Output = ()>>(test: impl Fn(Database) -> F) {
    for engine in ENGINES {
        eprintln!("--- on {engine:?}");
        block_on(async { test(Database::create(engine).await).await });
    }
}

/// Runs a future on a runtime of its own.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Waits until `condition` holds, and panics with `what` if it does not within 20 seconds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    eventually_within(Duration::from_secs(20), what, condition).await;
}

/// The same with a limit of its own.
pub async fn eventually_within<F: Future<Output = bool>>(
    limit: Duration,
    what: &str,
    condition: impl Fn() -> F,
) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < limit, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

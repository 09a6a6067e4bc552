//! The rows of deleted namespaces, and who removes them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sekali::store::Swept;
use sqlx::Connection;

use super::*;
use crate::harness::eventually;

#[test]
fn rows_are_removed_in_small_jobs_over_restarts_and_others_keep_theirs() {
    on_both_engines(async |store, database| {
        assert_eq!(store.control.sweep(ROWS_MAX).await.unwrap(), Swept::default());
        let mut ledgers = Vec::new();
        for (name, events) in [("a", 40), ("kept", 30), ("b", 7), ("empty", 0), ("c", 20)] {
            let ledger = create(&store, name).await.ledger;
            for number in (0..events).step_by(5) {
                append_new(&store, &ledger, number..events.min(number + 5)).await;
            }
            ledgers.push(ledger);
        }
        append_new(&store, &find(&store, DEFAULT_NAMESPACE).await, 0..9).await;
        let kept = ledgers.remove(1);
        let kept_rows = count_rows(&database, kept.key.namespace_no).await;
        let totals = store.reads.totals(&kept).await.unwrap();
        let mut rows = 0;
        for ledger in &ledgers {
            assert!(store.control.delete(&ledger.namespace).await.unwrap());
            rows += count_rows(&database, ledger.key.namespace_no).await;
        }

        let mut removed = 0;
        for _ in 0..5 {
            let swept = store.control.sweep(ROWS_MAX).await.unwrap();
            assert!(swept.more && swept.rows <= ROWS_MAX as u64, "{swept:?}");
            removed += swept.rows;
        }
        store.control.close().await;
        let store = open_store(&database).await;
        assert!(removed < rows as u64);
        removed += sweep_all(&store).await;
        assert_eq!(removed, rows as u64);
        assert_eq!(store.control.sweep(ROWS_MAX).await.unwrap(), Swept::default());

        for ledger in &ledgers {
            assert_nothing_is_left(&database, ledger.key.namespace_no).await;
        }
        assert_eq!(count_rows(&database, kept.key.namespace_no).await, kept_rows);
        assert_eq!(store.reads.totals(&kept).await.unwrap(), totals);
        let query = PageQuery { after: Some(0), limit: 100, ..PageQuery::default() };
        assert_eq!(store.reads.page(&kept, &query).await.unwrap().events.len(), 30);
        assert_eq!(store.reads.head(&find(&store, DEFAULT_NAMESPACE).await).await.unwrap().last_seq, 9);
    });
}

#[test]
fn a_sweep_finishes_a_deletion_that_ended_between_its_steps() {
    on_both_engines(async |store, database| {
        let ledger = create(&store, "a").await.ledger;
        append_new(&store, &ledger, 0..5).await;
        take_name(&database, "a").await;
        assert!(!store.control.delete("a").await.unwrap());
        // Whoever has the ledger open stores until the second step.
        append_new(&store, &ledger, 5..10).await;
        let rows = count_rows(&database, ledger.key.namespace_no).await as u64;

        let store = open_store_again(store, &database).await;
        let swept = store.control.sweep(ROWS_MAX).await.unwrap();
        assert_eq!(swept, Swept { rows: ROWS_MAX as u64, more: true });
        assert_eq!(append(&store, &ledger, 10..12).await.unwrap(), AppendOutcome::Gone);
        assert_reads_are_gone(&store, &ledger).await;
        assert_eq!(sweep_all(&store).await, rows - swept.rows);
        assert_nothing_is_left(&database, ledger.key.namespace_no).await;
    });
}

/// The store as it is after a restart of the service.
async fn open_store_again(store: Store, database: &Database) -> Store {
    store.control.close().await;
    drop(store);
    open_store(database).await
}

#[test]
fn two_who_sweep_at_once_remove_each_row_once() {
    on_both_engines(async |store, database| {
        let mut rows = 0;
        for name in ["a", "b", "c"] {
            let ledger = create(&store, name).await.ledger;
            append_new(&store, &ledger, 0..60).await;
            rows += count_rows(&database, ledger.key.namespace_no).await;
            assert!(store.control.delete(name).await.unwrap());
        }
        let nodes = open_nodes(&store, &database).await;
        let removed: u64 = join_all(nodes.iter().map(sweep_all)).await.into_iter().sum();
        // One that finds everything in the other's hands ends before it.
        assert_eq!(removed + sweep_all(&store).await, rows as u64);
        assert_eq!(
            database.number(&format!("SELECT count(*) FROM {}namespaces", schema(&database))).await,
            1
        );
    });
}

#[test]
fn a_namespace_whose_rows_cannot_be_removed_does_not_keep_others_waiting() {
    on_both_engines(async |store, database| {
        let [stuck, other] = [create(&store, "a").await.ledger, create(&store, "b").await.ledger];
        for ledger in [&stuck, &other] {
            append_new(&store, ledger, 0..20).await;
            assert!(store.control.delete(&ledger.namespace).await.unwrap());
        }
        let number = stuck.key.namespace_no;
        database
            .execute(&match database.engine {
                Engine::Sqlite => format!(
                    "CREATE TRIGGER keep BEFORE DELETE ON stored_events WHEN OLD.place >> 40 = {number}
                     BEGIN SELECT RAISE(ABORT, 'this row stays'); END"
                ),
                Engine::Postgres => format!(
                    "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
                     $$ BEGIN RAISE EXCEPTION 'this row stays'; END $$;
                     CREATE TRIGGER keep BEFORE DELETE ON sekali.stored_events FOR EACH ROW
                     WHEN (OLD.namespace_no = {number}) EXECUTE FUNCTION keep()"
                ),
            })
            .await;
        let has_failed = AtomicBool::new(false);
        eventually("the other namespace's rows are removed, and the first one's are not", async || {
            let swept = store.control.sweep(ROWS_MAX).await;
            has_failed.fetch_or(swept.is_err(), Ordering::Relaxed);
            has_failed.load(Ordering::Relaxed) && count_rows(&database, other.key.namespace_no).await == 0
        })
        .await;
        assert!(count_rows(&database, number).await > 0);
        append_new(&store, &find(&store, DEFAULT_NAMESPACE).await, 0..1).await;
    });
}

#[test]
fn appends_go_on_while_namespaces_come_and_go() {
    on_both_engines(async |store, _database| {
        let default = find(&store, DEFAULT_NAMESPACE).await;
        let appends = async {
            for number in 0..40 {
                append_new(&store, &default, number * 10..number * 10 + 10).await;
            }
        };
        let control = async |lane: usize| {
            for round in 0..8 {
                let name = format!("n{lane}-{round}");
                let ledger = create(&store, &name).await.ledger;
                append_new(&store, &ledger, 0..20).await;
                assert!(store.control.delete(&name).await.unwrap());
                store.control.sweep(ROWS_MAX).await.unwrap();
            }
        };
        tokio::join!(appends, control(0), control(1), control(2));
        sweep_all(&store).await;
        assert_eq!(store.reads.head(&default).await.unwrap().last_seq, 400);
        let query = NamespaceQuery { limit: 10, ..NamespaceQuery::default() };
        assert_eq!(store.control.namespaces(&query).await.unwrap().len(), 1);
    });
}

/// A foreign session that has begun a transaction with this statement.
async fn hold(database: &Database, lock: String) -> sqlx::PgConnection {
    let mut session = sqlx::PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("BEGIN; {lock}"))).execute(&mut session).await.unwrap();
    session
}

#[test]
fn a_deletion_waits_for_the_append_that_holds_the_ledger_and_one_that_gives_up_does_nothing() {
    block_on(async {
        let database = Database::create(Engine::Postgres).await;
        let store = open_store(&database).await;
        for (name, gives_up) in [("a", false), ("b", true)] {
            let ledger = create(&store, name).await.ledger;
            append_new(&store, &ledger, 0..5).await;
            let number = ledger.key.namespace_no;
            let lock = format!("SELECT FROM sekali.ledgers WHERE namespace_no = {number} FOR UPDATE");
            let mut append_in_hand = Some(hold(&database, lock).await);
            let release = async {
                let waiting = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND wait_event_type = 'Lock'";
                eventually("it waits", async || database.number(waiting).await == 1).await;
                assert!(store.control.namespace(name).await.unwrap().is_some());
                store.reads.head(&ledger).await.unwrap();
                if !gives_up {
                    append_in_hand.take().unwrap().close().await.unwrap();
                }
            };
            let (deleted, ()) = tokio::join!(store.control.delete(name), release);
            if gives_up {
                assert!(matches!(deleted, Err(StoreError::Locked(_))), "{deleted:?}");
                assert!(store.control.namespace(name).await.unwrap().is_some());
                append_in_hand.take().unwrap().close().await.unwrap();
                append_new(&store, &ledger, 5..9).await;
                assert!(store.control.delete(name).await.unwrap());
            } else {
                assert!(deleted.unwrap());
            }
            assert_reads_are_gone(&store, &ledger).await;
            sweep_all(&store).await;
            assert_nothing_is_left(&database, number).await;
        }
    });
}

#[test]
fn what_another_node_removes_is_left_to_it() {
    block_on(async {
        let database = Database::create(Engine::Postgres).await;
        let store = open_store(&database).await;
        let mut numbers = Vec::new();
        for name in ["a", "b"] {
            let ledger = create(&store, name).await.ledger;
            append_new(&store, &ledger, 0..5).await;
            assert!(store.control.delete(name).await.unwrap());
            numbers.push(ledger.key.namespace_no);
        }
        let claim = format!("SELECT FROM sekali.namespaces WHERE namespace_no = {} FOR UPDATE", numbers[0]);
        let other_node = hold(&database, claim).await;
        sweep_all(&store).await;
        assert_nothing_is_left(&database, numbers[1]).await;
        assert!(count_rows(&database, numbers[0]).await > 0);
        other_node.close().await.unwrap();
        sweep_all(&store).await;
        assert_nothing_is_left(&database, numbers[0]).await;
    });
}

/// SQLite lets those who wait for its lock ask again after a pause, so that one who never pauses keeps it.
#[test]
fn an_append_waits_for_one_job_or_two_of_a_sweep_that_never_pauses() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let store = open_store(&database).await;
        let default = find(&store, DEFAULT_NAMESPACE).await;
        let ledger = create(&store, "a").await.ledger;
        for number in 0..10 {
            append_new(&store, &ledger, number * 8_000..(number + 1) * 8_000).await;
        }
        assert!(store.control.delete("a").await.unwrap());
        let (jobs, appended) = (AtomicUsize::new(0), AtomicBool::new(false));
        let sweeps = async {
            while !appended.load(Ordering::Relaxed) {
                assert!(store.control.sweep(50).await.unwrap().more, "there is not enough to do");
                jobs.fetch_add(1, Ordering::Relaxed);
            }
        };
        let appends = async {
            let mut writer = store.appends.open_writer().await.unwrap();
            for number in 0..50 {
                let before = jobs.load(Ordering::Relaxed);
                append_on(&mut *writer, &default, number..number + 1).await.unwrap();
                let waited = jobs.load(Ordering::Relaxed) - before;
                assert!(waited <= 2, "append {number} waited for {waited} jobs");
            }
            appended.store(true, Ordering::Relaxed);
        };
        tokio::join!(sweeps, appends);
    });
}

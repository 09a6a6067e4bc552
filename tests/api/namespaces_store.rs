//! Namespaces as the store keeps them, on both engines: created, listed, deleted, and their rows removed.

mod sweeping;

use std::{collections::HashSet, ops::Range, time::SystemTime};

use bytes::Bytes;
use futures::future::join_all;
use sekali::{
    event::{DedupScope, Event, parse_batch},
    store::{
        AppendGroup, AppendOutcome, CreateOutcome, DEFAULT_NAMESPACE, Head, LedgerMark, LedgerRecord,
        NamespaceInfo, NamespaceQuery, OpenOptions, PageQuery, Store, StoreError, StoreWriter, TopicCount,
        open,
    },
};
use serde_json::Value;
use uuid::Uuid;

use crate::harness::{self, Database, ENGINES, Engine, block_on, on_both_databases};

const NAMESPACES_MAX: usize = 10_000;
/// Rows that a test removes at a time.
const ROWS_MAX: usize = 7;

async fn open_store(database: &Database) -> Store {
    let options = OpenOptions { migrate: true, scope: None, read_connections: 4 };
    open(&database.url, &options).await.unwrap()
}

/// Runs `test` with an open store on a database of each kind.
fn on_both_engines<F: Future<Output = ()>>(test: impl Fn(Store, Database) -> F) {
    on_both_databases(async |database| test(open_store(&database).await, database).await);
}

async fn create(store: &Store, namespace: &str) -> NamespaceInfo {
    match store.control.create(namespace, DedupScope::EventId, NAMESPACES_MAX).await.unwrap() {
        CreateOutcome::Created(created) => created,
        CreateOutcome::There(_) | CreateOutcome::Full => panic!("{namespace} is not new"),
    }
}

async fn find(store: &Store, namespace: &str) -> LedgerRecord {
    store.control.ledger(namespace).await.unwrap().expect("a namespace of this name")
}

/// Appends events with these numbers, each in one of three topics, on a connection of its own.
async fn append(
    store: &Store,
    ledger: &LedgerRecord,
    numbers: Range<usize>,
) -> Result<AppendOutcome, StoreError> {
    let mut writer = store.appends.open_writer().await?;
    let outcome = append_on(&mut *writer, ledger, numbers).await;
    writer.close().await?;
    outcome
}

/// The same on this connection, as a writer of its own.
async fn append_on(
    writer: &mut dyn StoreWriter,
    ledger: &LedgerRecord,
    numbers: Range<usize>,
) -> Result<AppendOutcome, StoreError> {
    let topics = ["t0", "t1", "t2"];
    let events = numbers.map(|number| harness::event(topics[number % 3], &number.to_string())).collect();
    let events = parse_batch(Bytes::from(Value::Array(events).to_string()), usize::MAX).unwrap();
    let events: Vec<&Event> = events.iter().collect();
    let digests: Vec<_> =
        events.iter().map(|event| ledger.digester.digest(event.topic(), event.event_id())).collect();
    let count = |topic: &'static str| {
        let new_events = events.iter().filter(|event| **event.topic() == *topic).count() as u64;
        TopicCount { topic, new_events, duplicates: 0 }
    };
    let counts: Vec<_> = topics.into_iter().map(count).filter(|count| count.new_events > 0).collect();
    let group = AppendGroup {
        ledger: ledger.key,
        writer_id: Uuid::new_v4(),
        group_no: 1,
        topics_max: 1_000,
        seen: LedgerMark::default(),
        events: &events,
        digests: &digests,
        counts: &counts,
    };
    writer.append_all(&[group]).await?.remove(0)
}

/// Appends events that are new, and returns the head with them.
async fn append_new(store: &Store, ledger: &LedgerRecord, numbers: Range<usize>) -> Head {
    match append(store, ledger, numbers).await.unwrap() {
        AppendOutcome::Committed(committed) if committed.repeats.is_empty() => committed.head,
        other => panic!("{other:?}"),
    }
}

/// Rows that `sweep` counts, of the namespace of this number.
async fn count_rows(database: &Database, namespace_no: i32) -> i64 {
    let tables: &[&str] = match database.engine {
        Engine::Sqlite => &["stored_events", "identities", "topics"],
        Engine::Postgres => &["sekali.stored_events", "sekali.identities", "sekali.topics", "sekali.commits"],
    };
    let mut rows = 0;
    for table in tables {
        rows += database
            .number(&format!("SELECT count(*) FROM {table} WHERE namespace_no = {namespace_no}"))
            .await;
    }
    rows
}

/// The schema's prefix of a table's name.
fn schema(database: &Database) -> &'static str {
    match database.engine {
        Engine::Sqlite => "",
        Engine::Postgres => "sekali.",
    }
}

/// Does the first step of a deletion alone.
async fn take_name(database: &Database, namespace: &str) {
    let schema = schema(database);
    let step =
        format!("UPDATE {schema}namespaces SET name = NULL, state = 'deleting' WHERE name = '{namespace}'");
    database.execute(&step).await;
}

async fn assert_nothing_is_left(database: &Database, namespace_no: i32) {
    assert_eq!(count_rows(database, namespace_no).await, 0);
    for table in ["namespaces", "ledgers"] {
        let schema = schema(database);
        let rows = format!("SELECT count(*) FROM {schema}{table} WHERE namespace_no = {namespace_no}");
        assert_eq!(database.number(&rows).await, 0, "{table}");
    }
}

/// Sweeps until nothing is left; returns how many rows were removed.
async fn sweep_all(store: &Store) -> u64 {
    let mut rows = 0;
    loop {
        let swept = store.control.sweep(ROWS_MAX).await.unwrap();
        assert!(swept.rows <= ROWS_MAX as u64, "{swept:?}");
        rows += swept.rows;
        if !swept.more {
            return rows;
        }
        assert!(rows < 1_000_000, "it does not end");
    }
}

async fn assert_reads_are_gone(store: &Store, ledger: &LedgerRecord) {
    let reads = &store.reads;
    let query = PageQuery { limit: 10, ..PageQuery::default() };
    let answers = [
        reads.page(ledger, &query).await.err(),
        reads.event(ledger, "1", Some("t1")).await.err(),
        reads.head(ledger).await.err(),
        reads.holds(ledger, &LedgerMark::default()).await.err(),
        reads.totals(ledger).await.err(),
    ];
    assert_eq!(reads.newest_ids(ledger, u64::MAX, 10).await.unwrap(), []);
    for (read, answer) in answers.into_iter().enumerate() {
        assert!(matches!(answer, Some(StoreError::Gone)), "read {read}: {answer:?}");
    }
}

fn unix_micros() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as i64
}

#[test]
fn a_namespace_is_created_once_and_is_there_from_then_on() {
    on_both_engines(async |store, _database| {
        assert!(store.control.ledger("a").await.unwrap().is_none());
        assert!(store.control.namespace("a").await.unwrap().is_none());
        let begun = unix_micros();
        let CreateOutcome::Created(created) =
            store.control.create("a", DedupScope::Topic, NAMESPACES_MAX).await.unwrap()
        else {
            panic!("a is not new");
        };
        assert!((begun..=unix_micros()).contains(&created.created_at.unix_micros()));
        assert_eq!((&*created.ledger.namespace, created.ledger.scope), ("a", DedupScope::Topic));
        assert_eq!(created.head, Head::default());
        assert_ne!(created.ledger.key, find(&store, DEFAULT_NAMESPACE).await.key);
        let head = append_new(&store, &created.ledger, 0..5).await;

        let again = store.control.create("a", DedupScope::EventId, NAMESPACES_MAX).await.unwrap();
        let CreateOutcome::There(there) = again else { panic!("a was not there") };
        let shown = store.control.namespace("a").await.unwrap().unwrap();
        for found in [there, shown] {
            assert_eq!(found.ledger.key, created.ledger.key);
            assert_eq!((found.ledger.scope, found.head), (DedupScope::Topic, head));
            assert_eq!(found.created_at, created.created_at);
        }
        let found = find(&store, "a").await;
        assert_eq!((found.key, found.scope), (created.ledger.key, DedupScope::Topic));
        assert_eq!(found.digester.digest("t", "1"), created.ledger.digester.digest("t", "1"));
    });
}

#[test]
fn no_more_namespaces_are_created_than_there_may_be() {
    on_both_engines(async |store, _database| {
        let create = async |name| store.control.create(name, DedupScope::EventId, 2).await.unwrap();
        assert!(matches!(create("a").await, CreateOutcome::Created(_)), "`default` is the other one");
        assert!(matches!(create("b").await, CreateOutcome::Full));
        assert!(store.control.ledger("b").await.unwrap().is_none());
        assert!(matches!(create("a").await, CreateOutcome::There(_)));
        assert!(store.control.delete("a").await.unwrap());
        assert!(
            matches!(create("b").await, CreateOutcome::Created(_)),
            "what is being deleted does not count"
        );
        assert!(matches!(create("c").await, CreateOutcome::Full));
    });
}

/// Two nodes where there may be two.
async fn open_nodes(store: &Store, database: &Database) -> [Store; 2] {
    match database.engine {
        Engine::Sqlite => [store.clone(), store.clone()],
        Engine::Postgres => [store.clone(), open_store(database).await],
    }
}

#[test]
fn of_many_who_create_one_name_one_does() {
    on_both_engines(async |store, database| {
        let nodes = open_nodes(&store, &database).await;
        let creates = (0..12).map(|n| {
            let scope = [DedupScope::EventId, DedupScope::Topic][n / 2 % 2];
            nodes[n % 2].control.create("a", scope, NAMESPACES_MAX)
        });
        let (mut created, mut there) = (Vec::new(), Vec::new());
        for outcome in join_all(creates).await {
            match outcome.unwrap() {
                CreateOutcome::Created(namespace) => created.push(namespace.ledger),
                CreateOutcome::There(namespace) => there.push(namespace.ledger),
                CreateOutcome::Full => panic!("there is room"),
            }
        }
        assert_eq!((created.len(), there.len()), (1, 11));
        for ledger in there {
            assert_eq!((ledger.key, ledger.scope), (created[0].key, created[0].scope));
        }
    });
}

#[test]
fn many_who_create_at_once_get_numbers_of_their_own_up_to_the_limit() {
    on_both_engines(async |store, database| {
        let nodes = open_nodes(&store, &database).await;
        let names: Vec<String> = (0..20).map(|n| format!("n{n}")).collect();
        let creates = names.iter().enumerate().map(|(n, name)| {
            // With `default` there may be 11.
            nodes[n % 2].control.create(name, DedupScope::EventId, 11)
        });
        let mut keys = Vec::new();
        for outcome in join_all(creates).await {
            match outcome.unwrap() {
                CreateOutcome::Created(namespace) => keys.push(namespace.ledger.key),
                CreateOutcome::Full => {}
                CreateOutcome::There(_) => panic!("each name is another one"),
            }
        }
        assert_eq!(keys.len(), 10);
        keys.push(find(&store, DEFAULT_NAMESPACE).await.key);
        let numbers: HashSet<i32> = keys.iter().map(|key| key.namespace_no).collect();
        let ids: HashSet<Uuid> = keys.iter().map(|key| key.ledger_id).collect();
        assert_eq!((numbers.len(), ids.len()), (11, 11));
    });
}

#[test]
fn namespaces_are_listed_by_the_bytes_of_their_names_with_their_heads() {
    on_both_engines(async |store, _database| {
        let mut heads = Vec::new();
        for (events, name) in ["b", "a1", "a-1", "a", "0", "ab", "a-", "zz"].into_iter().enumerate() {
            let created = create(&store, name).await;
            // Two commits; the newest one counts.
            let mut head = Head::default();
            if events > 0 {
                append_new(&store, &created.ledger, 0..1).await;
                head = append_new(&store, &created.ledger, 1..1 + events).await;
                assert_eq!(head, store.reads.head(&created.ledger).await.unwrap());
            }
            heads.push((name.to_owned(), head));
        }
        create(&store, "deleted").await;
        assert!(store.control.delete("deleted").await.unwrap());
        heads.push((DEFAULT_NAMESPACE.to_owned(), Head::default()));
        heads.sort_by(|(one, _), (other, _)| one.as_bytes().cmp(other.as_bytes()));

        for prefix in ["", "a", "a-", "a-1", "z", "zz", "zzz", "default", "_", "%", "A"] {
            for after in ["", "0", "a", "a-0", "b", "zz"] {
                for limit in [1, 3, 100] {
                    let query = NamespaceQuery { prefix: prefix.to_owned(), after: after.to_owned(), limit };
                    let found = store.control.namespaces(&query).await.unwrap();
                    let found: Vec<_> =
                        found.into_iter().map(|found| (found.ledger.namespace, found.head)).collect();
                    let matches = |(name, _): &&(String, Head)| name.starts_with(prefix) && &**name > after;
                    let expected: Vec<_> = heads.iter().filter(matches).take(limit).cloned().collect();
                    assert_eq!(found, expected, "{query:?}");
                }
            }
        }
    });
}

#[test]
fn what_is_deleted_is_gone_and_a_new_one_of_that_name_begins_at_1() {
    on_both_engines(async |store, _database| {
        let old = create(&store, "a").await.ledger;
        let default = find(&store, DEFAULT_NAMESPACE).await;
        append_new(&store, &old, 0..10).await;
        append_new(&store, &default, 0..4).await;

        assert!(store.control.delete("a").await.unwrap());
        assert!(!store.control.delete("a").await.unwrap());
        assert!(store.control.ledger("a").await.unwrap().is_none());
        assert!(store.control.namespace("a").await.unwrap().is_none());
        assert_eq!(append(&store, &old, 10..12).await.unwrap(), AppendOutcome::Gone);
        assert_reads_are_gone(&store, &old).await;

        let new = create(&store, "a").await.ledger;
        assert_ne!(new.key.namespace_no, old.key.namespace_no);
        assert_ne!(new.key.ledger_id, old.key.ledger_id);
        let head = append_new(&store, &new, 0..3).await;
        assert_eq!((head.mark.commit_no, head.last_seq, head.received), (1, 3, 3));
        assert_eq!(append(&store, &old, 10..12).await.unwrap(), AppendOutcome::Gone);
        assert_reads_are_gone(&store, &old).await;
        // A restored database may give a number again, and the new ledger has another id.
        let mut mixed = new.clone();
        mixed.key.ledger_id = old.key.ledger_id;
        assert_eq!(append(&store, &mixed, 10..12).await.unwrap(), AppendOutcome::Gone);
        assert_reads_are_gone(&store, &mixed).await;

        assert!(sweep_all(&store).await > 0);
        assert_eq!(store.reads.head(&new).await.unwrap(), head);
        assert_eq!(store.reads.head(&default).await.unwrap().last_seq, 4);
    });
}

#[test]
fn the_default_namespace_cannot_be_deleted() {
    on_both_engines(async |store, _database| {
        let default = find(&store, DEFAULT_NAMESPACE).await;
        assert!(!store.control.delete(DEFAULT_NAMESPACE).await.unwrap());
        assert_eq!(find(&store, DEFAULT_NAMESPACE).await.key, default.key);
        append_new(&store, &default, 0..1).await;
    });
}

#[test]
fn a_ping_asks_the_database_that_was_opened() {
    for engine in ENGINES {
        eprintln!("--- on {engine:?}");
        block_on(async {
            let database = Database::create(engine).await;
            let store = open_store(&database).await;
            store.control.ping().await.unwrap();
            match engine {
                Engine::Sqlite => {
                    let aside = database.file().with_extension("aside");
                    std::fs::rename(database.file(), &aside).unwrap();
                    let answer = store.control.ping().await;
                    assert!(matches!(answer, Err(StoreError::Detached(_))), "{answer:?}");
                    let answer = store.control.delete("a").await;
                    assert!(matches!(answer, Err(StoreError::Detached(_))), "{answer:?}");
                    std::fs::rename(&aside, database.file()).unwrap();
                }
                Engine::Postgres => {
                    database.execute("ALTER SCHEMA sekali RENAME TO aside").await;
                    let answer = store.control.ping().await;
                    assert!(matches!(answer, Err(StoreError::Broken(_))), "{answer:?}");
                    database.execute("ALTER SCHEMA aside RENAME TO sekali").await;
                }
            }
            store.control.ping().await.unwrap();
            store.control.close().await;
            assert!(store.control.ping().await.is_err());
        });
    }
}

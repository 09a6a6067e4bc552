//! A database that becomes an older copy of itself under running services.

use std::{net::IpAddr, path::Path, sync::Arc};

use sekali::service::{Begin, Interest, Step};

use crate::harness::{
    Client, Database, Engine, block_on, event, events, eventually, on_both_stores, process::Process,
    stream::Stream,
};

/// Sets a copy of all that the service has written aside, beside it in the same database.
async fn back_up(database: &Database) {
    let each = "CREATE TABLE copy_of_{name} AS SELECT {columns} FROM {table};";
    database.execute(&over_tables(database, each)).await;
}

/// Makes the database what it was when the copy was set aside, in one transaction.
async fn restore(database: &Database) {
    let each = "DELETE FROM {table}; INSERT INTO {table} SELECT * FROM copy_of_{name};";
    database.execute(&format!("BEGIN; {} COMMIT;", over_tables(database, each))).await;
}

fn over_tables(database: &Database, statements: &str) -> String {
    let (tables, columns) = match database.engine {
        // Without the columns that SQLite makes of `place`.
        Engine::Sqlite => (
            ["ledgers", "identities", "stored_events", "topics"],
            "place, topic_no, received_at, timestamp, event_id, source, payload",
        ),
        Engine::Postgres => (["commits", "identities", "stored_events", "topics"], "*"),
    };
    let one = |name| {
        let columns = if name == "stored_events" { columns } else { "*" };
        let statements = statements.replace("{table}", &database.table(name));
        statements.replace("{name}", name).replace("{columns}", columns)
    };
    tables.map(one).concat()
}

async fn publish_statuses(client: &Client, ids: impl IntoIterator<Item = &str>) -> Vec<(String, u64)> {
    let results = client.publish_ok(events("t", ids)).await;
    let status = |result: &serde_json::Value| {
        (result["status"].as_str().unwrap().to_owned(), result["seq"].as_u64().unwrap())
    };
    results.iter().map(status).collect()
}

fn told<const N: usize>(outcomes: [(&str, u64); N]) -> Vec<(String, u64)> {
    outcomes.map(|(status, seq)| (status.to_owned(), seq)).to_vec()
}

#[test]
fn what_a_restore_took_away_is_stored_anew_and_the_counts_follow() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.publish_ok(events("t", ["a", "b"])).await;
        back_up(service.database()).await;
        client.publish_ok(events("t", ["c", "d"])).await;
        client.publish_ok(events("lost", ["e", "a"])).await;
        restore(service.database()).await;
        assert_eq!(
            publish_statuses(client, ["d", "a", "x"]).await,
            told([("stored", 3), ("duplicate", 1), ("stored", 4)])
        );
        let stats = client.get("/stats").await.json();
        assert_eq!((&stats["received"], &stats["unique_processed"]), (&5.into(), &4.into()), "{stats}");
        assert_eq!(stats["topics"], serde_json::json!(["t"]));
        assert_eq!(stats["node"]["database_restored"], 1, "{stats}");
        service.database().assert_sound().await;
    });
}

#[test]
fn a_restore_that_nobody_publishes_after_shows_in_the_counts() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.publish_ok(event("t", "a")).await;
        back_up(service.database()).await;
        client.publish_ok(event("t", "b")).await;
        restore(service.database()).await;
        eventually("the counts are those of the copy", async || {
            client.get("/stats").await.json()["received"] == 1
        })
        .await;
    });
}

#[test]
fn a_node_that_was_away_notices_a_restored_database_though_others_made_it_grow_beyond_what_it_saw() {
    block_on(async {
        let database = Arc::new(Database::create(Engine::Postgres).await);
        let serve = || Process::start(Path::new("/"), &["--database-url", &database.url]);
        let (frozen, other) = (serve().ready().await, serve().ready().await);
        frozen.client.publish_ok(events("t", ["a", "b"])).await;
        back_up(&database).await;
        frozen.client.publish_ok(events("t", ["c", "d"])).await;

        frozen.signal("STOP");
        restore(&database).await;
        for group in 0..5 {
            other.client.publish_ok(events("u", [&*format!("{group} x"), &format!("{group} y")])).await;
        }
        frozen.signal("CONT");

        assert_eq!(
            publish_statuses(&frozen.client, ["d", "a", "c"]).await,
            told([("stored", 13), ("duplicate", 1), ("stored", 14)])
        );
        // The other node may have seen what was lost, or not.
        for node in [&frozen, &other] {
            eventually("the node counts what is there", async || {
                let stats = node.client.get("/stats").await.json();
                stats["received"] == 15 && stats["unique_processed"] == 14
            })
            .await;
        }
        assert_eq!(frozen.client.get("/stats").await.json()["node"]["database_restored"], 1);
        database.assert_sound().await;
    });
}

/// A number that the copy does not know is given again. What a node knows of its ledger must not reach the other one's.
#[test]
fn no_event_gets_into_the_namespace_that_a_restored_database_gave_the_same_number() {
    block_on(async {
        let database = Database::create(Engine::Postgres).await;
        let serve = || Process::start(Path::new("/"), &["--database-url", &database.url]);
        let (frozen, other) = (serve().ready().await, serve().ready().await);
        let all = ["counters", "namespaces", "ledgers", "commits", "identities", "stored_events", "topics"];
        let over_all = |each: &str| all.map(|table| each.replace("{table}", table)).concat();
        database.execute(&over_all("CREATE TABLE copy_of_{table} AS SELECT * FROM sekali.{table};")).await;
        frozen.client.create_namespace("lost").await;
        let lost = frozen.client.in_namespace("lost");
        lost.publish_ok(events("t", ["a", "b", "c"])).await;

        frozen.signal("STOP");
        let put_back =
            over_all("DELETE FROM sekali.{table}; INSERT INTO sekali.{table} SELECT * FROM copy_of_{table};");
        database.execute(&format!("BEGIN; {put_back} COMMIT;")).await;
        other.client.create_namespace("new").await;
        let new = other.client.in_namespace("new");
        assert_eq!(publish_statuses(&new, ["x", "a"]).await, told([("stored", 1), ("stored", 2)]));
        frozen.signal("CONT");

        lost.publish(events("t", ["a", "d"])).await.problem(404);
        for path in ["/events", "/events/a", "/stats", "/stream?after=0"] {
            frozen.client.get(&format!("/namespaces/lost{path}")).await.problem(404);
        }
        let on_it = frozen.client.in_namespace("new");
        assert_eq!(
            publish_statuses(&on_it, ["a", "d", "x"]).await,
            told([("duplicate", 2), ("stored", 3), ("duplicate", 1)])
        );
        let ids: Vec<_> = new.events_after(0).await.iter().map(|event| event["event_id"].clone()).collect();
        assert_eq!(ids, ["x", "a", "d"]);
        database.assert_sound().await;
    });
}

#[test]
fn a_stream_says_that_the_database_was_restored_and_goes_on_from_there() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.publish_ok(events("t", ["a", "b"])).await;
        back_up(service.database()).await;
        client.publish_ok(events("t", ["c", "d"])).await;
        let mut reader = Stream::open(client, "/stream?after=0").await;
        assert_eq!(reader.seqs(4).await, [1, 2, 3, 4]);
        restore(service.database()).await;
        client.publish_ok(events("t", ["x", "y", "z"])).await;
        let restored = reader.notice("restored").await;
        assert_eq!((restored.id, restored.data), (Some(2), serde_json::json!({"head": 2})));
        assert_eq!(reader.seqs(3).await, [3, 4, 5]);

        // Who comes back with a place that there is no more is told as well.
        let mut back = Stream::resume(client, "/stream", 9).await;
        let restored = back.notice("restored").await;
        assert_eq!(restored.id, Some(5));
        client.publish_ok(event("t", "last")).await;
        assert_eq!(back.seqs(1).await, [6]);
    });
}

#[test]
fn a_reader_whose_place_is_gone_is_told_so_though_the_log_has_grown_beyond_it_since() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.publish_ok(events("t", ["a", "b"])).await;
        let ledger = service.handle.ledger("default").await.unwrap();
        let peer = IpAddr::from([127, 0, 0, 1]).into();
        let mut reader = ledger.follow(Begin::Served(4), Interest::default(), peer).await.unwrap();
        client.publish_ok(events("t", ["c", "d", "e"])).await;
        assert!(matches!(reader.next().await, Step::Restored { head: 2 }));
        let Step::Events(chunk) = reader.next().await else { panic!("no events") };
        assert_eq!(chunk.events.iter().map(|event| event.seq).collect::<Vec<_>>(), [3, 4, 5]);
    });
}

#[test]
fn a_reader_that_comes_after_a_restore_gets_nothing_that_was_read_before_it() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.publish_ok(event("t", "a")).await;
        back_up(service.database()).await;
        client.publish_ok(events("t", ["b", "c"])).await;
        let ids = async || {
            let mut stream = Stream::open(client, "/stream?after=0").await;
            let mut ids = Vec::new();
            for _ in 0..3 {
                let event = stream.event().await.unwrap();
                ids.push(event["event_id"].as_str().unwrap().to_owned());
            }
            ids
        };
        assert_eq!(ids().await, ["a", "b", "c"]);
        // It notices that a connection is closed.
        eventually("the service knows that nobody reads any more", async || {
            client.publish_ok(event("t", &client.counts().await.0.to_string())).await;
            let metrics = client.get("/metrics").await.text;
            metrics.lines().any(|line| line == "sekali_in_flight{what=\"streams\"} 0")
        })
        .await;
        restore(service.database()).await;
        client.publish_ok(events("t", ["x", "y"])).await;
        assert_eq!(ids().await, ["a", "x", "y"]);
    });
}

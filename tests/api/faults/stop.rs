//! Stops: by which signals, in which order, and what lies on the disk afterwards.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use sqlx::Connection;

use super::serve;
use crate::harness::{
    Database, Engine, block_on, event, events, eventually, on_both_databases,
    postgres_server::PostgresServer, process::Process, raw::Raw,
};

/// Every signal that may end a process and does not stop the service.
const IGNORED: [&str; 15] = [
    "HUP", "USR1", "USR2", "ALRM", "VTALRM", "PROF", "XCPU", "XFSZ", "IO", "PWR", "STKFLT", "34", "35", "50",
    "64",
];

#[test]
fn after_exit_code_0_the_one_sqlite_file_holds_everything() {
    block_on(async {
        for turn in 0..12 {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("a.db");
            let url = format!("sqlite://{}", file.display());
            let mut process =
                Process::start(folder.path(), &["--database-url", &url, "--shards", "2"]).ready().await;
            for batch in 0..3 {
                let ids: Vec<String> = (0..1_000).map(|id| format!("{batch}-{id}")).collect();
                process.client.publish_ok(events("t", ids.iter().map(String::as_str))).await;
            }
            // Readers have connections open as well.
            process.client.events("?limit=10").await;
            process.signal("TERM");
            assert_eq!(process.wait().code(), Some(0), "{}", process.log());

            let mut left: Vec<String> = fs::read_dir(folder.path())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
                .filter(|name| name.ends_with("-wal") || name.ends_with("-shm"))
                .collect();
            left.sort();
            assert!(left.is_empty(), "turn {turn}: {left:?} left");
            let alone = folder.path().join("alone.db");
            fs::copy(&file, &alone).unwrap();
            let alone = Database::at(&format!("sqlite://{}", alone.display()));
            assert_eq!(alone.number("SELECT count(*) FROM events").await, 3_000, "turn {turn}");
        }
    });
}

/// Who copies the one file then would miss what is in the log.
#[test]
fn a_log_that_another_program_keeps_beside_the_file_is_said_and_no_fault_of_the_stop() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let mut process = serve(&database.url).await;
        process.client.publish_ok(event("t", "a")).await;
        let mut reader = sqlx::SqliteConnection::connect(&database.url).await.unwrap();
        let reads = "BEGIN; SELECT count(*) FROM events";
        sqlx::raw_sql(reads).execute(&mut reader).await.unwrap();
        process.client.publish_ok(event("t", "b")).await;
        process.signal("TERM");
        assert_eq!(process.wait().code(), Some(0), "{}", process.log());
        eventually("its log is written", async || process.log().contains("stopped; everything")).await;
        let log = process.log();
        assert!(
            log.contains("the log stays beside the file: another program has the database open"),
            "{log}"
        );
        reader.close().await.unwrap();
        // The next service takes it over, and nothing is lost.
        let mut process = serve(&database.url).await;
        assert_eq!(process.client.events("").await.len(), 2);
        process.signal("TERM");
        assert_eq!(process.wait().code(), Some(0), "{}", process.log());
    });
}

#[test]
fn a_stop_that_arrives_as_several_signals_is_one_stop() {
    on_both_databases(async |database| {
        let mut process = serve(&database.url).await;
        let held = database.hold_ledger().await;
        let client = process.client.clone();
        let in_hand =
            tokio::spawn(async move { client.try_publish(event("t", "in hand").to_string()).await });
        eventually("the publish is in flight", async || {
            process.client.stats().await["node"]["in_flight"]["events"] == 1
        })
        .await;
        for signal in ["TERM", "TERM", "INT"] {
            process.signal(signal);
        }
        eventually("readiness is off", async || process.client.get("/readyz").await.status == 503).await;
        assert!(!in_hand.is_finished(), "it waits for the ledger");
        held.release().await;
        assert_eq!(in_hand.await.unwrap().unwrap().status, 200);
        assert_eq!(process.wait().code(), Some(0), "{}", process.log());
    });
}

#[test]
fn signals_that_mean_nothing_do_not_end_it_and_sigquit_drains() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let mut process = serve(&database.url).await;
        for signal in IGNORED {
            process.signal(signal);
            process.client.publish_ok(event("t", signal)).await;
        }
        eventually("SIGHUP is logged", async || process.log().contains("hang-up signal")).await;
        process.signal("QUIT");
        assert_eq!(process.wait().code(), Some(0), "{}", process.log());
        assert!(process.log().contains("stopped; everything in flight was answered"));
    });
}

#[test]
fn a_stop_while_the_database_is_unavailable_ends_at_once_with_0() {
    block_on(async {
        // A port that was just free: nobody listens there.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("postgres://nobody@127.0.0.1:{port}/none");
        for signals in [&["TERM"][..], &["HUP", "USR1", "INT", "TERM"]] {
            let mut process = Process::start(Path::new("/"), &["--database-url", &url]);
            eventually("it waits", async || process.log().contains("waiting for the database")).await;
            signals.iter().for_each(|signal| process.signal(signal));
            assert_eq!(process.wait().code(), Some(0), "{}", process.log());
        }
    });
}

/// Another program holds the file: the service waits in the middle of opening it.
#[test]
fn a_stop_while_the_sqlite_file_is_opened_leaves_a_whole_file() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        serve(&database.url).await.client.publish_ok(event("t", "a")).await;
        let held = database.hold_ledger().await;
        let mut process = Process::start(Path::new("/"), &["--database-url", &database.url]);
        process.signal("TERM");
        tokio::time::sleep(Duration::from_millis(300)).await;
        held.release().await;
        assert_eq!(process.wait().code(), Some(0), "{}", process.log());
        assert_eq!(database.number("SELECT count(*) FROM events").await, 1);
    });
}

#[test]
fn a_reader_that_does_not_take_its_page_does_not_make_a_stop_fail() {
    on_both_databases(async |database| {
        let mut process = super::serve_with(&database.url, &["--drain-timeout", "30s"]).await;
        let text = "y".repeat(9_000);
        for batch in 0..4 {
            let mut batch = events(
                "t",
                (0..250).map(|id| format!("{batch}-{id}")).collect::<Vec<_>>().iter().map(String::as_str),
            );
            for event in batch["events"].as_array_mut().unwrap() {
                event["payload"] = serde_json::json!({"x": text});
            }
            process.client.publish_ok(batch).await;
        }
        let mut reader = Raw::connect(process.address).await;
        reader.send("GET /events?limit=1000 HTTP/1.1\r\nhost: test\r\n\r\n").await;
        let begun = Instant::now();
        process.signal("TERM");
        assert_eq!(process.wait().code(), Some(0), "{}", process.log());
        assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    });
}

#[test]
fn a_stop_while_postgres_does_not_answer_ends_in_time() {
    block_on(async {
        let mut server = PostgresServer::create();
        server.start();
        let mut process = serve(&server.url).await;
        process.client.publish_ok(event("t", "a")).await;
        process.client.events("?limit=1").await;
        server.freeze();
        let begun = Instant::now();
        process.signal("TERM");
        let status = process.wait();
        server.thaw();
        assert_eq!(status.code(), Some(0), "{}", process.log());
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    });
}

//! Postgres that is away, silent, held by somebody, or not Postgres at all.

use std::{
    net::TcpListener,
    path::Path,
    time::{Duration, Instant},
};

use crate::harness::{
    Answer, Client, Database, Engine, block_on,
    database_proxy::{DatabaseProxy, Fate},
    event, eventually,
    postgres_server::PostgresServer,
    process::{Process, failure, sekali},
    producers::Producers,
};

/// What an answer may take at most, with a little for a busy machine.
const ANSWER_TIME_MAX: Duration = Duration::from_millis(11_000);

fn serve(url: &str) -> Process {
    Process::start(Path::new("/"), &["--database-url", url])
}

async fn is_ready(client: &Client) -> bool {
    client.get("/readyz").await.status == 200
}

fn assert_unavailable(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert!(answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()));
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!(answer.json()["retryable"], true);
}

/// A publish whose answer comes in time.
async fn publish_in_time(client: &Client, event_id: &str) -> Answer {
    let begun = Instant::now();
    let answer = client.publish(event("t", event_id)).await;
    assert!(begun.elapsed() < ANSWER_TIME_MAX, "{:?}", begun.elapsed());
    answer
}

/// What everyone sees while the database is away. All at once, since some of it waits for a while.
async fn assert_away(client: &Client) {
    let (health, ready, live, page, one, publish) = futures::join!(
        client.get("/health"),
        client.get("/readyz"),
        client.get("/livez"),
        client.get("/events"),
        client.get("/events/a"),
        publish_in_time(client, "while it is away"),
    );
    assert_eq!(health.status, 503);
    assert_eq!(health.text, r#"{"status":"unhealthy","database":"disconnected"}"#);
    assert_eq!((ready.status, live.status), (503, 200));
    assert_unavailable(&page);
    assert_unavailable(&one);
    assert_unavailable(&publish);
}

#[test]
fn a_service_waits_for_a_postgres_that_is_away_at_the_start() {
    block_on(async {
        let mut server = PostgresServer::create();
        let process = serve(&server.url);
        eventually("it says that it waits", async || process.log().contains("waiting for the database"))
            .await;
        assert_away(&process.client).await;
        assert_unavailable(&process.client.get("/stats").await);

        let mut stopped = serve(&server.url);
        stopped.signal("TERM");
        assert_eq!(stopped.wait().code(), Some(0), "nothing was accepted, so there is nothing to wait for");

        server.start();
        let process = process.ready().await;
        process.client.publish_ok(event("t", "a")).await;
        let health = process.client.get("/health").await;
        assert_eq!(
            (health.status, health.text.as_str()),
            (200, r#"{"status":"healthy","database":"connected"}"#)
        );
        Database::at(&server.url).assert_sound().await;
        assert!(!process.log().contains(&server.password), "{}", process.log());
        assert!(!stopped.log().contains(&server.password), "{}", stopped.log());
    });
}

#[test]
fn a_postgres_that_goes_away_under_load_loses_nothing_and_is_taken_up_again() {
    block_on(async {
        let mut server = PostgresServer::create();
        server.start();
        let process = serve(&server.url).ready().await;
        let producers = Producers::start(&[&process.client], 4);
        for _ in 0..2 {
            producers.progress(100).await;
            server.stop();
            eventually("readiness is off", async || !is_ready(&process.client).await).await;
            assert_away(&process.client).await;
            server.start();
            eventually("it is ready again", async || is_ready(&process.client).await).await;
        }
        producers.progress(100).await;
        // Answered with 503, which promises no more than that it can be sent again: it may have been stored since.
        let again = process.client.publish_ok(event("t", "while it is away")).await;
        producers.record().adopt("while it is away", again[0]["seq"].as_u64().unwrap());
        producers.check(&[&process.client], &Database::at(&server.url)).await;
        assert!(!process.log().contains(&server.password), "{}", process.log());
    });
}

#[test]
fn a_postgres_that_cannot_be_written_yet_is_waited_for() {
    block_on(async {
        let database = Database::create(Engine::Postgres).await;
        // As a standby is, before it is promoted.
        let make = |read_only: &str| {
            format!(
                "SET transaction_read_only = off;
                 DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = {read_only}',
                     current_database()); END $$"
            )
        };
        database.execute(&make("on")).await;
        let process = serve(&database.url);
        eventually("it says that it waits", async || process.log().contains("waiting for the database"))
            .await;
        assert_away(&process.client).await;
        database.execute(&make("off")).await;
        process.ready().await.client.publish_ok(event("t", "a")).await;
        database.assert_sound().await;
    });
}

#[test]
fn a_database_that_an_operator_has_to_mend_is_used_again_once_it_is_mended() {
    block_on(async {
        let database = Database::create(Engine::Postgres).await;
        let arguments = ["--database-url", &database.url, "--log-level", "info,sekali=debug"];
        let process = Process::start(Path::new("/"), &arguments).ready().await;
        let client = &process.client;
        client.publish_ok(event("t", "a")).await;
        database.execute("ALTER TABLE sekali.topics RENAME TO mislaid").await;
        assert_unavailable(&publish_in_time(client, "b").await);
        let complaints = || process.log().matches("the store cannot be written").count();
        eventually("it says so", async || complaints() == 1).await;
        assert!(!is_ready(client).await);
        assert_eq!(client.get("/health").await.status, 200, "it answers, after all");
        eventually("it looked again, and again", async || {
            process.log().matches("still cannot be written").count() >= 2
        })
        .await;
        assert_eq!(complaints(), 1, "the log is not filled with it: {}", process.log());
        database.execute("ALTER TABLE sekali.mislaid RENAME TO topics").await;
        eventually("it is ready again", async || is_ready(client).await).await;
        assert_eq!(client.publish_ok(event("t", "b")).await[0]["seq"], 2);
        database.assert_sound().await;
    });
}

#[test]
fn a_service_that_nobody_sends_anything_is_ready_again_by_itself() {
    block_on(async {
        let mut server = PostgresServer::create();
        server.start();
        let process = serve(&server.url).ready().await;
        let client = &process.client;
        client.publish_ok(event("t", "a")).await;
        server.stop();
        server.start();
        // Nobody noticed that it was away, and the connections of before cost nobody an answer.
        client.publish_ok(event("t", "b")).await;

        server.stop();
        assert_unavailable(&publish_in_time(client, "c").await);
        server.start();
        eventually("it is ready again", async || is_ready(client).await).await;
        assert_eq!(client.counts().await, (2, 2, 0));
        client.publish_ok(event("t", "c")).await;
        assert_eq!(client.all_events().await.len(), 3);
        Database::at(&server.url).assert_sound().await;
    });
}

#[test]
fn a_frozen_postgres_is_noticed_and_taken_up_again() {
    block_on(async {
        let mut server = PostgresServer::create();
        server.start();
        let process = serve(&server.url).ready().await;
        let producers = Producers::start(&[&process.client], 2);
        producers.progress(50).await;

        // For a moment, which is over before anyone gives up.
        server.freeze();
        let frozen = Instant::now();
        eventually("readiness is off", async || !is_ready(&process.client).await).await;
        assert_eq!(process.client.get("/livez").await.status, 200);
        assert_eq!(process.client.get("/health").await.status, 503);
        tokio::time::sleep(Duration::from_secs(3).saturating_sub(frozen.elapsed())).await;
        server.thaw();
        eventually("it is ready again", async || is_ready(&process.client).await).await;
        producers.progress(50).await;

        // Until the service itself gives up.
        server.freeze();
        assert_unavailable(&publish_in_time(&process.client, "frozen").await);
        server.thaw();
        eventually("it is ready again", async || is_ready(&process.client).await).await;
        let again = process.client.publish_ok(event("t", "frozen")).await;
        producers.progress(50).await;
        producers.record().adopt("frozen", again[0]["seq"].as_u64().unwrap());
        producers.check(&[&process.client], &Database::at(&server.url)).await;
        assert!(!process.log().contains(&server.password), "{}", process.log());
    });
}

#[test]
fn a_wrong_password_or_database_is_one_sentence_without_the_password() {
    let mut server = PostgresServer::create();
    server.start();
    for (url, told) in [
        (server.url.replace(&server.password, "secretguess"), "password authentication failed"),
        (
            server.url.replace("/postgres", "/nowhere").replace("nowhere:", "postgres:"),
            "\"nowhere\" does not exist",
        ),
    ] {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--log-level", "off", "--database-url", &url];
        for arguments in [&serve[..], &["migrate", "--log-level", "off", "--database-url", &url]] {
            let sentence = failure(&mut sekali(arguments), 1);
            assert!(sentence.contains(told), "{sentence}");
            assert!(!sentence.contains("secret"), "{sentence}");
            assert!(sentence.contains("postgres://127.0.0.1:"), "{sentence}");
        }
    }
}

#[test]
fn a_port_that_is_not_postgres_is_waited_for_with_a_word_in_the_log() {
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let _ = std::io::Write::write_all(&mut &stream, b"HTTP/1.1 400 Bad Request\r\n\r\n");
            }
        });
        let url = format!("postgres://user:secretguess@127.0.0.1:{port}/db?sslpassword=secretkey");
        let process = serve(&url);
        eventually("it says that it waits", async || process.log().contains("waiting for the database"))
            .await;
        assert_away(&process.client).await;
        assert!(process.log().contains(&format!("postgres://127.0.0.1:{port}/db")), "{}", process.log());
        assert!(!process.log().contains("secret"), "{}", process.log());
    });
}

#[test]
fn a_server_that_falls_silent_while_the_writer_connects_is_given_up_and_tried_again() {
    block_on(async {
        let database = Database::create(Engine::Postgres).await;
        let proxy = DatabaseProxy::start(&database.url).await;
        // The first time is the check at the start, the second one the writer's own session.
        proxy.plan("settings of the writer", 1, Fate::Silence);
        let process = serve(&proxy.url);
        eventually("it is ready", async || is_ready(&process.client).await).await;

        let begun = Instant::now();
        assert_unavailable(&process.client.publish(event("t", "a")).await);
        assert!(begun.elapsed() < ANSWER_TIME_MAX, "{:?}", begun.elapsed());
        let stored = async || process.client.publish(event("t", "a")).await.status == 200;
        eventually("publishes are taken again", stored).await;
        eventually("it is ready again", async || is_ready(&process.client).await).await;
        drop(process);
        database.assert_sound().await;
    });
}

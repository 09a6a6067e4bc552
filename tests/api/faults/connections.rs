//! Clients that hold connections, on a service that may have few of them, and on one with few files.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream::FuturesUnordered};
use serde_json::json;

use super::serve_with;
use crate::harness::{
    Client, Database, Engine, block_on, event, eventually_within,
    process::{Process, finished, sekali},
    raw::{Raw, publish_head},
    stream::Stream,
};

const CONNECTIONS_MAX: usize = 32;
/// What a probe may take, with a little for a busy machine.
const PROBE_TIME_MAX: Duration = Duration::from_secs(1);
/// Ten seconds for a head or an answer that is not taken, and a little for a busy machine.
const CUT_WITHIN: Duration = Duration::from_secs(20);

async fn serve_few(database: &Database, arguments: &[&str]) -> Process {
    let limit = CONNECTIONS_MAX.to_string();
    serve_with(&database.url, &[&["--connections-max", &limit], arguments].concat()).await
}

/// A connection of its own for each question: what a newcomer sees.
async fn probes_are_answered(process: &Process) {
    for path in ["/livez", "/readyz", "/health"] {
        let begun = Instant::now();
        assert_eq!(Client::new(process.address).get(path).await.status, 200, "{path}");
        assert!(begun.elapsed() < PROBE_TIME_MAX, "{path} took {:?}", begun.elapsed());
    }
}

async fn publishes(process: &Process, event_id: &str) {
    let answer = Client::new(process.address).publish(event("t", event_id)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

async fn connections(process: &Process, count: usize, sent: impl AsRef<[u8]>) -> Vec<Raw> {
    let mut held = Vec::new();
    for _ in 0..count {
        let mut client = Raw::connect(process.address).await;
        // It may have to make way for the next one at once.
        let _ = client.try_send(sent.as_ref()).await;
        held.push(client);
    }
    held
}

/// Waits until all of `held` were let in: all but `kept` had to make way by then.
async fn made_way(held: &mut [Raw], kept: usize) {
    let closed = held.len() - kept;
    let ends: FuturesUnordered<_> = held.iter_mut().map(Raw::until_closed).collect();
    assert_eq!(ends.take(closed).count().await, closed);
}

#[test]
fn idle_and_half_open_connections_lock_nobody_out() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let process = serve_few(&database, &[]).await;
        let ask = "GET /livez HTTP/1.1\r\nHost: test\r\n\r\n";
        for (place, sent) in ["", ask, "GET /li", &format!("{ask}GET /li")].into_iter().enumerate() {
            let mut held = connections(&process, 3 * CONNECTIONS_MAX, sent).await;
            // One address has half of them.
            made_way(&mut held, CONNECTIONS_MAX / 2).await;
            probes_are_answered(&process).await;
            publishes(&process, &format!("beside {place}")).await;
            drop(held);
        }
    });
}

#[test]
fn every_half_head_is_closed_in_time_the_second_one_of_a_connection_too() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let process = serve_few(&database, &[]).await;
        let begun = Instant::now();
        let half = "GET /livez HTTP/1.1\r\nHost: te";
        let whole = "GET /livez HTTP/1.1\r\nHost: test\r\n\r\n";
        let mut first = Raw::connect(process.address).await;
        first.send(half).await;
        let mut second = Raw::connect(process.address).await;
        second.send(whole).await;
        assert_eq!(second.answer().await.status, 200);
        second.send(half).await;
        let mut ahead = Raw::connect(process.address).await;
        ahead.send(format!("{whole}{half}")).await;
        assert_eq!(ahead.answer().await.status, 200);
        for client in [&mut first, &mut second] {
            let problem = client.answer().await;
            assert_eq!(problem.problem(408)["retryable"], true);
        }
        for client in [&mut first, &mut second, &mut ahead] {
            client.until_closed().await;
        }
        assert!(begun.elapsed() > Duration::from_secs(9), "{:?}", begun.elapsed());
        assert!(begun.elapsed() < CUT_WITHIN, "{:?}", begun.elapsed());
    });
}

#[test]
fn an_idle_connection_is_kept_for_its_time_and_no_longer() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let process = serve_few(&database, &["--client-idle-timeout", "2s"]).await;
        // Empty lines behind a request, and blanks in it, begin no next one.
        for (request, behind) in [
            ("GET /livez HTTP/1.1\r\nHost: test\r\n\r\n", ""),
            ("GET /livez HTTP/1.1\r\nHost: test\r\n\r\n\r\n", ""),
            ("GET /livez HTTP/1.1\r\nHost:    test  \r\nAccept:  */* \r\n\r\n", ""),
            ("GET /livez HTTP/1.1\r\nHost: test\r\n\r\n", "\r\n"),
        ] {
            let mut client = Raw::connect(process.address).await;
            client.send(request).await;
            assert_eq!(client.answer().await.status, 200);
            let begun = Instant::now();
            client.send(behind).await;
            assert!(client.until_closed().await.is_empty());
            let kept = begun.elapsed();
            assert!(kept > Duration::from_millis(1_950) && kept < Duration::from_secs(6), "{kept:?}");
        }
    });
}

#[test]
fn probes_are_answered_when_all_connections_are_busy_and_publishes_when_they_are_not() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let process = serve_few(&database, &["--body-timeout", "5s"]).await;
        let head = publish_head("Content-Length: 100");
        let busy = connections(&process, 2 * CONNECTIONS_MAX, &head).await;
        probes_are_answered(&process).await;
        let refused = Client::new(process.address).publish(event("t", "beyond")).await;
        assert_eq!(refused.problem(503)["retryable"], true);
        assert!(refused.header("retry-after").is_some());
        eventually_within(CUT_WITHIN, "a publish is taken again", async || {
            Client::new(process.address).publish(event("t", "later")).await.status == 200
        })
        .await;
        drop(busy);
    });
}

/// EventSource gives up for ever on any other status than 200.
#[test]
fn a_stream_beyond_the_limit_is_told_to_come_back() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let process = serve_few(&database, &[]).await;
        let head = publish_head("Content-Length: 100");
        let busy = connections(&process, 2 * CONNECTIONS_MAX, &head).await;
        for path in ["/stream", "/namespaces/default/stream?after=1"] {
            let client = Client::new(process.address);
            let mut told = Stream::open(&client, path).await;
            let notice = told.notice("unavailable").await;
            assert!(notice.retry.is_some_and(|retry| (1_000..=5_000).contains(&retry)), "{notice:?}");
            assert!(told.next().await.is_none(), "it goes on");
            let lines = client.request("GET", path).header("accept", "application/x-ndjson");
            client.send(lines).await.unwrap().problem(503);
        }
        Client::new(process.address).get("/namespaces/default/events/stream").await.problem(503);
        drop(busy);
    });
}

#[test]
fn an_answer_that_is_not_taken_ends_whatever_was_taken_before() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let process = serve_few(&database, &[]).await;
        large_page(&process).await;
        let before = process.sockets();
        let ask = "GET /events HTTP/1.1\r\nHost: test\r\n\r\n";
        let mut silent = connections(&process, 4, ask).await;
        let begun = Instant::now();
        let sockets = async || process.sockets();
        eventually_within(CUT_WITHIN, "all of them are open", async || sockets().await >= before + 4).await;
        eventually_within(CUT_WITHIN, "all of them are closed", async || sockets().await <= before).await;
        assert!(begun.elapsed() > Duration::from_secs(8), "{:?}", begun.elapsed());
        for client in &mut silent {
            let taken = client.until_closed().await.len();
            assert!(taken < 7_000_000, "{taken}");
        }
    });
}

#[test]
fn a_reader_that_takes_nothing_does_not_hold_a_stop() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let mut process = serve_few(&database, &[]).await;
        large_page(&process).await;
        let silent = connections(&process, 1, "GET /events HTTP/1.1\r\nHost: test\r\n\r\n").await;
        let idle = connections(&process, 4, "GET /livez HTTP/1.1\r\nHost: test\r\n\r\n").await;
        publishes(&process, "the last one").await;
        let begun = Instant::now();
        process.signal("TERM");
        assert_eq!(process.wait().code(), Some(0), "{}", process.log());
        assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
        drop((silent, idle));
    });
}

/// Events that fill a page, far more than the system buffers for a reader.
async fn large_page(process: &Process) {
    for place in 0..7 {
        let mut large = event("large", &format!("large {place}"));
        large["payload"] = json!({"text": "x".repeat(1_000_000)});
        process.client.publish_ok(&large).await;
    }
}

#[test]
fn malformed_requests_are_counted_in_few_lines_of_the_log() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        for level in ["info", "info,sekali=debug"] {
            let process = serve_few(&database, &["--log-level", level]).await;
            let before = process.log().len();
            for _ in 0..300 {
                let mut client = Raw::connect(process.address).await;
                client.send("nonsense\r\n\r\n").await;
                client.until_closed().await;
            }
            let is_logged = async || process.log().contains("malformed=");
            eventually_within(CUT_WITHIN, "they are logged", is_logged).await;
            assert!(process.log().len() - before < 2_000, "{}", process.log());
        }
    });
}

#[test]
fn the_soft_limit_on_open_files_is_raised_and_a_low_hard_one_lowers_the_connections() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let listen = ["serve", "--listen", "127.0.0.1:0", "--database-url", &database.url];
        let raised = Process::spawn(&mut limited(&listen, 64, 4_096)).ready().await;
        let held = connections(&raised, 200, "").await;
        publishes(&raised, "a").await;
        probes_are_answered(&raised).await;
        drop((held, raised));
        let lowered = Process::spawn(&mut limited(&listen, 256, 256)).ready().await;
        assert!(lowered.log().contains("fewer client connections"), "{}", lowered.log());
        let (_, fit) =
            lowered.log().split_once("connections_max=").map(|(a, b)| (a.len(), b.to_owned())).unwrap();
        let fit: usize = fit.split_whitespace().next().unwrap().parse().unwrap();
        let mut held = connections(&lowered, 400, "").await;
        made_way(&mut held, fit / 2).await;
        probes_are_answered(&lowered).await;
        publishes(&lowered, "b").await;
        drop((held, lowered));
        let refused = finished(&mut limited(&listen, 64, 64));
        assert_eq!(refused.status.code(), Some(1));
        let sentence = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(sentence.contains("64 open files are too few"), "{sentence}");
    });
}

/// `sekali` with these soft and hard limits on open files.
pub(super) fn limited(arguments: &[&str], soft: u64, hard: u64) -> std::process::Command {
    let sekali = sekali(arguments);
    let mut command = std::process::Command::new("sh");
    let script = format!("ulimit -S -n {soft} && ulimit -H -n {hard} && exec \"$0\" \"$@\"");
    command.args(["-c", &script]).arg(sekali.get_program()).args(sekali.get_args());
    for (name, _) in sekali.get_envs().filter(|(_, value)| value.is_none()) {
        command.env_remove(name);
    }
    command.stdin(std::process::Stdio::null());
    command
}

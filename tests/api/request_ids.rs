//! Each request has an id: the client's own or a new one, in its answer, in problem documents and in the log.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use futures::FutureExt;
use serde_json::Value;

use crate::harness::{
    Answer, Database, Engine, RunningService, Settings, block_on, event, eventually, on_both_stores,
    process::Process, raw::Raw,
};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn id_of(answer: &Answer) -> &str {
    answer.header("x-request-id").expect("every answer has an id")
}

#[test]
fn every_answer_has_the_id_that_the_request_brought_or_a_new_one() {
    on_both_stores(async |service| {
        let client = &service.client;
        let with_id = async |path: &str, id: &str| {
            client.send(client.request("GET", path).header("x-request-id", id)).await.unwrap()
        };
        for path in ["/events", "/livez", "/no-such-address", "/events?limit=0", "/namespaces/none/stats"] {
            assert_eq!(id_of(&with_id(path, "order 17/\"a\"").await), "order 17/\"a\"", "{path}");
            let longest = "x".repeat(128);
            assert_eq!(id_of(&with_id(path, &longest).await), longest, "{path}");
            let (first, second) = (client.get(path).await, client.get(path).await);
            assert_ne!(id_of(&first), id_of(&second), "{path}");
            assert_eq!(id_of(&with_id(path, &"x".repeat(129)).await).len(), 32, "{path}");
        }
        assert_eq!(with_id("/events?limit=0", "mine").await.problem(422)["request_id"], "mine");
        let malformed = client.request("POST", "/publish").header("x-request-id", "mine").body("{");
        assert_eq!(client.send(malformed).await.unwrap().problem(400)["request_id"], "mine");
    });
}

#[test]
fn an_id_cannot_add_a_header_or_a_line_to_anything() {
    on_both_stores(async |service| {
        for id in ["a\tb", "\u{1b}[31m", "a\u{e4}", "\u{7f}"] {
            let mut raw = Raw::connect(service.address).await;
            raw.send(format!("GET /livez HTTP/1.1\r\nHost: a\r\nX-Request-Id: {id}\r\n\r\n")).await;
            let answer = raw.answer().await;
            assert!(answer.status == 400 || id_of(&answer).len() == 32, "{id:?}: {:?}", answer.headers);
        }
        // A line end ends the header, and what follows is one of the request's own.
        let mut raw = Raw::connect(service.address).await;
        raw.send("GET /livez HTTP/1.1\r\nHost: a\r\nX-Request-Id: a\r\nSet-Cookie: b=c\r\n\r\n").await;
        let answer = raw.answer().await;
        assert_eq!((answer.status, id_of(&answer)), (200, "a"));
        assert_eq!(answer.header("set-cookie"), None);
        assert_eq!(answer.headers.get_all("x-request-id").iter().count(), 1);
    });
}

#[test]
fn what_cannot_be_read_as_a_request_has_an_id_too() {
    on_both_stores(async |service| {
        let mut raw = Raw::connect(service.address).await;
        raw.send("GET / HTTP/1.1\r\nbroken\r\n\r\n").await;
        raw.answer().await.problem(400);
    });
}

/// A service whose log is read.
async fn logging(database: &Database, arguments: &[&str]) -> Process {
    let folder = std::env::temp_dir();
    let all = [&["--database-url", &*database.url, "--log-format", "json"], arguments].concat();
    Process::start(&folder, &all).ready().await
}

fn lines_about(process: &Process, request_id: &str) -> Vec<Value> {
    let log = process.log();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"));
    lines.filter(|line| line["span"]["request_id"] == request_id).collect()
}

#[test]
fn a_request_is_a_line_of_the_log_only_where_that_is_asked_for() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        for (arguments, lines) in [(&["--log-requests"][..], 1), (&[], 0)] {
            let mut process = logging(&database, arguments).await;
            let client = &process.client;
            let request = client.request("GET", "/events?limit=0").header("x-request-id", "the request");
            client.send(request.header("traceparent", TRACE)).await.unwrap().problem(422);
            process.signal("TERM");
            process.wait();
            let found = lines_about(&process, "the request");
            assert_eq!(found.len(), lines, "{}", process.log());
            let Some(line) = found.first() else { continue };
            assert_eq!((line["method"].as_str(), line["path"].as_str()), (Some("GET"), Some("/events")));
            assert_eq!(line["status"], 422);
            assert!(line["ms"].as_f64().is_some_and(|ms| ms > 0.0), "{line}");
            assert_eq!(line["span"]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
            assert_eq!(line["span"]["parent_id"], "00f067aa0ba902b7");
        }
    });
}

#[test]
fn what_an_administrator_does_is_logged_with_the_id_of_the_request() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let mut process = logging(&database, &[]).await;
        let client = &process.client;
        for (method, path) in [("PUT", "/namespaces/a"), ("DELETE", "/namespaces/a?confirm=a")] {
            let request = client.request(method, path).header("x-request-id", format!("to {method}"));
            assert!(client.send(request).await.unwrap().status < 300, "{method}");
        }
        process.signal("TERM");
        process.wait();
        for (id, message) in
            [("to PUT", "the namespace is created"), ("to DELETE", "the namespace is deleted")]
        {
            let found = lines_about(&process, id);
            assert!(
                found.len() == 1
                    && found[0]["message"].as_str().is_some_and(|found| found.starts_with(message)),
                "{id}: {}",
                process.log()
            );
        }
    });
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Kept {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_line_about_a_quarantined_request_carries_its_id() {
    let kept = Kept::default();
    let writer = kept.clone();
    let lines = tracing_subscriber::fmt().json().with_writer(move || writer.clone());
    // No other test of this binary reads the log of services within it.
    tracing::subscriber::set_global_default(lines.finish()).unwrap();
    block_on(async {
        let mut settings = Settings::new(Database::create(Engine::Sqlite).await);
        settings.before_append = Some(Arc::new(|ids: &[&str]| {
            let crashes = ids.contains(&"crash");
            async move { assert!(!crashes, "such an event crashes the writer") }.boxed()
        }));
        let service = RunningService::start(settings).await;
        let client = &service.client;
        eventually("the request is quarantined", async || {
            let request = client.request("POST", "/publish").header("x-request-id", "the culprit");
            let request = request.header("content-type", "application/json");
            let answer = client.send(request.body(event("t", "crash").to_string())).await.unwrap();
            answer.status == 422
        })
        .await;
        let log = kept.text();
        let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let quarantined =
            lines.filter(|line| line["fields"]["first_event_id"] == "crash").collect::<Vec<_>>();
        assert_eq!(quarantined.len(), 1, "{log}");
        assert_eq!(quarantined[0]["span"]["request_id"], "the culprit", "{log}");
    });
}

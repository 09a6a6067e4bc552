//! The log must never hold up, end or change what it reports: nobody reads it, its disk is full, or it is closed.

use std::{
    fs::File,
    io::{ErrorKind, PipeReader, PipeWriter, Write},
    net::TcpListener,
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::harness::{
    Client, Database, Engine, block_on, event, eventually,
    process::{finished, sekali, send_signal},
    raw::Raw,
};

/// What an answer may take while the log is stuck.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(3);
const STOP_TIME_MAX: Duration = Duration::from_secs(6);

/// A service whose log goes where the test says.
struct Logging {
    child: Child,
    client: Client,
    address: std::net::SocketAddr,
}

impl Logging {
    async fn start(database: &Database, log: impl Into<Stdio>, arguments: &[&str]) -> Self {
        let address = free_address();
        let mut command =
            sekali(&["serve", "--listen", &address.to_string(), "--database-url", &database.url]);
        Self::spawn(command.args(arguments), log, address).await
    }

    async fn spawn(command: &mut Command, log: impl Into<Stdio>, address: std::net::SocketAddr) -> Self {
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let client = Client::new(address);
        let service = Self { child, client, address };
        eventually("it is ready", async || {
            let ready = service.client.send(service.client.request("GET", "/readyz")).await;
            ready.is_ok_and(|answer| answer.status == 200)
        })
        .await;
        service
    }

    async fn lines_lost(&self) -> u64 {
        self.client.stats().await["node"]["log_lines_lost"].as_u64().unwrap()
    }

    /// Has the writer log its loss of the store and its return, and shows that it goes on.
    async fn lose_the_store_for_a_moment(&self, database: &Database) {
        let held = database.hold_ledger().await;
        let lost = self.client.publish(event("t", "while the store is lost"));
        let (answer, ()) = futures::future::join(lost, async {
            eventually("the store or the namespace is lost", async || {
                let node = self.client.stats().await["node"].clone();
                node["store"]["lost"] == true || node["namespace_trouble"].is_string()
            })
            .await;
            held.release().await;
        })
        .await;
        assert!([200, 503].contains(&answer.status), "{}", answer.text);
        eventually("it is ready again", async || self.client.get("/readyz").await.status == 200).await;
        self.client.publish_ok(event("t", "after it")).await;
    }

    async fn answers_in_time(&self) {
        for id in 0..5 {
            let begun = Instant::now();
            assert_eq!(self.client.get("/livez").await.status, 200);
            self.client.publish_ok(event("t", &format!("in time {id}"))).await;
            assert!(begun.elapsed() < ANSWER_TIME_MAX, "{:?}", begun.elapsed());
        }
    }

    fn stop(mut self) {
        let begun = Instant::now();
        send_signal("TERM", self.child.id());
        let status = wait(&mut self.child);
        assert_eq!(status.code(), Some(0));
        assert!(begun.elapsed() < STOP_TIME_MAX, "{:?}", begun.elapsed());
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait(child: &mut Child) -> ExitStatus {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(30) {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it does not end");
}

fn free_address() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A pipe that takes nothing more. What is filled with does not wait; what is handed out does.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
    let mut filling = File::options().write(true).custom_flags(libc::O_NONBLOCK).open(path).unwrap();
    loop {
        match filling.write(&[b'x'; 512]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return (reader, writer),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_log_whose_reader_is_gone_changes_nothing_and_its_lines_are_counted() {
    block_on(async {
        for engine in [Engine::Sqlite, Engine::Postgres] {
            let database = Database::create(engine).await;
            let (reader, writer) = std::io::pipe().unwrap();
            let service = Logging::start(&database, writer, &[]).await;
            service.client.publish_ok(event("t", "first")).await;
            assert_eq!(service.lines_lost().await, 0);
            drop(reader);
            service.lose_the_store_for_a_moment(&database).await;
            // The loss of the store, and its return.
            eventually("the lines are counted", async || service.lines_lost().await >= 2).await;
            service.stop();
            database.assert_sound().await;
        }
    });
}

#[test]
fn a_log_on_a_full_disk_changes_nothing() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let full = File::options().write(true).open("/dev/full").unwrap();
        let service = Logging::start(&database, full, &[]).await;
        service.lose_the_store_for_a_moment(&database).await;
        assert!(service.lines_lost().await >= 5, "the lines of the start are lost as well");
        service.stop();
    });
}

#[test]
fn a_log_that_is_closed_from_the_start_changes_nothing() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let address = free_address();
        let listen = address.to_string();
        let serve = sekali(&["serve", "--listen", &listen, "--database-url", &database.url]);
        let mut command = Command::new("sh");
        command.args(["-c", "exec \"$@\" 2>&-", "sh"]).arg(serve.get_program()).args(serve.get_args());
        for (name, _) in serve.get_envs() {
            command.env_remove(name);
        }
        let service = Logging::spawn(&mut command, Stdio::null(), address).await;
        service.lose_the_store_for_a_moment(&database).await;
        service.stop();
    });
}

#[test]
fn a_log_that_nobody_reads_holds_up_nobody_and_not_the_end() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        for level in ["info", "trace,actix_http=trace"] {
            let (_unread, log) = full_pipe();
            let arguments = ["--log-level", level, "--http-workers", "2"];
            let service = Logging::start(&database, log, &arguments).await;
            for _ in 0..600 {
                let _ = Raw::connect(service.address).await.try_send("x\r\n\r\n").await;
            }
            service.answers_in_time().await;
            service.lose_the_store_for_a_moment(&database).await;
            if level != "info" {
                eventually("lines are lost", async || service.lines_lost().await > 0).await;
            }
            service.answers_in_time().await;
            service.stop();
        }
    });
}

#[test]
fn a_failing_start_ends_with_a_line_in_the_format_that_was_asked_for() {
    let cases: [(&[&str], i32, &str); 4] = [
        (&["serve", "--database-url", "sqlite:///no/such/folder/a.db"], 1, "no/such/folder"),
        (&["serve", "--listen", "256.0.0.1:1"], 1, "cannot listen"),
        (&["serve", "--shards", "0"], 2, "--shards"),
        (&["migrate", "--database-url", "sqlite:///no/such/folder/a.db"], 1, "no/such/folder"),
    ];
    for (arguments, code, words) in cases {
        let mut command = sekali(arguments);
        if arguments[0] == "serve" && !arguments.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        let output = finished(command.args(["--log-format", "json"]));
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{log}");
        let lines: Vec<Value> =
            log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
        let last = lines.last().unwrap();
        assert_eq!(last["level"], "ERROR", "{log}");
        assert!(last["error"].as_str().unwrap().contains(words), "{log}");
    }
}

/// The last words of a failure must not wait for a reader either.
#[test]
fn a_failing_start_ends_although_nobody_reads_why() {
    for format in ["text", "json"] {
        let (_unread, log) = full_pipe();
        let arguments = ["serve", "--shards", "0", "--log-format", format];
        let mut child = sekali(&arguments).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        assert_eq!(wait(&mut child).code(), Some(2));
    }
}

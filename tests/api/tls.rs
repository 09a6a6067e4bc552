//! HTTPS: spoken by clients of all kinds, read again while it serves, refused where it cannot work.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Instant,
};

use crate::harness::{
    Database, Engine, block_on,
    certificates::Authority,
    event, eventually, on_both_databases,
    process::{Process, all_of, failure, finished, sekali},
    raw::Raw,
};

fn serve(authority: &Authority, database: &Database, arguments: &[&str]) -> Process {
    let tls = ["--tls-cert", "a.pem", "--tls-key", "a.key", "--database-url", &database.url];
    Process::start(authority.folder(), &[&tls[..], arguments].concat())
}

/// curl, which trusts the authority alone.
fn curl(authority: &Authority, process: &Process, path: &str) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--noproxy", "*", "--cacert"]).arg(authority.path("ca.pem"));
    command.arg(format!("https://localhost:{}{path}", process.address.port()));
    command
}

async fn ready(authority: &Authority, process: &Process) {
    eventually("it is ready", async || {
        finished(curl(authority, process, "/readyz").arg("--fail")).status.success()
    })
    .await;
}

/// A connection that openssl holds open.
struct Held {
    openssl: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Held {
    fn open(process: &Process) -> Self {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-connect", &process.address.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut openssl = command.spawn().unwrap();
        let (requests, answers) = (openssl.stdin.take().unwrap(), openssl.stdout.take().unwrap());
        Self { openssl, requests, answers: BufReader::new(answers) }
    }

    /// Sends a request; answers the status line.
    fn ask(&mut self, path: &str) -> String {
        write!(self.requests, "HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        let mut head = (&mut self.answers).lines().map(Result::unwrap);
        let status = head.next().expect("an answer");
        assert!(head.any(|line| line.is_empty()), "a head ends with an empty line");
        status
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.openssl.kill();
        let _ = self.openssl.wait();
    }
}

/// The serial number of the certificate that a new connection gets.
fn serial(process: &Process) -> String {
    let address = process.address.to_string();
    let script =
        format!("openssl s_client -connect {address} </dev/null 2>/dev/null | openssl x509 -noout -serial");
    all_of(&finished(Command::new("sh").args(["-c", &script]))).trim().to_owned()
}

#[test]
fn curl_and_the_commands_publish_and_read_over_tls() {
    let authority = Authority::new();
    authority.sign("a", "1");
    on_both_databases(async |database| {
        let process = serve(&authority, &database, &[]);
        ready(&authority, &process).await;
        let body = event("t", "a").to_string();
        let publish =
            ["--header", "content-type: application/json", "--data", &body, "--write-out", "%{http_version}"];
        let published = all_of(&finished(curl(&authority, &process, "/publish").args(publish)));
        assert!(published.contains(r#""unique":1"#) && published.ends_with("1.1"), "{published}");
        let url = format!("https://localhost:{}", process.address.port());
        let ca = authority.path("ca.pem");
        let client = |command: &str| {
            let mut command = sekali(&[command, "--url", &url]);
            command.env("SEKALI_CA", &ca);
            command
        };
        assert!(finished(&mut client("healthcheck")).status.success());
        let simulated = finished(client("simulate").args(["--events=2000", "--batch=100"]));
        assert!(simulated.status.success(), "{}", all_of(&simulated));
        // A large answer passes as a whole.
        let events = finished(curl(&authority, &process, "/events?limit=1000").arg("--fail"));
        let events: serde_json::Value = serde_json::from_slice(&events.stdout).unwrap();
        assert_eq!(events.as_array().unwrap().len(), 1_000);
        let distrusted = failure(client("healthcheck").env("SEKALI_CA", ""), 1);
        assert!(distrusted.contains("no answer from https://localhost"), "{distrusted}");
        let no_file = failure(client("healthcheck").env("SEKALI_CA", authority.path("a.key")), 1);
        assert!(no_file.contains("holds no certificates in PEM format"), "{no_file}");
    });
}

#[test]
fn a_certificate_is_read_again_without_the_end_of_a_connection() {
    block_on(async {
        let authority = Authority::new();
        authority.sign("a", "1");
        authority.sign("b", "2");
        let database = Database::create(Engine::Sqlite).await;
        let mut process = serve(&authority, &database, &[]);
        ready(&authority, &process).await;
        let mut held = Held::open(&process);
        assert!(held.ask("/readyz").starts_with("HTTP/1.1 200"));
        assert_eq!(serial(&process), "serial=01");
        fs::copy(authority.path("b.pem"), authority.path("a.pem")).unwrap();
        process.signal("HUP");
        eventually("the mismatch is noticed", async || process.log().contains("the certificate stays")).await;
        assert_eq!(serial(&process), "serial=01");
        fs::copy(authority.path("b.key"), authority.path("a.key")).unwrap();
        process.signal("HUP");
        eventually("new connections get the new certificate", async || serial(&process) == "serial=02").await;
        assert!(held.ask("/livez").starts_with("HTTP/1.1 200"));
        process.signal("TERM");
        assert!(process.wait().success(), "{}", process.log());
    });
}

#[test]
fn a_certificate_that_cannot_be_used_refuses_the_start() {
    let authority = Authority::new();
    authority.sign("a", "1");
    authority.sign("b", "2");
    fs::write(authority.path("empty"), "").unwrap();
    for (certificate, key, said) in [
        ("a.pem", "b.key", "the certificate in a.pem cannot be used with the key in b.key"),
        ("a.key", "a.key", "a.key holds no certificate in PEM format"),
        ("a.pem", "a.pem", "a.pem holds no private key in PEM format"),
        ("empty", "a.key", "empty holds no certificate in PEM format"),
        ("none", "a.key", "cannot read none"),
        ("a.pem", "none", "cannot read none"),
    ] {
        let mut command = sekali(&["serve", "--listen", "127.0.0.1:0", "--tls-cert", certificate]);
        let sentence = failure(command.args(["--tls-key", key]).current_dir(authority.folder()), 1);
        assert!(sentence.contains(said), "{certificate} {key}: {sentence}");
    }
    let alone = failure(&mut sekali(&["serve", "--tls-cert", "a.pem"]), 2);
    assert!(alone.contains("--tls-key must be given together with --tls-cert"), "{alone}");
}

#[test]
fn who_speaks_no_tls_is_cut_off() {
    block_on(async {
        let authority = Authority::new();
        authority.sign("a", "1");
        let database = Database::create(Engine::Sqlite).await;
        let process = serve(&authority, &database, &[]);
        ready(&authority, &process).await;
        let mut plain = Raw::connect(process.address).await;
        plain.send("GET /livez HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(!plain.until_closed().await.starts_with(b"HTTP"));
        // The beginning of a handshake has the time of a head, 10 s.
        let begun = Instant::now();
        let mut slow = Raw::connect(process.address).await;
        slow.send([0x16, 0x03]).await;
        slow.until_closed().await;
        let took = begun.elapsed().as_secs_f64();
        assert!((9.0..13.0).contains(&took), "{took}");
        // A connection that has said nothing yet is idle once the handshake is done.
        let mut held = Held::open(&process);
        assert!(held.ask("/livez").starts_with("HTTP/1.1 200"));
    });
}

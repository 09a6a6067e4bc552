//! Starts that the system does not allow: the process says so and ends, and never stays without what it needs.

use std::{
    net::TcpListener,
    process::Stdio,
    time::{Duration, Instant},
};

use super::connections::limited;
use crate::harness::{
    Client, Database, Engine, block_on, eventually,
    preload::Preload,
    process::{Process, failure, sekali},
};

/// From one thread, the log's, to more than a service needs.
const THREADS: std::ops::Range<usize> = 0..16;

#[test]
fn a_clock_before_1970_is_refused_in_a_sentence() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let preload = Preload::build();
        let mut command = sekali(&[
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--log-level",
            "off",
            "--database-url",
            &database.url,
        ]);
        preload.shift_clock(&mut command, -100 * 365 * 86_400);
        assert!(failure(&mut command, 1).contains("clock shows a time before 1970"));
    });
}

#[test]
fn a_process_that_gets_no_more_threads_serves_or_ends_with_exit_code_1() {
    block_on(async {
        let preload = Preload::build();
        let mut served = 0;
        for threads in THREADS {
            let database = Database::create(Engine::Sqlite).await;
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let listen = address.to_string();
            let mut command = sekali(&["serve", "--listen", &listen, "--database-url", &database.url]);
            preload.limit_threads(command.args(["--http-workers", "2"]), threads);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let client = Client::new(address);
            let begun = Instant::now();
            let ended = loop {
                if let Some(status) = child.try_wait().unwrap() {
                    break Some(status);
                }
                // It lives, and so it must be of use: a probe is answered, ready or not.
                let live = client.send(client.request("GET", "/livez")).await;
                if begun.elapsed() > Duration::from_secs(2) {
                    assert_eq!(live.expect("it listens").status, 200, "{threads} threads");
                    break None;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            match ended {
                Some(status) => assert_eq!(status.code(), Some(1), "{threads} threads"),
                None => served += 1,
            }
            let _ = child.kill();
            child.wait().unwrap();
        }
        assert!((1..THREADS.len()).contains(&served), "{served} served");
    });
}

#[test]
fn a_process_that_gets_few_descriptors_says_so_and_ends_with_exit_code_1() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        for files in (10..=60).step_by(10) {
            let listen = ["serve", "--listen", "127.0.0.1:0", "--database-url", &database.url];
            let sentence = failure(&mut limited(&listen, files, files), 1);
            assert!(sentence.contains(&format!("{files} open files are too few")), "{sentence}");
        }
    });
}

#[test]
fn a_process_that_can_accept_no_connection_any_more_ends_with_exit_code_1() {
    block_on(async {
        let database = Database::create(Engine::Sqlite).await;
        let preload = Preload::build();
        let mut command = sekali(&["serve", "--listen", "127.0.0.1:0", "--database-url", &database.url]);
        preload.fail_accepting(&mut command);
        let mut process = Process::spawn(&mut command);
        // Each connection wakes the thread that accepts.
        let wakes = async || {
            let request = process.client.request("GET", "/livez").header("connection", "close");
            process.client.send(request).await.is_err()
        };
        eventually("it takes no connection", wakes).await;
        assert_eq!(process.wait().code(), Some(1), "{}", process.log());
        assert!(process.log().contains("actix-server acceptor"), "{}", process.log());
    });
}

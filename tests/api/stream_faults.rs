//! Streams while nodes are killed and come back: each reader gets every event once and in order.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::Stdio,
    sync::Arc,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::harness::{
    Client, Database, Engine, block_on, events,
    process::{Process, sekali, send_signal},
    stream::Stream,
};

const READERS: usize = 100;
const EVENTS: u64 = 2_000;

/// Reads on through every loss, on whatever node is there, up to the last event.
async fn read_all(node: watch::Receiver<SocketAddr>) {
    let (mut place, mut expected) = (0, 1);
    while expected <= EVENTS {
        let client = Client::new(*node.borrow());
        let Ok(mut stream) = Stream::try_open(&client, "/stream?after=0", Some(place)).await else {
            tokio::task::yield_now().await;
            continue;
        };
        while expected <= EVENTS
            && let Some(event) = stream.event().await
        {
            assert_eq!(event["seq"], expected, "missed, or twice");
            (place, expected) = (expected, expected + 1);
        }
    }
}

#[test]
fn streams_of_a_node_that_is_killed_go_on_at_its_neighbour() {
    block_on(async {
        let database = Arc::new(Database::create(Engine::Postgres).await);
        let serve = || Process::start(Path::new("/"), &["--database-url", &database.url]);
        let (first, second) = (serve().ready().await, serve().ready().await);
        let (go_to, node) = watch::channel(first.address);
        let readers: Vec<_> = (0..READERS).map(|_| tokio::spawn(read_all(node.clone()))).collect();
        let mut killed = Some(first);
        for batch in 0..EVENTS / 10 {
            let ids: Vec<String> = (0..10).map(|id| format!("{batch}-{id}")).collect();
            second.client.publish_ok(events("t", ids.iter().map(String::as_str))).await;
            if batch == EVENTS / 20 {
                killed.take().unwrap().signal("KILL");
                go_to.send_replace(second.address);
            }
        }
        for reader in readers {
            reader.await.unwrap();
        }
    });
}

#[test]
fn tail_goes_on_where_it_was_when_the_service_comes_back_and_ends_at_a_signal() {
    let folder = TempDir::new().unwrap();
    let database = format!("sqlite://{}/a.db", folder.path().display());
    block_on(async {
        let arguments = ["--database-url", database.as_str()];
        let service = Process::start(folder.path(), &arguments).ready().await;
        let address = service.address.to_string();
        service.client.publish_ok(events("t", ["a", "b"])).await;
        let mut tail = sekali(&["tail", "--after", "earliest", "--url", &format!("http://{address}")]);
        let mut tail = tail.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
        let mut next = || {
            let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            (event["seq"].as_u64().unwrap(), event["event_id"].as_str().unwrap().to_owned())
        };
        assert_eq!((next(), next()), ((1, "a".to_owned()), (2, "b".to_owned())));
        service.signal("KILL");
        drop(service);
        let service = Process::start_at(&address, folder.path(), &arguments).ready().await;
        service.client.publish_ok(events("t", ["b", "c"])).await;
        assert_eq!(next(), (3, "c".to_owned()));
        send_signal("TERM", tail.id());
        let output = tail.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.matches("trying again").count(), 1, "{said}");
    });
}

#[test]
fn tail_ends_where_nobody_reads_it_and_says_what_cannot_be() {
    let folder = TempDir::new().unwrap();
    let database = format!("sqlite://{}/a.db", folder.path().display());
    block_on(async {
        let service = Process::start(folder.path(), &["--database-url", &database]).ready().await;
        let url = format!("http://{}", service.address);
        service.client.publish_ok(events("t", ["a"])).await;
        let mut tail = sekali(&["tail", "--after", "earliest", "--url", &url]);
        let mut tail = tail.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
        lines.next().unwrap().unwrap();
        drop(lines);
        service.client.publish_ok(events("t", ["b"])).await;
        let output = tail.wait_with_output().unwrap();
        assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), b"".as_slice()));
        for (arguments, said) in [
            (&["--after", "soon"][..], "`after` must be now, earliest or a whole number"),
            (&["--namespace", "none"], "none"),
            (&["--subscription", "none"], "PUT /subscriptions/none"),
        ] {
            let arguments = [&["tail", "--url", &url], arguments].concat();
            let failure = crate::harness::process::failure(&mut sekali(&arguments), 1);
            assert!(failure.contains(said), "{failure}");
        }
    });
}

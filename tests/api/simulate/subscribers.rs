//! `sekali simulate --subscribers`: each reader of the stream gets every event once and in order, and a stream that does
//! otherwise is found.

use std::path::Path;

use tempfile::TempDir;

use super::{failed_with, has_received, numbers, passed, simulate, spawn};
use crate::{
    harness::{
        Database, ENGINES, Engine, block_on, event, eventually, on_both_stores,
        process::{Process, all_of, run},
    },
    simulate_proxy as proxy,
};

const NUMBERS: [&str; 4] = ["subscribers", "subscribers_complete", "events_followed", "streams_lost"];

#[test]
fn each_reader_gets_every_event_once_and_the_report_says_so() {
    on_both_stores(async |service| {
        // What others published before is not of the run.
        service.client.publish_ok(event("other", "before")).await;
        let flags = ["--events", "3000", "--subscribers", "20"];
        let report = passed(&simulate(&service.url(), &flags));
        assert_eq!(numbers(&report, NUMBERS), [20, 20, 20 * 2_100, 0]);

        let namespaces = ["--events", "600", "--subscribers", "5", "--namespaces", "3"];
        let report = passed(&simulate(&service.url(), &namespaces));
        assert_eq!(numbers(&report, NUMBERS), [15, 15, 5 * 420, 0]);

        let table = run(&[
            "simulate",
            "--url",
            &service.url(),
            "--events",
            "10",
            "--batch",
            "1",
            "--subscribers",
            "2",
        ]);
        let line = "subscribers 2 of 2 got every event once and in order, 14 in all; 0 streams were lost";
        assert!(all_of(&table).contains(line), "{}", all_of(&table));
    });
}

#[test]
fn readers_of_a_service_that_is_killed_and_comes_back_miss_nothing() {
    for engine in ENGINES {
        block_on(async {
            let database = Database::create(engine).await;
            let folder = TempDir::new().unwrap();
            let serve = ["--database-url", database.url.as_str(), "--shards", "2"];
            let service = Process::start(folder.path(), &serve);
            let (address, client) = (service.address.to_string(), service.client.clone());
            let url = format!("http://{address}");
            let flags = ["--events", "6000", "--batch", "20", "--rate", "100", "--subscribers", "10"];
            let run = spawn(&[&["simulate", "--json", "--url", &url], &flags[..]].concat());
            eventually("a part is stored", async || has_received(&client, 1_000).await).await;
            service.kill();
            let again = Process::start_at(&address, folder.path(), &serve);
            let report = passed(&run.wait_with_output().unwrap());
            let [readers, complete, events, lost] = numbers(&report, NUMBERS);
            assert_eq!([readers, complete, events], [10, 10, 10 * 4_200]);
            assert!(lost >= 10, "{report}");
            again.kill();
            database.assert_sound().await;
        });
    }
}

#[test]
fn a_hundred_readers_of_a_node_that_is_killed_go_on_at_its_neighbour() {
    block_on(async {
        let database = Database::create(Engine::Postgres).await;
        let serve = || Process::start(Path::new("/"), &["--database-url", &database.url, "--shards", "2"]);
        let (killed, stays) = (serve().ready().await, serve().ready().await);
        let [first, second] = [&killed, &stays].map(|node| node.client.url().to_owned());
        let flags = ["--events", "6000", "--batch", "20", "--rate", "100", "--subscribers", "100"];
        let urls = ["--url", second.as_str(), "--subscriber-url", &first, "--subscriber-url", &second];
        let run = spawn(&[&["simulate", "--json"], &urls[..], &flags[..]].concat());
        let client = &stays.client;
        eventually("a part is stored", async || has_received(client, 1_000).await).await;
        killed.kill();
        let report = passed(&run.wait_with_output().unwrap());
        let [readers, complete, events, lost] = numbers(&report, NUMBERS);
        assert_eq!([readers, complete, events, lost], [100, 100, 100 * 4_200, 50]);
    });
}

/// A run of which the frames of each stream are changed on their way.
fn against_liar(lie: fn(&str) -> Option<String>, fault: &str) {
    on_both_stores(async |service| {
        let change = move |frame: &str| lie(frame).unwrap_or_else(|| frame.to_owned());
        let url = proxy::start_with_streams(service.address, |_, forward| forward(), change);
        let flags = ["--events", "200", "--subscribers", "2", "--give-up-after", "2s"];
        failed_with(&simulate(&url, &flags), fault);
    });
}

#[test]
fn a_frame_that_is_lost_is_missed() {
    let lose = |frame: &str| frame.starts_with("id: 7\n").then(String::new);
    against_liar(lose, "a reader of the stream missed an event");
}

#[test]
fn the_last_frame_is_missed_too() {
    let lose = |frame: &str| frame.starts_with("id: 140\n").then(String::new);
    against_liar(lose, "a reader of the stream did not get every event");
}

#[test]
fn a_frame_that_comes_twice_is_found() {
    let repeat = |frame: &str| frame.starts_with("id: 7\n").then(|| frame.repeat(2));
    against_liar(repeat, "a reader of the stream got an event twice, or after a later one");
}

#[test]
fn a_frame_with_another_event_is_found() {
    let change = |frame: &str| {
        let other = frame.replacen("\"payload\":{", "\"payload\":{\"x\":1,", 1);
        frame.starts_with("id: 7\n").then_some(other)
    };
    against_liar(change, "a reader of the stream got another event than is stored");
}

#[test]
fn frames_that_change_places_are_found() {
    let swap = |frame: &str| {
        let as_before = |number: &str| frame.replace("\"seq\":7,", &format!("\"seq\":{number},"));
        frame.starts_with("id: 7\n").then(|| format!("{}{}", as_before("8"), as_before("7")))
    };
    against_liar(swap, "a reader of the stream missed an event");
}

#[test]
fn readers_without_an_address_are_wrong_usage() {
    for flags in [
        &["--subscriber-url", "http://127.0.0.1:1"][..],
        &["--subscribers", "1001"],
        &["--subscribers", "400", "--namespaces", "3"],
        &["--subscribers", "1", "--subscriber-url", "none"],
    ] {
        let output = run(&[&["simulate"], flags].concat());
        assert_eq!(output.status.code(), Some(2), "{}", all_of(&output));
    }
}

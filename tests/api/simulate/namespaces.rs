//! `sekali simulate --namespaces`: each namespace is proved for itself, and a mix-up of two is found.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{failed_with, numbers, passed, report, simulate, spawn};
use crate::{
    harness::{
        Database, ENGINES, RunningService, block_on, eventually, on_both_stores,
        process::{Process, all_of, run},
    },
    simulate_proxy::{self as proxy, Request, Response},
};

const FLAGS: [&str; 8] = ["--namespaces", "3", "--events", "1200", "--batch", "20", "--seed", "7"];
const NAMES: [&str; 3] = ["simulate-7-1", "simulate-7-2", "simulate-7-3"];

async fn shown(service: &RunningService, name: &str) -> [u64; 4] {
    let namespace = service.client.get(&format!("/namespaces/{name}")).await.json();
    numbers(&namespace, ["received", "unique", "duplicates", "last_seq"])
}

/// The events of a namespace that holds less than a page.
async fn events(service: &RunningService, name: &str) -> Vec<Value> {
    let page = service.client.get(&format!("/namespaces/{name}/events?limit=1000&after=0")).await.json();
    page.as_array().unwrap().clone()
}

#[test]
fn the_same_ids_are_stored_once_in_each_namespace() {
    on_both_stores(async |service| {
        let run_of = |name: &str| {
            let report = passed(&simulate(&service.url(), &[&FLAGS[..], &["--run", name]].concat()));
            assert_eq!(report["namespaces"], json!(NAMES));
            let names = ["events", "unique", "accepted", "requests", "there_before", "stored", "read_back"];
            numbers(&report, names)
        };
        assert_eq!(run_of("a"), [1200, 840, 1200, 60, 0, 840, 840]);
        let mut ids = Vec::new();
        for name in NAMES {
            assert_eq!(shown(&service, name).await, [400, 280, 120, 280]);
            let events = events(&service, name).await;
            assert!(events.iter().all(|event| event["source"] == name));
            let mut of_this: Vec<String> = events.iter().map(|event| event["event_id"].to_string()).collect();
            of_this.sort();
            ids.push(of_this);
        }
        assert!(ids[0].len() == 280 && ids.windows(2).all(|pair| pair[0] == pair[1]), "the same ids");

        // The namespaces are there already: with the same events, and then with those of another run.
        assert_eq!(run_of("a"), [1200, 840, 1200, 60, 840, 0, 840]);
        assert_eq!(run_of("b"), [1200, 840, 1200, 60, 0, 840, 840]);
        for name in NAMES {
            assert_eq!(shown(&service, name).await, [1200, 560, 640, 560]);
        }
        assert_eq!(service.client.counts().await, (0, 0, 0));

        let table = run(&[&["simulate", "--url", &service.url()], &FLAGS[..]].concat());
        let shown = all_of(&table);
        assert!(shown.contains("namespaces  3, simulate-7-1 to simulate-7-3"), "{shown}");
        assert!(shown.contains("passed: every event is stored exactly once"), "{shown}");
        service.database().assert_sound().await;
    });
}

#[test]
fn more_namespaces_than_connections_or_requests_are_proved() {
    on_both_stores(async |service| {
        let flags = ["--namespaces", "40", "--events", "41", "--duplicates", "0", "--concurrency", "3"];
        let report = passed(&simulate(&service.url(), &flags));
        assert_eq!(numbers(&report, ["events", "unique", "requests", "read_back"]), [41, 41, 40, 41]);
        assert_eq!(service.client.get("/namespaces").await.json().as_array().unwrap().len(), 41);
        service.database().assert_sound().await;
    });
}

#[test]
fn answers_that_are_lost_on_the_way_are_asked_for_again() {
    on_both_stores(async |service| {
        let requests = AtomicU64::new(0);
        let url = proxy::start(service.address, move |_, forward| {
            let answer = forward();
            let is_lost = requests.fetch_add(1, Relaxed).is_multiple_of(5);
            answer.filter(|_| !is_lost)
        });
        let report = passed(&simulate(&url, &FLAGS));
        let [retries, unknown, accepted, stored] =
            numbers(&report, ["retries", "unknown_outcomes", "accepted", "stored"]);
        assert!(retries > 0 && retries == unknown && accepted == 1200, "{report}");
        assert!(stored < 840, "what was stored without an answer is a duplicate afterwards: {stored}");
        service.database().assert_sound().await;
    });
}

#[test]
fn a_service_that_is_killed_and_comes_back_loses_nothing_of_any_namespace() {
    for engine in ENGINES {
        block_on(async {
            let database = Database::create(engine).await;
            let folder = TempDir::new().unwrap();
            let serve = ["--database-url", database.url.as_str(), "--shards", "2"];
            let service = Process::start(folder.path(), &serve);
            let (address, client) = (service.address.to_string(), service.client.clone());
            let url = format!("http://{address}");
            let flags = ["--namespaces", "5", "--seed", "7", "--events", "6000", "--batch", "20"];
            let run = spawn(&[&["simulate", "--json", "--url", &url, "--rate", "100"], &flags[..]].concat());
            eventually("a part is stored", async || {
                let answer = client.get("/namespaces/simulate-7-5/stats").await;
                answer.status == 200 && answer.json()["received"].as_u64() > Some(200)
            })
            .await;
            service.kill();
            let again = Process::start_at(&address, folder.path(), &serve);
            let report = passed(&run.wait_with_output().unwrap());
            let [retries, accepted, read_back] = numbers(&report, ["retries", "accepted", "read_back"]);
            assert!(retries > 0 && accepted == 6_000 && read_back == 4_200, "{report}");
            again.kill();
            database.assert_sound().await;
        });
    }
}

/// A run against a service that does `mix_up` to the requests for its first namespace. Each of the `faults` is found,
/// and names the namespace that it is found in.
fn against_mix_up(mix_up: fn(&Request, &str) -> Option<Response>, faults: &[&str]) {
    on_both_stores(async |service| {
        let url = proxy::start(service.address, move |request, forward| {
            match request.line.contains("/simulate-7-1/") {
                true => mix_up(request, &request.line.replacen("/simulate-7-1/", "/simulate-7-2/", 1)),
                false => forward(),
            }
        });
        // One request at a time: what goes to the wrong namespace is there first.
        let output = simulate(&url, &[&FLAGS[..], &["--concurrency", "1"]].concat());
        for fault in faults {
            failed_with(&output, fault);
        }
        let faults = report(&output)["faults"].clone();
        let about_other = |fault: &Value| fault.as_str().unwrap().starts_with("namespace simulate-7-3");
        assert!(!faults.as_array().unwrap().iter().any(about_other), "{faults}");
    });
}

#[test]
fn a_publish_that_goes_to_another_namespace_is_found() {
    against_mix_up(
        |request, other_line| match String::from_utf8_lossy(&request.body).contains(r#"{"n":0,"#) {
            true => request.forward_as(other_line),
            false => request.forward_as(&request.line),
        },
        &[
            "namespace simulate-7-1: an acknowledged event is missing",
            "namespace simulate-7-2: an event is stored that belongs elsewhere",
        ],
    );
}

#[test]
fn a_publish_that_is_stored_in_another_namespace_as_well_is_found() {
    against_mix_up(
        |request, other_line| {
            if request.is_publish() {
                request.forward_as(other_line);
            }
            request.forward_as(&request.line)
        },
        &[
            "namespace simulate-7-2: an event is stored that belongs elsewhere",
            "/stats counts more than was sent",
        ],
    );
}

#[test]
fn a_page_of_another_namespace_is_found() {
    against_mix_up(
        |request, other_line| match request.is_page() {
            true => request.forward_as(other_line),
            false => request.forward_as(&request.line),
        },
        &["namespace simulate-7-1: an event is stored that belongs elsewhere"],
    );
}

#[test]
fn counts_of_another_namespace_are_found() {
    against_mix_up(
        |request, other_line| match request.line.contains("/stats ") {
            true => request.forward_as(other_line),
            false => request.forward_as(&request.line),
        },
        &["namespace simulate-7-1: /stats counts another number of unique events than was planned"],
    );
}

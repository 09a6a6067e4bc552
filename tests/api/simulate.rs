//! `sekali simulate` passes where the service is right, whatever happens on the way, and fails where it is not.

mod namespaces;
mod subscribers;

use std::{
    process::{Child, Output, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    harness::{
        Client, Database, ENGINES, block_on, eventually, on_both_stores,
        process::{Process, all_of, run, sekali},
    },
    simulate_proxy as proxy,
};

fn simulate(url: &str, flags: &[&str]) -> Output {
    run(&[&["simulate", "--json", "--url", url], flags].concat())
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", all_of(output)))
}

fn passed(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", all_of(output));
    let report = report(output);
    assert_eq!((report["verdict"].as_str(), &report["faults"]), (Some("passed"), &serde_json::json!([])));
    report
}

/// The run fails, and says why on standard error and in its report.
fn failed_with(output: &Output, fault: &str) {
    assert_eq!(output.status.code(), Some(1), "{}", all_of(output));
    assert_eq!(report(output)["verdict"], "failed");
    assert!(String::from_utf8_lossy(&output.stderr).contains(fault), "{fault}: {}", all_of(output));
    assert!(report(output)["faults"].to_string().contains(fault), "{fault}: {}", all_of(output));
}

fn numbers<const N: usize>(report: &Value, names: [&str; N]) -> [u64; N] {
    names.map(|name| report[name].as_u64().unwrap_or_else(|| panic!("{name} in {report}")))
}

#[test]
fn a_run_passes_and_tells_the_right_numbers() {
    on_both_stores(async |service| {
        let report =
            passed(&simulate(&service.url(), &["--events", "3000", "--ids", "uuid7", "--batch", "40"]));
        let names =
            ["events", "unique", "accepted", "stored", "duplicates", "read_back", "requests", "retries"];
        assert_eq!(numbers(&report, names), [3000, 2100, 3000, 2100, 900, 2100, 75, 0]);
        assert_eq!(service.client.counts().await, (3000, 2100, 900));
        service.database().assert_sound().await;

        let table = run(&["simulate", "--url", &service.url(), "--events", "10", "--batch", "1"]);
        let shown = all_of(&table);
        assert!(shown.contains("passed: every event is stored exactly once"), "{shown}");
        assert!(shown.contains("7 of 7 different events"), "{shown}");
    });
}

#[test]
fn the_seed_and_the_name_fix_what_is_sent() {
    let seen = Mutex::new(Vec::new());
    on_both_stores(async |service| {
        let flags = ["--events", "500", "--concurrency", "1", "--run", "fixed", "--seed", "7"];
        passed(&simulate(&service.url(), &flags));
        let events = service.client.all_events().await;
        let sent = events
            .iter()
            .map(|event| (event["seq"].to_string(), event["event_id"].clone(), event["payload"].clone()));
        seen.lock().unwrap().push(sent.collect::<Vec<_>>());
    });
    let seen = seen.lock().unwrap();
    assert_eq!(seen[0].len(), 350);
    assert!(seen[0] == seen[1], "the same events in the same order");
}

#[test]
fn a_second_run_of_the_same_name_and_seed_is_all_duplicates_and_passes() {
    on_both_stores(async |service| {
        let again = |events| {
            let flags = ["--events", events, "--run", "again", "--seed", "7"];
            let report = passed(&simulate(&service.url(), &flags));
            numbers(&report, ["there_before", "stored", "duplicates", "read_back"])
        };
        assert_eq!(again("1000"), [0, 700, 300, 700]);
        assert_eq!(again("1000"), [700, 0, 1000, 700]);
        assert_eq!(again("2000"), [700, 700, 1300, 1400]);
        let other_seed = simulate(&service.url(), &["--events", "100", "--run", "again", "--seed", "8"]);
        assert_eq!(numbers(&passed(&other_seed), ["there_before", "stored"]), [0, 70]);
        service.database().assert_sound().await;
    });
}

#[test]
fn lost_answers_are_sent_again_and_the_run_passes() {
    on_both_stores(async |service| {
        let publishes = AtomicU64::new(0);
        let url = proxy::start(service.address, move |request, forward| {
            let answer = forward();
            let is_lost = request.is_publish() && publishes.fetch_add(1, Relaxed).is_multiple_of(5);
            answer.filter(|_| !is_lost)
        });
        let report = passed(&simulate(&url, &["--events", "2000", "--batch", "20"]));
        let [retries, unknown, accepted, stored] =
            numbers(&report, ["retries", "unknown_outcomes", "accepted", "stored"]);
        assert!(retries >= 20 && retries == unknown, "{report}");
        assert_eq!(accepted, 2000);
        assert!(stored < 1400, "what was stored without an answer is a duplicate afterwards: {stored}");
        let (received, unique, _) = service.client.counts().await;
        assert_eq!((received, unique), (2000 + 20 * unknown, 1400));
    });
}

#[test]
fn an_overloaded_service_is_asked_again_after_the_time_it_names() {
    on_both_stores(async |service| {
        let publishes = AtomicU64::new(0);
        let url = proxy::start(service.address, move |request, forward| {
            if request.is_publish() && publishes.fetch_add(1, Relaxed) < 4 {
                let headers = "retry-after: 1\r\n".to_owned();
                return Some(proxy::Response { headers, ..proxy::Response::new(429, "{}") });
            }
            forward()
        });
        let report = passed(&simulate(&url, &["--events", "200", "--batch", "20"]));
        assert_eq!(numbers(&report, ["retries", "unknown_outcomes", "stored"]), [4, 0, 140]);
        assert!(report["latency_ms"]["max"].as_f64().unwrap() >= 1_000.0, "{report}");
    });
}

/// A run against a service whose answers are changed on their way.
fn against_liar(lie: fn(&proxy::Request, String) -> String, fault: &str) {
    on_both_stores(async |service| {
        let url = proxy::start(service.address, move |request, forward| {
            let answer = forward()?;
            Some(proxy::Response { body: lie(request, answer.body), ..answer })
        });
        failed_with(&simulate(&url, &["--events", "200", "--batch", "20", "--topics", "2"]), fault);
    });
}

#[test]
fn a_wrong_seq_is_found() {
    against_liar(
        |request, body| match request.is_publish() {
            true => body.replacen("\"seq\":3}", "\"seq\":9999}", 1),
            false => body,
        },
        "an event has another seq than was answered",
    );
}

#[test]
fn a_wrong_count_in_an_answer_is_found() {
    against_liar(
        |_, body| body.replacen("\"accepted\":20,", "\"accepted\":21,", 1),
        "an answer does not add up",
    );
}

#[test]
fn a_wrong_status_in_an_answer_is_found() {
    against_liar(
        |request, body| match request.is_publish() {
            true => body.replace("duplicate\"", "stored\""),
            false => body,
        },
        "stored twice",
    );
}

#[test]
fn a_changed_payload_is_found() {
    against_liar(
        |request, body| match request.is_page() {
            true => body.replacen("\"payload\":{\"n\":", "\"payload\":{\"n\":1", 1),
            false => body,
        },
        "an event does not come back as it was sent",
    );
}

#[test]
fn wrong_counts_in_the_statistics_are_found() {
    against_liar(
        |request, body| match request.line.starts_with("GET /stats") {
            true => body.replace("\"duplicates\":", "\"duplicates\":1"),
            false => body,
        },
        "/stats counts more than was sent",
    );
}

#[test]
fn an_event_that_is_gone_is_missed() {
    on_both_stores(async |service| {
        let (reached, reading) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let gates = Mutex::new(Some((reached, may_go_on)));
        let url = proxy::start(service.address, move |request, forward| {
            if request.is_page()
                && let Some((reached, may_go_on)) = gates.lock().unwrap().take()
            {
                reached.send(()).unwrap();
                may_go_on.recv().unwrap();
            }
            forward()
        });
        let child = spawn(&["simulate", "--json", "--url", &url, "--events", "200"]);
        reading.recv().unwrap();
        let table = service.database().events_table();
        service.database().number(&format!("DELETE FROM {table} WHERE seq = 17 RETURNING seq")).await;
        go_on.send(()).unwrap();
        failed_with(&child.wait_with_output().unwrap(), "an acknowledged event is missing: event ");
    });
}

fn spawn(arguments: &[&str]) -> Child {
    sekali(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_service_that_takes_nothing_is_given_up() {
    on_both_stores(async |service| {
        let url = proxy::start(service.address, |request, forward| match request.is_publish() {
            true => None,
            false => forward(),
        });
        let output = simulate(&url, &["--events", "200", "--give-up-after", "300ms"]);
        failed_with(&output, "a request was not acknowledged");
        let refusing = proxy::start(service.address, |request, forward| match request.is_publish() {
            true => Some(proxy::Response::new(422, r#"{"title":"no","detail":"not today"}"#)),
            false => forward(),
        });
        failed_with(
            &simulate(&refusing, &["--events", "200"]),
            "answered 422 Unprocessable Entity: not today",
        );
    });
}

#[test]
fn a_service_that_is_killed_and_comes_back_loses_nothing() {
    for engine in ENGINES {
        block_on(async {
            let database = Database::create(engine).await;
            let folder = TempDir::new().unwrap();
            let serve = ["--database-url", database.url.as_str(), "--shards", "2"];
            let service = Process::start(folder.path(), &serve);
            let (address, client) = (service.address.to_string(), service.client.clone());
            let url = format!("http://{address}");
            let flags = ["--events", "6000", "--batch", "20", "--rate", "100"];
            let run = spawn(&[&["simulate", "--json", "--url", &url], &flags[..]].concat());
            eventually("a part is stored", async || has_received(&client, 1_000).await).await;
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

async fn has_received(client: &Client, events: u64) -> bool {
    let answer = client.get("/stats").await;
    answer.status == 200 && answer.json()["received"].as_u64().unwrap() >= events
}

#[test]
fn topics_that_the_statistics_do_not_show_are_named() {
    on_both_stores(async |service| {
        let flags = ["--events", "1200", "--duplicates", "0", "--topics", "10000"];
        let report = passed(&simulate(&service.url(), &flags));
        let unproven = report["unproven"].to_string();
        assert!(unproven.contains("they are not among those that /stats shows"), "{unproven}");
    });
}

#[test]
fn a_plan_that_cannot_be_is_wrong_usage() {
    for flags in [
        ["--events=20000", "--duplicates=1.0"],
        ["--batch=10000", "--payload-bytes=2000"],
        ["--events=3", "--namespaces=4"],
    ] {
        let output = run(&[&["simulate"], &flags[..]].concat());
        assert_eq!(output.status.code(), Some(2), "{}", all_of(&output));
        assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1, "{}", all_of(&output));
    }
    let nobody = run(&["simulate", "--url", "http://127.0.0.1:1", "--ready-timeout", "100ms"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(
        all_of(&nobody).contains("waiting at most 100ms for the service to be ready"),
        "{}",
        all_of(&nobody)
    );
}

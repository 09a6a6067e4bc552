//! `sekali publish`: lines in, each event stored once and in order; a bad line is named and loses nothing else.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    thread::sleep,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    harness::{
        Database, ENGINES, Engine, RunningService, Settings, block_on, event, eventually, on_both_stores,
        on_both_stores_with,
        process::{Process, run, sekali},
    },
    simulate_proxy as proxy,
};

fn publish(url: &str, file: &Path, flags: &[&str]) -> Output {
    run(&[&["publish", file.to_str().unwrap(), "--url", url], flags].concat())
}

fn publish_from_standard_input(url: &str, text: &str) -> Output {
    let mut command = sekali(&["publish", "--url", url]);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn file(folder: &TempDir, lines: &[impl ToString]) -> PathBuf {
    let path = folder.path().join("events.ndjson");
    let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
    fs::write(&path, lines.join("\n")).unwrap();
    path
}

fn ends_with(output: &Output, code: i32, counts: &str) -> String {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), counts, "{errors}");
    errors
}

async fn stored_ids(service: &RunningService) -> Vec<String> {
    let events = service.client.all_events().await;
    events.iter().map(|event| event["event_id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn lines_are_published_in_their_order_from_a_file_and_from_standard_input() {
    on_both_stores(async |service| {
        let folder = TempDir::new().unwrap();
        let ids: Vec<String> = (0..1_234).map(|number| format!("id-{}", number * 7919 % 1_234)).collect();
        let lines: Vec<Value> = ids.iter().map(|id| event("t", id)).collect();
        let published = publish(&service.url(), &file(&folder, &lines), &[]);
        ends_with(&published, 0, "sent 1234  new 1234  duplicates 0  bad lines 0");
        assert_eq!(stored_ids(&service).await, ids);

        let text = format!("{}\r\n\r\n \n{}\n", event("t", "last"), event("t", "id-0"));
        let published = publish_from_standard_input(&service.url(), &text);
        ends_with(&published, 0, "sent 2  new 1  duplicates 1  bad lines 0");
        assert_eq!(service.client.counts().await, (1_236, 1_235, 1));
        ends_with(
            &publish_from_standard_input(&service.url(), ""),
            0,
            "sent 0  new 0  duplicates 0  bad lines 0",
        );
    });
}

#[test]
fn a_bad_line_is_named_and_loses_no_other() {
    on_both_stores(async |service| {
        let good = |id: &str| event("t", id).to_string();
        let text = [
            good("a"),
            "oops".to_owned(),
            String::new(),
            r#"{"topic":"t","event_id":"x"}"#.to_owned(),
            good("b"),
            format!("[{}]", good("y")),
            format!("{},{}", good("y"), good("z")),
            good("c"),
        ];
        let published = publish_from_standard_input(&service.url(), &text.join("\n"));
        let errors = ends_with(&published, 1, "sent 3  new 3  duplicates 0  bad lines 4");
        for named in [
            "line 2: is not JSON: expected value at column 1",
            "line 4: `/timestamp` is missing; `/source` is missing; `/payload` is missing",
            "line 6: must be an object, not an array",
            "line 7: holds 2 values, and not one event",
            "sekali: 4 bad lines were not published",
        ] {
            assert!(errors.lines().any(|line| line == named), "{named}:\n{errors}");
        }
        assert_eq!(stored_ids(&service).await, ["a", "b", "c"]);
    });
}

#[test]
fn an_export_comes_back_into_an_empty_database_with_ids_seq_and_order() {
    let folder = TempDir::new().unwrap();
    for (from, into) in [(Engine::Sqlite, Engine::Postgres), (Engine::Postgres, Engine::Sqlite)] {
        block_on(async {
            let old = RunningService::start(Settings::new(Database::create(from).await)).await;
            let new = RunningService::start(Settings::new(Database::create(into).await)).await;
            let simulated = run(&["simulate", "--url", &old.url(), "--events", "2000", "--batch", "7"]);
            assert!(simulated.status.success());
            let odd = json!({"topic": "t/ü?", "event_id": "\"\\ 😀", "timestamp": "0001-01-01 00:00:00", "source": "\\u0000", "payload": {"n": 1}});
            old.client
                .publish_ok(odd.to_string().replace("{\"n\":1}", "{ \"n\" : 1.000e-7,\n\"n\":\"\\u00e9\"}"))
                .await;

            let export = run(&["events", "--all", "--url", &old.url()]);
            let path = folder.path().join("export.ndjson");
            fs::write(&path, &export.stdout).unwrap();
            ends_with(&publish(&new.url(), &path, &[]), 0, "sent 1401  new 1401  duplicates 0  bad lines 0");
            let imported = run(&["events", "--all", "--url", &new.url()]);
            assert!(without_received_at(&export) == without_received_at(&imported));
            new.database().assert_sound().await;
        });
    }
}

/// Each line up to when it was received, which is the one thing that is the database's own.
fn without_received_at(export: &Output) -> Vec<String> {
    let text = String::from_utf8(export.stdout.clone()).unwrap();
    text.lines().map(|line| line.rsplit_once(",\"received_at\":").unwrap().0.to_owned()).collect()
}

#[test]
fn a_service_that_is_killed_in_the_middle_gets_every_line_once() {
    for engine in ENGINES {
        block_on(async {
            let database = Database::create(engine).await;
            let folder = TempDir::new().unwrap();
            let serve = ["--database-url", database.url.as_str(), "--shards", "2"];
            let service = Process::start(folder.path(), &serve);
            let (address, client) = (service.address.to_string(), service.client.clone());
            let lines: Vec<Value> = (0..6_000).map(|number| event("t", &format!("id-{number}"))).collect();
            let path = file(&folder, &lines);
            let mut command = sekali(&["publish", path.to_str().unwrap(), "--batch", "5", "--url"]);
            let command =
                command.arg(format!("http://{address}")).stdout(Stdio::piped()).stderr(Stdio::piped());
            let publishing = command.spawn().unwrap();
            eventually("a part is stored", async || {
                let answer = client.get("/stats").await;
                answer.status == 200 && answer.json()["received"].as_u64().unwrap() >= 500
            })
            .await;
            service.kill();
            // Long enough for a retry to meet a closed port.
            sleep(Duration::from_millis(200));
            let again = Process::start_at(&address, folder.path(), &serve);
            let published = publishing.wait_with_output().unwrap();
            let told = String::from_utf8_lossy(&published.stdout).into_owned();
            let events = client.all_events().await;
            again.kill();
            assert!(published.status.success() && told.starts_with("sent 6000  new "), "{told}");
            let in_order =
                events.iter().zip(&lines).all(|(event, line)| event["event_id"] == line["event_id"]);
            assert!(events.len() == 6_000 && in_order, "{}", events.len());
            database.assert_sound().await;
        });
    }
}

#[test]
fn a_service_with_lower_limits_gets_smaller_requests_and_its_refusals_are_named() {
    let lower = |settings: &mut Settings| {
        settings.config.batch_events_max = 7;
        settings.config.body_bytes_max = 8 << 10;
    };
    on_both_stores_with(lower, async |service| {
        let folder = TempDir::new().unwrap();
        let mut lines: Vec<Value> = (0..100).map(|number| event("t", &format!("id-{number}"))).collect();
        lines[41]["payload"] = json!({"large": "x".repeat(9_000)});
        let published = publish(&service.url(), &file(&folder, &lines), &["--batch", "30"]);
        let errors = ends_with(&published, 1, "sent 99  new 99  duplicates 0  bad lines 1");
        assert!(errors.contains("line 42: "), "{errors}");
        assert!(
            errors.contains("413 Payload Too Large: the body is larger than the limit of 8192 bytes"),
            "{errors}"
        );
        let expected = (0..100).filter(|number| *number != 41).map(|number| format!("id-{number}"));
        assert_eq!(stored_ids(&service).await, expected.collect::<Vec<_>>());
    });
}

#[test]
fn what_a_stricter_service_refuses_is_found_by_its_index_or_by_halving() {
    on_both_stores(async |service| {
        let url = proxy::start(service.address, |request, forward| {
            let events: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let one = [events.clone()];
            let events = events.as_array().map_or(&one[..], Vec::as_slice);
            let place = |word: &str| events.iter().position(|event| event["source"] == word);
            if let Some(index) = place("named") {
                let errors = json!([{"index": index, "pointer": "/source", "detail": "is not wanted"}]);
                return Some(proxy::Response::new(
                    422,
                    &json!({"title": "no", "errors": errors}).to_string(),
                ));
            }
            match place("unnamed") {
                Some(_) => Some(proxy::Response::new(422, r#"{"title":"no","detail":"somewhere in here"}"#)),
                None => forward(),
            }
        });
        let folder = TempDir::new().unwrap();
        let mut lines: Vec<Value> = (0..50).map(|number| event("t", &format!("id-{number}"))).collect();
        for (place, word) in [(3, "named"), (17, "unnamed"), (18, "unnamed"), (49, "named")] {
            lines[place]["source"] = json!(word);
        }
        let published = publish(&url, &file(&folder, &lines), &[]);
        let errors = ends_with(&published, 1, "sent 46  new 46  duplicates 0  bad lines 4");
        assert!(errors.contains("line 4: `/source` is not wanted\n"), "{errors}");
        assert!(errors.contains("line 50: `/source` is not wanted\n"), "{errors}");
        for line in ["line 18: ", "line 19: "] {
            let named = errors.lines().find(|error| error.starts_with(line));
            assert!(named.is_some_and(|error| error.ends_with("somewhere in here")), "{errors}");
        }
        let expected =
            (0..50).filter(|place| ![3, 17, 18, 49].contains(place)).map(|number| format!("id-{number}"));
        assert_eq!(stored_ids(&service).await, expected.collect::<Vec<_>>());
    });
}

#[test]
fn a_line_of_many_mebibytes_is_published_and_one_beyond_the_limit_is_named() {
    on_both_stores(async |service| {
        let folder = TempDir::new().unwrap();
        let line = |id: &str, bytes: usize| {
            let mut event = event("t", id);
            event["payload"]["large"] = json!("");
            let frame = event.to_string().len();
            event["payload"]["large"] = json!("x".repeat(bytes - frame));
            event.to_string()
        };
        let lines = [line("large", 16 << 20), line("larger", (16 << 20) + 1), line("small", 300)];
        let published = publish(&service.url(), &file(&folder, &lines), &[]);
        let errors = ends_with(&published, 1, "sent 2  new 2  duplicates 0  bad lines 1");
        assert!(errors.contains("line 2: is longer than the limit of 16777216 bytes"), "{errors}");
        assert_eq!(service.client.counts().await, (2, 2, 0));
    });
}

#[test]
fn a_line_with_a_further_field_events_is_one_event() {
    on_both_stores(async |service| {
        let folder = TempDir::new().unwrap();
        let mut outer = event("t", "outer");
        outer["events"] = json!([event("t", "inner")]);
        for lines in [&[outer.clone()][..], &[outer.clone(), event("t", "other")]] {
            let published = publish(&service.url(), &file(&folder, lines), &[]);
            assert_eq!(published.status.code(), Some(0), "{published:?}");
        }
        assert_eq!(stored_ids(&service).await, ["outer", "other"]);
    });
}

/// A publish of these two lines, whose answer is changed on its way.
fn against_liar(lie: fn(&mut Value), fault: &str) {
    on_both_stores(async |service| {
        let url = proxy::start(service.address, move |request, forward| {
            let answer = forward()?;
            let mut body: Value = serde_json::from_str(&answer.body).unwrap();
            if request.is_publish() {
                lie(&mut body);
            }
            Some(proxy::Response { body: body.to_string(), ..answer })
        });
        let folder = TempDir::new().unwrap();
        let path = file(&folder, &[event("t", "a"), event("t", "b")]);
        let errors = ends_with(&publish(&url, &path, &[]), 1, "sent 0  new 0  duplicates 0  bad lines 0");
        assert!(errors.contains(&format!("lines 1 to 2 may not be stored: {fault}")), "{errors}");
    });
}

#[test]
fn an_answer_about_other_events_is_no_acknowledgement() {
    against_liar(|answer| answer["results"][1]["event_id"] = json!("c"), "an answer names another id");
    against_liar(|answer| answer["results"].as_array_mut().unwrap().reverse(), "an answer names another id");
    let fewer = |answer: &mut Value| _ = answer["results"].as_array_mut().unwrap().pop();
    against_liar(fewer, "an answer is not about all events of its request");
    against_liar(|answer| answer["unique"] = json!(3), "an answer does not add up");
}

#[test]
fn what_cannot_be_read_or_is_never_acknowledged_fails() {
    on_both_stores(async |service| {
        let missing = publish(&service.url(), Path::new("/nowhere/events.ndjson"), &[]);
        assert_eq!(missing.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&missing.stderr).contains("cannot read /nowhere/events.ndjson: "));

        let url = proxy::start(service.address, |_, _| None);
        let folder = TempDir::new().unwrap();
        let path = file(&folder, &[event("t", "a"), event("t", "b")]);
        let given_up = publish(&url, &path, &["--give-up-after", "200ms"]);
        let errors = ends_with(&given_up, 1, "sent 0  new 0  duplicates 0  bad lines 0");
        assert!(
            errors.contains("lines 1 to 2 and what follows are not published: gave up after "),
            "{errors}"
        );
    });
}

#[test]
fn lines_that_come_slowly_are_published_as_they_come() {
    on_both_stores(async |service| {
        let mut command = sekali(&["publish", "--url", &service.url()]);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        writeln!(input, "{}", event("t", "a")).unwrap();
        eventually("the first line is stored", async || service.client.counts().await.1 == 1).await;
        writeln!(input, "{}", event("t", "b")).unwrap();
        drop(input);
        ends_with(&child.wait_with_output().unwrap(), 0, "sent 2  new 2  duplicates 0  bad lines 0");
    });
}

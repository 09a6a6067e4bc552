//! The subcommands against a running service, and what the command line says where it is wrong.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{
    RunningService, event, events, eventually, on_both_stores,
    process::{Process, failure, finished, run, sekali},
};

/// `sekali` with these arguments, asking this service.
fn asking(service: &RunningService, arguments: &[&str]) -> Command {
    let mut command = sekali(arguments);
    command.args(["--url", &service.url()]);
    command
}

/// What a command prints that must succeed and complain of nothing.
fn printed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = finished(command);
    assert_eq!(status.code(), Some(0), "{}", String::from_utf8_lossy(&stderr));
    assert_eq!(String::from_utf8(stderr).unwrap(), "");
    String::from_utf8(stdout).unwrap()
}

fn seqs(lines: &str) -> Vec<u64> {
    lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap()).collect()
}

#[test]
fn events_prints_a_page_as_an_array() {
    on_both_stores(async |service| {
        assert_eq!(printed(&mut asking(&service, &["events"])), "[]\n");
        service
            .client
            .publish_ok(events(
                "a",
                (0..120).map(|n| n.to_string()).collect::<Vec<_>>().iter().map(String::as_str),
            ))
            .await;
        service.client.publish_ok(event("b c", "x")).await;
        let page = |arguments: &[&str]| -> Vec<u64> {
            let text = printed(&mut asking(&service, &[&["events"], arguments].concat()));
            let events: Vec<Value> = serde_json::from_str(&text).unwrap();
            events.iter().map(|event| event["seq"].as_u64().unwrap()).collect()
        };
        assert_eq!(page(&[]), (22..=121).rev().collect::<Vec<_>>());
        assert_eq!(page(&["--limit", "3"]), [121, 120, 119]);
        assert_eq!(page(&["--before", "3"]), [2, 1]);
        assert_eq!(page(&["--after", "119"]), [120, 121]);
        assert_eq!(page(&["--after", "5", "--before", "8"]), [6, 7]);
        assert_eq!(page(&["--topic", "b c"]), [121]);
        assert_eq!(page(&["--topic", "none"]), [0_u64; 0]);
    });
}

#[test]
fn events_all_prints_every_event_on_a_line_over_several_pages() {
    on_both_stores(async |service| {
        let ids: Vec<String> = (0..2_500).map(|n| format!("id-{n}")).collect();
        service.client.publish_ok(events("many", ids.iter().map(String::as_str))).await;
        service.client.publish_ok(event("other", "x")).await;
        let all =
            |arguments: &[&str]| printed(&mut asking(&service, &[&["events", "--all"], arguments].concat()));
        assert_eq!(seqs(&all(&[])), (1..=2_501).collect::<Vec<_>>());
        assert_eq!(seqs(&all(&["--after", "1200"])), (1_201..=2_501).collect::<Vec<_>>());
        assert_eq!(seqs(&all(&["--topic", "other"])), [2_501]);
        assert_eq!(seqs(&all(&["--limit", "1500", "--topic", "many"])), (1..=1_500).collect::<Vec<_>>());
        assert_eq!(seqs(&all(&["--before", "1100", "--after", "50"])), (51..1_100).collect::<Vec<_>>());
        assert_eq!(all(&["--after", "2501"]), "");
    });
}

#[test]
fn events_of_several_topics_times_and_conditions_are_asked_for() {
    on_both_stores(async |service| {
        for (topic, id) in [("a", "1"), ("b", "2"), ("c", "3"), ("a", "4"), ("b", "5")] {
            service.client.publish_ok(event(topic, id)).await;
        }
        let received: Vec<Value> = service.client.all_events().await;
        let time = |seq: usize| received[seq - 1]["received_at"].as_str().unwrap();
        let all = |arguments: &[&str]| {
            seqs(&printed(&mut asking(&service, &[&["events", "--all"], arguments].concat())))
        };
        assert_eq!(all(&["--topic", "a", "--topic", "b"]), [1, 2, 4, 5]);
        assert_eq!(all(&["--topic", "a", "--topic", "b", "--limit", "3"]), [1, 2, 4]);
        assert_eq!(all(&["--since", time(2), "--until", time(4)]), [2, 3]);
        assert_eq!(all(&["--where", "/payload/of=4"]), [4]);
        assert_eq!(all(&["--where", "/topic=a", "--where", "/event_id=1"]), [1]);
        let page = printed(&mut asking(&service, &["events", "--where", "/topic=b", "--limit", "1"]));
        let page: Vec<Value> = serde_json::from_str(&page).unwrap();
        assert_eq!((page.len(), &page[0]["seq"]), (1, &Value::from(5)));
    });
}

/// The service looks through 5,000 events for each answer, and the client asks on.
#[test]
fn events_that_are_far_apart_are_all_printed() {
    on_both_stores(async |service| {
        let ids: Vec<String> = (0..9_998).map(|n| format!("id-{n}")).collect();
        service.client.publish_ok(event("rare", "first")).await;
        service.client.publish_ok(events("many", ids.iter().map(String::as_str))).await;
        service.client.publish_ok(event("rare", "last")).await;
        let arguments = ["events", "--where", "/topic=rare"];
        assert_eq!(
            seqs(&printed(&mut asking(&service, &[&arguments[..], &["--all"]].concat()))),
            [1, 10_000]
        );
        let page: Vec<Value> = serde_json::from_str(&printed(&mut asking(&service, &arguments))).unwrap();
        assert_eq!((&page[0]["seq"], &page[1]["seq"]), (&Value::from(10_000), &Value::from(1)));
    });
}

#[test]
fn events_come_on_one_line_with_every_digit_kept() {
    on_both_stores(async |service| {
        let payload =
            "{ \"n\" :\n [ 1.50,\r\n\t12345678901234567890.000, 1E+2, -0 ], \"s\": \"a  b\\n\\\" }\" }";
        let line = "{ \"n\" : [ 1.50,\t12345678901234567890.000, 1E+2, -0 ], \"s\": \"a  b\\n\\\" }\" }";
        let body = format!(
            r#"{{"topic":"t","event_id":"a","timestamp":"2026-06-18T12:00:00Z","source":"s","payload":{payload}}}"#
        );
        service.client.publish_ok(body).await;
        for all in [&["--all"][..], &[]] {
            let text = printed(&mut asking(&service, &[&["events"], all].concat()));
            assert!(text.contains(&format!("\"payload\":{line},")), "{text}");
            assert_eq!(text.lines().count(), if all.is_empty() { 3 } else { 1 }, "{text}");
        }
    });
}

#[test]
fn stats_prints_a_table_or_the_answer_as_it_came() {
    on_both_stores(async |service| {
        service.client.publish_ok(events("a topic", ["1", "2", "1"])).await;
        let table = printed(&mut asking(&service, &["stats"]));
        let words: Vec<&str> = table.split_whitespace().collect();
        assert!(words.starts_with(&["received", "3", "unique", "2", "duplicates", "1"]), "{table}");
        assert!(table.contains("a topic"), "{table}");
        let json: Value =
            serde_json::from_str(&printed(&mut asking(&service, &["stats", "--json"]))).unwrap();
        assert_eq!(json["received"], 3);
        assert_eq!(json["by_topic"]["a topic"]["duplicates"], 1);
    });
}

#[test]
fn healthcheck_is_silent_or_says_why_not() {
    on_both_stores(async |service| {
        assert_eq!(printed(&mut asking(&service, &["healthcheck"])), "");
        let address = service.address;
        let (ended, _database) = service.stop().await;
        ended.unwrap();
        for command in ["healthcheck", "stats", "events"] {
            let sentence = failure(&mut sekali(&[command, "--url", &format!("http://{address}")]), 1);
            assert!(sentence.starts_with(&format!("no answer from http://{address}/")), "{sentence}");
        }
    });
}

#[test]
fn healthcheck_gives_the_reason_of_a_service_that_is_not_ready() {
    crate::harness::block_on(async {
        let folder = TempDir::new().unwrap();
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process =
            Process::start(folder.path(), &["--database-url", &format!("postgres://u@{nobody}/db")]);
        let url = format!("http://{}", process.address);
        let sentence = failure(&mut sekali(&["healthcheck", "--url", &url]), 1);
        let expected = "answered 503 Service Unavailable: the database is not there yet";
        assert_eq!(sentence, format!("{url}/readyz {expected}"));
    });
}

#[test]
fn a_reader_that_has_seen_enough_of_all_events_is_no_failure() {
    on_both_stores(async |service| {
        let ids: Vec<String> = (0..3_000).map(|n| format!("id-{n}")).collect();
        service.client.publish_ok(events("t", ids.iter().map(String::as_str))).await;
        let mut command = asking(&service, &["events", "--all"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert_eq!(seqs(&first), [1]);
        let ended = child.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), ended.stderr.len()), (Some(0), 0));
    });
}

#[test]
fn a_refusal_of_the_service_is_shown_with_its_reason() {
    on_both_stores(async |service| {
        let sentence = failure(&mut asking(&service, &["events", "--topic", " "]), 1);
        assert!(sentence.contains("422") && sentence.contains("topic"), "{sentence}");
    });
}

#[test]
fn the_environment_stands_beside_the_flags() {
    on_both_stores(async |service| {
        service.client.publish_ok(event("t", "a")).await;
        let url = service.url();
        assert_eq!(seqs(&printed(sekali(&["events", "--all"]).env("SEKALI_URL", &url))), [1]);
        let flag_wins = &mut asking(&service, &["events", "--all"]);
        assert_eq!(seqs(&printed(flag_wins.env("SEKALI_URL", "http://127.0.0.1:1"))), [1]);
        // A wrong setting of the service is not the business of its clients.
        assert_eq!(printed(asking(&service, &["healthcheck"]).env("SEKALI_SHARDS", "many")), "");
    });
}

#[test]
fn the_service_is_set_up_from_the_environment_alone() {
    crate::harness::block_on(async {
        let folder = TempDir::new().unwrap();
        let mut command = sekali(&[]);
        command.env("SEKALI_LISTEN", "127.0.0.1:0").env("SEKALI_BATCH_EVENTS_MAX", "2");
        command.env("SEKALI_DEDUP_SCOPE", "topic").env("SEKALI_LOG_FORMAT", "json").env("SEKALI_SHARDS", "3");
        command.env("DATABASE_URL", format!("sqlite://{}/other.db", folder.path().display()));
        let process = Process::spawn(command.current_dir(folder.path())).ready().await;
        assert!(folder.path().join("other.db").exists());
        assert!(process.log().lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
        assert_eq!(process.client.publish(events("t", ["1", "2", "3"])).await.status, 413);
        process.client.publish_ok(event("t", "1")).await;
        assert_eq!(process.client.publish_ok(event("u", "1")).await[0]["status"], "stored");
        assert_eq!(process.client.stats().await["node"]["shards"].as_array().unwrap().len(), 3);
    });
}

#[test]
fn without_a_command_it_serves_a_database_that_it_makes_in_the_working_folder() {
    crate::harness::block_on(async {
        for arguments in [&["--listen", "127.0.0.1:0"][..], &["serve", "--listen", "127.0.0.1:0"]] {
            let folder = TempDir::new().unwrap();
            let start = || Process::spawn(sekali(arguments).current_dir(folder.path()));
            let mut process = start().ready().await;
            process.client.publish_ok(event("t", "a")).await;
            assert!(folder.path().join("sekali.db").exists());
            process.signal("TERM");
            assert_eq!(process.wait().code(), Some(0));
            let process = start().ready().await;
            assert_eq!(process.client.publish_ok(event("t", "a")).await[0]["status"], "duplicate");
            eventually("it says where the data lies", async || process.log().contains("sqlite://sekali.db"))
                .await;
        }
    });
}

#[test]
fn a_wrong_value_is_one_sentence_and_exit_code_2() {
    for (arguments, told) in [
        (&["--listen", "8080"][..], "--listen must be host:port"),
        (&["serve", "--shards", "0"], "--shards must be a whole number from 1 to 256, not \"0\""),
        (&["--database-url", "mysql://u:hidden@host/db"], "(URL not shown)"),
        (&["--dedup-scope", "source"], "--dedup-scope must be event-id or topic"),
        (&["--log-level", "loud"], "--log-level must be"),
        (&["--log-format", "xml"], "--log-format must be text or json"),
        (&["--drain-timeout", "soon"], "--drain-timeout must be a time from 1ms to 1h"),
        (&["migrate", "--database-url", "file.db"], "--database-url must be a URL that begins with"),
        (&["events", "--limit", "1001"], "--limit must be 1 to 1000 without --all"),
        (&["stats", "--url", "localhost:8080"], "--url must be a URL that begins with http://"),
        (&["healthcheck", "--url", "http://h/?a=b"], "--url must be a URL without a query"),
    ] {
        let sentence = failure(&mut sekali(arguments), 2);
        assert!(sentence.contains(told), "{arguments:?}: {sentence}");
        assert!(!sentence.contains("hidden"), "{sentence}");
    }
    let sentence = failure(sekali(&[]).env("SEKALI_MIGRATE", "yes"), 2);
    assert!(sentence.starts_with("--migrate must be true or false"), "{sentence}");
    for arguments in
        [&["--no-such-flag"][..], &["no-such-command"], &["events", "--limit", "x"], &["stats", "x"]]
    {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty());
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: "), "{arguments:?}");
    }
}

#[test]
fn help_names_what_can_be_set_and_the_defaults() {
    let service =
        ["[default: 127.0.0.1:8080]", "[env: SEKALI_LISTEN", "[default: sqlite://sekali.db]", "DATABASE_URL"];
    let client = ["[default: http://127.0.0.1:8080]", "[env: SEKALI_URL"];
    for (command, told) in [
        (&[][..], &service[..]),
        (&["serve"], &service),
        (&["migrate"], &service[2..]),
        (&["events"], &client),
        (&["stats"], &client),
        (&["healthcheck"], &client),
    ] {
        for help in ["--help", "-h"] {
            let text = printed(&mut sekali(&[command, &[help]].concat()));
            // A long line is wrapped anywhere.
            let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
            for word in told {
                assert!(text.contains(word), "{command:?} {help} without {word}:\n{text}");
            }
        }
    }
    let overview = printed(&mut sekali(&["--help"]));
    for word in
        ["serve", "events", "stats", "migrate", "healthcheck", "Exit codes: 0 done, 1 failed, 2 wrong usage"]
    {
        assert!(overview.contains(word), "{word}:\n{overview}");
    }
}

#[test]
fn version_tells_the_commit_where_it_is_known() {
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    let printed = printed(&mut sekali(&["--version"]));
    let version = printed.strip_prefix("sekali ").and_then(|rest| rest.strip_suffix('\n')).unwrap();
    assert_eq!(version, env!("SEKALI_VERSION"));
    let commit = version.strip_prefix(VERSION).unwrap();
    if commit.is_empty() {
        let cloned = Path::new(env!("CARGO_MANIFEST_DIR")).join(".git").exists();
        assert!(!cloned, "a clone knows its commit");
        return;
    }
    let commit = commit.strip_prefix(" (").and_then(|rest| rest.strip_suffix(')')).unwrap();
    assert!(commit.len() == 7 && commit.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f')), "{version}");
}

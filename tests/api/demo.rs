//! `sekali demo` shows what it promises, proves it, and fails where the proof does.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{
    Database, ENGINES, Engine, block_on, eventually,
    process::{all_of, failure, finished, run, sekali, send_signal},
};

/// The shortest demonstration.
fn demo(arguments: &[&str]) -> Command {
    sekali(&[&["demo", "supervisor-restart", "--pause", "100ms"], arguments].concat())
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", all_of(output)))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value}"))
}

fn array(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("{value}"))
}

/// The actors that an act crashed, each for the reason that it should be.
fn crashed(act: &Value) -> Vec<&str> {
    let crashes = array(&act["crashes"]).iter();
    crashes
        .map(|crash| {
            assert_eq!(crash["ending"], "panicked: crash injected");
            assert!(crash["recovery_ms"].as_f64().unwrap() >= 10.0, "{crash}");
            crash["actor"].as_str().unwrap()
        })
        .collect()
}

/// That as many requests as were in the actors' hands were told to try again, and were acknowledged then.
fn assert_retried(act: &Value) {
    let in_hand: u64 = array(&act["crashes"]).iter().map(|crash| number(&crash["in_hand"])).sum();
    let told = array(&act["told_to_retry"]);
    let interrupted = told.iter().flat_map(|retry| array(&retry["told"]));
    let interrupted = interrupted.filter(|why| why.to_string().contains("503 Service Unavailable")).count();
    assert!(interrupted as u64 >= in_hand, "{act}");
    for retry in told {
        assert_eq!(number(&retry["stored"]) + number(&retry["duplicates"]), 20, "{retry}");
        let told_at = retry["told_at_seconds"][0].as_f64().unwrap();
        assert!(told_at < retry["acknowledged_at_seconds"].as_f64().unwrap(), "{retry}");
    }
}

fn assert_shows_what_it_promises(report: &Value) {
    assert_eq!((&report["verdict"], &report["faults"]), (&json!("passed"), &json!([])));
    let acts = array(&report["acts"]);
    acts.iter().for_each(assert_retried);
    let [shard, writer, stats, several, again] = acts.as_slice() else { panic!("{report}") };

    assert_eq!(crashed(shard), ["shard 0"]);
    assert_eq!(shard["crashes"][0]["in_hand"], 0);
    assert_eq!(crashed(writer), ["writer 0"]);
    assert!(number(&writer["crashes"][0]["in_hand"]) >= 1);
    assert!(
        writer["crashes"][0]["in_hand_ms"].as_f64().unwrap() >= 0.2,
        "its transaction was open: {writer}"
    );
    assert_eq!(crashed(stats), ["stats"]);
    let asked = &stats["stats_asked"];
    assert!(number(&asked["received"]) >= number(&asked["acknowledged"]), "{asked}");
    let mut actors = crashed(several);
    actors.sort_unstable();
    assert_eq!(actors, ["shard 0", "shard 2", "stats", "writer 0"]);
    assert_eq!(crashed(again), ["shard 1"; 7]);
    for (crash, pause_ms) in
        array(&again["crashes"]).iter().zip([10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0])
    {
        assert!(crash["recovery_ms"].as_f64().unwrap() >= pause_ms, "{crash}");
    }
    assert!(number(&again["crashes"][6]["waited"]) > 0, "{again}");

    let (proof, counted) = (&report["proof"], &report["counted"]);
    assert_eq!(proof["verdict"], "passed");
    assert_eq!((&proof["read_back"], &counted["unique"]), (&proof["unique"], &proof["unique"]));
    assert!(number(&counted["received"]) >= number(&proof["events"]));
    let readers = (number(&proof["subscribers"]), number(&proof["subscribers_complete"]));
    assert_eq!((readers, number(&proof["streams_lost"])), ((3, 3), 0), "they noticed nothing");
    assert_eq!(number(&proof["events_followed"]), 3 * number(&proof["unique"]));
    assert_eq!(number(&proof["accepted"]), number(&proof["events"]));
    assert!(number(&proof["events"]) > number(&proof["unique"]), "some were repeats");
}

fn passes_on(engine: Engine, store: &str) {
    block_on(async {
        let database = Database::create(engine).await;
        let output = finished(&mut demo(&["--json", "--database-url", &database.url]));
        assert_eq!(output.status.code(), Some(0), "{}", all_of(&output));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        let report = report(&output);
        assert_eq!(report["store"], store);
        assert_shows_what_it_promises(&report);
        database.assert_sound().await;
        let stored = database.number(&format!("SELECT count(*) FROM {}", database.events_table())).await;
        assert_eq!(stored as u64, number(&report["proof"]["unique"]));
    });
}

#[test]
fn the_demonstration_passes_on_sqlite() {
    passes_on(Engine::Sqlite, "sqlite");
}

#[test]
fn the_demonstration_passes_on_postgres() {
    passes_on(Engine::Postgres, "postgres");
}

/// The demonstration in a folder of its own, with an environment that names a database that it must not use.
fn without_set_up(folder: &Path) -> Command {
    let mut command = demo(&[]);
    command.current_dir(folder).env("TMPDIR", folder);
    command.env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/production");
    command
}

#[test]
fn it_needs_no_set_up_tells_what_happens_and_leaves_nothing_behind() {
    let folder = TempDir::new().unwrap();
    let output = finished(&mut without_set_up(folder.path()));
    assert_eq!(output.status.code(), Some(0), "{}", all_of(&output));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let told = String::from_utf8(output.stdout).unwrap();
    for words in [
        "a temporary SQLite file",
        "s  load    begins",
        "s  crash   shard 0 panics with no request in hand",
        "s  back    shard 0 is back after ",
        " told to try again (503: the request was interrupted",
        "s  again   request",
        "s  crash   writer 0 panics with ",
        ", in a transaction under way for ",
        "s  read    ",
        " events followed so far; 0 streams were lost",
        "The 3 readers noticed nothing: each got every event once and in order, over one stream.",
        "s  asked   GET /stats, asked as it died, answers after ",
        "s  proof   ",
        "while actors crashed 14 times",
        "Passed: nothing is lost, and nothing is stored twice.",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn one_that_is_interrupted_leaves_nothing_behind_either() {
    for (signal, begun) in [("INT", "load    begins"), ("TERM", "load    begins"), ("TERM", ""), ("HUP", "")]
    {
        let folder = TempDir::new().unwrap();
        let mut child =
            without_set_up(folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut told = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        // Without a word to wait for, the service is about to start.
        match begun {
            "" => while fs::read_dir(folder.path()).unwrap().count() == 0 {},
            _ => assert!(told.any(|line| line.ends_with(begun))),
        }
        send_signal(signal, child.id());
        if signal == "HUP" {
            // Alone it ends nothing.
            assert!(told.any(|line| line.ends_with("load    begins")));
            send_signal("QUIT", child.id());
        }
        told.for_each(drop);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", all_of(&output));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said, "sekali: the demonstration was interrupted\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn it_fails_where_an_event_is_lost() {
    for engine in ENGINES {
        block_on(async {
            let database = Database::create(engine).await;
            assert!(run(&["migrate", "--database-url", &database.url]).status.success());
            let table = database.events_table();
            let child = demo(&["--json", "--database-url", &database.url])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let stored = format!("SELECT count(*) FROM {table} WHERE seq = 17");
            eventually("it is stored", async || database.number(&stored).await == 1).await;
            database.number(&format!("DELETE FROM {table} WHERE seq = 17 RETURNING seq")).await;
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{}", all_of(&output));
            let report = report(&output);
            assert_eq!(report["verdict"], "failed");
            assert!(!array(&report["faults"]).is_empty());
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.starts_with("sekali: the result is wrong: "), "{said}");
        });
    }
}

#[test]
fn a_database_that_cannot_be_used_is_named_and_a_wrong_setting_is_wrong_usage() {
    let folder = TempDir::new().unwrap();
    let missing = format!("sqlite://{}", folder.path().join("missing").join("demo.db").display());
    let sentence = failure(&mut demo(&["--database-url", &missing]), 1);
    assert!(sentence.contains("missing does not exist"), "{sentence}");
    let sentence = failure(&mut demo(&["--database-url", "mysql://host/name"]), 2);
    assert!(sentence.contains("--database-url must be a URL that begins with sqlite:"), "{sentence}");
    for pause in ["0s", "31s", "soon"] {
        let output = run(&["demo", "supervisor-restart", "--pause", pause]);
        assert_eq!(output.status.code(), Some(2), "{}", all_of(&output));
    }
    assert_eq!(run(&["demo"]).status.code(), Some(2));
}

//! `sekali namespace`, and `--namespace` of the commands that publish and read.

use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{
    RunningService, event, on_both_stores,
    process::{failure, finished, run, sekali},
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

fn lines_of_json(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn namespaces_are_created_listed_shown_and_deleted() {
    on_both_stores(async |service| {
        let ask = |arguments: &[&str]| printed(&mut asking(&service, &[&["namespace"], arguments].concat()));
        assert_eq!(ask(&["create", "shop-1"]), "shop-1 created, with dedup scope event-id\n");
        assert_eq!(ask(&["create", "shop-1"]), "shop-1 is there already, with dedup scope event-id\n");
        let created = ask(&["create", "shop-2", "--dedup-scope", "topic", "--json"]);
        let shown = service.client.get("/namespaces/shop-2").await.json();
        assert_eq!(lines_of_json(&created)[0], shown);
        assert_eq!(ask(&["create", "shop-2"]), "shop-2 is there already, with dedup scope topic\n");
        let sentence = failure(
            &mut asking(&service, &["namespace", "create", "shop-2", "--dedup-scope", "event-id"]),
            1,
        );
        assert!(sentence.contains("409 Conflict") && sentence.contains("dedup_scope topic"), "{sentence}");

        let table = ask(&["list"]);
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["unique", "duplicates", "dedup", "scope", "created", "name"]);
        let names: Vec<&str> = rows[1..].iter().map(|row| row[4]).collect();
        assert_eq!(names, ["default", "shop-1", "shop-2"]);
        assert_eq!(rows[3][..3], ["0", "0", "topic"]);
        assert_eq!(lines_of_json(&ask(&["list", "--prefix", "shop-", "--json"])).len(), 2);
        assert_eq!(
            lines_of_json(&ask(&["list", "--json"])),
            *service.client.get("/namespaces").await.json().as_array().unwrap()
        );

        let text = ask(&["show", "shop-2"]);
        let words: Vec<&str> = text.split_whitespace().collect();
        let created_at = shown["created_at"].as_str().unwrap();
        assert!(
            words.starts_with(&["name", "shop-2", "dedup", "scope", "topic", "created", created_at]),
            "{text}"
        );
        assert_eq!(lines_of_json(&ask(&["show", "shop-2", "--json"])), [shown]);

        assert_eq!(ask(&["delete", "shop-2", "--confirm", "shop-2"]), "shop-2 deleted\n");
        for arguments in [&["show", "shop-2"][..], &["delete", "shop-2", "--confirm", "shop-2"]] {
            let sentence = failure(&mut asking(&service, &[&["namespace"], arguments].concat()), 1);
            let expected = "there is no namespace shop-2: create it with `sekali namespace create shop-2`";
            assert_eq!(sentence, expected);
        }
        let sentence =
            failure(&mut asking(&service, &["namespace", "delete", "default", "--confirm", "default"]), 1);
        assert!(sentence.contains("cannot be deleted"), "{sentence}");
    });
}

#[test]
fn commands_publish_to_a_namespace_and_read_from_it() {
    on_both_stores(async |service| {
        let in_shop = |arguments: &[&str]| asking(&service, &[arguments, &["--namespace", "shop"]].concat());
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("events.ndjson");
        let lines = ["a", "b", "a"].map(|id| event("t", id).to_string() + "\n").concat();
        std::fs::write(&file, &lines).unwrap();
        let file = file.to_str().unwrap();
        let missing = "there is no namespace shop: create it with `sekali namespace create shop`";
        for command in [&["stats"][..], &["events"], &["events", "--all"]] {
            assert_eq!(failure(&mut in_shop(command), 1), missing);
        }
        let output = finished(&mut in_shop(&["publish", file]));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said, format!("sekali: lines 1 to 3 and what follows are not published: {missing}\n"));
        assert_eq!(output.status.code(), Some(1));

        printed(&mut asking(&service, &["namespace", "create", "shop"]));
        assert_eq!(printed(&mut in_shop(&["publish", file])), "sent 3  new 2  duplicates 1  bad lines 0\n");
        let all = lines_of_json(&printed(&mut in_shop(&["events", "--all"])));
        assert_eq!(
            all.iter().map(|event| &event["event_id"]).collect::<Vec<_>>(),
            [&json!("a"), &json!("b")]
        );
        let stats = lines_of_json(&printed(&mut in_shop(&["stats", "--json"])));
        assert_eq!((&stats[0]["received"], &stats[0]["unique_processed"]), (&json!(3), &json!(2)));
        let simulated = printed(&mut in_shop(&["simulate", "--events", "500"]));
        assert!(simulated.contains("passed"), "{simulated}");
        assert_eq!(service.client.counts().await, (0, 0, 0));

        // The environment stands beside the flag, which wins; probes have no namespace.
        let from_environment = |arguments: &[&str]| {
            let mut command = asking(&service, arguments);
            command.env("SEKALI_NAMESPACE", "shop");
            command
        };
        assert_eq!(lines_of_json(&printed(&mut from_environment(&["events", "--all", "--limit", "2"]))), all);
        let default = from_environment(&["events", "--all", "--namespace", "default"]);
        assert_eq!(printed(&mut { default }), "");
        assert_eq!(printed(&mut from_environment(&["healthcheck"])), "");
    });
}

#[test]
fn names_that_cannot_be_are_wrong_usage() {
    for (arguments, told) in [
        (&["stats", "--namespace", "A"][..], "--namespace must be 1 to 63 of a-z, 0-9 and -"),
        (&["publish", "--namespace", "a/b"], "--namespace must be"),
        (&["events", "--namespace", ""], "--namespace must be"),
        (&["simulate", "--namespace", ".."], "--namespace must be"),
        (
            &["namespace", "delete", "a", "--confirm", "b"],
            "--confirm must be the name of the namespace to delete, a",
        ),
    ] {
        let sentence = failure(&mut sekali(arguments), 2);
        assert!(sentence.contains(told), "{arguments:?}: {sentence}");
    }
    for arguments in [
        &["namespace"][..],
        &["namespace", "create"],
        &["namespace", "create", "A"],
        &["namespace", "create", ".."],
        &["namespace", "create", "a", "--dedup-scope", "source"],
        &["namespace", "list", "--prefix", "a/"],
        &["namespace", "show", "a?b"],
        &["namespace", "delete", "a"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_tells_of_namespaces() {
    for (command, told) in [
        (&["publish"][..], &["--namespace", "[env: SEKALI_NAMESPACE", "[default: default]"][..]),
        (&["events"], &["--namespace", "[env: SEKALI_NAMESPACE"]),
        (&["stats"], &["--namespace", "[env: SEKALI_NAMESPACE"]),
        (&["simulate"], &["--namespace", "[env: SEKALI_NAMESPACE"]),
        (&["namespace"], &["create", "list", "show", "delete"]),
        (&["namespace", "create"], &["--dedup-scope", "--json", "[env: SEKALI_URL"]),
        (&["namespace", "delete"], &["--confirm"]),
    ] {
        let text = printed(&mut sekali(&[command, &["--help"]].concat()));
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for word in told {
            assert!(text.contains(word), "{command:?} without {word}:\n{text}");
        }
    }
}

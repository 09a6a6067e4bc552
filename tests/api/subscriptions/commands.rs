//! `sekali subscription` and `sekali work`.

use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{lease, publish, show, subscribe};
use crate::harness::{
    RunningService, event, eventually, on_both_stores,
    process::{failure, finished, sekali},
};

fn asking(service: &RunningService, arguments: &[&str]) -> Command {
    let mut command = sekali(arguments);
    command.env("SEKALI_URL", service.url());
    command
}

/// What a command prints that must succeed and complain of nothing.
fn printed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = finished(command);
    assert_eq!(status.code(), Some(0), "{}", String::from_utf8_lossy(&stderr));
    assert_eq!(String::from_utf8(stderr).unwrap(), "");
    String::from_utf8(stdout).unwrap()
}

#[test]
fn subscriptions_are_created_listed_shown_sent_back_and_deleted() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.create_namespace("shop").await;
        client.publish_in("shop", json!([event("orders", "1"), event("orders", "2")])).await;
        let ask = |arguments: &[&str]| {
            printed(
                asking(&service, &[&["subscription"], arguments].concat()).env("SEKALI_NAMESPACE", "shop"),
            )
        };
        assert_eq!(
            ask(&["create", "s", "--topic", "orders", "--after", "earliest"]),
            "s created, behind seq 0\n"
        );
        assert_eq!(
            ask(&["create", "s", "--topic", "orders", "--after", "earliest"]),
            "s is there already, behind seq 0\n"
        );
        let settings = [
            "create",
            "p",
            "--partitions",
            "4",
            "--partition-by",
            "source",
            "--lease-seconds",
            "60",
            "--max-deliveries",
            "3",
            "--json",
        ];
        let created: Value = serde_json::from_str(&ask(&settings)).unwrap();
        assert_eq!(created, client.get("/namespaces/shop/subscriptions/p").await.json());
        assert_eq!((&created["partitions"], &created["max_leases"]), (&json!(4), &json!(4)));

        let table = ask(&["list"]);
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["acked", "lag", "parked", "leases", "status", "name"]);
        assert_eq!(rows[1], ["2", "0", "0", "0", "caught-up", "p"]);
        assert_eq!(rows[2], ["0", "2", "0", "0", "waiting", "s"]);
        assert_eq!(ask(&["list", "--prefix", "p", "--json"]).lines().count(), 1);
        assert!(
            ask(&["show", "s"])
                .contains("topics  orders\nstatus  waiting\nacked   0\nhead    2\nlag     2\n")
        );
        assert_eq!(ask(&["seek", "s", "--after", "1"]), "s goes on behind seq 1, with a lag of 1\n");
        assert_eq!(ask(&["parked", "s"]), "");
        assert_eq!(ask(&["parked", "s", "--retry"]), "0 are tried again, 0 are parked\n");
        assert_eq!(ask(&["delete", "p"]), "p deleted\n");

        let mut unknown = asking(&service, &["subscription", "show", "p", "--namespace", "shop"]);
        let sentence = failure(&mut unknown, 1);
        assert!(sentence.contains("PUT /namespaces/shop/subscriptions/p"), "{sentence}");
        failure_of_usage(&service, &["subscription", "create", "A"]);
        failure_of_usage(&service, &["subscription", "create", "a", "--partitions", "4"]);
        failure_of_usage(&service, &["subscription", "seek", "a", "--after", "tomorrow"]);
        failure_of_usage(&service, &["work", "--subscription", "a"]);
    });
}

fn failure_of_usage(service: &RunningService, arguments: &[&str]) {
    let output = finished(&mut asking(service, arguments));
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
}

/// A worker whose command is a line of shell.
fn worker(service: &RunningService, folder: &Path, options: &[&str], script: &str) -> Command {
    let arguments = [&["work", "--subscription", "s"], options, &["--", "sh", "-c", script]].concat();
    let mut command = asking(service, &arguments);
    command.current_dir(folder);
    command
}

fn lines(folder: &Path, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_command_gets_the_events_as_lines_and_they_are_acked_when_it_succeeds() {
    on_both_stores(async |service| {
        let client = &service.client;
        let folder = TempDir::new().unwrap();
        publish(client, "t", 0..24).await;
        // Line breaks of a payload make no more lines.
        let body = event("t", "t 24").to_string().replace("\"payload\":{", "\"payload\":{\r\n");
        let request = client.request("POST", "/publish").header("content-type", "application/json");
        assert_eq!(client.send(request.body(body)).await.unwrap().status, 200);
        subscribe(client, "s", json!({"after": "earliest"})).await;
        let options = ["--until-caught-up", "--limit", "10"];
        printed(&mut worker(&service, folder.path(), &options, "cat >> got; echo run >> runs"));
        let got: Vec<Value> =
            lines(folder.path(), "got").iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(got, client.all_events().await);
        assert_eq!(lines(folder.path(), "runs").len(), 3);
        assert_eq!(show(client, "s").await["lag"], 0);
        // One that does not read its input succeeds as well.
        publish(client, "t", 25..30).await;
        printed(&mut worker(&service, folder.path(), &["--until-caught-up"], "exit 0"));
        assert_eq!(show(client, "s").await["acked"], 30);
    });
}

#[test]
fn what_a_command_fails_on_is_released_and_parked_in_the_end() {
    on_both_stores(async |service| {
        let client = &service.client;
        let folder = TempDir::new().unwrap();
        publish(client, "t", 0..3).await;
        subscribe(client, "s", json!({"after": "earliest", "max_deliveries": 1})).await;
        let script = "cat > now; grep -q '\"t 1\"' now && exit 3; cat now >> got";
        let output = finished(&mut worker(&service, folder.path(), &["--until-caught-up"], script));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(said.contains("exit status: 3 on events 1 to 3 (delivery 1)"), "{said}");
        assert_eq!(lines(folder.path(), "got").len(), 2);
        let shown = show(client, "s").await;
        assert_eq!((&shown["lag"], &shown["parked"]), (&json!(0), &json!(1)));
        let parked = printed(&mut asking(&service, &["subscription", "parked", "s"]));
        let parked: Value = serde_json::from_str(parked.trim_end()).unwrap();
        assert_eq!(parked["event_id"], "t 1");
    });
}

fn background(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_worker_renews_its_lease_while_the_command_runs_and_releases_it_at_a_signal() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish(client, "t", 0..2).await;
        subscribe(client, "s", json!({"after": "earliest", "lease_seconds": 1})).await;
        for signal in ["TERM", "INT"] {
            let folder = TempDir::new().unwrap();
            let script = "cat > /dev/null; echo begun > begun; exec sleep 600";
            let options = ["--worker", "alice"];
            let working = background(&mut worker(&service, folder.path(), &options, script));
            eventually("the command runs", async || !lines(folder.path(), "begun").is_empty()).await;
            let first = show(client, "s").await["leases"][0].clone();
            assert_eq!(first["worker"], "alice");
            eventually("the lease is renewed, again and again", async || {
                let expires_at = show(client, "s").await["leases"][0]["expires_at"].clone();
                // Three times a lease's length later it would have expired.
                expires_at.as_str().map(seconds) > first["expires_at"].as_str().map(|at| seconds(at) + 2.0)
            })
            .await;
            crate::harness::process::send_signal(signal, working.id());
            let output = working.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
            let shown = show(client, "s").await;
            assert_eq!((&shown["leases"], &shown["status"]), (&json!([]), &json!("waiting")));
        }
        assert_eq!(super::range(&lease(client, "s", "").await), (1, 2, 3));
    });
}

/// The seconds of a day that a timestamp names.
fn seconds(timestamp: &str) -> f64 {
    let time = &timestamp[11..timestamp.len() - 1];
    time.split(':').map(|part| part.parse::<f64>().unwrap()).fold(0.0, |sum, part| sum * 60.0 + part)
}

#[test]
fn a_worker_that_waits_ends_at_a_signal_and_one_without_a_command_says_why() {
    on_both_stores(async |service| {
        let client = &service.client;
        let folder = TempDir::new().unwrap();
        subscribe(client, "s", json!({})).await;
        let working = background(&mut worker(&service, folder.path(), &[], "cat >> got"));
        publish(client, "t", 0..2).await;
        eventually("it has worked", async || show(client, "s").await["lag"] == 0).await;
        assert_eq!(lines(folder.path(), "got").len(), 2);
        crate::harness::process::send_signal("TERM", working.id());
        assert_eq!(working.wait_with_output().unwrap().status.code(), Some(0));

        publish(client, "t", 2..3).await;
        let arguments = ["work", "--subscription", "s", "--", "/no/such/command"];
        let sentence = failure(&mut asking(&service, &arguments), 1);
        assert!(sentence.starts_with("cannot run /no/such/command"), "{sentence}");
        assert_eq!(show(client, "s").await["status"], "waiting", "its lease is released");
        let mut unknown = asking(&service, &["work", "--subscription", "none", "--", "true"]);
        assert!(failure(&mut unknown, 1).contains("PUT /subscriptions/none"));
    });
}

//! Many workers that wait at one subscription, and one that is frozen for longer than its lease.

use std::{
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tempfile::TempDir;

use super::{ask_ack, ask_lease, lease, ok, publish, range, say, seqs, show, subscribe};
use crate::harness::{
    Client, eventually, on_both_stores,
    process::{sekali, send_signal},
};

const WORKERS: usize = 100;
const PUBLISHES: usize = 40;
const EVENTS_A_PUBLISH: usize = 10;
/// Half of what a publish may take.
const PUBLISH_TIME_MAX: Duration = Duration::from_secs(5);

/// Leases and acks until it is told to end; notes each event that it is handed.
async fn work(client: Client, handed: Arc<Mutex<Vec<u64>>>, is_over: Arc<AtomicBool>) {
    while !is_over.load(SeqCst) {
        let answer = ask_lease(&client, "s", "?limit=5&wait=1").await;
        if answer.status == 200 {
            let lease = ok(&answer);
            assert_eq!(range(&lease).2, 1, "it is handed out for the first time");
            handed.lock().unwrap().extend(seqs(&lease));
            let acked = ask_ack(&client, "s", json!({"lease": lease["lease"], "result": "accept"})).await;
            assert_eq!(acked.status, 200, "{}", acked.text);
        } else {
            assert!([204, 409].contains(&answer.status), "{}", answer.text);
        }
    }
}

#[test]
fn each_event_is_handed_to_one_of_many_workers_that_wait_and_publishes_go_on() {
    on_both_stores(async |service| {
        let client = &service.client;
        subscribe(client, "s", json!({"max_leases": 50, "lease_seconds": 60})).await;
        let (handed, is_over) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let worker = |_| tokio::spawn(work(client.clone(), Arc::clone(&handed), Arc::clone(&is_over)));
        let workers: Vec<_> = (0..WORKERS).map(worker).collect();
        for number in 0..PUBLISHES {
            let begun = Instant::now();
            publish(client, "t", number * EVENTS_A_PUBLISH..(number + 1) * EVENTS_A_PUBLISH).await;
            assert!(begun.elapsed() < PUBLISH_TIME_MAX, "a publish took {:?}", begun.elapsed());
        }
        eventually("everything is acked", async || show(client, "s").await["lag"] == 0).await;
        is_over.store(true, SeqCst);
        for worker in workers {
            worker.await.unwrap();
        }
        let mut handed = std::mem::take(&mut *handed.lock().unwrap());
        handed.sort_unstable();
        let all: Vec<u64> = (1..=(PUBLISHES * EVENTS_A_PUBLISH) as u64).collect();
        assert_eq!(handed, all, "each event is handed out once");
    });
}

#[test]
fn a_worker_that_was_frozen_past_its_lease_is_fenced_and_the_next_one_is_not() {
    on_both_stores(async |service| {
        let client = &service.client;
        let folder = TempDir::new().unwrap();
        publish(client, "t", 0..2).await;
        subscribe(client, "s", json!({"after": "earliest", "lease_seconds": 1})).await;
        let script = "cat > /dev/null; echo begun > begun; while [ ! -e go ]; do sleep 0.05; done";
        let url = service.url();
        let mut command = sekali(&["work", "--subscription", "s", "--url", &url, "--", "sh", "-c", script]);
        command.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::piped());
        let frozen = command.spawn().unwrap();
        eventually("the command runs", async || folder.path().join("begun").exists()).await;
        send_signal("STOP", frozen.id());
        // Its lease expires, and another worker gets the same events, for longer.
        eventually("the lease has expired", async || show(client, "s").await["leases"] == json!([])).await;
        let changed = client.request("PATCH", "/subscriptions/s").header("content-type", "application/json");
        let changed = client.send(changed.body(r#"{"lease_seconds":60}"#)).await.unwrap();
        assert_eq!(changed.status, 200, "{}", changed.text);
        let next = lease(client, "s", "?worker=next").await;
        assert_eq!(range(&next), (1, 2, 2));

        // The command succeeds while its worker is frozen, so that it acks as soon as it goes on.
        std::fs::write(folder.path().join("go"), "").unwrap();
        send_signal("CONT", frozen.id());
        eventually("the late worker asks for more", async || {
            let answer = ask_lease(client, "s", "").await;
            assert_eq!(answer.status, 409, "{}", answer.text);
            let metrics = client.get("/metrics").await.text;
            // It waits for its next lease only when its ack was answered.
            metrics.lines().any(|line| line == "sekali_in_flight{what=\"waiting_readers\"} 1")
        })
        .await;
        let shown = show(client, "s").await;
        assert_eq!((&shown["acked"], &shown["leases"][0]["worker"]), (&json!(0), &json!("next")));
        assert_eq!(say(client, "s", &next, "accept").await, (2, 0));
        send_signal("TERM", frozen.id());
        let output = frozen.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(said.contains("was lost before it was acked"), "{said}");
    });
}

//! A database whose clock was wrong once: what was stamped then must not stop anything later.

use serde_json::Value;

use crate::harness::{Database, Engine, RunningService, Settings, block_on, event};

/// Many topics: their counts are folded into the table of topics at once.
fn wide(batch: u32) -> Value {
    (0..5_000).map(|number| event(&format!("topic {number}"), &format!("{batch} {number}"))).collect()
}

#[test]
fn old_commits_are_pruned_although_a_clock_was_ahead_once() {
    block_on(async {
        let service = RunningService::start(Settings::new(Database::create(Engine::Postgres).await)).await;
        for id in ["a", "b", "c"] {
            service.client.publish_ok(event("t", id)).await;
        }
        let (ended, database) = service.stop().await;
        ended.unwrap();
        let ahead = "UPDATE sekali.events SET received_at = now() + interval '1 year';
             UPDATE sekali.commits SET received_at = now() + interval '1 year';
             UPDATE sekali.commits SET received = received - 40000000 WHERE group_no < 3";
        database.execute(ahead).await;

        let service = RunningService::start(Settings::new(database)).await;
        service.client.publish_ok(event("t", "d")).await;
        let old = "SELECT count(*) FROM sekali.commits WHERE received < 0";
        assert_eq!(service.database().number(old).await, 2, "they are as many events away");
        for batch in 0..2 {
            service.client.publish_ok(wide(batch)).await;
        }
        assert_eq!(service.database().number(old).await, 0);
        service.database().assert_sound().await;
    });
}

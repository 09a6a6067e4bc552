//! A database whose clock was wrong once: what was stamped then must not stop anything later.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{
    Answer, Client, Database, Engine, RunningService, Settings, block_on, event, eventually, on_both_stores,
    process::Process,
};

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
        let ahead = "UPDATE sekali.stored_events SET received_at = now() + interval '1 year';
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

#[test]
fn a_ledger_that_is_ahead_of_the_clock_is_said_once() {
    block_on(async {
        let database = Database::create(Engine::Postgres).await;
        let arguments = ["--database-url", &database.url];
        let process = Process::start(Path::new("/"), &arguments).ready().await;
        process.client.publish_ok(event("t", "a")).await;
        assert!(!process.log().contains("ahead of"), "{}", process.log());
        database.execute("UPDATE sekali.commits SET received_at = now() + interval '1 hour'").await;
        let told = || process.log().matches("is ahead of the server's clock").count();
        eventually("it says so", async || {
            process.client.stats().await;
            told() == 1
        })
        .await;
        for id in ["b", "c"] {
            process.client.publish_ok(event("t", id)).await;
            assert_eq!(process.client.get("/readyz").await.status, 200);
        }
        assert_eq!(told(), 1, "{}", process.log());
    });
}

async fn send(client: &Client, method: &str, path: &str, body: Value) -> Answer {
    let request = client.request(method, path).header("content-type", "application/json");
    client.send(request.body(body.to_string())).await.unwrap()
}

#[test]
fn a_lease_of_a_clock_that_was_ahead_is_over_and_the_longest_lease_is_not() {
    const S: &str = "/subscriptions/s";
    on_both_stores(async |service| {
        let client = &service.client;
        client.publish_ok(event("t", "a")).await;
        let longest = json!({"after": "earliest", "lease_seconds": 43_200});
        assert_eq!(send(client, "PUT", S, longest).await.status, 201);
        let first = send(client, "POST", &format!("{S}/lease"), json!({})).await.json();
        let say = async |lease: &Value, result: &str| {
            send(client, "POST", &format!("{S}/ack"), json!({"lease": lease["lease"], "result": result}))
                .await
        };
        assert_eq!(say(&first, "renew").await.status, 200);
        assert_eq!(send(client, "POST", &format!("{S}/lease"), json!({})).await.status, 409);

        let database = service.database();
        let year = match database.engine {
            Engine::Sqlite => "31536000000000",
            Engine::Postgres => "interval '1 year'",
        };
        let table = database.table("leases");
        database.execute(&format!("UPDATE {table} SET expires_at = expires_at + {year}")).await;
        assert_eq!(client.get(S).await.json()["status"], "waiting");
        let second = send(client, "POST", &format!("{S}/lease"), json!({})).await;
        assert_eq!((second.status, &second.json()["deliveries"]), (200, &json!(2)), "{}", second.text);
        assert_eq!(say(&first, "accept").await.status, 409, "it was taken over");
        assert_eq!(say(&second.json(), "accept").await.json()["acked"], 1);
    });
}

//! Events that pass every check of the service and that the store refuses all the same.

use super::serve;
use crate::harness::{Database, Engine, event, events, eventually, on_both_databases, producers::Producers};

/// Makes the store object to ids that begin with `poison`.
async fn object_to_poison(database: &Database) {
    database
        .execute(match database.engine {
            Engine::Sqlite => {
                "CREATE TRIGGER no_poison BEFORE INSERT ON events WHEN NEW.event_id LIKE 'poison%'
                 BEGIN SELECT RAISE(ABORT, 'poison is not kept here'); END"
            }
            Engine::Postgres => {
                "ALTER TABLE sekali.events ADD CONSTRAINT no_poison CHECK (event_id NOT LIKE 'poison%')"
            }
        })
        .await;
}

#[test]
fn poison_is_refused_alone_and_the_rest_of_its_group_is_stored() {
    const REQUESTS: usize = 40;
    on_both_databases(async |database| {
        let process = serve(&database.url).await;
        let client = &process.client;
        object_to_poison(&database).await;
        let producers = Producers::start(&[client], 2);
        producers.progress(20).await;

        // While the ledger is held, requests gather for one group.
        let held = database.hold_ledger().await;
        let publishing: Vec<_> = (0..REQUESTS)
            .map(|request| {
                let client = client.clone();
                let ids = match request % 10 {
                    3 => [format!("good of {request}"), format!("poison {request}")],
                    _ => [format!("a {request}"), format!("b {request}")],
                };
                let body = events("t", ids.iter().map(String::as_str));
                tokio::spawn(async move { (ids, client.publish(body).await) })
            })
            .collect();
        eventually("all of them wait", async || {
            let in_flight = client.stats().await["node"]["in_flight"]["events"].as_u64().unwrap();
            in_flight >= 2 * REQUESTS as u64
        })
        .await;
        held.release().await;

        let mut refused = 0;
        for publish in publishing {
            let (ids, answer) = publish.await.unwrap();
            if ids[1].starts_with("poison") {
                let problem = answer.problem(422);
                let detail = problem["detail"].as_str().unwrap();
                assert!(detail.contains("poison"), "{problem}");
                refused += 1;
                let found = client.get(&format!("/events/{}", ids[0].replace(' ', "%20"))).await;
                assert_eq!(found.status, 404, "a request is stored whole or not at all");
                continue;
            }
            assert_eq!(answer.status, 200, "{}", answer.text);
            let results = answer.json()["results"].as_array().unwrap().clone();
            let mut record = producers.record();
            record.events_attempted += 2;
            record.acknowledge(&ids, &results, false);
        }
        assert_eq!(refused, REQUESTS / 10);
        assert_eq!(producers.record().retries, 0, "no producer was told to try again");

        // It stays refused, and is nobody's trouble: not even for readiness.
        client.publish(event("t", "poison 3")).await.problem(422);
        assert_eq!(client.get("/readyz").await.status, 200);
        producers.progress(20).await;
        producers.check(&[client], &database).await;
    });
}

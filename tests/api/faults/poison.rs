//! Events that pass every check of the service and that the store refuses all the same.

use std::time::{Duration, Instant};

use super::serve;
use crate::harness::{
    Answer, Client, Database, Engine, event, events, eventually, on_both_databases, producers::Producers,
};

/// Less than the time for which a request waits for a store that is away.
const STALL_MAX: Duration = Duration::from_secs(4);

/// Makes the store fail at ids that begin with `costly`, with an error that tells of the store and not of an event.
async fn fail_at_costly(database: &Database) {
    database
        .execute(match database.engine {
            // It is a value that SQLite cannot make.
            Engine::Sqlite => {
                "CREATE TRIGGER costly BEFORE INSERT ON stored_events WHEN NEW.event_id LIKE 'costly%'
                 BEGIN SELECT zeroblob(2000000000); END"
            }
            Engine::Postgres => {
                "CREATE FUNCTION sekali.costly() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN
                     IF NEW.event_id LIKE 'costly%' THEN
                         RAISE EXCEPTION 'temporary file size exceeds temp_file_limit' USING ERRCODE = '53400';
                     END IF;
                     RETURN NEW;
                 END $$;
                 CREATE TRIGGER costly BEFORE INSERT ON sekali.stored_events
                 FOR EACH ROW EXECUTE FUNCTION sekali.costly()"
            }
        })
        .await;
}

/// Makes the store fail at ids that begin with `broken`, as if an operator had to mend it.
async fn break_at_broken(database: &Database) {
    database
        .execute(match database.engine {
            Engine::Sqlite => {
                "CREATE TRIGGER broken BEFORE INSERT ON stored_events WHEN NEW.event_id LIKE 'broken%'
                 BEGIN SELECT json('{'); END"
            }
            Engine::Postgres => {
                "CREATE FUNCTION sekali.broken() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN
                     IF NEW.event_id LIKE 'broken%' THEN PERFORM * FROM missing; END IF;
                     RETURN NEW;
                 END $$;
                 CREATE TRIGGER broken BEFORE INSERT ON sekali.stored_events
                 FOR EACH ROW EXECUTE FUNCTION sekali.broken()"
            }
        })
        .await;
}

/// Makes the store object to ids that begin with `poison`.
async fn object_to_poison(database: &Database) {
    database
        .execute(match database.engine {
            Engine::Sqlite => {
                "CREATE TRIGGER no_poison BEFORE INSERT ON stored_events WHEN NEW.event_id LIKE 'poison%'
                 BEGIN SELECT RAISE(ABORT, 'poison is not kept here'); END"
            }
            Engine::Postgres => {
                "ALTER TABLE sekali.stored_events ADD CONSTRAINT no_poison CHECK (event_id NOT LIKE 'poison%')"
            }
        })
        .await;
}

/// Publishes requests with these ids side by side. While the ledger is held, they gather for one group.
async fn publish_together(client: &Client, database: &Database, requests: Vec<[String; 2]>) -> Vec<Answer> {
    let events_sent = 2 * requests.len() as u64;
    let held = database.hold_ledger().await;
    let publish = |ids: [String; 2]| {
        let (client, body) = (client.clone(), events("t", ids.iter().map(String::as_str)));
        tokio::spawn(async move { client.publish(body).await })
    };
    let publishing: Vec<_> = requests.into_iter().map(publish).collect();
    eventually("all of them wait", async || {
        let in_flight = client.stats().await["node"]["in_flight"]["events"].as_u64().unwrap();
        in_flight >= events_sent
    })
    .await;
    held.release().await;
    let mut answers = Vec::new();
    for answer in publishing {
        answers.push(answer.await.unwrap());
    }
    answers
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

        let requests: Vec<_> = (0..REQUESTS)
            .map(|request| match request % 10 {
                3 => [format!("good of {request}"), format!("poison {request}")],
                _ => [format!("a {request}"), format!("b {request}")],
            })
            .collect();
        let answers = publish_together(client, &database, requests.clone()).await;

        let mut refused = 0;
        for (ids, answer) in requests.iter().zip(answers) {
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
            record.acknowledge(ids, &results, false);
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

/// Publishes 20 requests together, one of them with an event of the id `culprit`. The others are stored, without
/// waiting as for a store that is away, and the service stays ready. Returns the answer to that one.
async fn only_one_fails(client: &Client, database: &Database, culprit: &str) -> Answer {
    let mut requests: Vec<_> = (0..20)
        .map(|other| [format!("{other} beside {culprit}"), format!("{other} too, beside {culprit}")])
        .collect();
    requests[7][1] = culprit.to_owned();
    let begun = Instant::now();
    let mut answers = publish_together(client, database, requests).await;
    assert!(begun.elapsed() < STALL_MAX, "{:?}", begun.elapsed());
    assert_eq!(client.get("/readyz").await.status, 200);
    let answer = answers.remove(7);
    for other in answers {
        assert_eq!(other.status, 200, "{}", other.text);
    }
    answer
}

#[test]
fn a_request_that_costs_the_store_too_much_is_told_so_and_the_rest_of_its_group_is_stored() {
    on_both_databases(async |database| {
        let process = serve(&database.url).await;
        fail_at_costly(&database).await;
        let answer = only_one_fails(&process.client, &database, "costly").await;
        match database.engine {
            // The value is too large at any time.
            Engine::Sqlite => answer.problem(422),
            Engine::Postgres => {
                let problem = answer.problem(413);
                let detail = problem["detail"].as_str().unwrap().to_owned();
                assert!(
                    detail.contains("temp_file_limit") && detail.contains("fewer or smaller events"),
                    "{detail}"
                );
                problem
            }
        };
        database.assert_sound().await;
    });
}

#[test]
fn a_request_that_breaks_the_store_by_itself_is_answered_alone_and_the_store_stays_in_use() {
    on_both_databases(async |database| {
        let process = serve(&database.url).await;
        break_at_broken(&database).await;
        // An operator may mend it, so it may be sent again.
        only_one_fails(&process.client, &database, "broken").await.problem(503);
        assert_eq!(process.client.stats().await["node"]["store"]["losses"], 0);
        database.assert_sound().await;
    });
}

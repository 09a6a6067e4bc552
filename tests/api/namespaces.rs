//! Namespaces through the front door: created, shown, listed and deleted, and what is refused.

mod bad_input;
mod deletion;
mod isolation;
mod limits;
mod listing;

use serde_json::{Value, json};

use crate::harness::{
    Answer, Client, RunningService, Settings, event, on_both_databases, on_both_stores, raw::Raw,
};

const NO_NAMESPACE: &str = "urn:sekali:problem:no-such-namespace";

async fn send(client: &Client, method: &str, path: &str) -> Answer {
    client.send(client.request(method, path)).await.unwrap()
}

async fn put(client: &Client, name: &str, settings: impl ToString) -> Answer {
    put_body(client, name, settings.to_string()).await
}

/// PUT /namespaces/{name} with this body as JSON.
async fn put_body(client: &Client, name: &str, body: impl Into<reqwest::Body>) -> Answer {
    let request = client.request("PUT", &format!("/namespaces/{name}"));
    client.send(request.header("content-type", "application/json").body(body)).await.unwrap()
}

/// Creates a namespace that is not there.
async fn create(client: &Client, name: &str, settings: Value) {
    let answer = put(client, name, settings).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
}

/// Deletes a namespace that is there.
async fn delete(client: &Client, name: &str) {
    let answer = send(client, "DELETE", &format!("/namespaces/{name}?confirm={name}")).await;
    assert_eq!((answer.status, answer.text.as_str()), (204, ""));
}

/// Publishes into a namespace.
async fn publish(client: &Client, name: &str, body: impl ToString) -> Answer {
    let request = client.request("POST", &format!("/namespaces/{name}/publish"));
    let request = request.header("content-type", "application/json").body(body.to_string());
    client.send(request).await.unwrap()
}

/// Publishes what must be accepted; answers the status and the `seq` of each event.
async fn publish_ok(client: &Client, name: &str, body: impl ToString) -> Vec<(String, u64)> {
    let answer = publish(client, name, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let result =
        |result: &Value| (result["status"].as_str().unwrap().to_owned(), result["seq"].as_u64().unwrap());
    answer.json()["results"].as_array().unwrap().iter().map(result).collect()
}

/// What GET below a namespace answers, with 200.
async fn get(client: &Client, name: &str, path: &str) -> Value {
    let answer = client.get(&format!("/namespaces/{name}{path}")).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.json()
}

/// `received`, `unique_processed` and `duplicate_dropped` of a namespace.
async fn counts(client: &Client, name: &str) -> (u64, u64, u64) {
    let stats = get(client, name, "/stats").await;
    let count = |name: &str| stats[name].as_u64().unwrap();
    (count("received"), count("unique_processed"), count("duplicate_dropped"))
}

/// The names of all namespaces, in the order of the list.
async fn names(client: &Client) -> Vec<String> {
    names_in(&client.get("/namespaces").await)
}

fn names_in(list: &Answer) -> Vec<String> {
    assert_eq!(list.status, 200, "{}", list.text);
    let name = |namespace: &Value| namespace["name"].as_str().unwrap().to_owned();
    list.json().as_array().unwrap().iter().map(name).collect()
}

fn detail(problem: &Value) -> &str {
    problem["detail"].as_str().unwrap()
}

#[test]
fn a_namespace_is_created_once_and_shown_with_its_counts() {
    on_both_stores(async |service| {
        let client = &service.client;
        // Nothing but the name is needed.
        let created = send(client, "PUT", "/namespaces/orders").await;
        assert_eq!(created.status, 201, "{}", created.text);
        let namespace = created.json();
        let at = namespace["created_at"].as_str().unwrap();
        assert!(at.starts_with("20") && at.contains('T') && at.ends_with('Z'), "{at}");
        assert_eq!(
            namespace,
            json!({
                "name": "orders", "dedup_scope": "event-id", "created_at": at,
                "received": 0, "unique": 0, "duplicates": 0, "last_seq": 0,
            })
        );
        for settings in ["", "{}", r#"{"dedup_scope":"event-id"}"#, r#" { "dedup_scope" : null } "#] {
            let again = put(client, "orders", settings).await;
            assert_eq!((again.status, again.json()), (200, namespace.clone()), "{settings}");
        }
        let conflict = put(client, "orders", json!({"dedup_scope": "topic"})).await.problem(409);
        assert!(detail(&conflict).contains("event-id"), "{conflict}");
        assert_eq!(conflict["type"], "urn:sekali:problem:other-settings");

        create(client, "by-topic", json!({"dedup_scope": "topic"})).await;
        let again = put(client, "by-topic", "").await;
        assert_eq!((again.status, &again.json()["dedup_scope"]), (200, &json!("topic")));
        put(client, "by-topic", json!({"dedup_scope": "event-id"})).await.problem(409);

        publish_ok(client, "orders", json!([event("t", "a"), event("t", "b"), event("u", "a")])).await;
        let shown = get(client, "orders", "").await;
        let expected = json!({
            "name": "orders", "dedup_scope": "event-id", "created_at": at,
            "received": 3, "unique": 2, "duplicates": 1, "last_seq": 2,
        });
        assert_eq!(shown, expected);
        let list = client.get("/namespaces").await.json();
        assert_eq!(list[2], expected, "{list}");
    });
}

#[test]
fn of_those_who_create_a_namespace_at_once_one_does() {
    on_both_stores(async |service| {
        let client = &service.client;
        let creating = (0..12).map(|_| put(client, "a", json!({"dedup_scope": "topic"})));
        let answers = futures::future::join_all(creating).await;
        let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        statuses.sort();
        assert_eq!(statuses, [[200; 11].as_slice(), &[201]].concat());
        assert!(answers.iter().all(|answer| answer.json() == answers[0].json()), "{answers:?}");
    });
}

#[test]
fn default_is_there_from_the_start_and_cannot_be_deleted() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.publish_ok(event("t", "a")).await;
        assert_eq!(publish_ok(client, "default", event("t", "a")).await, [("duplicate".to_owned(), 1)]);
        let default = get(client, "default", "").await;
        assert_eq!((&default["received"], &default["last_seq"]), (&json!(2), &json!(1)));
        assert_eq!(names(client).await, ["default"]);
        let there = put(client, "default", json!({"dedup_scope": "event-id"})).await;
        assert_eq!((there.status, there.json()), (200, default));
        put(client, "default", json!({"dedup_scope": "topic"})).await.problem(409);
        let refusal = send(client, "DELETE", "/namespaces/default?confirm=default").await.problem(422);
        assert!(detail(&refusal).contains("cannot be deleted"), "{refusal}");
        assert_eq!(client.counts().await, counts(client, "default").await);
        assert_eq!(client.events("").await, *get(client, "default", "/events").await.as_array().unwrap());
    });
}

#[test]
fn head_is_answered_like_get_and_other_methods_with_those_that_there_are() {
    on_both_stores(async |service| {
        let client = &service.client;
        create(client, "a", json!({})).await;
        publish_ok(client, "a", event("t", "x")).await;
        let mut raw = Raw::connect(service.address).await;
        for path in [
            "/namespaces",
            "/namespaces?limit=1",
            "/namespaces/a",
            "/namespaces/none",
            "/namespaces/A",
            "/namespaces/a/events",
            "/namespaces/a/events/x",
            "/namespaces/a/stats",
            "/namespaces/none/stats",
            "/namespaces/a/publish",
        ] {
            raw.send(format!("HEAD {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
            let head = raw.answer_to_head().await;
            // Had the answer a body, the next one on this connection would not be readable.
            raw.send(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
            let get = raw.answer().await;
            assert_eq!(head.status, get.status, "{path}");
            for name in ["content-type", "link", "allow"] {
                assert_eq!(head.header(name), get.header(name), "{path}");
            }
        }
        for (path, allowed) in [
            ("/namespaces", "GET, HEAD"),
            ("/namespaces/a", "GET, HEAD, PUT, DELETE"),
            ("/namespaces/a/publish", "POST"),
            ("/namespaces/a/events", "GET, HEAD"),
            ("/namespaces/a/events/x", "GET, HEAD"),
            ("/namespaces/a/stats", "GET, HEAD"),
        ] {
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"] {
                if allowed.contains(method) {
                    continue;
                }
                let answer = send(client, method, path).await;
                answer.problem(405);
                assert_eq!(answer.header("allow"), Some(allowed), "{method} {path}");
            }
        }
        for path in ["/namespaces/", "/namespaces//publish", "/namespaces/a/", "/namespaces/a/topic"] {
            send(client, "GET", path).await.problem(404);
        }
        assert_eq!(names(client).await, ["a", "default"]);
    });
}

#[test]
fn namespaces_survive_a_restart() {
    on_both_databases(async |database| {
        let settings = Settings::new(database);
        let service = RunningService::start(settings).await;
        create(&service.client, "kept", json!({"dedup_scope": "topic"})).await;
        publish_ok(&service.client, "kept", event("t", "a")).await;
        let before = get(&service.client, "kept", "").await;
        let (ended, database) = service.stop().await;
        ended.unwrap();
        let service = RunningService::start(Settings::new(database)).await;
        assert_eq!(get(&service.client, "kept", "").await, before);
        let results = publish_ok(&service.client, "kept", json!([event("t", "a"), event("u", "a")])).await;
        assert_eq!(results, [("duplicate".to_owned(), 1), ("stored".to_owned(), 2)]);
    });
}

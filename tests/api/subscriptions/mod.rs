//! Subscriptions: durable places in a ledger, for consumers that fail and come back.

mod bad_input;
mod commands;
mod competing;
mod failing;
mod hanging_up;
mod herd;
mod lag;
mod leasing;
mod parked;
mod partitions;
mod settings;

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Answer, Client, event, process::Process};

/// Sends a request with a body of JSON; without one where it is null.
async fn send(client: &Client, method: &str, path: &str, body: Value) -> Answer {
    let request = client.request(method, path);
    let request = match body {
        Value::Null => request,
        body => request.header("content-type", "application/json").body(body.to_string()),
    };
    client.send(request).await.unwrap()
}

/// The JSON of an answer that must be 200.
fn ok(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

/// Creates a subscription.
async fn subscribe(client: &Client, name: &str, settings: Value) {
    let answer = send(client, "PUT", &format!("/subscriptions/{name}"), settings).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
}

async fn show(client: &Client, name: &str) -> Value {
    ok(&client.get(&format!("/subscriptions/{name}")).await)
}

async fn ask_lease(client: &Client, name: &str, query: &str) -> Answer {
    send(client, "POST", &format!("/subscriptions/{name}/lease{query}"), Value::Null).await
}

/// A lease that must be there.
async fn lease(client: &Client, name: &str, query: &str) -> Value {
    ok(&ask_lease(client, name, query).await)
}

async fn ask_ack(client: &Client, name: &str, body: Value) -> Answer {
    send(client, "POST", &format!("/subscriptions/{name}/ack"), body).await
}

/// Does with a lease what is said, which must be taken; returns `acked` and `lag`.
async fn say(client: &Client, name: &str, lease: &Value, result: &str) -> (u64, u64) {
    let body = json!({"lease": lease["lease"], "result": result});
    let acked = ok(&ask_ack(client, name, body).await);
    (acked["acked"].as_u64().unwrap(), acked["lag"].as_u64().unwrap())
}

/// The range of a lease and how many times it was handed out.
fn range(lease: &Value) -> (u64, u64, u64) {
    let number = |name: &str| lease[name].as_u64().unwrap_or_else(|| panic!("{name}: {lease}"));
    (number("from"), number("through"), number("deliveries"))
}

fn seqs(lease: &Value) -> Vec<u64> {
    lease["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

/// Publishes so many events of a topic, with ids of their own.
async fn publish(client: &Client, topic: &str, ids: std::ops::Range<usize>) {
    let events: Vec<Value> = ids.map(|id| event(topic, &format!("{topic} {id}"))).collect();
    client.publish_ok(json!(events)).await;
}

/// A service of its own process, ready.
async fn serve(url: &str) -> Process {
    Process::start(Path::new("/"), &["--database-url", url]).ready().await
}

//! A Citus cluster below the service. Without one these tests say that they were left out, and pass.

mod distributing;
mod faults;
mod faults_under_load;
mod owners;
mod serving;
mod subscriptions;

use std::path::Path;

use serde_json::Value;

use crate::harness::{
    Answer, Client, block_on,
    citus::{Cluster, ClusterDatabase},
    event,
    process::Process,
    producers::Load,
};

/// Runs `test` with a cluster and a database on each of its nodes that knows nothing of the others yet.
fn on_a_cluster<F: Future<Output = ()>>(test: impl FnOnce(Cluster, ClusterDatabase) -> F) {
    block_on(async {
        if let Some(cluster) = Cluster::find().await {
            let database = cluster.database().await;
            test(cluster, database).await;
        }
    });
}

/// A service of its own process, ready.
async fn serve(url: &str) -> Process {
    Process::start(Path::new("/"), &["--database-url", url]).ready().await
}

async fn send(client: &Client, method: &str, path: &str) -> Answer {
    client.send(client.request(method, path)).await.unwrap()
}

async fn create(client: &Client, namespace: &str) {
    assert_eq!(send(client, "PUT", &format!("/namespaces/{namespace}")).await.status, 201);
}

async fn publish(client: &Client, namespace: &str, body: impl ToString) -> Answer {
    let request = client.request("POST", &format!("/namespaces/{namespace}/publish"));
    let request = request.header("content-type", "application/json").body(body.to_string());
    client.send(request).await.unwrap()
}

/// Publishes what must be accepted; answers the status and the `seq` of each event.
async fn publish_ok(client: &Client, namespace: &str, body: impl ToString) -> Vec<(String, u64)> {
    let answer = publish(client, namespace, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let result =
        |result: &Value| (result["status"].as_str().unwrap().to_owned(), result["seq"].as_u64().unwrap());
    answer.json()["results"].as_array().unwrap().iter().map(result).collect()
}

/// `received`, `unique_processed` and `duplicate_dropped` of a namespace.
async fn counts(client: &Client, namespace: &str) -> [u64; 3] {
    let stats = client.get(&format!("/namespaces/{namespace}/stats")).await.json();
    ["received", "unique_processed", "duplicate_dropped"].map(|name| stats[name].as_u64().unwrap())
}

/// What producers send to a namespace, without a pause.
fn load(namespace: &str, tasks: usize) -> Load {
    let (namespace, topics) = (namespace.to_owned(), String::new());
    Load { namespace, is_by_topic: false, topics, tasks, pause_between: std::time::Duration::ZERO }
}

/// Namespaces whose ledgers are on the workers, one each.
async fn empty_namespace_of_each(database: &ClusterDatabase, service: &Process) -> [String; 2] {
    let mut found = [String::new(), String::new()];
    for number in 0.. {
        let name = format!("n{number}");
        create(&service.client, &name).await;
        let owner = database.owner(&name).await;
        found[owner - 1] = name;
        if found.iter().all(|name| !name.is_empty()) {
            break;
        }
    }
    found
}

/// The same, each with one event.
async fn namespace_of_each(database: &ClusterDatabase, service: &Process) -> [String; 2] {
    let found = empty_namespace_of_each(database, service).await;
    for name in &found {
        publish_ok(&service.client, name, event("t", "first")).await;
    }
    found
}

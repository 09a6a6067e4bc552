//! Subscriptions and streams of ledgers on a cluster, through services at different nodes.

use std::time::Duration;

use serde_json::{Value, json};

use super::{namespace_of_each, on_a_cluster, publish_ok, serve};
use crate::harness::{Answer, Client, events, stream::Stream};

async fn send(client: &Client, method: &str, path: &str, body: &Value) -> Answer {
    let request = client.request(method, path).header("content-type", "application/json");
    client.send(request.body(body.to_string())).await.unwrap()
}

#[test]
fn a_subscription_is_worked_off_through_several_nodes() {
    on_a_cluster(async |_cluster, database| {
        database.join().await;
        let services = [serve(&database.urls[0]).await, serve(&database.urls[2]).await];
        let names = namespace_of_each(&database, &services[0]).await;
        for name in &names {
            work_off([&services[0].client, &services[1].client], name).await;
        }
    });
}

#[test]
fn a_subscription_is_worked_off_where_no_node_is_reached_directly() {
    on_a_cluster(async |_cluster, database| {
        database.join().await;
        database.register_elsewhere().await;
        let service = serve(&database.urls[0]).await;
        for name in &namespace_of_each(&database, &service).await {
            work_off([&service.client, &service.client], name).await;
        }
        assert_eq!(service.log().matches("cannot be reached directly").count(), 2);
    });
}

/// Publishes 40 events behind the first, and works off all with leases that are handed out by one and acked by the other.
async fn work_off(clients: [&Client; 2], name: &str) {
    let ids: Vec<String> = (0..40).map(|id| id.to_string()).collect();
    publish_ok(clients[0], name, events("t", ids.iter().map(String::as_str))).await;
    let path = format!("/namespaces/{name}/subscriptions/work");
    let created = send(clients[1], "PUT", &path, &json!({"after": "earliest"})).await;
    assert_eq!(created.status, 201, "{}", created.text);
    let mut seen = Vec::new();
    for turn in 0.. {
        let [leases, acks] = [clients[turn % 2], clients[(turn + 1) % 2]];
        let lease = send(leases, "POST", &format!("{path}/lease?limit=7"), &Value::Null).await;
        if lease.status == 204 {
            break;
        }
        let lease = lease.json();
        let of_lease = lease["events"].as_array().unwrap();
        seen.extend(of_lease.iter().map(|event| event["seq"].as_u64().unwrap()));
        let accept = json!({"lease": lease["lease"], "result": "accept"});
        let acked = send(acks, "POST", &format!("{path}/ack"), &accept).await;
        assert_eq!(acked.status, 200, "{}", acked.text);
    }
    assert_eq!(seen, (1..=41).collect::<Vec<u64>>());
    let shown = clients[0].get(&path).await.json();
    assert_eq!(shown["status"], "caught-up", "{shown}");
}

#[test]
fn a_stream_has_what_came_in_through_another_node_until_its_namespace_is_deleted() {
    on_a_cluster(async |_cluster, database| {
        database.join().await;
        let services = [serve(&database.urls[0]).await, serve(&database.urls[1]).await];
        let [first, second] = namespace_of_each(&database, &services[0]).await;
        let [writer, reader] = [&services[0].client, &services[1].client];
        for name in [&first, &second] {
            let path = format!("/namespaces/{name}/stream?after=0");
            let mut streams = [Stream::open(writer, &path).await, Stream::open(reader, &path).await];
            for seq in 2..12_u64 {
                publish_ok(writer, name, events("t", [format!("{seq}").as_str()])).await;
            }
            for stream in &mut streams {
                assert_eq!(stream.seqs(11).await, (1..12).collect::<Vec<u64>>());
            }
            let path = format!("/namespaces/{name}?confirm={name}");
            assert_eq!(send(writer, "DELETE", &path, &Value::Null).await.status, 204);
            for stream in &mut streams {
                let end = tokio::time::timeout(Duration::from_secs(30), async {
                    while stream.next().await.is_some() {}
                });
                end.await.expect("the stream ends");
            }
        }
    });
}

//! The service through any node: what it answers, and where the rows are.

use std::collections::HashSet;

use serde_json::json;

use super::{counts, create, on_a_cluster, publish, publish_ok, send, serve};
use crate::harness::{Client, Database, event, events, eventually, producers::Producers};

const NAMESPACES: usize = 12;

fn stored(seqs: impl IntoIterator<Item = u64>) -> Vec<(String, u64)> {
    seqs.into_iter().map(|seq| ("stored".to_owned(), seq)).collect()
}

#[test]
fn a_fresh_database_is_set_up_and_served_through_a_worker() {
    on_a_cluster(async |_cluster, database| {
        database.join().await;
        let service = serve(&database.urls[1]).await;
        let client = &service.client;
        assert_eq!(client.publish_ok(event("t", "a")).await[0]["seq"], 1);
        let results = client.publish_ok(events("t", ["a", "b", "b", "c"])).await;
        let statuses: Vec<_> = results.iter().map(|result| result["status"].as_str().unwrap()).collect();
        assert_eq!(statuses, ["duplicate", "stored", "duplicate", "stored"]);
        let read = client.events("?topic=t").await;
        assert_eq!(read.iter().map(|event| event["seq"].as_u64().unwrap()).collect::<Vec<_>>(), [3, 2, 1]);
        assert_eq!(client.get("/events/b").await.json()["seq"], 2);
        assert_eq!(client.counts().await, (5, 3, 2));
        assert_eq!(client.stats().await["by_topic"], json!({"t": {"unique": 3, "duplicates": 2}}));
        let found: i64 = database.value(2, "SELECT seq FROM sekali.find('default', 'b')").await;
        assert_eq!(found, 2);
        Database::at(&database.urls[2]).assert_sound().await;
    });
}

#[test]
fn namespaces_spread_over_the_nodes_and_each_node_serves_all_of_them() {
    on_a_cluster(async |_cluster, database| {
        database.join().await;
        let nodes = [serve(&database.urls[0]).await, serve(&database.urls[2]).await];
        let [first, second] = [&nodes[0].client, &nodes[1].client];
        let names: Vec<String> = (0..NAMESPACES).map(|number| format!("n{number}")).collect();
        let mut owners = HashSet::new();
        for (number, name) in names.iter().enumerate() {
            create(if number % 2 == 0 { first } else { second }, name).await;
            owners.insert(database.owner(name).await);
            assert_eq!(publish_ok(first, name, events("t", ["a", "b"])).await, stored([1, 2]));
            // The windows of this node know none of them: the tables do.
            let results = publish_ok(second, name, events("t", ["b", "c", "a", "d"])).await;
            let expected = [("duplicate", 2), ("stored", 3), ("duplicate", 1), ("stored", 4)];
            assert_eq!(results, expected.map(|(status, seq)| (status.to_owned(), seq)));
            for client in [first, second] {
                assert_eq!(counts(client, name).await, [6, 4, 2]);
                let read = client.get(&format!("/namespaces/{name}/events?after=0")).await.json();
                assert_eq!(read.as_array().unwrap().len(), 4);
            }
        }
        assert_eq!(owners, HashSet::from([1, 2]), "both workers have some");
        for client in [first, second] {
            let listed = client.get("/namespaces?prefix=n&limit=100").await.json();
            assert_eq!(listed.as_array().map(Vec::len), Some(NAMESPACES), "{listed}");
        }
        deletion(&database, first, second, &names[..4]).await;
        assert_eq!(publish_ok(second, &names[4], event("t", "e")).await, stored([5]));
    });
}

/// Namespaces are deleted through one node: they are gone on the other, and so are their rows.
async fn deletion(
    database: &crate::harness::citus::ClusterDatabase,
    first: &Client,
    second: &Client,
    names: &[String],
) {
    let numbers: String = database
        .value(
            0,
            &format!(
                "SELECT string_agg(namespace_no::text, ', ') FROM sekali.namespaces WHERE name IN ('{}')",
                names.join("', '")
            ),
        )
        .await;
    for name in names {
        let deleted = send(first, "DELETE", &format!("/namespaces/{name}?confirm={name}")).await;
        assert_eq!(deleted.status, 204, "{}", deleted.text);
        publish(second, name, event("t", "later")).await.problem(404);
    }
    let tables = ["namespaces", "ledgers", "stored_events", "identities", "topics", "commits"];
    let rows = tables
        .map(|table| format!("(SELECT count(*) FROM sekali.{table} WHERE namespace_no IN ({numbers}))"));
    let rows = format!("SELECT {}", rows.join(" + "));
    eventually("their rows are removed", async || database.value::<i64>(1, &rows).await == 0).await;
    // A name is free again, and the new namespace is another one.
    create(second, &names[0]).await;
    assert_eq!(publish_ok(first, &names[0], event("t", "a")).await, stored([1]));
}

#[test]
fn two_services_on_two_nodes_lose_nothing_and_store_nothing_twice() {
    on_a_cluster(async |_cluster, database| {
        database.join().await;
        let through_coordinator = serve(&database.urls[0]).await;
        let mut through_worker = serve(&database.urls[1]).await;
        let producers = Producers::start(&[&through_coordinator.client, &through_worker.client], 8);
        producers.progress(200).await;
        through_worker.kill();
        through_worker = serve(&database.urls[2]).await;
        producers.turn_to(1, &through_worker.client);
        producers.progress(200).await;
        let seen = Database::at(&database.urls[0]);
        producers.check(&[&through_coordinator.client, &through_worker.client], &seen).await;
    });
}

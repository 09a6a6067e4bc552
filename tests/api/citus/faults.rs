//! A node that is away, and a ledger that is locked on another node: they cost their own namespaces alone.

use super::{namespace_of_each, on_a_cluster, publish, publish_ok, serve};
use crate::harness::{event, eventually, process::Process};

#[test]
fn a_worker_that_is_down_costs_its_own_namespaces_and_they_recover() {
    on_a_cluster(async |mut cluster, database| {
        if cluster.servers.is_empty() {
            return eprintln!("left out: the nodes at TEST_CITUS_URL cannot be stopped");
        }
        database.join().await;
        let arguments = ["--database-url", &database.urls[0], "--publish-timeout", "4s"];
        let service = Process::start(std::path::Path::new("/"), &arguments).ready().await;
        let client = &service.client;
        let [stays, dies] = namespace_of_each(&database, &service).await;
        cluster.servers[2].kill();
        for number in 0..5 {
            let refused = publish(client, &dies, event("t", &number.to_string()));
            let taken = publish_ok(client, &stays, event("t", &number.to_string()));
            let ready = client.get("/readyz");
            let (refused, taken, ready) = tokio::join!(refused, taken, ready);
            assert!(refused.problem(503)["detail"].is_string());
            assert_eq!(taken, [("stored".to_owned(), number + 2)]);
            assert_eq!(ready.status, 200, "{}", ready.text);
        }
        client.get(&format!("/namespaces/{dies}/events")).await.problem(503);
        client.get(&format!("/namespaces/{stays}/events/first")).await.json();
        // A service that starts meanwhile serves what is there.
        let other = serve(&database.urls[1]).await;
        publish_ok(&other.client, &stays, event("t", "other")).await;

        cluster.servers[2].start();
        for client in [client, &other.client] {
            let again = async || publish(client, &dies, event("t", "0")).await.status == 200;
            eventually("its namespaces are back", again).await;
        }
        let results = publish_ok(client, &dies, event("t", "first")).await;
        assert_eq!(results, [("duplicate".to_owned(), 1)]);
        assert_eq!(publish_ok(client, &dies, event("t", "last")).await[0].0, "stored");
    });
}

#[test]
fn a_ledger_that_is_locked_on_another_node_holds_up_its_own_namespace() {
    on_a_cluster(async |_cluster, database| {
        database.join().await;
        let arguments = ["--database-url", &database.urls[1], "--publish-timeout", "3s"];
        let service = Process::start(std::path::Path::new("/"), &arguments).ready().await;
        let [free, locked] = namespace_of_each(&database, &service).await;
        let mut holder = <sqlx::PgConnection as sqlx::Connection>::connect(&database.urls[0]).await.unwrap();
        let number: i32 = database
            .value(0, &format!("SELECT namespace_no FROM sekali.namespaces WHERE name = '{locked}'"))
            .await;
        let hold = format!("BEGIN; SELECT FROM sekali.ledgers WHERE namespace_no = {number} FOR UPDATE");
        sqlx::raw_sql(sqlx::AssertSqlSafe(hold)).execute(&mut holder).await.unwrap();
        let client = &service.client;
        let refused = publish(client, &locked, event("t", "a"));
        let taken = publish_ok(client, &free, event("t", "a"));
        let (refused, taken) = tokio::join!(refused, taken);
        refused.problem(503);
        assert_eq!(taken, [("stored".to_owned(), 2)]);
        assert_eq!(client.get("/readyz").await.status, 200);
        let stats = client.get(&format!("/namespaces/{locked}/stats")).await.json();
        assert!(stats["node"]["namespace_trouble"].as_str().unwrap().contains("locked"), "{stats}");
        sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
        eventually("it goes on", async || publish(client, &locked, event("t", "a")).await.status == 200)
            .await;
        assert_eq!(publish_ok(client, &locked, event("t", "a")).await, [("duplicate".to_owned(), 2)]);
    });
}

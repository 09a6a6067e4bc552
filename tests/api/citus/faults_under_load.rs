//! Nodes that die, or come back with older data, while producers send: nothing is lost, and nothing is stored twice.

use super::{empty_namespace_of_each, load, on_a_cluster, publish_ok, serve};
use crate::harness::{
    Database, event, eventually,
    process::Process,
    producers::{Nodes, Producers},
};

/// Starts a service that gives requests up early, through a node.
async fn serve_impatiently(url: &str) -> Process {
    let arguments = ["--database-url", url, "--publish-timeout", "3s"];
    Process::start(std::path::Path::new("/"), &arguments).ready().await
}

#[test]
fn a_worker_is_killed_and_its_namespaces_recover_while_the_others_notice_nothing() {
    on_a_cluster(async |mut cluster, database| {
        if cluster.servers.is_empty() {
            return eprintln!("left out: the nodes at TEST_CITUS_URL cannot be stopped");
        }
        database.join().await;
        let services =
            [serve_impatiently(&database.urls[0]).await, serve_impatiently(&database.urls[1]).await];
        let clients = [&services[0].client, &services[1].client];
        let [stays, dies] = empty_namespace_of_each(&database, &services[0]).await;
        let nodes = Nodes::new(&clients);
        let undisturbed = Producers::start_load(&nodes, load(&stays, 2));
        let disturbed = Producers::start_load(&nodes, load(&dies, 4));
        disturbed.progress(100).await;
        cluster.servers[2].kill();
        let is_refused = async || disturbed.record().last_refusal.starts_with("503");
        eventually("its namespace is refused for a time", is_refused).await;
        undisturbed.progress(300).await;
        assert_eq!(clients[0].get("/readyz").await.status, 200);
        cluster.servers[2].start();
        disturbed.progress(200).await;
        assert_eq!(undisturbed.record().retries, 0, "{}", undisturbed.record().last_refusal);
        let seen = Database::at(&database.urls[0]);
        undisturbed.check(&clients, &seen).await;
        disturbed.check(&clients, &seen).await;
    });
}

#[test]
fn without_the_coordinator_what_is_open_goes_on() {
    on_a_cluster(async |mut cluster, database| {
        if cluster.servers.is_empty() {
            return eprintln!("left out: the nodes at TEST_CITUS_URL cannot be stopped");
        }
        database.join().await;
        let through_it = serve_impatiently(&database.urls[0]).await;
        let beside_it = serve_impatiently(&database.urls[1]).await;
        let clients = [&through_it.client, &beside_it.client];
        let names = empty_namespace_of_each(&database, &through_it).await;
        let nodes = Nodes::new(&clients);
        let producers: Vec<Producers> =
            names.iter().map(|name| Producers::start_load(&nodes, load(name, 2))).collect();
        for producers in &producers {
            producers.progress(50).await;
        }
        cluster.servers[0].kill();
        for producers in &producers {
            producers.progress(200).await;
        }
        // Names are looked up through the node that was given.
        assert_eq!(beside_it.client.get("/readyz").await.status, 200);
        beside_it.client.get(&format!("/namespaces/{}/events/0-0-0", names[1])).await.json();
        through_it.client.get("/namespaces/unknown/stats").await.problem(503);
        beside_it.client.get("/namespaces/unknown/stats").await.problem(404);
        // Each node has a copy of the names, and all copies change at once.
        let create = beside_it.client.request("PUT", "/namespaces/late");
        beside_it.client.send(create).await.unwrap().problem(503);

        cluster.servers[0].start();
        let is_ready = async || through_it.client.get("/readyz").await.status == 200;
        eventually("the service at the coordinator is ready again", is_ready).await;
        let is_created = async || {
            let create = beside_it.client.request("PUT", "/namespaces/late");
            beside_it.client.send(create).await.unwrap().status == 201
        };
        eventually("namespaces are created again", is_created).await;
        let seen = Database::at(&database.urls[0]);
        for producers in producers {
            assert_eq!(producers.record().retries, 0, "{}", producers.record().last_refusal);
            producers.check(&clients, &seen).await;
        }
    });
}

#[test]
fn a_worker_with_an_older_copy_of_its_data_costs_its_own_namespaces_what_came_since() {
    on_a_cluster(async |mut cluster, database| {
        if cluster.servers.is_empty() {
            return eprintln!("left out: the nodes at TEST_CITUS_URL cannot be stopped");
        }
        database.join().await;
        let services = [serve(&database.urls[0]).await, serve(&database.urls[1]).await];
        let clients = [&services[0].client, &services[1].client];
        let [stays, forgets] = empty_namespace_of_each(&database, &services[0]).await;
        let nodes = Nodes::new(&clients);
        let undisturbed = Producers::start_load(&nodes, load(&stays, 2));
        let disturbed = Producers::start_load(&nodes, load(&forgets, 4));
        disturbed.progress(100).await;
        let worker = &mut cluster.servers[2];
        worker.stop();
        worker.back_up();
        worker.start();
        disturbed.progress(200).await;

        // Producers stand still, so that it is known which ids are lost with the worker's data.
        let pause = disturbed.pause().await;
        worker.stop();
        worker.restore();
        worker.start();
        let seen = Database::at(&database.urls[0]);
        let (_, kept) = disturbed.totals(&seen).await;
        let lost = disturbed.forget_above(kept);
        assert!(lost.len() >= 100, "{}", lost.len());
        disturbed.publish(0, "again", &lost).await;
        let told_as_duplicates = lost.iter().filter(|id| disturbed.record().told[*id].stored == 0).count();
        assert_eq!(told_as_duplicates, 0);
        drop(pause);

        disturbed.progress(100).await;
        undisturbed.progress(100).await;
        assert_eq!(undisturbed.record().retries, 0, "{}", undisturbed.record().last_refusal);
        undisturbed.check(&clients, &seen).await;
        disturbed.check(&clients, &seen).await;
    });
}

#[test]
fn a_worker_that_hangs_holds_up_its_own_namespaces() {
    on_a_cluster(async |cluster, database| {
        if cluster.servers.is_empty() {
            return eprintln!("left out: the nodes at TEST_CITUS_URL cannot be frozen");
        }
        database.join().await;
        let service = serve_impatiently(&database.urls[0]).await;
        let client = &service.client;
        let [stays, hangs] = empty_namespace_of_each(&database, &service).await;
        let undisturbed = Producers::start_load(&Nodes::new(&[client]), load(&stays, 2));
        undisturbed.progress(20).await;
        cluster.servers[2].freeze();
        let refused = super::publish(client, &hangs, event("t", "hung")).await;
        refused.problem(503);
        undisturbed.progress(200).await;
        assert_eq!(client.get("/readyz").await.status, 200);
        cluster.servers[2].thaw();
        let is_back = async || super::publish(client, &hangs, event("t", "hung")).await.status == 200;
        eventually("its namespace is back", is_back).await;
        let seq = publish_ok(client, &hangs, event("t", "hung")).await;
        assert_eq!(seq, [("duplicate".to_owned(), 1)]);
        assert_eq!(undisturbed.record().retries, 0, "{}", undisturbed.record().last_refusal);
        let seen = Database::at(&database.urls[0]);
        undisturbed.check(&[client], &seen).await;
    });
}

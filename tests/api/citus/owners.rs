//! What is about one ledger goes to the node that has it, directly where that can be reached.

use super::{empty_namespace_of_each, load, namespace_of_each, on_a_cluster, publish_ok, serve};
use crate::harness::{
    Database,
    citus::ClusterDatabase,
    events, eventually,
    producers::{Nodes, Producers},
};

/// Connections of services whose last statement was about events or appended some; what a node sends on has another name.
const DIRECT: &str = "
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'sekali'
        AND (query LIKE '%sekali.append(%' OR query LIKE '%stored_events%')";

/// Connections of services that began to append within the last second.
const APPENDING: &str = "
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'sekali' AND query LIKE '%sekali.append(%'
        AND query_start > now() - interval '1 second'";

#[test]
fn each_ledger_is_asked_for_on_its_own_node() {
    on_a_cluster(async |_cluster, database| {
        database.join().await;
        let service = serve(&database.urls[0]).await;
        let client = &service.client;
        for name in &namespace_of_each(&database, &service).await {
            let client = client.in_namespace(name);
            assert_eq!(client.events("").await.len(), 1);
            assert_eq!(client.events("?topic=t").await.len(), 1);
        }
        let mut direct = Vec::new();
        for node in 0..3 {
            direct.push(database.value::<i64>(node, DIRECT).await);
        }
        assert!(direct[0] == 0 && direct[1] > 0 && direct[2] > 0, "{direct:?}");
        assert!(!service.log().contains("cannot be reached directly"), "{}", service.log());
    });
}

#[test]
fn a_ledger_is_moved_to_another_node_under_load() {
    on_a_cluster(async |_cluster, database| {
        database.join().await;
        let services = [serve(&database.urls[0]).await, serve(&database.urls[1]).await];
        let clients = [&services[0].client, &services[1].client];
        let [name, stays] = empty_namespace_of_each(&database, &services[0]).await;
        let nodes = Nodes::new(&clients);
        let moved = Producers::start_load(&nodes, load(&name, 4));
        let others = Producers::start_load(&nodes, load(&stays, 2));
        moved.progress(200).await;
        // Nothing else under load is on the first worker.
        for [from, to] in [[1, 2], [2, 1]] {
            move_ledger(&database, &name, from, to).await;
            assert_eq!(database.owner(&name).await, to);
            others.progress(50).await;
            moved.progress(200).await;
            let is_new_known = async || (database.value::<i64>(1, APPENDING).await > 0) == (to == 1);
            eventually("the services learn where it is", is_new_known).await;
        }
        assert_eq!(others.record().retries, 0, "{}", others.record().last_refusal);
        let seen = Database::at(&database.urls[0]);
        moved.check(&clients, &seen).await;
        others.check(&clients, &seen).await;
    });
}

async fn move_ledger(database: &ClusterDatabase, namespace: &str, from: usize, to: usize) {
    let shard = format!(
        "get_shard_id_for_distribution_column('sekali.ledgers',
             (SELECT namespace_no FROM sekali.namespaces WHERE name = '{namespace}'))"
    );
    let node = |node: usize| {
        let url: sqlx::postgres::PgConnectOptions = database.urls[node].parse().unwrap();
        format!("'{}', {}", url.get_host(), url.get_port())
    };
    let moving =
        format!("SELECT citus_move_shard_placement({shard}, {}, {}, 'force_logical')", node(from), node(to));
    database.execute(0, &moving).await;
}

#[test]
fn nodes_that_cannot_be_reached_directly_are_served_through_the_one_given() {
    on_a_cluster(async |_cluster, database| {
        database.join().await;
        database.register_elsewhere().await;
        let service = serve(&database.urls[0]).await;
        for name in &namespace_of_each(&database, &service).await {
            let repeated = publish_ok(&service.client, name, events("t", ["first", "new"])).await;
            assert_eq!(repeated, [("duplicate".to_owned(), 1), ("stored".to_owned(), 2)]);
            assert_eq!(service.client.in_namespace(name).events("").await.len(), 2);
        }
        let log = service.log();
        assert_eq!(log.matches("cannot be reached directly").count(), 2, "{log}");
        assert_eq!(log.matches("another server is at that address").count(), 1, "{log}");
        let through_given: i64 = database.value(0, DIRECT).await;
        assert!(through_given > 0);
        Database::at(&database.urls[0]).assert_sound().await;
    });
}

/// What docs/scale.md advises.
#[test]
fn a_namespace_gets_a_shard_of_its_own_and_the_shards_become_more() {
    on_a_cluster(async |_cluster, database| {
        database.join().await;
        let service = serve(&database.urls[0]).await;
        let names = namespace_of_each(&database, &service).await;
        let number = format!("(SELECT namespace_no FROM sekali.namespaces WHERE name = '{}')", names[0]);
        let isolate = format!(
            "SELECT isolate_tenant_to_new_shard('sekali.ledgers', {number}, 'CASCADE', shard_transfer_mode => 'block_writes')"
        );
        database.execute(0, &isolate).await;
        database.execute(0, "SELECT citus_create_restore_point('a place')").await;
        for name in &names {
            let results = publish_ok(&service.client, name, events("t", ["first", "isolated"])).await;
            assert_eq!(results, [("duplicate".to_owned(), 1), ("stored".to_owned(), 2)]);
        }

        // While no service runs.
        drop(service);
        let more = "SELECT alter_distributed_table('sekali.ledgers', shard_count => 64, cascade_to_colocated => true)";
        database.execute(0, more).await;
        let service = serve(&database.urls[1]).await;
        for name in &names {
            let results = publish_ok(&service.client, name, events("t", ["isolated", "spread"])).await;
            assert_eq!(results, [("duplicate".to_owned(), 2), ("stored".to_owned(), 3)]);
        }
        Database::at(&database.urls[1]).assert_sound().await;
    });
}

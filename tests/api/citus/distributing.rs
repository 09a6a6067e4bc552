//! The step that distributes the tables: on tables that hold events, twice at once, and what it refuses.

use std::path::Path;

use super::{counts, create, on_a_cluster, publish_ok, serve};
use crate::harness::{
    Database, event, events, eventually,
    process::{Process, all_of, failure, run, sekali},
};

const DISTRIBUTED: &str = "SELECT count(*) FROM pg_dist_partition WHERE logicalrelid::text LIKE 'sekali.%'";

#[test]
fn tables_that_hold_events_are_moved_while_a_service_goes_on() {
    on_a_cluster(async |_cluster, database| {
        let old = serve(&database.urls[0]).await;
        for name in ["a", "b", "c", "d"] {
            create(&old.client, name).await;
            let ids: Vec<String> = (0..500).map(|id| format!("{name} {id}")).collect();
            publish_ok(&old.client, name, events("t", ids.iter().map(String::as_str))).await;
        }
        database.join().await;
        // Here the extension alone changes nothing.
        assert_eq!(publish_ok(&old.client, "a", event("t", "between")).await[0].1, 501);

        let new = serve(&database.urls[2]).await;
        let log = new.log();
        for line in
            ["moving rows to their nodes", "table=\"stored_events\" rows=2001", "the tables are distributed"]
        {
            assert!(log.contains(line), "{line}: {log}");
        }
        assert_eq!(database.value::<i64>(1, DISTRIBUTED).await, 11);
        for client in [&old.client, &new.client] {
            for name in ["a", "b", "c", "d"] {
                let repeated = publish_ok(client, name, event("t", &format!("{name} 7"))).await;
                assert_eq!(repeated, [("duplicate".to_owned(), 8)]);
            }
        }
        assert_eq!(publish_ok(&old.client, "a", event("t", "old")).await[0].1, 502);
        assert_eq!(publish_ok(&new.client, "a", event("t", "new")).await[0].1, 503);
        assert_eq!(counts(&new.client, "a").await, [505, 503, 2]);
        let left: i64 = database.value(0, "SELECT pg_relation_size('sekali.stored_events')").await;
        assert_eq!(left, 0, "no copy is left on the coordinator");
        assert_eq!(Database::at(&database.urls[0]).number("SELECT count(*) FROM sekali.events").await, 2_003);
    });
}

#[test]
fn services_that_start_at_once_distribute_once_and_migrating_again_changes_nothing() {
    on_a_cluster(async |_cluster, database| {
        database.join().await;
        let start = |node: usize| Process::start(Path::new("/"), &["--database-url", &database.urls[node]]);
        let services = [start(0), start(1), start(2), start(1)];
        let mut distributed = 0;
        for (number, service) in services.into_iter().enumerate() {
            let service = service.ready().await;
            assert_eq!(
                service.client.publish_ok(event("t", &number.to_string())).await[0]["seq"],
                number + 1
            );
            distributed += service.log().matches("the tables are distributed").count();
        }
        assert_eq!(distributed, 1);
        for url in &database.urls {
            let said = all_of(&run(&["migrate", "--database-url", url]));
            assert!(said.contains("is up to date") && !said.contains("distribut"), "{said}");
        }
        assert_eq!(database.value::<i64>(2, DISTRIBUTED).await, 11);
    });
}

#[test]
fn tables_distributed_in_another_way_are_refused_with_what_to_do() {
    on_a_cluster(async |_cluster, database| {
        database.create_extension().await;
        assert!(run(&["migrate", "--database-url", &database.urls[0]]).status.success());
        assert_eq!(database.value::<i64>(0, DISTRIBUTED).await, 0, "a node by itself distributes nothing");
        database.add_nodes().await;
        for by_hand in [
            "SELECT create_reference_table('sekali.topics')",
            "SELECT create_distributed_table('sekali.ledgers', 'namespace_no', colocate_with => 'none');
             SELECT create_distributed_table('sekali.topics', 'namespace_no', colocate_with => 'none')",
        ] {
            database.execute(0, by_hand).await;
            // A worker that does not have the schema yet sends it to the coordinator.
            for url in &database.urls {
                let sentence = failure(&mut sekali(&["migrate", "--database-url", url]), 1);
                assert!(
                    sentence.contains("run SELECT undistribute_table('sekali.topics') on the coordinator"),
                    "{sentence}"
                );
            }
            database.execute(0, "SELECT undistribute_table('sekali.topics')").await;
        }
        assert!(run(&["migrate", "--database-url", &database.urls[1]]).status.success());
        assert_eq!(database.value::<i64>(1, DISTRIBUTED).await, 11);
    });
}

#[test]
fn a_node_that_is_away_when_the_tables_must_be_distributed_is_named_and_waited_for() {
    on_a_cluster(async |mut cluster, database| {
        if cluster.servers.is_empty() {
            return eprintln!("left out: the nodes at TEST_CITUS_URL cannot be stopped");
        }
        database.join().await;
        cluster.servers[2].stop();
        let away = format!("127.0.0.1:{}", cluster.servers[2].port);
        let output = run(&["migrate", "--database-url", &database.urls[0]]);
        assert_eq!(output.status.code(), Some(1));
        let said = all_of(&output);
        assert!(said.contains(&format!("do not answer: {away}; start them")), "{said}");
        let service = Process::start(Path::new("/"), &["--database-url", &database.urls[1]]);
        eventually("it waits", async || service.log().contains("waiting for the database")).await;
        cluster.servers[2].start();
        let service = service.ready().await;
        service.client.publish_ok(event("t", "a")).await;

        // Once they are distributed, a node may be away at a start, and the coordinator, too.
        drop(service);
        cluster.servers[0].stop();
        let service = serve(&database.urls[1]).await;
        assert_eq!(service.client.get("/readyz").await.status, 200);
    });
}

#[test]
fn a_node_with_settings_that_can_lose_events_is_refused() {
    on_a_cluster(async |_cluster, database| {
        database.join().await;
        let of_database = "SET citus.enable_ddl_propagation = off;
            DO $$ BEGIN
                EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database());
            END $$";
        database.execute(2, of_database).await;
        let serving = ["serve", "--listen", "127.0.0.1:0", "--database-url", &database.urls[0]];
        let output = run(&serving);
        assert_eq!(output.status.code(), Some(1));
        let said = all_of(&output);
        assert!(said.contains("of the Citus cluster runs with synchronous_commit = off"), "{said}");
    });
}

//! Creating, showing, changing, listing and deleting.

use serde_json::{Value, json};

use super::{ask_lease, lease, ok, publish, range, send, seqs, serve, show, subscribe};
use crate::harness::{eventually, on_both_databases, on_both_stores};

#[test]
fn a_subscription_is_created_once_and_shown_as_it_is() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish(client, "orders", 0..5).await;
        let settings = json!({"topics": ["orders", "shop-*"], "lease_seconds": 60, "max_leases": 2});
        subscribe(client, "billing", settings.clone()).await;
        let again = ok(&send(client, "PUT", "/subscriptions/billing", settings).await);
        assert_eq!(again, show(client, "billing").await);
        assert_eq!(again["name"], "billing");
        assert_eq!(again["topics"], json!(["orders", "shop-*"]));
        assert_eq!(
            (&again["after"], &again["lease_seconds"], &again["max_leases"], &again["max_deliveries"]),
            (&json!("now"), &json!(60), &json!(2), &json!(10))
        );
        assert_eq!(
            (&again["acked"], &again["head"], &again["lag"], &again["parked"], &again["status"]),
            (&json!(5), &json!(5), &json!(0), &json!(0), &json!("caught-up"))
        );
        assert_eq!(again["leases"], json!([]));
        assert!(again["created_at"].as_str().unwrap().ends_with('Z'));

        for other in [
            json!({}),
            json!({"topics": ["orders"], "lease_seconds": 60, "max_leases": 2}),
            json!({"topics": ["orders", "shop-*"], "lease_seconds": 60, "max_leases": 2, "after": "earliest"}),
        ] {
            let problem = send(client, "PUT", "/subscriptions/billing", other).await.problem(409);
            assert_eq!(problem["type"], "urn:sekali:problem:other-settings");
        }
    });
}

#[test]
fn a_subscription_begins_where_it_is_told_to() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish(client, "t", 0..3).await;
        for (name, after, first) in [
            ("all", json!("earliest"), Some(1)),
            ("rest", json!(2), Some(3)),
            ("new", json!("now"), None),
            ("far", json!(5), None),
        ] {
            subscribe(client, name, json!({"after": after})).await;
            let answer = ask_lease(client, name, "").await;
            match first {
                Some(first) => assert_eq!(range(&ok(&answer)).0, first, "{name}"),
                None => assert_eq!(answer.status, 204, "{name}: {}", answer.text),
            }
        }
        publish(client, "t", 3..6).await;
        assert_eq!(seqs(&lease(client, "new", "").await), [4, 5, 6]);
        assert_eq!(seqs(&lease(client, "far", "").await), [6], "what is behind the seq that was given");
    });
}

#[test]
fn settings_are_changed_and_what_is_leased_stays() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish(client, "a", 0..2).await;
        publish(client, "b", 0..2).await;
        subscribe(client, "s", json!({"topics": ["a"], "after": "earliest"})).await;
        let first = lease(client, "s", "?limit=1").await;
        ask_lease(client, "s", "").await.problem(409);
        let change = json!({"topics": ["b"], "max_leases": 2, "lease_seconds": 90, "max_deliveries": 3});
        let changed = ok(&send(client, "PATCH", "/subscriptions/s", change).await);
        assert_eq!((&changed["topics"], &changed["max_leases"]), (&json!(["b"]), &json!(2)));
        assert_eq!((&changed["lease_seconds"], &changed["max_deliveries"]), (&json!(90), &json!(3)));
        assert_eq!(changed["leases"].as_array().unwrap().len(), 1);
        assert_eq!(seqs(&lease(client, "s", "").await), [3, 4]);
        assert_eq!(super::say(client, "s", &first, "accept").await.0, 2);
        for (body, pointer) in [
            (json!({"after": 1}), "/after"),
            (json!({"partitions": 2}), "/partitions"),
            (json!({"partition_by": "source"}), "/partition_by"),
            (json!({"name": "t"}), "/name"),
        ] {
            let answer = send(client, "PATCH", "/subscriptions/s", body).await;
            answer.problem(422);
            assert_eq!(answer.faults(), [(0, pointer.to_owned())]);
        }
        send(client, "PATCH", "/subscriptions/none", json!({})).await.problem(404);
    });
}

#[test]
fn subscriptions_are_listed_by_name_page_by_page() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.create_namespace("shop").await;
        for name in ["b-2", "a", "b-1", "c"] {
            subscribe(client, name, json!({})).await;
        }
        send(client, "PUT", "/namespaces/shop/subscriptions/other", json!({})).await;
        let names = |answer: &Value| -> Vec<String> {
            let listed = answer.as_array().unwrap().iter();
            listed.map(|subscription| subscription["name"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names(&client.get("/subscriptions").await.json()), ["a", "b-1", "b-2", "c"]);
        assert_eq!(names(&client.get("/subscriptions?prefix=b-").await.json()), ["b-1", "b-2"]);
        let mut path = "/subscriptions?limit=3".to_owned();
        let mut pages = Vec::new();
        loop {
            let answer = client.get(&path).await;
            pages.push(names(&answer.json()));
            match answer.next_link() {
                Some(next) => path = next,
                None => break,
            }
        }
        assert_eq!(pages, [vec!["a", "b-1", "b-2"], vec!["c"]]);
        let of_shop = client.get("/namespaces/shop/subscriptions").await.json();
        assert_eq!(names(&of_shop), ["other"]);
        assert_eq!(of_shop[0], client.get("/namespaces/shop/subscriptions/other").await.json());
    });
}

#[test]
fn a_deleted_subscription_is_gone_and_one_of_its_name_begins_anew() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish(client, "t", 0..3).await;
        subscribe(client, "s", json!({"after": "earliest", "max_deliveries": 1})).await;
        let parked = lease(client, "s", "?limit=1").await;
        super::say(client, "s", &parked, "reject").await;
        let held = lease(client, "s", "").await;
        assert_eq!(send(client, "DELETE", "/subscriptions/s", Value::Null).await.status, 204);
        let problem = send(client, "DELETE", "/subscriptions/s", Value::Null).await.problem(404);
        assert_eq!(problem["type"], "urn:sekali:problem:no-such-subscription");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("PUT /subscriptions/s"), "{detail}");
        subscribe(client, "s", json!({"after": "earliest"})).await;
        let shown = show(client, "s").await;
        assert_eq!((&shown["parked"], &shown["leases"]), (&json!(0), &json!([])));
        let body = json!({"lease": held["lease"], "result": "accept"});
        super::ask_ack(client, "s", body).await.problem(409);
        assert_eq!(range(&lease(client, "s", "").await), (1, 3, 1));
    });
}

#[test]
fn subscriptions_go_with_their_namespace() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.create_namespace("shop").await;
        client.publish_in("shop", crate::harness::events("t", ["a", "b", "c"])).await;
        let path = "/namespaces/shop/subscriptions/s";
        let settings = json!({"after": "earliest", "max_deliveries": 1, "max_leases": 2});
        assert_eq!(send(client, "PUT", path, settings.clone()).await.status, 201);
        let first = ok(&send(client, "POST", &format!("{path}/lease?limit=1"), Value::Null).await);
        let reject = json!({"lease": first["lease"], "result": "reject"});
        ok(&send(client, "POST", &format!("{path}/ack"), reject).await);
        ok(&send(client, "POST", &format!("{path}/lease?limit=1"), Value::Null).await);
        let deleted = send(client, "DELETE", "/namespaces/shop?confirm=shop", Value::Null).await;
        assert_eq!(deleted.status, 204);
        let problem = client.get(path).await.problem(404);
        assert_eq!(problem["type"], "urn:sekali:problem:no-such-namespace");
        let database = service.database();
        eventually("its rows are removed", async || {
            let mut rows = database.rows_of_deleted().await;
            for table in ["subscriptions", "leases", "parked"] {
                rows += database.number(&format!("SELECT count(*) FROM {}", database.table(table))).await;
            }
            rows == 0
        })
        .await;
        client.create_namespace("shop").await;
        let problem = client.get(path).await.problem(404);
        assert_eq!(problem["type"], "urn:sekali:problem:no-such-subscription");
        assert!(problem["detail"].as_str().unwrap().contains("PUT /namespaces/shop/subscriptions/s"));
    });
}

#[test]
fn leases_and_acks_survive_a_kill() {
    on_both_databases(async |database| {
        let process = serve(&database.url).await;
        publish(&process.client, "t", 0..10).await;
        subscribe(&process.client, "s", json!({"after": "earliest", "max_leases": 3, "lease_seconds": 600}))
            .await;
        let done = lease(&process.client, "s", "?limit=3").await;
        let held = lease(&process.client, "s", "?limit=3").await;
        super::say(&process.client, "s", &done, "accept").await;
        process.kill();
        let process = serve(&database.url).await;
        let client = &process.client;
        let shown = show(client, "s").await;
        assert_eq!((&shown["acked"], &shown["status"]), (&json!(3), &json!("leased")));
        assert_eq!(range(&lease(client, "s", "").await), (7, 10, 1));
        assert_eq!(super::say(client, "s", &held, "accept").await, (6, 4));
    });
}

#[test]
fn a_namespace_has_as_many_subscriptions_as_may_be() {
    on_both_stores(async |service| {
        let database = service.database();
        let table = database.table("subscriptions");
        let numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 99999)";
        let created = if table.contains('.') { "now()" } else { "0" };
        let arrays = if table.contains('.') { ("'{}'", "'{0}'") } else { ("'[]'", "'[0]'") };
        database
            .execute(&format!(
                "INSERT INTO {table} (namespace_no, subscription_no, name, topics, start_after, lease_seconds, max_leases,
                     max_deliveries, handed_out, created_at)
                 {numbers} SELECT 1, i, 'n' || i, {}, 'now', 30, 1, 10, {}, {created} FROM n",
                arrays.0, arrays.1
            ))
            .await;
        let client = &service.client;
        subscribe(client, "last", json!({})).await;
        let problem = send(client, "PUT", "/subscriptions/one-more", json!({})).await.problem(422);
        assert_eq!(problem["type"], "urn:sekali:problem:too-many-subscriptions");
        assert_eq!(send(client, "PUT", "/subscriptions/last", json!({})).await.status, 200);
        assert_eq!(send(client, "DELETE", "/subscriptions/n7", Value::Null).await.status, 204);
        subscribe(client, "one-more", json!({})).await;
    });
}

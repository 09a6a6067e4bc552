//! What cannot be is refused with a problem document that names the place.

use serde_json::{Value, json};

use super::{ask_ack, lease, publish, send, subscribe};
use crate::harness::on_both_stores;

#[test]
fn names_that_cannot_be_are_refused_with_the_rule_on_every_route() {
    on_both_stores(async |service| {
        let client = &service.client;
        let long = "a".repeat(300);
        for (name, rule) in [
            ("A", "a-z, 0-9 and -"),
            ("a_b", "a-z, 0-9 and -"),
            ("a.b", "a-z, 0-9 and -"),
            ("%00", "a-z, 0-9 and -"),
            ("-a", "begin with a letter or a digit"),
            (&*long, "1 to 63 characters"),
        ] {
            for (method, path) in [
                ("PUT", ""),
                ("PATCH", ""),
                ("GET", ""),
                ("DELETE", ""),
                ("POST", "/lease"),
                ("POST", "/ack"),
                ("POST", "/seek"),
                ("GET", "/parked"),
                ("POST", "/parked/retry"),
            ] {
                let answer = send(client, method, &format!("/subscriptions/{name}{path}"), Value::Null).await;
                let problem = answer.problem(422);
                assert!(
                    problem["detail"].as_str().unwrap().contains(rule),
                    "{method} {name}{path}: {problem}"
                );
            }
        }
    });
}

#[test]
fn settings_that_cannot_be_are_refused_with_their_place() {
    on_both_stores(async |service| {
        let client = &service.client;
        let many: Vec<String> = (0..101).map(|topic| topic.to_string()).collect();
        for (settings, pointers) in [
            (json!({"topics": "orders"}), &["/topics"][..]),
            (json!({"topics": many}), &["/topics"]),
            (json!({"topics": ["a", 5]}), &["/topics/1"]),
            (json!({"topics": ["a", ""]}), &["/topics/1"]),
            (json!({"topics": ["a", "a"]}), &["/topics/1"]),
            (json!({"topics": ["a".repeat(256)]}), &["/topics/0"]),
            (json!({"topics": null}), &["/topics"]),
            (json!({"after": "yesterday"}), &["/after"]),
            (json!({"after": -1}), &["/after"]),
            (json!({"after": 1.5}), &["/after"]),
            (json!({"after": 9_223_372_036_854_775_808_u64}), &["/after"]),
            (json!({"lease_seconds": 0}), &["/lease_seconds"]),
            (json!({"lease_seconds": 43_201}), &["/lease_seconds"]),
            (json!({"lease_seconds": "30"}), &["/lease_seconds"]),
            (json!({"max_leases": 0}), &["/max_leases"]),
            (json!({"max_leases": 257}), &["/max_leases"]),
            (json!({"max_deliveries": 0}), &["/max_deliveries"]),
            (json!({"max_deliveries": 1_001}), &["/max_deliveries"]),
            (json!({"partitions": 8}), &["/partition_by"]),
            (json!({"partition_by": "source"}), &["/partitions"]),
            (json!({"partitions": 1, "partition_by": "source"}), &["/partitions"]),
            (json!({"partitions": 8, "partition_by": "event_id"}), &["/partition_by"]),
            (json!({"partitions": 8, "partition_by": "source", "max_leases": 9}), &["/max_leases"]),
            (json!({"topic": "orders"}), &["/topic"]),
            (json!({"a/b~c": 1}), &["/a~1b~0c"]),
            (json!({"lease_seconds": 0, "max_leases": 0, "x": 1}), &["/lease_seconds", "/max_leases", "/x"]),
            (json!([]), &[""]),
        ] {
            let answer = send(client, "PUT", "/subscriptions/s", settings.clone()).await;
            let problem = answer.problem(422);
            assert_eq!(problem["type"], "urn:sekali:problem:invalid-body");
            let found: Vec<String> = answer.faults().into_iter().map(|(_, pointer)| pointer).collect();
            assert_eq!(found, pointers, "{settings}: {problem}");
        }
        for body in ["{", "nope", "{} x"] {
            let request =
                client.request("PUT", "/subscriptions/s").header("content-type", "application/json");
            client.send(request.body(body)).await.unwrap().problem(400);
        }
        let twice = client.request("PUT", "/subscriptions/s").header("content-type", "application/json");
        let problem = client.send(twice.body(r#"{"after":1,"after":2}"#)).await.unwrap().problem(422);
        assert!(problem["detail"].as_str().unwrap().contains("twice"), "{problem}");
        let text = client.request("PUT", "/subscriptions/s").header("content-type", "text/plain");
        client.send(text.body("{}")).await.unwrap().problem(415);
        send(client, "PUT", "/subscriptions/s?after=1", json!({})).await.problem(422);
        client.get("/subscriptions/s").await.problem(404);
    });
}

#[test]
fn acks_that_cannot_be_are_refused_with_their_place() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish(client, "t", 0..3).await;
        subscribe(client, "s", json!({"after": "earliest"})).await;
        let held = lease(client, "s", "").await["lease"].clone();
        for (body, pointers) in [
            (json!({}), &["/lease"][..]),
            (json!({"result": "accept"}), &["/lease"]),
            (json!({"lease": "mine"}), &["/lease"]),
            (json!({"lease": 5}), &["/lease"]),
            (json!({"lease": held, "result": "done"}), &["/result"]),
            (json!({"lease": held, "result": "release", "through": 2}), &["/through"]),
            (json!({"lease": held, "through": -1}), &["/through"]),
            (json!({"lease": held, "through": 4}), &["/through"]),
            (json!({"lease": held, "results": "accept"}), &["/results"]),
            (json!({"through": 2, "result": "reject"}), &["/through"]),
        ] {
            let answer = ask_ack(client, "s", body.clone()).await;
            answer.problem(422);
            let found: Vec<String> = answer.faults().into_iter().map(|(_, pointer)| pointer).collect();
            assert_eq!(found, pointers, "{body}");
        }
        let problem =
            ask_ack(client, "s", json!({"lease": uuid::Uuid::new_v4().to_string()})).await.problem(409);
        assert_eq!(problem["type"], "urn:sekali:problem:fenced");
        assert_eq!((&problem["acked"], &problem["lag"]), (&json!(0), &json!(3)));
        for body in [json!({}), json!({"after": "x"}), json!({"after": null}), json!({"to": 1})] {
            send(client, "POST", "/subscriptions/s/seek", body).await.problem(422);
        }
        for body in
            [json!({"seqs": 1}), json!({"seqs": ["1"]}), json!({"seqs": vec![1; 101]}), json!({"all": true})]
        {
            send(client, "POST", "/subscriptions/s/parked/retry", body).await.problem(422);
        }
        ask_ack(client, "s", json!({"lease": held, "result": "accept"})).await;
        assert_eq!(super::show(client, "s").await["acked"], 3, "none of it changed anything");
    });
}

#[test]
fn parameters_that_cannot_be_are_refused() {
    on_both_stores(async |service| {
        let client = &service.client;
        subscribe(client, "s", json!({})).await;
        for query in [
            "?limit=0",
            "?limit=1001",
            "?limit=x",
            "?wait=61",
            "?wait=-1",
            "?worker=",
            "?worker=%07",
            "?after=1",
            "?limit=1&limit=2",
        ] {
            super::ask_lease(client, "s", query).await.problem(422);
        }
        for path in [
            "/subscriptions?limit=0",
            "/subscriptions?prefix=A",
            "/subscriptions?after=_",
            "/subscriptions?name=s",
            "/subscriptions/s?x=1",
            "/subscriptions/s/parked?limit=1001",
            "/subscriptions/s/parked?before=1",
        ] {
            client.get(path).await.problem(422);
        }
        for (method, path, allow) in [
            ("POST", "/subscriptions", "GET, HEAD"),
            ("POST", "/subscriptions/s", "GET, HEAD, PUT, PATCH, DELETE"),
            ("GET", "/subscriptions/s/lease", "POST"),
            ("PUT", "/subscriptions/s/ack", "POST"),
            ("GET", "/subscriptions/s/seek", "POST"),
            ("POST", "/subscriptions/s/parked", "GET, HEAD"),
        ] {
            let answer = send(client, method, path, Value::Null).await;
            answer.problem(405);
            assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
        }
    });
}

#[test]
fn an_unknown_subscription_is_404_that_says_how_to_create_it() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.create_namespace("shop").await;
        for prefix in ["", "/namespaces/shop"] {
            for (method, path, body) in [
                ("GET", "", Value::Null),
                ("DELETE", "", Value::Null),
                ("PATCH", "", json!({})),
                ("POST", "/lease", Value::Null),
                ("POST", "/ack", json!({"through": 0})),
                ("POST", "/seek", json!({"after": 0})),
                ("GET", "/parked", Value::Null),
                ("POST", "/parked/retry", json!({})),
            ] {
                let problem = send(client, method, &format!("{prefix}/subscriptions/none{path}"), body)
                    .await
                    .problem(404);
                assert_eq!(problem["type"], "urn:sekali:problem:no-such-subscription", "{method} {path}");
                let detail = problem["detail"].as_str().unwrap();
                assert!(detail.contains(&format!("PUT {prefix}/subscriptions/none")), "{detail}");
            }
        }
        let unknown = "/namespaces/none/subscriptions/s";
        for (method, path) in [("PUT", ""), ("GET", ""), ("POST", "/lease")] {
            let problem = send(client, method, &format!("{unknown}{path}"), Value::Null).await.problem(404);
            assert_eq!(problem["type"], "urn:sekali:problem:no-such-namespace");
        }
    });
}

#[test]
fn pages_of_another_origin_change_no_subscription() {
    on_both_stores(async |service| {
        let client = &service.client;
        subscribe(client, "s", json!({})).await;
        for (method, path) in [
            ("PUT", ""),
            ("PATCH", ""),
            ("DELETE", ""),
            ("POST", "/lease"),
            ("POST", "/ack"),
            ("POST", "/seek"),
            ("POST", "/parked/retry"),
        ] {
            let request = client.request(method, &format!("/subscriptions/s{path}"));
            let answer = client.send(request.header("origin", "http://evil.example")).await.unwrap();
            assert_eq!(answer.problem(403)["type"], "urn:sekali:problem:foreign-origin", "{method} {path}");
        }
    });
}

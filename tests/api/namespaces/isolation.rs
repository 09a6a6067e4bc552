//! Namespaces share nothing: not ids, not `seq`, not counts, not pages.

use futures::future::join_all;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use tokio::task::JoinSet;

use super::{counts, create, detail, get, publish_ok};
use crate::harness::{Settings, event, events, eventually, on_both_stores, on_both_stores_with};

fn stored(seq: u64) -> (String, u64) {
    ("stored".to_owned(), seq)
}

fn duplicate(seq: u64) -> (String, u64) {
    ("duplicate".to_owned(), seq)
}

#[test]
fn the_same_ids_are_new_in_each_namespace_and_each_counts_from_one() {
    on_both_stores(async |service| {
        let client = &service.client;
        create(client, "ids", json!({"dedup_scope": "event-id"})).await;
        create(client, "pairs", json!({"dedup_scope": "topic"})).await;
        let body = json!([event("t", "a"), event("u", "a"), event("t", "b"), event("t", "a")]);
        for _ in 0..2 {
            let is_first = counts(client, "ids").await.0 == 0;
            let first = |seq| if is_first { stored(seq) } else { duplicate(seq) };
            let one_id = [first(1), duplicate(1), first(2), duplicate(1)];
            for name in ["default", "ids"] {
                assert_eq!(publish_ok(client, name, &body).await, one_id, "{name}");
            }
            let pairs = [first(1), first(2), first(3), duplicate(1)];
            assert_eq!(publish_ok(client, "pairs", &body).await, pairs);
        }
        publish_ok(client, "pairs", event("only here", "c")).await;
        assert_eq!(counts(client, "default").await, (8, 2, 6));
        assert_eq!(counts(client, "ids").await, (8, 2, 6));
        assert_eq!(counts(client, "pairs").await, (9, 4, 5));
        let by_topic = get(client, "pairs", "/stats").await["by_topic"].clone();
        assert_eq!(
            by_topic,
            json!({
                "t": {"unique": 2, "duplicates": 4},
                "u": {"unique": 1, "duplicates": 1},
                "only here": {"unique": 1, "duplicates": 0},
            })
        );
        assert_eq!(get(client, "ids", "/events?topic=only%20here").await, json!([]));

        assert_eq!(get(client, "ids", "/events/a").await["topic"], "t");
        assert_eq!(get(client, "pairs", "/events/a?topic=u").await["seq"], 2);
        let problem = client.get("/namespaces/pairs/events/a").await.problem(422);
        assert!(detail(&problem).contains("topic"), "{problem}");
        client.get("/namespaces/ids/events/c").await.problem(404);
        assert_eq!(get(client, "pairs", "/events?event_id=c&topic=only%20here").await[0]["seq"], 4);
    });
}

#[test]
fn pages_of_a_namespace_lead_on_within_it() {
    on_both_stores(async |service| {
        let client = &service.client;
        create(client, "read", json!({})).await;
        let ids: Vec<String> = (1..=25).map(|id| format!("id-{id}")).collect();
        client.publish_ok(events("t", ["elsewhere"])).await;
        publish_ok(client, "read", events("t", ids.iter().map(String::as_str))).await;
        for (query, order) in [("?limit=10&after=0", 1), ("?limit=10&topic=t", -1)] {
            let mut path = format!("/namespaces/read/events{query}");
            let mut read: Vec<String> = Vec::new();
            loop {
                let page = client.get(&path).await;
                let page_ids = page.json();
                let page_ids = page_ids.as_array().unwrap().iter();
                read.extend(page_ids.map(|event| event["event_id"].as_str().unwrap().to_owned()));
                let Some(next) = page.next_link() else { break };
                assert!(next.starts_with("/namespaces/read/events?"), "{next}");
                path = next;
            }
            if order < 0 {
                read.reverse();
            }
            assert_eq!(read, ids);
        }
    });
}

#[test]
fn ids_of_any_kind_are_found_below_a_namespace() {
    on_both_stores(async |service| {
        let client = &service.client;
        create(client, "odd", json!({})).await;
        let ids = [
            "a/b",
            "/",
            "//x//",
            "events/a",
            "namespaces/other/events/a",
            "/namespaces/odd/events/x",
            "100%",
            "%2F",
            "%",
            "a?b#c&d=e",
            "é 日🦀",
            "a+b c",
        ];
        publish_ok(client, "odd", events("t", ids)).await;
        for (place, id) in ids.into_iter().enumerate() {
            let encoded = utf8_percent_encode(id, NON_ALPHANUMERIC).to_string();
            let found = get(client, "odd", &format!("/events/{encoded}")).await;
            assert_eq!((&found["event_id"], &found["seq"]), (&json!(id), &json!(place + 1)));
            let found = get(client, "odd", &format!("/events?event_id={encoded}")).await;
            assert_eq!(found[0]["event_id"], id);
        }
        // Slashes need no encoding.
        assert_eq!(get(client, "odd", "/events/namespaces/other/events/a").await["seq"], 5);
        publish_ok(client, "odd", events("t", ["..", "."])).await;
        assert_eq!(get(client, "odd", "/events?event_id=..").await[0]["seq"], 13);
    });
}

#[test]
fn many_namespaces_are_published_to_at_once() {
    const NAMESPACES: usize = 12;
    const REQUESTS: usize = 25;
    on_both_stores(async |service| {
        let client = &service.client;
        let names: Vec<String> = (0..NAMESPACES).map(|number| format!("n{number}")).collect();
        for name in &names {
            create(client, name, json!({})).await;
        }
        let publishing = names.iter().flat_map(|name| {
            (0..REQUESTS).map(move |request| async move {
                let ids = [format!("{request}"), format!("{request} more"), "shared".to_owned()];
                publish_ok(client, name, events(name, ids.iter().map(String::as_str))).await
            })
        });
        join_all(publishing).await;
        for name in &names {
            let unique = 2 * REQUESTS as u64 + 1;
            assert_eq!(counts(client, name).await, (3 * REQUESTS as u64, unique, REQUESTS as u64 - 1));
            let page = get(client, name, "/events?after=0&limit=1000").await;
            let page = page.as_array().unwrap();
            let seqs: Vec<u64> = page.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
            assert_eq!(seqs, (1..=unique).collect::<Vec<_>>());
            assert!(page.iter().all(|event| event["topic"] == name.as_str()), "{page:?}");
        }
    });
}

/// Single events in a namespace of their own, and in the same one.
#[test]
fn who_has_little_to_commit_has_a_turn_beside_those_with_much() {
    const GROUP: u64 = 500;
    const TURNS: u64 = 20;
    let small_groups = |settings: &mut Settings| {
        settings.config.group_events_max = GROUP as usize;
        // All of its producers are admitted.
        settings.config.events_in_flight_max = 40 * GROUP as usize;
    };
    on_both_stores_with(small_groups, async |service| {
        let client = &service.client;
        create(client, "busy", json!({})).await;
        create(client, "quiet", json!({})).await;
        let mut producers = JoinSet::new();
        for producer in 0..16 {
            let client = client.clone();
            producers.spawn(async move {
                for batch in 0.. {
                    let ids: Vec<String> = (0..GROUP).map(|id| format!("{producer} {batch} {id}")).collect();
                    publish_ok(&client, "busy", events("t", ids.iter().map(String::as_str))).await;
                }
            });
        }
        eventually("it is busy", async || counts(client, "busy").await.1 > 4 * GROUP).await;
        for namespace in ["quiet", "busy"] {
            let mut passed = 0;
            for turn in 0..TURNS {
                let before = counts(client, "busy").await.1;
                publish_ok(client, namespace, event("t", &turn.to_string())).await;
                passed += counts(client, "busy").await.1 - before;
            }
            // The transaction under way, its own, and as many again for the two looks; sixteen groups wait all the time.
            let groups = passed / (TURNS * GROUP);
            assert!(groups <= 8, "{groups} groups of large requests for each event in {namespace}");
        }
        producers.abort_all();
    });
}

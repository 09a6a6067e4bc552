//! `where`: the events that read as asked for, looked for by the service.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::harness::{Client, event, on_both_stores};

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

async fn page(client: &Client, path: &str) -> (Vec<u64>, Option<String>) {
    let answer = client.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    let seqs = answer.json().as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    (seqs, answer.next_link())
}

async fn pages(client: &Client, path: &str) -> Vec<Vec<u64>> {
    let (mut found, mut next) = (Vec::new(), Some(path.to_owned()));
    while let Some(path) = next {
        let (seqs, link) = page(client, &path).await;
        found.push(seqs);
        next = link;
    }
    found
}

fn with_payload(topic: &str, id: &str, payload: Value) -> Value {
    let mut event = event(topic, id);
    event["payload"] = payload;
    event
}

/// Twelve events of the topics a and b in turn; the level of every third is `error`.
async fn publish_levels(client: &Client) {
    let level = |place: usize| if place.is_multiple_of(3) { "error" } else { "info" };
    let event = |place: usize| {
        let topic = if place.is_multiple_of(2) { "b" } else { "a" };
        with_payload(topic, &format!("id-{place}"), json!({"level": level(place), "at": [{"n/~": place}]}))
    };
    client.publish_ok(json!((1..=12).map(event).collect::<Vec<_>>())).await;
}

#[test]
fn only_events_that_read_as_asked_for_are_on_the_page() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish_levels(client).await;
        for (conditions, rest, expected) in [
            (&["/payload/level=error"][..], "", vec![12, 9, 6, 3]),
            (&["/payload/level=error"], "&after=3", vec![6, 9, 12]),
            (&["/payload/level=error"], "&after=3&before=12", vec![6, 9]),
            (&["/payload/level=error"], "&topic=a", vec![9, 3]),
            (&["/payload/level=error"], "&topic=a&topic=b&limit=2", vec![12, 9]),
            (&["/payload/level=error", "/topic=b"], "", vec![12, 6]),
            (&["/payload/level=error", "/topic=b", "/seq=6"], "", vec![6]),
            (&["/payload/at/0/n~1~0=7"], "", vec![7]),
            (&["/event_id=id-5"], "", vec![5]),
            (&["/source=test", "/payload/level=info"], "&limit=1", vec![11]),
            (&["/payload/level=err"], "", vec![]),
            (&["/payload/at=[]"], "", vec![]),
            (&["/payload/level=error"], "&since=0001-01-01T00:00:00Z", vec![12, 9, 6, 3]),
        ] {
            let conditions: Vec<String> =
                conditions.iter().map(|text| format!("where={}", encoded(text))).collect();
            let path = format!("/events?{}{rest}", conditions.join("&"));
            assert_eq!(page(client, &path).await.0, expected, "{path}");
        }
    });
}

#[test]
fn the_link_keeps_every_condition_and_leads_to_all_that_pass() {
    on_both_stores(async |service| {
        let client = &service.client;
        publish_levels(client).await;
        let path = "/events?where=/payload/level=error&where=/source=test&limit=3";
        let (found, next) = page(client, path).await;
        assert_eq!(found, [12, 9, 6]);
        let link = "/events?where=%2Fpayload%2Flevel%3Derror&where=%2Fsource%3Dtest&limit=3&before=4";
        assert_eq!(next.as_deref(), Some(link));
        assert_eq!(pages(client, path).await, [vec![12, 9, 6], vec![3]]);
        assert_eq!(pages(client, "/events?where=/payload/level=error&limit=4").await.concat(), [12, 9, 6, 3]);
        let oldest_first = pages(client, "/events?where=/payload/level=error&after=0&limit=1").await.concat();
        assert_eq!(oldest_first, [3, 6, 9, 12]);
    });
}

/// A page looks through 5,000 events at most, and through 8 MiB.
#[test]
fn a_page_that_has_looked_far_enough_ends_early_and_goes_on() {
    on_both_stores(async |service| {
        let client = &service.client;
        let batch = |from: usize, to: usize| {
            let level = |id| if [1, 2, 7_000].contains(&id) { "error" } else { "info" };
            let event = |id: usize| with_payload("t", &id.to_string(), json!({"level": level(id)}));
            json!((from..=to).map(event).collect::<Vec<_>>())
        };
        client.publish_ok(batch(1, 7_000)).await;
        client.publish_ok(batch(7_001, 13_000)).await;
        let newest_first = pages(client, "/events?where=/payload/level=error").await;
        assert_eq!(newest_first, [vec![], vec![7_000], vec![2, 1]]);
        let oldest_first = pages(client, "/events?where=/payload/level=error&after=0&limit=1").await;
        assert_eq!(oldest_first, [vec![1], vec![2], vec![], vec![7_000], vec![], vec![]]);
    });
}

#[test]
fn large_events_end_a_page_sooner() {
    on_both_stores(async |service| {
        let client = &service.client;
        for id in 0..6 {
            let payload = json!({"large": "x".repeat(3 * 1024 * 1024), "id": id});
            client.publish_ok(with_payload("t", &id.to_string(), payload)).await;
        }
        let found = pages(client, "/events?where=/payload/id=0").await;
        assert!(found.len() > 1, "18 MiB on one page: {found:?}");
        assert_eq!(found.concat(), [1]);
    });
}

#[test]
fn a_named_namespace_is_filtered_too() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.create_namespace("other").await;
        let event = with_payload("t", "1", json!({"a": null}));
        client.publish_in("other", event).await;
        assert_eq!(page(client, "/namespaces/other/events?where=/payload/a=null").await.0, [1]);
        assert_eq!(page(client, "/events?where=/payload/a=null").await.0, [] as [u64; 0]);
    });
}

#[test]
fn a_condition_that_cannot_be_is_refused_with_its_reason() {
    on_both_stores(async |service| {
        let client = &service.client;
        for (query, reason) in [
            ("where=", "must not be empty"),
            ("where=/payload/a", "must be a JSON pointer"),
            ("where=payload/a%3D1", "must be a JSON pointer"),
            ("where=/payload/a~2%3D1", "behind each ~"),
            ("where=/level%3Derror", "a field of the event"),
            ("where=/seq%3D1&where=/seq%3D1", "twice with the same value"),
            ("where=/seq%3D1&where=/seq%3D2&where=/seq%3D3&where=/seq%3D4", "more than 3 times"),
            ("where=/seq%3D1&event_id=a", "`where` must not be given together"),
            ("where=%FF", "UTF-8"),
        ] {
            let problem = client.get(&format!("/events?{query}")).await.problem(422);
            assert!(problem["detail"].as_str().unwrap().contains(reason), "{query}: {problem}");
        }
    });
}

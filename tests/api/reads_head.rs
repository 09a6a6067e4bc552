//! `Sekali-Head`: the newest committed `seq`, told with every page.

use crate::harness::{Client, event, events, on_both_stores};

async fn head_of(client: &Client, path: &str) -> u64 {
    let answer = client.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.header("sekali-head").expect("every page tells the head").parse().unwrap()
}

#[test]
fn every_page_tells_the_newest_seq_whatever_it_holds() {
    on_both_stores(async |service| {
        let client = &service.client;
        assert_eq!(head_of(client, "/events").await, 0);
        client.publish_ok(events("a", ["1", "2", "3"])).await;
        client.publish_ok(event("b", "4")).await;
        client.publish_ok(events("a", ["1", "2"])).await;
        for query in ["", "?limit=1", "?after=0&limit=2", "?before=2", "?after=4", "?topic=a", "?topic=none"]
        {
            assert_eq!(head_of(client, &format!("/events{query}")).await, 4, "{query}");
        }
        let head = client.send(client.request("HEAD", "/events?limit=1")).await.unwrap();
        assert_eq!(head.header("sekali-head"), Some("4"));
    });
}

#[test]
fn each_namespace_has_its_own_head() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.create_namespace("other").await;
        client.publish_ok(events("a", ["1", "2"])).await;
        client.publish_in("other", event("a", "1")).await;
        assert_eq!(head_of(client, "/events").await, 2);
        assert_eq!(head_of(client, "/namespaces/other/events").await, 1);
    });
}

/// A reader that polls sees all that was published when the page ends with the head that it tells.
#[test]
fn a_page_without_a_next_one_ends_at_its_head_while_others_publish() {
    on_both_stores(async |service| {
        let publisher = service.client.clone();
        let publishing = tokio::spawn(async move {
            for number in 0..200 {
                publisher.publish_ok(event("t", &number.to_string())).await;
            }
        });
        let mut after = 0;
        while after < 200 {
            let answer = service.client.get(&format!("/events?after={after}&limit=1000")).await;
            let head: u64 = answer.header("sekali-head").unwrap().parse().unwrap();
            let page = answer.json();
            let last = page.as_array().unwrap().last().map_or(after, |event| event["seq"].as_u64().unwrap());
            assert_eq!(last, head, "one snapshot");
            after = last;
        }
        publishing.await.unwrap();
    });
}

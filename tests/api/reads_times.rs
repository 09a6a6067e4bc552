//! Pages bounded by the time at which their events were received.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sekali::event::Timestamp;
use serde_json::json;

use crate::harness::{Client, event, events, on_both_stores};

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

async fn seqs(client: &Client, path: &str) -> Vec<u64> {
    let answer = client.get(path).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.json().as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

/// When each event was received, the first one first.
async fn received(client: &Client) -> Vec<String> {
    let events = client.all_events().await;
    events.iter().map(|event| event["received_at"].as_str().unwrap().to_owned()).collect()
}

fn later(time: &str, micros: i64) -> String {
    let time = Timestamp::parse(time).unwrap().unix_micros();
    Timestamp::from_unix_micros(time + micros).unwrap().to_string()
}

/// Three commits: the events 1 to 3, 4 to 6 and 7 to 9. Of each three the topics are a, b and a.
async fn publish_three_commits(client: &Client) -> Vec<String> {
    for commit in 0..3 {
        let batch = ["a", "b", "a"].iter().enumerate();
        let batch: Vec<_> = batch.map(|(place, topic)| event(topic, &format!("{commit}-{place}"))).collect();
        client.publish_ok(json!(batch)).await;
    }
    let received = received(client).await;
    assert!(
        received[0] == received[2] && received[2] < received[3] && received[5] < received[6],
        "{received:?}"
    );
    received
}

#[test]
fn since_includes_its_time_and_until_does_not() {
    on_both_stores(async |service| {
        let client = &service.client;
        let received = publish_three_commits(client).await;
        let (first, second, third) = (&received[0], &received[3], &received[6]);
        for (query, expected) in [
            (format!("since={second}"), vec![9, 8, 7, 6, 5, 4]),
            (format!("since={}", later(second, 1)), vec![9, 8, 7]),
            (format!("since={}", later(third, 1)), vec![]),
            (format!("since={}", later(first, -1)), vec![9, 8, 7, 6, 5, 4, 3, 2, 1]),
            (format!("until={second}"), vec![3, 2, 1]),
            (format!("until={}", later(second, 1)), vec![6, 5, 4, 3, 2, 1]),
            (format!("until={first}"), vec![]),
            (format!("until={}", later(third, 1)), vec![9, 8, 7, 6, 5, 4, 3, 2, 1]),
            (format!("since={second}&until={third}"), vec![6, 5, 4]),
            (format!("since={third}&until={second}"), vec![]),
            (format!("since={second}&until={second}"), vec![]),
            ("since=0001-01-01T00:00:00Z&until=9999-12-31T23:59:59Z".to_owned(), (1..=9).rev().collect()),
            (format!("since={second}&after=0"), vec![4, 5, 6, 7, 8, 9]),
            (format!("since={second}&after=7"), vec![8, 9]),
            (format!("since={second}&before=6"), vec![5, 4]),
            (format!("until={third}&after=4"), vec![5, 6]),
            (format!("since={second}&topic=b"), vec![8, 5]),
            (format!("since={second}&until={third}&topic=a"), vec![6, 4]),
            (format!("since={second}&topic=a&topic=b&limit=2"), vec![9, 8]),
            (format!("since={second}&topic=none"), vec![]),
        ] {
            assert_eq!(seqs(client, &format!("/events?{query}")).await, expected, "{query}");
        }
    });
}

#[test]
fn the_link_keeps_both_times() {
    on_both_stores(async |service| {
        let client = &service.client;
        let received = publish_three_commits(client).await;
        let (since, until) = (encoded(&received[3]), encoded(&later(&received[6], 1)));
        let first = client.get(&format!("/events?since={since}&until={until}&limit=4")).await;
        let next = first.next_link().expect("there are six");
        assert_eq!(seqs(client, &next).await, [5, 4]);
        assert_eq!(client.get(&next).await.next_link(), None, "the events before `since` do not count");
    });
}

#[test]
fn a_time_is_given_in_every_form_that_an_event_may_have_and_in_no_other() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.publish_ok(events("t", ["1"])).await;
        for time in ["2000-01-01T00:00:00Z", "2000-01-01 00:00:00", "2000-01-01T02:00:00.5+07:00"] {
            assert_eq!(seqs(client, &format!("/events?since={}", encoded(time))).await, [1], "{time}");
            assert!(seqs(client, &format!("/events?until={}", encoded(time))).await.is_empty(), "{time}");
        }
        for (query, name) in [
            ("since=", "since"),
            ("since=yesterday", "since"),
            ("since=2026-06-18", "since"),
            ("until=1750000000", "until"),
            ("until=2026-02-29T00:00:00Z", "until"),
            ("until=2026-06-18T12:00:00+07:00", "until"), // a plus sign in a query is a space
            ("since=2026-06-18T12:00:00Z&since=2026-06-18T12:00:00Z", "since"),
            ("until=2026-06-18T12:00:00Z&event_id=1", "until"),
        ] {
            let problem = client.get(&format!("/events?{query}")).await.problem(422);
            assert!(problem["detail"].as_str().unwrap().contains(&format!("`{name}`")), "{query}: {problem}");
        }
    });
}

/// Every bound that there is, held against the events themselves.
#[test]
fn each_bound_is_found_among_many_commits() {
    on_both_stores(async |service| {
        let client = &service.client;
        for commit in 0..37 {
            let ids: Vec<String> = (0..1 + commit % 4).map(|place| format!("{commit}-{place}")).collect();
            client.publish_ok(events("t", ids.iter().map(String::as_str))).await;
        }
        let received = received(client).await;
        for time in &received {
            let since: Vec<u64> =
                (1..).zip(&received).filter(|(_, at)| *at >= time).map(|(seq, _)| seq).collect();
            let path = format!("/events?after=0&limit=1000&since={time}");
            assert_eq!(seqs(client, &path).await, since);
            let until: Vec<u64> =
                (1..).zip(&received).filter(|(_, at)| *at < time).map(|(seq, _)| seq).collect();
            let path = format!("/events?after=0&limit=1000&until={time}");
            assert_eq!(seqs(client, &path).await, until);
        }
    });
}

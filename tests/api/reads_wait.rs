//! `wait`: an empty page waits for the first event that belongs on it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::{task::JoinHandle, time::timeout};

use sekali::event::Timestamp;

use crate::harness::{
    Answer, Client, Database, Engine, RunningService, Settings, block_on, event, events, eventually,
    on_both_stores, on_both_stores_with, raw::Raw,
};

/// What an answer takes at most that does not wait, or not any more.
const AT_ONCE: Duration = Duration::from_secs(10);
/// A request that is unanswered for so long waits.
const A_WHILE: Duration = Duration::from_millis(300);

fn seqs(answer: &Answer) -> Vec<u64> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json().as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

/// A reader that waits.
struct Waiting(JoinHandle<Answer>);

impl Waiting {
    async fn begin(client: &Client, path: &str) -> Self {
        let mut waiting = Self::ask(client, path);
        waiting.goes_on().await;
        waiting
    }

    fn ask(client: &Client, path: &str) -> Self {
        let (client, path) = (client.clone(), path.to_owned());
        Self(tokio::spawn(async move { client.get(&path).await }))
    }

    async fn goes_on(&mut self) {
        let answered = timeout(A_WHILE, &mut self.0).await;
        assert!(answered.is_err(), "it does not wait: {answered:?}");
    }

    async fn answer(self) -> Answer {
        timeout(AT_ONCE, self.0).await.expect("it waits on").unwrap()
    }
}

#[test]
fn an_empty_page_waits_for_the_first_event() {
    on_both_stores(async |service| {
        let client = &service.client;
        let newest = Waiting::begin(client, "/events?wait=60").await;
        let from_start = Waiting::begin(client, "/events?after=0&wait=60&limit=1").await;
        let beyond = Waiting::begin(client, "/events?after=2&wait=60").await;
        client.publish_ok(events("t", ["1", "2"])).await;
        for waiting in [newest, from_start] {
            let answer = waiting.answer().await;
            assert_eq!(answer.header("sekali-head"), Some("2"));
            assert!([vec![2, 1], vec![1]].contains(&seqs(&answer)), "{}", answer.text);
            assert_eq!(answer.header("vary"), None);
        }
        client.publish_ok(event("t", "3")).await;
        assert_eq!(seqs(&beyond.answer().await), [3]);
    });
}

#[test]
fn a_named_namespace_wakes_its_own_readers_alone() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.create_namespace("other").await;
        let mut waiting = Waiting::begin(client, "/namespaces/other/events?after=0&wait=60").await;
        client.publish_ok(event("t", "1")).await;
        waiting.goes_on().await;
        client.publish_in("other", event("t", "1")).await;
        assert_eq!(seqs(&waiting.answer().await), [1]);
    });
}

#[test]
fn events_that_do_not_belong_on_the_page_do_not_end_the_wait() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.publish_ok(events("other", ["1", "2"])).await;
        let paths = [
            "/events?topic=mine&wait=60",
            "/events?topic=mine&after=0&wait=60",
            "/events?topic=mine&topic=yours&after=0&wait=60",
            "/events?where=/topic=mine&wait=60",
            "/events?where=/payload/of=5&after=0&wait=60",
            "/events?since=9999-01-01T00:00:00Z&wait=2",
        ];
        let mut waiting = Vec::new();
        for path in paths {
            waiting.push(Waiting::begin(client, path).await);
        }
        client.publish_ok(event("other", "3")).await;
        client.publish_ok(events("other", ["1", "2"])).await;
        client.publish_ok(event("other", "4")).await;
        for waiting in &mut waiting[..5] {
            waiting.goes_on().await;
        }
        client.publish_ok(event("mine", "5")).await;
        let never = waiting.pop().expect("there are six");
        for waiting in waiting {
            assert_eq!(seqs(&waiting.answer().await), [5]);
        }
        assert_eq!(seqs(&never.answer().await), [0_u64; 0]);
    });
}

#[test]
fn what_cannot_come_is_not_waited_for() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.publish_ok(events("t", ["1", "2"])).await;
        for (query, expected) in [
            ("wait=60", vec![2, 1]),
            ("after=1&wait=60", vec![2]),
            ("after=2&before=9&wait=60", vec![]),
            ("topic=none&before=2&wait=60", vec![]),
            ("topic=none&until=2000-01-01T00:00:00Z&wait=60", vec![]),
            ("topic=none&wait=0", vec![]),
            ("topic=none", vec![]),
        ] {
            let answer = Waiting::ask(client, &format!("/events?{query}")).answer().await;
            assert_eq!(seqs(&answer), expected, "{query}");
        }
    });
}

#[test]
fn a_wait_ends_with_an_empty_page_when_its_time_is_over() {
    let change = |settings: &mut Settings| settings.config.wait_max = Duration::from_secs(2);
    on_both_stores_with(change, async |service| {
        let client = &service.client;
        client.publish_ok(event("t", "1")).await;
        for (query, seconds) in [("after=1&wait=1", 1), ("after=1&wait=60", 2)] {
            let begun = Instant::now();
            let answer = Waiting::ask(client, &format!("/events?{query}")).answer().await;
            assert_eq!((answer.text.as_str(), answer.header("sekali-head")), ("[]", Some("1")));
            assert!(begun.elapsed() >= Duration::from_secs(seconds), "{query}: {:?}", begun.elapsed());
        }
    });
}

#[test]
fn a_preference_for_waiting_is_taken_and_told() {
    let change = |settings: &mut Settings| settings.config.wait_max = Duration::from_secs(1);
    on_both_stores_with(change, async |service| {
        let client = &service.client;
        for (path, prefer, applied) in [
            ("/events", "wait=1", Some("wait=1")),
            ("/events", "respond-async, Wait = \"40\"; x=y", Some("wait=1")),
            ("/events?after=0", "wait=99999999999", Some("wait=1")),
            ("/events?after=0&wait=0", "wait=1", None),
            ("/events", "wait=soon", None),
            ("/events", "return=minimal", None),
        ] {
            let begun = Instant::now();
            let request = client.request("GET", path).header("prefer", prefer);
            let answer = timeout(AT_ONCE, client.send(request)).await.unwrap().unwrap();
            assert_eq!(answer.text, "[]");
            assert_eq!(answer.header("preference-applied"), applied, "{path} {prefer}");
            assert_eq!(answer.header("vary"), applied.map(|_| "prefer"), "{path} {prefer}");
            assert!(applied.is_none() || begun.elapsed() >= Duration::from_secs(1), "{path} {prefer}");
        }
    });
}

#[test]
fn a_wait_that_cannot_be_is_refused() {
    on_both_stores(async |service| {
        let client = &service.client;
        for query in
            ["wait=", "wait=61", "wait=-1", "wait=1.5", "wait=1s", "wait=1&wait=1", "wait=1&event_id=a"]
        {
            let problem = client.get(&format!("/events?{query}")).await.problem(422);
            assert!(problem["detail"].as_str().unwrap().contains("`wait`"), "{query}: {problem}");
        }
    });
}

#[test]
fn a_drain_answers_who_waits_at_once() {
    on_both_stores(async |service| {
        service.client.publish_ok(event("t", "1")).await;
        let waiting = Waiting::begin(&service.client, "/events?after=1&wait=60").await;
        let begun = Instant::now();
        let (ended, _) = service.stop().await;
        ended.unwrap();
        let answer = waiting.answer().await;
        assert_eq!((seqs(&answer), answer.header("sekali-head")), (vec![], Some("1")));
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    });
}

#[test]
fn who_waits_for_a_namespace_learns_that_it_is_deleted() {
    on_both_stores(async |service| {
        let client = &service.client;
        client.create_namespace("other").await;
        let waiting = Waiting::begin(client, "/namespaces/other/events?after=0&wait=60").await;
        let deletion = client.request("DELETE", "/namespaces/other?confirm=other");
        assert_eq!(client.send(deletion).await.unwrap().status, 204);
        waiting.answer().await.problem(404);
    });
}

/// One connection reads for all of them.
#[test]
fn many_readers_wait_without_a_connection_of_the_store_and_one_commit_wakes_them_all() {
    let change = |settings: &mut Settings| settings.config.read_connections = 1;
    on_both_stores_with(change, async |service| {
        let client = &service.client;
        let paths = (0..200).map(|number| format!("/events?after=0&wait=60&topic=t{}&topic=t", number % 7));
        let mut waiting: Vec<Waiting> = paths.map(|path| Waiting::ask(client, &path)).collect();
        waiting[0].goes_on().await;
        let begun = Instant::now();
        assert_eq!(client.events("").await, [] as [Value; 0]);
        assert!(begun.elapsed() < AT_ONCE);
        client.publish_ok(event("t", "1")).await;
        for waiting in waiting {
            assert_eq!(seqs(&waiting.answer().await), [1]);
        }
    });
}

#[test]
fn more_readers_than_may_wait_are_told_so() {
    let change = |settings: &mut Settings| {
        settings.config.connections_max = 8;
        settings.config.peer_share_exempt = vec!["127.0.0.0/8".parse().unwrap()];
    };
    on_both_stores_with(change, async |service| {
        let client = &service.client;
        let mut waiting = Vec::new();
        for _ in 0..6 {
            waiting.push(Waiting::begin(client, "/events?after=0&wait=60").await);
        }
        let problem = client.get("/events?after=0&wait=60").await.problem(503);
        assert!(problem["detail"].as_str().unwrap().contains("readers wait"), "{problem}");
        assert_eq!(client.get("/events?after=0").await.status, 200);
        client.publish_ok(event("t", "1")).await;
        for waiting in waiting {
            assert_eq!(seqs(&waiting.answer().await), [1]);
        }
        Waiting::begin(client, "/events?after=1&wait=60").await.0.abort();
    });
}

#[test]
fn who_hangs_up_gives_its_place_to_others_at_once() {
    let change = |settings: &mut Settings| settings.config.connections_max = 8;
    on_both_stores_with(change, async |service| {
        let waiting = async || {
            let in_flight = service.handle.node().in_flight;
            in_flight.iter().find(|it| it.what == "waiting_readers").unwrap().held
        };
        let mut client = Raw::connect(service.address).await;
        client.send("GET /events?after=0&wait=60 HTTP/1.1\r\nHost: test\r\n\r\n").await;
        eventually("it waits", async || waiting().await == 1).await;
        let begun = Instant::now();
        drop(client);
        eventually("its place is free", async || waiting().await == 0).await;
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    });
}

/// A time in the query of a request.
fn in_micros(later: i64) -> String {
    let micros = Timestamp::now().unix_micros() + later;
    Timestamp::from_unix_micros(micros).unwrap().to_string()
}

#[test]
fn nobody_waits_beyond_the_time_until_which_events_belong_on_the_page() {
    on_both_stores(async |service| {
        let begun = Instant::now();
        let path = format!("/events?after=0&wait=60&until={}", in_micros(1_000_000));
        let answer = Waiting::begin(&service.client, &path).await.answer().await;
        assert!(seqs(&answer).is_empty());
        let waited = begun.elapsed();
        assert!(waited > Duration::from_millis(900) && waited < AT_ONCE, "{waited:?}");
    });
}

#[test]
fn another_nodes_commits_and_deletions_are_noticed() {
    block_on(async {
        let database = Arc::new(Database::create(Engine::Postgres).await);
        let one = RunningService::start(Settings::new(Arc::clone(&database))).await;
        let other = RunningService::start(Settings::new(database)).await;
        one.client.create_namespace("mine").await;
        let newest = Waiting::begin(&other.client, "/events?wait=60").await;
        let mut named = Waiting::begin(&other.client, "/namespaces/mine/events?after=0&wait=60").await;
        let deleted = Waiting::begin(&other.client, "/namespaces/mine/events?after=9&wait=60").await;
        one.client.publish_ok(event("t", "1")).await;
        assert_eq!(seqs(&newest.answer().await), [1]);
        named.goes_on().await;
        one.client.publish_in("mine", event("t", "1")).await;
        assert_eq!(seqs(&named.answer().await), [1]);
        let deletion = one.client.request("DELETE", "/namespaces/mine?confirm=mine");
        assert_eq!(one.client.send(deletion).await.unwrap().status, 204);
        deleted.answer().await.problem(404);
    });
}

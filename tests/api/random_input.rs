//! Whatever is sent: an answer below 500, and what it calls accepted is what is stored.

use std::{cell::RefCell, collections::HashMap, time::Duration};

use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, TestRunner},
};
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio::{runtime::Handle, task::block_in_place, time::timeout};

use crate::harness::{Client, RunningService, on_both_stores};

const CASES: u32 = 200;

/// Pieces of JSON text that are valid in one place and wrong in another.
fn piece() -> impl Strategy<Value = String> {
    let strings = prop_oneof![
        3 => r#"[a-c]{1,2}"#.prop_map(|text| format!("\"{text}\"")),
        1 => any::<String>().prop_map(|text| Value::from(text).to_string()),
        1 => select(vec![
            r#""2026-06-18T12:00:00Z""#, r#""2026-06-18 12:00:00""#, r#""2026-02-30T12:00:00Z""#,
            r#""\u0000""#, r#""\\u0000""#, r#""\ud800""#, r#""\ud83d\ude00""#, r#""""#, r#"" ""#, r#""\u0085""#,
        ]).prop_map(str::to_owned),
    ];
    let numbers = select(vec!["0", "-0.0", "1e400000", "1.8e308", "1.79e308", "1e-999", "01", "NaN"]);
    let leaf = prop_oneof![
        4 => strings,
        1 => numbers.prop_map(str::to_owned),
        1 => select(vec!["null", "true", "false", "{}", "[]", "{", "]", ""]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let key = prop_oneof![Just("\"a\""), Just("\"events\""), Just("\"topic\""), Just(r#""\u0000""#)];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|elements| format!("[{}]", elements.join(","))),
            prop::collection::vec((key, inner), 0..4).prop_map(|members| {
                let members: Vec<String> =
                    members.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

/// An object that is nearly always close to an event, and often one.
fn near_event() -> impl Strategy<Value = String> {
    let field = |name: &'static str, good: &'static [&'static str]| {
        prop_oneof![
            60 => select(good).prop_map(move |value| format!("\"{name}\":{value}")),
            1 => piece().prop_map(move |value| format!("\"{name}\":{value}")),
            1 => piece().prop_map(|value| format!("\"extra\":{value}")),
        ]
    };
    (
        field("topic", &[r#""t""#, r#""ü""#, r#""'; --""#]),
        field("event_id", &[r#""a""#, r#""b""#, r#""\u0063""#, r#""D/%""#, r#"" e ""#]),
        field("timestamp", &[r#""2026-06-18T12:00:00Z""#, r#""2026-06-18 12:00:00.5-07:00""#]),
        field("source", &[r#""s""#, r#""😀""#]),
        field("payload", &["{}", r#"{"n":1.10}"#, r#"{"a":{"b":[null,"\ud83d\ude00"]}}"#]),
    )
        .prop_map(|(topic, event_id, timestamp, source, payload)| {
            format!("{{{topic},{event_id},{timestamp},{source},{payload}}}")
        })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let events =
        || prop::collection::vec(near_event(), 0..5).prop_map(|events| format!("[{}]", events.join(",")));
    let near = || {
        prop_oneof![near_event(), events(), events().prop_map(|events| format!("{{\"events\":{events}}}"))]
            .prop_map(String::into_bytes)
    };
    let damaged = (near(), any::<prop::sample::Index>(), any::<u8>(), any::<bool>()).prop_map(
        |(mut body, place, byte, cut)| {
            let place = place.index(body.len());
            if cut {
                body.truncate(place)
            } else {
                body[place] = byte
            }
            body
        },
    );
    prop_oneof![
        6 => near(),
        2 => damaged,
        2 => piece().prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..300),
    ]
}

/// What the service must hold, by what it said.
#[derive(Default)]
struct Ledger {
    received: u64,
    /// The events that are stored, by id, as they were sent.
    stored: HashMap<String, Value>,
}

impl Ledger {
    /// Notes an acknowledged body. It says `stored` exactly for the events that are new.
    fn note(&mut self, body: &[u8], answer: &Value) -> Result<(), TestCaseError> {
        let sent: Value = serde_json::from_slice(body).expect("what is accepted is JSON");
        let events = match sent {
            Value::Array(events) => events,
            Value::Object(mut envelope) if envelope.get("events").is_some_and(Value::is_array) => {
                envelope["events"].take().as_array().unwrap().clone()
            }
            event => vec![event],
        };
        let results = answer["results"].as_array().unwrap();
        prop_assert_eq!(results.len(), events.len());
        let mut unique = 0;
        for (event, result) in events.into_iter().zip(results) {
            self.received += 1;
            prop_assert_eq!(&result["event_id"], &event["event_id"]);
            let event_id = event["event_id"].as_str().unwrap().to_owned();
            let is_new = !self.stored.contains_key(&event_id);
            prop_assert_eq!(result["status"] == "stored", is_new, "{}", answer);
            if is_new {
                unique += 1;
                self.stored.insert(event_id, event);
                prop_assert_eq!(result["seq"].as_u64(), Some(self.stored.len() as u64));
            }
        }
        prop_assert_eq!(answer["accepted"].as_u64(), Some(results.len() as u64));
        prop_assert_eq!(answer["unique"].as_u64(), Some(unique));
        prop_assert_eq!(answer["duplicates"].as_u64(), Some(results.len() as u64 - unique));
        Ok(())
    }

    async fn check(&self, client: &Client) {
        let unique = self.stored.len() as u64;
        assert_eq!(client.counts().await, (self.received, unique, self.received - unique));
        let stored = client.all_events().await;
        assert_eq!(stored.len() as u64, unique);
        for event in stored {
            let sent = &self.stored[event["event_id"].as_str().unwrap()];
            for field in ["topic", "event_id", "source", "payload"] {
                assert_eq!(event[field], sent[field]);
            }
        }
    }
}

async fn send(service: &RunningService, body: &[u8], ledger: &RefCell<Ledger>) -> Result<(), TestCaseError> {
    let answering = service.client.try_publish(body.to_vec());
    let answer = timeout(Duration::from_secs(10), answering).await;
    let answer = answer.map_err(|_| TestCaseError::fail("no answer within 10 s"))?.unwrap();
    if answer.status == 200 {
        ledger.borrow_mut().note(body, &answer.json())?;
    } else {
        prop_assert!([400, 413, 422].contains(&answer.status), "{}: {}", answer.status, answer.text);
        answer.problem(answer.status);
        let is_json = str::from_utf8(body).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
        prop_assert_eq!(answer.status != 400, is_json, "{}", answer.text);
    }
    prop_assert_eq!(service.client.counts().await.0, ledger.borrow().received);
    Ok(())
}

#[test]
fn whatever_is_sent_is_answered_and_what_is_accepted_is_stored() {
    on_both_stores(async |service| {
        let ledger = RefCell::default();
        let mut runner =
            TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
        let tried = block_in_place(|| {
            let runtime = Handle::current();
            runner.run(&body(), |body| runtime.block_on(send(&service, &body, &ledger)))
        });
        tried.unwrap_or_else(|failure| panic!("{failure}"));
        let ledger = ledger.into_inner();
        assert!(ledger.received > 50, "many events are accepted, not {}", ledger.received);
        ledger.check(&service.client).await;
        service.database().assert_sound().await;
    });
}

#[test]
fn whatever_is_asked_for_is_answered() {
    let query = prop_oneof![
        "[ -~]{0,30}".prop_map(|text| text.replace(['#', ' '], "+")),
        prop::collection::vec(
            (
                select(vec!["topic", "limit", "before", "after", "x", ""]),
                prop_oneof!["[0-9]{1,20}", "-?[0-9a-f%+]{0,4}", Just("t".to_owned())],
            ),
            0..4
        )
        .prop_map(|parameters| {
            let parameters: Vec<String> =
                parameters.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
            parameters.join("&")
        }),
    ];
    let path = prop_oneof![Just("/events".to_owned()), "/events/[!-~]{0,10}", "/[!-~]{0,10}"];
    let asked = (path, query).prop_map(|(path, query)| format!("{}?{query}", path.replace(['#', '?'], "")));
    on_both_stores(async |service| {
        service.client.publish_ok(crate::harness::event("t", "a")).await;
        let mut runner =
            TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
        let tried = block_in_place(|| {
            let runtime = Handle::current();
            runner.run(&asked, |asked| {
                let answer = runtime.block_on(timeout(Duration::from_secs(10), service.client.get(&asked)));
                let answer = answer.map_err(|_| TestCaseError::fail("no answer within 10 s"))?;
                // A client takes `/.` for `/`.
                let address = reqwest::Url::parse(&format!("http://service{asked}")).unwrap();
                match answer.status {
                    200 if ["/", "/docs"].contains(&address.path()) => {
                        prop_assert!(answer.text.starts_with("<!doctype html>"))
                    }
                    200 => drop(answer.json()),
                    status => {
                        prop_assert!([404, 405, 422].contains(&status), "{asked}: {status}");
                        answer.problem(status);
                    }
                }
                Ok(())
            })
        });
        tried.unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(service.client.counts().await, (1, 1, 0));
    });
}

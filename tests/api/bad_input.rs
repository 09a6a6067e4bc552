//! Every rule for events and bodies, broken on purpose: the refusal names the place, and leaves no trace.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Answer, RunningService, event, on_both_stores};

const NOTHING: (u64, u64, u64) = (0, 0, 0);

/// What a refusal must look like.
struct Refusal {
    body: Vec<u8>,
    status: u16,
    /// The index and pointer of each of its `errors`.
    places: Vec<(u64, String)>,
    /// What its text must contain.
    says: String,
}

impl Refusal {
    /// A single event refused for one place in it.
    fn at(pointer: &str, says: &str, event: String) -> Self {
        let places = vec![(0, pointer.to_owned())];
        Self { body: event.into(), status: 422, places, says: says.to_owned() }
    }

    fn whole(status: u16, says: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), status, places: Vec::new(), says: says.to_owned() }
    }
}

/// The fields of a valid event, as JSON text.
const FIELDS: [(&str, &str); 5] = [
    ("topic", r#""t""#),
    ("event_id", r#""a""#),
    ("timestamp", r#""2026-06-18T12:00:00Z""#),
    ("source", r#""s""#),
    ("payload", "{}"),
];

/// A valid event, but for `field`, which is this JSON text, be it one of the five or a further one.
fn with(field: &str, value: &str) -> String {
    let others = FIELDS.iter().filter(|(name, _)| *name != field);
    let members: Vec<String> =
        others.chain([&(field, value)]).map(|(name, value)| format!(r#""{name}":{value}"#)).collect();
    format!("{{{}}}", members.join(","))
}

fn without(field: &str) -> String {
    let others = FIELDS.iter().filter(|(name, _)| *name != field);
    let members: Vec<String> = others.map(|(name, value)| format!(r#""{name}":{value}"#)).collect();
    format!("{{{}}}", members.join(","))
}

/// `a` with this id, and otherwise as it is.
fn named(event_id: &str, event: &str) -> String {
    event.replacen(r#""event_id":"a""#, &format!(r#""event_id":"{event_id}""#), 1)
}

fn good() -> String {
    with("payload", "{}")
}

fn nested(levels: usize) -> String {
    format!("{}{}", r#"{"a":"#.repeat(levels - 1) + "{}", "}".repeat(levels - 1))
}

/// Sends each body, alone and between good events; then nothing must have happened, and the service be well.
async fn are_refused(service: &RunningService, refusals: &[Refusal]) {
    for refusal in refusals {
        let answer = service.client.try_publish(refusal.body.clone()).await.unwrap();
        check(refusal, &answer, 0);
        if !refusal.places.is_empty() {
            let event = String::from_utf8(refusal.body.clone()).unwrap();
            let (first, last) = (named("first", &good()), named("last", &good()));
            for body in [format!("[{first},{event},{last}]"), format!(r#"{{"events":[{first},{event}]}}"#)] {
                let answer = service.client.try_publish(body).await.unwrap();
                check(refusal, &answer, 1);
            }
        }
    }
    nothing_happened(service).await;
}

fn check(refusal: &Refusal, answer: &Answer, index: u64) {
    let shown = String::from_utf8_lossy(&refusal.body[..refusal.body.len().min(300)]).into_owned();
    let problem = answer.problem(refusal.status);
    let places: Vec<(u64, String)> =
        refusal.places.iter().map(|(_, pointer)| (index, pointer.clone())).collect();
    assert_eq!(answer.faults(), places, "{shown}: {problem}");
    let said = match problem["errors"].as_array() {
        Some(errors) => errors.iter().map(|error| error["detail"].as_str().unwrap()).collect(),
        None => problem["detail"].as_str().unwrap().to_owned(),
    };
    assert!(said.contains(&refusal.says), "{shown}: {said:?} says {:?}", refusal.says);
}

/// Nothing is stored or counted, and a good publish works; it is the only thing that the service then holds.
async fn nothing_happened(service: &RunningService) {
    let client = &service.client;
    assert_eq!(client.counts().await, NOTHING);
    assert_eq!(client.stats().await["topics"], json!([]));
    assert_eq!(client.all_events().await, [] as [Value; 0]);
    let results = client.publish_ok(event("good", "good")).await;
    assert_eq!(results[0]["seq"], 1);
    assert_eq!(client.counts().await, (1, 1, 0));
    let in_flight = &client.stats().await["node"]["in_flight"];
    assert_eq!((&in_flight["events"], &in_flight["bytes"]), (&json!(0), &json!(0)));
    service.database().assert_sound().await;
}

/// Publishes an event that must be stored, and answers how it reads back, as text and as a value.
async fn stored(service: &RunningService, event: &str) -> (String, Value) {
    let results = service.client.publish_ok(event).await;
    assert_eq!(results[0]["status"], "stored", "{event}");
    let before = results[0]["seq"].as_u64().unwrap() + 1;
    let answer = service.client.get(&format!("/events?limit=1&before={before}")).await;
    let value = answer.json()[0].clone();
    assert_eq!(value["event_id"], results[0]["event_id"]);
    (answer.text, value)
}

const ESCAPES_REFUSED: [(&str, &str); 9] = [
    (r"\u0000", "U+0000"),
    (r"before\u0000after", "U+0000"),
    (r"\\\u0000", "U+0000"),
    (r"\ud800", "lone surrogate"),
    (r"\uDFFF", "lone surrogate"),
    (r"\uD83Dx", "lone surrogate"),
    (r"\uD83D\n", "lone surrogate"),
    (r"\ud83d\u0041", "lone surrogate"),
    (r"\ud83d\\ude00", "lone surrogate"),
];

#[test]
fn nul_and_lone_surrogates_are_refused_wherever_they_stand() {
    let mut refusals = Vec::new();
    for (text, says) in ESCAPES_REFUSED {
        for field in ["topic", "event_id", "timestamp", "source", "extra"] {
            refusals.push(Refusal::at(&format!("/{field}"), says, with(field, &format!("\"{text}\""))));
        }
        for field in ["payload", "extra"] {
            for (value, rest) in [
                (format!(r#"{{"k":"{text}"}}"#), "/k"),
                (format!(r#"{{"k":[1,{{"a/b~":"{text}"}}]}}"#), "/k/1/a~1b~0"),
            ] {
                refusals.push(Refusal::at(&format!("/{field}{rest}"), says, with(field, &value)));
            }
        }
    }
    // A key's own pointer holds the key; where it is no string at all, as it stands in the body.
    for (key, shown, says) in [(r"k\u0000", "k\0", "U+0000"), (r"k\udead", r"k\udead", "lone surrogate")] {
        for value in ["1", "{}", r#"["x"]"#] {
            let object = format!(r#"{{"x":0,"{key}":{value}}}"#);
            refusals.push(Refusal::at(&format!("/payload/{shown}"), says, with("payload", &object)));
            refusals.push(Refusal::at(&format!("/extra/{shown}"), says, with("extra", &object)));
            refusals.push(Refusal::at(&format!("/{shown}"), says, with(key, value)));
        }
    }
    on_both_stores(async |service| are_refused(&service, &refusals).await);
}

#[test]
fn escapes_that_only_look_dangerous_are_stored_and_read_back() {
    on_both_stores(async |service| {
        for (place, (text, meant)) in [
            (r"\\u0000", r"\u0000"),
            (r"\\\\u0000", r"\\u0000"),
            (r"\\ud800", r"\ud800"),
            (r"\ud83d\ude00", "😀"),
            (r"\uD83D\uDE00\u00e9", "😀é"),
            (r#"\"\/"#, "\"/"),
            ("\u{feff}\u{200b}\u{202e}\u{fffd}\u{10ffff}", "\u{feff}\u{200b}\u{202e}\u{fffd}\u{10ffff}"),
        ]
        .into_iter()
        .enumerate()
        {
            let payload = format!(r#"{{"k":"{text}","{text}":["{text}"]}}"#);
            let event = format!(
                r#"{{"topic":"{text}","event_id":"{place}-{text}","source":"{text}","payload":{payload},"timestamp":"2026-06-18T12:00:00Z","{text}":"{text}"}}"#
            );
            let (text, event) = stored(&service, &event).await;
            assert_eq!((event["topic"].as_str(), event["source"].as_str()), (Some(meant), Some(meant)));
            assert_eq!(event["event_id"], format!("{place}-{meant}"));
            assert!(text.contains(&payload), "the payload comes back to the letter: {text}");
            let topic: String = form_urlencoded::byte_serialize(meant.as_bytes()).collect();
            assert_eq!(service.client.events(&format!("?topic={topic}")).await, [event]);
        }
        service.database().assert_sound().await;
    });
}

#[test]
fn numbers_that_no_store_can_keep_are_refused() {
    let ones = |digits: usize| "1".repeat(digits);
    let mut refusals = Vec::new();
    for (number, says) in [
        ("1e400000".to_owned(), "1.8e308"),
        ("-1E+400000".to_owned(), "1.8e308"),
        ("1.8e308".to_owned(), "1.8e308"),
        ("-1.8e308".to_owned(), "1.8e308"),
        ("0.00018e312".to_owned(), "1.8e308"),
        (format!("18{}", "0".repeat(307)), "1.8e308"),
        ("1e99999999999999999999".to_owned(), "1.8e308"),
        (ones(1_001), "1000 digits"),
        (format!("0.{}", ones(1_000)), "1000 digits"),
        (format!("1e-{}", ones(1_000)), "1000 digits"),
    ] {
        for (pointer, event) in [
            ("/payload/n", with("payload", &format!(r#"{{"n":{number}}}"#))),
            ("/payload/n/2", with("payload", &format!(r#"{{"n":[1,2,{number}]}}"#))),
            ("/extra", with("extra", &number)),
            ("/extra/0", with("extra", &format!("[{number}]"))),
        ] {
            refusals.push(Refusal::at(pointer, says, event));
        }
    }
    on_both_stores(async |service| are_refused(&service, &refusals).await);
}

#[test]
fn numbers_come_back_with_every_digit() {
    let numbers = [
        "1.79e308".to_owned(),
        "-1.797e308".to_owned(),
        "1e-400000".to_owned(),
        "0e999999".to_owned(),
        "-0.0".to_owned(),
        "1.10".to_owned(),
        "1E+2".to_owned(),
        "123456789012345678901234567890".to_owned(),
        format!("0.{}", "7".repeat(999)),
        format!("179{}", "0".repeat(306)),
    ];
    on_both_stores(async |service| {
        for (place, number) in numbers.iter().enumerate() {
            let payload = format!(r#"{{"n": {number} }}"#);
            let (text, _) = stored(&service, &named(&place.to_string(), &with("payload", &payload))).await;
            assert!(text.contains(&format!(r#""payload":{payload},"#)), "{number}: {text}");
        }
        service.database().assert_sound().await;
    });
}

#[test]
fn a_payload_is_at_most_64_levels_deep() {
    let pointer = format!("/payload{}", "/a".repeat(64));
    let mut refusals =
        vec![Refusal::at(&pointer[..pointer.len() - 2], "64 levels", with("payload", &nested(65)))];
    let arrays = format!(r#"{{"a":{}{}}}"#, "[".repeat(64), "]".repeat(64));
    let pointer = format!("/payload/a{}", "/0".repeat(62));
    refusals.push(Refusal::at(&pointer, "64 levels", with("payload", &arrays)));
    on_both_stores(async |service| {
        // However deep it goes, the pointer ends after 64 steps.
        let answer = service.client.publish(with("payload", &nested(10_000))).await;
        answer.problem(422);
        assert_eq!(answer.faults(), [(0, format!("/payload{}", "/a".repeat(63)))]);
        for open_and_close in [("[", "]"), (r#"{"a":"#, "}")] {
            let (open, close) = open_and_close;
            let body = format!("{}1{}", open.repeat(10_000), close.repeat(10_000));
            service.client.publish(&body).await.problem(422);
            service.client.publish(open.repeat(10_000)).await.problem(400);
            service.client.publish(format!(r#"{{"events":{body}}}"#)).await.problem(422);
        }
        are_refused(&service, &refusals).await;
        let deepest = with("payload", &nested(64));
        let (text, _) = stored(&service, &deepest).await;
        assert!(text.contains(&nested(64)));
        let deep_but_ignored = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        stored(&service, &named("b", &with("extra", &deep_but_ignored))).await;
    });
}

#[test]
fn names_have_1_to_255_bytes_and_no_control_character() {
    let long = |piece: &str, times: usize| format!("\"{}\"", piece.repeat(times));
    let mut refusals = Vec::new();
    for field in ["topic", "event_id", "source"] {
        let mut refuse = |says: &str, value: &str| {
            refusals.push(Refusal::at(&format!("/{field}"), says, with(field, value)))
        };
        refuse("empty", r#""""#);
        for space in [" ", "   ", "\u{a0}", "\u{3000}", "\u{2028}", "\u{2003} \u{1680}"] {
            refuse("white space", &format!("\"{space}\""));
        }
        for control in [
            r"\t",
            r"\n",
            r"x\r",
            r"\u0001",
            r"\u001f",
            r"a\u007fb",
            r"\u0080",
            r"\u0085",
            "a\u{85}",
            "\u{9f}b",
            "\u{7f}",
        ] {
            refuse("control character", &format!("\"{control}\""));
        }
        refuse("255 bytes, not 256", &long("x", 256));
        refuse("255 bytes, not 256", &long("é", 128));
        refuse("255 bytes, not 256", &long("😀", 64));
        refuse("255 bytes, not 256", &long(r"\u00e9", 128));
        refuse("255 bytes", &long("x", 1_000_000));
        for (value, kind) in [
            ("null", "null"),
            ("1", "a number"),
            ("true", "a boolean"),
            ("[]", "an array"),
            (r#"["t"]"#, "an array"),
            ("{}", "an object"),
        ] {
            refuse(&format!("must be a string, not {kind}"), value);
        }
    }
    on_both_stores(async |service| are_refused(&service, &refusals).await);
}

#[test]
fn the_longest_and_oddest_names_are_stored_and_read_back() {
    on_both_stores(async |service| {
        let names = [
            "x".repeat(255),
            "é".repeat(127) + "x",
            "😀".repeat(63) + "abc",
            " a ".to_owned(),
            "\u{200b}".to_owned(),
        ];
        for name in &names {
            let mut event = event(name, name);
            event["source"] = json!(name);
            let (_, stored) = stored(&service, &event.to_string()).await;
            assert_eq!([&stored["topic"], &stored["event_id"], &stored["source"]], [name; 3]);
            let escaped: String = name
                .chars()
                .map(|letter| {
                    let mut units = [0; 2];
                    letter
                        .encode_utf16(&mut units)
                        .iter()
                        .map(|unit| format!("\\u{unit:04x}"))
                        .collect::<String>()
                })
                .collect();
            let again = service.client.publish_ok(event.to_string().replace(name.as_str(), &escaped)).await;
            assert_eq!(again[0]["status"], "duplicate", "an escaped id is the same id");
        }
    });
}

#[test]
fn timestamps_that_name_no_moment_are_refused() {
    let shape = "must look like";
    let date = "date that does not exist";
    let time = "time of day or an offset that does not exist";
    let range = "years 1 to 9999";
    let mut refusals = Vec::new();
    for (text, says) in [
        ("", shape),
        ("now", shape),
        ("1750000000", shape),
        ("2026-06-18", shape),
        ("2026-06-18T12:00", shape),
        ("2026-06-18T12", shape),
        ("2026-06-18T12:00:00.", shape),
        ("2026-06-18T12:00:00.Z", shape),
        ("2026-06-18T12:00:00,5Z", shape),
        ("2026-06-18T12:00:00.5 Z", shape),
        ("2026-06-18  12:00:00", shape),
        ("2026-06-18_12:00:00", shape),
        ("2026-06-18T12:00:00Z ", shape),
        (" 2026-06-18T12:00:00Z", shape),
        ("2026-06-18T12:00:00ZZ", shape),
        ("2026-06-18T12:00:00+07", shape),
        ("2026-06-18T12:00:00+0700", shape),
        ("2026-06-18T12:00:00+07:0", shape),
        ("2026-06-18T12:00:00+07:00:00", shape),
        ("2026-06-18T12:00:00 +07:00", shape),
        ("2026-06-18T12:00:00−07:00", shape),
        ("2026-06-18T12:00:00 UTC", shape),
        ("2026-6-18T12:00:00Z", shape),
        ("26-06-18T12:00:00Z", shape),
        ("20260618T120000Z", shape),
        ("2026-W25-4T12:00:00Z", shape),
        ("2026-169T12:00:00Z", shape),
        ("18.06.2026 12:00:00", shape),
        ("-2026-06-18T12:00:00Z", shape),
        ("+002026-06-18T12:00:00Z", shape),
        ("10000-01-01T00:00:00Z", shape),
        ("２０２６-06-18T12:00:00Z", shape),
        ("2026-06-18T1２:00:00Z", shape),
        ("2026-06-18T-1:00:00Z", shape),
        ("2026-02-29T12:00:00Z", date),
        ("1900-02-29T12:00:00Z", date),
        ("2026-04-31T12:00:00Z", date),
        ("2026-00-18T12:00:00Z", date),
        ("2026-13-18T12:00:00Z", date),
        ("2026-06-00T12:00:00Z", date),
        ("2026-06-18T24:00:00Z", time),
        ("2026-06-18T12:60:00Z", time),
        ("2026-06-30T23:59:60Z", time),
        ("2016-12-31T23:59:60Z", time),
        ("2026-06-18T12:00:00+24:00", time),
        ("2026-06-18T12:00:00-00:60", time),
        ("0000-06-18T12:00:00Z", range),
        ("0001-01-01T00:00:00+00:01", range),
        ("9999-12-31T23:59:59.999999-00:01", range),
    ] {
        refusals.push(Refusal::at("/timestamp", says, with("timestamp", &format!("\"{text}\""))));
    }
    for value in ["null", "1750000000", "1.75e9", "true", "[]", "{}"] {
        refusals.push(Refusal::at("/timestamp", "must be a string, not", with("timestamp", value)));
    }
    on_both_stores(async |service| are_refused(&service, &refusals).await);
}

#[test]
fn every_accepted_form_of_a_timestamp_is_answered_in_one_form() {
    on_both_stores(async |service| {
        for (place, (given, answered)) in [
            ("2026-06-18T12:00:00.123456", "2026-06-18T12:00:00.123456Z"),
            ("2026-06-18t12:00:00z", "2026-06-18T12:00:00Z"),
            ("2026-06-18 12:00:00", "2026-06-18T12:00:00Z"),
            ("2026-06-18 12:00:00.5+00:00", "2026-06-18T12:00:00.500000Z"),
            ("2026-06-18T12:00:00.1234569Z", "2026-06-18T12:00:00.123456Z"),
            ("2026-06-18T12:00:00.0000009Z", "2026-06-18T12:00:00Z"),
            ("2026-06-18T00:30:00+07:00", "2026-06-17T17:30:00Z"),
            ("2026-12-31T23:59:59.999999999-23:59", "2027-01-01T23:58:59.999999Z"),
            ("2024-02-29T23:59:59-00:00", "2024-02-29T23:59:59Z"),
            ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
            ("0000-12-31T23:30:00-01:00", "0001-01-01T00:30:00Z"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
            (r"2026-06-18\u005412:00:00Z", "2026-06-18T12:00:00Z"),
        ]
        .into_iter()
        .enumerate()
        {
            let event = named(&place.to_string(), &with("timestamp", &format!("\"{given}\"")));
            assert_eq!(stored(&service, &event).await.1["timestamp"], answered, "{given}");
        }
        let digits = format!("\"2026-06-18T12:00:00.{}Z\"", "9".repeat(100_000));
        let (_, event) = stored(&service, &named("digits", &with("timestamp", &digits))).await;
        assert_eq!(event["timestamp"], "2026-06-18T12:00:00.999999Z");
    });
}

#[test]
fn events_of_the_wrong_shape_are_refused_with_every_place() {
    let mut refusals = Vec::new();
    for (value, kind) in [
        ("null", "null"),
        ("[]", "an array"),
        (r#""{}""#, "a string"),
        ("1", "a number"),
        ("false", "a boolean"),
    ] {
        let says = format!("must be an object, not {kind}");
        refusals.push(Refusal::at("/payload", &says, with("payload", value)));
    }
    for (field, value) in FIELDS {
        let pointer = format!("/{field}");
        refusals.push(Refusal::at(&pointer, "missing", without(field)));
        let twice = good().replacen('{', &format!("{{\"{field}\":{value},"), 1);
        refusals.push(Refusal::at(&pointer, "twice", twice));
        let other_case = without(field).replacen('{', &format!("{{\"{}\":{value},", field.to_uppercase()), 1);
        refusals.push(Refusal::at(&pointer, "missing", other_case));
    }
    let twice_in_disguise = good().replacen('{', r#"{"top\u0069c":"t","#, 1);
    refusals.push(Refusal::at("/topic", "twice", twice_in_disguise));
    let everything = r#"{"topic":1,"event_id":"","timestamp":"x","payload":{"a":["\u0000"]}}"#;
    let all = ["/topic", "/event_id", "/timestamp", "/source", "/payload/a/0"];
    let places = all.map(|pointer| (0, pointer.to_owned())).to_vec();
    refusals.push(Refusal { body: everything.into(), status: 422, places, says: "missing".to_owned() });
    let places = ["/topic", "/event_id", "/timestamp", "/source", "/payload"];
    let places = places.map(|pointer| (0, pointer.to_owned())).to_vec();
    refusals.push(Refusal { body: "{}".into(), status: 422, places, says: "missing".to_owned() });
    for (element, kind) in [
        ("null", "null"),
        ("1", "a number"),
        (r#""e""#, "a string"),
        ("[]", "an array"),
        ("[{}]", "an array"),
        ("true", "a boolean"),
        (r#""\u0000""#, "a string"),
    ] {
        for body in [format!("[{element}]"), format!(r#"{{"events":[{element}]}}"#)] {
            let places = vec![(0, String::new())];
            let says = format!("must be an object, not {kind}");
            refusals.push(Refusal { body: body.into(), status: 422, places, says });
        }
    }
    on_both_stores(async |service| {
        for refusal in &refusals {
            let answer = service.client.try_publish(refusal.body.clone()).await.unwrap();
            check(refusal, &answer, 0);
        }
        nothing_happened(&service).await;
    });
}

#[test]
fn bodies_that_hold_no_events_say_what_was_expected() {
    let refusals = [
        Refusal::whole(422, "no events", "[]"),
        Refusal::whole(422, "no events", r#"{"events":[]}"#),
        Refusal::whole(422, "no events", r#" {"events": [ ] , "note": 1} "#),
        Refusal::whole(422, "`events` must be an array, not null", r#"{"events":null}"#),
        Refusal::whole(422, "`events` must be an array, not an object", r#"{"events":{}}"#),
        Refusal::whole(422, "`events` must be an array, not a string", r#"{"events":"[]"}"#),
        Refusal::whole(422, "`events` must be an array, not a number", r#"{"events":1}"#),
        Refusal::whole(422, "twice", r#"{"events":[],"events":[]}"#),
        Refusal::whole(422, "must be an event, an array of events or an object", "null"),
        Refusal::whole(422, "must be an event, an array of events or an object", "1"),
        Refusal::whole(422, "must be an event, an array of events or an object", "true"),
        Refusal::whole(422, "must be an event, an array of events or an object", r#""events""#),
    ];
    on_both_stores(async |service| are_refused(&service, &refusals).await);
}

#[test]
fn what_is_not_json_is_refused_with_line_and_column() {
    let good = good();
    let mut refusals = Vec::new();
    for (body, place) in [
        (String::new(), "line 1 column 1"),
        ("  \n ".to_owned(), "line 1 column 1"),
        ("x".to_owned(), "line 1 column 1"),
        (r#"{"events":["#.to_owned(), "line 1 column 11"),
        (good[..good.len() - 1].to_owned(), &format!("line 1 column {}", good.len() - 1)),
        (format!("{good}\n{good}"), "line 2 column 1"),
        (format!("{good},"), &format!("line 1 column {}", good.len() + 1)),
        (format!("{good}\n\n  x"), "line 3 column 3"),
        (with("payload", "{\"n\":NaN}"), "line 1"),
        (with("payload", "{\"n\":Infinity}"), "line 1"),
        (with("payload", "{\"n\":01}"), "line 1"),
        (with("payload", "{\"n\":.5}"), "line 1"),
        (with("payload", "{\"n\":+1}"), "line 1"),
        (with("payload", "{\"n\":1.}"), "line 1"),
        (with("payload", "{\"n\":0x10}"), "line 1"),
        (with("payload", "{\"n\":1,}"), "line 1"),
        (with("payload", "{n:1}"), "line 1"),
        (with("payload", r#"{"n":"\x00"}"#), "line 1"),
        (with("payload", r#"{"n":"\u00g0"}"#), "line 1"),
        (with("payload", "{\"n\":\"a\tb\"}"), "line 1"),
        (with("payload", "{\"n\":\"a\0b\"}"), "line 1"),
        (good.replace('"', "'"), "line 1 column 2"),
        (format!("/* hello */ {good}"), "line 1 column 1"),
        (format!("[{good} // one\n]"), "line 1"),
        (format!("[{good} {good}]"), "line 1"),
        (format!("[{good},]"), "line 1"),
        (format!("\u{feff}{good}"), "line 1 column 1"),
        (format!("\u{a0}{good}"), "line 1 column 1"),
        ("topic=t&event_id=a".to_owned(), "line 1"),
        ("undefined".to_owned(), "line 1 column 1"),
    ] {
        refusals.push(Refusal::whole(400, place, body));
    }
    for invalid in [&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"] {
        let mut body = b"{\n \"topic\": \"".to_vec();
        body.extend_from_slice(invalid);
        body.extend_from_slice(b"\"}");
        refusals.push(Refusal::whole(400, "line 2 column 12", body));
    }
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    refusals.push(Refusal::whole(400, "line 1 column 2", utf16));
    refusals.push(Refusal::whole(400, "line 1 column 2", b"\x1f\x8b\x08\0\0".to_vec()));
    refusals.push(Refusal::whole(400, "line 1 column 1", vec![0; 5_000]));
    on_both_stores(async |service| are_refused(&service, &refusals).await);
}

#[test]
fn at_most_a_hundred_faults_are_named_in_index_order() {
    on_both_stores(async |service| {
        let bad = |index: usize| if index.is_multiple_of(2) { without("topic") } else { good() };
        let bodies = |count| (0..count).map(bad).collect::<Vec<_>>().join(",");
        let even = |count: u64| (0..count).map(|place| (place * 2, "/topic".to_owned())).collect::<Vec<_>>();
        for (events, faults) in [(199, 100), (200, 100), (201, 100), (10_000, 100), (197, 99)] {
            let answer = service.client.publish(format!("[{}]", bodies(events))).await;
            let problem = answer.problem(422);
            assert_eq!(answer.faults(), even(faults), "{events} events");
            let says = if faults < 100 { "99 of the request's" } else { "at least 100 of the request's" };
            assert!(problem["detail"].as_str().unwrap().starts_with(says), "{problem}");
        }
        // Faults within one event count like any other.
        let nuls = vec![r#""\u0000""#; 250].join(",");
        let answer = service.client.publish(with("payload", &format!(r#"{{"n":[{nuls}]}}"#))).await;
        answer.problem(422);
        let places: Vec<_> = (0..100).map(|place| (0, format!("/payload/n/{place}"))).collect();
        assert_eq!(answer.faults(), places);
        nothing_happened(&service).await;
    });
}

#[test]
fn a_refusal_costs_little_however_hostile_the_body() {
    let some = 150_000;
    let bodies = [
        // Each of the faults lies behind a huge key, whose text its pointer would repeat.
        with(
            "payload",
            &format!(r#"{{"{}":[{}]}}"#, "k".repeat(15 * some), vec![r#""\u0000""#; 200].join(",")),
        ),
        // Each of the faults lies 60 levels deep, at the end of millions of small values.
        with(
            "payload",
            &format!(
                "{}{}[[{}],{}]{}{}",
                r#"{"a":"#.repeat(30),
                "[".repeat(30),
                vec!["0"; 6 * some].join(","),
                vec![r#""\ud800""#; 200].join(","),
                "]".repeat(30),
                "}".repeat(30)
            ),
        ),
        // Millions of faults.
        with("payload", &format!(r#"{{"n":"{}"}}"#, r"\u0000".repeat(2 * some))),
        with("extra", &format!("[{}]", vec!["1e999"; 2 * some].join(","))),
        format!(r#"{{"topic":"{}"}}"#, r"\udead".repeat(2 * some)),
        format!("[{}]", vec!["0"; 8 * some].join(",")),
        format!("[{}]", vec!["{}"; 10_000].join(",")),
    ];
    on_both_stores(async |service| {
        for body in &bodies {
            let begun = Instant::now();
            let answer = service.client.publish(body).await;
            let shown = body.chars().take(100).collect::<String>();
            assert!([413, 422].contains(&answer.status), "{shown}: {}", answer.status);
            answer.problem(answer.status);
            assert!(answer.text.len() < 200_000, "{shown}: an answer of {} bytes", answer.text.len());
            assert!(begun.elapsed() < Duration::from_secs(10), "{shown}: took {:?}", begun.elapsed());
        }
        nothing_happened(&service).await;
    });
}

#[test]
fn statements_of_sql_are_text_like_any_other() {
    let names = [
        "'; DROP TABLE events; --",
        "'); DROP SCHEMA sekali CASCADE; --",
        "\" OR \"\"=\"",
        "1 OR 1=1",
        "%' OR topic LIKE '%",
        "_%",
        "$1",
        "$$; SELECT pg_sleep(10); $$",
        "?1",
        ":topic",
        "\\'; DELETE FROM events; --",
        "{\"a\",NULL}",
        "NULL",
        "a,b",
        "{}",
        "../../etc/passwd",
        "%00",
        "%2e%2e%2f",
        "<script>alert(1)</script>",
        "${jndi:ldap://x}",
        "a;b&c=d#e?f",
    ];
    on_both_stores(async |service| {
        let client = &service.client;
        for (place, name) in names.iter().enumerate() {
            let mut event = event(name, name);
            event["source"] = json!(name);
            event["payload"] = json!({*name: name});
            client.publish_ok(&event).await;
            let seq = place as u64 + 1;
            let encoded: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
            let page = client.events(&format!("?topic={encoded}")).await;
            assert_eq!(page.len(), 1, "{name}");
            let path = encoded.replace('+', "%20");
            let single = client.get(&format!("/events/{path}")).await.json();
            assert_eq!(single, page[0], "{name}");
            assert_eq!(single["seq"], seq);
            for field in ["topic", "event_id", "source", "payload"] {
                assert_eq!(single[field], event[field], "{name}");
            }
        }
        assert_eq!(client.counts().await, (names.len() as u64, names.len() as u64, 0));
        assert_eq!(client.stats().await["topics"], json!(names));
        assert_eq!(client.all_events().await.len(), names.len());
        service.database().assert_sound().await;
    });
}

#[test]
fn bad_requests_among_good_ones_harm_none_of_them() {
    let bad = [
        with("topic", r#""\u0000""#),
        with("payload", r#"{"n":1e400000}"#),
        format!("[{},{}]", named("never-1", &good()), with("timestamp", "\"x\"")),
        "{".to_owned(),
        "[]".to_owned(),
        format!("[{}]", "{},".repeat(20_000) + "{}"),
    ];
    on_both_stores(async |service| {
        const WORKERS: usize = 8;
        const ROUNDS: usize = 40;
        let workers = (0..WORKERS).map(|worker| {
            let (client, bad) = (service.client.clone(), bad.clone());
            tokio::spawn(async move {
                for round in 0..ROUNDS {
                    if (worker + round) % 2 == 0 {
                        let refused = client.publish(&bad[(worker / 2 + round) % bad.len()]).await;
                        assert!([400, 413, 422].contains(&refused.status), "{}", refused.status);
                    }
                    // An event of its own, one that all workers share, and one twice.
                    let own = format!("{worker}-{round}");
                    let ids = [own.as_str(), &format!("shared-{round}"), &own];
                    let results = client.publish_ok(crate::harness::events("t", ids)).await;
                    assert_eq!(results[0]["status"], "stored");
                    assert_eq!(results[2]["status"], "duplicate");
                    assert_eq!(results[2]["seq"], results[0]["seq"]);
                }
            })
        });
        for worker in workers.collect::<Vec<_>>() {
            worker.await.unwrap();
        }
        let (received, unique) = ((WORKERS * ROUNDS * 3) as u64, (WORKERS * ROUNDS + ROUNDS) as u64);
        assert_eq!(service.client.counts().await, (received, unique, received - unique));
        assert_eq!(service.client.all_events().await.len() as u64, unique);
        service.database().assert_sound().await;
    });
}

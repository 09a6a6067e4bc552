use proptest::prelude::*;

use super::*;

const GOOD: &str =
    r#"{"topic":"t","event_id":"a","timestamp":"2026-06-18T12:00:00Z","source":"s","payload":{"n":1.10}}"#;

fn parse(body: &str) -> Result<Vec<Event>, BatchError> {
    parse_batch(body.to_owned().into(), 10)
}

fn faults(body: &str) -> Vec<(usize, String, String)> {
    match parse(body) {
        Err(BatchError::Faults(faults)) => {
            faults.into_iter().map(|fault| (fault.index, fault.pointer, fault.detail)).collect()
        }
        other => panic!("{body}: {other:?}"),
    }
}

fn with(field: &str, value: &str) -> String {
    let mut event: serde_json::Map<String, serde_json::Value> = serde_json::from_str(GOOD).unwrap();
    event.remove(field);
    let rest = serde_json::to_string(&event).unwrap();
    format!("{{\"{field}\":{value},{}", &rest[1..])
}

#[test]
fn the_three_shapes_hold_the_same_events() {
    let single = parse(GOOD).unwrap();
    assert_eq!(single[0].payload(), r#"{"n":1.10}"#);
    assert_eq!(parse(&format!(" [ {GOOD} ] ")).unwrap(), single);
    assert_eq!(parse(&format!(r#"{{"events":[{GOOD}]}}"#)).unwrap(), single);
    assert_eq!(parse(&format!(r#"{{"x":[1],"\u0065vents":[{GOOD}],"y":2}}"#)).unwrap(), single);
    let event_with_a_further_field = GOOD.replacen('{', r#"{"events":5,"x":{"y":[]},"#, 1);
    assert_eq!(parse(&event_with_a_further_field).unwrap(), single);
}

#[test]
fn an_object_with_event_id_is_an_event_whatever_else_it_has() {
    let single = parse(GOOD).unwrap();
    let other = with("event_id", "\"b\"");
    for events in [format!("[{other}]"), format!("[{other},{other}]"), "[]".to_owned(), "[5,{}]".to_owned()] {
        let before = GOOD.replacen('{', &format!(r#"{{"events":{events},"#), 1);
        let behind = format!(r#"{},"events":{events}}}"#, &GOOD[..GOOD.len() - 1]);
        let twice = behind.replacen('{', r#"{"events":[],"#, 1);
        let escaped = before.replace("event_id", r"\u0065vent\u005Fid");
        for body in [before, behind, twice, escaped] {
            assert_eq!(parse(&body).unwrap(), single, "{body}");
        }
    }
    let not_valid = faults(&format!(r#"{{"events":[{GOOD}],"event_id":5}}"#));
    assert_eq!(not_valid[0].1, "/event_id", "{not_valid:?}");
    let breach = GOOD.replacen('{', r#"{"events":["\u0000"],"#, 1);
    assert_eq!(faults(&breach)[0].1, "/events/0");
}

#[test]
fn keys_are_known_by_what_their_escapes_stand_for() {
    let escaped = GOOD.replace("topic", r"\u0074opi\u0063").replace("payload", r"payloa\u0064");
    assert_eq!(parse(&escaped).unwrap(), parse(GOOD).unwrap());
    for key in [r"topic\u0000", r"\u0074\n", r"\ud83d\ude00", r"\u0074\u0074", r"topic\/", r"\u0101vents"] {
        let further = GOOD.replacen('{', &format!(r#"{{"{key}":0,"#), 1);
        match parse(&further) {
            Ok(events) => assert_eq!(events, parse(GOOD).unwrap(), "{key}"),
            Err(error) => assert!(key.contains("u0000"), "{key}: {error}"),
        }
    }
}

#[test]
fn escaped_names_are_stored_unescaped() {
    let events = parse(&with("topic", r#""caf\u00e9 \ud83d\ude00 \"q\" \\u0000""#)).unwrap();
    assert_eq!(events[0].topic(), "café 😀 \"q\" \\u0000");
}

#[test]
fn what_is_not_json_is_told_with_line_and_column() {
    for (body, line, column) in
        [("", 1, 1), ("{\"a\":\n  oops}", 2, 3), ("[1,]", 1, 4), ("{} x", 1, 4), ("nul", 1, 3)]
    {
        match parse(body) {
            Err(BatchError::NotJson { line: found_line, column: found_column, .. }) => {
                assert_eq!((found_line, found_column), (line, column), "{body}");
            }
            other => panic!("{body}: {other:?}"),
        }
    }
    let invalid = Bytes::from_static(b"{\n \"a\":\"\xff\"}");
    let error = parse_batch(invalid, 10).unwrap_err();
    assert_eq!(error.to_string(), "the body is not JSON: a byte that is not UTF-8 at line 2 column 7");
}

#[test]
fn bodies_of_another_shape_say_what_was_expected() {
    for body in [
        "5",
        "null",
        "\"x\"",
        "true",
        r#"{"events":{}}"#,
        r#"{"events":null}"#,
        r#"{"events":[],"events":[]}"#,
        r#"{"events":[],"note":["\u0000"]}"#,
        r#"{"if":{},"events":[]}"#,
        r#"{"events":[],"\u0069f":null}"#,
    ] {
        assert!(matches!(parse(body), Err(BatchError::WrongShape(_))), "{body}");
    }
    assert_eq!(parse("[]"), Err(BatchError::Empty));
    assert_eq!(parse(r#"{"events":[]}"#), Err(BatchError::Empty));
    let eleven = format!("[{}]", [GOOD; 11].join(","));
    assert_eq!(parse(&eleven), Err(BatchError::TooMany { events: 11, events_max: 10 }));
}

#[test]
fn every_fault_of_every_event_is_named_in_order() {
    let body = format!(
        r#"[{GOOD},{{"topic":5,"event_id":"","timestamp":"soon","payload":[]}},7,{}]"#,
        with("payload", r#"{"a":["\u0000"],"n":1e999}"#)
    );
    let found = faults(&body);
    let places: Vec<(usize, &str)> =
        found.iter().map(|(index, pointer, _)| (*index, pointer.as_str())).collect();
    assert_eq!(
        places,
        [
            (1, "/topic"),
            (1, "/event_id"),
            (1, "/timestamp"),
            (1, "/payload"),
            (1, "/source"),
            (2, ""),
            (3, "/payload/a/0"),
            (3, "/payload/n"),
        ]
    );
    assert_eq!(found[0].2, "must be a string, not a number");
    assert_eq!(found[4].2, "is missing");
}

#[test]
fn no_more_than_a_hundred_faults_are_named() {
    let body = format!("[{}]", ["{}"; 60].join(","));
    match parse_batch(body.into(), 100) {
        Err(BatchError::Faults(faults)) => assert_eq!(faults.len(), FAULTS_MAX),
        other => panic!("{other:?}"),
    }
    let one_event = format!("{{{}}}", [r#""topic":0"#; 1_000].join(","));
    assert_eq!(faults(&one_event).len(), FAULTS_MAX);
}

#[test]
fn names_are_held_to_their_rules() {
    let long = format!("\"{}\"", "é".repeat(128));
    for name in ["\"\"", "\" \\t\\u00a0\"", "\"a\\nb\"", "\"a\\u0085\"", "\"\\u0000\"", &long] {
        for field in ["topic", "event_id", "source"] {
            assert_eq!(faults(&with(field, name))[0].1, format!("/{field}"), "{name}");
        }
    }
    let longest = format!("\"{}\"", "x".repeat(255));
    assert!(parse(&with("event_id", &longest)).is_ok());
}

#[test]
fn a_field_that_stands_twice_is_refused() {
    let twice = GOOD.replacen('{', r#"{"event_id":"b","#, 1);
    assert_eq!(faults(&twice)[0].1, "/event_id");
}

#[test]
fn breaches_in_ignored_fields_are_refused_too() {
    let body = GOOD.replacen('{', r#"{"extra":{"deep":["\ud800"]},"#, 1);
    assert_eq!(
        faults(&body),
        [(0, "/extra/deep/0".to_owned(), "must not contain a lone surrogate".to_owned())]
    );
}

proptest! {
    #[test]
    fn any_json_value_is_read_without_panic(body in any_json()) {
        let _ = parse(&body);
    }

    #[test]
    fn any_text_is_read_without_panic(body in "[\\[\\]{}:,\"\\\\u0-9a-f. \n-]{0,60}") {
        let _ = parse(&body);
    }

    #[test]
    fn any_payload_comes_back_to_the_letter(payload in any_json().prop_map(|value| format!("{{\"v\": {value} }}"))) {
        let events = parse(&with("payload", &payload)).unwrap();
        prop_assert_eq!(&**events[0].payload(), payload.as_str());
    }
}

fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>()
            .prop_filter("JSON has no infinities", |number| number.is_finite())
            .prop_map(|number| format!("{number:e}")),
        "[^\u{0}]{0,8}".prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(|values| format!("[{}]", values.join(" , "))),
            prop::collection::vec(("[a-z]{0,8}", inner), 0..6).prop_map(|members| {
                let members: Vec<String> =
                    members.into_iter().map(|(key, value)| format!("\"{key}\" : {value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

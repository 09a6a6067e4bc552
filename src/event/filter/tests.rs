use proptest::{collection, prelude::*};
use serde_json::{Map, Value};

use super::*;

fn moment(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn passes(payload: &str, conditions: &[&str]) -> bool {
    let conditions = conditions.iter().map(|text| Condition::parse(text).unwrap()).collect();
    let event = ShownEvent {
        seq: 17,
        topic: "orders",
        event_id: "a/b~c",
        timestamp: moment("2026-06-18T12:00:00Z"),
        source: "api",
        payload,
        received_at: moment("2026-06-18T12:00:01.5Z"),
    };
    Filter::new(conditions).passes(&event)
}

#[test]
fn each_field_is_compared_as_it_is_shown() {
    for held in [
        "/seq=17",
        "/topic=orders",
        "/event_id=a/b~c",
        "/timestamp=2026-06-18T12:00:00Z",
        "/source=api",
        "/received_at=2026-06-18T12:00:01.500000Z",
    ] {
        assert!(passes("{}", &[held]), "{held}");
    }
    for other in ["/seq=017", "/topic=Orders", "/topic/x=orders", "/timestamp=2026-06-18", "/payload={}"] {
        assert!(!passes("{}", &[other]), "{other}");
    }
}

#[test]
fn values_of_the_payload_are_compared_as_text() {
    let payload = r#"{ "s": "x=\"y\"", "n": 1.50, "t":true ,"z":null, "o":{"k":[10, {"a/b":"é","m~n":"\u0061"}]},
        "":"empty","e":"", "i":{"0":"zero"}}"#;
    for held in [
        r#"/payload/s=x="y""#,
        "/payload/n=1.50",
        "/payload/t=true",
        "/payload/z=null",
        "/payload/o/k/0=10",
        "/payload/o/k/1/a~1b=é",
        "/payload/o/k/1/m~0n=a",
        "/payload/=empty",
        "/payload/e=",
        "/payload/i/0=zero",
    ] {
        assert!(passes(payload, &[held]), "{held}");
    }
    for other in [
        "/payload/n=1.5",
        "/payload/s=x",
        r#"/payload/t="true""#,
        "/payload/z=",
        "/payload/o/k=[10]",
        "/payload/o/k/00=10",
        "/payload/o/k/-=10",
        "/payload/o/k/2=",
        "/payload/o/k/99999999999999999999=10",
        "/payload/s/0=x",
        "/payload/none=null",
        "/payload=",
    ] {
        assert!(!passes(payload, &[other]), "{other}");
    }
}

#[test]
fn of_members_with_one_name_the_last_counts() {
    assert!(passes(r#"{"a":1,"a":{"b":2}}"#, &["/payload/a/b=2"]));
    assert!(!passes(r#"{"a":1,"a":2}"#, &["/payload/a=1"]));
}

#[test]
fn all_conditions_must_hold_and_none_lets_all_pass() {
    let payload = r#"{"a":1,"b":2}"#;
    assert!(passes(payload, &[]));
    assert!(passes(payload, &["/payload/a=1", "/payload/b=2", "/source=api"]));
    assert!(!passes(payload, &["/payload/a=1", "/payload/b=3"]));
}

#[test]
fn what_is_no_condition_is_refused_with_its_reason() {
    use ConditionFault::*;
    for (text, fault) in [
        ("", Form),
        ("/payload/level", Form),
        ("payload/level=error", Form),
        ("=x", Form),
        ("#/payload/level=error", Form),
        ("/=x", NoSuchField),
        ("/Topic=x", NoSuchField),
        ("/pay=x", NoSuchField),
        ("/payload/~=x", Escape),
        ("/payload/a~2=x", Escape),
        ("/payload/a~=x", Escape),
        ("/~=x", Escape),
    ] {
        assert_eq!(Condition::parse(text), Err(fault), "{text}");
    }
    assert_eq!(Condition::parse("/payload/a=b=c").unwrap().to_string(), "/payload/a=b=c");
}

/// Few names, so that pointers meet something.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![Just("a"), Just(""), Just("0"), Just("1"), Just("~/\"\\é")].prop_map(str::to_owned)
}

fn json() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2_i64..20).prop_map(Value::from),
        name().prop_map(Value::from),
    ];
    scalar.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            collection::vec((name(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// What serde_json finds, and how it reads.
fn text_at(payload: &Value, pointer: &str) -> Option<String> {
    match payload.pointer(pointer)? {
        Value::String(text) => Some(text.clone()),
        Value::Array(_) | Value::Object(_) => None,
        scalar => Some(scalar.to_string()),
    }
}

proptest! {
    #[test]
    fn a_condition_holds_where_the_value_at_its_pointer_has_its_text(
        members in collection::vec((name(), json()), 0..4),
        path in collection::vec(name(), 0..4),
        value in "(|a|0|1|true|null|~/\"\\\\é)",
        pretty in any::<bool>(),
    ) {
        let payload = Value::Object(members.into_iter().collect::<Map<_, _>>());
        let pointer: String =
            path.iter().map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1"))).collect();
        let text =
            if pretty { serde_json::to_string_pretty(&payload).unwrap() } else { payload.to_string() };
        let expected = text_at(&payload, &pointer);
        for value in expected.iter().chain([&value]) {
            let held = passes(&text, &[&format!("/payload{pointer}={value}")]);
            prop_assert_eq!(held, expected.as_ref() == Some(value), "{} {} {}", text, pointer, value);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "[/=~a-z01\"é]{0,12}") {
        let _ = Condition::parse(&text);
    }
}

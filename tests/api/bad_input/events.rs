//! Every rule for the fields of an event.

use serde_json::json;

use super::{Refusal, are_refused, named, nested, stored, with};
use crate::harness::{event, on_both_stores};

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

use super::{pointer::POINTER_BYTES_MAX, *};

fn breaches(text: &str, depth_max: usize) -> Vec<(String, Rule)> {
    serde_json::from_str::<&serde_json::value::RawValue>(text).expect("valid JSON");
    let mut breaches = Vec::new();
    let mut cursor = Cursor::new(text);
    cursor.skip(Some(depth_max), &mut breaches);
    assert_eq!(cursor.at(), text.trim_end().len(), "the walk ends behind the value of {text}");
    let targets: Vec<usize> = breaches.iter().map(|breach| breach.at).collect();
    pointers_to(text, &targets).into_iter().zip(breaches.into_iter().map(|breach| breach.rule)).collect()
}

#[test]
fn ordinary_values_break_no_rule() {
    for text in [
        "{}",
        "[ ]",
        " { \"a\" : [ 1 , -2.5e-400 , true , false , null , \"\\\\u0000\" ] } ",
        r#"{"pair":"\ud83d\ude00","quote":"\"","slash":"\\\""}"#,
        r#"[1.79e308, -1.7999999e308, 17e307, 0.00017e312, 0e999999, -0.0E+9999, 1e-400000]"#,
    ] {
        assert_eq!(breaches(text, 64), [], "{text}");
    }
}

#[test]
fn every_breach_is_found_with_its_pointer() {
    let text = r#"{"a":["ok","\u0000"],"b/c":{"\ud800":1},"n":[1e400000,1.8e308],"s":"\udc00\ud800x"}"#;
    assert_eq!(
        breaches(text, 64),
        [
            ("/a/1".to_owned(), Rule::Nul),
            (r"/b~1c/\ud800".to_owned(), Rule::LoneSurrogate),
            ("/n/0".to_owned(), Rule::Magnitude),
            ("/n/1".to_owned(), Rule::Magnitude),
            ("/s".to_owned(), Rule::LoneSurrogate),
            ("/s".to_owned(), Rule::LoneSurrogate),
        ]
    );
}

#[test]
fn long_numbers_are_judged_by_digits_and_magnitude() {
    let ones = |count: usize| "1".repeat(count);
    for (number, rule) in [
        (ones(309), None),
        (format!("18{}", "0".repeat(307)), Some(Rule::Magnitude)),
        (format!("179{}", "0".repeat(306)), None),
        (ones(310), Some(Rule::Magnitude)),
        (format!("0.{}", ones(999)), None),
        (format!("0.{}", ones(1_000)), Some(Rule::Digits)),
        (format!("1e{}", "9".repeat(999)), Some(Rule::Magnitude)),
        (format!("1e-{}", "9".repeat(999)), None),
        (format!("1e{}", "9".repeat(1_000)), Some(Rule::Digits)),
        (format!("0.{}1e320", "0".repeat(10)), Some(Rule::Magnitude)),
        (format!("0.{}1e319", "0".repeat(10)), None),
    ] {
        let found: Vec<Rule> = breaches(&number, 1).into_iter().map(|(_, rule)| rule).collect();
        assert_eq!(found, Vec::from_iter(rule), "{number}");
    }
}

#[test]
fn depth_counts_the_value_itself_and_is_told_once() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(breaches(&nested(64), 64), []);
    let pointer = "/0".repeat(64);
    assert_eq!(breaches(&nested(65), 64), [(pointer.clone(), Rule::Depth(64))]);
    assert_eq!(breaches(&nested(10_000), 64), [(pointer, Rule::Depth(64))]);
    assert_eq!(breaches("[[1],[[2]],[[3]]]", 2), [("/1/0".to_owned(), Rule::Depth(2))]);
}

#[test]
fn pointers_are_cut_where_they_grow_too_long() {
    let long = "k".repeat(POINTER_BYTES_MAX);
    let text =
        format!(r#"{{"a":[{{}},{{"b":{{"{long}":{{"c":["\u0000"]}}}},"d":"\u0000"}}],"{long}":1e999}}"#);
    let pointers: Vec<String> = breaches(&text, 64).into_iter().map(|(pointer, _)| pointer).collect();
    assert_eq!(pointers, ["/a/1/b", "/a/1/d", ""]);
}

#[test]
fn of_many_breaches_the_first_are_noted() {
    let text = format!("[{}]", vec![r#""\u0000""#; BREACHES_MAX + 1].join(","));
    assert_eq!(breaches(&text, 64).len(), BREACHES_MAX);
}

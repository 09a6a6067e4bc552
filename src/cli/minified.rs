//! JSON on one line, without a change to any digit or string.

use std::borrow::Cow;

/// `json` without the white space between its tokens; `json` must be valid JSON.
///
/// It is not parsed: the text of numbers and strings is the producer's, and is to come out as it went in.
pub fn minified(json: &str) -> Cow<'_, str> {
    let mut minified = String::new();
    let mut kept_from = 0;
    let mut is_string = false;
    let mut is_escaped = false;
    for (at, byte) in json.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => is_string = !is_string,
            b' ' | b'\t' | b'\n' | b'\r' if !is_string => {
                minified.push_str(&json[kept_from..at]);
                kept_from = at + 1;
            }
            _ => {}
        }
    }
    if kept_from == 0 {
        return Cow::Borrowed(json);
    }
    minified.push_str(&json[kept_from..]);
    Cow::Owned(minified)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_only_between_tokens() {
        for (json, expected) in [
            ("{ \"a\" :\r\n\t[ 1.50 , 2e+05 ] }\n", r#"{"a":[1.50,2e+05]}"#),
            (r#" {"a b" : "c  d" }"#, r#"{"a b":"c  d"}"#),
            (r#"{"a\" b" : "\\" , "c" : "é ü"}"#, r#"{"a\" b":"\\","c":"é ü"}"#),
            ("\n", ""),
        ] {
            assert_eq!(minified(json), expected);
        }
    }

    #[test]
    fn what_is_on_one_line_already_is_not_copied() {
        let json = r#"{"a b":[1,"\\\" x"]}"#;
        assert!(matches!(minified(json), Cow::Borrowed(same) if same == json));
        assert!(matches!(minified(""), Cow::Borrowed("")));
    }
}

//! Just enough of Rust's lexis to find the paths that a source file names, and the texts that it holds.

/// A word, a number, a punctuation mark (`::` is one mark) or a literal of text, with the line it begins on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub text: String,
    pub line: usize,
}

impl Token {
    /// What a literal of text says, as far as SQL needs it.
    pub fn literal(&self) -> Option<String> {
        let (open, close) = (self.text.find('"')?, self.text.rfind('"')?);
        let inside = self.text.get(open + 1..close)?;
        Some(if open == 0 { inside.replace("\\\"", "\"") } else { inside.to_owned() })
    }
}

/// The tokens of `source` without comments, literals of text, lifetimes and `#[cfg(test)]` items.
pub fn tokens_outside_tests(source: &str) -> Vec<Token> {
    let mut tokens = tokens_and_texts_outside_tests(source);
    tokens.retain(|token| token.literal().is_none());
    tokens
}

/// The same with the literals of text.
pub fn tokens_and_texts_outside_tests(source: &str) -> Vec<Token> {
    without_test_items(tokens(source))
}

fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut found = Vec::new();
    let (mut i, mut line) = (0, 1);
    while i < chars.len() {
        let start = i;
        let c = chars[i];
        let mut text = String::new();
        if c == '/' && at(i + 1) == '/' {
            i = end_of_line(&chars, i);
        } else if c == '/' && at(i + 1) == '*' {
            i = end_of_block_comment(&chars, i);
        } else if c == '"' {
            i = end_of_text(&chars, i);
            text = chars[start..i.min(chars.len())].iter().collect();
        } else if c == '\'' {
            i = end_of_char_or_lifetime(&chars, i);
        } else if let Some(end) = end_of_raw_text(&chars, i) {
            i = end;
            text = chars[start..i].iter().collect();
        } else if c.is_ascii_digit() {
            let fraction = |i: usize| at(i) == '.' && at(i + 1).is_ascii_digit();
            while is_word(at(i)) || fraction(i) {
                i += 1;
            }
            text = chars[start..i].iter().collect();
        } else if is_word(c) {
            while is_word(at(i)) {
                i += 1;
            }
            // The prefix of b"…", c"…" or b'…' belongs to the literal that the next round skips.
            if !matches!(at(i), '"' | '\'') {
                text = chars[start..i].iter().collect();
            }
        } else if c == ':' && at(i + 1) == ':' {
            i += 2;
            text = "::".to_string();
        } else {
            i += 1;
            if !c.is_whitespace() {
                text = c.to_string();
            }
        }
        if !text.is_empty() {
            found.push(Token { text, line });
        }
        line += chars[start..i.min(chars.len())].iter().filter(|&&c| c == '\n').count();
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn end_of_line(chars: &[char], start: usize) -> usize {
    chars[start..].iter().position(|&c| c == '\n').map_or(chars.len(), |n| start + n)
}

fn end_of_block_comment(chars: &[char], start: usize) -> usize {
    let (mut depth, mut i) = (0, start);
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => (depth, i) = (depth + 1, i + 2),
            ('*', '/') => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    chars.len()
}

fn end_of_text(chars: &[char], start: usize) -> usize {
    let mut i = start + 1;
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    i + 1
}

/// `'a'` and `'\n'` are characters, `'a` without a closing quote is a lifetime or a label.
fn end_of_char_or_lifetime(chars: &[char], start: usize) -> usize {
    if chars.get(start + 1) == Some(&'\\') {
        let after_escaped = (start + 3).min(chars.len());
        return chars[after_escaped..]
            .iter()
            .position(|&c| c == '\'')
            .map_or(chars.len(), |n| after_escaped + n + 1);
    }
    if chars.get(start + 2) == Some(&'\'') {
        return start + 3;
    }
    let word = chars[start + 1..].iter().take_while(|&&c| is_word(c)).count();
    start + 1 + word
}

/// `r"…"`, `r#"…"#` and the same with a prefix `b` or `c`; anything else that begins like it is none.
fn end_of_raw_text(chars: &[char], start: usize) -> Option<usize> {
    let mut i = start;
    if matches!(chars.get(i), Some('b' | 'c')) {
        i += 1;
    }
    if chars.get(i) != Some(&'r') || (start > 0 && is_word(chars[start - 1])) {
        return None;
    }
    let hashes = chars[i + 1..].iter().take_while(|&&c| c == '#').count();
    let open = i + 1 + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let closes = |quote: usize| {
        chars[quote] == '"'
            && chars[quote + 1..].iter().take_while(|&&c| c == '#').take(hashes).count() == hashes
    };
    let close = (open + 1..chars.len()).find(|&quote| closes(quote));
    Some(close.map_or(chars.len(), |quote| quote + 1 + hashes))
}

fn without_test_items(tokens: Vec<Token>) -> Vec<Token> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut i = 0;
    while i < tokens.len() {
        let rest = &tokens[i..];
        if rest.len() >= MARK.len() && rest.iter().zip(MARK).all(|(token, mark)| token.text == mark) {
            i += MARK.len();
            i += length_of_item(&tokens[i..]);
        } else {
            kept.push(tokens[i].clone());
            i += 1;
        }
    }
    kept
}

/// An item ends with its outermost closing brace or, outside of any bracket, with a semicolon.
fn length_of_item(tokens: &[Token]) -> usize {
    let mut depth = 0usize;
    for (i, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && matches!(token.text.as_str(), "}" | ";") {
            return i + 1;
        }
    }
    tokens.len()
}

fn texts(source: &str) -> Vec<String> {
    tokens_outside_tests(source).into_iter().map(|token| token.text).collect()
}

#[test]
fn comments_and_literals_name_nothing() {
    let source = r####"
        // crate::a
        /* crate::b /* crate::c */ crate::d */
        x("crate::e \" crate::f", r#"crate::g " crate::h"#, b"crate::i", br"crate::j", 'k', '\'', '"', b'"');
    "####;
    assert_eq!(texts(source).concat(), "x(,,,,,,,);");
}

#[test]
fn literals_say_what_stands_in_them() {
    let source = r####"x("a \"b\"", 'c', r#"d "e""#); // "f""####;
    let said = |token: &Token| token.literal();
    let said: Vec<String> = tokens_and_texts_outside_tests(source).iter().filter_map(said).collect();
    assert_eq!(said, ["a \"b\"", "d \"e\""]);
}

#[test]
fn lifetimes_and_raw_names_do_not_swallow_what_follows() {
    assert_eq!(texts("fn f<'a>(x: &'a str) { 'l: loop {} }").concat(), "fnf<>(x:&str){:loop{}}");
    assert_eq!(texts("r#type::X").concat(), "r#type::X");
    assert_eq!(texts("'_'; crate::a").concat(), ";crate::a");
}

#[test]
fn tokens_know_their_line_after_comments_and_texts_of_several_lines() {
    let tokens = tokens_outside_tests("/* \n */ \"\n\n\" here");
    assert_eq!(tokens, [Token { text: "here".to_string(), line: 4 }]);
}

#[test]
fn items_for_tests_are_left_out_and_what_follows_them_is_kept() {
    let source = "a; #[cfg(test)] #[rustfmt::skip] mod t { mod u { b } } c; #[cfg(test)] use d::e; f; #[cfg(test)] \
                  const G: [u8; 2] = [1; 2]; h; #[cfg(not(test))] i;";
    assert_eq!(texts(source).concat(), "a;c;f;h;#[cfg(not(test))]i;");
}

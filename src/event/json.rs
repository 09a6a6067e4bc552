//! A walk over text that serde_json has accepted as JSON. It looks for what JSON allows and a store cannot keep.
//!
//! serde_json checks the grammar. Everything here relies on the text being one valid value, and needs neither
//! error paths nor recursion.

mod pointer;

use memchr::memchr2;

pub use self::pointer::pointers_to;

/// The number that a magnitude must stay below, as its leading digits and decimal exponent: 1.8e308.
const MAGNITUDE_DIGITS: [u8; 2] = [b'1', b'8'];
const MAGNITUDE_EXPONENT: i64 = 308;
const NUMBER_DIGITS_MAX: usize = 1_000;
/// Breaches that are noted at most, the first ones: as many as a refusal names.
pub const BREACHES_MAX: usize = 100;

/// A rule that one place of the text breaks; shown as the sentence that a producer gets to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    #[error("must not contain U+0000")]
    Nul,
    #[error("must not contain a lone surrogate")]
    LoneSurrogate,
    #[error("must not hold a number with a magnitude of 1.8e308 or more")]
    Magnitude,
    #[error("must not hold a number of more than {NUMBER_DIGITS_MAX} digits")]
    Digits,
    #[error("must not be nested more than {0} levels deep")]
    Depth(usize),
}

/// A broken [`Rule`] and the byte at which it was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breach {
    pub at: usize,
    pub rule: Rule,
}

/// What a value is, told by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Object,
    Array,
    String,
    Number,
    Boolean,
    Null,
}

impl Kind {
    /// The kind with its article, for sentences like "must be a string, not an array".
    pub fn with_article(self) -> &'static str {
        match self {
            Kind::Object => "an object",
            Kind::Array => "an array",
            Kind::String => "a string",
            Kind::Number => "a number",
            Kind::Boolean => "a boolean",
            Kind::Null => "null",
        }
    }
}

/// A place in valid JSON text, always at the start of a value or behind its end.
#[derive(Clone)]
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

/// A string as it stands in the text: `start..end` are its bytes without the quotes.
#[derive(Clone, Copy)]
pub struct RawString<'a> {
    pub raw: &'a str,
    pub start: usize,
    pub escaped: bool,
}

impl<'a> RawString<'a> {
    pub fn end(&self) -> usize {
        self.start + self.raw.len()
    }

    /// The string that the escapes stand for; `None` where a lone surrogate stands for none.
    pub fn unescaped(&self) -> Option<String> {
        serde_json::from_str(&format!("\"{}\"", self.raw)).ok()
    }

    /// The bytes of this string, unescaped into `room`, if it is ASCII and fits.
    ///
    /// Each key is compared with several names: this unescapes it once, and no further than the longest of them.
    pub fn ascii<'b, const N: usize>(&self, room: &'b mut [u8; N]) -> Option<&'b [u8]>
    where
        'a: 'b,
    {
        if !self.escaped {
            return Some(self.raw.as_bytes());
        }
        let mut rest = self.raw.as_bytes();
        let mut length = 0;
        while let Some(first) = rest.first() {
            let (byte, taken) = if *first == b'\\' { unescape_ascii(rest)? } else { (*first, 1) };
            *room.get_mut(length)? = byte;
            length += 1;
            rest = &rest[taken..];
        }
        Some(&room[..length])
    }
}

/// The ASCII character that the escape at the start of `bytes` stands for, and the length of the escape.
fn unescape_ascii(bytes: &[u8]) -> Option<(u8, usize)> {
    let byte = match bytes[1] {
        b'u' => return u8::try_from(hex4(&bytes[2..6])).ok().filter(u8::is_ascii).map(|byte| (byte, 6)),
        b'b' => 0x08,
        b'f' => 0x0C,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        itself => itself,
    };
    Some((byte, 2))
}

impl<'a> Cursor<'a> {
    /// Starts at the value of `text`, which must be valid JSON.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn byte(&self) -> u8 {
        self.text.as_bytes()[self.at]
    }

    fn skip_space(&mut self) {
        while matches!(self.byte(), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
    }

    /// Moves to the next value and tells what it is.
    pub fn kind(&mut self) -> Kind {
        self.skip_space();
        match self.byte() {
            b'{' => Kind::Object,
            b'[' => Kind::Array,
            b'"' => Kind::String,
            b't' | b'f' => Kind::Boolean,
            b'n' => Kind::Null,
            _ => Kind::Number,
        }
    }

    /// Where the next value (after [`kind`](Self::kind)) starts, or the last one ended.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Calls `member` with each key of the object here; `member` must read or skip the value.
    /// It ends early, in the middle of the object, where `member` returns false.
    pub fn members(
        &mut self,
        breaches: &mut Vec<Breach>,
        mut member: impl FnMut(&mut Self, RawString<'a>, &mut Vec<Breach>) -> bool,
    ) {
        let mut entered = false;
        while self.enter_or_next(&mut entered) {
            let key = self.string(breaches);
            self.skip_space();
            self.at += 1; // the colon
            if !member(self, key, breaches) {
                return;
            }
        }
    }

    /// Calls `element` at each element of the array here; `element` must read or skip it.
    pub fn elements(&mut self, mut element: impl FnMut(&mut Self)) {
        let mut entered = false;
        while self.enter_or_next(&mut entered) {
            element(self);
        }
    }

    /// Steps over the bracket or comma before the next entry: true where there is one.
    fn enter_or_next(&mut self, entered: &mut bool) -> bool {
        self.skip_space();
        let separator = self.byte();
        self.at += 1;
        if separator == b',' {
            return true;
        }
        if std::mem::replace(entered, true) {
            return false;
        }
        self.skip_space();
        let empty = matches!(self.byte(), b'}' | b']');
        self.at += usize::from(empty);
        !empty
    }

    /// Reads the string here.
    pub fn string(&mut self, breaches: &mut Vec<Breach>) -> RawString<'a> {
        self.skip_space();
        let bytes = self.text.as_bytes();
        let start = self.at + 1;
        let mut at = start;
        let mut escaped = false;
        loop {
            at += memchr2(b'"', b'\\', &bytes[at..]).expect("a valid string is closed");
            if bytes[at] == b'"' {
                break;
            }
            escaped = true;
            at += if bytes[at + 1] == b'u' { check_unicode_escape(bytes, at, breaches) } else { 2 };
        }
        self.at = at + 1;
        RawString { raw: &self.text[start..at], start, escaped }
    }

    /// Moves behind the value here, and notes every rule that it breaks; `depth_max` counts the value itself.
    pub fn skip(&mut self, depth_max: Option<usize>, breaches: &mut Vec<Breach>) {
        let mut depth = 0;
        let mut too_deep = false;
        loop {
            self.skip_space();
            match self.byte() {
                b'"' => {
                    self.string(breaches);
                }
                b'{' | b'[' => {
                    depth += 1;
                    if let Some(max) = depth_max
                        && depth > max
                        && !too_deep
                    {
                        too_deep = true;
                        note(breaches, self.at, Rule::Depth(max));
                    }
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth -= 1;
                    self.at += 1;
                }
                b',' | b':' => self.at += 1,
                b't' | b'n' => self.at += 4,
                b'f' => self.at += 5,
                _ => self.number(breaches),
            }
            if depth == 0 {
                return;
            }
        }
    }

    fn number(&mut self, breaches: &mut Vec<Breach>) {
        let rest = &self.text.as_bytes()[self.at..];
        let length = rest
            .iter()
            .position(|byte| !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
            .unwrap_or(rest.len());
        if let Some(rule) = number_breach(&rest[..length]) {
            note(breaches, self.at, rule);
        }
        self.at += length;
    }
}

fn note(breaches: &mut Vec<Breach>, at: usize, rule: Rule) {
    if breaches.len() < BREACHES_MAX {
        breaches.push(Breach { at, rule });
    }
}

/// Checks the `\u` escape at `at` (with the low half behind it, if it is a high one); returns its length.
fn check_unicode_escape(bytes: &[u8], at: usize, breaches: &mut Vec<Breach>) -> usize {
    let unit = hex4(&bytes[at + 2..at + 6]);
    let mut breach = |rule| note(breaches, at, rule);
    match unit {
        0 => breach(Rule::Nul),
        0xDC00..=0xDFFF => breach(Rule::LoneSurrogate),
        0xD800..=0xDBFF => {
            let low_follows = bytes[at + 6..].starts_with(b"\\u")
                && matches!(hex4(&bytes[at + 8..at + 12]), 0xDC00..=0xDFFF);
            if low_follows {
                return 12;
            }
            breach(Rule::LoneSurrogate);
        }
        _ => {}
    }
    6
}

fn hex4(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |unit, digit| unit * 16 + (*digit as char).to_digit(16).unwrap_or(0))
}

/// The rule that a number breaks. A text short of 300 bytes without an exponent cannot break any.
fn number_breach(number: &[u8]) -> Option<Rule> {
    let has_exponent = number.iter().any(|byte| matches!(byte, b'e' | b'E'));
    if number.len() < 300 && !has_exponent {
        return None;
    }
    if number.iter().filter(|byte| byte.is_ascii_digit()).count() > NUMBER_DIGITS_MAX {
        return Some(Rule::Digits);
    }
    let mantissa_end = number.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(number.len());
    let (mantissa, exponent) = number.split_at(mantissa_end);
    let exponent = exponent.get(1..).map_or(0, saturating_integer);
    let whole_digits = mantissa.iter().filter(|byte| **byte != b'-').position(|byte| *byte == b'.');
    let digits: Vec<u8> = mantissa.iter().copied().filter(u8::is_ascii_digit).collect();
    let whole_digits = whole_digits.unwrap_or(digits.len());
    let first = digits.iter().position(|digit| *digit != b'0')?; // zero has no magnitude
    let exponent = exponent.saturating_add(whole_digits as i64 - 1 - first as i64);
    let second = digits.get(first + 1).copied().unwrap_or(b'0');
    let too_large = exponent > MAGNITUDE_EXPONENT
        || exponent == MAGNITUDE_EXPONENT && [digits[first], second] >= MAGNITUDE_DIGITS;
    too_large.then_some(Rule::Magnitude)
}

fn saturating_integer(text: &[u8]) -> i64 {
    let digits = text.iter().filter(|byte| byte.is_ascii_digit());
    let magnitude =
        digits.fold(0_i64, |number, digit| number.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    if text.first() == Some(&b'-') { -magnitude } else { magnitude }
}

#[cfg(test)]
mod tests;

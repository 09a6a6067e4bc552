//! A walk over text that serde_json has proven to be JSON, which looks for what the grammar allows and a
//! store cannot keep.
//!
//! The grammar is serde_json's business: everything here relies on the text being one valid value, and so
//! needs neither error paths nor recursion.

use memchr::memchr2;

/// The number that a magnitude must stay below, as its leading digits and decimal exponent: 1.8e308.
const MAGNITUDE_DIGITS: [u8; 2] = [b'1', b'8'];
const MAGNITUDE_EXPONENT: i64 = 308;
const NUMBER_DIGITS_MAX: usize = 1_000;
/// Breaches that are noted at most, the first ones: as many as a refusal names.
pub const BREACHES_MAX: usize = 100;
/// A pointer leads this far into a text, and then ends at what encloses its target.
const POINTER_STEPS_MAX: usize = 64;
const POINTER_BYTES_MAX: usize = 1_024;

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

    /// Whether this string, unescaped, is `name`.
    pub fn is(&self, name: &str) -> bool {
        if self.escaped { self.unescaped().as_deref() == Some(name) } else { self.raw == name }
    }
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
    /// It ends early, in the middle of the object, where `member` answers false.
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

/// The JSON pointers (RFC 6901) of the innermost values or members whose text covers each of `targets`, which
/// are places in `text` in rising order.
///
/// One walk finds them all, and each is cut where it grows too long: a hostile text must not buy more work or a
/// larger answer than an ordinary one of its size.
pub fn pointers_to(text: &str, targets: &[usize]) -> Vec<String> {
    let mut cursor = Cursor::new(text);
    let mut path = Path::default();
    let mut pointers = Vec::with_capacity(targets.len());
    let mut breaches = Vec::new();
    loop {
        cursor.skip_space();
        let token = cursor.byte();
        match token {
            b'"' => path.note_string(cursor.string(&mut breaches)),
            b'{' | b'[' | b'}' | b']' | b',' | b':' => cursor.at += 1,
            b't' | b'n' => cursor.at += 4,
            b'f' => cursor.at += 5,
            _ => cursor.number(&mut breaches),
        }
        while targets.get(pointers.len()).is_some_and(|target| *target < cursor.at) {
            pointers.push(path.pointer());
        }
        match token {
            b'{' | b'[' => path.enter(token == b'{'),
            b'}' | b']' => path.leave(),
            b',' => path.next(),
            _ => {}
        }
        if pointers.len() == targets.len() || path.depth == 0 {
            return pointers;
        }
    }
}

/// The way from the text's value down to where a walk is. Steps behind the last one shown are only counted.
#[derive(Default)]
struct Path<'a> {
    steps: Vec<Step<'a>>,
    depth: usize,
}

enum Step<'a> {
    /// A member of an object, once its key is read.
    Member(Option<RawString<'a>>),
    Element(usize),
}

impl<'a> Path<'a> {
    fn enter(&mut self, object: bool) {
        if self.depth < POINTER_STEPS_MAX {
            self.steps.push(if object { Step::Member(None) } else { Step::Element(0) });
        }
        self.depth += 1;
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.steps.truncate(self.depth);
    }

    /// The step that the next comma, key or value belongs to, if it is one that is shown.
    fn innermost(&mut self) -> Option<&mut Step<'a>> {
        if self.depth == self.steps.len() { self.steps.last_mut() } else { None }
    }

    fn next(&mut self) {
        match self.innermost() {
            Some(Step::Member(key)) => *key = None,
            Some(Step::Element(index)) => *index += 1,
            None => {}
        }
    }

    /// A string where a member starts is its key.
    fn note_string(&mut self, string: RawString<'a>) {
        if let Some(Step::Member(key @ None)) = self.innermost() {
            *key = Some(string);
        }
    }

    fn pointer(&self) -> String {
        let mut pointer = String::new();
        for step in &self.steps {
            let name = match step {
                Step::Element(index) => index.to_string(),
                Step::Member(Some(key)) if pointer.len() + key.raw.len() < POINTER_BYTES_MAX => {
                    key.unescaped().unwrap_or_else(|| key.raw.to_owned())
                }
                Step::Member(_) => break,
            };
            pointer.push('/');
            pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
        }
        pointer
    }
}

#[cfg(test)]
mod tests;

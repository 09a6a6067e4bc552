//! JSON pointers to places in a text, for those who have to find them.

use super::{Cursor, RawString};

/// A pointer leads this far into a text, and then ends at what encloses its target.
const POINTER_STEPS_MAX: usize = 64;
pub(super) const POINTER_BYTES_MAX: usize = 1_024;

/// The JSON pointers (RFC 6901) of the innermost values or members whose text covers each of `targets`, which
/// are places in `text` in rising order.
///
/// One walk finds them all, and each is cut where it grows too long: a hostile text must not cost more work or a
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

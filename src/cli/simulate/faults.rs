//! Everything that was found to be wrong, counted by kind, each kind with its first examples.

const EXAMPLES_MAX: usize = 3;

/// The faults of a run; empty if the result is right.
#[derive(Debug, Default)]
pub struct Faults {
    kinds: Vec<Kind>,
}

#[derive(Debug)]
struct Kind {
    what: &'static str,
    count: u64,
    examples: Vec<String>,
}

impl Faults {
    /// Adds one fault of the kind `what`; `example` says where it was found.
    pub fn add(&mut self, what: &'static str, example: String) {
        let kind = match self.kinds.iter().position(|kind| kind.what == what) {
            Some(place) => &mut self.kinds[place],
            None => self.kinds.push_mut(Kind { what, count: 0, examples: Vec::new() }),
        };
        kind.count += 1;
        if kind.examples.len() < EXAMPLES_MAX {
            kind.examples.push(example);
        }
    }

    /// Adds all faults of `others`.
    pub fn extend(&mut self, others: Faults) {
        self.kinds.extend(others.kinds);
    }

    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// One sentence for each kind.
    pub fn sentences(&self) -> Vec<String> {
        let sentence = |kind: &Kind| {
            let examples = kind.examples.join("; ");
            match kind.count {
                1 => format!("{}: {examples}", kind.what),
                count => format!("{} ({count} times): {examples}", kind.what),
            }
        };
        self.kinds.iter().map(sentence).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Faults;

    #[test]
    fn each_kind_is_counted_and_shown_with_its_first_examples() {
        let mut faults = Faults::default();
        assert!(faults.is_empty());
        for number in 1..=5 {
            faults.add("an event is missing", format!("event {number}"));
        }
        faults.add("a count is wrong", "2, not 3".to_owned());
        assert_eq!(
            faults.sentences(),
            ["an event is missing (5 times): event 1; event 2; event 3", "a count is wrong: 2, not 3"]
        );
    }
}

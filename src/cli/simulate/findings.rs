//! Everything that was found to be wrong, counted by kind, each kind with its first examples, and what could not be
//! found out.

const EXAMPLES_MAX: usize = 3;

/// What was found about one namespace; without a fault the result is right.
#[derive(Debug, Default)]
pub struct Findings {
    kinds: Vec<Kind>,
    /// What could not be checked, in sentences.
    pub unproven: Vec<String>,
}

#[derive(Debug)]
struct Kind {
    what: &'static str,
    count: u64,
    examples: Vec<String>,
}

impl Findings {
    /// Adds one fault of the kind `what`; `example` says where it was found.
    pub fn wrong(&mut self, what: &'static str, example: String) {
        let kind = match self.kinds.iter().position(|kind| kind.what == what) {
            Some(place) => &mut self.kinds[place],
            None => self.kinds.push_mut(Kind { what, count: 0, examples: Vec::new() }),
        };
        kind.count += 1;
        if kind.examples.len() < EXAMPLES_MAX {
            kind.examples.push(example);
        }
    }

    /// Adds all faults of `more`.
    pub fn extend(&mut self, more: Findings) {
        for Kind { what, count, examples } in more.kinds {
            let before = self.kinds.iter().find(|kind| kind.what == what).map_or(0, |kind| kind.count);
            examples.into_iter().for_each(|example| self.wrong(what, example));
            if let Some(kind) = self.kinds.iter_mut().find(|kind| kind.what == what) {
                kind.count = before + count;
            }
        }
        self.unproven.extend(more.unproven);
    }

    /// One sentence for each kind of fault.
    pub fn faults(&self) -> Vec<String> {
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
    use super::Findings;

    #[test]
    fn each_kind_is_counted_and_shown_with_its_first_examples() {
        let mut findings = Findings::default();
        assert!(findings.faults().is_empty());
        for number in 1..=5 {
            findings.wrong("an event is missing", format!("event {number}"));
        }
        findings.wrong("a count is wrong", "2, not 3".to_owned());
        assert_eq!(
            findings.faults(),
            ["an event is missing (5 times): event 1; event 2; event 3", "a count is wrong: 2, not 3"]
        );
    }

    #[test]
    fn the_faults_of_two_are_counted_together() {
        let found = |count| {
            let mut findings = Findings::default();
            (0..count).for_each(|number| findings.wrong("an event is missing", format!("event {number}")));
            findings
        };
        let mut findings = found(2);
        findings.extend(found(4));
        assert_eq!(findings.faults(), ["an event is missing (6 times): event 0; event 1; event 0"]);
    }
}

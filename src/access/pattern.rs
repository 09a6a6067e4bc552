//! Names that a key is limited to.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A name, or a beginning of names with a final `*`: `orders`, `logs.*`, `*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern(String);

impl Pattern {
    /// A pattern of names that pass `check`.
    pub fn parse(text: &str, check: impl Fn(&str) -> Result<(), String>) -> Result<Self, String> {
        let beginning = text.strip_suffix('*');
        match beginning {
            Some("") => {}
            _ => check(beginning.unwrap_or(text)).map_err(|fault| format!("{fault}, not {text:?}"))?,
        }
        Ok(Self(text.to_owned()))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for this name.
    pub fn matches(&self, name: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == self.0,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::check_name;

    #[test]
    fn a_pattern_is_a_name_or_a_beginning() {
        for (pattern, name, matches) in [
            ("orders", "orders", true),
            ("orders", "orders2", false),
            ("logs.*", "logs.web", true),
            ("logs.*", "logs.", true),
            ("logs.*", "logs", false),
            ("*", "anything", true),
            ("a*b", "a*b", true),
            ("a*b", "acb", false),
        ] {
            assert_eq!(
                Pattern::parse(pattern, check_name).unwrap().matches(name),
                matches,
                "{pattern} {name}"
            );
        }
        assert!(Pattern::parse("", check_name).is_err());
    }
}

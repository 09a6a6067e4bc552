//! The topics of a ledger, as they are listed.

use crate::event::{NAME_BYTES_MAX, Timestamp};

/// Which topics to list: those whose names begin with `prefix` and are behind `after`. Names compare by their bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicQuery {
    pub prefix: String,
    pub after: String,
    pub limit: usize,
}

/// A topic as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    pub topic: String,
    pub unique: u64,
    pub duplicates: u64,
    /// Its first and its last event, if it has any: all that named it may be duplicates of events of other topics.
    pub first_seq: Option<u64>,
    pub last_seq: Option<u64>,
    pub last_received_at: Option<Timestamp>,
}

impl TopicQuery {
    /// A text behind every name that begins with the prefix, and before every other name behind those.
    pub(super) fn end(&self) -> String {
        let mut end = self.prefix.clone();
        while let Some(last) = end.pop() {
            if let Some(next) = (last as u32 + 1..=char::MAX as u32).find_map(char::from_u32) {
                end.push(next);
                return end;
            }
        }
        // No name is as long.
        std::iter::repeat_n(char::MAX, NAME_BYTES_MAX / char::MAX.len_utf8() + 1).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn end(prefix: &str) -> String {
        TopicQuery { prefix: prefix.to_owned(), ..TopicQuery::default() }.end()
    }

    #[test]
    fn the_end_is_the_next_text_of_the_same_length_or_less() {
        assert_eq!(end("ab"), "ac");
        assert_eq!(end("a\u{10FFFF}"), "b");
        assert_eq!(end("\u{D7FF}"), "\u{E000}");
        assert_eq!(end(""), "\u{10FFFF}".repeat(64));
        assert_eq!(end("\u{10FFFF}"), end(""));
    }

    proptest! {
        #[test]
        fn a_name_is_before_the_end_where_it_begins_with_the_prefix_or_is_before_it(
            prefix in "[ab\u{7F}\u{10FFFF}]{0,3}",
            name in "[abc\u{7F}\u{80}\u{10FFFF}]{1,4}",
        ) {
            prop_assert_eq!(name < end(&prefix), name < prefix || name.starts_with(&prefix));
        }
    }
}

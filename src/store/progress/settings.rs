//! What a subscription is set to: which events, and how they are handed out.

use std::ops::RangeInclusive;

use sha2::{Digest, Sha256};

use crate::{event::check_name, store::check_namespace};

/// Topics, and beginnings of topics, of one subscription.
pub const SUBSCRIPTION_TOPICS_MAX: usize = 100;
/// The limits of the numbers, each with its default first.
pub const LEASE_SECONDS: (u32, RangeInclusive<u32>) = (30, 1..=43_200);
pub const LEASES: (u32, RangeInclusive<u32>) = (1, 1..=256);
pub const DELIVERIES: (u32, RangeInclusive<u32>) = (10, 1..=1_000);
pub const PARTITIONS: RangeInclusive<u32> = 2..=256;

/// So many names are looked up in the index of topics; with more, or with a beginning of names, events are searched.
const NAMES_LOOKED_UP_MAX: usize = 20;

/// Whether `name` may be the name of a subscription: the rule is that of namespaces. Else the sentence that says why not.
pub fn check_subscription(name: &str) -> Result<(), String> {
    check_namespace(name)
}

/// The settings of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionSettings {
    pub topics: TopicPatterns,
    /// Where it began.
    pub start: Start,
    pub lease_seconds: u32,
    /// Leases at the same time.
    pub max_leases: u32,
    /// After so many failures a range is halved, and a single event is parked.
    pub max_deliveries: u32,
    pub partitions: Option<Partitions>,
}

impl SubscriptionSettings {
    /// How many parts of the ledger have a place of their own.
    pub fn places(&self) -> usize {
        self.partitions.map_or(1, |partitions| partitions.count as usize)
    }
}

/// A part of what a subscription is set to, to be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingsChange {
    pub topics: Option<TopicPatterns>,
    pub lease_seconds: Option<u32>,
    pub max_leases: Option<u32>,
    pub max_deliveries: Option<u32>,
}

impl SettingsChange {
    pub(super) fn apply(self, settings: &mut SubscriptionSettings) {
        let SettingsChange { topics, lease_seconds, max_leases, max_deliveries } = self;
        settings.topics = topics.unwrap_or_else(|| settings.topics.clone());
        settings.lease_seconds = lease_seconds.unwrap_or(settings.lease_seconds);
        settings.max_leases = max_leases.unwrap_or(settings.max_leases);
        settings.max_deliveries = max_deliveries.unwrap_or(settings.max_deliveries);
    }
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what is stored after it was created.
    Now,
    Earliest,
    /// Behind this `seq`.
    After(u64),
}

impl Start {
    /// How it is kept.
    pub(in crate::store) fn text(self) -> String {
        match self {
            Start::Now => "now".to_owned(),
            Start::Earliest => "earliest".to_owned(),
            Start::After(seq) => seq.to_string(),
        }
    }

    /// From how it is kept.
    pub(in crate::store) fn parse(text: &str) -> Option<Self> {
        match text {
            "now" => Some(Start::Now),
            "earliest" => Some(Start::Earliest),
            seq => seq.parse().ok().map(Start::After),
        }
    }

    /// The `seq` behind which it begins, in a ledger with this newest one.
    pub(super) fn seq(self, head: u64) -> u64 {
        match self {
            Start::Now => head,
            Start::Earliest => 0,
            Start::After(seq) => seq,
        }
    }
}

/// Several partitions: events with the same key are in the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partitions {
    pub count: u32,
    pub by: PartitionBy,
}

impl Partitions {
    /// The partition of the events with this key, from 0: the first four bytes of its SHA-256, modulo the count.
    pub fn of(&self, key: &str) -> usize {
        let digest = Sha256::digest(key.as_bytes());
        let first = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
        (first % self.count) as usize
    }
}

/// The field of an event that tells its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionBy {
    Source,
    Topic,
}

impl PartitionBy {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            PartitionBy::Source => "source",
            PartitionBy::Topic => "topic",
        }
    }

    /// The field of this name.
    pub fn parse(name: &str) -> Option<Self> {
        [PartitionBy::Source, PartitionBy::Topic].into_iter().find(|by| by.name() == name)
    }
}

/// Names of topics, or beginnings of names with a final `*`; none for all topics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TopicPatterns(Vec<String>);

impl TopicPatterns {
    /// Checks each; the error has the place of the first wrong one and a sentence without its subject.
    pub fn parse(patterns: Vec<String>) -> Result<Self, (usize, String)> {
        for (place, pattern) in patterns.iter().enumerate() {
            check_name(pattern).map_err(|fault| (place, fault))?;
            if patterns[..place].contains(pattern) {
                return Err((place, "must not be given twice".to_owned()));
            }
        }
        Ok(Self(patterns))
    }

    /// From how they are kept.
    pub(in crate::store) fn kept(patterns: Vec<String>) -> Self {
        Self(patterns)
    }

    /// As they were given.
    pub fn patterns(&self) -> &[String] {
        &self.0
    }

    /// Whether every topic is one.
    pub fn is_all(&self) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| pattern == "*")
    }

    /// The whole names.
    pub fn names(&self) -> Vec<&str> {
        self.0.iter().filter(|pattern| !pattern.ends_with('*')).map(String::as_str).collect()
    }

    /// The beginnings of names.
    pub fn prefixes(&self) -> Vec<&str> {
        self.0.iter().filter_map(|pattern| pattern.strip_suffix('*')).collect()
    }

    /// Whether this topic is one.
    pub fn include(&self, topic: &str) -> bool {
        let is_it = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => topic.starts_with(prefix),
            None => pattern == topic,
        };
        self.0.is_empty() || self.0.iter().any(is_it)
    }

    /// Whether their events are looked up by topic, however far apart they lie.
    pub(in crate::store) fn are_looked_up(&self) -> bool {
        !self.0.is_empty() && self.0.len() <= NAMES_LOOKED_UP_MAX && self.prefixes().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_the_start_of_the_digest_of_the_key() {
        // SHA-256 of "a" begins with ca978112, of "b" with 3e23e816.
        let partitions = |count| Partitions { count, by: PartitionBy::Source };
        assert_eq!(partitions(8).of("a"), (0xca97_8112_u32 % 8) as usize);
        assert_eq!(partitions(7).of("b"), (0x3e23_e816_u32 % 7) as usize);
    }

    #[test]
    fn patterns_are_names_or_beginnings() {
        let patterns = |given: &[&str]| TopicPatterns::parse(given.iter().map(|&text| text.into()).collect());
        let some = patterns(&["orders", "shop-*"]).unwrap();
        assert_eq!((some.names(), some.prefixes()), (vec!["orders"], vec!["shop-"]));
        assert!(!some.is_all() && patterns(&[]).unwrap().is_all() && patterns(&["a", "*"]).unwrap().is_all());
        assert_eq!(patterns(&["a", "b", "a"]).unwrap_err().0, 2);
        assert_eq!(patterns(&["a", ""]).unwrap_err().0, 1);
        assert!(!some.are_looked_up() && patterns(&["orders"]).unwrap().are_looked_up());
    }

    #[test]
    fn a_start_is_read_back_as_it_was_kept() {
        for start in [Start::Now, Start::Earliest, Start::After(0), Start::After(17)] {
            assert_eq!(Start::parse(&start.text()), Some(start));
        }
        assert_eq!(Start::parse("later"), None);
    }
}

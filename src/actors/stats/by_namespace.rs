//! What this process committed, by namespace.

use std::{collections::HashMap, sync::Arc};

/// The name that stands for all namespaces beyond the limit. No namespace can have it.
pub const OTHER_NAMESPACES: &str = "_other";

/// Events that this process committed, duplicates among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventCounts {
    pub received: u64,
    pub unique: u64,
}

/// The counts of namespaces, those beyond a limit together. A namespace that is deleted keeps its place: counts never fall.
pub(in crate::actors) struct ByNamespace {
    namespaces_max: usize,
    counts: HashMap<Arc<str>, EventCounts>,
    other: EventCounts,
}

impl ByNamespace {
    pub(in crate::actors) fn new(namespaces_max: usize) -> Self {
        Self { namespaces_max, counts: HashMap::new(), other: EventCounts::default() }
    }

    pub(in crate::actors) fn record(&mut self, namespace: &str, received: usize, unique: usize) {
        if !self.counts.contains_key(namespace) && self.counts.len() < self.namespaces_max {
            self.counts.insert(namespace.into(), EventCounts::default());
        }
        let counts = self.counts.get_mut(namespace).unwrap_or(&mut self.other);
        counts.received += received as u64;
        counts.unique += unique as u64;
    }

    /// The counts by name; the last ones are those of the namespaces beyond the limit, if there are any.
    pub(in crate::actors) fn report(&self) -> Vec<(Arc<str>, EventCounts)> {
        let mut report: Vec<_> =
            self.counts.iter().map(|(name, counts)| (Arc::clone(name), *counts)).collect();
        report.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        if self.other.received > 0 {
            report.push((OTHER_NAMESPACES.into(), self.other));
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_beyond_the_limit_are_counted_together() {
        let mut counts = ByNamespace::new(2);
        for (namespace, received, unique) in [("b", 2, 1), ("a", 1, 1), ("c", 5, 4), ("d", 1, 0), ("b", 3, 3)]
        {
            counts.record(namespace, received, unique);
        }
        let report: Vec<_> = counts
            .report()
            .into_iter()
            .map(|(name, it)| (name.to_string(), it.received, it.unique))
            .collect();
        let expected = [("a", 1, 1), ("b", 5, 4), (OTHER_NAMESPACES, 6, 4)];
        assert_eq!(report, expected.map(|(name, received, unique)| (name.to_owned(), received, unique)));
    }
}

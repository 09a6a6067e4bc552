//! How values are distributed, in the form that monitoring systems read.

/// How many values there were up to each of some bounds.
#[derive(Clone, Debug)]
pub struct Distribution {
    bounds: &'static [f64],
    /// Values of each bound that are above the bound before it; the last ones are above all bounds.
    counts: Vec<u64>,
    sum: f64,
}

impl Distribution {
    /// With these bounds, which rise.
    pub(in crate::actors) fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: 0.0 }
    }

    pub(in crate::actors) fn record(&mut self, value: f64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        self.counts[place] += 1;
        self.sum += value;
    }

    /// The sum of all values.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Each bound, and how many values there were up to it and above the bound before it.
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        self.bounds.iter().copied().chain([f64::INFINITY]).zip(self.counts.iter().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_belongs_to_the_first_bound_that_it_does_not_exceed() {
        let mut distribution = Distribution::new(&[1.0, 10.0]);
        [0.5, 1.0, 1.5, 10.0, 11.0].into_iter().for_each(|value| distribution.record(value));
        assert_eq!(distribution.buckets(), [(1.0, 2), (10.0, 2), (f64::INFINITY, 1)]);
        assert_eq!((distribution.count(), distribution.sum()), (5, 24.0));
    }
}

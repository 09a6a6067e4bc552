//! What the soak is told.

use crate::harness::random::Random;

pub struct Options {
    pub minutes: f64,
    pub seed: u64,
}

impl Options {
    /// `--minutes N` and `--seed N`; a sentence where it is something else.
    pub fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut options = Self { minutes: 5.0, seed: Random::any_seed() };
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            let value = arguments.next().map(String::as_str).unwrap_or_default();
            let wrong = || format!("{name} {value:?} is not understood: give --minutes N or --seed N");
            match name.as_str() {
                "--minutes" => options.minutes = value.parse().map_err(|_| wrong())?,
                "--seed" => options.seed = value.parse().map_err(|_| wrong())?,
                _ => return Err(wrong()),
            }
        }
        Ok(options)
    }
}

//! Query strings, read strictly: a parameter that is unknown, repeated, empty or out of range is an error that
//! names it, since ignoring it would answer another question than was asked.

use percent_encoding::percent_decode_str;

use super::problem::Problem;

/// The parameters of a request, in their order.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads `query`, in which only `known` names may stand, each at most once.
    pub(super) fn parse(query: &str, known: &[&str]) -> Result<Self, Problem> {
        Self::parse_lists(query, known, &[])
    }

    /// The same with names that may stand several times, up to a number, and each time with another value.
    pub(super) fn parse_lists(query: &str, once: &[&str], lists: &[(&str, usize)]) -> Result<Self, Problem> {
        // Decoding below puts U+FFFD where the text is not UTF-8, which is another text.
        if let Some(broken) = query.split('&').find(|pair| percent_decode_str(pair).decode_utf8().is_err()) {
            let name = broken.split('=').next().unwrap_or_default();
            return Err(Problem::invalid_parameter(format!("`{name}` must be percent-encoded UTF-8")));
        }
        let mut parameters = Self(Vec::new());
        for (name, value) in form_urlencoded::parse(query.as_bytes()).into_owned() {
            let list = lists.iter().find(|(known, _)| *known == name);
            if list.is_none() && !once.contains(&name.as_str()) {
                let known: Vec<&str> =
                    lists.iter().map(|(name, _)| *name).chain(once.iter().copied()).collect();
                let known = if known.is_empty() { "none here".to_owned() } else { known.join(", ") };
                return Err(Problem::invalid_parameter(format!(
                    "there is no parameter {name:?}; there is {known}"
                )));
            }
            parameters.check_repetition(&name, &value, list.map(|(_, values_max)| *values_max))?;
            if value.is_empty() {
                return Err(Problem::invalid_parameter(format!("`{name}` must not be empty")));
            }
            parameters.0.push((name, value));
        }
        Ok(parameters)
    }

    fn check_repetition(&self, name: &str, value: &str, values_max: Option<usize>) -> Result<(), Problem> {
        let fault = match values_max {
            None if self.text(name).is_some() => format!("`{name}` must not be given twice"),
            Some(values_max) if self.texts(name).count() == values_max => {
                format!("`{name}` must not be given more than {values_max} times")
            }
            Some(_) if self.texts(name).any(|earlier| earlier == value) => {
                format!("`{name}` must not be given twice with the same value, {value:?}")
            }
            _ => return Ok(()),
        };
        Err(Problem::invalid_parameter(fault))
    }

    /// The values of a name that may stand several times.
    pub(super) fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A whole number within `range`, in digits alone.
    pub(super) fn number(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| digits && range.contains(number));
        match number {
            Some(number) => Ok(Some(number)),
            None => Err(Problem::invalid_parameter(format!(
                "`{name}` must be a whole number from {} to {}, not {text:?}",
                range.start(),
                range.end()
            ))),
        }
    }
}

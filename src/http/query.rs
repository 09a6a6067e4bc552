//! Query strings, read strictly: a parameter that is unknown, repeated, empty or out of range is an error that
//! names it, since ignoring it would answer another question than was asked.

use percent_encoding::percent_decode_str;

use super::problem::Problem;

/// The parameters of a request, each at most once.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads `query`, in which only `known` names may stand.
    pub(super) fn parse(query: &str, known: &[&str]) -> Result<Self, Problem> {
        // Decoding below puts U+FFFD where the text is not UTF-8, which is another text.
        if let Some(broken) = query.split('&').find(|pair| percent_decode_str(pair).decode_utf8().is_err()) {
            let name = broken.split('=').next().unwrap_or_default();
            return Err(Problem::invalid_parameter(format!("`{name}` must be percent-encoded UTF-8")));
        }
        let mut parameters: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()).into_owned() {
            if !known.contains(&name.as_str()) {
                let known = if known.is_empty() { "none here".to_owned() } else { known.join(", ") };
                return Err(Problem::invalid_parameter(format!(
                    "there is no parameter {name:?}; there is {known}"
                )));
            }
            if parameters.iter().any(|(earlier, _)| *earlier == name) {
                return Err(Problem::invalid_parameter(format!("`{name}` must not be given twice")));
            }
            if value.is_empty() {
                return Err(Problem::invalid_parameter(format!("`{name}` must not be empty")));
            }
            parameters.push((name, value));
        }
        Ok(Self(parameters))
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

//! The fields of a JSON object in a body, read strictly: every fault is named with its place.

use std::{fmt, ops::RangeInclusive};

use actix_web::{HttpRequest, web};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

use super::{
    Limits,
    body::{self, BodyLimits},
    gate::Gate,
    problem::Problem,
    query::Parameters,
};
use crate::{
    event::{EventFault, json_text},
    service::Service,
};

/// Bytes of a body with fields.
const FIELDS_BYTES_MAX: usize = 64 * 1024;

/// The fields that were not asked for yet, and the faults of those that were.
pub(super) struct Fields {
    members: Vec<(String, Value)>,
    faults: Vec<EventFault>,
}

/// The members of an object in their order.
struct Members(Vec<(String, Value)>);

impl Fields {
    /// Reads the body of a request that takes no parameters.
    pub(super) async fn read(
        request: &HttpRequest,
        payload: &mut web::Payload,
        service: &Service,
        gate: &Gate,
        limits: &Limits,
    ) -> Result<Self, Problem> {
        body::check_headers(request)?;
        let limits = BodyLimits { bytes_max: FIELDS_BYTES_MAX, timeout: limits.body_timeout };
        let (body, _permit) = body::read(request, payload, &limits, gate, service).await?;
        let fields = Self::parse(&body)?;
        Parameters::parse(request.query_string(), &[])?;
        if gate.is_draining() {
            return Err(Problem::draining());
        }
        Ok(fields)
    }

    /// An empty body has no fields.
    fn parse(body: &Bytes) -> Result<Self, Problem> {
        let mut fields = Self { members: Vec::new(), faults: Vec::new() };
        if body.is_empty() {
            return Ok(fields);
        }
        let text = json_text(body)?;
        if !text.trim_start().starts_with('{') {
            fields.fault("", "must be a JSON object");
            return Err(Problem::invalid_body(fields.faults));
        }
        match serde_json::from_str::<Members>(&text) {
            Ok(Members(members)) => Ok(Self { members, ..fields }),
            Err(error) => {
                fields.fault("", format!("cannot be used: {error}"));
                Err(Problem::invalid_body(fields.faults))
            }
        }
    }

    /// Notes a fault of the field at this pointer.
    pub(super) fn fault(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.faults.push(EventFault { index: 0, pointer: pointer.into(), detail: detail.into() });
    }

    /// Whether a field is there and was not asked for yet.
    pub(super) fn has(&self, name: &str) -> bool {
        self.members.iter().any(|(member, _)| member == name)
    }

    /// A field of any kind.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        let place = self.members.iter().position(|(member, _)| member == name)?;
        Some(self.members.remove(place).1)
    }

    /// A whole number.
    pub(super) fn number(&mut self, name: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.take(name)?;
        let number = whole(&value).filter(|number| range.contains(number));
        if number.is_none() {
            let (from, to) = (range.start(), range.end());
            self.fault(
                format!("/{name}"),
                format!("must be a whole number from {from} to {to}, not {}", short(&value)),
            );
        }
        number
    }

    /// One of some words, each with what it stands for.
    pub(super) fn word<T: Copy>(&mut self, name: &str, words: &[(&str, T)]) -> Option<T> {
        let value = self.take(name)?;
        let word = words.iter().find(|(word, _)| value.as_str() == Some(word));
        if word.is_none() {
            let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            self.fault(
                format!("/{name}"),
                format!("must be one of {}, not {}", words.join(", "), short(&value)),
            );
        }
        word.map(|(_, meaning)| *meaning)
    }

    /// An array of up to `max` items.
    pub(super) fn list<T>(
        &mut self,
        name: &str,
        max: usize,
        what: &str,
        item: impl Fn(&Value) -> Option<T>,
    ) -> Option<Vec<T>> {
        let value = self.take(name)?;
        let Some(values) = value.as_array().filter(|values| values.len() <= max) else {
            self.fault(format!("/{name}"), format!("must be an array of up to {max} {what}"));
            return None;
        };
        let mut items = Vec::with_capacity(values.len());
        for (place, value) in values.iter().enumerate() {
            match item(value) {
                Some(item) => items.push(item),
                None => {
                    let detail = format!("must be one of the {what}, not {}", short(value));
                    self.fault(format!("/{name}/{place}"), detail);
                }
            }
        }
        Some(items)
    }

    /// To be called when every field was asked for: what is left is not understood.
    pub(super) fn finish(mut self) -> Result<(), Problem> {
        for (name, _) in std::mem::take(&mut self.members) {
            let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            self.fault(pointer, "is not understood here");
        }
        if self.faults.is_empty() { Ok(()) } else { Err(Problem::invalid_body(self.faults)) }
    }
}

/// A whole number. JSON knows no integers: some clients write `4.0` where others write `4`.
pub(super) fn whole(value: &Value) -> Option<u64> {
    /// Up to here a fraction of zero is known to be one.
    const EXACT_MAX: f64 = (1_u64 << 53) as f64;
    let fraction =
        || value.as_f64().filter(|number| (0.0..=EXACT_MAX).contains(number) && number.fract() == 0.0);
    value.as_u64().or_else(|| fraction().map(|number| number as u64))
}

/// A value as a fault shows it.
fn short(value: &Value) -> String {
    const CHARS_MAX: usize = 100;
    let text = value.to_string();
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members: Vec<(String, Value)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if members.iter().any(|(earlier, _)| *earlier == name) {
                        return Err(de::Error::custom(format!("the field {name:?} is there twice")));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: &'static str) -> Fields {
        Fields::parse(&Bytes::from_static(body.as_bytes())).unwrap()
    }

    #[test]
    fn every_fault_is_named_with_its_place() {
        let mut fields = fields(r#"{"a":1,"b":"x","c":["t",2],"d/e":0}"#);
        assert_eq!(fields.number("a", 2..=3), None);
        assert_eq!(fields.word("b", &[("y", 1)]), None);
        assert_eq!(fields.list("c", 5, "texts", |value| value.as_str().map(str::to_owned)).unwrap(), ["t"]);
        assert_eq!(fields.number("none", 0..=1), None);
        let pointers = |fields: &Fields| -> Vec<String> {
            fields.faults.iter().map(|fault| fault.pointer.clone()).collect()
        };
        assert_eq!(pointers(&fields), ["/a", "/b", "/c/1"]);
        assert!(fields.finish().unwrap_err().to_string().starts_with("`a` must be a whole number"));
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_fraction_of_zero() {
        let whole = |text: &str| whole(&serde_json::from_str(text).unwrap());
        for (text, number) in [("0", 0), ("4", 4), ("4.0", 4), ("4e2", 400), ("0.0", 0), ("-0.0", 0)] {
            assert_eq!(whole(text), Some(number), "{text}");
        }
        assert_eq!(whole("9007199254740992.0"), Some(1 << 53));
        for text in ["-1", "-1.0", "4.5", "1e300", "9007199254740994.0", "\"4\"", "null", "[]"] {
            assert_eq!(whole(text), None, "{text}");
        }
    }

    #[test]
    fn a_field_that_is_there_twice_is_refused() {
        for body in [r#"{"a":1,"a":1}"#, "[]", "5", "null"] {
            assert!(Fields::parse(&Bytes::copy_from_slice(body.as_bytes())).is_err(), "{body}");
        }
        assert!(fields("").finish().is_ok() && fields("{}").finish().is_ok());
    }
}

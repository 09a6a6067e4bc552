//! The ids by which lines of the log name a request.

use bytestring::ByteString;
use tracing::{Span, error_span};

/// The ids of a request. A clone is cheap.
#[derive(Clone, Debug, Default)]
pub struct RequestIds {
    id: ByteString,
    trace_parent: Option<ByteString>,
}

impl RequestIds {
    /// The id of the request, and the value of its header `traceparent` (W3C Trace Context), where it has one. A
    /// malformed one is ignored.
    pub fn new(id: ByteString, trace_parent: Option<ByteString>) -> Self {
        Self { id, trace_parent }
    }

    /// The id of the request.
    pub fn id(&self) -> &ByteString {
        &self.id
    }

    /// What lines of the log about the request are written within.
    ///
    /// Few requests have such a line, and a span for each cost a tenth of what the service does for a single event: so
    /// a span is made where a line is.
    pub fn span(&self) -> Span {
        let request_id = &*self.id;
        // The level of a span decides with which levels of the log it is shown: with all of them.
        match self.trace_parent.as_deref().and_then(trace_parent) {
            Some((trace_id, parent_id)) => error_span!("request", request_id, trace_id, parent_id),
            None => error_span!("request", request_id),
        }
    }
}

/// The ids of a trace and of the caller's part in it, where they are well-formed.
fn trace_parent(value: &str) -> Option<(&str, &str)> {
    let mut parts = value.split('-');
    let (version, trace_id, parent_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_whole = parts.next().is_none() || version != "00";
    let is_hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id = |text: &str, length: usize| is_hex(text, length) && text.bytes().any(|byte| byte != b'0');
    let is_valid = is_hex(version, 2) && version != "ff" && is_hex(flags, 2) && is_whole;
    (is_valid && is_id(trace_id, 32) && is_id(parent_id, 16)).then_some((trace_id, parent_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_is_gone_on_with_where_it_is_well_formed() {
        let ids = Some(("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"));
        let later = TRACE.replacen("00", "01", 1) + "-more";
        for value in [TRACE, &later] {
            assert_eq!(trace_parent(value), ids, "{value}");
        }
        let wrong = [
            TRACE.to_uppercase(),
            TRACE.replacen("00", "ff", 1),
            TRACE.to_owned() + "-more",
            TRACE.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            TRACE.replace("00f067aa0ba902b7", "0"),
            String::new(),
        ];
        for value in wrong {
            assert_eq!(trace_parent(&value), None, "{value}");
        }
    }
}

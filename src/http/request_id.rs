//! The id of a request, and the trace that it is part of.

use actix_http::RequestHead;
use actix_web::http::header::{HeaderName, HeaderValue};

/// The header that brings an id, and that every answer has.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");
const TRACE_PARENT: &str = "traceparent";
/// A longer id is replaced.
const ID_BYTES_MAX: usize = 128;

/// 1 to 128 printable ASCII characters.
#[derive(Clone)]
pub(super) struct RequestId(HeaderValue);

impl RequestId {
    /// The id that the request brings; a new one where it brings none, or one that is not fit to be shown.
    pub(super) fn of(head: &RequestHead) -> Self {
        let brought = head.headers().get(HEADER).filter(|id| is_printable(id.as_bytes()));
        brought.map_or_else(Self::new, |id| Self(id.clone()))
    }

    pub(super) fn new() -> Self {
        let id = format!("{:032x}", fastrand::u128(..));
        Self(HeaderValue::try_from(id).expect("hexadecimal digits are a header's value"))
    }

    pub(super) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    pub(super) fn header_value(&self) -> HeaderValue {
        self.0.clone()
    }
}

fn is_printable(id: &[u8]) -> bool {
    (1..=ID_BYTES_MAX).contains(&id.len()) && id.iter().all(|byte| (b' '..=b'~').contains(byte))
}

/// The ids of a trace and of the caller's part in it (W3C Trace Context), where the request brings them well-formed.
pub(super) fn trace_parent(head: &RequestHead) -> Option<(&str, &str)> {
    let mut all = head.headers().get_all(TRACE_PARENT);
    let (Some(value), None) = (all.next(), all.next()) else { return None };
    let mut parts = value.to_str().ok()?.split('-');
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

    fn head(name: &str, values: &[&[u8]]) -> RequestHead {
        let mut head = RequestHead::default();
        for value in values {
            let value = HeaderValue::from_bytes(value).unwrap();
            head.headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
        }
        head
    }

    #[test]
    fn an_id_that_may_be_shown_is_kept_and_any_other_is_replaced() {
        let longest = [b'x'; ID_BYTES_MAX];
        for id in [&b"a"[..], b"a b\"=}~", &longest] {
            assert_eq!(RequestId::of(&head("x-request-id", &[id])).as_str().as_bytes(), id);
        }
        let too_long = [b'x'; ID_BYTES_MAX + 1];
        for ids in [&[][..], &[&b""[..]], &[&b"a\tb"[..]], &[&b"\xc3\xa4"[..]], &[&too_long[..]]] {
            let made = RequestId::of(&head("x-request-id", ids));
            assert!(made.as_str().len() == 32 && is_printable(made.as_str().as_bytes()), "{ids:?}");
        }
        assert_ne!(RequestId::new().as_str(), RequestId::new().as_str());
    }

    #[test]
    fn a_trace_is_gone_on_with_where_it_is_well_formed() {
        let ids = Some(("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"));
        let later = TRACE.replacen("00", "01", 1) + "-more";
        for value in [TRACE, &later] {
            assert_eq!(trace_parent(&head(TRACE_PARENT, &[value.as_bytes()])), ids, "{value}");
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
            assert_eq!(trace_parent(&head(TRACE_PARENT, &[value.as_bytes()])), None, "{value}");
        }
        assert_eq!(trace_parent(&head(TRACE_PARENT, &[TRACE.as_bytes(), TRACE.as_bytes()])), None);
    }
}

//! The header `X-Request-Id`, and what else says which request it is.

use actix_http::RequestHead;
use actix_web::http::header::{HeaderName, HeaderValue};
use bytestring::ByteString;

use crate::request_ids::RequestIds;

/// The header that brings an id, and that every answer has.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");
const TRACE_PARENT: &str = "traceparent";
/// A longer id is replaced.
const ID_BYTES_MAX: usize = 128;

/// The ids that the request brings; a new one where it brings none, or one that is not fit to be shown.
pub(super) fn of(head: &RequestHead) -> RequestIds {
    let brought = head.headers().get(HEADER).filter(|id| is_printable(id.as_bytes()));
    let brought = brought.and_then(|id| id.to_str().ok()).map(ByteString::from);
    RequestIds::new(brought.unwrap_or_else(made), trace_parent(head))
}

/// A new id: 32 hexadecimal digits.
pub(super) fn made() -> ByteString {
    format!("{:032x}", fastrand::u128(..)).into()
}

/// The value of the header.
pub(super) fn header_value(ids: &RequestIds) -> HeaderValue {
    HeaderValue::from_maybe_shared(ids.id().clone().into_bytes())
        .expect("printable characters are a header's value")
}

/// 1 to 128 printable ASCII characters.
fn is_printable(id: &[u8]) -> bool {
    (1..=ID_BYTES_MAX).contains(&id.len()) && id.iter().all(|byte| (b' '..=b'~').contains(byte))
}

/// A header that stands twice says nothing.
fn trace_parent(head: &RequestHead) -> Option<ByteString> {
    let mut all = head.headers().get_all(TRACE_PARENT);
    let (Some(value), None) = (all.next(), all.next()) else { return None };
    value.to_str().ok().map(ByteString::from)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(of(&head("x-request-id", &[id])).id().as_bytes(), id);
        }
        let too_long = [b'x'; ID_BYTES_MAX + 1];
        for ids in [&[][..], &[&b""[..]], &[&b"a\tb"[..]], &[&b"\xc3\xa4"[..]], &[&too_long[..]]] {
            let made = of(&head("x-request-id", ids));
            assert!(made.id().len() == 32 && is_printable(made.id().as_bytes()), "{ids:?}");
        }
        assert_ne!(made(), made());
    }

    #[test]
    fn a_trace_that_is_named_twice_is_none() {
        assert_eq!(trace_parent(&head(TRACE_PARENT, &[b"a"])).as_deref(), Some("a"));
        assert_eq!(trace_parent(&head(TRACE_PARENT, &[b"a", b"a"])), None);
    }
}

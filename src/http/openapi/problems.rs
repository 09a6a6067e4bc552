//! Problem documents, as the description shows them: by status, with every kind that an operation has.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::operation::{headers_of, reference};
use crate::http::problem::{Kind, MEDIA_TYPE};

/// What a request can meet at any address.
pub(super) const COMMON: [Kind; 3] = [Kind::Malformed, Kind::HeadTooLarge, Kind::HeadTooSlow];
/// What a request with a body can meet.
pub(super) const BODY: [Kind; 6] = [
    Kind::NotJson,
    Kind::BodyTooSlow,
    Kind::BodyCutOff,
    Kind::TooLarge,
    Kind::UnsupportedMediaType,
    Kind::UnsupportedEncoding,
];

/// For each status of these kinds: the status, the name among the answers of the components, and that answer.
pub(super) fn answers_with(kinds: Vec<Kind>) -> Vec<(String, String, Value)> {
    let mut by_status: BTreeMap<u16, BTreeSet<Kind>> = BTreeMap::new();
    for kind in kinds {
        by_status.entry(kind.status().as_u16()).or_default().insert(kind);
    }
    let of = |(status, kinds): (u16, BTreeSet<Kind>)| {
        let names: Vec<&str> = kinds.iter().map(|kind| kind.names().0).collect();
        (status.to_string(), format!("{status}.{}", names.join(".")), answer(&kinds))
    };
    by_status.into_iter().map(of).collect()
}

fn answer(kinds: &BTreeSet<Kind>) -> Value {
    let titles: Vec<&str> = kinds.iter().map(|kind| kind.names().1).collect();
    let examples: Map<String, Value> =
        kinds.iter().map(|kind| (kind.names().0.to_owned(), json!({"value": example(*kind)}))).collect();
    let headers: BTreeSet<&str> = kinds.iter().filter_map(|kind| header(*kind)).collect();
    json!({
        "description": titles.join(". "),
        "headers": headers_of(headers.into_iter()),
        "content": {MEDIA_TYPE: {"schema": reference("schemas", "Problem"), "examples": examples}},
    })
}

/// The header that an answer has beside those of all.
fn header(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Unauthorized => Some("WWW-Authenticate"),
        Kind::UnsupportedEncoding => Some("Accept-Encoding"),
        kind if kind.is_retryable() => Some("Retry-After"),
        _ => None,
    }
}

fn example(kind: Kind) -> Value {
    let (name, title) = kind.names();
    let mut document = json!({
        "type": format!("urn:sekali:problem:{name}"),
        "title": title,
        "status": kind.status().as_u16(),
        "detail": detail(kind),
        "retryable": kind.is_retryable(),
        "request_id": "7f1c0d6e5b2a49388e41c3d9f0a6b752",
    });
    match kind {
        Kind::Invalid => {
            document["errors"] = json!([{"index": 1, "pointer": "/source", "detail": "is missing"}]);
        }
        Kind::InvalidBody => {
            let detail = "must be a whole number from 1 to 256, not 0";
            document["errors"] = json!([{"index": 0, "pointer": "/max_leases", "detail": detail}]);
        }
        Kind::Fenced => (document["acked"], document["lag"]) = (json!(41), json!(1)),
        Kind::FullyLeased => {
            document["leases"] = json!([{
                "worker": "billing-1", "from": 42, "through": 42, "deliveries": 1,
                "expires_at": "2026-06-18T12:00:30Z",
            }]);
        }
        _ => {}
    }
    document
}

/// What such a problem says, for instance.
fn detail(kind: Kind) -> &'static str {
    match kind {
        Kind::NotJson => "the body is not JSON: expected `,` or `}` at line 1 column 17",
        Kind::Malformed => "the request cannot be read: its head or the framing of its body is broken",
        Kind::HeadTooLarge => "the head of the request is larger than the limit of 128 KiB",
        Kind::HeadTooSlow => "the head of the request did not come in time",
        Kind::Unauthorized => "a key is needed here: send it as Authorization: Bearer KEY",
        Kind::Forbidden => "the key reports lacks the scope publish",
        Kind::ForeignOrigin => "the request comes from a page of another origin",
        Kind::NotFound => "no event with this id is stored",
        Kind::NoNamespace => "there is no namespace shop: create it with PUT /namespaces/shop",
        Kind::MethodNotAllowed => "the methods here are GET, HEAD",
        Kind::BodyTooSlow => "only 4096 bytes of the body came within 5s",
        Kind::BodyCutOff => "the body ended early: payload reached EOF before completing",
        Kind::OtherSettings => "it exists with the dedup scope event-id",
        Kind::TooLarge => "the body is larger than the limit of 16777216 bytes",
        Kind::UnsupportedMediaType => {
            "the body's media type is text/plain; application/json and types ending in +json, in UTF-8, are understood"
        }
        Kind::UnsupportedEncoding => {
            "the body's content encoding is gzip; only identity (no encoding) is understood"
        }
        Kind::Invalid => "1 of 2 events is not valid",
        Kind::InvalidParameter => "`limit` must be a whole number from 1 to 1000, not \"0\"",
        Kind::InvalidSettings => "`dedup_scope` must be event-id or topic, not \"source\"",
        Kind::InvalidBody => "`max_leases` must be a whole number from 1 to 256, not 0",
        Kind::TooManyNamespaces => "there are 10000 namespaces, and no more may be created",
        Kind::NoSubscription => "there is no subscription billing: create it with PUT /subscriptions/billing",
        Kind::TooManySubscriptions => "the namespace has as many subscriptions as it may have",
        Kind::FullyLeased => {
            "all 1 leases that there may be at once are held, by billing-1: ask with ?wait=, or raise max_leases"
        }
        Kind::Fenced => "the lease has expired, was acked before, or was taken over: nothing was changed",
        Kind::Refused => "the database refuses these events",
        Kind::Quarantined => "this request crashed the service more than once, and is refused from now on",
        Kind::Unreadable => "the event with seq 17 is damaged",
        Kind::Unavailable => "the database is not available",
    }
}

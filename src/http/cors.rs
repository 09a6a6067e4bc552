//! What pages of other origins get to see: nothing, but for the origins that are named in `--cors-origin`.

use actix_http::{RequestHead, header::HeaderMap};
use actix_web::http::{
    Method,
    header::{self, HeaderName, HeaderValue},
};

use crate::origin::Origin;

/// What a page may do, where its origin is allowed.
const PREFLIGHT: [(HeaderName, &str); 3] = [
    (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD, POST, PUT, PATCH, DELETE"),
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        "authorization, content-type, prefer, last-event-id, x-request-id, traceparent",
    ),
    (header::ACCESS_CONTROL_MAX_AGE, "600"),
];
/// Headers of an answer that a page may read.
const EXPOSED: &str =
    "link, preference-applied, retry-after, sekali-first, sekali-head, www-authenticate, x-request-id";

/// The origin of the page that sends a request, where it is one of those that are allowed.
pub(super) fn allowed_origin(head: &RequestHead, allowed: &[Origin]) -> Option<HeaderValue> {
    if allowed.is_empty() {
        return None;
    }
    let origin = head.headers().get(header::ORIGIN)?;
    let page: Origin = origin.to_str().ok()?.parse().ok()?;
    allowed.contains(&page).then(|| origin.clone())
}

/// Whether a browser asks whether a page may send a request.
pub(super) fn is_preflight(head: &RequestHead) -> bool {
    head.method == Method::OPTIONS && head.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// Lets the page send what it asked about.
pub(super) fn allow_request(answer: &mut HeaderMap) {
    for (name, value) in PREFLIGHT {
        answer.insert(name, HeaderValue::from_static(value));
    }
}

/// Lets the page read the answer.
pub(super) fn allow_reading(answer: &mut HeaderMap, origin: HeaderValue) {
    answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
    answer.append(header::VARY, HeaderValue::from_static("origin"));
}

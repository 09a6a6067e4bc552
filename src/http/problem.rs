//! Every answer that is not a success: RFC 9457 problem documents, and all status codes of the service.

mod causes;
mod document;

use std::fmt;

use actix_web::{
    HttpResponse, HttpResponseBuilder, ResponseError,
    http::{StatusCode, header},
};
use serde_json::Value;

use super::at_hand;
use crate::{event::EventFault, store::DEFAULT_NAMESPACE};

/// Seconds after which an overloaded, stopping or storeless service may be asked again.
const RETRY_AFTER_SECONDS: &str = "1";
/// A detail may repeat what a client sent, and no more of it than this.
const DETAIL_BYTES_MAX: usize = 2 * 1024;
/// What to authenticate with.
const CHALLENGE: &str = "Bearer realm=\"sekali\"";
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// What is wrong, as the caller gets to read it.
#[derive(Debug)]
pub struct Problem {
    kind: Kind,
    detail: String,
    errors: Vec<EventFault>,
    /// The methods of the address, where the request's is none of them.
    allow: Option<String>,
    /// Further members of the document.
    members: Vec<(&'static str, Value)>,
    /// Whether the connection ends with this answer.
    close: bool,
}

/// The kinds of problems, each with one status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    NotJson,
    Malformed,
    HeadTooLarge,
    HeadTooSlow,
    Unauthorized,
    Forbidden,
    ForeignOrigin,
    NotFound,
    NoNamespace,
    MethodNotAllowed,
    BodyTooSlow,
    BodyCutOff,
    OtherSettings,
    TooLarge,
    UnsupportedMediaType,
    UnsupportedEncoding,
    Invalid,
    InvalidParameter,
    InvalidSettings,
    InvalidBody,
    TooManyNamespaces,
    NoSubscription,
    TooManySubscriptions,
    FullyLeased,
    Fenced,
    Refused,
    Quarantined,
    Unreadable,
    Unavailable,
}

impl Kind {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Kind::NotJson | Kind::Malformed => StatusCode::BAD_REQUEST,
            Kind::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Kind::Unauthorized => StatusCode::UNAUTHORIZED,
            Kind::Forbidden | Kind::ForeignOrigin => StatusCode::FORBIDDEN,
            Kind::NotFound | Kind::NoNamespace | Kind::NoSubscription => StatusCode::NOT_FOUND,
            Kind::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Kind::HeadTooSlow | Kind::BodyTooSlow | Kind::BodyCutOff => StatusCode::REQUEST_TIMEOUT,
            Kind::OtherSettings | Kind::FullyLeased | Kind::Fenced => StatusCode::CONFLICT,
            Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::UnsupportedMediaType | Kind::UnsupportedEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Kind::Invalid
            | Kind::InvalidParameter
            | Kind::InvalidSettings
            | Kind::InvalidBody
            | Kind::TooManyNamespaces
            | Kind::TooManySubscriptions
            | Kind::Refused
            | Kind::Quarantined => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::Unreadable => StatusCode::INTERNAL_SERVER_ERROR,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Whether the same request may be answered otherwise later.
    pub(super) fn is_retryable(self) -> bool {
        matches!(self, Kind::Unavailable | Kind::HeadTooSlow | Kind::BodyTooSlow | Kind::BodyCutOff)
    }

    /// The name in the problem's type, and its title.
    pub(super) fn names(self) -> (&'static str, &'static str) {
        match self {
            Kind::NotJson => ("not-json", "The body is not JSON"),
            Kind::Malformed => ("malformed-request", "The request is not HTTP as it should be"),
            Kind::HeadTooLarge => ("head-too-large", "The head of the request is too large"),
            Kind::HeadTooSlow => ("head-too-slow", "The head of the request came too slowly"),
            Kind::Unauthorized => ("unauthorized", "A key is needed for this"),
            Kind::Forbidden => ("forbidden", "The key does not allow this"),
            Kind::ForeignOrigin => ("foreign-origin", "Pages of this origin may not do this"),
            Kind::NotFound => ("not-found", "There is nothing here"),
            Kind::NoNamespace => ("no-such-namespace", "There is no such namespace"),
            Kind::MethodNotAllowed => ("method-not-allowed", "This method is not for this address"),
            Kind::BodyTooSlow => ("body-too-slow", "The body came too slowly"),
            Kind::BodyCutOff => ("body-cut-off", "The body ended early"),
            Kind::OtherSettings => ("other-settings", "It exists with other settings"),
            Kind::TooLarge => ("too-large", "The request is over a limit"),
            Kind::UnsupportedMediaType => ("unsupported-media-type", "The media type is not understood"),
            Kind::UnsupportedEncoding => ("unsupported-encoding", "The content encoding is not understood"),
            Kind::Invalid => ("invalid-events", "The events are not valid"),
            Kind::InvalidParameter => ("invalid-parameter", "A parameter is not valid"),
            Kind::InvalidSettings => ("invalid-settings", "The settings are not valid"),
            Kind::TooManyNamespaces => ("too-many-namespaces", "There are as many namespaces as may be"),
            Kind::InvalidBody => ("invalid-body", "The body is not valid"),
            Kind::NoSubscription => ("no-such-subscription", "There is no such subscription"),
            Kind::TooManySubscriptions => {
                ("too-many-subscriptions", "There are as many subscriptions as may be")
            }
            Kind::FullyLeased => ("fully-leased", "Others hold the leases"),
            Kind::Fenced => ("fenced", "The lease is not yours any more"),
            Kind::Refused => ("refused-by-database", "The database refuses these events"),
            Kind::Unreadable => ("unreadable", "The stored data cannot be read"),
            Kind::Quarantined => ("quarantined", "This request crashes the service"),
            Kind::Unavailable => ("unavailable", "The service cannot do this now"),
        }
    }
}

impl Problem {
    fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if detail.len() > DETAIL_BYTES_MAX {
            detail.truncate(detail.floor_char_boundary(DETAIL_BYTES_MAX));
            detail.push('…');
        }
        Self { kind, detail, errors: Vec::new(), allow: None, members: Vec::new(), close: false }
    }

    /// Whether the same request may be answered otherwise later.
    pub(super) fn is_retryable(&self) -> bool {
        self.kind.is_retryable()
    }

    /// Whether the rest of a body that is refused with this is worth reading.
    pub(super) fn reads_on(&self) -> bool {
        !matches!(self.kind, Kind::BodyTooSlow | Kind::BodyCutOff | Kind::Malformed)
    }

    /// There is no such address, or no such thing at it.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, detail)
    }

    /// There is no namespace of this name.
    pub(super) fn no_namespace(name: &str) -> Self {
        let detail = format!("there is no namespace {name}: create it with PUT /namespaces/{name}");
        Self::new(Kind::NoNamespace, detail)
    }

    /// The address knows other methods only.
    pub(super) fn method_not_allowed(allow: String) -> Self {
        let detail = format!("the methods here are {allow}");
        Self { allow: Some(allow), ..Self::new(Kind::MethodNotAllowed, detail) }
    }

    /// A query parameter is wrong; the detail names it.
    pub(super) fn invalid_parameter(detail: impl Into<String>) -> Self {
        Self::new(Kind::InvalidParameter, detail)
    }

    /// A field of a settings document is wrong, or not understood; the detail names it.
    pub(super) fn invalid_settings(detail: impl Into<String>) -> Self {
        Self::new(Kind::InvalidSettings, detail)
    }

    /// Fields of a body are wrong, or not understood; there is at least one.
    pub(super) fn invalid_body(faults: Vec<EventFault>) -> Self {
        let first = &faults[0];
        let place = first.pointer.trim_start_matches('/');
        let detail = match place {
            "" => format!("the body {}", first.detail),
            place => format!("`{place}` {}", first.detail),
        };
        Self { errors: faults, ..Self::new(Kind::InvalidBody, detail) }
    }

    /// The field at this pointer is wrong.
    pub(super) fn invalid_field(pointer: &str, detail: impl Into<String>) -> Self {
        Self::invalid_body(vec![EventFault { index: 0, pointer: pointer.to_owned(), detail: detail.into() }])
    }

    /// There is no subscription of this name in the namespace.
    pub(super) fn no_subscription(namespace: &str, name: &str) -> Self {
        let prefix = match namespace {
            DEFAULT_NAMESPACE => String::new(),
            namespace => format!("/namespaces/{namespace}"),
        };
        let detail =
            format!("there is no subscription {name}: create it with PUT {prefix}/subscriptions/{name}");
        Self::new(Kind::NoSubscription, detail)
    }

    /// Others hold as many leases as may be; `leases` tells who.
    pub(super) fn fully_leased(detail: impl Into<String>, leases: Value) -> Self {
        Self { members: vec![("leases", leases)], ..Self::new(Kind::FullyLeased, detail) }
    }

    /// The lease has expired, or its events were leased to another worker.
    pub(super) fn fenced(acked: u64, lag: u64) -> Self {
        let detail = "the lease has expired, was acked before, or was taken over: nothing was changed; if `acked` is at least its `through`, an earlier ack of it counted";
        let members = vec![("acked", acked.into()), ("lag", lag.into())];
        Self { members, ..Self::new(Kind::Fenced, detail) }
    }

    /// A body or a batch is over its limit; the detail says which.
    pub(super) fn too_large(detail: impl Into<String>) -> Self {
        Self::new(Kind::TooLarge, detail)
    }

    pub(super) fn unsupported_media_type(detail: impl Into<String>) -> Self {
        Self::new(Kind::UnsupportedMediaType, detail)
    }

    pub(super) fn unsupported_encoding(detail: impl Into<String>) -> Self {
        Self::new(Kind::UnsupportedEncoding, detail)
    }

    /// The body did not come, or not fast enough. The connection cannot be used again.
    pub(super) fn body_too_slow(detail: impl Into<String>) -> Self {
        Self { close: true, ..Self::new(Kind::BodyTooSlow, detail) }
    }

    /// The body ended before it was whole, by no fault of its producer's.
    pub(super) fn body_cut_off(detail: impl Into<String>) -> Self {
        Self { close: true, ..Self::new(Kind::BodyCutOff, detail) }
    }

    /// The framing of the body is broken. Sent again, it would be as broken.
    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self { close: true, ..Self::new(Kind::Malformed, detail) }
    }

    /// The head of a request did not come in time.
    pub(super) fn head_too_slow() -> Self {
        Self { close: true, ..Self::new(Kind::HeadTooSlow, "the head of the request did not come in time") }
    }

    /// For the status that the HTTP library gives to what it cannot read; `None` if it is no such status.
    pub(super) fn unreadable_request(status: u16) -> Option<Self> {
        let problem = match StatusCode::from_u16(status).ok()? {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                Self::new(Kind::HeadTooLarge, "the head of the request is larger than the limit of 128 KiB")
            }
            status if status.is_client_error() => Self::new(
                Kind::Malformed,
                "the request cannot be read: its head or the framing of its body is broken",
            ),
            _ => return None,
        };
        Some(Self { close: true, ..problem })
    }

    /// There is no key, or one that does not count.
    pub(super) fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(Kind::Unauthorized, detail)
    }

    /// The key does not allow this; the detail says what is missing.
    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(Kind::Forbidden, detail)
    }

    /// The same, about one event.
    pub(super) fn about(self, fault: EventFault) -> Self {
        Self { errors: vec![fault], ..self }
    }

    /// A page in a browser sent this that is not of the service's own origin.
    pub(super) fn foreign_origin() -> Self {
        let detail = "the request comes from a page of another origin: name that origin in --cors-origin, or send the request without Origin and Sec-Fetch-Site headers if no browser sent it";
        Self { close: true, ..Self::new(Kind::ForeignOrigin, detail) }
    }

    /// There are as many connections as there may be, and this one is kept for probes.
    pub(super) fn too_many_connections() -> Self {
        Self { close: true, ..Self::unavailable("the service has as many connections as it may have") }
    }

    /// Not now; it may be asked again.
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, detail)
    }

    /// The service stops; ask another one, or this one when it is back.
    pub(super) fn draining() -> Self {
        Self { close: true, ..Self::unavailable("the service is stopping") }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.kind.status()
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.kind.status());
        response.content_type(MEDIA_TYPE);
        if let Some(allow) = &self.allow {
            response.insert_header((header::ALLOW, allow.as_str()));
        }
        match self.kind {
            Kind::Unauthorized => {
                response.insert_header((header::WWW_AUTHENTICATE, CHALLENGE));
            }
            Kind::UnsupportedEncoding => {
                response.insert_header((header::ACCEPT_ENCODING, "identity"));
            }
            _ if self.is_retryable() => {
                response.insert_header((header::RETRY_AFTER, RETRY_AFTER_SECONDS));
            }
            _ => {}
        }
        if self.close {
            response.force_close();
        }
        at_hand::note_problem(self.kind.names().0);
        response.body(self.document(&at_hand::ids()))
    }
}

/// The start of a probe's answer: success, or that the service is not to be sent requests now.
pub(super) fn probe(passed: bool) -> HttpResponseBuilder {
    HttpResponse::build(if passed { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE })
}

/// The start of an answer that shows something: whether it was made just now, or was there.
pub(super) fn shown(is_new: bool) -> HttpResponseBuilder {
    HttpResponse::build(if is_new { StatusCode::CREATED } else { StatusCode::OK })
}

/// Whoever asks has it already.
pub(super) fn unchanged() -> HttpResponseBuilder {
    HttpResponse::build(StatusCode::NOT_MODIFIED)
}

/// What was asked for is done, and there is nothing to show.
pub(super) fn done() -> HttpResponse {
    HttpResponse::new(StatusCode::NO_CONTENT)
}

//! Every answer that is not a success: RFC 9457 problem documents, and all status codes of the service.

use std::fmt;

use actix_web::{
    HttpResponse, HttpResponseBuilder, ResponseError,
    http::{StatusCode, header},
};
use bytes::Bytes;
use serde::Serialize;

use crate::{
    actors::PublishError,
    event::{BatchError, EventFault},
    ledger::Overloaded,
    service::{LedgerError, WorkInterrupted},
    store::StoreError,
};

/// Seconds after which an overloaded, stopping or storeless service may be asked again.
const RETRY_AFTER_SECONDS: &str = "1";
/// A detail may repeat what a client sent, and no more of it than this.
const DETAIL_BYTES_MAX: usize = 2 * 1024;
const MEDIA_TYPE: &str = "application/problem+json";

/// What is wrong, as the caller gets to read it.
#[derive(Debug)]
pub struct Problem {
    kind: Kind,
    detail: String,
    errors: Vec<EventFault>,
    /// Whether the connection ends with this answer.
    close: bool,
}

/// The kinds of problems, each with one status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    NotJson,
    Malformed,
    HeadTooLarge,
    HeadTooSlow,
    ForeignOrigin,
    NotFound,
    MethodNotAllowed { allow: &'static str },
    BodyTooSlow,
    BodyCutOff,
    TooLarge,
    UnsupportedMediaType,
    UnsupportedEncoding,
    Invalid,
    InvalidParameter,
    Refused,
    Quarantined,
    Unreadable,
    Unavailable,
}

impl Kind {
    fn status(self) -> StatusCode {
        match self {
            Kind::NotJson | Kind::Malformed => StatusCode::BAD_REQUEST,
            Kind::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Kind::ForeignOrigin => StatusCode::FORBIDDEN,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Kind::HeadTooSlow | Kind::BodyTooSlow | Kind::BodyCutOff => StatusCode::REQUEST_TIMEOUT,
            Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::UnsupportedMediaType | Kind::UnsupportedEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Kind::Invalid | Kind::InvalidParameter | Kind::Refused | Kind::Quarantined => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Kind::Unreadable => StatusCode::INTERNAL_SERVER_ERROR,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The name in the problem's type, and its title.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Kind::NotJson => ("not-json", "The body is not JSON"),
            Kind::Malformed => ("malformed-request", "The request is not HTTP as it should be"),
            Kind::HeadTooLarge => ("head-too-large", "The head of the request is too large"),
            Kind::HeadTooSlow => ("head-too-slow", "The head of the request came too slowly"),
            Kind::ForeignOrigin => ("foreign-origin", "Pages of this origin may not do this"),
            Kind::NotFound => ("not-found", "There is nothing here"),
            Kind::MethodNotAllowed { .. } => ("method-not-allowed", "This method is not for this address"),
            Kind::BodyTooSlow => ("body-too-slow", "The body came too slowly"),
            Kind::BodyCutOff => ("body-cut-off", "The body ended early"),
            Kind::TooLarge => ("too-large", "The request is over a limit"),
            Kind::UnsupportedMediaType => ("unsupported-media-type", "The media type is not understood"),
            Kind::UnsupportedEncoding => ("unsupported-encoding", "The content encoding is not understood"),
            Kind::Invalid => ("invalid-events", "The events are not valid"),
            Kind::InvalidParameter => ("invalid-parameter", "A parameter is not valid"),
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
        Self { kind, detail, errors: Vec::new(), close: false }
    }

    /// Whether the rest of a body that is refused with this is worth reading.
    pub(super) fn reads_on(&self) -> bool {
        !matches!(self.kind, Kind::BodyTooSlow | Kind::BodyCutOff | Kind::Malformed)
    }

    /// There is no such address, or no such thing at it.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, detail)
    }

    /// The address knows other methods only.
    pub(super) fn method_not_allowed(allow: &'static str) -> Self {
        Self::new(Kind::MethodNotAllowed { allow }, format!("the methods here are {allow}"))
    }

    /// A query parameter is wrong; the detail names it.
    pub(super) fn invalid_parameter(detail: impl Into<String>) -> Self {
        Self::new(Kind::InvalidParameter, detail)
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

impl From<BatchError> for Problem {
    fn from(error: BatchError) -> Self {
        let kind = match error {
            BatchError::NotJson { .. } => Kind::NotJson,
            BatchError::TooMany { .. } => Kind::TooLarge,
            BatchError::WrongShape(_) | BatchError::Empty | BatchError::Faults(_) => Kind::Invalid,
        };
        let detail = error.to_string();
        let errors = if let BatchError::Faults(faults) = error { faults } else { Vec::new() };
        Self { errors, ..Self::new(kind, detail) }
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        let kind = match error {
            PublishError::Refused(_) => Kind::Refused,
            PublishError::TooLargeForStore(_) => Kind::TooLarge,
            PublishError::Quarantined => Kind::Quarantined,
            PublishError::LedgerBroken
            | PublishError::Gone
            | PublishError::Overloaded(_)
            | PublishError::TimedOut
            | PublishError::Interrupted
            | PublishError::StoreUnavailable
            | PublishError::StoreBroken => Kind::Unavailable,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<WorkInterrupted> for Problem {
    fn from(interrupted: WorkInterrupted) -> Self {
        Self::unavailable(interrupted.to_string())
    }
}

impl From<Overloaded> for Problem {
    fn from(overloaded: Overloaded) -> Self {
        Self::unavailable(overloaded.to_string())
    }
}

impl From<LedgerError> for Problem {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::NoNamespace(name) => Self::not_found(format!(
                "there is no namespace {name}: create it with PUT /namespaces/{name}"
            )),
            LedgerError::Store(error) => error.into(),
        }
    }
}

/// The service has logged what a reader cannot mend by asking again.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::debug!(error = &error as &dyn std::error::Error, "a read failed");
        let kind = match error {
            StoreError::Damaged(_)
            | StoreError::Broken(_)
            | StoreError::Rejected(_)
            | StoreError::TooManyTopics(_) => Kind::Unreadable,
            StoreError::Unavailable(_)
            | StoreError::TimedOut(_)
            | StoreError::Exhausted(_)
            | StoreError::Detached(_)
            | StoreError::Locked(_)
            | StoreError::Gone => Kind::Unavailable,
        };
        Self::new(kind, error.to_string())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

/// The document, in the order in which its members are shown.
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    retryable: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault<'a>>,
}

#[derive(Serialize)]
struct Fault<'a> {
    index: usize,
    pointer: &'a str,
    detail: &'a str,
}

impl Problem {
    fn document(&self) -> Vec<u8> {
        let status = self.kind.status();
        let (name, title) = self.kind.names();
        let faults = self.errors.iter();
        let document = Document {
            r#type: format!("urn:sekali:problem:{name}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            retryable: self.is_retryable(),
            errors: faults
                .map(|fault| Fault { index: fault.index, pointer: &fault.pointer, detail: &fault.detail })
                .collect(),
        };
        serde_json::to_vec(&document).expect("strings and numbers serialise")
    }

    fn is_retryable(&self) -> bool {
        matches!(self.kind, Kind::Unavailable | Kind::HeadTooSlow | Kind::BodyTooSlow | Kind::BodyCutOff)
    }

    /// The whole answer as it goes over the wire, for where no request can be answered. It ends the connection.
    pub(super) fn to_wire(&self) -> Bytes {
        let document = self.document();
        let retry = if self.is_retryable() {
            format!("retry-after: {RETRY_AFTER_SECONDS}\r\n")
        } else {
            String::new()
        };
        let head = format!(
            "HTTP/1.1 {}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {}\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\nconnection: close\r\n{retry}\r\n",
            self.kind.status(),
            document.len()
        );
        [head.as_bytes(), &document].concat().into()
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.kind.status()
    }

    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.kind.status());
        response.content_type(MEDIA_TYPE);
        match self.kind {
            Kind::MethodNotAllowed { allow } => {
                response.insert_header((header::ALLOW, allow));
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
        response.body(self.document())
    }
}

/// The start of a probe's answer: success, or that the service is not to be sent requests now.
pub(super) fn probe(passed: bool) -> HttpResponseBuilder {
    HttpResponse::build(if passed { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE })
}

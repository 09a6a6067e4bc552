//! Why a request has no useful answer, and whether the same request may have one later.

use std::{error::Error, io, time::Duration};

use reqwest::{Response, StatusCode, Url, header};
use serde::Deserialize;

use super::read_body;

/// Largest explanation of a refusal that is read.
const PROBLEM_BYTES_MAX: usize = 64 << 10;
/// The type of the problem that a namespace is not there.
const NO_NAMESPACE: &str = "urn:sekali:problem:no-such-namespace";

/// Why there is no answer. URLs are shown without their user and password.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The given URL cannot be the URL of a service.
    #[error("--url must be {allowed}, not {given:?}")]
    Url { given: String, allowed: &'static str },
    /// What is to be the key cannot be one. It is not shown.
    #[error("--key must be {0}")]
    Key(&'static str),
    /// A file that the client needs cannot be read.
    #[error("cannot read {path}")]
    File { path: String, source: io::Error },
    /// A file holds no certificates of authorities.
    #[error("{path} holds no certificates in PEM format")]
    NoAuthorities { path: String },
    /// The HTTP client cannot be set up on this machine.
    #[error("cannot set up an HTTP client")]
    Setup(#[source] reqwest::Error),
    /// There was no connection, or it was lost, or the answer took too long.
    #[error("no answer from {url}")]
    NoAnswer { url: String, source: reqwest::Error },
    /// The service answered another status than it does when all is well.
    #[error(transparent)]
    Refused(Refusal),
    /// The service has no namespace of this name.
    #[error("there is no namespace {0}: create it with `sekali namespace create {0}`")]
    NoNamespace(String),
    /// The request was sent again and again, for as long as was allowed.
    #[error("gave up after {attempts} attempts in {:.1} s", .time.as_secs_f64())]
    GaveUp { attempts: usize, time: Duration, source: Box<ClientError> },
    /// The answer is larger than any answer of the service.
    #[error("the answer of {url} is larger than {bytes_max} bytes")]
    TooLarge { url: String, bytes_max: usize },
    /// The log cannot be followed beyond an event that is damaged.
    #[error("the log cannot be followed any further: {0}")]
    Damaged(String),
    /// The answer is not one that the service gives.
    #[error("the answer of {url} is not what sekali answers")]
    Unreadable { url: String, source: serde_json::Error },
}

/// An answer with another status than when all is well.
#[derive(Debug, thiserror::Error)]
#[error("{url} answered {status}{}{detail}", if detail.is_empty() { "" } else { ": " })]
pub struct Refusal {
    /// Where the request was sent.
    pub url: String,
    /// The status of the answer.
    pub status: StatusCode,
    /// The service's explanation, or empty.
    pub detail: String,
    /// How long the service asks to wait before the next attempt.
    pub retry_after: Option<Duration>,
    /// The faults of single events, where the service names them.
    pub faults: Vec<RefusedEvent>,
}

/// One fault of one event, as the service names it.
#[derive(Debug, Deserialize)]
pub struct RefusedEvent {
    /// Place of the event in the request, from 0.
    pub index: usize,
    /// JSON pointer from the event to the fault.
    #[serde(default)]
    pub pointer: String,
    /// What is wrong there.
    #[serde(default)]
    pub detail: String,
}

impl ClientError {
    /// Whether the same request may be answered later: after no answer, 408, 429 and any 5xx.
    pub fn is_retryable(&self) -> bool {
        match self {
            ClientError::NoAnswer { .. } => true,
            ClientError::Refused(Refusal { status, .. }) => is_retryable(*status),
            _ => false,
        }
    }

    /// Whether the events of a publish may be stored in spite of this error.
    pub fn leaves_outcome_unknown(&self) -> bool {
        match self {
            // Without a connection nothing was sent.
            ClientError::NoAnswer { source, .. } => !source.is_connect(),
            ClientError::Refused(Refusal { status, .. }) => status.is_server_error(),
            ClientError::NoNamespace(_) => false,
            _ => true,
        }
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            ClientError::Refused(refusal) => refusal.retry_after,
            _ => None,
        }
    }
}

impl Refusal {
    /// Whether a part of the events may be accepted: they are too many, too large, or some are invalid.
    pub fn is_about_the_events(&self) -> bool {
        self.is_about_the_size() || self.status == StatusCode::UNPROCESSABLE_ENTITY
    }

    /// Whether fewer or smaller events may be accepted.
    pub fn is_about_the_size(&self) -> bool {
        self.status == StatusCode::PAYLOAD_TOO_LARGE
    }
}

/// The error and its causes in one line, without causes that the words before them end with.
pub fn in_words(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !words.ends_with(&more) {
            words = format!("{words}: {more}");
        }
        cause = error.source();
    }
    words
}

pub(super) fn no_answer(url: &Url, error: reqwest::Error) -> ClientError {
    ClientError::NoAnswer { url: shown(url), source: error.without_url() }
}

/// The refusal of a request about `namespace`.
pub(super) async fn refused(answer: Response, namespace: &str) -> ClientError {
    let (url, status) = (shown(answer.url()), answer.status());
    let text_of = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
    let moved = text_of(header::LOCATION).map(|target| format!("use {target}"));
    let retry_after = text_of(header::RETRY_AFTER).and_then(seconds);
    let body = read_body(answer, PROBLEM_BYTES_MAX).await.unwrap_or_default();
    let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
    if problem.r#type == NO_NAMESPACE {
        return ClientError::NoNamespace(namespace.to_owned());
    }
    let words = moved.or(problem.detail).or(problem.reason).or(problem.title).unwrap_or_default();
    let detail = words.replace(char::is_control, " ");
    ClientError::Refused(Refusal { url, status, detail, retry_after, faults: problem.errors })
}

/// What is read of a problem document (RFC 9457) or of a probe's answer.
#[derive(Default, Deserialize)]
struct Problem {
    #[serde(default)]
    r#type: String,
    title: Option<String>,
    detail: Option<String>,
    /// The explanation in a probe's answer.
    reason: Option<String>,
    #[serde(default)]
    errors: Vec<RefusedEvent>,
}

fn is_retryable(status: StatusCode) -> bool {
    status.is_server_error() || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status)
}

/// `Retry-After` in seconds. The service never names a date; the date of another server is ignored.
fn seconds(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_secs)
}

pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for a URL without a host, which has no password either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_contract_names_is_sent_again() {
        for status in [408, 429, 500, 502, 503, 504, 599] {
            assert!(is_retryable(StatusCode::from_u16(status).unwrap()), "{status}");
        }
        for status in [301, 400, 401, 404, 409, 413, 415, 422] {
            assert!(!is_retryable(StatusCode::from_u16(status).unwrap()), "{status}");
        }
    }

    #[test]
    fn retry_after_is_read_in_seconds() {
        assert_eq!(seconds(" 2 "), Some(Duration::from_secs(2)));
        assert_eq!(seconds("Wed, 21 Oct 2026 07:28:00 GMT"), None);
    }

    #[test]
    fn faults_of_a_refusal_are_read_where_there_are_any() {
        let faults = |json: &str| serde_json::from_str::<Problem>(json).unwrap_or_default().errors;
        let named = faults(r#"{"errors":[{"index":3,"pointer":"/source","detail":"is missing"}]}"#);
        assert_eq!((named[0].index, named[0].pointer.as_str()), (3, "/source"));
        assert!(faults("<html>").is_empty());
        assert!(faults(r#"{"detail":"no"}"#).is_empty());
    }
}

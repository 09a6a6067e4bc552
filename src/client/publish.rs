//! One attempt to publish, and what is known after it.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{Response, StatusCode, header};
use serde::Deserialize;

use super::{ANSWER_BYTES_MAX, Client, ClientError, no_answer, problem_detail, read_body, shown};

/// What one attempt came to.
#[derive(Debug)]
pub enum Attempt {
    /// 200: every event of the request is stored; the answer's body.
    Answered(Vec<u8>),
    /// The same request should be sent again.
    Again(Again),
    /// The request is wrong as it is.
    Refused(Refusal),
}

/// Why the same request should be sent again.
#[derive(Debug)]
pub struct Again {
    /// In words, for people who wait.
    pub why: String,
    /// Whether the events may be stored all the same.
    pub outcome_unknown: bool,
    /// How long the service asks to wait.
    pub retry_after: Option<Duration>,
}

/// Why sending the same request again is of no use.
#[derive(Debug, thiserror::Error)]
#[error("{url} answered {status}{}{detail}", if detail.is_empty() { "" } else { ": " })]
pub struct Refusal {
    /// Where it was sent to.
    pub url: String,
    /// The answer's status.
    pub status: StatusCode,
    /// The service's own explanation, or empty.
    pub detail: String,
    /// The faults of single events, where the service names them.
    pub faults: Vec<RefusedEvent>,
}

/// One fault of one event, as the service names it.
#[derive(Debug, Deserialize)]
pub struct RefusedEvent {
    /// Which event of the request, from 0.
    pub index: usize,
    /// JSON pointer to the place, from the event on.
    #[serde(default)]
    pub pointer: String,
    /// What is wrong there.
    #[serde(default)]
    pub detail: String,
}

impl Refusal {
    /// Whether other events in the request's place might be taken: some of these are too many, too large or wrong.
    pub fn is_about_the_events(&self) -> bool {
        self.is_about_the_size() || self.status == StatusCode::UNPROCESSABLE_ENTITY
    }

    /// Whether fewer events, or smaller ones, might be taken.
    pub fn is_about_the_size(&self) -> bool {
        self.status == StatusCode::PAYLOAD_TOO_LARGE
    }
}

/// How much of an answer is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerDetail {
    /// What became of each event.
    Results,
    /// The counts alone.
    Counts,
}

impl Client {
    /// Sends one publish, once.
    pub async fn publish(&self, body: Bytes, detail: AnswerDetail) -> Attempt {
        let url = self.endpoint("publish");
        let mut request = self.http.post(url.clone()).header(header::CONTENT_TYPE, "application/json");
        if detail == AnswerDetail::Counts {
            request = request.header("prefer", "return=minimal");
        }
        match request.body(body).send().await {
            Err(error) => {
                // Where no connection came about, nothing was sent.
                let outcome_unknown = !error.is_connect();
                lost(&no_answer(&url, error), outcome_unknown)
            }
            Ok(answer) if answer.status() == StatusCode::OK => {
                match read_body(answer, ANSWER_BYTES_MAX).await {
                    Ok(body) => Attempt::Answered(body),
                    Err(error) => lost(&error, true),
                }
            }
            Ok(answer) => turned_away(answer).await,
        }
    }
}

fn lost(error: &ClientError, outcome_unknown: bool) -> Attempt {
    Attempt::Again(Again { why: in_words(error), outcome_unknown, retry_after: None })
}

async fn turned_away(answer: Response) -> Attempt {
    let status = answer.status();
    let retry_after = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = retry_after.and_then(seconds);
    let url = shown(answer.url());
    let body = read_body(answer, super::PROBLEM_BYTES_MAX).await.unwrap_or_default();
    let detail = problem_detail(&body).unwrap_or_default();
    let refusal = Refusal { url, status, detail, faults: faults(&body) };
    if is_retryable(status) {
        let outcome_unknown = status.is_server_error();
        return Attempt::Again(Again { why: refusal.to_string(), outcome_unknown, retry_after });
    }
    Attempt::Refused(refusal)
}

/// The contract's: 408, 429 and any 5xx.
pub(super) fn is_retryable(status: StatusCode) -> bool {
    status.is_server_error() || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status)
}

/// `Retry-After` in seconds; the service never names a date, and another's is left to the backoff.
fn seconds(text: &str) -> Option<Duration> {
    text.trim().parse().ok().map(Duration::from_secs)
}

fn faults(body: &[u8]) -> Vec<RefusedEvent> {
    #[derive(Default, Deserialize)]
    struct Problem {
        #[serde(default)]
        errors: Vec<RefusedEvent>,
    }
    serde_json::from_slice::<Problem>(body).unwrap_or_default().errors
}

/// The error and its causes on one line.
pub(super) fn in_words(error: &dyn std::error::Error) -> String {
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
        let named = faults(br#"{"errors":[{"index":3,"pointer":"/source","detail":"is missing"}]}"#);
        assert_eq!((named[0].index, named[0].pointer.as_str()), (3, "/source"));
        assert!(faults(b"<html>").is_empty());
        assert!(faults(br#"{"detail":"no"}"#).is_empty());
    }
}

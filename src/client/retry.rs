//! Retries: the same request again until it is answered, with pauses and a time limit.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    time::{Duration, Instant},
};

use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;

use super::{Client, ClientError, PublishAnswer, in_words};

/// The pause is drawn at random between this delay and twice this delay: 25 to 50 ms at first, 2.5 to 5 s at last.
const BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(25))
    .with_max_delay(Duration::from_millis(2_500))
    .with_jitter()
    .without_max_times();

/// A publish that was acknowledged.
#[derive(Debug)]
pub struct Published {
    pub answer: PublishAnswer,
    /// The attempts before the one that was answered.
    pub earlier: Vec<EarlierAttempt>,
}

/// An attempt that was followed by another one.
#[derive(Clone, Debug)]
pub struct EarlierAttempt {
    pub ended_at: Instant,
    /// Why it was not acknowledged, in words.
    pub why: String,
    /// Whether the events may be stored all the same.
    pub outcome_unknown: bool,
}

impl Published {
    /// Attempts before the answered one that may or may not have stored the events.
    pub fn unknown_outcomes(&self) -> u64 {
        self.earlier.iter().filter(|attempt| attempt.outcome_unknown).count() as u64
    }
}

/// Counts retries; shared by all requests that are under way on one thread.
#[derive(Debug, Default)]
pub struct Retries {
    count: Cell<u64>,
    unknown_outcomes: Cell<u64>,
    last: RefCell<String>,
}

impl Retries {
    /// Attempts that were followed by another one.
    pub fn count(&self) -> u64 {
        self.count.get()
    }

    /// Those attempts that may or may not have stored the events.
    pub fn unknown_outcomes(&self) -> u64 {
        self.unknown_outcomes.get()
    }

    /// Why the last retry was needed; empty before the first.
    pub fn last(&self) -> String {
        self.last.borrow().clone()
    }

    fn note(&self, attempt: &EarlierAttempt) {
        self.count.set(self.count() + 1);
        self.unknown_outcomes.set(self.unknown_outcomes() + u64::from(attempt.outcome_unknown));
        self.last.replace(attempt.why.clone());
    }
}

impl Client {
    /// Publishes `body` until it is acknowledged or refused, or `give_up_after` is over.
    pub async fn publish_until_answered(
        &self,
        body: &Bytes,
        give_up_after: Duration,
        retries: &Retries,
    ) -> Result<Published, ClientError> {
        let begun = Instant::now();
        let mut earlier = Vec::new();
        let note = |error: &ClientError| {
            let (why, outcome_unknown) = (in_words(error), error.leaves_outcome_unknown());
            let attempt = EarlierAttempt { ended_at: Instant::now(), why, outcome_unknown };
            retries.note(&attempt);
            earlier.push(attempt);
        };
        let answered = retrying(give_up_after, note, || self.publish(body.clone())).await;
        answered.map(|answer| Published { answer, earlier: std::mem::take(&mut earlier) }).map_err(|error| {
            let (attempts, time) = (earlier.len() + 1, begun.elapsed());
            match error.is_retryable() {
                true => ClientError::GaveUp { attempts, time, source: Box::new(error) },
                false => error,
            }
        })
    }

    /// Asks until there is an answer or an error that no retry mends, or `give_up_after` is over.
    pub async fn read_until_answered<T>(
        &self,
        give_up_after: Duration,
        ask: impl AsyncFn(&Client) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        retrying(give_up_after, |_| {}, || ask(self)).await
    }

    /// Waits until the service is ready, at most `limit`. `on_wait` gets the reason for the first wait.
    pub async fn wait_until_ready(
        &self,
        limit: Duration,
        on_wait: impl FnOnce(&str),
    ) -> Result<(), ClientError> {
        let mut on_wait = Some(on_wait);
        let on_retry = |error: &ClientError| {
            if let Some(on_wait) = on_wait.take() {
                on_wait(&in_words(error));
            }
        };
        retrying(limit, on_retry, || self.ready()).await
    }
}

/// Repeats `attempt` until it has a result that is no retryable error, or `limit` is over. `on_retry` gets the
/// error before each pause. The service's `Retry-After` is waited for and the pause of the backoff after it, so that
/// clients that were refused together do not return together.
async fn retrying<T, F: Future<Output = Result<T, ClientError>>>(
    limit: Duration,
    mut on_retry: impl FnMut(&ClientError),
    attempt: impl FnMut() -> F,
) -> Result<T, ClientError> {
    let begun = Instant::now();
    let within_limit = |error: &ClientError, delay: Option<Duration>| {
        let asked = error.retry_after().unwrap_or_default();
        let left = limit.saturating_sub(begun.elapsed());
        let pause = asked.saturating_add(delay?).min(left);
        (!left.is_zero() && asked <= left).then_some(pause)
    };
    attempt
        .retry(BACKOFF)
        .when(ClientError::is_retryable)
        .adjust(within_limit)
        .notify(|error, _| on_retry(error))
        .await
}

#[cfg(test)]
mod tests {
    use reqwest::StatusCode;

    use super::*;
    use crate::client::Refusal;

    fn refused(retry_after: Option<Duration>) -> ClientError {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let (url, detail) = ("http://host/".to_owned(), "busy".to_owned());
        ClientError::Refused(Refusal { url, status, detail, retry_after, faults: Vec::new() })
    }

    /// Attempts and time of a request that is always refused.
    async fn tried(limit: Duration, retry_after: Option<Duration>) -> (usize, Duration) {
        let (begun, mut attempts) = (Instant::now(), 0);
        let attempt = || {
            attempts += 1;
            async move { Err::<(), _>(refused(retry_after)) }
        };
        retrying(limit, |_| {}, attempt).await.unwrap_err();
        (attempts, begun.elapsed())
    }

    #[tokio::test]
    async fn a_request_is_tried_until_the_limit_is_over() {
        let (attempts, time) = tried(Duration::from_millis(60), None).await;
        assert!(attempts >= 2 && time >= Duration::from_millis(60), "{attempts} attempts in {time:?}");
    }

    #[tokio::test]
    async fn a_pause_that_ends_after_the_limit_is_not_begun() {
        let (attempts, _) = tried(Duration::from_millis(50), Some(Duration::from_secs(60))).await;
        assert_eq!(attempts, 1);
    }

    #[tokio::test]
    async fn the_service_is_left_alone_for_as_long_as_it_asks() {
        let asked = Duration::from_secs(1);
        let (attempts, time) = tried(Duration::from_millis(1_200), Some(asked)).await;
        assert!(attempts == 2 && time >= asked, "{attempts} attempts in {time:?}");
    }

    #[test]
    fn pauses_double_up_to_their_limit() {
        let pauses: Vec<Duration> = backon::BackoffBuilder::build(BACKOFF).take(9).collect();
        for (pause, least_ms) in pauses.iter().zip([25, 50, 100, 200, 400, 800, 1_600, 2_500, 2_500]) {
            let least = Duration::from_millis(least_ms);
            assert!((least..=2 * least).contains(pause), "{pause:?} {least:?}");
        }
    }
}

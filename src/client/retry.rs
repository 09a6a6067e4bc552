//! The producer's half of the contract: the same request again until it is answered, with patience and a limit.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::time::sleep;
use uuid::Uuid;

use super::{
    Client, ClientError,
    publish::{Again, AnswerDetail, Attempt, Refusal, in_words, is_retryable},
};

const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// A publish that was acknowledged.
#[derive(Debug)]
pub struct Published {
    /// The answer's body.
    pub answer: Vec<u8>,
    /// The attempts before the answered one.
    pub earlier: Vec<EarlierAttempt>,
}

/// An attempt that had to be followed by another one.
#[derive(Debug)]
pub struct EarlierAttempt {
    pub ended_at: Instant,
    pub again: Again,
}

impl Published {
    /// Attempts before the answered one after which the events may or may not have been stored.
    pub fn unknown_outcomes(&self) -> u64 {
        self.earlier.iter().filter(|attempt| attempt.again.outcome_unknown).count() as u64
    }
}

/// A publish that was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum NotPublished {
    /// The service will not take it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It was tried for as long as was allowed.
    #[error("gave up after {attempts} attempts in {:.1} s: {why}", .time.as_secs_f64())]
    GaveUp { attempts: u64, time: Duration, why: String },
}

/// What went on while requests were tried again; shared by all that are under way on one thread.
#[derive(Debug, Default)]
pub struct Retries {
    count: Cell<u64>,
    unknown_outcomes: Cell<u64>,
    last: RefCell<String>,
}

impl Retries {
    /// Attempts that had to be followed by another one.
    pub fn count(&self) -> u64 {
        self.count.get()
    }

    /// Those among them after which the events may or may not have been stored.
    pub fn unknown_outcomes(&self) -> u64 {
        self.unknown_outcomes.get()
    }

    /// Why the last one was needed; empty before the first.
    pub fn last(&self) -> String {
        self.last.borrow().clone()
    }

    fn note(&self, again: &Again) {
        self.count.set(self.count() + 1);
        self.unknown_outcomes.set(self.unknown_outcomes() + u64::from(again.outcome_unknown));
        self.last.replace(again.why.clone());
    }
}

impl Client {
    /// Sends `body` until it is acknowledged or refused, or `give_up_after` is over.
    pub async fn publish_until_answered(
        &self,
        body: &Bytes,
        detail: AnswerDetail,
        give_up_after: Duration,
        retries: &Retries,
    ) -> Result<Published, NotPublished> {
        let mut patience = Patience::new(give_up_after);
        let mut earlier = Vec::new();
        loop {
            let again = match self.publish(body.clone(), detail).await {
                Attempt::Answered(answer) => return Ok(Published { answer, earlier }),
                Attempt::Refused(refusal) => return Err(refusal.into()),
                Attempt::Again(again) => again,
            };
            retries.note(&again);
            let ended_at = Instant::now();
            if !patience.wait(again.retry_after).await {
                let (attempts, time) = (patience.waits + 1, patience.begun.elapsed());
                return Err(NotPublished::GaveUp { attempts, time, why: again.why });
            }
            earlier.push(EarlierAttempt { ended_at, again });
        }
    }

    /// Asks until there is an answer, an error that will stay, or `give_up_after` is over.
    pub async fn read_until_answered<T>(
        &self,
        give_up_after: Duration,
        ask: impl AsyncFn(&Client) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let mut patience = Patience::new(give_up_after);
        loop {
            match ask(self).await {
                Err(error) if error.is_retryable() => {
                    if !patience.wait(None).await {
                        return Err(error);
                    }
                }
                done => return done,
            }
        }
    }

    /// Waits until the service is ready for work, at most `limit`. The first obstacle is told to `told`.
    pub async fn wait_until_ready(
        &self,
        limit: Duration,
        told: impl FnOnce(&str),
    ) -> Result<(), ClientError> {
        let mut patience = Patience::new(limit);
        let mut told = Some(told);
        loop {
            match self.ready().await {
                Err(error) if error.is_retryable() => {
                    if let Some(told) = told.take() {
                        told(&in_words(&error));
                    }
                    if !patience.wait(None).await {
                        return Err(error);
                    }
                }
                done => return done,
            }
        }
    }
}

impl ClientError {
    /// Whether the same question may be answered later.
    pub fn is_retryable(&self) -> bool {
        match self {
            ClientError::NoAnswer { .. } => true,
            ClientError::Refused { status, .. } => is_retryable(*status),
            _ => false,
        }
    }
}

/// Exponential backoff with jitter, up to a limit over all waits.
struct Patience {
    begun: Instant,
    limit: Duration,
    waits: u64,
}

impl Patience {
    fn new(limit: Duration) -> Self {
        Self { begun: Instant::now(), limit, waits: 0 }
    }

    /// Waits before the next attempt, never less than the service asked for; false if that is beyond the limit.
    async fn wait(&mut self, retry_after: Option<Duration>) -> bool {
        let backoff = backoff(self.waits);
        // All that were turned away at once should not come back at once either.
        let wait = match retry_after {
            Some(asked) => asked.max(backoff.mul_f64(0.5)) + backoff.mul_f64(0.5 * share()),
            None => backoff.mul_f64(0.5 + 0.5 * share()),
        };
        let left = self.limit.saturating_sub(self.begun.elapsed());
        if left.is_zero() || retry_after.is_some_and(|asked| asked > left) {
            return false;
        }
        self.waits += 1;
        sleep(wait.min(left)).await;
        true
    }
}

fn backoff(waits: u64) -> Duration {
    BACKOFF_FIRST.saturating_mul(1 << waits.min(16)).min(BACKOFF_MAX)
}

/// A random number from 0 to 1.
fn share() -> f64 {
    (Uuid::new_v4().as_u128() >> 75) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backoff_doubles_up_to_its_limit() {
        assert_eq!(backoff(0), Duration::from_millis(50));
        assert_eq!(backoff(3), Duration::from_millis(400));
        assert_eq!(backoff(7), Duration::from_secs(5));
        assert_eq!(backoff(u64::MAX), Duration::from_secs(5));
    }

    #[test]
    fn the_jitter_is_a_share() {
        for _ in 0..1_000 {
            assert!((0.0..=1.0).contains(&share()));
        }
    }

    #[tokio::test]
    async fn a_wait_beyond_the_limit_is_giving_up() {
        let mut patience = Patience::new(Duration::from_millis(50));
        assert!(patience.wait(None).await);
        assert!(!patience.wait(Some(Duration::from_secs(1))).await);
        let mut patience = Patience::new(Duration::from_millis(20));
        while patience.wait(None).await {}
        assert!(patience.begun.elapsed() >= Duration::from_millis(20));
    }
}

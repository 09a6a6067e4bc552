//! When the service is asked to stop, and when it is asked again.

use std::time::Duration;

use futures::{StreamExt, stream::BoxStream};
use tokio::time::{Instant, sleep_until};

/// One request to stop may arrive as two signals, by a process group and its leader for instance. A further one
/// counts as the second only this long after the first.
const SECOND_STOP_MIN: Duration = Duration::from_secs(1);

/// The requests to stop.
pub(super) struct Stops {
    requests: BoxStream<'static, ()>,
    first_at: Option<Instant>,
}

impl Stops {
    pub(super) fn new(requests: BoxStream<'static, ()>) -> Self {
        Self { requests, first_at: None }
    }

    /// Waits for the first request.
    pub(super) async fn first(&mut self) {
        if self.first_at.is_none() {
            self.next().await;
            self.first_at = Some(Instant::now());
        }
    }

    /// Waits for a request that is not the first one said twice.
    pub(super) async fn second(&mut self) {
        self.first().await;
        let counts_from = self.first_at.unwrap_or_else(Instant::now) + SECOND_STOP_MIN;
        let repeats = async {
            loop {
                self.next().await;
            }
        };
        tokio::select! {
            () = repeats => {}
            () = sleep_until(counts_from) => {}
        }
        self.next().await;
    }

    /// A source of requests that has ended asks for nothing any more.
    async fn next(&mut self) {
        if self.requests.next().await.is_none() {
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, channel::mpsc};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_said_twice_is_one() {
        let (ask, requests) = mpsc::unbounded();
        let mut stops = Stops::new(requests.boxed());
        assert!(stops.first().now_or_never().is_none());
        (0..3).for_each(|_| ask.unbounded_send(()).unwrap());
        stops.first().await;
        let second = stops.second();
        tokio::pin!(second);
        tokio::time::sleep(Duration::from_millis(900)).await;
        assert!(second.as_mut().now_or_never().is_none());
        ask.unbounded_send(()).unwrap();
        assert!(second.as_mut().now_or_never().is_none());
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(second.as_mut().now_or_never().is_none());
        ask.unbounded_send(()).unwrap();
        second.await;
    }
}

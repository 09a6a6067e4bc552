//! Sends the plan over a number of connections, and measures.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt, stream};
use hdrhistogram::Histogram;
use tokio::time::{interval, sleep_until};

use super::{answers::Answers, body::request_body, plan::Plan};
use crate::{
    cli::progress::{Progress, TICK_EVERY},
    client::{AnswerDetail, Client, NotPublished, Published, Retries},
};

/// How to send.
pub struct Sending<'a> {
    pub plan: &'a Plan,
    pub client: &'a Client,
    pub concurrency: usize,
    /// Requests a second; none sends as fast as answers come.
    pub rate: Option<f64>,
    pub give_up_after: Duration,
}

/// What was measured.
pub struct Measured {
    pub requests: u64,
    pub events: u64,
    pub time: Duration,
    /// Microseconds from a request's planned or first sending to its answer, with all retries.
    pub latency_us: Histogram<u64>,
    pub retries: u64,
    pub unknown_outcomes: u64,
}

struct Done {
    place: usize,
    latency: Duration,
    published: Result<Published, NotPublished>,
}

impl Sending<'_> {
    /// Sends everything, or stops at the first request that will not be taken.
    pub async fn run(&self, answers: &mut Answers<'_>) -> Measured {
        let retries = Retries::default();
        let mut measured = Measured::new();
        let begun = Instant::now();
        let mut progress = Progress::start("sending", Some(self.plan.events()));
        let mut ticks = interval(TICK_EVERY);
        let mut requests = pin!(self.requests(begun, &retries));
        loop {
            let done = tokio::select! {
                done = requests.next() => done,
                _ = ticks.tick() => {
                    progress.tick(&retries);
                    continue;
                }
            };
            let Some(Done { place, latency, published }) = done else { break };
            let events = self.plan.request(place).len() as u64;
            match published {
                Ok(Published { answer, unknown_outcomes }) => {
                    answers.note_unknown(place, unknown_outcomes);
                    answers.note_answer(place, &answer);
                }
                Err(error) => {
                    answers
                        .faults
                        .add("a request was not acknowledged, and the run was stopped", || error.to_string());
                    break;
                }
            }
            measured.requests += 1;
            measured.events += events;
            measured.latency_us.saturating_record(latency.as_micros() as u64);
            progress.advance(events);
        }
        measured.time = begun.elapsed();
        (measured.retries, measured.unknown_outcomes) = (retries.count(), retries.unknown_outcomes());
        measured
    }

    /// All requests, in the order in which they come to an end.
    fn requests<'a>(&'a self, begun: Instant, retries: &'a Retries) -> impl Stream<Item = Done> + 'a {
        stream::iter(0..self.plan.requests())
            .map(move |place| self.request(place, begun, retries))
            .buffer_unordered(self.concurrency)
    }

    async fn request(&self, place: usize, begun: Instant, retries: &Retries) -> Done {
        let mut since = None;
        if let Some(rate) = self.rate {
            let planned = begun + Duration::from_secs_f64(place as f64 / rate);
            sleep_until(planned.into()).await;
            since = Some(planned);
        }
        let body = request_body(self.plan, place);
        let since = since.unwrap_or_else(Instant::now);
        let published =
            self.client.publish_until_answered(&body, AnswerDetail::Results, self.give_up_after, retries);
        Done { place, published: published.await, latency: since.elapsed() }
    }
}

impl Measured {
    fn new() -> Self {
        Self {
            requests: 0,
            events: 0,
            time: Duration::ZERO,
            latency_us: Histogram::new_with_bounds(1, 3_600_000_000, 3)
                .expect("the bounds are constant and valid"),
            retries: 0,
            unknown_outcomes: 0,
        }
    }
}

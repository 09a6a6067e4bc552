//! Sends the planned requests over a number of connections, and measures.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    pin::pin,
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt, stream};
use hdrhistogram::Histogram;
use tokio::time::{interval, sleep_until};

use super::{Followed, Part, answers::Answers, body::request_body};
use crate::{
    cli::progress::{Progress, TICK_EVERY},
    client::{ClientError, EarlierAttempt, Published, Retries, in_words},
};

/// How to send.
pub struct Sending<'a> {
    pub parts: &'a [Part],
    pub concurrency: usize,
    /// Requests per second; `None` sends as fast as answers come.
    pub rate: Option<f64>,
    pub give_up_after: Duration,
    /// Whether to show no progress.
    pub silent: bool,
    pub observer: &'a Observer,
}

/// What the caller of a run sees of it while it is under way, and its way to end it.
#[derive(Default)]
pub struct Observer {
    /// Set by the caller to begin no further request.
    pub enough: Cell<bool>,
    /// Requests that were begun.
    pub begun: Cell<usize>,
    /// The places of requests that were begun and are not acknowledged yet.
    pub under_way: RefCell<BTreeSet<usize>>,
    /// Requests that were acknowledged, and their events.
    pub acknowledged: Cell<(usize, u64)>,
    /// The retries so far.
    pub retries: Retries,
    /// Requests that were acknowledged after retries.
    pub retried: RefCell<Vec<RetriedRequest>>,
    /// What the readers of the stream got so far.
    pub followed: Cell<Followed>,
}

/// A request that was not acknowledged at its first attempt.
pub struct RetriedRequest {
    /// Its number in the order of sending, from 1.
    pub number: usize,
    pub earlier: Vec<EarlierAttempt>,
    pub acknowledged_at: Instant,
    /// The counts of its answer.
    pub stored: u64,
    pub duplicates: u64,
}

/// The measurements of a run.
pub struct Measured {
    pub requests: u64,
    pub events: u64,
    pub time: Duration,
    /// Microseconds from a request's planned time or first attempt to its answer, retries included.
    pub latency_us: Histogram<u64>,
}

impl Measured {
    fn new() -> Self {
        let latency_us = Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("the bounds are valid");
        Self { requests: 0, events: 0, time: Duration::ZERO, latency_us }
    }

    fn note(&mut self, events: u64, latency: Duration) {
        self.requests += 1;
        self.events += events;
        self.latency_us.saturating_record(latency.as_micros() as u64);
    }
}

struct Done {
    place: usize,
    latency: Duration,
    published: Result<Published, ClientError>,
}

impl Sending<'_> {
    /// Sends everything, or stops at the first request that is not acknowledged. `answers` are those of each part.
    pub async fn run(&self, answers: &mut [Answers]) -> Measured {
        let mut measured = Measured::new();
        let begun = Instant::now();
        let mut progress = Progress::start(
            "sending",
            Some(self.parts.iter().map(|part| part.plan.events()).sum()),
            self.silent,
        );
        let mut ticks = interval(TICK_EVERY);
        let mut requests = pin!(self.requests(begun));
        loop {
            let done = tokio::select! {
                done = requests.next() => done,
                _ = ticks.tick() => {
                    progress.tick(&self.observer.retries);
                    continue;
                }
            };
            let Some(Done { place, latency, published }) = done else { break };
            let (part, place_within) = self.part_of(place);
            let (plan, answers) = (&self.parts[part].plan, &mut answers[part]);
            let published = match published {
                Ok(published) => published,
                Err(error) => {
                    let what = "a request was not acknowledged, and the run was stopped";
                    answers.findings.wrong(what, in_words(&error));
                    break;
                }
            };
            answers.note(plan, place_within, &published);
            self.observer.note(place, published);
            let events = plan.request(place_within).len() as u64;
            measured.note(events, latency);
            progress.advance(events);
        }
        measured.time = begun.elapsed();
        measured
    }

    /// The part that the request at `place` belongs to, and its place there: parts take turns. The last turn may end
    /// early, since the parts with one request more are the first ones.
    fn part_of(&self, place: usize) -> (usize, usize) {
        (place % self.parts.len(), place / self.parts.len())
    }

    /// All requests, in the order in which they end.
    fn requests(&self, begun: Instant) -> impl Stream<Item = Done> {
        let requests = self.parts.iter().map(|part| part.plan.requests()).sum();
        stream::iter((0..requests).take_while(|_| !self.observer.enough.get()))
            .inspect(|place| self.observer.begun.set(place + 1))
            .map(move |place| self.request(place, begun))
            .buffer_unordered(self.concurrency)
    }

    async fn request(&self, place: usize, begun: Instant) -> Done {
        let planned = self.rate.map(|rate| begun + Duration::from_secs_f64(place as f64 / rate));
        if let Some(planned) = planned {
            sleep_until(planned.into()).await;
        }
        self.observer.under_way.borrow_mut().insert(place);
        let (part, place_within) = self.part_of(place);
        let Part { client, plan, .. } = &self.parts[part];
        let body = request_body(plan, place_within);
        let since = planned.unwrap_or_else(Instant::now);
        let published =
            client.publish_until_answered(&body, self.give_up_after, &self.observer.retries).await;
        Done { place, published, latency: since.elapsed() }
    }
}

impl Observer {
    fn note(&self, place: usize, Published { answer, earlier }: Published) {
        self.under_way.borrow_mut().remove(&place);
        let (requests, events) = self.acknowledged.get();
        self.acknowledged.set((requests + 1, events + answer.accepted));
        if !earlier.is_empty() {
            self.retried.borrow_mut().push(RetriedRequest {
                number: place + 1,
                earlier,
                acknowledged_at: Instant::now(),
                stored: answer.unique,
                duplicates: answer.duplicates,
            });
        }
    }
}

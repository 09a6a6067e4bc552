//! Sends the plan over a number of connections, and measures.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    pin::pin,
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt, stream};
use hdrhistogram::Histogram;
use tokio::time::{interval, sleep_until};

use super::{answers::Answers, body::request_body, plan::Plan};
use crate::{
    cli::progress::{Progress, TICK_EVERY},
    client::{AnswerDetail, Client, EarlierAttempt, NotPublished, Published, Retries},
};

/// How to send.
pub struct Sending<'a> {
    pub plan: &'a Plan,
    pub client: &'a Client,
    pub concurrency: usize,
    /// Requests a second; none sends as fast as answers come.
    pub rate: Option<f64>,
    pub give_up_after: Duration,
    /// Whether no progress is shown.
    pub silent: bool,
    pub onlooker: &'a Onlooker,
}

/// Looks on while requests are sent, and may say that it is enough.
#[derive(Default)]
pub struct Onlooker {
    /// Set by whoever looks on: no further request is begun.
    pub enough: Cell<bool>,
    /// Requests that were begun.
    pub begun: Cell<usize>,
    /// The places of the requests that were sent and are not acknowledged yet.
    pub under_way: RefCell<BTreeSet<usize>>,
    /// Requests that were acknowledged, and their events.
    pub acknowledged: Cell<(usize, u64)>,
    /// Retries, as they happen.
    pub retries: Retries,
    /// The requests that were acknowledged after retries.
    pub retried: RefCell<Vec<RetriedRequest>>,
}

/// A request that was not acknowledged at its first attempt.
pub struct RetriedRequest {
    /// Its place in the order of sending, from 1.
    pub number: usize,
    pub earlier: Vec<EarlierAttempt>,
    pub acknowledged_at: Instant,
    /// As it was answered in the end.
    pub stored: u64,
    pub duplicates: u64,
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
        let retries = &self.onlooker.retries;
        let mut measured = Measured::new();
        let begun = Instant::now();
        let start = if self.silent { Progress::silent } else { Progress::start };
        let mut progress = start("sending", Some(self.plan.events()));
        let mut ticks = interval(TICK_EVERY);
        let mut requests = pin!(self.requests(begun, retries));
        loop {
            let done = tokio::select! {
                done = requests.next() => done,
                _ = ticks.tick() => {
                    progress.tick(retries);
                    continue;
                }
            };
            let Some(Done { place, latency, published }) = done else { break };
            let events = self.plan.request(place).len() as u64;
            match published {
                Ok(published) => self.note(place, published, answers),
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

    fn note(&self, place: usize, published: Published, answers: &mut Answers<'_>) {
        let (stored, duplicates) = (answers.stored, answers.duplicates);
        answers.note_unknown(place, published.unknown_outcomes());
        answers.note_answer(place, &published.answer);
        self.onlooker.under_way.borrow_mut().remove(&place);
        let (requests, events) = self.onlooker.acknowledged.get();
        self.onlooker.acknowledged.set((requests + 1, events + self.plan.request(place).len() as u64));
        if !published.earlier.is_empty() {
            self.onlooker.retried.borrow_mut().push(RetriedRequest {
                number: place + 1,
                earlier: published.earlier,
                acknowledged_at: Instant::now(),
                stored: answers.stored - stored,
                duplicates: answers.duplicates - duplicates,
            });
        }
    }

    /// All requests, in the order in which they come to an end.
    fn requests<'a>(&'a self, begun: Instant, retries: &'a Retries) -> impl Stream<Item = Done> + 'a {
        stream::iter((0..self.plan.requests()).take_while(|_| !self.onlooker.enough.get()))
            .inspect(|place| self.onlooker.begun.set(place + 1))
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
        self.onlooker.under_way.borrow_mut().insert(place);
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

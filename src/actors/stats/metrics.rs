//! What one node measures of itself: commits, their latency, and rates over the last minute.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use super::{
    actor::GroupCommitted,
    by_namespace::{ByNamespace, EventCounts},
    by_topic::{ByTopic, TopicReport},
    distribution::Distribution,
};

/// Metrics cover the current and the last period: the last 30 to 60 seconds.
const PERIOD: Duration = Duration::from_secs(30);
const LATENCY_MAX_MICROS: u64 = 60_000_000;
/// Bounds of the time of a commit, in seconds.
const COMMIT_SECONDS: [f64; 14] =
    [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];
/// Bounds of the events of a commit.
const COMMIT_EVENTS: [f64; 12] =
    [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0];

/// Counters since the start, and two periods of measurements.
pub(in crate::actors) struct Metrics {
    commits: u64,
    events: u64,
    exceptions: u64,
    namespaces: ByNamespace,
    topics: ByTopic,
    commit_seconds: Distribution,
    commit_events: Distribution,
    current: Period,
    last: Option<Period>,
}

struct Period {
    since: Instant,
    commits: u64,
    events: u64,
    latency_micros: Histogram<u64>,
}

/// The metrics of a node at one moment. Rates and latencies cover the last 30 to 60 seconds.
#[derive(Clone, Debug)]
pub struct MetricsReport {
    /// Groups that this process has committed.
    pub commits: u64,
    /// Events in them, unique and duplicate.
    pub events: u64,
    /// Duplicates that only the store's unique key told.
    pub exceptions: u64,
    pub events_per_second: f64,
    pub commits_per_second: f64,
    /// From the first statement of a group's transaction to the store's answer, retries included.
    pub commit_latency_p50: Duration,
    pub commit_latency_p99: Duration,
    pub commit_latency_max: Duration,
    /// Seconds of all commits.
    pub commit_seconds: Distribution,
    /// Events of all commits.
    pub commit_events: Distribution,
    /// What was committed in each namespace by name, where it was asked for.
    pub namespaces: Vec<(Arc<str>, EventCounts)>,
    /// The same of topics, as far as they are shown.
    pub topics: Vec<TopicReport>,
}

impl Metrics {
    pub(in crate::actors) fn new(namespaces_max: usize) -> Self {
        Self {
            commits: 0,
            events: 0,
            exceptions: 0,
            namespaces: ByNamespace::new(namespaces_max),
            topics: ByTopic::default(),
            commit_seconds: Distribution::new(&COMMIT_SECONDS),
            commit_events: Distribution::new(&COMMIT_EVENTS),
            current: Period::new(),
            last: None,
        }
    }

    pub(in crate::actors) fn record(&mut self, group: &GroupCommitted) {
        let GroupCommitted { ledger, events, unique, exceptions, topics, latency } = group;
        let (events, exceptions) = (*events, *exceptions);
        self.turn();
        // An empty group only shows that the store takes one.
        if events > 0 {
            self.namespaces.record(&ledger.record.namespace, events, *unique);
            self.topics.record(&ledger.record.namespace, topics);
            self.commit_events.record(events as f64);
        }
        self.commit_seconds.record(latency.as_secs_f64());
        self.commits += 1;
        self.events += events as u64;
        self.exceptions += exceptions as u64;
        self.current.commits += 1;
        self.current.events += events as u64;
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.current.latency_micros.saturating_record(micros);
    }

    pub(in crate::actors) fn report(&mut self) -> MetricsReport {
        self.turn();
        let periods = || self.last.iter().chain([&self.current]);
        let seconds =
            periods().map(|period| period.since).min().map_or(0.0, |since| since.elapsed().as_secs_f64());
        let rate = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let mut latency = new_histogram();
        for period in periods() {
            // Both have the same bounds, and so adding cannot fail.
            let _ = latency.add(&period.latency_micros);
        }
        MetricsReport {
            commits: self.commits,
            events: self.events,
            exceptions: self.exceptions,
            events_per_second: rate(periods().map(|period| period.events).sum()),
            commits_per_second: rate(periods().map(|period| period.commits).sum()),
            commit_latency_p50: Duration::from_micros(latency.value_at_quantile(0.5)),
            commit_latency_p99: Duration::from_micros(latency.value_at_quantile(0.99)),
            commit_latency_max: Duration::from_micros(latency.max()),
            commit_seconds: self.commit_seconds.clone(),
            commit_events: self.commit_events.clone(),
            namespaces: Vec::new(),
            topics: Vec::new(),
        }
    }

    pub(in crate::actors) fn by_namespace(&self) -> Vec<(Arc<str>, EventCounts)> {
        self.namespaces.report()
    }

    pub(in crate::actors) fn by_topic(&self) -> Vec<TopicReport> {
        self.topics.report()
    }

    fn turn(&mut self) {
        let age = self.current.since.elapsed();
        if age >= PERIOD {
            let over = std::mem::replace(&mut self.current, Period::new());
            self.last = (age < 2 * PERIOD).then_some(over);
        }
    }
}

impl Period {
    fn new() -> Self {
        Self { since: Instant::now(), commits: 0, events: 0, latency_micros: new_histogram() }
    }
}

fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_MICROS, 2).expect("the bounds are constant and valid")
}

//! What the server counts of its own.

use std::time::Duration;

use actix_web::http::Method;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};

/// Bounds of the time that a publish takes, in seconds.
const PUBLISH_SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
/// Methods that are shown; all others are one.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
/// A route or a method that there is not.
const OTHER: &str = "other";

/// Counters that all workers share.
#[derive(Clone)]
pub(in crate::http) struct Traffic {
    requests: Family<RequestLabels, Counter>,
    problems: Family<ProblemLabels, Counter>,
    publish_seconds: Histogram,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProblemLabels {
    problem: &'static str,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            problems: Family::default(),
            publish_seconds: Histogram::new(PUBLISH_SECONDS),
        }
    }
}

impl Traffic {
    /// Counts a request that is answered.
    pub(in crate::http) fn count(
        &self,
        route: Option<&'static str>,
        method: &Method,
        status: u16,
        problem: Option<&'static str>,
    ) {
        let method = METHODS.into_iter().find(|known| *known == method.as_str()).unwrap_or(OTHER);
        let labels = RequestLabels { route: route.unwrap_or(OTHER), method, status };
        self.requests.get_or_create(&labels).inc();
        if let Some(problem) = problem {
            self.problems.get_or_create(&ProblemLabels { problem }).inc();
        }
    }

    /// Notes how long a publish took that was stored, from the end of its body on.
    pub(in crate::http) fn note_publish(&self, time: Duration) {
        self.publish_seconds.observe(time.as_secs_f64());
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("http_requests", "Requests by route, method and status", self.requests.clone());
        registry.register(
            "problems",
            "Requests that were refused or failed, by the kind of problem",
            self.problems.clone(),
        );
        registry.register(
            "publish_seconds",
            "Time from the end of a publish's body to its answer, of those that were stored",
            self.publish_seconds.clone(),
        );
    }
}

//! What the service tells to monitoring systems. The store is not asked, so that it is told while that is unavailable.

use std::time::Duration;

use super::{NodeReport, Parts, SeenSubscription, Service};
use crate::actors::MetricsReport;

/// How long StatsActor may take to answer.
const METRICS_TIMEOUT: Duration = Duration::from_millis(500);

/// The service at one moment.
#[derive(Debug)]
pub struct ServiceMetrics {
    pub node: NodeReport,
    /// What this process committed; `None` while StatsActor is away.
    pub metrics: Option<MetricsReport>,
    /// Namespaces that are open here, each with its newest `seq` as it was last seen.
    pub heads: Vec<(String, u64)>,
    /// Subscriptions of these namespaces, as they were seen the last time.
    pub subscriptions: Vec<SeenSubscription>,
}

/// So much of what has a limit is in use.
#[derive(Clone, Debug)]
pub struct InFlight {
    pub what: &'static str,
    pub held: usize,
    pub max: usize,
}

impl Service {
    /// What monitoring systems read, with the heads of so many namespaces at most.
    pub async fn metrics(&self, namespaces_max: usize) -> ServiceMetrics {
        let metrics = tokio::time::timeout(METRICS_TIMEOUT, self.0.actors.metrics()).await;
        let ledgers = self.0.directory.some(namespaces_max);
        let mut heads: Vec<_> = ledgers
            .iter()
            .map(|ledger| (ledger.record.namespace.clone(), ledger.position.newest()))
            .collect();
        heads.sort_unstable();
        ServiceMetrics {
            node: self.node(),
            metrics: metrics.ok().and_then(Result::ok),
            heads,
            subscriptions: self.0.subscriptions.report(),
        }
    }
}

/// What is in flight against each limit.
pub(super) fn in_flight(parts: &Parts) -> Vec<InFlight> {
    let admission = &parts.admission;
    let [events_max, body_bytes_max, answer_bytes_max] = admission.most();
    let ((waits, waits_max), (streams, streams_max)) = (parts.waits.taken(), parts.streams.taken());
    let (waiting, waiting_max) = parts.large_work.reads.waiting();
    vec![
        InFlight { what: "events", held: admission.events_in_flight(), max: events_max },
        InFlight { what: "body_bytes", held: admission.bytes_in_flight(), max: body_bytes_max },
        InFlight { what: "answer_bytes", held: admission.answer_bytes_in_flight(), max: answer_bytes_max },
        InFlight { what: "waiting_readers", held: waits, max: waits_max },
        InFlight { what: "streams", held: streams, max: streams_max },
        InFlight { what: "waiting_reads", held: waiting, max: waiting_max },
    ]
}

//! What this process did, and the counters that `/stats` shows.

mod actor;
mod by_namespace;
mod distribution;
mod metrics;

pub(super) use self::actor::{Ask, AskMetrics, GroupCommitted, Read, StatsActor};
pub use self::{
    actor::CountersReport,
    by_namespace::{EventCounts, OTHER_NAMESPACES},
    distribution::Distribution,
    metrics::MetricsReport,
};
